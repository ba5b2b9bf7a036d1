"""Reading, writing and colour, against plain PyAV, ffprobe and an independent matrix."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from blending import BlendPredictor
from conftest import SHARED
from synthetic import (
    damage_packets,
    digest_planes,
    make_frames,
    make_texture,
    make_times,
    read_packets,
    read_planes,
    write_clip,
    write_gappy_clip,
)

from framepred.encoders import PRESETS
from framepred.encoding_options import PaceName
from framepred.errors import MediaError, OutputError
from framepred.filling import fill_gaps
from framepred.forecasting import forecast
from framepred.interpolation import interpolate
from framepred.scanning import scan
from framepred.stamps import FrameQueue
from framepred.video import (
    Encoding,
    Frame,
    VideoReader,
    VideoWriter,
    from_rgb,
    open_rgb_frames,
    probe,
    read_thumbnail,
    to_rgb,
)

Ffprobe = Callable[[Path], dict[str, Any]]
NTSC = Fraction(30000, 1001)
TEXTS = [(Fraction(1, 10), Fraction(3, 10), "one"), (Fraction(4, 10), Fraction(6, 10), "two")]


def copy_video(
    source: Path,
    target: Path,
    *,
    overwrite: bool = False,
    begin: Fraction | None = None,
    **wishes: Any,
) -> VideoWriter:
    """Decode and encode every frame, copy everything else."""
    encoding = Encoding(**wishes)
    with (
        VideoReader(source, copy_streams=True) as reader,
        VideoWriter(
            target, like=reader, encoding=encoding, overwrite=overwrite, begin=begin
        ) as writer,
    ):
        for item in reader.read():
            if isinstance(item, Frame):
                writer.write(item)
            else:
                writer.copy(item)
    return writer


def read_all(path: Path) -> list[Frame]:
    with VideoReader(path) as reader:
        return list(reader.read())


def read_digests(path: Path, **options: Any) -> list[tuple[Fraction, str]]:
    with VideoReader(path, **options) as reader:
        return [
            (f.time, hashlib.sha256(digest_planes(f.native)).hexdigest()) for f in reader.read()
        ]


def make_noise(
    pix_fmt: str, *, n: int = 4, width: int = 64, height: int = 48
) -> list[av.VideoFrame]:
    """Pictures whose every sample is random."""
    rng = np.random.default_rng(1)
    frames = []
    for _ in range(n):
        frame = av.VideoFrame(width, height, pix_fmt)
        bits = max(c.bits for c in frame.format.components)
        for plane in frame.planes:
            n_samples = plane.buffer_size // (2 if bits > 8 else 1)
            samples = rng.integers(0, 2**bits, n_samples, dtype=np.uint16)
            plane.update((samples if bits > 8 else samples.astype(np.uint8)).tobytes())
        frames.append(frame)
    return frames


# Reading


def test_probe_tells_what_is_there(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "a.mkv",
        6,
        audio=True,
        subtitles=TEXTS[:1],
        rotation=90,
        sample_aspect_ratio=Fraction(4, 3),
        color_range=1,
        colorspace=1,
        color_primaries=1,
        color_trc=1,
    )
    info = probe(path)
    assert (info.codec, info.pix_fmt, info.bit_depth) == ("h264", "yuv420p", 8)
    assert (info.width, info.height, info.rotation) == (64, 48, 90)
    assert info.sample_aspect_ratio == Fraction(4, 3)
    assert (info.color_range, info.colorspace, info.color_primaries, info.color_trc) == (1, 1, 1, 1)
    assert info.time_base == Fraction(1, 1000)
    assert [(s.kind, s.codec) for s in info.other_streams] == [
        ("audio", "aac"),
        ("subtitle", "subrip"),
    ]


@pytest.mark.parametrize("b_frames", [0, 2])
def test_times_are_exact(tmp_path: Path, b_frames: int) -> None:
    times = make_times(20, rate=NTSC, start=Fraction(2), holes=[4, 5, 11])
    path = write_clip(
        tmp_path / "a.mp4",
        len(times),
        times=times,
        rate=NTSC,
        time_base=Fraction(1, 90_000),
        b_frames=b_frames,
    )
    frames = read_all(path)
    ticks = [round(t * 90_000) for t in times]
    assert [f.time for f in frames] == [Fraction(t, 90_000) for t in ticks]
    assert [f.index for f in frames] == list(range(len(times)))
    assert frames[0].is_key


def test_packet_times_are_complete_at_the_end(tmp_path: Path) -> None:
    path, _ = write_gappy_clip(tmp_path / "a.mkv", 24, [3, 4, 9], b_frames=2)
    with VideoReader(path) as reader:
        frames = list(reader.read())
        assert sorted(reader.packet_times) == [f.time for f in frames]
    assert len(frames) == 21
    assert reader.n_errors == 0
    assert reader.n_repaired_times == 0


def test_frames_of_one_time_are_pulled_apart(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", 8, rate=2000)  # two frames a millisecond
    with VideoReader(path) as reader:
        times = [f.time for f in reader.read()]
    assert all(a < b for a, b in pairwise(times))
    assert reader.n_repaired_times > 0


def test_avi_counts_decoding_times(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", 12, codec="mpeg4", lossless=False, b_frames=2)
    frames = read_all(path)
    assert [f.time for f in frames] == make_times(12)


@pytest.mark.parametrize("threads", [True, False], ids=["threads", "in order"])
@pytest.mark.parametrize("where", ["head", "body"])
def test_damaged_packets_are_counted_and_passed_over(
    tmp_path: Path, where: str, threads: bool
) -> None:
    path = write_clip(tmp_path / "a.mkv", 24, lossless=False)
    damage_packets(path, [5, 15], where=where)
    with VideoReader(path, frame_threads=threads) as reader:
        frames = list(reader.read())
    damaged = {Fraction(5, 25), Fraction(15, 25)}
    assert sorted(reader.packet_times) == make_times(24)
    if where == "head":  # nothing to decode: no frame
        assert set(reader.packet_times) - {f.time for f in frames} == damaged
        assert reader.n_errors == 2
    else:  # a picture, but marked
        assert {f.time for f in frames if f.is_corrupt} == damaged
        assert len(frames) == 24


def sort_stamps(
    packets: list[int],
    decoded: dict[int, list[int]],
    keys: tuple[int, ...],
    *,
    has_lost: bool = False,
) -> str:
    """What comes out of the queue, and when: ``decoded`` has the frames behind each packet."""
    queue = FrameQueue()
    queue.has_lost = has_lost

    def sort(packet: int | None, stamps: list[int]) -> str:
        frames: Any = [SimpleNamespace(pts=pts, key_frame=pts in keys) for pts in stamps]
        found = queue.sort(None if packet is None else SimpleNamespace(pts=packet), frames)  # type: ignore[arg-type]
        return " ".join(str(frame.pts) for frame in found)

    steps = [sort(stamp, decoded.get(stamp, [])) for stamp in packets]
    return " | ".join([*steps, sort(None, decoded.get(-1, []))])


def test_frames_wait_for_those_before_them() -> None:
    # A decoder that is a frame behind, nothing lost: nobody waits.
    assert sort_stamps([0, 2, 1, 4, 3], {2: [0], 1: [1], 4: [2], 3: [3], -1: [4]}, (0,)) == (
        " | 0 | 1 | 2 | 3 | 4"
    )
    # 6 raised and so was not told; 7 and 8 give nothing.
    mixed = {9: [9], 7: [4], 8: [10], 11: [5], 12: [11, 12]}
    assert sort_stamps([5, 4, 9, 7, 8, 11, 10, 12], mixed, (12,)) == (
        " |  |  | 4 |  | 5 |  | 9 10 11 12 | "
    )
    # The end lets all go, and so does one too many; what is past does not wait.
    assert sort_stamps([1, 5, 3], {5: [5], 3: [3]}, ()) == " |  |  | 3 5"
    late = sort_stamps([0, *range(2, 30)], {n: [n] for n in range(2, 30)}, ())
    assert late.split(" | ")[16:19] == ["", " ".join(map(str, range(2, 19))), "19"]
    assert sort_stamps([5, 3], {5: [5], 3: [3]}, ()) == "5 | 3 | "


def test_stamps_that_contradict_one_another_leave_the_order_to_the_decoder() -> None:
    packets = [0, 3, 1, 2, 6, 4, 75, 9, 7, 8]  # 5 is 7.5 in fact
    packets = [10 * n if n != 75 else n for n in packets]
    steps = {1: 0, 2: 1, 6: 2, 4: 3, 9: 75, 7: 6, 8: 7}
    decoded = {10 * a: [b if b == 75 else 10 * b] for a, b in steps.items()}
    decoded[75] = [40]
    decoded[-1] = [80, 90]
    found = sort_stamps(packets, decoded, (0,)).replace("|", " ").split()
    assert found == ["0", "10", "20", "30", "40", "75", "60", "70", "80", "90"]
    # All that wait come as they were decoded: 9 before 6, behind a 5 that has not come.
    packets = [0, 10, 20, 30, 40, 50, 60, 90, 75]
    decoded = {n: [n - 10] for n in (10, 20, 30, 40, 50)} | {90: [90, 60], -1: [50, 75]}
    assert sort_stamps(packets, decoded, ()) == (" | 0 | 10 | 20 | 30 | 40 |  |  | 90 60 | 50 75")


def test_stamps_that_contradict_one_another_are_sorted_if_something_is_lost() -> None:
    packets = [0, 30, 10, 20, 60, 40, 75, 90, 70, 80]
    decoded = {10: [0], 20: [10], 60: [20], 40: [30], 75: [40], 90: [75], 70: [60], 80: [70]}
    decoded[-1] = [80, 90]
    found = sort_stamps(packets, decoded, (), has_lost=True).replace("|", " ").split()
    assert found == ["0", "10", "20", "30", "40", "60", "70", "75", "80", "90"]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".flv", ".ts"])
@pytest.mark.parametrize("is_threaded", [True, False])
@pytest.mark.parametrize(("number", "offset"), [(7, -1.5), (7, -2.5), (7, 1.5), (8, 1.5), (8, 6.5)])
def test_a_single_wrong_stamp_is_put_right(
    tmp_path: Path, suffix: str, is_threaded: bool, number: int, offset: float
) -> None:
    """number: of the packet whose time is off, by so many frames; the decoder knows its place."""
    whole = write_clip(tmp_path / f"whole{suffix}", 24, lossless=False, b_frames=2, gop=12)
    path = tmp_path / f"wrong{suffix}"
    with av.open(whole) as source, av.open(path, "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        packets[number].pts += round(offset / 25 / packets[number].time_base)
        for packet in packets:
            packet.stream = stream
            target.mux(packet)
    wanted = read_all(whole)
    with VideoReader(path, frame_threads=is_threaded) as reader:
        found = [frame for frame in reader.read() if isinstance(frame, Frame)]
    assert reader.n_repaired_times == 1
    assert [to_rgb(f).tobytes() for f in found] == [to_rgb(f).tobytes() for f in wanted]
    begin = found[0].time - wanted[0].time
    slack = Fraction(1, 500)  # the clocks of Matroska and FLV count milliseconds
    for frame, right in zip(found, wanted, strict=True):
        assert abs(frame.time - begin - right.time) <= slack
    assert scan(path).plan.gaps == scan(whole).plan.gaps


def test_truncated_file_gives_what_is_there(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", 40, codec="ffv1", audio=True)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    frames = read_all(path)
    assert 5 < len(frames) < 40


@pytest.mark.parametrize("second", [600, 590, 100, 0])
def test_spliced_transport_streams_go_on(tmp_path: Path, second: int) -> None:
    """The parts begin at 600 s and at ``second``."""
    parts = []
    for begin in (600, second):
        path = tmp_path / f"{begin}.ts"
        if not path.exists():
            write_clip(path, 50, times=[begin + t for t in make_times(50)], audio=True)
        parts.append(path.read_bytes())
    both = tmp_path / "b.ts"
    both.write_bytes(b"".join(parts))
    with VideoReader(both, copy_streams=True) as reader:
        items = list(reader.read())
    frames = [item for item in items if isinstance(item, Frame)]
    assert len(frames) == 100
    assert reader.n_repaired_times == 0
    steps = {b.time - a.time for a, b in pairwise(frames)}
    assert min(steps) > 0
    assert max(steps) < Fraction(3, 25)
    sound = [item.pts for item in items if not isinstance(item, Frame)]
    assert sound == sorted(sound)
    copy_video(both, tmp_path / "c.ts", lossless=True)
    assert [f.time for f in read_all(tmp_path / "c.ts")] == [f.time for f in frames]
    assert [f.time for f in read_all(both)] == [f.time for f in frames], "without the sound"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b"", "empty"), (b"hello\n" * 50, "not a readable video")],
)
def test_what_is_no_video_is_one_clear_line(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MediaError, match=words) as caught:
        probe(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_folder_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no numbered pictures in this folder"):
        probe(tmp_path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((2, 1024), np.float32), format="fltp", layout="stereo"
        )
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match="no video stream"):
        probe(path)


def test_names_that_look_like_urls_are_files(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-i.mkv", "pipe:0.mkv", "http:x.mkv", "ä b%03d.mkv"):
        shutil.copy(write_clip(tmp_path / "plain.mkv", 3), name)
        assert len(read_all(Path(name))) == 3
        copy_video(Path(name), Path(f"{name}.out.mkv"))
        assert len(read_all(Path(f"{name}.out.mkv"))) == 3


def _awkward_table() -> list[tuple[str, int, int]]:
    """(file, frames, errors) by the table that comes with the files; -1: no count."""
    table = SHARED / "AWKWARD.md"
    if not table.is_file():
        return []
    rows = []
    for line in table.read_text(encoding="utf-8").splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if line.startswith("| `") and len(cells) > 15:
            count = re.match(r"\d+", cells[10])
            errors = re.search(r"\((\d+) errors", cells[10])
            rows.append(
                (
                    cells[0].strip("`"),
                    int(count[0]) if count else -1,
                    int(errors[1]) if errors else 0,
                )
            )
    return rows


@pytest.mark.parametrize(
    "threads",
    [True, pytest.param(False, marks=pytest.mark.exhaustive)],
    ids=["threads", "in order"],
)
def test_awkward_files_give_their_frames(awkward: Path, threads: bool) -> None:
    wrong = []
    for name, expected, n_errors in _awkward_table():
        try:
            with VideoReader(awkward / name, frame_threads=threads) as reader:
                times = [f.time for f in reader.read()]
        except MediaError as error:
            if expected != -1 or "\n" in str(error):
                wrong.append(f"{name}: {error}")
            continue
        if not all(a < b for a, b in pairwise(times)):
            wrong.append(f"{name}: times do not increase")
        # An error that frame threads meet while they are flushed takes later frames along.
        lost = threads and name == "apng_16bit.png"
        if len(times) != expected and not lost:
            wrong.append(f"{name}: {len(times)} frames instead of {expected}")
        if not threads and reader.n_errors < n_errors:
            wrong.append(f"{name}: {reader.n_errors} errors instead of {n_errors}")
    assert not wrong


# Writing


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".ts"])
@pytest.mark.parametrize("start", [Fraction(0), Fraction(5, 3)], ids=["from 0", "late"])
def test_a_copy_is_the_same_in_every_respect(
    tmp_path: Path, suffix: str, start: Fraction, request: pytest.FixtureRequest
) -> None:
    extras: dict[str, Any] = {} if suffix == ".ts" else {"subtitles": TEXTS, "chapters": True}
    if suffix == ".mkv":
        extras["attachment"] = b"a note"
    if suffix != ".ts":
        extras |= {"rotation": 90, "metadata": {"title": "A title"}}
    source = write_clip(
        tmp_path / f"a{suffix}",
        18,
        times=make_times(20, rate=NTSC, start=start, holes=[7, 8]),
        rate=NTSC,
        time_base=Fraction(1, 90_000) if start else None,
        b_frames=2,
        audio=True,
        sample_aspect_ratio=Fraction(4, 3),
        color_range=1,
        colorspace=1,
        color_primaries=1,
        color_trc=1,
        **extras,
    )
    target = tmp_path / f"b{suffix}"
    writer = copy_video(source, target, lossless=True)
    assert writer.left_out == ()
    assert read_planes(target) == read_planes(source)
    old, new = read_packets(source), read_packets(target)
    assert {k: v for k, v in new.items() if k} == {k: v for k, v in old.items() if k}
    a, b = probe(source), probe(target)
    for field in (
        "codec", "pix_fmt", "time_base", "start", "rotation", "display_matrix",
        "sample_aspect_ratio", "color_range", "color_primaries", "color_trc", "colorspace",
        "other_streams",
    ):  # fmt: skip
        assert getattr(b, field) == getattr(a, field), field
    x, y = (request.getfixturevalue("ffprobe")(p) for p in (source, target))
    assert y["format"]["duration"] == x["format"]["duration"]
    assert y["format"]["start_time"] == x["format"]["start_time"]
    assert y["format"].get("tags", {}).get("title") == x["format"].get("tags", {}).get("title")
    assert [c["tags"] for c in y["chapters"]] == [c["tags"] for c in x["chapters"]]
    assert [c["start_time"] for c in y["chapters"]] == [c["start_time"] for c in x["chapters"]]
    for p, q in zip(x["streams"], y["streams"], strict=True):
        for key in ("codec_name", "disposition", "start_time", "nb_read_frames"):
            assert q.get(key) == p.get(key), (key, p["index"])
        assert q.get("tags", {}).get("language") == p.get("tags", {}).get("language")


LOSSLESS = [
    ("libx264", "mp4", "yuv420p"),
    ("libx264", "mkv", "yuv422p10le"),
    ("libx264", "mov", "yuv444p"),
    ("libx264rgb", "mkv", "rgb24"),
    ("libx265", "mp4", "yuv420p10le"),
    ("libx265", "mkv", "yuv422p12le"),
    ("libx265", "mkv", "gbrp"),
    ("libvpx-vp9", "webm", "yuv420p"),
    ("libvpx-vp9", "webm", "gbrp"),
    ("ffv1", "mkv", "yuv420p"),
    ("ffv1", "mkv", "yuv444p12le"),
    ("ffv1", "mkv", "bgr0"),
    ("ffv1", "avi", "yuv422p10le"),
    ("libsvtav1", "mp4", "yuv420p10le"),
    ("mpeg4", "avi", "yuv420p"),
    ("mpeg2video", "ts", "yuv420p"),
    ("mjpeg", "avi", "yuvj420p"),
    ("prores_ks", "mov", "yuv422p10le"),
    ("libvpx", "webm", "yuv420p"),
    ("rawvideo", "avi", "bgr24"),
    ("png", "mov", "rgb24"),
    ("apng", "apng", "rgba"),
]


@pytest.mark.parametrize(("codec", "suffix", "pix_fmt"), LOSSLESS)
def test_lossless_keeps_every_sample(tmp_path: Path, codec: str, suffix: str, pix_fmt: str) -> None:
    side = 128 if codec == "libsvtav1" else 64
    source = write_clip(
        tmp_path / f"a.{suffix}",
        0,
        natives=make_noise(pix_fmt, width=side, height=side * 3 // 4),
        times=make_times(4),
        codec=codec,
        pix_fmt=pix_fmt,
        lossless=codec != "libsvtav1",
    )
    target = tmp_path / f"b.{suffix}"
    writer = copy_video(source, target, lossless=True)
    assert writer.encoder.is_lossless
    assert [f.time for f in read_all(target)] == [f.time for f in read_all(source)]
    if writer.encoder.pix_fmt == probe(source).pix_fmt == probe(target).pix_fmt:
        assert [d for _, d in read_planes(target)] == [d for _, d in read_planes(source)]
    else:  # another layout of the same samples
        for x, y in zip(read_all(source), read_all(target), strict=True):
            assert np.array_equal(to_rgb(x), to_rgb(y))


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("libx264", "mp4"), ("libx265", "mkv"), ("libvpx-vp9", "webm"), ("libvpx", "webm"),
        ("libsvtav1", "mkv"), ("mpeg4", "avi"), ("mpeg2video", "ts"), ("mjpeg", "mov"),
    ],
)  # fmt: skip
def test_default_quality_is_high(tmp_path: Path, codec: str, suffix: str) -> None:
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    source = write_clip(
        tmp_path / f"a.{suffix}", make_frames(8, width=128, height=96), codec=codec, pix_fmt=pix_fmt
    )
    target = tmp_path / f"b.{suffix}"
    writer = copy_video(source, target)
    assert writer.encoder.codec == probe(source).codec == probe(target).codec
    for x, y in zip(read_all(source), read_all(target), strict=True):
        assert x.time == y.time
        error = to_rgb(x).astype(float) - to_rgb(y)
        assert np.sqrt(np.square(error).mean()) < 3.2  # 38 dB


def test_crf_is_obeyed(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", make_frames(12, width=128, height=96))
    sizes = []
    for crf in (10, 40):
        copy_video(source, tmp_path / "b.mkv", crf=crf, overwrite=True)
        sizes.append((tmp_path / "b.mkv").stat().st_size)
    assert sizes[0] > 1.5 * sizes[1]


def test_presets_are_those_of_the_command_line() -> None:
    assert tuple(PaceName) == PRESETS


@pytest.mark.parametrize(
    ("codec", "suffix", "told"),
    [
        ("libx264", "mkv", "preset=ultrafast"),
        ("libx265", "mkv", "preset=ultrafast"),
        ("libvpx-vp9", "webm", "cpu-used=8, row-mt=1, crf=18"),
        ("libvpx", "webm", "cpu-used=12"),
        ("libsvtav1", "mkv", "preset=12"),
    ],
)
def test_a_preset_is_named_in_the_encoders_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, codec: str, suffix: str, told: str
) -> None:
    source = write_clip(tmp_path / f"a.{suffix}", make_frames(8, width=128, height=96), codec=codec)
    target = tmp_path / f"b.{suffix}"
    with caplog.at_level("INFO", logger="framepred"):
        copy_video(source, target, preset="ultrafast")
    assert told in caplog.text
    assert len(read_all(target)) == 8


@pytest.mark.parametrize(
    ("codec", "search"), [("libx264", (b"me=hex", b"me=dia")), ("libx265", (b"me=1", b"me=0"))]
)
def test_a_preset_decides_how_the_encoder_works(
    tmp_path: Path, codec: str, search: tuple[bytes, bytes]
) -> None:
    # x264 and x265 write their settings into the stream, such as how motion is searched for.
    source = write_clip(tmp_path / "a.mkv", make_frames(8, width=128, height=96), codec=codec)
    usual, fastest = search
    for preset, there, not_there in ((None, usual, fastest), ("ultrafast", fastest, usual)):
        copy_video(source, tmp_path / "b.mkv", preset=preset, overwrite=True)
        written = (tmp_path / "b.mkv").read_bytes()
        assert there + b" " in written
        assert not_there + b" " not in written


def test_without_loss_a_preset_changes_no_sample(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", make_frames(8, width=128, height=96))
    target = tmp_path / "b.mkv"
    copy_video(source, target, lossless=True, preset="ultrafast")
    assert read_digests(target) == read_digests(source)


def test_made_frames_take_their_place(tmp_path: Path) -> None:
    source, pictures = write_gappy_clip(tmp_path / "a.mkv", 16, [5, 6], b_frames=2, audio=True)
    target = tmp_path / "b.mkv"
    with (
        VideoReader(source, copy_streams=True) as reader,
        VideoWriter(target, like=reader, encoding=Encoding(lossless=True)) as writer,
    ):
        for item in reader.read():
            if not isinstance(item, Frame):
                writer.copy(item)
                continue
            if item.index == 5:
                for slot in (5, 6):
                    writer.write(from_rgb(pictures[slot], like=item, time=Fraction(slot, 25)))
            writer.write(item)
    assert writer.n_frames == 16
    assert writer.n_streams_copied == 1
    frames = read_all(target)
    assert [f.time for f in frames] == make_times(16)
    kept = dict(read_planes(source))
    made = dict(read_planes(target))
    assert all(made[time] == digest for time, digest in kept.items())
    for slot in (5, 6):  # 4:2:0 and 8 bits on the way
        assert np.abs(to_rgb(frames[slot]).astype(int) - pictures[slot]).mean() < 2


def test_the_file_ends_when_the_original_ends(tmp_path: Path, ffprobe: Ffprobe) -> None:
    times = [*make_times(10), Fraction(11, 25)]  # the last frame comes late and stays 1/25 s
    source = write_clip(tmp_path / "a.mp4", 11, times=times, b_frames=2)
    copy_video(source, tmp_path / "b.mp4")
    a, b = ffprobe(source), ffprobe(tmp_path / "b.mp4")
    assert b["streams"][0]["duration"] == a["streams"][0]["duration"]


@pytest.mark.parametrize("codec", ["mp3", "ac3"])
def test_sound_of_uneven_packets_is_no_row_of_blocks_in_avi(tmp_path: Path, codec: str) -> None:
    """Players count packets by the size of a block that the header gives; FFmpeg's tool gives 0."""
    source = tmp_path / "a.avi"
    with av.open(str(source), "w") as container:
        assert isinstance(container, av.container.OutputContainer)
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream(codec if codec == "ac3" else "libmp3lame", rate=48_000)
        sound.layout = "mono"
        for k, image in enumerate(make_frames(10)):
            frame = av.VideoFrame.from_ndarray(image[:48, :64].copy(), format="rgb24")
            frame.pts = k
            container.mux(video.encode(frame))
            samples = np.sin(np.arange(1920, dtype=np.float32) / 9)[None]
            tone = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            tone.sample_rate, tone.pts = 48_000, 1920 * k
            container.mux(sound.encode(tone))
        container.mux([*video.encode(None), *sound.encode(None)])
    copy_video(source, tmp_path / "b.avi")

    def read_header(path: Path) -> tuple[int, int]:
        data = path.read_bytes()
        header = data[data.index(b"auds") :][:56]
        return struct.unpack_from("<I", header, 32)[0], struct.unpack_from("<I", header, 44)[0]

    n_packets = len(read_packets(tmp_path / "b.avi")[1])
    assert n_packets == len(read_packets(source)[1]) > 5
    assert read_header(tmp_path / "b.avi") == read_header(source) == (n_packets, 0)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "is_kept"),
    [
        ("b.mkv", "ffv1", "yuv420p", True),
        ("b.mkv", "libvpx-vp9", "yuv420p", True),
        ("b.webm", "libvpx-vp9", "yuv420p", True),
        ("b.mkv", "libsvtav1", "yuv420p", True),
        ("b.mkv", "libx264", "yuv420p", True),
        ("b.mov", "prores_ks", "yuv422p10le", True),
        ("b.avi", "huffyuv", "yuv422p", False),
        ("b.avi", "mpeg4", "yuv420p", True),
    ],
)
def test_a_pixel_aspect_is_kept_or_named(
    ffprobe: Any, tmp_path: Path, name: str, codec: str, pix_fmt: str, is_kept: bool
) -> None:
    source = write_clip(tmp_path / "a.mov", 4, pix_fmt=pix_fmt, sample_aspect_ratio=Fraction(5, 4))
    writer = copy_video(source, tmp_path / name, codec=codec)
    found = ffprobe(tmp_path / name)["streams"][0].get("sample_aspect_ratio", "N/A")
    assert (found == "5:4") == is_kept
    told = [loss for loss in writer.left_out if loss.startswith("pixel aspect ratio 5/4")]
    assert bool(told) != is_kept


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_hevc_has_the_name_that_all_players_take(tmp_path: Path, suffix: str) -> None:
    source = write_clip(tmp_path / "a.mkv", 4, codec="libx265")
    copy_video(source, tmp_path / f"b{suffix}")
    with av.open(str(tmp_path / f"b{suffix}")) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"
        assert len(list(container.decode(video=0))) == 4


