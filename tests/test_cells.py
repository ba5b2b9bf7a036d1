"""The cells against torch's own, their equations by hand, and finite differences."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from framepred.cells import (
    Cell,
    CellStyle,
    ConvGRUCell,
    ConvLSTMCell,
    ConvRNNCell,
    RecursiveFilter,
    build_cell,
    parse_cell,
)

N_INPUTS, N_HIDDEN, N_STEPS, N_BATCH = 5, 7, 6, 3
EPSILON = 1e-5  # of a step in a weight
NAMES = [
    *("rnn", "gru", "lstm", "lstm+peepholes", "gru+layernorm", "lstm+layernorm", "rnn+groupnorm"),
    *("lstm+groupnorm+peepholes", "lstm+separable+kernel7", "gru+separable+kernel5", "rnn+kernel1"),
]


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def stir(module: nn.Module, seed: int = 0, std: float = 0.4) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)


def run(cell: Cell, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Hidden states (T, B, hidden, H, W) over inputs (T, B, C, H, W), and the last state."""
    state = cell.start(inputs[0])
    hidden = []
    for x in inputs:
        out, state = cell(x, state)
        hidden.append(out)
    return torch.stack(hidden), state


# ---- torch's own ------------------------------------------------------------------------------


def reorder(*places: int) -> Tensor:
    return torch.cat([torch.arange(k * N_HIDDEN, (k + 1) * N_HIDDEN) for k in places])


@pytest.mark.parametrize(
    ("cell", "other", "order"),
    [
        (ConvRNNCell(N_INPUTS, N_HIDDEN, CellStyle("rnn")), nn.RNN, reorder(0)),
        (ConvGRUCell(N_INPUTS, N_HIDDEN), nn.GRU, reorder(0, 1, 2)),
        # Ours: i, f, o, g; theirs: i, f, g, o.
        (ConvLSTMCell(N_INPUTS, N_HIDDEN), nn.LSTM, reorder(0, 1, 3, 2)),
        (ConvLSTMCell(N_INPUTS, N_HIDDEN, CellStyle(kernel=1)), nn.LSTM, reorder(0, 1, 3, 2)),
    ],
)
def test_on_one_pixel_a_cell_is_the_plain_one(
    cell: Cell, other: Callable[..., nn.RNNBase], order: Tensor
) -> None:
    stir(cell.double())
    theirs = other(N_INPUTS, N_HIDDEN).double()
    middle = cell.from_input.kernel_size[0] // 2  # padding hides all other taps
    theirs.weight_ih_l0.copy_(cell.from_input.weight[order, :, middle, middle])
    theirs.weight_hh_l0.copy_(cell.from_hidden.weight[order, :, middle, middle])
    theirs.bias_ih_l0.copy_(cell.from_input.bias[order])
    theirs.bias_hh_l0.zero_()
    if cell.from_hidden.bias is not None:
        theirs.bias_hh_l0.copy_(cell.from_hidden.bias[order])
    inputs = torch.randn(N_STEPS, N_BATCH, N_INPUTS, dtype=torch.float64)
    expected, last = theirs(inputs)
    found, state = run(cell, inputs[..., None, None])
    torch.testing.assert_close(found[..., 0, 0], expected, rtol=0, atol=1e-12)
    for ours, each in zip(state, last if isinstance(last, tuple) else (last,), strict=True):
        torch.testing.assert_close(ours[..., 0, 0], each[0], rtol=0, atol=1e-12)


# ---- by hand ----------------------------------------------------------------------------------


