"""The real frames that gaps look at, each made RGB once, ahead of who asks for it.

A frame beside two gaps, or before a gap and in its self-check, is asked for again and again. What
is kept of it as RGB is bounded in bytes: of large pictures only some are, the others are made at
each asking.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import NDArray

from .colour import bit_depth
from .errors import MediaError
from .journal import digest_picture
from .relay import Crew, Promise
from .tasks import Task
from .video import Frame, to_rgb

__all__ = ["Picture", "ShownFrames", "check_alike"]

_MOST_BYTES = 2**28  # 43 pictures at 1080p


@dataclass(frozen=True)
class Picture:
    """A real frame as RGB."""

    image: NDArray[Any]  # (H, W, 3) uint8 or uint16
    digest: bytes  # by which a journal knows it


class ShownFrames:
    """Real frames by slot, in the order of slots."""

    def __init__(self, tasks: Iterable[Task], crew: Crew, *, max_bytes: int = _MOST_BYTES) -> None:
        """tasks: those that will look at the frames; crew: makes RGB of them."""
        self._wanted: set[int] = set()
        for task in tasks:
            if not task.is_hold:  # a held frame is repeated as it is
                self._wanted.update(range(task.first, task.start), range(task.stop, task.last))
                if task.is_check:
                    self._wanted.update(task.made)
        self._crew = crew
        self._max_bytes = max_bytes
        self._n_bytes = 0  # of all that is kept as RGB
        self._frames: dict[int, Frame] = {}
        self._pictures: dict[int, Promise[Picture]] = {}

    def __getitem__(self, slot: int) -> Frame:
        return self._frames[slot]

    def add(self, slot: int, frame: Frame) -> None:
        """Keep a frame until it is forgotten; if it will be looked at, begin to make RGB of it."""
        self._frames[slot] = frame
        if slot in self._wanted and self._has_room(frame):
            self._begin(slot)

    def look_up(self, slots: Collection[int]) -> list[Picture]:
        """The frames of some slots as RGB.

        Raises:
            MediaError: a pixel format that cannot be read.
        """
        promises = [self._pictures.get(slot) or self._begin(slot) for slot in slots]
        return [promise.get() for promise in promises]

    def forget(self, before: int) -> None:
        """Give up the frames of the slots before one."""
        for slot in [slot for slot in self._frames if slot < before]:
            frame = self._frames.pop(slot)
            if self._pictures.pop(slot, None) is not None:
                self._n_bytes -= _count_bytes(frame)

    def _begin(self, slot: int) -> Promise[Picture]:
        """Have a frame made RGB, and keep that if there is room."""
        frame = self._frames[slot]
        promise = self._crew.begin(partial(_convert, frame))
        if self._has_room(frame):
            self._pictures[slot] = promise
            self._n_bytes += _count_bytes(frame)
        return promise

    def _has_room(self, frame: Frame) -> bool:
        return self._n_bytes + _count_bytes(frame) <= self._max_bytes


def check_alike(images: Sequence[NDArray[Any]]) -> None:
    """See that pictures (H, W, 3) can be shown to the network together.

    Raises:
        MediaError: they differ in size or type.
    """
    first = images[0]
    if any(image.shape != first.shape for image in images):
        raise MediaError(
            "the video changes its size where frames are to be made; "
            "cut the video where its size changes"
        )
    if any(image.dtype != first.dtype for image in images):
        raise MediaError(
            "the pictures change between 8 and more bits where frames are to be made; "
            "convert them to one kind first"
        )


def _convert(frame: Frame) -> Picture:
    image = to_rgb(frame)
    return Picture(image, digest_picture(image))


def _count_bytes(frame: Frame) -> int:
    """How many a frame takes as RGB."""
    native = frame.native
    return native.width * native.height * 3 * (1 if bit_depth(native.format) <= 8 else 2)
