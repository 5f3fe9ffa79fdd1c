"""Writing whole or not at all, checksums, and the advice about one file that is missing or damaged."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers import files
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


# --- checksums (more in tests/tries)


def test_every_file_that_ships_is_listed():
    """The seconds of notebooks are measured anew on every machine; git ignores the three snapshots."""
    folders = [files.DATA / name for name in ("checkpoints", "results", "gallery")]
    there = {p.relative_to(files.DATA).as_posix() for folder in folders for p in folder.glob("[!.]*")}
    there = {name for name in there if not re.search(r"notebook_seconds|_\d+min", name)}
    assert there == {name for name in files.checksums() if not name.endswith(".gz")}


@pytest.mark.parametrize("name", sorted(files.checksums()))
def test_what_ships_is_what_is_listed(name, capsys):
    """A file of one's own training is skipped here, but not where CI runs: data/README.md has the command."""
    content = (files.DATA / name).read_bytes()
    if "CI" not in os.environ and files.seal(content) == content:
        pytest.skip("of your own training")
    content = content.replace(b"\r\n", b"\n") if name.endswith(".json") else content
    assert hashlib.sha256(content).hexdigest() == files.checksums()[name], "write data/SHA256SUMS anew"
    files.read_whole(files.DATA / name, shipped=True)
    assert capsys.readouterr().out == "", "said only of own trainings"


def test_a_sealed_table_there_and_back(tmp_path):
    files.write_json(tmp_path / "a.json", {"a": [1, None], "sha256": "mine"})
    assert files.read_json(tmp_path / "a.json") == {"a": [1, None]}
    text = (tmp_path / "a.json").read_text()
    stamp = json.loads(text)["sha256"]
    assert hashlib.sha256(text.replace(stamp, "0" * 64).encode()).hexdigest() == stamp, (
        "as data/README.md says"
    )
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o666 & ~_umask(), "others may read it as usual"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    """After a power cut the name never stands for less than the whole file."""
    calls = []
    monkeypatch.setattr(os, "fsync", lambda number: calls.append("fsync"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *places: (calls.append("replace"), replace(*places)))
    files.write_bytes(tmp_path / "a", b"content")
    assert calls == ["fsync", "replace"] and (tmp_path / "a").read_bytes() == b"content"
