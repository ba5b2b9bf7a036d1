"""How close a made frame is to the true one: PSNR, and SSIM by scikit-image.

Its PSNR is not used: to import it takes longer than to fill a gap of a small video.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

__all__ = ["HIGHEST_PSNR", "psnr", "ssim"]

Image = NDArray[np.uint8] | NDArray[np.uint16]

# dB. That of identical pictures is infinite, which no mean survives and no JSON can hold.
HIGHEST_PSNR = 100.0

_SMALLEST_SIDE = 11  # pixels: the Gaussian window of SSIM (sigma 1.5, cut at 3.5 sigma)
_REACH = _SMALLEST_SIDE // 2  # of it; what is nearer to an edge does not count
_STRIP_PIXELS = 2**17  # of which floats take a megabyte
_BESIDE = _SMALLEST_SIDE - 1  # rows: so a strip of one row is high enough too


def _data_range(truth: Image, made: Image) -> int:
    if truth.shape != made.shape or truth.dtype != made.dtype:
        raise ValueError(
            "expected two pictures of one shape and type, "
            f"got {truth.shape} {truth.dtype} and {made.shape} {made.dtype}"
        )
    if truth.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"expected uint8 or uint16 pictures, got {truth.dtype}")
    return int(np.iinfo(truth.dtype).max)


def psnr(truth: Image, made: Image) -> float:
    """Peak signal-to-noise ratio in dB of two (H, W, 3) RGB pictures, uint8 or uint16.

    Infinite for equal pictures. Raises ValueError if shapes or types differ.
    """
    data_range = _data_range(truth, made)
    error = np.subtract(truth, made, dtype=np.float64).ravel()
    power = float(error @ error) / error.size
    return 10 * math.log10(data_range**2 / power) if power else math.inf


def ssim(truth: Image, made: Image) -> float:
    """Structural similarity (Wang et al., 2004: Gaussian window, sigma 1.5) of two (H, W, 3).

    Mean over the channels; 1 for equal pictures; NaN where a side is too short for the window.
    Raises ValueError if shapes or types differ.
    """
    data_range = _data_range(truth, made)
    if min(truth.shape[:2]) < _SMALLEST_SIDE:
        return math.nan
    means = [
        _map_ssim(truth[..., channel], made[..., channel], data_range)[
            _REACH:-_REACH, _REACH:-_REACH
        ].mean(dtype=np.float64)
        for channel in range(3)
    ]
    return float(np.mean(means))


def _map_ssim(truth: Image, made: Image, data_range: int) -> NDArray[np.float64]:
    """SSIM at each pixel of a channel (H, W).

    In strips of rows that fit into a processor's cache: that takes half of the time, and a small
    part of the memory. The rows beside a strip are given along, so that nothing else comes of it.
    """
    height, width = truth.shape
    n_rows = max(_STRIP_PIXELS // width, 1)
    values = np.empty(truth.shape, np.float64)
    for top in range(0, height, n_rows):
        first, stop = max(0, top - _BESIDE), min(top + n_rows, height)
        part = slice(first, stop + _BESIDE)
        _, found = structural_similarity(
            truth[part],
            made[part],
            data_range=data_range,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        values[top:stop] = found[top - first : stop - first]
    return values
