"""Notebook 08: what it builds in the open agrees with helpers, its training scripts do what they say, and its
figures are reached (data/results)."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from builder.source import exercises, read_source
from helpers import checkpoints, data
from helpers.models import ResBlock, UNet
from helpers.schedule import cosine, linear, zero_terminal_snr
from helpers.train import knobs, memorise, objectives
from helpers.training import EMA

SOURCE = Path(__file__).resolve().parents[1] / "notebooks" / "source" / "08_schedules_objectives.py"
pytestmark = pytest.mark.usefixtures("one_thread")


def randn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def result(name):
    try:
        return checkpoints.load_results(name)
    except FileNotFoundError as err:
        pytest.skip(str(err))


@pytest.fixture(scope="module")
def built():
    """What the notebook's exercise cells and its schedule_of define."""
    from helpers.schedule import Schedule

    cells, space = read_source(SOURCE), dict(torch=torch, Schedule=Schedule)
    solutions = exercises(cells)
    for cell in cells:
        if number := cell.metadata.get("exercise"):
            exec(compile(solutions[number].solution, "<cell>", "exec"), space)
        elif cell.source.startswith("def schedule_of"):
            exec(compile(cell.source.split("\n\n\n")[0], "<cell>", "exec"), space)
    return space


# --- in the open and in helpers


@pytest.mark.parametrize("given", ["eps", "x0", "v"])
def test_all_three_agree_with_helpers(built, given):
    s, t = cosine(), torch.tensor([5, 300, 600, 900])
    x0, noise = randn(0, 4, 1, 8, 8), randn(1, 4, 1, 8, 8)
    x_t = s.q_sample(x0, t, noise)
    found = built["all_three"](s.target(x0, t, noise, given), given, x_t, t, s)
    for ours, name in zip(found, ("eps", "x0", "v"), strict=True):
        assert torch.allclose(ours, s.target(x0, t, noise, name), atol=1e-4)


@pytest.mark.parametrize("given", ["eps", "x0", "v"])
@pytest.mark.parametrize("wanted", ["eps", "x0", "v"])
def test_units_are_those_of_real_errors(built, given, wanted):
    """Disturb what is given, measure the error of what is wanted: it is the factor the notebook says."""
    s, t = linear(), torch.tensor([40, 400, 800])
    x0, noise = randn(0, 3, 2, 9).double(), randn(1, 3, 2, 9).double()
    x_t = s.q_sample(x0, t, noise)
    wrong = s.target(x0, t, noise, given) + 0.1 * randn(2, 3, 2, 9)
    estimates = dict(zip(("eps", "x0", "v"), built["all_three"](wrong, given, x_t, t, s), strict=True))

    def error(name):
        return (estimates[name] - s.target(x0, t, noise, name)).square().mean((1, 2))

    snr = s.alpha_bar(t) / (1 - s.alpha_bar(t))
    assert torch.allclose(built["in_unit"](error(given), given, wanted, snr), error(wanted), rtol=1e-6)


@pytest.mark.parametrize("T", [50, 1000])
def test_sigmoid_schedule_is_that_of_the_training(built, T):
    ours = built["schedule_of"](built["sigmoid_alpha_bar"](T), "sigmoid", 0.999)
    assert torch.allclose(ours.abar64, objectives.sigmoid(T).abar64, rtol=1e-9, atol=1e-12)
    other = built["sigmoid_alpha_bar"](T, 0.0, 3.0, 0.7)[:-1]
    assert torch.allclose(objectives.sigmoid(T, 0.0, 3.0, 0.7).abar64[: T - 1], other, rtol=1e-9)
    with pytest.raises(ValueError, match="at least 1"):
        objectives.sigmoid(0)


def test_zero_terminal_is_that_of_helpers(built):
    s = linear(200, rescale=False)
    theirs = zero_terminal_snr(s)
    ours = built["schedule_of"](built["zero_terminal"](s.alpha_bar(torch.arange(200))), "x", 1.0)
    assert torch.allclose(ours.abar64, theirs.abar64, atol=1e-12) and float(ours.abar64[199]) == 0
    assert torch.equal(objectives.SCHEDULES["ztsnr"]().abar64, zero_terminal_snr(linear()).abar64)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid", "ztsnr"])
