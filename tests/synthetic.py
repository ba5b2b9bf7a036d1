"""Little videos by recipe, made straight with PyAV so that they do not depend on what is tested."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.stream import Disposition
from numpy.typing import NDArray

Image = NDArray[np.uint8]

LOSSLESS = {
    "libx264": {"qp": "0", "preset": "ultrafast"},
    "libx265": {"x265-params": "lossless=1:log-level=none:pools=1", "preset": "ultrafast"},
    "libvpx-vp9": {"lossless": "1", "cpu-used": "8", "deadline": "realtime"},
    "ffv1": {},
    "ffvhuff": {},
    "rawvideo": {},
}


def make_texture(width: int, height: int, *, seed: int = 0) -> Image:
    """A smooth random colour picture (H, W, 3) that tiles: something to move about."""
    rng = np.random.default_rng(seed)
    y = np.arange(height)[:, None] / height
    x = np.arange(width)[None, :] / width
    image = np.zeros((height, width, 3))
    for channel in range(3):
        for _ in range(8):
            fx, fy = rng.integers(-4, 5, 2)
            phase, weight = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1) / (1 + fx * fx + fy * fy)
            image[..., channel] += weight * np.cos(2 * np.pi * (fx * x + fy * y) + phase)
    image -= image.min()
    image *= 255 / image.max()
    return np.rint(image).astype(np.uint8)


def make_frames(
    n: int, *, width: int = 64, height: int = 48, speed: tuple[int, int] = (2, 1), seed: int = 0
) -> list[Image]:
    """``n`` RGB frames of a texture that slides by ``speed`` pixels (right, down) a frame."""
    texture = make_texture(width, height, seed=seed)
    return [np.roll(texture, (speed[1] * i, speed[0] * i), axis=(0, 1)) for i in range(n)]


def make_times(
    n: int, *, rate: Fraction | int = 25, start: Fraction | int = 0, holes: Sequence[int] = ()
) -> list[Fraction]:
    """Times of frames 0..n-1 at a constant rate without the indices in ``holes``."""
    step = 1 / Fraction(rate)
    return [Fraction(start) + i * step for i in range(n) if i not in set(holes)]


def write_clip(
    path: str | Path,
    frames: Sequence[Image] | int,
    *,
    times: Sequence[Fraction] | None = None,
    rate: Fraction | int = 25,
    time_base: Fraction | None = None,
    codec: str = "libx264",
    pix_fmt: str | None = None,
    options: dict[str, str] | None = None,
    lossless: bool = True,
    b_frames: int = 0,
    gop: int = 12,
    audio: bool = False,
    audio_stop: Fraction | None = None,
    subtitles: Sequence[tuple[Fraction, Fraction, str]] = (),
    attachment: bytes | None = None,
    chapters: bool = False,
    metadata: dict[str, str] | None = None,
    rotation: int = 0,
    mirror: bool = False,
    sample_aspect_ratio: Fraction | None = None,
    color_range: int | None = None,
    colorspace: int | None = None,
    color_primaries: int | None = None,
    color_trc: int | None = None,
    natives: Sequence[av.VideoFrame] | None = None,
) -> Path:
    """Write a clip and return its path.

    ``frames``: RGB pictures (H, W, 3) uint8, or a number of them to make. ``times``: Fraction
    seconds, one per frame (default: constant ``rate`` from 0). The time base is the finest that
    holds them all. ``natives`` are used instead of ``frames`` where exact planes matter.
    ``audio``: a sine in AAC, stereo, 48 kHz, to the end of the pictures or to ``audio_stop``.
    ``subtitles``: (start, stop, text), as SRT in Matroska and as mov_text in MP4.
    """
    path = Path(path)
    if isinstance(frames, int):
        frames = make_frames(frames)
    n = len(natives) if natives is not None else len(frames)
    times = make_times(n, rate=rate) if times is None else list(times)
    assert len(times) == n
    if pix_fmt is None:
        pix_fmt = "yuv420p"
    if time_base is None:
        time_base = Fraction(1, np.lcm.reduce([Fraction(t).denominator for t in times]))
        step = min((b - a for a, b in pairwise(times)), default=1 / Fraction(rate))
        time_base = Fraction(1, int(np.lcm(time_base.denominator, Fraction(step).denominator)))
        while time_base.denominator < 1000:
            time_base /= 10
    with av.open(str(path), "w") as container:
        assert isinstance(container, OutputContainer)
        container.metadata.update(metadata or {})
        video = container.add_stream(codec, rate=Fraction(rate))
        context = video.codec_context
        height, width = (
            (natives[0].height, natives[0].width) if natives is not None else frames[0].shape[:2]
        )
        context.width, context.height, context.pix_fmt = width, height, pix_fmt
        is_mpeg = codec.startswith(("mpeg1", "mpeg2"))
        context.time_base = 1 / Fraction(rate) if is_mpeg else time_base
        context.gop_size = gop
        context.max_b_frames = b_frames
        context.thread_count = 1
        context.flags |= av.codec.context.Flags.frame_duration
        if sample_aspect_ratio is not None:
            context.sample_aspect_ratio = sample_aspect_ratio
        for name, value in (
            ("color_range", color_range),
            ("colorspace", colorspace),
            ("color_primaries", color_primaries),
            ("color_trc", color_trc),
        ):
            if value is not None:
                setattr(context, name, value)
        context.options = {**(LOSSLESS.get(codec, {}) if lossless else {}), **(options or {})}
        if codec == "libx265" and not lossless:
            context.options = {"x265-params": "log-level=none", **context.options}
        if b_frames and codec == "libx264":
            context.options = {**context.options, "preset": "veryfast"}  # ultrafast makes none
        if rotation or mirror:
            video.set_display_rotation(rotation, hflip=mirror)
        sound = container.add_stream("aac", rate=48_000) if audio else None
        if sound is not None:
            sound.metadata["language"] = "deu"
        texts = _add_subtitles(container, path) if subtitles else None
        if attachment is not None:
            container.add_attachment("notes.txt", "text/plain", attachment)
        if chapters:
            container.set_chapters(_make_chapters(times[-1] + 1 / Fraction(rate)))
        step = times[1] - times[0] if n > 1 else 1 / Fraction(rate)
        reformatter = av.video.reformatter.VideoReformatter()
        packets = []
        for i in range(n):
            if natives is not None:
                picture = natives[i]
            else:
                picture = reformatter.reformat(
                    av.VideoFrame.from_ndarray(np.ascontiguousarray(frames[i]), format="rgb24"),
                    format=pix_fmt,
                    dst_colorspace=colorspace if colorspace not in (None, 2) else None,
                    dst_color_range=color_range,
                )
            if color_range is not None:
                picture.color_range = color_range
            if colorspace is not None:
                picture.colorspace = colorspace
            picture.pts, picture.time_base = _ticks(times[i], time_base), time_base
            end = times[i + 1] if i + 1 < n else times[i] + step
            picture.duration = _ticks(end - times[i], time_base)
            picture.pict_type = 0
            packets.append(video.encode(picture))
        packets.append(video.encode(None))
        if sound is not None:
            _write_sound(container, sound, times[0], audio_stop or times[-1] + step)
        for text, (start, stop, words) in enumerate(subtitles):
            assert texts is not None
            _write_subtitle(container, texts, path, text, start, stop, words)
        for batch in packets:
            container.mux(batch)
    return path


def write_gappy_clip(
    path: str | Path, n: int, holes: Sequence[int], *, rate: Fraction | int = 25, **kwargs: object
) -> tuple[Path, list[Image]]:
    """A clip of ``n`` ideal frames without those in ``holes``; also returns all ``n`` pictures."""
    frames = make_frames(n)
    kept = [f for i, f in enumerate(frames) if i not in set(holes)]
    times = make_times(n, rate=rate, holes=holes)
    return write_clip(path, kept, times=times, rate=rate, **kwargs), frames  # type: ignore[arg-type]


def damage_packets(path: Path, indices: Sequence[int], *, where: str = "head") -> None:
    """Overwrite video packets (by index in the file) in place, where a container allows it.

    ``head``: the first bytes, so that H.264 finds no picture. ``body``: noise behind the first
    quarter, so that it conceals one and marks it corrupt; some noise reads like a picture, and
    which depends on the encoder and so on the processor, so other noise is tried until it does.
    """
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        payloads = [bytes(p) for p in container.demux(container.streams.video[0]) if p.size]
    whole = path.read_bytes()
    for seed in range(20):
        data = bytearray(whole)
        rng = np.random.default_rng(seed)
        for index in indices:
            payload = payloads[index]
            first, n = data.find(payload), len(payload)
            if where == "head":
                data[first : first + 6] = b"\xff" * 6
            else:
                data[first + n // 4 : first + n] = rng.bytes(n - n // 4)
        path.write_bytes(data)
        if where == "head" or _count_marked(path) >= len(indices):
            return
    raise AssertionError("no noise that a decoder notices")


def _count_marked(path: Path) -> int:
    """Frames that a plain decoder marks as corrupt."""
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        container.streams.video[0].thread_type = "NONE"
        return sum(frame.is_corrupt for frame in container.decode(video=0))


def read_planes(path: str | Path, *, stream: int = 0) -> list[tuple[Fraction, str]]:
    """(time, digest of the native picture) of every frame, by plain single-threaded PyAV."""
    found = []
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        video = container.streams.video[stream]
        video.thread_type = "NONE"
        for frame in container.decode(video):
            assert frame.pts is not None
            digest = hashlib.sha256(digest_planes(frame)).hexdigest()
            found.append((frame.pts * Fraction(frame.time_base), digest))
    return found


def read_what_decodes(path: str | Path) -> dict[Fraction, str]:
    """The digests of the frames that damage leaves, by their times; as ``read_planes``."""
    found = {}
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        video = container.streams.video[0]
        video.thread_type, video.thread_count = "NONE", 1
        for packet in container.demux(video):
            with contextlib.suppress(av.FFmpegError):
                for frame in packet.decode():
                    assert frame.pts is not None
                    digest = hashlib.sha256(digest_planes(frame)).hexdigest()
                    found[frame.pts * Fraction(frame.time_base)] = digest
    return found


def digest_planes(frame: av.VideoFrame) -> bytes:
    """The visible bytes of every plane, without the padding at the ends of lines."""
    parts = []
    for plane, component in zip(frame.planes, _plane_bytes(frame), strict=True):
        data = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        parts.append(data[: plane.height, :component].tobytes())
    return b"".join(parts)


def _plane_bytes(frame: av.VideoFrame) -> list[int]:
    sizes = []
    for index, plane in enumerate(frame.planes):
        components = [c for c in frame.format.components if c.plane == index]
        size = 2 if max((c.bits for c in components), default=8) > 8 else 1
        packed = len(components) if components else 1
        if frame.format.name in ("rgb0", "bgr0", "0rgb", "0bgr"):
            packed = 4
        sizes.append(plane.width * size * packed)
    return sizes


def read_packets(path: str | Path) -> dict[int, list[tuple[int | None, int | None, int, str]]]:
    """For each stream index, (pts, dts, flags-free size, digest) of every packet, in file order."""
    found: dict[int, list[tuple[int | None, int | None, int, str]]] = {}
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        for packet in container.demux():
            if packet.size:
                digest = hashlib.sha256(bytes(packet)).hexdigest()
                row = (packet.pts, packet.dts, packet.size, digest)
                found.setdefault(packet.stream_index, []).append(row)
    return found


def _ticks(time: Fraction, base: Fraction) -> int:
    return round(Fraction(time) / base)


def _make_chapters(end: Fraction) -> list[dict[str, object]]:
    base = Fraction(1, 1000)
    half, whole = int(end / 2 / base), int(end / base)
    return [
        {"id": 1, "start": 0, "end": half, "time_base": base, "metadata": {"title": "One"}},
        {"id": 2, "start": half, "end": whole, "time_base": base, "metadata": {"title": "Two"}},
    ]


def _write_sound(
    container: OutputContainer, sound: av.AudioStream, start: Fraction, stop: Fraction
) -> None:
    rate = 48_000
    n = int((stop - start) * rate)
    wave = 0.2 * np.sin(2 * np.pi * 440 * np.arange(n) / rate)
    block = 1024
    for first in range(0, n, block):
        part = wave[first : first + block].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([part, part]), format="fltp", layout="stereo")
        frame.sample_rate = rate
        frame.pts, frame.time_base = int(start * rate) + first, Fraction(1, rate)
        container.mux(sound.encode(frame))
    container.mux(sound.encode(None))


def _add_subtitles(container: OutputContainer, path: Path) -> av.stream.Stream:
    name = "mov_text" if path.suffix.lower() in (".mp4", ".mov", ".m4v") else "subrip"
    stream = container.add_mux_stream(name, time_base=Fraction(1, 1000))
    stream.metadata["language"] = "fra"
    stream.disposition = Disposition.default | Disposition.forced
    return stream


def _write_subtitle(
    container: OutputContainer,
    stream: av.stream.Stream,
    path: Path,
    index: int,
    start: Fraction,
    stop: Fraction,
    words: str,
) -> None:
    data = words.encode()
    if path.suffix.lower() in (".mp4", ".mov", ".m4v"):
        data = len(data).to_bytes(2, "big") + data
    packet = av.Packet(data)
    packet.stream = stream
    packet.time_base = Fraction(1, 1000)
    packet.pts = packet.dts = int(start * 1000)
    packet.duration = int((stop - start) * 1000)
    packet.is_keyframe = True
    container.mux(packet)
