"""Several plausible futures of one video: each forecast, written and scored on its own."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OutputError, check_counts
from .forecasting import forecast
from .outputs import check_output, name_output
from .predictor import Predictor
from .reports import ForecastReport, FuturesReport
from .scoring import Score, mean_score
from .views import FutureViews, Views

__all__ = ["draw_futures", "name_futures"]


def name_futures(source: Path, output: Path | None, n_samples: int) -> list[Path]:
    """Where the futures go: ``clip.forecast-1.mp4``, ...; ``out.mp4`` -> ``out-1.mp4``, ..."""
    plain = name_output(source, "forecast", output=output)
    return [
        plain.with_name(f"{plain.stem}-{number}{plain.suffix}")
        for number in range(1, n_samples + 1)
    ]


def draw_futures(
    input: str | Path,
    output: str | Path | None = None,
    *,
    n_samples: int,
    seed: int = 1,
    predictor: Predictor | None = None,
    device: str = "auto",
    overwrite: bool = False,
    hold_out: bool = False,
    views: Views | None = None,
    **options: Any,
) -> FuturesReport:
    """Forecast a video ``n_samples`` times, each time another plausible future.

    Every future is one ``forecast``, written to a file of its own, see ``name_futures``. The same
    seed draws the same futures, and more samples begin with the fewer.

    views: one page of all futures. options: the others of ``forecast``, but ``adapt``.

    Raises as ``forecast`` does, before anything is written if a file of one future is in the way;
    ValueError if ``n_samples`` is below 1.
    """
    check_counts(n_samples=n_samples)
    source = Path(input)
    writes = output is not None or not hold_out
    names = name_futures(source, None if output is None else Path(output), n_samples)
    if writes:
        for name in names:
            check_output(source, name, overwrite=overwrite)
    views = views or Views()
    views.check(source, names if writes else ())
    all_views = FutureViews(
        **{each.name: getattr(views, each.name) for each in fields(views)}, n_futures=n_samples
    )
    predictor = predictor or Predictor.load("default", device=device)
    spread = _Spread()
    samples: list[ForecastReport] = []
    for number, name in enumerate(names, 1):
        try:
            samples.append(
                forecast(
                    source,
                    name if writes else None,
                    predictor=predictor.pick_future(number, seed=seed),
                    overwrite=overwrite,
                    hold_out=hold_out,
                    views=all_views,
                    on_made=spread.add,
                    **options,
                )
            )
        except OutputError as error:
            if not samples:
                raise
            raise OutputError(f"{error}; the {len(samples)} futures before it are whole") from error
    scored = [(k, each) for k, each in enumerate(samples, 1) if each.psnr is not None]
    best = max(scored, key=lambda pair: pair[1].psnr or 0.0, default=None)
    mean = mean_score([Score(each.psnr, each.ssim) for each in samples])
    report = FuturesReport(
        input=source,
        samples=tuple(samples),
        seed=seed,
        best=None if best is None else best[0],
        best_psnr=None if best is None else best[1].psnr,
        best_ssim=None if best is None else best[1].ssim,
        mean_psnr=mean.psnr,
        mean_ssim=mean.ssim,
        diversity=spread.read() if n_samples > 1 else None,
    )
    all_views.show_futures(report)
    return report


class _Spread:
    """Deviation over pictures that are seen one at a time (Welford, 1962)."""

    def __init__(self) -> None:
        self._n = 0
        self._mean = self._squares = np.zeros(())
        self._peak = 255.0

    def add(self, made: np.ndarray) -> None:
        self._peak = float(np.iinfo(made.dtype).max)
        self._n += 1
        change = made.astype(np.float32) - self._mean
        self._mean = self._mean + change / self._n
        self._squares = self._squares + change * (made - self._mean)

    def read(self) -> float:
        """In grey levels of 255, mean over all pixels; 0 for a single picture."""
        return float(np.sqrt(self._squares / max(self._n, 1)).mean() * 255 / self._peak)
