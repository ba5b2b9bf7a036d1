"""Containers: what each can hold, which clock and options it wants, what is copied into it."""

from __future__ import annotations

import io
import math
from fractions import Fraction

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from .encoders import Encoder
from .reader import VideoInfo, VideoReader, name_codec
from .stamps import to_fraction

__all__ = [
    "MP4_FAMILY",
    "NO_NEGATIVE",
    "add_copy",
    "adopt_look",
    "can_hold",
    "can_hold_encoder",
    "can_pause",
    "choose_clock",
    "choose_rate",
    "copy_metadata",
    "make_container_options",
]

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
_MPEG_RATES = tuple(
    Fraction(r) for r in ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")
)
NO_NEGATIVE = frozenset({"mpegts", "mpeg", "vob", "svcd", "dvd"})
MP4_FAMILY = frozenset({"mp4", "mov", "ipod", "3gp", "3g2", "psp", "ismv"})


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
    """Whether the container takes this stream: tried on a header that goes nowhere."""
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as container:
            add_copy(container, stream)
            container.start_encoding()
    except (FFmpegError, ValueError):
        return False
    return True


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
        if rewritten and name.startswith(("BPS", "NUMBER_OF_", "_STATISTICS_", "DURATION")):
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


def make_container_options(muxer: str, like: VideoReader, time_base: Fraction) -> dict[str, str]:
    if muxer == "mpegts":
        return {"mpegts_copyts": "1"}  # else it adds 1.4 s to all times
    if muxer in NO_NEGATIVE:
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
        return options
    return {}
