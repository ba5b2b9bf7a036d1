"""Pictures of the windows that a model does worst and best on, kept while it is being scored."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from .albums import Album, GapAlbum
from .pictures import Display
from .protocol import Frames, Task, Window, WindowScore
from .timeline import Gap, Plan, PlannedGap, Slot

__all__ = ["Exhibit", "Gallery"]

_N_ALBUMS = 4  # hardest and easiest, of two tasks


@dataclass(frozen=True)
class Exhibit:
    """One window, what it shows, and how the model scored; ``album`` counts from the first frame
    shown, which is ``first`` in the clip."""

    window: Window
    score: WindowScore
    album: GapAlbum
    first: int

    @property
    def psnr(self) -> float:
        """Mean over the hidden frames, dB; a perfect frame counts as 100."""
        return float(np.mean([min(value, 100.0) for value in self.score.psnr]))


class Gallery:
    """Holds no more than two windows of a task, as coded pictures."""

    def __init__(self) -> None:
        self.hardest: dict[Task, Exhibit] = {}
        self.easiest: dict[Task, Exhibit] = {}

    def consider(self, window: Window, frames: Frames, made: Frames, score: WindowScore) -> None:
        """Look at a window of a clip, both (T, H, W, 3), and keep it if it is worse, or better."""
        exhibit = Exhibit(window, score, GapAlbum(), max(0, window.start - window.n_context))
        task = window.task
        is_hardest = task not in self.hardest or exhibit.psnr < self.hardest[task].psnr
        is_easiest = task not in self.easiest or exhibit.psnr > self.easiest[task].psnr
        if not (is_hardest or is_easiest):
            return
        exhibit = Exhibit(window, score, _take_pictures(window, frames, made), exhibit.first)
        if is_hardest:
            self.hardest[task] = exhibit
        if is_easiest:
            self.easiest[task] = exhibit


def _take_pictures(window: Window, frames: Frames, made: Frames) -> GapAlbum:
    before, hidden, after = window.cut(frames)
    start, n = len(before), len(hidden)
    slots = [
        Slot(Fraction(i), None if start <= i < start + n else i)
        for i in range(start + n + len(after))
    ]
    planned = PlannedGap(
        Gap(start, start + n, "named"),
        "fill" if len(after) else "forecast",
        "",
        n_before=start,
        n_after=len(after),
        cut=None,
    )
    height, width = hidden.shape[1:3]
    album = Album(
        Plan(tuple(slots), Fraction(1), (planned,), ()), Display(width, height), n_albums=_N_ALBUMS
    )
    for slot, image in enumerate(before):
        album.see_input(slot, image)
    for slot, (image, true) in enumerate(zip(made, hidden, strict=True), start):
        album.see_made(slot, image, true)
    for slot, image in enumerate(after, start + n):
        album.see_input(slot, image)
    album.finish()
    return album.list_gap(0)
