"""Which encoder follows a video's codec, in which pixel format and with which options.

Quality is visually lossless unless the caller says otherwise; ``lossless`` keeps every sample.
The choice never changes the codec silently, but for one case: ``lossless`` for a codec that has
no lossless mode takes the first that fits of FFV1 (in Matroska, AVI and MXF), H.264, HEVC and VP9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

import av
from av.codec.codec import UnknownCodecError

from .chroma_location import name_usual_location
from .colour import find_equal_layouts
from .errors import OutputError

__all__ = ["PRESETS", "Encoder", "Encoding", "Hdr", "choose_encoder"]

# How fast an encoder works, in the words of x264 and x265. What is faster is worse or larger.
PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
)


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What a caller wishes of an encoder; None: what follows the input, visually lossless."""

    codec: str | None = None  # an encoder's or a codec's name
    crf: int | None = None  # on the encoder's own scale
    preset: str | None = None  # of PRESETS
    lossless: bool = False


@dataclass(frozen=True)
class Hdr:
    """Static HDR metadata of a picture; None where it has none.

    mastering: red x y, green x y, blue x y, white x y (CIE 1931), least and most luminance in
    cd/m2. light: greatest and frame-average content light level in cd/m2.
    """

    mastering: tuple[Fraction, ...] | None = None
    light: tuple[int, int] | None = None


@dataclass(frozen=True)
class Encoder:
    """An FFmpeg encoder and how to set it up."""

    name: str
    codec: str
    pix_fmt: str
    options: Mapping[str, str] = field(default_factory=dict)
    qscale: int | None = None
    is_lossless: bool = False
    is_narrowed: bool = False  # fewer bits than the decoded picture has


_PREFERRED = {
    "h264": "libx264",
    "hevc": "libx265",
    "vp9": "libvpx-vp9",
    "vp8": "libvpx",
    "av1": "libsvtav1",
    "prores": "prores_ks",
    "msmpeg4v3": "msmpeg4",
    "flv1": "flv",
}
_ALWAYS_LOSSLESS = frozenset(
    [
        "ffv1",
        "ffvhuff",
        "huffyuv",
        "utvideo",
        "magicyuv",
        "rawvideo",
        "v210",
        "png",
        "apng",
        "qtrle",
    ]
)
_LOSSLESS_MODE = {
    "libx264": {"qp": "0"},
    "libx264rgb": {"qp": "0"},
    "libx265": {"x265-params": "lossless=1"},
    "libvpx-vp9": {"lossless": "1"},
    # All intra: with references between pictures, SVT-AV1 4.1 is lossless in name only.
    "libsvtav1": {"svtav1-params": "lossless=1:keyint=1"},
}
# Visually lossless: (default crf, greatest crf, other options).
_CRF: dict[str, tuple[int, int, dict[str, str]]] = {
    "libx264": (16, 51, {"preset": "medium"}),
    "libx264rgb": (16, 51, {"preset": "medium"}),
    "libx265": (16, 51, {"preset": "medium"}),
    "libvpx-vp9": (18, 63, {"b": "0", "deadline": "good", "cpu-used": "3", "row-mt": "1"}),
    "libvpx": (4, 63, {"b": "100000000", "deadline": "good", "cpu-used": "3"}),
    "libsvtav1": (18, 63, {"preset": "7"}),
}
# The presets in an encoder's own words or numbers.
_PACE_BY_NAME = frozenset({"libx264", "libx264rgb", "libx265"})
_PACE_BY_NUMBER: dict[str, tuple[str, tuple[int, ...]]] = {
    "libvpx-vp9": ("cpu-used", (8, 7, 6, 5, 4, 3, 2, 1, 0)),
    "libvpx": ("cpu-used", (12, 9, 6, 5, 4, 3, 2, 1, 0)),
    "libsvtav1": ("preset", (12, 11, 10, 9, 8, 7, 6, 4, 2)),
}
_MOST_GOOD = 5  # of cpu-used: faster is only "realtime"
_QSCALE = frozenset(
    [
        "mpeg4",
        "mpeg2video",
        "mpeg1video",
        "mjpeg",
        "h263",
        "flv",
        "msmpeg4",
        "msmpeg4v2",
        "wmv1",
        "wmv2",
    ]
)
_FIXED: dict[str, dict[str, str]] = {
    "ffv1": {"level": "3", "slicecrc": "1"},
    "libx265": {"a53cc": "1"},  # captions, which libx264 keeps by itself
    "prores_ks": {"vendor": "apl0"},
    "jpeg2000": {"pred": "1"},
}
_SUGGESTED = ("libx264", "libx264rgb", "libx265", "libvpx-vp9", "libsvtav1", "ffv1")
_LOSSLESS_SUBSTITUTES = ("ffv1", "libx264", "libx264rgb", "libx265", "libvpx-vp9")
_ARCHIVAL = frozenset({"matroska", "avi", "nut", "mxf"})  # where FFV1 is at home


