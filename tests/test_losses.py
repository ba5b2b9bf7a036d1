from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import typer
from numpy.typing import NDArray
from scenery import build_network, film, to_tensor
from scipy import stats
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from framepred.clips import Batch, Situation
from framepred.learner import Learner, TrainConfig
from framepred.losses import (
    LOSSES,
    compute_bce,
    compute_census,
    compute_charbonnier,
    compute_class_nll,
    compute_flow_error,
    compute_gaussian_nll,
    compute_js,
    compute_kl,
    compute_laplace_nll,
    compute_laplacian,
    compute_log_mse,
    compute_loss,
    compute_mae,
    compute_mse,
)
from framepred.study_options import Losses
from framepred.study_values import parse_losses

CHANCES = ("bce", "kl", "js")


def make_pair(height: int = 33, width: int = 42, *, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 3, height, width, generator=generator, dtype=torch.float64)
    change = torch.randn(truth.shape, generator=generator, dtype=torch.float64)
    return truth + noise * change, truth


def test_charbonnier_is_the_formula() -> None:
    made, truth = make_pair()
    expected = np.mean(np.sqrt((made.numpy() - truth.numpy()) ** 2 + 1e-3**2))
    assert float(compute_charbonnier(made, truth)) == pytest.approx(expected, rel=1e-12)


def halve(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of 2x2 blocks; a last odd row or column stands for itself."""
    height, width = image.shape
    out = np.zeros((-(-height // 2), -(-width // 2)))
    for i, j in np.ndindex(*out.shape):
        out[i, j] = image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean()
    return out


def enlarge(image: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Bilinear between pixel centres."""

    def taps(n_in: int, n_out: int) -> NDArray[np.float64]:
        matrix = np.zeros((n_out, n_in))
        for k in range(n_out):
            place = max((k + 0.5) * n_in / n_out - 0.5, 0)
            low = min(int(place), n_in - 1)
            high = min(low + 1, n_in - 1)
            matrix[k, low] += 1 - (place - low)
            matrix[k, high] += place - low
        return matrix

    return taps(image.shape[0], height) @ image @ taps(image.shape[1], width).T


def laplacian_by_hand(difference: NDArray[np.float64]) -> float:
    total = 0.0
    for level in range(4):
        coarse = halve(difference)
        total += 2**level * np.abs(difference - enlarge(coarse, *difference.shape)).mean()
        difference = coarse
    return total + 2**4 * float(np.abs(difference).mean())


@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 42)])
def test_laplacian_is_the_pyramid(height: int, width: int) -> None:
    made, truth = make_pair(height, width)
    planes = (made - truth).flatten(0, 1).numpy()
    # All planes have one size: the mean over everything is the mean over planes.
    expected = np.mean([laplacian_by_hand(plane) for plane in planes])
    assert float(compute_laplacian(made, truth)) == pytest.approx(expected, rel=1e-6)


def test_laplacian_takes_any_size() -> None:
    for height, width in ((1, 1), (2, 9), (3, 3), (5, 4)):
        assert torch.isfinite(compute_laplacian(*make_pair(height, width)))


def test_laplacian_minds_a_change_of_brightness() -> None:
    flat = torch.zeros(1, 3, 64, 64)
    assert float(compute_laplacian(flat + 0.1, flat)) == pytest.approx(16 * 0.1, rel=1e-5)


