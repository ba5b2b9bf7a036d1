"""A preview: the video as it would have played beside the filled one, both small.

::

    +-----------+-----------+
    | as played |  filled   |     in a gap both are framed in the colour of its kind, and below
    +-----------+-----------+     stand the frame's number and how good it is estimated to be
      frame 120 · missing · estimated 36.6 dB
"""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from .albums import make_display
from .captions import KIND_COLOURS, Canvas
from .outputs import create_temporary, find_place, translate_errors
from .reports import MadeFrameReport
from .timeline import Plan, to_ticks
from .video import Frame, VideoInfo, to_rgb

__all__ = ["Preview"]

Image = NDArray[np.uint8]

_SIDE = 640  # pixels of the longer side of each half
_BORDER = 4
_STRIP = 28  # height of the line of text
_NARROWEST = 300  # pixels of a half: the line has to fit
_LARGEST_CLOCK = 2**24


class Preview:
    """Composes and codes frames as soon as all is known about them; a ``views.Watcher``."""

    def __init__(self, path: Path, info: VideoInfo, plan: Plan) -> None:
        """Begin a file of H.264 in MP4.

        Raises:
            OutputError: the disk refuses.
        """
        self._path = path
        self._plan = plan
        self._display = make_display(info)
        self._gaps = {
            slot: index
            for index, planned in enumerate(plan.gaps)
            for slot in range(planned.gap.start, planned.gap.stop)
        }
        self._scores: dict[int, tuple[MadeFrameReport, ...]] = {}  # by gap
        self._given: dict[int, Image] = {}  # real frames, small, by slot
        self._made: dict[int, Image] = {}
        self._played: Image | None = None  # what a player of the input shows just now
        self._next = 0
        self._last_tick = -1
        width, height = self._display.fit(_SIDE)
        self._half = max(width, _NARROWEST)
        wide, high = 2 * self._half + 3 * _BORDER, height + 2 * _BORDER + _STRIP
        self._size = wide, high = wide + wide % 2, high + high % 2
        base = info.time_base
        self._base = base if 1000 <= 1 / base <= _LARGEST_CLOCK else Fraction(1, 90_000)
        self._reformatter = VideoReformatter()
        with translate_errors(self._path, FFmpegError):
            self._temporary = create_temporary(path)
        try:
            with translate_errors(self._path, FFmpegError):
                self._container, self._stream = self._open(plan.step)
        except BaseException:  # nobody knows of the file yet
            self._temporary.unlink(missing_ok=True)
            raise
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = wide, high, "yuv420p"
        context.time_base = self._base
        context.flags |= Flags.frame_duration
        context.options = {"crf": "20", "preset": "veryfast"}
        context.color_range, context.colorspace = 1, 1
        context.color_primaries, context.color_trc = 1, 1

    def _open(self, step: Fraction | None) -> tuple[OutputContainer, VideoStream]:
        container = av.open(
            str(self._temporary),
            "w",
            format="mp4",
            container_options={
                "movflags": "+faststart",
                "video_track_timescale": str(self._base.denominator),
            },
        )
        assert isinstance(container, OutputContainer)
        stream = container.add_stream("libx264", rate=round(1 / step) if step else 25)
        assert isinstance(stream, VideoStream)
        return container, stream

    def see_input(self, slot: int, frame: Frame) -> None:
        """A real frame, in order; also one that will be replaced."""
        self._given[slot] = self._display.show(to_rgb(frame), side=_SIDE)
        self._advance(slot)

    def see_made(self, slot: int, frame: Frame, true: Frame | None = None) -> None:
        """A frame that was made."""
        self._made[slot] = self._display.show(to_rgb(frame), side=_SIDE)

    def see_true(self, slot: int, frame: Frame) -> None:
        """True frames are not shown."""

    def see_scores(self, index: int, frames: tuple[MadeFrameReport, ...]) -> None:
        """All is known about a gap."""
        self._scores[index] = frames

    def finish(self) -> None:
        """Code what is left and give the file its name.

        Raises:
            OutputError: the disk refuses.
        """
        self._advance(len(self._plan.slots))
        with translate_errors(self._path, FFmpegError):
            for packet in self._stream.encode(None):
                self._container.mux_one(packet)
            self._container.close()
            self._temporary.replace(find_place(self._path))

    def abandon(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(FFmpegError, OSError, ValueError):
            self._container.close()  # what is thrown away need not be whole
        self._temporary.unlink(missing_ok=True)

    def _advance(self, seen: int) -> None:
        """Code every slot, up to ``seen``, about which nothing more is to come."""
        while self._next < len(self._plan.slots):
            slot = self._next
            is_real = self._plan.slots[slot].source is not None
            index = self._gaps.get(slot)
            is_made = index is not None and self._plan.gaps[index].action != "leave"
            if slot > seen or (is_real and slot not in self._given):
                return
            if is_made and (index not in self._scores or slot not in self._made):
                return
            if is_real:
                self._played = self._given.pop(slot)
            filled = self._made.pop(slot, None) if is_made else self._played if is_real else None
            if filled is not None:
                self._code(slot, filled)
            self._next += 1

    def _code(self, slot: int, filled: Image) -> None:
        played = self._played if self._played is not None else np.zeros_like(filled)
        index = self._gaps.get(slot)
        canvas = Canvas(*self._size)
        places = (_BORDER, 2 * _BORDER + self._half)
        text = f"frame {slot}"
        colour = None
        if index is not None:
            planned = self._plan.gaps[index]
            colour = KIND_COLOURS[planned.gap.kind]
            text += f" · {planned.gap.kind} · {self._tell(index, slot)}"
        for left, image in zip(places, (played, filled), strict=True):
            canvas.put(image, left, _BORDER, frame=colour, border=_BORDER)
        top = filled.shape[0] + 2 * _BORDER
        canvas.write("as it played", _BORDER + 2, top, size=15, faint=True)
        canvas.write(text, places[1] + 2, top, size=15, colour=colour)
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(canvas.read(), format="rgb24"),
            format="yuv420p",
            dst_colorspace=1,
            dst_color_range=1,
        )
        time = self._plan.slots[slot].time - self._plan.slots[0].time
        tick = max(to_ticks(time, self._base), self._last_tick + 1)
        length = self._plan.step or Fraction(1, 25)
        if slot + 1 < len(self._plan.slots):
            length = self._plan.slots[slot + 1].time - self._plan.slots[slot].time
        self._last_tick = tick
        frame.pts, frame.time_base = tick, self._base
        frame.duration = max(1, to_ticks(length, self._base))
        frame.pict_type = 0
        with translate_errors(self._path, FFmpegError):
            for packet in self._stream.encode(frame):
                self._container.mux_one(packet)

    def _tell(self, index: int, slot: int) -> str:
        planned = self._plan.gaps[index]
        if planned.action == "leave":
            return "left as it is"
        report = self._scores[index][slot - planned.gap.start]
        if planned.action == "hold":
            return "held"
        if report.estimated_psnr is None:
            return "no estimate"
        return f"estimated {report.estimated_psnr:.1f} dB"
