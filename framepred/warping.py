"""Sampling: pictures and flows on other grids, and pictures seen where a flow points.

Plain tensor arithmetic, alike on CPU, CUDA and MPS; on a CPU some of it in other ways, that are
faster there. Conventions are those of ``motion``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .grids import list_values

__all__ = ["rescale_flow", "rescale_flows", "resize", "warp", "warp_spread"]

_MARGIN = 2  # pixels from a point to the farthest that a bicubic sample takes
_MANY_CHANNELS = 8  # from which on it pays to sample a point's channels together


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (B, C, H, W) to ``size`` = (height, width): area when shrinking, else bilinear."""
    height, width = images.shape[-2:]
    if (height, width) == size:
        return images
    if size[0] <= height and size[1] <= width:
        is_halved = (height, width) == (2 * size[0], 2 * size[1])
        if is_halved and images.device.type == "cpu" and not images.requires_grad:
            # Five times as fast, but not to learn through.
            pairs = images[..., 0::2, :] + images[..., 1::2, :]
            return (pairs[..., 0::2] + pairs[..., 1::2]).mul_(0.25)
        return F.interpolate(images, size=size, mode="area")
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)


def rescale_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a flow to another grid and scale its vectors to that grid's pixels."""
    height, width = flow.shape[-2:]
    if (height, width) == size:
        return flow
    factors = list_values((size[1] / width, size[0] / height), device=flow.device).view(1, 2, 1, 1)
    return resize(flow, size) * factors


def rescale_flows(flows: Tensor, size: tuple[int, int]) -> Tensor:
    """``rescale_flow`` for several flows in one tensor, (B, 2 n, H, W)."""
    apart = flows.unflatten(1, (-1, 2))
    scaled: Tensor = rescale_flow(apart.flatten(0, 1), size).unflatten(0, apart.shape[:2])
    return scaled.flatten(1, 2)


def _pixel_grid(height: int, width: int, like: Tensor) -> Tensor:
    """Coordinates of the pixel centres, (1, 2, H, W), x first."""
    y = torch.arange(height, device=like.device, dtype=like.dtype)
    x = torch.arange(width, device=like.device, dtype=like.dtype)
    return torch.stack(
        (x.view(1, width).expand(height, width), y.view(height, 1).expand(height, width))
    ).unsqueeze(0)


def warp(images: Tensor, flow: Tensor, *, sharp: bool = False) -> Tensor:
    """Sample pictures where a flow points: ``out(x) = images(x + flow(x))``.

    images: (B, C, H, W); flow: (B, 2, H, W) in pixels. ``sharp`` samples bicubically (Keys, 1981,
    a = -0.75) instead of bilinearly. Points outside take the nearest border value: the coordinates
    are clamped, because MPS has no border padding.
    """
    height, width = images.shape[-2:]
    if sharp:
        return _sample_sharply(_pad(images), _pixel_grid(height, width, flow) + flow)
    if _lies_by_points(images):
        return _gather_linear(images, flow)
    last = list_values((max(width - 1, 1), max(height - 1, 1)), device=flow.device)
    points = (_pixel_grid(height, width, flow) + flow) / last.view(1, 2, 1, 1) * 2 - 1
    return _sample(images, points.clamp(-1, 1), mode="bilinear")


