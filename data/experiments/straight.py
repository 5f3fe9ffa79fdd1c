"""Notebook 09: networks of the straight path against networks of the circle, on the digits and on MNIST."""

from __future__ import annotations

import time
from collections import deque
from functools import partial

import torch
from torch import Tensor

from data.experiments.jobs import cross, figures, group, round_all, to_images, to_list
from data.experiments.measures import draw, floor, judge, noise, real
from data.experiments.networks import SAVE_SECONDS, load_state, save_state
from data.experiments.runner import Experiment
from helpers import checkpoints, data, metrics
from helpers.flow import euler, heun, logit_normal, midpoint, straight
from helpers.models import UNet, parameter_count
from helpers.sampling import Rule, ddim, dpm_solver
from helpers.schedule import Schedule, cosine
from helpers.training import Run, train

PATHS = {"straight": straight, "cosine": cosine}
RULES = {"euler": euler, "heun": heun, "midpoint": midpoint, "ddim": ddim, "dpm": dpm_solver}
SCORES = ("distance", "confident", "smallest_class")
VARIANTS = dict(
    flow=dict(path="straight", weighting="uniform"),
    flow_logit_normal=dict(path="straight", weighting="logit_normal"),
    v_cosine=dict(path="cosine", weighting="uniform"),
)


class OnCircle:
    """A network of the straight path, asked for x_0 in the coordinates of `circle`, which has the same SNRs.

    There its x_t is x_t / sqrt((1 - s)^2 + s^2), and every rule of the course can walk.
    """

    prediction = "x0"

    def __init__(self, model, path: Schedule):
        self.model, self.path, self.circle = model, path, Schedule(path._betas, "straight, on the circle")

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        signal, sigma = self.circle._roots(t, x)
        x = x / (signal + sigma)
        return self.path.from_output(self.model(x, t).float(), x, t, self.model.prediction)[1]


