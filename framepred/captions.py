"""Canvases: pictures, frames around them and lines of text, for sheets and previews."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

__all__ = ["KIND_COLOURS", "SUFFIXES", "Canvas"]

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

SUFFIXES = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}

_PAPER: Colour = (18, 20, 24)
_INK: Colour = (233, 235, 239)
_FAINT: Colour = (166, 173, 185)
# As on the pages in the dark.
KIND_COLOURS: dict[str, Colour] = {
    "missing": (123, 188, 247),
    "corrupt": (255, 143, 133),
    "smeared": (203, 166, 255),
    "frozen": (92, 207, 220),
    "black": (195, 200, 209),
    "inserted": (134, 209, 138),
    "named": (239, 186, 85),
}


class Canvas:
    """A dark picture to put things on; places are in pixels from the upper left."""

    def __init__(self, width: int, height: int) -> None:
        self._picture = Pillow.new("RGB", (width, height), _PAPER)
        self._pen = ImageDraw.Draw(self._picture)

    def put(
        self, image: Image, left: int, top: int, *, frame: Colour | None = None, border: int = 3
    ) -> None:
        """Put a picture (H, W, 3), with a frame of ``border`` pixels around it."""
        height, width = image.shape[:2]
        if frame is not None:
            self._pen.rectangle(
                (left - border, top - border, left + width + border - 1, top + height + border - 1),
                fill=frame,
            )
        self._picture.paste(Pillow.fromarray(image), (left, top))

    def write(
        self,
        text: str,
        left: int,
        top: int,
        *,
        size: int,
        colour: Colour | None = None,
        faint: bool = False,
    ) -> None:
        """Write a line, in Latin letters."""
        font = ImageFont.load_default(size)
        self._pen.text((left, top + 3), text, fill=colour or (_FAINT if faint else _INK), font=font)

    def read(self) -> Image:
        """What is on it, (H, W, 3)."""
        return np.asarray(self._picture)

    def code(self, suffix: str = ".png") -> bytes:
        """What is on it, in the format of a file's ending, one of ``SUFFIXES``."""
        coded = io.BytesIO()
        self._picture.save(coded, SUFFIXES[suffix.lower()], quality=70)
        return coded.getvalue()
