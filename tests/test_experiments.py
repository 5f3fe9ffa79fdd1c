"""`make train`: one runner, one way to go on, nothing old mixed with new; what the experiments measure."""

import ast
import json
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from data.experiments import __main__ as command
from data.experiments import (
    digits,
    fashion,
    jobs,
    judges,
    measures,
    mnist,
    networks,
    objectives,
    points,
    runner,
    samplers,
    speed,
)
from data.experiments.runner import Experiment, Work
from data.experiments.table import MODULES, TABLE
from helpers import checkpoints, classifiers, data, files
from helpers.models import PointMLP, ResBlock, UNet, parameter_count
from helpers.modes import ROOT
from helpers.sampling import ancestral, spaced
from helpers.schedule import Schedule, at, cosine

pytestmark = pytest.mark.usefixtures("one_thread")
POINTS = data.moons(300)[0]
RECIPE = dict(schedule="cosine", T=100, steps=220, batch_size=8, lr=1e-3, seed=0, bf16=False, ema=0.999)


class PowerCut(Exception):
    pass


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data/: checkpoints and results are read and written there."""
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path / "checkpoints")
    monkeypatch.setattr(checkpoints, "RESULTS", tmp_path / "results")
    yield tmp_path
    runner.forget_caches()


# --- the runner, with made-up experiments


class MadeUp(Experiment):
    """made up: its jobs note their names in `done`, fail when named in `fails`, return the steps."""

    def __init__(self, name="tiny", jobs="abc", fails="", bounds=None, done=None, steps=1800, needs=()):
        self.name, self.jobs, self.fails, self.done, self.needs = name, jobs, fails, done, needs
        self.settings, self.makes = dict(steps=steps), (f"results/{name}.json",)
        self.bounds = bounds or super().bounds

    def list_jobs(self, s):
        return {job: dict(job=job) for job in self.jobs}

    def measure(self, work, job):
        if job in self.fails:
            raise PowerCut(job)
        if self.done is not None:
            self.done.append(job)
        return dict(job=job, steps=work.settings["steps"], pair=(1, 2))

    def assemble(self, work, done):
        work.save_results(done)


def run(*experiments, **options):
    table = {experiment.name: experiment for experiment in experiments}
    runner.run_all(list(table), table, **options)


def stored(folder, name="tiny"):
    return files.read_json(folder / "results" / f"{name}.json")


def left(folder):
    """The folders of interrupted runs."""
    return [path for path in (folder / "checkpoints" / ".resume").iterdir() if path.is_dir()]


def test_it_goes_on_where_it_stopped(folder, capsys):
    """What was done is not done again, nothing ships before all is done, and nothing is left behind."""
    first, second = [], []
    with pytest.raises(PowerCut):
        run(MadeUp(jobs="dbca", fails="c", done=first))
    assert first == ["d", "b"] and not (folder / "results").exists()
    run(MadeUp(jobs="dbca", done=second))
    assert second == ["c", "a"] and "going on, 2 of 4" in capsys.readouterr().out
    assert list(stored(folder))[:4] == list("dbca") and left(folder) == []
    assert stored(folder)["d"] == dict(job="d", steps=1800, pair=[1, 2]), "as JSON reads it back"


def test_another_setting_never_mixes_with_old_results(folder):
    done = []
    with pytest.raises(PowerCut):
        run(MadeUp(fails="c", steps=1800))
    run(MadeUp(done=done, steps=20))
    assert done == list("abc") and all(stored(folder)[job]["steps"] == 20 for job in "abc")


def test_other_files_read_never_mix_with_old_results(folder):
    source = MadeUp("source", steps=1)
    run(source)
    with pytest.raises(PowerCut):
        run(source, MadeUp(fails="c", needs=("source",)))
    run(MadeUp("source", steps=2), again=True)
    done = []
    run(MadeUp("source", steps=2), MadeUp(done=done, needs=("source",)))
    assert done == list("abc")


def test_a_missed_bound_leaves_what_ships(folder):
    run(MadeUp())
    before = (folder / "results/tiny.json").read_bytes()
    low = MadeUp(
        steps=20, bounds=lambda found: [(found["a"]["steps"] > 1000, "a takes 1,000 steps"), (True, "no")]
    )
    with pytest.raises(
        ValueError, match="not good enough: a takes 1,000 steps. What stands in .* is untouched"
    ):
        run(low, again=True)
    assert (folder / "results/tiny.json").read_bytes() == before
    assert stored(left(folder)[0] / "made")["a"]["steps"] == 20
    run(low, again=True, quick=True)
    assert stored(folder)["a"]["steps"] == 20, "a trial is not held to bounds"


@pytest.mark.parametrize("harm", ["gone", "cut", "empty"])
def test_a_broken_product_is_made_again_by_its_own_step(folder, harm, capsys):
    done = []
    one, two = MadeUp("one", done=done), MadeUp("two", jobs="xy", done=done)
    run(one, two)
    path, done[:] = folder / "results/two.json", []
    whole = path.read_text()
    path.unlink() if harm == "gone" else path.write_text("" if harm == "empty" else whole[:9])
    run(one, two)
    assert done == ["x", "y"] and path.read_text() == whole
    assert ("results/two.json is damaged" in capsys.readouterr().out) == (harm != "gone")


def test_again_and_nothing_to_do(folder, capsys):
    done = []
    run(MadeUp(done=done)), run(MadeUp(done=done))
    assert done == list("abc") and "its products are there" in capsys.readouterr().out
    run(MadeUp(done=done), again=True)
    assert done == list("abcabc")


def test_damaged_resume_file_is_named(folder):
    with pytest.raises(PowerCut):
        run(MadeUp(fails="c"))
    path = left(folder)[0] / "done.json"
    path.write_text('{"a": ')
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))} is damaged .*: remove it"):
        run(MadeUp())


def test_what_is_needed_comes_first(folder):
    done = []
    late = MadeUp("late", needs=("early",), done=done, jobs="z")
    with pytest.raises(ValueError, match=r"late reads results/early.json.*python -m data.experiments early"):
        runner.run_all(["late"], dict(late=late, early=MadeUp("early")))
    run(late, MadeUp("early", done=done, jobs="a"))
    assert done == ["a", "z"]


def test_two_runners_share_the_work(folder, monkeypatch, capsys):
    """What another runner has begun is left to it, with what needs it; when it is done, the rest follows."""
    done, table = [], {}
    table["taken"], table["free"] = MadeUp("taken", done=done, jobs="t"), MadeUp("free", done=done, jobs="f")
    table["after"] = MadeUp("after", done=done, jobs="a", needs=("taken",))
    other = runner.only_one("taken")
    assert other.__enter__()

    def finish(seconds):
        assert done == ["f"]
        other.__exit__(None, None, None)
        run(MadeUp("taken", jobs="t"))

    monkeypatch.setattr(runner.time, "sleep", finish)
    runner.run_all(list(table), table)
    assert done == ["f", "a"] and "waiting for another runner, to do taken, after" in capsys.readouterr().out


# --- one training


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "SAVE_SECONDS", 0)
    return Work("tiny", {}, tmp_path / "made", tmp_path / "training.state")


def network(seed=0, width=16):
    torch.manual_seed(seed)
    return PointMLP(width=width, depth=1, features=2, time_dim=8)


def interrupt(work, width=16):
    """Leave the state of a training cut at step 150, saved at step 100."""

    def cut(run, log):
        raise PowerCut

    with pytest.raises(PowerCut):
        networks.train_network(work, network(width=width), POINTS, RECIPE, stops={150}, look=cut)


def test_resumed_equals_uninterrupted(work, capsys):
    """Weights, average, optimiser, losses and looks are the same to the bit, whatever it starts from."""
    options = dict(stops={50, 150, 210}, look=lambda run, log: run.step)
    whole, log = networks.train_network(work, network(), POINTS, RECIPE, **options)
    assert log["looks"] == {"50": 50, "150": 150, "210": 210} and len(log["loss"]) == 2 and whole.step == 220
    work.state.unlink()
    interrupt(work)
    resumed, again = networks.train_network(work, network(seed=9), POINTS, RECIPE, **options)
    assert "going on from step 100" in capsys.readouterr().out and again["looks"] == {"150": 150, "210": 210}
    assert again["loss"] == log["loss"] and again["last"] == log["last"]
    for a, b in ((whole.model, resumed.model), (whole.ema.model, resumed.ema.model)):
        assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    state, other = whole.optimizer.state_dict()["state"], resumed.optimizer.state_dict()["state"]
    assert all(torch.equal(state[k]["exp_avg_sq"], other[k]["exp_avg_sq"]) for k in state)
    assert torch.equal(whole.generator.get_state(), resumed.generator.get_state())


def test_seconds_add_up_without_the_looks(work):
    interrupt(work)
    run, empty = (
        networks.Run(network()),
        dict.fromkeys(("loss", "last", "seconds", "cpu_seconds", "threads", "looks")),
    )
    log = networks.load_state(work, run, empty)
    networks.save_state(work, run, {**log, "seconds": 1000.0})
    start = time.perf_counter()
    look = dict(stops={210}, look=lambda run, log: time.sleep(0.5))
    _, log = networks.train_network(work, network(), POINTS, RECIPE, **look)
    assert 1000 < log["seconds"] <= 1000 + time.perf_counter() - start - 0.5


@pytest.mark.parametrize("harm", ["cut", "bytes", "empty", "another network"])
def test_damaged_state_is_named(work, harm):
    interrupt(work, width=24)
    good = work.state.read_bytes()
    harmed = {
        "cut": good[: len(good) // 2],
        "bytes": b"\x93noise" * 500,
        "empty": b"",
        "another network": good,
    }
    work.state.write_bytes(harmed[harm])
    with pytest.raises(ValueError, match=r"training\.state is damaged, of another network.*remove it"):
        networks.train_network(work, network(), POINTS, RECIPE)


def test_full_disk_keeps_the_older_state(work, monkeypatch):
    interrupt(work)
    before = work.state.read_bytes()

    def write_bytes(self, content):
        self.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(OSError, match=r"could not write training\.state.*No space left"):
        networks.train_network(work, network(), POINTS, RECIPE)
    assert work.state.read_bytes() == before and len(list(work.state.parent.iterdir())) == 1


def test_other_averages(work):
    """Without warm-up an average starts from the first weights; with it, the decay does not show at once."""
    averages = {"none": 0.0, "99": 0.99, "cold": -0.999}
    run, _ = networks.train_network(work, network(), POINTS, dict(RECIPE, steps=50), average_of=averages)
    none, warm, cold = (run.averages[name].model.leave.weight for name in averages)
    usual, first, now = run.ema.model.leave.weight, network().leave.weight, run.model.leave.weight
    assert torch.equal(none, now) and torch.allclose(warm, usual)
    assert (cold - first).abs().max() < 0.1 * (now - first).abs().max()


# --- the table and the command


def test_the_table_makes_everything_that_ships():
    """Every file in checkpoints, results and gallery is the product of one experiment, made in order."""
    made = [product for experiment in TABLE.values() for product in experiment.makes]
    assert len(made) == len(set(made))
    there = set()
    for name in ("checkpoints", "results", "gallery"):
        there |= {f"{name}/{path.name}" for path in (ROOT / "data" / name).glob("[!.]*")}
    assert there - set(made) <= {"results/notebook_seconds.json"}
    assert {f"checkpoints/mnist_unet_{minutes}min.safetensors" for minutes in (1, 5, 20)} < set(made)
    names = list(TABLE)
    for experiment in TABLE.values():
        assert all(names.index(name) < names.index(experiment.name) for name in experiment.needs)


def test_what_an_experiment_reads_is_among_its_needs():
    """No module loads a network or results by a name that its experiments do not say they need."""
    for module in MODULES:
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        known = {word for experiment in module.EXPERIMENTS for word in (experiment.name, *experiment.needs)}
        makes = {Path(product).stem for word in known for product in TABLE[word].makes}
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        loads = [c for c in calls if getattr(c.func, "attr", getattr(c.func, "id", "")).startswith("load_")]
        read = {arg.value for call in loads for arg in call.args if isinstance(arg, ast.Constant)}
        assert read <= makes, module.__name__


@pytest.fixture
def call(monkeypatch, folder):
    """The command with two made-up experiments; what it runs."""
    done = []
    table = {name: MadeUp(name, jobs=name, done=done) for name in "ab"}
    monkeypatch.setattr(command, "TABLE", table)

    def call(*args):
        done.clear()
        monkeypatch.setattr(sys, "argv", ["experiments", *args])
        command.main()
        return list(done)

    return call


def test_the_command(call, capsys, folder):
    assert call("b") == ["b"] and call() == ["a"] and call() == [] and call("b", "--again") == ["b"]
    assert call("--list") == [] and capsys.readouterr().out.count("there\n") == 2
    with pytest.raises(SystemExit):
        call("a", "tow")
    assert "unknown experiment tow; known: a, b" in capsys.readouterr().err
    assert call("--quick", str(folder / "trial")) == ["a", "b"] and (folder / "trial/results/a.json").exists()


def test_the_whole_chain_from_an_empty_folder(folder, capsys):
    """Every experiment, small, from nothing but the data sets; then a lost product comes back alone."""
    runner.run_all(list(TABLE), TABLE, quick=True)
    made = {product: folder / product for experiment in TABLE.values() for product in experiment.makes}
    assert all(runner.is_readable(path) for path in made.values()) and left(folder) == []
    assert not list(folder.glob("*/.*.part*"))
    for path in (folder / "results").glob("*.json"):
        check_figures(json.loads(path.read_text(encoding="utf-8")))
    before = {product: path.stat().st_mtime_ns for product, path in made.items()}
    made["checkpoints/mnist_unet_5min.safetensors"].unlink()
    path = made["results/points.json"]
    path.write_bytes(path.read_bytes()[:100])
    runner.run_all(list(TABLE), TABLE, quick=True)
    after = {product for product, path in made.items() if path.stat().st_mtime_ns != before[product]}
    assert after == {*TABLE["mnist_snapshots"].makes, "results/points.json"}


def check_figures(node):
    """Every figure with spread has the one shape: mean, std (None for a single value), values."""
    if isinstance(node, list):
        [check_figures(part) for part in node]
    if not isinstance(node, dict):
        return
    assert not {"runs", "all", "spread"} & set(node)
    if "values" in node and "mean" in node:
        known = [value for value in node["values"] if value is not None]
        assert (node["std"] is None) == (len(known) < 2)
        assert not known or node["mean"] == pytest.approx(sum(known) / len(known), abs=2e-3)
    [check_figures(part) for part in node.values()]


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "data/results").glob("*.json")))
def test_stored_figures_have_one_shape(name):
    if name != "notebook_seconds":
        check_figures(checkpoints.load_results(name))


@pytest.mark.parametrize(
    "name", [name for name, experiment in TABLE.items() if type(experiment).bounds is not Experiment.bounds]
)
def test_bounds_find_what_they_ask_for(name):
    """Every bound can be evaluated on the stored results; whether it holds is for the experiment to say."""
    for holds, sentence in TABLE[name].bounds(checkpoints.load_results(name)):
        assert holds in (True, False) and sentence


# --- what the experiments measure


def test_figure_copes_with_missing_values():
    assert jobs.figure([2.0, 4.0, None]) == dict(mean=3.0, std=1.41421, values=[2.0, 4.0, None])
    assert jobs.figure([1.0])["std"] is None
    assert jobs.figure([None]) == dict(mean=None, std=None, values=[None])
    good = dict(frechet=2.0, levels={"eps": [1.0, 3.0]}, classes=[0.1] * 10)
    summary = objectives.summarise_setting([good, dict(good, frechet=4.0), dict(diverged="no number")])
    assert summary["frechet"]["mean"] == 3 and summary["levels"]["eps"] == [1.0, 3.0]


def test_floor_is_that_of_metrics():
    from helpers import metrics

    real = data.digits()[0]
    assert measures.floor(real, 500)["mean"] == pytest.approx(metrics.frechet_floor(real, 500)[0], abs=1e-4)


def test_digits_split_is_clean():
    """No test image among the training images."""
    sets = measures.real("digits")
    assert len(sets.x) == len(sets.y) == 1437 and len(sets.test) == len(sets.test_y) == 360
    assert float(torch.cdist(sets.test.flatten(1), sets.x.flatten(1)).min()) > 0


def test_judges_shift_by_hand():
    image = torch.full((1, 1, 4, 4), -1.0)
    image[..., 1, 2] = 1.0
    g, seen = torch.Generator().manual_seed(0), set()
    for _ in range(60):
        moved = judges.shift(image, g, 1)
        assert moved.shape == image.shape and set(moved.unique().tolist()) == {-1.0, 1.0}
        seen.add(tuple(torch.nonzero(moved[0, 0] == 1)[0].tolist()))
    assert seen == {(r, c) for r in (0, 1, 2) for c in (1, 2, 3)}
    assert torch.equal(judges.shift(image, g, 0), image)


def test_wrong_rules():
    """Every 20th level with the one-level step; noise of variance beta_1 on the finished sample."""
    assert points.skip_levels(20).levels(100) == [100, 80, 60, 40, 20]
    x, x0, schedule = torch.zeros(1, 2), torch.ones(1, 2), cosine(100)
    noisy, usual = points.noise_at_last_step(), ancestral()
    arguments = (schedule, x, 1, 0, None, x0, lambda: torch.full((1, 2), 2.0))
    added = noisy.move(*arguments) - usual.move(*arguments)
    torch.testing.assert_close(added, 2 * schedule.betas[1].sqrt().expand(1, 2))


@pytest.mark.parametrize("more", [dict(classes=10), dict(blocks=2)], ids=["labels", "blocks"])
def test_a_network_starts_as_the_one_before(folder, more):
    """New blocks and labels do nothing at first; another network is refused."""
    torch.manual_seed(0)
    base = UNet(channels=(8, 16))
    nn.init.normal_(base.leave[-1].weight)
    recipe = dict(T=1000)
    checkpoints.save_model(folder / "checkpoints/mnist_unet.safetensors", base, recipe)
    images = torch.randn(8, 1, 28, 28)
    model = UNet(channels=(8, 16), **more)
    mnist.start_from(model, "mnist_unet", images)
    assert parameter_count(model) > parameter_count(base)
    t = torch.full((8,), 700)
    torch.testing.assert_close(model.eval()(images, t), base.eval()(images, t))
    with pytest.raises((ValueError, RuntimeError)):
        mnist.start_from(UNet(channels=(16, 16)), "mnist_unet", images)


def test_seconds_are_taken_in_turn(monkeypatch):
    """Count by count through all samplers, round after round; medians, and longer walks scaled."""
    asked, kept = [], {}
    model = SimpleNamespace(recipe=dict(schedule="cosine", T=1000))
    monkeypatch.setattr(speed, "load_network", lambda name: model)
    monkeypatch.setattr(speed, "draw", lambda m, s, rule, *a, **k: asked.append(len(rule.levels(1000))))
    experiment = TABLE["sampler_seconds"]
    settings = dict(images=1, evaluations=[4, 8, 50, 1000], rounds=3, often=8, most=50)
    work = SimpleNamespace(settings=settings, save_results=kept.update)
    done = {}
    for name, job in experiment.list_jobs(settings).items():
        asked.clear()
        done[name] = experiment.measure(work, **job)
        first = [50] * 4 if name == "round 0" else []
        assert asked == [2] * 5 + [4] * 5 + [8] * 5 + first
    for run, factor in zip(done.values(), (1, 10, 3), strict=True):
        for row in run.values():
            row.update({n: int(n) * factor for n in row})
    experiment.assemble(work, json.loads(json.dumps(done)))
    seconds = kept["networks"]["mnist_unet"]
    assert seconds["bf16"]["dpm"] == {"4": 12, "8": 24, "50": 50, "1000": 1000}
    assert seconds["float32"] == {"dpm": {"4": 12, "8": 24}} and len(seconds["bf16"]) == 4


def test_power_levels():
    assert samplers.power_levels(1000, 20, 1.0) == spaced(20, "trailing")(1000)
    dense = samplers.power_levels(1000, 20, 2.0)
    assert dense[0] == 1000 and dense == sorted(set(dense), reverse=True) and dense[-1] < 50


def test_sample_i_is_asked_for_class_i_modulo_ten():
    """draw_lab, also where the samples are drawn in several chunks; without labels no class is asked for."""

    class Noted(nn.Module):
        prediction, classes = "eps", 10

        def forward(self, x, t, *y):
            asked.append(y[0] if y else None)
            return torch.zeros_like(x)

    asked, model, n = [], Noted(), fashion.CHUNK + 12
    images = fashion.draw_lab(model, dict(schedule="cosine", T=3), n, seed=1)
    assert images.shape == (n, 1, 28, 28) and len(asked) == 6, "two chunks of three levels"
    assert all(torch.equal(torch.cat([asked[k], asked[3 + k]]), torch.arange(n) % 10) for k in range(3))
    model.classes = 0
    fashion.draw_lab(model, dict(schedule="cosine", T=3), 2, seed=1)
    assert asked[6:] == [None] * 3


def test_the_short_schedules():
    names = TABLE["samplers"].settings["short_schedules"]
    schedules = {name: networks.SCHEDULES[full](300) for name, full in names.items()}
    ends = {name: float(schedule.exact(300).sqrt()) for name, schedule in schedules.items()}
    assert ends["uncorrected"] == pytest.approx(0.219, abs=1e-3)
    assert ends["zero_terminal"] == 0 and ends["rescaled"] < 0.01


def test_corrections_invert_better():
    torch.manual_seed(0)
    model = UNet(channels=(8, 16), emb_dim=16, heads=2).requires_grad_(False).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    errors = [samplers.measure_inversion(model, cosine(), x, 20, c)["error"] for c in (0, 3)]
    assert errors[1] < errors[0]


class Off(nn.Module):
    """Knows the one picture there is: predicts exactly that, and off by `error`."""

    def __init__(self, picture, prediction, schedule: Schedule, error: float):
        super().__init__()
        self.picture, self.prediction, self.schedule, self.error = picture, prediction, schedule, error

    def forward(self, x_t, t):
        x0 = self.picture.expand(len(x_t), -1, -1, -1).double()
        eps = self.schedule.predict_eps(x_t.double(), t, x0)
        return (self.schedule.target(x0, t, eps, self.prediction) + self.error).float()


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_measured_levels_agree_with_the_algebra(prediction):
    """Off by 0.1 everywhere: the loss is 0.01 in its own unit, and that times known factors in the others."""
    picture, schedule = data.digits()[0][:1], cosine()
    images = picture.repeat(40, 1, 1, 1)
    losses = objectives.loss_by_level(Off(picture, prediction, schedule, 0.1), schedule, images, 10)
    assert all(abs(value - 0.01) < 2e-4 for value in losses[prediction])
    snr = float(at(schedule.snr, 150, torch.zeros(1)))
    of_x0 = {"x0": 1.0, "eps": snr, "v": snr + 1}  # a loss in this unit for one of 1 in x_0
    for unit in ("eps", "x0", "v"):
        expected = 0.01 * of_x0[unit] / of_x0[prediction]
        assert expected / 3 < losses[unit][1] < expected * 3, "the bin of levels 101 to 200"


def test_novelty_knows_copies_from_fresh_images():
    sets = measures.real("digits")
    train, held_out = sets.x, sets.test
    copied = objectives.measure_novelty(train[:50], train, held_out)
    fresh = objectives.measure_novelty(held_out, train, held_out)
    assert copied == dict(nearer=1.0, novelty=0.0)
    assert fresh["novelty"] == 1 and 0.04 < fresh["nearer"] < 0.06
    share = [objectives.copied_share(images, train, 1 / 3) for images in (train[:50], held_out)]
    assert share[0] > 0.99 and share[1] < 0.05


def test_22_settings_without_eps_at_zero_snr():
    listed = TABLE["objectives"].list_jobs(TABLE["objectives"].settings)
    names = {name.rpartition(" ")[0] for name in listed}
    assert len(names) == 22 and len(listed) == 66
    assert not [name for name in names if name.startswith("eps_ztsnr")]


@pytest.mark.parametrize("name", digits.ACTIVATIONS)
def test_every_activation_is_replaced(name):
    torch.manual_seed(0)
    model, before = UNet(channels=(8, 16)), UNet(channels=(8, 16))
    digits.replace_activations(model, name)
    assert not [m for m in model.modules() if isinstance(m, nn.SiLU)]
    blocks = [m for m in model.modules() if isinstance(m, ResBlock)]
    function, x = digits.ACTIVATIONS[name][0], torch.randn(5)
    assert len(blocks) == 6 and all(torch.equal(block.activation(x), function(x)) for block in blocks)
    assert ResBlock.activation is F.silu
    assert all(block.activation is F.silu for block in before.modules() if isinstance(block, ResBlock))
    assert model(torch.randn(2, 1, 8, 8), torch.tensor([3, 900])).shape == (2, 1, 8, 8)


def test_judges_are_read_anew_after_a_run(folder):
    """Classifiers made anew are not mixed up with those read before."""
    classifier = classifiers.Classifier(8, 8)
    checkpoints.save_model(folder / "checkpoints/digits_judge.safetensors", classifier, {})
    runner.forget_caches()
    first = classifiers.load("judge", "digits")
    assert classifiers.load("judge", "digits") is first
    run(MadeUp())
    assert classifiers.load("judge", "digits") is not first
