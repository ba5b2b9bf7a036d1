"""Forecasting: the frames after the last one, or after any moment, optionally beside the truth."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import GapError, MediaError, OutputError, check_counts
from .excerpts import plan_excerpts
from .fields import by_fields
from .outputs import check_output, name_output
from .phrases import count
from .ranges import NAMED_TOLERANCE
from .reports import ForecastReport, OnProgress, Progress, StageClock, StepScore
from .rereading import complain_of_fewer
from .scanning import complain_of_one, read_slots, scan
from .scoring import Score, mean_score, score_frame
from .splicing import Wish, list_wishes
from .stages import VideoSink, read_video, write_video
from .tasks import Runs, Task
from .timeline import MOST_AHEAD, Gap, Plan, PlannedGap, Slot, format_time
from .video import Encoding, Frame, Unread, from_rgb, plan_graft, to_rgb
from .views import Views, Watch

if TYPE_CHECKING:
    from .predictor import Predictor

__all__ = ["forecast"]

_log = logging.getLogger(__name__)

_MOST_SKIPPED = 16  # damaged frames at the end, beyond which what was before tells nothing
_MOST_APART = 10  # seconds that streams may be stored apart: FFmpeg's muxers wait no longer


def forecast(
    input: str | Path,
    output: str | Path | None = None,
    *,
    n_frames: int,
    start: Fraction | None = None,
    only_new: bool = False,
    hold_out: bool = False,
    predictor: Predictor | None = None,
    device: str = "auto",
    context: int = 8,
    adapt: int | None = None,
    seed: int = 1,
    codec: str | None = None,
    crf: int | None = None,
    preset: str | None = None,
    lossless: bool = False,
    overwrite: bool = False,
    views: Views | None = None,
    on_progress: OnProgress = None,
    on_made: Callable[[np.ndarray], None] | None = None,
) -> ForecastReport:
    """Synthesize the ``n_frames`` frames that come after the end of a video, or after ``start``.

    ::

        without start    | | | | | | | | | | + + + +      everything, then the new frames
        with start       | | | | | + + + +                the output ends with the forecast
        hold out         | | | | | | # # # #              the last real frames hidden and scored

    Args:
        input: the video; it is only read.
        output: the new video, or a folder for it; default: ``clip.forecast.mp4`` beside
            ``clip.mp4``, and with ``hold_out`` none.
        n_frames: how many frames to make, 1 to 1000.
        start: seconds on the file's clock; the last frame up to then is the last one kept.
        only_new: write the new frames alone, from time 0, without other streams.
        hold_out: forecast frames that are there, and score the forecast against them.
        predictor: the network; default: the packaged one.
        device: where that default network runs.
        context: most real frames shown to the network; a scene cut or a gap before them ends them.
        adapt: fine-tune a copy of the network for so many steps on the known frames up to where
            the forecast begins, and use it if it predicts hidden ones better.
        seed: of all random choices of ``adapt``.
        codec, crf, preset, lossless: as in ``video.Encoding``; or the codec "copy": packets
            are copied as far as can be, and only what is new is encoded.
        overwrite: replace an output that exists.
        views: a report for a person to see what was done; a forecast has no other views.
        on_progress: called with the stages "scan", "adapt" and "forecast".
        on_made: called once with the frames made, (n_frames, H, W, 3) RGB, uint8 or uint16.

    Raises:
        MediaError: the input cannot be read, or has too few frames to hold any out.
        GapError: ``start`` lies outside the video.
        OutputError: the output or a view exists, is the input, or cannot be written.
        ModelError: the packaged network cannot be loaded.
    """
    check_counts(n_frames=n_frames, context=context)
    if n_frames > MOST_AHEAD:
        raise ValueError(f"n_frames must be at most {MOST_AHEAD}, got {n_frames}")
    source = Path(input)
    target = name_output(source, "forecast", output=None if output is None else Path(output))
    writes = output is not None or not hold_out
    if writes:
        check_output(source, target, overwrite=overwrite)
    views = views or Views()
    if views.preview or views.contact_sheet or views.frames_dir:
        raise ValueError("of a forecast there is a report, but none of the other views")
    views.check(source, (target if writes else None,))

    encoding = Encoding(codec=codec, crf=crf, preset=preset, lossless=lossless)
    clock = StageClock()
    with clock.measure("decode"):
        scanned = scan(source, context=context, on_progress=on_progress)
    outlook = _look_ahead(scanned.plan, source, n_frames, start, context, hold_out=hold_out)
    shown = outlook.task
    _log.info(
        "forecast from frames %d:%d, %d of at most %d: a cut, a gap or the start ends them; "
        "first new time %s, then every %s s",
        *(
            shown.first,
            shown.first + outlook.n_context,
            outlook.n_context,
            context,
            format_time(outlook.times[0]),
        ),
        scanned.plan.step or "(usual step)",
    )
    graft = None
    if codec == "copy" and writes:
        if only_new:
            raise OutputError(
                f"{source}: new frames alone leave nothing to copy; leave --codec copy out"
            )
        graft = plan_graft(
            scanned.info,
            [
                *list_wishes(scanned.plan, stop=outlook.task.start),
                *(Wish(time, is_kept=False, is_made=True) for time in outlook.times),
            ],
            output=target,
            encoding=encoding,
        )
    excerpts = None
    if graft is not None and not (scanned.is_damaged or views.are_any or outlook.truths):
        excerpts = plan_excerpts(graft, scanned.plan, [outlook.task])
    if predictor is None:
        from .predictor import Predictor

        predictor = Predictor.load("default", device=device)
    n_halvings = predictor.tiling.n_halvings
    adaptation = None
    if adapt is not None:
        from .adaptation import fine_tune, plan_lessons

        lessons = plan_lessons(
            scanned.plan,
            [outlook.task],
            size=(scanned.info.height, scanned.info.width),
            unknown=range(outlook.task.start, len(scanned.plan.slots)),
        )
        pictures = read_slots(
            source, scanned.plan, lessons.slots, frame_threads=not scanned.is_damaged
        )
        predictor, adaptation = fine_tune(
            predictor, lessons, pictures, n_steps=adapt, seed=seed, on_progress=on_progress
        )

    seen_plan = _plan_forecast(scanned.plan, outlook)
    with ExitStack() as stack:
        watch = stack.enter_context(views.watch(scanned.info, seen_plan))
        copy_streams = writes and not only_new
        first_time = next(s.time for s in scanned.plan.slots if s.source is not None)
        writer = None
        if writes:
            writer = stack.enter_context(
                write_video(
                    target,
                    like=scanned.info,
                    copy_streams=copy_streams,
                    clock=clock,
                    encoding=encoding,
                    overwrite=overwrite,
                    graft=graft,
                    begin=None if only_new else first_time,
                    step=scanned.plan.step,
                    stop=outlook.stop,
                    is_recounted=only_new,
                )
            )
        items = stack.enter_context(
            read_video(
                scanned.info,
                copy_streams=copy_streams,
                clock=clock,
                frame_threads=not scanned.is_damaged,
                excerpts=excerpts,
            )
        )
        walk = _Walk(
            outlook,
            predictor,
            clock,
            writer,
            watch,
            first_shown=scanned.plan.slots[outlook.task.first].source or 0,
            only_new=only_new,
            is_interlaced=scanned.info.interlaced,
        )
        others_lag = _MOST_APART if copy_streams and scanned.info.other_streams else 0
        for item in items:
            if not isinstance(item, Frame | Unread):
                walk.pass_packet(item)
            elif outlook.stop is not None and item.time >= outlook.stop:
                if item.time >= outlook.stop + others_lag:
                    break
            else:
                walk.take(item)
                if on_progress is not None:
                    on_progress(
                        Progress("forecast", item.index + 1, scanned.n_frames, clock.seconds())
                    )
        if not walk.made:
            raise complain_of_fewer(source)
    if on_made is not None:
        on_made(np.stack(walk.made))
    mean = mean_score(list(walk.scores.values()))
    report = ForecastReport(
        input=source,
        output=target if writes else None,
        frames_in=scanned.n_frames,
        frames_made=n_frames,
        frame_rate=None if scanned.plan.step is None else 1 / scanned.plan.step,
        time=outlook.times[0],
        context=outlook.n_context,
        damaged_before=outlook.n_skipped,
        hold_out=hold_out,
        only_new=only_new,
        psnr=mean.psnr,
        ssim=mean.ssim,
        frames=tuple(walk.report_frames()),
        streams_copied=writer.n_streams_copied if writer is not None else None,
        streams_left_out=writer.left_out if writer is not None else (),
        model=predictor.name,
        device=predictor.device,
        adaptation=adaptation,
        seconds=clock.seconds(),
        copied=None if graft is None else graft.report(),
        tile_px=predictor.tiling.side,
        tile_halvings=predictor.tiling.n_halvings - n_halvings,
        motion_halvings=predictor.tiling.n_motion_halvings,
    )
    views.show_forecast(report, info=scanned.info, plan=seen_plan, watch=watch)
    return report


@dataclass(frozen=True)
class _Outlook:
    """What is shown, what is made, and when."""

    task: Task
    last_kept: int  # index of the decoded frame after which the forecast begins
    last_shown: int  # of the last one that it is made from: the same, if that is no damaged one
    n_skipped: int  # frames between the two
    times: tuple[Fraction, ...]  # of the frames to make
    truths: dict[int, int]  # decoded frame -> step from 0, for the frames held out
    stop: Fraction | None  # where the output ends; None: everything behind is kept

    @property
    def n_context(self) -> int:
        return self.task.start - self.n_skipped - self.task.first


def _look_ahead(
    plan: Plan, source: Path, n_frames: int, start: Fraction | None, context: int, *, hold_out: bool
) -> _Outlook:
    """Choose the last frame shown and the times of the frames to make."""
    slots = plan.slots
    step = _usual_step(plan, source)
    if start is not None:
        first, last = slots[0].time, slots[-1].time
        if not first <= start <= last + step:
            raise GapError(
                f"{source}: {format_time(start)} lies outside the video, "
                f"whose frames are at {format_time(first)}-{format_time(last)}"
            )
        # A time that people give was rounded to milliseconds, by this program too.
        anchor = bisect_right(slots, start + NAMED_TOLERANCE, key=lambda slot: slot.time) - 1
    else:
        anchor = len(slots) - 1 - (n_frames if hold_out else 0)
    while anchor >= 0 and slots[anchor].source is None:
        anchor -= 1
    if anchor < 0 or (hold_out and anchor + n_frames >= len(slots)):
        raise MediaError(
            f"{source}: has {len(slots)} frames, too few to hold {n_frames} out; ask for fewer"
        )
    sound = _find_sound(plan, anchor)
    last_kept, last_shown = slots[anchor].source, slots[sound].source
    assert last_kept is not None
    assert last_shown is not None
    times = tuple(slots[anchor].time + k * step for k in range(1, n_frames + 1))
    truths: dict[int, int] = {}
    if hold_out:
        hidden = slots[anchor + 1 : anchor + 1 + n_frames]
        times = tuple(slot.time for slot in hidden)
        damaged = _list_damaged(plan)
        truths = {
            slot.source: k
            for k, slot in enumerate(hidden)
            if slot.source is not None and anchor + 1 + k not in damaged
        }
    n_context = max(1, Runs(plan).before(sound + 1, context))
    stop = anchor + 1 + n_frames
    return _Outlook(
        task=Task(sound + 1 - n_context, anchor + 1, stop, stop, gap=0),
        last_kept=last_kept,
        last_shown=last_shown,
        n_skipped=anchor - sound,
        times=times,
        truths=truths,
        stop=times[-1] + step if start is not None or hold_out else None,
    )


def _find_sound(plan: Plan, anchor: int) -> int:
    """The last slot up to ``anchor`` that no gap holds; itself, where that is too far to foresee.

    Damaged frames at the end of what there is are stepped over, as those to be made are.
    """
    damaged = _list_damaged(plan)
    for slot in range(anchor, max(-1, anchor - _MOST_SKIPPED - 1), -1):
        if plan.slots[slot].source is not None and slot not in damaged:
            return slot
    return anchor


def _list_damaged(plan: Plan) -> set[int]:
    """The slots in gaps."""
    gaps = (planned.gap for planned in plan.gaps)
    return {slot for gap in gaps for slot in range(gap.start, gap.stop)}


def _plan_forecast(plan: Plan, outlook: _Outlook) -> Plan:
    """What is shown and made, as a plan: the forecast is its only gap, at its end."""
    task = outlook.task
    made = Gap(task.start, task.stop, "named")
    reason = f"forecast from the {outlook.n_context} before"
    if outlook.n_skipped:
        reason += f" {count(outlook.n_skipped, 'damaged one')}"
    return Plan(
        (*plan.slots[: task.start], *(Slot(time, None) for time in outlook.times)),
        plan.step,
        (PlannedGap(made, "forecast", reason, task.start - task.first, 0, None),),
        tuple(cut for cut in plan.cuts if cut < task.start),
    )


def _usual_step(plan: Plan, source: Path) -> Fraction:
    """The time from frame to frame; where it varies, the median of the last ones."""
    if plan.step is not None:
        return plan.step
    times = [slot.time for slot in plan.slots[-9:]]
    if len(times) < 2:
        raise complain_of_one(source)
    steps = sorted(b - a for a, b in pairwise(times))
    return steps[len(steps) // 2]


@dataclass
class _Walk:
    """The second reading: keep what is before, make what comes after, score it if it is known."""

    outlook: _Outlook
    predictor: Predictor
    clock: StageClock
    writer: VideoSink | None
    watch: Watch
    first_shown: int  # index of the decoded frame
    only_new: bool
    is_interlaced: bool
    made: list[np.ndarray] = field(default_factory=list)  # (H, W, 3) RGB, held out frames only
    scores: dict[int, Score] = field(default_factory=dict)  # by step from 0
    held_scores: dict[int, Score] = field(default_factory=dict)  # likewise, of the last frame shown
    _last_image: np.ndarray | None = None
    _shown: deque[Frame] = field(default_factory=deque)

    def take(self, frame: Frame | Unread) -> None:
        """A frame: kept, then shown, or a truth to score against."""
        if isinstance(frame, Unread):
            self._write(frame)
        elif frame.index <= self.outlook.last_kept:
            if not self.only_new:
                self._write(frame)
            if frame.index <= self.outlook.last_shown:
                self._shown.append(frame)
                if frame.index >= self.first_shown:
                    self.watch.see_input(
                        self.outlook.task.first + frame.index - self.first_shown, frame
                    )
                if len(self._shown) > self.outlook.n_context:
                    self._shown.popleft()
            if frame.index == self.outlook.last_kept:
                self._make()
        elif frame.index in self.outlook.truths:
            step = self.outlook.truths[frame.index]
            for scores, image in (
                (self.scores, self.made[step]),
                (self.held_scores, self._last_image),
            ):
                score = None if image is None else score_frame(image, frame)
                if score is not None:
                    scores[step] = score
            self.watch.see_true(self.outlook.task.start + step, frame)

    def pass_packet(self, packet: Any) -> None:
        """A packet of another stream: copied up to where the output ends."""
        stop = self.outlook.stop
        if self.writer is None or self.only_new:
            return
        if stop is not None and packet.pts is not None:
            base = Fraction(packet.time_base.numerator, packet.time_base.denominator)
            if packet.pts * base >= stop:
                return
        self.writer.copy(packet)

    def _make(self) -> None:
        images = [to_rgb(frame) for frame in self._shown]
        last = images[-1]
        same = [i for i in images if (i.shape, i.dtype) == (last.shape, last.dtype)]
        with self.clock.measure("model"):
            forecast = self.predictor.forecast
            predict = by_fields(forecast) if self.is_interlaced else forecast
            n_skipped = self.outlook.n_skipped
            made = predict(np.stack(same), n_skipped + len(self.outlook.times))[n_skipped:]
        self.made = list(made)
        self._last_image = images[-1] if self.outlook.truths else None
        first = self.outlook.times[0] if self.only_new else Fraction(0)
        start = self.outlook.task.start
        for slot, (image, time) in enumerate(zip(made, self.outlook.times, strict=True), start):
            frame = from_rgb(image, like=self._shown[-1], time=time - first)
            self.watch.see_made(slot, frame)
            self._write(frame)
        self._shown.clear()

    def _write(self, frame: Frame | Unread) -> None:
        if self.writer is not None:
            self.writer.write(frame)

    def report_frames(self) -> list[StepScore]:
        """One line for each frame made."""
        none = Score(None, None)
        return [
            StepScore(step + 1, time, found.psnr, found.ssim, held.psnr, held.ssim)
            for step, time in enumerate(self.outlook.times)
            for found in [self.scores.get(step, none)]
            for held in [self.held_scores.get(step, none)]
        ]
