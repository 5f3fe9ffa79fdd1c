"""Notebook 07: what the lab builds agrees with helpers and diffusers, and its figures are there."""

import json
from pathlib import Path

import pytest
import torch

from helpers import checkpoints, show
from helpers.exercises import exercises, judge
from helpers.exercises.nb07 import LabSchedule, LabUNet, T
from helpers.models import parameter_count
from helpers.sampling import ancestral, ddim, last, reverse
from helpers.schedule import linear
from helpers.train import fashion, lab_seconds

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "notebooks" / "source" / "07_fashion_lab.py"
RESULTS = ROOT / "data" / "results"


@pytest.fixture(scope="module")
def opened():
    """What the notebook defines up to its exercises: the given classes and the solutions, without checks."""
    from builder.source import exercises as cells_of
    from builder.source import read_source

    names = {"__name__": "lab"}
    exec("import torch\nimport torch.nn.functional as F\nfrom torch import nn", names)
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
        verdict = judge(exercise, opened[exercise.title])
        assert verdict.state == "right", verdict.message


@pytest.mark.parametrize("levels", [100, 300, 1000])
def test_the_schedule_is_that_of_helpers(opened, levels):
    ours, theirs = opened["LabSchedule"](levels), linear(levels)
    torch.testing.assert_close(ours.betas, theirs.betas)
    torch.testing.assert_close(ours.alpha_bar, theirs.alphas_cumprod, rtol=1e-4, atol=1e-8)
    x0, fresh, t = noise(), noise(seed=1), torch.tensor([0, levels - 1])
    torch.testing.assert_close(
        ours.q_sample(x0, t, fresh), theirs.q_sample(x0, t, fresh), rtol=1e-4, atol=1e-5
    )


