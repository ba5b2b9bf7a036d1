"""The command line: each command parses, calls the library function, and prints its report.

Heavy modules are imported inside the commands, so that ``framepred --help`` answers at once.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from . import __version__, options, study_options
from .errors import FramepredError, GapError
from .outputs import check_output, name_output
from .reports import OnProgress, Report

if TYPE_CHECKING:
    from .console import Terminal
    from .timeline import NamedGap

__all__ = ["app", "run"]

R = TypeVar("R", bound=Report)

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


def run() -> None:
    """Entry point of the console script."""
    # Threads that spin while they wait make torch several times slower when another program keeps
    # a core busy. The variable is read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, _terminate)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _terminate)  # unless nohup asked to ignore it
    app()


def _terminate(number: int, _frame: object) -> NoReturn:
    """Leave through all ``with`` blocks, so that no temporary file stays behind."""
    raise SystemExit(128 + number)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"framepred {__version__}")
        raise typer.Exit


@app.callback()
def _main(
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
    pass


@app.command("fill-gaps", epilog=_EXIT_CODES)
def fill_gaps(
    inputs: options.Inputs,
    gap: options.NamedGaps = None,
    gaps: options.GapFile = None,
    detect: options.Detect = "missing,corrupt,smeared,frozen",
    max_gap: options.MaxGap = 16,
    dry_run: options.DryRun = False,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    codec: options.Codec = None,
    crf: options.Crf = None,
    lossless: options.Lossless = False,
    model: options.Model = "default",
    device: options.Device = options.DeviceName.auto,
    context: options.Context = 4,
    self_check: options.SelfCheck = True,
    adapt: options.Adapt = None,
    seed: options.Seed = 1,
    reference: options.Reference = None,
    json: options.Json = None,
    progress: options.Progress = options.ProgressMode.auto,
) -> None:
    """Find the frames that a video lacks, make exactly those, and leave all else alone.

    Writes clip.filled.mp4 beside clip.mp4. When there is nothing to fill, that is said and the
    exit code is 0: no video is written, except that -o OUTPUT then gets a copy of the input.
    """
    kinds = options.parse_detect(detect)
    outputs = _name_outputs(inputs, output, "filled")
    _check_json(json, [*inputs, *outputs.values()])
    with _open_terminal(progress) as terminal:
        from . import filling, video

        named = _read_gaps(gap or [], gaps)

        def check(path: Path) -> None:
            video.probe(path)
            if not dry_run:
                check_output(path, outputs[path], overwrite=overwrite)

        batch = _Batch(terminal, inputs)
        batch.check(check)
        predictor = None
        if not dry_run and batch.remaining:
            from .predictor import Predictor

            predictor = Predictor.load(model, device=device.value)
        batch.work(
            lambda path, on_progress: filling.fill_gaps(
                path,
                outputs[path] if output is not None else None,
                gaps=named,
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
                on_progress=on_progress,
            ),
            show=terminal.show_fill,
        )
        batch.finish(json)


@app.command("forecast", epilog=_EXIT_CODES)
def forecast(
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
    model: options.Model = "default",
    device: options.Device = options.DeviceName.auto,
    context: options.Context = 8,
    adapt: options.Adapt = None,
    seed: options.Seed = 1,
    json: options.Json = None,
    progress: options.Progress = options.ProgressMode.auto,
) -> None:
    """Add frames after the end of a video, or after --from TIME.

    Writes clip.forecast.mp4 beside clip.mp4: the whole video with the new frames behind it.
    """
    outputs = _name_outputs(inputs, output, "forecast")
    _check_json(json, [*inputs, *outputs.values()])
    start = _parse_time(from_time)
    writes = output is not None or not hold_out
    with _open_terminal(progress) as terminal:
        from . import forecasting, video
        from .predictor import Predictor

        def check(path: Path) -> None:
            video.probe(path)
            if writes:
                check_output(path, outputs[path], overwrite=overwrite)

        batch = _Batch(terminal, inputs)
        batch.check(check)
        predictor = Predictor.load(model, device=device.value) if batch.remaining else None
        batch.work(
            lambda path, on_progress: forecasting.forecast(
                path,
                outputs[path] if output is not None else None,
                n_frames=frames,
                start=start,
                only_new=only_new,
                hold_out=hold_out,
                predictor=predictor,
                context=context,
                adapt=adapt,
                seed=seed,
                codec=codec,
                crf=crf,
                lossless=lossless,
                overwrite=overwrite,
                on_progress=on_progress,
            ),
            show=lambda report: terminal.show_forecast(report, with_scores=json != "-"),
        )
        batch.finish(json)


@app.command("scan", epilog=_EXIT_CODES)
def scan(
    inputs: options.Inputs,
    gap: options.NamedGaps = None,
    gaps: options.GapFile = None,
    detect: options.Detect = "missing,corrupt,smeared,frozen",
    max_gap: options.MaxGap = 16,
    context: options.Context = 4,
    json: options.Json = None,
    progress: options.Progress = options.ProgressMode.auto,
) -> None:
    """List the gaps of a video and what fill-gaps would do about each; change nothing.

    The list goes to stdout, with tabs between the columns when that is no terminal.
    """
    kinds = options.parse_detect(detect)
    _check_json(json, inputs)
    with _open_terminal(progress) as terminal:
        from . import scanning, video

        named = _read_gaps(gap or [], gaps)
        batch = _Batch(terminal, inputs)
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
    clips: study_options.Clips,
    out: study_options.RunFolder,
    steps: study_options.Steps = None,
    max_minutes: study_options.MaxMinutes = None,
    validation: study_options.Validation = None,
    initial: study_options.Initial = None,
    cell: study_options.CellName = None,
    resume: study_options.Resume = False,
    batch_size: study_options.BatchSize = 4,
    crop: study_options.Crop = 224,
    max_gap: study_options.TrainMaxGap = 8,
    forecast_share: study_options.ForecastShare = 0.3,
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
    _check_json(json, clips)
    is_first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started
    with _open_terminal(progress, quiet=not is_first) as terminal:
        from . import training

        config = training.TrainConfig(
            n_steps=steps,
            max_minutes=max_minutes,
            batch_size=batch_size,
            crop=crop,
            max_gap=max_gap,
            forecast_share=forecast_share,
            learning_rate=learning_rate,
            losses=study_options.parse_losses(loss),
            validate_every=validate_every,
            seed=seed,
        )
        with terminal.follow(out) as on_progress:
            report = training.train(
                clips,
                out,
                config=config,
                validation=validation or None,
                initial=initial,
                cell=cell,
                resume=resume,
                device=device.value,
                cache_gb=cache_gb,
                on_progress=on_progress,
                on_event=terminal.show_event,
            )
        if is_first and json != "-":
            terminal.show_training(report)
        if is_first and json is not None:
            terminal.write_json(json, report.as_dict())


@app.command("evaluate", epilog=_EXIT_CODES)
def evaluate(
    clips: study_options.Clips,
    task: study_options.Tasks = study_options.TaskName.both,
    windows: study_options.Windows = None,
    per_clip: study_options.PerClip = 2,
    context: study_options.EvaluateContext = None,
    without: study_options.Without = None,
    ssim: study_options.WithSsim = True,
    slow: study_options.WithSlow = False,
    confidence: study_options.WithConfidence = False,
    model: options.Model = "default",
    device: options.Device = options.DeviceName.auto,
    plot: study_options.Plot = None,
    json: options.Json = None,
    progress: options.Progress = options.ProgressMode.auto,
) -> None:
    """Hide known frames of videos, predict them, and score the model beside the baselines.

    The table goes to stdout: PSNR in dB and SSIM by the number of hidden frames (fill) or by how
    far ahead a frame lies (forecast).
    """
    contexts = study_options.parse_contexts(context)
    _check_json(json, clips if plot is None else [*clips, plot])
    if plot is not None:
        study_options.check_plot(plot, contexts)
    with _open_terminal(progress) as terminal:
        if plot is not None:
            for clip in clips:
                check_output(clip, plot, overwrite=True)
            # At its first start on a machine it says on stderr that it collects the fonts.
            logging.getLogger("matplotlib").setLevel(logging.ERROR)
            from . import plots
        from . import evaluation
        from .predictor import Predictor

        predictor = Predictor.load(model, device=device.value)
        with terminal.follow(clips[0]) as on_progress:
            report = evaluation.evaluate(
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
                on_progress=on_progress,
            )
        if json != "-":
            terminal.show_evaluation(report)
        if json is not None:
            terminal.write_json(json, report.as_dict())
        if plot is not None:
            plots.plot_contexts(report, plot)


@app.command("compare", epilog=_EXIT_CODES)
def compare(
    reference: options.ReferenceInput,
    other: options.Other,
    json: options.Json = None,
    progress: options.Progress = options.ProgressMode.auto,
) -> None:
    """Measure SSIM and PSNR of one video against another, frame by frame.

    Frames are paired by their time after the first frame. --json has the scores of every frame.
    """
    _check_json(json, [reference, other])
    with _open_terminal(progress) as terminal:
        from . import comparison

        with terminal.follow(other) as on_progress:
            report = comparison.compare(reference, other, on_progress=on_progress)
        if json != "-":
            terminal.show_comparison(report)
        if json is not None:
            terminal.write_json(json, report.as_dict())


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
    _check_json(json, [])
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
    _check_json(json, [])
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

    terminal = Terminal(progress.value, quiet=quiet)
    try:
        yield terminal
    except FramepredError as error:
        terminal.fail(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        terminal.fail("interrupted; nothing was left half-written")
        raise typer.Exit(130) from None


@dataclass
class _Batch:
    """Several inputs: all are checked first, and one that fails does not stop the others."""

    terminal: Terminal
    inputs: Sequence[Path]
    errors: dict[Path, str] = field(default_factory=dict)
    reports: dict[Path, Report] = field(default_factory=dict)

    @property
    def remaining(self) -> list[Path]:
        """Inputs that have not failed, each once."""
        return [path for path in dict.fromkeys(self.inputs) if path not in self.errors]

    def check(self, check: Callable[[Path], object]) -> None:
        for path in self.remaining:
            with self._guard(path):
                check(path)

    def work(
        self, work: Callable[[Path, OnProgress], R], *, show: Callable[[R], None] | None
    ) -> None:
        for path in self.remaining:
            with self._guard(path):
                with self.terminal.follow(path) as on_progress:
                    report = work(path, on_progress)
                self.reports[path] = report
                if show is not None:
                    show(report)
                self.terminal.finish(path, getattr(report, "output", None))

    @contextmanager
    def _guard(self, path: Path) -> Iterator[None]:
        try:
            yield
        except FramepredError as error:
            self.errors[path] = str(error)
            self.terminal.fail(str(error), source=path)

    def finish(self, json: str | None) -> None:
        """Write the JSON report, and leave with the exit code of what failed."""
        if json is not None and len(self.inputs) > 1:
            results = [report.as_dict() for report in self.reports.values()]
            failed = [{"input": str(path), "error": error} for path, error in self.errors.items()]
            self.terminal.write_json(json, {"results": results, "failed": failed})
        elif json is not None:
            for report in self.reports.values():
                self.terminal.write_json(json, report.as_dict())
        if self.errors:
            raise typer.Exit(3 if self.reports else 1)


def _name_outputs(inputs: Sequence[Path], output: Path | None, word: str) -> dict[Path, Path]:
    """The output of each input; two of them must not be the same file."""
    if output is not None and len(set(inputs)) > 1 and not output.is_dir():
        raise typer.BadParameter(
            "with several inputs this must be a folder that exists", param_hint="--output"
        )
    outputs = {path: name_output(path, word, output=output) for path in inputs}
    taken: dict[Path, Path] = {}
    for path, target in outputs.items():
        other = taken.setdefault(target.absolute(), path)
        if other != path:
            raise typer.BadParameter(
                f"{other} and {path} would both be written to {target}", param_hint="--output"
            )
    return outputs


def _check_json(target: str | None, videos: Sequence[Path]) -> None:
    """Refuse, before any work, a report that has no place or would destroy a video."""
    if target is None or target == "-":
        return
    path = Path(target)
    if path.is_dir() or any(path.absolute() == video.absolute() for video in videos):
        raise typer.BadParameter(f"{target} is not a place for a report", param_hint="--json")
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(
            f"there is no folder {path.parent} for {path.name}", param_hint="--json"
        )


def _read_gaps(texts: Sequence[str], file: Path | None) -> tuple[NamedGap, ...]:
    """All gaps that the user named; a malformed --gap is a usage error."""
    from .timeline import parse_gap, read_gaps

    try:
        named = tuple(parse_gap(text) for text in texts)
    except GapError as error:
        raise typer.BadParameter(str(error), param_hint="--gap") from None
    return named + (read_gaps(file) if file is not None else ())


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
