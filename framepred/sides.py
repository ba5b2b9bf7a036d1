"""What the network knows of one side of a gap, and where it says that the points there go.

The two sides of a gap, if as much is known of both, are one batch: half as many operations, each on
twice as much. The near side is the first half of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from .cells import State

__all__ = ["Path", "Side", "are_alike", "join", "meet", "swap"]


@dataclass(frozen=True)
class Side:
    """What is known on one side of the gap, all on the grid of its nearest frame."""

    seen: Tensor  # (B, seen, H/8, W/8) what the forecaster sees of the nearest frame
    flow: Tensor | None  # (B, 2, H/2, W/2) to the frame behind, if there is one
    state: State  # encoder state after the nearest frame
    speeds: tuple[Tensor, ...] | None  # (B, 2, H/2, W/2) a step: last, steady, lasting
    deviation: Tensor | None  # likewise, of the speed from what was foreseen, from 3 frames on


@dataclass(frozen=True)
class Path:
    """Where the points of a side's nearest frame are at one step, on that frame's grid."""

    travelled: Tensor  # (B, 2, H/2, W/2) displacement since that frame
    axes: tuple[Tensor, ...]  # likewise: what the displacement may be off by, see ``warp_spread``
    surprises: tuple[Tensor, ...]  # likewise, but no decoder corrects them
    view: Tensor  # (B, carried, H/8, W/8) what the decoder may see of the state


T = TypeVar("T", Side, Path)


def are_alike(one: Side, two: Side) -> bool:
    """Whether the same is known of two sides, so that they can be one batch."""
    return (one.flow is None, one.deviation is None) == (two.flow is None, two.deviation is None)


def join(one: T, two: T) -> T:
    """Both as one batch."""
    return _combine(lambda *parts: torch.cat(parts), one, two)


def swap(both: T) -> T:
    """The two halves of a batch in the other order."""
    return _combine(lambda part: torch.cat(part.chunk(2)[::-1]), both)


def meet(one: T, two: T) -> T:
    """The first half of one batch and the second half of another."""
    return _combine(lambda a, b: torch.cat((a.chunk(2)[0], b.chunk(2)[1])), one, two)


def _combine(how: Callable[..., Tensor], *wholes: T) -> T:
    """Make one of several: each of its tensors of theirs at the same place."""

    def combine(*parts: Any) -> Any:
        if parts[0] is None:
            return None
        if isinstance(parts[0], tuple):
            return tuple(map(combine, *parts))
        return how(*parts)

    found = {
        field.name: combine(*(getattr(whole, field.name) for whole in wholes))
        for field in fields(wholes[0])
    }
    return type(wholes[0])(**found)
