"""helpers/flow.py against known answers (scipy, diffusers, DDIM), and the experiments of notebook 09."""

import math

import numpy as np
import pytest
import torch

from data.experiments import straight as experiment
from data.experiments.runner import Work
from helpers.flow import StraightPath, euler, heun, logit_normal, midpoint, straight
from helpers.models import PointMLP
from helpers.sampling import ancestral, ddim, dpm_solver, last, reverse
from helpers.schedule import Schedule, cosine, linear
from helpers.training import Run, denoising_loss, train

pytestmark = pytest.mark.usefixtures("one_thread")
MEANS, STD, SHARES = torch.tensor([-1.0, 0.7]).double(), 0.3, torch.tensor([0.4, 0.6]).double()


class Mixture:
    """The exact answer for data from two Gaussians in one dimension, in float64: x (B, 1), t (B,)."""

    def __init__(self, schedule, prediction="v"):
        self.schedule, self.prediction, self.asked = schedule, prediction, []

    def __call__(self, x, t):
        signal, sigma = self.schedule._roots(t, x)
        x0 = expect_x0(x, signal, sigma)
        self.asked.append(int(t[0]))
        answer = self.schedule.target(x0, t, (x - signal * x0) / sigma, self.prediction)
        answer.float = lambda: answer  # the loop's float() would hide small errors
        return answer


def expect_x0(x, signal, sigma):
    """E[x_0 | x_t = x] of the mixture for x_t = signal x_0 + sigma eps; x (B, 1)."""
    variance = (signal * STD) ** 2 + sigma**2
    apart = x - signal * MEANS
    weights = torch.softmax(SHARES.log() - apart**2 / (2 * variance), 1)
    return (weights * (MEANS + signal * STD**2 / variance * apart)).sum(1, keepdim=True)


