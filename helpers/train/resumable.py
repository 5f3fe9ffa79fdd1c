"""Train a Run with its whole state saved every few minutes, so that an interrupted `make train` goes on."""

from __future__ import annotations

import sys
import time
from pickle import UnpicklingError

import torch

from helpers.checkpoints import CHECKPOINTS, whole_or_not_at_all
from helpers.training import train


def train_resumably(
    name, run, schedule, x, steps, snapshots=(), on_snapshot=None, save_seconds=120, **options
) -> dict:
    """Train up to `steps`, resuming from data/checkpoints/.name.resume when that is there.

    snapshots: step numbers at which on_snapshot(run, log) is called. options: of training.train.
    Returns the log: loss (mean of 100 steps each), seconds of training in all, threads.
    Raises ValueError for a resume file that is damaged or of another network.
    """
    resume = CHECKPOINTS / f".{name}.resume"
    log = {"loss": [], "seconds": 0.0, "threads": torch.get_num_threads()}
    if resume.exists():
        try:
            state = torch.load(resume, weights_only=True)
            run.load_state_dict(state["run"])
            log = state["log"]
        except (UnpicklingError, RuntimeError, KeyError, ValueError, EOFError, OSError) as err:
            what = f"{resume} is damaged or of another network ({str(err).partition(chr(10))[0]})"
            raise ValueError(f"{what}: remove it to start this training anew") from err
        print(f"{name}: going on from step {run.step}", flush=True)
    before, start, saved, recent = log["seconds"], time.perf_counter(), time.perf_counter(), []
    for step in train(run, schedule, x, steps, **options):
        recent.append(step.loss)
        log["seconds"] = before + time.perf_counter() - start
        if len(recent) == 100:
            log["loss"].append(round(sum(recent) / 100, 5))
            recent = []
            line = f"step {step.step}/{steps} loss {log['loss'][-1]:.4f} {log['seconds'] / 60:.1f} min"
            print(f"{name}: {line}", file=sys.stderr, flush=True)
        if step.step in snapshots:
            on_snapshot(run, log)
        if time.perf_counter() - saved > save_seconds and not recent:
            with whole_or_not_at_all(resume) as part:
                torch.save({"run": run.state_dict(), "log": log}, part)
            saved = time.perf_counter()
    return log


def finished(name) -> None:
    """The training's products are written: remove the resume file."""
    (CHECKPOINTS / f".{name}.resume").unlink(missing_ok=True)
