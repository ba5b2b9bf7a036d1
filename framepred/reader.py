"""Reading a video: probe it, decode it once with exact times, hand on the other packets."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from av.codec.context import Flags
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .checksums import Ffv1Checker
from .chroma_location import find_chroma_location
from .colour import Frame, bit_depth
from .continuity import follow_numbers
from .encoders import Hdr
from .errors import MediaError
from .inputs import (
    BOUND,
    MOST_PIXELS,
    N_PROBES,
    check_rest,
    demux,
    open_bytes,
    open_image,
    open_input,
)
from .matroska import read_chroma_location
from .order_hints import OrderHintChecker, split_units
from .partitions import PartitionChecker
from .sequences import RATE, ImageSequence, find_images, is_sequence
from .stamps import FrameQueue, Splices, StampClock, Time, to_fraction
from .verifier import Vp9Verifier
from .vp9_headers import spoil_tiles
from .wavefronts import WavefrontVerifier, decode_by_entries
from .y4m import read_location

__all__ = ["RAW", "OtherStream", "Packet", "VideoInfo", "VideoReader", "probe", "read_end"]

# Demuxers of streams without times: what they give is made up, in the order of storage.
RAW = ("h264", "hevc", "vvc", "mpegvideo", "m4v")
# A time in a tag of Matroska: digits without end are no time.
_LONGEST_LINE = 1000  # bytes of a header of y4m
_CLOCK = re.compile(r"(\d{1,9}):(\d\d):(\d\d\.\d{1,18})", re.ASCII)
_BOTTOM_FIRST = (3, 4)  # of FFmpeg's AVFieldOrder: shown first, whichever is stored first
# Decoders that conceal damage without a word, unless asked to refuse it. A camera whose every
# picture breaks the standard is not asked.
_STRICT = {
    "mjpeg": {"err_detect": "explode"},
    "png": {"err_detect": "crccheck+explode"},
    "apng": {"err_detect": "crccheck+explode"},
    "av1": {"strict": "strict"},
}
_REORDERING = ("h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4")
# Decoders whose frame threads can wait for one another for ever where the stream is damaged: in
# libavcodec 62.28 about one spoilt file of H.265 in 8,000 did. Their threads share a frame.
_STUCK = ("hevc",)
_MOST_HELD = 64  # packets that a decoder may have taken since it took that of a frame it gives
_N_STRICT = 8  # packets of which a strict decoder must take one
_N_AHEAD = 32  # packets that are read ahead for a checker that judges by many, and their bytes
_MOST_AHEAD = 1 << 24


@dataclass(frozen=True)
class OtherStream:
    """A stream beside the video: its index in the container, its kind and its codec."""

    index: int
    kind: str  # audio, subtitle, data, attachment, video (a second one or cover art)
    codec: str
    end: Fraction | None = None  # when its last packet ends, as far as the container says


@dataclass(frozen=True)
class VideoInfo:
    """What a container says about its first video stream, and the first picture about itself.

    Times are Fraction seconds. Colour tags are FFmpeg's numbers (2 = unspecified; range: 0
    unspecified, 1 limited, 2 full). ``rotation`` is counter-clockwise, in degrees, as PyAV has it.
    ``picture_metadata``: what the first picture carries that no encoder takes, in words.
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
    is_bottom_first: bool  # interlaced: its lower field is the earlier one
    chroma_location: str | None  # of 4:2:0, in FFmpeg's words
    hdr: Hdr
    has_dolby_vision: bool
    picture_metadata: tuple[str, ...]
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

    The file may be a sequence of images too, named by its folder or by ``frame_%05d.png``.

    ::

        with VideoReader("in.mkv") as reader:
            for frame in reader.read():
                ...

    Frames come in presentation order with strictly increasing times. A packet that raises is
    counted in ``n_errors`` and decoding goes on. A frame is corrupt if the decoder says so, the
    packet's own checksum, AV1's order of pictures, or with ``verify`` a second decoder or, in VP8,
    the reading of its partitions, perhaps by processes that ``close`` ends; what a transport stream
    says of packets is not true of their frames.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        copy_streams: bool = False,
        frame_threads: bool = True,
        verify: bool = False,
        conceal: bool = True,
        info: VideoInfo | None = None,
    ) -> None:
        """Open ``path``.

        copy_streams: also yield the other streams' packets. frame_threads: decode several frames
        at once; without, one thread decodes, which takes longer, but damaged video decodes the
        same each time, more of the damage is flagged, the frames behind an error at the very end
        are not lost, and frames that damage brings out of their order are put back into it.
        (Threads for slices would conceal worse than either.) verify: decode with a second, stricter
        decoder too, or read all symbols, where the first conceals damage without a word. conceal:
        decode as players do, else in the other way of which ``concealment`` tells, as the codec
        has it. info: what ``probe`` says of the file, if that is known.

        Raises:
            MediaError: not a file, not a video, or no video stream (cover art is none).
        """
        self.path = Path(path)
        self.copy_streams = copy_streams
        self.packet_times: list[Fraction] = []
        self.n_packets = 0  # of the video
        self.n_untimed = 0  # of these, without a time
        self.n_errors = 0
        self.n_repaired_times = 0
        self.info = _describe(self.path) if info is None else info
        self.images = find_images(self.path) if is_sequence(self.path) else None
        self.container = open_input(self.path)
        self.stream = _choose_stream(self.container, self.path)
        options = _choose_options(self.path, self.info.codec)
        if not conceal:
            options["ec"] = "0"
        self.stream.codec_context.options = {**BOUND, **options}
        self._checker = _choose_checker(self.info.codec, verify=verify or not conceal)
        self._is_plain = conceal
        self._order = OrderHintChecker() if self.info.codec == "av1" else None
        self._partitions: PartitionChecker | None = None
        if self.info.codec == "vp8" and (verify or not conceal):
            self._partitions = PartitionChecker(max_pixels=MOST_PIXELS)
        self._is_astray = False  # what comes rests on spoilt modes, up to the next key frame
        # Names of packets: stamps, or numbers in streams without any.
        self._damaged: set[int | None] = set()  # known to be damaged
        self._continuity = follow_numbers(
            self.info.codec, self.stream.codec_context.extradata or b""
        )
        self._baseless: set[int | None] = set()  # that lack a reference
        self._keys: set[int | None] = set()  # marked as key frames
        self._is_raw = self.info.container in RAW
        if self._is_raw:
            self.stream.codec_context.flags |= Flags.copy_opaque
        is_timed = not self._is_raw and self.info.container not in ("avi", "mpeg")
        may_mix = self.info.codec in _REORDERING and is_timed
        self._queue = FrameQueue() if may_mix and not frame_threads else None
        # H.265 is verified by what threads would have made of it.
        is_twinned = verify and self.info.codec == "hevc"
        self._twin = WavefrontVerifier(self.stream.codec_context) if is_twinned else None
        self._is_in_order = is_twinned or not frame_threads
        if self._is_in_order:
            self.stream.thread_type, self.stream.thread_count = "NONE", 1
            if self.info.codec == "hevc" and not conceal:
                decode_by_entries(self.stream.codec_context)
        else:
            self.stream.thread_type = _choose_threads(self.stream)
        self._bytes = open_bytes(self.path if self.images is None else self.images.files[0])

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
        if self._partitions is not None:
            self._partitions.close()
        self.container.close()
        self._bytes.close()

    @property
    def has_numbers(self) -> bool:
        """Whether the pictures read so far bear numbers that tell which were lost between them."""
        return self._continuity is not None and self._continuity.is_numbered

    @property
    def has_entries(self) -> bool:
        """Whether this is H.265 whose rows have entry points, seen in verifying."""
        return self._twin is not None and self._twin.is_comparing

    def read(self) -> Iterator[Any]:
        """Yield Frames in presentation order and, with ``copy_streams``, the others' Packets.

        Raises:
            MediaError: the disk or drive does not give all of the file.
        """
        clock = StampClock(self.stream, by_dts=self.info.container == "avi")
        splices = Splices() if self.info.container in ("mpegts", "mpeg") else None
        streams: list[Stream] = [self.stream]
        # How far a part is moved depends on all streams: who reads for the pictures alone, too.
        if self.copy_streams or splices is not None:
            streams = list(self.container.streams)
        n_frames = 0
        packets = self._demux(streams) if self.images is None else self._load(self.images)
        for packet in packets if self._partitions is None else self._look_ahead(packets):
            if splices is not None:
                splices.join(packet)
            if packet.stream_index != self.stream.index:
                if self.copy_streams:
                    yield packet
                continue
            time = clock.read_packet(packet)
            self.n_packets += 1
            self.n_untimed += time is None
            if time is not None and not packet.is_discard:
                self.packet_times.append(time)
            name = clock.choose_stamp(packet)
            if self._is_raw:
                packet.opaque = name = self.n_packets
            self._check(packet, name)
            if not self._is_plain:
                packet = self._change(packet, name)
            for native in self._decode(packet, name):
                for frame, when in clock.settle(native):
                    yield self._wrap(frame, clock.choose_stamp(frame), when, n_frames)
                    n_frames += 1
        if self._twin is not None:
            self._twin.feed(None)
        rest: list[VideoFrame | None] = [*self._decode(None, None), None]
        for last in rest:
            for frame, when in clock.settle(last):
                yield self._wrap(frame, clock.choose_stamp(frame), when, n_frames)
                n_frames += 1

    def _check(self, packet: Packet[Any], name: int | None) -> None:
        """Note what a packet shows that the decoder does not tell."""
        if packet.is_keyframe:
            self._keys.add(name)
        if self._twin is not None:
            self._twin.feed(packet)
        if self._checker is not None and self._checker.is_damaged(bytes(packet)):
            self._damaged.add(name)
        if self._partitions is not None and self._partitions.is_damaged():
            self._damaged.add(name)
        if self._continuity is not None and self._continuity.lacks_reference(bytes(packet)):
            self._baseless.add(name)

    def _change(self, packet: Packet[Any], name: int | None) -> Packet[Any]:
        """What is decoded instead of a packet of VP8 or VP9, if that is damaged."""
        content = bytes(packet)
        if self.info.codec == "vp9" and name in self._damaged:
            with contextlib.suppress(ValueError):  # not even its header makes sense
                return _replace(packet, spoil_tiles(content, self.stream.width))
        if self._partitions is None:
            return packet
        stripped = self._partitions.strip(content)
        self._is_astray = stripped is None or (self._is_astray and not packet.is_keyframe)
        if self._is_astray:
            self._damaged.add(name)
        else:
            self._damaged.discard(name)
        return packet if stripped in (None, content) else _replace(packet, stripped)

    def _demux(self, streams: list[Stream]) -> Iterator[Packet[Any]]:
        at = 0
        try:
            for packet in demux(self.container, streams):
                at = at if packet.pos is None else packet.pos
                yield packet
        except FFmpegError:
            self.n_errors += 1  # the demuxer cannot go on after this, e.g. a chained Ogg
        check_rest(self._bytes, at)

    def _look_ahead(self, packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
        """Show packets to the checker of partitions before they are decoded."""
        assert self._partitions is not None
        waiting: deque[Packet[Any]] = deque()
        n_bytes = 0
        for packet in packets:
            if packet.stream_index == self.stream.index:
                self._partitions.feed(bytes(packet))
            waiting.append(packet)
            n_bytes += packet.size
            while len(waiting) > _N_AHEAD or (n_bytes > _MOST_AHEAD and waiting):
                n_bytes -= waiting[0].size
                yield waiting.popleft()
        yield from waiting

    def _load(self, images: ImageSequence) -> Iterator[Packet[Any]]:
        """Read pictures as packets, timed by their numbers; one that is none counts as lost."""
        base = self.info.time_base
        for number, file in zip(images.numbers, images.files, strict=True):
            time = (number - images.numbers[0]) / RATE
            packet = None
            with contextlib.suppress(FFmpegError, OSError, IndexError), open_image(file) as image:
                packet = next(image.demux(image.streams.video[0]), None)
            if packet is None or not packet.size:
                with open_bytes(file) as content:
                    check_rest(content, 0)
                self.n_errors += 1
                self.packet_times.append(time)
                continue
            packet.pts = packet.dts = round(time / base)
            packet.time_base = base
            yield packet

    def _decode(self, packet: Packet[Any] | None, name: int | None) -> list[VideoFrame]:
        frames: list[VideoFrame] = []
        is_refused, order = False, self._order
        for part in self._take_apart(packet):
            if order is not None and part is not None and order.is_damaged(bytes(part), name):
                self._damaged.add(name)
            try:
                frames += self.stream.decode(part)
            except FFmpegError:
                is_refused = True
                if order is not None:
                    order.refuse()
        if order is not None and self._is_in_order and packet is not None:
            is_refused = is_refused or not frames  # each packet shows a picture
        self.n_errors += is_refused
        if self._queue is None:
            return frames
        is_lossy = is_refused or name in self._baseless or name in self._damaged
        if is_lossy or any(frame.is_corrupt for frame in frames):
            self._queue.has_lost = True
        # Nothing is to be waited for of a packet that was refused.
        if is_refused and packet is not None:
            return frames
        return self._queue.sort(packet, frames)

    def _take_apart(self, packet: Packet[Any] | None) -> list[Packet[Any] | None]:
        """Return what is decoded at a time: of AV1 single units where damage has been met."""
        if packet is None or self._order is None or not self._is_in_order:
            return [packet]
        contents = split_units(bytes(packet))
        parts: list[Packet[Any] | None] = []
        if len(contents) > 1:
            parts += [_replace(packet, content) for content in contents]
        return parts or [packet]

    def _wrap(self, native: VideoFrame, stamp: int | None, when: Time, index: int) -> Frame:
        # Behind an error dav1d calls pictures of every kind key frames.
        number = native.opaque if self._is_raw else None
        name = number if self._is_raw else stamp
        self.n_repaired_times += when.is_moved or when.given is not None
        latest = self.packet_times[: -_MOST_HELD - 1 : -1]
        if when.given is not None and when.given in latest:
            self.packet_times[-1 - latest.index(when.given)] = when.value
        is_corrupt = native.is_corrupt or (name is not None and name in self._damaged)
        if self._twin is not None and self._twin.differs(native):
            is_corrupt = True
        return Frame(
            native=native,
            time=when.value,
            index=index,
            duration=native.duration * self.info.time_base,
            is_corrupt=is_corrupt,
            is_key=native.key_frame and (self.info.codec != "av1" or name in self._keys),
            lacks_reference=name is not None and name in self._baseless,
            packet=number if isinstance(number, int) else None,
        )


def _replace(packet: Packet[Any], content: bytes) -> Packet[Any]:
    """A packet of the same times."""
    other: Packet[Any] = Packet(content)
    other.pts, other.dts, other.time_base = packet.pts, packet.dts, packet.time_base
    return other


def _choose_threads(stream: VideoStream) -> str:
    return "SLICE" if stream.codec_context.codec.canonical_name in _STUCK else "AUTO"


def _choose_checker(codec: str, *, verify: bool) -> Ffv1Checker | Vp9Verifier | None:
    if codec == "ffv1":
        return Ffv1Checker()
    return Vp9Verifier(max_pixels=MOST_PIXELS) if codec == "vp9" and verify else None


def _choose_stream(container: InputContainer, path: Path) -> VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails):
            if stream.codec_context is None:
                raise MediaError(f"{path}: this FFmpeg has no decoder for its video stream")
            return stream
    raise MediaError(f"{path}: no video stream in this {container.format.name} file")