def convolve_by_hand(x: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """3x3 correlation with a border of zeros; x (C, H, W), weight (O, C, 3, 3)."""
    _, height, width = x.shape
    out = np.zeros((len(weight), height, width))
    for i, j, di, dj in itertools.product(range(height), range(width), (-1, 0, 1), (-1, 0, 1)):
        if 0 <= i + di < height and 0 <= j + dj < width:
            out[:, i, j] += weight[:, :, di + 1, dj + 1] @ x[:, i + di, j + dj]
    return out


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


def normalize(x: NDArray[np.float64], n_groups: int, norm: nn.Module) -> NDArray[np.float64]:
    parts = x.reshape(n_groups, -1)
    mean, deviation = parts.mean(1, keepdims=True), parts.std(1, keepdims=True)
    normal = ((parts - mean) / np.sqrt(deviation**2 + 1e-5)).reshape(x.shape)
    weight, bias = norm.weight.double().numpy(), norm.bias.double().numpy()
    scaled: NDArray[np.float64] = normal * weight[:, None, None] + bias[:, None, None]
    return scaled


@pytest.mark.parametrize("style", ["lstm", "lstm+peepholes", "lstm+layernorm+peepholes"])
def test_lstm_is_the_equations(style: str) -> None:
    n_inputs, n_hidden = 3, 4
    cell = build_cell(style, n_inputs, n_hidden)
    assert isinstance(cell, ConvLSTMCell)
    stir(cell, seed=1)
    w_x, w_h = (layer.weight.double().numpy() for layer in (cell.from_input, cell.from_hidden))
    bias = cell.from_input.bias.double().numpy()[:, None, None]
    peep = np.zeros((3, n_hidden, 1, 1))
    if cell.peepholes is not None:
        peep = cell.peepholes.double().numpy()
    inputs = torch.randn(4, 1, n_inputs, 5, 6, generator=torch.Generator().manual_seed(2))
    state = cell.start(inputs[0])
    hidden = memory = np.zeros((n_hidden, 5, 6))
    for x in inputs:
        out, state = cell(x, state)
        from_x = convolve_by_hand(x[0].double().numpy(), w_x) + bias
        from_h = convolve_by_hand(hidden, w_h)
        if "layernorm" in style:
            from_x = normalize(from_x, 4, cell.norm_input)
            from_h = normalize(from_h, 4, cell.norm_hidden)
        keep_in, forget, show, candidate = np.split(from_x + from_h, 4)
        memory = sigmoid(forget + peep[1] * memory) * memory + sigmoid(
            keep_in + peep[0] * memory
        ) * np.tanh(candidate)
        shown = normalize(memory, 1, cell.norm_cell) if "layernorm" in style else memory
        hidden = sigmoid(show + peep[2] * memory) * np.tanh(shown)
        np.testing.assert_allclose(out[0].numpy(), hidden, atol=2e-5)
        np.testing.assert_allclose(state[0][0].numpy(), hidden, atol=2e-5)
        np.testing.assert_allclose(state[1][0].numpy(), memory, atol=2e-5)


def test_a_separable_product_is_a_low_rank_kernel() -> None:
    cell = build_cell("rnn+separable+kernel5", 3, 4)
    stir(cell)
    depthwise, pointwise = cell.from_input
    assert depthwise.weight.shape == (3, 1, 5, 5)
    whole = pointwise.weight * depthwise.weight[:, 0][None]  # (4, 3, 5, 5)
    x = torch.randn(2, 3, 9, 8)
    expected = torch.nn.functional.conv2d(x, whole, pointwise.bias, padding=2)
    torch.testing.assert_close(cell.project(x), expected, rtol=0, atol=1e-5)


def test_lstm_remembers_by_default() -> None:
    for name in ("lstm", "lstm+separable"):
        cell = build_cell(name, 3, 4)
        last = cell.from_input[-1] if "separable" in name else cell.from_input
        assert last.bias[4:8].tolist() == [1.0] * 4
        assert last.bias[:4].abs().max() < 1


# ---- every cell -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_keeps_the_interface(name: str) -> None:
    cell = build_cell(name, 3, 8)
    stir(cell, std=0.2)
    inputs = torch.randn(5, 2, 3, 9, 10)
    state = cell.start(inputs[0])
    assert all(each.shape == (2, 8, 9, 10) and not each.any() for each in state)
    hidden, last = run(cell, inputs)
    assert hidden.shape == (5, 2, 8, 9, 10)
    assert hidden.abs().max() <= 1
    torch.testing.assert_close(hidden[-1], last[0])
    # Many frames in one call, and then only the state-to-state product.
    projected = cell.project(inputs.flatten(0, 1)).unflatten(0, (5, 2))
    for each, out in zip(projected, hidden, strict=True):
        state = cell.advance(each, state)
        torch.testing.assert_close(state[0], out, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_differences(name: str) -> None:
    cell = build_cell(name, 2, 4).double()
    stir(cell, std=0.3)
    inputs = torch.randn(3, 1, 2, 4, 5, generator=torch.Generator().manual_seed(5)).double()
    places = [p for p in cell.parameters() if p.numel()]

    def loss() -> Tensor:
        return run(cell, inputs)[0].square().sum()

    with torch.enable_grad():
        gradients = torch.autograd.grad(loss(), places)
    generator = torch.Generator().manual_seed(6)
    for parameter, gradient in zip(places, gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=generator).double()
        parameter += EPSILON * direction
        above = loss()
        parameter -= 2 * EPSILON * direction
        below = loss()
        parameter += EPSILON * direction
        slope = float((above - below) / (2 * EPSILON))
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(
    ("text", "style"),
    [
        ("lstm", CellStyle()),
        ("gru+kernel5", CellStyle("gru", kernel=5)),
        ("rnn+groupnorm+separable", CellStyle("rnn", norm="group", separable=True)),
        ("lstm+kernel7+peepholes+layernorm", CellStyle("lstm", 7, False, "layer", True)),
    ],
)
def test_names(text: str, style: CellStyle) -> None:
    assert parse_cell(text) == style


@pytest.mark.parametrize(
    "text",
    [
        *("", "LSTM", "lstm+", "gru+peepholes", "lstm+kernel4", "lstm+layernorm+groupnorm"),
        *("lstm+kernel3+kernel5", "lstm+separable+separable", "transformer", "x" * 1000),
    ],
)
def test_strange_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^no cell .* it is rnn, gru or lstm") as caught:
        parse_cell(text)
    assert len(str(caught.value)) < 300


# ---- filters ----------------------------------------------------------------------------------


def test_filters_are_the_equation() -> None:
    torch.manual_seed(3)
    bank = RecursiveFilter(4, 2, (0.9, 0.3))
    torch.nn.init.normal_(bank.gate.weight, std=0.3)
    weight, bias = bank.gate.weight.double().numpy(), bank.gate.bias.double().numpy()
    observed, hidden = torch.randn(5, 1, 2, 5, 6), torch.randn(5, 1, 4, 5, 6)
    state = bank.start(observed[0])
    expected = np.zeros((2, 2, 5, 6))  # filter, channel
    for n, (v, h) in enumerate(zip(observed, hidden, strict=True), 1):
        state = bank(v, h, state, n)
        gains = sigmoid(convolve_by_hand(h[0].double().numpy(), weight) + bias[:, None, None])
        gains = np.maximum(gains, 1 / n)[:, None]
        expected = expected + gains * (v[0].double().numpy() - expected)
        np.testing.assert_allclose(state[0].numpy(), expected.reshape(4, 5, 6), atol=1e-5)


def test_a_filter_that_is_slow_to_change_averages() -> None:
    bank = RecursiveFilter(1, 2, (0.01,))
    observed = torch.randn(6, 1, 2, 3, 3, generator=torch.Generator().manual_seed(4))
    state = bank.start(observed[0])
    for n, v in enumerate(observed, 1):
        state = bank(v, torch.zeros(1, 1, 3, 3), state, n)
    torch.testing.assert_close(state, observed.mean(0))
