"""Files out of npm's packages, checked by their hash; npm itself need not be there."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from helpers.files import whole_or_not_at_all


@dataclass(frozen=True)
class Package:
    """A package of npm: its name@version, the SHA-256 of its archive, and its files: path -> name with us."""

    name: str
    sha256: str
    files: dict[str, str]


RUNTIME = Package(
    "onnxruntime-web@1.30.0",
    "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
    {
        "package/dist/ort.wasm.min.js": "ort.wasm.min.js",
        "package/dist/ort-wasm-simd-threaded.mjs": "ort-wasm-simd-threaded.mjs",
        "package/dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
    },
)


def fetch_runtime(folder: Path) -> str:
    """Put onnxruntime-web into `folder`, once; returns "" or why that was not possible."""
    return fetch_package(RUNTIME, folder)


def fetch_package(package: Package, folder: Path) -> str:
    """Put the files of a package into `folder`, once; returns "" or why that was not possible."""
    if all((folder / file).exists() for file in package.files.values()):
        return ""
    npm = shutil.which("npm")
    if npm is None:
        return f"there is no npm, from which {package.name} comes"
    with tempfile.TemporaryDirectory() as work:
        words = [npm, "pack", package.name, "--silent", "--fetch-retries=0", "--pack-destination", work]
        try:
            done = subprocess.run(words, capture_output=True, timeout=300, cwd=work)
        except (OSError, subprocess.TimeoutExpired) as err:
            return f"npm could not fetch {package.name} ({type(err).__name__})"
        archive = next(Path(work).glob("*.tgz"), None)
        if done.returncode or archive is None:
            return f"npm could not fetch {package.name}"
        if hashlib.sha256(archive.read_bytes()).hexdigest() != package.sha256:
            return f"what npm fetched for {package.name} has another SHA-256 than it should, and was not used"
        with tarfile.open(archive) as packed:
            for member, file in package.files.items():
                with whole_or_not_at_all(folder / file) as part, part.open("wb") as target:
                    shutil.copyfileobj(packed.extractfile(member), target)
    return ""
