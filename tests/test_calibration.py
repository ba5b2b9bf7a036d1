from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from blending import BlendPredictor
from numpy.typing import NDArray

from framepred.calibration import ConfidenceLedger
from framepred.protocol import Window


class RepeatPredictor(BlendPredictor):
    """Repeats the last frame before the gap."""

    def fill(self, before: Any, after: Any, n_frames: int) -> Any:
        super().fill(before, after, n_frames)
        return np.repeat(before[-1:], n_frames, axis=0)


def make_fade(n: int, step: int) -> NDArray[np.uint8]:
    """Flat frames that get brighter by ``step`` a frame."""
    return np.stack([np.full((16, 16, 3), 10 + step * k, np.uint8) for k in range(n)])


def decibels(difference: float) -> float:
    return 20 * math.log10(255 / difference)


def test_what_is_as_hard_as_the_self_check_is_estimated_exactly() -> None:
    predictor: Any = RepeatPredictor()
    ledger = ConfidenceLedger(predictor, with_ssim=False)
    for step in (1, 2, 5):
        for n_missing in (1, 4):
            window = Window(f"{step}.mp4", 15, n_missing, 4, "fill")
            ledger.add(window, make_fade(40, step))
    # Each window and a check on both sides of it.
    assert len(predictor.calls) == 18
    assert {call[:2] for call in predictor.calls} == {(4, 4)}
    report = ledger.report()
    assert (report.n_frames, report.n_without) == (15, 0)
    assert [row.estimate for row in report.estimates] == [
        "self-check", "estimate", "fitted to other clips",
    ]  # fmt: skip
    row = report.estimates[0]
    assert list(row.psnr) == [1, 4, "all"]
    assert {column: found.n_frames for column, found in row.psnr.items()} == {
        1: 3,
        4: 12,
        "all": 15,
    }
    for found in row.psnr.values():
        assert found.pearson == pytest.approx(1)
        assert found.spearman == pytest.approx(1)
        assert found.mean_error == pytest.approx(0)
    assert row.ssim == {}
    assert report.fitted.psnr == pytest.approx((0, 0), abs=1e-9)


def test_forecasts_are_told_by_step() -> None:
    predictor: Any = RepeatPredictor()
    ledger = ConfidenceLedger(predictor, with_ssim=True)
    fade = make_fade(40, 3)
    fade[20:] += 9  # the check ends before the leap, the forecast begins with it
    ledger.add(Window("a.mp4", 20, 8, 6, "forecast"), fade)
    assert predictor.calls == [(6, 0, 8), (6, 0, 8)]
    report = ledger.report()
    assert len(report.estimates) == 2  # one clip: there are no others to fit to
    row = report.estimates[0]
    assert list(row.psnr) == list(row.ssim) == [1, 2, 4, 8, "all"]
    for step in (1, 2, 4, 8):
        error = decibels(3 * step) - decibels(3 * step + 9)
        assert row.psnr[step].mean_error == pytest.approx(error)
        assert row.psnr[step].pearson is None
    assert row.psnr["all"].n_frames == 8
    assert row.psnr["all"].spearman == pytest.approx(1)
    offset, trust = report.fitted.psnr
    assert offset < 0
    # Nothing was calmer or less calm: all is left to the offset.
    errors = [decibels(3 * k + 9) - decibels(3 * k) for k in range(1, 9)]
    assert offset == pytest.approx(np.mean(errors))
    assert trust == 0


def test_other_clips_alone_decide_the_fit() -> None:
    predictor: Any = RepeatPredictor()
    ledger = ConfidenceLedger(predictor, with_ssim=False)
    for name, leap in (("a", 0), ("b", 9)):
        fade = make_fade(40, 3)
        fade[20:] += leap
        ledger.add(Window(name, 20, 8, 6, "forecast"), fade)
    fitted = ledger.report().estimates[2].psnr["all"]
    # What is true of one clip is expected of the other, and each is wrong by as much.
    errors = [decibels(3 * k) - decibels(3 * k + 9) for k in range(1, 9)]
    assert fitted.mean_error == pytest.approx(np.mean(errors))


def test_windows_without_room_for_a_check() -> None:
    predictor: Any = RepeatPredictor()
    ledger = ConfidenceLedger(predictor, with_ssim=False)
    ledger.add(Window("a.mp4", 4, 4, 4, "fill"), make_fade(12, 1))
    ledger.add(Window("a.mp4", 8, 8, 8, "forecast"), make_fade(16, 1))
    assert len(predictor.calls) == 2
    report = ledger.report()
    assert (report.n_frames, report.n_without) == (12, 12)
    assert report.estimates == ()
    assert report.fitted.psnr == (0, 0)