def test_min_snr_weights_are_those_of_the_training(built, prediction, name):
    s = objectives.SCHEDULES[name]()
    if (prediction, name) == ("eps", "ztsnr"):
        with pytest.raises(ValueError, match="predict v or x_0"):
            objectives.min_snr_weights(s, prediction)
        return
    ours = built["min_snr_weights"](s.snr().double(), prediction).float()
    assert torch.allclose(ours, objectives.min_snr_weights(s, prediction), rtol=1e-5)


def test_min_snr_weights_mean_the_same_for_all(built):
    """In units of x_0 the weight is min(SNR, gamma) whatever is predicted; unknown names are refused."""
    snr = torch.logspace(3, -3, 7)
    for prediction in ("eps", "x0", "v"):
        one = built["in_unit"](torch.ones(7), "x0", prediction, snr)
        assert torch.allclose(one * built["min_snr_weights"](snr, prediction), snr.clamp(max=5))
    with pytest.raises(ValueError, match="prediction is one of"):
        objectives.min_snr_weights(cosine(), "noise")


def test_loss_by_level_by_hand(built):
    losses, t = torch.tensor([1.0, 3.0, 5.0, 7.0]), torch.tensor([0, 49, 50, 999])
    found = built["loss_by_level"](losses, t, 1000, 20)
    assert found[0] == 2 and found[1] == 5 and found[19] == 7 and float(found.sum()) == 14


# --- the training scripts


class Perfect(nn.Module):
    """Knows the one picture there is: predicts exactly `picture`, and off by `error`."""

    def __init__(self, picture, prediction, schedule, error=0.0):
        super().__init__()
        self.register_parameter("nothing", nn.Parameter(torch.zeros(1)))
        self.picture, self.prediction, self.schedule, self.error = picture, prediction, schedule, error

    def forward(self, x_t, t):
        x0 = self.picture.expand(len(x_t), -1, -1, -1)
        eps = self.schedule.predict_eps(x_t.double(), t, x0.double())
        return (self.schedule.target(x0.double(), t, eps, self.prediction) + self.error).float()


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_measured_levels_agree_with_the_algebra(built, prediction):
    """Off by 0.1 everywhere: the loss is 0.01 in its own unit, and what in_unit says in the others."""
    x, s = data.digits()[0][:40], cosine()
    picture = x[:1]
    found = objectives.loss_by_level(Perfect(picture, prediction, s, 0.1), s, picture.repeat(40, 1, 1, 1), 10)
    assert all(abs(value - 0.01) < 2e-4 for value in found[prediction])
    mid = s.snr()[150:160].mean()
    for unit in ("eps", "x0", "v"):
        expected = float(built["in_unit"](torch.tensor(0.01), prediction, unit, mid))
        assert expected / 3 < found[unit][1] < expected * 3, "the bin of levels 100 to 199"


def test_novelty_knows_copies_from_fresh_images():
    train, held_out = objectives.split()
    assert len(train) == 1437 and len(held_out) == 360
    copied, fresh = (
        objectives.novelty(train[:50], train, held_out),
        objectives.novelty(held_out, train, held_out),
    )
    assert copied == dict(nearer=1.0, novelty=0.0)
    assert fresh["novelty"] == 1 and 0.04 < fresh["nearer"] < 0.06
    assert memorise.copies(train[:50], train) > 0.99 and memorise.copies(held_out, train) < 0.05


def test_summary_copes_with_broken_and_missing_runs():
    good = dict(frechet=2.0, confident=0.5, levels={"eps": [1.0, 3.0]}, classes=[0.1] * 10, loss=0.1)
    found = objectives.summary([good, dict(good, frechet=4.0), dict(diverged="no number")])
    assert found["frechet"]["mean"] == 3 and found["frechet"]["values"] == [2.0, 4.0, None]
    assert abs(found["frechet"]["std"] - 2**0.5) < 1e-3 and found["levels"]["eps"] == [1.0, 3.0]
    assert objectives.summary([dict(diverged="x")])["frechet"] == dict(mean=None, std=None, values=[None])
    assert objectives.stats([1.0])["std"] is None
    assert objectives.upto((0, 1, 2)) == [(0,), (0, 1), (0, 1, 2)]


