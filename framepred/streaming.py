"""Video that is read once, from a pipe, and never as a whole: filled, forecast, interpolated.

What is far from a gap is handed on at once. Around a named gap a window is cut out as a clip of
its own, in a temporary file, and ``fill_gaps`` makes of it what it makes of any clip::

    stream    | | | | | | | | . . . | | | | | | | |
    window          [-margin-]     [-margin-]           cuts are looked for and checks made in here

Memory and disk hold a window, however long the stream is.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .detection import find_cuts
from .errors import GapError, MediaError, check_counts
from .filling import fill_gaps
from .forecasting import forecast
from .interpolation import Interpolator, choose_base, make_report
from .observations import Observer
from .outputs import check_output, is_pipe
from .pipes import PipeReader, PipeWriter, open_stdout
from .ranges import GapLike, SlotRange, parse_gaps, to_slots
from .rates import ConstantRate, Conversion, Multiple, check_choice, read_rate
from .relay import await_value, work_beside
from .reports import (
    FillReport,
    ForecastReport,
    GapReport,
    InterpolateReport,
    OnProgress,
    Progress,
    Seconds,
    StageClock,
)
from .stages import VideoSink, choose_crew_size, write_video
from .timeline import CONTEXT
from .video import Encoding, Frame, VideoReader, probe, read_thumbnail
from .y4m import PictureFormat, parse_raw

if TYPE_CHECKING:
    from .predictor import Predictor

__all__ = ["fill_stream", "forecast_stream", "interpolate_stream"]

_NEAR = 16  # frames beside a window's own ones, by which a scene cut is told from motion
_CHUNK, _AROUND = 16, 8  # frames in which cuts are looked for at once, and on each side of them
_ARCHIVAL = (".mkv", ".avi", ".nut", ".mxf")


def fill_stream(
    input: BinaryIO,
    output: BinaryIO | str | Path,
    *,
    gaps: str | Iterable[GapLike],
    raw: PictureFormat | str | None = None,
    predictor: Predictor | None = None,
    device: str = "auto",
    max_gap: int = 16,
    context: int = CONTEXT,
    self_check: bool = True,
    codec: str | None = None,
    crf: int | None = None,
    preset: str | None = None,
    lossless: bool = False,
    overwrite: bool = False,
    on_progress: OnProgress = None,
) -> FillReport:
    """Make the named gaps of a stream anew; as ``fill_gaps``, but reading once.

    Args:
        input: y4m, or raw pictures.
        output: where the same goes, or the name of a video file.
        gaps: of frames counted from 0, or of times from 0; nothing else is looked for.
        raw: what the pictures are, where no header says it, also as text
            (``640x360:yuv420p:25``); the output has none then either.
        codec, crf, preset, lossless, overwrite: of a video file, which is FFV1 in Matroska and
            other containers of archives, else H.264, unless said otherwise.
        on_progress: called with the stage "fill".

    Raises:
        MediaError: the stream is no y4m, or ends within a frame.
        GapError: a gap is malformed, overlaps another, or lies behind the end of the stream.
        OutputError: nobody reads the output, or the file cannot be written.
        ModelError: the packaged network cannot be loaded.
    """
    check_counts(max_gap=max_gap, context=context)
    clock = StageClock()
    reader = _open_reader(input, raw)
    named = _list_ranges(gaps, reader.pictures.rate)
    predictor = predictor or _load(device)
    found: list[GapReport] = []
    spent: list[Seconds] = []
    n_made = n_replaced = 0
    windows = deque(_list_windows(named, context, max_gap))
    with (
        _open_sink(
            output,
            reader,
            clock,
            encoding=Encoding(codec=codec, crf=crf, preset=preset, lossless=lossless),
            overwrite=overwrite,
        ) as (frames, sink),
        tempfile.TemporaryDirectory(prefix="framepred-") as folder,
    ):
        clip, filled = Path(folder) / "window.y4m", Path(folder) / "filled.mkv"
        for frame in frames:
            if not windows or frame.index < windows[0].start:
                sink.write(frame)
                _tell(on_progress, "fill", frame.index)
                continue
            window = windows.popleft()
            n_frames = _cut_out(clip, chain([frame], frames), window, reader.pictures)
            for gap in window.gaps:
                if gap.stop > window.start + n_frames:
                    raise GapError(
                        f"gap {gap} lies outside the stream, "
                        f"which has frames 0:{window.start + n_frames}"
                    )
            with clock.measure("model"), _blame_stream(clip):
                report = fill_gaps(
                    clip,
                    filled,
                    gaps=[SlotRange(g.start - window.start, g.stop - window.start)
                          for g in window.gaps],
                    predictor=predictor,
                    detect=(),
                    max_gap=max_gap,
                    context=context,
                    self_check=self_check,
                    codec="ffv1",
                    lossless=True,
                    overwrite=True,
                )  # fmt: skip
            spent.append(report.seconds)
            n_made += report.frames_made
            n_replaced += report.frames_replaced
            found += [_move(gap, window.start, reader.pictures.rate) for gap in report.gaps]
            for made in _read_back(filled):
                index = window.start + made.index
                sink.write(
                    dataclasses.replace(made, time=index / reader.pictures.rate, index=index)
                )
                _tell(on_progress, "fill", index)
        if windows:
            raise GapError(
                f"gap {windows[0].gaps[0]} lies outside the stream, "
                f"which has frames 0:{reader.n_frames}"
            )
    seconds = dataclasses.replace(clock.seconds(), model=sum(each.model for each in spent))
    return FillReport(
        input=Path("-"),
        output=_name(output),
        frames_in=reader.n_frames,
        frames_made=n_made,
        frames_replaced=n_replaced,
        frame_rate=reader.pictures.rate,
        gaps=tuple(found),
        decode_errors=0,
        streams_copied=0,
        streams_left_out=(),
        model=predictor.name,
        device=predictor.device,
        adaptation=None,
        dry_run=False,
        seconds=seconds,
    )


def forecast_stream(
    input: BinaryIO,
    output: BinaryIO | str | Path,
    *,
    n_frames: int,
    only_new: bool = False,
    raw: PictureFormat | str | None = None,
    predictor: Predictor | None = None,
    device: str = "auto",
    context: int = 8,
    codec: str | None = None,
    crf: int | None = None,
    preset: str | None = None,
    lossless: bool = False,
    overwrite: bool = False,
    on_progress: OnProgress = None,
) -> ForecastReport:
    """Add frames after the last one of a stream; as ``forecast``, but reading once.

    The other arguments and the errors are those of ``fill_stream``.
    """
    check_counts(n_frames=n_frames, context=context)
    clock = StageClock()
    reader = _open_reader(input, raw)
    rate = reader.pictures.rate
    predictor = predictor or _load(device)
    tail: deque[Frame] = deque(maxlen=context + _NEAR)
    with (
        _open_sink(
            output,
            reader,
            clock,
            encoding=Encoding(codec=codec, crf=crf, preset=preset, lossless=lossless),
            overwrite=overwrite,
        ) as (frames, sink),
        tempfile.TemporaryDirectory(prefix="framepred-") as folder,
    ):
        for frame in frames:
            if not only_new:
                sink.write(frame)
            tail.append(frame)
            _tell(on_progress, "forecast", frame.index)
        clip, made = Path(folder) / "window.y4m", Path(folder) / "new.mkv"
        _cut_out(clip, iter(tail), None, reader.pictures)
        with _blame_stream(clip):
            report = forecast(
                clip,
                made,
                n_frames=n_frames,
                only_new=True,
                predictor=predictor,
                context=context,
                codec="ffv1",
                lossless=True,
            )
        first = 0 if only_new else reader.n_frames
        for new in _read_back(made):
            sink.write(dataclasses.replace(new, time=(first + new.index) / rate))
    return dataclasses.replace(
        report,
        input=Path("-"),
        output=_name(output),
        frames_in=reader.n_frames,
        time=reader.n_frames / rate,
        frames=tuple(
            dataclasses.replace(frame, time=(reader.n_frames + step) / rate)
            for step, frame in enumerate(report.frames)
        ),
        only_new=only_new,
        streams_copied=0,
        seconds=dataclasses.replace(clock.seconds(), model=report.seconds.model),
    )


def interpolate_stream(
    input: BinaryIO,
    output: BinaryIO | str | Path,
    *,
    rate: Fraction | float | str | None = None,
    times: int | None = None,
    raw: PictureFormat | str | None = None,
    predictor: Predictor | None = None,
    device: str = "auto",
    context: int = 2,
    max_gap: int = 16,
    codec: str | None = None,
    crf: int | None = None,
    preset: str | None = None,
    lossless: bool = False,
    overwrite: bool = False,
    on_progress: OnProgress = None,
) -> InterpolateReport:
    """Raise the frame rate of a stream; as ``interpolate``, but reading once.

    The other arguments and the errors are those of ``fill_stream``.
    """
    check_choice(rate, times)
    check_counts(max_gap=max_gap, context=context)
    clock = StageClock()
    reader = _open_reader(input, raw)
    step = 1 / reader.pictures.rate
    conversion: Conversion
    if times is not None:
        wanted = times / step
        conversion = Multiple(times, tick=Fraction(0), usual=step, is_steady=True, max_gap=max_gap)
    else:
        assert rate is not None
        wanted = read_rate(rate)
        conversion = ConstantRate(
            wanted, start=Fraction(0), tick=Fraction(0), usual=step, max_gap=max_gap
        )
    predictor = predictor or _load(device)
    with ExitStack() as stack:
        crew = stack.enter_context(work_beside(choose_crew_size()))
        frames, sink = stack.enter_context(
            _open_sink(
                output,
                reader,
                clock,
                rate=wanted,
                encoding=Encoding(codec=codec, crf=crf, preset=preset, lossless=lossless),
                overwrite=overwrite,
            )
        )
        walk = Interpolator(
            conversion,
            predictor,
            clock,
            crew,
            context=context,
            truth=None,
            is_interlaced=reader.pictures.is_interlaced,
        )
        for frame, is_cut in _mark_cuts(frames):
            for each in walk.take(frame, is_cut=is_cut):
                sink.write(await_value(each))
            _tell(on_progress, "interpolate", frame.index)
        for each in walk.finish(step):
            sink.write(await_value(each))
    return make_report(
        Path("-"),
        _name(output) or Path("-"),
        walk.tally,
        clock,
        rate_in=1 / step,
        rate_out=wanted,
        n_streams=0,
        predictor=predictor,
    )


# Windows.


@dataclasses.dataclass(frozen=True)
class _Window:
    """Frames ``[start, stop)`` of the stream, and the gaps in them."""

    start: int
    stop: int
    gaps: tuple[SlotRange, ...]


def _list_ranges(gaps: str | Iterable[GapLike], rate: Fraction) -> list[SlotRange]:
    """The named gaps as frames, in order.

    Raises:
        GapError: one is malformed or empty, two overlap, or there is none.
    """
    named = parse_gaps(gaps)
    if not named:
        raise GapError(
            "a stream is read once, so that damage in it is not found: name the gaps with --gap, "
            "or give a file"
        )
    ranges = sorted((to_slots(gap, 1 / rate) for gap in named), key=lambda gap: gap.start)
    for one, two in pairwise(ranges):
        if two.start < one.stop:
            raise GapError(f"gaps {one} and {two} overlap: name each frame only once")
    return ranges


def _list_windows(ranges: Sequence[SlotRange], context: int, max_gap: int) -> Iterator[_Window]:
    """A window around each gap, or around several that are near to one another."""
    windows: list[_Window] = []
    for gap in ranges:
        margin = min(gap.stop - gap.start, max_gap) + 2 * context + _NEAR
        window = _Window(max(0, gap.start - margin), gap.stop + margin, (gap,))
        if windows and window.start < windows[-1].stop:
            before = windows.pop()
            window = _Window(
                min(before.start, window.start),
                max(before.stop, window.stop),
                (*before.gaps, gap),
            )
        windows.append(window)
    yield from windows


def _cut_out(
    clip: Path, frames: Iterator[Frame], window: _Window | None, pictures: PictureFormat
) -> int:
    """Write frames of a stream as a clip of their own; return their number."""
    n_frames = 0
    if pictures.interlacing == "m":  # of which FFmpeg reads none
        pictures = dataclasses.replace(pictures, interlacing="p")
    with clip.open("wb") as file, PipeWriter(file, pictures) as writer:
        for frame in frames:
            writer.write(dataclasses.replace(frame, time=n_frames / pictures.rate))
            n_frames += 1
            if window is not None and frame.index + 1 >= window.stop:
                break
    return n_frames


@contextmanager
def _blame_stream(clip: Path) -> Iterator[None]:
    """Say of the stream what is wrong with the file that its frames were put into."""
    try:
        yield
    except MediaError as error:
        raise MediaError(str(error).replace(str(clip), "standard input")) from error


def _read_back(clip: Path) -> Iterator[Frame]:
    with VideoReader(clip) as reader:
        yield from reader.read()


def _move(gap: GapReport, by: int, rate: Fraction) -> GapReport:
    """A gap of a window as one of the stream."""
    return dataclasses.replace(
        gap,
        start=gap.start + by,
        stop=gap.stop + by,
        time=(gap.start + by) / rate,
        frames=tuple(
            dataclasses.replace(frame, time=(gap.start + by + k) / rate)
            for k, frame in enumerate(gap.frames)
        ),
    )


def _mark_cuts(frames: Iterator[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Tell of each frame whether it begins a shot, seen a few frames behind it and before it."""
    window: list[Frame] = []
    done = 0  # frames of the window that were handed on
    for frame in frames:
        window.append(frame)
        if len(window) - done == _CHUNK + _AROUND:
            cuts = _find_cuts(window)
            for index in range(done, done + _CHUNK):
                yield window[index], index in cuts
            done += _CHUNK
            del window[: max(0, done - _AROUND)]
            done = min(done, _AROUND)
    cuts = _find_cuts(window)
    for index in range(done, len(window)):
        yield window[index], index in cuts


