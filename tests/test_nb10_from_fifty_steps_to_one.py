"""Notebook 10: what it builds in the open agrees with helpers, with autograd and with what the text says."""

from pathlib import Path

import pytest
import torch

from helpers import few_steps
from helpers.exercises import decide, exercises, patches
from helpers.models import PointMLP, UNet
from helpers.sampling import Rule, last, reverse, spaced
from helpers.schedule import cosine, linear
from notebook_code import results_of, run_tasks

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "notebooks" / "source" / "10_from_fifty_steps_to_one.py"


@pytest.fixture(scope="module")
def opened():
    """The functions that the notebook's write and break cells and its given cells define."""
    from builder.source import read_source
    from helpers.models import timestep_embedding

    cells = read_source(SOURCE)
    names = dict(torch=torch, PointMLP=PointMLP, timestep_embedding=timestep_embedding)
    names["silu"] = torch.nn.functional.silu
    names = run_tasks(SOURCE, **names)
    for cell in cells:
        if cell.cell_type == "code" and cell.source.startswith("def end_of_path"):
            exec(cell.source, names)
        if cell.cell_type == "code" and "class MeanVelocity" in cell.source:
            exec(cell.source, names)
    return names


def small_network(seed=0):
    torch.manual_seed(seed)
    return PointMLP(width=16, depth=1, features=2, time_dim=8, prediction="v")


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_solutions_are_right(opened):
    for exercise in exercises("10").values():
        if exercise.kind in ("write", "break"):
            verdict = decide(exercise, opened[patches._find(exercise.id).name])
            assert verdict.state == "right", verdict.message


# The map ------------------------------------------------------------------------------------------


def test_the_stretch_of_a_linear_map_is_the_norm_of_its_matrix(opened):
    matrix = draw(3, 3)
    found = opened["stretch"](lambda x: x @ matrix.T, draw(5, 3, seed=1))
    torch.testing.assert_close(found, matrix.norm().expand(5))


def test_the_stretch_of_a_walk_agrees_with_finite_differences(opened):
    """Through DDIM steps, as the notebook's picture has it."""
    schedule, x, mix = cosine(1000), draw(4, 2).double(), draw(2, 2, seed=1).double()

    def walk(x):
        for t, t_next in ((1000, 600), (600, 200), (200, 0)):
            v = torch.sin(2 * x @ mix) * (1 - t / 2000) - x  # a formula in place of the network, in float64
            eps, x0 = schedule.from_output(v, x, t, "v")
            x = schedule.q_sample(x0, t_next, eps)
        return x

    total = torch.zeros(4, dtype=torch.float64)
    for i in range(2):
        h = torch.zeros(2, dtype=torch.float64)
        h[i] = 1e-5
        total += ((walk(x + h) - walk(x - h)) / 2e-5).square().sum(1)
    torch.testing.assert_close(opened["stretch"](walk, x), total.sqrt(), rtol=1e-6, atol=1e-8)


# Consistency --------------------------------------------------------------------------------------


def test_at_the_clean_end_a_student_answers_with_its_input(opened):
    x = draw(6, 2)
    answer = opened["end_of_path"](small_network(), x, torch.zeros(6, dtype=torch.long), cosine(1000))
    assert torch.equal(answer, x)


def test_the_end_of_a_path_is_the_estimate_of_every_notebook(opened):
    model, x, t, schedule = (
        small_network(),
        draw(6, 2),
        torch.tensor([1, 50, 300, 600, 999, 1000]),
        cosine(1000),
    )
    theirs = schedule.from_output(model(x, t), x, t, "v")[1]
    torch.testing.assert_close(opened["end_of_path"](model, x, t, schedule), theirs)


def test_the_loss_is_that_of_helpers(opened):
    """Where clipping the teacher's estimate, which only helpers does, changes nothing."""
    student, teacher, schedule = small_network(1), small_network(2), cosine(1000)
    x0, noise = 0.2 * draw(64, 2), 0.2 * draw(64, 2, seed=1)
    t = torch.randint(100, 700, (64,), generator=torch.Generator().manual_seed(0))
    r = t - 100
    clean = schedule.from_output(
        teacher(schedule.q_sample(x0, t, noise), t), schedule.q_sample(x0, t, noise), t, "v"
    )
    kept = clean[1].abs().amax(1) < 1
    assert kept.sum() > 20
    ours = opened["consistency_loss"](student, teacher, schedule, x0, t, r, noise)
    theirs = few_steps.consistency_loss(student, schedule, x0, t, r, noise, teacher=teacher, clip_x0=1.0)
    torch.testing.assert_close(ours[kept], theirs[kept], rtol=1e-4, atol=1e-6)
    (mine_,) = torch.autograd.grad(ours[kept].sum(), student.leave.weight)
    (other,) = torch.autograd.grad(theirs[kept].sum(), student.leave.weight)
    torch.testing.assert_close(mine_, other, rtol=1e-3, atol=1e-5)


