"""What the parameter sets of H.264 and H.265 say (H.264, 7.3.2; H.265, 7.3.2).

A sequence parameter set (SPS) tells how a stream is coded, a picture parameter set (PPS) how some
of its pictures are. Each is read only as far as something here asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .bits import Bits, unescape

__all__ = [
    "Codec",
    "Numbering",
    "SpsFacts",
    "read_chroma_location",
    "read_hevc_pps",
    "read_numbering",
    "read_pps",
    "read_profile",
    "read_sps",
]

Codec = Literal["h264", "hevc"]

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

_MOST_SETS, _MOST_REFERENCES = 64, 16  # H.265, 7.4.3.2.1 and A.4.1


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


def read_sps(codec: Codec, unit: bytes) -> SpsFacts:
    """Read the head of a sequence parameter set.

    Raises:
        ValueError: it is cut off or makes no sense.
    """
    bits = Bits(unescape(unit[1 if codec == "h264" else 2 :]))
    return _read_avc_sps(bits)[0] if codec == "h264" else _read_hevc_sps(bits)


def read_chroma_location(codec: Codec, unit: bytes) -> int | None:
    """Where a sequence parameter set says that chroma samples lie, if it does (H.264, figure E-1).

    Raises:
        ValueError: it is cut off or makes no sense.
    """
    bits = Bits(unescape(unit[1 if codec == "h264" else 2 :]))
    if codec == "h264":
        _read_avc_sps(bits, is_whole=False)
    else:
        _pass_hevc_sps(bits)
    return _read_look(bits) if bits.read(1) else None


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


def _read_avc_sps(bits: Bits, *, is_whole: bool = True) -> tuple[SpsFacts, Numbering]:
    """Read an SPS, or only up to where it says whether there is usability information."""
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
    n_kept = _read_restriction(bits) if is_whole and bits.read(1) else None
    if n_kept is None:
        n_kept = min(_AVC_ROOM.get(level, 0) // (size * (1 + is_interlaced)), 16)
    return SpsFacts(profile, level, chroma, is_interlaced, n_references, n_kept), numbering


def _read_restriction(bits: Bits) -> int | None:
    """From the usability information of an H.264 SPS: how many pictures a decoder keeps."""
    _read_look(bits)
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


def _read_look(bits: Bits) -> int | None:
    """Where chroma lies, from the head of usability information (H.264, E.1.1; H.265, E.2.1)."""
    if bits.read(1) and bits.read(8) == 255:
        bits.read(32)  # pixel aspect
    if bits.read(1):
        bits.read(1)
    if bits.read(1):
        bits.read(4)
        if bits.read(1):
            bits.read(24)  # colours
    if not bits.read(1):
        return None
    top, _ = bits.read_golomb(), bits.read_golomb()
    return top


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


def read_profile(bits: Bits) -> tuple[int, int, bool, bool, int]:
    """From the head of an H.265 SPS: (profile, level, is high tier, is interlaced, sub-layers).

    Raises:
        ValueError: it is cut off.
    """
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
    may_hold_fields = bool(is_interlaced and not is_progressive)
    return profile, level, bool(is_high), may_hold_fields, n_layers + 1


def _read_hevc_sps(bits: Bits) -> SpsFacts:
    profile, level, is_high, is_interlaced, _ = read_profile(bits)
    chroma, _ = _read_hevc_format(bits)
    bits.read(1)
    n_kept = bits.read_golomb()
    return SpsFacts(profile, level, chroma, is_interlaced, n_kept, n_kept, is_high)


def _read_hevc_format(bits: Bits) -> tuple[int, int]:
    """The kind of chroma, and how many bits of a picture's number its slices have."""
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
    return chroma, bits.read_golomb() + 4


def _pass_hevc_sps(bits: Bits) -> None:
    """Pass over an H.265 SPS up to where it says whether there is usability information."""
    *_, n_layers = read_profile(bits)
    _, n_number_bits = _read_hevc_format(bits)
    for _ in range(n_layers if bits.read(1) else 1):
        for _ in range(3):
            bits.read_golomb()
    for _ in range(6):
        bits.read_golomb()  # sizes of blocks
    if bits.read(1) and bits.read(1):
        _skip_hevc_scaling(bits)
    bits.read(2)
    if bits.read(1):  # samples as they are
        bits.read(8)
        bits.read_golomb()
        bits.read_golomb()
        bits.read(1)
    offsets: list[int] = []
    n_sets = bits.read_golomb()
    if n_sets > _MOST_SETS:
        raise ValueError("a parameter set makes no sense")
    for k in range(n_sets):
        offsets = _read_references(bits, offsets, is_first=k == 0)
    if bits.read(1):
        for _ in range(bits.read_golomb()):
            bits.read(n_number_bits + 1)
    bits.read(2)


def _skip_hevc_scaling(bits: Bits) -> None:
    """Pass over scaling lists (H.265, 7.3.4)."""
    for size in range(4):
        for _ in range(2 if size == 3 else 6):
            if not bits.read(1):
                bits.read_golomb()
                continue
            if size > 1:
                bits.read_signed()
            for _ in range(min(64, 1 << (4 + 2 * size))):
                bits.read_signed()


def _read_references(bits: Bits, before: list[int], *, is_first: bool) -> list[int]:
    """A set of pictures to refer to, by how much later they are shown (H.265, 7.3.7, 7.4.8).

    before: the set ahead of it, from which it may be derived.
    """
    if not is_first and bits.read(1):
        sign = -1 if bits.read(1) else 1
        shift = sign * (bits.read_golomb() + 1)
        found = []
        for offset in (*before, 0):
            is_used = bits.read(1)
            if (is_used or bits.read(1)) and offset + shift:
                found.append(offset + shift)
        # Earlier ones and later ones, the nearest first.
        return sorted(found, key=lambda offset: (offset > 0, abs(offset)))
    n_earlier, n_later = bits.read_golomb(), bits.read_golomb()
    if n_earlier + n_later > _MOST_REFERENCES:
        raise ValueError("a parameter set makes no sense")
    offsets = []
    for n, sign in ((n_earlier, -1), (n_later, 1)):
        offset = 0
        for _ in range(n):
            offset += sign * (bits.read_golomb() + 1)
            bits.read(1)
            offsets.append(offset)
    return offsets
