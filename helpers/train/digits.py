"""The 8x8 digits U-Net of notebook 03: a short training, two seeds, with its scores and their floors."""

from __future__ import annotations

import time
from functools import partial

import torch

from helpers import checkpoints, data, metrics
from helpers.models import UNet, parameter_count
from helpers.sampling import ddim, last, reverse
from helpers.schedule import cosine
from helpers.train.series import forget, run_series
from helpers.training import Run, bf16_is_faster, train

STEPS, BATCH, LR, DRAW_STEPS, SEEDS = 3400, 64, 2e-3, 50, (0, 1)


def split() -> tuple[torch.Tensor, torch.Tensor]:
    """(training images (1437, 1, 8, 8), held-out images (360, 1, 8, 8)): every fifth digit is held out."""
    x, _ = data.digits()
    held_out = torch.arange(len(x)) % 5 == 0
    return x[~held_out], x[held_out]


def fit(schedule=None, steps: int = STEPS, seed: int = 0, **config) -> tuple[Run, dict]:
    """Train UNet(**config) on the training digits; returns the finished Run and a log.

    log: loss (mean of every 100 steps), seconds, cpu_seconds (of all threads together), threads, bf16.
    """
    x, _ = split()
    torch.manual_seed(seed)
    run = Run(UNet(**config), lr=LR, seed=seed)
    bf16 = bf16_is_faster(run.model, x[:BATCH], torch.zeros(BATCH, dtype=torch.long))
    start, cpu, loss, recent = time.perf_counter(), time.process_time(), [], []
    for step in train(run, schedule or cosine(), x, steps, BATCH, bf16=bf16):
        recent.append(step.loss)
        if len(recent) == 100:
            loss.append(round(sum(recent) / 100, 5))
            recent = []
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    times = dict(seconds=round(seconds, 1), cpu_seconds=round(cpu, 1), threads=torch.get_num_threads())
    return run, dict(loss=loss, **times, bf16=bf16)


def draw(
    model, schedule=None, n: int = metrics.SAMPLES, seed: int = 1, eta: float = 1.0, clip: float | None = 1.0
):
    """n samples (n, 1, 8, 8): 50 of 1,000 levels, fresh noise at each (eta = 1), x_0 kept within +-clip."""
    rule = ddim(DRAW_STEPS, eta=eta)
    return last(reverse(model, schedule or cosine(), rule, (n, 1, 8, 8), seed=seed, clip_x0=clip))


def frechet(images: torch.Tensor, draws: int = 5, seed: int = 0) -> float:
    """Frechet distance from real digits, measured as metrics.frechet_floor measures its floor.

    The mean distance of the first 898 images (n, 1, 8, 8) from its five random halves of 899 real digits.
    Raises ValueError for fewer images.
    """
    x, _ = data.digits()
    n, g = len(x) // 2, torch.Generator().manual_seed(seed)
    if len(images) < n:
        raise ValueError(f"the floor is that of {n} images; got {len(images)}")
    halves = [x[torch.randperm(len(x), generator=g)[n:]] for _ in range(draws)]
    return sum(metrics.frechet_distance(images[:n], half) for half in halves) / draws


def scores(images: torch.Tensor) -> dict:
    """Everything notebook 03 asks of 1,000 samples (n, 1, 8, 8)."""
    shares = metrics.class_shares(images)
    found = dict(
        confident=metrics.confident_share(images),
        frechet=frechet(images),
        smallest_class=float(shares.min()),
        nearest=float(metrics.nearest_neighbours(images, split()[0])[1].median()),
        mean=float(images.mean()),
        std=float(images.std()),
    )
    return {**{k: round(v, 4) for k, v in found.items()}, "classes": [round(float(s), 4) for s in shares]}


def floors() -> dict:
    """The same scores of real digits: all of them, the held-out ones, and real halves against each other."""
    x, held_out = data.digits()[0], split()[1]
    distance, spread = metrics.frechet_floor(x)
    found = dict(
        confident=metrics.confident_share(x),
        confident_held_out=metrics.confident_share(held_out),
        frechet=distance,
        frechet_std=spread,
        smallest_class=float(metrics.class_shares(x).min()),
        nearest=float(metrics.nearest_neighbours(held_out, split()[0])[1].median()),
        mean=float(x.mean()),
        std=float(x.std()),
    )
    return {k: round(v, 4) for k, v in found.items()}


def recipe(steps: int = STEPS) -> dict:
    """How these networks are trained and asked, for the results file."""
    return dict(
        data="digits, every fifth held out",
        network="UNet(channels=(32, 64))",
        parameters=parameter_count(UNet()),
        schedule="cosine",
        T=1000,
        prediction="v",
        optimizer="AdamW",
        weight_decay=0.01,
        lr=LR,
        batch_size=BATCH,
        steps=steps,
        clip=1.0,
        ema=0.999,
        sampler=f"DDIM, {DRAW_STEPS} steps, eta 1, x_0 kept in [-1, 1]",
        samples=metrics.SAMPLES,
    )


def summary(runs: list[dict]) -> dict:
    """Mean and spread (largest minus smallest) over seeds of the scores that are single numbers."""
    keys = ("confident", "frechet", "smallest_class", "nearest")
    values = {k: [r[k] for r in runs] for k in keys}
    return {**{k: round(sum(v) / len(v), 4) for k, v in values.items()},
            "spread": {k: round(max(v) - min(v), 4) for k, v in values.items()}, "seeds": runs}  # fmt: skip


def main() -> None:
    """Train two seeds; ship the first; write data/results/digits.json."""

    def one(seed: int) -> dict:
        run, log = fit(seed=seed)
        path = checkpoints.CHECKPOINTS / "digits_unet.safetensors"
        if seed == SEEDS[0]:
            checkpoints.save_model(path, run.ema.model, {**recipe(), "seed": seed, "bf16": log["bf16"]}, log)
        times = {k: log[k] for k in ("seconds", "cpu_seconds", "threads", "bf16")}
        score = {**scores(draw(run.ema.model)), "deterministic": scores(draw(run.ema.model, eta=0.0))}
        return dict(seed=seed, **score, loss=log["loss"][-1:], **times)

    runs = run_series("digits", {str(seed): partial(one, seed) for seed in SEEDS})
    results = dict(recipe=recipe(), floors=floors(), **summary(list(runs.values())))
    checkpoints.save_results("digits", results)
    forget("digits")


if __name__ == "__main__":
    main()
