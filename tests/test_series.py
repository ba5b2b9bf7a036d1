from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import linalg, signal

from framepred.series import (
    AUTOREGRESSIONS,
    KALMAN_LEVELS,
    KALMAN_SPEEDS,
    MOVING_AVERAGES,
    Candidate,
    autoregress,
    average_last,
    choose,
    filter_level,
    filter_speed,
    predict,
)

Array = NDArray[np.float64]
FAMILIES = {
    "moving average": MOVING_AVERAGES,
    "autoregression": AUTOREGRESSIONS,
    "level": KALMAN_LEVELS,
    "speed": KALMAN_SPEEDS,
}


def make_noise(n_moments: int, n_points: int, *, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(n_moments, n_points))


def make_autoregressive(coefficients: list[float], n_moments: int, n_points: int) -> Array:
    """A series with these coefficients, by SciPy's recursive filter, about the mean 5."""
    shocks = make_noise(n_moments + 100, n_points)
    denominator = [1.0, *(-a for a in coefficients)]
    return 5 + signal.lfilter([1.0], denominator, shocks, axis=0)[100:]


def autoregress_plainly(series: Array, n_steps: int, order: int) -> Array:
    """The whole design matrix, one row for every value that has a past."""
    n_moments, n_points = series.shape
    rows, targets = [], []
    for t in range(order, n_moments):
        for i in range(n_points):
            rows.append([*(series[t - j, i] for j in range(1, order + 1)), 1.0])
            targets.append(series[t, i])
    *coefficients, constant = np.linalg.lstsq(np.array(rows), np.array(targets))[0]
    past = list(series)
    for _ in range(n_steps):
        lagged = [a * past[-j] for j, a in enumerate(coefficients, 1)]
        past.append(constant + np.sum(lagged, axis=0))
    return np.stack(past[n_moments:])


@pytest.mark.parametrize("order", [1, 2, 4])
def test_autoregression_is_least_squares(order: int) -> None:
    series = make_autoregressive([0.6, -0.3], 9, 20)
    expected = autoregress_plainly(series, 5, order)
    np.testing.assert_allclose(autoregress(series, 5, order=order), expected, rtol=1e-8)


def test_autoregression_finds_the_coefficients_of_the_series() -> None:
    truth = [0.6, -0.3]
    series = make_autoregressive(truth, 40, 3000)
    n_steps = 6
    made = autoregress(series, n_steps, order=2)
    # With no shocks to come, SciPy's filter goes on from where it stands.
    state = signal.lfiltic([1.0], [1.0, -truth[0], -truth[1]], (series[:-3:-1, 0] - 5).tolist())
    expected, _ = signal.lfilter([1.0], [1.0, -truth[0], -truth[1]], np.zeros(n_steps), zi=state)
    np.testing.assert_allclose(made[:, 0], 5 + expected, atol=0.03)


def test_the_order_is_found() -> None:
    # The past two steps matter, the last one hardly: order 1 cannot do.
    series = make_autoregressive([0.1, 0.85], 12, 4000)
    chosen = choose(series, AUTOREGRESSIONS)
    assert chosen is not None
    assert chosen.label in ("order 2", "order 3", "order 4")
    orders = {c.label: c for c in AUTOREGRESSIONS}
    misses = [
        np.mean((orders[f"order {p}"].continue_series(series[:-3], 3) - series[-3:]) ** 2)
        for p in (1, 2, 3, 4)
    ]
    assert chosen.label == f"order {1 + int(np.argmin(misses))}"
    assert misses[1] < 0.9 * misses[0]


def test_autoregression_of_what_does_not_tell_the_coefficients_apart() -> None:
    still = np.repeat(make_noise(1, 50), 6, axis=0)
    for order in (1, 2, 4):
        made = autoregress(still, 4, order=order)
        np.testing.assert_allclose(made, np.repeat(still[:1], 4, axis=0), atol=1e-6)
    same = np.full((6, 50), 0.25)
    np.testing.assert_allclose(autoregress(same, 4, order=3), same[:4], atol=1e-9)
    ramp = np.arange(8.0).reshape(8, 1) * np.ones((1, 30))
    np.testing.assert_allclose(
        autoregress(ramp, 3, order=2), np.array([[8], [9], [10]]) * np.ones((1, 30)), atol=1e-4
    )


def test_moving_average_is_that_of_convolution() -> None:
    series = make_noise(9, 5)
    for n_last in (2, 5):
        means = np.apply_along_axis(np.convolve, 0, series, np.full(n_last, 1 / n_last), "valid")
        made = average_last(series, 3, n_last=n_last)
        np.testing.assert_allclose(made, np.repeat(means[-1:], 3, axis=0))


def extrapolate_by_covariance(
    series: Array, n_steps: int, transition: Array, noise: Array
) -> Array:
    """The best linear unbiased prediction with an unknown first state, all at once.

    The value at t is the first row of F^t s + sum_k F^(t-k) w_k, plus measurement noise of
    variance 1: generalized least squares for s, and conditioning for the rest. No recursion.
    """
    n_known, n_all = len(series), len(series) + n_steps
    powers = [np.linalg.matrix_power(transition, t) for t in range(n_all)]
    design = np.stack([power[0] for power in powers])
    covariance = np.zeros((n_all, n_all))
    for s in range(n_all):
        for t in range(n_all):
            covariance[s, t] = sum(
                powers[s - k][0] @ noise @ powers[t - k][0] for k in range(1, min(s, t) + 1)
            )
    known = covariance[:n_known, :n_known] + np.eye(n_known)
    weights = np.linalg.inv(known)
    near, far = design[:n_known], design[n_known:]
    first = np.linalg.solve(near.T @ weights @ near, near.T @ weights @ series)
    return far @ first + covariance[n_known:, :n_known] @ weights @ (series - near @ first)


