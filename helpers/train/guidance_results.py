"""What notebook 06 shows without drawing it anew: samples of the class-conditional network at many scales.

About a quarter of an hour on one core. `python -m helpers.train.guidance_results --quick FOLDER`
runs the same code on a few images, as a test, and leaves data/ alone.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor

from helpers import checkpoints, data, metrics, show
from helpers.classifiers import features, probabilities
from helpers.guidance import Guided
from helpers.sampling import ddim, dpm_solver, last, reverse
from helpers.schedule import cosine
from helpers.train.mnist_classes import NAME
from helpers.train.mnist_unet import NAME as PLAIN
from helpers.train.series import forget, run_series
from helpers.training import bf16_is_faster

SEEDS, STEPS, CLIP, CHUNK, KEPT, SAMPLES = (0, 1), 15, 1.0, 100, 64, 500
SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
BANDS = {"low": (0, 332), "middle": (333, 665), "high": (666, 999), "low_middle": (0, 665),
         "middle_high": (333, 999)}  # fmt: skip
BAND_SCALE = 4.0
SHOWN = {"s_0", "s_1", "s_2", "s_4", "s_8", "s_minus_1", "s_minus_2", "s_8_unclamped", "plain", "band_low",
         "band_middle", "band_high"}  # fmt: skip


def key(scale: float) -> str:
    """The name of a scale in the results: s_2, s_0_5, s_minus_1."""
    return f"s_{scale:g}".replace("-", "minus_").replace(".", "_")


def settings() -> dict:
    """{name: what draw() is told}: the sweep, fresh noise, below zero, no clamp, bands, the plain network."""
    found = {key(s): dict(scale=s) for s in SCALES}
    found |= {key(s): dict(scale=s) for s in (-1.0, -2.0)}
    found |= {f"{key(s)}_fresh": dict(scale=s, eta=1.0) for s in (1.0, 2.0)}
    found |= {f"{key(s)}_unclamped": dict(scale=s, clip=None) for s in (2.0, 8.0)}
    found |= {f"band_{name}": dict(scale=BAND_SCALE, band=band) for name, band in BANDS.items()}
    return {**found, "plain": dict(plain=True)}


def asked(n: int) -> Tensor:
    """The labels of n samples: 0 to 9 in turn, (n,)."""
    return torch.arange(n) % 10


def draw(
    model, n: int, seed: int, scale=1.0, band=None, eta=0.0, clip=CLIP, plain=False, bf16=False
) -> Tensor:
    """n samples (n, 1, 28, 28), sample i of class i % 10; one seed is one set of noises at every scale.

    plain: the model takes no labels and is not guided.
    """
    x_T = torch.randn(n, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
    images = []
    for i, (noise, y) in enumerate(zip(x_T.split(CHUNK), asked(n).split(CHUNK), strict=True)):
        network = model if plain else Guided(model, y, scale, band)
        rule, fresh = ddim(STEPS, eta=eta) if eta else dpm_solver(STEPS), 100 + 10 * seed + i
        walk = reverse(network, cosine(), rule, seed=fresh, x_T=noise, clip_x0=clip)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            images.append(last(walk))
    return torch.cat(images)


def diversity(x: Tensor, y: Tensor) -> float:
    """Mean distance of two different examples of one class; mean over classes with at least two examples.

    x: (N, ..), y: (N,). Distance: root mean squared difference of an entry, in the units of x.
    """
    found = []
    for group in (x[y == c].flatten(1) for c in y.unique()):
        if len(group) > 1:
            table = torch.cdist(group, group, compute_mode="donot_use_mm_for_euclid_dist")
            found.append(table.sum() / (len(group) * (len(group) - 1)) / group.shape[1] ** 0.5)
    return float(torch.stack(found).mean())


def scores(x: Tensor, y: Tensor, real: Tensor) -> dict:
    """Everything asked of images x (N, 1, 28, 28) of classes y (N,); real: features of the real images.

    confusion: counts [asked][read by the judge]; diversity: within the classes asked for, of pixels and of
    features, diversity_read: of pixels within the classes that the judge reads; grey: share of pixels neither
    black nor white; beyond: share outside [-1, 1] by more than a twentieth; ink: the mean pixel.
    """
    p, f = probabilities(x), features(x)
    read = p.argmax(1)
    found = dict(
        accuracy=(read == y).float().mean(),
        asked=p[torch.arange(len(y)), y].mean(),
        confident=(p.max(1).values > 0.95).float().mean(),
        distance=metrics.frechet_between(f, real),
        diversity=diversity(x, y),
        diversity_features=diversity(f, y),
        diversity_read=diversity(x, read),
        grey=(x.abs() < 0.9).float().mean(),
        beyond=(x.abs() > 1.05).float().mean(),
        ink=x.mean(),
    )
    confusion = torch.bincount(10 * y + read, minlength=100).reshape(10, 10).tolist()
    return {**{k: round(float(v), 5) for k, v in found.items()}, "confusion": confusion}


def summary(runs: list[dict]) -> dict:
    """Mean, standard deviation (n - 1) and all values of each score over the runs; confusions are added."""
    row = {}
    for key in (k for k in runs[0] if k not in ("confusion", "images")):
        values = torch.tensor([run[key] for run in runs], dtype=torch.float64)
        std = float(values.std()) if len(values) > 1 else 0.0
        row[key] = dict(mean=round(float(values.mean()), 5), std=round(std, 5), all=values.tolist())
    return {**row, "confusion": torch.tensor([run["confusion"] for run in runs]).sum(0).tolist()}


def balanced(y: Tensor, n: int, seed: int) -> Tensor:
    """Indices of n examples drawn at random, n / 10 of each class."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    return torch.cat([order[y[order] == c][: n // 10] for c in range(10)])


