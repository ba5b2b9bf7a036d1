from __future__ import annotations

import html.parser
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scenery import build_network
from synthetic import make_frames, write_clip

from framepred.evaluation import EvaluationReport, evaluate
from framepred.galleries import Gallery
from framepred.metrics import psnr
from framepred.predictor import Predictor
from framepred.protocol import Window, WindowScore, average_frames, space_windows
from framepred.scoreboards import write_scores
from framepred.video import open_rgb_frames

HOSTILE = "<b>x$\\frac{$"


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(build_network(), name=HOSTILE, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def scored(
    tmp_path_factory: pytest.TempPathFactory, predictor: Predictor
) -> tuple[EvaluationReport, Gallery, list[Path]]:
    folder = tmp_path_factory.mktemp("clips")
    clips = [
        write_clip(
            folder / f"{n}.mkv",
            make_frames(22, width=40, height=32, speed=(n, 1), seed=n),
            codec="ffv1",
        )
        for n in (1, 6)
    ]
    gallery = Gallery()
    report = evaluate(clips, predictor=predictor, per_clip=1, gallery=gallery)
    return report, gallery, clips


def test_the_hardest_and_easiest_windows_are_kept(
    scored: tuple[EvaluationReport, Gallery, list[Path]], predictor: Predictor
) -> None:
    report, gallery, clips = scored
    found = {}
    for clip in clips:
        frames = np.stack(list(open_rgb_frames(clip)))
        for window in space_windows(clip.name, len(frames), "fill", per_clip=1):
            before, hidden, after = window.cut(frames)
            made = predictor.fill(before, after, window.n_missing)
            scores = [min(psnr(t, m), 100.0) for t, m in zip(hidden, made, strict=True)]
            found[window] = float(np.mean(scores))
    assert gallery.hardest["fill"].window == min(found, key=found.__getitem__)
    assert gallery.easiest["fill"].window == max(found, key=found.__getitem__)
    exhibit = gallery.hardest["fill"]
    assert exhibit.psnr == pytest.approx(min(found.values()))
    shown = [(frame.slot + exhibit.first, frame.role) for frame in exhibit.album.film]
    window = exhibit.window
    assert [slot for slot, role in shown if role == "made"] == list(
        range(window.start, window.start + window.n_missing)
    )
    assert all(look.true is not None for look in exhibit.album.looks)
    ours = next(m for m in report.tasks[0].methods if m.role == "model")
    assert np.mean(ours.psnr_by_frame[8]) == pytest.approx(ours.psnr[8])


def test_scores_by_frame_are_means_over_windows_of_one_length() -> None:
    windows = [Window("a", 4, n, 4, "fill") for n in (2, 1, 2)]
    scores = [
        WindowScore((30.0, 20.0), (0.9, 0.8)),
        WindowScore((50.0,), (1.0,)),
        WindowScore((math.inf, 40.0), (0.7, 0.6)),
    ]
    table = average_frames(windows, scores)
    assert list(table) == [1, 2]
    assert table[1] == ((50.0, 1.0),)
    assert table[2] == (pytest.approx((65.0, 0.8)), pytest.approx((30.0, 0.7)))


class Text(html.parser.HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.n_best = 0
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.n_best += ("class", "best") in attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_has_every_score(
    scored: tuple[EvaluationReport, Gallery, list[Path]], tmp_path: Path
) -> None:
    report, gallery, _ = scored
    write_scores(report, gallery, tmp_path / "page.html")
    page = Text((tmp_path / "page.html").read_text(encoding="utf-8"))
    for task in report.tasks:
        for method in task.methods:
            assert method.method in page.text
            for column in task.columns:
                assert f"{method.psnr[column]:.2f}" in page.text
    assert page.n_best >= sum(len(task.columns) for task in report.tasks)
    assert page.tags.count("svg") == 8  # PSNR and SSIM, by column and by frame, of two tasks
    assert page.tags.count("details") == 4


def test_the_page_works_in_a_browser(
    scored: tuple[EvaluationReport, Gallery, list[Path]],
    tmp_path: Path,
    visit: Callable[..., object],
) -> None:
    report, gallery, _ = scored
    write_scores(report, gallery, tmp_path / "page.html")
    page = visit(tmp_path / "page.html", width=360)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.locator("#gap-1 summary").click()
    assert page.locator("#gap-1 [data-against]").count() == 3
    assert page.locator("#gap-1 .stage img:visible").count() == 2
