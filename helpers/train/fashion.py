"""Notebook 07: the lab's network on Fashion-MNIST and on MNIST with one recipe, and its two stretch tasks.

Trainings of 3,000 steps, about five minutes each on one core. Snapshots of the averaged weights are drawn and
scored on the way, in every 10th level; the last one also by the ancestral walk, and the shipped ones in every
10th level with fresh noise.
"""

from __future__ import annotations

import time
from functools import cache

import torch
from torch import nn

from helpers import checkpoints, data, metrics, show
from helpers.classifiers import features, probabilities
from helpers.exercises.nb07 import LabUNet, T
from helpers.models import parameter_count
from helpers.sampling import ancestral, ddim, last, reverse
from helpers.schedule import cosine, linear
from helpers.train.mnist_results import spread
from helpers.train.series import forget, run_series
from helpers.training import Run, bf16_is_faster, train

NAME = "fashion"
STEPS, BATCH, LR, SEEDS, CLIP = 3_000, 64, 1e-3, (0,), 1.0
SNAPSHOTS = (250, 500, 1_000, 2_000, 3_000)
SAMPLES, CHUNK, EVERY, SHOWN = 500, 100, 10, 16
SETS = {"fashion": data.fashion_mnist, "mnist": data.mnist}
KINDS = {  # name of the job: data, schedule, classes
    "fashion": ("fashion", linear, 0),
    "mnist": ("mnist", linear, 0),
    "cosine": ("fashion", cosine, 0),
    "classes": ("fashion", linear, 10),
}


class Asked(nn.Module):
    """A network with labels, seen by the reverse loop as one without: class i % 10 for example i."""

    def __init__(self, model: LabUNet):
        super().__init__()
        self.model, self.prediction = model, model.prediction

    def forward(self, x, t):
        return self.model(x, t, torch.arange(len(x), device=x.device) % self.model.classes)


@cache
def loaded(name: str) -> dict:
    """Images and labels of a data set, and the features of its test images; read once."""
    x, y = SETS[name](True)
    test, labels = SETS[name](False)
    return dict(x=x, y=y, test=test, labels=labels, real=features(test, name))


def draw(model, schedule, n: int, seed: int, rule=None) -> torch.Tensor:
    """n samples (n, 1, 28, 28) in chunks; ancestral, or by `rule`; one class after the other with labels."""
    model = (Asked(model) if model.classes else model).eval()
    counts, images = [min(CHUNK, n - i) for i in range(0, n, CHUNK)], []
    for i, count in enumerate(counts):
        walk = reverse(model, schedule, rule or ancestral(), (count, 1, 28, 28), 1000 * seed + i, CLIP)
        images.append(last(walk))
    return torch.cat(images)


def score(images: torch.Tensor, name: str, asked: bool = False) -> dict:
    """Distance from the test images, confidence, class shares; asked: the share judged as the class asked."""
    judged = probabilities(images, name).max(1)
    shares = torch.bincount(judged.indices, minlength=10) / len(images)
    found = dict(
        distance=round(metrics.frechet_between(features(images, name), loaded(name)["real"]), 3),
        confident=round(float((judged.values > 0.95).float().mean()), 4),
        class_shares=[round(float(share), 4) for share in shares],
    )
    if asked:
        y = torch.cat([torch.arange(len(part)) % 10 for part in images.split(CHUNK)])
        hit = (judged.indices == y).float()
        found["as_asked"] = round(float(hit.mean()), 4)
        found["as_asked_by_class"] = [round(float(hit[y == k].mean()), 4) for k in range(10)]
    return found


