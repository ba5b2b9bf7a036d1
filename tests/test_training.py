from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from clocks import StepClock
from safetensors.torch import load_file
from scenery import TINY, build_network, film, to_tensor
from synthetic import make_frames, write_clip
from torch.utils._python_dispatch import TorchDispatchMode
from typer.testing import CliRunner

from framepred import learner, session, training
from framepred.cells import ConvGRUCell
from framepred.checkpoint import load_model, load_state, save_model, save_state
from framepred.cli import app
from framepred.clips import Batch, Clip, ClipLibrary, ClipSampler, Situation
from framepred.errors import MediaError, ModelError, OutputError, TrainingError
from framepred.learner import Learner, TrainConfig, _compare_flows
from framepred.reports import Progress
from framepred.training import train

CPU = torch.device("cpu")
SMALL = TrainConfig(
    n_steps=6,
    batch_size=2,
    crop=32,
    max_gap=4,
    n_targets=1,
    learning_rate=1e-3,
    warmup_steps=2,
    n_validation=1,
    losses={"laplacian": 1.0, "charbonnier": 1.0, "census": 0.1},
)


@pytest.fixture(autouse=True)
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on every processor."""
    monkeypatch.setattr(session, "choose_precision", lambda *_, **__: torch.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two little videos."""
    made = tmp_path_factory.mktemp("clips")
    for seed in (0, 1):
        frames = make_frames(13, width=48, height=40, seed=seed)
        write_clip(made / f"{seed}.mkv", frames, codec="ffv1")
    return made


@pytest.fixture(scope="module")
def initial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network small enough for tests."""
    path = tmp_path_factory.mktemp("initial") / "tiny.safetensors"
    save_model(path, build_network(strength=0.02).state_dict(), TINY, {})
    return path


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, to score on."""
    path = tmp_path_factory.mktemp("held-out") / "0.mkv"
    return write_clip(path, make_frames(13, width=48, height=40, seed=2), codec="ffv1")


@pytest.fixture
def start(folder: Path, held_out: Path, initial: Path):  # type: ignore[no-untyped-def]
    def run(
        out: Path,
        *,
        config: TrainConfig = SMALL,
        clips: Sequence[Path] = (folder,),
        **options: Any,
    ) -> training.TrainReport:
        chosen = {"initial": initial, "device": "cpu", "validation": [held_out], **options}
        return train(clips, out, config=config, **chosen)

    return run


def set_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """From now on every look at the clock takes so many seconds."""
    ticks = itertools.count(0, seconds)
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: next(ticks)))


def read_log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("state.safetensors", "model.safetensors"):
        a, b = load_file(one / name), load_file(other / name)
        assert a.keys() == b.keys()
        for key in a:
            assert torch.equal(a[key], b[key]), (name, key)


def make_run(*, config: TrainConfig = SMALL, deferred: bool = False) -> Learner:
    return Learner(build_network(strength=0.02), config, CPU, deferred=deferred)


def make_batch(n_missing: int = 1) -> Batch:
    situation = Situation(2, n_missing, 2, 1)
    n = situation.n_frames
    frames = [to_tensor(film(n, 32, 32, name=name)) for name in ("grass", "chelsea")]
    return Batch(torch.cat(frames), situation)


# ---- a whole run ------------------------------------------------------------------------------


def test_what_a_run_leaves(start: Any, tmp_path: Path) -> None:
    progress: list[Progress] = []
    events: list[dict[str, Any]] = []
    out = tmp_path / "new" / "run"
    config = dataclasses.replace(SMALL, validate_every=4)
    report = start(out, config=config, on_progress=progress.append, on_event=events.append)
    assert sorted(file.name for file in out.iterdir()) == [
        "log.jsonl",
        "model.safetensors",
        "state.safetensors",
    ]
    assert (report.steps, report.samples) == (6, 12)
    assert report.source == {
        "clips": 2,
        "frames": 26,
        "frames_left_out": 0,
        "problems": [],
        "scenes": 0.0,
        "held_out": 1,
    }
    assert report.finished
    assert (report.device, report.precision) == ("cpu", "float32")
    assert report.model == out / "model.safetensors"
    assert report.loss is not None
    assert math.isfinite(report.loss)
    plain = json.loads(json.dumps(report.as_dict()))
    assert (plain["clips"], plain["frames"], plain["problems"]) == (2, 26, [])
    assert read_log(out) == json.loads(json.dumps(events))
    assert [(e["event"], e["step"]) for e in events] == [
        ("start", 0),
        ("validate", 4),
        ("stop", 6),
        ("validate", 6),
    ]
    assert set(events[0]["baselines"]) == {"fill", "forecast"}
    assert [p.done for p in progress if p.stage == "train"] == [1, 2, 3, 4, 5, 6]
    network, facts = load_model(report.model)
    assert network.config == TINY
    assert facts["steps"] == 6
    assert facts["config"]["seed"] == SMALL.seed
    validation = report.validation["model"]
    assert facts["validation"] == json.loads(json.dumps(validation))
    assert set(validation) == {"fill", "forecast"}


