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
from collections.abc import Callable, Sequence
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
from .processes import join_processes
from .protocol import Score, Task, Window, average_scores, score_window, space_windows
from .reports import OnProgress, Plain, Progress, to_plain

__all__ = ["TrainConfig", "TrainReport", "train"]

MODEL_FILE = "model.safetensors"
LOG_FILE = "log.jsonl"

_REPORT_EVERY = 50  # steps
_SAVE_AFTER = 120  # seconds

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
    processes: int
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
    cell: str | None = None,
    resume: bool = False,
    device: str = "auto",
    cache_gb: float = 12.0,
    on_progress: OnProgress = None,
    on_event: OnEvent = None,
) -> TrainReport:
    """Train or fine-tune the network on videos; writes the run into the folder ``out``.

    clips: video files and folders of them. validation: other videos to choose by; without it
    every tenth video is held out. initial: weights to start from (a packaged name or a file);
    None starts from scratch. cell: of the network, see ``cells.parse_cell``; default that of
    ``initial``, or "lstm". resume: go on with the run in ``out``, from its last state, which is
    at most two minutes old. on_event receives a dict for every line of the log.

    A loss or gradient that is not finite stops the run, on CUDA at the next report at the latest;
    the weights do not learn from it, and what was saved is sound.

    When the schedule or the lease is over, the state is saved and the averaged weights are scored:
    that comes on top of the lease.

    Started by ``torchrun``, several processes train together, each on a device of its own and with
    ``batch_size`` windows a step; all must see the same files. Only the first of them writes,
    scores, and calls ``on_progress`` and ``on_event``.

    Raises TrainingError, ModelError or MediaError.
    """
    began = time.monotonic()
    config.check()
    folder = Path(out)
    with join_processes(device) as processes:
        if not processes.is_first:
            on_progress = on_event = None
        with processes.together():
            if (folder / STATE_FILE).exists() and not resume:
                raise TrainingError(
                    f"{folder} holds a run already: resume it, or choose another folder"
                )
            if resume and not (folder / STATE_FILE).exists():
                raise TrainingError(f"no run to resume in {folder}: start one without --resume")
            chosen = choose_device(processes.device)
            torch.manual_seed(config.seed)
            model = _build_model(initial, cell)
            material = _Material.prepare(
                clips,
                validation,
                n_validation=config.n_validation if processes.is_first else 0,
                max_bytes=int(cache_gb * 2**30),
                device=chosen,
                on_progress=on_progress,
            )
        learner = Learner(model, config, chosen, processes=processes)
        session = _Session(began, folder, material, learner, on_progress, on_event)
        session.begin(resume=resume)
        with processes.orderly():
            session.work()
        return session.finish()


@dataclass(frozen=True)
class _Material:
    """What is learnt from, and what is scored on."""

    library: ClipLibrary  # on the device
    n_held_out: int  # videos
    reference: _Validation

    @classmethod
    def prepare(
        cls,
        clips: Sequence[str | Path],
        validation: Sequence[str | Path] | None,
        *,
        n_validation: int,
        max_bytes: int,
        device: torch.device,
        on_progress: OnProgress,
    ) -> _Material:
        learned = find_videos(clips)
        if validation is not None:
            held_out = find_videos(validation)
        else:
            held_out = learned[::10] if len(learned) >= 10 else []
            learned = [path for path in learned if path not in set(held_out)]
        library = load_clips(learned, max_bytes=max_bytes, on_progress=on_progress)
        reference = _Validation((), {})
        if n_validation:
            reference = _Validation.prepare(held_out or learned[:1], n_validation)
        return cls(library.to(device), len(held_out), reference)


