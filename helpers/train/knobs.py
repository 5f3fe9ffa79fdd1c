"""What practitioners turn first, one knob at a time on the 8x8 digits: data/results/knobs.json.

The base is v-prediction, the cosine schedule, the network and the training of objectives; every other setting
changes one thing. About 25 minutes on one core.
"""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import nn

from helpers import checkpoints
from helpers.models import ResBlock, UNet, parameter_count
from helpers.schedule import cosine
from helpers.train import digits, objectives
from helpers.train.objectives import BATCH, CHANNELS, LR, SEEDS, STEPS, images, score, stats, summary
from helpers.train.series import forget, run_series
from helpers.training import EMA

MORE_SEEDS = (3, 4, 5)  # of the base: how far apart are networks that differ in nothing but chance?
DRAWS = 6  # how far apart are samples of one and the same network?
BASE = dict(steps=STEPS, batch=BATCH, lr=LR, T=1000)
ACTIVATIONS = {"relu": (F.relu, nn.ReLU), "gelu": (F.gelu, nn.GELU), "tanh": (torch.tanh, nn.Tanh)}

# knob: {setting: what is different from the base}; the base itself belongs to every knob
KNOBS = {
    "length": {"150": {"steps": 150}, "300": {"steps": 300}, "1200": {"steps": 1200},
               "2400": {"steps": 2400}},
    "lr": {"2e-4": {"lr": 2e-4}, "5e-4": {"lr": 5e-4}, "5e-3": {"lr": 5e-3}, "1e-2": {"lr": 1e-2}},
    "batch": {"16": {"batch": 16}, "256": {"batch": 256}},
    "batch_images": {"16": {"batch": 16, "steps": 2400}, "256": {"batch": 256, "steps": 150}},
    "T": {"100": {"T": 100}, "500": {"T": 500}, "2000": {"T": 2000}},
    "attention": {"without": {"attention": False}},
    "depth": {"2": {"blocks": 2}, "3": {"blocks": 3}},
    "width": {"8": {"channels": (8, 16)}, "32": {"channels": (32, 64)}},
    "activation": {name: {"activation": name} for name in ACTIVATIONS},
}  # fmt: skip


def cold(model: nn.Module, decay: float) -> EMA:
    """An average without warm-up: it starts from the random first weights and forgets them slowly."""
    average = EMA(model, decay)
    average.updates = 10**9
    return average


# other averages of the very same training
AVERAGES = {
    "none": lambda model: EMA(model, 0.0),
    "99": lambda model: EMA(model, 0.99),
    "9999": lambda model: EMA(model, 0.9999),
    "999_cold": lambda model: cold(model, 0.999),
    "9999_cold": lambda model: cold(model, 0.9999),
}


def activate(model: UNet, name: str) -> None:
    """Replace every SiLU of the network, in its residual blocks and as a module, by another activation."""
    function, layer = ACTIVATIONS[name]
    for module in list(model.modules()):
        if isinstance(module, ResBlock):
            module.activation = function
        for key, child in module.named_children():
            if isinstance(child, nn.SiLU):
                setattr(module, key, layer())


def one(seed: int, change: dict) -> dict:
    """Train and measure one setting from one seed; a training that broke down says at least that."""
    options = {**BASE, **change}
    schedule, activation = cosine(options.pop("T")), options.pop("activation", None)
    swap = None if activation is None else lambda model: activate(model, activation)
    try:
        run, loss = objectives.fit(schedule, seed, change=swap, **options)
    except FloatingPointError as err:
        return dict(seed=seed, diverged=str(err))
    return dict(seed=seed, loss=round(loss, 5), **objectives.measure(run.ema.model, schedule, seed))


def base(seed: int) -> dict:
    """The base from one seed; of the seeds every setting has, also with other averages of its weights.

    The first one is also sampled anew with several seeds.
    """
    averages, schedule = dict(AVERAGES if seed in SEEDS else {}), cosine(BASE["T"])
    run, loss = objectives.fit(schedule, seed, BASE["steps"], BASE["batch"], BASE["lr"], also=averages)
    found = dict(seed=seed, loss=round(loss, 5), **objectives.measure(run.ema.model, schedule, seed))
    found["ema"] = {
        name: objectives.measure(average.model, schedule, seed) for name, average in averages.items()
    }
    again = range(DRAWS) if seed == SEEDS[0] else ()
    found["draws"] = [score(objectives.draw(run.ema.model, schedule, seed=100 + s)) for s in again]
    return found


def parameters(change: dict) -> int:
    """Size of the network of a setting."""
    config = {k: v for k, v in change.items() if k in ("attention", "blocks", "channels")}
    return parameter_count(UNet(**{"channels": CHANNELS, **config}))


def collect(found: dict, seeds: tuple, knobs: dict) -> dict:
    """The finished jobs of these seeds as the results file has them."""
    bases = [found[f"base {s}"] for s in seeds]
    every = [run for key, run in found.items() if key.startswith("base ")]
    results = dict(base={**summary(bases), "parameters": parameters({})})
    results["base_seeds"] = summary(every)
    results["base_draws"] = {key: stats([draw[key] for draw in bases[0]["draws"]])
                             for key in ("frechet", "confident", "smallest_class", "entropy")}  # fmt: skip
    results["knobs"] = {knob: {} for knob in knobs}
    for knob, values in knobs.items():
        for name, change in values.items():
            runs = [found[f"{knob} {name} {s}"] for s in seeds]
            broken = sum("diverged" in run for run in runs)
            results["knobs"][knob][name] = {
                **summary(runs),
                "parameters": parameters(change),
                "diverged": broken,
            }
    results["knobs"]["ema"] = {name: summary([run["ema"][name] for run in bases]) for name in bases[0]["ema"]}
    return results


def main(chosen: list[str] | None = None, folder=None) -> None:
    """Train all knobs (or the chosen ones); write data/results/knobs.json and knobs.safetensors.

    Seed by seed, written after each, so that a table with fewer seeds is there early.
    """
    start = time.perf_counter()
    knobs = {knob: values for knob, values in KNOBS.items() if chosen is None or knob in chosen}
    flat = {f"{knob} {name}": change for knob, values in knobs.items() for name, change in values.items()}
    jobs = {}
    for seeds in objectives.upto(SEEDS):
        jobs[f"base {seeds[-1]}"] = lambda s=seeds[-1]: base(s)
        jobs |= {f"{key} {seeds[-1]}": lambda c=c, s=seeds[-1]: one(s, c) for key, c in flat.items()}
        if seeds == SEEDS:
            jobs |= {f"base {s}": lambda s=s: base(s) for s in MORE_SEEDS}
        found = run_series("knobs", jobs)
        about = {**objectives.small_recipe(STEPS), "ema": 0.999, "seeds": list(seeds)}
        results = dict(recipe=about, floors=digits.floors(), **collect(found, seeds, knobs))
        drawn = {key.rpartition(" ")[0].replace(" ", "_"): images([run]) for key, run in found.items()
                 if key.endswith(f" {SEEDS[0]}") and run.get("samples")}  # fmt: skip
        drawn |= {f"ema_{name}": images([run]) for name, run in found[f"base {SEEDS[0]}"]["ema"].items()}
        checkpoints.save_images("knobs", folder, **drawn)
        results["seconds"] = round(time.perf_counter() - start)
        checkpoints.save_results("knobs", results, folder)
    forget("knobs")


if __name__ == "__main__":
    main()
