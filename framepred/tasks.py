"""The work of filling as windows of slots: what is made, what is shown for it, what is checked.

Pure, like ``timeline``::

    slots     |  |  |  |  .  .  .  |  |  |  |
    part         [before ]  made  [after ]        one a gap; two where a scene cut splits it
    check     [before]  #     #  [after]          the same problem beside the gap, answer known
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from .timeline import Plan, PlannedGap

__all__ = ["Runs", "Task", "list_tasks"]


@dataclass(frozen=True)
class Task:
    """Slots ``[start, stop)`` to make from the real frames of ``[first, start)``, ``[stop, last)``.

    A check predicts slots whose frames are known, and throws the prediction away.
    """

    first: int
    start: int
    stop: int
    last: int
    gap: int  # index of the planned gap that this is done for
    is_check: bool = False
    is_hold: bool = False
    waits_for: int = -1  # a slot that must have come too

    @property
    def ready_at(self) -> int:
        """The slot whose frame is the last that the task waits for."""
        known = self.last - 1 if self.last > self.stop or self.is_check else self.start - 1
        return max(known, self.waits_for)

    @property
    def made(self) -> tuple[int, ...]:
        """The slots whose frames are made, rising: all, but where one tells of another.

        In a check that knows both sides that is half of them, one of every two that are as far
        from the nearer side: a frame is about as hard to make as its ``find_twin``.
        """
        slots = range(self.start, self.stop)
        if not self.is_check or self.first == self.start or self.last == self.stop:
            return tuple(slots)
        # In turns from the one side and from the other, so that they are spread over all.
        n_distances = (len(slots) + 1) // 2
        return tuple(sorted(slots[-1 - k if k % 2 else k] for k in range(n_distances)))

    def find_twin(self, slot: int) -> int:
        """The slot that is as far from the end as this one is from the start."""
        return self.start + self.stop - 1 - slot

    @property
    def steps(self) -> tuple[int, ...]:
        """``made``, counted from 1 at the start."""
        return tuple(slot - self.start + 1 for slot in self.made)


def list_tasks(
    plan: Plan, check_context: int | None, *, mendable: Collection[int] = ()
) -> list[Task]:
    """All tasks in the order in which they become ready; checks only with a context for them.

    mendable: slots to make whose damaged frame is waited for, and for the checks of their gap too:
    how much of such a frame is kept depends on how good the made one is.
    """
    tasks: list[Task] = []
    runs = Runs(plan)
    waits = -1  # no gap is filled before an earlier one
    for index, planned in enumerate(plan.gaps):
        checks = []
        if check_context is not None:
            checks = _list_checks(index, planned, runs, check_context)
        for part in _list_parts(index, planned):
            damaged = [slot for slot in range(part.start, part.stop) if slot in mendable]
            if damaged:
                last = max([*damaged, *(check.ready_at for check in checks)])
                waits = max(waits, last)
            if waits >= part.start:
                part = replace(part, waits_for=waits)
            tasks.append(part)
        tasks += checks
    return sorted(tasks, key=lambda task: (task.ready_at, task.waits_for))


def _list_parts(index: int, planned: PlannedGap) -> list[Task]:
    """The windows that fill one gap: one, or two when a scene cut splits it."""
    start, stop = planned.gap.start, planned.gap.stop
    first, last = start - planned.n_before, stop + planned.n_after
    match planned.action:
        case "fill":
            return [Task(first, start, stop, last, index)]
        case "forecast":
            return [Task(first, start, stop, stop, index)]
        case "backcast":
            return [Task(start, start, stop, last, index)]
        case "split":
            cut = stop if planned.cut is None else planned.cut
            return [
                Task(first, start, cut, cut, index),
                Task(cut, cut, stop, last, index),
            ]
        case "hold":
            first, last = max(first, start - 1), min(last, stop + 1)
            return [Task(first, start, stop, last, index, is_hold=True)]
        case "leave":
            return []


def _list_checks(index: int, planned: PlannedGap, runs: Runs, context: int) -> list[Task]:
    """Windows beside a gap that pose the same problem with a known answer.

    ::

        before    [context] hidden [context]|gap        as near to the gap as the context allows
        after                               gap|[context] hidden [context]
    """
    start, stop = planned.gap.start, planned.gap.stop
    n = stop - start
    match planned.action:
        case "fill":
            wish = n + 2 * context
            before, after = runs.before(start, wish), runs.after(stop, wish)
            checks = []
            for first, last in ((start - before, start), (stop, stop + after)):
                known = min(context, (last - first - n) // 2)
                # Motion shows in two frames; a check with less than the gap has says nothing.
                if known >= min(2, planned.n_before, planned.n_after):
                    if last == start:
                        first = last - n - 2 * known
                    else:
                        last = first + n + 2 * known
                    checks.append(
                        Task(first, first + known, last - known, last, index, is_check=True)
                    )
            return checks
        case "forecast":
            return _check_before(index, start, n, planned.n_before, runs, context)
        case "backcast":
            return _check_after(index, stop, n, planned.n_after, runs, context)
        case "split":
            cut = stop if planned.cut is None else planned.cut
            return [
                *_check_before(index, start, cut - start, planned.n_before, runs, context),
                *_check_after(index, stop, stop - cut, planned.n_after, runs, context),
            ]
        case "hold" | "leave":
            return []


def _check_before(
    index: int, stop: int, n: int, n_before: int, runs: Runs, context: int
) -> list[Task]:
    """Forecast the last ``n`` known frames before slot ``stop``."""
    known = min(context, runs.before(stop, n + context) - n)
    if known < min(2, n_before):
        return []
    return [Task(stop - n - known, stop - n, stop, stop, index, is_check=True)]


def _check_after(
    index: int, start: int, n: int, n_after: int, runs: Runs, context: int
) -> list[Task]:
    """Backcast the first ``n`` known frames from slot ``start`` on."""
    known = min(context, runs.after(start, n + context) - n)
    if known < min(2, n_after):
        return []
    return [Task(start, start, start + n, start + n + known, index, is_check=True)]


class Runs:
    """How many real frames of one shot lie in a row beside a slot."""

    def __init__(self, plan: Plan) -> None:
        self._n_slots = len(plan.slots)
        self._gaps = {
            slot for planned in plan.gaps for slot in range(planned.gap.start, planned.gap.stop)
        }
        self._cuts = set(plan.cuts)

    def before(self, slot: int, limit: int) -> int:
        """Length of the run that ends just before ``slot``, at most ``limit``."""
        n = 0
        while n < limit and slot - n > 0 and slot - n - 1 not in self._gaps:
            n += 1
            if slot - n in self._cuts:
                break
        return n

    def after(self, slot: int, limit: int) -> int:
        """Length of the run that begins at ``slot``, at most ``limit``."""
        n = 0
        while n < limit and slot + n < self._n_slots and slot + n not in self._gaps:
            if n and slot + n in self._cuts:
                break
            n += 1
        return n

    def list_all(self, hidden: Collection[int] = ()) -> list[tuple[int, int]]:
        """All runs ``[start, stop)``, where the slots in ``hidden`` count as gaps."""
        runs: list[tuple[int, int]] = []
        for slot in range(self._n_slots):
            if slot in self._gaps or slot in hidden:
                continue
            if runs and runs[-1][1] == slot and slot not in self._cuts:
                runs[-1] = (runs[-1][0], slot + 1)
            else:
                runs.append((slot, slot + 1))
        return runs
