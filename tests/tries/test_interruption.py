"""Trainings that are stopped: at every step of the runner, by every signal, with every state on the disk.

Killed processes are real ones: a child made by fork runs an experiment and ends itself at a given step.
"""

import copy
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load, save

from data.experiments import __main__ as command
from data.experiments import networks, runner
from data.experiments.runner import Experiment, Work
from helpers import checkpoints, data, files
from helpers.models import PointMLP

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore"),  # of torch, about the files made up here
]


class PowerCut(BaseException):
    """Stops everything, as Ctrl-C does."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data/: checkpoints, results and gallery are read and written there."""
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path / "checkpoints")
    monkeypatch.setattr(checkpoints, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(runner, "forget_caches", lambda: None)
    yield tmp_path


def network(seed=0, width=16):
    torch.manual_seed(seed)
    return PointMLP(width=width, depth=1, features=2, time_dim=8)


class Tiny(Experiment):
    """made up: two jobs, and products of four kinds that say how many steps they are from."""

    name = "tiny"
    makes = (
        "checkpoints/tiny.safetensors",
        "results/tiny.json",
        "results/tiny.safetensors",
        "gallery/tiny.gif",
    )

    def __init__(self, done=None, fails="", **settings):
        self.done, self.fails = [] if done is None else done, fails
        self.settings = (
            dict(steps=1800, seed=0, batch_size=64, lr=1e-3, network=dict(channels=[8, 16])) | settings
        )

    def list_jobs(self, s):
        return {job: dict(job=job) for job in "ab"}

    def measure(self, work, job):
        if job in self.fails:
            raise PowerCut
        steps = work.settings["steps"]
        files.write_bytes(work.state, b"a training on its way")
        if job == "a":
            work.save_model("tiny", network(), {"steps": steps}, {})
            picture = Image.new("L", (4, 4), steps % 256)
            files.write_bytes(work.made / "gallery" / "tiny.gif", gif(picture))
        self.done.append(job)
        return dict(job=job, steps=steps)

    def assemble(self, work, done):
        work.save_results(dict(done, steps=work.settings["steps"]), x=torch.zeros(1, 1, 4, 4))


def gif(picture) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="GIF")
    return buffer.getvalue()


def run(experiment, **options):
    runner.run_all([experiment.name], {experiment.name: experiment}, **options)


def products(folder: Path) -> dict:
    return {name: (folder / name).read_bytes() for name in Tiny.makes}


def steps_of(folder: Path) -> set:
    """From how many steps the products are that say so."""
    recipe = checkpoints.read_checkpoint(folder / Tiny.makes[0])[1]["recipe"]
    with Image.open(folder / Tiny.makes[3]) as picture:
        grey = picture.convert("L").getpixel((0, 0))
    return {recipe["steps"] % 256, files.read_json(folder / Tiny.makes[1])["steps"] % 256, grey}


def waiting(folder: Path) -> list[Path]:
    """What interrupted runs have left, apart from locks."""
    return [path for path in (folder / "checkpoints/.resume").iterdir() if path.suffix != ".lock"]


def debris(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if ".part" in path.name]


# --- stopped at every step


