"""Detection on damaged real clips, by the script whose figures the README quotes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
CLIPS = sorted((ROOT.parent / "shared" / "data" / "clips" / "val").glob("*.mp4"))


@pytest.fixture(scope="module")
def script() -> Any:
    path = ROOT / "samples" / "measure_detection.py"
    spec = importlib.util.spec_from_file_location("measure_detection", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["measure_detection"] = module
    spec.loader.exec_module(module)
    return module


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
def test_real_damage_is_found_and_nothing_else(script: Any) -> None:
    """Two shots: a box turned in the hand, before a wall, and a cup of coffee."""
    chosen = [path for path in CLIPS if path.stem in ("box_cv_0", "sam2_04_coffee_1")]
    tallies = script.measure(chosen, ["frozen", "closed", "repeated"])
    for row, tally in tallies.items():
        assert not tally.false, row
        assert tally.reported == tally.found, row
    assert sum(tallies[f"frozen, crf {crf}"].found for crf in (18, 23, 28, 33)) >= 14  # of 16
    assert sum(tallies[f"closed, n={n}"].found for n in (2, 3, 4, 8)) >= 6  # of 8
