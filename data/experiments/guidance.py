"""Notebook 06: samples of the class-conditional MNIST network at many scales, below zero, and in bands."""

from __future__ import annotations

import torch
from torch import Tensor

from data.experiments.jobs import cross, figures, gather, round_all, to_list
from data.experiments.measures import draw, noise, real, real_features
from data.experiments.mnist import load_network
from data.experiments.networks import schedule_of
from data.experiments.runner import Experiment
from helpers import metrics
from helpers.classifiers import features, probabilities
from helpers.guidance import Guided
from helpers.sampling import ddim, dpm_solver

SCALES = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0]
BANDS = dict(low=[1, 333], middle=[334, 666], high=[667, 1000], low_middle=[1, 666], middle_high=[334, 1000])
GRIDS = ["s_0", "s_1", "s_2", "s_4", "s_8", "s_minus_1", "s_minus_2", "s_8_unclamped"]
GRIDS += ["plain", "band_low", "band_middle", "band_high"]


def name_scale(scale: float) -> str:
    """The name of a scale in the results: s_2, s_0_5, s_minus_1."""
    return f"s_{scale:g}".replace("-", "minus_").replace(".", "_")


def make_settings(scales, below, fresh, unclamped, bands: dict) -> dict:
    """{name: what is drawn}: the sweep, below zero, fresh noise, no clamp, bands, and without labels."""
    table = {name_scale(s): dict(scale=s) for s in (*scales, *below)}
    table |= {f"{name_scale(s)}_fresh": dict(scale=s, eta=1.0) for s in fresh}
    table |= {f"{name_scale(s)}_unclamped": dict(scale=s, clip=None) for s in unclamped}
    table |= {f"band_{name}": dict(scale=4.0, band=band) for name, band in bands.items()}
    return {**table, "plain": dict(plain=True)}


def draw_guided(
    model, n: int, seed: int, steps: int, scale=1.0, band=None, eta=0.0, clip=1.0, plain=False, bf16=False
) -> Tensor:
    """n samples (n, 1, 28, 28), sample i of class i % 10; one seed is one set of noises at every scale.

    plain: the model takes no labels and is not guided.
    """
    rule, y = ddim(steps, eta=eta) if eta else dpm_solver(steps), torch.arange(n) % 10

    def guide(part):
        return model if plain else Guided(model, y[part], scale, band)

    schedule = schedule_of(getattr(model, "recipe", dict(schedule="cosine", T=1000)))
    return draw(guide, schedule, rule, noise(n, seed), 100 + 10 * seed, clip=clip, bf16=bf16)


def measure_diversity(x: Tensor, y: Tensor) -> float:
    """Mean distance of two different examples of one class; mean over classes with at least two examples.

    x: (N, ..), y: (N,). Distance: root mean squared difference of an entry, in the units of x.
    """
    means = []
    for members in (x[y == c].flatten(1) for c in y.unique()):
        if len(members) > 1:
            table = torch.cdist(members, members, compute_mode="donot_use_mm_for_euclid_dist")
            count = len(members) * (len(members) - 1)
            means.append(table.sum() / count / members.shape[1] ** 0.5)
    return float(torch.stack(means).mean())


def score_classes(x: Tensor, y: Tensor, real_set: Tensor) -> dict:
    """Everything asked of images x (N, 1, 28, 28) of classes y (N,); real_set: features of the real images.

    confusion: counts [asked][read by the judge]; diversity: within the classes asked for, of pixels and of
    features, diversity_read: of pixels within the classes that the judge reads; grey: share of pixels neither
    black nor white; beyond: share outside [-1, 1] by more than a twentieth; ink: the mean pixel.
    """
    p, f = probabilities(x), features(x)
    read = p.argmax(1)
    scores = dict(
        accuracy=(read == y).float().mean(),
        asked=p[torch.arange(len(y)), y].mean(),
        confident=(p.max(1).values > 0.95).float().mean(),
        distance=metrics.frechet_between(f, real_set),
        diversity=measure_diversity(x, y),
        diversity_features=measure_diversity(f, y),
        diversity_read=measure_diversity(x, read),
        grey=(x.abs() < 0.9).float().mean(),
        beyond=(x.abs() > 1.05).float().mean(),
        ink=x.mean(),
    )
    confusion = torch.bincount(10 * y + read, minlength=100).reshape(10, 10).tolist()
    return {**round_all(scores, 5), "confusion": confusion}