def one(kind: str, seed: int) -> dict:
    """Train one network; its loss, its scores on the way, and a few images. Seed 0 leaves its checkpoint."""
    name, make, classes = KINDS[kind]
    sets, schedule = loaded(name), make(T)
    torch.manual_seed(seed)
    model = LabUNet(classes=classes)
    run = Run(model, lr=LR, seed=seed)
    levels = torch.zeros(BATCH, dtype=torch.long)
    bf16 = bf16_is_faster(model, sets["x"][:BATCH], levels)
    options = dict(labels=sets["y"], drop=0.0) if classes else {}
    loss, recent, snapshots, images, start, apart = [], 0.0, [], {}, time.perf_counter(), 0.0
    for step in train(run, schedule, sets["x"], STEPS, BATCH, bf16=bf16, **options):
        recent += step.loss
        if step.step % 50 == 0:
            loss.append(round(float(recent) / 50, 5))
            recent = 0.0
        if step.step in SNAPSHOTS:
            began = time.perf_counter()
            samples = draw(run.ema.model, schedule, SAMPLES, seed + 1, ddim(T // EVERY))
            snapshots.append(dict(step=step.step, **score(samples, name, bool(classes))))
            images[str(step.step)] = show.to_grey(samples[:SHOWN]).tolist()
            apart += time.perf_counter() - began
    few, model = samples, run.ema.model
    seconds = round(time.perf_counter() - start - apart, 1)
    result = dict(seed=seed, loss=loss, snapshots=snapshots, bf16=bf16, seconds=seconds)
    samples = draw(model, schedule, SAMPLES, seed + 1)
    result["final"] = score(samples, name, bool(classes))
    if seed == SEEDS[0]:
        result |= dict(images=images, final_images=show.to_grey(samples[:100]).tolist())
        result["few_images"] = show.to_grey(few[:64]).tolist()
        if kind in SETS:
            path = checkpoints.CHECKPOINTS / f"{kind}_lab.safetensors"
            log = dict(loss=loss, seconds=result["seconds"], threads=torch.get_num_threads())
            checkpoints.save_model(path, model, {**recipe(), "data": kind, "seed": seed}, log)
    return result


def recipe() -> dict:
    """What all trainings share."""
    return dict(T=T, betas="linear, scaled by 1000/T", prediction="eps", steps=STEPS, batch_size=BATCH, lr=LR,
                ema=0.999, optimizer="AdamW", parameters=parameter_count(LabUNet()), clip_x0=CLIP,
                sampling="ancestral, posterior variance")  # fmt: skip


def summary(runs: list[dict], floor: float) -> dict:
    """Loss curves; for every snapshot each score over the seeds; ratio: distance divided by the floor."""

    def over(rows):
        keys = [key for key in ("distance", "confident", "as_asked") if key in rows[0]]
        found = {key: spread([row[key] for row in rows], 4) for key in keys}
        found["ratio"] = spread([row["distance"] / floor for row in rows], 4)
        for key in ("class_shares", "as_asked_by_class"):
            if key in rows[0]:
                found[key] = torch.tensor([row[key] for row in rows]).mean(0).tolist()
                found[key] = [round(share, 4) for share in found[key]]
        return found

    table = zip(*(run["snapshots"] for run in runs), strict=True)
    snapshots = [dict(step=rows[0]["step"], **over(rows)) for rows in table]
    lists = {key: [run[key] for run in runs] for key in ("seed", "loss", "seconds")}
    return dict(**lists, snapshots=snapshots, few=snapshots[-1], final=over([run["final"] for run in runs]))


def floors(name: str) -> dict:
    """Real images: the distance of SAMPLES of them from the others, and what the judge says of them."""
    sets = loaded(name)
    mean, std = metrics.frechet_floor(sets["test"], SAMPLES, data=name)
    judged = probabilities(sets["test"], name).max(1)
    right = (judged.indices == sets["labels"]).float()
    return dict(
        mean=round(mean, 4), std=round(std, 4), samples=SAMPLES, draws=5,
        confident=round(float((judged.values > 0.95).float().mean()), 4),
        accuracy=round(float(right.mean()), 4),
        accuracy_by_class=[round(float(right[sets["labels"] == k].mean()), 4) for k in range(10)],
    )  # fmt: skip


def fresh(kind: str) -> dict:
    """Scores of the shipped network (the first seed's) in every 10th level with fresh noise (eta = 1)."""
    model = checkpoints.load_model(f"{kind}_lab", LabUNet)
    found = score(draw(model, linear(T), SAMPLES, SEEDS[0] + 1, ddim(T // EVERY, eta=1.0)), kind)
    return {key: spread([found[key]], 4) for key in ("distance", "confident")}


def main() -> None:
    """Train, draw, score; write data/results/fashion.json and .safetensors and the two checkpoints."""
    start = time.perf_counter()
    floor = {name: floors(name) for name in SETS}
    jobs = {f"{kind} {seed}": lambda k=kind, s=seed: one(k, s) for seed in SEEDS for kind in KINDS}
    done = run_series(NAME, jobs)
    images, results = {}, {}
    for kind, (name, _, _) in KINDS.items():
        runs = [done[f"{kind} {seed}"] for seed in SEEDS]
        first = runs[0]
        keep = {f"{kind}_final": first["final_images"][: 100 if kind == "classes" else 64]}
        if kind in SETS:
            keep |= {f"{kind}_{step}": grid for step, grid in first["images"].items()}
            keep[f"{kind}_few"] = first["few_images"]
        images |= {key: torch.tensor(grid)[:, None] / 127.5 - 1 for key, grid in keep.items()}
        results[kind] = summary(runs, floor[name]["mean"])
        if kind in SETS:
            results[kind]["fresh"] = fresh(kind)
    checkpoints.save_images(NAME, **images)
    about = dict(samples=SAMPLES, real="test images", every=EVERY, snapshots=list(SNAPSHOTS))
    checkpoints.save_results(NAME, dict(recipe=recipe(), seeds=list(SEEDS), scoring=about, floors=floor,
                                        **results,
                                        seconds=round(time.perf_counter() - start)))  # fmt: skip
    forget(NAME)


if __name__ == "__main__":
    main()
