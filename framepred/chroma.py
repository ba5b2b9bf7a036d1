"""Chroma planes brought to the size of the luma and back, whole or in strips of rows.

Chroma is taken to lie where MPEG-2 and its successors put it: on the left luma column, midway
between two luma rows. It is upsampled by bilinear interpolation and downsampled by the exact
inverse of that (with a zero at the luma Nyquist frequency), so that a picture survives the way
to RGB and back but for the rounding of RGB::

    across  up: c0 (c0+c1)/2 c1 ...      down: (-1  2  6  2 -1) / 8   around each even column
    down    up: (1 3)/4, (3 1)/4 ...     down: (-1  3  3 -1) / 4      around each pair of rows

A strip needs some rows beside it, which are taken from the whole plane; so it becomes what the
whole plane would have become there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["enlarge_columns", "enlarge_rows", "shrink_columns", "shrink_rows", "widen"]

Plane = NDArray[np.float32]

_BESIDE = 2  # rows of chroma on each side of a strip that its own ones are made from, at most


def enlarge_rows(read: Callable[[slice], Plane], rows: slice, step: int) -> Plane:
    """Rows ``rows`` of the luma's of a plane that has one for each ``step`` of them.

    read: gives a copy of some of the plane's own rows, of which the last may lie beyond its end.
    """
    beside = _BESIDE if step > 1 else 0
    first = max(0, rows.start // step - beside)
    made = read(slice(first, -(-rows.stop // step) + beside))
    top = rows.start - first * step
    while step > 1:
        made = _double_rows(made)
        step //= 2
    return made[top : top + rows.stop - rows.start]


def enlarge_columns(plane: Plane, step: int, width: int) -> Plane:
    """A plane with one column for each ``step`` of the luma's, as ``width`` of them."""
    while step > 1:
        plane = _double_columns(plane)
        step //= 2
    return plane[:, :width]


def shrink_columns(plane: Plane, step: int) -> Plane:
    """One column for each ``step`` columns."""
    while step > 1:
        plane = _halve_columns(plane)
        step //= 2
    return plane


def widen(rows: slice, step: int, height: int) -> slice:
    """The rows that ``shrink_rows`` needs to make the chroma of ``rows``."""
    beside = step if step > 1 else 0
    return slice(max(0, rows.start - beside), min(height, rows.stop + beside))


def shrink_rows(plane: Plane, wide: slice, rows: slice, step: int) -> Plane:
    """One row for each ``step`` rows, those that lie in ``rows``; the plane has those of ``wide``.

    rows: begins at a multiple of ``step``.
    """
    top = (rows.start - wide.start) // step
    n_rows = -(-(rows.stop - rows.start) // step)
    while step > 1:
        plane = _halve_rows(plane)
        step //= 2
    return plane[top : top + n_rows]


def _double_rows(plane: Plane) -> Plane:
    made = np.empty((2 * plane.shape[0], plane.shape[1]), np.float32)
    near, far = np.float32(0.75) * plane, np.float32(0.25) * plane
    np.add(near[1:], far[:-1], out=made[2::2])
    np.add(near[:-1], far[1:], out=made[1:-1:2])
    made[0] = near[0] + far[0]
    made[-1] = near[-1] + far[-1]
    return made


def _double_columns(plane: Plane) -> Plane:
    made = np.empty((plane.shape[0], 2 * plane.shape[1]), np.float32)
    made[:, 0::2] = plane
    between = plane[:, :-1] + plane[:, 1:]
    between *= np.float32(0.5)
    made[:, 1:-1:2] = between
    made[:, -1] = plane[:, -1]
    return made


def _halve_rows(plane: Plane) -> Plane:
    if plane.shape[0] % 2:
        # The row that an odd height lacks, as upsampling would have made it.
        last = 1.5 * plane[-1:] - 0.5 * plane[-2:-1] if plane.shape[0] > 1 else plane
        plane = np.concatenate((plane, last))
    even, odd = plane[0::2], plane[1::2]
    inner = even + odd
    inner *= np.float32(0.75)
    outer = np.concatenate((even[:1], odd[:-1]))
    outer += np.concatenate((even[1:], odd[-1:]))
    outer *= np.float32(0.25)
    inner -= outer
    return inner


def _halve_columns(plane: Plane) -> Plane:
    n_columns = plane.shape[1]
    # Every other column by itself, with those beyond the edges like the last ones there.
    even = np.empty((plane.shape[0], (n_columns + 1) // 2 + 2), np.float32)
    odd = np.empty((plane.shape[0], even.shape[1] - 1), np.float32)
    even[:, 1:-1] = plane[:, 0::2]
    odd[:, 1 : 1 + n_columns // 2] = plane[:, 1::2]
    even[:, 0] = odd[:, 0] = plane[:, 0]
    even[:, -1] = plane[:, -1]
    odd[:, 1 + n_columns // 2 :] = plane[:, -1:]
    made = np.float32(0.75) * even[:, 1:-1]
    part = odd[:, :-1] + odd[:, 1:]
    part *= np.float32(0.25)
    made += part
    np.add(even[:, :-2], even[:, 2:], out=part)
    part *= np.float32(0.125)
    made -= part
    return made
