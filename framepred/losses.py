"""What training minimizes: distances between made and true frames, chosen by name.

All in ``LOSSES`` take float tensors (N, 3, H, W), ``made`` and ``truth`` of one shape, and return
the mean over everything, a scalar. ``truth`` is in [0, 1]. ``made`` may be any number: a network's
pictures overshoot a little, and a loss that clamped them could not pull them back.

Some read a sample as a chance: that of white, if each sample were either black or white. They are
those of torch and SciPy while ``made`` is in [1/512, 1 - 1/512]. Beyond, they go on along their
tangent, because a logarithm has no bottom; and outside [0, 1] each unit costs 2 more. So they are
finite and convex in ``made`` everywhere, and least at the truth if that is a level of 8 bits.

Beside them stands ``FLOW``, which compares motion instead of pictures, where the true one is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .motion import to_gray

__all__ = [
    "FLOW",
    "LOSSES",
    "compute_bce",
    "compute_census",
    "compute_charbonnier",
    "compute_class_nll",
    "compute_flow_error",
    "compute_gaussian_nll",
    "compute_js",
    "compute_kl",
    "compute_laplace_nll",
    "compute_laplacian",
    "compute_log_mse",
    "compute_loss",
    "compute_mae",
    "compute_mse",
]

FLOW = "flow"  # the loss that ``compute_flow_error`` is

_N_PYRAMID = 5
_DEVIATION = 10**-1.5  # of the errors in the densities: that of 30 dB
_FAINT = 1 / 512  # half a level of 8 bits: chances nearer to 0 or 1 are not told apart
_EDGE_COST = (
    2.0  # a unit beyond [0, 1]; more than the steepest descent towards a black truth, 1.002
)
_SUM_SLACK = 1e-3  # by which the chances of all classes may miss 1: float16 rounds


def compute_mse(made: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error (Gauss, 1809): d^2; best at the mean of what may come."""
    _check_pair(made, truth)
    return F.mse_loss(made, truth)