def main(n=SAMPLES, seeds=SEEDS, only=None, folder=None, model=None, plain=None) -> None:
    """Draw, score, and write data/results/guidance.json and guidance.safetensors (or into `folder`).

    n: samples a setting and seed (the scales of the sweep: every seed, the rest: the first); only: names of
    settings; model, plain: networks in place of the shipped.
    """
    start = time.perf_counter()
    model = model or checkpoints.load_model(NAME)
    probe = (torch.randn(64, 1, 28, 28), torch.zeros(64, dtype=torch.long), asked(64))
    bf16 = bf16_is_faster(model, *probe)
    model = model.requires_grad_(False)
    plain = (plain or checkpoints.load_model(PLAIN)).requires_grad_(False)
    test, labels = data.mnist(False)
    real = features(test)
    todo = {name: options for name, options in settings().items() if not only or name in only}

    seeds_of = {name: seeds if name in map(key, SCALES) else seeds[:1] for name in todo}

    def one(name: str, options: dict, seed: int) -> dict:
        images = draw(plain if options.get("plain") else model, n, seed, bf16=bf16, **options)
        found = scores(images, asked(n), real)
        if seed == seeds[0] and name in SHOWN:
            found["images"] = show.to_grey(images[:KEPT]).tolist()
        return found

    series = "guidance" if folder is None else "guidance_quick"
    jobs = {f"{name}, seed {seed}": lambda name=name, options=options, seed=seed: one(name, options, seed)
            for seed in seeds for name, options in todo.items() if seed in seeds_of[name]}  # fmt: skip
    done = run_series(series, jobs)
    rows, images = {}, {}
    for name in todo:
        runs = [done[f"{name}, seed {seed}"] for seed in seeds_of[name]]
        rows[name] = {**todo[name], **summary(runs)}
        if "images" in runs[0]:
            images[name] = torch.tensor(runs[0]["images"])[:, None] / 127.5 - 1

    def real_row(seed: int) -> dict:
        """Real images, n / 10 of each class, against all the others."""
        pick = balanced(labels, n, seed)
        rest = torch.ones(len(test), dtype=torch.bool)
        rest[pick] = False
        return scores(test[pick], labels[pick], real[rest])

    read = probabilities(test).argmax(1)
    floors = [real_row(seed) for seed in range(5)]
    results = dict(
        recipe=dict(model.recipe),
        sampler=dict(rule=dpm_solver(STEPS).name, clip_x0=CLIP, samples=n, a_class=n // 10,
                     seeds=list(seeds), bf16=bf16),
        judge="mnist_judge",
        bands=dict(scale=BAND_SCALE, levels={name: list(band) for name, band in BANDS.items()}),
        settings=rows,
        real=summary(floors),
        real_all=round(float((read == labels).float().mean()), 5),
        training=dict(seconds=round(model.log.get("seconds", 0))),
        seconds=round(time.perf_counter() - start),
    )  # fmt: skip
    checkpoints.save_images("guidance", folder, **images)
    checkpoints.save_results("guidance", results, folder)
    forget(series)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m helpers.train.guidance_results", description=__doc__)
    parser.add_argument("--quick", metavar="FOLDER", help="a few images only, written to FOLDER")
    args = parser.parse_args()
    if args.quick:
        main(n=100, seeds=(0,), only=("s_0", "s_2", "s_minus_1", "band_high"), folder=args.quick)
    else:
        main()
