"""Notebook 05: how good samples are for how many network evaluations; the terminal SNR; inversion."""

from __future__ import annotations

import dataclasses
from functools import partial
from itertools import product

import torch

from data.experiments.jobs import figure, round_all, to_images, to_list
from data.experiments.measures import draw, floor, noise, real, real_features
from data.experiments.mnist import load_network
from data.experiments.networks import schedule_of, train_network
from data.experiments.points import skip_levels
from data.experiments.runner import Experiment
from helpers import data, metrics
from helpers.classifiers import features
from helpers.models import UNet
from helpers.sampling import ancestral, ddim, dpm_solver, last, reverse

SAMPLERS = {"ancestral": partial(ddim, eta=1.0), "ddim": ddim, "dpm": dpm_solver}
SAMPLERS |= {"fresh": partial(dpm_solver, eta=2.0)}
SPACINGS = ("trailing", "linspace", "leading")
SHORT = dict(T=300, steps=1500, batch_size=64, lr=2e-3, seed=0, ema=0.999, bf16=False)


def power_levels(T: int, steps: int, power: float) -> list[int]:
    """`steps` falling levels from T, T (1 - i/steps)^power: above 1 denser near the data."""
    rise = torch.arange(steps, dtype=torch.float64) / steps
    return (T * (1 - rise) ** power).round().long().clamp(min=1).unique().flip(0).tolist()


def make_rule(sampler: str, steps: int, **options):
    """The rule of one job: a sampler, every k-th level with the one-level step, or levels by a power."""
    if sampler == "naive":
        return skip_levels(steps)
    if sampler == "power":
        power = options["power"]
        return dataclasses.replace(dpm_solver(steps), levels=lambda T: power_levels(T, steps, power))
    return SAMPLERS[sampler](steps, **options)


def judge_sets(sets: list, real_set: torch.Tensor, shown: int) -> dict:
    """Scores of one set of samples a seed, and the first images of the first set in grey."""
    return dict(
        distance=figure([metrics.frechet_between(features(x), real_set) for x in sets]),
        confident=figure([metrics.confident_share(x) for x in sets]),
        smallest_class=round(min(float(metrics.class_shares(x).min()) for x in sets), 4),
        brightness=figure([float(x.mean()) for x in sets]),
        pixels=to_list(sets[0], shown),
    )


def measure_rule(work, sampler, steps, clip=1.0, bf16=True, repeated=False, **options) -> dict:
    """Draw with one rule from the MNIST network: every seed if `repeated` and the steps are few, else one."""
    s, model = work.settings, load_network("mnist_unet")
    schedule, rule, sets = schedule_of(model.recipe), make_rule(sampler, steps, **options), []
    few = repeated and len(rule.levels(schedule.T)) <= s["repeated"]
    for seed in s["seeds"] if few else s["seeds"][:1]:
        x_T = noise(s["samples"], seed)
        sets.append(draw(model, schedule, rule, x_T, 1000 * (seed + 1), clip=clip, bf16=bf16))
    return judge_sets(sets, real_features("mnist", s["few"]), s["shown"])


@torch.no_grad()
def ask(model, schedule, x, t: int):
    """The network's eps for a batch x at level t; at level 1 for clean data, which it never saw."""
    level = torch.full((len(x),), max(t, 1))
    return schedule.from_output(model(x, level).float(), x, level, model.prediction)[0]


def step_up(x, t: int, t_up: int, eps, schedule):
    """The DDIM step from level t to the higher t_up: the formula of every DDIM step."""
    a, a_up = schedule.exact(t), schedule.exact(t_up)
    x0 = (x - float((1 - a).sqrt()) * eps) / float(a.sqrt())
    return float(a_up.sqrt()) * x0 + float((1 - a_up).sqrt()) * eps


def invert(model, schedule, x, steps: int, corrections: int = 0):
    """The noise (B, ..) from which DDIM in `steps` steps draws x. corrections: times each step is redone with
    the eps found at its end, which is what the step down will use."""
    levels = [0, *reversed(ddim(steps).levels(schedule.T))]
    for t, t_up in zip(levels, levels[1:], strict=False):
        start = x
        x = step_up(start, t, t_up, ask(model, schedule, start, t), schedule)
        for _ in range(corrections):
            x = step_up(start, t, t_up, ask(model, schedule, x, t_up), schedule)
    return x


def measure_inversion(model, schedule, images, steps: int, corrections: int) -> dict:
    """Root mean squared error a pixel of images -> noise -> images, and what the noise is like."""
    latent = invert(model, schedule, images, steps, corrections)
    back = last(reverse(model, schedule, ddim(steps), x_T=latent))
    errors = (back - images).flatten(1).square().mean(1).sqrt()
    beside = torch.corrcoef(torch.stack([latent[..., 1:].flatten(), latent[..., :-1].flatten()]))[0, 1]
    like = round_all(dict(latent_std=latent.std(), latent_mean=latent.mean(), neighbours=beside))
    return round_all(dict(error=errors.mean(), worst=errors.max()), 5) | like


