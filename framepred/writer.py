"""Writing a video: encoded like another one, other streams copied, there whole or not at all."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import av
from av.codec.context import Flags
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .colour import Frame, find_loss, limit_samples, repack
from .container_headers import amend_header, find_marks
from .containers import (
    CHAPTERED,
    COVERED,
    INTERLACED,
    MP4_FAMILY,
    NO_EARLIER,
    add_copy,
    adopt_look,
    can_hold,
    can_hold_encoder,
    can_pause,
    choose_clock,
    choose_rate,
    copy_metadata,
    cut_chapters,
    find_muxer,
    find_origin,
    is_chapter_track,
    make_container_options,
    name_losses,
)
from .encoders import Encoder, Encoding, choose_encoder
from .errors import MediaError, OutputError, describe_error
from .inputs import demux, open_input
from .insertion import NO_DELAY, Delay
from .outputs import check_output, create_temporary, find_place, translate_errors
from .reader import VideoReader, name_codec, read_end
from .stamps import to_fraction

__all__ = ["VideoWriter"]

_log = logging.getLogger(__name__)

_TIME_CODED = MP4_FAMILY | {"matroska"}  # where the tag of a video becomes one, or stays
_BLOCKLESS = ("mp3", "ac3")  # FFmpeg's own tool does the same for these two
_DESCRIBING = 32  # packets
_LATEST_TICK = 2**60  # a time stamp has 63 bits, and FFmpeg reckons with it
_COVERS = {"mjpeg": "jpg", "png": "png", "gif": "gif", "webp": "webp", "bmp": "bmp"}


class VideoWriter:
    """Encode a video like another one, beside copies of its other streams.

    ::

        with VideoReader("in.mkv", copy_streams=True) as reader:
            with VideoWriter("out.mkv", like=reader) as writer:
                for item in reader.read():
                    if isinstance(item, Frame):
                        writer.write(item)
                    else:
                        writer.copy(item)

    The file appears under its name only when the block ends well; until then it is
    ``.NAME.XXXXXXXX.part`` beside it, which any exception removes. What the container cannot hold
    of the other streams, and what PyAV cannot hand on, is listed in ``left_out``.
    """

    _copies_pictures = False  # which then say of themselves what they said before

    def __init__(
        self,
        path: str | Path,
        *,
        like: VideoReader,
        encoding: Encoding = Encoding(),  # noqa: B008 (it cannot be changed)
        overwrite: bool = False,
        delay: Delay = NO_DELAY,
        is_sound_moved: bool = False,
        rate: Fraction | None = None,
        time_base: Fraction | None = None,
        begin: Fraction | None = None,
        stop: Fraction | None = None,
        is_recounted: bool = False,
    ) -> None:
        """Open the encoder and write the container's header, so that all that can fail fails now.

        encoding: which encoder, if not the input's, how good and how fast. Streams, chapters and
        attachments are copied when ``like`` was opened with ``copy_streams``. delay: how much later
        the frames come than in ``like``, for those who move them. is_sound_moved: the packets and
        chapters are moved so too, except those of a second video. rate: frames a second where they
        are not the input's, a hint; time_base: seconds of a tick that holds the times, where the
        container lets choose. begin: time of the first frame, from where a transport stream's
        clock is counted anew in another container; None: as it is. stop: seconds at which it ends,
        if that is before ``like`` does.
        is_recounted: its frames are counted otherwise, so that a time code would be wrong.

        Raises:
            OutputError: the file exists (and not ``overwrite``), is the input, cannot be written,
                or the container cannot hold the codec, or sound that is moved.
            MediaError: ``like`` has no picture that decodes.
        """
        self.path = Path(path)
        self.left_out: tuple[str, ...] = ()
        self.n_streams_copied = 0
        self.n_frames = 0
        self._like = like
        self._delay = delay
        self._sound_delay = delay if is_sound_moved else NO_DELAY
        self._rate = rate
        self._time_base = time_base or like.info.time_base
        self._stop = stop
        self._is_recounted = is_recounted
        self._overwrite = overwrite
        check_output(like.path, self.path, overwrite=overwrite)
        self._place = find_place(self.path)
        if not like.info.pix_fmt:
            raise MediaError(f"{like.path}: not one picture could be decoded")
        # Now, as whoever writes for hours should not find the input gone at the end.
        self._marks = find_marks(like)
        muxer = find_muxer(self.path, like.info)
        origin = find_origin(muxer, like, begin)
        self._begin = (like.info.start or 0) - origin
        self.encoder = self._choose(muxer, encoding)
        told = [f"{name}={value}" for name, value in self.encoder.options.items()]
        _log.info(
            "%s: encoded by %s in %s%s, for %s",
            *(self.path, self.encoder.name, self.encoder.pix_fmt),
            f" ({', '.join(told)})" if told else "",
            f"the input's {like.info.codec}"
            if encoding.codec is None
            else f"the codec asked for, {encoding.codec}",
        )
        self.left_out = name_losses(
            muxer, like, self.encoder, copies_pictures=self._copies_pictures, origin=origin
        )
        self._streams: dict[int, Stream] = {}
        self._last_dts: dict[int, int] = {}
        self._ends: dict[int, Fraction | None] = {}
        self._pending: VideoFrame | None = None
        self._last_time = Fraction(0)  # of that
        self._step = 0
        self._last_mine = -1
        self._origin: int | None = (
            None  # the first tick, from which an encoder with a clock of its own counts
        )
        self._ticks: dict[int, tuple[int, int]] = {}  # its ticks -> (tick, duration) of the stream
        with translate_errors(self.path):
            self._temporary = create_temporary(self.path)
        self._container: OutputContainer | None = None
        try:
            with translate_errors(self.path, FFmpegError):
                suffix = self.path.suffix.lower()
                options = make_container_options(
                    muxer, like, self._time_base, suffix=suffix, origin=origin
                )
                self._container = av.open(
                    str(self._temporary), "w", format=muxer, container_options=options
                )
                self._stream = self._add_video(self._container, self.encoder)
                if like.copy_streams:
                    self._add_others(self._container, muxer)
                copy_metadata(like.container.metadata, self._container.metadata, muxer)
                if is_recounted:
                    self._drop_time_code()
                self._container.start_encoding()
        except BaseException:
            self._abandon()
            raise

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._abandon()

    def write(self, frame: Frame) -> None:
        """Encode a frame at ``frame.time``, rounded to the nearest tick of the input's clock.

        Raises:
            OutputError: the disk is full, the encoder refuses, the container's clock is coarse, or
                the time is beyond what it counts.
            MediaError: the picture's size differs from the video's.
            ValueError: the time is not after that of the frame before.
        """
        native = self._fit(frame)
        base = self._base
        tick = math.floor(frame.time / base + Fraction(1, 2))
        if abs(tick) > _LATEST_TICK:
            raise OutputError(
                f"{self.path}: a time of {float(frame.time):.6g} s is more than can be written; "
                "give the video new times"
            )
        # Unknown in frames that were made, and another where the rate is.
        length = frame.duration if frame.index >= 0 and self._rate is None else Fraction(0)
        if self._pending is not None:
            before = self._pending.pts or 0
            if frame.time <= self._last_time:
                raise ValueError(
                    f"frame at {frame.time} s is not after the one before, {self._last_time} s"
                )
            self._check_clock(self._last_time, frame.time)
            self._step = self._pending.duration = tick - before
            self._encode(self._pending)
        native.pts, native.time_base = tick, base
        native.duration = round(length / base)
        native.pict_type = 0  # else the encoder repeats the input's choice of I, P and B
        self._pending, self._last_time = native, frame.time
        self.n_frames += 1

    def _check_clock(self, before: Fraction, after: Fraction) -> None:
        """OutputError if the container would give two frames the same time."""
        clock = max(to_fraction(self._stream.time_base) or self._base, self._base)
        if len({math.floor(time / clock + Fraction(1, 2)) for time in (before, after)}) == 1:
            raise OutputError(
                f"{self.path}: this container counts in steps of {clock} s, and frames at "
                f"{float(after):.6f} s come nearer to one another: write .mp4 or .mov"
            )

    def copy(self, packet: Packet[Any]) -> None:
        """Write a packet of another stream as it is; those of streams left out are passed over.

        Raises:
            OutputError: the disk is full.
        """
        stream = self._streams.get(packet.stream_index)
        if stream is None or self._container is None:
            return
        index = packet.stream_index
        muxer = self._container.format.name
        if self._sound_delay.steps and stream.type != "video":
            self._move(packet, is_shown=stream.type == "subtitle")
        if muxer in MP4_FAMILY and packet.size == 2 and name_codec(stream) == "mov_text":
            return  # the pause between two subtitles, which the muxer writes by itself
        if muxer == "matroska" and stream.type == "audio":
            if packet.has_sidedata("skip_samples"):
                self._shift_end(packet)
            _trim_duration(packet, self._ends.get(index))
        self._keep_order(packet, stream, strict=muxer not in ("matroska", "webm"))
        packet.stream = stream
        with translate_errors(self.path, FFmpegError):
            self._container.mux_one(packet)

    def close(self) -> None:
        """Flush, finish the file and give it its name.

        Raises:
            OutputError: nothing was written, or the disk is full.
        """
        if self._container is None:
            return
        try:
            self._finish_video()
            with translate_errors(self.path, FFmpegError):
                muxer = self._container.format.name
                self._container.close()
                self.left_out += amend_header(
                    self._temporary,
                    muxer,
                    self._like.info,
                    self._marks,
                    self.encoder,
                    told_aspect=self._told_aspect,
                )
                with self._temporary.open("rb") as file:
                    os.fsync(file.fileno())
                # Another program may have taken the name meanwhile.
                check_output(self._like.path, self.path, overwrite=self._overwrite)
                self._temporary.replace(self._place)
            self._container = None
        except BaseException:
            self._abandon()
            raise

    def _finish_video(self) -> None:
        if self._pending is None:
            raise OutputError(f"{self.path}: there is no frame to write")
        self._pending.duration = self._measure_last(self._pending)
        self._encode(self._pending)
        self._pending = None
        self._encode(None)

    def _fit(self, frame: Frame) -> VideoFrame:
        """The picture as the encoder takes it."""
        native, info = frame.native, self._like.info
        if (native.width, native.height) != (info.width, info.height):
            raise MediaError(
                f"{info.path}: the picture changes from {info.width}x{info.height} to "
                f"{native.width}x{native.height} at {float(frame.time):.3f} s; "
                "split the video there first"
            )
        loss = find_loss(native.format.name, info.pix_fmt)
        if loss is not None:
            raise MediaError(
                f"{info.path}: the pictures change from {info.pix_fmt} to {native.format.name} at "
                f"{float(frame.time):.3f} s, and with the first kind's format {loss} would be "
                "lost; convert them to one kind first"
            )
        native = limit_samples(native)
        if native.format.name != self.encoder.pix_fmt:
            native = repack(native, self.encoder.pix_fmt)
        return native

    def _move(self, packet: Packet[Any], *, is_shown: bool) -> None:
        """Move a packet with the pictures; what is shown across an insertion is shown longer."""
        base = to_fraction(packet.time_base)
        start = packet.dts if packet.pts is None else packet.pts
        if base is None or start is None:
            return
        later = _round_away(self._sound_delay.at(start * base) / base)
        if is_shown and packet.duration:
            end = (start + packet.duration) * base
            packet.duration += _round_away(self._sound_delay.at(end) / base) - later
        packet.pts = None if packet.pts is None else packet.pts + later
        packet.dts = None if packet.dts is None else packet.dts + later

    def _keep_order(self, packet: Packet[Any], stream: Stream, *, strict: bool) -> None:
        """Move a packet whose decoding time goes back, or in most containers stands still.

        Such a packet stops the muxer; FFmpeg's own tool moves it by a tick too.
        """
        given, kept = to_fraction(packet.time_base), to_fraction(stream.time_base)
        if packet.dts is None or given is None or kept is None:
            return
        index = packet.stream_index
        tick = _round_away(packet.dts * given / kept)
        last = self._last_dts.get(index)
        if last is not None and (tick < last or (strict and tick == last)):
            tick = last + strict
            shown = tick if packet.pts is None else _round_away(packet.pts * given / kept)
            packet.time_base = kept
            packet.dts, packet.pts = tick, max(tick, shown)
        self._last_dts[index] = tick

    def _shift_end(self, packet: Packet[Any]) -> None:
        """Matroska counts a track's duration from before the samples that are skipped first."""
        n_skipped = int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[:4], "little")
        source: Any = self._like.container.streams[packet.stream_index]
        rate = source.codec_context.sample_rate
        end = self._ends.get(packet.stream_index)
        if n_skipped and rate and end is not None:
            self._ends[packet.stream_index] = end - Fraction(n_skipped, rate)

    def _measure_last(self, native: VideoFrame) -> int:
        """The last frame's duration in ticks: that of the file if it is the file's last frame."""
        end = read_end(self._like.stream)
        usual = native.duration or self._step or 1
        if end is not None and native.duration > 0:
            left = round((end + self._delay.total) / self._base) - (native.pts or 0)
            if 0 < left <= 3 * usual:
                return left
        return usual

    def _encode(self, native: VideoFrame | None) -> None:
        assert self._container is not None
        context = self._stream.codec_context
        own = to_fraction(context.time_base) or self._base
        if own != self._base and native is not None:
            tick = native.pts or 0
            if self._origin is None:
                self._origin = tick
            mine = math.floor((tick - self._origin) * self._base / own + Fraction(1, 2))
            mine = max(mine, self._last_mine + 1)
            self._last_mine = mine
            self._ticks[mine] = (tick, native.duration)
            native.pts, native.time_base, native.duration = mine, own, 1
        with translate_errors(self.path, FFmpegError):
            for packet in self._stream.encode(native):
                if own != self._base:
                    self._rebase(packet, own)
                self._container.mux_one(packet)

    def _rebase(self, packet: Packet[Any], own: Fraction) -> None:
        """Give a packet from an encoder with a clock of its own the stream's exact ticks."""
        assert packet.pts is not None
        dts = packet.pts if packet.dts is None else packet.dts
        packet.time_base = self._base
        packet.pts, packet.duration = self._ticks.pop(packet.pts)
        dts = (self._origin or 0) + math.floor(dts * own / self._base)
        packet.dts = min(dts, packet.pts)

    def _abandon(self) -> None:
        self._pending = None
        if self._container is not None:
            with contextlib.suppress(FFmpegError, OSError, ValueError):
                self._container.close()
            self._container = None
        self._temporary.unlink(missing_ok=True)

    @property
    def _told_aspect(self) -> Fraction | None:
        """The pixel aspect ratio that the written pictures tell, if their codec can."""
        return self._like.info.sample_aspect_ratio

    def _choose(self, muxer: str, encoding: Encoding) -> Encoder:
        info = self._like.info
        if encoding.codec is None and self._like.images is not None:
            # What is no lossless video yet is not made a lossy one unasked.
            encoding = replace(encoding, codec="ffv1")
        try:
            return choose_encoder(
                info.codec,
                info.pix_fmt,
                holds=lambda name: can_hold_encoder(muxer, name),
                container=muxer,
                encoding=encoding,
                hdr=info.hdr,
                chroma_location=info.chroma_location,
            )
        except OutputError as error:
            raise OutputError(f"{self.path}: {error}") from error

    def _add_video(self, container: OutputContainer, encoder: Encoder) -> VideoStream:
        info = self._like.info
        source = self._like.stream
        rate = self._rate or choose_rate(source)
        stream = container.add_stream(encoder.name, rate=rate)
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        adopt_look(context, info, encoder)
        self._base = 1 / rate if container.format.name == "avi" else self._time_base
        if container.format.name == info.container == "avi" and self._rate is None:
            self._base = info.time_base
        stream.time_base = self._base
        context.time_base, context.framerate = choose_clock(encoder, rate, self._base)
        if encoder.codec == "hevc" and container.format.name in MP4_FAMILY:
            context.codec_tag = "hvc1"  # FFmpeg's own choice, hev1, some players do not take
        context.thread_type = "AUTO"  # not slices: they cost quality
        context.flags |= Flags.frame_duration
        if info.interlaced and encoder.codec in INTERLACED:
            context.field_order = source.codec_context.field_order
        if info.interlaced and encoder.codec in ("h264", "mpeg2video", "mpeg4"):
            context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        elif info.interlaced and encoder.codec == "prores":
            context.flags |= Flags.interlaced_dct
        if encoder.qscale is not None:
            context.flags |= Flags.qscale
            context.global_quality = encoder.qscale * 118  # FF_QP2LAMBDA
        if container.format.name in ("avi", "asf"):
            context.max_b_frames = 0  # these keep but one time for each packet
        elif container.format.name in NO_EARLIER and self._begin < 1:
            context.max_b_frames = 0  # their decoding times would lie before 0 and move everything
        context.options = dict(encoder.options)
        if encoder.name == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # errors only: it writes to stderr by itself
        if info.display_matrix is not None:
            stream.set_display_matrix(info.display_matrix)
        elif info.rotation:
            stream.set_display_rotation(info.rotation)
        copy_metadata(source.metadata, stream.metadata, container.format.name, rewritten=True)
        # Only the base view of a multi-view stream is decoded, so only it is written.
        stream.disposition = source.disposition & ~Disposition.multilayer
        try:
            context.open()
        except FFmpegError as error:
            raise OutputError(
                f"{self.path}: {encoder.name} refuses {info.width}x{info.height} pictures in "
                f"{encoder.pix_fmt} ({describe_error(error)}); use --codec "
                + ("libx264" if encoder.name == "ffv1" else "ffv1, in .mkv")
            ) from error
        return stream

    def _add_others(self, container: OutputContainer, muxer: str) -> None:
        source, video = self._like.container, self._like.stream
        chapters = source.chapters()
        left_out = []
        for stream in source.streams:
            if stream.index == self._like.stream.index:
                continue
            if stream.type == "data" and is_chapter_track(stream, len(chapters)):
                continue  # the muxer writes it anew
            code = stream.metadata.get("timecode") if stream.type == "data" else None
            if code is not None and muxer in _TIME_CODED:
                # A track of one number, which the video's own tag says too.
                if code != video.metadata.get("timecode") and not self._is_recounted:
                    left_out.append(f"stream {stream.index} (time code)")
                continue
            if muxer in ("matroska", "webm") and stream.disposition & Disposition.attached_pic:
                if muxer == "matroska" and self._attach_cover(container, stream):
                    self.n_streams_copied += 1
                else:
                    left_out.append(f"stream {stream.index} (cover art)")
                continue
            if stream.disposition & Disposition.attached_pic and muxer not in COVERED:
                left_out.append(f"stream {stream.index} (cover art)")
                continue
            if not can_hold(muxer, stream):
                left_out.append(f"stream {stream.index} ({stream.type}, {name_codec(stream)})")
                continue
            if self._sound_delay.steps and not can_pause(muxer, stream):
                raise OutputError(
                    f"{self.path}: this container keeps no times of {name_codec(stream)} sound, "
                    "so it cannot move with the pictures; write .mkv, or say --sound keep"
                )
            made = self._add_copy(container, stream)
            copy_metadata(stream.metadata, made.metadata, muxer)
            self._streams[stream.index] = made
            end = read_end(stream)
            self._ends[stream.index] = None if end is None else end + self._sound_delay.total
        if chapters and muxer not in CHAPTERED:
            left_out.append(f"{len(chapters)} chapters")
        self.left_out += tuple(left_out)
        self.n_streams_copied += len(self._streams)
        if chapters:
            moved = map(self._move_chapter, chapters)
            container.set_chapters(cut_chapters(moved, self._stop))

    def _drop_time_code(self) -> None:
        """It is the number of the first frame, and says how many there are in a second."""
        assert self._container is not None
        tags = (self._container.metadata, self._stream.metadata)
        kept = [each.pop("timecode", None) for each in tags]
        if any(kept) or any("timecode" in s.metadata for s in self._like.container.streams):
            self.left_out += ("time code (the frames are counted anew)",)

    def _move_chapter(self, chapter: Any) -> Any:
        base = to_fraction(chapter["time_base"])
        if base is None or not self._sound_delay.steps:
            return chapter
        places = {
            name: chapter[name] + _round_away(self._sound_delay.at(chapter[name] * base) / base)
            for name in ("start", "end")
        }
        return {**chapter, **places}

    def _add_copy(self, container: OutputContainer, stream: Stream) -> Stream:
        """``add_copy``, but in AVI sound whose packets differ in size is not said to be of blocks.

        The size of a block, which PyAV neither shows nor sets, would come from the input's header,
        and players would count packets by it: described by its first packets, a stream has none.
        """
        kind = name_codec(stream)
        if container.format.name == "avi" and kind in _BLOCKLESS:
            with open_input(self._like.path) as again:
                packets = demux(again, again.streams[stream.index])
                start = b"".join(bytes(packet) for packet in islice(packets, _DESCRIBING))
            with contextlib.suppress(FFmpegError), av.open(io.BytesIO(start), format=kind) as bare:
                made: Any = add_copy(container, bare.streams.audio[0])
                made.disposition = stream.disposition
                source: Any = stream.codec_context
                made.codec_context.bit_rate = source.bit_rate or 0
                return cast(Stream, made)
        return add_copy(container, stream)

    def _attach_cover(self, container: OutputContainer, stream: Stream) -> bool:
        """Matroska keeps cover art as an attachment, which must be known before the header."""
        kind = _COVERS.get(name_codec(stream))
        with open_input(self._like.path) as again:
            packet = next(demux(again, again.streams[stream.index]), None)
            if kind is None or packet is None:
                return False
            name = stream.metadata.get("filename", f"cover.{kind}")
            mime = stream.metadata.get("mimetype", f"image/{'jpeg' if kind == 'jpg' else kind}")
            made = container.add_attachment(name, mime, bytes(packet))
        copy_metadata(stream.metadata, made.metadata, container.format.name)
        made.metadata.update({"filename": name, "mimetype": mime})
        return True


def _round_away(value: Fraction) -> int:
    """Round as FFmpeg does when it rescales a time: halves away from zero."""
    whole = math.floor(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


def _trim_duration(packet: Packet[Any], end: Fraction | None) -> None:
    """End a packet where its track ends: Matroska keeps no duration for a shorter last packet."""
    base = to_fraction(packet.time_base)
    if end is None or base is None or packet.pts is None or not packet.duration:
        return
    left = round(end / base) - packet.pts
    if 0 < left < packet.duration:
        packet.duration = left
