"""Adaptation: a copy of the network learns from the known frames of the very video at hand.

::

    slots     | | | | | | | | | | | | . . | | | | | | | | | | | |
    judged          [ | | # # | | ]         [ | | # # | | ]         hidden (#) and never learnt from
    learnt    | | | | | | |     | |     | | | |     | | | | | | |   runs of real frames of one shot

Frames are known by the numbers of their slots, not by their times. What is held of a video does
not grow with its length. The copy takes the network's place only if it predicts the hidden frames
better; weights on disk are never touched.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .clips import Batch, Situation
from .errors import TrainingError
from .grids import choose_scale
from .learner import Learner, TrainConfig
from .metrics import HIGHEST_PSNR, psnr
from .predictor import Predictor, choose_precision
from .reports import AdaptationReport, OnProgress, Progress
from .scoring import to_8_bits
from .tasks import Runs, Task
from .timeline import Plan
from .video import Image

__all__ = ["Lessons", "fine_tune", "plan_lessons"]

T = TypeVar("T")

# A step is as much work for every video: so many squares of so many pixels.
_CONFIG = TrainConfig(
    batch_size=2,
    crop=192,
    learning_rate=5e-4,
    final_share=0.0,
    warmup_steps=5,
    weight_decay=0.0,
    losses={"log_mse": 1.0, "laplacian": 0.5},
)

# What is held of a video.
_REACH = 128  # slots: what is farther from the frames to be made says little about them
_LONGEST_PIECE = 48  # frames: half of it still holds every situation
_MOST_LEARNT_PIXELS = 2**26  # 200 MB: 500 frames of 480x270
_MOST_TRIALS = 8
_MOST_JUDGED_PIXELS = 2**27

_LONGEST_GAP = 8  # frames: what the network was trained for
_MOST_CONTEXT = 8  # frames: with each a step takes more time and memory
_FEWEST_FRAMES = 32  # fewer are learnt by heart: the frames made of it came out worse
_LEAST_CONTEXT = 2  # frames: motion shows in no fewer


@dataclass(frozen=True)
class Lessons:
    """What of a video is learnt from and what is held out to judge by, in slots."""

    situations: tuple[Situation, ...]  # the problems that the video poses
    trials: tuple[Task, ...]  # problems with known answers, to judge by
    pieces: tuple[tuple[int, int], ...]  # [start, stop) of real frames of one shot, to learn from
    obstacle: str | None = None  # why there is nothing to learn

    @property
    def slots(self) -> frozenset[int]:
        """The slots whose pictures are needed."""
        ranges = [*self.pieces, *((trial.first, trial.last) for trial in self.trials)]
        return frozenset(slot for start, stop in ranges for slot in range(start, stop))


def plan_lessons(
    plan: Plan, tasks: Sequence[Task], *, size: tuple[int, int], unknown: Collection[int] = ()
) -> Lessons:
    """Choose what to learn from and what to judge by, both near to what has to be made.

    Judged by are the checks, and more such windows where there are few checks. What they hide,
    and what the checks that are not judged by hide, is never learnt from.

    tasks: what has to be made, and the checks beside it. size: height and width of the pictures.
    unknown: slots to keep away from besides the gaps.
    """
    problems = [task for task in tasks if not task.is_check and not task.is_hold]
    if not problems:
        return Lessons((), (), (), "the network has nothing to make")
    runs = Runs(plan)
    checks = [task for task in tasks if task.is_check]
    closed = {*unknown, *_list_far_slots(len(plan.slots), problems)}
    hidden = closed | _list_hidden(checks)
    known = runs.list_all(hidden)
    situations = _fit(_describe(problems), max((stop - first for first, stop in known), default=0))
    trials = _thin(checks, _MOST_TRIALS)
    more = [trial for run in known for trial in _place_trials(run, situations)]
    trials += _thin(more, _MOST_TRIALS - len(trials))
    height, width = size
    if trials:
        span = max(trial.last - trial.first for trial in trials)
        trials = _thin(trials, max(1, _MOST_JUDGED_PIXELS // (span * height * width)))
    n_most = _MOST_LEARNT_PIXELS * choose_scale(height, width) ** 2 // (height * width)
    pieces = _choose_pieces(runs.list_all(hidden | _list_hidden(trials)), situations, n_most)
    if not trials or _count_frames(pieces) < _FEWEST_FRAMES:
        n_known = _count_frames(runs.list_all(closed))
        return Lessons(
            *((), (), ()),
            f"{n_known} known frames are too few to hold some out and learn from the others",
        )
    return Lessons(situations, tuple(trials), tuple(pieces))


def _list_far_slots(n_slots: int, problems: Iterable[Task]) -> set[int]:
    near = bytearray(n_slots)
    for task in problems:
        first, stop = max(0, task.start - _REACH), min(n_slots, task.stop + _REACH)
        near[first:stop] = b"\1" * (stop - first)
    return {slot for slot in range(n_slots) if not near[slot]}


def _list_hidden(trials: Iterable[Task]) -> set[int]:
    return {slot for trial in trials for slot in range(trial.start, trial.stop)}


def _describe(problems: Iterable[Task]) -> list[Situation]:
    """The situations of the problems, each once. What precedes a film is forecast backwards."""
    found = {}
    for task in problems:
        n_missing = min(task.stop - task.start, _LONGEST_GAP)
        n_before = min(task.start - task.first, _MOST_CONTEXT)
        n_after = min(task.last - task.stop, _MOST_CONTEXT)
        if not n_before:
            n_before, n_after = n_after, 0
        found[Situation(n_before, n_missing, n_after, stride=1)] = True
    return list(found)


def _fit(situations: Iterable[Situation], longest: int) -> tuple[Situation, ...]:
    """Shorten situations to what a run of ``longest`` frames can show; leave out what it cannot."""
    fitting = {}
    for situation in situations:
        n_before, n_missing, n_after = situation.n_before, situation.n_missing, situation.n_after
        while n_before + n_missing + n_after > longest:
            if n_before >= n_after and n_before > _LEAST_CONTEXT:
                n_before -= 1
            elif n_after > _LEAST_CONTEXT:
                n_after -= 1
            elif n_missing > 1:
                n_missing -= 1
            else:
                break
        else:
            fitting[Situation(n_before, n_missing, n_after, stride=1)] = True
    return tuple(fitting)


def _place_trials(run: tuple[int, int], situations: Sequence[Situation]) -> list[Task]:
    """Windows with known answers: every second one of a run from its end, so that half is left."""
    first, last = run
    trials: list[Task] = []
    while situations:
        situation = situations[len(trials) % len(situations)]
        begin = last - situation.span
        if begin - situation.span < first:
            break
        start = begin + situation.n_before
        trials.append(Task(begin, start, start + situation.n_missing, last, -1, is_check=True))
        last = begin - situation.span
    return trials


def _choose_pieces(
    known: Iterable[tuple[int, int]], situations: Sequence[Situation], n_most: int
) -> list[tuple[int, int]]:
    """Cut runs into pieces long enough for some situation; keep at most ``n_most`` frames."""
    spans = [situation.span for situation in situations]
    pieces: list[tuple[int, int]] = []
    for first, stop in known if spans else ():
        if stop - first >= min(spans):
            n_parts = -(-(stop - first) // _LONGEST_PIECE)
            edges = [first + (stop - first) * k // n_parts for k in range(n_parts + 1)]
            pieces += pairwise(edges)
    n = len(pieces)
    if (n_frames := _count_frames(pieces)) > n_most:
        n = max(1, n * n_most // n_frames)
        while n > 1 and _count_frames(_thin(pieces, n)) > n_most:
            n -= 1
    return _thin(pieces, n)


def _count_frames(ranges: Iterable[tuple[int, int]]) -> int:
    return sum(stop - start for start, stop in ranges)


def _thin(items: Sequence[T], n: int) -> list[T]:
    """At most ``n`` of the items, evenly spaced."""
    n = min(n, len(items))
    return [items[(2 * k + 1) * len(items) // (2 * n)] for k in range(n)]


def fine_tune(
    predictor: Predictor,
    lessons: Lessons,
    pictures: Iterable[tuple[int, Image]],
    *,
    n_steps: int,
    seed: int,
    on_progress: OnProgress = None,
) -> tuple[Predictor, AdaptationReport]:
    """Fine-tune a copy of the network on a video; return it if it is better, else the network.

    Windows in the video's own situations are cut out at random, their middle is hidden, predicted
    and compared. The copy is judged by its mean PSNR on the lessons' trials, on whole pictures, and
    so is one half-way between it and the network (Wortsman et al., 2022: less of what was learnt
    by heart); the better of the two is the copy.

    predictor: stays as it is. pictures: (slot, RGB (H, W, 3) uint8 or uint16), in order, of the
    lessons' slots; those that do not come are done without. n_steps: of the optimizer. seed: of
    all random choices; on a CPU the same seed gives the same weights. on_progress: called with the
    stage "adapt".

    Raises ValueError if ``n_steps`` is below 1.
    """
    if n_steps < 1:
        raise ValueError(f"expected n_steps of at least 1, got {n_steps}")
    began = time.monotonic()

    def report(reason: str, **facts: Any) -> AdaptationReport:
        seconds = round(time.monotonic() - began, 3)
        return AdaptationReport(steps_asked=n_steps, seconds=seconds, reason=reason, **facts)

    if lessons.obstacle is not None:
        return predictor, report(lessons.obstacle)
    if on_progress is not None:
        on_progress(Progress("adapt", 0, n_steps))
    trials, pieces = _gather(lessons, pictures)
    n_frames = sum(len(piece) for piece in pieces)
    situations = _fit(lessons.situations, max((len(piece) for piece in pieces), default=0))
    if not trials or not situations or n_frames < _FEWEST_FRAMES:
        return predictor, report("too few of the known frames are sound and of one size")

    device = torch.device(predictor.device)
    config = dataclasses.replace(_CONFIG, n_steps=n_steps, seed=seed)
    learner = Learner(copy.deepcopy(predictor.model), config, device)
    sampler = _Sampler(
        [piece.to(device) for piece in pieces], situations, config, learner.generator
    )
    facts: dict[str, Any] = {
        "windows_learnt": len(pieces),
        "frames_learnt": n_frames,
        "windows_judged": len(trials),
        "psnr_before": (before := _judge(predictor, trials)),
    }
    try:
        _learn(learner, sampler, on_progress)
        adapted = learner.build_predictor()
    except TrainingError:
        reason = "the loss was no longer finite"
        return predictor, report(reason, steps_done=learner.step, **facts)
    halved = learner.build_predictor()
    _meet_halfway(halved.model, predictor.model)
    judged = []
    for copied in (adapted, halved):
        copied.name, copied.tiling = predictor.name, predictor.tiling
        with np.errstate(invalid="ignore"):  # what learnt nonsense may make no numbers at all
            judged.append(_judge(copied, trials))
    after = float(np.fmax(judged[0], judged[1]))
    facts |= {"steps_done": learner.step, "psnr_after": after}
    if not after > before:
        return predictor, report("the hidden frames came out no better", **facts)
    if after == judged[0]:
        return adapted, report("the hidden frames came out better", kept=True, **facts)
    reason = "the hidden frames came out better with half of what was learnt"
    return halved, report(reason, kept=True, **facts)


def _meet_halfway(model: torch.nn.Module, other: torch.nn.Module) -> None:
    with torch.no_grad():
        for mine, others in zip(model.parameters(), other.parameters(), strict=True):
            mine.lerp_(others.to(mine), 0.5)


@dataclass(frozen=True)
class _Trial:
    """Pictures (T, H, W, 3) of a window that is judged by."""

    before: np.ndarray
    hidden: np.ndarray
    after: np.ndarray


def _gather(
    lessons: Lessons, pictures: Iterable[tuple[int, Image]]
) -> tuple[list[_Trial], list[Tensor]]:
    """Hold whole pictures to judge by, and those to learn from at the size of their motion.

    Returns the trials, and the pieces as (T, 3, H, W) uint8.
    """
    judged = {slot for trial in lessons.trials for slot in range(trial.first, trial.last)}
    learnt = {slot for piece in lessons.pieces for slot in range(*piece)}
    whole: dict[int, Image] = {}
    small: dict[int, Image] = {}
    for slot, picture in pictures:
        if slot in judged:
            whole[slot] = picture
        if slot in learnt:
            small[slot] = _shrink(picture)
    trials = [
        _Trial(*np.split(window, (trial.start - trial.first, trial.stop - trial.first)))
        for trial in lessons.trials
        if (window := _stack(whole, trial.first, trial.last)) is not None
    ]
    pieces = [
        torch.from_numpy(window).permute(0, 3, 1, 2).contiguous()
        for start, stop in lessons.pieces
        if (window := _stack(small, start, stop)) is not None
    ]
    return trials, pieces


def _shrink(picture: Image) -> Image:
    """A picture (H, W, 3) uint8 as small as the network looks for the motion in it."""
    planes = torch.from_numpy(to_8_bits(picture)).permute(2, 0, 1)
    scale = choose_scale(planes.shape[1], planes.shape[2])
    small = F.avg_pool2d(planes.float(), scale).round().to(torch.uint8)
    return small.permute(1, 2, 0).numpy()


def _stack(pictures: Mapping[int, Image], start: int, stop: int) -> np.ndarray | None:
    """(T, H, W, 3); None if one is missing or unlike the others."""
    found = [pictures[slot] for slot in range(start, stop) if slot in pictures]
    if len(found) < stop - start or len({(each.shape, each.dtype) for each in found}) > 1:
        return None
    return np.stack(found)


class _Sampler:
    """Endless batches cut at random from a video's pieces, in its own situations.

    They are mirrored and run backwards, no more: what is learnt is this one video.
    """

    def __init__(
        self,
        pieces: Sequence[Tensor],  # (T, 3, H, W) uint8
        situations: Sequence[Situation],
        config: TrainConfig,
        generator: torch.Generator,
    ) -> None:
        self._pieces = pieces
        self._situations = situations
        self._batch_size = config.batch_size
        self._crop = min(config.crop, *(min(piece.shape[-2:]) for piece in pieces))
        self._generator = generator

    def _draw(self, n: int) -> int:
        """A whole number in [0, n)."""
        return int(torch.randint(n, (), generator=self._generator))

    def draw(self) -> Batch:
        """The next batch, on the pieces' device."""
        situation = self._situations[self._draw(len(self._situations))]
        places = [max(0, len(piece) - situation.span + 1) for piece in self._pieces]
        chosen = torch.multinomial(
            torch.tensor(places, dtype=torch.float32),
            self._batch_size,
            replacement=True,
            generator=self._generator,
        )
        windows = [self._cut(self._pieces[k], situation.span) for k in chosen.tolist()]
        return Batch(torch.stack(windows).float() / 255, situation)

    def _cut(self, frames: Tensor, span: int) -> Tensor:
        n_frames, _, height, width = frames.shape
        start = self._draw(n_frames - span + 1)
        top, left = self._draw(height - self._crop + 1), self._draw(width - self._crop + 1)
        window = frames[start : start + span, :, top : top + self._crop, left : left + self._crop]
        return window.flip([axis for axis in (0, -1) if self._draw(2)])


def _learn(learner: Learner, sampler: _Sampler, on_progress: OnProgress) -> None:
    precision = choose_precision(learner.device)
    while not learner.is_done():
        batch = sampler.draw()
        learner.set_rate()
        learner.learn(batch, learner.choose_targets(batch.situation.n_missing), precision)
        if on_progress is not None:
            on_progress(Progress("adapt", learner.step, learner.config.n_steps))


def _judge(predictor: Predictor, trials: Sequence[_Trial]) -> float:
    """Mean PSNR in dB over the hidden frames of a window, then over windows."""
    scores = []
    for trial in trials:
        made = predictor.fill(trial.before, trial.after, len(trial.hidden))
        each = [psnr(true, got) for true, got in zip(trial.hidden, made, strict=True)]
        scores.append(np.mean([min(score, HIGHEST_PSNR) for score in each]))
    return float(np.mean(scores))
