from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.container import InputContainer, OutputContainer
from blending import BlendPredictor
from synthetic import (
    damage_packets,
    make_frames,
    make_times,
    read_packets,
    read_planes,
    write_clip,
    write_gappy_clip,
)
from typer.testing import CliRunner

from framepred import bitstream
from framepred.cli import app
from framepred.errors import OutputError
from framepred.filling import fill_gaps
from framepred.forecasting import forecast
from framepred.matroska import amend_video
from framepred.metrics import psnr
from framepred.parameter_sets import read_sps
from framepred.reports import CopyReport, FillReport
from framepred.video import open_rgb_frames, probe

HOLES = [14, 15, 32]
N = 48
GOP = 8
X265 = "log-level=none:pools=1"


def make_clip(path: Path, codec: str, **options: Any) -> Path:
    """48 ideal frames without three of them, in groups of eight pictures, and sound."""
    settings: dict[str, Any] = {"b_frames": 2, "gop": GOP, "audio": True, "options": {}, **options}
    if codec == "libx265":
        more = settings["options"].get("x265-params")
        settings["options"] = {"x265-params": f"{X265}:{more}" if more else X265}
    return write_gappy_clip(path, N, HOLES, codec=codec, lossless=False, **settings)[0]


def fill(source: Path, output: Path, **options: Any) -> tuple[FillReport, CopyReport]:
    report = fill_gaps(
        source, output, codec="copy", predictor=BlendPredictor(), self_check=False, **options
    )
    assert report.copied is not None
    return report, report.copied


def is_copied(report: CopyReport, time: Fraction) -> bool:
    return not any(
        part.start <= time and (part.stop is None or time < part.stop) for part in report.stretches
    )


