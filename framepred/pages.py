"""Reports as pages: one HTML file that holds all it shows and needs no network.

What comes from a file (names, reasons, tags) is text here, whatever it looks like: the templates
escape everything, and the page's own policy lets no other script run than the one it came with.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .albums import Album, FilmFrame, GapAlbum, Look
from .charts import Series, draw_chart
from .pictures import Picture, code_picture
from .reports import (
    AdaptationReport,
    FillReport,
    ForecastReport,
    FuturesReport,
    GapReport,
    Seconds,
)
from .timeline import Plan, format_time
from .video import VideoInfo
from .wheels import paint_wheel

__all__ = [
    "Chart",
    "describe_film",
    "describe_looks",
    "make_chart",
    "render",
    "render_fill",
    "render_forecast",
]

_TEMPLATES = Path(__file__).parent / "templates"
_COARSE_SIDE = 200  # pixels: smaller pictures are shown with their pixels
_LEAST_WIDTH = 0.25  # percent of the timeline
_N_CHARTED = 400  # made frames; beyond, a chart shows gaps
_ACTIONS = {
    "fill": "filled from both sides",
    "forecast": "forecast from before",
    "backcast": "made from after",
    "split": "each side up to the cut",
    "hold": "held",
    "leave": "left as it is",
}
_AGAINST = {"played": "As it played", "blended": "Cross-faded", "true": "Reference"}
_AGAINST_FORECAST = {"played": "Last frame held", "true": "Real frame"}


@dataclass(frozen=True)
class Chart:
    """A chart of a page."""

    title: str
    description: str  # for those who do not see it
    svg: Markup
    series: tuple[Series, ...]


def render(template: str, **values: object) -> str:
    """Fill in a template of the package; all values but Markup are escaped."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    from . import __version__

    page = environment.get_template(template).render(
        version=__version__,
        style=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(digest).decode("ascii"),
        wheel=_code_wheel(),
        **values,
    )
    # A file's name may hold bytes that are no text.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


@lru_cache(maxsize=1)
def _code_wheel() -> Picture:
    return code_picture(paint_wheel(88), max_bytes=6000)


def make_chart(
    title: str, series: Sequence[Series], *, x_label: str, y_label: str, **options: Any
) -> Chart:
    """Draw a chart and put into words what it shows."""
    parts = []
    for line in series:
        values = [value for value in line.y if value is not None]
        if values:
            parts.append(f"{line.name}: {min(values):.4g} to {max(values):.4g}")
    svg = draw_chart(series, x_label=x_label, y_label=y_label, **options)
    description = f"{y_label} by {x_label}. {'; '.join(parts)}"
    return Chart(title, description, Markup(svg), tuple(series))


# Gaps that were filled.


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
        cuts=[_percent(cut, n_slots) for cut in plan.cuts if cut < n_slots],
        gaps=gaps,
        scale=_mark_times(plan),
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
        is_tall=_is_tall(gaps),
        facts=_list_facts(report, info),
    )


def _is_tall(gaps: Iterable[dict[str, Any]]) -> bool:
    pictures = (frame.picture for gap in gaps for frame in gap["film"])
    first = next(pictures, None)
    return first is not None and first.height > first.width


def _sum_up(report: FillReport) -> str:
    made = [gap for gap in report.gaps if gap.action != "leave"]
    n_left = len(report.gaps) - len(made)
    left = f" {_count(n_left, 'gap')} left as found." if n_left else ""
    where = f"in {_count(len(made), 'gap')}"
    if report.dry_run:
        n_to_make = sum(gap.n_frames for gap in made)
        return f"A plan; nothing was made. {_count(n_to_make, 'frame')} to make {where}.{left}"
    if not report.frames_made:
        return f"Nothing to fill.{left}"
    return f"{_count(report.frames_made, 'frame')} made {where}.{left} Written to {report.output}."


def _tile_fill(report: FillReport) -> list[dict[str, str]]:
    frames = [frame for gap in report.gaps for frame in gap.frames]
    estimates = [f.estimated_psnr for f in frames if f.estimated_psnr is not None]
    similar = [f.estimated_ssim for f in frames if f.estimated_ssim is not None]
    true = [f.psnr for f in frames if f.psnr is not None]
    tiles = [
        _tile("gaps", str(len(report.gaps))),
        _tile("frames made", str(report.frames_made), f"of {report.frames_in} read"),
    ]
    if estimates:
        tiles.append(_tile_mean("estimated PSNR", estimates, ".1f", "dB"))
    if similar:
        tiles.append(_tile_mean("estimated SSIM", similar, ".3f"))
    if true:
        tiles.append(_tile_mean("PSNR to the reference", true, ".1f", "dB"))
    if not report.dry_run:
        tiles.append(_tile("time taken", f"{report.seconds.total:.1f}", "s"))
    return tiles


def _tile(what: str, figure: str, unit: str = "") -> dict[str, str]:
    return {"what": what, "figure": figure, "unit": unit}


