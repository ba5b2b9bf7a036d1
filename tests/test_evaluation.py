from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scenery import build_network, film
from synthetic import make_frames, write_clip

from framepred import evaluation
from framepred.baselines import CLASSICAL_BASELINES, FILL_BASELINES, FORECAST_BASELINES
from framepred.errors import EvaluationError, TrainingError
from framepred.evaluation import EvaluationReport, Part, evaluate
from framepred.metrics import psnr
from framepred.model import FramePredictor
from framepred.predictor import Predictor
from framepred.protocol import space_windows
from framepred.reports import Progress

Videos = Callable[..., list[Path]]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(build_network(), name="tiny", device=torch.device("cpu"))


@pytest.fixture
def videos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Videos:
    """Files whose frames are these."""

    def pretend(**contents: Any) -> list[Path]:
        for name in contents:
            (tmp_path / f"{name}.mp4").touch()
        monkeypatch.setattr(evaluation, "open_rgb_frames", lambda path: iter(contents[path.stem]))
        return [tmp_path / f"{name}.mp4" for name in contents]

    return pretend


def make_greys(n: int, *, step: int = 2, height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    """Constant frames that get brighter by ``step`` a frame: every score can be told by hand."""
    return np.stack([np.full((height, width, 3), 10 + step * k, np.uint8) for k in range(n)])


def decibels(*differences: float) -> float:
    """Mean PSNR of frames that differ everywhere by so much."""
    return float(np.mean([20 * math.log10(255 / d) for d in differences]))


def rows(report: EvaluationReport, task: str) -> dict[str, Any]:
    (found,) = (t for t in report.tasks if t.task == task)
    return {method.method: method for method in found.methods}


def test_scores_that_can_be_told_by_hand(predictor: Predictor, videos: Videos) -> None:
    paths = videos(a=make_greys(20), b=make_greys(20, step=3))
    progress: list[Progress] = []
    report = evaluate(paths, predictor=predictor, per_clip=1, on_progress=progress.append)
    assert [task.task for task in report.tasks] == ["fill", "forecast"]
    fill, forecast = rows(report, "fill"), rows(report, "forecast")
    assert list(fill) == [*FILL_BASELINES, *CLASSICAL_BASELINES, "framepred (tiny)"]
    assert list(forecast) == [*FORECAST_BASELINES, *CLASSICAL_BASELINES, "framepred (tiny)"]
    followers = [f"{name}, pixels" for name in ("autoregression", "Kalman filter")]
    for gap in (1, 2, 4, 8):
        expected = np.mean([decibels(*(s * k for k in range(1, gap + 1))) for s in (2, 3)])
        assert fill["repeat-last"].psnr[gap] == pytest.approx(expected)
        # A fade is met by a cross-fade to half a level at worst.
        assert fill["linear blend"].psnr[gap] > 50
        assert fill["framepred (tiny)"].psnr[gap] > 45
    for step in (1, 2, 4, 8):
        expected = np.mean([decibels(s * step) for s in (2, 3)])
        late = np.mean([decibels(s * (step + 0.5)) for s in (2, 3)])  # the mean of the last two
        assert forecast["moving average, pixels"].psnr[step] == pytest.approx(late, abs=0.6)
        assert min(forecast[name].psnr[step] for name in followers) > 50
        for name in forecast.keys() - {*followers, "moving average, pixels"}:
            # Nobody can guess a fade from motion.
            assert forecast[name].psnr[step] == pytest.approx(expected, abs=0.3)
    for task in report.tasks:
        assert task.columns == (1, 2, 4, 8)
        assert task.n_windows == {1: 2, 2: 2, 4: 2, 8: 2}
        for method in task.methods:
            assert all(0 < value <= 1 for value in method.ssim.values() if value is not None)
            assert method.seconds_per_frame >= 0
    assert (report.model, report.device, report.clips) == ("tiny", "cpu", 2)
    assert report.problems == ()
    assert [(p.done, p.total) for p in progress] == [(0, 2), (1, 2), (2, 2)]
    json.dumps(report.as_dict())


def test_windows_from_a_file(predictor: Predictor, videos: Videos, tmp_path: Path) -> None:
    paths = videos(a=make_greys(20), b=make_greys(20), c=[])  # c is not asked for, nor opened
    listed = {
        "gap": [
            {"clip": "a.mp4", "missing": 3, "start": 5},
            {"clip": "b.mp4", "missing": 1, "start": 2},
        ],
        "forecast": [{"clip": "b.mp4", "start": 4, "frames": 2, "context": 3}],
    }
    path = tmp_path / "windows.json"
    path.write_text(json.dumps(listed))
    report = evaluate(paths, predictor=predictor, windows=path, with_ssim=False)
    fill, forecast = report.tasks
    assert fill.columns == (1, 3)
    assert fill.n_windows == {1: 1, 3: 1}
    assert rows(report, "fill")["repeat-last"].psnr == pytest.approx(
        {1: decibels(2), 3: decibels(2, 4, 6)}
    )
    assert forecast.columns == (1, 2)
    assert all(value is None for method in fill.methods for value in method.ssim.values())
    assert report.clips == 2


def test_the_model_sees_no_hidden_frame(videos: Videos) -> None:
    seen: list[tuple[list[int], list[int], int]] = []

    class Spy:
        name, device = "spy", "cpu"

        def fill(self, before: Any, after: Any, n_frames: int) -> Any:
            seen.append(
                ([int(f[0, 0, 0]) for f in before], [int(f[0, 0, 0]) for f in after], n_frames)
            )
            return np.repeat(before[-1:], n_frames, axis=0)

    paths = videos(a=make_greys(30, step=1))
    evaluate(paths, predictor=Spy(), per_clip=2)  # type: ignore[arg-type]
    assert len(seen) == 10
    for before, after, n_frames in seen:
        assert before == [*range(before[0], before[-1] + 1)]
        if after:
            assert len(before) == len(after) == 4
            assert after == [*range(before[-1] + 1 + n_frames, before[-1] + 5 + n_frames)]
        else:
            assert (len(before), n_frames) == (8, 8)
    seen.clear()
    evaluate(paths, predictor=Spy(), per_clip=1, n_context=2)  # type: ignore[arg-type]
    assert {len(before) for before, _, _ in seen} == {2}
    assert {len(after) for _, after, _ in seen} == {0, 2}


def test_a_study_of_the_context(videos: Videos, tmp_path: Path) -> None:
    seen: list[tuple[list[int], list[int]]] = []

    class Spy:
        name, device = "spy", "cpu"

        def fill(self, before: Any, after: Any, n_frames: int) -> Any:
            seen.append(([int(f[0, 0, 0]) for f in before], [int(f[0, 0, 0]) for f in after]))
            # The mean of all that is shown: how much that is can be told from the score.
            mean = np.concatenate((before, after)).mean(0, keepdims=True).astype(np.uint8)
            return np.repeat(mean, n_frames, 0)

    paths = videos(a=make_greys(30, step=2))
    listed = {
        "gap": [
            {"clip": "a.mp4", "missing": 1, "start": 12},
            {"clip": "a.mp4", "missing": 4, "start": 3},
            {"clip": "a.mp4", "missing": 4, "start": 20},
        ],
        "forecast": [{"clip": "a.mp4", "start": 9, "frames": 2, "context": 3}],
    }
    path = tmp_path / "windows.json"
    path.write_text(json.dumps(listed))
    spy: Any = Spy()
    report = evaluate(paths, predictor=spy, windows=path, n_context=(1, 5, 9), with_ssim=False)
    fill, forecast = report.tasks
    for task in (fill, forecast):
        study = [method for method in task.methods if method.role == "model"]
        assert [method.n_context for method in study] == [1, 5, 9]
        assert [method.method for method in study] == [
            f"framepred (spy), context {n}" for n in (1, 5, 9)
        ]
        others = [method for method in task.methods if method.role == "baseline"]
        assert {method.n_context for method in others} == {None}
    assert fill.n_windows == {1: 1, 4: 2}
    assert fill.n_short == {1: 0, 4: 2}  # 3 frames before one, 6 after the other
    assert forecast.n_short == {1: 0, 2: 0}
    # More than the 4 and the 3 of the protocol are shown, and nothing beyond the clip.
    shown = [(len(before), len(after)) for before, after in seen]
    assert shown == [
        *((1, 1), (5, 5), (9, 9)),
        *((1, 1), (3, 5), (3, 9)),
        *((1, 1), (5, 5), (9, 6)),
        *((1, 0), (5, 0), (9, 0)),
    ]
    assert seen[2] == ([*range(16, 34, 2)], [*range(36, 54, 2)])
    # The frames' mean lies (n + 1) / 2 steps of 2 behind the first forecast frame.
    assert rows(report, "forecast")["framepred (spy), context 9"].psnr[1] == pytest.approx(
        decibels(10)
    )


def test_futures_are_scored_beside_the_forecast(videos: Videos, predictor: Predictor) -> None:
    frames = film(24, 48, 64)
    report = evaluate(
        videos(a=frames), predictor=predictor, tasks=["forecast"], per_clip=1, n_samples=3, seed=4
    )
    windows = space_windows("a.mp4", 24, "forecast", per_clip=1)
    best, mean, apart = [], [], []
    for window in windows:
        before, hidden, _ = window.cut(np.stack(frames))
        n = window.n_missing
        drawn = [predictor.pick_future(k, seed=4).forecast(before, n) for k in (1, 2, 3)]
        table = np.array(
            [[psnr(t, m) for t, m in zip(hidden, made, strict=True)] for made in drawn]
        )
        best.append(table[table.mean(1).argmax()])
        mean.append(table.mean(0))
        apart.append(np.stack(drawn).astype(float).std(0).mean())
    found = rows(report, "forecast")
    for name, expected in (("best", best), ("mean", mean)):
        row = found[f"framepred, {name} of 3 futures"]
        assert row.role == "futures"
        for step in (1, 8):
            assert row.psnr[step] == pytest.approx(np.mean([e[step - 1] for e in expected]))
    assert report.tasks[0].diversity == pytest.approx(np.mean(apart), rel=1e-4)
    plain = evaluate(videos(a=frames), predictor=predictor, per_clip=1, n_samples=1)
    assert [task.diversity for task in plain.tasks] == [None, None]


def test_ablations_are_rows_of_the_same_table(videos: Videos, tmp_path: Path) -> None:
    paths = videos(a=film(14, 48, 64))
    path = tmp_path / "windows.json"
    path.write_text(
        json.dumps(
            {
                "gap": [{"clip": "a.mp4", "missing": 2, "start": 5}],
                "forecast": [{"clip": "a.mp4", "start": 5, "frames": 2, "context": 4}],
            }
        )
    )

    def score(network: FramePredictor, **options: Any) -> EvaluationReport:
        whole = Predictor(network, name="tiny", device=torch.device("cpu"))
        return evaluate(paths, predictor=whole, windows=path, with_ssim=False, **options)

    def rebuild(*ablation: str) -> FramePredictor:
        network = build_network(strength=0.02)
        network.ablation = frozenset(ablation)
        return network

    network = rebuild()
    parts: list[Part] = ["state", "hidden", "context", "start", "refinement", "learning"]
    report = score(network, without=[*parts, "state"])
    assert network.ablation == frozenset()
    alone = {
        "(tiny)": score(rebuild()),
        "without state": score(rebuild("state")),
        "without hidden": score(rebuild("hidden")),
        "without context": score(rebuild(), n_context=1),
        "without start": score(rebuild("start")),
        "without refinement": score(rebuild("refinement")),
        "without learning": score(build_network(seed=7)),
    }
    for task in ("fill", "forecast"):
        found = rows(report, task)
        assert list(found)[-7:] == [f"framepred {name}" for name in alone]
        for name, other in alone.items():
            expected = rows(other, task)["framepred (tiny)"].psnr
            assert found[f"framepred {name}"].psnr == pytest.approx(expected, abs=1e-6), name
        assert len({found[f"framepred {name}"].psnr[2] for name in alone}) == 7
    roles = [method.role for method in report.tasks[0].methods]
    assert roles[-7:] == ["model", *["ablation"] * 6]


def test_real_files(predictor: Predictor, tmp_path: Path) -> None:
    for seed in (0, 1):
        frames = make_frames(20, width=48, height=40, seed=seed)
        write_clip(tmp_path / f"{seed}.mkv", frames, codec="ffv1")
    report = evaluate([tmp_path], predictor=predictor, per_clip=1, tasks=["fill"])
    (fill,) = report.tasks
    by_name = rows(report, "fill")
    assert fill.n_windows[1] == 2
    for name in ("flow, straight", "flow, curved", "framepred (tiny)"):
        assert by_name[name].psnr[1] > by_name["repeat-last"].psnr[1] + 3
    assert all(0 < value <= 1 for value in by_name["framepred (tiny)"].ssim.values())


def test_slow_methods_on_demand(predictor: Predictor, videos: Videos, tmp_path: Path) -> None:
    paths = videos(a=make_greys(20))
    path = tmp_path / "windows.json"
    path.write_text(json.dumps({"gap": [{"clip": "a.mp4", "missing": 1, "start": 5}]}))
    report = evaluate(paths, predictor=predictor, windows=path, tasks=["fill"], with_slow=True)
    names = list(rows(report, "fill"))
    assert "TV-L1 flow, straight" in names
    assert names[-1] == "framepred (tiny)"


def test_clips_that_cannot_be_scored(predictor: Predictor, videos: Videos) -> None:
    good, short = make_greys(20), make_greys(3)
    growing = [*make_greys(9), *make_greys(9, height=30)]
    paths = videos(good=good, growing=growing, short=short, empty=[])
    report = evaluate(paths, predictor=predictor, per_clip=1, tasks=["fill"])
    assert report.tasks[0].n_windows[1] == 1
    reasons = [problem.replace(str(paths[0].parent) + "/", "") for problem in report.problems]
    assert reasons == [
        "growing.mp4: left out, the picture changes size midway",
        "short.mp4: 3 frames are too few to fill",
        "empty.mp4: 0 frames are too few to fill",
    ]


def test_nothing_to_score(predictor: Predictor, videos: Videos, tmp_path: Path) -> None:
    paths = videos(a=make_greys(3))
    with pytest.raises(EvaluationError, match=r"no window to fill.*too few"):
        evaluate(paths, predictor=predictor)
    path = tmp_path / "windows.json"
    path.write_text('{"gap": [], "forecast": []}')
    with pytest.raises(EvaluationError, match="the list of windows is empty"):
        evaluate(paths, predictor=predictor, windows=path)
    path.write_text('{"gap": [{"clip": "z.mp4", "missing": 1, "start": 5}]}')
    with pytest.raises(EvaluationError, match=r"asks for z\.mp4"):
        evaluate(paths, predictor=predictor, windows=path, tasks=["fill"])
    path.write_text('{"gap": [{"clip": "a.mp4", "missing": 1, "start": 5}]}')
    with pytest.raises(EvaluationError, match=r"does not fit into a\.mp4"):
        evaluate(paths, predictor=predictor, windows=path, tasks=["fill"])


def test_clips_of_one_name_are_not_taken_for_each_other(
    predictor: Predictor, tmp_path: Path
) -> None:
    (tmp_path / "more").mkdir()
    frames = make_frames(9, width=48, height=40)
    paths = [
        write_clip(folder / "a.mkv", frames, codec="ffv1")
        for folder in (tmp_path, tmp_path / "more")
    ]
    listed = tmp_path / "windows.json"
    listed.write_text(json.dumps({"gap": [{"clip": "a.mkv", "missing": 1, "start": 4}]}))
    with pytest.raises(EvaluationError, match=r"asks for a\.mkv, and 2 of the clips"):
        evaluate(paths, predictor=predictor, windows=listed, tasks=("fill",))
    twice = [paths[0], tmp_path / "more" / ".." / "a.mkv"]
    assert evaluate(twice, predictor=predictor, windows=listed, tasks=("fill",)).clips == 1
    assert evaluate(paths[0], predictor=predictor, tasks=("fill",), with_ssim=False).clips == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"tasks": ("fil",)},
        {"tasks": "fill"},
        {"tasks": ()},
        {"without": ("states",)},
        {"per_clip": 0},
        {"n_context": 0},
        {"n_context": (1, 0)},
        {"n_samples": 2, "tasks": ("fill",)},
    ],
)
def test_arguments_that_mean_nothing(predictor: Predictor, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="got"):
        evaluate(["clip.mkv"], predictor=predictor, **wrong)


def test_what_is_no_clip(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no such file"):
        evaluate([tmp_path / "missing.mp4"], predictor=predictor)
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(EvaluationError, match=r"no window to fill: .*not a readable video"):
        evaluate([tmp_path / "text.mp4"], predictor=predictor)


def test_an_unreadable_clip_is_left_out_and_told(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    write_clip(tmp_path / "whole.mkv", make_frames(24))
    report = evaluate([tmp_path], predictor=predictor, tasks=["fill"], per_clip=1)
    assert report.clips == 1
    assert ["text.mp4" in problem for problem in report.problems] == [True]
