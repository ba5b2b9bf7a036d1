"""The options of the commands that work on videos: names, types and help, each defined once."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .timeline import MOST_AHEAD, Kind

__all__ = [
    "FILE",
    "HOW",
    "TALK",
    "WHAT",
    "Adapt",
    "Config",
    "ContactSheet",
    "Context",
    "Detect",
    "Device",
    "DeviceName",
    "DryRun",
    "Fps",
    "FramesFolder",
    "FromTime",
    "GapFile",
    "HoldOut",
    "Input",
    "Inputs",
    "Insertions",
    "Json",
    "LogFile",
    "MaxGap",
    "Mend",
    "Model",
    "NFrames",
    "NamedGaps",
    "OnlyNew",
    "Other",
    "Output",
    "Overwrite",
    "PlotFile",
    "PreviewFile",
    "Progress",
    "ProgressMode",
    "Quiet",
    "Reference",
    "ReferenceInput",
    "ReportFile",
    "Resume",
    "Seed",
    "SelfCheck",
    "Sound",
    "SoundName",
    "Tile",
    "Times",
    "Verbose",
    "choose_given",
    "complete_model",
    "parse_detect",
    "parse_tile",
]

KINDS: tuple[Kind, ...] = ("missing", "corrupt", "smeared", "frozen", "black", "closed")

WHAT = "What to do"
HOW = "How to do it"
FILE = "Output file"
TALK = "Reports"


class DeviceName(StrEnum):
    """Where the network runs."""

    auto = "auto"
    cuda = "cuda"
    mps = "mps"
    cpu = "cpu"


class ProgressMode(StrEnum):
    """How progress is told on stderr."""

    auto = "auto"
    bar = "bar"
    machine = "machine"
    none = "none"


class SoundName(StrEnum):
    """What becomes of the other streams where frames are inserted."""

    auto = "auto"
    keep = "keep"
    move = "move"


def complete_model(incomplete: str) -> list[str]:
    from .packaged import list_models

    return [model.name for model in list_models() if model.name.startswith(incomplete)]


def _complete_detect(incomplete: str) -> list[str]:
    """Complete the last word of a list with commas."""
    head, comma, last = incomplete.rpartition(",")
    taken = head.split(",")
    return [f"{head}{comma}{kind}" for kind in KINDS if kind.startswith(last) and kind not in taken]


def parse_detect(text: str) -> tuple[Kind, ...]:
    """Split ``missing,frozen``; an unknown word is a usage error."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in KINDS]
    if unknown:
        raise typer.BadParameter(
            f"{', '.join(unknown)}: choose from {', '.join(KINDS)}", param_hint="--detect"
        )
    return tuple(kind for kind in KINDS if kind in words)


def choose_given(ctx: typer.Context, **rivals: Any) -> list[Any]:
    """Of options that exclude each other, each with its value, those of the command line.

    What a file of settings says steps back (None) where there is one of those.
    """
    given = [
        source is not None and source.name == "COMMANDLINE"
        for source in map(ctx.get_parameter_source, rivals)
    ]
    kept = given if any(given) else [True] * len(given)
    return [
        value if is_kept else None for value, is_kept in zip(rivals.values(), kept, strict=True)
    ]


def parse_tile(text: str) -> int | str | None:
    """``auto``, None for ``off``, or pixels; anything else is a usage error."""
    if text in ("auto", "off"):
        return "auto" if text == "auto" else None
    from .tiles import SMALLEST_TILE

    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < SMALLEST_TILE:
        raise typer.BadParameter(
            f"{text!r} is neither auto, off nor {SMALLEST_TILE} pixels or more", param_hint="--tile"
        )
    return int(text)


Input = Annotated[Path, typer.Argument(metavar="INPUT", help="The video.", show_default=False)]
Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT",
        help="One video, or several: then one that fails does not stop the others. Numbered "
        "pictures are one too, by their folder or as frame_%05d.png. '-' is standard input, "
        "y4m, read once: fill-gaps finds nothing in it by itself, --gap has to name what is wrong.",
        show_default=False,
    ),
]
ReferenceInput = Annotated[
    Path, typer.Argument(metavar="REFERENCE", help="The true video.", show_default=False)
]
Other = Annotated[
    Path, typer.Argument(metavar="OTHER", help="The video to judge.", show_default=False)
]

