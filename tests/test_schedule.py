"""Schedules and their formulas: against diffusers, against brute force, against the chain itself."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from helpers.schedule import Schedule, cosine, linear, zero_terminal_snr

EVERY = {
    "linear": linear(), "linear 200": linear(200), "linear 100, not rescaled": linear(100, rescale=False),
    "cosine": cosine(), "cosine 50": cosine(50), "zero terminal": zero_terminal_snr(linear()),
}  # fmt: skip
schedules = pytest.mark.parametrize("schedule", EVERY.values(), ids=EVERY.keys())


def batch(shape, seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=dtype), torch.randn(shape, generator=g, dtype=dtype)


# --- the schedules themselves


@schedules
def test_definitions(schedule):
    assert schedule.betas.dtype == schedule.alphas.dtype == schedule.alphas_cumprod.dtype == torch.float32
    assert schedule.betas.shape == schedule.alphas.shape == schedule.snr().shape == (schedule.T,)
    assert torch.equal(schedule.alphas, (1 - schedule.betas64).float())
    product, running = 1.0, []
    for beta in schedule.betas64.tolist():
        product *= 1 - beta
        running.append(product)
    assert torch.allclose(schedule.abar64[:-1], torch.tensor(running, dtype=torch.float64), rtol=1e-12)
    a = torch.tensor(running, dtype=torch.float64)
    assert torch.allclose(schedule.snr().double(), a / (1 - a), rtol=1e-5)
    assert (schedule.alphas_cumprod.diff() < 0).all()


@schedules
def test_clean_level_is_minus_one(schedule):
    assert schedule.alpha_bar(-1) == 1
    levels = schedule.alpha_bar(torch.tensor([[-1, 0], [1, schedule.T - 1]]))
    assert levels.shape == (2, 2) and levels.dtype == torch.float64
    assert levels[0, 1] == 1 - schedule.betas64[0]
    assert torch.isclose(levels[1, 1], torch.prod(1 - schedule.betas64))


def test_float64_inside():
    """A float32 cumulative product is off by more than this at the end of the cosine schedule."""
    exact = math.prod(1 - b for b in cosine().betas64.tolist())
    assert float(cosine().alpha_bar(999)) == pytest.approx(exact, rel=1e-12)


def test_same_as_diffusers():
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    assert torch.allclose(linear().betas, theirs.betas, rtol=1e-5)
    assert torch.allclose(linear().alphas_cumprod, theirs.alphas_cumprod, rtol=1e-4)
    theirs = diffusers.DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")
    assert torch.allclose(cosine().betas, theirs.betas, rtol=1e-5)
    assert torch.allclose(cosine().alphas_cumprod, theirs.alphas_cumprod, rtol=1e-4)


def test_rescaled_linear_ends_in_the_same_noise():
    ends = [float(linear(T).alpha_bar(T - 1).sqrt()) for T in (100, 200, 300, 1000)]
    assert ends[-1] == pytest.approx(0.0063, abs=1e-4) and max(ends) < 0.0064


def test_unscaled_linear_keeps_signal():
    """The figures of the course's second question: how much signal x_T keeps where betas were not scaled."""
    ends = [float(linear(T, rescale=False).alpha_bar(T - 1).sqrt()) for T in (100, 200, 300, 1000)]
    assert ends == pytest.approx([0.60, 0.36, 0.22, 0.006], abs=0.005)


def test_cosine_follows_its_curve():
    u = torch.arange(1, 901, dtype=torch.float64) / 1000
    f = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert torch.allclose(cosine().abar64[:900], f, rtol=1e-10)
    assert cosine().betas.max() == pytest.approx(0.999)
    assert 1 / float(cosine().alpha_bar(999).sqrt()) == pytest.approx(20_000, rel=0.05)


@pytest.mark.parametrize("before", [linear(), cosine()], ids=["linear", "cosine"])
def test_zero_terminal_snr_same_as_diffusers(before):
    pytest.importorskip("diffusers")
    from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

    after = zero_terminal_snr(before)
    theirs = rescale_zero_terminal_snr(before.betas64.clone())
    assert torch.allclose(after.betas64, theirs, rtol=1e-8, atol=1e-12)
    assert after.alpha_bar(999) == 0 and after.snr()[-1] == 0
    assert after.alpha_bar(0) == pytest.approx(float(before.alpha_bar(0)))


def test_zero_terminal_snr_not_with_eps():
    schedule = zero_terminal_snr(linear())
    x, noise = batch((3, 2))
    assert torch.allclose(schedule.q_sample(x, 999, noise), noise)
    with pytest.raises(ValueError, match="predict v"):
        schedule.from_output(noise, noise, 999, "eps")
    v = schedule.target(x, 999, noise, "v")
    assert torch.allclose(schedule.from_output(v, noise, 999, "v")[1], x, atol=1e-6)


