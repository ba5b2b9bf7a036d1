"""Small pictures of frames, as a player would show them, coded for pages and sheets.

A frame's samples know neither that the camera was held upright nor that their pixels are not
square; ``Display`` does, and makes pictures for eyes of them.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from .tones import is_hdr, map_tones

__all__ = ["Display", "Picture", "code_picture", "decode_picture"]

Image = NDArray[np.uint8]  # (H, W, 3) RGB

# Quality by which a picture is coded, until one fits the bytes that it may have.
_QUALITIES = (84, 72, 58, 42, 26, 12)
_LEAST_SIDE = 8  # pixels: no picture is halved below that to make it fit
_LARGEST_SHAPE = 16  # times: a pixel of another shape than that is a mistake of the file's


@dataclass(frozen=True)
class Picture:
    """A coded picture: WebP."""

    data: bytes
    width: int
    height: int

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return f"data:image/webp;base64,{base64.b64encode(self.data).decode('ascii')}"


def code_picture(image: Image, *, max_bytes: int) -> Picture:
    """Code a picture as WebP, as well as ``max_bytes`` allow.

    A picture that does not fit at any quality is halved until it does, or is tiny.
    """
    while True:
        height, width = image.shape[:2]
        for quality in _QUALITIES:
            coded = io.BytesIO()
            Pillow.fromarray(image).save(coded, "WEBP", quality=quality, method=3)
            if coded.tell() <= max_bytes:
                return Picture(coded.getvalue(), width, height)
        if min(height, width) < 2 * _LEAST_SIDE:
            return Picture(coded.getvalue(), width, height)
        image = _resize(image, (width // 2, height // 2))


def decode_picture(picture: Picture) -> Image:
    """The picture again, (H, W, 3)."""
    with Pillow.open(io.BytesIO(picture.data)) as coded:
        return np.asarray(coded.convert("RGB"))


class Display:
    """How players show a video: its size in square pixels, which way is up, what is mirrored."""

    def __init__(
        self,
        width: int,
        height: int,
        *,
        matrix: tuple[int, ...] | None = None,
        pixel_shape: Fraction | None = None,
        colours: tuple[int, int] | None = None,
    ) -> None:
        """Take what the file says about itself.

        width, height: of a frame as it is stored. matrix: FFmpeg's display matrix, nine numbers; a
        turn by anything but quarters is left alone, as most players do. pixel_shape: the sample
        aspect ratio. colours: transfer and primaries, as H.273 numbers them; PQ and HLG are
        shown as an ordinary screen would.
        """
        self._is_transposed, self._flips = _read_matrix(matrix)
        self._colours = colours if colours is not None and is_hdr(colours[0]) else None
        shape = pixel_shape or Fraction(1)
        if not Fraction(1, _LARGEST_SHAPE) <= shape <= _LARGEST_SHAPE:
            shape = Fraction(1)
        # The side that is too short for its pixels is stretched, so that no detail is lost.
        self._wide = max(1, round(width * shape) if shape > 1 else width)
        self._high = max(1, round(height / shape) if shape < 1 else height)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as shown, in square pixels."""
        return (self._high, self._wide) if self._is_transposed else (self._wide, self._high)

    def fit(self, side: int) -> tuple[int, int]:
        """Width and height of the picture in a box of ``side`` by ``side``; never enlarged."""
        scale = min(1.0, side / max(self.size))
        return max(1, round(self.size[0] * scale)), max(1, round(self.size[1] * scale))

    def show(self, image: NDArray[np.generic], *, side: int) -> Image:
        """Shrink a frame (H, W, 3), RGB uint8 or uint16, to fit, and turn it upright."""
        width, height = self.fit(side)
        if self._is_transposed:
            width, height = height, width
        if image.dtype != np.uint8:
            image = (image // 256).astype(np.uint8)
        shown = _resize(np.ascontiguousarray(image, np.uint8), (width, height))
        if self._colours is not None:
            transfer, primaries = self._colours
            shown = map_tones(shown, transfer=transfer, primaries=primaries)
        if self._is_transposed:
            shown = shown.transpose(1, 0, 2)
        shown = shown[:, ::-1] if self._flips[0] else shown
        shown = shown[::-1] if self._flips[1] else shown
        return np.ascontiguousarray(shown)


def _read_matrix(matrix: tuple[int, ...] | None) -> tuple[bool, tuple[bool, bool]]:
    """(rows become columns, then (left and right, up and down) are exchanged).

    The matrix takes the point (x, y) to (a x + c y, b x + d y).
    """
    if matrix is None:
        return False, (False, False)
    a, b, _, c, d = matrix[:5]
    if not b and not c and a and d:
        return False, (a < 0, d < 0)
    if not a and not d and b and c:
        return True, (c < 0, b < 0)
    return False, (False, False)


def _resize(image: Image, size: tuple[int, int]) -> Image:
    """``size`` is (width, height)."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    shrinks = size[0] <= image.shape[1] and size[1] <= image.shape[0]
    way = Pillow.Resampling.BOX if shrinks else Pillow.Resampling.BILINEAR
    return np.asarray(Pillow.fromarray(image).resize(size, way))
