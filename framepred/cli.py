"""The command line: each command parses, calls the library function, and prints its report.

Heavy modules are imported inside the commands, so that ``framepred --help`` answers at once.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from . import __version__, options, stream_options, study_options
from .batches import Batch, check_json, name_outputs, name_views, to_path
from .errors import FramepredError, GapError
from .outputs import check_output
from .reports import ForecastReport, FuturesReport, OnProgress

if TYPE_CHECKING:
    from .console import Terminal
    from .insertion import Insertion
    from .session import TrainReport
    from .timeline import NamedGap

__all__ = ["app", "run"]

_EXIT_CODES = (
    "Exit codes: 0 done; 1 the tool failed on its input; 2 wrong usage; "
    "3 some inputs of several failed; 130 interrupted."
)

app = typer.Typer(
    name="framepred",
    help="Fill the missing frames of a video, and forecast the frames after its last one.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_talk: dict[str, Any] = {}  # how all commands talk, as said before the command


def run() -> None:
    """Entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):
        # Names and arrows that a code page lacks are better spelt out than an end of the work.
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors="backslashreplace")
    # Threads that spin while they wait make torch several times slower when another program keeps
    # a core busy. The variable is read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, _terminate)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _terminate)  # unless nohup asked to ignore it
    try:
        app()
    except SystemExit as leave:
        if isinstance(leave.code, int) and leave.code > 128:
            # All blocks have been left and all files removed. An encoder that is given up would
            # first finish the large frames that it has in hand, for seconds.
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):
                    stream.flush()
            os._exit(leave.code)
        raise


def _terminate(number: int, _frame: object) -> NoReturn:
    """Leave through all ``with`` blocks, so that no temporary file stays behind."""
    raise SystemExit(128 + number)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"framepred {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    ctx: typer.Context,
    config: options.Config = None,
    quiet: options.Quiet = False,
    log_file: options.LogFile = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            callback=_print_version,
            is_eager=True,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    from .settings import SettingsError

    if log_file is not None and (log_file.is_dir() or not log_file.absolute().parent.is_dir()):
        raise typer.BadParameter(f"{log_file} is not a place for a file", param_hint="--log-file")
    _talk.update({"is_terse": quiet, "log_file": log_file})
    try:
        ctx.default_map = _load_defaults(ctx, config)
    except SettingsError as error:
        raise typer.BadParameter(str(error), param_hint="--config") from None


def _load_defaults(ctx: typer.Context, config: Path | None) -> dict[str, Any]:
    """What a file of settings says, and have --help show it."""
    from .settings import check_settings, read_settings

    found = read_settings(Path(), config)
    if found is None:
        return {}
    commands: dict[str, Any] = getattr(ctx.command, "commands", {})
    parameters = {
        name: {
            option.lstrip("-"): parameter
            for parameter in command.params
            for option in parameter.opts
            if option.startswith("--")
        }
        for name, command in commands.items()
    }
    names = {
        command: {option: parameter.name for option, parameter in each.items()}
        for command, each in parameters.items()
    }
    defaults = check_settings(*found, names)
    for command, values in defaults.items():
        for parameter in parameters[command].values():
            if parameter.name in values:
                parameter.show_default = True
    return dict(defaults)


