"""Seconds for 64 MNIST images by number of network evaluations, on this machine's CPU (notebook 05).

About a minute on two cores; run it on a machine with nothing else to do. The time of 1,000 evaluations is
ten times that of 100.
"""

from __future__ import annotations

import statistics
import time

import torch

from helpers import checkpoints
from helpers.sampling import last, reverse
from helpers.schedule import cosine
from helpers.train.samplers import CLIP, EVALUATIONS, NAME, SAMPLERS

IMAGES = 64


def seconds(model, rule, bf16: bool, repeats: int) -> float:
    """Median seconds of drawing IMAGES images, start to end."""
    times = []
    for seed in range(repeats):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            last(reverse(model, cosine(), rule, (IMAGES, 1, 28, 28), seed=seed, clip_x0=CLIP))
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def times(model, sampler: str, bf16: bool, counts) -> dict:
    """{evaluations: seconds}; beyond 100 scaled from 100."""
    short = [count for count in counts if count <= 100]
    seconds(model, SAMPLERS[sampler](2), bf16, 1)  # the first call prepares the convolutions
    measured = {c: seconds(model, SAMPLERS[sampler](c), bf16, 3 if c <= 20 else 1) for c in short}
    scaled = {c: measured[short[-1]] * c / short[-1] for c in counts if c > 100}
    return {str(c): round(s, 3) for c, s in {**measured, **scaled}.items()}


def main(counts=EVALUATIONS, folder=None) -> None:
    """Write data/results/sampler_seconds.json (or the same in `folder`)."""
    start, model = time.perf_counter(), checkpoints.load_model(NAME).requires_grad_(False)
    found = dict(
        bf16={sampler: times(model, sampler, True, counts) for sampler in SAMPLERS},
        float32={"dpm": times(model, "dpm", False, [c for c in counts if c <= 20])},
    )
    print(NAME, found["bf16"]["dpm"], flush=True)
    results = dict(
        images=IMAGES, clip_x0=CLIP, networks={NAME: found}, threads=torch.get_num_threads(),
        scaled="counts beyond 100 are scaled from 100", repeats="median of 3 up to 20 evaluations",
        seconds=round(time.perf_counter() - start),
    )  # fmt: skip
    checkpoints.save_results("sampler_seconds", results, folder)


if __name__ == "__main__":
    main()
