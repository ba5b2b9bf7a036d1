"""The network: a ConvLSTM encoder-forecaster whose state is motion, decoded into flow and blended.

One network fills gaps and forecasts::

      before            gap            after
    |   |   |   |   .    .    .    |   |   |   |        | = known   . = to be made
    --> --> --> h_b                h_a <-- <-- <--      encoder: reads towards the gap
                h_b -> h1 -> h2 -> h3                   forecaster: one step per frame to be made,
                h3 <- h2 <- h1 <- h_a                   from each side that there is

Every state lives on the grid of the known frame nearest the gap on its side. It is what the network
knows of the past: hidden and cell state of a ConvLSTM, and a Kalman filter's two moments of every
point's motion, whose gains the hidden state sets: its speed, as filters of several rates remember
it, and how far off they have been. Of far frames nothing but their motion is looked at. The
forecaster is given all that at every point, and a survey of it from farther away; each of its steps
says where the points of the nearest frame have gone, and how sure that is. Those paths are inverted
into backward flows, refined coarse to fine against features of both sides, and the two warped
frames are blended (``composition.py``).

Without training the network is already a sound estimator: its last layers start at zero, and what
remains is the parameter-free motion of ``motion.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cells import RecursiveFilter, State, build_cell
from .composition import Sketch, compose, find_sources
from .grids import choose_scale, fill_plane, pad, read_size
from .layers import Decoder, FeaturePyramid, Hourglass, Levels, build_conv, build_zero_conv
from .motion import (
    AGREEMENT_FLOOR,
    CAUTION_FILL,
    CAUTION_FORECAST,
    DAMPING_FILL,
    DAMPING_FORECAST,
    SPREAD_FILL,
    appraise_flow,
    compare_flows,
    invert_path,
    lean_on_steady,
    spread_forecast,
    spread_surprise,
    to_gray,
    trace_curve,
    trust_signal,
)
from .refinement import Refinement, Source, take_as_is
from .sides import Path, Side, are_alike, join, meet, swap
from .sights import Memory, find_features, find_flows
from .warping import rescale_flow, rescale_flows, resize, warp

__all__ = ["FramePredictor", "ModelConfig", "arrange"]

# Log-odds, before learning, that a forecast pixel comes from the last frame and not the one before.
_LAST_FRAME_LOGIT = 6.0
# Share of what is remembered of a speed that each step renews, before learning: next to all; what
# is steady over two or three; and what has lasted for several.
_GAINS = (0.99, 0.8, 0.25)
_SURPRISE_GAIN = 0.4  # likewise of the squared error of what was foreseen
# Share of a forecast's uncertainty that a latent settles; the rest stays a mean over paths.
_DRAWN_SHARE = 0.5
_EXACT_STEPS = 4  # whose flow a forecast is given at half resolution


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network; stored beside the weights."""

    n_features: tuple[int, int] = (24, 48)  # channels at 1/2 and 1/4 of the resolution
    n_seen: int = 16  # channels of what the forecaster sees of a picture, at 1/8
    n_hidden: int = 48  # channels of hidden and of cell state, at 1/8
    n_broad: tuple[int, int] = (64, 96)  # of the forecaster's survey, at 1/16 and 1/32
    n_carried: int = 32  # channels handed from the state to the decoder, and from level to level
    n_coarse: int = 64  # width of the decoder at 1/4
    n_fine: int = 48  # width of the decoder at 1/2
    n_deep: tuple[int, int, int] = (96, 128, 128)  # of the hourglass below it, at 1/8, 1/16, 1/32
    cell: str = "lstm"  # of encoder and forecaster, see ``cells.parse_cell``


