"""What is noted of every frame: its change, light and layout, from small luma thumbnails.

Frames are seen once; only a few numbers of each are kept. What they mean is decided afterwards, in
``detection.py``.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .leaps import Leap, LeapFinder
from .rests import Rest, RestFinder

__all__ = ["Flags", "Observations", "Observer", "Plane", "Values"]

Plane = NDArray[np.float32]
Values = NDArray[np.float32]
Flags = NDArray[np.bool_]

_BLOCK = 8  # pixels of a thumbnail whose change is averaged
_GRID = (12, 16)  # rows and columns of the signature that tells one scene from another
_BIN = 8  # levels that the luma histogram counts together

# Blank: no structure but noise, and dark. In levels of 0..255.
_BLANK_CONTRAST = 3.0
_BLANK_LEVEL = 40.0


@dataclass(frozen=True)
class Observations:
    """A few numbers for each frame; entry i tells how frame i differs from the one before it.

    All arrays have one entry a frame. Corrupt frames are compared with nothing, and the frame
    after one with the last frame that is not corrupt.
    """

    motion: Values
    """Mean absolute change of the most changed twentieth of the picture, levels of 0..255."""
    drift: Values
    """Mean absolute change of the blurred picture, levels of 0..255."""
    difference: Values
    """Mean absolute change of the signature (a 12 x 16 picture), levels of 0..255."""
    novelty: Values
    """0 (the same picture, moved) to about 1.5 (another scene), whatever the motion."""
    level: Values
    """Mean luma, 0..255."""
    contrast: Values
    """Standard deviation of the luma."""
    usable: Flags
    """False for corrupt frames."""
    bridges: dict[int, tuple[float, float]]
    """(difference, novelty) of the first frame after a blank run against the last before it."""
    leaps: dict[int, Leap]
    """How far the picture moved up to a frame, where that changed more than all around it."""
    rests: dict[tuple[int, int], Rest]
    """What lies across short runs of still frames ``(start, stop)`` amid motion."""
    signatures: tuple[bytes, ...]
    """What ``compare_frames`` needs; empty unless kept."""

    @property
    def n_frames(self) -> int:
        """Number of frames observed."""
        return len(self.motion)

    @property
    def is_blank(self) -> Flags:
        """Which frames are dark and without structure."""
        return (self.contrast < _BLANK_CONTRAST) & (self.level < _BLANK_LEVEL)

    def compare_frames(self, first: int, second: int) -> tuple[float, float]:
        """Return (difference, novelty) of any two frames; their signatures must be kept."""
        return _compare(*(_Signature.from_bytes(self.signatures[i]) for i in (first, second)))


@dataclass(frozen=True)
class _Signature:
    grid: Plane  # (12, 16) float32, or smaller for a tiny picture
    histogram: Values  # (32,) shares

    @classmethod
    def of(cls, thumbnail: Plane) -> _Signature:
        grid: Plane = _average(thumbnail, _GRID)
        counts = np.bincount(thumbnail.astype(np.uint8).ravel() // _BIN, minlength=256 // _BIN)
        # Smoothed, so that a slow change of light does not look like other pictures.
        smooth: Values = np.convolve(counts, [0.25, 0.5, 0.25], "same").astype(np.float32)
        return cls(grid, smooth / np.float32(thumbnail.size))

    def to_bytes(self) -> bytes:
        rows, columns = self.grid.shape
        pixels = np.rint(self.grid).astype(np.uint8)
        shares = np.rint(self.histogram * 255).astype(np.uint8)
        return bytes([rows, columns]) + pixels.tobytes() + shares.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> _Signature:
        rows, columns = data[0], data[1]
        values = np.frombuffer(data, np.uint8, offset=2).astype(np.float32)
        n = rows * columns
        return cls(values[:n].reshape(rows, columns), values[n:] / np.float32(255))


def _average(picture: Plane, shape: tuple[int, int]) -> Plane:
    """Return `picture` averaged over a grid of at most `shape` cells."""
    rows, columns, area = _divide(picture.shape, shape)
    sums = np.add.reduceat(np.add.reduceat(picture, rows, axis=0), columns, axis=1)
    averaged: Plane = (sums / area).astype(np.float32)
    return averaged


@lru_cache(maxsize=8)
def _divide(size: tuple[int, ...], shape: tuple[int, int]) -> tuple[NDArray[np.intp], ...]:
    """Return where the rows and the columns of a grid begin, and how many pixels a cell has."""
    rows, columns = (
        np.unique(np.arange(n) * length // n) for length, n in zip(size, shape, strict=True)
    )
    heights, widths = (
        np.diff([*starts, length]) for starts, length in zip((rows, columns), size, strict=True)
    )
    return rows, columns, np.outer(heights, widths)


def _compare(first: _Signature, second: _Signature) -> tuple[float, float]:
    """Return the mean absolute difference and the novelty of two signatures.

    Motion keeps the histogram and, if it is not too fast, the coarse layout; another scene has
    neither. Pictures of different shape (the stream changed its size) are another scene.
    """
    if first.grid.shape != second.grid.shape:
        return 255.0, 1.5
    difference = float(np.abs(first.grid - second.grid).mean())
    a = first.grid - first.grid.mean()
    b = second.grid - second.grid.mean()
    # One level of noise keeps two blank pictures from being compared by their noise.
    power = float(np.sqrt(((a * a).sum() + a.size) * ((b * b).sum() + b.size)))
    likeness = float((a * b).sum()) / power
    overlap = float(np.abs(first.histogram - second.histogram).sum()) / 2
    return difference, (1 - likeness) / 2 + overlap


class Observer:
    """Collects ``Observations`` frame by frame, keeping no more than the last pictures."""

    def __init__(
        self, *, keep_signatures: bool = False, leaps: bool = True, rests: bool = True
    ) -> None:
        """Begin.

        :param keep_signatures: any two frames can be compared later (230 bytes each).
        :param leaps: measure the motion at leaps, which takes most of the time.
        :param rests: likewise across rests.
        """
        self._columns = {
            name: array("f")
            for name in ("motion", "drift", "difference", "novelty", "level", "contrast")
        }
        self._usable = bytearray()
        self._bridges: dict[int, tuple[float, float]] = {}
        self._signatures: list[bytes] | None = [] if keep_signatures else None
        self._last: tuple[Plane, Plane, _Signature] | None = None
        self._last_lit: _Signature | None = None
        self._leaps = LeapFinder() if leaps else None
        self._rests = RestFinder() if rests else None
        self._was_blank = False

    def add(self, thumbnail: Plane, *, is_corrupt: bool = False) -> None:
        """Observe the next frame.

        :param thumbnail: (h, w) float32 luma over 0..255; the size may change in between.
        :param is_corrupt: the picture is damaged, so it says nothing about its neighbours.
        """
        signature = _Signature.of(thumbnail)
        if self._signatures is not None:
            self._signatures.append(signature.to_bytes())
        self._usable.append(not is_corrupt)
        level, contrast = float(thumbnail.mean()), float(thumbnail.std())
        motion = drift = difference = novelty = 0.0
        if not is_corrupt:
            height, width = thumbnail.shape
            blurred = _average(thumbnail, (max(1, height // 4), max(1, width // 4)))
            if self._last is not None:
                picture, last_blurred, last = self._last
                difference, novelty = _compare(last, signature)
                if picture.shape != thumbnail.shape:
                    difference, novelty = 255.0, 1.5  # nothing can be made between two sizes
                motion = drift = difference
                if picture.shape == thumbnail.shape:
                    motion = _most_changed(np.abs(thumbnail - picture))
                    drift = float(np.abs(blurred - last_blurred).mean())
            if self._leaps is not None:
                self._leaps.add(thumbnail, drift)
            if self._rests is not None:
                self._rests.add(thumbnail, motion)
            self._last = thumbnail, blurred, signature
            blank = contrast < _BLANK_CONTRAST and level < _BLANK_LEVEL
            if not blank:
                if self._was_blank and self._last_lit is not None:
                    self._bridges[len(self._usable) - 1] = _compare(self._last_lit, signature)
                self._last_lit = signature
            self._was_blank = blank
        else:
            for finder in (self._leaps, self._rests):
                if finder is not None:
                    finder.skip()
        row = (motion, drift, difference, novelty, level, contrast)
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)

    def observations(self) -> Observations:
        """Return what was seen, when the last frame was."""
        if self._leaps is not None:
            self._leaps.finish()
        columns = {
            name: np.array(column, dtype=np.float32) for name, column in self._columns.items()
        }
        return Observations(
            **columns,
            usable=np.array(list(self._usable), dtype=np.bool_),
            bridges=dict(self._bridges),
            leaps={} if self._leaps is None else dict(self._leaps.found),
            rests={} if self._rests is None else dict(self._rests.found),
            signatures=tuple(self._signatures or ()),
        )


def _most_changed(change: Plane) -> float:
    """Return the mean over the most changed twentieth of the blocks of a picture."""
    height, width = change.shape
    blocks = _average(change, (max(1, height // _BLOCK), max(1, width // _BLOCK))).ravel()
    n = max(1, blocks.size // 20)
    return float(np.partition(blocks, blocks.size - n)[-n:].mean())
