"""The student's own copies of the student edition, in a folder that git ignores."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from helpers.files import whole_or_not_at_all

from .course import BuildError, Course, write_text
from .editions import RECORD

LEDGER = ".editions.json"  # which notebook each copy was made from


def start(course: Course, into: Path, say=print) -> None:
    """Copy the student notebooks to `into`. A file that is there already is never touched.

    Beside a copy of another edition, which no longer fits helpers/, goes one of this edition.
    """
    notebooks = sorted(course.student.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise BuildError(f"no student notebooks in {course.student}: build them with `make editions`")
    ledger = into / LEDGER
    try:
        made_from = json.loads(ledger.read_text(encoding="utf-8")) if ledger.exists() else {}
    except ValueError:
        made_from = {}
    for notebook in notebooks:
        text, edition = notebook.read_text(encoding="utf-8"), read_edition(notebook)
        content = hashlib.sha256(text.encode()).hexdigest()  # not of the bytes: git may change line ends
        copy = into / notebook.name
        if copy.exists() and read_edition(copy) != edition:
            say(f"kept   {_shorten(course, copy)} (your answers, for another edition of the course)")
            copy = into / f"{notebook.stem}_edition_{edition}.ipynb"
        if copy.exists():
            newer = made_from.get(copy.name) != content
            hint = "; the course has a newer one: rename yours and run this again to get it" if newer else ""
            say(f"kept   {_shorten(course, copy)} (your answers are as you left them{hint})")
            continue
        with whole_or_not_at_all(copy) as part:
            shutil.copyfile(notebook, part)
        made_from[copy.name] = content
        say(f"new    {_shorten(course, copy)}")
    write_text(ledger, json.dumps(made_from, indent=1, sort_keys=True) + "\n")
    say(f"Work in {_shorten(course, into)}/; pulling a newer course does not touch it.")


def read_edition(notebook: Path) -> str:
    """The edition of the course that a notebook belongs to; "1" where it does not say."""
    try:
        return json.loads(notebook.read_text(encoding="utf-8"))["metadata"][RECORD]["edition"]
    except (ValueError, KeyError, TypeError):
        return "1"


def _shorten(course: Course, path: Path) -> str:
    return path.relative_to(course.root).as_posix() if path.is_relative_to(course.root) else str(path)
