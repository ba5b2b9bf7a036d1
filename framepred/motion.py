"""Motion without learning: flow by block matching, and the path of a pixel across a gap.

Everything here is plain tensor arithmetic (convolutions, pooling, ``grid_sample``), so that it runs
alike on CPU, CUDA and MPS, and has no parameter. The network starts from this motion and learns
where to distrust it.

Conventions: a *flow* has shape (B, 2, H, W), float32, in pixels of its own grid, channel 0 = x
(to the right), channel 1 = y (down). ``flow_ab`` lives on the grid of picture a: the point x of a
is found in b at ``x + flow_ab(x)``; hence ``warp(b, flow_ab)`` looks like a.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .grids import list_values
from .warping import rescale_flow, resize, warp

__all__ = [
    "AGREEMENT_FLOOR",
    "CAUTION_FILL",
    "CAUTION_FORECAST",
    "DAMPING_FILL",
    "DAMPING_FORECAST",
    "SPREAD_FILL",
    "appraise_flow",
    "carry_forward",
    "compare_flows",
    "estimate_flow",
    "estimate_flows",
    "invert_path",
    "lean_on_steady",
    "spread_forecast",
    "spread_surprise",
    "steady_speed",
    "to_gray",
    "trace_curve",
    "trust_signal",
]

# How far the curve bends towards the speed measured beside the gap; 0 is a straight line, 1 meets
# the speed exactly. Measured best on average, see the model card.
DAMPING_FILL = 0.75
# Share of the speed that survives one forecast step: motion tends to slow down or to be overrated.
DAMPING_FORECAST = 0.95
# Added to the agreement of two flows when it weighs the two sides of a gap: flows that disagree
# by a little are worth averaging all the same.
AGREEMENT_FLOOR = 1.5
# Half-width of what the damping across a gap may as well be: how much the paths there differ.
SPREAD_FILL = 0.5

# How much the noise of past speeds counts against the speed that a forecast builds on, and against
# the change of speed that a path across a gap bends by.
CAUTION_FORECAST = 0.1
CAUTION_FILL = 0.4

# Share of the speed that survives a step when it dies down: the pessimist's guess.
_HASTY_DAMPING = 0.85

_COARSEST_SIDE = 8  # pixels: a picture with a shorter side tells a matcher nothing
_REACH_SIDE = 512  # pixels: pictures with a longer side get a further level, for longer motion
_LOCAL_WINDOW = 9  # pixels: neighbourhood for normalizing contrast
_MATCH_WINDOW = 5  # pixels: differences are averaged over this square
_DOUBT_WINDOW = 3  # cells of the state's grid over which surprises are averaged
_STILL = 0.1 / 255  # mean change over the window below which a place is the same picture
_N_DESCRIBED = 3  # planes that ``_describe`` makes
_STIFFNESS = 0.05  # added to the structure tensor: without texture the flow stays as it is
_TINY = 1e-10  # squared pixels
_HARDLY_ANY = 1e-4  # squared pixels: motion whose square is below is as good as none
_REACH = 2  # pixels: how far a block is searched for


def to_gray(images: Tensor) -> Tensor:
    """Luma (BT.601 weights) of RGB pictures: (..., 3, H, W) -> (..., 1, H, W), same range."""
    red, green, blue = images.unbind(-3)
    return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(-3)


def _blur(images: Tensor, window: int) -> Tensor:
    """Mean over a square window; at the border only pixels inside count.

    On a CPU as sums of shifted copies, many times as fast as pooling; on a GPU by pooling, one
    operation in place of a dozen.
    """
    if images.device.type != "cpu":
        pooled: Tensor = F.avg_pool2d(images, window, 1, window // 2, count_include_pad=False)
        return pooled
    total = F.pad(images, (window // 2,) * 4)
    for dimension in (3, 2):
        total = _add_neighbours(total, dimension, window)
    height, width = (
        list_values(_count_inside(n, window), device=images.device) for n in images.shape[-2:]
    )
    return total.div_(height[:, None] * width)


def _add_neighbours(images: Tensor, dimension: int, window: int) -> Tensor:
    """Sums over so many pixels in a row; the picture gets shorter by all but one of them."""
    length = images.shape[dimension] - window + 1
    first, second, *others = (images.narrow(dimension, k, length) for k in range(window))
    total = first + second
    for other in others:
        total += other
    return total


@functools.lru_cache(maxsize=64)
def _count_inside(n: int, window: int) -> tuple[float, ...]:
    """How many of ``n`` pixels in a row lie in a window around each of them."""
    half = window // 2
    return tuple(float(min(k + half, n - 1) - max(k - half, 0) + 1) for k in range(n))


def _normalize(gray: Tensor) -> Tensor:
    """Gray less its local mean, by its local deviation: a change of exposure does no harm then."""
    mean, square = _blur(torch.cat((gray, gray * gray), 1), _LOCAL_WINDOW).split(1, 1)
    deviation = (square - mean * mean).clamp_min(0).sqrt()
    normal: Tensor = (gray - mean) / (deviation + 0.01)
    return normal


def _describe(gray: Tensor) -> Tensor:
    """What is matched: normalized gray and its gradients, (B, 1, H, W) -> (B, 3, H, W)."""
    normal = _normalize(gray)
    return torch.cat((normal, *_gradients(normal)), 1)


def _smooth(flow: Tensor, cost: Tensor, window: int = _MATCH_WINDOW) -> Tensor:
    """Give a pixel that matches badly the motion of neighbours that match well."""
    confidence = torch.exp(-4 * cost) + 1e-3
    total = _blur(torch.cat((flow * confidence, confidence), 1), window)
    return total[:, :2] / total[:, 2:]


def _search(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """Try every whole-pixel offset within +-2 of the flow and move to their soft minimum."""
    reach = torch.arange(-_REACH, _REACH + 1, device=flow.device, dtype=flow.dtype)
    offsets = torch.cartesian_prod(reach, reach).flip(1)  # row by row, x first
    height, width = second.shape[-2:]
    padded = F.pad(second, (_REACH,) * 4, mode="replicate")
    differences = []
    for y in range(2 * _REACH + 1):
        # A row of shifted copies is sampled at once: where to look is then worked out once.
        row = [padded[..., y : y + height, x : x + width] for x in range(2 * _REACH + 1)]
        found = warp(torch.cat(row, 1), flow).unflatten(1, (len(row), -1))
        differences.append((first.unsqueeze(1) - found).abs().mean(2))
    length = offsets.square().sum(1).view(1, -1, 1, 1)
    cost = _blur(torch.cat(differences, 1), _MATCH_WINDOW) + 0.01 * length  # (B, 25, H, W)
    least = cost.amin(1, keepdim=True)
    weight = torch.exp(40 * (least - cost)).flatten(2)
    # As softmax and a weighted mean, but on a CPU several times as fast across channels.
    sums = torch.cat((offsets, torch.ones_like(offsets[:, :1])), 1).T @ weight
    x, y, total = sums.unflatten(2, (height, width)).split(1, 1)
    return _smooth(flow + torch.cat((x, y), 1) / total, least)


def _gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y, (B, C, H, W) each; replicated at the border."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    along_x = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    along_y = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    return along_x, along_y


def _refine(
    first: Tensor, second: Tensor, flow: Tensor, *, cell: int = 1, window: int = _MATCH_WINDOW
) -> Tensor:
    """One windowed least-squares step to sub-pixel accuracy (Lucas and Kanade, 1981).

    first, second: (B, C, H, W); flow: (B, 2, H / cell, W / cell), in pixels of its own grid, on
    which the equations are gathered and solved, over windows of so many of its cells.
    """
    size, full = (flow.shape[-2], flow.shape[-1]), (first.shape[-2], first.shape[-1])
    warped = warp(second, rescale_flow(flow, full))
    error = warped - first
    along_x, along_y = _gradients((warped + first) / 2)
    products = torch.stack(
        (
            (along_x * along_x).sum(1),
            (along_x * along_y).sum(1),
            (along_y * along_y).sum(1),
            (along_x * error).sum(1),
            (along_y * error).sum(1),
            error.abs().mean(1),
        ),
        1,
    )
    xx, xy, yy, xe, ye, cost = _blur(resize(products, size), window).split(1, 1)
    stiffness = _STIFFNESS * first.shape[1] / _N_DESCRIBED
    xx, yy = xx + stiffness, yy + stiffness
    determinant = xx * yy - xy * xy
    step = torch.cat((yy * xe - xy * ye, xx * ye - xy * xe), 1) / determinant
    return _smooth(flow - step.clamp(-1, 1) / cell, cost, window)


def estimate_flow(first: Tensor, second: Tensor, *, fine: bool = True) -> Tensor:
    """Flow from ``first`` to ``second``, coarse to fine, at half resolution.

    first, second: (B, 1, H, W) float32, gray in [0, 1]. Returns (B, 2, ceil(H/2), ceil(W/2)) in
    pixels of that half-resolution grid. Unless ``fine``, the search ends at a quarter of the
    resolution, on that grid: for a fraction of the time, to a fraction of a pixel.
    """
    n = len(first)
    pairs = [(k, n + k) for k in range(n)]
    flow, rough = estimate_flows(torch.cat((first, second)), pairs, n_fine=n if fine else 0)
    return flow if fine else rough


def estimate_flows(
    pictures: Tensor, pairs: Sequence[tuple[int, int]], *, n_fine: int
) -> tuple[Tensor, Tensor]:
    """Flows between several pictures, each of which is described only once.

    At each level but the finest a block search (offsets within +-2, soft-argmin) finds the motion
    to about a pixel; least-squares steps then find the fraction, which block matching alone leaves
    too coarse for extrapolation. The last of them sees all the detail of the pictures.

    pictures: (N, 1, H, W) float32, gray in [0, 1]; pairs: from which picture to which. Returns
    the flows of the first ``n_fine`` pairs, and those of the rest, which are not fine: (n, 2, h, w)
    each, on the grids that ``estimate_flow`` names.
    """
    sizes = _list_levels(*pictures.shape[-2:])
    pyramid = [pictures]
    for size in sizes:
        pyramid.append(resize(pyramid[-1], size))
    flow = pictures.new_zeros(len(pairs), 2, *sizes[-1])
    rough = flow[:0]
    for level, size in reversed(list(enumerate(sizes))):
        if level == 0 and len(sizes) > 1:
            flow, rough = flow[:n_fine], flow[n_fine:]
            if not n_fine:
                break
        one, two = _take_pairs(_describe, pyramid[level + 1], pairs[: len(flow)])
        flow = rescale_flow(flow, size)
        if level > 0 or len(sizes) == 1:
            flow = _search(one, two, flow)
        for _ in range(2 if level > 0 else 3):
            flow = _refine(one, two, flow)
    if len(flow):
        one, two = _take_pairs(_normalize, pictures, pairs[: len(flow)])
        flow = _refine(one, two, flow, cell=2, window=3)
    # Where nothing at all has changed nothing moves: bars, captions, frames repeated exactly.
    one, two = _take_pairs(lambda same: same, pictures, pairs)
    has_changed = (_blur((one - two).abs(), _MATCH_WINDOW) > _STILL).to(flow.dtype)
    flow, rough = (
        each * resize(changed, (each.shape[-2], each.shape[-1]))
        for each, changed in zip((flow, rough), has_changed.tensor_split([len(flow)]), strict=True)
    )
    if len(sizes) == 1:  # pictures so small have no other flow
        return flow[:n_fine], flow[n_fine:]
    return flow, rough


def _list_levels(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes of the pictures that motion is found on, from half the resolution downwards."""
    sizes: list[tuple[int, int]] = []
    n_levels = 5 + max(0, math.ceil(math.log2(max(height, width) / _REACH_SIDE)))
    for level in range(1, n_levels + 1):
        size = (-(-height // 2**level), -(-width // 2**level))
        if sizes and min(size) < _COARSEST_SIDE:
            break
        sizes.append(size)
    return sizes


def _take_pairs(
    describe: Callable[[Tensor], Tensor], pictures: Tensor, pairs: Sequence[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """The first and the second pictures of all pairs, described; what no pair wants is not."""
    used = sorted({k for pair in pairs for k in pair})
    place = {k: i for i, k in enumerate(used)}
    first, second = zip(*pairs, strict=True)
    if len(used) < len(pictures):
        pictures = _take(pictures, used)
    described = describe(pictures)
    return (
        _take(described, [place[k] for k in first]),
        _take(described, [place[k] for k in second]),
    )


def _take(pictures: Tensor, places: Sequence[int]) -> Tensor:
    """Some of the pictures (N, C, H, W), in any order: what lies in a row is cut out at once.

    An index of numbers would have to be copied to the device, which waits for that.
    """
    runs: list[list[int]] = []  # first, and one behind the last
    for k in places:
        if runs and runs[-1][1] == k:
            runs[-1][1] += 1
        else:
            runs.append([k, k + 1])
    return torch.cat([pictures[start:stop] for start, stop in runs])


def appraise_flow(first: Tensor, second: Tensor, flow: Tensor, size: tuple[int, int]) -> Tensor:
    """What speaks for and against a flow, as means over the cells of a coarse grid.

    first, second: (B, 1, H, W) gray in [0, 1]; flow: (B, 2, H, W) from the first; size: of the
    coarse grid. Returns (B, 3, h, w): ten times the difference that is left when the flow is
    followed; ten times the length of the first picture's gradient, without which a flow means
    little; and the deviation of the flow within a cell, in pixels of the coarse grid.
    """
    left = (warp(second, flow) - first).abs()
    along_x, along_y = _gradients(first)
    slope = (along_x.square() + along_y.square()).sqrt()
    factors = list_values((size[1] / flow.shape[-1], size[0] / flow.shape[-2]), device=flow.device)
    scaled = flow * factors.view(1, 2, 1, 1)
    mean, square = resize(torch.cat((scaled, scaled.square()), 1), size).split(2, 1)
    rough = (square - mean.square()).sum(1, keepdim=True).clamp_min(0).sqrt()
    return torch.cat((10 * resize(torch.cat((left, slope), 1), size), rough), 1)


def compare_flows(flow_ab: Tensor, flow_ba: Tensor) -> Tensor:
    """Agreement of two opposite flows in [0, 1], (B, 1, H, W) on the grid of a.

    1 where following one and then the other leads back, towards 0 where a surface is hidden in
    one of the pictures; the slack grows with the length of the motion.
    """
    gap = (flow_ab + warp(flow_ba, flow_ab)).square().sum(1, keepdim=True)
    length = flow_ab.square().sum(1, keepdim=True)
    return torch.exp(-gap / (0.5 + 0.02 * length))


def trace_curve(
    across: Tensor, speed: Tensor, t: float, n_steps: int, damping: Tensor | float
) -> Tensor:
    """Where a point has gone at time ``t``: D t + d (v T - D) t (1 - t).

    across: flow D over the whole gap of T = ``n_steps`` steps; speed: flow v per step on the near
    side; t in (0, 1); damping d scalar or (B, 1, H, W): 0 = straight, 1 = leaves with speed v.
    """
    return across * t + damping * (speed * n_steps - across) * (t * (1 - t))


def invert_path(displacement: Tensor, n_iterations: int = 3) -> Tensor:
    """Turn "where each point goes" into "where each point comes from".

    displacement: (B, 2, H, W) on the source grid. Returns u on the target grid with
    ``u(y) = -displacement(y + u(y))``, by fixed-point iteration.
    """
    inverse = -displacement
    for _ in range(n_iterations):
        inverse = -warp(displacement, inverse)
    return inverse


def steady_speed(speed: Tensor, flow: Tensor, speed_before: Tensor) -> Tensor:
    """The speed freed of what the last step alone says: averaged with the step before it.

    speed: motion per step on the grid of the last picture; flow: from there to the picture before;
    speed_before: motion per step on that picture's grid; all (B, 2, H, W).
    """
    return _blur((2 * speed + warp(speed_before, flow)) / 3, _MATCH_WINDOW)


def lean_on_steady(k: int) -> float:
    """Share of the steady speed in the k-th forecast step: none in the first, all from the 4th.

    The last step's own speed is best for the next frame; its errors grow with every step further.
    """
    return min(1.0, (k - 1) / 3)


def carry_forward(
    speed: Tensor,
    k: int,
    damping: float = DAMPING_FORECAST,
    *,
    steady: Tensor | None = None,
) -> Tensor:
    """Displacement after ``k`` steps at a speed that shrinks by ``damping`` a step.

    speed: flow per step, from the last picture one step ahead (minus the flow to the picture
    before it), (B, 2, H, W). Returns ``speed * (d + d^2 + ... + d^k)``; with ``steady`` later
    steps go over to that speed.
    """
    steady = speed if steady is None else steady
    total = torch.zeros_like(speed)
    for i in range(1, k + 1):
        share = lean_on_steady(i)
        total = total + damping**i * ((1 - share) * speed + share * steady)
    return total


def spread_forecast(k: int) -> tuple[float, float, float]:
    """How uncertain a forecast of ``k`` steps is: factors of three kinds of displacement.

    The first is for the difference between the last speed and the average one (has it changed for
    good?), summed over the damped steps; the second for the speed itself (will it last?): what
    no damping and one of 0.85 a step differ by. The third is for how far off the speed has been in
    the past: it grows faster than in proportion while errors add up, and slower when motion turns.
    """
    change = sum(DAMPING_FORECAST**i for i in range(1, k + 1))
    loss = sum(1 - _HASTY_DAMPING**i for i in range(1, k + 1))
    return change, loss, 1.05 * min(k, 4) ** 1.2 * max(1.0, k / 4) ** 0.7


def spread_surprise(variance: Tensor, size: tuple[int, int]) -> Tensor:
    """Standard deviation on a finer grid, in its pixels, from a variance on a coarse one.

    variance: (B, 2, H, W) of the speed along x and y, in squared pixels of its own grid.
    """
    # The root of nothing at all has no gradient.
    deviation = _blur(variance, _DOUBT_WINDOW).clamp_min(_TINY).sqrt()
    return rescale_flow(deviation, size)


def trust_signal(signal: Tensor, deviation: Tensor, caution: float) -> Tensor:
    """Share of a signal to be believed, given noise: s^2 / (s^2 + c n^2), (B, 1, H, W) in [0, 1].

    Wiener's gain (1949), with a weight c on the noise. signal: a speed, or a change of it,
    (B, 2, H, W) in pixels; its square is averaged over a small window. deviation: the noise,
    likewise.
    """
    power = _blur(signal.square().sum(1, keepdim=True), _MATCH_WINDOW)
    noise = deviation.square().sum(1, keepdim=True)
    return power / (power + caution * noise + _HARDLY_ANY)
