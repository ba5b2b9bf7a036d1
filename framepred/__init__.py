"""Fill the missing frames of a video, and forecast the frames after its last one.

::

    import framepred

    report = framepred.fill_gaps("in.mp4", "out.mp4")
    print(report.frames_made, report.gaps[0].estimated_psnr)

    predictor = framepred.Predictor.load("default")
    frames = predictor.fill(before, after, 3)  # uint8 RGB, (T, H, W, 3) -> (3, H, W, 3)

Names are imported when they are first used, so that ``framepred --help`` pays for no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .errors import (
    EvaluationError,
    FramepredError,
    GapError,
    MediaError,
    ModelError,
    OutputError,
    TrainingError,
)

if TYPE_CHECKING:
    from .comparison import compare
    from .evaluation import EvaluationReport, evaluate
    from .filling import fill_gaps
    from .forecasting import forecast
    from .futures import draw_futures
    from .interpolation import interpolate
    from .learner import TrainConfig
    from .predictor import Predictor
    from .reports import (
        CompareReport,
        FillReport,
        ForecastReport,
        FuturesReport,
        GapReport,
        InterpolateReport,
        Progress,
    )
    from .scanning import ScanReport, scan
    from .session import TrainReport
    from .streaming import fill_stream, forecast_stream, interpolate_stream
    from .training import train

__version__ = "0.1.0"

__all__ = [
    "CompareReport",
    "EvaluationError",
    "EvaluationReport",
    "FillReport",
    "ForecastReport",
    "FramepredError",
    "FuturesReport",
    "GapError",
    "GapReport",
    "InterpolateReport",
    "MediaError",
    "ModelError",
    "OutputError",
    "Predictor",
    "Progress",
    "ScanReport",
    "TrainConfig",
    "TrainReport",
    "TrainingError",
    "__version__",
    "compare",
    "draw_futures",
    "evaluate",
    "fill_gaps",
    "fill_stream",
    "forecast",
    "forecast_stream",
    "interpolate",
    "interpolate_stream",
    "scan",
    "train",
]

_HOMES = {
    "CompareReport": "reports",
    "EvaluationReport": "evaluation",
    "FillReport": "reports",
    "ForecastReport": "reports",
    "FuturesReport": "reports",
    "GapReport": "reports",
    "InterpolateReport": "reports",
    "Predictor": "predictor",
    "Progress": "reports",
    "ScanReport": "scanning",
    "TrainConfig": "learner",
    "TrainReport": "session",
    "compare": "comparison",
    "draw_futures": "futures",
    "evaluate": "evaluation",
    "fill_gaps": "filling",
    "fill_stream": "streaming",
    "forecast": "forecasting",
    "forecast_stream": "streaming",
    "interpolate": "interpolation",
    "interpolate_stream": "streaming",
    "scan": "scanning",
    "train": "training",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module at the first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'framepred' has no attribute {name!r}")
    value: object = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
