"""Damage in VP8 that its decoders take without a word, seen by where the bits run out.

Nearly all of VP8 is arithmetic code: wrong bits decode to something, and whatever else, to more or
fewer bits than were written. A frame is a partition of modes and motion vectors and one or several
of coefficients, and libvpx, the usual encoder, ends each of them in the same way. So each is read
to its last symbol, though nothing is made of it::

    whole      a b c d e f g 0 0     a..g: symbols   0: what libvpx ends with
    damaged    a b ? ? ? ? ? ? ? ..  wrong bits: the symbols end somewhere else

Behind a frame that was lost the probabilities are mostly wrong, since those of coefficients are
handed on from frame to frame, and it comes out in the same way. Encoders that end their partitions
in another way are told by that, and nothing is said of their damage.

Mostly the coefficients alone are spoilt, for they are most of a frame. Modes and motion vectors
that were read to their very end are right, and so is what they predict: that is what is shown of a
frame without its coefficients.
"""

from __future__ import annotations

import enum
import itertools
from collections import Counter, deque
from concurrent.futures import Future
from typing import NamedTuple

from .bool_coder import BoolReader
from .vp8_headers import STATE_SIZE, Header, HeaderReader
from .vp8_modes import read_kinds
from .vp8_tokens import read_tokens
from .workers import Workers, count_workers, serve

__all__ = ["PartitionChecker", "main"]

_NEAR = range(-16, 41)  # bits that other encoders may leave unread at an end, besides zeros
_N_JUDGED = 16  # packets by which one of them is judged
_MANY_TIMES = 4  # as many exact ends as near ones are no chance
# About a second's work, for which others are called to help, in bytes and pairs of macroblocks.
_MANY = 1 << 18


class _End(enum.IntEnum):
    """How a partition ends."""

    FAR = 0  # somewhere else
    NEAR = 1  # where an encoder may end them
    EXACT = 2  # where libvpx does


class _Packet(NamedTuple):
    ends: Future[bytes]  # of its partitions, that of modes first; of one where it makes no sense
    is_key: bool
    is_shown: bool
    places: tuple[slice, ...]  # of its coefficients


class PartitionChecker:
    """Tells VP8 packets that are damaged, or that others were lost before.

    Long streams are read by several processes; ``close`` ends them.
    """

    def __init__(self, *, max_pixels: int | None = None) -> None:
        """Begin; ``max_pixels``: of the largest picture that is read, if there is a bound."""
        self._headers = HeaderReader(max_pixels=max_pixels)
        self._ahead: deque[_Packet] = deque()
        self._latest: _Packet | None = None  # that was asked about
        self._n_read = 0  # as _MANY counts
        self._workers: Workers | None = None
        self._is_trusted = False  # an end as of libvpx has been seen
        self._is_exact = False  # and nearly all in this group of pictures are
        self._group: Counter[int] = Counter()  # the ends in it that were asked about
        self._is_waiting = False  # a frame that is not shown was damaged

    def close(self) -> None:
        """End the processes that read."""
        if self._workers is not None:
            self._workers.close()

    def feed(self, packet: bytes) -> None:
        """Read a packet; it is judged by those behind it too, as far as they were read by then."""
        is_key, is_shown = not packet[0] & 1, bool(packet[0] >> 4 & 1)
        state = self._headers.save()
        future: Future[bytes] = Future()
        places: tuple[slice, ...] = ()
        try:
            header = self._headers.read(packet)
        except (ValueError, IndexError):
            future.set_result(bytes([_End.FAR]))
        else:
            places = header.places
            self._n_read += len(packet) + header.n_columns * header.n_rows // 2
            if self._workers is None and self._n_read > _MANY and (n := count_workers()):
                self._workers = Workers(work, n)
            if self._workers is None:
                future.set_result(_read_on(header))
            else:
                future = self._workers.submit(state + packet)
        self._ahead.append(_Packet(future, is_key, is_shown, places))

    def is_damaged(self) -> bool:
        """Whether the first packet is damaged that was read and not asked about.

        What is not shown hands its damage on to what is shown next.
        """
        seen = [
            (min(packet.ends.result()), packet.is_key)
            for packet in itertools.islice(self._ahead, _N_JUDGED)
        ]
        self._latest = self._ahead.popleft()
        is_key, is_shown = self._latest.is_key, self._latest.is_shown
        end = seen[0][0]
        self._is_trusted |= any(other == _End.EXACT for other, _ in seen)
        if is_key:
            self._group.clear()
        rest = itertools.takewhile(lambda item: not item[1], seen[1:])
        counts = self._group + Counter([end, *(other for other, _ in rest)])
        self._group[end] += 1
        if counts.total() > 1 or end == _End.EXACT:
            self._is_exact = counts[_End.EXACT] > _MANY_TIMES * counts[_End.NEAR]
        is_wrong = self._is_trusted and end < (_End.EXACT if self._is_exact else _End.NEAR)
        is_wrong |= self._is_waiting
        self._is_waiting = is_wrong and not is_shown
        return is_wrong and is_shown

    def strip(self, packet: bytes) -> bytes | None:
        """Return the packet last asked about without the coefficients that are spoilt.

        None where more is: its modes, or a key frame, of which little is predicted well.
        """
        assert self._latest is not None
        ends = self._latest.ends.result()
        if min(ends) >= (_End.EXACT if self._is_exact else _End.NEAR):
            return packet
        if ends[0] < _End.EXACT or not self._is_exact or self._latest.is_key:
            return None
        # Zeros are read as "no more of them" at the beginning of each block (13.2). All of them go:
        # how a block is read depends on those above it, which may be in another partition.
        start, stop = self._latest.places[0].start, self._latest.places[-1].stop
        return packet[:start] + bytes(stop - start) + packet[stop:]


def work(job: bytes) -> bytes:
    """Read a frame, behind the state in which its header is read; return its ends, a byte each."""
    try:
        header = HeaderReader.restore(job[:STATE_SIZE]).read(job[STATE_SIZE:])
    except (ValueError, IndexError):
        return bytes([_End.FAR])
    return _read_on(header)


def main() -> None:
    """What a worker does."""
    serve(work)


def _read_on(header: Header) -> bytes:
    """Read what is behind a header; return how each partition ends."""
    try:
        kinds = read_kinds(header)
    except IndexError:
        return bytes([_End.FAR])
    modes = _find_end(header.first)
    try:
        read_tokens(header, kinds)
    except IndexError:
        # Where one is read far behind its end, the others have not been read to theirs.
        return bytes([modes, *[_End.FAR] * len(header.others)])
    return bytes([modes, *map(_find_end, header.others)])


def _find_end(bools: BoolReader) -> _End:
    if bools.has_ended:
        return _End.EXACT
    is_padded = bools.n_left > 0 and bools.has_zeros_left
    return _End.NEAR if is_padded or bools.n_left in _NEAR else _End.FAR
