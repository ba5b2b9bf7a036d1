"""Filling gaps: one bounded walk over a video that makes the missing frames and keeps the others.

``tasks`` turns the plan into windows of slots. A real frame is held only while a task still has to
look at it, and a frame to be written only until the gaps before it are done; so memory does not
grow with the length of the video.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from .accounts import GapScores, report_fill, report_frames
from .confidence import GapEvidence, estimate_score, measure_calm
from .decisions import explain_gap, explain_made
from .errors import OutputError
from .excerpts import plan_excerpts
from .fields import by_fields
from .insertion import InsertionLike, SoundChoice, SoundRule, choose_sound, parse_insertions
from .journal import Journal, Outcome, name_window, open_journal
from .mending import Mended, Mender
from .outputs import check_output, copy_file, is_pipe, name_output
from .ranges import GapLike
from .relay import Crew, Promise, await_value, work_beside
from .reports import FillReport, OnProgress, Progress, StageClock
from .rereading import Rereading
from .scanning import ScanReport, complain_of_one, read_slots, scan
from .scoring import Score, TrueFrames, align, check_same_size, score_frame, score_image
from .sequences import is_sequence
from .shown import ShownFrames, check_alike
from .splicing import list_wishes
from .stages import VideoSink, choose_crew_size, choose_lead, read_video, write_video
from .tasks import Task, list_tasks
from .timeline import CONTEXT, Kind, Plan, Slot
from .video import Encoding, Frame, Unread, VideoReader, from_rgb, plan_graft, to_rgb
from .views import Views, Watch

if TYPE_CHECKING:
    from .predictor import Predictor

__all__ = ["fill_gaps"]

_log = logging.getLogger(__name__)

Shown = tuple[list[np.ndarray], list[np.ndarray]]  # the frames before and after, (H, W, 3) each

_SCORED_PIXELS = 2**23  # at a time: PSNR takes about 50 bytes for each of them


def fill_gaps(
    input: str | Path,
    output: str | Path | None = None,
    *,
    gaps: str | Iterable[GapLike] | None = None,
    insert: str | Iterable[InsertionLike] = (),
    sound: SoundRule = "auto",
    predictor: Predictor | None = None,
    device: str = "auto",
    detect: Kind | Collection[Kind] = ("missing", "corrupt", "smeared", "frozen", "closed"),
    max_gap: int = 16,
    context: int = CONTEXT,
    self_check: bool = True,
    mend: bool = True,
    adapt: int | None = None,
    seed: int = 1,
    reference: str | Path | None = None,
    codec: str | None = None,
    crf: int | None = None,
    preset: str | None = None,
    lossless: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    views: Views | None = None,
    on_progress: OnProgress = None,
    on_note: Callable[[str], None] | None = None,
    on_plan: Callable[[ScanReport], None] | None = None,
) -> FillReport:
    """Make the frames that a video lacks; keep every other frame, time and stream as it is.

    Without anything to fill no file is written, unless ``output`` is given: it then becomes a copy
    of the input.

    Args:
        input: the video; it is only read.
        output: the new video, or a folder for it; default: ``clip.filled.mp4`` beside ``clip.mp4``.
        gaps: gaps to make anew whatever is there, as text (``"120:128"``), numbers
            (``(120, 128)``) or values of ``ranges``.
        insert: new frames where the recording was closed up, as text, numbers or values of
            ``insertion``: ``"120:3"`` makes three before slot 120. What follows is later in the
            output by as many steps. Gaps are named as if nothing was inserted, and reported as it
            is then.
        sound: what becomes of the other streams and the chapters behind an insertion: "keep" leaves
            their times, as is right if sound ran on while pictures were lost; "move" moves them
            with the pictures; "auto" judges by where the sound ends, and the report says how.
        predictor: the network; default: the packaged one, loaded when there is work for it.
        device: where that default network runs.
        detect: the kinds of gap to look for: missing, corrupt, smeared, frozen, black;
            and "closed", which only tells where ``insert`` may be wanted.
        max_gap: most frames that are synthesized in one gap.
        context: most real frames shown to the network on each side.
        self_check: estimate the quality on real frames hidden beside each gap.
        mend: keep what is right in damaged frames, where it can be told, and make only the rest
            anew; else they are replaced whole.
        adapt: fine-tune a copy of the network on the video's known frames for so many steps, and
            use it if it predicts hidden ones better; decodes the video once more.
        seed: of all random choices of ``adapt``.
        reference: the undamaged video, to score the made frames against; matched by time.
        codec, crf, preset, lossless: as in ``video.Encoding``; or the codec "copy": packets
            of groups of pictures without a gap are copied, the others encoded to go with them.
        overwrite: replace an output that exists.
        resume: go on from what an interrupted run on the same input has made, and keep what this
            one makes if it is interrupted too, see ``journal``; the output is the same.
        dry_run: decide everything, write no video, load no network.
        views: what else is to be written for a person to see what was done; a dry run gives the
            report alone, as a plan.
        on_progress: called with the stages "scan", "adapt" and "fill".
        on_note: called with lines for people, about what an interrupted run has left.
        on_plan: called once with what was found and is going to be done; not in a dry run.

    Raises:
        MediaError: the input or the reference cannot be read.
        GapError: a named gap is malformed, outside, overlapping, or has no frame on either side; or
            an insertion is, or nothing tells whether sound was lost at it.
        OutputError: the output or a view exists, is the input, or cannot be written; or the codec
            is "copy" and frames are to be inserted.
        ModelError: the packaged network cannot be loaded.
        EvaluationError: the reference has another size.
    """
    encoding = Encoding(codec=codec, crf=crf, preset=preset, lossless=lossless)
    views = views or Views()
    insertions = parse_insertions(insert)
    if insertions and codec == "copy":
        raise OutputError(
            f"{input}: with the codec copy nothing can be inserted, as all later pictures move; "
            "leave it out, or use --lossless"
        )
    source = Path(input)
    target = name_output(source, "filled", output=None if output is None else Path(output))
    if not dry_run:
        others = (None if reference is None else Path(reference),)
        check_output(source, target, overwrite=overwrite, others=others)
    views.check(source, (target, None if reference is None else Path(reference)))
    if reference is not None:
        check_same_size(Path(reference), source)

    clock = StageClock()
    with clock.measure("decode"):
        scanned = scan(
            source,
            detect=detect,
            gaps=() if gaps is None else gaps,
            insert=insertions,
            max_gap=max_gap,
            context=context,
            on_progress=on_progress,
        )
    plan = scanned.plan
    for planned in plan.gaps:
        _log.info("%s", explain_gap(plan, planned, context=context))
    show = partial(views.show_fill, info=scanned.info, plan=plan)
    if scanned.n_frames < 2:
        raise complain_of_one(source)
    moves = _choose_sound(scanned, sound) if insertions else None
    is_copied = codec == "copy" or (codec is None and crf is None)
    is_same = not plan.n_to_make and target.suffix.lower() == source.suffix.lower() and is_copied
    is_same = is_same and not is_pipe(target) and not is_sequence(source)
    graft = None
    if codec == "copy" and not is_same and (plan.n_to_make or output is not None):
        graft = plan_graft(scanned.info, list_wishes(plan), output=target, encoding=encoding)
    if on_plan is not None and not dry_run:
        on_plan(scanned)
    if dry_run:
        to_write = target if plan.n_to_make else None
        return show(
            report_fill(scanned, to_write, clock.seconds(), moves=moves, graft=graft, dry_run=True)
        )
    if not plan.n_to_make:
        if views.preview or views.contact_sheet or views.frames_dir:
            _say(on_note, f"{source}: nothing was made, so there is nothing to show but a report")
        if output is None:
            return show(report_fill(scanned, None, clock.seconds()))
        predictor = None
        if is_same:
            copy_file(source, target)  # encoding it anew could only lose something
            n_streams = len(scanned.info.other_streams)
            return show(
                report_fill(scanned, target, clock.seconds(), n_streams=n_streams, is_copy=True)
            )
    elif predictor is None:
        from .predictor import Predictor

        predictor = Predictor.load("default", device=device)
    n_halvings = 0 if predictor is None else predictor.tiling.n_halvings
    adaptation = None
    if adapt is not None and predictor is not None:
        from .adaptation import fine_tune, plan_lessons

        size = (scanned.info.height, scanned.info.width)
        lessons = plan_lessons(plan, list_tasks(plan, context), size=size)
        pictures = read_slots(source, plan, lessons.slots, frame_threads=not scanned.is_damaged)
        predictor, adaptation = fine_tune(
            predictor, lessons, pictures, n_steps=adapt, seed=seed, on_progress=on_progress
        )

    mender = Mender(scanned, mend=mend)
    tasks = list_tasks(plan, context if self_check else None, mendable=mender.slots)
    excerpts = None
    if graft is not None and not scanned.is_damaged and not views.are_any:
        excerpts = plan_excerpts(graft, plan, tasks)
    journal = None
    with ExitStack() as stack:
        if predictor is not None:
            place = target
            if is_pipe(target):  # there is nothing to keep it beside
                place = Path(stack.enter_context(TemporaryDirectory(prefix="framepred-"))) / "out"
            journal = stack.enter_context(
                open_journal(
                    place,
                    source=source,
                    network=predictor.fingerprint,
                    resume=resume,
                    on_note=on_note,
                )
            )
        watch = stack.enter_context(views.watch(scanned.info, plan))
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
                graft=graft,
                begin=plan.slots[0].time,
                step=plan.step,
                delay=scanned.delay,
                is_sound_moved=moves is not None and moves.is_moved,
            )
        )
        items = stack.enter_context(
            read_video(
                scanned.info,
                copy_streams=True,
                clock=clock,
                frame_threads=not scanned.is_damaged,
                damaged=mender.twinned,
                excerpts=excerpts,
            )
        )
        filler = _Filler(
            plan,
            mender,
            tasks,
            predictor,
            journal,
            clock,
            crew,
            self_check=self_check,
            truth=truth,
            watch=watch,
            is_interlaced=scanned.info.interlaced,
            lead=choose_lead(scanned.info),
        )
        for item in items:
            if isinstance(item, Frame | Unread):
                _write(writer, filler.take(item))
                if on_progress is not None:
                    on_progress(Progress("fill", filler.n_done, len(plan.slots), clock.seconds()))
            else:
                writer.copy(item)
        _write(writer, filler.finish(source))
        if truth is not None and filler.n_made and not any(each.true for each in filler.scores):
            _say(on_note, f"{reference}: has no frame at the time of one made: nothing was scored")
        if on_progress is not None:
            on_progress(Progress("fill", filler.n_done, len(plan.slots), clock.seconds()))
    report = report_fill(
        scanned,
        target,
        clock.seconds(),
        scores=filler.scores,
        n_made=filler.n_made,
        n_streams=writer.n_streams_copied,
        left_out=writer.left_out,
        predictor=predictor,
        adaptation=adaptation,
        moves=moves,
        graft=graft,
        n_halvings=n_halvings,
        n_resumed=0 if journal is None else journal.n_used,
    )
    return show(report, watch=watch)


def _choose_sound(scanned: ScanReport, rule: SoundRule) -> SoundChoice:
    """Decide what becomes of the other streams where frames are inserted."""
    slots = scanned.plan.slots
    last = slots[-1].time - slots[-1].moved
    step = scanned.plan.step or slots[-1].time - slots[-2].time
    ends = [stream.end for stream in scanned.info.other_streams if stream.kind == "audio"]
    return choose_sound(rule, ends, last + step, scanned.delay.total)


class _Filler:
    """Takes the real frames in order and gives back all frames in the order of their slots."""

    def __init__(
        self,
        plan: Plan,
        mender: Mender,
        tasks: Iterable[Task],
        predictor: Predictor | None,  # None, as the journal: there is nothing to make
        journal: Journal | None,
        clock: StageClock,
        crew: Crew,
        *,
        self_check: bool,
        truth: TrueFrames | None,
        watch: Watch,
        is_interlaced: bool,
        lead: int,  # slots that are taken ahead of a task: the crew works on them beside it
    ) -> None:
        self._slots = plan.slots
        self._lead = lead
        self._is_interlaced = is_interlaced
        self._predictor = predictor
        self._journal = journal
        self._network = "" if predictor is None else predictor.fingerprint
        self._clock = clock
        self._crew = crew
        self._truth = truth
        self._watch = watch
        self._self_check = self_check
        self._mender = mender
        self._tasks = deque(tasks)
        self._plan = plan
        self._n_open = Counter(task.gap for task in self._tasks)  # tasks to be done, by gap
        # The first slot that any task from here on looks at: what lies before it can go.
        firsts = accumulate((task.first for task in reversed(self._tasks)), min)
        self._needed_from = deque(reversed(list(firsts)))
        self._made_slots = {
            slot
            for planned in plan.gaps
            if planned.action != "leave"
            for slot in range(planned.gap.start, planned.gap.stop)
        }
        self._rereading = Rereading(plan.slots)
        self._shown = ShownFrames(self._tasks, crew)  # real frames that a task will look at
        # Frames whose turn to be written has not come.
        self._ready: dict[int, Frame | Unread | Promise[Frame]] = {}
        self.n_done = 0  # slots written or passed over
        self.n_made = 0
        self.scores = [GapScores(GapEvidence(p.gap.start, p.gap.stop)) for p in plan.gaps]

    def take(self, frame: Frame | Unread) -> Iterator[Frame | Unread | Promise[Frame]]:
        """Take the next frame; yield the frames that can be written now.

        Raises:
            MediaError: it is not the frame that the scan saw in its place.
        """
        slot = self._rereading.place(frame)
        if slot is None:
            return
        frame = dataclasses.replace(frame, time=self._slots[slot].time)
        if slot not in self._made_slots:
            self._ready[slot] = frame
        if isinstance(frame, Frame):
            self._watch.see_input(slot, frame)
            self._mender.take(slot, frame)
            is_looked_at = self._needed_from and slot >= self._needed_from[0]
            if slot in self._ready and is_looked_at:
                self._shown.add(slot, frame)
        while self._tasks and self._tasks[0].ready_at + self._lead <= slot:
            self._perform(self._tasks.popleft())
        yield from self._release()

    def finish(self, source: Path) -> Iterator[Frame | Unread | Promise[Frame]]:
        """Yield the rest after the last decoded frame.

        Raises:
            MediaError: the file gave fewer frames than when it was scanned.
        """
        self._rereading.finish(source)
        while self._tasks:
            self._perform(self._tasks.popleft())
        yield from self._release()

    def _release(self) -> Iterator[Frame | Unread | Promise[Frame]]:
        """Yield what is ready, up to the first slot that still waits for its frame."""
        while self.n_done < len(self._slots):
            slot = self.n_done
            if slot in self._ready:
                yield self._ready.pop(slot)
            elif slot in self._made_slots or self._slots[slot].source is not None:
                return
            self.n_done += 1

    def _perform(self, task: Task) -> None:
        slots = range(task.start, task.stop)
        if task.is_hold:
            before = [self._shown[slot] for slot in range(task.first, task.start)]
            after = [self._shown[slot] for slot in range(task.stop, task.last)]
            for slot in slots:
                near = _nearest(slot, task, before, after)
                made = dataclasses.replace(near, time=self._slots[slot].time, duration=Fraction(0))
                self._keep(slot, made, to_rgb(made) if self._truth else None, task)
        else:
            self._fill(task)
        self._n_open[task.gap] -= 1
        if not self._n_open[task.gap]:
            planned = self._plan.gaps[task.gap]
            frames = report_frames(planned, self._plan, self.scores[task.gap])
            _log.info("%s", explain_made(planned, frames))
            self._watch.see_scores(task.gap, frames)
        self._needed_from.popleft()
        self._shown.forget(self._needed_from[0] if self._needed_from else len(self._slots))

    def _fill(self, task: Task) -> None:
        """Make a task's frames from what is shown to the network, or score it in a check."""
        shown, digests = self._show(task)
        name = self._name_window(task, digests)
        outcome = self._find(name, task, shown)
        made: dict[int, Promise[Frame]] = {}
        if outcome is None:
            images = self._predict(shown, task)
            measured = [
                self._crew.begin(partial(measure_calm, image, *shown, task, slot))
                for slot, image in zip(task.made, images, strict=True)
            ]
            made = self._begin_frames(task, images)
            scores = self._score_check(task, images) if task.is_check else ()
            calms = tuple(calm.get() for calm in measured)
            outcome = Outcome(None if task.is_check else images, calms, scores)
            assert self._journal is not None
            self._journal.add(name, outcome)
        elif outcome.images is not None:
            made = self._begin_frames(task, outcome.images)
        if self._self_check:
            self.scores[task.gap].evidence.note(task, outcome.calms, outcome.scores)
        if outcome.images is None:
            return
        nearest = [*shown[0][-1:], *shown[1][:1]]
        for slot, image in zip(range(task.start, task.stop), outcome.images, strict=True):
            if slot in made:
                self._keep(slot, made[slot], image, task)
                continue
            mended = self._mend(slot, image, nearest, task)
            frame = mended.decoded or self._plan_frame(task, slot, mended.image)()
            self._keep(slot, frame, mended.image, task)

    def _begin_frames(self, task: Task, images: np.ndarray) -> dict[int, Promise[Frame]]:
        """Have frames made of the images, but where something of a damaged one is kept."""
        if task.is_check:
            return {}
        return {
            slot: self._crew.begin(self._plan_frame(task, slot, image))
            for slot, image in zip(range(task.start, task.stop), images, strict=True)
            if not self._mender.waits(slot)
        }

    def _plan_frame(self, task: Task, slot: int, image: np.ndarray) -> Callable[[], Frame]:
        """How to make a frame of an image: the real ones may be forgotten until it is made."""
        near = task.start - 1 if task.start > task.first else task.stop
        return partial(from_rgb, image, like=self._shown[near], time=self._slots[slot].time)

    def _show(self, task: Task) -> tuple[Shown, list[bytes]]:
        """What the network is shown for a task, and the digests of it."""
        known = self._shown.look_up([*range(task.first, task.start), *range(task.stop, task.last)])
        images = [picture.image for picture in known]
        check_alike(images)
        n_before = task.start - task.first
        return (images[:n_before], images[n_before:]), [picture.digest for picture in known]

    def _name_window(self, task: Task, digests: list[bytes]) -> str:
        """The name by which the journal knows a task; digests: those of what is shown."""
        for slots in self._list_judged(task):
            digests += [picture.digest for picture in self._shown.look_up(slots)]
        sides = (task.start - task.first, task.stop - task.start, task.last - task.stop)
        return name_window(self._network, digests, sides, task.is_check, self._is_interlaced)

    def _find(self, name: str, task: Task, shown: Shown) -> Outcome | None:
        """What the journal knows of a task."""
        assert self._journal is not None
        n = len(task.made)
        like = (shown[0] or shown[1])[0]
        size = (n, 0, 0, 3) if task.is_check else (n, *like.shape)
        return self._journal.find(name, size, like.dtype)

    def _score_check(self, task: Task, images: np.ndarray) -> tuple[Score, ...]:
        """Score the frames that a check has made beside those that it hid."""
        scores: list[Score] = []
        made = iter(images)
        for slots in self._list_judged(task):
            promises = [
                self._crew.begin(partial(score_image, next(made), picture.image))
                for picture in self._shown.look_up(slots)
            ]
            scores += [promise.get() for promise in promises]
        return tuple(scores)

    def _list_judged(self, task: Task) -> Iterator[tuple[int, ...]]:
        """The slots that a check makes, so many at a time as are scored side by side."""
        if not task.is_check:
            return
        native = self._shown[task.start].native
        n = max(1, min(self._crew.n_threads, _SCORED_PIXELS // (native.width * native.height)))
        for first in range(0, len(task.made), n):
            yield task.made[first : first + n]

    def _mend(self, slot: int, image: np.ndarray, nearest: list[np.ndarray], task: Task) -> Mended:
        """Put into a made image what is right in the damaged frame."""
        scores = self.scores[task.gap]
        known = scores.evidence.weigh(slot)  # the gap's self-checks are done: its task waits
        expected = estimate_score(known).psnr if known else None
        mended = self._mender.mend(slot, image, nearest, expected=expected)
        if mended.kept is not None:
            scores.kept[slot] = mended.kept
        return mended

    def _predict(self, shown: Shown, task: Task) -> np.ndarray:
        assert self._predictor is not None
        with self._clock.measure("model"):
            fill = self._predictor.fill
            predict = by_fields(fill) if self._is_interlaced else fill
            n_missing = task.stop - task.start
            made: np.ndarray = predict(*shown, n_missing, steps=task.steps)
        return made

    def _keep(
        self, slot: int, made: Frame | Promise[Frame], image: np.ndarray | None, task: Task
    ) -> None:
        """Put a made frame in the line of those to be written, and score it if there is a truth."""
        self._ready[slot] = made
        self.n_made += 1
        true = None
        if self._truth is not None and image is not None:
            time, tolerance = self._slots[slot].time, _half_step(self._slots, slot)
            true = self._truth.find(time, tolerance=tolerance)
            score = None if true is None else score_frame(image, true)
            if score is not None:
                self.scores[task.gap].true[slot] = score
        if self._watch.watchers:
            self._watch.see_made(slot, await_value(made), true)


def _nearest(slot: int, task: Task, before: list[Frame], after: list[Frame]) -> Frame:
    """The real frame to repeat in a slot that is held: the earlier one when both are as near."""
    if not after or (before and slot - task.start <= task.stop - 1 - slot):
        return before[-1]
    return after[0]


def _half_step(slots: Sequence[Slot], slot: int) -> Fraction:
    """Half the time to the nearer neighbour of a slot: any frame closer than that is the same."""
    near = slots[max(0, slot - 1) : slot + 2]
    steps = [b.time - a.time for a, b in pairwise(near)]
    return min(steps, default=Fraction(0)) / 2


def _say(on_note: Callable[[str], None] | None, line: str) -> None:
    if on_note is not None:
        on_note(line)


def _write(writer: VideoSink, frames: Iterable[Frame | Unread | Promise[Frame]]) -> None:
    for frame in frames:
        writer.write(frame)
