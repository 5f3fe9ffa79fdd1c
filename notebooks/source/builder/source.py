"""Reading a source, taking an exercise cell apart, and the rules a source keeps."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import textwrap
from dataclasses import dataclass
from pathlib import Path

import jupytext

from .course import BuildError, Course, parse_python, read_text

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
SLIDE_TYPES = ("slide", "subslide", "fragment", "skip", "notes", "-")
METADATA = {"tags": list, "slideshow": dict}
METADATA |= dict.fromkeys(("exercise", "exercise_text", "expected", "kind", "of"), str)
CODE_LINES, LINE_LENGTH, CORE_CELLS, CORE_FIGURES = 15, 110, 45, 12


@dataclass(frozen=True)
class Slide:
    """One slide of the lecture: how long it takes, its markdown ("": that of its cell), its speaker notes,
    and of a notebook with two decks the one in which it stands ("": the first)."""

    minutes: int
    text: str
    notes: str
    deck: str = ""


SLIDE = re.compile(r"^<!--slide(?: (\d+) min)?(?: (\w+))?[ ]*\n(.*?)^-->[ ]*$\n?", re.DOTALL | re.MULTILINE)


def take_slides(text: str) -> tuple[str, list[Slide]]:
    """A cell's text without its <!--slide blocks, and these (slides.py says how they are written)."""
    slides = []
    for minutes, deck, body in SLIDE.findall(text):
        shown, _, notes = body.partition("\nNotes:") if not body.startswith("Notes:") else ("", "", body[6:])
        slides.append(Slide(int(minutes or 0), shown.strip(), notes.strip(), deck))
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


def kind_of(cell) -> str:
    """What an exercise's cell asks for, one of KINDS; "answer" for the second cell of a hunt."""
    return cell.metadata.get("kind", "write")


# Exercise cells -----------------------------------------------------------------------------------

KINDS = ("write", "predict", "break", "hunt")
GIVEN = "# given:"  # behind BEGIN SOLUTION in a break: the line that stands there before it is changed
ENDINGS = {
    "write": 'name = check("{}", name)',
    "predict": 'check.predict("{}", guess)',
    "break": 'name = check.changed("{}", name, why)',
    "hunt": 'check.hunt("{}")',
    "answer": 'check.found("{}", line)',
}


@dataclass(frozen=True)
class Exercise:
    """An exercise cell in its shapes.

    name:     what is checked: a function or class (write, break), or what holds the guess (predict)
    complete: as the complete edition shows it, without the markers
    student:  solutions replaced by `...`; in a break, by the given lines
    stub:     the student's cell without its `check` line (and its `why`); what `check` calls not attempted
    solution: the complete cell without its `check` line; what the folded Solution shows
    source:   the solution without its `why`: what mistakes are patches of
    why:      in a break, the letter of the right reason
    """

    id: str
    name: str
    complete: str
    student: str
    stub: str
    solution: str
    kind: str = "write"
    source: str = ""
    why: str = ""


@dataclass(frozen=True)
class Answer:
    """The second cell of a hunt, where the number of a line is written; shapes as those of an Exercise."""

    id: str
    complete: str
    student: str
    stub: str
    line: int


def parse_exercise(number: str, code: str, kind: str = "write") -> Exercise:
    """Take exercise `number`'s cell apart. Raises BuildError where its form is not the one agreed."""
    if kind not in KINDS:
        raise BuildError(f"exercise {number}: kind={kind!r} is none of {', '.join(KINDS)}")
    complete, student, solutions = _editions(number, code, kind)
    if kind == "hunt" and solutions:
        raise BuildError(f"exercise {number}: no {BEGIN} in a hunt: its answer stands in the next cell")
    if kind != "hunt" and not solutions:
        raise BuildError(f"exercise {number}: no {BEGIN} ... {END} in its cell")
    if kind == "hunt":
        return Exercise(number, "", complete, complete, "", _without_check(number, complete, kind)[1], kind)
    call, solution = _without_check(number, complete, kind)
    name, why, source = ast.unparse(call.args[1]), "", solution
    if kind == "break":
        reason = ast.unparse(call.args[2])
        student, _ = _blank(number, student, reason, "[a-z]", '"b"')
        source, why = _blank(number, solution, reason, "[a-z]", '"b"', line=True)
    stub = _without_check(number, student, kind)[1]
    stub = _blank(number, stub, reason, "", "...", line=True)[0] if kind == "break" else stub
    return Exercise(number, name, complete, student, stub, solution, kind, source, why)


