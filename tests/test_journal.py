from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blending import BlendPredictor
from scenery import build_network
from synthetic import make_times, read_packets, write_clip, write_gappy_clip
from torch import device

from framepred.errors import OutputError
from framepred.filling import fill_gaps
from framepred.journal import (
    Journal,
    Outcome,
    digest_picture,
    identify_input,
    name_window,
    open_journal,
)
from framepred.predictor import Predictor
from framepred.reports import FillReport
from framepred.scoring import Score

HOLES = [10, 20, 21, 31, 32, 33]
N = 44
NAME = "0" * 32
GRAY = np.dtype(np.uint8)


@pytest.fixture(scope="module")
def gappy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """44 ideal frames with three holes, lossy, with B-frames and sound.

    Not by x264: on processors with AVX-512 it does not always give the same bytes twice.
    """
    path = tmp_path_factory.mktemp("gappy") / "clip.mkv"
    facts: dict[str, Any] = {"codec": "libx265", "b_frames": 2, "audio": True, "lossless": False}
    return write_gappy_clip(path, N, HOLES, **facts)[0]


class Interrupted(BlendPredictor):
    """Works for some windows, and then is interrupted."""

    def __init__(self, n_windows: int, error: BaseException | None = None) -> None:
        super().__init__()
        self.n_left = n_windows
        self.error = error or KeyboardInterrupt()

    def fill(self, *given: Any, **options: Any) -> Any:
        if not self.n_left:
            raise self.error
        self.n_left -= 1
        return super().fill(*given, **options)


def run(
    source: Path, folder: Path, predictor: BlendPredictor, *, resume: bool = True, **options: Any
) -> tuple[FillReport, list[str]]:
    """What the repair reports, and what it says about an earlier run."""
    notes: list[str] = []
    report = fill_gaps(
        source,
        folder / "out.mkv",
        predictor=predictor,  # type: ignore[arg-type]
        resume=resume,
        on_note=notes.append,
        **options,
    )
    return report, notes


