"""Checkpoints, results and sample images: damaged, exchanged, made up; shipped or of one's own."""

import io
import json
import os
import pickle
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save, save_file
from torch import nn

from data.experiments.products import save_images, save_results
from helpers import checkpoints, classifiers, files
from helpers.checkpoints import load_images, load_model, load_results, save_model
from helpers.models import LabUNet, PointMLP, UNet

pytestmark = pytest.mark.usefixtures("one_thread")
KINDS = ("model", "results", "images")


def network(seed=0, width=16):
    torch.manual_seed(seed)
    return PointMLP(width=width, depth=1, features=2, time_dim=8)


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A data/ of our own in which one network, one table and one set of images ship."""
    data = tmp_path / "data"
    monkeypatch.setattr(files, "DATA", data)
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", data / "checkpoints")
    monkeypatch.setattr(checkpoints, "RESULTS", data / "results")
    files.say_once.cache_clear()
    make("ours", seed=0)
    for path in data.rglob("ours*"):  # as those of the first edition: what ships needs no seal
        path.write_bytes(unseal(path.read_bytes()))
    ship(data)
    return data


def ship(data: Path) -> None:
    """Write data/SHA256SUMS of what is there."""
    paths = [path for path in sorted(data.rglob("*.*")) if path.is_file()]
    rows = [f"{files.hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(data)}\n" for p in paths]
    (data / "SHA256SUMS").write_text("".join(rows))


def make(name: str, seed: int) -> None:
    """Write a network, a table and images of this name, as a training does."""
    save_model(checkpoints.CHECKPOINTS / f"{name}.safetensors", network(seed), {"steps": 3, "seed": seed})
    save_results(name, {"score": 0.5 + seed, "values": [1, 2.5, None]})
    save_images(name, x=torch.full((2, 1, 4, 4), -0.5 + seed))


def unseal(content: bytes) -> bytes:
    """The same file from before there were checksums."""
    if content.startswith(b"{\n"):
        return json.dumps({k: v for k, v in json.loads(content).items() if k != "sha256"}, indent=1).encode()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata = {k: v for k, v in header.get("__metadata__", {}).items() if k != "sha256"}
    return save(load(content), metadata)


def place(kind: str, name: str) -> Path:
    folder = checkpoints.CHECKPOINTS if kind == "model" else checkpoints.RESULTS
    return folder / (f"{name}.json" if kind == "results" else f"{name}.safetensors")


def read(kind: str, name: str):
    """What a notebook gets: the weights, the table, the images."""
    if kind == "model":
        return load_model(name, PointMLP).state_dict()
    return load_results(name) if kind == "results" else load_images(name)


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[key], b[key]) if isinstance(a[key], torch.Tensor) else a[key] == b[key] for key in a
    )


def assert_sentence(err, *words: str) -> None:
    """The message is one line that names these and says what to do."""
    said = str(err.value)
    assert "\n" not in said and len(said) < 700, said
    assert any(advice in said for advice in ("git checkout -- ", "put a whole copy", "give ")), said
    for word in words:
        assert word in said, f"{word!r} is not in {said!r}"


# --- a damaged file, by accident


def flip(content: bytes, where: float) -> bytes:
    at = min(len(content) - 1, int(where * len(content)))
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


class Payload:
    """What a hostile pickle does when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def pickled(path: Path) -> bytes:
    return pickle.dumps(Payload(path))


def torch_saved(path: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Payload(path), buffer)
    return buffer.getvalue()


