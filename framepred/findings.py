"""What was learnt, scored and measured, told in a terminal: data as tables on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .console import Sheet
from .phrases import count, tell_scores

if TYPE_CHECKING:
    from .benchmark import BenchmarkReport
    from .calibration import ConfidenceReport
    from .confidence import Agreement
    from .console import Terminal
    from .evaluation import EvaluationReport
    from .moving_mnist import DigitsReport
    from .operations import CountReport
    from .reports import CompareReport, InstallationReport
    from .session import TrainReport

__all__ = [
    "show_benchmark",
    "show_comparison",
    "show_count",
    "show_digits",
    "show_evaluation",
    "show_event",
    "show_installation",
    "show_training",
]


def show_comparison(terminal: Terminal, report: CompareReport) -> None:
    """The scores on stdout, what could not be paired on stderr."""
    sheet = Sheet(("", "PSNR dB", "SSIM"), left=frozenset({""}))
    sheet.rows.append(("mean", *tell_scores(report.psnr, report.ssim)))
    sheet.rows.append(("worst", *tell_scores(report.worst_psnr, report.worst_ssim)))
    terminal.say(
        f"{report.reference} | {report.other}: {count(report.frames_compared, 'frame')} "
        f"compared, {report.frames_identical} of them identical"
    )
    for n_alone, path in (
        (report.frames_only_in_reference, report.reference),
        (report.frames_only_in_other, report.other),
    ):
        if n_alone:
            terminal.say(f"{count(n_alone, 'frame')} only in {path}")
    terminal.write_sheet(sheet)


def show_event(terminal: Terminal, event: dict[str, Any]) -> None:
    """A line of a training run's log."""
    if terminal.is_machine:
        terminal.emit(event)
    elif event["event"] == "start":
        nouns = {"clips": "shot", "frames": "frame", "digits": "digit"}
        material = [count(event[key], noun) for key, noun in nouns.items() if event.get(key)]
        if event.get("scenes"):
            material.append(f"{event['scenes']:.0%} synthetic scenes")
        terminal.say(f"{', '.join(material)}, on {event['device']} in {event['precision']}")
        if event["lease_minutes"] is not None:
            terminal.say(
                f"from step {event['step']} of {event['n_steps']}, for at most "
                f"{event['lease_minutes']:g} min"
            )
        if event.get("frames_left_out"):
            terminal.say(
                f"{count(event['frames_left_out'], 'frame')} left out: more than --cache-gb"
            )
        for problem in event.get("problems", ()):
            terminal.say(f"left out: {problem}")
        if not event["held_out"]:
            terminal.say(
                "too few videos to hold one out: the scores are on one that is learnt from"
            )
        for task, table in event["baselines"].items():
            for method, scores in table.items():
                terminal.say(f"{task:9}{_scores_line(task, scores)}  {method}")
    elif event["event"] == "step":
        memory = f", {event['gpu_gb']} GB" if event["gpu_gb"] is not None else ""
        terminal.say(
            f"step {event['step']}: loss {event['loss']:.4f}, "
            f"{event['samples_per_second']} sequences/s, "
            f"{event['frames_per_second']} frames/s, busy "
            f"{event['busy_share']:.0%}{memory}, {event['minutes']} min"
        )
    elif event["event"] == "stop" and not event["finished"]:
        terminal.say(
            f"the lease is over at step {event['step']} of {event['n_steps']}: saved, go on "
            "with --resume"
        )
    elif event["event"] == "validate":
        for task, scores in event.items():
            if isinstance(scores, dict):
                line = _scores_line(task, scores)
                terminal.say(f"{task:9}{line}  model at step {event['step']}")


