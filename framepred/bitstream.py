"""H.264 and H.265 as bytes: NAL units, the parameter sets among them, and the list in the header.

Standard library only. Containers of the MP4 and Matroska families store each NAL unit behind its
length, and the parameter sets (PPS -> SPS -> VPS, named by small numbers) once in the track's
header: ISO/IEC 14496-15 calls it avcC and hvcC. Pictures of two encoders go into one track when
their parameter sets bear different numbers and the header lists them all: then not one byte of a
copied picture changes, and neither kind needs parameter sets between the pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from .bits import Bits, escape, unescape
from .parameter_sets import Codec, Numbering, read_hevc_pps, read_profile

__all__ = [
    "HEVC_NUMBER",
    "Codec",
    "Header",
    "Picture",
    "SetName",
    "break_link",
    "find_free_number",
    "is_chatter",
    "is_set",
    "join_units",
    "name_set",
    "parse_header",
    "read_avc_number",
    "read_extradata",
    "renumber",
    "split_stream",
    "split_units",
    "walk_units",
]

SetName = tuple[str, int]  # ("sps", 0)
EntryKind = Literal["idr", "cra", "bla"]

_SETS: dict[Codec, dict[int, str]] = {
    "h264": {7: "sps", 8: "pps", 13: "sps extension", 15: "subset sps"},
    "hevc": {32: "vps", 33: "sps", 34: "pps"},
}
_AVC_SLICES = frozenset({1, 2, 5})  # 3 and 4 are later parts of a slice that 2 begins
_AVC_LAYER = 20
_HEVC_SLICES = frozenset(range(32))
_ENTRIES: dict[int, EntryKind] = {16: "bla", 17: "bla", 18: "bla", 19: "idr", 20: "idr", 21: "cra"}
_BLA_N_LP = 18
_LONGEST_START = 32  # bytes of a slice that hold what is read of it
_MOST_SETS = 31  # of one kind in avcC; hvcC holds more
# From here on a number takes nine bits as Exp-Golomb code, where 0 takes one; and no larger one can
# be that of parameter sets of all kinds.
HEVC_NUMBER = 15


@dataclass(frozen=True)
class Header:
    """A track's avcC or hvcC: the parameter sets, and how long the lengths before NAL units are."""

    codec: Codec
    length_size: int
    head: bytes  # what comes before the lists
    lists: tuple[tuple[int, tuple[bytes, ...]], ...]  # (the bits beside the count, NAL units)
    tail: bytes

    @property
    def sets(self) -> list[bytes]:
        """All parameter sets; H.265 may list messages beside them."""
        units = [unit for _, listed in self.lists for unit in listed]
        return [unit for unit in units if is_set(self.codec, unit)]

    def describe(self, units: Sequence[bytes]) -> Picture:
        """Look at the NAL units of one packet.

        Raises:
            ValueError: a unit is cut off.
        """
        kinds = [_kind(self.codec, unit) for unit in units]
        sets = tuple(unit for unit in units if is_set(self.codec, unit))
        is_slice = _AVC_SLICES if self.codec == "h264" else _HEVC_SLICES
        slices = [(u, kind) for u, kind in zip(units, kinds, strict=True) if kind in is_slice]
        if not slices:
            return Picture(sets=sets)
        if self.codec == "h264":
            looks_ahead = any(_read_avc_slice(unit) in (1, 6) for unit, _ in slices)
            entry: EntryKind | None = "idr" if slices[0][1] == 5 else None
            return Picture(
                entry, looks_ahead=looks_ahead, has_layers=_AVC_LAYER in kinds, sets=sets
            )
        if any(len(unit) < 3 for unit, _ in slices):
            raise ValueError("a slice is cut off")
        first, kind = slices[0]
        return Picture(
            entry=_ENTRIES.get(kind),
            is_leading=kind in (6, 7, 8, 9),
            looks_ahead=_read_hevc_slice(first, self._spare_bits) == 0,
            drops_earlier=kind in _ENTRIES and bool(first[2] & 0x40),
            has_layers=any(_layer(unit) for unit, _ in slices),
            sets=sets,
        )

    @cached_property
    def _spare_bits(self) -> dict[int, int]:
        """H.265: how many bits stand before the type of a slice, by the number of its PPS."""
        found = {}
        for unit in self.sets:
            if _kind(self.codec, unit) == 34:
                number, n_spare, _ = read_hevc_pps(unit)
                found[number] = n_spare
        return found

    def extend(self, sets: Sequence[bytes]) -> Header:
        """The header with more parameter sets, each behind those of its kind.

        Raises:
            ValueError: there is no room, or no list of that kind.
        """
        kinds = [_kind(self.codec, unit) for unit in sets]
        lists: list[tuple[int, tuple[bytes, ...]]] = []
        for bits, listed in self.lists:
            own = bits & 0x3F if self.codec == "hevc" else 7 + len(lists)
            new = [unit for unit, kind in zip(sets, kinds, strict=True) if kind == own]
            lists.append((bits, (*listed, *new)))
        n_before, n_after = (sum(len(u) for _, u in rows) for rows in (self.lists, lists))
        if n_after - n_before < len(sets) or max(len(u) for _, u in lists) > _MOST_SETS:
            raise ValueError("its header has no room for other parameter sets")
        return replace(self, lists=tuple(lists))

    def pack(self) -> bytes:
        """The opposite of ``parse_header``."""
        parts = [self.head]
        for bits, units in self.lists:
            if self.codec == "h264":
                parts.append(bytes([bits | len(units)]))
            else:
                parts.append(bytes([bits]) + len(units).to_bytes(2, "big"))
            parts.append(join_units(units, 2))
        return b"".join([*parts, self.tail])


