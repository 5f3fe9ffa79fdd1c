"""The exercises of notebook 06: a label's embedding, dropped labels, guidance, diversity, guided levels."""

from unittest import mock

import torch

from helpers.models import PointMLP, UNet

from .exercise import as_module
from .patches import Exercise, solve


def told_cases():
    y = torch.randint(4, (7,), generator=torch.Generator().manual_seed(0))
    t = torch.tensor([1, 3, 50, 200, 500, 999, 1000])
    return [((4, 6), t, y), ((4, 6), t[:3], torch.tensor([4, 0, 4])), ((10, 8), t[1:6], None)]


def drop_cases():
    g = torch.Generator().manual_seed(0)
    sizes = (40, 0.1, 10), (23, 0.3, 4), (12, 0.0, 10), (9, 1.0, 2), (30, 0.6, 10)
    return [(torch.randint(k, (n,), generator=g), p, k, torch.rand(n, generator=g)) for n, p, k in sizes]


def guide_cases():
    g = torch.Generator().manual_seed(0)
    cases = ((5, 2), 3.0), ((3, 1, 6, 4), 1.0), ((4, 2), 0.0), ((2, 1, 5, 7), -1.0), ((6, 2), 1.5)
    return [(*torch.randn(2, *shape, generator=g), s) for shape, s in cases]


def guided_cases():
    g, made = torch.Generator().manual_seed(0), []
    points = PointMLP(width=8, depth=1, features=2, time_dim=8, classes=3)
    images = UNet(channels=(8,), emb_dim=8, heads=2, classes=5)
    for model, shape, s in ((points, (7, 2), 3.0), (images, (4, 1, 6, 5), 2.0), (points, (5, 2), 0.5)):
        for p in model.eval().requires_grad_(False).parameters():
            p.normal_(std=0.4, generator=g)
        y = torch.randint(1, model.classes, shape[:1], generator=g)
        made.append((model, torch.randn(shape, generator=g), 150 * torch.arange(len(y)) + 9, y, s))
    return made


def count_calls(function, model, *inputs):
    with mock.patch.object(model, "forward", wraps=model.forward) as forward:
        return {"result": function(model, *inputs), "calls": forward.call_count}


def diversity_cases():
    g, made = torch.Generator().manual_seed(0), []
    for counts, shape in (((4, 2, 7), (1, 5, 4)), ((3, 6), (2,)), ((5, 3, 2, 8), (1, 3, 7))):
        y = torch.arange(0, 2 * len(counts), 2).repeat_interleave(torch.tensor(counts))
        y = y[torch.randperm(len(y), generator=g)]
        centre = y.reshape(-1, *(1 for _ in shape))  # (n, 1, ..)
        made.append((centre + (1 + centre) * torch.randn(len(y), *shape, generator=g), y))
    return made


def band_cases():
    t = torch.tensor([500, 1, 333, 334, 335, 600, 666, 667, 1000])
    return [(t, 4.0, (334, 666)), (t.flip(0), 2.5, (1, 666)), (t[1:], 3.0, (600, 1000)), (t, 0.0, (1, 1000))]


EXERCISES = [
    Exercise(
        "6.1",
        told_cases,
        "level and label are added, and without y every example gets the row for no label.",
        call=as_module(solve("6.1")),
    ),
    Exercise(
        "6.2",
        drop_cases,
        "each example has its own draw, and the others keep their label; shares 0 and 1 work too.",
    ),
    Exercise(
        "6.3",
        guide_cases,
        "s = 0 gives the network without label, s = 1 the one with it, 3 and -1 lie on the same line.",
    ),
    Exercise(
        "6.4",
        guided_cases,
        "one call with both branches in it, for points and for pictures.",
        call=count_calls,
        rtol=1e-3,
        atol=1e-4,
    ),
    Exercise(
        "6.5",
        diversity_cases,
        "pairs of different examples of one class, and every class counts alike.",
        rtol=1e-3,
    ),
    Exercise(
        "6.6",
        band_cases,
        "s within the band, both ends included, and 1, the plain conditional network, outside.",
    ),
]
