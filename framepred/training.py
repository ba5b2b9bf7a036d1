"""Learning: random situations from clips, both tasks in one run, resumable at any step.

A run lives in a folder: ``state.safetensors`` (everything needed to go on), ``model.safetensors``
(averaged weights, ready for ``--model``) and ``log.jsonl`` (what it cost and what it scored). One
schedule may be spread over several sessions: each has a lease, and goes on where the last one
stopped.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .baselines import FILL_BASELINES, FORECAST_BASELINES, Method
from .checkpoint import load_model, save_model
from .clips import ClipLibrary, ClipSampler, find_videos, load_clips
from .errors import TrainingError
from .learner import STATE_FILE, Learner, TrainConfig
from .model import FramePredictor, ModelConfig
from .pace import Pace
from .predictor import Predictor, choose_device, choose_precision
from .protocol import Score, Task, Window, average_scores, score_window, space_windows
from .reports import OnProgress, Plain, Progress, to_plain

__all__ = ["TrainConfig", "TrainReport", "train"]

MODEL_FILE = "model.safetensors"
LOG_FILE = "log.jsonl"

_REPORT_EVERY = 50  # steps

OnEvent = Callable[[dict[str, Any]], None] | None


@dataclass(frozen=True)
class TrainReport:
    """What a run came to."""

    model: Path
    steps: int  # in all sessions
    finished: bool  # False: the lease ended before the schedule
    samples: int
    minutes: float
    loss: float | None
    samples_per_second: float  # this and the next two: of this session
    frames_per_second: float
    busy_share: float  # see ``pace.Rates``
    device: str
    precision: str
    clips: int
    frames: int
    frames_left_out: int
    problems: tuple[str, ...]
    validation: dict[str, Any]

    def as_dict(self) -> dict[str, Plain]:
        plain = to_plain(self)
        assert isinstance(plain, dict)
        return plain


def train(
    clips: Sequence[str | Path],
    out: str | Path,
    *,
    config: TrainConfig,
    validation: Sequence[str | Path] | None = None,
    initial: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    cache_gb: float = 12.0,
    on_progress: OnProgress = None,
    on_event: OnEvent = None,
) -> TrainReport:
    """Train or fine-tune the network on videos; writes the run into the folder ``out``.

    clips: video files and folders of them. validation: other videos to choose by; without it
    every tenth video is held out. initial: weights to start from (a packaged name or a file);
    None starts from scratch. resume: go on with the run in ``out``, from its last state, which is
    at most two minutes old. on_event receives a dict for every line of the log.

    A loss or gradient that is not finite stops the run, on CUDA at the next report at the latest;
    the weights do not learn from it, and what was saved is sound.

    When the schedule or the lease is over, the state is saved and the averaged weights are scored:
    that comes on top of the lease.

    Raises TrainingError, ModelError or MediaError.
    """
    config.check()
    session = time.monotonic()
    folder = Path(out)
    if (folder / STATE_FILE).exists() and not resume:
        raise TrainingError(f"{folder} holds a run already: resume it, or choose another folder")
    if resume and not (folder / STATE_FILE).exists():
        raise TrainingError(f"no run to resume in {folder}: start one without --resume")
    chosen = choose_device(device)
    precision = choose_precision(chosen)

    paths = find_videos(clips)
    if validation is None:
        held_out = paths[::10] if len(paths) >= 10 else []
        learned = [path for path in paths if path not in set(held_out)]
    else:
        held_out, learned = find_videos(validation), paths
    library = load_clips(learned, max_bytes=int(cache_gb * 2**30), on_progress=on_progress)
    reference = _Validation.prepare(held_out or learned[:1], config.n_validation)

    torch.manual_seed(config.seed)
    model = load_model(initial)[0].train() if initial is not None else FramePredictor(ModelConfig())
    run = Learner(model, config, chosen)
    if resume:
        run.restore(folder)
    library = library.to(chosen)
    sampler = ClipSampler(
        library,
        batch_size=config.batch_size,
        crop=config.crop,
        max_gap=config.max_gap,
        forecast_share=config.forecast_share,
        generator=run.generator,
    )
    log = _Log(folder, on_event)
    log.write(
        {
            "event": "start",
            "step": run.step,
            "n_steps": config.n_steps,
            "lease_minutes": config.lease_minutes,
            "clips": len(library.clips),
            "frames": library.n_frames,
            "frames_left_out": library.n_frames_left_out,
            "problems": list(library.problems),
            "held_out": len(held_out),
            "device": str(chosen),
            "precision": str(precision).removeprefix("torch."),
            "baselines": reference.baselines,
        }
    )

    def is_over() -> bool:
        lease = config.lease_minutes
        return lease is not None and time.monotonic() - session >= 60 * lease

    if not resume:
        run.save(folder)  # from now on there is something to resume
    pace = Pace(chosen)
    saved = time.monotonic()
    recent: deque[Tensor] = deque(maxlen=_REPORT_EVERY)
    scores: dict[str, Any] = {}
    while not (run.is_done() or is_over()):
        moment = time.monotonic()
        batch = sampler.draw()
        steps = _choose_targets(batch.situation.n_missing, config.n_targets, run.generator)
        rate = run.set_rate()
        n_samples, n_frames = batch.frames.shape[:2]
        with pace.measure(n_samples=n_samples, n_frames=n_samples * n_frames):
            recent.append(run.learn(batch, steps, precision))
        if run.step % _REPORT_EVERY == 0:
            run.check()
        run.seconds += time.monotonic() - moment
        if on_progress:
            on_progress(_tell_progress(run))
        if run.step % _REPORT_EVERY == 0:
            log.write(
                {
                    "event": "step",
                    "step": run.step,
                    "loss": round(_average(recent), 5),
                    "learning_rate": rate,
                    "minutes": round(run.seconds / 60, 2),
                    **pace.read_recent().as_dict(),
                    "gpu_gb": _read_gpu_memory(chosen),
                }
            )
        if run.step % config.validate_every == 0 and not run.is_done():
            scores = reference.score(run.build_predictor())
            log.write({"event": "validate", "step": run.step, **scores})
            _save_model(run, folder, library, scores)
        if time.monotonic() - saved > 120:
            run.save(folder)
            saved = time.monotonic()
    run.save(folder)
    rates = pace.read_session()
    log.write(
        {
            "event": "stop",
            "step": run.step,
            "n_steps": config.n_steps,
            "finished": run.is_done(),
            **rates.as_dict(),
        }
    )
    scores = reference.score(run.build_predictor())
    log.write({"event": "validate", "step": run.step, **scores})
    _save_model(run, folder, library, scores)
    return TrainReport(
        model=folder / MODEL_FILE,
        steps=run.step,
        finished=run.is_done(),
        samples=run.step * config.batch_size,
        minutes=run.seconds / 60,
        loss=_average(recent) if recent else None,
        samples_per_second=rates.samples_per_second,
        frames_per_second=rates.frames_per_second,
        busy_share=rates.busy_share,
        device=str(chosen),
        precision=str(precision).removeprefix("torch."),
        clips=len(library.clips),
        frames=library.n_frames,
        frames_left_out=library.n_frames_left_out,
        problems=library.problems,
        validation={"model": scores, "baselines": reference.baselines},
    )


def _choose_targets(n_missing: int, n_targets: int, generator: torch.Generator) -> list[int]:
    """Which of the hidden frames are decoded this time, 1-based and ascending."""
    order = torch.randperm(n_missing, generator=generator)[:n_targets]
    return sorted(int(k) + 1 for k in order)


def _average(losses: Iterable[Tensor]) -> float:
    return float(torch.stack(list(losses)).mean())


def _tell_progress(run: Learner) -> Progress:
    if run.config.n_steps is not None:
        return Progress("train", run.step, run.config.n_steps)
    assert run.config.max_minutes is not None
    return Progress("train", int(run.seconds), int(60 * run.config.max_minutes))


def _read_gpu_memory(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    return round(torch.cuda.max_memory_allocated(device) / 2**30, 2)


def _save_model(run: Learner, folder: Path, library: ClipLibrary, scores: dict[str, Any]) -> None:
    facts = {
        "steps": run.step,
        "samples": run.step * run.config.batch_size,
        "minutes": round(run.seconds / 60, 1),
        "clips": len(library.clips),
        "frames": library.n_frames,
        "config": dataclasses.asdict(run.config),
        "validation": scores,
    }
    save_model(folder / MODEL_FILE, run.averaged, run.model.config, facts)


class _Log:
    """Appends events to the run's log, one JSON object a line."""

    def __init__(self, folder: Path, on_event: OnEvent) -> None:
        self._path = folder / LOG_FILE
        self._on_event = on_event
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"cannot write {folder}: {error.strerror or error}") from error

    def write(self, event: dict[str, Any]) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")
        except OSError as error:
            reason = error.strerror or error
            raise TrainingError(f"cannot write {self._path}: {reason}") from error
        if self._on_event:
            self._on_event(event)


