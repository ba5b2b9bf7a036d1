"""The options of the command line: their names, types and help, each defined once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from .timeline import Kind

__all__ = [
    "Adapt",
    "BatchSize",
    "Batches",
    "BenchmarkSeconds",
    "CacheGb",
    "Clips",
    "Codec",
    "Context",
    "CountOnly",
    "Crf",
    "Crop",
    "Detect",
    "Device",
    "DeviceName",
    "DryRun",
    "EvaluateContext",
    "ForecastShare",
    "FromTime",
    "GapFile",
    "HoldOut",
    "Initial",
    "Input",
    "Inputs",
    "Json",
    "LearningRate",
    "Losses",
    "Lossless",
    "MaxGap",
    "MaxMinutes",
    "Model",
    "NFrames",
    "NamedGaps",
    "OnlyNew",
    "Other",
    "Output",
    "Overwrite",
    "PartName",
    "PerClip",
    "Plot",
    "Progress",
    "ProgressMode",
    "Reference",
    "ReferenceInput",
    "Resume",
    "RunFolder",
    "Seed",
    "SelfCheck",
    "Sizes",
    "Steps",
    "TaskName",
    "Tasks",
    "TrainMaxGap",
    "ValidateEvery",
    "Validation",
    "Windows",
    "WithConfidence",
    "WithSlow",
    "WithSsim",
    "Without",
    "check_plot",
    "parse_contexts",
    "parse_detect",
    "parse_losses",
    "parse_numbers",
    "parse_sizes",
]

KINDS: tuple[Kind, ...] = ("missing", "corrupt", "frozen", "black")
PLOT_SUFFIXES = (".svg", ".png", ".pdf")

_WHAT = "What to do"
_HOW = "How to do it"
_FILE = "Output file"
_TALK = "Reports"


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


def _complete_model(incomplete: str) -> list[str]:
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


Input = Annotated[Path, typer.Argument(metavar="INPUT", help="The video.", show_default=False)]
Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT",
        help="One video, or several: then one that fails does not stop the others.",
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
        rich_help_panel=_WHAT,
    ),
]
GapFile = Annotated[
    Path | None,
    typer.Option(
        "--gaps",
        metavar="FILE",
        help="A text file with one such gap a line; # begins a comment.",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
Detect = Annotated[
    str,
    typer.Option(
        "--detect",
        metavar="KINDS",
        help="What to look for: missing, corrupt, frozen, black, with commas. '' for nothing.",
        autocompletion=_complete_detect,
        rich_help_panel=_WHAT,
    ),
]
MaxGap = Annotated[
    int,
    typer.Option(
        "--max-gap",
        metavar="N",
        min=1,
        help="A longer gap is not synthesized; the report says what happens to it instead.",
        rich_help_panel=_WHAT,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "-n",
        "--dry-run",
        metavar="",
        help="Print what would be done; write no video and load no network.",
        rich_help_panel=_WHAT,
    ),
]
Context = Annotated[
    int,
    typer.Option(
        "--context",
        metavar="N",
        min=1,
        help="Real frames that the network is shown on each side, at most.",
        rich_help_panel=_HOW,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME|PATH",
        help="A packaged model ('framepred info' lists them) or a file of weights.",
        autocompletion=_complete_model,
        rich_help_panel=_HOW,
    ),
]
Device = Annotated[
    DeviceName,
    typer.Option("--device", help="Where the network runs.", rich_help_panel=_HOW),
]
SelfCheck = Annotated[
    bool,
    typer.Option(
        "--self-check/--no-self-check",
        metavar="",
        help="Hide real frames beside each gap, predict them too, and report how well that went "
        "as the estimate for the gap. Costs up to three times the network's time.",
        rich_help_panel=_HOW,
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
        rich_help_panel=_HOW,
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        metavar="FILE",
        help="The undamaged video: score the made frames against it, matched by time.",
        show_default=False,
        rich_help_panel=_TALK,
    ),
]

NFrames = Annotated[
    int,
    typer.Option(
        "--frames",
        metavar="N",
        min=1,
        help="How many frames to forecast.",
        show_default=False,
        rich_help_panel=_WHAT,
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
        rich_help_panel=_WHAT,
    ),
]
OnlyNew = Annotated[
    bool,
    typer.Option(
        "--only-new",
        metavar="",
        help="Write the forecast frames alone, from time 0, without other streams.",
        rich_help_panel=_WHAT,
    ),
]
HoldOut = Annotated[
    bool,
    typer.Option(
        "--hold-out",
        metavar="",
        help="Hide the last N real frames, forecast them and score the forecast against them. "
        "A video is then written only with -o.",
        rich_help_panel=_WHAT,
    ),
]

Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="OUTPUT",
        help="The new video, or a folder for it. Default: beside the input.",
        show_default=False,
        rich_help_panel=_FILE,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "-y",
        "--overwrite",
        metavar="",
        help="Replace an output that exists.",
        rich_help_panel=_FILE,
    ),
]
Codec = Annotated[
    str | None,
    typer.Option(
        "--codec",
        metavar="NAME",
        help="FFmpeg's name of the video encoder. Default: the input's codec.",
        show_default=False,
        rich_help_panel=_FILE,
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
        rich_help_panel=_FILE,
    ),
]
Lossless = Annotated[
    bool,
    typer.Option(
        "--lossless",
        metavar="",
        help="Encode without loss: kept frames come out bit-identical.",
        rich_help_panel=_FILE,
    ),
]

Json = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE|-",
        help="Write the report as one JSON object to a file, or to stdout (-).",
        show_default=False,
        rich_help_panel=_TALK,
    ),
]
Progress = Annotated[
    ProgressMode,
    typer.Option(
        "--progress",
        help="Progress on stderr: a bar (auto: on a terminal only), one JSON object a line "
        "(machine), or none.",
        rich_help_panel=_TALK,
    ),
]


# Training and evaluation.


class PartName(StrEnum):
    """What an ablation takes away."""

    state = "state"
    context = "context"
    start = "start"
    learning = "learning"


class TaskName(StrEnum):
    """What is scored."""

    fill = "fill"
    forecast = "forecast"
    both = "both"

    @property
    def tasks(self) -> tuple[Literal["fill", "forecast"], ...]:
        """The tasks that this means."""
        if self is TaskName.both:
            return ("fill", "forecast")
        return ("fill",) if self is TaskName.fill else ("forecast",)


def parse_losses(text: str) -> dict[str, float]:
    """Split ``laplacian,census:0.5`` into names and weights; nonsense is a usage error."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, weight = part.strip().partition(":")
        try:
            weights[name] = float(weight or 1)
        except ValueError:
            raise typer.BadParameter(
                f"{part!r}: write NAME or NAME:WEIGHT", param_hint="--loss"
            ) from None
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


