from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from synthetic import make_times, read_planes

from framepred.metrics import psnr
from framepred.testcard import Footage, draw_frame
from framepred.video import open_rgb_frames


def test_the_picture_is_always_the_same_and_uses_the_whole_range() -> None:
    picture = draw_frame(128, 224, 3)
    assert (picture.shape, picture.dtype) == ((128, 224, 3), np.uint8)
    assert np.array_equal(picture, draw_frame(128, 224, 3))
    assert picture.min() < 20
    assert picture.max() > 235
    assert 35 < picture.std() < 60


def test_both_textures_move_at_their_speed() -> None:
    # Two frames on at 256 lines: (6, 3) pixels behind, (-8, 4) ahead.
    first, third = (draw_frame(256, 448, k).astype(int) for k in (0, 2))
    behind = np.abs(third[3:40, 6:] - first[:37, :-6])  # above the disc
    assert behind.max() <= 1
    middle_y, middle_x = 128, round(0.6 * 448)
    ahead = np.abs(
        third[middle_y - 20 + 4 : middle_y + 20 + 4, middle_x - 20 - 8 : middle_x + 20 - 8]
        - first[middle_y - 20 : middle_y + 20, middle_x - 20 : middle_x + 20]
    )
    assert ahead.max() <= 1


def test_the_scene_is_the_same_at_every_size() -> None:
    small, large = draw_frame(128, 224, 4), draw_frame(256, 448, 4)
    shrunk = large.reshape(128, 2, 224, 2, 3).mean((1, 3))
    # Pixel (0, 0) is the same point of the scene; the means lie half a fine pixel beside it.
    assert psnr(small, np.rint(shrunk).astype(np.uint8)) > 20
    assert psnr(small, large[::2, ::2]) > 35


def test_footage_has_its_holes_and_can_be_written_twice(tmp_path: Path) -> None:
    slots = [0, 1, 2, 5, 6]
    with Footage(tmp_path, 64, 112, slots) as footage:
        footage.write(tmp_path / "clip.mkv")
        once = list(open_rgb_frames(tmp_path / "clip.mkv"))
        footage.write(tmp_path / "clip.mkv")
    times = [time for time, _ in read_planes(tmp_path / "clip.mkv")]
    assert times == make_times(7, holes=[3, 4])
    assert times[-1] == Fraction(6, 25)
    # x264 does not write the same bits twice on every processor: 39.0 dB were seen.
    for first, picture in zip(once, open_rgb_frames(tmp_path / "clip.mkv"), strict=True):
        assert psnr(first, picture) > 35
    assert psnr(once[0], once[1]) < 30, "of another moment"
    for slot, picture in zip(slots, open_rgb_frames(tmp_path / "clip.mkv"), strict=True):
        assert psnr(draw_frame(64, 112, slot), picture) > 25  # fine colour is lost in 4:2:0
