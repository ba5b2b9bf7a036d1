"""A video read ahead of the work on it and written behind it: what filling and forecasting share.

Reader and writer have a thread each, and look at the source through containers of their own. The
longer the queues, the more of a long call of the network they bridge; the larger the frames, the
shorter they are.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from .concealment import mark_frames, read_twins
from .excerpts import Excerpts, read_excerpts
from .insertion import NO_DELAY, Delay
from .outputs import is_pipe
from .pipes import PipeWriter, choose_pictures, list_losses, open_stdout
from .relay import Behind, Promise, read_ahead, write_behind
from .reports import StageClock
from .video import Encoding, Frame, Graft, Grafter, Unread, VideoInfo, VideoReader, VideoWriter

__all__ = [
    "VideoSink",
    "choose_crew_size",
    "choose_depth",
    "choose_lead",
    "read_video",
    "write_video",
]

_QUEUE_BYTES = 2**27
_SHORTEST, _LONGEST = 4, 64  # frames in a queue
_LEAD_BYTES = 2**26
_LONGEST_LEAD = 8  # frames
_MOST_BESIDE = 4  # threads: more of them wait for Python's lock than work


def choose_depth(info: VideoInfo) -> int:
    """How many frames of a video may wait in a queue."""
    n_bytes = info.width * info.height * (3 if info.bit_depth > 8 else 1.5)  # as 4:2:0
    return int(max(_SHORTEST, min(_QUEUE_BYTES / max(n_bytes, 1), _LONGEST)))


def choose_lead(info: VideoInfo) -> int:
    """How many frames are taken ahead of a call of the network, to be made RGB meanwhile.

    A second of video at most: so much later the pictures come than the sound beside them.
    """
    n_bytes = info.width * info.height * (9 if info.bit_depth > 8 else 4.5)  # as 4:2:0 and as RGB
    n_in_second = info.average_rate or _LONGEST_LEAD
    return int(min(_LEAD_BYTES / max(n_bytes, 1), n_in_second, _LONGEST_LEAD))


def choose_crew_size() -> int:
    """How many threads are to work on single frames beside the main one."""
    return min(os.cpu_count() or 1, _MOST_BESIDE)


def read_video(
    source: VideoInfo,
    *,
    copy_streams: bool,
    clock: StageClock,
    frame_threads: bool = True,
    damaged: Collection[int] = (),
    excerpts: Excerpts | None = None,
) -> AbstractContextManager[Iterator[Any]]:
    """Read as ``VideoReader.read`` does, ahead of who takes the items; the stage "decode".

    damaged: frames of which it is to be found out where the decoder made them up; for that a second
    decoder runs beside. excerpts: what is decoded, if that is not all; for a ``Grafter`` only.
    """
    depth = choose_depth(source)

    def read() -> Generator[Any, None, None]:
        with ExitStack() as stack:
            reader = stack.enter_context(
                VideoReader(
                    source.path,
                    copy_streams=copy_streams,
                    frame_threads=frame_threads,
                    info=source,
                )
            )
            if excerpts is not None:
                yield from clock.iterate("decode", read_excerpts(reader, excerpts))
                return
            items = reader.read()
            if damaged:
                twins = read_ahead(lambda: read_twins(source.path, damaged), depth=depth)
                items = mark_frames(items, stack.enter_context(twins), damaged)
            yield from clock.iterate("decode", items)

    return read_ahead(read, depth=depth)


@contextmanager
def write_video(
    target: Path,
    *,
    like: VideoInfo,
    copy_streams: bool,
    clock: StageClock,
    encoding: Encoding = Encoding(),  # noqa: B008 (it cannot be changed)
    overwrite: bool = False,
    graft: Graft | None = None,
    delay: Delay = NO_DELAY,
    is_sound_moved: bool = False,
    rate: Fraction | None = None,
    time_base: Fraction | None = None,
    begin: Fraction | None = None,
    step: Fraction | None = None,
    stop: Fraction | None = None,
    is_recounted: bool = False,
) -> Iterator[VideoSink]:
    """Write as ``VideoWriter`` does, behind who hands over frames; the stage "encode".

    To standard output as ``PipeWriter`` does, a frame every ``step`` seconds; nothing of the
    encoding applies there. With a ``graft`` as ``Grafter`` does, which has its encoder already.

    What cannot be opened is refused at once. An error in writing is raised at a later call, or at
    the end of the block.
    """

    @contextmanager
    def open_writer() -> Iterator[VideoWriter | PipeWriter]:
        if is_pipe(target):
            pictures = choose_pictures(like, None if step is None else 1 / step)
            with PipeWriter(open_stdout(), pictures, losses=list_losses(like)) as pipe:
                yield pipe
            return
        with VideoReader(like.path, copy_streams=copy_streams, info=like) as reader:
            if graft is not None:
                writer: VideoWriter = Grafter(
                    target, like=reader, graft=graft, overwrite=overwrite, stop=stop
                )
            else:
                writer = VideoWriter(
                    target,
                    like=reader,
                    encoding=encoding,
                    overwrite=overwrite,
                    delay=delay,
                    is_sound_moved=is_sound_moved,
                    rate=rate,
                    time_base=time_base,
                    begin=begin,
                    stop=stop,
                    is_recounted=is_recounted,
                )
            with writer:
                yield writer

    with write_behind(open_writer, depth=choose_depth(like)) as behind:
        yield VideoSink(behind, clock)


class VideoSink:
    """A ``VideoWriter`` in another thread; made by ``write_video``."""

    def __init__(self, behind: Behind[VideoWriter | PipeWriter], clock: StageClock) -> None:
        self._behind = behind
        self._clock = clock

    def write(self, frame: Frame | Unread | Promise[Frame]) -> None:
        """Hand over a frame, or one that a crew is still at work on, which must outlive this.

        From now on only its samples may be looked at. What its work raised is raised as an error
        in writing is.
        """

        def job(writer: VideoWriter | PipeWriter) -> None:
            done = frame.get() if isinstance(frame, Promise) else frame
            with self._clock.measure("encode"):
                if isinstance(done, Unread):
                    assert isinstance(writer, Grafter)
                    writer.write(done)
                else:
                    writer.write(done)

        self._behind.call(job)

    def copy(self, packet: Any) -> None:
        """Hand over a packet of another stream."""

        def job(writer: VideoWriter | PipeWriter) -> None:
            with self._clock.measure("encode"):
                writer.copy(packet)

        self._behind.call(job)

    @property
    def n_streams_copied(self) -> int:
        """As the writer counts them, when the block is over."""
        return self._behind.resource.n_streams_copied

    @property
    def left_out(self) -> tuple[str, ...]:
        """As the writer lists them, when the block is over."""
        return self._behind.resource.left_out
