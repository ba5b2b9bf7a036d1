"""Time arithmetic: which frames a recording should have, which are missing, what to do about each.

Pure and exact: every time is a ``Fraction`` of a second, every range is half-open, and nothing
here knows about files or pixels. The words used everywhere else::

    frames    |  |  |        |  |        what was decoded, in presentation order
    slots     |  |  |  .  .  |  |        the ideal timeline: one slot a frame, missing or not
    index     0  1  2  3  4  5  6
    gap                3..5              slots that hold no usable frame
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal, get_args

from .errors import MediaError
from .rhythm import Clock, Rhythm, find_rhythm, find_runs

__all__ = [
    "CONTEXT",
    "MOST_AHEAD",
    "MOST_MISSING",
    "Action",
    "Gap",
    "Kind",
    "Plan",
    "PlannedGap",
    "Slot",
    "Timeline",
    "format_time",
    "interpolate_times",
    "lay_slots",
    "plan_gaps",
    "to_ticks",
    "to_time",
]

Kind = Literal["missing", "corrupt", "smeared", "frozen", "black", "closed", "inserted", "named"]
Action = Literal["fill", "forecast", "backcast", "split", "hold", "leave"]

# Known frames that are shown on each side of a gap. A fourth makes it no better, as the model card
# shows, and takes its time.
CONTEXT = 3
MOST_AHEAD = 1000  # frames of a forecast, which are all made before the first is written
MOST_MISSING = 2**22  # in all holes together: two days at 25 a second


@dataclass(frozen=True)
class Slot:
    """One place on the ideal timeline."""

    time: Fraction
    """Seconds on the file's own clock."""
    source: int | None
    """Index of the decoded frame shown here (presentation order), None where there is none."""
    moved: Fraction = Fraction(0)
    """How much later that is than in the file, where frames were inserted before."""


@dataclass(frozen=True)
class Gap:
    """A run of slots ``[start, stop)`` without a usable frame."""

    start: int
    stop: int
    kind: Kind

    @property
    def n_frames(self) -> int:
        """Number of slots in the gap."""
        return self.stop - self.start


@dataclass(frozen=True)
class PlannedGap:
    """A gap and what is to be done about it.

    ``fill`` uses both sides, ``forecast`` only the frames before, ``backcast`` only the frames
    after (in reversed time). ``split``: a cut lies in the gap, so slots ``[start, cut)`` are
    forecast and ``[cut, stop)`` backcast. ``hold`` repeats the nearest real frame. ``leave``
    changes nothing: existing frames are kept, holes stay holes.
    """

    gap: Gap
    action: Action
    reason: str
    """One sentence for people."""
    n_before: int
    """Usable frames before: present, in a row, in the same shot, at most the wished context."""
    n_after: int
    """The same after the gap."""
    cut: int | None
    """Slot that begins the new shot, when a cut lies in the gap (``start < cut <= stop``)."""


@dataclass(frozen=True)
class Plan:
    """The ideal timeline and the decisions on it.

    Every slot without a source lies in exactly one gap; gaps are sorted and do not overlap.
    """

    slots: tuple[Slot, ...]
    step: Fraction | None
    """Nominal seconds from frame to frame; None for honest variable-frame-rate video."""
    gaps: tuple[PlannedGap, ...]
    cuts: tuple[int, ...]
    """Slots that begin a new shot, sorted."""

    @property
    def n_to_make(self) -> int:
        """Number of slots that will get a new frame (held ones included)."""
        return sum(planned.gap.n_frames for planned in self.gaps if planned.action != "leave")


@dataclass(frozen=True)
class Timeline:
    """Slots as the timestamps alone tell them, before anything is decided."""

    slots: tuple[Slot, ...]
    step: Fraction | None
    gaps: tuple[Gap, ...]
    """Runs of slots without a source, of kind ``missing`` or ``corrupt``, sorted."""


# Conversions: one function each way.


def to_ticks(time: Fraction, time_base: Fraction) -> int:
    """Return the tick nearest to `time` (seconds) in units of `time_base`; halves go up."""
    ticks = time / time_base
    # floor(x + 1/2) in integers
    return (2 * ticks.numerator + ticks.denominator) // (2 * ticks.denominator)


