"""Learning from videos: random situations from clips, both tasks in one run.

How a run goes, stops and goes on is ``session``'s business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .baselines import FILL_BASELINES, FORECAST_BASELINES, Method
from .checkpoint import load_model
from .clips import (
    SHORTEST_CLIP,
    Clip,
    ClipLibrary,
    ClipSampler,
    find_videos,
    leave_out_small,
    load_clips,
)
from .errors import MediaError, TrainingError
from .learner import Learner, TrainConfig
from .model import FramePredictor, ModelConfig
from .predictor import Predictor
from .protocol import Task, Window, WindowScore, average_scores, score_window, space_windows
from .reports import OnProgress
from .scenes import SceneMaker
from .session import OnEvent, TrainReport, hold_session
from .video import open_rgb_frames

__all__ = ["TrainConfig", "TrainReport", "train"]

# Held out where there are no clips.
_N_SCENES = 12
_SCENE_FRAMES = 20  # room for the longest window


def train(
    clips: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    config: TrainConfig,
    validation: str | Path | Sequence[str | Path] | None = None,
    initial: str | Path | None = None,
    cell: str | None = None,
    sizes: ModelConfig | None = None,
    resume: bool = False,
    device: str = "auto",
    cache_gb: float = 12.0,
    on_progress: OnProgress = None,
    on_event: OnEvent = None,
) -> TrainReport:
    """Train or fine-tune the network on videos; writes the run into the folder ``out``.

    clips: video files and folders of them; may be none if ``config.scenes`` is 1. validation:
    videos to choose by, which are not learnt from; without it every tenth is held out, and without
    clips some scenes.
    initial: weights to start from (a packaged name or a file); None starts from scratch. cell: of
    the network, see ``cells.parse_cell``; default that of ``initial``, or "lstm". sizes: of a
    network from scratch, its cell among them. resume: go on with the run in ``out``, from its last
    state, which is at most two minutes old, whatever ``initial`` is. on_event receives a dict for
    every line of the log.

    A loss or gradient that is not finite stops the run, on CUDA at the next report at the latest;
    the weights do not learn from it, and what was saved is sound.

    When the schedule or the lease is over, the state is saved and the averaged weights are scored:
    that comes on top of the lease.

    Started by ``torchrun``, several processes train together, each on a device of its own and with
    ``batch_size`` windows a step; all must see the same files. Only the first of them writes,
    scores, and calls ``on_progress`` and ``on_event``.

    Raises TrainingError, ModelError, MediaError or OutputError.
    """

    def gather(chosen: torch.device, is_first: bool) -> _Material:
        return _Material.prepare(
            clips,
            validation,
            config=config,
            is_first=is_first,
            max_bytes=int(cache_gb * 2**30),
            device=chosen,
            on_progress=on_progress if is_first else None,
        )

    return hold_session(
        out,
        config,
        build=lambda: _build_model(initial, cell, sizes),
        gather=gather,
        resume=resume,
        device=device,
        on_progress=on_progress,
        on_event=on_event,
    )


@dataclass(frozen=True)
class _Material:
    """What is learnt from, and what is scored on."""

    library: ClipLibrary  # on the device
    scenes: float  # share of the steps that learn from synthetic ones
    n_held_out: int  # videos, or scenes
    problems: tuple[str, ...]  # files that are left out of either
    reference: _Validation

    @classmethod
    def prepare(
        cls,
        clips: str | Path | Sequence[str | Path],
        validation: str | Path | Sequence[str | Path] | None,
        *,
        config: TrainConfig,
        is_first: bool,
        max_bytes: int,
        device: torch.device,
        on_progress: OnProgress,
    ) -> _Material:
        if not clips and config.scenes < 1:
            raise TrainingError("no videos to learn from: give some, or learn from scenes alone")
        learned = find_videos(clips) if clips else []
        held_out: list[Path] = []
        if validation is not None:
            held_out = find_videos(validation)
            named = {path.resolve() for path in held_out}
            learned = [path for path in learned if path.resolve() not in named]
            if clips and not learned:
                raise TrainingError("all videos are named for validation: leave some to learn from")
        elif len(learned) >= 10:
            held_out = _hold_out(learned)
            learned = [path for path in learned if path not in set(held_out)]
        library = ClipLibrary((), 0, 0, ())
        if learned:
            library = load_clips(learned, max_bytes=max_bytes, on_progress=on_progress)
            library = leave_out_small(library, crop=config.crop)
        n_held_out = len(held_out)
        to_score = held_out or learned[:1]
        if not to_score:
            n_held_out = _N_SCENES
        reference = _Validation((), {})
        unusable: tuple[str, ...] = ()
        if is_first:
            shown = load_clips(to_score, max_bytes=2**31) if to_score else _draw_clips(config.crop)
            reference = _Validation.prepare(shown, config.n_validation)
            if held_out:
                n_held_out = len({clip.path for clip in shown.clips})
                unusable = shown.problems
        problems = (*library.problems, *unusable)
        return cls(library.to(device), config.scenes, n_held_out, problems, reference)

    @property
    def facts(self) -> dict[str, Any]:
        return {
            "clips": len(self.library.clips),
            "frames": self.library.n_frames,
            "frames_left_out": self.library.n_frames_left_out,
            "problems": list(self.problems),
            "scenes": self.scenes,
            "held_out": self.n_held_out,
        }

    @property
    def baselines(self) -> dict[str, dict[str, Any]]:
        return self.reference.baselines

    def open(self, learner: Learner) -> ClipSampler:
        config = learner.config
        return ClipSampler(
            self.library,
            batch_size=config.batch_size,
            crop=config.crop,
            max_gap=config.max_gap,
            forecast_share=config.forecast_share,
            generator=learner.windows,
            situation_generator=learner.generator,
            scene_share=config.scenes,
            shrink_share=config.shrink,
            device=learner.device,
        )

    def score(self, learner: Learner) -> dict[str, Any]:
        return self.reference.score(learner.build_predictor())


def _hold_out(videos: Sequence[Path]) -> list[Path]:
    """The first of every ten videos that can be scored on."""
    tens = (videos[start : start + 10] for start in range(0, len(videos), 10))
    return [path for ten in tens for path in islice(filter(_can_be_scored, ten), 1)]


def _can_be_scored(path: Path) -> bool:
    """Whether a video can be read, and has frames enough to hide one."""
    try:
        return len(list(islice(open_rgb_frames(path), SHORTEST_CLIP))) == SHORTEST_CLIP
    except MediaError:
        return False


def _draw_clips(side: int) -> ClipLibrary:
    """Scenes to score on where there are no clips: always the same ones."""
    maker = SceneMaker([], size=(side, side), generator=torch.Generator().manual_seed(0))
    clips = []
    for k in range(_N_SCENES):
        frames = (maker.draw(1, range(_SCENE_FRAMES)).render()[0] * 255).round().to(torch.uint8)
        clips.append(Clip(Path(f"scene-{k + 1}"), frames))
    return ClipLibrary(tuple(clips), _N_SCENES * _SCENE_FRAMES, 0, ())


def _build_model(
    initial: str | Path | None, cell: str | None, sizes: ModelConfig | None
) -> FramePredictor:
    if sizes is not None:
        if initial is not None or cell is not None:
            raise TrainingError("sizes are for a network from scratch: leave out initial and cell")
        return FramePredictor(sizes)
    if initial is None:
        try:
            return FramePredictor(ModelConfig() if cell is None else ModelConfig(cell=cell))
        except ValueError as error:
            raise TrainingError(str(error)) from error
    model, _ = load_model(initial)
    if cell not in (None, model.config.cell):
        raise TrainingError(
            f"the weights {initial} are of a network with the cell {model.config.cell!r}, not "
            f"{cell!r}: leave one of the two out"
        )
    return model


@dataclass(frozen=True)
class _Validation:
    """A few windows held in memory, and what the baselines score on them."""

    windows: tuple[tuple[Window, np.ndarray], ...]
    baselines: dict[str, dict[str, dict[int, float]]]

    @classmethod
    def prepare(cls, library: ClipLibrary, n_windows: int) -> _Validation:
        chosen: list[tuple[Window, np.ndarray]] = []
        tasks: tuple[Task, ...] = ("fill", "forecast")
        for task in tasks:
            spaced = [
                (window, clip.frames.permute(0, 2, 3, 1).numpy())
                for clip in library.clips
                for window in space_windows(clip.path.name, len(clip.frames), task, per_clip=1)
            ]
            every = max(1, math.ceil(len(spaced) / n_windows))
            # A step that shares no factor with the four gap lengths reaches all of them.
            chosen += spaced[:: every + (every % 2 == 0)]
        windows = tuple((window, frames) for window, frames in chosen)
        empty = cls(windows, {})
        baselines = {
            name: empty.score_method("fill", method) for name, method in FILL_BASELINES.items()
        }
        forecasts = {
            name: empty.score_method("forecast", method)
            for name, method in FORECAST_BASELINES.items()
        }
        return cls(windows, {"fill": baselines, "forecast": forecasts})

    def score_method(self, task: Task, method: Method) -> dict[int, float]:
        """Mean PSNR by gap length or forecast step."""
        windows = [window for window, _ in self.windows if window.task == task]
        scores: list[WindowScore] = [
            score_window(window, frames, method, with_ssim=False)[1]
            for window, frames in self.windows
            if window.task == task
        ]
        table = average_scores(windows, scores)
        return {key: round(row[0], 3) for key, row in table.items()}

    def score(self, predictor: Predictor) -> dict[str, Any]:
        method: Method = predictor.fill  # type: ignore[assignment]
        return {
            "fill": self.score_method("fill", method),
            "forecast": self.score_method("forecast", method),
        }
