"""Notebook 08: what it builds in the open agrees with helpers, and the stored results hold what it reads."""

from pathlib import Path

import pytest
import torch

from builder.source import exercises, read_source
from data.experiments import same_snr
from data.experiments.training import min_snr_weights
from helpers import checkpoints
from helpers.exercises import decide, nb08, patches
from helpers.exercises import exercises as tasks_of
from helpers.sampling import spaced
from helpers.schedule import Schedule, cosine, linear, sigmoid, zero_terminal_snr

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
    cells, space = read_source(SOURCE), dict(torch=torch, Schedule=Schedule)
    solutions = exercises(cells)
    for cell in cells:
        number = cell.metadata.get("exercise")
        if number and solutions[number].kind in ("write", "break"):
            exec(compile(solutions[number].solution, "<cell>", "exec"), space)
        elif cell.source.startswith("def schedule_of"):
            exec(compile(cell.source.split("\n\n\n")[0], "<cell>", "exec"), space)
    return space


def test_the_solutions_are_right(built):
    for task in tasks_of("08").values():
        if task.kind == "write":
            verdict = decide(task, built[task.title])
            assert verdict.state == "right", verdict.message


@pytest.mark.parametrize("given", ["eps", "x0", "v"])
@pytest.mark.parametrize("wanted", ["eps", "x0", "v"])
def test_units_are_those_of_real_errors(built, given, wanted):
    """Disturb what is given, measure the error of what is wanted: it is the factor the notebook says."""
    s, t = linear(), torch.tensor([40, 400, 800])
    x0, noise = randn(0, 3, 2, 9).double(), randn(1, 3, 2, 9).double()
    x_t = s.q_sample(x0, t, noise)
    wrong = s.target(x0, t, noise, given) + 0.1 * randn(2, 3, 2, 9)
    eps, clean = s.from_output(wrong, x_t, t, given)

    def error(name):
        return (s.target(clean, t, eps, name) - s.target(x0, t, noise, name)).square().mean((1, 2))

    snr = s.exact(t) / (1 - s.exact(t))
    assert torch.allclose(built["in_unit"](error(given), given, wanted, snr), error(wanted), rtol=1e-4)


def test_alpha_bar_from_gives_back_every_schedule(built):
    for s in (linear(), cosine(200), sigmoid(50)):
        alpha_bar = all_levels(s)
        log_snr = (alpha_bar[1:] / (1 - alpha_bar[1:])).log()
        assert torch.allclose(built["alpha_bar_from"](log_snr), alpha_bar, rtol=1e-9, atol=1e-15)


def test_a_straight_log_snr_is_a_schedule(built):
    line = torch.linspace(10, -10, 1000, dtype=torch.float64)
    ours = built["schedule_of"](built["alpha_bar_from"](line), "straight", 0.999)
    exact = all_levels(ours)
    assert torch.allclose((exact[1:] / (1 - exact[1:])).log(), line, atol=1e-6)


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


def test_the_worst_reading_of_a_perfect_answer():
    """8.1: x_0 from eps at the top, by far; with other noises too."""
    s, x0 = cosine(), randn(0, 60, 1, 8, 8).clamp(-1, 1)
    for seed in range(3):
        noise, gaps = randn(seed + 1, *x0.shape), {}
        for given in ("eps", "x0", "v"):
            for level in (1, 1000):
                t = torch.full((60,), level)
                answer, x_t = s.target(x0, t, noise, given), s.q_sample(x0, t, noise)
                eps, clean = s.from_output(answer, x_t, t, given)
                gaps[given, level] = float(max((eps - noise).abs().max(), (clean - x0).abs().max()))
        first, second, *_ = sorted(gaps.values(), reverse=True)
        assert gaps["eps", 1000] == first > 20 * second and gaps["x0", 1] == second


@pytest.mark.parametrize(
    "sketch, said",
    [
        ((0.5, 0.1, 0.03, 0.005, 0.002), ("right", "")),
        ((0.3, 0.2, 0.01, 0.004, 0.004), ("right", "")),
        ((0.1,) * 5, ("off", "flat")),
        ((0.001, 0.01, 0.1, 0.3, 0.9), ("off", "rises")),
        ((0.6, 0.5, 0.4, 0.2, 0.1), ("off", "falls too little")),
        ((1, 0.1, 0.01, 0.001, 0.0001), ("off", "falls too far")),
        ((1, 0.5, 0.1, 0.01, 0), ("off", "not above zero")),
    ],
)
def test_sketches_of_the_loss(sketch, said):
    by_level = checkpoints.load_results("objectives")["settings"]["eps_linear_uniform"]["levels"]["eps"]
    truth = tuple(by_level[k] for k in (0, 5, 10, 15, 19))
    assert tasks_of("08")["8.6"].judge(sketch, truth)[:2] == said


