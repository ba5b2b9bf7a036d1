"""High dynamic range for eyes: pictures in PQ or HLG as an ordinary screen shows them.

::

    code --transfer--> light (cd/m2) --primaries--> BT.709 --curve--> 0..1 --sRGB--> code

The transfer functions are those of ITU-R BT.2100, with HLG on its nominal screen of 1000 cd/m2;
reference white is at 203 cd/m2 (ITU-R BT.2408). The curve is Reinhard's with a white point
(Reinhard et al., Photographic Tone Reproduction for Digital Images, 2002), by the greatest of the
three colours, so that hues stay. For pictures to look at: what is written to a video never comes
here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_hdr", "map_tones"]

Image = NDArray[np.uint8]  # (H, W, 3) RGB
Light = NDArray[np.floating]

# As FFmpeg and H.273 number them.
_PQ, _HLG = 16, 18
_BT2020 = 9

_PEAK = 1000.0  # cd/m2: what becomes white, and all above it
_WHITE = 203.0  # cd/m2: of paper in the picture
_HLG_GAMMA = 1.2  # from scene to screen, at 1000 cd/m2
_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020
_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)  # light in BT.2020 primaries to BT.709 (ITU-R BT.2087)


def is_hdr(transfer: int) -> bool:
    """Whether a transfer characteristic, as H.273 numbers it, is PQ or HLG."""
    return transfer in (_PQ, _HLG)


def map_tones(image: Image, *, transfer: int, primaries: int) -> Image:
    """Turn a picture (H, W, 3) in PQ or HLG, full range, into one in sRGB.

    transfer, primaries: as H.273 numbers them; primaries other than those of BT.2020 are taken for
    BT.709's.

    Raises ValueError for any other transfer.
    """
    if not is_hdr(transfer):
        raise ValueError(f"expected the transfer PQ (16) or HLG (18), got {transfer}")
    codes = np.arange(256, dtype=np.float32) / 255
    if transfer == _PQ:
        light = _decode_pq(codes)[image]
    else:
        scene = _decode_hlg(codes)[image]
        luma = (scene @ _LUMA)[..., None]
        light = _PEAK * np.maximum(luma, 1e-6) ** (_HLG_GAMMA - 1) * scene
    if primaries == _BT2020:
        light = np.maximum(light @ _TO_BT709.T, 0)
    light = light / _WHITE
    most = np.maximum(light.max(-1, keepdims=True), 1e-6)
    shown = np.clip(light * _compress(most) / most, 0, 1)
    low, high = 12.92 * shown, 1.055 * np.maximum(shown, 1e-6) ** (1 / 2.4) - 0.055
    coded = 255 * np.where(shown <= 0.0031308, low, high)
    return np.asarray(np.rint(coded), np.uint8)


def _decode_pq(code: Light) -> Light:
    """Light in cd/m2."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    root = code ** (1 / m2)
    decoded = 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return np.asarray(decoded, np.float32)


def _decode_hlg(code: Light) -> Light:
    """Light of the scene, 0 to 1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    decoded = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    return np.asarray(decoded, np.float32)


def _compress(light: Light) -> Light:
    """0 stays 0 and the peak becomes 1; reference white is 1 before."""
    compressed: Light = light * (1 + light / (_PEAK / _WHITE) ** 2) / (1 + light)
    return compressed
