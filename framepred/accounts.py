"""What filling did, as its report: gap by gap, and frame by frame how good it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .confidence import GapEvidence, estimate_score
from .insertion import SoundChoice
from .reports import (
    AdaptationReport,
    FillReport,
    GapReport,
    InsertionReport,
    MadeFrameReport,
    Seconds,
)
from .scanning import ScanReport
from .scoring import Score, mean_score
from .timeline import Plan, PlannedGap
from .video import Graft

if TYPE_CHECKING:
    from .predictor import Predictor

__all__ = ["GapScores", "report_fill", "report_frames"]


@dataclass
class GapScores:
    """What the scores of the frames made for one gap rest on: hidden frames, and a truth."""

    evidence: GapEvidence
    true: dict[int, Score] = field(default_factory=dict)  # by slot
    kept: dict[int, float] = field(default_factory=dict)  # by slot: the share of a damaged picture


def report_fill(
    scanned: ScanReport,
    output: Path | None,
    seconds: Seconds,
    *,
    scores: Sequence[GapScores] = (),
    n_made: int = 0,
    n_streams: int | None = None,
    left_out: tuple[str, ...] = (),
    predictor: Predictor | None = None,
    adaptation: AdaptationReport | None = None,
    moves: SoundChoice | None = None,
    graft: Graft | None = None,
    n_halvings: int = 0,
    n_resumed: int = 0,
    dry_run: bool = False,
    is_copy: bool = False,
) -> FillReport:
    """Put together what is known when a video is filled, or planned to be.

    n_halvings: of the predictor's tiles, before this video.
    """
    plan = scanned.plan
    found: Sequence[GapScores | None] = scores or [None] * len(plan.gaps)
    made = [planned.gap for planned in plan.gaps if planned.action != "leave"] if n_made else []
    n_replaced = sum(
        slot.source is not None for gap in made for slot in plan.slots[gap.start : gap.stop]
    )
    return FillReport(
        input=scanned.info.path,
        output=output,
        frames_in=scanned.n_frames,
        frames_made=n_made,
        frames_replaced=n_replaced,
        frame_rate=None if plan.step is None else 1 / plan.step,
        gaps=tuple(
            _report_gap(planned, plan, score)
            for planned, score in zip(plan.gaps, found, strict=True)
        ),
        decode_errors=scanned.n_errors,
        streams_copied=n_streams,
        streams_left_out=left_out,
        model=None if predictor is None else predictor.name,
        device=None if predictor is None else predictor.device,
        adaptation=adaptation,
        dry_run=dry_run,
        seconds=seconds,
        copied=None if graft is None else graft.report(),
        drops=scanned.drops,
        inserted=None
        if moves is None
        else InsertionReport(
            places=tuple(since for since, _ in scanned.delay.steps),
            seconds=scanned.delay.total,
            sound_moved=moves.is_moved,
            reason=moves.reason,
        ),
        tile_px=None if predictor is None else predictor.tiling.side,
        tile_halvings=0 if predictor is None else predictor.tiling.n_halvings - n_halvings,
        motion_halvings=0 if predictor is None else predictor.tiling.n_motion_halvings,
        windows_resumed=n_resumed,
        is_copy=is_copy,
    )


def _report_gap(planned: PlannedGap, plan: Plan, scores: GapScores | None) -> GapReport:
    shows_before = planned.action in ("fill", "forecast", "split")
    shows_after = planned.action in ("fill", "backcast", "split")
    frames = report_frames(planned, plan, scores) if scores else ()
    estimated = mean_score([Score(frame.estimated_psnr, frame.estimated_ssim) for frame in frames])
    true = mean_score([Score(frame.psnr, frame.ssim) for frame in frames])
    return GapReport(
        start=planned.gap.start,
        stop=planned.gap.stop,
        time=plan.slots[planned.gap.start].time,
        kind=planned.gap.kind,
        action=planned.action,
        reason=planned.reason,
        context_before=planned.n_before if shows_before else 0,
        context_after=planned.n_after if shows_after else 0,
        estimated_psnr=estimated.psnr,
        estimated_ssim=estimated.ssim,
        psnr=true.psnr,
        ssim=true.ssim,
        frames=frames,
    )


def report_frames(
    planned: PlannedGap, plan: Plan, scores: GapScores
) -> tuple[MadeFrameReport, ...]:
    """What is known of each frame that was made for a gap, in order."""
    frames = []
    for slot in range(planned.gap.start, planned.gap.stop) if planned.action != "leave" else ():
        evidence = scores.evidence.weigh(slot)
        estimated = estimate_score(evidence) if evidence else Score(None, None)
        true = scores.true.get(slot, Score(None, None))
        frames.append(
            MadeFrameReport(
                time=plan.slots[slot].time,
                estimated_psnr=estimated.psnr,
                estimated_ssim=estimated.ssim,
                psnr=true.psnr,
                ssim=true.ssim,
                check_psnr=evidence.check.psnr if evidence else None,
                check_ssim=evidence.check.ssim if evidence else None,
                calmer=evidence.calmer if evidence else None,
                kept=scores.kept.get(slot),
            )
        )
    return tuple(frames)
