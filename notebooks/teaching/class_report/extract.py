"""What a submission hands in, read from its text. Nothing of it is executed here.

    found = read_submission(student, file, content, kinds)     # of a notebook, or a mine.py

A notebook hands in by `q_sample = check("1.5", q_sample)` and the like, in cells of any order; of several
cells for one task the last counts. Answers of predictions, letters and lines are literals. All names and
texts are somebody else's data.
"""

from __future__ import annotations

import ast
import json
import operator
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from helpers.exercises import mine, read_cell
from helpers.exercises.part import DEFINITION, names_of

LARGEST = 16 * 2**20  # bytes of a file that is read
SOURCE, CELLS = 300_000, 3000  # characters of all code together; cells
CODE = 4000  # characters of an excerpt
OTHER_LANGUAGE = re.compile(r"\s*%%(?!(time|timeit|capture)\b)")
MAGIC = re.compile(r"^\s*[%!?]|\?\s*$")
HANDS_IN = {"": "write", "changed": "break", "predict": "predict", "found": "hunt", "hunt": "hunt"}
SEED = re.compile(r"\bseed (-?\d{1,9})\b")
TOO_MUCH = (RecursionError, MemoryError)


class Unreadable(Exception):
    """Why a file is not judged, as a sentence."""


@dataclass
class Cell:
    """A code cell: its text without magics, its statements (None: no Python), what it printed, cut off."""

    text: str
    body: list | None
    error: SyntaxError | None = None
    printed: str = ""


@dataclass
class HandIn:
    """One task as it is handed in. hand_in: the expression that makes the function, "" for plain answers.

    cell: the number of its cell. answer: the literal of a prediction, a line, or the letter of a break; ...
    where it is left open; readable: False where it is no literal. crash: (name, text, line, the line's text).
    """

    id: str
    kind: str
    cell: int = 0
    hand_in: str = ""
    answer: object = ...
    readable: bool = True
    seed: int | None = None
    crash: tuple | None = None


@dataclass
class Submission:
    """student: a name that nobody checked. file: relative to the folder. cells: all its code."""

    student: str
    file: str
    tasks: dict[str, HandIn] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    is_parts: bool = False  # a mine.py


# Files --------------------------------------------------------------------------------------------


def list_submissions(folder: Path) -> list[tuple[str, Path]]:
    """(student, file) of a folder: files, or a folder for each student with files anywhere below it.

    A folder `submitted` alone is entered, as nbgrader has it. Hidden files and checkpoints are left out.
    """
    folder = Path(folder)
    entries = _entries(folder)
    if [e.name for e in entries] == ["submitted"] and entries[0].is_dir(follow_symlinks=False):
        entries = _entries(Path(entries[0].path))
    found = []
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            found += [(entry.name, path) for path in _files(Path(entry.path), deep=6)]
        elif _is_submission(entry.name):
            found.append((Path(entry.name).stem, Path(entry.path)))
    shown, own = {}, {}  # names that look alike stay two students
    for student, _ in found:
        if student not in own:
            number = shown[clean(student)] = shown.get(clean(student), 0) + 1
            own[student] = clean(student) if number == 1 else f"{clean(student)} ({number})"
    return [(own[student], path) for student, path in found]


def _entries(folder) -> list:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if e.name[0] not in "._"), key=lambda e: e.name)
    except OSError:
        return []


def _files(folder, deep):
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False) and deep:
            yield from _files(Path(entry.path), deep - 1)
        elif _is_submission(entry.name) and not entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)


def _is_submission(name):
    return name.endswith(".ipynb") or name.endswith(".py")


def clean(text: str, most: int = 200) -> str:
    """A name that can be written in UTF-8, in one line."""
    text = text.encode("utf-8", "replace").decode()
    text = " ".join(text.split())[:most] or "?"
    return "".join(c if c.isprintable() or c in "\u200c\u200d" else "\ufffd" for c in text)


