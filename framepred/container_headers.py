"""What is put into a finished file's header by hand, because PyAV cannot say it before."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from .containers import ASPECT_IN_HEADER, ASPECT_IN_PICTURES, MP4_FAMILY
from .encoders import Encoder
from .matroska import set_aspect
from .mp4_marks import Marks, write_marks
from .reader import VideoInfo

__all__ = ["amend_header"]


def amend_header(
    path: Path,
    muxer: str,
    info: VideoInfo,
    marks: Marks,
    encoder: Encoder,
    *,
    told_aspect: Fraction | None,
) -> tuple[str, ...]:
    """Write what a video says of its pixels and is not in its copy; names what cannot be.

    info, marks: of the video; path, muxer, encoder: of the copy. told_aspect: the pixel aspect
    ratio that its pictures tell, if their codec can.
    """
    losses = []
    aspect = info.sample_aspect_ratio
    is_in_pictures = encoder.codec in ASPECT_IN_PICTURES and told_aspect == aspect
    if aspect not in (None, 1) and muxer not in ASPECT_IN_HEADER and not is_in_pictures:
        is_matroska = muxer in ("matroska", "webm")
        if not (is_matroska and set_aspect(path, aspect)):
            losses.append(f"pixel aspect ratio {aspect} (PyAV writes none into this header)")
    if marks and not (muxer in MP4_FAMILY and write_marks(path, marks)):
        losses.append("the mark of 360 degree or stereo video (.mp4 and .mov keep it)")
    return tuple(losses)
