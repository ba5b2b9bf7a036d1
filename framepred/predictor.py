"""Frames in, frames out: the network behind arrays, on whatever device there is.

Knows nothing of files, containers or timestamps.
"""

from __future__ import annotations

import copy
import hashlib
import html
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import __version__
from .checkpoint import load_model
from .errors import ModelError
from .grids import choose_scale
from .model import FramePredictor, arrange
from .planes import to_images, to_planes
from .recall import Recall
from .replays import Replays
from .sights import Memory
from .spacing import SpacedPredictor
from .tiles import Tiling, make_large

__all__ = ["Predictor", "choose_device", "choose_precision"]

_log = logging.getLogger(__name__)

# What is remembered of frames: enough for the context of a gap at 1080p.
_FEATURE_BYTES = 2**28
_FLOW_BYTES = 2**27

Frames = NDArray[np.generic]  # (T, H, W, 3) RGB, uint8 or uint16; or of several one, (H, W, 3)


def choose_device(device: str = "auto") -> torch.device:
    """Turn ``auto``, ``cuda``, ``cuda:1``, ``mps`` or ``cpu`` into a device that is there.

    Raises ModelError if the one asked for is not.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"no device {device!r}: use auto, cuda, mps or cpu") from error
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (chosen.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not present.get(chosen.type, False):
        raise ModelError(f"device {device!r} is not available here: use --device auto")
    return chosen


def choose_precision(device: torch.device) -> torch.dtype:
    """The number format for convolutions: bfloat16 where the hardware is made for it."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    has_units = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    if device.type == "cpu" and has_units:
        return torch.bfloat16
    return torch.float32


