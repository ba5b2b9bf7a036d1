"""Names of the files that are written, and the checks that can be made before any work is done."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError, describe_error
from .sequences import is_sequence, name_video

__all__ = [
    "begins_with",
    "check_new_folder",
    "check_output",
    "copy_file",
    "create_temporary",
    "find_place",
    "is_pipe",
    "is_same_place",
    "name_output",
    "shorten_name",
    "translate_errors",
    "write_bytes",
    "write_text",
]

_LONGEST_NAME = 80  # bytes of a name that others are made of; file systems allow 255


def is_pipe(path: str | Path) -> bool:
    """Tell whether a name means standard input or output; a file named so needs its whole path."""
    return str(path) == "-"


def is_same_place(one: Path, two: Path) -> bool:
    """Whether two names are of one file, there or not, through links and ``..`` and all."""
    if os.path.realpath(one) == os.path.realpath(two):
        return True
    try:
        return one.samefile(two)
    except OSError:
        return False


def find_place(output: Path) -> Path:
    """Where a file of this name comes to lie: a link stays, and what it points to is written."""
    return Path(os.path.realpath(output)) if os.path.islink(output) else output


def shorten_name(name: str) -> str:
    """A name for the names of files beside it: itself, or as much of it and a digest of it all."""
    if len(os.fsencode(name)) <= _LONGEST_NAME:
        return name
    short = name
    while len(os.fsencode(short)) > _LONGEST_NAME - 9:
        short = short[:-1]
    return f"{short}-{hashlib.blake2b(os.fsencode(name), digest_size=4).hexdigest()}"


def begins_with(path: Path, *, pattern: str) -> bool:
    """Whether a text file that is there begins so (a regular expression), or is empty.

    What is not there, or no regular file, has nothing to lose.
    """
    if not os.path.isfile(path):
        return True
    with path.open("rb") as file:
        start = file.read(256)
    return not start or re.match(pattern.encode(), start) is not None


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
    return output / default.name if os.path.isdir(output) else output


def check_output(
    source: Path, output: Path, *, overwrite: bool = False, others: Iterable[Path | None] = ()
) -> None:
    """Refuse an output that could not be written or would destroy something.

    others: what else is read.

    Raises:
        OutputError: it is the input or another file that is read, exists already, is a folder, a
            device or a named pipe, or its folder is not writable.
    """
    if is_pipe(output):
        return
    try:
        mode = output.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    except OSError as error:
        reason = describe_error(error)
        raise OutputError(f"{output}: cannot be written ({reason}); choose another name") from None
    if mode is not None:
        if stat.S_ISDIR(mode):
            raise OutputError(f"{output}: is a folder; give the name of a file")
        if is_same_place(source, output):
            raise OutputError(f"{output}: the output is the input itself; choose another name")
        if any(other is not None and is_same_place(other, output) for other in others):
            raise OutputError(f"{output}: is to be read too; leave it out, or choose another name")
        if not stat.S_ISREG(mode):
            raise OutputError(
                f"{output}: is no file but a device or a pipe, which a video cannot replace; "
                "name a file, or - for standard output"
            )
        if not overwrite:
            raise OutputError(f"{output}: exists already; choose another name, or pass -y")
    _check_folder(output)


def _check_folder(output: Path) -> None:
    folder = output.absolute().parent
    if not os.path.isdir(folder):
        raise OutputError(f"{output}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{output}: the folder {folder} is not writable; choose another place")


def check_new_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made, or in which nothing can be written.

    Raises:
        OutputError: what is there of its path is no folder, or not writable.
    """
    place = folder.absolute()
    while not os.path.exists(place) and place != place.parent:
        place = place.parent
    if not os.path.isdir(place):
        raise OutputError(f"{folder}: {place} is no folder; choose another place")
    if not os.access(place, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: the folder {place} is not writable; choose another place")


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

    What is there and no file, such as a device or a named pipe, is written to as it is.

    Raises:
        OutputError: the folder is missing or not writable, or the disk refuses.
    """
    if os.path.exists(output) and not os.path.isfile(output):
        with translate_errors(output):
            output.write_bytes(content)
        return
    _check_folder(output)
    _replace_with(output, lambda temporary: temporary.write_bytes(content))


def _replace_with(output: Path, write: Callable[[Path], object]) -> None:
    temporary: Path | None = None
    try:
        with translate_errors(output):
            temporary = create_temporary(output)
            write(temporary)
            temporary.replace(find_place(output))
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def create_temporary(output: Path, *, is_folder: bool = False) -> Path:
    """An empty file beside ``output``, or a folder, to be given its name when all is in it.

    Its path is absolute: FFmpeg takes none for a URL then, whatever colons are in the name.

    Raises:
        OSError: the folder is missing or not writable.
    """
    place = find_place(output).absolute()
    temporary = place.with_name(f".{shorten_name(place.name)}.{secrets.token_hex(4)}.part")
    if is_folder:
        temporary.mkdir()
    else:
        temporary.touch(exist_ok=False)
    return temporary


@contextmanager
def translate_errors(output: Path, *others: type[Exception]) -> Iterator[None]:
    """A block in which errors of the disk, and ``others``, become an OutputError."""
    kinds: tuple[type[Exception], ...] = (OSError, *others)
    try:
        yield
    except kinds as error:
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT):
            message = f"{output}: the disk is full; free some space or write elsewhere"
        elif number == errno.EFBIG:
            message = f"{output}: the file grows larger than this system allows; write elsewhere"
        else:
            reason = describe_error(error)
            message = f"{output}: cannot be written ({reason}); choose another place"
        raise OutputError(message) from error
