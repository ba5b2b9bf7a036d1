"""How a series of numbers goes on: moving average, autoregression, Kalman filter.

A series is a float64 array (T, N): N points at T moments, oldest first. One model is fitted to all
points together; which one of a family, the end of the series decides: the last moments are hidden,
and whoever predicts them best from those before may predict what nobody knows.

::

    | | | | | | . .            hidden while choosing (the last quarter)
    | | | | | | | | o o o o    fitted again to all, and continued
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AUTOREGRESSIONS",
    "KALMAN_LEVELS",
    "KALMAN_SPEEDS",
    "MOVING_AVERAGES",
    "Candidate",
    "Series",
    "autoregress",
    "average_last",
    "choose",
    "filter_level",
    "filter_speed",
    "predict",
]

Series = NDArray[np.float64]

_COLLINEAR = 1e-10  # singular values below this share of the largest tell nothing


@dataclass(frozen=True)
class Candidate:
    """A predictor ``(series, n_steps) -> (n_steps, N)``, and how many moments it needs."""

    label: str
    n_needed: int
    continue_series: Callable[[Series, int], Series]


def predict(series: Series, n_steps: int, candidates: Sequence[Candidate]) -> Series:
    """Continue a series (T, N), T >= 1, by the candidate that its own end speaks for.

    Where it is too short to try any, the last value is held. Returns (n_steps, N).
    """
    chosen = choose(series, candidates)
    if chosen is None:
        return np.repeat(series[-1:], n_steps, axis=0)
    return chosen.continue_series(series, n_steps)


def choose(series: Series, candidates: Sequence[Candidate]) -> Candidate | None:
    """The candidate with the least squared error on the last quarter, the first of equals.

    None if the first three quarters are too short for all.
    """
    n_hidden = max(1, len(series) // 4)
    known, hidden = series[:-n_hidden], series[-n_hidden:]

    def miss(candidate: Candidate) -> float:
        return float(np.mean((candidate.continue_series(known, n_hidden) - hidden) ** 2))

    able = [candidate for candidate in candidates if candidate.n_needed <= len(known)]
    return min(able, key=miss, default=None)


def average_last(series: Series, n_steps: int, *, n_last: int) -> Series:
    """Moving average: the mean of the last ``n_last`` values, at every step.

    (Not the MA(q) of Box and Jenkins, which averages errors.)
    """
    return np.repeat(series[-n_last:].mean(0, keepdims=True), n_steps, axis=0)


def autoregress(series: Series, n_steps: int, *, order: int) -> Series:
    """Autoregression x_t = c + a_1 x_{t-1} + ... + a_p x_{t-p}, one c and a for all points.

    Fitted by least squares (Yule, 1927) through its normal equations, and applied to its own output
    step by step. Where the series does not tell the coefficients apart, the smallest are taken.
    """
    middle = float(series.mean())
    lags = series - middle
    coefficients, constant = _fit_autoregression(lags, order)
    made = np.concatenate((lags[-order:], np.zeros((n_steps, series.shape[1]))))
    for t in range(order, len(made)):
        made[t] = constant + coefficients @ made[t - order : t][::-1]
    return made[order:] + middle


def _fit_autoregression(series: Series, order: int) -> tuple[Series, float]:
    """(a_1, ..., a_p) and c of a series (T, N)."""
    # All products of two moments, summed over the points: every entry of the equations is one.
    rows = np.vstack((series, np.ones_like(series[:1])))
    products = rows @ rows.T
    normal, right = np.zeros((order + 1, order + 1)), np.zeros(order + 1)
    for t in range(order, len(series)):
        regressors = [*range(t - 1, t - order - 1, -1), len(series)]
        normal += products[np.ix_(regressors, regressors)]
        right += products[regressors, t]
    solution: Series = np.linalg.lstsq(normal, right, rcond=_COLLINEAR)[0].astype(np.float64)
    return solution[:-1], float(solution[-1])


def filter_level(series: Series, n_steps: int, *, ratio: float) -> Series:
    """Kalman filter of a value that wanders: x' = x + w, measured with noise; then held.

    ratio: variance of w over that of the noise; 0 is the mean of all, infinity the last value.
    Nothing is known at first (Kalman, 1960; Harvey, 1989, the local level model).
    """
    state = _follow(
        series[1:], series[:1], np.ones((1, 1)), np.ones((1, 1)), np.full((1, 1), ratio)
    )
    return np.repeat(state, n_steps, axis=0)


def filter_speed(series: Series, n_steps: int, *, ratio: float) -> Series:
    """Kalman filter with a constant-velocity state: x' = x + v, v' = v, shaken by acceleration.

    The acceleration is white noise: its covariance over one step is ``ratio * [[1/3, 1/2],
    [1/2, 1]]`` in units of the measurement noise's variance. Ratio 0 is the straight line of least
    squares. Nothing is known at first (Kalman, 1960; Bar-Shalom et al., 2001, section 6.2.2).
    """
    transition = np.array([[1.0, 1.0], [0.0, 1.0]])
    noise = ratio * np.array([[1 / 3, 1 / 2], [1 / 2, 1.0]])
    # What two measurements tell of someone of whom nothing was known.
    state = np.stack((series[1], series[1] - series[0]))
    covariance = np.array([[1.0, 1.0], [1.0, 2.0 + ratio / 3]])
    level, speed = _follow(series[2:], state, covariance, transition, noise)
    made: Series = level + speed * np.arange(1.0, n_steps + 1)[:, None]
    return made


def _follow(
    series: Series, state: Series, covariance: Series, transition: Series, noise: Series
) -> Series:
    """Predict and correct the state (S, N) with each moment, which measures its first row.

    Variances are in units of the measurement's. All points share the covariance (S, S): it does
    not depend on what is measured.
    """
    for measured in series:
        state = transition @ state
        covariance = transition @ covariance @ transition.T + noise
        gain = covariance[:, 0] / (covariance[0, 0] + 1)
        state = state + np.outer(gain, measured - state[0])
        covariance = covariance - np.outer(gain, covariance[0])
    return state


_RATIOS = (0.0, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)

MOVING_AVERAGES = tuple(
    Candidate(f"mean of {n}", n, partial(average_last, n_last=n)) for n in range(2, 9)
)
AUTOREGRESSIONS = tuple(
    Candidate(f"order {p}", p + 1, partial(autoregress, order=p)) for p in range(1, 5)
)
KALMAN_LEVELS = tuple(
    Candidate(f"level, ratio {ratio:g}", 1, partial(filter_level, ratio=ratio)) for ratio in _RATIOS
)
KALMAN_SPEEDS = tuple(
    Candidate(f"speed, ratio {ratio:g}", 2, partial(filter_speed, ratio=ratio)) for ratio in _RATIOS
)
