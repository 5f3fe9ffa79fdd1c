"""Hunts: the numbered lines of a pipeline, the cases on its page, and the table that tells them apart.

The table is measured when the pages are built: every measurement of nbNN.py, on the pipeline as it is and
with each case's patch. mistakes.json keeps it together with a hash of what it was made from; it is measured
again only when that has changed.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import re
import textwrap
import time
from dataclasses import dataclass

from helpers.exercises import patches
from helpers.exercises.hunt import PIECE
from helpers.exercises.verdict import SpecError

from .course import Course, parse_python, read_text
from .fingerprint import strip_comments
from .placing import edit, sentences
from .source import names_in

LINES, SECONDS = 12, 6.0  # at most so many lines; what one case may take on two cores


@dataclass
class Found:
    """What the hunts of one notebook are made from: answers by id, what mistakes.json says, all solutions."""

    course: Course
    number: str
    answers: dict
    before: dict
    solutions: dict

    def build(self, page, line: int, id: str, title: str) -> dict:
        """The entry of one hunt; what is wrong goes to page.wrong. Nothing is run."""
        written, wrong = page.written[id], []
        try:
            lines, code = read_pipeline(self.course, self.number, id)
        except ValueError as err:
            page.wrong.append((line, f"{id} {title}: {err}"))
            return dict(kind="hunt", name=title, cases=[])
        cases = [m for m in written if m.pieces]
        for mistake in cases:
            wrong += edit(lines, mistake, set(), "the lines")
        others = [m for m in written if not m.pieces]
        wrong += sentences(others)
        if not wrong:
            numbers = [lines[: m.edits[0][0]].count("\n") + 1 for m in cases]
            wrong += check_lines(line, lines, numbers, others, self.answers.get(id))
            wrong += [
                (m.line, f"{m.name}: a patch keeps the number of lines, so that their numbers stay")
                for m in cases
                if patches.patch(lines, m.edits).count("\n") != lines.count("\n")
            ]
        page.wrong += wrong
        if wrong:
            return dict(kind="hunt", name=title, cases=[])
        page.written[id] = cases
        rows = [[m.name, n, m.edits, m.message] for m, n in zip(cases, numbers, strict=True)]
        entry = dict(kind="hunt", name=title, lines=lines, cases=rows)
        entry["others"] = [[m.answer, m.message] for m in others]
        called = set(re.findall(r"""\bsolve\(["']([\d.]+)["']\)""", code))
        known = self.solutions | page.entries
        sources = {name: known.get(name, {}).get("source") for name in sorted(called)}
        made_from = json.dumps([code, lines, [m.edits for m in cases], sources])
        entry["from"] = hashlib.sha256(made_from.encode()).hexdigest()[:16]
        old = self.before.get(id, {})
        if old.get("from") == entry["from"] and "table" in old:
            entry["table"] = old["table"]
        return entry


def check_lines(line: int, lines: str, numbers: list[int], others: list, answer) -> list:
    """What is wrong with the lines that cases and sentences name; line: of the page, for what has none."""
    wrong, told, count = [], {}, lines.count("\n") + 1
    for m in others:
        number = int(m.answer) if re.fullmatch("[0-9]+", m.answer or "") else 0
        if not 1 <= number <= count:
            said = f"write a patch, or `answer: 5`, the number of one of the {count} lines"
            wrong.append((m.line, f"{m.name}: {said}"))
        elif number in numbers or number in told:
            said = "has a patch" if number in numbers else "has a sentence already"
            wrong.append((m.line, f"{m.name}: line {number} {said}"))
        told[number] = m
    for number in sorted(set(range(1, count + 1)) - set(numbers) - told.keys()):
        said = f"has neither patch nor sentence: write `## name`, `answer: {number}`, what it does"
        wrong.append((line, f"line {number} {said}"))
    if len(set(numbers)) < 2:
        wrong.append((line, "a hunt has cases in two lines or more"))
    elif answer and answer.line != numbers[0]:
        said = f"the answer's cell says line {answer.line}, the first case is in line {numbers[0]}"
        wrong.append((line, f"{said}: the complete edition runs the first one"))
    return wrong


def read_pipeline(course: Course, number: str, id: str) -> tuple[str, str]:
    """The numbered lines of a hunt, and all the code of nbNN.py that its table comes from, without comments.

    Raises ValueError where the form is not the one agreed.
    """
    path = course.exercise_specs(number)
    text, tree = read_text(path), parse_python(path)
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func).endswith("Hunt")]
    call = next((c for c in calls if ast.unparse(argument(c, 0, "id")) == repr(id)), None)
    if call is None:
        raise ValueError(f"{path.name} has no Hunt({id!r}, ...)")
    name = ast.unparse(argument(call, 1, "pipeline"))
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    if name not in functions:
        raise ValueError(f"its pipeline {name} is no function of {path.name}")
    node = functions[name]
    lines = numbered("\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno]), name)
    return lines, code_behind(tree, text, ast.get_source_segment(text, call))


def argument(call: ast.Call, place: int, name: str) -> ast.expr:
    """The argument that stands at a place of a call, or has this name; None's tree where there is none."""
    named = [keyword.value for keyword in call.keywords if keyword.arg == name]
    return [*call.args[place : place + 1], *named, ast.Constant(None)][0]


def numbered(source: str, name: str) -> str:
    """The numbered lines of a pipeline's source, not indented; of several pieces, one behind the other."""
    pieces = [textwrap.dedent(piece).rstrip("\n") for piece in PIECE.findall(source)]
    lines = "\n".join(pieces).split("\n")
    if not pieces:
        raise ValueError(f"{name} needs a line `# lines` and below it a line `# end`")
    if any(not line.strip() or line.strip().startswith("#") for line in lines):
        raise ValueError(f"among the numbered lines of {name} is an empty one or a comment")
    if not 2 <= len(lines) <= LINES:
        raise ValueError(f"{name} has {len(lines)} numbered lines: write 2 to {LINES}")
    return "\n".join(lines)


def code_behind(tree: ast.Module, text: str, source: str) -> str:
    """A piece of a module together with the module's own statements that make the names it uses."""
    made = {}
    for node in tree.body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        own = textwrap.dedent("\n".join(text.splitlines()[first - 1 : node.end_lineno]))
        made |= dict.fromkeys(names_in(own)[0] - {"EXERCISES"}, strip_comments(own))
    taken, waiting = [], [source]
    while waiting:
        piece = waiting.pop()
        if piece not in taken:
            taken.append(piece)
            waiting += [made[name] for name in sorted(names_in(piece)[1] & made.keys())]
    return "\n".join(taken)


# Measuring ----------------------------------------------------------------------------------------


def prove(hunt, entry: dict, written: list, say=print) -> list:
    """Measure a hunt, write the table into its entry, and say what is wrong, (line of the page, words).

    Wrong is a case that stops, one that changes no measurement, and two cases of different lines that no
    measurement tells apart. A table that was kept stays where what is measured now agrees with it.
    """
    if hunt.lines != entry["lines"]:
        raise SpecError(f"{hunt.id}: its lines as they run are not those that stand in its pipeline")
    wrong, rows, runs = [], [], [(m.name, m.edits, m.line) for m in written]
    for name, edits, line in [("the pipeline", (), written[0].line), *runs]:
        start = time.monotonic()
        try:
            rows.append(hunt.measure(edits))
        except Exception as err:
            wrong.append((line, f"{name}: {hunt.id} stops with {type(err).__name__}: {err}"))
        if (seconds := time.monotonic() - start) > SECONDS:
            say(f"{hunt.id} {name}: {seconds:.0f} s, more than {SECONDS:.0f}")
    if wrong:
        return wrong
    names, resolutions = zip(*((m.name, m.resolution) for m in hunt.measurements), strict=True)
    kept = [entry["table"]["right"], *entry["table"]["cases"]] if "table" in entry else []
    same = len(kept) == len(rows) and not any(map(tell_apart, kept, rows, [resolutions] * len(rows)))
    right, *cases = kept if same else rows
    entry["table"] = dict(right=right, cases=cases)
    said = [f"{hunt.id} {entry['name']}: {len(cases)} cases, {len(names)} measurements"]
    for name, *row in zip(names, right, *cases, strict=True):
        shown = " | ".join(f"{'-' if value is None else value:>9}" for value in row)
        said.append(f"  {shown} | {name}")
    say("\n".join(said))
    numbers = [number for _, number, *_ in entry["cases"]]
    for mark, case in zip(written, cases, strict=True):
        if not tell_apart(case, right, resolutions):
            wrong.append((mark.line, f"{mark.name}: no measurement changes by more than its resolution"))
    for i, j in itertools.combinations(range(len(cases)), 2):
        if numbers[i] != numbers[j] and not tell_apart(cases[i], cases[j], resolutions):
            other = f"{written[i].name} (line {numbers[i]})"
            wrong.append((written[j].line, f"{written[j].name}: no measurement tells it from {other}"))
    return wrong


def tell_apart(one: list, other: list, resolutions) -> bool:
    """Whether some measurement differs between two cases by more than its resolution."""
    pairs = zip(one, other, resolutions, strict=True)
    return any((a is None) != (b is None) or a is not None and abs(a - b) > r for a, b, r in pairs)