def to_time(ticks: int, time_base: Fraction) -> Fraction:
    """Return the exact time in seconds of `ticks` units of `time_base`."""
    return ticks * time_base


def format_time(time: Fraction) -> str:
    """Return `time` as ``HH:MM:SS.mmm``, rounded to the nearest millisecond."""
    milliseconds = to_ticks(abs(time), Fraction(1, 1000))
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if time < 0 else ""
    return f"{sign}{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}"


def interpolate_times(before: Fraction, after: Fraction, n_frames: int) -> tuple[Fraction, ...]:
    """Return `n_frames` times evenly between two real frames: ``t0 + (t1 - t0) k / (n + 1)``."""
    return tuple(
        before + (after - before) * Fraction(k, n_frames + 1) for k in range(1, n_frames + 1)
    )


# The ideal timeline.


def lay_slots(
    frame_times: Sequence[Fraction],
    *,
    packet_times: Iterable[Fraction] = (),
    time_base: Fraction | None = None,
    is_variable: bool = False,
) -> Timeline:
    """Lay out the ideal timeline of a decoded video.

    Packets that gave no frame say where frames were lost, at the ends too, and in variable rate
    too; holes in a constant rate say where nothing was ever stored::

        packets   |  |  |  |     |  |
        frames    |  |     |     |  |
        slots     |  |  .  |  .  |  |
                        ^corrupt
                              ^missing

    :param frame_times: of the decoded frames, strictly increasing, in seconds.
    :param packet_times: of the coded frames, in any order; those without a time are left out.
    :param time_base: the container's tick, which says how exact the times are.
    :param is_variable: the rate is known to vary, so that a long interval is no hole.

    Raises:
        MediaError: more frames are missing than any video has.
    """
    if not frame_times:
        return Timeline((), None, ())
    lost = _lost_packets(frame_times, packet_times)
    known: list[tuple[Fraction, int | None]] = [(time, i) for i, time in enumerate(frame_times)]
    if lost:
        known += [(time, None) for time in lost]
        known.sort(key=lambda entry: entry[0])
    times = [time for time, _ in known]
    rhythm = Rhythm(None, {}) if is_variable else find_rhythm(times, time_base=time_base)

    n_missing = sum(rhythm.n_missing.values())
    if n_missing > MOST_MISSING:
        raise MediaError(
            f"its {len(frame_times)} frames leave room for {n_missing} missing ones, which is no "
            "video's work: check its times, or give it new ones"
        )
    slots: list[Slot] = []
    corrupt: list[int] = []
    missing: list[int] = []
    for i, (time, source) in enumerate(known):
        if source is None:
            corrupt.append(len(slots))
        slots.append(Slot(time, source))
        n = rhythm.n_missing.get(i, 0)
        if n:
            missing.extend(range(len(slots), len(slots) + n))
            slots.extend(Slot(made, None) for made in interpolate_times(time, times[i + 1], n))
    gaps = [Gap(start, stop, "corrupt") for start, stop in find_runs(corrupt)]
    gaps += [Gap(start, stop, "missing") for start, stop in find_runs(missing)]
    return Timeline(tuple(slots), rhythm.step, tuple(sorted(gaps, key=lambda gap: gap.start)))


