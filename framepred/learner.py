"""What learns: the network with its optimizer, averaged weights, schedule and random numbers.

A ``Learner`` knows nothing of clips, logs or clocks; it takes a step at a time, and goes to disk
and back whole.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from .checkpoint import Network, load_state, save_state
from .clips import Batch
from .compiling import compile_parts, explain_failures
from .errors import TrainingError
from .grids import choose_scale
from .losses import FLOW, LOSSES, compute_flow_error, compute_loss
from .model import FramePredictor, arrange
from .predictor import Predictor
from .processes import Processes
from .warping import rescale_flows

__all__ = ["PARTS", "STATE_FILE", "Learner", "TrainConfig"]

STATE_FILE = "state.safetensors"
# What may learn. "motion": only what says where points go; frames are made of the paths as they
# are, without the refinement, for a fraction of the time.
PARTS = ("all", "motion")

_SMALLEST_CROP = 16  # pixels
_SEED_STRIDE = 1_000_003  # between processes: far apart, lest a neighbouring seed be one of them


@dataclass(frozen=True)
class TrainConfig:
    """How to learn; stored in the training state, so that a resumed run cannot drift from it."""

    n_steps: int | None = None  # length of the schedule in steps; None: max_minutes is its length
    max_minutes: float | None = None  # with n_steps: the longest that this session may take steps
    batch_size: int = 4  # windows a step
    crop: int = 224  # pixels, side of the square cut from each window
    max_gap: int = 8  # longest gap and horizon seen
    forecast_share: float = 0.3  # share of the steps that forecast instead of filling
    shrink: float = 0.15  # share of the windows that show up to twice as much, shrunk
    scenes: float = 0.0  # share of the steps that learn from synthetic scenes instead of clips
    n_targets: int = 2  # hidden frames of a window that are decoded and scored, at random
    learning_rate: float = 4e-4  # peak; AdamW
    final_share: float = 0.02  # of the peak, where the cosine ends
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    clip_norm: float = 1.0  # gradients longer than this are shortened to it
    ema_decay: float = 0.999  # of the averaged weights that are validated and packaged
    part: str = "all"  # of the network, see ``PARTS``
    compile: bool = False  # the network's parts by torch.compile: minutes first, faster steps then
    losses: dict[str, float] = field(default_factory=lambda: {"laplacian": 1.0, "charbonnier": 1.0})
    seed: int = 1
    validate_every: int = 1000  # steps
    n_validation: int = 24  # windows of each task

    @property
    def lease_minutes(self) -> float | None:
        """How long one session may take steps; None: until the schedule ends."""
        return None if self.n_steps is None else self.max_minutes

    def check(self) -> None:
        """Raise TrainingError for values that cannot work."""
        if self.n_steps is None and self.max_minutes is None:
            raise TrainingError("say how long to train: a number of steps or of minutes")
        least = dict.fromkeys(
            (
                *("n_steps", "batch_size", "max_gap", "n_targets"),
                *("warmup_steps", "validate_every", "n_validation"),
            ),
            1,
        )
        for name, lowest in {**least, "crop": _SMALLEST_CROP}.items():
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise TrainingError(f"{name} must be at least {lowest}, got {value}")
        for name in ("max_minutes", "learning_rate", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise TrainingError(f"{name} must be above 0 and not endless, got {value}")
        if not self.losses.keys() & LOSSES.keys() or not self.losses.keys() <= {*LOSSES, FLOW}:
            raise TrainingError(
                f"losses are {', '.join(LOSSES)}, and {FLOW} beside them; "
                f"got {', '.join(self.losses) or 'none'}"
            )
        if FLOW in self.losses and not self.scenes:
            raise TrainingError(f"the loss {FLOW} needs synthetic scenes: their motion is known")
        if self.part not in PARTS:
            raise TrainingError(f"what learns is {' or '.join(PARTS)}, got {self.part!r}")
        for name in ("forecast_share", "shrink", "scenes"):
            if not 0 <= getattr(self, name) <= 1:
                raise TrainingError(f"{name} is a share of 1, got {getattr(self, name)}")


class Learner:
    """Network, optimizer, averages and generators of one run, and their way to disk and back.

    Of several processes each has its own, equal in all but ``windows``, the generator of what is
    not the same for all; ``generator`` is for what is. All must call the same methods in turn.

    ``deferred``: whether a loss or gradient that is not finite is only noticed by ``check``. On
    CUDA it is, because to ask for a number is to wait until the device has nothing left to do. The
    weights are safe all the same: the optimizer leaves out that step and all that follow.

    ``material``: what is learnt from, in numbers; a stored state is only taken up on the same.
    """

    def __init__(
        self,
        model: Network,
        config: TrainConfig,
        device: torch.device,
        *,
        deferred: bool | None = None,
        processes: Processes | None = None,
        material: Mapping[str, int] | None = None,
    ) -> None:
        self.processes = processes or Processes()
        self.model: Network = arrange(model, device).train()  # type: ignore[arg-type]
        if config.compile:
            if not isinstance(model, FramePredictor):
                raise TrainingError("only the network for videos can be compiled")
            compile_parts(model)
        if config.part == "motion":
            if not isinstance(model, FramePredictor):
                raise TrainingError("only the network for videos has a part for motion")
            model.confine_to_motion()
        self._network = self.processes.distribute(self.model, device)
        self.config = config
        self.material = dict(material or {})
        self.device = device
        self.deferred = device.type == "cuda" if deferred is None else deferred
        self.averaged = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=self.deferred,
        )
        self.generator = self.windows = torch.Generator().manual_seed(config.seed)
        if self.processes.count > 1:
            own_seed = config.seed + _SEED_STRIDE * (1 + self.processes.rank)
            self.windows = torch.Generator().manual_seed(own_seed)
        self.step = 0
        self.seconds = 0.0  # spent on steps in all, over all sessions
        self._unchecked: list[tuple[int, Tensor]] = []  # step; its loss and its gradient's length
        self._is_spoilt = torch.zeros((), device=device)  # 1: something was not finite

    def progress(self) -> float:
        """Place in the schedule, 0 to 1."""
        if self.config.n_steps is not None:
            return self.step / self.config.n_steps
        assert self.config.max_minutes is not None
        return self.seconds / (60 * self.config.max_minutes)

    def is_done(self) -> bool:
        """Whether the schedule is over."""
        return self.progress() >= 1

    def choose_targets(self, n_missing: int) -> list[int]:
        """Which of the hidden frames are decoded this time, 1-based and ascending."""
        order = torch.randperm(n_missing, generator=self.generator)[: self.config.n_targets]
        return sorted(int(k) + 1 for k in order)

    def set_rate(self) -> float:
        """Warm up linearly, then fall along a cosine."""
        config = self.config
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self.progress())))
        share = config.final_share + (1 - config.final_share) * cosine
        rate = config.learning_rate * share * min(1.0, (self.step + 1) / config.warmup_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def learn(self, batch: Batch, steps: list[int], precision: torch.dtype) -> Tensor:
        """One optimizer step; returns the loss, a scalar on the device.

        Leaves the weights alone if it or its gradient is not finite; unless ``deferred``, raises
        TrainingError then.
        """
        with explain_failures() if self.config.compile else nullcontext():
            loss = self._descend(batch, steps, precision)
        length = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self._unchecked.append((self.step, torch.stack((loss, length))))
        if self.deferred:
            is_bad = ~(loss.isfinite() & length.isfinite())
            self._is_spoilt = torch.maximum(self._is_spoilt, is_bad.float())
            self.processes.spread_largest(self._is_spoilt)
            # What GradScaler tells an optimizer: with 1 it leaves everything as it is.
            self.optimizer.found_inf = self._is_spoilt  # type: ignore[attr-defined]
        else:
            self.check()
        self.optimizer.step()
        self.step += 1
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.averaged.values()), list(self.model.parameters()), 1 - decay
            )
        return loss

    def _descend(self, batch: Batch, steps: list[int], precision: torch.dtype) -> Tensor:
        """The loss of a batch; its gradient is with the parameters then."""
        weights = dict(self.config.losses)
        flow_weight = weights.pop(FLOW, 0.0)
        knows_flow = flow_weight > 0 and batch.scene is not None
        with (
            _observe(self.model, knows_flow) as flows,
            torch.autocast(
                self.device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16
            ),
        ):
            made = self._network(batch.before, batch.after, batch.situation.n_missing, steps=steps)
        truth = torch.stack([batch.missing[:, k - 1] for k in steps], 1)
        loss = compute_loss(weights, made.flatten(0, 1), truth.flatten(0, 1))
        if knows_flow:
            loss = loss + flow_weight * _compare_flows(batch, steps, flows)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return loss.detach()

    def check(self) -> None:
        """Wait for the device; TrainingError if a loss or a gradient so far was not finite."""
        unchecked, self._unchecked = self._unchecked, []
        if not unchecked:
            return
        values = torch.stack([pair for _, pair in unchecked]).tolist()
        with self.processes.together():
            for (step, _), pair in zip(unchecked, values, strict=True):
                for what, value in zip(("loss", "gradient"), pair, strict=True):
                    if not math.isfinite(value):
                        raise TrainingError(
                            f"the {what} became {value} at step {step}: what was saved last is "
                            "kept; begin a new run from its weights, with a lower learning rate"
                        )

    def build_network(self) -> Network:
        """A network with the averaged weights, if they are sound; TrainingError if not."""
        self.check()
        network = copy.deepcopy(self.model)
        network.load_state_dict(self.averaged)
        return network.eval()

    def build_predictor(self) -> Predictor:
        """Likewise a predictor of videos."""
        network = self.build_network()
        assert isinstance(network, FramePredictor)
        return Predictor(network, name="training", device=self.device)

    def save(self, folder: Path) -> None:
        """Write the state of all processes, if it is sound; TrainingError if it is not."""
        self.check()
        tensors: dict[str, Tensor] = {"generator": self.generator.get_state()}
        if self.processes.count > 1:
            states = self.processes.gather(self.windows.get_state())
            tensors |= {f"windows.{rank}": state for rank, state in enumerate(states)}
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
            "processes": self.processes.count,
            "material": self.material,
        }
        with self.processes.together():
            if self.processes.is_first:
                save_state(folder / STATE_FILE, tensors, facts)

    def restore(self, folder: Path) -> None:
        """Take up a stored state; TrainingError if it belongs to another kind of run."""
        stored = load_state(folder / STATE_FILE)
        count = stored.facts.get("processes", 1)
        if count != self.processes.count:
            raise TrainingError(
                f"the run in {folder} is one of {count} process(es), not {self.processes.count}: "
                f"resume it with torchrun --nproc-per-node {count}, or start a new run elsewhere"
            )
        free = ("n_steps", "max_minutes", "validate_every", "n_validation")
        now = dataclasses.asdict(self.config)
        # An older state lacks the options that came later: it was made with their defaults.
        config = stored.facts.get("config", {})
        if not isinstance(config, dict):
            raise TrainingError(f"the run in {folder} has no options stored; start a new run")
        then = dataclasses.asdict(TrainConfig()) | config
        names = (now.keys() | then.keys()) - set(free)
        differing = sorted(name for name in names if now.get(name) != then.get(name))
        if differing:
            raise TrainingError(
                f"the run in {folder} was started with another {', '.join(differing)}: "
                "resume with the same options, or start a new run elsewhere"
            )
        material = stored.facts.get("material", self.material)  # older states have none
        if material != self.material:
            raise TrainingError(
                f"the run in {folder} learnt from {_tell(material)}, and these are "
                f"{_tell(self.material)}: resume with the same videos, --validation and "
                "--cache-gb, or start a new run elsewhere from its weights (--initial)"
            )
        fused = self.optimizer.defaults["fused"]
        try:
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    for kept, kind in ((parameter, "model"), (self.averaged[name], "averaged")):
                        kept.copy_(_check_like(kept, stored.tensors[f"{kind}.{name}"], name))
                    prefix = f"optimizer.{name}."
                    state = {
                        key.removeprefix(prefix): value
                        for key, value in stored.tensors.items()
                        if key.startswith(prefix)
                    }
                    moments = {}
                    for key, value in state.items():
                        if key == "step":
                            _check_like(value, value, f"{key} of {name}")
                            # A fused optimizer counts on the device, others on the CPU.
                            moments[key] = value.to(self.device if fused else "cpu")
                        else:
                            # Laid out in memory as the parameter is: a file knows of no layouts,
                            # and a fused optimizer on CUDA takes no two.
                            _check_like(parameter, value, f"{key} of {name}")
                            moments[key] = torch.empty_like(parameter).copy_(value)
                    self.optimizer.state[parameter] = moments
            self.generator.set_state(stored.tensors["generator"])
            if count > 1:
                self.windows.set_state(stored.tensors[f"windows.{self.processes.rank}"])
            self.step = int(stored.facts["step"])
            self.seconds = float(stored.facts["seconds"])
            if self.step < 0 or not (0 <= self.seconds < math.inf):
                raise ValueError(f"step {self.step} after {self.seconds} s")
        except (KeyError, RuntimeError, ValueError, TypeError, OverflowError) as error:
            raise TrainingError(
                f"the run in {folder} is of another network and cannot be resumed: {error}"
            ) from error


def _tell(material: object) -> str:
    """Counts for people, whoever wrote them."""
    counts = material.items() if isinstance(material, dict) else ()
    return ", ".join(f"{str(n)[:12]} {str(name)[:12]}" for name, n in counts) or "nothing"


def _check_like(like: Tensor, stored: Tensor, name: str) -> Tensor:
    """A stored tensor, if it can take the place of another; else ValueError."""
    if stored.shape != like.shape or not bool(torch.isfinite(stored).all()):
        raise ValueError(f"tensor {name} is of another shape or not finite")
    return stored


@contextmanager
def _observe(network: Network, wanted: bool) -> Iterator[list[Tensor]]:
    """The flows of the frames that are made in this block, if they are wanted."""
    flows: list[Tensor] = []
    if not wanted:
        yield flows
        return
    assert isinstance(network, FramePredictor)
    network.observer = flows.append
    try:
        yield flows
    finally:
        network.observer = None


def _compare_flows(batch: Batch, steps: list[int], flows: list[Tensor]) -> Tensor:
    """Endpoint error of the flows that the network found, (B, 4, h, w) for each step."""
    assert batch.scene is not None
    situation = batch.situation
    first = situation.n_before  # of the missing ones
    two = first + situation.n_missing if situation.n_after else max(first - 2, 0)
    pairs = [(first + k - 1, source) for k in steps for source in (first - 1, two)]
    truth, seen = batch.scene.trace(pairs)
    height, width = batch.frames.shape[-2:]
    pixel = 2 * choose_scale(height, width)  # of the network's grid, which may be padded
    made = torch.stack(flows, 1).flatten(0, 1).float()  # (B * steps, 4, h, w)
    made = rescale_flows(made, (pixel * made.shape[-2], pixel * made.shape[-1]))
    made = made[..., :height, :width].unflatten(1, (2, 2)).flatten(0, 1)
    return compute_flow_error(made, truth.flatten(0, 1), seen.flatten(0, 1))
