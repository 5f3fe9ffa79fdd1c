"""The noise schedule: how much of the data is left at every noise level, and all the formulas that follow.

Conventions, here and everywhere in the course:

* levels are t = 0 .. T: level 0 is the clean data, level T is noise;
* every array has T + 1 entries, and entry t is the symbol with index t: `betas[0] = 0`, `alpha_bar[0] = 1`;
* `betas[t]` is the share of variance that the step from level t-1 to level t replaces by noise;
* public arrays are float32, formulas are computed in float64 and come out in the dtype of the data they meet.

Equations: DDPM is Ho, Jain & Abbeel 2020 (arXiv:2006.11239); `cosine` is Nichol & Dhariwal 2021
(arXiv:2102.09672); v-prediction is Salimans & Ho 2022 (arXiv:2202.00512); `zero_terminal_snr` is Lin et al.
2023 (arXiv:2305.08891). That level 0 is clean, with alpha_bar_0 = 1, is DDIM's convention (Song, Meng & Ermon
2021, arXiv:2010.02502, section 4.1).
"""

from __future__ import annotations

import torch
from torch import Tensor

PREDICTIONS = ("eps", "x0", "v")


def at(values: Tensor, t: Tensor | int, x: Tensor) -> Tensor:
    """The entries of `values` at level(s) t, ready to multiply x.

    values: (T+1,), such as schedule.alpha_bar; t: int or (B,) int64; x: (B, ..). Returns (B, 1, ..), or
    (1, 1, ..) for an int, in the dtype and on the device of x.
    Raises TypeError for a t that is not an integer, ValueError for one outside 0 .. T or of another length.
    """
    t = _levels(t, 0, len(values) - 1)
    if t.ndim > 1 or t.numel() not in (1, len(x)):
        raise ValueError(f"one level, or one for each of the {len(x)} examples; t has shape {tuple(t.shape)}")
    return _column(values[t.to(values.device)], x).to(x)


def _column(values: Tensor, x: Tensor) -> Tensor:
    """Values () or (B,) as (B, 1, ..), one for each example of x (B, ..)."""
    return values.reshape(-1, *(1 for _ in x.shape[1:]))


def _levels(t: Tensor | int, lowest: int, highest: int) -> Tensor:
    """t as a CPU tensor. Raises TypeError for fractions, ValueError for levels outside lowest .. highest."""
    t = torch.as_tensor(t).cpu()
    if t.dtype.is_floating_point or t.dtype == torch.bool:
        got = f"{str(t.dtype).removeprefix('torch.')} of shape {tuple(t.shape)}"
        ask = "are the arguments in another order, or is t divided by T?"
        raise TypeError(f"t must hold whole levels (int64), got {got}: {ask}")
    if t.numel() and (int(t.min()) < lowest or int(t.max()) > highest):
        clean = "" if lowest else " (0 is the clean data)"
        got = f"{int(t.min())} .. {int(t.max())}"
        raise ValueError(f"levels go from {lowest} to {highest} here{clean}, got {got}")
    return t


