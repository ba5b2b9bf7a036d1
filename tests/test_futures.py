"""Several futures of one video, as files and as figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scenery import build_network
from synthetic import make_frames, read_packets, read_planes, write_clip
from typer.testing import CliRunner

from framepred.cli import app
from framepred.errors import OutputError
from framepred.forecasting import forecast
from framepred.futures import draw_futures, name_futures
from framepred.metrics import psnr
from framepred.predictor import Predictor
from framepred.video import open_rgb_frames

N = 14


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(build_network(), name="start", device=torch.device("cpu"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A texture that slides at a speed that changes, with sound."""
    wave = make_frames(40, speed=(1, 0))
    places = np.cumsum([0, 1, 2, 1, 3, 2, 1, 2, 3, 1, 2, 3, 2, 3])
    frames = [wave[place] for place in places]
    return write_clip(tmp_path_factory.mktemp("f") / "clip.mkv", frames, codec="ffv1", audio=True)


def test_each_future_is_a_file_of_its_own(clip: Path, tmp_path: Path, predictor: Predictor) -> None:
    report = draw_futures(
        clip, tmp_path / "out.mkv", n_samples=3, seed=5, n_frames=2, lossless=True,
        predictor=predictor,
    )  # fmt: skip
    names = [f"out-{k}.mkv" for k in (1, 2, 3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [each.output for each in report.samples] == [tmp_path / name for name in names]
    made = []
    for name in names:
        planes = read_planes(tmp_path / name)
        assert planes[:N] == read_planes(clip)
        assert read_packets(tmp_path / name)[1] == read_packets(clip)[1]
        made.append(tuple(digest for _, digest in planes[N:]))
    assert len(set(made)) == 3
    assert (report.best, report.best_psnr, report.mean_psnr) == (None, None, None)
    assert report.diversity > 0

    again = draw_futures(
        clip, tmp_path / "again.mkv", n_samples=2, seed=5, n_frames=2, lossless=True,
        predictor=predictor,
    )  # fmt: skip
    for k in (1, 2):
        one, other = tmp_path / f"out-{k}.mkv", tmp_path / f"again-{k}.mkv"
        assert read_planes(one) == read_planes(other)
    assert again.seed == 5


def test_scores_against_what_was_held_out(clip: Path, predictor: Predictor) -> None:
    options = {"n_frames": 3, "hold_out": True, "predictor": predictor}
    report = draw_futures(clip, n_samples=4, seed=1, **options)  # type: ignore[arg-type]
    truth = list(open_rgb_frames(clip))
    context = np.stack(truth[N - 3 - 8 : N - 3])
    drawn = np.stack([predictor.pick_future(k, seed=1).forecast(context, 3) for k in (1, 2, 3, 4)])
    scores = [
        np.mean([psnr(true, made) for true, made in zip(truth[-3:], future, strict=True)])
        for future in drawn
    ]
    assert [each.psnr for each in report.samples] == pytest.approx(scores)
    assert report.best == 1 + int(np.argmax(scores))
    assert report.best_psnr == pytest.approx(max(scores))
    assert report.mean_psnr == pytest.approx(np.mean(scores))
    assert report.diversity == pytest.approx(drawn.astype(float).std(0).mean(), rel=1e-4)
    assert all(each.output is None for each in report.samples)
    alone = draw_futures(clip, n_samples=1, **options)  # type: ignore[arg-type]
    assert alone.diversity is None


def test_without_samples_a_forecast_is_the_same_twice(
    clip: Path, tmp_path: Path, predictor: Predictor
) -> None:
    for name in ("one.mkv", "two.mkv"):
        forecast(clip, tmp_path / name, n_frames=2, predictor=predictor, lossless=True)
    assert read_planes(tmp_path / "one.mkv") == read_planes(tmp_path / "two.mkv")


def test_nothing_is_begun_if_one_is_in_the_way(
    clip: Path, tmp_path: Path, predictor: Predictor
) -> None:
    (tmp_path / "out-3.mkv").write_text("precious")
    with pytest.raises(OutputError, match=r"out-3.mkv: exists already"):
        draw_futures(clip, tmp_path / "out.mkv", n_samples=3, n_frames=1, predictor=predictor)
    assert [path.name for path in tmp_path.iterdir()] == ["out-3.mkv"]
    with pytest.raises(ValueError, match="n_samples must be at least 1"):
        draw_futures(clip, n_samples=0, n_frames=1, predictor=predictor)


def test_names() -> None:
    source = Path("a") / "clip.mp4"
    assert name_futures(source, None, 2) == [
        source.with_name(f"clip.forecast-{k}.mp4") for k in (1, 2)
    ]
    assert name_futures(source, Path("b.mkv"), 1) == [Path("b-1.mkv")]


def test_on_the_command_line(
    clip: Path, tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Predictor, "load", lambda *_, **__: predictor)
    held = ["forecast", str(clip), "--frames", "2", "--samples", "3", "--hold-out"]
    answer = CliRunner().invoke(app, held)
    assert answer.exit_code == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[0] == "future\tPSNR dB\tSSIM"
    assert [line.split("\t")[0] for line in lines[1:5]] == ["1", "2", "3", "mean"]
    assert lines[5].startswith("best (")
    assert "3 futures, which differ by" in answer.stderr
    answer = CliRunner().invoke(app, [*held, "--json", "-", "--seed", "9"])
    found = json.loads(answer.stdout)
    assert (found["seed"], len(found["samples"])) == (9, 3)
    assert found["best_psnr"] == max(sample["psnr"] for sample in found["samples"])
    answer = CliRunner().invoke(app, [*held, "--adapt", "3"])
    assert answer.exit_code == 2
    assert "--samples" in answer.stderr
    (tmp_path / "out-2.mkv").write_text("precious")
    wanted = ["forecast", str(clip), "--frames", "1", "--samples", "2", "-o"]
    answer = CliRunner().invoke(app, [*wanted, str(tmp_path / "out.mkv")])
    assert answer.exit_code == 1
    assert "out-2.mkv: exists already" in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out-2.mkv"]
