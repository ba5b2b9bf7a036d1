from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scenery import build_network, film
from synthetic import read_planes, write_clip

from framepred import grids, memory, tiles
from framepred.errors import ModelError
from framepred.filling import fill_gaps
from framepred.forecasting import forecast
from framepred.model import FramePredictor
from framepred.predictor import Predictor
from framepred.tiles import SMALLEST_TILE, Tiling, is_out_of_memory

CPU = torch.device("cpu")
HEIGHT, WIDTH = 273, 307  # odd, so that everything is padded
SIDES = {"fill": (3, 3), "forecast": (4, 0), "backcast": (0, 4), "one": (1, 0)}


@pytest.fixture(autouse=True, scope="module")
def _small_pictures_are_large() -> Iterator[None]:
    """Motion is found on a quarter of these pictures' size, as if they had a thousand lines.

    In float32, as the rounding of bfloat16 may add up to two values of 255.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grids, "_LARGEST_SIDE", 136)
        patch.setattr("framepred.predictor.choose_precision", lambda device: torch.float32)
        yield


def build(tile: int | str | None) -> Predictor:
    return Predictor(build_network(strength=0.02), name="test", device=CPU, tile=tile)


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    """Eight frames that move by (17, -9) pixels each: farther than the smallest tile in a gap."""
    return film(8, HEIGHT, WIDTH, speed=(17, -9), name="astronaut")


def split(frames: NDArray[Any], kind: str) -> tuple[NDArray[Any], NDArray[Any]]:
    n_before, n_after = SIDES[kind]
    return frames[:n_before], frames[len(frames) - n_after :]


@pytest.fixture(scope="module")
def whole(frames: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """What the network makes without tiles."""
    predictor = build(None)
    return {kind: predictor.fill(*split(frames, kind), 2) for kind in SIDES}


def lie_on_borders(n: int, side: int) -> NDArray[np.bool_]:
    """Which of ``n`` lines touch another tile."""
    edges = {region.top for region in tiles._lay_tiles(n, 2, side)} - {0}
    return np.array([i in edges or i + 1 in edges for i in range(n)])


@pytest.mark.parametrize("kind", SIDES)
@pytest.mark.parametrize("tile", ["auto", 96])
def test_tiles_change_nothing(
    frames: NDArray[np.uint8], whole: dict[str, NDArray[np.uint8]], kind: str, tile: int | str
) -> None:
    predictor = build(tile)
    made = predictor.fill(*split(frames, kind), 2)
    assert made.dtype == np.uint8
    difference = np.abs(made.astype(int) - whole[kind])
    assert difference.max() <= 1  # what lies between two values may be rounded either way
    assert (difference > 0).mean() < 1e-3
    if tile == 96:
        assert predictor.tiling.side == 96
        rows, columns = lie_on_borders(HEIGHT, 96), lie_on_borders(WIDTH, 96)
        on_border = (rows[:, None] | columns)[None, :, :, None] & (difference > 0)
        assert on_border.sum() < 20 + 0.2 * (difference > 0).sum()  # 4 % of all pixels lie there


def test_deep_pictures(frames: NDArray[np.uint8]) -> None:
    deep = frames.astype(np.uint16) * 257
    one, other = (build(tile).fill(deep[:2], deep[6:], 1) for tile in (None, 200))
    assert other.dtype == np.uint16
    assert np.abs(one.astype(int) - other).max() <= 65  # a quarter of a step of 8 bits


def test_futures_are_tiled_alike(frames: NDArray[np.uint8]) -> None:
    one, other = (
        build(tile).pick_future(2, seed=3).forecast(frames[:4], 1) for tile in (None, 200)
    )
    assert np.abs(one.astype(int) - other).max() <= 1


def test_small_pictures_are_made_whole(frames: NDArray[np.uint8]) -> None:
    predictor = build(96)
    predictor.forecast(frames[:3, :100, :200], 1)
    assert predictor.tiling.side is None


@pytest.mark.parametrize("size", [(1, 1), (545, 613), (1080, 1920), (2161, 3841), (64, 6400)])
@pytest.mark.parametrize("side", [64, 100, 1024])
def test_tiles_cover_every_pixel_once(size: tuple[int, int], side: int) -> None:
    covered = np.zeros(size, int)
    for region in tiles._lay_tiles(*size, side):
        covered[region.top : region.bottom, region.left : region.right] += 1
        assert region.top % 2 == region.left % 2 == 0
        assert 0 < region.bottom - region.top <= side + 2
        assert 0 < region.right - region.left <= side + 2
    assert (covered == 1).all()


@pytest.mark.parametrize(("free", "side"), [(None, 1024), (2**40, 1024), (2**28, 512), (1, 64)])
def test_tiles_fit_into_free_memory(
    monkeypatch: pytest.MonkeyPatch, free: int | None, side: int
) -> None:
    monkeypatch.setattr(tiles, "free_bytes", lambda: free)
    assert Tiling().choose(CPU) == side
    assert Tiling(300).choose(CPU) == 300


@pytest.mark.parametrize("tile", ["off", 8, SMALLEST_TILE - 1])
def test_what_is_no_tile(tile: int | str) -> None:
    with pytest.raises(ValueError, match="expected a tile of"):
        Tiling(tile)


def test_memory_is_bounded(frames: NDArray[np.uint8]) -> None:
    if not memory.reset_high_water():
        pytest.skip("this system does not tell")
    large = np.tile(frames[:4], (1, 2, 3, 1))
    taken = {}
    build(128).forecast(frames[:4], 1)  # or the first would pay for what is loaded once
    for tile in (128, None):
        predictor = build(tile)
        memory.reset_high_water()
        before = memory.high_water_bytes()
        predictor.forecast(large, 1)
        taken[tile] = (memory.high_water_bytes() or 0) - (before or 0)
    assert taken[128] < taken[None] / 3


# ---- memory runs out --------------------------------------------------------------------------


class Shortage:
    """Room for regions of so many pixels, and an error for others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, n_pixels: int, error: Exception) -> None:
        self.n_errors = 0
        compose = tiles._Composer.compose

        def try_compose(composer: tiles._Composer, region: tiles._Region) -> Any:
            if (region.bottom - region.top) * (region.right - region.left) > n_pixels:
                self.n_errors += 1
                raise error
            return compose(composer, region)

        monkeypatch.setattr(tiles._Composer, "compose", try_compose)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_tiles_are_halved_where_memory_runs_out(
    monkeypatch: pytest.MonkeyPatch,
    frames: NDArray[np.uint8],
    whole: dict[str, NDArray[np.uint8]],
    error: Exception,
) -> None:
    shortage = Shortage(monkeypatch, 8000, error)
    predictor = build(260)
    made = predictor.fill(*split(frames, "fill"), 2)
    assert np.abs(made.astype(int) - whole["fill"]).max() <= 1
    assert (predictor.tiling.side, predictor.tiling.n_halvings) == (65, 2)
    predictor.fill(*split(frames, "one"), 1)
    assert shortage.n_errors == 2  # what was learnt is kept


