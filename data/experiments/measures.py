"""What several experiments measure alike: figures with spread, drawing in chunks, real images, floors."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import torch
from torch import Tensor

from helpers import data, metrics, show
from helpers.classifiers import features
from helpers.sampling import ancestral, ddim, dpm_solver, last, reverse

RULES = {"ancestral": ancestral, "ddim": ddim, "dpm_solver": dpm_solver}


def figure(values: list, digits: int = 5) -> dict:
    """{"mean", "std" (n - 1, None for one value), "values"}: how every figure with spread is stored.

    A value that is None (a training that broke down) is listed and left out of the rest.
    """
    known = torch.tensor([value for value in values if value is not None], dtype=torch.float64)
    mean = round(float(known.mean()), digits) if len(known) else None
    std = round(float(known.std()), digits) if len(known) > 1 else None
    return dict(mean=mean, std=std, values=[v if v is None else round(float(v), digits) for v in values])


def figures(runs: list[dict], keys) -> dict:
    """A figure of each of the keys over the runs; where a run has no such key, None."""
    return {key: figure([run.get(key) for run in runs]) for key in keys}


def cross(table: dict, seeds: list) -> dict:
    """The jobs {"name seed": arguments} of a table {name: arguments}, every setting from every seed."""
    return {f"{name} {seed}": dict(row, seed=seed) for seed in seeds for name, row in table.items()}


def group(done: dict, seeds: list) -> dict:
    """{name: [the job of each seed]} of jobs called "name seed", where all these seeds are there."""
    names = dict.fromkeys(job.rpartition(" ")[0] for job in done)
    runs = {name: [done[f"{name} {seed}"] for seed in seeds if f"{name} {seed}" in done] for name in names}
    return {name: rows for name, rows in runs.items() if rows}


def noise(n: int, seed: int, size: int = 28) -> Tensor:
    """Pure noise (n, 1, size, size); its first 64 are the same for every n >= 64, so that grids compare."""
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


def draw(
    model, schedule, rule, shape, seed: int, x_T=None, clip: float | None = 1.0, bf16=False, chunk=100
) -> Tensor:
    """Samples of `shape` (n, ..), drawn `chunk` at a time; chunk i takes its fresh noise from seed + i.

    x_T: (n, ..), where to start; left out, each chunk's own generator draws that too.
    model: a network, or a function of the chunk's slice of 0 .. n-1 that returns one (for labels).
    """
    images = []
    for i, start in enumerate(range(0, shape[0], chunk)):
        part = slice(start, min(start + chunk, shape[0]))
        network = model if hasattr(model, "prediction") else model(part)
        given = dict(shape=(part.stop - start, *shape[1:])) if x_T is None else dict(x_T=x_T[part])
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            images.append(last(reverse(network, schedule, rule, seed=seed + i, clip_x0=clip, **given)))
    return torch.cat(images)


def to_list(images: Tensor, count: int) -> list:
    """The first `count` images as nested lists of grey values 0..255, which a job can return."""
    return show.to_grey(images[:count]).tolist()


def to_images(grey: list) -> Tensor:
    """to_list() undone: (n, 1, S, S) in [-1, 1]."""
    return torch.tensor(grey)[:, None] / 127.5 - 1


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
    return dict(
        distance=round(metrics.frechet_between(features(images, name), real_features(name, few)), 4),
        confident=round(metrics.confident_share(images, data=name), 4),
        class_shares=[round(float(share), 4) for share in shares],
        smallest_class=round(float(shares.min()), 4),
    )
