"""Video files in and out: the names that the rest of the package uses.

``reader`` probes and decodes, ``writer`` encodes and copies, ``grafting`` copies coded pictures,
``colour`` goes between pixel formats and RGB, ``encoders`` chooses codecs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .colour import Frame, Image, Unread, from_rgb, read_thumbnail, to_rgb
from .encoders import Encoder, Encoding, Hdr
from .grafting import Graft, Grafter, plan_graft
from .reader import RAW, OtherStream, Packet, VideoInfo, VideoReader, probe
from .writer import VideoWriter

__all__ = [
    "RAW",
    "Encoder",
    "Encoding",
    "Frame",
    "Graft",
    "Grafter",
    "Hdr",
    "Image",
    "OtherStream",
    "Packet",
    "Unread",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "from_rgb",
    "open_rgb_frames",
    "plan_graft",
    "probe",
    "read_thumbnail",
    "to_rgb",
]


def open_rgb_frames(path: str | Path) -> Iterator[NDArray[np.uint8]]:
    """Yield a video's frames in presentation order as (H, W, 3) uint8 RGB; closes the file.

    Raises:
        MediaError: not a file, not a video, or no video stream.
    """
    with VideoReader(path) as reader:
        for frame in reader.read():
            image = to_rgb(frame)
            if image.dtype == np.uint8:
                yield image.astype(np.uint8, copy=False)
            else:
                yield ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
