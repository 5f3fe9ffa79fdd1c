"""The moving pictures of README.md, drawn by our own networks; the one for points is trained anew."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

from data.experiments.measures import noise
from data.experiments.mnist import load_network, schedule_of_network
from data.experiments.points import RECIPE, train_points
from data.experiments.runner import Experiment
from helpers import data, show
from helpers.guidance import Guided
from helpers.sampling import ancestral, ddim, reverse
from helpers.schedule import cosine

NETWORKS = {  # name of the GIF: checkpoint, seed of the noise, what it shows
    "mnist": ("mnist_unet", 4, "Noise turns into eight handwritten digits."),
    "on_request": ("mnist_classes", 1, "Noise turns into the digits 0 to 7, as asked."),
    "fashion": ("fashion_lab", 1, "Noise turns into eight pieces of clothing."),
}
GIFS = ["dissolving", "points", *NETWORKS]


def draw_dissolving(work, path) -> None:
    """Eight 8x8 digits on their way into noise: the forward process, one noise throughout."""
    images, labels = data.digits()
    x0 = torch.stack([images[labels == c][0] for c in range(8)])
    fresh, schedule = noise(8, 0, 8), cosine(1000)
    levels = torch.linspace(0, schedule.T, work.settings["frames"]).long().tolist()
    frames = [show.tiles(schedule.q_sample(x0, t, fresh), columns=4) for t in levels]
    show.gif(frames, path, "Eight 8x8 digits dissolve into noise.", scale=5, seconds=3)


def draw_walk(work, path) -> None:
    """A DDIM walk of one of the shipped networks, as a grid of four columns."""
    s, (name, seed, alt) = work.settings, NETWORKS[path.stem]
    model = load_network(name)
    network = Guided(model, y=torch.arange(8), scale=2.0) if name == "mnist_classes" else model
    schedule, x_T = schedule_of_network(model), noise(8, seed)
    states = list(reverse(network, schedule, ddim(s["steps"]), x_T=x_T, clip_x0=1.0))
    frames = [show.tiles(state.x, columns=4) for state in show.evenly(states, s["frames"])]
    show.gif(frames, path, alt, scale=2, seconds=3)


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

    name, hours, needs = "gallery", 0.1, ("mnist_unet", "mnist_classes", "fashion")
    makes = tuple(f"gallery/{name}.gif" for name in GIFS)
    settings = dict(frames=24, steps=50, T=1000, dots=2000, points=10_000, recipe=RECIPE, gifs=GIFS)
    quick = dict(frames=2, steps=2, T=24, dots=50, points=500, recipe=dict(RECIPE, steps={"board": 2}))

    def list_jobs(self, s):
        return {name: dict(name=name) for name in s["gifs"]}

    def measure(self, work, name):
        draw_gif = dict(dissolving=draw_dissolving, points=draw_points).get(name, draw_walk)
        draw_gif(work, work.made / "gallery" / f"{name}.gif")


EXPERIMENTS = [Gallery()]
