"""Where a damaged picture rests on what the decoder made up.

Where bits are missing or wrong, the decoders below put something likely in their place, and what
is predicted from it carries it on. They do not say where. But the same video decoded without that
concealment differs exactly there, and in all that was predicted from there::

    decoded               A A A c c A     c: made up, in the picture itself or one before
    without concealment   A A A ? ? A
    differs               . . . x x .

What is equal in both was decoded, though what comes between a wrong bit and the place where the
decoder notices is equal too, and wrong. Nor does it tell anything where a whole picture was lost:
both decoders go on from the wrong one.

In H.265 nothing is made up, but the two ways to decode it of which ``wavefronts`` tells differ just
so; where they were both led astray in the same way, that is equal too, and wrong.

In VP8 nothing is made up either, and nothing tells what is wrong; but mostly it is the coefficients
alone (see ``partitions``), and decoded without those a picture is near to what it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Generator, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from .colour import Frame, Image, to_rgb
from .reader import VideoReader

__all__ = [
    "CONCEALING",
    "IN_ROWS",
    "MUTE",
    "PREDICTING",
    "Twin",
    "mark_concealed",
    "read_unconcealed",
]

# Decoders of FFmpeg that conceal what they do not find, and can be told not to. Not that of MPEG-4
# by Microsoft, version 3: it hardly ever notices.
CONCEALING = frozenset(("flv1", "h263", "h264", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2"))

IN_ROWS = frozenset(("mpeg1video", "mpeg2video"))  # those whose slices are no longer than a row

PREDICTING = frozenset(("vp8",))  # whose pictures can be had without the coefficients

MUTE = frozenset(("vp8", "vp9"))  # that decode damage to something, and nothing tells where it is


class Twin(NamedTuple):
    """A frame as it is decoded in the other way."""

    time: Fraction
    image: Image  # RGB
    is_prediction: bool  # it is without coefficients that are spoilt, not without concealment


def read_unconcealed(path: Path, wanted: Collection[int]) -> Generator[Twin, None, None]:
    """Decode a video without concealment, in one thread; yield the wanted frames.

    Of VP8 without the coefficients that are spoilt; frames in which more is are left out.

    No picture is kept: what the decoder leaves in the place of what is missing are older pictures,
    and which ones depends on when they are given back.

    Raises MediaError.
    """
    last = max(wanted, default=-1)
    with VideoReader(path, frame_threads=False, conceal=False) as reader:
        is_prediction = reader.info.codec in PREDICTING
        for frame in reader.read():
            if frame.index > last:
                return
            if frame.index in wanted and not (is_prediction and frame.is_corrupt):
                yield Twin(frame.time, to_rgb(frame), is_prediction)


def mark_concealed(
    items: Iterable[Any], twins: Iterator[Twin], wanted: Collection[int]
) -> Iterator[Any]:
    """Pass ``items`` on, as ``VideoReader.read`` gives them.

    Those wanted get ``concealed`` or ``prediction``.

    twins: as ``read_unconcealed`` gives them for the same frames. A frame without a twin of its
    time and size stays as it is.
    """
    twin = next(twins, None)
    for item in items:
        if isinstance(item, Frame) and item.index in wanted:
            while twin is not None and twin.time < item.time:
                twin = next(twins, None)
            if twin is not None and twin.time == item.time:
                item = _mark(item, twin)
        yield item


def _mark(frame: Frame, twin: Twin) -> Frame:
    image = to_rgb(frame)
    if image.shape != twin.image.shape or image.dtype != twin.image.dtype:
        return frame
    if twin.is_prediction:
        return dataclasses.replace(frame, prediction=twin.image)
    return dataclasses.replace(frame, concealed=(image != twin.image).any(-1))
