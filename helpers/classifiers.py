"""Two small classifiers for each image set: one lends features to the Frechet distance, the other judges.

The one that judges (confidence, class counts) never serves as the feature network, so that no score is judged
by the network it was computed with. `python -m data.experiments judges` trains them; their accuracies are in
data/results/judges.json.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.checkpoints import load_model

FEATURES = 64  # length of the feature vector: small, so that a covariance can be estimated from 1,000 samples


class Classifier(nn.Module):
    """(B, 1, S, S) images in [-1, 1] to (B, 10) class scores; `.features` gives the (B, 64) layer below them.

    size: S, 8 or 28; width: channels of the first convolution.
    """

    def __init__(self, size: int = 28, width: int = 32):
        super().__init__()
        self.config = dict(size=size, width=width)
        wide, stride = 2 * width, 2 if size > 8 else 1
        layers = [nn.Conv2d(1, width, 3, padding=1), nn.GroupNorm(8, width), nn.SiLU()]
        layers += [nn.Conv2d(width, wide, 3, stride=stride, padding=1), nn.GroupNorm(8, wide), nn.SiLU()]
        layers += [nn.Conv2d(wide, wide, 3, stride=2, padding=1), nn.GroupNorm(8, wide), nn.SiLU()]
        layers += [nn.Flatten(), nn.Dropout(0.3)]
        layers += [nn.Linear(wide * (size // (2 * stride)) ** 2, FEATURES), nn.SiLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, 10)

    def features(self, x: Tensor) -> Tensor:
        """(B, 1, S, S) to (B, 64)."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@cache
def load(kind: str, data: str, device: str = "cpu") -> Classifier:
    """The shipped classifier, without gradients, on `device`; the same object for the same arguments.

    kind: "features" (for distances) or "judge" (for counting); data: "digits" (8x8), "mnist" or "fashion".
    Raises ValueError for another kind or data, and as load_model does for a missing or damaged file.
    """
    if kind not in ("features", "judge") or data not in ("digits", "mnist", "fashion"):
        known = '"features" or "judge", and data "digits", "mnist" or "fashion"'
        raise ValueError(f"kind is {known}, got {kind!r}, {data!r}")
    return load_model(f"{data}_{kind}", Classifier).requires_grad_(False).to(device)


def _for(kind: str, images: Tensor, data: str | None) -> Classifier:
    if not images.isfinite().all():
        raise ValueError("there is NaN or infinity in the images: look at the network's loss and weights")
    return load(kind, data or ("digits" if images.shape[-1] == 8 else "mnist"), str(images.device))


@torch.no_grad()
def features(images: Tensor, data: str | None = None) -> Tensor:
    """Feature vectors (N, 64) of images (N, 1, S, S). data: by default digits for S = 8, mnist for 28."""
    model = _for("features", images, data)
    return torch.cat([model.features(batch) for batch in images.split(500)])


@torch.no_grad()
def probabilities(images: Tensor, data: str | None = None) -> Tensor:
    """The judge's class probabilities (N, 10) of images (N, 1, S, S). data: as for features."""
    model = _for("judge", images, data)
    return torch.cat([F.softmax(model(batch), dim=1) for batch in images.split(500)])
