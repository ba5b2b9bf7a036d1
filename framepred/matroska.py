"""The pixel aspect ratio in a Matroska header, which PyAV cannot set.

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

__all__ = ["set_aspect"]

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_SEEK_HEAD, _VOID, _INFO, _TRACKS = 0x114D9B74, 0xEC, 0x1549A966, 0x1654AE6B
_CHECKSUM = 0xBF
_SEEK, _SEEK_POSITION = 0x4DBB, 0x53AC
_ENTRY, _VIDEO, _WIDTH, _HEIGHT = 0xAE, 0xE0, 0xB0, 0xBA
_SHOWN_WIDTH, _SHOWN_HEIGHT, _UNIT = 0x54B0, 0x54BA, 0x54B2
_HEAD = 2**24  # bytes; the headers of tracks end long before


@dataclass(frozen=True)
class _Element:
    """Where an element of a file lies: its number and size from ``start``, its content after."""

    number: int
    start: int
    body: int
    stop: int


def set_aspect(path: Path, aspect: Fraction) -> bool:
    """Write into the header of a finished file how wide its pixels are, of all video tracks.

    Returns whether that could be done: the file may begin in another way, or lack the room.

    Source: RFC 9559 (Matroska), RFC 8794 (EBML).
    """
    with path.open("r+b") as file:
        data = file.read(_HEAD)
        try:
            changed = _change(data, aspect)
        except ValueError:
            return False
        if changed is None:
            return False
        start, content = changed
        file.seek(start)
        file.write(content)
    return True


def _change(data: bytes, aspect: Fraction) -> tuple[int, bytes] | None:
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
    header = _change_tracks(data, tracks, aspect)
    growth = len(header) - (tracks.stop - tracks.start)
    moved = {element.start - base for element in (info, tracks)}
    listed = _change_places(data, places, moved, growth)
    room = info.start - growth - places.start - len(listed)
    if room < 2:  # bytes of the smallest element
        return None
    return places.start, listed + _fill(room) + data[info.start : info.stop] + header


def _change_tracks(data: bytes, tracks: _Element, aspect: Fraction) -> bytes:
    parts = []
    for entry in _walk(data, tracks.body, tracks.stop):
        content = data[entry.body : entry.stop]
        if entry.number == _ENTRY:
            content = b"".join(
                _write(part.number, _change_video(data, part, aspect))
                if part.number == _VIDEO
                else data[part.start : part.stop]
                for part in _walk(data, entry.body, entry.stop)
            )
        parts.append((entry.number, content))
    return _write_master(_TRACKS, parts)


def _change_video(data: bytes, video: _Element, aspect: Fraction) -> bytes:
    """The content of a video's settings with the size that it is shown in, in pixels."""
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
