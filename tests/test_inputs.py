"""Reading what is there: disks that do not give all of a file, streams that are not there."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import av
import pytest
from skimage.io import imsave
from synthetic import make_frames, write_clip

from framepred import reader
from framepred.errors import MediaError
from framepred.inputs import check_rest, demux, open_bytes
from framepred.video import VideoReader, probe

# From the middle of any file in a folder named "failing" on, read() fails as on a bad sector.
FAILING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

ssize_t read(int fd, void *buffer, size_t size)
{
    ssize_t (*true_read)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
    char link[64], name[4096];
    struct stat about;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, sizeof name - 1);
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (length > 0 && at >= 0 && !fstat(fd, &about)) {
        name[length] = 0;
        if (strstr(name, "/failing/")) {
            off_t left = about.st_size / 2 - at;
            if (left <= 0) { errno = EIO; return -1; }
            if (size > (size_t)left) size = left;
        }
    }
    return true_read(fd, buffer, size);
}
"""
SCAN = """
import sys
from pathlib import Path
from framepred.errors import MediaError
from framepred.scanning import scan
for path in sys.argv[1:]:
    try:
        print(Path(path).suffix, "read", scan(path).n_frames)
    except MediaError as error:
        print(Path(path).suffix, error)
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("a failing disk is played by a library that needs a C compiler and Linux")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "failing.c").write_text(FAILING)
    command = [compiler, "-shared", "-fPIC", "-o", "failing.so", "failing.c", "-ldl"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "failing.so"


def test_what_a_disk_does_not_give_is_no_end(shim: Path, tmp_path: Path) -> None:
    folder = tmp_path / "failing"
    folder.mkdir()
    files = [folder / f"clip{suffix}" for suffix in (".mkv", ".mp4", ".ts", ".avi", ".y4m")]
    for file in files:
        codec = "wrapped_avframe" if file.suffix == ".y4m" else "libx264"
        write_clip(file, make_frames(60, width=256, height=144), codec=codec)
    done = subprocess.run(
        [sys.executable, "-c", SCAN, *map(str, files)],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        check=True,
    )
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert len(told) == len(files)
    for file in files:
        half = f"{file.stat().st_size // 2:,}"
        assert told[file.suffix].startswith(f"{file}: cannot be read behind byte {half} (")


class FailingFile(FileIO):
    """Its end cannot be read."""

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if self.tell() >= os.fstat(self.fileno()).st_size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return content


def test_the_rest_is_read_behind_the_last_packet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "clip.mkv", make_frames(5))
    info = probe(path)
    monkeypatch.setattr(reader, "open_bytes", FailingFile)
    with VideoReader(path, info=info) as clip, pytest.raises(MediaError, match="cannot be read"):
        list(clip.read())


def test_a_picture_that_cannot_be_read_is_not_one_that_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, frame in enumerate(make_frames(5), 1):
        imsave(tmp_path / f"frame_{number:05d}.png", frame)
    (tmp_path / "frame_00003.png").write_bytes(b"")
    with VideoReader(tmp_path) as clip:
        assert len(list(clip.read())) == 4
    monkeypatch.setattr(reader, "open_bytes", FailingFile)
    with (
        VideoReader(tmp_path) as clip,
        pytest.raises(MediaError, match=r"frame_00003\.png: cannot be read behind byte 0"),
    ):
        list(clip.read())


def test_a_file_that_can_be_read_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3000))
    with open_bytes(path) as file:
        for start in (0, 2999, 3000, 9000):
            check_rest(file, start)
    with pytest.raises(MediaError, match="No such file"):
        open_bytes(tmp_path / "none")


class ForgetfulContainer:
    """As PyAV's, where a stream came that was not there at first."""

    def __init__(self, true: Any) -> None:
        self.true = true

    def demux(self, streams: Any) -> Iterator[Any]:
        yield from self.true.demux(streams)
        raise IndexError("list index out of range")


def test_streams_that_damage_made_up_end_nothing_early(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.ts", make_frames(9))
    with av.open(path) as container:
        streams = list(container.streams)
        container_like: Any = ForgetfulContainer(container)
        packets = list(demux(container_like, streams))
    assert len(packets) == 9
    assert all(packet.size for packet in packets)
