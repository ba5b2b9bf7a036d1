"""Progress for those who watch: bars on a terminal, JSON lines for a program."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from .reports import Progress, Seconds, to_plain

__all__ = ["Ticker", "show_bars"]

_MIN_INTERVAL = 0.1  # seconds between two progress events of a machine
_SETTLED = 2.0  # seconds of a stage before its rate says something


class Ticker:
    """Progress as JSON lines, a few a second, and always the last of a stage."""

    def __init__(self, emit: Callable[[dict[str, object]], None], source: Path | None) -> None:
        self._emit = emit
        self._source = source
        self._stage = ""
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.stage == self._stage and now < self._next and progress.done != progress.total:
            return
        self._stage, self._next = progress.stage, now + _MIN_INTERVAL
        event: dict[str, object] = {
            "event": "progress",
            "input": to_plain(self._source),
            "stage": progress.stage,
            "done": progress.done,
            "total": progress.total,
        }
        if progress.seconds is not None:
            event["seconds"] = to_plain(progress.seconds)
        self._emit(event)


@contextmanager
def show_bars(console: Console, name: str | None) -> Iterator[Callable[[Progress], None]]:
    """Show a bar for the stage at hand, gone when the block is over."""
    is_wide = console.width >= 60
    bars = _Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None if is_wide else 10),
        MofNCompleteColumn(),
        _RateColumn(),
        _TimeLeftColumn(),
        console=console,
        transient=True,
        expand=True,
    )
    with bars:
        yield _BarUpdater(bars, _shorten(name, max(8, console.width // 4)))


class _Bars(Bars):
    """Bars, and below them a line that says what the work waits for."""

    shares = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.shares:
            yield Text(self.shares, style="dim", no_wrap=True, overflow="ellipsis")


class _BarUpdater:
    """Progress as bars, one for each stage."""

    def __init__(self, bars: _Bars, name: str | None) -> None:
        self._bars = bars
        self._name = f"{escape(name)} " if name else ""
        self._tasks: dict[str, TaskID] = {}
        self._begin: Seconds | None = None  # when the stage at hand began

    def __call__(self, progress: Progress) -> None:
        if progress.stage not in self._tasks:
            for task in self._tasks.values():
                self._bars.update(task, visible=False)
            self._begin = progress.seconds
            self._tasks[progress.stage] = self._bars.add_task(
                f"{self._name}{progress.stage}", total=progress.total
            )
        self._bars.update(
            self._tasks[progress.stage], completed=progress.done, total=progress.total
        )
        self._bars.shares = _tell_shares(self._begin, progress.seconds)


def _tell_shares(begin: Seconds | None, now: Seconds | None) -> str:
    """How busy decoder, network and encoder were meanwhile: the others wait for the busiest one."""
    if begin is None or now is None or now.total - begin.total < _SETTLED:
        return ""
    elapsed = now.total - begin.total
    parts = [
        f"{name} {min((getattr(now, name) - getattr(begin, name)) / elapsed, 1):.0%}"
        for name in ("decode", "model", "encode")
    ]
    return f"busy: {', '.join(parts)}"


class _RateColumn(ProgressColumn):
    """Frames a second since the stage began.

    Not of the last moments: frames come in bursts, those that wait in a queue at once.
    """

    def render(self, task: Task) -> Text:
        rate = _measure_rate(task)
        form = "" if rate is None else f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
        return Text(form, style="progress.data.speed")


class _TimeLeftColumn(ProgressColumn):
    """Minutes and seconds to the end of the stage, at the rate so far."""

    def render(self, task: Task) -> Text:
        rate = _measure_rate(task)
        if rate is None or task.remaining is None:
            return Text("--:--", style="progress.remaining")
        minutes, seconds = divmod(round(task.remaining / rate), 60)
        hours, minutes = divmod(minutes, 60)
        left = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"
        return Text(left, style="progress.remaining")


def _measure_rate(task: Task) -> float | None:
    elapsed = task.finished_time if task.finished else task.elapsed
    if not elapsed or not task.completed or (elapsed < _SETTLED and not task.finished):
        return None
    return task.completed / elapsed


def _shorten(name: str | None, length: int) -> str | None:
    return name if name is None or len(name) <= length else f"{name[: length - 3]}..."
