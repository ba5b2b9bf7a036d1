"""Where the chroma samples of 4:2:0 pictures lie, which PyAV does not tell."""

from __future__ import annotations

from collections.abc import Sequence

from .bitstream import is_set, name_set, read_extradata
from .parameter_sets import Codec, read_chroma_location

__all__ = ["find_chroma_location", "name_usual_location"]

# By number in parameter sets (H.264, figure E-1), in FFmpeg's words.
_LOCATIONS = ("left", "center", "topleft", "top", "bottomleft", "bottom")
_OF_AV1 = {1: "left", 2: "topleft"}  # chroma_sample_position
_CENTRED = frozenset({"mpeg1video", "h261", "h263", "flv1", "theora", "mjpeg"})


def name_usual_location(codec: str) -> str:
    """Where chroma lies in pictures of a codec that says nothing of it, in FFmpeg's words."""
    return "center" if codec in _CENTRED else "left"


def find_chroma_location(codec: str, extradata: bytes | None) -> str:
    """Where chroma lies by a stream's headers, else where it usually does with its codec.

    extradata: as FFmpeg has it: parameter sets of H.264 and H.265, or ``av1C``.
    """
    usual = name_usual_location(codec)
    if codec in ("h264", "hevc"):
        named: Codec = "h264" if codec == "h264" else "hevc"
        number = _find_number(named, read_extradata(named, extradata or b"")[1])
        return _LOCATIONS[number] if number is not None and number < len(_LOCATIONS) else usual
    if codec == "av1" and extradata and extradata[0] == 0x81 and len(extradata) > 2:
        return _OF_AV1.get(extradata[2] & 3, usual)
    return usual


def _find_number(codec: Codec, units: Sequence[bytes]) -> int | None:
    """What the first sequence parameter set that can be read says of it."""
    for unit in units:
        try:
            if is_set(codec, unit) and name_set(codec, unit)[0] == "sps":
                return read_chroma_location(codec, unit)
        except (ValueError, IndexError):
            continue
    return None
