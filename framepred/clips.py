"""Training clips: videos decoded once into memory, windows cut out at random, varied, batched.

A batch is one *situation* (so many frames known on each side, so many missing) cut from several
clips, or made as synthetic scenes. All randomness comes from one generator, so that a resumed run
goes on with exactly the samples that an uninterrupted one would have seen.
"""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import MediaError, TrainingError
from .relay import Promise, work_beside
from .reports import OnProgress, Progress
from .scenes import Scene, SceneMaker
from .video import open_rgb_frames

__all__ = [
    "SHORTEST_CLIP",
    "Batch",
    "Clip",
    "ClipLibrary",
    "ClipSampler",
    "Situation",
    "find_videos",
    "leave_out_small",
    "load_clips",
]

VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("mp4", "m4v", "mov", "mkv", "webm", "avi", "ts", "m2ts", "mts", "mpg", "mpeg"),
        *("ogv", "flv", "wmv", "mxf", "y4m"),
    )
)
SHORTEST_CLIP = 4  # frames: two known, one missing, one known
_MOST_AT_ONCE = 8  # videos that are decoded side by side
_CUT_JUMP = 24.0  # grey levels of 255: mean change that, beside a calm neighbourhood, is a cut
_CUT_RATIO = 4.0


@dataclass(frozen=True)
class Clip:
    """One shot in memory: frames (T, 3, H, W) uint8 RGB."""

    path: Path
    frames: Tensor


@dataclass(frozen=True)
class ClipLibrary:
    """All shots to learn from, and what had to be left out to stay within the memory."""

    clips: tuple[Clip, ...]
    n_frames: int
    n_frames_left_out: int
    problems: tuple[str, ...]  # one line for each file that could not be used

    def to(self, device: torch.device | str) -> ClipLibrary:
        """The same library with its pixels on another device."""
        moved = tuple(Clip(clip.path, clip.frames.to(device)) for clip in self.clips)
        return ClipLibrary(moved, self.n_frames, self.n_frames_left_out, self.problems)


@dataclass(frozen=True)
class Situation:
    """What is known and what is missing, in frames; ``n_after`` 0 is a forecast."""

    n_before: int
    n_missing: int
    n_after: int
    stride: int  # every how many-th frame of the clip is used

    @property
    def n_frames(self) -> int:
        return self.n_before + self.n_missing + self.n_after

    @property
    def span(self) -> int:
        """Frames of the clip from the first used to the last, inclusive."""
        return (self.n_frames - 1) * self.stride + 1


@dataclass(frozen=True)
class Batch:
    """Frames (B, T, 3, H, W) float32 RGB in [0, 1] of one situation."""

    frames: Tensor
    situation: Situation
    scene: Scene | None = None  # what the frames show, if they are synthetic: it knows the motion

    @property
    def before(self) -> Tensor:
        return self.frames[:, : self.situation.n_before]

    @property
    def after(self) -> Tensor | None:
        first = self.situation.n_before + self.situation.n_missing
        return self.frames[:, first:] if self.situation.n_after else None

    @property
    def missing(self) -> Tensor:
        first = self.situation.n_before
        return self.frames[:, first : first + self.situation.n_missing]


