"""Notebook 05: what it builds in the open agrees with helpers and diffusers; what the stored results hold."""

import ast
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from helpers import checkpoints
from helpers.exercises import decide, exercises, patches
from helpers.models import UNet
from helpers.sampling import Rule, ancestral, ddim, dpm_solver, last, reverse, spaced
from helpers.schedule import cosine, linear, zero_terminal_snr
from notebook_code import results_of, run_tasks

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "notebooks" / "source" / "05_fast_samplers.py"
SPACINGS = ("trailing", "linspace", "leading")
SCHEDULES = pytest.mark.parametrize("schedule", [cosine(1000), linear(200)], ids=lambda s: s.name)


@pytest.fixture(scope="module")
def opened():
    """The functions that the notebook's write and break cells and its given cells define."""
    from builder.source import read_source

    cells, names = read_source(SOURCE), run_tasks(SOURCE, torch=torch)
    for name in ("class TwoStep", "def spaced_levels", "def slerp", "def filling"):
        [source] = [c.source for c in cells if c.cell_type == "code" and c.source.startswith(name)]
        exec(compile(ast.Module(ast.parse(source).body[:1], []), name, "exec"), names)
    return names


@pytest.fixture(scope="module")
def results():
    return results_of("samplers")


@pytest.fixture(scope="module")
def seconds():
    return results_of("sampler_seconds")["networks"]["mnist_unet"]["bf16"]


def small_network():
    torch.manual_seed(0)
    model = UNet(channels=(8, 16), emb_dim=16, heads=2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval().requires_grad_(False)


def start(n=3):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def in_float64(schedule):
    """What a step reads of a schedule, in float64: its formula without rounding."""
    return SimpleNamespace(alpha_bar=schedule.exact(torch.arange(schedule.T + 1)))


def walk(model, schedule, rule, clip=1.0):
    return last(reverse(model, schedule, rule, x_T=start(), seed=5, clip_x0=clip))


def test_the_solutions_are_right(opened):
    for exercise in exercises("05").values():
        if exercise.kind in ("write", "break"):
            verdict = decide(exercise, opened[patches._find(exercise.id).name])
            assert verdict.state == "right", verdict.message


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_every_eta_keeps_the_marginal(opened, eta):
    """Shares of old and fresh noise: their squares add up to 1 - alpha_bar at the new level."""
    schedule, step = in_float64(cosine(1000)), opened["my"].ddim_step
    for t, t_next in ((1000, 700), (600, 599), (400, 20), (20, 0)):
        old, fresh = (step(0.0, 1.0 - z, t, t_next, z, schedule, eta) for z in (0.0, 1.0))
        assert float(old**2 + fresh**2) == pytest.approx(float(1 - schedule.alpha_bar[t_next]), abs=1e-12)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("T", "steps"), [(1000, 50), (1000, 7), (300, 30), (200, 30)])
def test_levels_are_those_of_helpers(opened, T, steps, spacing):
    assert opened["spaced_levels"](T, steps, spacing) == spaced(steps, spacing)(T)


def test_the_sources_loop_starts_below_the_top(opened):
    assert opened["spaced_levels"](300, 30, "leading") == list(range(1, 301, 10))[::-1]


def test_the_table_of_spacings(opened):
    levels = {spacing: opened["spaced_levels"](1000, 5, spacing) for spacing in SPACINGS}
    for spacing, row in levels.items():
        assert f"| {', '.join(map(str, row))} |" in SOURCE.read_text(encoding="utf-8"), spacing


@pytest.mark.parametrize(("written", "state"), [("c 0.06", "right"), ("c -0.06", "off"), ("b 0.06", "off")])
def test_the_spacing_that_is_too_bright(results, written, state):
    row, real = results["spacing"], results["real"]["brightness"]
    above = {spacing: row[spacing]["10"]["brightness"]["mean"] - real for spacing in SPACINGS}
    assert max(above, key=above.get) == "leading" and above["leading"] == pytest.approx(0.06, abs=0.01)
    verdict = exercises("05")["5.3"].compare(("c", above["leading"]), {"first": written})
    assert verdict.state == state, verdict


@SCHEDULES
@pytest.mark.parametrize("clip", [1.0, None])
def test_dpm_is_that_of_helpers(opened, schedule, clip):
    def move(schedule, x, t, t_next, eps, x0, draw, before):
        return opened["dpm_step"](x0, eps, t, t_next, draw(), schedule, before)

    rule, model = dpm_solver(9), small_network()
    ours = walk(model, schedule, Rule("open", rule.levels, move), clip)
    torch.testing.assert_close(ours, walk(model, schedule, rule, clip), rtol=1e-4, atol=1e-5)


