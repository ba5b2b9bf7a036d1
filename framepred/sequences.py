"""Image sequences: numbered pictures that together are a video.

Named by their folder, or by a pattern such as ``shot/frame_%05d.png``. The numbers are the clock:
a number without a picture is a missing frame.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from .errors import MediaError

__all__ = ["RATE", "ImageSequence", "find_images", "is_sequence", "name_video"]

RATE = Fraction(25)  # pictures have no times; as FFmpeg assumes
_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("bmp", "dpx", "exr", "jp2", "jpeg", "jpg", "pgm", "png", "ppm", "sgi", "tga", "tif"),
        *("tiff", "webp"),
    )
)
_NUMBER = re.compile(r"%(?:0(\d))?d")


@dataclass(frozen=True)
class ImageSequence:
    """Numbered pictures of one kind, in the order of their numbers."""

    numbers: tuple[int, ...]
    files: tuple[Path, ...]


def is_sequence(path: Path) -> bool:
    """Tell whether a path names a sequence: a folder, or a pattern that is no file's own name."""
    is_name = _NUMBER.search(path.name) is None or os.path.exists(path)
    return os.path.isdir(path) or not is_name


def find_images(path: Path) -> ImageSequence:
    """List the pictures of a sequence; in a folder with several, those of the longest one.

    Raises:
        MediaError: there are none.
    """
    try:
        found = _list_folder(path) if path.is_dir() else _list_pattern(path)
    except OSError as error:
        raise MediaError(f"{path}: cannot be listed ({error.strerror}); check the name") from error
    if not found:
        where = "this folder" if path.is_dir() else "its folder"
        raise MediaError(f"{path}: no numbered pictures in {where}; give a video file")
    numbers = sorted(found)
    return ImageSequence(tuple(numbers), tuple(found[number] for number in numbers))


def name_video(path: Path) -> Path:
    """Name the one video that a sequence would be, where all of its samples fit: in Matroska."""
    if path.is_dir():
        folder = path.absolute()
        return folder.with_name(f"{folder.name}.mkv")
    name = _NUMBER.sub("", path.stem).strip(" ._-")
    return path.with_name(f"{name or path.absolute().parent.name}.mkv")


def _list_folder(folder: Path) -> dict[int, Path]:
    groups: dict[tuple[str, str], dict[int, Path]] = defaultdict(dict)
    for file in sorted(folder.iterdir()):
        match = re.fullmatch(r"(.*?)(\d{1,9})", file.stem, re.ASCII)
        if match and file.suffix.lower() in _SUFFIXES and file.is_file():
            groups[match[1], file.suffix.lower()].setdefault(int(match[2]), file)
    return max(groups.values(), key=len, default={})


def _list_pattern(pattern: Path) -> dict[int, Path]:
    match = _NUMBER.search(pattern.name)
    assert match is not None
    digits = rf"\d{{{match[1]},9}}" if match[1] else r"\d{1,9}"
    head, tail = re.escape(pattern.name[: match.start()]), re.escape(pattern.name[match.end() :])
    name = re.compile(f"{head}({digits}){tail}", re.ASCII)
    return {
        int(found[1]): file
        for file in sorted(pattern.parent.iterdir(), reverse=True)
        if (found := name.fullmatch(file.name)) and file.is_file()
    }
