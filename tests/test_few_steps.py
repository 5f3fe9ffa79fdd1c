"""Few-step models: the consistency loss against known answers, its pairs, its rule."""

import pytest
import torch

from data.experiments import few_steps as experiment
from data.experiments.mnist_samplers import find_recall
from helpers import checkpoints
from helpers.data import moons
from helpers.few_steps import consistency, consistency_loss, loss_of_pairs
from helpers.models import PointMLP
from helpers.sampling import ddim, last, reverse
from helpers.schedule import cosine, linear
from helpers.training import Run, denoising_loss, train

pytestmark = pytest.mark.usefixtures("one_thread")
POINTS = moons(64)[0]


class Ends:
    """Knows the clean data of every example: its estimate of x_0 is exact at every level."""

    prediction = "x0"

    def __init__(self, x0):
        self.x0, self.asked = x0, []

    def __call__(self, x, t):
        self.asked.append(int(t[0]))
        return self.x0


class OnePoint:
    """The exact denoiser of data that is one point: every path ends there."""

    prediction = "v"

    def __init__(self, schedule, point):
        self.schedule, self.point = schedule, point

    def __call__(self, x, t):
        a = self.schedule.exact(t)[:, None]
        x0 = self.point.double().expand_as(x)
        return (a.sqrt() * (x - a.sqrt() * x0) / (1 - a).sqrt() - (1 - a).sqrt() * x0).float()


def network(seed=0, prediction="v"):
    torch.manual_seed(seed)
    return PointMLP(width=16, depth=1, features=2, time_dim=8, prediction=prediction)


