"""Pictures that were lost on the way, told by the numbers that the others bear.

A hole in the times may be a loss, or frames that were never coded. Pictures that others are
predicted from count themselves, so the next one tells the two apart, and tells too whether anything
was predicted from what is gone::

    H.264, frame_num            I0 P1 b2 P2 [P3 lost] b4 P4      4 follows on 2: lost
                                I0 P1 [b2 lost] P2 b3 P3         nothing is predicted from b2
    MPEG-2, temporal_reference  I2 b0 b1 [P5 lost] b3 b4 P8      3 lies behind the newest, 2: lost
    MPEG-4, time of display     I0 P3 b1 b2 [P6 lost] b4 b5 P9   4 lies behind the newest, 3: lost

Sources: ITU-T H.264, 7.4.3 (frame_num) and 8.2.5.2 (gaps in it); ITU-T H.262, 6.3.9
(temporal_reference); ISO/IEC 14496-2, 6.3.3 and 6.3.5 (times). Without B-pictures the times of
MPEG-4 tell no more than those of the container. Other codecs have no such numbers, or a decoder
that goes by them.
"""

from __future__ import annotations

import contextlib
from itertools import pairwise
from typing import Protocol

from . import bitstream, parameter_sets
from .bits import Bits
from .parameter_sets import Numbering

__all__ = ["Continuity", "follow_numbers"]

_N_TEMPORAL = 1024  # temporal_reference has ten bits
_MOST_BYTES = 1 << 16  # of a packet that are looked through for its first slice
_LONGEST_HEAD = 64  # bytes of a header in MPEG-4 that hold what is read of it
_START = b"\0\0\1"
_PICTURE, _LAST_SLICE, _GROUP = 0x00, 0xAF, 0xB8  # codes behind it, in MPEG-2
_I, _P, _B = 1, 2, 3
_LAYERS, _GOV, _VOP = range(0x20, 0x30), 0xB3, 0xB6  # in MPEG-4
_VOP_I, _VOP_B = 0, 2
_GREY_SHAPE = 3


class Continuity(Protocol):
    """Follows the numbers of a stream's pictures."""

    is_numbered: bool
    """Whether numbers were found that tell of losses."""

    def lacks_reference(self, packet: bytes) -> bool:
        """Take the next packet; whether a picture was lost that it is predicted from.

        Of those behind a loss the first is told, and others may be; one that cannot be read is not.
        """
        ...


def follow_numbers(codec: str, extradata: bytes) -> Continuity | None:
    """Begin to follow the numbers of a stream, if its codec has any.

    :param codec: FFmpeg's name.
    :param extradata: the stream's header, in FFmpeg's form for the codec; may be empty.
    """
    if codec == "h264":
        return _FrameNumbers(extradata)
    if codec in ("mpeg2video", "mpeg1video"):
        return _TemporalReferences()
    return _VopTimes(extradata) if codec == "mpeg4" else None


class _FrameNumbers:
    """H.264: each reference picture has the next number; an IDR picture begins anew at 0."""

    def __init__(self, extradata: bytes) -> None:
        self.is_numbered = False
        self._by_sps: dict[int, Numbering] = {}
        self._by_pps: dict[int, Numbering] = {}
        self._last: int | None = None  # the number of the last reference picture
        self._told = False  # a picture that is no reference has told what was lost since
        self._length_size, sets = bitstream.read_extradata("h264", extradata)
        for unit in sets:
            with contextlib.suppress(ValueError):
                self._learn(unit)

    def lacks_reference(self, packet: bytes) -> bool:
        with contextlib.suppress(ValueError):
            for unit in bitstream.walk_units(packet[:_MOST_BYTES], self._length_size):
                if unit[0] & 0x1F in (7, 8):
                    self._learn(unit)
                elif unit[0] & 0x1F in (1, 2, 5):
                    return self._follow(unit)
        return False

    def _learn(self, unit: bytes) -> None:
        """Take a parameter set."""
        if unit[0] & 0x1F == 7:
            _, number = bitstream.name_set("h264", unit)
            self._by_sps[number] = parameter_sets.read_numbering(unit)
        elif unit[0] & 0x1F == 8:
            number, sps = parameter_sets.read_pps(unit)
            if sps in self._by_sps:
                self._by_pps[number] = self._by_sps[sps]

    def _follow(self, unit: bytes) -> bool:
        """Take the first slice of a picture."""
        found = bitstream.read_avc_number(unit, self._by_pps)
        if found is None:
            return False
        number, is_intra, numbering = found
        last, was_told = self._last, self._told
        self.is_numbered = self.is_numbered or not numbering.may_skip
        is_reference = bool(unit[0] & 0x60)
        if is_reference:
            self._last, self._told = number, False
        if is_intra or last is None or numbering.may_skip:
            return False
        n_lost = (number - last) % (1 << numbering.n_bits) - 1
        if n_lost < 1:
            return False
        self._told = not is_reference
        return not (is_reference and was_told)


