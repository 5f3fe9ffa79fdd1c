"""Notebook 07: clothes by the U-Net of notebook 04, trained for longer, beside the lab's own network."""

from __future__ import annotations

import torch

from data.experiments.jobs import cross, figures, gather, to_list
from data.experiments.measures import draw, floor, judge, noise, real
from data.experiments.mnist import FIRST, NETWORK, load_network, schedule_of_network
from data.experiments.networks import train_network
from data.experiments.runner import Experiment
from helpers import metrics
from helpers.models import UNet, parameter_count
from helpers.sampling import ancestral, ddim, dpm_solver

RULES = {"ancestral": ancestral, "ddim": ddim, "dpm": dpm_solver}
ROWS = {  # network, rule and its arguments
    "lab": ["fashion_lab", "ancestral", {}],
    "ddim": ["fashion_unet", "ddim", dict(steps=50)],
    "fresh": ["fashion_unet", "ddim", dict(steps=50, eta=1.0)],
    "dpm": ["fashion_unet", "dpm", dict(steps=50, eta=2.0)],
}


class FashionUNet(Experiment):
    """Notebook 07: a larger network for clothes, trained for longer."""

    name, hours, makes = "fashion_unet", 1.3, ("checkpoints/fashion_unet.safetensors",)
    settings = dict(network=NETWORK, recipe=dict(FIRST, steps=18_000), few=None)
    small = dict(NETWORK, channels=[8, 8, 8])
    quick = dict(network=small, recipe=dict(FIRST, steps=4, T=24), few=400)

    def list_jobs(self, s):
        return {"training": {}}

    def measure(self, work):
        """Train it and save the averaged weights."""
        s, recipe = work.settings, dict(work.settings["recipe"])
        torch.manual_seed(recipe["seed"])
        model = UNet(**s["network"])
        recipe |= dict(data="fashion", prediction=model.prediction, optimizer="AdamW")
        recipe["parameters"] = parameter_count(model)
        run, log = train_network(work, model, real("fashion", s["few"]).x, recipe)
        work.save_model(self.name, run.ema.model, {**recipe, "step": run.step}, log)
        return dict(loss=log["last"], seconds=round(log["seconds"]))


class FashionSamples(Experiment):
    """Notebook 07: its samples against those of the lab's network, 1,000 each."""

    name, hours, needs = "fashion_samples", 0.4, ("judges", "fashion", "fashion_unet")
    makes = ("results/fashion_samples.json", "results/fashion_samples.safetensors")
    settings = dict(rows=ROWS, seeds=[0, 1, 2], samples=1000, shown=32, few=None)
    short = {k: [net, rule, dict(options, steps=3)] for k, (net, rule, options) in ROWS.items() if k != "lab"}
    quick = dict(rows=short, seeds=[0], samples=70, shown=4, few=400)

    def list_jobs(self, s):
        rows = {
            name: dict(zip(("network", "rule", "options"), row, strict=True))
            for name, row in s["rows"].items()
        }
        return cross(rows, s["seeds"])

    def measure(self, work, network, rule, options, seed):
        """Scores of 1,000 samples by one network and rule."""
        s, model = work.settings, load_network(network)
        sampler, x_T = RULES[rule](**options), noise(s["samples"], seed)
        images = draw(model, schedule_of_network(model), sampler, x_T, 1000 * (seed + 1), bf16=True)
        return {**judge(images, "fashion", s["few"]), "pixels": to_list(images, s["shown"])}

    def describe_training(self, name: str) -> dict:
        """Steps, minutes and threads of a training, and its parameters."""
        model = load_network(name)
        log = dict(minutes=round(model.log["seconds"] / 60, 1), threads=model.log["threads"])
        return dict(steps=model.recipe["steps"], parameters=model.recipe["parameters"], **log)

    def assemble(self, work, done):
        s, sets = work.settings, real("fashion", work.settings["few"])
        rows, images = gather(done, s["seeds"])
        keys = ("distance", "confident", "smallest_class")
        trained = {name: self.describe_training(name) for name in ("fashion_lab", "fashion_unet")}
        confident = round(metrics.confident_share(sets.test, data="fashion"), 4)
        lowest = floor(sets.test, s["samples"], name="fashion")
        about = dict(
            samples=s["samples"], seeds=s["seeds"], bf16_samples=True, real="test images", trained=trained
        )
        scores = {name: figures(runs, keys) for name, runs in rows.items()}
        work.save_results(dict(about, floor=dict(lowest, confident=confident), rows=scores), **images)

    def bounds(self, found):
        """What notebook 07 says of it. An aim that is not reached is no bound."""
        lab, *larger = (found["rows"][name] for name in ("lab", "ddim", "fresh", "dpm"))
        nearer = all(max(row["distance"]["values"]) < min(lab["distance"]["values"]) for row in larger)
        yield nearer, "the larger network is nearer than the lab's, with every sampler and seed"
        more = all(min(row["confident"]["values"]) > max(lab["confident"]["values"]) for row in larger)
        yield more, "more of its samples are confident, with every sampler and seed"


EXPERIMENTS = [FashionUNet(), FashionSamples()]
