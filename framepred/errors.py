"""What can go wrong, as one tree; the command line catches the root and prints one line.

::

    FramepredError
    ├── MediaError      the input is not a readable video, or has too few frames
    ├── OutputError     the output cannot be written, exists already, or is the input
    ├── GapError        a named gap lies outside the video, overlaps another, or has no context
    ├── ModelError      unknown weights, weights of another format, or a device that is not there
    ├── TrainingError   no usable clips, a loss that is not finite, a checkpoint that does not fit
    └── EvaluationError clips and windows that do not fit, videos that cannot be compared

Every message says what happened, why, and what to do about it, in one line.
"""

from __future__ import annotations

__all__ = [
    "EvaluationError",
    "FramepredError",
    "GapError",
    "MediaError",
    "ModelError",
    "OutputError",
    "TrainingError",
    "check_counts",
    "describe_error",
]


class FramepredError(Exception):
    """Root of all errors that a user can do something about."""


class MediaError(FramepredError):
    """The input is missing, not a video, has no video stream, or holds too few frames."""


class OutputError(FramepredError):
    """The output cannot be written: it exists, equals the input, or the disk refuses."""


class GapError(FramepredError):
    """A named gap is malformed, outside the video, overlapping, or has no frame on either side."""


class ModelError(FramepredError):
    """Weights are unknown, damaged or of another format, or the device is not available."""


class TrainingError(FramepredError):
    """Training cannot start or go on: no clips, a non-finite loss, a checkpoint of another run."""


class EvaluationError(FramepredError):
    """Nothing can be scored: no windows fit, or two videos differ in size or length."""


def describe_error(error: Exception) -> str:
    """The reason that a system or library gave, in one line."""
    return str(getattr(error, "strerror", None) or error).partition("\n")[0]


def check_counts(**counts: int) -> None:
    """ValueError for the first that is no whole number, or below 1."""
    for name, n in counts.items():
        if not isinstance(n, int):
            raise ValueError(f"{name} must be a whole number, got {n!r}")
        if n < 1:
            raise ValueError(f"{name} must be at least 1, got {n}")
