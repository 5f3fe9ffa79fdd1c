"""Notebook 08, on the 8x8 digits: what to predict, schedule and weights; knobs one at a time; memorising.

A small network and a short training, so that many settings and three seeds take less than an hour; the scores
are to be compared with each other, not with those of notebook 03. eps with zero terminal SNR is left out: at
the last level x_T is the noise, and x_0 would be (x_T - eps) / 0.
"""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor

from data.experiments.digits import ACTIVATIONS, draw_digits, score_digits, start_results, train_digits
from data.experiments.jobs import average, cross, figures, gather, round_all, take_images, to_list
from data.experiments.measures import real
from data.experiments.networks import schedule_of
from data.experiments.runner import Experiment
from helpers import checkpoints, metrics
from helpers.models import UNet, parameter_count
from helpers.schedule import Schedule, at

SCORES = ("frechet", "confident", "smallest_class", "entropy", "nearest", "nearer", "novelty")
CHOICES = dict(predictions="prediction", schedules="schedule", weightings="weighting")
STRUCTURE = ("attention", "blocks", "channels")
KNOBS = {  # knob: {setting: what is different from the base}; the base itself belongs to every knob
    "length": {str(n): {"steps": n} for n in (150, 300, 1200, 2400)},
    "lr": {"2e-4": {"lr": 2e-4}, "5e-4": {"lr": 5e-4}, "5e-3": {"lr": 5e-3}, "1e-2": {"lr": 1e-2}},
    "batch": {"16": {"batch_size": 16}, "256": {"batch_size": 256}},
    "batch_images": {"16": {"batch_size": 16, "steps": 2400}, "256": {"batch_size": 256, "steps": 150}},
    "T": {str(T): {"T": T} for T in (100, 500, 2000)},
    "attention": {"without": {"attention": False}},
    "depth": {"2": {"blocks": 2}, "3": {"blocks": 3}},
    "width": {"8": {"channels": [8, 16]}, "32": {"channels": [32, 64]}},
    "activation": {name: {"activation": name} for name in ACTIVATIONS},
}
AVERAGES = {"none": 0.0, "99": 0.99, "9999": 0.9999, "999_cold": -0.999, "9999_cold": -0.9999}
RECIPE = dict(schedule="cosine", T=1000, lr=2e-3, batch_size=64, steps=600, ema=0.999, weighting="uniform")
RECIPE |= dict(bf16=False, draw_steps=20, samples=metrics.SAMPLES, bins=20)
SETTINGS = dict(seeds=[0, 1, 2], network=dict(channels=[16, 32]), recipe=RECIPE, shown=10)
QUICK = dict(seeds=[0], network=dict(channels=[8, 8]), recipe=dict(RECIPE, steps=2, draw_steps=2, bins=2))


@torch.no_grad()
def loss_by_level(model, schedule: Schedule, x: Tensor, bins: int, repeats: int = 1) -> dict:
    """Mean squared error on images x (N, 1, 8, 8) in `bins` equal parts of the levels 1 .. T, in four units.

    eps, x0, v: lists of `bins` numbers; clipped: of x_0 after a clamp to [-1, 1], as the sampler does.
    Every image is noised `repeats` times in each bin; noise and levels are the same for every network.
    """
    g, errors = torch.Generator().manual_seed(0), {"eps": [], "x0": [], "v": [], "clipped": []}
    x0 = x.repeat(repeats, 1, 1, 1)
    for k in range(bins):
        low, high = k * schedule.T // bins, (k + 1) * schedule.T // bins
        t, noise = 1 + low + torch.arange(len(x0)) % (high - low), torch.randn(x0.shape, generator=g)
        x_t = schedule.q_sample(x0, t, noise)
        parts = zip(x_t.split(720), t.split(720), strict=True)
        output = torch.cat([model(*part) for part in parts]).double()
        eps, guess = schedule.from_output(output, x_t.double(), t, model.prediction)
        a = at(schedule.exact(torch.arange(schedule.T + 1)), t, guess)
        v = a.sqrt() * (eps - noise) - (1 - a).sqrt() * (guess - x0)
        in_units = dict(eps=eps - noise, x0=guess - x0, v=v, clipped=guess.clamp(-1, 1) - x0)
        for unit, error in in_units.items():
            errors[unit].append(float(f"{float(error.square().mean()):.5g}"))
    return errors