def _lost_packets(
    frame_times: Sequence[Fraction], packet_times: Iterable[Fraction]
) -> list[Fraction]:
    """Return the times of packets that lie half a step or more away from every frame.

    Half a step, because a container may give a frame and its packet different roundings, and
    packets that are never shown (VP9's hidden frames) carry a time next to a shown one.
    """
    packets = list(packet_times)
    if not packets:
        return []
    clock = Clock.of([*frame_times, *packets], None)
    frames = clock.times[: len(frame_times)]
    coded = sorted(set(clock.times[len(frame_times) :]))
    # Without holes the median is the step; with many lost packets only the packets know it.
    grid = frames if len(frames) >= len(coded) else coded
    intervals = sorted(after - before for before, after in pairwise(grid))
    reach = intervals[(len(intervals) - 1) // 2] if intervals else 0
    lost: list[int] = []
    nearest = 0
    for packet in coded:
        while nearest + 1 < len(frames) and abs(frames[nearest + 1] - packet) <= abs(
            frames[nearest] - packet
        ):
            nearest += 1
        far_from_frames = packet != frames[nearest] and 2 * abs(frames[nearest] - packet) >= reach
        if far_from_frames and (not lost or 2 * (packet - lost[-1]) >= reach):
            lost.append(packet)
    # More lost frames than packets without a frame: the two clocks do not agree, so the
    # differences say nothing. A frame beyond all packets is of one that should not be shown.
    n_shown = sum(2 * (coded[0] - frame) < reach > 2 * (frame - coded[-1]) for frame in frames)
    if len(lost) > len(coded) - n_shown:
        return []
    return [Fraction(packet, clock.units_per_second) for packet in lost]


# Decisions.

# Painted over one another in this order; the strongest kind names a gap of several.
_STRENGTH: tuple[Kind, ...] = (
    *("black", "smeared", "frozen", "missing", "corrupt", "inserted", "named"),
)


def plan_gaps(
    slots: Sequence[Slot],
    gaps: Iterable[Gap],
    *,
    step: Fraction | None,
    cuts: Iterable[int] = (),
    kinds: Collection[Kind] = get_args(Kind),
    max_gap: int = 16,
    context: int = CONTEXT,
) -> Plan:
    """Decide what is done about each gap, with the reason.

    Gaps that touch or overlap become one, since nothing between them could serve as context. But
    smeared frames that would make a gap longer than `max_gap` are left as they are, and serve as
    context: with less to make, what is undecodable can still be made. The rules, first match wins:

    1. a kind that is not among `kinds` is left alone;
    2. no real frame on either side: left;
    3. longer than `max_gap`: held if the user named or inserted it, left otherwise;
    4. frames on one side only: forecast or backcast;
    5. a scene cut across the gap: each shot is continued on its own side, never morphed;
    6. otherwise filled from both sides.

    :param slots: the ideal timeline.
    :param gaps: in any order; slots without a source that are in none count as missing.
    :param cuts: slots that begin a new shot. A cut seen across a gap may be given as any slot
        from its start to its stop; where exactly it was nobody knows, so it is put in the middle.
    :param max_gap: most frames that are synthesized in one gap.
    :param context: most frames used on each side.
    """
    gaps = tuple(gaps)
    asked, unasked = _paint(slots, gaps, kinds)
    spared = _spare_smears(gaps, asked, max_gap)
    if spared:
        asked, unasked = _paint(slots, [gap for gap in gaps if gap not in spared], kinds)
    everything = sorted([*asked, *unasked], key=lambda gap: gap.start)
    moved = _place_cuts(everything, sorted(set(cuts)), len(slots))
    shots = sorted(moved)

    planned: list[PlannedGap] = []
    left_alone = set(unasked)
    for k, gap in enumerate(everything):
        floor = everything[k - 1].stop if k else 0
        ceiling = everything[k + 1].start if k + 1 < len(everything) else len(slots)
        at = bisect_left(shots, gap.start + 1)
        cut = shots[at] if at < len(shots) and shots[at] <= gap.stop else None
        # A shot that begins at the gap's first slot leaves nothing of it before the gap.
        before_from = max(floor, shots[at - 1] if at else 0)
        after = bisect_right(shots, gap.stop)
        after_to = min(ceiling, shots[after] if after < len(shots) else len(slots))
        n_before = min(context, gap.start - before_from)
        n_after = min(context, after_to - gap.stop)
        action, reason = _decide(gap, n_before, n_after, cut, max_gap, gap in left_alone)
        planned.append(PlannedGap(gap, action, reason, n_before, n_after, cut))
    for rest in _subtract(spared, everything):
        reason = (
            f"{_describe(rest)}: with the damage beside, longer than the limit of {max_gap}, "
            "left as it is"
        )
        planned.append(PlannedGap(rest, "leave", reason, 0, 0, None))
    planned.sort(key=lambda entry: entry.gap.start)
    return Plan(tuple(slots), step, tuple(planned), tuple(shots))


def _spare_smears(gaps: Sequence[Gap], asked: Sequence[Gap], max_gap: int) -> list[Gap]:
    """Return the smears without which a gap is shorter than the longest that is synthesized."""
    starts = [gap.start for gap in asked]
    return [
        gap
        for gap in gaps
        if gap.kind == "smeared"
        and (at := bisect_right(starts, gap.start) - 1) >= 0
        and gap.start < asked[at].stop
        and asked[at].n_frames > max_gap
    ]


def _subtract(gaps: Sequence[Gap], others: Sequence[Gap]) -> list[Gap]:
    """Return what is left of `gaps` outside `others`."""
    taken = {i for gap in others for i in range(gap.start, gap.stop)}
    return [
        Gap(start, stop, gap.kind)
        for gap in gaps
        for start, stop in find_runs(i for i in range(gap.start, gap.stop) if i not in taken)
    ]


def _paint(
    slots: Sequence[Slot], gaps: Iterable[Gap], kinds: Collection[Kind]
) -> tuple[list[Gap], list[Gap]]:
    """Return the gaps to act on and those to leave alone, joined where they touch."""
    n = len(slots)
    wanted = bytearray(n)
    unwanted = bytearray(n)
    missing = _STRENGTH.index("missing") + 1
    layers: list[tuple[int, int, int, bytearray]] = []
    for gap in gaps:
        layer = wanted if gap.kind in kinds else unwanted
        layers.append((_STRENGTH.index(gap.kind) + 1, gap.start, gap.stop, layer))
    for strength, start, stop, layer in sorted(layers, key=lambda entry: entry[0]):
        layer[start:stop] = bytes([strength]) * (stop - start)
    default = wanted if "missing" in kinds else unwanted
    for i, slot in enumerate(slots):
        if slot.source is None and not wanted[i] and not unwanted[i]:
            default[i] = missing
    # Existing frames that nobody wants replaced are no gap at all.
    for i, slot in enumerate(slots):
        if unwanted[i] and (wanted[i] or slot.source is not None):
            unwanted[i] = 0
    return _joined(wanted), _joined(unwanted)


def _joined(painted: bytearray) -> list[Gap]:
    runs = find_runs(i for i, strength in enumerate(painted) if strength)
    return [Gap(start, stop, _STRENGTH[max(painted[start:stop]) - 1]) for start, stop in runs]


def _place_cuts(gaps: Sequence[Gap], cuts: Sequence[int], n_slots: int) -> set[int]:
    """Return the cuts, those across a gap moved to its middle."""
    starts = [gap.start for gap in gaps]
    placed: set[int] = set()
    for cut in cuts:
        at = bisect_right(starts, cut) - 1
        if at >= 0 and cut <= gaps[at].stop:
            gap = gaps[at]
            if gap.start > 0 and gap.stop < n_slots:
                placed.add(gap.start + (gap.n_frames + 1) // 2)
        elif 0 < cut < n_slots:
            placed.add(cut)
    return placed


_WHAT: dict[Kind, str] = {
    "missing": "missing",
    "corrupt": "damaged",
    "smeared": "smeared",
    "frozen": "frozen",
    "black": "black",
    "closed": "closed-up",
    "inserted": "inserted",
    "named": "named",
}


def _describe(gap: Gap) -> str:
    return f"{gap.n_frames} {_WHAT[gap.kind]} frame{'s' if gap.n_frames != 1 else ''}"


def _decide(
    gap: Gap, n_before: int, n_after: int, cut: int | None, max_gap: int, left_alone: bool
) -> tuple[Action, str]:
    n = gap.n_frames
    what = _describe(gap)
    if left_alone:
        return "leave", f"{what}: not asked for"
    if not n_before and not n_after:
        return "leave", f"{what}: no real frame on either side"
    if n > max_gap:
        if gap.kind in ("named", "inserted"):
            return "hold", f"{what}: longer than the limit of {max_gap}, nearest frame repeated"
        return "leave", f"{what}: longer than the limit of {max_gap}, left as it is"
    before = f"{n_before} before"
    after = f"{n_after} after"
    if not n_after:
        return "forecast", f"{what}: nothing usable after, continued from {before}"
    if not n_before:
        return "backcast", f"{what}: nothing usable before, continued backwards from {after}"
    if cut is not None:
        if cut < gap.stop:
            return "split", f"{what} across a scene cut: each shot continued from {before}, {after}"
        return "forecast", f"{what} at a scene cut: the old shot continued from {before}"
    return "fill", f"{what}: filled from {before} and {after}"
