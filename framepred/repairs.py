"""Key frames that repair the picture: with them a smear ends that no decoder has spoken of.

Where packets were lost on the way, a decoder may go on from the wrong picture without a word; and
a hole in the times alone may as well be frames that were never coded, which spoil nothing. But
the next key frame tells the two apart: where it puts right what was smeared, parts of the picture
change that no motion explains::

    unexplained change   ▁ ▁ ▂ . ▁ ▁ ▂ █ ▁ ▁    . lost, █ key frame: smeared in between
    unexplained change   ▁ ▁ ▂ . ▁ ▂ ▁ ▁ ▁ ▁    . never coded
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

__all__ = ["RepairFinder"]

Plane = NDArray[np.float32]

_BLOCK = 8  # pixels of a thumbnail
_REACH = 4  # pixels that a block may have moved
_BEFORE, _AFTER = 6, 3  # frames beside a key frame that show what change is usual
_USUAL = 2.0  # times the usual change of a block or of those around it are not unexplained
# Levels of 0..255 in the second most changed block. Of 96 losses in eleven codecs those without a
# smear came to 6.4 at most; of the smears in H.264, VP8, VP9 and FFV1 15 of 16 lay above 13.
_LEAST = 8.0


class RepairFinder:
    """Looks at suspicious key frames and the frames beside them; keeps a few thumbnails."""

    def __init__(self) -> None:
        self.found: list[int] = []
        """Frames that repaired the picture, sorted."""
        self._recent: deque[Plane] = deque(maxlen=_BEFORE + 1 + _AFTER)
        self._n_frames = 0
        self._suspects: deque[int] = deque()

    def add(self, thumbnail: Plane, *, is_suspect: bool) -> None:
        """Look at the next frame.

        :param thumbnail: (h, w) float32 luma over 0..255.
        :param is_suspect: it is a key frame, and something may have been lost before it.
        """
        self._recent.append(thumbnail)
        if is_suspect:
            self._suspects.append(self._n_frames)
        self._n_frames += 1
        if self._suspects and self._n_frames > self._suspects[0] + _AFTER:
            self._judge(self._suspects.popleft())

    def finish(self) -> None:
        """Judge what still waits for frames behind it."""
        while self._suspects:
            self._judge(self._suspects.popleft())

    def _judge(self, frame: int) -> None:
        first = self._n_frames - len(self._recent)
        pairs = list(self._recent)
        changes = {
            first + i: _explain(pairs[i - 1], pairs[i])
            for i in range(1, len(pairs))
            if pairs[i].shape == pairs[i - 1].shape and first + i >= frame - _BEFORE
        }
        change = changes.pop(frame, None)
        if change is None or not changes or change.size < 2:
            return
        usual = _dilate(np.median(list(changes.values()), axis=0))
        excess = np.sort((change - _USUAL * usual).ravel())
        if excess[-2] >= _LEAST:
            self.found.append(frame)


def _explain(before: Plane, after: Plane) -> Plane:
    """Return for each block its mean absolute difference from the most similar place before."""
    height, width = (max(n // _BLOCK, 1) * _BLOCK for n in after.shape)
    wide = np.pad(before, _REACH, mode="edge")
    after = after[:height, :width]
    rows, columns = after.shape[0] // _BLOCK, after.shape[1] // _BLOCK
    if not rows or not columns:
        return np.zeros((1, 1), np.float32)
    least = np.full((rows, columns), np.inf, np.float32)
    for y in range(2 * _REACH + 1):
        for x in range(2 * _REACH + 1):
            moved = wide[y : y + after.shape[0], x : x + after.shape[1]]
            difference = np.abs(after - moved).reshape(rows, _BLOCK, columns, _BLOCK)
            np.minimum(least, difference.mean((1, 3)), out=least)
    return least


def _dilate(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the greatest value of each block and the eight around it."""
    wide = np.pad(values, 1, mode="edge")
    rows, columns = values.shape
    parts = [wide[y : y + rows, x : x + columns] for y in range(3) for x in range(3)]
    greatest: NDArray[np.floating] = np.max(parts, axis=0)
    return greatest
