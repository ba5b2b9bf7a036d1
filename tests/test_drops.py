"""Frames that were dropped and closed up: found by the leap in the motion, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from planes import (
    Clip,
    black,
    converted,
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
from synthetic import write_clip

from framepred.drops import Drop, find_drops
from framepred.filling import fill_gaps
from framepred.leaps import find_flow, measure_leap
from framepred.scanning import scan


def find(clip: Clip, **kwargs: object) -> list[Drop]:
    return find_drops(observe(clip), n_steps=[1] * len(clip), **kwargs)  # type: ignore[arg-type]


def drop(clip: Clip, start: int, n: int) -> Clip:
    return clip[:start] + clip[start + n :]


# The motion.


@pytest.mark.parametrize("move", [(0, 1), (2, -1), (-1, 3), (0.5, -0.25)])
def test_flow_is_the_motion(move: tuple[float, float]) -> None:
    """The same picture looked at from two places, away from its edges."""
    from scipy import ndimage

    picture = texture(1, height=120, width=180)
    moved = ndimage.shift(picture, move, order=3, mode="nearest").astype(np.float32)
    inside = find_flow(picture, moved)[:, 12:-12, 12:-12]
    for found, true in zip(inside, move, strict=True):
        assert abs(float(np.median(found)) - true) < 0.05


@pytest.mark.parametrize("n", [1, 2, 3, 4, 8])
def test_leap_counts_the_steps(n: int) -> None:
    clip = drop(pan(40, speed=1.5), 20, n)
    leap = measure_leap(*clip[18:22])
    assert leap.ratio == pytest.approx(n + 1, rel=0.2)
    assert leap.share > 0.9
    assert measure_leap(*clip[10:14]).ratio == pytest.approx(1, abs=0.2)


# Drops.


@pytest.mark.parametrize("n", [1, 2, 3, 4, 8])
@pytest.mark.parametrize(("speed", "sigma"), [(0.5, 0.0), (1.5, 0.0), (1.0, 1.0)])
def test_drop_is_found_and_counted(n: int, speed: float, sigma: float) -> None:
    (found,) = find(noisy(drop(pan(60, speed=speed), 25, n), sigma))
    assert found.frame == 25
    assert abs(found.n_frames - n) <= (1 if n < 4 else 2)
    assert "dropped and closed up" in found.reason


def test_drop_of_a_small_moving_thing_on_a_still_ground() -> None:
    ground, thing = texture(3)[:90, :160], texture(4)[:24, :24]
    clip = []
    for i in range(50):
        frame = ground.copy()
        frame[30:54, 10 + 2 * i : 34 + 2 * i] = thing
        clip.append(frame)
    assert [(d.frame, d.n_frames) for d in find(drop(clip, 20, 3))] == [(20, 3)]
    assert find(clip) == []


def test_two_drops_in_one_shot() -> None:
    clip = drop(drop(pan(80), 50, 2), 20, 4)
    assert [d.frame for d in find(clip)] == [20, 46]


def flashing() -> Clip:
    clip = pan(60)
    for at, light in ((20, 40.0), (40, 90.0)):
        clip[at] = (clip[at] + light).clip(0, 255)
        clip[at + 1] = (clip[at + 1] + light / 3).clip(0, 255)
    return clip


def switching_a_light() -> Clip:
    return [
        frame if i < 30 else (0.6 * frame).astype(np.float32) for i, frame in enumerate(pan(60))
    ]


def fading() -> Clip:
    light = np.interp(np.arange(60), [15, 25, 30, 40], [1, 0, 0, 1])
    return [(frame * share).astype(np.float32) for frame, share in zip(pan(60), light, strict=True)]


def shaking(push: float) -> Callable[[], Clip]:
    """A hand that trembles, and is pushed once."""

    def make() -> Clip:
        rng = np.random.default_rng(0)
        y, x = rng.normal(0, 1.5, (2, 60)) + np.arange(60) * 0.3 + 20
        y[30:] += push * np.exp(-np.arange(30) / 2)
        ground = texture(1)
        return [
            ground[int(r) : int(r) + 90, int(c) : int(c) + 160] for r, c in zip(y, x, strict=True)
        ]

    return make


def every_fifth_left_out() -> Clip:
    """30 frames a second shown at 24."""
    return pick(pan(75), [i for i in range(75) if i % 5])


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
        converted(4),
        still_that_ends_in_a_cut,
        lambda: pan(60),
        lambda: noisy(pan(60), 3.0),
        lambda: pan(30) + pan(30, seed=9),
        lambda: [*pan(30), *black(4, like=pan(1)[0]), *pan(60)[34:]],
        flashing,
        switching_a_light,
        fading,
        shaking(0.0),
        shaking(8.0),
        every_fifth_left_out,
        lambda: [np.zeros((1, 1), np.float32)] * 30,
    ],
    ids=[
        *("static", "slides", "starts", "pause", "slows", "twos", "threes", "24to30", "held-end"),
        *("pan", "noise", "cut", "black", "flashes", "light", "fade", "shake", "push", "30to24"),
        "one-pixel",
    ],
)
def test_what_is_no_drop(make: Callable[[], Clip]) -> None:
    assert find(make()) == []


def test_holes_cuts_and_other_damage_are_no_drops() -> None:
    clip = drop(pan(60), 25, 4)
    assert [d.frame for d in find(clip)] == [25]
    assert [d.frame for d in find(clip, cuts=[25])] == [25], "fast motion looks like a cut"
    steps = [1] * len(clip)
    steps[25] = 5
    assert find_drops(observe(clip), n_steps=steps) == [], "the times show the hole"
    assert find(clip, cuts=[24]) == []
    assert find(clip, ignore=[24]) == []
    assert find_drops(observe(clip, corrupt=[24]), n_steps=[1] * len(clip)) == []


# Files.


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames dropped before frame 20, closed up, as a recorder would encode it."""
    frames = [
        np.repeat(f.astype(np.uint8)[..., None], 3, -1) for f in drop(pan(60, speed=2), 20, 3)
    ]
    path = tmp_path_factory.mktemp("closed") / "clip.mp4"
    return write_clip(path, frames, lossless=False, options={"crf": "23"}, b_frames=2, gop=250)


def test_scan_reports_a_suspicion_and_no_gap(closed: Path) -> None:
    report = scan(closed)
    assert report.plan.gaps == ()
    (found,) = report.drops
    assert (found.start, found.kind) == (20, "closed")
    assert abs(found.frames - 3) <= 1
    assert report.as_dict()["drops"] == [
        {"start": 20, "time": 0.8, "frames": found.frames, "reason": found.reason, "kind": "closed"}
    ]
    assert scan(closed, detect=("missing", "frozen")).drops == ()


def test_only_insertion_makes_the_frames(closed: Path) -> None:
    report = fill_gaps(closed, dry_run=True)
    assert (report.gaps, len(report.drops), report.inserted) == ((), 1, None)
    report = fill_gaps(closed, dry_run=True, insert=["20:3"])
    assert [(gap.start, gap.stop, gap.kind) for gap in report.gaps] == [(20, 23, "inserted")]
    assert report.drops == ()