NamedGaps = Annotated[
    list[str] | None,
    typer.Option(
        "--gap",
        metavar="START:STOP",
        help="Make these frames anew, whatever is there: frames 120:128 counted from 0 with STOP "
        "left out, or times 00:00:04.000-00:00:04.266 or 4.0-4.266. May be repeated.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
GapFile = Annotated[
    Path | None,
    typer.Option(
        "--gaps",
        metavar="FILE",
        help="A text file with one such gap a line; # begins a comment.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
Insertions = Annotated[
    list[str] | None,
    typer.Option(
        "--insert",
        metavar="START:COUNT",
        help="Make COUNT new frames before frame START, where a recording was closed up ('scan' "
        "lists suspicions): all that follows comes later, and the video gets longer. May be "
        "repeated; every START counts as in the input.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
Sound = Annotated[
    SoundName,
    typer.Option(
        "--sound",
        help="Sound, subtitles and chapters behind an --insert: keep leaves their times (sound ran "
        "on while pictures were lost, so this brings them together), move moves them with the "
        "pictures (sound was lost too; a silence stays), auto judges by where the sound ends.",
        rich_help_panel=WHAT,
    ),
]
Detect = Annotated[
    str,
    typer.Option(
        "--detect",
        metavar="KINDS",
        help="What to look for: missing, corrupt, smeared, frozen, black, closed, with commas. '' "
        "for nothing. What is closed up is reported, not filled: see --insert.",
        autocompletion=_complete_detect,
        rich_help_panel=WHAT,
    ),
]
MaxGap = Annotated[
    int,
    typer.Option(
        "--max-gap",
        metavar="N",
        min=1,
        help="A longer gap is not synthesized; the report says what happens to it instead.",
        rich_help_panel=WHAT,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume/--no-resume",
        metavar="",
        help="Go on from what an interrupted run has made, and keep what this one makes if it is "
        "interrupted. The output is the same as without an interruption.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "-n",
        "--dry-run",
        metavar="",
        help="Print what would be done; write no video and load no network.",
        rich_help_panel=WHAT,
    ),
]
Context = Annotated[
    int,
    typer.Option(
        "--context",
        metavar="N",
        min=1,
        help="Real frames that the network is shown on each side, at most.",
        rich_help_panel=HOW,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME|PATH",
        help="A packaged model ('framepred info' lists them) or a file of weights.",
        autocompletion=complete_model,
        rich_help_panel=HOW,
    ),
]
Device = Annotated[
    DeviceName,
    typer.Option("--device", help="Where the network runs.", rich_help_panel=HOW),
]
Tile = Annotated[
    str,
    typer.Option(
        "--tile",
        metavar="auto|off|PIXELS",
        help="Side of the tiles in which the network puts together frames of 540 lines and more: "
        "by the free memory, whole frames, or so many pixels. What is made is the same.",
        rich_help_panel=HOW,
    ),
]
SelfCheck = Annotated[
    bool,
    typer.Option(
        "--self-check/--no-self-check",
        metavar="",
        help="Hide real frames beside each gap, predict them too, and report how well that went "
        "as the estimate for the gap. Costs up to three times the network's time.",
        rich_help_panel=HOW,
    ),
]
Mend = Annotated[
    bool,
    typer.Option(
        "--mend/--no-mend",
        metavar="",
        help="Of damaged frames keep what was decoded well, where the decoder lets that be told "
        "(H.264, MPEG-1, -2 and -4), and make only the rest anew; or replace them whole.",
        rich_help_panel=HOW,
    ),
]
Adapt = Annotated[
    int | None,
    typer.Option(
        "--adapt",
        metavar="STEPS",
        min=1,
        help="Fine-tune a copy of the network on this video's own frames for so many steps first, "
        "about a second each on a CPU; it is used only if it predicts hidden frames better. 50 is "
        "a good number.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        metavar="FILE",
        help="The undamaged video: score the made frames against it, matched by time.",
        show_default=False,
        rich_help_panel=TALK,
    ),
]

NFrames = Annotated[
    int,
    typer.Option(
        "--frames",
        metavar="N",
        min=1,
        max=MOST_AHEAD,
        help="How many frames to forecast.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
FromTime = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="TIME",
        help="Forecast after this time of the file's clock (4.5 or 00:00:04.500) instead of after "
        "the end; the output ends with the forecast.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
OnlyNew = Annotated[
    bool,
    typer.Option(
        "--only-new",
        metavar="",
        help="Write the forecast frames alone, from time 0, without other streams.",
        rich_help_panel=WHAT,
    ),
]
HoldOut = Annotated[
    bool,
    typer.Option(
        "--hold-out",
        metavar="",
        help="Hide the last N real frames, forecast them and score the forecast against them. "
        "A video is then written only with -o.",
        rich_help_panel=WHAT,
    ),
]

Fps = Annotated[
    str | None,
    typer.Option(
        "--fps",
        metavar="RATE",
        help="So many frames a second, constant, whatever the video's were: 60, 59.94 or "
        "60000/1001. Frames that it has where a new one is due are kept.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
Times = Annotated[
    int | None,
    typer.Option(
        "--times",
        metavar="N",
        min=2,
        max=64,
        help="N times as many frames: all that are there, and others evenly between them.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]

Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="OUTPUT",
        help="The new video, or a folder for it, or '-': y4m on standard output. Default: beside "
        "the input.",
        show_default=False,
        rich_help_panel=FILE,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "-y",
        "--overwrite/--no-overwrite",
        metavar="",
        help="Replace an output that exists.",
        show_default=False,
        rich_help_panel=FILE,
    ),
]
ReportFile = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE.html",
        help="Also write a page that shows what was done: pictures, scores, the reason of every "
        "decision. With several videos a folder for their pages.",
        show_default=False,
        rich_help_panel=TALK,
    ),
]
PreviewFile = Annotated[
    Path | None,
    typer.Option(
        "--preview",
        metavar="FILE.mp4",
        help="Also write a small video: as it played beside the filled one, the gaps framed.",
        show_default=False,
        rich_help_panel=TALK,
    ),
]
ContactSheet = Annotated[
    Path | None,
    typer.Option(
        "--contact-sheet",
        metavar="FILE.png",
        help="Also write one picture (.png, .webp, .jpg) with the frames around every gap.",
        show_default=False,
        rich_help_panel=TALK,
    ),
]
FramesFolder = Annotated[
    Path | None,
    typer.Option(
        "--frames-dir",
        metavar="DIR",
        help="Also write the made frames alone, as PNG in a new folder, with a list in JSON.",
        show_default=False,
        rich_help_panel=TALK,
    ),
]
PlotFile = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw PSNR and SSIM frame by frame, to an .svg, .png or .pdf file.",
        show_default=False,
        rich_help_panel=TALK,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Defaults of the options, a table for each command. Default: framepred.toml, or "
        "[tool.framepred] of pyproject.toml, in this folder.",
        show_default=False,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "-q", "--quiet", metavar="", help="Say nothing but errors. Before the command, as all here."
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "-v",
        "--verbose",
        metavar="",
        help="Say also what was decided about every gap and why, and what was chosen by what.",
    ),
]
LogFile = Annotated[
    Path | None,
    typer.Option(
        "--log-file",
        metavar="FILE",
        help="Append what is said to a file too, each line with its time.",
        show_default=False,
    ),
]

Json = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE|-",
        help="Write the report as one JSON object to a file, or to stdout (-).",
        show_default=False,
        rich_help_panel=TALK,
    ),
]
Progress = Annotated[
    ProgressMode,
    typer.Option(
        "--progress",
        help="Progress on stderr: a bar (auto: on a terminal only), one JSON object a line "
        "(machine), or none.",
        rich_help_panel=TALK,
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        "--samples",
        metavar="K",
        min=1,
        max=1000,
        help="Forecast K different plausible futures, clip.forecast-1.mp4 and so on, in place of "
        "the one that is the mean of all.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        metavar="N",
        min=0,
        max=2**32 - 1,
        help="Of all random choices.",
        rich_help_panel=HOW,
    ),
]
