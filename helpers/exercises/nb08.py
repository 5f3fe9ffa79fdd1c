"""The exercises of notebook 08: one prediction in three forms, one error in three units, two schedules, the
min-SNR weights, and the loss level by level."""

import torch

from helpers.schedule import cosine, linear

from .patches import Exercise


def draw_outputs():
    g = torch.Generator().manual_seed(0)
    points = (5, 2), [30, 200, 400, 600, 850], cosine(1000)
    pictures = (3, 1, 8, 6), [10, 90, 150], linear(200)
    return [
        (torch.randn(shape, generator=g), given, torch.randn(shape, generator=g), torch.tensor(t), schedule)
        for given in ("eps", "x0", "v")
        for shape, t, schedule in (points, pictures)
    ]


def draw_losses():
    g = torch.Generator().manual_seed(0)
    snr = torch.logspace(2, -3, 6)
    pairs = [("eps", "x0"), ("x0", "eps"), ("v", "x0"), ("x0", "v"), ("eps", "v"), ("v", "eps"), ("v", "v")]
    return [(torch.rand(6, generator=g) + 0.1, given, wanted, snr) for given, wanted in pairs]


def list_alpha_bars():
    schedules = linear(1000), linear(200, rescale=False), linear(30, 0.05, 0.1, rescale=False)
    return [(schedule.alpha_bar,) for schedule in schedules]


def draw_levels():
    g = torch.Generator().manual_seed(0)
    cases = []
    for T, bins, n, high in ((1000, 20, 400, 1000), (1000, 10, 60, 700), (60, 7, 50, 60)):
        t = torch.randint(1, high + 1, (n,), generator=g)
        t[-1] = high
        cases.append((torch.rand(n, generator=g) + (t / T), t, T, bins))
    return cases


EXERCISES = [
    Exercise(
        "8.1",
        draw_outputs,
        "from eps, from x_0 and from v you find the other two, for points and for pictures.",
    ),
    Exercise("8.2", draw_losses, "all pairs of units, there and back, over five powers of ten of the SNR."),
    Exercise(
        "8.3",
        lambda: [(1000,), (40, -3.0, 3.0, 0.7), (25, 0.0, 3.0, 1.3)],
        "alpha_bar falls from 1 to exactly 0 along the sigmoid; T, start, end and tau varied.",
    ),
    Exercise(
        "8.4",
        list_alpha_bars,
        "levels 0 and 1 stay, the last is exactly 0, and the root is stretched evenly in between.",
    ),
    Exercise(
        "8.5",
        lambda: [(torch.logspace(4, -4, 9), p, gamma) for gamma in (5.0, 20.0) for p in ("eps", "x0", "v")],
        "for eps, x_0 and v the weight on the error of x_0 is min(SNR, gamma).",
    ),
    Exercise(
        "8.6",
        draw_levels,
        "each bin holds the mean of the losses of its levels, 0 where none fell; also where T is no "
        "multiple.",
    ),
]
