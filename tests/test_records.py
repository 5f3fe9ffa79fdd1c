"""How products were made: what is out of date and why, what is accepted, hours, commits, two runners."""

import importlib.util
import json
import multiprocessing
import re
import subprocess
import sys
from pathlib import Path

import pytest

from data.experiments import __main__ as command
from data.experiments import records, runner
from data.experiments.runner import Experiment
from data.experiments.table import TABLE
from helpers import checkpoints, files
from helpers.modes import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")
CODE = '''
"""Experiments of a test."""
from data.experiments.jobs import figure
from data.experiments.runner import Experiment

STEPS = 3
STEPS += 1
LEFT_ALONE = 7


def count(n: int) -> int:
    """How many."""
    return n * STEPS  # a comment


class Base(Experiment):
    """made up: a base."""

    def list_jobs(self, s):
        return {"a": {}}

    def measure(self, work):
        return figure([self.choose()])

    def choose(self):
        return count(2)

    def assemble(self, work, done):
        work.save_results(done)

    def bounds(self, found):
        yield True, "nothing"


class Late(Base):
    """made up: another one."""

    name, hours, makes = "late", 1.0, ("results/late.json",)
    settings = dict(steps=1, wide=[2, 3])

    def assemble(self, work, done):
        work.save_results(dict(done, late=1))
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data/: checkpoints and results are read and written there."""
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path / "data/checkpoints")
    monkeypatch.setattr(checkpoints, "RESULTS", tmp_path / "data/results")
    yield tmp_path / "data"
    runner.forget_caches()


@pytest.fixture
def late(tmp_path, monkeypatch):
    """late(old, new): the experiment Late, with `old` replaced by `new` in its module's file."""
    path, text = tmp_path / "late_experiments.py", [CODE]

    def change(old="", new=""):
        assert old in text[0]
        text[0] = text[0].replace(old, new) if old else text[0]
        path.write_text(text[0])
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        exec(compile(text[0], path, "exec"), vars(module))  # and not what is compiled of the file before
        return module.Late()

    return change


def run(*experiments, **options):
    table = {experiment.name: experiment for experiment in experiments}
    runner.run_all(list(table), table, **options)


def changes(experiment, *needed):
    table = {other.name: other for other in (*needed, experiment)}
    return records.find_changes(experiment, runner.home(), table)


class Small(Experiment):
    """made up: its jobs take a while, and one can fail."""

    def __init__(self, name="small", fails="", needs=(), value=1, note=None):
        self.name, self.fails, self.needs, self.note = name, fails, needs, note
        self.settings, self.makes = dict(value=value), (f"results/{name}.json",)

    def list_jobs(self, s):
        return {job: dict(job=job) for job in "ab"}

    def measure(self, work, job):
        if self.note:
            self.note(job)
        if job in self.fails:
            raise KeyboardInterrupt
        return {}

    def assemble(self, work, done):
        work.save_results(dict(work.settings, done=done))


# --- what counts as a change


@pytest.mark.parametrize(
    "old, new",
    [
        ("return n * STEPS  # a comment", "return (n\n        * STEPS)  # another comment"),
        ("How many.", "How many of them."),
        ("n: int) -> int", "n)"),
        ("hours, makes = ", "hours, makes = "),
        ('"late", 1.0', '"late", 2.0'),
        ('yield True, "nothing"', 'yield 1 < 2, "something"'),
        ("LEFT_ALONE = 7", "LEFT_ALONE = 8"),
        ("        work.save_results(done)\n", "        work.save_results(dict(done))\n"),
    ],
    ids="formatting docstring annotation same hours bound unused overridden".split(),
)
def test_what_does_not_alter_numbers_is_no_change(folder, late, old, new):
    run(late())
    assert changes(late(old, new)) == {}


@pytest.mark.parametrize(
    "old, new, named",
    [
        ("n * STEPS", "n + STEPS", "late_experiments.count"),
        ("STEPS = 3", "STEPS = 4", "late_experiments.STEPS"),
        ("STEPS += 1", "STEPS += 2", "late_experiments.STEPS#1"),
        ("count(2)", "count(3)", "late_experiments.Base.choose"),
        ("late=1", "late=2", "late_experiments.Late.assemble"),
        ("figure([self.choose()])", "dict(n=self.choose())", "late_experiments.Base.measure"),
    ],
)
def test_code_that_is_used_counts_wherever_it_stands(folder, late, capsys, old, new, named):
    run(late())
    changed = late(old, new)
    assert changes(changed) == {"code": [named]}
    capsys.readouterr()
    run(changed)
    assert f"late: out of date (code changed: {named})" in capsys.readouterr().out
    assert changes(changed) == {}
    run(changed)
    assert "its products are there" in capsys.readouterr().out


def test_a_function_that_is_no_longer_called_is_a_change(folder, late):
    run(late())
    assert list(changes(late("count(2)", "8"))) == ["code"]


def test_changed_settings_are_named(folder, late):
    run(late())
    changed = late("dict(steps=1, wide=[2, 3])", "dict(steps=2, wide=(2, 3), few=4)")
    assert changes(changed) == {"settings": ["steps", "few"]}, "a tuple is a list in JSON"


def test_other_products_than_the_record_says(folder, late, capsys):
    run(late())
    path = folder / "results/late.json"
    files.write_json(path, dict(late=2))
    assert changes(late()) == {"products": ["results/late.json"]}
    run(late())
    assert (
        files.read_json(path)["late"] == 1 and "files that this record is not of" in capsys.readouterr().out
    )


def test_line_ends_are_no_change(folder, late):
    run(late())
    path = folder / "results/late.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert changes(late()) == {}


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_without_a_record_it_is_made_anew(folder, late, harm):
    run(late())
    path = folder / "records/late.json"
    path.unlink() if harm == "gone" else path.write_text(path.read_text().replace("0", "1"))
    assert list(changes(late())) == ["record"]
    run(late())
    assert changes(late()) == {}


def test_files_read_count_by_their_content(folder):
    """What reads a file made anew is made anew, unless that came out the same; nothing else is."""
    run(Small("first"), Small("second", needs=("first",)))
    run(Small("first"), again=True)
    assert changes(Small("second", needs=("first",)), Small("first")) == {}
    run(Small("first", value=2))
    second = Small("second", needs=("first",))
    assert changes(second, Small("first")) == {"files read": ["results/first.json"]}
    done = []
    second.note = done.append
    run(Small("first", value=2), second)
    assert done == ["a", "b"]


def test_a_network_counts_by_its_weights(folder):
    from helpers.classifiers import Classifier

    model, paths = Classifier(8, 8), [folder / f"checkpoints/{name}.safetensors" for name in "ab"]
    for seconds, path in enumerate(paths):
        checkpoints.save_model(path, model, {}, dict(seconds=seconds))
    assert records.hash_file(paths[0]) != records.hash_file(paths[1])
    assert records.hash_content(paths[0]) == records.hash_content(paths[1])
    next(model.parameters()).data.add_(1)
    checkpoints.save_model(paths[1], model, {}, {})
    assert records.hash_content(paths[0]) != records.hash_content(paths[1])


def test_a_trial_leaves_no_record_and_asks_for_none(folder, capsys):
    run(Small(), quick=True)
    run(Small(value=2), quick=True)
    assert not (folder / "records").exists() and "its products are there" in capsys.readouterr().out


# --- accepting a change


@pytest.fixture
def call(monkeypatch, folder, late):
    """The command with these words, for Late changed so; its last sentence."""

    def call(*words, change=("", "")):
        experiment = late(*change)
        monkeypatch.setattr(command, "TABLE", {"late": experiment})
        monkeypatch.setattr(sys, "argv", ["experiments", *words])
        try:
            return command.main()
        except SystemExit as stopped:
            return stopped.code

    return call


def test_accepting_a_change(call, folder, late, capsys):
    assert call() is None
    made = files.read_json(folder / "records/late.json")
    renamed = ("n * STEPS", "STEPS * n")
    assert call("--list", change=renamed) is None
    assert "out of date: code changed: late_experiments.count" in capsys.readouterr().out
    assert call("--accept", "late", "--because", "a product the other way round") is None
    assert changes(late()) == {}
    record = files.read_json(folder / "records/late.json")
    (note,) = record.pop("accepted")
    assert note["because"] == "a product the other way round"
    assert note["changes"] == {"code": ["late_experiments.count"]} and note["date"]
    assert note["commit"] == records.find_commit()[0]
    same = ("products", "commits", "hours", "date", "machine", "settings")
    assert all(record[key] == made[key] for key in same)
    capsys.readouterr()
    call("--list")
    said = capsys.readouterr().out
    assert "there\n" in said and "accepted: a product the other way round" in said


def test_what_a_person_calls_outdated_is(call, folder, late, capsys):
    call()
    path = folder / "records/late.json"
    record = files.read_json(path)
    files.write_json(path, dict(record, outdated="by an older edition", settings={}, code={}, reads={}))
    assert changes(late()) == {"outdated": ["by an older edition"]}
    call("--list")
    assert "out of date: by an older edition\n" in capsys.readouterr().out
    assert call("--accept", "late", "--because", "the same numbers came out") is None
    assert changes(late()) == {}
    assert files.read_json(path)["code"] == record["code"] and "outdated" not in files.read_json(path)


def test_what_cannot_be_accepted(call, folder):
    assert "the record of its making: is missing: this cannot be accepted" in call("--accept", "late")
    call()
    assert "not out of date" in call("--accept", "late", "--because", "it is")
    assert "--because REASON" in call("--accept", "late", change=("n * STEPS", "n + STEPS"))
    files.write_json(folder / "results/late.json", dict(late=2))
    said = call("--accept", "late", "--because", "I like it better")
    assert "files that this record is not of: results/late.json" in said
    assert call("--accept", "early") == 2


def test_nothing_is_accepted_while_it_is_made(call):
    call()
    with runner.only_one("late"):
        assert "is being made just now" in call("--accept", "late", "--because", "so")


# --- hours, commits, two runners


def test_hours_add_up_over_interruptions(folder, monkeypatch):
    """Of the clock and of the processor; also those of the job that was interrupted."""
    now = [0.0]
    monkeypatch.setattr(records.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(records.time, "process_time", lambda: now[0] / 2)

    def work(job):
        now[0] += 1800

    with pytest.raises(KeyboardInterrupt):
        run(Small(fails="b", note=work))
    now[0] += 10**6
    run(Small(note=work))
    record = files.read_json(folder / "records/small.json")
    assert record["hours"] == 1.5 and record["processor_hours"] == 0.75 and "declared" not in record


def test_of_a_killed_runner_at_most_a_minute_is_lost(folder, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(records.time, "perf_counter", lambda: now[0])
    spent = records.Spent(tmp_path / "spent.json", None, None)
    for _ in range(20):
        now[0] += 9
        spent.note(often=True)
    kept = records.Spent(tmp_path / "spent.json", None, None).seconds
    assert 120 <= kept <= 180


GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A repository with one commit of data/experiments and helpers, in which the commits are looked up."""
    root = tmp_path / "clone"
    for name in ("data/experiments/one.py", "helpers/two.py", "README.md"):
        files.write_bytes(root / name, b"1\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*GIT, *words], cwd=root, check=True)
    monkeypatch.setattr(runner, "find_commit", lambda: records.find_commit(root))
    return root


def commit_of(root):
    words = [*GIT, "rev-parse", "HEAD"]
    return subprocess.run(words, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_recorded(folder, clone, capsys):
    (clone / "README.md").write_text("2\n")
    run(Small())
    record = files.read_json(folder / "records/small.json")
    assert record["commits"] == [commit_of(clone)] and record["clean"] is True
    assert "differ from commit" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["helpers/two.py", "data/experiments/new.py"])
def test_a_changed_working_tree_is_said_and_recorded(folder, clone, capsys, name):
    (clone / name).write_text("2\n")
    run(Small())
    record = files.read_json(folder / "records/small.json")
    assert record["commits"] == [commit_of(clone)] and record["clean"] is False
    assert f"differ from commit {commit_of(clone)[:7]}: what is made now" in capsys.readouterr().out
    assert " with changes" in records.say_record(record)


def test_every_commit_on_the_way_is_recorded(folder, clone):
    with pytest.raises(KeyboardInterrupt):
        run(Small(fails="b"))
    first = commit_of(clone)
    subprocess.run([*GIT, "commit", "-q", "--allow-empty", "-m", "second"], cwd=clone, check=True)
    run(Small())
    assert files.read_json(folder / "records/small.json")["commits"] == [first, commit_of(clone)]


@pytest.mark.parametrize("why", ["no git", "no clone", "a folder of another clone"])
def test_without_git(folder, tmp_path, clone, monkeypatch, why, capsys):
    """Of a download as zip there is no commit, also within somebody's own repository."""
    root = clone / "helpers" if why == "a folder of another clone" else tmp_path / "download"
    root.mkdir(exist_ok=True)
    if why == "no git":
        monkeypatch.setenv("PATH", str(root))
    assert records.find_commit(root) == (None, None)
    monkeypatch.setattr(runner, "find_commit", lambda: records.find_commit(root))
    run(Small())
    record = files.read_json(folder / "records/small.json")
    assert record["commits"] == [] and record["clean"] is None
    assert "none known" in records.say_record(record) and "differ" not in capsys.readouterr().out


def make(names):
    run(*(Small(name) for name in names))


def test_two_runners_keep_each_other_s_records(folder):
    """They write side by side; every experiment has its own file."""
    fork = multiprocessing.get_context("fork")
    lists = [[f"{side}{k}" for k in range(5)] for side in "lr"]
    children = [fork.Process(target=make, args=(names,)) for names in lists]
    [child.start() for child in children], [child.join() for child in children]
    assert [child.exitcode for child in children] == [0, 0]
    for name in sum(lists, []):
        assert changes(Small(name)) == {}


def test_a_killed_move_is_completed_with_its_record(folder, monkeypatch):
    """The record comes last; until then the next runner finds what waits, and moves it."""
    run(Small())
    replace = runner.os.replace

    def cut(source, target):
        if Path(target) == folder / "records/small.json":
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(runner.os, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            run(Small(value=2))
    assert set(changes(Small(value=2))) == {"settings", "products"}
    done = []
    run(Small(value=2, note=done.append))
    assert done == [] and changes(Small(value=2)) == {}


def test_needs_that_are_made_anew_are_waited_for(folder, monkeypatch):
    """Another runner makes `first` anew; what reads it waits, although an older one is there."""
    run(Small("first"))
    other, table = runner.only_one("first"), {"first": Small("first"), "second": Small("second")}
    table["second"].needs = ("first",)
    assert other.__enter__()

    def finish(seconds):
        assert not (folder / "results/second.json").exists()
        other.__exit__(None, None, None)

    monkeypatch.setattr(runner.time, "sleep", finish)
    runner.run_all(["second"], table)
    assert (folder / "results/second.json").exists()


# --- what ships


def records_that_ship():
    return sorted(path.stem for path in (ROOT / "data/records").glob("*.json"))


def test_every_product_that_ships_has_its_record():
    listed = {name: digest for name, digest in files.checksums().items() if "/raw/" not in name}
    recorded = {}
    for name in records_that_ship():
        recorded |= records.read(name, ROOT / "data")["products"]
    assert set(listed) - set(recorded) == set()
    assert [name for name in listed if listed[name] != recorded[name]] == []


@pytest.mark.parametrize("name", records_that_ship())
def test_a_record_says_everything(name):
    record = records.read(name, ROOT / "data")
    assert name in TABLE and set(record["products"]) == set(TABLE[name].makes)
    assert record["hours"] > 0 and record["machine"]
    assert "outdated" in record or record["settings"] and record["code"] and "reads" in record
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in record["commits"]) and record["commits"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"])
    assert all(note["because"] for note in record["accepted"])
    assert json.dumps(record, allow_nan=False)


def test_nothing_that_ships_is_out_of_date():
    stale = {name for name in records_that_ship() if records.find_changes(TABLE[name], ROOT / "data", TABLE)}
    assert not stale, "make train makes it anew, or --accept NAME --because REASON"


def test_the_page_has_the_table_of_records():
    """`python -m data.experiments --table` writes it."""
    page = (ROOT / "data/README.md").read_text(encoding="utf-8")
    between = page.partition(records.MARKS[0])[2].partition(records.MARKS[1])[0]
    assert between == records.make_table(ROOT / "data", TABLE) + "\n"


def test_the_table_is_written_between_its_marks(folder, tmp_path):
    run(Small("one"))
    page, table = tmp_path / "README.md", {"one": Small("one"), "two": Small("two")}
    page.write_text(f"before\n\n{records.MARKS[0]}{records.MARKS[1]}\n\nafter\n")
    for _ in range(2):
        records.write_table(page, folder, table)
    lines = page.read_text().splitlines()
    assert lines[0] == "before" and lines[-1] == "after" and lines.count("after") == 1
    assert "| `one` | `one.json` | " in page.read_text() and lines[-4].startswith("Machine A: ")
    assert "| `two` | `two.json` |  |  | not made yet |  |  |" in lines
    page.write_text("no place")
    with pytest.raises(ValueError, match="has no place for the table"):
        records.write_table(page, folder, table)
