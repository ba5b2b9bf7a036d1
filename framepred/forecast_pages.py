"""The page of a forecast, or of several futures."""

from __future__ import annotations

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
from .reports import ForecastReport, FuturesReport
from .timeline import Plan, format_time
from .video import VideoInfo

__all__ = ["render_forecast"]

_AGAINST_FORECAST = {"played": "Last frame held", "true": "Real frame"}


def render_forecast(
    reports: Sequence[ForecastReport],
    *,
    info: VideoInfo,
    plan: Plan,
    albums: Sequence[Album | None],
    futures: FuturesReport | None = None,
) -> str:
    """The page of a forecast, or of several futures of one video.

    plan: what was shown and what was made, the forecast as its only gap.
    """
    first = reports[0]
    (planned,) = plan.gaps
    n_slots = len(plan.slots)
    sections = [
        _describe_forecast(number, report, GapAlbum() if album is None else album.list_gap(0), plan)
        for number, (report, album) in enumerate(zip(reports, albums, strict=True), 1)
    ]
    return render(
        "forecast.html",
        name=first.input.name or str(first.input),
        lede=_sum_up_forecast(reports, plan),
        tiles=_tile_forecast(reports, futures),
        cuts=[take_percent(cut, n_slots) for cut in plan.cuts],
        left=take_percent(planned.gap.start, n_slots),
        width=max(take_percent(planned.gap.n_frames, n_slots), LEAST_WIDTH),
        shown_left=take_percent(planned.gap.start - planned.n_before, n_slots),
        shown_width=take_percent(planned.n_before, n_slots),
        scale=mark_times(plan),
        charts=_chart_steps(reports),
        hold_out=first.hold_out,
        sections=sections,
        is_tall=is_tall(sections),
        facts=_list_forecast_facts(reports, futures, info),
    )


def _describe_forecast(
    number: int, report: ForecastReport, album: GapAlbum, plan: Plan
) -> dict[str, Any]:
    start = plan.gaps[0].gap.start
    rows = [
        [
            str(frame.index),
            str(start + frame.index - 1),
            format_time(frame.time),
            *(
                (
                    tell_decibels(frame.psnr),
                    tell_similarity(frame.ssim),
                    tell_decibels(frame.held_psnr),
                    tell_similarity(frame.held_ssim),
                )
                if report.hold_out
                else ()
            ),
        ]
        for frame in report.frames
    ]
    scores = ["PSNR, dB", "SSIM", "Held: PSNR, dB", "SSIM"] if report.hold_out else []
    thumbs = [frame.picture for frame in album.film if frame.role == "made"]
    return {
        "number": number,
        "marks": tell_score(report.psnr, report.ssim) if report.psnr is not None else "",
        "output": str(report.output or ""),
        "thumb": thumbs[-1] if thumbs else None,
        "film": [describe_film(frame) for frame in album.film],
        "n_not_on_film": album.n_not_on_film,
        "view": describe_looks(album.looks, _AGAINST_FORECAST) if album.looks else None,
        "headers": ["Step", "Frame", "Time", *scores],
        "rows": rows,
    }


def _sum_up_forecast(reports: Sequence[ForecastReport], plan: Plan) -> str:
    first = reports[0]
    frames = count(first.frames_made, "frame")
    if len(reports) > 1:
        frames = f"{len(reports)} futures of {frames} each"
    text = (
        f"{frames} forecast from {format_time(first.time)} on, after "
        f"{count(first.context, 'real frame')}."
    )
    if first.hold_out:
        text += " The real frames were hidden and the forecast is scored against them."
    if len(reports) == 1 and first.output is not None:
        text += f" Written to {first.output}."
    return text


def _tile_forecast(
    reports: Sequence[ForecastReport], futures: FuturesReport | None
) -> list[dict[str, str]]:
    first = reports[0]
    tiles = [make_tile("frames forecast", str(first.frames_made))]
    if futures is not None:
        tiles = [
            make_tile("futures", str(len(reports)), f"of {count(first.frames_made, 'frame')}"),
        ]
        if futures.diversity is not None:
            apart = f"{futures.diversity:.2f}"
            tiles.append(make_tile("how far they differ", apart, "of 255 grey levels"))
    psnr = [frame.psnr for report in reports for frame in report.frames if frame.psnr is not None]
    ssim = [frame.ssim for report in reports for frame in report.frames if frame.ssim is not None]
    held = [frame.held_psnr for frame in first.frames if frame.held_psnr is not None]
    if psnr:
        tiles.append(make_mean_tile("PSNR to the real frames", psnr, ".1f", "dB"))
    if ssim:
        tiles.append(make_mean_tile("SSIM to the real frames", ssim, ".3f"))
    if held:
        tiles.append(make_mean_tile("PSNR of the last frame held", held, ".1f", "dB"))
    tiles.append(make_tile("time taken", f"{sum(r.seconds.total for r in reports):.1f}", "s"))
    return tiles


def _chart_steps(reports: Sequence[ForecastReport]) -> list[Chart]:
    """PSNR and SSIM by step beside those of the last frame held."""
    steps = [frame.index for frame in reports[0].frames]
    charts = []
    for title, unit, name in (("PSNR", "PSNR, dB", "psnr"), ("SSIM", "SSIM", "ssim")):
        table = [[getattr(frame, name) for frame in report.frames] for report in reports]
        held = [getattr(frame, f"held_{name}") for frame in reports[0].frames]
        if all(value is None for row in table for value in row):
            continue
        series = [Series("last frame held", steps, held, colour=1, is_dashed=True)]
        if len(reports) == 1:
            series.append(Series("forecast", steps, table[0], colour=0, is_strong=True))
        else:
            known = [[v for v in column if v is not None] for column in zip(*table, strict=True)]
            for label, choose, colour in (("best future", max, 2), ("worst future", min, 4)):
                values = [choose(column) if column else None for column in known]
                series.append(Series(f"{label} at this step", steps, values, colour=colour))
            means = [sum(column) / len(column) if column else None for column in known]
            series.append(Series("mean of the futures", steps, means, colour=0, is_strong=True))
        charts.append(make_chart(title, series, x_label="step", y_label=unit))
    return charts


def _list_forecast_facts(
    reports: Sequence[ForecastReport], futures: FuturesReport | None, info: VideoInfo
) -> list[tuple[str, str]]:
    first = reports[0]
    rows = [("Input", str(first.input))]
    rows += [("Output", str(report.output or "none")) for report in reports]
    rows.append(("Video", describe_video(info, first.frame_rate)))
    rows.append(("Frames read", str(first.frames_in)))
    rows.append(("Shown to the network", count(first.context, "real frame")))
    if futures is not None:
        rows.append(("Seed", str(futures.seed)))
    if futures is not None and futures.best is not None:
        rows.append(("Nearest to the real frames", f"future {futures.best}"))
    rows += describe_rest(first.streams_copied, first.streams_left_out, first.adaptation)
    rows.append(("Network", f"{first.model}, on {first.device}"))
    rows += describe_memory(first.tile_px, first.tile_halvings, first.motion_halvings)
    if len(reports) == 1:
        rows.append(("Time", describe_time(first.seconds)))
    return rows
