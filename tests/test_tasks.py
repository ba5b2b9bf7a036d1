from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framepred.tasks import Runs, Task, list_tasks
from framepred.timeline import Gap, Plan, Slot, plan_gaps


def make_plan(
    picture: str, *, cuts: Sequence[int] = (), named: Sequence[tuple[int, int]] = (), **rules: int
) -> Plan:
    """A plan from a picture: ``|`` a frame, ``.`` none."""
    source = iter(range(len(picture)))
    slots = [
        Slot(Fraction(i, 25), next(source) if mark == "|" else None)
        for i, mark in enumerate(picture)
    ]
    gaps = [Gap(start, stop, "named") for start, stop in named]
    chosen: dict[str, Any] = {"context": 4, **rules}
    return plan_gaps(slots, gaps, step=Fraction(1, 25), cuts=cuts, **chosen)


def windows(tasks: Sequence[Task]) -> list[tuple[int, int, int, int]]:
    return [(task.first, task.start, task.stop, task.last) for task in tasks]


def test_one_window_a_gap() -> None:
    plan = make_plan("||||||..||||||.|||")
    assert windows(list_tasks(plan, None)) == [(2, 6, 8, 12), (10, 14, 15, 18)]


def test_one_sided_gaps() -> None:
    plan = make_plan("..||||||..")
    tasks = list_tasks(plan, None)
    assert windows(tasks) == [(0, 0, 2, 6), (4, 8, 10, 10)]
    assert [task.ready_at for task in tasks] == [5, 7]


def test_a_cut_splits_the_gap_in_two_windows() -> None:
    plan = make_plan("||||||....||||||", cuts=[8])
    assert windows(list_tasks(plan, None)) == [(2, 6, 8, 8), (8, 8, 10, 14)]


def test_a_held_gap_looks_at_one_frame_on_each_side() -> None:
    plan = make_plan("|" * 20, named=[(6, 12)], max_gap=4)
    (task,) = list_tasks(plan, 4)
    assert task.is_hold
    assert windows([task]) == [(5, 6, 12, 13)]


def test_a_left_gap_is_no_task() -> None:
    assert list_tasks(make_plan("||||......||||", max_gap=4), 4) == []


def test_checks_pose_the_same_problem_on_both_sides() -> None:
    plan = make_plan("|" * 12 + ".." + "|" * 12)
    tasks = list_tasks(plan, 4)
    assert windows([task for task in tasks if task.is_check]) == [(2, 6, 8, 12), (14, 18, 20, 24)]


def test_checks_take_less_context_rather_than_none() -> None:
    plan = make_plan("|" * 6 + ".." + "|" * 5)
    checks = [task for task in list_tasks(plan, 4) if task.is_check]
    # Six frames: two, two hidden, two. Five are too few to see motion on both sides.
    assert windows(checks) == [(0, 2, 4, 6)]


def test_checks_of_one_sided_gaps_are_one_sided() -> None:
    plan = make_plan("..||||||||..")
    checks = [task for task in list_tasks(plan, 4) if task.is_check]
    assert windows(checks) == [(2, 2, 4, 8), (4, 8, 10, 10)]


def test_checks_of_a_split_gap_stay_in_their_shots() -> None:
    plan = make_plan("||||||....||||||", cuts=[8])
    checks = [task for task in list_tasks(plan, 4) if task.is_check]
    assert windows(checks) == [(0, 4, 6, 6), (10, 10, 12, 16)]


def test_runs_end_at_gaps_cuts_and_limits() -> None:
    runs = Runs(make_plan("||||||..||||||", cuts=[3, 11]))
    assert [runs.before(6, limit) for limit in (1, 3, 9)] == [1, 3, 3]
    assert [runs.after(8, limit) for limit in (1, 3, 9)] == [1, 3, 3]
    assert runs.before(0, 4) == 0
    assert runs.after(14, 4) == 0
    assert runs.before(8, 4) == 0


@pytest.mark.parametrize("n", range(1, 20))
def test_a_check_makes_one_of_every_two_frames_that_lie_alike(n: int) -> None:
    check = Task(3, 7, 7 + n, 11 + n, 0, is_check=True)
    made = check.made
    assert list(made) == sorted(made)
    assert {*made, *map(check.find_twin, made)} == {*range(7, 7 + n)}
    assert len(made) == -(-n // 2)
    assert check.steps == tuple(slot - 6 for slot in made)
    assert all(b - a <= 3 for a, b in pairwise(made)), "spread over the gap"
    # What is not a check, and what knows one side only, has all its frames made.
    for task in (
        Task(3, 7, 7 + n, 11 + n, 0),
        Task(3, 7, 7 + n, 7 + n, 0, is_check=True),
        Task(7, 7, 7 + n, 11 + n, 0, is_check=True),
    ):
        assert task.made == tuple(range(7, 7 + n))
        assert task.steps == tuple(range(1, n + 1))


@given(
    picture=st.text(alphabet="||||.", min_size=1, max_size=80),
    cuts=st.sets(st.integers(1, 79)),
    context=st.integers(1, 5),
    max_gap=st.integers(1, 8),
)
def test_every_window_can_be_shown(
    picture: str, cuts: set[int], context: int, max_gap: int
) -> None:
    plan = make_plan(
        picture, cuts=[cut for cut in sorted(cuts) if cut < len(picture)],
        context=context, max_gap=max_gap,
    )  # fmt: skip
    tasks = list_tasks(plan, context)
    assert [task.ready_at for task in tasks] == sorted(task.ready_at for task in tasks)
    made: list[int] = []
    for task in tasks:
        shown = [*range(task.first, task.start), *range(task.stop, task.last)]
        assert shown
        assert task.first >= 0
        assert task.last <= len(plan.slots)
        assert all(plan.slots[slot].source is not None for slot in shown)
        assert max(shown[-1], task.stop - 1 if task.is_check else 0) == task.ready_at
        if task.is_check:
            hidden = range(task.start, task.stop)
            assert all(plan.slots[slot].source is not None for slot in hidden)
            assert not any(task.first < cut < task.last for cut in plan.cuts)
        else:
            made += range(task.start, task.stop)
            for side in (range(task.first, task.start), range(task.stop, task.last)):
                assert not any(cut in side[1:] for cut in plan.cuts)
    assert len(made) == len(set(made)) == plan.n_to_make


def test_no_gap_is_filled_before_an_earlier_one() -> None:
    """Also where that one waits for what follows its damaged frame; the truth is read once."""
    plan = make_plan("|" * 60, named=[(10, 12), (18, 19), (40, 41)])
    tasks = list_tasks(plan, 4, mendable=[10, 11])
    filled = [task.gap for task in tasks if not task.is_check]
    assert filled == sorted(filled)
    ready = [task.ready_at for task in tasks]
    assert ready == sorted(ready)
