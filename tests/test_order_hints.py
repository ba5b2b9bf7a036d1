"""AV1 pictures that are shown out of their turn, against FFmpeg's reading and dav1d's pictures."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import av
import pytest
from av.codec import CodecContext
from av.error import FFmpegError
from av.packet import Packet
from synthetic import read_planes, read_what_decodes, write_clip
from test_continuity import read_stream
from test_scanning import gaps, pan
from test_smears import drop

from framepred.bits import Bits
from framepred.order_hints import OrderHintChecker, _read_frame, _read_sequence, _split
from framepred.scanning import scan

STEP = 40  # ticks


def write_av1(path: Path, n: int = 40, *, gop: int = 24, svt: str = "lp=1") -> Path:
    options = {"crf": "40", "preset": "12", "svtav1-params": f"keyint={gop}:{svt}"}
    frames = pan(n, speed=3)
    return write_clip(path, frames, codec="libsvtav1", lossless=False, options=options, gop=gop)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_av1(tmp_path_factory.mktemp("av1") / "a.mp4")


def is_show(packet: bytes) -> bool:
    return len(packet) == 3 and packet[2] >> 7 == 1


def decode(packets: list[bytes]) -> list[str | None]:
    """What dav1d shows for each packet: a digest, or None."""
    decoder = CodecContext.create("libdav1d", "r")
    decoder.options = {"max_frame_delay": "1"}
    decoder.thread_count = 1
    shown: list[str | None] = []
    for data in packets:
        frames: list[av.VideoFrame] = []
        with contextlib.suppress(FFmpegError):
            frames = decoder.decode(Packet(data))  # type: ignore[assignment]
        shown.append(hashlib.sha1(frames[0].to_ndarray().tobytes()).hexdigest() if frames else None)
    return shown


@pytest.mark.parametrize("svt", ["lp=1", "lp=1:pred-struct=1", "lp=1:scm=1:enable-tpl-la=0"])
def test_hints_and_slots_are_those_that_ffmpeg_reads(tmp_path: Path, svt: str) -> None:
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("ffmpeg is not installed")
    path = write_av1(tmp_path / "a.mp4", 20, svt=svt)
    command = [program, "-i", str(path), "-c", "copy", "-bsf:v", "trace_headers", "-f", "null", "-"]
    traced = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "AV_LOG_FORCE_NOCOLOR": "1"},
    )
    told: list[tuple[int, int]] = []
    hint, flags = 0, 0
    for line in traced.stderr.splitlines():
        if found := re.search(r"(\w+) +[01]+ = (\d+)$", line):
            name, value = found[1], int(found[2])
            hint = value if name == "order_hint" else hint
            if name == "refresh_frame_flags":
                flags = value
                told.append((hint, flags))
    own: list[tuple[int, int]] = []
    sequence = None
    for packet in read_stream(path)[2]:
        for kind, unit in _split(packet):
            if kind == 1:
                sequence = _read_sequence(Bits(unit))
            elif kind in (3, 6):
                assert sequence is not None
                bits = Bits(unit)
                if not bits.read(1):
                    header = _read_frame(bits, sequence)
                    # That of a key frame that is shown is not written.
                    if not (header.is_key and header.is_shown):
                        own.append((header.hint, header.refreshed))
    assert own == told
    assert len(own) > 10


def test_what_is_right_is_never_told(clip: Path) -> None:
    packets = read_stream(clip)[2]
    assert sum(map(is_show, packets)) > 10
    for jitter in (0, 1):  # as a container's milliseconds round
        checker, draw = OrderHintChecker(), random.Random(0)
        stamps = [STEP * i + draw.randint(0, jitter) for i in range(len(packets))]
        assert not any(map(checker.is_damaged, packets, stamps))
    checker = OrderHintChecker()
    assert not any(checker.is_damaged(packet, None) for packet in packets)
    # From the middle on, with nothing known, and with a hole in the times.
    checker = OrderHintChecker()
    assert not any(checker.is_damaged(packet, i) for i, packet in enumerate(packets[5:]))


def test_another_slot_is_told_where_dav1d_shows_another_picture(clip: Path) -> None:
    packets = read_stream(clip)[2]
    right = decode(packets)
    assert None not in right
    n_wrong = n_told = n_told_untimed = 0
    for at in [i for i, packet in enumerate(packets) if is_show(packet) and 8 < i < 24]:
        for slot in range(8):
            other = bytes([*packets[at][:2], 0x88 | slot << 4])
            given = [*packets[:at], other]
            is_wrong = decode(given)[at] != right[at]
            timed, untimed = OrderHintChecker(), OrderHintChecker()
            told = [timed.is_damaged(packet, STEP * i) for i, packet in enumerate(given)]
            told_untimed = [untimed.is_damaged(packet, None) for packet in given]
            assert told == [False] * at + [is_wrong]
            assert not any(told_untimed[:at])
            assert is_wrong or not told_untimed[at]
            n_wrong += is_wrong
            n_told += told[at]
            n_told_untimed += told_untimed[at]
    assert n_told == n_wrong > 40
    assert n_told_untimed > n_wrong // 3  # those that go back


@pytest.mark.parametrize("lost", [1, 9, 25])
def test_a_slot_that_holds_an_older_picture_is_found_in_a_file(
    clip: Path, tmp_path: Path, lost: int
) -> None:
    """A packet is lost, and with it the pictures in it that were to be shown later."""
    lossy = drop(clip, tmp_path / "b.mp4", lost)
    true, seen = dict(read_planes(clip)), read_what_decodes(lossy)
    wrong = [i for i, time in enumerate(sorted(true)) if seen.get(time) != true[time]]
    named = [i for start, stop, *_ in gaps(scan(lossy)) for i in range(start, stop)]
    assert named == wrong


def test_rubbish_is_survived(clip: Path) -> None:
    packets = read_stream(clip)[2]
    draw = random.Random(3)
    for _ in range(200):
        checker = OrderHintChecker()
        for i, packet in enumerate(packets[:12]):
            data = bytearray(packet)
            for _ in range(draw.randint(0, 3)):
                data[draw.randrange(min(len(data), 40))] = draw.randrange(256)
            checker.is_damaged(bytes(data[: draw.randint(0, len(data))]), i)
    checker, noise = OrderHintChecker(), draw.randbytes(4096)
    for start in range(0, 4000, 7):
        checker.is_damaged(noise[start : start + 50], start)