def _describe(path: Path) -> VideoInfo:
    with open_input(path) as container:
        stream = _choose_stream(container, path)
        first = _read_first(container, stream)
        context = stream.codec_context
        pixels = first.format if first is not None else context.format
        side_data = _read_side_data(first)
        matrix = side_data.get("DISPLAYMATRIX")
        base = to_fraction(stream.time_base) or Fraction(1, 90_000)
        others = tuple(
            OtherStream(index=s.index, kind=s.type, codec=name_codec(s), end=read_end(s))
            for s in container.streams
            if s.index != stream.index
        )
        duration = None
        if stream.duration is not None:
            duration = stream.duration * base
        elif container.duration is not None:
            duration = Fraction(container.duration, 1_000_000)
        if is_sequence(path):
            numbers = find_images(path).numbers
            duration = (numbers[-1] - numbers[0] + 1) / RATE
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
            average_rate=to_fraction(stream.average_rate),
            start=None if stream.start_time is None else stream.start_time * base,
            duration=duration,
            rotation=_read_rotation(first),
            display_matrix=tuple(np.frombuffer(matrix, np.int32).tolist()) if matrix else None,
            sample_aspect_ratio=to_fraction(stream.sample_aspect_ratio),
            color_range=int(source.color_range),
            color_primaries=int(source.color_primaries),
            color_trc=int(source.color_trc),
            colorspace=int(source.colorspace),
            interlaced=first.interlaced_frame if first is not None else False,
            is_bottom_first=context.field_order in _BOTTOM_FIRST,
            chroma_location=_read_chroma_location(path, stream, pixels.name if pixels else ""),
            hdr=_read_hdr(side_data),
            has_dolby_vision=any(name.startswith("DOVI") for name in side_data),
            picture_metadata=tuple(_UNWRITTEN[name] for name in _UNWRITTEN if name in side_data),
            other_streams=others,
        )


