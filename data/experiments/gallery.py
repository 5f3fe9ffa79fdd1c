"""The moving pictures of README.md, drawn by our own networks; the one for points is trained anew."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

from data.experiments.measures import noise
from data.experiments.mnist import load_network, schedule_of_network
from data.experiments.points import RECIPE, train_points
from data.experiments.runner import Experiment
from helpers import show
from helpers.guidance import Guided
from helpers.sampling import ancestral, ddim, dpm_solver, reverse
from helpers.schedule import cosine

GIFS = ["born", "points", "fashion"]


def draw_born(work, path) -> None:
    """Four of each digit, asked for by its label; the finished digits come first, then the walk to them."""
    s, y, model = work.settings, torch.arange(40) % 10, load_network("mnist_classes")
    rule, schedule = dpm_solver(s["steps"], eta=2.0), schedule_of_network(model)
    walk = list(reverse(Guided(model, y, 1.5), schedule, rule, seed=8, x_T=noise(40, 7), clip_x0=1.0))
    frames = [show.tiles(state.x, columns=10) for state in show.evenly(walk, s["born"])]
    alt = "Forty handwritten digits, four of each from 0 to 9, appear out of noise."
    show.gif([frames[-1]] * 5 + frames, path, alt, scale=3, seconds=4)


def draw_fashion(work, path) -> None:
    """A walk of the lab's network, as a grid of four columns."""
    s, model = work.settings, load_network("fashion_lab")
    rule, schedule = ddim(s["steps"]), schedule_of_network(model)
    walk = list(reverse(model, schedule, rule, x_T=noise(8, 1), clip_x0=1.0))
    frames = [show.tiles(state.x, columns=4) for state in show.evenly(walk, s["frames"])]
    show.gif(frames, path, "Noise turns into eight pieces of clothing.", scale=2, seconds=3)


def draw_points(work, path) -> None:
    """A cloud of points on its way into the checkerboard."""
    s = work.settings
    model = train_points(work, "board", "cosine", s["T"], 0)
    x_T = torch.randn(s["dots"], 2, generator=torch.Generator().manual_seed(0))
    limit = s["recipe"]["clip_x0"]["board"]
    states = list(reverse(model, cosine(s["T"]), ancestral(), seed=1, x_T=x_T, clip_x0=limit))

    def draw_figures():
        for state in show.evenly(states, s["frames"]):
            fig, ax = plt.subplots(figsize=(2.5, 2.5))
            show.scatter(ax, state.x, size=2, limit=1.6)
            yield fig

    alt = "A round cloud of points drifts into the squares of a checkerboard."
    show.gif_from_figures(draw_figures(), path, alt, seconds=3)


class Gallery(Experiment):
    """The moving pictures of README.md."""

    name, hours, needs = "gallery", 0.1, ("mnist_classes", "fashion")
    makes = tuple(f"gallery/{name}.gif" for name in GIFS)
    settings = dict(frames=24, born=16, steps=50, T=1000, dots=2000, points=10_000, recipe=RECIPE, gifs=GIFS)
    quick = dict(frames=2, born=2, steps=2, T=24, dots=50, points=500)
    quick |= dict(recipe=dict(RECIPE, steps={"board": 2}))

    def list_jobs(self, s):
        return {name: dict(name=name) for name in s["gifs"]}

    def measure(self, work, name):
        draw_gif = dict(born=draw_born, points=draw_points, fashion=draw_fashion)[name]
        draw_gif(work, work.made / "gallery" / f"{name}.gif")


EXPERIMENTS = [Gallery()]
