"""The page of an evaluation: tables, charts, and the windows that the model does worst and best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .calibration import ConfidenceReport
from .charts import Series
from .evaluation import EvaluationReport, MethodScore, TaskReport
from .galleries import Exhibit, Gallery
from .outputs import write_text
from .pages import Chart, describe_film, describe_looks, make_chart, render

__all__ = ["write_scores"]

_N_BASELINES = 5  # that are drawn: the best ones
_AGAINST = {"true": "Real frame", "played": "Last frame held", "blended": "Cross-faded"}


def write_scores(report: EvaluationReport, gallery: Gallery, output: Path) -> None:
    """Write an evaluation as a page.

    Raises OutputError if the file cannot be written.
    """
    first = report.tasks[0]
    page = render(
        "scores.html",
        name=report.model,
        lede=f"Known frames of {report.clips} {'clip' if report.clips == 1 else 'clips'} were "
        "hidden, predicted by the model and by simpler methods, and compared with the real ones.",
        tasks=[_describe_task(task, gallery, number) for number, task in enumerate(report.tasks)],
        problems=report.problems,
        facts=[
            ("Model", report.model),
            ("Device", report.device),
            ("Clips", str(report.clips)),
            ("Windows", "; ".join(_count_windows(task) for task in report.tasks)),
            ("Time", f"{report.seconds:.0f} s"),
        ],
        has_ssim=any(value is not None for value in first.methods[0].ssim.values()),
    )
    write_text(output, page)


def _count_windows(task: TaskReport) -> str:
    word = "{} hidden" if task.task == "fill" else "step {}"
    counts = (f"{word.format(column)}: {n}" for column, n in task.n_windows.items())
    return f"{task.task} ({', '.join(counts)})"


def _describe_task(task: TaskReport, gallery: Gallery, number: int) -> dict[str, Any]:
    is_fill = task.task == "fill"
    exhibits = [
        _describe_exhibit(word, chosen[task.task], 10 * number + k)
        for k, (word, chosen) in enumerate(
            (("Hardest window", gallery.hardest), ("Easiest window", gallery.easiest)), 1
        )
        if task.task in chosen
    ]
    if len(exhibits) == 2 and gallery.hardest[task.task] is gallery.easiest[task.task]:
        exhibits = exhibits[:1]
    return {
        "title": "Filling gaps" if is_fill else "Forecasting",
        "note": "Frames hidden between known ones, by how many are hidden."
        if is_fill
        else "Frames hidden after known ones, by how far ahead they lie.",
        "columns": [f"{c} hidden" if is_fill else f"step {c}" for c in task.columns],
        "rows": _list_rows(task),
        "charts": _chart_columns(task) + _chart_frames(task),
        "exhibits": exhibits,
        "confidence": None if task.confidence is None else _describe_confidence(task.confidence),
    }


def _list_rows(task: TaskReport) -> list[dict[str, Any]]:
    """Each method's scores; the best of a column, ablations and drawn futures aside, marked."""
    ranked = [method for method in task.methods if method.role in ("baseline", "model")]
    best_psnr = {c: max(round(m.psnr[c], 2) for m in ranked) for c in task.columns}
    best_ssim = {
        c: max((round(v, 4) for m in ranked if (v := m.ssim[c]) is not None), default=None)
        for c in task.columns
    }
    rows = []
    for method in task.methods:
        cells = []
        for column in task.columns:
            psnr, ssim = method.psnr[column], method.ssim[column]
            is_ranked = method in ranked
            cells.append(
                {
                    "psnr": f"{psnr:.2f}",
                    "ssim": None if ssim is None else f"{ssim:.4f}",
                    "is_best_psnr": is_ranked and round(psnr, 2) == best_psnr[column],
                    "is_best_ssim": is_ranked
                    and ssim is not None
                    and round(ssim, 4) == best_ssim[column],
                }
            )
        rows.append(
            {
                "method": method.method,
                "is_ours": method.role != "baseline",
                "cells": cells,
                "seconds": f"{method.seconds_per_frame:.3f}",
            }
        )
    return rows