def interrupt(source: Path, folder: Path, n_windows: int, **options: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(source, folder, Interrupted(n_windows), **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def windows(folder: Path) -> list[Path]:
    return sorted((folder / ".out.mkv.journal").glob("*.window"))


def forget_time(report: FillReport) -> dict[str, Any]:
    facts = report.as_dict()
    for name in ("seconds", "windows_resumed", "output"):
        del facts[name]
    return facts


@pytest.fixture(scope="module")
def whole(gappy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FillReport, int]:
    """The output and the report of an uninterrupted run, and how many windows it took."""
    folder = tmp_path_factory.mktemp("whole")
    predictor = BlendPredictor()
    report, notes = run(gappy, folder, predictor, resume=False, reference=gappy)
    assert [note for note in notes if "nothing was scored" not in note] == []
    assert names(folder) == ["out.mkv"]
    return folder / "out.mkv", report, len(predictor.calls)


@pytest.mark.parametrize("n_windows", [0, 1, 4, 8])
def test_an_interrupted_run_goes_on(
    gappy: Path, tmp_path: Path, whole: tuple[Path, FillReport, int], n_windows: int
) -> None:
    output, expected, n_all = whole
    assert n_windows < n_all
    interrupt(gappy, tmp_path, n_windows, reference=gappy)
    assert names(tmp_path) == ([".out.mkv.journal"] if n_windows else [])
    predictor = BlendPredictor()
    report, notes = run(gappy, tmp_path, predictor, reference=gappy)
    assert len(predictor.calls) == n_all - n_windows
    assert report.windows_resumed == n_windows
    assert read_packets(tmp_path / "out.mkv") == read_packets(output)
    assert forget_time(report) == forget_time(expected)
    assert names(tmp_path) == ["out.mkv"]
    said = f"with {n_windows} windows" if n_windows else "no interrupted run has left anything"
    assert said in notes[0]
    assert "nothing was scored" in notes[1], "the reference has the same holes"
    assert len(notes) == 2


def test_the_network_itself_goes_on(gappy: Path, tmp_path: Path) -> None:
    def build() -> Predictor:
        return Predictor(build_network(strength=0.02), name="test", device=device("cpu"))

    class Once(Predictor):
        n_calls = 0

        def fill(self, *given: Any, **options: Any) -> Any:
            self.n_calls += 1
            if self.n_calls == 2:
                raise KeyboardInterrupt
            return super().fill(*given, **options)

    (tmp_path / "whole").mkdir()
    options: dict[str, Any] = {"gaps": ["38:39"], "detect": (), "context": 2}
    run(gappy, tmp_path / "whole", build(), resume=False, **options)  # type: ignore[arg-type]
    network = build_network(strength=0.02)
    with pytest.raises(KeyboardInterrupt):
        run(gappy, tmp_path, Once(network, name="test", device=device("cpu")), **options)  # type: ignore[arg-type]
    assert len(windows(tmp_path)) == 1
    report, _ = run(gappy, tmp_path, build(), **options)  # type: ignore[arg-type]
    assert report.windows_resumed == 1
    assert read_packets(tmp_path / "out.mkv") == read_packets(tmp_path / "whole" / "out.mkv")
    other = Predictor(build_network(strength=0.03), name="test", device=device("cpu"))
    assert other.fingerprint != build().fingerprint == build().fingerprint


def test_without_resume_nothing_is_kept_and_nothing_used(gappy: Path, tmp_path: Path) -> None:
    interrupt(gappy, tmp_path, 3, resume=False)
    assert names(tmp_path) == []
    interrupt(gappy, tmp_path, 3)
    kept = windows(tmp_path)
    assert len(kept) == 3
    predictor = Interrupted(2)
    notes: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        fill_gaps(gappy, tmp_path / "out.mkv", predictor=predictor, on_note=notes.append)  # type: ignore[arg-type]
    assert len(predictor.calls) == 2
    assert windows(tmp_path) == kept  # another run's hours of work are not thrown away
    (note,) = notes
    assert "has made 3 windows, which are not used" in note
    assert "--resume" in note
    report, _ = run(gappy, tmp_path, BlendPredictor(), resume=False)
    assert report.windows_resumed == 0
    assert names(tmp_path) == ["out.mkv"]


def test_the_interruption_says_what_is_kept(gappy: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    with pytest.raises(OutputError, match="disk is full"):
        fill_gaps(
            gappy,
            tmp_path / "out.mkv",
            predictor=Interrupted(2, OutputError("the disk is full")),  # type: ignore[arg-type]
            resume=True,
            on_note=notes.append,
        )
    assert "--resume goes on from it" in notes[-1]


def test_what_another_network_has_made_is_not_used(gappy: Path, tmp_path: Path) -> None:
    interrupt(gappy, tmp_path, 3)
    other = BlendPredictor()
    other.fingerprint = "other"  # type: ignore[misc]
    report, notes = run(gappy, tmp_path, other)
    assert report.windows_resumed == 0
    assert "a run with another network or device cannot be used and is dropped" in notes[0]


def test_what_was_made_of_another_video_is_not_used(gappy: Path, tmp_path: Path) -> None:
    interrupt(gappy, tmp_path, 3)
    other = write_gappy_clip(tmp_path / "clip.mkv", N, HOLES, codec="ffv1")[0]
    report, notes = run(other, tmp_path, BlendPredictor())
    assert report.windows_resumed == 0
    assert "a run on another input cannot be used and is dropped" in notes[0]


def test_another_plan_takes_what_it_can(gappy: Path, tmp_path: Path) -> None:
    interrupt(gappy, tmp_path, 2, self_check=False)
    assert len(windows(tmp_path)) == 2
    predictor = BlendPredictor()
    report, _ = run(gappy, tmp_path, predictor, self_check=False, gaps=["40:42"])
    assert report.windows_resumed == 2
    assert len(predictor.calls) == 2


def test_two_runs_do_not_write_one_output(gappy: Path, tmp_path: Path) -> None:
    def begin_another() -> Any:
        with pytest.raises(OutputError, match="another run is writing it"):
            run(gappy, tmp_path, BlendPredictor())
        raise KeyboardInterrupt

    predictor = BlendPredictor()
    fill = predictor.fill
    calls = []

    def fill_twice(*given: Any, **options: Any) -> Any:
        calls.append(given)
        return fill(*given, **options) if len(calls) < 2 else begin_another()

    predictor.fill = fill_twice  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(gappy, tmp_path, predictor)
    assert len(windows(tmp_path)) == 1


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.EIO])
def test_where_files_cannot_be_locked(
    gappy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    if code == errno.EIO:
        with pytest.raises(OutputError, match="cannot be used"):
            run(gappy, tmp_path, BlendPredictor())
        assert names(tmp_path) == []
        return
    interrupt(gappy, tmp_path, 2)
    half = tmp_path / f".out.mkv.{'0' * 8}.part"
    half.write_bytes(b"of another run, perhaps")
    report, _ = run(gappy, tmp_path, BlendPredictor())
    assert report.windows_resumed == 2
    assert names(tmp_path) == [half.name, "out.mkv"]


def test_long_names_have_journals_of_their_own(gappy: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{'é' * 85}{k}.mkv" for k in (1, 2)]
    with (
        open_journal(paths[0], source=gappy, network="a", resume=False) as one,
        open_journal(paths[1], source=gappy, network="a", resume=False) as two,
    ):
        assert one.folder != two.folder
    assert names(tmp_path) == []


# ---- hostile and damaged journals -------------------------------------------------------------


def spoil(window: Path, change: Callable[[bytearray], object]) -> None:
    data = bytearray(window.read_bytes())
    change(data)
    window.write_bytes(data)


def lengthen(data: bytearray) -> None:
    data.extend(bytes(10**6))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.clear(),
        lambda data: data.__delitem__(slice(-1, None)),
        lambda data: data.__setitem__(60, data[60] ^ 1),
        lambda data: data.__setitem__(0, 0),
        lengthen,
    ],
    ids=["empty", "short", "bit", "magic", "long"],
)
def test_damaged_windows_are_made_again(
    gappy: Path, tmp_path: Path, whole: tuple[Path, FillReport, int], change: Any
) -> None:
    interrupt(gappy, tmp_path, 4)
    for window in windows(tmp_path)[:2]:
        spoil(window, change)
    report, notes = run(gappy, tmp_path, BlendPredictor())
    assert report.windows_resumed == 2
    assert sum("damaged; this window" in note for note in notes) == 2
    assert read_packets(tmp_path / "out.mkv") == read_packets(whole[0])


SIZE = (2, 4, 6, 3)
MADE = Outcome(np.arange(144, dtype=np.uint8).reshape(SIZE), (30.0, 31.5))
CHECK = Outcome(None, (30.0, 31.5), (Score(28.25, None), Score(100.0, 0.5)))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """With two windows from an earlier run."""
    job = {"input": "a", "network": "b"}
    first = Journal(tmp_path / "out.mkv")
    first.begin(job, resume=True)
    first.add(NAME, MADE)
    first.add("1" * 32, CHECK)
    first.close(keep=True)
    again = Journal(tmp_path / "out.mkv")
    again.begin(job, resume=True)
    yield again
    again.close(keep=True)


def test_what_is_kept_comes_back(journal: Journal) -> None:
    found = journal.find(NAME, SIZE, GRAY)
    assert found is not None
    assert found.images is not None
    np.testing.assert_array_equal(found.images, MADE.images)
    assert found.images.flags.writeable
    assert found.calms == MADE.calms
    assert journal.find("1" * 32, (2, 0, 0, 3), GRAY) == CHECK
    assert journal.find("2" * 32, SIZE, GRAY) is None
    assert (journal.n_used, journal.n_damaged) == (2, 0)


@pytest.mark.parametrize(
    ("name", "size", "dtype"),
    [
        (NAME, (2, 6, 4, 3), GRAY),
        (NAME, (1, 4, 6, 3), GRAY),
        (NAME, SIZE, np.dtype(np.uint16)),
        (NAME, (2, 0, 0, 3), GRAY),
        ("1" * 32, SIZE, GRAY),
    ],
)
def test_windows_of_another_shape_are_damaged(
    journal: Journal, name: str, size: tuple[int, ...], dtype: Any
) -> None:
    assert journal.find(name, size, dtype) is None
    assert journal.n_damaged == 1


def write_window(journal: Journal, facts: object, payload: bytes = b"") -> None:
    """A window with a right checksum, as only somebody who means it would write."""
    import hashlib

    text = facts if isinstance(facts, str) else json.dumps(facts)
    body = b"framepred-window-1\n" + text.encode() + b"\n" + payload
    digest = hashlib.blake2b(body, digest_size=16).digest()
    (journal.folder / f"{NAME}.window").write_bytes(body + digest)


GOOD = {"name": NAME, "shape": [2, 4, 6, 3], "type": "|u1", "calms": [1.0, 2.0], "scores": []}


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [2, 4, 6, -3]},
        {"shape": [2, 4, 6, 3, 1]},
        {"shape": [2**40, 2**40, 2**40, 3]},
        {"shape": "many"},
        {"shape": [2.0, 4, 6, 3]},
        {"type": "|O"},
        {"type": "<u2"},
        {"calms": [1.0]},
        {"calms": ["1.0", 2.0]},
        {"calms": [True, 2.0]},
        {"calms": [float("nan"), 2.0]},
        {"calms": [10**400, 2.0]},
        {"calms": None},
        {"scores": [[1.0]]},
        {"scores": 5},
        {"name": "1" * 32},
    ],
)
def test_hostile_facts_are_refused(journal: Journal, changes: dict[str, Any]) -> None:
    write_window(journal, GOOD, bytes(144))
    assert journal.find(NAME, SIZE, GRAY) is not None
    write_window(journal, {**GOOD, **changes}, bytes(144))
    assert journal.find(NAME, SIZE, GRAY) is None
    assert journal.n_damaged == 1


