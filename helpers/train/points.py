"""The variants of notebook 02 on the checkerboard: schedules at T = 100, variances, last step, every k-th level."""

from __future__ import annotations

import json
import statistics

import torch

from helpers import checkpoints, data, metrics
from helpers.models import PointMLP, parameter_count
from helpers.sampling import ancestral, ddim, last, reverse
from helpers.schedule import cosine, linear
from helpers.training import Run, train

SEEDS = (0, 1, 2)
STEPS, BATCH, LR, SAMPLES, LIMIT = 1800, 512, 3e-3, 2000, 1.0
SCHEDULES = {
    "uncorrected": lambda: linear(100, rescale=False), "linear, rescaled": lambda: linear(100), "cosine": lambda: cosine(100),
}  # fmt: skip
EVERY = (1, 2, 5, 20)
PART = checkpoints.RESULTS / ".points.part.json"


def network(schedule, seed: int) -> PointMLP:
    """A short training on 10,000 points of the board; the averaged weights."""
    torch.manual_seed(seed)
    run = Run(PointMLP(), lr=LR, seed=seed)
    for _ in train(run, schedule, data.checkerboard(10_000, seed=seed)[0], STEPS, BATCH):
        pass
    return run.ema.model


def score(model, schedule, rule, seed: int) -> tuple[float, float]:
    """Share inside the squares, and sliced Wasserstein distance to as many real points."""
    x = last(reverse(model, schedule, rule, (SAMPLES, 2), seed=100 + seed, clip_x0=LIMIT))
    return metrics.share_inside(x), metrics.sliced_wasserstein(
        x, data.checkerboard(SAMPLES, seed=200 + seed)[0]
    )


def one_seed(seed: int) -> dict:
    """{group: {variant: (inside, distance)}} for one seed."""
    found = {"schedules": {}, "variance": {}, "last_step": {}, "every": {}}
    for name, schedule in SCHEDULES.items():
        short = schedule()
        model = network(short, seed)
        found["schedules"][name] = score(model, short, ancestral(), seed)
    long = cosine(1000)
    for schedule, net in ((short, model), (long, network(long, seed))):
        scores = {}
        for variance in ("posterior", "beta"):
            scores[variance] = score(model, schedule, ancestral(variance), seed)
            found["variance"][f"{variance}, T = {schedule.T}"] = scores[variance]
        found["last_step"][f"without, T = {schedule.T}"] = scores["posterior"]
        with_noise = score(model, schedule, ancestral(noise_at_last_step=True), seed)
        found["last_step"][f"with, T = {schedule.T}"] = with_noise
    for k in EVERY:
        naive = scores["posterior"] if k == 1 else score(model, long, ancestral(every=k), seed)
        found["every"][f"naive, every {k}"] = naive
        found["every"][f"DDIM, every {k}"] = score(model, long, ddim(1000 // k), seed)
    return found


def spread(values) -> dict:
    """Mean, standard deviation over the seeds, and each value."""
    values = [round(v, 5) for v in values]
    return dict(mean=round(statistics.mean(values), 5), std=round(statistics.stdev(values), 5), all=values)


def main() -> None:
    """Write data/results/points.json; seeds already measured are kept in a file beside it until the end."""
    done = json.loads(PART.read_text(encoding="utf-8")) if PART.exists() else {}
    for seed in SEEDS:
        if str(seed) not in done:
            done[str(seed)] = one_seed(seed)
            with checkpoints.whole_or_not_at_all(PART) as part:
                part.write_text(json.dumps(done), encoding="utf-8")
            print(f"points: seed {seed} {done[str(seed)]['schedules']}", flush=True)
    runs = list(done.values())
    results = {
        group: {
            name: dict(
                inside=spread([run[group][name][0] for run in runs]),
                distance=spread([run[group][name][1] for run in runs]),
            )
            for name in runs[0][group]
        }
        for group in runs[0]
    }
    for name, schedule in SCHEDULES.items():
        results["schedules"][name]["root_alpha_bar"] = round(float(schedule().alpha_bar(99).sqrt()), 4)
    floor = [
        metrics.sliced_wasserstein(*(data.checkerboard(SAMPLES, seed=s + i)[0] for i in (0, 1)))
        for s in range(300, 310, 2)
    ]
    recipe = dict(data="checkerboard, 10,000 points", steps=STEPS, batch_size=BATCH, lr=LR, prediction="eps", ema=0.999, clip_x0=LIMIT,
                  samples=SAMPLES, network=PointMLP().config, parameters=parameter_count(PointMLP()))  # fmt: skip
    checkpoints.save_results("points", dict(recipe=recipe, seeds=list(SEEDS), floor=spread(floor), **results))
    PART.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
