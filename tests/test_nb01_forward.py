"""Notebook 01: what it builds in the open agrees with helpers, and its figures are reached."""

import math
from pathlib import Path
from unittest.mock import Mock

import jupytext
import pytest
import torch
from scipy.stats import ks_2samp
from sklearn.linear_model import LogisticRegression

from helpers import data
from helpers.schedule import at, cosine, linear, zero_terminal_snr

SOURCE = Path(__file__).resolve().parents[1] / "notebooks" / "source" / "01_forward_noising.py"


@pytest.fixture(scope="module")
def built():
    """The functions that the notebook's cells define: exercises (with their solutions) and the rest."""
    cells = [c for c in jupytext.read(SOURCE).cells if c.cell_type == "code"]
    wanted = ("def chain(", "draws = choose", "class Schedule")
    space = dict(torch=torch, math=math, LogisticRegression=LogisticRegression)
    space |= dict(choose=lambda read, smoke: read, check=Mock(side_effect=lambda id, function: function))
    space["check"].changed = lambda id, function, why: function
    space["images"], space["labels"] = data.digits()
    for cell in cells:
        kind = cell.metadata.get("kind", "write")
        if "exercise" in cell.metadata and kind in ("write", "break") or cell.source.startswith(wanted):
            exec(compile(cell.source, "<cell>", "exec"), space)
    return space


def randn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a.float(), b.float(), rtol=tolerance, atol=tolerance)


SCHEDULES = [linear(1000), linear(60), cosine(200)]
SHAPES = [(7, 2), (5, 1, 8, 6)]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_steps_and_jumps_are_those_of_the_schedule(built, schedule, shape):
    x, noise = randn(0, *shape), randn(1, *shape)
    t = torch.linspace(1, schedule.T, shape[0]).long()
    close(built["q_step"](x, t, noise, schedule.betas), schedule.q_step(x, t, noise))
    close(built["q_sample"](x, t, noise, schedule), schedule.q_sample(x, t, noise))
    x_t, low = schedule.q_sample(x, t, noise), schedule.alpha_bar[t] < 1e-4
    estimate, theirs = built["predict_x0"](x_t, t, noise, schedule), schedule.predict_x0(x_t, t, noise)
    close(estimate[~low], theirs[~low], 1e-3)  # elsewhere both are magnified rounding errors


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_alpha_bar_begins_with_1(built, schedule):
    alpha_bar = built["alpha_bar_of"](schedule.betas)
    close(alpha_bar, schedule.alpha_bar)
    assert alpha_bar[0] == 1


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_at_is_that_of_helpers(built, shape):
    alpha_bar, x = linear(60).alpha_bar, randn(0, *shape)
    t = torch.arange(shape[0]) * 10
    assert torch.equal(built["at"](alpha_bar, t, x), at(alpha_bar, t, x))
    assert torch.equal(built["at"](alpha_bar, 60, x) * x, at(alpha_bar, 60, x) * x)


def test_jump_to_level_0_is_the_picture_itself(built):
    x, t = randn(0, 3, 1, 8, 6), torch.tensor([0, 500, 1000])
    jumped = built["q_sample"](x, t, randn(1, 3, 1, 8, 6), linear(1000))
    assert torch.equal(jumped[0], x[0])
    assert (jumped[2] - x[2]).abs().max() > 0.1


def test_the_number_line_shows_the_entries_of_the_schedule():
    """The first two and the last of betas and alpha_bar, as the figure prints them."""
    (cell,) = [c for c in jupytext.read(SOURCE).cells if "alpha\\_bar}" in c.source]
    for name, values in (("betas", linear(1000).betas), (r"alpha\_bar", linear(1000).alpha_bar)):
        row = next(line for line in cell.source.splitlines() if rf"\mathtt{{{name}}}" in line)
        shown = [float(entry) for entry in row.strip(' )",:').split()[2:] if "\\" not in entry]
        real = [*values[:3].tolist(), *values[-2:].tolist()]
        assert shown == pytest.approx(real, abs=5e-5 if name != "betas" else 5e-6)


@pytest.mark.parametrize("T", [100, 200, 300, 1000])
def test_schedules_are_those_of_helpers(built, T):
    close(built["cosine_betas"](T), cosine(T).betas, 1e-7)
    close(built["linear_betas"](T), linear(T).betas, 1e-6)


