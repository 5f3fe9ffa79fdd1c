"""The class report: one page for the browser and one table for a spreadsheet.

    write_report(course, results, out)      # out/index.html and out/class.csv

The page is one file: no script, nothing from the network. What comes from submissions reaches it through a
template that escapes everything (autoescape), and a policy in its head forbids scripts and foreign content.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from builder.course import Course, make_folder, write_text

from . import charts, facts, table, tally

TEMPLATES = Path(__file__).with_name("templates")
SIGNS = {"right": "✓", "off": "○", "named": "✗", "other": "≠", "crashed": "!", "unjudged": "?", "open": "·"}
NOTES = {"seed": None, "trust": False, "from": ""}
CARDS, LINES, STRUGGLING = 10, 30, 12  # mistakes with a card; lines of code on one; students in the list


@dataclass(frozen=True)
class Notebook:
    """What the page says of one notebook; slides: {id: (number, title, link or "")}."""

    number: str
    title: str
    tasks: dict
    rows: list
    slides: dict
    stopped: list


def write_report(course: Course, results: list[dict], out: Path, notes: dict | None = None):
    """Write the page and the table into the folder `out`; returns their paths.

    notes: what is said of the judging: seed, trust (no box), from (the folder).
    """
    make_folder(out)
    said = NOTES | (notes or {})
    said["source"] = tally.name(f"{said['from'] or ''}", 90, "")
    notebooks = [notebook_of(course, results, number, out) for number in known(course, results)]
    page, sheet = out / "index.html", out / "class.csv"
    write_text(page, render(notebooks, problems(results), said))
    write_text(sheet, "\ufeff" + table.table([(n.number, n.tasks, n.rows) for n in notebooks]))
    return page, sheet


def known(course: Course, results) -> list[str]:
    """The notebooks that were handed in and that the course has exercises for."""
    there = {path.name[:2] for path in course.source_paths()}
    return [number for number in tally.numbers(results) if number in there]


def notebook_of(course: Course, results, number: str, out: Path) -> Notebook:
    tasks = facts.tasks(course, number)
    rows = tally.rows(results, number, tasks)
    answered = facts.slides(course, number)
    slides = {id: (slide, title, link_to(out, link)) for id, (slide, title, link) in answered.items()}
    stopped = [
        (row.student, id, tasks[id].title, cell.label, cell.message)
        for row in rows for id, cell in row.cells.items() if cell.group == "unjudged"
    ]  # fmt: skip
    return Notebook(number, facts.title_of(course, number), tasks, rows, slides, stopped)


def link_to(out: Path, link: str) -> str:
    """The way from the report to a slide, where decks have been made beside it; else ""."""
    deck = link.partition("#")[0]
    for way in ("..", "../site"):
        if (out / way / deck).exists():
            return f"{way}/{link}"
    return ""


def problems(results) -> list[tuple[str, str, str]]:
    """(student, file, why) of what could not be judged at all."""
    listed = [
        (
            tally.name(r.get("student")),
            tally.name(r.get("file"), 90),
            tally.words(r["problem"]),
        )
        for r in results
        if r.get("problem")
    ]
    return sorted(listed, key=lambda row: tally.sort_key(row[0]))


def render(notebooks, unread, notes) -> str:
    """The page as text."""
    place = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
                        trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    place.filters |= {"breakable": breakable, "few": few, "quoted": quoted}
    place.globals |= dict(tally=tally, charts=charts, signs=SIGNS, groups=tally.GROUPS, cards=CARDS,
                          struggling_most=STRUGGLING)  # fmt: skip
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    return place.get_template("report.html.j2").render(
        notebooks=notebooks, unread=unread, notes=notes, style=style
    )


def breakable(text: str) -> Markup:
    """A name of code that may be broken behind its underscores and inside NamesLikeThis."""
    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=_)|(?<=[a-z])(?=[A-Z])", f"{text}"))


def few(code: str) -> str:
    """The first lines of a piece of code, and how many more there are."""
    lines = code.strip("\n").split("\n")
    if len(lines) > LINES:
        lines = [*lines[: LINES - 2], f"# and {len(lines) - LINES + 2} more lines"]
    return "\n".join(line[:160] for line in lines)


def quoted(text: str) -> Markup:
    """A sentence of check: what stands between backticks is code."""
    parts = [escape(part) for part in f"{text}".split("`")]
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(parts))
