"""Lost pictures by the numbers of the others, against FFmpeg's own reading of the headers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import av.logging
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from synthetic import make_frames, make_times, read_planes, write_clip
from test_scanning import gaps, pan
from test_smears import drop

from framepred import bitstream, parameter_sets
from framepred.continuity import Continuity, follow_numbers
from framepred.scanning import scan

STREAMS = {
    "plain": {},
    "pyramid": {"x264-params": "b-pyramid=normal:bframes=5:b-adapt=0"},
    "one reference": {"x264-params": "ref=1"},
    "fields": {"x264-params": "interlaced=1"},
    "intra refresh": {"x264-params": "intra-refresh=1"},
    "slices": {"x264-params": "slices=3"},
}


def read_headers(path: Path) -> Iterator[tuple[bytes, dict[str, int]]]:
    """Each packet and the first value of each field in its headers, as FFmpeg reads them."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            tracer = BitStreamFilterContext("trace_headers", stream)
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                data = bytes(packet)
                with av.logging.Capture() as lines:
                    tracer.filter(packet)
                fields: dict[str, int] = {}
                for _, _, line in lines:
                    found = re.match(r"\d+ +(\w+) +[01]+ = (-?\d+)", line.strip())
                    if found is not None:
                        fields[found[1]] = int(found[2])  # the last NAL unit: the slice
                yield data, fields
    finally:
        av.logging.set_level(level)


def read_stream(path: Path) -> tuple[str, bytes, list[bytes]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        header = stream.codec_context.extradata or b""
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
        return stream.codec_context.name, header, packets


def follow(path: Path, *, without: tuple[int, ...] = ()) -> tuple[Continuity, list[int]]:
    """The packets that lack a reference, where some are lost."""
    codec, header, packets = read_stream(path)
    continuity = follow_numbers(codec, header)
    assert continuity is not None
    kept = [i for i in range(len(packets)) if i not in without]
    return continuity, [i for i in kept if continuity.lacks_reference(packets[i])]


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
@pytest.mark.parametrize("name", STREAMS)
def test_frame_numbers_are_those_that_ffmpeg_reads(tmp_path: Path, name: str, suffix: str) -> None:
    path = write_clip(
        tmp_path / f"a.{suffix}", pan(30), lossless=False, b_frames=2, options=STREAMS[name]
    )
    codec, header, packets = read_stream(path)
    assert codec == "h264"
    if suffix == "mp4":
        parsed = bitstream.parse_header("h264", header)
        sets, split = parsed.sets, partial(bitstream.split_units, length_size=parsed.length_size)
    else:
        sets, split = bitstream.split_stream(packets[0]), bitstream.split_stream
    numberings = {
        parameter_sets.read_pps(pps)[0]: parameter_sets.read_numbering(sps)
        for sps in sets
        if sps[0] & 31 == 7
        for pps in sets
        if pps[0] & 31 == 8
    }
    seen = []
    for data, fields in read_headers(path):
        slices = [unit for unit in split(data) if unit[0] & 31 in (1, 5)]
        number, is_intra, _ = bitstream.read_avc_number(slices[-1], numberings)
        assert number == fields["frame_num"]
        assert is_intra == (fields["slice_type"] % 5 == 2)
        seen.append(number)
    assert len(seen) == 30
    assert max(seen) > 3


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video"])
@pytest.mark.parametrize("suffix", ["ts", "mkv"])
def test_temporal_references_without_a_loss(tmp_path: Path, codec: str, suffix: str) -> None:
    path = write_clip(
        tmp_path / f"a.{suffix}", pan(40), codec=codec, lossless=False, b_frames=2, gop=12
    )
    continuity, lacking = follow(path)
    assert continuity.is_numbered
    assert lacking == []


@pytest.mark.parametrize("name", STREAMS)
def test_whole_streams_lack_nothing(tmp_path: Path, name: str) -> None:
    path = write_clip(
        tmp_path / "a.mp4", pan(40), lossless=False, b_frames=2, options=STREAMS[name], gop=250
    )
    continuity, lacking = follow(path)
    assert continuity.is_numbered
    assert lacking == []


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(5), Fraction(120)])
@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_times_in_mpeg4_without_a_loss(tmp_path: Path, rate: Fraction, suffix: str) -> None:
    path = write_clip(
        tmp_path / f"a.{suffix}",
        make_frames(70),
        rate=rate,
        codec="mpeg4",
        lossless=False,
        b_frames=2,
        time_base=1 / rate,
    )
    continuity, lacking = follow(path)
    assert continuity.is_numbered
    assert lacking == []
    _, lacking = follow(path, without=(31,))  # stored behind 0, then 3 1 2, 6 4 5 ...: not a B
    assert lacking[0] == 32


