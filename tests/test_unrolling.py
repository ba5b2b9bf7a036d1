"""Unrolling against loops by hand, and against torch's packed sequences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from framepred.cells import Cell, build_cell
from framepred.unrolling import unroll

# inputs, n_steps, first
SHAPES = {
    "one to one": (1, 1, 0),
    "one to many": (1, 4, 0),
    "many to one": (3, 3, 2),
    "many to many, delayed": (3, 5, 2),
    "many to many, synchronous": (3, 3, 0),
}


def make_cell(name: str, n_inputs: int = 3, n_hidden: int = 4) -> Cell:
    torch.manual_seed(1)
    return build_cell(name, n_inputs, n_hidden).double().requires_grad_(False)


def make_inputs(n: int, n_batch: int = 2) -> Tensor:
    return torch.randn(n_batch, n, 3, 5, 6, generator=torch.Generator().manual_seed(2)).double()


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("fed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_shapes_of_prediction(name: str, fed: bool, shape: str) -> None:
    n_inputs, n_steps, first = SHAPES[shape]
    cell, inputs = make_cell(name), make_inputs(n_inputs)

    def feed(hidden: Tensor) -> Tensor:
        return hidden[:, 1:] * 2

    found, last = unroll(cell, inputs, n_steps=n_steps, first=first, feed=feed if fed else None)
    state = cell.start(inputs[:, 0])
    expected = []
    for k in range(n_steps):
        x = torch.zeros_like(inputs[:, 0])
        if k < n_inputs:
            x = inputs[:, k]
        elif fed:
            x = feed(state[0])
        out, state = cell(x, state)
        expected.append(out)
    torch.testing.assert_close(found, torch.stack(expected[first:], 1))
    for one, other in zip(last, state, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("name", "other"), [("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_sequences_of_several_lengths(name: str, other: type[nn.RNNBase]) -> None:
    cell = make_cell(name + "+kernel1")
    order = torch.cat(
        [torch.arange(4 * k, 4 * k + 4) for k in ((0, 1, 3, 2), (0, 1, 2))[name == "gru"]]
    )
    theirs = other(3, 4, batch_first=True).double().requires_grad_(False)
    theirs.weight_ih_l0.copy_(cell.from_input.weight[order, :, 0, 0])
    theirs.weight_hh_l0.copy_(cell.from_hidden.weight[order, :, 0, 0])
    theirs.bias_ih_l0.copy_(cell.from_input.bias[order])
    theirs.bias_hh_l0.zero_()
    if cell.from_hidden.bias is not None:
        theirs.bias_hh_l0.copy_(cell.from_hidden.bias[order])
    inputs = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(3)).double()
    lengths = torch.tensor([6, 4, 4, 1])
    packed = pack_padded_sequence(inputs, lengths, batch_first=True)
    expected, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True)
    found, last = unroll(cell, inputs[..., None, None], lengths=lengths)
    for b, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(found[b, :length, :, 0, 0], expected[b, :length])
        torch.testing.assert_close(last[0][b, :, 0, 0], expected[b, length - 1])
        # Padding says nothing new, and what it holds does not matter.
        assert torch.equal(
            found[b, length:], found[b, length - 1 : length].expand_as(found[b, length:])
        )
    spoilt = inputs.clone()
    for b, length in enumerate(lengths.tolist()):
        spoilt[b, length:] = torch.nan
    cell.requires_grad_(True)
    again, _ = unroll(cell, spoilt[..., None, None], lengths=lengths)
    assert torch.equal(again, found)
    again.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in cell.parameters() if p.grad is not None)


def test_a_sequence_goes_on_from_its_state() -> None:
    cell, inputs = make_cell("lstm"), make_inputs(5)
    whole, last = unroll(cell, inputs)
    begun, state = unroll(cell, inputs[:, :2])
    rest, end = unroll(cell, inputs[:, 2:], state)
    torch.testing.assert_close(torch.cat((begun, rest), 1), whole)
    torch.testing.assert_close(end, last)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_steps": 2}, "1 <= inputs <= n_steps, got 3 and 2"),
        ({"first": 3}, "one of the 3 steps, got 3"),
        ({"first": -1}, "one of the 3 steps, got -1"),
        ({"lengths": torch.tensor([3])}, "2 whole numbers"),
        ({"lengths": torch.tensor([3.0, 2.0])}, "2 whole numbers"),
        ({"lengths": torch.tensor([0, 3])}, "1 to 3"),
        ({"lengths": torch.tensor([4, 3])}, "1 to 3"),
    ],
)
def test_what_cannot_be_unrolled(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unroll(make_cell("rnn"), make_inputs(3), **options)  # type: ignore[arg-type]
