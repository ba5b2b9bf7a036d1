from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scenery import film

from framepred.baselines import FILL_BASELINES, FORECAST_BASELINES, SLOW_BASELINES
from framepred.metrics import psnr

ALL = [
    *(("fill", name, method) for name, method in FILL_BASELINES.items()),
    *(("forecast", name, method) for name, method in FORECAST_BASELINES.items()),
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
