"""Where the parts of the course lie, and how its files are written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

from helpers.files import whole_or_not_at_all


class BuildError(Exception):
    """Something a maintainer has to put right; the message says what and where."""


@dataclass(frozen=True)
class Course:
    """The folders of one course. `root` is the repository's root."""

    root: Path

    @property
    def sources(self) -> Path:
        return self.root / "notebooks" / "source"

    @property
    def complete(self) -> Path:
        return self.root / "notebooks"

    @property
    def student(self) -> Path:
        return self.root / "notebooks" / "student"

    @property
    def helpers(self) -> Path:
        return self.root / "helpers"

    @property
    def stubs(self) -> Path:
        return self.root / "helpers" / "exercises" / "stubs.json"

    @property
    def results(self) -> Path:
        return self.root / "data" / "results"

    def source_paths(self, only: str | None = None) -> list[Path]:
        """The sources NN_name.py in order; `only` takes the one numbered so ("3" and "03" alike)."""
        paths = sorted(self.sources.glob("[0-9][0-9]_*.py"))
        if only is None:
            if not paths:
                raise BuildError(f"no NN_name.py in {self.sources}")
            return paths
        chosen = [p for p in paths if p.name[:2] == only.zfill(2)]
        if not chosen:
            numbers = ", ".join(p.name[:2] for p in paths) or "none"
            raise BuildError(f"no source numbered {only.zfill(2)} in {self.sources} (there: {numbers})")
        return chosen

    def markdown(self) -> list[Path]:
        """The pages beside the notebooks: README.md, TEACHING.md, data/README.md."""
        folders = (self.root, self.complete, self.root / "data")
        return sorted(path for folder in folders for path in folder.glob("*.md"))

    def exercise_specs(self, number: str) -> Path:
        """The file that holds the exercises of notebook `number`."""
        return self.helpers / "exercises" / f"nb{number}.py"

    def complete_path(self, name: str) -> Path:
        return self.complete / f"{name}.ipynb"

    def student_path(self, name: str) -> Path:
        return self.student / f"{name}.ipynb"


def natural(text: str) -> list:
    """A sort key that puts 1.10 behind 1.9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def write_text(path: Path, text: str) -> bool:
    """Write `text` to `path`, whole or not at all. A file that already says so is left alone.

    Returns True when the file changed. Raises OSError naming the file when it cannot be written.
    """
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    with whole_or_not_at_all(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
    return True


def notebook_text(nb) -> str:
    """A notebook as the text of its file: validated, keys sorted, one newline at the end."""
    nbformat.validate(nb)
    return nbformat.writes(nb, version=4).rstrip("\n") + "\n"


def read_notebook(path: Path):
    """The notebook in `path`, or None where there is none. A damaged file is named."""
    if not path.exists():
        return None
    try:
        return nbformat.read(path, as_version=4)
    except Exception as err:
        raise BuildError(f"{path} is not a readable notebook ({err}); delete it and build again") from err
