"""``python -m framepred`` is the command ``framepred``."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Entry point of the console script.

    To load the command line takes half a second, in which Ctrl-C is told in one line as later.
    """
    try:
        from .cli import run

        run()
    except KeyboardInterrupt:
        os.write(2, b"error: interrupted; nothing was left half-written\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
