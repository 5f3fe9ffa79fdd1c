"""The training loop: it learns, it resumes, it clips, it averages, and it stops with a clear error."""

import copy
import io
import math

import pytest
import torch
from torch import nn

from data.experiments.training import min_snr_weights, put_back, take_state
from helpers.data import moons
from helpers.models import PointMLP
from helpers.schedule import cosine, linear, zero_terminal_snr
from helpers.training import (
    EMA,
    Run,
    batches,
    denoising_loss,
    drop_labels,
    learning_rate,
    train,
)

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


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_loss_of_known_networks(prediction):
    schedule, g = cosine(100), torch.Generator().manual_seed(0)
    x0, noise, t = torch.randn(64, 2, generator=g), torch.randn(64, 2, generator=g), torch.arange(64) + 1

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
    x0, noise, t = torch.randn(4, 1, 3, 3), torch.randn(4, 1, 3, 3), torch.tensor([1, 5, 50, 100])

    def model(x, t):
        seen.update(x=x, t=t)
        return x

    with pytest.raises(TypeError, match="does not say what it predicts"):
        denoising_loss(model, schedule, x0, t, noise)
    model.prediction = "eps"
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


def test_levels_are_drawn_from_1_to_T():
    """Both ends are trained, level 0 never: the clean data has no noise to find."""
    drawn = torch.cat([s.t for s in train(Run(small()), cosine(10), POINTS, 100, 64)])
    assert torch.bincount(drawn, minlength=11)[0] == 0 and drawn.min() == 1 and drawn.max() == 10
    counts = torch.bincount(drawn, minlength=11)[1:]
    assert ((counts - 640).abs() < 5 * 640**0.5).all(), "each level as often as the others"


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
            torch.save(take_state(part), file)
            break
    file.seek(0)
    resumed = Run(small(seed=9), seed=9)
    put_back(resumed, torch.load(file, weights_only=True))
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


def test_precision_is_a_setting():
    """The same seed gives the same network, whatever else the machine does: no clock decides anything."""
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        runs.append(Run(small()))
        for _ in train(runs[-1], cosine(100), POINTS, 10, 32, bf16=True):
            pass
    assert torch.equal(weights(runs[0].model), weights(runs[1].model))


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


# --- labels


class Witness(nn.Module):
    """Notes what it is given; learns one number."""

    prediction = "eps"

    def __init__(self, classes=5):
        super().__init__()
        self.w, self.classes, self.seen = nn.Parameter(torch.zeros(1)), classes, []

    def forward(self, x, t, *y):
        self.seen.append((x, t, *y))
        return self.w * x


def watched(steps=20, batch_size=100, **options):
    model = Witness()
    for _ in train(Run(model), linear(), POINTS, steps, batch_size, **options):
        pass
    return model.seen


def test_labels_go_with_their_points():
    """Data whose value says its label: every pair arrives together."""
    y = torch.arange(len(POINTS)) % 5
    data, model = y[:, None].float().expand(-1, 2) * 1000, Witness()
    for _ in train(Run(model), linear(), data, 10, 100, labels=y, drop=0.0):
        pass
    for x, t, labels in model.seen:
        signal = linear().exact(t).sqrt() * labels * 1000
        assert torch.allclose(x.mean(1).double(), signal, atol=5) and labels.dtype == torch.int64
    assert {int(label) for *_, labels in model.seen for label in labels} == set(range(5))


@pytest.mark.parametrize("drop", [0.0, 0.1, 0.5, 1.0])
def test_share_of_labels_dropped(drop):
    """Within four standard deviations of the share asked for; 0 drops none and 1 all."""
    y = torch.arange(len(POINTS)) % 5
    given = torch.cat([labels for *_, labels in watched(labels=y, drop=drop)])
    share = float((given == 5).float().mean())
    assert abs(share - drop) <= 4 * math.sqrt(drop * (1 - drop) / len(given))
    assert int(given.max()) <= 5


