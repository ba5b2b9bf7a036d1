"""Transport streams put one behind the other."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from blending import BlendPredictor
from synthetic import write_clip

from framepred.filling import fill_gaps
from framepred.stamps import Splices
from framepred.video import VideoReader


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


@pytest.mark.parametrize("second", [600_000, 590_000, 100_000, 0, 100_000 + 2**33 // 90])
@pytest.mark.parametrize("lag", [-300, -20, 0, 300])  # ms by which the sound comes before in a file
@pytest.mark.parametrize("sound_end", [640_000, 639_000, 640_700])
def test_all_streams_stay_together_across_splices(second: int, lag: int, sound_end: int) -> None:
    """Pictures, sound that ends before or behind them, and now and then a subtitle."""

    def list_part(begin: int, end: int) -> list[tuple[int, int]]:
        pictures = [(0, begin + 40 * k) for k in range(1000)]
        sound = [(1, begin + 20 * k) for k in range(2200) if begin + 20 * k < end]
        subtitles = [(2, begin + each) for each in (500, 12_000)]
        return sorted(
            [*pictures, *sound, *subtitles], key=lambda e: e[1] - (lag if e[0] == 1 else 0)
        )

    splices = Splices(0)
    found: list[tuple[int, int]] = []
    for index, time in [*list_part(600_000, sound_end), *list_part(second, second + 40_000)]:
        packet: Any = FakePacket(index, time, duration=20)
        splices.join(packet)
        found.append((index, packet.pts))
    pictures = [time for index, time in found if index == 0]
    assert pictures == [600_000 + 40 * k for k in range(2000)]
    assert [time for index, time in found if index == 2] == [600_500, 612_000, 640_500, 652_000]
    sound = [time for index, time in found if index == 1][-2000:]
    right = [640_000 + 20 * k for k in range(2000)]
    wrong = [k for k in range(2000) if sound[k] != right[k]]
    assert wrong == list(range(len(wrong)))  # those that passed the splice before the pictures
    assert len(wrong) <= max(0, lag // 20 + 1)


def test_spliced_transport_streams_are_filled(tmp_path: Path) -> None:
    """The second reading, with the sound, finds the frames that the scan has found without it."""
    part = write_clip(tmp_path / "a.ts", 50, audio=True, audio_stop=Fraction(7, 5))
    both, filled = tmp_path / "b.ts", tmp_path / "c.mkv"
    both.write_bytes(2 * part.read_bytes())
    report = fill_gaps(both, filled, gaps=["60:62"], predictor=BlendPredictor())  # type: ignore[arg-type]
    assert (report.frames_in, report.frames_made) == (100, 2)
    with VideoReader(filled) as reader:
        frames = list(reader.read())
    steps = [b.time - a.time for a, b in pairwise(frames)]
    assert [float(step) for step in steps] == pytest.approx([0.04] * 99, abs=0.0011)