def _tile_mean(what: str, values: Sequence[float], form: str, unit: str = "") -> dict[str, str]:
    mean = sum(values) / len(values)
    return _tile(f"{what}, lowest {min(values):{form}}", f"{mean:{form}}", unit)


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
        "left": _percent(gap.start, n_slots),
        "width": max(_percent(gap.n_frames, n_slots), _LEAST_WIDTH),
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
        return _score(gap.psnr, gap.ssim), f"to the reference{told}"
    if estimate is not None:
        return _score(estimate, gap.estimated_ssim), "estimated"
    return "", ""


def _score(psnr: float | None, ssim: float | None) -> str:
    return f"{_decibels(psnr)} dB" + ("" if ssim is None else f" · SSIM {ssim:.4f}")


@dataclass(frozen=True)
class _Labelled:
    """A film frame with its number as people read it."""

    role: str
    picture: Picture
    look: int | None
    label: str


def describe_film(frame: FilmFrame, *, first: int = 0) -> _Labelled:
    """``first``: the number of slot 0."""
    return _Labelled(frame.role, frame.picture, frame.look, str(frame.slot + first))


def describe_looks(
    looks: Sequence[Look], names: Mapping[str, str] = _AGAINST, *, first: int = 0
) -> dict[str, Any]:
    """Large pictures, each once, and which of them are held against each other.

    names: what the made frame can be held against, in order. first: the number of slot 0.
    """
    layers: list[dict[str, Any]] = []
    places: dict[int, int] = {}

    def place(picture: Picture | None, alt: str) -> int | None:
        if picture is None:
            return None
        if id(picture) not in places:
            places[id(picture)] = len(layers)
            layers.append({"picture": picture, "alt": alt})
        return places[id(picture)]

    table = [
        {
            "made": place(look.made, f"Made frame {look.slot + first}"),
            **{
                key: place(getattr(look, key), f"{name}, frame {look.slot + first}")
                for key, name in names.items()
            },
        }
        for look in looks
    ]
    first_look = (len(looks) - 1) // 2
    size = looks[0].made
    return {
        "looks_json": json.dumps(table),
        "layers": layers,
        "width": size.width,
        "height": size.height,
        "is_coarse": max(size.width, size.height) < _COARSE_SIDE,
        "first": table[first_look]["made"],
        "first_look": first_look,
        "against": [
            (key, name) for key, name in names.items() if any(row[key] is not None for row in table)
        ],
        "motions": [
            {
                "look": index,
                "label": str(look.slot + first),
                "between": " and ".join(
                    str(slot + first) for slot in sorted((look.slot, look.motion.neighbour))
                ),
                "field": look.motion.field,
                "doubt": look.motion.doubt,
                "longest": f"{look.motion.longest:.1f}",
                "doubtful": _share(look.motion.doubtful),
            }
            for index, look in enumerate(looks)
            if look.motion is not None
        ],
    }


def _headers(gap: GapReport) -> list[str]:
    names = ["Frame", "Time", "Est. PSNR, dB", "Est. SSIM", "Self-check, dB", "SSIM", "Calmer, dB"]
    return names + (["PSNR, dB", "SSIM"] if gap.psnr is not None else [])


def _list_rows(gap: GapReport) -> list[list[str]]:
    rows = []
    for slot, frame in enumerate(gap.frames, gap.start):
        row = [
            str(slot),
            format_time(frame.time),
            _decibels(frame.estimated_psnr),
            _similarity(frame.estimated_ssim),
            _decibels(frame.check_psnr),
            _similarity(frame.check_ssim),
            "–" if frame.calmer is None else f"{frame.calmer:+.2f}",
        ]
        if gap.psnr is not None:
            row += [_decibels(frame.psnr), _similarity(frame.ssim)]
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
    )


def _share(value: float) -> str:
    return "less than 0.1%" if value < 0.001 else f"{value:.1%}"


