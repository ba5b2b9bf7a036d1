"""The command line: each command parses, calls the library function, and prints its report.

Heavy modules are imported inside the commands, so that ``framepred --help`` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import __version__, encoding_options, options, stream_options, studies
from .batches import Batch, check_json, check_log, name_outputs, name_views, to_path
from .errors import GapError
from .interrupts import heed_signals
from .memory import keep_freed
from .outputs import check_output
from .reports import ForecastReport, FuturesReport, OnProgress
from .terminals import EXIT_CODES, open_terminal, set_manners
from .timeline import CONTEXT

if TYPE_CHECKING:
    from .insertion import Insertion
    from .ranges import NamedGap

__all__ = ["app", "run"]

app = typer.Typer(
    name="framepred",
    help="Fill the missing frames of a video, and forecast the frames after its last one.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run() -> None:
    """Read the command line and do what it says."""
    for stream in (sys.stdout, sys.stderr):
        # Arrows that a code page lacks, and bytes of names that are no text, are better spelt out
        # than an end of the work.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Threads that spin while they wait make torch several times slower when another program keeps
    # a core busy. The variable is read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed()
    with heed_signals():
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


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"framepred {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    ctx: typer.Context,
    config: options.Config = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
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

    if log_file is not None:
        check_log(log_file)
    if quiet and verbose:
        raise typer.BadParameter("does not go with --quiet", param_hint="--verbose")
    try:
        ctx.default_map, notes = _load_defaults(ctx, config)
    except SettingsError as error:
        raise typer.BadParameter(str(error), param_hint="--config") from None
    set_manners(is_terse=quiet, is_verbose=verbose, log_file=log_file, notes=notes)


def _load_defaults(ctx: typer.Context, config: Path | None) -> tuple[dict[str, Any], list[str]]:
    """What a file of settings says, also in words; and have --help show it."""
    from .settings import check_settings, read_settings

    found = read_settings(Path(), config)
    if found is None:
        return {}, []
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
                if parameter.multiple and not isinstance(values[parameter.name], list):
                    values[parameter.name] = [values[parameter.name]]
    values = defaults.get(ctx.invoked_subcommand or "", {})
    told = ", ".join(f"{name} = {value!r}" for name, value in values.items())
    return dict(defaults), [f"defaults from {found[0]}: {told or 'none for this command'}"]


@app.command("fill-gaps", epilog=EXIT_CODES)
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
    codec: encoding_options.Codec = None,
    crf: encoding_options.Crf = None,
    preset: encoding_options.Preset = None,
    lossless: encoding_options.Lossless = False,
    raw: stream_options.Raw = None,
    model: options.Model = "default",
    device: options.Device = options.DeviceName.auto,
    context: options.Context = CONTEXT,
    self_check: options.SelfCheck = True,
    mend: options.Mend = True,
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
    crf, lossless = encoding_options.choose_quality(ctx, crf=crf, lossless=lossless)
    outputs = name_outputs(inputs, output, "filled")
    check_json(json, [*inputs, *outputs.values(), gaps, reference, report, preview, contact_sheet])
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
    with open_terminal(progress) as terminal:
        from . import filling, summaries, video

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
                show=partial(summaries.show_fill, terminal),
                gaps=named,
                predictor=Predictor.load(model, device=device.value, tile=side),
                max_gap=max_gap,
                context=context,
                self_check=self_check,
                codec=codec,
                crf=crf,
                preset=preset,
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
            others = (*inputs, *outputs.values(), gaps, reference, to_path(json))
            views[path].check(path, others)
            if not dry_run:
                others = (*inputs, reference)
                check_output(path, outputs[path], overwrite=overwrite, others=others)

        batch = Batch(terminal, inputs, json)
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
                mend=mend,
                adapt=adapt,
                seed=seed,
                reference=reference,
                codec=codec,
                crf=crf,
                preset=preset,
                lossless=lossless,
                dry_run=dry_run,
                overwrite=overwrite,
                views=views[path],
                resume=resume,
                on_progress=on_progress,
                on_note=terminal.say,
                on_plan=partial(summaries.show_plan, terminal),
            ),
            show=partial(summaries.show_fill, terminal),
        )
        batch.finish()


@app.command("forecast", epilog=EXIT_CODES)
def forecast(
    ctx: typer.Context,
    inputs: options.Inputs,
    frames: options.NFrames,
    from_time: options.FromTime = None,
    only_new: options.OnlyNew = False,
    hold_out: options.HoldOut = False,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    codec: encoding_options.Codec = None,
    crf: encoding_options.Crf = None,
    preset: encoding_options.Preset = None,
    lossless: encoding_options.Lossless = False,
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
    crf, lossless = encoding_options.choose_quality(ctx, crf=crf, lossless=lossless)
    outputs = name_outputs(inputs, output, "forecast")
    check_json(json, [*inputs, *outputs.values(), report])
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
    with open_terminal(progress) as terminal:
        from . import forecasting, futures, summaries, video
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
                show=partial(summaries.show_forecast, terminal),
                n_frames=frames,
                only_new=only_new,
                predictor=Predictor.load(model, device=device.value, tile=side),
                context=context,
                codec=codec,
                crf=crf,
                preset=preset,
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
                    check_output(path, target, overwrite=overwrite, others=inputs)
            views[path].check(path, (*inputs, *targets, to_path(json)))

        batch = Batch(terminal, inputs, json)
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
                preset=preset,
                lossless=lossless,
                overwrite=overwrite,
                views=views[path],
                on_progress=on_progress,
            )

        batch.work(work, show=partial(summaries.show_forecast, terminal, with_scores=json != "-"))
        batch.finish()


@app.command("interpolate", epilog=EXIT_CODES)
def interpolate(
    ctx: typer.Context,
    inputs: options.Inputs,
    fps: options.Fps = None,
    times: options.Times = None,
    max_gap: options.MaxGap = 16,
    dry_run: options.DryRun = False,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    codec: encoding_options.Codec = None,
    crf: encoding_options.Crf = None,
    preset: encoding_options.Preset = None,
    lossless: encoding_options.Lossless = False,
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
    if fps is not None and times is not None:  # one of them perhaps from a file of settings
        fps, times = options.choose_given(ctx, fps=fps, times=times)
    if (fps is None) == (times is None):
        raise typer.BadParameter("say how many: --fps RATE or --times N, one of the two")
    rate = None if fps is None else _parse_rate(fps)
    side = options.parse_tile(tile)
    crf, lossless = encoding_options.choose_quality(ctx, crf=crf, lossless=lossless)
    outputs = name_outputs(inputs, output, "interpolated")
    check_json(json, [*inputs, *outputs.values(), reference])
    is_stream = stream_options.check_streams(
        ctx, inputs, output, json, raw, never={"dry_run", "reference"}
    )
    with open_terminal(progress) as terminal:
        from . import interpolation, summaries, video

        if is_stream and output is not None:
            from . import streaming
            from .predictor import Predictor

            stream_options.run_stream(
                terminal,
                streaming.interpolate_stream,
                output,
                raw,
                json=json,
                show=partial(summaries.show_interpolation, terminal),
                rate=rate,
                times=times,
                predictor=Predictor.load(model, device=device.value, tile=side),
                max_gap=max_gap,
                context=context,
                codec=codec,
                crf=crf,
                preset=preset,
                lossless=lossless,
                overwrite=overwrite,
            )
            return

        def check(path: Path) -> None:
            video.probe(path)
            if not dry_run:
                others = (*inputs, reference)
                check_output(path, outputs[path], overwrite=overwrite, others=others)

        batch = Batch(terminal, inputs, json)
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
                preset=preset,
                lossless=lossless,
                dry_run=dry_run,
                overwrite=overwrite,
                on_progress=on_progress,
            ),
            show=partial(summaries.show_interpolation, terminal),
        )
        batch.finish()


@app.command("scan", epilog=EXIT_CODES)
def scan(
    inputs: options.Inputs,
    gap: options.NamedGaps = None,
    gaps: options.GapFile = None,
    detect: options.Detect = "missing,corrupt,smeared,frozen,closed",
    max_gap: options.MaxGap = 16,
    context: options.Context = CONTEXT,
    json: options.Json = None,
    progress: options.Progress = options.ProgressMode.auto,
) -> None:
    """List the gaps of a video and what fill-gaps would do about each; change nothing.

    The list goes to stdout, with tabs between the columns when that is no terminal.
    """
    kinds = options.parse_detect(detect)
    check_json(json, [*inputs, gaps])
    with open_terminal(progress) as terminal:
        from . import scanning, summaries, video

        named = _read_gaps(gap or [], gaps)
        batch = Batch(terminal, inputs, json)
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
            show=None if json == "-" else partial(summaries.show_scan, terminal),
        )
        batch.finish()


for _study in (studies.train, studies.evaluate, studies.compare, studies.benchmark, studies.info):
    app.command(epilog=EXIT_CODES)(_study)


# What the commands read.


def _read_gaps(texts: Sequence[str], file: Path | None) -> tuple[NamedGap, ...]:
    """All gaps that the user named; a malformed --gap is a usage error."""
    from .ranges import parse_gap, read_gaps

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
    from .ranges import TimeRange, parse_gap

    try:
        named = parse_gap(f"{text}-9999:00:00")  # times are written alike everywhere
    except GapError:
        named = None
    if not isinstance(named, TimeRange):
        raise typer.BadParameter(
            f"cannot read the time {text!r}: write 4.5 or 00:00:04.500", param_hint="--from"
        )
    return named.start
