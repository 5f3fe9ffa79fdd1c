"""Notebook 04: what it builds in the open agrees with helpers, and the stored results hold what it reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers import checkpoints, classifiers, data, metrics
from helpers.exercises import decide, exercises, patches
from helpers.models import UNet
from helpers.sampling import ancestral, ddim, last, reverse
from helpers.schedule import cosine, linear
from helpers.training import Run, batches, learning_rate, train
from notebook_code import results_of

ROOT = Path(__file__).resolve().parents[1]
WRITTEN = {"4.1": "train_step", "4.3": "clamp_x0", "4.4": "ddim_levels", "4.5": "walk", "4.7": "frechet"}


@pytest.fixture(scope="module")
def opened():
    """The functions that the notebook's cells define."""
    return {name: patches.solve(id) for id, name in WRITTEN.items()}


@pytest.fixture(scope="module")
def results():
    return results_of("mnist")


def small_network():
    torch.manual_seed(0)
    model = UNet(channels=(8, 16), emb_dim=16, heads=2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval().requires_grad_(False)


def from_v(v, x_t, t, schedule):
    return schedule.from_output(v, x_t, t, "v")[::-1]


def ddim_step(x0, eps, t, t_next, noise, schedule):
    return schedule.q_sample(x0, t_next, eps)


def ancestral_step(x0, eps, t, t_next, noise, schedule):
    x_t = schedule.q_sample(x0, t, eps)
    mean, var = schedule.posterior(x0, x_t, torch.full((len(x_t),), t))
    return mean + var.sqrt() * noise


def test_the_tasks_are_of_their_kinds():
    kinds = {id: task.kind for id, task in exercises("04").items()}
    assert {id for id, kind in kinds.items() if kind == "write"} == WRITTEN.keys()
    assert (kinds["4.2"], kinds["4.6"], kinds["4.8"], kinds["4.9"]) == ("predict", "predict", "break", "hunt")


@pytest.mark.parametrize("id", WRITTEN)
def test_the_solutions_are_right(opened, id):
    exercise = exercises("04")[id]
    assert exercise.title == WRITTEN[id]
    verdict = decide(exercise, opened[exercise.title])
    assert verdict.state == "right", verdict.message


@pytest.mark.parametrize("schedule", [cosine(1000), linear(200)], ids=lambda s: s.name)
def test_the_walk_is_that_of_the_loop(opened, schedule):
    """The same states as `reverse` with clip_x0, and as many of them."""
    model, x = small_network(), torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    levels = opened["ddim_levels"](schedule.T, 7)
    theirs = list(reverse(model, schedule, ddim(7), x_T=x, clip_x0=1.0))[1:]
    ours = list(opened["walk"](model, schedule, x, levels, ddim_step, from_v))
    for (t, x, x0), state in zip(ours, theirs, strict=True):
        assert t == state.t
        torch.testing.assert_close(x, state.x, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(x0, state.x0, rtol=1e-4, atol=1e-5)


def test_the_ancestral_walk_is_that_of_the_loop(opened):
    model, schedule, shape = small_network(), cosine(60), (3, 1, 8, 8)
    theirs = last(reverse(model, schedule, ancestral(), shape, seed=3, clip_x0=1.0))
    g = torch.Generator().manual_seed(3)
    x, levels = torch.randn(shape, generator=g), list(range(60, 0, -1))
    *_, (_, ours, _) = opened["walk"](model, schedule, x, levels, ancestral_step, from_v, g)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("T", "steps"), [(1000, 50), (1000, 7), (200, 30), (100, 100)])
def test_levels_are_trailing(opened, T, steps):
    assert opened["ddim_levels"](T, steps) == ddim(steps, spacing="trailing").levels(T)


def test_the_training_is_that_of_helpers(opened):
    """The loop of the notebook around the opened step finds the losses of `train`."""
    images, schedule = torch.rand(40, 1, 8, 8) * 2 - 1, cosine(1000)
    losses, network = [], UNet(channels=(8, 16), emb_dim=16, heads=2, prediction="v")
    run = Run(UNet(channels=(8, 16), emb_dim=16, heads=2, prediction="v"), lr=1e-3, seed=0)
    run.model.load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01, fused=True)
    for n, (x0, t, noise) in enumerate(batches(images, 1000, 12, 16, seed=0)):
        optimizer.param_groups[0]["lr"] = learning_rate(n, 12, 1e-3)
        step = opened["train_step"](network, optimizer, schedule, x0, t, noise, v_target)
        losses.append(step)
    theirs = [step.loss for step in train(run, schedule, images, 12, batch_size=16)]
    assert losses == pytest.approx(theirs, rel=1e-3)


def v_target(x0, t, noise, schedule):
    return schedule.target(x0, t, noise, "v")


def test_the_distance_is_that_of_metrics_and_of_the_closed_form(opened):
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(40, 5, generator=g), 2 * torch.randn(30, 5, generator=g) + 1
    ours = opened["frechet"](a, b)
    assert ours.dtype == torch.float64 and ours.item() == pytest.approx(metrics.frechet_between(a, b))
    line = torch.zeros(40, 2)
    line[:, 0] = a[:, 0]
    other = 3 * line[:30] - torch.tensor([1.0, 0.0])
    means = (line[:, 0].mean() - other[:, 0].mean()) ** 2
    widths = (line[:, 0].std() - other[:, 0].std()) ** 2
    assert opened["frechet"](line, other).item() == pytest.approx((means + widths).item(), rel=1e-4)


@pytest.mark.slow
def test_what_spoils_a_set_is_accepted_and_what_spoils_the_pictures_is_not():
    wanted = exercises("04")["4.8"].wanted
    images, labels = data.mnist(train=False)

    def some(pictures):
        return pictures[torch.randperm(len(pictures), generator=torch.Generator().manual_seed(1))[:1000]]

    thin = images[images.mean((1, 2, 3)).argsort()[:2000]]
    for good in (
        some(images[labels >= 5]),
        some(images[labels == 1]),
        images[:1].repeat(1000, 1, 1, 1),
        some(thin),
    ):
        assert wanted([good]) is None
    blurred = torch.nn.functional.avg_pool2d(some(images), 3, 1, 1)
    assert "pictures themselves" in wanted([blurred])
    assert "three times the floor" in wanted([some(images)])
    assert "1,000 pictures" in wanted([images[:10]])


def test_the_floor_of_the_spoilt_set_is_the_stored_one(results):
    from helpers.exercises import nb04

    assert results["floor"]["mean"] == pytest.approx(nb04.FLOOR, abs=0.005)
    assert results["real"]["confident"] == pytest.approx(nb04.SURE, abs=0.005)
    assert classifiers.FEATURES == 64  # the notebook's answer counts the entries of its covariance


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
