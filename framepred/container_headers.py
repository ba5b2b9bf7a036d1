"""What is put into a finished file's header by hand, because PyAV cannot say it before."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from .containers import ASPECT_IN_HEADER, ASPECT_IN_PICTURES, MP4_FAMILY
from .encoders import Encoder
from .matroska import amend_video, is_projected
from .matroska import read_marks as read_matroska_marks
from .mp4_marks import Marks, read_marks, write_marks
from .reader import VideoInfo, VideoReader

__all__ = ["HeaderMarks", "amend_header", "find_marks"]


@dataclass(frozen=True)
class HeaderMarks:
    """What a video's header says of its pictures that FFmpeg reads and does not write."""

    mp4: Marks = Marks()  # noqa: RUF009 (it cannot be changed)
    matroska: bytes = b""


def find_marks(like: VideoReader) -> HeaderMarks:
    """The marks of a video.

    Raises:
        MediaError: the file cannot be read.
    """
    names = like.info.container.split(",")
    if "mp4" in names:
        return HeaderMarks(mp4=read_marks(like.path, like.stream.id))
    if "matroska" in names:
        earlier = [s for s in like.container.streams.video if s.index < like.stream.index]
        return HeaderMarks(matroska=read_matroska_marks(like.path, len(earlier)))
    return HeaderMarks()


def amend_header(
    path: Path,
    muxer: str,
    info: VideoInfo,
    marks: HeaderMarks,
    encoder: Encoder,
    *,
    told_aspect: Fraction | None,
) -> tuple[str, ...]:
    """Write what a video says of its pixels and is not in its copy; names what cannot be.

    info, marks: of the video; path, muxer, encoder: of the copy. told_aspect: the pixel aspect
    ratio that its pictures tell, if their codec can.
    """
    losses = []
    is_matroska = muxer in ("matroska", "webm")
    aspect = info.sample_aspect_ratio
    is_in_pictures = encoder.codec in ASPECT_IN_PICTURES and told_aspect == aspect
    is_told = aspect in (None, 1) or muxer in ASPECT_IN_HEADER or is_in_pictures
    if not is_told and not (is_matroska and amend_video(path, aspect=aspect)):
        losses.append(f"pixel aspect ratio {aspect} (PyAV writes none into this header)")
    if marks.mp4 and not (muxer in MP4_FAMILY and write_marks(path, marks.mp4)):
        losses.append("the mark of 360 degree or stereo video (.mp4 and .mov keep it)")
    if marks.matroska and not (is_matroska and amend_video(path, marks=marks.matroska)):
        what = "the mark of 360 degree video" if is_projected(marks.matroska) else "its crop"
        losses.append(f"{what} (.mkv keeps it)")
    return tuple(losses)
