"""The data sets: what they are, that they are undamaged, and what happens when a disk or a file is not."""

import gzip
import hashlib
import importlib.util
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import data, files
from helpers.metrics import share_inside, squares

ROOT = Path(__file__).resolve().parent.parent
MD5 = {  # of the uncompressed files, as public loaders carry them
    "MNIST/raw/train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "MNIST/raw/train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "MNIST/raw/t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "MNIST/raw/t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    "FashionMNIST/raw/train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "FashionMNIST/raw/train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "FashionMNIST/raw/t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "FashionMNIST/raw/t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}


# --- what ships


def test_checksums_name_every_archive():
    assert {path for path in files.checksums() if path.endswith(".gz")} == {f"{path}.gz" for path in MD5}


@pytest.mark.parametrize("path", MD5)
def test_shipped_file_is_undamaged(path):
    packed = (files.DATA / f"{path}.gz").read_bytes()
    assert hashlib.sha256(packed).hexdigest() == files.checksums()[f"{path}.gz"]
    assert hashlib.md5(gzip.decompress(packed)).hexdigest() == MD5[path]


def test_readme_names_what_ships():
    text = (files.DATA / "README.md").read_text(encoding="utf-8")
    for path, digest in MD5.items():
        assert Path(path).name in text and digest in text
    assert "CC BY-SA 3.0" in text and "MIT" in text and "Zalando SE" in text


# --- the tensors


