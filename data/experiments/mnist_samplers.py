"""The network of notebook 04 with the course's samplers and guides, at equal numbers of evaluations."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from data.experiments.guidance import measure_diversity
from data.experiments.jobs import cross, figure, figures, gather, round_all, to_list
from data.experiments.measures import draw, floor, judge, noise, real, real_features
from data.experiments.mnist import load_network, make_rule, schedule_of_network
from data.experiments.networks import schedule_of
from data.experiments.runner import Experiment
from helpers import metrics
from helpers.classifiers import features, probabilities
from helpers.guidance import AtSameNoise, Autoguided, Guided

FRESH = dict(rule="dpm_solver", eta=2.0)
WEAK = dict(weak="mnist_lab", scale=2.0, band=[200, 900])
SCORES = ("distance", "confident", "recall", "diversity", "smallest_class")
ROWS = dict(
    ddim=dict(sampler=dict(rule="ddim", steps=50)),
    ancestral=dict(sampler=dict(rule="ddim", steps=50, eta=1.0)),
    dpm_fresh=dict(sampler=dict(FRESH, steps=50)),
    autoguided=dict(sampler=dict(FRESH, steps=30), guide=WEAK),
    autoguided_long=dict(sampler=dict(FRESH, steps=50), guide=WEAK),
    classes=dict(sampler=dict(FRESH, steps=25), network="mnist_classes", scale=2.0),
)


def guide_by_weak(model, schedule, weak: str, scale: float, band) -> Autoguided:
    """The network away from what a weaker one does; band: the levels at which it is asked."""
    network = load_network(weak)
    network = AtSameNoise(network, schedule_of_network(network), schedule, model.prediction)
    return Autoguided(model, network, scale, band)


def count_evaluations(levels: list[int], guide: dict | None, scale: float) -> int:
    """How often a network is asked for one image."""
    if scale != 1:
        return 2 * len(levels)
    return len(levels) + (sum(guide["band"][0] <= t <= guide["band"][1] for t in levels) if guide else 0)


def find_recall(samples: Tensor, real_set: Tensor, k: int = 3) -> float:
    """Share of real features (M, d) that lie nearer to some sample's features (N, d) than its k-th neighbour.

    Kynkaanniemi et al. 2019, arXiv:1904.06991, eq. 2.
    """
    reach = torch.cdist(samples, samples).kthvalue(k + 1, dim=1).values  # the nearest is the sample itself
    inside = [(torch.cdist(part, samples) <= reach).any(1) for part in real_set.split(1000)]
    return float(torch.cat(inside).float().mean())


def measure_variety(images: Tensor, real_set: Tensor) -> dict:
    """Recall, and the mean distance of two images within a class that the judge reads."""
    read = probabilities(images).argmax(1)
    variety = dict(recall=find_recall(features(images), real_set), diversity=measure_diversity(images, read))
    return round_all(variety)


class Compared(Experiment):
    """Rows of samplers: each draws from every seed, and is judged; what samplers and guides share."""

    def list_jobs(self, s):
        return cross({name: dict(n=s["samples"], **row) for name, row in s["rows"].items()}, s["seeds"])

    def measure(self, work, sampler, seed, n, network="mnist_unet", guide=None, scale=1.0):
        """Draw n samples and judge them; scale: that of the labels, sample i asks for class i % 10."""
        s, model, rule = work.settings, load_network(network), make_rule(**sampler)
        schedule, y = schedule_of(model.recipe), torch.arange(n) % 10
        if guide:
            model = guide_by_weak(model, schedule, **guide)
        guided = (lambda part: Guided(model, y[part], scale)) if scale != 1 else model
        images = draw(guided, schedule, rule, noise(n, seed), 1000 * (seed + 1), bf16=s["bf16"])
        scores = judge(images, "mnist", s["few"]) | measure_variety(images, real_features("mnist", s["few"]))
        asked = count_evaluations(rule.levels(schedule.T), guide, scale)
        return {**scores, "evaluations": asked, "pixels": to_list(images, s["shown"])}

    def find_floor(self, s, sets) -> dict:
        """The distance of as many real images, with its "mean"."""
        raise NotImplementedError

    def score_real(self, s, sets) -> dict:
        """What else is said of real images."""
        return {}

    def describe_row(self, row, runs) -> tuple[dict, dict]:
        """What stands before and behind the figures of a sampler, given its settings and its runs."""
        return {}, {}

    def assemble(self, work, done):
        """A row for each sampler, real images beside it, the first images of each where any are shown."""
        s, sets, rows = work.settings, real("mnist", work.settings["few"]), {}
        lowest, (grouped, images) = self.find_floor(s, sets), gather(done, s["seeds"])
        for name, runs in grouped.items():
            row = figures(runs, SCORES)
            row["excess"] = figure([value - lowest["mean"] for value in row["distance"]["values"]])
            before, behind = self.describe_row(s["rows"][name], runs)
            rows[name] = {**before, **row, **behind}
        about = dict(samples=s["samples"], seeds=s["seeds"], real="test images", bf16=s["bf16"])
        confident = dict(confident=round(metrics.confident_share(sets.test), 4))
        of_real = confident | self.score_real(s, sets)
        work.save_results(dict(scoring=about, floor=lowest, real=of_real, samplers=rows), **images)


class Samplers(Compared):
    """Notebook 06 and README: samplers, autoguidance and labels at equal evaluations."""

    name, hours = "mnist_samplers", 0.4
    needs = ("judges", "mnist_unet", "mnist_classes", "fashion")
    makes = ("results/mnist_samplers.json", "results/mnist_samplers.safetensors")
    settings = dict(rows=ROWS, samples=1000, seeds=[0, 1, 2], shown=64, bf16=True, few=None)
    few_rows = dict(
        ddim=dict(sampler=dict(rule="ddim", steps=2)),
        autoguided=dict(sampler=dict(FRESH, steps=3), guide=dict(WEAK, band=[8, 20])),
        classes=dict(sampler=dict(FRESH, steps=2), network="mnist_classes", scale=2.0),
    )
    quick = dict(rows=few_rows, samples=80, seeds=[0], shown=4, few=400)

    def find_floor(self, s, sets):
        return floor(sets.test, s["samples"])

    def score_real(self, s, sets):
        """Recall and diversity of some test images against the others."""
        n = min(s["samples"], len(sets.test) // 2)
        return measure_variety(sets.test[:n], features(sets.test[n:]))

    def describe_row(self, row, runs):
        """Its settings; the class shares of every run, and how often a network was asked."""
        shares = [run["class_shares"] for run in runs]
        return row, dict(class_shares=shares, evaluations=runs[0]["evaluations"])

    def bounds(self, found):
        share = {name: row["confident"]["mean"] for name, row in found["samplers"].items()}
        yield share["dpm_fresh"] > share["ddim"] + 0.03, "fresh noise makes more samples confident"
        spread = found["samplers"]["autoguided"]["confident"]["std"]
        further = share["autoguided"] - share["dpm_fresh"] > spread
        yield further, "autoguidance makes more samples confident, by more than the spread"


class Confirmed(Compared):
    """README: the recommended samplers on 10,000 samples, and the floor for so many."""

    name, hours, needs = "mnist_confirmed", 1.5, ("judges", "mnist_unet", "fashion")
    makes = ("results/mnist_confirmed.json",)
    settings = dict(rows={name: ROWS[name] for name in ("dpm_fresh", "autoguided", "ddim")}, samples=10_000)
    settings |= dict(seeds=[0, 1, 2], floors=5, shown=0, bf16=True, few=None)
    quick = dict(rows=Samplers.few_rows, samples=80, seeds=[0], floors=2, few=400)

    def find_floor(self, s, sets):
        """As many training images from the test images, `floors` times."""
        order = torch.randperm(len(sets.x), generator=torch.Generator().manual_seed(0))
        parts = order[: s["floors"] * s["samples"]].split(s["samples"])
        measure_gap = partial(metrics.frechet_between, b=real_features("mnist", s["few"]))
        return figure([measure_gap(features(sets.x[part])) for part in parts])


EXPERIMENTS = [Samplers(), Confirmed()]
