from __future__ import annotations

import weakref
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from blending import BlendPredictor
from synthetic import (
    damage_packets,
    make_frames,
    make_times,
    read_packets,
    read_planes,
    write_clip,
    write_gappy_clip,
)
from torch import Tensor

from framepred import interpolation
from framepred.errors import EvaluationError, GapError, MediaError, OutputError
from framepred.interpolation import interpolate
from framepred.layers import FeaturePyramid
from framepred.metrics import psnr
from framepred.predictor import Predictor
from framepred.reports import HeldReport, InterpolateReport, Progress
from framepred.stages import choose_depth
from framepred.summaries import show_interpolation
from framepred.video import Frame, VideoReader, open_rgb_frames, probe


def run(source: Path, output: Path, **options: object) -> InterpolateReport:
    values: dict[str, object] = {"predictor": BlendPredictor(), "lossless": True, **options}
    return interpolate(source, output, **values)  # type: ignore[arg-type]


def times_of(path: Path) -> list[Fraction]:
    return [time for time, _ in read_planes(path)]


def write_uneven(path: Path) -> Path:
    """17 frames of no rate, most of them 1/25 s apart."""
    steps = [3600, 4100, 3600, 5200, 3600, 3600, 4700, 3600] * 2
    ticks = [sum(steps[:k]) for k in range(17)]
    times = [Fraction(tick, 90_000) for tick in ticks]
    return write_clip(path, len(ticks), times=times, rate=24, time_base=Fraction(1, 90_000))


@pytest.mark.parametrize("times", [2, 3, 5])
def test_a_variable_rate_ends_when_it_did(ffprobe: Any, tmp_path: Path, times: int) -> None:
    source = write_uneven(tmp_path / "clip.mp4")
    end = times_of(source)[-1] + Fraction(1, 25)
    report = run(source, tmp_path / "out.mp4", times=times)
    assert report.rate_in is None
    assert report.frames_held == (HeldReport("end of the video", times - 1),)
    (stream,) = ffprobe(tmp_path / "out.mp4")["streams"]
    assert float(stream["duration"]) == pytest.approx(float(end), abs=0.001)


def test_new_frames_of_a_variable_rate_are_made_where_they_are_shown(tmp_path: Path) -> None:
    source = write_uneven(tmp_path / "clip.mp4")
    report = run(source, tmp_path / "out.mp4", rate=60)
    assert report.rate_in is None
    # Kept frames lie at most a tenth of the shortest interval off; made ones a fiftieth.
    assert report.largest_shift <= Fraction(1, 25) / 10


def test_twice_as_many_frames_keep_all_that_there_are(tmp_path: Path) -> None:
    source, output = tmp_path / "clip.mkv", tmp_path / "out.mkv"
    write_clip(source, 12, codec="ffv1", audio=True)
    report = run(source, output, times=2)
    before, after = read_planes(source), read_planes(output)
    assert [time for time, _ in after] == make_times(24, rate=50)
    assert after[::2] == before
    assert (report.frames_in, report.frames_kept, report.frames_made) == (12, 12, 11)
    assert report.frames_held == (HeldReport("end of the video", 1),)
    assert report.frames_out == 24
    assert (report.rate_in, report.rate_out) == (25, 50)
    assert report.streams_copied == 1
    assert read_packets(output)[1] == read_packets(source)[1]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"n": 12}, "it gave fewer frames at the second reading"),
        ({"n": 20, "rate": 50}, "frame 1 is at 0.020 s, but was at 0.040 s"),
    ],
)
def test_a_file_that_changes_after_the_scan_is_refused(
    tmp_path: Path, other: dict[str, int], message: str
) -> None:
    clip = write_clip(tmp_path / "clip.mkv", make_frames(20), codec="ffv1")
    later = write_clip(
        tmp_path / "later.mkv", make_frames(other["n"]), rate=other.get("rate", 25), codec="ffv1"
    )

    def replace_clip(progress: Progress) -> None:
        if progress.stage == "scan" and progress.done == 20 and later.exists():
            later.replace(clip)

    with pytest.raises(MediaError, match=message):
        interpolate(clip, times=2, predictor=BlendPredictor(), on_progress=replace_clip)
    assert list(tmp_path.iterdir()) == [clip]


