"""Reading a source, taking an exercise cell apart, and the rules a source keeps."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import jupytext

from .course import BuildError, Course, parse_python, read_text

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
SLIDE_TYPES = ("slide", "subslide", "fragment", "skip", "notes", "-")
METADATA = {"tags": list, "slideshow": dict, "exercise": str, "exercise_text": str, "expected": str}
CODE_LINES, LINE_LENGTH, CORE_CELLS, CORE_FIGURES = 15, 110, 45, 12


@dataclass(frozen=True)
class Slide:
    """One slide of the lecture: how long it takes, its markdown ("": that of its cell), its speaker notes."""

    minutes: int
    text: str
    notes: str


SLIDE = re.compile(r"^<!--slide(?: (\d+) min)?[ ]*\n(.*?)^-->[ ]*$\n?", re.DOTALL | re.MULTILINE)


def take_slides(text: str) -> tuple[str, list[Slide]]:
    """A cell's text without its <!--slide blocks, and these (slides.py says how they are written)."""
    slides = []
    for minutes, body in SLIDE.findall(text):
        shown, _, notes = body.partition("\nNotes:") if not body.startswith("Notes:") else ("", "", body[6:])
        slides.append(Slide(int(minutes or 0), shown.strip(), notes.strip()))
    return SLIDE.sub("", text).rstrip("\n"), slides


def read_source(path: Path) -> list:
    """The cells of a py:percent source, with only the metadata that its author wrote.

    The <!--slide blocks of markdown cells are taken out of their text and stand in cell.slides; cell.line is
    the line of the file where a code cell begins. Raises BuildError naming the file, or a cell of it.
    """
    text, at = read_text(path), 0
    try:
        cells = jupytext.reads(text, fmt="py:percent").cells
    except Exception as err:
        raise BuildError(f"{path.name}: jupytext cannot read it ({str(err).partition(chr(10))[0]})") from err
    for i, cell in enumerate(cells, start=1):
        if cell.cell_type == "code":
            at = max(at, text.find(f"\n{cell.source}\n", at) + 1)  # not where jupytext changed a magic
        cell["line"] = text.count("\n", 0, at) + 1
        for key, kind in METADATA.items():
            if not isinstance(cell.metadata.get(key, kind()), kind):
                raise BuildError(f"{path.name}, cell {i}: {key}={cell.metadata[key]!r} is no {kind.__name__}")
        cell.metadata.pop("lines_to_next_cell", None)
        if cell.cell_type == "markdown":
            cell.source, cell["slides"] = take_slides(cell.source)
    return cells


def tags(cell) -> list:
    return cell.metadata.get("tags", [])


def python_of(code: str) -> str:
    """The code with magics and shell lines turned into `pass`, so that `ast` can read it."""
    return re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", code)


# Exercise cells -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exercise:
    """An exercise cell in its four shapes.

    complete: as the complete edition shows it, without the markers
    student:  solutions replaced by `...`
    stub:     the student's cell without its `check` line; what `check` calls not attempted
    solution: the complete cell without its `check` line; what the folded Solution shows
    """

    id: str
    name: str
    complete: str
    student: str
    stub: str
    solution: str


def parse_exercise(number: str, code: str) -> Exercise:
    """Take exercise `number`'s cell apart. Raises BuildError where its form is not the one agreed."""
    complete, student = [], []
    opened, solutions = None, 0
    for line in code.splitlines():
        mark = line.strip()
        if mark == BEGIN:
            if opened is not None:
                raise BuildError(f"exercise {number}: {BEGIN} twice without {END}")
            opened, solutions = len(complete), solutions + 1
            student.append(line[: len(line) - len(line.lstrip())] + "...")
        elif mark == END:
            if opened is None:
                raise BuildError(f"exercise {number}: {END} without {BEGIN}")
            if opened == len(complete):
                raise BuildError(f"exercise {number}: nothing between {BEGIN} and {END}")
            opened = None
        elif mark.upper().replace(" ", "").strip("#") in ("BEGINSOLUTION", "ENDSOLUTION"):
            raise BuildError(f"exercise {number}: write the marker exactly as {BEGIN} or {END}, not {mark!r}")
        else:
            complete.append(line)
            if opened is None:
                student.append(line)
    if opened is not None:
        raise BuildError(f"exercise {number}: {BEGIN} without {END}")
    if not solutions:
        raise BuildError(f"exercise {number}: no {BEGIN} ... {END} in its cell")
    complete, student = "\n".join(complete), "\n".join(student)
    name, stub = _without_check(number, student)
    _, solution = _without_check(number, complete)
    return Exercise(number, name, complete, student, stub, solution)


