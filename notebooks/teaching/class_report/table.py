"""The class as a table for a spreadsheet: a row for each student, a column for each exercise.

Whatever a student writes stays text there: a cell that a spreadsheet would read as a formula gets an
apostrophe in front, and lines, tabs and other control characters become blanks.
"""

import csv
import io

from . import tally

FORMULA = set("=+-@|%'\uff1d\uff0b\uff0d\uff20")  # the last four are full-width signs, read as formulas too


def cell(text) -> str:
    """A text as it may stand in a CSV file."""
    clean = " ".join(tally.words(f"{text}").split()).replace(";", ",")  # in some countries ; divides cells
    return f"'{clean}" if clean[:1] in FORMULA else clean


def table(notebooks) -> str:
    """The text of the CSV file. notebooks: [(number, tasks, rows)]; students of several are joined.

    Points have the functions and classes alone, one each; what was not judged has none. "attempted" counts
    tasks of every kind, whether right or not.
    """
    columns = [(number, id, task.title) for number, tasks, _ in notebooks for id, task in tasks.items()]
    worth = {number: len(tally.written_ids(tasks)) for number, tasks, _ in notebooks}
    students = {}
    for number, _, rows in notebooks:
        for row in rows:
            students.setdefault(row.key, {})[number] = row
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    parts = [f"{number}: points (of {most})" for number, most in worth.items()] if len(worth) > 1 else []
    head = ["student", f"points (of {sum(worth.values())})", *parts, "attempted", "of"]
    writer.writerow([*head, *(cell(f"{id} {title}") for _, id, title in columns)])
    named = [(next(iter(mine.values())).student, mine) for mine in students.values()]
    for student, mine in sorted(named, key=lambda pair: tally.sort_key(pair[0])):
        cells = [mine[number].cells[id] if number in mine else None for number, id, _ in columns]
        points = [mine[number].points(tasks) if number in mine else 0 for number, tasks, _ in notebooks]
        attempted = sum(c is not None and c.group != "open" for c in cells)
        counted = [sum(points), *(points if parts else []), attempted, len(cells)]
        writer.writerow([cell(student), *counted, *map(say, cells)])
    return out.getvalue()


def say(found) -> str:
    """What a cell of the table says: "right", "mistake: noise on top", "not handed in"."""
    if found is None:
        return "not handed in"
    group = {"named": "mistake", "other": "wrong", "unjudged": "not judged", "open": "not attempted"}
    label = "" if found.label == found.group else found.label
    return cell(": ".join(filter(None, (group.get(found.group, found.group), label))))
