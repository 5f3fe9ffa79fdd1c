"""The exercises of notebook 01: one noising step, the closed form, two schedules, and the way back to x_0."""

import torch

from helpers.schedule import cosine, linear

from .patches import Exercise


def draw(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def quote_error(got, want):
    """For the page of mistakes."""
    error = (got - want).square().mean().sqrt()
    return f"Root-mean-square error {error:.2f}, where the exact noise gives 0."


def q_step_cases():
    betas = linear(60).betas  # up to 1/3 a step, so that every mistake shows
    points, images = torch.arange(1, 61).repeat(3), torch.tensor([60, 1, 30])
    return [
        (draw(0, 180, 2), points, draw(1, 180, 2), betas),
        (0.5 * draw(2, 3, 1, 8, 6), images, draw(3, 3, 1, 8, 6), betas),
    ]


def q_sample_cases():
    return [
        (0.5 * draw(0, 201, 2), torch.arange(0, 1001, 5), draw(1, 201, 2), linear(1000)),
        (draw(2, 3, 1, 8, 6), torch.tensor([50, 0, 20]), draw(3, 3, 1, 8, 6), linear(50)),
    ]


def predict_x0_cases():
    made = []
    for x0, t, eps, schedule in (
        (draw(0, 200, 2), torch.arange(4, 801, 4), draw(1, 200, 2), linear(1000)),
        (draw(2, 3, 1, 8, 6), torch.tensor([40, 1, 20]), draw(3, 3, 1, 8, 6), linear(50)),
    ):
        made.append((schedule.q_sample(x0, t, eps), t, eps, schedule))
    return made


EXERCISES = [
    Exercise(
        "1.1",
        q_step_cases,
        "one step for points and for pictures, to level 1, to level T, and with another t for each example.",
    ),
    Exercise(
        "1.2",
        lambda: [(linear(1000).betas,), (linear(40).betas,), (cosine(7).betas,)],
        "it is 1 at level 0 and the product of the alphas up to each level, for T = 1000, 40 and 7.",
    ),
    Exercise(
        "1.3",
        q_sample_cases,
        "it equals the closed form for points and pictures, from t = 0 to t = 1000, with a t for each "
        "example.",
    ),
    Exercise(
        "1.4",
        lambda: [(1000,), (25, 0.1, 0.9)],
        "a 0, then T betas in (0, 1), cut at max_beta, with the squared cosine for alpha-bar; T = 1000 and "
        "25.",
        atol=1e-4,
    ),
    Exercise(
        "1.5",
        lambda: [(100,), (1000,), (400, 2e-4, 0.01)],
        "a 0, then T betas on a straight line, scaled so that T = 100, 400 and 1000 destroy equally much.",
    ),
    Exercise(
        "1.6",
        predict_x0_cases,
        "given the exact noise it returns the clean data, for points and for pictures.",
    ),
]
