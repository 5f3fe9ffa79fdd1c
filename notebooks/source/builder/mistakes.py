"""The pages of mistakes, NN_mistakes.md, and helpers/exercises/mistakes.json, which is built from them.

helpers/exercises/patches.py says how a page is written, and reads what is built. Only notebooks that have a
page are in the file; nbNN.py of the others holds references and mistakes itself.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import itertools
import json
import re
import symtable
import textwrap
import threading
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from helpers.exercises import patches
from helpers.exercises.verdict import SpecError, agree, run_trusted

from .course import BuildError, Course, natural, read_json, read_text, write_text
from .fingerprint import strip_comments
from .source import exercises, python_of, read_source

EXERCISE = re.compile(r"# (\d+\.\d+) (\w+)")
MISTAKE = re.compile(r"## (.+?)( \(stops with an error\))?")
CHANGE = re.compile(r"(?: {4})?([-+])(?: (.*))?")
CONSTANTS = (ast.Constant, ast.Tuple, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Load)


@dataclass
class Written:
    """A mistake as it stands on a page; pieces: (line, what the solution says, what stands there instead)."""

    line: int
    name: str
    raises: bool
    pieces: list = field(default_factory=list)
    message: str = ""
    edits: list = field(default_factory=list)  # of the solution's source


@dataclass
class Page:
    """What a page and its notebook's source make: entries of mistakes.json; what is wrong, (line, text)."""

    path: Path
    entries: dict = field(default_factory=dict)
    written: dict = field(default_factory=dict)  # id -> its mistakes
    wrong: list = field(default_factory=list)

    def refuse(self) -> None:
        if self.wrong:
            said = [f"{self.path.name}, line {line}: {text}" for line, text in sorted(set(self.wrong))]
            raise BuildError("\n".join(said))


def build(course: Course, number: str) -> Page:
    """Build the page of one notebook; nothing is run. Raises BuildError with all that is wrong, by line."""
    page = Page(course.sources / f"{number}_mistakes.md")
    if not page.path.exists():
        return page
    cells = read_source(course.source_paths(number)[0])
    solutions, above = exercises(cells), given_by(cells)
    for (line, id, name), written in read_page(read_text(page.path), page.wrong).items():
        if id in page.entries or id not in solutions or solutions[id].name != name:
            said = "stands here twice" if id in page.entries else "is no exercise of its notebook"
            page.wrong.append((line, f"{id} {name} {said}"))
            continue
        source, (made, run) = strip_comments(solutions[id].solution), above[id]
        for mistake in written:
            page.wrong += edit(source, mistake, run)
        if not page.wrong:
            variants = [patches.patch(source, mistake.edits) for mistake in written]
            given = needed([source, *variants], made)
            known = [[m.name, m.edits, m.message, *[True] * m.raises] for m in written]
            page.entries[id] = dict(name=name, source=source, given=given, mistakes=known)
            page.written[id] = written
    page.refuse()
    return page


def read_page(text: str, wrong: list) -> dict[tuple, list[Written]]:
    """The mistakes on a page by (line, id, name) of their exercise; what is wrong goes to `wrong`."""
    found, mistakes, mistake, apart = {}, [], None, True
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.rstrip()
        if line.startswith("# "):
            head, mistakes, mistake = EXERCISE.fullmatch(line), [], None
            if head:
                found[number, *head.groups()] = mistakes
            else:
                wrong.append((number, "an exercise begins like `# 1.3 q_sample`"))
        elif line.startswith("## "):
            name, raises = MISTAKE.fullmatch(line).groups()
            if name in [m.name for m in mistakes]:
                wrong.append((number, f"{name}: stands here twice"))
            mistake, apart = Written(number, name, bool(raises)), True
            mistakes.append(mistake)
        elif mistake is None or line.startswith("```"):
            pass  # the page's opening words; a fence around a patch
        elif not line:
            apart = True
        elif (change := CHANGE.fullmatch(line)) and not mistake.message:
            if apart or change[1] == "-" and mistake.pieces[-1][2]:
                mistake.pieces.append((number, [], []))
            mistake.pieces[-1][1 if change[1] == "-" else 2].append(change[2] or "")
            apart = False
        else:
            mistake.message = f"{mistake.message} {line.strip()}".strip()
    return found


# From a patch to edits ----------------------------------------------------------------------------


def edit(source: str, mistake: Written, run: set) -> list:
    """Write the edits of a mistake into it; what is wrong. run: names that only running a cell makes."""
    wrong = []
    for line, old, new in mistake.pieces:
        try:
            mistake.edits.append(place(source, old, new))
        except ValueError as err:
            wrong.append((line, str(err)))
    if not mistake.pieces:
        wrong.append((mistake.line, "no patch stands behind its name"))
    if not mistake.message.endswith((".", "?", "}")):
        wrong.append((mistake.line, "its message does not end like a sentence"))
    if not wrong and any(not patches.compose([a], [b]) for a, b in itertools.combinations(mistake.edits, 2)):
        wrong.append((mistake.line, "two of its pieces overlap"))
    if not wrong:
        try:
            lacking = sorted(free_names(patches.patch(source, mistake.edits)) & run)
            wrong += [(mistake.line, f"only running a cell makes `{name}`: do without") for name in lacking]
        except SyntaxError as err:
            wrong.append((mistake.line, f"no valid Python ({err.msg}: `{(err.text or '').strip()}`)"))
    return [(line, f"{mistake.name}: {text}") for line, text in wrong]


