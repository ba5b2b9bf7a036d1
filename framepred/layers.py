"""The feed-forward parts of the network: what a frame looks like, and how motion is corrected."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Decoder", "FeaturePyramid", "Hourglass", "Levels", "build_conv", "build_zero_conv"]

Levels = tuple[Tensor, Tensor]  # features at 1/2 and 1/4 of the resolution


def build_conv(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1)
    # Keep the size of the activations from layer to layer (He et al., 2015): with torch's own,
    # smaller start the heads at the end hear next to nothing for thousands of steps.
    if not conv.weight.is_meta:  # for which torch would load its compiler, and that takes seconds
        nn.init.kaiming_normal_(conv.weight, a=0.1, nonlinearity="leaky_relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(conv, nn.LeakyReLU(0.1, inplace=True))


def build_zero_conv(n_in: int, n_out: int) -> nn.Conv2d:
    """A convolution that starts as "no correction"."""
    conv = nn.Conv2d(n_in, n_out, 3, padding=1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


class _Block(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            build_conv(n_channels, n_channels), nn.Conv2d(n_channels, n_channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu_(self.body(x).add_(x), 0.1)


class FeaturePyramid(nn.Module):
    """What a frame looks like at 1/2 and 1/4; computed once per frame."""

    def __init__(self, sizes: tuple[int, int]) -> None:
        super().__init__()
        half, quarter = sizes
        self.to_half = nn.Sequential(build_conv(3, half, 2), build_conv(half, half))
        self.to_quarter = nn.Sequential(build_conv(half, quarter, 2), build_conv(quarter, quarter))

    def forward(self, frames: Tensor) -> Levels:
        half = self.to_half(frames - 0.5)
        return half, self.to_quarter(half)


class Hourglass(nn.Module):
    """What the surroundings say of a place: (B, C, h, w) looked at on ever coarser grids, and back.

    As a U-Net (Ronneberger et al., 2015), whose levels are added up. It starts as "nothing".

    n_widths: channels on grids of 1/2, 1/4, ... of the one given.
    """

    def __init__(self, n_channels: int, n_widths: Sequence[int]) -> None:
        super().__init__()
        above = (n_channels, *n_widths[:-1])
        self.down = nn.ModuleList(
            nn.Sequential(build_conv(n_in, n_out, 2), _Block(n_out))
            for n_in, n_out in zip(above, n_widths, strict=True)
        )
        self.up = nn.ModuleList(
            nn.Conv2d(n_below, n_out, 1) for n_out, n_below in pairwise(n_widths)
        )
        self.merge = nn.ModuleList(_Block(n_out) for n_out in n_widths[:-1])
        self.out = build_zero_conv(n_widths[0], n_channels)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        levels = []
        for down in self.down:
            x = down(x)
            levels.append(x)
        lowest = levels.pop()
        for up, merge, level in zip(
            reversed(self.up), reversed(self.merge), reversed(levels), strict=True
        ):
            lowest = merge(level + _enlarge(up(lowest), level.shape[-2:]))
        return _enlarge(self.out(lowest), size)


def _enlarge(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


class Decoder(nn.Module):
    """One level of refinement: what is seen at the current flows -> corrections.

    n_deep: widths of the ``Hourglass`` behind its first block; without any there is none.
    """

    def __init__(
        self,
        n_in: int,
        n_width: int,
        n_blocks: int,
        n_corrections: int,
        n_out: int,
        n_deep: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            build_conv(n_in, n_width), *(_Block(n_width) for _ in range(n_blocks))
        )
        self.deep = Hourglass(n_width, n_deep) if n_deep else None
        self.correct = build_zero_conv(n_width, n_corrections)
        self.carry = nn.Conv2d(n_width, n_out, 3, padding=1) if n_out else None

    def forward(self, *parts: Tensor) -> tuple[Tensor, Tensor | None]:
        x = self.body[:2](_join(parts))
        if self.deep is not None:
            x = x + self.deep(x)
        x = self.body[2:](x)
        carried = None if self.carry is None else self.carry(x)
        return self.correct(x).float(), carried


def _join(parts: tuple[Tensor, ...]) -> Tensor:
    """Along the channels, in the layout of the convolutions if any part is in it.

    A convolution that has to change the layout itself takes a third longer on a CPU. Neighbours
    that are not in it are joined before they are brought into it: a plane on its own is in both
    layouts, and decides for the other one.
    """
    if not any(map(_lies_by_points, parts)):
        return torch.cat(parts, 1)
    runs: list[Tensor] = []
    for is_ready, run in groupby(parts, _lies_by_points):
        if is_ready:
            runs += run
        else:
            runs.append(torch.cat(list(run), 1).contiguous(memory_format=torch.channels_last))
    return torch.cat(runs, 1)


def _lies_by_points(part: Tensor) -> bool:
    """Whether all channels of a point lie side by side, and there are several."""
    return part.shape[1] > 1 and part.is_contiguous(memory_format=torch.channels_last)
