from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic import make_frames, make_times, write_clip, write_gappy_clip

from framepred.comparison import compare
from framepred.errors import EvaluationError, MediaError
from framepred.metrics import psnr, ssim
from framepred.reports import Progress
from framepred.video import open_rgb_frames


def rgb(path: Path) -> list[np.ndarray]:
    return list(open_rgb_frames(path))


def test_scores_each_frame(tmp_path: Path) -> None:
    frames = make_frames(8)
    noisy = [np.clip(f.astype(int) + (i % 2) * 9, 0, 255).astype(np.uint8)
             for i, f in enumerate(frames)]  # fmt: skip
    first = write_clip(tmp_path / "a.mkv", frames, codec="ffv1")
    second = write_clip(tmp_path / "b.mkv", noisy, codec="ffv1")
    report = compare(first, second)
    assert report.frames_compared == 8
    assert report.frames_identical == 4
    assert (report.frames_only_in_reference, report.frames_only_in_other) == (0, 0)
    for score, true, made in zip(report.frames, rgb(first), rgb(second), strict=True):
        assert score.psnr == min(100.0, psnr(true, made))
        assert score.ssim == ssim(true, made)
    assert [score.time for score in report.frames] == make_times(8)
    assert report.psnr == pytest.approx(np.mean([score.psnr for score in report.frames]))
    assert report.worst_psnr == min(score.psnr for score in report.frames if score.psnr)


def test_frames_are_paired_by_time(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", 20, codec="ffv1")
    holes = [5, 6, 13, 19]
    gappy, _ = write_gappy_clip(tmp_path / "gappy.mkv", 20, holes, codec="ffv1")
    report = compare(whole, gappy)
    assert [score.index for score in report.frames] == [i for i in range(20) if i not in holes]
    assert (report.frames_only_in_reference, report.frames_only_in_other) == (4, 0)
    assert report.frames_identical == 16
    assert (report.psnr, report.ssim) == (100.0, 1.0)
    turned = compare(gappy, whole)
    assert (turned.frames_only_in_reference, turned.frames_only_in_other) == (0, 4)
    assert turned.frames_identical == 16


def test_the_containers_start_and_clock_do_not_matter(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.mkv", 10, rate=30, codec="ffv1")
    late = write_clip(tmp_path / "b.mp4", 10, rate=30, times=make_times(10, rate=30, start=3))
    report = compare(first, late)
    assert report.frames_compared == 10
    assert report.frames_identical == 10


def test_bit_depths_meet_at_eight(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.mkv", 5, codec="ffv1")
    second = write_clip(tmp_path / "b.mkv", 5, codec="ffv1", pix_fmt="yuv420p10le")
    report = compare(first, second)
    assert report.frames_compared == 5
    assert report.psnr > 40


def test_progress(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", 5, codec="ffv1")
    seen: list[Progress] = []
    compare(clip, clip, on_progress=seen.append)
    assert seen[-1].done == 5


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", 5, codec="ffv1")
    small = write_clip(tmp_path / "b.mkv", make_frames(5, width=32, height=32), codec="ffv1")
    with pytest.raises(EvaluationError, match="32x32"):
        compare(clip, small)
    with pytest.raises(MediaError):
        compare(clip, tmp_path / "absent.mkv")
