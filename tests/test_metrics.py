from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from framepred import metrics
from framepred.metrics import psnr, ssim


def make_pair(dtype: Any, height: int = 40, width: int = 53) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    peak = np.iinfo(dtype).max
    truth = ndimage.gaussian_filter(rng.random((height, width, 3)), (2, 2, 0))
    truth = (truth - truth.min()) / (truth.max() - truth.min())
    made = (truth + rng.normal(0, 0.05, truth.shape)).clip(0, 1)
    return np.rint(truth * peak).astype(dtype), np.rint(made * peak).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_psnr_is_that_of_scikit_image(dtype: Any) -> None:
    truth, made = make_pair(dtype)
    expected = peak_signal_noise_ratio(truth, made, data_range=np.iinfo(dtype).max)
    assert psnr(truth, made) == pytest.approx(expected, rel=1e-12)
    assert psnr(made, truth) == pytest.approx(expected, rel=1e-12)


def test_psnr_at_its_ends() -> None:
    black, white = np.zeros((12, 12, 3), np.uint8), np.full((12, 12, 3), 255, np.uint8)
    assert psnr(black, black) == math.inf
    assert psnr(black, white) == pytest.approx(0)
    one_off = black.copy()
    one_off[0, 0, 0] = 1
    assert psnr(black, one_off) == pytest.approx(10 * math.log10(255**2 * 12 * 12 * 3))


def ssim_by_hand(truth: NDArray[Any], made: NDArray[Any]) -> float:
    """Wang et al. 2004: Gaussian of deviation 1.5 cut at 11 pixels, the border left out."""
    peak = float(np.iinfo(truth.dtype).max)
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2

    def blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return ndimage.gaussian_filter(image, 1.5, truncate=3.5)

    means = []
    for channel in range(3):
        x = truth[..., channel].astype(np.float64)
        y = made[..., channel].astype(np.float64)
        ux, uy = blur(x), blur(y)
        vx, vy, vxy = blur(x * x) - ux**2, blur(y * y) - uy**2, blur(x * y) - ux * uy
        index = (2 * ux * uy + c1) * (2 * vxy + c2) / ((ux**2 + uy**2 + c1) * (vx + vy + c2))
        means.append(index[5:-5, 5:-5].mean())
    return float(np.mean(means))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_ssim_is_that_of_scikit_image_and_of_the_paper(dtype: Any) -> None:
    truth, made = make_pair(dtype)
    reference = structural_similarity(
        truth,
        made,
        channel_axis=-1,
        data_range=int(np.iinfo(dtype).max),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert 0.1 < reference < 0.9
    assert ssim(truth, made) == pytest.approx(reference, abs=1e-12)
    assert ssim(truth, made) == pytest.approx(ssim_by_hand(truth, made), abs=1e-6)


def test_ssim_at_its_ends() -> None:
    truth, _ = make_pair(np.uint8)
    assert ssim(truth, truth) == pytest.approx(1)
    assert ssim(truth, 255 - truth) < 0


def test_depth_does_not_matter() -> None:
    truth, made = make_pair(np.uint8)
    deep = [x.astype(np.uint16) * 257 for x in (truth, made)]
    assert psnr(*deep) == pytest.approx(psnr(truth, made))
    assert ssim(*deep) == pytest.approx(ssim(truth, made), abs=1e-9)


@pytest.mark.parametrize(("height", "width"), [(10, 40), (40, 10), (1, 1)])
def test_ssim_of_a_picture_smaller_than_its_window_is_unknown(height: int, width: int) -> None:
    truth = np.full((height, width, 3), 100, np.uint8)
    made = truth + np.uint8(1)
    assert math.isnan(ssim(truth, made))
    assert math.isfinite(psnr(truth, made))


def test_ssim_of_the_smallest_picture() -> None:
    truth, made = make_pair(np.uint8, 11, 11)
    assert math.isfinite(ssim(truth, made))


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_what_cannot_be_compared(measure: Any) -> None:
    truth, _ = make_pair(np.uint8)
    with pytest.raises(ValueError, match="one shape and type"):
        measure(truth, truth[:-1])
    with pytest.raises(ValueError, match="one shape and type"):
        measure(truth, truth.astype(np.uint16))
    with pytest.raises(ValueError, match="uint8 or uint16"):
        measure(truth / 255, truth / 255)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("height", "n_rows"), [(40, 1), (40, 13), (11, 10), (40, 64)])
def test_ssim_in_strips_is_that_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, dtype: Any, height: int, n_rows: int
) -> None:
    truth, made = make_pair(dtype, height)
    monkeypatch.setattr(metrics, "_STRIP_PIXELS", n_rows * truth.shape[1])
    expected = structural_similarity(
        truth,
        made,
        channel_axis=-1,
        data_range=np.iinfo(dtype).max,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(truth, made) == expected
