"""What should the network predict, with which schedule, with which weights? 22 settings on the 8x8 digits.

Prediction (eps, x0, v) x schedule (linear, cosine, sigmoid, linear with zero terminal SNR) x weighting
(uniform, min-SNR-5), an equal budget, three seeds each: data/results/objectives.json. eps with zero terminal
SNR is left out: at the last level x_T is the noise, and x_0 would be (x_T - eps) / 0.
A small network and a short training, so that 22 settings and three seeds take about half an hour on one
core; the scores are to be compared with each other, not with those of notebook 03.
"""

from __future__ import annotations

import time
from functools import cache

import torch
from torch import Tensor

from helpers import checkpoints, metrics, show
from helpers.models import UNet, parameter_count
from helpers.sampling import ddim, last, reverse
from helpers.schedule import Schedule, cosine, linear, zero_terminal_snr
from helpers.train import digits
from helpers.train.series import forget, run_series
from helpers.training import Run, train

SEEDS, STEPS, BATCH, LR, GAMMA, BINS, SHOWN = (0, 1, 2), 600, 64, 2e-3, 5.0, 20, 10
CHANNELS, DRAW_STEPS = (16, 32), 20
SCORES = ("frechet", "confident", "smallest_class", "entropy", "nearest", "nearer", "novelty")


def sigmoid(T: int = 1000, start: float = -3.0, end: float = 3.0, tau: float = 1.0) -> Schedule:
    """alpha_bar falls as a sigmoid, stretched to go from 1 to 0 (Jabri et al. 2022, arXiv:2212.11972).

    start, end: the part of the curve that is used; tau: its width (Chen 2023, arXiv:2301.10972, algorithm 1).
    Betas are cut at 0.999, as in cosine(). Raises ValueError for T < 1.
    """
    if T < 1:
        raise ValueError(f"T is the number of noise levels, at least 1, got {T}")
    u = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    f = torch.sigmoid(-(start + u * (end - start)) / tau)
    f = (f - f[-1]) / (f[0] - f[-1])
    return Schedule((1 - f[1:] / f[:-1]).clamp(max=0.999), "sigmoid")


def min_snr_weights(schedule: Schedule, prediction: str, gamma: float = GAMMA) -> Tensor:
    """Loss weight of every level, (T,) float32: min(SNR, gamma) on the error of x_0, whatever is predicted.

    In other units: divided by SNR for eps, by SNR + 1 for v (Hang et al. 2023, arXiv:2303.09556).
    Raises ValueError for an unknown prediction, and for eps at a level with SNR 0.
    """
    snr = schedule.snr().double()
    per_x0 = {"x0": torch.ones_like(snr), "eps": snr, "v": snr + 1}  # loss in that unit / error of x_0
    if prediction not in per_x0:
        raise ValueError(f"prediction is one of {tuple(per_x0)}, got {prediction!r}")
    if float(per_x0[prediction].min()) == 0:
        raise ValueError("at SNR 0 the error of eps says nothing about x_0: predict v or x_0 there")
    return (snr.clamp(max=gamma) / per_x0[prediction]).float()


SCHEDULES = {
    "linear": linear,
    "cosine": cosine,
    "sigmoid": sigmoid,
    "ztsnr": lambda: zero_terminal_snr(linear()),
}


def settings() -> dict[str, tuple[str, str, str]]:
    """{"v_cosine_uniform": ("v", "cosine", "uniform"), ..}, 22 of them."""
    found = [
        (prediction, schedule, weighting)
        for prediction in ("eps", "x0", "v")
        for schedule in SCHEDULES
        for weighting in ("uniform", "min_snr")
        if (prediction, schedule) != ("eps", "ztsnr")
    ]
    return {"_".join(names): names for names in found}


@cache
def split() -> tuple[Tensor, Tensor]:
    """digits.split(), read once."""
    return digits.split()


