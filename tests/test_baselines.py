from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scenery import film

from framepred.baselines import (
    CLASSICAL_BASELINES,
    FILL_BASELINES,
    FORECAST_BASELINES,
    SLOW_BASELINES,
    trace_speeds,
)
from framepred.metrics import psnr

ALL = [
    *(("fill", *entry) for entry in (FILL_BASELINES | CLASSICAL_BASELINES).items()),
    *(("forecast", *entry) for entry in (FORECAST_BASELINES | CLASSICAL_BASELINES).items()),
]


def make_noise(n: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3), np.uint8)


def test_names_of_the_table() -> None:
    assert list(FILL_BASELINES) == [
        "repeat-last",
        "linear blend",
        "ffmpeg minterpolate",
        "flow, straight",
        "flow, curved",
    ]
    assert list(FORECAST_BASELINES) == ["repeat-last", "flow, constant velocity"]
    assert set(SLOW_BASELINES) == {"fill", "forecast"}
    assert list(CLASSICAL_BASELINES) == [
        "moving average, pixels",
        "autoregression, pixels",
        "Kalman filter, pixels",
        "moving average, motion",
        "autoregression, motion",
        "Kalman filter, motion",
    ]


def test_repeat_last() -> None:
    frames = make_noise(6, 9, 7)
    made = FILL_BASELINES["repeat-last"](frames[:3], frames[4:], 4)
    assert made.shape == (4, 9, 7, 3)
    assert all(np.array_equal(frame, frames[2]) for frame in made)


def test_linear_blend_is_a_cross_fade() -> None:
    frames = make_noise(6, 9, 7)
    made = FILL_BASELINES["linear blend"](frames[:3], frames[3:], 3)
    for k in (1, 2, 3):
        mixed = frames[2] * (1 - k / 4) + frames[3] * (k / 4)
        assert np.abs(made[k - 1] - mixed).max() <= 0.5 + 1e-4
    assert made.dtype == np.uint8


@pytest.mark.parametrize(("task", "name", "method"), ALL)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (9, 1), (33, 47)])
@pytest.mark.parametrize("n_known", [1, 2, 4])
def test_shapes(task: str, name: str, method, height: int, width: int, n_known: int) -> None:  # type: ignore[no-untyped-def]
    frames = make_noise(2 * n_known, height, width)
    after = frames[n_known:] if task == "fill" else frames[:0]
    copy = frames.copy()
    made = method(frames[:n_known], after, 3)
    assert made.shape == (3, height, width, 3)
    assert made.dtype == np.uint8
    assert np.array_equal(frames, copy)
    assert np.array_equal(made, method(frames[:n_known], after, 3))


@pytest.mark.parametrize(("task", "name", "method"), ALL)
def test_a_static_film_stays_static(task: str, name: str, method) -> None:  # type: ignore[no-untyped-def]
    frames = np.repeat(film(1, 48, 64), 6, axis=0)
    made = method(frames[:3], frames[3:] if task == "fill" else frames[:0], 3)
    assert np.abs(made.astype(int) - frames[:3]).max() <= 1


@pytest.mark.parametrize("name", ["grass", "chelsea"])
@pytest.mark.parametrize("n_missing", [1, 3])
def test_flow_beats_blending_and_holding_of_a_moving_film(name: str, n_missing: int) -> None:
    frames = film(6 + n_missing, 64, 80, name=name, speed=(2.0, -1.0))
    before, hidden, after = frames[:3], frames[3:-3], frames[-3:]
    scores = {
        title: np.mean([psnr(a, b) for a, b in zip(hidden, made, strict=True)])
        for title, made in (
            (title, method(before, after, n_missing)) for title, method in FILL_BASELINES.items()
        )
    }
    still = max(scores["repeat-last"], scores["linear blend"])
    assert scores["flow, straight"] > still + 3
    assert scores["flow, curved"] > still + 3
    # The motion is steady: bending gains nothing and must not cost much.
    assert scores["flow, curved"] > scores["flow, straight"] - 1.5
    assert scores["ffmpeg minterpolate"] > still + 1


@pytest.mark.parametrize("name", ["linear blend", "flow, straight", "flow, curved"])
def test_filling_is_symmetric_in_time(name: str) -> None:
    frames = film(9, 48, 56, name="chelsea", speed=(2.0, -1.0))
    # Something comes in front, so that the two sides do not agree everywhere.
    for k, frame in enumerate(frames):
        frame[10:30, 4 * k : 4 * k + 16] = (200, 30, 90)
    made = FILL_BASELINES[name](frames[:3], frames[6:], 3)
    mirrored = FILL_BASELINES[name](frames[::-1][:3], frames[::-1][6:], 3)[::-1]
    assert np.abs(made.astype(int) - mirrored).max() <= 1


def test_curved_flow_wins_where_the_motion_bends() -> None:
    # Thrown up and falling: the frames beside the gap are at one place, so straight flow sees rest.
    heights = [-0.5 * (k - 5) ** 2 for k in range(11)]
    whole = film(1, 120, 64, name="gravel")[0]
    frames = np.stack([whole[30 + round(h) : 94 + round(h)] for h in heights])
    before, hidden, after = frames[:4], frames[4:7], frames[7:]
    straight, curved = (
        np.mean(
            [psnr(a, b) for a, b in zip(hidden, FILL_BASELINES[n](before, after, 3), strict=True)]
        )
        for n in ("flow, straight", "flow, curved")
    )
    assert curved > straight + 2


