"""Notebook 06: what it builds in the open agrees with helpers, and the stored results hold what it reads."""

from pathlib import Path

import pytest
import torch
from torch import nn

from builder.source import read_source
from data.experiments import guidance
from helpers import checkpoints, training
from helpers.exercises import decide, exercises, mine, patches
from helpers.guidance import Guided
from helpers.models import PointMLP, UNet, embed_label
from helpers.sampling import ddim, dpm_solver, last, reverse
from helpers.schedule import cosine
from notebook_code import results_of

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "notebooks" / "source" / "06_guidance.py"
WRITTEN = {"6.1": "Labelled", "6.2": "drop_labels", "6.3": "guide", "6.4": "guided", "6.7": "diversity"}


@pytest.fixture(scope="module")
def opened():
    """What the notebook's cells define: the solutions, and scale_at, which is given."""
    given = {"torch": torch}
    [cell] = [c for c in read_source(SOURCE) if c.source.startswith("def scale_at")]
    exec(cell.source, given)
    return given | {name: patches.solve(id) for id, name in {**WRITTEN, "6.5": "guided_too"}.items()}


@pytest.fixture(scope="module")
def results():
    return results_of("guidance")


def points_network():
    torch.manual_seed(0)
    return shaken(PointMLP(width=16, depth=1, features=2, time_dim=16, classes=3, prediction="v"))


def image_network(prediction="v"):
    torch.manual_seed(0)
    return shaken(UNet(channels=(8, 16), emb_dim=16, heads=2, classes=5, prediction=prediction))


def shaken(model):
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval().requires_grad_(False)


def batch(model, n=6):
    g = torch.Generator().manual_seed(1)
    shape = (n, 2) if isinstance(model, PointMLP) else (n, 1, 8, 8)
    y = torch.randint(model.classes, (n,), generator=g)
    return torch.randn(shape, generator=g), torch.randint(1000, (n,), generator=g), y


def test_the_tasks_are_of_their_kinds():
    kinds = {id: task.kind for id, task in exercises("06").items()}
    assert {id for id, kind in kinds.items() if kind == "write"} == WRITTEN.keys()
    assert [kinds[f"6.{i}"] for i in (5, 6, 8, 9, 10)] == ["break", "predict", "predict", "predict", "hunt"]


@pytest.mark.parametrize("id", WRITTEN)
def test_the_solutions_are_right(opened, id):
    exercise = exercises("06")[id]
    assert exercise.title == WRITTEN[id]
    verdict = decide(exercise, opened[exercise.title])
    assert verdict.state == "right", verdict.message


def test_labelled_takes_the_weights_of_the_course(opened):
    """Strictly; and it answers what the course's network answers, with and without labels."""
    shipped = checkpoints.load_model("mnist_classes").eval().requires_grad_(False)
    ours = opened["Labelled"]().eval().requires_grad_(False)
    ours.load_state_dict(shipped.state_dict(), strict=True)
    g = torch.Generator().manual_seed(0)
    x, t, y = torch.randn(3, 1, 28, 28, generator=g), torch.tensor([1, 500, 1000]), torch.tensor([3, 10, 0])
    for labels in ((y,), ()):
        torch.testing.assert_close(ours(x, t, *labels), shipped(x, t, *labels), rtol=1e-4, atol=1e-5)


def test_labelled_adds_what_the_networks_add(opened):
    ours = opened["Labelled"](channels=(8,), classes=4)
    t, y = torch.tensor([1, 20, 1000]), torch.tensor([0, 4, 2])
    level = ours.time(mine.references().timestep_embedding(t, ours.emb_dim))
    for ours.y in (y, None):
        torch.testing.assert_close(ours.embed(t), level + embed_label(ours, t, ours.y))


def test_the_wrong_half_is_the_other_scale(opened):
    model = points_network()
    x, t, y = batch(model)
    for s in (2.0, -1.0, 0.5):
        turned = opened["guided_too"](model, x, t, y, s)
        torch.testing.assert_close(turned, opened["guided"](model, x, t, y, 1 - s))


@pytest.mark.parametrize(
    ("guess", "state", "name"),
    [
        ((10, 90, 100, 100, 100, 1), "right", ""),
        ((0.1, 0.9, 1, 1, 1, 1), "right", ""),
        ((10, 90, 100, 100, 100, 2), "off", "best above 1"),
        ((10, 90, 100, 100, 100, 0), "off", "best without label"),
        ((50, 90, 100, 100, 100, 1), "off", "knows without label"),
        ((10, 60, 100, 100, 100, 1), "off", "little at 1"),
        ((10, 90, 100, 90, 60, 1), "off", "falls again"),
    ],
)
def test_sketches_of_the_accuracy(guess, state, name):
    verdict = exercises("06")["6.8"].compare((10.1, 93.8, 99.8, 100, 100, 1), dict(first=guess))
    assert (verdict.state, verdict.mistake) == (state, name)


def test_a_network_with_labels_starts_as_one_without():
    """The table starts at zero, so a label changes nothing before training."""
    model = UNet(channels=(8, 16), emb_dim=16, heads=2, classes=5)
    x, t, y = batch(model)
    nn.init.normal_(model.leave[-1].weight)
    assert torch.equal(model(x, t, y), model(x, t))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.7, 1.0])
def test_drop_labels_is_that_of_training(opened, share):
    y = torch.randint(10, (500,), generator=torch.Generator().manual_seed(0))
    draws = torch.rand(500, generator=torch.Generator().manual_seed(3))
    theirs = training.drop_labels(y, share, 10, torch.Generator().manual_seed(3))
    assert torch.equal(opened["drop_labels"](y, share, 10, draws), theirs)
    assert abs(float((theirs == 10).float().mean()) - share) < 0.06