def measure_novelty(samples: Tensor, training: Tensor, held_out: Tensor) -> dict:
    """Are the samples (N, ..) further from the training images than real images never trained on?

    nearer: share of samples nearer to a training image than all but 5 % of the held-out ones; fresh data
    0.05, copies 1. novelty: middle distance of the samples over that of the held-out; fresh data 1, copies 0.
    """
    near, fresh = (metrics.nearest_neighbours(images, training)[1] for images in (samples, held_out))
    nearer = (near < fresh.quantile(0.05)).float().mean()
    return round_all(dict(nearer=nearer, novelty=near.median() / fresh.median()))


def copied_share(images: Tensor, training: Tensor, close: float) -> float:
    """Share of images (N, ..) at most `close` times as far from the nearest real image as from the next."""
    near = torch.cdist(images.flatten(1), training.flatten(1)).topk(2, dim=1, largest=False).values
    return round(float((near[:, 0] <= close * near[:, 1]).float().mean()), 4)


def score_small(samples: Tensor, training: Tensor | None = None) -> dict:
    """score_digits, the entropy of the class shares (in classes: 10 is even), novelty; nothing for NaN."""
    if not bool(torch.isfinite(samples).all()):
        return {}
    scores, digits = score_digits(samples), real("digits")
    shares = torch.tensor(scores["classes"], dtype=torch.float64)
    scores["entropy"] = round(float(torch.special.entr(shares).sum().exp()), 4)
    return {**scores, **measure_novelty(samples, digits.x if training is None else training, digits.test)}


def measure_small(model, recipe: dict, seed: int, shown: int = 0, more: bool = False) -> dict:
    """Everything asked of one trained network; the sampling seed follows the training seed.

    more: also samples with fresh noise at every step (eta 1), and without the clamp of x_0.
    """
    samples = draw_digits(model, recipe, 0.0, 1 + seed)
    levels = loss_by_level(model, schedule_of(recipe), real("digits").test, recipe["bins"])
    result = dict(**score_small(samples), levels=levels, pixels=to_list(samples, shown))
    if more:
        result["stochastic"] = score_small(draw_digits(model, recipe, 1.0, 1 + seed))
        result["unclipped"] = score_small(draw_digits(model, recipe, 0.0, 1 + seed, clip=None))
    return result


def summarise_setting(runs: list[dict]) -> dict:
    """Of all seeds of one setting: a figure of each number, means by level, class shares a seed."""
    summary = figures(runs, (*SCORES, "loss"))
    for part in ("stochastic", "unclipped"):
        if pieces := [run[part] for run in runs if part in run]:
            summary[part] = figures(pieces, SCORES)
    measured, summary["levels"] = [run["levels"] for run in runs if "levels" in run], {}
    for unit in measured[0] if measured else ():
        means = average([row[unit] for row in measured])
        summary["levels"][unit] = [float(f"{mean:.4g}") for mean in means]
    return {**summary, "classes": [run.get("classes") for run in runs]}


def pool(rows: dict) -> float:
    """The spread of the Frechet distance between seeds, from all rows together."""
    return math.sqrt(sum(row["frechet"]["std"] ** 2 for row in rows.values()) / len(rows))