def census_by_hand(made: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    def describe(image: NDArray[np.float64]) -> NDArray[np.float64]:
        gray = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
        padded = np.pad(gray, 3, mode="edge")
        height, width = gray.shape
        rows = [
            padded[i : i + height, j : j + width] - gray
            for i, j in itertools.product(range(7), range(7))
        ]
        difference = np.stack(rows)
        return difference / np.sqrt(0.81 / 255**2 + difference**2)

    squared = (describe(made) - describe(truth)) ** 2
    return float((squared / (0.1 + squared)).mean())


def test_census_is_the_formula() -> None:
    made, truth = make_pair(noise=0.02)
    expected = np.mean(
        [census_by_hand(a, b) for a, b in zip(made.numpy(), truth.numpy(), strict=True)]
    )
    assert float(compute_census(made, truth)) == pytest.approx(expected, rel=1e-9)


def test_census_is_blind_to_brightness() -> None:
    _, truth = make_pair()
    assert float(compute_census(truth + 0.2, truth)) < 1e-12
    assert float(compute_census(truth.flip(-1), truth)) > 0.1


def find_floor(name: str, truth: Tensor) -> float:
    """What a loss is at the truth."""
    entropy = stats.entropy(np.stack((truth.numpy(), 1 - truth.numpy()))).mean()
    return {
        "charbonnier": 1e-3,
        "log_mse": 0.5 * math.log(1e-5),
        "bce": float(entropy),
        "gaussian_nll": -stats.norm(scale=10**-1.5).logpdf(0),
        "laplace_nll": -stats.laplace(scale=10**-1.5 / math.sqrt(2)).logpdf(0),
    }.get(name, 0.0)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_least_at_the_truth_and_has_gradients(name: str) -> None:
    made, truth = make_pair()
    truth = (truth * 255).round() / 255  # those that read chances do not split the last half level
    loss = LOSSES[name]
    floor = find_floor(name, truth)
    equal = truth.clone().requires_grad_(True)
    least = loss(equal, truth)
    assert least.shape == ()
    # A black or white sample is compared with 1/512 off it.
    assert float(least.detach()) == pytest.approx(floor, abs=5e-5 if name in CHANCES else 1e-12)
    least.backward()
    assert equal.grad is not None
    assert torch.isfinite(equal.grad).all()  # no root of zero
    assert float(loss(made, truth)) > floor + 1e-4
    made.requires_grad_(True)
    loss(made, truth).backward()
    assert made.grad is not None
    assert torch.isfinite(made.grad).all()
    assert made.grad.abs().max() > 0


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in ("bce", "kl")])
def test_losses_that_are_the_same_both_ways_round(name: str) -> None:
    made, truth = make_pair()
    made = made.clamp(1 / 512, 1 - 1 / 512)
    truth = truth.clamp(1 / 512, 1 - 1 / 512)
    assert float(LOSSES[name](made, truth)) == pytest.approx(float(LOSSES[name](truth, made)))


def test_squared_and_absolute_error() -> None:
    made, truth = make_pair()
    difference = made.numpy() - truth.numpy()
    assert float(compute_mse(made, truth)) == pytest.approx(np.mean(difference**2), rel=1e-12)
    assert float(compute_mae(made, truth)) == pytest.approx(np.mean(np.abs(difference)), rel=1e-12)


def make_chances() -> tuple[Tensor, Tensor]:
    """What the made picture says is off 0 and 1; what is true is not."""
    made, truth = make_pair()
    truth = (truth * 1.4 - 0.2).clamp(0, 1)
    assert int((truth == 0).sum()) > 100 < int((truth == 1).sum())
    return made.clamp(1 / 512, 1 - 1 / 512), truth


def as_distributions(chances: Tensor) -> NDArray[np.float64]:
    """(2, samples): the chances of white and of black."""
    flat = chances.numpy().ravel()
    return np.stack((flat, 1 - flat))


def test_divergences_are_those_of_scipy_and_torch() -> None:
    made, truth = make_chances()
    p, t = as_distributions(made), as_distributions(truth)
    assert float(compute_bce(made, truth)) == pytest.approx(
        float(F.binary_cross_entropy(made, truth)), rel=1e-9
    )
    assert float(compute_kl(made, truth)) == pytest.approx(rel_entr(t, p).sum(0).mean(), rel=1e-9)
    assert float(compute_js(made, truth)) == pytest.approx(
        np.mean(jensenshannon(p, t, axis=0) ** 2), rel=1e-9
    )


