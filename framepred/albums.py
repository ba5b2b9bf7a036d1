"""What happened at each gap, in small pictures that are taken while the work goes on.

Frames are looked at as they pass by and let go; kept are coded pictures of a few kilobytes, and, of
the gap that is being worked on, some small ones as they are::

    input     |  |  |  =  =  |  |  |       = replaced, or nothing: then the one before plays on
    made               #  #
    film      |  |  |  #  #  |  |  |       small: what came before, what was made, what came after
    looks              #  #                large: made, as it played, blended, true, motion, doubt
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from .motion import compare_flows, estimate_flow, to_gray
from .pictures import Display, Picture, code_picture
from .timeline import Plan, PlannedGap
from .video import Frame, VideoInfo, to_rgb
from .warping import rescale_flow, resize
from .wheels import paint_doubt, paint_motion

__all__ = ["Album", "FilmFrame", "GapAlbum", "Look", "Motion", "Role", "make_display"]

Image = NDArray[np.uint8]
Role = Literal["before", "made", "after"]

# Bytes of all pictures and of one gap: of a few gaps, which each get plenty, and of many.
_FEW = (5_200_000, 800_000)
_MANY = (10_000_000, 260_000)
_MOST_GAPS = 200  # that get pictures: the longest ones
_FILM_SIDE = 168  # pixels
_MOTION_SIDE = 320
_N_FILM = 12  # made frames on a gap's film
# By the bytes that a gap may have: the side of large pictures, how many frames have them, and how
# many known frames stand on each side of a film.
_SIZES = (
    (500_000, 640, 12, 8),
    (200_000, 640, 4, 4),
    (90_000, 480, 2, 3),
    (0, 384, 1, 2),
)


@dataclass(frozen=True)
class FilmFrame:
    """One small picture of a gap's film."""

    slot: int
    role: Role
    picture: Picture
    look: int | None = None  # which of the gap's looks shows it large


@dataclass(frozen=True)
class Motion:
    """How a made frame and the one before it, or at a start the one after it, hang together."""

    neighbour: int  # slot
    field: Picture  # motion a frame, as colours
    doubt: Picture  # where motion there and back does not agree
    longest: float  # pixels a frame, as displayed: the motion that gets the full colour
    doubtful: float  # share of the picture


@dataclass(frozen=True)
class Look:
    """One made frame, large, and what it can be held against; None where there is no such thing."""

    slot: int
    made: Picture
    played: Picture | None  # what a player of the input shows at that time
    blended: Picture | None  # the known frames beside the gap, cross-faded
    true: Picture | None
    motion: Motion | None  # None: it has no neighbour in its shot


@dataclass(frozen=True)
class GapAlbum:
    """All pictures of one gap, or of one forecast; ``film`` is in order."""

    film: tuple[FilmFrame, ...] = ()
    looks: tuple[Look, ...] = ()
    n_not_on_film: int = 0  # made frames


@dataclass
class _Scene:
    """A gap while its pictures are taken."""

    start: int
    stop: int
    n_before: int
    n_after: int
    blends: bool
    looked_at: tuple[int, ...]
    on_film: frozenset[int]
    # Small pictures by slot, as they are: of the input (known frames and replaced ones), and made.
    given: dict[int, Image] = field(default_factory=dict)
    made: dict[int, Image] = field(default_factory=dict)
    true: dict[int, Image] = field(default_factory=dict)
    looks: tuple[Look, ...] = ()


