from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scenery import TINY, build_network, film, to_tensor, view
from torch import Tensor

from framepred import baselines, layers, motion, sides
from framepred.grids import choose_scale
from framepred.metrics import psnr
from framepred.model import FramePredictor, ModelConfig, arrange
from framepred.recall import Recall
from framepred.sights import Memory


def clip(n: int, height: int, width: int, **kwargs: object) -> Tensor:
    return to_tensor(film(n, height, width, **kwargs))  # type: ignore[arg-type]


def to_pixels(made: Tensor) -> NDArray[np.uint8]:
    scaled = (made[0].clamp(0, 1) * 255).round().permute(0, 2, 3, 1)
    pixels: NDArray[np.uint8] = scaled.numpy().astype(np.uint8)
    return pixels


@pytest.fixture(scope="module")
def plain() -> FramePredictor:
    """Untrained: the last layers are zero."""
    return build_network()


@pytest.fixture(scope="module")
def stirred() -> FramePredictor:
    """Every weight away from its start, so that every path counts."""
    return build_network(strength=0.03)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


# ---- shapes -----------------------------------------------------------------------------------

SIZES = [(1, 1), (1, 50), (50, 1), (2, 3), (8, 8), (31, 33), (32, 32), (40, 72), (63, 65)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_any_size(stirred: FramePredictor, height: int, width: int) -> None:
    frames = torch.rand(1, 4, 3, height, width, generator=torch.Generator().manual_seed(0))
    for before, after in ((frames[:, :2], frames[:, 2:]), (frames, None), (None, frames)):
        made = stirred(before, after, 2)
        assert made.shape == (1, 2, 3, height, width)
        assert made.dtype == torch.float32
        assert torch.isfinite(made).all()


@pytest.mark.parametrize(("n_before", "n_after"), [(1, 1), (1, 4), (6, 2), (3, 5), (6, 6)])
def test_any_number_of_known_frames(stirred: FramePredictor, n_before: int, n_after: int) -> None:
    frames = clip(n_before + 2 + n_after, 32, 40)
    made = stirred(frames[:, :n_before], frames[:, -n_after:], 2)
    assert made.shape == (1, 2, 3, 32, 40)
    assert torch.isfinite(made).all()
    assert stirred(frames[:, :n_before], None, 2).shape == (1, 2, 3, 32, 40)
    assert stirred(None, frames[:, :n_after], 2).shape == (1, 2, 3, 32, 40)


@pytest.mark.parametrize("n_frames", [1, 2, 3, 8, 20])
def test_any_number_of_frames(stirred: FramePredictor, n_frames: int) -> None:
    frames = clip(4, 32, 32)
    for before, after in ((frames[:, :2], frames[:, 2:]), (frames, None), (None, frames)):
        made = stirred(before, after, n_frames)
        assert made.shape == (1, n_frames, 3, 32, 32)
        assert torch.isfinite(made).all()


def test_a_side_is_needed(plain: FramePredictor) -> None:
    with pytest.raises(ValueError, match="at least one side"):
        plain(None, None, 1)


def test_a_batch_is_its_members(stirred: FramePredictor) -> None:
    one, two = clip(5, 40, 48), clip(5, 40, 48, name="gravel", speed=(-2.0, 1.0))
    both = torch.cat((one, two))
    for known in (lambda x: (x[:, :2], x[:, 3:], 1), lambda x: (x[:, :3], None, 2)):
        together = stirred(*known(both))
        torch.testing.assert_close(together[:1], stirred(*known(one)), rtol=0, atol=1e-4)
        torch.testing.assert_close(together[1:], stirred(*known(two)), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("n_before", "n_after"), [(1, 1), (2, 2), (4, 4), (3, 5)])
def test_both_sides_in_one_batch_are_what_they_are_apart(
    monkeypatch: pytest.MonkeyPatch, stirred: FramePredictor, n_before: int, n_after: int
) -> None:
    frames = clip(n_before + 3 + n_after, 40, 48)
    known = (frames[:, :n_before], frames[:, n_before + 3 :], 3)
    expected = stirred(*known)
    observe, bridge = FramePredictor._observe, FramePredictor._bridge
    batches = []

    def observe_apart(model: FramePredictor, gray: Tensor, seen: Tensor, flows: Any) -> sides.Side:
        batches.append(len(gray))
        halves = zip(gray.split(1), seen.split(1), strict=True)
        found = [
            observe(model, *half, [f[i : i + 1] for f in flows]) for i, half in enumerate(halves)
        ]
        return found[0] if len(found) == 1 else sides.join(*found)

    def bridge_apart(model: FramePredictor, near: Any, other: Any, *given: Any) -> Any:
        batches.append(len(near.seen))
        *tensors, n_frames = given
        halves = [
            bridge(model, take(near, i), take(other, i), *(x[i : i + 1] for x in tensors), n_frames)
            for i in range(2)
        ]
        return list(map(sides.join, *halves))

    def take(side: sides.Side, i: int) -> sides.Side:
        return sides._combine(lambda part: part[i : i + 1], side)

    monkeypatch.setattr(FramePredictor, "_observe", observe_apart)
    monkeypatch.setattr(FramePredictor, "_bridge", bridge_apart)
    torch.testing.assert_close(stirred(*known), expected, rtol=0, atol=1e-5)
    assert batches == ([2, 2] if n_before == n_after else [1, 1, 2])


def test_default_sizes_are_those_of_the_stored_weights() -> None:
    with torch.device("meta"):
        network = FramePredictor()
    assert network.config == ModelConfig()
    assert sum(p.numel() for p in network.parameters()) == 3_079_190


# ---- what is made -----------------------------------------------------------------------------


def test_the_truth_is_never_an_input() -> None:
    assert list(inspect.signature(FramePredictor.forward).parameters) == [
        "self",
        "before",
        "after",
        "n_frames",
        "steps",
        "memory",
        "scale",
        "latent",
    ]


def test_the_past_comes_through_the_state(plain: FramePredictor) -> None:
    frames = film(6, 64, 96, name="chelsea")
    known = to_tensor(frames[:5])
    forgetful = copy.deepcopy(plain)
    forgetful.ablation = frozenset({"state"})
    for n_frames in (1, 3):
        # Without its state the network knows no speed: nothing is left but to hold the frame.
        held, made = (to_pixels(each(known, None, n_frames))[-1] for each in (forgetful, plain))
        assert psnr(frames[4], held) > psnr(frames[4], made) + 5


def test_a_gap_is_judged_by_the_speed_beyond_it(plain: FramePredictor) -> None:
    def look(k: int) -> Tensor:  # ever faster to the right
        return to_tensor(view(96, 128, lambda x, y: (x - k * k / 4, y), name="astronaut")[None])

    given: list[Tensor] = []

    def note(_: object, parts: tuple[Tensor, ...]) -> None:
        given.extend(parts[0].split(1))  # both sides, if they come as one batch

    first = 2 * TINY.n_seen + 6  # of the channels
    hook = plain.forecaster.register_forward_pre_hook(note)
    try:
        for before, after in (([1, 2, 3, 4], [6, 7, 8, 9]), ([4], [6, 7, 8])):
            sides = [torch.cat([look(k) for k in side], 1) for side in (before, after)]
            plain(*sides, 1)
        plain(*sides[:1], None, 1)
    finally:
        hook.remove()

    def take(k: int) -> list[float]:
        return [float(plane.median()) for plane in given[k][0, first : first + 4]]

    # (7 * 7 - 6 * 6) / 4 less (4 * 4 - 3 * 3) / 4 pixels, eight of which are one there.
    assert take(0)[:2] == pytest.approx([0.1875, 0], abs=0.03)
    # Backwards the film comes from the right, faster first: less the same, the other way round.
    assert take(1)[:2] == pytest.approx([0.1875, 0], abs=0.03)
    assert min(take(0)[2], take(1)[2]) > 0.01, "the speed had not been foreseen"
    # One frame alone has no speed: the mean one over the gap stands in, (6 * 6 - 4 * 4) / 8.
    assert take(2)[:2] == pytest.approx([(13 / 4 - 20 / 8) / 8, 0], abs=0.03)
    assert take(3) == [0, 0, 0, 0], "nothing is known behind the only frame of the other side"
    assert take(4) == [0, 0, 0, 0], "a forecast has no other side"


def test_the_forecaster_hears_of_far_places(plain: FramePredictor, stirred: FramePredictor) -> None:
    given = torch.randn(1, 2 * TINY.n_seen + 16 + TINY.n_hidden, 16, 16)
    other = given.clone()
    other[..., 0, 0] += 3
    assert not plain.survey(given).any()  # before it has learnt
    change = (stirred.survey(other) - stirred.survey(given)).abs().amax(1)
    assert change[0, 0, 0] > 0
    assert change[0, 15, 15] > 0


def test_what_is_surveyed_of_the_past_is_the_state(stirred: FramePredictor) -> None:
    surveyed: list[Tensor] = []
    network = copy.deepcopy(stirred)
    network.survey.register_forward_pre_hook(lambda _, parts: surveyed.append(parts[0]))
    frames = clip(6, 64, 80)
    for ablation in ((), ("hidden",)):
        network.ablation = frozenset(ablation)
        network(frames[:, :3], frames[:, 4:], 1)
    known, forgotten = (surveyed[k][:, -TINY.n_hidden :] for k in (0, -1))
    assert known.any()
    assert not forgotten.any()


def test_deterministic(stirred: FramePredictor) -> None:
    frames = clip(6, 40, 48)
    for arguments in ((frames[:, :3], frames[:, 3:], 3), (frames, None, 3)):
        assert torch.equal(stirred(*arguments), stirred(*arguments))


def test_an_observer_sees_the_flows_of_every_frame_made(plain: FramePredictor) -> None:
    speed = (2.0, -1.0)
    frames = to_tensor(film(8, 96, 96, speed=speed))
    network = copy.deepcopy(plain)
    seen: list[Tensor] = []
    network.observer = seen.append
    network(frames[:, :3], frames[:, 5:], 2, steps=[2])
    network(frames[:, :4], None, 3, steps=[1, 3])
    # Frames from the one made to its sources: 2 back and 1 on; 1 and 2 back; 3 and 4 back.
    for flows, steps in zip(seen, ((-2, 1), (-1, -2), (-3, -4)), strict=True):
        assert flows.shape == (1, 4, 48, 48)
        inside = flows[..., 12:-12, 12:-12].mean((0, 2, 3))
        expected = [step * along / 2 for step in steps for along in speed]
        torch.testing.assert_close(inside, torch.tensor(expected), rtol=0.1, atol=0.05)


def test_inputs_are_left_alone(stirred: FramePredictor) -> None:
    frames = clip(6, 32, 32)
    copy = frames.clone()
    stirred(frames[:, :3], frames[:, 3:], 2)
    stirred(None, frames[:, 3:], 2)
    assert torch.equal(frames, copy)


@pytest.mark.parametrize("steps", [[1], [3], [2, 5], [5, 1], [1, 2, 3, 4, 5]])
def test_some_steps_are_a_part_of_all(stirred: FramePredictor, steps: list[int]) -> None:
    frames = clip(6, 40, 48)
    rows = [k - 1 for k in steps]
    whole = stirred(frames[:, :3], frames[:, 3:], 5)
    part = stirred(frames[:, :3], frames[:, 3:], 5, steps=steps)
    torch.testing.assert_close(part, whole[:, rows], rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", [[5], [2, 5], [5, 1], [1, 2, 3, 4, 5]])
def test_some_steps_of_a_forecast_up_to_the_last(stirred: FramePredictor, steps: list[int]) -> None:
    frames = clip(3, 40, 48)
    rows = [k - 1 for k in steps]
    part = stirred(frames, None, 5, steps=steps)
    torch.testing.assert_close(part, stirred(frames, None, 5)[:, rows], rtol=0, atol=1e-5)


def test_a_longer_forecast_begins_like_a_shorter_one(stirred: FramePredictor) -> None:
    frames = clip(3, 40, 48)
    longer, shorter = stirred(frames, None, 6), stirred(frames, None, 2)
    torch.testing.assert_close(longer[:, :2], shorter, rtol=0, atol=1e-5)


def test_backcast_is_the_forecast_of_the_reversed_film(stirred: FramePredictor) -> None:
    frames = clip(4, 40, 48)
    back = stirred(None, frames, 3)
    torch.testing.assert_close(back, stirred(frames.flip(1), None, 3).flip(1), rtol=0, atol=1e-6)
    last_made = stirred(None, frames, 3, steps=[1])  # the one farthest from the known frames
    torch.testing.assert_close(last_made, back[:, :1], rtol=0, atol=1e-5)


def test_futures_are_parts_of_the_forecast(plain: FramePredictor) -> None:
    known = to_tensor(film(4, 64, 96, name="chelsea"))
    whole = plain(known, None, 3)
    drawn = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    futures = [plain(known, None, 3, latent=latent[None]) for latent in drawn]
    assert len({float(future.sum()) for future in futures}) == 40
    errors = [float((future - whole).square().mean()) for future in futures]
    together = float((torch.stack(futures).mean(0) - whole).square().mean())
    # What is drawn scatters around what is said without drawing.
    assert together < 0.25 * sum(errors) / len(errors)
    # Each is one film: what sets its first frame apart sets the later ones apart, and more so.
    for future in futures[:5]:
        apart = (future - whole).square().mean((0, 2, 3, 4))
        assert apart[0] < apart[1] < apart[2]


def test_a_latent_goes_with_its_frames(stirred: FramePredictor) -> None:
    frames, other = clip(3, 40, 48), clip(3, 40, 48, name="coffee")
    latent = torch.tensor([[0.5, -1.0, 0.2, 1.5], [-2.0, 0.3, 1.0, -0.4]])
    both = stirred(torch.cat((frames, other)), None, 2, latent=latent)
    alone = stirred(frames, None, 2, latent=latent[:1])
    torch.testing.assert_close(both[:1], alone, rtol=0, atol=1e-5)
    mirrored = stirred(None, frames.flip(1), 2, latent=latent[:1])
    torch.testing.assert_close(mirrored.flip(1), alone, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="a latent is for forecasts"):
        stirred(frames, other, 2, latent=latent[:1])


def test_a_static_picture_has_one_future(plain: FramePredictor) -> None:
    frames = clip(1, 70, 90).expand(-1, 4, -1, -1, -1)
    for latent in (torch.tensor([[2.0, 2.0, -2.0, 2.0]]), torch.tensor([[-1.0, 0.5, 2.0, 1.0]])):
        assert (plain(frames, None, 5, latent=latent) - frames[:, :1]).abs().max() < 1 / 255


def test_filling_is_symmetric_in_time_before_learning(plain: FramePredictor) -> None:
    frames = clip(9, 48, 56)
    made = plain(frames[:, :3], frames[:, 6:], 3)
    reversed_film = frames.flip(1)
    mirrored = plain(reversed_film[:, :3], reversed_film[:, 6:], 3).flip(1)
    torch.testing.assert_close(made, mirrored, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["grass", "chelsea", "astronaut"])
@pytest.mark.parametrize(("n_before", "n_after"), [(3, 3), (1, 1), (2, 1)])
def test_untrained_filling_is_the_curved_flow(
    plain: FramePredictor, name: str, n_before: int, n_after: int
) -> None:
    frames = film(n_before + 3 + n_after, 64, 96, name=name)
    before, after = frames[:n_before], frames[-n_after:]
    made = to_pixels(plain(to_tensor(before), to_tensor(after), 3))
    expected = baselines.follow_curved_flow(before, after, 3)
    truth = frames[n_before : n_before + 3]
    for k in range(3):
        # The network's flow has half the resolution of the baseline's.
        assert psnr(expected[k], made[k]) > 40
        assert psnr(truth[k], made[k]) > psnr(truth[k], expected[k]) - 0.5


@pytest.mark.parametrize("name", ["grass", "chelsea", "astronaut"])
def test_untrained_forecast_is_constant_velocity_and_its_doubt(
    plain: FramePredictor, name: str
) -> None:
    frames = film(7, 64, 96, name=name)
    known = to_tensor(frames[:4])
    made = to_pixels(plain(known, None, 3))
    gray = motion.to_gray(known[0])
    flows = [motion.estimate_flow(gray[k : k + 1], gray[k - 1 : k]) for k in (3, 2, 1)]

    small = [motion.rescale_flow(flow, (8, 12)) for flow in flows]  # the grid of the state

    def remember(gain: float) -> list[Tensor]:
        """The speed after 1, 2 and 3 steps, each weighed as it arrives."""
        states = [-small[2]]
        for n, flow in ((2, small[1]), (3, small[0])):
            moved = motion.warp(states[-1], flow)
            states.append(moved + max(gain, 1 / n) * (-flow - moved))
        return states

    means = remember(0.8)
    steady, lasting = (
        motion.rescale_flow(states[-1], (32, 48)) for states in (means, remember(0.25))
    )
    change = -flows[0] - lasting
    # How far off the steady speed was, squared: the first time, then half and half.
    first = (-small[1] - motion.warp(means[0], small[1])).square()
    second = (-small[0] - motion.warp(means[1], small[0])).square()
    variance = 0.5 * motion.warp(first, small[0]) + 0.5 * second
    deviation = motion.spread_surprise(variance, (32, 48))
    trust = motion.trust_signal(steady, deviation, motion.CAUTION_FORECAST)
    for k in (1, 2, 3):
        # Straight from the definitions: nine displacements, each inverted on its own.
        centre = trust * motion.carry_forward(-flows[0], k, steady=steady)
        fresh, loss, unforeseen = motion.spread_forecast(k)
        across = deviation * torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
        axes = [fresh * change, loss * steady, unforeseen * across]
        axes.append(unforeseen * (deviation - across))
        points = [centre + s * axis for axis in axes for s in (-1, 1)]
        pictures = [
            motion.warp(
                known[:, -1],
                motion.rescale_flow(motion.invert_path(point), (64, 96)),
                sharp=True,
            )
            for point in (centre, *points)
        ]
        expected = to_pixels(torch.stack(pictures).mean(0, keepdim=True)[:, 0].unsqueeze(1))[0]
        single = baselines.follow_constant_velocity(frames[:4], frames[:0], k)[-1]
        assert psnr(expected, made[k - 1]) > 40
        assert psnr(frames[3 + k], made[k - 1]) > psnr(frames[3 + k], single) - 0.5


def test_more_context_does_not_hurt_on_average(plain: FramePredictor) -> None:
    scores: dict[str, list[float]] = {"fill": [], "forecast": []}
    films = [film(19, 64, 96, name=name) for name in ("chelsea", "grass", "astronaut", "gravel")]
    for n in (1, 2, 4, 8):
        found: dict[str, list[float]] = {"fill": [], "forecast": []}
        for frames in films:
            known, after = to_tensor(frames[8 - n : 8]), to_tensor(frames[11 : 11 + n])
            for task, side in (("fill", after), ("forecast", None)):
                made = to_pixels(plain(known, side, 3))
                found[task] += [psnr(frames[8 + k], made[k]) for k in range(3)]
        for task, values in found.items():
            scores[task].append(float(np.mean(values)))
    for one, two, *more in scores.values():
        assert two > one + 0.5
        assert min(more) > two - 0.02


def test_one_frame_alone_is_held(plain: FramePredictor) -> None:
    frame = clip(1, 40, 56)
    for made in (plain(frame, None, 3), plain(None, frame, 3)):
        torch.testing.assert_close(made, frame.expand_as(made), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["grass", "gravel", "text"])
def test_a_static_picture_stays_static(plain: FramePredictor, name: str) -> None:
    frames = clip(1, 70, 90, name=name).expand(-1, 4, -1, -1, -1)
    for arguments in ((frames, frames, 3), (frames, None, 5)):
        made = plain(*arguments)
        assert (made - frames[:, :1]).abs().max() < 1 / 255


def test_a_static_picture_with_flat_parts_stays_static(plain: FramePredictor) -> None:
    frames = clip(1, 70, 90, name="astronaut").expand(-1, 4, -1, -1, -1)
    made = plain(frames, None, 5)
    assert (made - frames[:, :1]).abs().max() < 1 / 255


def test_a_static_picture_nearly_stays_static(plain: FramePredictor) -> None:
    frames = clip(1, 70, 90, name="astronaut").expand(-1, 4, -1, -1, -1)
    for arguments in ((frames, frames, 3), (frames, None, 5)):
        assert (plain(*arguments) - frames[:, :1]).abs().mean() < 0.25 / 255


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_blank_film_stays_blank(plain: FramePredictor, value: float) -> None:
    frames = torch.full((1, 3, 3, 36, 44), value)
    for arguments in ((frames, frames, 2), (frames, None, 2)):
        made = plain(*arguments)
        torch.testing.assert_close(made, torch.full_like(made, value), rtol=0, atol=1e-5)


def test_a_fade_is_filled_in_between(plain: FramePredictor) -> None:
    dark, bright = torch.full((1, 1, 3, 32, 32), 0.2), torch.full((1, 1, 3, 32, 32), 0.8)
    made = plain(dark, bright, 2)
    assert made[:, 0].mean() == pytest.approx(0.4, abs=0.01)
    assert made[:, 1].mean() == pytest.approx(0.6, abs=0.01)


# ---- learning ---------------------------------------------------------------------------------


@torch.enable_grad()
def test_every_parameter_gets_a_gradient() -> None:
    network = build_network(strength=0.03).train()
    frames = clip(6, 32, 40)
    fill = network(frames[:, :2], frames[:, 4:], 2)
    forecast = network(frames[:, :3], None, 2)
    longer = network(frames[:, :5], None, 1)  # two surprises are averaged, later ones weighed
    (
        (longer - frames[:, 5:]).square().mean()
        + (fill - frames[:, 2:4]).square().mean()
        + (forecast - frames[:, 3:5]).square().mean()
    ).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@torch.enable_grad()
def test_gradient_reaches_every_last_layer_from_the_start() -> None:
    network = build_network().train()
    frames = clip(6, 32, 40)
    (network(frames[:, :2], frames[:, 4:], 2) - frames[:, 2:4]).abs().mean().backward()
    for layer in (
        network.motion[-1],
        network.refinement.coarse.correct,
        network.refinement.fine.correct,
        network.finish.correct,
    ):
        assert layer.weight.abs().max() == 0
        assert layer.weight.grad.abs().max() > 0


def test_layout_does_not_matter(stirred: FramePredictor) -> None:
    frames = clip(6, 40, 48)
    usual = stirred(frames[:, :3], frames[:, 3:], 2)
    arranged = arrange(build_network(strength=0.03), torch.device("cpu"))
    assert arranged.pyramid.to_half[0][0].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(arranged(frames[:, :3], frames[:, 3:], 2), usual, rtol=0, atol=1e-4)


def test_decoders_join_in_the_layout_of_convolutions() -> None:
    def laid_out(n: int) -> Tensor:
        return torch.rand(1, n, 5, 6).contiguous(memory_format=torch.channels_last)

    # A plane alone is in both layouts, and would decide for the other one.
    for parts in (
        (laid_out(4), torch.rand(1, 3, 5, 6), torch.rand(1, 1, 5, 6), laid_out(2)),
        (torch.rand(1, 1, 5, 6), torch.rand(1, 2, 5, 6).expand(-1, -1, 5, 6), laid_out(4)),
    ):
        joined = layers._join(parts)
        assert joined.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(joined, torch.cat(parts, 1))
    plain = (torch.rand(1, 3, 5, 6), torch.rand(1, 1, 5, 6))
    assert layers._join(plain).is_contiguous()


def test_half_precision_is_close(stirred: FramePredictor) -> None:
    frames = clip(6, 40, 48)
    for arguments in ((frames[:, :3], frames[:, 3:], 2), (frames, None, 2)):
        exact = stirred(*arguments)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            coarse = stirred(*arguments)
        assert coarse.dtype == torch.float32
        assert (coarse - exact).abs().mean() < 0.01


def test_config_decides_the_sizes() -> None:
    network = FramePredictor(TINY)
    assert network.encoder.n_hidden == TINY.n_hidden
    assert network.pyramid.to_quarter[1][0].out_channels == TINY.n_features[1]


@pytest.mark.parametrize("cell", ["rnn", "gru+layernorm", "lstm+peepholes+separable+kernel5"])
def test_with_any_cell(cell: str) -> None:
    whole = build_network(config=replace(TINY, cell=cell), strength=0.03)
    before = build_network(config=replace(TINY, cell=cell))
    assert before.ablation == frozenset()
    frames = clip(6, 40, 48)
    for arguments in ((frames[:, :3], frames[:, 4:], 1), (frames[:, :4], None, 2)):
        made = whole(*arguments)
        assert made.shape == (1, arguments[2], 3, 40, 48)
        # Before learning the cell has no say: its gains and corrections start from constants.
        torch.testing.assert_close(before(*arguments), build_network()(*arguments))
        forgetful = copy.deepcopy(whole)
        forgetful.ablation = frozenset({"hidden"})
        assert not torch.equal(forgetful(*arguments), made)


# ---- the arithmetic that stored weights were trained with --------------------------------------


def build_fixed_network() -> FramePredictor:
    """Weights by formula, so that they are the same with every release of torch."""
    network = FramePredictor(TINY).eval()
    for k, parameter in enumerate(network.parameters()):
        index = torch.arange(parameter.numel(), dtype=torch.float64)
        fan_in = max(parameter[0].numel(), 1)
        wave = torch.sin(index * 1.618 + k) * (1.5 / fan_in**0.5)
        parameter.copy_(wave.view(parameter.shape))
    return network


def make_fixed_frames() -> Tensor:
    """(1, 6, 3, 136, 152): waves that slide and turn behind a block that flashes."""
    t, y, x = torch.meshgrid(
        torch.arange(6.0), torch.arange(136.0), torch.arange(152.0), indexing="ij"
    )
    u, v = x - 3.5 * t, y + 1.5 * t + 0.01 * t * x
    planes = [
        0.5 + 0.2 * torch.sin(u / a) * torch.cos(v / b) + 0.2 * torch.sin((u + v) / c)
        for a, b, c in ((5, 7, 3.1), (6, 4, 9.3), (11, 8, 2.3))
    ]
    frames = torch.stack(planes, 1)
    for k in range(6):
        frames[k, :, 50:90, 30 + 9 * k : 70 + 9 * k] = torch.tensor([0.9, 0.1, 0.5])[k % 3]
    return frames.unsqueeze(0)


PLACES = [(10, 10), (40, 100), (68, 76), (52, 66), (130, 145)]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (
            "fill",
            [
                [0.3762, 0.4851, 0.2797, 0.1410, 0.8294],
                [0.5442, 0.4603, 0.0644, 0.1888, 0.6235],
            ],
        ),
        (
            "forecast",
            [
                [0.3499, 0.4017, 0.4469, 0.4964, 0.8122],
                [0.6045, 0.5543, 0.4291, 0.4563, 0.5796],
            ],
        ),
    ],
)
def test_stored_weights_keep_their_meaning(task: str, expected: list[list[float]]) -> None:
    """A change here makes every weights file wrong: then FORMAT must change as well."""
    network, frames = build_fixed_network(), make_fixed_frames()
    if task == "fill":
        made = network(frames[:, :2], frames[:, 4:], 2)
    else:
        made = network(frames[:, :3], None, 2)
    for k in (0, 1):
        found = [float(made[0, k, k, y, x]) for y, x in PLACES]
        assert found == pytest.approx(expected[k], abs=3e-3)


