"""Notebook 05: how good samples are for how many network evaluations; the terminal SNR; inversion."""

from __future__ import annotations

import dataclasses

import torch

from data.experiments.measures import draw, figure, floor, noise, real, real_features, to_images, to_list
from data.experiments.mnist import load_network
from data.experiments.networks import schedule_of, train_network
from data.experiments.points import skip_levels
from data.experiments.runner import Experiment
from helpers import data, metrics
from helpers.classifiers import features
from helpers.models import UNet
from helpers.sampling import ancestral, ddim, dpm_solver, last, reverse

SAMPLERS = {"ancestral": lambda steps: ddim(steps, eta=1.0), "ddim": ddim, "dpm": dpm_solver}
SPACINGS = ("trailing", "linspace", "leading")


def power_levels(T: int, steps: int, power: float) -> list[int]:
    """`steps` falling levels from T, T (1 - i/steps)^power: above 1 denser near the data."""
    rise = torch.arange(steps, dtype=torch.float64) / steps
    return (T * (1 - rise) ** power).round().long().clamp(min=1).unique().flip(0).tolist()


def make_rule(sampler: str, steps: int, **options):
    """The rule of one job: a sampler, every k-th level with the one-level step, or levels by a power."""
    if sampler == "every level":
        return ancestral()
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


def measure_rule(work, sampler: str, steps: int, clip=1.0, bf16=True, repeated=False, **options) -> dict:
    """Draw with one rule from the MNIST network: every seed if `repeated` and the steps are few, else one."""
    s, model = work.settings, load_network("mnist_unet")
    schedule, rule = schedule_of(model.recipe), make_rule(sampler, steps, **options)
    few = repeated and len(rule.levels(schedule.T)) <= s["repeated"]
    sets = []
    for seed in s["seeds"] if few else s["seeds"][:1]:
        x_T = noise(s["samples"], seed)
        sets.append(draw(model, schedule, rule, x_T.shape, 1000 * (seed + 1), x_T, clip=clip, bf16=bf16))
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
        start, eps = x, ask(model, schedule, x, t)
        x = step_up(start, t, t_up, eps, schedule)
        for _ in range(corrections):
            x = step_up(start, t, t_up, ask(model, schedule, x, t_up), schedule)
    return x


def measure_inversion(model, schedule, images, steps: int, corrections: int) -> dict:
    """Root mean squared error a pixel of images -> noise -> images, and what the noise is like."""
    latent = invert(model, schedule, images, steps, corrections)
    back = last(reverse(model, schedule, ddim(steps), x_T=latent))
    errors = (back - images).flatten(1).square().mean(1).sqrt()
    beside = torch.corrcoef(torch.stack([latent[..., 1:].flatten(), latent[..., :-1].flatten()]))[0, 1]
    return dict(
        error=round(float(errors.mean()), 5),
        worst=round(float(errors.max()), 5),
        latent_std=round(float(latent.std()), 4),
        latent_mean=round(float(latent.mean()), 4),
        neighbours=round(float(beside), 4),
    )


def invert_images(work, steps: int, corrections: int) -> dict:
    """measure_inversion of some test images with the MNIST network."""
    s, model = work.settings, load_network("mnist_unet")
    images = real("mnist", s["few"]).test[: s["inverted"]]
    return measure_inversion(model, schedule_of(model.recipe), images, steps, corrections)


def measure_convergence(work) -> dict:
    """How far short walks end from the walk over all levels (RMS a pixel), same noise, no clamp."""
    s, model = work.settings, load_network("mnist_unet")
    schedule, x_T = schedule_of(model.recipe), noise(s["inverted"], 0)

    def walk(rule):
        return draw(model, schedule, rule, x_T.shape, 1000, x_T, clip=None)

    best = walk(dpm_solver(schedule.T))

    def measure_gap(rule):
        return round(float((walk(rule) - best).square().mean().sqrt()), 6)

    gaps = {name: {str(n): measure_gap(SAMPLERS[name](n)) for n in s["walks"]} for name in ("ddim", "dpm")}
    every = measure_gap(ddim(schedule.T))
    return dict(**gaps, reference="dpm, every level", ddim_every_level=every, images=len(x_T))


