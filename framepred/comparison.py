"""Comparison of two videos, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from .errors import EvaluationError
from .reports import CompareReport, FrameScore, OnProgress, Progress
from .scoring import Score, check_same_size, mean_score, score_image
from .video import Frame, VideoReader, to_rgb

__all__ = ["compare"]


def compare(
    reference: str | Path, other: str | Path, *, on_progress: OnProgress = None
) -> CompareReport:
    """Score every frame of ``other`` against the frame of ``reference`` that is shown then.

    Times count from each video's first frame, so that a container's own start does not matter. A
    frame without a partner is counted, not scored::

        reference   |  |  |  |  |  |
        other       |  |     |  |  |       pairs: 0-0, 1-1, 3-2, ...

    Args:
        reference: the true video.
        other: the video to judge; the same size.
        on_progress: called with the stage "compare".

    Raises:
        MediaError: one of the videos cannot be read.
        EvaluationError: their sizes differ, or no two frames are shown at the same time.
    """
    reference, other = Path(reference), Path(other)
    check_same_size(reference, other)
    frames: list[FrameScore] = []
    n_identical = n_only_reference = n_only_other = 0
    with VideoReader(reference) as true_reader, VideoReader(other) as reader:
        for true, frame in _pair(_read(true_reader), _read(reader)):
            if frame is None:
                n_only_reference += 1
            elif true is None:
                n_only_other += 1
            else:
                score, identical = _score_pair(frame, true, other)
                n_identical += identical
                frames.append(FrameScore(true.index, true.time, score.psnr, score.ssim))
            if on_progress is not None:
                on_progress(Progress("compare", len(frames) + n_only_reference, None))
    if not frames:
        raise EvaluationError(
            f"{reference} and {other} have no frames at the same time; is it the same recording?"
        )
    mean = mean_score([Score(frame.psnr, frame.ssim) for frame in frames])
    assert mean.psnr is not None
    return CompareReport(
        reference=reference,
        other=other,
        frames_compared=len(frames),
        frames_identical=n_identical,
        frames_only_in_reference=n_only_reference,
        frames_only_in_other=n_only_other,
        psnr=mean.psnr,
        ssim=mean.ssim,
        worst_psnr=min(f.psnr for f in frames if f.psnr is not None),
        worst_ssim=min((f.ssim for f in frames if f.ssim is not None), default=None),
        frames=tuple(frames),
    )


def _score_pair(frame: Frame, true: Frame, path: Path) -> tuple[Score, bool]:
    """Scores of a pair, and whether the two are identical."""
    image, true_image = to_rgb(frame), to_rgb(true)
    if image.shape != true_image.shape:
        raise EvaluationError(
            f"{path}: its picture changes size at frame {frame.index}; cut it there first"
        )
    identical = image.dtype == true_image.dtype and np.array_equal(image, true_image)
    return score_image(image, true_image), identical


def _read(reader: VideoReader) -> Iterator[Frame]:
    return (item for item in reader.read() if isinstance(item, Frame))


class _Strip:
    """The frames of one video with a look at the next one, on a clock that starts at 0."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames = frames
        self.head = next(frames, None)
        self.next = next(frames, None)
        self._start = self.head.time if self.head is not None else Fraction(0)
        self._last_step: Fraction | None = None

    def time(self, frame: Frame) -> Fraction:
        """Seconds after the first frame."""
        return frame.time - self._start

    @property
    def reach(self) -> Fraction | None:
        """Half the time to the next frame, at the end to the one before; None if there is one."""
        if self.head is not None and self.next is not None:
            return (self.next.time - self.head.time) / 2
        return self._last_step

    def advance(self) -> Frame | None:
        """Give the head and move on."""
        head, self.head, self.next = self.head, self.next, next(self._frames, None)
        if head is not None and self.head is not None:
            self._last_step = (self.head.time - head.time) / 2
        return head


def _pair(
    first: Iterator[Frame], second: Iterator[Frame]
) -> Iterator[tuple[Frame | None, Frame | None]]:
    """Pair the frames that are each other's nearest; the others come alone."""
    a, b = _Strip(first), _Strip(second)
    while a.head is not None and b.head is not None:
        apart = abs(a.time(a.head) - b.time(b.head))
        a_next = abs(a.time(a.next) - b.time(b.head)) if a.next is not None else None
        b_next = abs(a.time(a.head) - b.time(b.next)) if b.next is not None else None
        reaches = [reach for reach in (a.reach, b.reach) if reach is not None]
        near = not reaches or apart <= min(reaches)
        if near and (a_next is None or apart <= a_next) and (b_next is None or apart <= b_next):
            yield a.advance(), b.advance()
        elif a.time(a.head) < b.time(b.head):
            yield a.advance(), None
        else:
            yield None, b.advance()
    while a.head is not None:
        yield a.advance(), None
    while b.head is not None:
        yield None, b.advance()
