from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from blending import BlendPredictor, GrayPredictor, SlidePredictor
from synthetic import (
    make_frames,
    make_times,
    read_packets,
    read_planes,
    write_clip,
    write_gappy_clip,
)

from framepred import stages
from framepred.calibration import ConfidenceLedger
from framepred.errors import (
    EvaluationError,
    FramepredError,
    GapError,
    MediaError,
    OutputError,
)
from framepred.filling import fill_gaps
from framepred.metrics import psnr, ssim
from framepred.protocol import Window
from framepred.reports import Progress
from framepred.scanning import ScanReport
from framepred.video import Frame, VideoReader, open_rgb_frames

# Gaps of 1, 2, 3, 4 and 8 frames.
HOLES = [10, 20, 21, 31, 32, 33, 43, 44, 45, 46, 56, 57, 58, 59, 60, 61, 62, 63]
RUNS = [(10, 11), (20, 22), (31, 34), (43, 47), (56, 64)]
N = 76


@pytest.fixture(scope="module")
def gappy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """76 ideal frames at 25 a second with five holes, stored without loss, and sound."""
    path = tmp_path_factory.mktemp("gappy") / "clip.mkv"
    write_gappy_clip(path, N, HOLES, codec="ffv1", audio=True)
    return path


def rgb(path: Path) -> list[np.ndarray]:
    return list(open_rgb_frames(path))


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_fills_exactly_the_holes(gappy: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    report = fill_gaps(gappy, output, predictor=BlendPredictor(), lossless=True)

    assert [(gap.start, gap.stop) for gap in report.gaps] == RUNS
    assert {gap.kind for gap in report.gaps} == {"missing"}
    assert {gap.action for gap in report.gaps} == {"fill"}
    assert report.frames_made == len(HOLES)
    assert report.frames_in == N - len(HOLES)
    assert report.frame_rate == 25

    before, after = read_planes(gappy), read_planes(output)
    assert [at for at, _ in after] == make_times(N)
    made = set(HOLES)
    assert [digest for i, (_, digest) in enumerate(after) if i not in made] == [
        digest for _, digest in before
    ]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_other_streams_are_copied(tmp_path: Path, suffix: str) -> None:
    source, output = tmp_path / f"clip{suffix}", tmp_path / f"out{suffix}"
    write_gappy_clip(
        source,
        30,
        [10, 11],
        audio=True,
        subtitles=[(Fraction(1, 5), Fraction(4, 5), "hello")],
        rotation=90,
    )
    report = fill_gaps(source, output, predictor=BlendPredictor(), lossless=True)
    assert report.streams_copied == 2
    assert report.streams_left_out == ()
    before, after = read_packets(source), read_packets(output)
    for index in (1, 2):
        assert after[index] == before[index]
    with VideoReader(source) as true, VideoReader(output) as made:
        assert made.info.rotation == true.info.rotation == 90
        assert made.info.duration == true.info.duration


def test_made_frames_are_in_order_and_look_like_what_the_network_gave(
    gappy: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mkv"
    fill_gaps(gappy, output, predictor=GrayPredictor(), lossless=True, self_check=False)
    frames = rgb(output)
    means = [frames[i].mean() for i in HOLES]
    assert means == pytest.approx([40 + 8 * k for k in range(len(HOLES))], abs=1.5)


def test_ten_bits_stay_ten_bits(tmp_path: Path) -> None:
    source, output = tmp_path / "clip.mkv", tmp_path / "out.mkv"
    write_gappy_clip(source, 20, [9, 10], codec="ffv1", pix_fmt="yuv420p10le")
    predictor = SlidePredictor()
    report = fill_gaps(source, output, predictor=predictor, lossless=True)
    assert report.gaps[0].estimated_psnr is not None
    assert report.gaps[0].estimated_psnr > 45  # only the conversion to RGB and back is lost
    with VideoReader(output) as reader:
        assert reader.info.pix_fmt == "yuv420p10le"
    kept = [digest for i, (_, digest) in enumerate(read_planes(output)) if i not in (9, 10)]
    assert kept == [digest for _, digest in read_planes(source)]


def test_named_gap_replaces_real_frames(tmp_path: Path) -> None:
    source, output = write_clip(tmp_path / "clip.mkv", 20, codec="ffv1"), tmp_path / "out.mkv"
    report = fill_gaps(
        source, output, gaps=["8:11"], predictor=GrayPredictor(), lossless=True, self_check=False
    )
    assert [(g.start, g.stop, g.kind, g.action) for g in report.gaps] == [(8, 11, "named", "fill")]
    assert (report.frames_made, report.frames_replaced) == (3, 3)
    before, after = read_planes(source), read_planes(output)
    assert [t for t, _ in after] == [t for t, _ in before]
    assert [a == b for a, b in zip(after, before, strict=True)] == [
        i not in (8, 9, 10) for i in range(20)
    ]


def test_gap_at_either_end_is_made_from_one_side(tmp_path: Path) -> None:
    source, output = write_clip(tmp_path / "clip.mkv", 24, codec="ffv1"), tmp_path / "out.mkv"
    predictor = SlidePredictor()
    report = fill_gaps(
        source, output, gaps=["0:2", "22:24"], predictor=predictor, lossless=True, reference=source
    )
    assert [gap.action for gap in report.gaps] == ["backcast", "forecast"]
    assert [(g.context_before, g.context_after) for g in report.gaps] == [(0, 3), (3, 0)]
    assert len(read_planes(output)) == 24
    for gap in report.gaps:
        # The sliding picture is known exactly, on the right side and in the right direction.
        assert gap.psnr is not None
        assert gap.estimated_psnr is not None
        assert gap.psnr > 40
        assert gap.estimated_psnr > 40


def test_gap_across_a_cut_is_never_blended(tmp_path: Path) -> None:
    frames = [*make_frames(12, seed=1), *(image // 3 for image in make_frames(12, seed=9))]
    kept = [i for i in range(24) if i not in (10, 11, 12, 13)]
    source = write_clip(
        tmp_path / "clip.mkv",
        [frames[i] for i in kept],
        times=make_times(24, holes=[10, 11, 12, 13]),
        codec="ffv1",
    )
    output = tmp_path / "out.mkv"
    predictor = SlidePredictor()
    report = fill_gaps(source, output, predictor=predictor, lossless=True, self_check=False)
    assert [gap.action for gap in report.gaps] == ["split"]
    assert predictor.calls == [(3, 0, 2), (0, 3, 2)]
    made = rgb(output)
    for i in (10, 11, 12, 13):
        assert psnr(frames[i], made[i]) > 35


def test_long_named_gap_is_held(tmp_path: Path) -> None:
    source, output = write_clip(tmp_path / "clip.mkv", 24, codec="ffv1"), tmp_path / "out.mkv"
    report = fill_gaps(
        source, output, gaps=["8:14"], max_gap=4, predictor=BlendPredictor(), lossless=True
    )
    assert [gap.action for gap in report.gaps] == ["hold"]
    assert report.frames_made == 6
    assert report.gaps[0].estimated_psnr is None
    before, after = read_planes(source), read_planes(output)
    assert [t for t, _ in after] == [t for t, _ in before]
    pictures = [digest for _, digest in after]
    assert pictures[8:11] == [before[7][1]] * 3
    assert pictures[11:14] == [before[14][1]] * 3


def test_long_hole_stays_a_hole(tmp_path: Path) -> None:
    source, output = tmp_path / "clip.mkv", tmp_path / "out.mkv"
    holes = [5, *range(12, 18)]
    write_gappy_clip(source, 30, holes, codec="ffv1")
    report = fill_gaps(source, output, max_gap=4, predictor=BlendPredictor(), lossless=True)
    assert [gap.action for gap in report.gaps] == ["fill", "leave"]
    assert report.frames_made == 1
    assert [t for t, _ in read_planes(output)] == make_times(30, holes=holes[1:])


def test_nothing_to_fill_writes_nothing(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", 12, codec="ffv1")
    report = fill_gaps(source)
    assert report.output is None
    assert report.gaps == ()
    assert report.frames_made == 0
    assert report.model is None
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mkv"]


def test_nothing_to_fill_copies_to_a_wished_output(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", 12, codec="ffv1", audio=True)
    report = fill_gaps(source, tmp_path / "same.mkv")
    assert report.output == tmp_path / "same.mkv"
    assert report.streams_copied == 1
    assert (tmp_path / "same.mkv").read_bytes() == source.read_bytes()
    report = fill_gaps(source, tmp_path / "other.mkv", codec="libx264", lossless=True)
    assert read_planes(tmp_path / "other.mkv") == read_planes(source)
    assert report.frames_made == 0


def test_default_output_is_beside_the_input(tmp_path: Path) -> None:
    source, _ = write_gappy_clip(tmp_path / "my.clip.mkv", 16, [7], codec="ffv1")
    report = fill_gaps(source, predictor=BlendPredictor())
    assert report.output == tmp_path / "my.clip.filled.mkv"
    assert report.output.exists()


def test_dry_run_writes_nothing_and_loads_nothing(gappy: Path) -> None:
    report = fill_gaps(gappy, dry_run=True)
    assert report.dry_run
    assert report.frames_made == 0
    assert report.model is None
    assert [(gap.start, gap.stop) for gap in report.gaps] == RUNS
    assert [path.name for path in gappy.parent.iterdir()] == ["clip.mkv"]


def test_self_check_poses_the_same_problem_beside_the_gap(gappy: Path, tmp_path: Path) -> None:
    predictor = SlidePredictor()
    report = fill_gaps(gappy, tmp_path / "out.mkv", predictor=predictor)
    # The known run after frame 56..63 is 12 long, between the others 9 to 10: no room for 8 + 2.
    lengths = [n for _, _, n in predictor.calls]
    assert sorted(set(lengths)) == [1, 2, 3, 4, 8]
    assert all(before >= 2 and after >= 2 for before, after, _ in predictor.calls)
    assert [lengths.count(n) for n in (1, 2, 3, 4)] == [3, 3, 3, 3]  # the gap and both its sides
    for gap in report.gaps:
        assert gap.estimated_psnr is not None
        assert gap.estimated_psnr > 40
        assert gap.estimated_ssim is not None
        assert gap.estimated_ssim > 0.98


def test_every_made_frame_has_its_estimate(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", 40, codec="ffv1")
    report = fill_gaps(
        source, gaps=["12:14", "37:40"], predictor=BlendPredictor(), lossless=True, reference=source
    )
    assert [gap.action for gap in report.gaps] == ["fill", "forecast"]
    images = np.stack(rgb(source))
    windows = (Window("", 12, 2, 3, "fill"), Window("", 37, 3, 3, "forecast"))
    for gap, window in zip(report.gaps, windows, strict=True):
        assert [frame.time for frame in gap.frames] == make_times(40)[gap.start : gap.stop]
        assert gap.psnr == pytest.approx(np.mean([frame.psnr for frame in gap.frames]))
        assert gap.ssim == pytest.approx(np.mean([frame.ssim for frame in gap.frames]))
        told = [(frame.estimated_psnr, frame.estimated_ssim) for frame in gap.frames]
        assert (gap.estimated_psnr, gap.estimated_ssim) == pytest.approx(np.mean(told, axis=0))
        errors = [
            (abs(frame.estimated_psnr - frame.psnr), abs(frame.estimated_ssim - frame.ssim))
            for frame in gap.frames
        ]
        # What `evaluate --confidence` judges is what is told here.
        ledger = ConfidenceLedger(BlendPredictor(), with_ssim=True)
        ledger.add(window, images)
        judged = ledger.report().estimates[1]
        assert judged.estimate == "estimate"
        found = judged.psnr["all"].mean_error, judged.ssim["all"].mean_error
        assert found == pytest.approx(np.mean(errors, axis=0))


def test_the_plan_is_told_before_anything_is_made(tmp_path: Path) -> None:
    source, _ = write_gappy_clip(tmp_path / "clip.mkv", 24, [8, 15], codec="ffv1")
    predictor = BlendPredictor()
    told: list[tuple[int, int]] = []

    def hear(scanned: ScanReport) -> None:
        told.append((scanned.plan.n_to_make, len(predictor.calls)))

    fill_gaps(source, predictor=predictor, dry_run=True, on_plan=hear)
    assert told == []
    fill_gaps(source, predictor=predictor, on_plan=hear)
    assert told == [(2, 0)]
    assert predictor.calls


def test_held_frames_are_reported_without_an_estimate(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", 24, codec="ffv1")
    held = {"gaps": ["8:14"], "max_gap": 4}
    report = fill_gaps(source, **held, predictor=BlendPredictor(), reference=source)
    frames = report.gaps[0].frames
    assert [frame.time for frame in frames] == make_times(24)[8:14]
    assert {frame.estimated_psnr for frame in frames} == {None}
    assert all(frame.psnr is not None for frame in frames)
    assert fill_gaps(source, **held, dry_run=True).gaps[0].frames == ()


def test_self_check_that_has_no_room_reports_nothing(tmp_path: Path) -> None:
    source, _ = write_gappy_clip(tmp_path / "clip.mkv", 12, [4, 5, 6, 7], codec="ffv1")
    report = fill_gaps(source, predictor=BlendPredictor())
    assert report.gaps[0].action == "fill"
    assert report.gaps[0].estimated_psnr is None
    assert report.gaps[0].estimated_ssim is None
    assert {frame.estimated_psnr for frame in report.gaps[0].frames} == {None}


def test_self_check_can_be_left_out(gappy: Path, tmp_path: Path) -> None:
    predictor = BlendPredictor()
    report = fill_gaps(gappy, tmp_path / "out.mkv", predictor=predictor, self_check=False)
    assert len(predictor.calls) == len(RUNS)
    assert all(gap.estimated_psnr is None for gap in report.gaps)


def test_reference_scores_the_made_frames(tmp_path: Path) -> None:
    truth = write_clip(tmp_path / "truth.mkv", 24, codec="ffv1")
    source, _ = write_gappy_clip(tmp_path / "clip.mkv", 24, [6, 14, 15], codec="ffv1")
    output = tmp_path / "out.mkv"
    report = fill_gaps(source, output, predictor=BlendPredictor(), reference=truth, lossless=True)
    true, made = rgb(truth), rgb(output)
    for gap in report.gaps:
        slots = range(gap.start, gap.stop)
        # The made frame is scored before it is encoded: chroma subsampling makes the difference.
        expected = float(np.mean([psnr(true[i], made[i]) for i in slots]))
        assert gap.psnr == pytest.approx(expected, abs=1.0)
        similarity = float(np.mean([ssim(true[i], made[i]) for i in slots]))
        assert gap.ssim == pytest.approx(similarity, abs=0.02)


def test_reference_is_matched_by_time_and_absent_times_are_not_scored(tmp_path: Path) -> None:
    truth = write_clip(
        tmp_path / "truth.mkv", make_frames(24)[:10], times=make_times(24)[:10], codec="ffv1"
    )
    source, _ = write_gappy_clip(tmp_path / "clip.mkv", 24, [6, 14, 15], codec="ffv1")
    report = fill_gaps(
        source, predictor=SlidePredictor(), reference=truth, lossless=True, self_check=False
    )
    first, second = report.gaps
    assert first.psnr is not None
    assert first.psnr > 40
    assert second.psnr is None
    assert second.ssim is None


def test_report_is_one_json_object_with_the_promised_keys(gappy: Path, tmp_path: Path) -> None:
    report = fill_gaps(gappy, tmp_path / "out.mkv", predictor=BlendPredictor())
    data = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    promised = {
        "input", "output", "frames_in", "frames_made", "frame_rate", "gaps", "streams_copied",
        "model", "device", "seconds",
    }  # fmt: skip
    assert promised <= set(data)
    assert set(data["seconds"]) == {"decode", "model", "encode", "total"}
    for gap in data["gaps"]:
        assert set(gap) == {
            "start", "stop", "time", "kind", "action", "reason", "context_before",
            "context_after", "estimated_psnr", "estimated_ssim", "psnr", "ssim", "frames",
        }  # fmt: skip
        for frame in gap["frames"]:
            assert set(frame) == {
                "time", "estimated_psnr", "estimated_ssim", "psnr", "ssim",
                "check_psnr", "check_ssim", "calmer", "kept",
            }  # fmt: skip
            assert frame["check_psnr"] is not None
            assert frame["estimated_psnr"] is not None
            assert 0 < frame["estimated_ssim"] <= 1
        assert gap["psnr"] is None
    assert data["gaps"][1]["time"] == 0.8
    assert (data["model"], data["device"], data["frame_rate"]) == ("blend", "cpu", 25.0)
    spent = data["seconds"]
    # Stages overlap: each is shorter than the whole, their sum need not be.
    assert all(0 < spent[stage] <= spent["total"] for stage in ("decode", "model", "encode"))


def test_progress_counts_up_to_the_end(gappy: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    fill_gaps(gappy, tmp_path / "out.mkv", predictor=BlendPredictor(), on_progress=seen.append)
    stages = list(dict.fromkeys(progress.stage for progress in seen))
    assert stages[-1] == "fill"
    filled = [progress for progress in seen if progress.stage == "fill"]
    assert [progress.done for progress in filled] == sorted(progress.done for progress in filled)
    assert filled[-1].done == filled[-1].total == N


@pytest.mark.parametrize("self_check", [True, False])
def test_memory_does_not_grow_with_the_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, self_check: bool
) -> None:
    for n in (60, 240):
        source = tmp_path / f"{n}.mkv"
        holes = [i for start in range(20, n - 20, 30) for i in (start, start + 1)]
        write_gappy_clip(source, n, holes, codec="ffv1")
        census = _Census()
        monkeypatch.setattr(stages, "VideoReader", census.reader)
        monkeypatch.setattr(stages, "choose_depth", lambda info: 8)
        report = fill_gaps(
            source, tmp_path / f"{n}.out.mkv", predictor=BlendPredictor(), self_check=self_check
        )
        assert report.frames_made == len(holes)
        assert census.n_seen == n - len(holes)
        # The widest window: 4 + 2 + 4 frames for a check, as many waiting behind the gap. Then the
        # queues before and behind, and at either end a frame in hand and one that waits for it.
        assert census.most_alive <= (20 if self_check else 14) + 2 * (8 + 2)


class _Census:
    """Counts the frames that exist at the same time."""

    def __init__(self) -> None:
        self.n_seen = self.n_alive = self.most_alive = 0
        self._lock = threading.RLock()  # a frame may go while another is counted

    def reader(self, *args: Any, **kwargs: Any) -> VideoReader:
        census = self

        class CountingReader(VideoReader):
            def read(self) -> Iterator[Any]:
                for item in super().read():
                    if isinstance(item, Frame):
                        census.count(item)
                    yield item

        return CountingReader(*args, **kwargs)

    def count(self, frame: Frame) -> None:
        with self._lock:
            self.n_seen += 1
            self.n_alive += 1
            self.most_alive = max(self.most_alive, self.n_alive)
        weakref.finalize(frame, self.forget)

    def forget(self) -> None:
        with self._lock:
            self.n_alive -= 1


# What goes wrong.


def bad_text(folder: Path) -> Path:
    path = folder / "text.mkv"
    path.write_text("no video\n" * 50)
    return path


def bad_truncated(folder: Path) -> Path:
    path = folder / "cut.mp4"
    path.write_bytes(write_clip(folder / "whole.mp4", 10).read_bytes()[:600])
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: folder / "nowhere.mkv",
        lambda folder: folder,
        bad_text,
        bad_truncated,
        lambda folder: write_clip(folder / "one.mkv", 1, codec="ffv1"),
    ],
    ids=["absent", "folder", "text", "truncated", "one-frame"],
)
def test_bad_input_is_one_line(tmp_path: Path, make: Any) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    source = make(folder)
    names = sorted(path.name for path in folder.iterdir())
    output = tmp_path / "out.mkv"
    with pytest.raises(FramepredError) as caught:
        fill_gaps(source, output, predictor=BlendPredictor(), gaps=["0:1"])
    assert "\n" not in str(caught.value)
    assert not output.exists()
    assert sorted(path.name for path in folder.iterdir()) == names
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("gaps", [["5:99"], ["3:6", "5:8"], ["0:12"], ["7:7"], ["x"], ["9.0-9.5"]])
def test_bad_gaps(tmp_path: Path, gaps: list[str]) -> None:
    source = write_clip(tmp_path / "clip.mkv", 12, codec="ffv1")
    with pytest.raises(GapError) as caught:
        fill_gaps(source, gaps=gaps, predictor=BlendPredictor())
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mkv"]


def test_outputs_that_must_not_be_written(gappy: Path, tmp_path: Path) -> None:
    untouched = gappy.read_bytes()
    taken = tmp_path / "taken.mkv"
    taken.write_bytes(b"precious")
    for output in (gappy, taken, tmp_path / "no" / "such" / "folder.mkv", tmp_path / "a.nonsense"):
        with pytest.raises(OutputError):
            fill_gaps(gappy, output, predictor=BlendPredictor())
    with pytest.raises(OutputError):
        fill_gaps(gappy, gappy, predictor=BlendPredictor(), overwrite=True)
    assert gappy.read_bytes() == untouched
    assert taken.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken.mkv"]
    fill_gaps(gappy, taken, predictor=BlendPredictor(), overwrite=True, self_check=False)
    assert len(read_planes(taken)) == N


def test_reference_of_another_size(gappy: Path, tmp_path: Path) -> None:
    other = write_clip(tmp_path / "other.mkv", make_frames(8, width=32, height=32), codec="ffv1")
    with pytest.raises(EvaluationError, match="32x32"):
        fill_gaps(gappy, tmp_path / "out.mkv", predictor=BlendPredictor(), reference=other)
    assert not (tmp_path / "out.mkv").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_an_interruption_leaves_nothing(
    gappy: Path, tmp_path: Path, error: type[BaseException]
) -> None:
    class Interrupted(BlendPredictor):
        def fill(self, *given: Any, **options: Any) -> Any:
            if len(self.calls) == 4:
                raise error
            return super().fill(*given, **options)

    with pytest.raises(error):
        fill_gaps(gappy, tmp_path / "out.mkv", predictor=Interrupted())
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_shrinks_between_the_readings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = write_gappy_clip(tmp_path / "clip.mkv", 20, [9], codec="ffv1")

    class ShortReader(VideoReader):
        def read(self) -> Iterator[Any]:
            yield from list(super().read())[:-3]

    monkeypatch.setattr(stages, "VideoReader", ShortReader)
    with pytest.raises(MediaError, match="fewer frames"):
        fill_gaps(source, predictor=BlendPredictor())
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mkv"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="SIGKILL is a matter of POSIX")
def test_kill_leaves_nothing_under_the_final_name(gappy: Path, tmp_path: Path) -> None:
    script = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from blending import BlendPredictor
from framepred.filling import fill_gaps
class Slow(BlendPredictor):
    def fill(self, *args, **options):
        if len(self.calls) == 2:
            print("half way", flush=True)
            time.sleep(60)
        return super().fill(*args, **options)
fill_gaps({str(gappy)!r}, {str(tmp_path / "out.mkv")!r}, predictor=Slow())
"""
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=root
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half way\n"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
    time.sleep(0.05)
    assert not (tmp_path / "out.mkv").exists()
    # The temporary file, which nothing could remove, and what was made up to then.
    part, journal = leftovers(tmp_path)
    assert journal == ".out.mkv.journal"
    assert part.endswith(".part")


def test_a_second_reading_that_gives_other_frames_is_refused(
    gappy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged stream need not decode alike twice; a frame must never land on another's time."""

    class Forgetful(VideoReader):
        def read(self) -> Iterator[Any]:
            kept = 0
            for item in super().read():
                if isinstance(item, Frame):
                    if item.index == 25:
                        continue
                    item = dataclasses.replace(item, index=kept)
                    kept += 1
                yield item

    monkeypatch.setattr(stages, "VideoReader", Forgetful)
    with pytest.raises(MediaError, match="frame 25 is at"):
        fill_gaps(gappy, tmp_path / "out.mkv", predictor=BlendPredictor(), self_check=False)
    assert list(tmp_path.iterdir()) == []


# ---- references whose clocks begin elsewhere ---------------------------------------------------


def test_a_reference_may_begin_at_another_time(tmp_path: Path) -> None:
    frames, n = make_frames(40), 40
    true = write_clip(tmp_path / "true.mkv", frames, lossless=True)
    later = [time + Fraction(37, 25) for time in make_times(n)]
    shifted = write_clip(tmp_path / "shifted.mkv", frames, times=later, lossless=True)
    kept = [i for i in range(n) if i != 20]
    holed = write_clip(
        tmp_path / "holed.mkv", [frames[i] for i in kept], times=[make_times(n)[i] for i in kept]
    )
    holed_later = write_clip(
        tmp_path / "holed_later.mkv", [frames[i] for i in kept], times=[later[i] for i in kept]
    )
    # Its first three frames are lost, and its clock is right.
    cut = write_clip(
        tmp_path / "cut.mkv",
        [frames[i] for i in kept[3:]],
        times=[make_times(n)[i] for i in kept[3:]],
    )

    # Of the reference the first five are.
    begun = write_clip(tmp_path / "begun.mkv", frames[5:], times=make_times(n)[5:])

    def score(source: Path, reference: Path) -> float | None:
        notes: list[str] = []
        report = fill_gaps(
            source,
            tmp_path / "out.mkv",
            predictor=SlidePredictor(),
            reference=reference,
            detect=("missing",),
            overwrite=True,
            on_note=notes.append,
        )
        assert notes == []
        return report.gaps[0].psnr

    expected = score(holed, true)
    assert expected is not None
    assert expected > 30
    for source, reference in (
        (holed, shifted),
        (holed_later, true),
        (holed_later, shifted),
        (cut, true),
        (holed, begun),
    ):
        assert score(source, reference) == pytest.approx(expected, abs=1.0), (source, reference)


def test_a_reference_that_ends_too_early_is_told(tmp_path: Path, gappy: Path) -> None:
    short = write_clip(tmp_path / "short.mkv", 4)
    notes: list[str] = []
    report = fill_gaps(
        gappy,
        tmp_path / "out.mkv",
        predictor=BlendPredictor(),
        reference=short,
        on_note=notes.append,
    )
    assert all(gap.psnr is None for gap in report.gaps)
    assert "nothing was scored" in notes[0]


def test_a_time_code_is_copied_as_it_is_where_there_is_no_tag_for_it(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mov", 20, metadata={"timecode": "01:00:00:00"})
    output = tmp_path / "out.avi"
    report = fill_gaps(source, output, gaps=["5:7"], predictor=BlendPredictor())
    assert (report.streams_copied, report.streams_left_out) == (1, ())
    before, after = (read_packets(path)[1] for path in (source, output))
    assert [packet[3] for packet in before] == [packet[3] for packet in after]


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_a_time_code_stays(tmp_path: Path, suffix: str) -> None:
    source = write_clip(tmp_path / "clip.mov", 20, metadata={"timecode": "01:00:00:00"})
    with av.open(source) as container:
        assert [stream.type for stream in container.streams] == ["video", "data"]
    output = tmp_path / f"out{suffix}"
    report = fill_gaps(source, output, gaps=["5:7"], predictor=BlendPredictor())
    assert report.streams_left_out == ()
    with av.open(output) as container:
        tags = {**container.metadata, **container.streams.video[0].metadata}
        assert "01:00:00:00" in {key.lower(): value for key, value in tags.items()}["timecode"]
        assert len(container.streams) == (1 if suffix == ".mkv" else 2)