@pytest.mark.parametrize("text", ["[" * 10_000, "[]", "{", "5", "\\u0000"])
def test_hostile_json_is_refused(journal: Journal, text: str) -> None:
    write_window(journal, text, bytes(144))
    assert journal.find(NAME, SIZE, GRAY) is None
    assert journal.n_damaged == 1


@pytest.mark.skipif(os.name != "posix", reason="links and pipes are a matter of POSIX")
def test_links_and_pipes_are_not_followed(journal: Journal, tmp_path: Path) -> None:
    window = journal.folder / f"{NAME}.window"
    window.rename(tmp_path / "elsewhere")
    window.symlink_to(tmp_path / "elsewhere")
    assert journal.find(NAME, SIZE, GRAY) is None
    window.unlink()
    os.mkfifo(window)
    assert journal.find(NAME, SIZE, GRAY) is None
    journal.close(keep=False)
    assert names(tmp_path) == ["elsewhere"]


@pytest.mark.parametrize(
    "job", ["", "[]", "{}", '{"format": "framepred-journal-0"}', "[" * 10_000], ids=range(5)
)
def test_other_jobs_are_dropped(journal: Journal, job: str, tmp_path: Path) -> None:
    journal.close(keep=True)
    (journal.folder / "job.json").write_text(job)
    (journal.folder / "diary.txt").write_text("not ours")
    notes: list[str] = []
    again = Journal(tmp_path / "out.mkv", on_note=notes.append)
    again.begin({"input": "a", "network": "b"}, resume=True)
    assert "cannot be used and is dropped" in notes[0]
    assert again.find(NAME, SIZE, GRAY) is None
    again.close(keep=False)
    assert names(journal.folder) == ["diary.txt"]


