"""The page of what was done about a video's gaps."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Any

from .albums import Album, GapAlbum
from .charts import Series
from .pages import (
    LEAST_WIDTH,
    Chart,
    describe_film,
    describe_looks,
    describe_memory,
    describe_rest,
    describe_time,
    describe_video,
    is_tall,
    make_chart,
    make_mean_tile,
    make_tile,
    mark_times,
    render,
    take_percent,
    tell_decibels,
    tell_score,
    tell_similarity,
)
from .phrases import count
from .reports import DropReport, FillReport, GapReport
from .timeline import Plan, format_time
from .video import VideoInfo

__all__ = ["render_fill"]

_N_CHARTED = 400  # made frames; beyond, a chart shows gaps
_ACTIONS = {
    "fill": "filled from both sides",
    "forecast": "forecast from before",
    "backcast": "made from after",
    "split": "each side up to the cut",
    "hold": "held",
    "leave": "left as it is",
}


def render_fill(report: FillReport, *, info: VideoInfo, plan: Plan, album: Album | None) -> str:
    """The page of a ``FillReport``; without an album, or of a dry run, without pictures."""
    n_slots = len(plan.slots)
    gaps = [
        _describe_gap(
            number,
            gap,
            GapAlbum() if album is None else album.list_gap(number - 1),
            info=info,
            n_slots=n_slots,
            is_plan=report.dry_run or not report.frames_made,
        )
        for number, gap in enumerate(report.gaps, 1)
    ]
    kinds = Counter(gap.kind for gap in report.gaps)
    used = {gap.action for gap in report.gaps}
    n_pictured = sum(bool(gap["film"]) for gap in gaps)
    pictures_note = ""
    if album is not None and 0 < n_pictured < len(gaps):
        pictures_note = f"Pictures are kept of the {n_pictured} longest of {len(gaps)} gaps."
    charts = _chart_frames(report.gaps)
    return render(
        "fill.html",
        report=report,
        name=report.input.name or str(report.input),
        lede=_sum_up(report),
        tiles=_tile_fill(report),
        cuts=[take_percent(cut, n_slots) for cut in plan.cuts if cut < n_slots],
        gaps=gaps,
        drops=[_describe_drop(drop, plan) for drop in report.drops],
        scale=mark_times(plan),
        kinds=sorted(kinds.items()),
        actions=[(key, word) for key, word in _ACTIONS.items() if key in used],
        charts=charts,
        chart_note="Made frames in order, gap by gap; every second gap is shaded. "
        + (
            "The estimate is told from real frames; the reference is the video that was given "
            "with --reference."
            if any(gap.psnr is not None for gap in report.gaps)
            else "The true frames are not known: these are estimates from real frames beside each "
            "gap."
        ),
        has_estimates=any(gap.estimated_psnr is not None for gap in report.gaps),
        pictures_note=pictures_note,
        is_tall=is_tall(gaps),
        facts=_list_facts(report, info),
    )


def _describe_drop(drop: DropReport, plan: Plan) -> dict[str, Any]:
    """What the template shows of a suspected loss that was closed up."""
    times = [slot.time - slot.moved for slot in plan.slots]  # as in the input
    what, when = f"Before frame {drop.start}", f"at {format_time(drop.time)}"
    about = f"about {count(drop.frames, 'frame')}"
    return {
        "left": take_percent(bisect_left(times, drop.time), len(times)),
        "what": what,
        "when": f"{when}, {about}",
        "title": f"Suspected drop before frame {drop.start} {when}, {about}",
        "place": f"{drop.start}:{drop.frames}",
        "reason": drop.reason,
    }


def _sum_up(report: FillReport) -> str:
    made = [gap for gap in report.gaps if gap.action != "leave"]
    n_left = len(report.gaps) - len(made)
    left = f" {count(n_left, 'gap')} left as found." if n_left else ""
    if report.drops:
        left += f" {count(len(report.drops), 'suspected drop')}, left so."
    where = f"in {count(len(made), 'gap')}"
    if report.dry_run:
        n_to_make = sum(gap.n_frames for gap in made)
        return f"A plan; nothing was made. {count(n_to_make, 'frame')} to make {where}.{left}"
    if not report.frames_made:
        return f"Nothing to fill.{left}"
    return f"{count(report.frames_made, 'frame')} made {where}.{left} Written to {report.output}."


def _tile_fill(report: FillReport) -> list[dict[str, str]]:
    frames = [frame for gap in report.gaps for frame in gap.frames]
    estimates = [f.estimated_psnr for f in frames if f.estimated_psnr is not None]
    similar = [f.estimated_ssim for f in frames if f.estimated_ssim is not None]
    true = [f.psnr for f in frames if f.psnr is not None]
    tiles = [
        make_tile("gaps", str(len(report.gaps))),
        make_tile("frames made", str(report.frames_made), f"of {report.frames_in} read"),
    ]
    if report.dry_run:
        n_to_make = sum(gap.n_frames for gap in report.gaps if gap.action != "leave")
        tiles[1] = make_tile("frames to make", str(n_to_make), f"beside {report.frames_in} read")
    share = "" if len(estimates) == len(frames) else f" of {len(estimates)} of {len(frames)} frames"
    if estimates:
        tiles.append(make_mean_tile(f"estimated PSNR{share}", estimates, ".1f", "dB"))
    if similar:
        tiles.append(make_mean_tile(f"estimated SSIM{share}", similar, ".3f"))
    if true:
        tiles.append(make_mean_tile("PSNR to the reference", true, ".1f", "dB"))
    if not report.dry_run:
        tiles.append(make_tile("time taken", f"{report.seconds.total:.1f}", "s"))
    return tiles


def _describe_gap(
    number: int,
    gap: GapReport,
    album: GapAlbum,
    *,
    info: VideoInfo,
    n_slots: int,
    is_plan: bool,
) -> dict[str, Any]:
    """What the template shows of one gap."""
    frames = f"frame {gap.start}" if gap.n_frames == 1 else f"frames {gap.start} to {gap.stop - 1}"
    time = format_time(gap.time)
    no_marks = "not estimated"
    if gap.action == "leave" or is_plan:
        no_marks = "nothing made"
    marks, marks_of = _mark(gap)
    thumbs = [frame.picture for frame in album.film if frame.role == "made"]
    thumbs = thumbs[len(thumbs) // 2 :] or [frame.picture for frame in album.film]
    rows = [] if gap.action == "leave" else _list_rows(gap)
    return {
        "number": number,
        "kind": gap.kind,
        "action": gap.action,
        "action_word": _ACTIONS.get(gap.action, gap.action),
        "reason": gap.reason,
        "n_frames": gap.n_frames,
        "psnr": gap.estimated_psnr,
        "what": frames.capitalize(),
        "when": f"at {time}",
        "title": f"Gap {number}: {frames} at {time}, {gap.kind}, {_ACTIONS.get(gap.action, '')}",
        "left": take_percent(gap.start, n_slots),
        "width": max(take_percent(gap.n_frames, n_slots), LEAST_WIDTH),
        "marks": marks,
        "marks_of": marks_of,
        "no_marks": no_marks,
        "thumb": thumbs[0] if thumbs else None,
        "film": [describe_film(frame) for frame in album.film],
        "n_not_on_film": album.n_not_on_film,
        "view": describe_looks(album.looks) if album.looks else None,
        "headers": _headers(gap),
        "rows": rows,
        "rows_note": _explain_rows(gap),
    }


def _mark(gap: GapReport) -> tuple[str, str]:
    estimates = [f.estimated_psnr for f in gap.frames if f.estimated_psnr is not None]
    estimate = sum(estimates) / len(estimates) if estimates else None
    if gap.psnr is not None:
        told = "" if estimate is None else f"; estimated {estimate:.2f} dB"
        return tell_score(gap.psnr, gap.ssim), f"to the reference{told}"
    if estimate is not None:
        return tell_score(estimate, gap.estimated_ssim), "estimated"
    return "", ""


def _headers(gap: GapReport) -> list[str]:
    names = ["Frame", "Time", "Est. PSNR, dB", "Est. SSIM", "Self-check, dB", "SSIM", "Calmer, dB"]
    if _is_mended(gap):
        names.append("Kept, %")
    return names + (["PSNR, dB", "SSIM"] if gap.psnr is not None else [])


def _is_mended(gap: GapReport) -> bool:
    return any(frame.kept is not None for frame in gap.frames)


def _list_rows(gap: GapReport) -> list[list[str]]:
    rows = []
    for slot, frame in enumerate(gap.frames, gap.start):
        row = [
            str(slot),
            format_time(frame.time),
            tell_decibels(frame.estimated_psnr),
            tell_similarity(frame.estimated_ssim),
            tell_decibels(frame.check_psnr),
            tell_similarity(frame.check_ssim),
            "–" if frame.calmer is None else f"{frame.calmer:+.2f}",
        ]
        if _is_mended(gap):
            row.append("–" if frame.kept is None else f"{100 * frame.kept:.0f}")
        if gap.psnr is not None:
            row += [tell_decibels(frame.psnr), tell_similarity(frame.ssim)]
        rows.append(row)
    return rows


def _explain_rows(gap: GapReport) -> str:
    if gap.action == "hold":
        return "Held frames repeat a real one; nothing is estimated for them."
    if all(frame.check_psnr is None for frame in gap.frames):
        return (
            "No estimate: the self-check was not asked for, or found no room for a gap of this "
            "length beside it."
        )
    n = gap.n_frames
    return (
        f"Self-check: {'a real frame' if n == 1 else f'{n} real frames in a row'} beside the gap "
        "hidden, made and scored, at the same place in the row. Calmer: by how many dB more the "
        "made frame looks like its neighbours cross-faded than those of the self-check did."
        + (
            " Kept: the share of a damaged frame that rests on what is stored."
            if _is_mended(gap)
            else ""
        )
    )


def _chart_frames(gaps: Sequence[GapReport]) -> list[Chart]:
    """Estimates and true scores by made frame, one chart for PSNR and one for SSIM."""
    groups = [gap.frames for gap in gaps if gap.frames]
    if not groups:
        return []
    if sum(map(len, groups)) > _N_CHARTED:
        return _chart_gaps(gaps)
    frames = [frame for group in groups for frame in group]
    places = range(1, len(frames) + 1)
    bands, first = [], 0
    for turn, group in enumerate(groups):
        if turn % 2:
            bands.append((first + 0.5, first + len(group) + 0.5))
        first += len(group)
    return _draw_pair(
        places,
        [(f.estimated_psnr, f.psnr) for f in frames],
        [(f.estimated_ssim, f.ssim) for f in frames],
        x_label="made frame",
        bands=bands,
    )


def _chart_gaps(gaps: Sequence[GapReport]) -> list[Chart]:
    return _draw_pair(
        range(1, len(gaps) + 1),
        [(gap.estimated_psnr, gap.psnr) for gap in gaps],
        [(gap.estimated_ssim, gap.ssim) for gap in gaps],
        x_label="gap",
        bands=(),
    )


def _draw_pair(
    places: Sequence[int],
    psnr: Sequence[tuple[float | None, float | None]],
    ssim: Sequence[tuple[float | None, float | None]],
    *,
    x_label: str,
    bands: Sequence[tuple[float, float]],
) -> list[Chart]:
    charts = []
    for title, unit, pairs in (("PSNR", "PSNR, dB", psnr), ("SSIM", "SSIM", ssim)):
        series = [
            Series(name, places, values, colour=colour, is_joined=False, is_strong=not colour)
            for colour, name, values in (
                (0, "estimate", [pair[0] for pair in pairs]),
                (1, "against the reference", [pair[1] for pair in pairs]),
            )
            if any(value is not None for value in values)
        ]
        if series:
            charts.append(make_chart(title, series, x_label=x_label, y_label=unit, bands=bands))
    return charts


def _list_facts(report: FillReport, info: VideoInfo) -> list[tuple[str, str]]:
    rows = [("Input", str(report.input)), ("Output", str(report.output or "none"))]
    rows.append(("Video", describe_video(info, report.frame_rate)))
    rows.append(("Frames read", str(report.frames_in)))
    rows.append(("Frames made", str(report.frames_made)))
    if report.frames_replaced:
        rows.append(("Of these, replaced", str(report.frames_replaced)))
    if report.decode_errors:
        rows.append(("Not decodable", count(report.decode_errors, "packet")))
    rows += describe_rest(report.streams_copied, report.streams_left_out, report.adaptation)
    if report.copied is not None:
        rows.append(
            (
                "Copied as coded",
                f"{count(report.copied.packets_copied, 'packet')}; "
                f"{count(report.copied.frames_reencoded, 'real frame')} encoded anew",
            )
        )
    if report.inserted is not None:
        longer = f"the pictures last {float(report.inserted.seconds):.3f} s longer"
        rows.append(("Inserted", f"{longer}; {report.inserted.reason}"))
    if report.model is not None:
        rows.append(("Network", f"{report.model}, on {report.device}"))
    rows += describe_memory(report.tile_px, report.tile_halvings, report.motion_halvings)
    if not report.dry_run:
        rows.append(("Time", describe_time(report.seconds)))
    return rows
