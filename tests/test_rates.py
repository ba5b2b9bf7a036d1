from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framepred.errors import GapError, MediaError
from framepred.rates import (
    ConstantRate,
    EvenTimes,
    Multiple,
    Stretch,
    choose_places,
    parse_rate,
    read_rate,
)

RATES = [Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(50)]


def convert(times: list[Fraction], rate: Fraction, **options: Fraction) -> list[Stretch]:
    """All stretches of a video whose frames are at these times."""
    usual = times[1] - times[0]
    values = {"tick": Fraction(0), "usual": usual, **options}
    conversion = ConstantRate(rate, start=times[0], max_gap=16, **values)
    found = [conversion.pass_frame(a, b, is_cut=False) for a, b in pairwise(times)]
    return [*found, conversion.pass_last(times[-1], times[-1] + usual)]


def list_times(stretches: list[Stretch]) -> list[Fraction]:
    return [t for s in stretches for t in (s.kept, *s.times) if t is not None]


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("60", Fraction(60)),
        (" 59.94 ", Fraction(60000, 1001)),
        ("23.976", Fraction(24000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        ("119.88", Fraction(120000, 1001)),
        ("60000/1001", Fraction(60000, 1001)),
        ("12.5", Fraction(25, 2)),
        ("59.90", Fraction(599, 10)),
        ("60.0", Fraction(60)),
        ("59", Fraction(59)),
        ("1000", Fraction(1000)),
    ],
)
def test_rates_are_exact(text: str, rate: Fraction) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "fast", "0", "0.0", "1/0", "0/1", "-3", "1001", "0.5", "60/", "nan", "1e3", "٦"]
)
def test_nonsense_is_no_rate(text: str) -> None:
    with pytest.raises(GapError, match="no frame rate"):
        parse_rate(text)


def test_from_24_to_60_two_of_five_places_are_made() -> None:
    stretches = convert([Fraction(i, 24) for i in range(5)], Fraction(60))
    assert [s.kept for s in stretches] == [0, None, Fraction(5, 60), None, Fraction(10, 60)]
    assert [(s.n_frames, s.steps) for s in stretches[:2]] == [(4, (2, 4)), (4, (1, 3))]
    assert list_times(stretches) == [Fraction(k, 60) for k in range(13)]  # to the end: 5 / 24 s
    assert stretches[-1].reason == "end of the video"
    assert {s.shift for s in stretches} == {0}


@settings(max_examples=50)
@given(
    st.sampled_from(RATES),
    st.sampled_from([*RATES, Fraction(60), Fraction(60000, 1001), Fraction(144)]),
    st.integers(2, 40),
    st.fractions(0, 10, max_denominator=90000),
)
def test_a_constant_rate_has_a_frame_at_every_time(
    rate: Fraction, wanted: Fraction, n: int, start: Fraction
) -> None:
    stretches = convert([start + i / rate for i in range(n)], wanted)
    found = list_times(stretches)
    assert found == [start + k / wanted for k in range(len(found))]
    assert abs(len(found) / wanted - n / rate) <= 1 / wanted
    for i, s in enumerate(stretches[:-1]):
        assert len(s.steps) == len(s.times)
        assert s.shift <= max(1 / rate / 50, Fraction(0))
        if s.kept is not None:
            assert abs(s.kept - start - i / rate) <= 1 / rate / 50
        for step, time in zip(s.steps, s.times, strict=True):
            place = start + (i + Fraction(step, s.n_frames + 1)) / rate
            assert abs(place - time) <= s.shift


def test_stamps_in_milliseconds_are_on_the_grid_of_a_rate_that_they_round() -> None:
    times = [Fraction(round(1000 * i * Fraction(1001, 30000)), 1000) for i in range(60)]
    rate = Fraction(60000, 1001)
    stretches = convert(times, rate, tick=Fraction(1, 1000), usual=2 / rate)
    assert all(s.kept is not None for s in stretches)
    assert {(s.n_frames, s.steps) for s in stretches[:-1]} == {(1, (1,))}


def test_a_variable_rate_becomes_constant() -> None:
    times = [Fraction(t, 100) for t in (0, 3, 7, 8, 14, 20)]
    found = list_times(convert(times, Fraction(50), usual=Fraction(4, 100)))
    assert found == [Fraction(k, 50) for k in range(12)]


def test_cuts_and_pauses_are_held() -> None:
    rate = ConstantRate(
        Fraction(50), start=Fraction(0), tick=Fraction(0), usual=Fraction(1, 25), max_gap=3
    )
    assert rate.pass_frame(Fraction(0), Fraction(1, 25), is_cut=True).reason == "scene cut"
    longest = rate.pass_frame(Fraction(1, 25), Fraction(5, 25), is_cut=False)
    assert (longest.reason, len(longest.times)) == (None, 7)
    assert rate.pass_frame(Fraction(5, 25), Fraction(10, 25), is_cut=False).reason == "pause"


