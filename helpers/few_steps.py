"""Networks for few steps: the loss that makes levels of one path agree, and the rule that samples with it.

    for step in train(run, schedule, x, steps, loss=loss_of_pairs(lambda t: (t, t // 2))): ..
    last(reverse(run.ema.model, schedule, consistency(4), shape=(64, 1, 28, 28)))

f(x_t, t) is a network's estimate of x_0, wanted to be the end of the path through x_t: a consistency model
(Song et al. 2023, arXiv:2303.01469).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from helpers.sampling import Rule, spaced
from helpers.schedule import Schedule, prediction_of


def consistency(steps: int, spacing: str = "trailing") -> Rule:
    """Take the estimate of x_0, put fresh noise back, ask again lower down (Song et al. 2023, algorithm 1).

    spacing: as in spaced(); raises ValueError as that does.
    """

    def move(schedule: Schedule, x, t, t_next, eps, x0, draw, before=None):
        return x0 if t_next == 0 else schedule.q_sample(x0, t_next, draw())

    return Rule(f"consistency, {steps} step{'s' * (steps > 1)}", spaced(steps, spacing), move)


def _ask(model, schedule: Schedule, x: Tensor, t: Tensor, clip_x0=None) -> tuple[Tensor, Tensor]:
    """(eps, x0), both (B, ..), of the network at x (B, ..), t (B,); x0 clipped as reverse() does."""
    eps, x0 = schedule.from_output(model(x, t).float(), x, t, prediction_of(model))
    if clip_x0 is not None:
        x0 = x0.clamp(-clip_x0, clip_x0)
        eps = schedule.predict_eps(x, t, x0)
    return eps, x0


def consistency_loss(
    model, schedule: Schedule, x0, t, r, noise, teacher=None, target=None, clip_x0=None, huber: float = 0.0
) -> Tensor:
    """How far the estimate of x_0 at level t is from that at the lower level r of the same path, (B,).

    x0, noise: (B, ..); t, r: (B,) int64, 0 <= r < t <= T. The estimate at r gets no gradient; at r = 0 it is
    x_r itself. x_r: x0 with the same noise (easy consistency tuning, Geng et al. 2024, arXiv:2406.14548), or
    a teacher's DDIM step from x_t to r (consistency distillation, Song et al. 2023, algorithm 2).
    target: the network asked at r (the model itself, or its average); clip_x0: as in reverse().
    Returns the mean square e over the dimensions; for huber = c > 0 sqrt(e + c^2) - c, in the data's unit.
    Raises ValueError unless r < t, TypeError for a network without `prediction`.
    """
    if not bool((r < t).all()):
        raise ValueError("the target's level r must lie below t")
    x_t = schedule.q_sample(x0, t, noise)
    with torch.no_grad():
        if teacher is not None:
            noise, x0 = _ask(teacher, schedule, x_t, t, clip_x0)
        x_r = schedule.q_sample(x0, r, noise)
        end = _ask(target or model, schedule, x_r, r.clamp(min=1), clip_x0)[1]
        end = torch.where((r == 0).reshape(-1, *(1 for _ in x0.shape[1:])), x_r, end)
    e = (_ask(model, schedule, x_t, t)[1] - end).square().flatten(1).mean(1)
    return e if huber == 0 else (e + huber**2).sqrt() - huber


def loss_of_pairs(pair: Callable[[Tensor], tuple[Tensor, Tensor]], **options) -> Callable[..., Tensor]:
    """consistency_loss() for train(loss=): pair(t (B,)) -> (t, r). Labels raise ValueError."""

    def loss(model, schedule: Schedule, x0: Tensor, t: Tensor, noise: Tensor, y=None) -> Tensor:
        if y is not None:
            raise ValueError("the consistency loss knows no labels: train without labels=")
        return consistency_loss(model, schedule, x0, *pair(t), noise, **options)

    return loss
