"""Moving MNIST, the ring in which recurrent forecasters are compared: learn, score, show.

Ten frames are seen and ten are forecast. The published tables are measured on one file of 10,000
sequences, which is not used here: ours are made of MNIST's *test* digits by the same generator,
with a fixed seed. What is learnt from are its training digits, all but the last twelfth (5,000): of
these are the sequences that are scored while learning.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .checkpoint import load_network
from .clips import Batch
from .digits import SIDE, MovingDigits, read_digits
from .errors import ModelError, TrainingError
from .learner import Learner, TrainConfig
from .metrics import HIGHEST_PSNR
from .model import arrange
from .predictor import choose_device, choose_precision
from .reports import OnProgress, Progress, Report
from .session import OnEvent, TrainReport, hold_session
from .stack import PixelForecaster, StackConfig

__all__ = [
    "N_TEST",
    "DigitScores",
    "DigitsReport",
    "Strip",
    "choose_config",
    "choose_network",
    "compute_ssim",
    "evaluate",
    "measure",
    "train",
]

N_TEST = 10_000  # sequences
_DEFAULTS = TrainConfig(
    batch_size=32,
    crop=SIDE,
    max_gap=10,  # frames that are forecast
    forecast_share=1.0,
    n_targets=10,  # all of them
    learning_rate=1e-3,
    warmup_steps=100,
    weight_decay=0.0,
    losses={"mse": 1.0},
    n_validation=100,
)

# 64 pixels are 16 points, which four halvings make one.
_FEATURES: dict[str, Any] = {"n_halvings": 4, "n_hidden": 512, "n_layers": 2, "cell": "lstm"}
_N_FRAMES = 10  # seen, and forecast
_HELD_OUT_OF = 12  # training digits one is held out
_TEST_SEED, _VALIDATION_SEED = 20_150, 20_151  # of the sequences, whatever a run's own seed is
_AT_ONCE = 50  # sequences
_BASELINE = "repeat-last"


def choose_config(**changes: Any) -> TrainConfig:
    """How to learn moving digits: what has proved good, but for the fields that are given."""
    return replace(_DEFAULTS, **changes)


def choose_network(*, features: bool = False, **sizes: Any) -> StackConfig:
    """Likewise the network's sizes; None for a field is its default.

    features: each frame becomes one vector, by convolutions, and what lives on these is a plain
    cell.
    """
    chosen = {name: value for name, value in sizes.items() if value is not None}
    if features:
        chosen = _FEATURES | chosen
        if "kernel" not in chosen["cell"]:
            chosen["cell"] += "+kernel1"  # there is nothing beside a single point
    return StackConfig(**chosen)


@dataclass(frozen=True)
class DigitScores:
    """What one method scores, by step from 1 to 10: means over the sequences.

    The squared and absolute errors are summed over a frame's pixels, of frames in [0, 1] that are
    not clipped; the other scores are of clipped ones. SSIM looks through 7x7 even windows; in
    published tables it is the one with a range of 2, which is higher.
    """

    method: str
    mse: dict[int, float]
    mae: dict[int, float]
    psnr: dict[int, float]  # dB, the mean over frames
    ssim: dict[int, float]
    ssim_of_range_2: dict[int, float]

    def average(self) -> dict[str, float]:
        """Every score over all steps."""
        tables = {name: getattr(self, name) for name in _SCORES}
        return {name: sum(table.values()) / len(table) for name, table in tables.items()}


_SCORES = ("mse", "mae", "psnr", "ssim", "ssim_of_range_2")


@dataclass(frozen=True)
class DigitsReport(Report):
    """Scores of one network, and of the last frame repeated, on the same sequences."""

    model: str
    device: str
    precision: str
    sequences: int
    methods: tuple[DigitScores, ...]
    sequences_per_second: float  # forecast by the network, the making of their digits left out
    seconds: float


@dataclass(frozen=True)
class Strip:
    """A few sequences to look at: (N, T, 64, 64) uint8 each, T frames seen, true and made."""

    seen: np.ndarray
    true: np.ndarray
    made: np.ndarray


def train(
    folder: str | Path,
    out: str | Path,
    *,
    config: TrainConfig,
    network: StackConfig | None = None,
    resume: bool = False,
    device: str = "auto",
    on_progress: OnProgress = None,
    on_event: OnEvent = None,
) -> TrainReport:
    """Train a ``PixelForecaster`` on moving digits; writes the run into the folder ``out``.

    folder: of the MNIST files. config, network: see ``choose_config`` and ``choose_network``.
    Resuming, leases, several processes and errors are as in
    ``training.train``; everything is made and learnt on the device.

    Raises TrainingError, ModelError or MediaError.
    """

    def build() -> PixelForecaster:
        try:
            made = PixelForecaster(network)
        except ValueError as error:
            raise TrainingError(str(error)) from error
        if SIDE % made.config.multiple:
            raise TrainingError(
                f"a patch of {made.config.patch}, halved {made.config.n_halvings} times, does not "
                f"divide {SIDE} pixels"
            )
        return made

    def gather(chosen: torch.device, is_first: bool) -> _Digits:
        digits = read_digits(folder, "train").to(chosen)
        return _Digits(digits, config.n_validation if is_first else 0)

    return hold_session(
        out,
        config,
        build=build,
        gather=gather,
        resume=resume,
        device=device,
        on_progress=on_progress,
        on_event=on_event,
    )


class _Digits:
    """The training digits on the device: most to learn from, the last ones to score on."""

    def __init__(self, digits: Tensor, n_validation: int) -> None:
        n_held_out = len(digits) // _HELD_OUT_OF
        if not n_held_out:
            raise TrainingError(
                f"{len(digits)} digits are too few: one of {_HELD_OUT_OF} is held out"
            )
        self.learnt, self.held_out = digits[:-n_held_out], digits[-n_held_out:]
        self.n_validation = n_validation
        self.baselines: dict[str, dict[str, Any]] = {}
        if n_validation:
            tally = _Tally(with_ssim=False)
            for batch in self._validation():
                tally.add(_repeat_last(batch), batch.missing)
            self.baselines = {
                name: {_BASELINE: table} for name, table in self._tabulate(tally).items()
            }

    @property
    def facts(self) -> dict[str, Any]:
        return {"digits": len(self.learnt), "held_out": len(self.held_out)}

    def open(self, learner: Learner) -> MovingDigits:
        return MovingDigits(
            self.learnt,
            batch_size=learner.config.batch_size,
            generator=learner.windows,
            n_before=_N_FRAMES,
            n_missing=learner.config.max_gap,
        )

    def score(self, learner: Learner) -> dict[str, Any]:
        network = learner.build_network()
        assert isinstance(network, PixelForecaster)
        tally = _Tally(with_ssim=False)
        for batch in self._validation():
            tally.add(_forecast(network, batch), batch.missing)
        return self._tabulate(tally)

    def _validation(self) -> Iterator[Batch]:
        return _draw_fixed(self.held_out, _VALIDATION_SEED).take(self.n_validation)

    def _tabulate(self, tally: _Tally) -> dict[str, dict[str, float]]:
        scores = tally.read()
        return {
            name: {
                "mean": round(sum(scores[name].values()) / len(scores[name]), 3),
                **{f"step {k}": round(value, 3) for k, value in scores[name].items()},
            }
            for name in ("mse", "psnr")
        }


def evaluate(
    folder: str | Path,
    model: str | Path,
    *,
    n_sequences: int = N_TEST,
    n_shown: int = 4,
    device: str = "auto",
    on_progress: OnProgress = None,
) -> tuple[DigitsReport, Strip]:
    """Score a network, and the last frame repeated, on the fixed test sequences.

    folder: of the MNIST files. model: a weights file that ``train`` wrote. n_sequences: the first
    so many of the 10,000. n_shown: how many of them to return as pictures.

    Raises MediaError or ModelError.
    """
    began = time.monotonic()
    chosen = choose_device(device)
    network, _ = load_network(model, PixelForecaster)
    if network.config.n_channels != 1 or SIDE % network.config.multiple:
        raise ModelError(
            f"weights {model} are not for pictures of one channel and {SIDE}x{SIDE} pixels"
        )
    arrange(network, chosen)  # type: ignore[arg-type]
    source = _draw_fixed(read_digits(folder, "test").to(chosen), _TEST_SEED)
    ours, repeated = _Tally(), _Tally()
    shown: list[tuple[np.ndarray, ...]] = []
    n_done, spent = 0, 0.0
    for batch in source.take(n_sequences):
        if on_progress:
            on_progress(Progress("evaluate", n_done, n_sequences))
        moment = time.monotonic()
        made = _forecast(network, batch)
        if chosen.type == "cuda":
            torch.cuda.synchronize(chosen)
        spent += time.monotonic() - moment
        ours.add(made, batch.missing)
        repeated.add(_repeat_last(batch), batch.missing)
        if n_done < n_shown:
            parts = (batch.before, batch.missing, made)
            shown.append(tuple(_to_pixels(part[: n_shown - n_done]) for part in parts))
        n_done += len(made)
    if on_progress:
        on_progress(Progress("evaluate", n_done, n_sequences))
    report = DigitsReport(
        model=str(model),
        device=str(chosen),
        precision=str(choose_precision(chosen)).removeprefix("torch."),
        sequences=n_done,
        methods=(
            DigitScores(_BASELINE, **repeated.read()),
            DigitScores(f"framepred ({model})", **ours.read()),
        ),
        sequences_per_second=n_done / max(spent, 1e-9),
        seconds=time.monotonic() - began,
    )
    return report, Strip(*(np.concatenate(part) for part in zip(*shown, strict=True)))


def _draw_fixed(digits: Tensor, seed: int) -> MovingDigits:
    """The same sequences at every call."""
    generator = torch.Generator().manual_seed(seed)
    return MovingDigits(
        digits,
        batch_size=_AT_ONCE,
        generator=generator,
        n_before=_N_FRAMES,
        n_missing=_N_FRAMES,
    )


def _forecast(network: PixelForecaster, batch: Batch) -> Tensor:
    device = batch.frames.device
    precision = choose_precision(device)
    with (
        torch.inference_mode(),
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16),
    ):
        made: Tensor = network(batch.before, None, batch.missing.shape[1])
    return made.float()


def _repeat_last(batch: Batch) -> Tensor:
    return batch.before[:, -1:].expand_as(batch.missing)


def _to_pixels(frames: Tensor) -> np.ndarray:
    pixels = (frames[:, :, 0].clamp(0, 1) * 255).round().byte()
    return pixels.cpu().numpy()


class _Tally:
    """Adds up scores batch by batch, where the pictures are."""

    def __init__(self, *, with_ssim: bool = True) -> None:
        self.with_ssim = with_ssim
        self.n = 0
        self.sums: Tensor | None = None  # (scores, steps) float64

    def add(self, made: Tensor, truth: Tensor) -> None:
        """Score frames (B, T, 1, H, W)."""
        if made.device.type == "mps":  # which has no float64
            made, truth = made.cpu(), truth.cpu()
        sums = measure(made, truth, with_ssim=self.with_ssim).sum(1)
        self.sums = sums if self.sums is None else self.sums + sums
        self.n += len(made)

    def read(self) -> dict[str, dict[int, float]]:
        """Means by score and step."""
        assert self.sums is not None
        rows = (self.sums / self.n).tolist()
        return {name: dict(enumerate(row, 1)) for name, row in zip(_SCORES, rows, strict=False)}


def measure(made: Tensor, truth: Tensor, *, with_ssim: bool = True) -> Tensor:
    """Scores of every frame, as in ``DigitScores``: (B, T, C, H, W) twice -> (5, B, T) float64.

    Without SSIM they are three.
    """
    made, truth = made.double(), truth.double()
    errors = made - truth
    clipped = made.clamp(0, 1)
    mean_squared = (clipped - truth).square().mean((2, 3, 4))
    scores = [
        errors.square().sum((2, 3, 4)),
        errors.abs().sum((2, 3, 4)),
        (-10 * mean_squared.log10()).clamp_max(HIGHEST_PSNR),
    ]
    if with_ssim:
        scores += [compute_ssim(clipped, truth, data_range=peak) for peak in (1.0, 2.0)]
    return torch.stack(scores)


def compute_ssim(made: Tensor, truth: Tensor, *, data_range: float) -> Tensor:
    """Structural similarity (Wang et al., 2004) of frames, (B, T, C, H, W) twice -> (B, T).

    The same as scikit-image's with its 7x7 even window, one call for all frames instead of one
    for each.
    """
    n = 7 * 7

    def smooth(images: Tensor) -> Tensor:
        return F.avg_pool2d(images.flatten(0, 1), 7, stride=1)

    mean_a, mean_b = smooth(made), smooth(truth)
    unbiased = n / (n - 1)
    var_a = unbiased * (smooth(made * made) - mean_a * mean_a)
    var_b = unbiased * (smooth(truth * truth) - mean_b * mean_b)
    both = unbiased * (smooth(made * truth) - mean_a * mean_b)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * both + c2) / (var_a + var_b + c2)
    similarity: Tensor = (luminance * structure).mean((1, 2, 3)).unflatten(0, made.shape[:2])
    return similarity
