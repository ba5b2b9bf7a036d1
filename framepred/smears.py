"""Which frames are smeared: they decode, but from a picture that was lost or damaged.

A picture that others are predicted from hands its damage on to all of them, until a key frame,
which needs no other. Decoders say nothing about that. In the order of display::

    packets   K P P x P P P K P      K: key frame   x: lost or damaged
    smeared           ~ ~ ~
    packets   K b P b x b P b P      b: stored after the frame that is shown behind it
    smeared         ~   ~ ~ ~ ~

Frames that are shown before one that was stored earlier (B-frames) are taken to hand nothing on.
How many of the frames that this names are off, and how many are missed, is measured by
``samples/measure_detection.py``; the table is in ``docs/repair.md``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise

from .rhythm import find_runs
from .timeline import Gap, Slot

__all__ = ["find_baseless", "find_mendable", "find_smears"]

_NEAR = 4  # slots from a loss to a picture that is refused for it


def find_smears(
    slots: Sequence[Slot],
    damaged: Collection[int],
    *,
    keys: Collection[int],
    baseless: Collection[int] = (),
    packet_times: Iterable[Fraction] = (),
    refuses: bool = False,
    lost: Collection[int] = (),
) -> tuple[Gap, ...]:
    """Return the runs of smeared slots, damaged ones not included, sorted.

    :param slots: the ideal timeline.
    :param damaged: slots whose packet did not decode, or not well.
    :param keys: slots whose picture needs no other.
    :param baseless: slots whose picture was predicted from one that was lost.
    :param packet_times: of the coded frames, in the order in which they are stored.
    :param refuses: whether the decoder decodes no picture that lacks another, unless that was lost
        without its knowledge: then there is no smear but where a packet was, and that goes no
        farther than to the last damaged slot before the next key frame.
    :param lost: slots whose packet is missing.
    """
    if not damaged and not baseless:
        return ()
    late = _find_late(packet_times)
    smeared: set[int] = set()
    is_spreading = False
    for i, slot in enumerate(slots):
        if i in keys:
            is_spreading = False
        if i in baseless:
            smeared.add(i)
        if (i in damaged or i in baseless) and slot.time not in late:
            is_spreading = True
            before = i - 1
            while before >= 0 and slots[before].time in late and before not in keys:
                smeared.add(before)
                before -= 1
        if is_spreading:
            smeared.add(i)
    if refuses:
        smeared = _end_with_damage(smeared, damaged, keys) | _follow_holes(slots, damaged, keys)
        smeared &= _find_broken(slots, lost, keys)
    shown = sorted(i for i in smeared - set(damaged) if slots[i].source is not None)
    return tuple(Gap(start, stop, "smeared") for start, stop in find_runs(shown))


def find_mendable(
    slots: Sequence[Slot],
    gaps: Iterable[Gap],
    *,
    keys: Iterable[int],
    baseless: Collection[int] = (),
) -> set[int]:
    """Return the damaged slots whose groups of pictures are whole: none was lost or lacks another.

    Where one was, nobody knows what was predicted from the wrong picture.

    :param slots: the ideal timeline.
    :param gaps: of any kind; those corrupt or smeared are asked about.
    :param keys: slots whose picture needs no other.
    :param baseless: slots whose picture was predicted from one that was lost.
    """
    bounds = sorted(keys)
    broken = {
        bisect_right(bounds, i)
        for i, slot in enumerate(slots)
        if slot.source is None or i in baseless
    }
    return {
        i
        for gap in gaps
        if gap.kind in ("corrupt", "smeared")
        for i in range(gap.start, gap.stop)
        if bisect_right(bounds, i) not in broken
    }


def _end_with_damage(
    smeared: Collection[int], damaged: Collection[int], keys: Collection[int]
) -> set[int]:
    """Return the smeared slots that have a damaged one behind them, before the next key frame."""
    kept = set()
    is_behind = False
    for i in range(max([*smeared, *damaged], default=-1), -1, -1):
        if i in damaged:
            is_behind = True
        elif i in smeared and is_behind:
            kept.add(i)
        if i in keys:
            is_behind = False
    return kept


def _find_broken(slots: Sequence[Slot], lost: Collection[int], keys: Collection[int]) -> set[int]:
    """Return the slots in groups of pictures that have lost a packet."""
    bounds = [0, *sorted(keys), len(slots)]
    groups = [range(*bound) for bound in pairwise(bounds)]
    return {i for group in groups if any(i in lost for i in group) for i in group}


def _follow_holes(
    slots: Sequence[Slot], damaged: Collection[int], keys: Collection[int]
) -> set[int]:
    """Return the slots between a hole and the first picture behind it that is refused, if near."""
    found: set[int] = set()
    hole: int | None = None
    for i, slot in enumerate(slots):
        if i in keys:
            hole = None
        if i in damaged:
            if hole is not None and i - hole <= _NEAR:
                found.update(range(hole + 1, i))
            hole = None
        elif slot.source is None:
            hole = i
    return found


def find_baseless(
    slots: Sequence[Slot],
    claimed: Iterable[int],
    *,
    keys: Iterable[int],
    packet_times: Sequence[Fraction],
    has_holes: bool = True,
) -> set[int]:
    """Return those slots whose picture really was predicted from a lost one, not only by number.

    Numbers that skip in a steady rate where there is no hole are the encoder's mistake. The hole is
    that of a picture that was to be shown later than all that were stored before::

        stored   P2 [P6 lost] b3 b4 b5 P10       b3 lacks it, and all up to the next key frame
        stored   P2 P6 [b4 lost] b3 b5 P10       b3 and b5 lack it, P10 does not

    :param slots: the ideal timeline.
    :param claimed: slots whose number says that a picture was lost before them.
    :param keys: slots whose picture needs no other.
    :param packet_times: of the coded frames, in the order in which they are stored.
    :param has_holes: whether what is lost leaves one; if not, the numbers are believed.
    """
    holes = [i for i, slot in enumerate(slots) if slot.source is None]
    bounds = [0, *sorted(keys), len(slots)]
    places = {slot.time: i for i, slot in enumerate(slots)}
    stored = [places.get(time, 0) for time in packet_times]
    newest: dict[int, int] = {}  # of those stored before
    # Times that only rise may be those of decoding (AVI), and do not tell what is shown when.
    if stored != sorted(stored):
        newest = dict(zip(stored[1:], accumulate(stored, max), strict=False))
    found = set()
    for i in claimed:
        at = bisect_right(bounds, i)
        before = newest.get(i, bounds[at - 1])
        n_lost = bisect_right(holes, bounds[at]) - bisect_right(holes, before)
        if i < before or n_lost > 0 or not has_holes:
            found.add(i)
    return found


def _find_late(packet_times: Iterable[Fraction]) -> set[Fraction]:
    """Return the times of packets that come after one that is shown later."""
    late: set[Fraction] = set()
    newest: Fraction | None = None
    for time in packet_times:
        if newest is not None and time < newest:
            late.add(time)
        else:
            newest = time
    return late
