"""What a Matroska header says of a video and PyAV cannot set: pixel aspect, 360° marks, crop.

FFmpeg begins a file so, and leaves room behind the list of places for more of them::

    Segment [ SeekHead | Void | Info | Tracks | ... | Cluster | Cluster | ... ]

The header of the tracks grows into that room, so that nothing behind it moves.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from .errors import MediaError, describe_error

__all__ = ["amend_video", "is_projected", "read_chroma_location", "read_marks"]

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_SEEK_HEAD, _VOID, _INFO, _TRACKS = 0x114D9B74, 0xEC, 0x1549A966, 0x1654AE6B
_CHECKSUM = 0xBF
_SEEK, _SEEK_POSITION = 0x4DBB, 0x53AC
_ENTRY, _VIDEO, _WIDTH, _HEIGHT = 0xAE, 0xE0, 0xB0, 0xBA
_SHOWN_WIDTH, _SHOWN_HEIGHT, _UNIT = 0x54B0, 0x54BA, 0x54B2
_TYPE, _IS_VIDEO = 0x83, 1
_PROJECTION, _PROJECTION_TYPE = 0x7670, 0x7671
_MARKS = (_PROJECTION, 0x54AA, 0x54BB, 0x54CC, 0x54DD)  # the others: rows and columns cut off
_COLOUR, _ACROSS, _DOWN = 0x55B0, 0x55B7, 0x55B8
# Where chroma lies by these two: 1 on a luma sample, 2 midway between two.
_SITINGS = {(1, 1): "topleft", (1, 2): "left", (2, 1): "top", (2, 2): "center"}
_LONGEST_MARKS = 2**20
_MOST_PARTS = 64  # elements before that of the tracks
_HEAD = 2**24  # bytes; the headers of tracks end long before


@dataclass(frozen=True)
class _Element:
    """Where an element of a file lies: its number and size from ``start``, its content after."""

    number: int
    start: int
    body: int
    stop: int


def read_marks(path: Path, number: int) -> bytes:
    """The elements that tell how a video surrounds the viewer, and what is to be cut off.

    number: of the video track, from 0. Empty if there are none, or the file is no Matroska.

    Raises:
        MediaError: the file cannot be read.
    """
    try:
        data, video = _find_video(path, number)
        return _collect(data, video)
    except ValueError:
        return b""


def read_chroma_location(path: Path, number: int) -> str | None:
    """Where a video's chroma samples lie, in FFmpeg's words, if its settings say it.

    number: of the video track, from 0.

    Raises:
        MediaError: the file cannot be read.
    """
    try:
        data, video = _find_video(path, number)
        colours = [p for p in _walk(data, video.body, video.stop) if p.number == _COLOUR]
        siting = {
            part.number: int.from_bytes(data[part.body : part.stop], "big")
            for colour in colours
            for part in _walk(data, colour.body, colour.stop)
        }
    except ValueError:
        return None
    return _SITINGS.get((siting.get(_ACROSS, 0), siting.get(_DOWN, 0)))


def _find_video(path: Path, number: int) -> tuple[bytes, _Element]:
    """The head of a file, and the settings of a video track in it.

    Raises:
        MediaError: the file cannot be read.
        ValueError: there is no such track.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_HEAD)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({describe_error(error)})") from error
    top = list(_walk(data, 0, len(data), n=2))
    if [element.number for element in top] == [_EBML, _SEGMENT]:
        for part in _walk(data, top[1].body, len(data), n=_MOST_PARTS):
            if part.number == _TRACKS:
                videos = list(_list_videos(data, part))
                if number < len(videos):
                    return data, videos[number]
    raise ValueError("no such track")


def is_projected(marks: bytes) -> bool:
    """Whether marks are, among others, those of 360° video."""
    return any(element.number == _PROJECTION for element in _walk(marks, 0, len(marks)))