def _sample(images: Tensor, points: Tensor, *, mode: str) -> Tensor:
    """``F.grid_sample`` at points (B, 2, h, w), x first, from -1 to 1.

    A CPU gives each picture of a batch to one thread: a single picture is sampled in bands.
    """
    height, n_bands = points.shape[-2], 1
    if len(points) == 1 and points.device.type == "cpu" and not torch.is_grad_enabled():
        n_bands = torch.get_num_threads()
    n_rows = -(-height // n_bands)
    bands = F.pad(points, (0, 0, 0, n_rows * n_bands - height)) if n_bands > 1 else points
    grids = bands.unflatten(2, (n_bands, n_rows)).permute(0, 2, 3, 4, 1).flatten(0, 1)
    shared = images.expand(n_bands, -1, -1, -1) if n_bands > 1 else images
    found = F.grid_sample(
        shared, grids.to(images.dtype), mode=mode, padding_mode="zeros", align_corners=True
    )
    if n_bands == 1:
        return found
    return found.transpose(0, 1).flatten(1, 2)[None, :, :height]


def _lies_by_points(images: Tensor) -> bool:
    """Whether a CPU finds all channels of a point side by side, and need not learn from them."""
    return (
        images.device.type == "cpu"
        and images.dtype == torch.float32
        and images.shape[1] >= _MANY_CHANNELS
        and images.is_contiguous(memory_format=torch.channels_last)
        and not torch.is_grad_enabled()
    )


def _gather_linear(images: Tensor, flow: Tensor) -> Tensor:
    """Bilinear sampling of whole points, four to one: on a CPU several times as fast as
    ``grid_sample``, and the result lies in memory as convolutions like it.
    """
    n_batch, n_channels, height, width = images.shape
    x, y = (_pixel_grid(height, width, flow) + flow).unbind(1)
    x, y = x.nan_to_num(0).clamp(0, width - 1), y.nan_to_num(0).clamp(0, height - 1)
    left, top = x.floor().clamp_max(max(width - 2, 0)), y.floor().clamp_max(max(height - 2, 0))
    right_share, low_share = x - left, y - top
    left_share, high_share = 1 - right_share, 1 - low_share
    first = top.long() * width + left.long()
    first += torch.arange(n_batch).view(-1, 1, 1) * (height * width)
    aside, below = min(1, width - 1), width * min(1, height - 1)
    corners = torch.stack((first, first + aside, first + below, first + (aside + below)), -1)
    shares = torch.stack(
        (
            high_share * left_share,
            high_share * right_share,
            low_share * left_share,
            low_share * right_share,
        ),
        -1,
    )
    points = images.permute(0, 2, 3, 1).reshape(-1, n_channels)
    found = F.embedding_bag(
        corners.view(-1, 4), points, per_sample_weights=shares.view(-1, 4), mode="sum"
    )
    return found.view(n_batch, height, width, n_channels).permute(0, 3, 1, 2)


def _pad(images: Tensor) -> Tensor:
    """Room for the outermost taps of a bicubic sample at the border."""
    return F.pad(images, (_MARGIN,) * 4, mode="replicate")


def _sample_sharply(padded: Tensor, points: Tensor) -> Tensor:
    """Bicubic sampling from 4x4 pixels; points (B, 2, h, w) in pixels of what was padded.

    MPS has none of its own, so there they are gathered.
    """
    height, width = padded.shape[-2:]
    span = list_values((width - 1, height - 1), device=points.device).view(1, 2, 1, 1)
    last = span - 2 * _MARGIN
    points = points.clamp(torch.zeros_like(last), last)
    if padded.device.type == "mps":
        return _gather_cubic(padded, points + _MARGIN)
    return _sample(padded, points * (2 / span) + (2 * _MARGIN / span - 1), mode="bicubic")


def _gather_cubic(images: Tensor, points: Tensor) -> Tensor:
    """Bicubic sampling by hand; points (B, 2, h, w) at least one pixel inside (B, C, H, W)."""
    width = images.shape[-1]
    whole = points.floor()
    fraction = points - whole

    def weigh(part: Tensor) -> list[Tensor]:
        far_left, left, right, far_right = part + 1, part, 1 - part, 2 - part
        return [
            *(-0.75 * (((d - 5) * d + 8) * d - 4) for d in (far_left,)),
            *((1.25 * d - 2.25) * d * d + 1 for d in (left, right)),
            *(-0.75 * (((d - 5) * d + 8) * d - 4) for d in (far_right,)),
        ]

    across, down = weigh(fraction[:, :1]), weigh(fraction[:, 1:])
    x, y = whole[:, :1].long(), whole[:, 1:].long()
    flat = images.flatten(2)
    total = torch.zeros_like(fraction[:, :1])
    for j, weight_y in enumerate(down):
        for i, weight_x in enumerate(across):
            index = ((y + j - 1) * width + x + i - 1).flatten(2).expand(-1, images.shape[1], -1)
            taps = flat.gather(2, index).unflatten(2, fraction.shape[-2:])
            total = total + weight_y * weight_x * taps
    return total


def warp_spread(images: Tensor, flow: Tensor, axes: Sequence[Tensor]) -> Tensor:
    """What a picture looks like on average when it is uncertain where its points have gone.

    The mean over the flow itself and one point to each side along every axis (sigma points of the
    displacement's distribution, as in the unscented transform of Julier and Uhlmann, 1997). Where
    all points agree the picture stays sharp; where they do not, the mean is nearer to the truth
    than any one of them.

    images: (B, C, H, W); flow: (B, 2, h, w); axes: the same shape each, on a grid of any size.
    """
    size = (images.shape[-2], images.shape[-1])
    padded = _pad(images)
    place = rescale_flow(flow, size)
    place = place + _pixel_grid(*size, place)
    total = _sample_sharply(padded, place)
    for axis in axes:
        reach = rescale_flow(axis, size)
        for point in (place - reach, place + reach):
            total = total + _sample_sharply(padded, point)
    return total / (1 + 2 * len(axes))
