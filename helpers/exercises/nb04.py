"""The exercises of notebook 04: clamping, fewer levels, frames, bytes, nearest images, class counts."""

import torch

from helpers.schedule import cosine, linear

from .patches import Exercise


def clamp_cases():
    g = torch.Generator().manual_seed(0)
    return [
        (torch.randn(shape, generator=g), torch.tensor(t), 2 * torch.randn(shape, generator=g), schedule)
        for shape, t, schedule in (
            ((5, 2), [1, 10, 500, 700, 999], cosine(1000)),
            ((3, 1, 8, 6), [2, 150, 200], linear(200)),
        )
    ]


def bytes_cases():
    g = torch.Generator().manual_seed(0)
    images = 0.9 * torch.randn(4, 1, 8, 6, generator=g)
    images[0, 0, 0, :5] = torch.tensor([-1.0, 1.0, 0.0, 1.2, -1.2])
    return [(images,), (0.5 * torch.randn(2, 1, 5, 7, generator=g).clamp(-1, 1),)]


def nearest_cases():
    g = torch.Generator().manual_seed(0)
    return [
        (torch.randn(n, *shape, generator=g), torch.randn(m, *shape, generator=g))
        for n, m, shape in ((4, 9, (1, 6, 5)), (7, 3, (1, 4, 8)), (5, 6, (2,)))
    ]


def chi_cases():
    g = torch.Generator().manual_seed(0)
    cases = []
    for n, classes in ((1000, 10), (64, 10), (500, 4)):
        shares = torch.rand(classes, generator=g) + 0.5
        counts = torch.randint(classes, (n,), generator=g).bincount(minlength=classes)
        cases.append((counts, shares / shares.sum()))
    return cases


EXERCISES = [
    Exercise(
        "4.1",
        clamp_cases,
        "x_0 lies in [-1, 1] and sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps is x_t again.",
    ),
    Exercise(
        "4.2",
        lambda: [(1000, 50), (1000, 7), (1000, 300), (200, 30), (100, 100)],
        "equal strides from T down, the last one ending at 0, also where steps does not divide T.",
    ),
    Exercise(
        "4.3",
        lambda: [(51, 6), (1001, 48), (51, 60), (11, 4), (201, 24)],
        "evenly spaced, the first and the last state among them, none twice.",
    ),
    Exercise(
        "4.4",
        bytes_cases,
        "-1 becomes 0, 1 becomes 255, and what lies beyond stays black or white.",
        strict_dtype=True,
    ),
    Exercise(
        "4.5",
        nearest_cases,
        "index and root mean squared distance of the nearest training image, for images and for points.",
        rtol=1e-3,
    ),
    Exercise(
        "4.6", chi_cases, "the squared deviations in units of the expected counts, summed over the classes."
    ),
]
