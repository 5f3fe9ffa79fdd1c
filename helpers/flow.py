"""Flows: the straight path between data and noise as a schedule, `straight()`, and solvers as step rules.

Any schedule becomes this path when x_t = signal x_0 + sigma eps is divided by signal + sigma, with position
s = sigma / (signal + sigma) and velocity u = eps - x_0: so the solvers fit all. Here s = 0 is clean, in many
papers 1. Sources: Lipman et al. 2023 (arXiv:2210.02747, example II), Esser et al. 2024 (arXiv:2403.03206).
"""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.sampling import Rule
from helpers.schedule import Schedule, _column, _levels


class StraightPath(Schedule):
    """x_t = (1 - s) x_0 + s eps with s = t / T; "v" is the velocity along s, u = eps - x_0.

    On the circle of the other schedules v is the velocity along the angle. betas, alpha_bar, snr are true of
    x_t brought onto that circle; q_step, posterior, exact, and ancestral, ddim, dpm_solver with them, hold
    only there and raise NotImplementedError."""

    def __init__(self, T: int = 1000):
        s = torch.arange(max(T, 0) + 1, dtype=torch.float64) / T
        alpha_bar = (1 - s) ** 2 / ((1 - s) ** 2 + s**2)
        super().__init__(torch.cat([torch.zeros(1), 1 - alpha_bar[1:] / alpha_bar[:-1]]), "straight")

    def _roots(self, t, x: Tensor, lowest: int = 0) -> tuple[Tensor, Tensor]:
        s = _column(_levels(t, lowest, self.T).double() / self.T, x)
        return (1 - s).to(x), s.to(x)

    def target(self, x0: Tensor, t, noise: Tensor, prediction: str) -> Tensor:
        """What the network is asked for, (B, ..): eps, x0, or v = eps - x0."""
        return noise - x0 if prediction == "v" else super().target(x0, t, noise, prediction)

    def from_output(self, output: Tensor, x_t: Tensor, t, prediction: str) -> tuple[Tensor, Tensor]:
        """(eps, x0), both (B, ..), from the network's output at x_t."""
        if prediction != "v":
            return super().from_output(output, x_t, t, prediction)
        signal, sigma = self._roots(t, x_t)
        return x_t + signal * output, x_t - sigma * output

    def _refuse(self, *arguments, **options):
        raise NotImplementedError("the straight path leaves the circle: move with euler, midpoint or heun")

    q_step = posterior = exact = _refuse


straight = StraightPath  # called as cosine and linear are


def logit_normal(T: int) -> Tensor:
    """Loss weights (T+1,), mean 1, 0 at both ends: in expectation log(s / (1 - s)) is drawn from N(0, 1)."""
    s = torch.arange(1, T, dtype=torch.float64) / T
    density = torch.exp(-0.5 * torch.logit(s) ** 2) / (s * (1 - s))
    return (torch.cat([torch.zeros(1), density, torch.zeros(1)]) * T / density.sum()).float()


def euler(steps: int = 20, shift: float = 1.0) -> Rule:
    """Follow this level's velocity to the next, on the other schedules DDIM: `steps` evaluations. shift: time
    shift s' = shift s / (1 + (shift - 1) s): above 1 more steps near noise (Esser et al. 2024, eq. 23)."""
    return _rule("Euler", steps, shift)


def midpoint(steps: int = 10, shift: float = 1.0) -> Rule:
    """Euler to the middle of a step, then all of it with the velocity found there: 2 steps evaluations."""
    return _rule("midpoint", steps, shift, reach=0.5)


def heun(steps: int = 10, shift: float = 1.0) -> Rule:
    """Euler to the next level, then again with the mean velocity of both ends; the last step is Euler's:
    2 steps - 1 evaluations (Karras et al. 2022, arXiv:2206.00364, algorithm 1)."""
    return _rule("Heun", steps, shift, reach=1)


def _rule(name: str, steps: int, shift: float, reach: float = 0) -> Rule:
    """Euler steps, which keep eps and x_0. With a reach, a share of the step, each is redone from a visit
    there: along s the velocity is a straight line through those at both visits; the step takes its mean."""

    def levels(T: int) -> list[int]:
        s = 1 - torch.arange(steps + 1, dtype=torch.float64) / steps
        ends = (T * shift * s / (1 + (shift - 1) * s)).round().long()
        if steps < 1 or -int(ends.diff().max()) < (2 if 0 < reach < 1 else 1):
            raise ValueError(f"{T} levels do not hold {steps} steps, shift {shift:g}: take other steps or T")
        second = ends[:-1] + (reach * ends.diff()).long()
        visits = torch.stack([ends[:-1], second], 1).flatten() if reach else ends[:-1]
        return visits[visits > 0].tolist()

    def move(schedule: Schedule, x, t, t_next, eps, x0, draw, before=None):
        if reach and (t == t_next or t not in levels(schedule.T)[::2]):
            start, x0_before = before
            u_before = schedule.predict_eps(x, t, x0_before) - x0_before
            s = 1 / (1 + schedule.snr.double().sqrt())  # sigma / (signal + sigma) at all levels
            bend = (eps - x0 - u_before) * (s[t_next] - s[start]) / (2 * (s[t] - s[start]))
            x0 = x0_before - s[start] * bend  # where the line of this step meets s = 0
            eps = x0 + u_before + bend
        return schedule.q_sample(x0, t_next, eps)

    return Rule(f"{name}, {steps} steps", levels, move)