def score_real(s: dict, seed: int) -> dict:
    """Real images, as many of each class, against all the others."""
    sets, real_set = real("mnist", s["few"]), real_features("mnist", s["few"])
    order = torch.randperm(len(sets.test), generator=torch.Generator().manual_seed(seed))
    classes = [order[sets.test_y[order] == c][: s["samples"] // 10] for c in range(10)]
    pick, rest = torch.cat(classes), torch.ones(len(sets.test), dtype=torch.bool)
    rest[pick] = False
    return score_classes(sets.test[pick], sets.test_y[pick], real_set[rest])


def summarise(runs: list[dict]) -> dict:
    """A figure of each score over the runs; confusions are added."""
    rows = figures(runs, [key for key in runs[0] if key != "confusion"])
    return {**rows, "confusion": torch.tensor([run["confusion"] for run in runs]).sum(0).tolist()}


class Guidance(Experiment):
    """Notebook 06: scales, bands, fresh noise, no clamp."""

    name, hours, needs = "guidance", 0.4, ("judges", "mnist_unet", "mnist_classes")
    makes = ("results/guidance.json", "results/guidance.safetensors")
    settings = dict(samples=500, seeds=[0, 1], steps=15, shown=64, bf16=True, few=None, scales=SCALES)
    settings |= dict(grids=GRIDS, bands=dict(scale=4.0, levels=BANDS))
    settings |= dict(table=make_settings(SCALES, [-1.0, -2.0], [1.0, 2.0], [2.0, 8.0], BANDS))
    quick = dict(samples=70, seeds=[0], steps=2, shown=2, few=400, scales=[0.0, 2.0])
    quick |= dict(table=make_settings([0.0, 2.0], [-1.0], [1.0], [2.0], dict(high=[12, 24])))

    def list_jobs(self, s):
        """The scales of the sweep from every seed, the rest from the first."""
        jobs = cross({name: dict(name=name) for name in s["table"]}, s["seeds"])
        often, first = {name_scale(scale) for scale in s["scales"]}, s["seeds"][0]
        return {key: job for key, job in jobs.items() if job["name"] in often or job["seed"] == first}

    def measure(self, work, name, seed):
        """Draw with one setting from one seed, and score."""
        s, options = work.settings, work.settings["table"][name]
        model = load_network("mnist_unet" if options.get("plain") else "mnist_classes")
        images = draw_guided(model, s["samples"], seed, s["steps"], bf16=s["bf16"], **options)
        scores = score_classes(images, torch.arange(len(images)) % 10, real_features("mnist", s["few"]))
        kept = seed == s["seeds"][0] and name in s["grids"]
        return {**scores, "pixels": to_list(images, s["shown"])} if kept else scores

    def assemble(self, work, done):
        """A row for each setting, and the same for real images; the grids."""
        s, model, sets = work.settings, load_network("mnist_classes"), real("mnist", work.settings["few"])
        grouped, images = gather(done, s["seeds"])
        right = (probabilities(sets.test).argmax(1) == sets.test_y).float()
        sampler = dict(rule=dpm_solver(s["steps"]).name, clip_x0=1.0, a_class=s["samples"] // 10)
        results = dict(
            recipe=dict(model.recipe),
            sampler=dict(sampler, **{key: s[key] for key in ("samples", "seeds", "bf16")}),
            judge="mnist_judge",
            bands=s["bands"],
            settings={name: {**s["table"][name], **summarise(runs)} for name, runs in grouped.items()},
            real=summarise([score_real(s, seed) for seed in range(5)]),
            real_all=round(float(right.mean()), 5),
            training=dict(seconds=round(model.log.get("seconds", 0))),
        )
        work.save_results(results, **images)

    def bounds(self, found):
        rows = found["settings"]

        def mean(name, score="distance"):
            return rows[name][score]["mean"]

        read = [mean(f"s_{scale}", "accuracy") for scale in "012"]
        enough = found["sampler"]["samples"] * len(rows["s_2"]["accuracy"]["values"]) >= 1000
        yield enough and read[2] >= 0.99, "at s = 2 at least 99 % of 1,000 are the class asked for"
        yield read[0] < 0.2 < 0.85 < read[1] < read[2], "accuracy rises with the scale"
        for score, names in (("diversity_features", "1248"), ("diversity", "124")):
            chain = [mean(f"s_{scale}", score) for scale in names]
            yield chain == sorted(chain, reverse=True), f"{score} falls with the scale"
        far, near = rows["s_8"]["distance"], rows["s_1"]["distance"]
        apart = far["mean"] - near["mean"] > 3 * (far["std"] + near["std"])
        yield apart, "s = 8 is further from the data than s = 1, by more than the spread"
        yield found["real"]["distance"]["mean"] < near["mean"], "the floor lies below"
        gain = mean("s_4") - near["mean"]
        high = abs(mean("band_high") - mean("s_4")) < 0.3 * gain
        yield high, "the high band does what guidance everywhere does"
        low = abs(mean("band_low") - near["mean"]) < 0.1 * gain
        yield low, "the low band does nothing to the distance"
        yield mean("s_minus_1", "accuracy") < 0.05, "s = -1 avoids the class"


EXPERIMENTS = [Guidance()]
