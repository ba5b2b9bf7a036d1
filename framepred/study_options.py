"""The options of train, evaluate and benchmark beside those that all commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from .encoding_options import PaceName
from .options import FILE, HOW, TALK, WHAT, complete_model

__all__ = [
    "BatchSize",
    "Batches",
    "BenchmarkSeconds",
    "CacheGb",
    "Clips",
    "Compile",
    "CountOnly",
    "Crop",
    "EncoderPreset",
    "EvaluateContext",
    "ForecastShare",
    "Hidden",
    "Initial",
    "Layers",
    "LearningRate",
    "Losses",
    "MaxMinutes",
    "PartName",
    "PerClip",
    "Plot",
    "Preset",
    "PresetName",
    "Resume",
    "RunFolder",
    "Scenes",
    "ScorePage",
    "Sequences",
    "Sizes",
    "Steps",
    "TaskName",
    "Tasks",
    "TrainClips",
    "TrainMaxGap",
    "ValidateEvery",
    "Validation",
    "Windows",
    "WithConfidence",
    "WithSlow",
    "WithSsim",
    "Without",
]


class PartName(StrEnum):
    """What an ablation takes away."""

    state = "state"
    hidden = "hidden"
    context = "context"
    start = "start"
    refinement = "refinement"
    learning = "learning"


class LearningPartName(StrEnum):
    """What may learn."""

    all = "all"
    motion = "motion"


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


class PresetName(StrEnum):
    """Other material than videos."""

    moving_mnist = "moving-mnist"


Clips = Annotated[
    list[Path],
    typer.Argument(metavar="CLIPS...", help="Videos, and folders of videos.", show_default=False),
]
TrainClips = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="CLIPS...",
        help="Videos, and folders of videos; none are needed with --scenes 1.",
        show_default=False,
    ),
]
Preset = Annotated[
    PresetName | None,
    typer.Option(
        "--preset",
        help="moving-mnist: learn or score on digits that drift and bounce, ten frames seen and "
        "ten forecast; CLIPS is the folder of the MNIST files. It has defaults of its own.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
RunFolder = Annotated[
    Path,
    typer.Option(
        "-o",
        "--out",
        metavar="FOLDER",
        help="Where the run lives: state, weights and log.",
        show_default=False,
        rich_help_panel=FILE,
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
        rich_help_panel=WHAT,
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
        rich_help_panel=WHAT,
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
        rich_help_panel=WHAT,
    ),
]
Initial = Annotated[
    str | None,
    typer.Option(
        "--initial",
        metavar="NAME|PATH",
        help="Start from these weights (fine-tune). Default: from scratch.",
        autocompletion=complete_model,
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
CellName = Annotated[
    str | None,
    typer.Option(
        "--cell",
        metavar="NAME",
        help="The recurrent cell: lstm, gru or rnn, then any of +peepholes, +layernorm or "
        "+groupnorm, +separable, +kernelN, as in lstm+layernorm+kernel5. Default: that of the "
        "initial weights, or lstm.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
Hidden = Annotated[
    int | None,
    typer.Option(
        "--hidden",
        metavar="N",
        min=1,
        max=1024,
        help="Channels of each layer's state, with --preset. Default: 128, with --features 512.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
Layers = Annotated[
    int | None,
    typer.Option(
        "--layers",
        metavar="N",
        min=1,
        max=64,
        help="Layers of cells, with --preset. Default: 4, with --features 2.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
Features = Annotated[
    bool,
    typer.Option(
        "--features",
        metavar="",
        help="With --preset: convolutions make each frame one vector, and the cells are plain ones "
        "that see these.",
        rich_help_panel=HOW,
    ),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", metavar="", help="Go on with the run in --out.", rich_help_panel=WHAT),
]
BatchSize = Annotated[
    int,
    typer.Option("--batch-size", metavar="N", min=1, help="Windows a step.", rich_help_panel=HOW),
]
Crop = Annotated[
    int,
    typer.Option(
        "--crop",
        metavar="PIXELS",
        min=32,
        help="Side of the square that is cut from each window.",
        rich_help_panel=HOW,
    ),
]
TrainMaxGap = Annotated[
    int,
    typer.Option(
        "--max-gap",
        metavar="N",
        min=1,
        help="Longest gap and farthest forecast to train on, in frames.",
        rich_help_panel=HOW,
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
        rich_help_panel=HOW,
    ),
]
Shrink = Annotated[
    float,
    typer.Option(
        "--shrink",
        metavar="SHARE",
        min=0,
        max=1,
        help="Share of the windows that show up to twice as much of the picture, shrunk to the "
        "crop.",
        rich_help_panel=HOW,
    ),
]
Scenes = Annotated[
    float,
    typer.Option(
        "--scenes",
        metavar="SHARE",
        min=0,
        max=1,
        help="Share of the steps that learn from synthetic scenes: layers cut out of the clips, "
        "and random textures, whose motion is known exactly.",
        rich_help_panel=HOW,
    ),
]
LearningPart = Annotated[
    LearningPartName,
    typer.Option(
        "--part",
        help="What may learn: all of the network, or only what says where points go (motion). The "
        "latter makes frames without the refinement, in a fraction of the time; all can go on "
        "from its weights by --initial.",
        rich_help_panel=HOW,
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        metavar="",
        help="Compile the network's parts with torch.compile first: minutes, then faster steps. "
        "Needs a C++ compiler.",
        rich_help_panel=HOW,
    ),
]
LearningRate = Annotated[
    float,
    typer.Option(
        "--learning-rate", metavar="RATE", min=0, help="Peak, of AdamW.", rich_help_panel=HOW
    ),
]
Losses = Annotated[
    str,
    typer.Option(
        "--loss",
        metavar="NAMES",
        help="What to minimize: mse, mae, charbonnier, log_mse, laplacian, census, bce, kl, js, "
        "gaussian_nll, laplace_nll, with commas; NAME:WEIGHT weighs. With --scenes also flow, "
        "beside one of these.",
        rich_help_panel=HOW,
    ),
]
ValidateEvery = Annotated[
    int,
    typer.Option(
        "--validate-every", metavar="N", min=1, help="Steps between scores.", rich_help_panel=HOW
    ),
]
CacheGb = Annotated[
    float,
    typer.Option(
        "--cache-gb",
        metavar="GB",
        min=0.01,
        help="Memory for decoded frames; what does not fit is left out, and counted.",
        rich_help_panel=HOW,
    ),
]
Tasks = Annotated[TaskName, typer.Option("--task", help="What to score.", rich_help_panel=WHAT)]
Windows = Annotated[
    Path | None,
    typer.Option(
        "--windows",
        metavar="FILE",
        help="A JSON file that fixes which frames are hidden, so that figures compare.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
PerClip = Annotated[
    int,
    typer.Option(
        "--per-clip",
        metavar="N",
        min=1,
        help="Windows of each length in each clip, without --windows.",
        rich_help_panel=WHAT,
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
        rich_help_panel=HOW,
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw the study of --context, PSNR by its length, or with --preset some forecasts, to "
        "an .svg, .png or .pdf file.",
        show_default=False,
        rich_help_panel=TALK,
    ),
]
ScorePage = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE.html",
        help="Also write a page: tables, charts beside the best baselines, and pictures of the "
        "hardest and the easiest windows.",
        show_default=False,
        rich_help_panel=TALK,
    ),
]
Without = Annotated[
    list[PartName] | None,
    typer.Option(
        "--without",
        help="Also score the network without this part: the recurrent state, of it only the "
        "hidden and cell states, the context beyond one frame on each side, the motion it starts "
        "from, or what it learnt. May be repeated.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
Sequences = Annotated[
    int,
    typer.Option(
        "--sequences",
        metavar="N",
        min=1,
        max=10_000,
        help="With --preset: score the first N of the 10,000 test sequences.",
        rich_help_panel=HOW,
    ),
]
WithSsim = Annotated[
    bool,
    typer.Option("--ssim/--no-ssim", metavar="", help="Score SSIM too.", rich_help_panel=HOW),
]
WithConfidence = Annotated[
    bool,
    typer.Option(
        "--confidence",
        metavar="",
        help="Also estimate every frame as fill-gaps does, by self-checks beside the hidden "
        "frames, and compare the estimates with the truth. Takes up to four times as long.",
        rich_help_panel=WHAT,
    ),
]
DrawnSamples = Annotated[
    int | None,
    typer.Option(
        "--samples",
        metavar="K",
        min=1,
        max=1000,
        help="Also draw K plausible futures of every forecast; score the best and their mean.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
WithSlow = Annotated[
    bool,
    typer.Option(
        "--slow",
        metavar="",
        help="Also score TV-L1 flow, which takes seconds a frame.",
        rich_help_panel=HOW,
    ),
]


# Benchmarks.


Sizes = Annotated[
    str | None,
    typer.Option(
        "--sizes",
        metavar="HEIGHTS",
        help="Picture heights, with commas. Default: 256p,720p,1080p,2160p; with --count "
        "256p,1080p. 256p is always measured: the others are foretold from it.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
Batches = Annotated[
    str,
    typer.Option(
        "--batch",
        metavar="NUMBERS",
        help="Gaps that the network fills at once, such as 1,8.",
        rich_help_panel=WHAT,
    ),
]
CountOnly = Annotated[
    bool,
    typer.Option(
        "--count",
        metavar="",
        help="Only count parameters and multiply-adds; measure nothing.",
        rich_help_panel=WHAT,
    ),
]
BenchmarkSeconds = Annotated[
    float,
    typer.Option(
        "--seconds",
        metavar="S",
        min=0.1,
        help="Most time for one measurement; what needs more is skipped.",
        rich_help_panel=HOW,
    ),
]
EncoderPreset = Annotated[
    PaceName | None,
    typer.Option(
        "--preset",
        help="Pace of the encoder, as for fill-gaps. Default: medium.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
