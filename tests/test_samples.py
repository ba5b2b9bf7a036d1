"""The sample clips: what the recipe promises is in the files."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framepred.video import Frame, VideoReader, probe, read_thumbnail, to_rgb

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "samples" / "make_samples.py"
HELLO = ROOT / "samples" / "continue_hello.py"
NAMES = {"pan": ".mp4", "crossing": ".mkv", "flight": ".mov"}
KINDS = ("whole", "holes", "frozen", "black", "corrupt", "vfr")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    subprocess.run([sys.executable, str(SCRIPT), str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def rows(media: Path) -> dict[tuple[str, str], dict[str, Any]]:
    listed = json.loads((media / "samples.json").read_text(encoding="utf-8"))
    return {(row["file"].split(".")[0].split("-")[0], row["kind"]): row for row in listed}


def read(path: Path) -> tuple[list[Frame], VideoReader]:
    with VideoReader(path) as reader:
        return list(reader.read()), reader


def flatten(runs: list[list[int]]) -> set[int]:
    return {i for start, stop in runs for i in range(start, stop)}


def test_all_versions_are_listed(media: Path, rows: dict[tuple[str, str], Any]) -> None:
    assert set(rows) == {(name, kind) for name in NAMES for kind in KINDS}
    assert {row["file"] for row in rows.values()} == {
        p.name for p in media.iterdir() if p.suffix != ".json"
    }
    assert sum(p.stat().st_size for p in media.iterdir()) < 12_000_000


@pytest.mark.parametrize("name", NAMES)
def test_clips_have_sound_and_subtitles(media: Path, name: str) -> None:
    info = probe(media / f"{name}{NAMES[name]}")
    assert (info.codec, info.width, info.height) == ("h264", 320, 180)
    assert [s.kind for s in info.other_streams] == ["audio", "subtitle"]
    assert info.duration is not None
    assert 3 < info.duration < 5


@pytest.mark.parametrize("name", NAMES)
def test_whole_clips_move_all_the_time(media: Path, name: str) -> None:
    frames, _ = read(media / f"{name}{NAMES[name]}")
    assert len(frames) == 96
    small = [read_thumbnail(f) for f in frames]
    changes = [float(np.abs(b - a).mean()) for a, b in pairwise(small)]
    assert min(changes[3:-3]) > 0.3
    assert max(changes) < 30


@pytest.mark.parametrize("name", NAMES)
def test_holes_are_holes_in_time(media: Path, rows: dict[tuple[str, str], Any], name: str) -> None:
    row = rows[name, "holes"]
    whole, _ = read(media / row["reference"])
    frames, _ = read(media / row["file"])
    gone = flatten(row["runs"])
    assert len(gone) == 18
    assert [f.time for f in frames] == [f.time for i, f in enumerate(whole) if i not in gone]


@pytest.mark.parametrize("name", NAMES)
def test_frozen_frames_repeat(media: Path, rows: dict[tuple[str, str], Any], name: str) -> None:
    row = rows[name, "frozen"]
    frames, _ = read(media / row["file"])
    small = [read_thumbnail(f) for f in frames]
    changes = np.array([np.abs(b - a).mean() for a, b in pairwise(small)])
    frozen = np.array([i in flatten(row["runs"]) for i in range(1, len(frames))])
    assert changes[frozen].max() < 0.5 * np.median(changes[~frozen])


@pytest.mark.parametrize("name", NAMES)
def test_black_frames_are_black(media: Path, rows: dict[tuple[str, str], Any], name: str) -> None:
    row = rows[name, "black"]
    frames, _ = read(media / row["file"])
    dark = {f.index for f in frames if read_thumbnail(f).max() < 4}
    assert dark == flatten(row["runs"])


@pytest.mark.parametrize("name", NAMES)
def test_corrupt_packets_are_noticed_and_harm_no_other(
    media: Path, rows: dict[tuple[str, str], Any], name: str
) -> None:
    row = rows[name, "corrupt"]
    frames, reader = read(media / row["file"])
    times = sorted(reader.packet_times)
    assert len(times) == 96
    gone = set(times) - {f.time for f in frames}
    marked = {f.time for f in frames if f.is_corrupt}
    assert gone
    assert marked
    assert {times.index(t) for t in gone | marked} == flatten(row["runs"])
    whole, _ = read(media / row["reference"])
    for frame in frames:
        if frame.time not in marked:
            truth = to_rgb(whole[times.index(frame.time)]).astype(float)
            assert np.abs(to_rgb(frame) - truth).mean() < 4


@pytest.mark.parametrize("name", NAMES)
def test_variable_rate_is_honest(media: Path, rows: dict[tuple[str, str], Any], name: str) -> None:
    frames, _ = read(media / rows[name, "vfr"]["file"])
    steps = [b.time - a.time for a, b in pairwise(frames)]
    assert min(steps) >= Fraction(32, 1000)
    assert max(steps) <= Fraction(68, 1000)
    assert len(set(steps)) > 5


@pytest.mark.exhaustive
def test_the_recipe_is_deterministic(media: Path, tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        "from pathlib import Path\n"
        "import make_samples as m\n"
        f"m.make_versions(m.make_crossing(), Path({str(tmp_path)!r}))\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    for path in tmp_path.iterdir():
        first = hashlib.sha256((media / path.name).read_bytes()).hexdigest()
        assert hashlib.sha256(path.read_bytes()).hexdigest() == first, path.name


# ---- hello ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hello() -> Any:
    spec = importlib.util.spec_from_file_location("continue_hello", HELLO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("seed", [0, 1])
def test_hello_is_learnt(hello: Any, cell: str, seed: int) -> None:
    lesson = hello.learn(cell, ["hello"], seed=seed)
    best = [max(range(4), key=scores.__getitem__) for scores in lesson.scores]
    assert "".join("helo"[place] for place in best) == "ello"
    assert lesson.said == "hello"
    assert max(lesson.errors) < 0.05 < min(lesson.errors_before)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_the_error_falls_as_more_is_known(hello: Any, cell: str) -> None:
    lesson = hello.learn(cell, hello.WORDS, n_steps=300)
    # h: e twice of four times, o, l; he: l or o; then one word is left.
    assert lesson.floor == pytest.approx([1.5 * math.log(2), 0.5 * math.log(2), 0, 0])
    assert lesson.errors == pytest.approx(lesson.floor, abs=0.02)


def test_hello_is_shown() -> None:
    command = [sys.executable, str(HELLO), "--cell", "rnn", "--steps", "5"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.startswith("rnn, 'hello':\n  reads                    h       e")
    assert "least possible 1.040 0.347 0.000 0.000" in " ".join(done.stdout.split())
