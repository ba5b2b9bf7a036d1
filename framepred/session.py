"""A sitting of a training: steps until the schedule or the lease is over, saved, scored, logged.

A run lives in a folder: ``state.safetensors`` (everything needed to go on), ``model.safetensors``
(averaged weights, ready for ``--model``) and ``log.jsonl`` (what it cost and what it scored). One
schedule may be spread over several sessions: each has a lease, and goes on where the last one
stopped. What is learnt from is a ``Source``'s business.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from .checkpoint import Network, save_model
from .clips import Batch
from .errors import TrainingError
from .learner import STATE_FILE, Learner, TrainConfig
from .outputs import check_new_folder, translate_errors
from .pace import Pace
from .predictor import choose_device, choose_precision
from .processes import join_processes
from .reports import OnProgress, Plain, Progress, to_plain

__all__ = ["OnEvent", "Sampler", "Source", "TrainReport", "hold_session"]

MODEL_FILE = "model.safetensors"
LOG_FILE = "log.jsonl"

_MATERIAL = ("clips", "frames", "digits")  # counts that are equal in all processes
_REPORT_EVERY = 50  # steps
_SAVE_AFTER = 120  # seconds

OnEvent = Callable[[dict[str, Any]], None] | None
Scores = dict[str, Any]  # table -> column -> score


class Sampler(Protocol):
    """Endless batches."""

    def draw(self) -> Batch:
        """The next one, on the device."""
        ...


class Source(Protocol):
    """What is learnt from, and what is scored on."""

    @property
    def facts(self) -> dict[str, Any]:
        """What there is to learn from, for the report and the log."""
        ...

    @property
    def baselines(self) -> dict[str, Scores]:
        """What methods without learning score: table -> method -> column -> score."""
        ...

    def open(self, learner: Learner) -> Sampler:
        """Batches drawn by the learner's generators."""
        ...

    def score(self, learner: Learner) -> Scores:
        """What the averaged weights score."""
        ...


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
    source: dict[str, Any]  # what was learnt from
    validation: dict[str, Any]

    def as_dict(self) -> dict[str, Plain]:
        """Plain values for JSON, what was learnt from among the others."""
        plain = to_plain(self)
        assert isinstance(plain, dict)
        source = plain.pop("source")
        assert isinstance(source, dict)
        return plain | source


def hold_session(
    out: str | Path,
    config: TrainConfig,
    *,
    build: Callable[[], Network],
    gather: Callable[[torch.device, bool], Source],
    resume: bool,
    device: str,
    on_progress: OnProgress,
    on_event: OnEvent,
) -> TrainReport:
    """Begin or resume the run in the folder ``out``; return when the schedule or lease is over.

    build: makes the network, freshly seeded. gather: makes the source for a device; it is told
    whether this process is the first, which alone scores.

    Raises TrainingError, ModelError or OutputError, and what the two callables raise.
    """
    began = time.monotonic()
    config.check()
    folder = Path(out)
    with join_processes(device) as processes:
        with processes.together():
            if (folder / STATE_FILE).exists() and not resume:
                raise TrainingError(
                    f"{folder} holds a run already: resume it, or choose another folder"
                )
            if resume and not (folder / STATE_FILE).exists():
                raise TrainingError(f"no run to resume in {folder}: start one without --resume")
            check_new_folder(folder)
            chosen = choose_device(processes.device)
            torch.manual_seed(config.seed)
            network = build()
            source = gather(chosen, processes.is_first)
        material = {name: n for name, n in source.facts.items() if name in _MATERIAL}
        learner = Learner(network, config, chosen, processes=processes, material=material)
        if not processes.is_first:
            on_progress = on_event = None
        session = _Session(began, folder, source, learner, on_progress, on_event)
        session.begin(resume=resume)
        with processes.orderly():
            session.work()
        return session.finish()


class _Session:
    """One sitting of a run, in one process; all processes call the same methods in this order."""

    def __init__(
        self,
        began: float,
        folder: Path,
        source: Source,
        learner: Learner,
        on_progress: OnProgress,
        on_event: OnEvent,
    ) -> None:
        self.began = began
        self.folder = folder
        self.learner = learner
        self.config = learner.config
        self.processes = learner.processes
        self.device = learner.device
        self.precision = choose_precision(learner.device)
        self.source = source
        self.sampler = source.open(learner)
        self.pace = Pace(self.device)
        self.recent: deque[Tensor] = deque(maxlen=_REPORT_EVERY)  # losses
        self.on_progress = on_progress
        self.log = _Log(folder, on_event)

    def begin(self, *, resume: bool) -> None:
        """Take up the stored state, or store the first one."""
        if resume:
            with self.processes.together():
                self.learner.restore(self.folder)
        self._tell(
            "start",
            lease_minutes=self.config.lease_minutes,
            **self.source.facts,
            device=str(self.device),
            precision=str(self.precision).removeprefix("torch."),
            processes=self.processes.count,
            baselines=self.source.baselines,
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
        learner = self.learner
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
            source=self.source.facts,
            validation={"model": self._score(), "baselines": self.source.baselines},
        )

    def _take_step(self) -> float:
        """Draw a batch and learn from it; returns the learning rate."""
        learner = self.learner
        moment = time.monotonic()
        batch = self.sampler.draw()
        steps = learner.choose_targets(batch.situation.n_missing)
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
                scores = self.source.score(learner)
                facts = {
                    "steps": learner.step,
                    "samples": self._count_samples(),
                    "minutes": round(learner.seconds / 60, 1),
                    # Counts alone: names of files are nobody else's business.
                    **{k: v for k, v in self.source.facts.items() if isinstance(v, int)},
                    "config": dataclasses.asdict(self.config),
                    "validation": scores,
                }
                save_model(self.folder / MODEL_FILE, learner.averaged, learner.model.config, facts)
        self._tell("validate", **scores)
        return scores


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
        with translate_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")
        if self._on_event:
            self._on_event(event)
