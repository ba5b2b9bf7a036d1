"""The way across short rests: where frames were hidden, and where nothing was."""

from __future__ import annotations

import numpy as np
import pytest
from planes import Clip, converted, freeze, noisy, observe, on, pan, pause_without_loss, texture

from framepred.detection import find_frozen
from framepred.rests import RestFinder


def trembling(n: int) -> Clip:
    """A hand that shakes: each frame is somewhere else, and now and then where the last one was."""
    picture = texture(1)
    rng = np.random.default_rng(3)
    y, x = np.rint(rng.normal(0, 2, (2, n))).astype(int) + 20
    y[15], x[15] = y[14], x[14]
    return [picture[40 + a : 130 + a, b : 160 + b] for a, b in zip(y, x, strict=True)]


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_way_across_a_freeze(n: int) -> None:
    seen = observe(noisy(freeze(pan(40), 15, n), 0.5))
    rest = seen.rests[15, 15 + n]
    assert abs(rest.progress) < 0.02
    assert rest.leap.ratio == pytest.approx(n + 1, rel=0.15)
    assert rest.leap.share > 0.9
    assert rest.leap.before == pytest.approx(1.5, rel=0.3)


def test_freeze_in_uneven_motion_is_found_by_the_way_across_it() -> None:
    """Fast, slowing down to a third: the change over the leap is no more than that before it."""
    picture = texture(1)
    speeds = np.interp(np.arange(40), [0, 12, 20, 40], [5.0, 5.0, 1.2, 1.2])
    places = np.cumsum(speeds)
    clip = []
    for x in places:
        whole, part = int(x), x - int(x)
        strip = picture[60:150, whole : whole + 161]
        clip.append((strip[:, :-1] * (1 - part) + strip[:, 1:] * part).astype(np.float32))
    damaged = freeze(clip, 18, 1)
    seen = observe(damaged)
    assert seen.drift[19] < 1.25 * np.median(seen.drift[12:18])
    assert find_frozen(seen) == [(18, 19)]
    assert find_frozen(observe(clip)) == []


def test_rest_of_a_hand_that_shakes_is_no_freeze() -> None:
    seen = observe(trembling(30))
    assert seen.motion[15] < 0.1 * np.median(seen.motion[8:15]), "it rests"
    assert seen.rests[15, 16].leap.share < 0.5, "but does not go on along its way"


def test_pause_hides_nothing() -> None:
    rests = observe(pause_without_loss()).rests
    assert all(rest.leap.ratio < 1.4 for rest in rests.values())


def test_rests_that_are_the_rule_are_not_measured() -> None:
    """Each takes time, and animation is full of them."""
    assert len(observe(on(2)()).rests) <= 4
    assert len(observe(converted(4)()).rests) <= 4


def test_rest_beside_a_damaged_frame_or_a_new_size_is_not_measured() -> None:
    clip = freeze(pan(40), 15, 2)
    assert (15, 17) in observe(clip).rests
    for corrupt in (14, 16, 18):
        assert (15, 17) not in observe(clip, corrupt=[corrupt]).rests
    small = [frame[::2, ::2].copy() for frame in clip[:17]]
    assert observe([*small, *clip[17:]]).rests == {}


def test_few_pictures_are_kept() -> None:
    finder = RestFinder()
    for frame in pan(40):
        finder.add(frame, 5.0)
    assert finder.found == {}
    assert len(finder._pictures) == 12


@pytest.mark.parametrize("shape", [(5, 160), (90, 3), (1, 1)])
def test_pictures_too_small_to_follow_are_not_measured(shape: tuple[int, int]) -> None:
    """A ticker of 1280x40 has such thumbnails."""
    height, width = shape
    clip = [frame[:height, :width].copy() for frame in freeze(pan(40), 15, 2)]
    assert observe(clip).rests == {}