@pytest.mark.parametrize("network", [points_network, image_network])
@pytest.mark.parametrize("s", [-1.0, 0.0, 1.0, 2.0, 8.0])
def test_guided_is_that_of_helpers(opened, network, s):
    model = network()
    x, t, y = batch(model)
    ours = opened["guided"](model, x, t, y, s)
    torch.testing.assert_close(ours, Guided(model, y, s)(x, t))
    torch.testing.assert_close(ours, opened["guide"](model(x, t), model(x, t, y), s), rtol=1e-4, atol=1e-5)


def test_the_ends_of_the_scale(opened):
    model = image_network()
    x, t, y = batch(model)
    torch.testing.assert_close(Guided(model, y, 0.0)(x, t), model(x, t), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(Guided(model, y, 1.0)(x, t), model(x, t, y), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("s", [-1.0, 0.5, 3.0, 8.0])
def test_both_conventions(opened, s):
    g = torch.Generator().manual_seed(0)
    out_u, out_c = torch.randn(2, 5, 1, 4, 3, generator=g)
    w = s - 1
    torch.testing.assert_close(opened["guide"](out_u, out_c, s), (1 + w) * out_c - w * out_u)


def test_it_does_not_matter_what_is_guided(opened):
    """eps, v and x_0 guided at one x_t are the same point."""
    schedule, guide = cosine(1000), opened["guide"]
    g = torch.Generator().manual_seed(0)
    x_t, v_u, v_c = torch.randn(3, 40, 2, generator=g, dtype=torch.float64)
    t = torch.randint(1, 990, (40,), generator=g)
    (eps_u, x0_u), (eps_c, x0_c) = (schedule.from_output(v, x_t, t, "v") for v in (v_u, v_c))
    eps, x0 = schedule.from_output(guide(v_u, v_c, 3.0), x_t, t, "v")
    torch.testing.assert_close(eps, guide(eps_u, eps_c, 3.0))
    torch.testing.assert_close(x0, guide(x0_u, x0_c, 3.0))


def test_band_is_that_of_helpers(opened):
    model = image_network()
    x, _, y = batch(model)
    t, band = torch.tensor([0, 332, 333, 500, 665, 666]), (333, 665)
    s = opened["scale_at"](t, 4.0, band).reshape(-1, 1, 1, 1)
    ours = opened["guide"](model(x, t), model(x, t, y), s)
    torch.testing.assert_close(ours, Guided(model, y, 4.0, band)(x, t), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", [ddim(4), dpm_solver(4)], ids=lambda rule: rule.name)
def test_a_guided_walk(opened, rule):
    """The open function in the loop draws what Guided draws."""
    model = points_network()
    x, _, y = batch(model)

    def ours(x, t):
        return opened["guided"](model, x, t, y, 3.0)

    ours.prediction = "v"
    networks = (ours, Guided(model, y, 3.0))
    first, second = (last(reverse(network, cosine(), rule, x_T=x)) for network in networks)
    torch.testing.assert_close(first, second)


def test_diversity_is_that_of_the_results(opened):
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 1, 6, 5, generator=g), torch.randint(4, (60,), generator=g)
    ours = float(opened["diversity"](x, y))
    assert guidance.measure_diversity(x, y) == pytest.approx(ours, rel=1e-4)
    assert guidance.measure_diversity(torch.ones(6, 1, 4, 4), torch.tensor([0, 0, 0, 1, 1, 1])) == 0


def test_the_results_draw_what_guided_draws():
    """Sample i is of class i % 10, its noise that of the seed, whatever the scale and the chunks."""
    torch.manual_seed(0)
    model = shaken(UNet(channels=(8, 16), emb_dim=16, heads=2, classes=10))
    ours = guidance.draw_guided(model, 105, seed=4, steps=2, scale=2.0)
    x_T = torch.randn(105, 1, 28, 28, generator=torch.Generator().manual_seed(4))
    theirs = Guided(model, torch.arange(105) % 10, 2.0)
    theirs = last(reverse(theirs, cosine(), dpm_solver(2), x_T=x_T, clip_x0=1.0))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


# What the stored results hold ---------------------------------------------------------------------


def test_stored_results_are_whole(results):
    """Every setting that the notebook shows, the scales of the sweep from every seed."""
    seeds, rows = results["sampler"]["seeds"], results["settings"]
    for scale in ("0", "0_5", "1", "1_5", "2", "3", "4", "6", "8"):
        assert len(rows[f"s_{scale}"]["accuracy"]["values"]) == len(seeds) >= 2
    more = ("s_minus_1", "s_minus_2", "s_1_fresh", "s_2_fresh", "s_2_unclamped", "s_8_unclamped", "plain")
    bands = results["bands"]["levels"]
    assert all(name in rows for name in (*more, *(f"band_{band}" for band in bands)))
    assert all(1 <= low < high <= 1000 for low, high in bands.values())


def test_the_checkpoint_is_the_one_scored(results):
    model = checkpoints.load_model("mnist_classes")
    assert (model.classes, model.prediction, model.config["channels"]) == (10, "v", [16, 48, 96])
    assert model.recipe == results["recipe"] and model.recipe["drop"] == 0.1


def test_images_that_ship(results):
    images = checkpoints.load_images("guidance")
    assert set(images) >= {"s_0", "s_1", "s_2", "s_4", "s_8", "plain", "band_low", "band_high"}
    assert all(v.shape == (64, 1, 28, 28) and v.abs().max() <= 1 for v in images.values())