def test_divergences_from_a_certain_miss() -> None:
    black, white = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    # The tangent at 1/512, as far as 0.
    assert float(compute_bce(black, white)) == pytest.approx(math.log(512) + 1, rel=1e-5)
    assert float(compute_kl(black, white)) == pytest.approx(math.log(512) + 1, rel=1e-5)
    assert float(compute_js(black, white)) == pytest.approx(math.log(2), abs=2e-3)
    assert float(compute_js(black, white)) <= math.log(2)


@pytest.mark.parametrize("name", CHANCES)
def test_chances_outside_are_pulled_back(name: str) -> None:
    """Finite, convex and steepest downhill towards the truth, however far a picture overshoots."""
    loss = LOSSES[name]
    places = torch.cat((torch.linspace(-1, 2, 301), torch.linspace(-0.01, 0.01, 101)))
    for level in (0, 1, 2, 100, 254, 255):
        made = places.double().sort().values.view(-1, 1, 1, 1).requires_grad_(True)
        truth = torch.full_like(made, level / 255)
        value = loss(made, truth)
        assert torch.isfinite(value)
        (slopes,) = torch.autograd.grad(value * made.numel(), made)
        assert (slopes.diff(dim=0) > -1e-9).all()
        below, above = made < truth - 1e-9, made > truth + 1e-9
        assert (slopes[below] < 0).all()
        assert (slopes[above] > 0).all()
        assert (slopes[made < -1e-9] < -0.4).all()
        assert (slopes[made > 1 + 1e-9] > 0.4).all()


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    generator = torch.Generator().manual_seed(3)
    truth = torch.rand(2, 3, 9, 8, generator=generator, dtype=torch.float64)
    made = truth + 0.2 * torch.randn(truth.shape, generator=generator, dtype=torch.float64)
    assert bool((made < 0).any()) and bool((made > 1).any())  # noqa: PT018
    made.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, truth), made, eps=1e-7, atol=1e-5)


def test_likelihoods_are_those_of_scipy() -> None:
    made, truth = make_pair()
    errors = (made - truth).numpy()
    gaussian = stats.norm(scale=10**-1.5)
    laplacian = stats.laplace(scale=10**-1.5 / math.sqrt(2))
    assert gaussian.std() == pytest.approx(laplacian.std())
    assert float(compute_gaussian_nll(made, truth)) == pytest.approx(
        -gaussian.logpdf(errors).mean()
    )
    assert float(compute_laplace_nll(made, truth)) == pytest.approx(
        -laplacian.logpdf(errors).mean()
    )
    # The factors that the docstrings name.
    floors = [find_floor(name, truth) for name in ("gaussian_nll", "laplace_nll")]
    ratios = [
        (float(compute_gaussian_nll(made, truth)) - floors[0]) / float(compute_mse(made, truth)),
        (float(compute_laplace_nll(made, truth)) - floors[1]) / float(compute_mae(made, truth)),
    ]
    assert ratios == [pytest.approx(500), pytest.approx(44.7, abs=0.05)]


def test_log_mse_is_the_gaussian_with_the_deviation_of_each_picture() -> None:
    made, truth = make_pair()
    errors = (made - truth).numpy()
    expected = np.mean([-stats.norm(scale=np.sqrt(np.mean(e**2))).logpdf(e).mean() for e in errors])
    constant = 0.5 * math.log(2 * math.pi) + 0.5
    assert float(compute_log_mse(made, truth)) + constant == pytest.approx(expected, abs=1e-3)


def test_classes() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    classes = torch.tensor([0, 3, 1, 1, 2, 0])
    loss = compute_class_nll(scores.log_softmax(1), classes)
    (gradient,) = torch.autograd.grad(loss, scores)
    loss, scores = loss.detach(), scores.detach()
    shares = torch.softmax(scores, 1).numpy()
    expected = -np.mean([math.log(shares[row, int(c)]) for row, c in enumerate(classes)])
    assert float(loss) == pytest.approx(expected, rel=1e-12)
    assert float(loss) == pytest.approx(float(F.cross_entropy(scores, classes)), rel=1e-12)
    # Of the softmax cross-entropy: what was said less what is.
    np.testing.assert_allclose(gradient.numpy(), (shares - np.eye(4)[classes]) / 6, atol=1e-12)


