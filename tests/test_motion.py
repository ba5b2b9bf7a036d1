from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scenery import to_tensor, view
from scipy import ndimage
from torch import Tensor

from framepred.motion import (
    DAMPING_FORECAST,
    _blur,
    appraise_flow,
    carry_forward,
    compare_flows,
    estimate_flow,
    estimate_flows,
    invert_path,
    spread_forecast,
    spread_surprise,
    steady_speed,
    to_gray,
    trace_curve,
    trust_signal,
)
from framepred.warping import _gather_cubic, rescale_flow, resize, warp

SIZES = [(17, 23), (32, 48), (9, 1), (1, 9), (1, 1), (2, 2)]


def random_tensor(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator) * scale


def sample_by_hand(image: NDArray[np.float64], x: float, y: float) -> float:
    """Bilinear, coordinates held at the border."""
    height, width = image.shape
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    left, top = min(int(x), max(width - 2, 0)), min(int(y), max(height - 2, 0))
    right, below = min(left + 1, width - 1), min(top + 1, height - 1)
    fx, fy = x - left, y - top
    upper = image[top, left] * (1 - fx) + image[top, right] * fx
    lower = image[below, left] * (1 - fx) + image[below, right] * fx
    return float(upper * (1 - fy) + lower * fy)


# ---- sampling ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n_channels", [3, 9])  # many are sampled together
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_warp_is_bilinear_with_held_borders(height: int, width: int, n_channels: int) -> None:
    images = random_tensor(2, n_channels, height, width).to(memory_format=torch.channels_last)
    flow = random_tensor(2, 2, height, width, seed=1, scale=4)
    with torch.no_grad():
        got = warp(images, flow).numpy()
    for b, c, y, x in np.ndindex(2, n_channels, height, width):
        dx, dy = flow[b, 0, y, x], flow[b, 1, y, x]
        expected = sample_by_hand(images[b, c].double().numpy(), x + float(dx), y + float(dy))
        assert got[b, c, y, x] == pytest.approx(expected, abs=2e-4)


def test_warp_agrees_with_scipy() -> None:
    image, flow = random_tensor(1, 1, 40, 31), random_tensor(1, 2, 40, 31, seed=1, scale=6)
    y, x = np.mgrid[0:40, 0:31]
    points = [(y + flow[0, 1].numpy()), (x + flow[0, 0].numpy())]
    expected = ndimage.map_coordinates(
        image[0, 0].numpy().astype(np.float64), points, order=1, mode="nearest"
    )
    np.testing.assert_allclose(warp(image, flow)[0, 0].numpy(), expected, atol=1e-4)


def test_warp_by_whole_pixels_is_a_shift() -> None:
    image = torch.rand(1, 2, 12, 16)
    flow = torch.zeros(1, 2, 12, 16)
    flow[:, 0], flow[:, 1] = 3, -2  # look three to the right and two up
    torch.testing.assert_close(
        warp(image, flow)[..., 2:, :-3], image[..., :-2, 3:], rtol=0, atol=1e-5
    )


def test_warp_by_nothing_changes_next_to_nothing() -> None:
    image = torch.rand(1, 3, 270, 480)
    torch.testing.assert_close(warp(image, torch.zeros(1, 2, 270, 480)), image, rtol=0, atol=1e-4)


def test_warp_stays_within_the_range_of_the_picture() -> None:
    image = torch.rand(1, 1, 20, 20)
    warped = warp(image, random_tensor(1, 2, 20, 20, scale=1e6))
    assert image.min() - 1e-6 <= warped.min() <= warped.max() <= image.max() + 1e-6


