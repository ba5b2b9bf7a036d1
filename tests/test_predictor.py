from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scenery import TINY, build_network, film, to_tensor

import framepred
from framepred.checkpoint import save_model
from framepred.errors import ModelError
from framepred.metrics import psnr
from framepred.predictor import Predictor, choose_device, choose_precision

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(build_network(strength=0.02), name="test", device=CPU)


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    return film(8, 40, 56)


# ---- devices ----------------------------------------------------------------------------------


def test_devices() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["", "gpu", "warp drive", "cuda:99", "cuda:-1", "cuda:x", "meta"])
def test_devices_that_are_not_there(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        choose_device(name)
    assert "\n" not in str(caught.value)


def test_cuda_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == CPU
    for name in ("cuda", "cuda:0", "mps"):
        with pytest.raises(ModelError, match="not available"):
            choose_device(name)


def set_units(monkeypatch: pytest.MonkeyPatch, *, amx: bool, avx512: bool) -> None:
    """Pretend that the processor has units for products of bfloat16, or none."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)


@pytest.mark.parametrize("amx", [True, False])
@pytest.mark.parametrize("avx512", [True, False])
def test_half_precision_only_where_the_hardware_is_made_for_it(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx512: bool
) -> None:
    set_units(monkeypatch, amx=amx, avx512=avx512)
    assert choose_precision(CPU) == (torch.bfloat16 if amx or avx512 else torch.float32)


def test_half_precision_costs_next_to_nothing(
    monkeypatch: pytest.MonkeyPatch, frames: NDArray[np.uint8]
) -> None:
    made = []
    for fast in (True, False):
        set_units(monkeypatch, amx=fast, avx512=False)
        stirred = Predictor(build_network(strength=0.02), name="stirred", device=CPU)
        made.append(stirred.fill(frames[:3], frames[5:], 2))
    assert psnr(made[1], made[0]) > 45


# ---- loading ----------------------------------------------------------------------------------


def test_load_by_path(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, build_network(strength=0.02).state_dict(), TINY, {})
    loaded = framepred.Predictor.load(path, device="cpu")
    assert loaded.device == "cpu"
    assert loaded.name == str(path)
    assert not loaded.model.training
    direct = Predictor(build_network(strength=0.02), name="test", device=CPU)
    assert np.array_equal(loaded.forecast(frames[:4], 2), direct.forecast(frames[:4], 2))


def test_load_what_is_not_there() -> None:
    with pytest.raises(ModelError, match="no model 'nothing'"):
        Predictor.load("nothing")


# ---- frames in, frames out --------------------------------------------------------------------


@pytest.mark.parametrize("n_frames", [1, 3])
@pytest.mark.parametrize(("n_before", "n_after"), [(1, 1), (3, 2), (4, 0), (0, 4), (1, 0)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_shapes_and_types(
    predictor: Predictor,
    frames: NDArray[np.uint8],
    dtype: Any,
    n_before: int,
    n_after: int,
    n_frames: int,
) -> None:
    known = frames.astype(dtype) * (257 if dtype == np.uint16 else 1)
    made = predictor.fill(known[:n_before], known[len(known) - n_after :], n_frames)
    assert made.shape == (n_frames, 40, 56, 3)
    assert made.dtype == dtype
    assert made.flags.c_contiguous
    assert made.flags.writeable
    assert made.std() > 0


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 9), (33, 64)])
def test_any_size(predictor: Predictor, height: int, width: int) -> None:
    known = np.random.default_rng(0).integers(0, 256, (4, height, width, 3), np.uint8)
    assert predictor.fill(known[:2], known[2:], 2).shape == (2, height, width, 3)
    assert predictor.forecast(known, 2).shape == (2, height, width, 3)


def test_pixels_are_those_of_the_network(predictor: Predictor, frames: NDArray[np.uint8]) -> None:
    planes = to_tensor(frames)
    half = choose_precision(CPU) == torch.bfloat16
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        raw = predictor.model(planes[:, :3], planes[:, 5:], 2)[0]
    expected = np.rint(raw.clamp(0, 1).double().numpy() * 255).transpose(0, 2, 3, 1)
    made = predictor.fill(frames[:3], frames[5:], 2)
    assert np.abs(made.astype(int) - expected).max() <= 1  # halves
    assert (made == expected).mean() > 0.999


def test_some_steps_only(predictor: Predictor, frames: NDArray[np.uint8]) -> None:
    made = predictor.fill(frames[:3], frames[5:], 2)
    for step in (1, 2):
        one = predictor.fill(frames[:3], frames[5:], 2, steps=[step])
        assert np.array_equal(one, made[step - 1 : step])
    for wrong in ([], [0], [3], [2, 1], [1, 1]):
        with pytest.raises(ValueError, match="expected rising steps from 1 to 2"):
            predictor.fill(frames[:3], frames[5:], 2, steps=wrong)


def test_values_outside_the_range_are_cut_not_wrapped(
    monkeypatch: pytest.MonkeyPatch, frames: NDArray[np.uint8]
) -> None:
    bold = Predictor(build_network(), name="bold", device=CPU)
    answers = torch.tensor([-0.5, -1e-9, 0.25, 1.0, 1.7]).view(1, 5, 1, 1, 1)
    monkeypatch.setattr(bold.model, "forward", lambda *_, **__: answers.expand(1, 5, 3, 2, 2))
    assert bold.forecast(frames, 5)[:, 0, 0, 0].tolist() == [0, 0, 64, 255, 255]
    deep = frames.astype(np.uint16)
    assert bold.forecast(deep, 5)[:, 0, 0, 0].tolist() == [0, 0, 16384, 65535, 65535]


def test_deep_pictures_keep_their_depth(frames: NDArray[np.uint8]) -> None:
    plain = Predictor(build_network(), name="plain", device=CPU)
    deep = frames.astype(np.uint16) * 257
    shallow_made = plain.fill(frames[:3], frames[5:], 2).astype(np.float64) * 257
    deep_made = plain.fill(deep[:3], deep[5:], 2)
    assert np.abs(deep_made - shallow_made).max() <= 129  # half a step of 8 bits
    assert len(np.unique(deep_made)) > 1000


def test_a_static_deep_picture_keeps_its_last_bits() -> None:
    plain = Predictor(build_network(), name="plain", device=CPU)
    ramp = np.linspace(0, 65535, 3 * 48 * 40).astype(np.uint16).reshape(1, 48, 40, 3)
    ramp = np.random.default_rng(0).permutation(ramp.ravel()).reshape(1, 48, 40, 3)
    still = np.repeat(ramp, 3, axis=0)
    made = plain.forecast(still[:1], 2).astype(int)
    assert np.abs(made - ramp).max() <= 8


def test_forecast_is_filling_without_an_after(
    predictor: Predictor, frames: NDArray[np.uint8]
) -> None:
    made = predictor.forecast(frames[:4], 3)
    assert np.array_equal(made, predictor.fill(frames[:4], frames[:0], 3))
    assert np.array_equal(made, predictor.fill(frames[:4], [], 3))
    assert np.array_equal(made, predictor.forecast(frames[:4], 3))
    reversed_film = predictor.fill((), frames[:4][::-1], 3)
    assert np.array_equal(made, reversed_film[::-1])


def test_futures_differ_and_come_again(predictor: Predictor, frames: NDArray[np.uint8]) -> None:
    plain = predictor.forecast(frames[:4], 3)
    futures = [predictor.pick_future(k, seed=1).forecast(frames[:4], 3) for k in (1, 2, 3, 4)]
    assert all(future.shape == plain.shape for future in futures)
    assert len({future.tobytes() for future in (plain, *futures)}) == 5
    np.testing.assert_array_equal(
        futures[2], predictor.pick_future(3, seed=1).forecast(frames[:4], 3)
    )
    assert not np.array_equal(futures[0], predictor.pick_future(1, seed=2).forecast(frames[:4], 3))
    # The whole predictor still says what it said, and gaps have no futures.
    np.testing.assert_array_equal(plain, predictor.forecast(frames[:4], 3))
    np.testing.assert_array_equal(
        predictor.pick_future(1, seed=1).fill(frames[:3], frames[5:], 2),
        predictor.fill(frames[:3], frames[5:], 2),
    )
    with pytest.raises(ValueError, match="counted from 1, got 0"):
        predictor.pick_future(0, seed=1)


def test_lists_tuples_and_views(predictor: Predictor, frames: NDArray[np.uint8]) -> None:
    expected = predictor.fill(frames[:3], frames[5:], 2)
    assert np.array_equal(predictor.fill(list(frames[:3]), tuple(frames[5:]), 2), expected)
    strided = np.repeat(frames, 2, axis=2)[:, :, ::2]
    strided.flags.writeable = False
    assert np.array_equal(predictor.fill(strided[:3], strided[5:], 2), expected)


def test_inputs_are_left_alone(predictor: Predictor, frames: NDArray[np.uint8]) -> None:
    copy = frames.copy()
    predictor.fill(frames[:3], frames[5:], 2)
    assert np.array_equal(frames, copy)


EMPTY = np.zeros((0, 40, 56, 3), np.uint8)
GOOD = np.zeros((2, 40, 56, 3), np.uint8)


@pytest.mark.parametrize(
    ("before", "after", "n_frames", "reason"),
    [
        ((), (), 1, "at least one side"),
        (EMPTY, EMPTY, 1, "at least one side"),
        (GOOD, GOOD, 0, "n_frames"),
        (GOOD, GOOD, -1, "n_frames"),
        (GOOD[0], GOOD[0], 1, "expected"),
        (GOOD.astype(np.float32), (), 1, "expected"),
        (GOOD.astype(np.int64), (), 1, "expected"),
        (GOOD.astype(bool), (), 1, "expected"),
        (GOOD[..., :1], (), 1, "expected"),
        (np.zeros((2, 40, 56, 4), np.uint8), (), 1, "expected"),
        (GOOD, GOOD[:, 1:], 1, "must match"),
        (GOOD, GOOD[:, :, :5], 1, "must match"),
        (GOOD, GOOD.astype(np.uint16), 1, "must match"),
        (GOOD, GOOD[0], 1, "must match"),
        (np.zeros((2, 0, 56, 3), np.uint8), (), 1, "expected"),
        ([GOOD[0], GOOD[0, 1:]], (), 1, "shape"),
        (["a"], (), 1, "expected"),
    ],
)
def test_what_cannot_be_filled(
    predictor: Predictor, before: Any, after: Any, n_frames: int, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        predictor.fill(before, after, n_frames)


def test_no_gradients_are_kept(predictor: Predictor, frames: NDArray[np.uint8]) -> None:
    predictor.forecast(frames[:2], 1)
    assert all(parameter.grad is None for parameter in predictor.model.parameters())
