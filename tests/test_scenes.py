from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scenery import load_picture
from scipy import ndimage
from torch import Tensor

from framepred.motion import estimate_flow, to_gray
from framepred.scenes import Layer, Scene, SceneMaker, Wave
from framepred.warping import rescale_flow, warp

Map = NDArray[np.float64]
STEP_BACK, STEP_ON = (3, 2), (3, 4)


def make_maker(side: int = 96, *, seed: int = 0, photos: bool = True) -> SceneMaker:
    photographs = [
        torch.from_numpy(load_picture(name)[:240, :240] * 255).byte().permute(2, 0, 1)[None]
        for name in ("chelsea", "coffee", "rocket", "grass")
    ]
    return SceneMaker(
        photographs if photos else [],
        size=(side, side),
        generator=torch.Generator().manual_seed(seed),
    )


def sharpen(scene: Scene) -> Scene:
    """The scene without motion blur and noise, which no flow undoes."""
    middle, step = scene.subframes // 2, scene.subframes
    layers = tuple(
        replace(
            layer,
            to_frame=layer.to_frame[:, middle::step],
            to_plane=layer.to_plane[:, middle::step],
            wave=replace(layer.wave, phase=layer.wave.phase[:, middle::step]),
        )
        for layer in scene.layers
    )
    return replace(scene, layers=layers, subframes=1, grain=None)


def shrink(is_true: Tensor, pixels: int) -> Tensor:
    """What is true of a pixel and all around it: (B, 1, H, W) as 0 or 1."""
    return 1 - F.max_pool2d(1 - is_true.float(), 2 * pixels + 1, 1, pixels)


def average(values: Tensor, where: Tensor) -> float:
    return float((values * where).sum() / where.sum())


# ---- against plain arithmetic -----------------------------------------------------------------


class PlainLayer:
    """One layer of one scene, a pixel at a time in double precision."""

    def __init__(self, layer: Layer, scene: int) -> None:
        self.picture = layer.picture[scene].double().numpy()
        self.is_endless = layer.is_endless
        self.to_frame = layer.to_frame[scene].double().numpy()
        self.amplitude, self.along, self.phase = (
            part[scene].double().numpy()
            for part in (layer.wave.amplitude, layer.wave.along, layer.wave.phase)
        )

    def find(self, moment: int, x: float, y: float) -> Map:
        """The point of the picture that a pixel shows."""
        pose = self.to_frame[moment]
        place = np.linalg.solve(pose[:, :2], np.array([x, y]) - pose[:, 2])
        angle = float(self.along @ place) + self.phase[moment]
        return place + self.amplitude * math.sin(angle)

    def read(self, point: Map) -> Map:
        """RGB times opacity, opacity."""
        side = self.picture.shape[-1]
        column, row = (point + 1) * side / 2 - 0.5
        mode = "grid-mirror" if self.is_endless else "grid-constant"
        where = [[row], [column]]
        planes = (ndimage.map_coordinates(p, where, order=1, mode=mode) for p in self.picture)
        return np.array([plane[0] for plane in planes])


def render_plainly(layers: list[PlainLayer], moment: int, x: int, y: int) -> Map:
    colour = np.zeros(3)
    for layer in layers:
        seen = layer.read(layer.find(moment, x, y))
        colour = colour * (1 - seen[3]) + seen[:3]
    return colour.clip(0, 1)