def _find_cuts(frames: Sequence[Frame]) -> set[int]:
    observer = Observer(leaps=False, rests=False)
    for frame in frames:
        observer.add(read_thumbnail(frame))
    return set(find_cuts(observer.observations()))


# Where it goes.


@contextmanager
def _open_sink(
    output: BinaryIO | str | Path,
    reader: PipeReader,
    clock: StageClock,
    *,
    rate: Fraction | None = None,
    encoding: Encoding,
    overwrite: bool,
) -> Iterator[tuple[Iterator[Frame], PipeWriter | VideoSink]]:
    """The frames of a stream, and where they go: to a stream, or encoded into a file."""
    pictures = reader.pictures
    frames = clock.iterate("decode", reader.read())
    if isinstance(output, str | Path) and is_pipe(output):
        output = open_stdout()
    if not isinstance(output, str | Path):
        shown = dataclasses.replace(pictures, rate=rate or pictures.rate)
        with PipeWriter(output, shown, raw=reader.is_raw) as writer:
            yield frames, writer
        return
    target = Path(output)
    check_output(Path("-"), target, overwrite=overwrite)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="framepred-"))
        # The first frame as a file of its own stands for the stream where one is asked for.
        head, first = Path(folder) / "head.y4m", next(frames)
        _cut_out(head, iter([first]), None, pictures)
        info = probe(head)
        base = info.time_base
        sink = stack.enter_context(
            write_video(
                target,
                like=info,
                copy_streams=False,
                clock=clock,
                encoding=dataclasses.replace(
                    encoding,
                    codec=encoding.codec
                    or ("ffv1" if target.suffix.lower() in _ARCHIVAL else "h264"),
                ),
                overwrite=overwrite,
                rate=rate,
                time_base=None if rate is None else choose_base(base, rate, None),
            )
        )
        yield chain([first], frames), sink


def _open_reader(stream: BinaryIO, raw: PictureFormat | str | None) -> PipeReader:
    if not hasattr(stream, "readline"):
        raise TypeError(
            f"input must be a stream of bytes, such as open(path, 'rb'), got {stream!r}; "
            "fill_gaps and the like take files by name"
        )
    return PipeReader(stream, raw=parse_raw(raw) if isinstance(raw, str) else raw)


def _load(device: str) -> Predictor:
    from .predictor import Predictor

    return Predictor.load("default", device=device)


def _name(output: BinaryIO | str | Path) -> Path:
    return Path(output) if isinstance(output, str | Path) else Path("-")


def _tell(on_progress: OnProgress, stage: str, index: int) -> None:
    if on_progress is not None:
        on_progress(Progress(stage, index + 1, None))
