"""Teaching pages: their tables are those of the notebooks, the plans name what exists and add up."""

import ast
import importlib
import inspect
import json
import re
from functools import cache
from pathlib import Path

import pytest

import toy_course
from builder import teaching
from builder.course import Course
from builder.source import exercises, read_source

COURSE = Course(Path(__file__).resolve().parents[1])
NUMBERS = [path.name[:2] for path in COURSE.source_paths()]
PLANS = COURSE.teaching / "plans.md"
PROJECTS = (COURSE.teaching / "projects.md").read_text(encoding="utf-8")


def page_of(number: str) -> str:
    return (COURSE.teaching / f"{number}.md").read_text(encoding="utf-8")


# Tables -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", NUMBERS)
def test_tables_are_those_of_the_notebooks(number):
    text = page_of(number)
    assert text == teaching.filled(COURSE, text), "run `make numbers`"


@pytest.mark.parametrize("number", NUMBERS)
def test_every_notebook_has_its_tables(number):
    assert teaching.MARK.findall(page_of(number)) == [("sections", number), ("mistakes", number)]


@pytest.mark.parametrize("name", ["TEACHING.md", "teaching/grading.md"])
def test_the_pages_say_how_many_tasks_there_are(name):
    """Of each kind, and together; whatever a page says beside a count, the count is that of the sources."""
    text, kinds = (COURSE.complete / name).read_text(encoding="utf-8"), teaching.count_tasks(COURSE)
    said = {(kind, int(number)) for kind, number in re.findall(r"<!--tasks:(\w+)-->(\d+)<", text)}
    assert len(minutes_of_tasks()) == kinds["all"], "a task does not say how many minutes it takes"
    assert {"all", "write"} <= {kind for kind, _ in said} and said <= {*kinds.items()}, "run `make numbers`"
    wrong = re.sub(r"(<!--tasks:\w+-->)\d+", r"\g<1>0", text)
    assert wrong != text and teaching.filled(COURSE, wrong) == text


def test_nothing_stands_in_step_by_hand():
    """No other page holds such a table, and what stands around one is left alone."""
    marked = [path.stem for path in COURSE.markdown() if teaching.MARK.search(path.read_text("utf-8"))]
    assert marked == NUMBERS
    text = "before\n<!--sections:01-->\nold\n<!--/sections-->\nbehind\n"
    filled = teaching.filled(COURSE, text)
    assert filled.startswith("before\n") and filled.endswith("\nbehind\n") and "old" not in filled


@pytest.mark.parametrize("number", NUMBERS)
def test_every_task_has_a_slide_to_go_back_to(number):
    cells = read_source(COURSE.source_paths(number)[0])
    places, slides = teaching.slides_of(COURSE, number), teaching.lecture(COURSE, number)
    assert list(places) == list(exercises(cells))
    assert set(places.values()) <= {slide.place for slide in slides[:-1]}
    for place in places.values():
        deck, here = re.fullmatch(r"slides/(\w+)\.html#/(\d+)", place.link).groups()
        assert int(here) + 1 == place.slide and deck in (number, f"{number}_debriefing") and place.title


# Plans ------------------------------------------------------------------------------------------------------


def plans() -> dict[str, list[dict[str, str]]]:
    """Heading -> the rows of its plan: {name of the column, without its unit: text of the cell}."""
    found = {}
    for part in PLANS.read_text(encoding="utf-8").split("\n## ")[1:]:
        table = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
        names = [cell.partition(",")[0].strip() for cell in table[0]] if table else []
        rows = [[cell.strip() for cell in row] for row in table[2:]]
        found[part.splitlines()[0]] = [dict(zip(names, row, strict=True)) for row in rows]
    return {heading: rows for heading, rows in found.items() if rows}


FOUR, EIGHT, TEN, SEMESTER, TERM = plans().values()
ROWS = [
    pytest.param(row, id=f"{len(plan)}-{next(iter(row.values()))}")
    for plan in plans().values()
    for row in plan
]
PART = re.compile(r"(\d\d)(?: (up to|from|without|only) (.+?))? \((\d+)\)(?=;|$)")
QUIZ = re.compile(r"quiz (\d\d) \(15\)")
TASKS = re.compile(r"^([\d., to]+) \((\d+)\)")


@cache
def sections(number: str):
    return teaching.sections(COURSE, number)


@cache
def minutes_of_tasks() -> dict[str, int]:
    rows = [row for number in NUMBERS for row in sections(number)]
    return {name: minutes for row in rows for name, minutes in row.exercises}


