"""The end of the network: a new frame's pixels out of two known pictures, once all is decided.

What is decided, a ``Sketch``, lies on a small grid; pixels are taken from the pictures themselves,
at full size. ``model.py`` composes whole pictures, ``tiles.py`` large ones part by part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .grids import read_size
from .warping import resize, warp_spread

__all__ = ["Sketch", "blend", "compose", "find_sources"]


@dataclass(frozen=True)
class Sketch:
    """All that the network has decided about a new frame, on a grid of half the resolution."""

    flows: tuple[Tensor, Tensor]  # (B, 2, h, w) from the new frame to its two sources
    axes: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]  # likewise: what they may be off by
    logit: Tensor  # (B, 1, h, w) log-odds of the first source
    carried: Tensor | None  # (B, C, h, w) what the decoder hands on; None: no decoder is at work


def find_sources(*, n_before: int, n_after: int) -> tuple[int, int]:
    """Which of the known frames, in display order, a new one is made from.

    In a gap those beside it; beyond the end (before the start) the last (first) and the one behind.
    """
    if n_before and n_after:
        return n_before - 1, n_before
    if n_before:
        return n_before - 1, max(0, n_before - 2)
    return 0, min(1, n_after - 1)


def compose(finish: nn.Module, one: Tensor, two: Tensor, sketch: Sketch) -> Tensor:
    """The new frame, (B, 3, H, W), out of two pictures of that shape, not clamped.

    finish: the network's last decoder, see ``blend``.
    """
    full = read_size(one)
    left, right = (
        warp_spread(picture, flow, axes)
        for picture, flow, axes in zip((one, two), sketch.flows, sketch.axes, strict=True)
    )
    carried = sketch.carried
    if carried is not None:
        carried = resize(carried, (full[0] // 2, full[1] // 2))
    return blend(finish, left, right, resize(sketch.logit, full), carried)


def blend(
    finish: nn.Module, left: Tensor, right: Tensor, logit: Tensor, carried: Tensor | None
) -> Tensor:
    """Two warped pictures (B, 3, H, W) into one, by log-odds (B, 1, H, W) that are corrected last.

    finish: from how both differ from a first blend, and ``carried`` (B, C, H/2, W/2), to a residual
    colour and a correction of the log-odds, for every second pixel the four around it. Without
    ``carried`` there is no correction.
    """
    share = logit.sigmoid()
    mean = share * left + (1 - share) * right
    if carried is None:
        return mean
    last, _ = finish(
        F.pixel_unshuffle(torch.cat((left - mean, right - mean, mean - 0.5), 1), 2), carried
    )
    last = F.pixel_shuffle(last, 2)
    share = (logit + last[:, 3:]).sigmoid()
    return share * left + (1 - share) * right + 0.1 * last[:, :3]
