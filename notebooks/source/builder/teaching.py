"""The tables of notebooks/TEACHING.md: sections with their minutes, and each exercise's common mistakes.

    <!--sections:01--> ... <!--/sections-->   what the sections of notebook 01 take, person and machine
    <!--mistakes:01--> ... <!--/mistakes-->   the mistakes that its exercises recognise

Everything between two such marks is written from the sources' slides and exercises, helpers/exercises and
data/results/notebook_seconds.json.
"""

from __future__ import annotations

import importlib
import re
import traceback
from dataclasses import dataclass, field

from .course import BuildError, Course, read_text, write_text
from .editions import cell_ids
from .execute import read_seconds
from .fingerprint import tasks
from .source import exercises, read_source

MARK = re.compile(r"<!--(sections|mistakes):(\d\d)-->\n.*?<!--/\1-->", re.DOTALL)
MINUTES = re.compile(r"Difficulty: [●○]+[,·\s]+(\d+) minutes")
LONG = 5  # seconds of one cell from which it is better run before class
SHOWN = 4  # mistakes an exercise


@dataclass
class Section:
    """One ## section of a notebook: what it takes in class."""

    title: str
    slides: int = 0
    talk: int = 0
    exercises: list = field(default_factory=list)  # (id, minutes)
    seconds: float = 0.0
    slowest: float = 0.0  # seconds of its slowest cell


def sections(course: Course, number: str) -> list[Section]:
    """The sections of notebook `number` in order, without those that hold nothing for a class."""
    cells = read_source(course.source_paths(number)[0])
    taken, found = read_seconds(course).get(number, {}).get("cells", {}), [Section("Opening")]
    for cell, cell_id in zip(cells, cell_ids(cells), strict=True):
        if cell.cell_type == "markdown":
            opened = [Section(title.strip()) for title in re.findall(r"(?m)^## +(.+)$", cell.source)]
            # a cell may close one section with prose and open the next, or hold the closing sections together
            home = opened[0] if cell.source.startswith("## ") else (found + opened)[-1]
            found += opened
            home.slides += len(cell.slides)
            home.talk += sum(slide.minutes for slide in cell.slides)
            if minutes := MINUTES.search(cell.source):
                home.exercises.append((cell.metadata.get("exercise_text"), int(minutes[1])))
        elif cell_id in taken:
            found[-1].seconds += taken[cell_id]
            found[-1].slowest = max(found[-1].slowest, taken[cell_id])
    return [s for s in found if s.slides or s.exercises or s.seconds >= LONG]


def sections_table(course: Course, number: str) -> str:
    """The table of what the sections take, as markdown."""
    lines = ["| section | slides | talk, min | exercises, min | machine |", "|---|---|---|---|---|"]
    rows = sections(course, number)
    for row in rows:
        tried = ", ".join(f"{name} ({minutes})" for name, minutes in row.exercises)
        waits = f"{row.seconds:.0f} s" if row.seconds >= LONG else ""
        if row.slowest >= LONG:
            waits += f"; have run (one cell: {row.slowest:.0f} s)"
        lines.append(f"| {row.title} | {row.slides or ''} | {row.talk or ''} | {tried} | {waits} |")
    slides, talk = sum(row.slides for row in rows), sum(row.talk for row in rows)
    tried = sum(minutes for row in rows for _, minutes in row.exercises)
    whole = read_seconds(course).get(number, {}).get("all")
    waits = f"**{whole} s in all**" if whole is not None else ""
    lines.append(f"| **together** | **{slides}** | **{talk}** | **{tried}** | {waits} |")
    return "\n".join(lines)


def mistakes_table(course: Course, number: str) -> str:
    """The exercises of a notebook and the first mistakes that each recognises, as markdown.

    Of a hunt stand all its cases there, each with its line.
    """
    cells = read_source(course.source_paths(number)[0])
    specs, built = _specs(course, number), tasks(course, number)
    lines = ["| exercise | common mistakes, as its check names them |", "|---|---|"]
    for exercise in exercises(cells).values():
        if exercise.id not in specs:
            raise BuildError(f"helpers/exercises/nb{number}.py has no exercise {exercise.id}")
        head, entry = f"`{exercise.name}`", built.get(exercise.id, {})
        if exercise.kind != "write":
            if "kind" not in entry:
                raise BuildError(f"mistakes.json has no {exercise.kind} {exercise.id}: run `make editions`")
            head = f"{entry.get('title', entry['name'])} ({exercise.kind})"
        if exercise.kind == "hunt":
            names = [f"line {line}: {name}" for name, line, *_ in entry["cases"]]
        elif exercise.kind == "predict":
            names = [name for name, *_ in entry["mistakes"]]
        else:
            names = [mistake.name for mistake in specs[exercise.id].mistakes]
        shown = len(names) if exercise.kind == "hunt" else SHOWN
        more = f"; and {len(names) - shown} more" if len(names) > shown else ""
        lines.append(f"| {exercise.id} {head} | {'; '.join(names[:shown])}{more} |")
    return "\n".join(lines)


def _specs(course: Course, number: str) -> dict:
    """The exercises of helpers/exercises/nbNN.py by id."""
    try:
        return {e.id: e for e in importlib.import_module(f"helpers.exercises.nb{number}").EXERCISES}
    except (Exception, SystemExit) as err:
        spec, frames = course.exercise_specs(number).name, traceback.extract_tb(err.__traceback__)
        line = [f", line {frame.lineno}" for frame in frames if frame.filename.endswith(spec)][-1:]
        raise BuildError(f"helpers/exercises/{spec}{''.join(line)}: {type(err).__name__}: {err}") from err


def filled(course: Course, text: str) -> str:
    """`text` with every marked table written anew."""
    tables = {"sections": sections_table, "mistakes": mistakes_table}

    def table(mark) -> str:
        kind, number = mark.groups()
        return f"<!--{kind}:{number}-->\n{tables[kind](course, number)}\n<!--/{kind}-->"

    return MARK.sub(table, text)


def refill(course: Course) -> list[str]:
    """Write the tables of notebooks/TEACHING.md; returns the names of changed files."""
    path = course.complete / "TEACHING.md"
    if not path.exists():
        return []
    text = read_text(path)
    return [path.relative_to(course.root).as_posix()] if write_text(path, filled(course, text)) else []
