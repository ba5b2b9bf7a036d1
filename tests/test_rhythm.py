"""The rhythm of times: rates, coarse clocks, jitter, and what is a hole and what is not."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framepred.rhythm import find_rhythm, find_runs, find_step
from framepred.timeline import to_ticks, to_time

MILLISECOND = Fraction(1, 1000)
MPEG = Fraction(1, 90_000)

RATES = [Fraction(r) for r in (10, 24, 25, 30, 50, 60, 120)] + [
    Fraction(r * 1000, 1001) for r in (24, 30, 60)
]


def stamp(times: Sequence[Fraction], base: Fraction) -> list[Fraction]:
    """Times as a container of this time base stores them."""
    return [to_time(to_ticks(time, base), base) for time in times]


def grid(n: int, rate: Fraction | int, base: Fraction, *, without: Sequence[int] = ()):
    return stamp([k / Fraction(rate) for k in range(n) if k not in without], base)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("base", [MILLISECOND, MPEG, Fraction(1, 12_800), Fraction(1, 30_000)])
def test_common_rates_are_found_exactly(rate: Fraction, base: Fraction) -> None:
    assert find_step(grid(200, rate, base), time_base=base) == 1 / rate


@pytest.mark.parametrize(
    "rate", [Fraction(17), Fraction(2997, 100), Fraction(1), Fraction(1000, 83)]
)
def test_uncommon_rates_are_kept(rate: Fraction) -> None:
    base = 1 / (rate.numerator * Fraction(100))
    assert find_step(grid(50, rate, base), time_base=base) == 1 / rate


@pytest.mark.parametrize("times", [[], [Fraction(3)]])
def test_fewer_than_two_frames_have_no_step(times: list[Fraction]) -> None:
    assert find_step(times) is None


def test_two_frames_have_a_step_and_no_hole() -> None:
    rhythm = find_rhythm([Fraction(0), Fraction(7)])
    assert (rhythm.step, rhythm.n_missing) == (7, {})


def test_late_start_does_not_matter() -> None:
    times = [3600 + time for time in grid(90, 30, MPEG, without=[40])]
    rhythm = find_rhythm(times, time_base=MPEG)
    assert (rhythm.step, rhythm.n_missing) == (Fraction(1, 30), {39: 1})


def test_time_base_of_one_frame_still_shows_holes() -> None:
    """AVI and MXF count frames, so the tick is the step."""
    base = Fraction(1, 25)
    rhythm = find_rhythm(grid(40, 25, base, without=[7, 20, 21]), time_base=base)
    assert (rhythm.step, rhythm.n_missing) == (base, {6: 1, 18: 2})


def test_clock_coarser_than_half_a_step_shows_no_holes() -> None:
    """600 frames a second in milliseconds: 2, 1, 2, 2, 1 ms."""
    rhythm = find_rhythm(grid(60, 600, MILLISECOND), time_base=MILLISECOND)
    assert rhythm.n_missing == {}
    assert rhythm.step is not None
    assert abs(rhythm.step - Fraction(1, 600)) < MILLISECOND / 50


def test_millisecond_stamps_in_a_finer_time_base() -> None:
    times = grid(60, Fraction(60000, 1001), MILLISECOND, without=[30])
    rhythm = find_rhythm(times, time_base=MPEG)
    assert (rhythm.step, rhythm.n_missing) == (Fraction(1001, 60000), {29: 1})


def test_late_frame_that_the_next_ones_catch_up_is_no_hole() -> None:
    """| | |    || | |: one frame waited for a busy disk."""
    step = Fraction(1, 30)
    times = [k * step for k in range(30)]
    times[10] += step * Fraction(7, 10)
    rhythm = find_rhythm(times, time_base=MPEG)
    assert (rhythm.step, rhythm.n_missing) == (step, {})


def test_burst_after_a_stall_is_no_hole() -> None:
    step = Fraction(1, 30)
    times = [k * step for k in range(60)]
    times[20:23] = [22 * step, 22 * step + step / 5, 22 * step + step * 2 / 5]
    assert find_rhythm(times, time_base=MPEG).n_missing == {}


def test_early_frame_before_a_long_interval_is_no_hole() -> None:
    step = Fraction(1, 25)
    times = [k * step for k in range(30)]
    times[10] -= step * Fraction(6, 10)
    assert find_rhythm(times, time_base=MPEG).n_missing == {}


@pytest.mark.parametrize(
    "pattern",
    [
        [2, 3],  # 3:2 pulldown stamped on a 60 Hz grid
        [3, 4],
        [1, 5, 2, 9, 4, 3],
    ],
)
def test_varying_rate_has_no_step(pattern: list[int]) -> None:
    times = [Fraction(0)]
    for i in range(120):
        times.append(times[-1] + Fraction(pattern[i % len(pattern)], 60))
    rhythm = find_rhythm(times, time_base=MPEG)
    assert (rhythm.step, rhythm.n_missing) == (None, {})


def test_change_to_half_the_rate_is_no_row_of_holes() -> None:
    """A camera that exposes longer in the dark: 60, then 30 frames a second."""
    times = [Fraction(k, 60) for k in range(100)]
    times += [times[-1] + Fraction(k, 30) for k in range(1, 60)]
    times += [times[-1] + Fraction(k, 60) for k in range(1, 40)]
    rhythm = find_rhythm(times, time_base=MPEG)
    assert (rhythm.step, rhythm.n_missing) == (Fraction(1, 60), {})


def test_pause_of_minutes_is_no_hole() -> None:
    times = [Fraction(k, 25) + (100 if k > 50 else 0) for k in range(100)]
    rhythm = find_rhythm(times, time_base=MPEG)
    assert (rhythm.step, rhythm.n_missing) == (Fraction(1, 25), {})


def test_splice_that_is_no_multiple_of_the_step_is_one_hole() -> None:
    times = [Fraction(k, 25) + (Fraction(13, 100) if k > 50 else 0) for k in range(100)]
    assert find_rhythm(times, time_base=MPEG).n_missing == {50: 3}


@given(
    rate=st.sampled_from(RATES),
    base=st.sampled_from([MILLISECOND, MPEG, Fraction(1, 12_800), Fraction(1, 60_000)]),
    start=st.integers(0, 10_000),
    jitter=st.lists(st.integers(-3, 3), min_size=60, max_size=60),
    holes=st.sets(st.integers(5, 54), max_size=15),
)
@settings(max_examples=100, deadline=None)
def test_jitter_of_a_few_percent_changes_nothing(
    rate: Fraction, base: Fraction, start: int, jitter: list[int], holes: set[int]
) -> None:
    step = 1 / rate
    ideal = [Fraction(start, 7) + k * step for k in range(60)]
    # Three hundredths of a step, plus the rounding of the clock.
    moved = [time + j * step / 100 for time, j in zip(ideal, jitter, strict=True)]
    times = stamp([time for k, time in enumerate(moved) if k not in holes], base)
    rhythm = find_rhythm(times, time_base=base)
    expected = {}
    kept = [k for k in range(60) if k not in holes]
    for i, (before, after) in enumerate(pairwise(kept)):
        if after - before > 1:
            expected[i] = after - before - 1
    assert rhythm.n_missing == expected
    assert rhythm.step is not None
    assert abs(rhythm.step - step) <= step / 50


@given(st.sets(st.integers(0, 60)))
def test_runs_cover_exactly_the_indices(indices: set[int]) -> None:
    runs = find_runs(sorted(indices))
    assert [i for start, stop in runs for i in range(start, stop)] == sorted(indices)
    assert all(a[1] < b[0] for a, b in pairwise(runs))