def choose_encoder(
    codec: str,
    pix_fmt: str,
    *,
    holds: Callable[[str], bool],
    container: str,
    encoding: Encoding,
    hdr: Hdr = Hdr(),
    chroma_location: str | None = None,
) -> Encoder:
    """Choose the encoder that follows ``codec`` and ``pix_fmt`` of an input.

    holds: whether the container takes an encoder's stream, by the encoder's name.
    chroma_location: of 4:2:0, in FFmpeg's words; some encoders and containers keep it.

    Raises:
        OutputError: there is no such encoder, it cannot hold these samples, the container cannot
            hold its stream, or it knows no ``crf`` or ``preset``; the message names what would do.
    """
    wanted, lossless = encoding.codec, encoding.lossless
    names = [wanted or codec]
    if codec == "h264" and wanted in (None, "h264"):
        names = ["libx264", "libx264rgb"]  # RGB in H.264 has an encoder of its own
    candidates = [_PREFERRED.get(name, name) for name in names]
    if lossless and wanted is None and not any(_can_be_lossless(n) for n in candidates):
        candidates = list(_LOSSLESS_SUBSTITUTES)
        if container not in _ARCHIVAL or (container == "avi" and pix_fmt.startswith("yuvj")):
            # AVI cannot say that FFV1 is full-range; H.264 says so itself.
            candidates = [*candidates[1:], candidates[0]]
    elif lossless and wanted is not None and not _can_be_lossless(candidates[0]):
        raise OutputError(f"{wanted} has no lossless mode; use --codec ffv1 or --codec libx264")
    reason = ""
    for name in candidates:
        found = _find(name)
        if found is None:
            reason = reason or f"this FFmpeg has no encoder for {name}"
        elif not holds(found.name):
            reason = reason or f"a {container} file cannot hold {found.canonical_name}"
        elif pixels := _match(found, pix_fmt):
            return _set_up(found, pixels, encoding, hdr, chroma_location)
        elif found.name == "prores_ks" and (pixels := _match(found, _narrow(pix_fmt))):
            # FFmpeg decodes ProRes 4444 to 12 bits and encodes it from 10.
            return replace(_set_up(found, pixels, encoding, hdr, chroma_location), is_narrowed=True)
        else:
            reason = reason or f"{found.name} cannot hold {pix_fmt} pictures"
    raise OutputError(f"{reason}; {_suggest(pix_fmt, holds, lossless)}")


def _narrow(pix_fmt: str) -> str:
    return pix_fmt.replace("12le", "10le")


def _find(name: str) -> av.Codec | None:
    """The encoder of this name, if it is one of pictures."""
    try:
        found = av.Codec(name, "w")
    except UnknownCodecError:
        return None
    return found if found.type == "video" else None


def _can_be_lossless(name: str) -> bool:
    found = _find(name)
    return found is not None and (found.name in _LOSSLESS_MODE or found.name in _ALWAYS_LOSSLESS)


def _match(codec: av.Codec, pix_fmt: str) -> str | None:
    """The encoder's pixel format for exactly these samples, or None."""
    formats = [f.name for f in codec.video_formats or ()]
    if not formats or pix_fmt in formats:
        return pix_fmt
    return next((name for name in find_equal_layouts(pix_fmt, formats)), None)


def _suggest(pix_fmt: str, holds: Callable[[str], bool], lossless: bool) -> str:
    fitting = []
    for name in _SUGGESTED:
        found = _find(name)
        if found is None or _match(found, pix_fmt) is None or not holds(name):
            continue
        if not lossless or _can_be_lossless(name):
            fitting.append(name)
    if fitting:
        return "use --codec " + " or ".join(fitting)
    if holds("ffv1"):  # which has just been seen not to hold the pictures
        return "convert the pictures first, to rgba or gray"
    return "name the output .mkv and use --codec ffv1"


