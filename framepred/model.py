"""The network: a ConvLSTM encoder-forecaster whose state is motion, decoded into flow and blended.

One network fills gaps and forecasts::

      before            gap            after
    |   |   |   |   .    .    .    |   |   |   |        | = known   . = to be made
    --> --> --> h_b                h_a <-- <-- <--      encoder: reads towards the gap
                h_b -> h1 -> h2 -> h3                   forecaster: one step per frame to be made,
                h3 <- h2 <- h1 <- h_a                   from each side that there is

Every state lives on the grid of the known frame nearest the gap on its side. It is what the network
knows of the past: hidden and cell state of a ConvLSTM, and the speed of every point as filters of
several rates remember it, whose gains the hidden state sets. A forecaster step says where the
points of the nearest frame have gone. Those paths are inverted into backward flows, refined
coarse to fine against features of both sides, and the two warped frames are blended.

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
from .grids import choose_scale, fill_plane, pad, read_size
from .layers import Decoder, FeaturePyramid, Levels, build_conv, build_zero_conv
from .motion import (
    AGREEMENT_FLOOR,
    DAMPING_FILL,
    DAMPING_FORECAST,
    SPREAD_FILL,
    compare_flows,
    estimate_flow,
    invert_path,
    lean_on_steady,
    rescale_flow,
    rescale_flows,
    resize,
    spread_forecast,
    to_gray,
    trace_curve,
    warp,
    warp_spread,
)
from .recall import Recall

__all__ = ["FramePredictor", "Memory", "ModelConfig", "arrange"]

# Log-odds, before learning, that a forecast pixel comes from the last frame and not the one before.
_LAST_FRAME_LOGIT = 6.0
# Share of what is remembered of a speed that each step renews, before learning: next to all; what
# is steady over two or three; and what has lasted for several.
_GAINS = (0.99, 0.8, 0.25)
# Share of a forecast's uncertainty that a latent settles; the rest stays a mean over paths.
_DRAWN_SHARE = 0.5
_EXACT_STEPS = 4  # whose flow a forecast is given at half resolution
_FLOW_PIXELS = 2**20  # pixels at half resolution whose flow is estimated at once: bounds the memory


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network; stored beside the weights."""

    n_features: tuple[int, int, int] = (24, 48, 64)  # channels at 1/2, 1/4, 1/8 of the resolution
    n_hidden: int = 96  # channels of hidden and of cell state, at 1/8
    n_carried: int = 32  # channels handed from the state to the decoder, and from level to level
    n_coarse: int = 64  # width of the decoder at 1/4
    n_fine: int = 48  # width of the decoder at 1/2
    cell: str = "lstm"  # of encoder and forecaster, see ``cells.parse_cell``


@dataclass(frozen=True)
class Memory:
    """Features and flows of frames seen before, and the names of the frames at hand.

    names: one for each frame given, those before and then those after, in display order; equal
    only for equal frames.
    """

    names: tuple[Hashable, ...]
    features: Recall
    flows: Recall


@dataclass(frozen=True)
class _Side:
    """What is known on one side of the gap, all on the grid of its nearest frame."""

    frame: Tensor  # (B, 3, H, W) the nearest frame
    features: Levels  # of the nearest frame
    previous: Tensor  # (B, 3, H, W) the frame behind it (the same one if there is no other)
    previous_features: Levels
    flow: Tensor | None  # (B, 2, H/2, W/2) to the frame behind, if there is one
    state: State  # encoder state after the nearest frame
    speeds: tuple[Tensor, Tensor, Tensor] | None  # (B, 2, h, w) a step: last, steady, lasting


@dataclass(frozen=True)
class _Path:
    """Where the points of a side's nearest frame are at one step, on that frame's grid."""

    travelled: Tensor  # (B, 2, H/2, W/2) displacement since that frame
    axes: tuple[Tensor, ...]  # likewise: what the displacement may be off by, see ``warp_spread``
    view: Tensor  # (B, carried, H/8, W/8) what the decoder may see of the state