def parse_answer(number: str, code: str) -> Answer:
    """Take the second cell of hunt `number` apart. Raises BuildError where its form is not the one agreed."""
    call, rest = _without_check(number, code, "answer")
    name = ast.unparse(call.args[1])
    student, line = _blank(number, code, name, "[0-9]+", "4")
    return Answer(number, code, student, _blank(number, rest, name, "[0-9]+", "4")[0], int(line))


def _editions(number: str, code: str, kind: str) -> tuple[str, str, int]:
    """The cell as the complete edition shows it, as the student's does, and how many solutions are in it."""
    complete, student, block = [], [], None
    solutions = 0
    for line in code.splitlines():
        mark = line.strip()
        if mark == BEGIN:
            if block is not None:
                raise BuildError(f"exercise {number}: {BEGIN} twice without {END}")
            block, indent, solutions = [], line[: len(line) - len(line.lstrip())], solutions + 1
        elif mark == END:
            if block is None:
                raise BuildError(f"exercise {number}: {END} without {BEGIN}")
            shown, stands = _replace(number, block, kind)
            complete += shown
            student += [indent + text for text in stands]
            block = None
        elif mark.upper().replace(" ", "").strip("#") in ("BEGINSOLUTION", "ENDSOLUTION"):
            raise BuildError(f"exercise {number}: write the marker exactly as {BEGIN} or {END}, not {mark!r}")
        elif block is not None:
            block.append(line)
        else:
            complete.append(line)
            student.append(line)
    if block is not None:
        raise BuildError(f"exercise {number}: {BEGIN} without {END}")
    return "\n".join(complete), "\n".join(student), solutions


def _replace(number: str, block: list[str], kind: str) -> tuple[list[str], list[str]]:
    """What the complete edition shows of a solution, and what stands there for the student, not indented."""
    shown, given = list(block), []
    while kind == "break" and shown and shown[0].strip().startswith(GIVEN):
        given.append(shown.pop(0).strip().removeprefix(GIVEN).removeprefix(" "))
    if not shown:
        raise BuildError(f"exercise {number}: nothing between {BEGIN} and {END}")
    if kind == "break" and not given:
        raise BuildError(f"exercise {number}: behind {BEGIN} must stand the line that is given, {GIVEN} ...")
    if kind == "predict":
        body = _parsed(number, textwrap.dedent("\n".join(shown)))
        named = [ast.unparse(t) for node in body if isinstance(node, ast.Assign) for t in node.targets]
        if len(body) != 1 or len(named) != 1 or not named[0].isidentifier():
            raise BuildError(f"exercise {number}: a prediction is one line between its markers, guess = ...")
        given = [f"{named[0]} = ..."]
    return shown, given or ["..."]


def _blank(number, code: str, name: str, form: str, example: str, line=False) -> tuple[str, str]:
    """The code with `name = "b"` turned into `name = ...` (line: without that line), and what stood there."""
    value = re.escape("...") if not form else rf"""["']?({form})["']?"""
    there = re.compile(rf"(?m)^{re.escape(name)} = {value}(?=\s|$)(?P<rest>.*)$\n?")
    found = there.findall(code)
    if len(found) != 1:
        raise BuildError(f"exercise {number}: its cell needs one line  {name} = {example}")
    match = there.search(code)
    if line:
        return (code[: match.start()] + code[match.end() :]).strip("\n"), match[1]
    end = match.start("rest")
    return f"{code[: match.start()]}{name} = ...{code[end:]}", match[1]


def _parsed(number: str, code: str) -> list:
    try:
        return ast.parse(python_of(code)).body
    except SyntaxError as err:
        raise BuildError(f"exercise {number}: not valid Python ({err.msg}, line {err.lineno})") from err


