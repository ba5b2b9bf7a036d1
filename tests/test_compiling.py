from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from scenery import build_network, film, to_tensor

from framepred.clips import Batch, Situation
from framepred.compiling import compile_parts
from framepred.errors import TrainingError
from framepred.learner import Learner, TrainConfig

# Torch looks for the gradient of what a part is given.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")


@pytest.mark.slow
def test_parts_do_the_same_compiled() -> None:
    torch.compiler.reset()
    plain = build_network(strength=0.05)
    compiled = copy.deepcopy(plain)
    n_graphs = 0

    def count(graph: torch.fx.GraphModule, _: Any) -> Any:
        nonlocal n_graphs
        n_graphs += 1
        return graph.forward

    compile_parts(compiled, backend=count)
    frames = to_tensor(film(8, 40, 48))
    for known in ((frames[:, :3], frames[:, 5:], 2), (frames[:, :4], None, 2)):
        torch.testing.assert_close(compiled(*known), plain(*known))
    # The trial, the pyramid, the cell, two decoders or more.
    assert n_graphs >= 1 + 1 + 1 + 2
    n_before = n_graphs
    compiled(frames[:, :4], frames[:, 5:], 1)  # seven frames instead of six or four
    assert n_graphs == n_before
    # What is scored and stored is not the compiled one.
    assert compiled.pyramid._compiled_call_impl is not None
    assert copy.deepcopy(compiled).pyramid._compiled_call_impl is None
    assert compiled.state_dict().keys() == plain.state_dict().keys()


def test_what_cannot_be_compiled_is_said() -> None:
    torch.compiler.reset()

    def fail(*_: Any) -> Any:
        raise RuntimeError("no compiler here")

    with pytest.raises(TrainingError, match=r"no compiler here.*leave out --compile"):
        compile_parts(build_network(), backend=fail)


def test_a_step_that_cannot_be_compiled_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    n_done = 0

    def fail_later(graph: torch.fx.GraphModule, _: Any) -> Any:
        nonlocal n_done
        n_done += 1
        if n_done > 1:  # the trial went well
            raise RuntimeError("out of registers")
        return graph.forward

    monkeypatch.setattr(compile_parts, "__kwdefaults__", {"backend": fail_later})
    config = TrainConfig(n_steps=2, compile=True)
    learner = Learner(build_network(), config, torch.device("cpu"))
    batch = Batch(to_tensor(film(5, 32, 32)), Situation(2, 1, 2, 1))
    with pytest.raises(TrainingError, match="out of registers"):
        learner.learn(batch, [1], torch.float32)