def place(source: str, old: list[str], new: list[str]) -> tuple[int, int, str]:
    """Where `old` stands in the source, and what replaces it there. ValueError unless there is one place."""
    lines = textwrap.dedent("\n".join([*old, *new])).split("\n")
    old, new, found = lines[: len(old)], lines[len(old) :], {}
    if not any(old):
        raise ValueError("`+` needs a `-` before it: the line next to which it stands, to be repeated")
    for indent in {re.match(" *", line)[0] for line in source.split("\n")}:
        wanted = f"\n{indent}".join(old)
        before, after = (r"\b" if re.match(r"\w", end) else "" for end in (wanted[0], wanted[-1]))
        for match in re.finditer(before + re.escape(wanted) + after, source):
            first = source.rfind("\n", 0, match.start()) + 1
            if re.match(" *", source[first:])[0] == indent:
                found[match.span()] = first, indent
    if len(found) != 1:
        often = f"stands in the solution {len(found)} times: write more of the line"
        raise ValueError(f"`{' | '.join(old)}` {often if found else 'does not stand in the solution'}")
    [((start, end), (first, indent))] = found.items()
    last = (source + "\n").find("\n", end)
    if not new and not (source[first:start] + source[end:last]).strip():
        return first, last + 1, ""  # whole lines go
    return trim(start, source[start:end], f"\n{indent}".join(new))


def trim(start: int, old: str, new: str) -> tuple[int, int, str]:
    """An edit without what is the same at its ends, so that it collides with fewer others."""
    a, b = (re.findall(r"\w+|\s+|.", text) for text in (old, new))
    if a == b:
        raise ValueError("`-` and `+` say the same")
    while a and b and a[0] == b[0]:
        start += len(a.pop(0))
        b.pop(0)
    while a and b and a[-1] == b[-1]:
        a.pop()
        b.pop()
    return start, start + len("".join(a)), "".join(b)


# What the cells above give ------------------------------------------------------------------------


def given_by(cells) -> dict[str, tuple[dict, set]]:
    """For each exercise: {name: the statement above its cell that makes it}, names only running makes."""
    made, run, found = {}, set(), {}
    for cell in cells:
        if cell.cell_type != "code":
            continue
        id = cell.metadata.get("exercise")
        if id is not None:
            found[id] = dict(made), set(run)
        code = exercises([cell])[id].solution if id else python_of(cell.source)
        for node in ast.parse(code).body:
            names, fixed = names_of(node)
            for name in names:
                made.pop(name, None)
                run.discard(name)
                if fixed:
                    made[name] = ast.unparse(node) if isinstance(node, ast.Assign) else statement(node, code)
                else:
                    run.add(name)
    return found


