"""Compare recurrent cells, losses and shapes of prediction at equal budget; print tables.

    python samples/compare_cells.py MNIST_DIR --out FOLDER [--sequences N] [--test N]
        [--only ROW ...]

The world is a small sibling of Moving MNIST: one digit that drifts and bounces in 32x32 pixels
(64x64, averaged two by two), five frames seen and five forecast. Each row changes one thing of the
same small network: its cell, its loss, or the shape in which it is unrolled while it learns. All
learn from the same N sequences, four at a time, by Adam; what that took is in the table. All are
tested alike: they read five frames (one to many: the last of them) and go on with what they made.

    one to many                 the fifth frame in, the five that follow out
    many to one                 five frames in, the next one out
    many to many, delayed       five frames in, the five that follow out
    many to many, synchronous   nine frames in, after each of them the next one out

Below them the same is asked of those who learn nothing beforehand: the last frame held, flow, and
moving average, autoregression and Kalman filter, on pixels and on motion. They are given and give 8
bits a sample.

Scores are of test digits, with a fixed seed: squared and absolute error summed over a frame's
pixels, SSIM and PSNR of clipped frames, means over sequences and steps.

A row that is done is a file in FOLDER and is not done again; the tables show those that are. On one
machine they are the same at every run, but for the seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framepred.baselines import CLASSICAL_BASELINES, FORECAST_BASELINES, Method
from framepred.cells import build_cell
from framepred.digits import MovingDigits, read_digits
from framepred.errors import FramepredError, TrainingError
from framepred.losses import compute_loss
from framepred.moving_mnist import measure
from framepred.outputs import write_text
from framepred.stack import build_painter, build_reader
from framepred.unrolling import unroll

N_SEEN = N_MADE = 5
PATCH = 4
BATCH = 4
RATE = 3e-3
WARMUP = 20  # steps
TEST_SEED = 5
AT_ONCE = 50

Result = dict[str, Any]  # of a row, as it is stored
Forecast = Callable[[Tensor], Tensor]  # (B, 5, 1, 32, 32) seen -> (B, 5, 1, 32, 32) made


@dataclass(frozen=True)
class Shape:
    """How a network is unrolled while it learns, see ``unrolling``."""

    skipped: int  # frames of the sequence before the first that is read
    read: int
    n_steps: int
    first: int  # step whose output counts

    def run(self, network: Continuer, frames: Tensor) -> tuple[Tensor, Tensor]:
        """What the network makes of sequences (B, T, 1, H, W), and what it should have made."""
        inputs = frames[:, self.skipped : self.skipped + self.read]
        made = network(inputs, n_steps=self.n_steps, first=self.first)
        truth = frames[:, self.skipped + self.first + 1 : self.skipped + self.n_steps + 1]
        return made, truth


DELAYED = "many to many, delayed"
SHAPES = {
    "one to many": Shape(N_SEEN - 1, 1, N_MADE, 0),
    "many to one": Shape(0, N_SEEN, N_SEEN, N_SEEN - 1),
    DELAYED: Shape(0, N_SEEN, N_SEEN + N_MADE - 1, N_SEEN - 1),
    "many to many, synchronous": Shape(0, N_SEEN + N_MADE - 1, N_SEEN + N_MADE - 1, 0),
}


@dataclass(frozen=True)
class Row:
    """One network and how it learns."""

    cell: str = "lstm"
    loss: str = "mse"
    shape: str = DELAYED
    seed: int = 1
    features: bool = False  # each frame becomes a vector, by convolutions, before the cell
    n_hidden: int = 32


ROWS = {
    "lstm": Row(),
    "rnn": Row("rnn"),
    "gru": Row("gru"),
    "lstm+peepholes": Row("lstm+peepholes"),
    "lstm+layernorm": Row("lstm+layernorm"),
    "lstm+groupnorm": Row("lstm+groupnorm"),
    "lstm+separable+kernel5": Row("lstm+separable+kernel5"),
    "features, then lstm": Row("lstm+kernel1", features=True, n_hidden=128),
    "lstm, another seed": Row(seed=2),
    "mae": Row(loss="mae"),
    "bce": Row(loss="bce"),
    "js": Row(loss="js"),
    "one to many": Row(shape="one to many"),
    "many to one": Row(shape="many to one"),
    "many to many, synchronous": Row(shape="many to many, synchronous"),
}
METHODS: dict[str, Method] = FORECAST_BASELINES | CLASSICAL_BASELINES
CELLS = [name for name, row in ROWS.items() if row.loss == "mse" and row.shape == DELAYED]
TABLES = {  # head -> what a line is called -> its row
    "cell": {name: name for name in CELLS},
    "loss": {"mse": "lstm", **{row.loss: name for name, row in ROWS.items() if row.loss != "mse"}},
    "shape": {DELAYED: "lstm", **{row.shape: n for n, row in ROWS.items() if row.shape != DELAYED}},
    "without learning": {name: name for name in METHODS},
}


class Continuer(nn.Module):
    """One cell between pictures and pictures; unrolled in any shape."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        n_points = PATCH**2
        n_halvings = 3 if row.features else 0  # 32 pixels are 8 points, then 1
        n_read = row.n_hidden if row.features else n_points
        self.reader = build_reader(n_points, row.n_hidden, n_halvings)
        self.cell = build_cell(row.cell, n_read, row.n_hidden)
        self.head = nn.Conv2d(row.n_hidden, n_read, 1)
        self.painter = build_painter(row.n_hidden, n_points, n_halvings)

    def forward(self, frames: Tensor, *, n_steps: int, first: int) -> Tensor:
        """(B, T, 1, H, W) -> what is said from step ``first`` on, (B, n_steps - first, 1, H, W)."""
        points = F.pixel_unshuffle(frames.flatten(0, 1), PATCH)
        inputs = self.reader(points).unflatten(0, frames.shape[:2])
        hidden, _ = unroll(
            self.cell,
            inputs,
            n_steps=n_steps,
            first=first,
            feed=lambda state: self.reader(self.say(state)),
        )
        made = self.say(hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])
        return F.pixel_shuffle(made, PATCH)

    def say(self, hidden: Tensor) -> Tensor:
        """A hidden state -> the points of a picture."""
        points: Tensor = self.painter(self.head(hidden))
        return points


