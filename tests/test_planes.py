from __future__ import annotations

import numpy as np
import pytest
import torch

from framepred.planes import to_images, to_planes

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_level_goes_there_and_back(dtype: type[np.generic]) -> None:
    peak = int(np.iinfo(dtype).max)
    images = np.arange(2 * 128 * 256 * 3).reshape(2, 128, 256, 3) * 7 % (peak + 1)
    images = images.astype(dtype)
    planes = to_planes(images, CPU)
    assert planes.shape == (2, 3, 128, 256)
    assert planes.dtype == torch.float32
    assert planes.is_contiguous()
    assert np.array_equal(planes.numpy(), images.transpose(0, 3, 1, 2).astype(np.float32) / peak)
    back = to_images(planes, images.dtype)
    assert back.dtype == dtype
    assert back.flags.c_contiguous
    assert np.array_equal(back, images)


def test_pictures_may_be_views() -> None:
    images = np.arange(4 * 6 * 8 * 3, dtype=np.uint8).reshape(4, 6, 8, 3)
    part = images[::2, ::-1, 1:5]
    assert np.array_equal(to_images(to_planes(part, CPU), part.dtype), part)


def test_what_overshoots_is_clamped_and_halves_are_rounded_to_even() -> None:
    planes = torch.tensor([-0.2, 0.0, 0.5 / 255, 1.5 / 255, 1.0, 1.7]).view(1, 1, 1, 6)
    made = to_images(planes.expand(1, 3, 1, 6), np.dtype(np.uint8))
    assert made[0, 0, :, 0].tolist() == [0, 0, 0, 2, 255, 255]
