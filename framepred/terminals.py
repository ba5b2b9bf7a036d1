"""How commands talk to people: one manner for all, and one line and an exit code for what fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from . import options
from .errors import FramepredError

if TYPE_CHECKING:
    from .console import Terminal

__all__ = ["EXIT_CODES", "open_terminal", "set_manners"]

EXIT_CODES = (
    "Exit codes: 0 done; 1 the tool failed on its input; 2 wrong usage; "
    "3 some inputs of several failed; 130 interrupted."
)

_manners: dict[str, Any] = {}


def set_manners(*, is_terse: bool, log_file: Path | None) -> None:
    """How all commands talk from now on, as said before the command."""
    _manners.update({"is_terse": is_terse, "log_file": log_file})


@contextmanager
def open_terminal(progress: options.ProgressMode, *, quiet: bool = False) -> Iterator[Terminal]:
    """Turn what went wrong into one line and an exit code."""
    from .console import Terminal

    terminal = Terminal(progress.value, quiet=quiet, **_manners)
    try:
        yield terminal
    except FramepredError as error:
        terminal.fail(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        terminal.fail("interrupted; nothing was left half-written")
        raise typer.Exit(130) from None