def test_paired_gain_does_not_see_what_seeds_share(built):
    before, after = randn(0, 6, 3), randn(1, 6, 3)
    gain, error = built["paired_gain"](before, after)
    shared = 100 * randn(2, 3)
    moved = built["paired_gain"](before + shared, after + shared)
    assert torch.allclose(torch.stack(moved), torch.stack((gain, error)), atol=1e-4)


def test_one_seed_says_the_opposite(built):
    """8.9: of all single changes of the given headline, only another seed does it, and only seed 1."""
    rows = nb08.real_distances()
    gain, _ = built["paired_gain"](
        *(
            torch.tensor([v for key, v in rows.items() if key.startswith(name)], dtype=torch.float64)
            for name in ("x0_", "v_")
        )
    )
    assert gain < -1 and built["headline"](rows) < -0.5

    def gap(seed, rest):
        return rows[f"x0_{rest}"][seed] - rows[f"v_{rest}"][seed]

    rests = [key.removeprefix("x0_") for key in rows if key.startswith("x0_")]
    pick, rest = nb08.GIVEN
    assert gap(pick, rest) > 0.5 and [s for s in range(3) if gap(s, rest) <= -0.5] == [1]
    assert all(gap(pick, other) > -0.5 for other in rests)


def test_the_hunt_tells_its_lines_apart_in_the_order_of_its_table():
    """The bold numbers of the plan: each line has a measurement of its own."""
    hunt = tasks_of("08")["8.10"]
    table, names = patches.find("8.10", "hunt").table, [m.name for m in hunt.measurements]
    own = dict(
        zip(
            range(7),
            ("bins", "different", "kurtosis", "variance", "highest", "lowest", "sum of"),
            strict=True,
        )
    )
    for case, word in own.items():
        row = next(i for i, name in enumerate(names) if word in name)
        m, right, here = hunt.measurements[row], table["right"][row], table["cases"][case][row]
        assert m.distance(right, here) > 3, (case, word)


def test_stops_are_the_nearest_levels():
    s = cosine(200)
    every = same_snr.log_snr(s, torch.arange(1, 201))
    wanted = torch.linspace(-6, 5, 12, dtype=torch.float64)
    first, *levels = same_snr.nearest_levels(s, wanted)
    assert first == 200 and levels == sorted(set(levels), reverse=True)
    for level, ratio in zip(levels, wanted, strict=True):
        assert (every[level - 1] - ratio).abs() == (every - ratio).abs().min()
    with pytest.raises(ValueError, match="no 30 different levels"):
        same_snr.nearest_levels(s, torch.linspace(-0.1, 0.1, 30, dtype=torch.float64))


def test_log_snr_by_hand():
    s = Schedule(torch.tensor([0.0, 0.2, 0.5]))  # alpha_bar 1, 0.8, 0.4: SNR 4 and 2/3
    assert torch.allclose(same_snr.log_snr(s, torch.tensor([1, 2])).exp(), torch.tensor([4, 2 / 3]).double())


def test_all_schedules_stop_at_the_same_snrs():
    """From the second stop on; each walk begins at its own level T. Even in t is as the samplers do it."""
    stops = same_snr.list_stops(["linear", "cosine", "sigmoid"], 1000, 20)
    assert set(stops["own"]) == {"linear", "cosine", "sigmoid"}
    assert all(levels == spaced(20)(1000) for levels in stops.pop("own").values())
    assert "sigmoid" not in stops["linear"], "between its last two levels lie several of linear's SNRs"
    assert [len(levels_of) for levels_of in stops.values()] == [3, 2, 3, 3]
    for name, levels_of in stops.items():
        assert all(len(levels) == 20 and levels[0] == 1000 for levels in levels_of.values())
        if name in levels_of:
            assert levels_of[name] == spaced(20)(1000)
        ratios = [same_snr.log_snr(SCHEDULES[key], torch.tensor(lv[1:])) for key, lv in levels_of.items()]
        for other in ratios[1:]:
            assert (other - ratios[0]).abs().max() < 0.6 and (other - ratios[0]).abs().mean() < 0.15
    even = same_snr.log_snr(cosine(), torch.tensor(stops["even"]["cosine"][1:]))
    assert even.diff().std() < 0.1 * even.diff().mean().abs()


def test_stored_stops_are_those_of_the_code():
    stored = checkpoints.load_results("same_snr")
    stops = same_snr.list_stops(["linear", "cosine", "sigmoid"], 1000, 20)
    for name, levels_of in stops.items():
        assert {key: place["levels"] for key, place in stored["stops"][name].items()} == levels_of
    seeds = len(stored["recipe"]["seeds"])
    for key, row in stored["rows"].items():
        assert set(row) == {name for name, levels_of in stops.items() if key.split("_")[1] in levels_of}
        assert "quick" not in stored and all(len(r["frechet"]["values"]) == seeds for r in row.values())