def compute_mae(made: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error (Laplace, 1774): |d|; best at the median of what may come."""
    _check_pair(made, truth)
    return F.l1_loss(made, truth)


def compute_bce(made: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy -t log p - (1 - t) log(1 - p), in nats a sample (Good, 1952).

    At best it is the entropy of the truth, not 0. Raises ValueError if the truth leaves [0, 1].
    """
    return _measure_chances(made, truth, _compare_entropies)


def compute_kl(made: Tensor, truth: Tensor) -> Tensor:
    """Kullback-Leibler divergence t log(t/p) + (1 - t) log((1 - t)/(1 - p)) of p from t, in nats.

    That is the binary cross-entropy less the entropy of the truth: 0 at best, with the same
    gradient (Kullback and Leibler, 1951). Raises ValueError if the truth leaves [0, 1].
    """
    return compute_bce(made, truth) - _entropy(truth).mean()


def compute_js(made: Tensor, truth: Tensor) -> Tensor:
    """Jensen-Shannon divergence KL(t|m)/2 + KL(p|m)/2, m = (t + p)/2, in nats (Lin, 1991).

    The same both ways round, 0 at best, at most log 2 inside [0, 1]: a far miss pulls less than
    with ``compute_kl``. Raises ValueError if the truth leaves [0, 1].
    """
    return _measure_chances(made, truth, _compare_to_middle)


def compute_gaussian_nll(made: Tensor, truth: Tensor) -> Tensor:
    """Negative log-likelihood of Gaussian errors: d^2 / (2 s^2) + log s + log(2 pi)/2.

    In nats a sample; s = 10^-1.5, errors of 30 dB. Its gradient is 500 times that of the mean
    squared error; ``compute_log_mse`` is the same with the s that suits each picture best.
    """
    weight = 0.5 / _DEVIATION**2
    return weight * compute_mse(made, truth) + math.log(_DEVIATION * math.sqrt(2 * math.pi))


def compute_laplace_nll(made: Tensor, truth: Tensor) -> Tensor:
    """Negative log-likelihood of Laplacian errors: |d|/b + log(2 b), in nats a sample.

    b = 10^-1.5 / sqrt(2): the same standard deviation as in ``compute_gaussian_nll``, so that the
    two say which density describes the errors better. Its gradient is 44.7 times that of the mean
    absolute error.
    """
    scale = _DEVIATION / math.sqrt(2)
    return compute_mae(made, truth) / scale + math.log(2 * scale)


def compute_class_nll(log_chances: Tensor, classes: Tensor) -> Tensor:
    """Negative log-likelihood of the true classes, the mean over the batch, in nats.

    log_chances: (B, C) float, as log_softmax makes them; classes: (B,) int64 in [0, C). After
    log_softmax it is the (softmax) cross-entropy. Raises ValueError for anything else, such as
    scores that are not normalized; on CUDA that waits for the device.
    """
    if log_chances.ndim != 2 or classes.shape != log_chances.shape[:1]:
        raise ValueError(
            "expected log-probabilities (B, C) and classes (B,), "
            f"got {tuple(log_chances.shape)} and {tuple(classes.shape)}"
        )
    if not log_chances.is_floating_point() or classes.dtype != torch.int64:
        raise ValueError(
            "expected float log-probabilities and int64 classes, "
            f"got {log_chances.dtype} and {classes.dtype}"
        )
    n_classes = log_chances.shape[1]
    if ((classes < 0) | (classes >= n_classes)).any():
        raise ValueError(f"expected classes in [0, {n_classes})")
    if (log_chances.detach().float().logsumexp(1).abs() > _SUM_SLACK).any():
        raise ValueError("expected log-probabilities, whose exponentials add up to 1: log_softmax")
    return F.nll_loss(log_chances, classes)


def compute_charbonnier(made: Tensor, truth: Tensor) -> Tensor:
    """Smooth absolute error sqrt(d^2 + eps^2), eps = 1e-3 (Charbonnier et al., 1994)."""
    _check_pair(made, truth)
    loss: Tensor = ((made - truth).square() + 1e-6).sqrt().mean()
    return loss


def compute_laplacian(made: Tensor, truth: Tensor) -> Tensor:
    """Absolute error over a Laplacian pyramid of 5 levels, level k weighted 2^k.

    The weights make coarse structure count as much as fine (Niklaus and Liu, 2018).
    """
    _check_pair(made, truth)
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

    _check_pair(made, truth)
    squared = (describe(made) - describe(truth)).square()
    loss: Tensor = (squared / (0.1 + squared)).mean()
    return loss


def compute_log_mse(made: Tensor, truth: Tensor) -> Tensor:
    """Half the logarithm of each picture's mean squared error, the mean over pictures.

    Minus PSNR in other units (1 dB = 0.115), so that easy and hard pictures count alike; errors
    beyond 50 dB are not worth chasing.
    """
    _check_pair(made, truth)
    errors = (made - truth).square().mean((1, 2, 3))
    loss: Tensor = 0.5 * (errors + 1e-5).log().mean()
    return loss


def compute_flow_error(made: Tensor, truth: Tensor, seen: Tensor) -> Tensor:
    """Endpoint error (Otte and Nagel, 1994): distance of flows in pixels, smooth at 0.

    made, truth: flows (N, 2, H, W); seen: (N, 1, H, W) bool, the pixels that count. The mean over
    these, 0 if there are none.
    """
    _check_pair(made, truth)
    distance = ((made - truth).square().sum(1, keepdim=True) + 1e-6).sqrt()
    error: Tensor = (distance * seen).sum() / seen.sum().clamp_min(1)
    return error


def _check_pair(made: Tensor, truth: Tensor) -> None:
    """ValueError unless these are float tensors of one shape: torch broadcasts in silence."""
    if made.shape != truth.shape or not (made.is_floating_point() and truth.is_floating_point()):
        raise ValueError(
            "expected two float tensors of one shape, "
            f"got {tuple(made.shape)} {made.dtype} and {tuple(truth.shape)} {truth.dtype}"
        )


def _check_chances(truth: Tensor) -> Tensor:
    """0 for a truth in [0, 1]; otherwise ValueError, or NaN where asking is to wait for a device.

    A loss with that NaN added stops training as any other that is not finite does.
    """
    outside = ((truth < 0) | (truth > 1)).any()
    if truth.device.type == "cpu" and outside:
        low, high = truth.aminmax()
        raise ValueError(f"expected a truth in [0, 1], got {float(low):g} to {float(high):g}")
    return torch.where(outside, math.nan, 0.0).to(truth.dtype)


def _measure_chances(
    made: Tensor, truth: Tensor, compare: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
) -> Tensor:
    """Mean of a comparison of chances, which gives each loss and its slope; goes on outside."""
    _check_pair(made, truth)
    inside = made.clamp(_FAINT, 1 - _FAINT)
    value, slope = compare(inside, truth)
    # Nothing inside, where the two are equal: so is the gradient.
    beyond = slope.detach() * (made - inside)
    outside = F.relu(-made) + F.relu(made - 1)
    loss: Tensor = (value + beyond + _EDGE_COST * outside).mean()
    return loss + _check_chances(truth)


def _compare_entropies(p: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    return -t * p.log() - (1 - t) * torch.log1p(-p), (p - t) / (p * (1 - p))


def _compare_to_middle(p: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    middle = (t + p) / 2
    value = _entropy(middle) - (_entropy(t) + _entropy(p)) / 2
    return value, (torch.logit(p) - torch.logit(middle)) / 2


def _entropy(chance: Tensor) -> Tensor:
    """-p log p - (1 - p) log(1 - p), 0 at both ends."""
    entropy: Tensor = torch.special.entr(chance) + torch.special.entr(1 - chance)
    return entropy


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": compute_mse,
    "mae": compute_mae,
    "charbonnier": compute_charbonnier,
    "log_mse": compute_log_mse,
    "laplacian": compute_laplacian,
    "census": compute_census,
    "bce": compute_bce,
    "kl": compute_kl,
    "js": compute_js,
    "gaussian_nll": compute_gaussian_nll,
    "laplace_nll": compute_laplace_nll,
}


def compute_loss(weights: dict[str, float], made: Tensor, truth: Tensor) -> Tensor:
    """Weighted sum of named losses in float32; a name outside ``LOSSES`` is a KeyError.

    Raises ValueError for a pair that a loss is not defined for.
    """
    with torch.autocast(made.device.type, enabled=False):
        made, truth = made.float(), truth.float()
        total = made.new_zeros(())
        for name, weight in weights.items():
            total = total + weight * LOSSES[name](made, truth)
    return total