def find_videos(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Files as given, and the videos below each folder, sorted by name; none of them twice.

    Raises TrainingError if a path does not exist or nothing is found.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    found: list[Path] = []
    for given in paths:
        path = Path(given)
        if path.is_dir():
            found += sorted(
                file
                for file in path.rglob("*")
                if file.suffix.lower() in VIDEO_SUFFIXES and file.is_file()
            )
        elif path.is_file():
            found.append(path)
        else:
            raise TrainingError(f"no such file or folder: {path}")
    if not found:
        raise TrainingError("no videos found: give video files, or a folder that holds some")
    return list({path.resolve(): path for path in reversed(found)}.values())[::-1]


def load_clips(
    paths: Sequence[Path],
    *,
    max_bytes: int = 12 * 2**30,
    on_progress: OnProgress = None,
) -> ClipLibrary:
    """Decode videos into memory, cut at scene changes, several at a time.

    When they do not fit into ``max_bytes``, each video keeps an even share of it, from its start;
    how many frames were left out is in the result. Files that cannot be read are listed in
    ``problems``; TrainingError if nothing usable is left.
    """
    clips: list[Clip] = []
    problems: list[str] = []
    n_left_out = spent = 0
    ended: list[bool] = []
    waiting: deque[tuple[int, Promise[_Decoded]]] = deque()
    n_at_once = min(os.cpu_count() or 1, _MOST_AT_ONCE)
    with work_beside(n_at_once) as crew:
        try:
            for index, path in enumerate(paths):
                if on_progress:
                    on_progress(Progress("decode", index, len(paths)))
                # No video takes more than its share, so that those behind it have no less.
                share = (max_bytes - spent) // (len(paths) - index)
                # Frames lie in memory up to three times until a video is done.
                n_begun = max(1, min(n_at_once, max_bytes // (4 * share + 1)))
                for later in paths[index + len(waiting) : index + n_begun]:
                    waiting.append((share, crew.begin(partial(_decode, later, share, ended))))
                given, promise = waiting.popleft()
                decoded = promise.get()
                if decoded.n_left_out and share > given:
                    decoded = _decode(path, share, ended)
                clips += decoded.clips
                spent += decoded.n_bytes
                n_left_out += decoded.n_left_out
                problems += [decoded.problem] if decoded.problem else []
        finally:
            ended.append(True)
    if on_progress:
        on_progress(Progress("decode", len(paths), len(paths)))
    if not clips:
        reason = problems[0] if problems else "no frames"
        raise TrainingError(f"nothing to learn from in {len(paths)} file(s): {reason}")
    n_frames = sum(len(clip.frames) for clip in clips)
    return ClipLibrary(tuple(clips), n_frames, n_left_out, tuple(problems))


@dataclass(frozen=True)
class _Decoded:
    """What came of one video."""

    clips: tuple[Clip, ...] = ()
    n_bytes: int = 0  # of all frames that were kept
    n_left_out: int = 0  # frames that did not fit
    problem: str = ""


def _decode(path: Path, share: int, ended: list[bool]) -> _Decoded:
    """The shots of a video that fit into ``share`` bytes; it stops when there is an ``ended``."""
    frames: list[np.ndarray] = []
    n_bytes = n_left_out = 0
    try:
        for image in open_rgb_frames(path):
            if ended:
                return _Decoded()
            if frames and image.shape != frames[0].shape:
                raise MediaError(f"{path}: the picture changes size midway")
            if n_bytes + image.nbytes > share:
                n_left_out += 1
                continue
            n_bytes += image.nbytes
            frames.append(image)
    except MediaError as error:
        return _Decoded(n_left_out=n_left_out, problem=str(error))
    shots = [shot for shot in _split_shots(frames) if len(shot) >= SHORTEST_CLIP]
    problem = ""
    if not shots:
        why = " in its share of the memory" if n_left_out else ""
        problem = f"{path}: no shot of at least {SHORTEST_CLIP} frames{why}"
    clips = tuple(
        Clip(path, torch.from_numpy(np.stack(shot)).permute(0, 3, 1, 2).contiguous())
        for shot in shots
    )
    return _Decoded(clips, n_bytes, n_left_out, problem)


def leave_out_small(library: ClipLibrary, *, crop: int) -> ClipLibrary:
    """Leave out clips from which no square of ``crop`` pixels can be cut, and say so.

    If that were most of them, the square is as large as half of all clips allow. Without this the
    smallest clip would decide for all.
    """
    sides = [min(clip.frames.shape[-2:]) for clip in library.clips]
    least = min(crop, statistics.median_low(sides))
    kept = tuple(clip for clip, side in zip(library.clips, sides, strict=True) if side >= least)
    small = {
        clip.path: clip.frames.shape
        for clip, side in zip(library.clips, sides, strict=True)
        if side < least
    }
    problems = tuple(
        f"{path}: {shape[-1]}x{shape[-2]} is too small for squares of {least}"
        for path, shape in small.items()
    )
    return dataclasses.replace(
        library,
        clips=kept,
        n_frames=sum(len(clip.frames) for clip in kept),
        problems=library.problems + problems,
    )


def _split_shots(frames: list[np.ndarray]) -> list[list[np.ndarray]]:
    """Cut a video where the picture changes as a whole."""
    if len(frames) < 2:
        return [frames]
    small = np.stack([frame[::8, ::8].mean(axis=-1, dtype=np.float32) for frame in frames])
    change = np.abs(np.diff(small, axis=0)).mean(axis=(1, 2))  # between k and k + 1
    shots = []
    first = 0
    for k in range(len(change)):
        around = np.concatenate((change[max(0, k - 4) : k], change[k + 1 : k + 5]))
        calm = float(np.median(around)) if len(around) else 0.0
        if change[k] > _CUT_JUMP and change[k] > _CUT_RATIO * calm:
            shots.append(frames[first : k + 1])
            first = k + 1
    shots.append(frames[first:])
    return shots


class ClipSampler:
    """Endless batches of random situations from a library, and from synthetic scenes beside it.

    All that is done to pixels is done where the library lies, and nothing is asked of that device.

    scene_share: of the batches, how many are scenes; with 1 the library may be empty.
    shrink_share: of the windows, how many show up to twice as much, shrunk to the crop.
    generator: all choices are drawn from it (on the CPU); its state is the sampler's state.
    situation_generator: situations are drawn from this one instead, for processes that take their
    steps together and should have the same work to do.
    device: where the library lies, and scenes are made.
    """

    def __init__(
        self,
        library: ClipLibrary,
        *,
        batch_size: int,
        crop: int,
        max_gap: int,
        forecast_share: float,
        generator: torch.Generator,
        situation_generator: torch.Generator | None = None,
        scene_share: float = 0.0,
        shrink_share: float = 0.15,
        device: torch.device | str = "cpu",
    ) -> None:
        self.library = library
        self.batch_size = batch_size
        self.max_gap = max_gap
        self.forecast_share = forecast_share
        self.generator = generator
        self.situation_generator = situation_generator or generator
        self.scene_share = scene_share
        self.shrink_share = shrink_share
        self.crop = min([crop, *(min(clip.frames.shape[-2:]) for clip in library.clips)])
        self._lengths = torch.tensor([len(clip.frames) for clip in library.clips])
        self._scenes = SceneMaker(
            [clip.frames for clip in library.clips],
            size=(self.crop, self.crop),
            generator=generator,
            device=device,
        )

    def _draw(self, n: int, generator: torch.Generator | None = None) -> int:
        """A whole number in [0, n)."""
        return int(torch.randint(n, (), generator=generator or self.generator))

    def _chance(self, generator: torch.Generator | None = None) -> float:
        """A number in [0, 1)."""
        return float(torch.rand((), generator=generator or self.generator))

    def draw_situation(self) -> Situation:
        """Gap or forecast, length, context and stride: all at random, short gaps a bit oftener."""
        longest = int(self._lengths.max()) if len(self._lengths) else math.inf
        dice = self.situation_generator
        while True:
            forecast = self._chance(dice) < self.forecast_share
            # The smaller of two dice: length 1 is drawn about 15 times as often as the longest.
            n_missing = 1 + min(self._draw(self.max_gap, dice), self._draw(self.max_gap, dice))
            if forecast:
                n_before, n_after = (2, 3, 4, 6, 8)[self._draw(5, dice)], 0
                n_missing = 1 + self._draw(self.max_gap, dice)
            elif self._chance(dice) < 0.1:  # scraps of context must do as well
                n_before, n_after = 1 + self._draw(4, dice), 1 + self._draw(4, dice)
            else:
                n_before = n_after = (2, 3, 4, 4)[self._draw(4, dice)]
            stride = 2 if n_missing <= self.max_gap // 2 and self._chance(dice) < 0.25 else 1
            situation = Situation(n_before, n_missing, n_after, stride)
            if situation.span <= longest:
                return situation

    def draw(self) -> Batch:
        """The next batch; frames are on the library's device."""
        situation = self.draw_situation()
        if self.scene_share and self._chance(self.situation_generator) < self.scene_share:
            times = [k * situation.stride for k in range(situation.n_frames)]
            scene = self._scenes.draw(self.batch_size, times)
            return Batch(scene.render(), situation, scene)
        # A clip is drawn as often as it has places to cut from, up to a cap: variety first.
        places = (self._lengths - situation.span + 1).clamp(0, 64).float()
        chosen = torch.multinomial(
            places, self.batch_size, replacement=True, generator=self.generator
        )
        windows = [self._cut(self.library.clips[int(i)].frames, situation) for i in chosen]
        return Batch(torch.stack(windows).float() / 255, situation)

    def _cut(self, frames: Tensor, situation: Situation) -> Tensor:
        """One window (T, 3, crop, crop) uint8: place, mirror, turn, reverse, swap colours."""
        start = self._draw(len(frames) - situation.span + 1)
        window = frames[start : start + situation.span : situation.stride]
        height, width = window.shape[-2:]
        crop = self.crop
        # A larger part shrunk has finer texture, and more of the picture around what moves.
        larger = min(height, width, int(crop * (1 + self._chance())))
        shrink = self._chance() < self.shrink_share and larger > crop
        side = larger if shrink else crop
        top, left = self._draw(height - side + 1), self._draw(width - side + 1)
        window = window[..., top : top + side, left : left + side]
        if shrink:
            shrunk = F.interpolate(window.float(), size=(crop, crop), mode="area")
            window = shrunk.round().to(torch.uint8)
        if self._draw(2):
            window = window.flip(-1)
        if self._draw(2):
            window = window.flip(-2)
        if self._draw(2):
            window = window.transpose(-1, -2)
        if self._draw(2):
            window = window.flip(0)
        if self._draw(2):
            order = torch.randperm(3, generator=self.generator).tolist()
            # Indexing by a list would copy it to the device, and wait for that.
            window = torch.stack([window[:, channel] for channel in order], 1)
        return window
