"""Reports as pages: one HTML file that holds all it shows and needs no network.

What comes from a file (names, reasons, tags) is text here, whatever it looks like: the templates
escape everything, and the page's own policy lets no other script run than the one it came with.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .albums import FilmFrame, Look
from .charts import Series, draw_chart
from .phrases import count
from .pictures import Picture, code_picture
from .reports import (
    AdaptationReport,
    Seconds,
)
from .timeline import Plan, format_time
from .video import VideoInfo
from .wheels import paint_wheel

__all__ = [
    "LEAST_WIDTH",
    "Chart",
    "describe_film",
    "describe_looks",
    "describe_memory",
    "describe_rest",
    "describe_time",
    "describe_video",
    "is_tall",
    "make_chart",
    "make_mean_tile",
    "make_tile",
    "mark_times",
    "render",
    "take_percent",
    "tell_decibels",
    "tell_score",
    "tell_similarity",
]

_TEMPLATES = Path(__file__).parent / "templates"
_COARSE_SIDE = 200  # pixels: smaller pictures are shown with their pixels
LEAST_WIDTH = 0.25  # percent of the timeline
_AGAINST = {"played": "As it played", "blended": "Cross-faded", "true": "Reference"}


@dataclass(frozen=True)
class Chart:
    """A chart of a page."""

    title: str
    description: str  # for those who do not see it
    svg: Markup
    series: tuple[Series, ...]


def render(template: str, **values: object) -> str:
    """Fill in a template of the package; all values but Markup are escaped."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    from . import __version__

    page = environment.get_template(template).render(
        version=__version__,
        style=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(digest).decode("ascii"),
        wheel=_code_wheel(),
        **values,
    )
    # A file's name may hold bytes that are no text.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


@lru_cache(maxsize=1)
def _code_wheel() -> Picture:
    return code_picture(paint_wheel(88), max_bytes=6000)


def make_chart(
    title: str, series: Sequence[Series], *, x_label: str, y_label: str, **options: Any
) -> Chart:
    """Draw a chart and put into words what it shows."""
    parts = []
    for line in series:
        values = [value for value in line.y if value is not None]
        if values:
            parts.append(f"{line.name}: {min(values):.4g} to {max(values):.4g}")
    svg = draw_chart(series, x_label=x_label, y_label=y_label, **options)
    description = f"{y_label} by {x_label}. {'; '.join(parts)}"
    return Chart(title, description, Markup(svg), tuple(series))


def is_tall(gaps: Iterable[dict[str, Any]]) -> bool:
    pictures = (frame.picture for gap in gaps for frame in gap["film"])
    first = next(pictures, None)
    return first is not None and first.height > first.width


def make_tile(what: str, figure: str, unit: str = "") -> dict[str, str]:
    return {"what": what, "figure": figure, "unit": unit}


def make_mean_tile(what: str, values: Sequence[float], form: str, unit: str = "") -> dict[str, str]:
    mean = sum(values) / len(values)
    return make_tile(f"{what}, lowest {min(values):{form}}", f"{mean:{form}}", unit)


def tell_score(psnr: float | None, ssim: float | None) -> str:
    return f"{tell_decibels(psnr)} dB" + ("" if ssim is None else f" · SSIM {ssim:.4f}")


@dataclass(frozen=True)
class _Labelled:
    """A film frame with its number as people read it."""

    role: str
    picture: Picture
    look: int | None
    label: str


def describe_film(frame: FilmFrame, *, first: int = 0) -> _Labelled:
    """``first``: the number of slot 0."""
    return _Labelled(frame.role, frame.picture, frame.look, str(frame.slot + first))