@app.command("fill-gaps", epilog=_EXIT_CODES)
def fill_gaps(
    ctx: typer.Context,
    inputs: options.Inputs,
    gap: options.NamedGaps = None,
    gaps: options.GapFile = None,
    insert: options.Insertions = None,
    sound: options.Sound = options.SoundName.auto,
    detect: options.Detect = "missing,corrupt,smeared,frozen,closed",
    max_gap: options.MaxGap = 16,
    dry_run: options.DryRun = False,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    codec: options.Codec = None,
    crf: options.Crf = None,
    lossless: options.Lossless = False,
    raw: stream_options.Raw = None,
    model: options.Model = "default",
    device: options.Device = options.DeviceName.auto,
    context: options.Context = 4,
    self_check: options.SelfCheck = True,
    tile: options.Tile = "auto",
    resume: options.Resume = False,
    adapt: options.Adapt = None,
    seed: options.Seed = 1,
    reference: options.Reference = None,
    report: options.ReportFile = None,
    preview: options.PreviewFile = None,
    contact_sheet: options.ContactSheet = None,
    frames_dir: options.FramesFolder = None,
    json: options.Json = None,
    progress: options.Progress = options.ProgressMode.auto,
) -> None:
    """Find the frames that a video lacks, make exactly those, and leave all else alone.

    Writes clip.filled.mp4 beside clip.mp4. When there is nothing to fill, that is said and the
    exit code is 0: no video is written, except that -o OUTPUT then gets a copy of the input.
    """
    kinds = options.parse_detect(detect)
    side = options.parse_tile(tile)
    outputs = name_outputs(inputs, output, "filled")
    check_json(json, [*inputs, *outputs.values()])
    is_stream = stream_options.check_streams(
        ctx,
        inputs,
        output,
        json,
        raw,
        never={
            *("insert", "detect", "dry_run", "adapt", "reference", "resume"),
            *("report", "preview", "contact_sheet", "frames_dir"),
        },
    )
    with _open_terminal(progress) as terminal:
        from . import filling, video

        named = _read_gaps(gap or [], gaps)
        if is_stream and output is not None:
            from . import streaming
            from .predictor import Predictor

            stream_options.run_stream(
                terminal,
                streaming.fill_stream,
                output,
                raw,
                json=json,
                show=terminal.show_fill,
                gaps=named,
                predictor=Predictor.load(model, device=device.value, tile=side),
                max_gap=max_gap,
                context=context,
                self_check=self_check,
                codec=codec,
                crf=crf,
                lossless=lossless,
                overwrite=overwrite,
            )
            return
        insertions = _read_insertions(insert or [])
        views = name_views(
            inputs,
            overwrite=overwrite,
            report=report,
            preview=preview,
            contact_sheet=contact_sheet,
            frames_dir=frames_dir,
        )

        def check(path: Path) -> None:
            video.probe(path)
            views[path].check(path, (*inputs, *outputs.values(), reference, to_path(json)))
            if not dry_run:
                check_output(path, outputs[path], overwrite=overwrite)

        batch = Batch(terminal, inputs)
        batch.check(check)
        predictor = None
        if not dry_run and batch.remaining:
            from .predictor import Predictor

            predictor = Predictor.load(model, device=device.value, tile=side)
        batch.work(
            lambda path, on_progress: filling.fill_gaps(
                path,
                outputs[path] if output is not None else None,
                gaps=named,
                insert=insertions,
                sound=sound.value,
                predictor=predictor,
                detect=kinds,
                max_gap=max_gap,
                context=context,
                self_check=self_check,
                adapt=adapt,
                seed=seed,
                reference=reference,
                codec=codec,
                crf=crf,
                lossless=lossless,
                dry_run=dry_run,
                overwrite=overwrite,
                views=views[path],
                resume=resume,
                on_progress=on_progress,
                on_note=terminal.say,
            ),
            show=terminal.show_fill,
        )
        batch.finish(json)