def measure_convergence(work) -> dict:
    """How far short walks end from the walk over all levels (RMS a pixel), same noise, no clamp."""
    s, model = work.settings, load_network("mnist_unet")
    schedule, x_T = schedule_of(model.recipe), noise(s["inverted"], 0)
    best = draw(model, schedule, dpm_solver(schedule.T), x_T, 1000, clip=None)

    def measure_gap(rule):
        end = draw(model, schedule, rule, x_T, 1000, clip=None)
        return round(float((end - best).square().mean().sqrt()), 6)

    gaps = {name: {str(n): measure_gap(SAMPLERS[name](n)) for n in s["walks"]} for name in ("ddim", "dpm")}
    every = measure_gap(ddim(schedule.T))
    return dict(**gaps, reference="dpm, every level", ddim_every_level=every, images=len(x_T))


def study_short(work, schedule) -> dict:
    """Train a network on one of the short schedules and draw from it with every spacing."""
    s, x = work.settings, data.digits()[0]
    recipe, n, count = dict(s["short"], schedule=schedule), s["samples"], s["short_walk"]
    levels, real_set = schedule_of(recipe), features(x)
    torch.manual_seed(recipe["seed"])
    run, log = train_network(work, UNet(**s["short_network"]), x, recipe)
    starts, walks = [noise(n, seed, 8) for seed in s["seeds"]], {}

    def measure_walk(name, rule, starts, **more):
        sets = []
        for seed, start in zip(s["seeds"], starts, strict=False):  # "ancestral" is drawn from one seed only
            sets.append(draw(run.ema.model, levels, rule, start, 1000 * (seed + 1)))
        steps = rule.levels(levels.T)
        walks[name] = dict(judge_sets(sets, real_set, s["shown"]), steps=len(steps), **more, top=steps[0])

    true_starts = []
    for seed, start in zip(s["seeds"], starts, strict=True):
        pick = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:n]
        true_starts.append(levels.q_sample(x[pick], levels.T, start))
    for spacing in SPACINGS:
        measure_walk(f"{spacing}-{count}", ddim(count, spacing=spacing), starts, spacing=spacing)
    measure_walk("ancestral", ancestral(), starts[:1])
    measure_walk(f"true_start-{count}", ddim(count), true_starts)
    root = float(levels.exact(levels.T).sqrt())
    return dict(root_alpha_bar=root, loss=round(log["last"], 4), seconds=round(log["seconds"]), walks=walks)


def nest(done: dict) -> tuple[dict, dict]:
    """{"a b c": scores} as {"a": {"b": {"c": scores}}}, and the images taken out of it: {"a b c": images}."""
    tree, images = {}, {}
    for key, value in done.items():
        *path, leaf = key.split()
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[leaf] = value
        for name, scores in [(key, value), *((f"{key} {k}", v) for k, v in value.get("walks", {}).items())]:
            if "pixels" in scores:
                images[name] = to_images(scores.pop("pixels"))
    return tree, images


