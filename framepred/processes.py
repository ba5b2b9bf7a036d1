"""The processes that share one training: which of them this is, and how they come to one mind.

``torchrun`` starts them and says in the environment how many there are. Each learns from windows
of its own; DistributedDataParallel averages their gradients, so that the weights stay the same in
all. What concerns files and people is the first one's business, and what goes wrong in one process
goes wrong in all: none is left waiting for another.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .errors import FramepredError, TrainingError

__all__ = ["Processes", "join_processes"]

_LONGEST_MESSAGE = 2000  # bytes


class Processes:
    """All processes of a training as one of them sees them. Alone, it has nothing to wait for."""

    def __init__(self, rank: int = 0, count: int = 1, *, device: str = "auto") -> None:
        self.rank = rank
        self.count = count
        self.device = device  # what this process is to compute on, as a name
        self._signal = 0  # the number of a signal that came and has not been acted on

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and talks to people."""
        return self.rank == 0

    def distribute(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The same model, its gradients averaged over all processes; starts from the first's."""
        if self.count == 1:
            return model
        return DistributedDataParallel(
            model,
            device_ids=None if device.index is None else [device.index],
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
            find_unused_parameters=True,  # what remembers is idle where the context is short
        )

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, in their order; on the CPU, of the same shape in all."""
        if self.count == 1:
            return [tensor]
        gathered = [torch.empty_like(tensor) for _ in range(self.count)]
        with _talk():
            dist.all_gather(gathered, tensor)
        return gathered

    def spread_largest(self, tensor: Tensor) -> None:
        """Set a tensor, in place, to the largest value that it has in any process."""
        if self.count > 1:
            with _talk():
                dist.all_reduce(tensor, dist.ReduceOp.MAX)

    def follow_first(self, *values: float) -> list[float]:
        """What the first process says, in all of them.

        Inside ``orderly`` this is where a signal that one of them got ends all of them.
        """
        if self.count == 1:
            return list(values)
        mine = [value if self.is_first else -torch.inf for value in values]
        numbers = torch.tensor([*mine, self._signal], dtype=torch.float64)
        self.spread_largest(numbers)
        *agreed, number = numbers.tolist()
        self._signal = int(number)
        self._act_on_signal()
        return agreed

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block after which all processes go on, or none: an error in one is raised in all."""
        if self.count == 1:
            yield
            return
        failure: FramepredError | None = None
        try:
            yield
        except FramepredError as error:
            failure = error
        message = str(failure or "").encode()[:_LONGEST_MESSAGE].ljust(_LONGEST_MESSAGE, b"\0")
        heard = self.gather(torch.tensor(list(message), dtype=torch.uint8))
        if failure is not None:
            raise failure
        for rank, message_bytes in enumerate(heard):
            text = bytes(message_bytes.tolist()).rstrip(b"\0").decode(errors="replace")
            if text:
                raise TrainingError(f"{text} (in process {rank} of {self.count})")

    @contextmanager
    def orderly(self) -> Iterator[None]:
        """A block in which Ctrl-C and SIGTERM wait for the next ``follow_first``.

        A process that left in the middle of a step would leave the others hanging in it.
        """
        if self.count == 1 or threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, _frame: object) -> None:
            self._signal = number

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        self._act_on_signal()

    def _act_on_signal(self) -> None:
        number, self._signal = self._signal, 0
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if number:
            raise SystemExit(128 + number)


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Meet the other processes of this training, if ``torchrun`` started any, for one block.

    device: as for ``choose_device``; of several processes each takes the CUDA device that has its
    place on this machine as number, or the CPU.

    Raises TrainingError.
    """
    count, rank, place = (_read_number(*entry) for entry in _ENVIRONMENT.items())
    if count == 1:
        yield Processes(device=device)
        return
    on_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if not on_cuda and device not in ("auto", "cpu"):
        raise TrainingError(
            f"{count} processes cannot share the device {device!r}: use --device cuda or cpu"
        )
    if on_cuda and place >= torch.cuda.device_count():
        raise TrainingError(
            f"process {place} of this machine has no CUDA device: there are "
            f"{torch.cuda.device_count()}; start as many processes, or use --device cpu"
        )
    if on_cuda:
        torch.cuda.set_device(place)
    try:
        # Tensors on the CPU go by gloo in any case: to ask for them keeps no device waiting.
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo")
    except (ValueError, RuntimeError) as error:
        raise TrainingError(
            f"the {count} processes of this training cannot meet: start them by torchrun ({error})"
        ) from error
    try:
        yield Processes(rank, count, device=f"cuda:{place}" if on_cuda else "cpu")
    finally:
        dist.destroy_process_group()


_ENVIRONMENT = {"WORLD_SIZE": 1, "RANK": 0, "LOCAL_RANK": 0}  # and what a lone process has


def _read_number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if text and not text.isdecimal():
        raise TrainingError(f"the variable {name} is {text!r}: start processes by torchrun")
    return int(text or default)


@contextmanager
def _talk() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # the connections of a process that is gone are closed
        raise TrainingError("another process of this training has ended") from error
