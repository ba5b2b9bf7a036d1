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

__all__ = [
    "Codec",
    "Header",
    "Numbering",
    "Picture",
    "SetName",
    "SpsFacts",
    "break_link",
    "find_free_number",
    "is_chatter",
    "join_units",
    "name_set",
    "parse_header",
    "read_avc_number",
    "read_extradata",
    "read_hevc_pps",
    "read_numbering",
    "read_pps",
    "read_sps",
    "renumber",
    "split_stream",
    "split_units",
    "walk_units",
]

Codec = Literal["h264", "hevc"]
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
_AVC_WITH_CHROMA = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
# Macroblocks of the pictures that a decoder has room for, by level (H.264, table A-1).
_AVC_ROOM = {
    **dict.fromkeys((9, 10), 396),
    11: 900,
    **dict.fromkeys((12, 13, 20), 2376),
    21: 4752,
    **dict.fromkeys((22, 30), 8100),
    31: 18000,
    32: 20480,
    **dict.fromkeys((40, 41), 32768),
    42: 34816,
    50: 110400,
    **dict.fromkeys((51, 52), 184320),
    **dict.fromkeys((60, 61, 62), 696320),
}
_BLA_N_LP = 18
_LONGEST_START = 32  # bytes of a slice that hold what is read of it
_MOST_SETS = 31  # of one kind in avcC; hvcC holds more
# A number in this range takes 9 bits as Exp-Golomb code, where 0 takes one.
_NINE_BITS = range(15, 31)


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
        return [unit for unit in units if _kind(self.codec, unit) in _SETS[self.codec]]

    def describe(self, units: Sequence[bytes]) -> Picture:
        """Look at the NAL units of one packet.

        Raises:
            ValueError: a unit is cut off.
        """
        kinds = [_kind(self.codec, unit) for unit in units]
        sets = tuple(u for u, kind in zip(units, kinds, strict=True) if kind in _SETS[self.codec])
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


@dataclass(frozen=True)
class SpsFacts:
    """The part of a sequence parameter set that another encoder has to match."""

    profile: int
    level: int  # H.264: ten times the level; H.265: thirty times
    chroma: int  # 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4
    is_interlaced: bool  # it may hold fields
    n_references: int  # pictures kept to refer to; H.265: or to be shown
    n_kept: int  # pictures kept to refer to or to be shown
    is_high_tier: bool = False  # H.265


@dataclass(frozen=True)
class Numbering:
    """The part of an H.264 SPS that tells how its pictures are numbered (frame_num)."""

    n_bits: int  # 4 to 16
    may_skip: bool  # numbers may be left out without a loss
    has_colour_planes: bool  # a slice tells which one it is of


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
        _read_profile(bits)
    return kind, bits.read_golomb()


def find_free_number(codec: Codec, taken: Iterable[SetName]) -> int | None:
    """A number that no parameter set bears yet, for one more of each kind."""
    numbers = {number for _, number in taken}
    candidates = range(31, -1, -1) if codec == "h264" else (_NINE_BITS[0],)
    return next((number for number in candidates if number not in numbers), None)


def read_sps(codec: Codec, unit: bytes) -> SpsFacts:
    """Read the head of a sequence parameter set.

    Raises:
        ValueError: it is cut off or makes no sense.
    """
    bits = Bits(unescape(unit[1 if codec == "h264" else 2 :]))
    return _read_avc_sps(bits)[0] if codec == "h264" else _read_hevc_sps(bits)


def read_numbering(unit: bytes) -> Numbering:
    """Read how an H.264 sequence parameter set has its pictures numbered.

    Raises:
        ValueError: it is cut off or makes no sense.
    """
    return _read_avc_sps(Bits(unescape(unit[1:])))[1]


def read_pps(unit: bytes) -> tuple[int, int]:
    """The number of an H.264 picture parameter set, and that of the SPS it goes with.

    Raises:
        ValueError: it is cut off or makes no sense.
    """
    bits = Bits(unescape(unit[1:]))
    return bits.read_golomb(), bits.read_golomb()


def read_hevc_pps(unit: bytes) -> tuple[int, int, bool]:
    """Of an H.265 picture parameter set (H.265, 7.3.2.3.1).

    Returns its number, how many bits stand before the type of a slice, and whether each row of a
    picture begins its arithmetic code anew (entropy_coding_sync_enabled_flag).

    Raises:
        ValueError: it is cut off or makes no sense.
    """
    bits = Bits(unescape(unit[2:]))
    number, _, _ = bits.read_golomb(), bits.read_golomb(), bits.read(2)
    n_spare = bits.read(3)
    bits.read(2)
    for _ in range(2):
        bits.read_golomb()  # usual numbers of references
    bits.read_signed()
    bits.read(2)
    if bits.read(1):
        bits.read_golomb()  # how finely the quantizer may change
    for _ in range(2):
        bits.read_signed()  # chroma
    bits.read(5)
    return number, n_spare, bool(bits.read(1))


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
    if number not in _NINE_BITS or number > 15:
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


