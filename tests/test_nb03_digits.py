"""Notebook 03: what it builds in the open agrees with helpers, and the stored results hold what it reads."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from builder.source import exercises, read_source
from helpers import checkpoints, data, metrics, models
from helpers.exercises import decide, nb03
from helpers.sampling import ddim, last, reverse
from helpers.schedule import at, cosine, linear
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
    """What the notebook's cells define: the exercises with their solutions, and the given layers."""
    cells = read_source(SOURCE)
    space = dict(torch=torch, nn=nn, F=F, at=at, timestep_embedding=models.timestep_embedding)
    solutions = exercises(cells)
    for cell in cells:
        number = cell.metadata.get("exercise")
        if number and solutions[number].kind == "write":
            exec(compile(solutions[number].solution, "<cell>", "exec"), space)
        elif cell.cell_type == "code" and cell.source.startswith(("class ", "def way_")):
            exec(compile(cell.source, "<cell>", "exec"), space)
    return space


def shake(module, seed=0):
    """Move every weight: layers that start at zero cannot hide a difference."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p += 0.1 * torch.randn(p.shape, generator=g)
    return module.eval()


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
    ours = built["SelfAttention"](16, heads=2)
    ours.load_state_dict(layer.state_dict())
    x = randn(0, 3, 16, 4, 2)
    q, k, v = layer.split(x)
    mixed, weights = built["attention"](q, k, v)
    assert torch.allclose(mixed, F.scaled_dot_product_attention(q, k, v), atol=1e-6)
    assert torch.allclose(weights, (q @ k.transpose(-1, -2) / 8**0.5).softmax(-1), atol=1e-6)
    assert torch.allclose(layer(x), ours(x), atol=1e-6)


@pytest.mark.parametrize("channels, side", [((32, 64), 8), ((16, 48, 96), 28), ((8,), 5)])
def test_the_unet_is_that_of_helpers(built, channels, side):
    theirs, ours = shake(models.UNet(channels=channels)), built["UNet"](channels)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert models.parameter_count(ours) == models.parameter_count(theirs)
    x, t = randn(0, 4, 1, side, side), torch.tensor([1, 10, 500, 1000])
    assert torch.allclose(ours.eval()(x, t), theirs(x, t), atol=1e-4)


@pytest.mark.parametrize("name, channels", [("digits_unet", (32, 64)), ("mnist_unet", (16, 48, 96))])
def test_the_shipped_weights_fit_strictly(built, name, channels):
    built["UNet"](channels).load_state_dict(checkpoints.load_model(name).state_dict(), strict=True)


def test_one_seed_makes_the_same_first_weights(built):
    """Else the live training could not be the shipped one."""
    torch.manual_seed(0)
    ours = built["UNet"]().state_dict()
    torch.manual_seed(0)
    theirs = models.UNet(channels=(32, 64)).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_what_the_blocks_on_the_way_up_take(built):
    """3.5."""
    taken = [blocks[0].conv1.in_channels for blocks in built["UNet"](channels=(16, 48, 96)).up]
    assert taken == [192, 96, 32]


def test_the_four_places_by_hand(built):
    """3.2: rows 1 and 2 as the text works them, rows 3 and 4 as they are asked for."""
    q, k, v = (x[0, 0] for x in nb03.make_attention_cases()[2])
    mixed, weights = built["attention"](q, k, v)
    rows = [[0.71, 0.10, 0.10, 0.10], [0.44, 0.44, 0.06, 0.06], [0.25] * 4, [0.04, 0.87, 0.04, 0.04]]
    assert torch.allclose(weights, torch.tensor(rows), atol=0.006)
    assert torch.allclose(mixed[:3, 0], torch.tensor([1.58, 1.74, 2.5]), atol=0.005)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ((0.04, 0.87, 0.04, 0.04), ""),
        ((0.0025, 0.9926, 0.0025, 0.0025), "not divided"),
        ((0, 3, 0, 0), "scores for weights"),
        ((1, 20.1, 1, 1), "not shared out"),
        ((1, 403.4, 1, 1), "not shared out"),
    ],
)
def test_the_fourth_place_tells_divided_from_undivided(row, name):
    """3.2."""
    [task] = [task for task in nb03.EXERCISES if task.id == "3.2"]
    truth = ((0.25,) * 4, (0.0433, 0.8701, 0.0433, 0.0433), 2.5)
    assert task.judge(((0.25,) * 4, row, 2.5), truth)[:2] == ("off" if name else "right", name)


@pytest.mark.parametrize("schedule", [cosine(1000), linear(100)])
def test_v_and_back(built, schedule):
    t = torch.tensor([0, 1, schedule.T // 2, schedule.T])
    x0, noise = randn(0, 4, 1, 5, 4), randn(1, 4, 1, 5, 4)
    x_t, v = schedule.q_sample(x0, t, noise), built["v_target"](x0, t, noise, schedule)
    assert torch.allclose(v, schedule.target(x0, t, noise, "v"), atol=2e-5)  # alpha_bar in float32
    helpers_say = reversed(schedule.from_output(v, x_t, t, "v"))  # theirs are (eps, x0)
    for ours, theirs, truth in zip(
        built["from_v"](v, x_t, t, schedule), helpers_say, (x0, noise), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=2e-5)
        assert torch.allclose(ours, truth, atol=1e-5)


def test_the_error_of_eps_grows_and_that_of_v_does_not():
    """Section 5: 1/sqrt(alpha_bar) at the last cosine level is about 20,000, and from v none grows."""
    schedule = cosine(1000)
    assert 1.9e4 < float(1 / schedule.alpha_bar[1000].sqrt()) < 2.1e4
    t, off, zeros = torch.arange(1, 1001), 0.01, torch.zeros(1000, 1)
    _, by_v = schedule.from_output(zeros + off, zeros, t, "v")
    assert float(by_v.abs().max()) <= off
    assert float(schedule.predict_x0(zeros[:1], 1000, zeros[:1] + off).abs()) > 100


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
    """The fold behind exercise 3.3."""
    for d in (4, 64, 1024):
        scores = (randn(d, 4000, d) * randn(d + 1, 4000, d)).sum(1)
        assert scores.std().item() == pytest.approx(math.sqrt(d), rel=0.1)


def test_v_weighs_the_noise_error_by_the_inverse_of_alpha_bar():
    """The fold behind exercise 3.7: |v - w|^2 = |eps_v - eps_w|^2 / alpha_bar at the same x_t."""
    schedule, t = cosine(1000), torch.tensor([100, 500, 900])
    x_t, v, other = randn(0, 3, 4), randn(1, 3, 4), randn(2, 3, 4)
    (eps, _), (eps_other, _) = (schedule.from_output(w, x_t, t, "v") for w in (v, other))
    ratio = (v - other).square().sum(1) / (eps - eps_other).square().sum(1)
    assert torch.allclose(ratio, 1 / schedule.alpha_bar[t], rtol=1e-3)


def test_a_blurry_average_passes_the_pixels_and_fails_the_distance():
    """Section 9, with the notebook's own cell."""
    cell = next(c for c in read_source(SOURCE) if "blurry = x_train" in c.source)
    x = data.digits()[0]
    x_train = x[torch.arange(len(x)) % 5 != 0]
    space = dict(torch=torch, x_train=x_train, samples=range(1000), metrics=metrics, x=x)
    exec(compile(cell.source, "<cell>", "exec"), space)
    blurry = space["blurry"]
    assert abs(blurry.mean() - x.mean()) < 0.02 and abs(blurry.std() - x.std()) < 0.02
    assert blurry.min() == x.min() and blurry.max() == x.max()
    assert metrics.digits_frechet(blurry) > 5 * metrics.frechet_floor(x)[0]