# --- errors


@pytest.mark.parametrize("T", [20, 10, 2, 1])
def test_too_few_levels(T):
    with pytest.raises(ValueError, match=r"T > 20, or cosine"):
        linear(T)


def test_21_levels_are_enough():
    assert linear(21).T == 21 and cosine(5).T == 5 and linear(20, rescale=False).T == 20


@pytest.mark.parametrize("make", [linear, cosine])
@pytest.mark.parametrize("T", [0, -3])
def test_no_levels(make, T):
    with pytest.raises(ValueError, match="at least 1"):
        make(T)


@pytest.mark.parametrize("betas", [
    [0.1, 0.0], [0.1, -0.1], [1.0, 0.1], [0.1, 1.01], [0.1, float("nan")], [], [[0.1, 0.2]],
], ids=str)  # fmt: skip
def test_betas_out_of_range(betas):
    with pytest.raises(ValueError, match="betas must"):
        Schedule(torch.tensor(betas))


def test_unscaled_betas_too_large():
    with pytest.raises(ValueError, match="smaller beta_end"):
        linear(100, beta_end=1.5, rescale=False)


def test_frozen():
    with pytest.raises(AttributeError):
        linear().name = "other"


@pytest.mark.parametrize("method", ["q_step", "q_sample", "posterior", "predict_x0", "predict_eps"])
def test_levels_are_checked(method):
    schedule, (x, noise) = linear(100), batch((2, 2))
    call = getattr(schedule, method)

    def at(t):
        return call(x, noise, t) if method == "posterior" else call(x, t, noise)

    for t in (0.5, torch.tensor([0.1, 0.9])):
        with pytest.raises(TypeError, match="integer level"):
            at(t)
    for t in (100, -2, torch.tensor([0, 100])):
        with pytest.raises(ValueError, match="levels go from"):
            at(t)
    if method not in ("q_sample", "predict_x0"):  # these two make sense at the clean level
        with pytest.raises(ValueError, match="levels go from 0"):
            at(-1)


def test_unknown_prediction():
    schedule, (x, noise) = linear(), batch((2, 2))
    with pytest.raises(ValueError, match="'epsilon'"):
        schedule.target(x, 3, noise, "epsilon")
    with pytest.raises(ValueError, match="'sample'"):
        schedule.from_output(x, x, 3, "sample")


# --- the formulas


