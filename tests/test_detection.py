"""Frozen runs, black flashes and cuts, on pictures whose damage is known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from planes import (
    Clip,
    black,
    converted,
    freeze,
    moving_after_a_still,
    noisy,
    observe,
    on,
    pan,
    pause_without_loss,
    pick,
    slides,
    slowing_down_and_starting_again,
    still_shot,
    still_that_ends_in_a_cut,
    texture,
)

from framepred.detection import find_black, find_cuts, find_frozen, holes_hide_nothing
from framepred.observations import Observer


def test_black_while_the_picture_grows_flat_is_found() -> None:
    """Contrast falls frame by frame, but no light is lost: that is no fade."""
    clip = [frame.mean() + (frame - frame.mean()) * 0.93**i for i, frame in enumerate(pan(24))]
    clip[7:9] = black(2, like=clip[0])
    assert find_black(observe(clip)) == [(7, 9)]
    dimmed = [frame * 0.93**i for i, frame in enumerate(pan(24))]
    dimmed[7:9] = black(2, like=clip[0])
    assert find_black(observe(dimmed)) == []


# Frozen.


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 16])
@pytest.mark.parametrize("sigma", [0.0, 0.2])
@pytest.mark.parametrize("speed", [0.5, 1.5, 3.0])
def test_freeze_is_found_exactly(n: int, sigma: float, speed: float) -> None:
    clip = noisy(freeze(pan(48, speed=speed), 15, n), sigma)
    seen = observe(clip)
    assert find_frozen(seen) == [(15, 15 + n)]
    assert find_black(seen) == []
    assert find_cuts(seen, ignore=range(15, 15 + n)) == []


def test_two_freezes_in_one_shot() -> None:
    clip = freeze(freeze(pan(60), 12, 3), 40, 2)
    assert find_frozen(observe(clip)) == [(12, 15), (40, 42)]


def test_freeze_of_a_small_moving_thing_on_a_still_ground() -> None:
    ground = texture(3)[:90, :160]
    thing = texture(4)[:24, :24]
    clip = []
    for i in range(50):
        frame = ground.copy()
        frame[30:54, 10 + 2 * i : 34 + 2 * i] = thing
        clip.append(frame)
    assert find_frozen(observe(freeze(clip, 20, 4))) == [(20, 24)]
    assert find_frozen(observe(clip)) == []


def test_frame_repainted_by_an_encoder_stays_in_the_run() -> None:
    clip = freeze(pan(48), 15, 6)
    rng = np.random.default_rng(0)
    change = np.abs(clip[14] - clip[13]).mean()
    repaint = rng.normal(0, 0.5 * change, clip[0].shape).astype(np.float32)
    for i in (18, 19, 20):
        clip[i] = clip[i] + repaint
    assert find_frozen(observe(clip)) == [(15, 21)]


@pytest.mark.parametrize(
    "make",
    [
        still_shot,
        slides,
        moving_after_a_still,
        pause_without_loss,
        slowing_down_and_starting_again,
        on(2),
        on(3),
        on(4),
        converted(4),
        converted(5),
        still_that_ends_in_a_cut,
        lambda: pan(60),
        lambda: noisy(pan(60), 3.0),
        lambda: pan(30) + pan(30, seed=9),
        lambda: black(40, like=pan(1)[0]),
        lambda: [np.zeros((1, 1), np.float32)] * 30,
    ],
    ids=[
        *("static", "slides", "starts", "pause", "slows", "twos", "threes", "fours", "24to30"),
        *("25to30", "held-end", "pan", "noise", "cut", "black", "one-pixel"),
    ],
)
def test_still_frames_that_are_no_freeze(make: Callable[[], Clip]) -> None:
    assert find_frozen(observe(make())) == []


def test_frozen_to_the_end_is_not_judged() -> None:
    """No jump follows: nobody can know whether motion went on."""
    assert find_frozen(observe(freeze(pan(40), 30, 10))) == []


def test_freeze_beside_a_hole_in_the_timestamps() -> None:
    """The jump over a hole says nothing about the frames before the hole."""
    whole = pan(60)
    kept = [i for i in range(60) if i not in (30, 31)]
    clip = pick(whole, kept)
    steps = [1, *(after - before for before, after in pairwise(kept))]
    assert find_frozen(observe(clip), n_steps=steps) == []
    assert find_frozen(observe(freeze(clip, 15, 3)), n_steps=steps) == [(15, 18)]


# Black.


@pytest.mark.parametrize("n", [1, 2, 5, 16])
@pytest.mark.parametrize("level", [0.0, 16.0])
def test_black_flash_inside_a_shot(n: int, level: float) -> None:
    clip = pan(60, speed=0.7)
    clip[20 : 20 + n] = black(n, like=clip[0], level=level)
    seen = observe(clip)
    assert find_black(seen) == [(20, 20 + n)]
    assert find_cuts(seen, ignore=range(20, 20 + n)) == []
    assert find_frozen(seen, ignore=range(20, 20 + n)) == []


@pytest.mark.parametrize(("speed", "n"), [(4.0, 6), (3.0, 12), (6.0, 12)])
def test_black_in_fast_motion_hides_much_of_the_same_scene(speed: float, n: int) -> None:
    clip = pan(44, speed=speed)
    clip[16 : 16 + n] = black(n, like=clip[0])
    assert find_black(observe(clip)) == [(16, 16 + n)]


@pytest.mark.parametrize("speed", [1.5, 6.0])
def test_black_between_two_scenes_is_editing(speed: float) -> None:
    clip = [*pan(25, speed=speed), *black(5, like=pan(1)[0]), *pan(25, seed=9, speed=speed)]
    assert find_black(observe(clip)) == []


def test_fade_through_black_is_editing() -> None:
    clip = pan(50)
    light = np.interp(np.arange(50), [12, 20, 24, 32], [1, 0, 0, 1])
    faded = [(frame * share).astype(np.float32) for frame, share in zip(clip, light, strict=True)]
    assert find_black(observe(faded)) == []


@pytest.mark.parametrize("place", ["begin", "end"])
def test_black_at_an_end_is_editing(place: str) -> None:
    dark = black(6, like=pan(1)[0])
    clip = [*dark, *pan(30)] if place == "begin" else [*pan(30), *dark]
    assert find_black(observe(clip)) == []


def test_long_black_is_meant_so() -> None:
    clip = pan(120)
    clip[30:90] = black(60, like=clip[0])
    assert find_black(observe(clip)) == []


def test_dark_picture_is_not_blank() -> None:
    clip = [(frame * 0.2).astype(np.float32) for frame in pan(40)]
    assert not observe(clip).is_blank.any()


def test_plain_cards_are_no_shot_to_flash_in() -> None:
    card = np.full((90, 160), 76, np.float32)
    clip = [card] * 20 + [card * 0] * 3 + [card] * 20
    assert find_black(observe(clip)) == []


# Cuts.


@pytest.mark.parametrize("seeds", [(1, 9), (2, 5), (7, 3), (4, 8)])
@pytest.mark.parametrize("speed", [0.0, 1.5, 4.0])
def test_cut_is_found_where_it_is(seeds: tuple[int, int], speed: float) -> None:
    clip = [*pan(24, seed=seeds[0], speed=speed), *pan(24, seed=seeds[1], speed=speed)]
    assert find_cuts(observe(clip)) == [24]


@pytest.mark.parametrize("n_missing", [1, 3, 8])
def test_cut_across_a_hole(n_missing: int) -> None:
    clip = [*pan(24), *pan(24, seed=9)]
    steps = [1] * 48
    steps[24] = 1 + n_missing
    assert find_cuts(observe(clip), n_steps=steps) == [24]


@pytest.mark.parametrize("n_missing", [1, 3, 8])
@pytest.mark.parametrize("speed", [0.5, 2.0, 4.0])
def test_motion_across_a_hole_is_no_cut(n_missing: int, speed: float) -> None:
    whole = pan(40, speed=speed)
    clip = whole[:20] + whole[20 + n_missing :]
    steps = [1] * len(clip)
    steps[20] = 1 + n_missing
    assert find_cuts(observe(clip), n_steps=steps) == []


def test_fast_motion_and_changing_light_are_no_cuts() -> None:
    assert find_cuts(observe(pan(14, speed=11.0))) == []
    clip = pan(40)
    light = 1 - 0.5 * np.abs(np.sin(np.arange(40) / 4))
    dimmed = [(frame * share).astype(np.float32) for frame, share in zip(clip, light, strict=True)]
    assert find_cuts(observe(dimmed)) == []


def test_cut_behind_a_black_flash_or_a_freeze_is_still_a_cut() -> None:
    clip = [*pan(24), *black(3, like=pan(1)[0]), *pan(24, seed=9)]
    assert find_cuts(observe(clip), ignore=range(24, 27)) == [27]
    held = [*pan(24), *([pan(24)[23]] * 4), *pan(24, seed=9)]
    assert find_cuts(observe(held), ignore=range(24, 28)) == [28]


def test_corrupt_frames_say_nothing_about_their_neighbours() -> None:
    clip = pan(40)
    clip[20] = texture(9)[:90, :160]
    clip[21] = texture(8)[:90, :160]
    seen = observe(clip, corrupt=[20, 21])
    assert find_cuts(seen) == []
    assert find_frozen(seen) == []
    assert seen.usable.tolist() == [i not in (20, 21) for i in range(40)]
    assert find_cuts(observe(clip)) != [], "the same pictures, taken seriously"


def test_change_of_the_picture_size_is_a_cut() -> None:
    small = [frame[::2, ::2].copy() for frame in pan(20)]
    assert find_cuts(observe(pan(20) + small)) == [20]


# Holes.


def test_holes_of_a_cadence_hide_nothing() -> None:
    steps = [2 if i % 5 == 4 else 1 for i in range(60)]
    assert holes_hide_nothing(observe(pan(60)), n_steps=steps)


def test_regular_losses_hide_something() -> None:
    kept = [i for i in range(72) if i % 6 != 5]
    clip = pick(pan(72), kept)
    steps = [1, *(after - before for before, after in pairwise(kept))]
    assert not holes_hide_nothing(observe(clip), n_steps=steps)


def test_few_or_irregular_holes_and_still_shots_are_not_judged() -> None:
    clip = pan(60)
    for places in ([10, 20, 30], [3, 5, 12, 20, 33, 34, 50, 57]):
        steps = [2 if i in places else 1 for i in range(60)]
        assert not holes_hide_nothing(observe(clip), n_steps=steps)
    steps = [2 if i % 5 == 4 else 1 for i in range(60)]
    assert not holes_hide_nothing(observe(still_shot()), n_steps=steps)


# What is kept.


def test_signatures_compare_any_two_frames() -> None:
    clip = [*pan(10), *pan(10, seed=9)]
    seen = observe(clip, signatures=True)
    difference, novelty = seen.compare_frames(9, 10)
    assert difference == pytest.approx(float(seen.difference[10]), abs=1.0)
    assert novelty == pytest.approx(float(seen.novelty[10]), abs=0.1)
    assert seen.compare_frames(3, 3) == pytest.approx((0.0, 0.0), abs=0.03)


def test_no_pictures_are_kept() -> None:
    observer = Observer()
    frame = texture(1)
    for _ in range(50):
        observer.add(frame)
    seen = observer.observations()
    assert seen.n_frames == 50
    assert seen.signatures == ()
    arrays = [value for value in vars(seen).values() if isinstance(value, np.ndarray)]
    assert all(array.shape == (50,) for array in arrays)


def test_nothing_seen_nothing_found() -> None:
    seen = observe([])
    assert (find_frozen(seen), find_black(seen), find_cuts(seen)) == ([], [], [])


def test_steps_must_fit_the_frames() -> None:
    with pytest.raises(ValueError, match="2 steps for 3 frames"):
        find_cuts(observe(pan(3)), n_steps=[1, 1])
