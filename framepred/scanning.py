"""Scan a video: decode it once, find its gaps and cuts, and plan what is to be done about each."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import get_args

from .concealment import CONCEALING, MUTE, find_healed
from .decisions import explain_timeline
from .detection import (
    find_black,
    find_cuts,
    find_frozen,
    holes_hide_nothing,
    shows_same_shot,
)
from .drops import find_drops
from .errors import MediaError, check_counts
from .insertion import NO_DELAY, Delay, InsertionLike, insert_slots, parse_insertions
from .observations import Observations, Observer, Plane
from .ranges import GapLike, parse_gaps, resolve_gaps
from .relay import read_ahead
from .repairs import RepairFinder
from .reports import DropReport, OnProgress, Plain, Progress, Report, to_plain
from .rhythm import find_runs
from .smears import find_baseless, find_mendable, find_smears
from .timeline import (
    CONTEXT,
    Gap,
    Kind,
    Plan,
    Slot,
    format_time,
    lay_slots,
    plan_gaps,
)
from .video import RAW, Frame, Image, VideoInfo, VideoReader, read_thumbnail, to_rgb

__all__ = ["ScanReport", "complain_of_one", "read_slots", "scan"]

_log = logging.getLogger(__name__)

_N_STEPS = 15  # times between frames of which the median is the usual one
_MOST_BASELESS = 0.1  # of the frames, and a few: if more lack others, they are numbered wrongly
_REFUSING = ("av1",)  # whose decoder takes no picture that lacks another
_DEPTH = 4  # frames that are decoded ahead of those looked at
_REPORT_EVERY = 8  # frames between two calls of on_progress


@dataclass(frozen=True)
class ScanReport(Report):
    """What a scan found. Nothing was changed."""

    info: VideoInfo
    plan: Plan
    n_frames: int
    """Frames that were decoded."""
    n_errors: int
    """Packets that could not be decoded."""
    n_repaired_times: int
    """Frames whose time did not come after the one before, and was moved."""
    is_damaged: bool = False
    """Something did not decode, or not well: such a video must be decoded in order, in one thread,
    to give the same frames again."""
    drops: tuple[DropReport, ...] = ()
    """Suspected losses that were closed up, but for those that are inserted."""
    delay: Delay = NO_DELAY
    """How much later everything is in the plan than in the file, behind what is inserted."""
    mendable: frozenset[int] = frozenset()
    """Frames, by their index, that are damaged, but may be right in part."""

    def as_dict(self) -> dict[str, Plain]:
        """The report as plain values, its gaps named as in the report of ``fill_gaps``."""
        plan = self.plan
        return {
            "input": str(self.info.path),
            "frames_in": self.n_frames,
            "frames_ideal": len(plan.slots),
            "frames_to_make": plan.n_to_make,
            "frame_rate": None if plan.step is None else float(1 / plan.step),
            "start": float(plan.slots[0].time),
            "gaps": [
                {
                    "start": planned.gap.start,
                    "stop": planned.gap.stop,
                    "time": float(plan.slots[planned.gap.start].time),
                    "kind": planned.gap.kind,
                    "action": planned.action,
                    "reason": planned.reason,
                    "context_before": planned.n_before,
                    "context_after": planned.n_after,
                }
                for planned in plan.gaps
            ],
            "cuts": [
                {"slot": cut, "time": float(plan.slots[cut].time)}
                for cut in plan.cuts
                if cut < len(plan.slots)
            ],
            "drops": to_plain(self.drops),
            "decode_errors": self.n_errors,
            "repaired_times": self.n_repaired_times,
            "container": self.info.container,
            "codec": self.info.codec,
            "width": self.info.width,
            "height": self.info.height,
            "pix_fmt": self.info.pix_fmt,
            "other_streams": to_plain(self.info.other_streams),
        }


def scan(
    path: str | Path,
    *,
    detect: Kind | Collection[Kind] = ("missing", "corrupt", "smeared", "frozen", "closed"),
    gaps: str | Iterable[GapLike] = (),
    insert: str | Iterable[InsertionLike] = (),
    max_gap: int = 16,
    context: int = CONTEXT,
    on_progress: OnProgress = None,
) -> ScanReport:
    """Find the gaps of a video and plan what is to be done about each; decodes the video once.

    Memory does not grow with the pictures: a few numbers are kept of each frame. At the first sign
    of damage it begins again, in one thread: only then errors are met in order, and another
    reading gives the same frames. Damaged VP8 and VP9 is then decoded in both ways of
    ``concealment``, up to the last damage, for the frames that have healed.

    :param detect: the kinds of gap to look for, of missing, corrupt, smeared, frozen, black,
        closed. Holes of other kinds are in the plan too, but left alone. What is "closed" is no
        gap, since it has no slots, but a suspicion in ``drops``.
    :param gaps: gaps that the user names, such as ``"120:128"``; times count on the file's clock.
    :param insert: room to be made for new frames, such as ``"120:3"``: three before slot 120 of
        the timeline as it is without. All that follows is later in the plan.
    :param max_gap: most frames that are synthesized in one gap.
    :param context: most real frames used on each side of a gap.

    Raises:
        MediaError: the file is not a readable video, or none of its frames can be decoded.
        GapError: a named gap is malformed, outside the video, overlapping, or without a frame on
            either side; or an insertion is malformed, outside, or at the place of another.
    """
    if isinstance(detect, str):
        detect = (detect,)
    unknown = sorted(set(detect) - set(get_args(Kind)))
    if unknown:
        raise ValueError(f"unknown kind of gap {unknown[0]!r}: choose of {get_args(Kind)}")
    check_counts(max_gap=max_gap, context=context)
    named = parse_gaps(gaps)
    inserted = parse_insertions(insert)
    seen = _watch(path, detect, keep_signatures=bool(named), on_progress=on_progress)
    # Frames behind an error at the very end are lost without a word where threads are flushed.
    if seen.is_damaged or seen.lacks_frames:
        _log.info("%s: damage met: read again from the start, in one thread", path)
        seen = _watch(
            path, detect, keep_signatures=True, frame_threads=False, on_progress=on_progress
        )
    info, times, packet_times = seen.info, seen.times, seen.packet_times
    if not times:
        raise MediaError(
            f"{path}: none of its frames can be decoded ({seen.n_errors} packets failed); "
            "the file is damaged, encrypted, or has no pictures, or larger ones than are decoded"
        )
    if on_progress is not None:
        on_progress(Progress("scan", len(times), len(times)))

    observations = seen.observer.observations()
    timeline = lay_slots(times, packet_times=packet_times, time_base=info.time_base)
    undecoded = {
        i for gap in timeline.gaps if gap.kind == "corrupt" for i in range(gap.start, gap.stop)
    }
    if holes_hide_nothing(observations, n_steps=_count_steps(timeline.slots, but=undecoded)):
        timeline = lay_slots(
            times, packet_times=packet_times, time_base=info.time_base, is_variable=True
        )
    wanted = resolve_gaps(named, timeline.slots)
    places = [i for i, slot in enumerate(timeline.slots) if slot.source is not None]
    found = [
        *timeline.gaps,
        *wanted,
        *(Gap(places[i], places[i] + 1, "corrupt") for i in seen.corrupt),
    ]
    smears: tuple[Gap, ...] = ()
    baseless: Collection[int] = ()
    if "smeared" in detect:
        stored = seen.list_stored()
        repairs: list[int] = []
        if seen.is_numbered:
            baseless = find_baseless(
                timeline.slots,
                [places[i] for i in seen.baseless],
                keys=[places[i] for i in seen.keys],
                packet_times=stored,
                has_holes=timeline.step is not None and seen.info.container not in RAW,
            )
        else:
            n_steps = _count_steps(timeline.slots)
            repairs = [places[i] for i in _choose_repairs(seen, observations, n_steps)]
        smears = find_smears(
            timeline.slots,
            _list_damaged(found, [places[i] for i in seen.keys], repairs),
            baseless=baseless,
            keys={places[i] for i in seen.keys},
            packet_times=stored,
            refuses=info.codec in _REFUSING,
            lost={
                i
                for gap in timeline.gaps
                if gap.kind == "missing"
                for i in range(gap.start, gap.stop)
            },
        )
    mendable = _list_mendable(seen, timeline.slots, [*found, *smears], baseless)
    if mendable and info.codec in MUTE:
        healed = find_healed(info.path, mendable).difference(seen.corrupt)
        smears = _leave_out(smears, {places[i] for i in healed})
        mendable -= healed
    damage, cuts = _look(observations, timeline.slots, places, [*wanted, *smears], detect)
    drops: list[DropReport] = []
    # Without a steady rate the motion of a step tells nothing.
    if "closed" in detect and timeline.step is not None:
        drops = _suspect_drops(
            observations, timeline.slots, places, [*found, *smears, *damage], cuts
        )
        cuts = sorted({*cuts} - {drop.start for drop in drops})
    slots, gaps_there, cuts, delay = insert_slots(
        timeline.slots, [*found, *smears, *damage], cuts, inserted, step=timeline.step
    )
    plan = plan_gaps(
        slots,
        gaps_there,
        step=timeline.step,
        cuts=cuts,
        kinds={*detect, "named", "inserted"},
        max_gap=max_gap,
        context=context,
    )
    report = ScanReport(
        info=info,
        plan=plan,
        n_frames=len(times),
        n_errors=seen.n_errors,
        n_repaired_times=seen.n_repaired_times,
        is_damaged=seen.is_damaged,
        drops=tuple(
            drop for drop in drops if drop.start not in {entry.start for entry in inserted}
        ),
        delay=delay,
        mendable=mendable,
    )
    _note(report, detect)
    return report


def complain_of_one(path: str | Path) -> MediaError:
    """The error to raise about a video that is a single picture."""
    return MediaError(f"{path}: has only one frame, and motion needs two; give a longer video")


def _note(report: ScanReport, detect: Collection[Kind]) -> None:
    """Tell those who listen what was found, and by what."""
    info = report.info
    _log.info(
        "%s: %s, %s %dx%d %s; %d frames read, %d packets not decodable, %d times moved; looked "
        "for: %s",
        *(info.path, info.container, info.codec, info.width, info.height, info.pix_fmt),
        *(report.n_frames, report.n_errors, report.n_repaired_times),
        ", ".join(kind for kind in get_args(Kind) if kind in detect) or "nothing",
    )
    for line in explain_timeline(report.plan):
        _log.info("%s", line)
    for drop in report.drops:
        _log.info(
            "before frame %d at %s frames seem to be closed up: %s; left so",
            *(drop.start, format_time(drop.time), drop.reason),
        )


def _list_mendable(
    seen: _Seen, slots: Sequence[Slot], gaps: Sequence[Gap], baseless: Collection[int]
) -> frozenset[int]:
    """Return the indices of damaged frames that may be right in part, but for those named."""
    if seen.info.codec not in CONCEALING | MUTE and not seen.has_entries:
        return frozenset()
    places = [i for i, slot in enumerate(slots) if slot.source is not None]
    keys = [places[i] for i in seen.keys]
    found = find_mendable(slots, gaps, keys=keys, baseless=baseless)
    for gap in gaps:
        if gap.kind == "named":
            found.difference_update(range(gap.start, gap.stop))
    return frozenset(source for i in found if (source := slots[i].source) is not None)


def _leave_out(gaps: Iterable[Gap], slots: Collection[int]) -> tuple[Gap, ...]:
    """Return smears without some of their slots."""
    rest = [i for gap in gaps for i in range(gap.start, gap.stop) if i not in slots]
    return tuple(Gap(start, stop, "smeared") for start, stop in find_runs(rest))


def _choose_repairs(seen: _Seen, observations: Observations, n_steps: Sequence[int]) -> list[int]:
    """Return the frames that repair the picture of a shot that was there before the loss.

    One that begins a shot repairs nothing: encoders like to set a key frame there. But to get back
    from a picture that is torn to pieces looks like a cut too.
    """
    cuts = set(find_cuts(observations, n_steps=n_steps))
    chosen = []
    for frame in seen.repairs:
        at = bisect_left(seen.keys, frame)
        begin = seen.keys[at - 1] if at else 0
        before = next((i for i in range(begin, frame) if n_steps[i + 1] > 1), None)
        if frame not in cuts or (
            before is not None and shows_same_shot(observations, before, frame)
        ):
            chosen.append(frame)
    return chosen


def _list_damaged(gaps: Iterable[Gap], keys: Sequence[int], repairs: Iterable[int]) -> set[int]:
    """Return the slots that others may have been predicted from in vain.

    Those that did not decode, and those missing in a group of pictures whose end was repaired.
    """
    groups = [(keys[at - 1] if (at := bisect_left(keys, k)) else 0, k) for k in repairs]
    return {
        slot
        for gap in gaps
        for slot in range(gap.start, gap.stop)
        if gap.kind == "corrupt" or any(first < slot < stop for first, stop in groups)
    }


@dataclass
class _Seen:
    """What one reading of a video showed."""

    info: VideoInfo
    observer: Observer
    times: list[Fraction] = field(default_factory=list)
    corrupt: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    baseless: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    """Of the packets that the frames came in, as far as known."""
    has_numbers: bool = False
    has_entries: bool = False
    repairs: Sequence[int] = ()
    packet_times: Sequence[Fraction] = ()
    n_packets: int = 0
    n_untimed: int = 0
    n_errors: int = 0
    n_repaired_times: int = 0
    has_threads: bool = True

    @property
    def is_damaged(self) -> bool:
        signs = (self.n_errors, self.corrupt, self.repairs, self.baseless, not self.has_threads)
        return any(signs)

    @property
    def is_numbered(self) -> bool:
        """Whether the pictures' own numbers tell what was lost; some encoders count wrongly."""
        return self.has_numbers and len(self.baseless) <= 8 + _MOST_BASELESS * len(self.times)

    def list_stored(self) -> Sequence[Fraction]:
        """Return the times of the coded frames, in the order in which they are stored."""
        if self.info.container not in RAW:
            return self.packet_times
        order = sorted(range(len(self.times)), key=lambda i: self.numbers[i])
        return [self.times[i] for i in order]

    @property
    def lacks_frames(self) -> bool:
        # Where the times tell nothing, because there are none (a raw stream) or frames have come
        # out of their order, there is still a frame in each packet.
        if (self.n_untimed or self.n_repaired_times) and len(self.times) < self.n_packets:
            return True
        timeline = lay_slots(self.times, packet_times=self.packet_times)
        return any(gap.kind == "corrupt" for gap in timeline.gaps)