def test_forecast_carries_the_motion_on() -> None:
    frames = film(6, 64, 80, speed=(2.0, -1.0))
    made = FORECAST_BASELINES["flow, constant velocity"](frames[:4], frames[:0], 2)
    inner = (slice(8, -8), slice(8, -8))
    for k in range(2):
        assert psnr(frames[4 + k][inner], made[k][inner]) > psnr(frames[4 + k], frames[3]) + 5


def test_forecast_of_one_frame_holds_it() -> None:
    frames = film(1, 33, 40)
    made = FORECAST_BASELINES["flow, constant velocity"](frames, frames[:0], 3)
    assert all(np.array_equal(frame, frames[0]) for frame in made)


@pytest.mark.parametrize("task", ["fill", "forecast"])
def test_slow_baselines_follow_the_motion_too(task: str) -> None:
    frames = film(7, 48, 56, speed=(1.0, 0.5))
    ((_, method),) = SLOW_BASELINES[task].items()
    after = frames[4:] if task == "fill" else frames[:0]
    made = method(frames[:3], after, 1)
    assert made.shape == (1, 48, 56, 3)
    inner = (slice(6, -6), slice(6, -6))
    assert psnr(frames[3][inner], made[0][inner]) > psnr(frames[3][inner], frames[2][inner]) + 2


def test_speeds_are_traced_along_the_paths_of_points() -> None:
    frames = film(6, 64, 80, speed=(2.0, -1.0))
    speeds = trace_speeds(frames).numpy()
    assert speeds.shape == (5, 2, 32, 40)
    inner = speeds[..., 8:-8, 8:-8]
    np.testing.assert_allclose(np.median(inner, (2, 3)), [[1.0, -0.5]] * 5, atol=0.03)


def test_the_oldest_speed_comes_first() -> None:
    whole = film(1, 64, 160)[0]
    places = np.cumsum([0, 1, 2, 3, 4])  # to the left, faster and faster
    frames = np.stack([whole[:, 20 + place : 120 + place] for place in places])
    speeds = trace_speeds(frames).numpy()[:, 0, 8:-8, 10:-10]
    np.testing.assert_allclose(np.median(speeds, (1, 2)), [-0.5, -1, -1.5, -2], atol=0.1)


@pytest.mark.parametrize("name", ["moving average", "autoregression", "Kalman filter"])
def test_steady_motion_is_carried_on(name: str) -> None:
    frames = film(12, 72, 96, speed=(2.0, -1.0))
    made = CLASSICAL_BASELINES[f"{name}, motion"](frames[:8], frames[:0], 4)
    for k in range(4):
        inner = (slice(16, -16), slice(20, -20))
        held = psnr(frames[8 + k][inner], frames[7][inner])
        assert psnr(frames[8 + k][inner], made[k][inner]) > held + 8


def test_autoregression_learns_that_motion_slows_down() -> None:
    whole = film(1, 64, 220)[0]
    places = np.rint(60 * (1 - 0.75 ** np.arange(12))).astype(int)
    frames = np.stack([whole[:, 20 + place : 140 + place] for place in places])
    inner = (slice(8, -8), slice(20, -20))
    scores = {
        name: np.mean(
            [
                psnr(a[inner], b[inner])
                for a, b in zip(
                    frames[8:],
                    CLASSICAL_BASELINES[f"{name}, motion"](frames[:8], frames[:0], 4),
                    strict=True,
                )
            ]
        )
        for name in ("moving average", "autoregression", "Kalman filter")
    }
    assert scores["autoregression"] > max(scores["moving average"], scores["Kalman filter"]) + 3


def test_a_fade_is_carried_on_by_those_that_know_of_trends() -> None:
    picture = film(1, 24, 32)[0].astype(float)
    frames = np.stack([np.rint(picture * (0.3 + 0.05 * k)) for k in range(12)]).astype(np.uint8)
    error = {
        name: np.abs(
            CLASSICAL_BASELINES[f"{name}, pixels"](frames[:8], frames[:0], 4).astype(int)
            - frames[8:]
        ).mean()
        for name in ("moving average", "autoregression", "Kalman filter")
    }
    assert error["moving average"] > 10
    assert error["autoregression"] < 1.5
    assert error["Kalman filter"] < 1.5


@pytest.mark.parametrize("name", CLASSICAL_BASELINES)
def test_a_gap_is_a_cross_fade_of_two_forecasts(name: str) -> None:
    frames = film(9, 40, 48, name="chelsea", speed=(1.5, -1.0))
    method = CLASSICAL_BASELINES[name]
    one = method(frames[:3], frames[:0], 3).astype(float)
    two = method(frames[6:][::-1], frames[:0], 3)[::-1].astype(float)
    t = np.array([1, 2, 3]).reshape(3, 1, 1, 1) / 4
    made = method(frames[:3], frames[6:], 3)
    assert np.abs(made - ((1 - t) * one + t * two)).max() <= 1.01  # all are rounded