class Steps:
    """Counts what the runner does to the disk, and stops the process at one of these steps."""

    def __init__(self, monkeypatch, stop_at=None, how="KILL"):
        self.count, self.stop_at, self.how = 0, stop_at, how
        real_write = Path.write_bytes

        def write_bytes(path, content):
            real_write(path, content[: len(content) // 2])
            self.step()
            return real_write(path, content)

        monkeypatch.setattr(Path, "write_bytes", write_bytes)
        for module, name in ((os, "fsync"), (os, "replace"), (os, "unlink"), (os, "rmdir")):
            monkeypatch.setattr(module, name, self.watched(getattr(module, name)))

    def watched(self, real):
        def call(*args, **kwargs):
            self.step()
            result = real(*args, **kwargs)
            self.step()
            return result

        return call

    def step(self):
        self.count += 1
        if self.count == self.stop_at:
            if self.how == "Ctrl-C":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGKILL if self.how == "KILL" else signal.SIGTERM)
            time.sleep(10)


def in_a_child(work) -> int:
    """Call work() in a copy of this process; how that ended."""
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


LAST = 86  # steps of one run; test_all_steps_are_tried counts them
STOPS = [(step, "KILL") for step in range(1, LAST, 3)]
STOPS += [(step, how) for step in range(2, LAST, 12) for how in ("TERM", "Ctrl-C")]
MORE = [(step, how) for step in range(1, LAST) for how in ("KILL", "TERM", "Ctrl-C")]
STOPS += [pytest.param(*stop, marks=pytest.mark.long) for stop in MORE if stop not in STOPS]


def test_all_steps_are_tried(folder, monkeypatch):
    run(Tiny(steps=1))
    with monkeypatch.context() as patch:
        steps = Steps(patch)
        run(Tiny(steps=2), again=True)
    assert LAST <= steps.count < LAST + 9, "of the last few, each removes one more file or folder"


@pytest.mark.parametrize("step, how", STOPS)
def test_stopped_at_a_step(folder, monkeypatch, step, how, capfd):
    """What ships stays until all is new; the next run finishes, from one training and without debris."""
    run(Tiny(steps=1))
    before = products(folder)

    def work():
        with monkeypatch.context() as patch:
            Steps(patch, step, how)
            run(Tiny(steps=2), again=True)

    status = in_a_child(work)
    assert status == {"KILL": -9, "TERM": -15, "Ctrl-C": 1}[how]
    new = {name for name, content in products(folder).items() if content != before[name]}
    assert not new or (folder / "checkpoints/.resume/tiny.ready").exists() or len(new) == 4
    assert how != "Ctrl-C" or not debris(folder)
    assert all(runner.is_readable(folder / name) for name in Tiny.makes)
    run(Tiny(steps=2))
    assert steps_of(folder) in ({1}, {2}), "all from one training"
    run(Tiny(steps=2), again=True)
    assert steps_of(folder) == {2} and waiting(folder) == [] and debris(folder) == []


def test_a_finished_job_is_not_done_again(folder):
    with pytest.raises(PowerCut):
        run(Tiny(fails="b"))
    done = []
    run(Tiny(done))
    assert done == ["b"]


def test_the_state_of_one_job_is_not_taken_for_the_next(folder, monkeypatch):
    """Killed after a job was noted and before its state was removed: the next job starts from the start."""
    monkeypatch.setattr(networks, "SAVE_SECONDS", 0)
    points = data.moons(200)[0]
    recipe = dict(schedule="cosine", T=50, steps=120, batch_size=8, lr=1e-3, bf16=False, ema=0.9)

    class Two(Tiny):
        name, makes = "two", ("results/two.json",)

        def measure(self, work, job):
            seed = "ab".index(job)
            trained, log = networks.train_network(work, network(seed), points, {**recipe, "seed": seed})
            return dict(loss=log["last"], weight=trained.model.leave.bias[0].item())

        def assemble(self, work, done):
            work.save_results(done)

    run(Two())
    whole = files.read_json(folder / "results/two.json")
    assert whole["a"] != whole["b"]
    (folder / "results/two.json").unlink()

    def write(path, table):
        files.write_json(path, table)
        raise PowerCut

    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(runner, "write_json", write)
        run(Two())
    assert list(folder.rglob("*.state")), "the state of job a is still there"
    run(Two())
    again = files.read_json(folder / "results/two.json")
    assert again["a"] == whole["a"] and again["b"] == whole["b"] and waiting(folder) == []


# --- other settings never go on from here

CHANGES = {
    "20 steps for 1,800": dict(steps=20),
    "one step more": dict(steps=1801),
    "another seed": dict(seed=1),
    "another batch": dict(batch_size=65),
    "another learning rate": dict(lr=1.0000000001e-3),
    "deep inside": dict(network=dict(channels=[8, 17])),
    "another order": dict(network=dict(channels=[16, 8])),
    "a setting more": dict(clip=None),
    "true for 1": dict(seed=False),
    "text for a number": dict(seed="0"),
    "a setting moved": dict(network=dict(channels=[8, 16], seed=0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_settings_start_anew(folder, change):
    with pytest.raises(PowerCut):
        run(Tiny(fails="b"))
    done, other = [], Tiny(**CHANGES[change])
    other.done = done
    run(other)
    assert done == ["a", "b"] and len(waiting(folder)) == 1, "and the other run still waits"
    assert files.read_json(folder / "results/tiny.json")["steps"] == other.settings["steps"]


@pytest.mark.parametrize(
    "change", [dict(steps=1800), dict(network={"channels": (8, 16)})], ids=["none", "a tuple"]
)
def test_the_same_settings_go_on(folder, change):
    with pytest.raises(PowerCut):
        run(Tiny(fails="b"))
    done = []
    run(Tiny(done, **change))
    assert done == ["b"] and waiting(folder) == []


@pytest.mark.parametrize("what", ["another folder's figures", "figures of a trial"])
def test_figures_lie_only_where_their_key_says(folder, what):
    """--quick and not, in one folder."""
    small = Tiny(fails="b")
    small.quick = dict(steps=2)
    with pytest.raises(PowerCut):
        run(small, quick=what.endswith("trial"))
    full = Tiny()
    full.quick = dict(steps=2)
    run(full, quick=not what.endswith("trial"))
    assert full.done == ["a", "b"]


# --- a product that is not what was written is not there

HARMS = {
    "0 bytes": lambda good: b"",
    "half": lambda good: good[: len(good) // 2],
    "the last byte is lost": lambda good: good[:-1],
    "a byte flipped": lambda good: good[:-9] + bytes([good[-9] ^ 1]) + good[-8:],
    "zeros": lambda good: bytes(len(good)),
    "an HTML page": lambda good: b"<html>404</html>",
    "a list": lambda good: b"[1, 2, 3]",
    "without metadata": lambda good: save(load(good)),
    "of another kind": lambda good: save({"x": torch.zeros(3)}, {"note": "1"}),
}
KINDS = dict(zip(("network", "results", "images", "picture"), Tiny.makes, strict=True))
# A GIF carries no checksum: a flipped byte makes another picture, which only data/SHA256SUMS tells.
CASES = [
    (k, h)
    for k in KINDS
    for h in HARMS
    if k != "picture" or h in ("0 bytes", "half", "zeros", "an HTML page")
]
CASES = [(k, h) for k, h in CASES if h != "without metadata" or k == "network"]
CASES = [(k, h) for k, h in CASES if h != "of another kind" or k == "network"]


@pytest.mark.parametrize("kind, harm", CASES)
def test_a_damaged_product_is_made_again(folder, kind, harm, capsys):
    """By its own experiment, and the other one is left alone."""

    class Other(Tiny):
        name, makes = "other", ("results/other.json",)

        def assemble(self, work, done):
            work.save_results(done)

    other, path = Other(), folder / KINDS[kind]
    table = {"tiny": Tiny(), "other": other}
    runner.run_all(list(table), table)
    good = path.read_bytes()
    path.write_bytes(HARMS[harm](good))
    other.done.clear(), table["tiny"].done.clear()
    runner.run_all(list(table), table)
    assert table["tiny"].done == ["a", "b"] and other.done == [] and runner.is_readable(path)
    assert f"tiny: {KINDS[kind]} is damaged and made anew" in capsys.readouterr().out


def test_a_folder_in_the_place_of_a_product(folder, call_with):
    """It cannot be moved away unasked: said, and what was made waits."""
    (folder / "results/tiny.json").mkdir(parents=True)
    (folder / "results/tiny.json/mine").touch()
    said = call_with(Tiny())
    assert "results/tiny.json" in said and "run the same command again" in said
    assert (folder / "results/tiny.json/mine").exists()
    (folder / "results/tiny.json/mine").unlink(), (folder / "results/tiny.json").rmdir()
    done = []
    run(Tiny(done))
    assert done == [] and steps_of(folder) == {1800 % 256} and waiting(folder) == []


# --- the state of a training


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """The bytes of a training's state after ten steps, and its log."""
    path = tmp_path_factory.mktemp("state") / "it.state"
    work, run = Work("tiny", {}, path.parent, path), networks.Run(network())
    schedule = networks.SCHEDULES["cosine"](50)
    *_, step = networks.train(run, schedule, data.moons(100)[0], 10, 8)
    log = {
        "loss": [step.loss],
        "last": step.loss,
        "seconds": 1.0,
        "cpu_seconds": 1.0,
        "threads": 1,
        "looks": {},
    }
    networks.save_state(work, run, log)
    return path.read_bytes(), log


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def saved(content) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def with_seal(content: bytes) -> bytes:
    return files.seal(f'{{"sha256": "{files.UNSEALED}"}}\n'.encode() + content)


def loaded(good: bytes) -> dict:
    return torch.load(io.BytesIO(good.partition(b"\n")[2]), weights_only=True)


def edited(good: bytes, change) -> bytes:
    content = loaded(good)
    return with_seal(saved(change(content) or content))


def newer(good: bytes) -> bytes:
    """The same from a torch whose file format is one that this one does not know."""
    old, buffer = zipfile.ZipFile(io.BytesIO(good.partition(b"\n")[2])), io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"9999\n" if name.endswith("/version") else old.read(name))
    return with_seal(buffer.getvalue())


STATES = {
    "empty": lambda good, trap: b"",
    "half": lambda good, trap: good[: len(good) // 2],
    "the last byte is lost": lambda good, trap: good[:-1],
    "a weight flipped": lambda good, trap: good[:3000] + bytes([good[3000] ^ 4]) + good[3001:],
    "the checksum flipped": lambda good, trap: good[:14] + bytes([good[14] ^ 1]) + good[15:],
    "random bytes": lambda good, trap: torch.rand(500).numpy().tobytes(),
    "text": lambda good, trap: b"not a state",
    "zeros": lambda good, trap: bytes(len(good)),
    "a hostile pickle": lambda good, trap: pickle.dumps(Payload(trap)),
    "a hostile pickle behind a checksum": lambda good, trap: with_seal(pickle.dumps(Payload(trap))),
    "a hostile file of torch.save": lambda good, trap: with_seal(saved({"run": Payload(trap), "log": {}})),
    "a hostile log": lambda good, trap: edited(good, lambda s: s.update(log=Payload(trap))),
    "of a newer torch": lambda good, trap: newer(good),
    "a list": lambda good, trap: with_seal(saved([1, 2])),
    "a tensor": lambda good, trap: with_seal(saved(torch.zeros(3))),
    "no run": lambda good, trap: edited(good, lambda s: s.pop("run") and None),
    "no log": lambda good, trap: edited(good, lambda s: s.pop("log") and None),
    "another log": lambda good, trap: edited(good, lambda s: s["log"].pop("loss") and None),
    "a log that is a list": lambda good, trap: edited(good, lambda s: s.update(log=[1])),
    "no optimizer": lambda good, trap: edited(good, lambda s: s["run"].pop("optimizer") and None),
    "no generator": lambda good, trap: edited(good, lambda s: s["run"].pop("generator") is None),
    "a short generator": lambda good, trap: edited(good, lambda s: s["run"].update(generator=torch.zeros(3))),
    "no step": lambda good, trap: edited(good, lambda s: s["run"].pop("step") and None),
    "another network": lambda good, trap: edited(
        good, lambda s: s["run"].update(model=network(0, 24).state_dict())
    ),
    "another average": lambda good, trap: edited(good, lambda s: s["run"].update(ema={})),
}


@pytest.mark.parametrize("harm", STATES)
def test_a_state_that_cannot_be_used(tmp_path, state, harm):
    """One sentence that names the file and says what to do; nothing in it is executed."""
    good, log = state
    work, trap = Work("tiny", {}, tmp_path, tmp_path / "training_0.state"), tmp_path / "executed"
    work.state.write_bytes(STATES[harm](good, trap))
    with pytest.raises(ValueError) as err:
        networks.load_state(work, networks.Run(network()), dict.fromkeys(log))
    said = str(err.value)
    assert said.startswith(f"{work.state} is damaged, of another network or of another torch (")
    assert said.endswith(": remove it to start this training anew") and "\n" not in said and "git" not in said
    assert not trap.exists()


@pytest.mark.parametrize("what", ["a folder", "a link in a circle", "a pipe", "a link to nothing"])
def test_a_state_that_is_no_file(tmp_path, state, what):
    work = Work("tiny", {}, tmp_path, tmp_path / "training_0.state")
    put = {
        "a folder": Path.mkdir,
        "a pipe": os.mkfifo,
        "a link to nothing": lambda path: path.symlink_to("nowhere"),
    }
    put.get(what, lambda path: path.symlink_to(path))(work.state)
    with pytest.raises(ValueError, match=r"training_0\.state is damaged.*remove it to start"):
        networks.load_state(work, networks.Run(network()), dict.fromkeys(state[1]))


def test_a_state_as_it_was_written(tmp_path, state, capsys):
    good, log = state
    work, again = Work("tiny", {}, tmp_path, tmp_path / "training_0.state"), networks.Run(network(5))
    work.state.write_bytes(good)
    assert networks.load_state(work, again, dict.fromkeys(log)) == log and again.step == 10
    model = loaded(good)["run"]["model"]
    assert all(torch.equal(model[name], weight) for name, weight in again.model.state_dict().items())
    assert capsys.readouterr().out == "tiny: going on from step 10\n"


def test_any_flipped_byte_of_a_state(tmp_path, state):
    """torch.save() has a checksum in its file, torch.load() does not look at it."""
    good, log = state
    work = Work("tiny", {}, tmp_path, tmp_path / "training_0.state")
    for at in range(0, len(good), len(good) // 150):
        work.state.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        try:
            networks.load_state(work, networks.Run(network()), dict.fromkeys(log))
        except ValueError:
            continue
        assert at < 10, "a flip within the word sha256 itself: the rest is what it was"


# --- the list of jobs that are done

DONE = {
    "cut": lambda good: good[:-9],
    "empty": lambda good: b"",
    "a figure changed": lambda good: good.replace(b"1800", b"1801"),
    "a list": lambda good: b'["a", "b"]',
    "null": lambda good: b"null",
    "NaN": lambda good: b'{"a": NaN}',
    "no text": lambda good: bytes(range(128, 256)),
    "zeros": lambda good: bytes(len(good)),
    "deep": lambda good: b'{"a": ' * 30_000,
}


@pytest.mark.parametrize("harm", DONE)
def test_a_list_of_done_jobs_that_cannot_be_read(folder, call_with, harm):
    with pytest.raises(PowerCut):
        run(Tiny(fails="b"))
    (path,) = [place / "done.json" for place in waiting(folder)]
    path.write_bytes(DONE[harm](path.read_bytes()))
    said = call_with(Tiny())
    assert said.startswith(f"{path} is damaged (") and said.endswith("remove it to do these jobs anew")
    assert "\n" not in said and "git" not in said
    path.unlink()
    done = []
    run(Tiny(done))
    assert done == ["a", "b"] and waiting(folder) == []


@pytest.mark.parametrize("what", ["a folder", "a link in a circle"])
def test_a_list_of_done_jobs_that_is_no_file(folder, what):
    with pytest.raises(PowerCut):
        run(Tiny(fails="b"))
    (path,) = [place / "done.json" for place in waiting(folder)]
    path.unlink()
    path.mkdir() if what == "a folder" else path.symlink_to(path)
    with pytest.raises(ValueError, match="done.json is damaged .*remove it"):
        run(Tiny())


def test_figures_that_are_no_numbers_are_not_noted(folder):
    class Broken(Tiny):
        def measure(self, work, job):
            return dict(distance=float("nan") if job == "b" else 1.0)

    with pytest.raises(ValueError, match=r"done\.json is not written: a number in it is NaN"):
        run(Broken())
    (place,) = waiting(folder)
    assert files.read_json(place / "done.json") == {"a": {"distance": 1.0}}


# --- two runners


def test_two_runners_at_once(folder, monkeypatch, capfd):
    """Two processes, three experiments: every job is done once, and both end well."""
    monkeypatch.setattr(runner, "WAIT_SECONDS", 0.05)
    notes = folder / "notes"

    class Slow(Tiny):
        def __init__(self, name):
            super().__init__()
            self.name, self.makes = name, (f"results/{name}.json",)

        def measure(self, work, job):
            time.sleep(0.05)
            with notes.open("a") as file:
                file.write(f"{self.name}{job}\n")
            return {}

        def assemble(self, work, done):
            work.save_results(done)

    table = {name: Slow(name) for name in ("one", "two", "three")}
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            try:
                runner.run_all(list(table), table)
                os._exit(0)
            except BaseException:
                os._exit(1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert sorted(notes.read_text().split()) == sorted(name + job for name in table for job in "ab")
    assert waiting(folder) == [] and all((folder / f"results/{name}.json").exists() for name in table)


def test_the_lock_of_a_killed_runner_is_free(folder):
    def work():
        with runner.only_one("tiny") as alone:
            os._exit(7 if alone else 8)

    assert in_a_child(work) == 7
    with runner.only_one("tiny") as alone:
        assert alone


def test_a_system_without_locks(folder, monkeypatch):
    """Not waited for ever."""
    import fcntl

    def flock(*args):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    run(Tiny())
    assert steps_of(folder) == {1800 % 256}


# --- the command


@pytest.fixture
def call_with(monkeypatch, folder):
    """The command's last sentence, for one experiment and these words."""

    def call(experiment, *words):
        monkeypatch.setattr(command, "TABLE", {experiment.name: experiment})
        monkeypatch.setattr(sys, "argv", ["experiments", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            command.main()
        return str(stopped.value.code)

    return call


@pytest.mark.parametrize("words", [["tow"], ["tiny", "tow"], ["../tiny"], ["TINY"], [""]], ids=repr)
def test_an_unknown_experiment(call_with, capsys, words, folder):
    assert call_with(Tiny(), *words) == "2"
    assert "unknown experiment" in capsys.readouterr().err and list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "words", [["--threads", "0"], ["--threads", "-1"], ["--threads", "x"], ["--quick"], ["--x"]], ids=repr
)
def test_an_unknown_option(call_with, capsys, words, folder):
    assert call_with(Tiny(), *words) == "2"
    said = capsys.readouterr().err
    assert words[0] in said and "Traceback" not in said and list(folder.iterdir()) == []


PLACES = {
    "a file": lambda path: path.touch(),
    "inside a file": lambda path: path.touch(),
    "a link in a circle": lambda path: path.symlink_to(path),
    "a name too long": lambda path: None,
}


@pytest.mark.parametrize("where", PLACES)
def test_a_trial_that_finds_no_folder(call_with, folder, where):
    path = folder / ("x" * 300 if where == "a name too long" else "trial")
    PLACES[where](path)
    said = call_with(Tiny(), "--quick", path / "inside" if where == "inside a file" else path)
    assert said.startswith("cannot use") and "work in another folder" in said and "\n" not in said


@pytest.mark.parametrize("how", ["as it is", "by a link", "by a longer way", "of another copy"])
def test_a_trial_leaves_real_data_alone(call_with, folder, capsys, how):
    """A network of two steps must not take the place of one that ships."""
    real = files.DATA
    if how == "by a link":
        (folder / "link").symlink_to(real)
    if how == "of another copy":
        (folder / "copy").mkdir()
        (folder / "copy/SHA256SUMS").touch()
    ways = {
        "by a link": folder / "link",
        "by a longer way": real / "results/..",
        "of another copy": folder / "copy",
    }
    before = sorted(real.rglob("*"))
    assert call_with(Tiny(), "--quick", ways.get(how, real)) == "2"
    assert "holds a course's data: give --quick a folder of its own" in capsys.readouterr().err
    assert sorted(real.rglob("*")) == before


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_trial_in_a_folder_that_is_read_only(call_with, monkeypatch):
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            said = call_with(Tiny(), "--quick", place)
        finally:
            if root:
                os.seteuid(0)
    assert said.startswith(f"cannot use {place}") and "Permission denied" in said


ENDS = {
    "Ctrl-C": (KeyboardInterrupt(), "interrupted: run the same command again to go on"),
    "a loss that is no number": (
        FloatingPointError("the loss is nan at step 7: lower the rate"),
        "the loss is nan",
    ),
    "a full disk": (
        OSError(28, "No space left on device", "x.state"),
        "cannot use x.state (No space left on device)",
    ),
    "a damaged file": (ValueError("x is damaged: remove it"), "x is damaged: remove it"),
}


@pytest.mark.parametrize("what", ENDS)
def test_how_a_training_can_end(call_with, folder, what):
    """In a sentence, with what is done kept."""
    error, said = ENDS[what]

    class Ending(Tiny):
        def measure(self, work, job):
            if job == "b":
                raise copy.copy(error)
            return super().measure(work, job)

    assert call_with(Ending()).startswith(said)
    done = []
    run(Tiny(done))
    assert done == ["b"]


@pytest.mark.long
@pytest.mark.parametrize(
    "how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=["KILL", "TERM", "Ctrl-C"]
)
def test_the_real_command_is_stopped(tmp_path, how):
    """`python -m data.experiments points --quick FOLDER`, stopped once a job is done; then it goes on."""
    words = [sys.executable, "-m", "data.experiments", "judges", "points", "--quick", str(tmp_path / "trial")]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    options = dict(cwd=files.ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process = subprocess.Popen(words, **options)
    deadline = time.time() + 100
    while time.time() < deadline and not list(tmp_path.glob("trial/checkpoints/.resume/*/done.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    assert process.returncode != 0 and (
        how != signal.SIGINT or "interrupted: run the same command again" in err
    )
    assert "Traceback" not in err
    result = subprocess.run(words, **options, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "going on, " in result.stdout and not debris(tmp_path) and not waiting(tmp_path / "trial")
    assert json.loads((tmp_path / "trial/results/points.json").read_text())["sha256"]
