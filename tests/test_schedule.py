"""Schedules and their formulas: against diffusers, against brute force, against the chain itself."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from helpers.schedule import Schedule, at, cosine, linear, prediction_of, sigmoid, zero_terminal_snr

EVERY = {
    "linear": linear(),
    "linear 200": linear(200),
    "linear 100, not rescaled": linear(100, rescale=False),
    "cosine": cosine(),
    "cosine 50": cosine(50),
    "sigmoid": sigmoid(),
    "zero terminal": zero_terminal_snr(linear()),
}
schedules = pytest.mark.parametrize("schedule", EVERY.values(), ids=EVERY.keys())


def batch(shape, seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=dtype), torch.randn(shape, generator=g, dtype=dtype)


def beta64(schedule):
    """beta_0 .. beta_T in float64, from what the schedule says of alpha_bar."""
    a = schedule.exact(torch.arange(schedule.T + 1))
    return [0.0, *(1 - a[1:] / a[:-1]).tolist()]


# --- the schedules themselves


@schedules
def test_definitions(schedule):
    """Every array has T + 1 entries, and entry t is the symbol with index t."""
    arrays = (schedule.betas, schedule.alphas, schedule.alpha_bar, schedule.snr)
    assert all(a.dtype == torch.float32 and a.shape == (schedule.T + 1,) for a in arrays)
    product, running = 1.0, []
    for beta in beta64(schedule):
        product *= 1 - beta
        running.append(product)
    a = torch.tensor(running, dtype=torch.float64)
    assert torch.allclose(schedule.exact(torch.arange(schedule.T + 1)), a, rtol=1e-12)
    assert torch.allclose(schedule.alpha_bar.double(), a, rtol=1e-6)
    assert torch.allclose(schedule.betas + schedule.alphas, torch.ones(schedule.T + 1))
    assert torch.allclose(schedule.snr[1:].double(), (a / (1 - a))[1:], rtol=1e-5)
    assert (schedule.alpha_bar.diff() < 0).all()


@schedules
def test_level_0_is_the_clean_data(schedule):
    assert schedule.betas[0] == 0 and schedule.alphas[0] == schedule.alpha_bar[0] == 1
    assert schedule.snr[0] == float("inf") and torch.isfinite(schedule.snr[1:]).all()
    assert schedule.exact(0) == 1 and schedule.exact(0).dtype == torch.float64
    levels = schedule.exact(torch.tensor([[0, 1], [2, schedule.T]]))
    assert levels.shape == (2, 2) and float(levels[0, 1]) == pytest.approx(1 - beta64(schedule)[1])
    x0, noise = batch((3, 2))
    assert torch.equal(schedule.q_sample(x0, 0, noise), x0)


def test_float64_inside():
    """A float32 cumulative product is off by more than this at the end of the cosine schedule."""
    assert float(cosine().exact(1000)) == pytest.approx(math.prod(1 - b for b in beta64(cosine())), rel=1e-12)


def test_same_as_diffusers():
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    assert torch.allclose(linear().betas[1:], theirs.betas, rtol=1e-5)
    assert torch.allclose(linear().alpha_bar[1:], theirs.alphas_cumprod, rtol=1e-4)
    theirs = diffusers.DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")
    assert torch.allclose(cosine().betas[1:], theirs.betas, rtol=1e-5)
    assert torch.allclose(cosine().alpha_bar[1:], theirs.alphas_cumprod, rtol=1e-4)


def test_rescaled_linear_ends_in_the_same_noise():
    ends = [float(linear(T).exact(T).sqrt()) for T in (100, 200, 300, 1000)]
    assert ends[-1] == pytest.approx(0.0063, abs=1e-4) and max(ends) < 0.0064


def test_unscaled_linear_keeps_signal():
    """The figures of the course's second question: how much signal x_T keeps where betas were not scaled."""
    ends = [float(linear(T, rescale=False).exact(T).sqrt()) for T in (100, 200, 300, 1000)]
    assert ends == pytest.approx([0.60, 0.36, 0.22, 0.006], abs=0.005)


def test_cosine_follows_its_curve():
    u = torch.arange(1, 901, dtype=torch.float64) / 1000
    f = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert torch.allclose(cosine().exact(torch.arange(1, 901)), f, rtol=1e-10)
    assert cosine().betas.max() == pytest.approx(0.999)
    assert 1 / float(cosine().exact(1000).sqrt()) == pytest.approx(20_000, rel=0.05)


@pytest.mark.parametrize("before", [linear(), cosine()], ids=["linear", "cosine"])
def test_zero_terminal_snr_same_as_diffusers(before):
    pytest.importorskip("diffusers")
    from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

    after = zero_terminal_snr(before)
    theirs = rescale_zero_terminal_snr(torch.tensor(beta64(before)[1:], dtype=torch.float64))
    ours = torch.tensor(beta64(after)[1:], dtype=torch.float64)
    assert torch.allclose(ours, theirs, rtol=1e-8, atol=1e-12)
    assert after.exact(1000) == 0 and after.snr[-1] == 0
    assert after.exact(1) == pytest.approx(float(before.exact(1))), "level 1 stays as it is"


