"""What is wrong with the pictures: frozen runs, black flashes, and where the scene changes.

Decided from what ``observations.py`` notes of each frame, when the motion on both sides of it is
known: each is compared with the motion around it, not with fixed levels::

    change   ▂ ▃ ▂ ▃ _ _ _ █ ▂ ▃ ▂     frozen: still amid motion, then a jump that catches up
    change   _ _ _ _ _ _ _ _ _ ▂ ▃     a static shot: nothing moved before
    change   ▃ _ ▃ _ ▃ _ ▃ _ ▃ _ ▃     animation on twos: still frames are the rule
    change   ▂ ▃ ▂ ▃ ▂ █ ▃ ▂ ▃ ▂ ▃     a cut: a new picture, not only more motion
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .observations import Flags, Observations, Values

__all__ = [
    "find_black",
    "find_cuts",
    "find_frozen",
    "holes_hide_nothing",
]

Runs = list[tuple[int, int]]

# A picture beside black has at least this contrast, or the whole shot is a plain card.
_LIT_CONTRAST = 8.0
# Longer black is meant so. In frames.
_LONGEST_BLACK = 48
# Beside a black flash the picture is as rich as in these frames farther away, or as bright: a fade
# takes both away.
_FADE_REACH = 6
_FADE_SHARE = 0.7
_FADE_LEVEL = 0.85

# A still frame changes by less than this share of the motion around it. An encoder repaints a
# repeated picture now and then: one such frame may change by the larger share.
_STILL = 0.35
_REPAINTED = 0.6
# A single one changes by less than that: a hand that shakes rests for a moment too. Where it rests
# less than fully, the jump has to be larger.
_STILL_ALONE = 0.22
_AT_REST = 0.1
_JUMP_UNLESS_AT_REST = 1.6
# The last frame of a longer run may be repainted in part with what comes next.
_REPAINTED_LAST = 0.7
# Of a longer run most frames change by less than this share.
_STILL_MOSTLY = 0.25
# Frames on each side whose motion is "the motion around".
_AROUND = 6
# Motion below this (levels of 0..255 in the most moving twentieth of the picture) is no motion.
_LEAST_MOTION = 1.5
# And a jump below this is not seen.
_LEAST_JUMP = 4.0
# Share of the upper quartile of the motion near a freeze that is motion for certain.
_UPPER = 0.5
# The least jump after a freeze of 1, 2, ... frames, in steps of the motion around it: what was
# hidden for n frames has moved on by n + 1 steps, though fast motion soon stops to look larger.
_JUMPS = (1.25, 1.35, 1.45, 1.5)
# So long a rest is likely meant, and motion that goes on from it is often quick.
_LONG_REST = 12
_JUMP_AFTER_LONG_REST = 1.75
# A single still frame is part of a beat if this share of the frames at some fixed distance dip like
# it, to so much of the motion beside them.
_BEATS = 4  # on each side
_REGULAR_DIPS = 0.75
_DIP = 0.5
# Longer still runs at a fixed distance are a converted frame rate, unless something is skipped.
_JUMP_IF_REGULAR = 1.6
_LONGEST_FREEZE = 240
# Where the way across a short rest is known, less rest and less of a jump are enough. For one frame
# and for more: the most change and the most of the way within the rest, as shares; then how much of
# what moves goes on, and how far.
_AT_REST_BY_WAY = (0.36, 0.6)
_PROGRESS = (0.1, 0.2)
_SHARE_ON = 0.6
_RATIO_ON = (1.4, 1.6)
_LENGTH_ON = 1.4
_GOES_ON = 0.4  # of the motion on the two sides, the slower over their mean
_LEAST_JUMP_SEEN = 2.0
# If no more than this goes on, only a picture that stands is frozen.
_SHARE_BACK = 0.3
# So many holes, this share of them at the same distance, may be a cadence.
_LEAST_HOLES = 6
_REGULAR = 0.75
# No more than this share of the frames near a freeze are still as well.
_MOST_STILL = 0.3
_NEAR = 16

# A cut: this much of a new picture, by this many levels, this many times the motion around.
_NOVELTY = 0.38
_NOVELTY_OVER_GAP = 0.5
# Behind black up to this, if the motion beside it explains the change.
_NOVELTY_IF_EXPLAINED = 0.75
_CUT_LEVELS = 8.0
_CUT_RATIO = 2.5
_AROUND_CUT = 4


def find_black(observations: Observations) -> Runs:
    """Return the black flashes as runs of frames ``(start, stop)``.

    A flash is a short run of blank frames inside one lit shot: the picture before it and the one
    after it show the same scene, and neither is part of a fade. A cut or a fade to black, and
    black at the beginning or the end, are not damage.
    """
    blank = observations.is_blank & observations.usable
    found: Runs = []
    for start, stop in _runs(blank):
        if start == 0 or stop == observations.n_frames or stop - start > _LONGEST_BLACK:
            continue
        if stop not in observations.bridges:
            continue
        is_same_scene = _bridges_motion(observations, blank, start, stop)
        before = slice(max(0, start - _FADE_REACH), start)
        after = slice(stop, stop + _FADE_REACH)
        lit = min(observations.contrast[start - 1], observations.contrast[stop])
        if (
            lit >= _LIT_CONTRAST
            and is_same_scene
            and _is_as_lit(observations, start - 1, before, blank)
            and _is_as_lit(observations, stop, after, blank)
        ):
            found.append((start, stop))
    return found


def _bridges_motion(observations: Observations, blank: Flags, start: int, stop: int) -> bool:
    """Tell whether the picture behind black is the one before it, moved on as it moves there."""
    difference, novelty = observations.bridges[stop]
    plain = observations.usable & ~blank
    plain[[0, stop]] = False  # compared with black, or with nothing
    around = _local(observations.difference, plain, start, stop, _AROUND_CUT)
    explained = _CUT_RATIO * _grow(min(around, default=0.0), stop - start + 1)
    return novelty < _NOVELTY_OVER_GAP or (
        novelty < _NOVELTY_IF_EXPLAINED and difference < explained
    )


def _grow(change: float, n_steps: int) -> float:
    """Return the change to be expected over n steps: less than n times, more so for large n."""
    return float(change * min(n_steps, 9) ** 0.7)


def _is_as_lit(observations: Observations, frame: int, near: slice, blank: Flags) -> bool:
    """Tell whether a frame beside black is as rich or as bright as those farther away: no fade."""
    lit = ~blank[near]
    contrast = observations.contrast[near][lit].max(initial=0.0)
    level = observations.level[near][lit].max(initial=0.0)
    return bool(
        observations.contrast[frame] >= _FADE_SHARE * contrast
        or observations.level[frame] >= _FADE_LEVEL * level
    )


def find_cuts(
    observations: Observations,
    *,
    n_steps: Sequence[int] | None = None,
    ignore: Collection[int] = (),
) -> list[int]:
    """Return the frames that begin a new shot, in order.

    A cut shows another picture, not only a moved one, and changes far more than the motion on
    either side of it does. Over a hole the motion of the frames that are missing is allowed for.

    :param n_steps: for each frame, the slots from the frame before it: 1 unless frames are
        missing between the two.
    :param ignore: frames that are damage themselves (frozen or black): the frame after such a
        run is compared with the one before it.
    """
    skip = ~observations.usable
    skip[list(ignore)] = True
    steps = _over_skipped(_steps(observations, n_steps), skip)
    difference = observations.difference.copy()
    novelty = observations.novelty.copy()
    for frame, bridge in observations.bridges.items():
        if skip[frame - 1]:
            difference[frame], novelty[frame] = bridge
    bridged = replace(observations, difference=difference, novelty=novelty)
    plain = ~skip & (steps == 1)
    plain[:1] = False
    candidates = np.flatnonzero(~skip & (novelty >= _NOVELTY) & (difference >= _CUT_LEVELS))
    cuts: list[int] = []
    for frame in candidates.tolist():
        first = frame
        while first and skip[first - 1]:
            first -= 1
        if first and _is_cut(bridged, plain, frame, first, int(steps[frame])):
            cuts.append(frame)
    return cuts


def shows_same_shot(observations: Observations, first: int, second: int) -> bool:
    """Tell whether two frames, some way apart, look like one shot; signatures must be kept."""
    difference, novelty = observations.compare_frames(first, second)
    return novelty < _NOVELTY_OVER_GAP or difference < _CUT_LEVELS


def find_frozen(
    observations: Observations,
    *,
    n_steps: Sequence[int] | None = None,
    ignore: Collection[int] = (),
) -> Runs:
    """Return the frozen runs of frames ``(start, stop)``; the real frame is the one before start.

    A freeze is a run of repeated frames amid motion, followed by a jump that makes up for the
    frames it hides. Static shots, slides, held drawings and converted frame rates have still
    frames too, but nothing moves before them, or nothing is skipped after them, or still frames
    are the rule there.

    :param n_steps: for each frame, the slots from the frame before it.
    :param ignore: frames that are damage of another kind.
    """
    n = observations.n_frames
    steps = _over_skipped(_steps(observations, n_steps), ~observations.usable)
    motion = observations.motion
    # Blank frames repeat each other too, but that is another kind of damage, or none.
    plain = observations.usable & (steps == 1) & ~observations.is_blank
    plain[:1] = False
    for damaged in ignore:
        plain[damaged : damaged + 2] = False

    stops: dict[int, list[int]] = defaultdict(list)  # of rests, by their start
    for start, end in observations.rests:
        stops[start].append(end)
    found: Runs = []
    frame = 1
    while frame < n:
        stop = _find_rest(observations, plain, frame, stops.get(frame, ()))
        if stop is not None:
            found.append((frame, stop))
            frame = stop
            continue
        stop = _still_until(motion, plain, frame)
        if stop is None:
            frame += 1
            continue
        if stop < n and _is_freeze(observations, plain, frame, stop):
            found.append((frame, stop))
        frame = max(stop, frame + 1)
    return found


def holes_hide_nothing(observations: Observations, *, n_steps: Sequence[int]) -> bool:
    """Tell whether the holes in the timestamps are a cadence, not losses.

    25 frames a second stored on a grid of 30, with the repeated ones left out, have a hole at
    every sixth place; but the pictures move no farther over a hole than over any other step. Only
    holes at a fixed distance are judged so, and only amid motion.

    :param n_steps: for each frame, the slots from the frame before it.
    """
    steps = _steps(observations, n_steps)
    holes = np.flatnonzero(steps > 1)
    if len(holes) < _LEAST_HOLES:
        return False
    distances = np.diff(holes)
    usual = np.median(distances)
    if usual > _NEAR or np.mean(distances == usual) < _REGULAR:
        return False
    plain = observations.usable & (steps == 1)
    plain[:1] = False
    moving = float(np.median(observations.motion[plain])) >= _LEAST_MOTION
    step = float(np.median(observations.drift[plain]))
    return moving and float(np.median(observations.drift[holes])) < _JUMPS[0] * step


def _find_rest(
    observations: Observations, plain: Flags, start: int, stops: Iterable[int]
) -> int | None:
    """Return where a short rest ends that hid frames, by the way made across it, None if none."""
    motion = observations.motion
    # The frame behind a rest may be repainted in part: the less was made on the way, the better.
    for stop in sorted(stops, key=lambda stop: abs(observations.rests[start, stop].progress)):
        rest, n_still = observations.rests[start, stop], stop - start
        around = _local(motion, plain, start, stop + 1, _AROUND)
        usual = (rest.leap.before + rest.leap.after) / 2
        if (
            plain[start - 1 : stop + 2].all()
            and len(around) == 2
            and min(around) >= _LEAST_MOTION
            and motion[stop] >= _LEAST_JUMP_SEEN
            and np.median(motion[start:stop]) < _AT_REST_BY_WAY[n_still > 1] * min(around)
            and abs(rest.progress) < _PROGRESS[n_still > 1]
            and rest.leap.share >= _SHARE_ON
            and rest.leap.ratio >= _RATIO_ON[n_still > 1]
            and rest.leap.across >= _LENGTH_ON * usual
            and min(rest.leap.before, rest.leap.after) >= _GOES_ON * usual
            and not _is_dip(motion, start)
            and (still := _find_still(motion, plain, start, stop, around)) is not None
            and not _is_regular(still, start)
            and not _is_cut(observations, plain, stop, start, n_still + 1)
        ):
            return stop
    return None


def _still_until(motion: Values, plain: Flags, start: int) -> int | None:
    """Return where the still run that begins at `start` ends, None if none begins there."""
    before = motion[max(0, start - _AROUND) : start][plain[max(0, start - _AROUND) : start]]
    if not plain[start] or len(before) < 2:
        return None
    around = float(np.median(before))
    # Both of the last steps moved: a freeze strikes in full motion, a subject slows down.
    if around < _LEAST_MOTION or motion[start] >= _STILL * around:
        return None
    stop = start + 1
    n = len(motion)
    while stop < n and plain[stop] and stop - start <= _LONGEST_FREEZE:
        repainted = (
            motion[stop] < _REPAINTED * around
            and stop + 1 < n
            and plain[stop + 1]
            and motion[stop + 1] < _STILL * around
        )
        if motion[stop] >= _STILL * around and not repainted:
            break
        stop += 1
    if (
        stop - start >= 3
        and stop + 1 < n
        and plain[stop]
        and plain[stop + 1]
        and motion[stop] < _REPAINTED_LAST * around
        and motion[stop + 1] >= max(2 * motion[stop], _JUMPS[0] * around)
        and np.median(motion[start:stop]) < _STILL_MOSTLY * around
    ):
        stop += 1
    return stop


def _is_freeze(observations: Observations, plain: Flags, start: int, stop: int) -> bool:
    """Tell whether a still run in motion is a freeze, by the jump and the motion after it."""
    motion, drift = observations.motion, observations.drift
    if stop - start > _LONGEST_FREEZE or not plain[stop]:
        return False
    around = _local(motion, plain, start, stop + 1, _AROUND)
    if len(around) < 2 or min(around) < _LEAST_MOTION:
        return False
    n_still = stop - start
    rest = observations.rests.get((start, stop))
    rests = motion[start : stop - 1] if n_still > 2 else motion[start:stop]
    if (
        n_still <= 2
        and rest is not None
        and rest.leap.share < _SHARE_BACK
        and max(rests) >= _AT_REST * min(around)
    ):
        return False  # it does not go on from there: something trembles
    if max(rests) >= _REPAINTED * min(around) or motion[stop] < _LEAST_JUMP:
        return False
    if n_still > 2 and np.median(rests) >= _STILL_MOSTLY * min(around):
        return False
    if n_still == 1 and (motion[start] >= _STILL_ALONE * min(around) or _is_dip(motion, start)):
        return False
    still = _find_still(motion, plain, start, stop, around)
    if still is None:
        return False
    sides = _local(drift, plain & ~still, start, stop + 1, _AROUND)
    jump = _JUMPS[min(n_still, len(_JUMPS)) - 1]
    if n_still >= _LONG_REST:
        jump = _JUMP_AFTER_LONG_REST
    if n_still == 1 and motion[start] >= _AT_REST * min(around):
        jump = _JUMP_UNLESS_AT_REST
    if _is_regular(still, start):
        jump = max(jump, _JUMP_IF_REGULAR)
    if not sides or drift[stop] < jump * sum(sides) / len(sides):
        return False
    return not _is_cut(observations, plain, stop, start, stop - start + 1)


def _find_still(
    motion: Values, plain: Flags, start: int, stop: int, around: Sequence[float]
) -> Flags | None:
    """Return which frames are still beside the motion near a run, None if many are."""
    first, last = max(1, start - _NEAR), min(len(motion), stop + 1 + _NEAR)
    near = np.r_[first:start, stop + 1 : last]
    near = near[plain[near]]
    # Each side has a motion of its own: what was hidden may have sped up.
    usual = np.empty_like(motion)
    for side, level, part in (
        (near[near < start], around[0], slice(0, stop)),
        (near[near > stop], around[1], slice(stop, None)),
    ):
        # Where half of the frames are repeated the median is no motion; the upper quarter is.
        upper = float(np.quantile(motion[side], 0.75)) if len(side) else 0.0
        usual[part] = max(level, _UPPER * upper)
    still = plain & (motion < _STILL * usual)
    if still[near].mean() > _MOST_STILL:
        return None
    return still


def _is_dip(motion: Values, frame: int) -> bool:
    """Tell whether the motion dips at a fixed distance, at this frame among others."""
    last = len(motion) - 1
    for beat in range(2, _NEAR + 1):
        places = [frame + k * beat for k in range(-_BEATS, _BEATS + 1) if k]
        dips = [
            bool(motion[i] < _DIP * (motion[i - 1] + motion[i + 1]) / 2)
            for i in places
            if 1 < i < last
        ]
        if len(dips) >= 2 and sum(dips) >= max(2, _REGULAR_DIPS * len(dips)):
            return True
    return False


def _is_regular(still: Flags, frame: int) -> bool:
    """Tell whether still frames come at a fixed distance, as in a converted frame rate."""
    for period in range(2, _NEAR + 1):
        beat = [frame + k * period for k in (-2, -1, 1, 2)]
        hits = [bool(still[i]) if 0 < i < len(still) else None for i in beat]
        if hits[1] and hits[2] and False not in (hits[0], hits[3]):
            return True
        if (hits[0] and hits[1] and hits[2] is None) or (hits[2] and hits[3] and hits[1] is None):
            return True
    return False


def _is_cut(
    observations: Observations, plain: Flags, frame: int, after_last: int, n_steps: int
) -> bool:
    """Tell whether a scene ends between frame ``after_last - 1`` and `frame`, `n_steps` later."""
    around = _local(observations.difference, plain, after_last, frame + 1, _AROUND_CUT)
    expected = _grow(max(around, default=0.0), n_steps)
    enough = _NOVELTY if n_steps == 1 else _NOVELTY_OVER_GAP
    difference = observations.difference[frame]
    return bool(
        observations.novelty[frame] >= enough
        and difference >= _CUT_LEVELS
        and difference >= _CUT_RATIO * expected
    )


def _local(values: Values, plain: Flags, start: int, stop: int, reach: int) -> list[float]:
    """Return the median of `values` just before `start` and of those from `stop` on."""
    medians = []
    for near in (slice(max(0, start - reach), start), slice(stop, stop + reach)):
        chosen = values[near][plain[near]]
        if len(chosen):
            medians.append(float(np.median(chosen)))
    return medians


def _steps(observations: Observations, n_steps: Sequence[int] | None) -> NDArray[np.int64]:
    if n_steps is None:
        return np.ones(observations.n_frames, np.int64)
    if len(n_steps) != observations.n_frames:
        raise ValueError(f"{len(n_steps)} steps for {observations.n_frames} frames")
    return np.array(n_steps, dtype=np.int64)


def _over_skipped(steps: NDArray[np.int64], skipped: Flags) -> NDArray[np.int64]:
    """Return the steps from the last frame that was not skipped."""
    result = steps.copy()
    for start, stop in _runs(skipped):
        if stop < len(result):
            result[stop] += int(steps[start:stop].sum())
    return result


def _runs(flags: Flags) -> Runs:
    """Return the runs of True as ``(start, stop)``."""
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False].astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]
