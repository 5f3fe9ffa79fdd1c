"""Classifier-free guidance: a network with labels, wrapped so that the reverse loop sees an ordinary one.

    last(reverse(Guided(model, y=7, scale=2.0), schedule, ddim(50), shape=(64, 1, 28, 28)))
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
        if band is not None and band[0] > band[1]:
            raise ValueError(f"band is (lowest, highest) level, got {band}")
        self.model, self.y, self.scale, self.band = model, y, scale, band
        self.prediction = getattr(model, "prediction", "eps")

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        y = self.y.to(x.device).expand(len(x))
        none = torch.full_like(y, self.model.classes)
        out = self.model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, none])).to(x.dtype)
        out_c, out_u = out.chunk(2)  # in the precision of x: under autocast a large scale magnifies rounding
        scale = torch.as_tensor(self.scale, dtype=x.dtype, device=x.device)
        if self.band is not None:
            inside = (t >= self.band[0]) & (t <= self.band[1])
            scale = torch.where(inside, scale, 1.0).reshape(-1, *[1] * (x.ndim - 1))
        return out_u + scale * (out_c - out_u)
