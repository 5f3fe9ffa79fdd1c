"""Data sets: archives and their list of checksums in every wrong state, forged caches, wrong numbers."""

import gzip
import hashlib
import io
import os
import shutil
import tempfile
import zlib
from pathlib import Path

import pytest
import torch

from helpers import data, files, metrics
from tries.powers import as_somebody_else

NAMES = {"images": "t10k-images-idx3-ubyte.gz", "labels": "t10k-labels-idx1-ubyte.gz"}
HEADS = {"images": 16, "labels": 8}
LABELS = [3, 1, 4, 1, 5, 9]


def content(kind: str, shift: int = 0) -> bytes:
    """An unpacked file of six images, each of one grey value from `shift` on; or of six labels."""
    body = bytes(i + shift for i in range(6) for _ in range(784)) if kind == "images" else bytes(LABELS)
    return bytes(HEADS[kind]) + body


@pytest.fixture
def shelf(monkeypatch):
    """A data/ of our own with a made-up MNIST and Fashion-MNIST, which other users can enter too."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        folder = Path(place) / "data"
        for name, shift in (("MNIST", 0), ("FashionMNIST", 100)):
            (folder / name / "raw").mkdir(parents=True)
            for kind, file in NAMES.items():
                (folder / name / "raw" / file).write_bytes(gzip.compress(content(kind, shift)))
        write_list(folder)
        monkeypatch.setattr(files, "DATA", folder)
        monkeypatch.setattr(files, "ROOT", Path(place))
        yield folder


def rows(folder: Path) -> list[str]:
    paths = sorted(folder.glob("*/raw/*.gz"))
    return [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}" for p in paths
    ]


def write_list(folder: Path, lines: list[str] | None = None) -> None:
    (folder / "SHA256SUMS").write_text("\n".join(lines or rows(folder)) + "\n")


def archive(folder: Path, kind: str, name: str = "MNIST") -> Path:
    return folder / name / "raw" / NAMES[kind]


def assert_sentence(err, *words: str) -> None:
    said = str(err.value)
    assert "\n" not in said and len(said) < 600 and "git checkout -- data/" in said, said
    for word in words:
        assert word in said, f"{word!r} is not in {said!r}"


def assert_read(shelf: Path) -> None:
    images, labels = data.mnist(train=False)
    assert labels.tolist() == LABELS
    assert torch.equal(images[:, 0, 9, 9], torch.arange(6) / 127.5 - 1)


# --- archives


def bomb() -> bytes:
    """100 kB that unpack to 100 MB."""
    buffer = io.BytesIO()
    with gzip.open(buffer, "wb", compresslevel=9) as file:
        for _ in range(100):
            file.write(bytes(1_000_000))
    return buffer.getvalue()


HARMS = {
    "empty": lambda good, folder: b"",
    "half": lambda good, folder: good[: len(good) // 2],
    "the last byte is lost": lambda good, folder: good[:-1],
    "one byte more": lambda good, folder: good + b"\0",
    "first byte flipped": lambda good, folder: bytes([good[0] ^ 1]) + good[1:],
    "a byte in the middle flipped": lambda good, folder: good[:20] + bytes([good[20] ^ 1]) + good[21:],
    "the checksum of gzip flipped": lambda good, folder: good[:-8] + bytes([good[-8] ^ 1]) + good[-7:],
    "compressed again": lambda good, folder: gzip.compress(gzip.decompress(good), 1, mtime=1),
    "not compressed": lambda good, folder: gzip.decompress(good),
    "zeros": lambda good, folder: bytes(len(good)),
    "an HTML page": lambda good, folder: b"<html>404</html>",
    "a gzip bomb": lambda good, folder: bomb(),
    "other content": lambda good, folder: gzip.compress(b"something else"),
}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_archive(shelf, harm, kind, monkeypatch):
    """Named in one sentence, and not unpacked at all."""
    path, real, unpacked = archive(shelf, kind), gzip.decompress, []
    bad = HARMS[harm](path.read_bytes(), shelf)
    path.write_bytes(bad)
    monkeypatch.setattr(gzip, "decompress", lambda packed: (unpacked.append(packed), real(packed))[1])
    with pytest.raises(ValueError) as err:
        data.mnist(train=False)
    assert_sentence(
        err, f"{path.name} is damaged", f"`git checkout -- data/MNIST/raw/{path.name}`", "without git"
    )
    assert bad not in unpacked and len(unpacked) == (kind == "labels")


SWAPS = {
    "images of the other data set": [("images", "MNIST", "images", "FashionMNIST")],
    "labels where images belong": [("images", "MNIST", "labels", "MNIST")],
    "images where labels belong": [("labels", "MNIST", "images", "MNIST")],
    "labels and images exchanged": [
        ("images", "MNIST", "labels", "MNIST"),
        ("labels", "MNIST", "images", "MNIST"),
    ],
}


@pytest.mark.parametrize("swap", SWAPS)
def test_whole_files_in_wrong_places(shelf, swap):
    contents = {
        (kind, name): archive(shelf, kind, name).read_bytes()
        for kind in NAMES
        for name in ("MNIST", "FashionMNIST")
    }
    for kind, name, other, source in SWAPS[swap]:
        archive(shelf, kind, name).write_bytes(contents[other, source])
    with pytest.raises(ValueError) as err:
        data.mnist(train=False)
    assert_sentence(err, "is damaged (its checksum is another)")


def test_labels_of_another_day_with_the_right_count(shelf):
    """False labels in a whole archive: only the list can tell."""
    archive(shelf, "labels").write_bytes(gzip.compress(bytes(8) + bytes([0] * 6)))
    with pytest.raises(ValueError, match="labels-idx1-ubyte.gz is damaged"):
        data.mnist(train=False)


PLACES = {
    "missing": (lambda path: None, FileNotFoundError, "is not there"),
    "a folder": (lambda path: path.mkdir(), ValueError, "it is not a file"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), FileNotFoundError, "is not there"),
    "a link in a circle": (lambda path: path.symlink_to(path), ValueError, "cannot be read"),
    "a pipe": (lambda path: os.mkfifo(path), ValueError, "it is not a file"),
    "a device that never ends": (lambda path: path.symlink_to("/dev/zero"), ValueError, "it is not a file"),
}


@pytest.mark.parametrize("what", PLACES)
def test_no_archive_there(shelf, what):
    put, error, word = PLACES[what]
    path = archive(shelf, "images")
    path.unlink()
    put(path)
    with pytest.raises(error) as err:
        data.mnist(train=False)
    assert_sentence(err, path.name, word, f"git checkout -- data/MNIST/raw/{path.name}")


@pytest.mark.parametrize("which", ["the archive", "its folder", "the list"])
def test_permission_denied(shelf, which):
    path = {
        "the archive": archive(shelf, "images"),
        "its folder": shelf / "MNIST/raw",
        "the list": shelf / "SHA256SUMS",
    }
    path[which].chmod(0)
    with as_somebody_else(), pytest.raises(ValueError) as err:
        data.mnist(train=False)
    assert_sentence(err, "Permission denied", "SHA256SUMS" if which == "the list" else "cannot be read")
    path[which].chmod(0o755)
    assert_read(shelf)


def test_no_folder_at_all(shelf):
    shutil.rmtree(shelf / "MNIST")
    with pytest.raises(FileNotFoundError) as err:
        data.mnist(train=False)
    assert_sentence(err, "is not there", "git checkout -- data/MNIST/raw/t10k-images")


def test_archives_kept_elsewhere_behind_a_link(shelf, tmp_path):
    (shelf / "MNIST").rename(tmp_path / "MNIST")
    (shelf / "MNIST").symlink_to(tmp_path / "MNIST")
    assert_read(shelf)


@pytest.mark.parametrize("left", ["MNIST", "FashionMNIST"])
def test_one_damaged_data_set_does_not_harm_the_other(shelf, left):
    other = {"MNIST": "FashionMNIST", "FashionMNIST": "MNIST"}[left]
    archive(shelf, "images", other).write_bytes(b"")
    load = data.mnist if left == "MNIST" else data.fashion_mnist
    assert load(train=False)[1].tolist() == LABELS


# --- the list of checksums

BAD_LISTS = {
    "missing": (None, "is not there"),
    "one short digest": (lambda lines: [lines[0][1:], *lines[1:]], "line 1"),
    "one long digest": (lambda lines: [*lines[:2], "a" + lines[2], *lines[3:]], "line 3"),
    "a letter that is no digit": (lambda lines: [*lines[:-1], "g" + lines[-1][1:]], "line 4"),
    "a digest without a path": (lambda lines: [*lines, lines[0][:64]], "line 5"),
    "a path without a digest": (lambda lines: [*lines, "MNIST/raw/more.gz"], "line 5"),
    "three words": (lambda lines: [lines[0] + " more", *lines[1:]], "line 1"),
    "cut in the middle": (lambda lines: [*lines[:3], lines[3][:30]], "line 4"),
    "git's marks of a conflict": (lambda lines: ["<<<<<<< HEAD", *lines], "line 1"),
    "an HTML page": (lambda lines: ["<html>404 not found</html>"], "line 1"),
    "digest and path exchanged": (lambda lines: [" ".join(reversed(lines[0].split()))], "line 1"),
    "the form of BSD": (lambda lines: [f"SHA256 (MNIST/raw/x) = {lines[0][:64]}"], "line 1"),
}


@pytest.mark.parametrize("what", BAD_LISTS)
def test_a_list_that_cannot_be_read(shelf, what):
    change, word = BAD_LISTS[what]
    if change:
        write_list(shelf, change(rows(shelf)))
    else:
        (shelf / "SHA256SUMS").unlink()
    with pytest.raises((ValueError, FileNotFoundError)) as err:
        data.mnist(train=False)
    assert_sentence(err, "data/SHA256SUMS", word, "`git checkout -- data/SHA256SUMS`")


@pytest.mark.parametrize(
    "raw", [b"\xff\xfe\x00\x01", b"\x80" * 70, bytes(200)], ids=["UTF-16", "no text", "zeros"]
)
def test_a_list_that_is_no_text(shelf, raw):
    (shelf / "SHA256SUMS").write_bytes(raw)
    with pytest.raises(ValueError) as err:
        data.mnist(train=False)
    assert_sentence(err, "data/SHA256SUMS is damaged")


@pytest.mark.parametrize("what", ["empty", "without this file", "only blank lines", "another digest"])
def test_a_list_that_does_not_know_the_archive(shelf, what):
    """An archive that is not listed is not taken for whole."""
    known = rows(shelf)
    lines = {
        "empty": [""],
        "without this file": [line for line in known if "MNIST/raw/t10k-images" not in line],
        "only blank lines": ["", "   ", ""],
        "another digest": ["0" * 64 + line[64:] for line in known],
    }
    write_list(shelf, lines[what])
    with pytest.raises(ValueError) as err:
        data.mnist(train=False)
    assert_sentence(err, "t10k-images-idx3-ubyte.gz is damaged")


@pytest.mark.parametrize("what", ["a folder", "a link in a circle"])
def test_a_list_that_is_no_file(shelf, what):
    path = shelf / "SHA256SUMS"
    path.unlink()
    path.mkdir() if what == "a folder" else path.symlink_to(path)
    with pytest.raises(ValueError) as err:
        data.mnist(train=False)
    assert_sentence(err, "data/SHA256SUMS is damaged")


GOOD_LISTS = {
    "line ends of Windows": lambda text: text.replace("\n", "\r\n"),
    "a byte order mark": lambda text: "\ufeff" + text,
    "both": lambda text: "\ufeff" + text.replace("\n", "\r\n"),
    "capital letters": lambda text: "\n".join(line[:64].upper() + line[64:] for line in text.splitlines()),
    "comments": lambda text: "# of the course\n#\n" + text,
    "blank lines": lambda text: "\n\n" + text.replace("\n", "\n\n"),
    "blanks at the end": lambda text: text.replace("\n", "  \n"),
    "tabs": lambda text: text.replace("  ", "\t"),
    "stars of sha256sum --binary": lambda text: text.replace("  ", " *"),
    "no line end at the end": lambda text: text.rstrip(),
    "another order": lambda text: "\n".join(reversed(text.splitlines())),
    "files that are not there": lambda text: text + "0" * 64 + "  MNIST/raw/more.gz\n",
}


@pytest.mark.parametrize("what", GOOD_LISTS)
def test_a_list_that_an_editor_has_touched(shelf, what):
    path = shelf / "SHA256SUMS"
    changed = GOOD_LISTS[what](path.read_text())
    assert changed != path.read_text()
    path.write_bytes(changed.encode())
    assert_read(shelf)


# --- caches: there are none any more


def forge(false: bytes, true: bytes) -> bytes:
    """`false` with other last four bytes, so that its CRC-32 is that of `true`."""
    base = false[:-4] + bytes(4)
    wanted, basis = zlib.crc32(base) ^ zlib.crc32(true), {}
    for bit in range(32):
        change = zlib.crc32(false[:-4] + (1 << bit).to_bytes(4, "little")) ^ zlib.crc32(base)
        made = 1 << bit
        while change and change.bit_length() in basis:
            other, of = basis[change.bit_length()]
            change, made = change ^ other, made ^ of
        if change:
            basis[change.bit_length()] = change, made
    last = 0
    while wanted:
        other, of = basis[wanted.bit_length()]
        wanted, last = wanted ^ other, last ^ of
    return false[:-4] + last.to_bytes(4, "little")


@pytest.mark.parametrize(
    "where", ["beside the archives", "in the temporary folder", "in NOISE_TO_DIGITS_CACHE"]
)
def test_a_forged_cache_with_false_labels(shelf, tmp_path, monkeypatch, where):
    """Unpacked files of the right size and CRC-32, as the last edition looked for them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("NOISE_TO_DIGITS_CACHE", raising=False)
    root = {"beside the archives": shelf, "in the temporary folder": tmp_path / "noise-to-digits"}
    root = root.get(where, tmp_path / "cache")
    if where == "in NOISE_TO_DIGITS_CACHE":
        monkeypatch.setenv("NOISE_TO_DIGITS_CACHE", str(root))
    for kind in NAMES:
        path = root / "MNIST/raw" / NAMES[kind].removesuffix(".gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        false = forge(bytes(HEADS[kind]) + bytes(len(content(kind)) - HEADS[kind]), content(kind))
        assert zlib.crc32(false) == zlib.crc32(content(kind)) and false != content(kind)
        path.write_bytes(false)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert_read(shelf)
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}, "nor written"


