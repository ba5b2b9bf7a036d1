from __future__ import annotations

import colorsys

import numpy as np
import pytest

from framepred.wheels import paint_doubt, paint_motion, paint_wheel


def hue(colour: np.ndarray) -> float:
    return 360 * colorsys.rgb_to_hsv(*(colour / 255))[0]


@pytest.mark.parametrize(
    ("motion", "angle"), [((1, 0), 0), ((0, 1), 52), ((-1, 0), 191), ((0, -1), 263)]
)
def test_directions_have_the_published_colours(motion: tuple[int, int], angle: float) -> None:
    # Computed from the wheel's table: 15, 6, 4, 11, 13 and 6 hues between its six corners.
    flow = np.array(motion, np.float32).reshape(2, 1, 1) * 3
    assert abs((hue(paint_motion(flow, longest=3)[0, 0]) - angle + 180) % 360 - 180) < 4


def test_length_is_strength() -> None:
    flow = np.zeros((2, 1, 4), np.float32)
    flow[0, 0] = [0, 1, 2, 9]
    none, weak, strong, beyond = paint_motion(flow, longest=2)[0].astype(int)
    assert none.tolist() == [255, 255, 255]
    assert weak.min() > strong.min()
    assert beyond.sum() < strong.sum()
    assert paint_motion(flow * 0, longest=0).min() == 255


def test_the_key_shows_what_points_outwards() -> None:
    wheel = paint_wheel(41)
    right = paint_motion(np.array([0.95, 0], np.float32).reshape(2, 1, 1), longest=1)[0, 0]
    assert np.abs(wheel[20, 39].astype(int) - right).max() < 12
    assert wheel[20, 20].min() > 245


def test_doubt_is_marked_where_there_is_some() -> None:
    image = np.full((4, 6, 3), 90, np.uint8)
    agreement = np.ones((4, 6), np.float32)
    agreement[1, 2] = 0
    painted = paint_doubt(image, agreement)
    marked = np.ptp(painted.astype(int), axis=2) > 60
    assert np.argwhere(marked).tolist() == [[1, 2]]
