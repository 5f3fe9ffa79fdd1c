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
from helpers import checkpoints
from helpers.models import LabUNet, parameter_count
from helpers.sampling import ancestral, ddim, reverse
from helpers.schedule import linear
from helpers.training import Run, train


def time_sampler(work, sampler: str, bf16: bool, longest: int) -> dict:
    """{evaluations: median seconds of drawing the images, start to end}; beyond 100 scaled from 100."""
    s, model = work.settings, load_network("mnist_unet")
    schedule, counts = schedule_of(model.recipe), [n for n in s["evaluations"] if n <= longest]

    def measure(n, repeats):
        times = []
        for seed in range(repeats):
            start = time.perf_counter()
            draw(model, schedule, SAMPLERS[sampler](n), (s["images"], 1, 28, 28), seed, bf16=bf16)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    measure(2, 1)  # the first call prepares the convolutions
    measured = {n: measure(n, 3 if n <= 20 else 1) for n in counts if n <= 100}
    most = max(measured)
    scaled = {n: measured[most] * n / most for n in counts if n > 100}
    return {str(n): round(seconds, 3) for n, seconds in {**measured, **scaled}.items()}


def list_times(s: dict) -> dict:
    """Each sampler in bfloat16, and DPM-Solver++ in float32 up to 20 evaluations."""
    jobs = {f"bf16 {name}": dict(sampler=name, bf16=True, longest=max(s["evaluations"])) for name in SAMPLERS}
    return {**jobs, "float32 dpm": dict(sampler="dpm", bf16=False, longest=20)}


def assemble_times(work, done: dict) -> None:
    """The seconds by precision and sampler."""
    seconds = dict(
        bf16={name: done[f"bf16 {name}"] for name in SAMPLERS}, float32=dict(dpm=done["float32 dpm"])
    )
    about = dict(images=work.settings["images"], clip_x0=1.0, networks={"mnist_unet": seconds})
    about |= dict(threads=torch.get_num_threads(), scaled="counts beyond 100 are scaled from 100")
    work.save_results(dict(about, repeats="median of 3 up to 20 evaluations"))


def bound_times(found: dict):
    """64 images in a second at a distance at most 1.25 times that of 1,000 ancestral steps."""
    seconds, quality = (
        found["networks"]["mnist_unet"]["bf16"],
        checkpoints.load_results("samplers")["quality"],
    )
    goal = 1.25 * quality["ancestral"]["1000"]["distance"]["mean"]
    good = [
        (k, n) for k, rows in quality.items() for n, row in rows.items() if row["distance"]["mean"] <= goal
    ]
    yield any(seconds[k][n] <= 1 for k, n in good), "a good sampler draws 64 images in a second"


def time_lab(work, bf16: bool) -> dict:
    """Mean seconds of a training step, and to draw 64 images ancestrally and in every 10th level."""
    s, x = work.settings, real("fashion").x
    schedule = linear(s["T"])
    torch.manual_seed(0)
    run = Run(LabUNet(), lr=1e-3)
    for step in train(run, schedule, x, s["warm"] + s["steps"], s["batch_size"], bf16=bf16):
        if step.step == s["warm"]:
            start = time.perf_counter()
    seconds = (time.perf_counter() - start) / s["steps"]

    def time_walk(rule, most):
        """Measured on the first `most` steps and scaled to the whole walk."""
        model, whole = LabUNet().eval(), len(rule.levels(s["T"]))
        walk, steps = reverse(model, schedule, rule, (64, 1, 28, 28), clip_x0=1.0), min(most, whole)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            next(walk), next(walk)
            start = time.perf_counter()
            for _ in range(steps - 1):
                next(walk)
        return round((time.perf_counter() - start) / (steps - 1) * whole, 2)

    every = ddim(s["T"] // s["every"])
    return dict(
        step=round(seconds, 4),
        ancestral_64=time_walk(ancestral(), s["walk_steps"]),
        every_64=time_walk(every, s["T"]),
    )


def assemble_lab_times(work, done: dict) -> None:
    """Both precisions, and which is faster."""
    faster = min(done, key=lambda name: done[name]["step"])
    about = {key: work.settings[key] for key in ("batch_size", "steps", "walk_steps", "T", "every")}
    about |= dict(threads=torch.get_num_threads(), parameters=parameter_count(LabUNet()))
    work.save_results(dict(**done, faster=faster, **about))


def bound_lab_times(found: dict):
    """Every 10th level is quicker than all."""
    for name in ("float32", "bfloat16"):
        yield (
            found[name]["ancestral_64"] > found[name]["every_64"] > 0,
            f"{name}: every 10th level is quicker",
        )


EXPERIMENTS = [
    Experiment("sampler_seconds", "notebook 05: seconds by number of evaluations", 0.1,
               makes=("results/sampler_seconds.json",), needs=("mnist_unet", "samplers"),
               settings=dict(images=64, evaluations=[4, 6, 8, 10, 15, 20, 50, 100, 1000]),
               quick=dict(images=2, evaluations=[2, 4]), list_jobs=list_times, measure=time_sampler,
               assemble=assemble_times, bounds=bound_times),
    Experiment("lab_seconds", "notebook 07: seconds of a training step and of drawing", 0.1,
               makes=("results/lab_seconds.json",),
               settings=dict(steps=100, warm=10, walk_steps=40, batch_size=64, T=300, every=10),
               quick=dict(steps=1, warm=1, walk_steps=3, batch_size=4, T=30),
               list_jobs=lambda s: dict(float32=dict(bf16=False), bfloat16=dict(bf16=True)),
               measure=time_lab, assemble=assemble_lab_times, bounds=bound_lab_times),
]  # fmt: skip
