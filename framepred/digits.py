"""Moving MNIST: handwritten digits that drift and bounce, made as fast as they are learnt from."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .clips import Batch, Situation
from .errors import MediaError

__all__ = ["SIDE", "MovingDigits", "read_digits", "trace_paths"]

SIDE = 64  # pixels of a frame

_DIGIT = 28  # pixels of a digit's side
_FREE = SIDE - _DIGIT  # pixels that a digit may move
_STEP = 0.1  # of these, a frame
_MAGIC = 0x00000803  # bytes (8) in three dimensions (3)
_MOST_DIGITS = 2**17  # a file that says more is none of ours, and may not fill the memory
_FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}


def read_digits(folder: str | Path, split: Literal["train", "test"]) -> Tensor:
    """The digits of a split of MNIST, (N, 28, 28) uint8, from the IDX file as published.

    The file lies in ``folder`` under its usual name, compressed (``.gz``) or not.

    Raises MediaError if it is missing or damaged.
    """
    plain = Path(folder) / _FILES[split]
    packed = plain.with_name(f"{plain.name}.gz")
    path = packed if packed.is_file() else plain
    try:
        with gzip.open(path) if path == packed else path.open("rb") as file:
            header = file.read(16)
            if len(header) < 16:
                raise MediaError(f"{path}: ends within its header; fetch it anew")
            magic, n_digits, height, width = struct.unpack(">4I", header)
            if magic != _MAGIC or (height, width) != (_DIGIT, _DIGIT):
                raise MediaError(
                    f"{path}: holds no MNIST pictures (magic {magic:#010x}, {height}x{width}); "
                    f"expected {_MAGIC:#010x}, {_DIGIT}x{_DIGIT}"
                )
            if not 1 <= n_digits <= _MOST_DIGITS:
                raise MediaError(f"{path}: says that it holds {n_digits} digits; fetch it anew")
            n_bytes = n_digits * _DIGIT**2
            # Not a byte more is unpacked than the header promises, and the one that tells.
            content = file.read(n_bytes + 1)
    except FileNotFoundError:
        raise MediaError(
            f"{folder}: holds neither {plain.name} nor {packed.name}; give the folder of the MNIST "
            "files"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{path}: cannot be read ({reason}); fetch it anew") from None
    if len(content) != n_bytes:
        what = "more than" if len(content) > n_bytes else "less than"
        raise MediaError(f"{path}: holds {what} the {n_digits} digits it promises; fetch it anew")
    return torch.from_numpy(np.frombuffer(content, np.uint8).reshape(-1, _DIGIT, _DIGIT).copy())


class MovingDigits:
    """Endless batches of digits that move evenly and bounce off the edges.

    The standard generator (Srivastava et al., 2015), as the published tables use it: every digit
    starts anywhere, in any direction, and moves by a tenth of its free 36 pixels a frame; at an
    edge it stops short and turns back; positions are cut to whole pixels; of overlapping digits
    the brighter pixel shows.

    digits: (N, 28, 28) uint8; frames are made on their device, which is asked for nothing.
    generator: all choices are drawn from it (on the CPU), sequence by sequence, so that the same
    seed gives the same sequences however large the batches are.
    """

    def __init__(
        self,
        digits: Tensor,
        *,
        batch_size: int,
        generator: torch.Generator,
        n_before: int = 10,
        n_missing: int = 10,
        n_digits: int = 2,
    ) -> None:
        self.digits = digits
        self.batch_size = batch_size
        self.generator = generator
        self.situation = Situation(n_before, n_missing, 0, 1)
        self.n_digits = n_digits

    def draw(self) -> Batch:
        """The next batch: frames (B, T, 1, 64, 64) float32 in [0, 1], a digit's pixels / 255."""
        dice = torch.rand(
            self.batch_size, self.n_digits, 4, generator=self.generator, dtype=torch.float64
        )
        chosen = (dice[..., 3] * len(self.digits)).long()
        corners = trace_paths(dice[..., :3], self.situation.n_frames)
        frames = _draw_frames(self.digits, self._send(chosen), self._send(corners))
        return Batch(frames.unsqueeze(2).float() / 255, self.situation)

    def take(self, n_sequences: int) -> Iterator[Batch]:
        """The next ``n_sequences``, in batches of which the last may be smaller."""
        whole = self.batch_size
        try:
            for first in range(0, n_sequences, whole):
                self.batch_size = min(whole, n_sequences - first)
                yield self.draw()
        finally:
            self.batch_size = whole

    def _send(self, numbers: Tensor) -> Tensor:
        """To the digits' device, without waiting for it."""
        if self.digits.device.type == "cuda":
            return numbers.pin_memory().to(self.digits.device, non_blocking=True)
        return numbers.to(self.digits.device)


def trace_paths(dice: Tensor, n_frames: int) -> Tensor:
    """Where digits are: top and left in pixels, (..., n_frames, 2) int64 in [0, 36].

    dice: (..., 3) float64 in [0, 1): across and down before the first step, direction.
    """
    place = dice[..., :2]
    angle = dice[..., 2] * (2 * math.pi)
    speed = torch.stack((angle.cos(), angle.sin()), -1)
    places = []
    for _ in range(n_frames):
        place = place + speed * _STEP
        speed = torch.where((place <= 0) | (place >= 1), -speed, speed)
        place = place.clamp(0, 1)
        places.append(place)
    across_and_down = (torch.stack(places, -2) * _FREE).long()
    return across_and_down.flip(-1)


def _draw_frames(digits: Tensor, chosen: Tensor, corners: Tensor) -> Tensor:
    """(N, 28, 28), (B, n), (B, n, T, 2) -> (B, T, 64, 64) uint8."""
    # A digit in the middle of so much black that every frame is a window of it.
    padded = F.pad(digits[chosen], (_FREE,) * 4)
    span = torch.arange(SIDE, device=digits.device)
    rows, columns = (_FREE - corners).unsqueeze(-1).add(span).unbind(-2)  # (B, n, T, 64)
    some, each = (torch.arange(n, device=digits.device) for n in chosen.shape)
    windows = padded[
        some[:, None, None, None, None],
        each[:, None, None, None],
        rows[..., None],
        columns[..., None, :],
    ]
    return windows.amax(1)
