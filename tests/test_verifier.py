"""The second decoder of VP9: it finds what the first conceals, and is shown no bombs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import read_planes, write_clip
from test_continuity import read_stream
from test_scanning import gaps, pan
from test_smears import drop

from framepred import verifier
from framepred.scanning import scan
from framepred.verifier import Vp9Verifier
from framepred.vp9_headers import read_pixels, split_packet

HEIGHT, WIDTH = 96, 160


def make_verifier() -> Vp9Verifier:
    return Vp9Verifier(max_pixels=2**27)


def write_vp9(path: Path, n: int = 30, **options: Any) -> Path:
    settings = {"cpu-used": "8", "deadline": "realtime", **options.pop("options", {})}
    return write_clip(
        path, pan(n, speed=3), codec="libvpx-vp9", lossless=False, options=settings, **options
    )


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv440p", "yuv444p", "gbrp"])
def test_sizes_are_read_and_whole_packets_are_whole(tmp_path: Path, pix_fmt: str) -> None:
    _, _, packets = read_stream(write_vp9(tmp_path / "a.webm", pix_fmt=pix_fmt))
    judge = make_verifier()
    assert not any(judge.is_damaged(packet) for packet in packets)
    sizes = [read_pixels(split_packet(packet)[0]) for packet in packets]
    assert sizes[::12] == [HEIGHT * WIDTH] * 3
    assert set(sizes) == {0, HEIGHT * WIDTH}


def test_packets_of_several_frames_are_split_as_their_index_says(tmp_path: Path) -> None:
    _, _, packets = read_stream(write_vp9(tmp_path / "a.webm", 8))
    for n_bytes in (2, 3, 4):
        marker = bytes([0b110 << 5 | (n_bytes - 1) << 3 | 2])
        sizes = b"".join(len(frame).to_bytes(n_bytes, "little") for frame in packets[1:4])
        joined = b"".join(packets[1:4]) + marker + sizes + marker
        assert split_packet(joined) == packets[1:4]
        judge = make_verifier()
        given = [packets[0], joined, *packets[4:]]
        assert not any(judge.is_damaged(packet) for packet in given)
        # An index whose two ends differ is none.
        broken = joined[:-1] + bytes([marker[0] ^ 1])
        assert split_packet(broken) == [broken]
    assert split_packet(packets[0]) == [packets[0]]


def test_flipped_bits_are_found_at_their_packet(tmp_path: Path) -> None:
    _, _, packets = read_stream(write_vp9(tmp_path / "a.webm"))
    rng = np.random.default_rng(2)
    n_found = 0
    for _ in range(40):
        at = int(rng.integers(1, 11))
        damaged = bytearray(packets[at])
        damaged[rng.integers(len(damaged) // 3, len(damaged) - 8)] ^= 1 << rng.integers(8)
        judge = make_verifier()
        told = [
            judge.is_damaged(bytes(damaged) if i == at else packet)
            for i, packet in enumerate(packets)
        ]
        assert sum(told) <= 1  # the next key frame puts all right
        assert not any(told[:at])
        n_found += any(told[at : at + 3])
    assert n_found >= 36


@pytest.mark.parametrize("lost", [5, 16, 27])
def test_a_packet_behind_a_lost_one_is_refused_in_the_last_group_too(
    tmp_path: Path, lost: int
) -> None:
    whole = write_vp9(tmp_path / "a.webm")
    lossy = drop(whole, tmp_path / "b.webm", lost)
    true, seen = dict(read_planes(whole)), dict(read_planes(lossy))
    wrong = [i for i, time in enumerate(sorted(true)) if seen.get(time) != true[time]]
    named = [i for start, stop, *_ in gaps(scan(lossy)) for i in range(start, stop)]
    assert set(named) <= set(wrong)
    assert len(named) >= len(wrong) - 2


def test_damage_is_found_in_a_file(tmp_path: Path) -> None:
    path = write_vp9(tmp_path / "a.webm")
    assert scan(path).plan.gaps == ()
    _, _, packets = read_stream(path)
    data = bytearray(path.read_bytes())
    begin = data.find(packets[14])
    data[begin + len(packets[14]) // 2] ^= 0x5A
    path.write_bytes(data)
    assert [(start, stop) for start, stop, *_ in gaps(scan(path))] == [(14, 24)]
    assert gaps(scan(path, detect=("missing", "corrupt"))) == [(14, 15, "corrupt", "fill")]


def test_without_libvpx_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "_DECODER", "libvpx-vp9-that-is-not-there")
    judge = make_verifier()
    _, _, packets = read_stream(write_vp9(tmp_path / "a.webm", 6))
    assert not any(judge.is_damaged(packet[: len(packet) // 2]) for packet in packets)


def test_a_stream_that_begins_in_the_middle_is_not_damaged(tmp_path: Path) -> None:
    _, _, packets = read_stream(write_vp9(tmp_path / "a.webm"))
    judge = make_verifier()
    assert not any(judge.is_damaged(packet) for packet in packets[5:])


class Untouched:
    """A decoder that must not be shown anything, or only what has an index."""

    def __init__(self) -> None:
        self.shown: list[bytes] = []

    def decode(self, packet: Any) -> None:
        self.shown.append(bytes(packet))


def put_size(packet: bytes, width: int, height: int) -> bytes:
    """Write another size into the header of a key frame of profile 0."""
    bits = list(f"{int.from_bytes(packet[:16], 'big'):0128b}")
    bits[36:68] = f"{width - 1:016b}{height - 1:016b}"
    return int("".join(bits), 2).to_bytes(16, "big") + packet[16:]


def test_huge_pictures_are_not_shown_to_it(tmp_path: Path) -> None:
    _, _, packets = read_stream(write_vp9(tmp_path / "a.webm", 6))
    assert put_size(packets[0], WIDTH, HEIGHT) == packets[0]
    judge = make_verifier()
    judge._decoder = decoder = Untouched()  # type: ignore[assignment]
    bomb = put_size(packets[0], 65536, 65536)
    assert read_pixels(bomb) == 2**32
    assert not judge.is_damaged(bomb)
    # As the second of two frames.
    sizes = b"".join(len(frame).to_bytes(4, "little") for frame in (packets[1], bomb))
    marker = bytes([0b110_11_001])
    assert not judge.is_damaged(packets[1] + bomb + marker + sizes + marker)
    assert decoder.shown == []
    # Behind a frame without an index: then it is shown as one frame, and what is behind is not.
    assert not judge.is_damaged(packets[1] + bomb)
    frames = split_packet(decoder.shown[0])
    assert frames == [packets[1] + bomb]


@pytest.mark.parametrize("shift", range(8))
def test_a_header_at_any_bit_is_seen(shift: int) -> None:
    rng = np.random.default_rng(shift)
    for _ in range(20):
        frame = bytearray(rng.bytes(400))
        assert not verifier._hides_frame(bytes(frame))
        place = int(rng.integers(6, 390))
        value = int.from_bytes(frame[place : place + 4], "big")
        value = value & ~(0xFFFFFF << shift) | 0x498342 << shift
        frame[place : place + 4] = value.to_bytes(4, "big")
        assert verifier._hides_frame(bytes(frame))


def test_rubbish_is_read_without_a_crash() -> None:
    rng = np.random.default_rng(7)
    for n in (0, 1, 2, 3, 5, 9, 30, 200):
        for _ in range(100):
            packet = rng.bytes(n)
            for frame in split_packet(packet):
                assert read_pixels(frame) >= 0
            assert not make_verifier().is_damaged(packet)
