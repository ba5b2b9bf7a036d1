"""Containers: what each can hold, which clock and options it wants, what is copied into it."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from .chroma_location import name_usual_location
from .encoders import Encoder
from .errors import OutputError
from .inputs import open_bytes
from .mp4_marks import has_header_first, read_marks
from .reader import VideoInfo, VideoReader, name_codec
from .stamps import to_fraction

__all__ = [
    "ASPECT_IN_HEADER",
    "ASPECT_IN_PICTURES",
    "CHAPTERED",
    "COVERED",
    "INTERLACED",
    "MP4_FAMILY",
    "NO_EARLIER",
    "ROTATED",
    "add_copy",
    "adopt_look",
    "can_hold",
    "can_hold_encoder",
    "can_pause",
    "choose_clock",
    "choose_rate",
    "copy_metadata",
    "cut_chapters",
    "find_muxer",
    "find_origin",
    "is_chapter_track",
    "make_container_options",
    "name_losses",
]

_HEAD_OF_PNG = 2**16  # bytes in which an animation says that it is one
_VIDEO_FIRST = frozenset({"dv"})  # it takes no sound without a picture before it
_ENDINGS = {"matroska": "mkv", "mpegts": "ts"}  # of containers that are not called so
# Containers that FFmpeg lets write anything, readable or not.
_HELD = {
    "mpegts": frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"}),
    "mpeg": frozenset({"mpeg1video", "mpeg2video", "h264"}),
    "vob": frozenset({"mpeg1video", "mpeg2video", "h264"}),
    "mxf": frozenset({"mpeg2video", "h264", "dnxhd", "prores", "jpeg2000", "ffv1", "dvvideo"}),
    "ogg": frozenset({"theora", "vp8"}),
    "ogv": frozenset({"theora", "vp8"}),
    # H.264 in ASF loses its times: FFmpeg parses it there, one packet late.
    "asf": frozenset({"msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "mpeg4", "mjpeg", "ffv1"}),
}
# FFmpeg writes anything into a transport stream; of this a reader knows what it is.
_HELD_BESIDE_TS = frozenset(
    [
        *("mp1", "mp2", "mp3", "aac", "aac_latm", "ac3", "eac3", "ac4", "dts", "truehd", "opus"),
        *("pcm_bluray", "s302m", "dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle"),
        *("hdmv_text_subtitle", "klv", "timed_id3", "scte_35"),
    ]
)
_OF_THE_OLD = ("BPS", "NUMBER_OF_", "_STATISTICS_", "DURATION", "ALPHA_MODE")  # tags
_SYNC = 0x47  # the first byte of a transport stream's packet
_NO_DESCRIPTION = b"\0\0\0\x10stsd"
_MPEG_RATES = tuple(
    Fraction(r) for r in ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")
)
_MPEG = frozenset({"mpegts", "mpeg", "vob", "svcd", "dvd"})
NO_EARLIER = _MPEG | {"flv", "nut"}  # where FFmpeg moves all if decoding begins before 0
MP4_FAMILY = frozenset({"mp4", "mov", "ipod", "3gp", "3g2", "psp", "ismv"})
# Where a pixel aspect ratio stays: containers that take an encoder's, codecs that write it.
ASPECT_IN_HEADER = MP4_FAMILY | {"asf", "ogg"}
ASPECT_IN_PICTURES = (
    "h264",
    "hevc",
    "mpeg4",
    "mpeg1video",
    "mpeg2video",
    "mjpeg",
    "png",
    "dvvideo",
)
# Containers that keep covers, chapters, a rotation; codecs whose field order is kept.
COVERED = MP4_FAMILY - {"mov"} | {"matroska", "asf"}
CHAPTERED = MP4_FAMILY | {"matroska", "webm", "asf", "ogg", "nut"}
ROTATED = MP4_FAMILY | {"matroska", "webm"}
INTERLACED = (
    *("h264", "mpeg2video", "mpeg4", "prores", "mjpeg", "rawvideo", "v210", "dnxhd"),
    *("ffv1", "huffyuv", "ffvhuff", "utvideo", "dvvideo"),
)


def adopt_look(context: VideoCodecContext, info: VideoInfo, encoder: Encoder) -> None:
    """Set an encoder up for pictures of a video's size, shape and colours."""
    context.width, context.height = info.width, info.height
    context.pix_fmt = encoder.pix_fmt
    if info.sample_aspect_ratio is not None:
        context.sample_aspect_ratio = info.sample_aspect_ratio
    context.color_range = info.color_range
    context.color_primaries = info.color_primaries
    context.color_trc = info.color_trc
    context.colorspace = info.colorspace


