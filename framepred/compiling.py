"""Compiled parts of the network: what has fixed shapes in a run is fused by ``torch.compile``.

The loops around the parts stay as they are. The kernels do not depend on the order in which shapes
are met, so that a resumed run takes the same ones: those that see a fixed number of pictures are
compiled for it, and the pyramid, which sees as many as a window has frames, for any number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .errors import TrainingError
from .layers import Decoder
from .model import FramePredictor

__all__ = ["compile_parts", "explain_failures"]

_MOST_KERNELS = 64


def compile_parts(
    network: FramePredictor, *, backend: str | Callable[..., Any] = "inductor"
) -> None:
    """Compile the parts of a network in place, each when it is first used; copies stay plain.

    backend: of ``torch.compile``. Raises TrainingError if there is no compiler for the device that
    the network is on.
    """
    from torch._dynamo import config  # slow to import

    # Modules share the code that is counted here, and each has kernels of its own.
    limits: Any = config
    limits.recompile_limit = max(limits.recompile_limit, _MOST_KERNELS)
    device = next(network.parameters()).device
    with explain_failures():
        trial = torch.compile(lambda x: x.sin() + 1, backend=backend, fullgraph=True, dynamic=False)
        trial(torch.ones(16, device=device))
    decoders = [part for part in network.modules() if isinstance(part, Decoder)]
    for part in (network.pyramid, network.survey, network.forecaster, *decoders):
        part.compile(backend=backend, fullgraph=True, dynamic=part is network.pyramid)


@contextmanager
def explain_failures() -> Iterator[None]:
    """A block in which what the compiler cannot do is a TrainingError, never a slower way round."""
    # Takes a second to import, and is in use from here on anyway.
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    try:
        yield
    except (TorchDynamoException, FailOnRecompileLimitHit) as error:
        reason = " ".join(str(error).split("\n\n")[0].split())
        raise TrainingError(
            f"torch.compile failed: {reason}; it needs a C++ compiler (g++, clang), on CUDA also "
            "Triton; leave out --compile to do without"
        ) from error
