"""How far the picture moves over one step, beside the steps before and after it.

A leap is what remains of frames that were dropped and closed up: one step over which everything
moves on by several. Change alone does not tell it from a light that is switched on, so the motion
is measured, by optical flow on the thumbnails, where one step changes more than any near it::

    change   ▂ ▃ ▂ ▃ ▂ ▆ ▂ ▃ ▂ ▃
    motion         → → ⟶ → →           measured on these steps only

The flow is that of Lucas and Kanade (1981), coarse to fine.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST_SIZE", "REACH", "Leap", "LeapFinder", "measure_leap"]

Plane = NDArray[np.float32]
Flow = NDArray[np.float32]  # (2, h, w): down and right, in pixels of the thumbnail

REACH = 8  # steps on either side that a leap stands out from
_OUTSTANDING = 1.25  # times the greatest change there
_STARTS = (3, 6, 9)  # steps that the motion may have gone on for: too far for a search from rest
_LEAP = 1.4  # times the motion around is a leap
_MOVING = 0.1  # share of the squared motion of the fastest twentieth: less is no motion
_LEAST_SQUARE = 0.02  # squared pixels
_FLOOR = 0.15  # levels of 0..255: less change than that is the encoder's
LEAST_SIZE = 24  # pixels: in a smaller picture nothing can be followed
_LEVELS = 3
_STEPS = 3  # at each level
_WINDOW = 3  # pixels on each side that move alike
_DAMPING = 20.0  # squared levels: without structure nothing moves
_LONGEST_STEP = 2.0  # pixels


@dataclass(frozen=True)
class Leap:
    """The motion over one step, beside that over the steps before and after it."""

    before: float
    """Mean length of the motion in pixels of the thumbnail."""
    across: float
    after: float
    ratio: float
    """How many times as far as in the steps around, along the same way: the median over all places
    that move."""
    share: float
    """Of the places that move, those that leap."""
    misfit: float
    """What of the step its motion does not explain, over the same of the steps around."""


class LeapFinder:
    """Looks at each step when those around it are known; keeps a few thumbnails."""

    def __init__(self) -> None:
        self.found: dict[int, Leap] = {}
        """By the frame that ends the step."""
        self._pictures: deque[Plane] = deque(maxlen=REACH + 3)
        self._changes: deque[float] = deque(maxlen=2 * REACH + 1)
        self._n_frames = 0

    def add(self, thumbnail: Plane, change: float) -> None:
        """Take the next frame.

        :param thumbnail: (h, w) float32 luma over 0..255.
        :param change: how much it differs from the frame before it, in levels of 0..255.
        """
        if self._pictures and self._pictures[-1].shape != thumbnail.shape:
            self.skip(0)
        self._changes.append(change if self._pictures else 0.0)
        self._pictures.append(thumbnail)
        self._n_frames += 1
        self._judge(REACH)

    def skip(self, n_frames: int = 1) -> None:
        """Pass over frames that say nothing; steps on the two sides are not compared."""
        self.finish()
        self._pictures.clear()
        self._changes.clear()
        self._n_frames += n_frames

    def finish(self) -> None:
        """Look at the last steps."""
        for behind in range(REACH - 1, 0, -1):
            self._judge(behind)

    def _judge(self, behind: int) -> None:
        """Look at the step that has so many behind it."""
        at = len(self._pictures) - 1 - behind  # the frame that ends the step
        changes = list(self._changes)
        middle = len(changes) - 1 - behind
        if at < 2 or min(self._pictures[at].shape) < LEAST_SIZE:
            return
        others = [*changes[max(0, middle - REACH) : middle], *changes[middle + 1 :]]
        if changes[middle] < _OUTSTANDING * (max(others) + _FLOOR):
            return
        pictures = [self._pictures[i] for i in range(at - 2, at + 2)]
        self.found[self._n_frames - 1 - behind] = measure_leap(*pictures)


def measure_leap(earlier: Plane, before: Plane, after: Plane, later: Plane) -> Leap:
    """Measure the motion from `before` to `after`, two of four pictures (h, w) in a row."""
    back, ahead = find_flow(before, earlier), find_flow(after, later)
    usual: Flow = (ahead - back) / np.float32(2)
    flows = find_flow(before, after, np.stack([np.float32(n) * usual for n in (0, *_STARTS)]))
    errors = _find_error(before, after, flows)
    best = np.argmin(_average(errors, _WINDOW), axis=0)
    across: Flow = np.choose(best, flows)
    ahead_there = np.stack([_follow(plane, across) for plane in ahead])
    usual = (ahead_there - back) / np.float32(2)
    square = (usual**2).sum(0)
    is_moving = square > max(_LEAST_SQUARE, _MOVING * float(np.quantile(square, 0.95)))
    ratios = (across * usual).sum(0)[is_moving] / square[is_moving]
    beside = max(
        float(_find_error(before, earlier, back).mean()),
        float(_find_error(after, later, ahead).mean()),
    )
    return Leap(
        before=_mean_length(back),
        across=_mean_length(across),
        after=_mean_length(ahead),
        ratio=float(np.median(ratios)) if ratios.size else 0.0,
        share=float((ratios >= _LEAP).mean()) if ratios.size else 0.0,
        misfit=float(np.choose(best, errors).mean()) / max(beside, _FLOOR),
    )


def _mean_length(flow: Flow) -> float:
    return float(np.hypot(*flow).mean())


def _find_error(first: Plane, second: Plane, flow: Flow) -> Plane:
    """Return how far the second picture, carried back along the flow(s), is from the first."""
    error: Plane = np.abs(_follow(second, flow) - first)
    return error


def find_flow(first: Plane, second: Plane, starts: Flow | None = None) -> Flow:
    """Return (2, h, w) float32, the motion (down, right) in pixels from each place of `first`.

    :param starts: motions to begin the search with, instead of none; (n, 2, h, w), as then is what
        is returned.
    """
    levels = [(first, second)]
    while len(levels) < _LEVELS:
        levels.append((_halve(levels[-1][0]), _halve(levels[-1][1])))
    flow = np.zeros((2, *first.shape), np.float32) if starts is None else starts
    for _ in levels[1:]:
        flow = _halve(flow) / 2
    for first, second in reversed(levels):
        if flow.shape[-2:] != first.shape:
            flow = _enlarge(flow, first.shape)
        flow = _refine(flow, first, second)
    return flow


def _refine(flow: Flow, first: Plane, second: Plane) -> Flow:
    """Return the flow corrected at one level."""
    # Without its local mean the picture is blind to slow changes of the light.
    first, second = (picture - _average(picture, _WINDOW + 1) for picture in (first, second))
    down, right = np.gradient(first)
    yy, xx, xy = _average(np.stack([down * down, right * right, down * right]), _WINDOW)
    yy, xx = yy + _DAMPING, xx + _DAMPING
    determinant = yy * xx - xy * xy
    for _ in range(_STEPS):
        error = first - _follow(second, flow)
        y, x = _average(np.stack([down * error, right * error]), _WINDOW)
        step = np.stack([xx * y - xy * x, yy * x - xy * y], axis=-3) / determinant
        flow = _average(flow + step.clip(-_LONGEST_STEP, _LONGEST_STEP), 1)
    return flow


def _average(planes: Plane, reach: int) -> Plane:
    """Return the mean over a square window about each pixel of (..., h, w), edges repeated."""
    from scipy.ndimage import uniform_filter  # takes a third of a second, and few videos leap

    width = 2 * reach + 1
    mean: Plane = uniform_filter(planes, width, mode="nearest", axes=(-2, -1))
    return mean


def _follow(picture: Plane, flow: Flow) -> Plane:
    """Return the picture where the flow leads, bilinearly; its edge stands for what is outside.

    :param flow: (..., 2, h, w); returns (..., h, w).
    """
    height, width = picture.shape
    places = np.indices(picture.shape, np.float32) + flow
    rows = places[..., 0, :, :].clip(0, height - 1)
    columns = places[..., 1, :, :].clip(0, width - 1)
    top = np.minimum(np.floor(rows), np.float32(height - 2))
    left = np.minimum(np.floor(columns), np.float32(width - 2))
    down, right = rows - top, columns - left
    corner = (top * width + left).astype(np.intp)  # exact: thumbnails have few pixels
    pixels = picture.ravel()
    upper = pixels[corner] * (1 - right) + pixels[corner + 1] * right
    lower = pixels[corner + width] * (1 - right) + pixels[corner + width + 1] * right
    seen: Plane = upper * (1 - down) + lower * down
    return seen


def _halve(planes: Plane) -> Plane:
    """Return (..., h, w) at half the size."""
    rows, columns = (n // 2 for n in planes.shape[-2:])
    blocks = planes[..., : 2 * rows, : 2 * columns].reshape(*planes.shape[:-2], rows, 2, columns, 2)
    half: Plane = blocks.mean((-3, -1))
    return half


def _enlarge(flow: Flow, shape: tuple[int, ...]) -> Flow:
    """Return the flow of the next finer level, where it is twice as long."""
    wide = flow.repeat(2, axis=-2).repeat(2, axis=-1)
    missing = [max(0, n - m) for n, m in zip(shape, wide.shape[-2:], strict=True)]
    edges = [(0, 0)] * (flow.ndim - 2) + [(0, n) for n in missing]
    fitted = np.pad(wide, edges, mode="edge")[..., : shape[0], : shape[1]]
    return 2 * _average(fitted, 1)