def test_dpm_is_short():
    """The issue asks for DPM-Solver++(2M) from scratch in under 25 lines."""
    assert len([line for line in patches._find("5.4").source.splitlines() if line.strip()]) < 25


def test_the_walk_with_two_step_is_the_solver(opened):
    my, model, schedule = opened["my"], small_network(), cosine(1000)
    *_, (_, x, _) = my.walk(model, schedule, start(), my.ddim_levels(1000, 9), opened["TwoStep"](), my.from_v)
    torch.testing.assert_close(x, walk(model, schedule, dpm_solver(9)), rtol=1e-4, atol=1e-5)


def test_without_a_step_before_dpm_is_ddim(opened):
    x0, eps = torch.randn(2, 3, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    args = x0, eps, 700, 500, torch.zeros(()), cosine(1000)
    assert torch.equal(opened["dpm_step"](*args), opened["my"].ddim_step(*args))


def test_blend_is_slerp_at_another_pace(opened):
    a, b = torch.randn(2, 64, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for share in (0.25, 0.5, 0.75):
        mixed = opened["blend"](a, b, math.sin(share * math.pi / 2) ** 2)
        assert (opened["slerp"](a, b, share) - mixed).square().mean().sqrt() < 0.05
        assert mixed.std() == pytest.approx(1, abs=0.02)


def test_what_is_known_stays(opened):
    """The completed pictures have the known pixels, exactly; elsewhere seeds differ."""
    my, model, schedule = opened["my"], small_network(), cosine(1000)
    known, mask = start().clamp(-1, 1), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[:, :, :4] = True
    drawn = []
    for seed in (0, 1):
        g = torch.Generator().manual_seed(seed)
        step, x = opened["filling"](known, mask, g), torch.randn(known.shape, generator=g)
        *_, (_, x, _) = my.walk(model, schedule, x, my.ddim_levels(1000, 5), step, my.from_v, g)
        drawn.append(x)
    assert all(torch.equal(x[:, :, :4], known[:, :, :4]) for x in drawn)
    assert not torch.allclose(drawn[0][:, :, 4:], drawn[1][:, :, 4:])


def test_slerp_keeps_the_length(opened):
    a, b = torch.randn(2, 64, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    ends = (a.flatten(1).norm(dim=1) + b.flatten(1).norm(dim=1)) / 2
    middle = opened["slerp"](a, b, 0.5).flatten(1).norm(dim=1)
    straight = ((a + b) / 2).flatten(1).norm(dim=1)
    assert (middle / ends - 1).abs().max() < 0.02 and (straight / ends).max() < 0.8
    torch.testing.assert_close(opened["slerp"](a, b, 0.0), a)
    torch.testing.assert_close(opened["slerp"](a, b, 1.0), b, rtol=1e-4, atol=1e-5)


def invert(step, model, schedule, x, steps):
    def ask(x, t):
        level = torch.full((len(x),), t)
        return schedule.from_output(model(x, level), x, level, model.prediction)[0]

    levels = [0, *reversed(spaced(steps)(schedule.T))]
    for t, t_up in zip(levels, levels[1:], strict=False):
        x = step(x, t, t_up, ask, schedule)
    return x


def test_the_inverted_noise_draws_the_picture(opened):
    """Better with more steps: each step up asks at its lower end, the step down at its upper end."""
    model, schedule, x = small_network(), cosine(1000), start().clamp(-1, 1)
    errors = []
    for steps in (10, 100):
        latent = invert(opened["invert_step"], model, schedule, x, steps)
        errors.append(relative(last(reverse(model, schedule, ddim(steps), x_T=latent)), x))
    assert errors[1] < errors[0] / 2 and errors[1] < 0.2


# diffusers ----------------------------------------------------------------------------------------

COMMON = dict(prediction_type="v_prediction", timestep_spacing="trailing")
METHOD = dict(
    algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint", final_sigmas_type="zero",
    sample_max_value=1.0,
)  # fmt: skip


def theirs(name, schedule, steps, clip):
    """Their scheduler and the options of its step, in the configuration that the notebook names."""
    diffusers = pytest.importorskip("diffusers")
    common = dict(trained_betas=schedule.betas[1:].tolist(), **COMMON)
    if name == "ddim":
        scheduler = diffusers.DDIMScheduler(schedule.T, clip_sample=clip, set_alpha_to_one=True, **common)
        options = dict(use_clipped_model_output=True)
    else:
        scheduler = diffusers.DPMSolverMultistepScheduler(schedule.T, thresholding=clip, **METHOD, **common)
        options = {}
    scheduler.set_timesteps(steps)
    return scheduler, options


def draw_theirs(scheduler, options, model, x):
    """Their walk; model(x, level): the library counts the noisy levels from 0, its t is our level t + 1."""
    for t in scheduler.timesteps:
        x = scheduler.step(model(x, int(t) + 1), t, x, **options).prev_sample
    return x


def relative(ours, other):
    return float((ours - other).norm() / other.norm())


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("steps", [10, 20])
@pytest.mark.parametrize(("name", "rule"), [("ddim", ddim), ("dpm", dpm_solver)])
def test_diffusers_draws_the_same(name, rule, steps, clip):
    """With the shipped network: a relative 1e-4, the issue's measure."""
    model, schedule = checkpoints.load_model("mnist_unet").requires_grad_(False), cosine(1000)
    x_T = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    scheduler, options = theirs(name, schedule, steps, clip)
    assert (scheduler.timesteps + 1).tolist() == rule(steps).levels(1000)
    x = draw_theirs(scheduler, options, lambda x, t: model(x, torch.full((len(x),), t)), x_T)
    ours = last(reverse(model, schedule, rule(steps), x_T=x_T, clip_x0=1.0 if clip else None))
    assert relative(ours, x) < 1e-4


@pytest.mark.parametrize(("name", "rule", "most"), [("ddim", ddim, 1e-12), ("dpm", dpm_solver, 1e-6)])
def test_what_is_left_is_their_rounding(name, rule, most):
    """Their float32 constants replaced by ours in float64, with a formula in place of the network."""
    schedule, x = cosine(1000), torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).double()
    scheduler, options = theirs(name, schedule, 20, False)
    scheduler.alphas_cumprod = schedule.exact(torch.arange(1, schedule.T + 1))
    if name == "ddim":
        scheduler.final_alpha_cumprod = torch.ones((), dtype=torch.float64)
    scheduler.set_timesteps(20)

    def v(x, t):
        return torch.sin(2 * x) * (1 - t / 2000)

    ours, before, levels = x, None, rule(20).levels(1000)
    for t, t_next in zip(levels, [*levels[1:], 0], strict=True):
        eps, x0 = schedule.from_output(v(ours, t), ours, t, "v")
        ours, before = rule(20).move(schedule, ours, t, t_next, eps, x0, None, before), (t, x0)
    x = draw_theirs(scheduler, options, v, x)
    assert x.dtype == torch.float64 and relative(ours, x) < most


# The top of the schedule --------------------------------------------------------------------------


def test_what_is_left_at_the_top():
    """The numbers of section 4: a fifth of the signal without rescaled betas, nothing after the repair."""
    flawed = linear(300, rescale=False)
    left = [float(s.alpha_bar[300].sqrt()) for s in (flawed, zero_terminal_snr(flawed), linear(300))]
    assert left[0] == pytest.approx(0.219, abs=1e-3)
    assert left[1] == 0 and left[2] < 0.01


@pytest.mark.parametrize("rule", [ddim(5), ddim(5, eta=1.0), dpm_solver(5), dpm_solver(5, 0.5), ancestral()])
def test_a_zero_at_the_top_gives_finite_samples(rule):
    x = last(reverse(small_network(), zero_terminal_snr(linear(100)), rule, x_T=start(), clip_x0=1.0))
    assert torch.isfinite(x).all()


# What the stored results hold ---------------------------------------------------------------------


def test_it_is_measured(results):
    """Nothing invented: the run says where it was made, from how many samples and seeds."""
    assert results["machine"]
    assert results["scoring"]["samples"] == results["floor"]["samples"] == 1000
    assert results["scoring"]["seeds"] == [0, 1, 2, 3, 4]
    assert results["short_recipe"]["steps"] == 1500
    assert results["recipe"]["step"] == checkpoints.load_model("mnist_unet").recipe["step"]


def test_every_count_is_there(results, seconds):
    """Five seeds at every count; the seconds of every count that was scored."""
    for sampler in ("ancestral", "ddim", "dpm", "fresh"):
        assert [int(n) for n in results["quality"][sampler]] == [4, 8, 10, 15, 20, 50]
        for n, row in results["quality"][sampler].items():
            assert len(row["distance"]["values"]) == len(row["confident"]["values"]) == 5
            assert sampler == "fresh" or n in seconds[sampler]
