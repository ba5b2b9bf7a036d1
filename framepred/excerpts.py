"""Decoding only the frames that are looked at, where the others are copied as they are coded.

The packets say from where on nothing looks back, so the groups of pictures far from any gap are
passed over::

    stored    I P P P | I P P P | I P P P | I P P P       |: an entry
    wanted                ^ ^       ^
    decoded             I P P     I P
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame

from .errors import MediaError, describe_error
from .inputs import demux
from .splicing import Coded, Encoded, find_groups
from .tasks import Task
from .timeline import Plan, to_ticks
from .video import Frame, Graft, Unread, VideoReader

__all__ = ["Excerpts", "plan_excerpts", "read_excerpts"]


@dataclass(frozen=True)
class Excerpts:
    """Which pictures are decoded, and which frames come of them."""

    groups: tuple[range, ...]  # stored pictures, each group decodable by itself
    frames: tuple[tuple[int, Unread], ...]  # all of the plan, and the tick of each, in order
    wanted: frozenset[int]  # frames, by their index
    bounds: tuple[int, ...]  # the lowest tick that is stored behind each picture


def plan_excerpts(graft: Graft, plan: Plan, tasks: Collection[Task]) -> Excerpts | None:
    """Choose what is to be decoded for some tasks and for what a graft encodes anew.

    Returns None where the packets' times are not those that the frames came with.
    """
    needed = {slot for task in tasks for slot in range(task.first, task.last)}
    places = {slot.time: i for i, slot in enumerate(plan.slots)}
    for stretch in graft.stretches:
        if isinstance(stretch, Encoded):
            wishes = graft.wishes[stretch.start : stretch.stop]
            needed.update(places[wish.time] for wish in wishes if wish.time in places)
    stored = {picture.pts: i for i, picture in enumerate(graft.coded)}
    frames: list[tuple[int, Unread]] = []
    wanted: dict[int, int] = {}
    for i, slot in enumerate(plan.slots):
        if slot.source is None:
            continue
        time = slot.time - slot.moved
        tick = to_ticks(time, graft.time_base)
        if tick not in stored or tick * graft.time_base != time:
            return None
        frames.append((tick, Unread(slot.source, time)))
        if i in needed:
            wanted[slot.source] = stored[tick]
    return Excerpts(
        groups=tuple(find_groups(graft.coded, wanted.values())),
        frames=tuple(frames),
        wanted=frozenset(wanted),
        bounds=_find_bounds(graft.coded),
    )


def _find_bounds(coded: Sequence[Coded]) -> tuple[int, ...]:
    """The lowest tick that is stored behind each picture; behind the last one, more than any."""
    ticks = [picture.pts for picture in coded]
    later = [*ticks[1:], max(ticks) + 1]
    return tuple(accumulate(reversed(later), min))[::-1]


def read_excerpts(reader: VideoReader, excerpts: Excerpts) -> Generator[Any, None, None]:
    """Yield what ``VideoReader.read`` does, but of the frames that are not wanted ``Unread``.

    reader: of an undamaged video, at its beginning.

    Raises:
        MediaError: a wanted frame does not decode, as it did before.
    """
    decoded: dict[int, Frame] = {}
    names = {tick: frame for tick, frame in excerpts.frames if frame.index in excerpts.wanted}
    frames = iter(excerpts.frames)
    tick, waiting = next(frames, (0, None))
    groups = iter(excerpts.groups)
    group = next(groups, range(0))
    number = -1
    streams: list[Stream] = [reader.stream]
    if reader.copy_streams:
        streams = list(reader.container.streams)
    for packet in _demux(reader, streams):
        if packet.stream_index != reader.stream.index:
            yield packet
            continue
        number += 1
        if number in group:
            for native in _decode(reader, packet, is_last=number == group[-1]):
                found = None if native.pts is None else names.get(native.pts)
                if found is not None:
                    if native.is_corrupt:
                        raise _refuse(reader, found)
                    decoded[found.index] = Frame(
                        native,
                        found.time,
                        found.index,
                        duration=native.duration * reader.info.time_base,
                        is_key=native.key_frame,
                    )
            if number == group[-1]:
                group = next(groups, range(0))
        bound = excerpts.bounds[min(number, len(excerpts.bounds) - 1)]
        while waiting is not None and tick < bound:
            if waiting.index not in excerpts.wanted:
                yield waiting
            elif waiting.index in decoded:
                yield decoded.pop(waiting.index)
            else:
                break  # the decoder still has it
            tick, waiting = next(frames, (0, None))
    if waiting is not None:
        raise _refuse(reader, waiting)


def _demux(reader: VideoReader, streams: list[Stream]) -> Iterator[Packet[Any]]:
    with _translated(reader):
        yield from demux(reader.container, streams)


def _decode(reader: VideoReader, packet: Packet[Any], *, is_last: bool) -> list[VideoFrame]:
    """Decode a packet; with the last one of a group all frames are got out of the decoder."""
    with _translated(reader):
        frames = reader.stream.decode(packet)
        if is_last:
            frames += reader.stream.decode(None)
            reader.stream.codec_context.flush_buffers()
    return frames


@contextmanager
def _translated(reader: VideoReader) -> Iterator[None]:
    """What was read without an error in the scan can be no other than a file that has changed."""
    try:
        yield
    except FFmpegError as error:
        raise MediaError(
            f"{reader.path}: a packet does not decode that did before ({describe_error(error)}); "
            "is something still writing to it?"
        ) from error


def _refuse(reader: VideoReader, frame: Unread) -> MediaError:
    return MediaError(
        f"{reader.path}: the frame at {float(frame.time):.3f} s does not decode as it did before; "
        "leave --codec copy out"
    )