def test_warp_has_gradients_for_pictures_and_flow() -> None:
    image = torch.rand(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    # Fractions away from 0: at a pixel centre bilinear sampling has a kink.
    generator = torch.Generator().manual_seed(0)
    flow = (torch.rand(1, 2, 6, 6, generator=generator, dtype=torch.float64) * 0.6 + 0.2) - 1
    torch.autograd.gradcheck(warp, (image, flow.requires_grad_(True)), eps=1e-6, atol=1e-4)


def test_warp_is_the_same_however_pictures_lie_in_memory() -> None:
    images, flow = random_tensor(2, 24, 30, 41), random_tensor(2, 2, 30, 41, seed=1, scale=9)
    flow[0, :, 3, 4] = torch.tensor([math.inf, -math.inf])
    plain = warp(images, flow)
    by_points = images.to(memory_format=torch.channels_last)
    with torch.no_grad():
        warped = warp(by_points, flow)
    torch.testing.assert_close(warped, plain, rtol=0, atol=1e-4)
    assert warped.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(warp(by_points.requires_grad_(True), flow), plain)


@pytest.mark.parametrize("sharp", [False, True])
@pytest.mark.parametrize("height", [2, 29, 64])
def test_a_picture_sampled_in_bands_is_the_same(height: int, sharp: bool) -> None:
    images, flow = random_tensor(1, 3, height, 41), random_tensor(1, 2, height, 41, seed=1, scale=9)
    plain = warp(images, flow, sharp=sharp)  # with gradients in one piece
    n_threads = torch.get_num_threads()
    try:
        for n in (1, 2, 3, 5):
            torch.set_num_threads(n)
            with torch.inference_mode():
                torch.testing.assert_close(
                    warp(images, flow, sharp=sharp), plain, rtol=0, atol=1e-6
                )
    finally:
        torch.set_num_threads(n_threads)


# ---- grids ------------------------------------------------------------------------------------


def test_gray_weighs_the_channels_as_bt601() -> None:
    pixels = torch.eye(3).view(3, 3, 1, 1)
    assert to_gray(pixels).flatten().tolist() == pytest.approx([0.299, 0.587, 0.114])
    assert to_gray(torch.ones(2, 5, 3, 4, 6)).shape == (2, 5, 1, 4, 6)
    torch.testing.assert_close(to_gray(torch.ones(1, 3, 2, 2)), torch.ones(1, 1, 2, 2))


def test_resize_averages_areas_when_shrinking() -> None:
    image = random_tensor(1, 2, 12, 8)
    blocks = image.reshape(1, 2, 3, 4, 2, 4).mean((3, 5))
    torch.testing.assert_close(resize(image, (3, 2)), blocks)
    assert resize(image, (12, 8)) is image


@pytest.mark.parametrize("size", [(24, 16), (12, 20), (7, 16), (13, 5)])
def test_resize_keeps_a_ramp_and_a_constant(size: tuple[int, int]) -> None:
    assert torch.allclose(resize(torch.full((1, 1, 12, 8), 0.3), size), torch.tensor(0.3))
    ramp = torch.arange(8.0).add(0.5).div(8).expand(1, 1, 12, 8)
    expected = torch.arange(float(size[1])).add(0.5).div(size[1])
    got = resize(ramp, size)[0, 0, size[0] // 2]
    inner = slice(2, -2) if size[1] > 5 else slice(1, -1)
    torch.testing.assert_close(got[inner], expected[inner], rtol=0, atol=0.03)


@pytest.mark.parametrize("size", [(8, 12), (32, 48), (5, 7), (64, 11)])
def test_rescaled_flow_points_to_the_same_place(size: tuple[int, int]) -> None:
    flow = torch.zeros(1, 2, 16, 24)
    flow[:, 0], flow[:, 1] = 3, -2
    scaled = rescale_flow(flow, size)
    assert scaled.shape == (1, 2, *size)
    torch.testing.assert_close(scaled[:, 0], torch.full((1, *size), 3 * size[1] / 24))
    torch.testing.assert_close(scaled[:, 1], torch.full((1, *size), -2 * size[0] / 16))


# ---- estimation -------------------------------------------------------------------------------


def estimate_at_full_size(first: NDArray[np.float32], second: NDArray[np.float32]) -> Tensor:
    """Flow in full-resolution pixels, (2, ceil(H/2), ceil(W/2)); a border of a fifth cut away."""
    one, two = (to_gray(to_tensor(picture[None])[0]) for picture in (first, second))
    flow = estimate_flow(one, two)
    height, width = first.shape[:2]
    assert flow.shape == (1, 2, math.ceil(height / 2), math.ceil(width / 2))
    scale = torch.tensor([width / flow.shape[-1], height / flow.shape[-2]]).view(2, 1, 1)
    top, left = flow.shape[-2] // 5, flow.shape[-1] // 5
    return (flow[0] * scale)[:, top : flow.shape[-2] - top, left : flow.shape[-1] - left]


@pytest.mark.parametrize("speed", [(0.5, 0.25), (1.5, -0.7), (-3.3, 2.2), (6.4, -5.1), (0.0, 4.0)])
@pytest.mark.parametrize("size", [(96, 96), (65, 97), (90, 160)])
def test_flow_finds_a_translation(size: tuple[int, int], speed: tuple[float, float]) -> None:
    first = view(*size, lambda x, y: (x, y))
    second = view(*size, lambda x, y: (x - speed[0], y - speed[1]))
    flow = estimate_at_full_size(first, second)
    error = (flow - torch.tensor(speed).view(2, 1, 1)).square().sum(0).sqrt()
    assert flow[0].median() == pytest.approx(speed[0], abs=0.15)
    assert flow[1].median() == pytest.approx(speed[1], abs=0.15)
    assert error.median() < 0.2
    assert error.quantile(0.9) < 0.5


@pytest.mark.parametrize("name", ["chelsea", "grass", "gravel"])
@pytest.mark.parametrize("kind", ["zoom", "rotation"])
def test_flow_finds_zoom_and_rotation(kind: str, name: str) -> None:
    height, width = 97, 120
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2])
    if kind == "zoom":
        matrix = torch.tensor([[1.03, 0.0], [0.0, 1.03]])
    else:
        angle = math.radians(2.0)
        matrix = torch.tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
    back = torch.linalg.inv(matrix).double().numpy()

    def look(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[object, object]:
        u, v = x - float(centre[0]), y - float(centre[1])
        return (
            back[0, 0] * u + back[0, 1] * v + float(centre[0]),
            back[1, 0] * u + back[1, 1] * v + float(centre[1]),
        )

    first, second = (
        view(height, width, lambda x, y: (x, y), name=name),
        view(height, width, look, name=name),
    )
    flow = estimate_at_full_size(first, second)
    # A point p of the first picture moves to matrix @ (p - centre) + centre.
    rows, columns = math.ceil(height / 2), math.ceil(width / 2)
    top, left = rows // 5, columns // 5
    y, x = torch.meshgrid(
        (torch.arange(top, rows - top) + 0.5) * height / rows - 0.5,
        (torch.arange(left, columns - left) + 0.5) * width / columns - 0.5,
        indexing="ij",
    )
    points = torch.stack((x, y)) - centre.view(2, 1, 1)
    truth = torch.einsum("ij,jhw->ihw", matrix - torch.eye(2), points)
    error = (flow - truth).square().sum(0).sqrt()
    assert error.median() < 0.2
    assert error.quantile(0.9) < 0.4


def test_flow_ignores_a_change_of_exposure() -> None:
    first = view(80, 96, lambda x, y: (x, y))
    second = view(80, 96, lambda x, y: (x - 2.5, y + 1)) * 0.7 + 0.1
    flow = estimate_at_full_size(first, second.astype(np.float32))
    assert flow[0].median() == pytest.approx(2.5, abs=0.15)
    assert flow[1].median() == pytest.approx(-1, abs=0.15)


@pytest.mark.parametrize("fine", [True, False])
def test_flow_is_nothing_between_equal_pictures(fine: bool) -> None:
    for name in ("brick", "astronaut", "page"):
        picture = view(90, 120, lambda x, y: (x, y), name=name, corner=(20, 20))
        gray = to_gray(to_tensor(picture[None])[0])
        assert estimate_flow(gray, gray, fine=fine).abs().max() == 0


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_flow_is_nothing_without_texture(value: float) -> None:
    blank = torch.full((1, 1, 48, 64), value)
    assert estimate_flow(blank, blank).abs().max() < 1e-3
    assert estimate_flow(blank, 1 - blank).abs().max() < 1e-3


def test_flow_of_a_batch_is_that_of_its_members() -> None:
    frames = torch.rand(6, 1, 40, 56, generator=torch.Generator().manual_seed(0))
    together = estimate_flow(frames[:3], frames[3:])
    for k in range(3):
        alone = estimate_flow(frames[k : k + 1], frames[3 + k : 4 + k])
        torch.testing.assert_close(together[k : k + 1], alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(40, 56), (7, 5)])
