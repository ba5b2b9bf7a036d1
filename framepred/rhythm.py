"""The rhythm of a recording: its frame rate, or none, and how many frames each pause swallowed.

Pure and exact, like ``timeline``, which builds on it. A clock that is too coarse for the rate, a
late frame and a change of rate are all normal; only what none of them explains is a hole.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

__all__ = ["Clock", "Rhythm", "find_rhythm", "find_runs", "find_step", "snap_step"]

# A frame may come this far from its place on the grid (share of the step) and still be on it.
_JITTER = Fraction(1, 10)
# Constant rate: at least this share of the intervals is one step, and this share is on the grid.
_MIN_SINGLE = Fraction(1, 2)
_MIN_ON_GRID = Fraction(3, 4)
# One hole in this many intervals may be off the grid (a splice); more of them mean honest VFR.
_INTERVALS_PER_SPLICE = 20
# How far from a long interval a late frame's catching up is looked for, in intervals.
_CATCH_UP = 4
# This many equal long intervals in a row are a lower frame rate, not holes.
_RATE_CHANGE = 12
# A longer silence is a pause in the recording: no frames were lost that could be made again.
_LONGEST_HOLE = Fraction(60)
_MOST_STEPS = 60 * 240  # in such a silence, at the highest of rates: a clock may tick much faster
_NOMINAL_RATES = tuple(
    sorted(
        [Fraction(n) for n in (5, 6, 8, 10, 12, 15, 16, 18, 20, 24, 25, 30, 48, 50, 60)]
        + [Fraction(n) for n in (72, 90, 100, 120, 144, 200, 240)]
        + [Fraction(n * 1000, 1001) for n in (12, 15, 24, 30, 48, 60, 120, 240)]
    )
)


def find_runs(indices: Iterable[int]) -> list[tuple[int, int]]:
    """Return the runs of consecutive numbers in sorted `indices`, each as ``(start, stop)``."""
    runs: list[tuple[int, int]] = []
    for index in indices:
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs


@dataclass(frozen=True)
class Clock:
    """Times as integers of one unit, so that long files need no rational arithmetic."""

    units_per_second: int
    times: tuple[int, ...]
    tick: int
    """The coarsest unit in which all the intervals are whole: how exact the clock can be."""

    @classmethod
    def of(cls, times: Sequence[Fraction], time_base: Fraction | None) -> Clock:
        denominators = {time.denominator for time in times}
        if time_base is not None:
            denominators.add(time_base.denominator)
        units = math.lcm(*denominators)
        whole = tuple(time.numerator * (units // time.denominator) for time in times)
        coarsest = math.gcd(*(after - before for before, after in pairwise(whole)))
        given = int(time_base * units) if time_base is not None else 1
        # Millisecond stamps copied into a 1/90000 container are still millisecond stamps, but
        # a common divisor as large as the frames are apart says nothing about the clock.
        smallest = min((after - before for before, after in pairwise(whole)), default=0)
        return cls(units, whole, coarsest if given < coarsest <= smallest // 4 else given)


@dataclass(frozen=True)
class Rhythm:
    """The step of a sequence of times, and the holes in it."""

    step: Fraction | None
    """Nominal seconds from frame to frame; None if the rate honestly varies."""
    n_missing: dict[int, int]
    """How many frames are missing after frame i, for each i where any are."""


def find_step(times: Sequence[Fraction], *, time_base: Fraction | None = None) -> Fraction | None:
    """Return the nominal time from frame to frame, or None; see ``find_rhythm``."""
    return find_rhythm(times, time_base=time_base).step


def find_rhythm(times: Sequence[Fraction], *, time_base: Fraction | None = None) -> Rhythm:
    """Find the step and the holes of a sequence of times.

    Copes with clocks too coarse for the rate (33, 33, 34 ms), jitter, a late start, and holes as
    long as at least half of the intervals are whole. A rate within the clock's exactness of a
    common one (such as 30000/1001) is taken to be that one.

    :param times: strictly increasing, in seconds.
    :param time_base: the container's tick; taken from the times if not given.
    """
    if len(times) < 2:
        return Rhythm(None, {})
    clock = Clock.of(times, time_base)
    step, n_missing = _measure(clock)
    if step is None:
        return Rhythm(None, {})
    n_steps = len(times) - 1 + sum(n_missing.values())
    # Where all the intervals are equal, nothing was rounded.
    exact = all(after - before == step for before, after in pairwise(clock.times))
    tick = 0 if exact else clock.tick
    doubt = Fraction(tick, clock.units_per_second * n_steps)
    return Rhythm(snap_step(step / clock.units_per_second, doubt), n_missing)


def snap_step(step: Fraction, doubt: Fraction) -> Fraction:
    """Return the common step nearest to `step`, if one is within the `doubt` about it."""
    nearest = min((1 / rate for rate in _NOMINAL_RATES), key=lambda common: abs(common - step))
    return nearest if abs(nearest - step) <= doubt else step


def _measure(clock: Clock) -> tuple[Fraction | None, dict[int, int]]:
    """Return the step in units of the clock, and the number of frames missing per interval."""
    intervals = [after - before for before, after in pairwise(clock.times)]
    n = len(intervals)
    # The lower median: with one hole after every second frame it is still a single step.
    median = sorted(intervals)[(n - 1) // 2]
    is_exact = not any(interval % median for interval in intervals)
    if median <= 2 * clock.tick:
        # Frames of one tick: the container counts frames (AVI), or its clock is too coarse to
        # tell one step from two (600 frames a second in milliseconds).
        is_exact = is_exact and intervals.count(median) >= _MIN_ON_GRID * n
        if not is_exact:
            return Fraction(clock.times[-1] - clock.times[0], n), {}
    tick = 0 if is_exact else clock.tick

    step = Fraction(median)
    for _ in range(2):  # the mean over single steps undoes the clock's rounding
        low, high = _bounds(step, tick)
        single = [interval for interval in intervals if low <= interval <= high]
        step = Fraction(sum(single), len(single))
    low, high = _bounds(step, tick)
    long_from = _half_up(step * Fraction(3, 2))
    n_steps = {i: _half_up(x / step) for i, x in enumerate(intervals) if x >= long_from}
    slack = max(Fraction(tick), step * _JITTER)
    on_grid = {i: k for i, k in n_steps.items() if abs(intervals[i] - k * step) <= slack}
    single = [interval for interval in intervals if low <= interval <= high]
    if (
        len(single) < _MIN_SINGLE * n
        or len(single) + len(on_grid) < _MIN_ON_GRID * n
        or (len(n_steps) - len(on_grid)) * _INTERVALS_PER_SPLICE > n
    ):
        return None, {}
    total = sum(single) + sum(intervals[i] for i in on_grid)
    step = Fraction(total, len(single) + sum(on_grid.values()))
    return step, _count_missing(intervals, step, n_steps, clock.units_per_second)


def _bounds(step: Fraction, tick: int) -> tuple[int, int]:
    """Return the smallest and the largest interval that counts as one step."""
    slack = max(Fraction(tick), step * _JITTER)
    return math.ceil(step - slack), math.floor(step + slack)


def _half_up(value: Fraction) -> int:
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def _count_missing(
    intervals: Sequence[int], step: Fraction, long: dict[int, int], units_per_second: int
) -> dict[int, int]:
    """Return how many frames are missing in each long interval.

    A late frame is no hole: the frames after it (or before it) catch up. What they catch up is
    taken off the long interval::

        |   |   |       | |   |      one frame late, none missing
        |   |   |       |   |   |    one missing
    """
    changed = {i for start, stop in _rate_changes(long) for i in range(start, stop)}
    n_missing: dict[int, int] = {}
    spent: set[int] = set()
    for i, n_steps in long.items():
        is_pause = intervals[i] > _LONGEST_HOLE * units_per_second or n_steps > _MOST_STEPS
        if i in changed or is_pause:
            continue
        caught_up = Fraction(0)
        for j in _neighbours(i, len(intervals), long):
            share = intervals[j] / step
            if share < Fraction(4, 5) and j not in spent:
                caught_up += 1 - share
                spent.add(j)
        if caught_up:
            n_steps = _half_up(intervals[i] / step - caught_up)
        if n_steps > 1:
            n_missing[i] = n_steps - 1
    return n_missing


def _neighbours(i: int, n_intervals: int, long: Collection[int]) -> Iterator[int]:
    """Yield the intervals around `i`, nearest first, up to the next long one on each side."""
    for side in (1, -1):
        for distance in range(1, _CATCH_UP + 1):
            j = i + side * distance
            if not 0 <= j < n_intervals or j in long:
                break
            yield j


def _rate_changes(long: dict[int, int]) -> list[tuple[int, int]]:
    """Return the runs of equal long intervals that are a change of the frame rate."""
    by_length: dict[int, list[int]] = {}
    for i, n_steps in long.items():
        by_length.setdefault(n_steps, []).append(i)
    return [
        (start, stop)
        for members in by_length.values()
        for start, stop in find_runs(members)
        if stop - start >= _RATE_CHANGE
    ]
