"""Notebook 11: what it builds in the open agrees with helpers, and does what its text says."""

import ast
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from builder.course import Course
from builder.source import read_source
from helpers.exercises import decide, exercises, patches
from helpers.models import UNet
from helpers.repair import ByClassifier, Measured, fill_in
from helpers.sampling import Rule, ddim, last, reverse
from helpers.schedule import cosine, linear
from notebook_code import run_tasks

COURSE = Course(Path(__file__).resolve().parents[1])
GIVEN = ("class TwoPixels", "def estimate", "class Bent", "guide, judge", "def draw_strokes", "some = ")
SCHEDULES = pytest.mark.parametrize("schedule", [cosine(1000), linear(200)], ids=lambda s: s.name)


class Toy(UNet):
    """A small network that predicts v, with random weights."""

    def __init__(self):
        super().__init__(channels=(8, 16), emb_dim=16, heads=2)
        g = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.1, generator=g)
        self.eval().requires_grad_(False)
        self.prediction = "v"


@pytest.fixture(scope="module")
def opened():
    """The functions that the notebook's write and break cells and its given cells define."""
    cells = read_source(COURSE.source_paths("11")[0])
    names = {"torch": torch, "F": F, "Rule": Rule, "ddim": ddim}
    names |= {"schedule": cosine(1000), "model": Toy()}
    names = run_tasks(COURSE.source_paths("11")[0], **names)
    for start in (*GIVEN, "def repeat"):
        [source] = [c.source for c in cells if c.cell_type == "code" and c.source.startswith(start)]
        nodes = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        exec(compile(ast.Module(nodes, []), start, "exec"), names)
    names["guide"] = lambda x: x.flatten(1)[:, :10]
    return names


def pictures(n=3, seed=0):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def upper():
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[:, :, :4] = True
    return mask


def test_the_solutions_are_right(opened):
    for exercise in exercises("11").values():
        if exercise.kind in ("write", "break"):
            verdict = decide(exercise, opened[patches._find(exercise.id).name])
            assert verdict.state == "right", verdict.message


@SCHEDULES
def test_a_climb_is_many_steps_up(opened, schedule):
    """Mean factor and variance of the climb are those of q_step, level by level."""
    t, t_up = 60, 90
    one = torch.ones(1, 1)
    mean, variance = one, torch.zeros(1, 1)
    for level in range(t + 1, t_up + 1):
        mean = schedule.q_step(mean, level, torch.zeros(1, 1))
        variance = (1 - schedule.betas[level]) * variance + schedule.betas[level]
    noise = opened["climb"](torch.zeros(1, 1), t, t_up, one, schedule)
    torch.testing.assert_close(opened["climb"](one, t, t_up, torch.zeros(1, 1), schedule), mean)
    torch.testing.assert_close(noise.square(), variance, rtol=1e-4, atol=1e-6)


def test_a_climb_from_clean_data_is_q_sample(opened):
    x, noise = pictures(), pictures(seed=1)
    climbed = opened["climb"](x, 0, 400, noise, cosine(1000))
    torch.testing.assert_close(climbed, cosine(1000).q_sample(x, 400, noise))


def test_at_strength_one_a_walk_begins_at_the_top(opened):
    schedule, picture, noise = cosine(1000), pictures(), pictures(seed=1)
    x, levels = opened["begin_at"](picture, 1000, 20, noise, schedule)
    assert levels == ddim(20).levels(1000)
    assert torch.equal(x, schedule.q_sample(picture, 1000, noise))


@pytest.mark.parametrize("times", [1, 3])
def test_repeat_is_fill_in_of_helpers(opened, times):
    schedule, mask, known, rule = cosine(1000), upper(), pictures().clamp(-1, 1), ddim(6, eta=1.0)
    walks = opened["repeat"](rule, mask, known, times), fill_in(rule, mask, known, resample=times)
    assert walks[0].levels(1000) == walks[1].levels(1000)
    x = [last(reverse(opened["model"], schedule, w, shape=known.shape, seed=4, clip_x0=1.0)) for w in walks]
    torch.testing.assert_close(x[0], x[1], rtol=1e-4, atol=1e-4)
    assert torch.equal(x[0][:, :, :4], known[:, :, :4])


def steered(model, schedule, t, x):
    """The x_0 that a wrapper of helpers.repair answers with at level t."""
    level = torch.full((len(x),), t)
    return schedule.from_output(model(x, level), x, level, model.prediction)[1]


