"""Moving pictures with known sub-pixel motion, and little networks, for the tests of learning."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data
from torch import Tensor

from framepred.model import FramePredictor, ModelConfig

torch.set_num_threads(1)  # the pictures are too small for more

Map = Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[object, object]]

# Large enough for every code path, small enough for a test.
TINY = ModelConfig(
    n_features=(6, 8),
    n_seen=5,
    n_hidden=12,
    n_broad=(7, 6),
    n_carried=5,
    n_coarse=10,
    n_fine=8,
    n_deep=(8, 6, 6),
)


@cache
def load_picture(name: str) -> NDArray[np.float64]:
    """A picture that comes with scikit-image, (H, W, 3) in [0, 1]."""
    picture = getattr(data, name)()
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=-1)
    return picture[..., :3].astype(np.float64) / 255


def view(
    height: int, width: int, look: Map, *, name: str = "grass", corner: tuple[int, int] = (150, 150)
) -> NDArray[np.float32]:
    """(H, W, 3) in [0, 1]: the pixel (x, y) shows the picture at ``look(x, y)``, by cubic splines.

    For a picture that moves by d, ``look`` is ``x - d``.
    """
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    along_x, along_y = look(x, y)
    points = [np.asarray(along_y) + corner[1], np.asarray(along_x) + corner[0]]
    planes = [
        ndimage.map_coordinates(plane, points, order=3, mode="reflect")
        for plane in load_picture(name).transpose(2, 0, 1)
    ]
    return np.stack(planes, -1).clip(0, 1).astype(np.float32)


def film(
    n: int,
    height: int,
    width: int,
    *,
    speed: tuple[float, float] = (1.5, -0.75),
    name: str = "grass",
) -> NDArray[np.uint8]:
    """``n`` frames (T, H, W, 3) uint8 of a picture that slides by ``speed`` = (x, y) a frame."""
    frames = [
        view(height, width, lambda x, y, k=k: (x - k * speed[0], y - k * speed[1]), name=name)
        for k in range(n)
    ]
    return np.rint(np.stack(frames) * 255).astype(np.uint8)


def to_tensor(frames: NDArray[np.generic]) -> Tensor:
    """(T, H, W, 3), uint8 or in [0, 1] -> (1, T, 3, H, W) float32 in [0, 1]."""
    scale = 255 if frames.dtype == np.uint8 else 1
    planes = np.ascontiguousarray(frames.transpose(0, 3, 1, 2).astype(np.float32) / scale)
    return torch.from_numpy(planes).unsqueeze(0)


def build_network(
    *, config: ModelConfig = TINY, strength: float = 0.0, seed: int = 0
) -> FramePredictor:
    """A network from a seed; ``strength`` disturbs every weight, those that start at zero too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FramePredictor(config)
        if strength:
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.add_(torch.randn_like(parameter), alpha=strength)
    return network.eval()