@dataclass(frozen=True)
class _Validation:
    """A few windows held in memory, and what the baselines score on them."""

    windows: tuple[tuple[Window, np.ndarray], ...]
    baselines: dict[str, dict[str, dict[int, float]]]

    @classmethod
    def prepare(cls, paths: Sequence[Path], n_windows: int) -> _Validation:
        library = load_clips(paths, max_bytes=2**31)
        chosen: list[tuple[Window, np.ndarray]] = []
        tasks: tuple[Task, ...] = ("fill", "forecast")
        for task in tasks:
            spaced = [
                (window, clip.frames.permute(0, 2, 3, 1).numpy())
                for clip in library.clips
                for window in space_windows(clip.path.name, len(clip.frames), task, per_clip=1)
            ]
            every = max(1, math.ceil(len(spaced) / n_windows))
            # A step that shares no factor with the four gap lengths reaches all of them.
            chosen += spaced[:: every + (every % 2 == 0)]
        windows = tuple((window, frames) for window, frames in chosen)
        empty = cls(windows, {})
        baselines = {
            name: empty.score_method("fill", method) for name, method in FILL_BASELINES.items()
        }
        forecasts = {
            name: empty.score_method("forecast", method)
            for name, method in FORECAST_BASELINES.items()
        }
        return cls(windows, {"fill": baselines, "forecast": forecasts})

    def score_method(self, task: Task, method: Method) -> dict[int, float]:
        """Mean PSNR by gap length or forecast step."""
        windows = [window for window, _ in self.windows if window.task == task]
        scores: list[Score] = [
            score_window(window, frames, method, with_ssim=False)[1]
            for window, frames in self.windows
            if window.task == task
        ]
        table = average_scores(windows, scores)
        return {key: round(row[0], 3) for key, row in table.items()}

    def score(self, predictor: Predictor) -> dict[str, Any]:
        method: Method = predictor.fill  # type: ignore[assignment]
        return {
            "fill": self.score_method("fill", method),
            "forecast": self.score_method("forecast", method),
        }
