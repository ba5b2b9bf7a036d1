from __future__ import annotations

import dataclasses
import gzip
import itertools
import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from skimage import io as pictures
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from test_training import _Listener
from typer.testing import CliRunner

from framepred import moving_mnist, session
from framepred.checkpoint import load_network, load_state, save_model
from framepred.cli import app
from framepred.digits import MovingDigits, read_digits
from framepred.errors import MediaError, ModelError, TrainingError
from framepred.learner import Learner
from framepred.moving_mnist import choose_config, choose_network, compute_ssim, evaluate, measure
from framepred.session import TrainReport
from framepred.stack import PixelForecaster

torch.set_num_threads(1)

TINY = choose_network(patch=8, n_hidden=8, n_layers=1, cell="lstm")
SHORT = choose_config(n_steps=4, batch_size=2, warmup_steps=1, n_validation=3)


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few strokes in the format of MNIST: 36 digits to learn from, 12 to test on."""
    folder = tmp_path_factory.mktemp("mnist")
    dice = np.random.default_rng(0)
    for name, n in (("train", 36), ("t10k", 12)):
        digits = np.zeros((n, 28, 28), np.uint8)
        for digit in digits:
            top, left = dice.integers(4, 12, 2)
            digit[top : top + 12, left : left + 3] = dice.integers(150, 256)
            digit[top : top + 3, left : left + 12] = dice.integers(150, 256)
        content = struct.pack(">4I", 0x803, n, 28, 28) + digits.tobytes()
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    return folder


@pytest.fixture(autouse=True)
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on every processor."""
    for module in (session, moving_mnist):
        monkeypatch.setattr(module, "choose_precision", lambda *_: torch.float32)


@pytest.fixture
def start(mnist: Path):  # type: ignore[no-untyped-def]
    def run(out: Path, *, config: Any = SHORT, **options: Any) -> TrainReport:
        chosen = {"network": TINY, "device": "cpu", **options}
        return moving_mnist.train(mnist, out, config=config, **chosen)

    return run


def save_network(path: Path) -> Path:
    """Weights that have learnt nothing."""
    torch.manual_seed(0)
    save_model(path, PixelForecaster(TINY).state_dict(), TINY, {})
    return path


def command(*arguments: object) -> tuple[int, str, str]:
    answer = CliRunner().invoke(app, [str(part) for part in arguments])
    return answer.exit_code, answer.stdout, answer.stderr


# ---- scores -----------------------------------------------------------------------------------


