"""Weights and training states on disk: safetensors files that describe themselves, never pickle.

A weights file holds the tensors of one network; its metadata holds the format, which says the kind
of network and the version, and the network's configuration. A training state is the same file with
the optimizer's tensors, the averaged weights and the random generators beside them. Whatever is
loaded is checked as if a stranger had made it: format, sizes, shapes, finite values.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from .cells import parse_cell
from .errors import ModelError, describe_error
from .model import FramePredictor, ModelConfig
from .outputs import create_temporary, find_place, translate_errors
from .packaged import list_models
from .stack import PixelForecaster, StackConfig

__all__ = [
    "FORMAT",
    "Network",
    "StoredState",
    "find_weights",
    "load_model",
    "load_network",
    "load_state",
    "save_model",
    "save_state",
]

FORMAT = "framepred-weights-8"
STATE_FORMAT = "framepred-training-1"

Network = FramePredictor | PixelForecaster
N = TypeVar("N", FramePredictor, PixelForecaster)

# Of each kind of network, by its configuration.
_FORMATS: dict[type[ModelConfig | StackConfig], str] = {
    ModelConfig: FORMAT,
    StackConfig: "framepred-stack-1",
}
_CONFIGS: dict[type[Network], type[ModelConfig | StackConfig]] = {
    FramePredictor: ModelConfig,
    PixelForecaster: StackConfig,
}

_LARGEST_FILE = 2**30  # bytes: no network of ours comes near; keeps a hostile file out of memory
_WIDEST = 1024  # channels: likewise for a configuration
_LATER = {"n_halvings"}  # fields that older weights lack: they were made with the defaults
_BOUNDS = {"n_layers": (1, 64), "n_halvings": (0, 8)}


def find_weights(name_or_path: str | Path) -> Path:
    """Resolve a packaged model's name or a file's path.

    Raises ModelError, naming the choices, if it is neither.
    """
    packaged = {model.name: model.path for model in list_models()}
    if str(name_or_path) in packaged:
        return packaged[str(name_or_path)]
    path = Path(name_or_path)
    with contextlib.suppress(OSError):  # a name too long for the file system, say
        if path.is_file():
            return path
    known = ", ".join(packaged) or "none"
    raise ModelError(
        f"no model {_quote(str(name_or_path))}: it is neither a file nor a packaged model "
        f"(packaged: {known}); train one with `framepred train`"
    )


@dataclass(frozen=True)
class StoredState:
    """A training state as loaded: tensors by name, and the plain facts beside them."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def save_model(
    path: str | Path,
    weights: Mapping[str, Tensor],
    config: ModelConfig | StackConfig,
    facts: Mapping[str, Any],
) -> None:
    """Write a weights file atomically; ``facts`` (JSON) say how the weights came about."""
    metadata = {
        "format": _FORMATS[type(config)],
        "config": json.dumps(dataclasses.asdict(config)),
        "facts": json.dumps(dict(facts)),
    }
    _write(Path(path), weights, metadata)


def save_state(path: str | Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a training state atomically."""
    _write(Path(path), tensors, {"format": STATE_FORMAT, "facts": json.dumps(dict(facts))})


def load_model(name_or_path: str | Path) -> tuple[FramePredictor, dict[str, Any]]:
    """The network for video that a weights file describes; see ``load_network``."""
    return load_network(name_or_path, FramePredictor)


def load_network(name_or_path: str | Path, kind: type[N]) -> tuple[N, dict[str, Any]]:
    """Build the network that a weights file describes, on the CPU, in evaluation mode.

    Returns it and the facts stored beside it. Raises ModelError for anything that is not a sound
    weights file of this kind of network.
    """
    path = find_weights(name_or_path)
    tensors, metadata = _read(path, _FORMATS[_CONFIGS[kind]])
    config: Any = _parse_config(path, metadata.get("config", ""), _CONFIGS[kind])
    with torch.device("meta"):
        model = kind(config)
    wanted = model.state_dict()
    if wanted.keys() != tensors.keys():
        strange = sorted(wanted.keys() ^ tensors.keys())[0]
        raise ModelError(
            f"weights {path} do not fit their own configuration: tensor {_quote(strange)}"
        )
    floats = {name: tensor.float() for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape or not tensor.is_floating_point():
            raise ModelError(
                f"weights {path}: tensor {name!r} is {tuple(tensor.shape)} {tensor.dtype}, "
                f"expected floats of {tuple(wanted[name].shape)}"
            )
        if not bool(torch.isfinite(floats[name]).all()):  # float64 may be beyond float32
            raise ModelError(f"weights {path}: tensor {name!r} holds values that are not finite")
    model.load_state_dict(floats, assign=True)
    model.requires_grad_(True)
    return model.eval(), _parse_facts(path, metadata.get("facts", "{}"))


def load_state(path: str | Path) -> StoredState:
    """Read a training state; ModelError if it is not one."""
    tensors, metadata = _read(Path(path), STATE_FORMAT)
    return StoredState(tensors, _parse_facts(Path(path), metadata.get("facts", "{}")))


def _read(path: Path, wanted: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ModelError(f"weights {path} are larger than {_LARGEST_FILE} bytes: refused")
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            found = metadata.get("format")
            if found != wanted:
                raise ModelError(
                    f"{path} has format {_quote(found)}, expected {wanted!r}: "
                    "it is of another kind, or by another version of framepred"
                )
            # Copied out of the file: what changes there later does no harm, and all lies in memory
            # as torch lays it out, on which the last bit of a sum can depend.
            names = file.keys()
            return {name: file.get_tensor(name).clone() for name in names}, metadata
    except SafetensorError as error:
        raise ModelError(f"{path} is not a safetensors file: {error}") from error
    except OSError as error:
        raise ModelError(f"cannot read {path}: {describe_error(error)}") from error


def _parse_facts(path: Path, text: str) -> dict[str, Any]:
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: its facts are not JSON: {error}") from error
    if not isinstance(facts, dict):
        raise ModelError(f"{path}: its facts are not a JSON object")
    return facts


def _parse_config(
    path: Path, text: str, kind: type[ModelConfig | StackConfig]
) -> ModelConfig | StackConfig:
    types = get_type_hints(kind)
    raw = _parse_facts(path, text)
    if not types.keys() - _LATER <= raw.keys() <= types.keys():
        raise ModelError(f"{path}: its configuration has other fields than this version knows")
    raw = dataclasses.asdict(kind()) | raw
    values: dict[str, Any] = {"cell": raw.pop("cell")}
    try:
        parse_cell(str(values["cell"]))
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from error
    for name, value in raw.items():
        n_parts = len(get_args(types[name]))  # 0: one number
        parts = value if n_parts and isinstance(value, list) else [value]
        least, most = _BOUNDS.get(name, (1, _WIDEST))
        if any(type(part) is not int or not least <= part <= most for part in parts) or (
            len(parts) != max(n_parts, 1)
        ):
            raise ModelError(f"{path}: configuration {name} = {_quote(value)} is out of bounds")
        values[name] = tuple(parts) if n_parts else value
    return kind(**values)


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    payload = serialize(plain, metadata)
    temporary: Path | None = None
    try:
        with translate_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = create_temporary(path)
            with temporary.open("wb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(find_place(path))
    finally:  # also when the user interrupts
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _quote(value: object) -> str:
    """What a stranger wrote, short enough for one line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
