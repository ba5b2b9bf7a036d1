from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import Task

from framepred import bars
from framepred.reports import Progress, Seconds


def make_task(done: int, total: int | None, elapsed: float) -> Task:
    clock = 0.0
    shown = Bars(get_time=lambda: clock, console=Console(file=io.StringIO()))
    number = shown.add_task("fill", total=total)
    clock = elapsed
    shown.update(number, completed=done)
    return shown.tasks[0]


@pytest.mark.parametrize(
    ("done", "total", "elapsed", "rate", "left"),
    [
        (100, 400, 10.0, "10.0/s", "00:30"),
        (2, 20, 8.0, "4.0 s each", "01:12"),
        (60, 120_000, 60.0, "1.0/s", "33:19:00"),
        (2, 20, 0.001, "", "--:--"),  # a burst from a queue says nothing
        (0, 20, 9.0, "", "--:--"),
        (50, None, 5.0, "10.0/s", "--:--"),  # a stream, whose end nobody knows
    ],
)
def test_rate_and_time_left(
    done: int, total: int | None, elapsed: float, rate: str, left: str
) -> None:
    task = make_task(done, total, elapsed)
    assert bars._RateColumn().render(task).plain == rate
    assert bars._TimeLeftColumn().render(task).plain == left


@pytest.mark.parametrize("width", [60, 120])
@pytest.mark.parametrize("name", ["clip.mp4", "a very long name of a film [1984] of ours.mkv"])
def test_bars_fit_their_terminal(width: int, name: str) -> None:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    with bars.show_bars(console, name) as update:
        update(Progress("interpolate", 5, 20_000))
    lines = [line for line in file.getvalue().splitlines() if "interpolate" in line]
    assert lines
    assert "5/20000" in lines[-1]


@pytest.mark.parametrize("width", [40, 60, 120])
def test_shares_of_the_stages_since_the_stage_began(width: int) -> None:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    with bars.show_bars(console, "clip.mp4") as update:
        update(Progress("scan", 5, 5))
        update(Progress("fill", 1, 100, Seconds(decode=10, total=10)))
        update(Progress("fill", 2, 100, Seconds(decode=10.1, model=1, total=11)))
        assert "busy" not in file.getvalue()  # too soon to tell
        update(Progress("fill", 9, 100, Seconds(decode=10.5, model=9.5, encode=2, total=20)))
    lines = [line for line in file.getvalue().splitlines() if "busy" in line]
    assert lines[-1].strip() == "busy: decode 5%, model 95%, encode 20%"[:width]