class FramePredictor(nn.Module):
    """Frames before and after in, the frames between (or beyond) out.

    Any height and width, any number of known frames on either side (at least one in all), any
    number of frames to be made. Deterministic.

    ``ablation`` names parts to go without, to measure what they are worth: ``state`` (all of it is
    zero at every step), ``hidden`` (only the ConvLSTMs' hidden and cell states are), ``start``
    (the parameter-free flow is zero) and ``refinement`` (frames are made of the paths as they are).

    ``observer`` is called for every frame decoded, in the order of ``steps``, with the flows that
    lead from it to its two sources, (B, 4, h, w) in pixels of that grid, half the one on which
    motion is found: a gap's nearest frames, or a forecast's last frame and the one behind it.
    """

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ModelConfig()
        self.ablation: frozenset[str] = frozenset()
        self.observer: Callable[[Tensor], None] | None = None
        hidden, carried, seen = config.n_hidden, config.n_carried, config.n_seen
        self.pyramid = FeaturePyramid(config.n_features)
        self.glance = nn.Conv2d(config.n_features[1], seen, 1)
        # Observed: speed, flag, how the speed differs from the last one, appraisal of the flow.
        self.encoder = build_cell(config.cell, 5 + 3, hidden)
        self.speeds = RecursiveFilter(hidden, 2, _GAINS)
        self.surprise = RecursiveFilter(hidden, 2, (_SURPRISE_GAIN,))
        # Given: appearance, mismatch across the gap, agreement, D/T, v, flag, how the speed beyond
        # the gap differs from v, its deviation, t, T, how steady and lasting speed differ from v,
        # deviation; and what the survey has made of it.
        given = 2 * seen + 18
        self.forecaster = build_cell(config.cell, given + hidden, hidden)
        # A point rarely moves alone: what is given, and the state, looked at from farther away.
        # It is made once for all steps, and so is not told t and T.
        self.survey = nn.Sequential(
            build_conv(given - 2 + hidden, hidden), Hourglass(hidden, config.n_broad)
        )
        # Per point: damping, curvature (2), change of speed (2), log-scales of both axes and of the
        # deviation.
        self.motion = nn.Sequential(build_conv(hidden, hidden), build_zero_conv(hidden, 8))
        self.state_view = nn.Conv2d(hidden, carried, 3, padding=1)
        self.refinement = Refinement(
            config.n_features, carried, (config.n_coarse, config.n_fine), config.n_deep
        )
        self.finish = Decoder(12 * 3 + carried, config.n_fine, 1, 16, 0)

    @property
    def traits(self) -> Hashable:
        """What its frames depend on beside weights, configuration and what it is shown."""
        return tuple(sorted(self.ablation))

    def confine_to_motion(self) -> None:
        """Let nothing be learnt but the paths, and make frames of these alone."""
        self.ablation |= {"refinement"}
        kept = (
            *(self.glance, self.encoder, self.speeds, self.surprise),
            *(self.survey, self.forecaster, self.motion),
        )
        learning = {id(weights) for part in kept for weights in part.parameters()}
        for weights in self.parameters():
            weights.requires_grad_(id(weights) in learning)

    # ---- reading -----------------------------------------------------------------------------

    def _observe(self, gray: Tensor, seen: Tensor, flows: Sequence[Tensor]) -> Side:
        """Run the encoder over one side, in the order towards the gap.

        gray: (B, T, 1, H, W); seen: of the last frame; flows: from every frame but the first to the
        one before it, (B, 2, H/2, W/2) each.
        """
        n_batch, n_frames = gray.shape[:2]
        eighth = read_size(seen)
        half = (eighth[0] * 4, eighth[1] * 4)
        small = [rescale_flow(flow, eighth) for flow in flows]
        observed = gray.new_zeros(n_batch, n_frames, 8, *eighth)
        if flows:
            quarter = (half[0] // 2, half[1] // 2)
            gray = resize(gray.flatten(0, 1), quarter).unflatten(0, (n_batch, n_frames))
            appraisal = appraise_flow(
                gray[:, 1:].flatten(0, 1),
                gray[:, :-1].flatten(0, 1),
                torch.stack([rescale_flow(flow, quarter) for flow in flows], 1).flatten(0, 1),
                eighth,
            )
            observed[:, 1:, :2] = -torch.stack(small, 1)
            observed[:, 1:, 2] = 1
            observed[:, 1:, 5:] = appraisal.unflatten(0, (n_batch, n_frames - 1))
        for k in range(2, n_frames):
            observed[:, k, 3:5] = warp(small[k - 2], small[k - 1]) - small[k - 1]
        projected = self.encoder.project(observed.flatten(0, 1))
        projected = projected.unflatten(0, (n_batch, n_frames))
        state = self.encoder.start(observed[:, 0])
        speeds = self.speeds.start(observed[:, 0, :2])
        variance = self.surprise.start(observed[:, 0, :2])
        for k in range(n_frames):
            if k > 0:  # predict, then correct: the state moves with what it describes
                widths = [each.shape[1] for each in (*state, speeds, variance)]
                moved = warp(torch.cat((*state, speeds, variance), 1), small[k - 1])
                *moved_state, speeds, variance = moved.split(widths, 1)
                state = tuple(moved_state)
            state = self.encoder.advance(projected[:, k], self._forget(state))
            if k > 1:
                innovation = -small[k - 1] - speeds[:, 2:4]  # beyond the steady speed
                variance = self.surprise(innovation.square(), state[0], variance, k - 1)
            if k > 0:
                speeds = self.speeds(-small[k - 1], state[0], speeds, k)
        return Side(
            seen=seen,
            flow=flows[-1] if flows else None,
            state=state,
            speeds=self._remember(speeds, flows[-1]) if flows else None,
            deviation=self._doubt(variance, half) if len(flows) > 1 else None,
        )

    def _forget(self, state: State) -> State:
        if self.ablation.isdisjoint(("state", "hidden")):
            return state
        return tuple(torch.zeros_like(each) for each in state)

    def _remember(self, speeds: Tensor, flow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Last, steady and lasting speed, (B, 2, H/2, W/2) a step, from what the filters hold.

        flow: to the frame behind. What is too fine for the state's grid is that flow's.
        """
        if "state" in self.ablation:
            speeds = torch.zeros_like(speeds)
        last, steady, lasting = rescale_flows(speeds, read_size(flow)).split(2, 1)
        detail = rescale_flow(rescale_flow(flow, read_size(speeds)), read_size(flow)) - flow
        return last + detail, steady, lasting

    def _doubt(self, variance: Tensor, size: tuple[int, int]) -> Tensor:
        """Standard deviation of a step's speed from what was foreseen, (B, 2, H/2, W/2)."""
        if "state" in self.ablation:
            variance = torch.zeros_like(variance)
        return spread_surprise(variance, size)

    # ---- rolling out -------------------------------------------------------------------------

    def _unroll(
        self, near: Side, fixed: Tensor, history: Tensor, clocks: Sequence[tuple[float, float]]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Step the forecaster: motion parameters (B, 8, H/2, W/2) and the state's view, each step.

        fixed, history: what every step is given; clocks: for each, its place in the gap and the
        gap's length.
        """
        grid = (fixed.shape[-2] * 4, fixed.shape[-1] * 4)
        state = self._forget(near.state)
        broad = self.survey(torch.cat((fixed, history, state[0].to(fixed.dtype)), 1))
        for clock in clocks:
            plane = fill_plane(fixed, *clock).expand(-1, -1, *fixed.shape[-2:])
            inputs = torch.cat((fixed, plane.to(fixed.dtype), history, broad), 1)
            hidden, state = self.forecaster(inputs, state)
            state = self._forget(state)
            learned = self.motion(hidden).float()
            yield resize(learned, grid), self.state_view(hidden)

    def _bridge(
        self, near: Side, other: Side, across: Tensor, agreement: Tensor, n_frames: int
    ) -> list[Path]:
        """The paths of the near frame's points over a gap, to each of the ``n_frames`` in it.

        across: flow to the other side's nearest frame, (B, 2, H/2, W/2); agreement: with the flow
        back, (B, 1, H/2, W/2).
        """
        n_total = n_frames + 1
        seen = near.seen
        grid = read_size(seen)
        straight = across / n_total
        speed, steady, lasting = near.speeds or (straight, straight, straight)
        small = rescale_flow(across, grid)
        fixed = torch.cat(
            (
                seen,
                seen - warp(other.seen.float(), small),
                resize(agreement, grid),
                small / n_total,
                rescale_flow(speed, grid),
                torch.ones_like(seen[:, :1]),
                self._look_beyond(speed, other, small),
            ),
            1,
        )
        believed: Tensor | float = DAMPING_FILL
        if near.deviation is not None:
            believed = trust_signal(speed - straight, near.deviation, CAUTION_FILL)
        history = self._recount(near, (speed, steady, lasting), grid)
        clocks = [(k / n_total, n_total / 8) for k in range(1, n_total)]
        paths = []
        for (learned, view), (t, _) in zip(
            self._unroll(near, fixed, history, clocks), clocks, strict=True
        ):
            damping, curvature, push, spread, _ = learned.split((1, 2, 2, 1, 2), 1)
            room = n_total * t * (1 - t)
            bend = trace_curve(across, speed, t, n_total, believed + damping)
            axis = (SPREAD_FILL * room) * (speed - straight) * spread.exp()
            paths.append(Path(bend + (curvature * 2 + push) * room, (axis,), (), view))
        return paths

    def _look_beyond(self, speed: Tensor, other: Side, across: Tensor) -> Tensor:
        """How the speed beyond a gap differs from the one before it, and its deviation there.

        speed: before it, (B, 2, H/2, W/2); across: on the state's grid. Returns (B, 4, h, w).
        """
        grid = read_size(across)
        if other.speeds is None:
            return across.new_zeros(len(across), 4, *grid)
        doubt = torch.zeros_like(speed) if other.deviation is None else other.deviation
        # The other side's time runs backwards.
        both = torch.cat((-other.speeds[0], doubt), 1)
        beyond, deviation = warp(rescale_flows(both, grid), across).split(2, 1)
        return torch.cat((beyond - rescale_flow(speed, grid), deviation), 1)

    def _recount(self, near: Side, speeds: tuple[Tensor, ...], grid: tuple[int, int]) -> Tensor:
        """What the forecaster is told of the past beside the last speed, (B, 6, h, w)."""
        last, steady, lasting = speeds
        deviation = torch.zeros_like(last) if near.deviation is None else near.deviation
        return rescale_flows(torch.cat((steady - last, lasting - last, deviation), 1), grid)

    def _extend(self, near: Side, n_frames: int, latent: Tensor | None) -> list[Path]:
        """The paths of the near frame's points over ``n_frames`` beyond it.

        latent: (B, 4), where in the displacement's distribution, in standard deviations along its
        axes; None for the whole of it.
        """
        seen = near.seen
        grid = read_size(seen)
        half = (grid[0] * 4, grid[1] * 4)
        still = seen.new_zeros(len(seen), 2, *half, dtype=torch.float32)
        speed, steady, lasting = near.speeds or (still, still, still)
        believed: Tensor | float = 1.0
        if near.deviation is not None:
            believed = trust_signal(steady, near.deviation, CAUTION_FORECAST)
        history = self._recount(near, (speed, steady, lasting), grid)
        nothing = seen.new_zeros(len(seen), 5, *grid)
        fixed = torch.cat(
            (seen, torch.zeros_like(seen), nothing[:, :3], rescale_flow(speed, grid), nothing), 1
        )
        travelled = torch.zeros_like(speed)
        remaining = torch.ones_like(speed[:, :1])  # of the speed
        pushed = torch.zeros_like(speed)
        paths = []
        # A forecast must not depend on how far it will go on, so it is not told.
        clocks = [(k / 8, 0.0) for k in range(1, n_frames + 1)]
        for k, (learned, view) in enumerate(self._unroll(near, fixed, history, clocks), 1):
            damping, curvature, push, *spreads = learned.split((1, 2, 2, 1, 1, 1), 1)
            factor = DAMPING_FORECAST + 0.25 * damping
            remaining, pushed = remaining * factor, pushed * factor + 0.5 * push
            share = lean_on_steady(k)
            going = believed * remaining * ((1 - share) * speed + share * steady)
            travelled = travelled + going + pushed + 0.5 * curvature
            scales = spread_forecast(k)
            axes = [
                scales[0] * (speed - lasting) * spreads[0].exp(),
                scales[1] * steady * spreads[1].exp(),
            ]
            if near.deviation is not None:
                across, down = (scales[2] * near.deviation * spreads[2].exp()).split(1, 1)
                nowhere = torch.zeros_like(across)
                axes += [torch.cat((across, nowhere), 1), torch.cat((nowhere, down), 1)]
            place = travelled
            if latent is not None:
                # The centre and a point on each side of every axis have this variance.
                deviation = (_DRAWN_SHARE * 2 / (1 + 2 * len(axes))) ** 0.5
                for axis, drawn in zip(axes, latent.unbind(1), strict=False):
                    place = place + deviation * drawn.view(-1, 1, 1, 1) * axis
                axes = [(1 - _DRAWN_SHARE) ** 0.5 * axis for axis in axes]
            paths.append(Path(place, tuple(axes[:2]), tuple(axes[2:]), view))
        return paths

    # ---- deciding and composing ----------------------------------------------------------------

    def forward(
        self,
        before: Tensor | None,
        after: Tensor | None,
        n_frames: int,
        *,
        steps: Sequence[int] | None = None,
        memory: Memory | None = None,
        scale: int | None = None,
        latent: Tensor | None = None,
    ) -> Tensor:
        """Make the frames between ``before`` and ``after``, or beyond the one side that is given.

        before: (B, T, 3, H, W) float32 RGB in [0, 1], in display order, or None.
        after: likewise; with ``before`` None the frames made precede it.
        n_frames: how many frames are missing.
        steps: which of them to make, 1-based (default: all).
        memory: what is known of these frames from earlier calls, and may be of use to later ones;
            for a batch of one, and without gradients.
        scale: motion is found on pictures smaller by this factor, a power of two; colours are
            always taken at full resolution. None: by the size of the frames, see ``choose_scale``.
        latent: (B, 4) drawn from a standard normal distribution: one of the plausible futures, the
            same for every step, in place of the mean over all. Forecasts only.

        Returns (B, len(steps), 3, H, W) float32, not clamped, in display order.
        """
        known = [side for side in (before, after) if side is not None]
        if not known:
            raise ValueError("a frame on at least one side is needed, got none")
        height, width = read_size(known[0])
        scale = choose_scale(height, width) if scale is None else scale
        n_frames_of = [side.shape[1] for side in known]
        full = pad(torch.cat(known, 1), scale)
        small = full
        if scale > 1:
            small = F.avg_pool2d(full.flatten(0, 1), scale).unflatten(0, full.shape[:2])
        parts = list(small.split(n_frames_of, 1))
        sketches = self.sketch(
            None if before is None else parts.pop(0),
            None if after is None else parts.pop(0),
            n_frames,
            steps=steps,
            memory=memory,
            latent=latent,
        )
        one, two = (
            full[:, k] for k in find_sources(n_before=_count(before), n_after=_count(after))
        )
        made = [compose(self.finish, one, two, sketch) for sketch in sketches]
        return torch.stack(made, 1)[..., :height, :width]

    def sketch(
        self,
        before: Tensor | None,
        after: Tensor | None,
        n_frames: int,
        *,
        steps: Sequence[int] | None = None,
        memory: Memory | None = None,
        latent: Tensor | None = None,
    ) -> list[Sketch]:
        """All of new frames but their pixels; as ``forward``, for frames that ``pad`` has fitted.

        The sources of each are the frames that ``find_sources`` names.
        """
        if before is None:
            # What precedes a film is the future of the film run backwards.
            if after is None:
                raise ValueError("a frame on at least one side is needed, got none")
            mirrored = None if steps is None else [n_frames + 1 - k for k in steps]
            if mirrored is None:
                mirrored = list(range(n_frames, 0, -1))
            backwards = None if memory is None else replace(memory, names=memory.names[::-1])
            return self.sketch(
                after.flip(1), None, n_frames, steps=mirrored, memory=backwards, latent=latent
            )
        if latent is not None and after is not None:
            raise ValueError("a latent is for forecasts: got frames on both sides")
        wanted = list(range(1, n_frames + 1)) if steps is None else list(steps)
        n_before = before.shape[1]
        if memory is not None and after is not None:
            memory = replace(
                memory, names=(*memory.names[:n_before], *reversed(memory.names[n_before:]))
            )
        # From here on the frames of each side are in the order towards the gap.
        frames = before if after is None else torch.cat((before, after.flip(1)), 1)
        n_all = frames.shape[1]
        inner = [(k, k - 1) for k in range(1, n_all) if k != n_before]
        if after is None:
            across = []
            exact = inner[-_EXACT_STEPS:]
        else:
            across = [(n_before - 1, n_all - 1), (n_all - 1, n_before - 1)]
            exact = across + [pair for pair in inner if pair[0] in (n_before - 1, n_all - 1)]
        # Far from the gap only the state sees the flow, on its coarse grid.
        rough = [pair for pair in inner if pair not in exact]
        gray = to_gray(frames).float()
        flows = find_flows(gray, exact, rough, memory)
        if "start" in self.ablation:
            flows = {pair: torch.zeros_like(flow) for pair, flow in flows.items()}

        ends = (n_before - 1,) if after is None else (n_before - 1, n_all - 1)
        # In a gap nothing is taken from the frames behind the nearest ones.
        behind = (max(n_before - 2, 0),) if after is None else ends
        levels = find_features(self.pyramid, frames, (*ends, *behind), memory)

        def observe(*sides: int) -> Side:
            """What is known of one side, or as one batch of both."""
            gray_of, seen, flows_of = [], [], []
            for side in sides:
                first, last = side * n_before, ends[side]
                gray_of.append(gray[:, first : last + 1])
                quarter = levels[last][1]
                size = (quarter.shape[-2] // 2, quarter.shape[-1] // 2)
                seen.append(self.glance(resize(quarter, size)))
                flows_of.append([flows[k, k - 1] for k in range(first + 1, last + 1)])
            joined = [torch.cat(step) for step in zip(*flows_of, strict=True)]
            return self._observe(torch.cat(gray_of), torch.cat(seen), joined)

        if after is None:
            sources = (levels[ends[0]], levels[behind[0]])
            return self._forecast(observe(0), sources, wanted, latent)
        if n_all == 2 * n_before:
            known = [observe(0, 1)]
        else:
            known = [observe(0), observe(1)]
            if are_alike(*known):
                known = [join(*known)]
        flows_across = torch.cat([flows[pair] for pair in across])
        sources = (levels[ends[0]], levels[ends[-1]])
        return self._fill(known, sources, flows_across, n_frames, wanted)

    def _fill(
        self,
        known: Sequence[Side],
        features: tuple[Levels, Levels],
        across: Tensor,
        n_frames: int,
        wanted: Sequence[int],
    ) -> list[Sketch]:
        """known: of both sides, as one batch or apart; across: flows over the gap, as one."""
        onward, back = across.chunk(2)
        agreement = compare_flows(across, torch.cat((back, onward)))
        if len(known) == 1:
            paths = self._bridge(known[0], swap(known[0]), across, agreement, n_frames)
        else:
            near, far = known
            agree_near, agree_far = agreement.chunk(2)
            from_near = self._bridge(near, far, onward, agree_near, n_frames)
            from_far = self._bridge(far, near, back, agree_far, n_frames)
            paths = list(map(join, from_near, from_far))
        made = []
        for k in wanted:
            t = k / (n_frames + 1)
            (one, view), (two, view_far) = _bring(
                meet(paths[k - 1], paths[n_frames - k]), *features
            )
            seen_near, seen_far = warp(agreement, torch.cat((one.flow, two.flow))).chunk(2)
            logit = torch.log((1 - t) * (seen_near + AGREEMENT_FLOOR))
            logit = logit - torch.log(t * (seen_far + AGREEMENT_FLOOR))
            trust = torch.cat((logit, seen_near, seen_far), 1)
            clock = fill_plane(view, 1 - t, t, 0.0)
            made.append(self._refine((one, two), (view, view_far), trust, clock))
        return made

    def _forecast(
        self,
        near: Side,
        features: tuple[Levels, Levels],
        wanted: Sequence[int],
        latent: Tensor | None,
    ) -> list[Sketch]:
        """features: of the nearest frame, and of the one behind it (itself if there is none)."""
        paths = self._extend(near, max(wanted), latent)
        made = []
        for k in wanted:
            ((one, view),) = _bring(paths[k - 1], features[0])
            behind = one.flow
            if near.flow is not None:
                behind = one.flow + warp(near.flow, one.flow)
            two = Source(features[1], behind)
            certain = torch.ones_like(one.flow[:, :1])
            trust = torch.cat((certain * _LAST_FRAME_LOGIT, certain, certain), 1)
            clock = fill_plane(view, 1.0, k / 8, 1.0)
            made.append(self._refine((one, two), (view, torch.zeros_like(view)), trust, clock))
        return made

    def _refine(
        self,
        sources: tuple[Source, Source],
        views: tuple[Tensor, Tensor],
        trust: Tensor,
        clock: Tensor,
    ) -> Sketch:
        if "refinement" in self.ablation:
            sketch = take_as_is(sources, trust[:, :1])
        else:
            sketch = self.refinement(sources, views, trust, clock)
        if self.observer is not None:
            self.observer(torch.cat(sketch.flows, 1))
        return sketch


def _count(side: Tensor | None) -> int:
    return 0 if side is None else side.shape[1]


def _bring(path: Path, *features: Levels) -> list[tuple[Source, Tensor]]:
    """From the grids of known frames to that of the frame to be made.

    path: from as many known frames, as one batch, as there are features. Returns for each the
    source and the view of the state, (B, carried, H/4, W/4).
    """
    flow = invert_path(path.travelled)
    axes = warp(torch.cat((*path.axes, *path.surprises), 1), flow)
    quarter = read_size(features[0][1])
    view = warp(resize(path.view.float(), quarter), rescale_flow(flow, quarter))
    n_axes, n = len(path.axes), len(features)
    found = []
    for levels, its_flow, of_all, its_view in zip(
        features, flow.chunk(n), axes.chunk(n), view.chunk(n), strict=True
    ):
        its_axes = of_all.split(2, 1)
        found.append((Source(levels, its_flow, its_axes[:n_axes], its_axes[n_axes:]), its_view))
    return found


def arrange(model: FramePredictor, device: torch.device) -> FramePredictor:
    """Move a network to a device, its kernels laid out as the convolutions there like them."""
    return model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
