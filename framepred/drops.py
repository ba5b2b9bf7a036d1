"""Frames that were dropped and closed up: the times are regular, but the motion leaps.

What the pictures show is a suspicion, no certainty: an object may really leap. So drops are
reported, and made good only where the user says so. A leap counts if it stands out from the change
of the steps around it, is longer than the motion right before and right after it, both of which go
on, and is no beat::

    motion   → → → ⟶ → → →         a drop: what moves goes on as before, but several steps later
    motion         ⟶ → → →         a start     (nothing moved before)
    motion   → → → ⟶               a stop      (nothing moves after)
    motion   → ⟶ → ⟶ → ⟶ →         animation, a hand that shakes: leaps are the rule
    motion   → → → ⟶ → → → ⟶       a converted frame rate: every fifth frame left out, on purpose
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .observations import Observations

__all__ = ["Drop", "find_drops"]

# Most of what moves leaps along its way, and by so much in the middle.
_LEAST_SHARE = 0.66
_LEAST_RATIO = 1.5
# And the motion is so much longer than that of either step beside it.
_LEAST_LENGTH = 1.4
# Motion explains so much of the change: otherwise it is a cut that was not seen as one.
_MOST_MISFIT = 5.0
# The slower of the two is at least this share of the other: the motion goes on.
_GOES_ON = 0.25
# Levels of 0..255 in the most changed twentieth of the picture: less is no motion.
_LEAST_MOTION = 4.0
# What looks like another scene is fast motion after all if so much leaps, so well explained.
_NOVELTY = 0.4
_SHARE_IF_NEW = 0.8
_MISFIT_IF_NEW = 3.0
# A beat: of the steps at a fixed distance this share, and two at least, are lifted as well, to so
# many times the change of the steps beside them.
_LONGEST_BEAT = 48
_BEATS = 4  # on each side
_REGULAR = 0.75
_LIFTED = 1.35


@dataclass(frozen=True)
class Drop:
    """Frames that seem to be lost before a frame, with no hole in the times."""

    frame: int
    n_frames: int
    """How many, by the length of the leap; of many rather too few, of fast motion too."""
    reason: str
    """One sentence for people."""


def find_drops(
    observations: Observations,
    *,
    n_steps: Sequence[int],
    cuts: Collection[int] = (),
    ignore: Collection[int] = (),
) -> list[Drop]:
    """Return the suspected drops, in order.

    :param n_steps: for each frame, the slots from the frame before it.
    :param cuts: frames that seem to begin a new shot; fast motion across a drop may seem so too.
    :param ignore: frames that are damage of another kind.
    """
    steps = np.asarray(n_steps, np.int64)
    plain = observations.usable & (steps == 1) & ~observations.is_blank
    plain[list(ignore)] = False
    plain[:1] = False
    is_new = observations.novelty > _NOVELTY
    is_new[list(cuts)] = True
    found: list[Drop] = []
    lift: NDArray[np.float32] | None = None
    for frame, leap in sorted(observations.leaps.items()):
        around = max(leap.before, leap.after)
        if not plain[frame - 1 : frame + 2].all() or observations.motion[frame] < _LEAST_MOTION:
            continue
        if min(leap.before, leap.after) < _GOES_ON * around or leap.across < _LEAST_LENGTH * around:
            continue
        if leap.share < _LEAST_SHARE or leap.ratio < _LEAST_RATIO or leap.misfit > _MOST_MISFIT:
            continue
        if is_new[frame - 1] or is_new[frame + 1]:
            continue
        if is_new[frame] and (leap.share < _SHARE_IF_NEW or leap.misfit > _MISFIT_IF_NEW):
            continue
        lift = _measure_lift(observations.drift) if lift is None else lift
        if _is_beat(lift, frame):
            continue
        n_frames = max(1, round(leap.ratio) - 1)
        what = "1 frame" if n_frames == 1 else f"{n_frames} frames"
        found.append(
            Drop(
                frame,
                n_frames,
                f"all moves on {leap.ratio:.1f} times as far as in the steps around, "
                f"as if about {what} were dropped and closed up",
            )
        )
    return found


def _measure_lift(change: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the change of each step, over the median of the two on each side of it."""
    lift = np.zeros_like(change)
    for i in range(2, len(change)):
        beside = np.r_[change[max(1, i - 2) : i], change[i + 1 : i + 3]]
        lift[i] = change[i] / (np.median(beside) + 0.15)
    return lift


def _is_beat(lift: NDArray[np.float32], frame: int) -> bool:
    """Tell whether leaps come at a fixed distance, this one among them."""
    for beat in range(2, _LONGEST_BEAT + 1):
        places = [frame + k * beat for k in range(-_BEATS, _BEATS + 1) if k]
        lifted = [bool(lift[i] >= _LIFTED) for i in places if 3 <= i < len(lift) - 1]
        if len(lifted) >= 2 and sum(lifted) >= max(2, _REGULAR * len(lifted)):
            return True
    return False
