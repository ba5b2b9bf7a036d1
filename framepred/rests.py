"""How far the picture moves on after a short rest: what was hidden shows as a leap.

A frame that is shown again hides the next one, and what follows makes up for it; a hand that
shakes, or a thing that turns back, rests too, and then goes on from where it is::

    motion   → → . ⟶ → →       the rest hid a frame
    motion   → → . → → →       nothing was hidden: animation, a pause
    motion   → → . ← ← →       a hand that shakes

How much the picture changes does not tell these apart, since motion is never even; so its length
and way are measured across the rest, as across a leap.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from .leaps import LEAST_SIZE, Leap, measure_leap

__all__ = ["Rest", "RestFinder"]

Plane = NDArray[np.float32]

_LONGEST = 8  # frames: after longer rests the change alone tells enough
_AROUND = 6  # frames before it whose motion is the usual one
# Of so many before it so large a share may rest too; more is animation or a converted frame rate.
_REACH = 16
_MOST_RESTING = 0.13
_LEAST_MOTION = 1.5  # levels of 0..255 in the most changed twentieth of the picture
# Shares of the usual motion that are a rest, and of its last frame, which an encoder may have
# repainted in part with what comes next.
_STILL = 0.6
_STILL_AT_LAST = 0.95
_FALL = 2.0  # times the first change of a rest is the one before it, if it is no motion by itself
_AT_REST = 0.35
_JUMP = 1.5  # times the largest change within the rest
_MOST_PROGRESS = 0.25  # more is slow motion


@dataclass(frozen=True)
class Rest:
    """A short run of frames that hardly change, and the step that follows it."""

    progress: float
    """Share of the way from before the rest to behind it that was made during the rest."""
    leap: Leap
    """The motion from the last picture before the rest to the first behind it."""


class RestFinder:
    """Looks back at each frame whether a rest has just ended; keeps a few thumbnails."""

    def __init__(self) -> None:
        self.found: dict[tuple[int, int], Rest] = {}
        """By the first frame of the rest and the first behind it."""
        self._pictures: deque[Plane] = deque(maxlen=_LONGEST + 4)
        self._motions: deque[float] = deque(maxlen=_LONGEST + 2 + _REACH)
        self._n_frames = 0

    def add(self, thumbnail: Plane, motion: float) -> None:
        """Take the next frame.

        :param thumbnail: (h, w) float32 luma over 0..255.
        :param motion: how much it differs from the frame before it, in levels of 0..255.
        """
        if self._pictures and self._pictures[-1].shape != thumbnail.shape:
            self.skip(0)
        if self._pictures:
            self._motions.append(motion)
        self._pictures.append(thumbnail)
        self._n_frames += 1
        if min(thumbnail.shape) < LEAST_SIZE:
            return
        for length in range(1, min(_LONGEST, len(self._pictures) - 4) + 1):
            if self._ends_rest(length):
                self._measure(length)

    def skip(self, n_frames: int = 1) -> None:
        """Pass over frames that say nothing; what lies on the two sides is not compared."""
        self._pictures.clear()
        self._motions.clear()
        self._n_frames += n_frames

    def _ends_rest(self, length: int) -> bool:
        """Tell whether so many still frames lie before the last frame but one."""
        motions = list(self._motions)
        *rest, jump = motions[-2 - length : -1]
        before = motions[: -2 - length][-_REACH:]
        if len(before) < 2 or jump < _JUMP * max(rest):
            return False
        usual = median(before[-_AROUND:])
        # The median tells whether it moves, the last step whether the rest begins here.
        return (
            usual >= _LEAST_MOTION
            and (before[-1] >= _STILL * usual or before[-1] > _FALL * rest[0])
            and max(rest[: max(1, length - 1)]) < _STILL * usual
            and rest[-1] < (_STILL if length == 1 else _STILL_AT_LAST) * usual
            and sum(motion < _AT_REST * usual for motion in before) <= _MOST_RESTING * len(before)
        )

    def _measure(self, length: int) -> None:
        pictures = list(self._pictures)
        after, later = pictures[-2:]
        earlier, before = pictures[-4 - length : -2 - length]
        way = after - before
        made = pictures[-3] - before
        progress = float((made * way).sum() / max((way * way).sum(), np.float32(1e-6)))
        if abs(progress) <= _MOST_PROGRESS:
            stop = self._n_frames - 2
            leap = measure_leap(earlier, before, after, later)
            self.found[stop - length, stop] = Rest(progress, leap)