def find_top(layers: list[PlainLayer], moment: int, x: float, y: float) -> tuple[int, list[float]]:
    opacities = [layer.read(layer.find(moment, x, y))[3] for layer in layers]
    return max(i for i, opacity in enumerate(opacities) if opacity > 0.5), opacities


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pixels_and_flows_are_those_of_a_plain_renderer(seed: int) -> None:
    maker = make_maker(40, seed=seed)
    while len((scene := sharpen(maker.draw(2, range(6)))).layers) < 4:
        pass
    frames = scene.render().double().numpy()
    flows, seen = scene.trace([(4, 1), (1, 4)])
    rng = np.random.default_rng(seed)
    n_hidden = 0
    for which in (0, 1):
        layers = [PlainLayer(layer, which) for layer in scene.layers]
        for x, y in rng.integers(0, 40, (60, 2)):
            plain = render_plainly(layers, 4, x, y)
            np.testing.assert_allclose(frames[which, 4, :, y, x], plain, atol=2e-3)
            for pair, (a, b) in enumerate([(4, 1), (1, 4)]):
                top, opacities = find_top(layers, a, x, y)
                if any(0.45 < opacity < 0.55 for opacity in opacities):
                    continue
                goal = np.array([x, y]) + flows[which, pair, :, y, x].double().numpy()
                # The same point of the picture, by the way from pixel to picture alone.
                here, there = layers[top].find(a, x, y), layers[top].find(b, *goal)
                np.testing.assert_allclose(here, there, atol=2e-4)
                is_inside = bool((goal >= 0).all() and (goal <= 39).all())
                fronts = [layer.read(layer.find(b, *goal))[3] for layer in layers[top + 1 :]]
                if any(0.45 < front < 0.55 for front in fronts):
                    continue
                is_seen = is_inside and not any(front > 0.5 for front in fronts)
                assert bool(seen[which, pair, 0, y, x]) == is_seen
                n_hidden += is_inside and not is_seen
    assert n_hidden > 0


def build_square(side: int, positions: list[tuple[float, float]], half: float) -> Scene:
    """An opaque square before a still random background, no bending."""
    torch.manual_seed(0)
    n_times = len(positions)
    still = Wave(torch.zeros(1, 2), torch.ones(1, 2), torch.zeros(1, n_times))

    def layer(picture: Tensor, radius: float, places: list[tuple[float, float]]) -> Layer:
        pose = torch.zeros(1, n_times, 2, 3)
        pose[..., 0, 0] = pose[..., 1, 1] = radius
        pose[0, :, :, 2] = torch.tensor(places)
        back = pose.clone()
        back[..., 0, 0] = back[..., 1, 1] = 1 / radius
        back[..., 2] = -pose[..., 2] / radius
        return Layer(picture, radius > half, pose, back, still)

    ground = torch.cat(
        (torch.rand(1, 3, 2 * side, 2 * side), torch.ones(1, 1, 2 * side, 2 * side)), 1
    )
    middle = (side - 1) / 2
    return Scene(
        (
            layer(ground, side / 2, [(middle, middle)] * n_times),
            layer(torch.ones(1, 4, 64, 64), half, positions),
        ),
        (side, side),
    )


def test_a_square_before_a_wall() -> None:
    # Edges between pixels: the square covers columns 6 to 13, then 9 to 16; rows 10 to 17.
    scene = build_square(32, [(9.5, 13.5), (12.5, 13.5)], 4.0)
    frames = scene.render()
    white = (frames == 1).all(2)[0]
    assert white[0, 10:18, 6:14].all()
    assert white[1, 10:18, 9:17].all()
    assert int(white.sum()) == 2 * 64
    flows, seen = scene.trace([(0, 1), (1, 0)])
    for k, (first, step) in enumerate(((6, 3.0), (9, -3.0))):
        expected = torch.zeros(2, 32, 32)
        expected[0, 10:18, first : first + 8] = step
        torch.testing.assert_close(flows[0, k], expected, atol=1e-4, rtol=0)
    hidden = torch.zeros(2, 32, 32, dtype=torch.bool)
    hidden[0, 10:18, 14:17] = True  # the square is about to come over them
    hidden[1, 10:18, 6:9] = True  # it came from there
    assert torch.equal(~seen[0, :, 0], hidden)


def test_points_that_leave_the_picture_are_not_seen() -> None:
    scene = build_square(32, [(4.5, 13.5), (-1.5, 13.5)], 4.0)
    flows, seen = scene.trace([(0, 1)])
    assert flows[0, 0, 0, 13, 3] == pytest.approx(-6.0, abs=1e-4)
    assert not seen[0, 0, 0, 10:18, 1:6].any()
    assert seen[0, 0, 0, 10:18, 6:9].all()


# ---- what the flow is good for ----------------------------------------------------------------


