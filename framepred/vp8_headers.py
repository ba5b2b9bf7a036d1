"""The headers of VP8 frames, which say how to read the rest (RFC 6386, sections 9 and 19.2)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from . import vp8_tables as tables
from .bool_coder import BoolReader

__all__ = ["STATE_SIZE", "Header", "HeaderReader", "Probabilities"]

_START = b"\x9d\x01\x2a"  # of a key frame
_SIZE_BITS = 0x3FFF  # of a width or height; those above say how to scale
_N_SEGMENTS = 4
_ALWAYS = 255  # a probability that is not written
_STATE = struct.Struct(">HH??1056s38s4s3s")
STATE_SIZE = _STATE.size


@dataclass(frozen=True)
class Probabilities:
    """What frames hand on to the next: probabilities in 256ths of what is false."""

    coefficients: bytes = tables.COEFFICIENTS
    motion: bytes = tables.MOTION
    luma_modes: bytes = tables.LUMA_MODES
    chroma_modes: bytes = tables.CHROMA_MODES


@dataclass(frozen=True)
class Header:
    """What a frame's header says of how to read its macroblocks."""

    is_key: bool
    n_columns: int  # of macroblocks
    n_rows: int
    segment: tuple[int, int, int] | None  # probabilities, where each macroblock names its segment
    skip: int | None  # probability, where macroblocks say that they have no coefficients
    inter: int  # probability that a macroblock is not predicted from another picture
    last: int  # and if it is, from the last one
    golden: int  # and if not, from the golden one
    is_backward: tuple[bool, ...]  # of references: none, last, golden, altref (9.7, sign bias)
    probabilities: Probabilities
    first: BoolReader  # the first partition, from the first macroblock on
    others: tuple[BoolReader, ...]  # the partitions of coefficients
    places: tuple[slice, ...]  # of these in the frame


class HeaderReader:
    """Reads the headers of a stream's frames in their order."""

    @classmethod
    def restore(cls, state: bytes) -> HeaderReader:
        """Go on from where another one was when it was saved."""
        width, height, golden, altref, *probabilities = _STATE.unpack(state)
        reader = cls()
        reader._size = (width, height) if width or height else None
        reader._is_backward = (False, False, golden, altref)
        reader._saved = Probabilities(*probabilities)
        return reader

    def save(self) -> bytes:
        """Return all that the next header needs, as ``STATE_SIZE`` bytes."""
        saved = self._saved
        return _STATE.pack(
            *(self._size or (0, 0)),
            *self._is_backward[2:],
            *(saved.coefficients, saved.motion, saved.luma_modes, saved.chroma_modes),
        )

    def __init__(self, *, max_pixels: int | None = None) -> None:
        """Begin; ``max_pixels``: of the largest picture that is taken, if there is a bound."""
        self._max_pixels = max_pixels
        self._size: tuple[int, int] | None = None
        self._saved = Probabilities()
        self._is_backward: tuple[bool, ...] = (False,) * 4

    def read(self, frame: bytes) -> Header:
        """Read the header of the next frame. One that raises leaves no trace.

        Raises:
            ValueError: it makes no sense, or there was no key frame before it.
            IndexError: the first partition ends within it.
        """
        tag = int.from_bytes(frame[:3], "little")
        is_key, n_first = not tag & 1, tag >> 5
        size, saved, is_backward = self._size, self._saved, self._is_backward
        start = 3
        if is_key:
            size = self._read_size(frame)
            saved, is_backward = Probabilities(), (False,) * 4
            start = 10
        if size is None:
            raise ValueError("there is no key frame before this")
        if start + n_first > len(frame):
            raise ValueError("the first partition is cut off")
        bools = BoolReader(frame[start : start + n_first])
        if is_key:
            bools.read_number(2)  # the colour space, and whether samples must be clamped
        segment = _read_segments(bools)
        bools.read_number(1 + 6 + 3)  # the loop filter's kind, level, sharpness
        if bools.read_number(1) and bools.read_number(1):
            for _ in range(8):
                bools.skip_signed(6)
        n_others = 1 << bools.read_number(2)
        bools.read_number(7)  # quantizers
        for _ in range(5):
            bools.skip_signed(4)
        if not is_key:
            is_backward = _read_references(bools)
        is_kept = bools.read_number(1)  # whether the probabilities are handed on
        if not is_key:
            bools.read_number(1)  # whether this is the next last picture
        coefficients = _read_coefficients(bools, saved.coefficients)
        probabilities = replace(saved, coefficients=coefficients)
        skip = bools.read_number(8) if bools.read_number(1) else None
        inter = last = golden = 0
        if not is_key:
            inter, last, golden = (bools.read_number(8) for _ in range(3))
            probabilities = _read_modes(bools, probabilities)
        places = _find_partitions(frame, start + n_first, n_others)
        self._size, self._is_backward = size, is_backward
        self._saved = probabilities if is_kept else saved
        width, height = size
        return Header(
            is_key=is_key,
            n_columns=(width + 15) // 16,
            n_rows=(height + 15) // 16,
            segment=segment,
            skip=skip,
            inter=inter,
            last=last,
            golden=golden,
            is_backward=is_backward,
            probabilities=probabilities,
            first=bools,
            others=tuple(BoolReader(frame[place]) for place in places),
            places=places,
        )

    def _read_size(self, frame: bytes) -> tuple[int, int]:
        """Read the width and height that a key frame begins with (9.1)."""
        if frame[3:6] != _START:
            raise ValueError("a key frame without its start code")
        width, height = (int.from_bytes(frame[i : i + 2], "little") & _SIZE_BITS for i in (6, 8))
        if not width or not height:
            raise ValueError("a picture without an area")
        if self._max_pixels is not None and width * height > self._max_pixels:
            raise ValueError("a picture larger than any that is decoded")
        return width, height


