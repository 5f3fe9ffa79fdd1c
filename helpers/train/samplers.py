"""The measurements of notebook 05: how good samples are for how many network evaluations, by sampler.

About forty minutes on one core; finished parts are remembered. It reads the MNIST U-Net
(helpers.train.mnist_unet) and trains three small networks on 8x8 digits for the study of the terminal SNR.
`python -m helpers.train.samplers --quick FOLDER` runs the same code on a few images and leaves data/ alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import torch

from helpers import checkpoints, data, metrics, show
from helpers.classifiers import features
from helpers.models import UNet
from helpers.sampling import Rule, ancestral, ddim, dpm_solver, last, reverse
from helpers.schedule import Schedule, cosine, linear, zero_terminal_snr
from helpers.train.mnist_results import noise, spread
from helpers.train.mnist_unet import BATCH, NAME
from helpers.train.series import forget, run_series
from helpers.training import Run, bf16_is_faster, train

EVALUATIONS = (4, 6, 8, 10, 15, 20, 50, 100, 1000)
SAMPLERS = {"ancestral": lambda n: ddim(n, eta=1.0), "ddim": ddim, "dpm": dpm_solver}
SAMPLES, SEEDS, CLIP, KEEP = 500, (0, 1, 2), 1.0, 8
REPEATED = 20  # every seed up to so many evaluations, above only the first
SKIPS = (10, 20, 50)  # naive: the one-level step at every k-th level only
SPACINGS, SPACED = ("trailing", "linspace", "leading"), (10, 20)
POWERS, POWERED = (0.75, 1.5), (10, 15)  # 1 is the quality study
ETAS, ETA_STEPS = (0.0, 0.5, 1.0), (10, 20)
INVERSIONS, CORRECTIONS, INVERTED = (20, 50, 100, 200), (0, 1), 16
WALKS = (5, 10, 20, 50, 100, 200)  # steps whose end is compared with that of all levels
SHORT_T, SHORT_STEPS, SHORT_WALKS = 300, 1_500, (30,)  # of the terminal SNR study
SHORT_LR = 2e-3


def short_schedules() -> dict[str, Schedule]:
    """Three schedules of 300 levels: betas not rescaled (signal left at the top), repaired, rescaled."""
    uncorrected = linear(SHORT_T, rescale=False)
    return {
        "uncorrected": uncorrected,
        "zero_terminal": zero_terminal_snr(uncorrected),
        "rescaled": linear(SHORT_T),
    }


def power_levels(T: int, steps: int, power: float) -> list[int]:
    """`steps` falling levels from T-1, T (1 - i/steps)^power - 1: above 1 denser near the data."""
    rise = torch.arange(steps, dtype=torch.float64) / steps
    levels = (T * (1 - rise) ** power).round().long().clamp(min=1) - 1
    return levels.unique().flip(0).tolist()


def draw(model, schedule, rule: Rule, n: int, seed: int, bf16=False, clip=CLIP, x_T=None) -> torch.Tensor:
    """n samples (n, 1, 28, 28), or one for each of x_T. The same seed starts from the same noise."""
    parts = (noise(n, seed) if x_T is None else x_T).split(100)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return torch.cat([
            last(reverse(model, schedule, rule, x_T=x, seed=1000 * (seed + 1) + i, clip_x0=clip))
            for i, x in enumerate(parts)
        ])  # fmt: skip


def found(samples: list[torch.Tensor], real: torch.Tensor) -> dict:
    """Scores of one set of samples a seed, and the first KEEP images of the first set as bytes."""
    return dict(
        distance=spread([metrics.frechet_between(features(x), real) for x in samples]),
        confident=spread([metrics.confident_share(x) for x in samples]),
        smallest_class=round(min(float(metrics.class_shares(x).min()) for x in samples), 4),
        brightness=spread([float(x.mean()) for x in samples]),
        pixels=show.to_grey(samples[0][:KEEP]).tolist(),
    )


def pick(x: torch.Tensor, seed: int, n: int) -> torch.Tensor:
    """n training images, another choice for every seed."""
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:n]]


@torch.no_grad()
def ask(model, schedule, x, t: int):
    """The network's eps at level t (0 for the clean data) for a batch x."""
    level = torch.full((len(x),), max(t, 0))
    return schedule.from_output(model(x, level).float(), x, level, model.prediction)[0]