def test_made_frames_lie_where_their_time_is(tmp_path: Path) -> None:
    source, output = tmp_path / "clip.mkv", tmp_path / "out.mkv"
    ramp = [np.full((48, 64, 3), 40 + 12 * i, np.uint8) for i in range(10)]
    write_clip(source, ramp, rate=24, codec="ffv1", pix_fmt="bgr0")
    report = run(source, output, rate=60)
    levels = [image.mean() for image in open_rgb_frames(output)]
    brightness = [40 + 12 * 24 * k / 60 for k in range(23)]
    assert levels[:23] == pytest.approx(brightness, abs=0.51)
    assert levels[23:] == [40 + 12 * 9] * 2  # to the end, 10 / 24 s
    assert report.frames_kept == 5


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_exact_times_where_the_container_has_a_clock_for_them(tmp_path: Path, suffix: str) -> None:
    source, output = tmp_path / f"clip{suffix}", tmp_path / f"out{suffix}"
    write_clip(source, 10, rate=Fraction(24000, 1001), audio=True)
    report = run(source, output, rate="59.94", lossless=False)
    assert report.rate_out == Fraction(60000, 1001)
    assert times_of(output) == make_times(25, rate=Fraction(60000, 1001))
    assert report.largest_shift == 0
    with VideoReader(source) as true, VideoReader(output) as made:
        assert made.info.duration == true.info.duration
        assert made.info.average_rate == Fraction(60000, 1001)


def test_a_late_start_stays_late(tmp_path: Path) -> None:
    source, output = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    write_clip(source, 10, times=make_times(10, start=Fraction(3, 25)))
    run(source, output, rate=60)
    assert times_of(output)[:3] == [Fraction(3, 25) + Fraction(k, 60) for k in range(3)]


def test_avi_counts_frames_of_the_new_rate(tmp_path: Path) -> None:
    source, output = tmp_path / "clip.avi", tmp_path / "out.avi"
    write_clip(source, 10, codec="ffv1", time_base=Fraction(1, 25))
    run(source, output, rate=60)
    assert times_of(output) == make_times(24, rate=60)


def test_a_variable_rate_becomes_constant_or_stays_variable(tmp_path: Path) -> None:
    times = [Fraction(t, 1000) for t in (0, 35, 90, 110, 150, 210, 230, 300, 320, 390, 440, 450)]
    source = write_clip(tmp_path / "clip.mkv", 12, times=times, codec="ffv1")
    steady = run(source, tmp_path / "steady.mkv", rate=50)
    assert (steady.rate_in, steady.rate_out) == (None, 50)
    assert times_of(tmp_path / "steady.mkv") == make_times(len(times_of(tmp_path / "steady.mkv")),
                                                           rate=50)  # fmt: skip
    double = run(source, tmp_path / "double.mkv", times=2)
    assert double.rate_out is None
    assert read_planes(tmp_path / "double.mkv")[::2] == read_planes(source)


def test_holes_are_filled_on_the_way(tmp_path: Path) -> None:
    source, output = tmp_path / "clip.mkv", tmp_path / "out.mkv"
    write_gappy_clip(source, 20, [8, 9], codec="ffv1")
    report = run(source, output, times=2)
    assert times_of(output) == make_times(40, rate=50)
    assert (report.frames_kept, report.frames_made) == (18, 21)


