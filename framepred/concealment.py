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
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Generator, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from .colour import Frame, Image, to_rgb
from .reader import VideoReader

__all__ = ["CONCEALING", "IN_ROWS", "mark_concealed", "read_unconcealed"]

# Decoders of FFmpeg that conceal what they do not find, and can be told not to. Not that of MPEG-4
# by Microsoft, version 3: it hardly ever notices.
CONCEALING = frozenset(("flv1", "h263", "h264", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2"))

IN_ROWS = frozenset(("mpeg1video", "mpeg2video"))  # those whose slices are no longer than a row


def read_unconcealed(
    path: Path, wanted: Collection[int]
) -> Generator[tuple[Fraction, Image], None, None]:
    """Decode a video without concealment, in one thread; yield (time, RGB) of the wanted frames.

    No picture is kept: what the decoder leaves in the place of what is missing are older pictures,
    and which ones depends on when they are given back.

    Raises MediaError.
    """
    last = max(wanted, default=-1)
    with VideoReader(path, frame_threads=False, conceal=False) as reader:
        for frame in reader.read():
            if frame.index > last:
                return
            if frame.index in wanted:
                yield frame.time, to_rgb(frame)


def mark_concealed(
    items: Iterable[Any], twins: Iterator[tuple[Fraction, Image]], wanted: Collection[int]
) -> Iterator[Any]:
    """Pass ``items`` on, as ``VideoReader.read`` gives them, with ``concealed`` where wanted.

    twins: as ``read_unconcealed`` gives them for the same frames. A frame without a twin of its
    time and size stays as it is.
    """
    twin = next(twins, None)
    for item in items:
        if isinstance(item, Frame) and item.index in wanted:
            while twin is not None and twin[0] < item.time:
                twin = next(twins, None)
            if twin is not None and twin[0] == item.time:
                image = to_rgb(item)
                if image.shape == twin[1].shape and image.dtype == twin[1].dtype:
                    item = dataclasses.replace(item, concealed=(image != twin[1]).any(-1))
        yield item
