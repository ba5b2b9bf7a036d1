"""Pixel aspect ratios in Matroska headers, read by FFmpeg and, where that is there, by ffprobe."""

from __future__ import annotations

import random
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from synthetic import make_frames, read_packets, read_planes, write_clip

from framepred.matroska import set_aspect
from framepred.video import probe


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With sound, chapters, subtitles, an attachment and tags: all that has a place in the list."""
    return write_clip(
        tmp_path_factory.mktemp("clip") / "clip.mkv",
        25,
        codec="ffv1",
        audio=True,
        chapters=True,
        attachment=b"a font",
        subtitles=[(Fraction(1, 5), Fraction(3, 5), "a word")],
        metadata={"title": "A title"},
    )


def read_all(path: Path) -> tuple[Any, ...]:
    with av.open(str(path)) as container:
        facts = [(stream.type, dict(stream.metadata)) for stream in container.streams]
        return (
            (facts, dict(container.metadata), container.chapters(), container.duration),
            (read_planes(path), read_packets(path)),
        )


@pytest.mark.parametrize(
    ("aspect", "found"),
    [
        (Fraction(5, 4), Fraction(5, 4)),
        (Fraction(3, 4), Fraction(3, 4)),
        (Fraction(16, 15), Fraction(17, 16)),  # 68.27 pixels are 68
        (Fraction(8, 9), Fraction(8, 9)),
        (Fraction(300), Fraction(300)),
    ],
)
def test_an_aspect_is_written_and_all_else_stays(
    clip: Path, tmp_path: Path, ffprobe: Any, aspect: Fraction, found: Fraction
) -> None:
    path = tmp_path / "clip.mkv"
    shutil.copyfile(clip, path)
    assert set_aspect(path, aspect)
    assert probe(path).sample_aspect_ratio == found
    assert read_all(path) == read_all(clip)
    assert path.stat().st_size == clip.stat().st_size
    stream = ffprobe(path)["streams"][0]
    assert stream["sample_aspect_ratio"] == f"{found.numerator}:{found.denominator}"
    assert set_aspect(path, Fraction(1))  # again, into what is there by then
    assert probe(path).sample_aspect_ratio in (None, 1)
    assert read_all(path) == read_all(clip)


def test_it_can_still_be_sought(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    shutil.copyfile(clip, path)
    assert set_aspect(path, Fraction(5, 4))
    found = []
    for each in (path, clip):
        with av.open(str(each)) as container:
            container.seek(600_000)
            found.append(next(container.decode(video=0)).time)
    assert found[0] == found[1] == pytest.approx(0.48)  # of the key frame


def test_what_is_no_such_file_is_left_alone(clip: Path, tmp_path: Path) -> None:
    whole = clip.read_bytes()
    other = write_clip(tmp_path / "other.mp4", make_frames(3)).read_bytes()
    path = tmp_path / "broken"
    for content in (b"", b"\0" * 99, other, whole[:60], whole[:300], whole[40:]):
        path.write_bytes(content)
        assert not set_aspect(path, Fraction(5, 4))
        assert path.read_bytes() == content


def test_damage_in_a_header_does_no_harm(clip: Path, tmp_path: Path) -> None:
    whole, path = clip.read_bytes(), tmp_path / "damaged"
    dice = random.Random(1)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(900)] = dice.randrange(256)
        path.write_bytes(damaged)
        set_aspect(path, Fraction(5, 4))
        assert len(path.read_bytes()) == len(whole)
        assert path.read_bytes()[1200:] == whole[1200:]
