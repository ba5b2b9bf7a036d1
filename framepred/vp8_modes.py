"""The modes and motion vectors of VP8's macroblocks (RFC 6386, sections 8, 11, 16 to 19.3).

Of these only so much is kept as the reading of the rest needs: whether a macroblock has
coefficients, and whether those of its luma's means lie in a block of their own ("Y2").
"""

from __future__ import annotations

from collections.abc import Sequence

from . import vp8_tables as tables
from .bool_coder import BoolReader
from .vp8_headers import Header

__all__ = ["HAS_COEFFICIENTS", "LACKS_MEANS", "read_kinds"]

# A macroblock's kind is the sum of these.
LACKS_MEANS = 1
HAS_COEFFICIENTS = 2

Vector = tuple[int, int]  # rows and columns, in eighths of a pixel

_DC, _VERTICAL, _HORIZONTAL, _TRUE_MOTION, _SUBBLOCKS = range(5)  # modes of intra prediction
# Trees: leaves are negated (8.1).
_LUMA = (-_DC, 2, 4, 6, -_VERTICAL, -_HORIZONTAL, -_TRUE_MOTION, -_SUBBLOCKS)
_KEY_LUMA = (-_SUBBLOCKS, 2, 4, 6, -_DC, -_VERTICAL, -_HORIZONTAL, -_TRUE_MOTION)
_CHROMA = (-_DC, 2, -_VERTICAL, 4, -_HORIZONTAL, -_TRUE_MOTION)
_SUBBLOCK = (0, 2, -1, 4, -2, 6, 8, 12, -3, 10, -5, -6, -4, 14, -7, 16, -8, -9)
_IMPLIED = {_DC: 0, _VERTICAL: 2, _HORIZONTAL: 3, _TRUE_MOTION: 1}  # the mode of its subblocks
_N_MODES = 10  # of subblocks
_N_NODES = 9  # of their tree

_NEAR = ((7, 1, 1, 143), (14, 18, 14, 107), (135, 64, 57, 68), (60, 56, 128, 65),
         (159, 134, 128, 34), (234, 188, 128, 28))  # fmt: skip
"""Of modes of inter prediction, by how much speaks for each (16.3)."""
_STILL: Vector = (0, 0)
_MARGIN = 16 << 3  # that a neighbour's vector may reach beyond the picture

_SPLITS = (
    (0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1),
    (0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1),
    (0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3),
    tuple(range(16)),
)
"""The parts of a macroblock that its subblocks belong to (16.3)."""
_SPLIT = (-3, 2, -2, 4, 0, -1)
_SPLIT_PROBABILITIES = (110, 111, 150)
_LEFT, _ABOVE, _ZERO, _NEW = range(4)
_PART = (-_LEFT, 2, -_ABOVE, 4, -_ZERO, -_NEW)
_PART_PROBABILITIES = ((147, 136, 18), (106, 145, 1), (179, 121, 1), (223, 1, 34), (208, 1, 1))
"""Of a part's vector, by those beside it: neither, left is zero, above is zero, same, both zero."""

# Places in a component's probabilities (17.2), and its length.
_IS_LONG, _SIGN, _SHORT, _LONG, _N_MOTION = 0, 1, 2, 9, 19
_SHORT_TREE = (2, 8, 4, 6, 0, -1, -2, -3, 10, 12, -4, -5, -6, -7)
_LONG_BITS = (0, 1, 2, 9, 8, 7, 6, 5, 4)  # in their order; bit 3 is the last


def read_kinds(header: Header) -> list[bytearray]:
    """Read all macroblocks' modes; return their kinds, by rows.

    Raises IndexError: the first partition ends too early.
    """
    return _read_key_frame(header) if header.is_key else _InterFrame(header).read()