def test_packets_of_cameras_keep_the_clock_before_them(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.m2ts", 6, audio=True)
    shutil.copyfile(source, tmp_path / "a.MTS")
    plain = write_clip(tmp_path / "plain.ts", 6)
    shutil.copyfile(plain, tmp_path / "plain.mts")
    for name, first in (("a.m2ts", 4), ("a.MTS", 4), ("plain.mts", 0)):
        copy_video(tmp_path / name, target := tmp_path / f"b-{name}")
        for path in (tmp_path / name, target):
            assert [k for k in (0, 4) if path.read_bytes()[k] == 0x47] == [first]
        assert len(read_planes(target)) == 6


def test_what_a_phone_says_of_place_and_camera_is_kept(tmp_path: Path) -> None:
    source = tmp_path / "a.mov"
    tags = {
        "com.apple.quicktime.location.ISO6709": "+48.1+011.5/",
        "com.apple.quicktime.make": "Apple",
        "title": "A title",
    }
    with av.open(
        str(source), "w", container_options={"movflags": "use_metadata_tags"}
    ) as container:
        assert isinstance(container, av.container.OutputContainer)
        container.metadata.update(tags)
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for k, image in enumerate(make_frames(3)):
            frame = av.VideoFrame.from_ndarray(image[:48, :64].copy(), format="rgb24")
            frame.pts = k
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    copy_video(source, tmp_path / "b.mov")
    with av.open(str(tmp_path / "b.mov")) as container:
        assert container.metadata.items() >= tags.items()


@pytest.mark.parametrize("codec", ["prores_ks", "libx264"])
def test_interlacing_is_kept(ffprobe: Any, tmp_path: Path, codec: str) -> None:
    source = tmp_path / "a.mov"
    with av.open(str(source), "w") as container:
        assert isinstance(container, av.container.OutputContainer)
        video = container.add_stream(codec, rate=25)
        context = video.codec_context
        context.width, context.height = 64, 48
        context.pix_fmt = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
        context.flags |= av.codec.context.Flags.interlaced_dct
        context.field_order = 2  # top field first
        for k, image in enumerate(make_frames(4)):
            frame = av.VideoFrame.from_ndarray(image[:48, :64].copy(), format="rgb24")
            frame.pts = k
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    assert probe(source).interlaced
    writer = copy_video(source, tmp_path / "b.mov")
    assert writer.left_out == ()
    assert probe(tmp_path / "b.mov").interlaced
    both = (source, tmp_path / "b.mov")
    orders = [ffprobe(path)["streams"][0].get("field_order") for path in both]
    assert orders[0] == orders[1] != "progressive"
    writer = copy_video(source, tmp_path / "b.mkv", codec="libx265")
    assert writer.left_out == ("the mark of interlacing (libx265 sets none)",)


def test_what_a_transport_stream_does_not_hold_is_named(tmp_path: Path) -> None:
    source = write_clip(
        tmp_path / "a.mkv", 6, audio=True, subtitles=TEXTS, chapters=True, attachment=b"a font",
        rotation=90,
    )  # fmt: skip
    writer = copy_video(source, tmp_path / "b.ts")
    assert writer.n_streams_copied == 1
    for word in ("subrip)", "chapters", "(attachment", "rotation (90"):
        assert sum(word in loss for loss in writer.left_out) == 1, word
    assert len(writer.left_out) == 4
    with av.open(str(tmp_path / "b.ts")) as container:
        assert sorted(stream.type for stream in container.streams) == ["audio", "video"]


def test_a_rotation_that_a_container_lacks_is_named(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 4, rotation=90)
    assert copy_video(source, tmp_path / "b.avi").left_out == ("rotation (90 degrees)",)
    assert copy_video(source, tmp_path / "b.mkv").left_out == ()


def test_an_alpha_channel_that_is_not_decoded_is_named(tmp_path: Path) -> None:
    source = tmp_path / "a.webm"
    with av.open(str(source), "w") as container:
        assert isinstance(container, av.container.OutputContainer)
        video = container.add_stream("libvpx-vp9", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuva420p"
        video.metadata["alpha_mode"] = "1"
        for k in range(3):
            frame = av.VideoFrame(64, 48, "yuva420p")
            for plane in frame.planes:
                plane.update(bytes([90 + k]) * plane.buffer_size)
            frame.pts = k
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    writer = copy_video(source, tmp_path / "b.webm")
    assert writer.left_out == ("the alpha channel (FFmpeg's own decoder of this codec gives none)",)
    with av.open(str(tmp_path / "b.webm")) as container:
        assert "alpha_mode" not in {key.lower() for key in container.streams.video[0].metadata}


def test_a_sound_codec_is_no_encoder_of_pictures(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", 3)
    with pytest.raises(OutputError, match="no encoder for aac"):
        copy_video(source, tmp_path / "b.mkv", codec="aac")
    assert not (tmp_path / "b.mkv").exists()


def test_a_frame_shown_again_lasts_as_long_as_before(ffprobe: Any, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 3, time_base=Fraction(1, 90_000))
    with VideoReader(source) as reader:
        frame = next(iter(reader.read()))
        assert frame.duration == Fraction(1, 25)
        fine = Fraction(1, 450_000)
        with VideoWriter(tmp_path / "b.mp4", like=reader, time_base=fine) as writer:
            for k in range(6):
                writer.write(dataclasses.replace(frame, time=Fraction(2 * k)))
    (stream,) = ffprobe(tmp_path / "b.mp4")["streams"]
    assert float(stream["duration"]) == pytest.approx(10.04, abs=1e-6)


def test_two_frames_of_one_time_are_refused(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", 3)
    with VideoReader(source) as reader:
        frame = next(iter(reader.read()))
        with VideoWriter(tmp_path / "b.mkv", like=reader) as writer:
            writer.write(frame)
            again = from_rgb(to_rgb(frame), like=frame, time=frame.time)
            with pytest.raises(OutputError, match="is more than can be written"):
                writer.write(dataclasses.replace(again, time=Fraction(2**62)))
            with pytest.raises(ValueError, match="not after"):
                writer.write(again)


def test_exceptions_leave_nothing_behind(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 5, audio=True)

    def interrupt() -> None:
        with (
            VideoReader(source, copy_streams=True) as reader,
            VideoWriter(tmp_path / "b.mp4", like=reader) as writer,
        ):
            writer.write(next(f for f in reader.read() if isinstance(f, Frame)))
            assert not (tmp_path / "b.mp4").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4"]


def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", 5)
    target = tmp_path / "b.mkv"
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists already"):
        copy_video(source, target)
    with (
        VideoReader(source) as reader,
        VideoWriter(target, like=reader, overwrite=True) as writer,
    ):
        for frame in reader.read():
            writer.write(frame)
        assert target.read_bytes() == b"old"
    assert len(read_all(target)) == 5


@pytest.mark.parametrize("ending", ["avi", "flv"])
def test_times_that_a_container_cannot_tell_apart(tmp_path: Path, ending: str) -> None:
    times = [Fraction(0), Fraction(1, 25), Fraction(1, 25) + Fraction(1, 90_000), Fraction(1, 5)]
    source = write_clip(tmp_path / "a.mp4", 4, times=times)
    with pytest.raises(OutputError, match=r"counts in steps of .* write .mp4 or .mov"):
        copy_video(source, tmp_path / f"b.{ending}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4"]


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    source, target = write_clip(tmp_path / "a.mkv", 3), tmp_path / "b.mkv"

    def copy_slowly(*, overwrite: bool) -> None:
        with (
            VideoReader(source) as reader,
            VideoWriter(target, like=reader, overwrite=overwrite) as writer,
        ):
            for frame in reader.read():
                writer.write(frame)
            target.write_bytes(b"of another program")

    with pytest.raises(OutputError, match="exists already"):
        copy_slowly(overwrite=False)
    assert target.read_bytes() == b"of another program"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mkv", "b.mkv"]
    copy_slowly(overwrite=True)
    assert len(read_all(target)) == 3


def test_an_output_behind_a_link_is_written_there(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", 3)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "old.mkv").write_bytes(b"old")
    link = tmp_path / "b.mkv"
    link.symlink_to(folder / "old.mkv")
    copy_video(source, link, overwrite=True)
    assert link.is_symlink()
    assert len(read_all(folder / "old.mkv")) == 3
    assert [path.name for path in folder.iterdir()] == ["old.mkv"]


@pytest.mark.parametrize("link", ["same", "symlink", "hardlink"])
def test_the_input_is_never_the_output(tmp_path: Path, link: str) -> None:
    source = write_clip(tmp_path / "a.mkv", 3)
    before = source.read_bytes()
    target = source if link == "same" else tmp_path / "b.mkv"
    if link == "symlink":
        target.symlink_to(source)
    elif link == "hardlink":
        target.hardlink_to(source)
    with pytest.raises(OutputError, match="the input itself"):
        copy_video(source, target, overwrite=True)
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("b", {}, "make the folder first"),
        ("b.png", {}, "no video container"),
        ("b.m3u8", {}, "no video container"),  # those that are many files
        ("b.mpd", {}, "no video container"),
        ("none/b.mkv", {}, "there is no folder"),
        ("b.webm", {}, "cannot hold h264; use --codec libvpx-vp9"),
        ("b.mkv", {"codec": "nonsense"}, "no encoder for nonsense; use --codec libx264"),
        ("b.mkv", {"codec": "mpeg4", "lossless": True}, "no lossless mode"),
        ("b.mkv", {"codec": "ffv1", "crf": 20}, "has no crf"),
        ("b.mkv", {"crf": 99}, "from 0 to 51"),
        ("b.mkv", {"codec": "ffv1", "preset": "fast"}, "ffv1 has no presets; leave --preset out"),
        ("b.mkv", {"preset": "quick"}, "no preset 'quick'; use one of ultrafast, "),
    ],
)
def test_impossible_outputs_fail_at_once(
    tmp_path: Path, name: str, options: dict[str, Any], words: str
) -> None:
    source = write_clip(tmp_path / "a.mkv", 3)
    with VideoReader(source) as reader, pytest.raises(OutputError, match=words) as caught:
        VideoWriter(tmp_path / name, like=reader, encoding=Encoding(**options))
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mkv"]


@pytest.mark.skipif(os.name != "posix", reason="folders of other systems have other rights")
def test_unwritable_folder_is_an_output_error(tmp_path: Path, monkeypatch: Any) -> None:
    source = write_clip(tmp_path / "a.mkv", 3)
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):  # root may write everywhere

        def refuse(*_: object) -> int:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
    with VideoReader(source) as reader, pytest.raises(OutputError, match="Permission denied"):
        VideoWriter(folder / "b.mkv", like=reader)


FULL_DISK = """
import resource, signal, sys
sys.path[:0] = [{root!r}, {tests!r}]
from test_video import copy_video
from framepred.errors import OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    copy_video(__import__("pathlib").Path({source!r}), __import__("pathlib").Path({target!r}))
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit on the size of files")
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("limit", [0, 3_000, 20_000])
def test_a_full_disk_is_one_clear_line(tmp_path: Path, suffix: str, limit: int) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    source = write_clip(tmp_path / f"a{suffix}", make_frames(40, width=320, height=240), audio=True)
    script = FULL_DISK.format(
        root=str(Path(__file__).parents[1]),
        tests=str(Path(__file__).parent),
        limit=limit,
        source=str(source),
        target=str(folder / f"b{suffix}"),
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r".*b\.\w+: the (disk is full|file grows).*\n", done.stdout), done
    assert list(folder.iterdir()) == []


def test_killed_halfway_leaves_no_output(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    source = write_clip(tmp_path / "a.mkv", 10)
    script = (
        "import os, sys\n"
        f"sys.path[:0] = [{str(Path(__file__).parents[1])!r}]\n"
        "from framepred.video import VideoReader, VideoWriter\n"
        f"reader = VideoReader({str(source)!r})\n"
        f"writer = VideoWriter({str(folder / 'b.mkv')!r}, like=reader)\n"
        "for frame in reader.read():\n"
        "    writer.write(frame)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -9
    names = [p.name for p in folder.iterdir()]
    assert len(names) == 1
    assert re.fullmatch(r"\.b\.mkv\.[0-9a-f]{8}\.part", names[0])


def test_a_change_of_size_stops_the_writer(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "a.ts", make_frames(6, width=64, height=48))
    large = write_clip(tmp_path / "b.ts", make_frames(6, width=96, height=64))
    both = tmp_path / "c.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.raises(MediaError, match="changes from 64x48 to 96x64"):
        copy_video(both, tmp_path / "d.ts")
    assert not (tmp_path / "d.ts").exists()


def test_packets_that_stand_still_are_moved(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", 10, audio=True)
    with (
        VideoReader(source, copy_streams=True) as reader,
        VideoWriter(tmp_path / "b.mp4", like=reader) as writer,
    ):
        for item in reader.read():
            if isinstance(item, Frame):
                writer.write(item)
            else:
                if item.dts > 100:
                    item.dts = item.pts = 100
                writer.copy(item)
    rows = read_packets(tmp_path / "b.mp4")[1]
    assert len(rows) == len(read_packets(source)[1])
    stamps = [row[1] for row in rows]
    assert all(a < b for a, b in pairwise(stamps))


def test_no_frame_is_no_file(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", 3)
    with (
        pytest.raises(OutputError, match="no frame"),
        VideoReader(source) as reader,
        VideoWriter(tmp_path / "b.mkv", like=reader),
    ):
        pass
    assert not (tmp_path / "b.mkv").exists()


@pytest.mark.parametrize("first", [0, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_awkward_files_are_copied_or_refused(awkward: Path, tmp_path: Path, first: int) -> None:
    """Small files: frames, times and other packets survive, or one clear line says why not."""
    wrong = []
    n_copied = 0
    for source in sorted(awkward.iterdir())[first::2]:
        # The times of MXF start at 0 whatever one writes; damage decodes differently with threads.
        if source.suffix == ".mxf" or source.name in ("no_timescale.mp4", "cursed-vfr.mp4"):
            continue
        if probe_size(source) > 400_000:
            continue
        target = tmp_path / f"out{source.suffix}"
        target.unlink(missing_ok=True)
        try:
            copy_video(source, target, lossless=True)
        except (MediaError, OutputError) as error:
            if "\n" in str(error) or target.exists():
                wrong.append(f"{source.name}: {error}")
            continue
        n_copied += 1
        if read_digests(source) != read_digests(target):
            wrong.append(f"{source.name}: the frames differ")
    assert not wrong
    assert n_copied > 15


def probe_size(path: Path) -> int:
    """Pixels of a frame, 0 for what is no video."""
    try:
        info = probe(path)
    except MediaError:
        return 0
    return info.width * info.height


MEMORY = """
import resource, sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from test_video import copy_video
from framepred.video import VideoReader, to_rgb, read_thumbnail
with VideoReader({source!r}) as reader:
    for frame in reader.read():
        to_rgb(frame), read_thumbnail(frame)
copy_video(Path({source!r}), Path({target!r}), overwrite=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    peaks = []
    for n in (80, 320):
        pictures = make_frames(16, width=320, height=240)
        source = write_clip(tmp_path / f"{n}.mkv", [pictures[i % 16] for i in range(n)])
        script = MEMORY.format(
            root=str(Path(__file__).parents[1]),
            tests=str(Path(__file__).parent),
            source=str(source),
            target=str(tmp_path / "out.mkv"),
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.1 * peaks[0]


# Colour

WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
FORMATS = [
    "yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv444p12le",
]  # fmt: skip


def make_native(pix_fmt: str, width: int, height: int, space: int, span: int) -> av.VideoFrame:
    native = av.VideoFrame(width, height, pix_fmt)
    for plane in native.planes:
        plane.update(bytes(plane.buffer_size))
    native.colorspace, native.color_range = space, span
    return native


def read_samples(native: av.VideoFrame) -> list[np.ndarray]:
    bits = max(c.bits for c in native.format.components)
    dtype = np.dtype("<u2" if bits > 8 else np.uint8)
    return [
        np.frombuffer(p, dtype).reshape(-1, p.line_size // dtype.itemsize)[: p.height, : p.width]
        for p in native.planes
    ]


def expect_yuv(
    rgb: np.ndarray, space: int, span: int, bits: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The textbook's formula, for RGB in 0..1; unrounded code values."""
    kr, kb = WEIGHTS[space]
    red, green, blue = (rgb[..., i] for i in range(3))
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
    if span == 2:
        top = 2**bits - 1
        return luma * top, cb * top + 2 ** (bits - 1), cr * top + 2 ** (bits - 1)
    unit = 2 ** (bits - 8)
    return (16 + 219 * luma) * unit, (128 + 224 * cb) * unit, (128 + 224 * cr) * unit


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize("space", [1, 6, 9])
@pytest.mark.parametrize("span", [1, 2], ids=["limited", "full"])
def test_constant_colours_have_no_bias(pix_fmt: str, space: int, span: int) -> None:
    like = Frame(make_native(pix_fmt, 16, 8, space, span), Fraction(0), 0)
    bits = like.native.format.components[0].bits
    for colour in [(0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 40, 90), (10, 250, 30)]:
        image = np.full((8, 16, 3), colour, np.uint8)
        made = from_rgb(image, like=like, time=Fraction(1))
        assert made.time == 1
        expected = expect_yuv(image / 255, space, span, bits)
        for plane, wanted in zip(read_samples(made.native), expected, strict=True):
            # A full-range chroma of +0.5 has no code: the largest code stands for it.
            limit = min(wanted[0, 0], 2**bits - 1)
            assert np.abs(plane - limit).max() <= 0.5 + 1e-3 * 2 ** (bits - 8)
        back = to_rgb(made)
        top = 255 if back.dtype == np.uint8 else 65535
        assert np.abs(back / top * 255 - image).max() <= (1.5 if bits == 8 else 0.5)


@pytest.mark.parametrize("pix_fmt", [*FORMATS, "yuv411p", "yuv440p", "gray", "gray10le", "gbrp"])
@pytest.mark.parametrize("space", [1, 6])
@pytest.mark.parametrize("span", [1, 2], ids=["limited", "full"])
@pytest.mark.parametrize("size", [(64, 48), (61, 47)], ids=["even", "odd"])
def test_pictures_survive_rgb(pix_fmt: str, space: int, span: int, size: tuple[int, int]) -> None:
    """Native -> RGB -> native: no bias in any plane, luma within a code value."""
    like = Frame(make_native(pix_fmt, *size, space, span), Fraction(0), 0)
    texture = make_texture(*size, seed=3) // 2 + 64
    first = from_rgb(texture, like=like, time=Fraction(0))
    again = from_rgb(to_rgb(first), like=first, time=Fraction(0))
    for x, y in zip(read_samples(first.native), read_samples(again.native), strict=True):
        error = y.astype(float) - x
        assert abs(error.mean()) < 0.1
        assert np.abs(error).max() <= 1


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv420p10le"])
def test_natural_colour_is_unbiased(pix_fmt: str) -> None:
    """RGB -> native -> RGB: chroma is blurred, but neither brighter nor darker nor tinted."""
    like = Frame(make_native(pix_fmt, 96, 64, 1, 1), Fraction(0), 0)
    texture = make_texture(96, 64, seed=5) // 2 + 64
    back = to_rgb(from_rgb(texture, like=like, time=Fraction(0)))
    error = back / (255 if back.dtype == np.uint8 else 65535) * 255 - texture
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.25
    assert np.abs(error).mean() < 1


@pytest.mark.parametrize("pix_fmt", ["nv12", "yuyv422", "uyvy422", "yuv420p10be", "p010le", "nv16"])
def test_other_layouts_hold_the_same_samples(pix_fmt: str) -> None:
    bits = 10 if "10" in pix_fmt else 8
    step = "422" if "422" in pix_fmt or pix_fmt == "nv16" else "420"
    planar = f"yuv{step}p" + ("10le" if bits == 10 else "")
    texture = make_texture(64, 48, seed=2)
    images = []
    for name in (pix_fmt, planar):
        like = Frame(make_native(name, 64, 48, 1, 1), Fraction(0), 0)
        images.append(to_rgb(from_rgb(texture, like=like, time=Fraction(0))))
    assert np.array_equal(*images)


def test_alpha_is_kept() -> None:
    native = make_native("yuva420p", 16, 8, 1, 1)
    alpha = np.random.default_rng(0).integers(0, 256, native.planes[3].buffer_size, np.uint8)
    native.planes[3].update(alpha.tobytes())
    like = Frame(native, Fraction(0), 0)
    made = from_rgb(np.zeros((8, 16, 3), np.uint8), like=like, time=Fraction(0))
    assert np.array_equal(read_samples(made.native)[3], read_samples(native)[3])


def test_deep_pictures_are_16_bits() -> None:
    like = Frame(make_native("yuv444p10le", 8, 8, 1, 1), Fraction(0), 0)
    white = from_rgb(np.full((8, 8, 3), 65535, np.uint16), like=like, time=Fraction(0))
    image = to_rgb(white)
    assert image.dtype == np.uint16
    assert image.min() == image.max() == 65535
    assert read_samples(white.native)[0].max() == 940


def test_untagged_pictures_follow_their_height() -> None:
    red = np.zeros((8, 16, 3), np.uint8)
    red[..., 0] = 255
    small = Frame(make_native("yuv444p", 16, 8, 2, 0), Fraction(0), 0)
    assert read_samples(from_rgb(red, like=small, time=Fraction(0)).native)[0][0, 0] == 81
    tall = Frame(make_native("yuv444p", 16, 720, 2, 0), Fraction(0), 0)
    red = np.repeat(red, 90, axis=0)
    assert read_samples(from_rgb(red, like=tall, time=Fraction(0)).native)[0][0, 0] == 63


def test_images_of_another_size_are_refused() -> None:
    like = Frame(make_native("yuv420p", 16, 8, 1, 1), Fraction(0), 0)
    with pytest.raises(ValueError, match=r"\(8, 16, 3\)"):
        from_rgb(np.zeros((8, 8, 3), np.uint8), like=like, time=Fraction(0))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "rgb24", "gray"])
def test_thumbnails_average_blocks(pix_fmt: str) -> None:
    like = Frame(make_native(pix_fmt, 64, 48, 1, 1), Fraction(0), 0)
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, 32:] = 255
    frame = from_rgb(picture, like=like, time=Fraction(0))
    small = read_thumbnail(frame, width=16)
    assert small.shape == (12, 16)
    assert small.dtype == np.float32
    assert np.abs(small[:, :8]).max() < 0.5
    assert np.abs(small[:, 8:] - 255).max() < 0.5


def test_open_rgb_frames_is_to_rgb(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", 5, codec="ffv1", pix_fmt="yuv444p10le")
    images = list(open_rgb_frames(path))
    assert [i.shape for i in images] == [(48, 64, 3)] * 5
    assert all(i.dtype == np.uint8 for i in images)
    for image, frame in zip(images, read_all(path), strict=True):
        assert np.abs(to_rgb(frame) / 257 - image).max() <= 0.51


def test_a_clock_too_coarse_for_the_frames_is_refused(tmp_path: Path) -> None:
    fast = write_clip(tmp_path / "fast.mp4", 8, rate=4000, time_base=Fraction(1, 16000))
    with pytest.raises(OutputError, match=r"steps of 1/1000 s.*write \.mp4 or \.mov"):
        copy_video(fast, tmp_path / "out.mkv", codec="ffv1")
    assert [path.name for path in tmp_path.iterdir()] == ["fast.mp4"]
    copy_video(fast, tmp_path / "out.mov")
    assert len({frame.time for frame in read_all(tmp_path / "out.mov")}) == 8


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_what_begins_before_0_is_whole(
    tmp_path: Path, ffmpeg: str, ffprobe: Ffprobe, suffix: str
) -> None:
    """As a transport stream does that begins a little before its clock turns over."""
    source, target = tmp_path / "a.ts", tmp_path / f"b.{suffix}"
    picture = "testsrc2=s=128x96:r=25:d=2"
    wrapping = ["-output_ts_offset", "95442.5", "-mpegts_copyts", "1"]
    subprocess.run(
        [ffmpeg, "-v", "error", "-f", "lavfi", "-i", picture, "-bf", "2", *wrapping, str(source)],
        check=True,
    )
    assert (probe(source).start or 0) < 0
    writer = copy_video(source, target)
    assert any("times before 0" in loss for loss in writer.left_out)
    first, second = read_all(source), read_all(target)
    assert len(first) == len(second) == 50
    steps = [{b.time - a.time for a, b in pairwise(frames)} for frames in (first, second)]
    assert steps[0] == steps[1] == {Fraction(1, 25)}
    assert ffprobe(target)["streams"][0]["nb_read_frames"] == "50"


@pytest.mark.parametrize("start", [Fraction(601) + Fraction(1, 3), Fraction(7, 5), Fraction(0)])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "nut", "ts"])
def test_the_clock_of_a_transport_stream_begins_anew_elsewhere(
    tmp_path: Path, ffprobe: Ffprobe, suffix: str, start: Fraction
) -> None:
    """All streams move alike; players would show nothing until the time of the start."""
    source, target = tmp_path / "a.ts", tmp_path / f"b.{suffix}"
    times = [start + t for t in make_times(30, holes=[11])]
    base = Fraction(1, 90_000)
    write_clip(source, make_frames(29), times=times, time_base=base, audio=True, b_frames=2)
    copy_video(source, target, begin=start)

    streams = [
        [Fraction(stream["start_time"]) for stream in ffprobe(path)["streams"]]
        for path in (source, target)
    ]
    moved = [before - after for before, after in zip(*streams, strict=True)]
    tick = 1e-3 if suffix in ("mkv", "nut") else 1 / 90_000
    assert float(moved[0]) == pytest.approx(float(moved[1]), abs=tick + 2e-6)
    if suffix == "ts":
        assert moved[0] == 0
    else:
        assert 0 <= min(streams[1]) < 0.01 + tick
    steps = [[b.time - a.time for a, b in pairwise(read_all(path))] for path in (source, target)]
    assert [float(step) for step in steps[1]] == pytest.approx(
        [float(step) for step in steps[0]], abs=tick
    )


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("work", ["fill", "rate", "forecast"])
def test_frames_before_the_first_key_frame_are_not_lost(
    tmp_path: Path, ffmpeg: str, ffprobe: Ffprobe, suffix: str, work: str
) -> None:
    """Of a broadcast cut at an open group the first pictures are made, before its first time."""
    whole, source, target = tmp_path / "a.ts", tmp_path / "b.ts", tmp_path / f"c.{suffix}"
    picture = ["-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=4"]
    coded = ["-c:v", "mpeg2video", "-bf", "2", "-g", "12", "-output_ts_offset", "900"]
    cut = ["-map", "0:v", "-c", "copy", "-copyts", "-mpegts_copyts", "1"]
    for arguments in (
        [*picture, *coded, str(whole)],
        ["-ss", "1", "-i", str(whole), *cut, str(source)],
    ):
        subprocess.run([ffmpeg, "-v", "error", *arguments], check=True)
    predictor: Any = BlendPredictor()
    if work == "fill":
        report: Any = fill_gaps(source, target, predictor=predictor)
        assert report.gaps[0].start == 0
        n_expected = report.frames_in + report.frames_made
    elif work == "rate":
        report = interpolate(source, target, times=2, predictor=predictor)
        n_expected = report.frames_kept + report.frames_made + report.frames_held[0].frames
    else:
        report = forecast(source, target, n_frames=2, predictor=predictor)
        n_expected = len(read_all(source)) + 2
    frames = read_all(target)
    assert len(frames) == n_expected
    assert 0 <= frames[0].time < Fraction(1, 50)
    assert ffprobe(target)["streams"][0]["nb_read_frames"] == str(n_expected)


@pytest.mark.parametrize(
    ("name", "container"), [("a.mk3d", "matroska,webm"), ("a.tp", "mpegts"), ("a.trp", "mpegts")]
)
def test_rarer_endings_of_the_input_are_kept(tmp_path: Path, name: str, container: str) -> None:
    usual = tmp_path / ("a.mkv" if name.endswith("3d") else "a.ts")
    source = write_clip(usual, 4, lossless=False).rename(tmp_path / name)
    target = tmp_path / f"b{source.suffix}"
    copy_video(source, target)
    assert probe(target).container == container
    assert len(read_all(target)) == 4


@pytest.mark.parametrize("suffix", ["flv", "nut"])
def test_nothing_moves_where_decoding_would_begin_before_0(tmp_path: Path, suffix: str) -> None:
    source = write_clip(tmp_path / "a.mkv", 12, lossless=False, b_frames=2)
    target = tmp_path / f"b.{suffix}"
    copy_video(source, target)
    assert [frame.time for frame in read_all(target)] == make_times(12)


@pytest.mark.parametrize("plays", [0, 1, 3])
def test_an_animation_is_played_as_often(tmp_path: Path, plays: int) -> None:
    source, target = tmp_path / "a.apng", tmp_path / "b.apng"
    with av.open(str(source), "w", container_options={"plays": str(plays)}) as container:
        stream = container.add_stream("apng", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "rgb24"
        for image in make_frames(5, width=48, height=32):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    copy_video(source, target)
    written = target.read_bytes()
    place = written.index(b"acTL")
    assert int.from_bytes(written[place + 8 : place + 12], "big") == plays


def test_a_time_code_that_would_be_wrong_is_named(tmp_path: Path, ffmpeg: str) -> None:
    source = tmp_path / "a.mov"
    picture = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=1"]
    subprocess.run(
        [ffmpeg, "-v", "error", *picture, "-timecode", "10:11:12:13", str(source)], check=True
    )
    for is_recounted in (False, True):
        target = tmp_path / f"{is_recounted}.mov"
        with (
            VideoReader(source, copy_streams=True) as reader,
            VideoWriter(target, like=reader, is_recounted=is_recounted) as writer,
        ):
            for item in reader.read():
                if isinstance(item, Frame):
                    writer.write(item)
        with av.open(str(target)) as container:
            codes = {stream.metadata.get("timecode") for stream in container.streams}
        assert codes == ({None} if is_recounted else {"10:11:12:13"})
        assert any("time code" in loss for loss in writer.left_out) == is_recounted
