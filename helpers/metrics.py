"""How good are the samples? Every score stands beside its floor: the same score of real against real data."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from helpers.classifiers import features, probabilities
from helpers.data import digits

SAMPLES = 1000  # the course's fixed sample size: a Frechet distance of another size is another number


def frechet_between(a: Tensor, b: Tensor) -> float:
    """Frechet distance of the Gaussians fitted to two sets of vectors (N, d), (M, d).

    |mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Heusel et al. 2017, arXiv:1706.08500, eq. 6).
    Raises ValueError when a set has fewer vectors than dimensions.
    """
    a, b = a.double(), b.double()
    if min(len(a), len(b)) <= a.shape[1]:
        raise ValueError(f"{min(len(a), len(b))} samples are too few for {a.shape[1]} features: take more")
    c_a, c_b = torch.cov(a.T), torch.cov(b.T)
    w, v = torch.linalg.eigh(c_a)
    root = v @ torch.diag(w.clamp(min=0).sqrt()) @ v.T
    cross = torch.linalg.eigvalsh(root @ c_b @ root).clamp(min=0).sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + c_a.trace() + c_b.trace() - 2 * cross)


def _part_five_times(vectors: Tensor, n: int) -> list[tuple[Tensor, Tensor]]:
    """Vectors (N, d) parted at random into (n, d) and (N - n, d), five times."""
    g = torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(vectors), generator=g) for _ in range(5)]
    return [(vectors[order[:n]], vectors[order[n:]]) for order in orders]


def frechet_floor(real: Tensor, n: int = SAMPLES) -> tuple[float, float]:
    """(mean, standard deviation) of the distance of n (at most half) of the real images from the others.

    real: (N, 1, S, S); parted at random five times. Raises ValueError for fewer than 65 in a part.
    """
    f = features(real)
    scores = [frechet_between(*parts) for parts in _part_five_times(f, max(0, min(n, len(f) // 2)))]
    return float(np.mean(scores)), float(np.std(scores))


def digits_frechet(samples: Tensor) -> float:
    """Frechet distance of 8x8 samples from the real digits, measured as frechet_floor measures its floor.

    The mean distance of the first 898 samples (n, 1, 8, 8) from five random halves of 899 real digits.
    Raises ValueError for fewer samples.
    """
    real = features(digits()[0])
    n = len(real) // 2
    if len(samples) < n:
        raise ValueError(f"the floor is that of {n} images; got {len(samples)}")
    f = features(samples[:n])
    return float(np.mean([frechet_between(f, half) for _, half in _part_five_times(real, n)]))


def confident_share(images: Tensor, threshold: float = 0.95, data: str | None = None) -> float:
    """Share of images (N, 1, S, S) for which the second classifier gives one class more than `threshold`."""
    return float((probabilities(images, data).max(1).values > threshold).float().mean())


def class_shares(images: Tensor, data: str | None = None) -> Tensor:
    """Share of each class among the images, by the second classifier, (10,)."""
    return torch.bincount(probabilities(images, data).argmax(1), minlength=10) / len(images)


def sliced_wasserstein(a: Tensor, b: Tensor, directions: int = 256, seed: int = 0) -> float:
    """Mean over random directions of the 1D Wasserstein-2 distance between two sets of n points (n, d) each.

    Unit: that of the points. (Bonneel et al. 2015.) Raises ValueError for sets of different size.
    """
    if a.shape != b.shape:
        raise ValueError(f"give two sets of the same size, got {tuple(a.shape)} and {tuple(b.shape)}")
    g = torch.Generator().manual_seed(seed)
    lines = torch.nn.functional.normalize(torch.randn(a.shape[1], directions, generator=g), dim=0)
    gaps = (a @ lines).sort(0).values - (b @ lines).sort(0).values
    return float(gaps.square().mean(0).sqrt().mean())


def squares(points: Tensor) -> Tensor:
    """Number 0..7 of the dark checkerboard square each point (n, 2) lies in, -1 outside, (n,) int64."""
    cell = torch.floor((points + 1) * 2).long()
    column, row = cell[:, 0], cell[:, 1]
    dark = (cell >= 0).all(1) & (cell <= 3).all(1) & ((column - row) % 2 == 0)
    return torch.where(dark, 2 * row + column // 2, -1)


def share_inside(points: Tensor) -> float:
    """Share of points (n, 2) inside the dark squares of the checkerboard; real data 1."""
    return float((squares(points) >= 0).float().mean())


def square_shares(points: Tensor) -> Tensor:
    """Share of the inside points in each of the 8 dark squares, (8,); real data 1/8 each."""
    inside = squares(points)
    inside = inside[inside >= 0]
    return torch.bincount(inside, minlength=8) / max(1, len(inside))


def nearest_neighbours(samples: Tensor, training: Tensor) -> tuple[Tensor, Tensor]:
    """For each sample (N, ..) the index (N,) of the nearest training example and their distance (N,).

    Distance: root mean squared difference a pixel, in the data's units; 0 for a copy.
    """
    a, b = samples.flatten(1), training.flatten(1)
    index = torch.cat([torch.cdist(part, b).argmin(1) for part in a.split(256)])
    return index, (a - b[index]).square().mean(1).sqrt()  # anew: cdist is only roughly 0 for a copy