def draw_pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Frames that overshoot [0, 1], and true ones, as floats: (2, 3, 1, 64, 64)."""
    generator = torch.Generator().manual_seed(1)
    digits = torch.randint(0, 256, (3, 28, 28), generator=generator).byte()
    truth = MovingDigits(digits, batch_size=2, generator=generator, n_before=1, n_missing=2)
    true = truth.draw().frames
    return true + 0.2 * torch.randn(true.shape, generator=generator), true


def test_scores_are_those_of_the_published_protocol() -> None:
    made, true = draw_pair()
    scores = measure(made, true).numpy()
    for b, t in itertools.product(range(2), range(3)):
        a, c = made[b, t, 0].double().numpy(), true[b, t, 0].double().numpy()
        assert scores[0, b, t] == pytest.approx(((a - c) ** 2).sum())
        assert scores[1, b, t] == pytest.approx(np.abs(a - c).sum())
        a = a.clip(0, 1)
        assert scores[2, b, t] == pytest.approx(peak_signal_noise_ratio(c, a, data_range=1))
        for row, data_range in ((3, 1.0), (4, 2.0)):
            similarity = structural_similarity(c, a, data_range=data_range)
            assert scores[row, b, t] == pytest.approx(similarity, abs=1e-12)
    assert (scores[4] > scores[3]).all()


def test_equal_frames() -> None:
    _, true = draw_pair()
    scores = measure(true, true)
    assert torch.equal(scores[:2], torch.zeros(2, 2, 3, dtype=torch.float64))
    assert torch.equal(scores[2], torch.full((2, 3), 100.0, dtype=torch.float64))
    torch.testing.assert_close(scores[3:], torch.ones(2, 2, 3, dtype=torch.float64))


def test_similarity_of_several_channels_is_their_mean() -> None:
    made, true = (each.double().expand(-1, -1, 3, -1, -1).clone() for each in draw_pair())
    made[:, :, 1] *= 0.5
    expected = structural_similarity(
        true[0, 0].permute(1, 2, 0).numpy(),
        made[0, 0].permute(1, 2, 0).numpy(),
        channel_axis=-1,
        data_range=1.0,
    )
    assert float(compute_ssim(made, true, data_range=1.0)[0, 0]) == pytest.approx(expected)


# ---- learning ---------------------------------------------------------------------------------


def test_what_a_run_leaves(start: Any, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    report = start(tmp_path / "run", on_event=events.append)
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == [
        "log.jsonl",
        "model.safetensors",
        "state.safetensors",
    ]
    assert (report.steps, report.samples, report.finished) == (4, 8, True)
    assert report.source == {"digits": 33, "held_out": 3}
    assert [(e["event"], e["step"]) for e in events] == [
        ("start", 0),
        ("stop", 4),
        ("validate", 4),
    ]
    network, facts = load_network(report.model, PixelForecaster)
    assert network.config == TINY
    assert facts["digits"] == 33
    ours, rows = report.validation["model"], report.validation["baselines"]
    assert list(ours) == ["mse", "psnr"]
    assert list(ours["mse"]) == ["mean", *(f"step {k}" for k in range(1, 11))]
    steps = [value for key, value in ours["mse"].items() if key != "mean"]
    assert ours["mse"]["mean"] == pytest.approx(sum(steps) / 10, abs=1e-3)
    repeated = rows["mse"]["repeat-last"]
    assert repeated["step 1"] < repeated["step 10"]


def test_killed_and_resumed_is_the_same_as_at_once(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(tmp_path / "whole")
    ticks = itertools.count(0, 30)  # seconds at every look at the clock
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    report = start(tmp_path / "parts", config=dataclasses.replace(SHORT, max_minutes=3))
    assert not report.finished
    assert 0 < load_state(tmp_path / "parts" / "state.safetensors").facts["step"] < 4
    assert start(tmp_path / "parts", resume=True).finished
    for name in ("state.safetensors", "model.safetensors"):
        one, other = load_file(tmp_path / "whole" / name), load_file(tmp_path / "parts" / name)
        assert one.keys() == other.keys()
        for key in one:
            assert torch.equal(one[key], other[key]), key


def test_it_learns(start: Any, tmp_path: Path) -> None:
    config = dataclasses.replace(
        SHORT, n_steps=40, batch_size=4, learning_rate=1e-2, ema_decay=0.8, n_validation=10
    )
    report = start(tmp_path / "run", config=config)
    ours = report.validation["model"]["mse"]["mean"]
    assert ours < 0.9 * report.validation["baselines"]["mse"]["repeat-last"]["mean"]


def test_a_step_asks_the_device_for_nothing(mnist: Path) -> None:
    run = Learner(PixelForecaster(TINY), SHORT, torch.device("cpu"), deferred=True)
    sampler = moving_mnist._Digits(read_digits(mnist, "train"), 0).open(run)
    with _Listener() as listener:
        run.learn(sampler.draw(), list(range(1, 11)), torch.float32)
    assert listener.asked == []


def test_held_out_digits_are_not_learnt_from(mnist: Path) -> None:
    digits = read_digits(mnist, "train")
    material = moving_mnist._Digits(digits, 2)
    assert torch.equal(torch.cat((material.learnt, material.held_out)), digits)
    seen = [batch.frames for batch in material._validation()]
    assert sum(len(frames) for frames in seen) == 2
    again = [batch.frames for batch in material._validation()]
    assert torch.equal(torch.cat(seen), torch.cat(again))


def test_features_then_a_plain_cell(start: Any, tmp_path: Path) -> None:
    chosen = choose_network(features=True, n_hidden=16, n_layers=1)
    assert chosen.cell == "lstm+kernel1"
    assert choose_network(features=True, cell="gru").cell == "gru+kernel1"
    assert choose_network(features=True, cell="rnn+kernel3").cell == "rnn+kernel3"
    report = start(tmp_path / "run", network=chosen)
    network, _ = load_network(report.model, PixelForecaster)
    with torch.no_grad():
        seen = torch.rand(1, 2, 1, 64, 64)
        assert network(seen, None, 2).shape == (1, 2, 1, 64, 64)
        assert network.reader(F.pixel_unshuffle(seen[:, 0], 4)).shape == (1, 16, 1, 1)


def test_a_network_that_cannot_be() -> None:
    with pytest.raises(TrainingError, match="no cell 'magic'"):
        moving_mnist.train("x", "y", config=SHORT, network=choose_network(cell="magic"))
    with pytest.raises(TrainingError, match="patch of 5, halved 0 times, does not"):
        moving_mnist.train("x", "y", config=SHORT, network=choose_network(patch=5, n_hidden=4))
    assert not Path("y").exists()


def test_files_that_are_missing(start: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="holds neither"):
        moving_mnist.train(tmp_path / "empty", tmp_path / "run", config=SHORT, network=TINY)
    assert not (tmp_path / "run").exists()


# ---- evaluation -------------------------------------------------------------------------------


def test_evaluation_adds_up(mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving_mnist, "_AT_ONCE", 4)
    model = save_network(tmp_path / "w")
    report, strip = evaluate(mnist, model, n_sequences=6, n_shown=5, device="cpu")
    assert report.sequences == 6
    assert [row.method for row in report.methods] == ["repeat-last", f"framepred ({model})"]
    json.dumps(report.as_dict())
    generator = torch.Generator().manual_seed(20_150)
    digits = MovingDigits(read_digits(mnist, "test"), batch_size=6, generator=generator)
    batch = digits.draw()
    network, _ = load_network(model, PixelForecaster)
    with torch.no_grad():
        made = network(batch.before, None, 10)
    for row, frames in zip(report.methods, (batch.before[:, [-1] * 10], made), strict=True):
        means = row.average()
        for name, scores in zip(means, measure(frames, batch.missing), strict=True):
            table = getattr(row, name)
            assert list(table) == list(range(1, 11))
            assert list(table.values()) == pytest.approx(scores.mean(0).tolist(), rel=1e-5)
            assert means[name] == pytest.approx(float(scores.mean()), rel=1e-5)
    for part, frames in zip(
        (strip.seen, strip.true, strip.made), (batch.before, batch.missing, made), strict=True
    ):
        expected = (frames[:5, :, 0].clamp(0, 1) * 255).round().byte().numpy()
        assert np.abs(part.astype(int) - expected).max() <= 1


def test_other_weights(mnist: Path) -> None:
    with pytest.raises(ModelError, match="of another kind"):
        evaluate(mnist, "default")


# ---- the commands -----------------------------------------------------------------------------


def test_train_and_evaluate(mnist: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = [
        *("train", "--preset", "moving-mnist", mnist, "--out", run, "--device", "cpu"),
        *("--total-steps", 3, "--batch-size", 1, "--hidden", 8, "--layers", 1, "--cell", "gru"),
    ]
    code, out, err = command(*arguments, "--max-minutes", 5)
    assert (code, "33 digits, on cpu in float32\n" in err) == (0, True)
    assert out.startswith("MSE of a frame\tmean\tstep 1\t")
    config = load_state(run / "state.safetensors").facts["config"]
    assert (config["batch_size"], config["losses"]) == (1, {"mse": 1.0})
    assert config["learning_rate"] == choose_config().learning_rate
    strip = tmp_path / "strip.png"
    code, out, err = command(
        *("evaluate", "--preset", "moving-mnist", mnist, "--model", run / "model.safetensors"),
        *("--sequences", 2, "--plot", strip, "--device", "cpu"),
    )
    assert code == 0
    assert "2 sequences of test digits with a fixed seed, not the published file" in err
    lines = [line.split("\t") for line in out.splitlines()]
    assert lines[0][:4] == ["score", "method", "mean", "step 1"]
    assert [line[0] for line in lines[1::2]] == ["mse", "mae", "psnr", "ssim", "ssim of range 2"]
    assert pictures.imread(strip).std() > 10


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("train", "clips", "-o", "x", "--steps", "1", "--hidden", "3"), "only with"),
        (
            ("train", "--preset", "moving-mnist", "m", "-o", "x", "--steps", "1", "--crop", "64"),
            "not",
        ),
        (("train", "--preset", "moving-mnist", "a", "b", "-o", "x", "--steps", "1"), "one folder"),
        (("train", "--preset", "mnist", "a", "-o", "x", "--steps", "1"), "moving-mnist"),
        (("train", "clips", "-o", "x", "--steps", "1", "--features"), "only with"),
        (("evaluate", "clips", "--sequences", "3"), "only with"),
        (("evaluate", "--preset", "moving-mnist", "m", "--task", "fill"), "not with"),
        (("evaluate", "--preset", "moving-mnist", "m", "--samples", "2"), "not with"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], reason: str) -> None:
    code, _, err = command(*arguments)
    assert (code, reason in err) == (2, True)
    assert not Path("x").exists()


@pytest.mark.parametrize(
    "content",
    [None, b"", b"\x1f\x8b\x08\x00", gzip.compress(b"\0" * 16)],
    ids=["missing", "empty", "cut short", "no digits"],
)
@pytest.mark.parametrize("what", ["train", "evaluate"])
def test_damaged_files_are_one_line(tmp_path: Path, what: str, content: bytes | None) -> None:
    folder = tmp_path / "mnist"
    folder.mkdir()
    if content is not None:
        for name in ("train", "t10k"):
            (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(content)
    model = save_network(tmp_path / "w")  # sound: only the digits are not
    options = ("-o", tmp_path / "run", "--steps", 1) if what == "train" else ("--model", model)
    code, out, err = command(what, "--preset", "moving-mnist", folder, *options)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("error: ")
    assert not (tmp_path / "run").exists()
