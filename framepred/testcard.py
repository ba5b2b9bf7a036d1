"""A moving test picture by recipe: detail at all scales, in motion, the same at every run."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .video import Encoding, VideoReader, VideoWriter, from_rgb

__all__ = ["Footage", "draw_frame"]

Matrix = NDArray[np.float32]

_RATE = 25  # frames a second

_N_WAVES = 32
_SPEED_BEHIND = (3.0, 1.5)  # right and down a frame, in 256ths of the picture's height
_SPEED_AHEAD = (-4.0, 2.0)


def draw_frame(height: int, width: int, k: int) -> NDArray[np.uint8]:
    """Frame ``k`` of a texture that slides behind another, which a drifting disc shows.

    The motion is a share of the picture's height, so that the same scene moves at every size.
    Returns (height, width, 3) uint8 RGB.
    """
    behind = _make_waves(height, width, k, _SPEED_BEHIND, seed=1)
    ahead = _make_waves(height, width, k, _SPEED_AHEAD, seed=2)
    shift = k * height / 256
    y = np.arange(height) - 0.5 * height - _SPEED_AHEAD[1] * shift
    x = np.arange(width) - 0.6 * width - _SPEED_AHEAD[0] * shift
    inside = (y * y)[:, None] + (x * x)[None, :] < (0.3 * height) ** 2
    picture = np.empty((height, width, 3), np.uint8)
    for channel in range(3):
        plane = behind[0][channel] @ behind[1]
        plane[inside] = (ahead[0][channel] @ ahead[1])[inside]
        plane += 127.5
        picture[..., channel] = np.rint(plane.clip(0, 255, out=plane), out=plane)
    return picture


def _make_waves(
    height: int, width: int, k: int, speed: tuple[float, float], *, seed: int
) -> tuple[Matrix, Matrix]:
    """Plane waves, weaker the finer they are, as factors of the picture around 0.

    cos(a + b) = cos a cos b - sin a sin b: each wave is two products of a column and a row.
    Returns (3, height, 2 n) and (2 n, width) float32; the product is in grey levels.
    """
    rng = np.random.default_rng(seed)
    shift = k * height / 256
    cycles = 2 ** rng.uniform(0, 6.5, _N_WAVES)  # a picture height
    angle = rng.uniform(0, np.pi, _N_WAVES)
    phase = rng.uniform(0, 2 * np.pi, (3, 1, _N_WAVES))
    turn = 2 * np.pi / height * cycles
    along_x = np.outer(turn * np.cos(angle), np.arange(width) - speed[0] * shift)
    along_y = np.outer(np.arange(height) - speed[1] * shift, turn * np.sin(angle)) + phase
    weight = 30 * cycles**-0.7
    columns = np.concatenate((np.cos(along_y) * weight, -np.sin(along_y) * weight), axis=2)
    rows = np.concatenate((np.cos(along_x), np.sin(along_x)))
    return columns.astype(np.float32), rows.astype(np.float32)


class Footage:
    """Frames of the test picture, ready to be encoded; a context manager."""

    def __init__(self, folder: Path, height: int, width: int, slots: Sequence[int]) -> None:
        blank = folder / "blank.y4m"  # a video of that size, which a writer can be like
        header = f"YUV4MPEG2 W{width} H{height} F{_RATE}:1 Ip A1:1 C420mpeg2\n"
        blank.write_bytes(header.encode() + b"FRAME\n" + bytes(height * width * 3 // 2))
        self._like = VideoReader(blank)
        first = next(self._like.read())
        self._frames = [
            from_rgb(
                draw_frame(height, width, slot),
                like=first,
                time=Fraction(slot, _RATE),
            )
            for slot in slots
        ]

    def __enter__(self) -> Footage:
        return self

    def __exit__(self, *_: object) -> None:
        self._like.close()

    def write(self, clip: Path, *, preset: str | None = None) -> None:
        """Encode as ``fill-gaps`` would encode an H.264 video."""
        encoding = Encoding(codec="libx264", preset=preset)
        with VideoWriter(clip, like=self._like, encoding=encoding, overwrite=True) as writer:
            for frame in self._frames:
                writer.write(frame)
