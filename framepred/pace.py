"""Pace of a training: sequences and frames a second, and whether the device is kept busy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

__all__ = ["Pace", "Rates"]


@dataclass(frozen=True)
class Rates:
    """What a stretch of time came to.

    ``busy_share``: the time from the first to the last operation of every step, as a share of all
    the time; the rest went into drawing batches, scores, saving and the log. Within a step a CUDA
    device may stand still all the same, while the CPU prepares its next operation.
    ``starved_share`` tells: of the steps, those before which the device had nothing left to do. It
    is None where CPU and device are one.
    """

    samples_per_second: float
    frames_per_second: float
    busy_share: float
    starved_share: float | None

    def as_dict(self) -> dict[str, float | None]:
        """Rounded, for a log."""
        starved = self.starved_share
        return {
            "samples_per_second": round(self.samples_per_second, 2),
            "frames_per_second": round(self.frames_per_second, 1),
            "busy_share": round(self.busy_share, 3),
            "starved_share": None if starved is None else round(starved, 3),
        }


@dataclass
class _Tally:
    began: float
    n_steps: int = 0
    n_starved: int = 0
    n_samples: int = 0
    n_frames: int = 0
    busy: float = 0.0  # seconds

    def rate(self, now: float, *, on_cuda: bool) -> Rates:
        seconds = max(now - self.began, 1e-9)
        return Rates(
            samples_per_second=self.n_samples / seconds,
            frames_per_second=self.n_frames / seconds,
            busy_share=min(1.0, self.busy / seconds),
            starved_share=self.n_starved / max(self.n_steps, 1) if on_cuda else None,
        )


class Pace:
    """Counts steps without waiting for the device; only a reading does that."""

    def __init__(self, device: torch.device) -> None:
        self._on_cuda = device.type == "cuda"
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        now = time.monotonic()
        self._session, self._recent = _Tally(now), _Tally(now)

    @contextmanager
    def measure(self, *, n_samples: int, n_frames: int) -> Iterator[None]:
        """Count the block as one step, on so many sequences with so many frames in all."""
        is_starved = bool(self._events) and self._events[-1][1].query()
        busy = 0.0
        if self._on_cuda:
            first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            first.record()
            yield
            last.record()
            self._events.append((first, last))
        else:
            began = time.monotonic()
            yield
            busy = time.monotonic() - began
        for tally in (self._session, self._recent):
            tally.n_steps += 1
            tally.n_starved += is_starved
            tally.n_samples += n_samples
            tally.n_frames += n_frames
            tally.busy += busy

    def read_recent(self) -> Rates:
        """Since the last such reading, or the beginning."""
        self._settle()
        now = time.monotonic()
        rates = self._recent.rate(now, on_cuda=self._on_cuda)
        self._recent = _Tally(now)
        return rates

    def read_session(self) -> Rates:
        """Since the beginning."""
        self._settle()
        return self._session.rate(time.monotonic(), on_cuda=self._on_cuda)

    def _settle(self) -> None:
        for first, last in self._events:
            last.synchronize()
            busy = first.elapsed_time(last) / 1000
            self._session.busy += busy
            self._recent.busy += busy
        self._events.clear()
