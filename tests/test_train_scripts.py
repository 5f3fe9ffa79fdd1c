"""What `make train` runs: resumed equals uninterrupted, nothing is made twice, wrong names are refused."""

import importlib
import json
import re
import sys
import time

import pytest
import torch

from helpers import data
from helpers.models import PointMLP
from helpers.modes import ROOT
from helpers.schedule import cosine
from helpers.train import __main__ as command
from helpers.train import judges, mnist_unet, resumable, series
from helpers.training import Run

pytestmark = pytest.mark.usefixtures("one_thread")
POINTS = data.moons(300)[0]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(resumable, "CHECKPOINTS", tmp_path)
    return tmp_path


def new_run(seed=0, width=16):
    torch.manual_seed(seed)
    return Run(PointMLP(width=width, depth=1, features=2, time_dim=8), seed=seed)


def go(run, **options):
    return resumable.train_resumably(
        "tiny", run, cosine(100), POINTS, 220, batch_size=8, save_seconds=0, **options
    )


def saved(folder, run, seconds=1.0, step=100):
    """The resume file of a training at `step`."""
    log = {"loss": [0.5], "seconds": seconds, "threads": 1}
    torch.save({"run": {**run.state_dict(), "step": step}, "log": log}, folder / ".tiny.resume")
    return folder / ".tiny.resume"


class PowerCut(Exception):
    pass


def test_resumed_equals_uninterrupted(folder, capsys):
    """Cut at step 150, resumed from step 100: weights, average, losses are the same to the bit."""
    whole, seen = new_run(), []
    log = go(whole, snapshots={50, 150, 210}, on_snapshot=lambda run, log: seen.append(run.step))
    assert seen == [50, 150, 210] and len(log["loss"]) == 2 and whole.step == 220
    resumable.finished("tiny")
    assert list(folder.iterdir()) == []

    def cut(run, log):
        raise PowerCut

    with pytest.raises(PowerCut):
        go(new_run(), snapshots={150}, on_snapshot=cut)
    assert [p.name for p in folder.iterdir()] == [".tiny.resume"]
    resumed, seen = new_run(seed=9), []  # whatever it starts from is replaced
    again = go(resumed, snapshots={50, 150, 210}, on_snapshot=lambda run, log: seen.append(run.step))
    assert "going on from step 100" in capsys.readouterr().out and seen == [150, 210]
    assert again["loss"] == log["loss"] and again["seconds"] > 0
    for a, b in ((whole.model, resumed.model), (whole.ema.model, resumed.ema.model)):
        assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    state, other = whole.optimizer.state_dict()["state"], resumed.optimizer.state_dict()["state"]
    assert all(torch.equal(state[k]["exp_avg_sq"], other[k]["exp_avg_sq"]) for k in state)
    assert torch.equal(whole.generator.get_state(), resumed.generator.get_state())


def test_seconds_add_up(folder):
    saved(folder, new_run(), seconds=1000.0, step=210)
    start = time.perf_counter()
    seconds = go(new_run())["seconds"]
    assert 1000 < seconds <= 1000 + time.perf_counter() - start


@pytest.mark.parametrize("harm", ["cut", "bytes", "empty", "another network"])
def test_damaged_resume_file_is_named(folder, harm):
    path = saved(folder, new_run(width=24))
    good = path.read_bytes()
    harmed = {
        "cut": good[: len(good) // 2],
        "bytes": b"\x93noise" * 500,
        "empty": b"",
        "another network": good,
    }
    path.write_bytes(harmed[harm])
    with pytest.raises(ValueError, match=r"\.tiny\.resume is damaged or of another network.*remove it"):
        go(new_run())


def test_full_disk_keeps_the_older_state(folder, monkeypatch):
    before = saved(folder, new_run(), step=199).read_bytes()

    def save(state, file):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resumable.torch, "save", save)
    with pytest.raises(OSError, match=r"could not write \.tiny\.resume.*No space left"):
        resumable.train_resumably("tiny", new_run(), cosine(100), POINTS, 300, batch_size=8, save_seconds=0)
    assert (folder / ".tiny.resume").read_bytes() == before and len(list(folder.iterdir())) == 1


