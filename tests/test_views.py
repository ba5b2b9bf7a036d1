from __future__ import annotations

import errno
import io
import json
import os
import stat
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from blending import BlendPredictor
from PIL import Image
from synthetic import make_frames, make_times, write_clip, write_gappy_clip

from framepred.captions import KIND_COLOURS
from framepred.comparison import compare
from framepred.errors import MediaError, OutputError
from framepred.filling import fill_gaps
from framepred.plots import plot_comparison
from framepred.stills import encode_png
from framepred.video import Frame, VideoReader, to_rgb
from framepred.views import Views, name_views

HOLES = [8, 20, 21]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mkv"
    write_gappy_clip(path, 40, HOLES, codec="ffv1")
    return path


def fill(source: Path, views: Views, **options: Any) -> Path:
    output = source.with_name("out.mkv")
    fill_gaps(
        source,
        output,
        predictor=BlendPredictor(),
        lossless=True,
        overwrite=True,
        views=views,
        **options,
    )
    return output


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def read_png(path: Path) -> np.ndarray:
    """As FFmpeg reads it, 8 or 16 bits."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        pixels = "rgb48le" if "48" in frame.format.name else "rgb24"
        return frame.to_ndarray(format=pixels)


def is_near(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (np.abs(picture.astype(int) - np.array(colour)) < 40).all(-1)


def test_a_preview_has_all_frames_at_their_times_and_frames_the_gaps(
    clip: Path, tmp_path: Path
) -> None:
    path = tmp_path / "preview.mp4"
    fill(clip, Views(preview=path))
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        assert [frame.pts * frame.time_base for frame in frames] == make_times(40)
        pictures = [frame.to_ndarray(format="rgb24") for frame in frames]
    framed = [k for k, p in enumerate(pictures) if is_near(p, KIND_COLOURS["missing"]).sum() > 500]
    assert framed == HOLES
    with VideoReader(tmp_path / "out.mkv") as reader:
        filled = [to_rgb(item) for item in reader.read() if isinstance(item, Frame)]
    half = pictures[0].shape[1] // 2
    for k in (7, 8, 21, 30):
        inside = pictures[k][4 : 4 + 48].astype(int)
        right = inside[:, half + 2 : half + 2 + 64]
        assert np.abs(right - filled[k]).mean() < 8
        held = filled[19 if k == 21 else 7 if k == 8 else k]
        assert np.abs(inside[:, 4:68] - held).mean() < 8
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="links and permissions are a matter of POSIX")
def test_a_preview_goes_where_its_link_points_as_readable_as_other_files(
    clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    link, place = tmp_path / "preview.mp4", tmp_path / "elsewhere" / "real.mp4"
    link.symlink_to(place)
    before = os.umask(0o022)
    try:
        fill(clip, Views(preview=link, overwrite=True))
    finally:
        os.umask(before)
    assert link.is_symlink()
    assert stat.S_IMODE(place.stat().st_mode) == 0o644
    assert leftovers(tmp_path) == leftovers(tmp_path / "elsewhere") == []


def test_a_preview_that_cannot_begin_leaves_nothing(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_open = av.open

    def fail(name: str, mode: str = "r", **how: Any) -> Any:
        if mode == "w" and "preview" in name:
            raise OSError(errno.EIO, "Input/output error")
        return true_open(name, mode, **how)

    monkeypatch.setattr(av, "open", fail)
    with pytest.raises(OutputError, match=r"preview\.mp4: cannot be written \(Input/output error"):
        fill(clip, Views(preview=tmp_path / "preview.mp4"))
    assert leftovers(tmp_path) == []


def test_a_contact_sheet_frames_what_was_made(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    fill(clip, Views(contact_sheet=path))
    picture = np.asarray(Image.open(path).convert("RGB"))
    rows = is_near(picture, KIND_COLOURS["missing"])
    # The upper edge of each made frame: 64 pixels and a border of 3 on both sides.
    runs = [
        max(map(len, "".join("x" if v else " " for v in row).split()), default=0) for row in rows
    ]
    edges = [k for k, n in enumerate(runs) if n >= 70 and (k == 0 or runs[k - 1] < 70)]
    assert len(edges) == 4  # the upper and the lower one, in two rows
    full = rows[edges[2]]
    assert sum(full) == 2 * 70


def test_a_contact_sheet_comes_in_the_format_of_its_name(clip: Path, tmp_path: Path) -> None:
    fill(clip, Views(contact_sheet=tmp_path / "sheet.WEBP"))
    with Image.open(tmp_path / "sheet.WEBP") as found:
        assert found.format == "WEBP"
    with pytest.raises(OutputError, match="must end in"):
        fill(clip, Views(contact_sheet=tmp_path / "sheet.bmp"))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_made_frames_are_written_as_deep_as_they_are(tmp_path: Path, pix_fmt: str) -> None:
    source = tmp_path / "clip.mkv"
    write_gappy_clip(source, 40, HOLES, codec="ffv1", pix_fmt=pix_fmt)
    folder = tmp_path / "made"
    output = fill(source, Views(frames_dir=folder), reference=source)
    with VideoReader(output) as reader:
        filled = [to_rgb(item) for item in reader.read() if isinstance(item, Frame)]
    listed = json.loads((folder / "frames.json").read_text())
    assert [row["frame"] for row in listed["frames"]] == HOLES
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"frame-{k:06}.png" for k in HOLES),
        "frames.json",
    ]
    for row in listed["frames"]:
        assert np.array_equal(read_png(folder / row["file"]), filled[row["frame"]])
        assert Fraction(row["time"]) == Fraction(row["frame"], 25)
        assert row["bits"] == (8 if pix_fmt == "yuv420p" else 16)
        assert row["estimated_psnr"] > 0
        assert row["kind"] == "missing"
    assert listed["frame_rate"] == "25"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_is_what_other_readers_see(dtype: type) -> None:
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (9, 7, 3), dtype)
    with Image.open(io.BytesIO(encode_png(image))) as found:
        assert found.size == (7, 9)
        # Pillow reads 16 bits as their upper 8.
        shown = image if dtype == np.uint8 else image >> 8
        assert np.array_equal(np.asarray(found.convert("RGB")), shown)


def test_a_folder_of_others_is_never_replaced(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    fill(clip, Views(frames_dir=folder))  # an empty one may be used
    with pytest.raises(OutputError, match="exists already"):
        fill(clip, Views(frames_dir=folder))
    fill(clip, Views(frames_dir=folder, overwrite=True), gaps=["30:31"])
    assert len(list(folder.glob("*.png"))) == 4
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="other files"):
        fill(clip, Views(frames_dir=folder, overwrite=True))
    assert (folder / "mine.txt").read_text() == "mine"
    for bad in (clip, tmp_path / "no" / "made"):
        with pytest.raises(OutputError):
            fill(clip, Views(frames_dir=bad))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for bad in (Path(), Path("../here")):
        with pytest.raises(OutputError, match="in use as it is"):
            fill(clip, Views(frames_dir=bad))


def test_an_error_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    class Broken(BlendPredictor):
        def fill(self, *given: Any, **options: Any) -> Any:
            if len(self.calls) == 3:
                raise MediaError("broken")
            return super().fill(*given, **options)

    views = Views(
        report=tmp_path / "page.html",
        preview=tmp_path / "preview.mp4",
        contact_sheet=tmp_path / "sheet.png",
        frames_dir=tmp_path / "made",
    )
    with pytest.raises(MediaError, match="broken"):
        fill_gaps(clip, predictor=Broken(), views=views)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mkv"]


def test_all_views_together_and_without_a_gap(clip: Path, tmp_path: Path) -> None:
    views = Views(
        report=tmp_path / "page.html",
        preview=tmp_path / "preview.mp4",
        contact_sheet=tmp_path / "sheet.png",
        frames_dir=tmp_path / "made",
    )
    fill(clip, views, gaps=["0:1", "38:40"])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"clip.mkv", "out.mkv", "page.html", "preview.mp4", "sheet.png", "made"}
    whole = write_clip(tmp_path / "whole.mkv", 10, codec="ffv1")
    fill_gaps(whole, views=Views(preview=tmp_path / "none.mp4", frames_dir=tmp_path / "none"))
    assert not list(tmp_path.glob("none*"))


def test_views_of_a_turned_video_with_a_variable_rate(tmp_path: Path) -> None:
    times = [Fraction(k, 600) for k in np.cumsum([20, 20, 21, 22, 25, 30, 40, 40, 38, 30] * 3)]
    source = write_clip(
        tmp_path / "clip.mp4", make_frames(30, width=96, height=48), times=times, rotation=90
    )
    path = tmp_path / "preview.mp4"
    fill_gaps(source, gaps=["12:14"], predictor=BlendPredictor(), views=Views(preview=path))
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert [frame.pts * frame.time_base for frame in frames] == [t - times[0] for t in times]
    assert frames[0].height >= 96


def test_names_in_a_folder(tmp_path: Path) -> None:
    views = name_views(
        Path("clip.mp4"),
        preview=tmp_path,
        contact_sheet=tmp_path,
        frames_dir=tmp_path,
        is_shared=True,
    )
    assert views.preview == tmp_path / "clip.preview.mp4"
    assert views.contact_sheet == tmp_path / "clip.contact-sheet.png"
    assert views.frames_dir == tmp_path / "clip.frames"
    assert name_views(Path("clip.mp4"), frames_dir=tmp_path).frames_dir == tmp_path


def test_a_comparison_is_drawn(tmp_path: Path) -> None:
    one = write_clip(tmp_path / "one.mkv", 8, codec="ffv1")
    two = write_clip(tmp_path / "two.mkv", make_frames(8, seed=3), codec="ffv1")
    report = compare(one, two)
    for name in ("a.svg", "b.svg"):
        plot_comparison(report, tmp_path / name)
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert "PSNR, dB" in text
    assert f"mean {report.psnr:.4g}" in text
