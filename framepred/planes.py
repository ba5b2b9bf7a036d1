"""Pictures in memory, pixel by pixel in whole numbers, and as planes of floats on a device.

They travel as whole numbers, a quarter of the bytes, and are converted where they arrive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Images", "to_images", "to_planes"]

Images = NDArray[Any]  # (..., H, W, 3) RGB, uint8 or uint16


def to_planes(images: Images | Sequence[Images], device: torch.device) -> Tensor:
    """(T, H, W, 3) uint8 or uint16 -> (T, 3, H, W) float32 in [0, 1] on the device.

    images: an array, or so many (H, W, 3) of one size and type wherever they lie.
    """
    if device.type != "cpu":
        # CUDA fetches by itself what is never paged out, several times as fast.
        dtype = torch.from_numpy(np.empty(0, images[0].dtype)).dtype
        shape, is_pinned = (len(images), *images[0].shape), device.type == "cuda"
        whole = torch.empty(shape, dtype=dtype, pin_memory=is_pinned)
        for place, image in zip(whole.numpy(), images, strict=True):
            place[...] = image
        planes = whole.to(device, non_blocking=True).permute(0, 3, 1, 2)
        planes = planes.to(torch.float32, memory_format=torch.contiguous_format)
    else:
        height, width, n_channels = images[0].shape
        planes = torch.empty((len(images), n_channels, height, width), device=device)
        for place, image in zip(planes, images, strict=True):
            # What may not be written to, such as a mapped file, torch would complain of.
            whole = torch.from_numpy(np.require(image, requirements=["C", "W"]))
            place.copy_(whole.permute(2, 0, 1))
    return planes.div_(float(np.iinfo(images[0].dtype).max))


def to_images(planes: Tensor, dtype: np.dtype[Any]) -> Images:
    """(T, 3, H, W) floats, [0, 1] and what overshoots, -> (T, H, W, 3) uint8 or uint16."""
    scaled = (planes.float().clamp(0, 1) * float(np.iinfo(dtype).max)).round()
    # uint16 is hardly more than a name to torch.
    whole = scaled.to(torch.uint8 if dtype == np.uint8 else torch.int32)
    whole = whole.permute(0, 2, 3, 1).contiguous()
    if whole.device.type == "cuda":
        there, whole = whole, torch.empty(whole.shape, dtype=whole.dtype, pin_memory=True)
        whole.copy_(there)
    images: Images = whole.cpu().numpy()
    return images.astype(dtype, copy=False)