@pytest.mark.parametrize(
    ("task", "state", "sources"),
    [
        (
            "fill",
            [0.0308, 0.3923, -0.2888, -0.0055, 0.1591],
            [0.5231, 1.6028, -0.1630, -0.0450, 0.6974],
        ),
        (
            "forecast",
            [0.0979, 0.5990, -0.2402, -0.0109, 0.1903],
            [0.5321, 1.5965, -0.1627, -0.0450, 0.6937],
        ),
    ],
)
def test_stored_weights_see_what_they_were_trained_to_see(
    task: str, state: list[float], sources: list[float]
) -> None:
    """The forecaster's last state, and the features of the second source at the flow so far."""
    network, frames = build_fixed_network(), make_fixed_frames()
    seen: dict[str, Tensor] = {}
    network.motion.register_forward_pre_hook(lambda _, parts: seen.update(state=parts[0][-1:]))
    network.refinement.coarse.register_forward_pre_hook(
        lambda _, parts: seen.update(sources=parts[1])
    )
    if task == "fill":
        network(frames[:, :2], frames[:, 4:], 2)
    else:
        network(frames[:, :3], None, 2)
    assert seen["state"][0, :5, 8, 9].tolist() == pytest.approx(state, abs=4e-4)
    assert seen["sources"][0, :5, 17, 19].tolist() == pytest.approx(sources, abs=2e-3)


