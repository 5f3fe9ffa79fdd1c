"""The noise of the live pages (notebooks/live/sampling.js) in Python: one seed gives one start in both."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

STRIDE = np.uint32(0x6D2B79F5)  # from one count to the next


def _stir(count: np.ndarray) -> np.ndarray:
    """Numbers between 0 and 1, (n,) float64, from counts (n,) uint32: mulberry32 (T. Ettinger, 2017)."""
    z = count ^ (count >> np.uint32(15))
    z = z * (count | np.uint32(1))
    z ^= z + (z ^ (z >> np.uint32(7))) * (z | np.uint32(61))
    return (z ^ (z >> np.uint32(14))) / 2.0**32 + 2.0**-33


def generator(seed: int) -> Callable[[int], Tensor]:
    """draw(n) of sampling.js' Live.generator(seed): each call goes on where the last one stopped.

    seed: 0 .. 2**32 - 1. draw(n) returns (n,) float32, standard normal, pairs by Box-Muller.
    """
    count = np.uint32(seed)

    def draw(n: int) -> Tensor:
        nonlocal count
        pairs = (n + 1) // 2
        counts = count + STRIDE * np.arange(1, 2 * pairs + 1, dtype=np.uint32)
        count = counts[-1] if n else count
        u = _stir(counts).reshape(pairs, 2)
        radius, angle = np.sqrt(-2 * np.log(u[:, 0])), 2 * np.pi * u[:, 1]
        both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
        return torch.from_numpy(both.reshape(-1)[:n].astype(np.float32))

    return draw


def draw(seed: int, n: int) -> Tensor:
    """The first n numbers of a seed, (n,) float32."""
    return generator(seed)(n)