SPEED = np.array([[1.0, 1.0], [0.0, 1.0]])
SHAKEN = np.array([[1 / 3, 1 / 2], [1 / 2, 1.0]])


@pytest.mark.parametrize("ratio", [0.0, 0.05, 1.0, 30.0])
@pytest.mark.parametrize("n_known", [2, 3, 8])
def test_kalman_filters_are_the_best_linear_predictions(ratio: float, n_known: int) -> None:
    series = make_noise(n_known, 6).cumsum(0)
    np.testing.assert_allclose(
        filter_speed(series, 4, ratio=ratio),
        extrapolate_by_covariance(series, 4, SPEED, ratio * SHAKEN),
        atol=1e-9,
    )
    np.testing.assert_allclose(
        filter_level(series, 4, ratio=ratio),
        extrapolate_by_covariance(series, 4, np.eye(1), np.full((1, 1), ratio)),
        atol=1e-9,
    )


def test_kalman_filters_at_their_ends() -> None:
    series = make_noise(7, 5)
    moments = np.arange(7)
    line = np.polyfit(moments, series, 1)
    ahead = np.array([7, 8, 9]).reshape(3, 1)
    np.testing.assert_allclose(filter_speed(series, 3, ratio=0), line[1] + line[0] * ahead)
    np.testing.assert_allclose(filter_level(series, 1, ratio=0), series.mean(0, keepdims=True))
    np.testing.assert_allclose(filter_level(series, 1, ratio=1e9), series[-1:], atol=1e-7)


@pytest.mark.parametrize("ratio", [0.1, 2.0])
def test_the_gain_settles_where_the_riccati_equation_says(ratio: float) -> None:
    """A jump long after the start moves the prediction by the steady gain."""
    covariance = linalg.solve_discrete_are(
        SPEED.T, np.array([[1.0], [0.0]]), ratio * SHAKEN, np.eye(1)
    )
    gain = covariance[:, 0] / (covariance[0, 0] + 1)
    series = np.zeros((200, 1))
    series[-1] = 1
    made = filter_speed(series, 2, ratio=ratio)[:, 0]
    np.testing.assert_allclose(made, [gain[0] + gain[1], gain[0] + 2 * gain[1]], atol=1e-9)


def test_a_straight_line_is_carried_on_by_every_constant_velocity_filter() -> None:
    speeds = np.array([2.0, -1.0, 0.0])
    series = np.arange(8).reshape(8, 1) * speeds + 3
    expected = np.arange(8, 12).reshape(4, 1) * speeds + 3
    for candidate in KALMAN_SPEEDS:
        np.testing.assert_allclose(candidate.continue_series(series, 4), expected, atol=1e-9)
    np.testing.assert_allclose(predict(series, 4, KALMAN_LEVELS + KALMAN_SPEEDS), expected)


def test_noise_calls_for_averages_and_wandering_for_the_last_value() -> None:
    noise = make_noise(16, 4000)
    chosen = choose(noise, KALMAN_LEVELS)
    assert chosen is not None
    assert chosen.label == "level, ratio 0"
    averaged = choose(noise, MOVING_AVERAGES)
    assert averaged is not None
    assert averaged.label == "mean of 8"
    wandering = choose(noise.cumsum(0), KALMAN_LEVELS)
    assert wandering is not None
    assert wandering.label == "level, ratio 100"
    hurried = choose(noise.cumsum(0), MOVING_AVERAGES)
    assert hurried is not None
    assert hurried.label == "mean of 2"


def test_the_choice_knows_nothing_of_what_is_hidden() -> None:
    seen: list[int] = []

    def spy(series: Array, n_steps: int, *, error: float) -> Array:
        seen.append(len(series))
        return np.repeat(series[-1:] + 1 + error, n_steps, axis=0)

    good, bad, greedy = (
        Candidate(label, n_needed, partial(spy, error=error))
        for label, n_needed, error in (("good", 1, 0.0), ("bad", 1, 1.0), ("greedy", 7, 0.0))
    )
    series = np.array([0, 0, 0, 0, 0, 0, 1, 1.0]).reshape(8, 1)
    assert choose(series, [bad, greedy, good]) is good
    assert seen == [6, 6]
    np.testing.assert_array_equal(predict(series, 2, [bad, good]), [[2], [2]])
    assert seen[-1] == 8


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n_moments", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("n_points", [1, 3, 40])
def test_shapes(family: str, n_moments: int, n_points: int) -> None:
    series = make_noise(n_moments, n_points)
    copy = series.copy()
    made = predict(series, 6, FAMILIES[family])
    assert made.shape == (6, n_points)
    assert np.isfinite(made).all()
    np.testing.assert_array_equal(series, copy)
    if n_moments == 1:
        np.testing.assert_array_equal(made, np.repeat(series, 6, axis=0))
