"""Notebook 04: what it builds in the open agrees with helpers, and the stored results hold what it reads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import checkpoints, metrics, show
from helpers.exercises import decide, exercises
from helpers.models import UNet
from helpers.sampling import ancestral, ddim, last, reverse
from helpers.schedule import at, cosine, linear

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "notebooks" / "source" / "04_mnist_sampling.py"
RESULTS = ROOT / "data" / "results" / "mnist.json"


@pytest.fixture(scope="module")
def opened():
    """The functions that the notebook's exercise cells define, without their check."""
    from builder.source import exercises as cells_of
    from builder.source import read_source

    names = {"torch": torch, "at": at}
    for parsed in cells_of(read_source(SOURCE)).values():
        exec(parsed.solution, names)
    return names


@pytest.fixture(scope="module")
def results():
    if not RESULTS.exists():
        pytest.skip("data/results/mnist.json is not there: make train")
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def small_network():
    torch.manual_seed(0)
    model = UNet(channels=(8, 16), emb_dim=16, heads=2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval().requires_grad_(False)


def test_the_solutions_are_right(opened):
    for exercise in exercises("04").values():
        verdict = decide(exercise, opened[exercise.title])
        assert verdict.state == "right", verdict.message


@pytest.mark.parametrize("schedule", [cosine(1000), linear(200)], ids=lambda s: s.name)
def test_clamp_is_that_of_the_loop(opened, schedule):
    """A walk of two steps with the open clamp lands where the loop's clip_x0 lands."""
    model, rule = small_network(), ddim(2)
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    finished = last(reverse(model, schedule, rule, x_T=x, clip_x0=1.0))
    levels = [*rule.levels(schedule.T), 0]
    for t, t_next in zip(levels, levels[1:], strict=False):
        t = torch.full((3,), t)
        _, x0 = schedule.from_output(model(x, t), x, t, "v")
        eps, x0 = opened["clamp_x0"](x, t, x0, schedule)
        x = schedule.q_sample(x0, t_next, eps)
    torch.testing.assert_close(x, finished, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("T", "steps"), [(1000, 50), (1000, 7), (200, 30), (100, 100)])
def test_levels_are_trailing(opened, T, steps):
    assert opened["ddim_levels"](T, steps) == ddim(steps, spacing="trailing").levels(T)


@pytest.mark.parametrize(("states", "frames"), [(51, 42), (51, 5), (1001, 48), (7, 20)])
def test_frames_are_those_of_show(opened, states, frames):
    numbers = opened["frame_numbers"](states, frames)
    assert numbers == show.evenly(list(range(states)), frames)
    assert (numbers[0], numbers[-1]) == (0, states - 1)


def test_bytes_are_those_of_show(opened):
    images = 1.3 * torch.randn(5, 1, 6, 7, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(opened["to_bytes"](images)[:, 0].numpy(), show.to_grey(images))


def test_nearest_is_that_of_metrics(opened):
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(4, 1, 6, 7, generator=g), torch.randn(9, 1, 6, 7, generator=g)
    for ours, theirs in zip(opened["nearest"](a, b), metrics.nearest_neighbours(a, b), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_chi_square_is_that_of_scipy(opened):
    from scipy.stats import chisquare

    counts, shares = torch.tensor([90, 110, 100, 80]), torch.tensor([0.25, 0.25, 0.3, 0.2])
    theirs = chisquare(counts.numpy(), 380 * shares.double().numpy()).statistic
    assert float(opened["chi_square"](counts, shares)) == pytest.approx(theirs, rel=1e-4)


def test_diffusers_draws_the_same():
    """The configuration that the notebook names, with a small network: the same pictures."""
    diffusers = pytest.importorskip("diffusers")
    from data.experiments.mnist import draw_with_diffusers

    model, schedule = small_network(), cosine(100)
    common = dict(trained_betas=schedule.betas[1:].tolist(), prediction_type="v_prediction", clip_sample=True)
    g = torch.Generator().manual_seed(0)
    x_T = torch.randn(2, 1, 8, 8, generator=g)

    scheduler = diffusers.DDIMScheduler(100, timestep_spacing="trailing", set_alpha_to_one=True, **common)
    scheduler.set_timesteps(50)
    ours = last(reverse(model, schedule, ddim(50), x_T=x_T, clip_x0=1.0))
    assert (draw_with_diffusers(model, scheduler, x_T) - ours).abs().max() < 1e-4

    scheduler = diffusers.DDPMScheduler(100, variance_type="fixed_small", **common)
    ours = last(reverse(model, schedule, ancestral(), shape=x_T.shape, seed=0, clip_x0=1.0))
    assert (draw_with_diffusers(model, scheduler, x_T, seed=0) - ours).abs().max() < 1e-2


# What the stored results hold ---------------------------------------------------------------------


def test_stored_results_are_whole(results):
    """Rows of all snapshots with a figure over the seeds, and every number that the notebook prints."""
    rows = results["networks"]
    assert [row["name"] for row in rows] == ["1min", "5min", "20min", "final"]
    assert all(len(row["distance"]["values"]) == len(results["scoring"]["seeds"]) for row in rows)
    assert (results["final"]["samples"], results["final"]["steps"]) == (1000, 50)
    assert len(results["final"]["class_shares"]) == len(results["real"]["class_shares"]) == 10
    assert {"middle", "smallest"} < set(results["nearest"]["samples"]) == set(results["nearest"]["test"])
    assert results["floor"]["mean"] > 0 and {"ddim", "ddpm", "version"} < set(results["diffusers"])
    assert str(results["unclipped"]["steps"]) in results["steps"]


def test_images_that_ship(results):
    images = checkpoints.load_images("mnist")
    assert set(images) >= {"1min", "5min", "20min", "final", "ddim", "ancestral"}
    assert all(v.shape == (64, 1, 28, 28) and v.abs().max() <= 1 for v in images.values())


def test_final_checkpoint_is_the_one_scored(results):
    model = checkpoints.load_model("mnist_unet")
    assert model.recipe == {key: results["recipe"][key] for key in model.recipe}
    assert (model.config["channels"], model.prediction) == ([16, 48, 96], "v")


def test_bench_prints_every_row():
    """`make bench` in its small form runs to the end and names both networks."""
    environment = {**os.environ, "NOISE_TO_DIGITS_MODE": "smoke"}
    done = subprocess.run(
        [sys.executable, "-m", "data.experiments.bench"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "training" in done.stdout and "course U-Net" in done.stdout
    ours = done.stdout.partition("diffusers")[0]
    rows = [line.split(", ", 1)[1].split() for line in ours.splitlines() if " images, " in line]
    assert [" ".join(row).partition(" steps ")[0] for row in rows] == [
        "DPM-Solver++ 15", "DPM-Solver++ 20", "DDIM 10", "DDIM 50", "ancestral 1000", "DPM-Solver++ 15",
        "DPM-Solver++ guided 15",
    ]  # fmt: skip
    assert ["bfloat16" in " ".join(row) for row in rows] == [False] * 5 + [True, False]