def add_copy(container: OutputContainer, stream: Stream) -> Stream:
    made = container.add_stream_from_template(stream, opaque=True)
    made.disposition = stream.disposition
    return made


def can_hold_encoder(muxer: str, name: str) -> bool:
    if muxer in _HELD:
        return av.Codec(name, "w").canonical_name in _HELD[muxer]
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as container:
            container.add_stream(name)
    except ValueError:
        return False
    return True


def can_hold(muxer: str, stream: Stream) -> bool:
    """Whether the container takes this stream: tried on a file that goes nowhere."""
    if muxer == "mpegts" and stream.type != "video":
        return name_codec(stream) in _HELD_BESIDE_TS
    is_described = muxer in MP4_FAMILY and stream.type == "data"
    file = io.BytesIO()
    try:
        with av.open(file, "w", format=muxer) as container:
            if muxer in _VIDEO_FIRST and stream.type != "video":
                add_copy(container, stream.container.streams.video[0])
            made = add_copy(container, stream)
            container.start_encoding()
            if is_described:
                packet: Packet[Any] = Packet(bytes(8))
                packet.stream, packet.pts, packet.dts, packet.duration = made, 0, 0, 1
                container.mux_one(packet)
        if not is_described:
            return True
        # Of data that it does not know the muxer writes no track, or one without a description.
        written = file.getvalue()
        with av.open(io.BytesIO(written)) as again:
            return bool(again.streams.data) and _NO_DESCRIPTION not in written
    except (FFmpegError, ValueError):
        return False


def cut_chapters(chapters: Iterable[Any], stop: Fraction | None) -> list[Any]:
    """Chapters as a file has them that ends at ``stop``, in seconds; None: all."""
    kept = []
    for chapter in chapters:
        base = to_fraction(chapter["time_base"])
        if stop is not None and base is not None:
            last = math.ceil(stop / base)
            if chapter["start"] >= last:
                continue
            chapter = {**chapter, "end": min(chapter["end"], last)}
        kept.append(chapter)
    return kept


def is_chapter_track(stream: Stream, n_chapters: int) -> bool:
    """Whether data is QuickTime's track of chapters: as many packets, and not enabled."""
    is_on = bool(stream.disposition & Disposition.default)
    return name_codec(stream) == "bin_data" and 0 < stream.frames == n_chapters and not is_on


def can_pause(muxer: str, stream: Stream) -> bool:
    """Whether a silence between two packets is kept; where samples are only counted it is not."""
    is_counted = muxer == "avi" or (
        muxer in MP4_FAMILY and name_codec(stream).startswith(("pcm_", "adpcm_"))
    )
    return stream.type != "audio" or not is_counted


def copy_metadata(
    source: dict[str, str], target: dict[str, str], muxer: str, *, rewritten: bool = False
) -> None:
    """Copy tags but for those that a muxer writes itself and those about the old encoding."""
    for key, value in source.items():
        name = key.upper()
        if name in ("ENCODER", "MAJOR_BRAND", "MINOR_VERSION", "COMPATIBLE_BRANDS", "DURATION"):
            continue
        if rewritten and name.startswith(_OF_THE_OLD):
            continue
        target[key] = value


def choose_rate(stream: VideoStream) -> Fraction:
    """The nominal rate: a hint for encoders and players, no clock."""
    base, average = to_fraction(stream.base_rate), to_fraction(stream.average_rate)
    if base is not None and 1 <= base <= 240:
        return base
    return average or Fraction(25)