@app.command("forecast", epilog=_EXIT_CODES)
def forecast(
    ctx: typer.Context,
    inputs: options.Inputs,
    frames: options.NFrames,
    from_time: options.FromTime = None,
    only_new: options.OnlyNew = False,
    hold_out: options.HoldOut = False,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    codec: options.Codec = None,
    crf: options.Crf = None,
    lossless: options.Lossless = False,
    raw: stream_options.Raw = None,
    model: options.Model = "default",
    device: options.Device = options.DeviceName.auto,
    context: options.Context = 8,
    tile: options.Tile = "auto",
    adapt: options.Adapt = None,
    samples: options.Samples = None,
    seed: options.Seed = 1,
    report: options.ReportFile = None,
    json: options.Json = None,
    progress: options.Progress = options.ProgressMode.auto,
) -> None:
    """Add frames after the end of a video, or after --from TIME.

    Writes clip.forecast.mp4 beside clip.mp4: the whole video with the new frames behind it.
    """
    if samples is not None and adapt is not None:
        raise typer.BadParameter("does not go with --adapt", param_hint="--samples")
    side = options.parse_tile(tile)
    outputs = name_outputs(inputs, output, "forecast")
    check_json(json, [*inputs, *outputs.values()])
    is_stream = stream_options.check_streams(
        ctx,
        inputs,
        output,
        json,
        raw,
        never={"from_time", "hold_out", "adapt", "samples", "report"},
    )
    start = _parse_time(from_time)
    writes = output is not None or not hold_out
    with _open_terminal(progress) as terminal:
        from . import forecasting, futures, video
        from .predictor import Predictor

        views = name_views(inputs, overwrite=overwrite, report=report)
        if is_stream and output is not None:
            from . import streaming

            stream_options.run_stream(
                terminal,
                streaming.forecast_stream,
                output,
                raw,
                json=json,
                show=terminal.show_forecast,
                n_frames=frames,
                only_new=only_new,
                predictor=Predictor.load(model, device=device.value, tile=side),
                context=context,
                codec=codec,
                crf=crf,
                lossless=lossless,
                overwrite=overwrite,
            )
            return

        def check(path: Path) -> None:
            video.probe(path)
            targets = (
                [outputs[path]] if samples is None else futures.name_futures(path, output, samples)
            )
            if writes:
                for target in targets:
                    check_output(path, target, overwrite=overwrite)
            views[path].check(path, (*inputs, *targets, to_path(json)))

        batch = Batch(terminal, inputs)
        batch.check(check)
        predictor = None
        if batch.remaining:
            predictor = Predictor.load(model, device=device.value, tile=side)

        def work(path: Path, on_progress: OnProgress) -> ForecastReport | FuturesReport:
            if samples is None:
                forecast: Callable[..., ForecastReport | FuturesReport] = partial(
                    forecasting.forecast, adapt=adapt
                )
            else:
                forecast = partial(futures.draw_futures, n_samples=samples)
            return forecast(
                path,
                outputs[path] if output is not None else None,
                n_frames=frames,
                start=start,
                only_new=only_new,
                hold_out=hold_out,
                predictor=predictor,
                context=context,
                seed=seed,
                codec=codec,
                crf=crf,
                lossless=lossless,
                overwrite=overwrite,
                views=views[path],
                on_progress=on_progress,
            )

        batch.work(
            work, show=lambda report: terminal.show_forecast(report, with_scores=json != "-")
        )
        batch.finish(json)


@app.command("interpolate", epilog=_EXIT_CODES)
def interpolate(
    ctx: typer.Context,
    inputs: options.Inputs,
    fps: options.Fps = None,
    times: options.Times = None,
    max_gap: options.MaxGap = 16,
    dry_run: options.DryRun = False,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    codec: options.Codec = None,
    crf: options.Crf = None,
    lossless: options.Lossless = False,
    raw: stream_options.Raw = None,
    model: options.Model = "default",
    device: options.Device = options.DeviceName.auto,
    context: options.Context = 2,
    tile: options.Tile = "auto",
    reference: options.Reference = None,
    json: options.Json = None,
    progress: options.Progress = options.ProgressMode.auto,
) -> None:
    """Raise the frame rate of a video: make frames between those it has.

    Writes clip.interpolated.mp4 beside clip.mp4, with the other streams copied. Across a scene
    cut, in a long pause and behind the last frame the nearest frame is repeated.
    """
    if (fps is None) == (times is None):
        raise typer.BadParameter("say how many: --fps RATE or --times N, one of the two")
    rate = None if fps is None else _parse_rate(fps)
    side = options.parse_tile(tile)
    outputs = name_outputs(inputs, output, "interpolated")
    check_json(json, [*inputs, *outputs.values()])
    is_stream = stream_options.check_streams(
        ctx, inputs, output, json, raw, never={"dry_run", "reference"}
    )
    with _open_terminal(progress) as terminal:
        from . import interpolation, video

        if is_stream and output is not None:
            from . import streaming
            from .predictor import Predictor

            stream_options.run_stream(
                terminal,
                streaming.interpolate_stream,
                output,
                raw,
                json=json,
                show=terminal.show_interpolation,
                rate=rate,
                times=times,
                predictor=Predictor.load(model, device=device.value, tile=side),
                max_gap=max_gap,
                context=context,
                codec=codec,
                crf=crf,
                lossless=lossless,
                overwrite=overwrite,
            )
            return

        def check(path: Path) -> None:
            video.probe(path)
            if not dry_run:
                check_output(path, outputs[path], overwrite=overwrite)

        batch = Batch(terminal, inputs)
        batch.check(check)
        predictor = None
        if not dry_run and batch.remaining:
            from .predictor import Predictor

            predictor = Predictor.load(model, device=device.value, tile=side)
        batch.work(
            lambda path, on_progress: interpolation.interpolate(
                path,
                outputs[path] if output is not None else None,
                rate=rate,
                times=times,
                predictor=predictor,
                max_gap=max_gap,
                context=context,
                reference=reference,
                codec=codec,
                crf=crf,
                lossless=lossless,
                dry_run=dry_run,
                overwrite=overwrite,
                on_progress=on_progress,
            ),
            show=terminal.show_interpolation,
        )
        batch.finish(json)