def up(x, t: int, t_up: int, eps, schedule):
    """The DDIM step from level t to the higher t_up: the formula of every DDIM step."""
    a, a_up = schedule.alpha_bar(t), schedule.alpha_bar(t_up)
    x0 = (x - float((1 - a).sqrt()) * eps) / float(a.sqrt())
    return float(a_up.sqrt()) * x0 + float((1 - a_up).sqrt()) * eps


def invert(model, schedule, x, steps: int, corrections: int = 0):
    """The noise (B, ..) from which DDIM in `steps` steps draws x. corrections: times each step is redone with
    the eps found at its end, which is what the step down will use."""
    levels = [-1, *reversed(ddim(steps).levels(schedule.T))]
    for t, t_up in zip(levels, levels[1:], strict=False):
        start, eps = x, ask(model, schedule, x, t)
        x = up(start, t, t_up, eps, schedule)
        for _ in range(corrections):
            x = up(start, t, t_up, ask(model, schedule, x, t_up), schedule)
    return x


def inversion(model, schedule, images, steps: int, corrections: int) -> dict:
    """Root mean squared error a pixel of images -> noise -> images, and what the noise is like."""
    latent = invert(model, schedule, images, steps, corrections)
    back = last(reverse(model, schedule, ddim(steps), x_T=latent))
    errors = (back - images).flatten(1).square().mean(1).sqrt()
    beside = torch.corrcoef(torch.stack([latent[..., 1:].flatten(), latent[..., :-1].flatten()]))[0, 1]
    return dict(
        error=round(float(errors.mean()), 5),
        worst=round(float(errors.max()), 5),
        latent_std=round(float(latent.std()), 4),
        latent_mean=round(float(latent.mean()), 4),
        neighbours=round(float(beside), 4),
    )


def convergence(model, schedule, n: int) -> dict:
    """How far short walks end from the walk over all levels (RMS a pixel), same noise, no clamp."""
    x_T = noise(n, 0)
    best = draw(model, schedule, dpm_solver(schedule.T), n, 0, clip=None, x_T=x_T)

    def gap(rule):
        return round(
            float((draw(model, schedule, rule, n, 0, clip=None, x_T=x_T) - best).square().mean().sqrt()), 6
        )

    walks = {name: {str(s): gap(SAMPLERS[name](s)) for s in WALKS} for name in ("ddim", "dpm")}
    return dict(**walks, reference="dpm, every level", ddim_every_level=gap(ddim(schedule.T)), images=n)


def short_study(name: str, x: torch.Tensor, real, n: int, steps: int) -> dict:
    """Train a network on one of the short schedules and draw from it with every spacing."""
    schedule = short_schedules()[name]
    torch.manual_seed(0)
    run = Run(UNet((16, 32)), lr=SHORT_LR, seed=0)
    start = time.perf_counter()
    for step in train(run, schedule, x, steps, BATCH):
        loss = step.loss
    model = run.ema.model
    result = dict(
        root_alpha_bar=float(schedule.abar64[schedule.T - 1].sqrt()),
        loss=round(float(loss), 4),
        seconds=round(time.perf_counter() - start),
        walks={},
    )
    for count in SHORT_WALKS:
        for spacing in SPACINGS:
            rule = ddim(count, spacing=spacing)
            starts = [noise(n, seed, 8) for seed in SEEDS]
            scores = found([draw(model, schedule, rule, n, i, x_T=s) for i, s in enumerate(starts)], real)
            top = rule.levels(schedule.T)[0]
            result["walks"][f"{spacing}-{count}"] = dict(**scores, steps=count, spacing=spacing, top=top)
    samples = [draw(model, schedule, ancestral(), n, 0, x_T=noise(n, 0, 8))]
    result["walks"]["ancestral"] = dict(**found(samples, real), steps=schedule.T, top=schedule.T - 1)
    starts = [schedule.q_sample(pick(x, seed, n), schedule.T - 1, noise(n, seed, 8)) for seed in SEEDS]
    samples = [draw(model, schedule, ddim(30), n, s, x_T=x_T) for s, x_T in enumerate(starts)]
    result["walks"]["true_start-30"] = dict(**found(samples, real), steps=30, top=schedule.T - 1)
    return result