def test_certain_classes() -> None:
    sure = torch.tensor([[0.0, -math.inf]])
    assert float(compute_class_nll(sure, torch.tensor([0]))) == 0
    assert float(compute_class_nll(sure, torch.tensor([1]))) == math.inf
    half = torch.randn(8, 5).log_softmax(1).half()
    assert math.isfinite(float(compute_class_nll(half, torch.zeros(8, dtype=torch.int64))))


@pytest.mark.parametrize(
    ("scores", "classes", "reason"),
    [
        (torch.zeros(2, 3), torch.tensor([0, 1]), "add up to 1"),
        (torch.full((2, 2), math.nan), torch.tensor([0, 1]), None),
        (torch.zeros(2, 1), torch.tensor([0, 1]), r"classes in \[0, 1\)"),
        (torch.zeros(2, 1), torch.tensor([0, -1]), r"classes in \[0, 1\)"),
        (torch.zeros(2, 1), torch.tensor([0.0, 0.0]), "int64 classes"),
        (torch.zeros(2, 1, dtype=torch.int64), torch.tensor([0, 0]), "float log-prob"),
        (torch.zeros(2, 1), torch.tensor([0]), r"\(2, 1\) and \(1,\)"),
        (torch.zeros(2, 1, 4), torch.zeros(2, 4, dtype=torch.int64), r"\(B, C\)"),
    ],
)
def test_what_are_no_classes(scores: Tensor, classes: Tensor, reason: str | None) -> None:
    if reason is None:  # as with every loss: what is not finite stays so, and is seen by it
        assert math.isnan(compute_class_nll(scores, classes))
        return
    with pytest.raises(ValueError, match=reason):
        compute_class_nll(scores, classes)


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_no_pair(name: str) -> None:
    made, truth = make_pair()
    with pytest.raises(ValueError, match="of one shape"):
        LOSSES[name](made[:1], truth)
    with pytest.raises(ValueError, match="float tensors"):
        LOSSES[name]((made * 255).to(torch.uint8), truth)


@pytest.mark.parametrize("name", CHANCES)
def test_a_truth_that_is_no_chance(name: str) -> None:
    made, truth = make_pair()
    for factor, reason in ((-1, "got -1 to"), (255, r"to 25[45]")):
        with pytest.raises(ValueError, match=rf"expected a truth in \[0, 1\].*{reason}"):
            LOSSES[name](made, (truth * factor).round())


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_not_finite_is_not_hidden(name: str) -> None:
    made, truth = make_pair()
    made[0, 0, 5, 5] = math.nan
    assert math.isnan(LOSSES[name](made, truth))


def test_weighted_sum() -> None:
    made, truth = (x.float() for x in make_pair())
    total = compute_loss({"laplacian": 0.5, "census": 2.0}, made, truth)
    expected = 0.5 * compute_laplacian(made, truth) + 2 * compute_census(made, truth)
    torch.testing.assert_close(total, expected)
    assert float(compute_loss({}, made, truth)) == 0


def test_an_unknown_loss_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="magic"):
        compute_loss({"magic": 1.0}, *make_pair())


def test_losses_are_in_float32_whatever_surrounds_them() -> None:
    made, truth = (x.float() for x in make_pair())
    weights = dict.fromkeys(LOSSES, 1.0)
    expected = compute_loss(weights, made, truth)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = compute_loss(weights, made, truth)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, expected)
    assert compute_loss(weights, made.bfloat16(), truth.bfloat16()).dtype == torch.float32


