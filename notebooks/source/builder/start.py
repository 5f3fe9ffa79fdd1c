"""The student's own copies of the student edition, in a folder that git ignores."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from .course import BuildError, Course, write_text

LEDGER = ".editions.json"  # which edition each copy was made from


def start(course: Course, into: Path, say=print) -> None:
    """Copy the student notebooks to `into`. A file that is there already is never touched."""
    notebooks = sorted(course.student.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise BuildError(f"no student notebooks in {course.student}: build them with `make editions`")
    into.mkdir(parents=True, exist_ok=True)
    ledger = into / LEDGER
    try:
        made_from = json.loads(ledger.read_text(encoding="utf-8")) if ledger.exists() else {}
    except ValueError:
        made_from = {}
    for notebook in notebooks:
        edition = hashlib.sha256(notebook.read_bytes()).hexdigest()
        copy = into / notebook.name
        if copy.exists():
            newer = made_from.get(notebook.name) != edition
            hint = "; the course has a newer one: rename yours and run this again to get it" if newer else ""
            say(f"kept   {_short(course, copy)} (your answers are as you left them{hint})")
            continue
        temporary = into / f".{notebook.name}.{os.getpid()}.part"
        shutil.copyfile(notebook, temporary)
        os.replace(temporary, copy)
        made_from[notebook.name] = edition
        say(f"new    {_short(course, copy)}")
    write_text(ledger, json.dumps(made_from, indent=1, sort_keys=True) + "\n")
    say(f"Work in {_short(course, into)}/; pulling a newer course does not touch it.")


def _short(course: Course, path: Path) -> str:
    return path.relative_to(course.root).as_posix() if path.is_relative_to(course.root) else str(path)
