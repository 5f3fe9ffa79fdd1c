"""Notebook 07: what the lab builds agrees with helpers and diffusers, and its figures are there."""

import json
from pathlib import Path

import pytest
import torch

from helpers import checkpoints, show
from helpers.exercises import decide, exercises
from helpers.exercises.nb07 import LabSchedule, T
from helpers.models import LabUNet, parameter_count
from helpers.sampling import ancestral, ddim, last, reverse
from helpers.schedule import at, linear

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "notebooks" / "source" / "07_fashion_lab.py"
RESULTS = ROOT / "data" / "results"


@pytest.fixture(scope="module")
def opened():
    """What the notebook defines up to its exercises: the given classes and the solutions, without checks."""
    from builder.source import exercises as cells_of
    from builder.source import read_source

    names = {"__name__": "lab", "torch": torch, "F": torch.nn.functional, "nn": torch.nn, "at": at}
    cells = read_source(SOURCE)
    solved = cells_of(cells)
    for cell in cells:
        if cell.cell_type == "code" and ("class Block(" in cell.source or "class Layers(" in cell.source):
            exec(cell.source, names)
        elif "exercise" in cell.metadata:
            exec(solved[cell.metadata["exercise"]].solution, names)
    return names


@pytest.fixture(scope="module")
def results():
    path = RESULTS / "fashion.json"
    if not path.exists():
        pytest.skip("data/results/fashion.json is not there: make train")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert "fake" not in found, "data/results/fashion.json is a stand-in for development: make train"
    return found


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = LabUNet(a=8, b=16, c=24, emb_dim=16)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval().requires_grad_(False)


def noise(n=2, seed=0):
    return torch.randn(n, 1, 12, 8, generator=torch.Generator().manual_seed(seed))


def test_the_solutions_are_right(opened):
    for exercise in exercises("07").values():
        verdict = decide(exercise, opened[exercise.title])
        assert verdict.state == "right", verdict.message