def jobs(model, real, images, n: int, bf16: bool) -> dict:
    """Every measurement with the MNIST U-Net: {key: function}."""
    schedule, out = cosine(), {}

    def add(key, rule, **options):
        def job():
            again = key.startswith("quality") and len(rule.levels(schedule.T)) <= REPEATED
            seeds = SEEDS if again else SEEDS[:1]
            return found(
                [draw(model, schedule, rule, n, seed, **{"bf16": bf16, **options}) for seed in seeds], real
            )

        out[key] = job

    for name, rule in SAMPLERS.items():
        for count in EVALUATIONS[:-1]:
            add(f"quality {name} {count}", rule(count))
    for every in SKIPS:
        add(f"naive {every}", ancestral(every=every))
    for count in SPACED:
        for spacing in SPACINGS:
            add(f"spacing {spacing} {count}", ddim(count, spacing=spacing))
    for count in POWERED:
        for power in POWERS:
            levels = lambda T, count=count, power=power: power_levels(T, count, power)  # noqa: E731
            add(f"power dpm {power} {count}", dataclasses.replace(dpm_solver(count), levels=levels))
        add(f"unclipped dpm {count}", dpm_solver(count), clip=None)
    for count in ETA_STEPS:
        for eta in ETAS:
            add(f"eta {eta} {count}", ddim(count, eta=eta))
    add("precision float32", dpm_solver(15), bf16=False)
    some = images[:INVERTED]
    for count in INVERSIONS:
        for c in CORRECTIONS:
            out[f"inversion {count} {c}"] = lambda count=count, c=c: inversion(
                model, schedule, some, count, c
            )
    out["convergence"] = lambda: convergence(model, schedule, INVERTED)
    add("quality ancestral 1000", ancestral())
    return out


def nested(results: dict) -> tuple[dict, dict]:
    """{"a b c": scores} as {"a": {"b": {"c": scores}}}, and the images taken out of it: {"a b c": images}."""
    tree, pictures = {}, {}
    for key, value in results.items():
        *path, leaf = key.split()
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[leaf] = value
        scored = [(key, value), *((f"{key} {k}", v) for k, v in value.get("walks", {}).items())]
        for name, scores in scored:
            if "pixels" in scores:
                pictures[name] = torch.tensor(scores.pop("pixels"))[:, None] / 127.5 - 1
    return tree, pictures


KEPT = ("quality", "naive", "short")  # of these the images ship


def main(n=SAMPLES, short_steps=SHORT_STEPS, name="samplers", folder=None, wanted="") -> None:
    """Measure, and write data/results/samplers.json and samplers.safetensors (or the same in `folder`).

    n: samples a score; short_steps: of each short training; wanted: only measurements whose name begins so.
    """
    start = time.perf_counter()
    model = checkpoints.load_model(NAME).requires_grad_(False)
    x, _ = data.mnist()
    test, _ = data.mnist(train=False)
    bf16 = bf16_is_faster(checkpoints.load_model(NAME), x[:BATCH], torch.zeros(BATCH, dtype=torch.long))
    real, (small, _) = features(test), data.digits()
    floor, floor_std = metrics.frechet_floor(test, n)
    todo = {
        f"short {key}": lambda key=key: short_study(key, small, features(small), n, short_steps)
        for key in short_schedules()
    }
    todo |= jobs(model, real, test, n, bf16)
    done, pictures = nested(run_series(name, {k: v for k, v in todo.items() if k.startswith(wanted)}))
    results = dict(
        recipe=dict(**model.recipe, channels=model.config["channels"]),
        scoring=dict(samples=n, seeds=list(SEEDS), clip_x0=CLIP, real="test images", bf16=bf16),
        floor=dict(mean=round(floor, 3), std=round(floor_std, 3), samples=n, draws=5),
        real=dict(confident=round(metrics.confident_share(test), 4), brightness=round(float(x.mean()), 4)),
        short_recipe=dict(
            data="digits",
            T=SHORT_T,
            steps=short_steps,
            batch_size=BATCH,
            lr=SHORT_LR,
            seed=0,
            channels=[16, 32],
            prediction="v",
            brightness=round(float(small.mean()), 4),
            floor=round(metrics.frechet_floor(small, n)[0], 3),
        ),
        **done,
        seconds=round(time.perf_counter() - start),
    )
    checkpoints.save_images("samplers", folder, **{k: v for k, v in pictures.items() if k.startswith(KEPT)})
    checkpoints.save_results("samplers", results, folder)
    forget(name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m helpers.train.samplers", description=__doc__)
    parser.add_argument("--quick", metavar="FOLDER", help="a few images only, written to FOLDER")
    parser.add_argument("--wanted", default="", help="only measurements whose name begins so")
    args = parser.parse_args()
    if args.quick:
        main(n=100, short_steps=4, name="samplers_quick", folder=args.quick, wanted=args.wanted)
    else:
        main(wanted=args.wanted)
