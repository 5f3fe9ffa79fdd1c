"""eps or v, linear or cosine: a 2x2 box at a short budget, its best two at the full one (notebook 03)."""

from __future__ import annotations

from functools import partial

from helpers import checkpoints
from helpers.schedule import cosine, linear
from helpers.train.digits import STEPS as FULL
from helpers.train.digits import draw, fit, floors, recipe, scores, summary
from helpers.train.series import forget, run_series

SEEDS, STEPS = (0, 1), 600
SCORES = ("seed", "confident", "frechet", "smallest_class", "nearest")
SCHEDULES = {"linear": linear, "cosine": cosine}


def one(prediction: str, schedule, seed: int) -> dict:
    """Train one corner of the box from one seed; its scores."""
    run, log = fit(schedule, STEPS, seed, prediction=prediction)
    times = {k: log[k] for k in ("cpu_seconds", "bf16")}
    return dict(seed=seed, **scores(draw(run.ema.model, schedule)), **times)


def long(seed: int) -> dict:
    """eps and cosine with the full training of the course, drawn with x_0 kept in range and without."""
    run, log = fit(cosine(), seed=seed, prediction="eps")
    unclipped = scores(draw(run.ema.model, clip=None))
    return dict(seed=seed, **scores(draw(run.ema.model)), unclipped=unclipped, cpu_seconds=log["cpu_seconds"])


def main() -> None:
    """Train the four corners, and eps with cosine at length; write data/results/digits_box.json.

    Needs the trained digits network and its results (helpers.train.digits) for the long v with cosine.
    """
    corners = [(prediction, name) for prediction in ("eps", "v") for name in SCHEDULES]
    jobs = {f"{p} {n} {s}": partial(one, p, SCHEDULES[n](), s) for p, n in corners for s in SEEDS}
    jobs |= {f"long eps cosine {s}": partial(long, s) for s in SEEDS}
    found = run_series("digits_box", jobs)
    box = {f"{p}_{n}": summary([found[f"{p} {n} {s}"] for s in SEEDS]) for p, n in corners}
    eps = [found[f"long eps cosine {s}"] for s in SEEDS]
    unclipped = scores(draw(checkpoints.load_model("digits_unet"), clip=None))
    v = [{k: seed[k] for k in SCORES} for seed in checkpoints.load_results("digits")["seeds"]]
    v[0]["unclipped"] = unclipped
    long_box = {"steps": FULL, "eps_cosine": summary(eps), "v_cosine": summary(v)}
    about = {**recipe(STEPS), "schedule": "linear or cosine", "prediction": "eps or v"}
    checkpoints.save_results("digits_box", dict(recipe=about, floors=floors(), box=box, long=long_box))
    forget("digits_box")


if __name__ == "__main__":
    main()
