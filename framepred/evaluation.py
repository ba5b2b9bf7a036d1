"""Score the network beside methods that need no learning, on the same hidden frames.

Clips are taken one after the other, so that memory holds one of them at a time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .baselines import FILL_BASELINES, FORECAST_BASELINES, SLOW_BASELINES, Method
from .clips import find_videos
from .errors import EvaluationError
from .predictor import Predictor
from .protocol import (
    FILL_GAPS,
    FORECAST_STEPS,
    Frames,
    Score,
    Task,
    Window,
    average_scores,
    load_windows,
    score_window,
    space_windows,
)
from .reports import OnProgress, Plain, Progress, to_plain
from .video import open_rgb_frames

__all__ = ["EvaluationReport", "MethodScore", "TaskReport", "evaluate"]


@dataclass(frozen=True)
class MethodScore:
    """What one method scores: mean PSNR (dB) and SSIM by gap length or forecast step."""

    method: str
    psnr: dict[int, float]
    ssim: dict[int, float | None]
    seconds_per_frame: float


@dataclass(frozen=True)
class TaskReport:
    """One table: ``fill`` by gap length, ``forecast`` by step; the model's row comes last."""

    task: Task
    columns: tuple[int, ...]
    n_windows: dict[int, int]
    methods: tuple[MethodScore, ...]


@dataclass(frozen=True)
class EvaluationReport:
    """Scores of one model and of the baselines on the same windows."""

    model: str
    device: str
    clips: int
    tasks: tuple[TaskReport, ...]
    problems: tuple[str, ...]
    seconds: float

    def as_dict(self) -> dict[str, Plain]:
        """Plain values for JSON."""
        plain = to_plain(self)
        assert isinstance(plain, dict)
        return plain


def evaluate(
    clips: Sequence[str | Path],
    *,
    predictor: Predictor | None = None,
    windows: str | Path | None = None,
    tasks: Sequence[Task] = ("fill", "forecast"),
    per_clip: int = 2,
    n_context: int | None = None,
    with_ssim: bool = True,
    with_slow: bool = False,
    on_progress: OnProgress = None,
) -> EvaluationReport:
    """Hide frames of clips, let the model and the baselines predict them, score each frame.

    clips: files and folders. predictor: default the packaged model. windows: a JSON file that
    fixes the windows; without it ``per_clip`` windows of each length are spread over each clip.
    n_context: show at most so many frames on each side. with_slow: also the baselines that take
    seconds a frame.

    Raises EvaluationError if no window fits, TrainingError or MediaError for unusable clips.
    """
    began = time.monotonic()
    predictor = predictor or Predictor.load()
    paths = find_videos(clips)
    planned = {task: load_windows(windows, task) for task in tasks} if windows else None
    if planned is not None:
        known = {path.name for path in paths}
        lacking = sorted({w.clip for listed in planned.values() for w in listed} - known)
        if lacking:
            raise EvaluationError(
                f"{windows} asks for {lacking[0]} (and {len(lacking) - 1} more), "
                "which is not among the clips given"
            )
        wanted = {w.clip for listed in planned.values() for w in listed}
        paths = [path for path in paths if path.name in wanted]

    ledgers = {task: _Ledger(task, predictor, with_slow) for task in tasks}
    problems: list[str] = []
    for index, path in enumerate(paths):
        if on_progress:
            on_progress(Progress("evaluate", index, len(paths)))
        images = list(open_rgb_frames(path))
        if len({image.shape for image in images}) > 1:
            problems.append(f"{path}: left out, the picture changes size midway")
            continue
        frames = np.stack(images) if images else np.zeros((0, 1, 1, 3), np.uint8)
        for task, ledger in ledgers.items():
            if planned is not None:
                chosen = [window for window in planned[task] if window.clip == path.name]
            else:
                chosen = space_windows(path.name, len(frames), task, per_clip=per_clip)
                if not chosen:
                    problems.append(f"{path}: {len(frames)} frames are too few to {task}")
            for window in chosen:
                ledger.add(_limit(window, n_context), frames, with_ssim=with_ssim)
    if on_progress:
        on_progress(Progress("evaluate", len(paths), len(paths)))
    empty = [task for task, ledger in ledgers.items() if not ledger.windows]
    if empty:
        reason = problems[0] if problems else "the list of windows is empty"
        raise EvaluationError(f"no window to {empty[0]}: {reason}")
    return EvaluationReport(
        model=predictor.name,
        device=predictor.device,
        clips=len(paths),
        tasks=tuple(ledger.report() for ledger in ledgers.values()),
        problems=tuple(problems),
        seconds=time.monotonic() - began,
    )


def _limit(window: Window, n_context: int | None) -> Window:
    if n_context is None or n_context >= window.n_context:
        return window
    return Window(window.clip, window.start, window.n_missing, n_context, window.task)


class _Ledger:
    """Collects the scores of one task, method by method."""

    def __init__(self, task: Task, predictor: Predictor, with_slow: bool) -> None:
        self.task = task
        baselines = FILL_BASELINES if task == "fill" else FORECAST_BASELINES
        self.methods: dict[str, Method] = {**baselines}
        if with_slow:
            self.methods |= SLOW_BASELINES[task]
        self.methods[f"framepred ({predictor.name})"] = predictor.fill  # type: ignore[assignment]
        self.windows: list[Window] = []
        self.scores: dict[str, list[Score]] = {name: [] for name in self.methods}
        self.seconds = dict.fromkeys(self.methods, 0.0)

    def add(self, window: Window, frames: Frames, *, with_ssim: bool) -> None:
        self.windows.append(window)
        for name, method in self.methods.items():
            seconds, score = score_window(window, frames, method, with_ssim=with_ssim)
            self.seconds[name] += seconds
            self.scores[name].append(score)

    def report(self) -> TaskReport:
        n_made = sum(window.n_missing for window in self.windows)
        methods = []
        columns: list[int] = []
        counts: dict[int, int] = {}
        for name, scores in self.scores.items():
            table = average_scores(self.windows, scores)
            order = FILL_GAPS if self.task == "fill" else FORECAST_STEPS
            columns = [key for key in order if key in table] + [k for k in table if k not in order]
            counts = {key: table[key][2] for key in columns}
            methods.append(
                MethodScore(
                    method=name,
                    psnr={key: table[key][0] for key in columns},
                    ssim={
                        key: None if math.isnan(table[key][1]) else table[key][1] for key in columns
                    },
                    seconds_per_frame=self.seconds[name] / n_made,
                )
            )
        return TaskReport(self.task, tuple(columns), counts, tuple(methods))
