"""What people see in a terminal: progress bars, tables of reports, one-line errors.

Data goes to stdout: a table on a terminal, tab-separated lines in a pipe. Everything else goes to
stderr. With ``--progress machine`` stderr holds nothing but one JSON object a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .bars import Ticker, show_bars
from .errors import OutputError
from .outputs import is_pipe, write_text
from .reports import FuturesReport, OnProgress, to_plain
from .timeline import format_time

if TYPE_CHECKING:
    from .benchmark import BenchmarkReport, CountReport
    from .calibration import ConfidenceReport
    from .confidence import Agreement
    from .evaluation import EvaluationReport
    from .moving_mnist import DigitsReport
    from .reports import (
        AdaptationReport,
        CompareReport,
        CopyReport,
        DropReport,
        FillReport,
        ForecastReport,
        GapReport,
        InstallationReport,
        InterpolateReport,
        Seconds,
    )
    from .scanning import ScanReport
    from .session import TrainReport

__all__ = ["Sheet", "Terminal"]

_LOG_WIDTH = 160  # characters of a line in a log file, where nothing has a width
_MAX_ROWS = 40  # gaps that a summary lists; the JSON report always has all of them
_NARROWEST_TEXT = 24  # characters: words in a narrower column cannot be read


@dataclass
class Sheet:
    """A table before it is known who reads it: a terminal gets lines and colours, a pipe tabs."""

    headers: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    left: frozenset[str] = frozenset()  # headers of columns of words; the others hold numbers

    def as_text(self) -> str:
        """Tab-separated lines, the headers first."""
        return "".join("\t".join(row) + "\n" for row in (self.headers, *self.rows))

    def print_to(self, console: Console) -> None:
        """Print a table. The last column may wrap; where it would be squeezed, it goes below."""
        last = len(self.headers) - 1
        taken = sum(max(len(row[i]) for row in (self.headers, *self.rows)) + 2 for i in range(last))
        below = self.headers[last] in self.left and console.width - taken < _NARROWEST_TEXT
        table = Table(box=None, pad_edge=False, padding=(0, 1))
        for i, header in enumerate(self.headers):
            if below and i == last:
                continue
            table.add_column(
                header,
                justify="left" if header in self.left else "right",
                no_wrap=i != last,
                overflow="fold",
                header_style="bold",
            )
        for row in self.rows:
            cells = row[:last] if below else row
            table.add_row(*(escape(cell) for cell in cells))
        console.print(table)
        for row in self.rows if below else ():
            console.print(f"{escape(row[0])}  {escape(row[last])}")


class Terminal:
    """Where a command talks to the person, or to the program, that started it.

    ``progress``: "auto" (a bar on a terminal, else nothing), "bar", "machine" or "none".
    ``quiet``: people and programs are not told anything. ``is_terse``: people are told errors only.
    ``log_file``: gets the lines for people too.

    Raises:
        OutputError: the log file cannot be written.
    """

    def __init__(
        self,
        progress: str = "auto",
        *,
        quiet: bool = False,
        is_terse: bool = False,
        log_file: Path | None = None,
    ) -> None:
        self._out = Console(soft_wrap=False, highlight=False, quiet=quiet)
        self._alarm = Console(stderr=True, highlight=False, quiet=quiet)
        self._err = Console(stderr=True, highlight=False, quiet=quiet or is_terse)
        self._log_file = None if quiet else log_file
        if quiet or (is_terse and progress != "machine"):
            progress = "none"
        if not self._err.is_terminal and "COLUMNS" not in os.environ:
            self._err.width = self._alarm.width = _LOG_WIDTH
        if progress == "auto":
            progress = "bar" if self._err.is_terminal else "none"
        self._mode = progress

    # For people (stderr).

    def say(self, text: str) -> None:
        """One line for people."""
        self._log(text)
        if self._mode != "machine":
            self._err.print(escape(text), soft_wrap=True)

    def fail(self, message: str, *, source: Path | None = None) -> None:
        """The one line of an error."""
        line = " ".join(message.split())
        if source is not None and not is_pipe(source) and str(source) not in line:
            line = f"{source}: {line}"
        with contextlib.suppress(OutputError):  # it may be what has failed
            self._log(f"error: {line}")
        if self._mode == "machine":
            self._emit({"event": "error", "input": to_plain(source), "message": line})
        else:
            self._alarm.print(f"[bold red]error:[/] {escape(line)}", soft_wrap=True)

    def _log(self, text: str) -> None:
        if self._log_file is None:
            return
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            with self._log_file.open("a", encoding="utf-8") as file:
                file.write(f"{now} {' '.join(text.split())}\n")
        except OSError as error:
            raise OutputError(
                f"{self._log_file}: cannot be written ({error.strerror}); choose another --log-file"
            ) from None

    @contextmanager
    def follow(self, source: Path | None = None) -> Iterator[OnProgress]:
        """Show progress while the block runs; yields the callback for the library."""
        if self._mode == "machine":
            yield Ticker(self._emit, source)
        elif self._mode == "bar":
            with show_bars(self._err, source.name if source else None) as update:
                yield update
        else:
            yield None

    def finish(self, source: Path, output: Path | None) -> None:
        """Tell a program that one input is done."""
        if self._mode == "machine":
            self._emit({"event": "done", "input": str(source), "output": to_plain(output)})

    def _emit(self, event: dict[str, object]) -> None:
        sys.stderr.write(json.dumps(event, ensure_ascii=False) + "\n")
        sys.stderr.flush()

    # Data (stdout).

    def write_json(self, target: str, payload: object) -> None:
        """Write one JSON object to stdout (``-``) or to a file."""
        # What a code page lacks is escaped as JSON has it.
        is_plain = target == "-" and not sys.stdout.encoding.lower().startswith("utf")
        text = (
            json.dumps(to_plain(payload), indent=2, ensure_ascii=is_plain, allow_nan=False) + "\n"
        )
        if target == "-":
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            write_text(Path(target), text)

    def write_sheet(self, sheet: Sheet) -> None:
        """A table as data: for eyes on a terminal, tab-separated in a pipe."""
        if self._out.is_terminal:
            sheet.print_to(self._out)
        else:
            sys.stdout.write(sheet.as_text())
            sys.stdout.flush()

    # Reports.

    def show_scan(self, report: ScanReport) -> None:
        """The list of gaps on stdout, the summary on stderr."""
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
        n_to_make = report.plan.n_to_make
        self.say(
            f"{report.info.path}: {_count(report.n_frames, 'frame')}, {_rate(report.plan.step)}, "
            f"{_count(len(report.plan.gaps), 'gap')}, {_count(n_to_make, 'frame')} to make"
            f"{_suspect(report.drops)}"
        )
        if sheet.rows or not self._out.is_terminal:
            self.write_sheet(sheet)

    def show_fill(self, report: FillReport) -> None:
        """What was done about each gap, on stderr."""
        if self._mode == "machine":
            return
        n_asked = sum(gap.n_frames for gap in report.gaps if gap.action != "leave")
        if report.dry_run:
            target = f", to be written to {report.output}" if report.output else ""
            self.say(f"{report.input}: {_count(n_asked, 'frame')} to make{target} (dry run)")
        elif not n_asked:
            to = f"copied to {_name(report.output, 'output')}" if report.output else None
            self.say(f"{report.input}: nothing to fill, {to or 'no output written'}")
        else:
            self.say(
                f"{_route(report)}: {_count(report.frames_made, 'frame')} made, "
                f"{_count(report.streams_copied or 0, 'other stream')} copied, "
                f"{_spent(report.seconds)}"
            )
        self._tell_adaptation(report.adaptation)
        self._tell_tiles(report)
        if report.windows_resumed:
            self.say(f"{_count(report.windows_resumed, 'window')} taken from an interrupted run")
        self._tell_copied(report.copied)
        if report.inserted is not None:
            self.say(
                f"pictures last {float(report.inserted.seconds):.3f} s longer; "
                f"{report.inserted.reason}"
            )
        if report.decode_errors:
            self.say(f"{_count(report.decode_errors, 'packet')} could not be decoded")
        self._tell_left_out(report.streams_left_out)
        if report.drops:
            places = ", ".join(f"{drop.start}:{drop.frames}" for drop in report.drops[:_MAX_ROWS])
            self.say(
                f"{_count(len(report.drops), 'suspected drop')}, closed up and left so: {places}; "
                "'framepred scan' says why, --insert makes the frames"
            )
        if report.gaps:
            _gap_sheet(report.gaps[:_MAX_ROWS]).print_to(self._err)
        if len(report.gaps) > _MAX_ROWS:
            self.say(f"... and {len(report.gaps) - _MAX_ROWS} more (--json lists all)")

    def _tell_adaptation(self, report: AdaptationReport | None) -> None:
        if report is None:
            return
        facts = [report.reason]
        if report.psnr_before is not None and report.psnr_after is not None:
            facts += [
                f"{report.psnr_before:.2f} -> {report.psnr_after:.2f} dB on "
                f"{_count(report.windows_judged, 'window')} kept from the learning",
            ]
        if report.steps_done:
            facts.append(f"{_count(report.steps_done, 'step')} in {report.seconds:.1f} s")
        self.say(f"{'adapted' if report.kept else 'not adapted'}: {', '.join(facts)}")

    def _tell_tiles(self, report: FillReport | ForecastReport) -> None:
        if report.tile_halvings:
            self.say(
                f"memory ran out {_count(report.tile_halvings, 'time')}: frames were made in "
                f"tiles of {report.tile_px} pixels"
            )

    def _tell_copied(self, report: CopyReport | None) -> None:
        if report is None:
            return
        self.say(
            f"{_count(report.packets_copied, 'packet')} copied as they are, "
            f"{_count(report.frames_reencoded, 'frame')} of the input encoded anew"
        )
        for part in report.stretches[:_MAX_ROWS]:
            stop = "the end" if part.stop is None else format_time(part.stop)
            self.say(
                f"encoded: {format_time(part.start)} to {stop}, {_count(part.frames, 'frame')}, "
                f"{part.frames_made} of them made"
            )

    def _tell_left_out(self, streams: Sequence[str]) -> None:
        if streams:
            self.say(f"not in the output: {', '.join(streams)}")

    def show_forecast(
        self, report: ForecastReport | FuturesReport, *, with_scores: bool = True
    ) -> None:
        """What was forecast, on stderr; the scores of a hold-out are data, on stdout."""
        if isinstance(report, FuturesReport):
            self._show_futures(report, with_scores=with_scores)
            return
        self.say(
            f"{_route(report)}: {_count(report.frames_made, 'frame')} forecast from "
            f"{format_time(report.time)} on, after {_count(report.context, 'real frame')}, "
            f"{_spent(report.seconds)}"
        )
        self._tell_adaptation(report.adaptation)
        self._tell_tiles(report)
        self._tell_copied(report.copied)
        self._tell_left_out(report.streams_left_out)
        if report.hold_out and with_scores:
            sheet = Sheet(("step", "time", "PSNR dB", "SSIM"))
            for score in report.frames:
                sheet.rows.append(
                    (str(score.index), format_time(score.time), *_scores(score.psnr, score.ssim))
                )
            sheet.rows.append(("mean", "", *_scores(report.psnr, report.ssim)))
            self.write_sheet(sheet)

    def show_interpolation(self, report: InterpolateReport) -> None:
        """What was made, kept and held, on stderr."""
        if self._mode == "machine":
            return
        n_held = sum(held.frames for held in report.frames_held)
        counts = f"{_count(report.frames_made, 'frame')} made, {report.frames_kept} kept"
        if report.frames_kept < report.frames_in:
            counts += f" of {report.frames_in}"
        if n_held:
            why = ", ".join(f"{held.frames} {held.reason}" for held in report.frames_held)
            counts += f", {n_held} held ({why})"
        rates = f"{_rate(_inverse(report.rate_in))} to {_rate(_inverse(report.rate_out))}"
        if report.dry_run:
            self.say(f"{report.input}: {rates}: {counts}, to be written to {report.output}")
        else:
            self.say(
                f"{_route(report)}: {rates}: {counts}, "
                f"{_count(report.streams_copied or 0, 'other stream')} copied, "
                f"{_spent(report.seconds)}"
            )
        if report.frames_scored:
            psnr, ssim = _scores(report.psnr, report.ssim)
            self.say(f"{_count(report.frames_scored, 'frame')} scored: {psnr} dB, SSIM {ssim}")
        if report.decode_errors:
            self.say(f"{_count(report.decode_errors, 'packet')} could not be decoded")
        self._tell_left_out(report.streams_left_out)

    def _show_futures(self, report: FuturesReport, *, with_scores: bool) -> None:
        for sample in report.samples:
            self.show_forecast(sample, with_scores=False)
        self.say(
            f"{report.input}: {_count(len(report.samples), 'future')}, which differ by "
            f"{report.diversity:.2f} of 255 grey levels"
        )
        if report.best is not None and with_scores:
            sheet = Sheet(("future", "PSNR dB", "SSIM"))
            for number, sample in enumerate(report.samples, 1):
                sheet.rows.append((str(number), *_scores(sample.psnr, sample.ssim)))
            sheet.rows.append(("mean", *_scores(report.mean_psnr, report.mean_ssim)))
            sheet.rows.append(
                (f"best ({report.best})", *_scores(report.best_psnr, report.best_ssim))
            )
            self.write_sheet(sheet)

    def show_comparison(self, report: CompareReport) -> None:
        """The scores on stdout, what could not be paired on stderr."""
        sheet = Sheet(("", "PSNR dB", "SSIM"), left=frozenset({""}))
        sheet.rows.append(("mean", *_scores(report.psnr, report.ssim)))
        sheet.rows.append(("worst", *_scores(report.worst_psnr, report.worst_ssim)))
        self.say(
            f"{report.reference} | {report.other}: {_count(report.frames_compared, 'frame')} "
            f"compared, {report.frames_identical} of them identical"
        )
        for n_alone, path in (
            (report.frames_only_in_reference, report.reference),
            (report.frames_only_in_other, report.other),
        ):
            if n_alone:
                self.say(f"{_count(n_alone, 'frame')} only in {path}")
        self.write_sheet(sheet)

    def show_event(self, event: dict[str, Any]) -> None:
        """A line of a training run's log."""
        if self._mode == "machine":
            self._emit(event)
        elif event["event"] == "start":
            nouns = {"clips": "shot", "frames": "frame", "digits": "digit"}
            material = [_count(event[key], noun) for key, noun in nouns.items() if event.get(key)]
            if event.get("scenes"):
                material.append(f"{event['scenes']:.0%} synthetic scenes")
            self.say(f"{', '.join(material)}, on {event['device']} in {event['precision']}")
            if event["lease_minutes"] is not None:
                self.say(
                    f"from step {event['step']} of {event['n_steps']}, for at most "
                    f"{event['lease_minutes']:g} min"
                )
            if event.get("frames_left_out"):
                self.say(
                    f"{_count(event['frames_left_out'], 'frame')} left out: more than --cache-gb"
                )
            for problem in event.get("problems", ()):
                self.say(f"left out: {problem}")
            if not event["held_out"]:
                self.say(
                    "too few videos to hold one out: the scores are on one that is learnt from"
                )
            for task, table in event["baselines"].items():
                for method, scores in table.items():
                    self.say(f"{task:9}{_scores_line(task, scores)}  {method}")
        elif event["event"] == "step":
            memory = f", {event['gpu_gb']} GB" if event["gpu_gb"] is not None else ""
            self.say(
                f"step {event['step']}: loss {event['loss']:.4f}, "
                f"{event['samples_per_second']} sequences/s, "
                f"{event['frames_per_second']} frames/s, busy "
                f"{event['busy_share']:.0%}{memory}, {event['minutes']} min"
            )
        elif event["event"] == "stop" and not event["finished"]:
            self.say(
                f"the lease is over at step {event['step']} of {event['n_steps']}: saved, go on "
                "with --resume"
            )
        elif event["event"] == "validate":
            for task, scores in event.items():
                if isinstance(scores, dict):
                    line = _scores_line(task, scores)
                    self.say(f"{task:9}{line}  model at step {event['step']}")

    def show_training(self, report: TrainReport) -> None:
        """What a run came to: the scores on stdout, the rest on stderr."""
        self.say(
            f"{report.model}: {_count(report.steps, 'step')}, {report.samples} sequences, "
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
            self.write_sheet(sheet)

    def show_evaluation(self, report: EvaluationReport) -> None:
        """The score table on stdout, what was left out on stderr."""
        for problem in report.problems:
            self.say(problem)
        for task in report.tasks:
            word = "g=" if task.task == "fill" else "step "
            first = f"{task.task}, PSNR dB / SSIM"
            sheet = Sheet(
                (first, *(f"{word}{column}" for column in task.columns), "s/frame"),
                left=frozenset({first}),
            )
            for row in task.methods:
                cells = [
                    " / ".join(_scores(row.psnr[column], row.ssim[column]))
                    for column in task.columns
                ]
                sheet.rows.append((row.method, *cells, f"{row.seconds_per_frame:.3f}"))
            counts = ", ".join(str(task.n_windows[column]) for column in task.columns)
            self.say(f"{task.task}: {report.clips} clips, windows: {counts}")
            if any(task.n_short.values()):
                counts = ", ".join(str(task.n_short[column]) for column in task.columns)
                self.say(f"{task.task}: windows without room for the longest context: {counts}")
            self.write_sheet(sheet)
            if task.diversity is not None:
                self.say(f"futures differ by {task.diversity:.2f} of 255 grey levels")
            if task.confidence is not None:
                self._show_confidence(task.task, task.confidence)

    def show_digits(self, report: DigitsReport) -> None:
        """The scores by step on stdout, on how many sequences and how fast on stderr."""
        self.say(
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
        self.write_sheet(sheet)

    def _show_confidence(self, task: str, report: ConfidenceReport) -> None:
        """How estimates meet the truth on stdout, what was fitted on stderr."""
        fitted = "" if report.trust is None else f"; trust fitted here: {report.trust:.3f}"
        self.say(
            f"{task}: {_count(report.n_frames, 'frame')} made to be estimated, "
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
            self.write_sheet(sheet)

    def show_benchmark(self, report: BenchmarkReport) -> None:
        """The measurements on stdout; the limits and what was skipped on stderr."""
        self.say(
            f"{report.model} ({report.parameters / 1e6:.2f} million parameters) on {report.device} "
            f"({report.hardware}), {report.seconds:.0f} s"
        )
        headers = ("what", "size", "g", "batch", "precision", "frames/s", "frames", "peak GB")
        sheet = Sheet(
            (*headers, "GMAC/frame", "of ceiling", "PSNR dB", "change"),
            left=frozenset({"what", "precision", "frames"}),
        )
        for precision, rate in report.ceilings.items():
            self.say(f"ceiling, a large matrix product in {precision}: {rate:.3g} TFLOP/s")
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
        self.write_sheet(sheet)
        for skip in report.skipped:
            heights = ", ".join(f"{height}p" for height in skip.heights)
            variant = skip.variant
            named = {"g=": variant.n_missing, "batch ": variant.batch, "": variant.precision}
            how = ", ".join(f"{word}{value}" for word, value in named.items() if value is not None)
            name = f"{variant.stage} ({how})" if how else variant.stage
            self.say(f"skipped: {name} at {heights}: {skip.reason}")

    def show_count(self, report: CountReport) -> None:
        """Multiply-adds by size and gap length, on stdout."""
        self.say(f"{report.model}: {report.parameters} parameters")
        sheet = Sheet(("size", "g", "GMAC/frame"))
        for count in report.counts:
            size = f"{count.width}x{count.height}"
            sheet.rows.append((size, str(count.n_missing), f"{count.gmac_per_frame:.2f}"))
        self.write_sheet(sheet)

    def show_installation(self, report: InstallationReport) -> None:
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
        self.write_sheet(sheet)


def _scores_line(task: str, scores: dict[int, float]) -> str:
    """Scores by gap length or step, in order: PSNR, but for one table."""
    return " / ".join(f"{value:.2f}" for value in scores.values()) + " dB" * (task != "mse")


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
        row += _scores(gap.estimated_psnr, gap.estimated_ssim) if estimated else []
        row += _scores(gap.psnr, gap.ssim) if scored else []
        sheet.rows.append([*row, gap.reason])
    return sheet


def _scores(psnr: float | None, ssim: float | None) -> tuple[str, str]:
    """Decibels and SSIM as people read them; a dash for what was not measured."""
    return ("-" if psnr is None else f"{psnr:.2f}", "-" if ssim is None else f"{ssim:.4f}")


def _number(value: float | None, form: str) -> str:
    """A figure, or a dash for what was not measured."""
    return "-" if value is None else format(value, form)


def _agreement(found: Agreement, digits: int) -> str:
    """Correlations and the mean error; a dash for what cannot be told."""
    parts = ((found.pearson, 3), (found.spearman, 3), (found.mean_error, digits))
    return " / ".join("-" if value is None else f"{value:.{n}f}" for value, n in parts)


def _suspect(drops: Sequence[DropReport]) -> str:
    return f", {_count(len(drops), 'suspected drop')}" if drops else ""


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _rate(step: Fraction | None) -> str:
    return "variable frame rate" if step is None else f"{float(1 / step):.6g} frames/s"


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
