from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from framepred.checkpoint import load_model, load_network, save_model
from framepred.clips import Batch, Situation
from framepred.errors import ModelError
from framepred.learner import Learner, TrainConfig
from framepred.model import ModelConfig
from framepred.stack import PixelForecaster, StackConfig

TINY = StackConfig(patch=2, n_hidden=6, n_layers=3, cell="lstm")
FEATURES = StackConfig(patch=2, n_hidden=8, n_layers=2, cell="lstm+kernel1", n_halvings=2)


def build(config: StackConfig = TINY) -> PixelForecaster:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return PixelForecaster(config).eval()


def draw(n_frames: int, *, side: int = 8, n_channels: int = 1) -> Tensor:
    return torch.rand(
        2, n_frames, n_channels, side, side, generator=torch.Generator().manual_seed(0)
    )


def forecast_plainly(network: PixelForecaster, before: Tensor, n_frames: int) -> Tensor:
    """A frame at a time, every layer in turn, nothing batched over time."""
    states = [
        cell.start(network.reader(F.pixel_unshuffle(before[:, 0], 2))) for cell in network.encoder
    ]  # type: ignore[operator]
    for k in range(before.shape[1] - 1):
        x = network.reader(F.pixel_unshuffle(before[:, k], 2))
        for i, cell in enumerate(network.encoder):
            x, states[i] = cell(x, states[i])
    frame, made = before[:, -1], []
    for _ in range(n_frames):
        x, seen = network.reader(F.pixel_unshuffle(frame, 2)), []
        for i, cell in enumerate(network.forecaster):
            x, states[i] = cell(x, states[i])
            seen.append(x)
        frame = F.pixel_shuffle(network.painter(network.head(torch.cat(seen, 1))), 2)
        made.append(frame)
    return torch.stack(made, 1)


@pytest.mark.parametrize("cell", ["lstm", "gru+kernel5", "rnn", "lstm+layernorm+separable"])
@pytest.mark.parametrize(("n_before", "n_frames"), [(4, 3), (1, 5), (7, 1)])
def test_the_same_as_frame_by_frame(cell: str, n_before: int, n_frames: int) -> None:
    network, before = build(dataclasses.replace(TINY, cell=cell)), draw(n_before)
    with torch.no_grad():
        made = network(before, None, n_frames)
        torch.testing.assert_close(made, forecast_plainly(network, before, n_frames))
    assert made.shape == (2, n_frames, 1, 8, 8)


@pytest.mark.parametrize(("n_before", "n_frames"), [(4, 3), (1, 2)])
def test_features_the_same_as_frame_by_frame(n_before: int, n_frames: int) -> None:
    network, before = build(FEATURES), draw(n_before)
    with torch.no_grad():
        made = network(before, None, n_frames)
        torch.testing.assert_close(made, forecast_plainly(network, before, n_frames))
        points = network.reader(F.pixel_unshuffle(before[:, 0], 2))
    assert made.shape == (2, n_frames, 1, 8, 8)
    assert points.shape == (2, 8, 1, 1)  # 8 pixels, 4 points, halved twice
    assert [cell.from_hidden.kernel_size for cell in network.encoder] == [(1, 1)] * 2  # type: ignore[union-attr]


def test_only_some_steps() -> None:
    network, before = build(), draw(3)
    with torch.no_grad():
        whole = network(before, None, 5)
        assert torch.equal(network(before, None, 5, steps=[2, 4]), whole[:, [1, 3]])
        assert torch.equal(network(before, None, 2), whole[:, :2])


def test_colour_and_other_sizes() -> None:
    network = build(dataclasses.replace(TINY, n_channels=3, patch=4))
    assert network(draw(2, side=12, n_channels=3), None, 2).shape == (2, 2, 3, 12, 12)


def test_what_it_cannot_do() -> None:
    network = build()
    with pytest.raises(ValueError, match="only forecasts"):
        network(draw(2), draw(2), 1)
    with pytest.raises(ValueError, match="multiples of 2, got 1, 9x9"):
        network(draw(2, side=9), None, 1)
    with pytest.raises(ValueError, match="multiples of 8, got 1, 12x12"):
        build(FEATURES)(draw(2, side=12), None, 1)
    with pytest.raises(ValueError, match=r"of 1 channel\(s\)"):
        network(draw(2, n_channels=3), None, 1)