def test_the_target_carries_no_gradient(opened):
    """A student that answers only at r, and not at t, gets no gradient at all."""

    class OnlyBelow(torch.nn.Module):
        prediction = "v"

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

        def forward(self, x, t):
            return torch.where((t < 500)[:, None], self.weight * x, 0 * self.weight)

    t, r, student = torch.full((4,), 600), torch.full((4,), 400), OnlyBelow()
    loss = opened["consistency_loss"](
        student, small_network(), cosine(1000), draw(4, 2), t, r, draw(4, 2, seed=1)
    )
    (found,) = torch.autograd.grad(loss.sum(), student.weight)
    assert float(found) == 0


def test_the_mean_of_pairs_is_a_step_of_the_exact_denoiser():
    """Section 5's equation, by Monte Carlo: data on two spots, one x_t."""
    schedule, t, r, x_t = cosine(1000), 500, 400, 0.3
    a, a_r = schedule.alpha_bar[t], schedule.alpha_bar[r]
    spots = torch.tensor([-1.0, 1.0])
    weights = torch.softmax(-((x_t - a.sqrt() * spots) ** 2) / (2 * (1 - a)), 0)
    x0 = spots
    eps = (x_t - a.sqrt() * x0) / (1 - a).sqrt()  # the noise that each spot would need
    pairs = (weights * schedule.q_sample(x0, r, eps)).sum()
    mean_x0, mean_eps = (weights * x0).sum(), (weights * eps).sum()
    torch.testing.assert_close(pairs, a_r.sqrt() * mean_x0 + (1 - a_r).sqrt() * mean_eps)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_few_steps_are_the_rule_of_helpers(opened, steps):
    """Both ask at the same levels; the noises that the loop draws are handed to the notebook's function."""
    torch.manual_seed(0)
    model, schedule = UNet(channels=(8, 16), emb_dim=16, heads=2).eval().requires_grad_(False), cosine(1000)
    model.prediction, drawn = "v", []
    rule = few_steps.consistency(steps)

    def keep(schedule, x, t, t_next, eps, x0, fresh, before):
        def noted():
            drawn.append(fresh())
            return drawn[-1]

        return rule.move(schedule, x, t, t_next, eps, x0, noted, before)

    x_T = draw(3, 1, 8, 8)
    theirs = last(reverse(model, schedule, Rule("noted", rule.levels, keep), x_T=x_T, seed=4, clip_x0=1.0))

    def f(x, t):
        return opened["end_of_path"](model, x, torch.full((len(x),), t), schedule).clamp(-1, 1)

    levels = spaced(steps)(1000)
    assert len(drawn) == steps - 1 and rule.levels(1000) == levels
    ours = opened["draw_few"](f, x_T, levels, drawn, schedule)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


# MeanFlow -----------------------------------------------------------------------------------------


def test_the_right_average_velocity_has_no_loss(opened):
    """Data on one spot m: the velocity is (x - m) / s, the path a straight line, and u that for every r."""
    m = torch.tensor([0.3, -0.6])

    def exact(x, r, s):
        return (x - m) / s[:, None]

    s = torch.tensor([0.2, 0.5, 0.9, 1.0])
    loss = opened["mean_flow_loss"](exact, m.expand(4, 2), s * 0.3, s, draw(4, 2))
    assert float(loss.max()) < 1e-10


def test_the_identity_holds_for_a_path_that_bends(opened):
    """Velocity v(x, s) = x s on paths x_s = x_0 exp(s^2 / 2): its average in closed form obeys it."""
    x, r, s = draw(5, 2).double(), torch.rand(5).double() * 0.4, 0.5 + torch.rand(5).double() * 0.4

    def average(x, r, s):
        at_r = x * torch.exp((r**2 - s**2) / 2)[:, None]
        return (x - at_r) / (s - r)[:, None]

    v = x * s[:, None]
    u, change = torch.func.jvp(average, (x, r, s), (v, torch.zeros_like(r), torch.ones_like(s)))
    torch.testing.assert_close(u, v - (s - r)[:, None] * change)
    _, wrong = torch.func.jvp(average, (x, r, s), (0 * v, torch.zeros_like(r), torch.ones_like(s)))
    assert (u - (v - (s - r)[:, None] * wrong)).abs().max() > 0.01