class Objectives(Experiment):
    """Notebook 08: prediction x schedule x weighting, 22 settings."""

    name, hours, needs = "objectives", 0.4, ("judges",)
    makes = ("results/objectives.json", "results/objectives.safetensors")
    settings = dict(SETTINGS, predictions=["eps", "x0", "v"], weightings=["uniform", "min_snr"], more=True)
    settings |= dict(schedules=["linear", "cosine", "sigmoid", "ztsnr"])
    quick = dict(QUICK, predictions=["v"], schedules=["cosine", "ztsnr"], weightings=["min_snr"])

    def list_jobs(self, s):
        """Predictions x schedules x weightings, without eps where the signal is zero, from every seed."""
        rows = [row for row in product(*(s[key] for key in CHOICES)) if row[:2] != ("eps", "ztsnr")]
        changes = {"_".join(row): dict(zip(CHOICES.values(), row, strict=True)) for row in rows}
        return cross({name: dict(change=change) for name, change in changes.items()}, s["seeds"])

    def measure(self, work, seed, change, averages=False):
        """Train and measure one setting from one seed; a training that broke down says at least that.

        averages: also measure other averages of its weights; sample the first seed's network several times.
        """
        s, first = work.settings, seed == work.settings["seeds"][0]
        average_of = s.get("averages") if averages and seed in s["seeds"] else None
        try:
            run, log, recipe = train_digits(work, seed, change, average_of)
        except FloatingPointError as err:
            return dict(seed=seed, diverged=str(err))
        model, shown, more = run.ema.model, s["shown"] if first else 0, first and s.get("more", False)
        result = dict(seed=seed, loss=log["last"], **measure_small(model, recipe, seed, shown, more))
        if averages:
            kept = run.averages.items()
            result["ema"] = {name: measure_small(other.model, recipe, seed, shown) for name, other in kept}
            again = range(s["draws"]) if first else ()
            result["draws"] = [score_small(draw_digits(model, recipe, 0.0, 100 + i)) for i in again]
        return result

    def assemble(self, work, done):
        s, (grouped, images) = work.settings, gather(done, work.settings["seeds"])
        about = dict(schedule="linear, cosine, sigmoid, linear with zero terminal SNR", gamma=5.0)
        about |= dict(
            prediction="eps, x0, v", weighting="uniform, min-SNR", held_out=len(real("digits").test)
        )
        table = {name: summarise_setting(runs) for name, runs in grouped.items()}
        start = start_results(s, 0.0, seeds=s["seeds"], **about)
        work.save_results(dict(start, settings=table), **images)

    def bounds(self, found):
        rows = found["settings"]
        needed = 2 * pool(rows) * (2 / 3) ** 0.5

        def compare(before, after, score="frechet"):
            """(pairs, seeds): change of a score between all rows that differ in this one thing."""
            pairs = [(key, key.replace(before, after)) for key in rows if before in key]
            values = [(rows[a][score]["values"], rows[b][score]["values"]) for a, b in pairs if b in rows]
            return torch.tensor([b for _, b in values]) - torch.tensor([a for a, _ in values])

        cosine, weighted = compare("linear", "cosine"), compare("uniform", "min_snr")
        yield bool((cosine < 0).all()), "cosine is ahead of linear with every pair and seed"
        for before, after in (("cosine", "sigmoid"), ("linear", "ztsnr")):
            change = compare(before, after).mean(1).abs().max()
            yield float(change) < needed, f"{before} and {after} cannot be told apart"
        nearer = len(weighted) == 11 and bool((weighted.mean(1) < 0).all())
        yield nearer, "min-SNR is nearer in all eleven pairs"
        sure = compare("uniform", "min_snr", "confident").mean(1)
        yield bool((sure > 0).all()), "min-SNR is more confident in all eleven pairs"
        change = compare("v_cosine_uniform", "v_cosine_min_snr").mean().abs()
        yield float(change) < needed, "for v with cosine alone min-SNR proves nothing"
        yield float(cosine.mean()) < float(weighted.mean()), "the schedule is the larger effect"
        for other in ("eps_", "x0_"):
            within = compare(other, "v_").mean(1).abs() < needed
            yield float(within.float().mean()) > 0.5, f"most pairs of {other[:-1]} and v cannot be told apart"
        sure = compare("x0_", "v_", "confident").mean(0)
        yield bool((sure > 0).all()), "v is more confident than x_0"
        free = {key: row["unclipped"]["confident"]["mean"] for key, row in rows.items()}
        holds = free["eps_cosine_uniform"] < 0.5 * free["v_cosine_uniform"] < free["eps_linear_uniform"]
        yield holds, "without the clamp eps with cosine falls behind"
        worst = [max(range(3), key=row["frechet"]["values"].__getitem__) for row in rows.values()]
        yield max(map(worst.count, range(3))) > 11, "one seed is the worst in most rows"
        eps, x0, v = (rows[f"{name}_cosine_uniform"]["levels"] for name in ("eps", "x0", "v"))
        yield max(eps["eps"]) > 50 * min(eps["eps"]), "the levels are not equally hard"
        x = real("digits").x
        guess = float((x - x.mean(0)).square().mean())
        holds = eps["x0"][-1] > 100 * guess and v["x0"][-1] < 1.1 * guess
        yield holds, "eps leaves x_0 open at the highest levels, v does not"
        yield x0["eps"][0] > 1 > v["eps"][0], "x_0 leaves eps open at the lowest, v does not"
        yield max(v["v"]) < 3 * min(v["v"]), "the loss of v stays within a factor of three"