def test_without_b_pictures_mpeg4_tells_nothing(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", make_frames(30), codec="mpeg4", lossless=False)
    continuity, lacking = follow(path, without=(7,))
    assert not continuity.is_numbered
    assert lacking == []


def test_numbers_that_may_skip_tell_nothing(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", pan(20), lossless=False)
    _, header, packets = read_stream(path)
    parsed = bitstream.parse_header("h264", header)
    sps = next(unit for unit in parsed.sets if unit[0] & 31 == 7)
    assert not parameter_sets.read_numbering(sps).may_skip
    facts = parameter_sets.read_sps("h264", sps)
    allowed = next(
        unit
        for unit in _set_each_bit(sps)
        if _reads(unit)
        and parameter_sets.read_numbering(unit).may_skip
        and parameter_sets.read_sps("h264", unit) == facts
    )
    continuity = follow_numbers("h264", header.replace(sps, allowed))
    assert continuity is not None
    assert not any(continuity.lacks_reference(packet) for packet in packets[:5] + packets[8:])
    assert not continuity.is_numbered


def _set_each_bit(unit: bytes) -> Iterator[bytes]:
    for i in range(8, 8 * len(unit)):
        changed = bytearray(unit)
        changed[i // 8] |= 0x80 >> i % 8
        yield bytes(changed)


def _reads(unit: bytes) -> bool:
    try:
        parameter_sets.read_sps("h264", unit)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("codec", "b_frames"),
    [("libx264", 0), ("libx264", 2), ("mpeg2video", 0), ("mpeg2video", 2), ("mpeg4", 2)],
)
@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_any_lost_packet_is_told_from_frames_that_are_whole(
    tmp_path: Path, codec: str, suffix: str, b_frames: int
) -> None:
    """In the last group too, which no key frame ends."""
    options = {"x264-params": "b-adapt=0:b-pyramid=normal"} if codec == "libx264" else {}
    whole = write_clip(
        tmp_path / f"a.{suffix}",
        pan(20, speed=3),
        codec=codec,
        lossless=False,
        b_frames=b_frames,
        gop=12,
        options=options,
    )
    true = dict(read_planes(whole))
    n_wrong = n_found = n_false = 0
    for lost in range(2, 19, 2):  # MPEG-2 has to see two to know how far apart they are
        lossy = drop(whole, tmp_path / f"b.{suffix}", lost)
        seen = dict(read_planes(lossy))
        wrong = {i for i, time in enumerate(sorted(true)) if seen.get(time) != true[time]}
        named = {i for start, stop, *_ in gaps(scan(lossy)) for i in range(start, stop)}
        n_wrong, n_found = n_wrong + len(wrong), n_found + len(wrong & named)
        n_false += len(named - wrong)
    assert n_wrong > 20
    assert n_found >= 0.93 * n_wrong
    assert n_false <= 0.07 * n_wrong


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "h264"), ("mpeg2video", "m2v")])
@pytest.mark.parametrize("lost", [[4], [9, 10], [17]])
def test_raw_streams_have_no_holes_but_numbers(
    tmp_path: Path, codec: str, suffix: str, lost: list[int]
) -> None:
    """The lost picture has no slot; those behind it are smeared up to the next key frame."""
    whole = write_clip(tmp_path / f"a.{suffix}", pan(24, speed=3), codec=codec, lossless=False)
    _, _, packets = read_stream(whole)
    assert len(packets) == 24
    assert scan(whole).plan.gaps == ()
    lossy = tmp_path / f"b.{suffix}"
    lossy.write_bytes(b"".join(packet for i, packet in enumerate(packets) if i not in lost))
    start, stop = lost[0], (12 if lost[0] < 12 else 24) - len(lost)
    assert gaps(scan(lossy)) == [(start, stop, "smeared", "fill" if stop < 20 else "forecast")]
    # A lost B-picture spoils only what is predicted from it.
    late = write_clip(
        tmp_path / f"c.{suffix}", pan(24, speed=3), codec=codec, lossless=False, b_frames=2
    )
    _, _, packets = read_stream(late)
    lossy.write_bytes(b"".join(packet for i, packet in enumerate(packets) if i != 6))
    assert sum(planned.gap.n_frames for planned in scan(lossy).plan.gaps) <= 1


def test_frames_that_were_never_coded_lack_nothing(tmp_path: Path) -> None:
    frames = pan(40, speed=3)
    kept = [frame for i, frame in enumerate(frames) if i not in (17, 30, 31)]
    for codec in ("libx264", "mpeg2video", "mpeg4"):
        gappy = write_clip(
            tmp_path / f"{codec}.mkv",
            kept,
            times=make_times(40, holes=[17, 30, 31]),
            codec=codec,
            lossless=False,
            b_frames=2,
        )
        assert [(start, stop) for start, stop, *_ in gaps(scan(gappy))] == [(17, 18), (30, 32)]


def test_a_stream_may_begin_anywhere(tmp_path: Path) -> None:
    for codec in ("libx264", "mpeg2video", "mpeg4"):
        path = write_clip(
            tmp_path / f"{codec}.mp4", pan(30), codec=codec, lossless=False, b_frames=2, gop=10
        )
        name, header, packets = read_stream(path)
        for first in range(1, 12):
            continuity = follow_numbers(name, header)
            assert continuity is not None
            told = [continuity.lacks_reference(packet) for packet in packets[first:]]
            assert not any(told[12:])


def test_rubbish_says_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for codec in ("libx264", "mpeg2video", "mpeg4"):
        path = write_clip(tmp_path / f"{codec}.mp4", pan(12), codec=codec, lossless=False)
        name, header, packets = read_stream(path)
        for trial in range(300):
            cut = header[: rng.integers(len(header) + 1)] if trial % 2 else header
            continuity = follow_numbers(name, cut)
            assert continuity is not None
            for packet in packets[:4]:
                noisy = bytearray(packet[: rng.integers(len(packet) + 1)])
                for place in rng.integers(0, max(1, min(len(noisy), 60)), 3):
                    if noisy:
                        noisy[place] = int(rng.integers(256))
                assert continuity.lacks_reference(bytes(noisy)) in (True, False)
            continuity.lacks_reference(rng.bytes(40))
        assert follow_numbers(name, b"") is not None
    assert follow_numbers("vp9", b"") is None