def test_a_target_in_float64_is_told():
    e = next(e for e in nb03.EXERCISES if e.id == "3.6")
    told = decide(e, lambda x0, t, noise, schedule: e.reference(x0, t, noise, schedule).double())
    assert (told.state, told.mistake) == ("wrong", "dtype")


def test_every_exercise_is_in_the_notebook():
    assert list(exercises(read_source(SOURCE))) == [e.id for e in nb03.EXERCISES]


@pytest.mark.parametrize(
    "guess, told",
    [("cd", ("right", "")), ("CDE", ("right", "")), ("bcd", ("off", "pixel statistics"))]
    + [("cdf", ("off", "distance to the training set")), ("ce", ("off", "one not trusted"))],
)
def test_the_scores_that_notice(guess, told):
    prediction = next(e for e in nb03.EXERCISES if e.id == "3.9")
    noted = prediction.write_down(guess, {})[1]
    verdict = prediction.compare("cde", noted)
    assert (verdict.state, verdict.mistake) == told


@pytest.fixture(scope="module")
def hunt():
    return next(e for e in nb03.EXERCISES if e.id == "3.10")


def test_the_hunt_runs_the_network_of_the_course(hunt):
    """The twelve lines are the forward pass of 3.4."""
    result = hunt.run()
    network, x0, noise, schedule = hunt.setting()
    t = torch.full((len(x0),), 300)
    _, estimate = schedule.from_output(network(result.x_t, t), result.x_t, t, "v")
    assert torch.allclose(result.estimate, estimate, atol=1e-5)


def test_mistakes_in_the_attention_are_not_seen_in_the_samples(hunt):
    """What the text behind the hunt says: three of six."""
    right = metrics.confident_share(hunt.run().samples)
    shares = {
        name: metrics.confident_share(hunt.run(edits).samples) for name, _, edits, _ in hunt.built.cases
    }
    hidden = [name for name, share in shares.items() if share > right - 0.04]
    assert hidden == ["no scale", "softmax over queries", "attention left out"]


# What the stored results hold ---------------------------------------------------------------------


def test_the_shipped_digits_network_gives_its_recorded_scores():
    stored, model = result("digits"), checkpoints.load_model("digits_unet")
    assert model.recipe["seed"] == stored["seeds"][0]["seed"]
    assert model.recipe["steps"] == stored["recipe"]["steps"]
    rule = ddim(50, eta=1.0)
    samples = last(reverse(model, cosine(), rule, shape=(250, 1, 8, 8), seed=1, clip_x0=1.0))
    share = metrics.confident_share(samples)
    assert share == pytest.approx(stored["seeds"][0]["confident"], abs=0.06)  # three standard errors of 250


def test_stored_results_are_whole():
    """Figures over both seeds, for every corner of the box and every variant, and samples of these."""
    digits, box, ablation = (result(name) for name in ("digits", "digits_box", "digits_ablation"))
    rows = [digits, *box["box"].values(), box["long"]["eps_cosine"], box["long"]["v_cosine"]]
    for row in (*rows, *ablation["variants"].values()):
        assert all(len(row[score]["values"]) == len(row["seeds"]) == 2 for score in ("confident", "frechet"))
    for stored in (digits, box, ablation):
        assert stored["floors"]["confident"] > 0.9 and stored["floors"]["frechet"]["mean"] > 0
    assert all("unclipped" in box["long"][name]["seeds"][0] for name in ("eps_cosine", "v_cosine"))
    assert set(ablation["variants"]) == {"full", "no_attention", "no_skips", "no_time"}
    pictures = checkpoints.load_images("digits_ablation")
    assert all(pictures[name].shape[1:] == (1, 8, 8) for name in ablation["variants"])