def show_training(terminal: Terminal, report: TrainReport) -> None:
    """What a run came to: the scores on stdout, the rest on stderr."""
    terminal.say(
        f"{report.model}: {count(report.steps, 'step')}, {report.samples} sequences, "
        f"{report.minutes:.1f} min at {report.samples_per_second:.2f} sequences/s, busy "
        f"{report.busy_share:.0%}"
    )
    rows = report.validation["baselines"]
    for task, ours in report.validation["model"].items():
        scores = {**rows[task], "framepred (this run)": ours}
        columns = list(ours)
        first = {"mse": "MSE of a frame", "psnr": "PSNR dB"}.get(task, f"{task}, PSNR dB")
        word = {"fill": "g=", "forecast": "step "}.get(task, "")
        sheet = Sheet((first, *(f"{word}{c}" for c in columns)), left=frozenset({first}))
        for method, table in scores.items():
            sheet.rows.append((method, *(f"{table[c]:.2f}" for c in columns)))
        terminal.write_sheet(sheet)


def show_evaluation(terminal: Terminal, report: EvaluationReport) -> None:
    """The score table on stdout, what was left out on stderr."""
    for problem in report.problems:
        terminal.say(problem)
    for task in report.tasks:
        word = "g=" if task.task == "fill" else "step "
        first = f"{task.task}, PSNR dB / SSIM"
        sheet = Sheet(
            (first, *(f"{word}{column}" for column in task.columns), "s/frame"),
            left=frozenset({first}),
        )
        for row in task.methods:
            cells = [
                " / ".join(tell_scores(row.psnr[column], row.ssim[column]))
                for column in task.columns
            ]
            sheet.rows.append((row.method, *cells, f"{row.seconds_per_frame:.3f}"))
        counts = ", ".join(str(task.n_windows[column]) for column in task.columns)
        terminal.say(f"{task.task}: {count(report.clips, 'clip')}, windows: {counts}")
        if any(task.n_short.values()):
            counts = ", ".join(str(task.n_short[column]) for column in task.columns)
            terminal.say(f"{task.task}: windows without room for the longest context: {counts}")
        terminal.write_sheet(sheet)
        if task.diversity is not None:
            terminal.say(f"futures differ by {task.diversity:.2f} of 255 grey levels")
        if task.confidence is not None:
            _show_confidence(terminal, task.task, task.confidence)


def show_digits(terminal: Terminal, report: DigitsReport) -> None:
    """The scores by step on stdout, on how many sequences and how fast on stderr."""
    terminal.say(
        f"{report.sequences} sequences of test digits with a fixed seed, not the published "
        f"file: {report.sequences_per_second:.1f} sequences/s on {report.device} in "
        f"{report.precision}, {report.seconds:.0f} s in all"
    )
    steps = [f"step {k}" for k in report.methods[0].mse]
    sheet = Sheet(("score", "method", "mean", *steps), left=frozenset({"score", "method"}))
    for name in report.methods[0].average():
        form = ".4f" if "ssim" in name else ".2f"
        for row in report.methods:
            values = (row.average()[name], *getattr(row, name).values())
            title = name.replace("_", " ")
            sheet.rows.append((title, row.method, *(f"{value:{form}}" for value in values)))
    terminal.write_sheet(sheet)


def _show_confidence(terminal: Terminal, task: str, report: ConfidenceReport) -> None:
    """How estimates meet the truth on stdout, what was fitted on stderr."""
    fitted = "" if report.trust is None else f"; trust fitted here: {report.trust:.3f}"
    terminal.say(
        f"{task}: {count(report.n_frames, 'frame')} made to be estimated, "
        f"{report.n_without} of them without room for a self-check{fitted}"
    )
    for unit, digits, tables in (
        ("PSNR dB", 2, [row.psnr for row in report.estimates]),
        ("SSIM", 4, [row.ssim for row in report.estimates]),
    ):
        if not any(tables):
            continue
        first = f"{task}, {unit}: Pearson / Spearman / mean error"
        word = "g=" if task == "fill" else "step "
        sheet = Sheet(
            (first, *("all" if c == "all" else f"{word}{c}" for c in tables[0])),
            left=frozenset({first}),
        )
        for row, table in zip(report.estimates, tables, strict=True):
            cells = [_agreement(found, digits) for found in table.values()]
            sheet.rows.append((row.estimate, *cells))
        terminal.write_sheet(sheet)


