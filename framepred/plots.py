"""Drawings of reports, as files that a page or a paper can show."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.figure import Figure, SubFigure

from .outputs import write_bytes

if TYPE_CHECKING:
    from .evaluation import EvaluationReport, MethodScore, TaskReport

__all__ = ["plot_contexts"]

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
    for row, task in zip(rows, report.tasks, strict=True):
        _draw_task(row, task, report.model)
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
