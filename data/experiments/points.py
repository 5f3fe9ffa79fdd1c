"""The variants of notebook 02: schedules at T = 100, variances, noise at the last step, every k-th level."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from data.experiments.jobs import cross, figure, figures, group
from data.experiments.networks import schedule_of, train_network
from data.experiments.runner import Experiment
from helpers import data, metrics
from helpers.models import PointMLP, parameter_count
from helpers.sampling import Rule, ancestral, ddim, last, reverse
from helpers.schedule import at

RECIPE = dict(batch_size=512, lr=3e-3, ema=0.999, bf16=False)
RECIPE |= dict(steps={"board": 1800, "lopsided moons": 1200}, clip_x0={"board": 1.0, "lopsided moons": 1.15})


def skip_levels(every: int) -> Rule:
    """Ask only at every `every`-th level, but move with the one-level formula: the naive way to save time."""
    return dataclasses.replace(ancestral(), levels=lambda T: list(range(T, 0, -every)))


def noise_at_last_step() -> Rule:
    """The ancestral rule with noise of variance beta added to the finished sample too: a frequent mistake."""
    rule = ancestral()

    def move(schedule, x, t, t_next, eps, x0, draw, before=None):
        moved = rule.move(schedule, x, t, t_next, eps, x0, draw, before)
        return moved if t_next else moved + at(schedule.betas, t, x).sqrt() * draw()

    return dataclasses.replace(rule, move=move)


def lopsided_moons(n: int, seed: int, upper: float) -> Tensor:
    """Independent draws (n, 2) from the moons, the share `upper` from the upper one: their mean is not 0."""
    g = torch.Generator().manual_seed(seed)
    points, moon = data.moons(200_000, seed=seed)
    parts = [points[moon == i] for i in (0, 1)]
    sizes = [round(upper * n), n - round(upper * n)]
    return torch.cat([p[torch.randint(len(p), (k,), generator=g)] for p, k in zip(parts, sizes, strict=True)])


def upper_share(points: Tensor) -> float:
    """Share of the points (n, 2) that lie nearer to the upper moon."""
    crowd, moon = data.moons(5000, seed=0)
    nearest, _ = metrics.nearest_neighbours(points, crowd)
    return float((moon[nearest] == 0).float().mean())


def train_points(work, shape: str, schedule: str, T: int, seed: int):
    """A network for points of this shape, from a short training: the averaged weights."""
    s = work.settings
    if shape == "board":
        x, _ = data.checkerboard(s["points"], seed=seed)
    else:
        x = lopsided_moons(s["points"], seed, s["upper"])
    torch.manual_seed(seed)
    recipe = dict(s["recipe"], schedule=schedule, T=T, steps=s["recipe"]["steps"][shape], seed=seed)
    return train_network(work, PointMLP(), x, recipe)[0].ema.model


class Points(Experiment):
    """Notebook 02: what each mistake costs, on points."""

    name, hours, makes = "points", 0.2, ("results/points.json",)
    settings = dict(seeds=[0, 1, 2], points=10_000, upper=0.9, samples={"100": 10_000, "1000": 2000})
    settings |= dict(every=[2, 5, 20], schedules=["uncorrected", "linear", "cosine"], recipe=RECIPE)
    quick = dict(seeds=[0, 1], points=500, samples={"24": 60, "40": 60}, every=[2])
    quick |= dict(recipe=dict(RECIPE, steps={"board": 3, "lopsided moons": 3}))

    def list_jobs(self, s):
        """Three schedules for the moons, two numbers of levels for the board."""
        few, *_ = counts = [int(T) for T in s["samples"]]
        moons = {f"moons {n}": dict(shape="lopsided moons", schedule=n, T=few) for n in s["schedules"]}
        board = {f"board {T}": dict(shape="board", schedule="cosine", T=T) for T in counts}
        return cross({**moons, **board}, s["seeds"])

    def measure(self, work, shape, schedule, T, seed):
        """{group: {variant: {measure: number}}} of one network."""
        s, model = work.settings, train_points(work, shape, schedule, T, seed)
        levels, n = schedule_of(dict(schedule=schedule, T=T)), s["samples"][str(T)]
        options = dict(shape=(n, 2), seed=100 + seed, clip_x0=s["recipe"]["clip_x0"][shape])

        def measure_inside(rule: Rule) -> dict:
            return dict(inside=metrics.share_inside(last(reverse(model, levels, rule, **options))))

        if shape == "lopsided moons":
            target, rows = lopsided_moons(n, 200 + seed, s["upper"]), {}
            for name, rule in (("ancestral", ancestral()), ("DDIM", ddim(T // 2))):
                x = last(reverse(model, levels, rule, **options))
                row = dict(distance=metrics.sliced_wasserstein(x, target), upper=upper_share(x))
                rows[f"{'rescaled' if schedule == 'linear' else schedule}-{name}"] = row
            return dict(schedules=rows)
        rows = {f"{name}-{T}": measure_inside(ancestral(name)) for name in ("posterior", "beta")}
        noisy = measure_inside(noise_at_last_step())
        last_step = {f"without-{T}": rows[f"posterior-{T}"], f"with-{T}": noisy}
        found = dict(variance=rows, last_step=last_step)
        if T == max(map(int, s["samples"])):
            found["every"] = {"naive-1": rows[f"posterior-{T}"]}
            for k in s["every"]:
                found["every"][f"naive-{k}"] = measure_inside(skip_levels(k))
                found["every"][f"DDIM-{k}"] = measure_inside(ddim(T // k))
        return found

    def assemble(self, work, done):
        """A figure of every measure over the seeds; the signal that each schedule leaves; the floor."""
        s, results = work.settings, {"schedules": {}, "variance": {}, "last_step": {}, "every": {}}
        for runs in group(done, s["seeds"]).values():
            for part, rows in runs[0].items():
                for variant, row in rows.items():
                    results[part][variant] = figures([run[part][variant] for run in runs], row)
        few, left = min(map(int, s["samples"])), {}
        for name in s["schedules"]:
            root = schedule_of(dict(schedule=name, T=few)).exact(few).sqrt()
            left["rescaled" if name == "linear" else name] = round(float(root), 4)
        n, upper, model = s["samples"][str(few)], s["upper"], PointMLP()
        pairs = [[lopsided_moons(n, i, upper) for i in (seed, seed + 1)] for seed in range(300, 310, 2)]
        floor = figure([metrics.sliced_wasserstein(*pair) for pair in pairs])
        recipe = dict(s["recipe"], **{key: s[key] for key in ("points", "upper", "samples")})
        recipe |= dict(network=model.config, parameters=parameter_count(model))
        work.save_results(dict(recipe=recipe, seeds=s["seeds"], floor=floor, **results, root_alpha_bar=left))

    def bounds(self, found):
        left, rows, every = found["root_alpha_bar"], found["schedules"], found["every"]
        yield abs(left["uncorrected"] - 0.60) < 0.01, "the uncorrected schedule leaves 0.60 of the signal"
        wrong = rows["uncorrected-DDIM"]
        missed = abs(wrong["upper"]["mean"] - 0.9) > 0.03
        yield missed, "the uncorrected schedule misses the share of the moons"
        for name in ("rescaled", "cosine"):
            right = rows[f"{name}-DDIM"]
            yield left[name] < 0.01, f"{name} ends in noise"
            far = max(right["distance"]["values"]) < 0.6 * min(wrong["distance"]["values"])
            yield far, f"{name} is nearer than 0.6 times the uncorrected distance, with every seed"
            yield abs(right["upper"]["mean"] - 0.9) < 0.03, f"{name} meets the share of the moons"
        inside = {name: row["inside"]["mean"] for name, row in every.items()}
        fails = inside["naive-20"] < 0.5 < 0.85 < inside["DDIM-20"]
        yield fails, "every 20th level fails naively, not with DDIM"
        for k in (2, 5):
            costs = inside[f"naive-{k}"] < inside[f"DDIM-{k}"] - 0.05
            yield costs, f"every {k}th level costs 5 points naively"
        noisy, clean = (found["last_step"][f"{name}-100"]["inside"]["values"] for name in ("with", "without"))
        worse = all(a < b for a, b in zip(noisy, clean, strict=True))
        yield worse, "noise at the last of 100 steps hurts, with every seed"


EXPERIMENTS = [Points()]
