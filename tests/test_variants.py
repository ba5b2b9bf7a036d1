"""The script that compares variants: on two little videos, stopped and started again."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scenery import film
from synthetic import write_clip

from framepred.errors import TrainingError
from framepred.operations import Count, CountReport
from framepred.predictor import Predictor
from framepred.protocol import load_windows, score_window
from framepred.video import open_rgb_frames

SCRIPT = Path(__file__).parents[1] / "samples" / "compare_variants.py"
WINDOWS = {
    "gap": [{"clip": "b.mkv", "missing": g, "start": start} for g in (1, 2) for start in (4, 6)],
    "forecast": [{"clip": "b.mkv", "start": 8, "frames": 2, "context": 4}],
}
VARIANTS = """
clips = ["a.mkv"]
scored = ["b.mkv"]
windows = "windows.json"

[all]
n_features = [6, 8]
n_seen = 5
n_hidden = 12
n_carried = 5
n_coarse = 10
n_fine = 8
n_steps = 2
batch_size = 1
crop = 32
max_gap = 2

[variants.plain]
[variants.gru]
cell = "gru"
[variants.untrained]
n_steps = 0
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_variants", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def told(tmp_path: Path) -> Path:
    for name in ("a.mkv", "b.mkv"):
        (tmp_path / name).touch()
    (tmp_path / "windows.json").write_text(json.dumps(WINDOWS))
    path = tmp_path / "variants.toml"
    path.write_text(VARIANTS)
    return path


@pytest.fixture
def run(script: ModuleType, told: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, picture in (("a", "chelsea"), ("b", "coffee")):
        frames = list(film(12, 40, 48, name=picture))
        write_clip(told.parent / f"{name}.mkv", frames, codec="ffv1")

    def count(predictor: Predictor, *, heights: tuple[int, ...]) -> CountReport:
        """What takes many seconds: the multiply-adds."""
        parameters = sum(p.numel() for p in predictor.model.parameters())
        counts = (Count(h, h, g, h / g) for h in heights for g in (1, 4))
        return CountReport(predictor.name, parameters, tuple(counts))

    monkeypatch.setattr(script, "count_operations", count)
    monkeypatch.setattr(os, "nice", lambda _: 0)  # it cannot be taken back

    def call(*options: str) -> int:
        arguments = ["compare_variants.py", str(told), "--out", str(told.parent / "out"), *options]
        monkeypatch.setattr(sys, "argv", arguments)
        code: int = script.main()
        return code

    return call


def test_a_table_of_variants(
    script: ModuleType,
    run: Any,
    told: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = told.parent / "out"
    scored = []

    def count(*arguments: Any, **options: Any) -> Any:
        scored.append(arguments[0])
        if len(scored) == 3:
            raise KeyboardInterrupt
        return score_window(*arguments, **options)

    monkeypatch.setattr(script, "score_window", count)
    with pytest.raises(KeyboardInterrupt):
        run("--only", "untrained")
    assert not (out / "untrained" / "row.json").exists()
    assert run() == 0
    # Two windows before the stop; the three others of this variant and five of each other after.
    assert len(scored) == 3 + 3 + 2 * 5
    lines = capsys.readouterr().out.splitlines()
    head, rule, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert head[:5] == ["variant", "parameters", "GMAC 256p", "GMAC 1080p", "minutes"]
    assert head[5:] == ["g=1", "g=2", "g=4", "g=8", "step 1", "step 2", "step 4", "step 8"]
    assert set(rule) == {"---"}
    assert [row[0] for row in rows] == ["plain", "gru", "untrained"]
    plain, gru, untrained = rows
    assert plain[1] == untrained[1] != gru[1]
    assert plain[2:4] == ["256.0", "1080.0"]
    assert untrained[4] == "0.0"
    for row in rows:
        assert all(float(cell) > 10 for cell in (row[5], row[6], row[9], row[10]))
        assert row[7] == row[8] == row[11] == row[12] == ""  # no such windows
    # The same figures by hand.
    predictor = Predictor.load(str(out / "plain" / "model.safetensors"), device="cpu")
    frames = script.np.stack(list(open_rgb_frames(told.parent / "b.mkv")))
    windows = load_windows(told.parent / "windows.json", "fill")
    ones = [score_window(w, frames, predictor.fill)[1].psnr[0] for w in windows[:2]]
    assert float(plain[5]) == pytest.approx(sum(ones) / 2, abs=0.006)
    # All of it is done.
    scored.clear()
    assert run() == 0
    assert not scored
    assert capsys.readouterr().out.splitlines() == lines
    told.write_text(VARIANTS.replace("crop = 32", "crop = 40"))
    assert run() == 1
    assert "holds a variant of other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('cell = "gru"', "cells = 3", "no setting 'cells'"),
        ("[variants.gru]", '[variants."../gru"]', "must do as a folder's"),
        ("[all]", "[all", "is not TOML"),
        ('windows = "windows.json"', "", "missing or of the wrong type"),
        ("n_steps = 2", 'n_steps = "2"', "missing or of the wrong type"),
        ('scored = ["b.mkv"]', 'scored = ["a.mkv"]', "b.mkv is not among the clips"),
        ('cell = "gru"', 'initial = "default"', "have their own sizes"),
    ],
)
def test_what_is_refused(script: ModuleType, told: Path, old: str, new: str, problem: str) -> None:
    told.write_text(VARIANTS.replace(old, new))
    with pytest.raises(TrainingError, match=problem):
        script.Comparison.read(told, told.parent / "out")


def test_every_so_many_windows_of_each_length(script: ModuleType, told: Path) -> None:
    told.write_text("every = 2\n" + VARIANTS)
    windows = script.Comparison.read(told, told.parent / "out").windows
    assert [(w.n_missing, w.start) for w in windows["fill"]] == [(1, 4), (2, 4)]
    assert len(windows["forecast"]) == 1
