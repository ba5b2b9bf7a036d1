from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from skimage.metrics import peak_signal_noise_ratio

from framepred.confidence import (
    CALIBRATIONS,
    Calibration,
    Evidence,
    GapEvidence,
    compare_estimates,
    estimate_score,
    fit_calibration,
)
from framepred.scoring import Score
from framepred.tasks import Task


def make_noise(n: int, *, seed: int = 0, dtype: type = np.uint8) -> NDArray[np.generic]:
    """``n`` frames without two equal rows or columns."""
    peak = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, peak, (n, 24, 32, 3), dtype)


def flat(*levels: int) -> NDArray[np.uint8]:
    return np.stack([np.full((8, 8, 3), level, np.uint8) for level in levels])


NOTHING = np.zeros((0, 8, 8, 3), np.uint8)


def decibels(difference: float) -> float:
    return 20 * math.log10(255 / difference)


# ---- evidence ---------------------------------------------------------------------------------


def test_evidence_of_a_filled_gap() -> None:
    gathered = GapEvidence(10, 12)
    before, after = flat(0, 90), flat(120, 0)  # the nearest frames count: 100 and 110 in between
    gathered.add(Task(6, 10, 12, 16, 0), flat(104, 130), before, after)
    assert gathered.weigh(10) is None  # no check yet
    scores = [Score(30.0, 0.9), Score(28.0, 0.8)]
    gathered.add(Task(2, 4, 6, 8, 0, is_check=True), flat(102, 112), before, after, scores)
    scores = [Score(34.0, 0.7), Score(29.0, None)]
    gathered.add(Task(14, 16, 18, 20, 0, is_check=True), flat(108, 115), before, after, scores)
    first, second = gathered.weigh(10), gathered.weigh(11)
    assert first is not None
    assert second is not None
    assert first.check == Score(32.0, pytest.approx(0.8))
    assert second.check == Score(28.5, 0.8)
    assert first.calmer == pytest.approx(decibels(4) - (decibels(2) + decibels(8)) / 2)
    assert second.calmer == pytest.approx(decibels(20) - (decibels(2) + decibels(5)) / 2)
    assert first.is_two_sided
    assert gathered.weigh(12) is None


def test_evidence_of_a_gap_that_a_cut_splits() -> None:
    gathered = GapEvidence(10, 13)
    gathered.add(Task(6, 10, 12, 12, 0), flat(14, 18), flat(0, 10), NOTHING)
    gathered.add(Task(12, 12, 13, 17, 0), flat(90), NOTHING, flat(98, 0))
    check = Task(4, 8, 10, 10, 0, is_check=True)
    gathered.add(check, flat(12, 12), flat(0, 10), NOTHING, [Score(31.0, None), Score(21.0, None)])
    check = Task(13, 13, 14, 18, 0, is_check=True)
    gathered.add(check, flat(97), NOTHING, flat(98, 0), [Score(41.0, None)])
    evidence = [gathered.weigh(slot) for slot in (10, 11, 12)]
    assert [e.check.psnr for e in evidence if e] == [31.0, 21.0, 41.0]
    assert [e.calmer for e in evidence if e] == pytest.approx(
        [decibels(4) - decibels(2), decibels(8) - decibels(2), decibels(8) - decibels(1)]
    )
    assert not any(e.is_two_sided for e in evidence if e)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_calm_is_the_psnr_of_doing_nothing(dtype: type) -> None:
    made, known = make_noise(1, dtype=dtype), make_noise(2, seed=1, dtype=dtype)
    still = known.astype(float).mean(0)
    peak = np.iinfo(dtype).max
    gathered = GapEvidence(4, 5)
    gathered.add(Task(3, 4, 5, 6, 0), made, known[:1], known[1:])
    blank = [np.zeros_like(made), np.zeros_like(known[:1])]
    check = Task(0, 1, 2, 3, 0, is_check=True)
    gathered.add(check, blank[0], blank[1], blank[1], [Score(1.0, None)])
    evidence = gathered.weigh(4)
    assert evidence is not None
    expected = peak_signal_noise_ratio(made[0].astype(float), still, data_range=peak)
    # Every second row and column is looked at; a picture that stands still is 100 dB calm.
    assert evidence.calmer + 100 == pytest.approx(expected, abs=0.5)


# ---- estimates --------------------------------------------------------------------------------


