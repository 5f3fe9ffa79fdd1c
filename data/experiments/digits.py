"""The 8x8 digits U-Net of notebook 03: its training, a box of predictions and schedules, and an ablation."""

from __future__ import annotations

import torch

from data.experiments.measures import cross, draw, figures, floor, group, real, to_images, to_list
from data.experiments.networks import schedule_of, train_network
from data.experiments.runner import Experiment
from helpers import checkpoints, data, metrics
from helpers.models import UNet, parameter_count
from helpers.sampling import ddim

SCORES = ("confident", "frechet", "smallest_class", "nearest")


def draw_digits(model, recipe: dict, eta: float, seed: int = 1, clip: float | None = 1.0) -> torch.Tensor:
    """recipe["samples"] DDIM samples (n, 1, 8, 8) in recipe["draw_steps"] steps."""
    n, rule = recipe["samples"], ddim(recipe["draw_steps"], eta=eta)
    return draw(model, schedule_of(recipe), rule, (n, 1, 8, 8), seed, clip=clip, chunk=n)


def score_digits(images: torch.Tensor) -> dict:
    """Everything notebook 03 asks of 1,000 samples (n, 1, 8, 8)."""
    shares, train = metrics.class_shares(images), real("digits").x
    scores = dict(
        confident=metrics.confident_share(images),
        frechet=metrics.digits_frechet(images),
        smallest_class=float(shares.min()),
        nearest=float(metrics.nearest_neighbours(images, train)[1].median()),
        mean=float(images.mean()),
        std=float(images.std()),
    )
    rounded = {key: round(value, 4) for key, value in scores.items()}
    return {**rounded, "classes": [round(float(share), 4) for share in shares]}


def digits_floors() -> dict:
    """The same scores of real digits: all of them, the held-out ones, and real halves against each other."""
    x, held_out = data.digits()[0], real("digits").test
    nearest = metrics.nearest_neighbours(held_out, real("digits").x)[1].median()
    return dict(
        confident=round(metrics.confident_share(x), 4),
        confident_held_out=round(metrics.confident_share(held_out), 4),
        frechet=floor(x, metrics.SAMPLES),
        smallest_class=round(float(metrics.class_shares(x).min()), 4),
        nearest=round(float(nearest), 4),
        mean=round(float(x.mean()), 4),
        std=round(float(x.std()), 4),
    )


def describe_digits(recipe: dict, network: dict, eta: float, **more) -> dict:
    """How these networks are trained and asked, for the results file."""
    channels = tuple(network["channels"])
    shared = dict(data="digits, every fifth held out", optimizer="AdamW", weight_decay=0.01, clip=1.0)
    about = dict(
        network=f"UNet(channels={channels})", parameters=parameter_count(UNet(**network)), prediction="v"
    )
    sampler = f"DDIM, {recipe['draw_steps']} steps, eta {eta:g}, x_0 kept in [-1, 1]"
    return {**shared, **about, **recipe, "sampler": sampler, **more}


def summarise(runs: list[dict]) -> dict:
    """A figure of each score over the seeds, and all that was measured of each seed."""
    return {**figures(runs, SCORES), "seeds": runs}


def measure_digits(work, seed: int, change: dict, steps: int, keep=None, also=(), shown: int = 0) -> dict:
    """Train one network from one seed and score 1,000 samples with fresh noise.

    change: of the recipe (schedule) and of the network (prediction, attention, skips, time); keep: the name
    to save it under; also: "deterministic", "unclipped"; shown: how many of its samples are returned in grey.
    """
    change = dict(change)
    recipe = dict(work.settings["recipe"], seed=seed, steps=steps)
    recipe |= {key: change.pop(key) for key in ("schedule",) if key in change}
    torch.manual_seed(seed)
    run, log = train_network(work, UNet(**work.settings["network"], **change), real("digits").x, recipe)
    model = run.ema.model
    if keep:
        work.save_model(keep, model, describe_digits(recipe, work.settings["network"], 1.0), log)
    samples = draw_digits(model, recipe, eta=1.0)
    result = dict(seed=seed, **score_digits(samples), loss=log["loss"][-1:])
    if "deterministic" in also:
        result["deterministic"] = score_digits(draw_digits(model, recipe, eta=0.0))
    if "unclipped" in also:
        result["unclipped"] = score_digits(draw_digits(model, recipe, eta=1.0, clip=None))
    if shown:
        result["samples"] = to_list(samples, shown)
    times = {key: round(log[key], 1) for key in ("seconds", "cpu_seconds", "threads")}
    return {**result, **times, "bf16": recipe["bf16"]}


def list_digits(s: dict) -> dict:
    """Both seeds in full; the first one ships."""
    jobs = cross({"full": dict(change={}, steps=s["recipe"]["steps"], also=["deterministic"])}, s["seeds"])
    jobs[f"full {s['seeds'][0]}"]["keep"] = "digits_unet"
    return jobs


def assemble_digits(work, done: dict) -> None:
    """Scores and floors."""
    recipe = describe_digits(work.settings["recipe"], work.settings["network"], 1.0)
    work.save_results(dict(recipe=recipe, floors=digits_floors(), **summarise(list(done.values()))))


def bound_digits(found: dict):
    """90 % confident, every class there, no copies; with both seeds."""
    yield found["floors"]["confident"] >= 0.99, "99 % of real digits are confident"
    for run in found["seeds"]:
        yield run["confident"] >= 0.90, f"90 % are confident with seed {run['seed']}"
        yield run["smallest_class"] >= 0.05, f"every class has 5 % with seed {run['seed']}"
        yield run["nearest"] > 0.9 * found["floors"]["nearest"], f"no copies with seed {run['seed']}"


