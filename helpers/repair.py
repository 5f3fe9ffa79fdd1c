"""Changing pictures: fill in what is missing, guide by what was measured, guide by a classifier."""

import torch
from torch import Tensor, nn

from helpers.sampling import Rule
from helpers.schedule import Schedule, prediction_of


def fill_in(rule: Rule, mask: Tensor, known: Tensor, resample: int = 1, jump: int = 1) -> Rule:
    """`rule` with the known pixels put in after every step, noised to the level that the step arrives at.

    mask: bool, True where a pixel is known; known: clean pictures; both (B, ..), or (1, ..) for all.
    resample: how often every `jump` steps are walked, with noise back up in between: RePaint (Lugmayr et
    al. 2022, arXiv:2201.09865, algorithm 1); 1 is replacement (Song et al. 2021, arXiv:2011.13456).
    Raises ValueError for a mask that is not bool or does not fit, and for resample or jump below 1.
    """
    if mask.dtype != torch.bool or mask.shape[1:] != known.shape[1:] or min(resample, jump) < 1:
        got = f"got {mask.dtype} {tuple(mask.shape)}, {resample}, {jump}"
        raise ValueError(f"mask is bool {tuple(known.shape)} as known is, the others 1 or more; {got}")

    def levels(T: int) -> list[int]:
        down = rule.levels(T)
        return [t for i in range(0, len(down), jump) for t in down[i : i + jump] * resample]

    def move(schedule: Schedule, x, t, t_next, eps, x0, draw, before=None):
        below = max(level for level in [*rule.levels(schedule.T), 0] if level < t)
        before = before if before is not None and before[0] > t else None  # none right after a climb
        x = rule.move(schedule, x, t, below, eps, x0, draw, before)
        x = torch.where(mask.to(x.device), schedule.q_sample(known.to(x), below, draw()), x)
        (signal, sigma), (signal_up, sigma_up) = schedule._roots(below, x), schedule._roots(t_next, x)
        kept = signal_up / signal  # q_step() over all the levels from below up to t_next
        fresh = (sigma_up**2 - (kept * sigma) ** 2).clamp(min=0).sqrt()
        return x if t_next == below else kept * x + fresh * draw()

    return Rule(f"{rule.name}, filled in, {resample} times every {jump}", levels, move)


class Measured(nn.Module):
    """A network led to pictures that measure as y: x_0 - scale / signal * slope of |y - measure(x_0)|^2 / 2.

    The slope, by x_t, is that of diffusion posterior sampling (Chung et al. 2022, arXiv:2209.14687).
    measure: differentiable function of clean pictures (B, ..); y: what it gave, (B, ..) or (1, ..). scale: 1
    for masks, 16 for means of 16 pixels. Raises ValueError where measure(x_0) is not shaped like y.
    """

    def __init__(self, model, schedule: Schedule, measure, y, scale: float = 1.0):
        super().__init__()
        self.model, self.schedule, self.measure, self.y = model, schedule, measure, torch.as_tensor(y)
        self.scale, self.prediction = scale, prediction_of(model)

    def log_p(self, x0: Tensor, sigma: Tensor) -> Tensor:
        """log p(y | x_0), (B,), with y believed up to sigma (Song et al. 2023, pseudoinverse guidance)."""
        seen = self.measure(x0)
        if seen.shape[1:] != self.y.shape[1:]:
            raise ValueError(f"measure(x_0) has shape {tuple(seen.shape)}, y {tuple(self.y.shape)}")
        return -(self.y.to(x0) - seen).flatten(1).square().sum(1) / (2 * sigma.flatten() ** 2)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        signal, sigma = self.schedule._roots(t, x)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            _, x0 = self.schedule.from_output(self.model(x, t).to(x.dtype), x, t, self.prediction)
            with torch.autocast(x.device.type, enabled=False):
                (slope,) = torch.autograd.grad(self.log_p(x0, sigma).sum(), x)
        x, x0 = x.detach(), x0.detach() + self.scale * sigma**2 / signal * slope  # Bayes' rule for the score
        return self.schedule.target(x0, t, self.schedule.predict_eps(x, t, x0), self.prediction)


class ByClassifier(Measured):
    """The same with a classifier of clean pictures as the measure (Dhariwal & Nichol 2021, arXiv:2105.05233;
    shown x_0: Bansal et al. 2023, arXiv:2302.07121). It gives scores (B, C); y: a class, or (B,) int64."""

    def log_p(self, x0: Tensor, sigma: Tensor) -> Tensor:
        y = self.y.to(x0.device).expand(len(x0))[:, None]
        return self.measure(x0).log_softmax(1).gather(1, y)[:, 0]
