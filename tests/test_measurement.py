"""Detection on damaged real clips, by the script whose figures the README quotes."""

from __future__ import annotations

import importlib.util
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blending import BlendPredictor
from synthetic import make_texture, read_packets

ROOT = Path(__file__).parents[1]
CLIPS = sorted((ROOT.parent / "shared" / "data" / "clips" / "val").glob("*.mp4"))


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "samples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script() -> Any:
    return load("measure_detection")


def test_recipes_do_what_they_say(script: Any) -> None:
    """Truths against the frames themselves: each clip frame is a number."""
    clip = [(np.full((16, 16), i, np.uint8), *[np.zeros((8, 8), np.uint8)] * 2) for i in range(60)]

    def numbers(case: Any) -> list[int]:
        return [round(float(frame[0].mean())) for frame in case.clip]

    rng = np.random.default_rng(0)
    for case in script.closed(clip, rng):
        ((at, n),) = case.truth
        assert numbers(case) == [i for i in range(60) if not at <= i < at + n]
    for case in script.frozen(clip, rng):
        ((start, stop),) = case.truth
        if "noise=0" in case.detail:
            assert numbers(case) == [start - 1 if start <= i < stop else i for i in range(60)]
    for case in script.missing(clip, rng):
        ((start, stop),) = case.truth
        assert list(case.keep) == [i for i in range(60) if not start <= i < stop]
    assert script.overlap((2, 6), (4, 8)) == pytest.approx(2 / 6)
    assert script.overlap((2, 4), (4, 8)) == 0


@pytest.mark.slow
@pytest.mark.skipif(not CLIPS, reason="the real clips are not here")
@pytest.mark.parametrize(
    ("kind", "rows", "least"),
    [
        ("frozen", [f"frozen, crf {crf}" for crf in (18, 23, 28, 33)], 14),  # of 16
        pytest.param(
            *("closed", [f"closed, n={n}" for n in (2, 3, 4, 8)], 6),  # of 8
            marks=pytest.mark.exhaustive,
        ),
        ("repeated", [], 0),
    ],
)
def test_real_damage_is_found_and_nothing_else(
    script: Any, kind: str, rows: list[str], least: int
) -> None:
    """Two shots: a box turned in the hand, before a wall, and a cup of coffee."""
    chosen = [path for path in CLIPS if path.stem in ("box_cv_0", "sam2_04_coffee_1")]
    tallies = script.measure(chosen, [kind])
    for row, tally in tallies.items():
        assert not tally.false, row
        assert tally.reported == tally.found, row
    assert sum(tallies[row].found for row in rows) >= least


@pytest.mark.parametrize("how", ["overwritten", "zeroed", "bits flipped", "lost"])
def test_packets_are_spoiled_and_no_others(script: Any, tmp_path: Path, how: str) -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 255, (20, 64, 64), dtype=np.uint8)
    clip = [(luma, *[np.full((32, 32), 128, np.uint8)] * 2) for luma in noise]
    case = script.Case("undecodable", "", clip, spoil=(7, 8), how=how, gop=6)
    whole, damaged = tmp_path / "whole.mp4", tmp_path / "damaged.mp4"
    script.write_case(whole, case, Fraction(25))
    script.spoil(whole, damaged, case)
    before, after = ([packet[3] for packet in read_packets(path)[0]] for path in (whole, damaged))
    if how == "lost":
        assert after == before[:7] + before[9:]
    else:
        assert [i for i in range(20) if before[i] != after[i]] == [7, 8]
    ((first, _), *_) = script.compare_pictures(damaged, whole)
    assert first >= 6, "nothing before the packets' own group of pictures"
    assert script.compare_pictures(whole, whole) == []


def test_damage_beside_a_cut_is_left_out(script: Any) -> None:
    case = script.Case("black, crf 20", "", [], [(8, 11)])
    assert [cut for cut in range(20) if script.is_beside(case, [cut])] == [8, 9, 10, 11]
    drop = script.Case("closed", "", [], [(8, 3)])
    assert [cut for cut in range(20) if script.is_beside(drop, [cut])] == [8, 9, 10, 11]
    assert not script.is_beside(script.Case("missing", "", [], [(8, 11)]), [9])


def test_mending_is_measured_against_the_undamaged_file(script: Any, tmp_path: Path) -> None:
    mending = load("measure_mending")
    grain = np.random.default_rng(0).normal(0, 12, (288, 352))
    texture = np.rint((make_texture(352, 288)[..., 1] * 0.7 + 38 + grain).clip(16, 235)).astype(
        np.uint8
    )
    flat = np.full((144, 176), 128, np.uint8)
    clip = [(np.roll(texture, (i, 2 * i), (0, 1)), flat, flat) for i in range(24)]
    case = script.Case("undecodable, zeroed", "", clip, spoil=range(8, 10), how="zeroed",
                       codec="libx264", gop=12)  # fmt: skip
    damaged, undamaged = mending.damage(tmp_path, case, Fraction(25))
    frames = mending.compare(damaged, undamaged, BlendPredictor(), tmp_path)
    assert frames
    for frame in frames:
        assert 0 <= frame.kept <= 1
        assert frame.mended > frame.whole - mending.WORSE
    assert mending.compare(undamaged, undamaged, BlendPredictor(), tmp_path) == []