def _read_key_frame(header: Header) -> list[bytearray]:
    bools = header.first
    above = [0] * 4 * header.n_columns
    rows = []
    for _ in range(header.n_rows):
        left = [0] * 4
        row = bytearray()
        for x in range(0, len(above), 4):
            kind = _read_beginning(bools, header)
            mode = bools.read_tree(_KEY_LUMA, tables.KEY_LUMA_MODES)
            if mode == _SUBBLOCKS:
                kind |= LACKS_MEANS
                for i in range(16):
                    column, line = x + i % 4, i // 4
                    place = (above[column] * _N_MODES + left[line]) * _N_NODES
                    nodes = tables.KEY_SUBBLOCK_MODES[place : place + _N_NODES]
                    above[column] = left[line] = bools.read_tree(_SUBBLOCK, nodes)
            else:
                above[x : x + 4] = left[:] = [_IMPLIED[mode]] * 4
            bools.read_tree(_CHROMA, tables.KEY_CHROMA_MODES)
            row.append(kind)
        rows.append(row)
    return rows


def _read_beginning(bools: BoolReader, header: Header) -> int:
    """Read what each macroblock begins with: its segment, and whether it has coefficients."""
    if header.segment is not None:
        bools.read(header.segment[1 + bools.read(header.segment[0])])
    if header.skip is not None and bools.read(header.skip):
        return 0
    return HAS_COEFFICIENTS


