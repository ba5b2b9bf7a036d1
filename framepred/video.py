"""Video files in and out: probe, decode with exact times, encode, copy the other streams.

Only this module and ``colour`` import PyAV; everything FFmpeg raises is translated here.
"""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .colour import Frame, Image, bit_depth, from_rgb, read_thumbnail, repack, to_rgb
from .encoders import Encoder, Hdr, choose_encoder
from .errors import MediaError, OutputError

__all__ = [
    "Frame",
    "OtherStream",
    "Packet",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "from_rgb",
    "open_rgb_frames",
    "probe",
    "read_thumbnail",
    "to_rgb",
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
_COVERS = {"mjpeg": "jpg", "png": "png", "gif": "gif", "webp": "webp", "bmp": "bmp"}
_MP4_FAMILY = frozenset({"mp4", "mov", "ipod", "3gp", "3g2", "psp", "ismv"})
_N_PROBE_PACKETS = 64  # packets that are tried for a first picture before giving up


@dataclass(frozen=True)
class OtherStream:
    """A stream beside the video: its index in the container, its kind and its codec."""

    index: int
    kind: str  # audio, subtitle, data, attachment, video (a second one or cover art)
    codec: str


@dataclass(frozen=True)
class VideoInfo:
    """What a container says about its first video stream, and the first picture about itself.

    Times are Fraction seconds. Colour tags are FFmpeg's numbers (2 = unspecified; range: 0
    unspecified, 1 limited, 2 full). ``rotation`` is counter-clockwise, in degrees, as PyAV has it.
    """

    path: Path
    container: str
    codec: str
    width: int
    height: int
    pix_fmt: str
    bit_depth: int
    time_base: Fraction
    average_rate: Fraction | None
    start: Fraction | None
    duration: Fraction | None
    rotation: int
    display_matrix: tuple[int, ...] | None  # nine numbers in FFmpeg's layout
    sample_aspect_ratio: Fraction | None
    color_range: int
    color_primaries: int
    color_trc: int
    colorspace: int
    interlaced: bool
    hdr: Hdr
    has_dolby_vision: bool
    other_streams: tuple[OtherStream, ...]


def probe(path: str | Path) -> VideoInfo:
    """Describe the first video stream of a file; decodes one picture.

    Raises:
        MediaError: not a file, not a video, or no video stream (cover art is none).
    """
    with VideoReader(path) as reader:
        return reader.info


class VideoReader:
    """Decode the first video stream of a file once, from the beginning to the end.

    ::

        with VideoReader("in.mkv") as reader:
            for frame in reader.read():
                ...

    Frames come in presentation order with strictly increasing times. A packet that raises is
    counted in ``n_errors`` and decoding goes on.
    """

    def __init__(
        self, path: str | Path, *, copy_streams: bool = False, frame_threads: bool = True
    ) -> None:
        """Open ``path``.

        copy_streams: also yield the other streams' packets. frame_threads: decode several frames
        at once; without, damaged video decodes the same each time, errors are met in order, and
        the frames behind an error at the very end are not lost, but it takes longer.

        Raises:
            MediaError: not a file, not a video, or no video stream (cover art is none).
        """
        self.path = Path(path)
        self.copy_streams = copy_streams
        self.packet_times: list[Fraction] = []
        self.n_errors = 0
        self.n_repaired_times = 0
        self.info = _describe(self.path)
        self._container = _open(self.path)
        self._stream = _choose_stream(self._container, self.path)
        # type: the stubs know only the getter's type
        self._stream.thread_type = "AUTO" if frame_threads else "SLICE"  # type: ignore[assignment]

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; reading again needs a new reader."""
        self._container.close()

    def read(self) -> Iterator[Any]:
        """Yield Frames in presentation order and, with ``copy_streams``, the others' Packets."""
        clock = _Clock(self._stream, by_dts=self.info.container == "avi")
        streams = list(self._container.streams) if self.copy_streams else [self._stream]
        n_frames = 0
        for packet in self._demux(streams):
            if not packet.size:
                continue  # an empty packet would put the decoder into its flushing state
            if packet.stream_index != self._stream.index:
                yield packet
                continue
            time = clock.read_packet(packet)
            if time is not None and not packet.is_discard:
                self.packet_times.append(time)
            for native in self._decode(packet):
                yield self._wrap(native, clock, n_frames)
                n_frames += 1
        for native in self._decode(None):
            yield self._wrap(native, clock, n_frames)
            n_frames += 1

    def _demux(self, streams: list[Stream]) -> Iterator[Packet[Any]]:
        packets = self._container.demux(streams)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except FFmpegError:
                self.n_errors += 1  # the demuxer cannot go on after this, e.g. a chained Ogg
                return
            yield packet

    def _decode(self, packet: Packet[Any] | None) -> list[VideoFrame]:
        try:
            return self._stream.decode(packet)
        except FFmpegError:
            self.n_errors += 1
            return []

    def _wrap(self, native: VideoFrame, clock: _Clock, index: int) -> Frame:
        time, repaired = clock.read_frame(native)
        self.n_repaired_times += repaired
        return Frame(
            native=native,
            time=time,
            index=index,
            is_corrupt=native.is_corrupt,
            is_key=native.key_frame,
        )


class _Clock:
    """Turns the stamps of packets and frames into strictly increasing times.

    AVI has no presentation times: FFmpeg invents them and gets frames after a B-frame wrong, so
    there the decoding times count, shifted so that the first frame is shown at the first of them.
    Raw streams have no times at all: there the durations add up.
    """

    def __init__(self, stream: VideoStream, *, by_dts: bool) -> None:
        self._base = _fraction(stream.time_base) or Fraction(1, 90_000)
        self._by_dts = by_dts
        rate = _fraction(stream.average_rate) or _fraction(stream.guessed_rate)
        self._step = max(1, round(1 / rate / self._base)) if rate else 0
        self._first_dts: int | None = None
        self._shift: int | None = None
        self._last: int | None = None

    def read_packet(self, packet: Packet[Any]) -> Fraction | None:
        stamp = packet.dts if self._by_dts else packet.pts
        if self._first_dts is None:
            self._first_dts = packet.dts
        return None if stamp is None else stamp * self._base

    def read_frame(self, native: VideoFrame) -> tuple[Fraction, bool]:
        """Return the frame's time and whether it had to be moved."""
        stamp = native.pts
        if self._by_dts:
            stamp = native.dts
            if self._shift is None and stamp is not None:
                self._shift = stamp - (self._first_dts or 0)
            if stamp is not None:
                stamp -= self._shift or 0
        elif stamp is None:
            stamp = native.dts
        if stamp is None:
            stamp = 0 if self._last is None else self._last + (self._step or native.duration or 1)
        repaired = self._last is not None and stamp <= self._last
        if self._last is not None and repaired:
            stamp = self._last + 1
        self._last = stamp
        return stamp * self._base, repaired


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

    def __init__(
        self,
        path: str | Path,
        *,
        like: VideoReader,
        codec: str | None = None,
        crf: int | None = None,
        lossless: bool = False,
        overwrite: bool = False,
    ) -> None:
        """Open the encoder and write the container's header, so that all that can fail fails now.

        codec: an encoder's or a codec's name instead of the input's. crf: the encoder's own scale
        (default: visually lossless). Streams, chapters and attachments are copied when ``like``
        was opened with ``copy_streams``.

        Raises:
            OutputError: the file exists (and not ``overwrite``), is the input, cannot be written,
                or the container cannot hold the codec.
            MediaError: ``like`` has no picture that decodes.
        """
        self.path = Path(path)
        self.left_out: tuple[str, ...] = ()
        self.n_streams_copied = 0
        self.n_frames = 0
        self._like = like
        self._check_path(overwrite)
        if not like.info.pix_fmt:
            raise MediaError(f"{like.path}: not one picture could be decoded")
        muxer = self._find_muxer()
        self.encoder = self._choose(muxer, codec, crf, lossless)
        self.left_out = self._list_losses(muxer)
        self._streams: dict[int, Stream] = {}
        self._last_dts: dict[int, int] = {}
        self._ends: dict[int, Fraction | None] = {}
        self._pending: VideoFrame | None = None
        self._step = 0
        self._last_mine = -1
        self._origin: int | None = None  # the first tick, from which an encoder with a clock of its own counts
        self._ticks: dict[int, tuple[int, int]] = {}  # its ticks -> (tick, duration) of the stream
        self._temporary = self._create_temporary()
        self._container: OutputContainer | None = None
        try:
            with self._translated():
                options = _make_container_options(muxer, like)
                self._container = av.open(
                    str(self._temporary.absolute()), "w", format=muxer, container_options=options
                )
                self._stream = self._add_video(self._container, self.encoder)
                if like.copy_streams:
                    self._add_others(self._container, muxer)
                _copy_metadata(like._container.metadata, self._container.metadata, muxer)
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
            OutputError: the disk is full or the encoder refuses.
            MediaError: the picture's size differs from the video's.
            ValueError: the time is not after that of the frame before.
        """
        native = frame.native
        context = self._stream.codec_context
        if (native.width, native.height) != (context.width, context.height):
            raise MediaError(
                f"{self._like.path}: the picture changes from {context.width}x{context.height} to "
                f"{native.width}x{native.height} at {float(frame.time):.3f} s; "
                "split the video there first"
            )
        if native.format.name != self.encoder.pix_fmt:
            native = repack(native, self.encoder.pix_fmt)
        base = self._base
        tick = math.floor(frame.time / base + Fraction(1, 2))
        duration = native.duration if frame.index >= 0 else 0  # unknown in frames that were made
        length = duration * self._like.info.time_base
        if self._pending is not None:
            before = self._pending.pts or 0
            if tick <= before:
                raise ValueError(f"frame at {frame.time} s is not after the one before, {before * base} s")
            self._step = self._pending.duration = tick - before
            self._encode(self._pending)
        native.pts, native.time_base = tick, base
        native.duration = round(length / base)
        native.pict_type = 0  # else the encoder repeats the input's choice of I, P and B
        self._pending = native
        self.n_frames += 1

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
        if muxer in _MP4_FAMILY and packet.size == 2 and _codec_name(stream) == "mov_text":
            return  # the pause between two subtitles, which the muxer writes by itself
        if muxer == "matroska" and stream.type == "audio":
            if packet.has_sidedata("skip_samples"):
                self._shift_end(packet)
            _trim_duration(packet, self._ends.get(index))
        self._keep_order(packet, stream, strict=muxer in _MP4_FAMILY or muxer == "avi")
        packet.stream = stream
        with self._translated():
            self._container.mux_one(packet)

    def close(self) -> None:
        """Flush, finish the file and give it its name.

        Raises:
            OutputError: nothing was written, or the disk is full.
        """
        if self._container is None:
            return
        try:
            if self._pending is None:
                raise OutputError(f"{self.path}: there is no frame to write")
            with self._translated():
                self._pending.duration = self._measure_last(self._pending)
                self._encode(self._pending)
                self._pending = None
                self._encode(None)
                self._container.close()
                with self._temporary.open("rb") as file:
                    os.fsync(file.fileno())
                self._temporary.replace(self.path)
            self._container = None
        except BaseException:
            self._abandon()
            raise

    def _keep_order(self, packet: Packet[Any], stream: Stream, *, strict: bool) -> None:
        """Move a packet whose decoding time goes back, or in some containers stands still.

        Such a packet stops the muxer; FFmpeg's own tool moves it by a tick too.
        """
        given, kept = _fraction(packet.time_base), _fraction(stream.time_base)
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
        rate = self._like._container.streams[packet.stream_index].codec_context.sample_rate
        end = self._ends.get(packet.stream_index)
        if n_skipped and rate and end is not None:
            self._ends[packet.stream_index] = end - Fraction(n_skipped, rate)

    def _measure_last(self, native: VideoFrame) -> int:
        """The last frame's duration in ticks: that of the file if it is the file's last frame."""
        end = _read_end(self._like._stream)
        usual = native.duration or self._step or 1
        if end is not None and native.duration > 0:
            left = round(end / self._base) - (native.pts or 0)
            if 0 < left <= 3 * usual:
                return left
        return usual

    def _encode(self, native: VideoFrame | None) -> None:
        assert self._container is not None
        context = self._stream.codec_context
        own = _fraction(context.time_base) or self._base
        if own != self._base and native is not None:
            tick = native.pts or 0
            if self._origin is None:
                self._origin = tick
            mine = math.floor((tick - self._origin) * self._base / own + Fraction(1, 2))
            mine = max(mine, self._last_mine + 1)
            self._last_mine = mine
            self._ticks[mine] = (tick, native.duration)
            native.pts, native.time_base, native.duration = mine, own, 1
        with self._translated():
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

    def _check_path(self, overwrite: bool) -> None:
        source = self._like.path
        if self.path.is_dir():
            raise OutputError(f"{self.path}: is a folder; give a file name")
        if self.path.exists():
            if self.path.samefile(source):
                raise OutputError(f"{self.path}: is the input itself; give another output name")
            if not overwrite:
                raise OutputError(f"{self.path}: exists already; use -y to overwrite it")
        if not self.path.absolute().parent.is_dir():
            raise OutputError(f"{self.path}: its folder does not exist; create it first")

    def _find_muxer(self) -> str:
        """The container by the output's ending; the input's own where the endings agree."""
        names = [f"any{self.path.suffix}"]
        if self.path.suffix.lower() == self._like.path.suffix.lower():
            names += [f"any.{name}" for name in self._like.info.container.split(",")]
        for name in names:
            try:
                # Nothing is opened on disk before a header is written.
                with av.open(name, "w") as container:
                    found = container.format.name
            except (ValueError, FFmpegError):
                continue
            if found not in ("image2", "null", "tee"):
                return found
        raise OutputError(
            f"{self.path}: no video container has the ending {self.path.suffix!r}; "
            "name it .mkv, .mp4, .mov, .webm, .avi or .ts"
        )

    def _choose(
        self, muxer: str, codec: str | None, crf: int | None, lossless: bool
    ) -> Encoder:
        info = self._like.info
        try:
            return choose_encoder(
                info.codec,
                info.pix_fmt,
                holds=lambda name: _can_hold_encoder(muxer, name),
                container=muxer,
                wanted=codec,
                crf=crf,
                lossless=lossless,
                hdr=info.hdr,
            )
        except OutputError as error:
            raise OutputError(f"{self.path}: {error}") from error

    def _list_losses(self, muxer: str) -> tuple[str, ...]:
        info = self._like.info
        losses = []
        if self.encoder.is_narrowed:
            losses.append(f"bits beyond {self.encoder.pix_fmt} (of {info.pix_fmt})")
        if info.has_dolby_vision:
            losses.append("Dolby Vision metadata")
        keeps_aspect = self.encoder.codec not in ("vp8", "vp9", "av1")
        aspect = info.sample_aspect_ratio
        if aspect not in (None, 1) and muxer in ("matroska", "webm") and not keeps_aspect:
            losses.append(f"pixel aspect ratio {aspect} (PyAV sets none in Matroska's header)")
        carries_hdr = self.encoder.codec in ("h264", "hevc", "av1")
        if (info.hdr.mastering or info.hdr.light) and not carries_hdr:
            losses.append("HDR mastering metadata")
        return tuple(losses)

    def _create_temporary(self) -> Path:
        path = self.path.with_name(f".{self.path.name[:80]}.{secrets.token_hex(4)}.part")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({_reason(error)})") from error
        return path

    def _add_video(self, container: OutputContainer, encoder: Encoder) -> VideoStream:
        info = self._like.info
        source = self._like._stream
        rate = _choose_rate(source)
        stream = container.add_stream(encoder.name, rate=rate)
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height = info.width, info.height
        context.pix_fmt = encoder.pix_fmt
        self._base = 1 / rate if container.format.name == "avi" else info.time_base
        if container.format.name == info.container == "avi":
            self._base = info.time_base
        stream.time_base = self._base
        context.time_base, context.framerate = _choose_clock(encoder, rate, self._base)
        if info.sample_aspect_ratio is not None:
            context.sample_aspect_ratio = info.sample_aspect_ratio
        context.color_range = info.color_range
        context.color_primaries = info.color_primaries
        context.color_trc = info.color_trc
        context.colorspace = info.colorspace
        context.thread_type = "AUTO"  # type: ignore[assignment]  # not slices: they cost quality
        context.flags |= Flags.frame_duration
        if info.interlaced and encoder.codec in ("h264", "mpeg2video", "mpeg4"):
            context.flags |= Flags.interlaced_dct | Flags.interlaced_me
            context.field_order = source.codec_context.field_order
        if encoder.qscale is not None:
            context.flags |= Flags.qscale
            context.global_quality = encoder.qscale * 118  # FF_QP2LAMBDA
        if container.format.name in ("avi", "asf"):
            context.max_b_frames = 0  # these keep but one time for each packet
        context.options = dict(encoder.options)
        if encoder.name == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # errors only: it writes to stderr by itself
        if info.display_matrix is not None:
            stream.set_display_matrix(info.display_matrix)
        elif info.rotation:
            stream.set_display_rotation(info.rotation)
        _copy_metadata(source.metadata, stream.metadata, container.format.name, rewritten=True)
        stream.disposition = source.disposition
        with self._translated():
            context.open()
        return stream

    def _add_others(self, container: OutputContainer, muxer: str) -> None:
        source = self._like._container
        chapters = source.chapters()
        left_out = []
        for stream in source.streams:
            if stream.index == self._like._stream.index:
                continue
            if chapters and stream.type == "data" and _codec_name(stream) == "bin_data":
                continue  # QuickTime's chapter track; the muxer writes it anew
            if muxer in ("matroska", "webm") and stream.disposition & Disposition.attached_pic:
                if muxer == "matroska" and self._attach_cover(container, stream):
                    self.n_streams_copied += 1
                else:
                    left_out.append(f"stream {stream.index} (cover art)")
                continue
            if not _can_hold(muxer, stream):
                left_out.append(f"stream {stream.index} ({stream.type}, {_codec_name(stream)})")
                continue
            made = _add_copy(container, stream)
            _copy_metadata(stream.metadata, made.metadata, muxer)
            self._streams[stream.index] = made
            self._ends[stream.index] = _read_end(stream)
        self.left_out += tuple(left_out)
        self.n_streams_copied += len(self._streams)
        if chapters:
            container.set_chapters(chapters)

    def _attach_cover(self, container: OutputContainer, stream: Stream) -> bool:
        """Matroska keeps cover art as an attachment, which must be known before the header."""
        kind = _COVERS.get(_codec_name(stream))
        with _open(self._like.path) as again:
            packet = next((p for p in again.demux(again.streams[stream.index]) if p.size), None)
            if kind is None or packet is None:
                return False
            name = stream.metadata.get("filename", f"cover.{kind}")
            mime = stream.metadata.get("mimetype", f"image/{'jpeg' if kind == 'jpg' else kind}")
            made = container.add_attachment(name, mime, bytes(packet))
        _copy_metadata(stream.metadata, made.metadata, container.format.name)
        made.metadata.update({"filename": name, "mimetype": mime})
        return True

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (FFmpegError, OSError) as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                message = "the disk is full; free some space or write elsewhere"
            elif error.errno == errno.EFBIG:
                message = "the file grows larger than this system allows; write elsewhere"
            else:
                message = f"cannot be written ({_reason(error)})"
            raise OutputError(f"{self.path}: {message}") from error


def open_rgb_frames(path: str | Path) -> Iterator[Image]:
    """Yield a video's frames in presentation order as (H, W, 3) uint8 RGB; closes the file.

    Raises:
        MediaError: not a file, not a video, or no video stream.
    """
    with VideoReader(path) as reader:
        for frame in reader.read():
            image = to_rgb(frame)
            if image.dtype != np.uint8:
                image = ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
            yield image


def _open(path: Path) -> InputContainer:
    if not path.exists():
        raise MediaError(f"{path}: no such file; check the name")
    if not path.is_file():
        raise MediaError(f"{path}: not a file; give a video file")
    if path.stat().st_size == 0:
        raise MediaError(f"{path}: the file is empty; give a video file")
    try:
        # An absolute path is never taken for a URL or an option, whatever the name looks like.
        return av.open(str(path.absolute()), "r", metadata_errors="replace")
    except (FFmpegError, OSError) as error:
        raise MediaError(f"{path}: not a readable video ({_reason(error)})") from error


def _choose_stream(container: InputContainer, path: Path) -> VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails):
            if stream.codec_context is None:
                raise MediaError(f"{path}: this FFmpeg has no decoder for its video stream")
            return stream
    raise MediaError(f"{path}: no video stream in this {container.format.name} file")


def _describe(path: Path) -> VideoInfo:
    with _open(path) as container:
        stream = _choose_stream(container, path)
        first = _read_first(container, stream)
        context = stream.codec_context
        pixels = first.format if first is not None else context.format
        side_data = _read_side_data(first)
        matrix = side_data.get("DISPLAYMATRIX")
        base = _fraction(stream.time_base) or Fraction(1, 90_000)
        others = tuple(
            OtherStream(index=s.index, kind=s.type, codec=_codec_name(s))
            for s in container.streams
            if s.index != stream.index
        )
        duration = None
        if stream.duration is not None:
            duration = stream.duration * base
        elif container.duration is not None:
            duration = Fraction(container.duration, 1_000_000)
        source: Any = context if first is None else first
        return VideoInfo(
            path=path,
            container=container.format.name,
            codec=context.codec.canonical_name,
            width=source.width,
            height=source.height,
            pix_fmt=pixels.name if pixels is not None else "",
            bit_depth=bit_depth(pixels) if pixels else 8,
            time_base=base,
            average_rate=_fraction(stream.average_rate),
            start=None if stream.start_time is None else stream.start_time * base,
            duration=duration,
            rotation=_read_rotation(first),
            display_matrix=tuple(np.frombuffer(matrix, np.int32).tolist()) if matrix else None,
            sample_aspect_ratio=_fraction(stream.sample_aspect_ratio),
            color_range=int(source.color_range),
            color_primaries=int(source.color_primaries),
            color_trc=int(source.color_trc),
            colorspace=int(source.colorspace),
            interlaced=first.interlaced_frame if first is not None else False,
            hdr=_read_hdr(side_data),
            has_dolby_vision=any(name.startswith("DOVI") for name in side_data),
            other_streams=others,
        )


def _read_first(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    """The first picture, or None when none of the first packets gives one."""
    stream.thread_type = "AUTO"  # type: ignore[assignment]  # as the reader: decoders differ
    packets: Iterator[Packet[Any]] = container.demux(stream)
    for _ in range(_N_PROBE_PACKETS):
        try:
            packet = next(packets, None)
            if packet is None:
                return None
            frames = stream.decode(packet if packet.size else None)
        except EOFError:
            return None
        except FFmpegError:
            continue
        if frames:
            return frames[0]
    return None


def _round_away(value: Fraction) -> int:
    """Round as FFmpeg does when it rescales a time: halves away from zero."""
    whole = math.floor(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


def _read_side_data(native: VideoFrame | None) -> dict[str, bytes]:
    """A picture's side data by the name of its type."""
    if native is None:
        return {}
    try:
        return {data.type.name: bytes(data) for data in native.side_data}  # type: ignore[attr-defined]
    except ValueError:  # PyAV 18 cannot list side data once one is of a type it does not know
        return {}


def _read_hdr(side_data: dict[str, bytes]) -> Hdr:
    mastering = light = None
    if data := side_data.get("MASTERING_DISPLAY_METADATA"):
        numbers = np.frombuffer(data, np.int32)  # ten rationals, then two flags
        if len(numbers) >= 22 and numbers[20] and numbers[21] and all(numbers[1:20:2]):
            pairs = zip(numbers[0:20:2], numbers[1:20:2], strict=True)
            mastering = tuple(Fraction(int(a), int(b)) for a, b in pairs)
    if data := side_data.get("CONTENT_LIGHT_LEVEL"):
        light = tuple(int(v) for v in np.frombuffer(data, np.uint32)[:2])
    return Hdr(mastering=mastering, light=light)  # type: ignore[arg-type]


def _read_rotation(native: VideoFrame | None) -> int:
    """Counter-clockwise degrees; a matrix out of range counts as no rotation."""
    rotation = 0 if native is None else native.rotation
    return rotation if abs(rotation) <= 360 else 0


def _codec_name(stream: Stream) -> str:
    if stream.codec_context is None:
        return stream.name or "unknown"
    return stream.codec_context.codec.canonical_name


def _fraction(value: Any) -> Fraction | None:
    """PyAV's rationals at the border: None and 0 both mean unset."""
    return Fraction(value.numerator, value.denominator) if value else None


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0]


