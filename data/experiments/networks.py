"""The one way in which experiments train a network: as a recipe says, the whole state saved on the way."""

from __future__ import annotations

import io
import os
import time
from collections import deque
from functools import partial

import torch

from data.experiments.training import min_snr_weights, put_back, take_state
from helpers.files import UNSEALED, read_whole, seal, write_bytes
from helpers.schedule import Schedule, cosine, linear, sigmoid, zero_terminal_snr
from helpers.training import EMA, Run, train

SAVE_SECONDS = 120  # between two saves of the whole state
SCHEDULES = {
    "linear": linear,
    "cosine": cosine,
    "sigmoid": sigmoid,
    "uncorrected": partial(linear, rescale=False),
    "ztsnr": lambda T: zero_terminal_snr(linear(T)),
    "zero_terminal": lambda T: zero_terminal_snr(linear(T, rescale=False)),
}


def schedule_of(recipe: dict) -> Schedule:
    """The schedule that a recipe names."""
    return SCHEDULES[recipe["schedule"]](recipe["T"])


def save_state(work, run: Run, log: dict) -> None:
    """Write the whole state of a training: a line with the checksum, then what torch.save() makes."""
    buffer = io.BytesIO()
    torch.save({"run": take_state(run), "log": log}, buffer)
    write_bytes(work.state, seal(f'{{"sha256": "{UNSEALED}"}}\n'.encode() + buffer.getvalue()))


def load_state(work, run: Run, log: dict) -> dict:
    """Put the run where an interrupted one stopped; its log. Raises ValueError for a damaged file."""
    if not os.path.lexists(work.state):
        return log
    try:
        _, _, content = read_whole(work.state).partition(b"\n")
        state = torch.load(io.BytesIO(content), weights_only=True)
        if log.keys() != state["log"].keys():
            raise ValueError("its log is another")
        put_back(run, state["run"])
    except Exception as err:  # whatever the file may hold
        why = str(err).partition("\n")[0].partition(": ")[0]
        what = f"{work.state} is damaged, of another network or of another torch ({why})"
        raise ValueError(f"{what}: remove it to start this training anew") from err
    print(f"{work.name}: going on from step {run.step}", flush=True)
    return state["log"]


def train_network(
    work, model, x, recipe: dict, labels=None, average_of: dict | None = None, stops=(), look=None, every=100
) -> tuple[Run, dict]:
    """Train the model on x as the recipe says, and go on where an interrupted training stopped.

    recipe: schedule, T, steps, batch_size, lr, seed, bf16, ema; weighting "min_snr" (scaled to mean 1, so
    that the clipped gradient means the same for all); drop, the share of labels left out.
    average_of: {name: decay}, other averages beside the run's own, returned in run.averages; a negative decay
    means one without warm-up, which starts from the random first weights and forgets them slowly.
    recipe["until"]: stop after this step, with the learning rate on its way to `steps`.
    look(run, log) is called after the steps in `stops`; what it returns is kept in log["looks"].
    log: loss (mean of `every` steps each), last (mean of the last 100), seconds without the looks, threads.
    """
    schedule, steps = schedule_of(recipe), recipe["steps"]
    run = Run(model, lr=recipe["lr"], ema_decay=recipe["ema"], seed=recipe["seed"])
    run.averages = {name: EMA(model, abs(decay)) for name, decay in (average_of or {}).items()}
    for name in run.averages:
        run.averages[name].updates = 10**9 if average_of[name] < 0 else 0
    weights = None
    if recipe.get("weighting", "uniform") == "min_snr":
        weights = min_snr_weights(schedule, model.prediction)
        weights = weights / weights[1:].mean()
    options = dict(labels=labels, drop=recipe.get("drop", 0.0), weights=weights, bf16=recipe["bf16"])
    log = {"loss": [], "last": None, "seconds": 0.0, "cpu_seconds": 0.0, "threads": torch.get_num_threads()}
    log = load_state(work, run, {**log, "looks": {}})
    recent, last, saved = [], deque(maxlen=100), time.perf_counter()
    clock, cpu = time.perf_counter(), time.process_time()
    for step in train(run, schedule, x, steps, recipe["batch_size"], **options):
        for average in run.averages.values():
            average.update(run.model)
        recent.append(step.loss), last.append(step.loss)
        if len(recent) == every:
            log["loss"].append(round(sum(recent) / every, 5))
            recent = []
        log["last"] = round(sum(last) / len(last), 5)
        work.tell(step.step, steps, log["last"])
        log["seconds"] += time.perf_counter() - clock
        log["cpu_seconds"] += time.process_time() - cpu
        if step.step in stops:
            log["looks"][str(step.step)] = look(run, log)
        if time.perf_counter() - saved > SAVE_SECONDS and not recent and not run.averages:
            save_state(work, run, log)
            saved = time.perf_counter()
        clock, cpu = time.perf_counter(), time.process_time()
        if step.step == recipe.get("until"):
            break
    return run, log