def read_bytes(path: Path) -> bytes:
    """The content of a submitted file. Raises Unreadable; a link, a pipe, a device is not opened."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise Unreadable(f"It cannot be opened ({error.strerror}); links are not followed.") from None
    with os.fdopen(file, "rb") as opened:
        state = os.fstat(opened.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise Unreadable("It is not a file.")
        if state.st_size > LARGEST:
            raise Unreadable(f"It has {state.st_size / 1e6:.0f} MB; at most {LARGEST // 10**6} MB are read.")
        try:
            return opened.read(LARGEST + 1)[:LARGEST]
        except OSError as error:
            raise Unreadable(f"It cannot be read ({error.strerror}).") from None


# Notebooks ----------------------------------------------------------------------------------------


def read_submission(student: str, file: str, content: bytes, kinds: dict[str, str]) -> Submission:
    """What a file hands in; kinds: {id: kind} of the tasks there are. Raises Unreadable."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"It is not UTF-8 (byte {error.start}).") from None
    made = Submission(student, file)
    if file.endswith(".py"):
        return _read_parts(made, text, kinds)
    made.cells = read_cells(text)
    seeds = {}
    for number, cell in enumerate(made.cells):
        if cell.body is None:
            _read_broken(made, cell, number, kinds)
            continue
        for call, name in calls(cell.body):
            _read_call(made, seeds, cell, number, call, name, kinds)
    for id, task in made.tasks.items():
        task.seed = seeds.get(id, task.seed)
    return made


def read_cells(text: str) -> list[Cell]:
    """The code cells of a notebook. Raises Unreadable."""
    try:
        content = json.loads(text)
        cells = content["cells"]
        found = [c for c in cells if isinstance(c, dict) and c.get("cell_type") == "code"]
        sources = [_joined(c.get("source")) for c in found]
    except (ValueError, TypeError, KeyError, *TOO_MUCH) as error:
        raise Unreadable(f"It is no notebook ({type(error).__name__}: {str(error)[:100]}).") from None
    if len(found) > CELLS or sum(map(len, sources)) > SOURCE:
        raise Unreadable("It has too many cells, or too much code.")
    return [parse(source, _printed(c.get("outputs"))) for source, c in zip(sources, found, strict=True)]


def _joined(source) -> str:
    return source if isinstance(source, str) else "".join(map(str, source or ()))


def _printed(outputs) -> str:
    """What a cell has shown as text, cut off."""
    said = []
    for output in outputs[:20] if isinstance(outputs, list) else ():
        if isinstance(output, dict):
            data = output.get("data")
            parts = (output.get("text"), data.get("text/plain") if isinstance(data, dict) else None)
            said += [_joined(p)[:20_000] for p in parts if isinstance(p, str | list)]
    return "\n".join(said)[:50_000]


def parse(source: str, printed: str = "") -> Cell:
    """A cell; lines of IPython's own become empty ones."""
    if OTHER_LANGUAGE.match(source):  # a cell that IPython never ran as Python
        return Cell("", [], printed=printed)
    lines = source.split("\n")
    text = "\n".join("" if MAGIC.search(line) and not _is_python(line) else line for line in lines)
    try:
        return Cell(text, ast.parse(text).body, printed=printed)
    except (SyntaxError, ValueError, *TOO_MUCH) as error:
        known = error if isinstance(error, SyntaxError) else SyntaxError(f"{type(error).__name__}")
        return Cell(text, None, known, printed)


def _is_python(line):
    """Whether a line that ends with a question mark, or begins with %, may be part of Python after all."""
    return "#" in line or '"' in line or "'" in line


def calls(body):
    """(call, name it is given to or "") of the statements that hand something to `check`."""
    for node in body:
        value = getattr(node, "value", None)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr) and isinstance(value, ast.Call):
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            name = targets[0].id if isinstance(targets[0], ast.Name) else ""
            if _method(value) in HANDS_IN and _id(value):
                yield value, name


def _method(call):
    """ "" for `check(...)`, "predict" for `check.predict(...)`; None for all else."""
    f = call.func
    if isinstance(f, ast.Name) and f.id == "check":
        return ""
    own = isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name) and f.value.id == "check"
    return f.attr if own else None


def _id(call):
    first = call.args[0] if call.args else _keyword(call, "id")
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def _keyword(call, name):
    return next((k.value for k in call.keywords if k.arg == name), None)


def _argument(call, place, name):
    """An argument by its place or name; None where it is left out."""
    return call.args[place] if len(call.args) > place else _keyword(call, name)