def fit(
    schedule: Schedule, seed: int, steps: int | None = None, batch: int = BATCH, lr: float = LR, x=None,
    weights: Tensor | None = None, ema: float = 0.999, change=None, also: dict | None = None, **config,
) -> tuple[Run, float]:  # fmt: skip
    """Train UNet(**config) on x (default: the training digits); the finished Run and its last mean loss.

    weights: (T,), scaled here to mean 1, so that the clipped gradient means the same for all.
    change(model): to swap layers before the training. also: {name: function(model) -> EMA}; each entry is
    replaced by that average, kept beside the run's own. The loss is the mean of the last 100 steps.
    """
    steps = steps or STEPS
    torch.manual_seed(seed)
    model = UNet(**{"channels": CHANNELS, **config})
    if change is not None:
        change(model)
    run = Run(model, lr=lr, ema_decay=ema, seed=seed)
    averages = {name: make(model) for name, make in (also or {}).items()}
    weights = None if weights is None else weights / weights.mean()
    recent = []
    x = split()[0] if x is None else x
    for step in train(run, schedule, x, steps, batch, weights=weights):
        for average in averages.values():
            average.update(run.model)
        if step.step > steps - 100:
            recent.append(step.loss)
    if also is not None:
        also.update(averages)
    return run, float(sum(recent)) / len(recent)


@torch.no_grad()
def loss_by_level(model, schedule: Schedule, x: Tensor, bins: int = BINS, repeats: int = 1) -> dict:
    """Mean squared error on images x (N, 1, 8, 8) in `bins` equal parts of the levels, in four units.

    eps, x0, v: lists of `bins` numbers; clipped: of x_0 after a clamp to [-1, 1], as the sampler does.
    Every image is noised `repeats` times in each bin; noise and levels are the same for every network.
    """
    g, found = torch.Generator().manual_seed(0), {"eps": [], "x0": [], "v": [], "clipped": []}
    x0 = x.repeat(repeats, 1, 1, 1)
    for k in range(bins):
        low, high = k * schedule.T // bins, (k + 1) * schedule.T // bins
        t, noise = low + torch.arange(len(x0)) % (high - low), torch.randn(x0.shape, generator=g)
        x_t = schedule.q_sample(x0, t, noise)
        output = torch.cat([model(a, b) for a, b in
                            zip(x_t.split(720), t.split(720), strict=True)]).double()  # fmt: skip
        eps, guess = schedule.from_output(output, x_t.double(), t, model.prediction)
        a = schedule.alpha_bar(t).reshape(-1, 1, 1, 1)
        v = a.sqrt() * (eps - noise) - (1 - a).sqrt() * (guess - x0)
        errors = dict(eps=eps - noise, x0=guess - x0, v=v, clipped=guess.clamp(-1, 1) - x0)
        for unit, error in errors.items():
            found[unit].append(float(f"{float(error.square().mean()):.5g}"))
    return found


def novelty(samples: Tensor, training: Tensor, held_out: Tensor) -> dict:
    """Are the samples (N, ..) further from the training images than real images never trained on?

    nearer: share of samples nearer to a training image than all but 5 % of the held-out ones; fresh data
    0.05, copies 1. novelty: middle distance of the samples over that of the held-out; fresh data 1, copies 0.
    """
    near, fresh = (metrics.nearest_neighbours(images, training)[1] for images in (samples, held_out))
    return dict(
        nearer=round(float((near < fresh.quantile(0.05)).float().mean()), 4),
        novelty=round(float(near.median() / fresh.median()), 4),
    )


@torch.no_grad()
def draw(model, schedule: Schedule, seed: int, eta: float = 0.0, clip: float | None = 1.0) -> Tensor:
    """1,000 samples in DRAW_STEPS steps of DDIM; eta 0: fresh noise needs more steps."""
    rule, shape = ddim(DRAW_STEPS, eta=eta), (metrics.SAMPLES, 1, 8, 8)
    return last(reverse(model, schedule, rule, shape, seed=seed, clip_x0=clip))


def score(samples: Tensor, training: Tensor | None = None) -> dict | None:
    """digits.scores, the entropy of the class shares (in classes: 10 is even) and novelty; None for NaN."""
    if not bool(torch.isfinite(samples).all()):
        return None
    found = digits.scores(samples)
    shares = torch.tensor(found["classes"], dtype=torch.float64)
    found["entropy"] = round(float(torch.special.entr(shares).sum().exp()), 4)
    train, held_out = split()
    return {**found, **novelty(samples, train if training is None else training, held_out)}


def measure(model, schedule: Schedule, seed: int, more: bool = False) -> dict:
    """Everything asked of one trained network, JSON-able; the sampling seed follows the training seed.

    more: also samples with fresh noise at every step (eta 1), and without the clamp of x_0.
    """
    samples = draw(model, schedule, seed=1 + seed)
    result = dict(
        **(score(samples) or {}),
        levels=loss_by_level(model, schedule, split()[1]),
        samples=show.to_grey(samples[:SHOWN]).tolist() if seed == SEEDS[0] else [],
    )
    if more:
        result["stochastic"] = score(draw(model, schedule, seed=1 + seed, eta=1.0))
        result["unclipped"] = score(draw(model, schedule, seed=1 + seed, clip=None))
    return result


