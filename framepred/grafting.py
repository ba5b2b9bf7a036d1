"""Writing a video of which most is copied as it is coded, and little encoded anew (H.264, H.265).

Copied and new pictures share a track as ``bitstream`` says: the new ones' parameter sets bear
numbers of their own, and the track's header lists both kinds. New pictures have no B-frames, so
that they can be decoded in the time that the replaced ones took.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.codec.context import CodecContext, Flags
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from . import bitstream, parameter_sets
from .bitstream import Header
from .colour import Frame, Unread
from .containers import adopt_look, choose_rate, copy_metadata
from .encoders import Encoder, Encoding, choose_encoder
from .errors import MediaError, OutputError, describe_error
from .inputs import demux
from .outputs import translate_errors
from .parameter_sets import SpsFacts
from .reader import VideoInfo, VideoReader
from .reports import CopyReport, EncodedReport
from .splicing import Coded, Copied, Encoded, Stretch, Wish, cut_stretches, lay_decode_ticks
from .stamps import to_fraction
from .timeline import to_ticks
from .writer import VideoWriter

__all__ = ["Graft", "Grafter", "plan_graft"]

_READ = ("mov", "matroska")  # as FFmpeg names what it reads: "mov,mp4,...", "matroska,webm"
_WRITTEN = (".mp4", ".m4v", ".mov", ".mkv")
_AVC_PROFILES = {66: "baseline", 77: "main", 100: "high", 110: "high10", 122: "high422"}
_AVC_LOSSLESS_PROFILE = 244  # High 4:4:4 Predictive: a decoder for it takes the others too
_LEVEL_1B = 9
_FEWEST_BYTES = 3  # of the length before a NAL unit: with two it could be 65,535 bytes at most
_N_REFERENCES = 3  # as x264's preset "medium"


@dataclass(frozen=True)
class Graft:
    """What is copied, what is encoded, and how: decided before anything is written."""

    stretches: tuple[Stretch, ...]
    wishes: tuple[Wish, ...]  # the frames of the output
    ticks: tuple[int, ...]  # when each is shown, in the input's time base
    coded: tuple[Coded, ...]  # the input's pictures, in the order of storage
    time_base: Fraction  # of all ticks
    encoder: Encoder
    header: bytes  # the track's new header
    sets: tuple[bytes, ...]  # the new pictures' parameter sets, as the encoder numbers them
    number: int  # that they bear in the output
    length_size: int
    has_sets_inside: bool  # parameter sets between the pictures too

    def report(self) -> CopyReport:
        """What is copied, and what is not."""
        encoded = []
        for stretch in self.stretches:
            if isinstance(stretch, Encoded):
                wishes = self.wishes[stretch.start : stretch.stop]
                is_last = stretch.stop == len(self.wishes)
                encoded.append(
                    EncodedReport(
                        start=wishes[0].time,
                        stop=None if is_last else self.wishes[stretch.stop].time,
                        frames=len(wishes),
                        frames_made=sum(wish.is_made for wish in wishes),
                    )
                )
        return CopyReport(
            packets_copied=len(self.wishes) - sum(part.frames for part in encoded),
            frames_reencoded=sum(part.frames - part.frames_made for part in encoded),
            stretches=tuple(encoded),
        )


def plan_graft(
    info: VideoInfo,
    wishes: Sequence[Wish],
    *,
    output: Path,
    encoding: Encoding = Encoding(),  # noqa: B008 (it cannot be changed)
) -> Graft:
    """Decide what of a video can be copied; reads its packets and decodes nothing.

    Raises:
        OutputError: it cannot be done correctly; the message says why and what would do.
        MediaError: the file cannot be read any more.
    """
    if encoding.lossless:
        raise _refuse(info, "what is encoded without loss does not go with them")
    _check_kind(info, output)
    with VideoReader(info.path) as reader:
        survey = _Survey(reader)
        if survey.header.length_size < _FEWEST_BYTES:
            raise _refuse(info, "its packets have no room for the length of a large picture")
        # A file that was written this way before may hold the very sets that are wanted.
        number = bitstream.HEVC_NUMBER if survey.number is None else survey.number
        encoder = _match_encoder(info, survey, number, encoding)
        sets = _read_sets(_open_encoder(reader, encoder), survey.codec)
        for unit in sets:
            if bitstream.name_set(survey.codec, unit)[0] == "sps":
                chroma = parameter_sets.read_sps(survey.codec, unit).chroma
                if chroma != survey.sps.chroma:  # as with grey pictures, by some encoders
                    raise _refuse(info, f"{encoder.name} stores its colours otherwise")
        try:
            numbered = _number_all(sets, survey.codec, number)
            if not set(numbered).issubset(survey.header.sets):
                if survey.number is None:
                    raise _refuse(info, "its parameter sets leave no number for others")
                header = survey.header.extend(numbered).pack()
            else:
                header = survey.header.pack()
        except ValueError as error:
            raise _refuse(info, str(error)) from None
    stretches = cut_stretches(survey.coded, wishes, info.time_base)
    if not any(isinstance(stretch, Copied) for stretch in stretches):
        raise _refuse(info, "no group of pictures stays as it is")
    return Graft(
        stretches=tuple(stretches),
        wishes=tuple(wishes),
        ticks=tuple(to_ticks(wish.time, info.time_base) for wish in wishes),
        coded=tuple(survey.coded),
        time_base=info.time_base,
        encoder=encoder,
        header=header,
        sets=sets,
        number=number,
        length_size=survey.header.length_size,
        has_sets_inside=survey.has_sets_inside,
    )


def _refuse(info: VideoInfo, why: str) -> OutputError:
    return OutputError(
        f"{info.path}: its pictures cannot be copied: {why}; leave --codec copy out "
        "(--lossless keeps every frame bit for bit)"
    )


def _check_kind(info: VideoInfo, output: Path) -> None:
    """Refuse what is not even looked at."""
    if info.codec not in ("h264", "hevc"):
        raise _refuse(info, f"that is done for H.264 and H.265 only, and this is {info.codec}")
    if not info.container.startswith(_READ):
        raise _refuse(info, f"that is done in MP4, MOV and Matroska, and this is {info.container}")
    if output.suffix.lower() not in _WRITTEN:
        raise _refuse(info, f"a {output.suffix or 'nameless'} file is not written that way")
    if info.interlaced:
        raise _refuse(info, "it is interlaced")
    if info.has_dolby_vision:
        raise _refuse(info, "new frames would lack its Dolby Vision metadata")


def _number_all(units: Sequence[bytes], codec: bitstream.Codec, number: int) -> list[bytes]:
    """Number parameter sets and slices; x264 has done so by itself."""
    if codec == "h264":
        return list(units)
    return [bitstream.renumber(unit, number) for unit in units]


# What the file holds.


class _Survey:
    """The coded pictures of a video, and what they need to be decoded."""

    def __init__(self, reader: VideoReader) -> None:
        info = reader.info
        if reader.stream.disposition & Disposition.multilayer:
            raise _refuse(info, "it has several views")
        self.codec: bitstream.Codec = "h264" if info.codec == "h264" else "hevc"
        try:
            data = reader.stream.codec_context.extradata or b""
            self.header: Header = bitstream.parse_header(self.codec, data)
            names = [bitstream.name_set(self.codec, unit) for unit in self.header.sets]
            facts = [
                parameter_sets.read_sps(self.codec, unit)
                for unit, (kind, _) in zip(self.header.sets, names, strict=True)
                if kind == "sps"
            ]
        except ValueError as error:
            raise _refuse(info, str(error)) from None
        # Several are no obstacle where they agree, as in a file that was written this way before.
        n_references = min(sps.n_references for sps in facts)
        if len({replace(sps, n_references=n_references) for sps in facts}) > 1:
            raise _refuse(info, "its header describes several kinds of video")
        self.sps: SpsFacts = replace(facts[0], n_references=n_references)
        if self.sps.is_interlaced:
            raise _refuse(info, "it may be interlaced")
        self.number = bitstream.find_free_number(self.codec, names)
        self.has_sets_inside = False
        self.coded = self._read(reader)
        self.is_intra = all(picture.is_entry for picture in self.coded)

    def _read(self, reader: VideoReader) -> list[Coded]:
        info = reader.info
        known = set(self.header.sets)
        shown: list[int] = []
        decoded: list[int | None] = []
        pictures: list[bitstream.Picture] = []
        for packet in demux(reader.container, reader.stream):
            if packet.pts is None:
                raise _refuse(info, "it does not say when its pictures are shown")
            try:
                units = bitstream.split_units(bytes(packet), self.header.length_size)
                picture = self.header.describe(units)
            except ValueError:
                picture = bitstream.Picture()  # it is not decoded either
            if not known.issuperset(picture.sets):
                raise _refuse(info, "its parameter sets change on the way")
            if picture.has_layers:
                raise _refuse(info, "it has several views or qualities")
            self.has_sets_inside |= bool(picture.sets)
            shown.append(packet.pts)
            decoded.append(packet.dts)
            pictures.append(picture)
        if not shown or len(set(shown)) < len(shown):
            raise _refuse(info, "two of its pictures have the same time")
        return [
            Coded(
                pts=pts,
                dts=dts,
                is_entry=picture.entry is not None and not picture.drops_earlier,
                is_leading=picture.is_leading,
                drops_leading=picture.entry in ("cra", "bla"),
                looks_ahead=picture.looks_ahead,
            )
            for pts, dts, picture in zip(
                shown, lay_decode_ticks(shown, decoded), pictures, strict=True
            )
        ]


# An encoder like the input's.


def _match_encoder(info: VideoInfo, survey: _Survey, number: int, encoding: Encoding) -> Encoder:
    """The encoder, and options that give pictures like the input's.

    They must make a decoder keep as many pictures as the input's: where that number changes, it
    may drop those that it has not shown yet (H.264, C.4.4; H.265, C.5.2.2).
    """
    sps = survey.sps
    try:
        encoder = choose_encoder(
            info.codec,
            info.pix_fmt,
            holds=lambda name: name in ("libx264", "libx265"),
            container="mp4",
            encoding=replace(encoding, codec=None),
            hdr=info.hdr,
            chroma_location=info.chroma_location,
        )
    except OutputError as error:
        why, advises, _ = str(error).partition(";")
        raise _refuse(info, why) if advises else OutputError(f"{info.path}: {why}") from None
    options = dict(encoder.options)
    if encoder.codec == "h264":
        options["refs"] = str(max(1, min(_N_REFERENCES, sps.n_references)))
        profile = _AVC_PROFILES.get(sps.profile)
        if sps.chroma == 3:
            raise _refuse(info, "that is not done for H.264 in 4:4:4")
        if profile is None and sps.profile != _AVC_LOSSLESS_PROFILE:
            raise _refuse(info, f"no encoder here makes H.264 of its profile ({sps.profile})")
        if profile is not None:
            options["profile"] = profile
        options["level"] = "1b" if sps.level == _LEVEL_1B else f"{sps.level / 10:.1f}"
        own = [options["x264-params"]] if "x264-params" in options else []
        options["x264-params"] = ":".join([*own, f"sps-id={number}:dpb-size={sps.n_kept}"])
    else:
        options["refs"] = str(max(1, sps.n_references))
        own = [options["x265-params"], "bframes=0:open-gop=0:repeat-headers=0:info=0"]
        own.append(f"level-idc={sps.level / 30:.1f}:high-tier={int(sps.is_high_tier)}")
        options["x265-params"] = ":".join(own)
    if survey.is_intra:
        options["g"] = "1"
    return replace(encoder, options=options)


def _open_encoder(like: VideoReader, encoder: Encoder) -> VideoCodecContext:
    info = like.info
    context = CodecContext.create(encoder.name, "w")
    assert isinstance(context, VideoCodecContext)
    adopt_look(context, info, encoder)
    context.time_base, context.framerate = info.time_base, choose_rate(like.stream)
    context.max_b_frames = 0
    context.thread_type = "AUTO"
    context.flags |= Flags.global_header | Flags.frame_duration
    context.options = dict(encoder.options)
    try:
        context.open()
    except FFmpegError as error:
        raise _refuse(
            info, f"{encoder.name} refuses to encode like it ({describe_error(error)})"
        ) from error
    return context


def _read_sets(context: VideoCodecContext, codec: bitstream.Codec) -> tuple[bytes, ...]:
    """The parameter sets of an encoder that is open."""
    units = bitstream.split_stream(context.extradata or b"")
    return tuple(unit for unit in units if bitstream.is_set(codec, unit))


# The output.


class Grafter(VideoWriter):
    """A ``VideoWriter`` that copies what a graft says can be copied.

    The frames come all the same; those in whose stead a picture is copied may be ``Unread``.

    ::

        graft = plan_graft(info, wishes, output=path)
        with VideoReader("in.mp4", copy_streams=True) as like:
            with Grafter("out.mp4", like=like, graft=graft) as writer:
                ...

    The copied pictures are read through ``like``, at the pace at which the frames come.
    """

    _copies_pictures = True

    def __init__(
        self,
        path: str | Path,
        *,
        like: VideoReader,
        graft: Graft,
        overwrite: bool = False,
        stop: Fraction | None = None,
    ) -> None:
        """Open the output as ``VideoWriter`` does.

        Raises:
            OutputError: the file exists (and not ``overwrite``), is the input, or cannot be
                written.
        """
        self._graft = graft
        self._stretches = iter(graft.stretches)
        self._stretch = next(self._stretches)
        self._coded = enumerate(demux(like.container, like.stream))
        self._context: VideoCodecContext | None = None
        self._n_encoded = 0  # of this stretch
        super().__init__(path, like=like, overwrite=overwrite, stop=stop)

    def write(self, frame: Frame | Unread) -> None:
        """Take the next frame of the output: encode it, or copy a picture in its stead.

        Raises:
            OutputError: the disk is full or the encoder refuses.
            MediaError: the picture's size differs from the video's, or pictures are gone.
            ValueError: it is not the frame that the graft expects.
        """
        index = self.n_frames
        ticks = self._graft.ticks
        if index == len(ticks) or to_ticks(frame.time, self._base) != ticks[index]:
            raise ValueError(f"a frame at {frame.time} s is not wanted here")
        if index == self._stretch.stop:
            self._stretch = next(self._stretches)
            self._n_encoded = 0
        if isinstance(self._stretch, Copied):
            self._copy_picture(self._stretch)
        elif isinstance(frame, Unread):
            raise ValueError(f"the frame at {frame.time} s is to be encoded: it must be decoded")
        else:
            self._encode_frame(frame, self._stretch)
        self.n_frames += 1

    def _choose(self, muxer: str, encoding: Encoding) -> Encoder:
        return self._graft.encoder

    @property
    def _told_aspect(self) -> Fraction | None:
        return to_fraction(self._like.stream.codec_context.sample_aspect_ratio)

    def _add_video(self, container: OutputContainer, encoder: Encoder) -> VideoStream:
        source = self._like.stream
        self._base = self._graft.time_base
        stream = container.add_stream_from_template(source, opaque=True)
        stream.codec_context.framerate = choose_rate(source)
        stream.codec_context.extradata = self._graft.header
        if self._like.info.sample_aspect_ratio is not None:  # the pictures may say another
            stream.codec_context.sample_aspect_ratio = self._like.info.sample_aspect_ratio
        if container.format.name != "matroska":
            stream.codec_context.codec_tag = self._choose_tag(source)
        copy_metadata(source.metadata, stream.metadata, container.format.name, rewritten=True)
        stream.disposition = source.disposition
        return stream

    def _choose_tag(self, source: VideoStream) -> str:
        """What the track calls its codec, which says whether it has sets between the pictures."""
        names = ("avc1", "avc3") if self.encoder.codec == "h264" else ("hvc1", "hev1")
        tag = source.codec_context.codec_tag
        return tag if tag in names else names[self._graft.has_sets_inside]

    def _copy_picture(self, stretch: Copied) -> None:
        """Copy the next packet of a stretch."""
        left_out = range(stretch.first + 1, stretch.first + 1 + stretch.n_left_out)
        coded = ((i, p) for i, p in self._coded if i >= stretch.first and i not in left_out)
        index, packet = next(coded, (-1, None))
        if packet is None:
            raise MediaError(f"{self._like.path}: it has fewer pictures than before; read it again")
        if stretch.is_entered and index == stretch.first and self.encoder.codec == "hevc":
            packet = self._enter(packet)
        assert packet.pts is not None
        if stretch.stop < len(self._graft.ticks):  # a hole is filled there
            left = self._graft.ticks[stretch.stop] - packet.pts
            packet.duration = min(packet.duration or left, left)
        packet.dts = self._graft.coded[index].dts
        self._mux(packet)

    def _enter(self, packet: Packet[Any]) -> Packet[Any]:
        """The first picture behind new ones: it must not look back."""
        units = bitstream.split_units(bytes(packet), self._graft.length_size)
        broken = bitstream.break_link(units)
        if broken == units:
            return packet
        made: Packet[Any] = Packet(bitstream.join_units(broken, self._graft.length_size))
        made.pts, made.duration, made.is_keyframe = packet.pts, packet.duration, True
        return made

    def _encode_frame(self, frame: Frame, stretch: Encoded) -> None:
        native = self._fit(frame)
        index = self.n_frames
        ticks = self._graft.ticks
        native.pts, native.time_base, native.pict_type = ticks[index], self._base, 0
        if index + 1 < len(ticks):
            native.duration = ticks[index + 1] - ticks[index]
        else:
            self._step = ticks[index] - ticks[index - 1] if index else 1
            native.duration = self._measure_last(native)
        if self._context is None:
            self._context = _open_encoder(self._like, self.encoder)
            if _read_sets(self._context, self._codec) != self._graft.sets:
                raise OutputError(f"{self.path}: {self.encoder.name} changed its parameter sets")
        with translate_errors(self.path, FFmpegError):
            packets = self._context.encode(native)
            if index + 1 == stretch.stop:
                packets += self._context.encode(None)
                self._context = None
        for packet in packets:
            self._mux_encoded(packet, stretch)

    def _mux_encoded(self, packet: Packet[Any], stretch: Encoded) -> None:
        units = [
            unit
            for unit in bitstream.split_stream(bytes(packet))
            if not bitstream.is_chatter(self._codec, unit)
        ]
        units = _number_all(units, self._codec, self._graft.number)
        made: Packet[Any] = Packet(bitstream.join_units(units, self._graft.length_size))
        made.pts, made.dts = packet.pts, stretch.decode_ticks[self._n_encoded]
        made.duration, made.is_keyframe = packet.duration, packet.is_keyframe
        self._n_encoded += 1
        self._mux(made)

    def _mux(self, packet: Packet[Any]) -> None:
        assert self._container is not None
        packet.stream, packet.time_base = self._stream, self._base
        with translate_errors(self.path, FFmpegError):
            self._container.mux_one(packet)

    def _finish_video(self) -> None:
        if self.n_frames < len(self._graft.ticks):
            raise OutputError(f"{self.path}: there are fewer frames than were planned")

    @property
    def _codec(self) -> bitstream.Codec:
        return "h264" if self.encoder.codec == "h264" else "hevc"