def test_zero_terminal_snr_not_with_eps():
    schedule = zero_terminal_snr(linear())
    x, noise = batch((3, 2))
    assert torch.allclose(schedule.q_sample(x, 1000, noise), noise)
    with pytest.raises(ValueError, match="predict v"):
        schedule.from_output(noise, noise, 1000, "eps")
    v = schedule.target(x, 1000, noise, "v")
    assert torch.allclose(schedule.from_output(v, noise, 1000, "v")[1], x, atol=1e-6)


# --- errors


@pytest.mark.parametrize("T", [20, 10, 2, 1])
def test_too_few_levels(T):
    with pytest.raises(ValueError, match=r"T > 20, or cosine"):
        linear(T)


def test_21_levels_are_enough():
    assert linear(21).T == 21 and cosine(5).T == 5 and linear(20, rescale=False).T == 20


@pytest.mark.parametrize("make", [linear, cosine, sigmoid])
@pytest.mark.parametrize("T", [0, -3])
def test_no_levels(make, T):
    with pytest.raises(ValueError, match="at least 1"):
        make(T)


WRONG = [[0.1, 0.0], [0.1, -0.1], [1.0, 0.1], [0.1, 1.01], [0.1, float("nan")]]


@pytest.mark.parametrize("betas", [*([0.0, *betas] for betas in WRONG), [], [0.0], [[0.0, 0.2]]], ids=str)
def test_betas_out_of_range(betas):
    with pytest.raises(ValueError, match=r"betas(\[1:\])? must"):
        Schedule(torch.tensor(betas))


@pytest.mark.parametrize("betas", [[0.1, 0.2], [1e-4, 0.02], [-0.1, 0.2], [float("nan"), 0.1]], ids=str)
def test_betas_begin_with_0(betas):
    """Betas as most tutorials write them, without level 0, are refused, and the error says what to do."""
    with pytest.raises(ValueError, match=r"betas\[0\] must be 0.*torch.cat"):
        Schedule(torch.tensor(betas))
    assert Schedule(torch.tensor([0, 0.1, 0.2])).T == 2


def test_unscaled_betas_too_large():
    with pytest.raises(ValueError, match="smaller beta_end"):
        linear(100, beta_end=1.5, rescale=False)


@pytest.mark.parametrize("name", ["T", "betas", "alphas", "alpha_bar", "snr"])
def test_arrays_stay_as_they_are(name):
    schedule = linear(100)
    with pytest.raises(AttributeError):
        setattr(schedule, name, 3)
    if name != "T":
        getattr(schedule, name).zero_()
        assert getattr(schedule, name).any(), "what is handed out is a copy"


@pytest.mark.parametrize("method", ["q_step", "q_sample", "posterior", "predict_x0", "predict_eps"])
def test_levels_are_checked(method):
    schedule, (x, noise) = linear(100), batch((2, 2))
    call = getattr(schedule, method)

    def call_at(t):
        return call(x, noise, t) if method == "posterior" else call(x, t, noise)

    for t in (0.5, torch.tensor([0.1, 0.9])):
        with pytest.raises(TypeError, match="whole levels"):
            call_at(t)
    for t in (101, -1, torch.tensor([1, 101])):
        with pytest.raises(ValueError, match="levels go from"):
            call_at(t)
    if method not in ("q_sample", "predict_x0"):  # these two make sense at the clean level
        with pytest.raises(ValueError, match="levels go from 1"):
            call_at(0)


def test_at_gives_the_value_shaped_typed_and_placed():
    a = cosine(100).alpha_bar
    for shape in ((4,), (4, 2), (4, 1, 8, 8)):
        for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            x, t = torch.zeros(shape, dtype=dtype), torch.tensor([0, 1, 50, 100])
            value = at(a, t, x)
            assert value.shape == (4, *(1 for _ in shape[1:])) and value.dtype == dtype
            assert torch.equal(value.flatten(), a[t].to(dtype))
            assert at(a, 7, x).shape == tuple(1 for _ in shape) and float(at(a, 0, x).sum()) == 1
    meta = at(a, torch.tensor([1, 2]), torch.zeros(2, 3, device="meta"))
    assert meta.device.type == "meta" and meta.shape == (2, 1), "it follows x to another device"
    assert torch.equal(at(a, torch.tensor([3]), torch.zeros(5, 2)), a[3].reshape(1, 1))


def test_at_refuses_what_indexing_would_let_through():
    a, x = cosine(100).alpha_bar, torch.zeros(3, 2)
    for t in (-1, 101, torch.tensor([0, 5, -1])):
        with pytest.raises(ValueError, match=r"levels go from 0 to 100"):
            at(a, t, x)
    for t in (0.5, torch.tensor([0.1, 0.2, 0.3]), torch.tensor([True, False, True])):
        with pytest.raises(TypeError, match="whole levels"):
            at(a, t, x)
    for t in (torch.tensor([1, 2]), torch.tensor([[1, 2, 3]])):
        with pytest.raises(ValueError, match="one for each of the 3 examples"):
            at(a, t, x)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_at_on_a_gpu():
    x, t = torch.zeros(2, 3, device="cuda"), torch.tensor([1, 2], device="cuda")
    assert at(cosine().alpha_bar, t, x).device == x.device


