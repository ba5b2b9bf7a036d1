"""AV1 pictures that are shown out of their turn, against FFmpeg's reading and dav1d's pictures."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.codec import CodecContext
from av.error import FFmpegError
from av.packet import Packet
from synthetic import digest_planes, read_planes, read_what_decodes, write_clip
from test_continuity import read_stream
from test_scanning import gaps, pan
from test_smears import drop

from framepred.bits import Bits
from framepred.order_hints import (
    OrderHintChecker,
    _read_frame,
    _read_sequence,
    _read_units,
    split_units,
)
from framepred.reader import VideoReader
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
    told: list[tuple[int, int, set[int]]] = []
    hint = 0
    for line in traced.stderr.splitlines():
        if found := re.search(r"([\w\[\]]+) +[01]+ = (\d+)$", line):
            name, value = found[1], int(found[2])
            hint = value if name == "order_hint" else hint
            if name == "refresh_frame_flags":
                told.append((hint, value, set()))
            elif name.startswith("ref_frame_idx["):
                told[-1][2].add(value)
    own: list[tuple[int, int, set[int]]] = []
    sequence = None
    for packet in read_stream(path)[2]:
        for kind, unit in _read_units(packet):
            if kind == 1:
                sequence = _read_sequence(Bits(unit))
            elif kind in (3, 6):
                assert sequence is not None
                bits = Bits(unit)
                if not bits.read(1):
                    header = _read_frame(bits, sequence)
                    # That of a key frame that is shown is not written.
                    if not (header.is_key and header.is_shown):
                        flags = sum(1 << slot for slot in header.refreshed)
                        own.append((header.hint, flags, set(header.references)))
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


def test_packets_are_taken_apart(clip: Path) -> None:
    packets = read_stream(clip)[2]
    taken = [split_units(packet) for packet in packets]
    assert [b"".join(parts) for parts in taken] == packets
    assert max(map(len, taken)) > 2
    # One by one they decode to the same, and each part but the last of a packet shows nothing.
    shown = decode([part for parts in taken for part in parts])
    expected = [
        shown_last
        for parts, right in zip(taken, decode(packets), strict=True)
        for shown_last in [*[None] * (len(parts) - 1), right]
    ]
    assert shown == expected
    for rubbish in (b"", b"\xff", b"\x32", b"\x32\xff\xff", bytes(9)):
        assert b"".join(split_units(rubbish)) == rubbish


def test_damaged_messages_cost_no_picture(tmp_path: Path) -> None:
    path = write_av1(tmp_path / "a.mp4", 12, svt="lp=1:content-light=1000,400")
    packet = read_stream(path)[2][0]
    message = next(unit for unit in split_units(packet) if unit[0] >> 3 & 0xF == 5)
    data = bytearray(path.read_bytes())
    begin = data.index(packet) + packet.index(message)
    data[begin + 2 : begin + len(message)] = b"\xff" * (len(message) - 2)
    path.write_bytes(data)
    with VideoReader(path, frame_threads=False) as reader:
        assert [frame.is_corrupt for frame in reader.read()] == [False] * 12


def test_of_damage_just_what_comes_out_wrong_is_named(clip: Path, tmp_path: Path) -> None:
    """The decoder refuses single frames, and what rests on them; all others stay."""
    packets = read_stream(clip)[2]
    true = [digest for _, digest in read_planes(clip)]
    draw = random.Random(5)
    n_wrong = n_named = n_plain = 0
    for _ in range(24):
        at = draw.randrange(1, len(packets))
        data = bytearray(clip.read_bytes())
        begin = data.find(packets[at], 0 if len(packets[at]) > 3 else data.find(packets[at - 1]))
        assert begin > 0
        data[begin + draw.randrange(2, len(packets[at]))] ^= 1 << draw.randrange(8)
        damaged = tmp_path / "damaged.mp4"
        damaged.write_bytes(data)
        with VideoReader(damaged, frame_threads=False) as reader:
            seen = {round(frame.time * 25): frame for frame in reader.read()}
        digests = {
            i: hashlib.sha256(digest_planes(frame.native)).hexdigest() for i, frame in seen.items()
        }
        wrong = {i for i, digest in enumerate(true) if digests.get(i) != digest}
        named = {i for start, stop, *_ in gaps(scan(damaged)) for i in range(start, stop)}
        assert wrong <= named
        n_wrong += len(wrong)
        n_named += len(named)
        plain = read_what_decodes(damaged)
        n_plain += sum(plain.get(Fraction(i, 25)) != digest for i, digest in enumerate(true))
    assert n_named <= 1.05 * n_wrong
    assert n_wrong < 0.9 * n_plain  # which a decoder that is given whole packets gets wrong


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
