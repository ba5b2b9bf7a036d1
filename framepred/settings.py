"""Defaults of the command line from a file: ``framepred.toml``, or a table of ``pyproject.toml``.

::

    [fill-gaps]                     [tool.framepred.fill-gaps]
    max-gap = 8                     max-gap = 8
    lossless = true                 lossless = true

A table is named as its command, a key as the option; what is given on the command line goes first.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .errors import FramepredError

__all__ = ["Defaults", "SettingsError", "check_settings", "read_settings"]

Defaults = dict[str, dict[str, Any]]  # command -> parameter -> value

_OWN, _SHARED = "framepred.toml", "pyproject.toml"


class SettingsError(FramepredError):
    """A file of settings cannot be read, or says something that nobody understands."""


def read_settings(folder: Path, file: Path | None = None) -> tuple[Path, dict[str, Any]] | None:
    """Read ``file``, or what is in ``folder``: the file of our own goes before the shared one.

    Returns the file and its tables; None where there is neither.

    Raises:
        SettingsError: the file cannot be read, or is no TOML.
    """
    candidates = [file] if file is not None else [folder / _OWN, folder / _SHARED]
    for path in candidates:
        if file is None and not path.is_file():
            continue
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except RecursionError:
            raise SettingsError(f"{path}: is nested too deeply to be read; correct it") from None
        except (OSError, ValueError) as error:  # no text, no TOML, or a number without end
            why = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(f"{path}: cannot be read ({why}); correct it") from None
        if path.name == _SHARED:
            tool = tables.get("tool")
            if not isinstance(tool, dict) or "framepred" not in tool:
                continue
            tables = tool["framepred"]
        if not isinstance(tables, dict):
            raise SettingsError(f"{path}: [tool.framepred] is no table; write one a command")
        return path, tables
    return None


def check_settings(
    path: Path, tables: Mapping[str, Any], commands: Mapping[str, Mapping[str, str]]
) -> Defaults:
    """Turn tables into defaults of parameters.

    commands: of each command, its options, without dashes in front, and the parameters they set.

    Raises:
        SettingsError: a table or a key is unknown, with the nearest that is known, or a value is
            one that no option takes.
    """
    defaults: Defaults = {}
    for command, table in tables.items():
        if command not in commands:
            raise SettingsError(f"{path}: no command {command!r}{_suggest(command, commands)}")
        if not isinstance(table, dict):
            raise SettingsError(f"{path}: {command!r} must be a table: write [{command}]")
        known = commands[command]
        for key, value in table.items():
            name = key.replace("_", "-")
            if name not in known:
                raise SettingsError(f"{path}: [{command}] has no {key!r}{_suggest(name, known)}")
            items = value if isinstance(value, list) else [value]
            if not all(isinstance(item, str | int | float) for item in items):
                raise SettingsError(f"{path}: [{command}] {key}: a number, a text or true or false")
            defaults.setdefault(command, {})[known[name]] = value
    return defaults


def _suggest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.0)
    return f"; did you mean {near[0]!r}?" if near else ""