def test_prediction_is_never_guessed():
    class Wrapper:
        pass

    with pytest.raises(TypeError, match="Wrapper does not say what it predicts"):
        prediction_of(Wrapper())
    Wrapper.prediction = "noise"
    with pytest.raises(ValueError, match="'noise'"):
        prediction_of(Wrapper())


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
    t = torch.tensor([1, 2, schedule.T // 2, schedule.T - 1])
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
    assert schedule.posterior(x, noise, t)[1].shape == (4, *(1 for _ in shape[1:]))


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
    t = torch.tensor([1, 2, 251, 501, 999, 1000])  # theirs are one less
    for schedule, name in ((linear(), "linear"), (cosine(), "squaredcos_cap_v2")):
        theirs = diffusers.DDPMScheduler(1000, beta_schedule=name)
        for ours, other in (
            (schedule.q_sample(x, t, noise), theirs.add_noise(x, noise, t - 1)),
            (schedule.target(x, t, noise, "v"), theirs.get_velocity(x, noise, t - 1)),
        ):
            assert (ours - other).abs().max() / other.abs().max() < 1e-4


@schedules
def test_conversions_round_trip(schedule):
    """x0 and eps come back from x_t, from eps, v and x0 alike, at every level that keeps some signal."""
    x0, noise = batch((schedule.T, 2), dtype=torch.float64)
    t = torch.arange(1, schedule.T + 1)
    x_t = schedule.q_sample(x0, t, noise)
    for prediction in ("v", "x0"):
        eps, clean = schedule.from_output(schedule.target(x0, t, noise, prediction), x_t, t, prediction)
        assert torch.allclose(eps, noise) and torch.allclose(clean, x0)
    assert torch.equal(schedule.target(x0, t, noise, "x0"), x0)
    assert torch.allclose(schedule.predict_eps(x_t, t, x0), noise)
    some = schedule.exact(t) > 0
    eps, clean = schedule.from_output(noise[some], x_t[some], t[some], "eps")
    assert torch.equal(eps, noise[some]) and torch.allclose(clean, x0[some], atol=1e-6)


@pytest.mark.parametrize(
    "schedule", [linear(), cosine(), linear(100, rescale=False)], ids=["linear", "cosine", "short"]
)
def test_chain_equals_closed_form(schedule):
    """20,000 walks of single steps against one jump: mean, variance, and the whole distribution."""
    n, start = 20_000, 0.7
    g = torch.Generator().manual_seed(1)
    x = torch.full((n, 1), start, dtype=torch.float64)
    checked = {1, 2, schedule.T // 10, schedule.T // 2, schedule.T}
    for t in range(1, schedule.T + 1):
        x = schedule.q_step(x, t, torch.randn((n, 1), generator=g, dtype=torch.float64))
        if t not in checked:
            continue
        a = float(schedule.exact(t))
        mean, sd = math.sqrt(a) * start, math.sqrt(1 - a)
        assert abs(float(x.mean()) - mean) < 4.5 * sd / math.sqrt(n), t
        assert abs(float(x.var()) / sd**2 - 1) < 4.5 * math.sqrt(2 / n), t
        assert stats.kstest(x[:, 0].numpy(), stats.norm(mean, sd).cdf).statistic < 2.0 / math.sqrt(n), t
        noise = torch.randn((n, 1), generator=g, dtype=torch.float64)
        jump = schedule.q_sample(torch.full((n, 1), start, dtype=torch.float64), t, noise)
        assert stats.ks_2samp(x[:, 0].numpy(), jump[:, 0].numpy()).statistic < 2.0 * math.sqrt(2 / n), t


@pytest.mark.parametrize("T, t", [(50, 2), (50, 11), (50, 31), (50, 50)])
@pytest.mark.parametrize("make", [cosine, linear])
def test_posterior_by_brute_force(make, T, t):
    """Bayes on a grid: q(x_{t-1} | x_t, x_0) is proportional to q(x_t | x_{t-1}) q(x_{t-1} | x_0)."""
    schedule, x0, x_t = make(T), 0.6, -0.4
    beta, prev = beta64(schedule)[t], float(schedule.exact(t - 1))
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
    mean, variance = schedule.posterior(x0, x_t, 1)
    assert torch.allclose(mean, x0) and (variance == 0).all()


@schedules
def test_posterior_variance_below_beta(schedule):
    x0, x_t = batch((schedule.T, 2), dtype=torch.float64)
    variance = schedule.posterior(x0, x_t, torch.arange(1, schedule.T + 1))[1][:, 0]
    assert (variance >= 0).all() and (variance <= schedule.betas[1:] * (1 + 1e-6)).all()
