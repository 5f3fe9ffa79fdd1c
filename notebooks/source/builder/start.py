"""The student's own copies of the student edition, in a folder that git ignores."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from helpers.files import restore_hint

from .course import BuildError, Course, make_folder, read_json, read_text, write_text
from .editions import RECORD

LEDGER = ".editions.json"  # which notebook each copy was made from


def start(course: Course, into: Path, say=print) -> None:
    """Copy the student notebooks to `into`. A file that is there already is never touched.

    Beside a copy of another edition, which no longer fits helpers/, goes one of this edition. The ledger
    names a copy before it is made, so that one killed in between, or two at once, do not confuse the next.
    """
    notebooks = sorted(course.student.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise BuildError(f"no student notebooks in {course.student}: build them with `make editions`")
    make_folder(into)
    damaged = []
    for notebook in notebooks:
        edition = read_edition(notebook)
        if edition is None:
            damaged.append(f"{notebook} is no readable notebook: {restore_hint(notebook)}")
            continue
        text = read_text(notebook)
        content = hashlib.sha256(text.encode()).hexdigest()  # not of the bytes: git may change line ends
        copy = into / notebook.name
        if os.path.lexists(copy) and read_edition(copy) not in (None, edition):
            say(f"kept   {_shorten(course, copy)} (your answers, for another edition of the course)")
            copy = into / f"{notebook.stem}_edition_{edition}.ipynb"
        if not os.path.lexists(copy):
            _note(into / LEDGER, copy.name, content)
            if _write_new(copy, text):
                say(f"new    {_shorten(course, copy)}")
                continue
        made_from = _read_ledger(into / LEDGER).get(copy.name)
        hint = "your answers are as you left them"
        if read_edition(copy) is None:
            hint = "it is no readable notebook: rename it and run this again to get a fresh one"
        elif made_from is None and read_text(copy) == text:
            _note(into / LEDGER, copy.name, content)
        elif made_from not in (None, content):
            hint += "; the course has a newer one: rename yours and run this again to get it"
        say(f"kept   {_shorten(course, copy)} ({hint})")
    if damaged:
        raise BuildError("\n".join(damaged))
    say(f"Work in {_shorten(course, into)}/; pulling a newer course does not touch it.")


def read_edition(notebook: Path) -> str | None:
    """The edition of the course that a notebook belongs to, "1" where it does not say; None: not readable."""
    try:
        content = json.loads(read_text(notebook))
        cells = content.get("cells", content.get("worksheets"))  # the latter before nbformat 4
        return None if cells is None else str(content["metadata"].get(RECORD, {}).get("edition", "1"))
    except (OSError, ValueError, RecursionError, KeyError, AttributeError, BuildError):
        return None


def _read_ledger(ledger: Path) -> dict:
    try:
        return read_json(ledger)
    except BuildError:
        return {}  # what a copy was made from is then not known, and no copy is called older


def _note(ledger: Path, name: str, content: str) -> None:
    made_from = _read_ledger(ledger) | {name: content}
    write_text(ledger, json.dumps(made_from, indent=1, sort_keys=True) + "\n")


def _write_new(path: Path, text: str) -> bool:
    """Write a file that is not there yet; False where somebody was quicker, whose file stays."""
    fresh = path.with_name(f".{path.name}.part{os.getpid()}")
    write_text(fresh, text)
    try:
        os.link(fresh, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    return True


def _shorten(course: Course, path: Path) -> str:
    return path.relative_to(course.root).as_posix() if path.is_relative_to(course.root) else str(path)
