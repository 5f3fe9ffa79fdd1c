"""Notebook 10: the MNIST network distilled for few steps, and what few steps cost."""

from __future__ import annotations

import time
from collections import deque
from itertools import product

import torch

from data.experiments.jobs import average, cross, figure, figures, gather, round_all, to_list
from data.experiments.measures import draw, floor, judge, noise, real, real_features
from data.experiments.mnist import FIRST, NETWORK, load_network, start_from
from data.experiments.mnist_samplers import WEAK, find_recall, guide_by_weak, measure_variety
from data.experiments.networks import SAVE_SECONDS, load_state, save_state, schedule_of
from data.experiments.runner import Experiment
from helpers import metrics
from helpers.classifiers import features, probabilities
from helpers.few_steps import consistency, loss_of_pairs
from helpers.models import UNet, parameter_count
from helpers.sampling import ddim
from helpers.training import Run, train

SCORES = ("distance", "confident", "recall", "precision", "diversity", "smallest_class")
TUNED = dict(FIRST, start="mnist_unet", steps=7_000, batch_size=32, lr=4e-4, ema=0.99)
TUNED |= dict(pairs=24, power=1.0, huber=0.03, guide=WEAK)


def pair_levels(t: torch.Tensor, T: int, pairs: int, power: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Neighbours (t, r), (B,) int64 each, of a grid of `pairs` equal strides from 0 to T, for drawn levels t.

    power: below 1 the high levels come more often: stride k is ceil(pairs (t/T)^power).
    """
    k = (pairs * (t.double() / T) ** power).ceil().clamp(1, pairs)
    return (k * T / pairs).round().long(), ((k - 1) * T / pairs).round().long()


def distil(work, model, images: torch.Tensor, recipe: dict, every: int = 100) -> tuple[Run, dict]:
    """Train the model to agree with its own average, one step of the guided teacher lower down.

    It goes on where an interrupted training stopped.
    log: loss (mean of `every` steps each), last (mean of the last 100), seconds, threads.
    """
    schedule, steps = schedule_of(recipe), recipe["steps"]
    teacher = guide_by_weak(load_network(recipe["start"]), schedule, **recipe["guide"])
    run = Run(model, lr=recipe["lr"], ema_decay=recipe["ema"], seed=recipe["seed"])

    def pair(t):
        return pair_levels(t, schedule.T, recipe["pairs"], recipe["power"])

    loss = loss_of_pairs(pair, teacher=teacher, target=run.ema.model, clip_x0=1.0, huber=recipe["huber"])
    log = {"loss": [], "last": None, "seconds": 0.0, "threads": torch.get_num_threads()}
    log = load_state(work, run, log)
    recent, tail, saved, clock = [], deque(maxlen=100), time.perf_counter(), time.perf_counter()
    for step in train(run, schedule, images, steps, recipe["batch_size"], bf16=recipe["bf16"], loss=loss):
        recent.append(step.loss), tail.append(step.loss)
        if len(recent) == every:
            log["loss"] += [round(sum(recent) / every, 5)]
            recent = []
        log["last"] = round(sum(tail) / len(tail), 5)
        work.tell(step.step, steps, log["last"])
        log["seconds"] += time.perf_counter() - clock
        if time.perf_counter() - saved > SAVE_SECONDS and not recent:
            save_state(work, run, log)
            saved = time.perf_counter()
        clock = time.perf_counter()
    return run, log


def share_alike(runs: list[dict], others: list[dict]) -> dict:
    """A figure over the seeds: the share of noises from which both draw what is read as the same class."""
    pairs = [zip(a["read"], b["read"], strict=True) for a, b in zip(runs, others, strict=True)]
    return figure([average([[x == y] for x, y in pair])[0] for pair in pairs])


class Training(Experiment):
    """Notebook 10: the student, distilled from the network of 04."""

    name, hours, needs = "mnist_few_steps", 0.45, ("judges", "mnist_unet", "fashion")
    makes = ("checkpoints/mnist_few_steps.safetensors",)
    settings = dict(network=NETWORK, recipe=TUNED, few=None)
    few_pairs = dict(TUNED, steps=4, T=24, pairs=4, batch_size=8, guide=dict(WEAK, band=[8, 20]))
    quick = dict(network=dict(NETWORK, channels=[8, 8, 8]), recipe=few_pairs, few=400)

    def list_jobs(self, s):
        return {"training": {}}

    def measure(self, work):
        """Distil on the training images; leave the averaged weights."""
        s, recipe, images = (
            work.settings,
            dict(work.settings["recipe"]),
            real("mnist", work.settings["few"]).x,
        )
        torch.manual_seed(recipe["seed"])
        model = UNet(**s["network"])
        start_from(model, recipe["start"], images)
        recipe |= dict(data="mnist", prediction=model.prediction, optimizer="AdamW")
        recipe["parameters"] = parameter_count(model)
        run, log = distil(work, model, images, recipe)
        work.save_model(self.name, run.ema.model, {**recipe, "step": run.step}, log)
        return dict(loss=log["last"], seconds=round(log["seconds"]))


class FewSteps(Experiment):
    """Notebook 10: quality and variety of the student in few steps, beside the networks it comes from."""

    name, hours, needs = "few_steps", 0.2, ("judges", "mnist_unet", "fashion", "mnist_few_steps")
    makes = ("results/few_steps.json", "results/few_steps.safetensors")
    settings = dict(samples=1000, seeds=[0, 1, 2], steps=[1, 2, 4, 8], walk=50, shown=64, bf16=True, few=None)
    settings |= dict(guided=TUNED["pairs"], repeats=20, timed=[1, 4], threads=2)
    quick = dict(samples=80, seeds=[0], steps=[1, 2], walk=3, guided=2, shown=4, few=400)
    quick |= dict(repeats=1, timed=[1])

    def list_jobs(self, s):
        rows = {f"student {n}": dict(kind="student", steps=n) for n in s["steps"]}
        rows |= {f"alone {n}": dict(kind="alone", steps=n) for n in s["steps"]}
        rows[f"ddim {s['walk']}"] = dict(kind="ddim", steps=s["walk"])
        rows[f"guided {s['guided']}"] = dict(kind="guided", steps=s["guided"])
        return {**cross(rows, s["seeds"]), "seconds": dict(kind="seconds")}

    def measure(self, work, kind, steps=0, seed=0):
        """Draw and judge the samples of one row.

        ddim: the network of 04; guided: the same against the weaker one, which the student learned from;
        alone: the network of 04 with the student's rule.
        """
        s = work.settings
        if kind == "seconds":
            return self.time_drawing(s)
        student, model = load_network("mnist_few_steps"), load_network("mnist_unet")
        schedule = schedule_of(model.recipe)
        if kind == "guided":
            model = guide_by_weak(model, schedule, **student.recipe["guide"])
        rule = ddim(steps) if kind in ("ddim", "guided") else consistency(steps)
        network = student if kind == "student" else model
        images = draw(network, schedule, rule, noise(s["samples"], seed), 1000 * (seed + 1), bf16=s["bf16"])
        real_set, n = real_features("mnist", s["few"]), s["samples"]
        precision = find_recall(real_set[:n], features(images))
        read = probabilities(images).argmax(1)
        scores = judge(images, "mnist", s["few"]) | measure_variety(images, real_set)
        return {
            **scores,
            "precision": round(precision, 4),
            "read": read.tolist(),
            "pixels": to_list(images, s["shown"]),
        }

    def time_drawing(self, s) -> dict:
        """Seconds to draw 64 digits with the student, the fastest of some repeats, by steps and precision."""
        model, x_T, threads = load_network("mnist_few_steps"), noise(64, 0), torch.get_num_threads()
        schedule, seconds = schedule_of(model.recipe), {"float32": {}, "bf16": {}}
        torch.set_num_threads(s["threads"])
        try:
            for name, steps in product(seconds, s["timed"]):
                times = []
                for _ in range(s["repeats"] + 1):
                    began = time.perf_counter()
                    draw(model, schedule, consistency(steps), x_T, 1, bf16=name == "bf16")
                    times.append(time.perf_counter() - began)
                seconds[name][str(steps)] = round(min(times[1:]), 4)
        finally:
            torch.set_num_threads(threads)
        return dict(images=64, threads=s["threads"], **seconds)

    def assemble(self, work, done):
        """quality[kind][steps]: figures over the seeds; agreement with the teacher; seconds; real images."""
        s, model, sets = work.settings, load_network("mnist_few_steps"), real("mnist", work.settings["few"])
        seconds, n = done.pop("seconds"), s["samples"]
        grouped, images = gather(done, s["seeds"])
        quality, agree, of_guided = {}, {}, {}
        for name, runs in grouped.items():
            kind, steps = name.split()
            shares = round_all(average([run["class_shares"] for run in runs]))
            row = dict(figures(runs, SCORES), class_shares=shares)
            quality.setdefault(kind, {})[steps] = row
            if kind == "student":
                agree[steps] = share_alike(runs, grouped[f"ddim {s['walk']}"])
                of_guided[steps] = share_alike(runs, grouped[f"guided {s['guided']}"])
        held, rest = features(sets.test[:n]), features(sets.test[n:])
        of_real = dict(confident=metrics.confident_share(sets.test), recall=find_recall(held, rest))
        of_real |= dict(precision=find_recall(rest[:n], held))
        results = dict(
            recipe=dict(**model.recipe, channels=model.config["channels"]),
            training=dict(minutes=round(model.log["seconds"] / 60, 1), threads=model.log["threads"]),
            scoring=dict(samples=n, seeds=s["seeds"], clip_x0=1.0, real="test images", bf16=s["bf16"]),
            floor=floor(sets.test, n),
            real=round_all(of_real),
            quality=quality,
            agree=agree,
            agree_guided=of_guided,
            seconds=seconds,
        )
        work.save_results(results, **images)

    def bounds(self, found):
        """What the owner asked of the student, and what notebook 10 says of it."""
        student, teacher = found["quality"]["student"], found["quality"]["ddim"]["50"]
        near = student["4"]["distance"]["mean"] <= 1.5 * teacher["distance"]["mean"]
        yield near, "four steps are within 1.5 times the distance of the teacher's fifty"
        sure = student["1"]["confident"]["mean"] >= 0.75
        yield sure, "three quarters of the digits of one step are confident"
        variety = [row["diversity"]["mean"] for row in (student["1"], student["4"], teacher)]
        yield variety == sorted(variety), "one step loses variety within the classes, four steps less"
        quick = min(found["seconds"][kind]["1"] for kind in ("float32", "bf16"))
        yield quick < 0.1, "64 digits in one step take less than 0.1 s"
        minutes = found["training"]["minutes"] * found["training"]["threads"]
        yield minutes <= 120, "the training takes an hour on two cores at most"


EXPERIMENTS = [Training(), FewSteps()]
