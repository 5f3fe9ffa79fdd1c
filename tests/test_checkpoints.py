"""Files written whole or not at all, and clear errors for those that were not."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from data.experiments.products import save_images, save_results
from helpers import checkpoints
from helpers.checkpoints import (
    load_images,
    load_model,
    load_results,
    read_checkpoint,
    save_model,
)
from helpers.classifiers import Classifier
from helpers.files import whole_or_not_at_all
from helpers.models import LabUNet, PointMLP, UNet
from tries.powers import full_disk


def network(seed=0):
    torch.manual_seed(seed)
    return PointMLP(width=64, depth=2)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "checkpoints" / "points.safetensors"
    save_model(path, network(), {"steps": 3}, {"loss": [1.0, 0.5]})
    return path


# --- there and back


def test_model_there_and_back(file):
    model = load_model(str(file), PointMLP)
    for (name, a), (other, b) in zip(network().state_dict().items(), model.state_dict().items(), strict=True):
        assert name == other and torch.equal(a, b)
    assert model.recipe == {"steps": 3} and model.log == {"loss": [1.0, 0.5]} and not model.training
    tensors, metadata = read_checkpoint(file)
    assert metadata["config"]["width"] == 64 and set(tensors) == set(model.state_dict())


def test_loaded_by_name_and_as_a_unet(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path)
    save_model(tmp_path / "tiny.safetensors", UNet((8, 16), emb_dim=8, prediction="eps"), {})
    model = load_model("tiny")
    assert isinstance(model, UNet) and model.prediction == "eps" and model.config["channels"] == [8, 16]


def test_results_there_and_back(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "RESULTS", tmp_path)
    save_results("numbers", {"seed": 1, "scores": [0.1, 0.2]})
    results = load_results("numbers")
    assert results["scores"] == [0.1, 0.2] and "threads" in results["machine"]
    save_results("elsewhere", {"a": 1}, folder=tmp_path / "new")
    assert json.loads((tmp_path / "new/elsewhere.json").read_text())["a"] == 1


def test_images_there_and_back(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "RESULTS", tmp_path)
    images = torch.linspace(-1.2, 1.2, 32).reshape(2, 1, 4, 4)
    save_images("drawn", few=images, one=images[:1])
    back = load_images("drawn")
    assert set(back) == {"few", "one"} and back["few"].dtype == torch.float32
    assert (back["few"] - images.clamp(-1, 1)).abs().max() <= 1 / 255 and back["one"].shape == (1, 1, 4, 4)


# --- damaged, missing, of another network


@pytest.mark.parametrize("harm", ["truncated", "random bytes", "empty", "cut in the header", "text"])
def test_damaged_checkpoint(file, harm):
    good = file.read_bytes()
    noise = torch.randint(256, (5000,), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    harmed = {
        "truncated": good[: len(good) // 2],
        "random bytes": bytes(noise.tolist()),
        "empty": b"",
        "cut in the header": good[:50],
        "text": b"<html>not found</html>" * 9,
    }
    file.write_bytes(harmed[harm])
    with pytest.raises(ValueError, match=r"points\.safetensors is damaged.*put a whole copy of it back"):
        load_model(str(file), PointMLP)


def test_checkpoint_of_another_network(file, tmp_path):
    with pytest.raises(
        ValueError, match=r"(?s)points\.safetensors does not fit a UNet.*class that was saved"
    ):
        load_model(str(file))
    tensors, metadata = read_checkpoint(file)
    tensors.pop("leave.bias")
    save_file(tensors, file, metadata={k: json.dumps(v) for k, v in metadata.items()})
    with pytest.raises(ValueError, match=r"(?s)does not fit a PointMLP.*leave\.bias"):
        load_model(str(file), PointMLP)
    save_images("pictures", tmp_path, x=torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match=r"pictures\.safetensors does not fit a UNet"):
        load_model(str(tmp_path / "pictures.safetensors"))


def test_metadata_that_is_no_json(file):
    save_file({"a": torch.zeros(1)}, file, metadata={"config": "{'width': 3"})
    with pytest.raises(ValueError, match="is damaged"):
        read_checkpoint(file)


def test_missing_files_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(checkpoints, "RESULTS", tmp_path)
    for load in (load_model, load_results, load_images):
        with pytest.raises(FileNotFoundError, match="nothing.*(make train|put a whole copy)"):
            load("nothing")


@pytest.mark.parametrize("content", [b'{"a": 1', b"", bytes(range(128, 256))], ids=["cut", "empty", "bytes"])
def test_damaged_results(tmp_path, monkeypatch, content):
    monkeypatch.setattr(checkpoints, "RESULTS", tmp_path)
    (tmp_path / "numbers.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"numbers\.json is damaged.*put a whole copy of it back"):
        load_results("numbers")


# --- a full disk


@pytest.mark.parametrize("what", ["model", "results", "images"])
@pytest.mark.parametrize("older", [True, False], ids=["over an older file", "a new file"])
def test_full_disk(tmp_path, what, older):
    """The write fails for real: an older file is untouched, no part is left, the error says what to do."""

    def save(size):
        if what == "model":
            save_model(tmp_path / "it.safetensors", PointMLP(width=size, depth=1), {})
        elif what == "results":
            save_results("it", {"numbers": list(range(size * size))}, tmp_path)
        else:
            save_images("it", tmp_path, x=torch.zeros(size, 1, 8, 8))

    before = {}
    if older:
        save(1)
        before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
        assert before
    with full_disk(2000), pytest.raises(OSError, match=r"could not write it\..*Free some space.*untouched"):
        save(64)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    save(64)
    assert len(list(tmp_path.iterdir())) == 1


def test_no_space_left_on_device(tmp_path, monkeypatch):
    """The same with the error of a disk that is really full."""
    save_results("it", {"a": 1}, tmp_path)
    before = (tmp_path / "it.json").read_bytes()

    def write_bytes(self, content):
        Path.touch(self)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(OSError, match=r"could not write it\.json.*No space left on device"):
        save_results("it", {"a": 2}, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["it.json"] and (
        tmp_path / "it.json"
    ).read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_dev_full():
    with pytest.raises(OSError, match=r"could not write"), whole_or_not_at_all("/dev/null/x") as part:
        part.write_bytes(b"never")
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match="No space left"):
        full.write(b"x")


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "data").touch()
    with pytest.raises(OSError, match=r"could not write it\.json.*another folder"):
        save_results("it", {}, tmp_path / "data" / "results")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_interrupted_writing(tmp_path, error):
    """The stop button too leaves the older file and no debris; errors not of the disk pass as they are."""
    path = tmp_path / "it.txt"
    path.write_text("older")
    with pytest.raises(error), whole_or_not_at_all(path) as part:
        part.write_text("half")
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ["it.txt"] and path.read_text() == "older"


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "it.txt"
    path.write_text("older")
    with whole_or_not_at_all(path) as part:
        part.write_text("half")
        assert path.read_text() == "older"
        part.write_text("newer")
    assert path.read_text() == "newer" and os.listdir(tmp_path) == ["it.txt"]


def test_shared_weights_and_layouts(tmp_path):
    """A network with non-contiguous weights is written all the same."""

    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.config = {}
            self.w = nn.Parameter(torch.arange(6.0).reshape(2, 3).T)

    save_model(tmp_path / "turned.safetensors", Turned(), {})
    assert torch.equal(load_model(str(tmp_path / "turned.safetensors"), Turned).w, Turned().w)


# --- the numbering of levels


def without_stamp(path, model):
    """Write a checkpoint as the first edition did, which counted levels from 0 and did not say so."""
    save_model(path, model, {"steps": 3})
    tensors, metadata = read_checkpoint(path)
    assert metadata.pop("levels") == "0..T"
    save_file(tensors, path, metadata={k: json.dumps(v) for k, v in metadata.items()})


NETWORKS = {
    "points": lambda: PointMLP(width=64, depth=2),
    "U-Net": lambda: UNet((8, 16), emb_dim=32),
    "lab": lambda: LabUNet(8, 8, 8, emb_dim=32),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_checkpoint_of_the_first_edition_is_refused(tmp_path, kind):
    model = NETWORKS[kind]()
    without_stamp(tmp_path / "old.safetensors", model)
    with pytest.raises(ValueError, match=r"^old\.safetensors is of .*first edition.*: train it again"):
        load_model(str(tmp_path / "old.safetensors"), type(model))


def test_a_network_that_is_told_no_level_needs_no_stamp(tmp_path):
    model = Classifier(8)
    without_stamp(tmp_path / "old.safetensors", model)
    back = load_model(str(tmp_path / "old.safetensors"), Classifier)
    assert torch.equal(back.head.weight, model.head.weight) and back.recipe == {"steps": 3}


def test_an_unknown_numbering_is_refused(tmp_path):
    path = tmp_path / "later.safetensors"
    save_model(path, network(), {})
    tensors, metadata = read_checkpoint(path)
    stamps = {**metadata, "levels": "sigma"}
    save_file(tensors, path, metadata={k: json.dumps(v) for k, v in stamps.items()})
    with pytest.raises(ValueError, match=r"counts its noise levels as 'sigma'.*put a whole copy"):
        load_model(str(path), PointMLP)


def test_every_shipped_network_is_stamped():
    for path in checkpoints.CHECKPOINTS.glob("*.safetensors"):
        assert read_checkpoint(path)[1]["levels"] == "0..T", path.name
