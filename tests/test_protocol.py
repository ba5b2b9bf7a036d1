from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from framepred.errors import EvaluationError
from framepred.metrics import psnr, ssim
from framepred.protocol import (
    FILL_GAPS,
    FORECAST_STEPS,
    Task,
    Window,
    WindowScore,
    average_frames,
    average_scores,
    load_windows,
    score_window,
    space_windows,
)


def make_labels(n: int) -> NDArray[np.uint8]:
    """Frames whose every pixel is the frame's index."""
    return np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1).repeat(3, -1)


def labels(frames: NDArray[np.uint8]) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in frames]


def cut(window: Window, n: int) -> tuple[list[int], list[int], list[int]]:
    before, hidden, after = window.cut(make_labels(n))
    return labels(before), labels(hidden), labels(after)


# ---- windows ----------------------------------------------------------------------------------


def test_fill_shows_both_sides() -> None:
    window = Window("a", 6, 2, 4, "fill")
    assert cut(window, 20) == ([2, 3, 4, 5], [6, 7], [8, 9, 10, 11])


def test_forecast_shows_the_past_only() -> None:
    window = Window("a", 10, 8, 8, "forecast")
    assert cut(window, 30) == ([*range(2, 10)], [*range(10, 18)], [])
    assert cut(window, 18)[1] == [*range(10, 18)]


def test_context_ends_where_the_clip_does() -> None:
    assert cut(Window("a", 2, 4, 4, "fill"), 7) == ([0, 1], [2, 3, 4, 5], [6])


@pytest.mark.parametrize(
    "window",
    [
        Window("clip.mp4", 0, 2, 4, "fill"),  # nothing before
        Window("clip.mp4", 8, 2, 4, "fill"),  # nothing after
        Window("clip.mp4", 9, 2, 4, "forecast"),  # half of it beyond the end
        Window("clip.mp4", 30, 1, 4, "forecast"),
        Window("clip.mp4", 0, 1, 4, "forecast"),
        Window("clip.mp4", 5, 1, 0, "fill"),  # no context wanted
    ],
)
def test_windows_that_do_not_fit(window: Window) -> None:
    with pytest.raises(EvaluationError, match=r"does not fit into clip\.mp4 \(10 frames\)"):
        window.cut(make_labels(10))


@given(
    n=st.integers(1, 40),
    start=st.integers(1, 40),
    n_context=st.integers(1, 9),
    task=st.sampled_from(["fill", "forecast"]),
)
def test_room_for_the_context_is_what_the_cut_shows(
    n: int, start: int, n_context: int, task: Task
) -> None:
    window = Window("a", start, 2, n_context, task)
    margin = 1 if task == "fill" else 0
    if start + 2 + margin > n:
        assert not window.has_room(n) or task == "forecast"
        return
    before, _, after = cut(window, n)
    assert window.has_room(n) == (
        len(before) == n_context and len(after) == (n_context if task == "fill" else 0)
    )


@given(
    n=st.integers(0, 200),
    task=st.sampled_from(["fill", "forecast"]),
    per_clip=st.integers(1, 5),
)
def test_spaced_windows_fit_and_hide_what_they_hide(n: int, task: Task, per_clip: int) -> None:
    windows = space_windows("a", n, task, per_clip=per_clip)
    for window in windows:
        before, hidden, after = cut(window, n)
        assert hidden == [*range(window.start, window.start + window.n_missing)]
        assert before == [*range(window.start - len(before), window.start)]
        assert 2 <= len(before) <= window.n_context
        if task == "fill":
            assert after == [*range(hidden[-1] + 1, hidden[-1] + 1 + len(after))]
            assert 2 <= len(after) <= 4
        else:
            assert after == []
            assert window.n_missing == 8
        assert not set(hidden) & {*before, *after}
    lengths = [window.n_missing for window in windows]
    wanted = FILL_GAPS if task == "fill" else (8,)
    margin = 4 if task == "fill" else 2
    for length in wanted:
        fits = n - length - margin + 1  # places with two known frames on each side that there is
        assert lengths.count(length) <= per_clip
        assert (lengths.count(length) > 0) == (fits > 0)
    starts = [(window.n_missing, window.start) for window in windows]
    assert len(set(starts)) == len(starts)