def _read_chroma_location(path: Path, stream: VideoStream, pixels: str) -> str | None:
    if not pixels.startswith(("yuv420", "yuvj420")):
        return None
    context = stream.codec_context
    if stream.container.format.name == "yuv4mpegpipe":
        with open_bytes(path) as file:
            return read_location(file.readline(_LONGEST_LINE))
    codec = context.codec.canonical_name
    if codec not in ("h264", "hevc", "av1") and "matroska" in stream.container.format.name:
        earlier = [s for s in stream.container.streams.video if s.index < stream.index]
        told = read_chroma_location(path, len(earlier))
        if told is not None:
            return told
    return find_chroma_location(codec, context.extradata)


def read_end(stream: Stream) -> Fraction | None:
    """When the last packet ends, as the container says: its header, or Matroska's tag."""
    base = to_fraction(stream.time_base)
    if stream.duration is not None and base:
        return ((stream.start_time or 0) + stream.duration) * base
    match = _CLOCK.fullmatch(stream.metadata.get("DURATION", ""))
    if match is None:
        return None
    return Fraction(match[3]) + 60 * int(match[2]) + 3600 * int(match[1])


def _read_first(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    """The first picture, or None when none of the first packets gives one."""
    stream.codec_context.options = dict(BOUND)
    stream.thread_type = _choose_threads(stream)  # as the reader: decoders differ
    packets = itertools.chain(demux(container, stream), [None])
    for _ in range(N_PROBES):
        try:
            frames = stream.decode(next(packets))
        except (EOFError, StopIteration):
            return None
        except FFmpegError:
            continue
        if frames:
            return frames[0]
    return None


def _choose_options(path: Path, codec: str) -> dict[str, str]:
    """How strict the decoder is to be: as strict as any of the first packets allows."""
    if codec not in _STRICT:
        return {}
    options = {**BOUND, **_STRICT[codec]}
    with open_input(path) as container:
        stream = _choose_stream(container, path)
        stream.codec_context.options = options
        stream.thread_type, stream.thread_count = "NONE", 1
        for packet in itertools.islice(demux(container, stream), _N_STRICT):
            with contextlib.suppress(FFmpegError):
                if stream.decode(packet):
                    return options
    return {}


# Side data of pictures that no encoder here takes, in words.
_UNWRITTEN = {"DYNAMIC_HDR_PLUS": "HDR10+ metadata", "AFD": "active format description"}


def _read_side_data(native: VideoFrame | None) -> dict[str, bytes]:
    """A picture's side data by the name of its type."""
    if native is None:
        return {}
    try:
        container: Any = native.side_data  # the stubs call it a dict of names
        return {data.type.name: bytes(data) for data in container}
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


def name_codec(stream: Stream) -> str:
    if stream.codec_context is None:
        return getattr(stream, "name", None) or "unknown"  # a video stream has none in PyAV 18
    return stream.codec_context.codec.canonical_name
