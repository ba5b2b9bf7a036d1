from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from apart import run_apart

from framepred import memory


@pytest.fixture(autouse=True)
def _needs_linux() -> None:
    if not memory.reset_high_water():
        pytest.skip("this system does not tell")


def test_the_high_water_mark_rises_and_is_reset() -> None:
    before = memory.high_water_bytes()
    assert before is not None
    hoard = np.ones(64 * 2**20, np.uint8)
    high = memory.high_water_bytes()
    assert high is not None
    assert high - before > 60 * 2**20
    del hoard
    assert memory.high_water_bytes() == pytest.approx(high, abs=4 * 2**20)  # it is kept roughly
    memory.reset_high_water()
    after = memory.high_water_bytes()
    assert after is not None
    assert high - after > 60 * 2**20


def test_free_memory_is_some_of_all() -> None:
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    free = memory.free_bytes()
    assert free is not None
    assert 0 < free < total


def test_a_container_has_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    (tmp_path / "memory.current").write_text("3000000\n")
    (tmp_path / "memory.max").write_text("5000000\n")
    assert memory.free_bytes() == 2_000_000
    (tmp_path / "memory.max").write_text("max\n")
    free = memory.free_bytes()
    assert free is not None
    assert free > 2_000_000


def test_nobody_knows_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_PROCESS", tmp_path / "nothing")
    assert not memory.reset_high_water()
    assert memory.high_water_bytes() is None


def count_faults(*, kept: bool) -> int:
    """Pages that the system had to find while large blocks were freed and allocated anew."""
    return int(
        run_apart(
            f"""
import resource
import numpy as np
from framepred import memory

def work():
    blocks = [np.ones(2**24, np.uint8) for _ in range(6)]

if {kept}:
    memory.keep_freed()
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
        )
    )


def test_freed_memory_is_kept_for_the_next_block() -> None:
    if memory._load_libc() is None:
        pytest.skip("another C library than glibc")
    given_back = count_faults(kept=False)
    assert given_back > 10_000, "glibc does it by itself: keep_freed could go"
    assert count_faults(kept=True) < given_back / 10


def test_what_is_kept_is_not_measured() -> None:
    code = """
import numpy as np
from framepred import memory
memory.keep_freed()
blocks = [np.ones(2**24, np.uint8) for _ in range(6)]
memory.reset_high_water()
before = memory.high_water_bytes()
del blocks
memory.reset_high_water()
print(before - memory.high_water_bytes())
"""
    assert int(run_apart(code)) > 80 * 2**20
