"""The ideal timeline, named gaps, and the rules that decide about each gap."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framepred.errors import GapError
from framepred.ranges import (
    SlotRange,
    TimeRange,
    parse_gap,
    parse_gaps,
    read_gaps,
    resolve_gaps,
)
from framepred.timeline import (
    Gap,
    Kind,
    Plan,
    Slot,
    format_time,
    interpolate_times,
    lay_slots,
    plan_gaps,
    to_ticks,
    to_time,
)

MILLISECOND = Fraction(1, 1000)
BASES = [MILLISECOND, Fraction(1, 90_000), Fraction(1, 12_800), Fraction(1, 24_000)]
RATES = [Fraction(r) for r in (10, 24, 25, 30, 50, 60)] + [
    Fraction(r * 1000, 1001) for r in (24, 30, 60)
]


# Conversions.


@pytest.mark.parametrize(
    ("seconds", "base", "ticks"),
    [
        (Fraction(0), MILLISECOND, 0),
        (Fraction(1, 30), MILLISECOND, 33),
        (Fraction(2, 30), MILLISECOND, 67),
        (Fraction(1, 2000), MILLISECOND, 1),  # a half goes up
        (Fraction(-1, 2000), MILLISECOND, 0),  # below zero too
        (Fraction(-3, 2000), MILLISECOND, -1),
        (Fraction(1001, 30_000), Fraction(1, 90_000), 3003),
    ],
)
def test_ticks_round_half_up(seconds: Fraction, base: Fraction, ticks: int) -> None:
    assert to_ticks(seconds, base) == ticks


@given(st.integers(-(10**12), 10**12), st.fractions(Fraction(1, 10**6), 2))
def test_ticks_survive_the_way_there_and_back(ticks: int, base: Fraction) -> None:
    assert to_ticks(to_time(ticks, base), base) == ticks


@given(st.fractions(-1000, 1000), st.fractions(Fraction(1, 10**6), 2))
def test_a_time_moves_by_at_most_half_a_tick(seconds: Fraction, base: Fraction) -> None:
    error = to_time(to_ticks(seconds, base), base) - seconds
    assert -base / 2 < error <= base / 2


def test_new_times_lie_evenly_between_the_real_ones() -> None:
    assert interpolate_times(Fraction(1), Fraction(2), 3) == (
        Fraction(5, 4),
        Fraction(3, 2),
        Fraction(7, 4),
    )
    assert interpolate_times(Fraction(1), Fraction(2), 0) == ()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (Fraction(0), "00:00:00.000"),
        (Fraction(64, 15), "00:00:04.267"),
        (Fraction(3599_9996, 10_000), "01:00:00.000"),
        (Fraction(-3, 2), "-00:00:01.500"),
        (Fraction(100 * 3600), "100:00:00.000"),
    ],
)
def test_times_are_printed_to_the_millisecond(seconds: Fraction, text: str) -> None:
    assert format_time(seconds) == text


# The ideal timeline.


def stamp(times: Sequence[Fraction], base: Fraction) -> list[Fraction]:
    return [to_time(to_ticks(seconds, base), base) for seconds in times]


@given(
    rate=st.sampled_from(RATES),
    base=st.sampled_from(BASES),
    start=st.fractions(0, 5000, max_denominator=1000),
    n=st.integers(24, 160),
    data=st.data(),
)
@settings(max_examples=200, deadline=None)
def test_removed_frames_come_back_as_exactly_these_holes(
    rate: Fraction, base: Fraction, start: Fraction, n: int, data: st.DataObject
) -> None:
    holes = data.draw(st.sets(st.integers(1, n - 2), max_size=n // 5))
    ideal = stamp([start + k / rate for k in range(n)], base)
    kept = [seconds for k, seconds in enumerate(ideal) if k not in holes]

    timeline = lay_slots(kept, packet_times=kept, time_base=base)

    assert [i for i, slot in enumerate(timeline.slots) if slot.source is None] == sorted(holes)
    assert {i for gap in timeline.gaps for i in range(gap.start, gap.stop)} == holes
    assert all(gap.kind == "missing" for gap in timeline.gaps)
    assert [slot.source for slot in timeline.slots if slot.source is not None] == list(
        range(len(kept))
    )
    for k, (slot, truth) in enumerate(zip(timeline.slots, ideal, strict=True)):
        if k in holes:
            assert abs(slot.time - truth) <= base
        else:
            assert slot.time == truth
    assert timeline.step is not None
    assert abs(timeline.step - 1 / rate) <= 2 * base / (n - 1)


@given(
    rate=st.sampled_from(RATES),
    base=st.sampled_from(BASES),
    n=st.integers(24, 100),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_packets_without_a_frame_are_corrupt_slots_at_the_ends_too(
    rate: Fraction, base: Fraction, n: int, data: st.DataObject
) -> None:
    lost = data.draw(st.sets(st.integers(0, n - 1), max_size=n // 5))
    holes = data.draw(st.sets(st.integers(1, n - 2), max_size=n // 8)) - lost
    # A hole at the very end cannot be seen, so the first and last packet exist.
    ideal = stamp([k / rate for k in range(n)], base)
    packets = [seconds for k, seconds in enumerate(ideal) if k not in holes]
    frames = [seconds for k, seconds in enumerate(ideal) if k not in holes | lost]

    timeline = lay_slots(frames, packet_times=reversed(packets), time_base=base)

    by_kind: dict[str, set[int]] = {"corrupt": set(), "missing": set()}
    for gap in timeline.gaps:
        by_kind[gap.kind] |= set(range(gap.start, gap.stop))
    assert by_kind == {"corrupt": lost, "missing": holes}
    assert all(timeline.slots[k].time == ideal[k] for k in range(n) if k not in holes), (
        "a coded frame's own time is its slot's time"
    )


def test_lost_frames_are_found_in_variable_rate() -> None:
    packets = [Fraction(k, 1000) for k in (0, 40, 50, 120, 135, 300, 333, 410, 470, 500)]
    frames = [seconds for k, seconds in enumerate(packets) if k != 5]
    timeline = lay_slots(frames, packet_times=packets, time_base=MILLISECOND)
    assert timeline.step is None
    assert timeline.gaps == (Gap(5, 6, "corrupt"),)
    assert timeline.slots[5] == Slot(Fraction(300, 1000), None)


def test_packets_that_are_never_shown_are_no_lost_frames() -> None:
    """VP9 stores hidden frames whose time is a millisecond beside a shown one."""
    frames = stamp([k * Fraction(1001, 24_000) for k in range(40)], MILLISECOND)
    packets = [*frames, frames[1] - MILLISECOND, frames[20] - MILLISECOND, frames[30]]
    assert lay_slots(frames, packet_times=packets, time_base=MILLISECOND).gaps == ()


def test_packet_clock_that_disagrees_says_nothing() -> None:
    frames = [Fraction(k, 25) for k in range(30)]
    packets = [seconds + Fraction(3, 50) for seconds in frames]
    assert lay_slots(frames, packet_times=packets, time_base=Fraction(1, 50)).gaps == ()


def test_no_frames_no_slots() -> None:
    timeline = lay_slots([], packet_times=[Fraction(1)])
    assert (timeline.slots, timeline.step, timeline.gaps) == ((), None, ())


def test_one_frame_one_slot() -> None:
    timeline = lay_slots([Fraction(5)], packet_times=[Fraction(5)])
    assert timeline.slots == (Slot(Fraction(5), 0),)
    assert timeline.gaps == ()


def test_hours_of_video_take_seconds() -> None:
    """Linear work: half an hour at 60 frames a second, a hole and a cut each few seconds."""
    n, base = 100_000, Fraction(1, 90_000)
    step = Fraction(1001, 60_000)
    frames = [to_time(to_ticks(k * step, base), base) for k in range(n) if k % 500 not in (3, 4)]
    begin = time.perf_counter()
    timeline = lay_slots(frames, packet_times=frames, time_base=base)
    plan = plan_gaps(timeline.slots, timeline.gaps, step=step, cuts=range(250, n, 500))
    seconds = time.perf_counter() - begin
    assert len(timeline.slots) == n
    assert len(plan.gaps) == n // 500
    assert seconds < 15, "quadratic work would take minutes"


# Named gaps.


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("120:128", SlotRange(120, 128)),
        (" 0 : 1 ", SlotRange(0, 1)),
        ("00:00:04.000-00:00:04.266", TimeRange(Fraction(4), Fraction(4266, 1000))),
        ("4.0-4.266", TimeRange(Fraction(4), Fraction(4266, 1000))),
        ("4-5", TimeRange(Fraction(4), Fraction(5))),
        ("1:30 - 1:30.5", TimeRange(Fraction(90), Fraction(181, 2))),
        ("90.25-1:31", TimeRange(Fraction(361, 4), Fraction(91))),
        ("01:02:03.5-1:02:04", TimeRange(Fraction(7447, 2), Fraction(3724))),
        (".5-.75", TimeRange(Fraction(1, 2), Fraction(3, 4))),
    ],
)
def test_gaps_are_read(text: str, named: SlotRange | TimeRange) -> None:
    assert parse_gap(text) == named


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12",
        "1:2:3",
        "a:b",
        "1-",
        "-1",
        "1--2",
        "1:75-2:00",
        "1:2:3:4-5",
        "1e3-2e3",
        "-3:5",
        "1.5:2.5",
        "4.0-4,2",
        "nan-inf",
        "1:-2-5",
        "٣:٤",
        "1" * 5000 + ":2",
        "1" * 5000 + "-2",
        "0:" + "1" * 5000 + ":01-2",
    ],
)
def test_nonsense_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(GapError, match=r"cannot read gap .*: write frames as 120:128") as caught:
        parse_gap(text)
    assert "\n" not in str(caught.value)


def test_gaps_are_taken_as_programs_name_them() -> None:
    given = ["4.0-4.266", (120, 128), [7, np.int64(9)], SlotRange(1, 2)]
    assert parse_gaps(given) == [
        TimeRange(Fraction(4), Fraction(4266, 1000)),
        SlotRange(120, 128),
        SlotRange(7, 9),
        SlotRange(1, 2),
    ]
    assert parse_gaps("120:128") == [SlotRange(120, 128)]
    assert parse_gaps(gap for gap in ()) == []


@pytest.mark.parametrize(
    ("gap", "message"),
    [
        (120, r"cannot read gap 120: write frames as '120:128' or \(120, 128\)"),
        ((1, 2, 3), "cannot read gap"),
        ((1.5, 2), "cannot read gap"),
        (None, "cannot read gap None"),
        ((-3, 5), "cannot read gap '-3:5'"),
        ((5, 5), "gap '5:5' is empty"),
    ],
)
def test_other_values_are_no_gaps(gap: Any, message: str) -> None:
    with pytest.raises(GapError, match=message):
        parse_gaps([gap])


@pytest.mark.parametrize("text", ["5:5", "6:5", "4.0-4.0", "00:00:05-00:00:04"])
def test_empty_gap_is_refused(text: str) -> None:
    with pytest.raises(GapError, match="is empty"):
        parse_gap(text)


@given(st.integers(0, 10**7), st.integers(1, 10**7))
def test_printed_times_are_read_back(start: int, length: int) -> None:
    named = TimeRange(Fraction(start, 1000), Fraction(start + length, 1000))
    assert parse_gap(str(named)) == named
    assert parse_gap(str(SlotRange(start, start + length))) == SlotRange(start, start + length)


def test_list_of_gaps_with_comments(tmp_path: Path) -> None:
    path = tmp_path / "gaps.txt"
    path.write_text("# tape 3\n\n120:128  # dropout\r\n  4.0-4.266\n", encoding="utf-8")
    assert read_gaps(path) == (
        SlotRange(120, 128),
        TimeRange(Fraction(4), Fraction(4266, 1000)),
    )


def test_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gaps.txt"
    path.write_text("1:2\nx\n")
    with pytest.raises(GapError, match=r"gaps\.txt, line 2: cannot read gap 'x'"):
        read_gaps(path)


def test_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(GapError, match="cannot read the list of gaps"):
        read_gaps(tmp_path / "none.txt")


def test_list_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "gaps.txt"
    path.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(GapError, match="it is not text"):
        read_gaps(path)


def make_slots(n: int, *, rate: int | Fraction = 30, missing: Sequence[int] = ()) -> list[Slot]:
    slots = []
    source = 0
    for k in range(n):
        slots.append(Slot(k / Fraction(rate), None if k in missing else source))
        source += k not in missing
    return slots


@pytest.mark.parametrize(
    "text", ["120:128", "00:00:04.000-00:00:04.266", "4.0-4.267", "3.9995-4.26666"]
)
def test_times_and_indices_name_the_same_slots(text: str) -> None:
    assert resolve_gaps([parse_gap(text)], make_slots(200)) == (Gap(120, 128, "named"),)


@given(st.sampled_from(RATES), st.integers(0, 98), st.integers(1, 40))
def test_what_is_printed_names_the_slot_it_came_from(rate: Fraction, start: int, n: int) -> None:
    slots = make_slots(140, rate=rate)
    text = f"{format_time(slots[start].time)}-{format_time(slots[start + n].time)}"
    assert resolve_gaps([parse_gap(text)], slots) == (Gap(start, start + n, "named"),)


def test_times_may_count_from_an_origin() -> None:
    slots = [Slot(3600 + Fraction(k, 25), k) for k in range(50)]
    named = [parse_gap("1.0-1.2")]
    assert resolve_gaps(named, slots, origin=Fraction(3600)) == (Gap(25, 30, "named"),)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["95:101"], r"gap 95:101 lies outside the video, which has frames 0:100"),
        (["200:201"], r"lies outside the video"),
        (["4-5"], r"lies outside the video, whose frames are at 00:00:00\.000-00:00:03\.300"),
        (["1:4", "3:6"], r"gaps 1:4 and 3:6 overlap"),
        (["0.0-1.0", "20:22"], r"overlap"),
        (["5:7", "5:7"], r"overlap"),
        (["0:100"], r"gap 0:100 leaves no frame on either side"),
        (["0:50", "50:100"], r"leaves no frame on either side"),
        (["1.005-1.010"], r"holds no frame: the nearest one begins at 00:00:01\.033"),
    ],
)
def test_impossible_gaps_are_refused_in_one_line(texts: list[str], message: str) -> None:
    with pytest.raises(GapError, match=message) as caught:
        resolve_gaps([parse_gap(text) for text in texts], make_slots(100))
    assert "\n" not in str(caught.value)


def test_no_named_gaps_in_an_empty_video() -> None:
    assert resolve_gaps([], []) == ()
    with pytest.raises(GapError, match="outside the video"):
        resolve_gaps([SlotRange(0, 1)], [])
    with pytest.raises(GapError, match="outside the video"):
        resolve_gaps([TimeRange(Fraction(0), Fraction(1))], [])


# Decisions.


def plan(picture: str, *, cuts: Sequence[int] = (), **options: object) -> Plan:
    """Plan a timeline drawn as: | frame, . missing, c corrupt, f frozen, b black, n named."""
    kinds: dict[str, Kind] = {
        ".": "missing",
        "c": "corrupt",
        "f": "frozen",
        "b": "black",
        "n": "named",
    }
    slots = make_slots(len(picture), missing=[k for k, x in enumerate(picture) if x in ".c"])
    gaps = [Gap(k, k + 1, kinds[x]) for k, x in enumerate(picture) if x in kinds]
    chosen: dict[str, Any] = {"context": 4, **options}
    return plan_gaps(slots, gaps, step=Fraction(1, 30), cuts=cuts, **chosen)


def summary(plan: Plan) -> list[tuple[int, int, str, str, int, int, int | None]]:
    return [
        (p.gap.start, p.gap.stop, p.gap.kind, p.action, p.n_before, p.n_after, p.cut)
        for p in plan.gaps
    ]


@pytest.mark.parametrize(
    ("picture", "cuts", "expected"),
    [
        ("||||||..||||||", [], [(6, 8, "missing", "fill", 4, 4, None)]),
        ("||.|||", [], [(2, 3, "missing", "fill", 2, 3, None)]),
        (
            "|||.|...||",
            [],
            [(3, 4, "missing", "fill", 3, 1, None), (5, 8, "missing", "fill", 1, 2, None)],
        ),
        # The ends.
        ("cc|||||", [], [(0, 2, "corrupt", "backcast", 0, 4, None)]),
        ("|||||cc", [], [(5, 7, "corrupt", "forecast", 4, 0, None)]),
        ("nn||", [], [(0, 2, "named", "backcast", 0, 2, None)]),
        # Cuts.
        ("||||....||||", [8], [(4, 8, "missing", "split", 4, 4, 6)]),
        ("||||....||||", [4], [(4, 8, "missing", "split", 4, 4, 6)]),
        ("||||...||||", [7], [(4, 7, "missing", "split", 4, 4, 6)]),
        ("||||.||||", [5], [(4, 5, "missing", "forecast", 4, 4, 5)]),
        ("||||||..||||||", [4, 9], [(6, 8, "missing", "fill", 2, 1, None)]),
        ("||||||..||||||", [6 - 1, 8], [(6, 8, "missing", "split", 1, 4, 7)]),
        # Touching gaps are one, named by the strongest kind.
        ("|||ff..|||", [], [(3, 7, "missing", "fill", 3, 3, None)]),
        ("|||fcbn|||", [], [(3, 7, "named", "fill", 3, 3, None)]),
        # A gap at the other's end is a border of the context.
        (
            "||.||||bb|",
            [],
            [(2, 3, "missing", "fill", 2, 4, None), (7, 9, "black", "fill", 4, 1, None)],
        ),
        # Nothing real anywhere.
        ("cc", [], [(0, 2, "corrupt", "leave", 0, 0, None)]),
    ],
)
def test_rules(
    picture: str,
    cuts: list[int],
    expected: list[tuple[int, int, str, str, int, int, int | None]],
) -> None:
    assert summary(plan(picture, cuts=cuts)) == expected


@pytest.mark.parametrize(
    ("letter", "action"),
    [(".", "leave"), ("c", "leave"), ("f", "leave"), ("b", "leave"), ("n", "hold")],
)
def test_too_long_gaps(letter: str, action: str) -> None:
    fits = plan(f"||||{letter * 16}||||")
    assert [p.action for p in fits.gaps] == ["fill"]
    too_long = plan(f"||||{letter * 17}||||")
    assert [p.action for p in too_long.gaps] == [action]
    assert "longer than the limit of 16" in too_long.gaps[0].reason
    assert plan(f"||||{letter * 17}||||", max_gap=17).gaps[0].action == "fill"


def test_kinds_that_were_not_asked_for() -> None:
    result = plan("|||..|||ff|||cc|||", kinds={"frozen", "named"})
    assert [(p.gap.kind, p.action) for p in result.gaps] == [
        ("missing", "leave"),
        ("frozen", "fill"),
        ("corrupt", "leave"),
    ], "slots without a frame stay in the plan"
    assert "not asked for" in result.gaps[0].reason
    assert plan("|||ff|||", kinds={"missing"}).gaps == (), "existing frames are no gap then"


def test_named_gap_over_an_unasked_hole() -> None:
    result = plan_gaps(
        make_slots(12, missing=[4, 5, 6, 7]),
        [Gap(3, 6, "named"), Gap(4, 8, "missing")],
        step=None,
        kinds={"named"},
    )
    assert summary(result) == [
        (3, 6, "named", "forecast", 3, 0, None),
        (6, 8, "missing", "leave", 0, 3, None),
    ]


def test_slots_without_a_frame_are_gaps_even_if_nobody_says_so() -> None:
    result = plan_gaps(make_slots(9, missing=[4]), [], step=None)
    assert summary(result) == [(4, 5, "missing", "fill", 3, 3, None)]


def test_context_is_as_wished() -> None:
    assert summary(plan("||||||||.|||||||", context=1)) == [(8, 9, "missing", "fill", 1, 1, None)]
    assert summary(plan("||||||||.|||||||", context=6)) == [(8, 9, "missing", "fill", 6, 6, None)]


def test_reasons_are_sentences_with_the_figures() -> None:
    reasons = [p.reason for p in plan("c|||..|||.|||", cuts=[10]).gaps]
    assert reasons == [
        "1 damaged frame: nothing usable before, continued backwards from 3 after",
        "2 missing frames: filled from 3 before and 3 after",
        "1 missing frame at a scene cut: the old shot continued from 3 before",
    ]


def test_number_of_frames_to_make() -> None:
    assert plan("||..||cc||" + "." * 20 + "||").n_to_make == 4


@given(
    picture=st.text("||||.cfbn", min_size=1, max_size=60),
    cuts=st.sets(st.integers(0, 60), max_size=4),
    kinds=st.sets(st.sampled_from(["missing", "corrupt", "frozen", "black", "named"])),
    max_gap=st.integers(1, 8),
    context=st.integers(1, 6),
)
@settings(max_examples=300, deadline=None)
def test_every_plan_keeps_its_promises(
    picture: str, cuts: set[int], kinds: set[Kind], max_gap: int, context: int
) -> None:
    cuts = {cut for cut in cuts if cut < len(picture)}
    result = plan(picture, cuts=sorted(cuts), kinds=kinds, max_gap=max_gap, context=context)
    n = len(result.slots)
    covered: list[int] = []
    for planned in result.gaps:
        covered += range(planned.gap.start, planned.gap.stop)
    assert covered == sorted(set(covered)), "sorted, disjoint"
    assert {k for k, slot in enumerate(result.slots) if slot.source is None} <= set(covered)
    assert list(result.cuts) == sorted(set(result.cuts))
    for planned in result.gaps:
        gap = planned.gap
        before = range(gap.start - planned.n_before, gap.start)
        after = range(gap.stop, gap.stop + planned.n_after)
        assert 0 <= planned.n_before <= context
        assert 0 <= planned.n_after <= context
        for k in (*before, *after):
            assert 0 <= k < n
            assert k not in covered
            assert result.slots[k].source is not None
        # No cut inside a side's context; the first frame after a gap may begin the shot.
        assert not any(before.start < cut < gap.start for cut in result.cuts if before)
        assert not any(gap.stop < cut < after.stop for cut in result.cuts if after)
        if planned.action in ("fill", "forecast", "split"):
            assert planned.n_before > 0
        if planned.action in ("fill", "backcast", "split"):
            assert planned.n_after > 0
        if planned.action == "split":
            assert planned.cut is not None
            assert gap.start < planned.cut < gap.stop
            assert abs((planned.cut - gap.start) - (gap.stop - planned.cut)) <= 1
        if planned.action == "fill":
            assert planned.cut is None
            assert gap.n_frames <= max_gap
        if gap.kind not in kinds:
            assert planned.action == "leave"
        assert planned.reason
        assert not math.isnan(planned.n_before)


@pytest.mark.parametrize("base", [(1, 1000), (1, 90_000), (1, 5), (1, 25), (1, 10_240)])
@pytest.mark.parametrize("n", [8, 12, 50, 300])
def test_two_frames_missing_at_five_a_second(base: tuple[int, int], n: int) -> None:
    """Few frames on a fine or coarse clock: the hole is two steps of the video's own rate."""
    tick = Fraction(*base)
    for at in {1, 3, n // 2, n - 3}:
        times = [round(Fraction(i, 5) / tick) * tick for i in range(n) if i not in (at, at + 1)]
        timeline = lay_slots(times, packet_times=times, time_base=tick)
        assert timeline.step == Fraction(1, 5)
        assert timeline.gaps == (Gap(at, at + 2, "missing"),)


def test_a_frame_before_all_packets_hides_no_loss() -> None:
    """One that an edit list cuts off is decoded all the same by some decoders."""
    step = Fraction(1, 25)
    packets = [k * step for k in range(13)]
    timeline = lay_slots([-step, step, 2 * step], packet_times=packets)
    assert len(timeline.slots) == 14
    assert [(gap.start, gap.stop, gap.kind) for gap in timeline.gaps] == [
        (1, 2, "corrupt"),
        (4, 14, "corrupt"),
    ]
    # Clocks that differ by half a frame still say nothing.
    shifted = [(k + Fraction(1, 2)) * step for k in range(-1, 11)]
    assert lay_slots(shifted, packet_times=packets).gaps == ()
