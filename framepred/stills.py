"""Only the frames that were made, as PNG pictures in a folder, with a list that editors can read.

Pictures are as they are stored, not turned, and as deep: 8 or 16 bits. The folder appears under its
name only when it is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

from .errors import OutputError
from .outputs import create_temporary, is_same_place, translate_errors
from .reports import FillReport
from .video import Frame, VideoInfo, to_rgb

__all__ = ["Stills", "check_folder", "encode_png"]

_LIST = "frames.json"
_FORMAT = "framepred made frames"


def check_folder(folder: Path, *, overwrite: bool = False) -> None:
    """Refuse a folder that holds anything, unless it is one of ours that may be replaced.

    Raises:
        OutputError: it is a file, holds other things, or its parent is not there or not writable.
    """
    parent = folder.absolute().parent
    if not parent.is_dir():
        raise OutputError(f"{folder}: there is no folder {parent}; make it first")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: the folder {parent} is not writable; choose another place")
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OutputError(f"{folder}: is no folder; choose another name")
    if is_same_place(folder, Path()) or os.path.ismount(folder):  # such a one cannot be replaced
        raise OutputError(f"{folder}: is in use as it is; name a new folder")
    if folder.exists() and any(folder.iterdir()):
        if _list_ours(folder) is None:
            raise OutputError(f"{folder}: holds other files; name a new folder")
        if not overwrite:
            raise OutputError(f"{folder}: exists already; choose another name, or pass -y")


def _list_ours(folder: Path) -> list[Path] | None:
    """The files of a folder that one of these lists names; None if it holds any other."""
    path = folder / _LIST
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        if listed["format"] != _FORMAT:
            return None
        names = {str(frame["file"]) for frame in listed["frames"]} | {_LIST}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    files = list(folder.iterdir())
    return files if all(f.name in names and f.is_file() for f in files) else None


def encode_png(image: np.ndarray) -> bytes:
    """Code an RGB picture (H, W, 3), uint8 or uint16, as PNG of the same depth."""
    pixels = "rgb24" if image.dtype == np.uint8 else "rgb48be"
    context = av.CodecContext.create("png", "w")
    assert isinstance(context, VideoCodecContext)
    context.height, context.width = image.shape[:2]
    context.pix_fmt, context.time_base = pixels, Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=pixels)
    packets = [*context.encode(frame), *context.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


class Stills:
    """Writes frames as they are made; a ``views.Watcher``."""

    def __init__(self, folder: Path, info: VideoInfo, *, overwrite: bool) -> None:
        self._folder = folder
        self._info = info
        self._overwrite = overwrite
        with translate_errors(self._folder, FFmpegError):
            self._temporary = create_temporary(folder, is_folder=True)
        self._made: dict[int, dict[str, Any]] = {}  # by slot

    def see_input(self, slot: int, frame: Frame) -> None:
        """Real frames are not written."""

    def see_made(self, slot: int, frame: Frame, true: Frame | None = None) -> None:
        """Write the frame.

        Raises:
            OutputError: the disk refuses.
        """
        image = to_rgb(frame)
        name = f"frame-{slot:06}.png"
        with translate_errors(self._folder, FFmpegError):
            (self._temporary / name).write_bytes(encode_png(image))
        self._made[slot] = {
            "file": name,
            "frame": slot,
            "time": str(frame.time),
            "seconds": float(frame.time),
            "width": image.shape[1],
            "height": image.shape[0],
            "bits": 8 * image.dtype.itemsize,
        }

    def see_true(self, slot: int, frame: Frame) -> None:
        """Nor are true ones."""

    def see_scores(self, index: int, report: object) -> None:
        """The report has them in the end."""

    def finish(self) -> None:
        """``publish`` does it."""

    def abandon(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self._temporary, ignore_errors=True)

    def publish(self, report: FillReport) -> None:
        """Write the list and give the folder its name.

        Raises:
            OutputError: the disk refuses, or something else came into the folder meanwhile.
        """
        rows = []
        for number, gap in enumerate(report.gaps, 1):
            for slot, frame in enumerate(gap.frames, gap.start):
                scores = {
                    name: getattr(frame, name)
                    for name in ("estimated_psnr", "estimated_ssim", "psnr", "ssim")
                }
                told = {"kind": gap.kind, "action": gap.action, "reason": gap.reason}
                if slot in self._made:
                    rows.append(self._made[slot] | {"gap": number} | told | scores)
        rate = report.frame_rate
        content = {
            "format": _FORMAT,
            "version": 1,
            "input": report.input.name,
            "frame_rate": None if rate is None else str(rate),
            "rotation": self._info.rotation,
            "pixel_shape": str(self._info.sample_aspect_ratio or 1),
            "frames": rows,
        }
        try:
            with translate_errors(self._folder, FFmpegError):
                text = json.dumps(content, indent=1)
                (self._temporary / _LIST).write_text(text + "\n", encoding="utf-8")
                check_folder(self._folder, overwrite=self._overwrite)
                for file in (_list_ours(self._folder) or ()) if self._folder.exists() else ():
                    file.unlink()
                self._temporary.replace(self._folder)
        except BaseException:
            self.abandon()
            raise
