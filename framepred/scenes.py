"""Synthetic scenes whose motion is known: textured layers that move, bend and hide each other.

A layer is a picture with an outline on a plane of its own. Where the plane lies in a frame is an
affine *pose*, one for each frame; a travelling wave bends the picture within the plane. Both have
exact inverses (the wave's by iteration), so the true flow between any two frames follows from the
layer that is seen at each pixel::

    pixel x of frame a --pose--> place q in the plane --wave--> point u of the picture
                                                                  | the same point in frame b
    pixel x + flow of b <--pose-- place q' <--inverse of the wave-+

Made on the device in batches; all choices are drawn on the CPU from one generator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Layer", "Scene", "SceneMaker", "Wave"]

_STEEPEST = 0.12  # slope of a wave: below 1, so that its inverse converges
_INVERSE_STEPS = 5  # each leaves at most that share of the error
_SEEN = 0.5  # opacity from which on a layer hides what is behind it

# How pictures are made.
_DETAIL = 1.5  # texels a pixel of an object: fewer would show in the sampling
_BACK_DETAIL = 2.0  # of the background, before it is enlarged
_PHOTO_SHARE = 0.75  # of the layers, where there are photographs
_COARSEST = 4  # texels a side of a random texture's coarsest octave
_N_HARMONICS = 7  # of a round outline
_N_EDGES = 6  # of a straight one

# How layers move: pixels, radians and logarithms a frame; drawn evenly by their logarithm.
_SPEEDS = (0.3, 9.0)
_PANS = (0.2, 6.0)
_TURNS = (0.003, 0.08)
_GROWTHS = (0.002, 0.025)
_MOST_GROWN = 0.7  # logarithm: layers keep within half to twice their size


@dataclass(frozen=True)
class Wave:
    """How a layer is bent: u = q + amplitude * sin(along . q + phase), in units of its plane."""

    amplitude: Tensor  # (B, 2)
    along: Tensor  # (B, 2)
    phase: Tensor  # (B, T)

    def bend(self, place: Tensor, phase: Tensor) -> Tensor:
        """Where (B, P, 2, H, W) of the plane is in the picture; phase: (B, P)."""
        along = self.along[:, None, :, None, None]
        angle = (place * along).sum(2, keepdim=True) + phase[..., None, None, None]
        return place + self.amplitude[:, None, :, None, None] * angle.sin()

    def straighten(self, point: Tensor, phase: Tensor) -> Tensor:
        """The inverse of ``bend``."""
        place = point
        for _ in range(_INVERSE_STEPS):
            place = point - (self.bend(place, phase) - place)
        return place


@dataclass(frozen=True)
class Layer:
    """One layer of every scene of a batch."""

    picture: Tensor  # (B, 4, S, S) RGB times opacity, opacity; it covers [-1, 1] of the plane
    is_endless: bool  # whether the picture goes on beyond, mirrored; otherwise there is nothing
    to_frame: Tensor  # (B, T, 2, 3) pose: place in the plane -> pixel
    to_plane: Tensor  # (B, T, 2, 3) its inverse
    wave: Wave

    def sample(self, points: Tensor, channels: slice) -> Tensor:
        """The picture at points (B, P, 2, H, W): (B, C, P, H, W)."""
        n_times, height = points.shape[1], points.shape[3]
        grid = points.permute(0, 1, 3, 4, 2).flatten(1, 2)  # (B, P * H, W, 2)
        sampled = F.grid_sample(
            self.picture[:, channels],
            grid,
            padding_mode="reflection" if self.is_endless else "zeros",
            align_corners=False,
        )
        apart: Tensor = sampled.unflatten(2, (n_times, height))
        return apart


@dataclass(frozen=True)
class Scene:
    """A batch of scenes of one size and length.

    layers: from the back to the front. size: height and width in pixels. subframes: how many
    moments a frame is the mean of; the poses hold so many for each frame, the frame's own time in
    the middle. grain: standard deviation of the noise.
    """

    layers: tuple[Layer, ...]
    size: tuple[int, int]
    subframes: int = 1
    grain: Tensor | None = None  # (B, T, 3, H, W)

    def render(self) -> Tensor:
        """The frames, (B, T, 3, H, W) float32 RGB in [0, 1]."""
        frames: Tensor | None = None
        for layer in self.layers:
            seen = layer.sample(self._look(layer, layer.to_plane, layer.wave.phase), slice(None))
            colour, opacity = seen[:, :3], seen[:, 3:]
            frames = colour if frames is None else frames.mul_(1 - opacity).add_(colour)
        assert frames is not None
        if self.subframes > 1:
            frames = frames.unflatten(2, (-1, self.subframes)).mean(3)
        frames = frames.transpose(1, 2)
        if self.grain is not None:
            frames = frames + self.grain
        return frames.clamp(0, 1).contiguous()

    def trace(self, pairs: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """True flows between pairs of frames, and which pixels they hold for.

        pairs: (a, b), for each the flow on the grid of frame a: the point x of a is found in b at
        ``x + flow(x)``. Returns flows (B, P, 2, H, W) float32 in pixels, x first, and (B, P, 1, H,
        W) bool: whether that point is seen in b, neither hidden by another layer nor outside.
        """
        middle = self.subframes // 2
        first, second = (
            [pair[side] * self.subframes + middle for pair in pairs] for side in (0, 1)
        )
        pixels = self._pixels()
        found: list[Tensor] = []  # of each layer: where its points of frame a are in frame b
        top = torch.zeros((), dtype=torch.long, device=pixels.device)
        for index, layer in enumerate(self.layers):
            points = self._look(layer, _take(layer.to_plane, first), _take(layer.wave.phase, first))
            there = layer.wave.straighten(points, _take(layer.wave.phase, second))
            found.append(_apply(_take(layer.to_frame, second), there))
            if index:
                opacity = layer.sample(points, slice(3, 4)).transpose(1, 2)
                top = torch.where(opacity > _SEEN, index, top)
        goal = found[0]
        for index, place in enumerate(found[1:], 1):
            goal = torch.where(top == index, place, goal)
        height, width = self.size
        x, y = goal.split(1, 2)
        is_seen = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        for index, layer in enumerate(self.layers[1:], 1):
            place = _apply(_take(layer.to_plane, second), goal)
            points = layer.wave.bend(place, _take(layer.wave.phase, second))
            opacity = layer.sample(points, slice(3, 4)).transpose(1, 2)
            is_seen &= (opacity <= _SEEN) | (top >= index)
        return goal - pixels, is_seen

    def _pixels(self) -> Tensor:
        """(1, 1, 2, H, W), x first."""
        like = self.layers[0].to_plane
        height, width = self.size
        y = torch.arange(height, device=like.device, dtype=like.dtype)
        x = torch.arange(width, device=like.device, dtype=like.dtype)
        return torch.stack((x.expand(height, width), y[:, None].expand(height, width)))[None, None]

    def _look(self, layer: Layer, pose: Tensor, phase: Tensor) -> Tensor:
        """The layer's point at every pixel, (B, P, 2, H, W); pose and phase: at P moments."""
        # What is linear in the pixel's place is the sum of a row and a column.
        height, width = self.size
        x = torch.arange(width, device=pose.device, dtype=pose.dtype)
        y = torch.arange(height, device=pose.device, dtype=pose.dtype)[:, None]
        turn, shift = pose[..., :2], pose[..., 2]  # (B, P, 2, 2), (B, P, 2)
        along = layer.wave.along[:, None, None, :]
        row = turn[..., 0, None, None] * x
        column = turn[..., 1, None, None] * y + shift[..., None, None]
        swing = (along @ turn)[:, :, 0]  # (B, P, 2): the wave's angle a pixel
        start = phase + (along[:, :, 0] * shift).sum(-1)
        angle = swing[..., 0, None, None] * x + (
            swing[..., 1, None, None] * y + start[..., None, None]
        )
        bent = layer.wave.amplitude[:, None, :, None, None] * angle.sin().unsqueeze(2)
        return bent.add_(row).add_(column)


