"""Numbers typed in prose, tied to data/results.

    <!--r:points.board.inside|.0%-->94%<!--/-->

is the value of ["board"]["inside"] in data/results/points.json in the format .0%. The comments do not show
when the text is rendered. Keys that are digits index into lists. In a table write ; for |, which would end
the cell: <!--r:points.board.inside;.0%-->.
"""

from __future__ import annotations

import re

from .course import BuildError, Course, read_json, read_text, write_text

MARK = re.compile(r"<!--r:([\w.-]+)([|;])([^>|;]*?)-->(.*?)<!--/-->", re.DOTALL)
BROKEN = re.compile(r"<!--\s*r:")


def texts(course: Course) -> list:
    """The files whose prose may hold such numbers: the sources and the markdown files."""
    return sorted(course.sources.glob("[0-9][0-9]_*.py")) + course.markdown()


def value(course: Course, key: str, form: str) -> str:
    """The number `key` of data/results in the format `form`. Raises BuildError where there is none."""
    name, *steps = key.split(".")
    path = course.results / f"{name}.json"
    if not path.exists():
        raise BuildError(f"{key}: there is no {path.relative_to(course.root)}; make train writes it")
    node = read_json(path)
    for step in steps:
        try:
            node = node[int(step)] if isinstance(node, list) else node[step]
        except (KeyError, IndexError, ValueError, TypeError):
            there = ", ".join(node) if isinstance(node, dict) else type(node).__name__
            raise BuildError(f"{key}: no {step!r} in {path.name} (there: {there})") from None
    try:
        return format(node, form)
    except (ValueError, TypeError) as err:
        raise BuildError(f"{key}: the format {form!r} does not fit {node!r} ({err})") from None


def problems(course: Course, text: str) -> list[str]:
    """Every marked number in `text` that differs from its result, cannot be found, or is marked wrongly."""
    said, marks = [], list(MARK.finditer(text))
    if len(BROKEN.findall(text)) != len(marks):
        said.append("a number is marked wrongly; write <!--r:FILE.key|format-->number<!--/-->")
    said += [
        f"in a table write ; for | in {row[:40]}..., else the mark ends the cell"
        for row in re.findall(r"(?m)^(?:# )?(\|.*<!--r:[\w.-]+\|.*)$", text)
    ]
    for mark in marks:
        key, _, form, typed = mark.groups()
        try:
            now = value(course, key, form)
        except BuildError as err:
            said.append(str(err))
            continue
        if typed != now:
            said.append(f"{key}: the text says {typed!r}, data/results says {now!r}")
    return said


def refill(course: Course) -> list[str]:
    """Write the numbers of data/results into every marked place; returns the names of changed files."""
    changed = []
    for path in texts(course):
        text = read_text(path)
        new = MARK.sub(lambda m: f"<!--r:{m[1]}{m[2]}{m[3]}-->{value(course, m[1], m[3])}<!--/-->", text)
        if write_text(path, new):
            changed.append(str(path.relative_to(course.root)))
    return changed
