"""Code in a process of its own: for what may stand still for ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run_apart(code: str) -> str:
    """Run Python code at the root of the project; return what it prints.

    Raises TimeoutExpired after a minute, and AssertionError if the code fails.
    """
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout
