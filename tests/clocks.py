"""Clocks that tests set."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from framepred import pace, session
from framepred.learner import Learner


class StepClock:
    """A clock that goes on by a minute a step, and stands still in between."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        learn = Learner.learn
        for module in (session, pace):
            clock = SimpleNamespace(monotonic=lambda: self.seconds)
            monkeypatch.setattr(module, "time", clock)

        def learn_slowly(*arguments: Any) -> torch.Tensor:
            self.seconds += 60
            return learn(*arguments)

        monkeypatch.setattr(Learner, "learn", learn_slowly)