def talk(part):
    """The minutes of one part of a session, from the decks: (said, found)."""
    number, way, names, said = part
    rows = sections(number)
    titles, named = [row.title for row in rows], re.findall(r"\*(.+?)\*(?=, |$)", names)
    assert set(named) <= set(titles), f"{number} has no section {set(named) - set(titles)}"
    at = titles.index(named[0]) if named else len(titles)
    chosen = {
        "": rows, "up to": rows[:at], "from": rows[at:],
        "only": [row for row in rows if row.title in named],
        "without": [row for row in rows if row.title not in named],
    }[way]  # fmt: skip
    return int(said), sum(row.talk for row in chosen)


def span(text: str) -> list[str]:
    """ "1.4 to 1.6" is 1.4, 1.5 and 1.6."""
    first, _, last = text.partition(" to ")
    if not last:
        return [first]
    number, low = first.split(".")
    assert last.startswith(f"{number}."), text
    return [f"{number}.{n}" for n in range(int(low), int(last.split(".")[1]) + 1)]


def tasks(text: str) -> list[str]:
    """The tasks that a cell begins with; their minutes must be those of the notebooks."""
    found = TASKS.match(text)
    if not found:
        return []
    names, minutes = [name for part in found[1].split(", ") for name in span(part)], minutes_of_tasks()
    assert sum(minutes[name] for name in names) == int(found[2]), text
    return names


def test_the_plans_have_four_eight_and_ten_sessions_and_a_semester_of_twelve_to_fourteen_weeks():
    assert [row["session"] for row in FOUR] == [*"1234"]
    assert [row["session"] for row in EIGHT] == [*"12345678"]
    assert [row["session"] for row in TEN] == [*"123456789", "10"] and TEN[:7] == EIGHT[:7]
    assert [int(row["week"]) for row in SEMESTER] == list(range(1, len(SEMESTER) + 1))
    assert 12 <= len(SEMESTER) <= 14


@pytest.mark.parametrize("row", ROWS)
def test_the_plans_add_up_to_ninety_minutes(row):
    parts = PART.findall(row["talk"])
    assert row["talk"].count("(") == len(parts), row["talk"]
    assert all(said == found for said, found in map(talk, parts)), [talk(part) for part in parts]
    tasks(row["in class"])
    assert int(row["free"]) >= 0
    timed = " ".join([row["talk"], row["in class"], row.get("also", "")])
    assert sum(map(int, re.findall(r"\((\d+)\)", timed))) + int(row["free"]) == 90


def test_the_script_of_the_first_session_is_a_session_of_the_plan():
    """Its minutes follow each other, end at 90, and are those of session 1 of the four."""
    script = (COURSE.teaching / "first_session.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| (\d):(\d\d) \| (\d+) \| ([^|]+) \|", script)
    starts = [60 * int(hour) + int(minute) for hour, minute, *_ in rows]
    ends = [start + int(took) for start, (_, _, took, _) in zip(starts, rows, strict=True)]
    assert starts == [0, *ends[:-1]] and ends[-1] == 90
    named = set(
        re.findall(r"\b1\.\d+\b", " ".join(what for *_, what in rows).replace("1.4 and 1.5 are for home", ""))
    )
    assert named == set(tasks(FOUR[0]["in class"]))


def test_the_plans_name_exercises_that_exist():
    cells = [cell for plan in plans().values() for row in plan for cell in row.values()]
    named = {name for cell in cells for name in re.findall(r"\b\d{1,2}\.\d{1,2}\b", cell)}
    assert named and named <= set(minutes_of_tasks())


def test_a_semester_has_every_task_and_every_quiz_once():
    done = [name for row in SEMESTER for key in ("in class", "exercises") for name in tasks(row[key])]
    assert sorted(done) == sorted(minutes_of_tasks())
    asked = re.findall(QUIZ, " ".join(f"{row['also']} {row['exercises']}" for row in SEMESTER))
    assert asked == NUMBERS


def weeks_of_talk(plan) -> dict[str, int]:
    """Notebook -> the week in which its last section is taught."""
    return {part[0]: int(row["week"]) for row in plan for part in PART.findall(row["talk"])}


@pytest.mark.parametrize("plan", [SEMESTER, TERM], ids=["semester", "term"])
def test_a_quiz_stands_behind_all_that_it_asks(plan):
    """In a later week, or in the exercise class of the same."""
    taught = weeks_of_talk(SEMESTER[:8]) | weeks_of_talk(plan)
    for row in plan:
        assert all(taught[number] < int(row["week"]) for number in re.findall(QUIZ, row["also"]))
        assert all(taught[number] <= int(row["week"]) for number in re.findall(QUIZ, row["exercises"]))


def test_a_quiz_has_the_minutes_in_the_plans_that_it_says_itself():
    for path in COURSE.teaching.glob("quiz_*.md"):
        said = re.search(r"about (\w+)\s+minutes", path.read_text(encoding="utf-8").split("\n## ")[0])
        assert said is None or said[1] == "fifteen", path.name
    assert len(re.findall(r"quiz \d\d \(", PLANS.read_text("utf-8"))) == len(
        re.findall(QUIZ, PLANS.read_text("utf-8"))
    )


