"""Disks that are full, read-only or odd, at every writer; what killed writers left; pictures that are none.

A writer either leaves the whole new file, or the old one to the byte and a sentence; never anything else.
"""

import base64
import errno
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from data.experiments import networks, products, runner
from data.experiments.runner import Work
from helpers import checkpoints, files, modes, show
from helpers.models import PointMLP
from tries.powers import as_somebody_else, full_disk

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(os.name != "posix", reason="disks and permissions of POSIX"),
]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(show, "_display", lambda bundle, metadata: None)
    yield
    plt.close("all")


def network(width=16):
    torch.manual_seed(0)
    return PointMLP(width=width, depth=1, features=2, time_dim=8)


def frames(count=3, size=8):
    rng = np.random.default_rng(count)
    return [rng.integers(0, 256, (size, size)).astype(np.uint8) for _ in range(count)]


def draw(scale: float):
    fig, ax = plt.subplots(figsize=(1 + scale / 9, 1))
    ax.plot([0, scale])
    return fig


def write_state(path: Path, size: int) -> None:
    networks.save_state(Work("tiny", {}, path.parent, path), networks.Run(network(8 * size)), {"loss": []})


# Each writes a file at this path; a larger size makes it another one, and larger.
WRITERS = {
    "save_model": ("it.safetensors", lambda path, size: checkpoints.save_model(path, network(8 * size), {})),
    "save_results": (
        "it.json",
        lambda path, size: products.save_results(path.stem, {"a": list(range(99 * size))}, path.parent),
    ),
    "save_images": (
        "it.safetensors",
        lambda path, size: products.save_images(path.stem, path.parent, x=torch.zeros(9 * size, 1, 4, 4)),
    ),
    "gif": ("it.gif", lambda path, size: show.gif(frames(size, 8 * size), path, "a picture")),
    "gif_from_figures": (
        "it.gif",
        lambda path, size: show.gif_from_figures([draw(size), draw(0)], path, "a picture"),
    ),
    "figure": ("it.png", lambda path, size: show.figure(draw(size), "a picture", save=path)),
    "the state of a training": ("it.state", write_state),
    "the list of done jobs": (
        "done.json",
        lambda path, size: files.write_json(path, {"a": [1.5] * 99 * size}),
    ),
}
writers = pytest.mark.parametrize("writer", WRITERS)


def at(folder: Path, writer: str):
    """The path that a writer writes, and the writer."""
    name, write = WRITERS[writer]
    return folder / name, lambda path, size=3: write(path, size)


def assert_sentence(err, path: Path, *words: str) -> None:
    said = str(err.value)
    assert said.startswith(f"could not write {path.name}: ") and "\n" not in said and ".part" not in said, (
        said
    )
    assert said.endswith("what was there before is untouched.") and str(path.parent) in said, said
    assert "Free some space, or write to another folder than" in said
    for word in words:
        assert word in said, f"{word!r} is not in {said!r}"


def content(folder: Path) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- every writer and every error of a disk

ERRORS = {"full": errno.ENOSPC, "over quota": errno.EDQUOT, "broken": errno.EIO, "read-only": errno.EROFS}
PLACES = {
    "at the first byte": (Path, "touch"),
    "halfway": (Path, "write_bytes"),
    "when it is flushed": (os, "fsync"),
    "when it is renamed": (os, "replace"),
}


