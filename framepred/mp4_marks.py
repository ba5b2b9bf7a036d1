"""What MP4 and MOV say of a picture that surrounds the viewer, or has two eyes: kept as it is.

FFmpeg reads these boxes, and writes none of them for what is encoded::

    moov [ trak [ tkhd, mdia [ minf [ stbl [ stsd [ avc1 [ ..., st3d, sv3d ]]]]], uuid ], ... ]

They are copied whole, from the track of one file to that of another. The header grows, so it must
be what a file ends with, as it is in those that FFmpeg writes unless asked otherwise. Whether it is
told here too, for those who would have it first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .errors import MediaError, describe_error

__all__ = ["Marks", "has_header_first", "read_marks", "write_marks"]

_TO_ENTRIES = (b"mdia", b"minf", b"stbl", b"stsd")
_IN_ENTRY = (b"st3d", b"sv3d")
# Of Spherical Video V1: XML in a box of this name, in the track.
_IN_TRACK = b"uuid" + bytes.fromhex("ffcc8263f8554a938814587a02521fdd")
_STSD_FIELDS = 8  # bytes: version, flags, number of entries
_VIDEO_FIELDS = 78  # bytes of a video's sample entry before the boxes in it
_LONGEST_HEADER = 2**28  # bytes
_LONGEST_MARK = 2**20


@dataclass(frozen=True)
class Marks:
    """Boxes as they are in the file: of the sample entry, and of the track."""

    in_entry: bytes = b""
    in_track: bytes = b""

    def __bool__(self) -> bool:
        return bool(self.in_entry or self.in_track)


@dataclass(frozen=True)
class _Box:
    """Where a box lies in what it is in: from ``start``, its content from ``body``."""

    kind: bytes
    start: int
    body: int
    stop: int


def has_header_first(path: Path) -> bool:
    """Whether a player on a network can begin before it has the whole file.

    Raises:
        MediaError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return any(kind == b"moov" for kind, *_ in _list_parts(file, until=b"mdat"))
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({describe_error(error)})") from error


def read_marks(path: Path, track: int) -> Marks:
    """The marks of a track, by its number; none if the file is no MP4 or has another layout.

    Source: Spherical Video V1 and V2 (Google); ISO/IEC 14496-12.

    Raises:
        MediaError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            _, header = _find_header(file)
        for box in _walk(header, 0, len(header)):
            if box.kind == b"trak" and _read_number(header, box) == track:
                return _collect(header, box)
    except ValueError:
        pass
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({describe_error(error)})") from error
    return Marks()


def write_marks(path: Path, marks: Marks) -> bool:
    """Put marks into the header of a finished file, into its first video track.

    Returns whether that could be done: the header may not be the last part of the file.
    """
    try:
        with path.open("r+b") as file:
            start, header = _find_header(file)
            if file.read(1):
                return False
            grown = _write_box(b"moov", _mark(header, marks))
            file.seek(start)
            file.write(grown)
    except ValueError:
        return False
    return True


def _find_header(file: BinaryIO) -> tuple[int, bytes]:
    """Where the box "moov" begins, and its content; ValueError if there is none."""
    for kind, start, body, stop in _list_parts(file):
        if kind == b"moov":
            if stop - start > _LONGEST_HEADER:
                break
            file.seek(body)
            return start, file.read(stop - body)
    raise ValueError("no header")


def _list_parts(
    file: BinaryIO, *, until: bytes | None = None
) -> Iterator[tuple[bytes, int, int, int]]:
    """The outermost boxes of a file, up to one of a kind: that, and where box and content lie."""
    size = file.seek(0, 2)
    start = 0
    while start < size:
        file.seek(start)
        head = file.read(16)
        length, kind, n_head = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1:
            length, n_head = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = size - start
        if length < n_head or start + length > size or kind == until:
            return
        yield kind, start, start + n_head, start + length
        start += length


def _walk(data: bytes, start: int, stop: int) -> Iterator[_Box]:
    """Boxes that follow one another; what is no box at the end of them is passed over."""
    while start + 8 <= stop:
        length, body = int.from_bytes(data[start : start + 4], "big"), start + 8
        if length == 1:
            length, body = int.from_bytes(data[start + 8 : start + 16], "big"), start + 16
        if length < body - start or start + length > stop:
            return
        yield _Box(data[start + 4 : start + 8], start, body, start + length)
        start += length


def _find(data: bytes, parent: _Box, kind: bytes) -> _Box:
    for box in _walk(data, parent.body, parent.stop):
        if box.kind == kind:
            return box
    raise ValueError(f"no box {kind!r}")


def _read_number(data: bytes, track: _Box) -> int:
    head = _find(data, track, b"tkhd")
    at = head.body + (20 if data[head.body : head.body + 1] == b"\1" else 12)
    return int.from_bytes(data[at : at + 4], "big")


def _descend(data: bytes, track: _Box) -> list[_Box]:
    """A track and what is in it, down to the list of its sample entries."""
    boxes = [track]
    for kind in _TO_ENTRIES:
        boxes.append(_find(data, boxes[-1], kind))
    return boxes


def _collect(data: bytes, track: _Box) -> Marks:
    table = _descend(data, track)[-1]
    entry = next(_walk(data, table.body + _STSD_FIELDS, table.stop), None)
    if entry is None:
        raise ValueError("no sample entry")
    inside = [
        data[box.start : box.stop]
        for box in _walk(data, entry.body + _VIDEO_FIELDS, entry.stop)
        if box.kind in _IN_ENTRY
    ]
    beside = [
        data[box.start : box.stop]
        for box in _walk(data, track.body, track.stop)
        if data[box.start + 4 : box.start + 24] == _IN_TRACK
    ]
    marks = Marks(b"".join(inside), b"".join(beside))
    if len(marks.in_entry) + len(marks.in_track) > _LONGEST_MARK:
        raise ValueError("no marks are as long as that")
    return marks


def _mark(header: bytes, marks: Marks) -> bytes:
    """The header's content with the marks in its first video track."""
    for track in _walk(header, 0, len(header)):
        if track.kind != b"trak":
            continue
        handler = _find(header, _find(header, track, b"mdia"), b"hdlr")
        if header[handler.body + 8 : handler.body + 12] != b"vide":
            continue
        parents = _descend(header, track)
        entries = list(_walk(header, parents[-1].body + _STSD_FIELDS, parents[-1].stop))
        if not entries:
            break
        entry = entries[0]
        kept = header[entry.body : entry.body + _VIDEO_FIELDS]
        for box in _walk(header, entry.body + _VIDEO_FIELDS, entry.stop):
            # Copying, FFmpeg says in a MOV by "vexu" what it has read of "st3d", and refuses both.
            if box.kind not in (*_IN_ENTRY, b"vexu") or not marks.in_entry:
                kept += header[box.start : box.stop]
        content = kept + marks.in_entry
        child = entry
        for box in reversed(parents):  # each is as much longer as what is in it
            grown = _write_box(child.kind, content)
            content = header[box.body : child.start] + grown + header[child.stop : box.stop]
            child = box
        grown = _write_box(track.kind, content + marks.in_track)
        return header[: track.start] + grown + header[track.stop :]
    raise ValueError("no video track")


def _write_box(kind: bytes, content: bytes) -> bytes:
    return (len(content) + 8).to_bytes(4, "big") + kind + content