def describe_looks(
    looks: Sequence[Look], names: Mapping[str, str] = _AGAINST, *, first: int = 0
) -> dict[str, Any]:
    """Large pictures, each once, and which of them are held against each other.

    names: what the made frame can be held against, in order. first: the number of slot 0.
    """
    layers: list[dict[str, Any]] = []
    places: dict[int, int] = {}

    def place(picture: Picture | None, alt: str) -> int | None:
        if picture is None:
            return None
        if id(picture) not in places:
            places[id(picture)] = len(layers)
            layers.append({"picture": picture, "alt": alt})
        return places[id(picture)]

    table = [
        {
            "made": place(look.made, f"Made frame {look.slot + first}"),
            **{
                key: place(getattr(look, key), f"{name}, frame {look.slot + first}")
                for key, name in names.items()
            },
        }
        for look in looks
    ]
    first_look = (len(looks) - 1) // 2
    size = looks[0].made
    return {
        "looks_json": json.dumps(table),
        "layers": layers,
        "width": size.width,
        "height": size.height,
        "is_coarse": max(size.width, size.height) < _COARSE_SIDE,
        "first": table[first_look]["made"],
        "first_look": first_look,
        "against": [
            (key, name) for key, name in names.items() if any(row[key] is not None for row in table)
        ],
        "motions": [
            {
                "look": index,
                "label": str(look.slot + first),
                "between": " and ".join(
                    str(slot + first) for slot in sorted((look.slot, look.motion.neighbour))
                ),
                "field": look.motion.field,
                "doubt": look.motion.doubt,
                "longest": f"{look.motion.longest:.1f}",
                "doubtful": _share(look.motion.doubtful),
            }
            for index, look in enumerate(looks)
            if look.motion is not None
        ],
    }


def _share(value: float) -> str:
    return "less than 0.1%" if value < 0.001 else f"{value:.1%}"


def tell_decibels(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def tell_similarity(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def mark_times(plan: Plan) -> list[str]:
    last = len(plan.slots) - 1
    return [format_time(plan.slots[last * k // 4].time) for k in range(5)]


def describe_video(info: VideoInfo, rate: Fraction | None) -> str:
    """Size, coding and rate in a line."""
    speed = "variable frame rate" if rate is None else f"{float(rate):.6g} frames a second"
    turned = f", shown turned by {-info.rotation % 360}°" if info.rotation % 360 else ""
    return f"{info.width} × {info.height}{turned}, {info.codec}, {info.pix_fmt}, {speed}"


def describe_rest(
    n_streams: int | None, left_out: Sequence[str], adaptation: AdaptationReport | None
) -> list[tuple[str, str]]:
    """Other streams, and what the network learnt from this video."""
    rows = []
    if n_streams is not None:
        rows.append(("Other streams", f"{n_streams} copied"))
    if left_out:
        rows.append(("Not in the output", ", ".join(left_out)))
    if adaptation is not None:
        word = "kept" if adaptation.kept else "not kept"
        gain = ""
        if adaptation.psnr_before is not None and adaptation.psnr_after is not None:
            gain = (
                f"; {adaptation.psnr_before:.2f} → {adaptation.psnr_after:.2f} dB on "
                f"{count(adaptation.windows_judged, 'window')} hidden from the learning"
            )
        rows.append(
            ("Adaptation", f"{word} after {adaptation.steps_done} steps: {adaptation.reason}{gain}")
        )
    return rows


def describe_memory(side: int | None, n_halvings: int, n_motion: int) -> list[tuple[str, str]]:
    """Whether frames were made in parts, and where the memory ran out.

    side: of the tiles; n_halvings: of them; n_motion: of the copies that motion is found on.
    """
    rows = []
    if side is not None:
        halved = f"; memory ran out {count(n_halvings, 'time')}" if n_halvings else ""
        rows.append(("Made in tiles", f"of {side} pixels{halved}"))
    if n_motion:
        rows.append(
            ("Motion", f"found on copies halved {count(n_motion, 'time')} more: memory ran out")
        )
    return rows


def describe_time(seconds: Seconds) -> str:
    """Where the time went."""
    return (
        f"{seconds.total:.1f} s (decoding {seconds.decode:.1f}, network {seconds.model:.1f}, "
        f"encoding {seconds.encode:.1f}; these overlap)"
    )


def take_percent(n: int, total: int) -> float:
    return round(100 * n / max(total, 1), 3)
