"""What experiments need of a training and notebooks do not: going on after an interruption, loss weights."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.schedule import Schedule, check_prediction
from helpers.training import Run


def take_state(run: Run) -> dict:
    """All that a run needs to go on, for torch.save; the weights in it are the live ones, not a copy."""
    return dict(
        model=run.model.state_dict(),
        ema=run.ema.model.state_dict(),
        updates=run.ema.updates,
        step=run.step,
        optimizer=run.optimizer.state_dict(),
        generator=run.generator.get_state(),
    )


def put_back(run: Run, state: dict) -> None:
    """Set the run to where `state` (from take_state) stopped. Raises KeyError, or as torch does, if unfit."""
    run.model.load_state_dict(state["model"]), run.ema.model.load_state_dict(state["ema"])
    run.optimizer.load_state_dict(state["optimizer"]), run.generator.set_state(state["generator"])
    run.ema.updates, run.step = state["updates"], state["step"]


def min_snr_weights(schedule: Schedule, prediction: str, gamma: float = 5.0) -> Tensor:
    """Loss weight of every level, (T+1,) float32: min(SNR, gamma) on the error of x_0, whatever is predicted.

    In other units: divided by SNR for eps, by SNR + 1 for v (Hang et al. 2023, arXiv:2303.09556). Level 0,
    which is never drawn, has weight 0.
    Raises ValueError for an unknown prediction, and for eps at a level with SNR 0.
    """
    check_prediction(prediction)
    snr = schedule.snr[1:].double()
    per_x0 = {"x0": torch.ones_like(snr), "eps": snr, "v": snr + 1}[prediction]  # loss / error of x_0
    if float(per_x0.min()) == 0:
        raise ValueError("at SNR 0 the error of eps says nothing about x_0: predict v or x_0 there")
    return torch.cat([torch.zeros(1), (snr.clamp(max=gamma) / per_x0).float()])
