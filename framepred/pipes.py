"""Pictures from standard input and to standard output: y4m, or raw where it is said what they are.

A pipe is read once, and has one frame rate and no other streams. Nothing is held but the picture at
hand; the programs at the other ends are the queue.
"""

from __future__ import annotations

import dataclasses
import io
import math
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import av
import numpy as np
from av.video.frame import VideoFrame

from .colour import Frame, bit_depth, find_equal_layouts, make_blank, repack
from .encoders import Hdr
from .errors import MediaError, OutputError
from .reader import VideoInfo
from .timeline import MOST_MISSING
from .y4m import PictureFormat, choose_tag, format_header, parse_header

__all__ = [
    "PipeReader",
    "PipeWriter",
    "choose_pictures",
    "describe_pictures",
    "list_losses",
    "open_stdin",
    "open_stdout",
]

_LONGEST_LINE = 4096  # of a header


def open_stdin() -> BinaryIO:
    """Standard input as bytes.

    Raises:
        MediaError: it is a terminal.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise MediaError("standard input is a terminal; send a video through a pipe to it")
    return sys.stdin.buffer


def open_stdout() -> BinaryIO:
    """Standard output as bytes, without a buffer that would be flushed when nobody reads any more.

    Raises:
        OutputError: it is a terminal.
    """
    if sys.stdout is None or sys.stdout.isatty():
        raise OutputError("standard output is a terminal; send it through a pipe, or name a file")
    sys.stdout.flush()
    raw: Any = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
    return raw  # type: ignore[no-any-return]


class PipeReader:
    """Frames from a stream of bytes, timed by their number."""

    def __init__(self, stream: BinaryIO, *, raw: PictureFormat | None = None) -> None:
        """Read the header; with ``raw`` there is none.

        Raises:
            MediaError: it is no y4m.
        """
        self._stream = stream
        self._flagged: VideoFrame | None = None
        self.is_raw = raw is not None
        if raw is None:
            line = stream.readline(_LONGEST_LINE)
            if not line.endswith(b"\n"):
                what = "is empty" if not line else "has no y4m header"
                raise MediaError(
                    f"standard input {what}; did the program that sends it fail? "
                    "It sends y4m with 'ffmpeg ... -f yuv4mpegpipe -'"
                )
            raw = parse_header(line[:-1])
        self.pictures = raw
        self.n_frames = 0

    def read(self) -> Iterator[Frame]:
        """Yield the frames in order.

        Raises:
            MediaError: the stream ends within a frame, or without any.
        """
        sizes = _lay_planes(VideoFrame(*self._size, self.pictures.pix_fmt))
        n_bytes = sum(lines * width for lines, width in sizes)
        while self._find_frame():
            data = self._stream.read(n_bytes)
            if len(data) < n_bytes:
                if self.is_raw and not data:
                    break
                raise MediaError(
                    f"standard input ended within frame {self.n_frames}; "
                    "did the program that sends it fail?"
                )
            native = self._wrap(data, sizes)
            yield Frame(native=native, time=self.n_frames / self.pictures.rate, index=self.n_frames)
            self.n_frames += 1
        if not self.n_frames:
            raise MediaError(
                "standard input ended without a frame; did the program that sends it fail?"
            )

    @property
    def _size(self) -> tuple[int, int]:
        return self.pictures.width, self.pictures.height

    def _find_frame(self) -> bool:
        if self.is_raw:
            return True
        line = self._stream.readline(_LONGEST_LINE)
        if line and not (line.startswith(b"FRAME") and line.endswith(b"\n")):
            raise MediaError(
                f"standard input: where frame {self.n_frames} should begin is something else; "
                "it is damaged, or no y4m"
            )
        return bool(line)

    def _wrap(self, data: bytes, sizes: list[tuple[int, int]]) -> VideoFrame:
        native = self._make_blank()
        first = 0
        for plane, (lines, width) in zip(native.planes, sizes, strict=True):
            given = np.frombuffer(data, np.uint8, lines * width, first).reshape(lines, width)
            first += lines * width
            padded = np.zeros(plane.buffer_size, np.uint8)
            padded[: lines * plane.line_size].reshape(lines, -1)[:, :width] = given
            plane.update(padded.tobytes())
        native.color_range = self.pictures.color_range
        return native

    def _make_blank(self) -> VideoFrame:
        """A picture to be filled, which says itself whether it is two fields."""
        if not self.pictures.is_interlaced:
            return VideoFrame(*self._size, self.pictures.pix_fmt)
        if self._flagged is None:
            # PyAV can set no flags: they come from a picture that FFmpeg has read.
            pictures = dataclasses.replace(self.pictures, pix_fmt="gray", tag="mono")
            content = format_header(pictures) + b"FRAME\n" + bytes(math.prod(self._size))
            with av.open(io.BytesIO(content), "r", format="yuv4mpegpipe") as container:
                self._flagged = next(container.decode(video=0))
        return make_blank(self._flagged, self.pictures.pix_fmt)


class PipeWriter:
    """Frames to a stream of bytes, at one frame rate.

    Where a frame is missing the one before it is repeated, for want of time stamps, and counted.
    A frame is sent when the next has come: one that is late by more than half a step leaves no
    hole if the next is in time.
    """

    n_streams_copied = 0

    def __init__(
        self,
        stream: BinaryIO,
        pictures: PictureFormat,
        *,
        raw: bool = False,
        losses: tuple[str, ...] = (),
    ) -> None:
        """Write the header; with ``raw`` there is none. losses: what a pipe lacks of the input.

        Raises:
            OutputError: y4m cannot hold such pictures, or nobody reads.
        """
        self._stream = stream
        self._is_raw = raw
        header = b"" if raw else format_header(pictures)
        self._pictures = pictures
        self._losses = losses
        self._start: Fraction | None = None
        self._last: bytes = b""  # the frame sent last
        self._waiting: tuple[int, bytes] | None = None  # the frame to be sent next, and its place
        self.n_frames = 0
        self.n_repeated = 0
        self._send(header)

    def __enter__(self) -> PipeWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            return
        if self._waiting is None:
            raise OutputError("standard output: there is no frame to write")
        self._emit_waiting(self._waiting[0])

    @property
    def left_out(self) -> tuple[str, ...]:
        """What a pipe cannot hold, in words."""
        if not self.n_repeated:
            return self._losses
        repeated = f"time stamps ({self.n_repeated} frames repeated where there is none)"
        return (*self._losses, repeated)

    def write(self, frame: Frame) -> None:
        """Send a frame.

        Raises:
            OutputError: nobody reads any more, or the disk is full.
            MediaError: the picture's size differs from the video's.
        """
        native = frame.native
        if (native.width, native.height) != (self._pictures.width, self._pictures.height):
            raise MediaError(
                f"the picture changes its size at {float(frame.time):.3f} s; "
                "split the video there first"
            )
        native = repack(native, self._pictures.pix_fmt)
        if self._start is None:
            self._start = frame.time
        place = round((frame.time - self._start) * self._pictures.rate)
        if self._waiting is not None:
            self._emit_waiting(min(self._waiting[0], place - 1))
        content = b"" if self._is_raw else b"FRAME\n"
        for plane, (lines, width) in zip(native.planes, _lay_planes(native), strict=True):
            data = np.frombuffer(memoryview(plane), np.uint8)[: lines * plane.line_size]
            content += data.reshape(lines, -1)[:, :width].tobytes()
        self._waiting = place, content

    def copy(self, packet: Any) -> None:
        """Pass over a packet of another stream: a pipe holds pictures alone."""

    def _emit_waiting(self, place: int) -> None:
        """Send the frame that waits, at its place; in that of a missing one goes the last again."""
        assert self._waiting is not None
        n_missing = max(0, place - self.n_frames) if self.n_frames else 0
        self.n_repeated += n_missing
        if self.n_repeated > MOST_MISSING:
            raise OutputError(
                f"standard output: there would be {self.n_repeated} frames repeated, which is no "
                "video's work: split the video at its long pauses, or write a file"
            )
        for _ in range(n_missing):
            self._emit(self._last)
        self._last = self._waiting[1]
        self._emit(self._last)

    def _emit(self, data: bytes) -> None:
        self._send(data)
        self.n_frames += 1

    def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._stream.write(rest) or 0 :]
        except BrokenPipeError:
            raise OutputError(
                "standard output was closed by the program that reads it; see what that one says"
            ) from None
        except OSError as error:
            raise OutputError(
                f"standard output cannot be written ({error.strerror or error})"
            ) from None


def describe_pictures(pictures: PictureFormat) -> VideoInfo:
    """A stream's pictures as a container would tell of them."""
    native = VideoFrame(16, 16, pictures.pix_fmt)
    return VideoInfo(
        path=Path("-"),
        container="yuv4mpegpipe",
        codec="rawvideo",
        width=pictures.width,
        height=pictures.height,
        pix_fmt=pictures.pix_fmt,
        bit_depth=bit_depth(native.format),
        time_base=1 / pictures.rate,
        average_rate=pictures.rate,
        start=Fraction(0),
        duration=None,
        rotation=0,
        display_matrix=None,
        sample_aspect_ratio=pictures.aspect,
        color_range=pictures.color_range,
        color_primaries=2,
        color_trc=2,
        colorspace=2,
        interlaced=pictures.is_interlaced,
        is_bottom_first=pictures.interlacing == "b",
        chroma_location=pictures.chroma_location,
        hdr=Hdr(),
        has_dolby_vision=False,
        picture_metadata=(),
        other_streams=(),
    )