@dataclass(frozen=True)
class _Source:
    """A picture that a new frame is made from, and where its points are found in it."""

    frame: Tensor  # (B, 3, H, W)
    features: Levels
    flow: Tensor  # (B, 2, H/2, W/2) from the new frame
    axes: tuple[Tensor, ...]  # likewise


class FramePredictor(nn.Module):
    """Frames before and after in, the frames between (or beyond) out.

    Any height and width, any number of known frames on either side (at least one in all), any
    number of frames to be made. Deterministic.

    ``ablation`` names parts to go without, to measure what they are worth: ``state`` (all of it is
    zero at every step), ``hidden`` (only the ConvLSTMs' hidden and cell states are) and ``start``
    (the parameter-free flow is zero).

    ``observer`` is called for every frame decoded, in the order of ``steps``, with the flows that
    lead from it to its two sources, (B, 4, h, w) in pixels of that grid, half the one on which
    motion is found: a gap's nearest frames, or a forecast's last frame and the one behind it.
    """

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ModelConfig()
        self.ablation: frozenset[str] = frozenset()
        self.observer: Callable[[Tensor], None] | None = None
        half, quarter, eighth = config.n_features
        hidden, carried = config.n_hidden, config.n_carried
        self.pyramid = FeaturePyramid(config.n_features)
        # Observed: appearance, how it differs from the motion-compensated last one, speed, flag,
        # how the speed differs from the last one.
        self.encoder = build_cell(config.cell, 2 * eighth + 5, hidden)
        self.speeds = RecursiveFilter(hidden, 2, _GAINS)
        # Given: appearance, mismatch across the gap, agreement, D/T, v, flag, t, T, how steady and
        # lasting speed differ from v.
        self.forecaster = build_cell(config.cell, 2 * eighth + 12, hidden)
        # Per point: damping, curvature (2), change of speed (2), log-scales of both axes.
        self.motion = nn.Sequential(build_conv(hidden, hidden), build_zero_conv(hidden, 7))
        self.state_view = nn.Conv2d(hidden, carried, 3, padding=1)
        # Corrections: both flows (4), log-odds of the first source, two axes (4).
        self.coarse = Decoder(2 * quarter + 2 * carried + 14, config.n_coarse, 3, 9, carried)
        self.fine = Decoder(2 * half + carried + 12, config.n_fine, 2, 9, carried)
        self.finish = Decoder(12 * 3 + carried, config.n_fine, 1, 16, 0)

    # ---- reading -----------------------------------------------------------------------------

    def _extract(self, frames: Tensor, memory: Memory | None) -> Levels:
        """Features of every frame: (B, T, 3, H, W) -> (B, T, C, h, w) at each level."""

        def extract(some: Tensor) -> Levels:
            half, quarter, eighth = self.pyramid(some.flatten(0, 1))
            shape = some.shape[:2]
            return half.unflatten(0, shape), quarter.unflatten(0, shape), eighth.unflatten(0, shape)

        if memory is None:
            return extract(frames)
        keys = [(read_size(frames), name) for name in memory.names]
        found = memory.features.look_up(
            keys,
            lambda lacking: list(
                zip(*(level.split(1, 1) for level in extract(frames[:, lacking])), strict=True)
            ),
        )
        half, quarter, eighth = (torch.cat(level, 1) for level in zip(*found, strict=True))
        return half, quarter, eighth

    def _measure(
        self, frames: Tensor, pairs: Sequence[tuple[int, int]], memory: Memory | None, *, fine: bool
    ) -> dict[tuple[int, int], Tensor]:
        """Parameter-free flows between pairs of frames (B, T, 3, H, W), (B, 2, h, w) each."""
        if not pairs:
            return {}

        def measure(some: Sequence[tuple[int, int]]) -> list[Tensor]:
            first, second = (
                to_gray(frames[:, list(side)]).flatten(0, 1).float()
                for side in zip(*some, strict=True)
            )
            pixels = first.shape[-2] * first.shape[-1]
            at_once = max(1, _FLOW_PIXELS // pixels)
            with torch.no_grad(), torch.autocast(frames.device.type, enabled=False):
                flow = torch.cat(
                    [
                        estimate_flow(one, two, fine=fine)
                        for one, two in zip(
                            first.split(at_once), second.split(at_once), strict=True
                        )
                    ]
                )
            return list(flow.unflatten(0, (len(frames), len(some))).unbind(1))

        if memory is None:
            return dict(zip(pairs, measure(pairs), strict=True))
        keys = [(read_size(frames), fine, memory.names[a], memory.names[b]) for a, b in pairs]
        found = memory.flows.look_up(
            keys, lambda lacking: [(flow,) for flow in measure([pairs[i] for i in lacking])]
        )
        return {pair: values[0] for pair, values in zip(pairs, found, strict=True)}

    def _observe(self, frames: Tensor, levels: Levels, flows: Sequence[Tensor]) -> _Side:
        """Run the encoder over one side, in the order towards the gap.

        frames: (B, T, 3, H, W); levels: their features, (B, T, C, h, w) each; flows: from every
        frame but the first to the one before it, (B, 2, h, w) each.
        """
        n_batch, n_frames = frames.shape[:2]
        coarsest = levels[2]
        eighth = read_size(coarsest)
        small = [rescale_flow(flow, eighth) for flow in flows]
        observations = []
        for k in range(n_frames):
            seen = coarsest[:, k]
            change = torch.zeros_like(seen)
            speed = seen.new_zeros(n_batch, 5, *eighth, dtype=torch.float32)
            if k > 0:
                change = seen - warp(coarsest[:, k - 1].float(), small[k - 1])
                speed[:, :2] = -small[k - 1]
                speed[:, 2] = 1
            if k > 1:
                speed[:, 3:] = warp(small[k - 2], small[k - 1]) - small[k - 1]
            observations.append(torch.cat((seen, change, speed), 1))
        projected = self.encoder.project(torch.stack(observations, 1).flatten(0, 1))
        projected = projected.unflatten(0, (n_batch, n_frames))
        state = self.encoder.start(coarsest[:, 0])
        speeds = self.speeds.start(speed[:, :2])
        for k in range(n_frames):
            if k > 0:  # predict, then correct: the state moves with what it describes
                widths = [each.shape[1] for each in (*state, speeds)]
                moved = warp(torch.cat((*state, speeds), 1), small[k - 1]).split(widths, 1)
                state, speeds = moved[:-1], moved[-1]
            state = self.encoder.advance(projected[:, k], self._forget(state))
            if k > 0:
                speeds = self.speeds(-small[k - 1], state[0], speeds, k)
        last, behind = n_frames - 1, max(n_frames - 2, 0)
        half, quarter, eighths = levels
        return _Side(
            frame=frames[:, last],
            features=(half[:, last], quarter[:, last], eighths[:, last]),
            previous=frames[:, behind],
            previous_features=(half[:, behind], quarter[:, behind], eighths[:, behind]),
            flow=flows[-1] if flows else None,
            state=state,
            speeds=self._remember(speeds, flows[-1]) if flows else None,
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

    # ---- rolling out -------------------------------------------------------------------------

    def _unroll(
        self, near: _Side, fixed: Tensor, history: Tensor, clocks: Sequence[tuple[float, float]]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Step the forecaster: motion parameters (B, 7, H/2, W/2) and the state's view, each step.

        fixed, history: what every step is given; clocks: for each, its place in the gap and the
        gap's length.
        """
        grid = read_size(near.features[0])
        state = near.state
        for clock in clocks:
            plane = fill_plane(fixed, *clock).expand(-1, -1, *fixed.shape[-2:])
            inputs = torch.cat((fixed, plane.to(fixed.dtype), history), 1)
            hidden, state = self.forecaster(inputs, self._forget(state))
            learned = self.motion(hidden).float()
            yield resize(learned, grid), self.state_view(hidden)

    def _bridge(
        self, near: _Side, other: _Side, across: Tensor, agreement: Tensor, n_frames: int
    ) -> list[_Path]:
        """The paths of the near frame's points over a gap, to each of the ``n_frames`` in it.

        across: flow to the other side's nearest frame, (B, 2, H/2, W/2); agreement: with the flow
        back, (B, 1, H/2, W/2).
        """
        n_total = n_frames + 1
        seen = near.features[2]
        grid = read_size(seen)
        straight = across / n_total
        speed, steady, lasting = near.speeds or (straight, straight, straight)
        small = rescale_flow(across, grid)
        fixed = torch.cat(
            (
                seen,
                seen - warp(other.features[2].float(), small),
                resize(agreement, grid),
                small / n_total,
                rescale_flow(speed, grid),
                torch.ones_like(seen[:, :1]),
            ),
            1,
        )
        history = rescale_flows(torch.cat((steady - speed, lasting - speed), 1), grid)
        clocks = [(k / n_total, n_total / 8) for k in range(1, n_total)]
        paths = []
        for (learned, view), (t, _) in zip(
            self._unroll(near, fixed, history, clocks), clocks, strict=True
        ):
            damping, curvature, push, spread, _ = learned.split((1, 2, 2, 1, 1), 1)
            room = n_total * t * (1 - t)
            bend = trace_curve(across, speed, t, n_total, DAMPING_FILL + damping)
            axis = (SPREAD_FILL * room) * (speed - straight) * spread.exp()
            paths.append(_Path(bend + (curvature * 2 + push) * room, (axis,), view))
        return paths

    def _extend(self, near: _Side, n_frames: int, latent: Tensor | None) -> list[_Path]:
        """The paths of the near frame's points over ``n_frames`` beyond it.

        latent: (B, 2), where in the displacement's distribution, in standard deviations along its
        axes; None for the whole of it.
        """
        seen = near.features[2]
        grid = read_size(seen)
        still = near.frame.new_zeros(len(seen), 2, *read_size(near.features[0]))
        speed, steady, lasting = near.speeds or (still, still, still)
        history = rescale_flows(torch.cat((steady - speed, lasting - speed), 1), grid)
        nothing = seen.new_zeros(len(seen), 3, *grid)
        fixed = torch.cat(
            (seen, torch.zeros_like(seen), nothing, rescale_flow(speed, grid), nothing[:, :1]), 1
        )
        travelled = torch.zeros_like(speed)
        remaining = torch.ones_like(speed[:, :1])  # of the speed
        pushed = torch.zeros_like(speed)
        paths = []
        # A forecast must not depend on how far it will go on, so it is not told.
        clocks = [(k / 8, 0.0) for k in range(1, n_frames + 1)]
        for k, (learned, view) in enumerate(self._unroll(near, fixed, history, clocks), 1):
            damping, curvature, push, *spreads = learned.split((1, 2, 2, 1, 1), 1)
            factor = DAMPING_FORECAST + 0.25 * damping
            remaining, pushed = remaining * factor, pushed * factor + 0.5 * push
            share = lean_on_steady(k)
            going = remaining * ((1 - share) * speed + share * steady)
            travelled = travelled + going + pushed + 0.5 * curvature
            scales = spread_forecast(k)
            axes = (
                scales[0] * (speed - lasting) * spreads[0].exp(),
                scales[1] * steady * spreads[1].exp(),
            )
            place = travelled
            if latent is not None:
                # Five points, the centre and one on each side of two axes, have this variance.
                deviation = (_DRAWN_SHARE * 2 / 5) ** 0.5
                for axis, drawn in zip(axes, latent.unbind(1), strict=True):
                    place = place + deviation * drawn.view(-1, 1, 1, 1) * axis
                axes = ((1 - _DRAWN_SHARE) ** 0.5 * axes[0], (1 - _DRAWN_SHARE) ** 0.5 * axes[1])
            paths.append(_Path(place, axes, view))
        return paths

    # ---- decoding ----------------------------------------------------------------------------

    def _decode(
        self,
        sources: tuple[_Source, _Source],
        views: tuple[Tensor, Tensor],
        trust: Tensor,
        clock: Tensor,
    ) -> Tensor:
        """Refine two backward flows and their spread, and blend the two pictures they lead to.

        views: of the states, at the target, (B, carried, H/4, W/4); trust: log-odds of the first
        source and both agreements, (B, 3, H/2, W/2); clock: (B, 3, 1, 1) weight of each source and
        whether this is a forecast. Returns (B, 3, H, W).
        """
        one, two = sources
        full, half, quarter = (
            read_size(one.frame),
            read_size(one.features[0]),
            read_size(one.features[1]),
        )
        motions = torch.cat((one.flow, two.flow, *one.axes, *two.axes), 1)  # (B, 8, H/2, W/2)
        logit = trust[:, :1]

        def look(level: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            seen = rescale_flows(motions, size)
            first, second = seen[:, :2], seen[:, 2:4]
            return (
                warp(one.features[level].float(), first),
                warp(two.features[level].float(), second),
                seen[:, :4] / 8,
                seen[:, 4:] / 8,
            )

        def correct(by: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
            moved = torch.cat((by[:, :4], by[:, 5:]), 1)
            return motions + rescale_flows(moved, half), logit + resize(by[:, 4:5], size)

        *seen, flows, axes = look(1, quarter)
        plane = clock.expand(-1, -1, *quarter)
        correction, carried = self.coarse(*seen, *views, flows, resize(trust, quarter), plane, axes)
        motions, logit = correct(correction, half)
        assert carried is not None
        *seen, flows, axes = look(0, half)
        plane = clock.expand(-1, -1, *half)
        correction, carried = self.fine(
            *seen, resize(carried.float(), half), flows, logit, plane, axes
        )
        motions, logit = correct(correction, half)
        assert carried is not None
        if self.observer is not None:
            self.observer(motions[:, :4])

        first, second, *axes_of_all = motions.split(2, 1)
        n_first = len(one.axes)
        left = warp_spread(one.frame, first, axes_of_all[:n_first])
        right = warp_spread(two.frame, second, axes_of_all[n_first:])
        logit = resize(logit, full)
        share = logit.sigmoid()
        blend = share * left + (1 - share) * right
        last, _ = self.finish(
            F.pixel_unshuffle(torch.cat((left - blend, right - blend, blend - 0.5), 1), 2),
            resize(carried.float(), (full[0] // 2, full[1] // 2)),
        )
        last = F.pixel_shuffle(last, 2)
        share = (logit + last[:, 3:]).sigmoid()
        return share * left + (1 - share) * right + 0.1 * last[:, :3]

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
        latent: (B, 2) drawn from a standard normal distribution: one of the plausible futures, the
            same for every step, in place of the mean over all. Forecasts only.

        Returns (B, len(steps), 3, H, W) float32, not clamped, in display order.
        """
        if before is None and after is None:
            raise ValueError("a frame on at least one side is needed, got none")
        if latent is not None and before is not None and after is not None:
            raise ValueError("a latent is for forecasts: got frames on both sides")
        wanted = list(range(1, n_frames + 1)) if steps is None else list(steps)
        if before is None:
            # What precedes a film is the future of the film run backwards.
            assert after is not None
            mirrored = [n_frames + 1 - k for k in wanted]
            backwards = None if memory is None else replace(memory, names=memory.names[::-1])
            return self.forward(
                after.flip(1),
                None,
                n_frames,
                steps=mirrored,
                memory=backwards,
                scale=scale,
                latent=latent,
            )
        if memory is not None and after is not None:
            n_before = before.shape[1]
            memory = replace(
                memory, names=(*memory.names[:n_before], *reversed(memory.names[n_before:]))
            )
        height, width = before.shape[-2:]
        scale = choose_scale(height, width) if scale is None else scale
        # From here on the frames of each side are in the order towards the gap.
        frames = before if after is None else torch.cat((before, after.flip(1)), 1)
        frames = pad(frames, scale)
        small = frames
        if scale > 1:
            small = F.avg_pool2d(frames.flatten(0, 1), scale).unflatten(0, frames.shape[:2])
        n_before, n_all = before.shape[1], frames.shape[1]
        levels = self._extract(small, memory)
        inner = [(k, k - 1) for k in range(1, n_all) if k != n_before]
        if after is None:
            across = []
            exact = inner[-_EXACT_STEPS:]
        else:
            across = [(n_before - 1, n_all - 1), (n_all - 1, n_before - 1)]
            exact = across + [pair for pair in inner if pair[0] in (n_before - 1, n_all - 1)]
        # Far from the gap only the state sees the flow, on its coarse grid.
        rough = [pair for pair in inner if pair not in exact]
        flows = self._measure(small, exact, memory, fine=True)
        flows |= self._measure(small, rough, memory, fine=False)
        if "start" in self.ablation:
            flows = {pair: torch.zeros_like(flow) for pair, flow in flows.items()}

        def observe(first: int, last: int) -> _Side:
            half, quarter, eighth = (level[:, first:last] for level in levels)
            inside = [flows[k, k - 1] for k in range(first + 1, last)]
            return self._observe(frames[:, first:last], (half, quarter, eighth), inside)

        near = observe(0, n_before)
        if after is None:
            made = self._forecast(near, wanted, latent)
        else:
            far = observe(n_before, n_all)
            made = self._fill(near, far, flows[across[0]], flows[across[1]], n_frames, wanted)
        return made[..., :height, :width]

    def _fill(
        self,
        near: _Side,
        far: _Side,
        onward: Tensor,
        back: Tensor,
        n_frames: int,
        wanted: Sequence[int],
    ) -> Tensor:
        agree_near, agree_far = compare_flows(onward, back), compare_flows(back, onward)
        from_near = self._bridge(near, far, onward, agree_near, n_frames)
        from_far = self._bridge(far, near, back, agree_far, n_frames)
        made = []
        for k in wanted:
            t = k / (n_frames + 1)
            path, path_far = from_near[k - 1], from_far[n_frames - k]
            one, view = _bring(path, near.frame, near.features)
            two, view_far = _bring(path_far, far.frame, far.features)
            seen_near, seen_far = warp(agree_near, one.flow), warp(agree_far, two.flow)
            logit = torch.log((1 - t) * (seen_near + AGREEMENT_FLOOR))
            logit = logit - torch.log(t * (seen_far + AGREEMENT_FLOOR))
            trust = torch.cat((logit, seen_near, seen_far), 1)
            clock = fill_plane(view, 1 - t, t, 0.0)
            made.append(self._decode((one, two), (view, view_far), trust, clock))
        return torch.stack(made, 1)

    def _forecast(self, near: _Side, wanted: Sequence[int], latent: Tensor | None) -> Tensor:
        paths = self._extend(near, max(wanted), latent)
        made = []
        for k in wanted:
            one, view = _bring(paths[k - 1], near.frame, near.features)
            behind = one.flow
            if near.flow is not None:
                behind = one.flow + warp(near.flow, one.flow)
            two = _Source(near.previous, near.previous_features, behind, ())
            certain = torch.ones_like(one.flow[:, :1])
            trust = torch.cat((certain * _LAST_FRAME_LOGIT, certain, certain), 1)
            clock = fill_plane(view, 1.0, k / 8, 1.0)
            made.append(self._decode((one, two), (view, torch.zeros_like(view)), trust, clock))
        return torch.stack(made, 1)


def _bring(path: _Path, frame: Tensor, features: Levels) -> tuple[_Source, Tensor]:
    """From the grid of a known frame to that of the frame to be made.

    Returns the source and the view of the state, (B, carried, H/4, W/4).
    """
    flow = invert_path(path.travelled)
    axes = warp(torch.cat(path.axes, 1), flow).split(2, 1)
    quarter = read_size(features[1])
    view = warp(resize(path.view.float(), quarter), rescale_flow(flow, quarter))
    return _Source(frame, features, flow, axes), view


def arrange(model: FramePredictor, device: torch.device) -> FramePredictor:
    """Move a network to a device, its kernels laid out as the convolutions there like them."""
    return model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
