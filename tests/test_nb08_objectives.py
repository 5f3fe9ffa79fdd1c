"""Notebook 08: what it builds in the open agrees with helpers, and the stored results hold what it reads."""

from pathlib import Path

import pytest
import torch

from builder.source import exercises, read_source
from helpers import checkpoints
from helpers.schedule import Schedule, at, cosine, linear, sigmoid, zero_terminal_snr
from helpers.training import min_snr_weights

SOURCE = Path(__file__).resolve().parents[1] / "notebooks" / "source" / "08_schedules_objectives.py"
SCHEDULES = {
    "linear": linear(),
    "cosine": cosine(),
    "sigmoid": sigmoid(),
    "ztsnr": zero_terminal_snr(linear()),
}
pytestmark = pytest.mark.usefixtures("one_thread")


def randn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def all_levels(schedule):
    """alpha_bar of levels 0 .. T in float64."""
    return schedule.exact(torch.arange(schedule.T + 1))


@pytest.fixture(scope="module")
def built():
    """What the notebook's exercise cells and its schedule_of define."""
    cells, space = read_source(SOURCE), dict(torch=torch, Schedule=Schedule, at=at)
    solutions = exercises(cells)
    for cell in cells:
        if number := cell.metadata.get("exercise"):
            exec(compile(solutions[number].solution, "<cell>", "exec"), space)
        elif cell.source.startswith("def schedule_of"):
            exec(compile(cell.source.split("\n\n\n")[0], "<cell>", "exec"), space)
    return space


@pytest.mark.parametrize("given", ["eps", "x0", "v"])
def test_all_three_agree_with_helpers(built, given):
    s, t = cosine(), torch.tensor([5, 300, 600, 900])
    x0, noise = randn(0, 4, 1, 8, 8), randn(1, 4, 1, 8, 8)
    x_t = s.q_sample(x0, t, noise)
    parts = built["all_three"](s.target(x0, t, noise, given), given, x_t, t, s)
    for ours, name in zip(parts, ("eps", "x0", "v"), strict=True):
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

    snr = s.exact(t) / (1 - s.exact(t))
    assert torch.allclose(built["in_unit"](error(given), given, wanted, snr), error(wanted), rtol=1e-4)


@pytest.mark.parametrize("T", [50, 1000])
def test_sigmoid_schedule_is_that_of_helpers(built, T):
    ours = built["schedule_of"](built["sigmoid_alpha_bar"](T), "sigmoid", 0.999)
    assert torch.allclose(all_levels(ours), all_levels(sigmoid(T)), rtol=1e-9, atol=1e-12)
    other = built["sigmoid_alpha_bar"](T, 0.0, 3.0, 0.7)
    assert len(other) == T + 1 and other[0] == 1 and other[-1] == 0
    # helpers cut the last beta, so that the last alpha_bar is not 0
    assert torch.allclose(all_levels(sigmoid(T, 0.0, 3.0, 0.7))[:-1], other[:-1], rtol=1e-9)


def test_zero_terminal_is_that_of_helpers(built):
    s = linear(200, rescale=False)
    ours = built["schedule_of"](built["zero_terminal"](all_levels(s)), "repaired", 1.0)
    assert torch.allclose(all_levels(ours), all_levels(zero_terminal_snr(s)), atol=1e-12)
    assert ours.alpha_bar[0] == 1 and ours.alpha_bar[1] == s.alpha_bar[1] and ours.alpha_bar[200] == 0


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_min_snr_weights_are_those_of_helpers(built, prediction, name):
    s = SCHEDULES[name]
    if (prediction, name) == ("eps", "ztsnr"):
        with pytest.raises(ValueError, match="predict v or x_0"):
            min_snr_weights(s, prediction)
        return
    ours = built["min_snr_weights"](s.snr[1:], prediction)
    theirs = min_snr_weights(s, prediction)
    assert len(theirs) == s.T + 1 and theirs[0] == 0
    assert torch.allclose(ours, theirs[1:], rtol=1e-5)


def test_min_snr_weights_mean_the_same_for_all(built):
    """In units of x_0 the weight is min(SNR, gamma) whatever is predicted."""
    snr = torch.logspace(3, -3, 7)
    for prediction in ("eps", "x0", "v"):
        per_x0 = built["in_unit"](torch.ones(7), "x0", prediction, snr)
        assert torch.allclose(per_x0 * built["min_snr_weights"](snr, prediction), snr.clamp(max=5))


def test_loss_by_level_by_hand(built):
    """Bin 0 holds levels 1 to 50, bin 19 levels 951 to 1000."""
    losses, t = torch.tensor([1.0, 3.0, 5.0, 7.0, 9.0]), torch.tensor([1, 50, 51, 951, 1000])
    means = built["loss_by_level"](losses, t, 1000, 20)
    assert means[0] == 2 and means[1] == 5 and means[19] == 8 and float(means.sum()) == 15


@pytest.mark.parametrize("name", ["objectives", "knobs", "memorise"])
def test_stored_results_are_whole(name):
    """Every row has a value for each seed, and none is of a quick run."""
    stored = checkpoints.load_results(name)
    if name == "knobs":
        rows = [row for knob in stored["knobs"].values() for row in knob.values()]
    else:
        rows = stored["settings" if name == "objectives" else "sizes"].values()
    score, seeds = "novelty" if name == "memorise" else "frechet", stored["recipe"]["seeds"]
    assert "quick" not in stored and all(len(row[score]["values"]) == len(seeds) for row in rows)
    if name == "objectives":
        assert len(stored["settings"]) == 22 and len(seeds) == 3
