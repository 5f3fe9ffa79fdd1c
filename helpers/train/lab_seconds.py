"""How fast the lab of notebook 07 is here: seconds of a training step, and to draw 64 images."""

from __future__ import annotations

import time

import torch

from helpers import checkpoints, data
from helpers.exercises.nb07 import LabUNet, T
from helpers.models import parameter_count
from helpers.sampling import ancestral, ddim, reverse
from helpers.schedule import linear
from helpers.train.fashion import BATCH, EVERY, LR
from helpers.training import Run, train

STEPS, WARM, WALK = 100, 10, 40  # training steps measured and before; steps of the ancestral walk measured


def step_seconds(bf16: bool, steps: int) -> float:
    """Mean seconds of a training step of batch 64, after some that are not counted."""
    x, _ = data.fashion_mnist()
    torch.manual_seed(0)
    run = Run(LabUNet(), lr=LR)
    for step in train(run, linear(T), x, WARM + steps, BATCH, bf16=bf16):
        if step.step == WARM:
            start = time.perf_counter()
    return (time.perf_counter() - start) / steps


def walk_seconds(rule, bf16: bool, steps: int | None = None) -> float:
    """Seconds to draw 64 images; steps: measure so many and scale to the whole walk."""
    model, whole = LabUNet().eval(), len(rule.levels(T))
    walk, steps = reverse(model, linear(T), rule, (64, 1, 28, 28), clip_x0=1.0), min(steps or whole, whole)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        next(walk), next(walk)
        start = time.perf_counter()
        for _ in range(steps - 1):
            next(walk)
    return (time.perf_counter() - start) / (steps - 1) * whole


def main(steps: int = STEPS, walk: int = WALK) -> None:
    """Measure in float32 and under bfloat16 autocast; write data/results/lab_seconds.json."""
    found = {}
    for name, bf16 in (("float32", False), ("bfloat16", True)):
        found[name] = dict(
            step=round(step_seconds(bf16, steps), 4),
            ancestral_64=round(walk_seconds(ancestral(), bf16, walk), 2),
            every_64=round(walk_seconds(ddim(T // EVERY), bf16), 2),
        )
        print("lab_seconds:", name, found[name], flush=True)
    faster = min(found, key=lambda name: found[name]["step"])
    checkpoints.save_results("lab_seconds", dict(
        **found, faster=faster, batch_size=BATCH, steps=steps, walk_steps=walk, T=T, every=EVERY,
        threads=torch.get_num_threads(), parameters=parameter_count(LabUNet()),
    ))  # fmt: skip


if __name__ == "__main__":
    main()
