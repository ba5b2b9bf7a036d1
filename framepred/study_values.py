"""What is given to train, evaluate and benchmark, read and checked; nonsense is a usage error."""

from __future__ import annotations

import math
from pathlib import Path

import typer

from .study_options import PresetName

__all__ = [
    "check_plot",
    "check_suffix",
    "list_given",
    "parse_contexts",
    "parse_losses",
    "parse_numbers",
    "parse_sizes",
]

PLOT_SUFFIXES = (".svg", ".png", ".pdf")


def parse_losses(text: str) -> dict[str, float]:
    """Split ``laplacian,census:0.5`` into names and weights; nonsense is a usage error."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, written = part.strip().partition(":")
        try:
            weight = float(written or 1)
        except ValueError:
            weight = 0.0
        if name in weights or not 0 < weight < math.inf:
            raise typer.BadParameter(
                f"{part!r}: write NAME or NAME:WEIGHT, each name once and its weight above 0",
                param_hint="--loss",
            )
        weights[name] = weight
    return weights


def parse_numbers(text: str, option: str) -> tuple[int, ...]:
    """Read ``1,2,4`` in rising order, each once; anything else is a usage error."""
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 1:
        raise typer.BadParameter(
            f"{text!r}: write whole numbers from 1 on, with commas", param_hint=option
        )
    return tuple(numbers)


def parse_contexts(text: str | None) -> int | tuple[int, ...] | None:
    """Read ``4``, a limit, or ``1,2,4``, lengths to study; anything else is a usage error."""
    if text is None:
        return None
    lengths = parse_numbers(text, "--context")
    return lengths if "," in text else lengths[0]


def list_given(
    ctx: typer.Context,
    preset: PresetName | None,
    clips: list[Path],
    *,
    only: set[str],
    never: set[str],
) -> set[str]:
    """Names of the parameters that the user gave, with the right ones for the preset.

    only: those that mean nothing without a preset; never: with one. A usage error.
    """
    given = {
        name
        for name in ctx.params
        if (source := ctx.get_parameter_source(name)) is not None and "DEFAULT" not in source.name
    }
    wrong = sorted(given & (only if preset is None else never))
    if wrong:
        how = "only with" if preset is None else "not with"
        raise typer.BadParameter(
            f"means something {how} --preset", param_hint=f"--{wrong[0].replace('_', '-')}"
        )
    if preset is not None and len(clips) != 1:
        raise typer.BadParameter("with --preset this is one folder", param_hint="CLIPS...")
    return given


def check_suffix(plot: Path) -> None:
    """Refuse a plot in no known format: a usage error."""
    if plot.suffix.lower() not in PLOT_SUFFIXES:
        raise typer.BadParameter(
            f"{plot}: the name must end in one of {', '.join(PLOT_SUFFIXES)}", param_hint="--plot"
        )


def check_plot(plot: Path, contexts: int | tuple[int, ...] | None, *, with_preset: bool) -> None:
    """Refuse a plot of nothing or in no known format: a usage error."""
    check_suffix(plot)
    if not (with_preset or isinstance(contexts, tuple)):
        raise typer.BadParameter(
            "there is nothing to draw without several lengths, --context 1,2,4",
            param_hint="--plot",
        )


def parse_sizes(text: str) -> tuple[int, ...]:
    """Split ``256p,1080p`` into heights; nonsense is a usage error."""
    heights = []
    for word in text.split(","):
        number = word.strip().removesuffix("p")
        if not number.isdecimal() or not 64 <= int(number) <= 8640 or int(number) % 2:
            raise typer.BadParameter(
                f"{word!r}: write even heights from 64p to 8640p, such as 720p,1080p",
                param_hint="--sizes",
            )
        heights.append(int(number))
    return tuple(heights)