def test_damaged_frames_are_counted(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4", make_frames(24), lossless=False, gop=6)
    assert run(source, tmp_path / "out.mp4", times=2, dry_run=True).frames_damaged == 0
    damage_packets(source, [13], where="body")
    with VideoReader(source, frame_threads=False) as reader:
        n_damaged = sum(frame.is_corrupt for frame in reader.read())
    report = run(source, tmp_path / "out.mp4", times=2)
    assert report.frames_damaged == n_damaged > 0
    assert report.frames_kept == 24
    found: list[str] = []
    terminal: Any = SimpleNamespace(is_machine=False, say=found.append)
    show_interpolation(terminal, report)
    assert any("damaged frame" in line and "fill-gaps" in line for line in found)


def test_a_scene_cut_is_never_blended(tmp_path: Path) -> None:
    source, output = tmp_path / "clip.mkv", tmp_path / "out.mkv"
    frames = [*make_frames(9, seed=1), *(255 - f for f in make_frames(9, seed=5))]
    write_clip(source, frames, codec="ffv1")
    predictor = BlendPredictor()
    report = run(source, output, times=4, predictor=predictor, context=4)
    assert report.cuts == 1
    assert report.frames_held == (HeldReport("end of the video", 3), HeldReport("scene cut", 3))
    after = [digest for _, digest in read_planes(output)]
    assert after[32:35] == [after[32]] * 3  # the nearer frame, in doubt the earlier
    assert after[35] == after[36]
    # The network is never shown two shots at once.
    assert max(n_before + n_after for n_before, n_after, _ in predictor.calls) == 8
    assert (1, 4, 3) in predictor.calls
    assert (4, 1, 3) in predictor.calls


def test_a_pause_is_held(tmp_path: Path) -> None:
    times = [*make_times(8), *make_times(8, start=2)]
    source = write_clip(tmp_path / "clip.mkv", 16, times=times, codec="ffv1")
    report = run(source, tmp_path / "out.mkv", rate=50)
    assert report.frames_held[1].reason == "pause"
    made = run(source, tmp_path / "all.mkv", rate=50, max_gap=100)
    assert [held.reason for held in made.frames_held] == ["end of the video"]


def test_unevenly_spaced_frames_are_no_context(tmp_path: Path) -> None:
    times = [Fraction(t, 100) for t in (0, 4, 8, 12, 22, 26, 30, 34)]
    source = write_clip(tmp_path / "clip.mkv", 8, times=times, codec="ffv1")
    predictor = BlendPredictor()
    run(source, tmp_path / "out.mkv", times=2, predictor=predictor, context=3)
    # From frame to frame: the interval of 0.1 s has no neighbours of its length.
    shown = [(before, after) for before, after, _ in predictor.calls]
    assert shown[:4] == [(1, 3), (2, 2), (3, 1), (1, 1)]


def test_dry_run_counts_what_would_be_done(tmp_path: Path) -> None:
    frames = [*make_frames(9, seed=1), *(255 - f for f in make_frames(9, seed=5))]
    source = write_clip(tmp_path / "clip.mkv", frames, rate=24, codec="ffv1")
    plan = interpolate(source, rate=60, dry_run=True)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mkv"]
    assert plan.output == tmp_path / "clip.interpolated.mkv"
    done = run(source, tmp_path / "out.mkv", rate=60)
    for name in ("frames_kept", "frames_made", "frames_held", "frames_out", "cuts", "rate_out"):
        assert getattr(plan, name) == getattr(done, name), name
    assert len(times_of(tmp_path / "out.mkv")) == plan.frames_out


def test_interlaced_frames_are_made_field_by_field(tmp_path: Path) -> None:
    source = tmp_path / "clip.mkv"
    write_clip(source, 6, codec="mpeg2video", options={"flags": "+ildct+ilme"}, lossless=False)
    with VideoReader(source) as reader:
        if not reader.info.interlaced:
            pytest.skip("this FFmpeg encodes no interlaced MPEG-2 from PyAV")
    predictor = BlendPredictor()
    run(source, tmp_path / "out.mkv", times=2, predictor=predictor)
    assert len(predictor.calls) == 10


def test_scores_against_a_reference(tmp_path: Path) -> None:
    frames = make_frames(24)
    truth = write_clip(tmp_path / "truth.mkv", frames, rate=50, codec="ffv1")
    source = write_clip(tmp_path / "clip.mkv", frames[::2], rate=25, codec="ffv1")
    report = run(source, tmp_path / "out.mkv", times=2, reference=truth)
    assert report.frames_scored == report.frames_made == 11
    found = list(open_rgb_frames(tmp_path / "out.mkv"))
    true = list(open_rgb_frames(truth))
    expected = np.mean([psnr(true[i], found[i]) for i in range(1, 23, 2)])
    assert report.psnr == pytest.approx(expected, abs=0.3)  # the file is 4:2:0, the score is not
    # Between the frames of the reference there is no truth, however near the next one is.
    report = run(source, tmp_path / "c.mkv", times=3, reference=source)
    assert (report.frames_made, report.frames_scored) == (22, 0)
    wide = write_clip(tmp_path / "wide.mkv", make_frames(5, width=96), codec="ffv1")
    with pytest.raises(EvaluationError, match="same size"):
        run(source, tmp_path / "no.mkv", times=2, reference=wide)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"rate": "fast"}, GapError, "no frame rate 'fast'"),
        ({"times": 2, "codec": "copy"}, OutputError, "leave --codec copy out"),
        ({}, ValueError, "a rate or times"),
        ({"rate": 60, "times": 2}, ValueError, "a rate or times"),
        ({"times": 1}, ValueError, "at least 2"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, options: dict[str, object], error: type[Exception], words: str
) -> None:
    source = write_clip(tmp_path / "clip.mkv", 4, codec="ffv1")
    with pytest.raises(error, match=words):
        run(source, tmp_path / "out.mkv", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mkv"]


def test_one_frame_is_too_few(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", 1, codec="ffv1")
    with pytest.raises(MediaError, match="only one frame"):
        run(source, tmp_path / "out.mkv", times=2)


def test_few_real_frames_are_held_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: weakref.WeakSet[object] = weakref.WeakSet()
    most = 0

    class Counted(interpolation._Known):
        def __init__(self, frame: Frame, is_cut: bool) -> None:
            nonlocal most
            super().__init__(frame, is_cut)
            held.add(frame)
            most = max(most, len(held))

        __hash__ = object.__hash__

    monkeypatch.setattr(interpolation, "_Known", Counted)
    source = write_clip(tmp_path / "clip.mkv", make_frames(8) * 12, codec="ffv1")
    run(source, tmp_path / "out.mkv", times=2)
    # Two on each side, and what waits for the writer.
    assert most <= 4 + choose_depth(probe(source)) + 2


def test_progress_goes_to_the_end(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", 10, codec="ffv1")
    seen: list[Progress] = []
    run(source, tmp_path / "out.mkv", times=2, on_progress=seen.append)
    assert replace(seen[-1], seconds=None) == Progress("interpolate", 10, 10)
    assert seen[-1].seconds is not None


# The network.


def test_a_predictor_shows_itself_in_a_notebook(predictor: Predictor) -> None:
    named = Predictor(predictor.model, name="<b>", device=predictor._device)
    assert "&lt;b&gt; (" in named._repr_html_()
    assert "million weights) on cpu" in named._repr_html_()


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load("default", device="cpu")


def slide(n: int, speed: float) -> list[np.ndarray]:
    """A texture that slides by ``speed`` pixels a frame and bends upwards: subpixels by Fourier."""
    texture = make_frames(1, width=128, height=96, seed=3)[0].astype(np.float64)
    y, x = np.fft.fftfreq(96)[:, None], np.fft.fftfreq(128)[None]
    spectrum = np.fft.fft2(texture, axes=(0, 1))
    frames = []
    for i in range(n):
        down, right = 0.12 * speed * (i - n / 2) ** 2 / n, speed * i
        phase = np.exp(-2j * np.pi * (y * down + x * right))[..., None]
        moved = np.fft.ifft2(spectrum * phase, axes=(0, 1)).real
        frames.append(np.rint(np.clip(moved, 0, 255)).astype(np.uint8))
    return frames


def test_known_frames_are_told_to_be_farther_apart(predictor: Predictor) -> None:
    """What was measured between known frames is not the speed from new frame to new frame."""
    frames = slide(17, 1.5)
    known, true = frames[::4], frames[9:12]
    before, after = np.stack(known[1:3]), np.stack(known[3:])
    made = predictor.interpolate(before, after, 3)
    naive = predictor.fill(before, after, 3)
    alone = predictor.interpolate(before[-1:], after[:1], 3)
    scores = [
        np.mean([psnr(a, b) for a, b in zip(true, some, strict=True)])
        for some in (made, naive, alone)
    ]
    assert scores[0] > 32
    assert scores[0] > scores[1] + 1
    assert scores[0] > scores[2]


def test_steps_are_those_of_all_frames(predictor: Predictor) -> None:
    frames = np.stack(slide(4, 3.0))
    every = predictor.interpolate(frames[:2], frames[2:], 4)
    some = predictor.interpolate(frames[:2], frames[2:], 4, steps=[2, 4])
    np.testing.assert_array_equal(some, every[[1, 3]])
    # Another question, and the same answer to it as before.
    again = predictor.fill(frames[:2], frames[2:], 4)
    assert not np.array_equal(again, every)
    np.testing.assert_array_equal(predictor.fill(frames[:2], frames[2:], 4), again)


@pytest.mark.parametrize("steps", [[], [0], [4], [2, 1], [1, 1]])
def test_steps_that_are_not_there(predictor: Predictor, steps: list[int]) -> None:
    frames = np.stack(slide(2, 1.0))
    with pytest.raises(ValueError, match="steps"):
        predictor.interpolate(frames[:1], frames[1:], 3, steps=steps)
    with pytest.raises(ValueError, match="each side"):
        predictor.interpolate(frames, frames[:0], 3)


def test_features_and_flows_are_worked_out_once(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"features": 0}
    frames = np.stack(slide(7, 2.0))
    fresh = Predictor(predictor.model, name="fresh", device=predictor._device)
    extract = FeaturePyramid.forward

    def count(self: FeaturePyramid, images: Tensor) -> Any:
        counts["features"] += len(images)
        return extract(self, images)

    monkeypatch.setattr(FeaturePyramid, "forward", count)
    for at in range(2, 5):
        fresh.interpolate(frames[at - 1 : at + 1], frames[at + 1 : at + 3], 1)
    assert counts["features"] == 4  # frames 2 to 5, each once
    assert len(fresh._flows) == 4 + 2 + 2  # across both ways, behind and ahead; half are known


def test_video_with_the_network(predictor: Predictor, tmp_path: Path) -> None:
    frames = slide(9, 2.0)
    truth = write_clip(tmp_path / "truth.mkv", frames, rate=50, codec="ffv1")
    source = write_clip(tmp_path / "clip.mkv", frames[::2], rate=25, codec="ffv1")
    report = interpolate(
        source, tmp_path / "out.mkv", times=2, predictor=predictor, reference=truth, lossless=True
    )
    blended = run(source, tmp_path / "blend.mkv", times=2, reference=truth)
    assert report.psnr is not None
    assert blended.psnr is not None
    assert report.psnr > blended.psnr + 3
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams.video[0].average_rate == 50


def test_few_frames_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpolation, "_AT_ONCE", 3)
    source = write_clip(tmp_path / "clip.mkv", 3, codec="ffv1")
    predictor = BlendPredictor()
    run(source, tmp_path / "out.mkv", times=8, predictor=predictor)
    assert [n for _, _, n in predictor.calls] == [7] * 6  # 3, 3 and 1 of 7, twice
    assert times_of(tmp_path / "out.mkv") == make_times(24, rate=200)


def test_frames_that_may_not_be_written_to(predictor: Predictor) -> None:
    """Such as those of a mapped file; warnings are errors here."""
    frames = np.stack(slide(6, 1.0))
    frames.setflags(write=False)
    assert predictor.fill(frames[:2], frames[3:5], 1).shape == (1, *frames.shape[1:])
