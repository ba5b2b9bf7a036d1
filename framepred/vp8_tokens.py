"""The coefficients of VP8's blocks, read but not kept (RFC 6386, section 13).

This is most of a stream, and read bool by bool. What ``BoolReader.read`` does is therefore written
out wherever it is needed, its state in local variables: that takes half of the time.
"""

from __future__ import annotations

from collections.abc import Sequence

from .bool_coder import SHIFTS, SPLITS, BoolReader
from .vp8_headers import Header
from .vp8_modes import HAS_COEFFICIENTS, LACKS_MEANS

__all__ = ["read_tokens"]

_BANDS = (0, 1, 2, 3, 6, 4, 5, 6, 6, 6, 6, 6, 6, 6, 6, 7)
_N_NODES = 11  # of a token's tree
_WITHOUT_FIRST, _MEANS, _CHROMA, _WITH_FIRST = range(4)  # types of blocks

# The luma's means, the luma, the chroma: the block's type, its first coefficient, and the place of
# what is known of the blocks above it and to its left.
_Block = tuple[int, int, int, int]
_COLOURS: tuple[_Block, ...] = tuple(
    (_CHROMA, 0, 4 + 2 * plane + i % 2, 4 + 2 * plane + i // 2)
    for plane in range(2)
    for i in range(4)
)
_LAYOUTS: tuple[tuple[_Block, ...], ...] = (
    (
        (_MEANS, 0, 8, 8),
        *((_WITHOUT_FIRST, 1, i % 4, i // 4) for i in range(16)),
        *_COLOURS,
    ),
    (*((_WITH_FIRST, 0, i % 4, i // 4) for i in range(16)), *_COLOURS),
)
_NO_MEANS = 8  # places that are not the means'

# A token's tree behind "more than one" (13.2): places, or with a minus what bits follow.
_FALSE = (0, 0, 0, 4, 0, 0, 7, -1, 9, -3, -5)
_TRUE = (0, 0, 0, 6, 5, 0, 8, -2, 10, -4, -6)
_EXTRA = (
    (),
    (159,),
    (165, 145),
    (173, 148, 140),
    (176, 155, 140, 135),
    (180, 157, 141, 134, 130),
    (254, 254, 243, 230, 196, 177, 153, 140, 133, 130, 129),
)
_SIGN = 128
_RESTS = tuple(tuple(SPLITS[p] for p in (*extra, _SIGN)) for extra in _EXTRA)

# By type, coefficient, context and node of the tree.
_Splits = list[list[tuple[Sequence[bytes], ...]]]


def read_tokens(header: Header, kinds: Sequence[Sequence[int]]) -> None:
    """Read all coefficients of a frame.

    :param kinds: of the macroblocks, by rows.

    Raises IndexError: a partition ends too early.
    """
    splits = _lay_out(header.probabilities.coefficients)
    above = [[0] * 9 for _ in range(header.n_columns)]
    for y, row in enumerate(kinds):
        _read_row(header.others[y % len(header.others)], row, above, splits)


def _lay_out(probabilities: bytes) -> _Splits:
    tables = [SPLITS[p] for p in probabilities]
    contexts = [tables[i : i + _N_NODES] for i in range(0, len(tables), _N_NODES)]
    bands = [tuple(contexts[i : i + 3]) for i in range(0, len(contexts), 3)]
    return [[bands[8 * kind + band] for band in _BANDS] for kind in range(4)]


def _read_row(
    bools: BoolReader, kinds: Sequence[int], above: Sequence[list[int]], splits: _Splits
) -> None:
    """Read a row of macroblocks; ``above`` tells which blocks of the row before have any."""
    shifts, words, rests = SHIFTS, bools.words, _RESTS
    value, size, n_below, place = bools.value, bools.size, bools.n_below, bools.place
    layouts = [
        [
            (splits[kind], splits[kind][first], first, column, line)
            for kind, first, column, line in layout
        ]
        for layout in _LAYOUTS
    ]
    left = [0] * 9
    for kind, up in zip(kinds, above, strict=True):
        if not kind & HAS_COEFFICIENTS:
            n = _NO_MEANS if kind & LACKS_MEANS else 9
            up[:n] = left[:n] = [0] * n
            continue
        for table, contexts, i, column, line in layouts[kind & LACKS_MEANS]:
            nodes = contexts[up[column] + left[line]]
            has_any = 0
            while True:
                # Is this the end of the block?
                split = nodes[0][size]
                bound = split << n_below
                if value < bound:
                    if split < 128:
                        shift = shifts[split]
                        size = split << shift
                        n_below -= shift
                        if n_below < 0:
                            value = value << 16 | words[place]
                            place += 1
                            n_below += 16
                    else:
                        size = split
                    break
                value -= bound
                size -= split
                if size < 128:
                    shift = shifts[size]
                    size <<= shift
                    n_below -= shift
                    if n_below < 0:
                        value = value << 16 | words[place]
                        place += 1
                        n_below += 16
                has_any = 1
                # Zeros, behind which a block does not end.
                split = nodes[1][size]
                bound = split << n_below
                while value < bound:
                    if split < 128:
                        shift = shifts[split]
                        size = split << shift
                        n_below -= shift
                        if n_below < 0:
                            value = value << 16 | words[place]
                            place += 1
                            n_below += 16
                    else:
                        size = split
                    i += 1
                    if i == 16:
                        break
                    nodes = table[i][0]
                    split = nodes[1][size]
                    bound = split << n_below
                if i == 16:
                    break
                value -= bound
                size -= split
                if size < 128:
                    shift = shifts[size]
                    size <<= shift
                    n_below -= shift
                    if n_below < 0:
                        value = value << 16 | words[place]
                        place += 1
                        n_below += 16
                # One, or more?
                split = nodes[2][size]
                bound = split << n_below
                context, rest = 1, 0
                if value < bound:
                    size = split
                else:
                    value -= bound
                    size -= split
                    context, rest = 2, 3
                if size < 128:
                    shift = shifts[size]
                    size <<= shift
                    n_below -= shift
                    if n_below < 0:
                        value = value << 16 | words[place]
                        place += 1
                        n_below += 16
                while rest > 0:
                    split = nodes[rest][size]
                    bound = split << n_below
                    if value < bound:
                        size = split
                        rest = _FALSE[rest]
                    else:
                        value -= bound
                        size -= split
                        rest = _TRUE[rest]
                    if size < 128:
                        shift = shifts[size]
                        size <<= shift
                        n_below -= shift
                        if n_below < 0:
                            value = value << 16 | words[place]
                            place += 1
                            n_below += 16
                # What is left of the number, and its sign.
                for table_of_bit in rests[-rest]:
                    split = table_of_bit[size]
                    bound = split << n_below
                    if value < bound:
                        size = split
                    else:
                        value -= bound
                        size -= split
                    if size < 128:
                        shift = shifts[size]
                        size <<= shift
                        n_below -= shift
                        if n_below < 0:
                            value = value << 16 | words[place]
                            place += 1
                            n_below += 16
                i += 1
                if i == 16:
                    break
                nodes = table[i][context]
            up[column] = left[line] = has_any
    bools.value, bools.size, bools.n_below, bools.place = value, size, n_below, place
