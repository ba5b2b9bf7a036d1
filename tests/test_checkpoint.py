from __future__ import annotations

import dataclasses
import json
import os
import pickle
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from scenery import TINY, build_network
from torch import Tensor

from framepred import checkpoint
from framepred.checkpoint import (
    FORMAT,
    find_weights,
    load_model,
    load_state,
    save_model,
    save_state,
)
from framepred.errors import ModelError, OutputError
from framepred.model import ModelConfig
from framepred.packaged import list_models
from framepred.reports import PackagedModel

Change = Callable[[dict[str, Tensor], dict[str, str]], None]


def save_network(path: Path, **facts: object) -> dict[str, Tensor]:
    weights = build_network(strength=0.1).state_dict()
    save_model(path, weights, TINY, facts)
    return weights


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "sound.safetensors"
    save_network(path)
    return path


def describe() -> dict[str, str]:
    return {
        "format": FORMAT,
        "config": json.dumps(dataclasses.asdict(TINY)),
        "facts": "{}",
    }


def forge(path: Path, change: Change) -> Path:
    """A weights file that is sound but for ``change``."""
    tensors = {k: v.clone().contiguous() for k, v in build_network().state_dict().items()}
    metadata = describe()
    change(tensors, metadata)
    save_file(tensors, path, metadata)
    return path


def refuse(path: Path, load: Callable[[Path], object] = load_model) -> str:
    """The message with which a file is refused: one line that names it."""
    with pytest.raises(ModelError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    assert len(message) < 1000
    return message


# ---- there and back ---------------------------------------------------------------------------


def test_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "model.safetensors"
    weights = save_network(path, steps=12, note="grüße")
    network, facts = load_model(path)
    assert facts == {"steps": 12, "note": "grüße"}
    assert network.config == TINY
    assert not network.training
    assert network.state_dict().keys() == weights.keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
        assert tensor.device.type == "cpu"
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert str(path) in str(find_weights(str(path)))


def test_loaded_network_makes_the_same_frames(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_network(path)
    frames = torch.rand(1, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = build_network(strength=0.1)(frames[:, :2], frames[:, 2:], 2)
        assert torch.equal(load_model(path)[0](frames[:, :2], frames[:, 2:], 2), expected)


def test_the_layout_in_memory_does_not_matter(tmp_path: Path) -> None:
    network = build_network(strength=0.1)
    save_model(tmp_path / "a", network.state_dict(), TINY, {})
    strided = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save_model(tmp_path / "b", strided.state_dict(), TINY, {})
    assert load_file(tmp_path / "a").keys() == load_file(tmp_path / "b").keys()
    for name, tensor in load_file(tmp_path / "a").items():
        assert torch.equal(tensor, load_file(tmp_path / "b")[name])


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    def halve(tensors: dict[str, Tensor], _: dict[str, str]) -> None:
        for name in tensors:
            tensors[name] = tensors[name].half()

    network, _ = load_model(forge(tmp_path / "half", halve))
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_states_come_back_with_their_types(tmp_path: Path) -> None:
    tensors = {
        "generator": torch.Generator().manual_seed(3).get_state(),
        "step": torch.tensor(7.0),
        "weights": torch.randn(3, 4).t(),
    }
    save_state(tmp_path / "state", tensors, {"step": 7, "seconds": 1.5})
    stored = load_state(tmp_path / "state")
    assert stored.facts == {"step": 7, "seconds": 1.5}
    assert stored.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(stored.tensors[name], tensor)
        assert stored.tensors[name].dtype == tensor.dtype


def test_writing_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_network(path, round=1)
    save_network(path, round=2)
    assert load_model(path)[1] == {"round": 2}
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    before = os.umask(0o022)
    try:
        save_network(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), _Killed()])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    path = tmp_path / "model.safetensors"
    save_network(path, round=1)
    old = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(checkpoint.os, step, fail)
    if isinstance(error, OSError):
        with pytest.raises(OutputError, match="the disk is full") as caught:
            save_network(path, round=2)
        assert "\n" not in str(caught.value)
    else:
        with pytest.raises(_Killed):
            save_network(path, round=2)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        save_network(tmp_path / "file" / "model.safetensors")


# ---- names ------------------------------------------------------------------------------------


def test_packaged_models_go_by_name(
    tmp_path: Path, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = (PackagedModel(name="small", path=sound, bytes=1),)
    monkeypatch.setattr(checkpoint, "list_models", lambda: packaged)
    monkeypatch.chdir(tmp_path)
    assert find_weights("small") == sound
    assert find_weights("sound.safetensors") == Path("sound.safetensors")
    with pytest.raises(ModelError, match=r"'large'.*packaged: small"):
        find_weights("large")


def test_every_packaged_model_loads() -> None:
    for model in list_models():
        network, facts = load_model(model.name)
        assert network.config == ModelConfig()
        assert facts
        assert model.bytes <= 16 * 10**6


@pytest.mark.parametrize("name", ["", "no such model", "x" * 5000, "a\0b", "..", "/"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ModelError, match="neither a file nor a packaged model") as caught:
        load_model(name)
    assert "\n" not in str(caught.value)


# ---- files by strangers -----------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.999])
def test_truncated(tmp_path: Path, sound: Path, share: float) -> None:
    path = tmp_path / "cut"
    path.write_bytes(sound.read_bytes()[: int(share * sound.stat().st_size)])
    refuse(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"\0" * 100, b"\xff" * 100, b"PK\x03\x04" + b"\0" * 60, bytes(range(256)) * 9],
)
def test_something_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    refuse(path)


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["FRAMEPRED_TEST_MARK"],)


@pytest.mark.parametrize("by_torch", [False, True])
def test_pickles_are_refused_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_torch: bool
) -> None:
    mark, path = tmp_path / "mark", tmp_path / "evil.safetensors"
    monkeypatch.setenv("FRAMEPRED_TEST_MARK", str(mark))
    if by_torch:
        torch.save({"weights": _Bomb()}, path)
    else:
        path.write_bytes(pickle.dumps(_Bomb()))
    assert "not a safetensors file" in refuse(path)
    assert not mark.exists()


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelError, match="neither"):
        load_model(tmp_path / "folder")
    refuse(tmp_path / "folder", load_state)
    refuse(tmp_path / "missing", load_state)


