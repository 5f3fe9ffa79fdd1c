"""The classifiers that measure samples: two each for digits, MNIST, Fashion-MNIST; other seeds and widths."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from data.experiments.jobs import round_all
from data.experiments.measures import real
from data.experiments.runner import Experiment
from helpers import classifiers

JUDGES = {  # data, width, seed, epochs, batch size
    "digits_features": ("digits", 32, 1, 60, 64),
    "digits_judge": ("digits", 24, 2, 60, 64),
    "mnist_features": ("mnist", 24, 3, 4, 128),
    "mnist_judge": ("mnist", 32, 4, 4, 128),
    "fashion_features": ("fashion", 24, 5, 8, 128),
    "fashion_judge": ("fashion", 32, 6, 8, 128),
}


def shift(x, g, most: int):
    """Move the whole batch (B, 1, S, S) by up to `most` pixels; -1 comes in at the border."""
    dy, dx = torch.randint(-most, most + 1, (2,), generator=g).tolist()
    padded = F.pad(x, (most,) * 4, value=-1.0)
    return padded[..., most + dy : most + dy + x.shape[-2], most + dx : most + dx + x.shape[-1]]


def make_recipes(**change) -> dict:
    """{name: recipe} of all six; change: the same for all, for a trial."""
    keys, recipes = ("data", "width", "seed", "epochs", "batch_size"), {}
    for name, row in JUDGES.items():
        recipes[name] = dict(zip(keys, row, strict=True)) | dict(lr=2e-3, noise=0.1) | change
    return recipes


class Judges(Experiment):
    """Six classifiers: features for distances, judges for counting."""

    name, hours = "judges", 0.5
    makes = (*(f"checkpoints/{name}.safetensors" for name in JUDGES), "results/judges.json")
    settings = dict(judges=make_recipes(), few=None)
    quick = dict(judges=make_recipes(width=8, epochs=1), few=400)

    def list_jobs(self, s):
        return {name: dict(judge=name) for name in s["judges"]}

    def measure(self, work, judge):
        """Train one classifier; its recipe, test accuracy and share of confident test images."""
        recipe, size = dict(work.settings["judges"][judge]), 8 if judge.startswith("digits") else 28
        width, noise, batch, bf16 = recipe.pop("width"), recipe["noise"], recipe["batch_size"], size == 28
        images = real(recipe["data"], work.settings["few"])
        torch.manual_seed(recipe["seed"])
        g = torch.Generator().manual_seed(recipe["seed"])
        model = classifiers.Classifier(size, width)
        steps = recipe["epochs"] * (len(images.x) // batch)
        optimizer = torch.optim.AdamW(model.parameters(), lr=recipe["lr"], weight_decay=0.05)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe["lr"], total_steps=steps)
        for step in range(1, steps + 1):
            pick = torch.randint(len(images.x), (batch,), generator=g)
            x = shift(images.x[pick], g, 1 if size == 28 else 0)
            x = x + noise * torch.randn(x.shape, generator=g)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                scores = model(x)
            loss = F.cross_entropy(scores.float(), images.y[pick])
            optimizer.zero_grad(), loss.backward(), optimizer.step(), rate.step()
            work.tell(step, steps, loss.item())
        model.eval()
        with torch.no_grad():
            p = torch.cat([F.softmax(model(part), 1) for part in images.test.split(500)])
        right, sure = p.argmax(1) == images.test_y, p.max(1).values > 0.95
        scores = round_all(dict(accuracy=right.float().mean(), confident=sure.float().mean()))
        scores["test_images"] = len(images.test)
        work.save_model(judge, model, {**recipe, "bf16": bf16}, scores)
        return {**recipe, **scores}

    def assemble(self, work, done):
        work.save_results(done)


EXPERIMENTS = [Judges()]
