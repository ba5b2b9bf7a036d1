from __future__ import annotations

import json
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from framepred.reports import GapReport, HeldReport, Report, Seconds, StageClock, to_plain


def test_plain_values_are_json() -> None:
    gap = GapReport(
        start=3,
        stop=5,
        time=Fraction(1, 8),
        kind="missing",
        action="fill",
        reason="because",
        context_before=4,
        context_after=2,
        estimated_psnr=31.5,
    )
    data = gap.as_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["time"] == 0.125
    assert data["estimated_psnr"] == 31.5
    assert data["psnr"] is None
    assert gap.n_frames == 2


def test_json_has_no_word_for_infinity() -> None:
    assert to_plain([float("inf"), float("nan"), 1.5]) == [None, None, 1.5]


def test_nested_values() -> None:
    plain = to_plain({"path": Path("a") / "b", "seconds": Seconds(total=1.0), "pair": (1, True)})
    assert plain == {
        "path": str(Path("a") / "b"),
        "seconds": {"decode": 0.0, "model": 0.0, "encode": 0.0, "total": 1.0},
        "pair": [1, True],
    }


def test_what_is_no_report() -> None:
    with pytest.raises(TypeError, match="set"):
        to_plain({1, 2})


def test_clock_adds_up_stages() -> None:
    clock = StageClock()
    with clock.measure("model"):
        time.sleep(0.02)
    with clock.measure("model"):
        time.sleep(0.02)
    assert list(clock.iterate("decode", iter([1, 2]))) == [1, 2]
    seconds = clock.seconds()
    assert seconds.model >= 0.04
    assert seconds.encode == 0
    assert seconds.total >= seconds.model + seconds.decode


def test_clock_counts_a_stage_that_fails() -> None:
    clock = StageClock()

    def fail() -> None:
        with clock.measure("encode"):
            time.sleep(0.01)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert clock.seconds().encode >= 0.01


def test_a_report_shows_itself_in_a_notebook_and_escapes() -> None:
    report = HeldReport("<script>&", 3)
    assert report._repr_html_() == (
        "<b>HeldReport</b><table>"
        "<tr><th style='text-align:left'>reason</th><td>&lt;script&gt;&amp;</td></tr>"
        "<tr><th style='text-align:left'>frames</th><td>3</td></tr></table>"
    )
    many = FrameScores(tuple(HeldReport(str(i), i) for i in range(25)), None, 1 / 3)
    drawn = many._repr_html_()
    assert "and 5 more" in drawn
    assert "&ndash;" in drawn
    assert "0.3333" in drawn


@dataclass(frozen=True)
class FrameScores(Report):
    """A report of reports, for a test."""

    items: tuple[HeldReport, ...]
    nothing: float | None
    number: float