def study_short(work, schedule: str) -> dict:
    """Train a network on one of the short schedules and draw from it with every spacing."""
    s, x = work.settings, data.digits()[0]
    recipe, n = dict(s["short"], schedule=schedule), s["samples"]
    levels, real_set = schedule_of(recipe), features(x)
    torch.manual_seed(recipe["seed"])
    run, log = train_network(work, UNet(**s["short_network"]), x, recipe)
    model, walks = run.ema.model, {}

    def measure_walk(name, rule, seeds, start=None, **more):
        sets = []
        for seed in seeds:
            x_T = noise(n, seed, 8) if start is None else start(seed)
            sets.append(draw(model, levels, rule, x_T.shape, 1000 * (seed + 1), x_T))
        steps = rule.levels(levels.T)
        row = dict(steps=len(steps), **more, top=steps[0])
        walks[name] = {**judge_sets(sets, real_set, s["shown"]), **row}

    def start_truly(seed):
        pick = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:n]
        return levels.q_sample(x[pick], levels.T, noise(n, seed, 8))

    count = s["short_walk"]
    for spacing in SPACINGS:
        measure_walk(f"{spacing}-{count}", ddim(count, spacing=spacing), s["seeds"], spacing=spacing)
    measure_walk("ancestral", ancestral(), s["seeds"][:1])
    measure_walk(f"true_start-{count}", ddim(count), s["seeds"], start_truly)
    root = float(levels.exact(levels.T).sqrt())
    return dict(root_alpha_bar=root, loss=round(log["last"], 4), seconds=round(log["seconds"]), walks=walks)


def list_samplers(s: dict) -> dict:
    """Every measurement: {"group name ..": arguments}."""
    jobs = {f"short {name}": dict(kind="short", schedule=full) for name, full in s["short_schedules"].items()}
    rules = {f"naive {every}": dict(sampler="naive", steps=every) for every in s["skips"]}
    for name in SAMPLERS:
        for n in s["evaluations"]:
            rules[f"quality {name} {n}"] = dict(sampler=name, steps=n, repeated=True)
    for n in s["spaced"]:
        rules |= {
            f"spacing {spacing} {n}": dict(sampler="ddim", steps=n, spacing=spacing) for spacing in SPACINGS
        }
    for n in s["powered"]:
        rules |= {
            f"power dpm {power} {n}": dict(sampler="power", steps=n, power=power) for power in s["powers"]
        }
        rules[f"unclipped dpm {n}"] = dict(sampler="dpm", steps=n, clip=None)
    for n in s["eta_steps"]:
        rules |= {f"eta {eta} {n}": dict(sampler="ddim", steps=n, eta=eta) for eta in s["etas"]}
    rules["precision float32"] = dict(sampler="dpm", steps=s["powered"][-1], bf16=False)
    rules[f"quality ancestral {s['levels']}"] = dict(sampler="every level", steps=s["levels"])
    jobs |= {name: dict(kind="rule", **rule) for name, rule in rules.items()}
    for n in s["inversions"]:
        jobs |= {
            f"inversion {n} {c}": dict(kind="inversion", steps=n, corrections=c) for c in s["corrections"]
        }
    return {**jobs, "convergence": dict(kind="convergence")}


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