@pytest.fixture
def in_float32(opened, monkeypatch):
    """The notebook's estimate without bfloat16, which would hide small differences."""

    def estimate(x, t):
        level = torch.full((len(x),), t)
        return opened["schedule"].from_output(opened["model"](x, level), x, level, "v")[1]

    monkeypatch.setitem(opened, "estimate", estimate)


@pytest.mark.parametrize("t", [900, 500, 60])
def test_bent_is_measured_of_helpers(opened, in_float32, t):
    schedule, x = opened["schedule"], pictures(seed=2)
    y = pictures(seed=3)[:, :, :4]

    def measure(z):
        return z[:, :, :4]

    ours = opened["Bent"](opened["agrees_with"](y, measure, 2.0))(x, torch.full((3,), t))
    theirs = steered(Measured(opened["model"], schedule, measure, y, 2.0), schedule, t, x)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("t", [800, 300])
def test_bent_is_by_classifier_of_helpers(opened, in_float32, t):
    schedule, x, y = opened["schedule"], pictures(seed=2), torch.tensor([1, 5, 9])
    ours = opened["Bent"](opened["is_class"](y, 3.0))(x, torch.full((3,), t))

    def read(z):
        return opened["guide"](z.clamp(-1, 1))

    theirs = steered(ByClassifier(opened["model"], schedule, read, y, 3.0), schedule, t, x)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_replacement_is_deaf_and_repeating_helps(opened):
    """Two pixels: the known one is 1.5, the other has mean 1.35; the text's claims about all three walks."""
    mask, known, schedule = torch.tensor([[True, False]]), torch.full((2000, 2), 1.5), opened["schedule"]

    def mean(steps, times):
        rule = opened["repeat"](ddim(steps, eta=1.0), mask, known, times)
        return float(
            last(reverse(opened["TwoPixels"](), schedule, rule, shape=(2000, 2), seed=1))[:, 1].mean()
        )

    once, more, again = mean(50, 1), mean(200, 1), mean(50, 5)
    assert once < 1.05 and more < 1.05
    assert 1.2 < again < 1.4


def test_the_two_pixels_are_known_exactly(opened):
    """The formula against the mean of x_0 near one x_t, over many draws."""
    g, schedule = torch.Generator().manual_seed(0), opened["schedule"]
    root = torch.linalg.cholesky(opened["TwoPixels"].spread)
    x0 = torch.randn(400_000, 2, generator=g) @ root.T
    x_t = schedule.q_sample(x0, 500, torch.randn(x0.shape, generator=g))
    near = (x_t - torch.tensor([1.0, 0.2])).norm(dim=1) < 0.1
    said = opened["TwoPixels"]()(torch.tensor([[1.0, 0.2]]), torch.tensor([500]))[0]
    torch.testing.assert_close(x0[near].mean(0), said, rtol=0.05, atol=0.03)


def test_the_short_cut_never_reaches_the_unknown_pixels(opened):
    x, schedule = pictures(seed=2), opened["schedule"]
    log_p = opened["agrees_with"](pictures(seed=3)[:, :, :4], lambda z: z[:, :, :4])
    answers = opened["listen"](x, lambda z: opened["estimate"](z, 500), lambda x0: log_p(x0, 500))
    assert answers[:, :, 4:].abs().max() == 0 and answers[:, :, :4].abs().max() > 0
    bent = opened["bend"](x, 500, lambda z: opened["estimate"](z, 500), lambda x0: log_p(x0, 500), schedule)
    assert (bent - opened["estimate"](x, 500))[:, :, 4:].abs().max() > 1e-4


def test_a_calibrated_forecast_lies_on_the_diagonal(opened):
    g = torch.Generator().manual_seed(0)
    shares = torch.rand(20_000, 3, generator=g)
    shares = shares / shares.sum(1, keepdim=True)
    truth = torch.multinomial(shares, 1, generator=g)[:, 0]
    table = opened["calibration"](shares, truth, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    torch.testing.assert_close(table[:, 0], table[:, 1], atol=0.03, rtol=0)
    assert int(table[:, 2].sum()) == 60_000


def test_a_stroke_is_where_it_was_drawn(opened):
    picture = opened["draw_strokes"]([[(4, 6), (20, 6)]])[0, 0]
    assert picture.shape == (28, 28) and picture[6, 12] == 1 and picture[20, 12] == -1
    assert picture[:, 25].max() == -1  # beyond the end of the stroke
