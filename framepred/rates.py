"""Another frame rate: which frames are shown as they are, which are new, and when.

Pure and exact, like ``timeline``. A frame and all that is shown up to the next one are a stretch::

    24 a second    |         |         |         |         |         |
    60 a second    |   .   . | .   .   |   .   . | .   .   |   .   .        | kept   . made
    stretches      [--------)[--------)[--------)[--------)[--------)

Only frames whose time is on the new grid are kept; ``Multiple`` keeps all, whatever their times.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import overload

from .errors import GapError, MediaError
from .rhythm import snap_step
from .timeline import MOST_MISSING

__all__ = [
    "ConstantRate",
    "Conversion",
    "EvenTimes",
    "Multiple",
    "Stretch",
    "check_choice",
    "choose_places",
    "parse_rate",
    "read_rate",
]

_LOWEST, _HIGHEST = Fraction(1), Fraction(1000)  # frames a second
_WRITTEN = re.compile(r"(\d{1,9})(?:\.(\d{1,9})|/(\d{1,9}))?", re.ASCII)
# A frame whose time is nearer than this share of a stretch to a place in it is made at the place;
# so many places are enough for that.
_NEAR_ENOUGH = Fraction(1, 50)
_FINEST = 25


def parse_rate(text: str) -> Fraction:
    """Read frames a second: ``60``, ``60000/1001``, ``59.94``.

    A decimal fraction means the common rate that is rounded so, if there is one: 60000/1001.

    Raises:
        GapError: it is neither, or not between 1 and 1000.
    """
    match = _WRITTEN.fullmatch(text.strip())
    rate = Fraction(0)
    if match is not None and int(match[3] or 1):
        rate = Fraction(text.strip())
    if match is not None and match[2] and rate:
        common = 1 / snap_step(1 / rate, rate)
        if abs(common - rate) <= Fraction(1, 2 * 10 ** len(match[2])):
            rate = common
    if not _LOWEST <= rate <= _HIGHEST:
        raise GapError(f"no frame rate {text!r}: write 60, 59.94 or 60000/1001, from 1 to 1000")
    return rate


def read_rate(rate: Fraction | float | str) -> Fraction:
    """``parse_rate`` of numbers too; a float is as good as its six decimals.

    Raises:
        GapError: as ``parse_rate``.
    """
    if isinstance(rate, float):
        rate = f"{rate:.6f}".rstrip("0").rstrip(".")
    return parse_rate(str(rate))


def check_choice(rate: object, times: object) -> None:
    """ValueError unless either a rate is given, or ``times``, a whole number of at least 2."""
    if (rate is None) == (times is None):
        raise ValueError(f"give either a rate or times, got {rate} and {times}")
    if times is not None and (not isinstance(times, int) or times < 2):
        raise ValueError(f"times must be a whole number of at least 2, got {times!r}")


@dataclass(frozen=True)
class EvenTimes(Sequence[Fraction]):
    """``n`` times from ``first`` on, ``step`` apart; those of a day's pause take no room."""

    first: Fraction
    step: Fraction
    n: int

    def __len__(self) -> int:
        return self.n

    @overload
    def __getitem__(self, place: int) -> Fraction: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Fraction]: ...
    def __getitem__(self, place: int | slice) -> Fraction | Sequence[Fraction]:
        places = range(self.n)[place]
        if isinstance(places, int):
            return self.first + places * self.step
        return EvenTimes(
            self.first + places.start * self.step, places.step * self.step, len(places)
        )


@dataclass(frozen=True)
class Stretch:
    """What is shown from one real frame up to the next."""

    kept: Fraction | None
    """When the real frame is shown; None: it is not."""
    times: Sequence[Fraction] = ()
    """When new frames are shown."""
    reason: str | None = None
    """Why the nearest real frame is repeated there; None: new frames are made."""
    n_frames: int = 0
    """The frames to make are some of so many that would lie evenly between the two real ones."""
    steps: tuple[int, ...] = ()
    """Which of them, from 1, one for each time."""
    shift: Fraction = Fraction(0)
    """Seconds that a frame is shown beside its time, at most."""


