"""The training loop: it learns, it resumes, it clips, it averages, and it stops with a clear error."""

import copy
import io
import math

import pytest
import torch
from torch import nn

from helpers.data import moons
from helpers.models import PointMLP
from helpers.schedule import cosine, linear, zero_terminal_snr
from helpers.training import EMA, Run, bf16_is_faster, denoising_loss, learning_rate, train

pytestmark = pytest.mark.usefixtures("one_thread")


def small(seed=0, **options):
    torch.manual_seed(seed)
    return PointMLP(width=32, depth=1, features=2, time_dim=8, **options)


POINTS = moons(500)[0]


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


class Affine(nn.Module):
    """One parameter, one buffer: enough to follow the average by hand."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x, t):
        return self.w * x


# --- EMA


def test_ema_by_hand():
    """keep = min(decay, (1 + n) / (10 + n)): warm-up first, then the decay."""
    model = Affine()
    ema = EMA(model, decay=0.5)
    expected = 0.0
    for n in range(20):
        model.w.data.fill_(n + 1.0)
        ema.update(model)
        keep = min(0.5, (1 + n) / (10 + n))
        expected = keep * expected + (1 - keep) * (n + 1.0)
        assert float(ema.model.w) == pytest.approx(expected, rel=1e-5)
    assert ema.updates == 20


def test_ema_forgets_the_first_weights():
    model = Affine()
    model.w.data.fill_(100.0)
    ema = EMA(model, decay=0.999)
    model.w.data.fill_(1.0)
    for _ in range(100):
        ema.update(model)
    assert float(ema.model.w) == pytest.approx(1.0, abs=1e-3)
    slow = 100 * 0.999**100 + 1 - 0.999**100
    assert slow > 90, "without the warm-up the start would still rule"


def test_ema_averages_parameters_only():
    model = Affine()
    ema = EMA(model)
    model.w.data.fill_(1.0), model.seen.fill_(7.0)
    ema.update(model)
    assert 0 < float(ema.model.w) < 1 and float(ema.model.seen) == 7.0
    assert not ema.model.training and not ema.model.w.requires_grad and model.w.requires_grad


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2])
def test_ema_decay_range(decay):
    with pytest.raises(ValueError, match="share in"):
        EMA(Affine(), decay)


# --- the loss


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_loss_of_known_networks(prediction):
    schedule, g = cosine(100), torch.Generator().manual_seed(0)
    x0, noise, t = torch.randn(64, 2, generator=g), torch.randn(64, 2, generator=g), torch.arange(64)

    class Nothing:
        def __call__(self, x, t):
            return torch.zeros_like(x)

    nothing = Nothing()
    nothing.prediction = prediction
    loss = denoising_loss(nothing, schedule, x0, t, noise)
    assert loss.shape == (64,)
    assert torch.allclose(loss, schedule.target(x0, t, noise, prediction).square().mean(1))

    def knows(x, t):
        return schedule.target(x0, t, noise, prediction)

    knows.prediction = prediction
    assert (denoising_loss(knows, schedule, x0, t, noise) == 0).all()


def test_loss_shows_the_network_the_noised_data():
    schedule, seen = linear(100), {}
    x0, noise, t = torch.randn(4, 1, 3, 3), torch.randn(4, 1, 3, 3), torch.tensor([0, 5, 50, 99])

    def model(x, t):
        seen.update(x=x, t=t)
        return x

    denoising_loss(model, schedule, x0, t, noise)
    assert torch.equal(seen["x"], schedule.q_sample(x0, t, noise)) and torch.equal(seen["t"], t)


# --- the loop


def test_it_learns():
    run = Run(small(), lr=5e-3)
    steps = list(train(run, cosine(100), POINTS, 300, 64))
    assert [s.step for s in steps] == list(range(1, 301)) and run.step == 300
    first, end = (sum(s.loss for s in part) / 50 for part in (steps[:50], steps[-50:]))
    assert end < 0.75 * first
    assert steps[0].losses.shape == steps[0].t.shape == (64,) and not steps[0].losses.requires_grad
    assert steps[0].loss == pytest.approx(float(steps[0].losses.mean()), rel=1e-5)
    assert min(int(s.t.min()) for s in steps) == 0 and max(int(s.t.max()) for s in steps) == 99


def test_one_seed_one_training():
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(results))  # the global generator has no say
        run = Run(small(3), seed=seed)
        results.append([s.loss for s in train(run, cosine(100), POINTS, 5, 16)])
    assert results[0] == results[1] != results[2]


def test_resumed_equals_uninterrupted():
    schedule = cosine(100)
    whole = Run(small())
    for _ in train(whole, schedule, POINTS, 30, 16):
        pass
    part, file = Run(small()), io.BytesIO()
    for step in train(part, schedule, POINTS, 30, 16):
        if step.step == 13:
            torch.save(part.state_dict(), file)
            break
    file.seek(0)
    resumed = Run(small(seed=9), seed=9)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert [s.step for s in train(resumed, schedule, POINTS, 30, 16)] == list(range(14, 31))
    assert torch.equal(weights(resumed.model), weights(whole.model))
    assert torch.equal(weights(resumed.ema.model), weights(whole.ema.model))
    assert not torch.equal(weights(part.model), weights(whole.model))


def test_lazy_and_finished():
    run = Run(small())
    walk = train(run, linear(), POINTS, 100, 16)
    assert run.step == 0
    next(walk), next(walk)
    assert run.step == 2
    walk.close()
    assert run.step == 2 and run.ema.updates == 2
    assert list(train(run, linear(), POINTS, 2, 16)) == []


def test_gradient_is_clipped(monkeypatch):
    """Huge data, huge gradient: its norm as the optimiser meets it is at most `clip`."""
    run, norms = Run(small()), []
    real = run.optimizer.step

    def step(*args):
        norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in run.model.parameters())))
        return real(*args)

    monkeypatch.setattr(run.optimizer, "step", step)
    for _ in train(run, linear(), 1e3 * POINTS, 3, 16, clip=0.5):
        pass
    assert norms == pytest.approx([0.5] * 3, rel=1e-3)
    norms.clear()
    for _ in train(Run(small()), linear(), POINTS, 1, 16):
        pass
    assert norms == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number(bad):
    run = Run(small())
    before = weights(run.model).clone()
    with pytest.raises(FloatingPointError, match="step 0.*learning rate"):
        next(train(run, linear(), torch.full((10, 2), bad), 5, 16))
    assert torch.equal(weights(run.model), before) and run.step == 0


def test_learning_rate():
    rates = [learning_rate(s, 1000, 2.0) for s in range(1000)]
    assert rates[0] == pytest.approx(2 / 101) and rates[100:600] == [2.0] * 500
    assert max(abs(b - a) for a, b in zip(rates, rates[1:], strict=False)) < 0.021
    assert rates[-1] == pytest.approx(2 / 400) and min(rates) > 0
    assert all(0 < learning_rate(s, n, 1.0) <= 1 for n in (1, 2, 3, 11) for s in range(n))


def test_the_optimiser_gets_the_rate():
    run = Run(small(), lr=1e-2)
    for step in train(run, linear(), POINTS, 20, 16):
        assert run.optimizer.param_groups[0]["lr"] == step.lr == learning_rate(step.step - 1, 20, 1e-2)


def test_bfloat16_on_the_cpu():
    run = Run(small())
    steps = list(train(run, cosine(100), POINTS, 10, 32, bf16=True))
    assert all(math.isfinite(s.loss) for s in steps)
    assert all(p.dtype == torch.float32 for p in run.model.parameters())
    assert steps[0].losses.dtype == torch.float32


def test_bf16_probe():
    model = small()
    before = weights(model).clone()
    answer = bf16_is_faster(model, POINTS[:32], torch.zeros(32, dtype=torch.long))
    assert isinstance(answer, bool)
    assert torch.equal(weights(model), before) and all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("faster", [True, False])
def test_bf16_probe_believes_the_clock(monkeypatch, faster):
    """The answer follows the seconds measured: autocast made quick or slow by a clock of our own."""
    from helpers import training

    clock = {"now": 0.0}

    def model(x):
        quick = torch.is_autocast_enabled("cpu") == faster
        clock["now"] += 1.0 if quick else 2.0
        return lin(x)

    lin = nn.Linear(2, 2)
    model.zero_grad = lin.zero_grad
    monkeypatch.setattr(training.time, "perf_counter", lambda: clock["now"])
    assert bf16_is_faster(model, POINTS[:8]) is faster


def test_v_with_zero_terminal_snr_trains():
    run = Run(small(prediction="v"))
    assert all(math.isfinite(s.loss) for s in train(run, zero_terminal_snr(linear(50)), POINTS, 20, 64))


def test_the_data_and_the_model_given_are_used_as_they_are():
    model, data = small(), POINTS.clone()
    run = Run(model)
    frozen = copy.deepcopy(model)
    for _ in train(run, linear(), data, 3, 16):
        pass
    assert run.model is model and torch.equal(data, POINTS)
    assert not torch.equal(weights(model), weights(frozen))
