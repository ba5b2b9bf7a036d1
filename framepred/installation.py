"""What is installed here: versions, devices that can compute, packaged models."""

from __future__ import annotations

import platform
from importlib import metadata

from . import __version__
from .packaged import list_models
from .reports import InstallationReport

__all__ = ["describe_installation"]

_LIBRARIES = ("torch", "av", "numpy", "scikit-image", "safetensors")


def describe_installation() -> InstallationReport:
    """Look at this machine; imports torch to ask for its devices."""
    return InstallationReport(
        version=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        libraries={name: metadata.version(name) for name in _LIBRARIES},
        devices=_list_devices(),
        models=list_models(),
    )


def _list_devices() -> tuple[str, ...]:
    import torch

    devices = [f"cpu ({torch.get_num_threads()} threads)"]
    if torch.backends.mps.is_available():
        devices.insert(0, "mps")
    for index in reversed(range(torch.cuda.device_count())):
        devices.insert(0, f"cuda:{index} ({torch.cuda.get_device_name(index)})")
    return tuple(devices)