@pytest.mark.parametrize("when", PLACES)
@pytest.mark.parametrize("what", ERRORS)
@writers
def test_a_disk_that_fails(tmp_path, monkeypatch, writer, what, when):
    path, write = at(tmp_path, writer)
    write(path, 1)
    before = content(tmp_path)
    assert list(before) == [path]
    module, name = PLACES[when]
    real = getattr(module, name)

    def fail(*args, **kwargs):
        if name == "write_bytes":
            real(args[0], args[1][: len(args[1]) // 2])
        raise OSError(ERRORS[what], os.strerror(ERRORS[what]), "some/.hidden.part7")

    with monkeypatch.context() as patch:
        patch.setattr(module, name, fail)
        with pytest.raises(OSError) as err:
            write(path, 3)
    assert_sentence(err, path, os.strerror(ERRORS[what]))
    assert content(tmp_path) == before
    write(path, 3)
    assert list(content(tmp_path)) == [path] and content(tmp_path) != before


@pytest.mark.parametrize("older", [True, False], ids=["over an older file", "a new file"])
@writers
def test_a_disk_that_is_really_full(tmp_path, writer, older):
    """Before, torch.save() met a full disk with a RuntimeError about an enforce in inline_container.cc."""
    path, write = at(tmp_path, writer)
    if older:
        write(path, 1)
    before = content(tmp_path)
    with full_disk(), pytest.raises(OSError) as err:
        write(path, 3)
    assert_sentence(err, path, "File too large")
    assert content(tmp_path) == before


# --- every writer and every obstacle

OBSTACLES = {
    "a folder of this name": lambda path: path.mkdir(),
    "a folder of this name that is not empty": lambda path: (path / "mine").mkdir(parents=True),
    "a file in the place of the folder": lambda path: (path.parent.rmdir(), path.parent.touch()),
    "a link in a circle for the folder": lambda path: (
        path.parent.rmdir(),
        path.parent.symlink_to(path.parent),
    ),
}


@pytest.mark.parametrize("what", OBSTACLES)
@writers
def test_something_is_in_the_way(tmp_path, writer, what):
    folder = tmp_path / "folder"
    folder.mkdir()
    path, write = at(folder, writer)
    OBSTACLES[what](path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError) as err:
        write(path)
    assert_sentence(err, path)
    assert sorted(tmp_path.rglob("*")) == before


@writers
def test_a_name_that_is_too_long(tmp_path, writer):
    path, write = at(tmp_path, writer)
    path = path.with_name("x" * 300 + path.suffix)
    with pytest.raises(OSError) as err:
        write(path)
    assert_sentence(err, path, "File name too long")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def place():
    """A folder that other users can enter too (pytest's own cannot be)."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        for path in Path(folder).rglob("*"):
            if path.is_dir():
                path.chmod(0o755)


@pytest.mark.parametrize("older", [True, False], ids=["over an older file", "a new file"])
@writers
def test_a_folder_that_is_read_only(place, writer, older):
    path, write = at(place, writer)
    if older:
        write(path, 1)
    before = content(place)
    place.chmod(0o555)
    with as_somebody_else(), pytest.raises(OSError) as err:
        write(path, 3)
    assert_sentence(err, path, "Permission denied")
    assert content(place) == before


@writers
def test_a_file_that_is_read_only_in_a_folder_that_is_not(place, writer):
    """Renaming asks for the folder's permission only: the file is replaced whole, not changed in place."""
    path, write = at(place, writer)
    write(path, 1)
    before = path.read_bytes()
    path.chmod(0o444)
    place.chmod(0o777)
    with as_somebody_else():
        write(path, 3)
    assert path.read_bytes() != before and list(place.iterdir()) == [path]


@pytest.mark.parametrize("to", ["a file", "nothing", "itself"])
@writers
def test_a_link_in_the_place_of_the_file(tmp_path, writer, to):
    """The link is replaced; what it points to is left as it is."""
    path, write = at(tmp_path / "folder", writer)
    path.parent.mkdir()
    target = tmp_path / "target"
    if to == "a file":
        target.write_text("somebody's")
    path.symlink_to(path if to == "itself" else target)
    write(path)
    assert path.is_file() and not path.is_symlink() and list(path.parent.iterdir()) == [path]
    assert (target.read_text() == "somebody's") if to == "a file" else not target.exists()


# --- what killed writers left


def dead() -> int:
    """The number of a process that has ended."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


@writers
def test_debris_of_a_killed_writer_is_removed(tmp_path, writer):
    """By the next write of the same file; that of other files and of living processes stays."""
    path, write = at(tmp_path, writer)
    gone = [tmp_path / f".{path.name}.part{dead()}", tmp_path / f".{path.name}.part{os.getpid()}"]
    stays = [tmp_path / f".{path.name}.part{os.getppid()}", tmp_path / f".other.part{dead()}"]
    stays += [
        tmp_path / f".{path.name}.part",
        tmp_path / f".{path.name}.partial",
        tmp_path / f"{path.name}.part7",
    ]
    for debris in (*gone, *stays):
        debris.write_bytes(b"half")
    write(path)
    assert sorted(tmp_path.iterdir()) == sorted([path, *stays])
    assert all(debris.read_bytes() == b"half" for debris in stays)


@pytest.mark.parametrize("number", ["0", "9" * 9, "9" * 30, "1e3", "-1", "²", "٣", " 7"], ids=repr)
def test_debris_with_odd_numbers(tmp_path, number):
    """Removed or left, but never in the way."""
    (tmp_path / f".it.part{number}").touch()
    files.write_bytes(tmp_path / "it", b"content")
    assert (tmp_path / "it").read_bytes() == b"content"
    assert (tmp_path / f".it.part{number}").exists() == (not number.isdecimal())


@pytest.mark.parametrize("name", ["a[0].json", "a*.json", "a?.json", "[!a]"])
def test_names_that_look_like_patterns(tmp_path, name):
    other = tmp_path / f".a0.json.part{dead()}"
    other.touch()
    (tmp_path / f".{name}.part{dead()}").touch()
    files.write_bytes(tmp_path / name, b"content")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / name, other])


def test_a_strangers_link_is_not_written_through(tmp_path):
    """In a folder that others can write to, the temporary name can be foreseen."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f".it.part{os.getpid()}").symlink_to(victim)
    files.write_bytes(tmp_path / "it", b"content")
    assert victim.read_text() == "mine" and (tmp_path / "it").read_bytes() == b"content"
    assert not (tmp_path / "it").is_symlink() and len(list(tmp_path.iterdir())) == 2


def test_a_strangers_link_put_there_in_the_last_moment(tmp_path, monkeypatch):
    victim, real = tmp_path / "victim", Path.touch

    def touch(path, *args, **kwargs):
        path.symlink_to(victim)
        return real(path, *args, **kwargs)

    victim.write_text("mine")
    monkeypatch.setattr(Path, "touch", touch)
    with pytest.raises(OSError, match="could not write it: File exists"):
        files.write_bytes(tmp_path / "it", b"content")
    assert victim.read_text() == "mine" and list(tmp_path.iterdir()) == [victim]


def test_two_processes_write_the_same_file(tmp_path):
    """In the end it is one of theirs, whole, and no debris is left."""
    path, children = tmp_path / "it", []
    for letter in (b"a", b"b", b"c"):
        child = os.fork()
        if child == 0:
            for _ in range(20):
                files.write_bytes(path, letter * 100_000)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    found = path.read_bytes()
    assert len(found) == 100_000 and len(set(found)) == 1 and list(tmp_path.iterdir()) == [path]


def test_git_ignores_debris():
    ignored = (files.ROOT / ".gitignore").read_text().splitlines()
    assert ".*.part*" in ignored


def test_debris_is_not_taken_for_a_product(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path)
    checkpoints.save_model(tmp_path / "whole.safetensors", network(), {})
    (tmp_path / ".net.safetensors.part7").write_bytes((tmp_path / "whole.safetensors").read_bytes())
    assert not runner.is_readable(tmp_path / "net.safetensors")
    with pytest.raises(FileNotFoundError, match=r"net\.safetensors is not there"):
        checkpoints.load_model("net")


# --- a whole trial on a full disk


@pytest.mark.long
@pytest.mark.parametrize("limit", [0, 500, 60_000], ids=["nothing", "a table", "no network"])
def test_a_trial_on_a_full_disk(tmp_path, limit):
    """`python -m data.experiments judges --quick FOLDER`: a sentence, no debris, and later it goes on."""
    words = [sys.executable, "-m", "data.experiments", "judges", "--quick", str(tmp_path / "trial")]
    options = dict(cwd=files.ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)

    def full():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    result = subprocess.run(words, **options, preexec_fn=full, timeout=200)
    said = result.stderr.strip().splitlines()[-1]
    assert result.returncode == 1 and "Traceback" not in result.stderr
    # Where not a byte can be written, Python may say it first, of its temporary folder.
    first = ("could not write ", "[Errno 2] No usable temporary directory")[: 1 if limit else 2]
    assert said.startswith(first) and said.endswith("run the same command again."), said
    assert not [path for path in tmp_path.rglob("*") if ".part" in path.name]
    result = subprocess.run(words, **options, timeout=200)
    assert result.returncode == 0 and (tmp_path / "trial/results/judges.json").exists(), result.stderr


# --- the folder for pictures


@pytest.mark.parametrize("what", ["a file", "inside a file", "a link in a circle", "too long"])
def test_no_folder_for_pictures(tmp_path, monkeypatch, what):
    path = tmp_path / ("x" * 300 if what == "too long" else "out")
    if what == "a link in a circle":
        path.symlink_to(path)
    elif what != "too long":
        path.touch()
    monkeypatch.setenv("NOISE_TO_DIGITS_OUT", str(path / "deep" if what == "inside a file" else path))
    with pytest.raises(OSError, match="cannot create .*: set NOISE_TO_DIGITS_OUT to another folder"):
        modes.out_dir()


def test_no_permission_for_pictures(place, monkeypatch):
    place.chmod(0o555)
    monkeypatch.setenv("NOISE_TO_DIGITS_OUT", str(place / "out"))
    with (
        as_somebody_else(),
        pytest.raises(OSError, match="cannot create .*Permission denied.*another folder"),
    ):
        modes.out_dir()


def test_an_empty_name_is_no_folder_for_pictures(tmp_path, monkeypatch):
    """NOISE_TO_DIGITS_OUT= in a shell: the usual folder, not wherever one happens to be."""
    monkeypatch.setenv("NOISE_TO_DIGITS_OUT", "")
    monkeypatch.setattr(modes, "ROOT", tmp_path)
    assert modes.out_dir() == tmp_path / "out"


@pytest.mark.parametrize("mode", ["", "READ", " read", "quick", "read,smoke"], ids=repr)
def test_a_mode_that_there_is_not(mode):
    env = {**os.environ, "NOISE_TO_DIGITS_MODE": mode}
    result = subprocess.run(
        [sys.executable, "-c", "import helpers.modes"],
        cwd=files.ROOT,
        env=env,
        capture_output=True,
        text=True,
    )
    said = result.stderr.strip().splitlines()[-1]
    assert (
        said
        == f"ValueError: NOISE_TO_DIGITS_MODE is {mode!r}: set it to read, smoke or full, or unset it (read)"
    )


# --- pictures that are none

NAN = float("nan")
FRAMES = {
    "none": ([], "at least one frame"),
    "floats": ([np.zeros((8, 8))], "uint8 arrays"),
    "NaN": ([np.full((8, 8), NAN)], "uint8 arrays"),
    "floats among bytes": ([*frames(2), np.zeros((8, 8))], "uint8 arrays"),
    "colours": ([np.zeros((8, 8, 3), np.uint8)], "uint8 arrays"),
    "a line": ([np.zeros(8, np.uint8)], "uint8 arrays"),
    "a number": ([np.uint8(3)], "uint8 arrays"),
    "lists": ([[[1, 2], [3, 4]]], "uint8 arrays"),
    "tensors": ([torch.zeros(8, 8, dtype=torch.uint8)], "uint8 arrays"),
    "nothing in it": ([None], "uint8 arrays"),
    "no pixels": ([np.zeros((0, 8), np.uint8)], "one size, which is not 0"),
    "two sizes": ([*frames(1), *frames(1, 9)], "one size"),
}


@pytest.mark.parametrize("what", FRAMES)
def test_frames_that_are_none(tmp_path, what):
    wrong, said = FRAMES[what]
    path = tmp_path / "it.gif"
    show.gif(frames(), path, "before")
    before = content(tmp_path)
    with pytest.raises(ValueError, match=said):
        show.gif(wrong, path, "a picture")
    assert content(tmp_path) == before


OPTIONS = [
    dict(scale=0),
    dict(scale=-1),
    dict(scale=1.5),
    dict(scale=None),
    dict(scale=10**6),
    dict(seconds=-1),
]
OPTIONS += [dict(seconds=NAN), dict(seconds=1e9), dict(hold=-0.1), dict(hold=float("inf")), dict(hold=NAN)]


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
def test_numbers_that_no_gif_has(tmp_path, options):
    with pytest.raises(
        ValueError, match="scale is a whole number from 1 to 64|seconds and hold are 0 to 600"
    ):
        show.gif(frames(), tmp_path / "it.gif", "a picture", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [lambda: iter(frames()), lambda: tuple(frames()), lambda: frames(1)])
def test_frames_that_are_some(tmp_path, make):
    show.gif(make(), tmp_path / "it.gif", "a picture", scale=64, seconds=0, hold=0)
    assert (tmp_path / "it.gif").read_bytes().startswith(b"GIF89a")


@pytest.mark.parametrize("what", ["missing", "a folder", "a link in a circle"])
def test_a_gif_that_is_not_there(tmp_path, what):
    path = tmp_path / "it.gif"
    {"a folder": Path.mkdir, "a link in a circle": lambda p: p.symlink_to(p)}.get(what, lambda p: None)(path)
    with pytest.raises(OSError, match=r"it\.gif"):
        show.show_gif(path, "a picture")


def test_alt_text_cannot_become_code(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(show, "_display", lambda bundle, metadata: shown.append(bundle["text/html"]))
    show.gif(frames(), tmp_path / "it.gif", '"><script>alert(1)</script>')
    assert "<script" not in shown[0] and shown[0].count("<") == 1
    assert base64.b64decode(shown[0].split("base64,")[1].split('"')[0]) == (tmp_path / "it.gif").read_bytes()


def test_pixels_that_are_no_numbers_are_drawn(monkeypatch):
    """NaN has no grey: what is drawn for it is not fixed, but the others are, and nothing stops."""
    images = torch.tensor([NAN, 1.0, -1.0, float("inf")]).reshape(1, 1, 2, 2)
    assert show.to_grey(images).ravel()[1:].tolist() == [255, 0, 255]
