"""What a task's cell needs: its own statements, the course's given code and references, own helpers.

A task is judged alone. A name that its cell does not define is the course's where the course has it: an
import, given code, the reference of another task, from the complete edition, never the student's. Else it is
a definition of another cell of the student's. Nothing is executed here.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from helpers.exercises import mine, patches
from helpers.exercises.part import BUILT_IN, DEFINITION, first_line, is_check, is_taken, names_of, names_taken

from .extract import Cell, HandIn, Submission, parse, read_cells

KEPT = (
    ast.Assign | ast.AnnAssign | ast.If | ast.Try
)  # computed by the notebook, but not by a loop or a training


@dataclass
class Statement:
    """A statement of the course: in which cell it stands, what it makes, what it takes."""

    cell: int
    node: ast.stmt
    made: set[str]

    @property
    def computed(self):
        return not is_taken(self.node)

    @property
    def text(self):
        return ast.unparse(self.node)


@dataclass
class Frame:
    """What the course defines beside a notebook's tasks. places: {id: the cell in which it is handed in}."""

    statements: list[Statement]
    places: dict[str, int]

    def find(self, id: str, name: str, own: str) -> Statement | None:
        """What makes a name for a task: the last statement up to the task's cell."""
        place = self.places.get(id, 10**6)
        makes = (s for s in reversed(self.statements) if name in s.made and s.cell <= place)
        return next((s for s in makes if own not in s.made), None)

    def give(self, id: str, own: str, wanted: set[str]) -> list[list]:
        """[[text, whether it is computed]] in order, with all the wanted names; own: the task's name."""
        taken, waiting, seen = [], sorted(wanted), set()
        while waiting:
            name = waiting.pop()
            if name in seen or name == own:
                continue
            seen.add(name)
            found = self.find(id, name, own)
            if found is not None and found not in taken:
                taken.append(found)
                waiting += sorted(names_taken(found.text) - BUILT_IN)
        taken.sort(key=self.statements.index)
        return [[s.text, s.computed] for s in taken]


@cache
def frame_of(notebook: Path) -> Frame:
    """The frame of a complete edition."""
    cells, places, statements = read_cells(notebook.read_text(encoding="utf-8")), {}, []
    for number, cell in enumerate(cells):
        for node in cell.body or ():
            if is_check(node):
                for id in re.findall(r"""\(\s*["'](\d+\.\d+)["']""", ast.unparse(node)):
                    places.setdefault(id, number)
            elif is_taken(node) or isinstance(node, KEPT):
                statements.append(Statement(number, node, names_of(node) or bound_in(node)))
    return Frame(statements, places)


@cache
def frame_of_parts() -> Frame:
    """The frame of a mine.py: what is given there, and the references."""
    statements = []
    for number, piece in enumerate(mine.template()):
        text = mine.reference(piece.id).source if piece.id else piece.text
        for node in parse(text).body or ():
            statements.append(Statement(number, node, names_of(node)))
    for node in ast.parse("from helpers.exercises import mine\nmy = mine.references()").body:
        statements.append(Statement(0, node, names_of(node)))
    return Frame(statements, {})


def bound_in(node) -> set[str]:
    """The names that a compound statement makes, functions and imports inside it too."""
    return {name for part in ast.walk(node) if isinstance(part, ast.stmt) for name in names_of(part)}


# A student's cell ---------------------------------------------------------------------------------


@dataclass
class Work:
    """What runs in the box for a task. given: the course's; earlier: from other cells; text: the cell's."""

    given: list[list]
    earlier: list[str]
    text: str


def prepare(submission: Submission, task: HandIn, frame: Frame) -> Work:
    """What a hand-in needs, and from where."""
    cell, own = submission.cells[task.cell], patches._find(task.id).name
    text, open_names = take(cell, names_taken(task.hand_in) - BUILT_IN)
    earlier, given, waiting, seen = [], set(), sorted(open_names), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name != own and frame.find(task.id, name, own):
            given.add(name)
            continue
        if found := find_elsewhere(submission, task.cell, name):
            earlier.insert(0, found)
            waiting += sorted(names_taken(found) - BUILT_IN)
    if submission.is_parts:
        earlier = []
    return Work(frame.give(task.id, own, given), list(dict.fromkeys(earlier)), text)


def take(cell: Cell, wanted: set[str]) -> tuple[str, set[str]]:
    """(the cell without what the wanted names do not need, names that it takes from elsewhere)."""
    nodes = [n for n in cell.body or () if not is_check(n)]
    made = [(n, {n.name} if isinstance(n, DEFINITION) else bound_in(n)) for n in nodes]
    kept, waiting, open_names, seen = [], sorted(wanted), set(), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        makers = [n for n, names in made if name in names]
        if not makers:
            open_names.add(name)
        for node in makers:
            if node not in kept:
                kept.append(node)
                waiting += sorted(names_taken(ast.unparse(node)) - BUILT_IN)
    return keep_lines(cell, kept), open_names


def keep_lines(cell: Cell, kept: list) -> str:
    """The text of a cell with other statements' lines empty, so that line numbers stay."""
    rows = {
        node: set(range(first_line(node), (node.end_lineno or node.lineno) + 1)) for node in cell.body or ()
    }
    wanted = {row for node in kept for row in rows[node]}
    shared = any(rows[node] & wanted for node in rows if node not in kept)
    if shared:
        return "\n\n".join(ast.unparse(node) for node in sorted(kept, key=lambda n: (n.lineno, n.col_offset)))
    lines = cell.text.split("\n")
    return "\n".join(line if row in wanted else "" for row, line in enumerate(lines, 1)).rstrip() + "\n"


def find_elsewhere(submission: Submission, place: int, name: str) -> str:
    """The definition of a name in another cell of the student's: the nearest before, or the first behind."""
    before = submission.cells[:place][::-1]
    for cell in [*before, *submission.cells[place + 1 :]]:
        for node in reversed(cell.body or []):
            if is_taken(node) and name in names_of(node) and not is_check(node):
                return ast.unparse(node)
    return ""