def test_the_same_seed_gives_the_same_run(start: Any, tmp_path: Path) -> None:
    start(tmp_path / "one")
    torch.manual_seed(99)
    torch.rand(5)
    start(tmp_path / "two")
    assert_same_run(tmp_path / "one", tmp_path / "two")
    start(tmp_path / "three", config=dataclasses.replace(SMALL, seed=2))
    with pytest.raises(AssertionError):
        assert_same_run(tmp_path / "one", tmp_path / "three")


def test_from_scratch_takes_the_default_sizes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(SMALL, n_steps=1, batch_size=1)
    train([folder], tmp_path / "run", config=config, device="cpu")
    network, _ = load_model(tmp_path / "run" / "model.safetensors")
    assert network.config == training.ModelConfig()


def test_sizes_are_for_a_network_from_scratch(folder: Path, initial: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, n_steps=1, batch_size=1)
    train([folder], tmp_path / "run", config=config, device="cpu", sizes=TINY)
    assert load_model(tmp_path / "run" / "model.safetensors")[0].config == TINY
    for options in ({"initial": initial}, {"cell": "gru"}):
        with pytest.raises(TrainingError, match="leave out initial and cell"):
            train([folder], tmp_path / "x", config=config, device="cpu", sizes=TINY, **options)  # type: ignore[arg-type]


def test_a_network_is_trained_with_the_cell_asked_for(
    folder: Path, initial: Path, start: Any, tmp_path: Path
) -> None:
    config = dataclasses.replace(SMALL, n_steps=1, batch_size=1)
    train([folder], tmp_path / "run", config=config, device="cpu", cell="gru+layernorm")
    network, _ = load_model(tmp_path / "run" / "model.safetensors")
    assert network.config == training.ModelConfig(cell="gru+layernorm")
    assert isinstance(network.forecaster, ConvGRUCell)
    with pytest.raises(TrainingError, match="no cell 'gruff'"):
        train([folder], tmp_path / "strange", config=config, device="cpu", cell="gruff")
    with pytest.raises(TrainingError, match="with the cell 'lstm', not 'gru'"):
        start(tmp_path / "other", cell="gru")
    start(tmp_path / "same", config=config, cell="lstm")
    assert not (tmp_path / "strange").exists()
    assert not (tmp_path / "other").exists()


# ---- stopping and going on --------------------------------------------------------------------


