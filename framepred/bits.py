"""Headers bit by bit, and the bytes that keep start codes out of NAL units."""

from __future__ import annotations

import re

__all__ = ["Bits", "escape", "unescape"]


def unescape(data: bytes) -> bytes:
    """Take out the bytes that stand where a NAL unit would look like a start code otherwise."""
    return data.replace(b"\0\0\3", b"\0\0")


def escape(data: bytes) -> bytes:
    """Put in the bytes that ``unescape`` takes out."""
    return re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\0\0\3", data)


class Bits:
    """Reads bits from the front; ValueError where there are no more."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def read(self, n: int) -> int:
        stop = self._place + n
        if stop > 8 * len(self._data):
            raise ValueError("a header is cut off")
        first, last = self._place // 8, (stop + 7) // 8
        value = int.from_bytes(self._data[first:last], "big") >> (8 * last - stop)
        self._place = stop
        return value & ((1 << n) - 1)

    @property
    def n_bytes(self) -> int:
        """Bytes of which something has been read."""
        return (self._place + 7) // 8

    def read_golomb(self) -> int:
        n = 0
        while not self.read(1):
            n += 1
            if n > 32:
                raise ValueError("a header makes no sense")
        return (1 << n) - 1 + (self.read(n) if n else 0)

    def read_signed(self) -> int:
        value = self.read_golomb()
        return (value + 1) // 2 if value % 2 else -(value // 2)