def test_a_link_in_place_of_the_folder_is_refused(gappy: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".out.mkv.journal").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="is in the way"):
        run(gappy, tmp_path, BlendPredictor())
    assert names(tmp_path) == [".out.mkv.journal", "elsewhere"]
    assert names(tmp_path / "elsewhere") == []


def test_a_full_disk_does_not_stop_the_work(
    gappy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "_write", fail)
    report, notes = run(gappy, tmp_path, BlendPredictor())
    assert report.frames_made == len(HOLES)
    assert sum("No space left on device" in note for note in notes) == 1
    assert names(tmp_path) == ["out.mkv"]


def test_it_takes_a_share_of_the_disk_at_most(
    gappy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 4 * 10_000  # one window of a frame of 64x48, but no two
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
    with pytest.raises(KeyboardInterrupt):
        run(gappy, tmp_path, Interrupted(2), self_check=False)
    assert len(windows(tmp_path)) == 1


def test_why_nothing_more_is_kept_is_said_in_the_thread_that_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 0}))
    threads: list[tuple[str, int]] = []
    journal = Journal(
        tmp_path / "out.mkv", on_note=lambda line: threads.append((line, threading.get_ident()))
    )
    journal.begin({"input": "a", "network": "b"}, resume=True)
    for number in "123":
        journal.add(number * 32, MADE)
    journal.close(keep=True)
    told = [thread for line, thread in threads if "would have to begin again" in line]
    assert told == [threading.get_ident()]
    assert not names(tmp_path)