class Knobs(Objectives):
    """Notebook 08: what practitioners turn first, one knob at a time."""

    name, hours, needs = "knobs", 0.6, ("judges", "objectives")
    makes = ("results/knobs.json", "results/knobs.safetensors")
    settings = dict(SETTINGS, knobs=KNOBS, more_seeds=[3, 4, 5], averages=AVERAGES, draws=6)
    quick = dict(QUICK, knobs=dict(activation=KNOBS["activation"]), more_seeds=[3], draws=1)
    quick |= dict(averages={"none": 0.0, "99_cold": -0.99})

    def list_jobs(self, s):
        """The base and every knob from every seed; the base also from more seeds."""
        base = {"base": dict(change={}, averages=True)}
        knobs = {}
        for knob, values in s["knobs"].items():
            knobs |= {f"{knob} {name}": dict(change=change) for name, change in values.items()}
        return cross({**base, **knobs}, s["seeds"]) | cross(base, s["more_seeds"])

    def assemble(self, work, done):
        """The base with its scatter over seeds and draws, and every knob beside it."""
        s, (grouped, images) = work.settings, gather(done, work.settings["seeds"])
        bases, images = grouped["base"], {name.replace(" ", "_"): part for name, part in images.items()}
        averages = {name: [run["ema"][name] for run in bases] for name in s["averages"]}
        images |= {f"ema_{name}": image for name, image in take_images(averages).items()}

        def count(change):
            changed = {key: value for key, value in change.items() if key in STRUCTURE}
            return parameter_count(UNet(**s["network"] | changed))

        every = [done[f"base {seed}"] for seed in (*s["seeds"], *s["more_seeds"])]
        draws = figures(bases[0]["draws"], ("frechet", "confident", "smallest_class", "entropy"))
        knobs = {}
        for knob, values in s["knobs"].items():
            knobs[knob] = {}
            for name, change in values.items():
                runs = grouped[f"{knob} {name}"]
                broken = sum("diverged" in run for run in runs)
                knobs[knob][name] = dict(summarise_setting(runs), parameters=count(change), diverged=broken)
        knobs["ema"] = {name: summarise_setting(runs) for name, runs in averages.items()}
        results = start_results(s, 0.0, seeds=s["seeds"])
        results |= dict(base=dict(summarise_setting(bases), parameters=count({})))
        results |= dict(base_seeds=summarise_setting(every), base_draws=draws, knobs=knobs)
        work.save_results(results, **images)

    def bounds(self, found):
        table = checkpoints.load_results("objectives")["settings"]
        spread = max(found["base_seeds"]["frechet"]["std"], pool(table))
        need = 2 * spread * (2 / len(found["recipe"]["seeds"])) ** 0.5
        base, gap = found["base"]["frechet"], {}
        for knob, rows in found["knobs"].items():
            gap[knob] = {name: row["frechet"]["mean"] - base["mean"] for name, row in rows.items()}
        lengths = [gap["length"][n] for n in ("150", "300", "1200", "2400")]
        falls = lengths == sorted(lengths, reverse=True) and lengths[0] > need and lengths[3] < -need
        yield falls, "longer is nearer"
        yield min(gap["lr"]["2e-4"], gap["lr"]["5e-4"]) > need, "small learning rates are behind"
        yield max(abs(gap["lr"]["5e-3"]), abs(gap["lr"]["1e-2"])) < need, "large learning rates are not"
        batch, by_images = gap["batch"], gap["batch_images"]
        counts = batch["16"] > need and batch["256"] < -need and by_images["256"] > need
        yield counts, "the batch counts as steps and images do"
        yield all(abs(value) < need for value in gap["T"].values()), "T cannot be told apart"
        cold = gap["ema"]["9999_cold"] > gap["ema"]["999_cold"] > 50
        yield cold, "an average without warm-up ruins a short run"
        yield abs(gap["ema"]["none"]) < need, "no average is no worse here"
        hidden = all(found["knobs"]["ema"][decay]["frechet"] == base for decay in ("99", "9999"))
        yield hidden, "the warm-up hides the decay"
        yield abs(gap["attention"]["without"]) < need, "attention cannot be told apart"
        yield gap["width"]["8"] > need and gap["width"]["32"] < 0, "wider is nearer"
        yield gap["activation"]["tanh"] > need, "tanh is behind"
        yield gap["activation"]["relu"] > need > abs(gap["activation"]["gelu"]), "ReLU is behind, GELU is not"
        yield gap["depth"]["2"] < 0 > gap["depth"]["3"], "deeper is nearer"
        for row in found["knobs"]["length"].values():
            whole = row["smallest_class"]["mean"] > 0.05 and row["entropy"]["mean"] > 9.6
            yield whole, "no class is lost at any length"
        same = table["v_cosine_uniform"]["frechet"]["values"][: len(base["values"])]
        agree = all(abs(a - b) <= 0.02 * b for a, b in zip(base["values"], same, strict=True))
        yield agree, "the base has the scores of v, cosine, uniform in objectives"