def _read_avc_sps(bits: Bits) -> tuple[SpsFacts, Numbering]:
    profile, _, level = bits.read(8), bits.read(8), bits.read(8)
    bits.read_golomb()
    chroma, has_planes = 1, False
    if profile in _AVC_WITH_CHROMA:
        chroma = bits.read_golomb()
        if chroma == 3:
            has_planes = bool(bits.read(1))
        bits.read_golomb()
        bits.read_golomb()
        bits.read(1)
        if bits.read(1):
            _skip_scaling(bits, 12 if chroma == 3 else 8)
    n_number_bits = bits.read_golomb() + 4
    order = bits.read_golomb()
    if order == 0:
        bits.read_golomb()
    elif order == 1:
        bits.read(1)
        bits.read_signed()
        bits.read_signed()
        for _ in range(bits.read_golomb()):
            bits.read_signed()
    n_references = bits.read_golomb()
    if n_number_bits > 16:
        raise ValueError("a parameter set makes no sense")
    numbering = Numbering(n_number_bits, bool(bits.read(1)), has_planes)
    size = (bits.read_golomb() + 1) * (bits.read_golomb() + 1)
    is_interlaced = not bits.read(1)
    bits.read(2 if is_interlaced else 1)
    if bits.read(1):
        for _ in range(4):
            bits.read_golomb()
    n_kept = _read_restriction(bits) if bits.read(1) else None
    if n_kept is None:
        n_kept = min(_AVC_ROOM.get(level, 0) // (size * (1 + is_interlaced)), 16)
    return SpsFacts(profile, level, chroma, is_interlaced, n_references, n_kept), numbering


def _read_restriction(bits: Bits) -> int | None:
    """From the usability information of an H.264 SPS: how many pictures a decoder keeps."""
    if bits.read(1) and bits.read(8) == 255:
        bits.read(32)
    if bits.read(1):
        bits.read(1)
    if bits.read(1):
        bits.read(4)
        if bits.read(1):
            bits.read(24)
    if bits.read(1):
        bits.read_golomb()
        bits.read_golomb()
    if bits.read(1):
        bits.read(65)
    has_timing = [_skip_timing(bits) if bits.read(1) else False for _ in range(2)]
    bits.read(2 if any(has_timing) else 1)
    if not bits.read(1):
        return None
    bits.read(1)
    for _ in range(5):
        bits.read_golomb()
    return bits.read_golomb()


def _skip_timing(bits: Bits) -> bool:
    """Pass over the parameters of a hypothetical reference decoder."""
    n = bits.read_golomb() + 1
    bits.read(8)
    for _ in range(n):
        bits.read_golomb()
        bits.read_golomb()
        bits.read(1)
    bits.read(20)
    return True


def _skip_scaling(bits: Bits, n_lists: int) -> None:
    for i in range(n_lists):
        last = following = 8
        if bits.read(1):
            for _ in range(16 if i < 6 else 64):
                if following:
                    following = (last + bits.read_signed()) % 256
                last = following or last


def _read_profile(bits: Bits) -> tuple[int, int, bool, bool]:
    """From the beginning of an H.265 SPS: (profile, level, is high tier, is interlaced)."""
    bits.read(4)
    n_layers = bits.read(3)
    bits.read(3)
    is_high, profile = bits.read(1), bits.read(5)
    bits.read(32)
    is_progressive, is_interlaced = bits.read(1), bits.read(1)
    bits.read(46)
    level = bits.read(8)
    flags = [(bits.read(1), bits.read(1)) for _ in range(n_layers)]
    if n_layers:
        bits.read(2 * (8 - n_layers))
    for has_profile, has_level in flags:
        bits.read(88 * has_profile + 8 * has_level)
    return profile, level, bool(is_high), bool(is_interlaced and not is_progressive)


def _read_hevc_sps(bits: Bits) -> SpsFacts:
    profile, level, is_high, is_interlaced = _read_profile(bits)
    bits.read_golomb()
    chroma = bits.read_golomb()
    if chroma == 3:
        bits.read(1)
    bits.read_golomb()
    bits.read_golomb()
    if bits.read(1):
        for _ in range(4):
            bits.read_golomb()
    bits.read_golomb()
    bits.read_golomb()
    bits.read_golomb()
    bits.read(1)
    n_kept = bits.read_golomb()
    return SpsFacts(profile, level, chroma, is_interlaced, n_kept, n_kept, is_high)


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