def _take(series: Tensor, moments: Sequence[int]) -> Tensor:
    """Some moments of (B, T, ...); indexing by a list would copy it to the device, and wait."""
    return torch.stack([series[:, moment] for moment in moments], 1)


def _apply(pose: Tensor, points: Tensor) -> Tensor:
    """Affine maps (B, P, 2, 3) of points (B or 1, P or 1, 2, H, W)."""
    x, y = points[:, :, :1], points[:, :, 1:]
    across, down, shift = (part[..., None, None] for part in pose.unbind(-1))
    return across * x + down * y + shift


class SceneMaker:
    """Draws scenes: how many layers, of what, where, and how all of it moves.

    photographs: clips (T, 3, H, W) uint8, whose frames and cut-outs are what many layers show; may
    be none: there are random textures, too. size: height and width of the frames. generator: all
    choices are drawn from it, on the CPU. Scenes are made on ``device``, where the photographs lie,
    and nothing is asked of it.
    """

    def __init__(
        self,
        photographs: Sequence[Tensor],
        *,
        size: tuple[int, int],
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        self.photographs = photographs
        self.size = size
        self.generator = generator
        self.device = torch.device(device)
        self._measured: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def draw(self, n_scenes: int, times: Sequence[float]) -> Scene:
        """The next scenes, with a frame at each of ``times``; 1 is what one frame usually lasts."""
        dice = _Dice(self.generator, n_scenes)
        n_objects = 1 + dice.pick(4)
        subframes = 3 if dice.chance(0.12) else 1
        middle = (times[0] + times[-1]) / 2
        moments = torch.tensor(times, dtype=torch.float64) - middle
        if subframes > 1:  # the shutter is open for up to the whole frame
            shutter = dice.between(0.3, 1.0) / subframes
            offsets = torch.arange(subframes) - subframes // 2
            moments = (moments[:, None] + shutter * offsets).flatten()
        camera = _Camera.draw(dice, moments)
        layers = [self._draw_background(dice, moments, camera)]
        for _ in range(n_objects):
            layers.append(self._draw_object(dice, moments, camera))
        grain = None
        if dice.chance(0.3):
            strength = self._send(dice.even(0.0, 0.02)).view(-1, 1, 1, 1, 1)
            shape = (n_scenes, len(times), 3, *self.size)
            grain = strength * self._send(torch.randn(shape, generator=self.generator))
        return Scene(tuple(layers), self.size, subframes, grain)

    def _draw_background(self, dice: _Dice, moments: Tensor, camera: _Camera) -> Layer:
        side = max(self.size)
        n_texels = int(_BACK_DETAIL * side)
        extent = side * dice.even(1.0, 1.5)  # of the picture, in its own pixels
        enlarged = dice.even(0.9, 1.5)
        picture = self._draw_pictures(dice, n_texels, extent, extent)
        opaque = torch.cat((picture, torch.ones_like(picture[:, :1])), 1)
        radius = extent * enlarged / 2
        path = _draw_path(dice, moments, still=0.6)
        # Anywhere on the picture will do, which goes on beyond its edges.
        place = torch.stack([dice.even(-0.3, 0.3) * radius for _ in range(2)], -1)
        to_frame = camera.pose(
            self.size, place[:, None] + path, _draw_shape(dice, moments, radius, radius, 0.25), 1.0
        )
        return self._build_layer(opaque, to_frame, _draw_wave(dice, moments, radius), endless=True)

    def _draw_object(self, dice: _Dice, moments: Tensor, camera: _Camera) -> Layer:
        side = min(self.size)
        radius = side * dice.log_even(0.1, 0.55)
        slender = dice.even(0.3, 1.0)
        n_texels = int(_DETAIL * side)
        picture = self._draw_pictures(dice, n_texels, 2 * radius, 2 * radius * slender)
        softness = n_texels / (2 * radius * slender.sqrt())  # of the edge, in texels: one pixel
        softness = softness * torch.where(dice.chances(0.15), dice.even(2.0, 4.0), 1.0)
        opacity = self._draw_outlines(dice, n_texels, softness)
        cut = torch.cat((picture * opacity, opacity), 1)
        path = _draw_path(dice, moments, still=0.25)
        height, width = self.size
        place = torch.stack([dice.even(-0.55, 0.55) * n for n in (width, height)], -1)
        shape = _draw_shape(dice, moments, radius, radius * slender, math.pi)
        to_frame = camera.pose(self.size, place[:, None] + path, shape, dice.between(0.8, 1.8))
        wave = _draw_wave(dice, moments, radius * slender)
        return self._build_layer(cut, to_frame, wave, endless=False)

    def _build_layer(
        self, picture: Tensor, to_frame: Tensor, wave: Wave, *, endless: bool
    ) -> Layer:
        turn = torch.linalg.inv(to_frame[..., :2])
        to_plane = torch.cat((turn, -turn @ to_frame[..., 2:]), -1)
        return Layer(
            picture.contiguous(memory_format=torch.channels_last),
            endless,
            self._send(to_frame),
            self._send(to_plane),
            Wave(*(self._send(part) for part in (wave.amplitude, wave.along, wave.phase))),
        )

    def _draw_pictures(self, dice: _Dice, side: int, across: Tensor, down: Tensor) -> Tensor:
        """(B, 3, side, side) in [0, 1], with the detail of pictures of so many pixels."""
        is_photo = dice.chances(_PHOTO_SHARE if self.photographs else 0.0).tolist()
        pictures: list[Tensor | None] = [None] * dice.n
        for index, (wide, tall) in enumerate(
            zip(across.round().int().tolist(), down.round().int().tolist(), strict=True)
        ):
            if is_photo[index]:
                pictures[index] = self._cut_photograph(dice, side, wide, tall)
        lacking = [index for index, picture in enumerate(pictures) if picture is None]
        if lacking:
            textures = self._draw_textures(dice, side, torch.minimum(across, down)[lacking])
            for index, texture in zip(lacking, textures.split(1), strict=True):
                pictures[index] = texture
        return torch.cat([picture for picture in pictures if picture is not None])

    def _cut_photograph(self, dice: _Dice, side: int, wide: int, tall: int) -> Tensor:
        """A piece of a frame of a clip, as (1, 3, side, side)."""
        clip = self.photographs[dice.pick(len(self.photographs))]
        frame = clip[dice.pick(len(clip))]
        height, width = frame.shape[-2:]
        tall, wide = min(max(tall, 4), height), min(max(wide, 4), width)
        top, left = dice.pick(height - tall + 1), dice.pick(width - wide + 1)
        piece = frame[None, :, top : top + tall, left : left + wide].float() / 255
        resized = F.interpolate(
            piece, size=(side, side), mode="bicubic", align_corners=False, antialias=True
        )
        if dice.chance(0.5):
            resized = resized.flip(-1)
        return resized.clamp(0, 1)

    def _draw_textures(self, dice: _Dice, side: int, detail: Tensor) -> Tensor:
        """Random textures (n, 3, side, side) in [0, 1]: octaves of noise, from cloud to gravel.

        detail: (n,) pixels that a texture will be shown at; what is finer than that stays out.
        """
        n = len(detail)
        rough = dice.even(0.35, 0.95)[:n].float()
        total = torch.zeros(n, 3, 1, 1, device=self.device)
        size, weight = _COARSEST, torch.ones(n)
        while size < side:
            noise = self._send(torch.randn(n, 3, size, size, generator=self.generator))
            grown = F.interpolate(total, size=(size, size), mode="bilinear", align_corners=False)
            # An octave of as many nodes as pixels is as fine as can be shown.
            weight = weight * rough * (size <= detail.clamp_min(_COARSEST))
            total = grown + self._send(weight).view(-1, 1, 1, 1) * noise
            size *= 2
        total = total / total.std((1, 2, 3), keepdim=True)
        total = F.interpolate(total, size=(side, side), mode="bicubic", align_corners=False)
        # Channels go together more or less; some textures have steps, as paint and print do.
        blend = self._send(dice.even(0.0, 0.35)[:n].float()).view(-1, 1, 1, 1)
        total = blend * total + (1 - blend) * total[:, :1]
        steep = self._send(dice.log_even(0.5, 6.0)[:n].float()).view(-1, 1, 1, 1)
        total = (total * steep).tanh() / steep.tanh()
        shades = torch.rand(n, 4, 1, 1, generator=self.generator)
        colour = self._send(0.1 + 0.55 * shades[:, :1] + 0.25 * shades[:, 1:])
        contrast = self._send(dice.log_even(0.04, 0.2)[:n].float()).view(-1, 1, 1, 1)
        return (colour + contrast * total).clamp(0, 1)

    def _draw_outlines(self, dice: _Dice, side: int, softness: Tensor) -> Tensor:
        """Opacities (B, 1, side, side): round shapes with lobes, and convex ones with edges.

        softness: (B,) width of their edges in texels.
        """
        n = dice.n
        x, y, radius, waves = self._rulers(side)
        orders = torch.arange(1, _N_HARMONICS + 1).repeat_interleave(2)
        lobes = torch.randn(n, 2 * _N_HARMONICS, generator=self.generator)
        lobes = lobes * (dice.even(0.05, 0.45).float()[:, None] / orders)
        edge = 0.62 * torch.einsum("bk,khw->bhw", self._send(lobes), waves).exp()
        rounded = edge.clamp(0.12, 0.95) - radius
        # Straight edges at angles all around, each at some distance from the centre.
        angles = torch.rand(n, _N_EDGES, generator=self.generator) * (2 * math.pi)
        apart = 0.35 + 0.45 * torch.rand(n, _N_EDGES, generator=self.generator)
        normals = self._send(torch.stack((angles.cos(), angles.sin()), -1))
        reach = torch.einsum("bk,hw->bkhw", normals[..., 0], x)
        reach = reach.add_(torch.einsum("bk,hw->bkhw", normals[..., 1], y))
        straight = (self._send(apart)[..., None, None] - reach).amin(1)
        straight = torch.minimum(straight, 0.95 - torch.maximum(x.abs(), y.abs()))
        is_straight = self._send(dice.chances(0.35)).view(-1, 1, 1)
        inside = torch.where(is_straight, straight, rounded)
        width = self._send(softness.float() * (2 / side)).view(-1, 1, 1)
        return (0.5 + inside / width).clamp(0, 1).unsqueeze(1)

    def _rulers(self, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x, y and radius (side, side) on [-1, 1], and the waves (n, side, side) of its angle."""
        if self._measured is None:
            places = (torch.arange(side, device=self.device) + 0.5) * (2 / side) - 1
            x, y = places.expand(side, side), places[:, None].expand(side, side)
            angle = torch.atan2(y, x)
            turns = [k * angle for k in range(1, _N_HARMONICS + 1)]
            waves = torch.stack([wave for turn in turns for wave in (turn.cos(), turn.sin())])
            self._measured = (x, y, (x * x + y * y).sqrt(), waves)
        return self._measured

    def _send(self, numbers: Tensor) -> Tensor:
        """To the device in single precision, without waiting for it."""
        numbers = numbers if numbers.dtype == torch.bool else numbers.float()
        if self.device.type == "cuda":
            return numbers.pin_memory().to(self.device, non_blocking=True)
        return numbers.to(self.device)


class _Dice:
    """Random numbers, one for each of ``n`` scenes or one for all."""

    def __init__(self, generator: torch.Generator, n: int) -> None:
        self._generator = generator
        self.n = n

    def even(self, low: float, high: float) -> Tensor:
        """(n,) float64 in [low, high)."""
        drawn = torch.rand(self.n, generator=self._generator, dtype=torch.float64)
        return low + (high - low) * drawn

    def log_even(self, low: float, high: float) -> Tensor:
        """Likewise, small ones as often as large ones by their logarithm."""
        return self.even(math.log(low), math.log(high)).exp()

    def either_way(self, bounds: tuple[float, float], chance: float) -> Tensor:
        """Up or down by something within the bounds, or 0."""
        sign = torch.where(self.chances(0.5), 1.0, -1.0)
        return torch.where(self.chances(chance), sign * self.log_even(*bounds), 0.0)

    def vector(self, bounds: tuple[float, float], chance: float) -> Tensor:
        """(n, 2): in any direction, its length within the bounds, or 0."""
        angle, length = self.even(0, 2 * math.pi), self.either_way(bounds, chance)
        return length[:, None] * torch.stack((angle.cos(), angle.sin()), -1)

    def chances(self, share: float) -> Tensor:
        """(n,) bool, true for such a share."""
        return self.even(0, 1) < share

    def between(self, low: float, high: float) -> float:
        """A number for all."""
        return low + (high - low) * float(torch.rand((), generator=self._generator))

    def chance(self, share: float) -> bool:
        """True for such a share of the calls."""
        return self.between(0, 1) < share

    def pick(self, n: int) -> int:
        """A whole number in [0, n)."""
        return int(torch.randint(n, (), generator=self._generator))

    def wander(self, n: int) -> Tensor:
        """(B, n) float64: smooth noise of about unit variance, for n moments in a row."""
        steps = torch.randn(self.n, n + 2, generator=self._generator, dtype=torch.float64)
        return (steps[:, :-2] + steps[:, 1:-1] + steps[:, 2:]) / math.sqrt(3)


@dataclass(frozen=True)
class _Camera:
    """What moves all layers alike: pan, zoom, roll and the shaking of a hand."""

    pan: Tensor  # (B, T, 2) pixels
    shake: Tensor  # (B, T, 2) pixels
    turn: Tensor  # (B, T, 2, 2) zoom and roll

    @classmethod
    def draw(cls, dice: _Dice, moments: Tensor) -> _Camera:
        speed = dice.vector(_PANS, 0.6)
        pan = _accelerate(dice, speed, moments)
        trembles = torch.where(dice.chances(0.4), dice.log_even(0.1, 1.5), 0.0)[:, None]
        shake = torch.stack([trembles * dice.wander(len(moments)) for _ in range(2)], -1)
        roll = 0.002 * trembles * dice.wander(len(moments))
        roll = roll + dice.either_way((0.001, 0.02), 0.25)[:, None] * moments
        zoom = (dice.either_way((0.002, 0.015), 0.3)[:, None] * moments).clamp(-0.2, 0.2).exp()
        return cls(pan, shake, zoom[..., None, None] * _rotate(roll))

    def pose(self, size: tuple[int, int], place: Tensor, shape: Tensor, parallax: float) -> Tensor:
        """(B, T, 2, 3) from a layer's plane to pixels.

        place: (B, T, 2) of its centre, in pixels from the middle of the picture; shape: (B, T, 2,
        2) from the plane to pixels.
        """
        height, width = size
        middle = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
        centre = (
            self.turn @ place[..., None] + (self.shake + parallax * self.pan + middle)[..., None]
        )
        return torch.cat((self.turn @ shape, centre), -1)


def _rotate(angle: Tensor) -> Tensor:
    """Rotations (..., 2, 2) by angles."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack((torch.stack((cos, -sin), -1), torch.stack((sin, cos), -1)), -2)


def _accelerate(dice: _Dice, speed: Tensor, moments: Tensor) -> Tensor:
    """Where something with such a speed (B, 2) is, (B, T, 2); it gains or loses a share a frame."""
    length = speed.square().sum(-1).sqrt()
    angle = dice.even(0, 2 * math.pi)
    gain = torch.where(dice.chances(0.6), dice.even(0.0, 0.1), 0.0) * length
    push = gain[:, None] * torch.stack((angle.cos(), angle.sin()), -1)
    time = moments[None, :, None]
    return speed[:, None] * time + push[:, None] * (time * time / 2)


def _draw_path(dice: _Dice, moments: Tensor, *, still: float) -> Tensor:
    """How a layer moves by itself, (B, T, 2) pixels: steadily, or swaying, or not at all."""
    path = _accelerate(dice, dice.vector(_SPEEDS, 1 - still), moments)
    sway = dice.vector((0.5, 6.0), 0.35 * (1 - still))
    angle = dice.even(0.15, 0.9)[:, None] * moments + dice.even(0, 2 * math.pi)[:, None]
    return path + sway[:, None] * angle.sin()[..., None]


def _draw_shape(
    dice: _Dice, moments: Tensor, wide: Tensor, tall: Tensor, most_turned: float
) -> Tensor:
    """(B, T, 2, 2) from a layer's plane to pixels: size and angle, and how they change."""
    turning = dice.either_way(_TURNS, 0.4 if most_turned > 1 else 0.15)[:, None]
    turning = turning * (moments + dice.even(-0.05, 0.05)[:, None] * moments.square())
    angle = dice.even(-most_turned, most_turned)[:, None] + turning
    growing = dice.either_way(_GROWTHS, 0.4)[:, None] * moments
    scale = growing.clamp(-_MOST_GROWN, _MOST_GROWN).exp()[..., None, None]
    return scale * _rotate(angle) @ torch.diag_embed(torch.stack((wide, tall), -1))[:, None]


def _draw_wave(dice: _Dice, moments: Tensor, radius: Tensor) -> Wave:
    """A slight bending for half of the layers; radius: pixels of half the plane's side."""
    length = torch.minimum(dice.log_even(40.0, 160.0), 4 * radius) / radius
    direction, across = (dice.even(0, 2 * math.pi) for _ in range(2))
    along = (2 * math.pi / length)[:, None] * torch.stack((direction.cos(), direction.sin()), -1)
    steepest = dice.even(0.0, _STEEPEST) * length / (2 * math.pi)
    most = torch.where(dice.chances(0.5), torch.minimum(steepest, 4.0 / radius), 0.0)
    amplitude = most[:, None] * torch.stack((across.cos(), across.sin()), -1)
    swing = dice.either_way((0.05, 0.5), 0.8)[:, None] * moments
    return Wave(amplitude, along, dice.even(0, 2 * math.pi)[:, None] + swing)
