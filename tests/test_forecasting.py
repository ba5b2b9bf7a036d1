from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from blending import BlendPredictor, GrayPredictor, SlidePredictor
from synthetic import (
    damage_packets,
    make_frames,
    make_times,
    read_packets,
    read_planes,
    write_clip,
)

from framepred.errors import GapError, MediaError, OutputError
from framepred.filling import fill_gaps
from framepred.forecasting import forecast
from framepred.interpolation import interpolate
from framepred.metrics import psnr
from framepred.reports import Progress
from framepred.video import open_rgb_frames
from framepred.views import Views

N = 24


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 frames at 25 a second, stored without loss, with sound."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mkv", N, codec="ffv1", audio=True)


def rgb(path: Path) -> list[np.ndarray]:
    return list(open_rgb_frames(path))


def test_adds_frames_after_the_end(clip: Path, tmp_path: Path) -> None:
    predictor = SlidePredictor()
    output = tmp_path / "out.mkv"
    report = forecast(clip, output, n_frames=6, predictor=predictor, lossless=True)
    assert (report.frames_in, report.frames_made, report.context) == (N, 6, 8)
    assert report.time == Fraction(N, 25)
    assert (report.psnr, report.ssim) == (None, None)
    assert predictor.calls == [(8, 0, 6)]

    before, after = read_planes(clip), read_planes(output)
    assert after[:N] == before
    assert [time for time, _ in after] == make_times(N + 6)
    truth = make_frames(N + 6)
    for true, made in zip(truth[N:], rgb(output)[N:], strict=True):
        assert psnr(true, made) > 35  # chroma subsampling is all that is lost
    assert report.streams_copied == 1
    assert read_packets(output)[1] == read_packets(clip)[1]


