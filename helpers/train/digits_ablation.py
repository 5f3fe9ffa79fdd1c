"""What are attention, skips and time worth? The U-Net of notebook 03 without each, at an equal, short
budget."""

from __future__ import annotations

from functools import partial

import torch

from helpers import checkpoints, show
from helpers.models import UNet, parameter_count
from helpers.train.digits import draw, fit, floors, recipe, scores, summary
from helpers.train.series import forget, run_series

SEEDS, STEPS, SHOWN = (0, 1), 600, 10
VARIANTS = {
    "full": {},
    "no_attention": {"attention": False},
    "no_skips": {"skips": False},
    "no_time": {"time": False},
}


def one(config: dict, seed: int) -> dict:
    """Train one variant from one seed; its scores, and its first samples as lists of grey values 0..255."""
    run, log = fit(steps=STEPS, seed=seed, **config)
    samples = draw(run.ema.model)
    grey = show.to_grey(samples[:SHOWN]).tolist()
    times = {k: log[k] for k in ("cpu_seconds", "bf16")}
    return dict(seed=seed, **scores(samples), loss=log["loss"][-1:], **times, samples=grey)


def main() -> None:
    """Train the four variants, two seeds each; write data/results/digits_ablation.json
    and .safetensors (a few samples of each)."""
    jobs = {f"{name} {s}": partial(one, config, s) for name, config in VARIANTS.items() for s in SEEDS}
    found, variants, images = run_series("digits_ablation", jobs), {}, {}
    for name, config in VARIANTS.items():
        runs = [found[f"{name} {s}"] for s in SEEDS]
        samples = [run.pop("samples") for run in runs][0]
        images[name] = torch.tensor(samples)[:, None] / 127.5 - 1
        variants[name] = dict(parameters=parameter_count(UNet(**config)), **summary(runs))
    checkpoints.save_images("digits_ablation", **images)
    checkpoints.save_results(
        "digits_ablation", dict(recipe=recipe(STEPS), floors=floors(), variants=variants)
    )
    forget("digits_ablation")


if __name__ == "__main__":
    main()