class Predictor:
    """A trained network that fills and forecasts arrays of frames, for one thread at a time."""

    def __init__(
        self,
        model: FramePredictor,
        *,
        name: str,
        device: torch.device,
        tile: int | str | None = "auto",
    ) -> None:
        self.model = arrange(model, device)
        self.name = name
        self.tiling = Tiling(tile)
        self._device = device
        self._precision = choose_precision(device)
        # The weights of ``model`` must stay as they are: these remember what it made of a frame.
        self._features, self._flows = Recall(_FEATURE_BYTES), Recall(_FLOW_BYTES)
        self._replays = Replays(device)
        self._latent: Tensor | None = None  # of the one future that is forecast, or None
        self._spaced: SpacedPredictor | None = None

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = "default",
        *,
        device: str = "auto",
        tile: int | str | None = "auto",
    ) -> Predictor:
        """Load a packaged model by name, or a weights file by path.

        tile: side, in pixels, of the tiles that pictures of 540 lines and more are made in; "auto"
        by the free memory; None to make them whole.

        Raises ModelError for unknown or unsound weights, or a device that is not there; ValueError
        for a tile that is too small.
        """
        chosen = choose_device(device)
        model, _ = load_model(name_or_path)
        predictor = cls(model, name=str(name_or_path), device=chosen, tile=tile)
        _log.info(
            "network %s on %s (asked for: %s), convolutions in %s",
            *(name_or_path, chosen, device, str(predictor._precision).removeprefix("torch.")),
        )
        return predictor

    @property
    def device(self) -> str:
        """The device in use, such as ``cpu`` or ``cuda``."""
        return str(self._device)

    @property
    def fingerprint(self) -> str:
        """The same only for predictors that make the same frames: by weights, version, device."""
        facts = (__version__, self._device.type, self._precision, self.model.config)
        digest = hashlib.blake2b(repr(facts).encode(), digest_size=16)
        if self._latent is not None:
            digest.update(self._latent.cpu().numpy().tobytes())
        for name, tensor in self.model.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def fill(
        self,
        before: Frames | Sequence[Frames],
        after: Frames | Sequence[Frames],
        n_frames: int,
        *,
        steps: Sequence[int] | None = None,
    ) -> Frames:
        """Make ``n_frames`` frames between ``before`` and ``after``.

        before, after: (T, H, W, 3) RGB, uint8 or uint16, in display order, evenly spaced in time;
        either may be empty, and then the other side is extended. steps: which of the ``n_frames``
        to make, from 1 on, rising; default: all. Returns so many (T, H, W, 3) of the same type.

        Raises ValueError if both are empty, shapes or types do not match, or for steps that are
        not there; ModelError if memory runs out, which smaller tiles could not help.
        """
        return self._make(self.model, before, after, n_frames, steps)

    def interpolate(
        self,
        before: Frames | Sequence[Frames],
        after: Frames | Sequence[Frames],
        n_frames: int,
        *,
        steps: Sequence[int] | None = None,
    ) -> Frames:
        """Make frames between two real ones where none is missing, to raise the frame rate.

        ::

            before | | |  .  .  .  | | after      n_frames 3: known frames are 4 steps apart

        As ``fill``, but the known frames are as far from one another as ``before[-1]`` is from
        ``after[0]``, and the ``n_frames`` lie evenly between these two.

        steps: which of the ``n_frames`` to make, from 1 on, rising; default: all.

        Raises ValueError as ``fill`` does, if a side is empty, and for steps that are not there.
        """
        if not len(before) or not len(after):
            raise ValueError("a frame on each side is needed to make some between them")
        if self._spaced is None:
            self._spaced = SpacedPredictor(self.model)
        self._spaced.spacing = n_frames + 1
        return self._make(self._spaced, before, after, n_frames, steps)

    def _make(
        self,
        model: FramePredictor,
        before: Frames | Sequence[Frames],
        after: Frames | Sequence[Frames],
        n_frames: int,
        steps: Sequence[int] | None,
    ) -> Frames:
        # Never as one array: so much memory, and a copy, for what is taken apart again.
        sides = [[np.asarray(frame) for frame in side] for side in (before, after)]
        known = [frame for side in sides for frame in side]
        if not known:
            raise ValueError("a frame on at least one side is needed, got none")
        first = known[0]
        sound = first.dtype in (np.uint8, np.uint16) and first.ndim == 3 and first.size > 0
        if not sound or first.shape[-1] != 3:
            raise ValueError(
                "expected (T, H, W, 3) uint8 or uint16, got "
                f"{(len(known), *first.shape)} {first.dtype}"
            )
        if any(frame.shape != first.shape or frame.dtype != first.dtype for frame in known):
            kinds = sorted({(frame.shape, str(frame.dtype)) for frame in known})
            raise ValueError(f"all frames must match in shape and type, got {kinds}")
        if n_frames < 1:
            raise ValueError(f"expected n_frames of at least 1, got {n_frames}")
        wanted = range(1, n_frames + 1) if steps is None else list(steps)
        if not wanted or list(wanted) != sorted(set(wanted).intersection(range(1, n_frames + 1))):
            raise ValueError(f"expected rising steps from 1 to {n_frames}, got {steps}")
        steps = None if len(wanted) == n_frames else wanted
        memory = self._open_memory(sides)
        latent = None if all(len(side) for side in sides) else self._latent
        size = (first.shape[0], first.shape[1])
        with torch.inference_mode(), self._autocast():
            if self.tiling.is_off or choose_scale(*size) == 1:
                return self._make_whole(model, sides, n_frames, steps, memory, latent)
            if not self.tiling.is_needed(self._device, size, len(known) + len(wanted)):
                try:
                    return self._make_whole(model, sides, n_frames, steps, memory, latent)
                except torch.OutOfMemoryError:
                    _log.info("memory ran out on whole pictures")
                # Outside of the handler, where the traceback would keep tensors.
                self._replays.forget()
            return make_large(
                model,
                sides[0],
                sides[1],
                n_frames,
                steps=steps,
                memory=memory,
                latent=latent,
                device=self._device,
                tiling=self.tiling,
                replays=self._replays,
            )

    def _make_whole(
        self,
        model: FramePredictor,
        sides: Sequence[Sequence[Frames]],
        n_frames: int,
        steps: Sequence[int] | None,
        memory: Memory | None,
        latent: Tensor | None,
    ) -> Frames:
        planes = [
            to_planes(side, self._device).unsqueeze(0) if len(side) else None for side in sides
        ]

        def compute(one: Tensor | None, two: Tensor | None, drawn: Tensor | None) -> Tensor:
            made: Tensor = model(one, two, n_frames, steps=steps, memory=memory, latent=drawn)
            return made

        name = ("whole", model.traits, n_frames, None if steps is None else tuple(steps))
        made = self._replays.run(name, compute, (*planes, latent))
        return to_images(made[0], next(frame.dtype for side in sides for frame in side))

    def forecast(self, context: Frames | Sequence[Frames], n_frames: int) -> Frames:
        """Make the ``n_frames`` frames that follow ``context``; shapes as in ``fill``."""
        return self.fill(context, (), n_frames)

    def pick_future(self, number: int, *, seed: int) -> Predictor:
        """The same predictor, but its forecasts are the ``number``-th (from 1) plausible future.

        What is uncertain about the motion (has its speed changed for good, will it last, and what
        may come that was not foreseen before either?) has a distribution whose widths the network
        knows. A future is drawn from it; without this a forecast is the mean over all of them.
        ``seed`` decides which futures there are.

        Raises ValueError if ``number`` is below 1.
        """
        if number < 1:
            raise ValueError(f"futures are counted from 1, got {number}")
        generator = torch.Generator().manual_seed(seed)
        one = copy.copy(self)
        one._latent = torch.randn(number, 1, 4, generator=generator)[-1].to(self._device)
        return one

    def _repr_html_(self) -> str:
        """One line for notebooks."""
        millions = sum(weights.numel() for weights in self.model.parameters()) / 1e6
        return (
            f"<b>Predictor</b> {html.escape(self.name)} ({millions:.2f} million weights) on "
            f"{html.escape(self.device)}"
        )

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self._device.type,
            dtype=torch.bfloat16,
            enabled=self._precision == torch.bfloat16,
        )

    def _open_memory(self, sides: Sequence[Sequence[Frames]]) -> Memory | None:
        """What is known of frames already; on a GPU it is faster to find out anew."""
        if self._replays.is_on:
            return None
        names = tuple(_name(frame) for side in sides for frame in side)
        return Memory(names, self._features, self._flows)


def _name(frame: NDArray[np.generic]) -> tuple[object, ...]:
    """The same for equal frames only."""
    digest = hashlib.blake2b(np.ascontiguousarray(frame).data, digest_size=16).digest()
    return frame.shape, frame.dtype.str, digest
