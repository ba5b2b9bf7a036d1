"""H.265 decoded in two ways: what differs has been damaged."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from synthetic import digest_planes, read_planes, read_what_decodes, write_clip
from test_continuity import read_stream
from test_scanning import gaps, pan

from framepred import bitstream, parameter_sets
from framepred.reader import VideoReader
from framepred.scanning import scan
from framepred.wavefronts import WavefrontVerifier

N, GOP = 24, 12
HEADERS = 60  # bytes
X265 = "log-level=none:ctu=16:min-cu-size=8:pools=1:frame-threads=1"


def write_hevc(path: Path, x265: str = "", *, n: int = N, pix_fmt: str = "yuv420p") -> Path:
    options = {"preset": "ultrafast", "crf": "16", "x265-params": f"{X265}:{x265}"}
    settings = {"codec": "libx265", "lossless": False, "gop": GOP, "b_frames": 2}
    noise = np.random.default_rng(0).normal(0, 12, (n, 96, 160, 3))
    frames = [np.uint8(np.clip(f + e, 0, 255)) for f, e in zip(pan(n, speed=3), noise, strict=True)]
    return write_clip(path, frames, options=options, pix_fmt=pix_fmt, **settings)


def flip(source: Path, target: Path, at: int, where: float, bit: int) -> Path:
    """Flip a bit of a stored packet, given by its number; ``where`` behind its headers."""
    packet = read_stream(source)[2][at]
    data = bytearray(source.read_bytes())
    begin = data.find(packet)
    assert begin > 0
    assert len(packet) > HEADERS
    data[begin + HEADERS + int(where * (len(packet) - HEADERS))] ^= 1 << bit
    target.write_bytes(data)
    return target


def find_changed(whole: Path, damaged: Path) -> set[int]:
    """The frames that a plain reader shows otherwise, or not at all."""
    true, seen = dict(read_planes(whole)), read_what_decodes(damaged)
    return {i for i, time in enumerate(sorted(true)) if seen.get(time) != true[time]}


def find_told(path: Path) -> set[int]:
    with VideoReader(path, frame_threads=False, verify=True) as reader:
        return {round(frame.time * 25) for frame in reader.read() if frame.is_corrupt}


@pytest.mark.parametrize(
    ("x265", "has_rows"),
    [
        ("wpp=1", True),
        ("wpp=0", False),
        ("wpp=1:no-cutree=1:aq-mode=0:cbqpoffs=3:crqpoffs=-2:weightp=1:constrained-intra=1", True),
        ("wpp=0:cbqpoffs=3:weightb=1:tskip=1:ref=4", False),
        ("wpp=1:cu-lossless=1:sign-hide=1:slices=2", True),
    ],
)
def test_picture_parameter_sets_are_read_as_ffmpeg_reads_them(
    tmp_path: Path, x265: str, has_rows: bool
) -> None:
    path = write_hevc(tmp_path / "a.mp4", x265, n=3)
    _, header, _ = read_stream(path)
    _, sets = bitstream.read_extradata("hevc", header)
    found = [parameter_sets.read_hevc_pps(unit) for unit in sets if unit[0] >> 1 == 34]
    assert found == [(0, 0, has_rows)]
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("ffmpeg is not installed")
    command = [program, "-i", str(path), "-c", "copy", "-bsf:v", "trace_headers", "-f", "null", "-"]
    traced = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    told = re.findall(r"entropy_coding_sync_enabled_flag +[01]+ = (\d)", traced)
    assert set(told) == {str(int(has_rows))}


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "hevc"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p"])
def test_nothing_is_told_of_what_is_whole(tmp_path: Path, suffix: str, pix_fmt: str) -> None:
    path = write_hevc(tmp_path / f"a.{suffix}", pix_fmt=pix_fmt)
    with VideoReader(path, verify=True) as reader:
        frames = list(reader.read())
        twin = reader._twin
        assert twin is not None
        assert twin._decoder is not None  # it did look
        assert not twin._waiting  # at each of them
    assert len(frames) == N
    assert not any(frame.is_corrupt for frame in frames)
    assert scan(path).plan.gaps == ()


def test_without_rows_there_is_no_second_decoder(tmp_path: Path) -> None:
    path = write_hevc(tmp_path / "a.mp4", "wpp=0")
    with VideoReader(path, verify=True) as reader:
        assert len(list(reader.read())) == N
        assert reader._twin is not None
        assert reader._twin._decoder is None


def test_flipped_bits_are_found_in_just_the_frames_that_they_change(tmp_path: Path) -> None:
    whole = write_hevc(tmp_path / "a.mp4")
    rng = np.random.default_rng(4)
    n_changed = n_told = n_clean = 0
    for _ in range(24):
        at, where, bit = int(rng.integers(1, N)), rng.uniform(0, 0.7), int(rng.integers(8))
        damaged = flip(whole, tmp_path / "b.mp4", at, where, bit)
        changed, told = find_changed(whole, damaged), find_told(damaged)
        assert told <= changed
        n_changed += len(changed)
        n_told += len(told)
        n_clean += N - len(changed)
    assert n_told >= 0.9 * n_changed
    assert n_changed > 50
    assert n_clean > 100


def test_damaged_messages_cost_no_picture(tmp_path: Path) -> None:
    """x265 puts a long one about itself before the first picture."""
    whole = write_hevc(tmp_path / "a.ts")
    data = bytearray(whole.read_bytes())
    begin = data.index(b"x265 (build")
    data[begin + 100 : begin + 600] = bytes(500)
    (tmp_path / "b.ts").write_bytes(data)
    assert find_changed(whole, tmp_path / "b.ts") == set()
    assert scan(tmp_path / "b.ts").plan.gaps == ()


def test_a_scan_finds_damage_up_to_the_next_key_frame(tmp_path: Path) -> None:
    whole = write_hevc(tmp_path / "a.mp4", "bframes=0")
    damaged = flip(whole, tmp_path / "b.mp4", 5, 0.4, 3)
    assert find_changed(whole, damaged) == set(range(5, GOP))
    assert [(start, stop) for start, stop, *_ in gaps(scan(damaged))] == [(5, GOP)]


def read_frames(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


class _Decoder:
    """Gives the frames that it was made with, some for each packet."""

    def __init__(self, given: Iterable[list[av.VideoFrame]]) -> None:
        self._given = iter(given)

    def decode(self, _packet: object) -> list[av.VideoFrame]:
        return next(self._given)


def test_pictures_are_compared_by_their_times_whatever_the_order(tmp_path: Path) -> None:
    frames = read_frames(write_hevc(tmp_path / "a.mp4", n=6))
    others = [frames[i].reformat(format="yuv420p") for i in range(6)]
    with av.open(str(tmp_path / "a.mp4")) as container:
        verifier = WavefrontVerifier(container.streams.video[0].codec_context)
    verifier._decoder = _Decoder([[], [others[1], others[0]], [others[3]], others[4:]])  # type: ignore[assignment]
    for _ in range(4):
        verifier.feed(None)
    assert not any(map(verifier.differs, frames))  # the third has no twin
    assert not verifier._waiting
    # The same pictures at other times are other pictures.
    for frame, other in zip(frames, others[1:], strict=False):
        other.pts = frame.pts
    verifier._decoder = _Decoder([others[1:]])  # type: ignore[assignment]
    verifier.feed(None)
    assert all(map(verifier.differs, frames[:5]))
    assert not verifier.differs(frames[5])
    assert digest_planes(frames[0]) != digest_planes(frames[1])
    assert Fraction(frames[0].time_base) > 0
