"""VP8's arithmetic code: bools, each with a probability of being false (RFC 6386, section 7)."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence

__all__ = ["SHIFTS", "SPLITS", "BoolReader"]

# Of the range 1..255 what a false bool takes, by its probability in 256ths and the range.
SPLITS = [bytes([0, *(1 + ((size - 1) * p >> 8) for size in range(1, 256))]) for p in range(256)]
# Bits by which a range is to be shifted, to be at least 128 again.
SHIFTS = bytes(8 - size.bit_length() for size in range(256))

_EVEN = 128  # the probability of what is as often true as false
_WORD = 16  # bits that are fetched at once
_N_SPARE = 4  # words of zeros behind the end, that a reader may see


class BoolReader:
    """Reads bools from the front of a partition; IndexError far behind its end.

    What a loop needs that reads without calls are its attributes: the bools to come are a number
    ``value``, of which the lowest ``n_below`` bits lie below the range, and the words from
    ``place`` on::

        value < SPLITS[p][size] << n_below      the next bool is false
    """

    __slots__ = ("_n_bytes", "n_below", "place", "size", "value", "words")

    def __init__(self, data: bytes) -> None:
        n_words = len(data) // 2 + _N_SPARE
        self.words = array("H", data.ljust(2 * n_words, b"\0"))
        if sys.byteorder == "little":
            self.words.byteswap()
        self._n_bytes = len(data)
        self.value = self.words[0]
        self.place = 1
        self.size = 255  # of the range
        self.n_below = _WORD - 8

    def read(self, p: int) -> int:
        """Read a bool that is false with probability p/256."""
        split = SPLITS[p][self.size]
        bound = split << self.n_below
        is_true = int(self.value >= bound)
        if is_true:
            self.value -= bound
            split = self.size - split
        shift = SHIFTS[split]
        self.size = split << shift
        self.n_below -= shift
        if self.n_below < 0:
            self.value = self.value << _WORD | self.words[self.place]
            self.place += 1
            self.n_below += _WORD
        return is_true

    def read_number(self, n_bits: int) -> int:
        """Read an unsigned number."""
        number = 0
        for _ in range(n_bits):
            number = number << 1 | self.read(_EVEN)
        return number

    def skip_signed(self, n_bits: int) -> None:
        """Read a number and its sign, if there is one, as a flag before it says."""
        if self.read(_EVEN):
            self.read_number(n_bits + 1)

    def read_tree(self, tree: Sequence[int], probabilities: Sequence[int]) -> int:
        """Read a leaf (8.1): branches are places in the tree, leaves are negated."""
        place = 0
        while True:
            place = tree[place + self.read(probabilities[place >> 1])]
            if place <= 0:
                return -place

    @property
    def n_left(self) -> int:
        """Bits that have not been read, negative behind the end."""
        return 8 * self._n_bytes - self._n_read

    @property
    def has_ended(self) -> bool:
        """Whether all has been read of what libvpx would have written, and no more.

        It ends a partition with 32 bools that are false, half of them written out. They say no more
        than where in the range all before them has led, so that nothing remains of the value.
        """
        n_written = self._n_read + _WORD - (self.size == 255)  # of 255 a false bool takes no bit
        return self._n_bytes == n_written // 8 and self.has_zeros_left

    @property
    def has_zeros_left(self) -> bool:
        """Whether nothing is left to be read but bools that are false, whatever they are."""
        return not self.value and not any(self.words[self.place :])

    @property
    def _n_read(self) -> int:
        return _WORD * self.place - 8 - self.n_below
