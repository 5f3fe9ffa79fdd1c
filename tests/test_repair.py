"""helpers/repair.py against what is known: kept pixels, a Gaussian's posterior, gradients by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from data.experiments import repair as experiment
from helpers import data
from helpers.models import UNet
from helpers.repair import ByClassifier, Measured, fill_in
from helpers.sampling import Rule, ancestral, ddim, dpm_solver, last, reverse
from helpers.schedule import cosine, linear

pytestmark = pytest.mark.usefixtures("one_thread")
RULES = [ancestral(), ddim(10), ddim(10, eta=1.0), dpm_solver(10), dpm_solver(10, eta=1.0)]


class Gaussian(nn.Module):
    """The exact network of data N(0, covariance): what no training can do better. covariance: (d, d)."""

    def __init__(self, covariance, schedule, prediction="v"):
        super().__init__()
        self.spread, self.axes = torch.linalg.eigh(covariance)  # along its own axes every pixel is alone
        self.schedule, self.prediction = schedule, prediction

    def forward(self, x, t):
        a, spread, axes = self.schedule.exact(t).to(x)[:, None], self.spread.to(x), self.axes.to(x)
        x0 = (x @ axes * a.sqrt() * spread / (a * spread + 1 - a)) @ axes.T
        eps = self.schedule.predict_eps(x, t, x0)
        return self.schedule.target(x0, t, eps, self.prediction)


PAIR = torch.tensor([[1.0, 0.8], [0.8, 1.0]])  # the second, where the first is 1.5: mean 1.2, variance 0.36


def first(x):
    return x[:, :1]


def draw_second(rule, known=1.5, n=2000, measured=False):
    """Mean and variance of the second coordinate, and the first one, of pairs of which the first is known."""
    schedule, pairs = cosine(), torch.tensor([[known, 0.0]])
    model = Gaussian(PAIR, schedule)
    if measured:
        model = Measured(model, schedule, first, first(pairs))
    x = last(reverse(model, schedule, rule, shape=(n, 2), seed=1))
    return float(x[:, 1].mean()), float(x[:, 1].var()), x[:, 0]


def fill(steps=50, **options):
    return fill_in(ddim(steps, eta=1.0), torch.tensor([[True, False]]), torch.tensor([[1.5, 0.0]]), **options)


# --- filling in


@pytest.mark.parametrize("resample, jump", [(1, 1), (3, 1), (2, 4)])
@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_known_pixels_are_kept_exactly(rule, resample, jump):
    torch.manual_seed(0)
    model, schedule, known = (
        UNet((8, 8), emb_dim=8, prediction="v"),
        cosine(30),
        torch.rand(4, 1, 8, 8) * 2 - 1,
    )
    mask = torch.rand(4, 1, 8, 8) < 0.5
    walk = fill_in(rule, mask, known, resample, jump)
    x = last(reverse(model, schedule, walk, shape=known.shape, seed=2, clip_x0=1.0))
    assert torch.equal(x[mask], known[mask]) and x.isfinite().all()
    assert not torch.isclose(x[~mask], known[~mask]).any()


def test_one_picture_for_all():
    model, schedule, known = UNet((8, 8), emb_dim=8), cosine(30), torch.zeros(1, 1, 8, 8)
    mask = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    assert torch.equal(
        last(reverse(model, schedule, fill_in(ddim(3), mask, known), shape=(5, 1, 8, 8))),
        known.expand(5, -1, -1, -1),
    )


def test_nothing_known_is_the_rule_itself():
    """Without a known pixel the rule moves alone; only the noise for the known pixels is drawn besides."""
    schedule, nothing = cosine(50), torch.zeros(1, 2, dtype=torch.bool)
    model, rule = Gaussian(PAIR, schedule), dpm_solver(8)
    alone = last(reverse(model, schedule, rule, shape=(6, 2), seed=4))
    filled = last(reverse(model, schedule, fill_in(rule, nothing, torch.zeros(1, 2)), shape=(6, 2), seed=4))
    assert torch.equal(alone, filled)


def test_the_known_pixels_have_the_noise_of_the_level_they_arrive_at():
    schedule = cosine(200)
    states = list(reverse(Gaussian(PAIR, schedule), schedule, fill(steps=5), shape=(20_000, 2)))
    for state in states[1:]:
        a = schedule.exact(state.t)
        assert float(state.x[:, 0].mean()) == pytest.approx(1.5 * float(a.sqrt()), abs=0.03), state.t
        assert float(state.x[:, 0].var()) == pytest.approx(float(1 - a), abs=0.03), state.t


def test_levels():
    """What is asked: every block of `jump` levels `resample` times, and each state says where it is."""
    mask, known, schedule = torch.tensor([[True, False]]), torch.zeros(1, 2), cosine(8)
    rule = ddim(4)
    assert rule.levels(8) == [8, 6, 4, 2]
    assert fill_in(rule, mask, known).levels(8) == [8, 6, 4, 2]
    assert fill_in(rule, mask, known, 2).levels(8) == [8, 8, 6, 6, 4, 4, 2, 2]
    assert fill_in(rule, mask, known, 2, 2).levels(8) == [8, 6, 8, 6, 4, 2, 4, 2]
    assert fill_in(rule, mask, known, 2, 3).levels(8) == [8, 6, 4, 8, 6, 4, 2, 2]
    walk = reverse(Gaussian(PAIR, schedule), schedule, fill_in(rule, mask, known, 2, 2), shape=(3, 2))
    assert [state.t for state in walk] == [8, 6, 8, 6, 4, 2, 4, 2, 0]


@pytest.mark.parametrize("start, down, up", [(1, 0, 50), (11, 10, 11), (11, 10, 40), (50, 49, 50)])
def test_a_climb_is_many_steps_up(start, down, up):
    """From `start` a move to the level below and, where the list rises, up again: mean and variance of x."""
    schedule, x0 = linear(50), torch.full((50_000, 2), 2.0)
    levels = sorted({50, start, down} - {0}, reverse=True)
    rule = Rule(
        "truth",
        lambda T: levels,
        lambda s, x, t, t_next, eps, x0, draw, before: s.q_sample(x0, t_next, draw()),
    )
    g = torch.Generator().manual_seed(0)

    def draw():
        return torch.randn(x0.shape, generator=g)

    walk = fill_in(rule, torch.tensor([[True, False]]), x0[:1], 2)
    x = walk.move(schedule, x0, start, up, None, x0, draw)
    a = schedule.exact(up)
    for pixel in (0, 1):
        assert float(x[:, pixel].mean()) == pytest.approx(2 * float(a.sqrt()), abs=0.02)
        assert float(x[:, pixel].var()) == pytest.approx(float(1 - a), abs=0.02)


def test_replacement_alone_misses_the_posterior_and_resampling_comes_close():
    mean, var, known = draw_second(fill())
    assert (known == 1.5).all()
    assert 0.6 < mean < 0.9 and 0.42 < var, "the unknown hears too little of the known"
    means = [mean]
    for resample in (2, 4, 8):
        mean, var, _ = draw_second(fill(resample=resample))
        means.append(mean)
    assert means == sorted(means) and mean == pytest.approx(1.2, abs=0.12)
    mean, var, _ = draw_second(fill(resample=4))
    assert mean == pytest.approx(1.2, abs=0.2) and var == pytest.approx(0.36, abs=0.05)


# --- guidance by a measurement


@pytest.mark.parametrize(
    "rule", [ddim(60, eta=1.0), dpm_solver(30, eta=1.0), dpm_solver(30)], ids=lambda r: r.name
)
def test_measured_comes_close_to_the_posterior(rule):
    mean, var, known = draw_second(rule, measured=True)
    assert mean == pytest.approx(1.2, abs=0.1) and var == pytest.approx(0.36, abs=0.06)
    assert (known - 1.5).abs().max() < 0.02


def test_measured_is_exact_where_nothing_is_correlated():
    """Unit variances, no correlation: the weight of the measurement is then the true one at every level."""
    schedule, t, x = cosine(), torch.tensor([1, 300, 700, 990]), torch.randn(4, 2).double()
    model = Measured(Gaussian(torch.eye(2), schedule), schedule, first, torch.tensor([[1.5]]))
    _, x0 = schedule.from_output(model(x, t), x, t, "v")
    assert torch.allclose(x0[:, 0], torch.full((4,), 1.5).double(), atol=1e-4)
    assert torch.allclose(x0[:, 1], schedule.exact(t).sqrt() * x[:, 1], atol=1e-6), "the other is not told"


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_the_shift_is_the_gradient(prediction):
    """x_0 - scale / signal * gradient, the gradient through the network by finite differences."""
    schedule, t, y = cosine(), torch.tensor([200, 500, 800]), torch.randn(3, 1).double()
    network = Gaussian(PAIR, schedule, prediction)

    def clean(x):
        return schedule.from_output(network(x, t), x, t, prediction)[1]

    def total(x):
        return (y - clean(x)[:, :1] ** 2).square().sum() / 2

    x, step = torch.randn(3, 2).double(), 1e-5
    slope = torch.zeros_like(x)
    for i in range(x.numel()):
        aside = torch.zeros(x.numel()).double()
        aside[i] = step
        slope.flatten()[i] = (total(x + aside.view_as(x)) - total(x - aside.view_as(x))) / (2 * step)
    model = Measured(network, schedule, lambda x0: x0[:, :1] ** 2, y, scale=0.5)
    _, x0 = schedule.from_output(model(x, t), x, t, prediction)
    expected = clean(x) - 0.5 / schedule.exact(t).sqrt()[:, None] * slope
    assert torch.allclose(x0, expected, atol=1e-6)
    assert float((slope * (x0 - clean(x))).sum(1).max()) < 0, "downhill, in every example"


@pytest.mark.parametrize(
    "measure",
    [
        lambda x: x[..., :4, :],
        lambda x: F.avg_pool2d(x, 4),
        lambda x: F.conv2d(x, torch.ones(1, 1, 3, 3) / 9),
    ],
    ids=["half", "smaller", "blur"],
)
def test_inside_the_loop_and_under_autocast(measure):
    """Gradients are off in the loop and on in here; parameters get none, the measure stays float32."""
    torch.manual_seed(0)
    model, schedule = UNet((8, 8), emb_dim=8, prediction="v"), cosine(30)
    seen = []

    def look(x0):
        seen.append(measure(x0).dtype)
        return measure(x0)

    x = torch.rand(3, 1, 8, 8) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        model = Measured(model, schedule, look, measure(x).float())
        out = last(reverse(model, schedule, dpm_solver(5, eta=1.0), shape=x.shape, clip_x0=1.0))
    assert out.isfinite().all() and out.dtype == torch.float32 and set(seen) == {torch.float32}
    assert not out.requires_grad and all(p.grad is None for p in model.parameters())


def test_each_example_has_its_own_measurement():
    schedule, t, x = cosine(), torch.full((3,), 400), torch.randn(3, 2)
    network, y = Gaussian(PAIR, schedule), torch.tensor([[0.5], [-1.0], [2.0]])
    together = Measured(network, schedule, first, y)(x, t)
    for i in range(3):
        alone = Measured(network, schedule, first, y[i : i + 1])(x[i : i + 1], t[:1])
        assert torch.allclose(together[i : i + 1], alone, atol=1e-6)
    assert torch.allclose(Measured(network, schedule, first, y, scale=0.0)(x, t), network(x, t), atol=1e-5)


# --- guidance by a classifier


def test_by_classifier_is_bayes_rule():
    """Data N(0, 1), class 1 where a logistic of x_0 says so: the gradient of log p(y | x_0(x_t)) by hand."""
    schedule, t, x = cosine(), torch.tensor([100, 500, 900]), torch.randn(3, 1).double()
    a = schedule.exact(t)[:, None]

    def classifier(x0):
        return torch.cat([torch.zeros_like(x0), 3 * x0], 1)  # p(1 | x_0) = 1 / (1 + exp(-3 x_0))

    network = Gaussian(torch.ones(1, 1), schedule)
    x0 = a.sqrt() * x
    for y, sign in ((1, 1.0), (0, -1.0)):
        slope = (
            sign * 3 * torch.sigmoid(-sign * 3 * x0) * a.sqrt()
        )  # by x_t: the chain rule brings sqrt(abar)
        guided = ByClassifier(network, schedule, classifier, y, scale=2.0)
        _, found = schedule.from_output(guided(x, t), x, t, "v")
        assert torch.allclose(found, x0 + 2.0 * (1 - a) / a.sqrt() * slope, atol=1e-6)
    both = ByClassifier(network, schedule, classifier, torch.tensor([1, 0, 1]), scale=2.0)(x, t)
    assert torch.allclose(both[1], guided(x, t)[1]) and not torch.allclose(both[0], guided(x, t)[0])


def test_by_classifier_in_the_loop_draws_the_class():
    schedule = cosine()
    guided = ByClassifier(
        Gaussian(torch.ones(1, 1), schedule), schedule, lambda x0: torch.cat([-3 * x0, 3 * x0], 1), 1
    )
    x = last(reverse(guided, schedule, ddim(50, eta=1.0), shape=(2000, 1), seed=3))
    assert float((x > 0).float().mean()) > 0.93 and float(x.std()) > 0.5


# --- errors


def test_what_is_refused():
    known, mask = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8, dtype=torch.bool)
    with pytest.raises(ValueError, match="got torch.float32"):
        fill_in(ddim(4), mask.float(), known)
    with pytest.raises(ValueError, match=r"got torch.bool \(1, 1, 4, 8\)"):
        fill_in(ddim(4), mask[:, :, :4], known)
    for options in (dict(resample=0), dict(jump=0)):
        with pytest.raises(ValueError, match="1 or more"):
            fill_in(ddim(4), mask, known, **options)
    schedule, x = cosine(10), torch.randn(2, 2)
    with pytest.raises(ValueError, match=r"shape \(2, 1\), y \(1, 2\)"):
        Measured(Gaussian(PAIR, schedule), schedule, first, torch.zeros(1, 2))(x, torch.tensor([3, 3]))
    with pytest.raises(TypeError, match="Linear does not say what it predicts"):
        Measured(nn.Linear(2, 2), schedule, first, 0)


# --- what the experiment measures


def test_the_damages():
    x = torch.rand(3, 1, 28, 28) * 2 - 1
    shares = {name: float(experiment.make_mask(name).float().mean()) for name in ("half", "square", "pixels")}
    assert shares == {"half": 0.5, "square": 0.75, "pixels": 0.25}
    for name in shares:
        mask, shown = experiment.make_mask(name).expand(3, -1, -1, -1), experiment.show_damaged(name, x)
        assert torch.equal(shown[mask], x[mask]) and (shown[~mask] == -1).all()
        assert torch.equal(experiment.make_measure(name)(x), x[mask].reshape(3, 1, -1))
    assert experiment.make_mask("half")[0, 0, 13].all() and not experiment.make_mask("half")[0, 0, 14].any()
    spot = torch.full((1, 1, 28, 28), -1.0)
    assert torch.allclose(experiment.blur(spot), spot, atol=1e-6), "black stays black, at the border too"
    spot[..., 14, 14] = 1.0
    blurred = (experiment.blur(spot) + 1) / 2
    assert float(blurred.sum()) == pytest.approx(1.0, abs=1e-5)
    across = torch.arange(28.0) - 14
    assert float((blurred[0, 0].sum(0) * across**2).sum()) ** 0.5 == pytest.approx(1.5, abs=0.1)
    assert torch.equal(experiment.shrink(x)[0, 0, 2, 3], x[0, 0, 8:12, 12:16].mean())


def test_a_seam_is_counted_where_known_meets_missing():
    x = torch.zeros(1, 1, 28, 28)
    x[..., 14:, :] = 0.5
    assert experiment.measure_seams("half", x) == pytest.approx(0.5)
    x = torch.zeros(1, 1, 28, 28)
    x[..., 7:21, 7:21] = 0.25
    assert experiment.measure_seams("square", x) == pytest.approx(0.25)
    assert experiment.measure_seams("square", torch.ones(1, 1, 28, 28)) == 0


def test_calibration_by_hand():
    """Three digits, four repairs each: shares 0.75 (true once of two), 0.25 (once of two), 1.0 (true)."""
    votes = torch.zeros(3, 10, dtype=torch.long)
    votes[0, 3], votes[0, 8] = 3, 1
    votes[1, 3], votes[1, 8] = 3, 1
    votes[2, 7] = 4
    found = experiment.calibrate(votes.tolist(), [3, 8, 7], [0, 0.5, 0.75, 1])
    assert found["bins"] == [
        dict(low=0, high=0.5, count=2, said=0.25, true=0.5),
        dict(low=0.5, high=0.75, count=2, said=0.75, true=0.5),
        dict(low=0.75, high=1, count=1, said=1.0, true=1.0),
    ]
    assert found["gap"] == pytest.approx((2 * 0.25 + 2 * 0.25) / 5)
    assert found["brier"] == pytest.approx((2 * 0.25**2 + 2 * 0.75**2) / 3, abs=1e-4)


def test_the_truth_is_its_own_nearest_neighbour():
    x = torch.rand(12, 1, 28, 28) * 2 - 1
    for name in ("half", "small"):
        near = experiment.find_neighbours(experiment.make_measure(name), x[4:7], x, 2)
        assert near[:, 0].tolist() == [4, 5, 6] and (near[:, 1] != near[:, 0]).all()


def test_scores_of_repairs_by_hand():
    """Two sets of repairs that miss the truth by 0.1 up and down: their mean is the truth."""
    truth, y = data.mnist(train=False)
    truth, y, settings = truth[:3] * 0.8, y[:3], dict(masked=["half"])
    scores = experiment.judge_repairs(settings, "half", [truth + 0.1, truth - 0.1], truth, y)
    for name in ("agreement", "error"):
        assert scores[name]["mean"] == pytest.approx(0.1, abs=1e-5)
    assert scores["error_of_mean"] == pytest.approx(0, abs=1e-5)
    assert scores["deviation"] == pytest.approx(0.1 * 2**0.5, abs=1e-4)
    assert scores["right"]["values"] == [1.0, 1.0] and scores["vote"] == 1 and scores["one_class"] == 1
    assert [row[label] for row, label in zip(scores["votes"], y.tolist(), strict=True)] == [2, 2, 2]
    assert scores["seam"] == pytest.approx(experiment.measure_seams("half", truth), abs=1e-5)
