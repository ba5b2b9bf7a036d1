"""Stamps of packets and frames, made into times that increase.

Containers differ in what they stamp, and damage breaks what they stamp: recordings are joined and
begin anew (``Splices``), frames come out of their order (``FrameQueue``), stamps are missing, stand
still or go back (``StampClock``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import Any

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

__all__ = ["FrameQueue", "Splices", "StampClock", "Time", "to_fraction"]

_LEAST_SPLICE = Fraction(1, 2)  # seconds that times must go back to count as a new beginning
_TURN = Fraction(2**33, 90_000)  # seconds until the clock of a transport stream begins anew
_LEAST_STEP = Fraction(1, 1000)  # seconds between frames whose times had to be moved
_MOST_WAITING = 16  # frames, as many as H.264 lets a decoder hold back
_FEWEST_KNOWN = 6  # stamps from which a step is told
_SLACK = 0.25  # of a step, by which it may be off: clocks that count milliseconds
_MOST_OF_THEM = 0.7  # share of the steps that are alike where stamps are regular; others are holes
_MOST_LOST = 4  # frames in a row whose loss is likelier than a wrong stamp


class Splices:
    """Joins transport streams that were put one behind the other, where the times start anew.

    ::

        given   0 1 2 3 | 0 1 2        joined   0 1 2 3 4 5 6

    Streams that end and begin together, but for half a second, move by the same amount, so that
    sound stays with its picture. A jump forward is left alone: it may be a real hole. But one of
    more than half the turn of their clock (26 hours) is one back, which the demuxer has taken for
    the end of a turn.
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
        if end is not None and not -_LEAST_SPLICE <= begin - end <= _TURN / 2:
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

    Stamps that were regular and contradict one another are wrong themselves. Unless something is
    known to be lost the decoder's order counts then, which is that of the pictures' own numbers::

        packets   0 3 1 2 6 4 7.5 9 7 8        decoded   0 1 2 3 4 7.5 6 7 8 9
    """

    def __init__(self) -> None:
        self.has_lost = False  # something, since the last key frame
        self._is_contradicted = False  # likewise: stamps
        self._waiting: list[tuple[int, VideoFrame]] = []  # as they came
        self._expected: set[int] = set()  # stamps of packets whose frames have not come
        self._wild: set[int] = set()  # stamps that no order can be made by
        self._known: list[int] = []  # the last ones that are none of these
        self._reach = 0.0  # the most steps by which one was ahead of all before it
        self._last: int | None = None

    def sort(self, packet: Packet[Any] | None, frames: list[VideoFrame]) -> list[VideoFrame]:
        """Take a packet that was decoded (None: the last) and its frames; return what is next."""
        if packet is not None and packet.pts is not None:
            self._take_stamp(packet.pts)
        ready: list[VideoFrame] = []
        if self._is_contradicted and not self.has_lost:
            ready += self._release_as_decoded()
        for frame in frames:
            if frame.pts is None or frame.pts in self._wild:
                ready += [*self._release(all_of_them=True), frame]
            elif self._is_contradicted and not self.has_lost:
                ready.append(frame)
                self._pass(frame.pts)
            elif self._is_past(frame.pts):
                ready.append(frame)  # the nearest to its time that is left
            else:
                self._expected.discard(frame.pts)
                self._waiting.append((frame.pts, frame))
                ready += self._release(all_of_them=frame.key_frame)
            if frame.key_frame:
                self.has_lost = self._is_contradicted = False
        return ready if packet is not None else [*ready, *self._release(all_of_them=True)]

    def _take_stamp(self, stamp: int) -> None:
        step = self._find_step()
        if step:
            ahead = (stamp - max(self._known)) / step
            nearest = min(abs(stamp - other) for other in self._known) / step
            is_between = nearest < 1 - _SLACK or abs(nearest - round(nearest)) > _SLACK
            if is_between or ahead > 2 * self._reach + _MOST_LOST:
                self._is_contradicted = True
            else:
                self._reach = max(self._reach, ahead)
        if not self._is_past(stamp):
            if self._is_wild(stamp):
                self._wild.add(stamp)
            else:
                self._expected.add(stamp)

    def _find_step(self) -> float:
        """Ticks from frame to frame; 0 where the last stamps are not regular, or too few."""
        if len(self._known) < _FEWEST_KNOWN:
            return 0.0
        steps = [b - a for a, b in pairwise(sorted(self._known))]
        step = median(steps)
        alike = sum(abs(each - step) < _SLACK * step for each in steps)
        return step if alike >= _MOST_OF_THEM * len(steps) else 0.0

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
        ready = []
        while self._waiting:
            place = min(range(len(self._waiting)), key=lambda k: self._waiting[k][0])
            stamp, frame = self._waiting[place]
            is_next = all(stamp <= other for other in self._expected)
            if not (all_of_them or is_next or len(self._waiting) > _MOST_WAITING):
                break
            del self._waiting[place]
            ready.append(frame)
            self._pass(stamp)
        return ready

    def _release_as_decoded(self) -> list[VideoFrame]:
        waiting, self._waiting = self._waiting, []
        for stamp, _ in waiting:
            self._pass(stamp)
        return [frame for _, frame in waiting]

    def _pass(self, stamp: int) -> None:
        self._last = stamp
        self._expected = {other for other in self._expected if other > stamp}


@dataclass(frozen=True)
class Time:
    """When a frame is shown, in seconds."""

    value: Fraction
    is_moved: bool = False  # because its stamp was not behind that of the frame before
    given: Fraction | None = None  # what was given instead, where neighbours tell what it should be


class StampClock:
    """Turns the stamps of packets and frames into strictly increasing times.

    AVI has no presentation times: FFmpeg invents them and gets frames after a B-frame wrong, so
    there the decoding times count, shifted so that the first frame is shown at the first of them.
    Raw streams have no times at all: there the durations add up.

    A single stamp that contradicts the order is put between its neighbours, for which its frame is
    held until the next one has come::

        given   3 4 9 6 7        3 4 2 6 7
        made    3 4 5 6 7        3 4 5 6 7
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
        self._held: tuple[VideoFrame, int] | None = None  # doubtful, and its stamp

    def choose_stamp(self, item: Packet[Any] | VideoFrame) -> int | None:
        """Return the stamp that a packet shares with its frame."""
        return item.dts if self._by_dts else item.pts

    def read_packet(self, packet: Packet[Any]) -> Fraction | None:
        stamp = self.choose_stamp(packet)
        if self._first_dts is None:
            self._first_dts = packet.dts
        return None if stamp is None else stamp * self._base

    def settle(self, native: VideoFrame | None) -> list[tuple[VideoFrame, Time]]:
        """Take the next frame (None: there is none), return those whose times are certain now."""
        stamp = None if native is None else self._find_stamp(native)
        settled = []
        if self._held is not None:
            frame, held = self._held
            self._held = None
            settled.append((frame, self._fix(held, stamp)))
        if native is not None:
            if stamp is None:
                step = self._difference or self._step or native.duration or 1
                stamp = 0 if self._last is None else self._last + step
            if self._is_doubtful(stamp):
                self._held = native, stamp
            else:
                settled.append((native, self._fix(stamp, None)))
        return settled

    def _find_stamp(self, native: VideoFrame) -> int | None:
        """The stamp of a frame in the order of display, as it is given; None if there is none."""
        stamp = native.pts
        if self._by_dts:
            stamp = native.dts
            if self._shift is None and stamp is not None:
                self._shift = stamp - (self._first_dts or 0)
            if stamp is not None:
                stamp -= self._shift or 0
        elif stamp is None:
            stamp = native.dts
        return stamp

    def _is_doubtful(self, stamp: int) -> bool:
        """Whether a stamp goes back, or so far ahead that the next one may contradict it."""
        if self._last is None:
            return False
        step = self._difference or self._step
        return stamp <= self._last or (step > 0 and 2 * (stamp - self._last) > 3 * step)

    def _fix(self, stamp: int, following: int | None) -> Time:
        """The time of the next frame; following: the stamp of the one behind it, if it has come."""
        if self._last is None:
            self._last = stamp
            return Time(stamp * self._base)
        is_contradicted = stamp <= self._last or (following is not None and following <= stamp)
        if (
            is_contradicted
            and following is not None
            and following - self._last >= 2 * self._least_step
        ):
            self._last += (following - self._last) // 2
            return Time(self._last * self._base, given=stamp * self._base)
        is_moved = stamp <= self._last
        if is_moved:
            stamp = self._last + self._least_step
        else:
            self._difference = stamp - self._last
        self._last = stamp
        return Time(stamp * self._base, is_moved=is_moved)


def to_fraction(value: Any) -> Fraction | None:
    """PyAV's rationals at the border: None and 0 both mean unset."""
    return Fraction(value.numerator, value.denominator) if value else None
