"""Image sequences, by folder and by pattern, against the pictures that were written."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from blending import SlidePredictor
from synthetic import make_frames, make_times
from typer.testing import CliRunner

from framepred.cli import app
from framepred.errors import MediaError, OutputError
from framepred.filling import fill_gaps
from framepred.outputs import name_output
from framepred.scanning import scan
from framepred.sequences import find_images, is_sequence
from framepred.stills import encode_png
from framepred.video import VideoReader, to_rgb

N, FIRST = 16, 98  # the numbers grow a digit on the way
FRAMES = make_frames(N)


def save(folder: Path, *, name: str = "frame_%05d.png", skip: tuple[int, ...] = ()) -> Path:
    folder.mkdir(exist_ok=True)
    for i, frame in enumerate(FRAMES):
        if i not in skip:
            av.VideoFrame.from_ndarray(frame, format="rgb24").save(
                str(folder / (name % (FIRST + i)))
            )
    return folder


def gaps(path: Path) -> list[tuple[int, int, str, str]]:
    return [
        (p.gap.start, p.gap.stop, p.gap.kind, p.action) for p in scan(path, max_gap=4).plan.gaps
    ]


@pytest.mark.parametrize("name", ["frame_%05d.png", "%d.png", "50%% of 7 %03d.png"])
def test_a_folder_and_a_pattern_are_the_same_video(tmp_path: Path, name: str) -> None:
    folder = save(tmp_path / "shot", name=name)
    (folder / "notes.txt").write_text("not a picture")
    (folder / "cover.png").write_bytes(b"")
    for path in (folder, folder / name.replace("%%", "%")):
        assert is_sequence(path)
        with VideoReader(path) as reader:
            frames = list(reader.read())
        assert [frame.time for frame in frames] == make_times(N)
        assert reader.info.duration == Fraction(N, 25)
        for frame, true in zip(frames, FRAMES, strict=True):
            assert np.array_equal(to_rgb(frame), true)
    assert not is_sequence(folder / "notes.txt")


def test_missing_numbers_and_damaged_pictures_are_made(tmp_path: Path) -> None:
    folder = save(tmp_path / "shot", skip=(4, 5))
    (folder / "frame_00107.png").write_bytes(b"")
    torn = folder / "frame_00110.png"
    data = bytearray(torn.read_bytes())
    data[len(data) // 2] ^= 0xFF
    torn.write_bytes(data)
    assert gaps(folder) == [
        (4, 6, "missing", "fill"),
        (9, 10, "corrupt", "fill"),
        (12, 13, "corrupt", "fill"),
    ]
    report = fill_gaps(folder, predictor=SlidePredictor(), self_check=False)
    output = tmp_path / "shot.filled.mkv"
    assert report.output == output
    assert report.frames_made == 4
    with VideoReader(output) as reader:
        assert reader.info.codec == "ffv1"
        for frame, true in zip(reader.read(), FRAMES, strict=True):
            assert np.array_equal(to_rgb(frame), true)


@pytest.mark.parametrize(
    ("number", "words"),
    # Of the first picture all of it can be kept, but not be shown with the others.
    [(FIRST + 1, "48be at .* 16 bits would be lost"), (FIRST, "between 8 and more bits")],
)
def test_pictures_of_two_depths_are_refused(tmp_path: Path, number: int, words: str) -> None:
    folder = save(tmp_path / "shot", skip=(12 if number > FIRST else 3,))
    deep = FRAMES[number - FIRST].astype(np.uint16) * 257
    (folder / f"frame_{number:05}.png").write_bytes(encode_png(deep))
    with pytest.raises(MediaError, match=words):
        fill_gaps(folder, tmp_path / "out.mkv", predictor=SlidePredictor(), self_check=False)
    assert [path.name for path in tmp_path.iterdir()] == ["shot"]


def test_the_first_picture_may_be_the_damaged_one(tmp_path: Path) -> None:
    folder = save(tmp_path / "shot")
    (folder / f"frame_{FIRST:05}.png").write_bytes(b"\x89PNG and nothing more")
    assert gaps(folder) == [(0, 1, "corrupt", "backcast")]


def test_the_longest_sequence_of_a_folder_counts(tmp_path: Path) -> None:
    folder = save(tmp_path / "shot")
    for i in range(3):
        (folder / f"other_{i}.png").write_bytes(b"x")
        (folder / f"frame_{i}.jpg").write_bytes(b"x")
    assert find_images(folder).numbers == tuple(range(FIRST, FIRST + N))


def test_names_of_outputs(tmp_path: Path) -> None:
    folder = save(tmp_path / "shot")
    assert name_output(folder, "filled") == tmp_path / "shot.filled.mkv"
    assert name_output(folder / "frame_%05d.png", "filled") == folder / "frame.filled.mkv"
    assert name_output(folder / "%d.png", "filled") == folder / "shot.filled.mkv"
    assert name_output(folder, "filled", output=tmp_path) == tmp_path / "shot.filled.mkv"


def test_what_is_no_sequence(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no numbered pictures in this folder"):
        scan(tmp_path)
    with pytest.raises(MediaError, match="no numbered pictures in its folder"):
        scan(tmp_path / "a_%03d.png")
    with pytest.raises(MediaError, match=r"cannot be listed \(No such file"):
        scan(tmp_path / "nowhere" / "a_%03d.png")
    (tmp_path / "a_1.png").write_bytes(b"no picture")
    with pytest.raises(MediaError, match="none of its pictures can be read"):
        scan(tmp_path)
    folder = save(tmp_path / "shot", skip=(4,))
    with pytest.raises(OutputError, match="no video container has the ending"):
        fill_gaps(folder, tmp_path / "made.png", predictor=SlidePredictor())
    with pytest.raises(OutputError, match="made: neither a folder that exists nor"):
        fill_gaps(folder, tmp_path / "made", predictor=SlidePredictor())


def test_commands_take_a_folder(tmp_path: Path) -> None:
    folder = save(tmp_path / "shot", skip=(4, 5))
    result = CliRunner().invoke(app, ["scan", str(folder), "--progress", "none"])
    assert result.exit_code == 0
    assert "4:6" in result.stdout