NOISE = bytes(torch.randint(256, (3000,), generator=torch.Generator().manual_seed(0)).tolist())
HARMS = {
    "empty": lambda good, trap: b"",
    "one byte": lambda good, trap: good[:1],
    "a quarter": lambda good, trap: good[: len(good) // 4],
    "half": lambda good, trap: good[: len(good) // 2],
    "the last byte is lost": lambda good, trap: good[:-1],
    "one byte more": lambda good, trap: good + b"\0",
    "twice": lambda good, trap: good + good,
    "first byte flipped": lambda good, trap: flip(good, 0),
    "a byte of the head flipped": lambda good, trap: flip(good, 0.1),
    "a byte in the middle flipped": lambda good, trap: flip(good, 0.5),
    "a byte near the end flipped": lambda good, trap: flip(good, 0.97),
    "two bytes exchanged": lambda good, trap: good[:12] + good[13:14] + good[12:13] + good[14:],
    "zeros": lambda good, trap: bytes(len(good)),
    "random bytes": lambda good, trap: NOISE,
    "a head that claims to be endless": lambda good, trap: (2**63 - 1).to_bytes(8, "little") + good[8:],
    "an HTML page": lambda good, trap: b"<!DOCTYPE html><html>404 not found</html>",
    "an LFS pointer": lambda good, trap: (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    ),
    "git's marks of a conflict": lambda good, trap: b"<<<<<<< HEAD\n" + good + b"=======\n>>>>>>> mine\n",
    "a hostile pickle": lambda good, trap: pickled(trap),
    "a hostile file of torch.save": lambda good, trap: torch_saved(trap),
}


@pytest.mark.parametrize("origin", ["shipped", "own"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("harm", HARMS)
def test_damaged(course, tmp_path, harm, kind, origin):
    """Refused in one sentence, whether it shipped or was trained here; nothing that is in it is executed."""
    if origin == "own":
        make("ours", seed=1)
    path, trap = place(kind, "ours"), tmp_path / "executed"
    good = path.read_bytes()
    bad = HARMS[harm](good, trap)
    assert bad != good
    path.write_bytes(bad)
    with pytest.raises(ValueError) as err:
        read(kind, "ours")
    assert_sentence(err, path.name, "is damaged", f"git checkout -- data/{path.parent.name}/{path.name}`")
    assert not trap.exists() and path.read_bytes() == bad


@pytest.mark.parametrize("origin", ["shipped", "own", "own, elsewhere"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_flipped_byte(course, kind, origin, capsys):
    """Everywhere in the file: a shipped one and one of its name are refused.

    In a table that nobody lists a flip within the letters "sha256" hides the checksum itself: it is read,
    unchanged otherwise, and the reader is told.
    """
    name = "mine" if origin == "own, elsewhere" else "ours"
    if origin != "shipped":
        make(name, seed=1)
    path, loaded = place(kind, name), 0
    good, before = path.read_bytes(), read(kind, name)
    for at in range(0, len(good), max(1, len(good) // 200)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        capsys.readouterr(), files.say_once.cache_clear()
        try:
            back = read(kind, name)
        except ValueError:
            continue
        loaded += 1
        assert (
            name == "mine"
            and "carries no checksum" in capsys.readouterr().out
            and same({k: v for k, v in back.items() if k in before}, before)
        )
    assert loaded < 9 and (loaded == 0 or (kind, name) == ("results", "mine"))


OBSTACLES = {
    "a folder": lambda path: path.mkdir(),
    "a link in a circle": lambda path: path.symlink_to(path),
    "a pipe": lambda path: os.mkfifo(path),
    "a device that never ends": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", OBSTACLES)
def test_not_a_file(course, what, kind):
    """Neither waited for nor read without end."""
    path = place(kind, "ours")
    path.unlink()
    OBSTACLES[what](path)
    with pytest.raises(ValueError) as err:
        read(kind, "ours")
    assert_sentence(err, path.name, "cannot be read")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dangling", [False, True], ids=["no file", "a link to nothing"])
def test_missing(course, kind, dangling):
    path = place(kind, "ours")
    path.unlink()
    if dangling:
        path.symlink_to("nowhere")
    with pytest.raises(FileNotFoundError) as err:
        read(kind, "ours")
    assert_sentence(err, path.name, "is not there", "without git", "make train")


@pytest.mark.parametrize("kind", KINDS)
def test_a_link_to_the_right_file_is_followed(course, tmp_path, kind, capsys):
    path, before = place(kind, "ours"), read(kind, "ours")
    path.rename(tmp_path / path.name)
    path.symlink_to(tmp_path / path.name)
    assert same(read(kind, "ours"), before) and capsys.readouterr().out == ""


# --- shipped or own


@pytest.mark.parametrize("kind", KINDS)
def test_what_ships_is_read_without_a_word(course, kind, capsys):
    assert read(kind, "ours") and capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", KINDS)
def test_an_own_training_in_its_place_is_said_once(course, kind, capsys):
    before = read(kind, "ours")
    make("ours", seed=1)
    assert not same(read(kind, "ours"), before) and not same(read(kind, "ours"), before)
    said = capsys.readouterr().out
    assert said == f"{place(kind, 'ours').name} is of your own training, not the one that ships.\n"


@pytest.mark.parametrize("kind", KINDS)
def test_an_own_training_under_a_name_of_its_own_is_silent(course, kind, capsys):
    make("mine", seed=1)
    assert read(kind, "mine") and capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_from_before_there_were_checksums(course, kind, capsys):
    """Read, and said to be unchecked; under the name of a shipped file it may as well be damaged."""
    make("mine", seed=1)
    before, path = read(kind, "mine"), place(kind, "mine")
    path.write_bytes(unseal(path.read_bytes()))
    assert same(read(kind, "mine"), before)
    assert (
        capsys.readouterr().out == f"{path.name} carries no checksum: nobody can tell whether it is whole.\n"
    )
    path.replace(place(kind, "ours"))
    with pytest.raises(ValueError, match="is damaged"):
        read(kind, "ours")


@pytest.mark.parametrize("kind", KINDS)
def test_two_shipped_files_exchanged(course, kind):
    make("other", seed=2)
    other, ours = place(kind, "other"), place(kind, "ours")
    other.write_bytes(unseal(other.read_bytes()))
    ship(course)
    content = ours.read_bytes()
    ours.write_bytes(other.read_bytes()), other.write_bytes(content)
    for name in ("ours", "other"):
        with pytest.raises(ValueError, match="is damaged"):
            read(kind, name)


@pytest.mark.parametrize("kind", KINDS)
def test_forged_with_a_checksum_of_its_own(course, kind, capsys):
    """A checksum inside protects from accidents, not from somebody who writes it too: such a file is read.

    But never without a word, as the list does not know it. Whoever can change the list can change the code.
    """
    make("ours", seed=1)
    path = place(kind, "ours")
    path.write_bytes(files.seal(flip(path.read_bytes(), 0.97) if kind != "results" else path.read_bytes()))
    read(kind, "ours")
    assert "is of your own training" in capsys.readouterr().out


@pytest.mark.parametrize("origin", ["shipped", "own"])
def test_results_with_the_line_ends_of_windows(course, origin, capsys):
    if origin == "own":
        make("ours", seed=1)
    before, path = load_results("ours"), place("results", "ours")
    said = capsys.readouterr().out
    files.say_once.cache_clear()
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_results("ours") == before and capsys.readouterr().out == said


def test_an_edited_number_is_found(course):
    path = place("results", "ours")
    path.write_text(path.read_text().replace("0.5", "0.9"))
    with pytest.raises(ValueError, match="its checksum is another"):
        load_results("ours")


@pytest.mark.parametrize("kind", KINDS)
def test_own_files_elsewhere_do_not_need_the_list(course, kind, monkeypatch, tmp_path, capsys):
    """A notebook's own network in out/ is read whatever has become of data/."""
    (course / "SHA256SUMS").unlink()
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path / "out")
    monkeypatch.setattr(checkpoints, "RESULTS", tmp_path / "out")
    make("mine", seed=1) if kind != "images" else save_images("mine", x=torch.zeros(1, 1, 2, 2))
    assert kind == "model" or read(kind, "mine") and capsys.readouterr().out == ""


@pytest.mark.parametrize("name", sorted(p.stem for p in checkpoints.CHECKPOINTS.glob("[!.]*.safetensors")))
def test_every_real_network_flipped(name, tmp_path, monkeypatch):
    """One bit of one weight of what really ships."""
    real = (checkpoints.CHECKPOINTS / f"{name}.safetensors").read_bytes()
    listed = files.checksums()
    monkeypatch.setattr(files, "DATA", tmp_path)
    monkeypatch.setattr(files, "checksums", lambda: listed)
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path / "checkpoints")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / f"{name}.safetensors").write_bytes(flip(real, 0.6))
    with pytest.raises(ValueError, match=rf"{name}\.safetensors is damaged"):
        load_model(name)


# --- a network made up to do harm: every file below is sealed, so that only its content can give it away


def sealed(path: Path, tensors: dict, metadata: dict) -> Path:
    path.write_bytes(files.seal(save(tensors, {**metadata, "sha256": files.UNSEALED})))
    return path


def about(model, **change) -> dict:
    """The metadata of a checkpoint, some of it changed; None leaves a part away."""
    usual = dict(config=model.config, recipe={}, log={}, levels="0..T") | change
    return {key: json.dumps(value) for key, value in usual.items() if value is not None}


CONFIGS = {
    "no config": (None, "config"),
    "a list": ([16, 1], "argument"),
    "a string": ("width=16", "argument"),
    "a number": (5, "argument"),
    "unknown keys": ({"widht": 16}, "widht"),
    "a key that is a method": ({"__init__": 1}, "__init__"),
    "no channels": ({"channels": []}, "range"),
    "channels 0": ({"channels": [0, 0]}, "0"),
    "negative channels": ({"channels": [-8, -8]}, "-8"),
    "half a channel": ({"channels": [8.5, 8]}, "divisible"),
    "channels as words": ({"channels": ["8", "8"]}, "str"),
    "heads 0": ({"heads": 0}, "zero"),
    "true for a number": ({"emb_dim": True}, "size"),
    "null for a number": ({"blocks": None}, "NoneType"),
    "a table for a number": ({"blocks": {"a": 1}}, "dict"),
    "another width": ({"channels": [16, 16]}, "size"),
    "another depth": ({"blocks": 2}, "down.0.1"),
    "labels that are not there": ({"classes": 10}, "label.weight"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_made_up(tmp_path, name):
    """Refused when the network is built, or when its weights do not fit."""
    model = UNet((8, 8), emb_dim=8)
    config, word = CONFIGS[name]
    config = {**model.config, **config} if isinstance(config, dict) else config
    path = sealed(tmp_path / "net.safetensors", model.state_dict(), about(model, config=config))
    with pytest.raises(ValueError) as err:
        load_model(str(path))
    assert_sentence(err, "net.safetensors does not fit a UNet", word, "give load_model the class")


ABOUT = {
    "levels: a list": (dict(levels=["0..T"]), "counts its noise levels as"),
    "levels: a number": (dict(levels=0), "counts its noise levels as 0"),
    "levels: other words": (dict(levels="1..T"), "counts its noise levels as '1..T'"),
    "levels: with a blank": (dict(levels="0..T "), "counts its noise levels as '0..T '"),
    "recipe: a number": (dict(recipe=3), "does not fit"),
    "recipe: a string": (dict(recipe="steps"), "does not fit"),
    "log: a list": (dict(log=[1.0]), "does not fit"),
    "log: NaN": (dict(log={"loss": float("nan")}), "NaN"),
    "config: infinity": (dict(config={"width": float("inf")}), "Infinity"),
}


@pytest.mark.parametrize("name", ABOUT)
def test_metadata_made_up(tmp_path, name):
    change, said = ABOUT[name]
    path = sealed(tmp_path / "net.safetensors", network().state_dict(), about(network(), **change))
    with pytest.raises(ValueError) as err:
        load_model(str(path), PointMLP)
    assert_sentence(err, "net.safetensors", said)


@pytest.mark.parametrize("text", ["{'width': 16}", "", "\0", "[" * 100_000, '{"width": 16'], ids=repr)
def test_metadata_that_is_no_json(tmp_path, text):
    path = sealed(tmp_path / "net.safetensors", network().state_dict(), {**about(network()), "config": text})
    with pytest.raises(ValueError) as err:
        load_model(str(path), PointMLP)
    assert_sentence(err, "net.safetensors is damaged")


def changed(change) -> dict:
    tensors = network().state_dict()
    change(tensors)
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


TENSORS = {
    "one is missing": (lambda t: t.pop("leave.bias"), "leave.bias"),
    "all are missing": (lambda t: t.clear(), "enter.weight"),
    "one too many": (lambda t: t.update(extra=torch.zeros(1)), "extra"),
    "one renamed": (lambda t: t.update(leave_bias=t.pop("leave.bias")), "leave_bias"),
    "another shape": (lambda t: t.update({"leave.bias": torch.zeros(3)}), "leave.bias"),
    "turned": (lambda t: t.update({"leave.weight": t["leave.weight"].T}), "leave.weight"),
    "a single number": (lambda t: t.update({"leave.bias": torch.tensor(0.0)}), "leave.bias"),
    "empty": (lambda t: t.update({"leave.bias": torch.zeros(0)}), "leave.bias"),
    "one NaN": (lambda t: t["leave.bias"].fill_(float("nan")), "NaN or infinity in leave.bias"),
    "one infinity": (lambda t: t["enter.weight"][0].fill_(float("inf")), "NaN or infinity in enter.weight"),
    "minus infinity": (lambda t: t["enter.weight"][0].fill_(-float("inf")), "infinity in enter.weight"),
    "NaN in half precision": (
        lambda t: t.update({"leave.bias": torch.full((2,), float("nan"), dtype=torch.bfloat16)}),
        "NaN or infinity in leave.bias",
    ),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_made_up(tmp_path, name):
    change, word = TENSORS[name]
    path = sealed(tmp_path / "net.safetensors", changed(change), about(network()))
    with pytest.raises(ValueError) as err:
        load_model(str(path), PointMLP)
    assert_sentence(err, "net.safetensors", word)


@pytest.mark.parametrize("shape", [(), (6,), (3, 0), (3, 5), (16, 8), (2, 3, 4)], ids=str)
def test_a_network_of_the_first_edition(tmp_path, shape):
    """Without its numbering of levels a network with a layer that reads them is refused, fit or no fit."""
    tensors = network().state_dict() | {"time.0.weight": torch.zeros(shape)}
    path = sealed(tmp_path / "net.safetensors", tensors, about(network(), levels=None))
    with pytest.raises(ValueError) as err:
        load_model(str(path), PointMLP)
    assert_sentence(err, "net.safetensors is of the course's first edition", "train it again")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_weights_in_another_precision_are_read(tmp_path, dtype):
    tensors = {name: tensor.to(dtype) for name, tensor in network().state_dict().items()}
    path = sealed(tmp_path / "net.safetensors", tensors, about(network()))
    model = load_model(str(path), PointMLP)
    assert model.leave.weight.dtype == torch.float32 and torch.allclose(
        model.leave.weight, network().leave.weight, atol=0.01
    )


@pytest.mark.parametrize(
    "kind", [UNet, LabUNet, classifiers.Classifier, nn.Linear, dict, "PointMLP", 3, lambda **config: 5]
)
def test_another_class(tmp_path, kind):
    path = tmp_path / "net.safetensors"
    save_model(path, network(), {})
    with pytest.raises(ValueError) as err:
        load_model(str(path), kind)
    assert_sentence(err, "net.safetensors does not fit", "give load_model the class that was saved")


def test_images_are_no_network(course):
    place("images", "ours").replace(place("model", "pictures"))
    with pytest.raises(ValueError, match="does not fit a UNet"):
        load_model("pictures")


@pytest.mark.parametrize(
    "text, word",
    [
        ("[1, 2]", "list"), ("3", "int"), ("null", "NoneType"), ('"text"', "str"),
        ('{"a": NaN}', "NaN"), ('{"a": [{"b": Infinity}]}', "Infinity"), ('{"a": -Infinity}', "-Inf"),
        ('{"a": 1}{"b": 2}', "Extra data"), ("{'a': 1}", "property name"), ('{"a": 01}', "delimiter"),
        ('{"a": ' * 50_000 + "1" + "}" * 50_000, "recursion"), ('{"a": 1' + "0" * 5000 + "}", "digits"),
    ],
    ids=lambda value: value[:20],
)  # fmt: skip
def test_results_made_up(tmp_path, monkeypatch, text, word):
    monkeypatch.setattr(checkpoints, "RESULTS", tmp_path)
    (tmp_path / "made.json").write_text(text)
    with pytest.raises(ValueError) as err:
        load_results("made")
    assert_sentence(err, "made.json is damaged", word)


# --- names


NAMES = [
    "../ours",
    "../../etc/passwd",
    "/etc/passwd",
    "results/ours",
    "ours/",
    "./ours",
    ".",
    "",
    "a/../../b",
]
USES = {
    "load_model": load_model,
    "load_results": load_results,
    "load_images": load_images,
    "save_results": lambda name: save_results(name, {"a": 1}),
    "save_images": lambda name: save_images(name, x=torch.zeros(1, 1, 2, 2)),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_name_that_is_a_path(course, tmp_path, name, use):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError) as err:
        USES[use](name)
    assert_sentence(err, repr(name), "is no name of a file in", "give the name alone")
    assert sorted(tmp_path.rglob("*")) == before, "nothing was written anywhere"


@pytest.mark.parametrize(
    "name", ["x" * 300, 3, None, "no such", "é" * 100, "a\nb"], ids=lambda n: repr(n)[:20]
)
@pytest.mark.parametrize("load", [load_model, load_results, load_images])
def test_a_name_that_is_none(course, load, name):
    with pytest.raises((ValueError, FileNotFoundError), match="is not there|cannot be read|is no name"):
        load(name)


@pytest.mark.parametrize(
    "kind, data", [("judge", "../x"), ("../judge", "mnist"), ("judge", ""), (None, None)]
)
def test_classifiers_have_six_names(kind, data):
    with pytest.raises(ValueError, match='kind is "features" or "judge", and data "digits", "mnist"'):
        classifiers.load(kind, data)


# --- writing what is no number


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", KINDS)
def test_no_number_is_written(course, kind, wrong):
    """A training that broke down does not replace what was there."""
    before = {path: path.read_bytes() for path in course.rglob("*.*") if path.is_file()}
    with pytest.raises(ValueError) as err:
        if kind == "model":
            model = network()
            model.leave.bias.data[0] = wrong
            save_model(place("model", "ours"), model, {})
        elif kind == "results":
            save_results("ours", {"a": [1, {"b": wrong}]})
        else:
            save_images("ours", x=torch.tensor(wrong).expand(1, 1, 2, 2))
    assert f"{place(kind, 'ours').name} is not written" in str(err.value) and "NaN" in str(err.value)
    assert {path: path.read_bytes() for path in course.rglob("*.*") if path.is_file()} == before


@pytest.mark.parametrize("part", ["recipe", "log"])
def test_no_number_in_the_metadata_is_written(tmp_path, part):
    parts = dict(recipe={}, log={}) | {part: {"loss": [1.0, float("nan")]}}
    with pytest.raises(ValueError, match=r"net\.safetensors is not written"):
        save_model(tmp_path / "net.safetensors", network(), **parts)
    assert list(tmp_path.iterdir()) == []


def test_reading_every_network_stays_quick():
    paths = sorted(checkpoints.CHECKPOINTS.glob("[!.]*.safetensors"))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        for path in paths:
            checkpoints.read_checkpoint(path)
        times.append(time.perf_counter() - start)
    assert len(paths) > 10 and min(times) < 0.3, "0.1 s, of which a third is the checksum"


def test_unsealed_files_of_other_programs_are_read(tmp_path, capsys):
    """safetensors of any origin: read, and said to be unchecked."""
    files.say_once.cache_clear()
    save_file(network().state_dict(), tmp_path / "other.safetensors", metadata=about(network()))
    assert load_model(str(tmp_path / "other.safetensors"), PointMLP)
    assert "other.safetensors carries no checksum" in capsys.readouterr().out
