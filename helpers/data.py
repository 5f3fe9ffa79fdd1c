"""Data sets as tensors in [-1, 1]: digits, moons, checkerboard, MNIST, Fashion-MNIST, one photo, one's own.

MNIST and Fashion-MNIST ship compressed under data/ and are read from there, without network.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from sklearn import datasets
from torch import Tensor

from helpers import files

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
    """MNIST: images (60000 or 10000, 1, 28, 28) float32 in [-1, 1], labels int64.

    Raises FileNotFoundError or ValueError naming the file that is missing or damaged, and what to do.
    """
    return _read("MNIST", train)


def fashion_mnist(train: bool = True) -> tuple[Tensor, Tensor]:
    """Fashion-MNIST, same shapes as mnist(); labels index FASHION_NAMES. Raises as mnist() does."""
    return _read("FashionMNIST", train)


def folder(path, size: int = 28) -> tuple[Tensor, Tensor]:
    """Your own pictures: all of a folder, grey, cut square from the middle: (N, 1, size, size), labels 0.

    float32 in [-1, 1], as mnist() gives them, in the order of their names; what is transparent becomes white.
    Files that are no pictures by their names are left out, and so are folders in it.
    Raises FileNotFoundError where there is no such folder or no picture in it, ValueError naming a picture
    that cannot be read.
    """
    place, known = Path(path), Image.registered_extensions()
    if not place.is_dir():
        kind = "not a folder" if place.exists() else "not there"
        raise FileNotFoundError(f"{path} is {kind}: name a folder of pictures")
    found = [p for p in place.iterdir() if p.is_file() and p.name[0] != "." and p.suffix.lower() in known]
    if not found:
        raise FileNotFoundError(f"{path} has no pictures in it (.png, .jpg, .gif ..): put some there")
    x = torch.stack([_read_picture(file, size) for file in sorted(found)])[:, None]
    return x, torch.zeros(len(x), dtype=torch.int64)


def _read_picture(file: Path, size: int) -> Tensor:
    try:
        with Image.open(file) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode[0] in "IF":  # more than 8 bits
                grey = np.asarray(image, np.float32)
                grey = grey / 257 if grey.max() > 255 else grey
                image = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("L")
            image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as err:
        raise ValueError(f"{file} cannot be read as a picture: take it out of this folder") from err
    return torch.tensor(np.array(image), dtype=torch.float32) / 127.5 - 1


def _read(name: str, train: bool) -> tuple[Tensor, Tensor]:
    """The IDX files are read straight from their archives: what nobody unpacks, nobody can replace."""
    start = files.DATA / name / "raw" / ("train" if train else "t10k")
    paths = [f"{start}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    images, labels = (gzip.decompress(files.read_whole(path, shipped=True)) for path in paths)
    x = torch.tensor(np.frombuffer(images, np.uint8, offset=16)).reshape(-1, 1, 28, 28)
    return x.float().div_(127.5).sub_(1), torch.tensor(np.frombuffer(labels, np.uint8, offset=8)).long()


def class_counts(labels: Tensor, classes: int = 10) -> np.ndarray:
    """How many examples each class has, (classes,)."""
    return np.bincount(labels.numpy(), minlength=classes)
