"""Benchmark: how fast this machine decodes, predicts, encodes and fills, and how near its limit.

Everything is measured on a test picture that is drawn by recipe, in a temporary folder. Sizes come
in rising order, so that what a larger one needs is foretold from the one before: what would take
too long or too much memory is skipped, with the reason.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from .filling import fill_gaps
from .memory import free_bytes, high_water_bytes, reset_high_water
from .metrics import psnr
from .minterpolate import interpolate_gap
from .operations import CONTEXT, GAPS, choose_width, count_parameters, read_gmac
from .planes import to_images, to_planes
from .predictor import Predictor, choose_precision
from .replays import Replays
from .reports import FillReport, OnProgress, Progress, Report
from .testcard import Footage, draw_frame
from .video import VideoReader

__all__ = [
    "BenchmarkReport",
    "Measurement",
    "Skip",
    "Variant",
    "benchmark",
]

Images = NDArray[np.uint8]
Stage = Literal["model", "minterpolate", "encode", "decode", "fill-gaps"]

# The test clip: 4 known, 1 missing, 4 known, 4 missing, and so on; 4 known at the end.
_KNOWN_IN_PATTERN = CONTEXT * len(GAPS)
_PATTERN = _KNOWN_IN_PATTERN + sum(GAPS)  # slots
_MOST_PATTERNS = 16
_FIRST_HEIGHT = 256  # always measured: the larger sizes are foretold from it
_MOST_RUNS = 5
_USABLE_SHARE = 0.9  # of the memory that is free
_MATRIX_SIDE = 2048  # of the matrix product that is the ceiling
_MATRIX_SIDE_ON_GPU = 8192
_MOST_PRODUCTS = 50
_CEILING_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Variant(Report):
    """What is measured, whatever the size. A field that does not apply is None."""

    stage: Stage
    n_missing: int | None = None
    batch: int | None = None  # gaps filled at once
    precision: str | None = None  # of convolutions: float32 or bfloat16


@dataclass(frozen=True, kw_only=True)
class Measurement(Report):
    """A variant at a size."""

    variant: Variant
    height: int
    width: int
    frames: Literal["made", "read", "written"]  # which ones are counted
    frames_per_second: float
    seconds: float  # of one run, the median
    n_runs: int
    peak_bytes: int | None  # of the process; of the model on a GPU: what torch took there
    gmac_per_frame: float | None = None  # 10^9 multiply-adds of convolutions and matrix products
    share_of_ceiling: float | None = None  # of the matrix product's rate in the same precision
    psnr: float | None = None  # dB, of the frames made
    psnr_change: float | None = None  # dB, from float32 to this precision


@dataclass(frozen=True)
class Skip(Report):
    """A variant that was not measured at some heights, and why not at the first of them."""

    variant: Variant
    heights: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class BenchmarkReport(Report):
    """What ``benchmark`` measured."""

    model: str
    parameters: int
    device: str
    hardware: str
    preset: str | None  # of the encoder; None: its usual one
    ceilings: dict[str, float]  # 10^12 operations/s of a large matrix product, by precision
    measurements: tuple[Measurement, ...]
    skipped: tuple[Skip, ...]
    seconds: float


def benchmark(
    predictor: Predictor,
    *,
    heights: Sequence[int] = (256, 720, 1080, 2160),
    batches: Sequence[int] = (1,),
    seconds: float = 4.0,
    preset: str | None = None,
    on_progress: OnProgress = None,
) -> BenchmarkReport:
    """Measure the stages of the tool, each alone, and the filling of a clip as a whole.

    A figure is the median of up to five runs, synchronized with the device. The network has four
    known frames on each side, already on the device; the whole is ``fill_gaps`` without the
    self-check.

    Args:
        predictor: the network, on the device to measure.
        heights: even heights of 16:9 pictures; 256 is always measured, before the larger ones.
        batches: numbers of gaps that the network fills at once.
        seconds: most seconds for one measurement; what is foretold to need more is skipped.
        preset: of the encoder, as in ``video.Encoding``.
        on_progress: called with the stage "benchmark".

    Raises:
        OutputError: the temporary folder is full, or FFmpeg has no H.264 encoder.
    """
    began = time.perf_counter()
    with TemporaryDirectory(prefix="framepred-") as folder:
        bench = _Bench(predictor, batches, seconds, preset, Path(folder))
        steps = [
            step
            for height in sorted({_FIRST_HEIGHT, *heights})
            for step in bench.list_steps(_Picture(height))
        ]
        for n_done, step in enumerate(steps, 1):
            step()
            if on_progress is not None:
                on_progress(Progress("benchmark", n_done, len(steps)))
    return BenchmarkReport(
        model=predictor.name,
        parameters=count_parameters(predictor),
        device=predictor.device,
        hardware=bench.hardware,
        preset=preset,
        ceilings=bench.ceilings,
        measurements=tuple(bench.measurements),
        skipped=tuple(bench.skipped.values()),
        seconds=round(time.perf_counter() - began, 1),
    )


@dataclass(frozen=True)
class _Timing:
    """The runs of one measurement."""

    seconds: float  # the median
    n_runs: int
    peak_bytes: int | None
    result: Any  # of the last run


@dataclass(frozen=True)
class _Picture:
    """A size of the test picture."""

    height: int

    @property
    def width(self) -> int:
        return choose_width(self.height)

    @property
    def n_pixels(self) -> int:
        return self.height * self.width

    def draw(self, slots: Sequence[int]) -> Images:
        """Frames (T, H, W, 3) uint8."""
        return np.stack([draw_frame(self.height, self.width, slot) for slot in slots])


class _Bench:
    """Measures one thing after another, and remembers what each took for a pixel."""

    def __init__(
        self,
        predictor: Predictor,
        batches: Sequence[int],
        seconds: float,
        preset: str | None,
        folder: Path,
    ) -> None:
        self._predictor = predictor
        self._device = torch.device(predictor.device)
        self._batches = batches
        self._seconds = seconds
        self._preset = preset
        self._folder = folder
        half = choose_precision(self._device)  # what the hardware is made for
        self._precisions = list(dict.fromkeys((torch.float32, half)))
        self.ceilings = {_name(p): _measure_ceiling(self._device, p) for p in self._precisions}
        self._pace: dict[Variant, float] = {}  # seconds a pixel of a frame
        self._appetite: dict[Variant, float] = {}  # bytes a pixel of a frame
        reset_high_water()
        self._idle_bytes = high_water_bytes() or 0
        self.measurements: list[Measurement] = []
        self.skipped: dict[Variant, Skip] = {}

    @property
    def hardware(self) -> str:
        """The device by name, or how much of the processor is used."""
        if self._device.type == "cuda":
            return torch.cuda.get_device_name(self._device)
        n_threads = torch.get_num_threads()
        return f"{n_threads} thread" if n_threads == 1 else f"{n_threads} threads"

    def list_steps(self, picture: _Picture) -> list[Callable[[], None]]:
        """What is to be done at one size, in this order; sizes must rise."""
        return [
            *(
                partial(self._measure_model, picture, n_missing, batch, precision)
                for batch in self._batches
                for precision in self._precisions
                for n_missing in GAPS
            ),
            *(partial(self._measure_minterpolate, picture, n_missing) for n_missing in GAPS),
            partial(self._measure_coding, picture),
            partial(self._measure_filling, picture),
        ]

    # The stages.

    def _measure_model(
        self, picture: _Picture, n_missing: int, batch: int, precision: torch.dtype
    ) -> None:
        variant = _name_model(n_missing, batch, precision)
        n_made = n_missing * batch
        if not self._can_afford(variant, picture, n_made):
            return
        film = picture.draw(range(2 * CONTEXT + n_missing))
        sides = (film[:CONTEXT], film[CONTEXT + n_missing :])
        # The same gap so many times.
        before, after = (to_planes(side, self._device).repeat(batch, 1, 1, 1, 1) for side in sides)
        counter = FlopCounterMode(display=False)
        replays = Replays(self._device)

        def make(before: Tensor, after: Tensor) -> Tensor:
            made: Tensor = self._predictor.model(before, after, n_missing)
            return made

        def predict() -> Tensor:
            with (
                torch.inference_mode(),
                torch.autocast(
                    self._device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16
                ),
            ):
                return replays.run("model", make, (before, after))

        def count() -> None:
            with counter:
                predict()
            if replays.is_on:
                predict()  # what was counted went by the counter's own way

        try:
            timing = self._time(variant, picture, n_made, predict, warm_up=count)
        except torch.OutOfMemoryError:
            self._skip(variant, picture, "does not fit into the GPU's memory")
            return
        made = to_images(timing.result[0], film.dtype)
        decibels = _mean_psnr(film[CONTEXT : CONTEXT + n_missing], made)
        exact = self._find(_name_model(n_missing, batch, torch.float32), picture)
        gmac = read_gmac(counter) / n_made
        rate = n_made / timing.seconds
        self._note(
            variant,
            picture,
            timing,
            n_made,
            gmac_per_frame=gmac,
            share_of_ceiling=2 * gmac * rate / (1000 * self.ceilings[_name(precision)]),
            psnr=decibels,
            psnr_change=None if exact is None or exact.psnr is None else decibels - exact.psnr,
        )

    def _measure_minterpolate(self, picture: _Picture, n_missing: int) -> None:
        variant = Variant(stage="minterpolate", n_missing=n_missing)
        if not self._can_afford(variant, picture, n_missing):
            return
        film = picture.draw(range(CONTEXT - 2, CONTEXT + n_missing + 2))  # it sees two a side
        run = partial(interpolate_gap, film[:2], film[-2:], n_missing)
        timing = self._time(variant, picture, n_missing, run, warm_up=run)
        decibels = _mean_psnr(film[2:-2], timing.result)
        self._note(variant, picture, timing, n_missing, psnr=decibels)

    def _measure_coding(self, picture: _Picture) -> None:
        """Encode the known frames of a test clip, and decode them again."""
        encode, decode = Variant(stage="encode"), Variant(stage="decode")
        needed = 2 * self._foretell(encode, picture, _KNOWN_IN_PATTERN)
        slots = _list_known(_choose_length(self._seconds, needed))
        if not self._can_afford(encode, picture, len(slots)):
            self._skip(decode, picture, "has no clip to decode")
            return
        clip = self._folder / "known.mkv"
        with Footage(self._folder, picture.height, picture.width, slots) as footage:
            run = partial(footage.write, clip, preset=self._preset)
            timing = self._time(encode, picture, len(slots), run, warm_up=run)
        self._note(encode, picture, timing, len(slots), frames="written")

        def read() -> int:
            with VideoReader(clip) as reader:
                return sum(1 for _ in reader.read())

        timing = self._time(decode, picture, len(slots), read, warm_up=read)
        self._note(decode, picture, timing, timing.result, frames="read")

    def _measure_filling(self, picture: _Picture) -> None:
        variant = Variant(stage="fill-gaps")
        needed = self._foretell_filling(picture)
        if needed is None:
            self._skip(variant, picture, "lacks the figure of one of its stages")
            return
        n_patterns = _choose_length(self._seconds, needed)
        n_made = n_patterns * sum(GAPS)
        if not self._can_afford(variant, picture, n_made, needed=n_patterns * needed):
            return
        clip, output = self._folder / "gaps.mkv", self._folder / "filled.mkv"
        with Footage(
            self._folder, picture.height, picture.width, _list_known(n_patterns)
        ) as footage:
            footage.write(clip)

        def fill() -> FillReport:
            # One that has seen the clip before would remember what it worked out.
            fresh = Predictor(self._predictor.model, name=self._predictor.name, device=self._device)
            return fill_gaps(
                clip,
                output,
                predictor=fresh,
                self_check=False,
                preset=self._preset,
                overwrite=True,
            )

        timing = self._time(variant, picture, n_made, fill)
        self._note(variant, picture, timing, timing.result.frames_made)
        n_written = timing.result.frames_in + timing.result.frames_made
        self._note(variant, picture, timing, n_written, frames="written")

    def _foretell_filling(self, picture: _Picture) -> float | None:
        """Seconds to fill one pattern of the clip, from its stages; None: one was not measured."""
        batch = min(self._batches)
        precision = choose_precision(self._device)
        stages = [
            *((_name_model(n, batch, precision), n) for n in GAPS),
            (Variant(stage="encode"), _PATTERN),
            (Variant(stage="decode"), 2 * _KNOWN_IN_PATTERN),  # it scans first
        ]
        found = [(self._find(variant, picture), n_frames) for variant, n_frames in stages]
        if any(measured is None for measured, _ in found):
            return None
        return sum(n / measured.frames_per_second for measured, n in found if measured is not None)

    # Measuring.

    def _time(
        self,
        variant: Variant,
        picture: _Picture,
        n_frames: int,
        run: Callable[[], object],
        *,
        warm_up: Callable[[], object] | None = None,
    ) -> _Timing:
        """Run again and again while there is time, at least once."""
        result: object = None
        spent: list[float] = []
        is_gauged = self._reset_peak(variant)
        began = time.perf_counter()
        if warm_up is not None:
            warm_up()
        while not spent or (
            len(spent) < _MOST_RUNS and time.perf_counter() - began + spent[-1] < self._seconds
        ):
            result = None  # its memory is the next run's
            _synchronize(self._device)
            start = time.perf_counter()
            result = run()
            _synchronize(self._device)
            spent.append(time.perf_counter() - start)
        peak = self._read_peak(variant) if is_gauged else None
        seconds = statistics.median(spent)
        n_pixels = picture.n_pixels * n_frames
        self._pace[variant] = seconds / n_pixels
        if peak is not None:
            idle = 0 if self._is_on_gpu(variant) else self._idle_bytes
            self._appetite[variant] = max(0, peak - idle) / n_pixels
        return _Timing(seconds, len(spent), peak, result)

    def _foretell(self, variant: Variant, picture: _Picture, n_frames: int) -> float:
        """Seconds of one run, from the size before; 0 where there is none."""
        return self._pace.get(variant, 0.0) * picture.n_pixels * n_frames

    def _can_afford(
        self, variant: Variant, picture: _Picture, n_frames: int, *, needed: float | None = None
    ) -> bool:
        """Whether a measurement keeps within time and memory; if not, it is listed as skipped.

        needed: seconds of all runs; by default those of a warm-up and a run.
        """
        if needed is None:
            needed = 2 * self._foretell(variant, picture, n_frames)
        wanted = self._appetite.get(variant, 0.0) * picture.n_pixels * n_frames
        free = self._read_free(variant)
        if needed > self._seconds:
            reason = f"would take about {needed:.0f} s, more than --seconds {self._seconds:g}"
        elif free is not None and wanted > _USABLE_SHARE * free:
            reason = f"would take about {wanted / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"
        else:
            return True
        self._skip(variant, picture, reason)
        return False

    def _skip(self, variant: Variant, picture: _Picture, reason: str) -> None:
        known = self.skipped.get(variant, Skip(variant, (), f"{picture.height}p {reason}"))
        heights = (*known.heights, picture.height)
        self.skipped[variant] = Skip(variant, heights, known.reason)

    def _note(
        self,
        variant: Variant,
        picture: _Picture,
        timing: _Timing,
        n_frames: int,
        *,
        frames: Literal["made", "read", "written"] = "made",
        **found: float | None,
    ) -> None:
        self.measurements.append(
            Measurement(
                variant=variant,
                height=picture.height,
                width=picture.width,
                frames=frames,
                frames_per_second=n_frames / timing.seconds,
                seconds=timing.seconds,
                n_runs=timing.n_runs,
                peak_bytes=timing.peak_bytes,
                **found,
            )
        )

    def _find(self, variant: Variant, picture: _Picture) -> Measurement | None:
        for measured in self.measurements:
            if (measured.variant, measured.height) == (variant, picture.height):
                return measured
        return None

    # The device.

    def _is_on_gpu(self, variant: Variant) -> bool:
        """Whether the memory that counts is the GPU's."""
        return variant.stage == "model" and self._device.type == "cuda"

    def _reset_peak(self, variant: Variant) -> bool:
        if not self._is_on_gpu(variant):
            return reset_high_water()
        torch.cuda.reset_peak_memory_stats(self._device)
        return True

    def _read_peak(self, variant: Variant) -> int | None:
        if self._is_on_gpu(variant):
            return torch.cuda.max_memory_allocated(self._device)
        return high_water_bytes()

    def _read_free(self, variant: Variant) -> int | None:
        if not self._is_on_gpu(variant):
            return free_bytes()
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(self._device)[0]


