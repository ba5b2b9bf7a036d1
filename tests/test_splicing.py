from __future__ import annotations

import random
from fractions import Fraction
from itertools import pairwise

import pytest

from framepred.splicing import (
    Coded,
    Copied,
    Encoded,
    Stretch,
    Wish,
    cut_stretches,
    find_groups,
    lay_decode_ticks,
    list_wishes,
)
from framepred.timeline import Gap, Plan, PlannedGap, Slot

STEP = 10  # ticks from frame to frame
BASE = Fraction(1, 250)


def store(display: str) -> list[Coded]:
    """Code a video: ``I`` begins a closed group, ``i`` an open one; a B is stored behind its P.

    ::

        IBBP iBBP       is stored as      I P B B i P B B      with no B across the I
        IBBPBBi         is stored as      I P B B i B B        the last two are leading pictures
    """
    order: list[int] = []
    waiting: list[int] = []
    leading: set[int] = set()
    for i, kind in enumerate(display):
        if kind == "B":
            waiting.append(i)
            continue
        if kind == "I":  # nothing is stored behind it that is shown before it
            order += waiting
            waiting = []
        elif kind == "i":
            leading |= set(waiting)
        order += [i, *waiting]
        waiting = []
    order += waiting
    shown = [i * STEP for i in order]
    return [
        Coded(
            pts=pts,
            dts=dts,
            is_entry=display[i] in "Ii",
            is_leading=i in leading,
            drops_leading=display[i] == "i",
            looks_ahead=display[i] == "B",
        )
        for i, pts, dts in zip(
            order, shown, lay_decode_ticks(shown, [None] * len(shown)), strict=True
        )
    ]


def refer(display: str, i: int) -> list[int]:
    """The frames that a frame was predicted from."""
    kind = display[i]
    if kind in "Ii":
        return []
    before = max(j for j in range(i) if display[j] != "B")
    after = [j for j in range(i + 1, len(display)) if display[j] != "B"][:1]
    return [before, *([j for j in after if display[j] != "I"] if kind == "B" else [])]


def show(display: str, wishes: list[Wish], stretches: list[Stretch]) -> str:
    """One letter a wish: copied as it is, or ``*`` encoded."""
    shown = ""
    for stretch in stretches:
        assert stretch.start == len(shown)
        for wish in wishes[stretch.start : stretch.stop]:
            place = int(wish.time / BASE) // STEP
            shown += "*" if isinstance(stretch, Encoded) else display[place]
    return shown


def wish_for(display: str, *, made: str = "", lost: str = "") -> list[Wish]:
    """Wish for all frames. ``made``: numbers of frames made instead; ``lost``: never stored."""
    are_made = {int(n) for n in made.split()}
    are_lost = {int(n) for n in lost.split()}
    return [
        Wish(i * STEP * BASE, i not in are_made | are_lost, i in are_made | are_lost, i in are_lost)
        for i in range(len(display))
    ]


def cut(display: str, *, made: str = "", lost: str = "") -> str:
    wishes = wish_for(display, made=made, lost=lost)
    gone = {int(n) * STEP for n in lost.split()}
    coded = [picture for picture in store(display) if picture.pts not in gone]
    return show(display, wishes, cut_stretches(coded, wishes, BASE))


@pytest.mark.parametrize(
    ("display", "gap", "expected"),
    [
        ("IPPPIPPPIPPP", {"made": "5"}, "IPPPI***IPPP"),
        ("IPPPIPPPIPPP", {"lost": "5"}, "IPPPI***IPPP"),
        ("IPPPIPPPIPPP", {"made": "4"}, "IPPP****IPPP"),
        ("IPPPIPPPIPPP", {"made": "0"}, "****IPPPIPPP"),
        ("IPPPIPPPIPPP", {"made": "11"}, "IPPPIPPPIPP*"),
        ("IPPPIPPPIPPP", {"made": "1 6 9"}, "I***IP**I***"),
        ("IPPPPPPPPPPP", {"made": "5"}, "IPPPP*******"),
        # The P behind two Bs can be decoded only with them, and they only with it.
        ("IBBPBBPIBBPBBP", {"made": "5"}, "IBBP***IBBPBBP"),
        # Which picture was lost is not known: it may be one that the two before it look at.
        ("IBBPBBPIBBPBBP", {"lost": "3"}, "I******IBBPBBP"),
        ("IBBPBBPIBBPBBP", {"lost": "6"}, "IBBP***IBBPBBP"),
        # Leading pictures of an open group look at what comes before it: they are encoded too.
        ("IBBPBBiBBPBBP", {"made": "2"}, "I*****iBBPBBP"),
        ("IBBPBBiBBPBBP", {"made": "7"}, "IBBPBBi******"),
        ("IPPI", {}, "IPPI"),
        ("IIIII", {"made": "2"}, "II*II"),
    ],
)
def test_where_it_is_cut(display: str, gap: dict[str, str], expected: str) -> None:
    assert cut(display, **gap) == expected


