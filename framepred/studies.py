"""The commands that leave videos as they are: they learn from them, score, compare and measure.

As in ``cli``, heavy modules are imported inside the commands.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from . import options, study_options, study_values
from .batches import check_json
from .outputs import check_output
from .terminals import open_terminal

if TYPE_CHECKING:
    from .session import TrainReport

__all__ = ["benchmark", "compare", "evaluate", "info", "train"]


def train(
    ctx: typer.Context,
    out: study_options.RunFolder,
    clips: study_options.TrainClips = None,
    preset: study_options.Preset = None,
    steps: study_options.Steps = None,
    max_minutes: study_options.MaxMinutes = None,
    validation: study_options.Validation = None,
    initial: study_options.Initial = None,
    cell: study_options.CellName = None,
    hidden: study_options.Hidden = None,
    layers: study_options.Layers = None,
    features: study_options.Features = False,
    resume: study_options.Resume = False,
    batch_size: study_options.BatchSize = 4,
    crop: study_options.Crop = 224,
    max_gap: study_options.TrainMaxGap = 8,
    forecast_share: study_options.ForecastShare = 0.3,
    shrink: study_options.Shrink = 0.15,
    scenes: study_options.Scenes = 0.0,
    part: study_options.LearningPart = study_options.LearningPartName.all,
    compile: study_options.Compile = False,
    learning_rate: study_options.LearningRate = 4e-4,
    loss: study_options.Losses = "laplacian,charbonnier",
    validate_every: study_options.ValidateEvery = 1000,
    seed: options.Seed = 1,
    cache_gb: study_options.CacheGb = 12.0,
    device: options.Device = options.DeviceName.auto,
    json: options.Json = None,
    progress: options.Progress = options.ProgressMode.auto,
) -> None:
    """Train the network on a folder of videos, or fine-tune it with --initial default.

    Filling and forecasting are learnt in one run. Stopped at any time, even by a power cut, it
    goes on with --resume from its last state, at most two minutes old. The result is
    OUT/model.safetensors, for --model.
    """
    if steps is None and max_minutes is None:
        raise typer.BadParameter("say how long: --steps N, --max-minutes M, or both")
    clips = clips or []
    if not clips and (preset is not None or scenes < 1):
        raise typer.BadParameter("none given", param_hint="CLIPS...")
    given = study_values.list_given(
        ctx,
        preset,
        clips,
        only={"hidden", "layers", "features"},
        never={
            "validation",
            "initial",
            "crop",
            "max_gap",
            "forecast_share",
            "shrink",
            "scenes",
            "part",
            "compile_",
            "cache_gb",
        },
    )
    check_json(json, clips)
    settings: dict[str, Any] = {
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "losses": study_values.parse_losses(loss),
        "validate_every": validate_every,
        "seed": seed,
    }
    is_first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started
    with open_terminal(progress, quiet=not is_first) as terminal:
        from . import findings
        from .learner import STATE_FILE

        start: Callable[..., TrainReport]
        if preset is not None:
            from . import moving_mnist

            names = {"losses" if name == "loss" else name for name in given}
            start = partial(
                moving_mnist.train,
                clips[0],
                config=moving_mnist.choose_config(
                    n_steps=steps,
                    max_minutes=max_minutes,
                    **{name: settings[name] for name in settings.keys() & names},
                ),
                network=moving_mnist.choose_network(
                    features=features, n_hidden=hidden, n_layers=layers, cell=cell
                ),
            )
        else:
            from . import training

            start = partial(
                training.train,
                clips,
                config=training.TrainConfig(
                    n_steps=steps,
                    max_minutes=max_minutes,
                    crop=crop,
                    max_gap=max_gap,
                    forecast_share=forecast_share,
                    shrink=shrink,
                    scenes=scenes,
                    part=part.value,
                    compile=compile,
                    **settings,
                ),
                validation=validation or None,
                initial=initial,
                cell=cell,
                cache_gb=cache_gb,
            )
        with terminal.follow(out) as on_progress:
            try:
                report = start(
                    out=out,
                    resume=resume,
                    device=device.value,
                    on_progress=on_progress,
                    on_event=partial(findings.show_event, terminal),
                )
            except KeyboardInterrupt:
                if os.path.isfile(out / STATE_FILE):
                    terminal.say(f"{out}: go on from what was saved last with --resume")
                raise
        if is_first and json is not None:
            terminal.write_json(json, report.as_dict())
        if is_first and json != "-":
            findings.show_training(terminal, report)


def evaluate(
    ctx: typer.Context,
    clips: study_options.Clips,
    preset: study_options.Preset = None,
    task: study_options.Tasks = study_options.TaskName.both,
    windows: study_options.Windows = None,
    per_clip: study_options.PerClip = 2,
    context: study_options.EvaluateContext = None,
    without: study_options.Without = None,
    ssim: study_options.WithSsim = True,
    slow: study_options.WithSlow = False,
    confidence: study_options.WithConfidence = False,
    samples: study_options.DrawnSamples = None,
    sequences: study_options.Sequences = 10_000,
    model: options.Model = "default",
    device: options.Device = options.DeviceName.auto,
    plot: study_options.Plot = None,
    report: study_options.ScorePage = None,
    json: options.Json = None,
    progress: options.Progress = options.ProgressMode.auto,
) -> None:
    """Hide known frames of videos, predict them, and score the model beside the baselines.

    The table goes to stdout: PSNR in dB and SSIM by the number of hidden frames (fill) or by how
    far ahead a frame lies (forecast).
    """
    study_values.list_given(
        ctx,
        preset,
        clips,
        only={"sequences"},
        never={
            *("task", "windows", "per_clip", "context", "without", "ssim", "slow", "confidence"),
            *("samples", "report"),
        },
    )
    contexts = study_values.parse_contexts(context)
    if samples and "forecast" not in task.tasks:
        raise typer.BadParameter("of forecasts alone: leave --task out", param_hint="--samples")
    check_json(json, [*clips, plot, report, windows])
    if plot is not None:
        study_values.check_plot(plot, contexts, with_preset=preset is not None)
    with open_terminal(progress) as terminal:
        from . import findings

        if plot is not None:
            for clip in clips:
                check_output(clip, plot, overwrite=True)
            # At its first start on a machine it says on stderr that it collects the fonts.
            logging.getLogger("matplotlib").setLevel(logging.ERROR)
            from . import plots
        if report is not None:
            from .views import Views

            Views(report=report, overwrite=True).check(clips[0], (*clips, plot))
        if preset is not None:
            from . import moving_mnist

            with terminal.follow(clips[0]) as on_progress:
                digits, strip = moving_mnist.evaluate(
                    clips[0],
                    model,
                    n_sequences=sequences,
                    device=device.value,
                    on_progress=on_progress,
                )
            if json != "-":
                findings.show_digits(terminal, digits)
            if json is not None:
                terminal.write_json(json, digits.as_dict())
            if plot is not None:
                plots.plot_strip(strip, plot)
            return
        from . import evaluation, galleries
        from .predictor import Predictor

        gallery = None if report is None else galleries.Gallery()
        predictor = Predictor.load(model, device=device.value)
        with terminal.follow(clips[0]) as on_progress:
            scores = evaluation.evaluate(
                clips,
                predictor=predictor,
                windows=windows,
                tasks=task.tasks,
                per_clip=per_clip,
                n_context=contexts,
                without=[part.value for part in without or ()],
                with_ssim=ssim,
                with_slow=slow,
                with_confidence=confidence,
                n_samples=samples or 0,
                gallery=gallery,
                on_progress=on_progress,
            )
        if json is not None:
            terminal.write_json(json, scores.as_dict())
        if json != "-":
            findings.show_evaluation(terminal, scores)
        if plot is not None:
            plots.plot_contexts(scores, plot)
        if report is not None and gallery is not None:
            from .scoreboards import write_scores

            write_scores(scores, gallery, report)


def compare(
    reference: options.ReferenceInput,
    other: options.Other,
    plot: options.PlotFile = None,
    json: options.Json = None,
    progress: options.Progress = options.ProgressMode.auto,
) -> None:
    """Measure SSIM and PSNR of one video against another, frame by frame.

    Frames are paired by their time after the first frame. --json has the scores of every frame.
    """
    check_json(json, [reference, other, plot])
    if plot is not None:
        study_values.check_suffix(plot)
    with open_terminal(progress) as terminal:
        from . import comparison, findings

        if plot is not None:
            for video in (reference, other):
                check_output(video, plot, overwrite=True)

        with terminal.follow(other) as on_progress:
            report = comparison.compare(reference, other, on_progress=on_progress)
        if json is not None:
            terminal.write_json(json, report.as_dict())
        if json != "-":
            findings.show_comparison(terminal, report)
        if plot is not None:
            logging.getLogger("matplotlib").setLevel(logging.ERROR)  # as in ``evaluate``
            from .plots import plot_comparison

            plot_comparison(report, plot)


def benchmark(
    sizes: study_options.Sizes = None,
    batch: study_options.Batches = "1",
    seconds: study_options.BenchmarkSeconds = 4.0,
    preset: study_options.EncoderPreset = None,
    count: study_options.CountOnly = False,
    model: options.Model = "default",
    device: options.Device = options.DeviceName.auto,
    json: options.Json = None,
    progress: options.Progress = options.ProgressMode.auto,
) -> None:
    """Measure how fast this machine decodes, predicts, encodes and fills, and how near its limit.

    Works on a test picture of its own, in a temporary folder, for about a minute. The table goes
    to stdout; what would take too long or too much memory is skipped, and that is said.
    """
    heights = () if sizes is None else study_values.parse_sizes(sizes)
    batches = study_values.parse_numbers(batch, "--batch")
    check_json(json, [])
    with open_terminal(progress) as terminal:
        from . import benchmark as bench
        from . import findings
        from .predictor import Predictor

        predictor = Predictor.load(model, device=device.value)
        if count:
            from .operations import count_operations

            counted = count_operations(predictor, heights=heights or (256, 1080))
            if json != "-":
                findings.show_count(terminal, counted)
            if json is not None:
                terminal.write_json(json, counted.as_dict())
            return
        with terminal.follow() as on_progress:
            report = bench.benchmark(
                predictor,
                heights=heights or (256, 720, 1080, 2160),
                batches=batches,
                seconds=seconds,
                preset=preset,
                on_progress=on_progress,
            )
        if json is not None:
            terminal.write_json(json, report.as_dict())
        if json != "-":
            findings.show_benchmark(terminal, report)


def info(json: options.Json = None) -> None:
    """Print versions, the devices that can compute, and the packaged models."""
    check_json(json, [])
    with open_terminal(options.ProgressMode.none) as terminal:
        from . import findings
        from .installation import describe_installation

        report = describe_installation()
        if json is not None:
            terminal.write_json(json, report.as_dict())
        if json != "-":
            findings.show_installation(terminal, report)