def list_rules(path: str, few: list[int], long: list[int]) -> dict[str, dict]:
    """{"rule n": its arguments}: the solvers of a path, n evaluations each (Heun's method n - 1)."""
    first = "euler" if path == "straight" else "ddim"
    rules = {f"{first} {n}": dict(rule=first, steps=n) for n in (*few, *long)}
    rules |= {f"dpm {n}": dict(rule="dpm", steps=n) for n in few}
    if path == "straight":
        rules |= {f"shifted {n}": dict(rule="euler", steps=n, shift=3.0) for n in few}
        for name in ("midpoint", "heun"):
            rules |= {f"{name} {n}": dict(rule=name, steps=n // 2) for n in few}
    return rules


def train_variant(work, model, x: Tensor, recipe: dict) -> tuple[Run, dict]:
    """Train the model on x (N, ..) as the recipe says; go on where an interrupted training stopped.

    recipe: path, T, weighting ("uniform" or "logit_normal"), steps, batch_size, lr, seed, ema, bf16.
    log: loss (mean of 100 steps each), last (mean of the last 100), seconds, cpu_seconds, threads.
    """
    schedule, steps = PATHS[recipe["path"]](recipe["T"]), recipe["steps"]
    weights = logit_normal(recipe["T"]) if recipe["weighting"] == "logit_normal" else None
    run = Run(model, lr=recipe["lr"], ema_decay=recipe["ema"], seed=recipe["seed"])
    log = {"loss": [], "last": None, "seconds": 0.0, "cpu_seconds": 0.0, "threads": torch.get_num_threads()}
    log = load_state(work, run, log)
    recent, saved = deque(maxlen=100), time.perf_counter()
    clock, cpu = time.perf_counter(), time.process_time()
    options = dict(weights=weights, bf16=recipe["bf16"])
    for step in train(run, schedule, x, steps, recipe["batch_size"], **options):
        recent.append(step.loss)
        log["last"] = round(sum(recent) / len(recent), 5)
        work.tell(step.step, steps, log["last"])
        if step.step % 100 == 0:
            log["loss"].append(log["last"])
            log["seconds"] += time.perf_counter() - clock
            log["cpu_seconds"] += time.process_time() - cpu
            clock, cpu = time.perf_counter(), time.process_time()
            if clock - saved > SAVE_SECONDS:
                save_state(work, run, log)
                saved = clock
    return run, log


def draw_by_rules(model, recipe: dict, rules: dict, x_T: Tensor, seed: int, bf16: bool, score) -> tuple:
    """({rule: scores and evaluations}, {rule: images}) of a network, from the same noise x_T (n, 1, S, S).

    score(images) has at least SCORES. x_0 is kept in [-1, 1].
    """
    path, scores, images = PATHS[recipe["path"]](recipe["T"]), {}, {}
    for name, options in rules.items():
        kind, network, schedule = options["rule"], model, path
        rule = RULES[kind](**{key: value for key, value in options.items() if key != "rule"})
        if kind == "dpm" and recipe["path"] == "straight":
            network = OnCircle(model, path)
            schedule = network.circle
        images[name] = draw(network, schedule, rule, x_T, 1000 * (seed + 1), bf16=bf16)
        found = score(images[name])
        scores[name] = {key: found[key] for key in SCORES} | dict(evaluations=len(rule.levels(path.T)))
    return scores, images


def score_digits(images: Tensor) -> dict:
    """SCORES of at least 898 images (n, 1, 8, 8)."""
    scores = dict(distance=metrics.digits_frechet(images), confident=metrics.confident_share(images))
    return round_all(dict(scores, smallest_class=metrics.class_shares(images).min()))


def pick_scores(runs: list[dict]) -> dict:
    """{rule: {n: figures of SCORES, and evaluations}} over runs that hold {"rule n": scores} under "rules".

    The first run has every rule, others may lack some.
    """
    rows = {}
    for name, scores in runs[0]["rules"].items():
        known = [run["rules"][name] for run in runs if name in run["rules"]]
        rule, n = name.split()
        rows.setdefault(rule, {})[n] = dict(figures(known, SCORES), evaluations=scores["evaluations"])
    return rows


def describe(s: dict, network: dict, **more) -> dict:
    """How these networks are trained and asked, for the results file."""
    about = dict(**s["recipe"], optimizer="AdamW", weight_decay=0.01, clip=1.0, prediction="v")
    about |= dict(network=f"UNet(channels={tuple(network['channels'])})")
    about |= dict(parameters=parameter_count(UNet(**network)))
    return {**about, "samples": s["samples"], "seeds": s["seeds"], "clip_x0": 1.0, **more}


def find_gaps(found: dict, one: tuple, other: tuple) -> list[float]:
    """How much further the other (variant, rule, n) is than the one, with each seed."""
    rows = [found["variants"][v]["rules"][rule][n]["distance"]["values"] for v, rule, n in (one, other)]
    return [b - a for a, b in zip(*rows, strict=True)]


class Straight(Experiment):
    """Notebook 09: the straight path against v with cosine on 8x8 digits, three seeds."""

    name, hours, needs = "straight", 0.3, ("judges",)
    makes = ("results/straight.json", "results/straight.safetensors")
    recipe = dict(T=1000, steps=1200, batch_size=64, lr=2e-3, ema=0.999, bf16=True)
    settings = dict(seeds=[0, 1, 2], recipe=recipe, network=dict(channels=[32, 64], prediction="v"))
    settings |= dict(variants=VARIANTS, few=[4, 8, 20], long=[50], samples=metrics.SAMPLES, shown=16)
    quick = dict(seeds=[0], recipe=dict(recipe, steps=2, T=40), network=dict(channels=[8, 8], prediction="v"))
    quick |= dict(few=[4], long=[])

    def list_jobs(self, s):
        """Every variant from every seed."""
        return cross({name: dict(variant) for name, variant in s["variants"].items()}, s["seeds"])

    def measure(self, work, seed, path, weighting):
        """Train one network and score its samples by every rule, from the same noise for all variants."""
        s = work.settings
        recipe = dict(s["recipe"], path=path, weighting=weighting, seed=seed)
        torch.manual_seed(seed)
        run, log = train_variant(work, UNet(**s["network"]), real("digits").x, recipe)
        rules, x_T = list_rules(path, s["few"], s["long"]), noise(s["samples"], seed, 8)
        scores, images = draw_by_rules(run.ema.model, recipe, rules, x_T, seed, False, score_digits)
        times = {key: round(log[key], 1) for key in ("seconds", "cpu_seconds", "threads")}
        shown = {name: to_list(part, s["shown"]) for name, part in images.items() if seed == s["seeds"][0]}
        return dict(seed=seed, rules=scores, loss=log["last"], **times, shown=shown)

    def assemble(self, work, done):
        """{variant: {rule: {n: figures over the seeds}}}, and images of the first seed, "variant rule n"."""
        s, rows, images = work.settings, {}, {}
        for name, runs in group(done, s["seeds"]).items():
            lists = {key: [run[key] for run in runs] for key in ("loss", "seconds", "cpu_seconds", "threads")}
            rows[name] = dict(rules=pick_scores(runs), **lists)
            images |= {f"{name} {rule}": to_images(grey) for rule, grey in runs[0]["shown"].items()}
        about = describe(s, s["network"], data="digits, every fifth held out")
        confident = metrics.confident_share(real("digits").test)
        start = dict(recipe=about, floor=floor(data.digits()[0], s["samples"]))
        start |= dict(real=round_all(dict(confident=confident)))
        work.save_results(dict(start, variants=rows), **images)

    def bounds(self, found):
        """What notebook 09 says; compared in pairs, as every variant starts from the noise of its seed."""

        gaps = partial(find_gaps, found)
        for n in ("8", "20", "50"):
            mean = sum(gaps(("flow", "euler", n), ("v_cosine", "ddim", n))) / 3
            alike = abs(mean) < found["floor"]["std"]
            yield alike, f"flow and v with cosine are alike in {n} evaluations"
        for n in ("4", "8"):
            better = gaps(("flow_logit_normal", "euler", n), ("flow", "euler", n))
            yield min(better) > 0, f"logit-normal weights are nearer in {n} evaluations, with every seed"
            second = gaps(("flow", "midpoint", n), ("flow", "euler", n))
            yield min(second) > 0, f"midpoint is nearer than Euler in {n} evaluations, with every seed"
            shifted = gaps(("flow", "euler", n), ("flow", "shifted", n))
            yield min(shifted) > 0, f"a shift of 3 is further in {n} evaluations, with every seed"
            for variant, first in (("flow", "euler"), ("v_cosine", "ddim")):
                second = gaps((variant, "dpm", n), (variant, first, n))
                yield min(second) > 0, f"{variant}: DPM-Solver++ is nearer in {n} evaluations, every seed"
        heun = gaps(("flow", "heun", "8"), ("flow", "euler", "8"))
        yield min(heun) > 0, "Heun with 7 evaluations is nearer than Euler with 8, with every seed"


class MnistFlow(Experiment):
    """Notebook 09: one network of the straight path on MNIST, which ships."""

    name, hours, makes = "mnist_flow", 0.3, ("checkpoints/mnist_flow.safetensors",)
    recipe = dict(T=1000, steps=5000, batch_size=64, lr=1e-3, ema=0.999, bf16=True, seed=0)
    settings = dict(recipe=recipe, network=dict(channels=[16, 32, 56], prediction="v"), few_images=None)
    quick = dict(recipe=dict(recipe, steps=2, T=40), network=dict(channels=[8, 8, 8], prediction="v"))
    quick |= dict(few_images=400)

    def list_jobs(self, s):
        return {"training": {}}

    def measure(self, work):
        """Train it and save the averaged weights."""
        run, log = self.train(work, "straight")
        recipe = dict(work.settings["recipe"], schedule="straight", weighting="uniform", data="mnist")
        recipe |= dict(prediction="v", optimizer="AdamW", parameters=parameter_count(run.model))
        work.save_model("mnist_flow", run.ema.model, dict(recipe, step=run.step), log)
        return dict(loss=log["last"], seconds=round(log["seconds"]))

    def train(self, work, path: str):
        """(run, log) of a network of one path."""
        s = work.settings
        torch.manual_seed(s["recipe"]["seed"])
        recipe = dict(s["recipe"], path=path, weighting="uniform")
        return train_variant(work, UNet(**s["network"]), real("mnist", s["few_images"]).x, recipe)

    def assemble(self, work, done):
        """Nothing beside the network."""


class StraightMnist(MnistFlow):
    """Notebook 09: that network against the same one with v and cosine, 1,000 samples each."""

    name, hours, needs = "straight_mnist", 0.5, ("judges", "mnist_flow")
    makes = ("results/straight_mnist.json", "results/straight_mnist.safetensors")
    settings = dict(MnistFlow.settings, seeds=[0, 1, 2], few=[4, 8, 20], long=[50], samples=1000, shown=32)
    quick = dict(MnistFlow.quick, seeds=[0], few=[4], long=[], samples=70, shown=4)

    def list_jobs(self, s):
        """The scores of the network that ships, then the other one."""
        return {"flow": dict(path="straight"), "v_cosine": dict(path="cosine")}

    def measure(self, work, path):
        """Scores by rule and seed; the network of the circle is trained first, as mnist_flow was.

        The long walks are drawn from the first seed only.
        """
        s, runs, few = work.settings, [], work.settings["few_images"]
        if path == "straight":
            model = checkpoints.load_model("mnist_flow").requires_grad_(False)
            recipe, log = dict(model.recipe, path="straight"), model.log
        else:
            run, log = self.train(work, path)
            model, recipe = run.ema.model, dict(s["recipe"], path=path)
        for seed in s["seeds"]:
            rules = list_rules(path, s["few"], [] if runs else s["long"])
            x_T, score = noise(s["samples"], seed), partial(judge, name="mnist", few=few)
            scores, images = draw_by_rules(model, recipe, rules, x_T, seed, True, score)
            if not runs:
                shown = {name: to_list(part, s["shown"]) for name, part in images.items()}
            runs.append(dict(seed=seed, rules=scores))
        return dict(runs=runs, shown=shown, loss=log["last"], seconds=round(log["seconds"]))

    def assemble(self, work, done):
        """{variant: {rule: {n: figures over the seeds}}}, and images of the first seed, "variant rule n"."""
        s, rows, images = work.settings, {}, {}
        for name, job in done.items():
            rows[name] = dict(rules=pick_scores(job["runs"]), loss=job["loss"], seconds=job["seconds"])
            images |= {f"{name} {rule}": to_images(grey) for rule, grey in job["shown"].items()}
        test = real("mnist", s["few_images"]).test
        start = dict(recipe=describe(s, s["network"], data="mnist", real="test images", bf16_samples=True))
        start |= dict(floor=floor(test, s["samples"]))
        start |= dict(real=round_all(dict(confident=metrics.confident_share(test))))
        work.save_results(dict(start, variants=rows), **images)

    def bounds(self, found):
        """What notebook 09 says of MNIST, one training each."""
        for n in ("4", "8", "20"):
            nearer = find_gaps(found, ("flow", "euler", n), ("v_cosine", "ddim", n))
            yield min(nearer) > 0, f"the flow is nearer in {n} evaluations, with every seed"
        for n in ("4", "8"):
            shifted = find_gaps(found, ("flow", "shifted", n), ("flow", "euler", n))
            yield min(shifted) > 0, f"a shift of 3 is nearer in {n} evaluations, with every seed"


def stop_as(other: Schedule, path: Schedule, n: int) -> list[int]:
    """The levels of `path` nearest to the noise-to-signal ratios r of n even levels of `other`.

    Compared by s = r / (1 + r), which is finite for pure noise.
    """
    s, there = (1 / (1 + each.snr.double().sqrt()) for each in (path, other))
    return [int((s - there[round(other.T * (1 - i / n))]).abs().argmin()) for i in range(n)]


class FlowStops(Experiment):
    """Notebook 09: the flow of MNIST, made to stop at the noise levels of DDIM on the circle."""

    name, hours, needs = "flow_stops", 0.1, ("judges", "mnist_flow", "straight_mnist")
    makes = ("results/flow_stops.json",)
    settings = dict(seeds=[0, 1, 2], evaluations=[4, 8], samples=1000, few_images=None)
    quick = dict(seeds=[0], evaluations=[4], samples=70, few_images=400)

    def list_jobs(self, s):
        return cross({str(n): dict(n=n) for n in s["evaluations"]}, s["seeds"])

    def measure(self, work, seed, n):
        """Scores of Euler's steps at these stops, from the noise that straight_mnist draws from."""
        s, model = work.settings, checkpoints.load_model("mnist_flow").requires_grad_(False)
        path, circle = (PATHS[name](model.recipe["T"]) for name in ("straight", "cosine"))
        rule = Rule("at the circle's stops", lambda T: stop_as(circle, path, n), euler(n).move)
        images = draw(model, path, rule, noise(s["samples"], seed), 1000 * (seed + 1), bf16=True)
        return judge(images, "mnist", s["few_images"])

    def assemble(self, work, done):
        """{"evaluations": {n: figures over the seeds}}."""
        rows = {n: figures(runs, SCORES) for n, runs in group(done, work.settings["seeds"]).items()}
        work.save_results(dict(samples=work.settings["samples"], evaluations=rows))

    def bounds(self, found):
        """What notebook 09 says: with DDIM's stops it is further than with its own, and nearer than DDIM."""
        rows = checkpoints.load_results("straight_mnist")["variants"]
        own, ddim = (
            rows[v]["rules"][rule]["4"]["distance"]["values"]
            for v, rule in (("flow", "euler"), ("v_cosine", "ddim"))
        )
        here = found["evaluations"]["4"]["distance"]["values"]
        yield all(a < b < c for a, b, c in zip(own, here, ddim, strict=True)), "between the two, every seed"


EXPERIMENTS = [Straight(), MnistFlow(), StraightMnist(), FlowStops()]