def _without_check(number: str, code: str, kind: str = "write") -> tuple[ast.Call, str]:
    """The call that checks, and the code without its line."""
    body, form = _parsed(number, code), ENDINGS[kind].format(number)
    last, wanted = body[-1] if body else None, ast.parse(form).body[0]
    call = getattr(last, "value", None)
    same = isinstance(call, ast.Call) and ast.unparse(call.func) == ast.unparse(wanted.value.func)
    if not same or type(last) is not type(wanted) or len(call.args) != len(wanted.value.args):
        raise BuildError(f"exercise {number}: its cell must end with  {form}")
    first = call.args[0]
    if not (isinstance(first, ast.Constant) and first.value == number):
        raise BuildError(f'exercise {number}: its cell checks {ast.unparse(first)}, not "{number}"')
    if isinstance(last, ast.Assign):
        name, target = ast.unparse(call.args[1]), ast.unparse(last.targets[0])
        if name != target:
            raise BuildError(f"exercise {number}: it checks {name} but assigns {target}")
        kinds = (ast.FunctionDef, ast.ClassDef)
        if not any(isinstance(node, kinds) and node.name == name for node in body):
            raise BuildError(f"exercise {number}: {name} is checked but its cell does not define it")
    for argument in call.args[1:]:
        if not isinstance(argument, ast.Name):
            raise BuildError(f"exercise {number}: its cell must end with  {form}")
    lines = code.splitlines()
    return call, "\n".join(lines[: last.lineno - 1] + lines[last.end_lineno :]).strip("\n")


def exercises(cells) -> dict[str, Exercise]:
    """The exercises among `cells` by id, in order."""
    found = {}
    for cell in cells:
        number = cell.metadata.get("exercise")
        if number is not None:
            if number in found:
                raise BuildError(f"exercise {number} stands there twice")
            found[number] = parse_exercise(number, cell.source, kind_of(cell))
    return found


def answers(cells) -> dict[str, Answer]:
    """The answers to the hunts among `cells` by the hunt's id."""
    found = {}
    for cell in cells:
        number = cell.metadata.get("of")
        if number is not None:
            if number in found:
                raise BuildError(f"exercise {number}: its answer stands there twice")
            found[number] = parse_answer(number, cell.source)
    return found


SPECIFIED = {"Exercise": "write", "Prediction": "predict", "Break": "break", "Hunt": "hunt"}


def specified_exercises(path: Path) -> dict[str, str]:
    """The kind of each `Exercise("1.3", ...)`, `Hunt("1.10", ...)` in a spec file by its id.

    Read from its syntax tree, not imported.
    """
    found = {}
    for node in ast.walk(parse_python(path)) if path.exists() else ():
        kind = SPECIFIED.get(ast.unparse(node.func).split(".")[-1]) if isinstance(node, ast.Call) else None
        if kind:
            values = node.args[:1] + [k.value for k in node.keywords if k.arg == "id"]
            ids = [v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)]
            found |= dict.fromkeys(ids, kind)
    return found


# Names --------------------------------------------------------------------------------------------


