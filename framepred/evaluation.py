"""Score the network beside methods that need no learning, on the same hidden frames.

Clips are taken one after the other, so that memory holds one of them at a time.
"""

from __future__ import annotations

import copy
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from .baselines import (
    CLASSICAL_BASELINES,
    FILL_BASELINES,
    FORECAST_BASELINES,
    SLOW_BASELINES,
    Method,
)
from .calibration import ConfidenceLedger, ConfidenceReport
from .clips import find_videos
from .errors import EvaluationError, MediaError
from .galleries import Gallery
from .model import FramePredictor
from .predictor import Predictor
from .protocol import (
    Frames,
    Task,
    Window,
    WindowScore,
    average_frames,
    average_scores,
    load_windows,
    score_window,
    space_windows,
)
from .reports import OnProgress, Progress, Report
from .video import open_rgb_frames

__all__ = ["EvaluationReport", "MethodScore", "Part", "Role", "TaskReport", "evaluate"]

Role = Literal["baseline", "model", "ablation", "futures"]
Part = Literal["state", "hidden", "context", "start", "refinement", "learning"]


@dataclass(frozen=True)
class MethodScore:
    """What one method scores: mean PSNR (dB) and SSIM by gap length or forecast step."""

    method: str
    role: Role
    n_context: int | None  # frames shown on each side; None: as many as the windows say
    psnr: dict[int, float]
    ssim: dict[int, float | None]
    seconds_per_frame: float
    # By the number of hidden frames, the same for the first, second, ... of them.
    psnr_by_frame: dict[int, tuple[float, ...]] = field(default_factory=dict)
    ssim_by_frame: dict[int, tuple[float | None, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskReport:
    """One table: ``fill`` by gap length, ``forecast`` by step; the model's rows come last."""

    task: Task
    columns: tuple[int, ...]
    n_windows: dict[int, int]
    n_short: dict[int, int]  # of these, windows without room for the longest context of a study
    methods: tuple[MethodScore, ...]
    confidence: ConfidenceReport | None  # of the estimates of fill-gaps; None: not asked for
    # Of several futures, in grey levels of 255: deviation over them, mean over all made pixels.
    diversity: float | None = None  # None: not asked for


@dataclass(frozen=True)
class EvaluationReport(Report):
    """Scores of one model and of the baselines on the same windows."""

    model: str
    device: str
    clips: int
    tasks: tuple[TaskReport, ...]
    problems: tuple[str, ...]
    seconds: float


def evaluate(
    clips: str | Path | Sequence[str | Path],
    *,
    predictor: Predictor | None = None,
    windows: str | Path | None = None,
    tasks: Sequence[Task] = ("fill", "forecast"),
    per_clip: int = 2,
    n_context: int | Sequence[int] | None = None,
    without: Sequence[Part] = (),
    with_ssim: bool = True,
    with_slow: bool = False,
    with_confidence: bool = False,
    n_samples: int = 0,
    seed: int = 1,
    gallery: Gallery | None = None,
    on_progress: OnProgress = None,
) -> EvaluationReport:
    """Hide frames of clips, let the model and the baselines predict them, score each frame.

    clips: files and folders. predictor: default the packaged model. windows: a JSON file that
    fixes the windows; without it ``per_clip`` windows of each length are spread over each clip.
    n_context: show at most so many frames on each side; several numbers are a study: a row of the
    model for each, on the same windows, with as many frames as asked for, or as the clip has there.
    without: parts of the network that a further row does without: the recurrent ``state`` (zero
    before every step), of it only the ConvLSTMs' (``hidden``), the ``context`` (one frame on each
    side), the ``start`` (no motion to begin with), the ``learning`` (fresh weights: the start
    alone). with_slow: also the baselines that take seconds a frame. with_confidence: also estimate
    every frame as ``fill_gaps`` does, from self-checks beside the window, and hold the estimates
    against the truth. n_samples: also draw so many futures of every forecast, by ``seed``, and
    score the best of them and their mean. gallery: keeps pictures of the model's hardest and
    easiest windows.

    Raises EvaluationError if no window fits or two clips of a list of windows have one name,
    TrainingError or MediaError for unusable clips, ValueError for arguments that mean nothing.
    """
    began = time.monotonic()
    _check(tasks=tasks, without=without, per_clip=per_clip, n_context=n_context)
    if n_samples < 0 or (n_samples and "forecast" not in tasks):
        raise ValueError(f"several futures are drawn of forecasts: got {n_samples} of {tasks}")
    predictor = predictor or Predictor.load()
    paths = find_videos(clips)
    planned = {task: load_windows(windows, task) for task in tasks} if windows else None
    if planned is not None:
        wanted = {w.clip for listed in planned.values() for w in listed}
        n_named = Counter(path.name for path in paths)
        for name in sorted(wanted):
            if name not in n_named:
                raise EvaluationError(
                    f"{windows} asks for {name}, which is not among the clips given"
                )
            if n_named[name] > 1:
                raise EvaluationError(
                    f"{windows} asks for {name}, and {n_named[name]} of the clips have this name: "
                    "give one of them"
                )
        paths = [path for path in paths if path.name in wanted]

    limit = n_context if isinstance(n_context, int) else None
    study = () if n_context is None or isinstance(n_context, int) else tuple(n_context)
    ledgers = {task: _Ledger(task, with_slow) for task in tasks}
    for ledger in ledgers.values():
        if with_confidence:
            ledger.confidence = ConfidenceLedger(predictor, with_ssim=with_ssim)
        ledger.add_model(predictor, study)
        ledger.gallery = gallery
    for part in dict.fromkeys(without):
        ablated = _ablate(predictor, part)
        for ledger in ledgers.values():
            ledger.add_ablation(ablated, part)
    if n_samples and "forecast" in ledgers:
        ledgers["forecast"].add_futures(predictor, n_samples, seed)
    problems: list[str] = []
    n_read = 0
    for index, path in enumerate(paths):
        if on_progress:
            on_progress(Progress("evaluate", index, len(paths)))
        try:
            images = list(open_rgb_frames(path))
        except MediaError as error:
            problems.append(f"{error}; left out")
            continue
        if len({image.shape for image in images}) > 1:
            problems.append(f"{path}: left out, the picture changes size midway")
            continue
        n_read += 1
        frames = np.stack(images) if images else np.zeros((0, 1, 1, 3), np.uint8)
        for task, ledger in ledgers.items():
            if planned is not None:
                chosen = [window for window in planned[task] if window.clip == path.name]
            else:
                chosen = space_windows(path.name, len(frames), task, per_clip=per_clip)
                if not chosen:
                    problems.append(f"{path}: {len(frames)} frames are too few to {task}")
            for window in chosen:
                ledger.add(_limit(window, limit), frames, with_ssim=with_ssim)
    if on_progress:
        on_progress(Progress("evaluate", len(paths), len(paths)))
    empty = [task for task, ledger in ledgers.items() if not ledger.windows]
    if empty:
        reason = problems[0] if problems else "the list of windows is empty"
        raise EvaluationError(f"no window to {empty[0]}: {reason}")
    return EvaluationReport(
        model=predictor.name,
        device=predictor.device,
        clips=n_read,
        tasks=tuple(ledger.report() for ledger in ledgers.values()),
        problems=tuple(problems),
        seconds=time.monotonic() - began,
    )


def _check(
    *,
    tasks: Sequence[Task],
    without: Sequence[Part],
    per_clip: int,
    n_context: int | Sequence[int] | None,
) -> None:
    """ValueError for what is no task, no part, or no number."""
    for given, known in ((tasks, get_args(Task)), (without, get_args(Part))):
        unknown = [name for name in given if name not in known]
        if unknown or isinstance(given, str):
            raise ValueError(f"choose several of {known}, got {given!r}")
    contexts = [n_context] if isinstance(n_context, int) else n_context or []
    if not tasks or min([per_clip, *contexts]) < 1:
        raise ValueError(
            f"give a task, and numbers from 1 on: got {tasks}, {per_clip} windows a clip, "
            f"context {n_context}"
        )


def _limit(window: Window, n_context: int | None) -> Window:
    if n_context is None or n_context >= window.n_context:
        return window
    return replace(window, n_context=n_context)


def _ablate(predictor: Predictor, part: Part) -> Predictor:
    """The same predictor without one part; the given one stays whole."""
    if part == "context":
        return predictor  # it is shown less, and nothing else changes
    if part == "learning":
        model = FramePredictor(predictor.model.config)
    else:
        model = copy.deepcopy(predictor.model)
        model.ablation = frozenset({part})
    return Predictor(model, name=predictor.name, device=torch.device(predictor.device))


@dataclass
class _Row:
    """One method, how much it is shown, and what it has scored so far."""

    name: str
    role: Role
    method: Method
    n_context: int | None = None
    scores: list[WindowScore] = field(default_factory=list)
    seconds: float = 0.0


def _remember(method: Method, made: list[Frames]) -> Method:
    """The same method, which puts what it makes into a list too."""

    def watch(before: Frames, after: Frames, n_frames: int) -> Frames:
        made.append(method(before, after, n_frames))
        return made[-1]

    return watch


class _Ledger:
    """Collects the scores of one task, method by method."""

    def __init__(self, task: Task, with_slow: bool) -> None:
        self.task = task
        baselines = FILL_BASELINES if task == "fill" else FORECAST_BASELINES
        baselines = baselines | CLASSICAL_BASELINES
        if with_slow:
            baselines = baselines | SLOW_BASELINES[task]
        self.rows = [_Row(name, "baseline", method) for name, method in baselines.items()]
        self.longest = 0  # context of the study
        self.windows: list[Window] = []
        self.short: list[Window] = []  # those without room for the longest context
        self.confidence: ConfidenceLedger | None = None
        self.futures: list[Predictor] = []
        self.drawn: tuple[_Row, ...] = ()  # the best of the futures, and their mean
        self.apart: list[float] = []  # diversity, by window
        self.gallery: Gallery | None = None

    def add_model(self, predictor: Predictor, study: Sequence[int]) -> None:
        name = f"framepred ({predictor.name})"
        fill: Method = predictor.fill  # type: ignore[assignment]
        self.rows += [_Row(f"{name}, context {n}", "model", fill, n) for n in study] or [
            _Row(name, "model", fill)
        ]
        self.longest = max(study, default=0)

    def add_ablation(self, ablated: Predictor, part: Part) -> None:
        fill: Method = ablated.fill  # type: ignore[assignment]
        n_context = 1 if part == "context" else None
        self.rows.append(_Row(f"framepred without {part}", "ablation", fill, n_context))

    def add_futures(self, predictor: Predictor, n_samples: int, seed: int) -> None:
        self.futures = [predictor.pick_future(k, seed=seed) for k in range(1, n_samples + 1)]
        self.drawn = tuple(
            _Row(f"framepred, {word} of {n_samples} futures", "futures", predictor.fill)  # type: ignore[arg-type]
            for word in ("best", "mean")
        )

    def _draw(self, window: Window, frames: Frames, *, with_ssim: bool) -> None:
        """Score every future; the best is the one with the highest mean PSNR over the window."""
        made: list[Frames] = []
        scores = []
        for future in self.futures:
            method = _remember(future.fill, made)  # type: ignore[arg-type]
            seconds, score = score_window(window, frames, method, with_ssim=with_ssim)
            scores.append(score)
            for row in self.drawn:
                row.seconds += seconds
        best, mean = self.drawn
        best.scores.append(max(scores, key=lambda score: sum(score.psnr)))
        mean.scores.append(
            WindowScore(
                psnr=tuple(float(np.mean(k)) for k in zip(*(s.psnr for s in scores), strict=True)),
                ssim=tuple(float(np.mean(k)) for k in zip(*(s.ssim for s in scores), strict=True)),
            )
        )
        self.apart.append(float(np.stack(made).std(0, dtype=np.float32).mean()))

    def add(self, window: Window, frames: Frames, *, with_ssim: bool) -> None:
        self.windows.append(window)
        if not replace(window, n_context=self.longest).has_room(len(frames)):
            self.short.append(window)
        first = next(row for row in self.rows if row.role == "model")
        for row in self.rows:
            shown = window if row.n_context is None else replace(window, n_context=row.n_context)
            made: list[Frames] = []
            method = row.method if row is not first else _remember(row.method, made)
            seconds, score = score_window(shown, frames, method, with_ssim=with_ssim)
            row.seconds += seconds
            row.scores.append(score)
            if row is first and self.gallery is not None:
                self.gallery.consider(shown, frames, made[0], score)
        if self.futures:
            self._draw(window, frames, with_ssim=with_ssim)
        if self.confidence is not None:
            self.confidence.add(window, frames)

    def report(self) -> TaskReport:
        n_made = sum(window.n_missing for window in self.windows)
        n_windows = _count_by_column(self.windows)
        n_short = _count_by_column(self.short)
        methods = []
        for row in (*self.rows, *self.drawn):
            table = average_scores(self.windows, row.scores)
            by_frame = average_frames(self.windows, row.scores)
            methods.append(
                MethodScore(
                    method=row.name,
                    role=row.role,
                    n_context=row.n_context,
                    psnr={column: psnr for column, (psnr, _, _) in table.items()},
                    ssim={
                        column: None if math.isnan(ssim) else ssim
                        for column, (_, ssim, _) in table.items()
                    },
                    seconds_per_frame=row.seconds / n_made,
                    psnr_by_frame={n: tuple(p for p, _ in pairs) for n, pairs in by_frame.items()},
                    ssim_by_frame={
                        n: tuple(None if math.isnan(s) else s for _, s in pairs)
                        for n, pairs in by_frame.items()
                    },
                )
            )
        return TaskReport(
            task=self.task,
            columns=tuple(n_windows),
            n_windows=n_windows,
            n_short={column: n_short.get(column, 0) for column in n_windows},
            methods=tuple(methods),
            confidence=self.confidence.report() if self.confidence is not None else None,
            diversity=float(np.mean(self.apart)) if len(self.futures) > 1 else None,
        )


def _count_by_column(windows: Sequence[Window]) -> dict[int, int]:
    """How many windows each column of the table stands for, in order."""
    return dict(sorted(Counter(c for window in windows for c in window.columns).items()))