def statement(node, code: str) -> str:
    """A statement as it is written, with its decorators, without comments and docstrings."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    return strip_comments("\n".join(code.splitlines()[first - 1 : node.end_lineno]))


def names_of(node) -> tuple[list, bool]:
    """The names that a statement makes, and whether it may be repeated elsewhere at no cost."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names], True
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name], True
    names = [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    fixed = isinstance(node, ast.Assign) and all(isinstance(n, CONSTANTS) for n in ast.walk(node.value))
    return names, fixed


def needed(sources: list[str], made: dict) -> str:
    """The statements that make the names which the sources use, and what those use in turn."""
    taken = {}

    def take(source):
        for name in sorted(free_names(source) & made.keys()):
            if made[name] not in taken:
                take(made[name])
                taken[made[name]] = name

    for source in sources:
        take(source)
    return "\n".join(sorted(taken, key=lambda text: not text.startswith(("import ", "from "))))


def free_names(source: str) -> set[str]:
    """The names that a piece of Python takes from outside, those of Python itself left out."""
    top = symtable.symtable(source, "<source>", "exec")
    used, own, waiting = set(), {s.get_name() for s in top.get_symbols() if s.is_local()}, [top]
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        used |= {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
    return {name for name in used - own if not hasattr(builtins, name)}


# Proving ------------------------------------------------------------------------------------------


def prove(course: Course, number: str, page: Page, say=print) -> None:
    """Run the solutions and mistakes of a page on the exercises' cases.

    Raises BuildError, with the line, for a mistake that stops (or does not, though its page says so), whose
    message fails, or that no case tells from the solution or from another mistake.
    """
    with patches.reading(page.entries):
        known = {e.id: e for e in load_exercises(course, number)}
        for id, written in page.written.items():
            if type(known.get(id)) is not patches.Exercise:
                page.wrong.append((1, f'nb{number}.py has no Exercise("{id}", ...) of patches.py'))
                continue
            try:
                page.wrong += prove_exercise(known[id], written)
            except SpecError as err:
                raise BuildError(f"notebook {number}: {err}") from err
            say("\n".join(report_pairs(known[id])))
    page.refuse()


def load_exercises(course: Course, number: str) -> list:
    """EXERCISES of a notebook's spec file as it stands now, whatever is imported already."""
    path = course.exercise_specs(number)
    try:
        spec = importlib.util.spec_from_file_location(f"helpers.exercises.nb{number}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.EXERCISES
    except (Exception, SystemExit) as err:
        frames = traceback.extract_tb(err.__traceback__)
        at = "".join([f", line {f.lineno}" for f in frames if f.filename == str(path)][-1:])
        raise BuildError(f"{path.name}{at}: {type(err).__name__}: {err}") from err


def prove_exercise(exercise, written: list[Written]) -> list:
    right = run_trusted(exercise, exercise.reference, "the solution")
    wrong, answers = [], {"the solution": right}
    for mark, mistake in zip(written, exercise.mistakes, strict=True):
        outcomes = run_within(exercise.time_limit, run_trusted, exercise, mistake.function, "", True)
        said, crash = None, next((o.crash for o in outcomes or () if o.crash and not o.crash.complaint), None)
        same = [name for name, theirs in answers.items() if outcomes and alike(exercise, theirs, outcomes)]
        if outcomes is None:
            said = f"not finished after {exercise.time_limit:g} s"
        elif crash and not mistake.raises:
            said = f"stops with {crash}"
        elif mistake.raises and not crash:
            said = "does not stop with an error"
        elif same:
            said = f"no case tells it from {same[0]}"
        elif callable(mistake.message):
            e, o = next((e, o) for e, o in zip(right, outcomes, strict=True) if not agree(exercise, e, o))
            try:
                mistake.message(o.result, e.result)
            except Exception as err:
                said = f"its message fails ({type(err).__name__}: {err})"
        wrong += [(mark.line, f"{mistake.name}: {said}")] if said else []
        answers[repr(mistake.name)] = outcomes or []
    return wrong


def run_within(seconds: float, call, *args):
    """What a call returns; None where it has not done so in time."""
    box = []
    thread = threading.Thread(target=lambda: box.append(call(*args)), daemon=True)
    thread.start()
    thread.join(seconds)
    return box[0] if box else None


def alike(exercise, these: list, those: list) -> bool:
    return len(these) == len(those) and all(agree(exercise, a, b) for a, b in zip(these, those, strict=True))


def report_pairs(exercise) -> list[str]:
    """Which mistakes of an exercise can be tried together, and which exclude each other."""
    fit, apart = [m for m in exercise.mistakes if not m.raises], []
    for one in fit:
        others = [m.name for m in fit if m is not one and not patches.compose(one.edits, m.edits)]
        apart += [f"  {one.name}: not with {', '.join(others)}"] if others else []
    pairs = sum(1 for a, b in itertools.combinations(fit, 2) if patches.compose(a.edits, b.edits))
    return [f"{exercise.id} {exercise.title}: {len(exercise.mistakes)} mistakes, {pairs} pairs", *apart]


# The file -----------------------------------------------------------------------------------------


def target(course: Course) -> Path:
    return course.helpers / "exercises" / "mistakes.json"


def stands(course: Course, number: str) -> dict:
    """The entries of one notebook as they stand in mistakes.json."""
    return {k: v for k, v in read_json(target(course)).items() if k.partition(".")[0] == str(int(number))}


def as_json(page: Page) -> dict:
    return json.loads(json.dumps(page.entries))


def stale(course: Course, number: str) -> list[str]:
    """Why the mistakes of a notebook are out of step, in words; [] where they are not. Nothing is run."""
    if as_json(build(course, number)) == stands(course, number):
        return []
    return [f"{target(course).relative_to(course.root)} differs from {number}_mistakes.md or the solutions"]


def write_mistakes(course: Course, only: str | None = None, always=False, say=print) -> list[str]:
    """Write mistakes.json anew for all notebooks (or one); returns its name where it changed.

    always: prove every page; else those pages that have changed.
    """
    numbers = [path.name[:2] for path in course.source_paths(only)]
    own = {str(int(number)) for number in numbers}
    entries = {k: v for k, v in read_json(target(course)).items() if only and k.partition(".")[0] not in own}
    for number in numbers:
        page = build(course, number)
        if page.entries and (always or as_json(page) != stands(course, number)):
            prove(course, number, page, say)
        entries |= page.entries
    blocks = []
    for id, entry in sorted(entries.items(), key=lambda item: natural(item[0])):
        head = json.dumps({k: v for k, v in entry.items() if k != "mistakes"})[:-1]
        rows = ",\n ".join(json.dumps(mistake, ensure_ascii=False) for mistake in entry["mistakes"])
        blocks.append(f'"{id}": {head}, "mistakes": [\n {rows}]}}')
    if not blocks and not target(course).exists():
        return []
    changed = write_text(target(course), "{\n" + ",\n".join(blocks) + "\n}\n")
    return [str(target(course).relative_to(course.root))] if changed else []
