"""The network: a ConvLSTM encoder-forecaster whose state is motion, decoded into flow and blended.

One network fills gaps and forecasts::

      before            gap            after
    |   |   |   |   .    .    .    |   |   |   |        | = known   . = to be made
    --> --> --> h_b                h_a <-- <-- <--      encoder: reads towards the gap
                h_b -> h1 -> h2 -> h3                   forecaster: one step per frame to be made,
                h3 <- h2 <- h1 <- h_a                   from each side that there is

Every state lives on the grid of the known frame nearest the gap on its side; a forecaster step says
where the points of that frame have gone. Those paths are inverted into backward flows, refined
coarse to fine against features of both sides, and the two warped frames are blended.

Without training the network is already a sound estimator: its last layers start at zero, and what
remains is the parameter-free motion of ``motion.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .motion import (
    AGREEMENT_FLOOR,
    DAMPING_FILL,
    DAMPING_FORECAST,
    compare_flows,
    estimate_flow,
    invert_path,
    lean_on_steady,
    rescale_flow,
    resize,
    steady_speed,
    to_gray,
    trace_curve,
    warp,
)

__all__ = ["ConvLSTMCell", "FramePredictor", "ModelConfig", "arrange"]

State = tuple[Tensor, Tensor]  # hidden state h and cell state c, (B, hidden, H, W) each

_GRID = 8  # pixels: pictures are padded to a multiple of the coarsest grid
_SMALLEST_SIDE = 32  # pixels: below this the flow pyramid has nothing to stand on
# Log-odds, before learning, that a forecast pixel comes from the last frame and not the one before.
_LAST_FRAME_LOGIT = 6.0


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network; stored beside the weights."""

    n_features: tuple[int, int, int] = (24, 48, 64)  # channels at 1/2, 1/4, 1/8 of the resolution
    n_hidden: int = 96  # channels of hidden and of cell state, at 1/8
    n_carried: int = 32  # channels handed from the state to the decoder, and from level to level
    n_coarse: int = 64  # width of the decoder at 1/4
    n_fine: int = 48  # width of the decoder at 1/2


class ConvLSTMCell(nn.Module):
    """LSTM cell whose products are convolutions (Shi et al., 2015, eq. 3, without peepholes).

    i = s(W_xi * x + W_hi * h + b_i)        input gate
    f = s(W_xf * x + W_hf * h + b_f)        forget gate
    o = s(W_xo * x + W_ho * h + b_o)        output gate
    c' = f . c + i . tanh(W_xc * x + W_hc * h + b_c)
    h' = o . tanh(c')

    The input-to-state product is a method of its own, so that all known frames of a sequence go
    through it in one call and only the state-to-state product is left in the loop.
    """

    def __init__(self, n_inputs: int, n_hidden: int) -> None:
        super().__init__()
        self.n_hidden = n_hidden
        self.from_input = nn.Conv2d(n_inputs, 4 * n_hidden, 3, padding=1)
        self.from_hidden = nn.Conv2d(n_hidden, 4 * n_hidden, 3, padding=1, bias=False)
        with torch.no_grad():  # remember by default (Jozefowicz et al., 2015)
            self.from_input.bias[n_hidden : 2 * n_hidden].fill_(1.0)  # type: ignore[index]

    def start(self, like: Tensor) -> State:
        """The zero state for inputs (B, n_inputs, H, W)."""
        zeros = like.new_zeros(like.shape[0], self.n_hidden, *like.shape[-2:])
        return zeros, zeros

    def project(self, inputs: Tensor) -> Tensor:
        """Input-to-state product, (N, n_inputs, H, W) -> (N, 4 * n_hidden, H, W)."""
        projected: Tensor = self.from_input(inputs)
        return projected

    def advance(self, projected: Tensor, state: State) -> State:
        """One step from a projected input (B, 4 * n_hidden, H, W) and the state before it."""
        hidden, cell = state
        gates = projected + self.from_hidden(hidden)
        keep_in, forget, show, candidate = gates.float().chunk(4, 1)
        cell = forget.sigmoid() * cell + keep_in.sigmoid() * candidate.tanh()
        return show.sigmoid() * cell.tanh(), cell

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """(B, n_inputs, H, W) and state -> the new hidden state, and the new state."""
        state = self.advance(self.project(inputs), state)
        return state[0], state


