"""Run in two processes at once by test_processes.py: little trainings, and what became of each.

Usage: pair.py VIDEOS INITIAL OUT PORT...

Each training meets at a port of its own: what the store of an earlier one still holds would send
the processes to places that are gone.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import itertools
import json
import math
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import save_file

from framepred import learner, session, training
from framepred.errors import FramepredError
from framepred.learner import Learner, TrainConfig

CONFIG = TrainConfig(
    n_steps=5,
    batch_size=1,
    crop=32,
    max_gap=3,
    n_targets=1,
    learning_rate=1e-3,
    warmup_steps=2,
    n_validation=1,
    forecast_share=0.5,
)
RANK = int(os.environ["RANK"])
VIDEOS, INITIAL, OUT = (Path(argument) for argument in sys.argv[1:4])
PORTS = iter(sys.argv[4:])


def train(name: str, *, resume: bool = False, **changes: Any) -> None:
    """Train, and write what this process saw and has into a folder of its own."""
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "False", "MASTER_PORT": next(PORTS)}
    batches: dict[str, torch.Tensor] = {}
    situations = []
    learners = []
    true_learn = Learner.learn

    def watch(one: Learner, batch: Any, *more: Any) -> torch.Tensor:
        situations.append([*dataclasses.astuple(batch.situation), *more[0]])
        batches[f"batch.{one.step}"] = batch.frames
        learners.append(one)
        loss = true_learn(one, batch, *more)
        if one.step == 1:
            grads = {f"grad.{k}": p.grad.clone() for k, p in one.model.named_parameters()}  # type: ignore[union-attr]
            batches.update(grads)
        return loss

    ended, report, events = "done", None, []
    with mock.patch.object(Learner, "learn", watch):
        try:
            report = training.train(
                [VIDEOS],
                OUT / name,
                config=dataclasses.replace(CONFIG, **changes),
                validation=[VIDEOS / "0.mkv"],
                initial=INITIAL,
                resume=resume,
                device="cpu",
                on_event=lambda event: events.append(event["event"]),
            ).as_dict()
        except FramepredError as error:
            ended = f"error: {error}"
        except KeyboardInterrupt:
            ended = "interrupted"
    place = OUT / f"{name}{'.resumed' * resume}.{RANK}"
    if place.exists():
        place = OUT / f"{name}.again.{RANK}"
    place.mkdir()
    facts = {"ended": ended, "situations": situations, "events": events, "report": report}
    (place / "facts.json").write_text(json.dumps(facts))
    weights = {}
    if learners:
        weights = {f"model.{k}": p.detach() for k, p in learners[-1].model.named_parameters()}
    tensors = {name: tensor.contiguous() for name, tensor in {**weights, **batches}.items()}
    save_file(tensors, place / "tensors.safetensors")


def only_in_the_second(steps: int, act: Any) -> Any:
    """``compute_loss`` that calls ``act`` on the loss of one step, in the second process only."""
    true_loss, calls = learner.compute_loss, itertools.count()

    def compute(*arguments: Any) -> torch.Tensor:
        loss = true_loss(*arguments)
        return act(loss) if next(calls) == steps and RANK == 1 else loss

    return mock.patch.object(learner, "compute_loss", compute)


def interrupt(loss: torch.Tensor) -> torch.Tensor:
    os.kill(os.getpid(), signal.SIGINT)
    return loss


# Should they wait for each other without end: say where, and leave no process behind.
faulthandler.dump_traceback_later(200, exit=True)
session.choose_precision = lambda _: torch.float32  # the same on every processor
train("whole")
with only_in_the_second(2, interrupt), mock.patch.object(session, "_SAVE_AFTER", -1):
    train("parts")
train("parts", resume=True)
# With a gradient that is sound, and in one process only.
with only_in_the_second(2, lambda loss: loss + math.inf):
    train("spoilt")
with (
    mock.patch.object(session, "Learner", partial(Learner, deferred=True)),
    only_in_the_second(2, lambda loss: loss + math.inf),
):
    train("deferred")
with mock.patch.object(session, "save_model", side_effect=FramepredError("disk full")):
    train("unwritten", n_steps=1)
train("whole")  # is there already
