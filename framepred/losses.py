"""What training minimizes: distances between made and true frames, chosen by name.

All take float tensors (N, 3, H, W) in [0, 1] and return the mean over everything, a scalar.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .motion import to_gray

__all__ = [
    "LOSSES",
    "compute_census",
    "compute_charbonnier",
    "compute_laplacian",
    "compute_log_mse",
    "compute_loss",
]

_N_PYRAMID = 5


def compute_charbonnier(made: Tensor, truth: Tensor) -> Tensor:
    """Smooth absolute error sqrt(d^2 + eps^2), eps = 1e-3 (Charbonnier et al., 1994)."""
    loss: Tensor = ((made - truth).square() + 1e-6).sqrt().mean()
    return loss


def compute_laplacian(made: Tensor, truth: Tensor) -> Tensor:
    """Absolute error over a Laplacian pyramid of 5 levels, level k weighted 2^k.

    The weights make coarse structure count as much as fine (Niklaus and Liu, 2018).
    """
    residue = made - truth  # the pyramid is linear: that of the difference is enough
    total: Tensor = residue.new_zeros(())
    level = 0
    while level < _N_PYRAMID - 1 and min(residue.shape[-2:]) >= 4:
        coarse = F.avg_pool2d(residue, 2, ceil_mode=True)
        back = F.interpolate(coarse, size=residue.shape[-2:], mode="bilinear", align_corners=False)
        total += 2**level * (residue - back).abs().mean()
        residue = coarse
        level += 1
    total += 2**level * residue.abs().mean()
    return total


def compute_census(made: Tensor, truth: Tensor) -> Tensor:
    """Soft census distance over 7x7 (Zabih and Woodfill, 1994; smooth as in Meister et al., 2018).

    Compares how each pixel relates to its neighbours; blind to brightness, keen on texture.
    """

    def describe(images: Tensor) -> Tensor:
        gray = to_gray(images)
        around = F.unfold(F.pad(gray, (3, 3, 3, 3), mode="replicate"), 7)
        difference: Tensor = around.unflatten(-1, gray.shape[-2:]) - gray
        return difference / (0.81 / 255**2 + difference.square()).sqrt()

    squared = (describe(made) - describe(truth)).square()
    loss: Tensor = (squared / (0.1 + squared)).mean()
    return loss


def compute_log_mse(made: Tensor, truth: Tensor) -> Tensor:
    """Half the logarithm of each picture's mean squared error, the mean over pictures.

    Minus PSNR in other units (1 dB = 0.115), so that easy and hard pictures count alike; errors
    beyond 50 dB are not worth chasing.
    """
    errors = (made - truth).square().mean((1, 2, 3))
    loss: Tensor = 0.5 * (errors + 1e-5).log().mean()
    return loss


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "charbonnier": compute_charbonnier,
    "laplacian": compute_laplacian,
    "census": compute_census,
    "log_mse": compute_log_mse,
}


def compute_loss(weights: dict[str, float], made: Tensor, truth: Tensor) -> Tensor:
    """Weighted sum of named losses in float32; a name outside ``LOSSES`` is a KeyError."""
    with torch.autocast(made.device.type, enabled=False):
        made, truth = made.float(), truth.float()
        total = made.new_zeros(())
        for name, weight in weights.items():
            total = total + weight * LOSSES[name](made, truth)
    return total
