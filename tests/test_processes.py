"""Two processes by ``torchrun``, on the CPU, as they would train on two devices."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from scenery import TINY, build_network
from synthetic import make_frames, write_clip

from framepred.checkpoint import load_state, save_model
from framepred.clips import Batch, Situation
from framepred.errors import TrainingError
from framepred.learner import Learner, TrainConfig
from framepred.processes import join_processes

TESTS = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    (folder / "clips").mkdir()
    for seed in (0, 1):
        frames = make_frames(13, width=48, height=40, seed=seed)
        write_clip(folder / "clips" / f"{seed}.mkv", frames, codec="ffv1")
    save_model(folder / "tiny.safetensors", build_network(strength=0.02).state_dict(), TINY, {})
    return folder


def start(*command: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)}
    return subprocess.run(
        [*TORCHRUN, *map(str, command)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


def find_free_ports(n: int) -> list[int]:
    """Ports that no other test gets meanwhile: the system gives none from this range by itself."""
    found: list[int] = []
    candidates = random.sample(range(20_000, 32_000), 1000)
    while len(found) < n:
        with contextlib.suppress(OSError), socket.socket() as each:
            each.bind(("localhost", port := candidates.pop()))
            found.append(port)
    return found


@pytest.fixture(scope="module")
def pair(material: Path) -> Path:
    out = material / "out"
    videos, initial = material / "clips", material / "tiny.safetensors"
    done = start(TESTS / "pair.py", videos, initial, out, *find_free_ports(7))
    assert done.returncode == 0, done.stderr
    return out


def read(pair: Path, name: str) -> tuple[list[dict[str, Any]], list[dict[str, torch.Tensor]]]:
    """What both processes noted of a training: facts and tensors."""
    folders = [pair / f"{name}.{rank}" for rank in (0, 1)]
    return (
        [json.loads((folder / "facts.json").read_text()) for folder in folders],
        [load_file(folder / "tensors.safetensors") for folder in folders],
    )


def pick(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.slow
def test_both_have_the_same_weights_from_windows_of_their_own(pair: Path) -> None:
    (facts, others), (tensors, theirs) = read(pair, "whole")
    assert (facts["ended"], others["ended"]) == ("done", "done")
    assert_same(pick(tensors, "model."), pick(theirs, "model."))
    start_weights = load_file(pair.parent / "tiny.safetensors")
    assert any(not torch.equal(w, start_weights[k]) for k, w in pick(tensors, "model.").items())
    assert facts["situations"] == others["situations"]
    assert len({tuple(situation) for situation in facts["situations"]}) > 1
    assert {situation[2] == 0 for situation in facts["situations"]} == {True, False}  # both tasks
    for name, frames in pick(tensors, "batch.").items():
        assert frames.shape == theirs[f"batch.{name}"].shape
        assert not torch.equal(frames, theirs[f"batch.{name}"])


@pytest.mark.slow
def test_gradients_are_those_of_both_batches_in_one(pair: Path) -> None:
    (facts, _), (tensors, theirs) = read(pair, "whole")
    *situation, target = facts["situations"][0]
    batch = Batch(torch.cat((tensors["batch.0"], theirs["batch.0"])), Situation(*situation))
    alone = Learner(build_network(strength=0.02), TrainConfig(), torch.device("cpu"))
    alone.learn(batch, [target], torch.float32)
    for name, parameter in alone.model.named_parameters():
        for found in (tensors, theirs):
            torch.testing.assert_close(
                found[f"grad.{name}"], parameter.grad, atol=1e-5, rtol=1e-3, msg=name
            )


@pytest.mark.slow
def test_one_log_and_one_voice(pair: Path) -> None:
    (facts, others), _ = read(pair, "whole")
    log = [json.loads(line) for line in (pair / "whole" / "log.jsonl").read_text().splitlines()]
    assert facts["events"] == [event["event"] for event in log] == ["start", "stop", "validate"]
    assert others["events"] == []
    assert log[0]["processes"] == facts["report"]["processes"] == 2
    assert facts["report"]["samples"] == others["report"]["samples"] == 10
    assert facts["report"]["loss"] == others["report"]["loss"]
    assert set(facts["report"]["validation"]["model"]) == {"fill", "forecast"}
    assert others["report"]["validation"] == {"model": {}, "baselines": {}}
    assert sorted(file.name for file in (pair / "whole").iterdir()) == [
        *("log.jsonl", "model.safetensors", "state.safetensors")
    ]


@pytest.mark.slow
def test_interrupted_and_resumed_is_the_same_as_at_once(pair: Path) -> None:
    facts, _ = read(pair, "parts")
    assert [each["ended"] for each in facts] == ["interrupted", "interrupted"]
    assert [len(each["situations"]) for each in facts] == [3, 3]
    resumed, _ = read(pair, "parts.resumed")
    assert [each["ended"] for each in resumed] == ["done", "done"]
    assert [len(each["situations"]) for each in resumed] == [3, 3]  # the last one once more
    for name in ("state.safetensors", "model.safetensors"):
        assert_same(load_file(pair / "whole" / name), load_file(pair / "parts" / name))
    state = load_state(pair / "whole" / "state.safetensors")
    assert state.facts["processes"] == 2
    assert not torch.equal(state.tensors["windows.0"], state.tensors["windows.1"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps", "message"),
    [
        ("spoilt", 3, "the loss became inf at step 2: "),
        ("deferred", 5, "the loss became inf at step 2: "),
        ("unwritten", 1, "disk full"),
        ("whole", 5, "holds a run already: "),
    ],
)
def test_what_goes_wrong_in_one_goes_wrong_in_both(
    pair: Path, name: str, steps: int, message: str
) -> None:
    facts, (tensors, theirs) = read(pair, name + ".again" * (name == "whole"))
    for each in facts:
        assert each["ended"].startswith("error: ")
        assert message in each["ended"]
        assert "\n" not in each["ended"]
        assert len(each["situations"]) == (0 if name == "whole" else steps)
    assert_same(pick(tensors, "model."), pick(theirs, "model."))


@pytest.mark.slow
def test_a_step_that_is_not_sound_in_one_moves_neither(pair: Path) -> None:
    spoilt, deferred = (read(pair, name)[1][0] for name in ("spoilt", "deferred"))
    for name, weights in pick(spoilt, "model.").items():
        # Two steps were taken in each, by two implementations of the same optimizer.
        torch.testing.assert_close(deferred[f"model.{name}"], weights, atol=1e-6, rtol=0, msg=name)
    assert load_state(pair / "deferred" / "state.safetensors").facts["step"] == 0


@pytest.mark.exhaustive
def test_the_command_speaks_once(pair: Path) -> None:
    done = start(
        *("-m", "framepred", "train", pair.parent / "clips", "-o", pair / "command"),
        *("--initial", pair.parent / "tiny.safetensors", "--device", "cpu", "--steps", 2),
        *("--batch-size", 1, "--crop", 32, "--max-gap", 1, "--json", "-"),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["steps"], report["processes"], report["samples"]) == (2, 2, 4)
    assert done.stderr.count("on cpu in") == 1


# ---- alone ------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_alone_there_is_nothing_to_agree_on(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WORLD_SIZE", "1")
    network = build_network()
    with join_processes("mps") as alone:
        assert (alone.count, alone.is_first, alone.device) == (1, True, "mps")
        assert alone.distribute(network, torch.device("cpu")) is network
        assert alone.follow_first(1.5, 2) == [1.5, 2]
        tensor = torch.ones(2)
        assert alone.gather(tensor) == [tensor]
        with alone.orderly(), pytest.raises(KeyError), alone.together():
            raise KeyError
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("device", "variables", "reason"),
    [
        ("cpu", {"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many'"),
        ("cpu", {"WORLD_SIZE": "2"}, "cannot meet"),
        ("mps", {"WORLD_SIZE": "2"}, "cannot share"),
        ("cuda:1", {"WORLD_SIZE": "2"}, "cannot share"),
        ("cuda", {"WORLD_SIZE": "9", "LOCAL_RANK": "8"}, "process 8 .* has no CUDA device"),
    ],
)
def test_processes_that_cannot_start(
    environment: pytest.MonkeyPatch, device: str, variables: dict[str, str], reason: str
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    with pytest.raises(TrainingError, match=reason) as caught, join_processes(device):
        pass
    assert "\n" not in str(caught.value)
