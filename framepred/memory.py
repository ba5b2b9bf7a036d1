"""What this process takes of the machine's memory, and what is left: on Linux, else unknown."""

from __future__ import annotations

from pathlib import Path

__all__ = ["free_bytes", "high_water_bytes", "reset_high_water"]

_PROCESS = Path("/proc/self")
_CGROUP = Path("/sys/fs/cgroup")


def reset_high_water() -> bool:
    """Begin a new measurement of the highest resident memory; False where that cannot be done."""
    try:
        (_PROCESS / "clear_refs").write_text("5")  # see proc(5)
    except OSError:
        return False
    return True


def high_water_bytes() -> int | None:
    """The most resident memory of this process since the last reset, in bytes."""
    return _read_kilobytes(_PROCESS / "status", "VmHWM:")


def free_bytes() -> int | None:
    """Memory that can still be taken without swapping, within this container's limit, in bytes."""
    free = _read_kilobytes(Path("/proc/meminfo"), "MemAvailable:")
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = (_CGROUP / "memory.current").read_text().strip()
    except OSError:
        return free  # no container, or none of this kind
    if free is None or limit == "max":
        return free
    return min(free, int(limit) - int(used))


def _read_kilobytes(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)