# --- a series of small trainings


@pytest.fixture
def kept(folder, monkeypatch):
    """The file in which a series is remembered."""
    from helpers import checkpoints

    monkeypatch.setattr(checkpoints, "CHECKPOINTS", folder)
    return folder / ".tiny.resume"


def jobs_noting(done, names="abcd", fails=""):
    def job(name):
        if name in fails:
            raise PowerCut(name)
        done.append(name)
        return {"name": name, "score": len(name)}

    return {name: lambda name=name: job(name) for name in names}


def test_series_remembers_and_keeps_order(kept, capsys):
    done = []
    found = series.run_series("tiny", jobs_noting(done, "dbca"))
    assert list(found) == list("dbca") and found["b"] == {"name": "b", "score": 1}
    assert sorted(done) == list("abcd") and json.loads(kept.read_text()) == found
    assert "tiny: " in capsys.readouterr().err
    again = series.run_series("tiny", jobs_noting(done, "abcde"))
    assert list(again) == list("abcde") and sorted(done) == list("abcde"), "only the new one is run"
    series.forget("tiny"), series.forget("tiny")
    assert not kept.exists()
    assert list(series.run_series("tiny", jobs_noting(done, "a"))) == ["a"] and done[-1] == "a"


def test_one_at_a_time_in_order(kept):
    done = []
    series.run_series("tiny", jobs_noting(done, "dbca"))
    assert done == list("dbca")


def test_series_stops_at_a_job_that_fails(kept):
    """What was done is kept; what had not begun does not begin; the next call does only the rest."""
    done, names = [], [f"{i:02}" for i in range(20)]
    failing = jobs_noting(done, names)
    failing["02"] = lambda: (_ for _ in ()).throw(PowerCut("02"))
    with pytest.raises(PowerCut, match="02"):
        series.run_series("tiny", failing)
    assert done == ["00", "01"]
    assert sorted(json.loads(kept.read_text())) == sorted(done)
    rest = []
    found = series.run_series("tiny", jobs_noting(rest, names))
    assert list(found) == names and sorted(rest) == sorted(set(names) - set(done))


def test_fresh_and_remembered_results_are_alike(kept):
    """A tuple or a whole-number key comes back from JSON as something else: from the start it is that."""
    odd = {"a": lambda: {"pair": (1, 2), "by": {4: 0.5}}}
    fresh = series.run_series("tiny", odd)
    assert fresh == series.run_series("tiny", odd) == {"a": {"pair": [1, 2], "by": {"4": 0.5}}}