@pytest.mark.parametrize("plan", [FOUR, EIGHT, TEN], ids=["four", "eight", "ten"])
def test_a_plan_of_sessions_has_each_task_once_in_class_or_at_home(plan):
    done = [
        name for row in plan for key in ("in class", "at home before the next") for name in tasks(row[key])
    ]
    whole = {name.partition(".")[0] for name in done}
    assert sorted(done) == sorted(name for name in minutes_of_tasks() if name.partition(".")[0] in whole)


def test_a_project_begins_when_its_notebooks_have_been_taught():
    """The first steps in the plan agree with the table of the projects, and that with the lectures."""
    rows = re.findall(r"(?m)^\| (\d) \| [^|]+ \| ([^|]+) \| (\d+) \|", PROJECTS)
    assert [row[0] for row in rows] == [*"12345678"]
    taught = weeks_of_talk(SEMESTER)
    for _, needs, week in rows:
        numbers = re.findall(r"\d\d", needs)
        used = range(int(numbers[0]), int(numbers[1]) + 1) if " to " in needs else map(int, numbers)
        assert int(week) >= max(taught[f"{n:02}"] for n in [*used, *map(int, numbers)]), needs
    begun = {}
    for row in SEMESTER:
        for words in re.findall(r"first step of projects? ([\d, and]+)", row["exercises"]):
            begun |= dict.fromkeys(re.findall(r"\d", words), int(row["week"]))
    assert all(begun[name] >= int(week) for name, _, week in rows) and len(begun) == 8


def test_every_table_says_which_minutes_are_estimated():
    assert (
        PLANS.read_text(encoding="utf-8").count("| talk, min (estimated) | in class, min (estimated) |") == 5
    )
    head = teaching.sections_table(COURSE, "01").partition("\n")[0]
    assert head.count("(estimated)") == 2 and head.endswith("machine (timed) |")


# Projects ---------------------------------------------------------------------------------------------------

FIRST_STEPS = re.findall(r"```python\n(.*?)```", PROJECTS, re.DOTALL)


def imported(tree) -> dict:
    """Name -> module, of those of helpers/ that a piece of code imports."""
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "helpers"]
    names = [alias.name for node in froms for alias in node.names]
    return {name: importlib.import_module(f"helpers.{name}") for name in names}


def test_there_are_eight_projects_each_with_a_first_step():
    assert len(re.findall(r"(?m)^## \d\. ", PROJECTS)) == len(FIRST_STEPS) == 8
    for words in ("Question.", "Data.", "First step.", "A good result measures", "It fails when"):
        assert PROJECTS.count(f"**{words}**") == 8, words


@pytest.mark.parametrize("code", FIRST_STEPS, ids=range(1, len(FIRST_STEPS) + 1))
def test_what_a_first_step_calls_exists_and_takes_what_it_is_given(code):
    tree = ast.parse(code)
    modules, calls = imported(tree), 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = modules.get(ast.unparse(node.func.value))
            if owner:
                keywords = dict.fromkeys(word.arg for word in node.keywords)
                inspect.signature(getattr(owner, node.func.attr)).bind(*node.args, **keywords)
                calls += 1
    assert calls > 3
    for name in re.findall(r'load_model\("(\w+)"', code):
        assert (COURSE.root / "data" / "checkpoints" / f"{name}.safetensors").exists()


def test_what_the_text_of_the_projects_names_exists():
    for module, name in re.findall(
        r"`(data|metrics|classifiers|sampling|models|flow|repair)\.(\w+)", PROJECTS
    ):
        assert hasattr(importlib.import_module(f"helpers.{module}"), name), f"{module}.{name}"
    named = set(re.findall(r"exercise (\d+\.\d+)", PROJECTS))
    assert named and named <= set(minutes_of_tasks())


# Links ------------------------------------------------------------------------------------------------------

ROOM = [COURSE.complete / "TEACHING.md", *sorted(COURSE.teaching.glob("*.md"))]


@pytest.mark.parametrize("path", ROOM, ids=lambda path: path.stem)
def test_every_link_to_a_file_leads_somewhere(path):
    text = re.sub(r"(?s)```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)\s#]+)", text):
        assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_entrance_leads_to_every_page_and_has_a_row_a_notebook():
    text = (COURSE.complete / "TEACHING.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"\]\((teaching/[\w.]+)\)", text))
    there = {f"teaching/{path.name}" for path in COURSE.teaching.glob("*") if path.suffix in (".md", ".gift")}
    assert targets == there


# A made-up notebook -----------------------------------------------------------------------------------------


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
