"""The data sets: what they are, that they are undamaged, and what happens when a disk or a file is not."""

import gzip
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from helpers import data
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


def test_checksums_name_every_file():
    assert set(data.checksums()) == {f"{path}.gz" for path in MD5}


@pytest.mark.parametrize("path", MD5)
def test_shipped_file_is_undamaged(path):
    packed = (data.DATA / f"{path}.gz").read_bytes()
    assert hashlib.sha256(packed).hexdigest() == data.checksums()[f"{path}.gz"]
    assert hashlib.md5(gzip.decompress(packed)).hexdigest() == MD5[path]


def test_readme_names_what_ships():
    text = (data.DATA / "README.md").read_text(encoding="utf-8")
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


# --- disks and files that are not as they should be


@pytest.fixture
def place():
    """A temporary folder that other users can enter too (pytest's own cannot be)."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def shelf(place, monkeypatch):
    """A small data/ with two made-up files, and a cache of our own."""
    folder, sums = place / "data", []
    (folder / "MNIST/raw").mkdir(parents=True)
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        path = folder / f"MNIST/raw/{name}.gz"
        path.write_bytes(gzip.compress(name.encode() * 100))
        sums.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  MNIST/raw/{name}.gz")
    (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    monkeypatch.setenv("NOISE_TO_DIGITS_CACHE", str(place / "cache"))
    return folder


def unpacked(root):
    return {p.name: p.read_bytes() for p in sorted((root / "MNIST/raw").iterdir()) if p.suffix != ".gz"}


CONTENT = {n: n.encode() * 100 for n in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}


@contextmanager
def read_only(folder):
    """No writing below `folder`, for root too (who then steps down to nobody for the while)."""
    paths = [folder, *folder.rglob("*")]
    modes = [p.stat().st_mode for p in paths]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            (folder / "probe").touch()
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)


def test_unpacks_beside_the_archives(shelf):
    assert data.unpack("MNIST", shelf) == shelf and unpacked(shelf) == CONTENT
    stamps = [p.stat().st_mtime_ns for p in sorted((shelf / "MNIST/raw").iterdir())]
    assert data.unpack("MNIST", shelf) == shelf
    assert stamps == [p.stat().st_mtime_ns for p in sorted((shelf / "MNIST/raw").iterdir())], (
        "unpacked once only"
    )


def test_read_only_data_goes_to_the_cache(shelf):
    cache = shelf.parent / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    with read_only(shelf):
        assert data.unpack("MNIST", shelf) == cache
        assert data.unpack("MNIST", shelf) == cache
    assert unpacked(cache) == CONTENT and unpacked(shelf) == {}


def test_default_cache_is_in_the_temporary_folder(shelf, monkeypatch, place):
    monkeypatch.delenv("NOISE_TO_DIGITS_CACHE")
    monkeypatch.setattr(data.tempfile, "gettempdir", lambda: str(place / "temporary"))
    (place / "temporary").mkdir(mode=0o777)
    (place / "temporary").chmod(0o777)
    with read_only(shelf):
        assert data.unpack("MNIST", shelf) == place / "temporary/noise-to-digits"


def test_nowhere_to_write(shelf, monkeypatch, place):
    (place / "a-file").touch()
    monkeypatch.setenv("NOISE_TO_DIGITS_CACHE", str(place / "a-file/cache"))
    with read_only(shelf), pytest.raises(OSError, match="set NOISE_TO_DIGITS_CACHE") as error:
        data.unpack("MNIST", shelf)
    assert str(shelf) in str(error.value) and "a-file" in str(error.value)


def test_shipped_data_read_only(place, monkeypatch):
    """The real thing: MNIST read through torchvision from a data/ that cannot be written."""
    data.mnist(train=False)  # once before, to import all: nobody may not read where Python is installed
    shelf = place / "data"
    shutil.copytree(data.DATA / "MNIST", shelf / "MNIST", ignore=shutil.ignore_patterns("*-ubyte"))
    lines = (data.DATA / "SHA256SUMS").read_text().splitlines()
    (shelf / "SHA256SUMS").write_text("\n".join(x for x in lines if " MNIST" in x) + "\n")
    (place / "cache").mkdir()
    (place / "cache").chmod(0o777)
    monkeypatch.setenv("NOISE_TO_DIGITS_CACHE", str(place / "cache"))
    monkeypatch.setattr(data, "DATA", shelf)
    with read_only(shelf):
        images, labels = data.mnist(train=False)
    assert images.shape == (10_000, 1, 28, 28) and labels[:3].tolist() == [7, 2, 1]


@pytest.mark.parametrize("harm", ["truncated", "a changed byte", "empty", "other content"])
def test_a_damaged_archive_is_named(shelf, harm):
    path = shelf / "MNIST/raw/t10k-labels-idx1-ubyte.gz"
    good = path.read_bytes()
    path.write_bytes({
        "truncated": good[:-20], "a changed byte": good[:15] + bytes([good[15] ^ 1]) + good[16:],
        "empty": b"", "other content": gzip.compress(b"something else"),
    }[harm])  # fmt: skip
    with pytest.raises(ValueError, match=r"(data/MNIST/raw/t10k-l.*\.gz) is damaged.*git checkout -- \1`"):
        data.unpack("MNIST", shelf)
    assert unpacked(shelf) == {} and not (shelf.parent / "cache").exists()


def test_a_missing_archive_is_named(shelf):
    (shelf / "MNIST/raw/t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"(data/\S+/t10k-i\S+) is missing.*git checkout -- \1`"):
        data.unpack("MNIST", shelf)


@pytest.mark.parametrize(
    "harm", [b"", b"half", b"t10k-images-idx3-ubytf" * 100], ids=["empty", "cut", "changed"]
)
def test_a_damaged_unpacked_file_is_mended(shelf, harm):
    data.unpack("MNIST", shelf)
    (shelf / "MNIST/raw/t10k-images-idx3-ubyte").write_bytes(harm)
    assert data.unpack("MNIST", shelf) == shelf and unpacked(shelf) == CONTENT


def test_missing_or_foreign_list_of_checksums(shelf):
    with pytest.raises(ValueError, match="names no file of FashionMNIST"):
        data.unpack("FashionMNIST", shelf)
    (shelf / "SHA256SUMS").unlink()
    with pytest.raises(FileNotFoundError, match="SHA256SUMS is missing.*git checkout -- data/SHA256SUMS"):
        data.unpack("MNIST", shelf)


def test_an_interrupted_unpacking_leaves_nothing_half(shelf, monkeypatch):
    """The disk is full at the second file: the first is whole, no debris, and the next call finishes."""
    real, calls = Path.write_bytes, []

    def write_bytes(self, content):
        calls.append(self)
        if len(calls) >= 2:
            real(self, content[:10])
            raise OSError(28, "No space left on device")
        return real(self, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(OSError, match="No space left"):
        data.unpack("MNIST", shelf)
    monkeypatch.setattr(Path, "write_bytes", real)
    assert unpacked(shelf).items() <= CONTENT.items()
    assert not list(shelf.parent.rglob("*.part*"))
    assert data.unpack("MNIST", shelf) == shelf and unpacked(shelf) == CONTENT


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
    import torchvision

    here, source = tmp_path_factory.mktemp("broken") / "torchvision", Path(torchvision.__file__).parent
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
        from helpers import data
        images, labels = data.mnist(train=False)
        print(tuple(images.shape), labels[0].item(), first.__file__)
    """, PYTHONPATH=str(broken_torchvision))  # fmt: skip
    assert out.startswith("(10000, 1, 28, 28) 7") and str(broken_torchvision) in out


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