@pytest.mark.parametrize("photos", [True, False])
def test_the_true_flow_takes_one_frame_to_the_next(photos: bool) -> None:
    maker = make_maker(photos=photos)
    errors, chance = [], []
    for _ in range(4):
        scene = sharpen(maker.draw(4, range(6)))
        frames = scene.render()
        flows, seen = scene.trace([STEP_BACK, STEP_ON])
        for k, (a, b) in enumerate((STEP_BACK, STEP_ON)):
            made = warp(frames[:, b], flows[:, k], sharp=True)
            error = (made - frames[:, a]).abs().mean(1, keepdim=True)
            # At outlines a pixel shows two layers, which no one flow can take along.
            clear = shrink(seen[:, k], 3)
            errors.append(average(error, clear))
            still = (frames[:, b] - frames[:, a]).abs().mean(1, keepdim=True)
            chance.append(average(still, clear))
    assert max(errors) < 0.012
    assert np.mean(errors) < 0.2 * np.mean(chance)


def test_flows_there_and_back_agree_where_both_are_seen() -> None:
    scene = make_maker(seed=5).draw(6, range(8))
    flows, seen = scene.trace([(2, 6), (6, 2)])
    there_and_back = flows[:, 0] + warp(flows[:, 1], flows[:, 0])
    both = seen[:, 0] & (warp(seen[:, 1].float(), flows[:, 0]) == 1)
    gap = there_and_back.square().sum(1, keepdim=True).sqrt()
    assert average((gap < 0.05).float(), shrink(both, 2)) > 0.98


def test_estimated_flow_is_near_the_true_one(record_property: pytest.RecordProperty) -> None:
    maker = make_maker(128, seed=2)
    apart = []
    for _ in range(4):
        scene = sharpen(maker.draw(4, range(6)))
        frames = to_gray(scene.render())
        flows, seen = scene.trace([STEP_BACK])
        found = rescale_flow(estimate_flow(frames[:, 3], frames[:, 2]), (128, 128))
        error = (found - flows[:, 0]).square().sum(1, keepdim=True).sqrt()
        apart.append(error[seen[:, 0]])
    errors = torch.cat(apart)
    record_property("endpoint error, mean", float(errors.mean()))
    assert float(errors.median()) < 0.2
    assert float(errors.mean()) < 1.0


# ---- drawing ----------------------------------------------------------------------------------


def test_what_is_drawn() -> None:
    maker = make_maker(64)
    counts, speeds, hidden = set(), [], []
    for _ in range(8):
        scene = maker.draw(3, range(4))
        frames = scene.render()
        assert frames.shape == (3, 4, 3, 64, 64)
        assert frames.dtype == torch.float32
        assert frames.is_contiguous()
        assert 0 <= float(frames.min()) <= float(frames.max()) <= 1
        flows, seen = scene.trace([(2, 1)])
        assert flows.shape == (3, 1, 2, 64, 64)
        assert (seen.shape, seen.dtype) == ((3, 1, 1, 64, 64), torch.bool)
        counts.add(len(scene.layers))
        speeds += flows.square().sum(2).sqrt().flatten(1).median(1).values.tolist()
        hidden.append(float((~seen).float().mean()))
    assert len(counts) > 1
    assert min(speeds) < 0.5
    assert max(speeds) > 3
    assert 0.005 < np.mean(hidden) < 0.3


def test_the_generator_decides_everything() -> None:
    one, other = make_maker(48, seed=4), make_maker(48, seed=4)
    for maker in (one, other):
        maker.draw(2, range(3))
    state = one.generator.get_state()
    first, again = one.draw(2, range(3)), other.draw(2, range(3))
    assert torch.equal(first.render(), again.render())
    one.generator.set_state(state)
    assert torch.equal(first.render(), one.draw(2, range(3)).render())
    assert not torch.equal(first.render(), one.draw(2, range(3)).render())


def test_blurred_and_grainy_scenes_keep_the_flow() -> None:
    maker = make_maker(48, seed=6)
    scenes = [maker.draw(2, range(3)) for _ in range(40)]
    blurred = next(scene for scene in scenes if scene.subframes > 1)
    grainy = next(scene for scene in scenes if scene.grain is not None)
    for scene in (blurred, grainy):
        plain = sharpen(scene)
        for one, other in zip(scene.trace([(1, 0)]), plain.trace([(1, 0)]), strict=True):
            assert torch.equal(one, other)
        # The frame is much the same, and not quite.
        difference = (scene.render() - plain.render()).abs().mean()
        assert 0 < float(difference) < 0.05
