"""The exercises of notebook 03: residual block, attention, U-Net, v and its inverse, the averaged weights."""

import torch

from helpers.schedule import cosine, linear

from .exercise import as_module
from .patches import Exercise, solve


def make_draw(seed: int):
    """A function that draws standard normal tensors, each call the next ones."""
    g = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=g)


def make_block_cases():
    """Wider inside than outside, and as wide; H, W and B all different."""
    draw = make_draw(0)
    return [((8, 16, 5), draw(2, 8, 4, 3), draw(2, 5)), ((16, 16, 6), 2 * draw(3, 16, 2, 5), draw(3, 6))]


def make_attention_cases():
    """Queries of some size, so that a wrong scale shows."""
    draw = make_draw(1)
    cases = [[draw(*shape) for _ in "qkv"] for shape in ((2, 3, 6, 4), (1, 2, 5, 16))]
    return [(2 * cases[0][0], *cases[0][1:]), tuple(cases[1])]


def make_v_cases():
    """Pictures and points, both schedules, t from 1 to the last but one."""
    draw, image, points = make_draw(3), (3, 1, 4, 6), (5, 2)
    return [
        (draw(*image), torch.tensor([1, 400, 999]), draw(*image), cosine()),
        (draw(*points) + 1, torch.tensor([1, 20, 50, 70, 99]), draw(*points), linear(100)),
    ]


def make_return_cases():
    return [(s.target(x0, t, e, "v"), s.q_sample(x0, t, e), t, s) for x0, t, e, s in make_v_cases()]


def make_ema_cases():
    """A first update, one in the warm-up, a late one."""
    draw, steps = make_draw(4), ((0, 0.9), (35, 0.999), (5000, 0.99))
    return [([draw(3), draw(2, 4)], [draw(3) + 2, draw(2, 4)], *step) for step in steps]


EXERCISES = [
    Exercise(
        "3.1",
        make_block_cases,
        "same output with the same weights, where the width changes and where it stays.",
        call=as_module(solve("3.1")),
        strict_dtype=True,
    ),
    Exercise(
        "3.2",
        make_attention_cases,
        "weights and mixed values agree, every row of weights sums to 1.",
        strict_dtype=True,
    ),
    Exercise(
        "3.3",
        lambda: [((8, 16), make_draw(2)(3, 1, 8, 4), torch.tensor([3, 500, 1000]))],
        "same output with the same weights, at three levels and on a picture that is not square.",
        call=as_module(solve("3.3")),
        strict_dtype=True,
    ),
    Exercise(
        "3.4",
        make_v_cases,
        "it equals its definition on both schedules, for pictures and points.",
        strict_dtype=True,
    ),
    Exercise(
        "3.5",
        make_return_cases,
        "eps and x0 come back as they went in, at every level.",
        strict_dtype=True,
    ),
    Exercise(
        "3.6",
        make_ema_cases,
        "right at the first update, in the warm-up and when warm; the old average was left alone.",
        strict_dtype=True,
    ),
]