def test_for_no_way_at_all_it_is_flow_matching(opened):
    model, s = (
        opened["MeanVelocity"](width=16, depth=1, features=2, time_dim=8),
        torch.tensor([0.1, 0.5, 1.0]),
    )
    x0, noise = draw(3, 2), draw(3, 2, seed=1)
    x = (1 - s)[:, None] * x0 + s[:, None] * noise
    plain = (model(x, s, s) - (noise - x0)).square().mean(1)
    torch.testing.assert_close(opened["mean_flow_loss"](model, x0, s, s, noise), plain)


# Recall -------------------------------------------------------------------------------------------


def test_recall_is_that_of_the_experiments(opened):
    from data.experiments.mnist_samplers import find_recall

    real, made = draw(300, 8), 0.8 * draw(200, 8, seed=1)
    ours = float(opened["recall"](real, made))
    assert ours == pytest.approx(find_recall(made, real), abs=1e-6) and 0 < ours < 1


def test_recall_sees_what_is_missing(opened):
    real = torch.cat([draw(200, 2), draw(200, 2, seed=1) + 20])
    half, whole = draw(200, 2, seed=2), torch.cat([draw(100, 2, seed=2), draw(100, 2, seed=3) + 20])
    assert float(opened["recall"](real, half)) < 0.52 < 0.9 < float(opened["recall"](real, whole))


# The break and the stored results -----------------------------------------------------------------


@pytest.mark.parametrize("schedule", [cosine(1000), linear(200)], ids=lambda s: s.name)
def test_a_broken_pair_has_the_same_marginals(opened, schedule):
    x0, noise, fresh = draw(3, 20_000, 1)
    t, r = torch.full((20_000,), schedule.T // 2), torch.full((20_000,), schedule.T // 4)
    upper, lower = opened["noised_pair"](x0, t, r, noise, fresh, schedule)
    assert torch.equal(upper, schedule.q_sample(x0, t, noise))
    assert float(lower.std()) == pytest.approx(float(schedule.q_sample(x0, r, noise).std()), rel=0.02)
    rest = lower - schedule.alpha_bar[r[0]].sqrt() * x0
    assert abs(float(torch.corrcoef(torch.stack([rest[:, 0], noise[:, 0]]))[0, 1])) < 0.03


def test_what_the_text_says_of_the_student_holds():
    """Section 9: better with four leaps than with one, far better than the same leaps untrained."""
    found = results_of("few_steps")
    quality, agree, guided = found["quality"], found["agree"], found["quality"]["guided"]["24"]
    one, four = (quality["student"][n] for n in ("1", "4"))
    assert four["distance"]["mean"] < one["distance"]["mean"]
    assert four["confident"]["mean"] > one["confident"]["mean"]
    assert quality["alone"]["4"]["distance"]["mean"] > 2 * four["distance"]["mean"]
    reach = [quality["student"][n]["recall"]["mean"] for n in ("1", "8")]
    assert reach[1] < reach[0] < quality["ddim"]["50"]["recall"]["mean"]
    assert reach[1] < found["real"]["recall"] < reach[0]  # so recall alone shows no loss
    variety = [quality["student"][n]["diversity"]["mean"] for n in ("1", "2", "4", "8")]
    assert variety == sorted(variety) and variety[-1] < quality["ddim"]["50"]["diversity"]["mean"]
    walks = results_of("samplers")["quality"]
    rows = [row["confident"] for name in ("ddim", "dpm", "fresh") for row in walks[name].values()]
    best = max(rows, key=lambda row: row["mean"])
    assert best == walks["fresh"]["50"]["confident"]  # level with the best of them
    assert abs(four["confident"]["mean"] - best["mean"]) < four["confident"]["std"]
    assert all(guided["confident"]["mean"] > row["mean"] for row in rows)
    near = [walks["fresh"][n]["distance"]["mean"] for n in ("50", "20")]
    assert near[0] < four["distance"]["mean"] < near[1]
    sure = (one["distance"]["mean"], one["confident"]["mean"])
    # one evaluation is where DDIM is at 15
    like = [walks["ddim"]["15"][key]["mean"] for key in ("distance", "confident")]
    assert sure == pytest.approx(like, rel=0.05)
    assert one["precision"]["mean"] == min(row["precision"]["mean"] for row in quality["student"].values())
    assert one["precision"]["mean"] < quality["ddim"]["50"]["precision"]["mean"] < found["real"]["precision"]
    assert agree["4"]["mean"] < agree["1"]["mean"] - 0.02  # the answer of 10.9


def test_the_goals_of_the_student():
    """Four steps within 1.5 times the distance of fifty; one step at least 75 % confident."""
    quality = results_of("few_steps")["quality"]
    assert quality["student"]["4"]["distance"]["mean"] <= 1.5 * quality["ddim"]["50"]["distance"]["mean"]
    assert quality["student"]["1"]["confident"]["mean"] >= 0.75
