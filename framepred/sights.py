"""What is looked at in frames, features and flows, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .grids import read_size
from .layers import Levels
from .motion import estimate_flows
from .recall import Recall

__all__ = ["Memory", "find_features", "find_flows"]

_PIXELS = 2**20  # of the pictures whose flow is estimated at once: bounds the memory


@dataclass(frozen=True)
class Memory:
    """Features and flows of frames seen before, and the names of the frames at hand.

    names: one for each frame given, those before and then those after, in display order; equal
    only for equal frames.
    """

    names: tuple[Hashable, ...]
    features: Recall
    flows: Recall

    def forget(self) -> None:
        """Give up what is known of all frames."""
        self.features.clear()
        self.flows.clear()


def find_features(
    extract: Callable[[Tensor], Levels],
    frames: Tensor,
    positions: Sequence[int],
    memory: Memory | None,
) -> dict[int, Levels]:
    """Features of some of the frames (B, T, 3, H, W), by position; (B, C, h, w) at each level.

    extract: (N, 3, H, W) -> the same of N frames. A position may stand twice.
    """
    wanted = sorted(set(positions))

    def look(some: Sequence[int]) -> list[Levels]:
        levels = extract(torch.stack([frames[:, k] for k in some], 1).flatten(0, 1))
        shape = (len(frames), len(some))
        apart = (level.unflatten(0, shape).unbind(1) for level in levels)
        return list(zip(*apart, strict=True))

    if memory is None:
        return dict(zip(wanted, look(wanted), strict=True))
    keys = [(read_size(frames), memory.names[k]) for k in wanted]
    found = memory.features.look_up(keys, lambda lacking: look([wanted[i] for i in lacking]))
    return {k: (half, quarter) for k, (half, quarter) in zip(wanted, found, strict=True)}


def find_flows(
    gray: Tensor,
    exact: Sequence[tuple[int, int]],
    rough: Sequence[tuple[int, int]],
    memory: Memory | None,
) -> dict[tuple[int, int], Tensor]:
    """Parameter-free flows between pairs of frames (B, T, 1, H, W): (B, 2, h, w) for each pair.

    exact: the pairs whose flow is to be fine; rough: those for which less will do.
    """
    pairs = [*exact, *rough]
    if not pairs:
        return {}

    def look(some: Sequence[int]) -> list[Tensor]:
        n_at_once = max(1, _PIXELS // gray[:, 0].numel())
        flows: list[Tensor] = []
        for start in range(0, len(some), n_at_once):
            now = some[start : start + n_at_once]
            flows += _estimate(gray, [pairs[i] for i in now], sum(i < len(exact) for i in now))
        return flows

    if memory is None:
        return dict(zip(pairs, look(range(len(pairs))), strict=True))
    size, names = read_size(gray), memory.names
    keys = [(size, i < len(exact), names[a], names[b]) for i, (a, b) in enumerate(pairs)]
    found = memory.flows.look_up(keys, lambda lacking: [(flow,) for flow in look(lacking)])
    return {pair: flow for pair, (flow,) in zip(pairs, found, strict=True)}


def _estimate(gray: Tensor, pairs: Sequence[tuple[int, int]], n_fine: int) -> list[Tensor]:
    """Flows of pairs, the first ``n_fine`` of them fine, in all sequences of a batch."""
    n_batch = len(gray)
    used = sorted({k for pair in pairs for k in pair})  # most are known, if much is remembered
    place = {k: i * n_batch for i, k in enumerate(used)}
    apart = [(place[a] + k, place[b] + k) for a, b in pairs for k in range(n_batch)]
    pictures = torch.cat([gray[:, k] for k in used])
    with torch.no_grad(), torch.autocast(gray.device.type, enabled=False):
        kinds = estimate_flows(pictures, apart, n_fine=n_fine * n_batch)
    return [flow for kind in kinds if len(kind) for flow in kind.split(n_batch)]