@pytest.mark.slow
@pytest.mark.parametrize("load, train, count", [
    (data.mnist, True, 60_000), (data.mnist, False, 10_000),
    (data.fashion_mnist, True, 60_000), (data.fashion_mnist, False, 10_000),
])  # fmt: skip
def test_mnist_and_fashion_mnist(load, train, count):
    images, labels = load(train)
    assert images.shape == (count, 1, 28, 28) and images.dtype == torch.float32
    assert float(images.min()) == -1 and float(images.max()) == 1
    assert labels.shape == (count,) and labels.dtype == torch.int64
    counts = data.class_counts(labels)
    assert counts.shape == (10,) and counts.sum() == count and counts.min() > 0.08 * count
    if load is data.fashion_mnist:
        assert (counts == count // 10).all() and len(data.FASHION_NAMES) == 10
    elif train:
        assert labels[:5].tolist() == [5, 0, 4, 1, 9]
        assert float((images + 1).mean() / 2) == pytest.approx(0.1307, abs=1e-4), "MNIST's well-known mean"


def test_digits():
    images, labels = data.digits()
    assert images.shape == (1797, 1, 8, 8) and images.dtype == torch.float32 and labels.shape == (1797,)
    assert float(images.min()) == -1 and float(images.max()) == 1 and labels.dtype == torch.int64
    assert torch.equal((images + 1) * 8, ((images + 1) * 8).round()), "17 grey levels"


def test_moons():
    points, labels = data.moons(4000)
    assert points.shape == (4000, 2) and points.dtype == torch.float32 and labels.shape == (4000,)
    assert points[:, 0].abs().max() < 1.25 and points[:, 1].abs().max() < 0.75
    assert points.mean(0).abs().max() < 0.02 and set(labels.tolist()) == {0, 1}
    assert torch.equal(points, data.moons(4000)[0]) and not torch.equal(points, data.moons(4000, seed=1)[0])


def test_checkerboard():
    points, square = data.checkerboard(8000)
    assert points.shape == (8000, 2) and points.dtype == torch.float32 and points.abs().max() <= 1
    assert share_inside(points) == 1 and torch.equal(squares(points), square)
    assert data.class_counts(square, 8).min() > 850
    assert torch.equal(points, data.checkerboard(8000)[0])
    assert not torch.equal(points, data.checkerboard(8000, seed=1)[0])


def test_point_sets_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    data.moons(10), data.checkerboard(10)
    assert torch.equal(before, torch.get_rng_state())


def test_photo():
    image = data.photo()
    assert image.shape == (1, 1, 64, 64) and image.dtype == torch.float32
    assert -1 <= float(image.min()) < float(image.max()) <= 1 and float(image.std()) > 0.2
    assert data.photo(32).shape == (1, 1, 32, 32)


# --- a folder of one's own pictures


def test_a_folder_of_pictures(tmp_path):
    """Grey, square, in the order of their names; what is no picture is left out."""
    grey = np.full((40, 30), 51, np.uint8)
    Image.fromarray(grey).save(tmp_path / "b.png")
    Image.new("RGB", (60, 20), "white").save(tmp_path / "a.JPG")
    Image.new("RGBA", (28, 28), (0, 0, 0, 0)).save(tmp_path / "c.png")
    Image.new("1", (5, 5), 0).save(tmp_path / "d.gif")
    Image.fromarray(np.full((8, 8), 65535, np.uint16)).save(tmp_path / "e.png")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_text("")
    (tmp_path / "deeper.png").mkdir()
    x, y = data.folder(tmp_path)
    assert x.shape == (5, 1, 28, 28) and x.dtype == torch.float32
    assert torch.equal(y, torch.zeros(5, dtype=torch.int64))
    expected = torch.tensor([1, 51 / 127.5 - 1, 1, -1, 1])
    assert torch.allclose(x.mean((1, 2, 3)), expected, atol=1e-6)
    assert data.folder(str(tmp_path), size=8)[0].shape == (5, 1, 8, 8)


def test_a_picture_is_cut_from_the_middle_and_not_squeezed(tmp_path):
    wide = np.zeros((28, 84), np.uint8)
    wide[:, 28:56] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert torch.equal(data.folder(tmp_path)[0], torch.ones(1, 1, 28, 28))


def test_a_folder_that_is_none_or_empty(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not there: name a folder of pictures"):
        data.folder(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(FileNotFoundError, match="has no pictures in it"):
        data.folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="notes.txt is not a folder"):
        data.folder(tmp_path / "notes.txt")


@pytest.mark.parametrize("content", [b"", b"text", "half"])
def test_a_picture_that_cannot_be_read_is_named(tmp_path, content):
    if content == "half":
        Image.effect_noise((99, 99), 50).save(tmp_path / "good.png")
        content = (tmp_path / "good.png").read_bytes()[:2000]
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(ValueError, match="bad.png cannot be read as a picture: take it out"):
        data.folder(tmp_path)


# --- files that are not as they should be (more in tests/tries/test_data.py)


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A data/ of our own with a made-up MNIST of three images of one grey value each."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for kind, head, content in (("images-idx3", 16, range(3 * 784)), ("labels-idx1", 8, range(3))):
        packed = gzip.compress(
            bytes(head) + bytes(number // 784 if head == 16 else number for number in content)
        )
        (raw / f"t10k-{kind}-ubyte.gz").write_bytes(packed)
    paths = sorted(raw.iterdir())
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  MNIST/raw/{path.name}" for path in paths]
    (tmp_path / "data" / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    monkeypatch.setattr(files, "DATA", tmp_path / "data")
    return tmp_path / "data"


def test_read_from_the_archives_and_nothing_is_written(shelf):
    before = sorted(shelf.rglob("*"))
    images, labels = data.mnist(train=False)
    assert images.shape == (3, 1, 28, 28) and labels.tolist() == [0, 1, 2] and labels.dtype == torch.int64
    assert torch.equal(images[:, 0, 5, 5], torch.tensor([0.0, 1, 2]) / 127.5 - 1)
    images.zero_(), labels.zero_()
    assert data.mnist(train=False)[1].tolist() == [0, 1, 2] and sorted(shelf.rglob("*")) == before


def test_a_damaged_archive_is_named(shelf):
    path = shelf / "MNIST/raw/t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte\.gz is damaged .*put a whole copy"):
        data.mnist(train=False)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-labels-idx1-ubyte\.gz is not there"):
        data.mnist(train=False)


def test_no_network_here():
    """The guard of conftest.py guards, and the data above were read under it."""
    with pytest.raises(RuntimeError, match="tried to reach"):
        socket.socket().connect(("192.0.2.1", 80))
    with pytest.raises(RuntimeError, match="tried to look up"):
        socket.getaddrinfo("example.org", 80)


# --- torchvision_compat, each in a Python of its own


def python(code, **env):
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def broken_torchvision(tmp_path_factory):
    """A torchvision without its compiled operators: what one built for another torch comes down to."""
    source = Path(importlib.util.find_spec("torchvision").origin).parent
    here = tmp_path_factory.mktemp("broken") / "torchvision"
    here.mkdir()
    for item in source.iterdir():
        if item.suffix not in (".so", ".pyd", ".dylib") and item.name != "__pycache__":
            (here / item.name).symlink_to(item)
    return here.parent


@pytest.mark.slow
def test_torchvision_without_operators(broken_torchvision):
    out = python("""
        import sys
        try:
            import torchvision
        except RuntimeError as err:
            assert "torchvision::nms does not exist" in str(err), err
        else:
            sys.exit("this torchvision is not broken")
        from helpers.torchvision_compat import import_torchvision
        first = import_torchvision()
        assert import_torchvision() is first
        from helpers import data, files
        images, labels = data.mnist(train=False)
        print(tuple(images.shape), labels[0].item(), first.__file__)
    """, PYTHONPATH=str(broken_torchvision))  # fmt: skip
    assert str(broken_torchvision) in out


@pytest.mark.slow
def test_torchvision_that_works_or_fails_otherwise(tmp_path):
    """A working one (made up: it brings its own operator) is left alone, any other error is passed on."""
    for name, line in {
        "good": "import torch; lib = torch.library.Library('torchvision', 'DEF'); lib.define('nms() -> int')",
        "runtime": "raise RuntimeError('something else')",
        "missing": "raise ImportError('no such module')",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "torchvision.py").write_text(line + "\n")
    python(f"""
        import sys
        from helpers.torchvision_compat import _keep_alive, import_torchvision
        errors = {{"runtime": RuntimeError("something else"), "missing": ImportError("no such module")}}
        for name, error in errors.items():
            sys.path.insert(0, {str(tmp_path)!r} + "/" + name)
            try:
                import_torchvision()
            except Exception as err:
                assert repr(err) == repr(error), err
            else:
                raise SystemExit("no error")
            sys.path.pop(0)
        sys.path.insert(0, {str(tmp_path)!r} + "/good")
        found = import_torchvision()
        import torchvision
        assert found is torchvision and found.lib and _keep_alive == []
    """)
