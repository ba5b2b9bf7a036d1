"""The grids that pictures and states live on: their sizes, and how pictures are fitted to them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["choose_scale", "fill_plane", "list_values", "pad", "read_size"]

_GRID = 8  # pixels: pictures are padded to a multiple of the coarsest grid
_SMALLEST_SIDE = 32  # pixels: below this the flow pyramid has nothing to stand on
_LARGEST_SIDE = 540  # pixels: the shorter side on which motion is found stays below this
_LARGEST_AREA = 2**21  # pixels on which motion is found, at most: in panoramas too


def choose_scale(height: int, width: int) -> int:
    """Factor by which pictures of a size are shrunk to find the motion in them: 1, 2, 4, ...

    The network was trained on pictures about 270 pixels high, and meets larger ones at a size
    between that and twice that: where there is more detail there is also more motion.
    """
    scale = 1
    while (
        min(height, width) // scale >= _LARGEST_SIDE or height * width // scale**2 > _LARGEST_AREA
    ):
        scale *= 2
    return scale


def read_size(images: Tensor) -> tuple[int, int]:
    """Height and width of (..., H, W)."""
    return images.shape[-2], images.shape[-1]


def pad(frames: Tensor, scale: int) -> Tensor:
    """Repeat the border of (B, T, C, H, W) until all grids fit, and none is too small.

    scale: by how much the pictures will be shrunk before motion is found in them.
    """
    grid = _GRID * scale
    height, width = frames.shape[-2:]
    tall = max(_SMALLEST_SIDE, -(-height // grid) * grid)
    wide = max(_SMALLEST_SIDE, -(-width // grid) * grid)
    if (tall, wide) == (height, width):
        return frames
    flat = frames.flatten(0, 1)
    padded = F.pad(flat, (0, wide - width, 0, tall - height), mode="replicate")
    unfolded: Tensor = padded.unflatten(0, frames.shape[:2])
    return unfolded


def fill_plane(like: Tensor, *values: float) -> Tensor:
    """Constants as channels, (B, len(values), 1, 1) float32."""
    column = list_values(values, device=like.device).view(1, -1, 1, 1)
    return column.expand(like.shape[0], -1, -1, -1)


def list_values(values: Sequence[float], *, device: torch.device) -> Tensor:
    """A few numbers as float32 (n,) on a device, which does not wait for the CPU to copy them."""
    if device.type == "cpu":
        return torch.tensor(values, dtype=torch.float32)
    return torch.cat([torch.full((1,), value, device=device) for value in values])