def start(n=200):
    return torch.randn(n, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def solve_exactly(x_T):
    """scipy's answer: the velocity followed from s = 1 to s = 0, (B, 1)."""
    integrate = pytest.importorskip("scipy.integrate")

    def velocity(s, x):
        x = torch.from_numpy(x)[:, None]
        signal, sigma = torch.tensor(1 - s).double(), torch.tensor(s).double()
        x0 = expect_x0(x, signal, sigma)
        return ((x - x0) / sigma)[:, 0].numpy()

    options = dict(method="DOP853", rtol=1e-10, atol=1e-10)  # at s = 0 itself the velocity is 0 / 0
    answer = integrate.solve_ivp(velocity, (1.0, 1e-7), x_T[:, 0].numpy(), **options)
    return torch.from_numpy(answer.y[:, -1])[:, None]


# --- the path


def test_the_path_is_a_straight_line_walked_evenly():
    schedule, T = straight(8), 8
    x0, noise = start(T + 1), start(2 * T + 2)[T + 1 :]
    t = torch.arange(T + 1)
    s = t.double()[:, None] / T
    x_t = schedule.q_sample(x0, t, noise)
    assert torch.allclose(x_t, (1 - s) * x0 + s * noise, atol=1e-12)
    assert torch.equal(x_t[0], x0[0]) and torch.equal(x_t[T], noise[T])
    line = torch.stack([schedule.q_sample(x0, level, noise) for level in range(T + 1)])
    velocity = schedule.target(x0, t, noise, "v")
    assert torch.allclose(line.diff(dim=0) * T, velocity.expand(T, -1, -1), atol=1e-12)


def test_it_is_the_circle_seen_from_elsewhere():
    """alpha_bar, betas, snr and T are those of x_t divided by sqrt((1 - s)^2 + s^2)."""
    schedule = StraightPath(1000)
    s = torch.arange(1001).double() / 1000
    length = (1 - s) ** 2 + s**2
    assert torch.allclose(schedule.alpha_bar.double(), (1 - s) ** 2 / length, atol=1e-7)
    assert torch.allclose(schedule.snr[1:].double(), ((1 - s) / s)[1:] ** 2, rtol=1e-5)
    assert (
        schedule.T == 1000
        and schedule.betas[0] == 0
        and schedule.betas[-1] == 1
        and schedule.name in repr(schedule)
    )
    assert math.isinf(schedule.snr[0])


@pytest.mark.parametrize("prediction", ["v", "eps", "x0"])
def test_target_and_output_agree(prediction):
    """What the network is asked for, taken as its answer, gives back eps and x_0."""
    schedule, x0, noise, t = straight(10), start(9), start(18)[9:], torch.arange(1, 10)
    x_t = schedule.q_sample(x0, t, noise)
    asked = schedule.target(x0, t, noise, prediction)
    eps, clean = schedule.from_output(asked, x_t, t, prediction)
    assert torch.allclose(eps, noise, atol=1e-12) and torch.allclose(clean, x0, atol=1e-12)
    assert torch.allclose(schedule.predict_x0(x_t, t, noise), x0, atol=1e-12)
    assert torch.allclose(schedule.predict_eps(x_t, t, x0), noise, atol=1e-12)


def test_at_pure_noise_v_says_what_eps_cannot():
    schedule, noise, x0 = straight(10), start(3), start(6)[3:]
    eps, clean = schedule.from_output(noise - x0, noise, 10, "v")
    assert torch.equal(eps, noise) and torch.allclose(clean, x0)
    with pytest.raises(ValueError, match="predict v instead"):
        schedule.predict_x0(noise, 10, noise)


def test_v_was_a_velocity_all_along():
    """On the circle v is dx / d(angle), on the straight path dx / ds: both by finite differences."""
    x0, noise, step = start(5), start(10)[5:], 1e-6
    for schedule, t in ((cosine(1000), 300), (linear(1000), 300), (straight(1000), 300)):
        signal, sigma = (float(root) for root in schedule._roots(t, x0))
        if schedule.name == "straight":
            ahead = (1 - sigma - step) * x0 + (sigma + step) * noise
        else:
            angle = math.atan2(sigma, signal) + step
            ahead = math.cos(angle) * x0 + math.sin(angle) * noise
        speed = (ahead - schedule.q_sample(x0, t, noise)) / step
        assert torch.allclose(speed, schedule.target(x0, t, noise, "v"), atol=1e-5)


def test_what_moves_on_the_circle_is_refused():
    schedule, x = straight(100), torch.zeros(2, 1)
    calls = [
        lambda: schedule.q_step(x, 3, x),
        lambda: schedule.posterior(x, x, 3),
        lambda: schedule.exact(3),
        *(lambda rule=rule: last(reverse(Mixture(schedule), schedule, rule, x_T=start(2)))
          for rule in (ancestral(), ddim(5), dpm_solver(5))),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(NotImplementedError, match="move with euler, midpoint or heun"):
            call()
    for T in (0, -1):
        with pytest.raises(ValueError, match="T at least 1"):
            straight(T)
    with pytest.raises(ValueError, match="prediction is one of"):
        schedule.target(x, 3, x, "velocity")
    with pytest.raises(ValueError, match="prediction is one of"):
        schedule.from_output(x, x, 3, "velocity")


# --- the solvers


def test_euler_on_a_circle_is_ddim():
    torch.manual_seed(0)
    model = PointMLP(prediction="v")
    x_T = torch.randn(50, 2)
    for schedule in (cosine(1000), linear(1000)):
        for steps in (1, 7, 50):
            for clip in (None, 0.3):
                rules = euler(steps), ddim(steps)
                walks = [reverse(model, schedule, rule, x_T=x_T, clip_x0=clip) for rule in rules]
                for ours, theirs in zip(*walks, strict=True):
                    assert ours.t == theirs.t and torch.allclose(ours.x, theirs.x, atol=1e-5)


def test_euler_on_the_path_follows_the_velocity():
    schedule = straight(1000)
    model, x = Mixture(schedule), start()
    walk = list(reverse(model, schedule, euler(10), x_T=x))
    for state in walk[1:]:
        t = torch.full((len(x),), state.t + 100)
        x = x - 0.1 * model(x, t)
        assert torch.allclose(state.x, x, atol=1e-12)


@pytest.mark.parametrize("rule, order", [(euler, 1), (midpoint, 2), (heun, 2)])
def test_the_order_of_each_solver(rule, order):
    """Errors against scipy fall with the steps as 1 / steps^order."""
    schedule, x_T, counts = straight(1024), start(), [16, 32, 64, 128]
    right, errors = solve_exactly(x_T), []
    for steps in counts:
        end = last(reverse(Mixture(schedule), schedule, rule(steps), x_T=x_T))
        errors.append(float((end - right).square().mean().sqrt()))
    slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert slope == pytest.approx(-order, abs=0.2), errors


@pytest.mark.parametrize("rule", [euler(12), midpoint(6), heun(7), midpoint(5, shift=3.0)])
def test_on_the_circle_the_solvers_walk_the_same_path(rule):
    """With the same signal-to-noise ratios, every stop is the one on the straight path, rescaled."""
    path, x_T = straight(1000), start()
    circle = Schedule(path._betas)
    walks = [reverse(Mixture(schedule), schedule, rule, x_T=x_T) for schedule in (path, circle)]
    for ours, theirs in zip(*walks, strict=True):
        signal, sigma = circle._roots(ours.t, x_T)
        assert torch.allclose(ours.x, theirs.x / (signal + sigma), atol=1e-9)


def test_straight_lines_take_one_step():
    """Where the velocity never changes, every solver is exact from the first step on."""
    schedule, x0, noise = straight(1000), start(), start(400)[200:]

    class Constant:
        prediction = "v"

        def __call__(self, x, t):
            return noise - x0

    for rule in (euler(1), midpoint(1), heun(1), heun(3), midpoint(3, shift=3.0), euler(4, shift=0.5)):
        assert torch.allclose(last(reverse(Constant(), schedule, rule, x_T=noise)), x0, atol=1e-6)


def test_where_the_solvers_ask():
    schedule, T = straight(1000), 1000
    asked = {}
    for rule in (euler(4), midpoint(2), heun(4)):
        model = Mixture(schedule)
        last(reverse(model, schedule, rule, x_T=start(2)))
        asked[rule.name] = model.asked
        assert rule.levels(T) == model.asked
    assert asked == {
        "Euler, 4 steps": [1000, 750, 500, 250],
        "midpoint, 2 steps": [1000, 750, 500, 250],
        "Heun, 4 steps": [1000, 750, 750, 500, 500, 250, 250],
    }
    assert euler(1000).levels(T) == list(range(1000, 0, -1))


def test_a_clamp_is_kept_by_the_second_visit():
    """With x_0 clamped, the redone step still begins where the first one did."""
    schedule = straight(1000)
    model, x_T = Mixture(schedule), start()
    for rule in (midpoint(5), heun(5)):
        free = last(reverse(model, schedule, rule, x_T=x_T))
        wide = last(reverse(model, schedule, rule, x_T=x_T, clip_x0=50.0))
        assert torch.allclose(wide, free, atol=1e-9)
    tight = last(reverse(model, schedule, heun(5), x_T=x_T, clip_x0=0.5))
    assert float(tight.abs().max()) <= 0.5 < float(free.abs().max())


@pytest.mark.parametrize("steps, shift", [(20, 1.0), (50, 1.0), (4, 3.0), (2, 3.0)])
def test_diffusers_draws_the_same(steps, shift):
    """At steps whose shifted levels are whole numbers: diffusers does not round them."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift)
    scheduler.set_timesteps(sigmas=(1 - np.arange(steps) / steps).tolist())
    torch.manual_seed(0)
    model, x_T = PointMLP(prediction="v"), torch.randn(30, 2)
    rule = euler(steps, shift=shift)
    assert scheduler.timesteps.round().long().tolist() == rule.levels(1000)
    assert torch.allclose(scheduler.timesteps, scheduler.timesteps.round(), atol=1e-3)
    x = x_T
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(model(x, t.round().long().expand(len(x))), t, x).prev_sample
    assert torch.allclose(last(reverse(model, straight(1000), rule, x_T=x_T)), x, atol=1e-4)


def test_the_time_shift():
    for steps, shift in ((10, 3.0), (10, 1.0), (7, 0.5)):
        s = 1 - torch.arange(steps).double() / steps
        wanted = (1000 * shift * s / (1 + (shift - 1) * s)).round().long().tolist()
        assert euler(steps, shift).levels(1000) == wanted and wanted[0] == 1000
        assert midpoint(steps, shift).levels(1000)[::2] == wanted
        assert heun(steps, shift).levels(1000)[::2] == wanted
    assert sum(t > 500 for t in euler(10, 3.0).levels(1000)) > sum(t > 500 for t in euler(10).levels(1000))


@pytest.mark.parametrize(
    "rule",
    [
        euler(0),
        euler(11),
        heun(11),
        midpoint(6),
        euler(5, shift=0),
        euler(5, shift=-1.0),
        euler(9, shift=9.0),
    ],
)
def test_too_few_levels_are_refused(rule):
    with pytest.raises(ValueError, match="10 levels do not hold"):
        rule.levels(10)


# --- the weights


def test_logit_normal_weights_are_its_density():
    """Weighted means over even levels are the means over draws of s = sigmoid(N(0, 1))."""
    T = 1000
    weights = logit_normal(T)
    assert weights.shape == (T + 1,) and weights.dtype == torch.float32
    assert float(weights[1:].mean()) == pytest.approx(1, abs=1e-5) and weights[0] == weights[T] == 0
    s = torch.arange(1, T + 1) / T
    drawn = torch.sigmoid(torch.randn(400_000, generator=torch.Generator().manual_seed(0)))
    for measure in (lambda s: s, lambda s: s**2, lambda s: torch.cos(7 * s)):
        assert float((weights[1:] * measure(s)).mean()) == pytest.approx(
            float(measure(drawn).mean()), abs=3e-3
        )
    assert int(weights.argmax()) == 500


# --- with the loops of the course


def test_train_and_walk_with_the_loops_there_are():
    """A network trained on the path draws data from noise: here from a tight cluster in the plane."""
    g = torch.Generator().manual_seed(0)
    x = torch.tensor([1.0, -0.5]) + 0.1 * torch.randn(500, 2, generator=g)
    torch.manual_seed(0)
    schedule, run = straight(1000), Run(PointMLP(width=64, depth=2, prediction="v"), lr=3e-3, ema_decay=0.99)
    for _ in train(run, schedule, x, steps=400, weights=logit_normal(1000)):
        pass
    for rule in (euler(20), midpoint(10), heun(10)):
        drawn = last(reverse(run.ema.model, schedule, rule, shape=(500, 2), seed=1))
        assert torch.allclose(drawn.mean(0), x.mean(0), atol=0.1) and float(drawn.std(0).max()) < 0.3


def test_the_loss_of_the_right_average_is_the_spread_of_the_pairs():
    """With one data point the velocity x -> (x - x_0) / s is exact, and denoising_loss is 0."""
    schedule, point = straight(100), torch.tensor([[0.5, -1.0]])

    class Exact:
        prediction = "v"

        def __call__(self, x, t):
            return (x - point) / (t[:, None] / 100)

    t = torch.arange(1, 101)
    noise = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    assert float(denoising_loss(Exact(), schedule, point.expand(100, 2), t, noise).max()) < 1e-6


# --- data/experiments/straight.py


def test_on_the_circle_the_network_of_the_path_is_asked_the_same():
    """DDIM on the circle of the same SNRs ends where Euler ends on the path: it is the same walk."""
    path = straight(1000)
    torch.manual_seed(0)
    network, x_T = PointMLP(prediction="v"), torch.randn(30, 2)
    asked = experiment.OnCircle(network, path)
    for steps in (1, 6):
        ours = last(reverse(network, path, euler(steps), x_T=x_T))
        assert torch.allclose(last(reverse(asked, asked.circle, ddim(steps), x_T=x_T)), ours, atol=1e-4)
    assert last(reverse(asked, asked.circle, dpm_solver(6), x_T=x_T)).isfinite().all()


def test_its_training_goes_on_to_the_bit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(experiment, "SAVE_SECONDS", 0)
    recipe = dict(path="straight", weighting="logit_normal", T=50, steps=220, batch_size=8, lr=1e-3, seed=3)
    recipe |= dict(ema=0.99, bf16=False)
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))

    def network(seed):
        torch.manual_seed(seed)
        return PointMLP(width=16, depth=1, features=2, time_dim=8, prediction="v")

    class Stopped(Exception):
        pass

    def stop(step, steps, loss):
        if step == 150:
            raise Stopped

    work = Work("tiny", {}, tmp_path, tmp_path / "whole.state")
    whole, log = experiment.train_variant(work, network(0), x, recipe)
    work = Work("tiny", {}, tmp_path, tmp_path / "parts.state", tell=stop)
    with pytest.raises(Stopped):
        experiment.train_variant(work, network(0), x, recipe)
    work.tell = lambda *where: None
    parts, again = experiment.train_variant(work, network(9), x, recipe)
    assert "going on from step 100" in capsys.readouterr().out and again["loss"] == log["loss"]
    for ours, theirs in zip(whole.ema.model.parameters(), parts.ema.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_rules_are_compared_at_equal_evaluations():
    for path in ("straight", "cosine"):
        for name, options in experiment.list_rules(path, [4, 20], [50]).items():
            rule = experiment.RULES[options["rule"]]
            asked = len(rule(**{k: v for k, v in options.items() if k != "rule"}).levels(1000))
            assert int(name.split()[1]) - asked == (1 if options["rule"] == "heun" else 0), name