class Samplers(Experiment):
    """Notebook 05: quality by sampler and number of evaluations."""

    name, hours, needs = "samplers", 1.5, ("judges", "mnist_unet")
    makes = ("results/samplers.json", "results/samplers.safetensors")
    settings = dict(samples=1000, seeds=[0, 1, 2, 3, 4], shown=8, few=None, repeated=50)
    settings |= dict(skips=[10, 20, 50], evaluations=[4, 8, 10, 15, 20, 50], spaced=[10, 20])
    settings |= dict(powers=[0.75, 1.5], powered=[10, 15], etas=[0.0, 0.5, 1.0], eta_steps=[10, 20])
    settings |= dict(inversions=[20, 50, 100, 200], corrections=[0, 1], inverted=16)
    settings |= dict(walks=[5, 10, 20, 50, 100, 200], short=SHORT, short_walk=30)
    schedules = dict(uncorrected="uncorrected", zero_terminal="zero_terminal", rescaled="linear")
    settings |= dict(short_schedules=schedules, short_network=dict(channels=[16, 32], prediction="v"))
    quick = dict(samples=70, seeds=[0], shown=2, few=400, skips=[10], inverted=2, evaluations=[2])
    quick |= dict(spaced=[2], powers=[0.75], powered=[2], etas=[0.5], eta_steps=[2], inversions=[2])
    quick |= dict(walks=[2], short_walk=4, short=dict(SHORT, T=24, steps=2))
    quick |= dict(short_network=dict(channels=[8, 8], prediction="v"))

    def list_jobs(self, s):
        """Every measurement: {"group name ..": arguments}."""
        jobs = {f"short {k}": dict(kind="short", schedule=full) for k, full in s["short_schedules"].items()}
        rules = {f"naive {every}": dict(sampler="naive", steps=every) for every in s["skips"]}
        for name, n in product(SAMPLERS, s["evaluations"]):
            rules[f"quality {name} {n}"] = dict(sampler=name, steps=n, repeated=True)
        for n, spacing in product(s["spaced"], SPACINGS):
            rules[f"spacing {spacing} {n}"] = dict(sampler="ddim", steps=n, spacing=spacing)
        for n in s["powered"]:
            for power in s["powers"]:
                rules[f"power dpm {power} {n}"] = dict(sampler="power", steps=n, power=power)
            rules[f"unclipped dpm {n}"] = dict(sampler="dpm", steps=n, clip=None)
        for n, eta in product(s["eta_steps"], s["etas"]):
            rules[f"eta {eta} {n}"] = dict(sampler="ddim", steps=n, eta=eta, repeated=True)
        rules["precision float32"] = dict(sampler="dpm", steps=s["powered"][-1], bf16=False)
        jobs |= {name: dict(kind="rule", **rule) for name, rule in rules.items()}
        for n, c in product(s["inversions"], s["corrections"]):
            jobs[f"inversion {n} {c}"] = dict(kind="inversion", steps=n, corrections=c)
        return {**jobs, "convergence": dict(kind="convergence")}

    def measure(self, work, kind, **arguments):
        if kind == "inversion":
            model, images = load_network("mnist_unet"), real("mnist", work.settings["few"]).test
            images = images[: work.settings["inverted"]]
            return measure_inversion(model, schedule_of(model.recipe), images, **arguments)
        studies = dict(rule=measure_rule, convergence=measure_convergence, short=study_short)
        return studies[kind](work, **arguments)

    def assemble(self, work, done):
        """All measurements as a tree, with floors; of the images those of `quality`, `naive` and `short`."""
        s, model, sets = work.settings, load_network("mnist_unet"), real("mnist", work.settings["few"])
        (tree, images), digits, n = nest(done), data.digits()[0], s["samples"]
        short = dict(**s["short"], data="digits", **s["short_network"])
        short |= dict(brightness=round(float(digits.mean()), 4), floor=round(floor(digits, n)["mean"], 3))
        results = dict(
            recipe=dict(**model.recipe, channels=model.config["channels"]),
            scoring=dict(samples=n, seeds=s["seeds"], clip_x0=1.0, real="test images", bf16=True),
            floor=floor(sets.test, n),
            real=round_all(dict(confident=metrics.confident_share(sets.test), brightness=sets.x.mean())),
            short_recipe=short,
            **tree,
        )
        kept = ("quality", "naive", "short")
        work.save_results(results, **{name: part for name, part in images.items() if name.startswith(kept)})

    def bounds(self, found):
        quality, spacing, short = found["quality"], found["spacing"], found["short"]
        for every, row in found["naive"].items():
            twice = row["distance"]["mean"] > 2 * quality["ddim"]["20"]["distance"]["mean"]
            yield twice, f"every {every}th level is naively twice as far as 20 steps of DDIM"
        ddim_gaps, dpm_gaps = (found["convergence"][name] for name in ("ddim", "dpm"))
        precise = min(ddim_gaps[n] / dpm_gaps[n] for n in ("20", "50", "100")) > 1.5
        yield precise, "the second order ends nearer to the full walk"
        for n in ("8", "10", "15", "20"):
            pairs = zip(*(quality[name][n]["distance"]["values"] for name in ("dpm", "ddim")), strict=True)
            nearer = all(a < b for a, b in pairs)
            yield nearer, f"DPM-Solver++ is nearer than DDIM in {n} steps, with every seed"
        for n in ("10", "15", "20", "50"):
            share = {name: quality[name][n]["confident"]["mean"] for name in ("ancestral", "ddim")}
            yield share["ancestral"] > share["ddim"], f"with eta = 1 more samples are confident in {n} steps"
        for n in ("10", "20"):
            light = {name: rows[n]["brightness"]["mean"] for name, rows in spacing.items()}
            worst = max(spacing, key=lambda name: spacing[name][n]["distance"]["mean"])
            others = (found["real"]["brightness"], light["trailing"], light["linspace"])
            bright = light["leading"] > max(others)
            yield bright and worst == "leading", f"leading is too bright and furthest in {n} steps"
        wanted = found["short_recipe"]["brightness"]
        off = {k: abs(w["brightness"]["mean"] - wanted) for k, w in short["uncorrected"]["walks"].items()}
        shows = off["leading-30"] > off["trailing-30"] > 2 * off["true_start-30"]
        yield shows, "the terminal signal shows, unless the walk starts from a true x_T"
        for kind in ("zero_terminal", "rescaled"):
            gap = abs(short[kind]["walks"]["trailing-30"]["brightness"]["mean"] - wanted)
            yield gap < off["trailing-30"], f"{kind} repairs it"
        errors = [row["0"]["error"] for _, row in sorted(found["inversion"].items(), key=lambda r: int(r[0]))]
        better = errors == sorted(errors, reverse=True) and errors[-1] < 0.02
        yield better, "inversion gets better with more steps"


EXPERIMENTS = [Samplers()]
