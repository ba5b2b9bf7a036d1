"""Recurrent cells: ``(input, state) -> (output, state)``, the state zero at the start.

Their products are convolutions. On pictures of 1x1 pixels a convolution is a matrix product, so
that the plain RNN, GRU and LSTM are these same cells there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = [
    "Cell",
    "CellStyle",
    "ConvGRUCell",
    "ConvLSTMCell",
    "ConvRNNCell",
    "RecursiveFilter",
    "State",
    "build_cell",
    "parse_cell",
]

State = tuple[Tensor, ...]  # the hidden state h first, (B, hidden, H, W) each

_KERNELS = (1, 3, 5, 7, 9, 11)


@dataclass(frozen=True)
class CellStyle:
    """What kind of cell, and how its products are made."""

    kind: str = "lstm"  # rnn, gru or lstm
    kernel: int = 3  # pixels
    separable: bool = False  # each channel's own kernel, then 1x1 across channels
    norm: str = ""  # of both products: nothing, layer or group
    peepholes: bool = False  # lstm: the gates see the cell state


class Cell(nn.Module):
    """One step of a recurrent network.

    The input-to-state product is a method of its own, so that all known frames of a sequence go
    through it in one call and only the state-to-state product is left in the loop.
    """

    n_states: int  # tensors in the state
    n_products: int  # of n_hidden channels each, from the input and from the hidden state

    def __init__(
        self, n_inputs: int, n_hidden: int, style: CellStyle, *, hidden_bias: bool = False
    ) -> None:
        super().__init__()
        self.n_hidden = n_hidden
        n = self.n_products * n_hidden
        self.from_input = _build_product(n_inputs, n, style, bias=True)
        self.from_hidden = _build_product(n_hidden, n, style, bias=hidden_bias)
        self.norm_input = _build_norm(n_hidden, self.n_products, style.norm)
        self.norm_hidden = _build_norm(n_hidden, self.n_products, style.norm)

    def start(self, like: Tensor) -> State:
        """The zero state for inputs (B, n_inputs, H, W)."""
        zeros = like.new_zeros(like.shape[0], self.n_hidden, *like.shape[-2:])
        return (zeros,) * self.n_states

    def project(self, inputs: Tensor) -> Tensor:
        """Input-to-state product, (N, n_inputs, H, W) -> (N, n_products * n_hidden, H, W)."""
        projected: Tensor = self.norm_input(self.from_input(inputs))
        return projected

    def advance(self, projected: Tensor, state: State) -> State:
        """One step from a projected input (B, n_products * n_hidden, H, W) and the state before."""
        raise NotImplementedError

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """(B, n_inputs, H, W) and state -> the new hidden state, and the new state."""
        state = self.advance(self.project(inputs), state)
        return state[0], state

    def _recall(self, state: State) -> Tensor:
        """State-to-state product."""
        product: Tensor = self.norm_hidden(self.from_hidden(state[0]))
        return _widen(product)


class ConvRNNCell(Cell):
    """The plain recurrent cell (Elman, 1990).

    h' = tanh(W_x * x + W_h * h + b)
    """

    n_states = 1
    n_products = 1

    def advance(self, projected: Tensor, state: State) -> State:
        return ((_widen(projected) + self._recall(state)).tanh(),)


class ConvGRUCell(Cell):
    """Gated recurrent unit (Cho et al., 2014; convolutional as in Ballas et al., 2016).

    r = s(W_xr * x + W_hr * h + b_r)                        reset gate
    z = s(W_xz * x + W_hz * h + b_z)                        update gate
    n = tanh(W_xn * x + b_xn + r . (W_hn * h + b_hn))
    h' = (1 - z) . n + z . h

    The reset gate comes after the product, as in cuDNN and torch.
    """

    n_states = 1
    n_products = 3

    def __init__(self, n_inputs: int, n_hidden: int, style: CellStyle | None = None) -> None:
        super().__init__(n_inputs, n_hidden, style or CellStyle("gru"), hidden_bias=True)

    def advance(self, projected: Tensor, state: State) -> State:
        reset, update, candidate = _widen(projected).chunk(3, 1)
        reset_h, update_h, candidate_h = self._recall(state).chunk(3, 1)
        reset = (reset + reset_h).sigmoid()
        update = (update + update_h).sigmoid()
        candidate = (candidate + reset * candidate_h).tanh()
        return ((1 - update) * candidate + update * state[0],)


class ConvLSTMCell(Cell):
    """LSTM cell whose products are convolutions (Shi et al., 2015, eq. 3).

    i = s(W_xi * x + W_hi * h + w_ci . c + b_i)         input gate
    f = s(W_xf * x + W_hf * h + w_cf . c + b_f)         forget gate
    c' = f . c + i . tanh(W_xc * x + W_hc * h + b_c)
    o = s(W_xo * x + W_ho * h + w_co . c' + b_o)        output gate
    h' = o . tanh(c')

    The peepholes w are there on request, with one weight for each channel (Shi et al. have one for
    each pixel too, which ties the cell to one size of picture). With normalization c' is normalized
    on its way into the tanh as well (Ba et al., 2016, eq. 20 to 22).
    """

    n_states = 2
    n_products = 4

    def __init__(self, n_inputs: int, n_hidden: int, style: CellStyle | None = None) -> None:
        style = style or CellStyle()
        super().__init__(n_inputs, n_hidden, style)
        self.norm_cell = _build_norm(n_hidden, 1, style.norm)
        self.peepholes = nn.Parameter(torch.zeros(3, n_hidden, 1, 1)) if style.peepholes else None
        bias = _find_bias(self.from_input)
        with torch.no_grad():  # remember by default (Jozefowicz et al., 2015)
            bias[n_hidden : 2 * n_hidden].fill_(1.0)

    def advance(self, projected: Tensor, state: State) -> State:
        cell = state[1]
        gates = _widen(projected) + self._recall(state)
        keep_in, forget, show, candidate = gates.chunk(4, 1)
        if self.peepholes is not None:
            keep_in = keep_in + self.peepholes[0] * cell
            forget = forget + self.peepholes[1] * cell
        cell = forget.sigmoid() * cell + keep_in.sigmoid() * candidate.tanh()
        if self.peepholes is not None:
            show = show + self.peepholes[2] * cell
        return show.sigmoid() * self.norm_cell(cell).tanh(), cell


def parse_cell(text: str) -> CellStyle:
    """Read a cell's name: ``lstm``, ``gru``, or ``lstm+peepholes+layernorm+separable+kernel5``.

    Raises ValueError, naming the choices.
    """
    kind, *options = text.split("+")
    kernels = {f"kernel{size}": size for size in _KERNELS}
    norms = {"layernorm": "layer", "groupnorm": "group"}
    known = {*norms, *kernels, "separable"} | ({"peepholes"} if kind == "lstm" else set())
    chosen_norms = [norms[option] for option in options if option in norms]
    chosen_kernels = [kernels[option] for option in options if option in kernels]
    if (
        kind not in ("rnn", "gru", "lstm")
        or not known.issuperset(options)
        or len(set(options)) < len(options)
        or max(len(chosen_norms), len(chosen_kernels)) > 1
    ):
        raise ValueError(
            f"no cell {text[:80]!r}: it is rnn, gru or lstm, then any of +peepholes (lstm), "
            f"+layernorm or +groupnorm, +separable, +kernelN (N = {_KERNELS[0]}, "
            f"{_KERNELS[1]}, ... {_KERNELS[-1]})"
        )
    return CellStyle(
        kind,
        kernel=chosen_kernels[0] if chosen_kernels else 3,
        separable="separable" in options,
        norm=chosen_norms[0] if chosen_norms else "",
        peepholes="peepholes" in options,
    )


def build_cell(text: str, n_inputs: int, n_hidden: int) -> Cell:
    """A cell by its name, see ``parse_cell``."""
    style = parse_cell(text)
    if style.kind == "rnn":
        return ConvRNNCell(n_inputs, n_hidden, style)
    if style.kind == "gru":
        return ConvGRUCell(n_inputs, n_hidden, style)
    return ConvLSTMCell(n_inputs, n_hidden, style)


def _build_product(n_in: int, n_out: int, style: CellStyle, *, bias: bool) -> nn.Module:
    if not style.separable:
        return nn.Conv2d(n_in, n_out, style.kernel, padding=style.kernel // 2, bias=bias)
    return nn.Sequential(
        nn.Conv2d(n_in, n_in, style.kernel, padding=style.kernel // 2, groups=n_in, bias=False),
        nn.Conv2d(n_in, n_out, 1, bias=bias),
    )


def _build_norm(n_hidden: int, n_products: int, norm: str) -> nn.Module:
    """Over each product's channels at once (layer), or over some of them at a time (group)."""
    if not norm:
        return nn.Identity()
    n_groups = 1 if norm == "layer" else math.gcd(n_hidden, 8)
    return nn.GroupNorm(n_products * n_groups, n_products * n_hidden)


def _widen(product: Tensor) -> Tensor:
    """Gates and states want more bits than half precision has."""
    return product.float() if product.itemsize < 4 else product


def _find_bias(product: nn.Module) -> Tensor:
    last = product[-1] if isinstance(product, nn.Sequential) else product
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    return last.bias


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
