"""The verdict on one function for one exercise: right, not attempted, wrong (how) or crashed (where)."""

import ast
import copy
import dataclasses
import inspect
import linecache
from collections.abc import Callable
from dataclasses import dataclass

import torch

from . import compare, sandbox
from .exercise import Complaint, Exercise


class SpecError(Exception):
    """The exercise itself is broken: its reference, cases or a mistake fails."""


@dataclass(frozen=True)
class Verdict:
    """state: "right", "not attempted", "wrong", "crashed" or "broken"; mistake: what it is, shortly."""

    state: str
    function: Callable  # what the notebook carries on with
    message: str = ""
    mistake: str = ""
    printed: str = ""


@dataclass(frozen=True)
class Outcome:
    args: tuple
    result: object = None
    crash: sandbox.Crash | None = None


def decide(exercise: Exercise, function, stub: str | None = None) -> Verdict:
    """The verdict on ``function``; only a broken exercise raises (SpecError). Global generators are kept."""
    with sandbox.same_randomness():
        return _decide(exercise, function, stub)


def _decide(exercise, function, stub):
    reference, printed = exercise.reference, ""

    def decline(mistake, message, state="wrong"):
        return Verdict(state, reference, message, mistake, printed)

    if inspect.isclass(reference) != inspect.isclass(function) or not callable(function):
        what = "a class" if inspect.isclass(reference) else "a function"
        given = "a class" if inspect.isclass(function) else f"a value of type {type(function).__name__}"
        given = "a function" if inspect.isfunction(function) else given
        return decline("type", f"The exercise asks for {what}, `check` got {given}.")
    if is_stub(function, stub):
        return decline("", "", "not attempted")
    expected = run_trusted(exercise, reference, "the reference")
    if message := _compare_signatures(exercise, function, expected[0].args):
        return decline("arguments", message)
    outcomes, printed = run_watched(exercise, function)
    crash = next((o for o in outcomes if o.crash), None)
    pairs = list(zip(outcomes, expected, strict=False))
    complete = not crash and len(outcomes) == len(expected)
    if path := None if exercise.changes_inputs else _find_changed_input(exercise, outcomes):
        text = f"`{path}` is not as it was before the call: it was changed in place (`x += y`, `x[...] = y`, "
        return decline("input changed in place", f"{text}a method ending in `_`). Write x = x + y.")
    if complete and all(agree(exercise, e, o) for o, e in pairs):
        if name := _find_unused_generator(exercise, pairs):
            text = f"The numbers are right, but `{name}` was not used: draw from it, for seeds to work."
            return decline("generator not used", text)
        return Verdict("right", function, exercise.verified, "", printed)
    if len(outcomes) == len(expected):
        for mistake in exercise.mistakes:
            variant = run_trusted(exercise, mistake.function, f"mistake {mistake.name!r}", mistake.raises)
            known = all(agree(exercise, v, o) for v, o in zip(variant, outcomes, strict=True))
            if known and not all(agree(exercise, e, v) for e, v in zip(expected, variant, strict=True)):
                return decline(mistake.name, _word_mistake(mistake, exercise, outcomes, expected))
    if crash:
        if isinstance(crash.crash.error, Complaint):
            return decline(crash.crash.error.name, crash.crash.error.text)
        text = f"{crash.crash}"
        where = compare.case_text(exercise, crash.args, outcomes.index(crash) + 1, len(expected))
        return decline(crash.crash.name, f"{text[0].upper()}{text[1:]} {where}", "crashed")
    return decline(*compare.diagnose(exercise, [(e.args, e.result, o.result) for o, e in pairs]))


def _find_changed_input(exercise, outcomes):
    """The first argument that no longer equals a fresh one, as a path ("x", "state.x"), or None."""
    for fresh, outcome in zip(cases_of(exercise), outcomes, strict=False):
        if outcome.crash and not isinstance(outcome.crash.error, Complaint):
            continue
        for name, a, b in zip(exercise.argument_names(fresh), fresh, outcome.args, strict=True):
            path = compare.changed(a, b)
            if path is not None:
                return name + path
    return None


def _find_unused_generator(exercise, pairs):
    """The name of a torch.Generator that the reference draws from and the student does not, or None."""
    for fresh, (got, expected) in zip(cases_of(exercise), pairs, strict=True):
        for name, *three in zip(exercise.argument_names(fresh), fresh, expected.args, got.args, strict=True):
            if all(isinstance(value, torch.Generator) for value in three):
                before, theirs, ours = (value.get_state() for value in three)
                if torch.equal(before, ours) and not torch.equal(before, theirs):
                    return name
    return None


def _word_mistake(mistake, exercise, outcomes, expected):
    if isinstance(mistake.message, str):
        return mistake.message
    o, e = next((o, e) for o, e in zip(outcomes, expected, strict=True) if not agree(exercise, e, o))
    try:
        return mistake.message(o.result, e.result)
    except Exception as error:
        raise SpecError(f"{exercise.id}: the message of mistake {mistake.name!r} fails: {error!r}") from error


def agree(exercise, expected: Outcome, got: Outcome) -> bool:
    """Two outcomes are the same: both results agree, or both stopped with the same error and text."""
    if expected.crash or got.crash:
        ends = [(o.crash.name, o.crash.text) if o.crash else None for o in (expected, got)]
        return ends[0] == ends[1]
    return compare.agree(exercise, expected.result, got.result)