def _choose_drawn(task: TaskReport) -> list[MethodScore]:
    """The best baselines and all rows of the model, as many as there are colours."""
    baselines = [method for method in task.methods if method.role == "baseline"]
    ours = [method for method in task.methods if method.role != "baseline"]
    best = sorted(baselines, key=lambda method: -sum(method.psnr.values()))[:_N_BASELINES]
    kept = [method for method in baselines if method in best]
    return [*ours[: 8 - len(kept)], *kept]


def _draw(
    task: TaskReport,
    x_label: str,
    places: Sequence[int],
    read: Callable[[MethodScore, str], Sequence[float | None]],
    suffix: str,
) -> list[Chart]:
    charts = []
    for name, unit in (("psnr", "PSNR, dB"), ("ssim", "SSIM")):
        series = []
        for colour, method in enumerate(_choose_drawn(task)):
            values = read(method, name)
            is_ours = method.role == "model"
            if any(value is not None for value in values):
                series.append(
                    Series(
                        method.method,
                        places,
                        values,
                        colour=colour,
                        is_dashed=method.role == "baseline",
                        is_strong=is_ours,
                    )
                )
        if series:
            charts.append(
                make_chart(
                    f"{name.upper()} {suffix}",
                    series,
                    x_label=x_label,
                    y_label=unit,
                    ticks=places,
                )
            )
    return charts


def _chart_columns(task: TaskReport) -> list[Chart]:
    is_fill = task.task == "fill"
    return _draw(
        task,
        "frames hidden" if is_fill else "step",
        task.columns,
        lambda method, name: [getattr(method, name)[column] for column in task.columns],
        "by the length of the gap" if is_fill else "by step",
    )


def _chart_frames(task: TaskReport) -> list[Chart]:
    """Frame by frame in the longest windows."""
    longest = max((n for method in task.methods for n in method.psnr_by_frame), default=0)
    if longest < 3:
        return []
    return _draw(
        task,
        "frame in the gap" if task.task == "fill" else "step",
        range(1, longest + 1),
        lambda method, name: getattr(method, f"{name}_by_frame")[longest],
        f"by frame, {longest} hidden",
    )


def _describe_exhibit(word: str, exhibit: Exhibit, number: int) -> dict[str, Any]:
    window, album = exhibit.window, exhibit.album
    scores = zip(exhibit.score.psnr, exhibit.score.ssim, strict=True)
    thumbs = [frame.picture for frame in album.film if frame.role == "made"]
    ssim = [value for value in exhibit.score.ssim if value == value]
    mean = f" · SSIM {sum(ssim) / len(ssim):.4f}" if ssim else ""
    stop = window.start + window.n_missing - 1
    return {
        "number": number,
        "word": word,
        "clip": window.clip,
        "where": f"frame {window.start}"
        if stop == window.start
        else f"frames {window.start} to {stop}",
        "marks": f"{exhibit.psnr:.2f} dB{mean}",
        "thumb": thumbs[len(thumbs) // 2] if thumbs else None,
        "film": [describe_film(frame, first=exhibit.first) for frame in album.film],
        "n_not_on_film": album.n_not_on_film,
        "view": describe_looks(album.looks, _AGAINST, first=exhibit.first) if album.looks else None,
        "headers": ["Frame", "PSNR, dB", "SSIM"],
        "rows": [
            [str(frame), f"{psnr:.2f}", "–" if ssim != ssim else f"{ssim:.4f}"]
            for frame, (psnr, ssim) in enumerate(scores, window.start)
        ],
        "is_tall": bool(thumbs) and thumbs[0].height > thumbs[0].width,
    }


def _describe_confidence(report: ConfidenceReport) -> dict[str, Any]:
    rows = []
    for estimate in report.estimates:
        for unit, digits, table in (("PSNR, dB", 2, estimate.psnr), ("SSIM", 4, estimate.ssim)):
            for column, found in table.items():
                if column == "all":
                    rows.append(
                        [
                            f"{estimate.estimate}, {unit}",
                            str(found.n_frames),
                            *(
                                "–" if value is None else f"{value:.{n}f}"
                                for value, n in (
                                    (found.pearson, 3),
                                    (found.spearman, 3),
                                    (found.mean_error, digits),
                                )
                            ),
                        ]
                    )
    return {
        "headers": ["Estimate", "Frames", "Pearson", "Spearman", "Mean error"],
        "rows": rows,
        "note": f"{report.n_frames} frames made to be estimated, {report.n_without} of them "
        "without room for a self-check.",
    }