def test_drop_is_a_tenth_when_not_said():
    y = torch.arange(len(POINTS)) % 5
    found, said = watched(labels=y), watched(labels=y, drop=0.1)
    assert all(torch.equal(a[2], b[2]) for a, b in zip(found, said, strict=True))


def test_dropped_at_random_among_examples():
    """drop_labels by hand: a label goes where its draw lies below the share; the input stays."""
    y, g = torch.arange(1000) % 5, torch.Generator().manual_seed(3)
    before = y.clone()
    found = drop_labels(y, 0.3, 9, g)
    gone = torch.rand(1000, generator=torch.Generator().manual_seed(3)) < 0.3
    assert torch.equal(found, torch.where(gone, 9, before)) and torch.equal(y, before)


def test_without_labels_nothing_is_drawn_for_them():
    """labels=None leaves the stream of draws, and the call model(x, t), as they always were."""
    plain, g, schedule = watched(steps=3), torch.Generator().manual_seed(0), linear()
    for seen in plain:
        pick = torch.randint(len(POINTS), (100,), generator=g)
        t = torch.randint(1, 1001, (100,), generator=g)
        noise = torch.randn(100, 2, generator=g)
        assert len(seen) == 2 and torch.equal(seen[1], t)
        assert torch.equal(seen[0], schedule.q_sample(POINTS[pick], t, noise))
    first = watched(steps=1, labels=torch.zeros(len(POINTS), dtype=torch.long))[0]
    assert torch.equal(first[0], plain[0][0]), "labels are drawn after the rest of a step"


def test_labels_are_learnt():
    """Two far points, a label each: told it, the network knows which; untold, it guesses the mean."""
    y = torch.arange(500) % 2
    points = torch.where(y[:, None] == 0, torch.tensor([1.0, 1.0]), torch.tensor([-1.0, -1.0]))
    run = Run(small(classes=2, prediction="x0"), lr=1e-2)
    for _ in train(run, cosine(100), points, 300, 64, labels=y, drop=0.2):
        pass
    x, t = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)), torch.full((200,), 100)
    with torch.no_grad():
        ends = [run.model(x, t, torch.full((200,), label)).mean() for label in (0, 1, 2)]
    assert ends[0] > 0.7 and ends[1] < -0.7 and abs(ends[2]) < 0.5


def test_resumed_with_labels_equals_uninterrupted():
    y, schedule = torch.arange(len(POINTS)) % 3, cosine(100)
    whole, part = Run(small(classes=3)), Run(small(classes=3))
    options = dict(labels=y, drop=0.3, weights=torch.linspace(0.5, 1.5, 101))
    for _ in train(whole, schedule, POINTS, 20, 16, **options):
        pass
    for step in train(part, schedule, POINTS, 20, 16, **options):
        if step.step == 7:
            break
    resumed = Run(small(seed=9, classes=3), seed=9)
    put_back(resumed, copy.deepcopy(take_state(part)))
    for _ in train(resumed, schedule, POINTS, 20, 16, **options):
        pass
    assert torch.equal(weights(resumed.model), weights(whole.model))
    state, other = (run.optimizer.state_dict()["state"] for run in (whole, resumed))
    assert all(torch.equal(state[k][n], other[k][n]) for k in state for n in state[k])
    assert not torch.equal(weights(part.model), weights(whole.model))


# --- weights


def test_weights_by_level():
    """The loss is the mean of weight * loss; Step.losses stay what they were; all ones change nothing."""
    w = torch.linspace(0.1, 3.0, 101)
    runs = [Run(small()) for _ in range(3)]
    every = zip(runs, (None, torch.ones(101), w), strict=True)
    plain, ones, weighted = [next(train(run, cosine(100), POINTS, 5, 64, weights=w)) for run, w in every]
    assert torch.equal(plain.losses, weighted.losses) and torch.equal(plain.t, weighted.t)
    assert plain.loss == pytest.approx(float(plain.losses.mean()), rel=1e-6) == ones.loss
    assert weighted.loss == pytest.approx(float((w[weighted.t] * weighted.losses).mean()), rel=1e-5)
    assert abs(weighted.loss - plain.loss) > 0.01
    assert torch.equal(weights(runs[0].model), weights(runs[1].model))


