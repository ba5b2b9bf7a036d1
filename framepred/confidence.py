"""How good a made frame is, told without the true one.

The self-check poses the problem of a gap again right beside it, where the answer is known. What it
scores at the same place is the estimate; the one of PSNR is then moved by how much calmer the gap
is there than the self-check::

    estimate = check + trust * calmer        dB

Calm is the PSNR of a made frame against the known ones beside it, cross-faded: what doing nothing
would score if the made frame were the true one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .metrics import HIGHEST_PSNR
from .scoring import Score, mean_score
from .tasks import Task

__all__ = [
    "TRUST",
    "Agreement",
    "Evidence",
    "GapEvidence",
    "compare_estimates",
    "estimate_score",
    "fit_trust",
    "measure_calm",
]

Image = NDArray[np.generic]  # (H, W, 3) RGB, uint8 or uint16
Images = NDArray[np.generic]  # (T, H, W, 3), likewise

_ENOUGH_ROWS = 256  # of a picture, evenly spaced: they tell as much about calm as all of them
_ROWS = 16  # of these, that are compared at a time: so many fit into a processor's cache

# dB of the estimate for a dB of calm, by whether both sides of the gap are known: what
# ``framepred evaluate CLIPS --windows FILE --confidence`` fitted on the clips and windows of the
# model card, with earlier weights; with the present ones it fits 0.57 and 0.40. An offset, a slope
# for the check and a likewise correction of SSIM were fitted too, and told nothing about clips that
# they had not seen.
TRUST = {True: 0.55, False: 0.38}


@dataclass(frozen=True)
class Evidence:
    """What is known about one made frame without the true one."""

    check: Score  # of the frames hidden at the same place, mean over the self-checks
    calmer: float  # dB: calm of the made frame, less that of those in the self-checks
    is_two_sided: bool  # made from both sides, not forecast


class GapEvidence:
    """Collects what the tasks of one gap, parts and checks in any order, say about its frames."""

    def __init__(self, start: int, stop: int) -> None:
        self._start, self._stop = start, stop
        self._checks: dict[int, list[tuple[Score, float]]] = {}  # by the slot they stand for
        self._made: dict[int, tuple[float, bool]] = {}

    def add(
        self, task: Task, made: Images, before: Images, after: Images, scores: Sequence[Score] = ()
    ) -> None:
        """Take the frames (T, H, W, 3) that a task made from those before and after.

        Either side may be empty. scores: of a check, frame by frame.
        """
        pairs, sides = zip(task.made, made, strict=True), (list(before), list(after))
        calms = [measure_calm(image, *sides, task, slot) for slot, image in pairs]
        self.note(task, calms, scores)

    def note(self, task: Task, calms: Sequence[float], scores: Sequence[Score] = ()) -> None:
        """Likewise, where it has been measured how calm each frame is."""
        if task.is_check:
            found = dict(zip(task.made, zip(scores, calms, strict=True), strict=True))
            # One before the gap poses the beginning of it anew, one after it the end.
            shift = self._start - task.start if task.start < self._start else self._stop - task.stop
            for slot in range(task.start, task.stop):
                pair = found[slot if slot in found else task.find_twin(slot)]
                self._checks.setdefault(slot + shift, []).append(pair)
        else:
            is_two_sided = task.first < task.start and task.stop < task.last
            for slot, calm in zip(task.made, calms, strict=True):
                self._made[slot] = calm, is_two_sided

    def weigh(self, slot: int) -> Evidence | None:
        """What is known about the frame made for a slot; None where no check had room."""
        checks = self._checks.get(slot)
        if checks is None or slot not in self._made:
            return None
        calm, is_two_sided = self._made[slot]
        beside = sum(calm for _, calm in checks) / len(checks)
        return Evidence(mean_score([score for score, _ in checks]), calm - beside, is_two_sided)


def measure_calm(
    image: Image, before: Sequence[Image], after: Sequence[Image], task: Task, slot: int
) -> float:
    """PSNR (dB) of the frame that a task made for a slot against the known ones, cross-faded.

    image and those before and after: (H, W, 3); of these the nearest count, and a side may be
    empty.
    """
    t = np.float32((slot - task.start + 1) / (task.stop - task.start + 1))
    sides = [(before[-1:], 1 - t), (after[:1], t)]
    step = max(1, len(image) // _ENOUGH_ROWS)
    known = [(side[0][::step], share) for side, share in sides if len(side)]
    if len(known) == 1:
        known = [(known[0][0], np.float32(1))]
    image = image[::step]
    squares = 0.0
    for top in range(0, len(image), _ROWS):
        rows = slice(top, top + _ROWS)
        off = -image[rows].astype(np.float32)
        for side, share in known:
            off += np.multiply(side[rows], share)
        squares += float(np.einsum("i,i->", off.ravel(), off.ravel()))
    peak = 255 if image.dtype == np.uint8 else 65535
    error = squares / (image.size * peak**2)
    return min(-10 * math.log10(error), HIGHEST_PSNR) if error else HIGHEST_PSNR


def estimate_score(evidence: Evidence, trust: float | None = None) -> Score:
    """Estimate PSNR (dB) and SSIM of a made frame; None where the self-check has none.

    trust: default the one in ``TRUST``.
    """
    if evidence.check.psnr is None:
        return evidence.check
    if trust is None:
        trust = TRUST[evidence.is_two_sided]
    psnr = evidence.check.psnr + trust * evidence.calmer
    return Score(min(max(psnr, 0.0), HIGHEST_PSNR), evidence.check.ssim)


def fit_trust(
    evidence: Sequence[Evidence], true: Sequence[Score], weights: Sequence[float]
) -> float | None:
    """The trust whose estimates come nearest to the true PSNR (weighted least squares).

    None if no frame was calmer, or less calm, than in its self-checks.
    """
    above = below = 0.0
    for known, score, weight in zip(evidence, true, weights, strict=True):
        if known.check.psnr is not None and score.psnr is not None:
            above += weight * known.calmer * (score.psnr - known.check.psnr)
            below += weight * known.calmer**2
    return above / below if below else None


@dataclass(frozen=True)
class Agreement:
    """How well estimates meet the truth; None where there are too few, or all are alike."""

    n_frames: int
    pearson: float | None
    spearman: float | None
    mean_error: float | None  # mean absolute difference, in the unit of the score


def compare_estimates(estimated: Sequence[float], true: Sequence[float]) -> Agreement:
    """Correlate estimates with the truth: linearly (Pearson) and by rank (Spearman)."""
    one, two = np.array(estimated, np.float64), np.array(true, np.float64)
    return Agreement(
        n_frames=len(one),
        pearson=_correlate(one, two),
        spearman=_correlate(_rank(one), _rank(two)),
        mean_error=float(np.abs(one - two).mean()) if len(one) else None,
    )


def _correlate(one: NDArray[np.float64], two: NDArray[np.float64]) -> float | None:
    if len(one) < 2 or not np.ptp(one) or not np.ptp(two):
        return None
    return float(np.corrcoef(one, two)[0, 1])


def _rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The place of each in the order; equal ones share the middle of theirs."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middles: NDArray[np.float64] = last - (counts - 1) / 2
    return middles[which]
