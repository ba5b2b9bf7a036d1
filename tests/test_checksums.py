"""FFV1's own checksums, on packets as FFmpeg writes them."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from synthetic import write_clip

from framepred.checksums import Ffv1Checker
from framepred.scanning import scan


def read_payloads(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(container.streams.video[0]) if p.size]


@pytest.mark.parametrize("slices", ["4", "9"])
def test_every_flipped_bit_is_seen(tmp_path: Path, slices: str) -> None:
    options = {"level": "3", "slicecrc": "1", "slices": slices}
    path = write_clip(tmp_path / "a.mkv", 6, codec="ffv1", options=options)
    checker = Ffv1Checker()
    packets = read_payloads(path)
    assert not any(checker.is_damaged(packet) for packet in packets)
    for place in range(0, len(packets[0]), 37):
        damaged = bytearray(packets[0])
        damaged[place] ^= 0x10
        assert checker.is_damaged(bytes(damaged))
    assert checker.is_damaged(packets[0][:-1])
    assert not checker.is_damaged(packets[0])


@pytest.mark.parametrize(
    "options", [{"level": "1"}, {"level": "3", "slicecrc": "0"}], ids=["version 1", "no checksums"]
)
def test_without_checksums_nothing_is_damaged(tmp_path: Path, options: dict[str, str]) -> None:
    path = write_clip(tmp_path / "a.mkv", 6, codec="ffv1", options=options)
    checker = Ffv1Checker()
    assert not any(checker.is_damaged(packet) for packet in read_payloads(path))
    assert not any(checker.is_damaged(b"\0" * n) for n in (0, 1, 7, 8, 20))


def test_damage_that_the_decoder_conceals_is_found(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", 12, codec="ffv1", gop=1)
    assert scan(path).plan.gaps == ()
    data = bytearray(path.read_bytes())
    packet = read_payloads(path)[5]
    data[data.find(packet) + len(packet) // 2] ^= 1
    path.write_bytes(data)
    report = scan(path)
    assert [(p.gap.start, p.gap.stop, p.gap.kind) for p in report.plan.gaps] == [(5, 6, "corrupt")]
    assert report.n_frames == 12
