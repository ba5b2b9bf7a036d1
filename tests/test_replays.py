"""What of recordings can be seen without a CUDA device; the rest is in test_gpu.py."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scenery import build_network
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from framepred import replays
from framepred.model import ModelConfig
from framepred.replays import Replays


def test_on_a_cpu_everything_is_computed_anew() -> None:
    calls: list[Tensor | None] = []

    def compute(one: Tensor, two: Tensor | None) -> Tensor:
        calls.extend((one, two))
        return one + 1

    kept = Replays(torch.device("cpu"))
    for value in (1.0, 2.0, 3.0):
        assert kept.run("sum", compute, (torch.tensor([value]), None)).item() == value + 1
    assert len(calls) == 6
    assert kept.n_recorded == kept.n_replayed == 0


class _Recorder:
    """In place of CUDA: a recording computes anew, into the tensors that it wrote at first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.fails = False

        def record(kept: Replays, compute: Any, inputs: Any) -> replays._Recording:
            if self.fails:
                raise torch.OutOfMemoryError
            places = tuple(None if each is None else each.clone() for each in inputs)
            result = compute(*places)
            self.names.append("recorded")

            def repeat() -> None:
                self.names.append("repeated")
                result.copy_(compute(*places))

            return replays._Recording(SimpleNamespace(replay=repeat), places, result)  # type: ignore[arg-type]

        monkeypatch.setattr(Replays, "_record", record)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
        self.replays = Replays(torch.device("cuda"))


def test_what_is_recorded_once_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = _Recorder(monkeypatch)
    for k in range(5):
        one, two = torch.full((3,), float(k)), torch.full((3,), 10.0)
        made = recorder.replays.run("sum", torch.add, (one, two))
        assert torch.equal(made, one + two)
    assert recorder.names == ["recorded"] + 5 * ["repeated"]


def test_names_shapes_and_types_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = _Recorder(monkeypatch)
    inputs = [torch.ones(3), torch.ones(4), torch.ones(3, dtype=torch.float64)]
    for _ in range(2):
        for each in inputs:
            for name, compute in (("more", lambda x: x + 1), ("less", lambda x: x - 1)):
                made = recorder.replays.run(name, compute, (each,))
                assert torch.equal(made, each + (1 if name == "more" else -1))
    assert recorder.names.count("recorded") == 6


def test_the_oldest_recordings_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "_MOST", 2)
    recorder = _Recorder(monkeypatch)
    for name in "abacab":
        recorder.replays.run(name, torch.neg, (torch.ones(2),))
    # When c comes, a was used after b: b goes, and has to be recorded again.
    assert recorder.names.count("recorded") == 4


def test_without_memory_to_record_all_is_asked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = _Recorder(monkeypatch)
    recorder.fails = True
    for k in range(4):
        assert recorder.replays.run("neg", torch.neg, (torch.tensor([k]),)).item() == -k
    assert not recorder.replays.is_on
    assert recorder.names == []


class _Watch(TorchDispatchMode):
    """Notes what would make the CPU wait for a device, or the device for the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        kinds = {each.device.type for each in tensors if each.dim()}
        name = str(func)
        if len(kinds) > 1 or any(what in name for what in ("local_scalar", "nonzero")):
            self.waits.append(name)
        if "copy" in name and "cpu" in kinds:
            self.waits.append(name)
        return func(*args, **kwargs)


@pytest.mark.parametrize(
    ("n_before", "n_after"),
    [
        (4, 4),
        *(pytest.param(*n, marks=pytest.mark.exhaustive) for n in ((6, 0), (1, 2), (1, 0), (0, 3))),
    ],
)
def test_the_network_can_be_recorded(
    n_before: int, n_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It copies nothing from the CPU and asks for no value: seen on a device without contents."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    network = build_network(config=ModelConfig()).to("meta")
    sides = [
        torch.empty(2, n, 3, 72, 96, device="meta") if n else None for n in (n_before, n_after)
    ]
    with torch.inference_mode(), _Watch() as watch:
        made = network(sides[0], sides[1], 3)
    assert made.shape == (2, 3, 3, 72, 96)
    assert watch.waits == []
