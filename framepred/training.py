"""Learning: random situations from clips, both tasks in one run, resumable at any step.

A run lives in a folder: ``state.safetensors`` (everything needed to go on), ``model.safetensors``
(averaged weights, ready for ``--model``) and ``log.jsonl`` (what it cost and what it scored).
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .baselines import FILL_BASELINES, FORECAST_BASELINES, Method
from .checkpoint import load_model, load_state, save_model, save_state
from .clips import Batch, ClipLibrary, ClipSampler, find_videos, load_clips
from .errors import TrainingError
from .losses import LOSSES, compute_loss
from .model import FramePredictor, ModelConfig, arrange
from .predictor import Predictor, choose_device, choose_precision
from .protocol import Score, Task, Window, average_scores, score_window, space_windows
from .reports import OnProgress, Plain, Progress, to_plain

__all__ = ["TrainConfig", "TrainReport", "train"]

STATE_FILE = "state.safetensors"
MODEL_FILE = "model.safetensors"
LOG_FILE = "log.jsonl"

OnEvent = Callable[[dict[str, Any]], None] | None


@dataclass(frozen=True)
class TrainConfig:
    """How to learn; stored in the training state, so that a resumed run cannot drift from it."""

    n_steps: int | None = None  # length of the schedule in steps; None: max_minutes sets it
    max_minutes: float | None = None  # stop after this long in all (and, without n_steps, anneal)
    batch_size: int = 4  # windows a step
    crop: int = 224  # pixels, side of the square cut from each window
    max_gap: int = 8  # longest gap and horizon seen
    forecast_share: float = 0.3  # share of the steps that forecast instead of filling
    n_targets: int = 2  # hidden frames of a window that are decoded and scored, at random
    learning_rate: float = 4e-4  # peak; AdamW
    final_share: float = 0.02  # of the peak, where the cosine ends
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    clip_norm: float = 1.0  # gradients longer than this are shortened to it
    ema_decay: float = 0.999  # of the averaged weights that are validated and packaged
    losses: dict[str, float] = field(default_factory=lambda: {"laplacian": 1.0, "charbonnier": 1.0})
    seed: int = 1
    validate_every: int = 1000  # steps
    n_validation: int = 24  # windows of each task

    def check(self) -> None:
        """Raise TrainingError for values that cannot work."""
        if self.n_steps is None and self.max_minutes is None:
            raise TrainingError("say how long to train: a number of steps or of minutes")
        for name in (
            *("n_steps", "batch_size", "crop", "max_gap", "n_targets"),
            *("warmup_steps", "validate_every", "n_validation"),
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise TrainingError(f"{name} must be at least 1, got {value}")
        for name in ("max_minutes", "learning_rate", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise TrainingError(f"{name} must be above 0, got {value}")
        if not self.losses or not self.losses.keys() <= LOSSES.keys():
            raise TrainingError(f"losses are {', '.join(LOSSES)}; got {', '.join(self.losses)}")
        if not 0 <= self.forecast_share <= 1:
            raise TrainingError(f"forecast_share is a share of 1, got {self.forecast_share}")


@dataclass(frozen=True)
class TrainReport:
    """What a run came to."""

    model: Path
    steps: int
    samples: int
    minutes: float
    loss: float | None
    samples_per_second: float
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


class _Run:
    """Model, optimizer, averages and generators of one run, and their way to disk and back."""

    def __init__(self, model: FramePredictor, config: TrainConfig, device: torch.device) -> None:
        self.model = arrange(model, device).train()
        self.config = config
        self.device = device
        self.averaged = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=device.type == "cuda",
        )
        self.generator = torch.Generator().manual_seed(config.seed)
        self.step = 0
        self.seconds = 0.0  # spent on steps in all, over all sessions

    def progress(self) -> float:
        """Place in the schedule, 0 to 1."""
        if self.config.n_steps is not None:
            return self.step / self.config.n_steps
        assert self.config.max_minutes is not None
        return self.seconds / (60 * self.config.max_minutes)

    def is_done(self) -> bool:
        late = self.config.max_minutes is not None and (
            self.seconds >= 60 * self.config.max_minutes
        )
        return late or self.progress() >= 1

    def set_rate(self) -> float:
        """Warm up linearly, then fall along a cosine."""
        config = self.config
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self.progress())))
        share = config.final_share + (1 - config.final_share) * cosine
        rate = config.learning_rate * share * min(1.0, (self.step + 1) / config.warmup_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def learn(self, batch: Batch, steps: list[int], precision: torch.dtype) -> float:
        """One optimizer step; returns the loss.

        Raises TrainingError, and leaves the weights alone, if it or its gradient is not finite.
        """
        with torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16
        ):
            made = self.model(batch.before, batch.after, batch.situation.n_missing, steps=steps)
        truth = batch.missing[:, [k - 1 for k in steps]]
        loss = compute_loss(self.config.losses, made.flatten(0, 1), truth.flatten(0, 1))
        value = float(loss.detach())
        self._check_finite("loss", value)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        length = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self._check_finite("gradient", float(length))
        self.optimizer.step()
        self.step += 1
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                self.averaged[name].lerp_(parameter, 1 - decay)
        return value

    def _check_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"the {what} became {value} at step {self.step}: what was saved last is kept; "
                "begin a new run from its weights, with a lower learning rate"
            )

    def build_predictor(self) -> Predictor:
        """A predictor with the averaged weights."""
        model = FramePredictor(self.model.config)
        model.load_state_dict(self.averaged)
        return Predictor(model.eval(), name="training", device=self.device)

    def save(self, folder: Path) -> None:
        tensors: dict[str, Tensor] = {"generator": self.generator.get_state()}
        for name, parameter in self.model.named_parameters():
            tensors[f"model.{name}"] = parameter
            tensors[f"averaged.{name}"] = self.averaged[name]
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{name}.{key}"] = value
        facts = {
            "config": dataclasses.asdict(self.config),
            "model": dataclasses.asdict(self.model.config),
            "step": self.step,
            "seconds": self.seconds,
        }
        save_state(folder / STATE_FILE, tensors, facts)

    def restore(self, folder: Path) -> None:
        """Take up a stored state; TrainingError if it belongs to another kind of run."""
        stored = load_state(folder / STATE_FILE)
        free = ("n_steps", "max_minutes", "validate_every", "n_validation")
        now = {k: v for k, v in dataclasses.asdict(self.config).items() if k not in free}
        then = {k: v for k, v in stored.facts.get("config", {}).items() if k not in free}
        if now != then:
            differing = sorted(k for k in now.keys() | then.keys() if now.get(k) != then.get(k))
            raise TrainingError(
                f"the run in {folder} was started with another {', '.join(differing)}: "
                "resume with the same options, or start a new run elsewhere"
            )
        try:
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    parameter.copy_(stored.tensors[f"model.{name}"])
                    self.averaged[name].copy_(stored.tensors[f"averaged.{name}"])
                    prefix = f"optimizer.{name}."
                    state = {
                        key.removeprefix(prefix): value
                        for key, value in stored.tensors.items()
                        if key.startswith(prefix)
                    }
                    self.optimizer.state[parameter] = {
                        key: value if key == "step" else value.to(self.device)
                        for key, value in state.items()
                    }
            self.generator.set_state(stored.tensors["generator"])
            self.step = int(stored.facts["step"])
            self.seconds = float(stored.facts["seconds"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise TrainingError(
                f"the run in {folder} is of another network and cannot be resumed: {error}"
            ) from error


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

    Raises TrainingError, ModelError or MediaError.
    """
    config.check()
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
    run = _Run(model, config, chosen)
    if resume:
        run.restore(folder)
    sampler = ClipSampler(
        library.to(chosen),
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

    if not resume:
        run.save(folder)  # from now on there is something to resume
    began, first_step = time.monotonic(), run.step
    saved = time.monotonic()
    recent: list[float] = []
    n_frames = 0
    scores: dict[str, Any] = {}
    while not run.is_done():
        moment = time.monotonic()
        batch = sampler.draw()
        steps = _choose_targets(batch.situation.n_missing, config.n_targets, run.generator)
        rate = run.set_rate()
        recent.append(run.learn(batch, steps, precision))
        n_frames += batch.frames.shape[0] * batch.frames.shape[1]
        run.seconds += time.monotonic() - moment
        if on_progress:
            on_progress(_tell_progress(run))
        if run.step % 50 == 0:
            log.write(
                {
                    "event": "step",
                    "step": run.step,
                    "loss": round(float(np.mean(recent[-50:])), 5),
                    "learning_rate": rate,
                    "minutes": round(run.seconds / 60, 2),
                    "samples_per_second": round(
                        (run.step - first_step) * config.batch_size / (time.monotonic() - began), 2
                    ),
                    "frames_per_second": round(n_frames / (time.monotonic() - began), 1),
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
    scores = reference.score(run.build_predictor())
    log.write({"event": "validate", "step": run.step, **scores})
    _save_model(run, folder, library, scores)
    return TrainReport(
        model=folder / MODEL_FILE,
        steps=run.step,
        samples=run.step * config.batch_size,
        minutes=run.seconds / 60,
        loss=float(np.mean(recent[-50:])) if recent else None,
        samples_per_second=(run.step - first_step)
        * config.batch_size
        / max(time.monotonic() - began, 1e-9),
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


def _tell_progress(run: _Run) -> Progress:
    if run.config.n_steps is not None:
        return Progress("train", run.step, run.config.n_steps)
    assert run.config.max_minutes is not None
    return Progress("train", int(run.seconds), int(60 * run.config.max_minutes))


def _read_gpu_memory(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    return round(torch.cuda.max_memory_allocated(device) / 2**30, 2)


def _save_model(run: _Run, folder: Path, library: ClipLibrary, scores: dict[str, Any]) -> None:
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