class Schedule:
    """A variance schedule and the Gaussians it defines.

    betas: (T+1,) tensor, the first 0, the others in (0, 1); the last may be 1.
    name: shown in figures and stored in checkpoints.
    Raises ValueError for betas that do not begin with 0 or lie outside that range.
    """

    def __init__(self, betas: Tensor, name: str = "schedule"):
        betas = torch.as_tensor(betas).detach().cpu().double()
        if betas.ndim != 1 or len(betas) < 2:
            raise ValueError(f"betas must have shape (T+1,), T at least 1, got {tuple(betas.shape)}")
        if betas[0] != 0:
            put = "put a zero in front, torch.cat([torch.zeros(1), betas])"
            raise ValueError(f"betas[0] must be 0 (level 0 is the clean data), got {betas[0]:.3g}: {put}")
        steps = betas[1:]
        if not ((steps > 0).all() and (steps[:-1] < 1).all() and steps[-1] <= 1):
            got = f"got {steps.min():.3g} .. {steps.max():.3g}"
            raise ValueError(f"betas[1:] must lie in (0, 1) (the last may be 1), {got}")
        self.name = name
        self._betas, self._alpha_bar = betas, torch.cumprod(1 - betas, 0)

    def __repr__(self):
        return f"Schedule({self.name}, T={self.T}, sqrt(alpha_bar_T)={self._alpha_bar[-1].sqrt():.3g})"

    @property
    def T(self) -> int:
        """The highest level: pure noise, or nearly."""
        return len(self._betas) - 1

    @property
    def betas(self) -> Tensor:
        """beta_t, (T+1,) float32; beta_0 = 0."""
        return self._betas.float()

    @property
    def alphas(self) -> Tensor:
        """alpha_t = 1 - beta_t, (T+1,) float32; alpha_0 = 1."""
        return (1 - self._betas).float()

    @property
    def alpha_bar(self) -> Tensor:
        """alpha_bar_t = alpha_1 alpha_2 .. alpha_t, (T+1,) float32; alpha_bar_0 = 1 (DDPM, above eq. 4)."""
        return self._alpha_bar.float()

    @property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio alpha_bar_t / (1 - alpha_bar_t), (T+1,) float32; infinite at t = 0."""
        return (self._alpha_bar / (1 - self._alpha_bar)).float()

    def exact(self, t: Tensor | int) -> Tensor:
        """alpha_bar at level(s) t in float64 on the CPU, shaped like t. Raises as at() does."""
        return self._alpha_bar[_levels(t, 0, self.T)]

    def _at(self, t, x: Tensor, lowest: int = 0) -> Tensor:
        """alpha_bar at t as float64 (B, 1, ..) for x (B, ..), on the CPU: some devices have no float64."""
        return _column(self._alpha_bar[_levels(t, lowest, self.T)], x)

    def _roots(self, t, x: Tensor, lowest: int = 0) -> tuple[Tensor, Tensor]:
        """sqrt(alpha_bar) and sqrt(1 - alpha_bar) at t, (B, 1, ..), in the dtype and on the device of x."""
        a = self._at(t, x, lowest)
        return a.sqrt().to(x), (1 - a).sqrt().to(x)

    def q_step(self, x_prev: Tensor, t, noise: Tensor) -> Tensor:
        """One Markov step: x at level t from x at level t-1 (DDPM eq. 2).

        x_prev, noise: (B, ..); t: int or (B,) int64, 1 .. T. Returns (B, ..) in the dtype of x_prev.
        """
        beta = _column(self._betas[_levels(t, 1, self.T)], x_prev)
        return (1 - beta).sqrt().to(x_prev) * x_prev + beta.sqrt().to(x_prev) * noise

    def q_sample(self, x0: Tensor, t, noise: Tensor) -> Tensor:
        """Jump from clean data to level t (DDPM eq. 4); at t = 0 x_0 itself.

        x0, noise: (B, ..); t: int or (B,) int64, 0 .. T. Returns x_t (B, ..).
        """
        signal, sigma = self._roots(t, x0)
        return signal * x0 + sigma * noise

    def posterior(self, x0: Tensor, x_t: Tensor, t) -> tuple[Tensor, Tensor]:
        """Mean (B, ..), variance (B, 1, ..) of q(x_{t-1} | x_t, x_0) (DDPM eqs. 6, 7). At t = 1: x_0 and 0.

        x0, x_t: (B, ..); t: int (variance (1, 1, ..)) or (B,) int64, 1 .. T.
        """
        a, prev = self._at(t, x_t, lowest=1), self._at(torch.as_tensor(t) - 1, x_t)
        beta = _column(self._betas[_levels(t, 1, self.T)], x_t)
        mean = (prev.sqrt() * beta / (1 - a)).to(x_t) * x0
        mean = mean + ((1 - beta).sqrt() * (1 - prev) / (1 - a)).to(x_t) * x_t
        return mean, (beta * (1 - prev) / (1 - a)).to(x_t)

    def predict_x0(self, x_t: Tensor, t, eps: Tensor) -> Tensor:
        """The clean data that x_t and eps imply: q_sample solved for x0 (DDPM eq. 15). All (B, ..).

        Raises ValueError where alpha_bar is 0.
        """
        if self._at(t, x_t).min() == 0:
            raise ValueError("at zero signal (alpha_bar = 0) noise says nothing about x_0: predict v instead")
        signal, sigma = self._roots(t, x_t)
        return (x_t - sigma * eps) / signal

    def predict_eps(self, x_t: Tensor, t, x0: Tensor) -> Tensor:
        """The noise that x_t and x0 imply: q_sample solved for eps. All (B, ..); t: 1 .. T."""
        signal, sigma = self._roots(t, x_t, lowest=1)
        return (x_t - signal * x0) / sigma

    def target(self, x0: Tensor, t, noise: Tensor, prediction: str) -> Tensor:
        """What the network is asked for, (B, ..): eps, x0, or v = sqrt(abar) eps - sqrt(1 - abar) x0.

        Salimans & Ho 2022, section 4. Raises ValueError for an unknown prediction type.
        """
        check_prediction(prediction)
        if prediction != "v":
            return noise if prediction == "eps" else x0
        signal, sigma = self._roots(t, x0)
        return signal * noise - sigma * x0

    def from_output(self, output: Tensor, x_t: Tensor, t, prediction: str) -> tuple[Tensor, Tensor]:
        """(eps, x0), both (B, ..), from the network's output at x_t. ValueError for an unknown prediction."""
        check_prediction(prediction)
        if prediction == "eps":
            return output, self.predict_x0(x_t, t, output)
        if prediction == "x0":
            return self.predict_eps(x_t, t, output), output
        signal, sigma = self._roots(t, x_t)
        return signal * output + sigma * x_t, signal * x_t - sigma * output