def _list_videos(data: bytes, tracks: _Element) -> Iterator[_Element]:
    """The settings of each video track."""
    for entry in _walk(data, tracks.body, min(tracks.stop, len(data))):
        if entry.number != _ENTRY:
            continue
        parts = {part.number: part for part in _walk(data, entry.body, entry.stop)}
        kind = parts.get(_TYPE)
        is_video = kind is not None and data[kind.body : kind.stop] == bytes([_IS_VIDEO])
        if is_video and _VIDEO in parts:
            yield parts[_VIDEO]


def _is_flat(data: bytes, part: _Element) -> bool:
    """Whether an element is a projection, but of a flat picture: that is how a rotation is told."""
    if part.number != _PROJECTION:
        return False
    inside = _walk(data, part.body, part.stop)
    kinds = [data[each.body : each.stop] for each in inside if each.number == _PROJECTION_TYPE]
    return not any(b"".join(kinds))


def _collect(data: bytes, video: _Element) -> bytes:
    found = b"".join(
        data[part.start : part.stop]
        for part in _walk(data, video.body, video.stop)
        if part.number in _MARKS and not _is_flat(data, part)
    )
    return found if len(found) <= _LONGEST_MARKS else b""


def amend_video(path: Path, *, aspect: Fraction | None = None, marks: bytes = b"") -> bool:
    """Write into the header of a finished file what is true of its video tracks.

    aspect: of their pixels. marks: as ``read_marks`` gives them; for the first of the tracks.
    Returns whether that could be done: the file may begin in another way, or lack the room.

    Source: RFC 9559 (Matroska), RFC 8794 (EBML).
    """
    with path.open("r+b") as file:
        data = file.read(_HEAD)
        try:
            changed = _change(data, aspect, marks)
        except ValueError:
            return False
        if changed is None:
            return False
        start, content = changed
        file.seek(start)
        file.write(content)
    return True


def _change(data: bytes, aspect: Fraction | None, marks: bytes) -> tuple[int, bytes] | None:
    """What is to be written, and from which byte on."""
    top = list(_walk(data, 0, len(data), n=2))
    if [element.number for element in top] != [_EBML, _SEGMENT]:
        return None
    base = top[1].body
    parts = list(_walk(data, base, len(data), n=4))
    if [part.number for part in parts] != [_SEEK_HEAD, _VOID, _INFO, _TRACKS]:
        return None
    places, _, info, tracks = parts
    if tracks.stop > len(data):
        return None
    header = _change_tracks(data, tracks, aspect, marks)
    growth = len(header) - (tracks.stop - tracks.start)
    moved = {element.start - base for element in (info, tracks)}
    listed = _change_places(data, places, moved, growth)
    room = info.start - growth - places.start - len(listed)
    if room < 2:  # bytes of the smallest element
        return None
    return places.start, listed + _fill(room) + data[info.start : info.stop] + header


def _change_tracks(data: bytes, tracks: _Element, aspect: Fraction | None, marks: bytes) -> bytes:
    first = next(_list_videos(data, tracks), None)
    parts = []
    for entry in _walk(data, tracks.body, tracks.stop):
        content = data[entry.body : entry.stop]
        if entry.number == _ENTRY:
            content = b"".join(
                _write(
                    part.number,
                    _change_video(data, part, aspect)
                    + (_leave_out(marks, data, part) if part == first else b""),
                )
                if part.number == _VIDEO
                else data[part.start : part.stop]
                for part in _walk(data, entry.body, entry.stop)
            )
        parts.append((entry.number, content))
    return _write_master(_TRACKS, parts)


def _leave_out(marks: bytes, data: bytes, video: _Element) -> bytes:
    """Of marks those that a video's settings do not have yet."""
    known = {part.number for part in _walk(data, video.body, video.stop)}
    new = [part for part in _walk(marks, 0, len(marks)) if part.number not in known]
    return b"".join(marks[part.start : part.stop] for part in new)


