from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from rich.console import Console
from synthetic import write_clip, write_gappy_clip

from framepred.console import Sheet, Terminal
from framepred.errors import OutputError
from framepred.reports import FillReport, GapReport, MadeFrameReport, Progress, Seconds
from framepred.scanning import scan
from framepred.summaries import show_fill, show_plan


def make_gap(start: int, action: str = "fill") -> GapReport:
    return GapReport(
        start=start,
        stop=start + 2,
        time=Fraction(start, 25),
        kind="missing",
        action=action,
        reason="2 missing frames: filled from 3 before and 3 after",
        context_before=4,
        context_after=4,
        estimated_psnr=33.25,
        estimated_ssim=0.9876,
    )


def make_report(n_gaps: int = 2, **changes: object) -> FillReport:
    values: dict[str, object] = {
        "input": Path("clip.mp4"),
        "output": Path("clip.filled.mp4"),
        "frames_in": 100,
        "frames_made": 2 * n_gaps,
        "frames_replaced": 0,
        "frame_rate": Fraction(25),
        "gaps": tuple(make_gap(10 * i) for i in range(n_gaps)),
        "decode_errors": 0,
        "streams_copied": 1,
        "streams_left_out": (),
        "model": "default",
        "device": "cpu",
        "adaptation": None,
        "dry_run": False,
        "seconds": Seconds(1, 2, 3, 6),
    }
    return FillReport(**{**values, **changes})  # type: ignore[arg-type]


def draw(sheet: Sheet, width: int) -> list[str]:
    file = io.StringIO()
    sheet.print_to(Console(file=file, width=width))
    return [line.rstrip() for line in file.getvalue().splitlines()]


SHEET = Sheet(
    ("slots", "dB", "reason"),
    [("1:2", "33.1", "a reason of some length [really]"), ("10:12", "-", "b")],
    frozenset({"reason"}),
)


def test_a_table_has_its_reasons_beside_where_there_is_room() -> None:
    assert draw(SHEET, 80) == [
        "slots    dB  reason",
        "  1:2  33.1  a reason of some length [really]",
        "10:12     -  b",
    ]


def test_a_narrow_table_has_its_reasons_below() -> None:
    lines = draw(SHEET, 34)
    assert lines[:3] == ["slots    dB", "  1:2  33.1", "10:12     -"]
    assert "1:2  a reason of some length" in lines[3]
    assert max(len(line) for line in lines) <= 34


def test_where_no_columns_fit_every_row_has_lines_of_its_own() -> None:
    assert draw(SHEET, 10) == [
        "1:2",
        "  dB 33.1",
        "  a reason",
        "  of some",
        "  length",
        "  [really]",
        "10:12",
        "  dB -",
        "  b",
    ]


@pytest.mark.parametrize("width", [40, 60, 120])
def test_summaries_break_between_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    report = make_report(3, input=Path("a clip.mp4"))
    show_fill(Terminal(), report)
    said = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().err)
    assert max(map(len, said.splitlines())) <= width
    whole = {word for gap in report.gaps for word in gap.reason.split()}
    assert whole <= set(said.split())
    assert "clip.filled.mp4:" in said.split()


def test_a_pipe_gets_tabs() -> None:
    assert SHEET.as_text() == (
        "slots\tdB\treason\n1:2\t33.1\ta reason of some length [really]\n10:12\t-\tb\n"
    )


def test_summary_is_for_people_and_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    show_fill(Terminal(), make_report())
    said = capsys.readouterr()
    assert said.out == ""
    assert "clip.mp4 -> clip.filled.mp4: 4 frames made, 1 other stream copied" in said.err
    assert "33.25" in said.err
    assert "0.9876" in said.err
    assert "\x1b" not in said.err


