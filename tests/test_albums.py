"""Albums, with frames that say by their grey level which they are."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from framepred import albums
from framepred.albums import Album
from framepred.pictures import Display, decode_picture
from framepred.timeline import Gap, Plan, Slot, plan_gaps
from framepred.video import Frame

WIDTH, HEIGHT = 64, 48


def make_frame(slot: int, level: int) -> Frame:
    native = av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), level, np.uint8), "rgb24")
    return Frame(native, Fraction(slot, 25), slot)


def make_plan(n: int, gaps: list[Gap], *, missing: set[int] = frozenset(), **options) -> Plan:
    slots = [Slot(Fraction(i, 25), None if i in missing else i) for i in range(n)]
    return plan_gaps(slots, gaps, step=Fraction(1, 25), **{"max_gap": 16, "context": 4} | options)


def walk(plan: Plan, *, level=lambda slot: 4 * slot) -> Album:
    """As filling does it: what is made comes when the frames behind the gap have been seen."""
    album = Album(plan, Display(WIDTH, HEIGHT))
    made = [g for g in plan.gaps if g.action != "leave"]
    for slot, place in enumerate(plan.slots):
        if place.source is not None:
            album.see_input(slot, make_frame(slot, level(slot)))
        while made and slot >= made[0].gap.stop + made[0].n_after - 1:
            gap = made.pop(0).gap
            for i in range(gap.start, gap.stop):
                album.see_made(i, make_frame(i, 200), make_frame(i, 100))
    album.finish()
    return album


def level_of(picture) -> float:
    return decode_picture(picture).mean()


def test_film_and_looks_show_the_right_frames() -> None:
    plan = make_plan(16, [Gap(6, 9, "missing")], missing={6, 7, 8})
    gap = walk(plan).list_gap(0)
    assert [(f.slot, f.role) for f in gap.film] == [
        *((i, "before") for i in range(2, 6)),
        *((i, "made") for i in range(6, 9)),
        *((i, "after") for i in range(9, 13)),
    ]
    for frame in gap.film:
        wanted = 200 if frame.role == "made" else 4 * frame.slot
        assert level_of(frame.picture) == pytest.approx(wanted, abs=3)
    assert [look.slot for look in gap.looks] == [6, 7, 8]
    assert [frame.look for frame in gap.film if frame.role == "made"] == [0, 1, 2]
    for k, look in enumerate(gap.looks, 1):
        assert level_of(look.made) == pytest.approx(200, abs=3)
        assert level_of(look.played) == pytest.approx(20, abs=3)  # frame 5 plays on
        assert level_of(look.blended) == pytest.approx(20 + (36 - 20) * k / 4, abs=3)
        assert level_of(look.true) == pytest.approx(100, abs=3)
        assert look.motion is not None
        assert look.motion.neighbour == look.slot - 1
    assert gap.looks[0].played is gap.looks[2].played  # coded once


def test_every_look_has_the_cross_fade_of_its_own_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although each is let go before the next is made, which may lie in the same place then."""
    blend, place = albums._blend, np.empty((HEIGHT, WIDTH, 3), np.uint8)

    def blend_in_place(scene, slot):
        place[:] = blend(scene, slot)
        return place

    monkeypatch.setattr(albums, "_blend", blend_in_place)
    plan = make_plan(14, [Gap(4, 10, "missing")], missing=set(range(4, 10)))
    gap = walk(plan, level=lambda slot: 0 if slot < 4 else 240).list_gap(0)
    levels = [level_of(look.blended) for look in gap.looks]
    assert len(levels) > 2
    assert levels == pytest.approx([240 * (look.slot - 3) / 7 for look in gap.looks], abs=3)


def test_a_replaced_frame_is_what_played() -> None:
    plan = make_plan(16, [Gap(6, 8, "named")])
    looks = walk(plan).list_gap(0).looks
    assert [round(level_of(look.played) / 4) for look in looks] == [6, 7]


def test_at_a_start_nothing_played_and_motion_is_to_the_frame_after() -> None:
    plan = make_plan(12, [Gap(0, 1, "missing")], missing={0})
    look = walk(plan).list_gap(0).looks[0]
    assert look.played is None
    assert look.blended is None
    assert look.motion is not None
    assert look.motion.neighbour == 1


def test_a_gap_that_is_left_shows_its_neighbours() -> None:
    plan = make_plan(40, [Gap(8, 28, "missing")], missing=set(range(8, 28)), max_gap=4)
    gap = walk(plan).list_gap(0)
    assert plan.gaps[0].action == "leave"
    assert {frame.role for frame in gap.film} == {"before", "after"}
    assert (gap.looks, gap.n_not_on_film) == ((), 0)


def test_a_long_gap_is_shown_in_part() -> None:
    plan = make_plan(60, [Gap(8, 48, "missing")], missing=set(range(8, 48)), max_gap=99)
    gap = walk(plan).list_gap(0)
    made = [frame.slot for frame in gap.film if frame.role == "made"]
    assert len(made) + gap.n_not_on_film == 40
    assert made == sorted(set(made))
    assert len(gap.looks) == 12
    assert {look.slot for look in gap.looks} <= set(range(8, 48))


def test_pictures_of_noise_stay_within_their_bytes_and_many_gaps_share_them() -> None:
    rng = np.random.default_rng(2)
    noise = rng.integers(0, 256, (180, 320, 3), np.uint8)
    sizes = {}
    for n_gaps in (1, 100):
        plan = make_plan(
            10 * n_gaps + 5, [Gap(10 * i + 4, 10 * i + 6, "named") for i in range(n_gaps)]
        )
        album = Album(plan, Display(320, 180))
        frame = Frame(av.VideoFrame.from_ndarray(noise, "rgb24"), Fraction(0), 0)
        for slot in range(11):
            album.see_input(slot, frame)
            if slot % 10 == 9:
                album.see_made(slot - 5, frame)
                album.see_made(slot - 4, frame)
        gap = album.list_gap(0)
        pictures = [f.picture for f in gap.film]
        for look in gap.looks:
            pictures += [look.made, look.played, look.blended]
            if look.motion is not None:
                pictures += [look.motion.field, look.motion.doubt]
        sizes[n_gaps] = sum(len(p.data) for p in {id(p): p for p in pictures}.values())
    assert 50_000 < sizes[1] < 800_000
    assert 20_000 < sizes[100] < 100_000


def test_small_pictures_are_let_go_once_a_gap_is_past() -> None:
    plan = make_plan(200, [Gap(20 * i + 8, 20 * i + 10, "named") for i in range(9)])
    album = Album(plan, Display(WIDTH, HEIGHT))
    most = 0
    for slot in range(200):
        album.see_input(slot, make_frame(slot, 3))
        if slot % 20 == 13:
            for made in (slot - 5, slot - 4):
                album.see_made(made, make_frame(made, 9))
        held = sum(len(s.given) + len(s.made) for s in album._scenes.values())
        most = max(most, held)
    assert 0 < most <= 8
