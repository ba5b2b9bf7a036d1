from __future__ import annotations

import os
from pathlib import Path

import pytest

from framepred.errors import OutputError
from framepred.outputs import (
    begins_with,
    check_output,
    copy_file,
    create_temporary,
    is_same_place,
    name_output,
    shorten_name,
    write_bytes,
    write_text,
)


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


def test_names_of_one_place(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    file = folder / "a.mp4"
    new = folder / "new.mp4"
    file.write_bytes(b"a")
    (folder / "hard.mp4").hardlink_to(file)
    for name in ("folder/../folder/a.mp4", "link/a.mp4", "folder/hard.mp4", "folder/./a.mp4"):
        assert is_same_place(tmp_path / name, file)
    for name in ("link/new.mp4", "folder/../link/new.mp4"):  # not there yet
        assert is_same_place(tmp_path / name, new)
    assert not is_same_place(file, new)
    (folder / "b.mp4").write_bytes(b"a")
    assert not is_same_place(file, folder / "b.mp4")


def test_what_is_no_file_stays_what_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match="a device or a pipe"):
        check_output(tmp_path / "in.mp4", pipe, overwrite=True)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(pipe, "{}")
        assert os.read(reader, 9) == b"{}"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert names(tmp_path) == ["link.json", "pipe.mp4", "target.json"]


def test_temporary_files_are_told_by_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    temporary = create_temporary(Path("pipe:1.mp4"))
    assert temporary.parent == tmp_path
    assert temporary.name.startswith(".pipe:1.mp4.")
    assert temporary.read_bytes() == b""


def test_names_that_are_too_long(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot be written .*too long"):
        check_output(tmp_path / "in.mp4", tmp_path / f"{'x' * 300}.mp4")
    for name in ("x" * 247, "\N{GRINNING FACE}" * 61, "é" * 120):
        output = tmp_path / f"{name}.txt"  # 251 bytes at most, of the 255 that there may be
        write_text(output, "x")
        assert names(tmp_path) == [output.name]
        output.unlink()


def test_shortened_names_differ_where_the_names_do() -> None:
    assert shorten_name("short.mp4") == "short.mp4"
    assert shorten_name("x" * 80) == "x" * 80
    one, two = (shorten_name(f"{'é' * 85}{k}.mp4") for k in (1, 2))
    assert one != two
    for short in (one, two, shorten_name("\N{GRINNING FACE}" * 61)):
        assert len(os.fsencode(short)) <= 80


def test_what_a_file_begins_with(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    assert begins_with(file, pattern=r"\{")
    file.write_bytes(b"")
    assert begins_with(file, pattern=r"\{")
    file.write_bytes(b' {"a": 1}')
    assert begins_with(file, pattern=r"\s*\{")
    file.write_bytes(b"\0\0\0\x20ftyp{")
    assert not begins_with(file, pattern=r"\s*\{")


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
