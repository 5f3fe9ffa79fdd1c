"""Notebook 08, on the 8x8 digits: schedules compared once more, with samplers that stop at the same SNRs.

Steps even in t lie at other signal-to-noise ratios on every schedule, so a schedule changes the training and
the stops of the sampler at once. Here the trained networks also sample with stops that agree between the
schedules: whatever difference is then left was made by the training.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from data.experiments.digits import score_digits, start_results, train_digits
from data.experiments.jobs import cross, figures, group
from data.experiments.measures import draw
from data.experiments.networks import SCHEDULES, schedule_of
from data.experiments.objectives import QUICK, SETTINGS, pool
from data.experiments.runner import Experiment
from helpers import checkpoints
from helpers.sampling import ddim, spaced
from helpers.schedule import Schedule

SCORES = ("frechet", "confident", "smallest_class", "nearest")
PAIRS = [["v", "linear"], ["v", "cosine"], ["v", "sigmoid"], ["eps", "linear"], ["eps", "cosine"]]


def log_snr(schedule: Schedule, t: Tensor) -> Tensor:
    """The natural logarithm of the SNR at levels t (n,) in 1 .. T, (n,) float64."""
    return torch.logit(schedule.exact(t))


def nearest_levels(schedule: Schedule, wanted: Tensor) -> list[int]:
    """T first, then for each wanted log-SNR (n,), rising, the level whose own is nearest.

    Raises ValueError when two of them come out the same: the schedule has too few levels there.
    """
    every = log_snr(schedule, torch.arange(1, schedule.T + 1))
    near = 1 + (every[:, None] - wanted).abs().argmin(0)
    levels = [schedule.T, *near.tolist()]
    if levels != sorted(set(levels), reverse=True):
        raise ValueError(f"{schedule.name} has no {len(wanted)} different levels at these SNRs below T")
    return levels


def even_log_snr(schedules: list[Schedule], steps: int) -> Tensor:
    """steps - 1 rising log-SNRs, equally spaced over what all schedules cover with levels 1 .. T - 1."""
    low = max(float(log_snr(s, torch.tensor([s.T - 1]))) for s in schedules)
    high = min(float(log_snr(s, torch.tensor([1]))) for s in schedules)
    return torch.linspace(low, high, steps - 1, dtype=torch.float64)


def list_stops(names: list[str], T: int, steps: int) -> dict[str, dict[str, list[int]]]:
    """{stops: {schedule: falling levels}} for DDIM in `steps` steps that begin at level T.

    "own": even in t, at other SNRs on each schedule. The others are at the same SNRs on all: "even" in
    log-SNR, and those SNRs at which a schedule stops by itself. A schedule without such levels is left out.
    """
    schedules = {name: SCHEDULES[name](T) for name in names}
    even_in_t = spaced(steps)(T)
    wanted = {"even": even_log_snr(list(schedules.values()), steps)}
    wanted |= {name: log_snr(s, torch.tensor(even_in_t[1:])) for name, s in schedules.items()}
    stops = {"own": dict.fromkeys(names, even_in_t)}
    for stop, ratios in wanted.items():
        stops[stop] = {}
        for name, schedule in schedules.items():
            try:
                stops[stop][name] = nearest_levels(schedule, ratios)
            except ValueError:
                continue
    return stops


class SameSNR(Experiment):
    """Notebook 08: schedules compared with steps at the same signal-to-noise ratios."""

    name, hours, needs = "same_snr", 0.2, ("judges", "objectives")
    makes = ("results/same_snr.json",)
    settings = {key: SETTINGS[key] for key in ("seeds", "network", "recipe")} | dict(pairs=PAIRS)
    quick = dict(QUICK, pairs=PAIRS[:2], recipe=dict(QUICK["recipe"], draw_steps=3))

    def list_jobs(self, s):
        """Every pair of a prediction and a schedule from every seed, trained as in `objectives`."""
        rows = {f"{p}_{schedule}": dict(prediction=p, schedule=schedule) for p, schedule in s["pairs"]}
        return cross({name: dict(change=change) for name, change in rows.items()}, s["seeds"])

    def find_stops(self, s):
        """list_stops() for the schedules of these settings."""
        names = list(dict.fromkeys(schedule for _, schedule in s["pairs"]))
        return list_stops(names, s["recipe"]["T"], s["recipe"]["draw_steps"])

    def measure(self, work, seed, change):
        """Train one network; 1,000 samples from the same noise for every choice of stops."""
        run, log, recipe = train_digits(work, seed, change)
        n, schedule, scores = recipe["samples"], schedule_of(recipe), {}
        for stop, levels_of in self.find_stops(work.settings).items():
            if levels := levels_of.get(recipe["schedule"]):
                rule = dataclasses.replace(ddim(recipe["draw_steps"]), levels=lambda T, kept=levels: kept)
                images = draw(run.ema.model, schedule, rule, (n, 1, 8, 8), 1 + seed, chunk=n)
                scores[stop] = score_digits(images)
        return dict(seed=seed, loss=log["last"], stops=scores)

    def assemble(self, work, done):
        """Scores by network and stops, and where the stops lie."""
        s, rows, places = work.settings, {}, {}
        for name, runs in group(done, s["seeds"]).items():
            scores = [run["stops"] for run in runs]
            rows[name] = {stop: figures([score[stop] for score in scores], SCORES) for stop in scores[0]}
        for stop, levels_of in self.find_stops(s).items():
            places[stop] = {}
            for name, levels in levels_of.items():
                ratios = log_snr(SCHEDULES[name](s["recipe"]["T"]), torch.tensor(levels)).tolist()
                places[stop][name] = dict(levels=levels, log_snr=[round(ratio, 3) for ratio in ratios])
        start = start_results(s, 0.0, seeds=s["seeds"], prediction="eps or v", schedule="as the rows say")
        work.save_results(dict(start, rows=rows, stops=places))

    def bounds(self, found):
        rows, table = found["rows"], checkpoints.load_results("objectives")["settings"]
        common = [stop for stop in found["stops"] if stop != "own"]

        def gains(before, after, stop, other=None, score="frechet"):
            """(seeds,): how much higher `after` scores, at stops `other`, than `before` at `stop`."""
            first, then = rows[before][stop][score]["values"], rows[after][other or stop][score]["values"]
            return torch.tensor(then) - torch.tensor(first)

        of_v = [gains("v_linear", "v_cosine", stop) for stop in common]
        yield all(bool((gain < -5).all()) for gain in of_v), "v: the lead of cosine stays at the same SNRs"
        of_eps = [gains("eps_linear", "eps_cosine", stop) for stop in common]
        unsure = all(float(gain.mean().abs()) < 4.3 * float(gain.std()) / 3**0.5 for gain in of_eps)
        yield unsure and all(float(gain.mean()) < 0 for gain in of_eps), "eps: it is smaller and not sure"
        for stop in common:
            sure = gains("eps_linear", "eps_cosine", stop, score="confident")
            yield bool((sure > 0).all()), f"eps: cosine is more confident at {stop} with every seed"
        for key, row in rows.items():
            moved = {stop: float(gains(key, key, "own", stop).mean()) for stop in row}
            yield 1.5 < moved.pop("even") < 2.5, f"even in log SNR costs {key} about two"
            limit = 0.3 if key.startswith("v_") else 1.05
            yield max(map(abs, moved.values())) < limit, f"other schedules' stops hardly move {key}"
        for stop in ("even", "cosine", "sigmoid"):
            change = gains("v_cosine", "v_sigmoid", stop).mean().abs()
            yield float(change) < 2 * pool(table) * (2 / 3) ** 0.5, f"cosine and sigmoid are alike at {stop}"
        pairs = [(row["own"]["frechet"], table[f"{key}_uniform"]["frechet"]) for key, row in rows.items()]
        off = [abs(ours["mean"] / theirs["mean"] - 1) for ours, theirs in pairs]
        yield max(off) < 0.05, "even in t each network scores as in objectives"


EXPERIMENTS = [SameSNR()]
