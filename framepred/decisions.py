"""What was found in a video and decided about its gaps, in words: for those who ask why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .phrases import count
from .reports import MadeFrameReport
from .timeline import Kind, Plan, PlannedGap, format_time

__all__ = ["explain_gap", "explain_made", "explain_timeline"]

_EVIDENCE: dict[Kind, str] = {
    "missing": "no packet has these times",
    "corrupt": "a packet does not decode, or decodes flagged as damaged",
    "smeared": "predicted from a damaged or lost picture, with no key frame between",
    "frozen": "repeats the picture before, and jumps behind it as the motion around goes",
    "black": "blank within a lit shot",
    "inserted": "asked for, before the frame that was there",
    "named": "named by the user",
}


def explain_timeline(plan: Plan) -> Iterator[str]:
    """Yield a line on the rate, one on every scene cut, and one on every gap and its evidence."""
    n = count(len(plan.slots), "frame")
    if plan.step is None:
        yield f"timeline: {n}, at no steady rate, so that no time without one is a hole"
    else:
        yield f"timeline: {n} due, one every {plan.step} s by the packets' time stamps"
    for cut in plan.cuts:
        if cut < len(plan.slots):
            yield f"a shot begins at frame {cut}, {format_time(plan.slots[cut].time)}"
    for planned in plan.gaps:
        gap = planned.gap
        yield (
            f"frames {gap.start}:{gap.stop}, {format_time(plan.slots[gap.start].time)}: "
            f"{gap.kind}: {_EVIDENCE[gap.kind]}"
        )


def explain_gap(plan: Plan, planned: PlannedGap, *, context: int) -> str:
    """What is done about a gap and why, which frames are shown, and why not more.

    context: most frames that were to be shown on each side.
    """
    gap = planned.gap
    text = f"frames {gap.start}:{gap.stop}: {planned.action}: {planned.reason}"
    if planned.action in ("leave", "hold"):
        return text
    first, last = gap.start - planned.n_before, gap.stop + planned.n_after
    sides = ((first, gap.start), (gap.stop, last))
    text += "; shown: " + ", ".join(f"{start}:{stop}" for start, stop in sides if start < stop)
    if planned.n_before < context:
        text += f"; not more before: {_name_limit(plan, planned, first, 'ends')}"
    if planned.n_after < context:
        text += f"; not more after: {_name_limit(plan, planned, last, 'begins')}"
    return text


def _name_limit(plan: Plan, planned: PlannedGap, slot: int, verb: str) -> str:
    """What keeps the frames beyond a slot from being shown."""
    if slot == 0:
        return "the video begins"
    if slot == len(plan.slots):
        return "the video ends"
    if slot in plan.cuts or slot in (planned.gap.start, planned.gap.stop):
        return "a shot begins"
    return f"another gap {verb}"


def explain_made(planned: PlannedGap, frames: Sequence[MadeFrameReport]) -> str:
    """What the estimate of every made frame rests on."""
    rests = [
        f"{frame.check_psnr:.2f} {frame.calmer:+.2f} -> {frame.estimated_psnr:.2f}"
        for frame in frames
        if frame.check_psnr is not None
        and frame.calmer is not None
        and frame.estimated_psnr is not None
    ]
    told = "no self-check beside them, so no estimate"
    if rests:
        told = f"self-check, how much calmer, estimate, in dB: {'; '.join(rests)}"
    return f"frames {planned.gap.start}:{planned.gap.stop}: made; {told}"
