"""Interlaced video: a frame is two pictures of different moments, its fields, row by row.

Each field is given to the predictor as a video of its own, of half the height, and what comes of
the two is woven together again::

    rows 0 2 4 ...   |-----|-----|  .  |-----|      the fields of one parity
    rows 1 3 5 ...      |-----|-----|  .  |-----|   those of the other, half a step away
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["by_fields"]

Images = NDArray[Any]


def by_fields(predict: Callable[..., Images]) -> Callable[..., Images]:
    """Make a prediction work on interlaced frames.

    predict: takes and returns images (T, H, W, 3), as ``Predictor.fill`` and ``forecast`` do, or
    takes lists of (H, W, 3); what else it takes is handed on.
    """

    def predict_fields(*given: Any, **options: Any) -> Images:
        fields = []
        for parity in (0, 1):
            halved = (_halve(each, parity) for each in given)
            fields.append(predict(*halved, **options))
        height = sum(field.shape[1] for field in fields)
        first = fields[0]
        made = np.empty((first.shape[0], height, *first.shape[2:]), first.dtype)
        made[:, 0::2], made[:, 1::2] = fields
        return made

    return predict_fields


def _halve(given: Any, parity: int) -> Any:
    """Every other row of images, from row ``parity`` on."""
    if isinstance(given, np.ndarray):
        return given[:, parity::2]
    return [image[parity::2] for image in given] if isinstance(given, list) else given
