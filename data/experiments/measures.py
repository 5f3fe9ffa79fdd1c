"""What several experiments measure alike: drawing in chunks, real images, floors, judges."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import torch
from torch import Tensor

from data.experiments.jobs import figure, round_all
from helpers import data, metrics
from helpers.classifiers import features
from helpers.sampling import last, reverse


def noise(n: int, seed: int, size: int = 28) -> Tensor:
    """Pure noise (n, 1, size, size); its first 64 are the same for every n >= 64, so that grids compare."""
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


def draw(model, schedule, rule, start, seed: int, clip: float | None = 1.0, bf16=False, chunk=100) -> Tensor:
    """Samples (n, ..), drawn `chunk` at a time; chunk i takes its fresh noise from seed + i.

    start: x_T (n, ..), or a shape (n, ..): then each chunk's own generator draws x_T too.
    model: a network, or a function of the chunk's slice of 0 .. n-1 that returns one (for labels).
    """
    images, n = [], len(start) if isinstance(start, Tensor) else start[0]
    for i, first in enumerate(range(0, n, chunk)):
        part = slice(first, min(first + chunk, n))
        network = model if hasattr(model, "prediction") else model(part)
        given = dict(shape=(part.stop - first, *start[1:]))
        if isinstance(start, Tensor):
            given = dict(x_T=start[part])
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            images.append(last(reverse(network, schedule, rule, seed=seed + i, clip_x0=clip, **given)))
    return torch.cat(images)


@cache
def real(name: str, few: int | None = None) -> SimpleNamespace:
    """Real images: x, y, test, test_y, or the first `few` of each. Of the digits every fifth tests."""
    if name == "digits":
        x, y = data.digits()
        held_out = torch.arange(len(x)) % 5 == 0
        sets = dict(x=x[~held_out], y=y[~held_out], test=x[held_out], test_y=y[held_out])
    else:
        load = dict(mnist=data.mnist, fashion=data.fashion_mnist)[name]
        sets = dict(zip(("x", "y", "test", "test_y"), (*load(True), *load(False)), strict=True))
    return SimpleNamespace(**{key: part[:few] for key, part in sets.items()})


@cache
def real_features(name: str, few: int | None = None) -> Tensor:
    """Features of the test images of a 28x28 set."""
    return features(real(name, few).test, name)


def floor(images: Tensor, n: int, draws: int = 5, name: str | None = None) -> dict:
    """The distance of n real images from the others, drawn as metrics.frechet_floor does, as a figure."""
    f, g = features(images, name), torch.Generator().manual_seed(0)
    n = min(n, len(f) // 2)
    orders = [torch.randperm(len(f), generator=g) for _ in range(draws)]
    distances = [metrics.frechet_between(f[order[:n]], f[order[n:]]) for order in orders]
    return {**figure(distances), "samples": n, "draws": draws}


def judge(images: Tensor, name: str, few: int | None = None) -> dict:
    """Distance from the test images, confident share, class shares of 28x28 images."""
    shares = metrics.class_shares(images, name)
    distance = metrics.frechet_between(features(images, name), real_features(name, few))
    scores = round_all(dict(distance=distance, confident=metrics.confident_share(images, data=name)))
    return dict(scores, class_shares=round_all(shares), smallest_class=round(float(shares.min()), 4))
