"""Notebook 07: what the lab builds agrees with helpers and diffusers, and its figures are there."""

from functools import partial
from pathlib import Path

import pytest
import torch

from helpers import checkpoints
from helpers.exercises import decide, exercises, patches
from helpers.exercises.nb07 import Network, T, is_cured, lonely, noise_target
from helpers.models import LabUNet, parameter_count
from helpers.sampling import ancestral, ddim, last, reverse
from helpers.schedule import linear
from helpers.training import batches
from notebook_code import results_of

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "notebooks" / "source" / "07_fashion_lab.py"
WRITTEN = {"7.3": "fit", "7.5": "read_eps", "7.7": "half_way", "7.8": "nearest"}


@pytest.fixture(scope="module")
def opened():
    """The functions that the notebook's cells define, the network among them, and `my`."""
    from builder.source import read_source

    my = patches.solve("7.3").__globals__["my"]
    names = {"__name__": "lab", "torch": torch, "F": torch.nn.functional, "nn": torch.nn, "my": my}
    for cell in read_source(SOURCE):
        if cell.cell_type == "code" and any(
            f"class {c}(" in cell.source for c in ("Block", "Layers", "LabUNet")
        ):
            exec(cell.source, names)
    return names | {name: patches.solve(id) for id, name in WRITTEN.items()}


@pytest.fixture(scope="module")
def results():
    return results_of("fashion")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = LabUNet(a=8, b=16, c=24, emb_dim=16)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval().requires_grad_(False)


def noise(n=2, seed=0):
    return torch.randn(n, 1, 12, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("id", WRITTEN)
def test_the_solutions_are_right(opened, id):
    verdict = decide(exercises("07")[id], opened[WRITTEN[id]])
    assert verdict.state == "right", verdict.message


def test_the_tasks_are_of_their_kinds():
    kinds = [task.kind for task in exercises("07").values()]
    assert kinds == ["predict", "predict", "write", "hunt", "write", "break", "write", "write"]


@pytest.mark.parametrize(
    ("id", "guess", "truth", "state"),
    [
        ("7.1", 0.13, 0.1321, "right"),
        ("7.1", 13, 0.1321, "right"),
        ("7.1", 0.15, 0.1321, "right"),
        ("7.1", 0.02, 0.1321, "the square of the amplitude"),
        ("7.1", 0.006, 0.1321, "with the factor"),
        ("7.1", 0.37, 0.1321, "the root twice"),
        ("7.1", 0.3, 0.1321, ""),
        ("7.2", (7, 28), (7, 28), "right"),
        ("7.2", (7, 27), (7, 28), "right"),
        ("7.2", (9, 28), (7, 28), "one layer too many"),
        ("7.2", (3, 28), (7, 28), "one layer only"),
        ("7.2", (7, 12), (7, 28), "halving overlooked"),
    ],
)
def test_predictions(id, guess, truth, state):
    verdict = exercises("07")[id].compare(truth, {"first": guess})
    assert state in (verdict.state, verdict.mistake) and verdict.state in ("right", "off")


def test_the_amplitude_that_is_left():
    assert torch.cumprod(1 - torch.linspace(1e-4, 0.02, T), 0)[-1].sqrt().item() == pytest.approx(
        0.219, abs=1e-3
    )


def test_fit_draws_as_the_course_does(opened):
    """Its losses are those of the same steps on the batches of helpers."""
    g, losses = torch.Generator().manual_seed(3), []
    images = torch.rand(20, 1, 12, 8, generator=g) * 2 - 1
    for own in (True, False):
        torch.manual_seed(0)
        model = opened["LabUNet"](a=8, b=8, c=8, emb_dim=8)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        if own:
            generator = torch.Generator().manual_seed(5)
            rounds = opened["fit"](
                model, optimizer, linear(T), images, 3, lambda i: 1e-3, noise_target, generator, batch=4
            )
        else:
            step = partial(opened["my"].train_step, model, optimizer, linear(T), target=noise_target)
            rounds = (step(x0, t, noise) for x0, t, noise in batches(images, T, 3, 4, seed=5))
        losses.append(list(rounds))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(losses[0]) == 3


def test_a_list_is_no_loop():
    fit = patches.solve("7.3")
    verdict = decide(exercises("07")["7.3"], lambda *args, **more: list(fit(*args, **more)))
    assert (verdict.state, verdict.mistake) == ("wrong", "a list at the end")


def test_specks():
    """Fresh noise cures them; nothing but noise, or grey, is no cure; more evaluations are refused."""
    task = exercises("07")["7.6"]
    assert decide(task, patches.solve("7.6"), task.stub).state == "right"
    grey, noise = torch.zeros(16, 1, 28, 28), torch.randn(16, 1, 28, 28)
    assert "no garments" in is_cured([None, dict(x=grey)]) and "lonely" in is_cured([None, dict(x=noise)])
    network = Network(most=2)
    network(grey[:2], 5), network(grey[:2], torch.tensor([4, 4]))
    with pytest.raises(Exception, match="more than 30 times"):
        network(grey[:2], 3)


def test_lonely_pixels():
    x = torch.zeros(1, 1, 5, 4)
    x[0, 0, 1, 1], x[0, 0, 3, 2] = 0.5, -0.5
    assert lonely(x) == pytest.approx(2 / 20)
    x[0, 0, 1, 2] = 0.4  # a neighbour nearly as bright
    assert lonely(x) == pytest.approx(1 / 20)


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


def drawn(opened, network, levels, x, step, seed):
    """The end of a walk by the notebook's parts."""
    g = torch.Generator().manual_seed(seed)
    *_, (level, x, _) = opened["my"].walk(
        network, lab(opened, levels[0]), x, levels, step, opened["read_eps"], g
    )
    assert level == 0
    return x


def lab(opened, levels):
    return opened["my"].Schedule(opened["my"].linear_betas(levels))


def test_the_walk_is_ancestral(opened, network):
    g = torch.Generator().manual_seed(0)
    x_T = torch.randn(2, 1, 12, 8, generator=g)
    *_, (_, ours, _) = opened["my"].walk(
        network, lab(opened, 30), x_T, range(30, 0, -1), opened["my"].ancestral_step, opened["read_eps"], g
    )
    theirs = last(reverse(network, linear(30), ancestral(), x_T.shape, seed=0, clip_x0=1.0))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("levels", "k"), [(30, 10), (300, 10), (100, 25)])
