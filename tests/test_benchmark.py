from __future__ import annotations

import json
import mmap
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scenery import TINY, build_network
from torch import Tensor, nn
from typer.testing import CliRunner

from framepred import benchmark as bench
from framepred import predictor
from framepred.benchmark import BenchmarkReport, Variant, benchmark
from framepred.cli import app
from framepred.model import ModelConfig
from framepred.operations import choose_width, count_operations
from framepred.predictor import Predictor, choose_precision

CPU = torch.device("cpu")
USUAL: dict[str, Any] = {"stage": "model", "n_missing": 1, "batch": 1, "precision": "float32"}


class Stub(nn.Module):
    """In place of the network: repeats the last known frame after a known amount of work."""

    traits = ()

    def __init__(self, seconds_per_pixel: float = 0.0) -> None:
        super().__init__()
        self.config = ModelConfig()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self._seconds_per_pixel = seconds_per_pixel

    def forward(self, before: Tensor, after: Tensor, n_frames: int, **_: object) -> Tensor:
        last = before[:, -1:]
        self.conv(last[:, 0])
        time.sleep(self._seconds_per_pixel * last.shape[-2] * last.shape[-1])
        return last.repeat(1, n_frames, 1, 1, 1)


def wrap(model: nn.Module) -> Predictor:
    return Predictor(model, name="stub", device=CPU)  # type: ignore[arg-type]


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Measure small pictures, briefly, in a folder that can be looked into."""
    monkeypatch.setattr(bench, "_FIRST_HEIGHT", 64)
    monkeypatch.setattr(bench, "_MOST_RUNS", 1)
    monkeypatch.setattr(bench, "_MOST_PATTERNS", 4)
    monkeypatch.setattr(bench, "_MATRIX_SIDE", 256)
    monkeypatch.setattr(bench, "_CEILING_SECONDS", 0.01)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def find(report: BenchmarkReport, height: int, **wanted: Any) -> bench.Measurement:
    variant = Variant(**wanted)
    (found,) = (r for r in report.measurements if (r.variant, r.height) == (variant, height))
    return found


def test_widths_are_those_of_the_usual_sizes() -> None:
    assert [choose_width(h) for h in (256, 720, 1080, 2160)] == [448, 1280, 1920, 3840]


def test_operations_are_counted_by_shape_alone() -> None:
    report = count_operations(wrap(Stub()), heights=(64, 4320))
    assert report.parameters == 5 * 3 * 9 + 5
    for count in report.counts:
        # One convolution 3x3 from 3 to 5 channels, however many frames are made.
        expected = count.height * count.width * 3 * 5 * 9 / 1e9 / count.n_missing
        assert count.gmac_per_frame == pytest.approx(expected)
    assert [(c.height, c.n_missing) for c in report.counts] == [
        *[(64, 1), (64, 4)],
        *[(4320, 1), (4320, 4)],
    ]


def test_the_network_can_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framepred.operations.GAPS", (1,))
    network = build_network(config=TINY)
    (one,) = count_operations(wrap(network), heights=(64,)).counts
    counter = bench.FlopCounterMode(display=False)
    known = torch.zeros(1, 4, 3, 64, choose_width(64))
    with counter, torch.inference_mode():
        network(known, known, 1)
    assert one.gmac_per_frame == pytest.approx(counter.get_total_flops() / 2e9)


@pytest.mark.usefixtures("_small")
def test_every_stage_is_measured(tmp_path: Path) -> None:
    steps = []
    report = benchmark(
        wrap(Stub()),
        heights=(80,),
        batches=(1, 2),
        seconds=5,
        on_progress=lambda progress: steps.append((progress.done, progress.total)),
    )
    precisions = {"float32", str(choose_precision(CPU)).removeprefix("torch.")}
    assert set(report.ceilings) == precisions
    assert report.skipped == ()
    for height in (64, 80):  # the first is always measured
        for n_missing in (1, 4):
            for precision in precisions:
                for batch in (1, 2):
                    row = find(
                        report,
                        height,
                        stage="model",
                        n_missing=n_missing,
                        batch=batch,
                        precision=precision,
                    )
                    assert row.frames_per_second * row.seconds == pytest.approx(n_missing * batch)
                    assert (row.psnr_change is None) == (precision == "float32")
                    assert row.gmac_per_frame is not None
                    assert row.share_of_ceiling == pytest.approx(
                        2
                        * row.gmac_per_frame
                        * row.frames_per_second
                        / (1000 * report.ceilings[precision])
                    )
            minterpolate = find(report, height, stage="minterpolate", n_missing=n_missing)
            assert minterpolate.psnr is not None
            assert minterpolate.psnr > 20
        assert find(report, height, stage="encode").frames == "written"
        assert find(report, height, stage="decode").frames == "read"
        made, written = [
            row
            for row in report.measurements
            if (row.variant.stage, row.height) == ("fill-gaps", height)
        ]
        # A clip of 13 n + 4 slots, of which 5 n were missing.
        n_made, n_written = (round(row.frames_per_second * row.seconds) for row in (made, written))
        assert n_made % 5 == 0
        assert n_written == n_made // 5 * 13 + 4
    n_steps = 2 * (2 * 2 * len(precisions) + 2 + 1 + 1)
    assert steps == [(done, n_steps) for done in range(1, n_steps + 1)]
    assert list(tmp_path.iterdir()) == []
    json.dumps(report.as_dict(), allow_nan=False)


@pytest.mark.usefixtures("_small")
def test_what_would_take_too_long_is_skipped() -> None:
    # 64p takes 0.1 s, 128p four times as long.
    report = benchmark(wrap(Stub(0.1 / (64 * choose_width(64)))), heights=(128, 160), seconds=0.5)
    assert find(report, 64, **USUAL).seconds >= 0.1
    (skip,) = (skip for skip in report.skipped if skip.variant == Variant(**USUAL))
    assert skip.heights == (128, 160)
    needed = re.fullmatch(r"128p would take about (\d+) s, more than --seconds 0.5", skip.reason)
    assert needed is not None
    assert 1 <= int(needed[1]) < 3  # 0.8 with a warm-up
    assert 128 in next(s for s in report.skipped if s.variant.stage == "fill-gaps").heights


@pytest.mark.usefixtures("_small")
def test_what_would_take_too_much_memory_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    if not bench.reset_high_water():
        pytest.skip("memory cannot be measured here")
    hoards: list[np.ndarray] = []

    class Hoarder(Stub):
        def forward(self, before: Tensor, after: Tensor, n_frames: int, **_: object) -> Tensor:
            hoards.clear()
            # Fresh pages: what the heap has left over from other tests would not be noticed.
            pages = mmap.mmap(-1, 4000 * before.shape[-2] * before.shape[-1])
            hoards.append(np.frombuffer(pages, np.uint8))
            hoards[-1][:] = 1
            return super().forward(before, after, n_frames)

    # 64p takes 29 MB, 128p four times as much.
    monkeypatch.setattr(bench, "free_bytes", lambda: 90_000_000)
    report = benchmark(wrap(Hoarder()), heights=(128,), seconds=30)
    assert find(report, 64, **USUAL).peak_bytes is not None
    (skip,) = (skip for skip in report.skipped if skip.variant == Variant(**USUAL))
    assert skip.heights == (128,)
    # The first measurement of all has in it what torch loads for it.
    assert re.fullmatch(r"128p would take about 0\.\d GB, and 0\.1 GB are free", skip.reason)


@pytest.mark.usefixtures("_small")
def test_an_interruption_leaves_no_files(tmp_path: Path) -> None:
    seen = []

    def interrupt(progress: object) -> None:
        seen.append(list(tmp_path.rglob("*.mkv")))
        if seen[-1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        benchmark(wrap(Stub()), heights=(64,), seconds=0.5, on_progress=interrupt)
    assert seen[-1]
    assert list(tmp_path.iterdir()) == []


# The command.


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Run ``framepred benchmark`` with a stub for the network."""
    monkeypatch.setattr(predictor.Predictor, "load", lambda name, device: wrap(Stub()))

    def invoke(*arguments: str) -> tuple[int, str, str]:
        answer = CliRunner().invoke(app, ["benchmark", *arguments])
        assert answer.exception is None or isinstance(answer.exception, SystemExit)
        return answer.exit_code, answer.stdout, answer.stderr

    return invoke