@pytest.mark.parametrize("levels", [100, 300, 1000])
def test_the_schedule_is_that_of_helpers(opened, levels):
    ours, theirs = opened["LabSchedule"](levels), linear(levels)
    torch.testing.assert_close(ours.betas, theirs.betas)
    torch.testing.assert_close(ours.alpha_bar, theirs.alpha_bar, rtol=1e-4, atol=1e-8)
    x0, fresh = noise(), noise(seed=1)
    for t in (torch.tensor([0, levels]), torch.tensor([1, levels // 2])):
        expected = theirs.q_sample(x0, t, fresh)
        torch.testing.assert_close(ours.q_sample(x0, t, fresh), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["betas", "alpha_bar"])
def test_a_schedule_without_level_0_is_named(name):
    class Short(LabSchedule):
        def __init__(self, T=300):
            super().__init__(T)
            setattr(self, name, getattr(self, name)[1:])

    verdict = decide(exercises("07")["7.1"], Short)
    assert (verdict.state, verdict.mistake) == ("wrong", "level 0 left out") and name in verdict.message


def test_the_open_network_takes_the_shipped_weights(opened):
    """The network built in the open and helpers.models.LabUNet: the same layers, names and output."""
    torch.manual_seed(0)
    theirs = LabUNet(classes=10)
    torch.nn.init.normal_(theirs.leave[-1].weight)
    ours = opened["LabUNet"](**theirs.config)
    ours.load_state_dict(theirs.state_dict())
    x, t, y = noise(), torch.tensor([1, 300]), torch.tensor([3, 10])
    torch.testing.assert_close(ours(x, t, y), theirs(x, t, y))
    assert not torch.allclose(ours(x, t, y), ours(x, t))


def test_a_real_u_net():
    """Three resolutions, a skip at each of them that is used, and a size that a CPU can train."""
    model, shapes = LabUNet(), {}
    torch.nn.init.normal_(model.leave[-1].weight)
    for name in ("down1", "down2", "down3", "up3", "up2", "up1"):
        block = getattr(model, name)
        block.register_forward_hook(lambda m, i, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
    model(torch.zeros(1, 1, 28, 28), torch.zeros(1, dtype=torch.long))
    assert [shapes[f"down{i}"] for i in (1, 2, 3)] == [(16, 28, 28), (32, 14, 14), (64, 7, 7)]
    assert all(shapes[f"up{i}"] == shapes[f"down{i}"] for i in (1, 2, 3))
    assert 0.2e6 < parameter_count(model) < 0.4e6
    x = torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0), requires_grad=True)
    model(x, torch.tensor([100]))[0, 0, 14, 14].backward()
    assert (x.grad[0, 0, ::4, ::4] != 0).float().mean() > 0.9


def test_ancestral_is_that_of_the_loop(opened, network):
    g = torch.Generator().manual_seed(0)
    x_T = torch.randn(2, 1, 12, 8, generator=g)
    walk = opened["ancestral"](network, LabSchedule(30), x_T, lambda x: torch.randn(x.shape, generator=g))
    *_, (level, ours) = walk
    theirs = last(reverse(network, linear(30), ancestral(), x_T.shape, seed=0, clip_x0=1.0))
    assert level == 0
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("levels", "k"), [(30, 10), (300, 10), (100, 25)])
def test_every_kth_is_ddim(opened, network, levels, k):
    *_, (level, ours) = opened["every_kth"](network, LabSchedule(levels), noise(), k)
    theirs = last(reverse(network, linear(levels), ddim(levels // k), x_T=noise(), clip_x0=1.0))
    assert level == 0
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_the_sheet_is_that_of_helpers(opened):
    """Without the white lines between the pictures."""
    images = 0.8 * torch.randn(6, 1, 5, 4, generator=torch.Generator().manual_seed(0))
    assert opened["sheet"](images, 3).numpy().tolist() == show.tiles(images, 3, pad=0).tolist()


def test_it_learns(opened):
    """Thirty steps of the open training step on sixteen pictures halve the loss."""
    torch.manual_seed(0)
    model, schedule = opened["LabUNet"](a=8, b=8, c=8, emb_dim=8), opened["LabSchedule"](T)
    optimizer, g = torch.optim.AdamW(model.parameters(), lr=5e-3), torch.Generator().manual_seed(0)
    x0, losses = torch.ones(16, 1, 12, 12), []
    for _ in range(30):
        t, fresh = torch.randint(1, T + 1, (16,), generator=g), torch.randn(x0.shape, generator=g)
        losses.append(opened["train_step"](model, optimizer, schedule, x0, t, fresh))
    assert losses[0] > 0.8 and sum(losses[-5:]) / 5 < 0.5 * losses[0]


def test_diffusers_draws_the_same(opened, network):
    """The configurations that the notebook names agree; each of the others differs."""
    from helpers.torchvision_compat import import_torchvision

    import_torchvision()
    diffusers = pytest.importorskip("diffusers")
    schedule, x_T = LabSchedule(30), noise()
    betas = dict(trained_betas=schedule.betas[1:].tolist())

    def library(scheduler, **options):
        x = x_T
        for t in scheduler.timesteps:  # our level t + 1
            x = scheduler.step(network(x, (t + 1).expand(len(x))), t, x, **options).prev_sample
        return x

    g = torch.Generator().manual_seed(1)
    *_, (_, ours) = opened["ancestral"](network, schedule, x_T, lambda x: torch.randn(x.shape, generator=g))
    for variance in ("fixed_small", "fixed_large"):
        for clip in (True, False):
            scheduler = diffusers.DDPMScheduler(30, variance_type=variance, clip_sample=clip, **betas)
            gap = (library(scheduler, generator=torch.Generator().manual_seed(1)) - ours).abs().max()
            assert gap < 1e-3 if (variance, clip) == ("fixed_small", True) else gap > 1e-2, (variance, clip)

    *_, (_, ours) = opened["every_kth"](network, schedule, x_T, 10)
    for spacing in ("trailing", "leading"):
        for follow in (True, False):
            scheduler = diffusers.DDIMScheduler(30, clip_sample=True, timestep_spacing=spacing, **betas)
            scheduler.set_timesteps(3)
            gap = (library(scheduler, use_clipped_model_output=follow) - ours).abs().max()
            assert gap < 1e-3 if (spacing, follow) == ("trailing", True) else gap > 1e-2, (spacing, follow)


# What is stored -----------------------------------------------------------------------------------


def test_two_trainings_and_two_stretch_tasks(results):
    assert results["scoring"]["samples"] >= 500
    for kind in ("fashion", "mnist", "cosine", "classes"):
        rows = results[kind]["snapshots"]
        assert [row["step"] for row in rows] == results["scoring"]["snapshots"]
        assert all(len(row["distance"]["values"]) == len(results["seeds"]) for row in rows)
        assert rows[-1]["step"] == results["recipe"]["steps"]
        assert len(results[kind]["loss"]) == len(results["seeds"])


def test_images_and_checkpoints_that_ship(results):
    images = checkpoints.load_images("fashion")
    for kind in ("fashion", "mnist"):
        assert images[f"{kind}_final"].shape == (64, 1, 28, 28)
        assert {f"{kind}_{step}" for step in results["scoring"]["snapshots"]} < set(images)
        model = checkpoints.load_model(f"{kind}_lab", LabUNet)
        assert (model.recipe["data"], model.recipe["steps"]) == (kind, results["recipe"]["steps"])
    assert images["classes_final"].shape == (100, 1, 28, 28)


def test_seconds_of_the_lab():
    path = RESULTS / "lab_seconds.json"
    if not path.exists():
        pytest.skip("data/results/lab_seconds.json is not there: make train")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert (found["T"], found["batch_size"]) == (T, 64), "measured with other settings"
    assert found[found["faster"]]["ancestral_64"] > found[found["faster"]]["every_64"] > 0
