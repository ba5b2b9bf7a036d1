"""Train variants of the network in short, equal runs, score them alike, print one table.

    python samples/compare_variants.py VARIANTS.toml --out runs/variants

What is to be compared is a TOML file; paths in it are relative to its folder::

    clips = ["clips/train"]          # learnt from
    scored = ["clips/val"]           # scored on
    windows = "windows-val.json"     # which frames are hidden, as for `evaluate --windows`
    every = 4                        # optional: score every 4th window of each length

    [all]                            # what all variants share
    n_steps = 300
    batch_size = 6
    crop = 176

    [variants.base]
    [variants.gru]
    cell = "gru"
    [variants.scenes]
    scenes = 0.3
    losses = { laplacian = 1.0, charbonnier = 1.0 }
    [variants.default]
    initial = "default"              # weights to start from: a packaged name, or a path
    n_steps = 0                      # not trained at all

A variant's settings are the fields of ``TrainConfig`` (``framepred/learner.py``) and of
``ModelConfig`` (``framepred/model.py``). Equal runs are runs of equal ``n_steps`` and
``batch_size``: minutes are only equal on a machine that does nothing else.

Each variant is a run in a folder of its own below --out, as ``framepred train`` makes it. Stopped
at any time and started again with the same file, the script goes on: with the state saved last, at
most two minutes old, and with the window that was being scored. ``--only NAME`` does one variant,
so that variants may come from different versions of the project and share a table.

The table goes to stdout: parameters; billions of multiply-adds for the one frame of a gap with four
known frames a side, of a 256x448 and a 1080x1920 picture (convolutions and matrix products, counted
by ``torch.utils.flop_counter``, halved); minutes of training; mean PSNR in dB.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from framepred.clips import find_videos
from framepred.errors import FramepredError, TrainingError
from framepred.learner import TrainConfig
from framepred.model import FramePredictor, ModelConfig
from framepred.operations import count_operations
from framepred.outputs import write_text
from framepred.predictor import Predictor
from framepred.protocol import (
    FILL_GAPS,
    FORECAST_STEPS,
    Task,
    Window,
    WindowScore,
    average_scores,
    load_windows,
    score_window,
)
from framepred.training import train
from framepred.video import open_rgb_frames

TASKS: tuple[Task, ...] = ("fill", "forecast")
HEIGHTS = (256, 1080)
Row = dict[str, Any]  # of the table, as it is stored


@dataclass(frozen=True)
class Variant:
    """One network, how it is trained, and where its run lives."""

    name: str
    folder: Path
    settings: dict[str, Any]
    sizes: ModelConfig
    config: TrainConfig | None  # None: not trained
    initial: str | None

    @classmethod
    def parse(cls, name: str, settings: dict[str, Any], place: Path, out: Path) -> Variant:
        if Path(name).name != name or name.startswith("."):
            raise TrainingError(f"variant {name!r}: its name must do as a folder's")
        rest = dict(settings)
        initial = rest.pop("initial", None)
        if initial is not None and (place / initial).is_file():
            initial = str(place / initial)
        sizes = _take_fields(ModelConfig, rest)
        if initial is not None and sizes:
            raise TrainingError(f"variant {name}: weights to start from have their own sizes")
        is_trained = rest.get("n_steps") != 0
        fields = _take_fields(TrainConfig, rest)
        if rest:
            raise TrainingError(f"variant {name}: there is no setting {sorted(rest)[0]!r}")
        config = None
        if is_trained:  # what is scored while learning does not count here: as little as possible
            config = TrainConfig(**{"validate_every": 10**9, "n_validation": 1, **fields})
            config.check()
        return cls(name, out / name, settings, ModelConfig(**sizes), config, initial)

    def build(self) -> FramePredictor:
        """The network before training."""
        torch.manual_seed(0 if self.config is None else self.config.seed)
        if self.initial is not None:
            return Predictor.load(self.initial, device="cpu").model
        return FramePredictor(self.sizes)


def _take_fields(kind: type, settings: dict[str, Any]) -> dict[str, Any]:
    """Remove the fields of a configuration from the settings; they must be of its types."""
    taken = {}
    for field in dataclasses.fields(kind):
        if field.name in settings:
            value = settings.pop(field.name)
            taken[field.name] = tuple(value) if isinstance(value, list) else value
    return taken


@dataclass(frozen=True)
class Comparison:
    """What the TOML file says."""

    clips: list[Path]
    scored: dict[str, Path]  # by name
    windows: dict[Task, list[Window]]
    variants: list[Variant]

    @classmethod
    def read(cls, path: Path, out: Path) -> Comparison:
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise TrainingError(f"cannot read {path}: {error.strerror or error}") from error
        except ValueError as error:
            raise TrainingError(f"{path} is not TOML: {error}") from error
        try:
            place = path.absolute().parent
            every = told.pop("every", 1)
            windows = {
                task: thin(load_windows(place / told["windows"], task), every) for task in TASKS
            }
            clips = [place / name for name in told.pop("clips", [])]
            videos = {video.name: video for video in find_videos(place / s for s in told["scored"])}
            shared = told.pop("all", {})
            variants = [
                Variant.parse(name, {**shared, **settings}, place, out)
                for name, settings in told["variants"].items()
            ]
        except (KeyError, TypeError) as error:
            raise TrainingError(f"{path}: missing or of the wrong type: {error}") from error
        lacking = {w.clip for listed in windows.values() for w in listed} - videos.keys()
        if lacking:
            raise TrainingError(f"{path}: {sorted(lacking)[0]} is not among the clips scored on")
        return cls(clips, videos, windows, variants)


def thin(windows: list[Window], every: int) -> list[Window]:
    """Every so many-th window of each length."""
    kept = []
    for length in sorted({window.n_missing for window in windows}):
        kept += [window for window in windows if window.n_missing == length][::every]
    return kept


def work(comparison: Comparison, variant: Variant) -> None:
    """Train a variant, count its operations and score it; what is done already is not done again.

    Afterwards its folder holds ``row.json``.
    """
    finished = variant.folder / "row.json"
    row = _load(finished)
    if row is not None:
        if row["settings"] != variant.settings:
            raise TrainingError(f"{variant.folder} holds a variant of other settings")
        return
    variant.folder.mkdir(parents=True, exist_ok=True)
    minutes, model = 0.0, None
    if variant.config is not None:
        minutes, model = run_training(comparison, variant)
    predictor = (
        Predictor(variant.build(), name=variant.name, device=torch.device("cpu"))
        if model is None
        else Predictor.load(str(model), device="cpu")
    )
    scores = score(comparison, predictor, variant.folder / "scores.jsonl")
    counted = count_operations(predictor, heights=HEIGHTS)
    row = {
        "settings": variant.settings,
        "parameters": counted.parameters,
        "gmac": {str(c.height): c.gmac_per_frame for c in counted.counts if c.n_missing == 1},
        "minutes": minutes,
        **{task: {str(key): psnr for key, psnr in table.items()} for task, table in scores.items()},
    }
    write_text(finished, json.dumps(row))


def run_training(comparison: Comparison, variant: Variant) -> tuple[float, Path]:
    """Minutes that it took over all sessions, and the weights."""
    assert variant.config is not None
    trained = variant.folder / "trained.json"
    done = _load(trained)
    if done is None or done["settings"] != variant.settings:
        say(f"{variant.name}: training")
        resume = (variant.folder / "state.safetensors").exists()
        report = train(
            comparison.clips,
            variant.folder,
            config=variant.config,
            # One short look at one clip is the least that a run wants.
            validation=[min(comparison.scored.values())],
            initial=variant.initial,
            sizes=None if variant.initial is not None else variant.sizes,
            resume=resume,
            device="cpu",
            on_event=_follow(variant.name),
        )
        done = {"settings": variant.settings, "minutes": report.minutes, "steps": report.steps}
        write_text(trained, json.dumps(done))
    return done["minutes"], variant.folder / "model.safetensors"


def score(comparison: Comparison, predictor: Predictor, path: Path) -> dict[Task, dict[int, float]]:
    """Mean PSNR by gap length and by forecast step; window after window is noted in a file."""
    known: dict[tuple[Any, ...], WindowScore] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                *key, psnr = json.loads(line)
            except ValueError:  # the line that was being written when it was stopped
                continue
            known[tuple(key)] = WindowScore(tuple(psnr), ())
    wanted = [window for task in TASKS for window in comparison.windows[task]]
    by_clip: dict[str, list[Window]] = {}
    for window in wanted:
        if _key(window) not in known:
            by_clip.setdefault(window.clip, []).append(window)
    with path.open("a", encoding="utf-8") as file:
        for clip, windows in by_clip.items():
            frames = np.stack(list(open_rgb_frames(comparison.scored[clip])))
            for window in windows:
                _, got = score_window(window, frames, predictor.fill, with_ssim=False)
                known[_key(window)] = got
                file.write("\n" + json.dumps([*_key(window), got.psnr]))
                file.flush()
            say(f"{predictor.name}: {len(known)} of {len(wanted)} windows scored")
    tables: dict[Task, dict[int, float]] = {}
    for task in TASKS:
        windows = comparison.windows[task]
        psnrs = [known[_key(window)].psnr for window in windows]
        # The average wants an SSIM beside every PSNR.
        scores = [WindowScore(psnr, (float("nan"),) * len(psnr)) for psnr in psnrs]
        tables[task] = {key: one for key, (one, _, _) in average_scores(windows, scores).items()}
    return tables


def _key(window: Window) -> tuple[Any, ...]:
    return (window.task, window.clip, window.start, window.n_missing, window.n_context)


def _load(path: Path) -> Row | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _follow(name: str) -> Any:
    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            say(f"{name}: step {event['step']}, loss {event['loss']:.4f}, {event['minutes']} min")

    return tell


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def draw_table(variants: list[Variant]) -> str:
    """The variants that are done, as a table in Markdown."""
    head = ["variant", "parameters", "GMAC 256p", "GMAC 1080p", "minutes"]
    head += [*(f"g={g}" for g in FILL_GAPS), *(f"step {step}" for step in FORECAST_STEPS)]
    lines = [head, ["---"] * len(head)]
    for variant in variants:
        row = _load(variant.folder / "row.json")
        if row is None:
            continue
        fill, forecast = row["fill"], row["forecast"]
        lines.append(
            [
                variant.name,
                str(row["parameters"]),
                *(f"{row['gmac'][str(height)]:.1f}" for height in HEIGHTS),
                f"{row['minutes']:.1f}",
                *(_show(fill.get(str(g))) for g in FILL_GAPS),
                *(_show(forecast.get(str(step))) for step in FORECAST_STEPS),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _show(decibels: float | None) -> str:
    return "" if decibels is None else f"{decibels:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare variants of the network.")
    parser.add_argument("variants", type=Path, metavar="VARIANTS.toml")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--only", metavar="NAME", help="work on this variant alone")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if hasattr(os, "nice"):
        os.nice(10)
    torch.set_num_threads(options.threads)
    try:
        comparison = Comparison.read(options.variants, options.out)
        names = [variant.name for variant in comparison.variants]
        if options.only not in (None, *names):
            raise TrainingError(f"no variant {options.only!r}: there are {', '.join(names)}")
        for variant in comparison.variants:
            if options.only in (None, variant.name):
                work(comparison, variant)
    except FramepredError as error:
        say(f"error: {error}")
        return 1
    print(draw_table(comparison.variants))
    return 0


if __name__ == "__main__":
    sys.exit(main())
