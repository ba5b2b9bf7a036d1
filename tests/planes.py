"""Moving pictures as small luma planes, whole and damaged, for the tests of what detects damage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from framepred.observations import Observations, Observer

Plane = NDArray[np.float32]
Clip = list[Plane]


@lru_cache(maxsize=16)
def texture(seed: int, *, height: int = 160, width: int = 640) -> Plane:
    """A picture with structure at all sizes, levels about 20..235."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width))
    for size in (4, 8, 16, 32, 64):
        coarse = rng.normal(size=(height // size + 2, width // size + 2))
        rows, columns = np.arange(height) / size, np.arange(width) / size
        r, c = rows.astype(int), columns.astype(int)
        y, x = (rows - r)[:, None], (columns - c)[None, :]
        picture += np.sqrt(size) * (
            (1 - y) * (1 - x) * coarse[np.ix_(r, c)]
            + y * (1 - x) * coarse[np.ix_(r + 1, c)]
            + (1 - y) * x * coarse[np.ix_(r, c + 1)]
            + y * x * coarse[np.ix_(r + 1, c + 1)]
        )
    picture -= picture.min()
    # Each seed has its own light, as scenes have.
    low, high = [(5, 150), (60, 240), (20, 235), (110, 250)][seed % 4]
    levels = (low + picture * ((high - low) / picture.max())).astype(np.float32)
    levels.setflags(write=False)  # all who ask share it
    return levels


def pan(n: int, *, seed: int = 1, speed: float = 1.5, start: float = 0.0) -> Clip:
    """A camera that pans over a texture, with a little tremor in its speed."""
    picture = texture(seed)
    rng = np.random.default_rng(seed + 100)
    x = start + np.cumsum(speed * (1 + 0.1 * rng.standard_normal(n)))
    clip = []
    for at in x:
        whole, part = int(at), at - int(at)
        left = picture[60:150, whole : whole + 160]
        right = picture[60:150, whole + 1 : whole + 161]
        clip.append((left * (1 - part) + right * part).astype(np.float32))
    return clip


def pick(clip: Clip, indices: Sequence[int]) -> Clip:
    return [clip[i] for i in indices]


def freeze(clip: Clip, start: int, n: int) -> Clip:
    """Frames start .. start + n - 1 are lost; the one before is shown instead."""
    return pick(clip, [start - 1 if start <= i < start + n else i for i in range(len(clip))])


def noisy(clip: Clip, sigma: float) -> Clip:
    rng = np.random.default_rng(5)
    return [(f + rng.normal(0, sigma, f.shape)).clip(0, 255).astype(np.float32) for f in clip]


def black(n: int, *, like: Plane, level: float = 2.0) -> Clip:
    return noisy([np.full_like(like, level)] * n, 0.5)


def observe(clip: Clip, *, corrupt: Sequence[int] = (), signatures: bool = False) -> Observations:
    observer = Observer(keep_signatures=signatures)
    for i, frame in enumerate(clip):
        observer.add(frame, is_corrupt=i in corrupt)
    return observer.observations()


def still_shot() -> Clip:
    return noisy([texture(2)[:90, :160]] * 60, 0.3)


def slides() -> Clip:
    return [texture(seed)[:90, :160] for seed in range(2, 7) for _ in range(12)]


def moving_after_a_still() -> Clip:
    clip = pan(60)
    return pick(clip, [max(0, i - 30) for i in range(60)])


def pause_without_loss() -> Clip:
    clip = pan(60)
    return pick(clip, [i if i < 20 else max(20, i - 12) for i in range(60)])


def slowing_down_and_starting_again() -> Clip:
    picture = texture(1)
    speed = 2.0 * np.abs(np.cos(np.arange(60) / 60 * 2 * np.pi))
    return [picture[:90, int(4 * x) // 4 : int(4 * x) // 4 + 160] for x in np.cumsum(speed)]


def on(n: int) -> Callable[[], Clip]:
    return lambda: pick(pan(60), [i - i % n for i in range(60)])


def converted(every: int) -> Callable[[], Clip]:
    """Each `every`-th frame is shown twice: 24 frames a second shown at 30."""

    def make() -> Clip:
        clip = pan(60)
        return pick(clip, [j for i in range(60) for j in ([i, i] if i % every == 0 else [i])][:60])

    return make


def still_that_ends_in_a_cut() -> Clip:
    """A freeze-frame ending, as editors like it."""
    clip = pan(60)
    return [*pick(clip, [min(i, 25) for i in range(40)]), *pan(30, seed=9)]
