"""The two small networks of the live points: python -m data.experiments.live_points trains them (6 minutes on
one core) and writes notebooks/live/points_weights.js; live_points.read() gives them back as PointMLPs.

They are smaller than those of notebook 02: a page asks them for a thousand points many times a second.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import torch

from helpers import data, metrics
from helpers.files import write_bytes
from helpers.models import PointMLP
from helpers.sampling import ddim, last, reverse
from helpers.schedule import cosine
from helpers.training import Run, train

FILE = Path(__file__).resolve().parents[2] / "notebooks" / "live" / "points_weights.js"
CONFIG = dict(width=64, depth=2, features=8, time_dim=64, prediction="v")
RECIPE = dict(schedule="cosine", T=1000, points=100_000, steps=14_000, batch_size=256, lr=3e-3, ema=0.999)
RECIPE |= dict(seed=0)
DATA = {"moons": data.moons, "checkerboard": data.checkerboard}
HEAD = """\
// The networks of the live points, trained by data/experiments/live_points.py: the tensors of a PyTorch
// PointMLP one after the other, in half precision, as base64. Generated: do not edit.
globalThis.Live = globalThis.Live || {};
Live.pointWeights = """


def fit(name: str, recipe: dict) -> PointMLP:
    """A network for the data set of this name, trained by the recipe: averaged weights, rounded to half."""
    x, _ = DATA[name](recipe["points"], seed=recipe["seed"])
    torch.manual_seed(recipe["seed"])
    run = Run(
        PointMLP(**CONFIG), lr=recipe["lr"], weight_decay=0.0, ema_decay=recipe["ema"], seed=recipe["seed"]
    )
    for step in train(run, cosine(recipe["T"]), x, recipe["steps"], recipe["batch_size"]):
        if step.step % 1000 == 0:
            print(f"{name}: step {step.step}, loss {step.loss:.3f}", flush=True)
    return run.ema.model.half().float()


def measure(name: str, model: PointMLP, n: int = 5000) -> dict:
    """How good its samples are, DDIM with 100 steps: distance from real points; floor: of real from real."""
    x = last(reverse(model, cosine(1000), ddim(100), (n, 2), seed=1, clip_x0=1.2))
    real, other = (DATA[name](n, seed=seed)[0] for seed in (11, 12))
    found = dict(distance=metrics.sliced_wasserstein(x, real), floor=metrics.sliced_wasserstein(other, real))
    if name == "checkerboard":
        found["inside"] = metrics.share_inside(x)
    return {key: round(value, 4) for key, value in found.items()}


def pack(model: PointMLP) -> str:
    """All tensors of the state dict one after the other, float16, little endian, as base64."""
    flat = torch.cat([tensor.flatten() for tensor in model.state_dict().values()])
    return base64.b64encode(flat.numpy().astype("<f2").tobytes()).decode()


def unpack(text: str, config: dict) -> PointMLP:
    """The network that pack() made a text of, in eval mode."""
    model = PointMLP(**config).eval()
    flat = torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32))
    state = model.state_dict()
    parts = flat.split([tensor.numel() for tensor in state.values()])
    model.load_state_dict({key: p.view_as(state[key]) for key, p in zip(state, parts, strict=True)})
    return model


def read(path: Path = FILE) -> dict[str, PointMLP]:
    """{name of the data set: network} of a file that write() made."""
    content = json.loads(path.read_text(encoding="utf-8").partition("Live.pointWeights = ")[2].rstrip("; \n"))
    return {
        name: unpack(network["weights"], content["config"]) for name, network in content["networks"].items()
    }


def write(networks: dict[str, PointMLP], recipe: dict, path: Path = FILE) -> None:
    """Write the script that a page loads: config, recipe, and of each network its measures and weights."""
    about = {name: dict(measure(name, model), weights=pack(model)) for name, model in networks.items()}
    content = json.dumps(dict(config=CONFIG, recipe=recipe, networks=about), indent=1)
    write_bytes(path, f"{HEAD}{content};\n".encode())


if __name__ == "__main__":
    write({name: fit(name, RECIPE) for name in DATA}, RECIPE)