@pytest.mark.parametrize("watched", [True, False])
def test_a_plan_is_for_those_who_watch(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    watched: bool,
) -> None:
    write_gappy_clip(tmp_path / "clip.mkv", 24, [8, 15, 16], codec="ffv1")
    report = scan(tmp_path / "clip.mkv")
    monkeypatch.setenv("TTY_COMPATIBLE", str(int(watched)))
    monkeypatch.setenv("COLUMNS", "120")
    show_plan(Terminal(), report)
    said = capsys.readouterr()
    assert said.out == ""
    assert ("2 missing frames: filled from 3 before and 3 after" in said.err) is watched
    show_plan(Terminal(is_terse=True), report)
    show_plan(Terminal("machine"), report)
    assert capsys.readouterr() == ("", "")


def test_summary_of_many_gaps_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    show_fill(Terminal(), make_report(100))
    assert "and 60 more (--json lists all)" in capsys.readouterr().err


def test_summary_says_how_many_frames_are_not_estimated(capsys: pytest.CaptureFixture[str]) -> None:
    def frame(check: float | None) -> MadeFrameReport:
        return MadeFrameReport(Fraction(1), check, None, None, None, check_psnr=check)

    known = replace(make_gap(10), frames=(frame(30.0), frame(31.0)))
    unknown = replace(make_gap(20), frames=(frame(None),))
    held = replace(make_gap(30), action="hold", frames=(frame(None),))
    show_fill(Terminal(), make_report(gaps=(known, unknown, held)))
    assert "1 of 3 frames not estimated: too few real frames" in capsys.readouterr().err
    for gaps in ((known,), (unknown,)):  # without any, the table says so by itself
        show_fill(Terminal(), make_report(gaps=gaps))
        assert "not estimated" not in capsys.readouterr().err


