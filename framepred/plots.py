"""Drawings of reports, as files that a page or a paper can show."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure, SubFigure

from .outputs import write_bytes

if TYPE_CHECKING:
    from .evaluation import EvaluationReport, MethodScore, TaskReport
    from .moving_mnist import Strip
    from .reports import CompareReport

__all__ = ["plot_comparison", "plot_contexts", "plot_strip"]

_PANEL = 2.5  # inches, wide and high
_MODEL, _BASELINE = "#0b62a8", "#8a4b08"  # apart in hue and in lightness, for any eye and printer


def plot_contexts(report: EvaluationReport, output: Path) -> None:
    """Draw PSNR (dB) by the length of the context, a panel for each gap length or forecast step.

    The dashed line is the baseline that scores best in the task. All panels of a task span as many
    decibels, so that what the context is worth compares by eye. The suffix of ``output`` (svg, png
    or pdf) chooses the format; the same report gives the same file.

    Raises OutputError if the file cannot be written.
    """
    n_columns = max(len(task.columns) for task in report.tasks)
    size = (_PANEL * max(n_columns, 2), (_PANEL + 0.7) * len(report.tasks))
    figure = Figure(figsize=size, layout="constrained")
    rows = figure.subfigures(len(report.tasks), 1, squeeze=False)[:, 0]
    with rc_context({"text.parse_math": False}):  # a file's name may hold a $
        for row, task in zip(rows, report.tasks, strict=True):
            _draw_task(row, task, report.model)
    _write(figure, output)


def plot_comparison(report: CompareReport, output: Path) -> None:
    """Draw PSNR (dB) and SSIM of every pair of frames by time; formats and errors as above.

    Identical frames stand at 100 dB. The dashed line is the mean.
    """
    times = [float(frame.time) for frame in report.frames]
    rows = [("PSNR, dB", [frame.psnr for frame in report.frames], report.psnr)]
    if report.ssim is not None:
        rows.append(("SSIM", [frame.ssim for frame in report.frames], report.ssim))
    figure = Figure(figsize=(3.2 * _PANEL, 0.9 * _PANEL * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), 1, squeeze=False, sharex=True)[:, 0]
    for panel, (label, values, mean) in zip(panels, rows, strict=True):
        drawn = [float("nan") if value is None else value for value in values]
        panel.plot(times, drawn, ".-", color=_MODEL, linewidth=1, markersize=4)
        panel.axhline(mean, color=_BASELINE, linestyle="--", label=f"mean {mean:.4g}")
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
        panel.legend(loc="best")
    panels[-1].set_xlabel("time in the reference, s")
    _write(figure, output)


def plot_strip(strip: Strip, output: Path) -> None:
    """Draw forecasts under the truth, a column for each frame; formats and errors as above."""
    n_sequences, n_seen = strip.seen.shape[:2]
    n_frames = n_seen + strip.true.shape[1]
    figure = Figure(figsize=(0.5 * n_frames + 0.8, n_sequences + 0.5), layout="constrained")
    panels = figure.subplots(n_sequences, 1, squeeze=False)[:, 0]
    for panel, seen, true, made in zip(panels, strip.seen, strip.true, strip.made, strict=True):
        unseen = np.full_like(seen, 255)
        rows = (np.concatenate((seen, true)), np.concatenate((unseen, made)))
        # White lines between the frames; nothing below those that were seen.
        tiles = [np.pad(row, ((0, 0), (2, 2), (2, 2)), constant_values=255) for row in rows]
        side = tiles[0].shape[1]
        picture = np.concatenate([np.concatenate(list(row), 1) for row in tiles])
        panel.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        panel.set_yticks([side / 2, 1.5 * side], ["true", "made"], size=8)
        numbers = [*range(1 - n_seen, 1), *range(1, n_frames - n_seen + 1)]
        panel.set_xticks([(k + 0.5) * side for k in range(n_frames)], numbers, size=8)
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
    panels[-1].set_xlabel("frames from the last one seen (0)", size=8)
    _write(figure, output)


def _write(figure: Figure, output: Path) -> None:
    """The same figure gives the same file."""
    suffix = output.suffix[1:].lower()
    # Neither the time of the drawing nor a random name in it: both would differ the next time.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
    drawn = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "framepred"}):
        figure.savefig(drawn, format=suffix, dpi=150, metadata=metadata)
    write_bytes(output, drawn.getvalue())


def _draw_task(row: SubFigure, task: TaskReport, model: str) -> None:
    study = [method for method in task.methods if method.n_context is not None]
    lengths = [method.n_context for method in study]
    baselines = [method for method in task.methods if method.role == "baseline"]
    best = max(baselines, key=lambda method: sum(method.psnr.values()))
    panels = row.subplots(1, len(task.columns), squeeze=False)[0]
    span = max(_span(column, [*study, best]) for column in task.columns)
    for panel, column in zip(panels, task.columns, strict=True):
        scores = [method.psnr[column] for method in study]
        panel.plot(lengths, scores, "o-", color=_MODEL, label=f"framepred ({Path(model).name})")
        panel.axhline(best.psnr[column], color=_BASELINE, linestyle="--", label=best.method)
        what = "frame hidden" if column == 1 else "frames hidden"
        panel.set_title(f"{column} {what}" if task.task == "fill" else f"step {column}", size=10)
        panel.set_xticks(lengths)
        middle = (min(*scores, best.psnr[column]) + max(*scores, best.psnr[column])) / 2
        panel.set_ylim(middle - 0.6 * span, middle + 0.6 * span)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("PSNR, dB")
    row.supxlabel(f"known frames{' on each side' if task.task == 'fill' else ''}", size=10)
    row.suptitle(task.task, x=0.01, ha="left")
    row.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)


def _span(column: int, methods: list[MethodScore]) -> float:
    """Decibels from the worst to the best of a column, and never nothing."""
    scores = [method.psnr[column] for method in methods]
    return max(max(scores) - min(scores), 0.1)