def test_from_a_moment_on(clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    report = forecast(
        clip,
        output,
        n_frames=4,
        start=Fraction("0.41"),
        predictor=GrayPredictor(),
        lossless=True,
    )
    # Frame 10 is shown from 0.40 s on: it is the last one kept.
    assert report.time == Fraction(11, 25)
    before, after = read_planes(clip), read_planes(output)
    assert after[:11] == before[:11]
    assert [time for time, _ in after] == make_times(15)
    means = [image.mean() for image in rgb(output)[11:]]
    assert means == pytest.approx([40, 48, 56, 64], abs=1.5)
    sound, whole = read_packets(output)[1], read_packets(clip)[1]
    assert sound == whole[: len(sound)]
    assert 0.55 < (sound[-1][0] or 0) / 1000 < 0.6  # the sound ends with the picture


def test_a_damaged_end_is_stepped_over(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", N, gop=1)
    damage_packets(clip, [N - 2, N - 1], where="body")
    predictor = SlidePredictor()
    report = forecast(clip, tmp_path / "out.mkv", n_frames=3, predictor=predictor, lossless=True)
    assert (report.context, report.damaged_before) == (8, 2)
    assert predictor.calls == [(8, 0, 5)]
    assert report.time == Fraction(N, 25)
    before, after = read_planes(clip), read_planes(tmp_path / "out.mkv")
    assert after[:N] == before, "what is damaged stays as it is"
    assert [time for time, _ in after] == make_times(N + 3)
    truth = make_frames(N + 3)
    for true, made in zip(truth[N:], rgb(tmp_path / "out.mkv")[N:], strict=True):
        assert psnr(true, made) > 30
    # What is damaged is no truth to score against.
    held = forecast(clip, n_frames=4, hold_out=True, predictor=predictor)
    assert [score.psnr is None for score in held.frames] == [False, False, True, True]
    # From a moment before the damage on there is nothing to step over.
    report = forecast(
        clip, tmp_path / "b.mkv", n_frames=3, start=Fraction("0.5"), predictor=predictor
    )
    assert (report.context, report.damaged_before) == (8, 0)


def test_a_context_is_needed(clip: Path) -> None:
    for call in (
        lambda: forecast(clip, n_frames=2, context=0, predictor=BlendPredictor()),
        lambda: fill_gaps(clip, context=0, predictor=BlendPredictor()),
        lambda: interpolate(clip, times=2, context=0, predictor=BlendPredictor()),
    ):
        with pytest.raises(ValueError, match="context must be at least 1"):
            call()
    for call in (
        lambda: fill_gaps(clip, max_gap=0, predictor=BlendPredictor()),
        lambda: interpolate(clip, times=2, max_gap=0, predictor=BlendPredictor()),
    ):
        with pytest.raises(ValueError, match="max_gap must be at least 1"):
            call()


def test_a_forecast_has_a_bound(clip: Path) -> None:
    with pytest.raises(ValueError, match="at most 1000, got 1001"):
        forecast(clip, n_frames=1001, predictor=BlendPredictor())


def test_a_forecast_has_one_view(clip: Path, tmp_path: Path) -> None:
    for views in (Views(frames_dir=tmp_path / "x"), Views(preview=tmp_path / "x.mp4")):
        with pytest.raises(ValueError, match="none of the other views"):
            forecast(clip, n_frames=2, predictor=BlendPredictor(), views=views)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("start", ["0.333", "0.3334", "0.334"])
def test_a_moment_as_it_is_printed(tmp_path: Path, start: str) -> None:
    times = make_times(12, rate=24)
    clip = write_clip(tmp_path / "clip.mkv", 12, times=times, rate=24)
    report = forecast(clip, n_frames=2, start=Fraction(start), predictor=BlendPredictor())
    assert report.time == pytest.approx(Fraction(9, 24), abs=0.001), "frame 8 is at 0.3333 s"


def test_only_new(clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    report = forecast(
        clip, output, n_frames=3, only_new=True, predictor=GrayPredictor(), lossless=True
    )
    assert report.time == Fraction(N, 25)
    assert [time for time, _ in read_planes(output)] == make_times(3)
    assert set(read_packets(output)) == {0}
    assert report.streams_copied == 0


def test_hold_out_scores_every_step_and_writes_nothing(clip: Path) -> None:
    report = forecast(clip, n_frames=4, hold_out=True, predictor=SlidePredictor())
    assert report.output is None
    assert report.hold_out
    assert [score.index for score in report.frames] == [1, 2, 3, 4]
    assert [score.time for score in report.frames] == make_times(N)[-4:]
    for score in report.frames:
        assert score.psnr is not None
        assert score.ssim is not None
        assert score.psnr > 40
        assert score.ssim > 0.98
    assert report.psnr == pytest.approx(np.mean([score.psnr for score in report.frames]))
    assert [path.name for path in clip.parent.iterdir()] == ["clip.mkv"]


def test_hold_out_gets_worse_for_a_predictor_that_stands_still(clip: Path) -> None:
    report = forecast(clip, n_frames=4, hold_out=True, predictor=BlendPredictor())
    scores = [score.psnr for score in report.frames]
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
    true = rgb(clip)
    assert scores[0] == pytest.approx(psnr(true[N - 4], true[N - 5]))


def test_hold_out_writes_where_it_is_told_to(clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    report = forecast(
        clip, output, n_frames=4, hold_out=True, predictor=GrayPredictor(), lossless=True
    )
    assert report.output == output
    before, after = read_planes(clip), read_planes(output)
    assert [time for time, _ in after] == make_times(N)
    assert after[: N - 4] == before[: N - 4]
    assert all(a != b for a, b in zip(after[N - 4 :], before[N - 4 :], strict=True))


def test_hold_out_after_a_moment(clip: Path) -> None:
    report = forecast(
        clip, n_frames=5, start=Fraction("0.4"), hold_out=True, predictor=SlidePredictor()
    )
    assert [score.time for score in report.frames] == make_times(N)[11:16]
    assert report.psnr is not None
    assert report.psnr > 40


def test_context_ends_at_a_hole(tmp_path: Path) -> None:
    frames = make_frames(20)
    kept = [i for i in range(20) if i not in (14, 15)]
    source = write_clip(
        tmp_path / "clip.mkv",
        [frames[i] for i in kept],
        times=make_times(20, holes=[14, 15]),
        codec="ffv1",
    )
    report = forecast(source, n_frames=2, predictor=BlendPredictor())
    assert report.context == 4
    assert report.output == tmp_path / "clip.forecast.mkv"
    assert [time for time, _ in read_planes(report.output)] == make_times(22, holes=[14, 15])


def test_times_are_those_of_the_file(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", 12, times=make_times(12, start=10), codec="ffv1")
    report = forecast(
        source, n_frames=2, start=Fraction("10.2"), predictor=BlendPredictor(), lossless=True
    )
    assert report.time == 10 + Fraction(6, 25)
    assert report.output is not None
    assert [time for time, _ in read_planes(report.output)] == make_times(8, start=10)


def test_variable_rate_goes_on_at_its_usual_step(tmp_path: Path) -> None:
    steps = [3, 5, 4, 7, 3, 6, 5, 4, 9, 5, 3, 8]
    times = [Fraction(sum(steps[:i]), 100) for i in range(len(steps))]
    source = write_clip(tmp_path / "clip.mkv", len(times), times=times, codec="ffv1")
    report = forecast(source, n_frames=2, predictor=BlendPredictor(), lossless=True)
    assert report.frame_rate is None
    assert report.output is not None
    made = [time for time, _ in read_planes(report.output)]
    assert made[:-2] == times
    assert made[-2] - times[-1] == made[-1] - made[-2] == Fraction(5, 100)


def test_progress(clip: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    forecast(
        clip,
        tmp_path / "out.mkv",
        n_frames=2,
        predictor=BlendPredictor(),
        on_progress=seen.append,
    )
    assert replace(seen[-1], seconds=None) == Progress("forecast", N, N)
    assert seen[-1].seconds is not None


def test_bad_requests(clip: Path, tmp_path: Path) -> None:
    predictor = BlendPredictor()
    with pytest.raises(GapError, match="outside"):
        forecast(clip, tmp_path / "out.mkv", n_frames=2, start=Fraction(60), predictor=predictor)
    with pytest.raises(MediaError, match="too few"):
        forecast(clip, n_frames=N, hold_out=True, predictor=predictor)
    with pytest.raises(OutputError, match="input"):
        forecast(clip, clip, n_frames=2, predictor=predictor, overwrite=True)
    with pytest.raises(ValueError, match="at least 1"):
        forecast(clip, n_frames=0, predictor=predictor)
    single = write_clip(tmp_path / "one.mkv", 1, codec="ffv1")
    with pytest.raises(MediaError):
        forecast(single, n_frames=2, predictor=predictor)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.mkv"]


def read_chapters(path: Path) -> list[tuple[Fraction, Fraction]]:
    with av.open(str(path)) as container:
        return [
            (c["start"] * c["time_base"], c["end"] * c["time_base"]) for c in container.chapters()
        ]


@pytest.mark.parametrize("codec", ["ffv1", "libx264", "copy"])
def test_chapters_end_where_the_output_does(tmp_path: Path, codec: str) -> None:
    suffix = "mkv" if codec == "ffv1" else "mp4"
    source, output = tmp_path / f"clip.{suffix}", tmp_path / f"out.{suffix}"
    write_clip(source, 2 * N, gop=6, chapters=True, lossless=False)
    before = read_chapters(source)
    assert before[-1][0] > 0.9
    forecast(
        source, output, n_frames=2, start=Fraction("0.5"), codec=codec, predictor=BlendPredictor()
    )
    stop, after = Fraction(15, 25), read_chapters(output)
    assert [start for start, _ in after] == [start for start, _ in before if start < stop]
    assert all(abs(end - stop) < Fraction(1, 500) for _, end in after)
    with av.open(str(output)) as container:
        assert container.duration is not None
        assert container.duration / 1_000_000 == pytest.approx(15 / 25, abs=0.03)