# ---- what is remembered of frames ----------------------------------------------------------------


def count_calls(network: FramePredictor, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Frames through the feature pyramid, and pairs through the flow, from now on."""
    counts = {"frames": 0, "pairs": 0}
    estimate = motion.estimate_flows

    def counted(
        pictures: Tensor, pairs: list[tuple[int, int]], *, n_fine: int
    ) -> tuple[Tensor, Tensor]:
        counts["pairs"] += len(pairs)
        return estimate(pictures, pairs, n_fine=n_fine)

    monkeypatch.setattr("framepred.sights.estimate_flows", counted)
    network.pyramid.register_forward_pre_hook(
        lambda _, parts: counts.update(frames=counts["frames"] + len(parts[0]))
    )
    return counts


def test_memory_changes_nothing_but_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network(strength=0.03)
    frames = clip(9, 40, 48)
    counts = count_calls(network, monkeypatch)
    memory = Memory((), Recall(2**24), Recall(2**24))

    def predict(before: list[int], after: list[int], n: int) -> None:
        known = [frames[:, side] if side else None for side in (before, after)]
        named = replace(memory, names=(*before, *after))
        counts.update(frames=0, pairs=0)
        plain = network(*known, n)
        counts["frames"] = counts["pairs"] = 0
        torch.testing.assert_close(network(*known, n, memory=named), plain, rtol=0, atol=1e-4)

    predict([0, 1, 2], [5, 6, 7], 2)
    assert counts == {"frames": 2, "pairs": 6}  # only the features beside the gap are of use
    predict([0, 1, 2], [5, 6, 7], 1)  # another question about the same frames
    assert counts == {"frames": 0, "pairs": 0}
    predict([1, 2], [6, 7, 8], 1)  # features of 6; flows 2-6, 6-2, 7-8, and 6-7 finer than before
    assert counts == {"frames": 1, "pairs": 4}
    predict([], [5, 6, 7, 8], 2)
    assert counts["frames"] == 0
    predict([0, 1, 2], [], 2)
    assert counts["frames"] == 1  # forecasts look at the frame behind the last as well


# ---- large pictures ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [(64, 64, 1), (272, 480, 1), (539, 960, 1), (540, 960, 2), (720, 1280, 2), (1080, 1920, 4),
     (1920, 1080, 4), (2160, 3840, 8), (4320, 7680, 16)],
)  # fmt: skip
def test_motion_is_found_on_pictures_of_much_the_same_size(
    height: int, width: int, scale: int
) -> None:
    assert choose_scale(height, width) == scale


@pytest.mark.parametrize("name", ["grass", "chelsea", "astronaut"])
def test_a_larger_picture_loses_nothing_beyond_the_scale(plain: FramePredictor, name: str) -> None:
    """Filled four times as large, as near to the truth as filled small and then enlarged.

    Both are shrunk again before they are compared, because enlarging hides errors.
    """

    def enlarge(frames: Tensor) -> Tensor:
        bigger = torch.nn.functional.interpolate(frames[0], scale_factor=4, mode="bicubic")
        return bigger.clamp(0, 1).unsqueeze(0)

    def shrink(frames: Tensor) -> NDArray[np.uint8]:
        return to_pixels(torch.nn.functional.avg_pool2d(frames[0], 4).unsqueeze(0))[0]

    small = clip(7, 72, 96, name=name)
    large = enlarge(small)
    truth = shrink(large[:, 3:4])
    made_small = enlarge(plain(small[:, :3], small[:, 4:], 1))
    made_large = plain(large[:, :3], large[:, 4:], 1, scale=4)
    native = psnr(truth, shrink(made_small))
    assert native > 35
    assert psnr(truth, shrink(made_large)) > native
