"""The script that compares cells, losses and shapes: on a few strokes, stopped, started again."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

torch.set_num_threads(1)

SCRIPT = Path(__file__).parents[1] / "samples" / "compare_cells.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_cells", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("train", "t10k"):
        digits = np.zeros((3, 28, 28), np.uint8)
        digits[:, 8:20, 12:16] = 255
        content = struct.pack(">4I", 0x803, *digits.shape) + digits.tobytes()
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    monkeypatch.setattr(os, "nice", lambda _: 0)  # it cannot be taken back

    def call(*options: str) -> int:
        out = ("--out", str(tmp_path / "out"), "--test", "2")
        monkeypatch.setattr(sys, "argv", ["compare_cells.py", str(tmp_path), *out, *options])
        code: int = script.main()
        return code

    return call


@pytest.mark.parametrize(
    ("shape", "read", "wanted"),
    [
        ("one to many", [4], [5, 6, 7, 8, 9]),
        ("many to one", [0, 1, 2, 3, 4], [5]),
        ("many to many, delayed", [0, 1, 2, 3, 4], [5, 6, 7, 8, 9]),
        ("many to many, synchronous", list(range(9)), list(range(1, 10))),
    ],
)
def test_shapes(script: ModuleType, shape: str, read: list[int], wanted: list[int]) -> None:
    seen = []

    def follow(inputs: Tensor, *, n_steps: int, first: int) -> Tensor:
        """Says what it reads, and one more than that."""
        numbers = inputs[0].flatten().tolist()
        seen.extend(numbers)
        numbers += [numbers[-1] + k for k in range(1, n_steps - len(numbers) + 1)]
        return torch.tensor(numbers)[None, first:, None, None, None] + 1

    frames = torch.arange(10.0)[None, :, None, None, None]
    made, truth = script.SHAPES[shape].run(follow, frames)
    assert seen == read
    assert truth.flatten().tolist() == wanted
    assert torch.equal(made, truth)


@pytest.mark.parametrize("name", ["lstm", "features, then lstm"])
def test_shapes_are_one_network(script: ModuleType, name: str) -> None:
    torch.manual_seed(0)
    network, frames = script.Continuer(script.ROWS[name]), torch.rand(2, 10, 1, 32, 32)
    with torch.no_grad():
        made = {shape: script.SHAPES[shape].run(network, frames)[0] for shape in script.SHAPES}
        delayed = made["many to many, delayed"]
        assert delayed.shape == (2, 5, 1, 32, 32)
        torch.testing.assert_close(made["many to one"], delayed[:, :1])
        torch.testing.assert_close(made["many to many, synchronous"][:, 4], delayed[:, 0])
        # It lives on what it made.
        longer = torch.cat((frames[:, :5], delayed[:, :1]), 1)
        torch.testing.assert_close(network(longer, n_steps=6, first=5)[:, 0], delayed[:, 1])


def test_a_table(
    script: ModuleType, run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("rnn", "mae", "repeat-last")
    assert run("--sequences", "9", "--only", *names) == 0
    tables = capsys.readouterr().out.split("\n\n")
    rows = [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        for table in tables
    ]
    assert [table[0][0] for table in rows] == ["cell", "loss", "shape", "without learning"]
    assert [[row[0] for row in table[2:]] for table in rows] == [
        ["rnn"],
        ["mae"],
        [],
        ["repeat-last"],
    ]
    stored = json.loads((tmp_path / "out" / "mae.json").read_text())
    assert stored["mse"] == pytest.approx(sum(stored["steps"]) / 5)
    assert rows[1][2][1] == f"{stored['parameters']:,}"
    assert rows[1][2][5] == f"{stored['mse']:.1f}"
    # The same by hand: the last frame held, whose samples were 8 bits on the way.
    digits = script.read_digits(tmp_path, "test")
    (frames,) = script.draw(digits, seed=script.TEST_SEED, n_sequences=2, at_once=50)
    errors = (frames[:, 4:5] - frames[:, 5:]).square().sum((2, 3, 4))
    assert float(rows[3][2][5]) == pytest.approx(float(errors.mean()), rel=0.02)
    # All of it is done; the same again, elsewhere, is the same.
    before = {path: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert run("--sequences", "9", "--only", *names) == 0
    assert {path: path.read_text() for path in (tmp_path / "out").iterdir()} == before
    assert capsys.readouterr().out.split("\n\n") == [*tables[:3], tables[3]]
    (tmp_path / "out").rename(tmp_path / "old")
    assert run("--sequences", "9", "--only", "mae") == 0
    again = json.loads((tmp_path / "out" / "mae.json").read_text())
    assert again | {"seconds": 0} == stored | {"seconds": 0}


def test_what_it_refuses(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--only", "magic") == 1
    assert capsys.readouterr().err.startswith("error: no row 'magic': there are lstm, rnn")
    assert run("--sequences", "1", "--only", "rnn") == 0
    capsys.readouterr()
    assert run("--sequences", "2", "--only", "rnn") == 1
    assert "is a row of other settings" in capsys.readouterr().err