def _change_video(data: bytes, video: _Element, aspect: Fraction | None) -> bytes:
    """The content of a video's settings with the size that it is shown in, in pixels."""
    if aspect is None:
        return data[video.body : video.stop]
    kept, sizes = b"", {}
    for part in _walk(data, video.body, video.stop):
        if part.number in (_WIDTH, _HEIGHT):
            sizes[part.number] = int.from_bytes(data[part.body : part.stop], "big")
        if part.number not in (_SHOWN_WIDTH, _SHOWN_HEIGHT, _UNIT):
            kept += data[part.start : part.stop]
    if len(sizes) < 2:
        raise ValueError("a video without a size")
    width, height = sizes[_WIDTH] * aspect, Fraction(sizes[_HEIGHT])
    if width.denominator > 1 and aspect < 1:  # rather more pixels than fewer are rounded
        width, height = Fraction(sizes[_WIDTH]), height / aspect
    return (
        kept
        + _write_number(_SHOWN_WIDTH, round(width))
        + _write_number(_SHOWN_HEIGHT, round(height))
    )


def _change_places(data: bytes, places: _Element, moved: set[int], growth: int) -> bytes:
    """The list of places, with those corrected of what begins ``growth`` bytes earlier."""
    parts = []
    for seek in _walk(data, places.body, places.stop):
        content = data[seek.body : seek.stop]
        if seek.number == _SEEK:
            content = b""
            for part in _walk(data, seek.body, seek.stop):
                place = int.from_bytes(data[part.body : part.stop], "big")
                if part.number == _SEEK_POSITION and place in moved:
                    content += _write_number(_SEEK_POSITION, place - growth)
                else:
                    content += data[part.start : part.stop]
        parts.append((seek.number, content))
    return _write_master(_SEEK_HEAD, parts)


def _walk(data: bytes, start: int, stop: int, *, n: int | None = None) -> Iterator[_Element]:
    """The elements that follow one another, or the first ``n`` of them.

    Raises:
        ValueError: it is no row of elements.
    """
    while start < stop and n != 0:
        number, at = _read_number(data, start, keep_mark=True)
        size, body = _read_number(data, at, keep_mark=False)
        is_open = size == (1 << 7 * (body - at)) - 1  # of unknown size: to the end
        end = stop if is_open else body + size
        if n is None and end > stop:
            raise ValueError("an element is longer than what it lies in")
        yield _Element(number, start, body, end)
        start, n = end, None if n is None else n - 1


def _read_number(data: bytes, at: int, *, keep_mark: bool) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    if at >= len(data) or data[at] == 0:
        raise ValueError("no number")
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big")
    if at + length > len(data):
        raise ValueError("a number is cut off")
    return value if keep_mark else value & (1 << 7 * length) - 1, at + length


def _write(number: int, content: bytes) -> bytes:
    length = 1
    while len(content) >= (1 << 7 * length) - 1:
        length += 1
    size = (len(content) | 1 << 7 * length).to_bytes(length, "big")
    return number.to_bytes((number.bit_length() + 7) // 8, "big") + size + content


def _write_number(number: int, value: int) -> bytes:
    return _write(number, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def _write_master(number: int, parts: list[tuple[int, bytes]]) -> bytes:
    """An element of elements; a checksum, which comes first, is made anew."""
    content = b"".join(_write(*part) for part in parts if part[0] != _CHECKSUM)
    if parts and parts[0][0] == _CHECKSUM:
        content = _write(_CHECKSUM, zlib.crc32(content).to_bytes(4, "little")) + content
    return _write(number, content)


def _fill(n_bytes: int) -> bytes:
    """An element of so many bytes that says nothing."""
    size_length = 1 if n_bytes < 2 + 127 else 8
    n_inside = n_bytes - 1 - size_length
    size = (n_inside | 1 << 7 * size_length).to_bytes(size_length, "big")
    return bytes([_VOID]) + size + bytes(n_inside)
