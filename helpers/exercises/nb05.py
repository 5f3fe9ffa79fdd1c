"""The exercises of notebook 05: variance of eta, DDIM step, spacings, DPM-Solver++(2M), slerp, inversion."""

import torch

from helpers.schedule import cosine, linear

from .patches import Exercise


def draw(n, *rows):
    """Each row (shape, ...) with n tensors of that shape drawn in its place."""
    g = torch.Generator().manual_seed(0)
    return [(*torch.randn(n, *shape, generator=g), *rest) for shape, *rest in rows]


def variance_cases():
    fine = (1000, 950, 1.0), (500, 480, 0.5), (20, 0, 1.0), (300, 200, 0.0)
    coarse = (151, 150, 1.0), (80, 20, 0.3)
    return [(*c, cosine(1000)) for c in fine] + [(*c, linear(200)) for c in coarse]


def step_cases():
    drawn = draw(
        3,
        ((500, 2), 600, 400, 1.0, cosine(1000)),
        ((3, 1, 8, 6), 500, 400, 0.5, cosine(1000)),
        ((3, 1, 8, 6), 120, 60, 0.0, linear(200)),
        ((5, 2), 20, 0, 1.0, cosine(1000)),
    )
    return [(x0.clamp(-1, 1), eps, t, s, eta, noise, by) for x0, eps, noise, t, s, eta, by in drawn]


def spaced_cases():
    kinds = "trailing", "linspace", "leading"
    return [(T, steps, kind) for T, steps in ((300, 30), (1000, 6), (1000, 20)) for kind in kinds]


def dpm_cases():
    drawn = draw(
        3,
        ((5, 2), None, 1000, 950, cosine(1000)),
        ((3, 1, 8, 6), 700, 600, 450, cosine(1000)),
        ((5, 2), 190, 150, 140, linear(200)),
        ((3, 1, 8, 6), 80, 20, 0, cosine(1000)),
    )
    return [(x, t, s, x0, before and (before, old), by) for x, x0, old, before, t, s, by in drawn]


def slerp_cases():
    drawn = draw(2, ((4, 1, 6, 5), 0.5), ((3, 1, 4, 8), 0.2), ((5, 7), 0.9))
    return [(a, 1.2 * b + 0.3 * a, share) for a, b, share in drawn]


def toy_network(T):
    """A stand-in for the network: eps that depends on x and on the level."""

    def ask(x, t):
        if not 1 <= t <= T:
            raise ValueError(f"the network knows the levels 1 .. {T}, it was asked for {t}")
        return 0.7 * x + torch.sin(3 * x) * (0.2 + t / T)

    return ask


def invert_cases():
    fine, coarse = cosine(1000), linear(200)
    drawn = draw(1, ((4, 1, 6, 5), 20, 40, fine), ((5, 2), 60, 120, coarse), ((3, 1, 4, 8), 0, 20, fine))
    return [(1.5 * x, t, t_up, toy_network(by.T), by) for x, t, t_up, by in drawn]


EXERCISES = [
    Exercise(
        "5.1",
        variance_cases,
        "0 for eta = 0, the posterior variance for eta = 1 and neighbouring levels, 0 at the last step.",
    ),
    Exercise(
        "5.2",
        step_cases,
        "signal, kept and fresh noise in the right shares for eta = 0, 0.5, 1, and clean at the end.",
        strict_dtype=True,
    ),
    Exercise(
        "5.3",
        spaced_cases,
        "trailing from the top in equal strides, linspace with both ends, leading with its start below.",
    ),
    Exercise(
        "5.4",
        dpm_cases,
        "DDIM at the first and the last step, in between the line through two estimates, over lambda.",
        rtol=3e-4,
        strict_dtype=True,
    ),
    Exercise("5.5", slerp_cases, "along the arc between the two, each pair of the batch with its own angle."),
    Exercise(
        "5.6",
        invert_cases,
        "the DDIM step walked upwards, the network asked where it stands, also from the clean picture.",
    ),
]
