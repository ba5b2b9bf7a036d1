"""Predictors for tests: they do what a network does, but anyone can say what must come out."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[Any]


class BlendPredictor:
    """Mixes the nearest frames linearly, and repeats the only one where a side is absent."""

    name = "blend"
    device = "cpu"
    fingerprint = "blend"
    tiling = SimpleNamespace(side=None, n_halvings=0, n_motion_halvings=0)

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, int]] = []  # frames before, frames after, frames to make

    def fill(
        self,
        before: Images | list[Images],
        after: Images | list[Images],
        n_frames: int,
        *,
        steps: Sequence[int] | None = None,
    ) -> Images:
        self.calls.append((len(before), len(after), n_frames))
        before, after = _stack(before, after), _stack(after, before)
        assert before.dtype == after.dtype
        assert before.ndim == after.ndim == 4
        made = self.make(before, after, n_frames)
        assert len(made) == n_frames
        return made if steps is None else made[[step - 1 for step in steps]]

    def make(self, before: Images, after: Images, n_frames: int) -> Images:
        """All of the frames."""
        first = before[-1] if len(before) else after[0]
        last = after[0] if len(after) else before[-1]
        parts = [k / (n_frames + 1) for k in range(1, n_frames + 1)]
        made = [first * (1 - t) + last * t for t in parts]
        return np.rint(np.stack(made)).astype(before.dtype)

    def interpolate(
        self, before: Images, after: Images, n_frames: int, *, steps: Sequence[int]
    ) -> Images:
        return self.fill(before, after, n_frames, steps=steps)

    def forecast(self, context: Images, n_frames: int) -> Images:
        return self.fill(context, context[:0], n_frames)


def _stack(images: Images | list[Images], others: Images | list[Images]) -> Images:
    """Images as an array (T, H, W, 3), also where there are none."""
    return np.stack(images) if len(images) else np.asarray(others)[:0]


class GrayPredictor(BlendPredictor):
    """Every frame it makes is flat, and a little lighter than the one it made before."""

    def __init__(self) -> None:
        super().__init__()
        self.level = 40

    def make(self, before: Images, after: Images, n_frames: int) -> Images:
        made = super().make(before, after, n_frames)
        for image in made:
            image[:] = self.level
            self.level += 8
        return made


class SlidePredictor(BlendPredictor):
    """Knows that the picture slides by (right, down) pixels a frame, so it is always right."""

    def __init__(self, speed: tuple[int, int] = (2, 1)) -> None:
        super().__init__()
        self.speed = speed

    def make(self, before: Images, after: Images, n_frames: int) -> Images:
        made = []
        for k in range(1, n_frames + 1):
            image, steps = (before[-1], k) if len(before) else (after[0], k - n_frames - 1)
            made.append(np.roll(image, (self.speed[1] * steps, self.speed[0] * steps), (0, 1)))
        return np.stack(made)
