"""Writing whole or not at all, and the advice about one file that is missing or damaged."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.files import ROOT, restore_hint, whole_or_not_at_all


@pytest.mark.parametrize("name", ["data/results/mnist.json", "data/MNIST/raw/t10k-labels-idx1-ubyte.gz"])
def test_the_hint_names_one_file_and_what_makes_it(name, monkeypatch):
    hint = restore_hint(ROOT / name)
    assert f"`git checkout -- {name}`" in hint and "download" in hint
    assert ("make train" in hint) == name.startswith("data/results/"), "nothing trains the data sets"
    monkeypatch.chdir(ROOT / "notebooks")
    assert restore_hint(Path("..") / name) == hint, "the same from another folder"


def test_a_file_of_the_readers_own_is_not_in_git(tmp_path):
    assert "git" not in restore_hint(tmp_path / "mine.safetensors")


@pytest.mark.skipif(not shutil.which("git"), reason="no git here")
def test_following_the_hint_leaves_the_readers_trainings_alone(tmp_path):
    """The command of the hint, in a clone in which two files were trained anew and one was lost."""
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    results = tmp_path / "data" / "results"
    results.mkdir(parents=True)
    for name in ("mnist", "points"):
        (results / f"{name}.json").write_text("shipped")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    (results / "points.json").write_text("mine")
    (results / "mnist.json").unlink()
    command = re.search("`(git .*?)`", restore_hint(ROOT / "data/results/mnist.json"))[1]
    subprocess.run(shlex.split(command), cwd=tmp_path, check=True, capture_output=True)
    assert (results / "mnist.json").read_text() == "shipped"
    assert (results / "points.json").read_text() == "mine"


def test_no_message_reverts_a_whole_folder():
    told = [*(ROOT / "helpers").rglob("*.py"), *(ROOT / "notebooks" / "source" / "builder").glob("*.py")]
    assert not [path for path in told if re.search(r"git checkout [\w/]", path.read_text(encoding="utf-8"))]


def test_an_interrupted_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_or_not_at_all(path) as part:
        part.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