def test_estimates_by_hand() -> None:
    evidence = Evidence(Score(30.0, 0.9), 4.0, True)
    calibration = Calibration(psnr=(-1.0, 0.5), ssim=(0.2, -0.05))
    estimated = estimate_score(evidence, calibration)
    assert estimated.psnr == pytest.approx(31.0)
    assert estimated.ssim == pytest.approx(0.9)  # 0.2 - 0.05 * 4 = 0
    calm = estimate_score(Evidence(Score(30.0, 0.9), 10.0, True), calibration)
    assert calm.ssim == pytest.approx(1 - 10**-1.3)


def test_nothing_is_estimated_from_nothing() -> None:
    for two_sided in (True, False):
        estimated = estimate_score(Evidence(Score(None, None), 3.0, two_sided))
        assert estimated == Score(None, None)


@given(
    check=st.floats(0, 100), ssim=st.floats(-1, 1), calmer=st.floats(-100, 100), two=st.booleans()
)
def test_estimates_are_scores(check: float, ssim: float, calmer: float, two: bool) -> None:
    estimated = estimate_score(Evidence(Score(check, ssim), calmer, two))
    assert estimated.psnr is not None
    assert estimated.psnr <= 100
    assert estimated.ssim is not None
    assert 0 <= estimated.ssim <= 1


def test_more_motion_than_in_the_check_means_a_lower_estimate() -> None:
    for two_sided, calibration in CALIBRATIONS.items():
        assert 0 <= calibration.psnr[1] < 1
        assert -0.05 < calibration.ssim[1] <= 0
        hard, same = (
            estimate_score(Evidence(Score(30.0, 0.9), calmer, two_sided)) for calmer in (-6.0, 0.0)
        )
        assert hard.psnr is not None
        assert same.psnr is not None
        assert hard.psnr <= same.psnr
        assert same.psnr == pytest.approx(30, abs=1.5)


def test_a_fit_finds_the_calibration_that_made_the_truth() -> None:
    truth = Calibration(psnr=(-0.75, 0.4), ssim=(0.1, -0.03))
    random = np.random.default_rng(0)
    evidence = [
        Evidence(Score(random.uniform(20, 40), random.uniform(0.7, 0.95)), random.normal(), True)
        for _ in range(40)
    ]
    true = [estimate_score(known, truth) for known in evidence]
    found = fit_calibration(evidence, true, [1.0] * 40)
    assert found.psnr == pytest.approx(truth.psnr)
    assert found.ssim == pytest.approx(truth.ssim)
    # A frame that weighs next to nothing cannot spoil the fit.
    found = fit_calibration([*evidence, evidence[0]], [*true, Score(3.0, 0.1)], [1.0] * 40 + [1e-9])
    assert found.psnr == pytest.approx(truth.psnr, abs=1e-4)
    assert found.ssim == pytest.approx(truth.ssim, abs=1e-4)


def test_nothing_can_be_fitted_to_nothing() -> None:
    evidence = [Evidence(Score(30.0, None), 1.0, True), Evidence(Score(32.0, None), 2.0, True)]
    found = fit_calibration(evidence, [Score(31.0, None), Score(34.0, None)], [1.0, 1.0])
    assert found.ssim == (0.0, 0.0)
    assert found.psnr == pytest.approx((0.0, 1.0))


# ---- agreement --------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 9), st.floats(0, 50)), min_size=3, max_size=40),
)
def test_agreement_is_that_of_scipy(pairs: list[tuple[int, float]]) -> None:
    one, two = [float(a) for a, _ in pairs], [round(b, 3) for _, b in pairs]
    found = compare_estimates(one, two)
    assert found.n_frames == len(pairs)
    assert found.mean_error == pytest.approx(np.mean(np.abs(np.subtract(one, two))))
    if len(set(one)) == 1 or len(set(two)) == 1:
        assert found.pearson is None
        assert found.spearman is None
    else:
        assert found.pearson == pytest.approx(stats.pearsonr(one, two)[0], abs=1e-9)
        assert found.spearman == pytest.approx(stats.spearmanr(one, two)[0], abs=1e-9)


def test_too_little_to_correlate() -> None:
    assert compare_estimates([30.0], [32.0]).pearson is None
    assert compare_estimates([30.0], [32.0]).mean_error == 2.0
    assert compare_estimates([], []).mean_error is None
