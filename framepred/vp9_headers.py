"""The headers of VP9 frames (VP9 bitstream specification, sections 6.2, 7.2 and annex B)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from .bits import Bits

__all__ = ["INDEX_MARKER", "SYNC", "find_tiles", "read_pixels", "split_packet", "spoil_tiles"]

SYNC = 0x498342  # stands before each size that no picture before it bounds
INDEX_MARKER = 0b110  # the upper bits of a byte at both ends of the index of a packet's frames
_FRAME_MARKER = 0b10
_SRGB = 7
_LONGEST = 256  # bytes that hold all that is read of one
_N_REFERENCES = 3
_N_SEGMENTS = 8
_FEATURES = ((8, True), (6, True), (2, False), (0, False))  # bits, and whether a sign follows
_OTHER = 0x5A  # the bits that are flipped
_NARROWEST, _WIDEST = 4, 64  # of tiles, in blocks of 64 pixels


def split_packet(packet: bytes) -> list[bytes]:
    """Return the frames of a packet, which has an index at its end if they are several."""
    if packet and packet[-1] >> 5 == INDEX_MARKER:
        n_frames, n_bytes = (packet[-1] & 7) + 1, (packet[-1] >> 3 & 3) + 1
        index = packet[-2 - n_frames * n_bytes :]
        if len(index) == 2 + n_frames * n_bytes and index[0] == index[-1]:
            sizes = [
                int.from_bytes(index[i : i + n_bytes], "little")
                for i in range(1, len(index) - 1, n_bytes)
            ]
            ends = list(itertools.accumulate(sizes))
            return [packet[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    return [packet]


def read_pixels(frame: bytes) -> int:
    """Return the size that a frame's header announces, 0 where it has that of another picture.

    A header that makes no sense announces nothing.
    """
    try:
        start = _read_start(Bits(frame[:_LONGEST].ljust(_LONGEST, b"\0")))
    except ValueError:
        return 0
    return 0 if start is None or start.size is None else start.size[0] * start.size[1]


def find_tiles(frame: bytes, width: int) -> list[slice]:
    """Find the tiles of a frame: what is behind its headers; none where it shows another picture.

    width: of the pictures before it, in pixels.

    Raises ValueError: its header makes no sense, or a tile is cut off.
    """
    if not frame or frame[0] >> 6 != _FRAME_MARKER:
        raise ValueError("not a frame")
    bits = Bits(frame[:_LONGEST])
    start = _read_start(bits)
    if start is None:
        return []
    if bits.read(1):
        bits.read(32)  # the size to be shown at
    if start.is_inter:
        bits.read(1)  # precise motion vectors
        if not bits.read(1):
            bits.read(2)  # the interpolation filter
    if not start.is_resilient:
        bits.read(2)  # whether probabilities are handed on, and adapted
    bits.read(2)  # which of them
    _skip_filters(bits)
    _skip_segments(bits)
    n_blocks = ((width if start.size is None else start.size[0]) + 63) // 64
    n_log = next(n for n in itertools.count() if _WIDEST << n >= n_blocks)
    while n_blocks >> n_log + 1 >= _NARROWEST and bits.read(1):
        n_log += 1
    n_log += bits.read(1) and 1 + bits.read(1)  # rows of tiles
    n_header = bits.read(16)
    place = bits.n_bytes + n_header
    tiles = []
    for _ in range((1 << n_log) - 1):
        stop = place + 4 + int.from_bytes(frame[place : place + 4], "big")
        tiles.append(slice(place + 4, stop))
        place = stop
    if not n_header or place >= len(frame):
        raise ValueError("a tile is cut off")
    return [*tiles, slice(place, len(frame))]


def spoil_tiles(packet: bytes, width: int) -> bytes:
    """Return a packet of which all is otherwise that its headers do not say.

    Raises ValueError as ``find_tiles`` does.
    """
    frames = split_packet(packet)
    spoilt = b""
    for frame in frames:
        content = bytearray(frame)
        for tile in find_tiles(frame, width):
            # The first bit of a tile is always 0.
            inside = slice(tile.start + 1, tile.stop)
            content[inside] = bytes(byte ^ _OTHER for byte in frame[inside])
        spoilt += content
    return spoilt + packet[len(spoilt) :]


@dataclass(frozen=True)
class _Start:
    """The beginning of a header, up to the size."""

    is_inter: bool  # predicted from other pictures
    is_resilient: bool
    size: tuple[int, int] | None  # width and height; None: that of another picture


def _read_start(bits: Bits) -> _Start | None:
    """Read a header up to its size; None where it shows a picture that there is already.

    Raises ValueError: it makes no sense.
    """
    bits.read(2)
    profile = bits.read(1) | bits.read(1) << 1
    if profile == 3:
        bits.read(1)
    if bits.read(1):
        return None
    is_inter, is_shown, is_resilient = (bool(bits.read(1)) for _ in range(3))
    is_intra_only = False
    if is_inter:
        is_intra_only = bool(not is_shown and bits.read(1))
        if not is_resilient:
            bits.read(2)
    if not is_inter or is_intra_only:
        if bits.read(24) != SYNC:
            raise ValueError("a size without its sync code")
        if not is_inter or profile > 0:
            _skip_colours(bits, profile)
    if is_inter:
        bits.read(8)  # the places that it is kept in
        if not is_intra_only:
            bits.read(4 * _N_REFERENCES)
            for _ in range(_N_REFERENCES):
                if bits.read(1):
                    return _Start(True, is_resilient, None)
    size = (bits.read(16) + 1, bits.read(16) + 1)
    return _Start(is_inter and not is_intra_only, is_resilient, size)


def _skip_colours(bits: Bits, profile: int) -> None:
    if profile >= 2:
        bits.read(1)
    is_subsampled = bits.read(3) != _SRGB
    if is_subsampled:
        bits.read(1)
    if profile in (1, 3):
        bits.read(3 if is_subsampled else 1)


def _skip_filters(bits: Bits) -> None:
    """The loop filter and the quantizers."""
    bits.read(6 + 3)
    if bits.read(1) and bits.read(1):
        for _ in range(4 + 2):
            if bits.read(1):
                bits.read(7)
    bits.read(8)
    for _ in range(3):
        if bits.read(1):
            bits.read(5)


def _skip_segments(bits: Bits) -> None:
    if not bits.read(1):
        return
    if bits.read(1):
        for _ in range(7):
            if bits.read(1):
                bits.read(8)
        is_predicted = bits.read(1)
        for _ in range(3):
            if is_predicted and bits.read(1):
                bits.read(8)
    if bits.read(1):
        bits.read(1)
        for _ in range(_N_SEGMENTS):
            for n_bits, is_signed in _FEATURES:
                if bits.read(1):
                    bits.read(n_bits + is_signed)