def _set_up(
    codec: av.Codec, pix_fmt: str, encoding: Encoding, hdr: Hdr, chroma_location: str | None
) -> Encoder:
    name, crf = codec.name, encoding.crf
    options = dict(_FIXED.get(name, {}))
    qscale = None
    if crf is not None and (encoding.lossless or name not in _CRF):
        why = "--lossless leaves nothing to choose" if encoding.lossless else f"{name} has no crf"
        raise OutputError(f"{why}; leave --crf out")
    if encoding.lossless:
        options.update(_LOSSLESS_MODE.get(name, {}))
        if name in ("libx264", "libx264rgb", "libx265"):
            options["preset"] = "fast"  # the same samples, in a third of the time
        if name == "libvpx-vp9":
            options.update({"cpu-used": "3", "row-mt": "1"})
    elif name in _CRF:
        default, most, others = _CRF[name]
        if crf is not None and not 0 <= crf <= most:
            raise OutputError(f"{name} takes a crf from 0 to {most}, not {crf}")
        options.update(others)
        options["crf"] = str(default if crf is None else crf)
    elif name in _QSCALE:
        qscale = 2
    elif name == "prores_ks":
        options["profile"] = "4" if "444" in pix_fmt else "3"
    elif name == "dnxhd":
        options["profile"] = {
            "yuv422p": "dnxhr_hq",
            "yuv422p10le": "dnxhr_hqx",
        }.get(pix_fmt, "dnxhr_444")
    if encoding.preset is not None:
        options.update(_name_pace(name, encoding.preset))
    if chroma_location and chroma_location != name_usual_location(codec.canonical_name):
        options["chroma_sample_location"] = chroma_location
    _add_parameters(name, options, hdr)
    return Encoder(
        name=name,
        codec=codec.canonical_name,
        pix_fmt=pix_fmt,
        options=options,
        qscale=qscale,
        is_lossless=encoding.lossless or name in _ALWAYS_LOSSLESS,
    )


def _name_pace(name: str, preset: str) -> dict[str, str]:
    """An encoder's own options for a preset."""
    if preset not in PRESETS:
        raise OutputError(f"no preset {preset!r}; use one of {', '.join(PRESETS)}")
    place = PRESETS.index(preset)
    if name in _PACE_BY_NAME:
        return {"preset": PRESETS[place]}  # plain text, where a kind of text may have been given
    own = _PACE_BY_NUMBER.get(name)
    if own is None:
        raise OutputError(f"{name} has no presets; leave --preset out")
    option, numbers = own
    number = numbers[place]
    if option != "cpu-used":
        return {option: str(number)}
    is_live = number > _MOST_GOOD  # what lies beyond is the same as the last to --deadline good
    return {option: str(number), "deadline": "realtime" if is_live else "good"}


def _add_parameters(name: str, options: dict[str, str], hdr: Hdr) -> None:
    """Add what goes into x264's, x265's and SVT-AV1's own strings: HDR metadata and silence."""
    key = {
        "libx264": "x264-params",
        "libx265": "x265-params",
        "libsvtav1": "svtav1-params",
    }.get(name)
    if key is None:
        return
    parts = [options[key]] if key in options else []
    if name == "libx265":
        parts.append("log-level=error")  # x265 writes to stderr by itself
    if hdr.mastering is not None:
        text = _write_mastering(hdr.mastering, whole=name != "libsvtav1")
        parts.append(("master-display=" if name == "libx265" else "mastering-display=") + text)
    if hdr.light is not None:
        tag = {"libx264": "cll", "libx265": "max-cll", "libsvtav1": "content-light"}[name]
        parts.append(f"{tag}={hdr.light[0]},{hdr.light[1]}")
    if parts:
        options[key] = ":".join(parts)


def _write_mastering(values: tuple[Fraction, ...], *, whole: bool) -> str:
    """``G(x,y)B(x,y)R(x,y)WP(x,y)L(most,least)``, in units of 0.00002 and 0.0001 if ``whole``."""

    def number(value: Fraction, unit: int) -> str:
        return str(round(value * unit)) if whole else f"{float(value):.5f}"

    red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y = (
        number(v, 50_000) for v in values[:8]
    )
    least, most = (number(v, 10_000) for v in values[8:10])
    return (
        f"G({green_x},{green_y})B({blue_x},{blue_y})R({red_x},{red_y})"
        f"WP({white_x},{white_y})L({most},{least})"
    )