def choose_clock(encoder: Encoder, rate: Fraction, base: Fraction) -> tuple[Fraction, Fraction]:
    """Time base and rate of the encoder: the stream's, or what its standard binds it to."""
    if encoder.codec in ("mpeg1video", "mpeg2video"):
        rate = min(_MPEG_RATES, key=lambda r: abs(r - rate))
        return 1 / rate, rate
    if encoder.codec == "mpeg4" and base.denominator > 65535:
        rate = rate.limit_denominator(1001) if rate.numerator > 65535 else rate
        return 1 / rate, rate
    return base, rate


def find_origin(muxer: str, like: VideoReader, begin: Fraction | None) -> Fraction:
    """Seconds on the input's clock at which the output's begins; 0: they are the same.

    The clock of a transport stream has run for hours when a recording begins. Other containers
    would say so too, and players show nothing for as long. In whole hundredths, which all clocks
    can hold, so that all streams move alike.

    begin: time of the first frame that is written; None: times are left as they are.
    """
    if begin is None or like.info.container not in _MPEG or muxer in _MPEG:
        return Fraction(0)
    starts = [begin]
    for stream in like.container.streams if like.copy_streams else ():
        base = to_fraction(stream.time_base)
        is_other = stream.index != like.stream.index and can_hold(muxer, stream)
        if is_other and base is not None and stream.start_time is not None:
            starts.append(stream.start_time * base)
    return Fraction(math.floor(min(starts) * 100), 100)


def make_container_options(
    muxer: str, like: VideoReader, time_base: Fraction, *, suffix: str, origin: Fraction
) -> dict[str, str]:
    """What FFmpeg's muxer is told; ``origin`` as ``find_origin`` has it."""
    options = _choose_options(muxer, like, time_base, suffix=suffix)
    if origin:
        whole, hundredths = divmod(abs(int(origin * 100)), 100)
        options["output_ts_offset"] = f"{'-' if origin > 0 else ''}{whole}.{hundredths:02}"
    elif muxer in MP4_FAMILY and (like.info.start or 0) < 0:
        options["avoid_negative_ts"] = "make_zero"  # an edit list leaves out what is before 0
    return options


def _choose_options(
    muxer: str, like: VideoReader, time_base: Fraction, *, suffix: str
) -> dict[str, str]:
    if muxer == "mpegts":
        options = {"mpegts_copyts": "1"}  # else it adds 1.4 s to all times
        if suffix == ".m2ts" or (suffix == ".mts" and _has_long_packets(like.path)):
            options["mpegts_m2ts_mode"] = "1"  # FFmpeg's own choice, by a name it does not see
        return options
    if muxer == "apng":
        return {"plays": str(_count_plays(like.path))}
    if muxer in _MPEG:
        return {"preload": "0"}  # else it moves everything by up to half a second
    if muxer in MP4_FAMILY:
        options = {}
        clocks = [time_base, *(to_fraction(s.time_base) for s in like.container.streams.video)]
        clock = math.lcm(*(b.denominator for b in clocks if b is not None))
        if clock <= 2**24:  # one for all video tracks
            options["video_track_timescale"] = str(clock)
        # Edit lists are kept in the movie's clock: in FFmpeg's 1/1000 a late start is rounded.
        bases = [to_fraction(s.time_base) for s in like.container.streams]
        starts = [(s.start_time or 0, to_fraction(s.time_base)) for s in like.container.streams]
        if any((start * base * 1000).denominator > 1 for start, base in starts if base):
            scale = math.lcm(1000, *(b.denominator for b in bases if b))
            if scale > 2**31 - 1:
                scale = math.lcm(1000, like.info.time_base.denominator)
            if scale <= 2**31 - 1:
                options["movie_timescale"] = str(scale)
        flags = []
        if any("." in key for key in like.container.metadata):  # com.apple.quicktime.make
            flags.append("use_metadata_tags")
        is_first = "mp4" in like.info.container.split(",") and has_header_first(like.path)
        if is_first and not read_marks(like.path, like.stream.id):  # for which it must be last
            flags.append("faststart")
        if flags:
            options["movflags"] = "+".join(flags)
        return options
    return {}