def draws(T, n=64, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(1, T + 1, (n,), generator=g), torch.randn(n, 2, generator=g)


def ask(model, schedule, x, t):
    return schedule.from_output(model(x, t), x, t, model.prediction)[1]


# --- the loss


def test_at_the_clean_level_the_loss_is_that_of_denoising():
    """r = 0: the target is x_0 itself, so the loss is the plain one of a network that predicts x_0."""
    schedule, model = cosine(100), network(prediction="x0")
    t, noise = draws(100)
    ours = consistency_loss(model, schedule, POINTS, t, torch.zeros_like(t), noise)
    assert torch.allclose(ours, denoising_loss(model, schedule, POINTS, t, noise), rtol=1e-6)


def test_an_error_of_v_counts_by_the_variance_of_the_noise():
    """x_0 = signal x_t - sigma v: at r = 0 the loss is (1 - alpha_bar) times that of v."""
    schedule, model = cosine(100), network()
    t, noise = draws(100)
    ours = consistency_loss(model, schedule, POINTS, t, torch.zeros_like(t), noise)
    plain = denoising_loss(model, schedule, POINTS, t, noise) * (1 - schedule.alpha_bar[t])
    assert torch.allclose(ours, plain, rtol=1e-4, atol=1e-6)


def test_the_loss_by_hand_and_where_the_gradient_flows():
    """Two estimates at one noise; the lower one is a constant target."""
    schedule, model = cosine(100), network()
    t, noise = draws(100)
    t, r = t.clamp(min=2), t.clamp(min=2) // 2
    x_t, x_r = schedule.q_sample(POINTS, t, noise), schedule.q_sample(POINTS, r, noise)
    target = ask(model, schedule, x_r, r).detach()
    by_hand = (ask(model, schedule, x_t, t) - target).square().mean(1)
    ours = consistency_loss(model, schedule, POINTS, t, r, noise)
    assert torch.allclose(ours, by_hand, rtol=1e-5, atol=1e-8)
    weights = list(model.parameters())
    for a, b in zip(*(torch.autograd.grad(e.sum(), weights) for e in (ours, by_hand)), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)
    both = (ask(model, schedule, x_t, t) - ask(model, schedule, x_r, r)).square().mean(1)
    moving = torch.autograd.grad(both.sum(), weights)
    fixed = torch.autograd.grad(by_hand_again(model, schedule, x_t, t, target), weights)
    assert any((a - b).abs().max() > 1e-3 for a, b in zip(moving, fixed, strict=True))


def by_hand_again(model, schedule, x_t, t, target):
    return (ask(model, schedule, x_t, t) - target).square().mean(1).sum()


def test_the_teacher_steps_as_ddim_does():
    """With a teacher the lower point is one step of helpers.sampling.ddim, from every level at once."""
    schedule, model, teacher = cosine(100), network(), network(seed=3)
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(64, 2, generator=g)
    t, r = torch.full((64,), 80), torch.full((64,), 55)
    x_t = schedule.q_sample(POINTS, t, noise)
    eps, x0 = schedule.from_output(teacher(x_t, t), x_t, t, "v")
    x_r = ddim(2).move(schedule, x_t, 80, 55, eps, x0, None)
    by_hand = (ask(model, schedule, x_t, t) - ask(model, schedule, x_r, r)).square().mean(1)
    ours = consistency_loss(model, schedule, POINTS, t, r, noise, teacher=teacher)
    assert torch.allclose(ours, by_hand, rtol=1e-4, atol=1e-6)
    without = consistency_loss(model, schedule, POINTS, t, r, noise)
    assert not torch.allclose(ours, without, rtol=0.1)


def test_another_network_can_be_the_target():
    """Its estimate at r counts, in place of the model's own."""
    schedule, model, other = cosine(100), network(), network(seed=3)
    t, noise = draws(100)
    t, r = t.clamp(min=2), t.clamp(min=2) // 2
    x_t, x_r = schedule.q_sample(POINTS, t, noise), schedule.q_sample(POINTS, r, noise)
    by_hand = (ask(model, schedule, x_t, t) - ask(other, schedule, x_r, r)).square().mean(1)
    ours = consistency_loss(model, schedule, POINTS, t, r, noise, target=other)
    assert torch.allclose(ours, by_hand, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("teacher", [False, True])
def test_the_loss_vanishes_for_the_exact_answer(teacher):
    """Data that is one point: all levels of a path agree, whoever steps down."""
    schedule, point = cosine(100), torch.tensor([0.4, -0.6])
    model = OnePoint(schedule, point)
    t, noise = draws(100)
    for r in (t // 2, t - 1, torch.zeros_like(t)):
        more = dict(teacher=model) if teacher else {}
        loss = consistency_loss(model, schedule, point.expand(64, 2), t, r, noise, **more)
        assert float(loss.max()) < 1e-8
    wrong = consistency_loss(network().requires_grad_(False), schedule, point.expand(64, 2), t, t // 2, noise)
    assert float(wrong.mean()) > 1e-3


def test_huber_is_square_near_zero_and_straight_far_away():
    schedule, model = cosine(100), network(prediction="x0")
    t, noise = draws(100)
    plain = consistency_loss(model, schedule, POINTS, t, t // 2, noise)
    rounded = consistency_loss(model, schedule, POINTS, t, t // 2, noise, huber=0.1)
    assert torch.allclose(rounded, (plain + 0.01).sqrt() - 0.1)
    wide = consistency_loss(model, schedule, POINTS, t, t // 2, noise, huber=1e3)
    assert torch.allclose(wide * 2e3, plain, rtol=0.05, atol=2e-1)


def test_clipping_keeps_the_target_in_the_range_of_the_data():
    schedule, teacher = cosine(100), Ends(torch.full((64, 2), 3.0))
    model, (t, noise) = Ends(torch.full((64, 2), 1.0)), draws(100)
    loss = consistency_loss(model, schedule, POINTS, t, torch.zeros_like(t), noise, teacher=teacher)
    assert torch.allclose(loss, torch.full((64,), 4.0))
    r = torch.zeros_like(t)
    loss = consistency_loss(model, schedule, POINTS, t, r, noise, teacher=teacher, clip_x0=1.0)
    assert torch.allclose(loss, torch.zeros(64))


def test_the_loss_refuses_what_it_cannot_mean():
    schedule, model = cosine(100), network()
    t, noise = draws(100)
    with pytest.raises(ValueError, match="must lie below t"):
        consistency_loss(model, schedule, POINTS, t, t, noise)
    with pytest.raises(TypeError, match="does not say what it predicts"):
        consistency_loss(lambda x, t: x, schedule, POINTS, t, t // 2, noise)
    with pytest.raises(ValueError, match="labels"):
        loss_of_pairs(lambda t: (t, t // 2))(model, schedule, POINTS, t, noise, t)


def trained(prediction, **options):
    run = Run(network(prediction=prediction), lr=3e-3)
    for _ in train(run, cosine(100), POINTS, 30, 16, **options):
        pass
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])


def test_train_with_clean_targets_is_plain_training():
    """train(loss=) with r = 0 and a network that predicts x_0 ends where the denoising loss ends."""
    clean = loss_of_pairs(lambda t: (t, torch.zeros_like(t)))
    assert torch.allclose(trained("x0", loss=clean), trained("x0"), atol=1e-6)


def test_train_with_pairs_is_repeatable_and_another_training():
    half = loss_of_pairs(lambda t: (t, t // 2))
    once = trained("v", loss=half)
    assert torch.equal(once, trained("v", loss=half)) and bool(once.isfinite().all())
    assert not torch.allclose(once, trained("v"), atol=1e-3)


# --- the rule


@pytest.mark.parametrize("steps", [1, 2, 4, 7])
def test_the_rule_visits_spaced_levels_and_ends_with_the_estimate(steps):
    """With exact answers the samples are exact, however few the steps."""
    schedule, model = cosine(100), Ends(POINTS)
    walk = list(reverse(model, schedule, consistency(steps), shape=(64, 2)))
    assert model.asked == ddim(steps).levels(100) and [s.t for s in walk] == [*model.asked, 0]
    assert torch.equal(walk[-1].x, POINTS)
    assert consistency(steps).name == f"consistency, {steps} step" + ("s" if steps > 1 else "")


def test_the_rule_puts_fresh_noise_back():
    """Between two visits x is q_sample of the estimate, with noise from the walk's own generator."""
    schedule = linear(100)
    states = list(reverse(Ends(POINTS), schedule, consistency(4), shape=(64, 2), seed=5))
    g = torch.Generator().manual_seed(5)
    assert torch.equal(states[0].x, torch.randn(64, 2, generator=g))
    for state in states[1:-1]:
        expected = schedule.q_sample(POINTS, state.t, torch.randn(64, 2, generator=g))
        assert torch.allclose(state.x, expected)


def test_one_seed_is_one_sample():
    schedule, model = cosine(100), network()
    a, b, c = (last(reverse(model, schedule, consistency(3), shape=(8, 2), seed=s)) for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.allclose(a, c)


def test_the_rule_refuses_what_spaced_refuses():
    with pytest.raises(ValueError, match="spacing"):
        consistency(4, spacing="even")
    with pytest.raises(ValueError, match="steps must lie"):
        consistency(101).levels(100)


# --- the experiment


def test_pairs_are_neighbours_of_a_grid():
    """Every stride of the grid is met, r is the level below t, and the top comes more often for power < 1."""
    t = torch.arange(1, 1001)
    high, low = experiment.pair_levels(t, 1000, 8, 1.0)
    assert sorted(set(zip(high.tolist(), low.tolist(), strict=True))) == [
        (125 * k, 125 * k - 125) for k in range(1, 9)
    ]
    assert torch.equal(torch.bincount(high)[125::125], torch.full((8,), 125))
    high, low = experiment.pair_levels(t, 1000, 24, 0.5)
    assert bool((low < high).all()) and int(low.min()) == 0 and int(high.max()) == 1000
    assert (high == 1000).float().mean() > 1.5 / 24
    assert {125, 250, 500, 750} < set(high.tolist())  # where 2, 4 and 8 steps ask


def test_recall_and_precision_by_hand():
    """Two clusters: samples that know one of them recall half; real data reaches all of these samples."""
    g = torch.Generator().manual_seed(0)
    left, right = torch.randn(50, 2, generator=g), torch.randn(50, 2, generator=g) + 100
    real = torch.cat([left, right])
    samples = left + 1e-3
    assert find_recall(samples, real) == pytest.approx(0.5)
    assert find_recall(real, samples) == 1.0


def test_the_share_read_alike_is_counted_by_noise():
    runs = [dict(read=[1, 2, 3, 4]), dict(read=[5, 5, 5, 5])]
    others = [dict(read=[1, 2, 0, 0]), dict(read=[5, 5, 5, 1])]
    assert experiment.share_alike(runs, others)["values"] == [0.5, 0.75]


def test_what_ships_reaches_the_owners_aims():
    """The bounds of the shipped results: four steps, one step, 64 digits in time."""
    for holds, sentence in experiment.FewSteps().bounds(checkpoints.load_results("few_steps")):
        assert holds, sentence


def test_the_student_that_ships_draws_in_one_step():
    """It is 04's network with other weights, and one step of it is not the blurred mean of all digits."""
    student, start = (checkpoints.load_model(name) for name in ("mnist_few_steps", "mnist_unet"))
    assert student.config == start.config and student.prediction == "v"
    x_T = torch.randn(16, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    rule, schedule = consistency(1), cosine(student.recipe["T"])
    leaps = [last(reverse(m, schedule, rule, x_T=x_T, clip_x0=1.0)) for m in (student, start)]
    spread = [float(x.std(0).mean()) for x in leaps]
    assert spread[0] > 3 * spread[1]