@app.command("scan", epilog=_EXIT_CODES)
def scan(
    inputs: options.Inputs,
    gap: options.NamedGaps = None,
    gaps: options.GapFile = None,
    detect: options.Detect = "missing,corrupt,smeared,frozen,closed",
    max_gap: options.MaxGap = 16,
    context: options.Context = 4,
    json: options.Json = None,
    progress: options.Progress = options.ProgressMode.auto,
) -> None:
    """List the gaps of a video and what fill-gaps would do about each; change nothing.

    The list goes to stdout, with tabs between the columns when that is no terminal.
    """
    kinds = options.parse_detect(detect)
    check_json(json, inputs)
    with _open_terminal(progress) as terminal:
        from . import scanning, video

        named = _read_gaps(gap or [], gaps)
        batch = Batch(terminal, inputs)
        batch.check(lambda path: video.probe(path))
        batch.work(
            lambda path, on_progress: scanning.scan(
                path,
                detect=kinds,
                gaps=named,
                max_gap=max_gap,
                context=context,
                on_progress=on_progress,
            ),
            show=None if json == "-" else terminal.show_scan,
        )
        batch.finish(json)


@app.command("train", epilog=_EXIT_CODES)
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
    resume: study_options.Resume = False,
    batch_size: study_options.BatchSize = 4,
    crop: study_options.Crop = 224,
    max_gap: study_options.TrainMaxGap = 8,
    forecast_share: study_options.ForecastShare = 0.3,
    scenes: study_options.Scenes = 0.0,
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
    given = study_options.list_given(
        ctx,
        preset,
        clips,
        only={"hidden", "layers"},
        never={
            "validation",
            "initial",
            "crop",
            "max_gap",
            "forecast_share",
            "scenes",
            "compile_",
            "cache_gb",
        },
    )
    check_json(json, clips)
    settings: dict[str, Any] = {
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "losses": study_options.parse_losses(loss),
        "validate_every": validate_every,
        "seed": seed,
    }
    is_first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started
    with _open_terminal(progress, quiet=not is_first) as terminal:
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
                network=moving_mnist.choose_network(n_hidden=hidden, n_layers=layers, cell=cell),
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
                    scenes=scenes,
                    compile=compile,
                    **settings,
                ),
                validation=validation or None,
                initial=initial,
                cell=cell,
                cache_gb=cache_gb,
            )
        with terminal.follow(out) as on_progress:
            report = start(
                out=out,
                resume=resume,
                device=device.value,
                on_progress=on_progress,
                on_event=terminal.show_event,
            )
        if is_first and json != "-":
            terminal.show_training(report)
        if is_first and json is not None:
            terminal.write_json(json, report.as_dict())


@app.command("evaluate", epilog=_EXIT_CODES)
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
    study_options.list_given(
        ctx,
        preset,
        clips,
        only={"sequences"},
        never={
            *("task", "windows", "per_clip", "context", "without", "ssim", "slow", "confidence"),
            *("samples", "report"),
        },
    )
    contexts = study_options.parse_contexts(context)
    check_json(json, [*clips, *(file for file in (plot, report) if file is not None)])
    if plot is not None:
        study_options.check_plot(plot, contexts, with_preset=preset is not None)
    with _open_terminal(progress) as terminal:
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
                terminal.show_digits(digits)
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
        if json != "-":
            terminal.show_evaluation(scores)
        if json is not None:
            terminal.write_json(json, scores.as_dict())
        if plot is not None:
            plots.plot_contexts(scores, plot)
        if report is not None and gallery is not None:
            from .scoreboards import write_scores

            write_scores(scores, gallery, report)


