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
from framepred.video import Frame, VideoReader, open_rgb_frames, to_rgb

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


@pytest.mark.parametrize("compression", ["raw", "lzw", "deflate"])
def test_tiff_with_the_usual_tags_is_read(tmp_path: Path, compression: str) -> None:
    """FFmpeg itself writes a tag (of the resolution's unit) that its strict decoder refuses."""
    folder = tmp_path / "shot"
    folder.mkdir()
    for number, image in enumerate(make_frames(4, width=48, height=32)):
        with av.open(str(folder / f"{number:03d}.tif"), "w", format="image2") as container:
            stream = container.add_stream("tiff", rate=25)
            stream.width, stream.height, stream.pix_fmt = 48, 32, "rgb24"
            stream.codec_context.options = {"compression_algo": compression, "dpi": "72"}
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    assert len(list(open_rgb_frames(folder))) == 4


@pytest.mark.parametrize("pix_fmt", ["ya8", "ya16be"])
def test_transparent_grey_stays_transparent(tmp_path: Path, pix_fmt: str) -> None:
    folder = tmp_path / "shot"
    folder.mkdir()
    n_bytes = 2 if pix_fmt == "ya16be" else 1
    dice = np.random.default_rng(1)
    alpha = dice.integers(0, 256, (32, 48, n_bytes), np.uint8)
    for number, image in enumerate(make_frames(8, width=48, height=32)):
        native = av.VideoFrame(48, 32, pix_fmt)
        plane = native.planes[0]
        samples = np.zeros((32, plane.line_size), np.uint8)
        pairs = np.stack((image[:, :, :1].repeat(n_bytes, 2), alpha), 2)
        samples[:, : 96 * n_bytes] = pairs.reshape(32, -1)
        plane.update(samples.tobytes().ljust(plane.buffer_size, b"\0"))
        with av.open(str(folder / f"{number:03d}.png"), "w", format="image2") as container:
            stream = container.add_stream("png", rate=25)
            stream.width, stream.height, stream.pix_fmt = 48, 32, pix_fmt
            container.mux(stream.encode(native))
            container.mux(stream.encode())
    output = tmp_path / "out.mov"
    fill_gaps(folder, output, gaps="4:5", codec="png", predictor=SlidePredictor(), self_check=False)
    with VideoReader(output) as reader:
        for frame in reader.read():
            assert isinstance(frame, Frame)
            plane = frame.native.planes[0]
            found = np.frombuffer(bytes(plane), np.uint8)[: 32 * plane.line_size].reshape(32, -1)
            pairs = found[:, : 96 * n_bytes].reshape(32, 48, 2, n_bytes)
            assert frame.native.format.name == pix_fmt
            assert np.array_equal(pairs[:, :, 1], alpha)
    with pytest.raises(OutputError, match="libx264 cannot hold"):
        fill_gaps(
            folder,
            tmp_path / "b.mp4",
            gaps="4:5",
            codec="libx264",
            self_check=False,
            predictor=SlidePredictor(),
        )
