"""TEACHING.md: its tables are those of the notebooks, its plans name what exists."""

import json
import re
from pathlib import Path

import toy_course
from builder import teaching
from builder.course import Course

COURSE = Course(Path(__file__).resolve().parents[1])
PAGE = COURSE.complete / "TEACHING.md"


def test_tables_are_those_of_the_notebooks():
    text = PAGE.read_text(encoding="utf-8")
    assert text == teaching.filled(COURSE, text), "run `make numbers`"


def test_every_notebook_has_its_tables():
    found = set(teaching.MARK.findall(PAGE.read_text(encoding="utf-8")))
    numbers = [path.name[:2] for path in COURSE.source_paths()]
    assert found == {(kind, number) for kind in ("sections", "mistakes") for number in numbers}


def plans():
    """The rows of the session plans, before the generated tables."""
    text = PAGE.read_text(encoding="utf-8").split("## The sections")[0]
    return [line for line in text.splitlines() if re.match(r"\| \d \|", line)]


def test_the_plans_have_four_and_eight_sessions():
    assert [line.split("|")[1].strip() for line in plans()] == [*"1234", *"12345678"]


def test_the_plans_name_exercises_that_exist():
    stubs = json.loads(COURSE.stubs.read_text(encoding="utf-8"))
    named = {name for line in plans() for name in re.findall(r"\b\d{1,2}\.\d\b", line)}
    assert named and named <= set(stubs)


PART = re.compile(r"(\d\d)(?: (up to|from|without|only) (.+?))? \((\d+)\)(?=;|$)")


def talk(part):
    """The minutes of one part of a session, from the decks: (said, found)."""
    number, way, names, said = part
    rows = teaching.sections(COURSE, number)
    titles, named = [row.title for row in rows], re.findall(r"\*(.+?)\*(?=, |$)", names)
    assert set(named) <= set(titles), f"{number} has no section {set(named) - set(titles)}"
    at = titles.index(named[0]) if named else len(titles)
    chosen = {
        "": rows, "up to": rows[:at], "from": rows[at:],
        "only": [row for row in rows if row.title in named],
        "without": [row for row in rows if row.title not in named],
    }[way]  # fmt: skip
    return int(said), sum(row.talk for row in chosen)


def test_the_plans_add_up_to_ninety_minutes():
    minutes = {}
    for path in COURSE.source_paths():
        minutes |= {name: m for row in teaching.sections(COURSE, path.name[:2]) for name, m in row.exercises}
    for line in plans():
        session, parts, tried, free = (cell.strip() for cell in line.split("|")[1:5])
        parts = PART.findall(parts)
        assert parts and all(said == found for said, found in map(talk, parts)), (session, parts)
        names, said = re.match(r"([\d., ]+) \((\d+)\)", tried).groups()
        assert sum(minutes[name] for name in names.split(", ")) == int(said), (session, tried)
        assert sum(int(part[3]) for part in parts) + int(said) + int(free) == 90, session


SOURCE = """\
# %% [markdown] slideshow={"slide_type": "slide"}
# # A toy
#
# <!--slide 3 min
# # A toy
#
# Notes:
# Ask: why?
# -->

# %% [markdown] exercise_text="1.1" slideshow={"slide_type": "slide"}
# That was it. Next:
#
# ## A line
#
# Difficulty: ●●○○○, 7 minutes
#
# <!--slide 4 min
# ## A line
#
# Notes:
# Ask: how?
# -->

# %% slideshow={"slide_type": "-"}
train(steps=1000)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# ## References
#
# <!--slide 2 min
# ## The end
#
# Notes:
# Ask: what?
# -->
"""


def test_minutes_and_seconds_are_added_up_by_section(tmp_path):
    course = toy_course.make(tmp_path, SOURCE)
    seconds = {"01": {"all": 70, "cells": {"a-line-1": 61.2}}}
    (course.results / "notebook_seconds.json").write_text(json.dumps(seconds))
    table = teaching.sections_table(course, "01").splitlines()[2:]
    assert table == [
        "| Opening | 1 | 3 |  |  |",
        "| A line | 1 | 4 | 1.1 (7) | 61 s; have run (one cell: 61 s) |",
        "| What we learned | 1 | 2 |  |  |",
        "| **together** | **3** | **9** | **7** | **70 s in all** |",
    ]