def draw(digits: Tensor, *, seed: int, n_sequences: int, at_once: int) -> Iterator[Tensor]:
    """Sequences of a digit in 32x32 pixels, (B, 10, 1, 32, 32)."""
    source = MovingDigits(
        digits,
        batch_size=at_once,
        generator=torch.Generator().manual_seed(seed),
        n_before=N_SEEN,
        n_missing=N_MADE,
        n_digits=1,
    )
    for batch in source.take(n_sequences):
        yield F.avg_pool2d(batch.frames.flatten(0, 1), 2).unflatten(0, batch.frames.shape[:2])


def learn(row: Row, digits: Tensor, n_sequences: int) -> tuple[Continuer, float]:
    """A network that has learnt, and the seconds of one processor that it took."""
    torch.manual_seed(row.seed)
    network = Continuer(row)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    n_steps = math.ceil(n_sequences / BATCH)
    shape = SHAPES[row.shape]
    began = time.process_time()
    sequences = draw(digits, seed=row.seed, n_sequences=n_sequences, at_once=BATCH)
    for step, frames in enumerate(sequences):
        rate = RATE * 0.5 * (1 + math.cos(math.pi * step / n_steps))
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / WARMUP)
        made, truth = shape.run(network, frames)
        loss = compute_loss({row.loss: 1.0}, made.flatten(0, 1), truth.flatten(0, 1))
        optimizer.zero_grad()
        loss.backward()
        length = nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        if not math.isfinite(float(length)):
            raise TrainingError(f"{row}: the gradient became {float(length)} at step {step}")
        optimizer.step()
    return network.eval(), time.process_time() - began


def test(forecast: Forecast, digits: Tensor, n_sequences: int) -> Result:
    """Means over the test sequences: squared error by step, and all scores over all steps."""
    scores = []
    for frames in draw(digits, seed=TEST_SEED, n_sequences=n_sequences, at_once=AT_ONCE):
        with torch.inference_mode():
            made = forecast(frames[:, :N_SEEN])
        scores.append(measure(made, frames[:, N_SEEN:]))
    mse, mae, psnr, ssim, _ = torch.cat(scores, 1).mean(1)
    return {
        "steps": mse.tolist(),
        **{
            name: float(table.mean())
            for name, table in zip(HEADS, (mse, mae, ssim, psnr), strict=True)
        },
    }


HEADS = ("mse", "mae", "ssim", "psnr")


