"""What was found in videos and done to them, told in a terminal when it is over."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from .console import Sheet
from .outputs import is_pipe
from .phrases import count, tell_rate, tell_scores
from .reports import FuturesReport
from .scoring import Score, mean_score
from .timeline import format_time

if TYPE_CHECKING:
    from .console import Terminal
    from .reports import (
        AdaptationReport,
        CopyReport,
        DropReport,
        FillReport,
        ForecastReport,
        GapReport,
        InterpolateReport,
        Seconds,
    )
    from .scanning import ScanReport

__all__ = ["show_fill", "show_forecast", "show_interpolation", "show_plan", "show_scan"]

_MAX_ROWS = 40  # gaps that a summary lists; the JSON report always has all of them


def show_scan(terminal: Terminal, report: ScanReport) -> None:
    """The list of gaps on stdout, the summary on stderr."""
    sheet = _plan_sheet(report)
    terminal.say(_sum_up(report))
    if sheet.rows or not terminal.is_out_terminal:
        terminal.write_sheet(sheet)


def show_plan(terminal: Terminal, report: ScanReport) -> None:
    """What is going to be done, before it is: for people who watch, on stderr."""
    if not terminal.is_watched or not report.plan.n_to_make:
        return
    sheet = _plan_sheet(report)
    n_more = max(0, len(sheet.rows) - _MAX_ROWS)
    del sheet.rows[_MAX_ROWS:]
    terminal.say(_sum_up(report))
    terminal.show_sheet(sheet)
    if n_more:
        terminal.say(f"... and {n_more} more ('framepred scan' lists all)")


def _sum_up(report: ScanReport) -> str:
    return (
        f"{report.info.path}: {count(report.n_frames, 'frame')}, {tell_rate(report.plan.step)}, "
        f"{count(len(report.plan.gaps), 'gap')}, {count(report.plan.n_to_make, 'frame')} to make"
        f"{_suspect(report.drops)}"
    )


def _plan_sheet(report: ScanReport) -> Sheet:
    """Gaps and suspected drops in order."""
    sheet = Sheet(
        ("slots", "time", "frames", "kind", "action", "reason"),
        left=frozenset({"kind", "action", "reason"}),
    )
    rows: list[tuple[int, Sequence[str]]] = []
    for planned in report.plan.gaps:
        gap = planned.gap
        slots, time = f"{gap.start}:{gap.stop}", report.plan.slots[gap.start].time
        what: tuple[str, ...] = (gap.kind, planned.action, planned.reason)
        rows.append((gap.start, (slots, format_time(time), str(gap.n_frames), *what)))
    for drop in report.drops:
        reason = f"{drop.reason}; fill-gaps --insert {drop.start}:{drop.frames} makes them"
        what = (drop.kind, "leave", reason)
        rows.append(
            (drop.start, (f"{drop.start}", format_time(drop.time), f"~{drop.frames}", *what))
        )
    sheet.rows += [cells for _, cells in sorted(rows)]
    return sheet


def show_fill(terminal: Terminal, report: FillReport) -> None:
    """What was done about each gap, on stderr."""
    if terminal.is_machine:
        return
    n_asked = sum(gap.n_frames for gap in report.gaps if gap.action != "leave")
    if report.dry_run:
        target = f", to be written to {report.output}" if report.output else ""
        terminal.say(f"{report.input}: {count(n_asked, 'frame')} to make{target} (dry run)")
    elif not n_asked:
        how = "encoded anew as"
        if report.is_copy or report.copied is not None:
            how = "copied to"
        elif report.output is not None and is_pipe(report.output):
            how = "handed on to"
        to = f"{how} {_name(report.output, 'output')}" if report.output else None
        terminal.say(f"{report.input}: nothing to fill, {to or 'no output written'}")
    else:
        terminal.say(
            f"{_route(report)}: {count(report.frames_made, 'frame')} made, "
            f"{count(report.streams_copied or 0, 'other stream')} copied, "
            f"{_spent(report.seconds)}"
        )
    _tell_mended(terminal, report)
    _tell_adaptation(terminal, report.adaptation)
    _tell_tiles(terminal, report)
    if report.windows_resumed:
        terminal.say(f"{count(report.windows_resumed, 'window')} taken from an interrupted run")
    _tell_copied(terminal, report.copied)
    if report.inserted is not None:
        terminal.say(
            f"pictures last {float(report.inserted.seconds):.3f} s longer; {report.inserted.reason}"
        )
    if report.decode_errors:
        terminal.say(f"{count(report.decode_errors, 'packet')} could not be decoded")
    _tell_left_out(terminal, report.streams_left_out)
    if report.drops:
        places = ", ".join(f"{drop.start}:{drop.frames}" for drop in report.drops[:_MAX_ROWS])
        terminal.say(
            f"{count(len(report.drops), 'suspected drop')}, closed up and left so: {places}; "
            "'framepred scan' says why, --insert makes the frames"
        )
    if report.gaps:
        terminal.show_sheet(_gap_sheet(report.gaps[:_MAX_ROWS]))
    if len(report.gaps) > _MAX_ROWS:
        terminal.say(f"... and {len(report.gaps) - _MAX_ROWS} more (--json lists all)")
    checked = ("fill", "forecast", "backcast", "split")
    made = [frame for gap in report.gaps if gap.action in checked for frame in gap.frames]
    n_unknown = sum(frame.check_psnr is None for frame in made)
    if 0 < n_unknown < len(made):
        terminal.say(
            f"{n_unknown} of {count(len(made), 'frame')} not estimated: too few real frames in a "
            "row beside the gap to try it on"
        )


def _tell_mended(terminal: Terminal, report: FillReport) -> None:
    kept = [frame.kept for gap in report.gaps for frame in gap.frames if frame.kept]
    if kept:
        terminal.say(
            f"{count(len(kept), 'damaged frame')} mended: {sum(kept) / len(kept):.0%} of the area "
            "rests on what is stored"
        )


def _tell_adaptation(terminal: Terminal, report: AdaptationReport | None) -> None:
    if report is None:
        return
    facts = [report.reason]
    if report.psnr_before is not None and report.psnr_after is not None:
        facts += [
            f"{report.psnr_before:.2f} -> {report.psnr_after:.2f} dB on "
            f"{count(report.windows_judged, 'window')} kept from the learning",
        ]
    if report.steps_done:
        facts.append(f"{count(report.steps_done, 'step')} in {report.seconds:.1f} s")
    terminal.say(f"{'adapted' if report.kept else 'not adapted'}: {', '.join(facts)}")


def _tell_tiles(terminal: Terminal, report: FillReport | ForecastReport) -> None:
    if report.tile_halvings:
        terminal.say(
            f"memory ran out {count(report.tile_halvings, 'time')}: frames were made in "
            f"tiles of {report.tile_px} pixels"
        )
    if report.motion_halvings:
        terminal.say(
            "memory ran out where motion is found: it was found on copies halved "
            f"{count(report.motion_halvings, 'time')} more"
        )


def _tell_copied(terminal: Terminal, report: CopyReport | None) -> None:
    if report is None:
        return
    terminal.say(
        f"{count(report.packets_copied, 'packet')} copied as they are, "
        f"{count(report.frames_reencoded, 'frame')} of the input encoded anew"
    )
    for part in report.stretches[:_MAX_ROWS]:
        stop = "the end" if part.stop is None else format_time(part.stop)
        terminal.say(
            f"encoded: {format_time(part.start)} to {stop}, {count(part.frames, 'frame')}, "
            f"{part.frames_made} of them made"
        )


def _tell_left_out(terminal: Terminal, streams: Sequence[str]) -> None:
    if streams:
        terminal.say(f"not in the output: {', '.join(streams)}")


def show_forecast(
    terminal: Terminal, report: ForecastReport | FuturesReport, *, with_scores: bool = True
) -> None:
    """What was forecast, on stderr; the scores of a hold-out are data, on stdout."""
    if isinstance(report, FuturesReport):
        _show_futures(terminal, report, with_scores=with_scores)
        return
    terminal.say(
        f"{_route(report)}: {count(report.frames_made, 'frame')} forecast from "
        f"{format_time(report.time)} on, after {count(report.context, 'real frame')}, "
        f"{_spent(report.seconds)}"
    )
    if report.damaged_before:
        terminal.say(
            f"made from what comes before {count(report.damaged_before, 'damaged frame')}: "
            "fill-gaps repairs what is damaged"
        )
    _tell_adaptation(terminal, report.adaptation)
    _tell_tiles(terminal, report)
    _tell_copied(terminal, report.copied)
    _tell_left_out(terminal, report.streams_left_out)
    if report.hold_out and with_scores:
        sheet = Sheet(("step", "time", "PSNR dB", "SSIM", "held dB", "held SSIM"))
        for score in report.frames:
            sheet.rows.append(
                (
                    *(str(score.index), format_time(score.time)),
                    *tell_scores(score.psnr, score.ssim),
                    *tell_scores(score.held_psnr, score.held_ssim),
                )
            )
        held = mean_score([Score(each.held_psnr, each.held_ssim) for each in report.frames])
        means = (*tell_scores(report.psnr, report.ssim), *tell_scores(held.psnr, held.ssim))
        sheet.rows.append(("mean", "", *means))
        terminal.write_sheet(sheet)
        n_unscored = sum(score.psnr is None for score in report.frames)
        if n_unscored:
            terminal.say(
                f"{n_unscored} of {count(len(report.frames), 'hidden frame')} damaged or missing: "
                "there is nothing to score against"
            )


def show_interpolation(terminal: Terminal, report: InterpolateReport) -> None:
    """What was made, kept and held, on stderr."""
    if terminal.is_machine:
        return
    n_held = sum(held.frames for held in report.frames_held)
    counts = f"{count(report.frames_made, 'frame')} made, {report.frames_kept} kept"
    if report.frames_kept < report.frames_in:
        counts += f" of {report.frames_in}"
    if n_held:
        why = ", ".join(f"{held.frames} {held.reason}" for held in report.frames_held)
        counts += f", {n_held} held ({why})"
    rates = f"{tell_rate(_inverse(report.rate_in))} to {tell_rate(_inverse(report.rate_out))}"
    if report.dry_run:
        terminal.say(f"{report.input}: {rates}: {counts}, to be written to {report.output}")
    else:
        terminal.say(
            f"{_route(report)}: {rates}: {counts}, "
            f"{count(report.streams_copied or 0, 'other stream')} copied, "
            f"{_spent(report.seconds)}"
        )
    if report.largest_shift:
        terminal.say(f"frames are up to {float(report.largest_shift):.6f} s off their exact times")
    if report.frames_damaged:
        terminal.say(
            f"{count(report.frames_damaged, 'damaged frame')} in {report.input}, and what is made "
            "beside shows it: repair it first with fill-gaps"
        )
    if report.frames_scored:
        psnr, ssim = tell_scores(report.psnr, report.ssim)
        terminal.say(f"{count(report.frames_scored, 'frame')} scored: {psnr} dB, SSIM {ssim}")
    if report.decode_errors:
        terminal.say(f"{count(report.decode_errors, 'packet')} could not be decoded")
    _tell_left_out(terminal, report.streams_left_out)


def _show_futures(terminal: Terminal, report: FuturesReport, *, with_scores: bool) -> None:
    for sample in report.samples:
        show_forecast(terminal, sample, with_scores=False)
    if report.diversity is not None:
        terminal.say(
            f"{report.input}: {count(len(report.samples), 'future')}, which differ by "
            f"{report.diversity:.2f} of 255 grey levels"
        )
    if report.best is not None and with_scores:
        sheet = Sheet(("future", "PSNR dB", "SSIM"))
        for number, sample in enumerate(report.samples, 1):
            sheet.rows.append((str(number), *tell_scores(sample.psnr, sample.ssim)))
        sheet.rows.append(("mean", *tell_scores(report.mean_psnr, report.mean_ssim)))
        sheet.rows.append(
            (f"best ({report.best})", *tell_scores(report.best_psnr, report.best_ssim))
        )
        terminal.write_sheet(sheet)


def _gap_sheet(gaps: Sequence[GapReport]) -> Sheet:
    headers = ["slots", "time", "kind", "action"]
    estimated = any(gap.estimated_psnr is not None for gap in gaps)
    scored = any(gap.psnr is not None for gap in gaps)
    headers += ["est. dB", "est. SSIM"] if estimated else []
    headers += ["PSNR dB", "SSIM"] if scored else []
    headers.append("reason")
    sheet = Sheet(headers, left=frozenset({"kind", "action", "reason"}))
    for gap in gaps:
        row = [f"{gap.start}:{gap.stop}", format_time(gap.time), gap.kind, gap.action]
        row += tell_scores(gap.estimated_psnr, gap.estimated_ssim) if estimated else []
        row += tell_scores(gap.psnr, gap.ssim) if scored else []
        sheet.rows.append([*row, gap.reason])
    return sheet


def _suspect(drops: Sequence[DropReport]) -> str:
    return f", {count(len(drops), 'suspected drop')}" if drops else ""


def _inverse(value: Fraction | None) -> Fraction | None:
    return None if value is None else 1 / value


def _name(path: Path, end: str) -> str:
    return f"standard {end}" if is_pipe(path) else str(path)


def _route(report: FillReport | ForecastReport | InterpolateReport) -> str:
    """From where to where."""
    source = _name(report.input, "input")
    return source if report.output is None else f"{source} -> {_name(report.output, 'output')}"


def _spent(seconds: Seconds) -> str:
    parts = f"decode {seconds.decode:.1f}, model {seconds.model:.1f}, encode {seconds.encode:.1f}"
    return f"{seconds.total:.1f} s ({parts})"