def _read_segments(bools: BoolReader) -> tuple[int, int, int] | None:
    """Read what is said of segments (9.3); the probabilities of their numbers, if any follow."""
    if not bools.read_number(1):
        return None
    has_numbers = bools.read_number(1)
    if bools.read_number(1):
        bools.read_number(1)
        for n_bits in (7, 6):  # quantizers, loop filter levels
            for _ in range(_N_SEGMENTS):
                bools.skip_signed(n_bits)
    if not has_numbers:
        return None
    first, second, third = (
        bools.read_number(8) if bools.read_number(1) else _ALWAYS for _ in range(3)
    )
    return first, second, third


def _read_references(bools: BoolReader) -> tuple[bool, ...]:
    """Read what becomes of the golden and the altref picture (9.7); whose vectors are reversed."""
    is_new_golden, is_new_altref = bools.read_number(1), bools.read_number(1)
    for is_new in (is_new_golden, is_new_altref):
        if not is_new:
            bools.read_number(2)  # a picture that is copied there, if any
    return False, False, bool(bools.read_number(1)), bool(bools.read_number(1))


def _read_coefficients(bools: BoolReader, before: bytes) -> bytes:
    """Read the changes of the coefficients' probabilities (13.4)."""
    probabilities = bytearray(before)
    for i, p in enumerate(tables.COEFFICIENT_UPDATES):
        if bools.read(p):
            probabilities[i] = bools.read_number(8)
    return bytes(probabilities)


def _read_modes(bools: BoolReader, before: Probabilities) -> Probabilities:
    """Read the changes of the modes' and motion vectors' probabilities (16.2, 17.2)."""
    luma, chroma = before.luma_modes, before.chroma_modes
    if bools.read_number(1):
        luma = bytes(bools.read_number(8) for _ in luma)
    if bools.read_number(1):
        chroma = bytes(bools.read_number(8) for _ in chroma)
    motion = bytearray(before.motion)
    for i, p in enumerate(tables.MOTION_UPDATES):
        if bools.read(p):
            motion[i] = bools.read_number(7) << 1 or 1
    return replace(before, motion=bytes(motion), luma_modes=luma, chroma_modes=chroma)


def _find_partitions(frame: bytes, start: int, n: int) -> tuple[slice, ...]:
    """Find the partitions behind the first one (9.5); all but the last write their sizes.

    Raises ValueError: one of those is cut off.
    """
    place = start + 3 * (n - 1)
    places = []
    for i in range(start, place, 3):
        size = int.from_bytes(frame[i : i + 3], "little")
        places.append(slice(place, place + size))
        place += size
    if place > len(frame):
        raise ValueError("a partition is cut off")
    return (*places, slice(place, len(frame)))