def test_names_tell_windows_apart() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    images = [image, image + 1, image.astype(np.uint16), image.reshape(3, 2, 3)]
    one, *others = [digest_picture(each) for each in images]
    found = {
        name_window("a", [one, one], 1),
        name_window("b", [one, one], 1),
        name_window("a", [one, one], 2),
        name_window("a", [one], 1),
        *(name_window("a", [one, other], 1) for other in others),
    }
    assert len(found) == 7
    assert name_window("a", [digest_picture(image.copy()), one], 1) in found


def test_inputs_are_told_apart(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(bytes(200_000))
    other.write_bytes(bytes(200_000))
    assert identify_input(one) == identify_input(other)
    for place in (0, 199_999):
        data = bytearray(200_000)
        data[place] = 1
        other.write_bytes(data)
        assert identify_input(one) != identify_input(other)
    one.write_bytes(bytes(200_001))
    assert identify_input(one) != identify_input(other)


def test_an_error_without_a_journal_leaves_none(gappy: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        open_journal(tmp_path / "out.mkv", source=gappy, network="a", resume=True),
    ):
        raise ZeroDivisionError
    assert names(tmp_path) == []


# ---- kills ------------------------------------------------------------------------------------

SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from blending import BlendPredictor
from framepred.filling import fill_gaps
class Slow(BlendPredictor):
    def fill(self, *args, **options):
        print("at work", flush=True)
        time.sleep(0.03)
        return super().fill(*args, **options)
fill_gaps({source!r}, {output!r}, predictor=Slow(), resume=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a matter of POSIX")
def test_killed_runs_go_on(
    gappy: Path, tmp_path: Path, whole: tuple[Path, FillReport, int]
) -> None:
    """Killed outright again and again, at random moments, until a run gets through."""
    dice = random.Random(0)
    output = tmp_path / "out.mkv"
    script = SCRIPT.format(tests=str(Path(__file__).parent), source=str(gappy), output=str(output))
    n_kills = int(os.environ.get("FRAMEPRED_KILLS", "2"))
    for _ in range(n_kills):
        with subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(dice.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=20)
        if output.exists():  # this one got through
            assert read_packets(output) == read_packets(whole[0])
            output.unlink()
    report, _ = run(gappy, tmp_path, BlendPredictor())
    assert read_packets(output) == read_packets(whole[0])
    assert names(tmp_path) == ["out.mkv"]
    assert report.frames_made == len(HOLES)


def test_pictures_by_number_are_identified(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 4, times=make_times(4, rate=Fraction(25)))
    folder = tmp_path / "shot"
    folder.mkdir()
    for k in range(3):
        (folder / f"{k}.png").write_bytes(clip.read_bytes())
    before = identify_input(folder)
    assert identify_input(folder) == before
    (folder / "1.png").write_bytes(b"other")
    assert identify_input(folder) != before
