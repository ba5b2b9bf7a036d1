"""Raising the frame rate: new frames between all those that a video has.

``rates`` says what is shown when. Of the real frames only those are held that lie around the
stretch at hand, and of the new ones only a few, so that memory does not grow with the video.
"""

from __future__ import annotations

import dataclasses
import logging
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise
from math import lcm
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import OutputError, check_counts
from .fields import by_fields
from .outputs import check_output, name_output
from .rates import ConstantRate, Conversion, Multiple, Stretch, check_choice, read_rate
from .relay import Crew, Promise, work_beside
from .reports import HeldReport, InterpolateReport, OnProgress, Progress, StageClock
from .rereading import Rereading
from .rhythm import Clock
from .scanning import ScanReport, complain_of_one, scan
from .scoring import ScoreMean, TrueFrames, align, check_same_size, score_frame
from .shown import check_alike
from .stages import choose_crew_size, choose_lead, read_video, write_video
from .timeline import Plan
from .video import Encoding, Frame, Image, VideoReader, from_rgb, to_rgb

if TYPE_CHECKING:
    from .predictor import Predictor

__all__ = ["Interpolator", "Tally", "choose_base", "interpolate", "make_report"]

_log = logging.getLogger(__name__)

_AT_ONCE = 8  # new frames that are held at a time
_ROUNDING = Fraction(1, 1000)  # seconds by which a container may round a time
_EVEN = Fraction(1, 8)  # of an interval: others that differ by less count as evenly spaced
_FINEST_CLOCK = 2**24  # ticks a second, where a container lets choose


def interpolate(
    input: str | Path,
    output: str | Path | None = None,
    *,
    rate: Fraction | float | str | None = None,
    times: int | None = None,
    predictor: Predictor | None = None,
    device: str = "auto",
    context: int = 2,
    max_gap: int = 16,
    reference: str | Path | None = None,
    codec: str | None = None,
    crf: int | None = None,
    preset: str | None = None,
    lossless: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    on_progress: OnProgress = None,
) -> InterpolateReport:
    """Raise the frame rate of a video; keep the frames it has, its duration and other streams.

    ::

        times=2    |   .   |   .   |   .   |   .        all frames are kept, others between them
        rate=60    |  .  . | .  .  |  .  . | .  .       of 24: every other frame is on the new grid

    Across a scene cut, in a long pause and behind the last frame the nearest frame is repeated.

    Args:
        input: the video; it is only read.
        output: the new video, or a folder for it; default: ``clip.interpolated.mp4`` beside
            ``clip.mp4``.
        rate: frames a second, constant, whatever the video's were: a number, or as text
            (``60000/1001``, ``59.94``). Real frames are kept where a new frame is due.
        times: so many times as many frames as there are, instead of ``rate``.
        predictor: the network; default: the packaged one.
        device: where that default network runs.
        context: most real frames shown to the network on each side; they end at a scene cut and
            where they are not evenly spaced.
        max_gap: a pause in which more frames than that are missing is not filled, but held.
        reference: the video as it should become, to score the made frames against, by time.
        codec, crf, preset, lossless: as in ``video.Encoding``. overwrite: replace an output.
        dry_run: count everything, write nothing, load no network.
        on_progress: called with the stages "scan" and "interpolate".

    Raises:
        MediaError: the input or the reference cannot be read, or has only one frame.
        GapError: no such rate.
        OutputError: the output exists, is the input, or cannot be written.
        ModelError: the packaged network cannot be loaded.
        EvaluationError: the reference has another size.
        ValueError: neither ``rate`` nor ``times`` is given, or both, or ``times`` is below 2; or
            ``context`` is below 1.
    """
    check_choice(rate, times)
    check_counts(max_gap=max_gap, context=context)
    wanted = None if rate is None else read_rate(rate)
    source = Path(input)
    target = name_output(source, "interpolated", output=None if output is None else Path(output))
    if codec == "copy":
        raise OutputError(f"{source}: new frames lie between all others; leave --codec copy out")
    if not dry_run:
        others = (None if reference is None else Path(reference),)
        check_output(source, target, overwrite=overwrite, others=others)
    if reference is not None:
        check_same_size(Path(reference), source)

    encoding = Encoding(codec=codec, crf=crf, preset=preset, lossless=lossless)
    clock = StageClock()
    with clock.measure("decode"):
        scanned = scan(source, detect=("missing", "corrupt"), on_progress=on_progress)
    if scanned.n_frames < 2:
        raise complain_of_one(source)
    script = _Script.of(scanned, wanted, times, max_gap)
    _log.info(
        "%d real frames, usually one every %s s, to %s; a real frame is kept where it is due "
        "within %s s; held across %d cuts and in pauses of more than %d frames",
        *(len(script.times), script.usual),
        f"{script.rate} a second" if times is None else f"{times} times as many",
        *(script.conversion.tick, len(script.cuts), max_gap),
    )
    if dry_run:
        tally = Tally()
        for _ in script.rehearse(tally):
            pass
        return make_report(
            source,
            target,
            tally,
            clock,
            rate_in=script.rate_in,
            rate_out=script.rate,
            n_damaged=script.n_damaged,
            n_errors=scanned.n_errors,
            dry_run=True,
        )
    if predictor is None:
        from .predictor import Predictor

        predictor = Predictor.load("default", device=device)
    with ExitStack() as stack:
        truth = None
        if reference is not None:
            later = align(Path(reference), source)
            truth = TrueFrames(stack.enter_context(VideoReader(reference)), later=later)
        crew = stack.enter_context(work_beside(choose_crew_size()))  # the writer waits for it
        writer = stack.enter_context(
            write_video(
                target,
                like=scanned.info,
                copy_streams=True,
                clock=clock,
                encoding=encoding,
                overwrite=overwrite,
                rate=script.rate,
                time_base=choose_base(scanned.info.time_base, script.rate, times),
                begin=script.times[0],
                step=None if script.rate is None else 1 / script.rate,
                is_recounted=True,
            )
        )
        items = stack.enter_context(
            read_video(
                scanned.info,
                copy_streams=True,
                clock=clock,
                frame_threads=not scanned.is_damaged,
            )
        )
        walk = Interpolator(
            script.conversion,
            predictor,
            clock,
            crew,
            context=context,
            lead=choose_lead(scanned.info),
            truth=truth,
            is_interlaced=scanned.info.interlaced,
        )
        rereading = Rereading(scanned.plan.slots)
        for item in items:
            if not isinstance(item, Frame):
                writer.copy(item)
                continue
            if rereading.place(item) is None:
                continue
            for frame in walk.take(item, is_cut=item.index in script.cuts):
                writer.write(frame)
            if on_progress is not None:
                on_progress(
                    Progress("interpolate", item.index + 1, scanned.n_frames, clock.seconds())
                )
        rereading.finish(source)
        for frame in walk.finish(script.usual):
            writer.write(frame)
    return make_report(
        source,
        target,
        walk.tally,
        clock,
        rate_in=script.rate_in,
        rate_out=script.rate,
        n_damaged=script.n_damaged,
        n_errors=scanned.n_errors,
        n_streams=writer.n_streams_copied,
        left_out=writer.left_out,
        predictor=predictor,
    )


