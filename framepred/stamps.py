"""Stamps of packets and frames, made into times that increase.

Containers differ in what they stamp, and damage breaks what they stamp: recordings are joined and
begin anew (``Splices``), frames come out of their order (``FrameQueue``), stamps are missing, stand
still or go back (``StampClock``).
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

__all__ = ["FrameQueue", "Splices", "StampClock", "to_fraction"]

_LEAST_SPLICE = Fraction(1, 2)  # seconds that times must go back to count as a new beginning
_LEAST_STEP = Fraction(1, 1000)  # seconds between frames whose times had to be moved
_MOST_WAITING = 16  # frames, as many as H.264 lets a decoder hold back


class Splices:
    """Joins transport streams that were put one behind the other, where the times start anew.

    ::

        given   0 1 2 3 | 0 1 2        joined   0 1 2 3 4 5 6

    All streams move by the same amount, so that sound stays with its picture. A jump forward is
    left alone: it may be a real hole.
    """

    def __init__(self) -> None:
        self._ends: dict[int, Fraction] = {}  # end of the last packet of a stream, joined
        self._shifts: dict[int, Fraction] = {}
        self._newest = Fraction(0)

    def join(self, packet: Packet[Any]) -> None:
        base = to_fraction(packet.time_base)
        if packet.dts is None or base is None:
            return
        index = packet.stream_index
        shift = self._shifts.get(index, Fraction(0))
        begin = packet.dts * base + shift
        end = self._ends.get(index)
        if end is not None and begin < end - _LEAST_SPLICE:
            shift += end - begin
            if abs(shift - self._newest) < _LEAST_SPLICE:
                shift = self._newest  # another stream has passed this splice before
            self._newest = self._shifts[index] = shift
            begin = packet.dts * base + shift
        self._ends[index] = begin + (packet.duration or 0) * base
        if shift:
            ticks = round(shift / base)
            packet.dts += ticks
            if packet.pts is not None:
                packet.pts += ticks


class FrameQueue:
    """Puts frames back into the order of their times, which decoders lose with a lost key frame.

    H.264 counts pictures anew from each IDR. Without it, those before and behind come mixed::

        packets   0 3 1 2 5 4 [6 lost] 9 7 8 11 10 12        12: the next IDR
        decoded   0 1 2 3 9 4 10 5 11 12                     sorted   0 1 2 3 4 5 9 10 11 12

    So a frame waits as long as a packet of an earlier time may still give one: until the next key
    frame, and with no more than ``_MOST_WAITING`` others. Sound video never waits.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, VideoFrame]] = []
        self._expected: set[int] = set()  # stamps of packets whose frames have not come
        self._wild: set[int] = set()  # stamps that no order can be made by
        self._known: list[int] = []  # the last ones that are none of these
        self._last: int | None = None

    def sort(self, packet: Packet[Any] | None, frames: list[VideoFrame]) -> list[VideoFrame]:
        """Take a packet that was decoded (None: the last) and its frames; return what is next."""
        if packet is not None and packet.pts is not None and not self._is_past(packet.pts):
            if self._is_wild(packet.pts):
                self._wild.add(packet.pts)
            else:
                self._expected.add(packet.pts)
        ready: list[VideoFrame] = []
        for frame in frames:
            if frame.pts is None or frame.pts in self._wild:
                ready += [*self._release(all_of_them=True), frame]
                continue
            if self._is_past(frame.pts):
                ready.append(frame)  # the nearest to its time that is left
                continue
            self._expected.discard(frame.pts)
            self._waiting.append((frame.pts, frame))
            ready += self._release(all_of_them=frame.key_frame)
        return ready if packet is not None else [*ready, *self._release(all_of_them=True)]

    def _is_wild(self, stamp: int) -> bool:
        """Whether a stamp lies further ahead than frames wait: a damaged time, or a long break.

        Behind a break nothing is sorted any more.
        """
        known = self._known
        if len(known) > 1:
            step = (max(known) - min(known)) / (len(known) - 1)
            if stamp - max(known) > 2 * _MOST_WAITING * step:
                return True
        known.append(stamp)
        del known[: -2 * _MOST_WAITING]
        return False

    def _is_past(self, stamp: int) -> bool:
        return self._last is not None and stamp <= self._last

    def _release(self, *, all_of_them: bool) -> list[VideoFrame]:
        self._waiting.sort(key=lambda entry: entry[0])
        ready = []
        while self._waiting:
            stamp, frame = self._waiting[0]
            is_next = all(stamp <= other for other in self._expected)
            if not (all_of_them or is_next or len(self._waiting) > _MOST_WAITING):
                break
            del self._waiting[0]
            ready.append(frame)
            self._last = stamp
            self._expected = {other for other in self._expected if other > stamp}
        return ready


class StampClock:
    """Turns the stamps of packets and frames into strictly increasing times.

    AVI has no presentation times: FFmpeg invents them and gets frames after a B-frame wrong, so
    there the decoding times count, shifted so that the first frame is shown at the first of them.
    Raw streams have no times at all: there the durations add up.
    """

    def __init__(self, stream: VideoStream, *, by_dts: bool) -> None:
        self._base = to_fraction(stream.time_base) or Fraction(1, 90_000)
        self._by_dts = by_dts
        rate = to_fraction(stream.average_rate) or to_fraction(stream.guessed_rate)
        self._step = max(1, round(1 / rate / self._base)) if rate else 0
        self._least_step = max(1, math.ceil(_LEAST_STEP / self._base))
        self._first_dts: int | None = None
        self._shift: int | None = None
        self._last: int | None = None
        self._difference = 0  # of the last two stamps that increased

    def choose_stamp(self, item: Packet[Any] | VideoFrame) -> int | None:
        """Return the stamp that a packet shares with its frame."""
        return item.dts if self._by_dts else item.pts

    def read_packet(self, packet: Packet[Any]) -> Fraction | None:
        stamp = self.choose_stamp(packet)
        if self._first_dts is None:
            self._first_dts = packet.dts
        return None if stamp is None else stamp * self._base

    def read_frame(self, native: VideoFrame) -> tuple[Fraction, bool]:
        """Return the frame's time and whether it had to be moved."""
        stamp = native.pts
        if self._by_dts:
            stamp = native.dts
            if self._shift is None and stamp is not None:
                self._shift = stamp - (self._first_dts or 0)
            if stamp is not None:
                stamp -= self._shift or 0
        elif stamp is None:
            stamp = native.dts
        if stamp is None:
            step = self._difference or self._step or native.duration or 1
            stamp = 0 if self._last is None else self._last + step
        elif self._last is not None and stamp > self._last:
            self._difference = stamp - self._last
        repaired = self._last is not None and stamp <= self._last
        if self._last is not None and repaired:
            stamp = self._last + self._least_step
        self._last = stamp
        return stamp * self._base, repaired


def to_fraction(value: Any) -> Fraction | None:
    """PyAV's rationals at the border: None and 0 both mean unset."""
    return Fraction(value.numerator, value.denominator) if value else None
