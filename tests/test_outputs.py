from __future__ import annotations

import os
from pathlib import Path

import pytest

from framepred.errors import OutputError
from framepred.outputs import check_output, copy_file, name_output, write_bytes, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_default_name_keeps_the_ending(tmp_path: Path) -> None:
    assert name_output(Path("a/my.clip.mp4"), "filled") == Path("a/my.clip.filled.mp4")
    assert name_output(Path("clip"), "filled") == Path("clip.filled")
    assert name_output(Path("a/clip.mp4"), "filled", output=Path("x.mkv")) == Path("x.mkv")
    inside = tmp_path / "clip.filled.mp4"
    assert name_output(Path("a/clip.mp4"), "filled", output=tmp_path) == inside


def test_outputs_that_would_destroy_something(tmp_path: Path) -> None:
    source, taken = tmp_path / "in.mkv", tmp_path / "taken.mkv"
    source.write_bytes(b"in")
    taken.write_bytes(b"old")
    link = tmp_path / "link.mkv"
    link.symlink_to(source)
    check_output(source, tmp_path / "new.mkv")
    check_output(source, taken, overwrite=True)
    for output in (source, link):
        with pytest.raises(OutputError, match="input itself"):
            check_output(source, output, overwrite=True)
    with pytest.raises(OutputError, match="exists already"):
        check_output(source, taken)
    with pytest.raises(OutputError, match="folder"):
        check_output(source, tmp_path, overwrite=True)
    with pytest.raises(OutputError, match="no folder"):
        check_output(source, tmp_path / "no" / "new.mkv")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="not writable"):
            check_output(tmp_path / "in.mkv", tmp_path / "out.mkv")
    finally:
        tmp_path.chmod(0o700)


def test_copies_are_whole_or_absent(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    source.write_bytes(b"\0pictures" * 1000)
    copy_file(source, tmp_path / "out.mkv")
    assert (tmp_path / "out.mkv").read_bytes() == source.read_bytes()
    with pytest.raises(OutputError, match=r"bad\.mkv: cannot be written"):
        copy_file(tmp_path / "absent.mkv", tmp_path / "bad.mkv")
    assert names(tmp_path) == ["in.mkv", "out.mkv"]


def test_texts_replace_what_was_there(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    write_text(report, "old")
    write_text(report, "naïve\n")
    assert report.read_text(encoding="utf-8") == "naïve\n"
    assert names(tmp_path) == ["report.json"]
    with pytest.raises(OutputError, match="no folder"):
        write_text(tmp_path / "no" / "report.json", "x")


def test_bytes_are_whole_or_absent(tmp_path: Path) -> None:
    picture = tmp_path / "plot.png"
    write_bytes(picture, b"old" * 9)
    write_bytes(picture, b"\r\n\0")
    assert picture.read_bytes() == b"\r\n\0"
    with pytest.raises(OutputError, match="no folder"):
        write_bytes(tmp_path / "no" / "plot.png", b"x")
    assert names(tmp_path) == ["plot.png"]


@pytest.mark.skipif(os.name != "posix", reason="permissions are a matter of POSIX")
def test_files_have_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "report.json", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "report.json").stat().st_mode & 0o777 == 0o640