def _read_call(made, seeds, cell, number, call, name, kinds):
    id, method = _id(call), _method(call)
    kind = kinds.get(id)
    if kind is None or HANDS_IN[method] != kind and {HANDS_IN[method], kind} != {"write", "break"}:
        return
    if method == "hunt":
        node = _argument(call, 1, "seed")
        value, literal = read_literal(node, cell.body) if node is not None else (None, False)
        shown = SEED.search(cell.printed)
        if literal and type(value) is int:
            seeds[id] = value
        elif shown:
            seeds[id] = int(shown[1])
        made.tasks.setdefault(id, HandIn(id, kind, number))
        return
    task = HandIn(id, kind, number)
    if kind in ("write", "break"):
        node = _argument(call, 1, "function")
        task.hand_in = ast.unparse(node) if node is not None else name
        node = _argument(call, 2, "why")
    else:
        node = _argument(call, 1, "guess" if kind == "predict" else "line")
    if node is not None:
        task.answer, task.readable = read_literal(node, cell.body)
    made.tasks[id] = task


def _read_broken(made, cell, number, kinds):
    """A cell with a syntax error hands in what `check` would say of it: that it crashed, and where."""
    try:
        [line] = read_cell([cell.text])[:1] or [""]
        call = ast.parse(line.strip()).body[0].value
    except (SyntaxError, ValueError, IndexError, AttributeError, *TOO_MUCH):
        return
    if isinstance(call, ast.Call) and ast.unparse(call.func) == "check.unread":
        id, *crash = (ast.literal_eval(argument) for argument in call.args)
        if id in kinds:
            made.tasks[id] = HandIn(id, kinds[id], number, crash=tuple(crash))


# Literals -----------------------------------------------------------------------------------------

SUMS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,  # of floats: no number grows without end
}


def read_literal(node, body) -> tuple[object, bool]:
    """(value, True) of a literal, simple arithmetic, or a name that the cell gives one; else (..., False)."""
    made = {}
    for statement in body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            if isinstance(target, ast.Name):
                made[target.id] = statement.value
    try:
        return _value(node, made, 20), True
    except (ValueError, TypeError, OverflowError, ArithmeticError, RecursionError):
        return ..., False


def _value(node, made, deep):
    if not deep:
        raise ValueError("nested too deeply")
    if isinstance(node, ast.Constant):
        if isinstance(node.value, int) and abs(node.value) >= 2**63:
            raise ValueError("too large a number")
        if isinstance(node.value, str | int | float | bool) or node.value in (..., None):
            return node.value[:1000] if isinstance(node.value, str) else node.value
    elif isinstance(node, ast.Name) and node.id in made:
        return _value(made[node.id], made, deep - 1)
    elif isinstance(node, ast.List | ast.Tuple | ast.Set) and len(node.elts) <= 1000:
        return [_value(part, made, deep - 1) for part in node.elts]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _number(_value(node.operand, made, deep - 1))
        return -value if isinstance(node.op, ast.USub) else value
    elif isinstance(node, ast.BinOp) and type(node.op) in SUMS:
        one, other = (_number(_value(side, made, deep - 1)) for side in (node.left, node.right))
        return _number(SUMS[type(node.op)](float(one), float(other)))
    raise ValueError("no literal")


def _number(value):
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("no number")
    return value


# Parts of a mine.py ------------------------------------------------------------------------------


def _read_parts(made, text, kinds):
    if len(text) > SOURCE:
        raise Unreadable("It has too much code.")
    made.is_parts = True
    for piece in mine.split(text):
        if piece.id is None or kinds.get(piece.id) != "write" or mine.places().get(piece.id) != piece.name:
            continue
        cell, number = parse(piece.text), len(made.cells)
        made.cells.append(cell)
        task = HandIn(piece.id, "write", number, piece.name)
        if cell.body is None:
            error = cell.error
            task.crash = (type(error).__name__, f"{error.msg}.", error.lineno, "")
        made.tasks[piece.id] = task
    if not made.tasks:
        raise Unreadable("It is no mine.py of the course: it has none of its marks.")
    return made


# Excerpts -----------------------------------------------------------------------------------------


def excerpt(cell: Cell, name: str) -> str:
    """The text of what a cell defines under a name, or the whole cell; cut off."""
    for node in reversed(cell.body or []):
        if isinstance(node, DEFINITION) and name in names_of(node):
            return (ast.get_source_segment(cell.text, node) or cell.text)[:CODE]
    return cell.text.strip()[:CODE]
