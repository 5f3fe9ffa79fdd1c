"""The moving picture of README.md, drawn by the course's own network."""

from __future__ import annotations

import torch

from data.experiments.measures import noise
from data.experiments.mnist import load_network, schedule_of_network
from data.experiments.runner import Experiment
from helpers import show
from helpers.guidance import Guided
from helpers.sampling import dpm_solver, reverse


class Gallery(Experiment):
    """The moving picture of README.md: four of each digit; the finished ones first, then the walk to them."""

    name, hours, needs = "gallery", 0.01, ("mnist_classes",)
    makes = ("gallery/born.gif",)
    settings = dict(frames=16, steps=50, scale=1.5, eta=2.0)
    quick = dict(frames=2, steps=2)

    def list_jobs(self, s):
        return {"born": {}}

    def measure(self, work):
        s, y, model = work.settings, torch.arange(40) % 10, load_network("mnist_classes")
        rule, schedule = dpm_solver(s["steps"], eta=s["eta"]), schedule_of_network(model)
        network = Guided(model, y, s["scale"])
        walk = list(reverse(network, schedule, rule, seed=8, x_T=noise(40, 7), clip_x0=1.0))
        frames = [show.tiles(state.x, columns=10) for state in show.evenly(walk, s["frames"])]
        alt = "Forty handwritten digits, four of each from 0 to 9, appear out of noise."
        path = work.made / "gallery" / "born.gif"
        show.gif([frames[-1]] * 5 + frames, path, alt, scale=3, seconds=4)


EXPERIMENTS = [Gallery()]
