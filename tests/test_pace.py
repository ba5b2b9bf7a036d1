from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from framepred import pace
from framepred.pace import Pace


class Clock:
    """Stands still unless it is moved; so do the events of a device that lags behind by ``lag``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds, self.lag = 100.0, 0.0
        monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: self.seconds))
        clock = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                self.reached = clock.seconds + clock.lag

            def query(self) -> bool:
                return clock.seconds >= self.reached

            def synchronize(self) -> None:
                clock.seconds = max(clock.seconds, self.reached)

            def elapsed_time(self, later: Any) -> float:
                return 1000 * float(later.reached - self.reached)

        monkeypatch.setattr(torch.cuda, "Event", Event)


def take_steps(meter: Pace, clock: Clock, n: int) -> None:
    """Two seconds before each step, six in it, three sequences of five frames."""
    for _ in range(n):
        clock.seconds += 2
        with meter.measure(n_samples=3, n_frames=15):
            clock.seconds += 6


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_rates_and_share(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    clock = Clock(monkeypatch)
    meter = Pace(torch.device(device))
    take_steps(meter, clock, 4)
    recent = meter.read_recent()
    assert recent.samples_per_second == pytest.approx(12 / 32)
    assert recent.frames_per_second == pytest.approx(60 / 32)
    assert recent.busy_share == pytest.approx(0.75)
    clock.seconds += 8  # scores, say
    take_steps(meter, clock, 1)
    assert meter.read_recent().busy_share == pytest.approx(6 / 16)
    assert meter.read_recent().samples_per_second == 0
    session = meter.read_session()
    assert session.busy_share == pytest.approx(30 / 48)
    assert session.frames_per_second == pytest.approx(75 / 48)


def test_a_step_that_failed_does_not_count() -> None:
    meter = Pace(torch.device("cpu"))
    with pytest.raises(KeyError), meter.measure(n_samples=3, n_frames=15):
        raise KeyError
    assert meter.read_session().samples_per_second == 0


@pytest.mark.parametrize(("lag", "share"), [(0.0, 0.75), (1.9, 0.75), (2.1, 0.0)])
def test_starved_is_a_device_with_nothing_left_to_do(
    monkeypatch: pytest.MonkeyPatch, lag: float, share: float
) -> None:
    clock = Clock(monkeypatch)
    clock.lag = lag
    meter = Pace(torch.device("cuda"))
    take_steps(meter, clock, 4)  # before the first of them it is not known
    assert meter.read_recent().starved_share == share
    assert Pace(torch.device("cpu")).read_session().as_dict()["starved_share"] is None
