from __future__ import annotations

from fractions import Fraction

from framepred.decisions import explain_gap, explain_made, explain_timeline
from framepred.reports import MadeFrameReport
from framepred.timeline import Gap, Plan, Slot, plan_gaps


def make_plan(*gaps: Gap, cuts: tuple[int, ...] = (), is_steady: bool = True) -> Plan:
    made = {i for gap in gaps for i in range(gap.start, gap.stop)}
    slots = [Slot(Fraction(i, 25), None if i in made else i) for i in range(40)]
    step = Fraction(1, 25) if is_steady else None
    return plan_gaps(slots, gaps, step=step, cuts=cuts, max_gap=6, context=4)


def explain(plan: Plan) -> list[str]:
    return [explain_gap(plan, planned, context=4) for planned in plan.gaps]


def test_what_is_shown_and_what_ends_it() -> None:
    gaps = Gap(2, 3, "missing"), Gap(5, 6, "corrupt"), Gap(20, 22, "frozen"), Gap(38, 40, "missing")
    plan = make_plan(*gaps, cuts=(23,))
    assert explain(plan) == [
        "frames 2:3: fill: 1 missing frame: filled from 2 before and 2 after; shown: 0:2, 3:5; "
        "not more before: the video begins; not more after: another gap begins",
        "frames 5:6: fill: 1 damaged frame: filled from 2 before and 4 after; shown: 3:5, 6:10; "
        "not more before: another gap ends",
        "frames 20:22: fill: 2 frozen frames: filled from 4 before and 1 after; shown: 16:20, "
        "22:23; not more after: a shot begins",
        "frames 38:40: forecast: 2 missing frames: nothing usable after, continued from 4 before; "
        "shown: 34:38; not more after: the video ends",
    ]


def test_what_is_left_shows_nothing() -> None:
    (line,) = explain(make_plan(Gap(10, 20, "missing")))
    assert line == (
        "frames 10:20: leave: 10 missing frames: longer than the limit of 6, left as it is"
    )


def test_a_cut_within_a_gap_ends_both_sides() -> None:
    (line,) = explain(make_plan(Gap(10, 14, "missing"), cuts=(12,)))
    assert "split" in line
    assert "not more" not in line  # both shots reach far enough


def test_timeline_cuts_and_evidence() -> None:
    plan = make_plan(Gap(10, 12, "black"), Gap(20, 21, "named"), cuts=(30,))
    assert list(explain_timeline(plan)) == [
        "timeline: 40 frames due, one every 1/25 s by the packets' time stamps",
        "a shot begins at frame 30, 00:00:01.200",
        "frames 10:12, 00:00:00.400: black: blank within a lit shot",
        "frames 20:21, 00:00:00.800: named: named by the user",
    ]
    assert "no steady rate" in next(explain_timeline(make_plan(is_steady=False)))


def test_what_estimates_rest_on() -> None:
    plan = make_plan(Gap(10, 12, "missing"))
    known = MadeFrameReport(Fraction(0), 33.1, 0.9, None, None, 32.0, 0.9, 2.0)
    unknown = MadeFrameReport(Fraction(0), None, None, None, None)
    assert explain_made(plan.gaps[0], [known, known]) == (
        "frames 10:12: made; self-check, how much calmer, estimate, in dB: "
        "32.00 +2.00 -> 33.10; 32.00 +2.00 -> 33.10"
    )
    assert explain_made(plan.gaps[0], [unknown]).endswith("so no estimate")