def invent(seed: int) -> str:
    rng = random.Random(seed)
    display = "I"
    for _ in range(rng.randrange(2, 7)):
        for _ in range(rng.randrange(0, 4)):
            display += "B" * rng.randrange(0, 4) + "P"
        display += rng.choice(["", "B" * rng.randrange(1, 3)]) + rng.choice("Ii")
    return display + "P" * rng.randrange(0, 3)


def closed(display: str) -> str:
    """Bs before a closed entry have nothing behind them to look at: P instead."""
    while "BI" in display:
        display = display.replace("BI", "PI")
    return display.rstrip("B")


@pytest.mark.parametrize("seed", range(300))
def test_what_is_copied_can_be_decoded(seed: int) -> None:
    display = closed(invent(seed))
    rng = random.Random(1000 + seed)
    holes = rng.sample(range(len(display)), min(len(display) - 1, rng.randrange(1, 4)))
    lost = {n for n in holes if rng.random() < 0.6}
    wishes = wish_for(
        display,
        made=" ".join(str(n) for n in holes if n not in lost),
        lost=" ".join(str(n) for n in lost),
    )
    coded = [picture for picture in store(display) if picture.pts // STEP not in lost]
    stretches = cut_stretches(coded, wishes, BASE)

    assert [s.start for s in stretches] == [0, *(s.stop for s in stretches)][:-1]
    assert stretches[-1].stop == len(wishes)
    decoded_at: list[int] = []
    for stretch in stretches:
        if isinstance(stretch, Encoded):
            decoded_at += stretch.decode_ticks
            frames = range(stretch.start, stretch.stop)
            for frame, tick in zip(frames, stretch.decode_ticks, strict=True):
                assert tick <= frame * STEP
            continue
        left_out = range(stretch.first + 1, stretch.first + 1 + stretch.n_left_out)
        copied = [i for i in range(stretch.first, stretch.last) if i not in left_out]
        frames = [coded[i].pts // STEP for i in copied]
        assert sorted(frames) == list(range(stretch.start, stretch.stop))
        assert not set(frames) & set(holes)
        if stretch.first:
            assert coded[stretch.first].is_entry
        for place, frame in enumerate(frames):
            assert set(refer(display, frame)) <= set(frames[:place])
        decoded_at += [coded[i].dts for i in copied]
    assert all(a < b for a, b in pairwise(decoded_at))


@pytest.mark.parametrize("seed", range(50))
def test_whatever_is_far_from_a_hole_is_copied(seed: int) -> None:
    display = closed(invent(seed)) + closed(invent(seed + 50)) + closed(invent(seed + 100))
    hole = random.Random(seed).randrange(len(display))
    stretches = cut(display, made=str(hole))
    begins = [i for i, kind in enumerate(display) if kind == "I"]
    first = max(i for i in begins if i <= hole)
    last = min([i for i in begins if i > hole], default=len(display))
    assert stretches[:first] == display[:first]
    assert stretches[last:] == display[last:]


@pytest.mark.parametrize("seed", range(200))
def test_a_group_holds_all_that_its_pictures_look_at(seed: int) -> None:
    display = closed(invent(seed))
    coded = store(display)
    shown = [picture.pts // STEP for picture in coded]
    rng = random.Random(seed)
    wanted = {rng.randrange(len(coded)) for _ in range(rng.randrange(1, 4))}
    needed = {shown[place] for place in wanted}
    while more := {other for frame in needed for other in refer(display, frame)} - needed:
        needed |= more
    groups = find_groups(coded, wanted)
    decoded = [shown[place] for group in groups for place in group]
    assert needed <= set(decoded)
    assert len(decoded) == len(set(decoded))
    assert all(a.stop <= b.start for a, b in pairwise(groups))
    for group in groups:
        assert group[-1] in wanted
        assert group.start == 0 or coded[group.start].is_entry
        inside = [place for place in group[1:] if coded[place].is_entry]
        for entry in inside:  # it began so early because something does look there
            assert any(place < entry or coded[place].is_leading for place in wanted & {*group})


def test_nothing_wanted_needs_no_group() -> None:
    assert find_groups(store("IPPIPP"), []) == []
    assert find_groups(store("IPPIPP"), [4, 1]) == [range(2), range(3, 5)]
    assert find_groups(store("IPPiPP"), [3, 4]) == [range(3, 5)]
    assert find_groups(store("IPBBiPP"), [4]) == [range(5)]  # a leading picture


def test_frames_that_are_inserted_find_no_room_on_a_coarse_clock() -> None:
    """One tick a frame, and a frame more than there were: the next entry comes too early."""
    coded = [Coded(i, i, is_entry=i in (0, 4, 8)) for i in range(10)]
    wishes = [Wish(Fraction(i), i != 2, i == 2) for i in range(10)]
    assert [type(s) for s in cut_stretches(coded, wishes, Fraction(1))] == [Copied, Encoded, Copied]
    late = [Coded(i, i - 2, is_entry=i in (0, 4, 8)) for i in range(10) if i != 2]
    late[3] = Coded(4, 1, is_entry=True)  # right behind what comes before the hole
    found = cut_stretches(late, wishes, Fraction(1))
    assert [(type(s), s.start, s.stop) for s in found] == [
        (Copied, 0, 2),
        (Encoded, 2, 8),
        (Copied, 8, 10),
    ]


def test_decode_times_are_kept_where_they_can_be() -> None:
    assert lay_decode_ticks([0, 3, 1, 2], [-1, 0, 1, 2]) == [-1, 0, 1, 2]
    assert lay_decode_ticks([0, 3, 1, 2], [None, 0, 1, 2]) == [-1, 0, 1, 2]
    assert lay_decode_ticks([0, 3, 1, 2], [0, 1, 2, 3]) == [-1, 0, 1, 2]  # 2 is after 1
    assert lay_decode_ticks([0, 40, 20, 30], [5, 5, 5, 5]) == [-10, 0, 20, 30]
    assert lay_decode_ticks([0, 1, 2], [None] * 3) == [0, 1, 2]


@pytest.mark.parametrize("seed", range(20))
def test_decode_times_that_are_made_increase(seed: int) -> None:
    shown = [picture.pts for picture in store(closed(invent(seed)))]
    made = lay_decode_ticks(shown, [None] * len(shown))
    assert all(a < b for a, b in pairwise(made))
    assert all(a <= b for a, b in zip(made, shown, strict=True))


def plan(sources: list[int | None], *gaps: PlannedGap) -> Plan:
    slots = tuple(Slot(Fraction(i), source) for i, source in enumerate(sources))
    return Plan(slots=slots, step=Fraction(1), gaps=gaps, cuts=())


def gap(start: int, stop: int, kind: str, action: str) -> PlannedGap:
    found = Gap(start, stop, kind)  # type: ignore[arg-type]
    return PlannedGap(found, action, "", 1, 1, None)  # type: ignore[arg-type]


def test_wishes_of_a_plan() -> None:
    filled = plan(
        [0, None, 1, 2, 3, None, None, 4, 5],
        gap(1, 2, "missing", "fill"),
        gap(3, 4, "frozen", "fill"),
        gap(5, 7, "missing", "leave"),
        gap(8, 9, "corrupt", "leave"),
    )
    assert list_wishes(filled) == [
        Wish(Fraction(0), True),
        Wish(Fraction(1), False, True, True),
        Wish(Fraction(2), True),
        Wish(Fraction(3), False, True),
        Wish(Fraction(4), True),
        Wish(Fraction(7), True, False, True),
        Wish(Fraction(8), False),
    ]
    assert list_wishes(filled, stop=5) == [
        Wish(Fraction(0), True),
        Wish(Fraction(2), True, False, True),
        Wish(Fraction(3), True),
        Wish(Fraction(4), True),
    ]
