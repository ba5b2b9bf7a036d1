"""Hold the estimates of made frames against the truth, and fit what they are corrected by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

from .confidence import (
    Agreement,
    Evidence,
    GapEvidence,
    compare_estimates,
    estimate_score,
    fit_trust,
)
from .metrics import HIGHEST_PSNR, psnr
from .predictor import Predictor
from .protocol import Frames, Window
from .scoring import Score, score_image
from .tasks import list_tasks
from .timeline import Gap, Slot, plan_gaps

__all__ = ["ConfidenceLedger", "ConfidenceReport", "EstimateReport"]


@dataclass(frozen=True)
class EstimateReport:
    """How well one kind of estimate meets the truth: by gap length or forecast step, and "all"."""

    estimate: str
    psnr: dict[int | str, Agreement]  # mean error in dB
    ssim: dict[int | str, Agreement]


@dataclass(frozen=True)
class ConfidenceReport:
    """How far the estimates of made frames can be trusted."""

    n_frames: int
    n_without: int  # of these, frames without an estimate: no self-check had room
    estimates: tuple[EstimateReport, ...]
    trust: float | None  # fitted here to all clips; see ``confidence``


@dataclass(frozen=True)
class _Sample:
    """One made frame with its estimate's grounds and its true score."""

    clip: str
    column: int | None  # gap length or forecast step; None: a step that no column stands for
    weight: float
    evidence: Evidence
    true: Score


class ConfidenceLedger:
    """Makes the frames of windows as ``fill_gaps`` makes those of gaps, self-checks included."""

    def __init__(self, predictor: Predictor, *, with_ssim: bool) -> None:
        self._predictor = predictor
        self._with_ssim = with_ssim
        self._n_frames = 0
        self._samples: list[_Sample] = []

    def add(self, window: Window, frames: Frames) -> None:
        """Take one window of a clip (T, H, W, 3) uint8."""
        start, stop = window.start, window.start + window.n_missing
        known = frames if window.task == "fill" else frames[:stop]
        plan = plan_gaps(
            [Slot(Fraction(i), i) for i in range(len(known))],
            [Gap(start, stop, "named")],
            step=Fraction(1),
            max_gap=window.n_missing,
            context=window.n_context,
        )
        gathered = GapEvidence(start, stop)
        true: dict[int, Score] = {}
        for task in list_tasks(plan, window.n_context):
            before, after = known[task.first : task.start], known[task.stop : task.last]
            made = self._predictor.fill(before, after, task.stop - task.start, steps=task.steps)
            pairs = zip(task.made, made, strict=True)
            scores = [self._score(image, known[i]) for i, image in pairs]
            gathered.add(task, made, before, after, scores if task.is_check else ())
            if not task.is_check:
                true |= zip(task.made, scores, strict=True)
        self._n_frames += len(true)
        for slot, score in true.items():
            evidence = gathered.weigh(slot)
            column = window.n_missing if window.task == "fill" else slot - start + 1
            if evidence is not None:
                self._samples.append(
                    _Sample(
                        clip=window.clip,
                        column=column if column in window.columns else None,
                        weight=1 / window.n_missing,  # every window counts alike
                        evidence=evidence,
                        true=score,
                    )
                )

    def _score(self, image: Frames, true: Frames) -> Score:
        if self._with_ssim:
            return score_image(image, true)
        return Score(min(psnr(true, image), HIGHEST_PSNR), None)

    def report(self) -> ConfidenceReport:
        """Compare three kinds of estimate: uncorrected, as reported to users, and fitted here."""
        estimates = {
            "self-check": [sample.evidence.check for sample in self._samples],
            "estimate": [estimate_score(sample.evidence) for sample in self._samples],
            "fitted to other clips": self._estimate_by_others(),
        }
        return ConfidenceReport(
            n_frames=self._n_frames,
            n_without=self._n_frames - len(self._samples),
            estimates=tuple(
                EstimateReport(
                    name,
                    psnr=self._compare(scores, lambda score: score.psnr),
                    ssim=self._compare(scores, lambda score: score.ssim),
                )
                for name, scores in estimates.items()
                if scores
            ),
            trust=_fit(self._samples),
        )

    def _estimate_by_others(self) -> list[Score]:
        """Estimate the frames of each clip by a fit to the others; nothing if there is only one."""
        scores = []
        for clip, samples in groupby(self._samples, key=lambda sample: sample.clip):
            others = [sample for sample in self._samples if sample.clip != clip]
            if not others:
                return []
            trust = _fit(others)
            scores += [estimate_score(sample.evidence, trust) for sample in samples]
        return scores

    def _compare(
        self, scores: Sequence[Score], choose: Callable[[Score], float | None]
    ) -> dict[int | str, Agreement]:
        pairs: dict[int | str, list[tuple[float, float]]] = {}
        for sample, score in zip(self._samples, scores, strict=True):
            estimated, true = choose(score), choose(sample.true)
            if estimated is not None and true is not None:
                pairs.setdefault("all", []).append((estimated, true))
                if sample.column is not None:
                    pairs.setdefault(sample.column, []).append((estimated, true))
        return {
            column: compare_estimates(*zip(*found, strict=True))
            for column, found in sorted(pairs.items(), key=lambda item: (item[0] == "all", item[0]))
        }


def _fit(samples: Sequence[_Sample]) -> float | None:
    return fit_trust(
        [sample.evidence for sample in samples],
        [sample.true for sample in samples],
        [sample.weight for sample in samples],
    )
