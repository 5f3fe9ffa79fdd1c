"""Notebook 09: what it builds in the open agrees with helpers, scipy and the formulas of its text."""

import ast
import json
import math
from pathlib import Path

import pytest
import torch
from scipy.integrate import solve_ivp

from builder.source import read_source
from helpers import data, flow, metrics
from helpers.exercises import decide, exercises, nb09, patches
from helpers.models import PointMLP
from helpers.sampling import ddim, dpm_solver, last, reverse
from helpers.schedule import Schedule, cosine, linear
from helpers.training import denoising_loss
from notebook_code import results_of, run_tasks

SOURCE = Path(__file__).resolve().parents[1] / "notebooks" / "source" / "09_straight_paths.py"
GIVEN = (
    "CENTRES",
    "best_guess",
    "go_back",
    "draw_numbers",
    "go_forward",
    "distance_from_exact",
    "exact_field",
)
GIVEN += ("follow", "euler_step", "midpoint_step", "walk_down", "pair_loss", "field_of", "log_likelihood")
GIVEN += ("ask_exactly", "rule_of", "bend")


@pytest.fixture(scope="module")
def opened():
    """The functions that the notebook's tasks and its given cells define."""
    cells = read_source(SOURCE)
    names = dict(torch=torch, math=math, choose=lambda read, smoke: read, T=1000)
    names |= dict(euler=flow.euler, midpoint=flow.midpoint, heun=flow.heun, chain=linear(1000))
    names = run_tasks(SOURCE, **names)
    for cell in (c for c in cells if c.cell_type == "code" and "exercise" not in c.metadata):
        made = [node for node in ast.parse(cell.source).body if defines(node)]
        exec(compile(ast.Module(made, []), "<given>", "exec"), names)
    return names


def defines(node):
    """Whether a statement makes one of the names that the tests use."""
    if isinstance(node, ast.FunctionDef):
        return node.name in GIVEN
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).strip("()").split(",")[0] in GIVEN


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_solutions_are_right():
    for exercise in exercises("09").values():
        if exercise.kind in ("write", "break"):
            verdict = decide(exercise, patches._find(exercise.id).function)
            assert verdict.state == "right", verdict.message


# The chain and its way back -----------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_every_member_of_the_family_has_the_exact_distribution(opened, eta):
    n = 4000
    path = opened["go_back"](normals(n, 1, seed=5), eta, seed=2)
    for t in (900, 300, 0):
        assert opened["distance_from_exact"](path[t], t) < 1.95 / n**0.5


def test_the_ode_keeps_the_order_and_the_sde_does_not(opened):
    starts = torch.linspace(-1.5, 1.5, 41)[:, None]
    ends = [opened["go_back"](starts, eta)[0, :, 0] for eta in (0.0, 1.0)]
    assert (ends[0].diff() > 0).all() and not (ends[1].diff() > 0).all()


def test_one_start_two_ways_back(opened):
    start = torch.full((4000, 1), 0.5)
    shares = [(opened["go_back"](start, eta, seed=1)[0] > 0).float().mean().item() for eta in (0.0, 1.0)]
    assert shares[0] == 1 and shares[1] == pytest.approx(0.5, abs=0.04)
    written = {"first": "1 0.5"}
    assert exercises("09")["9.1"].compare(tuple(shares), written).state == "right"
    assert exercises("09")["9.1"].compare(tuple(shares), {"first": "0.5 0.5"}).state == "off"


def test_with_kicks_a_small_step_is_nearly_the_ancestral_step(opened):
    """Both are the reverse SDE: they differ in the second order of beta."""
    by, x, eps = linear(1000), normals(500, 2), normals(500, 2, seed=1)
    t, noise = 400, normals(500, 2, seed=2)
    ours = opened["small_step"](x, eps, t, noise, by, 1.0)
    x0 = by.predict_x0(x, t, eps)
    theirs = opened["my"].ddim_step(x0, eps, t, t - 1, noise, by, 1.0)
    beta = by.betas[t].item()
    assert (ours - theirs).abs().max() < 5 * beta**1.5 < 0.01


# DDIM and Euler -----------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [cosine(1000), linear(200)], ids=lambda s: s.name)
def test_euler_in_ratio_is_ddim(opened, schedule):
    """Step by step along a walk of 10, to 1e-5 and far better, in float64."""
    x, net = normals(6, 2).double(), small_network()
    levels = ddim(10).levels(schedule.T)
    for t, t_next in zip(levels, [*levels[1:], 0], strict=True):
        v = net(x.float(), torch.full((6,), t)).double()
        eps, x0 = schedule.from_output(v, x, t, "v")
        ours = opened["euler_in_ratio"](x, eps, t, t_next, schedule)
        x = ddim(10).move(schedule, x, t, t_next, eps, x0, None)
        assert (ours - x).abs().max() < 1e-9