@dataclass(frozen=True)
class Picture:
    """What the NAL units of one packet say about the picture in it."""

    entry: EntryKind | None = None  # what follows it does not look back beyond it
    is_leading: bool = False  # H.265: decoded after an entry and shown before it
    looks_ahead: bool = True  # it may be predicted from pictures that are shown later
    drops_earlier: bool = False  # H.265: an entry that discards pictures not shown yet
    has_layers: bool = False  # pictures of another view or quality beside this one
    sets: tuple[bytes, ...] = ()


# NAL units.


def split_units(data: bytes, length_size: int) -> list[bytes]:
    """The NAL units of a packet, each stored behind its length.

    Raises:
        ValueError: the lengths do not add up.
    """
    units = []
    place = 0
    while place < len(data):
        stop = place + length_size + int.from_bytes(data[place : place + length_size], "big")
        unit = data[place + length_size : stop]
        if stop > len(data) or not unit:
            raise ValueError("the lengths of its NAL units do not add up")
        units.append(unit)
        place = stop
    return units


def walk_units(packet: bytes, length_size: int | None) -> Iterator[bytes]:
    """Yield the NAL units of a packet, of which the last may be cut off.

    length_size: bytes of the lengths before them; None where start codes lie between them.
    """
    if length_size is None:
        yield from split_stream(packet)
        return
    place = 0
    while place < len(packet):
        begin = place + length_size
        place = begin + int.from_bytes(packet[place:begin], "big")
        if packet[begin:place]:
            yield packet[begin:place]


def join_units(units: Iterable[bytes], length_size: int) -> bytes:
    """The opposite of ``split_units``."""
    return b"".join(len(unit).to_bytes(length_size, "big") + unit for unit in units)


