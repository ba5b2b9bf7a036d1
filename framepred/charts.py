"""Small charts for pages, as SVG that takes its colours and its font from the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["Series", "draw_chart"]

# Stand-ins that are drawn with; the page says what they are, by day and by night.
_INK, _LINE, _BAND = "#010203", "#040506", "#070809"
_COLOURS = ("#0a0b0c", "#0d0e0f", "#101112", "#131415", "#161718", "#191a1b", "#1c1d1e", "#1f2021")
_VARIABLES = {
    _INK: "var(--ink-2)",
    _LINE: "var(--line)",
    _BAND: "var(--band)",
    **{colour: f"var(--series-{k})" for k, colour in enumerate(_COLOURS)},
}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")


@dataclass(frozen=True)
class Series:
    """One line of a chart: y over x, None where nothing was measured."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    colour: int = 0  # of eight; also the shape of the points
    is_joined: bool = True
    is_dashed: bool = False
    is_strong: bool = False


def draw_chart(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    ticks: Sequence[float] | None = None,
    bands: Sequence[tuple[float, float]] = (),
) -> str:
    """Draw series as one SVG element, to be put into a page as it is.

    ticks: where x has marks; without, whole numbers. bands: stretches of x that are shaded. Names
    are text, whatever they hold.
    """
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "framepred",
        "font.size": 9.5,
        "text.parse_math": False,
        "text.color": _INK,
        "axes.edgecolor": _LINE,
        "axes.labelcolor": _INK,
        "xtick.color": _LINE,
        "ytick.color": _LINE,
        "xtick.labelcolor": _INK,
        "ytick.labelcolor": _INK,
        "grid.color": _LINE,
    }
    drawn = io.StringIO()
    with rc_context(settings):
        figure = Figure(figsize=(4.4, 2.5), layout="constrained")
        panel = figure.add_subplot()
        for start, stop in bands:
            panel.axvspan(start, stop, color=_BAND, linewidth=0)
        for line in series:
            colour = _COLOURS[line.colour % len(_COLOURS)]
            panel.plot(
                line.x,
                [float("nan") if value is None else value for value in line.y],
                color=colour,
                marker=_MARKERS[line.colour % len(_MARKERS)],
                markersize=5 if line.is_strong else 4,
                linewidth=(2.2 if line.is_strong else 1.3) if line.is_joined else 0,
                linestyle="--" if line.is_dashed else "-",
                markerfacecolor=colour if line.is_strong else "none",
                zorder=3 if line.is_strong else 2,
            )
        panel.set_xlabel(x_label)
        panel.set_ylabel(y_label)
        if ticks is not None:
            panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        else:
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        panel.grid(axis="y", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(length=0)
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(drawn, format="svg", transparent=True, metadata=metadata)
    return _adopt(drawn.getvalue())


def _adopt(svg: str) -> str:
    """The element alone, with the page's colours and font; it is described beside, not inside."""
    svg = svg[svg.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font(-family)?: [^;\"]*'[^;\"]*", "font-family: var(--sans)", svg)
    svg = re.sub(r"\s+", " ", svg)
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    head, body = svg.split(">", 1)
    shape = re.search(r'viewBox="[^"]*"', head)
    assert shape is not None
    return f'<svg {shape[0]} aria-hidden="true" focusable="false">{body.strip()}'