class Memorise(Experiment):
    """Notebook 08: does a network trained on few digits copy them?"""

    name, hours, needs = "memorise", 0.3, ("judges",)
    makes = ("results/memorise.json", "results/memorise.safetensors")
    settings = dict(SETTINGS, seeds=[0, 1], sizes=[25, 100, 400, 1437], close=1 / 3)
    settings |= dict(recipe=dict(RECIPE, steps=3000))
    quick = dict(QUICK, sizes=[25, 100])

    def list_jobs(self, s):
        return cross({str(size): dict(size=size) for size in s["sizes"]}, s["seeds"])

    def measure(self, work, size, seed):
        """Train on `size` of the training digits, drawn anew for every seed; are the samples copies?"""
        s, train, held_out = work.settings, real("digits").x, real("digits").test
        training = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:size]]
        run, log, recipe = train_digits(work, seed, {}, x=training)
        model, shown, schedule, bins = run.ema.model, s["shown"], schedule_of(recipe), recipe["bins"]
        samples = draw_digits(model, recipe, 0.0, 1 + seed)
        index, distance = metrics.nearest_neighbours(samples, training)
        fresh, repeats = metrics.nearest_neighbours(held_out, training)[1], max(1, round(360 / size))
        pair = torch.cat([samples[:shown], training[index[:shown]]])
        distances = dict(samples=distance, held_out=fresh)
        histogram = {name: torch.histc(d, 40, 0, 1).int().tolist() for name, d in distances.items()}
        levels = dict(training=loss_by_level(model, schedule, training, bins, repeats)["v"])
        levels |= dict(held_out=loss_by_level(model, schedule, held_out, bins)["v"])
        copies = dict(copies=copied_share(samples, training, s["close"]))
        copies |= dict(held_out_copies=copied_share(held_out, training, s["close"]))
        copies |= round_all(dict(distance=distance.median(), held_out_distance=fresh.median()))
        result = dict(seed=seed, loss=log["last"], **copies, **score_small(samples, training))
        return dict(result, levels=levels, pixels=to_list(pair, 2 * shown), histogram=histogram)

    def assemble(self, work, done):
        """For every size: copies, distances, losses, and samples beside their nearest training image."""
        s, sizes, images = work.settings, {}, {}
        grouped, pairs = gather(done, s["seeds"])
        for name, pair in pairs.items():
            images[f"samples_{name}"], images[f"nearest_{name}"] = pair[: s["shown"]], pair[s["shown"] :]
        keys = ("copies", "nearer", "novelty", "distance", "held_out_distance", "held_out_copies", "frechet")
        keys += ("confident", "smallest_class", "entropy", "loss")
        for name, runs in grouped.items():
            levels = {}
            for part in ("training", "held_out"):
                levels[part] = round_all(average([run["levels"][part] for run in runs]), 5)
            sizes[name] = dict(figures(runs, keys), levels=levels, histogram=runs[0]["histogram"])
        start = start_results(s, 0.0, **{key: s[key] for key in ("seeds", "sizes", "close")})
        work.save_results(dict(start, sizes=sizes), **images)

    def bounds(self, found):
        sizes = found["sizes"]
        few, many = sizes["25"], sizes["1437"]
        copied = few["copies"]["mean"] > 10 * max(0.001, many["copies"]["mean"])
        yield copied, "25 digits are copied, 1,437 are not"
        near = [sizes[n]["novelty"]["mean"] for n in ("25", "100", "400", "1437")]
        yield near == sorted(near) and near[0] < 0.1 and near[2] < 1, "the more digits, the newer the samples"
        yield sizes["400"]["copies"]["mean"] < 0.01, "400 digits are hardly copied"
        yield few["confident"]["mean"] > 0.98, "copies are confident"
        gap, none = few["levels"], many["levels"]
        yield gap["held_out"][5] > 20 * gap["training"][5], "the loss shows what is memorised"
        yield none["held_out"][5] < 2 * none["training"][5], "and that nothing is"


EXPERIMENTS = [Objectives(), Knobs(), Memorise()]
