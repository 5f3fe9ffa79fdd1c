"""The one reverse loop of the course, a generator, and its step rules: ancestral, DDIM, DPM-Solver++.

    *path, last = reverse(model, schedule, ddim(steps=50), shape=(64, 1, 28, 28), seed=7)

Everything that looks at the process (progress bar, filmstrip, GIF, slider) lives outside the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.schedule import Schedule, at, prediction_of


@dataclass(frozen=True)
class State:
    """One moment of the reverse process.

    step: network evaluations so far; t: the noise level of x (T at the start, 0 when clean);
    x: (B, ..); x0: the estimate of the clean data that led here, (B, ..), None at the start.
    """

    step: int
    t: int
    x: Tensor
    x0: Tensor | None = None


@dataclass(frozen=True)
class Rule:
    """How to move: `levels(T)` are the noise levels at which the network is asked, falling, in 1 .. T;
    `move(schedule, x, t, t_next, eps, x0, draw, before)` returns x at level t_next, which is 0 at the end.

    draw() gives noise like x; before: (t, x0) of the step before, None at the first step.
    """

    name: str
    levels: Callable[[int], list[int]]
    move: Callable[..., Tensor]


def ancestral(variance: str = "posterior") -> Rule:
    """DDPM's own step, at every level: draw from the posterior with the estimated x_0 in it (algorithm 2).

    variance: "posterior" (beta-tilde, DDPM eq. 7) or "beta", the two choices of section 3.2.
    Raises ValueError for another variance.
    """
    if variance not in ("posterior", "beta"):
        raise ValueError(f'variance is "posterior" or "beta", got {variance!r}')

    def move(schedule: Schedule, x, t, t_next, eps, x0, draw, before=None):
        mean, var = schedule.posterior(x0, x, t)
        if t_next == 0:
            return mean
        if variance == "beta":
            var = at(schedule.betas, t, x)
        return mean + var.sqrt() * draw()

    return Rule(f"ancestral, {variance} variance", lambda T: list(range(T, 0, -1)), move)


def spaced(steps: int, spacing: str = "trailing") -> Callable[[int], list[int]]:
    """levels(T) for a Rule: `steps` of the levels 1 .. T, falling (Lin et al. 2023, table 2).

    spacing: "trailing" (starts at T, in equal strides), "linspace" (T down to 1), "leading" (1, 1 + k,
    1 + 2k ..: starts below the top).
    Raises ValueError for an unknown spacing; levels(T) for steps outside 1..T.
    """
    if spacing not in ("trailing", "linspace", "leading"):
        raise ValueError(f'spacing is "trailing", "linspace" or "leading", got {spacing!r}')

    def levels(T: int) -> list[int]:
        if not 1 <= steps <= T:
            raise ValueError(f"steps must lie in 1 .. {T} (the schedule's levels), got {steps}")
        i = torch.arange(steps, dtype=torch.float64)
        if spacing == "trailing":
            return (T - i * (T / steps)).round().long().tolist()
        if spacing == "linspace":
            return (torch.linspace(T - 1, 0, steps, dtype=torch.float64).round().long() + 1).tolist()
        return (i * (T // steps) + 1).long().flip(0).tolist()

    return levels


def ddim(steps: int = 50, eta: float = 0.0, spacing: str = "trailing") -> Rule:
    """DDIM on `steps` levels (Song, Meng & Ermon 2021, arXiv:2010.02502, eqs. 12, 16).

    eta: 0 is deterministic, 1 draws the noise of the ancestral step.
    spacing: as in spaced(). Raises ValueError as that does, and for a negative eta.
    """
    name = _name_rule("DDIM", steps, eta)

    def move(schedule: Schedule, x, t, t_next, eps, x0, draw, before=None):
        a, a_next = schedule.exact(t), schedule.exact(t_next)
        var = eta**2 * (1 - a_next) / (1 - a) * (1 - a / a_next)
        mean = float(a_next.sqrt()) * x0 + float((1 - a_next - var).clamp(min=0).sqrt()) * eps
        return mean if float(var) == 0 else mean + float(var.sqrt()) * draw()

    return Rule(name, spaced(steps, spacing), move)


def dpm_solver(steps: int = 20, eta: float = 0.0, spacing: str = "trailing") -> Rule:
    """DPM-Solver++(2M), of second order (Lu et al. 2022, arXiv:2211.01095, algorithm 2).

    Draws a line through the estimates of x_0 of this step and the one before, over half the log-SNR
    lambda = log(sqrt(abar) / sqrt(1 - abar)). The first step and the last are DDIM's.
    eta: 0 is deterministic; above 0 each step of size h replaces the share 1 - exp(-2 eta h) of the noise by
    fresh noise; 1 is the same paper's SDE-DPM-Solver++(2M).
    spacing: as in spaced(). Raises ValueError as that does, and for a negative eta.
    """
    name = _name_rule("DPM-Solver++(2M)", steps, eta)

    def half_log_snr(schedule: Schedule, t):
        a = schedule.exact(t)
        return 0.5 * (a / (1 - a)).log()

    def move(schedule: Schedule, x, t, t_next, eps, x0, draw, before=None):
        if t_next == 0:
            return x0
        h = half_log_snr(schedule, t_next) - half_log_snr(schedule, t)
        if before is not None:
            t_before, x0_before = before
            r = (half_log_snr(schedule, t) - half_log_snr(schedule, t_before)) / h
            x0 = x0 + float(1 / (2 * r)) * (x0 - x0_before)
        a, a_next = schedule.exact(t), schedule.exact(t_next)
        kept = float(torch.exp(-eta * h)) if eta else 1.0  # h is infinite where a is 0
        x = kept * float(((1 - a_next) / (1 - a)).sqrt()) * x
        x = x - float(a_next.sqrt() * torch.expm1(-(1 + eta) * h)) * x0
        if eta == 0:
            return x
        return x + float(((1 - a_next) * -torch.expm1(-2 * eta * h)).sqrt()) * draw()

    return Rule(name, spaced(steps, spacing), move)


def _name_rule(kind: str, steps: int, eta: float) -> str:
    """What a rule is called. Raises ValueError for a negative eta."""
    if eta < 0:
        raise ValueError(f"eta must not be negative, got {eta}")
    return f"{kind}, {steps} steps" + (f", eta {eta:g}" if eta else "")


@torch.no_grad()
def reverse(
    model,
    schedule: Schedule,
    rule: Rule,
    shape=None,
    seed: int = 0,
    clip_x0: float | None = None,
    x_T: Tensor | None = None,
) -> Iterator[State]:
    """Walk from noise to data; yield a State at the start and after every step.

    model(x (B, ..), t (B,)) is a network whose output means model.prediction; t in 1 .. T.
    shape: of the batch to draw; or start from x_T (B, ..).
    seed: of the CPU generator all noise comes from, so that one seed gives one picture on any device. Where
    x_T was drawn from a seed, give another one here: else the first fresh noise would be x_T again.
    clip_x0: keep the estimate of x_0 within [-clip_x0, clip_x0] and let eps follow; 1.0 for data in [-1, 1].
    Gradients are off. Raises ValueError without shape and x_T, TypeError for a model without `prediction`.
    """
    if shape is None and x_T is None:
        raise ValueError("say what to draw: shape=(B, ..) or x_T=a tensor to start from")
    prediction = prediction_of(model)
    device = next((p.device for p in model.parameters()), None) if hasattr(model, "parameters") else None
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(tuple(shape), generator=g) if x_T is None else x_T.clone()
    x = x.to(device or x.device)

    def draw() -> Tensor:
        return torch.randn(x.shape, generator=g).to(x)

    levels, before = rule.levels(schedule.T), None
    yield State(0, levels[0], x)
    for step, (t, t_next) in enumerate(zip(levels, [*levels[1:], 0], strict=True), start=1):
        batch_t = torch.full((len(x),), t, dtype=torch.long, device=x.device)
        eps, x0 = schedule.from_output(model(x, batch_t).float(), x, batch_t, prediction)
        if clip_x0 is not None:
            x0 = x0.clamp(-clip_x0, clip_x0)
            eps = schedule.predict_eps(x, batch_t, x0)
        x, before = rule.move(schedule, x, t, t_next, eps, x0, draw, before), (t, x0)
        yield State(step, t_next, x, x0)


def last(states: Iterator[State]) -> Tensor:
    """The finished samples (B, ..) of a reverse walk, for when the way there does not matter."""
    for state in states:  # noqa: B007, only the last is wanted, and only one at a time is kept
        pass
    return state.x