def test_windows_are_spread_evenly() -> None:
    starts = [w.start for w in space_windows("a", 108, "fill", per_clip=4, gaps=(1,))]
    gaps = np.diff(starts)
    assert len(starts) == 4
    assert gaps.max() - gaps.min() <= 1
    assert starts[0] - 4 == pytest.approx(gaps.mean() / 2, abs=1)


# ---- lists of windows -------------------------------------------------------------------------

LIST = {
    "gap": [
        {"clip": "a.mp4", "missing": 4, "start": 9},
        {"clip": "b.mp4", "missing": 1, "start": 0},
    ],
    "forecast": [{"clip": "a.mp4", "start": 8, "frames": 8, "context": 6}],
    "note": "anything else is passed over",
}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_list_of_windows(tmp_path: Path) -> None:
    path = write(tmp_path / "windows.json", LIST)
    assert load_windows(path, "fill") == [
        Window("a.mp4", 9, 4, 4, "fill"),
        Window("b.mp4", 0, 1, 4, "fill"),
    ]
    assert load_windows(path, "forecast") == [Window("a.mp4", 8, 8, 6, "forecast")]
    shown = [LIST["gap"][0] | {"context": 2}]
    path = write(tmp_path / "shown.json", {"gap": shown, "forecast": [{**shown[0], "frames": 3}]})
    assert load_windows(path, "fill") == [Window("a.mp4", 9, 4, 2, "fill")]
    assert load_windows(path, "forecast") == [Window("a.mp4", 9, 3, 2, "forecast")]


def gap(**change: Any) -> dict[str, Any]:
    return {"gap": [{"clip": "a.mp4", "missing": 4, "start": 9, **change}]}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 200_000,
        '{"gap": [{"clip": "a", "start": ' + "9" * 10_000 + "}]}",
        {"forecast": []},
        {"gap": [3]},
        {"gap": 3},
        {"gap": {"clip": "a.mp4"}},
        {"gap": [{"clip": "a.mp4", "missing": 4}]},
        gap(clip=7),
        gap(clip="../a.mp4"),
        gap(clip="/etc/passwd"),
        gap(start=-1),
        gap(start=1.0),
        gap(start=True),
        gap(start="1"),
        gap(start=2**40),
        gap(missing=0),
        gap(missing=None),
    ],
)
def test_what_is_no_list_of_windows(tmp_path: Path, content: Any) -> None:
    path = write(tmp_path / "windows.json", content)
    with pytest.raises(EvaluationError, match=r"windows\.json") as caught:
        load_windows(path, "fill")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"frames": 0}, {"context": 0}, {"frames": 1.5}])
def test_what_is_no_forecast(tmp_path: Path, change: dict[str, Any]) -> None:
    row = {"clip": "a.mp4", "start": 8, "frames": 8, "context": 8, **change}
    path = write(tmp_path / "windows.json", {"forecast": [row]})
    with pytest.raises(EvaluationError, match="not a list of windows"):
        load_windows(path, "forecast")


def test_what_is_no_list_is_told_in_words(tmp_path: Path) -> None:
    path = tmp_path / "windows.json"
    for content, words in (
        (b"\0\xff\xfe" * 999, "it is no text"),
        (b"{}", 'it has no list "gap"'),
        (b"[]", 'it has no list "gap"'),
        (b'{"gap": [{}, 3]}', "missing = None is not a whole number of at least 1"),
        (b'{"gap": [3]}', 'entry 1 of "gap" is not of the form'),
        (b"\n" + b"x" * 999, "it is no JSON in line 2"),
    ):
        path.write_bytes(content)
        with pytest.raises(EvaluationError, match=words) as caught:
            load_windows(path, "fill")
        assert len(str(caught.value)) < len(str(path)) + 200


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(EvaluationError, match="cannot read"):
            load_windows(path, "fill")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EvaluationError, match="not a list"):
        load_windows(tmp_path / "binary.json", "fill")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(2**24 + 1)
    with pytest.raises(EvaluationError, match="too large"):
        load_windows(tmp_path / "large.json", "fill")


