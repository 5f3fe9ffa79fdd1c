"""The variants of notebook 02: schedules at T = 100, variances, noise at the last step, every k-th level."""

from __future__ import annotations

import json
import statistics

import torch
from torch import Tensor

from helpers import checkpoints, data, metrics
from helpers.models import PointMLP, parameter_count
from helpers.sampling import ancestral, ddim, last, reverse
from helpers.schedule import cosine, linear
from helpers.training import Run, train

SEEDS = (0, 1, 2)
BATCH, LR, POINTS = 512, 3e-3, 10_000
STEPS = {"board": 1800, "lopsided moons": 1200}
SAMPLES = {100: 10_000, 1000: 2000}  # by T
LIMIT = {"board": 1.0, "lopsided moons": 1.15}  # the estimate of x_0 is clamped there
UPPER = 0.9  # share of the lopsided moons' points on the upper one
SCHEDULES = {
    "uncorrected": lambda: linear(100, rescale=False),
    "rescaled": lambda: linear(100),
    "cosine": lambda: cosine(100),
}
PART = checkpoints.RESULTS / ".points.part.json"


def lopsided_moons(n: int, seed: int) -> Tensor:
    """Independent draws (n, 2) from the moons, UPPER of them from the upper one: data whose mean is not 0."""
    g = torch.Generator().manual_seed(seed)
    points, moon = data.moons(200_000, seed=seed)
    parts = [points[moon == i] for i in (0, 1)]
    sizes = [round(UPPER * n), n - round(UPPER * n)]
    return torch.cat([p[torch.randint(len(p), (k,), generator=g)] for p, k in zip(parts, sizes, strict=True)])


def upper_share(points: Tensor) -> float:
    """Share of the points (n, 2) that lie nearer to the upper moon."""
    crowd, moon = data.moons(5000, seed=0)
    nearest, _ = metrics.nearest_neighbours(points, crowd)
    return float((moon[nearest] == 0).float().mean())


def network(name: str, schedule, seed: int) -> PointMLP:
    """A short training; the averaged weights."""
    points = lopsided_moons(POINTS, seed) if name != "board" else data.checkerboard(POINTS, seed=seed)[0]
    torch.manual_seed(seed)
    run = Run(PointMLP(), lr=LR, seed=seed)
    for _ in train(run, schedule, points, STEPS[name], BATCH):
        pass
    return run.ema.model


def sample(name: str, model, schedule, rule, seed: int) -> Tensor:
    """Finished samples (n, 2)."""
    shape = (SAMPLES[schedule.T], 2)
    return last(reverse(model, schedule, rule, shape, seed=100 + seed, clip_x0=LIMIT[name]))


def one_seed(seed: int) -> dict:
    """{group: {variant: {measure: number}}} for one seed."""
    found = {"schedules": {}, "variance": {}, "last_step": {}, "every": {}}
    real = lopsided_moons(SAMPLES[100], seed=200 + seed)
    for name, make in SCHEDULES.items():
        schedule = make()
        model = network("lopsided moons", schedule, seed)
        for rule, rule_name in ((ancestral(), "ancestral"), (ddim(50), "DDIM")):
            x = sample("lopsided moons", model, schedule, rule, seed)
            row = dict(distance=metrics.sliced_wasserstein(x, real), upper=upper_share(x))
            found["schedules"][f"{name}-{rule_name}"] = row
    for T in SAMPLES:
        schedule = cosine(T)
        model = network("board", schedule, seed)

        def inside(rule, model=model, schedule=schedule):
            return dict(inside=metrics.share_inside(sample("board", model, schedule, rule, seed)))

        for variance in ("posterior", "beta"):
            found["variance"][f"{variance}-{T}"] = inside(ancestral(variance))
        found["last_step"][f"without-{T}"] = found["variance"][f"posterior-{T}"]
        found["last_step"][f"with-{T}"] = inside(ancestral(noise_at_last_step=True))
    found["every"]["naive-1"] = found["variance"]["posterior-1000"]
    for k in (2, 5, 20):
        found["every"][f"naive-{k}"] = inside(ancestral(every=k))
        found["every"][f"DDIM-{k}"] = inside(ddim(1000 // k))
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
            print(f"points: seed {seed} done", flush=True)
    runs = list(done.values())
    results = {
        group: {
            name: {key: spread([run[group][name][key] for run in runs]) for key in row}
            for name, row in rows.items()
        }
        for group, rows in runs[0].items()
    }
    results["root_alpha_bar"] = {n: round(float(s().alpha_bar(99).sqrt()), 4) for n, s in SCHEDULES.items()}
    pairs = [[lopsided_moons(SAMPLES[100], seed=s + i) for i in (0, 1)] for s in range(300, 310, 2)]
    floor = spread([metrics.sliced_wasserstein(*pair) for pair in pairs])
    recipe = dict(
        points=POINTS, steps=STEPS, batch_size=BATCH, lr=LR, ema=0.999, clip_x0=LIMIT, upper=UPPER,
        samples={str(T): n for T, n in SAMPLES.items()}, network=PointMLP().config,
        parameters=parameter_count(PointMLP()),
    )  # fmt: skip
    checkpoints.save_results("points", dict(recipe=recipe, seeds=list(SEEDS), floor=floor, **results))
    PART.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