def show_benchmark(terminal: Terminal, report: BenchmarkReport) -> None:
    """The measurements on stdout; the limits and what was skipped on stderr."""
    terminal.say(
        f"{report.model} ({report.parameters / 1e6:.2f} million parameters) on {report.device} "
        f"({report.hardware}), {report.seconds:.0f} s"
        + ("" if report.preset is None else f"; encoder at {report.preset}")
    )
    headers = ("what", "size", "g", "batch", "precision", "frames/s", "frames", "peak GB")
    sheet = Sheet(
        (*headers, "GMAC/frame", "of ceiling", "PSNR dB", "change"),
        left=frozenset({"what", "precision", "frames"}),
    )
    for precision, rate in report.ceilings.items():
        terminal.say(f"ceiling, a large matrix product in {precision}: {rate:.3g} TFLOP/s")
    for row in report.measurements:
        sheet.rows.append(
            (
                row.variant.stage,
                f"{row.height}p",
                _number(row.variant.n_missing, "d"),
                _number(row.variant.batch, "d"),
                row.variant.precision or "-",
                f"{row.frames_per_second:.4g}",
                row.frames,
                _number(None if row.peak_bytes is None else row.peak_bytes / 1e9, ".2f"),
                _number(row.gmac_per_frame, ".4g"),
                _number(row.share_of_ceiling, ".0%"),
                _number(row.psnr, ".2f"),
                _number(row.psnr_change, "+.3f"),
            )
        )
    terminal.write_sheet(sheet)
    for skip in report.skipped:
        heights = ", ".join(f"{height}p" for height in skip.heights)
        variant = skip.variant
        named = {"g=": variant.n_missing, "batch ": variant.batch, "": variant.precision}
        how = ", ".join(f"{word}{value}" for word, value in named.items() if value is not None)
        name = f"{variant.stage} ({how})" if how else variant.stage
        terminal.say(f"skipped: {name} at {heights}: {skip.reason}")


def show_count(terminal: Terminal, report: CountReport) -> None:
    """Multiply-adds by size and gap length, on stdout."""
    terminal.say(f"{report.model}: {report.parameters} parameters")
    sheet = Sheet(("size", "g", "GMAC/frame"))
    for row in report.counts:
        size = f"{row.width}x{row.height}"
        sheet.rows.append((size, str(row.n_missing), f"{row.gmac_per_frame:.2f}"))
    terminal.write_sheet(sheet)


def show_installation(terminal: Terminal, report: InstallationReport) -> None:
    """Versions, devices and models, on stdout."""
    sheet = Sheet(("what", "which"), left=frozenset({"what", "which"}))
    sheet.rows.append(("framepred", report.version))
    sheet.rows.append(("python", f"{report.python} on {report.platform}"))
    sheet.rows += [(name, version) for name, version in report.libraries.items()]
    sheet.rows += [("device", device) for device in report.devices]
    sheet.rows += [
        ("model", f"{model.name} ({model.bytes / 1e6:.1f} MB, {model.path})")
        for model in report.models
    ]
    terminal.write_sheet(sheet)


def _scores_line(task: str, scores: dict[int, float]) -> str:
    """Scores by gap length or step, in order: PSNR, but for one table."""
    return " / ".join(f"{value:.2f}" for value in scores.values()) + " dB" * (task != "mse")


def _number(value: float | None, form: str) -> str:
    """A figure, or a dash for what was not measured."""
    return "-" if value is None else format(value, form)


def _agreement(found: Agreement, digits: int) -> str:
    """Correlations and the mean error; a dash for what cannot be told."""
    parts = ((found.pearson, 3), (found.spearman, 3), (found.mean_error, digits))
    return " / ".join("-" if value is None else f"{value:.{n}f}" for value, n in parts)