def test_flows_of_many_pairs_are_those_of_each(height: int, width: int) -> None:
    frames = torch.rand(4, 1, height, width, generator=torch.Generator().manual_seed(0))
    pairs = [(2, 0), (0, 2), (3, 2), (1, 0), (2, 1)]
    for n_fine in (0, 2, 5):
        flows = estimate_flows(frames, pairs, n_fine=n_fine)
        assert [len(kind) for kind in flows] == [n_fine, 5 - n_fine]
        for k, (a, b) in enumerate(pairs):
            fine = k < n_fine
            alone = estimate_flow(frames[a : a + 1], frames[b : b + 1], fine=fine)
            found = flows[0][k] if fine else flows[1][k - n_fine]
            torch.testing.assert_close(found, alone[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("height", "width"),
    [(1, 1), (1, 40), (40, 1), (2, 3), (8, 8), (7, 5), (16, 15), (2, 300), (31, 33)],
)
def test_flow_of_any_size(height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 1, 1, height, width, generator=generator)
    flow = estimate_flow(first, second)
    assert flow.shape == (1, 2, math.ceil(height / 2), math.ceil(width / 2))
    assert flow.dtype == torch.float32
    assert torch.isfinite(flow).all()
    assert torch.equal(flow, estimate_flow(first, second))


def test_flow_reaches_an_eighth_of_the_picture() -> None:
    first = view(256, 320, lambda x, y: (x, y), name="astronaut", corner=(60, 60))
    second = view(256, 320, lambda x, y: (x - 38, y + 26), name="astronaut", corner=(60, 60))
    flow = estimate_at_full_size(first, second)
    assert flow[0].median() == pytest.approx(38, abs=0.3)
    assert flow[1].median() == pytest.approx(-26, abs=0.3)


def test_flow_of_a_720p_picture_reaches_far() -> None:
    first = view(360, 640, lambda x, y: (x / 2, y / 2), name="astronaut", corner=(60, 60))
    first = np.repeat(np.repeat(first, 2, 0), 2, 1)
    speed = (44.0, -26.0)
    second = np.roll(first, (int(speed[1]), int(speed[0])), axis=(0, 1))
    flow = estimate_at_full_size(first, second)
    assert flow.shape[0] == 2
    assert flow[0].median() == pytest.approx(speed[0], abs=0.3)
    assert flow[1].median() == pytest.approx(speed[1], abs=0.3)


# ---- agreement, paths -------------------------------------------------------------------------


def test_flows_that_lead_back_agree() -> None:
    onward = torch.zeros(1, 2, 24, 32)
    onward[:, 0], onward[:, 1] = 3.25, -1.5
    torch.testing.assert_close(compare_flows(onward, -onward), torch.ones(1, 1, 24, 32))


def test_a_hidden_surface_does_not_agree() -> None:
    # The right half moves over the left one: what it covers finds no way back.
    onward, back = torch.zeros(1, 2, 24, 48), torch.zeros(1, 2, 24, 48)
    onward[:, 0, :, 24:] = -8
    back[:, 0, :, 16:40] = 8
    agreement = compare_flows(onward, back)[0, 0]
    assert agreement[:, 16:23].max() < 1e-3  # the strip that gets covered
    assert agreement[:, :15].min() > 0.999
    assert agreement[:, 25:].min() > 0.999


def test_an_appraisal_says_what_is_there() -> None:
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
    first = (0.02 * columns + 0.01 * rows).expand(1, 1, 16, 24)
    flow = torch.zeros(1, 2, 16, 24)
    flow[:, 0] = 2.0
    second = first - 0.04 + 0.003  # what moves right by two also grows brighter
    flow[:, 1, :, ::2] = 1.0  # and downwards every second column does as well
    second_there = second.clone()
    left, slope, rough = appraise_flow(first, second_there, flow, (4, 6))[0]
    inner = slice(1, -1)
    # Half of the columns look one row too far down: 0.01 too bright.
    expected = 10 * (0.003 + 0.013) / 2
    torch.testing.assert_close(left[inner, inner], torch.full((2, 4), expected))
    torch.testing.assert_close(
        slope[inner, inner], torch.full((2, 4), 10 * math.hypot(0.02, 0.01)), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(rough, torch.full((4, 6), 0.5 / 4))  # of a coarse cell


def test_agreement_is_the_formula() -> None:
    onward, back = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    onward[:, 0], back[:, 0] = 3, -2  # one pixel off after a motion of three
    expected = math.exp(-1 / (0.5 + 0.02 * 9))
    torch.testing.assert_close(compare_flows(onward, back), torch.full((1, 1, 4, 4), expected))


def make_smooth_path(height: int, width: int, size: float) -> Tensor:
    y, x = torch.meshgrid(
        torch.linspace(0, math.pi, height), torch.linspace(0, math.pi, width), indexing="ij"
    )
    # Nothing moves at the border, so that no path leaves the picture.
    bump = (x.sin() * y.sin()).square()
    return torch.stack((bump * size, -bump * size / 2)).unsqueeze(0)


def test_an_inverted_path_leads_back() -> None:
    path = make_smooth_path(48, 64, 5.0)
    back = invert_path(path, n_iterations=30)
    # u(y) = -d(y + u(y)): the definition, checked by independent sampling.
    y, x = np.mgrid[0:48, 0:64]
    points = [y + back[0, 1].numpy(), x + back[0, 0].numpy()]
    for channel in (0, 1):
        found = ndimage.map_coordinates(path[0, channel].numpy(), points, order=1, mode="nearest")
        np.testing.assert_allclose(back[0, channel].numpy(), -found, atol=1e-3)


def test_inverting_twice_gives_the_path_back() -> None:
    path = make_smooth_path(48, 64, 4.0)
    torch.testing.assert_close(invert_path(invert_path(path, 20), 20), path, rtol=0, atol=0.05)


def test_three_iterations_are_enough_for_smooth_motion() -> None:
    path = make_smooth_path(48, 64, 5.0)
    torch.testing.assert_close(invert_path(path), invert_path(path, 30), rtol=0, atol=0.15)


def test_an_inverted_translation_is_exact() -> None:
    path = torch.full((1, 2, 8, 8), 2.5)
    torch.testing.assert_close(invert_path(path), -path)


def test_curve_through_a_steady_motion_is_straight() -> None:
    across = torch.full((1, 2, 4, 4), 6.0)
    for k in (1, 2):
        for damping in (0.0, 0.75, 1.0):
            place = trace_curve(across, across / 3, k / 3, 3, damping)
            torch.testing.assert_close(place, across * k / 3)


def test_curve_meets_both_ends_and_the_speed() -> None:
    across, speed = torch.tensor([[[[8.0]], [[-4.0]]]]), torch.tensor([[[[5.0]], [[1.0]]]])
    n_steps = 4
    assert torch.equal(trace_curve(across, speed, 0.0, n_steps, 1.0), torch.zeros_like(across))
    torch.testing.assert_close(trace_curve(across, speed, 1.0, n_steps, 1.0), across)
    tiny = 1e-3  # with damping 1 the curve leaves with the speed measured beside the gap
    slope = trace_curve(across, speed, tiny, n_steps, 1.0) / tiny / n_steps
    torch.testing.assert_close(slope, speed, rtol=0, atol=0.01)
    torch.testing.assert_close(
        trace_curve(across, speed, 0.5, n_steps, 0.0), across / 2
    )  # damping 0: straight
    per_pixel = torch.full((1, 1, 1, 1), 0.5)
    torch.testing.assert_close(
        trace_curve(across, speed, 0.25, n_steps, per_pixel),
        across * 0.25 + 0.5 * (speed * 4 - across) * 0.1875,
    )


@pytest.mark.parametrize("k", [1, 2, 5, 20])
@pytest.mark.parametrize("damping", [1.0, DAMPING_FORECAST, 0.5])
def test_speed_dies_down_geometrically(k: int, damping: float) -> None:
    speed = random_tensor(1, 2, 3, 3)
    expected = speed * sum(damping**i for i in range(1, k + 1))
    torch.testing.assert_close(carry_forward(speed, k, damping), expected)
    per_pixel = torch.full((1, 1, 3, 3), damping)
    torch.testing.assert_close(carry_forward(speed, k, per_pixel), expected)


def test_sharp_warp_is_bicubic_sampling_by_torch_and_by_hand() -> None:
    """torch's own sampler is the oracle of the one that serves where it does not exist."""
    generator = torch.Generator().manual_seed(3)
    picture = torch.rand(2, 3, 20, 30, generator=generator)
    flow = 5 * torch.randn(2, 2, 20, 30, generator=generator)
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    points = torch.stack((x, y)) + flow
    points = torch.stack((points[:, 0].clamp(0, 29), points[:, 1].clamp(0, 19)), 1)
    grid = (points / torch.tensor([29.0, 19.0]).view(1, 2, 1, 1) * 2 - 1).permute(0, 2, 3, 1)
    oracle = F.grid_sample(picture, grid, mode="bicubic", padding_mode="border", align_corners=True)
    padded = F.pad(picture, (2, 2, 2, 2), mode="replicate")
    torch.testing.assert_close(warp(picture, flow, sharp=True), oracle, rtol=0, atol=2e-5)
    torch.testing.assert_close(_gather_cubic(padded, points + 2), oracle, rtol=0, atol=2e-5)


def test_what_is_equal_does_not_move() -> None:
    """A caption over a moving scene: its inside is the same picture and must stay."""
    generator = torch.Generator().manual_seed(5)
    scene = F.interpolate(torch.rand(1, 1, 20, 30, generator=generator), scale_factor=4)
    first, second = scene.clone(), scene.roll(3, dims=-1)
    first[..., 20:60, 30:90] = second[..., 20:60, 30:90] = 0.5
    flow = estimate_flow(first, second)
    assert float(flow[..., 13:27, 18:42].abs().max()) == 0.0
    assert float(flow[:, 0, 35:, 5:50].median()) == pytest.approx(1.5, abs=0.3)


def test_a_steadied_forecast_begins_with_the_last_speed_and_ends_with_the_steady_one() -> None:
    last = torch.full((1, 2, 4, 5), 3.0)
    steady = torch.full((1, 2, 4, 5), 1.5)
    first = carry_forward(last, 1, 1.0, steady=steady)
    later = carry_forward(last, 9, 1.0, steady=steady) - carry_forward(last, 8, 1.0, steady=steady)
    torch.testing.assert_close(first, last)
    torch.testing.assert_close(later, steady)


def test_steady_speed_averages_two_steps_of_the_same_point() -> None:
    """A point that moved by 1 and then by 4 pixels; the speed before is found where it was."""
    speed = torch.zeros(1, 2, 20, 40)
    speed[:, 0] = 4
    before = torch.zeros(1, 2, 20, 40)
    before[:, 0, :, 16:] = 100  # what the point did not pass through
    before[:, 0, :, :16] = 1
    steady = steady_speed(speed, -speed, before)
    assert float(steady[0, 0, 10, 12]) == pytest.approx((2 * 4 + 1) / 3)


# ---- how far a speed can be trusted ------------------------------------------------------------


def test_trust_is_the_best_gain_for_a_noisy_signal() -> None:
    """Of all gains Wiener's leaves the smallest error; found here by trying them."""
    generator = torch.Generator().manual_seed(3)
    signal = torch.tensor([1.5, -0.5]).view(1, 2, 1, 1).expand(1, 2, 60, 60)
    noise = 0.8
    seen = signal + noise * torch.randn(1, 2, 60, 60, generator=generator)
    gains = torch.linspace(0, 1, 101)
    errors = torch.stack([(gain * seen - signal).square().mean() for gain in gains])
    best = float(gains[errors.argmin()])
    trust = trust_signal(signal, torch.full((1, 2, 60, 60), noise), 1.0)
    assert trust.shape == (1, 1, 60, 60)
    assert float(trust.mean()) == pytest.approx(best, abs=0.02)


def test_trust_without_noise_and_without_signal() -> None:
    speed, nothing = torch.full((1, 2, 9, 9), 2.0), torch.zeros(1, 2, 9, 9)
    assert trust_signal(speed, nothing, 0.5).min() > 0.999
    assert trust_signal(nothing, speed, 0.5).abs().max() == 0


def test_surprise_is_a_deviation_in_pixels_of_the_finer_grid() -> None:
    variance = torch.tensor([0.25, 4.0]).view(1, 2, 1, 1).expand(1, 2, 6, 8)
    deviation = spread_surprise(variance, (24, 32))
    assert deviation.shape == (1, 2, 24, 32)
    torch.testing.assert_close(deviation[0, :, 5, 7], torch.tensor([0.5 * 4, 2.0 * 4]))


@torch.enable_grad()
def test_no_surprise_has_a_finite_gradient() -> None:
    variance = torch.zeros(1, 2, 6, 8, requires_grad=True)
    spread_surprise(variance, (24, 32)).sum().backward()
    assert variance.grad is not None
    assert variance.grad.isfinite().all()


def test_a_forecast_is_less_certain_with_every_step() -> None:
    spreads = [spread_forecast(k) for k in range(1, 12)]
    for earlier, later in pairwise(spreads):
        assert all(a < b for a, b in zip(earlier, later, strict=True))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n_channels", [1, 2, 5])
@pytest.mark.parametrize("window", [3, 5, 9])
def test_blur_is_the_mean_of_the_pixels_inside(
    size: tuple[int, int], n_channels: int, window: int
) -> None:
    images = random_tensor(2, n_channels, *size)
    expected = F.avg_pool2d(images, window, 1, window // 2, count_include_pad=False)
    torch.testing.assert_close(_blur(images, window), expected, rtol=0, atol=1e-5)
    images.requires_grad_()  # another way then
    torch.testing.assert_close(_blur(images, window), expected, rtol=0, atol=1e-5)


def test_halving_is_the_mean_of_four() -> None:
    images = random_tensor(2, 3, 12, 8)
    expected = images.unflatten(2, (6, 2)).unflatten(4, (4, 2)).mean((3, 5))
    torch.testing.assert_close(resize(images, (6, 4)), expected)
    torch.testing.assert_close(resize(images.requires_grad_(), (6, 4)), expected)
