"""Pixels to pixels: a stack of recurrent cells that reads pictures and goes on with its own.

::

    before                 made
    |   |   |   |          .    .    .
    h2--h2--h2--h2  . . .  g2---g2---g2      cells in layers; the states are handed over
    |   |   |   |          |    |    |
    h1--h1--h1--h1  . . .  g1---g1---g1
    |   |   |   |          |  /  |  /  |     what was made is what is read next
    x1  x2  x3  x4         x4   .    .

The encoder-forecaster of Shi et al. (2015), for pictures whose motion is not to be had from their
flow: black ones with a few bright shapes. Real video is ``model.FramePredictor``'s.

The cells may also live on a coarser grid, of features that convolutions find frame by frame; on one
of a single point they are plain cells that see a vector for a frame ("features, then recurrence",
as in Donahue et al., 2015).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cells import Cell, build_cell
from .unrolling import unroll

__all__ = ["PixelForecaster", "StackConfig", "build_painter", "build_reader"]


@dataclass(frozen=True)
class StackConfig:
    """Sizes of the network; stored beside the weights."""

    n_channels: int = 1  # of a picture
    patch: int = 4  # pixels: squares of so many become the channels of one point
    n_hidden: int = 128  # channels of the state, of every layer
    n_layers: int = 4
    cell: str = "lstm+kernel5"  # of every layer, see ``cells.parse_cell``
    n_halvings: int = 0  # of the grid, by the convolutions between points and cells

    @property
    def multiple(self) -> int:
        """Pixels of which a picture's sides are multiples."""
        return int(self.patch * 2**self.n_halvings)


class PixelForecaster(nn.Module):
    """Frames in, the frames that follow out; any number of both, whatever it was trained with.

    Each layer of cells reads the hidden state of the one below. The last layers' states are all
    seen by the head, which says the next picture: the way from any layer to the loss is short.
    """

    def __init__(self, config: StackConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or StackConfig()
        n_points = config.n_channels * config.patch**2
        self.reader = build_reader(n_points, config.n_hidden, config.n_halvings)
        n_read = config.n_hidden if config.n_halvings else n_points
        widths = [n_read, *[config.n_hidden] * (config.n_layers - 1)]
        self.encoder = nn.ModuleList(
            build_cell(config.cell, width, config.n_hidden) for width in widths
        )
        self.forecaster = nn.ModuleList(
            build_cell(config.cell, width, config.n_hidden) for width in widths
        )
        self.head = nn.Conv2d(config.n_layers * config.n_hidden, n_read, 1)
        self.painter = build_painter(config.n_hidden, n_points, config.n_halvings)

    def forward(
        self,
        before: Tensor,
        after: Tensor | None,
        n_frames: int,
        *,
        steps: Sequence[int] | None = None,
    ) -> Tensor:
        """Make the ``n_frames`` frames that follow ``before``.

        before: (B, T, C, H, W) float32, H and W of ``StackConfig.multiple``; after: must be None;
        steps: which of the frames are wanted, 1-based (default: all).

        Returns (B, len(steps), C, H, W) float32, not clamped. Raises ValueError.
        """
        if after is not None:
            raise ValueError("this network only forecasts: it has no use for frames after the gap")
        wanted = list(range(1, n_frames + 1)) if steps is None else list(steps)
        patch, multiple = self.config.patch, self.config.multiple
        n_channels, height, width = before.shape[2:]
        if n_channels != self.config.n_channels or height % multiple or width % multiple:
            raise ValueError(
                f"expected frames of {self.config.n_channels} channel(s) with sides that are "
                f"multiples of {multiple}, got {n_channels}, {height}x{width}"
            )
        unshuffled = _lay_out(F.pixel_unshuffle(before.flatten(0, 1), patch))
        points = self.reader(unshuffled).unflatten(0, before.shape[:2])
        # Layer by layer, so that a layer's input products of all frames are one call.
        inputs, states = points[:, :-1], []
        for cell in _cells(self.encoder):
            start = tuple(_lay_out(each) for each in cell.start(points[:, 0]))
            if inputs.shape[1]:
                inputs, start = unroll(cell, inputs, start)
            states.append(start)
        seen = points[:, -1]
        made: list[Tensor] = []
        for step in range(max(wanted)):
            hidden = []
            x = _lay_out(seen if step == 0 else self.reader(made[-1]))
            for k, cell in enumerate(_cells(self.forecaster)):
                x, states[k] = cell(x, states[k])
                hidden.append(x)
            made.append(self.painter(self.head(torch.cat(hidden, 1))).float())
        chosen = torch.stack([made[k - 1] for k in wanted], 1)
        return F.pixel_shuffle(chosen, patch)


def build_reader(n_inputs: int, n_features: int, n_halvings: int) -> nn.Module:
    """Convolutions that halve the grid so often, (B, n_inputs, H, W) -> (B, n_features, h, w).

    The channels double from grid to grid; the last features are in [-1, 1], as are a cell's.
    Without halvings the input comes back.
    """
    widths = [n_inputs, *_list_widths(n_features, n_halvings)]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Conv2d(n_in, n_out, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1], nn.Tanh()) if layers else nn.Identity()


def build_painter(n_features: int, n_outputs: int, n_halvings: int) -> nn.Module:
    """The way back: (B, n_features, h, w) -> (B, n_outputs, H, W)."""
    widths = [*_list_widths(n_features, n_halvings)[::-1], n_outputs]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.LeakyReLU(0.2), nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1)]
    return nn.Sequential(*layers)


def _list_widths(n_features: int, n_halvings: int) -> list[int]:
    """Channels of the grids, from the finest that is made to the coarsest."""
    return [max(1, n_features >> k) for k in reversed(range(n_halvings))]


def _cells(layers: nn.ModuleList) -> Iterator[Cell]:
    """The same modules as what they are."""
    for cell in layers:
        assert isinstance(cell, Cell)
        yield cell


def _lay_out(images: Tensor) -> Tensor:
    """(B, C, H, W) in memory as ``model.arrange`` lays out the kernels."""
    return images.contiguous(memory_format=torch.channels_last)