def test_every_kth_level_is_ddim(opened, network, levels, k):
    ours = drawn(opened, network, range(levels, 0, -k), noise(), opened["my"].ddim_step, 0)
    theirs = last(reverse(network, linear(levels), ddim(levels // k), x_T=noise(), clip_x0=1.0))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_half_way_from_level_1_is_nearly_the_picture(opened, network):
    real, g = torch.rand(2, 1, 12, 8) * 2 - 1, torch.Generator().manual_seed(0)
    parts = opened["my"].ddim_step, opened["read_eps"], g
    near = opened["half_way"](network, lab(opened, 300), real, [1], *parts)
    far = opened["half_way"](network, lab(opened, 300), real, [300, 150], *parts)
    assert (near - real).abs().mean() < 0.1 < (far - real).abs().mean()


def test_it_learns(opened):
    """Thirty steps of the loop on sixteen pictures halve the loss."""
    torch.manual_seed(0)
    model, x0 = opened["LabUNet"](a=8, b=8, c=8, emb_dim=8), torch.ones(16, 1, 12, 12)
    optimizer, g = torch.optim.AdamW(model.parameters()), torch.Generator().manual_seed(0)
    losses = list(
        opened["fit"](model, optimizer, linear(T), x0, 30, lambda i: 5e-3, noise_target, g, batch=16)
    )
    assert losses[0] > 0.8 and sum(losses[-5:]) / 5 < 0.5 * losses[0]


def test_diffusers_draws_the_same(opened, network):
    """The configurations that the notebook names agree; each of the others differs."""
    from helpers.torchvision_compat import import_torchvision

    import_torchvision()
    diffusers = pytest.importorskip("diffusers")
    schedule, x_T = lab(opened, 30), noise()
    betas = dict(trained_betas=schedule.betas[1:].tolist())

    def library(scheduler, **options):
        x = x_T
        for t in scheduler.timesteps:  # our level t + 1
            x = scheduler.step(network(x, (t + 1).expand(len(x))), t, x, **options).prev_sample
        return x

    ours = drawn(opened, network, range(30, 0, -1), x_T, opened["my"].ancestral_step, 1)
    for variance in ("fixed_small", "fixed_large"):
        for clip in (True, False):
            scheduler = diffusers.DDPMScheduler(30, variance_type=variance, clip_sample=clip, **betas)
            gap = (library(scheduler, generator=torch.Generator().manual_seed(1)) - ours).abs().max()
            assert gap < 1e-3 if (variance, clip) == ("fixed_small", True) else gap > 1e-2, (variance, clip)

    ours = drawn(opened, network, range(30, 0, -10), x_T, opened["my"].ddim_step, 1)
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
    found = results_of("lab_seconds")
    assert (found["T"], found["batch_size"]) == (T, 64), "measured with other settings"
    assert found[found["faster"]]["ancestral_64"] > found[found["faster"]]["every_64"] > 0
