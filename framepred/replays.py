"""What a CUDA device has been told once and repeats on a word: CUDA graphs of fixed shapes.

The network asks for thousands of small operations; to ask for them takes the CPU several times as
long as the GPU takes to do them. So they are recorded when they are first asked for, and from then
on repeated as a whole. Even the first result is a repetition: a library may choose another way to
compute what is not recorded, and a resumed job must make the frames of an uninterrupted one.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["Replays"]

_log = logging.getLogger(__name__)

_MOST = 16  # recordings kept: gaps of some lengths, with some known frames on each side
_WARM_UPS = 2

T = TypeVar("T")


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor | None, ...]  # where it reads
    result: Any  # what it writes: the same tensors every time


class Replays:
    """Recordings by name and shapes of inputs, those used longest ago given up; for one thread.

    Without a CUDA device everything is computed as it is.
    """

    def __init__(self, device: torch.device) -> None:
        self.is_on = device.type == "cuda"
        self.n_recorded = 0
        self.n_replayed = 0
        self._device = device
        self._pool: Any = None
        self._kept: OrderedDict[Hashable, _Recording] = OrderedDict()

    def run(self, name: Hashable, compute: Callable[..., T], inputs: Sequence[Tensor | None]) -> T:
        """``compute(*inputs)``, recorded the first time, then repeated.

        name: all that the computation depends on but the contents of the inputs. It may not copy
        from the CPU or wait for the device, must be of no consequence but its result, and runs
        without gradients, in the caller's autocast.

        The result is good until the next call.
        """
        if not self.is_on:
            return compute(*inputs)
        shapes = tuple(None if each is None else (each.shape, each.dtype) for each in inputs)
        key = (name, shapes)
        recording = self._kept.get(key)
        if recording is None:
            try:
                recording = self._record(compute, inputs)
            except torch.OutOfMemoryError:
                self.forget()
                self.is_on = False
                _log.info("no memory to record the network's operations: they are asked for anew")
                recording = None
            if recording is None:  # outside of the handler, where the traceback would keep tensors
                return compute(*inputs)
            self._kept[key] = recording
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        for place, each in zip(recording.inputs, inputs, strict=True):
            if place is not None and each is not None:
                place.copy_(each)
        recording.graph.replay()
        self.n_replayed += 1
        result: T = recording.result
        return result

    def forget(self) -> None:
        """Give up all recordings, and their memory."""
        self._kept.clear()
        self._pool = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _record(self, compute: Callable[..., Any], inputs: Sequence[Tensor | None]) -> _Recording:
        places = tuple(None if each is None else each.clone() for each in inputs)
        # Weights in half precision that autocast holds ready would lie outside of the recording.
        dtype = torch.get_autocast_dtype("cuda")
        is_mixed = torch.is_autocast_enabled("cuda")
        with torch.autocast("cuda", dtype=dtype, enabled=is_mixed, cache_enabled=False):
            side = torch.cuda.Stream(self._device)
            side.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(side):
                for _ in range(_WARM_UPS):
                    compute(*places)
            torch.cuda.current_stream(self._device).wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # All in the same memory: no two are ever at work, or their results in use, at once.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=side, capture_error_mode="thread_local"
            ):
                result = compute(*places)
        self._pool = graph.pool()
        self.n_recorded += 1
        return _Recording(graph, places, result)