def test_multiple_keeps_every_frame_and_fills_holes() -> None:
    step = Fraction(1, 25)
    triple = Multiple(3, tick=Fraction(0), usual=step, is_steady=True, max_gap=16)
    one = triple.pass_frame(Fraction(0), step, is_cut=False)
    assert one == Stretch(Fraction(0), EvenTimes(step / 3, step / 3, 2), None, 2, (1, 2))
    hole = triple.pass_frame(step, 3 * step, is_cut=False)  # one is missing
    assert list(hole.times) == [step + k * step / 3 for k in range(1, 6)]
    assert list(triple.pass_last(3 * step, 4 * step).times) == [step * 10 / 3, step * 11 / 3]


def test_multiple_of_a_variable_rate_divides_every_interval() -> None:
    double = Multiple(2, tick=Fraction(0), usual=Fraction(1, 25), is_steady=False, max_gap=16)
    times = double.pass_frame(Fraction(0), Fraction(3, 25), is_cut=False).times
    assert list(times) == [Fraction(3, 50)]


@pytest.mark.parametrize(
    ("parts", "answer"),
    [
        ((Fraction(1, 2),), (2, (1,), 0)),
        ((Fraction(2, 5), Fraction(4, 5)), (5, (2, 4), 0)),
        ((Fraction(1, 12), Fraction(6, 12), Fraction(11, 12)), (12, (1, 6, 11), 0)),
        ((Fraction(1, 100),), (25, (1,), Fraction(3, 100))),
    ],
)
def test_places(parts: tuple[Fraction, ...], answer: tuple[int, tuple[int, ...], Fraction]) -> None:
    assert choose_places(parts) == answer


@settings(max_examples=50)
@given(
    st.sets(
        st.fractions(Fraction(1, 50), Fraction(49, 50), max_denominator=1000),
        min_size=1,
        max_size=9,
    )
)
def test_places_are_all_different_and_inside(parts: set[Fraction]) -> None:
    n, steps, off = choose_places(sorted(parts), near=Fraction(1, 50))
    assert list(steps) == sorted(set(steps))
    assert len(steps) == len(parts)
    assert all(0 < step < n for step in steps)
    assert off == max(abs(Fraction(k, n) - p) for k, p in zip(steps, sorted(parts), strict=True))


@pytest.mark.parametrize(("n", "rate_in", "rate_out"), [(48, 24, 10), (81, 50, 24), (41, 25, 60)])
def test_the_duration_is_kept_as_nearly_as_can_be(n: int, rate_in: int, rate_out: int) -> None:
    step = Fraction(1, rate_in)
    times = [i * step for i in range(n)]
    conversion = ConstantRate(
        Fraction(rate_out), start=times[0], tick=Fraction(1, 1000), usual=step, max_gap=16
    )
    stretches = [conversion.pass_frame(a, b, is_cut=False) for a, b in pairwise(times)]
    stretches.append(conversion.pass_last(times[-1], times[-1] + step))
    made = sum(len(each.times) + (each.kept is not None) for each in stretches)
    assert made == round(n * step * rate_out)


def test_pauses_of_days_take_no_room_and_more_is_refused() -> None:
    second = Fraction(1)
    rate = ConstantRate(
        Fraction(30), start=Fraction(0), tick=Fraction(0), usual=second / 25, max_gap=16
    )
    day = rate.pass_frame(Fraction(0), 24 * 3600 * second, is_cut=False)
    assert (day.reason, len(day.times)) == ("pause", 24 * 3600 * 30 - 1)
    assert day.times[-1] == 24 * 3600 * second - second / 30
    with pytest.raises(MediaError, match=r"to 17366400\.000 s there would be \d+ new frames"):
        rate.pass_frame(24 * 3600 * second, 201 * 24 * 3600 * second, is_cut=False)
    triple = Multiple(300, tick=Fraction(0), usual=second / 25, is_steady=True, max_gap=16)
    with pytest.raises(MediaError, match="split the video at its long pauses"):
        triple.pass_frame(Fraction(0), 3600 * second, is_cut=False)


def test_a_slack_for_kept_frames_is_none_for_new_ones() -> None:
    step = Fraction(1, 24)
    wide = ConstantRate(
        Fraction(60),
        start=Fraction(0),
        tick=step / 10,
        usual=step,
        max_gap=16,
        rounding=Fraction(1, 90_000),
    )
    one, two = (wide.pass_frame(k * step, (k + 1) * step, is_cut=False) for k in (0, 1))
    assert (one.n_frames, one.steps, one.shift) == (4, (2, 4), 0)
    assert (two.n_frames, two.steps, two.shift) == (4, (1, 3), 0)


@pytest.mark.parametrize(
    ("rate", "found"),
    [
        (60, Fraction(60)),
        (Fraction(24000, 1001), Fraction(24000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (120000 / 1001, Fraction(120000, 1001)),
        ("25", Fraction(25)),
    ],
)
def test_rates_as_programs_give_them(rate: Fraction | float | str, found: Fraction) -> None:
    assert read_rate(rate) == found