def _decibels(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _similarity(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


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


# Forecasts.


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
        cuts=[_percent(cut, n_slots) for cut in plan.cuts],
        left=_percent(planned.gap.start, n_slots),
        width=max(_percent(planned.gap.n_frames, n_slots), _LEAST_WIDTH),
        shown_left=_percent(planned.gap.start - planned.n_before, n_slots),
        shown_width=_percent(planned.n_before, n_slots),
        scale=_mark_times(plan),
        charts=_chart_steps(reports),
        hold_out=first.hold_out,
        sections=sections,
        is_tall=_is_tall(sections),
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
                    _decibels(frame.psnr),
                    _similarity(frame.ssim),
                    _decibels(frame.held_psnr),
                    _similarity(frame.held_ssim),
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
        "marks": _score(report.psnr, report.ssim) if report.psnr is not None else "",
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
    frames = _count(first.frames_made, "frame")
    if len(reports) > 1:
        frames = f"{len(reports)} futures of {frames} each"
    text = (
        f"{frames} forecast from {format_time(first.time)} on, after "
        f"{_count(first.context, 'real frame')}."
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
    tiles = [_tile("frames forecast", str(first.frames_made))]
    if futures is not None:
        tiles = [
            _tile("futures", str(len(reports)), f"of {_count(first.frames_made, 'frame')}"),
            _tile("how far they differ", f"{futures.diversity:.2f}", "of 255 grey levels"),
        ]
    psnr = [frame.psnr for report in reports for frame in report.frames if frame.psnr is not None]
    ssim = [frame.ssim for report in reports for frame in report.frames if frame.ssim is not None]
    held = [frame.held_psnr for frame in first.frames if frame.held_psnr is not None]
    if psnr:
        tiles.append(_tile_mean("PSNR to the real frames", psnr, ".1f", "dB"))
    if ssim:
        tiles.append(_tile_mean("SSIM to the real frames", ssim, ".3f"))
    if held:
        tiles.append(_tile_mean("PSNR of the last frame held", held, ".1f", "dB"))
    tiles.append(_tile("time taken", f"{sum(r.seconds.total for r in reports):.1f}", "s"))
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
    rows.append(("Shown to the network", _count(first.context, "real frame")))
    if futures is not None:
        rows.append(("Seed", str(futures.seed)))
    if futures is not None and futures.best is not None:
        rows.append(("Nearest to the real frames", f"future {futures.best}"))
    rows += describe_rest(first.streams_copied, first.streams_left_out, first.adaptation)
    rows.append(("Network", f"{first.model}, on {first.device}"))
    rows += describe_tiles(first.tile_px, first.tile_halvings)
    if len(reports) == 1:
        rows.append(("Time", describe_time(first.seconds)))
    return rows


def _mark_times(plan: Plan) -> list[str]:
    last = len(plan.slots) - 1
    return [format_time(plan.slots[last * k // 4].time) for k in range(5)]


def _list_facts(report: FillReport, info: VideoInfo) -> list[tuple[str, str]]:
    rows = [("Input", str(report.input)), ("Output", str(report.output or "none"))]
    rows.append(("Video", describe_video(info, report.frame_rate)))
    rows.append(("Frames read", str(report.frames_in)))
    rows.append(("Frames made", str(report.frames_made)))
    if report.frames_replaced:
        rows.append(("Of these, replaced", str(report.frames_replaced)))
    if report.decode_errors:
        rows.append(("Not decodable", _count(report.decode_errors, "packet")))
    rows += describe_rest(report.streams_copied, report.streams_left_out, report.adaptation)
    if report.copied is not None:
        rows.append(
            (
                "Copied as coded",
                f"{_count(report.copied.packets_copied, 'packet')}; "
                f"{_count(report.copied.frames_reencoded, 'real frame')} encoded anew",
            )
        )
    if report.inserted is not None:
        longer = f"the pictures last {float(report.inserted.seconds):.3f} s longer"
        rows.append(("Inserted", f"{longer}; {report.inserted.reason}"))
    if report.model is not None:
        rows.append(("Network", f"{report.model}, on {report.device}"))
    rows += describe_tiles(report.tile_px, report.tile_halvings)
    if not report.dry_run:
        rows.append(("Time", describe_time(report.seconds)))
    return rows


def describe_video(info: VideoInfo, rate: Fraction | None) -> str:
    """Size, coding and rate in a line."""
    speed = "variable frame rate" if rate is None else f"{float(rate):.6g} frames a second"
    turned = f", shown turned by {-info.rotation % 360}°" if info.rotation % 360 else ""
    return f"{info.width} × {info.height}{turned}, {info.codec}, {info.pix_fmt}, {speed}"


def describe_rest(
    n_streams: int | None, left_out: Sequence[str], adaptation: AdaptationReport | None
) -> list[tuple[str, str]]:
    """Other streams, and what the network learnt from this video."""
    rows = []
    if n_streams is not None:
        rows.append(("Other streams", f"{n_streams} copied"))
    if left_out:
        rows.append(("Not in the output", ", ".join(left_out)))
    if adaptation is not None:
        word = "kept" if adaptation.kept else "not kept"
        gain = ""
        if adaptation.psnr_before is not None and adaptation.psnr_after is not None:
            gain = (
                f"; {adaptation.psnr_before:.2f} → {adaptation.psnr_after:.2f} dB on "
                f"{_count(adaptation.windows_judged, 'window')} hidden from the learning"
            )
        rows.append(
            ("Adaptation", f"{word} after {adaptation.steps_done} steps: {adaptation.reason}{gain}")
        )
    return rows


def describe_tiles(side: int | None, n_halvings: int) -> list[tuple[str, str]]:
    """Whether frames were made in parts."""
    if side is None:
        return []
    halved = f"; memory ran out {_count(n_halvings, 'time')}" if n_halvings else ""
    return [("Made in tiles", f"of {side} pixels{halved}")]


def describe_time(seconds: Seconds) -> str:
    """Where the time went."""
    return (
        f"{seconds.total:.1f} s (decoding {seconds.decode:.1f}, network {seconds.model:.1f}, "
        f"encoding {seconds.encode:.1f}; these overlap)"
    )


def _percent(n: int, total: int) -> float:
    return round(100 * n / max(total, 1), 3)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