def test_weight_zero_teaches_nothing():
    """Levels of weight 0 have no say in the gradient."""
    schedule, w = cosine(100), torch.zeros(101)
    run = Run(small(), weight_decay=0.0)
    before = weights(run.model).clone()
    next(train(run, schedule, POINTS, 5, 64, weights=w))
    assert torch.equal(weights(run.model), before)
    w[:51] = 1.0
    low, g = Run(small()), torch.Generator().manual_seed(0)
    next(train(low, schedule, POINTS, 5, 64, weights=w))
    by_hand = small()
    pick, t = torch.randint(len(POINTS), (64,), generator=g), torch.randint(1, 101, (64,), generator=g)
    losses = denoising_loss(by_hand, schedule, POINTS[pick], t, torch.randn(64, 2, generator=g))
    (losses * (t <= 50)).mean().backward()
    nn.utils.clip_grad_norm_(by_hand.parameters(), 1.0)
    for p, q in zip(low.model.parameters(), by_hand.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, atol=1e-7)


@pytest.mark.parametrize(
    "given", [torch.ones(100), torch.ones(102), torch.tensor(2.0)], ids=["T", "T+2", "one"]
)
def test_weights_of_another_length(given):
    with pytest.raises(ValueError, match=r"each level 0 \.\. 100"):
        next(train(Run(small()), cosine(100), POINTS, 5, 64, weights=given))


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_min_snr_weights(prediction):
    """The same loss in every unit: weight x (error in that unit) = min(SNR, gamma) x (error of x_0)."""
    schedule, g = linear(), torch.Generator().manual_seed(0)
    w = min_snr_weights(schedule, prediction, gamma=5.0)
    assert w.shape == (1001,) and w.dtype == torch.float32 and w[0] == 0 and (w[1:] > 0).all()
    t = torch.tensor([1, 30, 200, 600, 1000])
    x0, wrong, noise = (torch.randn(5, 2, generator=g, dtype=torch.float64) for _ in range(3))
    x_t = schedule.q_sample(x0, t, noise)
    units = dict(eps=noise - schedule.predict_eps(x_t, t, wrong), x0=x0 - wrong)
    units["v"] = schedule.target(x0, t, noise, "v") - schedule.target(
        wrong, t, schedule.predict_eps(x_t, t, wrong), "v"
    )
    weighted = w[t].double() * units[prediction].square().mean(1)
    snr = schedule.snr[t].double()
    assert torch.allclose(weighted, snr.clamp(max=5) * units["x0"].square().mean(1), rtol=1e-4)


def test_min_snr_weights_refuse():
    with pytest.raises(ValueError, match="'score'"):
        min_snr_weights(linear(), "score")
    with pytest.raises(ValueError, match="at SNR 0"):
        min_snr_weights(zero_terminal_snr(linear()), "eps")
    assert min_snr_weights(zero_terminal_snr(linear()), "v")[-1] == 0


# --- the optimiser


def test_fused_adamw_is_adamw():
    """The fused update is the plain one but for rounding."""
    fused, plain = Run(small()), Run(small())
    assert fused.optimizer.defaults["fused"]
    plain.optimizer = torch.optim.AdamW(plain.model.parameters(), lr=1e-3, weight_decay=0.01, foreach=False)
    for run in (fused, plain):
        for _ in train(run, cosine(100), POINTS, 30, 32):
            pass
    assert torch.allclose(weights(fused.model), weights(plain.model), atol=1e-5)