def test_motion_is_found_on_smaller_copies_where_memory_runs_out(
    monkeypatch: pytest.MonkeyPatch, frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    sketch = FramePredictor.sketch
    seen: list[int] = []

    def try_sketch(model: FramePredictor, before: Any, *others: Any, **options: Any) -> Any:
        seen.append(before.shape[-2])
        if before.shape[-2] > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sketch(model, before, *others, **options)

    monkeypatch.setattr(grids, "_LARGEST_SIDE", 200)
    monkeypatch.setattr(FramePredictor, "sketch", try_sketch)
    source = write_clip(tmp_path / "clip.mkv", list(frames[:6, :272, :306]), codec="ffv1")
    predictor = build(256)
    options: dict[str, Any] = {"context": 1, "predictor": predictor, "self_check": False}
    report = fill_gaps(source, tmp_path / "out.mkv", gaps=["3:4"], **options)
    assert seen[:2] == [136, 72], "on copies of half the size, padded"
    assert (report.tile_halvings, report.motion_halvings) == (0, 1)
    n = len(seen)
    even = frames[:, :272, :306]
    made = predictor.fill(even[:1], even[2:3], 1)
    assert seen[n:] == [72], "what was learnt is kept"
    blend = (even[0].astype(int) + even[2]) / 2
    assert np.abs(made[0] - even[1].astype(int)).mean() < np.abs(blend - even[1]).mean()


def test_no_memory_for_motion(monkeypatch: pytest.MonkeyPatch, frames: NDArray[np.uint8]) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(FramePredictor, "sketch", fail)
    with pytest.raises(ModelError, match="memory ran out on small copies of 68 lines"):
        build(200).forecast(frames[:1], 1)


def test_memory_for_nothing(monkeypatch: pytest.MonkeyPatch, frames: NDArray[np.uint8]) -> None:
    Shortage(monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(ModelError, match="memory ran out on tiles of 64 pixels"):
        build(200).forecast(frames[:1], 1)


def test_other_errors_are_not_taken_for_it(
    monkeypatch: pytest.MonkeyPatch, frames: NDArray[np.uint8]
) -> None:
    assert not is_out_of_memory(RuntimeError("sizes do not match"))
    Shortage(monkeypatch, 0, RuntimeError("sizes do not match"))
    with pytest.raises(RuntimeError, match="sizes do not match"):
        build(200).forecast(frames[:1], 1)


def test_the_report_says_so(
    monkeypatch: pytest.MonkeyPatch, frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    even = frames[:, :272, :306]
    source = write_clip(tmp_path / "clip.mkv", list(even[:6]), codec="ffv1")
    Shortage(monkeypatch, 15_000, torch.OutOfMemoryError("CUDA out of memory"))
    predictor = build(256)
    output = tmp_path / "out.mkv"
    report = fill_gaps(
        source, output, gaps=["3:4"], context=1, predictor=predictor, self_check=False
    )
    assert (report.tile_px, report.tile_halvings) == (128, 1)
    assert len(read_planes(output)) == 6
    again = forecast(source, n_frames=1, hold_out=True, context=1, predictor=predictor)
    assert (again.tile_px, again.tile_halvings) == (128, 0)
