"""Checksums that packets carry in themselves, where the decoder looks at them and says nothing.

FFV1 since version 3 ends every slice with its length and, mostly, a checksum; FFmpeg conceals a
slice whose checksum is wrong with the one of the picture before. From the back of the packet::

    ... | slice | length (3 bytes) | status (1) | checksum (4) |      with checksums
    ... | slice | length (3 bytes) |                                 without
"""

from __future__ import annotations

import zlib

__all__ = ["Ffv1Checker"]

_FOOTER = 8
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Ffv1Checker:
    """Tells damaged FFV1 packets, once a whole one has shown that the stream has checksums."""

    def __init__(self) -> None:
        self._has_checksums = False

    def is_damaged(self, packet: bytes) -> bool:
        """Check the next packet; without checksums none is ever damaged."""
        is_whole = _is_whole(packet)
        self._has_checksums = self._has_checksums or is_whole
        return self._has_checksums and not is_whole


def _is_whole(packet: bytes) -> bool:
    """Walk from slice to slice backwards; every checksum must be right, and nothing be left."""
    end = len(packet)
    while end >= _FOOTER:
        n_bytes = int.from_bytes(packet[end - _FOOTER : end - 5], "big")
        start = end - _FOOTER - n_bytes
        if not n_bytes or start < 0 or _has_remainder(packet[start:end]):
            return False
        end = start
    return end == 0 and len(packet) > 0


def _has_remainder(data: bytes) -> bool:
    """Divide by the polynomial of CRC-32, highest bit first; zlib's has the lowest bit first."""
    return zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) != 0xFFFFFFFF