def test_given_schedule_holds_what_that_of_helpers_holds(built):
    ours, theirs = built["Schedule"](linear(200).betas), linear(200)
    for name in ("T", "betas", "alphas", "alpha_bar", "snr"):
        assert torch.allclose(
            torch.as_tensor(getattr(ours, name)), torch.as_tensor(getattr(theirs, name)), 1e-4
        )
    x, noise, t = randn(0, 4, 2), randn(1, 4, 2), torch.tensor([1, 50, 100, 150])
    close(ours.q_sample(x, t, noise), theirs.q_sample(x, t, noise))
    close(ours.predict_x0(ours.q_sample(x, t, noise), t, noise), x, 1e-3)


def test_chain_walks_through_q_step(built):
    schedule = linear(30)
    states = list(built["chain"](randn(0, 4, 2), schedule.betas, seed=3))
    g, x = torch.Generator().manual_seed(3), randn(0, 4, 2)
    close(states[0][1], x)
    for t in range(1, 31):
        x = schedule.q_step(x, t, torch.randn(x.shape, generator=g))
    assert [t for t, _ in states] == list(range(31))
    close(states[-1][1], x)


def test_wrong_steps_spoil_the_variance(built):
    x, betas = built["images"][:100], linear(1000).betas

    def end(step):
        *_, (_, x_T) = built["chain"](x, betas, step)
        return x_T.var()

    assert end(built["q_step"]) == pytest.approx(1, abs=0.05)
    assert end(built["only_add"]) > 10
    assert end(built["broken_step"]) < 0.05


@pytest.mark.parametrize("t", [1, 20, 60])
def test_jump_has_the_distribution_of_the_chain(built, t):
    schedule, x0 = linear(60), torch.full((5000, 1), 0.75)
    walked = dict(built["chain"](x0, schedule.betas, seed=1))[t]
    jumped = built["q_sample"](x0, torch.full((5000,), t), randn(2, 5000, 1), schedule)
    assert ks_2samp(walked.flatten(), jumped.flatten()).pvalue > 0.01
    assert ks_2samp(walked.flatten(), 1.1 * jumped.flatten()).pvalue < 0.01


@pytest.mark.parametrize(("T", "left"), [(100, 0.60), (200, 0.36), (300, 0.22), (1000, 0.006)])
def test_signal_left_by_unscaled_betas(T, left):
    root = linear(T, rescale=False).alpha_bar[T].sqrt().item()
    assert root == pytest.approx(left, abs=0.005 if T < 1000 else 5e-4)


@pytest.mark.parametrize(("T", "share"), [(100, 0.63), (200, 0.37), (300, 0.23)])
def test_a_linear_reader_reads_what_unscaled_betas_leave(built, T, share):
    read, error = built["accuracy"](linear(T, rescale=False))
    assert read == pytest.approx(share, abs=0.04)
    assert error < 0.015


@pytest.mark.parametrize(
    "schedule",
    [linear(1000), linear(100), cosine(200), zero_terminal_snr(linear(300, rescale=False))],
    ids=lambda s: f"{s.name}, {s.T}",
)
def test_it_reads_nothing_from_repaired_schedules(built, schedule):
    labels = built["labels"]
    chance = (torch.bincount(labels).max() / len(labels)).item()
    read, error = built["accuracy"](schedule)
    assert read < chance + 4 * error


def test_where_alpha_bar_falls_fastest():
    """The folded derivation: near 1 / sqrt(k) for beta(t) = k t; in the middle for cosine."""
    bar = linear(1000).alpha_bar.double()
    assert int((bar[:-1] - bar[1:]).argmax()) + 1 == pytest.approx((0.0199 / 999) ** -0.5, abs=8)
    bar = cosine(1000).alpha_bar.double()
    assert int((bar[:-1] - bar[1:]).argmax()) + 1 == pytest.approx(500, abs=10)


def test_with_hardly_any_signal_nobody_can_read():
    """The bound of "Looking inside": room for the digit at T = 100 and 200, none at T = 1000."""
    energy = data.digits()[0].double().square().sum((1, 2, 3)).mean()

    def bits(schedule):
        a = schedule.exact(schedule.T)
        return float((a * energy - 64 * a - 64 * torch.log1p(-a)) / 2 / math.log(2))

    assert bits(linear(100, rescale=False)) > bits(linear(200, rescale=False)) > math.log2(10)
    assert bits(linear(1000)) < 0.01
    assert bits(cosine(1000)) < 0.01
