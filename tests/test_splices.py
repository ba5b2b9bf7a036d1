"""Transport streams put one behind the other."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blending import BlendPredictor
from synthetic import make_times, write_clip

from framepred.filling import fill_gaps
from framepred.stamps import Splices
from framepred.video import Frame, VideoReader


@dataclass
class FakePacket:
    """What ``Splices`` looks at and changes."""

    stream_index: int
    dts: int | None
    duration: int = 0
    time_base: Fraction = Fraction(1, 1000)
    pts: int | None = None

    def __post_init__(self) -> None:
        self.pts = self.dts


@pytest.mark.parametrize("seed", range(20))
def test_what_never_goes_back_is_not_moved(seed: int) -> None:
    """However irregular: recordings with holes, and such that are slow first and fast then."""
    dice = np.random.default_rng(seed)
    steps = dice.choice([1, 20, 40, 1000, 1700, 60_000], (2, 300), p=[0.1, 0.3, 0.3, 0.1, 0.1, 0.1])
    times = sorted((int(t), k) for k in (0, 1) for t in steps[k].cumsum())
    splices = Splices()
    for time, index in times:
        packet: Any = FakePacket(index, time, duration=int(dice.choice([0, 20, 40])))
        splices.join(packet)
        assert packet.pts == packet.dts == time


def read_times(path: Path) -> tuple[list[Fraction], list[Fraction]]:
    """Of pictures and sound."""
    with VideoReader(path, copy_streams=True) as reader:
        items = list(reader.read())
    return (
        [item.time for item in items if isinstance(item, Frame)],
        [item.pts * item.time_base for item in items if not isinstance(item, Frame)],
    )


@pytest.mark.parametrize("second", [600, 590, 100, 0])
def test_spliced_transport_streams_are_filled(tmp_path: Path, second: int) -> None:
    """The parts begin at 600 s and at ``second``; sound stays with its pictures."""
    parts = [tmp_path / "a.ts", tmp_path / "b.ts"]
    for path, begin in zip(parts, (600, second), strict=True):
        write_clip(path, 50, times=[begin + t for t in make_times(50)], audio=True)
    both, filled = tmp_path / "c.ts", tmp_path / "d.mkv"
    both.write_bytes(b"".join(path.read_bytes() for path in parts))
    report = fill_gaps(both, filled, gaps=["60:62"], predictor=BlendPredictor())  # type: ignore[arg-type]
    assert report.frames_in == 100
    pictures, sound = read_times(filled)
    assert max(b - a for a, b in pairwise(pictures)) < Fraction(1, 10)
    assert all(a < b for a, b in pairwise(pictures))
    assert all(a <= b for a, b in pairwise(sound))
    expected = [float(picture - heard) for picture, heard in zip(*read_ends(parts[1]), strict=True)]
    found = [float(picture - heard) for picture, heard in zip(*read_ends(filled), strict=True)]
    assert found == pytest.approx(expected, abs=0.003)


def read_ends(path: Path) -> tuple[list[Fraction], list[Fraction]]:
    """The times of the last pictures, and of as many packets of sound."""
    pictures, sound = read_times(path)
    return pictures[-30:], sound[-30:]
