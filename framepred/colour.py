"""Pictures between a video's own pixel format and RGB, with the stream's own matrix and range."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

__all__ = ["Frame", "from_rgb", "read_thumbnail", "to_rgb"]


@dataclass(frozen=True)
class Frame:
    """One picture with its time.

    ``native`` belongs to ``video`` and ``colour`` alone; ``time`` is Fraction seconds as in the
    container; ``index`` counts from 0 in presentation order.
    """

    native: VideoFrame
    time: Fraction
    index: int
    is_corrupt: bool = False
    is_key: bool = False


_FLAGS = (
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.BITEXACT
)
_local = threading.local()


def _reformatter() -> VideoReformatter:
    """One reformatter a thread: PyAV 18 keeps megabytes for each one that a frame owns."""
    if not hasattr(_local, "reformatter"):
        _local.reformatter = VideoReformatter()
    reformatter: VideoReformatter = _local.reformatter
    return reformatter


def bit_depth(pixels: VideoFormat) -> int:
    """Bits of the deepest component."""
    return max((c.bits for c in pixels.components), default=8)


def to_rgb(frame: Frame) -> np.ndarray:
    """Convert a frame to (H, W, 3) RGB: uint8, or uint16 over 0..65535 above 8 bits."""
    deep = bit_depth(frame.native.format) > 8
    native = frame.native
    matrix = native.colorspace
    if matrix == 2:
        matrix = 1 if native.height >= 720 else 6
    rgb = _reformatter().reformat(
        native, format="rgb48le" if deep else "rgb24", interpolation=_FLAGS, src_colorspace=matrix
    )
    return rgb.to_ndarray()


def from_rgb(image: np.ndarray, *, like: Frame, time: Fraction) -> Frame:
    raise NotImplementedError


def read_thumbnail(frame: Frame, *, width: int = 160) -> np.ndarray:
    """Small (h, w) float32 luma, 0..255."""
    native = frame.native
    size = (max(1, min(width, native.width)), 0)
    height = max(1, round(native.height * size[0] / native.width))
    small = _reformatter().reformat(
        native, size[0], height, format="gray", interpolation=Interpolation.AREA
    )
    return small.to_ndarray().astype(np.float32)
