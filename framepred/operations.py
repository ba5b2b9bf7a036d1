"""How much work the network has with a frame: its multiply-adds and parameters, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from .predictor import Predictor
from .reports import Report

__all__ = [
    "CONTEXT",
    "GAPS",
    "Count",
    "CountReport",
    "choose_width",
    "count_operations",
    "count_parameters",
    "read_gmac",
]

GAPS = (1, 4)  # missing frames
CONTEXT = 4  # known frames on each side of a gap


@dataclass(frozen=True)
class Count(Report):
    """The network's work for one frame of a gap with four known frames on each side."""

    height: int
    width: int
    n_missing: int
    gmac_per_frame: float  # 10^9 multiply-adds of convolutions and matrix products


@dataclass(frozen=True)
class CountReport(Report):
    """What ``count_operations`` counted."""

    model: str
    parameters: int
    counts: tuple[Count, ...]


def choose_width(height: int) -> int:
    """The width that goes with a height in 16:9, a multiple of 16: 256 -> 448, 720 -> 1280."""
    return height * 16 // 9 // 16 * 16


def count_operations(predictor: Predictor, *, heights: Sequence[int] = (256, 1080)) -> CountReport:
    """Count the network's multiply-adds for gaps of 1 and 4 frames at each height.

    Nothing is computed: shapes alone go through the network, so that any size can be counted.
    """
    counts = []
    for height in heights:
        width = choose_width(height)
        for n_missing in GAPS:
            with (
                FakeTensorMode(allow_non_fake_inputs=True),
                torch.inference_mode(),
                FlopCounterMode(display=False) as counter,
            ):
                side = torch.empty(1, CONTEXT, 3, height, width, device=predictor.device)
                predictor.model(side, side, n_missing)
            counts.append(Count(height, width, n_missing, read_gmac(counter) / n_missing))
    return CountReport(predictor.name, count_parameters(predictor), tuple(counts))


def read_gmac(counter: FlopCounterMode) -> float:
    """10^9 multiply-adds; the counter takes each for two operations."""
    return counter.get_total_flops() / 2e9


def count_parameters(predictor: Predictor) -> int:
    return sum(parameter.numel() for parameter in predictor.model.parameters())