def check_prediction(prediction: str) -> None:
    """Raises ValueError for anything but "eps", "x0" and "v"."""
    if prediction not in PREDICTIONS:
        raise ValueError(f"prediction is one of {PREDICTIONS}, got {prediction!r}")


def prediction_of(model) -> str:
    """model.prediction. Raises TypeError without one: what a network's output means is never guessed."""
    prediction = getattr(model, "prediction", None)
    if prediction is None:
        todo = 'set its attribute `prediction` to "eps", "x0" or "v" (a wrapper: that of its network)'
        raise TypeError(f"{type(model).__name__} does not say what it predicts: {todo}")
    check_prediction(prediction)
    return prediction


def _with_clean(betas: Tensor) -> Tensor:
    """Betas of levels 1 .. T with the 0 of level 0 in front, (T+1,)."""
    return torch.cat([torch.zeros(1, dtype=torch.float64), betas])


def _at_least_one(T: int) -> None:
    if T < 1:
        raise ValueError(f"T is the highest noise level, at least 1, got {T}")


def linear(T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02, rescale: bool = True) -> Schedule:
    """Betas on a straight line (DDPM section 4), scaled by 1000/T so that every T ends in the same noise.

    rescale=False leaves the betas as they are: right for T = 1000, the mistake of many tutorials for T = 100.
    Raises ValueError when the scaled betas reach 1, which is at T <= 20.
    """
    _at_least_one(T)
    scale = 1000 / T if rescale else 1.0
    betas = torch.linspace(beta_start, beta_end, T, dtype=torch.float64) * scale
    if beta_end * scale >= 1:
        todo = "take T > 20, or cosine(T)" if rescale else "take a smaller beta_end"
        raise ValueError(f"the last beta is {beta_end * scale:.3g}, and must be a share below 1: {todo}")
    return Schedule(_with_clean(betas), "linear" if rescale else "linear, not rescaled")


def _from_curve(curve: Tensor, max_beta: float, name: str) -> Schedule:
    """The schedule whose alpha_bar follows a falling curve (T+1,), with betas cut at max_beta."""
    return Schedule(_with_clean((1 - curve[1:] / curve[:-1]).clamp(max=max_beta)), name)


def cosine(T: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> Schedule:
    """alpha_bar follows a squared cosine (Nichol & Dhariwal 2021, eq. 17); betas are cut at max_beta.

    s: offset that keeps the first betas from vanishing. Raises ValueError for T < 1.
    """
    _at_least_one(T)
    u = (torch.arange(T + 1, dtype=torch.float64) / T + s) / (1 + s)
    return _from_curve(torch.cos(u * torch.pi / 2) ** 2, max_beta, "cosine")


def sigmoid(T: int = 1000, start: float = -3.0, end: float = 3.0, tau: float = 1.0) -> Schedule:
    """alpha_bar falls as a sigmoid, stretched to go from 1 to 0 (Jabri et al. 2022, arXiv:2212.11972).

    start, end: the part of the curve that is used; tau: its width (Chen 2023, arXiv:2301.10972, algorithm 1).
    Betas are cut at 0.999, as in cosine(). Raises ValueError for T < 1.
    """
    _at_least_one(T)
    u = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    f = torch.sigmoid(-(start + u * (end - start)) / tau)
    return _from_curve((f - f[-1]) / (f[0] - f[-1]), 0.999, "sigmoid")


def zero_terminal_snr(schedule: Schedule) -> Schedule:
    """Shift and stretch sqrt(alpha_bar) so that level T is pure noise and level 1 stays as it is.

    Source: Lin et al. 2023, algorithm 1. The last alpha_bar becomes 0. Not for eps-prediction: there x_T *is*
    the noise, the target says nothing about the data, and x_0 = (x_T - eps) / 0.
    Raises ValueError for a single level.
    """
    if schedule.T < 2:
        raise ValueError("one level cannot both stay as it is and become pure noise: take T >= 2")
    root = schedule.exact(torch.arange(1, schedule.T + 1)).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), root**2])
    betas = _with_clean(1 - alpha_bar[1:] / alpha_bar[:-1])
    return Schedule(betas, f"{schedule.name}, zero terminal SNR")