@pytest.mark.parametrize("config", [TINY, FEATURES])
def test_every_weight_learns(config: StackConfig) -> None:
    network = build(config)
    network(draw(3), None, 2).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def test_a_learner_learns_it_by_heart() -> None:
    config = TrainConfig(n_steps=60, learning_rate=1e-2, warmup_steps=1, losses={"mse": 1.0})
    run = Learner(build(), config, torch.device("cpu"))
    frames = torch.zeros(2, 6, 1, 8, 8)
    for k in range(6):  # a bar that moves by a pixel a frame, and one that comes back
        frames[0, k, 0, :, k] = 1
        frames[1, k, 0, 7 - k, :] = 1
    batch = Batch(frames, Situation(3, 3, 0, 1))
    losses = []
    for _ in range(60):
        run.set_rate()
        losses.append(float(run.learn(batch, [1, 2, 3], torch.float32)))
    assert losses[-1] < 0.3 * losses[0]
    network = run.build_network()
    assert isinstance(network, PixelForecaster)
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, run.averaged[name])


# ---- on disk ----------------------------------------------------------------------------------


def test_weights_come_back(tmp_path: Path) -> None:
    network = build()
    save_model(tmp_path / "w", network.state_dict(), TINY, {"steps": 3})
    loaded, facts = load_network(tmp_path / "w", PixelForecaster)
    assert (loaded.config, facts) == (TINY, {"steps": 3})
    assert torch.equal(loaded(draw(3), None, 2), network(draw(3), None, 2))


def test_older_weights_lack_what_came_later(tmp_path: Path) -> None:
    network = build()
    config = dataclasses.asdict(TINY)
    del config["n_halvings"]
    metadata = {"format": "framepred-stack-1", "config": json.dumps(config), "facts": "{}"}
    save_file(
        {n: t.contiguous() for n, t in network.state_dict().items()}, tmp_path / "w", metadata
    )
    loaded, _ = load_network(tmp_path / "w", PixelForecaster)
    assert loaded.config == TINY
    assert torch.equal(loaded(draw(3), None, 2), network(draw(3), None, 2))


def test_one_kind_is_not_the_other(tmp_path: Path) -> None:
    save_model(tmp_path / "w", build().state_dict(), TINY, {})
    with pytest.raises(ModelError, match="of another kind"):
        load_model(tmp_path / "w")
    with pytest.raises(ModelError, match="expected 'framepred-stack-1'"):
        load_network("default", PixelForecaster)


FORGERIES: dict[str, tuple[dict[str, object], str]] = {
    "fields of the other kind": (dataclasses.asdict(ModelConfig()), "other fields"),
    "deep": (dataclasses.asdict(TINY) | {"n_layers": 65}, "n_layers = 65 is out of bounds"),
    "wide": (dataclasses.asdict(TINY) | {"n_hidden": 10**9}, "out of bounds"),
    "list": (dataclasses.asdict(TINY) | {"patch": [2]}, "out of bounds"),
    "halved forever": (dataclasses.asdict(TINY) | {"n_halvings": 9}, "n_halvings = 9 is out of"),
    "halved less than never": (dataclasses.asdict(TINY) | {"n_halvings": -1}, "out of bounds"),
    "none": (dataclasses.asdict(TINY) | {"patch": 0}, "out of bounds"),
    "cell": (dataclasses.asdict(TINY) | {"cell": "lstm+magic"}, "no cell"),
    "other sizes": (dataclasses.asdict(TINY) | {"n_hidden": 7}, "expected floats of"),
    "fewer layers": (dataclasses.asdict(TINY) | {"n_layers": 2}, "do not fit"),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_forgeries(tmp_path: Path, kind: str) -> None:
    config, reason = FORGERIES[kind]
    metadata = {"format": "framepred-stack-1", "config": json.dumps(config), "facts": "{}"}
    tensors = {name: t.contiguous() for name, t in build().state_dict().items()}
    save_file(tensors, tmp_path / "forged", metadata)
    with pytest.raises(ModelError, match=reason) as caught:
        load_network(tmp_path / "forged", PixelForecaster)
    assert "\n" not in str(caught.value)
