"""The tables of notebooks/teaching/NN.md: sections with their minutes, each exercise's common mistakes.

    <!--sections:01--> ... <!--/sections-->   what the sections of notebook 01 take, person and machine
    <!--mistakes:01--> ... <!--/mistakes-->   the mistakes that its exercises recognise, and the slide to show
    <!--pages--> ... <!--/pages-->            in TEACHING.md: the page and the quiz of each notebook
    <!--tasks:write-->58<!--/tasks-->         how many tasks of a kind the course has; tasks:all, of all kinds

Everything between two such marks is written from the sources' slides and exercises, helpers/exercises and
data/results/notebook_seconds.json. What stands around the marks is left alone.
"""

from __future__ import annotations

import importlib
import re
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from .course import BuildError, Course, read_text, write_text
from .editions import cell_ids
from .execute import read_seconds
from .fingerprint import tasks
from .slides import DEBRIEFING
from .source import exercises, read_source

MARK = re.compile(r"<!--(sections|mistakes):(\d\d)-->\n.*?<!--/\1-->", re.DOTALL)
ANSWERS = re.compile(r"(?m)^Answers (\d[\d., ]*)$")
PAGES = re.compile(r"<!--pages-->\n.*?<!--/pages-->", re.DOTALL)
COUNT = re.compile(r"<!--tasks:(\w+)-->\d+<!--/tasks-->")
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


class Place(NamedTuple):
    """A slide of a deck: its number there, counted from 1; its title; its address from the site's root."""

    slide: int
    title: str
    link: str


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
    head = "| section | slides | talk, min (estimated) | exercises, min (estimated) | machine (timed) |"
    lines = [head, "|---|---|---|---|---|"]
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
    lines = ["| exercise | the first mistakes that its check names | slide to show |", "|---|---|---|"]
    places = slides_of(course, number)
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
        slide = _name_place(places[exercise.id]) if exercise.id in places else ""
        lines.append(f"| {exercise.id} {head} | {'; '.join(names[:shown])} | {slide} |")
    return "\n".join(lines)


def pages_table(course: Course) -> str:
    """A row a notebook: its page here, minutes of talk and tasks, its quiz on paper and for Moodle."""
    lines = [
        "| page | talk, min (estimated) | tasks, min (estimated) | quiz | for Moodle |",
        "|---|---|---|---|---|",
    ]
    for path in sorted(course.teaching.glob("[0-9][0-9].md")):
        number, rows = path.stem, sections(course, path.stem)
        title = read_text(path).partition("\n")[0].partition(": ")[2] or number
        quiz, moodle = (course.teaching / f"quiz_{number}{kind}" for kind in (".md", ".gift"))
        cells = [f"[{number} {title}](teaching/{path.name})", str(sum(row.talk for row in rows))]
        cells.append(str(sum(minutes for row in rows for _, minutes in row.exercises)))
        words = "ten questions" if moodle.exists() else "to be written"
        cells.append(f"[{words}](teaching/{quiz.name})" if quiz.exists() else "")
        cells.append(f"[{moodle.name}](teaching/{moodle.name})" if moodle.exists() else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def count_tasks(course: Course) -> Counter:
    """Kind -> how many tasks of it the notebooks have together; "all" -> of all kinds."""
    found = [exercises(read_source(path)).values() for path in course.source_paths()]
    kinds = Counter(exercise.kind for each in found for exercise in each)
    return kinds | Counter(all=kinds.total())


# Slides ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """A slide of the lecture: its place, its notes, and the place of its cell in the source."""

    place: Place
    notes: str
    cell: int


def lecture(course: Course, number: str) -> list[Shown]:
    """The slides of notebook `number` in the order of the lecture.

    A slide is counted in its own deck, the lecture's or its debriefing's. Its address is what reveal.js puts
    behind that of the deck: #/0 is the first one.
    """
    found, counts = [], Counter()
    for at, cell in enumerate(read_source(course.source_paths(number)[0])):
        for slide in cell.get("slides", []):
            text, here = slide.text or cell.source, counts[slide.deck]
            counts[slide.deck] += 1
            title = re.match(r"#* *(.*)", text)[1]
            deck = f"{number}_{slide.deck}" if slide.deck else number
            place = Place(here + 1, title, f"slides/{deck}.html#/{here}")
            found.append(Shown(place, slide.notes, at))
    return found


def slides_of(course: Course, number: str) -> dict[str, Place]:
    """Exercise id -> the slide to go back to when its mistakes are spoken of; {} where there are no slides.

    That is the slide whose notes say "Answers 1.4, 1.5."; without such a note the first one at or behind the
    task in the notebook. The closing slide is never it.
    """
    cells, slides = read_source(course.source_paths(number)[0]), lecture(course, number)[:-1]
    at = {c.metadata["exercise_text"]: i for i, c in enumerate(cells) if "exercise_text" in c.metadata}
    noted = {id: slide.place for slide in slides for id in _answered(slide.notes)}
    found = {}
    for id in exercises(cells) if slides else ():
        behind = (slide.place for slide in slides if slide.cell >= at.get(id, 0))
        found[id] = noted.get(id) or next(behind, slides[-1].place)
    return found


def _answered(notes: str) -> list[str]:
    """The exercises that a slide answers, by its notes."""
    return [id for line in ANSWERS.findall(notes) for id in re.findall(r"\d+\.\d+", line)]


# Writing --------------------------------------------------------------------------------------------------


def _name_place(place: Place) -> str:
    """ "slide 6", or "debriefing, slide 6" in the second deck."""
    return f"{DEBRIEFING}, slide {place.slide}" if DEBRIEFING in place.link else f"slide {place.slide}"


def _specs(course: Course, number: str) -> dict:
    """The exercises of helpers/exercises/nbNN.py by id."""
    try:
        return {e.id: e for e in importlib.import_module(f"helpers.exercises.nb{number}").EXERCISES}
    except (Exception, SystemExit) as err:
        spec, frames = course.exercise_specs(number).name, traceback.extract_tb(err.__traceback__)
        line = [f", line {frame.lineno}" for frame in frames if frame.filename.endswith(spec)][-1:]
        raise BuildError(f"helpers/exercises/{spec}{''.join(line)}: {type(err).__name__}: {err}") from err


def filled(course: Course, text: str) -> str:
    """`text` with every marked table and count written anew."""
    tables = {"sections": sections_table, "mistakes": mistakes_table}

    def table(mark) -> str:
        kind, number = mark.groups()
        return f"<!--{kind}:{number}-->\n{tables[kind](course, number)}\n<!--/{kind}-->"

    text = MARK.sub(table, text)
    if COUNT.search(text):
        kinds = count_tasks(course)
        text = COUNT.sub(lambda mark: f"<!--tasks:{mark[1]}-->{kinds[mark[1]]}<!--/tasks-->", text)
    return PAGES.sub(lambda mark: f"<!--pages-->\n{pages_table(course)}\n<!--/pages-->", text)


def refill(course: Course) -> list[str]:
    """Write the tables and counts of the pages beside the notebooks; returns the names of changed files."""
    changed = []
    for path in course.markdown():
        text = read_text(path)
        marked = (mark.search(text) for mark in (MARK, PAGES, COUNT))
        if any(marked) and write_text(path, filled(course, text)):
            changed.append(path.relative_to(course.root).as_posix())
    return changed