@schedules
@pytest.mark.parametrize("shape", [(4, 2), (4, 1, 8, 8), (4, 3, 5, 7)], ids=str)
def test_shapes_and_broadcast(schedule, shape):
    """Every example of a batch gets its own level, for points and pictures alike."""
    x, noise = batch(shape)
    t = torch.tensor([0, 1, schedule.T // 2, schedule.T - 2])
    one_by_one = {
        "q_step": lambda i, t: schedule.q_step(x[i], t, noise[i]),
        "q_sample": lambda i, t: schedule.q_sample(x[i], t, noise[i]),
        "mean": lambda i, t: schedule.posterior(x[i], noise[i], t)[0],
        "x0": lambda i, t: schedule.predict_x0(x[i], t, noise[i]),
        "eps": lambda i, t: schedule.predict_eps(x[i], t, noise[i]),
        "v": lambda i, t: schedule.target(x[i], t, noise[i], "v"),
    }
    for name, call in one_by_one.items():
        together = call(slice(None), t)
        assert together.shape == shape and together.dtype == torch.float32, name
        for i in range(4):
            assert torch.equal(together[i : i + 1], call(slice(i, i + 1), int(t[i]))), name
    assert schedule.posterior(x, noise, t)[1].shape == (4, *[1] * (len(shape) - 1))


def test_inputs_are_left_alone_and_dtype_kept():
    schedule = cosine()
    for dtype in (torch.float32, torch.float64):
        x, noise = batch((3, 2), dtype=dtype)
        copies = x.clone(), noise.clone()
        values = [
            schedule.q_sample(x, 5, noise),
            schedule.q_step(x, 5, noise),
            *schedule.posterior(x, noise, 5),
        ]
        values += [*schedule.from_output(x, noise, 5, "v"), *schedule.from_output(x, noise, 5, "eps")]
        assert all(value.dtype == dtype for value in values)
        assert torch.equal(x, copies[0]) and torch.equal(noise, copies[1])


def test_add_noise_and_velocity_same_as_diffusers():
    diffusers = pytest.importorskip("diffusers")
    x, noise = batch((6, 1, 8, 8))
    t = torch.tensor([0, 1, 250, 500, 998, 999])
    for schedule, name in ((linear(), "linear"), (cosine(), "squaredcos_cap_v2")):
        theirs = diffusers.DDPMScheduler(1000, beta_schedule=name)
        for ours, other in (
            (schedule.q_sample(x, t, noise), theirs.add_noise(x, noise, t)),
            (schedule.target(x, t, noise, "v"), theirs.get_velocity(x, noise, t)),
        ):
            assert (ours - other).abs().max() / other.abs().max() < 1e-4


@schedules
def test_conversions_round_trip(schedule):
    """x0 and eps come back from x_t, from eps, v and x0 alike, at every level that keeps some signal."""
    x0, noise = batch((schedule.T, 2), dtype=torch.float64)
    t = torch.arange(schedule.T)
    x_t = schedule.q_sample(x0, t, noise)
    for prediction in ("v", "x0"):
        eps, clean = schedule.from_output(schedule.target(x0, t, noise, prediction), x_t, t, prediction)
        assert torch.allclose(eps, noise) and torch.allclose(clean, x0)
    assert torch.equal(schedule.target(x0, t, noise, "x0"), x0)
    assert torch.allclose(schedule.predict_eps(x_t, t, x0), noise)
    some = t[schedule.abar64[:-1] > 0]
    eps, clean = schedule.from_output(schedule.target(x0, t, noise, "eps")[some], x_t[some], some, "eps")
    assert torch.equal(eps, noise[some]) and torch.allclose(clean, x0[some], atol=1e-6)
    assert torch.equal(schedule.q_sample(x0, -1, noise), x0)


@pytest.mark.parametrize(
    "schedule", [linear(), cosine(), linear(100, rescale=False)], ids=["linear", "cosine", "short"]
)
def test_chain_equals_closed_form(schedule):
    """20,000 walks of single steps against one jump: mean, variance, and the whole distribution."""
    n, start = 20_000, 0.7
    g = torch.Generator().manual_seed(1)
    x = torch.full((n, 1), start, dtype=torch.float64)
    checked = {0, 1, schedule.T // 10, schedule.T // 2, schedule.T - 1}
    for t in range(schedule.T):
        x = schedule.q_step(x, t, torch.randn((n, 1), generator=g, dtype=torch.float64))
        if t not in checked:
            continue
        a = float(schedule.alpha_bar(t))
        mean, sd = math.sqrt(a) * start, math.sqrt(1 - a)
        assert abs(float(x.mean()) - mean) < 4.5 * sd / math.sqrt(n), t
        assert abs(float(x.var()) / sd**2 - 1) < 4.5 * math.sqrt(2 / n), t
        assert stats.kstest(x[:, 0].numpy(), stats.norm(mean, sd).cdf).statistic < 2.0 / math.sqrt(n), t
        jump = schedule.q_sample(torch.full((n, 1), start, dtype=torch.float64), t,
                                 torch.randn((n, 1), generator=g, dtype=torch.float64))  # fmt: skip
        assert stats.ks_2samp(x[:, 0].numpy(), jump[:, 0].numpy()).statistic < 2.0 * math.sqrt(2 / n), t


@pytest.mark.parametrize("T, t", [(50, 1), (50, 10), (50, 30), (50, 49)])
@pytest.mark.parametrize("make", [cosine, linear])
def test_posterior_by_brute_force(make, T, t):
    """Bayes on a grid: q(x_{t-1} | x_t, x_0) is proportional to q(x_t | x_{t-1}) q(x_{t-1} | x_0)."""
    schedule, x0, x_t = make(T), 0.6, -0.4
    beta, prev = float(schedule.betas64[t]), float(schedule.alpha_bar(t - 1))
    line = np.linspace(-8, 8, 400_001)
    density = stats.norm.pdf(x_t, math.sqrt(1 - beta) * line, math.sqrt(beta))
    density *= stats.norm.pdf(line, math.sqrt(prev) * x0, math.sqrt(1 - prev))
    density /= density.sum()
    mean = (density * line).sum()
    variance = (density * (line - mean) ** 2).sum()
    ours = schedule.posterior(
        torch.tensor([[x0]], dtype=torch.float64), torch.tensor([[x_t]], dtype=torch.float64), t
    )
    assert float(ours[0]) == pytest.approx(mean, rel=1e-4, abs=1e-6)
    assert float(ours[1]) == pytest.approx(variance, rel=1e-4)


@schedules
def test_posterior_at_the_first_level_is_the_clean_data(schedule):
    x0, x_t = batch((5, 2), dtype=torch.float64)
    mean, variance = schedule.posterior(x0, x_t, 0)
    assert torch.allclose(mean, x0) and (variance == 0).all()


@schedules
def test_posterior_variance_below_beta(schedule):
    x0, x_t = batch((schedule.T, 2), dtype=torch.float64)
    variance = schedule.posterior(x0, x_t, torch.arange(schedule.T))[1][:, 0]
    assert (variance >= 0).all() and (variance <= schedule.betas64 * (1 + 1e-12)).all()