def _add_copy(container: OutputContainer, stream: Stream) -> Stream:
    made = container.add_stream_from_template(stream, opaque=True)
    made.disposition = stream.disposition
    return made


def _trim_duration(packet: Packet[Any], end: Fraction | None) -> None:
    """End a packet where its track ends: Matroska keeps no duration for a shorter last packet."""
    base = _fraction(packet.time_base)
    if end is None or base is None or packet.pts is None or not packet.duration:
        return
    left = round(end / base) - packet.pts
    if 0 < left < packet.duration:
        packet.duration = left


def _read_end(stream: Stream) -> Fraction | None:
    """When the last packet ends, as the container says: its header, or Matroska's tag."""
    base = _fraction(stream.time_base)
    if stream.duration is not None and base:
        return ((stream.start_time or 0) + stream.duration) * base
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)", stream.metadata.get("DURATION", ""))
    if match is None:
        return None
    return Fraction(match[3]) + 60 * int(match[2]) + 3600 * int(match[1])


def _can_hold_encoder(muxer: str, name: str) -> bool:
    if muxer in _HELD:
        return av.Codec(name, "w").canonical_name in _HELD[muxer]
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as container:
            container.add_stream(name)
    except ValueError:
        return False
    return True


def _can_hold(muxer: str, stream: Stream) -> bool:
    """Whether the container takes this stream: tried on a header that goes nowhere."""
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as container:
            _add_copy(container, stream)
            container.start_encoding()
    except (FFmpegError, ValueError):
        return False
    return True


