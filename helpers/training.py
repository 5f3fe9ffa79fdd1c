"""The one training loop of the course, a generator, and the moving average of the weights (EMA)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from helpers.schedule import Schedule, at, prediction_of


class EMA:
    """Exponential moving average of a model's parameters (parameters only: buffers are copied as they are).

    decay: share kept at each update, once warm. It starts near 0 and grows as (1 + n) / (10 + n), so that the
    average forgets the random first weights. `ema.model` is the averaged model, in eval mode.
    """

    def __init__(self, model: nn.Module, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"decay is a share in [0, 1), got {decay}")
        self.decay, self.updates = decay, 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's current parameters."""
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for average, current in zip(self.model.parameters(), model.parameters(), strict=True):
            average.lerp_(current, 1 - keep)
        for average, current in zip(self.model.buffers(), model.buffers(), strict=True):
            average.copy_(current)


class Run:
    """What a training needs to go on after an interruption: optimiser, EMA, step, generator."""

    def __init__(self, model: nn.Module, lr=1e-3, weight_decay=0.01, ema_decay=0.999, seed=0):
        self.model, self.lr, self.step = model, lr, 0
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay, fused=True)
        self.ema = EMA(model, ema_decay)
        self.generator = torch.Generator().manual_seed(seed)


@dataclass
class Step:
    """One training step: its number, mean loss, learning rate, the levels t (B,), the losses (B,) there."""

    step: int
    loss: float
    lr: float
    losses: Tensor
    t: Tensor


def learning_rate(step: int, steps: int, peak: float, warmup: int = 100, decay: float = 0.4) -> float:
    """Linear warm-up, flat, then linearly to zero over the last `decay` share of the steps."""
    warmup = min(warmup, steps // 10)
    up = (step + 1) / (warmup + 1)
    down = (steps - step) / max(1.0, decay * steps)
    return peak * min(1.0, up, down)


def denoising_loss(model, schedule: Schedule, x0: Tensor, t: Tensor, noise: Tensor, y=None) -> Tensor:
    """Squared error of the prediction, one number an example, (B,) (DDPM eq. 14 when the model predicts eps).

    x0, noise: (B, ..); t: (B,) int64, 1 .. T; y: (B,) int64 labels for a model that takes them, or None.
    Raises TypeError for a model without `prediction`.
    """
    labels = () if y is None else (y,)
    output = model(schedule.q_sample(x0, t, noise), t, *labels).float()
    return (output - schedule.target(x0, t, noise, prediction_of(model))).square().flatten(1).mean(1)


def drop_labels(y: Tensor, share: float, none: int, generator: torch.Generator) -> Tensor:
    """Labels y (B,) with each replaced by `none` with probability `share` (a draw from the CPU generator)."""
    dropped = torch.rand(len(y), generator=generator).to(y.device) < share
    return torch.where(dropped, none, y)


def draw_batch(images: Tensor, T: int, batch_size: int, generator: torch.Generator):
    """What one training step draws: which examples (B,), then their levels t, 1 .. T, then their noise."""
    pick = torch.randint(len(images), (batch_size,), generator=generator)
    t = torch.randint(1, T + 1, (batch_size,), generator=generator).to(images.device)
    noise = torch.randn(batch_size, *images.shape[1:], generator=generator).to(images.device)
    return pick, t, noise


def batches(
    images: Tensor, T: int, steps: int, batch_size: int = 128, seed: int = 0
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """What train() meets with Run(model, seed=seed): x0 (B, ..), levels t (B,) in 1 .. T and noise like x0.

    images: (N, ..). For a training step of one's own, with the same losses.
    """
    g = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        pick, t, noise = draw_batch(images, T, batch_size, g)
        yield images[pick.to(images.device)], t, noise


def train(
    run: Run,
    schedule: Schedule,
    x: Tensor,
    steps: int,
    batch_size: int = 128,
    clip: float = 1.0,
    bf16: bool = False,
    labels: Tensor | None = None,
    drop: float = 0.1,
    weights: Tensor | None = None,
    loss: Callable[..., Tensor] = denoising_loss,
) -> Iterator[Step]:
    """Train run.model on the data x (N, ..) from run.step up to `steps`; yields a Step after each.

    Every step: random examples, levels 1 .. T and noise, one AdamW update with the gradient clipped to norm
    `clip`, one EMA update. To stop early, leave the loop.
    bf16: run the network under bfloat16 autocast, which many CPUs and GPUs do faster; a setting, so that the
    same seed gives the same network wherever it is trained.
    labels: (N,) int64, given to the network, but a share `drop` of them is replaced by "no label",
    model.classes (Ho & Salimans 2022, arXiv:2207.12598, algorithm 1).
    weights: (T+1,), multiply the loss at each level (1 when left out); Step.losses stay unweighted.
    loss: what is made small, (model, schedule, x0, t, noise, y) -> (B,), as denoising_loss is.
    The learning rate follows learning_rate(step, steps, run.lr), so a continued run needs the same `steps`.
    Raises FloatingPointError when the loss is no longer a number (that update is not made), ValueError for
    weights of another length, TypeError for a model without `prediction`.
    """
    if weights is not None and weights.shape != (schedule.T + 1,):
        raise ValueError(f"weights: one for each level 0 .. {schedule.T}, got shape {tuple(weights.shape)}")
    model, g, device = run.model, run.generator, x.device
    model.train()
    while run.step < steps:
        lr = learning_rate(run.step, steps, run.lr)
        for group in run.optimizer.param_groups:
            group["lr"] = lr
        pick, t, noise = draw_batch(x, schedule.T, batch_size, g)
        x0 = x[pick.to(device)]
        y = None if labels is None else drop_labels(labels[pick.to(labels.device)], drop, model.classes, g)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            losses = loss(model, schedule, x0, t, noise, y)
        mean = losses.mean() if weights is None else (at(weights, t, losses) * losses).mean()
        if not torch.isfinite(mean):
            raise FloatingPointError(
                f"the loss is {mean.item()} at step {run.step}: lower the learning rate or check the data"
            )
        run.optimizer.zero_grad()
        mean.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        run.optimizer.step()
        run.ema.update(model)
        run.step += 1
        yield Step(run.step, mean.item(), lr, losses.detach(), t)
