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

    def make(self, before: Any, after: Any, n_frames: int) -> Any:
        return np.repeat(before[-1:], n_frames, axis=0)


class NearestPredictor(BlendPredictor):
    """Repeats the nearest frame: as wrong at the end of a gap as at its start."""

    def make(self, before: Any, after: Any, n_frames: int) -> Any:
        n_before = (n_frames + 1) // 2
        sides = (np.repeat(before[-1:], n_before, 0), np.repeat(after[:1], n_frames - n_before, 0))
        return np.concatenate(sides)


def make_fade(n: int, step: int) -> NDArray[np.uint8]:
    """Flat frames that get brighter by ``step`` a frame."""
    return np.stack([np.full((16, 16, 3), 10 + step * k, np.uint8) for k in range(n)])


def decibels(difference: float) -> float:
    return 20 * math.log10(255 / difference)


def test_what_is_as_hard_as_the_self_check_is_estimated_exactly() -> None:
    predictor: Any = NearestPredictor()
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
    assert report.trust is None  # what repeats the last frame is nowhere more calm than elsewhere


def test_other_clips_alone_decide_the_fit() -> None:
    predictor: Any = RepeatPredictor()
    ledger = ConfidenceLedger(predictor, with_ssim=False)
    for name, leap in (("a", 3), ("b", 12)):
        fade = make_fade(40, 3)
        fade[15:] += leap  # at the first hidden frame; neither check sees it
        ledger.add(Window(name, 15, 1, 4, "fill"), fade)
    report = ledger.report()
    # The made frame is wrong by 3 + leap, and by half of 6 + leap from the middle of what is known;
    # in the checks both are 3.
    loss = [decibels(3) - decibels(3 + leap) for leap in (3, 12)]
    calm = [decibels(3) - decibels(3 + leap / 2) for leap in (3, 12)]
    trust = [one / two for one, two in zip(loss, calm, strict=True)]
    raw, _, fitted = (row.psnr["all"] for row in report.estimates)
    assert raw.mean_error == pytest.approx(np.mean(loss))
    wrong = [abs(loss[0] - trust[1] * calm[0]), abs(loss[1] - trust[0] * calm[1])]
    assert fitted.mean_error == pytest.approx(np.mean(wrong))
    weighted = (calm[0] * loss[0] + calm[1] * loss[1]) / (calm[0] ** 2 + calm[1] ** 2)
    assert report.trust == pytest.approx(weighted)


def test_windows_without_room_for_a_check() -> None:
    predictor: Any = RepeatPredictor()
    ledger = ConfidenceLedger(predictor, with_ssim=False)
    ledger.add(Window("a.mp4", 4, 4, 4, "fill"), make_fade(12, 1))
    ledger.add(Window("a.mp4", 8, 8, 8, "forecast"), make_fade(16, 1))
    assert len(predictor.calls) == 2
    report = ledger.report()
    assert (report.n_frames, report.n_without) == (12, 12)
    assert report.estimates == ()
    assert report.trust is None