def test_series_refuses_what_json_cannot_keep(kept):
    with pytest.raises(TypeError, match="strings.*got 3"):
        series.run_series("tiny", {"a": lambda: 1, 3: lambda: 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        series.run_series("tiny", {"a": lambda: torch.zeros(2)})
    assert not kept.exists()


# --- the command


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The command with made-up trainings that record their names; `data/` is in tmp_path."""
    from helpers import modes

    done = []

    class Training:
        def __init__(self, name):
            self.name = name

        def main(self):
            done.append(self.name)

    monkeypatch.setattr(modes, "ROOT", tmp_path)
    monkeypatch.setattr(command, "TRAININGS", {"one": ["a.json"], "two": ["b.json", "c.json"]})
    monkeypatch.setattr(command.importlib, "import_module", lambda name: Training(name.rpartition(".")[2]))
    (tmp_path / "data").mkdir()

    def call(*args):
        done.clear()
        monkeypatch.setattr(sys, "argv", ["train", *args])
        command.main()
        return list(done)

    return call


def test_all_in_order_and_only_what_is_missing(runs, tmp_path):
    assert runs() == ["one", "two"]
    (tmp_path / "data/a.json").touch(), (tmp_path / "data/b.json").touch()
    assert runs() == ["two"], "of two there is only half"
    (tmp_path / "data/c.json").touch()
    assert runs() == [] and runs("--again") == ["one", "two"] and runs("two", "--again") == ["two"]


def test_named_ones_and_unknown_ones(runs, capsys):
    assert runs("two") == ["two"]
    with pytest.raises(SystemExit):
        runs("two", "tow")
    assert "unknown training tow; known: one, two" in capsys.readouterr().err


@pytest.mark.parametrize("name", command.TRAININGS)
def test_every_training_is_there(name):
    module = importlib.import_module(f"helpers.train.{name}")
    assert callable(module.main) and module.__doc__


def test_what_is_read_is_made_before():
    """The judges come first; a training comes after those whose network or results it reads."""
    order = list(command.TRAININGS)
    assert order[0] == "judges"
    for place, name in enumerate(order):
        source = (ROOT / "helpers" / "train" / f"{name}.py").read_text(encoding="utf-8")
        reads = r"^[A-Z]+ = .*|load_\w+\([^)]*|^from helpers\.train\..*\bNAME\b"
        lines = re.findall(reads, source, re.MULTILINE)
        later = set(re.findall(r"\w+", " ".join(lines))) & set(order[place + 1 :])
        assert not later, f"{name} needs {', '.join(later)}, made after it"


# --- the trainings themselves


def test_mnist_network_is_the_one_described():
    from helpers.models import parameter_count

    model = mnist_unet.network()
    assert model.prediction == "v" and 0.9e6 < parameter_count(model) < 1.2e6
    h, _ = model.encode(torch.zeros(1, 1, 28, 28), model.embed(torch.tensor([3])))
    assert h.shape[-2:] == (7, 7)
    again = mnist_unet.network()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters(), strict=True))
    assert set(mnist_unet.SNAPSHOTS.values()) == {"1min", "5min", "20min"}
    assert (
        list(mnist_unet.SNAPSHOTS) == sorted(mnist_unet.SNAPSHOTS)
        and max(mnist_unet.SNAPSHOTS) < mnist_unet.STEPS
    )


def test_mnist_unet_from_start_to_products(folder, monkeypatch):
    """The whole script, small: the snapshot and the network are written, the resume file is gone."""
    from helpers import checkpoints
    from helpers.models import UNet

    monkeypatch.setattr(checkpoints, "CHECKPOINTS", folder)
    monkeypatch.setattr(mnist_unet, "STEPS", 6)
    monkeypatch.setattr(mnist_unet, "BATCH", 4)
    monkeypatch.setattr(mnist_unet, "SNAPSHOTS", {2: "1min"})
    monkeypatch.setattr(mnist_unet, "network", lambda: UNet((8, 8), emb_dim=8))
    monkeypatch.setattr(mnist_unet.data, "mnist", lambda: (torch.rand(20, 1, 28, 28) * 2 - 1, None))
    mnist_unet.main()
    assert sorted(p.name for p in folder.iterdir()) == [
        "mnist_unet.safetensors",
        "mnist_unet_1min.safetensors",
    ]
    final, early = checkpoints.load_model("mnist_unet"), checkpoints.load_model("mnist_unet_1min")
    assert final.recipe["step"] == 6 and early.recipe["step"] == 2 and final.log["seconds"] > 0
    assert not torch.equal(final.leave[-1].weight, early.leave[-1].weight)


def test_judges_split_is_clean():
    """No test image among the training images."""
    x, y, x_test, y_test = judges.split("digits")
    assert len(x) + len(x_test) == 1797 and len(x) == len(y) and len(x_test) == len(y_test)
    assert float(torch.cdist(x_test.flatten(1), x.flatten(1)).min()) > 0


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