class _InterFrame:
    """Reads the macroblocks of a frame that is predicted from others.

    What is known of macroblocks lies in lists with a column to their left and a row above them.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        self._bools = header.first
        self._stride = header.n_columns + 1
        n = self._stride * (header.n_rows + 1) + 1
        self._references = [0] * n  # 0: predicted from none
        self._vectors: list[Vector | None] = [None] * n  # None: none, or it does not move
        self._parts: list[list[Vector] | None] = [None] * n  # of 16 subblocks, where split
        self._motion = header.probabilities.motion
        self._is_backward = header.is_backward
        # Rows and columns, in vectors' units, from the first place to the last that they point to.
        self._reach = tuple((n - 1 << 7) + 2 * _MARGIN for n in (header.n_rows, header.n_columns))

    def read(self) -> list[bytearray]:
        header, read = self._header, self._bools.read
        references, vectors, stride = self._references, self._vectors, self._stride
        rows = []
        for y in range(header.n_rows):
            row = bytearray()
            for x in range(header.n_columns):
                kind = _read_beginning(self._bools, header)
                place = (y + 1) * stride + x + 1
                if read(header.inter):
                    references[place] = 2 + read(header.golden) if read(header.last) else 1
                    up, side, corner = place - stride, place - 1, place - stride - 1
                    if vectors[up] or vectors[side] or vectors[corner]:
                        kind |= self._read_among_moving(place, (y, x))
                    else:
                        still = (
                            (2 if references[up] else 0)
                            + (2 if references[side] else 0)
                            + (1 if references[corner] else 0)
                        )
                        if read(_NEAR[still][0]):
                            kind |= self._read_vector(place, (still, 0, 0), (_STILL,) * 3, (y, x))
                else:
                    kind |= self._read_intra()
                row.append(kind)
            rows.append(row)
        return rows

    def _read_intra(self) -> int:
        """Read the modes of a macroblock that is predicted from this picture; its kind."""
        bools, probabilities = self._bools, self._header.probabilities
        kind = 0
        if bools.read_tree(_LUMA, probabilities.luma_modes) == _SUBBLOCKS:
            kind = LACKS_MEANS
            for _ in range(16):
                bools.read_tree(_SUBBLOCK, tables.SUBBLOCK_MODES)
        bools.read_tree(_CHROMA, probabilities.chroma_modes)
        return kind

    def _read_among_moving(self, place: int, at: tuple[int, int]) -> int:
        """Read the vector of a macroblock that has one beside it that moves (16.3); its kind."""
        references, vectors = self._references, self._vectors
        mine = self._is_backward[references[place]]
        near = [_STILL]
        weights = [0, 0, 0, 0]
        up, side = place - self._stride, place - 1
        for other, weight in ((up, 2), (side, 2), (up - 1, 1)):
            vector = vectors[other]
            if vector:
                if self._is_backward[references[other]] != mine:
                    vector = -vector[0], -vector[1]
                if vector != near[-1]:
                    near.append(vector)
                weights[len(near) - 1] += weight
            elif references[other]:
                weights[0] += weight
        if weights[3] and near[3] == near[1]:
            weights[1] += 1
        near += [_STILL] * (3 - len(near))
        if weights[2] > weights[1]:
            weights[1:3] = weights[2], weights[1]
            near[1:3] = near[2], near[1]
        if not self._bools.read(_NEAR[weights[0]][0]):
            return 0
        best = near[1] if weights[1] >= weights[0] else _STILL
        return self._read_vector(
            place, (weights[0], weights[1], weights[2]), (best, near[1], near[2]), at
        )

    def _read_vector(
        self,
        place: int,
        weights: tuple[int, int, int],
        near: tuple[Vector, Vector, Vector],
        at: tuple[int, int],
    ) -> int:
        """Read the vector of a macroblock that moves; return its kind, as far as this tells.

        :param weights: what speaks for no motion, the nearest vector and the next.
        :param near: what vectors are counted from, the nearest and the next.
        :param at: the row and the column.
        """
        read = self._bools.read
        best, nearest, second = near
        if not read(_NEAR[weights[1]][1]):
            vector = self._clamp(nearest, at)
        elif not read(_NEAR[weights[2]][2]):
            vector = self._clamp(second, at)
        else:
            best = self._clamp(best, at)
            up, side, corner = place - self._stride, place - 1, place - self._stride - 1
            n_split = (
                2 * (self._parts[up] is not None)
                + 2 * (self._parts[side] is not None)
                + (self._parts[corner] is not None)
            )
            if read(_NEAR[n_split][3]):
                parts = self._read_parts(best, self._list_parts(side), self._list_parts(up))
                self._parts[place] = parts
                self._vectors[place] = _or_none(parts[-1])
                return LACKS_MEANS
            vector = self._read_difference(best)
        self._vectors[place] = _or_none(vector)
        return 0

    def _clamp(self, vector: Vector, at: tuple[int, int]) -> Vector:
        """Keep what a vector points to within reach of the picture."""
        y, x = at
        down, right = vector
        top, left = -(y << 7) - _MARGIN, -(x << 7) - _MARGIN
        bottom, end = top + self._reach[0], left + self._reach[1]
        if top <= down <= bottom and left <= right <= end:
            return vector
        return min(max(down, top), bottom), min(max(right, left), end)

    def _list_parts(self, place: int) -> Sequence[Vector]:
        """The vectors of a macroblock's subblocks."""
        return self._parts[place] or (self._vectors[place] or _STILL,) * 16

    def _read_parts(
        self, best: Vector, left: Sequence[Vector], above: Sequence[Vector]
    ) -> list[Vector]:
        """Read a vector for each part of a macroblock; return those of its subblocks."""
        bools = self._bools
        split = _SPLITS[bools.read_tree(_SPLIT, _SPLIT_PROBABILITIES)]
        vectors = [_STILL] * 16
        for part in range(split[-1] + 1):
            i = split.index(part)
            to_left = vectors[i - 1] if i % 4 else left[i + 3]
            to_top = vectors[i - 4] if i > 3 else above[i + 12]
            if to_left == to_top:
                context = 3 if any(to_top) else 4
            elif not any(to_top):
                context = 2
            else:
                context = 0 if any(to_left) else 1
            which = bools.read_tree(_PART, _PART_PROBABILITIES[context])
            if which == _NEW:
                vector = self._read_difference(best)
            else:
                vector = (to_left, to_top, _STILL)[which]
            for j in range(i, 16):
                if split[j] == part:
                    vectors[j] = vector
        return vectors

    def _read_difference(self, best: Vector) -> Vector:
        row = self._read_component(self._motion[:_N_MOTION])
        column = self._read_component(self._motion[_N_MOTION:])
        return best[0] + 2 * row, best[1] + 2 * column

    def _read_component(self, probabilities: bytes) -> int:
        """Read a component of a vector (17.2), in quarters of a pixel."""
        read = self._bools.read
        if read(probabilities[_IS_LONG]):
            size = 0
            for i in _LONG_BITS:
                size |= read(probabilities[_LONG + i]) << i
            # Without a higher bit this one is set, or the number would not be a long one.
            if size < 16 or read(probabilities[_LONG + 3]):
                size |= 8
        else:
            size = self._bools.read_tree(_SHORT_TREE, probabilities[_SHORT:_LONG])
        return -size if size and read(probabilities[_SIGN]) else size


def _or_none(vector: Vector) -> Vector | None:
    return vector if any(vector) else None
