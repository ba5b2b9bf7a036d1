"""Names of the files that are written, and the checks that can be made before any work is done."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from .errors import OutputError
from .sequences import is_sequence, name_video

__all__ = ["check_output", "copy_file", "is_pipe", "name_output", "write_bytes", "write_text"]


def is_pipe(path: str | Path) -> bool:
    """Tell whether a name means standard input or output; a file named so is ``./-``."""
    return str(path) == "-"


def name_output(source: Path, word: str, *, output: Path | None = None) -> Path:
    """Where the result for ``source`` goes: ``clip.mp4`` -> ``clip.WORD.mp4``.

    That for a sequence of images is one video: ``shot/`` or ``shot_%04d.png`` -> ``shot.WORD.mkv``.
    ``output`` is taken as it is, unless it is a folder: then the default name is used in there.
    """
    if is_sequence(source):
        source = name_video(source)
    default = source.with_name(f"{source.stem}.{word}{source.suffix}")
    if output is None:
        return default
    return output / default.name if output.is_dir() else output


def check_output(source: Path, output: Path, *, overwrite: bool = False) -> None:
    """Refuse an output that could not be written or would destroy something.

    Raises:
        OutputError: it is the input, exists already, is a folder, or its folder is not writable.
    """
    if is_pipe(output):
        return
    if output.is_dir():
        raise OutputError(f"{output}: is a folder; give the name of a file")
    if output.exists():
        if source.exists() and output.samefile(source):
            raise OutputError(f"{output}: the output is the input itself; choose another name")
        if not overwrite:
            raise OutputError(f"{output}: exists already; choose another name, or pass -y")
    _check_folder(output)


def _check_folder(output: Path) -> None:
    folder = output.absolute().parent
    if not folder.is_dir():
        raise OutputError(f"{output}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{output}: the folder {folder} is not writable; choose another place")


def copy_file(source: Path, output: Path) -> None:
    """Copy a file byte for byte; it appears under its name only when it is complete.

    Raises:
        OutputError: the disk refuses.
    """
    _replace_with(output, lambda temporary: shutil.copyfile(source, temporary))


def write_text(output: Path, text: str) -> None:
    """Write a UTF-8 text file; it appears under its name only when it is complete.

    Raises:
        OutputError: the folder is missing or not writable, or the disk refuses.
    """
    write_bytes(output, text.encode("utf-8"))


def write_bytes(output: Path, content: bytes) -> None:
    """Write a file; it appears under its name only when it is complete.

    Raises:
        OutputError: the folder is missing or not writable, or the disk refuses.
    """
    _check_folder(output)
    _replace_with(output, lambda temporary: temporary.write_bytes(content))


def _replace_with(output: Path, write: Callable[[Path], object]) -> None:
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{output.name}.", suffix=".part", dir=output.absolute().parent
        )
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(0o666 & ~_read_umask())  # mkstemp makes private files
        temporary.replace(output)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{output}: cannot be written ({reason}); choose another place") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _read_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