def cases_of(exercise) -> list[tuple]:
    sandbox.seed_everything()
    cases = list(exercise.cases())
    if not cases or not all(isinstance(case, tuple) for case in cases):
        raise SpecError(f"{exercise.id}: cases() must return a list of tuples, at least one")
    return cases


def run_case(exercise, function, args, number, filename=None) -> Outcome:
    sandbox.seed_everything(number)
    try:
        return Outcome(args, exercise.invoke(function, args))
    except BaseException as error:
        if isinstance(error, sandbox.TimeLimit):
            raise
        crash = sandbox.crash_of(error, filename)
        error.__traceback__ = error.__context__ = error.__cause__ = None  # frees the frames and their tensors
        return Outcome(args, crash=crash)


def run_trusted(exercise, function, name, raises=False) -> list[Outcome]:
    """Answers of the reference or of a mistake; SpecError where they fail."""
    outcomes = [run_case(exercise, function, args, i) for i, args in enumerate(cases_of(exercise))]
    crash = next((o.crash for o in outcomes if o.crash), None)
    if crash and not raises:
        if isinstance(crash.error, KeyboardInterrupt):
            raise crash.error
        if not (isinstance(crash.error, Complaint) and function is not exercise.reference):
            raise SpecError(f"{exercise.id}: {name} stops with {crash.name}: {crash.text}")
    return outcomes


def run_watched(exercise, function) -> tuple[list[Outcome], str]:
    """Answers of a student's function, from the sandbox, and what it printed; the last may be a crash."""
    cases, outcomes, filename = cases_of(exercise), [], sandbox.file_of(function)

    def work():
        for i, args in enumerate(cases):
            outcomes.append(run_case(exercise, function, args, i, filename))
            if outcomes[-1].crash and not isinstance(outcomes[-1].crash.error, Exception):
                return

    run = sandbox.run_guarded(work, exercise.time_limit, filename)
    outcomes = list(outcomes)
    if len(outcomes) < len(cases) and not (outcomes and outcomes[-1].crash):
        crash = run.late or sandbox.Crash("stopped", "the code ended without an answer")
        if not run.stopped:
            text = f"{crash.text}. It could not be stopped: restart the kernel if the machine stays busy"
            crash = dataclasses.replace(crash, text=text)
        outcomes.append(Outcome(cases[len(outcomes)], crash=crash))
    return outcomes, run.printed


def _compare_signatures(exercise, function, args):
    theirs, ours = (
        (f.forward if inspect.isclass(f) and hasattr(f, "forward") else f)
        for f in (function, exercise.reference)
    )
    try:
        signature, wanted = inspect.signature(theirs), inspect.signature(ours)
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        names = [p.name for p in wanted.parameters.values() if p.kind in positional]
        need = [p.name for p in wanted.parameters.values() if p.kind in positional and p.default is p.empty]
    except (TypeError, ValueError):
        return None
    names = names[: len(args)] if exercise.call is None else need
    try:
        signature.bind(*names)
    except TypeError:
        method = inspect.isclass(function)
        has = [str(p).split(":")[0].split("=")[0] for p in signature.parameters.values()][method:]
        names = names[method:]
        return (
            f"{'`forward`' if method else 'The function'} takes {len(has)} argument{'s' * (len(has) != 1)}, "
            f"({', '.join(has)}); the exercise passes {len(names)}: ({', '.join(names)})."
        )
    return None


# Not attempted: the syntax tree is still the stub's.


def is_stub(function, stub: str | None = None) -> bool:
    """True where the function (or class) is the stub, docstrings and comments aside.

    stub: its source; without one, a function (or a method of a class) whose body is ``...`` or ``pass``.
    """
    node, name = find_definition(function), getattr(function, "__name__", "")
    if stub is None:
        return node is not None and any(_is_empty(n) for n in ast.walk(node))
    nodes = [n for n in ast.parse(stub).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    if not nodes:
        raise SpecError(f"the stub of {name} defines no function")
    other = next((n for n in nodes if n.name == name), nodes[-1])
    return node is not None and _canonical(node) == _canonical(other)


def find_definition(function) -> ast.AST | None:
    """The function's definition, parsed from its file or notebook cell; None where there is no source."""
    code, name = sandbox.code_of(function), getattr(function, "__name__", None)
    if code is None:
        return None
    try:
        tree = ast.parse("".join(linecache.getlines(code.co_filename)))
    except (SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            first = min([node.lineno] + [d.lineno for d in node.decorator_list])
            inside = isinstance(node, ast.ClassDef) and first <= code.co_firstlineno <= node.end_lineno
            if inside or first == code.co_firstlineno:
                return node
    return None


def _canonical(node):
    node = copy.deepcopy(node)
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.ClassDef):
            part.body = [s for s in part.body if not _says_nothing(s)] or [ast.Pass()]
    return ast.dump(node)


def _is_empty(node):
    return isinstance(node, ast.FunctionDef) and all(map(_says_nothing, node.body))


def _says_nothing(statement):
    """`pass`, `...` or a docstring."""
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return constant or isinstance(statement, ast.Pass)