def _watch(
    path: str | Path,
    detect: Collection[Kind],
    *,
    keep_signatures: bool,
    on_progress: OnProgress,
    frame_threads: bool = True,
) -> _Seen:
    """Read a video, with frame threads no farther than to the first damage.

    What takes longest is only looked at where it is asked for.
    """
    verify = not {"corrupt", "smeared"}.isdisjoint(detect)
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(path, frame_threads=frame_threads, verify=verify))
        frames = stack.enter_context(read_ahead(lambda: _shrink(reader), depth=_DEPTH))
        total = _count_frames(reader.info)
        observer = Observer(
            keep_signatures=keep_signatures, leaps="closed" in detect, rests="frozen" in detect
        )
        seen = _Seen(reader.info, observer, has_threads=frame_threads)
        finder, pauses = RepairFinder(), _Pauses()
        for frame, thumbnail in frames:
            seen.observer.add(thumbnail, is_corrupt=frame.is_corrupt)
            finder.add(thumbnail, is_suspect=pauses.take(frame))
            seen.times.append(frame.time)
            seen.numbers.append(frame.index if frame.packet is None else frame.packet)
            if frame.is_corrupt:
                seen.corrupt.append(frame.index)
            if frame.is_key:
                seen.keys.append(frame.index)
            if frame.lacks_reference:
                seen.baseless.append(frame.index)
            if frame_threads and (frame.is_corrupt or reader.n_errors):
                break
            if on_progress is not None and len(seen.times) % _REPORT_EVERY == 0:
                on_progress(Progress("scan", len(seen.times), total))
        finder.finish()
        seen.repairs = finder.found
        seen.packet_times = reader.packet_times
        seen.has_numbers, seen.has_entries = reader.has_numbers, reader.has_entries
        seen.n_packets, seen.n_untimed = reader.n_packets, reader.n_untimed
        seen.n_errors = reader.n_errors
        seen.n_repaired_times = reader.n_repaired_times
    return seen


