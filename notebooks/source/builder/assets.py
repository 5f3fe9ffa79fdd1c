"""What site and slides need to work offline: scripts and fonts out of two wheels."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from helpers.files import whole_or_not_at_all

from .course import BuildError

# The two wheels with their SHA-256, for pip.
WHEELS = Path(__file__).parent / "wheels.txt"
# wheel -> the files of it that decks need (a name that ends with / is a folder): their place in assets/
_REVEAL, _FONT = "sphinx_revealjs/_static/revealjs/", "dist/theme/fonts/source-sans-pro/"
_MATHJAX = "sphinx-mathjax-offline/static/mathjax/"
_STYLES = ("dist/reveal.css", "dist/theme/white.css", _FONT)
_USED = ("dist/reveal.js", *_STYLES, "plugin/notes/notes.js", "LICENSE")
ASSETS = {
    "sphinx_revealjs": {_REVEAL + name: name for name in _USED},
    "sphinx_mathjax_offline": {_MATHJAX + "tex-svg.js": "mathjax/tex-svg.js"},
}


def fetch_assets(folder: Path, pip_args=()) -> None:
    """Put reveal.js and MathJax into `folder`, out of two wheels that pip downloads; once.

    Raises BuildError when pip cannot get them, or what it gets has another SHA-256 than WHEELS says.
    """
    if all((folder / place).exists() for files in ASSETS.values() for place in files.values()):
        return
    with tempfile.TemporaryDirectory() as wheels:
        words = "-m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest"
        words = [sys.executable, *words.split(), wheels, *pip_args, "--require-hashes", "-r", str(WHEELS)]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace")
        if "DO NOT MATCH THE HASHES" in done.stderr:
            raise BuildError(
                "What pip downloaded for reveal.js and MathJax is not what it should be (its SHA-256 is not "
                f"the one in {WHEELS}), so nothing of it was used: try again from another index or network."
            )
        if done.returncode:
            names = " and ".join(ASSETS).replace("_", "-")
            raise BuildError(
                f"pip could not download {names}, from which the slides take reveal.js and MathJax "
                f"(once; with them in {folder} no network is needed):\n{done.stderr.strip()[-500:]}"
            )
        for wheel, files in ASSETS.items():
            wheel = next(Path(wheels).glob(f"{wheel}-*.whl"), Path(f"{wheel}.whl"))
            _unpack(wheel, files, folder)


def _unpack(wheel: Path, files: dict[str, str], folder: Path) -> None:
    """Write the wanted files of a wheel to their places under `folder`, each whole or not at all."""
    if not zipfile.is_zipfile(wheel):
        raise BuildError(f"{wheel.name} came damaged: run it again")
    with zipfile.ZipFile(wheel) as archive:
        for source, place in files.items():
            whole_folder = source.endswith("/")
            members = [n for n in archive.namelist() if n == source or whole_folder and n.startswith(source)]
            if not members:
                raise BuildError(f"{wheel.name} has no {source}")
            for member in members:
                target = folder / (place + member.removeprefix(source))
                if ".." in target.parts:
                    raise BuildError(f"{wheel.name} would write outside of {folder}: {member}")
                with whole_or_not_at_all(target) as part:
                    part.write_bytes(archive.read(member))
