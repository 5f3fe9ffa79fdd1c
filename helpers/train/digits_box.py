"""eps or v, linear or cosine: one measured 2x2 box at an equal, short budget (notebook 03)."""

from __future__ import annotations

from helpers import checkpoints
from helpers.schedule import cosine, linear
from helpers.train.digits import draw, fit, floors, forget, recipe, remembered, scores, summary

SEEDS, STEPS = (0, 1), 600
SCHEDULES = {"linear": linear, "cosine": cosine}


def one(prediction: str, schedule, seed: int) -> dict:
    """Train one corner of the box from one seed; its scores."""
    run, log = fit(schedule, STEPS, seed, prediction=prediction)
    times = {k: log[k] for k in ("cpu_seconds", "bf16")}
    return dict(seed=seed, **scores(draw(run.ema.model, schedule)), **times)


def main() -> None:
    """Train the four corners, two seeds each; write data/results/digits_box.json."""
    box = {}
    for prediction in ("eps", "v"):
        for name, make in SCHEDULES.items():
            runs = [
                remembered(
                    "digits_box", f"{prediction} {name} {s}", lambda p=prediction, m=make, s=s: one(p, m(), s)
                )
                for s in SEEDS
            ]
            box[f"{prediction}_{name}"] = summary(runs)
    about = {**recipe(STEPS), "schedule": "linear or cosine", "prediction": "eps or v"}
    checkpoints.save_results("digits_box", dict(recipe=about, floors=floors(), box=box))
    forget("digits_box")


if __name__ == "__main__":
    main()
