"""What only a CUDA device can show; see the marker ``gpu`` in pyproject.toml."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from clocks import StepClock
from safetensors.torch import load_file
from scenery import TINY, build_network, film
from synthetic import make_frames, write_clip

from framepred import training
from framepred.checkpoint import load_model, save_model
from framepred.digits import MovingDigits
from framepred.losses import LOSSES, compute_loss
from framepred.metrics import psnr
from framepred.model import ModelConfig
from framepred.motion import estimate_flow
from framepred.predictor import Predictor, choose_device, choose_precision
from framepred.stack import PixelForecaster
from framepred.training import TrainConfig
from framepred.warping import warp

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def _needs_cuda() -> None:
    if torch.cuda.is_available():
        return
    if os.environ.get("FRAMEPRED_REQUIRE_CUDA") == "1":
        pytest.fail("FRAMEPRED_REQUIRE_CUDA=1, but there is no CUDA device")
    pytest.skip("no CUDA device")


def test_the_gpu_is_chosen() -> None:
    assert choose_device("auto").type == "cuda"
    assert choose_device("cuda:0").index == 0


def test_motion_is_the_same_as_on_the_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 60, 80, generator=generator)
    flow = torch.randn(2, 2, 60, 80, generator=generator) * 3
    torch.testing.assert_close(
        warp(images.cuda(), flow.cuda()).cpu(), warp(images, flow), rtol=0, atol=1e-3
    )
    gray = torch.from_numpy(film(2, 96, 128).mean(-1) / 255).float().unsqueeze(1)
    with torch.backends.cudnn.flags(allow_tf32=False):
        there = estimate_flow(gray[:1].cuda(), gray[1:].cuda()).cpu()
    here = estimate_flow(gray[:1], gray[1:])
    assert (there - here).abs().mean() < 0.01


@pytest.mark.parametrize("n_after", [0, 3])
def test_half_precision_frames_are_those_of_float32(n_after: int) -> None:
    frames = film(8, 120, 160, name="chelsea")
    before, after = frames[:3], frames[8 - n_after :]
    network = build_network(config=ModelConfig(), strength=0.005)
    exact = Predictor(network, name="cpu", device=torch.device("cpu")).fill(before, after, 2)
    network = build_network(config=ModelConfig(), strength=0.005)
    fast = Predictor(network, name="cuda", device=CUDA)
    assert fast.device.startswith("cuda")
    made = fast.fill(before, after, 2)
    assert made.dtype == np.uint8
    assert np.array_equal(made, fast.fill(before, after, 2))
    floor = 40 if choose_precision(CUDA) == torch.bfloat16 else 50
    for one, other in zip(exact, made, strict=True):
        assert psnr(one, other) > floor


@pytest.mark.parametrize("size", [(120, 160), (560, 720)])  # the latter whole, or in tiles
@pytest.mark.parametrize("n_after", [0, 3])
def test_what_is_repeated_is_what_was_asked_for(size: tuple[int, int], n_after: int) -> None:
    films = [film(8, *size, name="chelsea", speed=(x, -x)) for x in (1.0, 1.5, 3.0)]
    network = build_network(config=ModelConfig(), strength=0.005)
    repeating = Predictor(network, name="repeating", device=CUDA)
    asking = Predictor(network, name="asking", device=CUDA)
    asking._replays.is_on = False
    tiled = Predictor(network, name="tiled", device=CUDA, tile=256)
    for frames in films:
        sides = frames[:3], frames[8 - n_after :]
        for n in (2, 1):  # by turns: what is recorded shares its memory
            made = repeating.fill(*sides, n)
            assert np.array_equal(made, repeating.fill(*sides, n))
            for predictor in (asking, tiled):  # they may compute by other ways
                for one, other in zip(made, predictor.fill(*sides, n), strict=True):
                    assert psnr(one, other) > 50
    assert repeating._replays.n_recorded == 2
    assert repeating._replays.n_replayed == 12
    assert asking._replays.n_replayed == 0


def test_frames_of_sixteen_bits_are_those_of_the_cpu() -> None:
    frames = film(6, 96, 128).astype(np.uint16) * 257
    network = build_network(config=ModelConfig(), strength=0.005)
    there = Predictor(network, name="cuda", device=CUDA).fill(frames[:3], frames[4:], 1)
    here = Predictor(network, name="cpu", device=torch.device("cpu"))
    assert there.dtype == np.uint16
    assert psnr(there[0], here.fill(frames[:3], frames[4:], 1)[0]) > 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("clips")
    for seed in (0, 1):
        frames = make_frames(16, width=64, height=48, seed=seed)
        write_clip(made / f"{seed}.mkv", frames, codec="ffv1")
    return made


def test_a_training_is_resumed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    initial = tmp_path / "tiny.safetensors"
    save_model(initial, build_network(strength=0.02).state_dict(), TINY, {})
    config = TrainConfig(
        n_steps=30, batch_size=2, crop=32, max_gap=2, warmup_steps=5, n_validation=1
    )
    StepClock(monkeypatch)

    def run(out: Path, max_minutes: float | None = None, *, resume: bool = False) -> int:
        report = training.train(
            [folder],
            out,
            config=dataclasses.replace(config, max_minutes=max_minutes),
            initial=initial,
            device="cuda",
            resume=resume,
        )
        assert report.device == "cuda"
        load_model(report.model)
        return report.steps

    assert run(tmp_path / "whole") == 30
    assert run(tmp_path / "parts", 15) == 15
    assert run(tmp_path / "parts", resume=True) == 30
    whole = load_file(tmp_path / "whole" / "state.safetensors")
    parts = load_file(tmp_path / "parts" / "state.safetensors")
    assert whole.keys() == parts.keys()
    assert torch.equal(whole["generator"], parts["generator"])  # the same samples were drawn
    for name, tensor in whole.items():
        if name.startswith(("model.", "averaged.")):
            # Not bit for bit: gradients of sampling are summed in no fixed order.
            assert (parts[name] - tensor).abs().max() < 0.01, name


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_the_same_as_on_the_cpu(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 3, 40, 50, generator=generator)
    made = truth + 0.1 * torch.randn(truth.shape, generator=generator)
    here = compute_loss({name: 1.0}, made, truth)
    there = compute_loss({name: 1.0}, made.cuda(), truth.cuda())
    assert float(there) == pytest.approx(float(here), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["bce", "kl", "js"])
def test_a_truth_that_is_no_chance_makes_the_loss_nan(name: str) -> None:
    """On the CPU it is an error; here nobody waits to see it, and the loss must tell."""
    made = torch.rand(1, 3, 8, 8, device=CUDA)
    assert torch.isfinite(LOSSES[name](made, made))
    assert torch.isnan(LOSSES[name](made, made - 2))


def test_moving_digits_are_the_same_as_on_the_cpu() -> None:
    digits = torch.randint(0, 256, (9, 28, 28), generator=torch.Generator().manual_seed(0)).byte()
    here, there = (
        MovingDigits(each, batch_size=4, generator=torch.Generator().manual_seed(1)).draw()
        for each in (digits, digits.cuda())
    )
    assert there.frames.is_cuda
    # A GPU divides by multiplying: the last bit may differ.
    torch.testing.assert_close(there.frames.cpu(), here.frames, rtol=0, atol=1e-6)


def test_a_stack_in_half_precision_forecasts_as_in_float32() -> None:
    torch.manual_seed(0)
    network = PixelForecaster()
    before = torch.rand(2, 10, 1, 64, 64)
    with torch.inference_mode():
        exact = network(before, None, 10)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            fast = network.cuda()(before.cuda(), None, 10).cpu()
    assert fast.dtype == torch.float32
    assert float((fast - exact).square().mean()) < 1e-3 * float(exact.square().mean())
