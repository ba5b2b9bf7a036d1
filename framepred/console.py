"""A terminal: progress bars, tables, lines for people, one-line errors.

Data goes to stdout: a table on a terminal, tab-separated lines in a pipe. Everything else goes to
stderr. With ``--progress machine`` stderr holds nothing but one JSON object a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from .bars import Ticker, show_bars
from .errors import OutputError
from .outputs import is_pipe, write_text
from .reports import OnProgress, to_plain

__all__ = ["Sheet", "Terminal"]

_LOG_WIDTH = 160  # characters of a line in a log file, where nothing has a width
_NARROWEST_TEXT = 24  # characters: words in a narrower column cannot be read


@dataclass
class Sheet:
    """A table before it is known who reads it: a terminal gets lines and colours, a pipe tabs."""

    headers: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    left: frozenset[str] = frozenset()  # headers of columns of words; the others hold numbers

    def as_text(self) -> str:
        """Tab-separated lines, the headers first."""
        return "".join("\t".join(row) + "\n" for row in (self.headers, *self.rows))

    def print_to(self, console: Console) -> None:
        """Print a table. The last column may wrap; where it would be squeezed, it goes below.

        Where not even the other columns fit, every row becomes some lines.
        """
        last = len(self.headers) - 1
        widths = [
            max(cell_len(row[i]) for row in (self.headers, *self.rows)) + 2 for i in range(last + 1)
        ]
        has_words = self.headers[last] in self.left
        taken = sum(widths[:last])
        needed = taken - 2 if has_words else taken + widths[last] - 2
        if needed > console.width:
            self._print_rows(console, has_words=has_words)
            return
        below = has_words and console.width - taken < _NARROWEST_TEXT
        table = Table(box=None, pad_edge=False, padding=(0, 1))
        for i, header in enumerate(self.headers):
            if below and i == last:
                continue
            table.add_column(
                header,
                justify="left" if header in self.left else "right",
                no_wrap=i != last,
                overflow="fold",
                header_style="bold",
            )
        for row in self.rows:
            cells = row[:last] if below else row
            table.add_row(*(escape(cell) for cell in cells))
        console.print(table)
        for row in self.rows if below else ():
            console.print(Text(_wrap(console, f"{row[0]}  {row[last]}")), soft_wrap=True)

    def _print_rows(self, console: Console, *, has_words: bool) -> None:
        """Print every row as lines of its own: the first cell, then each other by its name."""
        for first, *cells in self.rows:
            words = cells.pop() if has_words else ""
            lines = [first]
            for header, cell in zip(self.headers[1:], cells, strict=False):
                item = f"{header} {cell}"
                if cell_len(lines[-1]) + 2 + cell_len(item) <= console.width:
                    lines[-1] += f"  {item}"
                else:
                    lines.append(f"  {item}")
            for line in lines:
                console.print(Text(_wrap(console, line)), soft_wrap=True)
            if words:
                console.print(Text(_wrap(console, words, "  ")), soft_wrap=True)


class Terminal:
    """Where a command talks to the person, or to the program, that started it.

    ``progress``: "auto" (a bar on a terminal, else nothing), "bar", "machine" or "none".
    ``quiet``: people and programs are not told anything. ``is_terse``: people are told errors only.
    ``is_verbose``: what ``note`` is given is said too. ``log_file``: gets the lines for people too.

    Raises:
        OutputError: the log file cannot be written.
    """

    def __init__(
        self,
        progress: str = "auto",
        *,
        quiet: bool = False,
        is_terse: bool = False,
        is_verbose: bool = False,
        log_file: Path | None = None,
    ) -> None:
        self._out = Console(soft_wrap=False, highlight=False, quiet=quiet)
        self._alarm = Console(stderr=True, highlight=False, quiet=quiet)
        self._err = Console(stderr=True, highlight=False, quiet=quiet or is_terse)
        self._log_file = None if quiet else log_file
        self.is_verbose = is_verbose and not quiet
        if quiet or (is_terse and progress != "machine"):
            progress = "none"
        if not self._err.is_terminal and "COLUMNS" not in os.environ:
            self._err.width = self._alarm.width = _LOG_WIDTH
        if progress == "auto":
            progress = "bar" if self._err.is_terminal else "none"
        self._mode = progress

    # For people (stderr).

    @property
    def is_machine(self) -> bool:
        """Whether a program reads stderr."""
        return self._mode == "machine"

    @property
    def is_watched(self) -> bool:
        """Whether a person looks on while the work is done."""
        return self._err.is_terminal and not self._err.quiet and not self.is_machine

    def say(self, text: str) -> None:
        """One line for people."""
        self._log(text)
        if not self.is_machine:
            _print_line(self._err, text)

    def note(self, text: str) -> None:
        """A line for those who want to know why; programs are told too."""
        if not self.is_verbose:
            return
        self._log(text)
        if self.is_machine:
            self.emit({"event": "note", "message": text})
        else:
            _print_line(self._err, text, style="dim")

    def show_sheet(self, sheet: Sheet) -> None:
        """A table for people."""
        for row in sheet.rows:
            self._log("  ".join(row))
        if not self.is_machine:
            sheet.print_to(self._err)

    def fail(self, message: str, *, source: Path | None = None) -> None:
        """The one line of an error."""
        line = " ".join(message.split())
        if source is not None and not is_pipe(source) and str(source) not in line:
            line = f"{source}: {line}"
        with contextlib.suppress(OutputError):  # it may be what has failed
            self._log(f"error: {line}")
        if self.is_machine:
            self.emit({"event": "error", "input": to_plain(source), "message": line})
        else:
            _print_line(self._alarm, f"error: {line}", style="bold red", until=len("error:"))

    def _log(self, text: str) -> None:
        if self._log_file is None:
            return
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            # A file's name may hold bytes that are no text.
            with self._log_file.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{now} {' '.join(text.split())}\n")
        except OSError as error:
            raise OutputError(
                f"{self._log_file}: cannot be written ({error.strerror}); choose another --log-file"
            ) from None

    @contextmanager
    def follow(self, source: Path | None = None) -> Iterator[OnProgress]:
        """Show progress while the block runs; yields the callback for the library."""
        if self.is_machine:
            yield Ticker(self.emit, source)
        elif self._mode == "bar":
            with show_bars(self._err, source.name if source else None) as update:
                yield update
        else:
            yield None

    def finish(self, source: Path, output: Path | None) -> None:
        """Tell a program that one input is done."""
        if self.is_machine:
            self.emit({"event": "done", "input": str(source), "output": to_plain(output)})

    def emit(self, event: dict[str, object]) -> None:
        """One line of JSON for a program."""
        sys.stderr.write(_dump(event, sys.stderr) + "\n")
        sys.stderr.flush()

    # Data (stdout).

    @property
    def is_out_terminal(self) -> bool:
        """Whether a person reads stdout."""
        return self._out.is_terminal

    def write_json(self, target: str, payload: object) -> None:
        """Write one JSON object to stdout (``-``) or to a file."""
        is_file = target != "-"
        text = _dump(to_plain(payload), None if is_file else sys.stdout, indent=2) + "\n"
        if is_file:
            write_text(Path(target), text)
        else:
            _print_data(text)

    def write_sheet(self, sheet: Sheet) -> None:
        """A table as data: for eyes on a terminal, tab-separated in a pipe."""
        if self._out.is_terminal:
            sheet.print_to(self._out)
        else:
            _print_data(sheet.as_text())


def _print_data(text: str) -> None:
    """Write to standard output; OutputError if, say, the disk behind it is full."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # who read it has seen enough
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        # What is left in the buffer would fail once more, without a word on why, at the very end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"standard output cannot be written ({reason}); make room") from None


def _print_line(console: Console, text: str, *, style: str = "", until: int | None = None) -> None:
    """A line, broken where a terminal's lines end; those of a file have no end."""
    shown = Text(_wrap(console, text) if console.is_terminal else text)
    shown.stylize(style, 0, until)
    console.print(shown, soft_wrap=True)


def _wrap(console: Console, text: str, indent: str = "") -> str:
    """Break a line between words: only a word that is longer than a line runs on."""
    return textwrap.fill(
        text,
        console.width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _dump(payload: object, stream: TextIO | None, *, indent: int | None = None) -> str:
    """Code JSON; as it has it is escaped what a code page lacks, and what is no text in a name."""
    is_plain = stream is not None and not (stream.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(payload, indent=indent, ensure_ascii=is_plain, allow_nan=False)
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)
