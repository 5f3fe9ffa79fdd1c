"""Notebook 05: what it builds in the open agrees with helpers and diffusers, and its figures are reached."""

import json
from pathlib import Path

import pytest
import torch

from helpers import checkpoints
from helpers.exercises import exercises, judge
from helpers.models import UNet
from helpers.sampling import Rule, ancestral, ddim, dpm_solver, last, reverse, spaced
from helpers.schedule import cosine, linear, zero_terminal_snr
from helpers.train import samplers

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "notebooks" / "source" / "05_fast_samplers.py"
SCHEDULES = pytest.mark.parametrize("schedule", [cosine(1000), linear(200)], ids=lambda s: s.name)


@pytest.fixture(scope="module")
def opened():
    """The functions that the notebook's exercise cells define, without their check."""
    from builder.source import exercises as cells_of
    from builder.source import read_source

    names = {"torch": torch}
    for parsed in cells_of(read_source(SOURCE)).values():
        exec(parsed.solution, names)
    return names


def saved(name):
    path = ROOT / "data" / "results" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"data/results/{name}.json is not there: make train")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def results():
    return saved("samplers")


@pytest.fixture(scope="module")
def seconds():
    return saved("sampler_seconds")["networks"]["mnist_unet"]["bf16"]


def small_network():
    torch.manual_seed(0)
    model = UNet(channels=(8, 16), emb_dim=16, heads=2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval().requires_grad_(False)


def start(n=3):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def walk(model, schedule, rule, clip=1.0):
    return last(reverse(model, schedule, rule, x_T=start(), seed=5, clip_x0=clip))


def test_the_solutions_are_right(opened):
    for exercise in exercises("05").values():
        verdict = judge(exercise, opened[exercise.title])
        assert verdict.state == "right", verdict.message


@SCHEDULES
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_is_that_of_helpers(opened, schedule, eta):
    def move(schedule, x, t, t_next, eps, x0, draw, before):
        noise = draw() if eta and t_next >= 0 else 0.0
        return opened["ddim_step"](x0, eps, t, t_next, eta, noise, schedule)

    rule, model = ddim(7, eta=eta), small_network()
    torch.testing.assert_close(
        walk(model, schedule, Rule("open", rule.levels, move)),
        walk(model, schedule, rule),
        rtol=1e-4,
        atol=1e-5,
    )


@SCHEDULES
def test_eta_one_is_the_ancestral_step(opened, schedule):
    """The claim of the derivation: at neighbouring levels, mean and variance are the posterior's."""
    g = torch.Generator().manual_seed(0)
    x_t, x0 = torch.randn(2, 5, 3, generator=g, dtype=torch.float64)
    for t in (1, schedule.T // 2, schedule.T - 1):
        mean, variance = schedule.posterior(x0, x_t, t)
        eps = schedule.predict_eps(x_t, t, x0)
        ours = opened["ddim_step"](x0, eps, t, t - 1, 1.0, 0.0, schedule)
        torch.testing.assert_close(ours, mean, rtol=1e-9, atol=1e-9)
        ours = opened["ddim_variance"](t, t - 1, 1.0, schedule)
        torch.testing.assert_close(ours, variance.squeeze(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_every_eta_keeps_the_marginal(opened, eta):
    """Shares of old and fresh noise: their squares add up to 1 - alpha_bar at the new level."""
    schedule, one, zero = (
        cosine(1000),
        torch.ones(1, dtype=torch.float64),
        torch.zeros(1, dtype=torch.float64),
    )
    for t, t_next in ((999, 700), (600, 599), (400, 20), (19, -1)):
        step = opened["ddim_step"]
        old, fresh = (step(zero, e, t, t_next, eta, z, schedule) for e, z in ((one, zero), (zero, one)))
        assert float(old**2 + fresh**2) == pytest.approx(float(1 - schedule.alpha_bar(t_next)), abs=1e-12)


@pytest.mark.parametrize("spacing", ["trailing", "linspace", "leading"])
@pytest.mark.parametrize(("T", "steps"), [(1000, 50), (1000, 7), (300, 30), (200, 30)])
def test_levels_are_those_of_helpers(opened, T, steps, spacing):
    assert opened["spaced_levels"](T, steps, spacing) == spaced(steps, spacing)(T)


def test_the_sources_loop_starts_below_the_top(opened):
    assert opened["spaced_levels"](300, 30, "leading") == list(range(0, 300, 10))[::-1]


@SCHEDULES
@pytest.mark.parametrize("clip", [1.0, None])
def test_dpm_is_that_of_helpers(opened, schedule, clip):
    def move(schedule, x, t, t_next, eps, x0, draw, before):
        return opened["dpm_step"](x, t, t_next, x0, before, schedule)

    rule, model = dpm_solver(9), small_network()
    ours = walk(model, schedule, Rule("open", rule.levels, move), clip)
    torch.testing.assert_close(ours, walk(model, schedule, rule, clip), rtol=1e-4, atol=1e-5)


def test_dpm_is_short():
    """The issue asks for DPM-Solver++(2M) from scratch in under 25 lines."""
    from builder.source import exercises as cells_of
    from builder.source import read_source

    cell = cells_of(read_source(SOURCE))["5.4"].solution
    assert len([line for line in cell.splitlines() if line.strip()]) < 25


def test_without_a_step_before_dpm_is_ddim(opened):
    g, schedule = torch.Generator().manual_seed(0), cosine(1000)
    x, x0 = torch.randn(2, 3, 1, 4, 5, generator=g)
    eps = schedule.predict_eps(x, 700, x0)
    ours = opened["dpm_step"](x, 700, 500, x0, None, schedule)
    torch.testing.assert_close(ours, opened["ddim_step"](x0, eps, 700, 500, 0.0, 0.0, schedule))


def test_slerp_keeps_the_length(opened):
    a, b = torch.randn(2, 64, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    ends = (a.flatten(1).norm(dim=1) + b.flatten(1).norm(dim=1)) / 2
    middle = opened["slerp"](a, b, 0.5).flatten(1).norm(dim=1)
    straight = ((a + b) / 2).flatten(1).norm(dim=1)
    assert (middle / ends - 1).abs().max() < 0.02 and (straight / ends).max() < 0.8
    torch.testing.assert_close(opened["slerp"](a, b, 0.0), a)
    torch.testing.assert_close(opened["slerp"](a, b, 1.0), b, rtol=1e-4, atol=1e-5)


def test_inversion_is_that_of_the_training(opened):
    model, schedule, x = small_network(), cosine(1000), start().clamp(-1, 1)
    theirs, levels = samplers.invert(model, schedule, x, 10), [-1, *reversed(spaced(10)(1000))]

    def ask(x, t):
        return samplers.ask(model, schedule, x, t)

    for t, t_up in zip(levels, levels[1:], strict=False):
        x = opened["invert_step"](x, t, t_up, ask, schedule)
    torch.testing.assert_close(x, theirs, rtol=1e-4, atol=1e-5)


# diffusers ----------------------------------------------------------------------------------------

COMMON = dict(prediction_type="v_prediction", timestep_spacing="trailing")
METHOD = dict(
    algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint", final_sigmas_type="zero",
    sample_max_value=1.0,
)  # fmt: skip


def theirs(name, schedule, steps, clip):
    """Their scheduler and the options of its step, in the configuration that the notebook names."""
    diffusers = pytest.importorskip("diffusers")
    common = dict(trained_betas=schedule.betas.tolist(), **COMMON)
    if name == "ddim":
        scheduler = diffusers.DDIMScheduler(schedule.T, clip_sample=clip, set_alpha_to_one=True, **common)
        options = dict(use_clipped_model_output=True)
    else:
        scheduler = diffusers.DPMSolverMultistepScheduler(schedule.T, thresholding=clip, **METHOD, **common)
        options = {}
    scheduler.set_timesteps(steps)
    return scheduler, options


def relative(ours, other):
    return float((ours - other).norm() / other.norm())


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("steps", [10, 20])
@pytest.mark.parametrize(("name", "rule"), [("ddim", ddim), ("dpm", dpm_solver)])
def test_diffusers_draws_the_same(name, rule, steps, clip):
    """With the shipped network: a relative 1e-4, the issue's measure."""
    model, schedule = checkpoints.load_model("mnist_unet").requires_grad_(False), cosine(1000)
    x = x_T = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    scheduler, options = theirs(name, schedule, steps, clip)
    assert scheduler.timesteps.tolist() == rule(steps).levels(1000)
    for t in scheduler.timesteps:
        x = scheduler.step(model(x, t.expand(len(x))), t, x, **options).prev_sample
    ours = last(reverse(model, schedule, rule(steps), x_T=x_T, clip_x0=1.0 if clip else None))
    assert relative(ours, x) < 1e-4


@pytest.mark.parametrize(("name", "rule", "most"), [("ddim", ddim, 1e-12), ("dpm", dpm_solver, 1e-6)])
def test_what_is_left_is_their_rounding(name, rule, most):
    """Their float32 constants replaced by ours in float64, with a formula in place of the network."""
    schedule, x = cosine(1000), torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).double()
    scheduler, options = theirs(name, schedule, 20, False)
    abar = schedule.abar64[: schedule.T]
    scheduler.alphas_cumprod = abar
    if name == "ddim":
        scheduler.final_alpha_cumprod = torch.ones((), dtype=torch.float64)
    scheduler.set_timesteps(20)

    def v(x, t):
        return torch.sin(2 * x) * (1 - t / 2000)

    ours, before, levels = x, None, rule(20).levels(1000)
    for t, t_next in zip(levels, [*levels[1:], -1], strict=True):
        eps, x0 = schedule.from_output(v(ours, t), ours, t, "v")
        ours, before = rule(20).move(schedule, ours, t, t_next, eps, x0, None, before), (t, x0)
    for t in scheduler.timesteps:
        x = scheduler.step(v(x, int(t)), t, x, **options).prev_sample
    assert x.dtype == torch.float64 and relative(ours, x) < most


# The training script ------------------------------------------------------------------------------


def test_power_levels():
    assert samplers.power_levels(1000, 20, 1.0) == spaced(20, "trailing")(1000)
    dense = samplers.power_levels(1000, 20, 2.0)
    assert dense[0] == 999 and dense == sorted(set(dense), reverse=True) and dense[-1] < 49


def test_the_short_schedules():
    found = {name: float(s.abar64[s.T - 1].sqrt()) for name, s in samplers.short_schedules().items()}
    assert found["uncorrected"] == pytest.approx(0.219, abs=1e-3)
    assert found["zero_terminal"] == 0 and found["rescaled"] < 0.01


@pytest.mark.parametrize("rule", [ddim(5), ddim(5, eta=1.0), dpm_solver(5), ancestral(every=20)])
def test_a_zero_at_the_top_gives_finite_samples(rule):
    x = last(reverse(small_network(), zero_terminal_snr(linear(100)), rule, x_T=start(), clip_x0=1.0))
    assert torch.isfinite(x).all()


def test_corrections_invert_better():
    model, schedule, x = small_network(), cosine(1000), start().clamp(-1, 1)
    errors = [samplers.inversion(model, schedule, x, 20, c)["error"] for c in (0, 3)]
    assert errors[1] < errors[0]


# The figures reached ------------------------------------------------------------------------------


def distance(results, sampler, count):
    return results["quality"][sampler][str(count)]["distance"]["mean"]


def test_it_is_measured(results):
    """Nothing invented: the run says where it was made, from how many samples and seeds."""
    assert results["machine"] and results["seconds"] > 60
    assert results["scoring"]["samples"] == samplers.SAMPLES == results["floor"]["samples"]
    assert tuple(results["scoring"]["seeds"]) == samplers.SEEDS
    assert results["short_recipe"]["steps"] == samplers.SHORT_STEPS
    assert results["recipe"]["step"] == checkpoints.load_model("mnist_unet").recipe["step"]


def test_every_count_is_there(results, seconds):
    """Three seeds up to 20 evaluations, one above; 1,000 for the ancestral walk alone."""
    for sampler in ("ancestral", "ddim", "dpm"):
        counts = [n for n in samplers.EVALUATIONS if n < 1000 or sampler == "ancestral"]
        assert [int(n) for n in results["quality"][sampler]] == counts
        assert [int(n) for n in seconds[sampler]] == list(samplers.EVALUATIONS)
        for n, row in results["quality"][sampler].items():
            assert len(row["distance"]["runs"]) == (3 if int(n) <= samplers.REPEATED else 1)


def test_a_second_and_the_distance(results, seconds):
    """To reach: 64 images in at most 1.0 s at a distance at most 1.25 times that of 1,000 ancestral steps."""
    goal = 1.25 * distance(results, "ancestral", 1000)
    assert [
        (sampler, n)
        for sampler in ("dpm", "ddim", "ancestral")
        for n in results["quality"][sampler]
        if distance(results, sampler, n) <= goal and seconds[sampler][n] <= 1
    ]


def test_naive_skipping_fails_and_ddim_does_not(results):
    for every in samplers.SKIPS:
        assert results["naive"][str(every)]["distance"]["mean"] > 2 * distance(results, "ddim", 1000 // every)


def test_the_higher_order_is_more_precise(results):
    """Nearer to the end of the full walk, and ever more so with more steps. (No claim about the distance.)"""
    ddim_gaps, dpm_gaps = (results["convergence"][name] for name in ("ddim", "dpm"))
    ratios = [ddim_gaps[n] / dpm_gaps[n] for n in ("20", "50", "100")]
    assert min(ratios) > 1.5


def test_seed_by_seed_the_second_order_is_nearer(results):
    """DPM-Solver++ against DDIM from the same starting noises: nearer at every count, with every seed."""
    for n, row in results["quality"]["dpm"].items():
        runs = zip(row["distance"]["runs"], results["quality"]["ddim"][n]["distance"]["runs"], strict=True)
        assert all(dpm < ddim for dpm, ddim in runs), n


def test_starting_below_the_top_is_too_bright(results):
    real, rows = results["real"]["brightness"], results["spacing"]
    for count in ("10", "20"):
        off = {s: rows[s][count]["brightness"]["mean"] - real for s in rows}
        assert off["leading"] > max(0, off["trailing"], off["linspace"])
        worst = max(rows, key=lambda s: rows[s][count]["distance"]["mean"])
        assert worst == "leading"


def test_the_terminal_signal_shows(results):
    """Started from pure noise, the uncorrected network draws too brightly; from a true x_T it does not."""
    real, short = results["short_recipe"]["brightness"], results["short"]
    off = {k: abs(w["brightness"]["mean"] - real) for k, w in short["uncorrected"]["walks"].items()}
    assert off["trailing-30"] > 2 * off["true_start-30"] and off["leading-30"] > off["trailing-30"]
    for kind in ("zero_terminal", "rescaled"):
        assert abs(short[kind]["walks"]["trailing-30"]["brightness"]["mean"] - real) < off["trailing-30"]


def test_inversion_gets_better(results):
    errors = [row["0"]["error"] for _, row in sorted(results["inversion"].items(), key=lambda r: int(r[0]))]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.02