def one(prediction: str, schedule_name: str, weighting: str, seed: int) -> dict:
    """Train and measure one setting from one seed."""
    schedule = SCHEDULES[schedule_name]()
    weights = min_snr_weights(schedule, prediction) if weighting == "min_snr" else None
    run, loss = fit(schedule, seed, weights=weights, prediction=prediction)
    return dict(
        seed=seed, loss=round(loss, 5), **measure(run.ema.model, schedule, seed, more=seed == SEEDS[0])
    )


def stats(values: list) -> dict:
    """Mean, standard deviation over seeds (n - 1), and the values; None where a seed gave none."""
    known = torch.tensor([v for v in values if v is not None], dtype=torch.float64)
    mean = round(float(known.mean()), 4) if len(known) else None
    std = round(float(known.std()), 4) if len(known) > 1 else None
    return dict(mean=mean, std=std, values=values)


def summary(runs: list[dict]) -> dict:
    """The scores of all seeds of one setting: stats of each number, means by level, class shares a seed."""
    found = {key: stats([run.get(key) for run in runs]) for key in (*SCORES, "loss")}
    for part in ("stochastic", "unclipped"):
        pieces = [run[part] or {} for run in runs if part in run]
        if pieces:
            found[part] = {key: stats([piece.get(key) for piece in pieces]) for key in SCORES}
    measured = [run["levels"] for run in runs if "levels" in run]
    by_unit = {unit: torch.tensor([row[unit] for row in measured], dtype=torch.float64).mean(0).tolist()
               for unit in (measured[0] if measured else ())}  # fmt: skip
    found["levels"] = {unit: [float(f"{m:.4g}") for m in means] for unit, means in by_unit.items()}
    found["classes"] = [run.get("classes") for run in runs]
    return found


def small_recipe(steps: int) -> dict:
    """digits.recipe for the network and the sampler used here."""
    size = parameter_count(UNet(channels=CHANNELS))
    sampler = f"DDIM, {DRAW_STEPS} steps, eta 0, x_0 kept in [-1, 1]"
    network = f"UNet(channels={CHANNELS})"
    return {**digits.recipe(steps), "network": network, "parameters": size, "sampler": sampler,
            "draw_steps": DRAW_STEPS}  # fmt: skip


def recipe() -> dict:
    """What is equal for all settings."""
    about = {**small_recipe(STEPS), "schedule": "linear, cosine, sigmoid, linear with zero terminal SNR"}
    about |= dict(prediction="eps, x0, v", weighting="uniform, min-SNR", gamma=GAMMA, seeds=list(SEEDS))
    return {**about, "bins": BINS, "held_out": len(split()[1])}


def upto(seeds: tuple) -> list[tuple]:
    """(0,), (0, 1), (0, 1, 2): what is done when one seed after the other is."""
    return [seeds[:n] for n in range(1, len(seeds) + 1)]


def images(runs: list[dict]) -> Tensor:
    """The drawn images of the first seed, (SHOWN, 1, 8, 8)."""
    drawn = runs[0]["samples"]
    return torch.tensor(drawn)[:, None] / 127.5 - 1


def main(chosen: list[str] | None = None, folder=None) -> None:
    """Train all settings (or the chosen ones); write data/results/objectives.json and .safetensors.

    Seed by seed, written after each, so that a table with fewer seeds is there early.
    """
    start = time.perf_counter()
    names = {key: value for key, value in settings().items() if chosen is None or key in chosen}
    for seeds in upto(SEEDS):
        jobs = {f"{key} {s}": lambda v=v, s=s: one(*v, s) for s in seeds for key, v in names.items()}
        found = run_series("objectives", jobs)
        grouped = {key: [found[f"{key} {s}"] for s in seeds] for key in names}
        pictures = {key: images(runs) for key, runs in grouped.items()}
        checkpoints.save_images("objectives", folder, **pictures)
        results = dict(recipe={**recipe(), "seeds": list(seeds)}, floors=digits.floors())
        results["settings"] = {key: summary(runs) for key, runs in grouped.items()}
        results["seconds"] = round(time.perf_counter() - start)
        checkpoints.save_results("objectives", results, folder)
    forget("objectives")


if __name__ == "__main__":
    main()