def test_a_state_saved_before_the_fused_optimiser_goes_on():
    """A resume file of plain AdamW, with its options in it, continues to the same end."""
    whole, old = Run(small()), Run(small())
    for run in (whole, old):
        run.optimizer = torch.optim.AdamW(run.model.parameters(), lr=1e-3, weight_decay=0.01)
    for _ in train(whole, cosine(100), POINTS, 20, 16):
        pass
    for step in train(old, cosine(100), POINTS, 20, 16):
        if step.step == 8:
            break
    file = io.BytesIO()
    torch.save(take_state(old), file)
    file.seek(0)
    resumed = Run(small(seed=9), seed=9)
    put_back(resumed, torch.load(file, weights_only=True))
    for _ in train(resumed, cosine(100), POINTS, 20, 16):
        pass
    assert torch.allclose(weights(resumed.model), weights(whole.model), atol=1e-6)


# --- a loss of one's own


def test_train_takes_another_loss():
    """It gets the batch that denoising_loss would get; its mean is the step's loss, weighted or not."""
    seen, schedule = [], cosine(100)

    def double(model, schedule, x0, t, noise, y=None):
        seen.append((x0, t, noise, y))
        return 2 * denoising_loss(model, schedule, x0, t, noise, y)

    every = ({}, dict(loss=double))
    plain, twice = (next(train(Run(small()), schedule, POINTS, 5, 16, **more)) for more in every)
    assert twice.loss == pytest.approx(2 * plain.loss) and torch.allclose(twice.losses, 2 * plain.losses)
    (x0, t, noise, y), drawn = seen[0], next(batches(POINTS, schedule.T, 1, 16))
    assert all(torch.equal(a, b) for a, b in zip((x0, t, noise), drawn, strict=True)) and y is None
    halves = torch.full((101,), 0.5)
    half = next(train(Run(small()), schedule, POINTS, 5, 16, weights=halves, loss=double))
    assert half.loss == pytest.approx(plain.loss)


def test_a_loss_that_breaks_down_is_reported():
    def broken(model, schedule, x0, t, noise, y=None):
        return denoising_loss(model, schedule, x0, t, noise) * float("nan")

    with pytest.raises(FloatingPointError, match="the loss is nan at step 0"):
        next(train(Run(small()), cosine(100), POINTS, 5, 16, loss=broken))


# --- batches for a training step of one's own


def test_batches_are_those_of_train():
    """Twenty losses by hand, with the draws of `batches`, are those of `train`."""
    schedule, by_hand = cosine(100), Run(small())
    theirs = [s.loss for s in train(Run(small(), seed=4), schedule, POINTS, 20, 16)]
    losses, model = [], by_hand.model.train()
    for i, (x0, t, noise) in enumerate(batches(POINTS, schedule.T, 20, 16, seed=4)):
        by_hand.optimizer.param_groups[0]["lr"] = learning_rate(i, 20, by_hand.lr)
        loss = denoising_loss(model, schedule, x0, t, noise).mean()
        by_hand.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        by_hand.optimizer.step()
        losses.append(loss.item())
    assert losses == theirs


def test_batches_by_hand():
    """The examples, then the levels, then the noise, from one generator."""
    g, pictures = (
        torch.Generator().manual_seed(7),
        torch.arange(10.0)[:, None, None, None].expand(10, 1, 3, 2),
    )
    found = list(batches(pictures, 50, 3, 4, seed=7))
    assert len(found) == 3
    for x0, t, noise in found:
        assert torch.equal(x0, pictures[torch.randint(10, (4,), generator=g)])
        assert torch.equal(t, torch.randint(1, 51, (4,), generator=g)) and t.dtype == torch.int64
        assert torch.equal(noise, torch.randn(4, 1, 3, 2, generator=g))
    first = next(batches(POINTS, 10, 1))
    assert len(first[0]) == 128 and torch.equal(first[2], next(batches(POINTS, 10, 1, seed=0))[2])
