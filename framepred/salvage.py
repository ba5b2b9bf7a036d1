"""What is right in a damaged picture is kept; only the rest is taken from the one made anew.

Kept is what the decoder did not make up (see ``concealment``), unless it is far from what was made
anew: then it is what the decoder read before it noticed that the bits were wrong. How far is far
goes by the place: what is made anew is off at edges that move, and hardly anywhere else. Where it
is hopelessly off, as what was decoded beside shows, even what the decoder made up is kept.

Where a picture can be had as it was predicted, without coefficients that are spoilt, nothing of it
is made up: then each place is taken from that or from the damaged one, whichever is nearer to what
was made anew.

Where nothing tells what is wrong, what was decoded is kept where it is hardly farther from what was
made anew than the truth is likely to be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.filters import gaussian
from skimage.measure import label
from skimage.morphology import dilation, footprint_rectangle, isotropic_dilation
from skimage.transform import resize

from .colour import Image

__all__ = ["choose_nearer", "keep_plausible", "salvage_picture"]

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Chosen on 404 damaged frames of 96 gaps in H.264, MPEG-2 and MPEG-4; what they are worth on files
# is measured by ``samples/measure_mending.py``, and stands in ``docs/repair.md``.

# All of it is looked at in a copy whose shorter side has about so many pixels.
_SIDE = 256
_BLUR, _SEAM, _RING = 4.0, 2.0, 16.0  # pixels of that copy
# Decoded samples are believed up to a mean square of the difference, in levels of 0..255, of
# ``_FAR``; or up to so many times the error of what was made anew, and where that is large up to so
# many times its square, for nothing that was decoded is much worse then. At the most moving edges
# all three are higher.
_FAR, _FAR_BY_ERROR, _FAR_BY_SQUARE = 100.0, 4.0, 0.2
_FARTHEST = 16.0  # times as much at most
# A small patch, in pixels of that copy, that far away from all that was made up is no rubbish, but
# something fast that was not made well; unless slices are so short that rubbish is small too.
_SMALL, _AWAY = 400, 24
# Times as far where slices are no longer than a row: such a slice is made up from its beginning on.
_FAR_IN_ROWS = 10.0
# That error is at least what all but so many percent of the decoded samples show; the others may be
# rubbish. Fewer samples than this share tell nothing.
_TELLING, _FEWEST = 80, 0.05
# Above such an error beside it, what the decoder made up is replaced only if it differs by more.
_HOPELESS, _HOPELESS_TIMES = 1000.0, 2.0
# Where nothing tells what is wrong, decoded samples are believed up to so many times the error that
# is expected of what was made anew, or up to ``_ALIKE``; to less at rest, to more at moving edges.
# Chosen on 163 damaged frames in VP8 and VP9. (Behind lost packets that is worth nothing: what is
# predicted from the wrong picture looks plausible.)
_PLAUSIBLE, _ALIKE, _RESTING = 3.0, 1.0, 0.25
# Estimates beyond are not taken at their word, in dB: what is made may be worse than the lower one,
# but beside a blur blocks of rubbish look worse than PSNR says.
_LOWEST, _HIGHEST = 27.0, 45.0


def salvage_picture(
    damaged: Image,
    made: Image,
    concealed: Mask,
    neighbours: Sequence[Image],
    *,
    expected: float | None = None,
    in_rows: bool = False,
) -> tuple[Image, float]:
    """Put what is right in ``damaged`` into ``made``; return that, and the share of its area kept.

    damaged, made, neighbours: (H, W, 3) RGB of one type, uint8 or uint16; the last are the real
    pictures nearest in time, one or two. concealed: (H, W), what cannot be kept. expected: the PSNR
    of ``made`` (dB), if it was estimated. in_rows: whether the coded slices are rows or less.

    Raises ValueError if the shapes differ.
    """
    _check_shapes(damaged, made, *neighbours)
    step = max(1, round(min(made.shape[:2]) / _SIDE))
    missing = guessed = _reduce(concealed, step, np.max).astype(bool)
    raw = _measure_difference(damaged, made, step)
    difference = _blur(raw, _BLUR)
    usual = np.maximum(_find_edges(made, neighbours, step), 1)
    error = 0.0 if expected is None else 255**2 * 10 ** (-expected / 10)
    if (~guessed).mean() > _FEWEST:
        error = max(error, float(np.percentile((difference / usual)[~guessed], _TELLING)))
        guessed = guessed & ~_is_hopeless(raw, difference, guessed)
    far = max(_FAR, _FAR_BY_ERROR * error, _FAR_BY_SQUARE * error**2)
    is_rubbish = difference > far * usual * (_FAR_IN_ROWS if in_rows else 1)
    if not in_rows:
        is_rubbish &= ~_find_isolated(is_rubbish, missing)
    if not (is_rubbish | guessed).any():
        return damaged, 1.0
    weight = np.maximum(_soften(guessed, _SEAM), _soften(is_rubbish, _BLUR))
    kept = float(1 - weight.mean())
    if step > 1:
        guessed = guessed.repeat(step, 0).repeat(step, 1)
    height, width = concealed.shape
    guessed = (concealed & guessed[:height, :width])[..., None]
    weight = np.where(guessed, 1, _enlarge(weight, step, made))
    return _mix(made, damaged, weight), kept


def keep_plausible(
    damaged: Image, made: Image, neighbours: Sequence[Image], *, expected: float
) -> tuple[Image, float]:
    """Put what may be right in ``damaged`` into ``made``; return that, and the share kept.

    As ``salvage_picture``, where nobody knows what is wrong; expected: the PSNR of ``made`` (dB).

    Raises ValueError if the shapes differ.
    """
    _check_shapes(damaged, made, *neighbours)
    step = max(1, round(min(made.shape[:2]) / _SIDE))
    difference = _blur(_measure_difference(damaged, made, step), _BLUR)
    usual = np.maximum(_find_edges(made, neighbours, step), _RESTING)
    error = 255**2 * 10 ** (-min(max(expected, _LOWEST), _HIGHEST) / 10)
    far = np.maximum(_PLAUSIBLE * error * usual / usual.mean(), _ALIKE)
    weight = _soften(difference > far, _BLUR)
    kept = float(1 - weight.mean())
    return _mix(made, damaged, _enlarge(weight, step, made)), kept


def choose_nearer(damaged: Image, predicted: Image, made: Image) -> Image:
    """Put ``damaged`` into ``predicted`` wherever it is nearer to ``made``; the seams are soft.

    All are (H, W, 3) RGB of one type, uint8 or uint16. Raises ValueError if the shapes differ.
    """
    _check_shapes(damaged, predicted, made)
    step = max(1, round(min(made.shape[:2]) / _SIDE))
    far, near = (
        _blur(_measure_difference(picture, made, step), _BLUR) for picture in (predicted, damaged)
    )
    weight = _enlarge(_blur((near < far).astype(np.float32), _SEAM), step, made)
    return _mix(damaged, predicted, weight)


def _check_shapes(*pictures: Image) -> None:
    if any(picture.shape != pictures[0].shape for picture in pictures):
        raise ValueError(f"expected pictures of one shape, got {pictures[0].shape} and others")


def _is_hopeless(raw: Plane, difference: Plane, guessed: Mask) -> Mask:
    """Whether what is made anew is so far off around a place that a guess is no worse there."""
    known = (~guessed).astype(np.float32)
    usual = float(raw[~guessed].mean())  # where nothing around is known
    error = (_blur(raw * known, _RING) + 0.02 * usual) / (_blur(known, _RING) + 0.02)
    hopeless: Mask = (error > _HOPELESS) & (difference < _HOPELESS_TIMES * error)
    return hopeless


def _find_isolated(mask: Mask, origin: Mask) -> Mask:
    """Return the small patches of ``mask`` that lie away from all of ``origin``."""
    patches = label(mask, connectivity=1)
    is_isolated = np.bincount(patches.ravel()) <= _SMALL
    is_isolated[0] = False
    is_isolated[np.unique(patches[isotropic_dilation(origin, _AWAY)])] = False
    isolated: Mask = is_isolated[patches]
    return isolated


def _soften(mask: Mask, width: float) -> Plane:
    """One within, and falling to zero outside over some pixels."""
    side = 2 * int(width) + 1
    grown = dilation(mask.astype(np.float32), footprint_rectangle((side, side)))
    soft: Plane = np.where(mask, 1, _blur(grown, width)).clip(0, 1)
    return soft


def _measure_difference(one: Image, other: Image, step: int) -> Plane:
    """Mean square over the channels and blocks of ``step`` pixels, in levels of 0..255."""
    scale = np.float32(255 / np.iinfo(one.dtype).max)
    difference = (one.astype(np.float32) - other.astype(np.float32)) * scale
    return _reduce(np.square(difference).mean(-1), step, np.mean)


def _find_edges(made: Image, neighbours: Sequence[Image], step: int) -> Plane:
    """How much a place is of an edge that moves, 1 on average, ``_FARTHEST`` at most."""
    if not neighbours:
        raise ValueError("expected a picture beside")
    moved = np.max([_measure_difference(made, near, step) for near in neighbours], axis=0)
    edges = _blur(np.sqrt(moved * _measure_slope(made, step)), _BLUR)
    found: Plane = np.minimum(edges / max(float(edges.mean()), 1e-3), _FARTHEST)
    return found


def _measure_slope(picture: Image, step: int) -> Plane:
    """Square of the slope of the luma, in levels of 0..255 a pixel of the small copy."""
    luma = picture.astype(np.float32) @ np.array((0.299, 0.587, 0.114), np.float32)
    small = _reduce(luma * np.float32(255 / np.iinfo(picture.dtype).max), step, np.mean)
    down, right = (
        np.gradient(small, axis=axis) if small.shape[axis] > 1 else np.zeros_like(small)
        for axis in (0, 1)
    )
    slope: Plane = down * down + right * right
    return slope


def _reduce(plane: NDArray[Any], step: int, how: Callable[..., Any]) -> Plane:
    """One number for each block of ``step`` pixels a side; what the last ones lack is copied."""
    height, width = plane.shape
    padded = np.pad(plane, ((0, -height % step), (0, -width % step)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
    reduced: Plane = how(blocks, axis=(1, 3)).astype(np.float32)
    return reduced


def _mix(one: Image, other: Image, weight: Plane) -> Image:
    """The weighted mean of two pictures; weight: (H, W, 1), of the first."""
    mixed = weight * one.astype(np.float32) + (1 - weight) * other.astype(np.float32)
    rounded: Image = np.rint(mixed).astype(one.dtype)
    return rounded


def _enlarge(weight: Plane, step: int, like: Image) -> Plane:
    """From one number for each block to (H, W, 1), as large as the picture."""
    if step > 1:
        weight = resize(weight, [n * step for n in weight.shape], order=1)
    large: Plane = weight[: like.shape[0], : like.shape[1], None]
    return large


def _blur(plane: Plane, width: float) -> Plane:
    blurred: Plane = gaussian(plane, width, mode="nearest", preserve_range=True)
    return blurred
