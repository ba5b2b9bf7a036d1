"""How commands talk to people: one manner for all, and one line and an exit code for what fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
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
_notes: list[str] = []


def set_manners(
    *, is_terse: bool, is_verbose: bool, log_file: Path | None, notes: Sequence[str] = ()
) -> None:
    """How all commands talk from now on, as said before the command.

    notes: what was chosen before there was a terminal to say it on.
    """
    _manners.update({"is_terse": is_terse, "is_verbose": is_verbose, "log_file": log_file})
    _notes[:] = notes


@contextmanager
def open_terminal(progress: options.ProgressMode, *, quiet: bool = False) -> Iterator[Terminal]:
    """Turn what went wrong into one line and an exit code."""
    from .console import Terminal

    terminal = Terminal(progress.value, quiet=quiet, **_manners)
    try:
        for note in _notes:
            terminal.note(note)
        with _pass_notes(terminal.note if terminal.is_verbose else None):
            yield terminal
    except FramepredError as error:
        terminal.fail(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        terminal.fail("interrupted; nothing was left half-written")
        raise typer.Exit(130) from None


@contextmanager
def _pass_notes(note: Callable[[str], None] | None) -> Iterator[None]:
    """Hand on what the library logs of its decisions, from whichever thread."""
    if note is None:
        yield
        return
    logger, handler = logging.getLogger(__package__), _NoteHandler(note)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class _NoteHandler(logging.Handler):
    """Gives the text of every record to a function."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        self._note(record.getMessage())