class _Session:
    """One sitting of a run, in one process; all processes call the same methods in this order."""

    def __init__(
        self,
        began: float,
        folder: Path,
        material: _Material,
        learner: Learner,
        on_progress: OnProgress,
        on_event: OnEvent,
    ) -> None:
        self.began = began
        self.folder = folder
        self.learner = learner
        self.config = config = learner.config
        self.processes = learner.processes
        self.device = learner.device
        self.precision = choose_precision(learner.device)
        self.material = material
        self.sampler = ClipSampler(
            material.library,
            batch_size=config.batch_size,
            crop=config.crop,
            max_gap=config.max_gap,
            forecast_share=config.forecast_share,
            generator=learner.windows,
            situation_generator=learner.generator,
        )
        self.pace = Pace(self.device)
        self.recent: deque[Tensor] = deque(maxlen=_REPORT_EVERY)  # losses
        self.on_progress = on_progress
        self.log = _Log(folder, on_event)

    def begin(self, *, resume: bool) -> None:
        """Take up the stored state, or store the first one."""
        if resume:
            with self.processes.together():
                self.learner.restore(self.folder)
        library = self.material.library
        self._tell(
            "start",
            lease_minutes=self.config.lease_minutes,
            clips=len(library.clips),
            frames=library.n_frames,
            frames_left_out=library.n_frames_left_out,
            problems=list(library.problems),
            held_out=self.material.n_held_out,
            device=str(self.device),
            precision=str(self.precision).removeprefix("torch."),
            processes=self.processes.count,
            baselines=self.material.reference.baselines,
        )
        if not resume:
            self.learner.save(self.folder)  # from now on there is something to resume

    def work(self) -> None:
        """Take steps until the schedule or the lease is over."""
        learner, config = self.learner, self.config
        self.pace = Pace(self.device)
        saved = time.monotonic()
        while True:
            now = time.monotonic()
            # Clocks differ, and so may what is due by them: it goes by the first process's.
            learner.seconds, lasted, unsaved = self.processes.follow_first(
                learner.seconds, now - self.began, now - saved
            )
            if unsaved > _SAVE_AFTER:
                learner.save(self.folder)
                saved = now
            lease = config.lease_minutes
            if learner.is_done() or (lease is not None and lasted >= 60 * lease):
                return
            rate = self._take_step()
            if self.on_progress:
                self.on_progress(_tell_progress(learner))
            if learner.step % _REPORT_EVERY == 0:
                self._tell(
                    "step",
                    loss=round(self._average_loss(), 5),
                    learning_rate=rate,
                    minutes=round(learner.seconds / 60, 2),
                    **self.pace.read_recent().as_dict(),
                    gpu_gb=_read_gpu_memory(self.device),
                )
            if learner.step % config.validate_every == 0 and not learner.is_done():
                self._score()

    def finish(self) -> TrainReport:
        """Save, score, and say what it all came to."""
        learner, library = self.learner, self.material.library
        rates = self.pace.read_session()
        learner.save(self.folder)
        self._tell("stop", finished=learner.is_done(), **rates.as_dict())
        loss = self._average_loss() if self.recent else None
        return TrainReport(
            model=self.folder / MODEL_FILE,
            steps=learner.step,
            finished=learner.is_done(),
            samples=self._count_samples(),
            minutes=learner.seconds / 60,
            loss=loss,
            samples_per_second=rates.samples_per_second,
            frames_per_second=rates.frames_per_second,
            busy_share=rates.busy_share,
            device=str(self.device),
            precision=str(self.precision).removeprefix("torch."),
            processes=self.processes.count,
            clips=len(library.clips),
            frames=library.n_frames,
            frames_left_out=library.n_frames_left_out,
            problems=library.problems,
            validation={"model": self._score(), "baselines": self.material.reference.baselines},
        )

    def _take_step(self) -> float:
        """Draw a batch and learn from it; returns the learning rate."""
        learner = self.learner
        moment = time.monotonic()
        batch = self.sampler.draw()
        n_missing = batch.situation.n_missing
        steps = _choose_targets(n_missing, self.config.n_targets, learner.generator)
        rate = learner.set_rate()
        n_samples = batch.frames.shape[0] * self.processes.count
        with self.pace.measure(n_samples=n_samples, n_frames=n_samples * batch.frames.shape[1]):
            self.recent.append(learner.learn(batch, steps, self.precision))
        if learner.step % _REPORT_EVERY == 0:
            learner.check()
        learner.seconds += time.monotonic() - moment
        return rate

    def _average_loss(self) -> float:
        """Over the last steps and all processes."""
        mine = torch.stack(list(self.recent)).mean().cpu()
        return float(torch.stack(self.processes.gather(mine)).mean())

    def _count_samples(self) -> int:
        return self.learner.step * self.config.batch_size * self.processes.count

    def _tell(self, event: str, **facts: Any) -> None:
        """A line of the log."""
        with self.processes.together():
            if self.processes.is_first:
                place = {"step": self.learner.step, "n_steps": self.config.n_steps}
                self.log.write({"event": event, **place, **facts})

    def _score(self) -> dict[str, Any]:
        """Score the averaged weights and write them to disk."""
        learner = self.learner
        learner.check()
        scores: dict[str, Any] = {}
        with self.processes.together():
            if self.processes.is_first:
                scores = self.material.reference.score(learner.build_predictor())
                facts = {
                    "steps": learner.step,
                    "samples": self._count_samples(),
                    "minutes": round(learner.seconds / 60, 1),
                    "clips": len(self.material.library.clips),
                    "frames": self.material.library.n_frames,
                    "config": dataclasses.asdict(self.config),
                    "validation": scores,
                }
                save_model(self.folder / MODEL_FILE, learner.averaged, learner.model.config, facts)
        self._tell("validate", **scores)
        return scores


def _build_model(initial: str | Path | None, cell: str | None) -> FramePredictor:
    if initial is None:
        try:
            return FramePredictor(ModelConfig() if cell is None else ModelConfig(cell=cell))
        except ValueError as error:
            raise TrainingError(str(error)) from error
    model, _ = load_model(initial)
    if cell not in (None, model.config.cell):
        raise TrainingError(
            f"the weights {initial} are of a network with the cell {model.config.cell!r}, not "
            f"{cell!r}: leave one of the two out"
        )
    return model


def _choose_targets(n_missing: int, n_targets: int, generator: torch.Generator) -> list[int]:
    """Which of the hidden frames are decoded this time, 1-based and ascending."""
    order = torch.randperm(n_missing, generator=generator)[:n_targets]
    return sorted(int(k) + 1 for k in order)


def _tell_progress(run: Learner) -> Progress:
    if run.config.n_steps is not None:
        return Progress("train", run.step, run.config.n_steps)
    assert run.config.max_minutes is not None
    return Progress("train", int(run.seconds), int(60 * run.config.max_minutes))


def _read_gpu_memory(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    return round(torch.cuda.max_memory_allocated(device) / 2**30, 2)


class _Log:
    """Appends events to the run's log, one JSON object a line."""

    def __init__(self, folder: Path, on_event: OnEvent) -> None:
        self._path = folder / LOG_FILE
        self._on_event = on_event

    def write(self, event: dict[str, Any]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
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
