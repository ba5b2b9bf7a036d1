from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blending import BlendPredictor
from synthetic import make_times, read_planes, write_clip, write_gappy_clip
from typer.testing import CliRunner

import framepred.predictor
from framepred.cli import app
from framepred.errors import ModelError

ROOT = Path(__file__).parents[1]
HOLES = [8, 15, 16]


class Result:
    """What a command answered."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process, with a predictor that needs no weights."""

    def load(name: str, *, device: str, tile: int | str | None = "auto") -> BlendPredictor:
        if name != "default":
            raise ModelError(f"no model {name!r}; 'framepred info' lists the packaged ones")
        return BlendPredictor()

    monkeypatch.setattr(framepred.predictor.Predictor, "load", load)
    monkeypatch.setenv("COLUMNS", "100")

    def invoke(*arguments: object) -> Result:
        answer = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if answer.exception is not None and not isinstance(answer.exception, SystemExit):
            raise answer.exception
        return Result(answer.exit_code, answer.stdout, answer.stderr)

    return invoke


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_gappy_clip(tmp_path / "clip.mkv", 24, HOLES, codec="ffv1", audio=True)[0]


def one_error(result: Result) -> str:
    lines = result.err.splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("error: ")
    return lines[0]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_fill_gaps(run: Run, clip: Path) -> None:
    result = run("fill-gaps", clip, "--lossless")
    assert result.code == 0
    assert result.out == ""
    assert "3 frames made" in result.err
    output = clip.with_name("clip.filled.mkv")
    assert [time for time, _ in read_planes(output)] == make_times(24)
    assert names(clip.parent) == ["clip.filled.mkv", "clip.mkv"]


def test_json_on_stdout_is_one_object(run: Run, clip: Path) -> None:
    result = run("fill-gaps", clip, "--json", "-")
    assert result.code == 0
    data = result.json
    assert data["output"] == str(clip.with_name("clip.filled.mkv"))
    assert [(gap["start"], gap["stop"]) for gap in data["gaps"]] == [(8, 9), (15, 17)]
    assert data["frames_made"] == 3


def test_json_to_a_file(run: Run, clip: Path, tmp_path: Path) -> None:
    result = run("fill-gaps", clip, "--json", tmp_path / "report.json")
    assert (result.code, result.out) == (0, "")
    assert json.loads((tmp_path / "report.json").read_text())["frames_made"] == 3
    for bad in (clip, clip.with_name("clip.filled.mkv"), tmp_path, tmp_path / "no" / "x.json"):
        assert run("fill-gaps", clip, "-y", "--json", bad).code == 2


def test_what_is_written_beside_destroys_nothing(run: Run, clip: Path, tmp_path: Path) -> None:
    reference, listed = tmp_path / "true.mkv", tmp_path / "gaps.csv"
    reference.write_bytes(clip.read_bytes())
    listed.write_text("8:9\n")
    (tmp_path / "link").symlink_to(tmp_path)
    page = tmp_path / "page.html"
    log = tmp_path / "log.txt"
    log.write_text("a diary\n")
    kept = {path: path.read_bytes() for path in (clip, reference, listed, log)}
    fill = ["fill-gaps", clip, "-y", "-o", tmp_path / "out.mkv", "--reference", reference]
    for arguments in (
        ["scan", clip, "--json", tmp_path / "link" / "clip.mkv"],
        ["scan", clip, "--gaps", listed, "--json", listed],
        [*fill, "--json", reference],
        [*fill, "--json", tmp_path / "link" / "true.mkv"],
        [*fill, "--json", listed],
        [*fill, "--report", page, "--json", tmp_path / "link" / "page.html"],
        ["compare", clip, reference, "--json", reference],
        ["--log-file", clip, "fill-gaps", clip, "-n"],
        ["--log-file", log, "scan", clip],
    ):
        result = run(*arguments)
        assert result.code == 2, arguments
        words = " ".join(result.err.replace("│", " ").split())
        assert "is not a place for a report" in words or "exists already and is no" in words
    for name in ("out.mkv", "true.mkv", "gaps.csv"):
        result = run(*fill, "--gaps", listed, "--report", tmp_path / "link" / name)
        assert result.code == 1
        assert "is already the name of another file" in one_error(result)
    assert kept == {path: path.read_bytes() for path in kept}
    assert names(tmp_path) == ["clip.mkv", "gaps.csv", "link", "log.txt", "true.mkv"]
    log.unlink()
    for _ in range(2):  # what is ours already goes on
        assert run("--log-file", log, "scan", clip, "--json", tmp_path / "found.json").code == 0
    assert len({line[:4] for line in log.read_text().splitlines()}) == 1


