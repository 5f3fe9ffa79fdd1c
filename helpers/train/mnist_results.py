"""What notebook 04 shows without drawing it anew: samples and scores of the MNIST U-Net and of its snapshots.

About seven minutes on two cores. `python -m helpers.train.mnist_results --quick FOLDER` runs the same code on
a few images, as a test, and leaves data/results alone.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from helpers import checkpoints, data, metrics, show
from helpers.classifiers import features
from helpers.sampling import ancestral, ddim, last, reverse
from helpers.schedule import cosine
from helpers.train.mnist_unet import NAME, SNAPSHOTS
from helpers.training import bf16_is_faster

SEEDS, STEPS, CLIP = (0, 1), 50, 1.0
CHUNK = 100  # images drawn at a time


def say(*words) -> None:
    print("mnist_results:", *words, flush=True)


def noise(n: int, seed: int, size: int = 28) -> torch.Tensor:
    """Pure noise (n, 1, size, size); its first 64 are the same for every n >= 64, so that grids compare."""
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


def draw(model, n: int, seed: int, steps: int = STEPS, bf16: bool = False, clip=CLIP) -> torch.Tensor:
    """n DDIM samples (n, 1, 28, 28)."""
    rule, parts = ddim(steps=steps), noise(n, seed).split(CHUNK)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return torch.cat([last(reverse(model, cosine(), rule, x_T=x_T, clip_x0=clip)) for x_T in parts])


def scores(images, real) -> dict:
    """Distance, share of confident images and class shares of one set; real: features of the real images."""
    shares = metrics.class_shares(images)
    return dict(
        distance=round(metrics.frechet_between(features(images), real), 3),
        confident=round(metrics.confident_share(images), 4),
        class_shares=[round(float(share), 4) for share in shares],
        smallest_class=round(float(shares.min()), 4),
    )


def spread(values, digits: int = 3) -> dict:
    """Mean and standard deviation (of the sample, n - 1; 0 for a single run), rounded to `digits`."""
    values = torch.tensor(values, dtype=torch.float64)
    std = float(values.std()) if len(values) > 1 else 0.0
    return dict(mean=round(float(values.mean()), digits), std=round(std, digits), runs=values.tolist())


def history(model) -> dict:
    """How far the training of a checkpoint had come: steps, images, measured minutes, threads, loss."""
    recipe, log = model.recipe, model.log
    return dict(
        steps=recipe["step"],
        images=recipe["step"] * recipe["batch_size"],
        minutes=round(log["seconds"] / 60, 1),
        threads=log["threads"],
        loss=log["loss"][-1] if log["loss"] else None,
    )


def nearness(distance) -> dict:
    """Smallest, 1 % and middle value of the distances (N,) to the nearest training image."""
    low, middle = torch.quantile(distance, torch.tensor([0.01, 0.5])).tolist()
    return dict(smallest=round(float(distance.min()), 3), one_percent=round(low, 3), middle=round(middle, 3))


def with_diffusers(model, scheduler, x_T, seed=None) -> torch.Tensor:
    """The whole walk by a diffusers scheduler; seed: of the generator that drew x_T, which draws on."""
    g, options, x = torch.Generator().manual_seed(seed or 0), {}, x_T
    if seed is None:
        options["use_clipped_model_output"] = True
    else:
        torch.randn(x_T.shape, generator=g)
        options["generator"] = g
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(model(x, t.expand(len(x))), t, x, **options).prev_sample
    return x


def compare(model, n: int) -> dict:
    """The same weights and noise through the schedulers of diffusers: largest difference of a pixel."""
    import diffusers

    schedule, x_T = cosine(), noise(n, 0)
    common = dict(
        trained_betas=schedule.betas.tolist(),
        prediction_type="v_prediction",
        clip_sample=True,
        clip_sample_range=CLIP,
    )
    ours = last(reverse(model, schedule, ddim(steps=STEPS), x_T=x_T, clip_x0=CLIP))
    options = dict(timestep_spacing="trailing", set_alpha_to_one=True)
    scheduler = diffusers.DDIMScheduler(schedule.T, **options, **common)
    scheduler.set_timesteps(STEPS)
    result = dict(ddim=float((ours - with_diffusers(model, scheduler, x_T)).abs().max()))
    ours = last(reverse(model, schedule, ancestral(), shape=x_T.shape, seed=0, clip_x0=CLIP))
    scheduler = diffusers.DDPMScheduler(schedule.T, variance_type="fixed_small", **common)
    result["ddpm"] = float((ours - with_diffusers(model, scheduler, x_T, seed=0)).abs().max())
    result = {name: float(f"{gap:.2g}") for name, gap in result.items()}
    return dict(**result, images=n, version=diffusers.__version__)


def networks(model, n: int, seeds, real, bf16: bool) -> tuple[list, dict]:
    """Every snapshot and the final network, drawn and scored alike: a list of rows, and 64 images of each."""
    rows, images = [], {}
    for name in [*SNAPSHOTS.values(), "final"]:
        network = model if name == "final" else checkpoints.load_model(f"{NAME}_{name}")
        runs = [draw(network, n, seed, bf16=bf16) for seed in seeds]
        images[name] = runs[0][:64]
        found = [scores(run, real) for run in runs]
        row = dict(name=name, **history(network))
        row |= {key: spread([f[key] for f in found]) for key in ("distance", "confident")}
        rows.append(row)
        say(row)
    return rows, images


def main(n=metrics.SAMPLES, seeds=SEEDS, grid=64, few=(5, 10, 20), pairs=4, folder=None) -> None:
    """Draw, score and write data/results/mnist.json and mnist.safetensors (or the same files in `folder`).

    n: samples a score; seeds: of the draws; grid: images of the ancestral grid; few: steps of short DDIM
    walks to score, the last also without the clamp; pairs: images compared with diffusers.
    """
    start = time.perf_counter()
    model = checkpoints.load_model(NAME)
    train_images, _ = data.mnist()
    test_images, test_labels = data.mnist(False)
    bf16 = bf16_is_faster(model, train_images[:64], torch.zeros(64, dtype=torch.long))
    model.requires_grad_(False)
    real = features(test_images)
    floor, floor_std = metrics.frechet_floor(test_images, n)
    rows, images = networks(model, n, seeds, real, bf16)

    began = time.perf_counter()
    draw(model, 64, 0)
    seconds = round(time.perf_counter() - began, 2)
    final = draw(model, n, 0)
    images["ddim"] = final[:64]
    headline = dict(**scores(final, real), seconds_64_in_50=seconds, samples=n, steps=STEPS)
    say(headline)
    walks = {str(steps): scores(draw(model, n, 0, steps, bf16), real) for steps in few}
    unclipped = dict(steps=few[-1], **scores(draw(model, n, 0, few[-1], bf16, clip=None), real))
    say("steps", {k: v["distance"] for k, v in walks.items()}, "unclipped", unclipped["distance"])
    walk = reverse(model, cosine(), ancestral(), shape=(grid, 1, 28, 28), seed=0, clip_x0=CLIP)
    images["ancestral"] = last(walk)
    same = compare(model, pairs)
    say("diffusers", same)

    _, near = metrics.nearest_neighbours(final, train_images)
    _, near_test = metrics.nearest_neighbours(test_images[:n], train_images)
    nearer = (near < near_test.quantile(0.01)).float().mean()
    shares = torch.bincount(test_labels) / len(test_labels)
    results = dict(
        recipe=dict(**model.recipe, channels=model.config["channels"]),
        training=history(model),
        scoring=dict(samples=n, seeds=list(seeds), steps=STEPS, clip_x0=CLIP, real="test images", bf16=bf16),
        floor=dict(mean=round(floor, 3), std=round(floor_std, 3), samples=n, draws=5),
        real=dict(
            confident=round(metrics.confident_share(test_images), 4),
            class_shares=[round(float(share), 4) for share in shares],
        ),
        networks=rows,
        final=headline,
        steps=walks,
        unclipped=unclipped,
        nearest=dict(
            samples=nearness(near), test=nearness(near_test), below_one_percent=round(float(nearer), 4)
        ),
        diffusers=same,
        seconds=round(time.perf_counter() - start),
    )
    checkpoints.save_images("mnist", folder, **images)
    path = list(reverse(model, cosine(), ddim(steps=STEPS), x_T=noise(24, 0), clip_x0=CLIP))
    animation = [show.tiles(state.x, columns=8) for state in show.evenly(path, 26)]
    save = Path(folder or checkpoints.RESULTS) / "mnist.gif"
    show.gif(animation, save, "noise turning into 24 digits", scale=2)
    checkpoints.save_results("mnist", results, folder)
    say(f"done in {results['seconds']} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m helpers.train.mnist_results", description=__doc__)
    parser.add_argument("--quick", metavar="FOLDER", help="a few images only, written to FOLDER")
    args = parser.parse_args()
    if args.quick:
        main(n=100, grid=2, few=(5,), pairs=1, folder=args.quick)
    else:
        main()