def work(name: str, folder: Path, mnist: Path, *, n_learnt: int, n_test: int) -> None:
    """Make a row of a table, by name, unless it is there."""
    settings = describe(name, n_learnt=n_learnt, n_test=n_test)
    if find(name, folder, settings) is not None:
        return
    print(f"{name} ...", file=sys.stderr, flush=True)
    result: Result = {"settings": settings}
    if name in ROWS:
        network, seconds = learn(ROWS[name], read_digits(mnist, "train"), n_learnt)
        result["parameters"] = sum(p.numel() for p in network.parameters())
        result["seconds"] = seconds
        forecast = continue_alone(network, ROWS[name])
    else:
        forecast = ask(METHODS[name])
    result |= test(forecast, read_digits(mnist, "test"), n_test)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{name}.json", json.dumps(result))


def describe(name: str, *, n_learnt: int, n_test: int) -> Result:
    """All that a row depends on."""
    learnt = {"sequences": n_learnt, **dataclasses.asdict(ROWS[name])} if name in ROWS else {}
    return {"test": n_test, **learnt}


def find(name: str, folder: Path, settings: Result) -> Result | None:
    """A row that is done."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    found: Result = json.loads(path.read_text(encoding="utf-8"))
    if found["settings"] != settings:
        raise TrainingError(f"{path} is a row of other settings: choose another --out")
    return found


def continue_alone(network: Continuer, row: Row) -> Forecast:
    """A network as one that reads what is seen and lives on what it makes."""
    n_read = 1 if row.shape == "one to many" else N_SEEN

    def forecast(seen: Tensor) -> Tensor:
        made: Tensor = network(seen[:, -n_read:], n_steps=n_read + N_MADE - 1, first=n_read - 1)
        return made

    return forecast


def ask(method: Method) -> Forecast:
    """A method for videos as one for batches of gray pictures."""

    def forecast(seen: Tensor) -> Tensor:
        pixels = (seen * 255).round().byte().permute(0, 1, 3, 4, 2).expand(-1, -1, -1, -1, 3)
        nothing = np.empty((0, *pixels.shape[2:]), np.uint8)
        made = [method(np.ascontiguousarray(one), nothing, N_MADE) for one in pixels.numpy()]
        return torch.from_numpy(np.stack(made))[..., :1].permute(0, 1, 4, 2, 3).float() / 255

    return forecast


def draw_table(head: str, rows: dict[str, Result]) -> str:
    """Rows by name, in Markdown."""
    heads = [head, "parameters", "seconds", "MSE, step 1", f"step {N_MADE}", "MSE ↓", "MAE ↓"]
    lines = [[*heads, "SSIM ↑", "PSNR ↑"], ["---"] * (len(heads) + 2)]
    for name, row in rows.items():
        lines.append(
            [
                name,
                f"{row['parameters']:,}" if "parameters" in row else "",
                f"{row['seconds']:.0f}" if "seconds" in row else "",
                *(f"{row['steps'][k]:.1f}" for k in (0, -1)),
                *(f"{row[key]:.1f}" for key in ("mse", "mae")),
                f"{row['ssim']:.3f}",
                f"{row['psnr']:.2f}",
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare cells, losses and shapes.")
    parser.add_argument("mnist", type=Path, metavar="MNIST_DIR")
    parser.add_argument("--out", type=Path, required=True, help="folder of the rows")
    parser.add_argument("--sequences", type=int, default=2000, help="that each network learns from")
    parser.add_argument("--test", type=int, default=200, help="sequences that are scored")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="work on these rows alone")
    options = parser.parse_args()
    if hasattr(os, "nice"):
        os.nice(10)
    torch.set_num_threads(1)
    names = [*ROWS, *METHODS]
    budget = {"n_learnt": options.sequences, "n_test": options.test}
    try:
        strange = sorted(set(options.only or ()) - set(names))
        if strange:
            raise TrainingError(f"no row {strange[0]!r}: there are {', '.join(names)}")
        for name in options.only or names:
            work(name, options.out, options.mnist, **budget)
        rows = {name: find(name, options.out, describe(name, **budget)) for name in names}
    except FramepredError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    done = {name: row for name, row in rows.items() if row is not None}
    shown = [
        draw_table(head, {label: done[name] for label, name in lines.items() if name in done})
        for head, lines in TABLES.items()
    ]
    print("\n\n".join(shown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