def test_summary_says_how_much_of_damaged_frames_was_kept(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def frame(kept: float | None) -> MadeFrameReport:
        return MadeFrameReport(Fraction(1), None, None, None, None, kept=kept)

    gap = replace(make_gap(10), frames=(frame(0.5), frame(0.25), frame(0.0), frame(None)))
    show_fill(Terminal(), make_report(gaps=(gap,)))
    assert (
        "2 damaged frames mended: 38% of the area rests on what is stored"
        in capsys.readouterr().err
    )
    show_fill(Terminal(), make_report())
    assert "mended" not in capsys.readouterr().err


def test_summary_when_nothing_was_to_be_filled(capsys: pytest.CaptureFixture[str]) -> None:
    show_fill(Terminal(), make_report(0, output=None))
    assert capsys.readouterr().err == "clip.mp4: nothing to fill, no output written\n"


@pytest.mark.parametrize("action", ["fill", "forecast", "backcast", "split"])
def test_summary_counts_what_could_not_be_estimated(
    capsys: pytest.CaptureFixture[str], action: str
) -> None:
    def frame(check: float | None) -> MadeFrameReport:
        return MadeFrameReport(Fraction(1), None, None, None, None, check_psnr=check)

    gaps = (
        replace(make_gap(10), frames=(frame(None), frame(30.0))),
        replace(make_gap(20), action=action, frames=(frame(None), frame(None))),
        replace(make_gap(30), action="hold", frames=(frame(None),)),
    )
    show_fill(Terminal(), make_report(gaps=gaps))
    assert "3 of 4 frames not estimated" in capsys.readouterr().err


def test_summary_names_what_was_lost(capsys: pytest.CaptureFixture[str]) -> None:
    show_fill(Terminal(), make_report(decode_errors=3, streams_left_out=("stream 2 (subtitle)",)))
    said = capsys.readouterr().err
    assert "3 packets could not be decoded" in said
    assert "stream 2 (subtitle)" in said


def test_progress_for_machines_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal("machine")
    source = Path("clip.mp4")
    with terminal.follow(source) as on_progress:
        assert on_progress is not None
        for done in range(1, 500):
            on_progress(Progress("scan", done, 499))
        on_progress(Progress("fill", 1, None))
    terminal.say("not for machines")
    terminal.fail("broken:\n badly", source=source)
    terminal.finish(source, Path("out.mp4"))
    show_fill(terminal, make_report())
    said = capsys.readouterr()
    assert said.out == ""
    events = [json.loads(line) for line in said.err.splitlines()]
    progress = [event for event in events if event["event"] == "progress"]
    assert len(progress) < 20  # a machine is not flooded
    assert {"stage": "scan", "done": 499, "total": 499}.items() <= progress[-2].items()
    assert progress[-1] == {
        "event": "progress", "input": "clip.mp4", "stage": "fill", "done": 1, "total": None
    }  # fmt: skip
    assert events[-2:] == [
        {"event": "error", "input": "clip.mp4", "message": "clip.mp4: broken: badly"},
        {"event": "done", "input": "clip.mp4", "output": "out.mp4"},
    ]


@pytest.mark.parametrize("width", ["40", "120"])
def test_progress_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.delenv("NO_COLOR", raising=False)
    with Terminal("bar").follow(Path("clip.mp4")) as on_progress:
        assert on_progress is not None
        on_progress(Progress("scan", 5, 5))
        on_progress(Progress("fill", 1, 10))
        on_progress(Progress("fill", 10, 10))
    said = capsys.readouterr()
    assert said.out == ""
    assert "fill" in said.err
    assert "10/10" in said.err


def test_no_color(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    Terminal().fail("broken")
    assert "\x1b[1;31m" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    Terminal().fail("broken")
    assert "31m" not in capsys.readouterr().err


def test_no_progress_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for mode in ("auto", "none"):
        with Terminal(mode).follow(Path("clip.mp4")) as on_progress:
            assert on_progress is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(os.name != "posix", reason="pipes are a matter of POSIX")
def test_a_report_in_a_file_stays_where_nobody_reads_the_rest(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 6)
    arguments = ["scan", str(clip), "--json", str(tmp_path / "report.json")]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        subprocess.run(
            [sys.executable, "-m", "framepred", *arguments], stdout=writing, stderr=writing
        )
    finally:
        os.close(writing)
    assert json.loads((tmp_path / "report.json").read_text())["frames_in"] == 6


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk here that is always full")
def test_a_full_disk_behind_stdout_is_one_line() -> None:
    program = (
        "import sys; from framepred.cli import app; sys.argv[1:] = ['info', '--json', '-']; app()"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard output cannot be written (No space left")
    assert done.stderr.count("\n") == 1


def test_json_to_stdout_and_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.write_json("-", {"a": Fraction(1, 2)})
    assert json.loads(capsys.readouterr().out) == {"a": 0.5}
    terminal.write_json(str(tmp_path / "report.json"), make_report().as_dict())
    assert json.loads((tmp_path / "report.json").read_text())["frames_made"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    with pytest.raises(OutputError, match="folder"):
        terminal.write_json(str(tmp_path / "no" / "report.json"), {})


def test_names_that_are_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b"clip\xff.mp4")
    log = tmp_path / "log.txt"
    terminal = Terminal("machine", log_file=log)
    terminal.write_json("-", {"input": Path(name), "umlaut": "ü"})
    terminal.write_json(str(tmp_path / "report.json"), {"input": Path(name)})
    terminal.finish(Path(name), None)
    terminal.say(f"{name}: broken")
    said = capsys.readouterr()
    said.out.encode("utf-8")
    assert "ü" in said.out
    assert json.loads(said.out)["input"] == name
    assert json.loads(said.err)["input"] == name
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["input"] == name
    assert "clip\\udcff.mp4: broken" in log.read_text(encoding="utf-8")


def test_the_log_has_the_table_too(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    show_fill(Terminal(is_terse=True, log_file=log), make_report())
    assert "2 missing frames: filled from 3 before and 3 after" in log.read_text()


def test_progress_for_machines_has_the_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal("machine").follow(Path("clip.mp4")) as on_progress:
        assert on_progress is not None
        on_progress(Progress("fill", 5, 5, Seconds(1, 2, 3, 4)))
    event = json.loads(capsys.readouterr().err)
    assert event["seconds"] == {"decode": 1, "model": 2, "encode": 3, "total": 4}
