"""What of a damaged picture can be told by decoding it in another way too.

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
alone (see ``partitions``), and decoded without those a picture is near to what it was. Frames are
corrupt then that rest on more.

In VP9 something else is put in the place of what is damaged. A picture that is the same all the
same, while those before it are not, does not rest on that: it comes from one stored before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .colour import Frame, Image, to_rgb
from .reader import VideoReader
from .relay import read_ahead

__all__ = [
    "CONCEALING",
    "IN_ROWS",
    "MUTE",
    "Twin",
    "find_healed",
    "mark_frames",
    "read_twins",
]

# Decoders of FFmpeg that conceal what they do not find, and can be told not to. Not that of MPEG-4
# by Microsoft, version 3: it hardly ever notices.
CONCEALING = frozenset(("flv1", "h263", "h264", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2"))

IN_ROWS = frozenset(("mpeg1video", "mpeg2video"))  # those whose slices are no longer than a row

MUTE = frozenset(("vp8", "vp9"))  # that decode damage to something, and nothing tells where it is

_CHANGED = 0.1  # share of a picture's samples: more than what hardly anything rests on


# Without concealment (or as ``wavefronts`` has it); without coefficients that are spoilt; with
# something else in the place of what is damaged.
Way = Literal["unconcealed", "predicted", "altered"]
_WAYS: dict[str, Way] = {"vp8": "predicted", "vp9": "altered"}


class Twin(NamedTuple):
    """A frame as it is decoded in the other way."""

    time: Fraction
    image: Image  # RGB
    way: Way


def read_twins(path: Path, wanted: Collection[int]) -> Generator[Twin, None, None]:
    """Decode a video in the other way, in one thread; yield the wanted frames.

    That is without concealment, or what the codec has instead, see above. Frames of VP8 in which
    more is spoilt than the coefficients are left out.

    No picture is kept: what the decoder leaves in the place of what is missing are older pictures,
    and which ones depends on when they are given back.

    Raises MediaError.
    """
    last = max(wanted, default=-1)
    with VideoReader(path, frame_threads=False, conceal=False) as reader:
        way = _WAYS.get(reader.info.codec, "unconcealed")
        for frame in reader.read():
            if frame.index > last:
                return
            if frame.index in wanted and not (way == "predicted" and frame.is_corrupt):
                yield Twin(frame.time, to_rgb(frame), way)


def mark_frames(
    items: Iterable[Any], twins: Iterator[Twin], wanted: Collection[int]
) -> Iterator[Any]:
    """Pass ``items`` on, as ``VideoReader.read`` gives them.

    Those wanted get ``concealed`` or ``prediction``.

    twins: as ``read_twins`` gives them for the same frames. A frame without a twin of its
    time and size stays as it is.
    """
    twin = next(twins, None)
    has_changed = False  # what is altered in this group of pictures is seen
    for item in items:
        if isinstance(item, Frame) and item.index in wanted:
            has_changed = has_changed and not item.is_key
            while twin is not None and twin.time < item.time:
                twin = next(twins, None)
            if twin is not None and twin.time == item.time:
                image = to_rgb(item)
                if image.shape == twin.image.shape and image.dtype == twin.image.dtype:
                    differs = (image != twin.image).any(-1)
                    has_changed |= bool(differs.mean() > _CHANGED)
                    item = _mark(item, twin, differs, has_changed)
        yield item


def find_healed(path: Path, wanted: Collection[int]) -> frozenset[int]:
    """Return those of the wanted frames of VP8 or VP9 that rest on nothing damaged.

    They are the same in both ways of decoding. Reads the video up to the last of them.

    Raises MediaError.
    """
    last = max(wanted, default=-1)
    healed = set()
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(path, frame_threads=False))
        assert reader.info.codec in MUTE
        twins = stack.enter_context(read_ahead(lambda: read_twins(path, wanted), depth=1))
        for frame in mark_frames(reader.read(), twins, wanted):
            if frame.index > last:
                break
            if frame.prediction is not None and np.array_equal(to_rgb(frame), frame.prediction):
                healed.add(frame.index)
    return frozenset(healed)


def _mark(frame: Frame, twin: Twin, differs: NDArray[np.bool_], has_changed: bool) -> Frame:
    if twin.way == "unconcealed":
        return dataclasses.replace(frame, concealed=differs)
    if twin.way == "predicted" or (has_changed and not differs.any()):
        return dataclasses.replace(frame, prediction=twin.image)
    return frame
