"""What several test modules share: awkward files where they lie beside the project, ffprobe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes to stderr by itself, from its first use on
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch beside other work, as in cli.run

import pytest

SHARED = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def awkward() -> Path:
    """The folder of real files that break video tools."""
    folder = SHARED / "awkward"
    if not folder.is_dir():
        pytest.skip("the folder of awkward files is not here")
    return folder


@pytest.fixture(scope="session")
def ffprobe() -> Callable[[Path], dict[str, Any]]:
    """An independent reader: everything that ffprobe says about a file."""
    program = shutil.which("ffprobe")
    if program is None:
        pytest.skip("ffprobe is not installed")

    def run(path: Path) -> dict[str, Any]:
        done = subprocess.run(
            [
                *(program, "-v", "error", "-show_format", "-show_streams", "-show_chapters"),
                *("-count_frames", "-of", "json", str(path)),
            ],
            check=True,
            capture_output=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run