def _without_check(number: str, code: str) -> tuple[str, str]:
    """The name that is checked, and the code without the line that checks it."""
    try:
        body = ast.parse(python_of(code)).body
    except SyntaxError as err:
        raise BuildError(f"exercise {number}: not valid Python ({err.msg}, line {err.lineno})") from err
    last = body[-1] if body else None
    call = last.value if isinstance(last, ast.Assign) and isinstance(last.value, ast.Call) else None
    if not (call and isinstance(call.func, ast.Name) and call.func.id == "check" and len(call.args) == 2):
        raise BuildError(f'exercise {number}: its cell must end with  name = check("{number}", name)')
    first, second, target = call.args[0], call.args[1], last.targets[0]
    if not (isinstance(first, ast.Constant) and first.value == number):
        raise BuildError(f'exercise {number}: its cell checks {ast.unparse(first)}, not "{number}"')
    if ast.unparse(second) != ast.unparse(target):
        names = f"{ast.unparse(second)} but assigns {ast.unparse(target)}"
        raise BuildError(f"exercise {number}: it checks {names}")
    name = ast.unparse(target)
    kinds = (ast.FunctionDef, ast.ClassDef)
    if not any(isinstance(node, kinds) and node.name == name for node in body):
        raise BuildError(f"exercise {number}: {name} is checked but its cell does not define it")
    lines = code.splitlines()
    return name, "\n".join(lines[: last.lineno - 1] + lines[last.end_lineno :]).strip("\n")


def exercises(cells) -> dict[str, Exercise]:
    """The exercises among `cells` by id, in order."""
    found = {}
    for cell in cells:
        number = cell.metadata.get("exercise")
        if number is not None:
            if number in found:
                raise BuildError(f"exercise {number} stands there twice")
            found[number] = parse_exercise(number, cell.source)
    return found


def specified_exercises(path: Path) -> set[str]:
    """The ids of the `Exercise("1.3", ...)` in a spec file; read from its syntax tree, not imported."""
    if not path.exists():
        return set()
    found = set()
    for node in ast.walk(parse_python(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Exercise":
            values = node.args[:1] + [k.value for k in node.keywords if k.arg == "id"]
            found |= {v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)}
    return found


# The rules ----------------------------------------------------------------------------------------


def problems(course: Course, name: str, cells) -> list[str]:
    """Every rule of the house that the source breaks, one sentence each; an empty list is good."""
    said = []
    for i, cell in enumerate(cells, start=1):
        where = f"cell {i} ({first_line(cell)!r})"
        said += [f"{where}: {text}" for text in _cell_problems(cell)]
    said += _opening_problems(cells)
    said += _exercise_problems(course, name[:2], cells)
    core = [c for c in cells if "optional" not in tags(c)]
    if len(core) > CORE_CELLS:
        said.append(
            f"the core path has {len(core)} cells, at most {CORE_CELLS}: "
            "move some to Looking inside (tag optional)"
        )
    drawing = drawing_functions(course)
    figures = sum(figure_calls(c.source, drawing) for c in core if c.cell_type == "code")
    if figures > CORE_FIGURES:
        said.append(f"the core path draws {figures} figures, at most {CORE_FIGURES}: tag some cells optional")
    return said


def first_line(cell) -> str:
    lines = [line for line in cell.source.splitlines() if line.strip()]
    return lines[0][:60] if lines else "empty"


def code_lines(code: str) -> int:
    """Lines that are neither blank nor comments; the solution markers are comments too."""
    return sum(1 for line in code.splitlines() if line.strip() and not line.strip().startswith("#"))


def drawing_functions(course: Course) -> set[str]:
    """The functions of helpers/show.py that show a picture: those that ask for its alt text."""
    path = course.helpers / "show.py"
    tree = parse_python(path) if path.exists() else ast.Module([], [])
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {f.name for f in functions if "alt" in [a.arg for a in f.args.args + f.args.kwonlyargs]}


def figure_calls(code: str, drawing: set[str]) -> int:
    """Statements that show a picture: `show.grid(...)` and the like; `drawing` names the functions."""
    count = 0
    try:
        nodes = list(ast.walk(ast.parse(python_of(code))))
    except SyntaxError:
        return 0  # said elsewhere
    for node in nodes:
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] in drawing:
            count += 1
    return count