def split_stream(data: bytes) -> list[bytes]:
    """The NAL units of an encoder's output, where start codes lie between them."""
    return [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1") if unit.rstrip(b"\0")]


def break_link(units: Sequence[bytes]) -> list[bytes]:
    """Turn a clean random access picture of H.265 into a broken link (BLA_N_LP).

    That is what the standard has for a splice: the pictures before are not those that it followed
    once, so nothing is kept of them. Only the type in the NAL units' headers changes.
    """
    return [
        bytes([unit[0] & 0x81 | _BLA_N_LP << 1]) + unit[1:] if _kind("hevc", unit) == 21 else unit
        for unit in units
    ]


def is_set(codec: Codec, unit: bytes) -> bool:
    """Whether a NAL unit is a parameter set."""
    return _kind(codec, unit) in _SETS[codec]


def is_chatter(codec: Codec, unit: bytes) -> bool:
    """Whether a NAL unit holds an encoder's words about itself or its parameter sets.

    Decoders look up an encoder's name to work around its old mistakes, for all that follows.
    """
    skip = {"h264": 1, "hevc": 2}[codec]
    is_sei = _kind(codec, unit) in ((6,) if codec == "h264" else (39, 40))
    return is_sei and unit[skip : skip + 1] in (b"\0", b"\5", b"\x81")


# Parameter sets.


def name_set(codec: Codec, unit: bytes) -> SetName:
    """What kind of parameter set this is, and its number.

    Raises:
        ValueError: it is cut off.
    """
    kind = _SETS[codec][_kind(codec, unit)]
    bits = Bits(unescape(unit[1 if codec == "h264" else 2 :]))
    if kind == "vps":
        return kind, bits.read(4)
    if kind.endswith("sps") and codec == "h264":
        bits.read(24)
    elif kind == "sps":
        read_profile(bits)
    return kind, bits.read_golomb()


def find_free_number(codec: Codec, taken: Iterable[SetName]) -> int | None:
    """A number that no parameter set bears yet, for one more of each kind."""
    numbers = {number for _, number in taken}
    candidates = range(31, -1, -1) if codec == "h264" else (HEVC_NUMBER,)
    return next((number for number in candidates if number not in numbers), None)


def read_avc_number(
    unit: bytes, numberings: Mapping[int, Numbering]
) -> tuple[int, bool, Numbering] | None:
    """Of an H.264 slice its picture's number, and whether it is predicted from no other picture.

    :param numberings: by the number of the PPS. None is returned where that is not known.

    Raises:
        ValueError: it is cut off or makes no sense.
    """
    bits = Bits(unescape(unit[1:_LONGEST_START]))
    _, kind, pps = bits.read_golomb(), bits.read_golomb(), bits.read_golomb()
    numbering = numberings.get(pps)
    if numbering is None:
        return None
    if numbering.has_colour_planes:
        bits.read(2)
    return bits.read(numbering.n_bits), kind % 5 in (2, 4), numbering


def renumber(unit: bytes, number: int) -> bytes:
    """Give the parameter sets of an H.265 NAL unit, which are all number 0, another number.

    Exp-Golomb codes of 15 to 30 are eight bits longer than that of 0. So whatever comes behind
    keeps its place within the bytes, and nothing of it has to be understood::

        slice   first? (discard?) PPS ...       1  1        -> 1  000010000 ...
        PPS     PPS  SPS ...                    1  1        -> 000010000  000010000 ...
        SPS     VPS  profile  SPS ...           four bits of the first byte, then as above

    Raises:
        ValueError: a number is not 0, or the unit is cut off.
    """
    if number != HEVC_NUMBER:
        raise ValueError(f"{number} is no such number")
    kind = _kind("hevc", unit)
    head, body = unit[:2], unescape(unit[2:])
    if kind == 32:
        body = _number_vps(body, number)
    elif kind == 33:
        if body[0] & 0x0E:
            raise ValueError("temporal layers were not expected")
        body = _lengthen(_number_vps(body, number), 13 * 8, number)
    elif kind == 34:
        body = _lengthen(_lengthen(body, 1, number), 0, number)
    elif kind in _HEVC_SLICES:
        body = _lengthen(body, 2 if 16 <= kind <= 23 else 1, number)
    return head + escape(body)


def _number_vps(body: bytes, number: int) -> bytes:
    if body[0] >> 4:
        raise ValueError("number 0 was expected")
    return bytes([body[0] & 0x0F | number << 4]) + body[1:]


def _lengthen(body: bytes, place: int, number: int) -> bytes:
    """Replace the one bit at ``place``, the code of 0, by the nine bits of ``number``."""
    byte, bit = divmod(place, 8)
    old, n_behind = body[byte], 7 - bit
    if not old >> n_behind & 1:
        raise ValueError("number 0 was expected")
    before, behind = old >> (n_behind + 1), old & ((1 << n_behind) - 1)
    new = (before << 9 | (number + 1)) << n_behind | behind
    return body[:byte] + new.to_bytes(2, "big") + body[byte + 1 :]


def _kind(codec: Codec, unit: bytes) -> int:
    return unit[0] & 0x1F if codec == "h264" else unit[0] >> 1 & 0x3F


def _layer(unit: bytes) -> int:
    return (unit[0] & 1) << 5 | unit[1] >> 3


def _read_avc_slice(unit: bytes) -> int:
    """The type of a slice: 1 and 6 are B."""
    bits = Bits(unescape(unit[1:_LONGEST_START]))
    bits.read_golomb()
    return bits.read_golomb()


def _read_hevc_slice(unit: bytes, spare_bits: Mapping[int, int]) -> int:
    """The type of a picture's first slice: 0 is B, and what cannot be known counts as that."""
    bits = Bits(unescape(unit[2:_LONGEST_START]))
    is_entry = 16 <= _kind("hevc", unit) <= 23
    if not bits.read(2 if is_entry else 1) >> is_entry:
        return 0
    n_spare = spare_bits.get(bits.read_golomb())
    if n_spare is None:
        return 0
    bits.read(n_spare)
    return bits.read_golomb()


# avcC and hvcC.


def parse_header(codec: Codec, data: bytes) -> Header:
    """Read a track's avcC or hvcC.

    Raises:
        ValueError: it is neither, is cut off, or lists no parameter sets.
    """
    if len(data) < 7 or data[0] != 1:
        raise ValueError("its header is not in the form that MP4 and Matroska prescribe")
    try:
        header = _parse_avcc(data) if codec == "h264" else _parse_hvcc(data)
    except IndexError:
        raise ValueError("the list of parameter sets in its header is cut off") from None
    if not {"sps", "pps"} <= {_SETS[codec].get(_kind(codec, unit)) for unit in header.sets}:
        raise ValueError("its header lists no parameter sets")
    return header


def read_extradata(codec: Codec, data: bytes) -> tuple[int | None, list[bytes]]:
    """Return how long the lengths before NAL units are (None: start codes), and the sets."""
    try:
        header = parse_header(codec, data)
    except ValueError:
        return None, split_stream(data)
    return header.length_size, header.sets


def _parse_avcc(data: bytes) -> Header:
    sps, place = _read_sized(data, 6, data[5] & 0x1F)
    pps, end = _read_sized(data, place + 1, data[place])
    lists = ((data[5] & 0xE0, sps), (0, pps))
    return Header("h264", (data[4] & 3) + 1, data[:5], lists, data[end:])


def _parse_hvcc(data: bytes) -> Header:
    lists = []
    place = 23
    for _ in range(data[22]):
        kind, n = data[place], data[place + 1] << 8 | data[place + 2]
        units, place = _read_sized(data, place + 3, n)
        lists.append((kind, units))
    return Header("hevc", (data[21] & 3) + 1, data[:23], tuple(lists), data[place:])


def _read_sized(data: bytes, place: int, n: int) -> tuple[tuple[bytes, ...], int]:
    """Units behind their lengths of two bytes, and the place behind them."""
    units = []
    for _ in range(n):
        begin = place + 2
        place = begin + (data[place] << 8 | data[place + 1])
        if not begin < place <= len(data):
            raise IndexError
        units.append(data[begin:place])
    return tuple(units), place
