from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from synthetic import make_frames, write_clip, write_gappy_clip

from framepred.errors import EvaluationError
from framepred.metrics import psnr, ssim
from framepred.scoring import (
    HIGHEST_PSNR,
    Score,
    TrueFrames,
    align,
    check_same_size,
    mean_score,
    score_frame,
    score_image,
)
from framepred.video import Frame, VideoReader


def test_scores_are_those_of_scikit_image() -> None:
    first, second = make_frames(2)
    assert score_image(first, second) == Score(psnr(second, first), ssim(second, first))


def test_identical_pictures_have_a_finite_score() -> None:
    (image,) = make_frames(1)
    assert score_image(image, image) == Score(HIGHEST_PSNR, 1.0)


def test_pictures_of_two_depths_are_compared_in_eight_bits() -> None:
    (image,) = make_frames(1)
    assert score_image(image.astype(np.uint16) * 257, image) == Score(HIGHEST_PSNR, 1.0)


def test_pictures_too_small_for_ssim_have_none() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    score = score_image(image + np.uint8(5), image)
    assert score.ssim is None
    assert score.psnr == psnr(image, image + np.uint8(5))


def test_mean_is_over_what_was_measured() -> None:
    scores = [Score(30.0, 0.9), Score(40.0, None), Score(None, None)]
    assert mean_score(scores) == Score(35.0, 0.9)
    assert mean_score([]) == Score(None, None)


def test_true_frames_are_found_by_time(tmp_path: Path) -> None:
    path, _ = write_gappy_clip(tmp_path / "clip.mkv", 12, [4], codec="ffv1")
    near = Fraction(1, 50)
    with VideoReader(path) as reader:
        truth = TrueFrames(reader)
        for asked, index in ((0, 0), (0, 0), (2, 2), (3, 3), (4, None), (5, 4), (11, 10)):
            found = truth.find(Fraction(asked, 25), tolerance=near)
            assert (found.index if found else None) == index
        slightly_late = truth.find(Fraction(11, 25) + Fraction(1, 100), tolerance=near)
        assert slightly_late is not None
        assert truth.find(Fraction(12, 25), tolerance=near) is None


def test_sizes_must_agree(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", 3, codec="ffv1")
    other = write_clip(tmp_path / "b.mkv", make_frames(3, width=32, height=48), codec="ffv1")
    check_same_size(clip, clip)
    with pytest.raises(EvaluationError, match="32x48"):
        check_same_size(clip, other)


def test_a_late_start_is_compared_across_depths(tmp_path: Path) -> None:
    pictures = make_frames(12)
    times = [Fraction(i, 25) for i in range(3, 12)]
    deep, late = (tmp_path / f"{name}.mkv" for name in ("deep", "late"))
    write_clip(deep, pictures, codec="ffv1", pix_fmt="yuv444p10le")
    write_clip(late, pictures[3:], times=times, codec="ffv1", pix_fmt="yuv444p")
    assert align(deep, late) == align(late, deep) == 0


def test_a_frame_of_another_size_is_not_scored(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", 1)
    (image,) = make_frames(1)
    with VideoReader(path) as reader:
        (frame,) = reader.read()
    assert isinstance(frame, Frame)
    assert score_frame(image[:-2], frame) is None
    assert score_frame(image, frame) is not None
