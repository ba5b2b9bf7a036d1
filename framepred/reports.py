"""What the library tells its caller: progress while it works, and a frozen report when it is done.

Everything here is standard library, so that a program can import it without paying for torch or
FFmpeg. Reports keep exact values (``Fraction`` seconds, ``Path``); ``as_dict()`` turns them into
what JSON knows. A field that was not measured is ``None``, never a made-up number.
"""

from __future__ import annotations

import dataclasses
import html
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

__all__ = [
    "AdaptationReport",
    "CompareReport",
    "CopyReport",
    "DropReport",
    "EncodedReport",
    "FillReport",
    "ForecastReport",
    "FrameScore",
    "FuturesReport",
    "GapReport",
    "HeldReport",
    "InsertionReport",
    "InstallationReport",
    "InterpolateReport",
    "MadeFrameReport",
    "OnProgress",
    "PackagedModel",
    "Progress",
    "Report",
    "Seconds",
    "StageClock",
    "StepScore",
    "to_plain",
]

T = TypeVar("T")

_MOST_DRAWN = 20  # items of a list in a notebook

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]


@dataclass(frozen=True)
class Progress:
    """How far one stage of the work is; ``total`` is None where nobody can know.

    ``seconds`` is what has been spent so far, over all stages of the work, where that is counted.
    """

    stage: str
    done: int
    total: int | None
    seconds: Seconds | None = None


OnProgress = Callable[[Progress], None] | None


def to_plain(value: object) -> Plain:
    """Turn a report's value into what JSON knows: fractions to floats, paths to strings.

    An infinite or undefined float becomes None, because JSON has no word for it.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: to_plain(getattr(value, name)) for name in names}
    raise TypeError(f"a report cannot hold a {type(value).__name__}")


def _draw_table(values: dict[str, Plain]) -> str:
    """Values by name as HTML; what is in them is escaped."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{_draw(value)}</td></tr>"
        for name, value in values.items()
    )
    return f"<table>{rows}</table>"


def _draw(value: Plain) -> str:
    """A value as HTML: long lists are cut short."""
    if isinstance(value, dict):
        return _draw_table(value)
    if isinstance(value, list):
        more = f"<br>and {len(value) - _MOST_DRAWN} more" if len(value) > _MOST_DRAWN else ""
        return "<br>".join(_draw(item) for item in value[:_MOST_DRAWN]) + more
    if value is None:
        return "&ndash;"
    return html.escape(f"{value:.4g}" if isinstance(value, float) else str(value))


@dataclass(frozen=True)
class Report:
    """Base of all reports: a frozen record that can be written as one JSON object."""

    def as_dict(self) -> dict[str, Plain]:
        """The report as plain values, in the order of its fields."""
        plain = to_plain(self)
        assert isinstance(plain, dict)
        return plain

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        return f"<b>{type(self).__name__}</b>{_draw_table(self.as_dict())}"


@dataclass(frozen=True)
class Seconds:
    """Wall-clock seconds spent decoding, in the network, encoding, and altogether.

    Stages overlap, so that their sum may be more than the whole.
    """

    decode: float = 0.0
    model: float = 0.0
    encode: float = 0.0
    total: float = 0.0