class Conversion(ABC):
    """Turns the times of real frames, given in order, into stretches.

    :param tick: seconds by which a real frame may be off a new time, and is shown there.
    :param rounding: seconds by which times were rounded, if that is less.
    :param usual: seconds from frame to frame, as a rule.
    :param max_gap: a pause in which more than so many of the usual frames are missing is not made.
    """

    def __init__(
        self, *, tick: Fraction, usual: Fraction, max_gap: int, rounding: Fraction | None = None
    ) -> None:
        self.tick = tick
        self._rounding = tick if rounding is None else min(tick, rounding)
        self._usual = usual
        self._max_gap = max_gap
        self._n_new = 0

    def pass_frame(self, time: Fraction, following: Fraction, *, is_cut: bool) -> Stretch:
        """The stretch from a real frame to the ``following`` one; ``is_cut``: a cut is between.

        Raises:
            MediaError: more new frames are wanted than any video has.
        """
        kept = self._keep(time)
        times = self._count(self._list_new(time, following), following)
        moved = Fraction(0) if kept is None else abs(kept - time)
        if not times:
            return Stretch(kept, shift=moved)
        if is_cut:
            return Stretch(kept, times, "scene cut")
        length = following - time
        if length / self._usual - Fraction(1, 2) > self._max_gap + 1:
            return Stretch(kept, times, "pause")
        near = max(_NEAR_ENOUGH, self._rounding / length)
        n_places, steps, off = choose_places([(t - time) / length for t in times], near=near)
        return Stretch(kept, times, None, n_places - 1, steps, max(moved, off * length))

    def pass_last(self, time: Fraction, end: Fraction) -> Stretch:
        """The stretch from the last real frame to the end of the video; raises the same."""
        kept = self._keep(time)
        times = self._count(self._list_last(time, end), end)
        return Stretch(kept, times, "end of the video") if times else Stretch(kept)

    def _count(self, times: EvenTimes, end: Fraction) -> EvenTimes:
        self._n_new += len(times)
        if self._n_new > MOST_MISSING:
            raise MediaError(
                f"up to {float(end):.3f} s there would be {self._n_new} new frames, which is no "
                "video's work: split the video at its long pauses, or choose a lower rate"
            )
        return times

    def _list_last(self, time: Fraction, end: Fraction) -> EvenTimes:
        """New times from the last real frame up to the end."""
        return self._list_new(time, end)

    @abstractmethod
    def _keep(self, time: Fraction) -> Fraction | None:
        """When a real frame is shown, if it is."""

    @abstractmethod
    def _list_new(self, time: Fraction, following: Fraction) -> EvenTimes:
        """New times from a real frame up to the next one."""


class ConstantRate(Conversion):
    """``rate`` frames a second, from ``start`` on; frames that are not on this grid are dropped.

    On it is what lies nearer than a fiftieth of the usual interval, or the ``tick``, to a new time.
    """

    def __init__(
        self,
        rate: Fraction,
        *,
        start: Fraction,
        tick: Fraction,
        usual: Fraction,
        max_gap: int,
        rounding: Fraction | None = None,
    ) -> None:
        super().__init__(tick=tick, usual=usual, max_gap=max_gap, rounding=rounding)
        self._reach = min(max(tick, usual * _NEAR_ENOUGH), 1 / rate / 4)
        self._step = 1 / rate
        self._start = start
        self._n = 0  # times that are behind

    def _keep(self, time: Fraction) -> Fraction | None:
        place = self._start + self._n * self._step
        if place > time + self._reach:
            return None
        self._n += 1
        return place

    def _list_new(self, time: Fraction, following: Fraction) -> EvenTimes:
        return self._pass_to(math.ceil((following - self._reach - self._start) / self._step))

    def _list_last(self, time: Fraction, end: Fraction) -> EvenTimes:
        # As many in all as come nearest to the duration; of two that do, the more.
        return self._pass_to(math.floor((end - self._start) / self._step + Fraction(1, 2)))

    def _pass_to(self, n: int) -> EvenTimes:
        first, self._n = self._n, max(self._n, n)
        return EvenTimes(self._start + first * self._step, self._step, self._n - first)


class Multiple(Conversion):
    """``n`` times as many frames: all that are there, and others evenly between them.

    Where frames are missing, so many more are made. A variable rate stays variable.
    """

    def __init__(
        self, n: int, *, tick: Fraction, usual: Fraction, is_steady: bool, max_gap: int
    ) -> None:
        super().__init__(tick=tick, usual=usual, max_gap=max_gap)
        self._multiple = n
        self._is_steady = is_steady

    def _keep(self, time: Fraction) -> Fraction | None:
        return time

    def _list_new(self, time: Fraction, following: Fraction) -> EvenTimes:
        length = following - time
        n_steps = max(1, round(length / self._usual)) if self._is_steady else 1
        n = n_steps * self._multiple
        return EvenTimes(time + length / n, length / n, n - 1)


def choose_places(
    parts: Sequence[Fraction], *, near: Fraction = Fraction(0), finest: int = _FINEST
) -> tuple[int, tuple[int, ...], Fraction]:
    """Divide a whole into equal places so that all ``parts`` of it lie on some.

    ::

        2/5 4/5       ->  |   .   *   .   *   |      5 places, the 2nd and the 4th

    The fewest places on which all parts lie ``near`` enough; failing that, of up to ``finest``
    places (or as many as are needed to tell the parts apart) those that miss by least.

    :param parts: increasing, each between 0 and 1.

    Returns the number of places, which of them, and by how much the worst part is missed.
    """
    best: tuple[Fraction, int, tuple[int, ...]] | None = None
    for n in range(len(parts) + 1, max(finest, len(parts) + 1) + 1):
        steps = tuple(min(max(round(part * n), 1), n - 1) for part in parts)
        if any(a >= b for a, b in pairwise(steps)):
            continue
        off = max(abs(Fraction(k, n) - part) for k, part in zip(steps, parts, strict=True))
        if off <= near:
            return n, steps, off
        if best is None or off < best[0]:
            best = off, n, steps
    if best is None:  # crowded parts: the real places are known to be evenly spread
        n = len(parts) + 1
        steps = tuple(range(1, n))
        return n, steps, max(abs(Fraction(k, n) - p) for k, p in zip(steps, parts, strict=True))
    return best[1], best[2], best[0]
