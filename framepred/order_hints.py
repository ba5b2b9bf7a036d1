"""AV1 pictures that are shown out of their turn, or rest on one that the decoder has refused.

AV1 decodes pictures ahead and shows them later by packets of three bytes, which name one of eight
slots. After damage the slot holds another picture, or the packet names another slot, and decoders
show that without a word. But each picture bears its place in the order of display (AV1, 5.9.2,
order_hint)::

    stored   K0  [16] [8] [4] [2] 1  show 2  3  show 4  ...      [ ]: decoded, not shown
    shown    0                    1       2  3       16          16: not its turn

And each lists the slots that it is predicted from, so that what lacks a refused one is known. Only
headers are read, as far as those lists.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from .bits import Bits

__all__ = ["OrderHintChecker", "split_units"]

_SEQUENCE, _FRAME_HEADER, _FRAME = 1, 3, 6  # types of open bitstream units
_CONTINUING = (4, 7)  # types of those that go on with a frame: tiles, its header once more
_KEY, _INTER, _INTRA_ONLY, _SWITCH = range(4)  # types of frames
_N_SLOTS, _N_REFERENCES = 8, 7
_ALL = 0xFF  # slots
_LONGEST_HEADER = 512  # bytes that hold all that is read of a unit
_SELECT = 2  # a choice left to each frame
_N_STEPS = 4  # pictures in a row at a steady rate, after which times tell whose turn it is


@dataclass(frozen=True)
class _Sequence:
    """What a sequence header says of how frame headers are to be read."""

    hint_bits: int
    id_bits: int
    id_step_bits: int  # of the distance from one number of a frame to another
    screen_tools: int
    integer_mv: int
    time_bits: int  # of a time of presentation in each shown frame's header
    removal_bits: int | None  # of a time of removal from the decoder's buffer, if there may be any
    n_timed_points: int  # operating points with such times


@dataclass(frozen=True)
class _Header:
    is_key: bool
    is_shown: bool
    hint: int
    refreshed: frozenset[int]  # slots that it goes into
    references: frozenset[int]  # slots that it is predicted from, as far as they are written


class OrderHintChecker:
    """Tells packets that show a picture which is not for that moment, or lacks a refused one."""

    def __init__(self) -> None:
        self._sequence: _Sequence | None = None
        self._previous: _Sequence | None = None  # before the last packet
        self._slots: list[int | None] = [None] * _N_SLOTS  # hints
        self._hidden_keys: set[int] = set()  # slots that hold a key frame not shown yet
        self._last: tuple[int, int | None] | None = None  # hint and stamp of the last in its turn
        self._steps: deque[int] = deque(maxlen=_N_STEPS)  # ticks from one hint to the next
        self._lost: set[int] = set()  # slots that do not hold what they should
        self._refreshed: set[int] = set()  # slots that the last packet's frames go into

    def is_damaged(self, packet: bytes, stamp: int | None) -> bool:
        """Follow the next packet (a temporal unit or a part of one); whether its picture is wrong.

        That is one shown out of its turn, or that lacks a reference.

        stamp: when it is shown, in any unit; without one only pictures that go back are told.
        """
        is_wrong = False
        self._refreshed.clear()
        self._previous = self._sequence
        with contextlib.suppress(ValueError):  # a header that makes no sense does not decode either
            for kind, unit in _read_units(packet):
                if kind == _SEQUENCE:
                    self._sequence = _read_sequence(Bits(unit))
                elif kind in (_FRAME_HEADER, _FRAME) and self._sequence is not None:
                    is_wrong |= self._follow(Bits(unit), self._sequence, stamp)
        return is_wrong

    def refuse(self) -> None:
        """Take back the last packet: the decoder has refused it, and may have left its slots."""
        self._lost |= self._refreshed
        self._sequence = self._previous

    def _follow(self, bits: Bits, sequence: _Sequence, stamp: int | None) -> bool:
        """Take a frame; whether it is shown and wrong."""
        if bits.read(1):
            return self._show(bits.read(3), sequence, stamp)
        header = _read_frame(bits, sequence)
        lacks_reference = bool(header.references & self._lost)
        self._refreshed |= header.refreshed
        for slot in header.refreshed:
            self._slots[slot] = header.hint
            is_hidden_key = header.is_key and not header.is_shown
            (self._hidden_keys.add if is_hidden_key else self._hidden_keys.discard)(slot)
            (self._lost.add if lacks_reference else self._lost.discard)(slot)
        if header.is_shown:
            if header.is_key:
                self._last = None
            self._learn(header.hint, sequence, stamp)
        return lacks_reference and header.is_shown

    def _show(self, slot: int, sequence: _Sequence, stamp: int | None) -> bool:
        """Take the picture of a slot; whether it is wrong."""
        hint = self._slots[slot]
        if hint is None:
            return False  # there is nothing to be shown
        if slot in self._lost:
            return True
        is_wrong = self._is_wrong(hint, sequence, stamp)
        if slot in self._hidden_keys:  # all begins anew with it (7.21)
            self._slots = [hint] * _N_SLOTS
            self._hidden_keys.clear()
            self._lost.clear()
        if not is_wrong:
            self._learn(hint, sequence, stamp)
        return is_wrong

    def _is_wrong(self, hint: int, sequence: _Sequence, stamp: int | None) -> bool:
        if self._last is None:
            return False
        last, last_stamp = self._last
        n_ahead = _subtract(hint, last, sequence.hint_bits)
        if stamp is None or last_stamp is None or not self._is_steady():
            return n_ahead < 0
        ticks = stamp - last_stamp
        return abs(n_ahead * self._steps[-1] - ticks) > ticks // 2

    def _is_steady(self) -> bool:
        """Whether the hints have counted equal times, which a container may have rounded."""
        return len(self._steps) == _N_STEPS and max(self._steps) <= min(self._steps) + 1

    def _learn(self, hint: int, sequence: _Sequence, stamp: int | None) -> None:
        """Take a picture that is shown in its turn."""
        if self._last is not None:
            last, last_stamp = self._last
            n_ahead = _subtract(hint, last, sequence.hint_bits)
            if n_ahead > 0 and stamp is not None and last_stamp is not None:
                self._steps.append((stamp - last_stamp) // n_ahead)
        self._last = hint, stamp


def _subtract(hint: int, other: int, n_bits: int) -> int:
    """Return the distance of two hints, which are counted modulo a power of two (5.9.3)."""
    half = 1 << (n_bits - 1)
    return (hint - other + half) % (2 * half) - half


def split_units(packet: bytes) -> list[bytes]:
    """Return the units of a packet, tiles with the header of their frame.

    Given one by one, a decoder refuses the damaged one alone, and not those stored behind it.
    """
    starts = [start for kind, start, *_ in _find_units(packet) if kind not in _CONTINUING]
    bounds = [0, *starts[1:], len(packet)]
    return [packet[begin:end] for begin, end in pairwise(bounds)]


def _read_units(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the beginning of each unit."""
    for kind, _, first, stop in _find_units(packet):
        yield kind, packet[first : min(stop, first + _LONGEST_HEADER)]