def assemble_samplers(work, done: dict) -> None:
    """All measurements as a tree, with floors; of the images those of `quality`, `naive` and `short`."""
    s, model, sets = work.settings, load_network("mnist_unet"), real("mnist", work.settings["few"])
    tree, images = nest(done)
    digits = data.digits()[0]
    brightness, confident = float(sets.x.mean()), metrics.confident_share(sets.test)
    shared = dict(data="digits", **s["short_network"], brightness=round(float(digits.mean()), 4))
    short_floor = round(floor(digits, s["samples"])["mean"], 3)
    scoring = dict(samples=s["samples"], seeds=s["seeds"], clip_x0=1.0, real="test images", bf16=True)
    results = dict(
        recipe=dict(**model.recipe, channels=model.config["channels"]),
        scoring=scoring,
        floor=floor(sets.test, s["samples"]),
        real=dict(confident=round(confident, 4), brightness=round(brightness, 4)),
        short_recipe=dict(s["short"], **shared, floor=short_floor),
        **tree,
    )
    kept = ("quality", "naive", "short")
    work.save_results(results, **{name: part for name, part in images.items() if name.startswith(kept)})


def bound_samplers(found: dict):
    """What notebook 05 says of these figures."""
    quality, spacing, short = found["quality"], found["spacing"], found["short"]
    for every, row in found["naive"].items():
        far = 2 * quality["ddim"][str(1000 // int(every))]["distance"]["mean"]
        yield row["distance"]["mean"] > far, f"every {every}th level is twice as far naively as with DDIM"
    ddim_gaps, dpm_gaps = (found["convergence"][name] for name in ("ddim", "dpm"))
    precise = min(ddim_gaps[n] / dpm_gaps[n] for n in ("20", "50", "100")) > 1.5
    yield precise, "the second order ends nearer to the full walk"
    for n, row in quality["dpm"].items():
        pairs = zip(row["distance"]["values"], quality["ddim"][n]["distance"]["values"], strict=True)
        yield all(a < b for a, b in pairs), f"DPM-Solver++ is nearer than DDIM in {n} steps, with every seed"
    for n in ("10", "20"):
        off = {k: rows[n]["brightness"]["mean"] - found["real"]["brightness"] for k, rows in spacing.items()}
        worst = max(spacing, key=lambda name: spacing[name][n]["distance"]["mean"])
        bright = off["leading"] > max(0, off["trailing"], off["linspace"])
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


SHORT = dict(T=300, steps=1500, batch_size=64, lr=2e-3, seed=0, ema=0.999, bf16=False)
SETTINGS = dict(
    samples=500, seeds=[0, 1, 2], shown=8, few=None, levels=1000, repeated=20, skips=[10, 20, 50],
    evaluations=[4, 6, 8, 10, 15, 20, 50, 100], spaced=[10, 20], powers=[0.75, 1.5], powered=[10, 15],
    etas=[0.0, 0.5, 1.0], eta_steps=[10, 20], inversions=[20, 50, 100, 200], corrections=[0, 1], inverted=16,
    walks=[5, 10, 20, 50, 100, 200], short=SHORT, short_walk=30,
    short_network=dict(channels=[16, 32], prediction="v"),
    short_schedules=dict(uncorrected="uncorrected", zero_terminal="zero_terminal", rescaled="linear"),
)  # fmt: skip
QUICK = dict(
    samples=70, seeds=[0], shown=2, few=400, levels=24, skips=[10], inverted=2, evaluations=[2], spaced=[2],
    powers=[0.75], powered=[2], etas=[0.5], eta_steps=[2], inversions=[2], walks=[2], short_walk=4,
    short=dict(SHORT, T=24, steps=2), short_network=dict(channels=[8, 8], prediction="v"),
)  # fmt: skip
KINDS = dict(rule=measure_rule, inversion=invert_images, convergence=measure_convergence, short=study_short)
EXPERIMENTS = [
    Experiment("samplers", "notebook 05: quality by sampler and number of evaluations", 1.4,
               makes=("results/samplers.json", "results/samplers.safetensors"),
               needs=("judges", "mnist_unet"), settings=SETTINGS, quick=QUICK, list_jobs=list_samplers,
               measure=KINDS, assemble=assemble_samplers, bounds=bound_samplers),
]  # fmt: skip