@app.command("compare", epilog=_EXIT_CODES)
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
    check_json(json, [reference, other, *(() if plot is None else (plot,))])
    if plot is not None:
        study_options.check_suffix(plot)
    with _open_terminal(progress) as terminal:
        from . import comparison

        if plot is not None:
            for video in (reference, other):
                check_output(video, plot, overwrite=True)

        with terminal.follow(other) as on_progress:
            report = comparison.compare(reference, other, on_progress=on_progress)
        if json != "-":
            terminal.show_comparison(report)
        if json is not None:
            terminal.write_json(json, report.as_dict())
        if plot is not None:
            logging.getLogger("matplotlib").setLevel(logging.ERROR)  # as in ``evaluate``
            from .plots import plot_comparison

            plot_comparison(report, plot)


@app.command("benchmark", epilog=_EXIT_CODES)
def benchmark(
    sizes: study_options.Sizes = None,
    batch: study_options.Batches = "1",
    seconds: study_options.BenchmarkSeconds = 4.0,
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
    heights = () if sizes is None else study_options.parse_sizes(sizes)
    batches = study_options.parse_numbers(batch, "--batch")
    check_json(json, [])
    with _open_terminal(progress) as terminal:
        from . import benchmark as bench
        from .predictor import Predictor

        predictor = Predictor.load(model, device=device.value)
        if count:
            counted = bench.count_operations(predictor, heights=heights or (256, 1080))
            if json != "-":
                terminal.show_count(counted)
            if json is not None:
                terminal.write_json(json, counted.as_dict())
            return
        with terminal.follow() as on_progress:
            report = bench.benchmark(
                predictor,
                heights=heights or (256, 720, 1080, 2160),
                batches=batches,
                seconds=seconds,
                on_progress=on_progress,
            )
        if json != "-":
            terminal.show_benchmark(report)
        if json is not None:
            terminal.write_json(json, report.as_dict())


@app.command("info", epilog=_EXIT_CODES)
def info(json: options.Json = None) -> None:
    """Print versions, the devices that can compute, and the packaged models."""
    check_json(json, [])
    with _open_terminal(options.ProgressMode.none) as terminal:
        from .installation import describe_installation

        report = describe_installation()
        if json != "-":
            terminal.show_installation(report)
        if json is not None:
            terminal.write_json(json, report.as_dict())


# What the commands share.


@contextmanager
def _open_terminal(progress: options.ProgressMode, *, quiet: bool = False) -> Iterator[Terminal]:
    """Turn what went wrong into one line and an exit code."""
    from .console import Terminal

    terminal = Terminal(progress.value, quiet=quiet, **_talk)
    try:
        yield terminal
    except FramepredError as error:
        terminal.fail(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        terminal.fail("interrupted; nothing was left half-written")
        raise typer.Exit(130) from None


def _read_gaps(texts: Sequence[str], file: Path | None) -> tuple[NamedGap, ...]:
    """All gaps that the user named; a malformed --gap is a usage error."""
    from .timeline import parse_gap, read_gaps

    try:
        named = tuple(parse_gap(text) for text in texts)
    except GapError as error:
        raise typer.BadParameter(str(error), param_hint="--gap") from None
    return named + (read_gaps(file) if file is not None else ())


def _read_insertions(texts: Sequence[str]) -> tuple[Insertion, ...]:
    from .insertion import parse_insertion

    try:
        return tuple(parse_insertion(text) for text in texts)
    except GapError as error:
        raise typer.BadParameter(str(error), param_hint="--insert") from None


def _parse_rate(text: str) -> Fraction:
    """Frames a second; nonsense is a usage error."""
    from .rates import parse_rate

    try:
        return parse_rate(text)
    except GapError as error:
        raise typer.BadParameter(str(error), param_hint="--fps") from None


def _parse_time(text: str | None) -> Fraction | None:
    """Seconds, or HH:MM:SS.mmm."""
    if text is None:
        return None
    from .timeline import TimeRange, parse_gap

    try:
        named = parse_gap(f"{text}-9999:00:00")  # times are written alike everywhere
    except GapError:
        named = None
    if not isinstance(named, TimeRange):
        raise typer.BadParameter(
            f"cannot read the time {text!r}: write 4.5 or 00:00:04.500", param_hint="--from"
        )
    return named.start
