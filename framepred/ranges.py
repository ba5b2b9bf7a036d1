"""Gaps that the user names, by slots or by times, and the slots that they mean."""

from __future__ import annotations

import re
import reprlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from numbers import Integral
from pathlib import Path
from typing import SupportsInt, TypeGuard

from .errors import GapError
from .timeline import Gap, Slot, format_time

__all__ = [
    "NAMED_TOLERANCE",
    "GapLike",
    "NamedGap",
    "SlotRange",
    "TimeRange",
    "is_pair",
    "parse_gap",
    "parse_gaps",
    "read_gaps",
    "resolve_gaps",
    "to_slots",
]

# Named times are printed to the millisecond, so they find a slot at this distance.
NAMED_TOLERANCE = Fraction(1, 1000)
_INDEX_RANGE = re.compile(r"\s*([0-9]{1,12})\s*:\s*([0-9]{1,12})\s*")
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{0,18})?|\.[0-9]{1,18}")


@dataclass(frozen=True)
class SlotRange:
    """A gap that the user named by slots of the ideal timeline, ``[start, stop)``."""

    start: int
    stop: int

    def __str__(self) -> str:
        return f"{self.start}:{self.stop}"


@dataclass(frozen=True)
class TimeRange:
    """A gap that the user named by times in seconds: the slots in ``[start, stop)``."""

    start: Fraction
    stop: Fraction

    def __str__(self) -> str:
        return f"{format_time(self.start)}-{format_time(self.stop)}"


NamedGap = SlotRange | TimeRange
GapLike = NamedGap | str | tuple[int, int]  # what programs may say instead, see ``parse_gaps``


def parse_gap(text: str) -> NamedGap:
    """Read a gap as ``120:128`` (slots) or ``00:00:04.000-00:00:04.266``, ``4.0-4.266`` (times).

    Both are half-open.

    Raises:
        GapError: `text` is neither, or names nothing because the end is not after the start.
    """
    named: NamedGap
    match = _INDEX_RANGE.fullmatch(text)
    if match:
        named = SlotRange(int(match[1]), int(match[2]))
    else:
        start, dash, stop = text.partition("-")
        if not dash:
            raise _malformed(text)
        named = TimeRange(_parse_time(start, text), _parse_time(stop, text))
    if named.stop <= named.start:
        raise GapError(
            f"gap {text.strip()!r} is empty: the end must come after the start "
            "(the end itself is not part of it)"
        )
    return named


def parse_gaps(gaps: str | Iterable[GapLike]) -> list[NamedGap]:
    """Take gaps as programs name them: values of this module, text, or slots ``(120, 128)``.

    A text alone is one gap.

    Raises:
        GapError: one is none of these, or means nothing; see ``parse_gap``.
    """
    return [_take_gap(gap) for gap in ([gaps] if isinstance(gaps, str) else gaps)]


def _take_gap(gap: object) -> NamedGap:
    if isinstance(gap, NamedGap):
        return gap
    if isinstance(gap, str):
        return parse_gap(gap)
    if is_pair(gap):
        return parse_gap("{}:{}".format(*map(int, gap)))
    raise GapError(f"cannot read gap {gap!r}: write frames as '120:128' or (120, 128)")


def is_pair(value: object) -> TypeGuard[Sequence[SupportsInt]]:
    """Whether a value is two whole numbers."""
    return (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and all(isinstance(each, Integral) for each in value)
    )


def _parse_time(text: str, whole: str) -> Fraction:
    parts = text.strip().split(":")
    *higher, seconds = parts
    if len(parts) > 3 or not _SECONDS.fullmatch(seconds):
        raise _malformed(whole)
    time = Fraction(seconds)
    for part, factor in zip(reversed(higher), (60, 3600), strict=False):
        if not (part.isascii() and part.isdigit() and len(part) <= 12):
            raise _malformed(whole)
        time += int(part) * factor
    if higher and Fraction(seconds) >= 60:
        raise _malformed(whole)
    return time


def _malformed(text: str) -> GapError:
    return GapError(
        f"cannot read gap {reprlib.repr(text.strip())}: write frames as 120:128 "
        "or times as 00:00:04.000-00:00:04.266"
    )


def read_gaps(path: Path) -> tuple[NamedGap, ...]:
    """Read a list of gaps from a text file, one a line; ``#`` begins a comment.

    Raises:
        GapError: the file cannot be read as text, or a line is not a gap (named with its number).
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise GapError(f"cannot read the list of gaps {path}: {why}") from error
    gaps: list[NamedGap] = []
    for number, line in enumerate(lines, start=1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        try:
            gaps.append(parse_gap(entry))
        except GapError as error:
            raise GapError(f"{path}, line {number}: {error}") from error
    return tuple(gaps)


def resolve_gaps(
    named: Iterable[NamedGap], slots: Sequence[Slot], *, origin: Fraction = Fraction(0)
) -> tuple[Gap, ...]:
    """Return the slots that the user's gaps mean, sorted.

    :param origin: the time of the file's clock that the user calls zero.

    Raises:
        GapError: a gap lies outside the video, holds no slot, overlaps another, or leaves no
            frame on either side.
    """
    times = [slot.time for slot in slots]
    resolved = sorted(
        ((_resolve(gap, times, origin), gap) for gap in named), key=lambda pair: pair[0].start
    )
    for (gap, name), (next_gap, next_name) in pairwise(resolved):
        if next_gap.start < gap.stop:
            raise GapError(
                f"gaps {name} and {next_name} overlap: name each frame only once, "
                "or join the two into one gap"
            )
    n_named = sum(gap.n_frames for gap, _ in resolved)
    if resolved and n_named == len(slots):
        raise GapError(
            f"gap {resolved[0][1]} leaves no frame on either side: "
            "at least one real frame must stay outside the gaps"
        )
    return tuple(gap for gap, _ in resolved)


def to_slots(named: NamedGap, step: Fraction) -> SlotRange:
    """The slots that a gap means on a timeline that begins at 0 and has one every ``step``.

    Raises:
        GapError: it holds no slot.
    """
    if isinstance(named, SlotRange):
        return named
    start, stop = (-(-(time - NAMED_TOLERANCE) // step) for time in (named.start, named.stop))
    if stop <= start:
        raise GapError(f"gap {named} holds no frame: name a longer range")
    return SlotRange(max(0, start), stop)


def _resolve(named: NamedGap, times: Sequence[Fraction], origin: Fraction) -> Gap:
    if isinstance(named, SlotRange):
        if named.stop > len(times) or named.start < 0:
            raise GapError(f"gap {named} lies outside the video, which has frames 0:{len(times)}")
        start, stop = named.start, named.stop
    else:
        first = times[0] - origin if times else Fraction(0)
        last = times[-1] - origin if times else Fraction(0)
        if not times or named.stop <= first or named.start > last + NAMED_TOLERANCE:
            raise GapError(
                f"gap {named} lies outside the video, whose frames are at "
                f"{format_time(first)}-{format_time(last)}"
            )
        start = bisect_left(times, named.start + origin - NAMED_TOLERANCE)
        stop = bisect_left(times, named.stop + origin - NAMED_TOLERANCE)
    if stop <= start:
        raise GapError(
            f"gap {named} holds no frame: the nearest one begins at "
            f"{format_time(times[min(start, len(times) - 1)] - origin)}; name a longer range"
        )
    return Gap(start, stop, "named")
