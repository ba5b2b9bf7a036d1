"""Scores of frames beside the true ones, and the true ones of a reference video."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from .errors import EvaluationError
from .metrics import HIGHEST_PSNR, psnr, ssim
from .video import Frame, VideoReader, probe, to_rgb

__all__ = [
    "Score",
    "ScoreMean",
    "TrueFrames",
    "align",
    "check_same_size",
    "mean_score",
    "score_frame",
    "score_image",
    "to_8_bits",
]


_LONGEST_LOSS = 60  # seconds at the start, beyond which two clocks are not one
_CLOCK = Fraction(1, 100)  # seconds by which two containers may show one picture at other times


@dataclass(frozen=True)
class Score:
    """How near a picture is to the true one; None where nothing was measured."""

    psnr: float | None  # dB, at most 100, which is what identical pictures get
    ssim: float | None  # None: the picture is smaller than the window that SSIM looks through


def score_image(image: np.ndarray, true: np.ndarray) -> Score:
    """Score a picture; both (H, W, 3) RGB, uint8 or uint16. A deeper one is brought to 8 bits."""
    if image.dtype != true.dtype:
        image, true = to_8_bits(image), to_8_bits(true)
    similarity = ssim(true, image)
    return Score(
        min(psnr(true, image), HIGHEST_PSNR), None if math.isnan(similarity) else similarity
    )


def score_frame(image: np.ndarray, true: Frame) -> Score | None:
    """Score a picture as ``score_image`` does; None if the true one has another size."""
    true_image = to_rgb(true)
    return score_image(image, true_image) if image.shape == true_image.shape else None


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean over frames, measured ones only."""
    mean = ScoreMean()
    for score in scores:
        mean.add(score)
    return mean.mean()


class ScoreMean:
    """The mean over frames that come one at a time, measured ones only."""

    def __init__(self) -> None:
        self.n = 0
        self._sums = [0.0, 0.0]
        self._counts = [0, 0]

    def add(self, score: Score) -> None:
        """Count one frame."""
        self.n += 1
        for i, value in enumerate((score.psnr, score.ssim)):
            if value is not None:
                self._sums[i] += value
                self._counts[i] += 1

    def mean(self) -> Score:
        """The mean so far."""
        psnr, ssim = (s / n if n else None for s, n in zip(self._sums, self._counts, strict=True))
        return Score(psnr, ssim)


def check_same_size(reference: Path, other: Path) -> None:
    """Refuse to compare videos of different sizes.

    Raises:
        MediaError: one of them cannot be read.
        EvaluationError: their pictures differ in width or height.
    """
    true, info = probe(reference), probe(other)
    if (true.width, true.height) != (info.width, info.height):
        raise EvaluationError(
            f"{reference}: is {true.width}x{true.height}, but {other} is "
            f"{info.width}x{info.height}; give videos of the same size"
        )


def align(reference: Path, other: Path) -> Fraction:
    """How much later the clock of a reference is than that of the video that it is held against.

    Containers begin where they like: MPEG-TS at 1.4 s or anywhere. So either both show their first
    picture at the same moment, or their clocks are one and the one that begins later lacks its
    start: whichever makes its first picture more like that of the other.

    Raises:
        MediaError: one of them cannot be read.
    """
    with VideoReader(reference) as one, VideoReader(other) as two:
        true, given = TrueFrames(one), TrueFrames(two)
        true_start, start = true.find_first(), given.find_first()
        if true_start is None or start is None:
            return Fraction(0)
        later = true_start.time - start.time
        if abs(later) > _LONGEST_LOSS:
            return later
        if later > 0:
            early, first = given, true_start
        else:
            early, first, start = true, start, true_start
        there = early.find(first.time, tolerance=_CLOCK)
    if there is None or there.index == start.index:
        return later
    image = to_8_bits(to_rgb(first))
    at_start, at_its_time = (psnr(to_8_bits(to_rgb(frame)), image) for frame in (start, there))
    return later if at_start > at_its_time else Fraction(0)


class TrueFrames:
    """The frames of a reference video, asked for by time, which must not go backwards.

    later: by how much its clock is, see ``align``.
    """

    def __init__(self, reader: VideoReader, *, later: Fraction = Fraction(0)) -> None:
        self._later = later
        self._frames = (item for item in reader.read() if isinstance(item, Frame))
        self._near: list[Frame] = []  # the last frame up to the time asked for, and the next

    def find(self, time: Fraction, *, tolerance: Fraction) -> Frame | None:
        """The frame nearest to ``time``, None if it is further away than ``tolerance``."""
        time = time + self._later
        while not self._near or self._near[-1].time < time:
            frame = next(self._frames, None)
            if frame is None:
                break
            self._near = [*self._near[-1:], frame]
        nearest = min(self._near, key=lambda frame: abs(frame.time - time), default=None)
        if nearest is None or abs(nearest.time - time) > tolerance:
            return None
        return nearest

    def find_first(self) -> Frame | None:
        """The very first one, if there is any and none was asked for before."""
        first = next(self._frames, None)
        self._near = [] if first is None else [first]
        return first


def to_8_bits(image: np.ndarray) -> np.ndarray:
    """A picture uint8 or uint16 as uint8, rounded."""
    if image.dtype == np.uint8:
        return image
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
