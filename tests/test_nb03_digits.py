"""Notebook 03: what it builds in the open agrees with helpers, and its figures are reached (data/results)."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from builder.source import exercises, read_source
from helpers import checkpoints, metrics, models
from helpers.exercises import nb03
from helpers.schedule import cosine, linear
from helpers.train import digits as training
from helpers.training import EMA

SOURCE = Path(__file__).resolve().parents[1] / "notebooks" / "source" / "03_attention_unet.py"


def randn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def result(name):
    try:
        return checkpoints.load_results(name)
    except FileNotFoundError as err:
        pytest.skip(str(err))


@pytest.fixture(scope="module")
def built():
    """What the notebook's cells define: the exercises with their solutions, and the layers."""
    cells = read_source(SOURCE)
    space = dict(torch=torch, nn=nn, F=F, SelfAttention=models.SelfAttention)
    space["timestep_embedding"] = models.timestep_embedding
    solutions = exercises(cells)
    for cell in cells:
        if number := cell.metadata.get("exercise"):
            exec(compile(solutions[number].solution, "<cell>", "exec"), space)
        elif cell.source.startswith("class Layers"):
            exec(compile(cell.source, "<cell>", "exec"), space)
    return space


def shake(module, seed=0):
    """Move every weight: layers that start at zero cannot hide a difference."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p += 0.1 * torch.randn(p.shape, generator=g)
    return module.eval()


def names_of_helpers():
    """The table of layer names in the notebook's cell that renames the shipped weights."""
    cell = next(c for c in read_source(SOURCE) if "def translate" in c.source)
    start = cell.source.index("theirs = ")
    space = {}
    exec(cell.source[start:].split("\n\n")[0], space)
    return space["theirs"]


@pytest.mark.parametrize("c_in, c_out", [(8, 16), (16, 16)])
def test_the_residual_block_is_that_of_helpers(built, c_in, c_out):
    theirs = shake(models.ResBlock(c_in, c_out, 12))
    ours = built["ResBlock"](c_in, c_out, 12)
    ours.load_state_dict(theirs.state_dict())
    x, emb = randn(0, 3, c_in, 5, 4), randn(1, 3, 12)
    assert torch.allclose(ours(x, emb), theirs(x, emb), atol=1e-6)


def test_a_block_starts_as_no_correction(built):
    x = randn(0, 2, 16, 4, 4)
    assert torch.equal(built["ResBlock"](16, 16, 8)(x, randn(1, 2, 8)), x)


def test_attention_is_that_of_pytorch_and_of_helpers(built):
    layer = shake(models.SelfAttention(16, heads=2))
    x = randn(0, 3, 16, 4, 2)
    q, k, v = layer.split(x)
    mixed, weights = built["attention"](q, k, v)
    assert torch.allclose(mixed, F.scaled_dot_product_attention(q, k, v), atol=1e-6)
    assert torch.allclose(weights, layer.weights(x), atol=1e-6)
    by_hand = x + layer.out(mixed.transpose(-1, -2).reshape(x.shape))
    assert torch.allclose(layer(x), by_hand, atol=1e-6)


def test_the_unet_is_that_of_helpers(built):
    theirs, rename = shake(models.UNet(channels=(32, 64))), names_of_helpers()
    ours = built["SmallUNet"]()
    weights = theirs.state_dict()

    def translate(key):
        layer, rest = key.split(".", 1)
        return f"{rename.get(layer, layer)}.{rest}"

    ours.load_state_dict({key: weights[translate(key)] for key in ours.state_dict()})
    assert models.parameter_count(ours) == models.parameter_count(theirs)
    x, t = randn(0, 4, 1, 8, 8), torch.tensor([0, 10, 500, 999])
    assert torch.allclose(ours.eval()(x, t), theirs(x, t), atol=1e-5)


def test_one_seed_makes_the_same_first_weights(built):
    """Else the live training could not be the shipped one."""
    rename = names_of_helpers()
    torch.manual_seed(0)
    ours = built["SmallUNet"]().state_dict()
    torch.manual_seed(0)
    theirs = models.UNet(channels=(32, 64)).state_dict()
    for key, value in ours.items():
        layer, rest = key.split(".", 1)
        assert torch.equal(value, theirs[f"{rename.get(layer, layer)}.{rest}"]), key