class Album:
    """Looks at frames, or RGB pictures, as they pass by; asked for its own when all is done.

    Gaps beyond the 200 longest get no pictures. All pictures of 20 gaps or fewer have about five
    megabytes together, those of many gaps ten.
    """

    def __init__(self, plan: Plan, display: Display, *, n_albums: int = 1) -> None:
        """Take what is to be looked at. n_albums: how many are shown on one page."""
        self._display = display
        self._cuts = frozenset(plan.cuts)
        pictured = sorted(
            sorted(range(len(plan.gaps)), key=lambda i: -plan.gaps[i].gap.n_frames)[:_MOST_GAPS]
        )
        n_shares = max(len(pictured) * n_albums, 1)
        n_bytes = max(min(most, together // n_shares) for together, most in (_FEW, _MANY))
        self._side, n_looks, n_film = next(size[1:] for size in _SIZES if n_bytes >= size[0])
        # Half for the large pictures; a film and the pictures of motion take less than their share.
        self._look_bytes = int(n_bytes / 2 / (2.2 * n_looks + 1))
        self._motion_bytes = n_bytes // 4 // (2 * n_looks)
        self._film_bytes = n_bytes // 4 // (_N_FILM + 2 * n_film)
        self._sources = [slot.source is not None for slot in plan.slots]
        self._scenes = {i: self._prepare(plan.gaps[i], n_looks, n_film) for i in pictured}
        self._open = list(self._scenes.values())  # in order
        self._film: dict[int, Picture] = {}  # of the input, by slot
        self._wanted: dict[int, list[_Scene]] = {}
        for scene in self._scenes.values():
            for slot in self._list_given(scene):
                self._wanted.setdefault(slot, []).append(scene)
        self._filmed = {
            slot
            for scene in self._scenes.values()
            for side in (self._before(scene), self._after(scene))
            for slot in side
        }
        self._made_film: dict[int, Picture] = {}

    def _prepare(self, planned: PlannedGap, n_looks: int, n_film: int) -> _Scene:
        start, stop = planned.gap.start, planned.gap.stop
        is_made = planned.action != "leave"
        slots = range(start, stop) if is_made else ()
        return _Scene(
            start,
            stop,
            # A gap that is left has neighbours all the same, and who looks at it wants to see them.
            n_before=min(planned.n_before, n_film),
            n_after=min(planned.n_after, n_film),
            blends=bool(planned.n_before and planned.n_after and planned.cut is None),
            looked_at=tuple(_spread(slots, n_looks)),
            on_film=frozenset(_spread(slots, _N_FILM)),
        )

    def _before(self, scene: _Scene) -> range:
        return range(scene.start - scene.n_before, scene.start)

    def _after(self, scene: _Scene) -> range:
        return range(scene.stop, scene.stop + scene.n_after)

    def _list_given(self, scene: _Scene) -> set[int]:
        """Slots of the input whose pictures are needed large."""
        wanted = {self._find_played(slot) for slot in scene.looked_at}
        if scene.looked_at and scene.n_before:
            wanted.add(scene.start - 1)
        if scene.looked_at and scene.n_after:
            wanted.add(scene.stop)
        return {slot for slot in wanted if slot is not None}

    def _find_played(self, slot: int) -> int | None:
        """The slot whose frame a player of the input shows at the time of this one."""
        return next((i for i in range(slot, -1, -1) if self._sources[i]), None)

    def see_input(self, slot: int, frame: Frame | Image) -> None:
        """A real frame, in order; also one that will be replaced."""
        scenes = self._wanted.pop(slot, ())
        if scenes or slot in self._filmed:
            image = _read(frame)
            if slot in self._filmed:
                self._film[slot] = self._take_film(image)
            shown = self._display.show(image, side=self._side) if scenes else None
            for scene in scenes:
                assert shown is not None
                scene.given[slot] = shown
        while self._open and self._is_done(self._open[0], slot):
            self._settle(self._open.pop(0))

    def see_made(self, slot: int, frame: Frame | Image, true: Frame | Image | None = None) -> None:
        """A frame that was made, as it will be written, and the true one where that is known."""
        scene = next((s for s in self._open if s.start <= slot < s.stop), None)
        if scene is None:
            return
        is_looked_at = slot in scene.looked_at
        is_beside = any(slot in (other - 1, other + 1) for other in scene.looked_at)
        if slot in scene.on_film or is_looked_at or is_beside:
            image = _read(frame)
            if slot in scene.on_film:
                self._made_film[slot] = self._take_film(image)
            if is_looked_at or is_beside:
                scene.made[slot] = self._display.show(image, side=self._side)
        if true is not None:
            self.see_true(slot, true)

    def see_true(self, slot: int, frame: Frame | Image) -> None:
        """The true frame of one that was made before."""
        for scene in self._open:
            if slot in scene.looked_at:
                scene.true[slot] = self._display.show(_read(frame), side=self._side)

    def see_scores(self, index: int, frames: object) -> None:
        """The report has them in the end."""

    def abandon(self) -> None:
        """Nothing was written."""

    def finish(self) -> None:
        """Nothing more comes."""
        for scene in self._open:
            self._settle(scene)
        self._open.clear()

    def list_gap(self, index: int) -> GapAlbum:
        """The pictures of a planned gap, after ``finish``."""
        scene = self._scenes.get(index)
        if scene is None:
            return GapAlbum()
        numbers = {look.slot: number for number, look in enumerate(scene.looks)}
        sides: list[tuple[Role, Iterable[int], dict[int, Picture]]] = [
            ("before", self._before(scene), self._film),
            ("made", range(scene.start, scene.stop), self._made_film),
            ("after", self._after(scene), self._film),
        ]
        film = tuple(
            FilmFrame(slot, role, pictures[slot], numbers.get(slot) if role == "made" else None)
            for role, slots, pictures in sides
            for slot in slots
            if slot in pictures
        )
        n_made = sum(frame.role == "made" for frame in film)
        is_made = bool(scene.on_film)
        return GapAlbum(film, scene.looks, scene.stop - scene.start - n_made if is_made else 0)

    def _take_film(self, image: NDArray[np.generic]) -> Picture:
        return code_picture(self._display.show(image, side=_FILM_SIDE), max_bytes=self._film_bytes)

    def _is_done(self, scene: _Scene, slot: int) -> bool:
        """Whether nothing more is to be seen of a gap, once the input has come to ``slot``."""
        return slot >= scene.stop and all(s in scene.made for s in scene.looked_at)

    def _settle(self, scene: _Scene) -> None:
        """Make a gap's large pictures of what was seen, and let that go."""
        played_pictures: dict[int, Picture] = {}  # what plays on in several slots is coded once

        def code(image: Image | None) -> Picture | None:
            return None if image is None else code_picture(image, max_bytes=self._look_bytes)

        def code_played(slot: int | None) -> Picture | None:
            image = None if slot is None else scene.given.get(slot)
            if slot is None or image is None:
                return None
            if slot not in played_pictures:
                played_pictures[slot] = code_picture(image, max_bytes=self._look_bytes)
            return played_pictures[slot]

        looks = []
        for slot in scene.looked_at:
            made = scene.made.get(slot)
            if made is None:
                continue
            looks.append(
                Look(
                    slot,
                    code_picture(made, max_bytes=self._look_bytes),
                    played=code_played(self._find_played(slot)),
                    blended=code(_blend(scene, slot)),
                    true=code(scene.true.get(slot)),
                    motion=self._measure_motion(scene, slot),
                )
            )
        scene.looks = tuple(looks)
        scene.given.clear()
        scene.made.clear()
        scene.true.clear()

    def _measure_motion(self, scene: _Scene, slot: int) -> Motion | None:
        known = {
            s: image for s, image in scene.given.items() if not scene.start <= s < scene.stop
        } | scene.made
        here = known[slot]
        if slot not in self._cuts and slot - 1 in known:
            neighbour, sign = slot - 1, -1
        elif slot + 1 not in self._cuts and slot + 1 in known:
            neighbour, sign = slot + 1, 1
        else:
            return None
        if known[neighbour].shape != here.shape:
            return None
        flow, agreement = _estimate_flow(here, known[neighbour])
        flow *= sign * max(self._display.size) / max(flow.shape[1:])
        longest = max(1.0, float(np.percentile(np.hypot(flow[0], flow[1]), 99)))
        small = Display(here.shape[1], here.shape[0]).show(here, side=_MOTION_SIDE)
        painted = (paint_motion(flow, longest=longest), paint_doubt(small, agreement))
        field, doubt = (code_picture(image, max_bytes=self._motion_bytes) for image in painted)
        return Motion(neighbour, field, doubt, longest, float((agreement < 0.5).mean()))


def _read(frame: Frame | Image) -> NDArray[np.generic]:
    return to_rgb(frame) if isinstance(frame, Frame) else frame


def make_display(info: VideoInfo) -> Display:
    """How players show this video."""
    return Display(
        info.width,
        info.height,
        matrix=info.display_matrix,
        pixel_shape=info.sample_aspect_ratio,
        colours=(info.color_trc, info.color_primaries),
    )


def _spread(slots: Sequence[int], n: int) -> list[int]:
    """``n`` of the slots, or all, evenly spread."""
    if len(slots) <= n:
        return list(slots)
    return [slots[(2 * k + 1) * len(slots) // (2 * n)] for k in range(n)]


def _blend(scene: _Scene, slot: int) -> Image | None:
    if not scene.blends:
        return None
    first, last = scene.given.get(scene.start - 1), scene.given.get(scene.stop)
    if first is None or last is None or first.shape != last.shape:
        return None
    t = (slot - scene.start + 1) / (scene.stop - scene.start + 1)
    mixed: Image = np.rint((1 - t) * first.astype(np.float32) + t * last).astype(np.uint8)
    return mixed


def _estimate_flow(here: Image, other: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Flow from one picture to another (2, h, w) and its agreement with the way back (h, w)."""
    shrunk = Display(here.shape[1], here.shape[0])
    pair = np.stack([shrunk.show(image, side=_MOTION_SIDE) for image in (here, other)])
    gray = to_gray(torch.from_numpy(pair).permute(0, 3, 1, 2).float() / 255)
    with torch.inference_mode():
        onward, back = estimate_flow(gray, gray.flip(0)).split(1)
        size = (pair.shape[1], pair.shape[2])
        agreement = resize(compare_flows(onward, back), size)
        flow = rescale_flow(onward, size)
    return flow[0].numpy().copy(), agreement[0, 0].numpy()