def test_report_page(run: Run, clip: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert run("fill-gaps", clip, "--report", page).code == 0
    assert "clip.mkv" in page.read_text(encoding="utf-8")
    for bad in (tmp_path / "no" / "x.html", clip, page):
        output = tmp_path / "other.mkv"
        result = run("fill-gaps", clip, "-o", output, "--report", bad)
        assert result.code == 1
        assert str(bad) in one_error(result)
        assert not output.exists()
    assert run("fill-gaps", clip, "-y", "--report", page).code == 0


def test_views_beside_the_video(run: Run, clip: Path, tmp_path: Path) -> None:
    views = ("--preview", "p.mp4", "--contact-sheet", "c.png", "--frames-dir", "made")
    asked = [tmp_path / word if k % 2 else word for k, word in enumerate(views)]
    assert run("fill-gaps", clip, *asked).code == 0
    assert {"p.mp4", "c.png", "made"} <= set(names(tmp_path))
    again = run("fill-gaps", clip, "-o", tmp_path / "o.mkv", *asked)
    assert again.code == 1
    assert "p.mp4" in one_error(again)


def test_compare_draws_a_plot(run: Run, clip: Path, tmp_path: Path) -> None:
    assert run("compare", clip, clip, "--plot", tmp_path / "x.svg").code == 0
    assert (tmp_path / "x.svg").read_text().count("<svg") == 1
    assert run("compare", clip, clip, "--plot", tmp_path / "x.gif").code == 2
    assert run("compare", clip, clip, "--plot", tmp_path / "no" / "x.svg").code == 1


def test_report_pages_of_several_videos_go_to_a_folder(
    run: Run, clip: Path, tmp_path: Path
) -> None:
    other = write_clip(tmp_path / "other.mkv", 8, codec="ffv1")
    assert run("fill-gaps", clip, other, "--report", tmp_path / "page.html").code == 2
    (tmp_path / "pages").mkdir()
    assert run("fill-gaps", clip, other, "--report", tmp_path / "pages").code == 0
    assert names(tmp_path / "pages") == ["clip.report.html", "other.report.html"]


def test_output_is_never_overwritten_without_y(run: Run, clip: Path) -> None:
    assert run("fill-gaps", clip).code == 0
    again = run("fill-gaps", clip)
    assert again.code == 1
    assert "-y" in one_error(again)
    assert run("fill-gaps", clip, "-y").code == 0


def test_output_may_be_a_folder(run: Run, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert run("fill-gaps", clip, "-o", tmp_path / "out").code == 0
    assert names(tmp_path / "out") == ["clip.filled.mkv"]


def test_dry_run_prints_the_plan_and_loads_nothing(
    run: Run, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(framepred.predictor.Predictor, "load")
    result = run("fill-gaps", clip, "-n", "--json", "-")
    assert result.code == 0
    assert result.json["dry_run"]
    assert len(result.json["gaps"]) == 2
    assert "to make" in result.err
    assert names(clip.parent) == ["clip.mkv"]


def test_nothing_to_fill_is_no_failure(run: Run, tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", 12, codec="ffv1")
    result = run("fill-gaps", whole)
    assert result.code == 0
    assert "nothing to fill" in result.err
    assert names(tmp_path) == ["whole.mkv"]
    assert run("fill-gaps", whole, "-o", tmp_path / "copy.mkv").code == 0
    assert (tmp_path / "copy.mkv").read_bytes() == whole.read_bytes()
    # Of what is no copy that is not said; a name in capitals is no other kind of file.
    upper = whole.rename(tmp_path / "WHOLE.MKV")
    for source, target, said in (
        (upper, "again.mkv", "copied to"),
        (upper, "other.avi", "encoded anew as"),
        (tmp_path / "copy.mkv", "copied.mkv", "copied to"),
    ):
        result = run("fill-gaps", source, "-o", tmp_path / target, "--codec", "libx264")
        assert result.code == 0
        assert f"nothing to fill, encoded anew as {tmp_path / target}" in result.err
        result = run("fill-gaps", source, "-y", "-o", tmp_path / target)
        assert f"nothing to fill, {said} {tmp_path / target}" in result.err
        is_same = (tmp_path / target).read_bytes() == source.read_bytes()
        assert is_same == (said == "copied to")


def test_gaps_named_on_the_line_and_in_a_file(run: Run, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "gaps.txt").write_text("# by hand\n2:4   # two\n\n00:00:00.400-00:00:00.440\n")
    named_gaps = ["--gap", "20:21", "--gaps", tmp_path / "gaps.txt"]
    result = run("scan", clip, *named_gaps, "--detect", "", "--json", "-")
    named = [gap for gap in result.json["gaps"] if gap["kind"] == "named"]
    assert [(gap["start"], gap["stop"]) for gap in named] == [(2, 4), (10, 11), (20, 21)]
    others = [gap for gap in result.json["gaps"] if gap["kind"] != "named"]
    assert {gap["action"] for gap in others} == {"leave"}


def test_scan_lists_gaps_on_stdout(run: Run, clip: Path) -> None:
    result = run("scan", clip)
    assert result.code == 0
    rows = [line.split("\t") for line in result.out.splitlines()]
    assert rows[0][:3] == ["slots", "time", "frames"]
    assert [row[0] for row in rows[1:]] == ["8:9", "15:17"]
    assert "2 gaps" in result.err
    assert names(clip.parent) == ["clip.mkv"]


def test_scan_as_json(run: Run, clip: Path) -> None:
    result = run("scan", clip, "--json", "-")
    assert result.json["frames_to_make"] == 3


def test_forecast(run: Run, clip: Path) -> None:
    result = run("forecast", clip, "--frames", "4", "--lossless", "--json", "-")
    assert result.code == 0
    assert result.json["frames_made"] == 4
    output = clip.with_name("clip.forecast.mkv")
    assert [time for time, _ in read_planes(output)] == make_times(28, holes=HOLES)


def test_forecast_from_a_moment(run: Run, clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    moment = ["--from", "00:00:00.2", "--only-new"]
    result = run("forecast", clip, "--frames", 2, *moment, "-o", output)
    assert result.code == 0
    assert [time for time, _ in read_planes(output)] == make_times(2)


def test_options_are_refused_by_their_names(run: Run, tmp_path: Path) -> None:
    result = run("forecast", "-", "--frames", 2, "--from", "0.3", "-o", tmp_path / "x.mkv")
    assert result.code == 2
    assert "for --from:" in " ".join(result.err.replace("│", " ").split())


def test_forecast_hold_out_prints_scores(run: Run, clip: Path) -> None:
    result = run("forecast", clip, "--frames", 3, "--hold-out")
    assert result.code == 0
    rows = [line.split("\t") for line in result.out.splitlines()]
    assert [row[0] for row in rows] == ["step", "1", "2", "3", "mean"]
    assert all(float(row[2]) > 15 for row in rows[1:])
    as_json = run("forecast", clip, "--frames", 3, "--hold-out", "--json", "-").json
    assert [f"{frame['psnr']:.2f}" for frame in as_json["frames"]] == [r[2] for r in rows[1:-1]]
    assert names(clip.parent) == ["clip.mkv"]


def test_interpolate(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 12, rate=24, codec="ffv1", audio=True)
    result = run("interpolate", clip, "--fps", "59.94", "--lossless", "--json", "-")
    assert result.code == 0
    assert result.json["rate_out"] == pytest.approx(60000 / 1001)
    assert result.json["streams_copied"] == 1
    assert "24 frames/s to 59.9401 frames/s" in result.err
    output = clip.with_name("clip.interpolated.mkv")
    assert len(read_planes(output)) == 30
    plan = run("interpolate", clip, "--times", 3, "-n")
    assert "24 frames made, 12 kept" not in plan.err
    assert "22 frames made, 12 kept, 2 held (2 end of the video)" in plan.err
    assert names(tmp_path) == ["clip.interpolated.mkv", "clip.mkv"]


def test_evaluate(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 24, codec="ffv1")
    result = run("evaluate", clip, "--per-clip", 1, "--no-ssim", "--context", 2)
    assert result.code == 0
    rows = [line.split("\t") for line in result.out.splitlines()]
    assert rows[0] == ["fill, PSNR dB / SSIM", "g=1", "g=2", "g=4", "g=8", "s/frame"]
    assert "framepred (blend)" in [row[0] for row in rows]


def test_evaluate_without_a_part(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 24, codec="ffv1")
    result = run("evaluate", clip, "--per-clip", 1, "--no-ssim", "--without", "context")
    assert result.code == 0
    assert result.out.count("framepred without context\t") == 2


def test_evaluate_compares_estimates_with_the_truth(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_clip(tmp_path / f"{name}.mkv", 24, codec="ffv1")
    asked = ["--per-clip", 1, "--no-ssim", "--task", "fill", "--confidence"]
    result = run("evaluate", tmp_path, *asked)
    assert result.code == 0
    rows = [line.split("\t") for line in result.out.splitlines()][-4:]
    headers, *estimates = rows
    assert headers[1:] == ["g=1", "g=2", "g=4", "all"]
    assert [row[0] for row in estimates] == ["self-check", "estimate", "fitted to other clips"]
    assert all(re.fullmatch(r"(-|[\d.-]+) / (-|[\d.-]+) / \d+\.\d\d", c) for c in estimates[0][1:])
    assert (
        "fill: 30 frames made to be estimated, 16 of them without room for a self-check"
        in result.err
    )
    assert "; trust fitted here: " in result.err


def test_evaluate_studies_the_context(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 24, codec="ffv1")
    plot = tmp_path / "study.svg"
    study = ["--context", "9,1,2", "--plot", plot, "--task", "fill"]
    result = run("evaluate", clip, "--per-clip", 1, "--no-ssim", *study)
    assert result.code == 0
    names = [line.split("\t")[0] for line in result.out.splitlines()]
    assert names[-3:] == [f"framepred (blend), context {n}" for n in (1, 2, 9)]
    assert "fill: windows without room for the longest context: 0, 0, 0, 1" in result.err
    assert plot.read_text().count("frames hidden") == 3
    again = run("evaluate", clip, "--per-clip", 1, "--no-ssim", *study, "--json", "-")
    (fill,) = again.json["tasks"]
    assert [row["n_context"] for row in fill["methods"]][-3:] == [1, 2, 9]


def test_compare(run: Run, clip: Path, tmp_path: Path) -> None:
    truth = write_clip(tmp_path / "truth.mkv", 24, codec="ffv1")
    result = run("compare", truth, clip, "--json", "-")
    assert result.code == 0
    assert result.json["frames_compared"] == 21
    assert result.json["frames_only_in_reference"] == 3
    table = run("compare", truth, clip)
    assert table.out.splitlines()[1].split("\t") == ["mean", "100.00", "1.0000"]
    assert "3 frames only in" in table.err


def test_info(run: Run) -> None:
    assert "framepred" in run("info").out
    assert "devices" in run("info", "--json", "-").json


def test_version(run: Run) -> None:
    assert run("--version").out == f"framepred {framepred.__version__}\n"


# Batches.


def test_one_failure_does_not_stop_the_others(run: Run, clip: Path, tmp_path: Path) -> None:
    other = write_gappy_clip(tmp_path / "other.mkv", 20, [9], codec="ffv1")[0]
    broken = tmp_path / "broken.mkv"
    broken.write_text("no video")
    result = run("fill-gaps", clip, broken, other, "--json", "-")
    assert result.code == 3
    assert {Path(report["input"]).name for report in result.json["results"]} == {
        "clip.mkv", "other.mkv"
    }  # fmt: skip
    (failed,) = result.json["failed"]
    assert failed["input"] == str(broken)
    assert result.err.splitlines()[0].startswith("error: ")  # before any work is begun
    assert names(tmp_path) == [
        "broken.mkv", "clip.filled.mkv", "clip.mkv", "other.filled.mkv", "other.mkv",
    ]  # fmt: skip


def test_a_failure_in_the_middle_of_a_batch(run: Run, clip: Path, tmp_path: Path) -> None:
    short = write_clip(tmp_path / "short.mkv", 12, codec="ffv1")
    result = run("fill-gaps", short, clip, "--gap", "18:19")
    assert result.code == 3
    assert "short.mkv: gap 18:19 lies outside" in result.err
    assert names(tmp_path) == ["clip.filled.mkv", "clip.mkv", "short.mkv"]


def test_a_batch_that_fails_altogether(run: Run, tmp_path: Path) -> None:
    result = run("scan", tmp_path / "a.mkv", tmp_path / "b.mkv")
    assert result.code == 1
    assert len(result.err.splitlines()) == 2


def test_a_batch_needs_a_folder_and_different_names(run: Run, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    twin = write_clip(tmp_path / "in" / "clip.mkv", 12, codec="ffv1")
    assert run("fill-gaps", clip, twin, "-o", tmp_path / "x.mkv").code == 2
    assert run("fill-gaps", clip, twin, "-o", tmp_path / "out").code == 2
    assert names(tmp_path / "out") == []


# What goes wrong.


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fill-gaps"],
        ["fill-gaps", "CLIP", "--gap", "abc"],
        ["fill-gaps", "CLIP", "--gap", "5:5"],
        ["fill-gaps", "CLIP", "--detect", "missing,ghosts"],
        ["fill-gaps", "CLIP", "--max-gap", "0"],
        ["fill-gaps", "CLIP", "--device", "abacus"],
        ["fill-gaps", "CLIP", "--tile", "huge"],
        ["fill-gaps", "CLIP", "--tile", "8"],
        ["forecast", "CLIP", "--frames", "2", "--tile", "-64"],
        ["forecast", "CLIP"],
        ["forecast", "CLIP", "--frames", "0"],
        ["forecast", "CLIP", "--frames", "2", "--from", "soon"],
        ["interpolate", "CLIP"],
        ["interpolate", "CLIP", "--fps", "fast"],
        ["interpolate", "CLIP", "--fps", "60", "--times", "2"],
        ["interpolate", "CLIP", "--times", "1"],
        ["evaluate", "CLIP", "--without", "thought"],
        ["evaluate", "CLIP", "--context", "0"],
        ["evaluate", "CLIP", "--context", "1,few"],
        ["evaluate", "CLIP", "--context", "1,0"],
        ["evaluate", "CLIP", "--context", "4", "--plot", "x.svg"],
        ["evaluate", "CLIP", "--context", "1,4", "--plot", "x.gif"],
        ["evaluate", "CLIP", "--context", "1,4", "--plot", "x.svg", "--json", "x.svg"],
        ["compare", "CLIP"],
        ["nonsense"],
    ],
)
def test_wrong_usage(run: Run, clip: Path, arguments: list[str]) -> None:
    result = run(*[str(clip) if argument == "CLIP" else argument for argument in arguments])
    assert result.code == 2
    assert names(clip.parent) == ["clip.mkv"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["fill-gaps", "FOLDER/absent.mkv"],
        ["fill-gaps", "FOLDER"],
        ["fill-gaps", "CLIP", "--model", "nonsense"],
        ["fill-gaps", "CLIP", "--gap", "90:91"],
        ["fill-gaps", "CLIP", "--gap", "2:5", "--gap", "4:6"],
        ["fill-gaps", "CLIP", "--gap", "0:24"],
        ["fill-gaps", "CLIP", "--gaps", "FOLDER/absent.txt"],
        ["fill-gaps", "CLIP", "-o", "CLIP"],
        ["fill-gaps", "CLIP", "-y", "-o", "CLIP"],
        ["fill-gaps", "CLIP", "-o", "FOLDER/no/such/folder.mkv"],
        ["fill-gaps", "CLIP", "-o", "FOLDER/out.nonsense"],
        ["fill-gaps", "CLIP", "--codec", "nonsense"],
        ["fill-gaps", "CLIP", "--reference", "FOLDER/absent.mkv"],
        ["forecast", "CLIP", "--frames", "2", "--from", "99"],
        ["forecast", "CLIP", "--frames", "99", "--hold-out"],
        ["interpolate", "FOLDER/absent.mkv", "--times", "2"],
        ["interpolate", "CLIP", "--times", "2", "--codec", "copy"],
        ["evaluate", "FOLDER/absent.mkv"],
        ["evaluate", "CLIP", "--context", "1,4", "--plot", "FOLDER/no/such/folder.svg"],
        ["compare", "CLIP", "FOLDER/absent.mkv"],
    ],
)
def test_a_failure_is_one_line(run: Run, clip: Path, arguments: list[str]) -> None:
    untouched = clip.read_bytes()
    folder = str(clip.parent)
    result = run(*[a.replace("CLIP", str(clip)).replace("FOLDER", folder) for a in arguments])
    assert result.code == 1
    assert result.out == ""
    one_error(result)
    assert clip.read_bytes() == untouched
    assert names(clip.parent) == ["clip.mkv"]


def test_machine_progress_is_nothing_but_json(run: Run, clip: Path, tmp_path: Path) -> None:
    result = run("fill-gaps", clip, tmp_path / "absent.mkv", "--progress", "machine")
    assert result.code == 3
    events = [json.loads(line) for line in result.err.splitlines()]
    assert [event["event"] for event in events if event["event"] != "progress"] == ["error", "done"]
    assert {event["stage"] for event in events if event["event"] == "progress"} == {"scan", "fill"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell: str) -> None:
    script = subprocess.run(
        [sys.executable, "-m", "framepred", "--show-completion", shell],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert script.returncode == 0, script.stderr
    assert "framepred" in script.stdout or "FRAMEPRED" in script.stdout


def test_help_names_every_option(run: Run) -> None:
    said = run("fill-gaps", "--help").out
    for option in (
        "--gap", "--gaps", "--detect", "--max-gap", "--context", "--model", "--device",
        "--self-check", "--tile", "--resume", "--reference", "--codec", "--crf", "--preset",
        "--lossless",
        "--dry-run",
        "--overwrite", "--json", "--progress", "--output",
    ):  # fmt: skip
        assert re.search(rf"{option}\b", said), option


@pytest.mark.skipif(os.name != "posix", reason="signals are a matter of POSIX")
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("SIGINT", 130),
        ("SIGTERM", 143),
        pytest.param("SIGHUP", 129, marks=pytest.mark.exhaustive),
    ],
)
def test_a_signal_leaves_nothing(clip: Path, name: str, code: int) -> None:
    script = f"""
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # so do those that outlive their terminal
sys.path.insert(0, {str(Path(__file__).parent)!r})
from blending import BlendPredictor
import framepred.predictor
from framepred.cli import run
class Slow(BlendPredictor):
    def fill(self, *args, **options):
        print("half way", flush=True)
        time.sleep(60)
class Lingering:
    # Like an encoder that first finishes what it has in hand.
    def __del__(self):
        time.sleep(60)
lingering = Lingering()
framepred.predictor.Predictor.load = lambda *args, **options: Slow()
sys.argv = ["framepred", "fill-gaps", {str(clip)!r}]
run()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "half way\n"
        process.send_signal(getattr(signal, name))
        try:
            said = process.communicate(timeout=20)[1]
        finally:
            process.kill()  # if it stands still, or the end of the block would wait for it
        assert process.returncode == code
    assert "Traceback" not in said
    assert names(clip.parent) == ["clip.mkv"]


# Pipes.


@pytest.fixture
def pipe(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, bytes, str]]:
    """Run a command with bytes for standard input: exit code, standard output, standard error."""

    def invoke(sent: bytes, *arguments: object) -> tuple[int, bytes, str]:
        answer = CliRunner().invoke(app, [str(a) for a in arguments], input=sent)
        if answer.exception is not None and not isinstance(answer.exception, SystemExit):
            raise answer.exception
        return answer.exit_code, answer.stdout_bytes, answer.stderr

    return invoke


def y4m(n: int) -> bytes:
    frames = b"".join(b"FRAME\n" + bytes([10 * i % 256]) * (64 * 48) for i in range(n))
    return b"YUV4MPEG2 W64 H48 F25:1 Ip A0:0 Cmono\n" + frames


Pipe = Callable[..., tuple[int, bytes, str]]


def test_pipes(pipe: Pipe, tmp_path: Path) -> None:
    sent = y4m(30)
    report = tmp_path / "report.json"
    code, out, err = pipe(sent, "fill-gaps", "-", "--gap", "10:14", "-o", "-", "--json", report)
    assert code == 0
    assert len(out) == len(sent)
    assert "standard input -> standard output: 4 frames made" in err
    assert json.loads(report.read_text())["gaps"][0]["start"] == 10
    code, out, _ = pipe(sent, "forecast", "-", "--frames", "5", "-o", "-")
    assert (code, len(out)) == (0, len(y4m(35)))
    code, out, _ = pipe(sent, "interpolate", "-", "--times", "2", "-o", "-")
    assert (code, out.count(b"FRAME\n")) == (0, 60)
    assert b"F50:1" in out[:40]
    raw = sent[38:].replace(b"FRAME\n", b"")
    raw_options = ["--raw", "64x48:gray:25", "-o", "-"]
    code, out, _ = pipe(raw, "interpolate", "-", "--times", "2", *raw_options)
    assert (code, len(out)) == (0, 60 * 64 * 48)


def test_a_file_goes_to_a_pipe(pipe: Pipe, clip: Path) -> None:
    code, out, err = pipe(b"", "fill-gaps", clip, "-o", "-")
    assert code == 0
    assert out.startswith(b"YUV4MPEG2 W64 H48 F25:1 ")
    assert out.count(b"FRAME\n") == 24
    assert "3 frames made" in err
    assert names(clip.parent) == ["clip.mkv"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["fill-gaps", "-", "--gap", "1:2"],
        ["fill-gaps", "-", "--gap", "1:2", "-o", "-", "--json", "-"],
        ["fill-gaps", "CLIP", "-o", "-", "--json", "-"],
        ["fill-gaps", "-", "CLIP", "-o", "-"],
        ["fill-gaps", "-", "--gap", "1:2", "-o", "-", "--adapt", "4"],
        ["fill-gaps", "-", "--gap", "1:2", "-o", "-", "--crf", "4"],
        ["fill-gaps", "-", "--gap", "1:2", "-o", "-", "--raw", "64x48"],
        ["fill-gaps", "CLIP", "--raw", "64x48:gray:25"],
        ["forecast", "-", "--frames", "2", "--from", "1", "-o", "-"],
        ["forecast", "CLIP", "--frames", "2", "--hold-out", "-o", "-"],
        ["interpolate", "-", "--times", "2", "-o", "-", "-n"],
    ],
)
def test_what_goes_with_no_pipe(pipe: Pipe, clip: Path, arguments: list[str]) -> None:
    code, out, _ = pipe(y4m(9), *[a.replace("CLIP", str(clip)) for a in arguments])
    assert (code, out) == (2, b"")


@pytest.mark.parametrize(
    ("sent", "arguments", "words"),
    [
        (b"", ["fill-gaps", "-", "--gap", "1:2", "-o", "-"], "is empty"),
        (b"hello\n", ["interpolate", "-", "--times", "2", "-o", "-"], "it is not y4m"),
        (y4m(9), ["fill-gaps", "-", "-o", "-"], "name the gaps"),
        (y4m(9)[:-5], ["interpolate", "-", "--times", "2", "-o", "FOLDER/x.mkv"], "within frame 8"),
        (y4m(9), ["fill-gaps", "-", "--gap", "20:21", "-o", "FOLDER/x.mkv"], "0:9"),
    ],
)
def test_a_pipe_that_fails_is_one_line(
    pipe: Pipe, tmp_path: Path, sent: bytes, arguments: list[str], words: str
) -> None:
    code, _, err = pipe(sent, *[a.replace("FOLDER", str(tmp_path)) for a in arguments])
    assert code == 1
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    assert words in err
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="the shell of POSIX")
def test_nobody_reads_standard_output(tmp_path: Path) -> None:
    """A reader that leaves early: one line, exit code 1, and no complaint at the end."""
    (tmp_path / "in.y4m").write_bytes(y4m(200))
    command = [sys.executable, "-m", "framepred", "interpolate", "-", "--times", "2", "-o", "-"]
    script = f"""
import sys, framepred.predictor
sys.path.insert(0, {str(Path(__file__).parent)!r})
from blending import BlendPredictor
framepred.predictor.Predictor.load = lambda *args, **options: BlendPredictor()
from framepred.cli import run
sys.argv = {command[2:]!r}
run()
"""
    with (
        (tmp_path / "in.y4m").open("rb") as source,
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=ROOT,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(5000)
        process.stdout.close()
        said = process.stderr.read().decode()
        assert process.wait(timeout=60) == 1
    assert len(said.splitlines()) == 1, said
    assert "closed by the program that reads it" in said


# Settings, and how commands talk.


def test_a_file_of_settings_gives_defaults(
    run: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("framepred.toml").write_text('[scan]\ngap = ["2:4"]\ndetect = ""\n')
    result = run("scan", clip, "--json", "-")
    assert [gap["kind"] for gap in result.json["gaps"]] == ["named", "missing", "missing"]
    over = run("scan", clip, "--gap", "5:6", "--json", "-")
    assert [(gap["start"]) for gap in over.json["gaps"] if gap["kind"] == "named"] == [5]
    Path("other.toml").write_text("[scan]\nmax-gap = 1\n")
    other = run("--config", "other.toml", "scan", clip, "--json", "-")
    assert [gap["action"] for gap in other.json["gaps"]] == ["fill", "leave"]
    Path("other.toml").write_text("[fill-gaps]\nmax-gap = 77\ncodec = 'ffv1'\n")
    said = run("--config", "other.toml", "fill-gaps", "--help").out
    assert "77" in said
    assert "default: ffv1" in said
    Path("framepred.toml").write_text("[scan]\nmaxgap = 1\n")
    wrong = run("scan", clip)
    assert wrong.code == 2
    assert "did you mean" in wrong.err


def test_the_command_line_goes_before_a_file_of_settings(
    run: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("framepred.toml").write_text(
        '[scan]\ngap = "2:4"\n[interpolate]\nfps = 75\ndry-run = true\n'
        '[fill-gaps]\ncodec = "libx264"\nlossless = true\noverwrite = true\n'
    )
    result = run("scan", clip, "--json", "-")
    assert [gap["kind"] for gap in result.json["gaps"]] == ["named", "missing", "missing"]
    assert run("interpolate", clip, "--json", "-").json["rate_out"] == 75
    assert run("interpolate", clip, "--times", "2", "--json", "-").json["rate_out"] == 50
    both = run("interpolate", clip, "--times", "2", "--fps", "30")
    assert both.code == 2
    filled = run("fill-gaps", clip, "--no-self-check", "--no-lossless", "--crf", "40")
    assert filled.code == 0, filled.err
    filled = run("-v", "fill-gaps", clip, "--no-self-check", "--crf", "40")
    assert "crf=40" in filled.err, "lossless of the file steps back"
    Path("framepred.toml").write_text(
        '[fill-gaps]\ncrf = 20\noverwrite = true\ncodec = "libx264"\n'
    )
    filled = run("-v", "fill-gaps", clip, "--no-self-check", "--lossless")
    assert "qp=0" in filled.err, "crf of the file steps back"
    assert run("fill-gaps", clip, "--crf", "20", "--lossless").code == 1
    again = run("fill-gaps", clip, "--no-self-check", "--no-overwrite")
    assert again.code == 1
    assert "exists already" in again.err


def test_verbose_says_why(run: Run, clip: Path, tmp_path: Path) -> None:
    plain = run("fill-gaps", clip)
    log = tmp_path / "log.txt"
    told = run("-v", "--log-file", log, "fill-gaps", clip, "-y")
    assert told.code == 0
    assert told.out == ""
    assert "frames 8:9, 00:00:00.320: missing: no packet has these times" in told.err
    assert "frames 15:17: fill: 2 missing frames" in told.err
    assert "shown: 12:15, 17:20" in told.err
    assert "encoded by ffv1 in yuv420p (level=3, slicecrc=1), for the input's ffv1" in told.err
    assert "frames 8:9: made; self-check" in told.err
    assert "no packet has these times" in log.read_text()
    assert "no packet" not in plain.err
    assert "no packet" not in run("fill-gaps", clip, "-y").err  # the manner has gone again


def test_verbose_for_programs(run: Run, clip: Path) -> None:
    told = run("-v", "fill-gaps", clip, "--progress", "machine")
    events = [json.loads(line) for line in told.err.splitlines()]
    notes = [event["message"] for event in events if event["event"] == "note"]
    assert any("no packet has these times" in note for note in notes)


def test_verbose_names_the_settings(
    run: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("framepred.toml").write_text("[scan]\nmax-gap = 3\n")
    assert "defaults from framepred.toml: max_gap = 3" in run("-v", "scan", clip).err
    assert "none for this command" in run("-v", "fill-gaps", clip, "-n").err


def test_quiet_and_verbose_exclude_each_other(run: Run, clip: Path) -> None:
    result = run("-q", "-v", "scan", clip)
    assert result.code == 2
    assert "--verbose" in result.err


def test_quiet_and_log_file(run: Run, clip: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    result = run("--quiet", "--log-file", log, "fill-gaps", clip)
    assert (result.code, result.out, result.err) == (0, "", "")
    again = run("-q", "--log-file", log, "fill-gaps", clip)
    assert again.code == 1
    one_error(again)
    first, *_, last = log.read_text().splitlines()
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 .*3 frames made", first)
    assert "error: " in last
    assert run("--log-file", tmp_path / "no" / "log.txt", "scan", clip).code == 2


@pytest.mark.slow
def test_a_code_page_without_the_signs_is_no_end(tmp_path: Path) -> None:
    """As on Windows: a name that cp1252 lacks, in JSON and in what is said."""
    source = write_clip(tmp_path / "\u6620\u753b.mkv", 4, codec="ffv1")
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    for arguments in (["scan", str(source), "--json", "-"], ["scan", str(source)]):
        done = subprocess.run(
            [sys.executable, "-m", "framepred", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            check=True,
        )
        assert b"Traceback" not in done.stderr
        if "--json" in arguments:
            assert json.loads(done.stdout.decode("cp1252"))["input"] == str(source)
        else:
            assert rb"\u6620" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="limits are a matter of POSIX")
@pytest.mark.parametrize("resume", [[], pytest.param(["--resume"], marks=pytest.mark.exhaustive)])
def test_a_full_disk_is_one_line(clip: Path, resume: list[str]) -> None:
    script = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from blending import BlendPredictor
import framepred.predictor
from framepred.cli import run
framepred.predictor.Predictor.load = lambda *args, **options: BlendPredictor()
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # as good as a full disk
sys.argv = ["framepred", "fill-gaps", {str(clip)!r}, *{resume!r}]
run()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    *notes, error = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert "grows larger than this system allows" in error
    assert len(notes) == 2 * len(resume)  # that it begins anew, and that it may be gone on with
    kept = [".clip.filled.mkv.journal"] if resume else []
    assert names(clip.parent) == [*kept, "clip.mkv"]


def test_an_input_that_vanishes_is_one_line(
    run: Run, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from framepred import filling

    scan = filling.scan

    def scan_and_lose(path: Path, **options: Any) -> Any:
        found = scan(path, **options)
        path.unlink()
        return found

    monkeypatch.setattr(filling, "scan", scan_and_lose)
    result = run("fill-gaps", clip)
    assert result.code == 1
    assert "clip.mkv: cannot be read any more" in one_error(result)
    assert names(clip.parent) == []


@pytest.mark.skipif(os.name != "posix", reason="permissions are a matter of POSIX")
def test_a_folder_that_cannot_be_written_is_one_line(
    run: Run, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise PermissionError(13, "Permission denied")

    result = run("fill-gaps", clip, "-o", "/proc/out.mkv")  # not even the superuser may
    assert result.code == 1
    assert "/proc/out.mkv" in one_error(result)
    monkeypatch.setattr(os, "open", refuse)
    result = run("fill-gaps", clip, "--lossless")
    assert result.code == 1
    assert "Permission denied" in one_error(result)
    assert names(clip.parent) == ["clip.mkv"]


def test_what_is_read_is_not_written_over(run: Run, clip: Path, tmp_path: Path) -> None:
    """As when a command for all videos of a folder is given once more."""
    one, two = tmp_path / "a.mkv", tmp_path / "a.filled.mkv"
    for path in (one, two):
        shutil.copy(clip, path)
    result = run("fill-gaps", "-y", one, two)
    assert result.code == 3
    assert "a.filled.mkv: is to be read too; leave it out" in result.err
    assert two.read_bytes() == clip.read_bytes()
    assert (tmp_path / "a.filled.filled.mkv").exists()
    for command in (["forecast", "--frames", "1"], ["interpolate", "--times", "2"]):
        word = {"forecast": "forecast", "interpolate": "interpolated"}[command[0]]
        target = tmp_path / f"a.{word}.mkv"
        shutil.copy(clip, target)
        assert run(*command, "-y", one, target).code == 3
        assert target.read_bytes() == clip.read_bytes()
    for command in (["fill-gaps"], ["interpolate", "--times", "2"]):
        result = run(*command, one, "--reference", two, "-o", two, "-y")
        assert result.code == 1
        assert "is to be read too" in result.err
        assert two.read_bytes() == clip.read_bytes()


def test_views_of_nothing_are_named(run: Run, tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", 12)
    result = run("fill-gaps", whole, "--contact-sheet", tmp_path / "sheet.png")
    assert result.code == 0
    assert "nothing was made, so there is nothing to show but a report" in result.err
    assert not (tmp_path / "sheet.png").exists()