class StageClock:
    """Adds up the wall-clock time of named stages; ``seconds()`` may be asked at any moment.

    Stages may run in threads of their own, but each stage in one at a time.
    """

    def __init__(self) -> None:
        self._begin = time.perf_counter()
        self._spent = {"decode": 0.0, "model": 0.0, "encode": 0.0}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Count the time of the ``with`` block for ``stage`` (decode, model or encode)."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._spent[stage] += time.perf_counter() - begin

    def iterate(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        """Pass ``items`` on, and count the time that each takes to come for ``stage``."""
        iterator = iter(items)
        while True:
            with self.measure(stage):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def seconds(self) -> Seconds:
        """What was spent so far, rounded to milliseconds."""
        total = time.perf_counter() - self._begin
        return Seconds(
            **{stage: round(spent, 3) for stage, spent in self._spent.items()},
            total=round(total, 3),
        )


@dataclass(frozen=True)
class MadeFrameReport(Report):
    """One frame that was synthesized or held, and how good it is."""

    time: Fraction
    estimated_psnr: float | None  # dB; the self-check at its place in the gap, corrected
    estimated_ssim: float | None
    psnr: float | None  # dB, against a reference
    ssim: float | None
    # What the estimate rests on: the scores of real frames that were hidden at the same place in a
    # gap beside this one, and by how many dB the picture is calmer here than there.
    check_psnr: float | None = None
    check_ssim: float | None = None
    calmer: float | None = None
    # The share of the picture's area that rests on what is stored; None if nothing could be kept of
    # a damaged frame, or none was there.
    kept: float | None = None


@dataclass(frozen=True)
class GapReport(Report):
    """One gap and what became of it. ``start`` and ``stop`` count ideal slots, half-open."""

    start: int
    stop: int
    time: Fraction  # seconds of the slot ``start``
    kind: str  # missing, corrupt, smeared, frozen, black, inserted or named
    action: str  # fill, forecast, backcast, split, hold or leave
    reason: str
    context_before: int  # real frames that the network was shown on each side
    context_after: int
    estimated_psnr: float | None = None  # dB, the mean of those of its frames
    estimated_ssim: float | None = None
    psnr: float | None = None  # dB, against a reference
    ssim: float | None = None
    frames: tuple[MadeFrameReport, ...] = ()  # those that were made, in order

    @property
    def n_frames(self) -> int:
        """Number of slots in the gap."""
        return self.stop - self.start


@dataclass(frozen=True)
class AdaptationReport(Report):
    """What came of fine-tuning a copy of the network on the video itself."""

    steps_asked: int
    seconds: float  # reading the frames and judging included
    reason: str  # why the copy was kept, or not
    kept: bool = False  # whether the copy made the frames; otherwise the network did as it was
    steps_done: int = 0
    windows_learnt: int = 0  # runs of real frames
    frames_learnt: int = 0  # in these
    windows_judged: int = 0  # hidden from the learning
    psnr_before: float | None = None  # dB, mean over the windows judged
    psnr_after: float | None = None


@dataclass(frozen=True)
class EncodedReport(Report):
    """A stretch of the output that was encoded anew, between pictures that were copied."""

    start: Fraction  # of its first frame
    stop: Fraction | None  # of the copied frame behind it; None: it ends the video
    frames: int
    frames_made: int  # of these, so that the others were decoded and lost a little


@dataclass(frozen=True)
class CopyReport(Report):
    """What was copied as it is coded, and what was not."""

    packets_copied: int
    frames_reencoded: int  # frames of the input; those that were made are not among them
    stretches: tuple[EncodedReport, ...]


@dataclass(frozen=True)
class DropReport(Report):
    """Frames that seem to have been dropped and closed up: a suspicion, which changes nothing."""

    start: int  # ideal slot of the input before which they are lost, as --insert takes it
    time: Fraction  # seconds of that slot
    frames: int  # about how many
    reason: str
    kind: str = "closed"


@dataclass(frozen=True)
class InsertionReport(Report):
    """What inserting frames did to the times of everything behind them."""

    places: tuple[Fraction, ...]  # when the pictures that follow were shown in the input
    seconds: Fraction  # by which the pictures last longer
    sound_moved: bool  # other streams and chapters too; otherwise they kept their times
    reason: str


@dataclass(frozen=True)
class FillReport(Report):
    """What ``fill_gaps`` did. ``output`` is None when nothing had to be written."""

    input: Path
    output: Path | None
    frames_in: int  # frames decoded from the input
    frames_made: int  # frames synthesized or held
    frames_replaced: int  # frames of the input (frozen, black, named) that were thrown away
    frame_rate: Fraction | None  # None: variable
    gaps: tuple[GapReport, ...]
    decode_errors: int  # packets that could not be decoded
    streams_copied: int | None
    streams_left_out: tuple[str, ...]  # what the output's container cannot hold
    model: str | None
    device: str | None
    adaptation: AdaptationReport | None  # None: not asked for
    dry_run: bool
    seconds: Seconds
    copied: CopyReport | None = None  # None: everything was encoded
    inserted: InsertionReport | None = None  # None: nothing was
    tile_px: int | None = None  # side of the tiles that frames were made in; None: whole
    tile_halvings: int = 0  # times that memory ran out, and tiles were halved
    motion_halvings: int = 0  # times that the copies motion is found on were, for the same reason
    windows_resumed: int = 0  # gaps' parts and self-checks that an interrupted run had done
    drops: tuple[DropReport, ...] = ()  # suspected, and not inserted
    is_copy: bool = False  # there was nothing to fill, and the output is the input, byte for byte


@dataclass(frozen=True)
class FrameScore(Report):
    """One frame beside the true one."""

    index: int  # forecast: the step from 1; comparison: the frame of the reference from 0
    time: Fraction
    psnr: float | None  # dB, at most 100, which identical pictures get; None: nothing to compare
    ssim: float | None


@dataclass(frozen=True)
class StepScore(FrameScore):
    """One forecast frame beside the true one, and what repeating the last known frame scores."""

    held_psnr: float | None = None
    held_ssim: float | None = None


@dataclass(frozen=True)
class ForecastReport(Report):
    """What ``forecast`` did. Scores are there only when real frames were held out."""

    input: Path
    output: Path | None
    frames_in: int
    frames_made: int
    frame_rate: Fraction | None
    time: Fraction  # of the first forecast frame, on the input's clock
    context: int  # real frames that the network was shown
    damaged_before: int  # frames between these and the first forecast one
    hold_out: bool
    only_new: bool
    psnr: float | None
    ssim: float | None
    frames: tuple[StepScore, ...]
    streams_copied: int | None
    streams_left_out: tuple[str, ...]  # what the output's container cannot hold
    model: str | None
    device: str | None
    adaptation: AdaptationReport | None  # None: not asked for
    seconds: Seconds
    copied: CopyReport | None = None  # None: everything was encoded
    tile_px: int | None = None  # side of the tiles that frames were made in; None: whole
    tile_halvings: int = 0  # times that memory ran out, and tiles were halved
    motion_halvings: int = 0  # times that the copies motion is found on were, for the same reason


@dataclass(frozen=True)
class FuturesReport(Report):
    """What was drawn. Scores are there only when real frames were held out."""

    input: Path
    samples: tuple[ForecastReport, ...]
    seed: int
    best: int | None  # the sample, from 1, with the highest mean PSNR
    best_psnr: float | None  # dB
    best_ssim: float | None  # of that sample
    mean_psnr: float | None  # dB, over the samples
    mean_ssim: float | None
    # Grey levels of 255: deviation over the samples, mean over all pixels; None: of one sample.
    diversity: float | None


@dataclass(frozen=True)
class HeldReport(Report):
    """New frames for which the nearest real one is repeated."""

    reason: str  # scene cut, pause, end of the video
    frames: int


@dataclass(frozen=True)
class InterpolateReport(Report):
    """What ``interpolate`` did. Scores are there only with a reference."""

    input: Path
    output: Path
    frames_in: int
    frames_kept: int  # of these; the others are not on the new grid
    frames_made: int
    frames_held: tuple[HeldReport, ...]
    cuts: int
    rate_in: Fraction | None  # frames a second; None: it varies
    rate_out: Fraction | None
    largest_shift: Fraction  # seconds that a frame is shown beside its time
    frames_damaged: int  # of those that were read; what is made beside them shows it
    decode_errors: int  # packets that could not be decoded
    frames_scored: int
    psnr: float | None  # dB, mean over the frames scored
    ssim: float | None
    streams_copied: int | None
    streams_left_out: tuple[str, ...]  # what the output's container cannot hold
    model: str | None
    device: str | None
    dry_run: bool
    seconds: Seconds

    @property
    def frames_out(self) -> int:
        """Frames of the output."""
        return self.frames_kept + self.frames_made + sum(held.frames for held in self.frames_held)


@dataclass(frozen=True)
class CompareReport(Report):
    """Two videos side by side. Frames are paired by time, counted from each one's first frame."""

    reference: Path
    other: Path
    frames_compared: int
    frames_identical: int
    frames_only_in_reference: int
    frames_only_in_other: int
    psnr: float  # dB, mean over the pairs, of which identical ones count as 100 dB
    ssim: float | None  # None: the pictures are too small for it
    worst_psnr: float
    worst_ssim: float | None
    frames: tuple[FrameScore, ...]


@dataclass(frozen=True)
class PackagedModel(Report):
    """Weights that come with the package."""

    name: str
    path: Path
    bytes: int


@dataclass(frozen=True)
class InstallationReport(Report):
    """What is installed here: versions, devices that can compute, packaged models."""

    version: str
    python: str
    platform: str
    libraries: dict[str, str]
    devices: tuple[str, ...]
    models: tuple[PackagedModel, ...]
