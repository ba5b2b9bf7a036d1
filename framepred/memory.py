"""What this process takes of the machine's memory, and what is left: on Linux, else unknown."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path

__all__ = ["free_bytes", "high_water_bytes", "keep_freed", "reset_high_water"]

_PROCESS = Path("/proc/self")
_CGROUP = Path("/sys/fs/cgroup")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_KEPT_BLOCK = 2**25  # bytes of a block that is kept for another; larger ones always go back
_MOST_KEPT = 2**30  # bytes of freed memory at the end of the heap


def keep_freed() -> None:
    """Have glibc keep freed memory for what is allocated next; for a program, not for a library.

    A network on a CPU frees and allocates tens of megabytes at a time. By itself glibc gives most
    of that back to the system, which fills page after page with zeros when it is wanted again: a
    tenth of a network's time at 720p.
    """
    libc = _load_libc()
    if libc is not None:
        libc.mallopt(_MMAP_THRESHOLD, _KEPT_BLOCK)
        libc.mallopt(_TRIM_THRESHOLD, _MOST_KEPT)


@cache
def _load_libc() -> ctypes.CDLL | None:
    """The C library, if it is glibc."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None


def reset_high_water() -> bool:
    """Begin a new measurement of the highest resident memory; False where that cannot be done.

    What is freed and kept goes back before.
    """
    libc = _load_libc()
    if libc is not None:
        libc.malloc_trim(0)
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