def test_22_settings_without_eps_at_zero_snr():
    found = objectives.settings()
    assert len(found) == 22 and len(set(found.values())) == 22
    assert not [key for key in found if key.startswith("eps_ztsnr")]


@pytest.mark.parametrize("name", knobs.ACTIVATIONS)
def test_every_activation_is_replaced(name):
    torch.manual_seed(0)
    model, before = UNet(channels=(8, 16)), UNet(channels=(8, 16))
    knobs.activate(model, name)
    assert not [m for m in model.modules() if isinstance(m, nn.SiLU)]
    blocks = [m for m in model.modules() if isinstance(m, ResBlock)]
    function = knobs.ACTIVATIONS[name][0]
    x = randn(0, 5)
    assert len(blocks) == 6 and all(torch.equal(block.activation(x), function(x)) for block in blocks)
    assert ResBlock.activation is F.silu and all(b.activation is F.silu for b in before.modules()
                                                 if isinstance(b, ResBlock))  # fmt: skip
    assert model(randn(1, 2, 1, 8, 8), torch.tensor([3, 900])).shape == (2, 1, 8, 8)


def test_a_warm_average_at_600_steps_does_not_know_its_decay():
    """The warm-up (1 + n) / (10 + n) has not reached 0.99 by then: 0.99, 0.999, 0.9999 average alike."""
    n = objectives.STEPS - 1
    assert (1 + n) / (10 + n) < 0.99
    line = nn.Linear(2, 2)
    cold = knobs.cold(line, 0.999)
    before = cold.model.weight.clone()
    with torch.no_grad():
        line.weight += 1.0
    cold.update(line)
    assert torch.allclose(cold.model.weight - before, torch.full((2, 2), 1e-3), atol=1e-6)
    warm = EMA(line, 0.999)
    assert warm.updates == 0


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The three scripts, with trainings of two steps and samples that cost nothing."""
    x = data.digits()[0]
    objectives.digits.floors()  # loads the classifiers before the folder changes
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path)
    for module in (objectives, memorise):
        monkeypatch.setattr(
            module, "draw", lambda model, schedule, seed, eta=0.0, clip=1.0: x[:1000] + 0.01 * seed
        )
        monkeypatch.setattr(module, "STEPS", 2)
    monkeypatch.setattr(objectives, "BATCH", 4)
    monkeypatch.setattr(objectives, "CHANNELS", (8, 8))
    monkeypatch.setattr(objectives.digits, "floors", lambda: dict(frechet=2.9))
    short = objectives.loss_by_level
    monkeypatch.setattr(objectives, "loss_by_level", lambda model, s, x, **o: short(model, s, x[:20], bins=2))
    monkeypatch.setattr(memorise, "loss_by_level", lambda model, s, x, **o: short(model, s, x[:20], bins=2))
    for module in (objectives, knobs, memorise):
        monkeypatch.setattr(module, "SEEDS", (0, 1))
    monkeypatch.setattr(knobs, "BASE", dict(steps=2, batch=4, lr=1e-3, T=50))
    monkeypatch.setattr(knobs, "MORE_SEEDS", (3,))
    monkeypatch.setattr(knobs, "DRAWS", 2)
    return tmp_path


def test_objectives_from_start_to_products(tiny):
    objectives.main(chosen=["eps_cosine_uniform", "v_ztsnr_min_snr"], folder=tiny)
    assert sorted(p.name for p in tiny.iterdir()) == ["objectives.json", "objectives.safetensors"]
    found = json.loads((tiny / "objectives.json").read_text())
    assert set(found["settings"]) == {"eps_cosine_uniform", "v_ztsnr_min_snr"} and found["recipe"][
        "seeds"
    ] == [0, 1]
    row = found["settings"]["v_ztsnr_min_snr"]
    assert len(row["frechet"]["values"]) == 2 and len(row["levels"]["x0"]) == 2 and len(row["classes"]) == 2
    assert row["unclipped"]["frechet"]["values"][0] == row["frechet"]["values"][0], "the same fake samples"


def test_knobs_from_start_to_products(tiny):
    knobs.main(chosen=["activation", "T"], folder=tiny)
    found = json.loads((tiny / "knobs.json").read_text())
    assert set(found["knobs"]) == {"activation", "T", "ema"} and set(found["knobs"]["ema"]) == set(
        knobs.AVERAGES
    )
    assert len(found["base_seeds"]["frechet"]["values"]) == 3 and len(found["base"]["frechet"]["values"]) == 2
    assert len(found["base_draws"]["frechet"]["values"]) == 2 and not (tiny / ".knobs.resume").exists()


def test_memorise_from_start_to_products(tiny):
    memorise.main(sizes=(25, 100), folder=tiny)
    found = json.loads((tiny / "memorise.json").read_text())
    assert set(found["sizes"]) == {"25", "100"} and len(found["sizes"]["25"]["novelty"]["values"]) == 2
    images = checkpoints.read_checkpoint(tiny / "memorise.safetensors")[0]
    assert images["samples_25"].shape == images["nearest_100"].shape == (10, 1, 8, 8)


# --- the figures reached: on data/results


def test_the_table_is_complete():
    found = result("objectives")
    assert (
        set(found["settings"]) == set(objectives.settings()) and found["recipe"]["steps"] == objectives.STEPS
    )
    for row in found["settings"].values():
        assert (
            len(row["frechet"]["values"]) == len(found["recipe"]["seeds"])
            and row["frechet"]["std"] is not None
        )


def test_the_claim_of_equal_difficulty_is_refuted():
    """The eps loss of the held-out digits differs by more than fifty between the levels."""
    own = result("objectives")["settings"]["eps_cosine_uniform"]["levels"]["eps"]
    assert max(own) > 50 * min(own)


def paired(before, after, score):
    """(pairs, seeds): change of a score between all rows of the table that differ in this one thing."""
    rows = result("objectives")["settings"]
    pairs = [(key, key.replace(before, after)) for key in rows if before in key]
    values = [(rows[a][score]["values"], rows[b][score]["values"]) for a, b in pairs if b in rows]
    return torch.tensor([b for _, b in values]) - torch.tensor([a for a, _ in values])


def test_what_the_notebook_says_of_the_table():
    """Section 6: schedule, weighting, prediction, and what the clamp hides."""
    rows = result("objectives")["settings"]
    spread = torch.tensor([row["frechet"]["std"] for row in rows.values()]).square().mean().sqrt()
    needed = 2 * float(spread) * (2 / 3) ** 0.5
    assert (paired("linear", "cosine", "frechet") < 0).all(), "cosine ahead with every pair and seed"
    for before, after in (("cosine", "sigmoid"), ("linear", "ztsnr")):
        assert paired(before, after, "frechet").mean(1).abs().max() < needed, (before, after)
    weighted = paired("uniform", "min_snr", "frechet").mean(1)
    assert len(weighted) == 11 and (weighted < 0).all()
    assert (paired("uniform", "min_snr", "confident").mean(1) > 0).all()
    assert paired("v_cosine_uniform", "v_cosine_min_snr", "frechet").mean().abs() < needed
    assert paired("linear", "cosine", "frechet").mean() < weighted.mean(), "the schedule is the larger effect"
    for other in ("eps_", "x0_"):
        assert (paired(other, "v_", "frechet").mean(1).abs() < needed).float().mean() > 0.5
    assert (paired("x0_", "v_", "confident").mean(0) > 0).all()
    free = {key: row["unclipped"]["confident"]["mean"] for key, row in rows.items()}
    assert free["eps_cosine_uniform"] < 0.5 * free["v_cosine_uniform"] < free["eps_linear_uniform"]
    worst = [max(range(3), key=row["frechet"]["values"].__getitem__) for row in rows.values()]
    assert max(map(worst.count, range(3))) > 11, "one seed is the worst in most rows"


def test_an_output_weighs_what_section_5_says():
    """eps leaves x_0 open at the highest levels, x_0 leaves eps open at the lowest, v neither."""
    rows = result("objectives")["settings"]
    levels = {name: rows[f"{name}_cosine_uniform"]["levels"] for name in ("eps", "x0", "v")}
    train = objectives.split()[0]
    guess = float((train - train.mean(0)).square().mean())
    assert levels["eps"]["x0"][19] > 100 * guess and levels["v"]["x0"][19] < 1.1 * guess
    assert levels["x0"]["eps"][0] > 1 > levels["v"]["eps"][0]
    assert max(levels["v"]["v"]) < 3 * min(levels["v"]["v"])


def test_few_digits_are_memorised_and_many_are_not():
    sizes = result("memorise")["sizes"]
    assert sizes["25"]["copies"]["mean"] > 10 * max(0.001, sizes["1437"]["copies"]["mean"])
    near = [sizes[n]["novelty"]["mean"] for n in ("25", "100", "400", "1437")]
    assert near == sorted(near) and near[0] < 0.1 and near[2] < 1
    assert sizes["400"]["copies"]["mean"] < 0.01 and sizes["25"]["confident"]["mean"] > 0.98
    few, many = sizes["25"]["levels"], sizes["1437"]["levels"]
    assert few["held_out"][5] > 20 * few["training"][5] and many["held_out"][5] < 2 * many["training"][5]


@pytest.mark.parametrize("name", ["objectives", "knobs", "memorise"])
def test_results_are_those_of_the_whole_training(name):
    """Not a quick run made to write the notebook on: `python -m helpers.train --again NAME`."""
    found = result(name)
    assert "quick" not in found, f"data/results/{name}.json is of a quick run: train anew with --again"
    planned = dict(objectives=objectives, knobs=knobs, memorise=memorise)[name].SEEDS
    seeds = found["recipe"]["seeds"]
    assert len(seeds) >= (3 if name == "objectives" else 1) and tuple(seeds) == planned[: len(seeds)]


def test_all_knobs_are_there():
    found = result("knobs")
    assert set(found["knobs"]) == {*knobs.KNOBS, "ema"}
    for knob, values in knobs.KNOBS.items():
        assert set(found["knobs"][knob]) == set(values)
    for decay in ("99", "9999"):
        assert found["knobs"]["ema"][decay]["frechet"] == found["base"]["frechet"], "the warm-up hides it"


def test_what_the_notebook_says_of_the_knobs():
    """Section 7: what is far outside the scatter of seeds, and what is far inside. Section 8: no collapse."""
    found = result("knobs")
    spread = [row["frechet"]["std"] for row in result("objectives")["settings"].values()]
    s = max(found["base_seeds"]["frechet"]["std"] or 0, (sum(x * x for x in spread) / len(spread)) ** 0.5)
    need = 2 * s * (2 / len(found["recipe"]["seeds"])) ** 0.5
    base = found["base"]["frechet"]["mean"]
    gap = {knob: {name: row["frechet"]["mean"] - base for name, row in rows.items()}
           for knob, rows in found["knobs"].items()}  # fmt: skip
    lengths = [gap["length"][n] for n in ("150", "300", "1200", "2400")]
    assert lengths == sorted(lengths, reverse=True) and lengths[0] > need and lengths[3] < -need
    assert gap["lr"]["2e-4"] > need and gap["lr"]["5e-4"] > need
    assert abs(gap["lr"]["5e-3"]) < need and abs(gap["lr"]["1e-2"]) < need
    assert gap["batch"]["16"] > need and gap["batch"]["256"] < -need and gap["batch_images"]["256"] > need
    assert all(abs(value) < need for value in gap["T"].values())
    assert gap["ema"]["9999_cold"] > gap["ema"]["999_cold"] > 50 and abs(gap["ema"]["none"]) < need
    assert abs(gap["attention"]["without"]) < need
    assert gap["width"]["8"] > need and gap["activation"]["tanh"] > need
    assert gap["activation"]["relu"] > need > abs(gap["activation"]["gelu"])
    assert gap["depth"]["2"] < 0 > gap["depth"]["3"] and gap["width"]["32"] < 0
    for row in found["knobs"]["length"].values():
        assert row["smallest_class"]["mean"] > 0.05 and row["entropy"]["mean"] > 9.6


def test_both_studies_agree_on_the_base():
    """objectives and knobs train v, cosine, uniform from the same seeds: the same scores."""
    table, base = result("objectives")["settings"]["v_cosine_uniform"], result("knobs")["base"]
    n = len(base["frechet"]["values"])
    assert base["frechet"]["values"] == pytest.approx(table["frechet"]["values"][:n], rel=0.02)
