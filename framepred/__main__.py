"""``python -m framepred`` is the command ``framepred``."""

from __future__ import annotations

from .cli import run

if __name__ == "__main__":
    run()