@pytest.mark.usefixtures("_small")
def test_the_command_prints_a_table(call: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = call("--sizes", "64p,80", "--seconds", "0.2", "--batch", "2")
    assert code == 0
    header, *rows = [line.split("\t") for line in out.splitlines()]
    assert all(len(row) == len(header) for row in rows)
    assert {row[0] for row in rows} >= {"model", "encode", "decode", "minterpolate"}
    assert {row[1] for row in rows} == {"64p", "80p"}
    assert "ceiling, a large matrix product in float32" in err


@pytest.mark.usefixtures("_small")
def test_skips_are_told_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    from framepred.console import Terminal
    from framepred.findings import show_benchmark

    report = benchmark(wrap(Stub()), heights=(64,), seconds=0.1)
    skip = bench.Skip(
        Variant(**USUAL), (720, 1080), "720p would take about 24 s, more than --seconds 4"
    )
    said: list[str] = []
    terminal = Terminal("none")
    monkeypatch.setattr(terminal, "say", said.append)
    show_benchmark(terminal, replace(report, skipped=(skip,)))
    assert said[-1] == (
        "skipped: model (g=1, batch 1, float32) at 720p, 1080p: "
        "720p would take about 24 s, more than --seconds 4"
    )


def test_count_as_json(call: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = call("--count", "--json", "-")
    assert code == 0
    counts = json.loads(out)["counts"]
    assert [(c["height"], c["width"]) for c in counts[::2]] == [(256, 448), (1080, 1920)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--sizes", "255p"),
        ("--sizes", "big"),
        ("--sizes", ""),
        ("--batch", "0"),
        ("--seconds", "0"),
    ],
)
def test_nonsense_is_a_usage_error(
    call: Callable[..., tuple[int, str, str]], arguments: tuple[str, ...]
) -> None:
    assert call(*arguments)[0] == 2