def choose_pictures(info: VideoInfo, rate: Fraction | None) -> PictureFormat:
    """How a video's pictures go through a pipe.

    Raises:
        OutputError: its frame rate varies, or y4m cannot hold its pictures.
    """
    if rate is None:
        raise OutputError(
            "standard output: a pipe has one frame rate, and this video's varies; "
            "make it constant with interpolate --fps, or write a file"
        )
    pictures = PictureFormat(
        info.width,
        info.height,
        rate,
        info.pix_fmt,
        tag=choose_tag(info.pix_fmt, info.chroma_location),
        interlacing=("b" if info.is_bottom_first else "t") if info.interlaced else "p",
        aspect=info.sample_aspect_ratio,
        color_range=info.color_range,
    )
    for name in (info.pix_fmt, *find_equal_layouts(info.pix_fmt, _PLANAR)):
        try:
            format_header(dataclasses.replace(pictures, pix_fmt=name))
        except OutputError:
            continue
        return dataclasses.replace(pictures, pix_fmt=name)
    format_header(pictures)
    return pictures


def list_losses(info: VideoInfo) -> tuple[str, ...]:
    """What of a video's pictures no pipe holds, in words."""
    losses = []
    if info.rotation:
        losses.append(f"rotation ({info.rotation} degrees: the pictures are as they are stored)")
    tag = choose_tag(info.pix_fmt, info.chroma_location)
    if not tag and info.chroma_location not in (None, "left"):
        losses.append(f"where chroma lies ({info.chroma_location})")
    if info.hdr.mastering or info.hdr.light:
        losses.append("HDR mastering metadata")
    return tuple(losses)


_PLANAR = ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "gray")


def _lay_planes(native: VideoFrame) -> list[tuple[int, int]]:
    """(lines, bytes of a line without padding) of every plane."""
    laid = []
    for index, plane in enumerate(native.planes):
        inside = [c for c in native.format.components if c.plane == index]
        n_bytes = 2 if max(c.bits for c in inside) > 8 else 1
        laid.append((plane.height, plane.width * n_bytes * len(inside)))
    return laid
