"""The pages of mistakes, NN_mistakes.md, and helpers/exercises/mistakes.json, which is built from them.

helpers/exercises/patches.py says how a page is written, and reads what is built. Only notebooks that have a
page are in the file; nbNN.py of the others holds references and mistakes itself.
"""

from __future__ import annotations

import ast
import importlib.util
import itertools
import json
import re
import threading
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from helpers.exercises import patches
from helpers.exercises import written as guesses
from helpers.exercises.hunt import Hunt
from helpers.exercises.part import names_of
from helpers.exercises.predict import Prediction
from helpers.exercises.verdict import SpecError, agree, run_trusted

from . import hunting
from .course import BuildError, Course, natural, read_json, read_text, write_text
from .fingerprint import strip_comments
from .placing import Written, edit, sentences
from .source import answers, exercises, free_names, python_of, read_source

EXERCISE = re.compile(r"# (\d+\.\d+) (\S.*)")
MISTAKE = re.compile(r"## (.+?)( \(stops with an error\))?")
ANSWER = re.compile(r"(?: {4})?answer: *(.*)")
CHANGE = re.compile(r"(?: {4})?([-+])(?: (.*))?")
MY = "my = mine.parts()"  # in a notebook; what its solutions and mistakes use of it are references
CONSTANTS = (ast.Constant, ast.Tuple, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Load)


MADE_BY = {"write": patches.Exercise, "break": patches.Break, "predict": Prediction, "hunt": Hunt}


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


def build(course: Course, number: str, beside: dict | None = None) -> Page:
    """Build the page of one notebook; nothing is run. Raises BuildError with all that is wrong, by line.

    beside: entries of other notebooks, whose solutions this one may call; None: those in mistakes.json.
    A hunt has its table only where mistakes.json has one that was measured on the very same code.
    """
    page = Page(course.sources / f"{number}_mistakes.md")
    if not page.path.exists():
        return page
    cells = read_source(course.source_paths(number)[0])
    solutions, above = exercises(cells), given_by(cells)
    pictures = {c.metadata["expected"]: python_of(c.source) for c in cells if "expected" in c.metadata}
    hunts = []
    for (line, id, title), written in read_page(read_text(page.path), page.wrong).items():
        kind = solutions[id].kind if id in solutions else None
        if id in page.entries or kind is None or kind == "write" and solutions[id].name != title:
            said = "stands here twice" if id in page.entries else "is no exercise of its notebook"
            page.wrong.append((line, f"{id} {title} {said}"))
            continue
        page.written[id], before = written, len(page.wrong)
        if kind == "hunt":
            page.entries[id] = {}  # made at the end, when the solutions that its pipeline may call are there
            hunts.append((line, id, title))
            continue
        if kind == "predict":
            page.entries[id] = predicted(title, written, page.wrong)
            continue
        changes = [m for m in written if kind == "write" or m.answer is None and m.name != "right"]
        source, (made, run) = strip_comments(solutions[id].source or solutions[id].solution), above[id]
        for mistake in changes:
            page.wrong += edit(source, mistake, run)
        if len(page.wrong) > before:
            continue
        variants = [patches.patch(source, mistake.edits) for mistake in changes]
        stub = strip_comments(solutions[id].stub) if kind == "break" else ""
        entry = dict(name=solutions[id].name, source=source, given=needed([source, stub, *variants], made))
        if kind == "break":
            entry = dict(kind=kind, title=title, **entry, stub=stub)
            entry |= reasons(written, solutions[id], page.wrong)
        elif id in pictures:
            entry["expected"] = pictures[id]
        known = [[m.name, m.edits, m.message, *[True] * m.raises] for m in changes]
        page.entries[id], page.written[id] = entry | dict(mistakes=known), changes
    if hunts:
        known = read_json(target(course))
        found = hunting.Found(course, number, answers(cells), known, known | (beside or {}))
        for line, id, title in hunts:
            page.entries[id] = found.build(page, line, id, title)
    page.refuse()
    return page


def predicted(title: str, written: list[Written], wrong: list) -> dict:
    """The entry of a prediction: what is often said in place of the truth."""
    entry = dict(kind="predict", name=title) | take_right(written)
    for mistake in (m for m in written if m.name != "right"):
        if not mistake.answer or mistake.pieces:
            said = "write `answer: ...`, what is predicted, and no patch"
            wrong.append((mistake.line, f"{mistake.name}: {said}"))
    wrong += sentences(written)
    return entry | dict(mistakes=[[m.name, m.answer, m.message] for m in written if m.name != "right"])


def reasons(written: list[Written], solution, wrong: list) -> dict:
    """The part of a break's entry that is about why: the letters of the wrong reasons."""
    letters = [m for m in written if m.answer is not None]
    for m in letters:
        if not re.fullmatch("[a-z]", m.answer) or m.answer == solution.why or m.pieces:
            wrong.append((m.line, f"{m.name}: `answer: {m.answer}` is no letter of a wrong reason"))
    wrong += sentences([m for m in written if m.answer is not None or m.name == "right"])
    return dict(reasons=[[m.answer, m.message] for m in letters]) | take_right(written)


def take_right(written: list[Written]) -> dict:
    """What is shown with a right answer, from the part `## right`; nothing where there is none."""
    return next(({"right": m.message} for m in written if m.name == "right"), {})


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
        elif (said := ANSWER.fullmatch(line)) and not mistake.message:
            mistake.answer = said[1].strip()
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
            fixed = may_be_repeated(node)
            for name in sorted(names_of(node)):
                made.pop(name, None)
                run.discard(name)
                if ast.unparse(node) == MY:
                    made[name] = "my = mine.references()"
                elif fixed:
                    made[name] = ast.unparse(node) if isinstance(node, ast.Assign) else statement(node, code)
                else:
                    run.add(name)
    return found


