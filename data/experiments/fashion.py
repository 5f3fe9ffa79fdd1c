"""Notebook 07: the lab's network on Fashion-MNIST and on MNIST with one recipe, and its two stretch tasks.

Snapshots of the averaged weights are drawn and scored on the way, in every 10th level; the last one also by
the ancestral walk, and the shipped ones in every 10th level with fresh noise.
"""

from __future__ import annotations

import torch
from torch import nn

from data.experiments.jobs import average, cross, figure, figures, group, round_all, to_images, to_list
from data.experiments.measures import draw, floor, judge, real
from data.experiments.networks import schedule_of, train_network
from data.experiments.runner import Experiment
from helpers.classifiers import probabilities
from helpers.models import LabUNet, parameter_count
from helpers.sampling import ancestral, ddim

SETS = ("fashion", "mnist")  # a network of each ships
CHUNK = 100
RECIPE = dict(T=300, steps=3_000, batch_size=64, lr=1e-3, ema=0.999, bf16=True)
KINDS = {  # name of the training: data, schedule, classes
    "fashion": ["fashion", "linear", 0],
    "mnist": ["mnist", "linear", 0],
    "cosine": ["fashion", "cosine", 0],
    "classes": ["fashion", "linear", 10],
}


class InTurn(nn.Module):
    """A network with labels, seen by the reverse loop as one without: class i % 10 for example i."""

    def __init__(self, model: LabUNet):
        super().__init__()
        self.model, self.prediction = model, model.prediction

    def forward(self, x, t):
        return self.model(x, t, torch.arange(len(x), device=x.device) % self.model.classes)


def draw_lab(model, recipe: dict, n: int, seed: int, rule=None) -> torch.Tensor:
    """n samples (n, 1, 28, 28); ancestral, or by `rule`; one class after the other with labels."""
    network = InTurn(model).eval() if model.classes else model.eval()
    schedule, shape = schedule_of(recipe), (n, 1, 28, 28)
    return draw(network, schedule, rule or ancestral(), shape, 1000 * seed, chunk=CHUNK)


def score_lab(images: torch.Tensor, name: str, few: int | None, asked: bool) -> dict:
    """judge(); asked: also the share judged as the class asked for."""
    scores = judge(images, name, few)
    del scores["smallest_class"]
    if asked:
        y = torch.cat([torch.arange(len(part)) % 10 for part in images.split(CHUNK)])
        hit = (probabilities(images, name).argmax(1) == y).float()
        scores["as_asked"] = round(float(hit.mean()), 4)
        scores["as_asked_by_class"] = round_all([hit[y == k].mean() for k in range(10)])
    return scores


def score_real(name: str, s: dict) -> dict:
    """Real images: the distance of as many of them from the others, and what the judge says of them."""
    sets = real(name, s["few"])
    judged = probabilities(sets.test, name).max(1)
    right, sure = (judged.indices == sets.test_y).float(), (judged.values > 0.95).float()
    scores = round_all(dict(confident=sure.mean(), accuracy=right.mean()))
    by_class = round_all([right[sets.test_y == k].mean() for k in range(10)])
    return dict(**floor(sets.test, s["samples"], name=name), **scores, accuracy_by_class=by_class)


def describe_lab(s: dict, **more) -> dict:
    """What all trainings share."""
    model = LabUNet(**s["network"])
    about = dict(betas="linear, scaled by 1000/T", prediction=model.prediction, optimizer="AdamW")
    about |= dict(clip_x0=1.0, parameters=parameter_count(model), sampling="ancestral, posterior variance")
    return {**s["recipe"], **about, **more}


def summarise_scores(rows: list[dict], real_distance: float) -> dict:
    """Each score over the seeds; ratio: distance divided by the floor."""
    scores = figures(rows, [key for key in ("distance", "confident", "as_asked") if key in rows[0]])
    scores["ratio"] = figure([row["distance"] / real_distance for row in rows])
    for key in ("class_shares", "as_asked_by_class"):
        if key in rows[0]:
            scores[key] = round_all(average([row[key] for row in rows]))
    return scores