def _cell_problems(cell) -> list[str]:
    said = []
    if "incorrectly_encoded_metadata" in cell.metadata:
        said.append(f"cannot read {cell.metadata['incorrectly_encoded_metadata']!r} behind its # %%")
    slide = cell.metadata.get("slideshow", {}).get("slide_type")
    if slide not in SLIDE_TYPES:
        said.append(
            f'needs slideshow={{"slide_type": "..."}}, one of {", ".join(SLIDE_TYPES)}; has {slide!r}'
        )
    if cell.cell_type != "code":
        if "<!--slide" in cell.source:
            said.append("has a <!--slide block that is not closed: end it with --> on a line of its own")
        if cell.source.count("<details") != cell.source.count("</details>"):
            said.append("opens a fold that it does not close, <details> without </details>, or the reverse")
        return said
    if not cell.source.strip():
        said.append("is empty")
    if code_lines(cell.source) > CODE_LINES:
        said.append(f"has {code_lines(cell.source)} lines of code, at most {CODE_LINES}: split it")
    said += [
        f"line {n} has {len(line)} characters, at most {LINE_LENGTH}"
        for n, line in enumerate(cell.source.splitlines(), start=1)
        if len(line) > LINE_LENGTH
    ]
    if "exercise" not in cell.metadata and (BEGIN in cell.source or END in cell.source):
        said.append('has solution markers but no exercise="..." metadata')
    try:
        ast.parse(python_of(cell.source))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
        where = cell.get("line", 1) + (getattr(err, "lineno", None) or 1) - 1
        said.append(f"is not valid Python ({getattr(err, 'msg', err)}, line {where} of the file)")
    return said


def _opening_problems(cells) -> list[str]:
    said = []
    if not cells or cells[0].cell_type != "markdown" or not cells[0].source.startswith("# "):
        said.append("the first cell must be markdown and start with the title, # ...")
    if len(cells) < 2 or cells[1].cell_type != "code" or "setup" not in tags(cells[1]):
        said.append('the second cell must be the set-up code, tags=["setup"]')
    return said


def _exercise_problems(course: Course, number: str, cells) -> list[str]:
    said, seen = [], set()
    specs = course.exercise_specs(number)
    known = specified_exercises(specs)
    pictures = [c.metadata.get("expected") for c in cells]
    for i, cell in enumerate(cells):
        exercise = cell.metadata.get("exercise")
        if exercise is None:
            continue
        seen.add(exercise)
        if not re.fullmatch(rf"{int(number)}\.[0-9]+", exercise):
            said.append(f"exercise {exercise}: those of notebook {number} are numbered {int(number)}.1, ...")
        if exercise not in known:
            said.append(f"exercise {exercise}: unknown, helpers/exercises/{specs.name} has no such Exercise")
        try:
            parse_exercise(exercise, cell.source)
        except BuildError as err:
            said.append(str(err))
        text = cells[i - 1] if i else None
        if text is None or text.cell_type != "markdown" or text.metadata.get("exercise_text") != exercise:
            said.append(f'exercise {exercise}: before it must stand its text, exercise_text="{exercise}"')
        else:
            missing = [h for h in ("Hint 1", "Hint 2") if f"<summary>{h}" not in text.source]
            said += [f"exercise {exercise}: no <details><summary>{h} ... in its text" for h in missing]
        if exercise in pictures and (i + 1 >= len(cells) or pictures[i + 1] != exercise):
            said.append(f'exercise {exercise}: the cell with expected="{exercise}" must follow right behind')
    lonely = {p for p in pictures if p is not None} - seen
    said += [f'a cell has expected="{p}" but there is no exercise {p}' for p in sorted(lonely)]
    said += [f"exercise {e}: in {specs.name} but not in the notebook" for e in sorted(known - seen)]
    try:
        exercises(cells)
    except BuildError as err:
        if str(err) not in said:
            said.append(str(err))
    return said
