"""What is written into Matroska headers, read by FFmpeg and, where that is there, by ffprobe."""

from __future__ import annotations

import random
import shutil
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from blending import BlendPredictor
from synthetic import make_frames, read_packets, read_planes, write_clip

from framepred.filling import fill_gaps
from framepred.matroska import amend_video, read_marks
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
    assert amend_video(path, aspect=aspect)
    assert probe(path).sample_aspect_ratio == found
    assert read_all(path) == read_all(clip)
    assert path.stat().st_size == clip.stat().st_size
    stream = ffprobe(path)["streams"][0]
    assert stream["sample_aspect_ratio"] == f"{found.numerator}:{found.denominator}"
    assert amend_video(path, aspect=Fraction(1))  # again, into what is there by then
    assert probe(path).sample_aspect_ratio in (None, 1)
    assert read_all(path) == read_all(clip)


def test_it_can_still_be_sought(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    shutil.copyfile(clip, path)
    assert amend_video(path, aspect=Fraction(5, 4))
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
        assert not amend_video(path, aspect=Fraction(5, 4))
        assert path.read_bytes() == content


def test_damage_in_a_header_does_no_harm(clip: Path, tmp_path: Path) -> None:
    whole, path = clip.read_bytes(), tmp_path / "damaged"
    dice = random.Random(1)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(900)] = dice.randrange(256)
        path.write_bytes(damaged)
        amend_video(path, aspect=Fraction(5, 4))
        assert len(path.read_bytes()) == len(whole)
        assert path.read_bytes()[1200:] == whole[1200:]


def element(number: str, content: bytes) -> bytes:
    return bytes.fromhex(number) + bytes([0x80 | len(content)]) + content


PROJECTION = element(
    "7670",
    element("7671", b"\1")  # equirectangular
    + element("7672", bytes(20))
    + element("7673", struct.pack(">f", 30)),  # turned to the right
)
CROP = element("54BB", b"\4") + element("54AA", b"\6")  # at the top and at the bottom


def find_marks(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Of the first stream, by kind."""
    return [
        (each["side_data_type"], str(each.get("projection", each.get("crop_top"))))
        for each in found["streams"][0].get("side_data_list", [])
    ]


@pytest.fixture
def marked(clip: Path, tmp_path: Path) -> Path:
    path = tmp_path / "marked.mkv"
    shutil.copyfile(clip, path)
    assert amend_video(path, marks=PROJECTION + CROP)
    return path


EXPECTED = [("Spherical Mapping", "equirectangular"), ("Frame Cropping", "4")]


def test_marks_are_written_and_all_else_of_a_file_stays(
    clip: Path, marked: Path, ffprobe: Any
) -> None:
    assert read_marks(clip, 0) == b""
    assert read_marks(marked, 0) == PROJECTION + CROP
    assert read_marks(marked, 1) == b""
    assert read_all(marked) == read_all(clip)
    assert marked.stat().st_size == clip.stat().st_size
    told = ffprobe(marked)
    sphere = next(s for s in told["streams"][0]["side_data_list"] if "projection" in s)
    assert sphere["yaw"] == 30
    # ffprobe tells of a crop from FFmpeg 8 on.
    assert [mark for mark in EXPECTED if mark in find_marks(told)] == find_marks(told)
    assert EXPECTED[0] in find_marks(told)
    assert amend_video(marked, marks=PROJECTION + CROP)
    assert read_marks(marked, 0) == PROJECTION + CROP, "not twice"


@pytest.mark.parametrize("name", ["out.mkv", "out.webm"])
def test_a_repair_keeps_marks(marked: Path, tmp_path: Path, name: str) -> None:
    codec = "libvpx-vp9" if name.endswith("webm") else None
    report = fill_gaps(
        marked, tmp_path / name, gaps="3:4", predictor=BlendPredictor(), self_check=False,
        codec=codec,
    )  # fmt: skip
    assert read_marks(tmp_path / name, 0) == PROJECTION + CROP
    assert not any("360" in loss for loss in report.streams_left_out)


@pytest.mark.parametrize(("marks", "words"), [(PROJECTION, "360 degree video"), (CROP, "its crop")])
def test_marks_that_have_no_place_are_named(
    clip: Path, tmp_path: Path, marks: bytes, words: str
) -> None:
    source = tmp_path / "in.mkv"
    shutil.copyfile(clip, source)
    assert amend_video(source, marks=marks)
    report = fill_gaps(
        source, tmp_path / "out.mp4", gaps="3:4", predictor=BlendPredictor(), self_check=False,
        codec="libx264",
    )  # fmt: skip
    assert any(words in loss for loss in report.streams_left_out)


def test_damage_in_marks_does_no_harm(marked: Path, tmp_path: Path) -> None:
    whole, path = marked.read_bytes(), tmp_path / "damaged.mkv"
    dice = random.Random(2)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(900)] = dice.randrange(256)
        path.write_bytes(damaged)
        assert len(read_marks(path, 0)) <= 2**20


def test_a_rotation_is_no_mark_of_360_degree_video(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mkv", 8, rotation=90)
    assert read_marks(source, 0) == b""
    output = tmp_path / "out.mkv"
    fill_gaps(source, output, gaps="3:4", predictor=BlendPredictor(), self_check=False)
    assert probe(output).rotation == probe(source).rotation == 90