def statement(node, code: str) -> str:
    """A statement as it is written, with its decorators, without comments and docstrings."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    return strip_comments("\n".join(code.splitlines()[first - 1 : node.end_lineno]))


def may_be_repeated(node) -> bool:
    """Whether a statement may be repeated elsewhere at no cost: an import, a definition, a constant."""
    if isinstance(node, ast.Assign):
        return all(isinstance(n, CONSTANTS) for n in ast.walk(node.value))
    return isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)


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


# Proving ------------------------------------------------------------------------------------------


def prove(course: Course, number: str, page: Page, say=print, beside: dict | None = None) -> None:
    """Run the solutions and mistakes of a page on the exercises' cases, and measure its hunts.

    beside: entries of other notebooks, whose solutions the cases and pipelines may call.

    Raises BuildError, with the line, for a mistake that stops (or does not, though its page says so), whose
    message fails, or that no case tells from the solution or from another mistake.
    """
    with patches.reading((beside or {}) | page.entries):
        spec = load_exercises(course, number)
        known = {e.id: e for e in spec["EXERCISES"]}
        for id, written in page.written.items():
            kind = page.entries[id].get("kind", "write")
            if type(known.get(id)) is not MADE_BY[kind]:
                name, home = MADE_BY[kind].__name__, MADE_BY[kind].__module__.split(".")[-1]
                page.wrong.append((1, f'nb{number}.py has no {name}("{id}", ...) of {home}.py'))
                continue
            try:
                if kind == "predict":
                    page.wrong += prove_prediction(known[id], written, spec)
                elif kind == "hunt":
                    page.wrong += hunting.prove(known[id], page.entries[id], written, say)
                else:
                    page.wrong += prove_exercise(known[id], written)
                    page.wrong += prove_break(known[id], page.entries[id], written) if kind == "break" else []
                    say("\n".join(report_pairs(known[id])))
            except SpecError as err:
                raise BuildError(f"notebook {number}: {err}") from err
    page.refuse()


def load_exercises(course: Course, number: str) -> dict:
    """The names of a notebook's spec file, EXERCISES among them, as it stands now, whatever is imported."""
    path = course.exercise_specs(number)
    try:
        spec = importlib.util.spec_from_file_location(f"helpers.exercises.nb{number}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return vars(module)
    except (Exception, SystemExit) as err:
        frames = traceback.extract_tb(err.__traceback__)
        at = "".join([f", line {f.lineno}" for f in frames if f.filename == str(path)][-1:])
        raise BuildError(f"{path.name}{at}: {type(err).__name__}: {err}") from err


def prove_break(exercise, entry: dict, written: list[Written]) -> list:
    """What is wrong with a break: the effect, the given function, the letters."""
    wrong = []

    def effect(function, name):
        return exercise.wanted([outcome.result for outcome in run_trusted(exercise, function, name)])

    if said := effect(exercise.reference, "the solution"):
        wrong.append((1, f"{exercise.id}: its solution has not the wanted effect: {said}"))
    names = patches.run(entry["given"], f"<{exercise.id}: what is given>", {})
    given = patches.run(entry["stub"], f"<{exercise.id}: as given>", names)[entry["name"]]
    if effect(given, "the given function") is None:
        wrong.append((1, f"{exercise.id}: the given function has the wanted effect already"))
    lacking = set(exercise.options) - {exercise.why} - {letter for letter, _ in entry["reasons"]}
    for letter in sorted(lacking):
        wrong.append(
            (1, f"{exercise.id}: no sentence for reason {letter}: write `## name`, `answer: {letter}`")
        )
    return wrong


def prove_prediction(exercise, written: list[Written], names: dict) -> list:
    """What is wrong with the listed answers of a prediction: those that have not its form."""
    wrong = []
    for mistake in (m for m in written if m.name != "right"):
        if called := re.fullmatch(r"(\w+)\(\)", mistake.answer):
            said = None if callable(names.get(called[1])) else f"the notebook's exercises have no {called[1]}"
        else:
            said = None  # nothing is wrong with it
            try:
                guesses.read(exercise.form, mistake.answer, loose=True)
            except ValueError as err:
                said = f"`answer: {mistake.answer}` is not of the form {exercise.form!r}: {err}"
        wrong += [(mistake.line, f"{mistake.name}: {said}")] if said else []
    return wrong


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
        page = build(course, number, entries)
        if page.entries and (always or as_json(page) != stands(course, number)):
            prove(course, number, page, say, entries)
        entries |= page.entries
    blocks = []
    for id, entry in sorted(entries.items(), key=lambda item: natural(item[0])):
        listed = "cases" if entry.get("kind") == "hunt" else "mistakes"
        head = json.dumps({k: v for k, v in entry.items() if k != listed})[:-1]
        rows = ",\n ".join(json.dumps(mistake, ensure_ascii=False) for mistake in entry[listed])
        blocks.append(f'"{id}": {head}, "{listed}": [\n {rows}]}}')
    if not blocks and not target(course).exists():
        return []
    changed = write_text(target(course), "{\n" + ",\n".join(blocks) + "\n}\n")
    return [str(target(course).relative_to(course.root))] if changed else []
