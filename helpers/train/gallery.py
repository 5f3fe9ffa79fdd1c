"""The moving pictures of README.md, data/gallery/*.gif, drawn by our own networks.

Takes a minute or two: the network for points is trained anew, the others are the shipped ones.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import torch

from helpers import checkpoints, data, show
from helpers.exercises.nb07 import LabUNet, T
from helpers.guidance import Guided
from helpers.modes import ROOT
from helpers.sampling import ancestral, ddim, reverse
from helpers.schedule import cosine, linear
from helpers.train.mnist_results import noise
from helpers.train.points import LIMIT, network

GALLERY = ROOT / "data" / "gallery"
FRAMES, STEPS = 24, 50


def dissolving() -> list:
    """Eight 8x8 digits on their way into noise: the forward process, one noise throughout."""
    images, labels = data.digits()
    x0 = torch.stack([images[labels == c][0] for c in range(8)])
    eps, schedule = noise(8, 0, 8), cosine(1000)
    levels = torch.linspace(0, 999, FRAMES).long().tolist()
    return [show.tiles(schedule.q_sample(x0, t, eps), columns=4) for t in levels]


def walk(model, schedule, x_T) -> list:
    """The frames of a DDIM walk, as a grid of four columns."""
    states = show.evenly(list(reverse(model, schedule, ddim(STEPS), x_T=x_T, clip_x0=1.0)), FRAMES)
    return [show.tiles(state.x, columns=4) for state in states]


def points():
    """Figures of a cloud of points on its way into the checkerboard; trains the network for it."""
    schedule = cosine(1000)
    model = network("board", schedule, 0)
    x_T = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
    walked = list(reverse(model, schedule, ancestral(), seed=1, x_T=x_T, clip_x0=LIMIT["board"]))
    for state in show.evenly(walked, FRAMES):
        fig, ax = plt.subplots(figsize=(2.5, 2.5))
        show.scatter(ax, state.x, size=2, limit=1.6)
        yield fig


def main(folder=GALLERY) -> None:
    """Write the five GIFs to `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    classes = Guided(checkpoints.load_model("mnist_classes"), y=torch.arange(8), scale=2.0)
    pictures = {
        "dissolving": (dissolving(), 5, "Eight 8x8 digits dissolve into noise."),
        "mnist": (walk(checkpoints.load_model("mnist_unet"), cosine(1000), noise(8, 4)), 2,
                  "Noise turns into eight handwritten digits."),
        "on_request": (walk(classes, cosine(1000), noise(8, 1)), 2,
                       "Noise turns into the digits 0 to 7, as asked."),
        "fashion": (walk(checkpoints.load_model("fashion_lab", LabUNet), linear(T), noise(8, 1)), 2,
                    "Noise turns into eight pieces of clothing."),
    }  # fmt: skip
    for name, (frames, scale, alt) in pictures.items():
        show.gif(frames, folder / f"{name}.gif", alt, scale=scale, seconds=3)
    alt = "A round cloud of points drifts into the squares of a checkerboard."
    show.gif_from_figures(points(), folder / "points.gif", alt, seconds=3)
    print(f"gallery: {', '.join(path.name for path in sorted(folder.glob('*.gif')))}", flush=True)


if __name__ == "__main__":
    main()