def _copy_metadata(
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


def _choose_rate(stream: VideoStream) -> Fraction:
    """The nominal rate: a hint for encoders and players, no clock."""
    base, average = _fraction(stream.base_rate), _fraction(stream.average_rate)
    if base is not None and 1 <= base <= 240:
        return base
    return average or Fraction(25)


def _choose_clock(
    encoder: Encoder, rate: Fraction, base: Fraction
) -> tuple[Fraction, Fraction]:
    """Time base and rate of the encoder: the stream's, or what its standard binds it to."""
    if encoder.codec in ("mpeg1video", "mpeg2video"):
        rate = min(_MPEG_RATES, key=lambda r: abs(r - rate))
        return 1 / rate, rate
    if encoder.codec == "mpeg4" and base.denominator > 65535:
        rate = rate.limit_denominator(1001) if rate.numerator > 65535 else rate
        return 1 / rate, rate
    return base, rate


def _make_container_options(muxer: str, like: VideoReader) -> dict[str, str]:
    if muxer == "mpegts":
        return {"mpegts_copyts": "1"}  # else it adds 1.4 s to all times
    if muxer in _MP4_FAMILY:
        clock = like.info.time_base
        options = {"video_track_timescale": str(clock.denominator)} if clock.numerator == 1 else {}
        # Edit lists are kept in the movie's clock: with FFmpeg's 1/1000 a late start is rounded.
        bases = [_fraction(s.time_base) for s in like._container.streams]
        scale = math.lcm(1000, *(b.denominator for b in bases if b is not None))
        if scale > 2**31 - 1:
            scale = math.lcm(1000, like.info.time_base.denominator)
        if scale <= 2**31 - 1:
            options["movie_timescale"] = str(scale)
        return options
    return {}
