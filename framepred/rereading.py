"""Whether a video gives the frames at its second reading that it gave when it was scanned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import MediaError
from .timeline import Slot

if TYPE_CHECKING:
    from .video import Frame, Unread

__all__ = ["Rereading", "complain_of_fewer"]


class Rereading:
    """Finds the slots of frames, one after another, and stops where the two readings differ."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = slots
        self._sources = ((s.source, i) for i, s in enumerate(slots) if s.source is not None)
        self._expected = next(self._sources, None)

    def place(self, frame: Frame | Unread) -> int | None:
        """The slot of the next frame; None where the plan has no place for it.

        Raises:
            MediaError: it is not the frame that the scan saw in its place.
        """
        if self._expected is None or frame.index != self._expected[0]:
            return None
        slot = self._expected[1]
        scanned = self._slots[slot].time - self._slots[slot].moved
        if frame.time != scanned:
            # A damaged stream may decode otherwise the second time: better no output than frames
            # on the wrong times.
            raise MediaError(
                f"frame {frame.index} is at {float(frame.time):.3f} s, but was at "
                f"{float(scanned):.3f} s when the video was scanned; it is damaged "
                "or still being written: copy its good part to a new file first"
            )
        self._expected = next(self._sources, None)
        return slot

    def finish(self, source: Path) -> None:
        """Nothing more comes.

        Raises:
            MediaError: the file gave fewer frames than when it was scanned.
        """
        if self._expected is not None:
            raise complain_of_fewer(source)


def complain_of_fewer(source: Path) -> MediaError:
    """What is said of a file that gave fewer frames than when it was scanned."""
    return MediaError(
        f"{source}: it gave fewer frames at the second reading than at the first; "
        "is something still writing to it?"
    )