def _conv(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1)
    # Keep the size of the activations from layer to layer (He et al., 2015): with torch's own,
    # smaller start the heads at the end hear next to nothing for thousands of steps.
    nn.init.kaiming_normal_(conv.weight, a=0.1, nonlinearity="leaky_relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(conv, nn.LeakyReLU(0.1, inplace=True))


def _zero_conv(n_in: int, n_out: int) -> nn.Conv2d:
    """A convolution that starts as "no correction"."""
    conv = nn.Conv2d(n_in, n_out, 3, padding=1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


class _Block(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(n_channels, n_channels), nn.Conv2d(n_channels, n_channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.body(x), 0.1)


class _FeaturePyramid(nn.Module):
    """What a frame looks like at 1/2, 1/4 and 1/8; computed once per frame."""

    def __init__(self, sizes: tuple[int, int, int]) -> None:
        super().__init__()
        half, quarter, eighth = sizes
        self.to_half = nn.Sequential(_conv(3, half, 2), _conv(half, half))
        self.to_quarter = nn.Sequential(_conv(half, quarter, 2), _conv(quarter, quarter))
        self.to_eighth = nn.Sequential(_conv(quarter, eighth, 2), _conv(eighth, eighth))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        half = self.to_half(frames - 0.5)
        quarter = self.to_quarter(half)
        return half, quarter, self.to_eighth(quarter)


class _Decoder(nn.Module):
    """One level of refinement: what is seen at the current flows -> corrections."""

    def __init__(self, n_in: int, n_width: int, n_blocks: int, n_corrections: int, n_out: int):
        super().__init__()
        self.body = nn.Sequential(_conv(n_in, n_width), *(_Block(n_width) for _ in range(n_blocks)))
        self.correct = _zero_conv(n_width, n_corrections)
        self.carry = nn.Conv2d(n_width, n_out, 3, padding=1) if n_out else None

    def forward(self, *parts: Tensor) -> tuple[Tensor, Tensor | None]:
        x = self.body(torch.cat(parts, 1))
        carried = None if self.carry is None else self.carry(x)
        return self.correct(x).float(), carried


@dataclass(frozen=True)
class _Side:
    """What is known on one side of the gap, all on the grid of its nearest frame."""

    frame: Tensor  # (B, 3, H, W) the nearest frame
    features: tuple[Tensor, Tensor, Tensor]  # of the nearest frame
    previous: Tensor  # (B, 3, H, W) the frame behind it (the same one if there is no other)
    previous_features: tuple[Tensor, Tensor, Tensor]
    speed: Tensor | None  # (B, 2, H/4, W/4) motion per step towards the gap; None: one frame only
    steady: Tensor | None  # likewise, averaged with the step before; None: fewer than three frames
    to_previous: Tensor  # (B, 2, H/4, W/4) flow from the nearest frame to the one behind it
    state: State  # encoder state after the nearest frame


class FramePredictor(nn.Module):
    """Frames before and after in, the frames between (or beyond) out.

    Any height and width, any number of known frames on either side (at least one in all), any
    number of frames to be made. Deterministic.
    """

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ModelConfig()
        half, quarter, eighth = config.n_features
        hidden, carried = config.n_hidden, config.n_carried
        self.pyramid = _FeaturePyramid(config.n_features)
        # Observed: appearance, how it differs from the motion-compensated last one, speed, flag.
        self.encoder = ConvLSTMCell(2 * eighth + 3, hidden)
        # Given: appearance, mismatch across the gap, agreement, D/T, v, flag, t, T.
        self.forecaster = ConvLSTMCell(2 * eighth + 8, hidden)
        # Per point: damping, curvature (2), change of speed (2), and what the decoder may use.
        self.motion = nn.Sequential(_conv(hidden, hidden), _zero_conv(hidden, 5))
        self.state_view = nn.Conv2d(hidden, carried, 3, padding=1)
        self.coarse = _Decoder(2 * quarter + 2 * carried + 10, config.n_coarse, 3, 5, carried)
        self.fine = _Decoder(2 * half + carried + 8, config.n_fine, 2, 5, carried)
        self.finish = _Decoder(12 * 3 + carried, config.n_fine, 1, 16, 0)

    # ---- reading -----------------------------------------------------------------------------

    def _observe(self, frames: Tensor, size: tuple[int, int]) -> _Side:
        """Run the encoder over one side, in the order towards the gap; frames: (B, T, 3, H, W)."""
        n_batch, n_frames = frames.shape[:2]
        levels = self.pyramid(frames.flatten(0, 1))
        by_time = [level.unflatten(0, (n_batch, n_frames)) for level in levels]
        quarter = (size[0] // 4, size[1] // 4)
        eighth = by_time[2].shape[-2:]

        state = self.encoder.start(by_time[2][:, 0])
        flows: list[Tensor] = []
        if n_frames > 1:
            gray = to_gray(frames)
            with torch.no_grad(), torch.autocast(frames.device.type, enabled=False):
                flow = estimate_flow(
                    gray[:, 1:].flatten(0, 1).float(), gray[:, :-1].flatten(0, 1).float()
                )
            flow = rescale_flow(flow, quarter)
            flows = list(flow.unflatten(0, (n_batch, n_frames - 1)).unbind(1))
        small = [rescale_flow(flow, (eighth[0], eighth[1])) for flow in flows]

        observations = []
        for k in range(n_frames):
            seen = by_time[2][:, k]
            if k == 0:
                change = torch.zeros_like(seen)
                speed = seen.new_zeros(n_batch, 3, *eighth)
            else:
                change = seen - warp(by_time[2][:, k - 1].float(), small[k - 1])
                speed = torch.cat((-small[k - 1], torch.ones_like(small[k - 1][:, :1])), 1)
            observations.append(torch.cat((seen, change, speed), 1))
        projected = self.encoder.project(torch.stack(observations, 1).flatten(0, 1))
        projected = projected.unflatten(0, (n_batch, n_frames))
        for k in range(n_frames):
            if k > 0:  # predict, then correct: the state moves with what it describes
                moved = warp(torch.cat(state, 1), small[k - 1])
                hidden, cell = moved.chunk(2, 1)
                state = (hidden, cell)
            state = self.encoder.advance(projected[:, k], state)

        last, behind = n_frames - 1, max(n_frames - 2, 0)
        to_previous = flows[-1] if flows else frames.new_zeros(n_batch, 2, *quarter)
        return _Side(
            frame=frames[:, last],
            features=(by_time[0][:, last], by_time[1][:, last], by_time[2][:, last]),
            previous=frames[:, behind],
            previous_features=(by_time[0][:, behind], by_time[1][:, behind], by_time[2][:, behind]),
            speed=-to_previous if flows else None,
            steady=steady_speed(-flows[-1], flows[-1], -flows[-2]) if len(flows) > 1 else None,
            to_previous=to_previous,
            state=state,
        )

    # ---- rolling out -------------------------------------------------------------------------

    def _roll_out(
        self,
        near: _Side,
        other: _Side | None,
        across: Tensor | None,
        agreement: Tensor,
        n_steps: int,
    ) -> list[tuple[Tensor, Tensor]]:
        """Unroll the forecaster from one side.

        Returns for each step the displacement (B, 2, H/4, W/4) of the near frame's points since
        that frame, and what the decoder may see of the state (B, carried, H/8, W/8).
        """
        seen = near.features[2]
        grid = (seen.shape[-2], seen.shape[-1])
        n_total = n_steps + 1
        if near.speed is not None:
            speed = near.speed
        elif across is not None:
            speed = across / n_total
        else:
            speed = torch.zeros_like(near.to_previous)
        if other is not None and across is not None:
            small = rescale_flow(across, grid)
            mismatch = seen - warp(other.features[2].float(), small)
            small = small / n_total
        else:
            mismatch = torch.zeros_like(seen)
            small = seen.new_zeros(seen.shape[0], 2, *grid)
        plane = torch.ones_like(seen[:, :1])
        fixed = torch.cat(
            (
                seen,
                mismatch,
                resize(agreement, grid),
                small,
                rescale_flow(speed, grid),
                plane * (1.0 if across is not None else 0.0),
            ),
            1,
        )
        quarter = (speed.shape[-2], speed.shape[-1])
        state = near.state
        steps = []
        steady = speed if near.steady is None else near.steady
        travelled = torch.zeros_like(speed)
        remaining = torch.ones_like(speed[:, :1])  # of the speed
        pushed = torch.zeros_like(speed)
        for k in range(1, n_steps + 1):
            t = k / n_total if across is not None else k / 8
            # A forecast must not depend on how far it will go on.
            length = n_total / 8 if across is not None else 0.0
            clock = torch.cat((plane * t, plane * length), 1)
            hidden, state = self.forecaster(torch.cat((fixed, clock), 1), state)
            learned = resize(self.motion(hidden).float(), quarter)
            damping, curvature, push = learned.split((1, 2, 2), 1)
            if across is not None:
                bend = trace_curve(across, speed, t, n_total, DAMPING_FILL + damping)
                travelled = bend + (curvature * 2 + push) * (n_total * t * (1 - t))
            else:
                factor = DAMPING_FORECAST + 0.25 * damping
                remaining, pushed = remaining * factor, pushed * factor + 0.5 * push
                share = lean_on_steady(k)
                going = remaining * ((1 - share) * speed + share * steady)
                travelled = travelled + going + pushed + 0.5 * curvature
            steps.append((travelled, self.state_view(hidden)))
        return steps

    # ---- decoding ----------------------------------------------------------------------------

    def _decode(
        self,
        frames: tuple[Tensor, Tensor],
        features: tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]],
        flows: Tensor,
        views: tuple[Tensor, Tensor],
        trust: Tensor,
        clock: Tensor,
        *,
        sharp: bool,
    ) -> Tensor:
        """Refine two backward flows and blend the two warped frames.

        frames: the two source pictures (B, 3, H, W); flows: (B, 4, H/4, W/4) from the target to
        each; views: of the states, warped to the target (B, carried, H/4, W/4); trust: log-odds of
        the first source and both agreements (B, 3, H/4, W/4); clock: (B, 3, 1, 1) weight of each
        source and whether this is a forecast. sharp: sample the pictures bicubically, which pays
        where two pictures agree; where one is carried on alone, errors of motion dominate, and the
        blur of bilinear sampling scores better. Returns (B, 3, H, W).
        """
        one, two = frames
        height, width = one.shape[-2:]
        half = (height // 2, width // 2)
        flow, logit = flows, trust[:, :1]

        def look(level: int) -> tuple[Tensor, Tensor]:
            first, second = flow.chunk(2, 1)
            return (
                warp(features[0][level].float(), first),
                warp(features[1][level].float(), second),
            )

        plane = clock.expand(-1, -1, *flow.shape[-2:])
        correction, carried = self.coarse(*look(1), *views, flow / 8, trust, plane)
        flow = flow + correction[:, :4]
        logit = logit + correction[:, 4:]

        assert carried is not None
        flow = rescale_flow(flow.unflatten(1, (2, 2)).flatten(0, 1), half)
        flow = flow.unflatten(0, (-1, 2)).flatten(1, 2)
        logit = resize(logit, half)
        plane = clock.expand(-1, -1, *half)
        correction, carried = self.fine(
            *look(0), resize(carried.float(), half), flow / 8, logit, plane
        )
        flow = flow + correction[:, :4]
        logit = logit + correction[:, 4:]

        assert carried is not None
        full = (height, width)
        first, second = flow.chunk(2, 1)
        left = warp(one, rescale_flow(first, full), sharp=sharp)
        right = warp(two, rescale_flow(second, full), sharp=sharp)
        logit = resize(logit, full)
        share = logit.sigmoid()
        blend = share * left + (1 - share) * right
        last, _ = self.finish(
            F.pixel_unshuffle(torch.cat((left - blend, right - blend, blend - 0.5), 1), 2), carried
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
    ) -> Tensor:
        """Make the frames between ``before`` and ``after``, or beyond the one side that is given.

        before: (B, T, 3, H, W) float32 RGB in [0, 1], in display order, or None.
        after: likewise; with ``before`` None the frames made precede it.
        n_frames: how many frames are missing.
        steps: which of them to make, 1-based (default: all).

        Returns (B, len(steps), 3, H, W) float32, not clamped, in display order.
        """
        if before is None and after is None:
            raise ValueError("a frame on at least one side is needed, got none")
        wanted = list(range(1, n_frames + 1)) if steps is None else list(steps)
        if before is None:
            # What precedes a film is the future of the film run backwards.
            assert after is not None
            mirrored = [n_frames + 1 - k for k in wanted]
            return self.forward(after.flip(1), None, n_frames, steps=mirrored)
        height, width = before.shape[-2:]
        before = _pad(before)
        size = (before.shape[-2], before.shape[-1])
        near = self._observe(before, size)
        if after is not None:
            far = self._observe(_pad(after).flip(1), size)
            made = self._fill(near, far, n_frames, wanted, size)
        else:
            made = self._forecast(near, n_frames, wanted)
        return made[..., :height, :width]

    def _fill(
        self, near: _Side, far: _Side, n_frames: int, wanted: list[int], size: tuple[int, int]
    ) -> Tensor:
        quarter = (size[0] // 4, size[1] // 4)
        gray = to_gray(torch.cat((near.frame, far.frame))).float()
        with torch.no_grad(), torch.autocast(gray.device.type, enabled=False):
            one, two = gray.chunk(2)
            flow = estimate_flow(gray, torch.cat((two, one)))
            onward, back = rescale_flow(flow, quarter).chunk(2)
            agree_near, agree_far = compare_flows(onward, back), compare_flows(back, onward)
        from_near = self._roll_out(near, far, onward, agree_near, n_frames)
        from_far = self._roll_out(far, near, back, agree_far, n_frames)
        made = []
        for k in wanted:
            t = k / (n_frames + 1)
            path, view = from_near[k - 1]
            path_far, view_far = from_far[n_frames - k]
            first, second = invert_path(path), invert_path(path_far)
            seen_near, seen_far = warp(agree_near, first), warp(agree_far, second)
            logit = torch.log((1 - t) * (seen_near + AGREEMENT_FLOOR))
            logit = logit - torch.log(t * (seen_far + AGREEMENT_FLOOR))
            made.append(
                self._decode(
                    (near.frame, far.frame),
                    (near.features, far.features),
                    torch.cat((first, second), 1),
                    (
                        warp(resize(view.float(), quarter), first),
                        warp(resize(view_far.float(), quarter), second),
                    ),
                    torch.cat((logit, seen_near, seen_far), 1),
                    _plane(view, 1 - t, t, 0.0),
                    sharp=True,
                )
            )
        return torch.stack(made, 1)

    def _forecast(self, near: _Side, n_frames: int, wanted: list[int]) -> Tensor:
        quarter = (near.to_previous.shape[-2], near.to_previous.shape[-1])
        unknown = near.to_previous.new_zeros(near.to_previous.shape[0], 1, *quarter)
        rolled = self._roll_out(near, None, None, unknown, max(wanted))
        made = []
        for k in wanted:
            path, view = rolled[k - 1]
            first = invert_path(path)
            second = first + warp(near.to_previous, first)
            seen = warp(resize(view.float(), quarter), first)
            certain = torch.ones_like(first[:, :1])
            made.append(
                self._decode(
                    (near.frame, near.previous),
                    (near.features, near.previous_features),
                    torch.cat((first, second), 1),
                    (seen, torch.zeros_like(seen)),
                    torch.cat((certain * _LAST_FRAME_LOGIT, certain, certain), 1),
                    _plane(view, 1.0, k / 8, 1.0),
                    sharp=False,
                )
            )
        return torch.stack(made, 1)


def arrange(model: FramePredictor, device: torch.device) -> FramePredictor:
    """Move a network to a device, its kernels laid out as the convolutions there like them."""
    return model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _pad(frames: Tensor) -> Tensor:
    """Repeat the border until both sides are a multiple of the coarsest grid, and not too small."""
    height, width = frames.shape[-2:]
    tall = max(_SMALLEST_SIDE, -(-height // _GRID) * _GRID)
    wide = max(_SMALLEST_SIDE, -(-width // _GRID) * _GRID)
    if (tall, wide) == (height, width):
        return frames
    flat = frames.flatten(0, 1)
    padded = F.pad(flat, (0, wide - width, 0, tall - height), mode="replicate")
    unfolded: Tensor = padded.unflatten(0, frames.shape[:2])
    return unfolded


def _plane(like: Tensor, *values: float) -> Tensor:
    """Constants as channels, (B, len(values), 1, 1)."""
    column = torch.tensor(values, device=like.device, dtype=torch.float32).view(1, -1, 1, 1)
    return column.expand(like.shape[0], -1, -1, -1)
