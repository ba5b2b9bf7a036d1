"""The options of the commands that encode a video: which encoder, how good, how fast."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from .options import FILE

__all__ = ["Codec", "Crf", "Lossless", "PaceName", "Preset", "choose_quality"]


class PaceName(StrEnum):
    """How fast an encoder works, in the words of x264 and x265."""

    ultrafast = "ultrafast"
    superfast = "superfast"
    veryfast = "veryfast"
    faster = "faster"
    fast = "fast"
    medium = "medium"
    slow = "slow"
    slower = "slower"
    veryslow = "veryslow"


Codec = Annotated[
    str | None,
    typer.Option(
        "--codec",
        metavar="NAME",
        help="FFmpeg's name of the video encoder. Default: the input's codec. 'copy' copies H.264 "
        "and H.265 as they are, but for the groups of pictures with a gap.",
        show_default=False,
        rich_help_panel=FILE,
    ),
]
Crf = Annotated[
    int | None,
    typer.Option(
        "--crf",
        metavar="N",
        min=0,
        max=63,
        help="Constant quality of the encoder; smaller is better and larger.",
        show_default=False,
        rich_help_panel=FILE,
    ),
]
Preset = Annotated[
    PaceName | None,
    typer.Option(
        "--preset",
        help="How fast the encoder works, at the cost of quality and size. Default: medium.",
        show_default=False,
        rich_help_panel=FILE,
    ),
]
Lossless = Annotated[
    bool,
    typer.Option(
        "--lossless/--no-lossless",
        metavar="",
        help="Encode without loss: kept frames come out bit-identical.",
        show_default=False,
        rich_help_panel=FILE,
    ),
]


def choose_quality(
    ctx: typer.Context, *, crf: int | None, lossless: bool
) -> tuple[int | None, bool]:
    """Of a crf and lossless that of the command line, where a file of settings says the other."""
    if crf is None or not lossless:
        return crf, lossless
    sources = map(ctx.get_parameter_source, ("crf", "lossless"))
    is_given = [source is not None and source.name == "COMMANDLINE" for source in sources]
    if is_given[0] == is_given[1]:
        return crf, lossless
    return (crf, False) if is_given[0] else (None, lossless)
