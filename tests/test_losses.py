from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from framepred.losses import (
    LOSSES,
    compute_census,
    compute_charbonnier,
    compute_laplacian,
    compute_log_mse,
    compute_loss,
)


def make_pair(height: int = 33, width: int = 42, *, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 3, height, width, generator=generator, dtype=torch.float64)
    change = torch.randn(truth.shape, generator=generator, dtype=torch.float64)
    return truth + noise * change, truth


def test_charbonnier_is_the_formula() -> None:
    made, truth = make_pair()
    expected = np.mean(np.sqrt((made.numpy() - truth.numpy()) ** 2 + 1e-3**2))
    assert float(compute_charbonnier(made, truth)) == pytest.approx(expected, rel=1e-12)


def halve(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of 2x2 blocks; a last odd row or column stands for itself."""
    height, width = image.shape
    out = np.zeros((-(-height // 2), -(-width // 2)))
    for i, j in np.ndindex(*out.shape):
        out[i, j] = image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean()
    return out


def enlarge(image: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Bilinear between pixel centres."""

    def taps(n_in: int, n_out: int) -> NDArray[np.float64]:
        matrix = np.zeros((n_out, n_in))
        for k in range(n_out):
            place = max((k + 0.5) * n_in / n_out - 0.5, 0)
            low = min(int(place), n_in - 1)
            high = min(low + 1, n_in - 1)
            matrix[k, low] += 1 - (place - low)
            matrix[k, high] += place - low
        return matrix

    return taps(image.shape[0], height) @ image @ taps(image.shape[1], width).T


def laplacian_by_hand(difference: NDArray[np.float64]) -> float:
    total = 0.0
    for level in range(4):
        coarse = halve(difference)
        total += 2**level * np.abs(difference - enlarge(coarse, *difference.shape)).mean()
        difference = coarse
    return total + 2**4 * float(np.abs(difference).mean())


@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 42)])
def test_laplacian_is_the_pyramid(height: int, width: int) -> None:
    made, truth = make_pair(height, width)
    planes = (made - truth).flatten(0, 1).numpy()
    # All planes have one size: the mean over everything is the mean over planes.
    expected = np.mean([laplacian_by_hand(plane) for plane in planes])
    assert float(compute_laplacian(made, truth)) == pytest.approx(expected, rel=1e-6)


def test_laplacian_takes_any_size() -> None:
    for height, width in ((1, 1), (2, 9), (3, 3), (5, 4)):
        assert torch.isfinite(compute_laplacian(*make_pair(height, width)))


def test_laplacian_minds_a_change_of_brightness() -> None:
    flat = torch.zeros(1, 3, 64, 64)
    assert float(compute_laplacian(flat + 0.1, flat)) == pytest.approx(16 * 0.1, rel=1e-5)


def census_by_hand(made: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    def describe(image: NDArray[np.float64]) -> NDArray[np.float64]:
        gray = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
        padded = np.pad(gray, 3, mode="edge")
        height, width = gray.shape
        rows = [
            padded[i : i + height, j : j + width] - gray
            for i, j in itertools.product(range(7), range(7))
        ]
        difference = np.stack(rows)
        return difference / np.sqrt(0.81 / 255**2 + difference**2)

    squared = (describe(made) - describe(truth)) ** 2
    return float((squared / (0.1 + squared)).mean())


def test_census_is_the_formula() -> None:
    made, truth = make_pair(noise=0.02)
    expected = np.mean(
        [census_by_hand(a, b) for a, b in zip(made.numpy(), truth.numpy(), strict=True)]
    )
    assert float(compute_census(made, truth)) == pytest.approx(expected, rel=1e-9)


def test_census_is_blind_to_brightness() -> None:
    _, truth = make_pair()
    assert float(compute_census(truth + 0.2, truth)) < 1e-12
    assert float(compute_census(truth.flip(-1), truth)) > 0.1


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_least_at_the_truth_and_has_gradients(name: str) -> None:
    made, truth = make_pair()
    loss = LOSSES[name]
    floor = {"charbonnier": 1e-3, "log_mse": 0.5 * np.log(1e-5)}.get(name, 0)
    assert float(loss(truth, truth)) == pytest.approx(floor, abs=1e-12)
    assert float(loss(made, truth)) > floor + 1e-4
    assert float(loss(made, truth)) == pytest.approx(float(loss(truth, made)))
    made.requires_grad_(True)
    loss(made, truth).backward()
    assert made.grad is not None
    assert torch.isfinite(made.grad).all()
    assert made.grad.abs().max() > 0
    equal = truth.clone().requires_grad_(True)
    loss(equal, truth).backward()
    assert equal.grad is not None
    assert torch.isfinite(equal.grad).all()  # no root of zero


def test_weighted_sum() -> None:
    made, truth = (x.float() for x in make_pair())
    total = compute_loss({"laplacian": 0.5, "census": 2.0}, made, truth)
    expected = 0.5 * compute_laplacian(made, truth) + 2 * compute_census(made, truth)
    torch.testing.assert_close(total, expected)
    assert float(compute_loss({}, made, truth)) == 0


def test_an_unknown_loss_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="magic"):
        compute_loss({"magic": 1.0}, *make_pair())


def test_losses_are_in_float32_whatever_surrounds_them() -> None:
    made, truth = (x.float() for x in make_pair())
    weights = dict.fromkeys(LOSSES, 1.0)
    expected = compute_loss(weights, made, truth)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = compute_loss(weights, made, truth)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, expected)
    assert compute_loss(weights, made.bfloat16(), truth.bfloat16()).dtype == torch.float32


def test_log_mse_is_the_mean_psnr_in_other_units() -> None:
    generator = torch.Generator().manual_seed(5)
    truth = torch.rand(4, 3, 24, 28, generator=generator)
    noise = torch.randn(4, 3, 24, 28, generator=generator)
    made = truth + noise * torch.tensor([0.02, 0.05, 0.1, 0.2]).view(4, 1, 1, 1)
    decibels = [
        peak_signal_noise_ratio(true.numpy(), got.numpy(), data_range=1.0)
        for true, got in zip(truth, made, strict=True)
    ]
    expected = -np.mean(decibels) * np.log(10) / 20
    assert float(compute_log_mse(made, truth)) == pytest.approx(expected, abs=0.02)


def test_log_mse_does_not_chase_what_nobody_sees() -> None:
    truth = torch.full((1, 3, 8, 8), 0.5)
    assert float(compute_log_mse(truth, truth)) == pytest.approx(0.5 * np.log(1e-5), rel=1e-5)