def test_v_is_the_velocity_along_the_angle():
    x0, eps = normals(2, 5, 2).double()
    angle = torch.tensor(0.8, dtype=torch.float64)

    def place(angle):
        return angle.cos() * x0 + angle.sin() * eps

    _, velocity = torch.autograd.functional.jvp(place, angle, torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(velocity, angle.cos() * eps - angle.sin() * x0)


# Flow matching ------------------------------------------------------------------------------------


def small_network(seed=0):
    torch.manual_seed(seed)
    return PointMLP(width=16, depth=1, features=2, time_dim=8, prediction="v").requires_grad_(False)


def test_the_loss_is_what_training_on_the_straight_path_computes(opened):
    net, path = small_network(), flow.straight(1000)
    x0, noise = normals(2, 20, 2)
    t = torch.randint(1, 1001, (20,), generator=torch.Generator().manual_seed(3))
    ours = opened["flow_loss"](net, path, x0, t, noise)
    torch.testing.assert_close(ours, denoising_loss(net, path, x0, t, noise))


def test_the_loss_of_pairs_takes_their_own_noise(opened):
    net, path = small_network(), flow.straight(1000)
    x0, noise = normals(2, 20, 2)
    t, pair = torch.full((20,), 300), torch.cat([x0, noise], dim=1)
    ours = opened["pair_loss"](net, path, pair, t, normals(20, 4, seed=9))
    torch.testing.assert_close(ours, opened["flow_loss"](net, path, x0, t, noise))


def test_the_best_answer_where_lines_cross_is_the_mean(opened):
    x0, eps = opened["draw_numbers"](400_000, seed=7), normals(400_000, 1, seed=8)
    for place, s in ((0.0, 0.5), (0.3, 0.6), (-0.5, 0.2)):
        near = ((1 - s) * x0 + s * eps - place).abs() < 0.02
        mean = (eps - x0)[near].mean().item()
        assert opened["exact_field"](torch.full((1, 1), place), s).item() == pytest.approx(mean, abs=0.05)


# Solvers ------------------------------------------------------------------------------------------


def solved(opened, start):
    """scipy's solution of the exact flow from s = 1 to 0, (n, 1)."""

    def velocity(s, x):
        return opened["exact_field"](torch.tensor(x)[:, None], float(s))[:, 0].numpy()

    found = solve_ivp(velocity, (1.0, 0.0), start[:, 0].numpy(), rtol=1e-10, atol=1e-12, method="DOP853")
    return torch.tensor(found.y[:, -1])[:, None]


@pytest.mark.parametrize(("step", "slope"), [("euler_step", -1), ("midpoint_step", -2), ("heun_step", -2)])
def test_the_slopes_that_the_text_names(opened, step, slope):
    start = normals(100, 1, seed=9).double()
    truth, counts = solved(opened, start), (64, 256)
    ends = [opened["walk_down"](opened[step], opened["exact_field"], start, n) for n in counts]
    errors = [(end - truth).abs().mean().item() for end in ends]
    found = math.log(errors[1] / errors[0]) / math.log(counts[1] / counts[0])
    assert found == pytest.approx(slope, abs=0.2) and errors[1] < 0.01


def test_with_four_evaluations_euler_is_better(opened):
    """What the text says of the left end of the figure."""
    start = normals(400, 1, seed=9).double()
    truth = solved(opened, start)
    costs = {"euler_step": 1, "midpoint_step": 2, "heun_step": 2}
    ends = {s: opened["walk_down"](opened[s], opened["exact_field"], start, 4 // c) for s, c in costs.items()}
    errors = {step: (end - truth).abs().mean().item() for step, end in ends.items()}
    assert min(errors, key=errors.get) == "euler_step"


def test_dpm_on_the_circle_ends_where_the_straight_flow_does(opened):
    opened["twin"] = Schedule(flow.straight(1024).betas, "twin")
    opened["ask_exactly"].prediction = "x0"
    start = normals(100, 1, seed=9).double()
    truth, errors = solved(opened, start), []
    for n in (16, 128):
        end = last(reverse(opened["ask_exactly"], opened["twin"], dpm_solver(n), x_T=start))
        errors.append((end - truth).abs().mean().item())
    assert errors[1] < errors[0] / 16 and errors[1] < 1e-3


def test_dpm_leads_first_is_last_at_16_and_stalls(opened):
    """What the text says of its line in the figure of errors."""
    opened["twin"] = Schedule(flow.straight(1024).betas, "twin")
    opened["ask_exactly"].prediction = "x0"
    start = normals(400, 1, seed=9).double()
    truth = opened["walk_down"](opened["heun_step"], opened["exact_field"], start, 1000)

    def error(end):
        return (end - truth).abs().mean().item()

    dpm, others = {}, {}
    for n in (4, 8, 16, 64, 128, 256):
        dpm[n] = error(last(reverse(opened["ask_exactly"], opened["twin"], dpm_solver(n), x_T=start)))
        steps = {"euler_step": n, "midpoint_step": n // 2, "heun_step": n // 2}
        others[n] = {
            s: error(opened["walk_down"](opened[s], opened["exact_field"], start, k))
            for s, k in steps.items()
        }
    assert dpm[4] < min(others[4].values()) and dpm[16] > max(others[16].values())
    assert dpm[8] > others[8]["euler_step"] > others[8]["midpoint_step"]
    assert dpm[128] > 0.8 * dpm[64] and dpm[256] < 0.6 * dpm[128]


@pytest.mark.parametrize(("step", "rule"), [("euler_step", flow.euler), ("midpoint_step", flow.midpoint)])
def test_the_steps_are_those_of_helpers(opened, step, rule):
    net, start = small_network(), normals(10, 2)
    ours = opened["walk_down"](opened[step], opened["field_of"](net), start, 10)
    theirs = last(reverse(net, flow.straight(1000), rule(10), x_T=start))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_heun_is_that_of_helpers_but_for_the_last_step(opened):
    net, start, steps = small_network(), normals(10, 2), 10
    x, field = start, opened["field_of"](net)
    for i in range(steps):
        step = opened["heun_step"] if i < steps - 1 else opened["euler_step"]
        x = step(field, x, 1 - i / steps, 1 - (i + 1) / steps)
    theirs = last(reverse(net, flow.straight(1000), flow.heun(steps), x_T=start))
    torch.testing.assert_close(x, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("solver", ["Euler", "midpoint", "Heun"])
def test_equal_evaluations(opened, solver):
    for n in (4, 8, 32):
        assert n - 1 <= len(opened["rule_of"](solver, n).levels(1000)) <= n


def test_paths_that_go_straight_have_no_bend(opened):
    def toward(x, t):  # every walker keeps its first velocity: away from half of its noise
        s = t[:, None] / 1000
        return x / (1 + s)

    assert opened["bend"](toward, n=50) < 1e-9
    assert opened["bend"](lambda x, t: torch.sin(3 * x), n=50) > 0.01


# Likelihood ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", [nb09.bent, nb09.twisted])
def test_the_divergence_against_finite_differences(opened, field):
    d, h = (2 if field is nb09.bent else 3), 1e-5
    x = normals(30, d).double()
    u, found = opened["divergence"](field, x, 0.4)
    torch.testing.assert_close(u, field(x, 0.4))
    total = 0
    for i in range(d):
        step = torch.zeros(d, dtype=torch.float64)
        step[i] = h
        total = total + (field(x + step, 0.4) - field(x - step, 0.4))[:, i] / (2 * h)
    torch.testing.assert_close(found, total, rtol=1e-6, atol=1e-7)


def test_the_divergence_is_left_without_gradients(opened):
    x = normals(5, 2)
    u, found = opened["divergence"](nb09.bent, x, 0.4)
    assert not (u.requires_grad or found.requires_grad or x.requires_grad)


def test_the_likelihood_of_the_mixture_is_that_of_its_formula(opened):
    """Within 0.02 nats on average, and its integral is 1."""
    x = opened["draw_numbers"](500, seed=20)
    bells = torch.distributions.Normal(opened["CENTRES"], opened["WIDTH"])
    found = opened["log_likelihood"](opened["exact_field"], x, 100)
    assert (found - bells.log_prob(x).exp().mean(1).log()).abs().mean() < 0.02
    grid = torch.linspace(-2, 2, 801)[:, None]
    integral = opened["log_likelihood"](opened["exact_field"], grid, 100).exp().sum() * 0.005
    assert integral == pytest.approx(1, abs=0.01)


def test_a_linear_field_has_a_gaussian(opened):
    """u = x log 2 doubles every place from data to noise: the data are Gaussian with deviation one half."""
    x = 0.5 * normals(50, 2)
    found = opened["log_likelihood"](lambda x, s: math.log(2) * x, x, 200)
    wanted = torch.distributions.Normal(0, 0.5).log_prob(x).sum(1)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def test_the_entropy_of_the_board():
    """Eight squares of side one half: an area of 2, an entropy of log 2."""
    points, squares = data.checkerboard(20_000)
    assert metrics.share_inside(points) == 1
    corner = torch.stack([(2 * points + 2).floor().amin(0), (2 * points + 2).floor().amax(0)])
    assert corner.tolist() == [[0, 0], [3, 3]] and len(squares.unique()) == 8


# The hunt -----------------------------------------------------------------------------------------


def test_the_hunts_pipeline_is_right_without_a_patch():
    result = nb09.pipeline_09(*nb09.setting())
    assert nb09.integral(result) == pytest.approx(1, abs=0.005)
    assert nb09.error(result) < 0.01


def test_a_straight_flow_and_the_circle_draw_the_same_from_the_same_noise(opened):
    """In y and r no schedule is left, so the exact flows differ in scale and clock only."""
    start = normals(200, 1, seed=4)
    circle = opened["go_back"](start, 0.0)[0]
    line = opened["walk_down"](opened["midpoint_step"], opened["exact_field"], start, 200)
    assert (circle - line).abs().median() < 0.01


def test_euler_on_the_line_is_ddim_at_the_same_ratios(opened):
    """Even with four steps: both keep the guesses of eps and x_0 and mix them anew."""
    stops = torch.tensor([0.98, 0.7, 0.5, 0.2, 0.0], dtype=torch.float64)
    scale = ((1 - stops) ** 2 + stops**2).sqrt()  # x on the line = scale * x on the circle
    line = normals(100, 1, seed=4).double()
    circle = line / scale[0]
    for i in range(4):
        line = opened["euler_step"](opened["exact_field"], line, stops[i], stops[i + 1])
        eps, x0 = opened["best_guess"](circle, (1 - stops[i]) / scale[i], stops[i] / scale[i])
        circle = ((1 - stops[i + 1]) * x0 + stops[i + 1] * eps) / scale[i + 1]
    torch.testing.assert_close(line, circle * scale[-1])


# What the stored results hold ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def results():
    return results_of("straight")["variants"]


def score(results, variant, rule, n):
    found = results[variant]["rules"][rule][str(n)]["distance"]
    assert len(found["values"]) == 3
    return found["mean"], found["std"]


def apart(results, variant, n):
    """The distances of a flow walked by Euler minus those of v on the circle by DDIM, seed by seed."""
    rules = results[variant]["rules"]["euler"], results["v_cosine"]["rules"]["ddim"]
    ours, theirs = (torch.tensor(rule[str(n)]["distance"]["values"]) for rule in rules)
    return ours - theirs


def test_with_four_evaluations_times_matter_in_each_seed(results):
    assert (apart(results, "flow", 4) > 0).all() and (apart(results, "flow_logit_normal", 4) < 0).all()


@pytest.mark.parametrize("variant", ["flow", "flow_logit_normal"])
@pytest.mark.parametrize("n", [20, 50])
def test_with_many_evaluations_nothing_is_left_of_it(results, variant, n):
    assert apart(results, variant, n).mean().abs() < 0.5


def test_one_seed_is_worse_in_all_rows(results):
    for variant in results:
        for rule in results[variant]["rules"].values():
            for found in rule.values():
                values = found["distance"]["values"]
                assert values.index(max(values)) == 2


def test_two_midpoint_steps_beat_four_of_euler_on_digits(results):
    assert 1.5 * score(results, "flow", "midpoint", 4)[0] < score(results, "flow", "euler", 4)[0]


@pytest.mark.parametrize("n", [4, 8])
def test_the_shift_costs_in_few_steps_on_small_digits(results, n):
    assert score(results, "flow", "shifted", n)[0] > score(results, "flow", "euler", n)[0]


def test_with_eight_evaluations_others_are_nearer_than_midpoint(results):
    midpoint = score(results, "flow", "midpoint", 8)[0]
    others = ("flow", "heun"), ("v_cosine", "dpm"), ("flow_logit_normal", "dpm")
    assert all(score(results, *pair, 8)[0] < midpoint for pair in others)


def test_the_shift_costs_nothing_with_many_steps(results):
    assert score(results, "flow", "shifted", 20)[0] < score(results, "flow", "euler", 20)[0] + 0.3


def test_on_mnist_the_straight_path_and_the_shift_pay_with_each_seed():
    path = SOURCE.parents[2] / "data" / "results" / "straight_mnist.json"
    if not path.exists():
        pytest.skip("data/results/straight_mnist.json is not there: make train")
    found = json.loads(path.read_text(encoding="utf-8"))["variants"]

    def values(variant, rule, n):
        return torch.tensor(found[variant]["rules"][rule][n]["distance"]["values"])

    for n in ("4", "8", "20"):
        assert (values("flow", "euler", n) < values("v_cosine", "ddim", n)).all()
        assert (values("flow", "shifted", n) < values("flow", "euler", n)).all()