# ---- scores -----------------------------------------------------------------------------------


def test_a_method_sees_the_context_only() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)
    seen: list[tuple[Any, Any, int]] = []

    def method(before: Any, after: Any, n_frames: int) -> Any:
        seen.append((before.copy(), after.copy(), n_frames))
        return np.repeat(before[-1:], n_frames, axis=0)

    seconds, score = score_window(Window("a", 6, 2, 4, "fill"), frames, method)
    ((before, after, n_frames),) = seen
    assert np.array_equal(before, frames[2:6])
    assert np.array_equal(after, frames[8:12])
    assert n_frames == 2
    assert seconds >= 0
    assert score.psnr == tuple(psnr(frames[k], frames[5]) for k in (6, 7))
    assert score.ssim == tuple(ssim(frames[k], frames[5]) for k in (6, 7))
    _, quick = score_window(Window("a", 6, 2, 4, "fill"), frames, method, with_ssim=False)
    assert quick.psnr == score.psnr
    assert all(math.isnan(value) for value in quick.ssim)


def test_a_method_that_makes_too_few_frames_is_an_error() -> None:
    frames = np.zeros((20, 16, 16, 3), np.uint8)
    with pytest.raises(ValueError, match="shorter"):
        score_window(Window("a", 6, 2, 4, "fill"), frames, lambda before, *_: before[:1])


def test_fill_averages_over_frames_then_windows() -> None:
    windows = [Window("a", 9, n, 4, "fill") for n in (1, 2, 2)]
    scores = [
        WindowScore((30.0,), (0.9,)),
        WindowScore((20.0, 30.0), (0.5, 0.7)),
        WindowScore((40.0, 44.0), (0.9, 1.0)),
    ]
    table = average_scores(windows, scores)
    assert list(table) == [1, 2]
    assert table[1] == pytest.approx((30.0, 0.9, 1))
    assert table[2] == pytest.approx(((25 + 42) / 2, (0.6 + 0.95) / 2, 2))


def test_forecast_averages_over_windows_at_each_step() -> None:
    windows = [Window("a", 9, n, 8, "forecast") for n in (8, 3)]
    scores = [
        WindowScore(tuple(40.0 - k for k in range(8)), tuple(0.9 - k / 10 for k in range(8))),
        WindowScore((30.0, 28.0, 1.0), (0.5, 0.4, 0.0)),
    ]
    table = average_scores(windows, scores)
    assert tuple(table) == FORECAST_STEPS
    assert table[1] == pytest.approx((35.0, 0.7, 2))
    assert table[2] == pytest.approx(((39 + 28) / 2, 0.6, 2))
    assert table[4] == pytest.approx((37.0, 0.6, 1))
    assert table[8] == pytest.approx((33.0, 0.2, 1))


def test_a_perfect_frame_counts_as_100_db() -> None:
    windows = [Window("a", 9, 2, 4, "fill")]
    table = average_scores(windows, [WindowScore((math.inf, 20.0), (1.0, 0.5))])
    assert table[2] == pytest.approx((60, 0.75, 1))


def test_pictures_too_small_for_ssim_do_not_empty_its_column() -> None:
    windows = [Window("a", 9, 2, 4, "fill"), Window("b", 9, 2, 4, "fill")]
    unknown = WindowScore((30.0, 30.0), (math.nan, math.nan))
    scores = [unknown, WindowScore((20.0, 20.0), (0.5, 0.7))]
    assert average_scores(windows, scores)[2] == pytest.approx((25, 0.6, 2))
    assert average_frames(windows, scores)[2][1][1] == 0.7
    assert math.isnan(average_scores(windows[:1], [unknown])[2][1])


def test_no_windows_no_table() -> None:
    assert average_scores([], []) == {}