@pytest.mark.parametrize("what", ["unreadable", "a folder", "a link in a circle", "another owner"])
def test_debris_beside_the_archives_does_not_matter(shelf, what):
    path = shelf / "MNIST/raw/t10k-labels-idx1-ubyte"
    if what == "a folder":
        path.mkdir()
    elif what == "a link in a circle":
        path.symlink_to(path)
    else:
        path.write_bytes(b"mine")
        path.chmod(0 if what == "unreadable" else 0o600)
    with as_somebody_else():
        assert_read(shelf)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_read_only_course_on_a_full_disk(shelf, monkeypatch):
    """Reading writes nothing, anywhere: neither into data/ nor into any temporary folder."""
    for path in [*shelf.rglob("*"), shelf]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    monkeypatch.setattr(tempfile, "tempdir", str(shelf / "none"))
    with as_somebody_else():
        assert_read(shelf)
    for path in [shelf, *shelf.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_no_code_of_the_course_writes_to_a_shared_temporary_folder():
    """A name that anybody can foresee, in a folder that anybody can write to."""
    root = Path(data.__file__).resolve().parent.parent
    paths = [p for name in ("helpers", "data", "notebooks/source") for p in (root / name).rglob("*.py")]
    found = [
        p for p in paths if "gettempdir" in p.read_text(encoding="utf-8") or '"/tmp' in p.read_text("utf-8")
    ]
    assert len(paths) > 50 and found == []


# --- numbers out of range


@pytest.mark.parametrize("noise", [-0.1, float("nan"), "much", None], ids=repr)
def test_no_such_noise(noise):
    """scikit-learn has a sentence for all but None, which means no noise there."""
    if noise is None:
        assert data.moons(10, noise=None)[0].isfinite().all()
    else:
        with pytest.raises(ValueError, match="'noise' parameter of make_moons"):
            data.moons(10, noise=noise)


@pytest.mark.parametrize("n", [1, 2, torch.tensor(3).item(), *map(int, (7, 100))], ids=repr)
def test_few_points_are_points(n):
    assert len(data.moons(n)[0]) == n and len(data.checkerboard(n)[0]) == n


@pytest.mark.parametrize("n", [0, -5, -100], ids=repr)
def test_a_floor_of_no_images(n):
    with pytest.raises(ValueError, match="samples are too few for 64 features"):
        metrics.frechet_floor(data.digits()[0], n=n)
