"""What the commands share that read from a pipe or write to one: INPUT or OUTPUT is ``-``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .batches import Batch
from .errors import GapError, MediaError
from .options import FILE
from .outputs import is_pipe
from .reports import OnProgress, Report

if TYPE_CHECKING:
    from .console import Terminal
    from .y4m import PictureFormat

__all__ = ["Raw", "check_streams", "run_stream"]

Raw = Annotated[
    str | None,
    typer.Option(
        "--raw",
        metavar="SIZE:FORMAT:RATE",
        help="What standard input is, where it is no y4m: raw pictures such as "
        "640x360:yuv420p:30000/1001. Standard output has the same then.",
        show_default=False,
        rich_help_panel=FILE,
    ),
]

_ENCODING = ("codec", "crf", "preset", "lossless")
_NAMES = {"from_time": "--from"}  # of options whose parameters have others


def check_streams(
    ctx: typer.Context,
    inputs: Sequence[Path],
    output: Path | None,
    json: str | None,
    raw: str | None,
    *,
    never: Collection[str],
) -> bool:
    """Tell whether the input is standard input, and refuse what does not go with a pipe.

    never: parameters that need a file to read; all refusals are usage errors.
    """
    reads = any(is_pipe(path) for path in inputs)
    writes = output is not None and is_pipe(output)
    if writes and json == "-":
        raise typer.BadParameter("standard output has the pictures already", param_hint="--json")
    if reads and len(inputs) > 1:
        raise typer.BadParameter("standard input goes alone", param_hint="INPUT...")
    if reads and output is None:
        raise typer.BadParameter("say where it goes: -o FILE, or -o - for standard output")
    if raw is not None and not reads:
        raise typer.BadParameter("says what standard input is: give - as INPUT", param_hint="--raw")
    refused = [*(never if reads else ()), *(_ENCODING if writes else ())]
    if writes:
        refused += ["dry_run", "hold_out", "samples", "resume"]
    for name in refused:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            why = "does not go with standard output, which has the pictures as they are"
            if name in never and reads:
                why = "does not go with standard input, which is read once; give a file"
            option = _NAMES.get(name, f"--{name.replace('_', '-')}")
            raise typer.BadParameter(why, param_hint=option)
    return reads


def run_stream(
    terminal: Terminal,
    work: Callable[..., Report],
    output: Path,
    raw: str | None,
    *,
    json: str | None,
    show: Callable[[Any], None],
    **options: Any,
) -> None:
    """Have a function of ``streaming`` work from standard input to where ``output`` says."""
    from .pipes import open_stdin, open_stdout

    pictures = _parse_raw(raw)
    batch = Batch(terminal, [Path("-")], json)

    def stream(_: Path, on_progress: OnProgress) -> Report:
        return work(
            open_stdin(),
            open_stdout() if is_pipe(output) else output,
            raw=pictures,
            on_progress=on_progress,
            **options,
        )

    batch.work(stream, show=show)
    batch.finish()


def _parse_raw(text: str | None) -> PictureFormat | None:
    if text is None:
        return None
    from .y4m import parse_raw

    try:
        return parse_raw(text)
    except (MediaError, GapError) as error:
        raise typer.BadParameter(str(error), param_hint="--raw") from None
