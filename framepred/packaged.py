"""The weights that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

from .reports import PackagedModel

__all__ = ["list_models"]

_FOLDER = Path(__file__).parent / "weights"


def list_models() -> tuple[PackagedModel, ...]:
    """Each packaged model: its name, where it lies, and how large it is."""
    return tuple(
        PackagedModel(name=path.stem, path=path, bytes=path.stat().st_size)
        for path in sorted(_FOLDER.glob("*.safetensors"))
    )