def _find_units(packet: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield the type of each unit, its place, and where its content begins and ends (5.3)."""
    place = 0
    while place < len(packet):
        start, head = place, packet[place]
        is_extended, has_size = head >> 2 & 1, head >> 1 & 1
        place += 1 + is_extended
        size = len(packet) - place
        if has_size:
            size = 0
            for i in range(8):
                byte = packet[place] if place < len(packet) else 0
                place += 1
                size |= (byte & 0x7F) << 7 * i
                if byte < 0x80:
                    break
        yield head >> 3 & 0xF, start, place, place + size
        place += size


def _read_sequence(bits: Bits) -> _Sequence | None:
    """Read a sequence header (5.5); None where hints tell nothing: stills, layers, no hints."""
    bits.read(4)
    if bits.read(1):
        return None
    time_bits, removal_bits, delay_bits, n_timed = 0, None, 0, 0
    if bits.read(1):
        bits.read(64)
        is_equal = bits.read(1)
        if is_equal:
            bits.read_golomb()
        if bits.read(1):
            delay_bits = bits.read(5) + 1
            bits.read(32)
            removal_bits = bits.read(5) + 1
            time_bits = bits.read(5) + 1
            if is_equal:
                time_bits = 0
    has_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        if bits.read(12):
            return None
        if bits.read(5) > 7:
            bits.read(1)
        if removal_bits is not None and bits.read(1):
            n_timed += 1
            bits.read(2 * delay_bits + 1)
        if has_delay and bits.read(1):
            bits.read(4)
    n_wide, n_high = bits.read(4) + 1, bits.read(4) + 1
    bits.read(n_wide + n_high)
    id_bits = id_step_bits = 0
    if bits.read(1):
        id_step_bits = bits.read(4) + 2
        id_bits = id_step_bits + bits.read(3) + 1
    bits.read(3 + 4)
    if not bits.read(1):
        return None
    bits.read(2)
    screen_tools = _SELECT if bits.read(1) else bits.read(1)
    integer_mv = _SELECT
    if screen_tools and not bits.read(1):
        integer_mv = bits.read(1)
    hint_bits = bits.read(3) + 1
    return _Sequence(
        hint_bits, id_bits, id_step_bits, screen_tools, integer_mv, time_bits, removal_bits, n_timed
    )


def _read_frame(bits: Bits, sequence: _Sequence) -> _Header:
    """Read a frame's header behind its first bit (5.9.2)."""
    kind, is_shown = bits.read(2), bool(bits.read(1))
    if is_shown:
        bits.read(sequence.time_bits)
    else:
        bits.read(1)
    is_whole = kind == _SWITCH or (kind == _KEY and is_shown)  # all slots are refreshed
    is_resilient = is_whole or bits.read(1)
    bits.read(1)
    tools = bits.read(1) if sequence.screen_tools == _SELECT else sequence.screen_tools
    if tools and sequence.integer_mv == _SELECT:
        bits.read(1)
    bits.read(sequence.id_bits)
    if kind != _SWITCH:
        bits.read(1)
    hint = bits.read(sequence.hint_bits)
    if kind == _INTER and not is_resilient:
        bits.read(3)
    if sequence.removal_bits is not None and bits.read(1):
        bits.read(sequence.n_timed_points * sequence.removal_bits)
    flags = _ALL if is_whole else bits.read(_N_SLOTS)
    is_intra = kind in (_KEY, _INTRA_ONLY)
    if is_resilient and not (is_intra and flags == _ALL):
        bits.read(_N_SLOTS * sequence.hint_bits)
    return _Header(
        kind == _KEY,
        is_shown,
        hint,
        refreshed=frozenset(slot for slot in range(_N_SLOTS) if flags >> slot & 1),
        references=frozenset() if is_intra else _read_references(bits, sequence),
    )


def _read_references(bits: Bits, sequence: _Sequence) -> frozenset[int]:
    """Read the slots of the seven references; if only two are written, those."""
    if bits.read(1):
        return frozenset((bits.read(3), bits.read(3)))
    found = set()
    for _ in range(_N_REFERENCES):
        found.add(bits.read(3))
        bits.read(sequence.id_step_bits)
    return frozenset(found)