def names_in(source: str) -> tuple[set[str], set[str]]:
    """The names that a piece of Python makes, and those that it takes from outside, Python's own left out."""
    top = symtable.symtable(source, "<source>", "exec")
    used, own, waiting = set(), {s.get_name() for s in top.get_symbols() if s.is_local()}, [top]
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        used |= {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
    return own, {name for name in used - own if not hasattr(builtins, name)}


def free_names(source: str) -> set[str]:
    """The names that a piece of Python takes from outside, those of Python itself left out."""
    return names_in(source)[1]


# The rules ----------------------------------------------------------------------------------------


def problems(course: Course, name: str, cells) -> list[str]:
    """Every rule of the house that the source breaks, one sentence each; an empty list is good."""
    said = []
    for i, cell in enumerate(cells, start=1):
        where = f"cell {i} ({first_line(cell)!r})"
        said += [f"{where}: {text}" for text in _cell_problems(cell)]
    said += _opening_problems(cells)
    said += _exercise_problems(course, name[:2], cells)
    core = [c for c in cells if "optional" not in tags(c) and not of_a_task(c)]
    if len(core) > CORE_CELLS:
        said.append(
            f"the core path has {len(core)} cells beside its tasks, at most {CORE_CELLS}: "
            "move some to Looking inside (tag optional)"
        )
    drawing = drawing_functions(course)
    figures = sum(figure_calls(c.source, drawing) for c in core if c.cell_type == "code")
    if figures > CORE_FIGURES:
        said.append(
            f"the core path draws {figures} figures beside its tasks, at most {CORE_FIGURES}: "
            "tag some cells optional"
        )
    return said


def of_a_task(cell) -> bool:
    """Whether a cell is the text, the code, the answer or the expected picture of an exercise."""
    return not cell.metadata.keys().isdisjoint(("exercise", "exercise_text", "expected", "of"))


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
    most = CODE_LINES + 3 * ("exercise" in cell.metadata)  # a solution cannot be split, 3.4 has 18
    if code_lines(cell.source) > most:
        said.append(f"has {code_lines(cell.source)} lines of code, at most {most}: split it")
    said += [
        f"line {n} has {len(line)} characters, at most {LINE_LENGTH}"
        for n, line in enumerate(cell.source.splitlines(), start=1)
        if len(line) > LINE_LENGTH
    ]
    kind, home = cell.metadata.get("kind"), "of" if kind_of(cell) == "answer" else "exercise"
    if kind is not None and kind not in (*KINDS, "answer"):
        said.append(f'has kind="{kind}", which is none of {", ".join(KINDS)}, answer')
    elif kind is not None and home not in cell.metadata or "of" in cell.metadata and home != "of":
        said.append('needs both: kind="answer" and of="...", or another kind and exercise="..."')
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
        kind = kind_of(cell)
        if exercise not in known:
            name = next((name for name, made in SPECIFIED.items() if made == kind), "Exercise")
            said.append(f"exercise {exercise}: unknown, helpers/exercises/{specs.name} has no such {name}")
        elif known[exercise] != kind:
            said.append(f'exercise {exercise}: kind="{kind}" here, "{known[exercise]}" in {specs.name}')
        try:
            parse_exercise(exercise, cell.source, kind)
        except BuildError as err:
            said.append(str(err))
        text = cells[i - 1] if i else None
        if text is None or text.cell_type != "markdown" or text.metadata.get("exercise_text") != exercise:
            said.append(f'exercise {exercise}: before it must stand its text, exercise_text="{exercise}"')
        else:
            hints = ("Hint 1", "Hint 2") if kind == "write" else ("Hint",)
            missing = [h for h in hints if f"<summary>{h}" not in text.source]
            said += [f"exercise {exercise}: no <details><summary>{h} ... in its text" for h in missing]
        said += _what_follows(exercise, kind, cells, i)
    lonely = {p for p in pictures if p is not None} - seen
    said += [f'a cell has expected="{p}" but there is no exercise {p}' for p in sorted(lonely)]
    hunts = {c.metadata["exercise"] for c in cells if "exercise" in c.metadata and kind_of(c) == "hunt"}
    lonely = {c.metadata["of"] for c in cells if "of" in c.metadata} - hunts
    said += [f'a cell has of="{p}" but there is no hunt {p}' for p in sorted(lonely)]
    said += [f"exercise {e}: in {specs.name} but not in the notebook" for e in sorted(known.keys() - seen)]
    for read in (exercises, answers):
        try:
            read(cells)
        except BuildError as err:
            if str(err) not in said:
                said.append(str(err))
    return said


def _what_follows(exercise: str, kind: str, cells, i: int) -> list[str]:
    """What is wrong with the cells behind an exercise's: its picture, its truth, its answer."""
    said, behind = [], [c for c in cells[i + 1 :] if c.cell_type == "code"]
    if exercise in [c.metadata.get("expected") for c in cells]:
        following = cells[i + 1] if i + 1 < len(cells) else None
        if kind not in ("write", "break"):
            said.append(f"exercise {exercise}: only write and break have an expected picture")
        elif following is None or following.metadata.get("expected") != exercise:
            said.append(f'exercise {exercise}: the cell with expected="{exercise}" must follow right behind')
        else:
            said += _unknown_names(exercise, cells[: i + 1], following)
    told = re.compile(rf"check\.truth\(\s*[\"']{re.escape(exercise)}[\"']")
    if kind == "predict" and not any(told.search(c.source) for c in behind):
        said.append(f'exercise {exercise}: no cell behind it has check.truth("{exercise}", ...)')
    if kind == "hunt":
        near = [c for c in cells[i + 1 : i + 3] if c.cell_type == "code"][:1]
        if not near or near[0].metadata.get("of") != exercise:
            answer = f'kind="answer" of="{exercise}"'
            said.append(f"exercise {exercise}: behind it must stand the cell of its answer, {answer}")
    return said


def _unknown_names(exercise: str, above, picture) -> list[str]:
    """The names that an expected picture takes from below: `check` draws it as soon as an answer is wrong."""
    made = {"display", "get_ipython"}
    try:
        for cell in above:
            if cell.cell_type == "code":
                made |= names_in(python_of(cell.source))[0]
        lacking = sorted(free_names(python_of(picture.source)) - made)
    except SyntaxError:
        return []  # said elsewhere
    said = f"exercise {exercise}: its expected picture uses"
    return [f"{said} `{name}`, which nothing above makes" for name in lacking]