@dataclass
class _Script:
    """What a scan says about the times to come."""

    conversion: Conversion
    rate_in: Fraction | None  # None: it varies
    rate: Fraction | None  # of the output
    usual: Fraction  # seconds from real frame to real frame
    times: list[Fraction]  # of the real frames
    cuts: frozenset[int]  # real frames that begin a shot
    n_damaged: int  # real frames

    @classmethod
    def of(
        cls, scanned: ScanReport, rate: Fraction | None, multiple: int | None, max_gap: int
    ) -> _Script:
        plan, base = scanned.plan, scanned.info.time_base
        times = [slot.time for slot in plan.slots if slot.source is not None]
        steps = sorted(b - a for a, b in pairwise(times))
        usual = plan.step or steps[len(steps) // 2]
        tick = _find_tick(plan, times, base)
        conversion: Conversion
        if rate is not None:
            conversion = ConstantRate(
                rate,
                start=times[0],
                tick=tick,
                usual=usual,
                max_gap=max_gap,
                rounding=base if plan.step is None else None,
            )
        else:
            assert multiple is not None
            conversion = Multiple(
                multiple, tick=tick, usual=usual, is_steady=plan.step is not None, max_gap=max_gap
            )
            rate = None if plan.step is None else multiple / plan.step
        rate_in = None if plan.step is None else 1 / plan.step
        n_damaged = sum(
            slot.source is not None
            for planned in plan.gaps
            for slot in plan.slots[planned.gap.start : planned.gap.stop]
        )
        return cls(conversion, rate_in, rate, usual, times, _find_cuts(plan), n_damaged)

    def rehearse(self, tally: Tally) -> Iterator[Stretch]:
        """All stretches, without a picture."""
        for index, (time, following) in enumerate(pairwise(self.times), 1):
            stretch = self.conversion.pass_frame(time, following, is_cut=index in self.cuts)
            tally.add(stretch, is_cut=index in self.cuts)
            yield stretch
        stretch = self.conversion.pass_last(self.times[-1], self.times[-1] + self.usual)
        tally.add(stretch)
        yield stretch


def choose_base(base: Fraction, rate: Fraction | None, multiple: int | None) -> Fraction:
    """A tick that holds the times of the input and of the output, if there is one."""
    fine = lcm(base.denominator * (multiple or 1), rate.numerator if rate else 1)
    return Fraction(1, fine) if fine <= max(_FINEST_CLOCK, base.denominator) else base


def _find_tick(plan: Plan, times: list[Fraction], base: Fraction) -> Fraction:
    """By how much a frame's time may be off, as a time stamp; by a little more in variable rate."""
    if plan.step is None:
        return min(b - a for a, b in pairwise(times)) / 10
    clock = Clock.of(times, base)
    steps = [b - a for a, b in pairwise(clock.times)]
    if min(steps) <= 2 * clock.tick or all(step % min(steps) == 0 for step in steps):
        return Fraction(0)  # a clock that counts frames, or one that had nothing to round
    return Fraction(clock.tick, clock.units_per_second)


def _find_cuts(plan: Plan) -> frozenset[int]:
    """The real frames that begin a shot."""
    places = [i for i, slot in enumerate(plan.slots) if slot.source is not None]
    return frozenset(bisect_left(places, cut) for cut in plan.cuts)


class Tally:
    """Counts of what was done, and the scores of the frames made."""

    def __init__(self) -> None:
        self.n_frames = self.n_kept = self.n_made = self.n_cuts = 0
        self.held: Counter[str] = Counter()
        self.shift = Fraction(0)
        self.scores = ScoreMean()

    def add(self, stretch: Stretch, *, is_cut: bool = False) -> None:
        self.n_frames += 1
        self.n_cuts += is_cut
        self.n_kept += stretch.kept is not None
        if stretch.reason is not None:
            self.held[stretch.reason] += len(stretch.times)
        else:
            self.n_made += len(stretch.times)
        self.shift = max(self.shift, stretch.shift)


@dataclass
class _Known:
    """A real frame, converted to RGB at most once."""

    frame: Frame
    is_cut: bool  # it begins a shot
    promise: Promise[Image] | None = None  # it as RGB

    def begin(self, crew: Crew) -> Promise[Image]:
        """Have it made RGB."""
        if self.promise is None:
            self.promise = crew.begin(partial(to_rgb, self.frame))
        return self.promise


class Interpolator:
    """Takes the real frames in order and gives back all frames in order."""

    def __init__(
        self,
        conversion: Conversion,
        predictor: Predictor,
        clock: StageClock,
        crew: Crew,
        *,
        context: int,
        lead: int = 0,  # frames that are taken ahead: the crew works on them beside the network
        truth: TrueFrames | None,
        is_interlaced: bool,
    ) -> None:
        self._lead = lead
        self._conversion = conversion
        self._predictor = predictor
        self._clock = clock
        self._crew = crew
        self._context = context
        self._truth = truth
        self._is_interlaced = is_interlaced
        self._known: deque[_Known] = deque()
        self._at = 0  # the one whose stretch is next
        self._is_making = False  # in the stretch before; then the next ones are likely to be shown
        self.tally = Tally()

    def take(self, frame: Frame, *, is_cut: bool) -> Iterator[Frame | Promise[Frame]]:
        """Take the next real frame; yield the frames that can be written now."""
        self._known.append(_Known(frame, is_cut))
        if self._is_making:
            self._known[-1].begin(self._crew)
        while len(self._known) - self._at > self._context + self._lead:
            yield from self._pass()

    def finish(self, usual: Fraction) -> Iterator[Frame | Promise[Frame]]:
        """Yield the rest; the last frame is shown for ``usual`` seconds."""
        while self._at < len(self._known) - 1:
            yield from self._pass()
        if self._known:
            last = self._known[-1].frame
            stretch = self._conversion.pass_last(last.time, last.time + usual)
            self.tally.add(stretch)
            yield from _hold(stretch, last, last)

    def _pass(self) -> Iterator[Frame | Promise[Frame]]:
        one, two = self._known[self._at], self._known[self._at + 1]
        stretch = self._conversion.pass_frame(one.frame.time, two.frame.time, is_cut=two.is_cut)
        self.tally.add(stretch, is_cut=two.is_cut)
        self._is_making = stretch.reason is None and bool(stretch.times)
        if not self._is_making:
            yield from _hold(stretch, one.frame, two.frame)
        else:
            if stretch.kept is not None:
                yield dataclasses.replace(one.frame, time=stretch.kept)
            yield from self._make(stretch)
        self._at += 1
        while self._at >= self._context:
            self._known.popleft()
            self._at -= 1

    def _make(self, stretch: Stretch) -> Iterator[Promise[Frame]]:
        before, after = self._show()
        like = self._known[self._at].frame
        for first in range(0, len(stretch.steps), _AT_ONCE):
            steps = stretch.steps[first : first + _AT_ONCE]
            predict: Any = partial(self._predictor.interpolate, steps=steps)
            if self._is_interlaced:
                predict = by_fields(predict)
            with self._clock.measure("model"):
                images = predict(before, after, stretch.n_frames)
            for image, time in zip(images, stretch.times[first:], strict=False):
                self._score(image, time, stretch)
                yield self._crew.begin(partial(from_rgb, image, like=like, time=time))

    def _show(self) -> tuple[list[Image], list[Image]]:
        """What the network is shown on both sides."""
        before, after = self._choose()
        promises = [each.begin(self._crew) for each in (*before, *after)]
        images = [promise.get() for promise in promises]
        check_alike(images)
        return images[: len(before)], images[len(before) :]

    def _choose(self) -> tuple[list[_Known], list[_Known]]:
        """The frames to show on both sides: of one shot and evenly spaced."""
        known, at = self._known, self._at
        interval = known[at + 1].frame.time - known[at].frame.time
        slack = max(self._conversion.tick, interval * _EVEN)

        def follows(index: int) -> bool:
            two, one = known[index], known[index - 1]
            apart = two.frame.time - one.frame.time
            return not two.is_cut and abs(apart - interval) <= slack

        first, last = at, at + 2
        while first > max(0, at + 1 - self._context) and follows(first):
            first -= 1
        while last < min(len(known), at + 1 + self._context) and follows(last):
            last += 1
        shown = list(known)
        return shown[first : at + 1], shown[at + 1 : last]

    def _score(self, image: np.ndarray, time: Fraction, stretch: Stretch) -> None:
        if self._truth is None:
            return
        times = [t for t in (stretch.kept, *stretch.times) if t is not None]
        step = min((b - a for a, b in pairwise(times)), default=Fraction(1, 25))
        # At the same moment, but for the rounding of two clocks: what moves is elsewhere later.
        true = self._truth.find(time, tolerance=min(max(step / 16, _ROUNDING), step / 2))
        score = None if true is None else score_frame(image, true)
        if score is not None:
            self.tally.scores.add(score)


def _hold(stretch: Stretch, before: Frame, after: Frame) -> Iterator[Frame]:
    """The real frame, if it is kept, and for new times the nearer one: the earlier, if in doubt."""
    if stretch.kept is not None:
        yield dataclasses.replace(before, time=stretch.kept)
    for time in stretch.times:
        near = before if time - before.time <= after.time - time or after is before else after
        yield dataclasses.replace(near, time=time, duration=Fraction(0))  # as of a new one


def make_report(
    source: Path,
    target: Path,
    tally: Tally,
    clock: StageClock,
    *,
    rate_in: Fraction | None,
    rate_out: Fraction | None,
    n_damaged: int = 0,
    n_errors: int = 0,
    n_streams: int | None = None,
    left_out: tuple[str, ...] = (),
    predictor: Predictor | None = None,
    dry_run: bool = False,
) -> InterpolateReport:
    """Put together what was counted."""
    score = tally.scores.mean()
    return InterpolateReport(
        input=source,
        output=target,
        frames_in=tally.n_frames,
        frames_kept=tally.n_kept,
        frames_made=tally.n_made,
        frames_held=tuple(HeldReport(reason, n) for reason, n in sorted(tally.held.items())),
        cuts=tally.n_cuts,
        rate_in=rate_in,
        rate_out=rate_out,
        largest_shift=tally.shift,
        frames_damaged=n_damaged,
        decode_errors=n_errors,
        frames_scored=tally.scores.n,
        psnr=score.psnr,
        ssim=score.ssim,
        streams_copied=n_streams,
        streams_left_out=left_out,
        model=None if predictor is None else predictor.name,
        device=None if predictor is None else predictor.device,
        dry_run=dry_run,
        seconds=clock.seconds(),
    )
