"""What needs no learning: the methods that stand beside the network in every table.

Each takes ``(before, after, n_frames)`` as ``Predictor.fill`` does, frames (T, H, W, 3) uint8 RGB,
``after`` empty for a forecast, and returns (n_frames, H, W, 3) uint8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.registration import optical_flow_tvl1
from torch import Tensor

from .minterpolate import interpolate_gap
from .motion import (
    AGREEMENT_FLOOR,
    DAMPING_FILL,
    carry_forward,
    compare_flows,
    estimate_flow,
    invert_path,
    steady_speed,
    to_gray,
    trace_curve,
)
from .series import (
    AUTOREGRESSIONS,
    KALMAN_LEVELS,
    KALMAN_SPEEDS,
    MOVING_AVERAGES,
    Candidate,
    predict,
)
from .warping import rescale_flow, resize, warp

__all__ = [
    "CLASSICAL_BASELINES",
    "FILL_BASELINES",
    "FORECAST_BASELINES",
    "SLOW_BASELINES",
    "Method",
    "trace_speeds",
]

Frames = NDArray[np.uint8]
Method = Callable[[Frames, Frames, int], Frames]
Estimator = Callable[[Tensor, Tensor], Tensor]  # gray (B, 1, H, W) twice -> flow at half resolution


def repeat_last(before: Frames, after: Frames, n_frames: int) -> Frames:
    """Hold the last known frame."""
    return np.repeat(before[-1:], n_frames, axis=0)


def blend_linearly(before: Frames, after: Frames, n_frames: int) -> Frames:
    """Cross-fade from the last frame before to the first after."""
    first, last = before[-1].astype(np.float32), after[0].astype(np.float32)
    weights = [k / (n_frames + 1) for k in range(1, n_frames + 1)]
    return np.stack([np.rint((1 - t) * first + t * last).astype(np.uint8) for t in weights])


def follow_straight_flow(before: Frames, after: Frames, n_frames: int) -> Frames:
    """Two-sided classical flow, straight motion between the two frames beside the gap."""
    return _follow_flow(before, after, n_frames, damping=0.0)


def follow_curved_flow(before: Frames, after: Frames, n_frames: int) -> Frames:
    """Two-sided classical flow along a curve that meets the speed on both sides."""
    return _follow_flow(before, after, n_frames, damping=DAMPING_FILL)


def follow_constant_velocity(
    before: Frames, after: Frames, n_frames: int, *, estimate: Estimator = estimate_flow
) -> Frames:
    """Forecast by classical flow: the last speed carried on, damped a little, and steadied."""
    with torch.inference_mode():
        last = _to_tensor(before[-1])
        speed = _speed(before[-1], before[-2], estimate) if len(before) > 1 else None
        steady = None
        if speed is not None and len(before) > 2:
            steady = steady_speed(speed, -speed, _speed(before[-2], before[-3], estimate))
        made = []
        for k in range(1, n_frames + 1):
            if speed is None:
                made.append(last)
                continue
            back = invert_path(carry_forward(speed, k, steady=steady))
            made.append(warp(last, rescale_flow(back, _size(last))))
        return _to_frames(made)


def follow_tvl1_flow(before: Frames, after: Frames, n_frames: int) -> Frames:
    """Two-sided TV-L1 flow (Zach et al., 2007, by scikit-image), straight motion; seconds a gap."""
    return _follow_flow(before, after, n_frames, damping=0.0, estimate=_estimate_tvl1)


def follow_tvl1_velocity(before: Frames, after: Frames, n_frames: int) -> Frames:
    """Forecast by the TV-L1 flow of the last two frames, carried on with slight damping."""
    return follow_constant_velocity(before, after, n_frames, estimate=_estimate_tvl1)


def predict_pixels(
    before: Frames, after: Frames, n_frames: int, *, candidates: Sequence[Candidate]
) -> Frames:
    """Every sample a series of its own, all continued by one model: what is bright here stays so.

    A gap is forecast from both sides, each for itself, and cross-faded.
    """

    def forecast(known: Frames, n_steps: int) -> Tensor:
        series = known.reshape(len(known), -1) / 255.0
        made = predict(series, n_steps, candidates).reshape(n_steps, *known.shape[1:])
        return torch.from_numpy(made).permute(0, 3, 1, 2)

    return _join_forecasts(forecast, before, after, n_frames)


def predict_motion(
    before: Frames, after: Frames, n_frames: int, *, candidates: Sequence[Candidate]
) -> Frames:
    """Every point's speed a series, along its path up to the last frame, which is then carried on.

    The speeds of all points along one axis are continued by one model. A gap is forecast from both
    sides, each for itself, and cross-faded.
    """

    def forecast(known: Frames, n_steps: int) -> Tensor:
        last = _to_tensor(known[-1])
        if len(known) < 2:
            return last.expand(n_steps, -1, -1, -1)
        speeds = trace_speeds(known)
        ahead = np.stack(
            [
                predict(axis.reshape(len(axis), -1), n_steps, candidates)
                for axis in speeds.double().numpy().transpose(1, 0, 2, 3)
            ],
            1,
        )
        paths = torch.from_numpy(ahead).float().view(n_steps, *speeds.shape[1:]).cumsum(0)
        back = rescale_flow(invert_path(paths), _size(last))
        return warp(last.expand(n_steps, -1, -1, -1), back)

    return _join_forecasts(forecast, before, after, n_frames)


def trace_speeds(frames: Frames) -> Tensor:
    """Speeds of the points of the last frame along their paths, oldest first.

    (T, H, W, 3) -> (T - 1, 2, h, w), pixels a step on the grid of half the resolution.
    """
    gray = to_gray(torch.cat([_to_tensor(frame) for frame in frames[::-1]]))
    flows = estimate_flow(gray[:-1], gray[1:])
    place = torch.zeros_like(flows[:1])
    speeds = []
    for flow in flows.split(1):
        step = warp(flow, place)
        place = place + step
        speeds.append(-step)
    return torch.cat(speeds[::-1])


def _join_forecasts(
    forecast: Callable[[Frames, int], Tensor], before: Frames, after: Frames, n_frames: int
) -> Frames:
    """Forecast from the one side there is, or from both, with weights that fall with distance."""
    with torch.inference_mode():
        made = forecast(before, n_frames)
        if len(after):
            other = forecast(after[::-1], n_frames).flip(0)
            t = torch.arange(1, n_frames + 1).view(-1, 1, 1, 1) / (n_frames + 1)
            made = (1 - t) * made + t * other
        return _to_frames(list(made.split(1)))


def _estimate_tvl1(first: Tensor, second: Tensor) -> Tensor:
    """TV-L1 flow of gray pictures (B, 1, H, W), brought to half resolution."""
    flows = []
    for one, two in zip(first[:, 0].numpy(), second[:, 0].numpy(), strict=True):
        along_y, along_x = optical_flow_tvl1(one, two)
        flows.append(torch.from_numpy(np.stack((along_x, along_y)).astype(np.float32)))
    height, width = first.shape[-2:]
    return rescale_flow(torch.stack(flows), (-(-height // 2), -(-width // 2)))


def _follow_flow(
    before: Frames,
    after: Frames,
    n_frames: int,
    *,
    damping: float,
    estimate: Estimator = estimate_flow,
) -> Frames:
    with torch.inference_mode():
        first, last = _to_tensor(before[-1]), _to_tensor(after[0])
        gray = to_gray(torch.cat((first, last)))
        onward, back = estimate(gray, gray.flip(0)).split(1)
        agree_first, agree_last = compare_flows(onward, back), compare_flows(back, onward)
        n_steps = n_frames + 1
        speed, speed_back = onward / n_steps, back / n_steps
        if damping and len(before) > 1:
            speed = _speed(before[-1], before[-2], estimate)
        if damping and len(after) > 1:
            speed_back = _speed(after[0], after[1], estimate)
        made = []
        for k in range(1, n_steps):
            t = k / n_steps
            one = invert_path(trace_curve(onward, speed, t, n_steps, damping))
            two = invert_path(trace_curve(back, speed_back, 1 - t, n_steps, damping))
            weight = (1 - t) * (warp(agree_first, one) + AGREEMENT_FLOOR)
            share = weight / (weight + t * (warp(agree_last, two) + AGREEMENT_FLOOR))
            share = resize(share, _size(first))
            left = warp(first, rescale_flow(one, _size(first)), sharp=True)
            right = warp(last, rescale_flow(two, _size(first)), sharp=True)
            made.append(share * left + (1 - share) * right)
        return _to_frames(made)


def _speed(nearest: Frames, behind: Frames, estimate: Estimator) -> Tensor:
    """Motion per step away from ``behind``, on the grid of ``nearest`` at half resolution."""
    return -estimate(to_gray(_to_tensor(nearest)), to_gray(_to_tensor(behind)))


def _size(picture: Tensor) -> tuple[int, int]:
    return picture.shape[-2], picture.shape[-1]


def _to_tensor(image: Frames) -> Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32) / 255).unsqueeze(0)


def _to_frames(made: list[Tensor]) -> Frames:
    pixels = (torch.cat(made).clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy()
    return np.ascontiguousarray(pixels.astype(np.uint8))


FILL_BASELINES: dict[str, Method] = {
    "repeat-last": repeat_last,
    "linear blend": blend_linearly,
    "ffmpeg minterpolate": interpolate_gap,
    "flow, straight": follow_straight_flow,
    "flow, curved": follow_curved_flow,
}
FORECAST_BASELINES: dict[str, Method] = {
    "repeat-last": repeat_last,
    "flow, constant velocity": follow_constant_velocity,
}
SLOW_BASELINES: dict[str, dict[str, Method]] = {
    "fill": {"TV-L1 flow, straight": follow_tvl1_flow},
    "forecast": {"TV-L1 flow, constant velocity": follow_tvl1_velocity},
}
# Of time series in general, for both tasks.
CLASSICAL_BASELINES: dict[str, Method] = {
    f"{name}, {what}": partial(method, candidates=candidates)
    for what, method, kalman in (
        ("pixels", predict_pixels, KALMAN_LEVELS + KALMAN_SPEEDS),
        # The flow measures the speed of a constant-velocity state: it is what wanders.
        ("motion", predict_motion, KALMAN_LEVELS),
    )
    for name, candidates in (
        ("moving average", MOVING_AVERAGES),
        ("autoregression", AUTOREGRESSIONS),
        ("Kalman filter", kalman),
    )
}
