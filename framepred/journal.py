"""What a repair has made so far, kept beside the output until that is whole, to be gone on with.

::

    .clip.filled.mkv.journal/
        job.json            what it belongs to: the input, the network
        3f9c...e1.window    what came of one window: pictures, or the scores of a self-check

Not the encoded video is kept, but what the network has said: that is what costs time. A run that
goes on decodes and encodes from the beginning, so that the encoder sees the very pictures that it
would have seen without the interruption and writes the same packets; pieces of video, encoded
apart and joined, would differ from those. A window is found by the digest of all that it was made
from (the network, the pictures shown and those hidden), so that one of another video, plan or
network is never taken for it.

Whatever is read here is checked as if a stranger had put it there: sizes, types, a checksum. What
is not sound is made again, and counted.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .errors import MediaError, OutputError
from .outputs import find_place, shorten_name
from .relay import Behind
from .scoring import Score
from .sequences import find_images, is_sequence

__all__ = [
    "Journal",
    "Outcome",
    "digest_picture",
    "identify_input",
    "name_window",
    "open_journal",
]

Images = NDArray[Any]  # (T, H, W, 3) RGB, uint8 or uint16

_FORMAT = "framepred-journal-4"
# What some file systems over a network say to a lock.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_MAGIC = b"framepred-window-1\n"
_DIGEST = 16  # bytes
_LONGEST_FACTS = 2**16  # bytes: far more than the scores of the longest window take
_ENDS = 2**16  # bytes of a file's head and tail that tell it from others
_SHARE = 4  # of the disk's free space at the start the journal takes a part in so many at most
_NAMES = re.compile(r"job\.json|lock|[0-9a-f]{32}\.window|\.[0-9a-f]{8}\.new")


@dataclass(frozen=True)
class Outcome:
    """What came of one window of slots."""

    images: Images | None  # (n, H, W, 3) that were made; None: of a self-check, thrown away
    calms: tuple[float, ...]  # dB, see ``confidence``; one for each frame
    scores: tuple[Score, ...] = ()  # of a self-check, one for each frame


def digest_picture(picture: NDArray[Any]) -> bytes:
    """The same for equal pictures only; of one size and type."""
    digest = hashlib.blake2b(repr((picture.shape, picture.dtype.str)).encode(), digest_size=_DIGEST)
    digest.update(np.ascontiguousarray(picture).data)
    return digest.digest()


def name_window(network: str, pictures: Iterable[bytes], *facts: object) -> str:
    """The name of a window: the same only where the same network makes the same of it.

    network: its fingerprint; pictures: the digests of all that are shown or compared with; facts:
    which is which.
    """
    digest = hashlib.blake2b(repr((network, facts)).encode(), digest_size=_DIGEST)
    for picture in pictures:
        digest.update(picture)
    return digest.hexdigest()


def identify_input(path: Path) -> str:
    """What tells a video file from another one: its size, its first and its last bytes.

    Of numbered pictures: their names, sizes and times of change.

    Raises:
        MediaError: it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST)
    if is_sequence(path):
        for file in find_images(path).files:
            with contextlib.suppress(OSError):
                found = file.stat()
                digest.update(repr((file.name, found.st_size, found.st_mtime_ns)).encode())
        return digest.hexdigest()
    try:
        with path.open("rb") as video:
            size = video.seek(0, os.SEEK_END)
            digest.update(str(size).encode())
            for place in (0, max(0, size - _ENDS)):
                video.seek(place)
                digest.update(video.read(_ENDS))
    except OSError as error:
        raise MediaError(f"{path}: cannot be read any more ({error.strerror})") from error
    return digest.hexdigest()


