"""Guidance: a network exaggerated against a weaker one, wrapped as one ordinary network for the reverse loop.

    last(reverse(Guided(model, y=7, scale=2.0), schedule, ddim(50), shape=(64, 1, 28, 28)))
    last(reverse(Autoguided(model, weak, scale=1.5), schedule, ddim(50), shape=(64, 1, 28, 28)))

Classifier-free guidance takes as the weaker network the same one without a label, autoguidance one that is
smaller or less trained.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from helpers.schedule import Schedule, prediction_of


class Guided(nn.Module):
    """out = out_u + scale * (out_c - out_u): from "no label" towards the label and past it.

    Source: Ho & Salimans 2022, arXiv:2207.12598, eq. 6.
    scale: 0 without label, 1 the conditional model, above 1 exaggerated, below 0 away from the label. The
    paper's w is scale - 1. Called as (x_t, t), and asks the network once, with both branches in one batch.
    y: a class, or (B,) int64, one for each example.
    band: (lowest, highest) levels t at which to guide; outside them the scale is 1. None: everywhere.
    The same whether the network predicts eps, x0 or v: at one x_t each is a straight line in the others.
    Raises ValueError for a network without labels, a label it does not know, or a band upside down.
    """

    def __init__(self, model: nn.Module, y, scale: float = 2.0, band: tuple[int, int] | None = None):
        super().__init__()
        classes = getattr(model, "classes", 0)
        if not classes:
            raise ValueError("guidance needs a network with labels: UNet(classes=10), trained with labels=")
        y = torch.as_tensor(y)
        if y.dtype.is_floating_point or int(y.min()) < 0 or int(y.max()) > classes:
            known = f"0 .. {classes - 1} ({classes}: no label)"
            raise ValueError(f"labels are whole numbers {known}, got {y.tolist()}")
        self.model, self.y, self.scale, self.band = model, y, scale, _checked(band)
        self.prediction = prediction_of(model)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        y = self.y.to(x.device).expand(len(x))
        none = torch.full_like(y, self.model.classes)
        out = self.model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, none])).to(x.dtype)
        out_c, out_u = out.chunk(2)  # in the precision of x: under autocast a large scale magnifies rounding
        return _exaggerate(out_u, out_c, self.scale, self.band, t)


class Autoguided(nn.Module):
    """out = out_weak + scale * (out_strong - out_weak): away from what a weaker network would do.

    Source: Karras et al. 2024, arXiv:2406.02507, eq. 3. No labels are needed.
    model, weak: two networks trained on the same data, schedule and prediction; scale: 1 is the model alone.
    band: (lowest, highest) levels t at which to guide; outside them the model alone, and weak is not asked.
    Raises ValueError for networks that predict different things, or a band upside down.
    """

    def __init__(
        self, model: nn.Module, weak: nn.Module, scale: float = 1.5, band: tuple[int, int] | None = None
    ):
        super().__init__()
        self.prediction, other = prediction_of(model), prediction_of(weak)
        if self.prediction != other:
            raise ValueError(f"both networks must predict the same, got {self.prediction} and {other}")
        self.model, self.weak, self.scale, self.band = model, weak, scale, _checked(band)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        strong = self.model(x, t).to(x.dtype)
        if self.band is not None and not bool(_inside(self.band, t).any()):
            return strong
        return _exaggerate(self.weak(x, t).to(x.dtype), strong, self.scale, self.band, t)


class AtSameNoise(nn.Module):
    """A network of another schedule or prediction, asked in the terms of this one.

    Level t of `schedule` becomes the level of the network's `own` schedule with the nearest log-SNR, where
    x_t looks the same (Kingma et al. 2021, arXiv:2107.00630: only the SNR counts); its answer becomes the
    eps, x0 or v (`prediction`) of level t, shaped like x_t. Called as (x_t (B, ..), t (B,) int64 in 1 .. T).
    """

    def __init__(self, model: nn.Module, own: Schedule, schedule: Schedule, prediction: str):
        super().__init__()
        self.model, self.own, self.schedule, self.prediction = model, own, schedule, prediction
        wanted, known = (s.snr[1:].clamp(min=1e-30).log() for s in (schedule, own))
        nearest = (wanted[:, None] - known[None]).abs().argmin(1) + 1
        self.levels = torch.cat([torch.zeros(1, dtype=torch.long), nearest])

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        level = self.levels.to(t.device)[t]
        eps, _ = self.own.from_output(self.model(x, level).to(x.dtype), x, level, prediction_of(self.model))
        return self.schedule.target(self.schedule.predict_x0(x, t, eps), t, eps, self.prediction)


def _checked(band: tuple[int, int] | None) -> tuple[int, int] | None:
    if band is not None and band[0] > band[1]:
        raise ValueError(f"band is (lowest, highest) level, got {band}")
    return band


def _inside(band: tuple[int, int], t: Tensor) -> Tensor:
    """Which levels t (B,) lie in the band, (B,) bool."""
    return (t >= band[0]) & (t <= band[1])


def _exaggerate(weak: Tensor, strong: Tensor, scale: float, band, t: Tensor) -> Tensor:
    """From weak (B, ..) towards strong and past it, by scale; by 1 at levels t (B,) outside the band."""
    factor = torch.as_tensor(scale, dtype=weak.dtype, device=weak.device)
    if band is not None:
        factor = torch.where(_inside(band, t), factor, 1.0).reshape(-1, *(1 for _ in weak.shape[1:]))
    return weak + factor * (strong - weak)
