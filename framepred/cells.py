"""Recurrent cells: ``(input, state) -> (output, state)``, the state zero at the start."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["ConvLSTMCell", "RecursiveFilter", "State"]

State = tuple[Tensor, Tensor]  # hidden state h and cell state c, (B, hidden, H, W) each


class ConvLSTMCell(nn.Module):
    """LSTM cell whose products are convolutions (Shi et al., 2015, eq. 3, without peepholes).

    i = s(W_xi * x + W_hi * h + b_i)        input gate
    f = s(W_xf * x + W_hf * h + b_f)        forget gate
    o = s(W_xo * x + W_ho * h + b_o)        output gate
    c' = f . c + i . tanh(W_xc * x + W_hc * h + b_c)
    h' = o . tanh(c')

    The input-to-state product is a method of its own, so that all known frames of a sequence go
    through it in one call and only the state-to-state product is left in the loop.
    """

    def __init__(self, n_inputs: int, n_hidden: int) -> None:
        super().__init__()
        self.n_hidden = n_hidden
        self.from_input = nn.Conv2d(n_inputs, 4 * n_hidden, 3, padding=1)
        self.from_hidden = nn.Conv2d(n_hidden, 4 * n_hidden, 3, padding=1, bias=False)
        with torch.no_grad():  # remember by default (Jozefowicz et al., 2015)
            self.from_input.bias[n_hidden : 2 * n_hidden].fill_(1.0)  # type: ignore[index]

    def start(self, like: Tensor) -> State:
        """The zero state for inputs (B, n_inputs, H, W)."""
        zeros = like.new_zeros(like.shape[0], self.n_hidden, *like.shape[-2:])
        return zeros, zeros

    def project(self, inputs: Tensor) -> Tensor:
        """Input-to-state product, (N, n_inputs, H, W) -> (N, 4 * n_hidden, H, W)."""
        projected: Tensor = self.from_input(inputs)
        return projected

    def advance(self, projected: Tensor, state: State) -> State:
        """One step from a projected input (B, 4 * n_hidden, H, W) and the state before it."""
        hidden, cell = state
        gates = projected + self.from_hidden(hidden)
        keep_in, forget, show, candidate = gates.float().chunk(4, 1)
        cell = forget.sigmoid() * cell + keep_in.sigmoid() * candidate.tanh()
        return show.sigmoid() * cell.tanh(), cell

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """(B, n_inputs, H, W) and state -> the new hidden state, and the new state."""
        state = self.advance(self.project(inputs), state)
        return state[0], state


class RecursiveFilter(nn.Module):
    """A bank of first-order recursive filters per point, their gains set by a hidden state.

    m' = m + K . (v - m),    K = max(s(W * h + b), 1 / n)

    the correction step of a Kalman filter for a constant state (Kalman, 1960), with a learnt gain
    in place of the one that follows from known variances; in the terms of recurrent networks, a
    GRU's update gate. The n-th observation has a gain of at least 1 / n, as after a start that
    knows nothing: the first is taken as it is, and few are averaged evenly.

    gains: what the gains are without learning, one in (0, 1) for each filter of the bank.
    """

    def __init__(self, n_hidden: int, n_observed: int, gains: Sequence[float]) -> None:
        super().__init__()
        self.n_observed = n_observed
        self.n_filters = len(gains)
        self.gate = nn.Conv2d(n_hidden, len(gains), 3, padding=1)
        with torch.no_grad():
            self.gate.weight.zero_()
            assert self.gate.bias is not None
            self.gate.bias.copy_(torch.tensor([math.log(gain / (1 - gain)) for gain in gains]))

    def start(self, like: Tensor) -> Tensor:
        """The zero state for observations like (B, n_observed, H, W)."""
        return like.new_zeros(like.shape[0], self.n_filters * self.n_observed, *like.shape[-2:])

    def forward(self, observed: Tensor, hidden: Tensor, state: Tensor, n: int) -> Tensor:
        """The new state, (B, filters * n_observed, H, W) float32, filter by filter.

        observed: (B, n_observed, H, W), the ``n``-th; hidden: (B, n_hidden, H, W); state: likewise.
        """
        gains = (
            self.gate(hidden)
            .float()
            .sigmoid()
            .clamp_min(1 / n)
            .repeat_interleave(self.n_observed, 1)
        )
        corrected: Tensor = state + gains * (observed.repeat(1, self.n_filters, 1, 1) - state)
        return corrected
