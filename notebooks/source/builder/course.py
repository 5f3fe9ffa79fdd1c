"""Where the parts of the course lie, and how its files are written."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

from helpers.files import restore_hint, whole_or_not_at_all

TEMPLATES = Path(__file__).parent / "templates"  # of decks, site, new notebooks, nbgrader


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
    def teaching(self) -> Path:
        return self.root / "notebooks" / "teaching"

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
            raise BuildError(f"no source numbered {only.zfill(2)[:20]} in {self.sources} (there: {numbers})")
        return chosen

    def markdown(self) -> list[Path]:
        """The pages beside the notebooks: README.md, TEACHING.md, teaching/*.md, data/README.md."""
        folders = (self.root, self.complete, self.teaching, self.root / "data")
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
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", text))]


def read_text(path: Path) -> str:
    """The text of a file, without a byte order mark. Raises BuildError naming a file that is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as err:
        raise BuildError(f"{path}: byte {err.start} is not UTF-8; save the file in UTF-8") from err


def read_json(path: Path) -> dict:
    """The object in a JSON file; {} where there is no file. Raises BuildError naming a damaged one."""
    try:
        content = json.loads(read_text(path)) if path.exists() else {}
    except (ValueError, RecursionError) as err:
        raise BuildError(f"{path} is damaged ({err}): {restore_hint(path)}") from err
    if not isinstance(content, dict):
        raise BuildError(f"{path} is damaged (it holds no JSON object): {restore_hint(path)}")
    return content


def parse_python(path: Path) -> ast.Module:
    """The syntax tree of a Python file. Raises BuildError with file and line where it is not Python."""
    try:
        return ast.parse(read_text(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
        raise BuildError(
            f"{path}, line {getattr(err, 'lineno', None) or '?'}: not valid Python ({err})"
        ) from err


def make_folder(path: Path) -> None:
    """Make a folder to write to. Raises BuildError where something else is there, or nothing can be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        said = f"{path} cannot be a folder ({err.strerror}): move away what is there, or choose another place"
        raise BuildError(said) from err


def write_text(path: Path, text: str) -> bool:
    """Write `text` to `path`, whole or not at all. A file that already says so is left alone.

    Returns True when the file changed. Raises OSError naming the file when it cannot be written.
    """
    if path.exists() and path.read_text(encoding="utf-8-sig", errors="replace") == text:
        return False
    with whole_or_not_at_all(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
    return True


def notebook_text(nb) -> str:
    """A notebook as the text of its file: validated, keys sorted, one newline at the end."""
    try:
        nbformat.validate(nb)
    except nbformat.ValidationError as err:
        raise BuildError(f"this would be no valid notebook: {err.message}") from err
    return nbformat.writes(nb, version=4).rstrip("\n") + "\n"


def parse_notebook(text: str):
    """The notebook that a text holds. Raises an exception of some kind where it holds none."""
    notebook = nbformat.reads(text, nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    if notebook.nbformat != 4:
        raise ValueError("it is not of nbformat 4")
    return notebook


def read_notebook(path: Path):
    """The notebook in `path`, or None where there is none. A damaged file is named."""
    if not path.exists():
        return None
    try:
        return parse_notebook(read_text(path))
    except Exception as err:
        words = getattr(err, "message", str(err)).splitlines()
        raise BuildError(f"{path} is no readable notebook ({words[0][:200]}): {restore_hint(path)}") from err
