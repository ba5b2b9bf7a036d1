"""Files of a few bytes that promise more than any memory holds."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from synthetic import make_frames, write_clip

from framepred import memory
from framepred.errors import MediaError
from framepred.rhythm import find_rhythm
from framepred.scanning import scan
from framepred.timeline import lay_slots


def write_gif(path: Path, side: int) -> Path:
    """Three pictures of one pixel on a huge screen."""
    frame = b"\x21\xf9\x04\0\x0a\0\0\0" + b",\0\0\0\0\x01\0\x01\0\0" + b"\x02\x02\x44\x01\0"
    screen = struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes([0, 0, 0, 255, 255, 255])
    path.write_bytes(b"GIF89a" + screen + 3 * frame + b";")
    return path


def write_png(path: Path, side: int) -> Path:
    """One picture whose first rows are there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(10 * (1 + 3 * side)), 9)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    return path


def write_avi(path: Path, side: int) -> Path:
    """Small pictures, and a header that says otherwise."""
    write_clip(path, 4, codec="ffv1")
    small, large = struct.pack("<IIH", 64, 48, 1), struct.pack("<IIH", side, side, 1)
    data = path.read_bytes()
    assert data.count(small) == 1
    path.write_bytes(data.replace(small, large))
    return path


@pytest.mark.parametrize("side", [12_000, 16_000, 65_535])
@pytest.mark.parametrize(
    ("write", "name"), [(write_gif, "a.gif"), (write_png, "a.png"), (write_avi, "a.avi")]
)
def test_huge_pictures_are_refused(
    tmp_path: Path, write: Callable[[Path, int], Path], name: str, side: int
) -> None:
    path = write(tmp_path / name, side)
    is_measured = memory.reset_high_water()
    before = memory.high_water_bytes()
    with pytest.raises(MediaError, match="none of its frames can be decoded") as caught:
        scan(path)
    assert "\n" not in str(caught.value)
    if is_measured:
        assert (memory.high_water_bytes() or 0) - (before or 0) < 10**8


@pytest.mark.parametrize(
    ("step", "pause"),
    [
        (Fraction(1, 25), Fraction(40 * 365 * 86_400)),
        (Fraction(1, 25), Fraction(5 * 3600)),
        (Fraction(1, 1_000_000), Fraction(50)),
    ],
)
def test_long_pauses_are_not_filled(tmp_path: Path, step: Fraction, pause: Fraction) -> None:
    times = [k * step for k in range(60)] + [pause + k * step for k in range(60)]
    path = write_clip(
        tmp_path / "a.nut", make_frames(120), times=times, codec="ffv1", time_base=step
    )
    report = scan(path)
    assert report.n_frames == len(report.plan.slots) == 120


def test_many_long_holes_are_no_video() -> None:
    step = Fraction(1, 240)
    times: list[Fraction] = []
    for k in range(320):
        times += [k * 59 + (k % 7 + i) * step for i in range(8)]
    assert sum(find_rhythm(times).n_missing.values()) > 2**22
    with pytest.raises(MediaError, match=r"leave room for 4[0-9]{6} missing ones"):
        lay_slots(times)
