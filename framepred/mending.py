"""Damaged frames, kept until they have been made anew, and what is right in them put into these.

What is right is told by another way of decoding (``concealment``), or by nothing; ``salvage`` mixes
the pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .colour import Frame, Image, to_rgb
from .concealment import IN_ROWS, MUTE
from .salvage import choose_nearer, keep_plausible, salvage_picture
from .scanning import ScanReport

__all__ = ["Mended", "Mender"]


class Mended(NamedTuple):
    """A frame that was made anew, with what is right of the damaged one in it."""

    image: Image
    decoded: Frame | None = None  # the damaged one itself, where nothing turned out to be wrong
    kept: float | None = None  # share of the area that rests on what is stored; None: nothing did


class Mender:
    """Mends the damaged frames of one video, one after another."""

    def __init__(self, scanned: ScanReport, *, mend: bool = True) -> None:
        """Choose the frames: those made anew, of gaps that are neither held nor left."""
        slots = scanned.plan.slots
        made = {
            slot
            for planned in scanned.plan.gaps
            if mend and planned.action not in ("hold", "leave")
            for slot in range(planned.gap.start, planned.gap.stop)
        }
        sources = {slot: source for slot in made if (source := slots[slot].source) is not None}
        self.slots = frozenset(
            slot for slot, source in sources.items() if source in scanned.mendable
        )
        """Those of frames that may be right in part."""
        codec = scanned.info.codec
        self.twinned = frozenset(sources[slot] for slot in self.slots)
        """Frames, by their index, that are to be decoded in another way too."""
        self._is_mute = codec in MUTE
        self._in_rows = codec in IN_ROWS
        self._waiting: dict[int, Frame] = {}

    def take(self, slot: int, frame: Frame) -> None:
        """Keep the damaged frame of a slot, if something of it may be right."""
        if slot in self.slots:
            self._waiting[slot] = frame

    def waits(self, slot: int) -> bool:
        """Whether the damaged frame of a slot was kept."""
        return slot in self._waiting

    def mend(
        self, slot: int, made: Image, neighbours: Sequence[Image], *, expected: float | None
    ) -> Mended:
        """Put into a made picture what is right in the damaged frame, which is let go.

        made, neighbours: (H, W, 3) RGB; the latter are the real pictures nearest in time.
        expected: the PSNR of ``made`` (dB), if it was estimated.
        """
        frame = self._waiting.pop(slot, None)
        if frame is None:
            return Mended(made)
        damaged = to_rgb(frame)
        if damaged.shape != made.shape or damaged.dtype != made.dtype:
            return Mended(made)
        if frame.prediction is not None:
            if np.array_equal(damaged, frame.prediction):
                return Mended(damaged, frame, kept=1.0)
            return Mended(choose_nearer(damaged, frame.prediction, made), kept=1.0)
        if frame.concealed is not None:
            mended, kept = salvage_picture(
                damaged,
                made,
                frame.concealed,
                neighbours,
                expected=expected,
                in_rows=self._in_rows,
            )
            return Mended(mended, frame if mended is damaged else None, kept)
        if self._is_mute and expected is not None:
            mended, kept = keep_plausible(damaged, made, neighbours, expected=expected)
            return Mended(mended, kept=kept)
        return Mended(made)