def test_leases_add_up_to_one_schedule(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StepClock(monkeypatch)
    start(tmp_path / "whole")
    out = tmp_path / "parts"
    finished = []
    for minutes, steps in ((2.0, 2), (2.5, 5), (60.0, 6)):
        config = dataclasses.replace(SMALL, max_minutes=minutes)
        report = start(out, config=config, resume=steps > 2)
        assert report.steps == load_state(out / "state.safetensors").facts["step"] == steps
        assert load_model(report.model)[1]["validation"] == json.loads(
            json.dumps(report.validation["model"])
        )
        finished.append(report.finished)
    assert finished == [False, False, True]
    assert_same_run(tmp_path / "whole", out)
    log = [e for e in read_log(out) if e["event"] in ("start", "stop", "validate")]
    assert [(e["event"], e["step"]) for e in log] == [
        *(("start", 0), ("stop", 2), ("validate", 2)),
        *(("start", 2), ("stop", 5), ("validate", 5)),
        *(("start", 5), ("stop", 6), ("validate", 6)),
    ]
    assert [e["finished"] for e in log if e["event"] == "stop"] == finished
    assert [e["lease_minutes"] for e in log if e["event"] == "start"] == [2.0, 2.5, 60.0]
    assert {e["n_steps"] for e in log if e["event"] != "validate"} == {6}


def test_a_lease_counts_from_the_beginning_of_the_session(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StepClock(monkeypatch)

    def decode_slowly(progress: Progress) -> None:
        if progress.stage == "decode" and progress.done == progress.total:
            clock.seconds += 180

    config = dataclasses.replace(SMALL, max_minutes=5)
    assert start(tmp_path / "run", config=config, on_progress=decode_slowly).steps == 2


def test_minutes_without_steps_are_the_schedule(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StepClock(monkeypatch)
    config = dataclasses.replace(SMALL, n_steps=None, max_minutes=4)
    report = start(tmp_path / "run", config=config)
    assert (report.steps, report.finished) == (4, True)
    assert start(tmp_path / "run", config=config, resume=True).steps == 4
    longer = dataclasses.replace(config, max_minutes=6)
    assert start(tmp_path / "run", config=longer, resume=True).steps == 6
    starts = [e for e in read_log(tmp_path / "run") if e["event"] == "start"]
    assert [(e["step"], e["lease_minutes"], e["n_steps"]) for e in starts] == [
        (0, None, None),
        (4, None, None),
        (4, None, None),
    ]


class _KilledError(BaseException):
    pass


@pytest.mark.parametrize("scenes", [0.0, 0.5])
def test_killed_and_resumed_is_the_same_as_at_once(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenes: float
) -> None:
    config = dataclasses.replace(SMALL, scenes=scenes)
    start(tmp_path / "whole", config=config)
    set_clock(monkeypatch, 50.0)  # slow enough to save after every step

    def kill(progress: Progress) -> None:
        if progress.stage == "train" and progress.done == 5:
            raise _KilledError

    with pytest.raises(_KilledError):
        start(tmp_path / "parts", config=config, on_progress=kill)
    assert load_state(tmp_path / "parts" / "state.safetensors").facts["step"] == 4
    start(tmp_path / "parts", config=config, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_finished_run_stays_as_it_is(start: Any, tmp_path: Path) -> None:
    start(tmp_path / "run")
    before = load_file(tmp_path / "run" / "state.safetensors")
    report = start(tmp_path / "run", resume=True)
    assert report.steps == 6
    assert report.loss is None
    after = load_file(tmp_path / "run" / "state.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_longer_schedule_may_go_on(start: Any, tmp_path: Path) -> None:
    start(tmp_path / "run", config=dataclasses.replace(SMALL, n_steps=2))
    longer = dataclasses.replace(SMALL, n_steps=3, validate_every=2, n_validation=2)
    assert start(tmp_path / "run", config=longer, resume=True).steps == 3


def test_no_run_is_overwritten(start: Any, tmp_path: Path) -> None:
    start(tmp_path / "run", config=dataclasses.replace(SMALL, n_steps=1))
    before = (tmp_path / "run" / "state.safetensors").read_bytes()
    with pytest.raises(TrainingError, match="holds a run already"):
        start(tmp_path / "run")
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before


def test_scenes_need_no_clips(initial: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, scenes=1.0, n_steps=4)
    whole = train([], tmp_path / "run", config=config, initial=initial, device="cpu")
    assert (whole.samples, whole.source["clips"], whole.source["held_out"]) == (8, 0, 12)
    assert whole.loss is not None
    assert set(whole.validation["model"]) == {"fill", "forecast"}


class Pan:
    """A scene of which nothing is known but that all of it moves by (3, -1) a frame."""

    speed = torch.tensor([3.0, -1.0])

    def trace(self, pairs: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        flows = torch.stack([(b - a) * self.speed for a, b in pairs]).view(1, -1, 2, 1, 1)
        return flows.expand(2, -1, 2, 36, 40), torch.ones(2, len(pairs), 1, 36, 40).bool()


@pytest.mark.parametrize(
    ("situation", "sources"),
    [
        (Situation(2, 3, 2, 1), {1: (-1, 3), 3: (-3, 1)}),
        (Situation(3, 3, 0, 1), {1: (-1, -2), 3: (-3, -4)}),
        (Situation(1, 3, 0, 1), {1: (-1, -1), 3: (-3, -3)}),
    ],
)
@pytest.mark.parametrize("off", [0.0, 1.5])
def test_flows_are_held_against_their_own_sources(
    situation: Situation, sources: dict[int, tuple[int, int]], off: float
) -> None:
    frames = torch.zeros(2, situation.n_frames, 3, 36, 40)
    batch = Batch(frames, situation, Pan())  # type: ignore[arg-type]
    flows = []
    for steps in sources.values():
        flow = torch.cat([n * Pan.speed / 2 for n in steps]).view(1, 4, 1, 1).repeat(2, 1, 20, 20)
        flow[:, ::2] += off / 2  # in pixels of the half grid
        flow[:, :, 19:] = 99.0  # padding, out of reach of what is between the points
        flows.append(flow)
    assert float(_compare_flows(batch, list(sources), flows)) == pytest.approx(off, abs=0.02)


def test_the_flow_is_learnt_from_scenes_alone() -> None:
    scenes = {"scenes": 0.5, "learning_rate": 2e-3, "n_steps": 40}
    config = dataclasses.replace(SMALL, losses={"mse": 1e-3, "flow": 1.0}, **scenes)
    plain = dataclasses.replace(SMALL, losses={"mse": 1e-3}, **scenes)
    # Clips say nothing of flow.
    losses = [make_run(config=c).learn(make_batch(), [1], torch.float32) for c in (config, plain)]
    assert losses[0] == losses[1]
    library = ClipLibrary((), 0, 0, ())
    sampler = ClipSampler(
        library,
        batch_size=2,
        crop=48,
        max_gap=2,
        forecast_share=0.0,
        generator=torch.Generator().manual_seed(1),
        scene_share=1.0,
    )
    batch = sampler.draw()
    run = make_run(config=config)
    first, *_, last = [run.learn(batch, [1], torch.float32) for _ in range(20)]
    assert float(last) < 0.8 * float(first)
    assert run.model.observer is None


def test_only_the_paths_learn() -> None:
    config = dataclasses.replace(SMALL, part="motion", losses={"mse": 1.0})
    run = make_run(config=config)
    before = copy_weights(run)
    batch = make_batch()
    for _ in range(2):
        run.learn(batch, [1], torch.float32)
    changed = {name.split(".")[0] for name, now in copy_weights(run).items()
               if not torch.equal(now, before[name])}  # fmt: skip
    # The forecaster's look at the frame is among them; the surprise needs three frames.
    assert changed == {"glance", "encoder", "speeds", "survey", "forecaster", "motion"}
    whole = build_network(strength=0.02)
    assert not torch.equal(
        whole(batch.before, batch.after, 1), run.model(batch.before, batch.after, 1)
    )


def test_paths_learnt_alone_are_the_whole_networks(start: Any, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, part="motion", n_steps=2)
    start(tmp_path / "run", config=config)
    start(tmp_path / "run", config=config, resume=True)
    learnt, _ = load_model(tmp_path / "run" / "model.safetensors")
    assert learnt.ablation == frozenset()
    assert all(weights.requires_grad for weights in learnt.parameters())


def test_without_clips_all_must_be_scenes(initial: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, scenes=0.5)
    with pytest.raises(TrainingError, match="no videos to learn from"):
        train([], tmp_path / "run", config=config, initial=initial, device="cpu")


def test_nothing_to_resume(start: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no run to resume"):
        start(tmp_path / "run", resume=True)


def test_a_run_goes_on_with_the_same_videos(start: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    start(out, config=dataclasses.replace(SMALL, n_steps=1))
    with pytest.raises(
        TrainingError, match=r"learnt from 2 clips, 26 frames, and these are 1 clips, 13 frames"
    ):
        start(out, clips=[folder / "1.mkv"], resume=True)
    assert start(out, resume=True).steps == 6
    stored = load_state(out / "state.safetensors")
    del stored.facts["material"]  # as older ones
    save_state(out / "state.safetensors", stored.tensors, stored.facts)
    assert start(out, clips=[folder / "1.mkv"], resume=True).steps == 6


def test_videos_to_score_on_are_not_learnt_from(start: Any, folder: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, n_steps=1)
    beside = folder / ".." / folder.name / "1.mkv"
    report = start(tmp_path / "run", config=config, validation=[beside])
    assert (report.source["clips"], report.source["held_out"]) == (1, 1)
    with pytest.raises(TrainingError, match="leave some to learn from"):
        start(tmp_path / "none", validation=[folder])


def test_small_clips_are_left_out_and_told(start: Any, folder: Path, tmp_path: Path) -> None:
    tiny = write_clip(
        tmp_path / "tiny.mkv", make_frames(9, width=24, height=16, seed=3), codec="ffv1"
    )
    config = dataclasses.replace(SMALL, n_steps=1)
    report = start(tmp_path / "run", config=config, clips=[folder, tiny])
    assert (report.source["clips"], report.source["frames"]) == (2, 26)
    assert report.source["problems"] == [f"{tiny}: 24x16 is too small for squares of 32"]
    report = start(tmp_path / "small", config=config, clips=[folder / "0.mkv", tiny])
    assert (report.source["clips"], report.source["problems"]) == (2, [])


@pytest.mark.parametrize(
    "change",
    [{"seed": 2}, {"learning_rate": 1e-4}, {"losses": {"census": 1.0}}, {"crop": 31}],
)
def test_a_run_cannot_drift(start: Any, tmp_path: Path, change: dict[str, Any]) -> None:
    start(tmp_path / "run", config=dataclasses.replace(SMALL, n_steps=1))
    other = dataclasses.replace(SMALL, **change)
    with pytest.raises(TrainingError, match=f"started with another {next(iter(change))}:"):
        start(tmp_path / "run", config=other, resume=True)


def test_an_option_that_is_newer_than_the_state_has_its_default(start: Any, tmp_path: Path) -> None:
    start(tmp_path / "run", config=dataclasses.replace(SMALL, n_steps=1))
    path = tmp_path / "run" / "state.safetensors"
    stored = load_state(path)
    assert stored.facts["config"].pop("clip_norm") == TrainConfig().clip_norm
    save_state(path, stored.tensors, stored.facts)
    other = dataclasses.replace(SMALL, clip_norm=0.5)
    with pytest.raises(TrainingError, match="started with another clip_norm:"):
        start(tmp_path / "run", config=other, resume=True)
    assert start(tmp_path / "run", resume=True).steps == 6


def test_a_state_of_another_network(start: Any, tmp_path: Path) -> None:
    start(tmp_path / "run", config=dataclasses.replace(SMALL, n_steps=1))
    with pytest.raises(TrainingError, match="another network") as caught:
        start(tmp_path / "run", resume=True, initial=None)
    assert "\n" not in str(caught.value)


def test_a_damaged_state(start: Any, tmp_path: Path) -> None:
    start(tmp_path / "run", config=dataclasses.replace(SMALL, n_steps=1))
    state = tmp_path / "run" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:5000])
    with pytest.raises(ModelError, match="not a safetensors file"):
        start(tmp_path / "run", resume=True)


WEIGHT = "model.encoder.from_input.weight"
MOMENT = "optimizer.encoder.from_input.weight.exp_avg"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tensors, facts: tensors.update({WEIGHT: tensors[WEIGHT][:1]}),
        lambda tensors, facts: tensors[WEIGHT].fill_(math.nan),
        lambda tensors, facts: tensors[MOMENT].fill_(math.inf),
        lambda tensors, facts: tensors.pop("generator"),
        lambda tensors, facts: facts.update(step=-1),
        lambda tensors, facts: facts.update(seconds=math.inf),
        lambda tensors, facts: facts.update(step="many"),
    ],
)
def test_a_hostile_state(start: Any, tmp_path: Path, spoil: Any) -> None:
    start(tmp_path / "run", config=dataclasses.replace(SMALL, n_steps=1))
    path = tmp_path / "run" / "state.safetensors"
    stored = load_state(path)
    spoil(stored.tensors, stored.facts)
    save_state(path, stored.tensors, stored.facts)
    with pytest.raises(TrainingError, match="cannot be resumed") as caught:
        start(tmp_path / "run", resume=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("deferred", [False, True])
def test_moments_lie_in_memory_as_what_they_are_of(tmp_path: Path, deferred: bool) -> None:
    run, again = make_run(deferred=deferred), make_run(deferred=deferred)
    run.learn(make_batch(), [1], torch.float32)
    run.save(tmp_path)
    again.restore(tmp_path)
    n_moments = n_rearranged = 0
    for name, parameter in again.model.named_parameters():
        for key, value in again.optimizer.state[parameter].items():
            if key != "step":
                assert value.stride() == parameter.stride(), (name, key)
                n_moments += 1
                n_rearranged += not value.is_contiguous()
    assert n_moments > n_rearranged > 0
    again.learn(make_batch(), [1], torch.float32)


# ---- what goes wrong --------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_and_keeps_what_was_saved(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(monkeypatch, 50.0)
    true_loss, calls = learner.compute_loss, itertools.count()

    def break_down(*arguments: Any) -> torch.Tensor:
        loss = true_loss(*arguments)
        return loss * math.nan if next(calls) == 4 else loss

    monkeypatch.setattr(learner, "compute_loss", break_down)
    with pytest.raises(TrainingError, match="the loss became nan at step 4") as caught:
        start(tmp_path / "run")
    assert "\n" not in str(caught.value)
    stored = load_state(tmp_path / "run" / "state.safetensors")
    assert stored.facts["step"] == 4
    for name, tensor in stored.tensors.items():
        assert not tensor.is_floating_point() or torch.isfinite(tensor).all(), name


def test_a_gradient_that_is_not_finite_leaves_the_weights_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = make_run()
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    true_loss = learner.compute_loss

    def poison(*arguments: Any) -> torch.Tensor:
        loss = true_loss(*arguments)
        loss.register_hook(lambda gradient: gradient * math.inf)
        return loss

    monkeypatch.setattr(learner, "compute_loss", poison)
    with pytest.raises(TrainingError, match="the gradient became"):
        run.learn(make_batch(), [1], torch.float32)
    assert run.step == 0
    for name, parameter in run.model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert torch.equal(run.averaged[name], before[name])


def copy_weights(run: Learner) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in run.model.named_parameters()}


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_noticed_late_the_weights_are_left_alone_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    run, batch = make_run(deferred=True), make_batch()
    run.learn(batch, [1], torch.float32)
    run.save(tmp_path)
    sound = (tmp_path / "state.safetensors").read_bytes()
    run.learn(batch, [1], torch.float32)
    before = copy_weights(run)
    true_loss, calls = learner.compute_loss, itertools.count()

    def poison_once(*arguments: Any) -> torch.Tensor:
        loss = true_loss(*arguments)
        if next(calls) == 0:
            if what == "loss":  # with a gradient that is sound
                return loss + math.inf
            loss.register_hook(lambda gradient: gradient * math.nan)
        return loss

    monkeypatch.setattr(learner, "compute_loss", poison_once)
    for _ in range(3):
        run.learn(batch, [1], torch.float32)
    for name, parameter in run.model.named_parameters():
        assert torch.equal(parameter, before[name])
        if parameter.grad is not None:  # what remembers more than this batch shows is idle
            assert run.optimizer.state[parameter]["step"] == 2
    with pytest.raises(TrainingError, match=f"the {what} became (inf|nan) at step 2:"):
        run.save(tmp_path)
    assert (tmp_path / "state.safetensors").read_bytes() == sound


def test_noticed_late_stops_a_run_before_anything_is_made_of_it(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "Learner", partial(Learner, deferred=True))
    config = dataclasses.replace(SMALL, validate_every=4)
    sound = start(tmp_path / "sound", config=config)
    assert sound.steps == 6
    true_loss, calls = learner.compute_loss, itertools.count()
    monkeypatch.setattr(
        learner, "compute_loss", lambda *a: true_loss(*a) * (math.nan if next(calls) == 1 else 1)
    )
    with pytest.raises(TrainingError, match="the loss became nan at step 1:"):
        start(tmp_path / "run", config=config)
    assert load_state(tmp_path / "run" / "state.safetensors").facts["step"] == 0
    assert [e["event"] for e in read_log(tmp_path / "run")] == ["start"]


class _Listener(TorchDispatchMode):
    """Notes every operation that asks a device for a number, or whose size hangs on one."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero"):
            self.asked.append(name)
        return func(*args, **(kwargs or {}))


def test_a_deferred_step_asks_the_device_for_nothing() -> None:
    batch = make_batch(n_missing=2)
    run, impatient = make_run(deferred=True), make_run()
    with _Listener() as listener:
        loss = run.learn(batch, [1, 2], torch.float32)
    assert listener.asked == []
    with listener:
        assert torch.equal(impatient.learn(batch, [1, 2], torch.float32), loss)
    assert listener.asked
    for (name, one), other in zip(
        run.model.named_parameters(), impatient.model.parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0, msg=name)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"n_steps": None}, "how long"),
        ({"n_steps": 0}, "n_steps"),
        ({"max_minutes": 0}, "max_minutes"),
        ({"max_minutes": math.nan}, "max_minutes"),
        ({"batch_size": 0}, "batch_size"),
        ({"crop": 0}, "crop"),
        ({"max_gap": 0}, "max_gap"),
        ({"n_targets": 0}, "n_targets"),
        ({"warmup_steps": 0}, "warmup_steps"),
        ({"validate_every": 0}, "validate_every"),
        ({"n_validation": 0}, "n_validation"),
        ({"learning_rate": -1e-3}, "learning_rate"),
        ({"losses": {}}, "losses are"),
        ({"losses": {"flow": 1.0}, "scenes": 0.5}, "losses are"),
        ({"losses": {"mse": 1.0, "flow": 1.0}}, "needs synthetic scenes"),
        ({"losses": {"magic": 1.0}}, "got magic"),
        ({"forecast_share": 1.5}, "forecast_share"),
        ({"shrink": -0.1}, "shrink"),
        ({"part": "pixels"}, "what learns is"),
    ],
)
def test_options_that_cannot_work(
    start: Any, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TrainingError, match=reason):
        start(tmp_path / "run", config=dataclasses.replace(SMALL, **change))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made(start: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"run: .*file is no folder; choose another place"):
        start(tmp_path / "file" / "run")


def test_unknown_weights_to_start_from(start: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model 'nothing'"):
        start(tmp_path / "run", initial="nothing")


# ---- pace -----------------------------------------------------------------------------------


def test_what_the_log_says_of_the_pace(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StepClock(monkeypatch)
    monkeypatch.setattr(session, "_REPORT_EVERY", 2)
    draw, n_frames = training.ClipSampler.draw, []

    def draw_slowly(sampler: Any) -> Batch:
        clock.seconds += 20
        batch: Batch = draw(sampler)
        n_frames.append(2 * batch.situation.n_frames)
        return batch

    monkeypatch.setattr(training.ClipSampler, "draw", draw_slowly)
    report = start(tmp_path / "run", config=dataclasses.replace(SMALL, n_steps=5))
    log = [e for e in read_log(tmp_path / "run") if e["event"] in ("step", "stop")]
    assert [e["step"] for e in log] == [2, 4, 5]
    for event, seen in zip(log, (n_frames[:2], n_frames[2:4], n_frames), strict=True):
        seconds = 80 * len(seen)
        assert event["samples_per_second"] == round(2 * len(seen) / seconds, 2)
        assert event["frames_per_second"] == round(sum(seen) / seconds, 1)
        assert event["busy_share"] == 0.75
        assert event["starved_share"] is None
    assert report.samples_per_second == pytest.approx(10 / 400)
    assert report.frames_per_second == pytest.approx(sum(n_frames) / 400)
    assert report.busy_share == pytest.approx(0.75)


# ---- parts ------------------------------------------------------------------------------------


def test_schedule_of_steps() -> None:
    config = dataclasses.replace(SMALL, n_steps=100, warmup_steps=10, final_share=0.1)
    run = make_run(config=config)
    rates = []
    for run.step in range(100):
        rates.append(run.set_rate())
        assert {group["lr"] for group in run.optimizer.param_groups} == {rates[-1]}
    for step, rate in enumerate(rates):
        cosine = 0.1 + 0.9 * (1 + math.cos(math.pi * step / 100)) / 2
        assert rate == pytest.approx(1e-3 * cosine * min(1, (step + 1) / 10))
    assert all(b > a for a, b in itertools.pairwise(rates[:10]))
    assert all(b < a for a, b in itertools.pairwise(rates[10:]))
    run.step = 100
    assert run.is_done()
    assert run.set_rate() == pytest.approx(1e-4)


def test_schedule_of_minutes() -> None:
    run = make_run(config=dataclasses.replace(SMALL, n_steps=None, max_minutes=2))
    run.step, run.seconds = 1000, 60.0
    assert run.progress() == 0.5
    assert run.set_rate() == pytest.approx(1e-3 * (0.02 + 0.98 * 0.5))
    assert not run.is_done()
    run.seconds = 120.0
    assert run.is_done()


def test_averaged_weights() -> None:
    run = make_run()
    expected = {name: p.detach().double().clone() for name, p in run.model.named_parameters()}
    for step in range(1, 4):
        run.set_rate()
        run.learn(make_batch(), [1], torch.float32)
        decay = min(0.999, (1 + step) / (10 + step))
        for name, parameter in run.model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * parameter.detach().double()
    moved = 0.0
    for name, parameter in run.model.named_parameters():
        torch.testing.assert_close(run.averaged[name].double(), expected[name], atol=1e-6, rtol=0)
        moved = max(moved, float((parameter.detach() - run.averaged[name]).abs().max()))
    assert moved > 1e-4
    predictor = run.build_predictor()
    for name, parameter in predictor.model.named_parameters():
        assert torch.equal(parameter, run.averaged[name])


def test_targets() -> None:
    run = make_run(config=dataclasses.replace(SMALL, n_targets=2))
    seen = set()
    for _ in range(100):
        steps = run.choose_targets(5)
        assert len(steps) == 2
        assert steps == sorted(set(steps))
        seen.update(steps)
    assert seen == {1, 2, 3, 4, 5}
    assert run.choose_targets(1) == [1]


def test_only_the_chosen_frames_count() -> None:
    batch = make_batch(n_missing=3)
    spoilt = batch.frames.clone()
    spoilt[:, 3] = torch.rand(spoilt[:, 3].shape)  # the second of the hidden ones
    other = Batch(spoilt, batch.situation)
    assert make_run().learn(batch, [1, 3], torch.float32) == make_run().learn(
        other, [1, 3], torch.float32
    )
    assert make_run().learn(batch, [2], torch.float32) != make_run().learn(
        other, [2], torch.float32
    )


def test_a_long_gradient_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(config=dataclasses.replace(SMALL, losses={"laplacian": 1e4}, clip_norm=0.5))
    lengths: list[float] = []
    step = run.optimizer.step

    def watch(*arguments: Any) -> Any:
        squares = [
            float(p.grad.square().sum()) for p in run.model.parameters() if p.grad is not None
        ]
        lengths.append(math.sqrt(sum(squares)))
        return step(*arguments)

    monkeypatch.setattr(run.optimizer, "step", watch)
    run.learn(make_batch(), [1], torch.float32)
    assert lengths == pytest.approx([0.5], rel=1e-3)


def test_the_first_readable_video_of_every_ten_is_held_out(
    tmp_path: Path, initial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(11):
        (tmp_path / f"{k:02}.mp4").touch()
    asked: list[list[str]] = []

    class Stop(Exception):  # noqa: N818
        pass

    def watch(paths: list[Path], **_: Any) -> Any:
        asked.append([path.stem for path in paths])
        if len(asked) == 2:
            raise Stop
        clip = Clip(Path("clip.mp4"), torch.zeros(4, 3, 32, 32, dtype=torch.uint8))
        return ClipLibrary((clip,), 4, 0, ())

    def read(path: Path) -> Any:
        if path.stem == "00":
            raise MediaError("not a readable video")
        return iter([None] * (1 if path.stem == "01" else 9))

    monkeypatch.setattr(training, "load_clips", watch)
    monkeypatch.setattr(training, "open_rgb_frames", read)
    with pytest.raises(Stop):
        train([tmp_path], tmp_path / "run", config=SMALL, initial=initial, device="cpu")
    learned, held_out = asked
    assert held_out == ["02", "10"]
    assert learned == ["00", "01", *(f"{k:02}" for k in range(3, 10))]


def test_held_out_videos_that_cannot_be_used_are_told(tmp_path: Path, initial: Path) -> None:
    write_clip(tmp_path / "learn.mkv", make_frames(13, width=48, height=40))
    write_clip(tmp_path / "score.mkv", make_frames(13, width=48, height=40, seed=2))
    (tmp_path / "bad.mkv").write_bytes(b"no video")
    report = train(
        [tmp_path / "learn.mkv"],
        tmp_path / "run",
        validation=[tmp_path / "score.mkv", tmp_path / "bad.mkv"],
        config=SMALL,
        initial=initial,
        device="cpu",
    )
    assert report.source["held_out"] == 1
    assert ["bad.mkv" in problem for problem in report.source["problems"]] == [True]


def test_learning_one_scene_by_heart() -> None:
    config = dataclasses.replace(SMALL, learning_rate=3e-3, losses={"charbonnier": 1.0})
    run = Learner(build_network(), config, CPU)
    batch = make_batch(n_missing=3)

    def measure() -> float:
        with torch.no_grad():
            made = run.model(batch.before, batch.after, 3, steps=[2])
            return float((made - batch.missing[:, 1:2]).abs().mean())

    first = measure()
    losses = [float(run.learn(batch, [2], torch.float32)) for _ in range(40)]
    assert measure() < 0.8 * first
    assert np.mean(losses[-5:]) < losses[0]


@pytest.mark.slow
def test_training_beats_its_start(start: Any, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, max_gap=2, learning_rate=2e-3, ema_decay=0.98)
    scores = []
    for n_steps in (1, 70):
        report = start(tmp_path / str(n_steps), config=dataclasses.replace(config, n_steps=n_steps))
        scores.append(report.validation["model"]["fill"][1])
    assert scores[1] > scores[0] + 0.5


# ---- the command ------------------------------------------------------------------------------


def test_the_command_prints_what_a_lease_came_to(
    folder: Path, initial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StepClock(monkeypatch)
    arguments = [
        *("train", folder, "-o", tmp_path / "run", "--initial", initial, "--device", "cpu"),
        *("--batch-size", 1, "--crop", 32, "--max-gap", 1, "--total-steps", 4),
    ]

    def run(*more: object) -> tuple[str, str]:
        answer = CliRunner().invoke(app, [str(part) for part in (*arguments, *more)])
        assert answer.exit_code == 0, answer.stderr
        return answer.stdout, answer.stderr

    out, err = run("--max-minutes", 3)
    assert "from step 0 of 4, for at most 3 min\n" in err
    assert "the lease is over at step 3 of 4: saved, go on with --resume\n" in err
    assert out.startswith("fill, PSNR dB\t")
    out, err = run("--resume", "--json", "-")
    assert "lease" not in err
    report = json.loads(out)
    assert (report["steps"], report["finished"]) == (4, True)