@contextlib.contextmanager
def open_journal(
    output: Path,
    *,
    source: Path,
    network: str,
    resume: bool,
    on_note: Callable[[str], None] | None = None,
) -> Iterator[Journal]:
    """Keep a journal beside ``output`` for one block; when that ends well it goes.

    With ``resume`` what an earlier run left is used, and after an error or an interruption what
    there is stays. Without, what an earlier run left is mentioned, and not used; and an error or an
    interruption leaves nothing, unless the process is killed outright.

    on_note: is given lines for people.

    Raises:
        MediaError: the input cannot be read any more.
        OutputError: another run is at work on this output, or a link or a file is in the way.
    """
    journal = Journal(output, on_note=on_note)
    try:
        journal.begin({"input": identify_input(source), "network": network}, resume=resume)
        yield journal
    except BaseException:
        journal.close(keep=resume or journal.is_inherited)
        if resume and journal.n_kept:
            journal.note(f"what was made up to here is kept: --resume goes on from it ({output})")
        raise
    journal.close(keep=False)


class Journal:
    """Windows by name, in files of a hidden folder beside an output; see ``open_journal``."""

    def __init__(self, output: Path, *, on_note: Callable[[str], None] | None = None) -> None:
        self.output = output
        self._place = find_place(output)
        self.folder = self._place.with_name(f".{shorten_name(self._place.name)}.journal")
        self.n_used = 0  # windows that did not have to be made
        self.n_damaged = 0
        self.n_kept = 0  # windows that are there
        self.is_inherited = False  # an earlier run has begun it
        self._on_note = on_note
        self._job: dict[str, str] = {}
        self._is_asked_for = False
        self._is_read = False
        self._is_full = False
        self._room: int | None = None  # bytes that may still be written
        self._lock: IO[bytes] | None = None
        self._is_alone = False  # no other run is at work on this output, for certain
        self._writing: Behind[Journal] | None = None
        self._reason = ""  # why nothing more is kept, until that is said

    def note(self, line: str) -> None:
        """Tell people something."""
        if self._on_note is not None:
            self._on_note(line)

    def begin(self, job: dict[str, str], *, resume: bool) -> None:
        """Lock the folder, and look at what an earlier run has left in it."""
        self._job = {"format": _FORMAT, **job}
        self._is_asked_for = resume
        if self.folder.is_symlink() or (self.folder.exists() and not self.folder.is_dir()):
            raise OutputError(f"{self.folder}: is in the way of this run's journal; remove it")
        self.is_inherited = self.folder.exists()
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError:
            self._is_full = True  # the output cannot be written either, which is said there
            return
        self._take_lock()
        obstacle = self._find_obstacle()
        self.n_kept = sum(name.endswith(".window") for name in os.listdir(self.folder))
        if not self.n_kept:
            self._clear()
            if resume:
                self.note(f"{self.output}: no interrupted run has left anything; begun anew")
        elif obstacle is not None:
            self.note(f"{self.output}: what was left by {obstacle} cannot be used and is dropped")
            self._clear()
            self.n_kept = 0
        elif resume:
            self._is_read = True
            self.note(f"{self.output}: goes on, with {self.n_kept} windows made before")
        else:
            self.note(
                f"{self.output}: an interrupted run has made {self.n_kept} windows, which are not "
                "used: stop this one and add --resume to go on from them"
            )
        if self.is_inherited and self._is_alone:
            self._sweep()

    def find(self, name: str, size: tuple[int, ...], dtype: np.dtype[Any]) -> Outcome | None:
        """What came of a window in an earlier run; None if it is to be made.

        size: (n, H, W, 3) of its pictures; of a self-check (n, 0, 0, 3), which keeps none.
        """
        path = self.folder / f"{name}.window"
        if not self._is_read or not path.exists():
            return None
        try:
            outcome = _unpack(_read(path, _LONGEST_FACTS + math.prod(size) * dtype.itemsize), name)
            if size[1]:
                found = outcome.images
                is_wanted = found is not None and (found.shape, found.dtype) == (size, dtype)
            else:
                is_wanted = outcome.images is None and len(outcome.scores) == size[0]
            is_wanted = is_wanted and len(outcome.calms) == size[0]
        except (OSError, ValueError, RecursionError):
            is_wanted = False
        if not is_wanted:
            self.n_damaged += 1
            self.note(f"{path.name}: damaged; this window is made again")
            return None
        self.n_used += 1
        return outcome

    def add(self, name: str, outcome: Outcome) -> None:
        """Keep what came of a window, if the disk has room; that it has not is no error.

        It is written in another thread: the pictures must stay as they are.
        """
        if self._writing is None:
            self._writing = Behind(lambda: contextlib.nullcontext(self), depth=1)
            self._writing.start()
        self._writing.call(lambda journal: journal._keep(name, outcome))
        self._tell()

    def _keep(self, name: str, outcome: Outcome) -> None:
        if self._is_full:
            return
        try:
            if self._room is None:
                self._write("job.json", [json.dumps(self._job).encode()])
                self._room = shutil.disk_usage(self.folder).free // _SHARE
            parts = _pack(outcome, name)
            n_bytes = sum(len(part) for part in parts)
            if n_bytes > self._room:
                self._stop("it would take too much of the free disk space")
                return
            self._write(f"{name}.window", parts)
        except OSError as error:
            self._stop(error.strerror or str(error))
            return
        self.n_kept += 1
        self._room -= n_bytes

    def close(self, *, keep: bool) -> None:
        """Let go of the folder; remove it unless there is something that is to be kept."""
        if self._writing is not None:
            if keep:
                self._writing.finish()
            else:
                self._writing.abandon()
            self._writing = None
        self._tell()
        if self._lock is not None and not (keep and self.n_kept):
            self._clear()
            with contextlib.suppress(OSError):
                (self.folder / "lock").unlink(missing_ok=True)
                self.folder.rmdir()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _stop(self, reason: str) -> None:
        self._is_full = True
        self._reason = reason

    def _tell(self) -> None:
        """Say why nothing more is kept: here, not where it was written, people are spoken to."""
        reason, self._reason = self._reason, ""
        if reason and self._is_asked_for:
            self.note(f"{self.output}: from here on --resume would have to begin again ({reason})")

    def _take_lock(self) -> None:
        """Make sure that no other run is at work on this output."""
        try:
            lock = _open_unfollowed(self.folder / "lock", os.O_CREAT | os.O_RDWR, "r+b")
            try:
                self._is_alone = _lock_file(lock)
            except BaseException:
                lock.close()
                raise
        except BlockingIOError:
            raise OutputError(
                f"{self.output}: another run is writing it; wait for that one, or choose another "
                "name"
            ) from None
        except OSError as error:
            if not self.is_inherited:
                with contextlib.suppress(OSError):
                    (self.folder / "lock").unlink(missing_ok=True)
                    self.folder.rmdir()
            raise OutputError(
                f"{self.folder}: cannot be used ({error.strerror}); remove it"
            ) from error
        self._lock = lock

    def _find_obstacle(self) -> str | None:
        """Whose journal this is, unless it is this job's."""
        try:
            job = json.loads(_read(self.folder / "job.json", _LONGEST_FACTS))
        except (OSError, ValueError, RecursionError):
            return "something else"
        if not isinstance(job, dict) or job.get("format") != _FORMAT:
            return "another version of framepred"
        if job.get("input") != self._job["input"]:
            return "a run on another input"
        if job.get("network") != self._job["network"]:
            return "a run with another network or device"
        return None

    def _write(self, name: str, parts: Sequence[bytes | memoryview]) -> None:
        temporary = self.folder / f".{secrets.token_hex(4)}.new"
        try:
            with temporary.open("wb") as file:
                file.writelines(parts)
            temporary.replace(self.folder / name)
        finally:
            temporary.unlink(missing_ok=True)

    def _clear(self) -> None:
        """Remove what is ours, but for the lock."""
        for name in os.listdir(self.folder):
            if _NAMES.fullmatch(name) and name != "lock":
                with contextlib.suppress(OSError):
                    (self.folder / name).unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove the half-written outputs of the run that was killed."""
        name = re.escape(shorten_name(self._place.name))
        pattern = re.compile(rf"\.{name}\.[0-9a-f]{{8}}\.part")
        for name in os.listdir(self.folder.parent):
            if pattern.fullmatch(name):
                with contextlib.suppress(OSError):
                    (self.folder.parent / name).unlink(missing_ok=True)


def _pack(outcome: Outcome, name: str) -> list[bytes | memoryview]:
    """A window as bytes: facts in a line of JSON, pictures, and a checksum over all of it."""
    images = outcome.images
    facts = {
        "name": name,
        "shape": None if images is None else images.shape,
        "type": None if images is None else images.dtype.str,
        "calms": outcome.calms,
        "scores": [(score.psnr, score.ssim) for score in outcome.scores],
    }
    parts: list[bytes | memoryview] = [_MAGIC + json.dumps(facts, allow_nan=False).encode() + b"\n"]
    if images is not None:
        parts.append(np.ascontiguousarray(images).data.cast("B"))
    digest = hashlib.blake2b(digest_size=_DIGEST)
    for part in parts:
        digest.update(part)
    return [*parts, digest.digest()]


def _unpack(content: bytes, name: str) -> Outcome:
    """Raises ValueError for whatever is not sound."""
    body, checksum = content[:-_DIGEST], content[-_DIGEST:]
    if hashlib.blake2b(body, digest_size=_DIGEST).digest() != checksum:
        raise ValueError("wrong checksum")
    end = body.index(b"\n", len(_MAGIC), len(_MAGIC) + _LONGEST_FACTS)
    facts = json.loads(body[len(_MAGIC) : end])
    if not body.startswith(_MAGIC) or not isinstance(facts, dict) or facts.get("name") != name:
        raise ValueError("not this window")
    calms = tuple(_read_number(value) for value in _read_list(facts.get("calms")))
    scores = []
    for pair in _read_list(facts.get("scores")):
        psnr, ssim = (None if x is None else _read_number(x) for x in _read_list(pair))
        scores.append(Score(psnr, ssim))
    images = None
    if facts.get("shape") is not None:
        shape = tuple(_read_list(facts["shape"]))
        is_sound = all(type(n) is int and n > 0 for n in shape) and len(shape) == 4
        if not is_sound or facts.get("type") not in ("|u1", "<u2"):
            raise ValueError("not pictures")
        # A copy, which may be written to like any array that a network has made.
        images = np.frombuffer(body, facts["type"], offset=end + 1).reshape(shape).copy()
    elif len(body) != end + 1:
        raise ValueError("more than there should be")
    return Outcome(images, calms, tuple(scores))


def _read_list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("not a list")
    return value


def _read_number(value: object) -> float:
    try:
        if not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value):
            return float(value)
    except OverflowError:  # a whole number beyond all floats
        pass
    raise ValueError("not a number")


def _read(path: Path, n_most: int) -> bytes:
    """A file's content, ValueError if it is longer than it can be; never through a link."""
    with _open_unfollowed(path, os.O_RDONLY, "rb") as file:
        content = file.read(n_most + 1)
    if len(content) > n_most:
        raise ValueError("longer than it can be")
    return content


def _open_unfollowed(path: Path, flags: int, mode: str) -> IO[bytes]:
    no_follow: int = getattr(os, "O_NOFOLLOW", 0)  # not on Windows
    no_wait: int = getattr(os, "O_NONBLOCK", 0)  # a named pipe would keep us waiting
    return os.fdopen(os.open(path, flags | no_follow | no_wait, 0o666), mode)


def _lock_file(file: IO[bytes]) -> bool:
    """Whether it is locked now, which not every file system can; on Windows none.

    Raises BlockingIOError if another process holds it.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ModuleNotFoundError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True
