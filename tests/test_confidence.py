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
    TRUST,
    Evidence,
    GapEvidence,
    compare_estimates,
    estimate_score,
    fit_trust,
)
from framepred.scoring import Score
from framepred.tasks import Task


def make_noise(
    n: int, *, seed: int = 0, dtype: type = np.uint8, height: int = 24
) -> NDArray[np.generic]:
    """``n`` frames without two equal rows or columns."""
    peak = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, peak, (n, height, 32, 3), dtype)


def flat(*levels: int) -> NDArray[np.uint8]:
    return np.stack([np.full((8, 8, 3), level, np.uint8) for level in levels])


NOTHING = np.zeros((0, 8, 8, 3), np.uint8)


def decibels(difference: float) -> float:
    return 20 * math.log10(255 / difference)


# ---- evidence ---------------------------------------------------------------------------------


def test_evidence_of_a_filled_gap() -> None:
    gathered = GapEvidence(10, 13)
    before, after = flat(0, 90), flat(130, 0)  # the nearest frames count: 100, 110, 120 in between
    gathered.add(Task(6, 10, 13, 17, 0), flat(104, 130, 123), before, after)
    assert gathered.weigh(10) is None  # no check yet
    # The checks make their first two frames: the third is as far from the end as the first is.
    scores = [Score(30.0, 0.9), Score(28.0, 0.8)]
    gathered.add(Task(1, 4, 7, 10, 0, is_check=True), flat(102, 112), before, after, scores)
    scores = [Score(34.0, 0.7), Score(29.0, None)]
    gathered.add(Task(13, 16, 19, 22, 0, is_check=True), flat(108, 115), before, after, scores)
    first, second, third = (gathered.weigh(slot) for slot in (10, 11, 12))
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.check == third.check == Score(32.0, pytest.approx(0.8))
    assert second.check == Score(28.5, 0.8)
    calm = (decibels(2) + decibels(8)) / 2
    assert first.calmer == pytest.approx(decibels(4) - calm)
    assert second.calmer == pytest.approx(decibels(20) - (decibels(2) + decibels(5)) / 2)
    assert third.calmer == pytest.approx(decibels(3) - calm)
    assert first.is_two_sided
    assert gathered.weigh(13) is None


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


@pytest.mark.parametrize(("height", "accuracy"), [(24, 1e-4), (255, 1e-4), (1080, 0.1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_calm_is_the_psnr_of_doing_nothing(dtype: type, height: int, accuracy: float) -> None:
    """Of large pictures not every row is looked at."""
    made = make_noise(1, dtype=dtype, height=height)
    known = make_noise(2, seed=1, dtype=dtype, height=height)
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
    # A picture that stands still is 100 dB calm.
    assert evidence.calmer + 100 == pytest.approx(expected, abs=accuracy)


# ---- estimates --------------------------------------------------------------------------------


def test_estimates_by_hand() -> None:
    evidence = Evidence(Score(30.0, 0.9), 4.0, True)
    assert estimate_score(evidence, 0.25) == Score(31.0, 0.9)
    assert estimate_score(evidence, 0.0) == Score(30.0, 0.9)
    assert estimate_score(evidence) == Score(30.0 + 4 * TRUST[True], 0.9)
    one_sided = Evidence(Score(30.0, None), 4.0, False)
    assert estimate_score(one_sided) == Score(30.0 + 4 * TRUST[False], None)


@given(check=st.floats(0, 100), calmer=st.floats(-100, 100), two=st.booleans())
def test_estimates_are_decibels_of_a_picture(check: float, calmer: float, two: bool) -> None:
    estimated = estimate_score(Evidence(Score(check, None), calmer, two)).psnr
    assert estimated is not None
    assert 0 <= estimated <= 100


def test_nothing_is_estimated_from_nothing() -> None:
    evidence = Evidence(Score(None, None), 3.0, True)
    assert estimate_score(evidence) == Score(None, None)
    assert fit_trust([evidence], [Score(30.0, 0.9)], [1.0]) is None
    assert fit_trust([], [], []) is None


def test_more_motion_than_in_the_check_means_a_lower_estimate() -> None:
    for trust in TRUST.values():
        # All of it would be to believe that nothing but the motion makes a frame hard.
        assert 0 < trust < 1


def test_a_fit_finds_what_made_the_truth() -> None:
    random = np.random.default_rng(0)
    checks, calmer = random.uniform(20, 40, 40), random.normal(size=40)
    evidence = [
        Evidence(Score(check, None), more, True) for check, more in zip(checks, calmer, strict=True)
    ]
    true = [estimate_score(known, 0.4) for known in evidence]
    assert fit_trust(evidence, true, [1.0] * 40) == pytest.approx(0.4)
    # Of what no trust explains it makes the squares least, as numpy does with rows that weigh.
    rest, weights = random.normal(size=40), random.uniform(0.1, 1, 40)
    true = [Score(score, None) for score in checks + rest]
    root = np.sqrt(weights)
    expected = np.linalg.lstsq((root * calmer)[:, None], root * rest)[0][0]
    assert fit_trust(evidence, true, [*weights]) == pytest.approx(expected)


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
