"""Can a diffusion model memorise? A small U-Net trained on 25, 100, 400 and all 1,437 digits.

Writes data/results/memorise.json, and memorise.safetensors: samples, each beside its nearest training image.
"""

from __future__ import annotations

import time

import torch

from helpers import checkpoints, metrics, show
from helpers.schedule import cosine
from helpers.train import digits
from helpers.train.objectives import (
    SHOWN,
    draw,
    fit,
    images,
    loss_by_level,
    score,
    small_recipe,
    split,
    stats,
    upto,
)  # fmt: skip
from helpers.train.series import forget, run_series

SIZES, STEPS, SEEDS = (25, 100, 400, 1437), 3000, (0, 1)
CLOSE = 1 / 3  # a sample is a copy when its nearest training image is this much nearer than the second one
KEYS = ("copies", "nearer", "novelty", "distance", "held_out_distance", "held_out_copies", "frechet",
        "confident", "smallest_class", "entropy", "loss")  # fmt: skip


def copies(images, training) -> float:
    """Share of images (N, ..) at most a third as far from their nearest training image as from the second."""
    near = torch.cdist(images.flatten(1), training.flatten(1)).topk(2, dim=1, largest=False).values
    return round(float((near[:, 0] <= CLOSE * near[:, 1]).float().mean()), 4)


def one(size: int, seed: int) -> dict:
    """Train on `size` of the training digits, drawn anew for every seed; are the samples copies?"""
    train, held_out = split()
    training = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:size]]
    run, loss = fit(cosine(), seed, steps=STEPS, x=training)
    model = run.ema.model
    samples = draw(model, cosine(), seed=1 + seed)
    index, distance = metrics.nearest_neighbours(samples, training)
    shown = torch.cat([samples[:SHOWN], training[index[:SHOWN]]])
    _, fresh = metrics.nearest_neighbours(held_out, training)
    repeats = max(1, round(360 / size))
    return dict(
        seed=seed,
        loss=round(loss, 5),
        copies=copies(samples, training),
        held_out_copies=copies(held_out, training),
        distance=round(float(distance.median()), 4),
        held_out_distance=round(float(fresh.median()), 4),
        **score(samples, training),
        levels=dict(
            training=loss_by_level(model, cosine(), training, repeats=repeats)["v"],
            held_out=loss_by_level(model, cosine(), held_out)["v"],
        ),
        samples=show.to_grey(shown).tolist() if seed == SEEDS[0] else [],
        histogram=dict(
            samples=torch.histc(distance, 40, 0, 1).int().tolist(),
            held_out=torch.histc(fresh, 40, 0, 1).int().tolist(),
        ),
    )


def main(sizes=SIZES, folder=None) -> None:
    """Train every size from every seed; write data/results/memorise.json and memorise.safetensors.

    Seed by seed, written after each, so that a table with fewer seeds is there early.
    """
    start = time.perf_counter()
    for seeds in upto(SEEDS):
        jobs = {f"{n} {s}": lambda n=n, s=s: one(n, s) for s in seeds for n in sizes}
        found = run_series("memorise", jobs)
        about = {**small_recipe(STEPS), "sizes": list(sizes), "seeds": list(seeds), "close": CLOSE}
        results = dict(recipe=about, floors=digits.floors(), sizes={})
        pictures = {}
        for n in sizes:
            runs = [found[f"{n} {s}"] for s in seeds]
            drawn = images(runs)
            pictures[f"samples_{n}"], pictures[f"nearest_{n}"] = drawn[:SHOWN], drawn[SHOWN:]
            levels = {part: torch.tensor([run["levels"][part] for run in runs]).mean(0).tolist()
                      for part in ("training", "held_out")}  # fmt: skip
            results["sizes"][str(n)] = {
                **{key: stats([run[key] for run in runs]) for key in KEYS},
                "levels": {part: [round(value, 5) for value in values] for part, values in levels.items()},
                "histogram": runs[0]["histogram"],
            }
        checkpoints.save_images("memorise", folder, **pictures)
        results["seconds"] = round(time.perf_counter() - start)
        checkpoints.save_results("memorise", results, folder)
    forget("memorise")


if __name__ == "__main__":
    main()
