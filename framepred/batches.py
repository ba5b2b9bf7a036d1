"""Several inputs of one command: their outputs, their errors, their reports."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from .errors import FramepredError
from .outputs import begins_with, is_same_place, name_output
from .reports import OnProgress, Report

if TYPE_CHECKING:
    from .console import Terminal
    from .views import Views

__all__ = ["Batch", "check_json", "name_outputs", "name_views", "to_path"]

R = TypeVar("R", bound=Report)


@dataclass
class Batch:
    """Several inputs: all are checked first, and one that fails does not stop the others."""

    terminal: Terminal
    inputs: Sequence[Path]
    json: str | None = None  # where the reports go
    errors: dict[Path, str] = field(default_factory=dict)
    reports: dict[Path, Report] = field(default_factory=dict)

    @property
    def remaining(self) -> list[Path]:
        """Inputs that have not failed, each once."""
        return [path for path in dict.fromkeys(self.inputs) if path not in self.errors]

    def check(self, check: Callable[[Path], object]) -> None:
        for path in self.remaining:
            with self._guard(path):
                check(path)

    def work(
        self, work: Callable[[Path, OnProgress], R], *, show: Callable[[R], None] | None
    ) -> None:
        for path in self.remaining:
            with self._guard(path):
                with self.terminal.follow(path) as on_progress:
                    report = work(path, on_progress)
                self.reports[path] = report
                if self.json not in (None, "-") and len(self.inputs) == 1:
                    self._write()  # before anything is shown to somebody who may have gone away
                if show is not None:
                    show(report)
                self.terminal.finish(path, getattr(report, "output", None))

    @contextmanager
    def _guard(self, path: Path) -> Iterator[None]:
        try:
            yield
        except FramepredError as error:
            self.errors[path] = str(error)
            self.terminal.fail(str(error), source=path)

    def finish(self) -> None:
        """Write the JSON report, if it is not there yet; leave with the exit code of failures."""
        if self.json == "-" or len(self.inputs) > 1:
            self._write()
        if self.errors:
            raise typer.Exit(3 if self.reports else 1)

    def _write(self) -> None:
        if self.json is not None and len(self.inputs) > 1:
            results = [report.as_dict() for report in self.reports.values()]
            failed = [{"input": str(path), "error": error} for path, error in self.errors.items()]
            self.terminal.write_json(self.json, {"results": results, "failed": failed})
        elif self.json is not None:
            for report in self.reports.values():
                self.terminal.write_json(self.json, report.as_dict())


def name_outputs(inputs: Sequence[Path], output: Path | None, word: str) -> dict[Path, Path]:
    """The output of each input; two of them must not be the same file."""
    if output is not None and len(set(inputs)) > 1 and not os.path.isdir(output):
        raise typer.BadParameter(
            "with several inputs this must be a folder that exists", param_hint="--output"
        )
    outputs = {path: name_output(path, word, output=output) for path in inputs}
    taken: dict[Path, Path] = {}
    for path, target in outputs.items():
        other = taken.setdefault(Path(os.path.realpath(target)), path)
        if other != path:
            raise typer.BadParameter(
                f"{other} and {path} would both be written to {target}", param_hint="--output"
            )
    return outputs


def name_views(
    inputs: Sequence[Path], *, overwrite: bool, **files: Path | None
) -> dict[Path, Views]:
    """The views of each input; with several inputs those wanted must be folders."""
    from .views import name_views as name

    for option, path in files.items():
        if path is not None and len(set(inputs)) > 1:
            hint = f"--{option.replace('_', '-')}"
            if not os.path.isdir(path):
                raise typer.BadParameter(
                    "with several inputs this must be a folder that exists", param_hint=hint
                )
            if len({source.stem for source in set(inputs)}) < len(set(inputs)):
                raise typer.BadParameter(
                    "the inputs must have different names, or their files there would have the "
                    "same",
                    param_hint=hint,
                )
    shared = len(set(inputs)) > 1
    return {path: name(path, overwrite=overwrite, is_shared=shared, **files) for path in inputs}


def to_path(json: str | None) -> Path | None:
    """The file that a report goes to, if it goes to one."""
    return None if json is None or json == "-" else Path(json)


def check_json(target: str | None, files: Iterable[Path | None]) -> None:
    """Refuse, before any work, a report that has no place or would destroy something.

    files: all others that are read or written; what else is there may only be a report itself.
    """
    if target is None or target == "-":
        return
    path = Path(target)
    if os.path.isdir(path) or any(is_same_place(path, file) for file in files if file is not None):
        raise typer.BadParameter(f"{target} is not a place for a report", param_hint="--json")
    _check_kind(path, r"\s*\{", "report", option="--json")
    if not os.path.isdir(path.absolute().parent):
        raise typer.BadParameter(
            f"there is no folder {path.parent} for {path.name}", param_hint="--json"
        )


def check_log(path: Path) -> None:
    """Refuse, before any work, a log that has no place, or a file to write to that is no log."""
    if os.path.isdir(path) or not os.path.isdir(path.absolute().parent):
        raise typer.BadParameter(f"{path} is not a place for a file", param_hint="--log-file")
    _check_kind(path, r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 ", "log", option="--log-file")


def _check_kind(path: Path, pattern: str, kind: str, *, option: str) -> None:
    """Refuse a file that is there and does not begin as such files do."""
    try:
        is_free = begins_with(path, pattern=pattern)
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint=option) from None
    if not is_free:
        raise typer.BadParameter(
            f"{path} exists already and is no {kind}: choose another name", param_hint=option
        )
