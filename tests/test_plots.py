from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from skimage import io as pictures

from framepred.errors import OutputError
from framepred.evaluation import EvaluationReport, MethodScore, Role, TaskReport
from framepred.plots import plot_contexts
from framepred.protocol import Task

SVG = "{http://www.w3.org/2000/svg}"
LENGTHS = (1, 2, 4, 8)
FILL = {1: (30.0, 34.0, 35.0, 35.5), 8: (20.0, 21.0, 20.5, 23.0)}
BEST = {1: 34.5, 8: 22.0}


def make_row(name: str, role: Role, psnr: dict[int, float], n: int | None = None) -> MethodScore:
    return MethodScore(name, role, n, psnr, dict.fromkeys(psnr), 0.1)


def make_task(task: Task, scores: dict[int, tuple[float, ...]]) -> TaskReport:
    methods = [
        make_row("worse", "baseline", dict.fromkeys(scores, 12.0)),
        make_row("flow & blend", "baseline", {column: BEST[column] for column in scores}),
        *(
            make_row(f"framepred (m), context {n}", "model", {c: scores[c][i] for c in scores}, n)
            for i, n in enumerate(LENGTHS)
        ),
    ]
    counts = dict.fromkeys(scores, 3)
    return TaskReport(task, tuple(scores), counts, dict.fromkeys(scores, 0), tuple(methods), None)


def make_report(*tasks: TaskReport) -> EvaluationReport:
    return EvaluationReport("runs/m", "cpu", 3, tasks, (), 1.0)


def read_points(path: ET.Element) -> np.ndarray:
    """(N, 2) corners of a polyline, y growing downwards."""
    numbers = re.findall(r"-?[\d.]+", path.get("d", ""))
    return np.array(numbers, np.float64).reshape(-1, 2)


def test_a_name_is_text_whatever_it_holds(tmp_path: Path) -> None:
    model = "runs/a $x^2$ \\frac{$ b"
    report = EvaluationReport(model, "cpu", 3, (make_task("fill", FILL),), (), 1.0)
    plot_contexts(report, tmp_path / "study.svg")
    drawing = ET.parse(tmp_path / "study.svg").getroot()
    assert f"framepred ({Path(model).name})" in {t.text for t in drawing.iter(f"{SVG}text")}


def test_the_drawing_shows_the_scores(tmp_path: Path) -> None:
    plot_contexts(make_report(make_task("fill", FILL)), tmp_path / "study.svg")
    drawing = ET.parse(tmp_path / "study.svg").getroot()
    texts = {text.text for text in drawing.iter(f"{SVG}text")}
    assert {
        "fill", "1 frame hidden", "8 frames hidden", "PSNR, dB", "known frames on each side",
        "framepred (m)", "flow & blend",
    } <= texts  # fmt: skip
    assert "worse" not in texts
    # What lies in a panel is clipped to it; the lines of the legend are not.
    lines = [path for path in drawing.iter(f"{SVG}path") if path.get("clip-path")]
    curves = [points for points in map(read_points, lines) if len(points) == len(LENGTHS)]
    dashed = [read_points(p) for p in lines if "stroke-dasharray" in (p.get("style") or "")]
    assert len(curves) == len(dashed) == 2
    scales = []
    for column, curve, line in zip(FILL, curves, dashed, strict=True):
        scores = np.array(FILL[column])
        scale = np.polyfit(scores, -curve[:, 1], 1)[0]  # units of the drawing a decibel
        assert curve[:, 1] == pytest.approx(curve[0, 1] - scale * (scores - scores[0]), abs=0.01)
        level = curve[0, 1] - scale * (BEST[column] - scores[0])
        assert line[:, 1] == pytest.approx([level, level], abs=0.01)
        along = (curve[:, 0] - curve[0, 0]) / np.ptp(curve[:, 0])
        assert along == pytest.approx((np.array(LENGTHS) - 1) / 7, abs=1e-3)
        scales.append(scale)
    assert scales[0] == pytest.approx(scales[1])


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf", "PNG"])
def test_the_same_report_gives_the_same_file(tmp_path: Path, suffix: str) -> None:
    report = make_report(make_task("fill", FILL), make_task("forecast", {1: FILL[1]}))
    first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    plot_contexts(report, first)
    plot_contexts(report, second)
    content = first.read_bytes()
    assert content == second.read_bytes()
    magic = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}[suffix.lower()]
    assert content.startswith(magic)


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    scores = dict.fromkeys((1, 8), FILL[1])
    plot_contexts(make_report(make_task("forecast", scores)), tmp_path / "study.png")
    image = pictures.imread(tmp_path / "study.png")[..., :3].astype(int)
    blue = (image[..., 2] - image[..., 0] > 100).mean()
    assert 0.001 < blue < 0.05


def test_scores_that_are_all_equal_can_be_drawn(tmp_path: Path) -> None:
    plot_contexts(make_report(make_task("fill", {1: (34.5,) * 4})), tmp_path / "study.svg")
    assert (tmp_path / "study.svg").exists()


def test_a_drawing_is_whole_or_absent(tmp_path: Path) -> None:
    report = make_report(make_task("fill", FILL))
    with pytest.raises(OutputError, match="no folder"):
        plot_contexts(report, tmp_path / "no" / "study.svg")
    (tmp_path / "taken.svg").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        plot_contexts(report, tmp_path / "taken.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.svg"]