def _list_known(n_patterns: int) -> list[int]:
    """The slots of a test clip that are not missing."""
    known: list[int] = []
    start = 0
    for _ in range(n_patterns):
        for n_missing in GAPS:
            known += range(start, start + CONTEXT)
            start += CONTEXT + n_missing
    return [*known, *range(start, start + CONTEXT)]


def _choose_length(seconds: float, needed: float) -> int:
    """How many patterns a clip has, of which each needs some seconds; 0 needed: not known yet."""
    return max(1, min(int(seconds / needed), _MOST_PATTERNS)) if needed else _MOST_PATTERNS


def _measure_ceiling(device: torch.device, precision: torch.dtype) -> float:
    """The rate of a large matrix product, in 10^12 operations a second."""
    side = _MATRIX_SIDE_ON_GPU if device.type == "cuda" else _MATRIX_SIDE
    generator = torch.Generator().manual_seed(0)
    left, right = torch.rand(2, side, side, generator=generator).to(device, precision)
    product = torch.empty_like(left)
    usual = torch.backends.cuda.matmul.fp32_precision
    # Convolutions in float32 may use TF32: then so does what they are compared with.
    cudnn: Any = torch.backends.cudnn
    torch.backends.cuda.matmul.fp32_precision = cudnn.conv.fp32_precision
    try:
        spent: list[float] = []
        while len(spent) < _MOST_PRODUCTS and sum(spent) < _CEILING_SECONDS:
            _synchronize(device)
            start = time.perf_counter()
            torch.mm(left, right, out=product)
            _synchronize(device)
            spent.append(time.perf_counter() - start)
    finally:
        torch.backends.cuda.matmul.fp32_precision = usual
    return 2 * side**3 / statistics.median(spent) / 1e12


def _synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _mean_psnr(true: Images, made: Images) -> float:
    return statistics.fmean(psnr(*pair) for pair in zip(true, made, strict=True))


def _name_model(n_missing: int, batch: int, precision: torch.dtype) -> Variant:
    return Variant(stage="model", n_missing=n_missing, batch=batch, precision=_name(precision))


def _name(precision: torch.dtype) -> str:
    return str(precision).removeprefix("torch.")
