"""Frames to be put into a video where it was closed up: what lies behind them moves to later times.

Pure, like ``timeline``. A recorder that dropped frames and numbered on has left no hole, so room
has to be made first::

    slots     |  |  |  |  |  |            insert 3:2
    slots     |  |  |  .  .  |  |  |      two more steps from slot 3 on; the gap is 3..5

What becomes of the sound nobody can see in the pictures. If it ran on while they were lost, the
pictures after the place come too early for it, and its own times are right. If it was lost with
them, it has to move with the pictures after it, and a silence stays.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Literal, get_args

from .errors import GapError
from .ranges import is_pair
from .timeline import Gap, Slot, interpolate_times

__all__ = [
    "NO_DELAY",
    "Delay",
    "Insertion",
    "InsertionLike",
    "SoundChoice",
    "SoundRule",
    "choose_sound",
    "insert_slots",
    "parse_insertion",
    "parse_insertions",
]

SoundRule = Literal["auto", "keep", "move"]

_MOST_FRAMES = 10_000  # of one insertion: more is a slip of the finger


@dataclass(frozen=True)
class Insertion:
    """New frames before a slot of the ideal timeline of the input."""

    start: int
    n_frames: int

    def __str__(self) -> str:
        return f"{self.start}:{self.n_frames}"


InsertionLike = Insertion | str | tuple[int, int]  # what programs may say


@dataclass(frozen=True)
class Delay:
    """How much later in the output is what the input has at a time, in seconds."""

    steps: tuple[tuple[Fraction, Fraction], ...] = ()
    """(from when on the input's clock, how much more than before that), sorted."""

    @property
    def total(self) -> Fraction:
        """That of the end."""
        return sum((more for _, more in self.steps), Fraction(0))

    def at(self, time: Fraction) -> Fraction:
        """That of what begins at `time`."""
        return sum((more for since, more in self.steps if since <= time), Fraction(0))


NO_DELAY = Delay()


@dataclass(frozen=True)
class SoundChoice:
    """What becomes of all other streams and of the chapters."""

    is_moved: bool
    reason: str
    """One sentence for people."""


def parse_insertion(text: str) -> Insertion:
    """Read ``120:3``: three new frames before slot 120.

    Raises:
        GapError: `text` is something else, or no frames, or nothing is before the place.
    """
    match = re.fullmatch(r"\s*([0-9]{1,12})\s*:\s*([0-9]{1,12})\s*", text)
    if match is None:
        raise _malformed(text.strip())
    start, n_frames = int(match[1]), int(match[2])
    if start == 0:
        raise GapError(f"insertion {start}:{n_frames}: there is no frame before frame 0")
    if not 0 < n_frames <= _MOST_FRAMES:
        raise GapError(
            f"insertion {start}:{n_frames} is of {n_frames} frames: give 1 to {_MOST_FRAMES}"
        )
    return Insertion(start, n_frames)


def parse_insertions(insertions: str | Iterable[InsertionLike]) -> list[Insertion]:
    """Take insertions as programs name them: ``Insertion``, text, or ``(120, 3)``.

    A text alone is one insertion.

    Raises:
        GapError: one is none of these, or means nothing; see ``parse_insertion``.
    """
    entries = [insertions] if isinstance(insertions, str) else insertions
    return [_take_insertion(entry) for entry in entries]


def _take_insertion(entry: object) -> Insertion:
    if isinstance(entry, Insertion):
        return entry
    if isinstance(entry, str):
        return parse_insertion(entry)
    if is_pair(entry):
        return parse_insertion("{}:{}".format(*map(int, entry)))
    raise _malformed(entry)


def _malformed(entry: object) -> GapError:
    return GapError(
        f"cannot read insertion {entry!r}: write 120:3 for three frames before frame 120"
    )


def insert_slots(
    slots: Sequence[Slot],
    gaps: Iterable[Gap],
    cuts: Iterable[int],
    insertions: Iterable[Insertion],
    *,
    step: Fraction | None,
) -> tuple[tuple[Slot, ...], list[Gap], list[int], Delay]:
    """Make room in a timeline; return its slots, gaps and cuts as they are then, and the delay.

    Each new frame takes one `step`, or in video without one the time from the frame before the
    place to the one behind it. The new slots are gaps of kind ``inserted``.

    Raises:
        GapError: a place is outside the video, or named twice.
    """
    wanted = sorted(insertions, key=lambda insertion: insertion.start)
    for insertion in wanted:
        if insertion.start >= len(slots):
            raise GapError(
                f"insertion {insertion} lies outside the video, which has frames 0:{len(slots)}; "
                "frames after the last one are made by 'framepred forecast'"
            )
    for first, second in pairwise(wanted):
        if first.start == second.start:
            raise GapError(f"insertions {first} and {second} are at one place: join them into one")

    starts = [insertion.start for insertion in wanted]
    more = [0, *accumulate(insertion.n_frames for insertion in wanted)]

    def place(slot: int) -> int:
        return slot + more[bisect_right(starts, slot)]

    made: list[Slot] = []
    added: list[Gap] = []
    delays: list[tuple[Fraction, Fraction]] = []
    moved = Fraction(0)
    begin = 0
    for insertion in wanted:
        at, n = insertion.start, insertion.n_frames
        made += [_move(slot, moved) for slot in slots[begin:at]]
        before, behind = slots[at - 1].time, slots[at].time
        grown = n * (step or behind - before)
        added.append(Gap(len(made), len(made) + n, "inserted"))
        made += [
            Slot(time, None)
            for time in interpolate_times(before + moved, behind + moved + grown, n)
        ]
        delays.append((behind, grown))
        moved += grown
        begin = at
    made += [_move(slot, moved) for slot in slots[begin:]]
    kept = [Gap(place(gap.start), place(gap.stop - 1) + 1, gap.kind) for gap in gaps]
    return tuple(made), [*kept, *added], [place(cut) for cut in cuts], Delay(tuple(delays))


def _move(slot: Slot, by: Fraction) -> Slot:
    return replace(slot, time=slot.time + by, moved=slot.moved + by)


def choose_sound(
    rule: SoundRule, sound_ends: Sequence[Fraction | None], end: Fraction, delay: Fraction
) -> SoundChoice:
    """Decide whether sound keeps its times or moves with the pictures.

    With the rule "auto" the ends of the input tell: sound that goes on for at least half of the
    time that is inserted after the pictures have ended was not lost with them.

    :param sound_ends: when each audio stream ends, None where the container does not say.
    :param end: when the last picture ends.
    :param delay: the time that is inserted.

    Raises:
        GapError: the rule is "auto", and no end of the sound is known.
    """
    if rule not in get_args(SoundRule):
        raise ValueError(f"the rule for sound is one of {get_args(SoundRule)}, got {rule!r}")
    if rule == "keep":
        return SoundChoice(False, "other streams keep their times, as asked")
    if rule == "move":
        return SoundChoice(True, "other streams move with the pictures, as asked")
    if not sound_ends:
        return SoundChoice(True, "no sound; other streams move with the pictures")
    known = [sound_end for sound_end in sound_ends if sound_end is not None]
    if not known:
        raise GapError(
            "nothing tells whether the sound was lost with the pictures: "
            "say --sound keep (it ran on) or --sound move (it was lost too)"
        )
    rest = max(known) - end
    if 2 * rest >= delay:
        return SoundChoice(
            False,
            f"the sound ends {_seconds(rest)} after the pictures, so it ran on: other streams keep "
            "their times",
        )
    side = f"{_seconds(rest)} after" if rest >= 0 else f"{_seconds(-rest)} before"
    return SoundChoice(
        True,
        f"the sound ends {side} the pictures, so it was lost with them: other streams move, a "
        "silence stays",
    )


def _seconds(time: Fraction) -> str:
    return f"{float(time):.3f} s"