def list_box(s: dict) -> dict:
    """Four corners at a short budget, eps with cosine in full, from every seed."""
    corners = {f"{p}_{n}": dict(prediction=p, schedule=n) for p in ("eps", "v") for n in ("linear", "cosine")}
    box = {name: dict(change=change, steps=s["short"]) for name, change in corners.items()}
    long = dict(change=dict(prediction="eps"), steps=s["recipe"]["steps"], also=["unclipped"])
    return cross({**box, "long": long}, s["seeds"])


def assemble_box(work, done: dict) -> None:
    """The box, and its best two in full; v with cosine in full is the network of `digits`."""
    s = work.settings
    box = {name: summarise(runs) for name, runs in group(done, s["seeds"]).items()}
    v = [{key: run[key] for key in ("seed", *SCORES)} for run in checkpoints.load_results("digits")["seeds"]]
    unclipped = draw_digits(checkpoints.load_model("digits_unet"), s["recipe"], eta=1.0, clip=None)
    v[0]["unclipped"] = score_digits(unclipped)
    long = dict(steps=s["recipe"]["steps"], eps_cosine=box.pop("long"), v_cosine=summarise(v))
    changed = dict(steps=s["short"], schedule="linear or cosine", prediction="eps or v")
    recipe = describe_digits(s["recipe"], s["network"], 1.0, **changed)
    work.save_results(dict(recipe=recipe, floors=digits_floors(), box=box, long=long))


def bound_box(found: dict):
    """Cosine beats linear for both predictions; eps with cosine depends on the clamp of x_0, v does not."""
    box, long = found["box"], found["long"]
    for prediction in ("eps", "v"):
        cosine, linear = (box[f"{prediction}_{schedule}"] for schedule in ("cosine", "linear"))
        better = min(cosine["confident"]["values"]) > max(linear["confident"]["values"])
        nearer = max(cosine["frechet"]["values"]) < min(linear["frechet"]["values"])
        yield better and nearer, f"cosine beats linear with {prediction} and every pair of seeds"
    lost = all(run["unclipped"]["confident"] < 0.5 for run in long["eps_cosine"]["seeds"])
    yield lost, "eps with cosine needs the clamp"
    v = long["v_cosine"]["seeds"][0]
    yield v["unclipped"]["confident"] > v["confident"] - 0.03, "v does without the clamp"
    gap = abs(long["eps_cosine"]["confident"]["mean"] - long["v_cosine"]["confident"]["mean"])
    yield gap < 0.03, "eps and v are within 3 points in full"


def list_ablation(s: dict) -> dict:
    """The U-Net without each of its parts, from every seed."""
    shared = dict(steps=s["recipe"]["steps"], shown=s["shown"])
    return cross({name: dict(shared, change=change) for name, change in s["variants"].items()}, s["seeds"])


def assemble_ablation(work, done: dict) -> None:
    """Scores, floors, and a few samples of each variant."""
    s, variants, images = work.settings, {}, {}
    for name, runs in group(done, s["seeds"]).items():
        images[name] = to_images([run.pop("samples") for run in runs][0])
        parameters = parameter_count(UNet(**s["network"], **s["variants"][name]))
        variants[name] = dict(parameters=parameters, **summarise(runs))
    recipe = describe_digits(s["recipe"], s["network"], 1.0)
    work.save_results(dict(recipe=recipe, floors=digits_floors(), variants=variants), **images)


def bound_ablation(found: dict):
    """Skips are worth most, then the level, then attention."""
    share = {name: variant["confident"]["mean"] for name, variant in found["variants"].items()}
    holds = share["no_skips"] < share["no_time"] < share["no_attention"] < share["full"]
    yield holds, "the order is no skips, no time, no attention, full"


RECIPE = dict(schedule="cosine", T=1000, lr=2e-3, batch_size=64, steps=3400, ema=0.999, bf16=True,
              draw_steps=50, samples=metrics.SAMPLES)  # fmt: skip
SETTINGS = dict(seeds=[0, 1], network=dict(channels=[32, 64]), recipe=RECIPE)
QUICK = dict(seeds=[0], network=dict(channels=[8, 8]), recipe=dict(RECIPE, steps=2, draw_steps=2))
PARTS = dict(full={}, no_attention={"attention": False}, no_skips={"skips": False}, no_time={"time": False})
EXPERIMENTS = [
    Experiment("digits", "notebook 03: the U-Net for 8x8 digits, two seeds", 0.1, needs=("judges",),
               makes=("checkpoints/digits_unet.safetensors", "results/digits.json"), settings=SETTINGS,
               quick=QUICK, list_jobs=list_digits, measure=measure_digits, assemble=assemble_digits,
               bounds=bound_digits),
    Experiment("digits_box", "notebook 03: eps or v, linear or cosine", 0.2, needs=("judges", "digits"),
               makes=("results/digits_box.json",), settings=dict(SETTINGS, short=600),
               quick=dict(QUICK, short=2), list_jobs=list_box, measure=measure_digits, assemble=assemble_box,
               bounds=bound_box),
    Experiment("digits_ablation", "notebook 03: without attention, skips, time", 0.1, needs=("judges",),
               makes=("results/digits_ablation.json", "results/digits_ablation.safetensors"),
               settings=dict(SETTINGS, recipe=dict(RECIPE, steps=600), shown=10, variants=PARTS),
               quick=dict(QUICK, variants=dict(full={}, no_time={"time": False})),
               list_jobs=list_ablation, measure=measure_digits, assemble=assemble_ablation,
               bounds=bound_ablation),
]  # fmt: skip
