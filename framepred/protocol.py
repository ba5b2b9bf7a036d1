"""Hide known frames, predict them, score: the windows that ``train`` and ``evaluate`` share.

::

    | | | | . . | | | |      fill: up to 4 known (|) on each side of g hidden (.)
    | | | | | | | | . . . .  forecast: up to 8 known, 8 hidden
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .baselines import Method
from .errors import EvaluationError, describe_error
from .metrics import HIGHEST_PSNR, psnr, ssim

__all__ = [
    "FILL_GAPS",
    "FORECAST_STEPS",
    "Frames",
    "Task",
    "Window",
    "WindowScore",
    "average_frames",
    "average_scores",
    "load_windows",
    "score_window",
    "space_windows",
]

Task = Literal["fill", "forecast"]
Frames = NDArray[np.uint8]

FILL_GAPS = (1, 2, 4, 8)
FORECAST_STEPS = (1, 2, 4, 8)
FILL_CONTEXT = 4
FORECAST_CONTEXT = 8
FORECAST_HORIZON = 8
_LONGEST_REASON = 120  # characters of what is wrong with a list
_LARGEST_FILE = 2**24  # bytes; a list of windows is small


@dataclass(frozen=True)
class Window:
    """Hidden frames [start, start + n_missing) of a clip, and how many are shown beside them."""

    clip: str
    start: int
    n_missing: int
    n_context: int
    task: Task

    def cut(self, frames: Frames) -> tuple[Frames, Frames, Frames]:
        """Split a clip (T, H, W, 3) into frames before, hidden and after (empty for a forecast)."""
        stop = self.start + self.n_missing
        before = frames[max(0, self.start - self.n_context) : self.start]
        after = frames[stop : stop + self.n_context] if self.task == "fill" else frames[:0]
        hidden = frames[self.start : stop]
        one_sided = self.task == "fill" and not len(after)
        if len(hidden) < self.n_missing or not len(before) or one_sided:
            raise EvaluationError(
                f"window {self.start}..{stop} does not fit into {self.clip} ({len(frames)} frames)"
            )
        return before, hidden, after

    def has_room(self, n_frames: int) -> bool:
        """Whether a clip of so many frames can show the whole context."""
        left = n_frames - self.start - self.n_missing
        return self.start >= self.n_context and (self.task == "forecast" or left >= self.n_context)

    @property
    def columns(self) -> tuple[int, ...]:
        """The columns of a table that it counts for: its gap length, or the steps it reaches."""
        if self.task == "fill":
            return (self.n_missing,)
        return tuple(step for step in FORECAST_STEPS if step <= self.n_missing)


@dataclass(frozen=True)
class WindowScore:
    """PSNR (dB) and SSIM of each hidden frame of one window, in order."""

    psnr: tuple[float, ...]
    ssim: tuple[float, ...]


def load_windows(path: str | Path, task: Task) -> list[Window]:
    """Read the windows of one task from a JSON file.

    ``{"gap": [{"clip", "missing", "start"}], "forecast": [{"clip", "start", "frames"}]}``, indices
    from 0 in decoding order; "context" of a row says how many frames are shown, if not as many as
    the protocol does. Raises EvaluationError if it is not that.
    """
    try:
        if Path(path).stat().st_size > _LARGEST_FILE:
            raise EvaluationError(f"{path} is too large for a list of windows")
        text = Path(path).read_text(encoding="utf-8")
        return _parse_windows(text, task)
    except OSError as error:
        raise EvaluationError(f"cannot read {path}: {describe_error(error)}") from error
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path} is not a list of windows: it is no text") from error
    except ValueError as error:
        reason = str(error)[:_LONGEST_REASON]
        raise EvaluationError(f"{path} is not a list of windows: {reason}") from error


def _parse_windows(text: str, task: Task) -> list[Window]:
    try:
        raw = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON in line {error.lineno}") from None
    kind, length = ("gap", "missing") if task == "fill" else ("forecast", "frames")
    rows = raw.get(kind) if isinstance(raw, dict) else None
    if not isinstance(rows, list):
        raise ValueError(f'it has no list "{kind}"')
    usual = {"context": FILL_CONTEXT if task == "fill" else FORECAST_CONTEXT}
    windows = []
    for place, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise ValueError(f'entry {place} of "{kind}" is not of the form {{"clip": ...}}')
        row = usual | row
        n_hidden, n_shown = _count(row, length, 1), _count(row, "context", 1)
        windows.append(Window(_name(row), _count(row, "start"), n_hidden, n_shown, task))
    return windows


def _name(row: Mapping[str, Any]) -> str:
    name = row.get("clip")
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError(f"clip {name!r} is not a plain file name")
    return name


def _count(row: Mapping[str, Any], key: str, least: int = 0) -> int:
    value = row.get(key)
    if type(value) is not int or not least <= value < 2**31:
        raise ValueError(f"{key} = {value!r} is not a whole number of at least {least}")
    return value


def space_windows(
    clip: str, n_frames: int, task: Task, *, per_clip: int = 2, gaps: Sequence[int] = FILL_GAPS
) -> list[Window]:
    """Spread windows evenly over a clip; fewer, or none, where it is too short."""
    windows = []
    sizes = gaps if task == "fill" else (FORECAST_HORIZON,)
    for n_missing in sizes:
        # Aim at the context of the protocol, make do with two frames on each side.
        for wish in (FILL_CONTEXT if task == "fill" else FORECAST_CONTEXT, 2):
            first = wish
            last = n_frames - n_missing - (wish if task == "fill" else 0)
            if last >= first:
                break
        else:
            continue
        count = min(per_clip, last - first + 1)
        # A set: in a clip with hardly room for them, two may fall on one place.
        starts = {first + (last - first) * (2 * k + 1) // (2 * count) for k in range(count)}
        n_context = FILL_CONTEXT if task == "fill" else FORECAST_CONTEXT
        windows += [Window(clip, start, n_missing, n_context, task) for start in sorted(starts)]
    return windows


def score_window(
    window: Window, frames: Frames, method: Method, *, with_ssim: bool = True
) -> tuple[float, WindowScore]:
    """Let a method predict the hidden frames of one window, and score each.

    Returns the seconds that the method took, and the scores; SSIM is NaN unless asked for.
    """
    before, hidden, after = window.cut(frames)
    began = time.perf_counter()
    made = method(before, after, window.n_missing)
    seconds = time.perf_counter() - began
    score = WindowScore(
        psnr=tuple(psnr(true, got) for true, got in zip(hidden, made, strict=True)),
        ssim=tuple(
            ssim(true, got) if with_ssim else math.nan
            for true, got in zip(hidden, made, strict=True)
        ),
    )
    return seconds, score


def average_scores(
    windows: Sequence[Window], scores: Sequence[WindowScore]
) -> dict[int, tuple[float, float, int]]:
    """Mean PSNR, mean SSIM and number of windows, by gap length (fill) or step (forecast).

    Fill: over the frames of a window, then over windows. Forecast: over windows, at each of
    ``FORECAST_STEPS``. A perfect frame counts as 100 dB, so that one does not hide all others.
    """
    table: dict[int, list[tuple[float, float]]] = {}
    for window, score in zip(windows, scores, strict=True):
        capped = [min(value, HIGHEST_PSNR) for value in score.psnr]
        for column in window.columns:
            if window.task == "fill":
                pair = (float(np.mean(capped)), _average_known(score.ssim))
            else:
                pair = (capped[column - 1], score.ssim[column - 1])
            table.setdefault(column, []).append(pair)
    return {
        key: (float(np.mean([p for p, _ in rows])), _average_known([s for _, s in rows]), len(rows))
        for key, rows in sorted(table.items())
    }


def _average_known(values: Sequence[float]) -> float:
    """The mean of what was measured: pictures may be too small for SSIM; NaN if nothing was."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def average_frames(
    windows: Sequence[Window], scores: Sequence[WindowScore]
) -> dict[int, tuple[tuple[float, float], ...]]:
    """Mean PSNR and SSIM of the first, second, ... hidden frame, by how many are hidden.

    A perfect frame counts as 100 dB, as in ``average_scores``.
    """
    rows: dict[int, list[WindowScore]] = {}
    for window, score in zip(windows, scores, strict=True):
        rows.setdefault(window.n_missing, []).append(score)
    return {
        n: tuple(
            (
                float(np.mean([min(score.psnr[k], HIGHEST_PSNR) for score in alike])),
                _average_known([score.ssim[k] for score in alike]),
            )
            for k in range(n)
        )
        for n, alike in sorted(rows.items())
    }