def test_a_file_too_large(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_LARGEST_FILE", 1000)
    assert "larger than 1000 bytes" in refuse(sound)


def test_weights_are_no_state_and_states_are_no_weights(tmp_path: Path, sound: Path) -> None:
    assert "expected 'framepred-training-1'" in refuse(sound, load_state)
    save_state(tmp_path / "state", {"x": torch.zeros(1)}, {})
    assert "expected 'framepred-weights-8'" in refuse(tmp_path / "state")


def drop(key: str) -> Change:
    def change(_: dict[str, Tensor], metadata: dict[str, str]) -> None:
        del metadata[key]

    return change


def put(key: str, value: str) -> Change:
    def change(_: dict[str, Tensor], metadata: dict[str, str]) -> None:
        metadata[key] = value

    return change


def configure(**values: object) -> Change:
    def change(_: dict[str, Tensor], metadata: dict[str, str]) -> None:
        metadata["config"] = json.dumps({**dataclasses.asdict(TINY), **values})

    return change


def alter(make: Callable[[Tensor], Tensor]) -> Change:
    def change(tensors: dict[str, Tensor], _: dict[str, str]) -> None:
        tensors["encoder.from_input.weight"] = make(tensors["encoder.from_input.weight"])

    return change


def poison(value: float) -> Change:
    def make(tensor: Tensor) -> Tensor:
        tensor[3, 2, 1, 0] = value
        return tensor

    return alter(make)


def add_tensor(tensors: dict[str, Tensor], _: dict[str, str]) -> None:
    tensors["extra\nline"] = torch.zeros(1)


def remove_tensor(tensors: dict[str, Tensor], _: dict[str, str]) -> None:
    del tensors["finish.correct.bias"]


NESTED = "[" * 200_000
FORGERIES: dict[str, tuple[Change, str]] = {
    "no format": (drop("format"), "format None"),
    "other format": (put("format", "framepred-weights-9"), "format 'framepred-weights-9'"),
    "endless format": (put("format", "x" * 10**6), "format"),
    "no config": (drop("config"), "JSON"),
    "broken config": (put("config", "{"), "JSON"),
    "config no object": (put("config", "[1]"), "not a JSON object"),
    "config null": (put("config", "null"), "not a JSON object"),
    "nested config": (put("config", NESTED), "JSON"),
    "nested object": (put("config", '{"a":' * 200_000), "JSON"),
    "endless number": (put("config", '{"n_hidden": ' + "9" * 100_000 + "}"), "JSON"),
    "nested facts": (put("facts", NESTED), "JSON"),
    "broken facts": (put("facts", "{'a': 1}"), "JSON"),
    "facts no object": (put("facts", "3"), "not a JSON object"),
    "more fields": (configure(n_layers=3), "other fields"),
    "fewer fields": (put("config", '{"n_hidden": 4}'), "other fields"),
    "strange cell": (configure(cell="transformer"), "no cell 'transformer'"),
    "number for cell": (configure(cell=3), "no cell '3'"),
    "huge": (configure(n_hidden=10**9), "out of bounds"),
    "huge list": (configure(n_features=[10**12] * 2), "out of bounds"),
    "long list": (configure(n_features=[1] * 10**5), "out of bounds"),
    "list for number": (configure(n_hidden=[4]), "out of bounds"),
    "number for list": (configure(n_features=4), "out of bounds"),
    "zero": (configure(n_hidden=0), "out of bounds"),
    "negative": (configure(n_fine=-8), "out of bounds"),
    "fraction": (configure(n_fine=8.0), "out of bounds"),
    "truth": (configure(n_fine=True), "out of bounds"),
    "text": (configure(n_fine="8"), "out of bounds"),
    "not a number": (configure(n_fine=float("nan")), "out of bounds"),
    "widest": (configure(n_hidden=1024, n_features=[1024] * 2), "expected floats of"),
    "other sizes": (configure(n_fine=TINY.n_fine + 1), "expected floats of"),
    "extra tensor": (add_tensor, "do not fit"),
    "missing tensor": (remove_tensor, "finish.correct.bias"),
    "wrong shape": (alter(lambda t: t[:-1].contiguous()), "expected floats of"),
    "one value": (alter(lambda t: t[:1, :1, :1, :1].contiguous()), "expected floats of"),
    "whole numbers": (alter(lambda t: t.to(torch.int32)), "expected floats of"),
    "nan": (poison(float("nan")), "not finite"),
    "infinite": (poison(float("-inf")), "not finite"),
    "beyond float32": (
        alter(lambda t: torch.full_like(t, 1e300, dtype=torch.float64)),
        "not finite",
    ),
    "nan of 8 bits": (
        alter(lambda t: torch.full_like(t, float("nan")).to(torch.float8_e4m3fn)),
        "not finite",
    ),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_forgeries(tmp_path: Path, kind: str) -> None:
    change, reason = FORGERIES[kind]
    assert reason in refuse(forge(tmp_path / "forged.safetensors", change))


def test_nested_facts_of_a_state(tmp_path: Path) -> None:
    metadata = {"format": checkpoint.STATE_FORMAT, "facts": NESTED}
    save_file({"x": torch.zeros(1)}, tmp_path / "state", metadata)
    assert "JSON" in refuse(tmp_path / "state", load_state)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**60]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"a": {"dtype": "Q9", "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
    ],
)
def test_headers_that_lie(tmp_path: Path, header: dict[str, Any]) -> None:
    text = json.dumps({"__metadata__": describe(), **header}).encode()
    path = tmp_path / "liar.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)
    refuse(path)


def test_an_endless_header(tmp_path: Path) -> None:
    path = tmp_path / "endless.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    refuse(path)
