"""A cell unrolled over time: the shapes of sequence prediction as one function.

::

      one to one   one to many    many to one   many to many      many to many
                                                (delayed)         (synchronous)
        y          y  y  y  y           y             y  y  y       y  y  y
        |          |  |  |  |           |             |  |  |       |  |  |
        h          h--h--h--h     h--h--h       h--h--h--h--h       h--h--h
        |          |              |  |  |       |  |  |             |  |  |
        x          x              x  x  x       x  x  x             x  x  x

    inputs  1           1            3             3                 3
    n_steps 1           4            3             5                 3
    first   0           0            2             2                 0
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .cells import Cell, State

__all__ = ["unroll"]

Feed = Callable[[Tensor], Tensor]


def unroll(
    cell: Cell,
    inputs: Tensor,
    state: State | None = None,
    *,
    n_steps: int | None = None,
    first: int = 0,
    feed: Feed | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, State]:
    """Step a cell over inputs and beyond; return what it says from step ``first`` on.

    inputs: (B, T, C, H, W), T at least 1. state: to begin with; default the zero state.
    n_steps: steps in all, at least T; default T. first: the first step whose output is wanted.
    feed: makes the input of a step beyond T from the hidden state before it, (B, hidden, H, W) ->
        (B, C, H, W), for a cell that lives on what it said last; default zeros.
    lengths: (B,) whole numbers, 1 to T, for sequences of several lengths, padded to T: what lies
        beyond a sequence's length is not read, and its steps beyond T follow on its last one.

    Returns the hidden states (B, n_steps - first, hidden, H, W), and the last state. Where a
    sequence is padded its outputs repeat the last one.

    Raises ValueError.
    """
    n_batch, n_inputs = inputs.shape[:2]
    n_steps = n_inputs if n_steps is None else n_steps
    if n_inputs < 1 or n_steps < n_inputs:
        raise ValueError(f"expected 1 <= inputs <= n_steps, got {n_inputs} and {n_steps}")
    if not 0 <= first < n_steps:
        raise ValueError(f"first must be one of the {n_steps} steps, got {first}")
    if lengths is not None:
        if lengths.shape != (n_batch,) or lengths.is_floating_point():
            raise ValueError(f"expected {n_batch} whole numbers as lengths, got {lengths}")
        if int(lengths.min()) < 1 or int(lengths.max()) > n_inputs:
            raise ValueError(f"lengths must be 1 to {n_inputs}, got {lengths.tolist()}")
        is_real = torch.arange(n_inputs, device=inputs.device) < lengths[:, None]
        # Not a number in the padding would be one in the gradient too.
        inputs = torch.where(is_real[:, :, None, None, None], inputs, 0)
    projected = cell.project(inputs.flatten(0, 1)).unflatten(0, (n_batch, n_inputs))
    state = cell.start(inputs[:, 0]) if state is None else state
    said = []
    for k in range(n_steps):
        if k < n_inputs:
            after = cell.advance(projected[:, k], state)
            if lengths is not None:
                goes_on = is_real[:, k, None, None, None]
                after = tuple(
                    torch.where(goes_on, new, old) for new, old in zip(after, state, strict=True)
                )
        else:
            fed = torch.zeros_like(inputs[:, 0]) if feed is None else feed(state[0])
            after = cell.advance(cell.project(fed), state)
        state = after
        if k >= first:
            said.append(state[0])
    return torch.stack(said, 1), state
