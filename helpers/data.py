"""The data sets, as tensors in [-1, 1]: digits, moons, checkerboard, MNIST, Fashion-MNIST, and one photo.

MNIST and Fashion-MNIST ship compressed under data/ and are read through torchvision, without network.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from sklearn import datasets
from torch import Tensor

from helpers.files import restore_hint, whole_or_not_at_all
from helpers.modes import ROOT

DATA = ROOT / "data"
FASHION_NAMES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


def digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's digits: images (1797, 1, 8, 8) float32 in [-1, 1] (from 0..16), labels (1797,) int64."""
    bunch = datasets.load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 8 - 1
    return images, torch.tensor(bunch.target)


def moons(n: int = 10_000, seed: int = 0, noise: float = 0.06) -> tuple[Tensor, Tensor]:
    """Two interleaved half circles: points (n, 2) float32, x about -1 .. 1, y about -0.5 .. 0.5, labels (n,).

    noise: standard deviation of the blur, in scikit-learn's units (before scaling by 2/3).
    """
    x, y = datasets.make_moons(n, noise=noise, random_state=seed)
    return torch.tensor((x - [0.5, 0.25]) / 1.5, dtype=torch.float32), torch.tensor(y)


def checkerboard(n: int = 10_000, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Uniform points in the 8 dark squares of a 4x4 board, (n, 2) float32 in [-1, 1]; their squares (n,)."""
    g = torch.Generator().manual_seed(seed)
    square = torch.randint(8, (n,), generator=g)
    row = square // 2
    column = 2 * (square % 2) + row % 2
    corner = torch.stack([column, row], 1)
    return (corner + torch.rand(n, 2, generator=g)) / 2 - 1, square


def photo(size: int = 64) -> Tensor:
    """A grey 64x64 cut of the flower photo that scikit-learn ships: (1, 1, size, size) float32 in [-1, 1]."""
    image = torch.tensor(datasets.load_sample_image("flower.jpg"), dtype=torch.float32).mean(-1)[:, 100:527]
    return torch.nn.functional.interpolate(image[None, None], (size, size), mode="area") / 127.5 - 1


def mnist(train: bool = True) -> tuple[Tensor, Tensor]:
    """MNIST: images (60000 or 10000, 1, 28, 28) float32 in [-1, 1], labels int64. Raises as unpack() does."""
    return _idx("MNIST", train)


def fashion_mnist(train: bool = True) -> tuple[Tensor, Tensor]:
    """Fashion-MNIST, same shapes as mnist(); labels index FASHION_NAMES. Raises as unpack() does."""
    return _idx("FashionMNIST", train)


def _idx(name: str, train: bool) -> tuple[Tensor, Tensor]:
    from helpers.torchvision_compat import import_torchvision

    root = unpack(name)
    dataset = getattr(import_torchvision().datasets, name)(root, train=train, download=False)
    return dataset.data[:, None].float() / 127.5 - 1, dataset.targets.long()


def checksums(data: Path | None = None) -> dict[str, str]:
    """sha256 of every shipped file, by its path under data/, from data/SHA256SUMS."""
    file = (data or DATA) / "SHA256SUMS"
    if not file.exists():
        raise FileNotFoundError(f"data/SHA256SUMS is missing: {restore_hint(ROOT / 'data/SHA256SUMS')}")
    lines = file.read_text(encoding="utf-8").splitlines()
    return {path: digest for digest, path in (line.split() for line in lines if line.strip())}


def unpack(name: str, data: Path | None = None) -> Path:
    """Unpack data/<name>/raw/*.gz for torchvision; returns the root folder it is to be given.

    Next to the .gz files where that is allowed, else into a cache (NOISE_TO_DIGITS_CACHE, or the temporary
    folder). Unpacked files that no longer match their archive are unpacked anew.
    Raises FileNotFoundError or ValueError naming the file that is missing or damaged, and what to do.
    """
    data = data or DATA
    known = {path: digest for path, digest in checksums(data).items() if path.startswith(f"{name}/")}
    if not known:
        hint = restore_hint(ROOT / "data/SHA256SUMS")
        raise ValueError(f"data/SHA256SUMS names no file of {name}: {hint}")
    cache = Path(os.environ.get("NOISE_TO_DIGITS_CACHE", Path(tempfile.gettempdir()) / "noise-to-digits"))
    roots = [data, cache]
    for root in roots:
        if all(_is_unpacked(data / path, root / path[:-3]) for path in known):
            return root
    contents = {path: _read(data / path, digest) for path, digest in known.items()}
    for root in roots:
        try:
            for path, content in contents.items():
                with whole_or_not_at_all(root / path[:-3]) as part:
                    part.write_bytes(content)
            return root
        except OSError as err:
            last = err
    raise OSError(f"cannot write to {data} or {cache} ({last}): set NOISE_TO_DIGITS_CACHE to another folder")


def _is_unpacked(packed: Path, unpacked: Path) -> bool:
    """Is `unpacked` what the archive holds? A gzip file ends in the content's CRC-32 and size."""
    if not (packed.exists() and unpacked.exists()):
        return False
    content, trailer = unpacked.read_bytes(), packed.read_bytes()[-8:]
    return trailer == zlib.crc32(content).to_bytes(4, "little") + len(content).to_bytes(4, "little")


def _read(path: Path, digest: str) -> bytes:
    name = f"data/{path.parent.parent.name}/raw/{path.name}"
    if not path.exists():
        raise FileNotFoundError(f"{name} is missing: {restore_hint(ROOT / name)}")
    packed = path.read_bytes()
    if hashlib.sha256(packed).hexdigest() != digest:
        raise ValueError(
            f"{name} is damaged (its checksum is not the one in data/SHA256SUMS): {restore_hint(ROOT / name)}"
        )
    return gzip.decompress(packed)


def class_counts(labels: Tensor, classes: int = 10) -> np.ndarray:
    """How many examples each class has, (classes,)."""
    return np.bincount(labels.numpy(), minlength=classes)