class _TemporalReferences:
    """MPEG-2 and MPEG-1: pictures are numbered as they are shown, anew in each group."""

    def __init__(self) -> None:
        self.is_numbered = False
        self._newest: int | None = None  # the number of the last picture that is no B-picture
        self._step = 0  # from the one before to it, 0 if unknown
        self._between: set[int] = set()  # the B-pictures behind it, shown between the two
        self._usual = 0  # the longest step of which nothing was missing

    def lacks_reference(self, packet: bytes) -> bool:
        lacks = False
        head = packet[:_MOST_BYTES]
        place = head.find(_START)
        while 0 <= place < len(head) - 5:
            code = head[place + 3]
            if code == _GROUP:
                self._newest = None
            elif code == _PICTURE:
                number = head[place + 4] << 2 | head[place + 5] >> 6
                lacks = self._follow(number, head[place + 5] >> 3 & 7) or lacks
            elif code <= _LAST_SLICE:
                break
            place = head.find(_START, place + 3)
        return lacks

    def _follow(self, number: int, kind: int) -> bool:
        newest = self._newest
        self.is_numbered = True
        if kind == _I:
            self._newest, self._step, self._between = number, 0, set()
        if newest is None or kind not in (_P, _B):
            return False
        ahead = (number - newest) % _N_TEMPORAL
        if kind == _B:  # shown before the newest of the others
            self._between.add(number)
            behind = (newest - number) % _N_TEMPORAL
            return behind >= _N_TEMPORAL // 2 or 0 < self._step <= behind
        if ahead == 0:
            return False  # the second field
        if self._step == len(self._between) + 1:
            self._usual = max(self._usual, self._step)
        self._newest, self._step, self._between = number, ahead, set()
        return ahead >= _N_TEMPORAL // 2 or 0 < self._usual < ahead


class _VopTimes:
    """MPEG-4: a picture tells its second, from that of the one before, and its moment in it."""

    def __init__(self, extradata: bytes) -> None:
        self.is_numbered = False
        self._resolution = 0  # ticks in a second
        self._seconds = (0, 0)  # of the newest picture that is no B-picture, and the one before
        self._newest: int | None = None  # its time in ticks
        self._between: set[int] = set()  # of the B-pictures behind it
        self._span = 0  # from the one before to it
        self._usual = 0  # the longest span of which nothing was missing, with B-pictures in it
        self.lacks_reference(extradata)

    def lacks_reference(self, packet: bytes) -> bool:
        lacks = False
        place = packet.find(_START)
        while 0 <= place < len(packet) - 4:
            code = packet[place + 3]
            bits = Bits(packet[place + 4 : place + 4 + _LONGEST_HEAD])
            with contextlib.suppress(ValueError):
                if code in _LAYERS:
                    self._resolution = _read_resolution(bits)
                elif code == _GOV:
                    hours, minutes = bits.read(5), bits.read(6)
                    bits.read(1)
                    self._seconds = 3600 * hours + 60 * minutes + bits.read(6), self._seconds[0]
                    self._newest, self._span = None, 0  # the clock may begin anew
                elif code == _VOP and self._resolution:
                    lacks = self._follow(bits) or lacks
            place = packet.find(_START, place + 3, _MOST_BYTES)
        return lacks

    def _follow(self, bits: Bits) -> bool:
        kind, n_seconds = bits.read(2), 0
        while bits.read(1):
            n_seconds += 1
        bits.read(1)
        moment = bits.read(max(1, (self._resolution - 1).bit_length()))
        bits.read(1)
        if not bits.read(1):
            return False  # not coded
        newest = self._newest
        if kind == _VOP_B:
            time = (self._seconds[1] + n_seconds) * self._resolution + moment
            self._between.add(time)
            if newest is None:
                return False
            return time >= newest or 0 < self._span <= newest - time  # not between the two
        if self._span and len(self._between) > 0 and self._is_even():
            self._usual = max(self._usual, self._span)
            self.is_numbered = True
        seconds = self._seconds[0] + n_seconds
        if newest is not None and seconds * self._resolution + moment <= newest:
            seconds += 1  # the picture that told of the next second is lost
        self._seconds = seconds, self._seconds[0]
        self._newest = seconds * self._resolution + moment
        self._span = 0 if newest is None else self._newest - newest
        self._between = set()
        return kind != _VOP_I and 0 < 2 * self._usual <= self._span

    def _is_even(self) -> bool:
        """Whether the last pictures came at equal distances: none of them is missing."""
        assert self._newest is not None
        times = sorted({self._newest - self._span, *self._between, self._newest})
        return len({after - before for before, after in pairwise(times)}) == 1


def _read_resolution(bits: Bits) -> int:
    """Return the ticks in a second from the header of a video object layer."""
    bits.read(9)
    version = 1
    if bits.read(1):
        version = bits.read(4)
        bits.read(3)
    if bits.read(4) == 15:
        bits.read(16)
    if bits.read(1):
        bits.read(3)
        if bits.read(1):
            bits.read(79)
    if bits.read(2) == _GREY_SHAPE and version != 1:
        bits.read(4)
    bits.read(1)
    return bits.read(16)
