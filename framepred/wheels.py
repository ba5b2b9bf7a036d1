"""Motion and its doubts as colours.

A motion's direction is a hue and its length the strength of it, on the wheel of Baker et al. (A
database and evaluation methodology for optical flow, 2007), where hues are spaced as the eye tells
them apart::

          violet
    cyan    o    red       white: no motion; full colour: as long as the longest
          yellow
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["paint_doubt", "paint_motion", "paint_wheel"]

Image = NDArray[np.uint8]  # (H, W, 3) RGB
Plane = NDArray[np.float32]

# Colours from red on, and how many hues lie before the next.
_CORNERS = (
    ((255, 0, 0), 15),
    ((255, 255, 0), 6),
    ((0, 255, 0), 4),
    ((0, 255, 255), 11),
    ((0, 0, 255), 13),
    ((255, 0, 255), 6),
)
_DOUBT = np.array((214, 0, 110), np.float32)


def _lay_hues() -> Plane:
    hues = []
    for i, (colour, n) in enumerate(_CORNERS):
        start, stop = np.array(colour), np.array(_CORNERS[(i + 1) % len(_CORNERS)][0])
        hues += [start + (stop - start) * k / n for k in range(n)]
    return np.array(hues, np.float32)


_HUES = _lay_hues()  # (55, 3)


def paint_motion(flow: Plane, *, longest: float) -> Image:
    """Paint a flow (2, H, W), x to the right and y down; (H, W, 3).

    longest: the length that gets the full colour, in the flow's unit; longer motion is darker.
    """
    length = np.hypot(flow[0], flow[1]) / max(longest, 1e-6)
    turn = np.arctan2(-flow[1], -flow[0]) / np.pi  # -1 to 1
    place = (turn + 1) / 2 * (len(_HUES) - 1)
    low = place.astype(np.intp)
    part = (place - low)[..., None]
    hue = (1 - part) * _HUES[low] + part * _HUES[(low + 1) % len(_HUES)]
    strength = length[..., None]
    colour = np.where(strength <= 1, 255 - strength * (255 - hue), 0.75 * hue)
    painted: Image = np.rint(colour).astype(np.uint8)
    return painted


def paint_wheel(side: int) -> Image:
    """The key to the colours: what points outwards from the middle, (side, side, 3)."""
    place = (np.arange(side, dtype=np.float32) + 0.5) * 2 / side - 1
    return paint_motion(np.stack(np.meshgrid(place, place)), longest=1.0)


def paint_doubt(image: Image, agreement: Plane) -> Image:
    """Mark on a picture (H, W, 3), paled to grey, where ``agreement`` (H, W) in 0..1 is small."""
    grey = image.astype(np.float32).mean(2, keepdims=True) * 0.45 + 130
    doubt = (1 - agreement[..., None]).clip(0, 1)
    painted: Image = np.rint(grey * (1 - doubt) + _DOUBT * doubt).astype(np.uint8)
    return painted