def check_plot(plot: Path, contexts: int | tuple[int, ...] | None) -> None:
    """Refuse a plot of nothing or in no known format: a usage error."""
    if plot.suffix.lower() not in PLOT_SUFFIXES:
        raise typer.BadParameter(
            f"{plot}: the name must end in one of {', '.join(PLOT_SUFFIXES)}", param_hint="--plot"
        )
    if not isinstance(contexts, tuple):
        raise typer.BadParameter(
            "there is nothing to draw without several lengths, --context 1,2,4",
            param_hint="--plot",
        )


Clips = Annotated[
    list[Path],
    typer.Argument(metavar="CLIPS...", help="Videos, and folders of videos.", show_default=False),
]
RunFolder = Annotated[
    Path,
    typer.Option(
        "-o",
        "--out",
        metavar="FOLDER",
        help="Where the run lives: state, weights and log.",
        show_default=False,
        rich_help_panel=_FILE,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        "--total-steps",
        metavar="N",
        min=1,
        help="Length of the schedule, over all sessions: the learning rate falls along a cosine "
        "over N steps.",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
MaxMinutes = Annotated[
    float | None,
    typer.Option(
        "--max-minutes",
        metavar="M",
        min=0.01,
        help="With --steps a lease: M minutes after its start this session takes no more steps, "
        "saves and scores; --resume goes on. Without --steps the length of the schedule, over all "
        "sessions.",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
Validation = Annotated[
    list[Path] | None,
    typer.Option(
        "--validation",
        metavar="CLIPS",
        help="Videos to score on while training; may be repeated. Default: every tenth video is "
        "kept out of training for it.",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
Initial = Annotated[
    str | None,
    typer.Option(
        "--initial",
        metavar="NAME|PATH",
        help="Start from these weights (fine-tune). Default: from scratch.",
        autocompletion=_complete_model,
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", metavar="", help="Go on with the run in --out.", rich_help_panel=_WHAT
    ),
]
BatchSize = Annotated[
    int,
    typer.Option("--batch-size", metavar="N", min=1, help="Windows a step.", rich_help_panel=_HOW),
]
Crop = Annotated[
    int,
    typer.Option(
        "--crop",
        metavar="PIXELS",
        min=32,
        help="Side of the square that is cut from each window.",
        rich_help_panel=_HOW,
    ),
]
TrainMaxGap = Annotated[
    int,
    typer.Option(
        "--max-gap",
        metavar="N",
        min=1,
        help="Longest gap and farthest forecast to train on, in frames.",
        rich_help_panel=_HOW,
    ),
]
ForecastShare = Annotated[
    float,
    typer.Option(
        "--forecast-share",
        metavar="SHARE",
        min=0,
        max=1,
        help="Share of the steps that forecast instead of filling.",
        rich_help_panel=_HOW,
    ),
]
LearningRate = Annotated[
    float,
    typer.Option(
        "--learning-rate", metavar="RATE", min=0, help="Peak, of AdamW.", rich_help_panel=_HOW
    ),
]
Losses = Annotated[
    str,
    typer.Option(
        "--loss",
        metavar="NAMES",
        help="What to minimize: log_mse, laplacian, charbonnier, census, with commas; "
        "NAME:WEIGHT weighs.",
        rich_help_panel=_HOW,
    ),
]
ValidateEvery = Annotated[
    int,
    typer.Option(
        "--validate-every", metavar="N", min=1, help="Steps between scores.", rich_help_panel=_HOW
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", help="Of all random choices.", rich_help_panel=_HOW)
]
CacheGb = Annotated[
    float,
    typer.Option(
        "--cache-gb",
        metavar="GB",
        min=0.01,
        help="Memory for decoded frames; what does not fit is left out, and counted.",
        rich_help_panel=_HOW,
    ),
]
Tasks = Annotated[TaskName, typer.Option("--task", help="What to score.", rich_help_panel=_WHAT)]
Windows = Annotated[
    Path | None,
    typer.Option(
        "--windows",
        metavar="FILE",
        help="A JSON file that fixes which frames are hidden, so that figures compare.",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
PerClip = Annotated[
    int,
    typer.Option(
        "--per-clip",
        metavar="N",
        min=1,
        help="Windows of each length in each clip, without --windows.",
        rich_help_panel=_WHAT,
    ),
]
EvaluateContext = Annotated[
    str | None,
    typer.Option(
        "--context",
        metavar="N[,N...]",
        help="Show at most N frames on each side. Default: 4 to fill, 8 to forecast. Several "
        "numbers (1,2,4) study the length: a row of the model for each, with so many frames where "
        "the clip has them.",
        show_default=False,
        rich_help_panel=_HOW,
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw the study of --context, PSNR by its length, to an .svg, .png or .pdf file.",
        show_default=False,
        rich_help_panel=_TALK,
    ),
]
Without = Annotated[
    list[PartName] | None,
    typer.Option(
        "--without",
        help="Also score the network without this part: the recurrent state, the context beyond "
        "one frame on each side, the motion it starts from, or what it learnt. May be repeated.",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
WithSsim = Annotated[
    bool,
    typer.Option("--ssim/--no-ssim", metavar="", help="Score SSIM too.", rich_help_panel=_HOW),
]
WithConfidence = Annotated[
    bool,
    typer.Option(
        "--confidence",
        metavar="",
        help="Also estimate every frame as fill-gaps does, by self-checks beside the hidden "
        "frames, and compare the estimates with the truth. Takes up to four times as long.",
        rich_help_panel=_WHAT,
    ),
]
WithSlow = Annotated[
    bool,
    typer.Option(
        "--slow",
        metavar="",
        help="Also score TV-L1 flow, which takes seconds a frame.",
        rich_help_panel=_HOW,
    ),
]


# Benchmarks.


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


Sizes = Annotated[
    str | None,
    typer.Option(
        "--sizes",
        metavar="HEIGHTS",
        help="Picture heights, with commas. Default: 256p,720p,1080p,2160p; with --count "
        "256p,1080p. 256p is always measured: the others are foretold from it.",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
Batches = Annotated[
    str,
    typer.Option(
        "--batch",
        metavar="NUMBERS",
        help="Gaps that the network fills at once, such as 1,8.",
        rich_help_panel=_WHAT,
    ),
]
CountOnly = Annotated[
    bool,
    typer.Option(
        "--count",
        metavar="",
        help="Only count parameters and multiply-adds; measure nothing.",
        rich_help_panel=_WHAT,
    ),
]
BenchmarkSeconds = Annotated[
    float,
    typer.Option(
        "--seconds",
        metavar="S",
        min=0.1,
        help="Most time for one measurement; what needs more is skipped.",
        rich_help_panel=_HOW,
    ),
]
