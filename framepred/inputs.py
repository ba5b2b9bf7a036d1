"""Opening what is to be read, and seeing that all of it can be."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream

from .errors import MediaError, describe_error
from .sequences import RATE, find_images, is_sequence

__all__ = [
    "BOUND",
    "MOST_PIXELS",
    "N_PROBES",
    "check_rest",
    "demux",
    "open_bytes",
    "open_image",
    "open_input",
]

N_PROBES = 1000  # packets or pictures that are tried for a first picture before giving up
# Pixels of the largest picture that is decoded: 16K (15360x8640) and a little more. A header of a
# few bytes can promise more than any memory holds.
MOST_PIXELS = 2**27
BOUND = {"max_pixels": str(MOST_PIXELS)}  # for the decoders, and where FFmpeg looks at formats
_MOST_BEHIND = 1 << 26  # bytes behind the last packet that are read to see that they can be


def open_input(path: Path) -> InputContainer:
    if is_sequence(path):
        return _open_first(path)
    try:
        facts = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise MediaError(f"{path}: no such file; check the name") from None
    except OSError as error:
        reason = describe_error(error)
        raise MediaError(f"{path}: cannot be read ({reason}); check the name") from None
    if not stat.S_ISREG(facts.st_mode):
        raise MediaError(f"{path}: not a file; give a video file")
    if facts.st_size == 0:
        raise MediaError(f"{path}: the file is empty; give a video file")
    try:
        # An absolute path is never taken for a URL or an option, whatever the name looks like.
        return av.open(str(path.absolute()), "r", metadata_errors="replace", options=BOUND)
    except (FFmpegError, OSError) as error:
        with open_bytes(path) as file:
            check_rest(file, 0)
        raise MediaError(f"{path}: not a readable video ({describe_error(error)})") from error


def open_image(file: Path) -> InputContainer:
    # Without "none", FFmpeg would look for numbers in the name.
    options = {"pattern_type": "none", "framerate": str(RATE), **BOUND}
    return av.open(str(file.absolute()), "r", format="image2", options=options)


def _make_strict(codec: str) -> dict[str, str]:
    """Options with which a decoder refuses a damaged picture instead of guessing."""
    # That of TIFF refuses tags that it does not know, which most of these files have.
    return {} if codec == "tiff" else {"err_detect": "explode"}


def _open_first(path: Path) -> InputContainer:
    """Open the first picture of a sequence that decodes: it stands for all."""
    for file in find_images(path).files[:N_PROBES]:
        with contextlib.suppress(FFmpegError, OSError, IndexError, StopIteration):
            with open_image(file) as container:
                context: Any = container.streams.video[0].codec_context
                if context is None:
                    raise MediaError(
                        f"{file}: this FFmpeg has no decoder for such pictures; convert them first"
                    )
                context.options = {**BOUND, **_make_strict(context.name)}
                next(container.decode(video=0))
            return open_image(file)
    raise MediaError(f"{path}: none of its pictures can be read; give a video file")


def demux(container: InputContainer, streams: Stream | Sequence[Stream]) -> Iterator[Packet[Any]]:
    """Packets of some streams in the order of storage.

    Without the empty ones that PyAV puts behind the last: they would put a decoder into its
    flushing state.

    Raises:
        FFmpegError: the demuxer cannot go on.
    """
    packets = container.demux(streams)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except IndexError:
            # Of PyAV 18, at the end: damage made it seem that there were more streams.
            return
        if packet.size:
            yield packet


def open_bytes(path: Path) -> FileIO:
    """Open a file for ``check_rest``.

    Raises:
        MediaError: it cannot be opened.
    """
    try:
        return FileIO(path)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror}); check the file") from error


def check_rest(file: FileIO, start: int) -> None:
    """See that a file can be read behind ``start``, in bytes, where a demuxer has ended.

    FFmpeg's demuxers take a place that a failing disk or a drive pulled out does not give for the
    file's end, without a word; what lies behind it would be lost.

    Raises:
        MediaError: it cannot.
    """
    at = start
    try:
        file.seek(start)
        while at - start < _MOST_BEHIND and (content := file.read(1 << 20)):
            at += len(content)
    except OSError as error:
        raise MediaError(
            f"{file.name}: cannot be read behind byte {at:,} ({error.strerror}); "
            "copy to another disk what can be read of it, and give the copy"
        ) from error
