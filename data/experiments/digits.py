"""The 8x8 digits U-Net of notebook 03: its training, a box of predictions and schedules, and an ablation."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import nn

from data.experiments.jobs import cross, figures, gather, group, round_all, to_list
from data.experiments.measures import draw, floor, real
from data.experiments.networks import schedule_of, train_network
from data.experiments.runner import Experiment
from helpers import checkpoints, data, metrics
from helpers.models import ResBlock, UNet, parameter_count
from helpers.sampling import ddim

SCORES = ("confident", "frechet", "smallest_class", "nearest")
ACTIVATIONS = {"relu": (F.relu, nn.ReLU), "gelu": (F.gelu, nn.GELU), "tanh": (torch.tanh, nn.Tanh)}
RECIPE = dict(schedule="cosine", T=1000, lr=2e-3, batch_size=64, steps=3400, ema=0.999, bf16=True)
RECIPE |= dict(draw_steps=50, samples=metrics.SAMPLES)
PARTS = dict(full={}, no_attention={"attention": False}, no_skips={"skips": False}, no_time={"time": False})


def draw_digits(model, recipe: dict, eta: float, seed: int = 1, clip: float | None = 1.0) -> torch.Tensor:
    """recipe["samples"] DDIM samples (n, 1, 8, 8) in recipe["draw_steps"] steps."""
    n, rule = recipe["samples"], ddim(recipe["draw_steps"], eta=eta)
    return draw(model, schedule_of(recipe), rule, (n, 1, 8, 8), seed, clip=clip, chunk=n)


def score_digits(images: torch.Tensor) -> dict:
    """Everything notebook 03 asks of 1,000 samples (n, 1, 8, 8)."""
    shares = metrics.class_shares(images)
    scores = dict(confident=metrics.confident_share(images), frechet=metrics.digits_frechet(images))
    scores |= dict(smallest_class=shares.min(), nearest=measure_nearest(images))
    scores |= dict(mean=images.mean(), std=images.std())
    return {**round_all(scores), "classes": round_all(shares)}


def measure_nearest(images: torch.Tensor) -> float:
    """The middle distance of images (n, 1, 8, 8) from their nearest training image."""
    return float(metrics.nearest_neighbours(images, real("digits").x)[1].median())


def digits_floors() -> dict:
    """The same scores of real digits: all of them, the held-out ones, and real halves against each other."""
    x, held_out = data.digits()[0], real("digits").test
    scores = dict(confident=metrics.confident_share(x), confident_held_out=metrics.confident_share(held_out))
    scores |= dict(smallest_class=metrics.class_shares(x).min(), nearest=measure_nearest(held_out))
    return {**round_all(dict(scores, mean=x.mean(), std=x.std())), "frechet": floor(x, metrics.SAMPLES)}


def describe_digits(s: dict, eta: float, **more) -> dict:
    """How these networks are trained and asked, for the results file."""
    recipe, network = s["recipe"], s["network"]
    about = dict(data="digits, every fifth held out", optimizer="AdamW", weight_decay=0.01, clip=1.0)
    about |= dict(network=f"UNet(channels={tuple(network['channels'])})", prediction="v")
    about |= dict(parameters=parameter_count(UNet(**network)), **recipe)
    sampler = f"DDIM, {recipe['draw_steps']} steps, eta {eta:g}, x_0 kept in [-1, 1]"
    return {**about, "sampler": sampler, **more}


def start_results(s: dict, eta: float, **more) -> dict:
    """What all results on digits begin with."""
    return dict(recipe=describe_digits(s, eta, **more), floors=digits_floors())


def replace_activations(model: UNet, name: str) -> None:
    """Replace every SiLU of the network, in its residual blocks and as a module, by another activation."""
    function, layer = ACTIVATIONS[name]
    for module in list(model.modules()):
        if isinstance(module, ResBlock):
            module.activation = function
        for key, child in module.named_children():
            if isinstance(child, nn.SiLU):
                setattr(module, key, layer())


def train_digits(work, seed: int, change: dict, average_of=None, x=None) -> tuple:
    """Train one setting from one seed: (run, log, recipe). change: of recipe, network, activation."""
    recipe = {**work.settings["recipe"], "seed": seed}
    network = {**work.settings["network"], **{k: v for k, v in change.items() if k not in recipe}}
    recipe |= {key: value for key, value in change.items() if key in recipe}
    activation = network.pop("activation", None)
    torch.manual_seed(seed)
    model = UNet(**network)
    if activation is not None:
        replace_activations(model, activation)
    x = real("digits").x if x is None else x
    return *train_network(work, model, x, recipe, average_of=average_of), recipe


def summarise(runs: list[dict]) -> dict:
    """A figure of each score over the seeds, and all that was measured of each seed."""
    return {**figures(runs, SCORES), "seeds": runs}


class Digits(Experiment):
    """Notebook 03: the U-Net for 8x8 digits, two seeds."""

    name, hours, needs = "digits", 0.1, ("judges",)
    makes = ("checkpoints/digits_unet.safetensors", "results/digits.json")
    settings = dict(seeds=[0, 1], network=dict(channels=[32, 64]), recipe=RECIPE)
    quick = dict(seeds=[0], network=dict(channels=[8, 8]), recipe=dict(RECIPE, steps=2, draw_steps=2))

    def list_jobs(self, s):
        """Both seeds in full; the first one ships."""
        full = dict(change={}, steps=s["recipe"]["steps"], also=["deterministic"])
        jobs = cross({"full": full}, s["seeds"])
        jobs[f"full {s['seeds'][0]}"]["keep"] = "digits_unet"
        return jobs

    def measure(self, work, seed, change, steps, keep=None, also=(), shown=0):
        """Train one network from one seed and score 1,000 samples with fresh noise.

        keep: the name to save it under; also: "deterministic", "unclipped"; shown: how many samples are
        returned in grey.
        """
        run, log, recipe = train_digits(work, seed, dict(change, steps=steps))
        model = run.ema.model
        if keep:
            work.save_model(keep, model, describe_digits(dict(work.settings, recipe=recipe), 1.0), log)
        samples = draw_digits(model, recipe, eta=1.0)
        result = dict(seed=seed, **score_digits(samples), loss=log["loss"][-1:])
        if "deterministic" in also:
            result["deterministic"] = score_digits(draw_digits(model, recipe, eta=0.0))
        if "unclipped" in also:
            result["unclipped"] = score_digits(draw_digits(model, recipe, eta=1.0, clip=None))
        if shown:
            result["pixels"] = to_list(samples, shown)
        times = {key: round(log[key], 1) for key in ("seconds", "cpu_seconds", "threads")}
        return {**result, **times, "bf16": recipe["bf16"]}

    def assemble(self, work, done):
        work.save_results(start_results(work.settings, 1.0) | summarise(list(done.values())))

    def bounds(self, found):
        yield found["floors"]["confident"] >= 0.99, "99 % of real digits are confident"
        for run in found["seeds"]:
            yield run["confident"] >= 0.90, f"90 % are confident with seed {run['seed']}"
            yield run["smallest_class"] >= 0.05, f"every class has 5 % with seed {run['seed']}"
            yield run["nearest"] > 0.9 * found["floors"]["nearest"], f"no copies with seed {run['seed']}"


class Box(Digits):
    """Notebook 03: eps or v, linear or cosine."""

    name, hours, needs, makes = "digits_box", 0.2, ("judges", "digits"), ("results/digits_box.json",)
    settings = dict(Digits.settings, short=600)
    quick = dict(Digits.quick, short=2)

    def list_jobs(self, s):
        """Four corners at a short budget, eps with cosine in full."""
        rows = {}
        for p, schedule in product(("eps", "v"), ("linear", "cosine")):
            change = dict(prediction=p, schedule=schedule)
            rows[f"{p}_{schedule}"] = dict(change=change, steps=s["short"])
        rows["long"] = dict(change=dict(prediction="eps"), steps=s["recipe"]["steps"], also=["unclipped"])
        return cross(rows, s["seeds"])

    def assemble(self, work, done):
        """The box, and its best two in full; v with cosine in full is the network of `digits`."""
        s = work.settings
        box = {name: summarise(runs) for name, runs in group(done, s["seeds"]).items()}
        stored = checkpoints.load_results("digits")["seeds"]
        v = [{key: run[key] for key in ("seed", *SCORES)} for run in stored]
        unclipped = draw_digits(checkpoints.load_model("digits_unet"), s["recipe"], eta=1.0, clip=None)
        v[0]["unclipped"] = score_digits(unclipped)
        long = dict(steps=s["recipe"]["steps"], eps_cosine=box.pop("long"), v_cosine=summarise(v))
        changed = dict(steps=s["short"], schedule="linear or cosine", prediction="eps or v")
        work.save_results(start_results(s, 1.0, **changed) | dict(box=box, long=long))

    def bounds(self, found):
        box, (eps, v) = found["box"], (found["long"][name] for name in ("eps_cosine", "v_cosine"))
        for prediction in ("eps", "v"):
            cosine, linear = (box[f"{prediction}_{schedule}"] for schedule in ("cosine", "linear"))
            better = min(cosine["confident"]["values"]) > max(linear["confident"]["values"])
            nearer = max(cosine["frechet"]["values"]) < min(linear["frechet"]["values"])
            yield better and nearer, f"cosine beats linear with {prediction} and every pair of seeds"
        lost = all(run["unclipped"]["confident"] < 0.5 for run in eps["seeds"])
        yield lost, "eps with cosine needs the clamp"
        first = v["seeds"][0]
        yield first["unclipped"]["confident"] > first["confident"] - 0.03, "v does without the clamp"
        gap = abs(eps["confident"]["mean"] - v["confident"]["mean"])
        yield gap < 0.03, "eps and v are within 3 points in full"


class Ablation(Digits):
    """Notebook 03: without attention, skips, time."""

    name, hours = "digits_ablation", 0.1
    makes = ("results/digits_ablation.json", "results/digits_ablation.safetensors")
    settings = dict(Digits.settings, recipe=dict(RECIPE, steps=600), shown=10, variants=PARTS)
    quick = dict(Digits.quick, variants=dict(full={}, no_time={"time": False}))

    def list_jobs(self, s):
        shared = dict(steps=s["recipe"]["steps"], shown=s["shown"])
        rows = {name: dict(shared, change=change) for name, change in s["variants"].items()}
        return cross(rows, s["seeds"])

    def assemble(self, work, done):
        """Scores, floors, and a few samples of each variant."""
        s, variants = work.settings, {}
        grouped, images = gather(done, s["seeds"])
        for name, runs in grouped.items():
            parameters = parameter_count(UNet(**s["network"], **s["variants"][name]))
            variants[name] = dict(parameters=parameters, **summarise(runs))
        work.save_results(start_results(s, 1.0) | dict(variants=variants), **images)

    def bounds(self, found):
        share = {name: variant["confident"]["mean"] for name, variant in found["variants"].items()}
        holds = share["no_skips"] < share["no_time"] < share["no_attention"] < share["full"]
        yield holds, "the order is no skips, no time, no attention, full"


EXPERIMENTS = [Digits(), Box(), Ablation()]
