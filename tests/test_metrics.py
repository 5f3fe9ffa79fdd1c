"""Scores whose answers are known: equal Gaussians, known Gaussians, a shift, a uniform square, a copy."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg, stats

from helpers import classifiers, metrics
from helpers.data import checkerboard, digits, moons

pytestmark = pytest.mark.usefixtures("one_thread")


def gaussian(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exactly(x, mean, root):
    """x moved and stretched until its sample mean and covariance are exactly mean and root @ root.T."""
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    return x @ root.double().T + mean


# --- Frechet


def test_frechet_of_a_set_with_itself():
    x = gaussian(200, 5, 0)
    assert metrics.frechet_between(x, x) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_between(x, x.flip(0)) == pytest.approx(0, abs=1e-9)


def test_frechet_of_a_shift_and_of_a_stretch():
    x = exactly(gaussian(500, 4, 0), torch.zeros(4), torch.eye(4))
    y = exactly(gaussian(500, 4, 1), torch.tensor([1.0, 2, 0, 0]), torch.diag(torch.tensor([1.0, 3, 1, 1])))
    assert metrics.frechet_between(x, y) == pytest.approx(1 + 4 + (3 - 1) ** 2)


def test_frechet_of_known_gaussians_against_scipy():
    a, b = gaussian(4, 4, 2), gaussian(4, 4, 3)
    x, y = exactly(gaussian(300, 4, 4), torch.ones(4), a), exactly(gaussian(400, 4, 5), torch.arange(4.0), b)
    cross = linalg.sqrtm((a @ a.T @ b @ b.T).numpy()).real.trace()
    exact = (1 + 0 + 1 + 4) + float((a @ a.T).trace() + (b @ b.T).trace()) - 2 * cross
    assert metrics.frechet_between(x, y) == pytest.approx(exact, rel=1e-6)
    assert metrics.frechet_between(y, x) == pytest.approx(exact, rel=1e-6)


def test_frechet_of_features_that_never_fire():
    """A feature that is always 0 makes the covariance singular: still a number."""
    x = torch.cat([gaussian(100, 3, 0), torch.zeros(100, 2)], 1)
    assert metrics.frechet_between(x, x + torch.tensor([0, 0, 0, 2.0, 0])) == pytest.approx(4)


def test_frechet_of_too_few():
    with pytest.raises(ValueError, match="5 samples are too few for 5 features"):
        metrics.frechet_between(gaussian(5, 5, 0), gaussian(50, 5, 1))


# --- points


def test_sliced_wasserstein_of_a_shift():
    """Along a direction at angle phi a shift by s moves everything by s cos(phi): on average 2 s / pi."""
    x = gaussian(500, 2, 0).float()
    for s in (0.1, 1.0):
        moved = metrics.sliced_wasserstein(x, x + torch.tensor([s, 0.0]), directions=4000)
        assert moved == pytest.approx(2 * s / math.pi, rel=0.03)
    assert metrics.sliced_wasserstein(x, x[torch.randperm(500)]) == pytest.approx(0, abs=1e-6)


def test_sliced_wasserstein_of_a_stretch_in_one_dimension():
    x = gaussian(2000, 1, 0).float()
    assert metrics.sliced_wasserstein(x, 2 * x) == pytest.approx(float(x.square().mean().sqrt()), rel=1e-4)


def test_sliced_wasserstein_floor_and_seed():
    a, b = moons(2000, seed=0)[0], moons(2000, seed=1)[0]
    floor = metrics.sliced_wasserstein(a, b)
    assert 0 < floor < 0.05 < metrics.sliced_wasserstein(a, torch.randn(2000, 2))
    assert floor == metrics.sliced_wasserstein(a, b) != metrics.sliced_wasserstein(a, b, seed=1)


def test_sliced_wasserstein_of_different_sizes():
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(4, 2\)"):
        metrics.sliced_wasserstein(torch.zeros(3, 2), torch.zeros(4, 2))


def test_share_inside():
    real = checkerboard(20_000)[0]
    uniform = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert metrics.share_inside(real) == 1
    assert metrics.share_inside(uniform) == pytest.approx(0.5, abs=0.015)
    assert metrics.share_inside(real + torch.tensor([0.5, 0])) == 0, "one square aside"
    assert metrics.share_inside(real + 3) == 0 and metrics.share_inside(torch.full((3, 2), float("nan"))) == 0


def test_squares_by_hand():
    points = torch.tensor(
        [[-0.9, -0.9], [-0.4, -0.9], [0.1, -0.9], [-0.3, -0.3], [0.9, 0.9], [1.1, 0.9], [-1.1, -0.6]]
    )
    assert metrics.squares(points).tolist() == [0, -1, 1, 2, 7, -1, -1]


def test_square_shares():
    shares = metrics.square_shares(checkerboard(40_000)[0])
    assert shares.shape == (8,) and float(shares.sum()) == pytest.approx(1)
    assert stats.chisquare((shares * 40_000).numpy()).pvalue > 1e-4
    assert metrics.square_shares(torch.full((5, 2), -0.9)).tolist() == [1] + [0] * 7
    assert metrics.square_shares(torch.full((5, 2), 9.0)).tolist() == [0] * 8


# --- pictures


def test_nearest_neighbours_by_brute_force():
    training, samples = (
        gaussian(300, 1, 0).reshape(75, 1, 2, 2).float(),
        gaussian(280, 1, 1).reshape(70, 1, 2, 2).float(),
    )
    index, distance = metrics.nearest_neighbours(samples, training)
    table = np.array([[math.sqrt(float((s - x).square().mean())) for x in training] for s in samples])
    assert index.tolist() == table.argmin(1).tolist()
    assert distance.tolist() == pytest.approx(table.min(1).tolist(), rel=1e-5)


def test_a_copied_image_is_found_at_distance_zero():
    images = digits()[0]
    index, distance = metrics.nearest_neighbours(images[::3] + 0, images)
    assert (distance == 0).all() and torch.equal(images[index], images[::3])
    shifted = metrics.nearest_neighbours(images[:300] + 0.01, images)
    assert torch.allclose(shifted[1], torch.full((300,), 0.01), atol=1e-4)


def test_distance_of_digits_and_its_floor():
    """On the shipped classifier: real digits score like the floor, noise and one blurry average far above."""
    images, _ = digits()
    mean, spread = metrics.frechet_floor(images)
    assert (mean, spread) == metrics.frechet_floor(images) and 0 < spread < mean
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(9))
    f = classifiers.features(images)
    assert 0 < metrics.frechet_between(f[order[:898]], f[order[898:]]) < 2 * mean
    noise = torch.randn(900, 1, 8, 8, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    blurry = (images.mean(0, keepdim=True) + 0.1 * noise).clamp(-1, 1)
    for wrong in (noise, blurry):
        assert metrics.frechet_between(classifiers.features(wrong), f) > 10 * mean


def test_judge_of_digits():
    """The other classifier: sure of real digits, not of the average digit with noise; all classes present."""
    images, labels = digits()
    assert metrics.confident_share(images) > 0.95
    shares = metrics.class_shares(images)
    assert shares.shape == (10,) and float(shares.sum()) == pytest.approx(1)
    assert torch.allclose(shares, torch.bincount(labels) / len(labels), atol=0.01)
    assert metrics.confident_share(images, threshold=1.0) == 0 and metrics.confident_share(images, 0.0) == 1


def test_too_few_images():
    with pytest.raises(ValueError, match="got 16"):
        metrics.digits_frechet(digits()[0][:16])


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("measure", [metrics.confident_share, metrics.class_shares, metrics.digits_frechet])
def test_images_that_are_no_numbers_have_no_score(measure, wrong):
    """Before, a share of NaN images was 0, and their class some class."""
    images = digits()[0][:900].clone()
    images[3, 0, 2, 2] = wrong
    with pytest.raises(ValueError, match="NaN or infinity in the images: look at the network's loss"):
        measure(images)


def test_judge_and_features_are_two_networks():
    for name, least in (("digits", 0.95), ("mnist", 0.98), ("fashion", 0.9)):
        judge, features = classifiers.load("judge", name), classifiers.load("features", name)
        assert judge is not features and judge.config != features.config
        assert (
            judge.recipe["seed"] != features.recipe["seed"]
            and min(judge.log["accuracy"], features.log["accuracy"]) > least
        )
        assert classifiers.load("judge", name) is judge, "loaded once"