def hash_frames(ffmpeg: str, path: Path) -> list[str]:
    """ffmpeg's digests of the decoded pictures, in order; it must find nothing to complain of."""
    done = subprocess.run(
        [
            *(ffmpeg, "-v", "error", "-xerror", "-i", str(path), "-map", "0:v:0"),
            # Else two pictures may fall on one tick of the nominal rate.
            *("-fps_mode", "passthrough", "-enc_time_base", "1:90000", "-f", "framemd5", "-"),
        ],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    return [line.rpartition(",")[2].strip() for line in lines]


def check_order(path: Path) -> None:
    """By ffprobe, decoding times increase, and no picture is shown before it is decoded."""
    done = subprocess.run(
        [
            *("ffprobe", "-v", "error", "-select_streams", "v:0"),
            *("-show_entries", "packet=pts,dts", "-of", "json", str(path)),
        ],
        capture_output=True,
        check=True,
    )
    packets = json.loads(done.stdout)["packets"]
    known = [(int(p["dts"]), int(p["pts"])) for p in packets if "dts" in p]
    assert len(known) >= len(packets) - 8  # Matroska keeps none: the reader leaves the first open
    assert all(a < b for (a, _), (b, _) in pairwise(known))
    assert all(dts <= pts for dts, pts in known)


def check(ffmpeg: str, source: Path, output: Path, report: CopyReport) -> None:
    """It plays; what is said to be copied is, as packets and as what comes out of a decoder."""
    check_order(output)
    before, after = read_planes(source), read_planes(output)
    hashes = dict(zip([t for t, _ in before], hash_frames(ffmpeg, source), strict=True))
    times = [time for time, _ in after]
    for time, digest in zip(times, hash_frames(ffmpeg, output), strict=True):
        assert not is_copied(report, time) or digest == hashes[time], f"at {time}"
    assert sum(is_copied(report, time) for time in times) == report.packets_copied
    copied = {(time, planes) for time, planes in after if is_copied(report, time)}
    assert set(before) >= copied
    old = {row[3] for row in read_packets(source)[0]}
    n_same = sum(row[3] in old for row in read_packets(output)[0])
    # A clean random access picture of H.265 behind new pictures becomes a broken link.
    n_entered = len([part for part in report.stretches if part.stop is not None])
    n_changed = n_entered if probe(source).codec == "hevc" else 0
    assert report.packets_copied - n_changed <= n_same <= report.packets_copied


EXHAUSTIVE = [pytest.mark.slow, pytest.mark.exhaustive]
VARIABLE = [Fraction(n, 25) for n in (*range(20), *range(20, 80, 2), *range(80, 100))]
SITUATIONS: dict[str, dict[str, Any]] = {
    "no B-frames": {"b_frames": 0},
    "B-frames": {"b_frames": 3},
    "late start": {"start": Fraction(7, 5)},
    "rotated": {"rotation": 90, "sample_aspect_ratio": Fraction(4, 3)},
    "odd size": {"width": 74, "height": 50},
    "10 bits": {"pix_fmt": "yuv420p10le"},
    "4:2:2": {"pix_fmt": "yuv422p"},
    "tagged": {"color_range": 2, "colorspace": 1, "color_primaries": 1, "color_trc": 1},
    "only key frames": {"gop": 1, "b_frames": 0},
}


QUICK = {
    ("late start", "libx264", ".mp4"),
    ("rotated", "libx264", ".mov"),
    ("only key frames", "libx264", ".mkv"),
    ("no B-frames", "libx265", ".mp4"),
    ("odd size", "libx265", ".mp4"),
    ("10 bits", "libx265", ".mkv"),
}


def list_cases() -> Iterator[Any]:
    """Each situation in each codec is always tried in one container, and some in all."""
    cases = product(SITUATIONS, ("libx264", "libx265"), (".mp4", ".mov", ".mkv"))
    for number, case in enumerate(cases):
        is_quick = case in QUICK or case[0] == "B-frames"
        is_spared = number % 3 != number // 3 % 3
        marks = EXHAUSTIVE[: 1 + is_spared]
        yield pytest.param(*case, marks=() if is_quick else marks)


@pytest.mark.parametrize(("situation", "codec", "suffix"), list(list_cases()))
def test_groups_without_a_gap_are_copied(
    tmp_path: Path, ffmpeg: str, codec: str, suffix: str, situation: str
) -> None:
    options = dict(SITUATIONS[situation])
    start = options.pop("start", 0)
    size = {key: options.pop(key) for key in ("width", "height") if key in options}
    source, output = tmp_path / f"clip{suffix}", tmp_path / f"out{suffix}"
    frames = make_frames(N, **size)
    if codec == "libx265":
        options["options"] = {"x265-params": X265}
    write_clip(
        source,
        [frame for i, frame in enumerate(frames) if i not in HOLES],
        times=make_times(N, start=start, holes=HOLES),
        codec=codec,
        lossless=False,
        **{"b_frames": 2, "gop": GOP, "audio": situation == "B-frames", **options},
    )
    report, copied = fill(source, output)

    check(ffmpeg, source, output, copied)
    first = read_planes(source)[0][0]
    times = [time for time, _ in read_planes(output)]
    base = probe(output).time_base
    ideal = [first + time for time in make_times(N)]
    assert all(abs(a - b) <= base / 2 for a, b in zip(times, ideal, strict=True))
    assert report.frames_made == len(HOLES)
    assert sum(part.frames_made for part in copied.stretches) == len(HOLES)
    # At most the groups with a gap are encoded, and in those no frame that comes well before it.
    assert copied.packets_copied >= N - 2 * GOP - 6 - len(HOLES)
    if situation == "only key frames":
        assert copied.frames_reencoded == 0
    old, new = probe(source), probe(output)
    for name in ("rotation", "sample_aspect_ratio", "pix_fmt", "color_range", "colorspace"):
        assert getattr(old, name) == getattr(new, name)
    before, after = read_packets(source), read_packets(output)
    assert {i: rows for i, rows in before.items() if i} == {i: r for i, r in after.items() if i}


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_what_is_encoded_looks_as_without_copying(tmp_path: Path, codec: str) -> None:
    source = make_clip(tmp_path / "clip.mp4", codec)
    _, copied = fill(source, tmp_path / "copied.mp4")
    fill_gaps(source, tmp_path / "all.mp4", predictor=BlendPredictor(), self_check=False)
    ours = list(open_rgb_frames(tmp_path / "copied.mp4"))
    theirs = list(open_rgb_frames(tmp_path / "all.mp4"))
    assert len(ours) == len(theirs) == N
    with av.open(str(tmp_path / "copied.mp4")) as container:
        name: bitstream.Codec = "h264" if codec == "libx264" else "hevc"
        data = container.streams.video[0].codec_context.extradata or b""
    sets = bitstream.parse_header(name, data).sets
    kinds = [read_sps(name, u) for u in sets if bitstream.name_set(name, u)[0] == "sps"]
    # A decoder that has to keep another number of pictures may drop those not shown yet.
    assert len(kinds) == 2
    assert kinds[0] == replace(kinds[1], n_references=kinds[0].n_references)
    encoded = [i for i in range(N) if not is_copied(copied, Fraction(i, 25))]
    assert set(HOLES) < set(encoded)
    assert min(psnr(ours[i], theirs[i]) for i in encoded) > 36
    steps = [np.abs(a.astype(int) - b).mean() for a, b in pairwise(ours)]
    assert max(steps) < 1.5 * sorted(steps)[N // 2]  # nothing jumps at a seam


@pytest.mark.parametrize(
    ("codec", "params"),
    [("libx264", {"x264-params": "open-gop=1"}), ("libx265", {"x265-params": "open-gop=1"})],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_open_groups(
    tmp_path: Path, ffmpeg: str, codec: str, params: dict[str, str], suffix: str
) -> None:
    """H.265 can go on at a key frame that others look across; H.264 has no word for that."""
    source = make_clip(tmp_path / f"clip{suffix}", codec, options=params, b_frames=3)
    output = tmp_path / f"out{suffix}"
    _, copied = fill(source, output)
    check(ffmpeg, source, output, copied)
    if codec == "libx264":
        assert len(copied.stretches) == 1
        assert copied.stretches[0].stop is None
        assert 8 <= copied.packets_copied <= HOLES[0]
    else:
        assert len(copied.stretches) == 2
        assert copied.packets_copied >= N - 2 * GOP - 9


@pytest.mark.parametrize(
    ("codec", "params"),
    [
        ("libx264", {"x264-params": "slices=3:b-pyramid=strict"}),
        ("libx265", {"x265-params": "open-gop=0:radl=2"}),
        ("libx265", {"x265-params": "max-cll=1000,400"}),  # a message among the parameter sets
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("libx265", {"x265-params": "repeat-headers=1:aud=1"}),
                ("libx264", {"x264-params": "nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900:aud=1"}),
                ("libx264", {"qp": "0"}),
            )
        ),
        *(
            pytest.param(*case, marks=EXHAUSTIVE)
            for case in (
                ("libx265", {"x265-params": "bframes=7:b-adapt=0:b-pyramid=1"}),
                ("libx264", {"profile": "baseline", "bf": "0"}),
                ("libx264", {"x264-params": "weightp=2:ref=5:8x8dct=1:cqm=jvt"}),
            )
        ),
    ],
)
def test_ways_of_coding(tmp_path: Path, ffmpeg: str, codec: str, params: dict[str, str]) -> None:
    source = make_clip(tmp_path / "clip.mp4", codec, options=params, b_frames=4)
    _, copied = fill(source, tmp_path / "out.mp4")
    check(ffmpeg, source, tmp_path / "out.mp4", copied)
    assert copied.packets_copied >= N - 2 * GOP - 12


def test_variable_rate_keeps_its_times(tmp_path: Path, ffmpeg: str) -> None:
    source, output = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    write_clip(source, len(VARIABLE), times=VARIABLE, lossless=False, b_frames=2, gop=GOP)
    _, copied = fill(source, output, gaps=["24:26"])
    check(ffmpeg, source, output, copied)
    assert [time for time, _ in read_planes(output)] == VARIABLE


def test_frames_that_are_there_are_replaced(tmp_path: Path, ffmpeg: str) -> None:
    source, output = tmp_path / "clip.mkv", tmp_path / "out.mkv"
    frames = make_frames(N)
    frames[19:22] = [frames[18]] * 3  # frozen
    write_clip(source, frames, lossless=False, b_frames=2, gop=GOP)
    report, copied = fill(source, output)
    assert [(gap.kind, gap.start, gap.stop) for gap in report.gaps] == [("frozen", 19, 22)]
    check(ffmpeg, source, output, copied)
    (part,) = copied.stretches
    assert part.start <= Fraction(19, 25)
    assert part.stop == Fraction(24, 25)


@pytest.mark.slow
@pytest.mark.parametrize("gaps", [["0:1"], ["47:48"], ["1:2", "9:10", "40:42"], ["7:9", "15:17"]])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_gaps_anywhere(tmp_path: Path, ffmpeg: str, codec: str, gaps: list[str]) -> None:
    source, output = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    options = {"x265-params": X265} if codec == "libx265" else {}
    write_clip(source, N, codec=codec, lossless=False, b_frames=2, gop=GOP, options=options)
    _, copied = fill(source, output, gaps=gaps)
    check(ffmpeg, source, output, copied)
    assert [time for time, _ in read_planes(output)] == make_times(N)


@pytest.mark.parametrize(("index", "where"), [(9, "head"), (11, "body"), (16, "head")])
def test_pictures_that_do_not_decode_are_not_copied(
    tmp_path: Path, ffmpeg: str, index: int, where: str
) -> None:
    source, output = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    write_clip(source, N, lossless=False, b_frames=2, gop=GOP, options={"crf": "4"})
    bad = read_packets(source)[0][index][3]
    damage_packets(source, [index], where=where)
    damaged = read_packets(source)[0][index][3]
    assert damaged != bad
    report, copied = fill(source, output)
    assert report.frames_made > 0
    hash_frames(ffmpeg, output)
    assert damaged not in {row[3] for row in read_packets(output)[0]}
    assert copied.packets_copied >= N - 2 * GOP - 4
    other = tmp_path / "other.mp4"
    fill_gaps(source, other, lossless=True, predictor=BlendPredictor(), self_check=False)
    assert [time for time, _ in read_planes(output)] == [time for time, _ in read_planes(other)]


def drop_packets(source: Path, target: Path, indices: set[int]) -> None:
    """Copy a video without some of its coded pictures, whatever looks at them."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        assert isinstance(old, InputContainer)
        assert isinstance(new, OutputContainer)
        stream = old.streams.video[0]
        made = new.add_stream_from_template(stream, opaque=True)
        packets = [packet for packet in old.demux(stream) if packet.size]
        for i, packet in enumerate(packets):
            if i not in indices:
                packet.stream = made
                new.mux_one(packet)


@pytest.mark.parametrize(
    ("codec", "first"),
    [
        ("libx264", 11),
        ("libx265", 11),
        *(
            pytest.param(codec, first, marks=pytest.mark.slow)
            for codec in ("libx264", "libx265")
            for first in (10, 12, 13)
        ),
    ],
)
def test_pictures_that_look_at_lost_ones_are_not_copied(
    tmp_path: Path, ffmpeg: str, codec: str, first: int
) -> None:
    whole, source, output = (tmp_path / f"{name}.mp4" for name in ("whole", "clip", "out"))
    options = {"x265-params": f"{X265}:bframes=3:b-adapt=0"} if codec == "libx265" else {}
    write_clip(whole, N, codec=codec, lossless=False, b_frames=3, gop=GOP, options=options)
    drop_packets(whole, source, {first, first + 1})
    _, copied = fill(source, output)
    hash_frames(ffmpeg, output)
    old = {row[3] for row in read_packets(whole)[0]}
    assert sum(row[3] in old for row in read_packets(output)[0]) >= N - 3 * GOP
    whole_hashes = dict(
        zip([t for t, _ in read_planes(whole)], hash_frames(ffmpeg, whole), strict=True)
    )
    found = zip([t for t, _ in read_planes(output)], hash_frames(ffmpeg, output), strict=True)
    for time, digest in found:  # as in the video from which nothing was lost
        assert not is_copied(copied, time) or digest == whole_hashes[time]


@pytest.mark.slow
def test_a_minute_with_two_short_gaps(tmp_path: Path, ffmpeg: str) -> None:
    source, output = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    holes = [400, 401, 1100]
    kept = 1500 - len(holes)
    frames = make_frames(50)
    write_clip(
        source,
        [frames[i % 50] for i in range(1500) if i not in holes],
        times=make_times(1500, holes=holes),
        lossless=False,
        b_frames=3,
        gop=50,
    )
    fill(source, output)
    old = {row[3] for row in read_packets(source)[0]}
    n_same = sum(row[3] in old for row in read_packets(output)[0])
    assert n_same >= 0.9 * kept
    hash_frames(ffmpeg, output)


# From one container to another, and nothing to fill.


def test_nothing_to_fill_is_copied_whole(tmp_path: Path, ffmpeg: str) -> None:
    source = write_clip(tmp_path / "clip.mkv", N, lossless=False, b_frames=2, gop=GOP)
    same, other = tmp_path / "same.mkv", tmp_path / "other.mp4"
    report = fill_gaps(source, same, codec="copy")
    assert same.read_bytes() == source.read_bytes()
    assert report.copied is None
    report = fill_gaps(source, other, codec="copy")
    assert report.copied == CopyReport(packets_copied=N, frames_reencoded=0, stretches=())
    hash_frames(ffmpeg, other)
    payloads = [[row[3] for row in read_packets(path)[0]] for path in (source, other)]
    assert payloads[0] == payloads[1]
    assert read_planes(source) == read_planes(other)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("own", [None, Fraction(16, 15)])
def test_the_pixel_aspect_is_that_of_the_container(
    tmp_path: Path, ffprobe: Any, own: Fraction | None, suffix: str
) -> None:
    """Also where copied pictures say nothing of it, or something else."""
    source = make_clip(tmp_path / "clip.mkv", "libx264", sample_aspect_ratio=own)
    assert amend_video(source, aspect=Fraction(5, 4))
    assert probe(source).sample_aspect_ratio == Fraction(5, 4)
    output = tmp_path / f"out{suffix}"
    fill(source, output, gaps=["20:22"])
    assert ffprobe(output)["streams"][0]["sample_aspect_ratio"] == "5:4"
    assert probe(output).sample_aspect_ratio == Fraction(5, 4)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_copied_twice(tmp_path: Path, ffmpeg: str, codec: str) -> None:
    source, once, twice = (tmp_path / f"{name}.mp4" for name in ("clip", "once", "twice"))
    make_clip(source, codec)
    fill(source, once)
    _, copied = fill(once, twice, gaps=["21:22"])
    check(ffmpeg, once, twice, copied)


def test_short_lengths_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_clip(tmp_path / "clip.mp4", "libx264")
    monkeypatch.setattr("framepred.grafting._FEWEST_BYTES", 5)  # it has four
    with pytest.raises(OutputError, match="no room for the length of a large picture"):
        fill(source, tmp_path / "out.mp4")


def test_a_dry_run_says_what_would_be_copied(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", "libx264")
    report, copied = fill(source, tmp_path / "out.mp4", dry_run=True)
    assert not (tmp_path / "out.mp4").exists()
    done, really = fill(source, tmp_path / "out.mp4")
    assert copied == really
    assert done.as_dict()["copied"] == report.as_dict()["copied"]


# Forecasts.


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", ".mp4"), ("libx265", ".mkv")])
def test_forecast_frames_follow_copied_ones(
    tmp_path: Path, ffmpeg: str, codec: str, suffix: str
) -> None:
    source, output = tmp_path / f"clip{suffix}", tmp_path / f"out{suffix}"
    options = {"x265-params": X265} if codec == "libx265" else {}
    write_clip(source, 30, codec=codec, lossless=False, b_frames=2, gop=GOP, options=options)
    report = forecast(source, output, n_frames=4, codec="copy", predictor=BlendPredictor())
    assert report.copied is not None
    assert report.copied.packets_copied == 30
    assert report.copied.frames_reencoded == 0
    check(ffmpeg, source, output, report.copied)
    assert len(read_planes(output)) == 34

    earlier = tmp_path / f"earlier{suffix}"
    begin = Fraction(17, 25)
    report = forecast(
        source, earlier, n_frames=4, start=begin, codec="copy", predictor=BlendPredictor()
    )
    assert report.copied is not None
    assert report.copied.packets_copied >= 14
    check(ffmpeg, source, earlier, report.copied)
    assert len(read_planes(earlier)) == 22


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_behind_a_hole_that_stays_pictures_are_copied(
    tmp_path: Path, ffmpeg: str, codec: str
) -> None:
    """They follow one another as in the input, with all that is wrong about them there."""
    source, output = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    options = {"x265-params": X265} if codec == "libx265" else {}
    times = make_times(60, holes=range(20, 30))
    frames = [frame for i, frame in enumerate(make_frames(60)) if not 20 <= i < 30]
    write_clip(source, frames, times=times, codec=codec, lossless=False, gop=250, options=options)
    report = forecast(source, output, n_frames=2, codec="copy", predictor=BlendPredictor())
    assert report.copied is not None
    assert (report.copied.packets_copied, report.copied.frames_reencoded) == (50, 0)
    check(ffmpeg, source, output, report.copied)
    assert read_planes(output)[:50] == read_planes(source)


# What is refused.


def make_two_kinds(tmp_path: Path) -> Path:
    """A track whose parameter sets change on the way, as in a recording that was put together."""
    path = tmp_path / "clip.mp4"
    first = write_clip(tmp_path / "1.mp4", 10, lossless=False)
    second = write_clip(tmp_path / "2.mp4", 10, lossless=False, options={"x264-params": "ref=1"})
    with av.open(str(path), "w") as new:
        assert isinstance(new, OutputContainer)
        for part, shift in ((first, 0), (second, 10)):
            with av.open(str(part)) as old:
                assert isinstance(old, InputContainer)
                stream = old.streams.video[0]
                if not shift:
                    made = new.add_stream_from_template(stream, opaque=True)
                    dump = av.BitStreamFilterContext("null", stream)
                header = stream.codec_context.extradata or b""
                size = int.from_bytes(header[6:8], "big")
                sets = [header[8 : 8 + size], header[11 + size :][: header[10 + size]]]
                inside = b"".join(len(unit).to_bytes(4, "big") + unit for unit in sets)
                for packet in old.demux(stream):
                    if packet.size:
                        step = packet.duration or 1
                        again = av.Packet(inside + bytes(packet))
                        again.time_base = packet.time_base
                        again.pts = (packet.pts or 0) + shift * step
                        again.dts = (packet.dts or 0) + shift * step
                        again.duration, again.is_keyframe = step, packet.is_keyframe
                        again.stream = made
                        new.mux_one(again)
        assert dump is not None
    return path


def refused(tmp_path: Path, name: str) -> Path:
    path = tmp_path / "clip.mp4"
    match name:
        case "codec":
            return write_gappy_clip(path, 20, [9], codec="mpeg4")[0]
        case "container":
            return write_gappy_clip(tmp_path / "clip.ts", 20, [9], lossless=False)[0]
        case "interlaced":
            options = {"x264-params": "interlaced=1"}
            return write_gappy_clip(path, 20, [9], lossless=False, options=options)[0]
        case "4:4:4":
            return write_gappy_clip(path, 20, [9], lossless=False, pix_fmt="yuv444p")[0]
        case "sets":
            return make_two_kinds(tmp_path)
        case "nothing":
            return write_clip(path, 4, lossless=False, gop=GOP)
    raise AssertionError(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("codec", "H.264 and H.265 only, and this is mpeg4"),
        ("container", "MP4, MOV and Matroska, and this is mpegts"),
        ("interlaced", "interlaced"),
        ("4:4:4", "4:4:4"),
        ("sets", "parameter sets change"),
        ("nothing", "no group of pictures stays as it is"),
    ],
)
def test_what_cannot_be_copied_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    source = refused(tmp_path, name)
    before = sorted(path.name for path in tmp_path.iterdir())
    gaps = ["0:1", "2:3"] if name == "nothing" else ["3:4"]
    predictor = BlendPredictor()
    output = tmp_path / f"out{source.suffix}"
    with pytest.raises(OutputError, match=reason) as caught:
        fill_gaps(source, output, codec="copy", gaps=gaps, predictor=predictor)
    assert "leave --codec copy out" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert predictor.calls == []
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("output", "options", "reason"),
    [
        ("out.avi", {}, r"a \.avi file is not written that way"),
        ("out.mp4", {"lossless": True}, "without loss"),
        ("out.mp4", {"crf": 60}, "crf from 0 to 51"),
    ],
)
def test_wishes_that_cannot_be_met(
    tmp_path: Path, output: str, options: dict[str, Any], reason: str
) -> None:
    source = make_clip(tmp_path / "clip.mp4", "libx264")
    with pytest.raises(OutputError, match=reason):
        fill(source, tmp_path / output, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    with pytest.raises(OutputError, match="new frames alone leave nothing to copy"):
        forecast(source, n_frames=2, only_new=True, codec="copy", predictor=BlendPredictor())


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_the_track_stays_as_long_where_its_beginning_is_new(
    tmp_path: Path, ffmpeg: str, codec: str
) -> None:
    source, output = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    options = {"x265-params": X265} if codec == "libx265" else {}
    write_clip(source, make_frames(N), codec=codec, lossless=False, b_frames=2, options=options)
    _, copied = fill(source, output, gaps=["0:2"])
    check(ffmpeg, source, output, copied)
    lasted = []
    for path in (source, output):
        with av.open(path) as container:
            lasted.append(container.streams.video[0].duration)
    assert lasted[0] == lasted[1]


def test_the_command_line(tmp_path: Path) -> None:
    source = str(make_clip(tmp_path / "clip.mp4", "libx264"))

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["fill-gaps", source, "--codec", "copy", "-n", *arguments])

    done = run("--json", "-")
    assert done.exit_code == 0, done.stderr
    copied = json.loads(done.stdout)["copied"]
    assert copied["packets_copied"] + copied["frames_reencoded"] == N - len(HOLES)
    assert f"{copied['packets_copied']} packets copied as they are" in done.stderr
    assert "encoded: 00:00:00." in done.stderr

    done = run("--lossless")
    assert done.exit_code == 1
    assert "cannot be copied" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("annex-b.mp4", "not in the form"),
        ("dolbyVision-hdr.MOV", "Dolby Vision"),
        ("water_180_mvhevc_5frames.mov", "several views"),
        ("400x300-red-resize-200x150-green.mp4", "parameter sets change"),
    ],
)
def test_awkward_files_that_are_refused(
    awkward: Path, tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(OutputError, match=reason):
        fill(awkward / name, tmp_path / f"out{Path(name).suffix}", gaps=["2:3"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "bipbop-lateaudio.mp4",
        "h265_10bits.mp4",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "h264_10bits.mp4",
                "sample_rotate_and_reflect.mp4",
                "sample_fragmented.mp4",
                "sample_with_ass_subtitles.mkv",
            )
        ),
        pytest.param("edit_list_positive_shift.mp4", marks=EXHAUSTIVE),
    ],
)
def test_awkward_files(awkward: Path, tmp_path: Path, ffmpeg: str, name: str) -> None:
    source, output = awkward / name, tmp_path / f"out{Path(name).suffix}"
    _, copied = fill(source, output, gaps=["9:10"])
    check(ffmpeg, source, output, copied)
    assert [t for t, _ in read_planes(source)] == [t for t, _ in read_planes(output)]
    assert copied.packets_copied > 1
