"""Where a video's coded pictures are copied, and where frames are encoded anew between them.

Pure: pictures are numbers here, in the order in which they are stored and decoded::

    stored    I0 P3 B1 B2 P6 B4 B5 | I7 P10 B8 B9 ...      | an entry: nothing behind looks before
    made                      ^ 5
    copied    I0 P3 B1 B2            I7 P10 B8 B9 ...      a beginning of a group can be copied too:
    encoded               4 5 6                            nothing in it looks at what comes later
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from .timeline import Plan, to_ticks

__all__ = [
    "Coded",
    "Copied",
    "Encoded",
    "Stretch",
    "Wish",
    "cut_stretches",
    "find_groups",
    "lay_decode_ticks",
    "list_wishes",
]


@dataclass(frozen=True)
class Wish:
    """A frame that is wanted in the output."""

    time: Fraction
    is_kept: bool  # it is a frame of the input that may be copied
    is_made: bool = False  # it is no frame of the input
    is_behind_loss: bool = False  # pictures were lost just before it, and nobody knows which


@dataclass(frozen=True, slots=True)
class Coded:
    """A coded picture as stored."""

    pts: int
    dts: int
    is_entry: bool = False
    is_leading: bool = False  # decoded after an entry, and shown before it
    drops_leading: bool = False  # an entry whose leading pictures look at what comes before it
    looks_ahead: bool = False  # it may be predicted from pictures that are shown later


@dataclass(frozen=True)
class Copied:
    """Frames ``[start, stop)`` of the output are the coded pictures ``[first, last)``.

    Of these the ``n_left_out`` that follow the first are left out.
    """

    start: int
    stop: int
    first: int
    last: int
    n_left_out: int = 0
    is_entered: bool = False  # something else comes before its first picture than in the input


@dataclass(frozen=True)
class Encoded:
    """Frames ``[start, stop)`` of the output are encoded anew; when each is to be decoded."""

    start: int
    stop: int
    decode_ticks: tuple[int, ...]


Stretch = Copied | Encoded


def list_wishes(plan: Plan, *, stop: int | None = None) -> list[Wish]:
    """The frames that filling a plan's gaps gives, of the slots before ``stop``.

    With ``stop`` no gap is filled: there the frames that exist are wanted.
    """
    doubtful: set[int] = set()
    made: set[int] = set()
    for planned in plan.gaps:
        slots = range(planned.gap.start, planned.gap.stop)
        if planned.action != "leave" and stop is None:
            made.update(slots)
        elif planned.gap.kind in ("corrupt", "smeared"):
            doubtful.update(slots)
    wishes: list[Wish] = []
    is_behind_loss = False
    for index, slot in enumerate(plan.slots[:stop]):
        is_behind_loss |= slot.source is None
        if slot.source is None and index not in made:
            continue
        is_made = index in made
        is_kept = not is_made and index not in doubtful
        wishes.append(Wish(slot.time, is_kept, is_made, is_behind_loss))
        is_behind_loss = False
    return wishes


def lay_decode_ticks(shown: Sequence[int], given: Sequence[int | None]) -> list[int]:
    """When each stored picture is decoded: as given if that can be, else as late as it can be.

    Matroska keeps no such times, and FFmpeg leaves the first ones of a video open.

    :param shown: when each picture is shown, all different, in the order of storage.
    """
    ticks = [tick for tick in given if tick is not None]
    are_all = len(ticks) == len(shown) and all(a < b for a, b in pairwise(ticks))
    if are_all and all(early <= late for early, late in zip(ticks, shown, strict=True)):
        return ticks
    depth = max(_count_overtaken(shown), default=0)
    ordered = sorted(shown)
    step = min((b - a for a, b in pairwise(ordered)), default=1)
    head = [ordered[0] - (depth - i) * step for i in range(min(depth, len(shown)))]
    return head + ordered[: len(shown) - len(head)]


def find_groups(coded: Sequence[Coded], wanted: Iterable[int]) -> list[range]:
    """The runs of stored pictures that must be decoded for some of them, each to the last of these.

    A run begins with the input or at an entry.

    :param coded: in the order of storage.
    :param wanted: places in it.
    """
    groups: list[range] = []
    entries = [i for i, picture in enumerate(coded) if picture.is_entry]
    for place in sorted(wanted):
        at = bisect_right(entries, place)
        # A leading picture may look at what comes before its entry.
        if at and coded[place].is_leading:
            at -= 1
        first = entries[at - 1] if at else 0
        while groups and first < groups[-1].stop:
            first = min(first, groups.pop().start)
        groups.append(range(first, place + 1))
    return groups


def cut_stretches(coded: Sequence[Coded], wishes: Sequence[Wish], base: Fraction) -> list[Stretch]:
    """Divide the output into stretches that are copied and stretches that are encoded.

    A stretch that is copied begins with the input or at an entry. It goes on as long as the coded
    pictures, in the order of storage, are exactly the next frames that are wanted. What is encoded
    has pictures in the order in which they are shown, and begins with an entry of its own.

    :param coded: the input's pictures in the order of storage, each shown at another tick.
    :param base: seconds of a tick.
    """
    ticks = [to_ticks(wish.time, base) for wish in wishes]
    runs = _Runs(coded, wishes, ticks)
    stretches: list[Stretch] = []
    place = done = 0
    copied = runs.take(0, 0)
    while True:
        if copied is not None:
            stretches.append(copied)
            place, done = copied.last, copied.stop
        if done == len(wishes):
            return stretches
        encoded, copied = _bridge(coded, ticks, runs, place, done)
        stretches.append(encoded)
        done = encoded.stop


def _bridge(
    coded: Sequence[Coded], ticks: Sequence[int], runs: _Runs, place: int, start: int
) -> tuple[Encoded, Copied | None]:
    """Encode from the frame ``start`` up to the next entry behind which something can be copied."""
    first_lead = coded[0].pts - coded[0].dts
    begin = ticks[0] - first_lead  # of decoding: from there on a container counts the duration
    after = coded[place - 1].dts if place else begin - 1
    for first in range(place, len(coded)):
        if not coded[first].is_entry:
            continue
        run = runs.enter(first)
        if run is None or run.start <= start:
            continue
        if not place:  # so far before the first as the others lie apart
            after = begin - max(1, (coded[first].dts - begin) // (run.start - start))
        room = _spread(ticks[start : run.start], after, coded[first].dts)
        if room is not None:
            return Encoded(start, run.start, room), run
    room = _spread(ticks[start:], after, None)
    assert room is not None  # shown times are all after what was decoded before
    return Encoded(start, len(ticks), room), None


class _Runs:
    """Finds how far the stored pictures are the wanted frames."""

    def __init__(
        self, coded: Sequence[Coded], wishes: Sequence[Wish], ticks: Sequence[int]
    ) -> None:
        self._coded = coded
        self._places = {tick: i for i, tick in enumerate(ticks) if wishes[i].is_kept}
        # A lost picture may have been decoded before others that are shown before it, and these
        # may look at it.
        if all(a.pts < b.pts for a, b in pairwise(coded)):
            return
        ahead = {picture.pts for picture in coded if picture.looks_ahead}
        for i, wish in enumerate(wishes):
            while wish.is_behind_loss and i > 0 and ticks[i - 1] in ahead:
                self._places.pop(ticks[i - 1], None)
                i -= 1

    def enter(self, first: int) -> Copied | None:
        """The longest run that begins at an entry; its frames may begin with leading pictures."""
        n_leading = 0
        while first + n_leading + 1 < len(self._coded) and (
            self._coded[first + n_leading + 1].is_leading
        ):
            n_leading += 1
        picture = self._coded[first]
        begin = picture.pts
        n_left_out = n_leading if picture.drops_leading else 0
        if not n_left_out:
            begin = min(p.pts for p in self._coded[first : first + n_leading + 1])
        start = self._places.get(begin)
        return None if start is None else self.take(first, start, n_left_out, is_entered=True)

    def take(
        self, first: int, start: int, n_left_out: int = 0, *, is_entered: bool = False
    ) -> Copied | None:
        """The longest run of stored pictures from ``first`` on that are the frames from ``start``.

        A run may end where all pictures so far are the next frames without a hole, whatever their
        order.
        """
        highest, n = start - 1, 0
        best: Copied | None = None
        for i in range(first, len(self._coded)):
            if first < i <= first + n_left_out:
                continue
            place = self._places.get(self._coded[i].pts)
            if place is None or place < start:
                break
            n += 1
            highest = max(highest, place)
            if highest - start + 1 == n:
                best = Copied(start, highest + 1, first, i + 1, n_left_out, is_entered)
        return best


def _spread(shown: Sequence[int], after: int, before: int | None) -> tuple[int, ...] | None:
    """Increasing ticks between two others, none after the picture is shown; None: no room.

    They are spread evenly, or at the end of the video keep their distance from ``shown``.
    """
    n = len(shown)
    latest = list(shown)
    if before is not None:
        latest[-1] = min(latest[-1], before - 1)
    for i in range(n - 2, -1, -1):
        latest[i] = min(latest[i], latest[i + 1] - 1)
    if latest[0] <= after:
        return None
    lead = shown[0] - after - (shown[1] - shown[0] if n > 1 else 1)
    found: list[int] = []
    for i in range(n):
        if before is None:
            wish = shown[i] - max(0, lead)
        else:
            wish = after + (before - after) * (i + 1) // (n + 1)
        found.append(max(found[-1] + 1 if found else after + 1, min(wish, latest[i])))
    return tuple(found)


def _count_overtaken(shown: Iterable[int]) -> list[int]:
    """For each stored picture, how many stored before it are shown after it."""
    before: list[int] = []
    counts = []
    for tick in shown:
        place = bisect_left(before, tick)
        counts.append(len(before) - place)
        before.insert(place, tick)
    return counts
