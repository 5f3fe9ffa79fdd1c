"""The exercises of notebook 02: exact denoiser, loss, score, embedding, ancestral and DDIM step."""

from functools import partial

import torch

from ..schedule import at, linear
from . import patches

Exercise = partial(patches.Exercise, strict_dtype=True)  # answers go into networks, which take float32
SHAPES = (6, 2), (6, 1, 5, 4)  # of points and of pictures


def draw(seed, cases):
    """The cases with normal numbers for every shape, the same ones every time, and tensors for lists."""
    g = torch.Generator().manual_seed(seed)
    kinds = {tuple: lambda shape: torch.randn(shape, generator=g), list: torch.tensor}
    return [tuple(kinds.get(type(part), lambda same: same)(part) for part in case) for case in cases]


def ask_toy(x, t):
    """A network of sorts: its answer depends on x, on t and on a weight, so that the loss has a gradient."""
    weight = torch.zeros((), requires_grad=True)
    return 0.6 * x + 0.3 * at(torch.sin(torch.arange(1001) / 100), t, x) + weight


EXERCISES = [
    Exercise(
        "2.1",
        lambda: draw(
            0,
            [(x, [1, 100, 400, 700, 1000], (7, 2), linear(1000)) for x in ((5, 2), torch.eye(5, 2).double())],
        ),
        "it equals Bayes' rule, from t = 1 (the nearest point) to t = 1000 (nearly their mean).",
    ),
    Exercise(
        "2.2",
        lambda: draw(2, [(ask_toy, x, [1, 4, 250, 500, 900, 1000], x, linear(1000)) for x in SHAPES]),
        "it equals the simple loss for points and for pictures, each example at its own level.",
    ),
    Exercise(
        "2.3",
        lambda: draw(4, [(x, x, [1, 2, 10, 300, 600, 950], linear(1000)) for x in SHAPES]),
        "both the estimate of x_0 and the score are right, for points and for pictures.",
        rtol=1e-3,  # at t = 1, 1 - alpha_bar has four digits in float32, and more in float64
    ),
    Exercise(
        "2.4",
        lambda: draw(0, [([0, 1, 10, 500, 1000], 16, 10_000.0), ([3, 70, 200], 6, 1000.0)]),
        "the frequencies fall geometrically, sines come first, and t = 0 gives zeros and ones.",
        rtol=1e-3,
        atol=1e-3,  # at t = 1000 a frequency off in its seventh digit turns the angle by 1e-4
    ),
    Exercise(
        "2.5",
        lambda: draw(6, [(x, t, x, x, linear(200)) for x in ((5, 2), (3, 1, 5, 4)) for t in (1, 90, 200)]),
        "mean and variance are those of the posterior, and the last step (t = 1) adds no noise.",
        atol=1e-3,  # at t = 1, beta and 1 - alpha agree in four digits in float32
    ),
    Exercise(
        "2.6",
        lambda: draw(7, [(x, t, to, x, linear(100)) for x in SHAPES for t, to in ((100, 40), (20, 0))]),
        "it goes from any level to any lower one, and to the estimate of x_0 itself for t_next = 0.",
    ),
]
