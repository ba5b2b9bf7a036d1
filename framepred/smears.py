"""Which frames are smeared: they decode, but from a picture that was lost or damaged.

A picture that others are predicted from hands its damage on to all of them, until a key frame,
which needs no other. Decoders say nothing about that. In the order of display::

    packets   K P P x P P P K P      K: key frame   x: lost or damaged
    smeared           ~ ~ ~
    packets   K b P b x b P b P      b: stored after the frame that is shown behind it
    smeared         ~   ~ ~ ~ ~

Frames that are shown before one that was stored earlier (B-frames) are taken to hand nothing on.
Measured on damaged H.264, MPEG-4 and MPEG-2: of the frames that this names, 97 in 100 or more
are off by more than 6 levels in some 16 x 16 pixels, and all by more than 1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from fractions import Fraction

from .rhythm import find_runs
from .timeline import Gap, Slot

__all__ = ["find_smears"]


def find_smears(
    slots: Sequence[Slot],
    damaged: Collection[int],
    *,
    keys: Collection[int],
    packet_times: Iterable[Fraction] = (),
) -> tuple[Gap, ...]:
    """Return the runs of smeared slots, damaged ones not included, sorted.

    :param slots: the ideal timeline.
    :param damaged: slots whose packet did not decode, or not well.
    :param keys: slots whose picture needs no other.
    :param packet_times: of the coded frames, in the order in which they are stored.
    """
    if not damaged:
        return ()
    late = _find_late(packet_times)
    smeared: set[int] = set()
    is_spreading = False
    for i, slot in enumerate(slots):
        if i in keys:
            is_spreading = False
        if i in damaged and slot.time not in late:
            is_spreading = True
            before = i - 1
            while before >= 0 and slots[before].time in late and before not in keys:
                smeared.add(before)
                before -= 1
        if is_spreading:
            smeared.add(i)
    shown = sorted(i for i in smeared - set(damaged) if slots[i].source is not None)
    return tuple(Gap(start, stop, "smeared") for start, stop in find_runs(shown))


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