def _shrink(reader: VideoReader) -> Generator[tuple[Frame, Plane], None, None]:
    """Yield all frames with their thumbnails."""
    for frame in reader.read():
        assert isinstance(frame, Frame)
        yield frame, read_thumbnail(frame)


class _Pauses:
    """Tells key frames that follow a pause, which may be a loss; all-intra video has none."""

    def __init__(self) -> None:
        self._last: tuple[Fraction, bool] | None = None  # its time, whether it was a key frame
        self._steps: deque[Fraction] = deque(maxlen=_N_STEPS)
        self._had_pause = False

    def take(self, frame: Frame) -> bool:
        last, self._last = self._last, (frame.time, frame.is_key)
        if last is None:
            return False
        step = frame.time - last[0]
        is_pause = bool(self._steps) and 2 * step > 3 * sorted(self._steps)[len(self._steps) // 2]
        self._steps.append(step)
        if not frame.is_key:
            self._had_pause = self._had_pause or is_pause
            return False
        # A change behind a pause is natural, so a key frame right behind one tells nothing.
        is_suspect = self._had_pause and not is_pause and not last[1]
        self._had_pause = False
        return is_suspect


def read_slots(
    path: str | Path, plan: Plan, wanted: Collection[int], *, frame_threads: bool = True
) -> Iterator[tuple[int, Image]]:
    """Decode a video once more; yield (slot, RGB picture (H, W, 3)) of the wanted slots, in order.

    Left out are frames that are flagged as corrupt, and those that are not what the scan saw.

    Raises:
        MediaError: the video cannot be read.
    """
    places = {source: slot for slot in wanted if (source := plan.slots[slot].source) is not None}
    last = max(places, default=-1)
    with VideoReader(path, frame_threads=frame_threads) as reader:
        for frame in reader.read():
            assert isinstance(frame, Frame)
            if frame.index > last:
                return
            slot = places.get(frame.index)
            if slot is None or frame.is_corrupt:
                continue
            if frame.time == plan.slots[slot].time - plan.slots[slot].moved:
                yield slot, to_rgb(frame)


def _count_frames(info: VideoInfo) -> int | None:
    """What the header promises; only good enough for a progress bar."""
    if info.duration is None or info.average_rate is None:
        return None
    return max(1, round(info.duration * info.average_rate))


def _count_steps(slots: Sequence[Slot], *, but: Collection[int] = ()) -> list[int]:
    """Return, for each frame, the slots from the frame before it, some not counted."""
    counted = [slot for i, slot in enumerate(slots) if i not in but]
    places = [i for i, slot in enumerate(counted) if slot.source is not None]
    return [1, *(after - before for before, after in pairwise(places))]


def _look(
    observations: Observations,
    slots: Sequence[Slot],
    places: Sequence[int],
    known: Iterable[Gap],
    detect: Collection[Kind],
) -> tuple[list[Gap], list[int]]:
    """Return the gaps that the pictures show, and the slots that begin a new shot."""
    n_steps = _count_steps(slots)
    ignored: set[int] = set()
    bridges = dict(observations.bridges)
    for gap in known:
        inside = {
            source for slot in slots[gap.start : gap.stop] if (source := slot.source) is not None
        }
        ignored |= inside
        before, after = min(inside, default=0) - 1, max(inside, default=-1) + 1
        while before >= 0 and not observations.usable[before]:
            before -= 1
        if inside and before >= 0 and after < len(places):
            bridges[after] = observations.compare_frames(before, after)
    observations = replace(observations, bridges=bridges)
    gaps: list[Gap] = []

    def note(runs: Iterable[tuple[int, int]], kind: Kind) -> None:
        for start, stop in runs:
            ignored.update(range(start, stop))
            # A hole inside the run is part of it.
            gaps.append(Gap(places[start], places[stop - 1] + 1, kind))

    if "black" in detect:
        note(find_black(observations), "black")
    if "frozen" in detect:
        note(find_frozen(observations, n_steps=n_steps, ignore=ignored), "frozen")
    cuts = find_cuts(observations, n_steps=n_steps, ignore=ignored)
    return gaps, [places[cut] for cut in cuts]


def _suspect_drops(
    observations: Observations,
    slots: Sequence[Slot],
    places: Sequence[int],
    gaps: Iterable[Gap],
    cuts: Collection[int],
) -> list[DropReport]:
    """Return the places where frames seem to have been dropped and closed up."""
    damaged = {i for gap in gaps for i in range(gap.start, gap.stop)}
    begins = frozenset(cuts)
    drops = find_drops(
        observations,
        n_steps=_count_steps(slots),
        cuts=[frame for frame, slot in enumerate(places) if slot in begins],
        ignore=[frame for frame, slot in enumerate(places) if slot in damaged],
    )
    return [
        DropReport(places[drop.frame], slots[places[drop.frame]].time, drop.n_frames, drop.reason)
        for drop in drops
    ]
