"""The tasks of notebook 00: bring pixels to the range of the course, add Gaussian noise, and add it twice."""

import torch

from .compare import form, plain
from .exercise import Complaint, Mistake
from .exercise import Exercise as Plain
from .hidden import generator
from .patches import Exercise
from .predict import Prediction


def say_range(got, want):
    expected = f"{want.min():.2f} to {want.max():.2f} was expected"
    return f"The values run from {got.min():.2f} to {got.max():.2f} where {expected}"


def say_spread(got, want):
    expected = f"{want.mean():.2f} and {want.std():.2f} were expected"
    return f"The result has mean {got.mean():.2f} and standard deviation {got.std():.2f} where {expected}"


def to_range_cases():
    g = generator(0)
    grey = torch.randint(0, 256, (2, 3, 5), generator=g).float()
    grey[0, 0, :2] = torch.tensor([0.0, 255.0])
    return [
        (torch.tensor([0.0, 4.0, 8.0, 12.0, 16.0]), 16),
        (torch.randint(0, 13, (3, 1, 4, 5), generator=g).float(), 16),  # 13 to 16 do not occur
        (grey, 255),
    ]


def add_noise_cases():
    points, images = torch.full((4000, 2), 0.3), -torch.ones(3000, 1, 2, 3)
    return [(points, 0.5, generator(0)), (images, 2.0, generator(1))]


def call_add_noise(f, x, sigma, generator):
    """Once, and again to see whether the generator moves on; the values of an example must not correlate."""
    seed, unused = generator.initial_seed(), generator.get_state()
    result, used = f(x, sigma, generator), generator.get_state()
    f(x, sigma, generator)
    set_back = torch.equal(used, generator.get_state()) and not torch.equal(used, unused)
    if set_back or generator.initial_seed() != seed:
        raise Complaint("generator reseeded", "It seeds the given generator anew: only draw from it.")
    if not form(x, plain(result)):
        values = (result - result[:1]).double().flatten(1).T
        if values.corrcoef().triu(1).abs().max() > 0.1:
            raise Complaint("shared noise", "Values of one example share noise: draw one number for each.")
    return result


def product(written) -> bool:
    """Of 0.3."""
    return abs(written - 0.12) < 0.005


DEMO = Plain(  # for the demonstration: no task of the course
    "0.0",
    "middle",
    lambda a, b: (a + b) / 2,
    lambda: [(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 5.0]))],
    "it lies half-way between the two.",
    [Mistake("sum for mean", "This is the sum of the two. Divide by 2.", lambda a, b: a + b)],
)

EXERCISES = [
    Exercise(
        "0.1",
        to_range_cases,
        "0 becomes -1, top becomes +1, and everything between lies on the line; for top = 16 and top = 255.",
    ),
    Exercise(
        "0.2",
        add_noise_cases,
        "mean, standard deviation and shape of the bell, for points and for pictures, for two sigmas.",
        call=call_add_noise,
        statistical=5,
    ),
    Prediction("0.3", form="number", near=0.02),
]