def test_log_mse_is_the_mean_psnr_in_other_units() -> None:
    generator = torch.Generator().manual_seed(5)
    truth = torch.rand(4, 3, 24, 28, generator=generator)
    noise = torch.randn(4, 3, 24, 28, generator=generator)
    made = truth + noise * torch.tensor([0.02, 0.05, 0.1, 0.2]).view(4, 1, 1, 1)
    decibels = [
        peak_signal_noise_ratio(true.numpy(), got.numpy(), data_range=1.0)
        for true, got in zip(truth, made, strict=True)
    ]
    expected = -np.mean(decibels) * np.log(10) / 20
    assert float(compute_log_mse(made, truth)) == pytest.approx(expected, abs=0.02)


def test_log_mse_does_not_chase_what_nobody_sees() -> None:
    truth = torch.full((1, 3, 8, 8), 0.5)
    assert float(compute_log_mse(truth, truth)) == pytest.approx(0.5 * np.log(1e-5), rel=1e-5)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "census"])
def test_descent_leads_to_the_truth(name: str) -> None:
    """From far off, black and white places included, and from outside [0, 1]."""
    generator = torch.Generator().manual_seed(2)
    truth = (torch.rand(1, 3, 12, 12, generator=generator) * 1.6 - 0.3).clamp(0, 1)
    picture = (torch.rand(truth.shape, generator=generator) * 2 - 0.5).requires_grad_(True)
    optimizer = torch.optim.Adam([picture], lr=0.02, betas=(0.8, 0.9))  # soon forgets cliffs
    for _ in range(200):
        optimizer.zero_grad()
        compute_loss({name: 1.0}, picture, truth).backward()
        optimizer.step()
    # From 0.6; the pyramid is the slowest.
    assert float((picture.detach() - truth).abs().mean()) < 0.06


@pytest.mark.parametrize("name", LOSSES)
def test_the_network_learns_by_every_name(name: str) -> None:
    config = TrainConfig(n_steps=8, losses={name: 1.0}, warmup_steps=1, learning_rate=1e-3)
    config.check()
    frames = to_tensor(film(5, 24, 32, speed=(2.0, 1.0)))
    batch = Batch(frames, Situation(n_before=2, n_missing=1, n_after=2, stride=1))
    learner = Learner(build_network(seed=3, strength=0.1), config, torch.device("cpu"))
    values = []
    for _ in range(8):
        learner.set_rate()
        values.append(float(learner.learn(batch, [1], torch.float32)))
    assert values[-1] < values[0]


def test_names_on_the_command_line() -> None:
    assert parse_losses("mse, js:0.5,bce:2e-1") == {"mse": 1.0, "js": 0.5, "bce": 0.2}
    for text in ("mse:x", "mse:0", "mse:-1", "mse:nan", "mse:inf", "mse,mse:2", "mse,,mae,"):
        with pytest.raises(typer.BadParameter, match="its weight above 0"):
            parse_losses(text)


def test_the_help_names_every_loss() -> None:
    (option,) = Losses.__metadata__
    named = option.help.removeprefix("What to minimize: ").partition(", with")[0]
    assert named.split(", ") == list(LOSSES)


def test_flow_error_by_hand() -> None:
    truth = torch.zeros(2, 2, 3, 4)
    made = truth.clone()
    made[0, :, 1, 2] = torch.tensor([3.0, -4.0])
    made[1, 0] = 100.0  # hidden: does not count
    seen = torch.ones(2, 1, 3, 4, dtype=torch.bool)
    seen[1] = False
    expected = (5 + 11 * 1e-3) / 12
    assert float(compute_flow_error(made, truth, seen)) == pytest.approx(expected, rel=1e-5)
    assert float(compute_flow_error(made, truth, seen & False)) == 0
    made.requires_grad_()
    compute_flow_error(made, truth, seen).backward()
    assert made.grad is not None
    assert torch.isfinite(made.grad).all()
    assert not made.grad[1].any()
    with pytest.raises(ValueError, match="two float tensors of one shape"):
        compute_flow_error(made[:1], truth, seen)
