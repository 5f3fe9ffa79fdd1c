"""Seconds on this machine's CPU: of the samplers of notebook 05, and of the lab of notebook 07.

Run these on a machine with nothing else to do, with all its threads.
"""

from __future__ import annotations

import statistics
import time

import torch

from data.experiments.measures import draw, real
from data.experiments.mnist import load_network
from data.experiments.networks import schedule_of
from data.experiments.runner import Experiment
from data.experiments.samplers import SAMPLERS
from helpers.models import LabUNet, parameter_count
from helpers.sampling import ancestral, ddim, reverse
from helpers.schedule import linear
from helpers.training import Run, train


def time_training(model, schedule, x, steps: int, batch_size: int, bf16: bool, warm: int, lr=1e-3) -> float:
    """Mean seconds of a training step, after `warm` steps that are not counted."""
    for step in train(Run(model, lr=lr), schedule, x, warm + steps, batch_size, bf16=bf16):
        if step.step == warm:
            start = time.perf_counter()
    return (time.perf_counter() - start) / steps


def time_walk(model, schedule, rule, n: int, most: int, bf16: bool) -> float:
    """Seconds to draw n images of 28 x 28: of the first `most` steps after one to warm up, scaled to all."""
    whole = len(rule.levels(schedule.T))
    timed = min(most, whole - 1)
    walk = reverse(model, schedule, rule, (n, 1, 28, 28), clip_x0=1.0)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        next(walk), next(walk)
        start = time.perf_counter()
        for _ in range(timed):
            next(walk)
    return (time.perf_counter() - start) / timed * whole


class SamplerSeconds(Experiment):
    """Notebook 05: seconds by number of evaluations."""

    name, hours, needs = "sampler_seconds", 0.1, ("mnist_unet", "samplers")
    makes = ("results/sampler_seconds.json",)
    settings = dict(images=64, evaluations=[4, 6, 8, 10, 15, 20, 50, 100, 1000], rounds=3, often=20, most=100)
    quick = dict(images=2, evaluations=[2, 4, 8], rounds=2, often=2, most=4)

    def list_jobs(self, s):
        """Round after round through all samplers, so that a busy minute slows all of them alike."""
        return {f"round {k}": dict(number=k) for k in range(s["rounds"])}

    def measure(self, work, number):
        """{kind: {evaluations: seconds of drawing the images}}: all samplers in turn, count by count.

        Kinds: each sampler in bfloat16, and DPM-Solver++ in float32 up to `often` evaluations. What takes
        more than those is timed in the first round only, and what takes more than `most` in none.
        """
        s, model = work.settings, load_network("mnist_unet")
        schedule, shape, seconds = schedule_of(model.recipe), (s["images"], 1, 28, 28), {}

        def time_drawing(kind, n):
            precision, sampler = kind.split()
            start = time.perf_counter()
            draw(model, schedule, SAMPLERS[sampler](n), shape, number, bf16=precision == "bf16")
            return time.perf_counter() - start

        kinds = [*(f"bf16 {sampler}" for sampler in SAMPLERS), "float32 dpm"]
        for kind in kinds:
            time_drawing(kind, 2)  # the first call prepares the convolutions
        for n in s["evaluations"]:
            for kind in kinds:
                if n <= s["often"] or number == 0 and n <= s["most"] and kind.startswith("bf16"):
                    seconds.setdefault(kind, {})[str(n)] = time_drawing(kind, n)
        return seconds

    def assemble(self, work, done):
        """Medians over the rounds; of what was not timed as much as its share of the longest that was."""
        s, medians = work.settings, {}
        for kind in next(iter(done.values())):
            rows = [{int(n): value for n, value in run.get(kind, {}).items()} for run in done.values()]
            medians[kind] = {n: statistics.median(row[n] for row in rows if n in row) for n in rows[0]}
            if kind.startswith("bf16"):
                most = max(medians[kind])
                longer = [n for n in s["evaluations"] if n > s["most"]]
                medians[kind] |= {n: medians[kind][most] * n / most for n in longer}
        table = {kind: {str(n): round(value, 3) for n, value in row.items()} for kind, row in medians.items()}
        bf16 = {name: table[f"bf16 {name}"] for name in SAMPLERS}
        seconds = dict(bf16=bf16, float32=dict(dpm=table["float32 dpm"]))
        about = dict(images=s["images"], clip_x0=1.0, networks={"mnist_unet": seconds})
        scaled = f"counts beyond {s['most']} are scaled from {s['most']}"
        about |= dict(threads=torch.get_num_threads(), scaled=scaled)
        repeats = f"median of {s['rounds']} up to {s['often']} evaluations, all samplers in turn"
        work.save_results(dict(about, repeats=repeats))

    def bounds(self, found):
        """What notebook 05 says of the second that it wants 64 images in."""
        seconds = found["networks"]["mnist_unet"]["bf16"]
        yield seconds["dpm"]["15"] <= 1, "15 evaluations of DPM-Solver++ draw 64 images in a second"


class LabSeconds(Experiment):
    """Notebook 07: seconds of a training step and of drawing."""

    name, hours, makes = "lab_seconds", 0.1, ("results/lab_seconds.json",)
    settings = dict(steps=100, warm=10, walk_steps=40, batch_size=64, T=300, every=10)
    quick = dict(steps=1, warm=1, walk_steps=3, batch_size=4, T=30)

    def list_jobs(self, s):
        return dict(float32=dict(bf16=False), bfloat16=dict(bf16=True))

    def measure(self, work, bf16):
        """Mean seconds of a training step, and to draw 64 images ancestrally and in every 10th level."""
        s, x, schedule = work.settings, real("fashion").x, linear(work.settings["T"])
        torch.manual_seed(0)
        step = time_training(LabUNet(), schedule, x, s["steps"], s["batch_size"], bf16, s["warm"])
        model, every = LabUNet().eval(), ddim(s["T"] // s["every"])
        whole = time_walk(model, schedule, ancestral(), 64, s["walk_steps"] - 1, bf16)
        part = time_walk(model, schedule, every, 64, s["T"], bf16)
        return dict(step=round(step, 4), ancestral_64=round(whole, 2), every_64=round(part, 2))

    def assemble(self, work, done):
        """Both precisions, and which is faster."""
        faster = min(done, key=lambda name: done[name]["step"])
        about = {key: work.settings[key] for key in ("batch_size", "steps", "walk_steps", "T", "every")}
        about |= dict(threads=torch.get_num_threads(), parameters=parameter_count(LabUNet()))
        work.save_results(dict(**done, faster=faster, **about))

    def bounds(self, found):
        for name in ("float32", "bfloat16"):
            row = found[name]
            yield row["ancestral_64"] > row["every_64"] > 0, f"{name}: every 10th level is quicker"


EXPERIMENTS = [SamplerSeconds(), LabSeconds()]
