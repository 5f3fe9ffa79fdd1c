"""The noise schedule: how much of the data is left at every noise level, and all the formulas that follow.

Conventions, here and everywhere in the course:

* levels are t = 0 .. T-1; t = -1 is the clean data, so `alpha_bar(-1) == 1`;
* `betas[t]` is the variance added by the step from level t-1 to level t;
* constants are computed and kept in float64 and handed out in the dtype of the data they meet.

Equations: DDPM is Ho, Jain & Abbeel 2020 (arXiv:2006.11239); `cosine` is Nichol & Dhariwal 2021
(arXiv:2102.09672); v-prediction is Salimans & Ho 2022 (arXiv:2202.00512); `zero_terminal_snr` is Lin et al.
2023 (arXiv:2305.08891).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

PREDICTIONS = ("eps", "x0", "v")


@dataclass(frozen=True, eq=False)
class Schedule:
    """A variance schedule and the Gaussians it defines.

    betas64: (T,) tensor, every value in (0, 1) (the last may be 1); kept as float64 (`betas`: float32).
    name: shown in figures and stored in checkpoints.
    Raises ValueError when a beta lies outside that range.
    """

    betas64: Tensor
    name: str = "schedule"
    abar64: Tensor = field(init=False, repr=False)  # alpha_bar at t = 0 .. T-1, and at -1: 1

    def __post_init__(self):
        betas = torch.as_tensor(self.betas64).to(torch.float64)
        if betas.ndim != 1 or len(betas) == 0:
            raise ValueError(f"betas must be a tensor of shape (T,), got shape {tuple(betas.shape)}")
        if not (bool((betas > 0).all()) and bool((betas[:-1] < 1).all()) and float(betas[-1]) <= 1):
            raise ValueError(
                f"betas must lie in (0, 1) (the last may be 1), got {betas.min():.3g} .. {betas.max():.3g}; "
                "with betas scaled by 1000/T this happens for T <= 20: take more steps or the cosine schedule"
            )
        object.__setattr__(self, "betas64", betas)
        one = torch.ones(1, dtype=torch.float64)
        object.__setattr__(self, "abar64", torch.cat([torch.cumprod(1 - betas, 0), one]))

    def __repr__(self):
        return f"Schedule({self.name}, T={self.T}, sqrt(alpha_bar_T)={self.abar64[self.T - 1].sqrt():.3g})"

    @property
    def T(self) -> int:
        """Number of noise levels."""
        return len(self.betas64)

    @property
    def betas(self) -> Tensor:
        """beta_t, (T,) float32."""
        return self.betas64.float()

    @property
    def alphas(self) -> Tensor:
        """alpha_t = 1 - beta_t, (T,) float32."""
        return (1 - self.betas64).float()

    @property
    def alphas_cumprod(self) -> Tensor:
        """alpha_bar_t = product of alpha_0 .. alpha_t, (T,) float32 (DDPM, above eq. 4)."""
        return self.abar64[: self.T].float()

    def snr(self) -> Tensor:
        """Signal-to-noise ratio alpha_bar_t / (1 - alpha_bar_t), (T,) float32."""
        a = self.abar64[: self.T]
        return (a / (1 - a)).float()

    def alpha_bar(self, t: Tensor | int) -> Tensor:
        """alpha_bar at level(s) t; t = -1 is the clean data, alpha_bar = 1. Same shape as t, float64.

        Raises TypeError for a t that is not an integer, ValueError for one outside -1 .. T-1.
        """
        t = self._levels(t, -1)
        return self.abar64.to(t.device)[t]

    def _levels(self, t, lowest: int) -> Tensor:
        t = torch.as_tensor(t)
        if t.dtype.is_floating_point or t.dtype == torch.bool:
            raise TypeError("t must be an integer level (torch.int64), not a fraction of T")
        if t.numel() and (int(t.min()) < lowest or int(t.max()) >= self.T):
            clean = "-1 (clean)" if lowest < 0 else lowest
            raise ValueError(f"levels go from {clean} to {self.T - 1}, got {int(t.min())} .. {int(t.max())}")
        return t

    def _at(self, t, x: Tensor) -> Tensor:
        """alpha_bar(t) shaped (B, 1, ..) for x (B, ..); float64 on the CPU, some devices have no float64."""
        return self.alpha_bar(torch.as_tensor(t).cpu()).reshape(-1, *[1] * (x.ndim - 1))

    def q_step(self, x_prev: Tensor, t, noise: Tensor) -> Tensor:
        """One Markov step: x at level t from x at level t-1 (DDPM eq. 2).

        x_prev, noise: (B, ..); t: int or (B,) int64. Returns (B, ..) in the dtype of x_prev.
        """
        t = self._levels(torch.as_tensor(t).cpu(), 0)
        beta = self.betas64[t].reshape(-1, *[1] * (x_prev.ndim - 1))
        return (1 - beta).sqrt().to(x_prev) * x_prev + beta.sqrt().to(x_prev) * noise

    def q_sample(self, x0: Tensor, t, noise: Tensor) -> Tensor:
        """Jump from clean data to level t (DDPM eq. 4). x0, noise: (B, ..); t: int or (B,). Returns x_t."""
        a = self._at(t, x0)
        return a.sqrt().to(x0) * x0 + (1 - a).sqrt().to(x0) * noise

    def posterior(self, x0: Tensor, x_t: Tensor, t) -> tuple[Tensor, Tensor]:
        """Mean (B, ..), variance (B, 1, ..) of q(x_{t-1} | x_t, x_0) (DDPM eqs. 6, 7). At t = 0: x_0 and 0.

        x0, x_t: (B, ..); t: int (variance (1, 1, ..)) or (B,) int64.
        """
        t = self._levels(torch.as_tensor(t).cpu(), 0)
        a, prev = self._at(t, x_t), self._at(t - 1, x_t)
        beta = self.betas64[t].reshape(a.shape)
        mean = (prev.sqrt() * beta / (1 - a)).to(x_t) * x0
        mean = mean + ((1 - beta).sqrt() * (1 - prev) / (1 - a)).to(x_t) * x_t
        return mean, (beta * (1 - prev) / (1 - a)).to(x_t)

    def predict_x0(self, x_t: Tensor, t, eps: Tensor) -> Tensor:
        """The clean data that x_t and eps imply: q_sample solved for x0 (DDPM eq. 15). All (B, ..).

        Raises ValueError where alpha_bar is 0.
        """
        a = self._at(t, x_t)
        if float(a.min()) == 0:
            raise ValueError("at zero signal (alpha_bar = 0) noise says nothing about x_0: predict v instead")
        return (x_t - (1 - a).sqrt().to(x_t) * eps) / a.sqrt().to(x_t)

    def predict_eps(self, x_t: Tensor, t, x0: Tensor) -> Tensor:
        """The noise that x_t and x0 imply: q_sample solved for eps. All (B, ..). ValueError at t = -1."""
        self._levels(t, 0)
        a = self._at(t, x_t)
        return (x_t - a.sqrt().to(x_t) * x0) / (1 - a).sqrt().to(x_t)

    def target(self, x0: Tensor, t, noise: Tensor, prediction: str) -> Tensor:
        """What the network is asked for, (B, ..): eps, x0, or v = sqrt(abar) eps - sqrt(1 - abar) x0.

        Salimans & Ho 2022, section 4. Raises ValueError for an unknown prediction type.
        """
        _known(prediction)
        if prediction != "v":
            return noise if prediction == "eps" else x0
        a = self._at(t, x0)
        return a.sqrt().to(x0) * noise - (1 - a).sqrt().to(x0) * x0

    def from_output(self, output: Tensor, x_t: Tensor, t, prediction: str) -> tuple[Tensor, Tensor]:
        """(eps, x0), both (B, ..), from the network's output at x_t. ValueError for an unknown prediction."""
        _known(prediction)
        if prediction == "eps":
            return output, self.predict_x0(x_t, t, output)
        if prediction == "x0":
            return self.predict_eps(x_t, t, output), output
        a = self._at(t, x_t)
        signal, sigma = a.sqrt().to(x_t), (1 - a).sqrt().to(x_t)
        return signal * output + sigma * x_t, signal * x_t - sigma * output