@pytest.mark.parametrize("schedule", [cosine(1000), linear(100)])
def test_v_and_back(built, schedule):
    t = torch.tensor([0, schedule.T // 2, schedule.T - 1])
    x0, noise = randn(0, 3, 1, 5, 4), randn(1, 3, 1, 5, 4)
    x_t, v = schedule.q_sample(x0, t, noise), built["v_target"](x0, t, noise, schedule)
    assert torch.allclose(v, schedule.target(x0, t, noise, "v"), atol=1e-6)
    eps, back = built["from_v"](v, x_t, t, schedule)
    helpers_say = schedule.from_output(v, x_t, t, "v")
    for ours, theirs, truth in zip((eps, back), helpers_say, (noise, x0), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
        assert torch.allclose(ours, truth, atol=1e-5)


def test_the_error_of_eps_grows_and_that_of_v_does_not():
    """Section 5: 1/sqrt(alpha_bar) at the last cosine level is about 20,000, and from v none grows."""
    schedule = cosine(1000)
    a = schedule.alpha_bar(torch.tensor([999]))
    assert 1.9e4 < float(1 / a.sqrt()) < 2.1e4
    t, off = torch.arange(1000), 0.01
    x0, noise = torch.zeros(1000, 1), torch.zeros(1000, 1)
    _, by_v = schedule.from_output(torch.full((1000, 1), off), x0, t, "v")
    assert float(by_v.abs().max()) <= off
    assert float(schedule.predict_x0(x0, t[-1:], noise[:1] + off).abs().max()) > 100


def test_the_average_of_the_weights_is_that_of_helpers(built):
    model = nn.Linear(3, 2)
    ema = EMA(model, decay=0.9)
    ours = [p.detach().clone() for p in model.parameters()]
    for n in range(150):
        with torch.no_grad():
            for p in model.parameters():
                p += randn(n, *p.shape)
        ema.update(model)
        ours = built["ema_update"](ours, [p.detach() for p in model.parameters()], n, 0.9)
    for a, b in zip(ours, ema.model.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_scores_of_dot_products_spread_like_the_root_of_d():
    """The folded derivation of exercise 3.2."""
    for d in (4, 64, 1024):
        scores = (randn(d, 4000, d) * randn(d + 1, 4000, d)).sum(1)
        assert scores.std().item() == pytest.approx(math.sqrt(d), rel=0.1)


def test_v_weighs_the_noise_error_by_the_inverse_of_alpha_bar():
    """The folded derivation of exercise 3.5: |v - w|^2 = |eps_v - eps_w|^2 / alpha_bar at the same x_t."""
    schedule, t = cosine(1000), torch.tensor([100, 500, 900])
    x_t, v, other = randn(0, 3, 4), randn(1, 3, 4), randn(2, 3, 4)
    (eps, _), (eps_other, _) = (schedule.from_output(w, x_t, t, "v") for w in (v, other))
    ratio = (v - other).square().sum(1) / (eps - eps_other).square().sum(1)
    assert torch.allclose(ratio, 1 / schedule.alpha_bar(t).float(), rtol=1e-3)


def test_a_blurry_average_passes_the_pixels_and_fails_the_distance():
    """Section 9, with the notebook's own cell."""
    cell = next(c for c in read_source(SOURCE) if "blurry = x_train" in c.source)
    x, x_train = training.data.digits()[0], training.split()[0]
    space = dict(torch=torch, x_train=x_train, samples=range(1000), metrics=metrics, x=x)
    exec(compile(cell.source, "<cell>", "exec"), space)
    blurry = space["blurry"]
    assert abs(blurry.mean() - x.mean()) < 0.02 and abs(blurry.std() - x.std()) < 0.02
    assert blurry.min() == x.min() and blurry.max() == x.max()
    assert training.frechet(blurry) > 5 * metrics.frechet_floor(x)[0]


def test_every_exercise_is_in_the_notebook():
    assert list(exercises(read_source(SOURCE))) == [e.id for e in nb03.EXERCISES]


# The figures reached ------------------------------------------------------------------------------


def test_the_digits_reach_their_target():
    """To reach: 90 % of 1,000 samples over 95 % confidence, every class present; both seeds do."""
    found = result("digits")
    assert found["recipe"]["samples"] == 1000 and len(found["seeds"]) >= 2
    for seed in found["seeds"]:
        assert seed["confident"] >= 0.90
        assert seed["smallest_class"] >= 0.05
    assert found["floors"]["confident"] >= 0.99


def test_the_digits_are_no_copies():
    """The median distance to the training pictures is near that of held-out digits."""
    found = result("digits")
    for seed in found["seeds"]:
        assert seed["nearest"] > 0.9 * found["floors"]["nearest"]


def test_the_shipped_digits_network_gives_its_recorded_scores():
    found = result("digits")
    model = checkpoints.load_model("digits_unet")
    assert model.recipe["seed"] == found["seeds"][0]["seed"]
    assert model.recipe["steps"] == found["recipe"]["steps"]
    share = metrics.confident_share(training.draw(model, n=250))
    assert share == pytest.approx(found["seeds"][0]["confident"], abs=0.06)  # three standard errors of 250


def test_the_box_says_what_the_notebook_says():
    """Cosine beats linear for both targets; eps with cosine depends on the clamp of x_0, v does not."""
    found = result("digits_box")
    box, long = found["box"], found["long"]
    for prediction in ("eps", "v"):
        cosine_wins, linear_loses = box[f"{prediction}_cosine"], box[f"{prediction}_linear"]
        for one in cosine_wins["seeds"]:
            for other in linear_loses["seeds"]:
                assert one["confident"] > other["confident"] and one["frechet"] < other["frechet"]
    assert all(len(corner["seeds"]) >= 2 for corner in box.values())
    assert all(seed["unclipped"]["confident"] < 0.5 for seed in long["eps_cosine"]["seeds"])
    v = long["v_cosine"]["seeds"][0]
    assert v["unclipped"]["confident"] > v["confident"] - 0.03
    assert abs(long["eps_cosine"]["confident"] - long["v_cosine"]["confident"]) < 0.03


def test_the_ablation_has_all_variants_and_their_samples():
    found = result("digits_ablation")
    assert set(found["variants"]) == {"full", "no_attention", "no_skips", "no_time"}
    pictures = checkpoints.load_images("digits_ablation")
    assert all(pictures[name].shape[1:] == (1, 8, 8) for name in found["variants"])
    assert all(len(variant["seeds"]) >= 2 for variant in found["variants"].values())
    share = {name: variant["confident"] for name, variant in found["variants"].items()}
    assert share["no_skips"] < share["no_time"] < share["no_attention"] < share["full"]