class Fashion(Experiment):
    """Notebook 07: the lab's network on clothes and on digits."""

    name, hours, needs = "fashion", 0.6, ("judges",)
    makes = (*(f"checkpoints/{name}_lab.safetensors" for name in SETS), "results/fashion.json")
    makes += ("results/fashion.safetensors",)
    settings = dict(seeds=[0], snapshots=[250, 500, 1_000, 2_000, 3_000], samples=500, every=10, few=None)
    settings |= dict(loss_every=50, small=16, large=64, largest=100, recipe=RECIPE, network={}, kinds=KINDS)
    quick = dict(snapshots=[2, 4], samples=70, few=400, small=2, large=4, largest=10, loss_every=2)
    quick |= dict(recipe=dict(RECIPE, T=24, steps=4), network=dict(a=8, b=8, c=8))

    def list_jobs(self, s):
        return cross({kind: dict(kind=kind) for kind in s["kinds"]}, s["seeds"])

    def measure(self, work, kind, seed):
        """Train one network; its loss, its scores on the way, and a few images. The first seed's is kept."""
        s, (name, schedule, classes) = work.settings, work.settings["kinds"][kind]
        sets, recipe = real(name, s["few"]), dict(s["recipe"], schedule=schedule, seed=seed)
        torch.manual_seed(seed)
        model, steps = LabUNet(**s["network"], classes=classes), recipe["T"] // s["every"]

        def draw_and_score(model, rule=None, asked=bool(classes)):
            samples = draw_lab(model, recipe, s["samples"], seed + 1, rule)
            return samples, score_lab(samples, name, s["few"], asked)

        def look(run, log):
            samples, scores = draw_and_score(run.ema.model, ddim(steps))
            return dict(step=run.step, **scores, images=to_list(samples, s["large"]))

        options = dict(labels=sets.y if classes else None, stops=s["snapshots"], look=look)
        run, log = train_network(work, model, sets.x, recipe, every=s["loss_every"], **options)
        model, looks = run.ema.model, log.pop("looks")
        result = dict(seed=seed, loss=log["loss"], snapshots=[looks[str(step)] for step in s["snapshots"]])
        samples, result["final"] = draw_and_score(model)
        result["final_images"] = to_list(samples, s["largest"] if classes else s["large"])
        if seed == s["seeds"][0] and kind in SETS:
            _, result["fresh"] = draw_and_score(model, ddim(steps, eta=1.0), False)
            work.save_model(f"{kind}_lab", model, describe_lab(s, data=kind, seed=seed), log)
        return dict(result, seconds=round(log["seconds"], 1))

    def assemble(self, work, done):
        """For each training loss curves, scores by snapshot and at the end; floors, images."""
        s, images, results = work.settings, {}, {}
        floors = {name: score_real(name, s) for name in SETS}
        for kind, runs in group(done, s["seeds"]).items():
            lowest, first = floors[s["kinds"][kind][0]]["mean"], runs[0]["snapshots"]
            summary = {key: [run[key] for run in runs] for key in ("seed", "loss", "seconds")}
            table = zip(*(run["snapshots"] for run in runs), strict=True)
            summary["snapshots"] = [dict(step=r[0]["step"], **summarise_scores(r, lowest)) for r in table]
            summary["few"] = summary["snapshots"][-1]
            summary["final"] = summarise_scores([run["final"] for run in runs], lowest)
            images[f"{kind}_final"] = to_images(runs[0]["final_images"])
            if kind in SETS:
                summary["fresh"] = figures([runs[0]["fresh"]], ("distance", "confident"))
                images |= {f"{kind}_{row['step']}": to_images(row["images"][: s["small"]]) for row in first}
                images[f"{kind}_few"] = to_images(first[-1]["images"])
            results[kind] = summary
        scoring = dict(samples=s["samples"], real="test images", every=s["every"], snapshots=s["snapshots"])
        about = dict(recipe=describe_lab(s), seeds=s["seeds"], scoring=scoring, floors=floors)
        work.save_results(dict(**about, **results), **images)

    def bounds(self, found):
        clothes, digits, floors = found["fashion"], found["mnist"], found["floors"]
        for name, kind in (("fashion", clothes), ("mnist", digits)):
            first, *_, final = (row["distance"] for row in kind["snapshots"] if row["step"] >= 500)
            falls = first["mean"] - final["mean"] > (first["std"] or 0) + (final["std"] or 0)
            yield falls, f"{name}: more training, smaller distance"
            yield final["mean"] > floors[name]["mean"], f"{name}: the floor lies below"
            few, fresh, final = (kind[key]["distance"]["mean"] for key in ("few", "fresh", "final"))
            off = fresh < few and final < 0.8 * few
            yield off, f"{name}: the walk without fresh noise is further off"
        for a, b in zip(clothes["loss"], digits["loss"], strict=True):
            above = all(x > 1.2 * y for x, y in zip(a[2:], b[2:], strict=True))
            yield above, "by the loss clothes are harder, after the first hundred steps"
        ratios = [kind["final"]["ratio"]["mean"] for kind in (clothes, digits)]
        scatter = min(row["std"] / row["mean"] for row in floors.values())
        yield max(ratios) / min(ratios) - 1 < scatter, "by the distance in floors neither is harder"
        first = [kind["snapshots"][0]["ratio"]["mean"] for kind in (clothes, digits)]
        yield first[0] < first[1], "the first snapshot of the digits is further off"
        means = [found[kind]["final"]["distance"]["mean"] for kind in ("classes", "fashion", "cosine")]
        yield means == sorted(means), "labels help and the cosine does not"
        for a, b in zip(clothes["snapshots"], found["cosine"]["snapshots"], strict=True):
            nearer = a["step"] < 1000 or a["distance"]["mean"] < b["distance"]["mean"]
            yield nearer, f"linear is nearer than cosine at step {a['step']}"
        asked = found["classes"]["final"]["as_asked"]["mean"]
        yield asked > floors["fashion"]["accuracy"] - 0.2, "most samples are judged as the class asked for"


EXPERIMENTS = [Fashion()]