def _known(prediction: str) -> None:
    if prediction not in PREDICTIONS:
        raise ValueError(f"prediction is one of {PREDICTIONS}, got {prediction!r}")


def _at_least_one(T: int) -> None:
    if T < 1:
        raise ValueError(f"T is the number of noise levels, at least 1, got {T}")


def linear(T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02, rescale: bool = True) -> Schedule:
    """Betas on a straight line (DDPM section 4), scaled by 1000/T so that every T ends in the same noise.

    rescale=False leaves the betas as they are: right for T = 1000, the mistake of many tutorials for T = 100.
    Raises ValueError when the scaled betas reach 1, which is at T <= 20.
    """
    _at_least_one(T)
    scale = 1000 / T if rescale else 1.0
    betas = torch.linspace(beta_start, beta_end, T, dtype=torch.float64) * scale
    if beta_end * scale >= 1:
        scaled = "betas scaled by 1000/T" if rescale else "betas"
        todo = "Take T > 20, or cosine(T)." if rescale else "Take a smaller beta_end."
        raise ValueError(
            f"linear(T={T}): {scaled} reach {beta_end * scale:.3g}, and a variance share must stay below 1. "
            + todo
        )
    return Schedule(betas, "linear" if rescale else "linear, not rescaled")


def cosine(T: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> Schedule:
    """alpha_bar follows a squared cosine (Nichol & Dhariwal 2021, eq. 17); betas are cut at max_beta.

    s: offset that keeps the first betas from vanishing. Raises ValueError for T < 1.
    """
    _at_least_one(T)
    u = (torch.arange(T + 1, dtype=torch.float64) / T + s) / (1 + s)
    f = torch.cos(u * torch.pi / 2) ** 2
    return Schedule((1 - f[1:] / f[:-1]).clamp(max=max_beta), "cosine")


def zero_terminal_snr(schedule: Schedule) -> Schedule:
    """Shift and stretch sqrt(alpha_bar) so that the last level is pure noise (Lin et al. 2023, algorithm 1).

    The last alpha_bar becomes 0. Not for eps-prediction: there x_T *is* the noise, the target carries no
    information about the data, and x_0 = (x_t - eps) / 0. Raises ValueError for a single level.
    """
    if schedule.T < 2:
        raise ValueError("one level cannot both stay as it is and become pure noise: take T >= 2")
    root = schedule.abar64[: schedule.T].sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    abar = root**2
    alphas = torch.cat([abar[:1], abar[1:] / abar[:-1]])
    return Schedule(1 - alphas, f"{schedule.name}, zero terminal SNR")
