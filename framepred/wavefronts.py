"""Damage in H.265 that its decoder takes without a word, seen by decoding in two ways.

Nearly all of H.265 is arithmetic code: wrong bits decode to something, and FFmpeg seldom notices.
But where the rows of a picture can be decoded side by side ("wavefronts", H.265, 9.3.1; x265 makes
them so unless told not to), each row has an entry point of its own. One thread goes on with the
next row wherever the last one has ended, several begin each at its entry, and behind wrong bits
these are two places::

    row 1    a a a a a a a a    a: right
    row 2    a a x ~ ~ ~ ~ ~    x: wrong bits   ~: rubbish, the same both ways
    row 3    ? ? ? ? ? ? ? ?    ?: two kinds of rubbish

So those pictures differ that have wrong bits before their last row, and those that are predicted
from such. (Or the entry points alone are wrong; then one thread makes the picture right.) Rubbish
can make a row refer to one that another thread has not decoded yet; then what comes out is chance,
and may be the same both ways.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from typing import Any

from av.codec import CodecContext
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from . import bitstream, parameter_sets
from .colour import have_equal_samples

__all__ = ["WavefrontVerifier", "decode_by_entries"]

_PPS = 34
_MOST_BYTES = 1 << 16  # of a packet that are looked through for parameter sets
_MOST_WAITING = 17  # pictures of the second decoder: all that it has at the end
_MOST_PASSED = 4  # of these, that the first decoder may give later than one behind them
_MOST_THREADS = 16


def decode_by_entries(context: VideoCodecContext) -> None:
    """Make a decoder of H.265, not opened yet, begin each row at its entry point, if it has one."""
    context.thread_type = "SLICE"
    context.thread_count = min(_MOST_THREADS, max(2, os.cpu_count() or 2))


class WavefrontVerifier:
    """A second decoder of H.265 beside one that has a single thread, where there are wavefronts."""

    def __init__(self, context: VideoCodecContext) -> None:
        """Begin; ``context`` is the first decoder, before it has been given anything."""
        self._options = dict(context.options)
        self._flags = context.flags
        self._extradata = context.extradata or b""
        self._length_size, sets = bitstream.read_extradata("hevc", self._extradata)
        self._has_rows = any(map(_has_rows, sets))
        self._decoder: VideoCodecContext | None = None
        self._waiting: deque[VideoFrame] = deque(maxlen=_MOST_WAITING)

    @property
    def is_comparing(self) -> bool:
        """Whether there have been entry points, so that the pictures are decoded in both ways."""
        return self._decoder is not None

    def feed(self, packet: Packet[Any] | None) -> None:
        """Decode what the first decoder is given next; None at the end."""
        if packet is not None and packet.is_keyframe and self._decoder is None:
            units = bitstream.walk_units(bytes(packet)[:_MOST_BYTES], self._length_size)
            if self._has_rows or any(map(_has_rows, units)):
                self._decoder = self._open()
        if self._decoder is not None:
            with contextlib.suppress(FFmpegError):  # the first decoder is the one that is believed
                self._waiting.extend(self._decoder.decode(packet))

    def differs(self, frame: VideoFrame) -> bool:
        """Whether a picture of the first decoder came out in another way here."""
        name = (frame.pts, frame.opaque)
        for place, twin in enumerate(self._waiting):
            if (twin.pts, twin.opaque) == name:
                del self._waiting[place]
                for _ in range(place - _MOST_PASSED):
                    self._waiting.popleft()
                return not have_equal_samples(frame, twin)
        return False

    def _open(self) -> VideoCodecContext:
        decoder = CodecContext.create("hevc", "r")
        assert isinstance(decoder, VideoCodecContext)
        decoder.extradata = self._extradata
        decoder.options = self._options
        decoder.flags = self._flags
        decode_by_entries(decoder)
        return decoder


def _has_rows(unit: bytes) -> bool:
    """Whether a NAL unit says that rows have entry points."""
    if unit[0] >> 1 & 0x3F != _PPS:
        return False
    with contextlib.suppress(ValueError):
        return parameter_sets.read_hevc_pps(unit)[2]
    return False