def test_the_open_network_takes_the_shipped_weights(opened):
    """The same layers under the same names, and the same output."""
    torch.manual_seed(0)
    theirs = LabUNet(classes=10)
    torch.nn.init.normal_(theirs.leave[-1].weight)
    ours = opened["LabUNet"](**theirs.config)
    ours.load_state_dict(theirs.state_dict())
    x, t, y = noise(), torch.tensor([5, 290]), torch.tensor([3, 10])
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
    assert level == -1
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("levels", "k"), [(30, 10), (300, 10), (100, 25)])
def test_every_kth_is_ddim(opened, network, levels, k):
    *_, (level, ours) = opened["every_kth"](network, LabSchedule(levels), noise(), k)
    theirs = last(reverse(network, linear(levels), ddim(levels // k), x_T=noise(), clip_x0=1.0))
    assert level == -1
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
        t, fresh = torch.randint(T, (16,), generator=g), torch.randn(x0.shape, generator=g)
        losses.append(opened["train_step"](model, optimizer, schedule, x0, t, fresh))
    assert losses[0] > 0.8 and sum(losses[-5:]) / 5 < 0.5 * losses[0]


def test_diffusers_draws_the_same(opened, network):
    """The configurations that the notebook names agree; each of the others differs."""
    from helpers.torchvision_compat import import_torchvision

    import_torchvision()
    diffusers = pytest.importorskip("diffusers")
    schedule, x_T = LabSchedule(30), noise()
    betas = dict(trained_betas=schedule.betas.tolist())

    def library(scheduler, **options):
        x = x_T
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, t.expand(len(x))), t, x, **options).prev_sample
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


def test_labels_reach_the_network():
    """In draw(), example i is asked for class i % 10."""
    model = LabUNet(a=8, b=8, c=8, emb_dim=8, classes=10)
    asked = []
    model.register_forward_pre_hook(lambda m, inputs: asked.append(inputs[2]))
    fashion.draw(model, linear(30), 12, 0)
    assert len(asked) == 30 and asked[0].tolist() == [*range(10), 0, 1]


def test_the_scripts_run(tmp_path, monkeypatch):
    """Tiny settings through the same code: every key that the notebook reads is written."""
    for kind in ("fashion", "mnist"):
        for role in ("features", "judge"):
            if not (checkpoints.CHECKPOINTS / f"{kind}_{role}.safetensors").exists():
                pytest.skip("the judges are not there: make train")
    for kind in fashion.SETS:
        fashion.loaded(kind)  # with the classifiers, before the folder changes
    monkeypatch.setattr(checkpoints, "RESULTS", tmp_path)
    lab_seconds.main(steps=1, walk=3)
    found = json.loads((tmp_path / "lab_seconds.json").read_text(encoding="utf-8"))
    assert found[found["faster"]]["step"] > 0 and found["T"] == T
    runs = [dict(seed=s, loss=[1.0], seconds=1.0, final=dict(distance=2.0, confident=0.5),
                 snapshots=[dict(step=1, distance=2.0 + s, confident=0.5)]) for s in (0, 1)]  # fmt: skip
    table = fashion.summary(runs, floor=0.5)
    assert table["few"]["ratio"]["mean"] == 5.0 and table["final"]["distance"]["std"] == 0


# The figures reached ------------------------------------------------------------------------------


def test_two_trainings_and_two_stretch_tasks(results):
    assert results["seeds"] == list(fashion.SEEDS) and results["scoring"]["samples"] == fashion.SAMPLES >= 500
    assert results["recipe"]["steps"] == fashion.STEPS
    for kind in ("fashion", "mnist", "cosine", "classes"):
        rows = results[kind]["snapshots"]
        assert [row["step"] for row in rows] == results["scoring"]["snapshots"]
        assert all(len(row["distance"]["runs"]) == len(results["seeds"]) for row in rows)
        assert rows[-1]["step"] == results["recipe"]["steps"]
        assert len(results[kind]["loss"]) == len(results["seeds"])


def test_more_training_smaller_distance(results):
    """The last snapshot against that of 500 steps, by more than the spread; always above the floor."""
    for kind in ("fashion", "mnist"):
        rows = [row["distance"] for row in results[kind]["snapshots"] if row["step"] >= 500]
        assert rows[0]["mean"] - rows[-1]["mean"] > rows[0]["std"] + rows[-1]["std"]
        assert rows[-1]["mean"] > results["floors"][kind]["mean"]


def test_fresh_noise_forgives(results):
    """The walk without fresh noise is further off, with the same strides and the same weights."""
    for kind in ("fashion", "mnist"):
        few, fresh = (results[kind][key]["distance"]["mean"] for key in ("few", "fresh"))
        assert fresh < few and results[kind]["final"]["distance"]["mean"] < 0.8 * few


def test_which_is_harder(results):
    """Clothes by the loss, at every step after the first hundred; by the distance in floors nobody."""
    clothes, digits = results["fashion"], results["mnist"]
    for a, b in zip(clothes["loss"], digits["loss"], strict=True):
        assert all(x > 1.2 * y for x, y in zip(a[2:], b[2:], strict=True))
    ratios = [kind["final"]["ratio"]["mean"] for kind in (clothes, digits)]
    floors = [results["floors"][kind] for kind in ("fashion", "mnist")]
    assert max(ratios) / min(ratios) - 1 < min(floor["std"] / floor["mean"] for floor in floors)
    assert digits["snapshots"][0]["ratio"]["mean"] > clothes["snapshots"][0]["ratio"]["mean"]


def test_labels_help_and_the_cosine_does_not(results):
    """At this budget, with the trainings that there are."""
    linear_, cosine_, labels = (results[kind] for kind in ("fashion", "cosine", "classes"))
    means = [kind["final"]["distance"]["mean"] for kind in (labels, linear_, cosine_)]
    assert means == sorted(means)
    for a, b in zip(linear_["snapshots"], cosine_["snapshots"], strict=True):
        assert a["step"] < 1000 or a["distance"]["mean"] < b["distance"]["mean"]


def test_images_and_checkpoints_that_ship(results):
    images = checkpoints.load_images("fashion")
    for kind in ("fashion", "mnist"):
        assert images[f"{kind}_final"].shape == (64, 1, 28, 28)
        assert {f"{kind}_{step}" for step in results["scoring"]["snapshots"]} < set(images)
        model = checkpoints.load_model(f"{kind}_lab", LabUNet)
        assert (model.recipe["data"], model.recipe["steps"]) == (kind, results["recipe"]["steps"])
    assert images["classes_final"].shape == (100, 1, 28, 28)


def test_labels_are_obeyed(results):
    """Most samples are judged as the class asked for; real images set the scale."""
    asked = results["classes"]["final"]["as_asked"]["mean"]
    assert asked > results["floors"]["fashion"]["accuracy"] - 0.2


def test_seconds_of_the_lab():
    path = RESULTS / "lab_seconds.json"
    if not path.exists():
        pytest.skip("data/results/lab_seconds.json is not there: python -m helpers.train lab_seconds")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert (found["steps"], found["batch_size"]) == (lab_seconds.STEPS, 64), "measured with other settings"
    assert found[found["faster"]]["ancestral_64"] > found[found["faster"]]["every_64"] > 0
