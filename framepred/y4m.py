"""YUV4MPEG2, the way in which video programs hand pictures to one another: its header, and no more.

::

    YUV4MPEG2 W640 H360 F30000:1001 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED
    FRAME
    ... the planes, one behind the other, without padding ...

Read here and not by FFmpeg, which does not tell a stream that was cut off from one that ended.
Described in the manual of MJPEG Tools, yuv4mpeg(5); the tags beyond 8 bits are FFmpeg's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from .errors import MediaError, OutputError
from .rates import parse_rate

__all__ = [
    "MAGIC",
    "PictureFormat",
    "choose_tag",
    "format_header",
    "parse_header",
    "parse_raw",
    "read_location",
]

MAGIC = b"YUV4MPEG2"

_DEEP = (9, 10, 12, 14, 16)
_FORMATS = {
    "420jpeg": "yuv420p",
    "420mpeg2": "yuv420p",
    "420paldv": "yuv420p",
    "420": "yuv420p",
    "411": "yuv411p",
    "422": "yuv422p",
    "444": "yuv444p",
    "444alpha": "yuva444p",
    "mono": "gray",
    **{f"{tag}p{bits}": f"yuv{tag}p{bits}le" for tag in ("420", "422", "444") for bits in _DEEP},
    # FFmpeg, which reads what is cut out of a stream, knows no gray of 14 bits in this format.
    **{f"mono{bits}": f"gray{bits}le" for bits in _DEEP if bits != 14},
}
# Where chroma lies in pictures of 8 bits, in FFmpeg's words; in others nothing is said.
_LOCATIONS = {"420jpeg": "center", "420": "center", "420mpeg2": "left", "420paldv": "topleft"}
_RANGES = {"": 0, "LIMITED": 1, "FULL": 2}
_LARGEST = 2**28  # pixels: more is no picture but a broken header
_RATE = re.compile(r"(\d{1,9}):(\d{1,9})", re.ASCII)
_RAW = re.compile(r"(\d{1,5})x(\d{1,5}):(\w+):([\d./]+)", re.ASCII)


@dataclass(frozen=True)
class PictureFormat:
    """What has to be known of pictures that come without a container."""

    width: int
    height: int
    rate: Fraction
    pix_fmt: str
    tag: str = ""  # of the chroma, as YUV4MPEG2 has it
    interlacing: str = "p"  # p: none, t: top field first, b: bottom field first, m: mixed
    aspect: Fraction | None = None  # of a pixel
    color_range: int = 0  # as FFmpeg counts: 0 unknown, 1 limited, 2 full

    @property
    def is_interlaced(self) -> bool:
        """Whether a picture is two fields."""
        return self.interlacing in ("t", "b")

    @property
    def chroma_location(self) -> str | None:
        """Where chroma lies, in FFmpeg's words."""
        return _LOCATIONS.get(self.tag)


def choose_tag(pix_fmt: str, chroma_location: str | None) -> str:
    """The tag of pictures with their chroma at such a place; empty: it says nothing of that."""
    tags = (tag for tag, place in _LOCATIONS.items() if place == chroma_location)
    return next(tags, "") if pix_fmt in ("yuv420p", "yuvj420p") else ""


def parse_header(line: bytes) -> PictureFormat:
    """Read the first line of a stream, without its newline.

    Raises:
        MediaError: it is no such line, or lacks something, or says what cannot be.
    """
    try:
        magic, *words = line.decode("ascii").split(" ")
    except UnicodeDecodeError:
        magic, words = "", []
    if magic.encode() != MAGIC:
        raise MediaError(
            "standard input: it is not y4m; send it with 'ffmpeg ... -f yuv4mpegpipe -', or say "
            "what raw pictures are with --raw"
        )
    tags: dict[str, str] = {}
    color_range = 0
    for word in words:
        if word.startswith("XCOLORRANGE="):
            color_range = _RANGES.get(word[12:], 0)
        elif word and not word.startswith("X"):
            tags.setdefault(word[0], word[1:])
    tag = tags.get("C", "420jpeg")
    if tag not in _FORMATS:
        raise MediaError(f"standard input: y4m pictures in {tag!r} are not known; send yuv420p")
    rate, aspect = _read_ratio(tags.get("F", "")), _read_ratio(tags.get("A", ""))
    if rate is None:
        raise MediaError("standard input: its y4m header has no frame rate; send it with -r RATE")
    return PictureFormat(
        *_check_size(tags.get("W", ""), tags.get("H", "")),
        rate=rate,
        pix_fmt=_FORMATS[tag],
        tag=tag,
        interlacing=tags.get("I", "p"),
        aspect=aspect,
        color_range=color_range,
    )


def read_location(line: bytes) -> str | None:
    """Where the first line of a stream says that chroma lies, whatever else stands there."""
    tags = [word[1:].decode("ascii", "replace") for word in line.split() if word[:1] == b"C"]
    return _LOCATIONS.get(tags[0] if tags else "420jpeg")


def format_header(pictures: PictureFormat) -> bytes:
    """The first line of a stream, with its newline.

    Raises:
        OutputError: YUV4MPEG2 has no tag for such pictures.
    """
    tag = pictures.tag
    plain = pictures.pix_fmt.replace("yuvj", "yuv")
    if _FORMATS.get(tag) != plain:
        tags = [name for name, pix_fmt in _FORMATS.items() if pix_fmt == plain]
        if not tags:
            raise OutputError(
                f"standard output: y4m cannot hold {pictures.pix_fmt} pictures; write a file"
            )
        tag = "420mpeg2" if "420mpeg2" in tags else tags[0]
    aspect = pictures.aspect or Fraction(0)
    words = [
        MAGIC.decode(),
        f"W{pictures.width}",
        f"H{pictures.height}",
        f"F{pictures.rate.numerator}:{pictures.rate.denominator}",
        f"I{pictures.interlacing}",
        f"A{aspect.numerator}:{aspect.denominator if aspect else 0}",
        f"C{tag}",
    ]
    full = 2 if pictures.pix_fmt.startswith("yuvj") else pictures.color_range
    words += [f"XCOLORRANGE={name}" for name, value in _RANGES.items() if value == full and name]
    return " ".join(words).encode() + b"\n"


def parse_raw(text: str) -> PictureFormat:
    """Read what ``--raw`` says: ``640x360:yuv420p:30000/1001``.

    Raises:
        MediaError: it is malformed, or names pictures of an unknown kind.
        GapError: no such rate.
    """
    match = _RAW.fullmatch(text.strip())
    if match is None:
        raise MediaError(f"cannot read {text!r}: write WIDTHxHEIGHT:FORMAT:RATE")
    width, height, pix_fmt, rate = match.groups()
    if pix_fmt not in _FORMATS.values():
        known = ", ".join(dict.fromkeys(_FORMATS.values()))
        raise MediaError(f"raw pictures in {pix_fmt!r} are not known: use one of {known}")

    return PictureFormat(*_check_size(width, height), rate=parse_rate(rate), pix_fmt=pix_fmt)


def _read_ratio(text: str) -> Fraction | None:
    match = _RATE.fullmatch(text)
    if match is None or not int(match[1]) or not int(match[2]):
        return None
    return Fraction(int(match[1]), int(match[2]))


def _check_size(width: str, height: str) -> tuple[int, int]:
    sizes = [int(t) if t.isascii() and t.isdigit() and len(t) < 7 else 0 for t in (width, height)]
    if min(sizes) < 1 or sizes[0] * sizes[1] > _LARGEST:
        raise MediaError(f"standard input: its pictures would be {width!r} by {height!r} pixels")
    return sizes[0], sizes[1]