def _has_long_packets(path: Path) -> bool:
    """Whether a transport stream is of packets with a clock before each, as cameras write it."""
    with open_bytes(path) as file:
        start = file.read(200)
    return len(start) == 200 and start[4] == start[196] == _SYNC


def _count_plays(path: Path) -> int:
    """How often an animated PNG is to be shown, 0: for ever; any other animation is so too."""
    with open_bytes(path) as file:
        head = file.read(_HEAD_OF_PNG)
    place = head.find(b"acTL")
    return int.from_bytes(head[place + 8 : place + 12], "big") if place > 0 else 0


def find_muxer(path: Path, info: VideoInfo) -> str:
    """Which of FFmpeg's containers a file gets by its ending; the input's own if these agree.

    Raises:
        OutputError: none.
    """
    names = [f"any{path.suffix}"]
    if path.suffix.lower() == info.path.suffix.lower():
        names += [f"any.{_ENDINGS.get(name, name)}" for name in info.container.split(",")]
    for name in names:
        try:
            # Nothing is opened on disk before a header is written.
            with av.open(name, "w") as container:
                found: str = container.format.name
        except (ValueError, FFmpegError):
            continue
        if not container.format.no_file:  # else it writes many files, or none, as it likes
            return found
    if not path.suffix:
        raise OutputError(
            f"{path}: neither a folder that exists nor a name with an ending that tells "
            "the container; make the folder first, or name a file such as out.mkv"
        )
    raise OutputError(
        f"{path}: no video container has the ending {path.suffix!r}; "
        "name it .mkv, .mp4, .mov, .webm, .avi or .ts"
    )


def name_losses(
    muxer: str, like: VideoReader, encoder: Encoder, *, copies_pictures: bool, origin: Fraction
) -> tuple[str, ...]:
    """What of a video's pictures its copy cannot have, in words; origin as of ``find_origin``."""
    info = like.info
    losses = []
    if encoder.is_narrowed:
        losses.append(f"bits beyond {encoder.pix_fmt} (of {info.pix_fmt})")
    if muxer == "mxf" and info.start and not origin:
        losses.append("a start other than 0 (MXF counts frames)")
    if like.stream.disposition & Disposition.multilayer:
        losses.append("the views of a multi-view video beside the base view")
    if (info.start or 0) < 0 and not origin and muxer not in ("avi", "mxf"):
        losses.append("times before 0 (all comes later, so that it begins at 0)")
    if info.has_dolby_vision:
        losses.append("Dolby Vision metadata")
    if not copies_pictures:
        losses += info.picture_metadata
        if info.interlaced and encoder.codec not in INTERLACED:
            losses.append(f"the mark of interlacing ({encoder.name} sets none)")
    tags = {key.upper(): value for key, value in like.stream.metadata.items()}
    if tags.get("ALPHA_MODE") == "1" and info.pix_fmt in ("yuv420p", "yuv420p10le"):
        losses.append("the alpha channel (FFmpeg's own decoder of this codec gives none)")
    if info.rotation and muxer not in ROTATED:
        losses.append(f"rotation ({info.rotation} degrees)")
    if not copies_pictures and not _tells_chroma_location(info, muxer, encoder.codec):
        losses.append(f"where chroma lies ({info.chroma_location})")
    carries_hdr = encoder.codec in ("h264", "hevc", "av1")
    if (info.hdr.mastering or info.hdr.light) and not carries_hdr:
        losses.append("HDR mastering metadata")
    return tuple(losses)


def _tells_chroma_location(info: VideoInfo, muxer: str, codec: str) -> bool:
    """Whether a file in a codec says where chroma lies, or need not."""
    location = info.chroma_location
    if location is None or location == name_usual_location(codec):
        return True
    if codec == "av1" and location not in ("left", "topleft"):
        return muxer in ("matroska", "webm")
    return codec in ("h264", "hevc", "av1") or muxer in ("matroska", "webm")
