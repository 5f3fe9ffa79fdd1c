"""The verdict on one function for one exercise: right, not attempted, wrong (how) or crashed (where)."""

import ast
import copy
import inspect
import itertools
import linecache
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from types import FunctionType

from ..schedule import Schedule
from . import clues, compare, patches, sandbox, traces
from .exercise import Exercise, name_of
from .surroundings import as_before


class SpecError(Exception):
    """The exercise itself is broken: its reference, cases or a mistake fails."""


@dataclass(frozen=True)
class Verdict:
    """state: one of report.STYLES, "right" or "wrong", say; mistake: what it is, shortly."""

    state: str
    function: Callable  # what the notebook carries on with
    message: str = ""
    mistake: str = ""
    printed: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of one case; the result is a plain copy.

    args: the case's arguments; for a student's function, as they were before the call. changed: the argument
    that it changed in place, as a path ("x", "state.x"). drawn: where its generators stand afterwards.
    gradients: those of the result, where the exercise asks for them.
    """

    args: tuple
    result: object = None
    crash: sandbox.Crash | None = None
    changed: str | None = None
    drawn: dict = field(default_factory=dict)
    gradients: list | None = None


@dataclass(frozen=True)
class Observed:
    """What was seen of a function: all that `weigh` needs, wherever it ran.

    unfit: (mistake, message, state) of what is no function, before anything ran. arguments: a sentence where
    its signature does not fit. again: (number of a case) -> what `ask_again` returns of it, or None.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    printed: str = ""
    stub: bool = False
    unfit: tuple[str, str, str] | None = None
    arguments: str | None = None
    again: Callable | None = None


def decide(exercise: Exercise, function, stub: str | None = None) -> Verdict:
    """The verdict on ``function``; only a broken exercise raises (SpecError). Global generators are kept."""
    with as_before():
        return weigh(exercise, observe(exercise, function, stub), function)


def observe(exercise: Exercise, function, stub: str | None = None) -> Observed:
    """Run ``function`` on the cases. Of the reference, only the signature is asked."""
    reference = exercise.reference
    if type(function) is sandbox.Crash:
        return Observed(unfit=(function.name, compare.cap(str(function)), "crashed"))
    if _is_class(reference) != _is_class(function) or not callable(function):
        what = "a class" if _is_class(reference) else "a function"
        given = "a class" if _is_class(function) else f"a value of type {name_of(type(function))}"
        given = "a function" if type(function) is FunctionType else given
        return Observed(unfit=("type", f"The exercise asks for {what}, `check` got {given}.", "wrong"))
    nodes, seen = _trust(exercise, "its part of stubs.json", parse_stub, stub), {}

    def look(cases):
        seen["stub"] = is_stub(function, nodes)
        seen["message"] = None if seen["stub"] else _compare_signatures(exercise, function, cases[0])
        return not (seen["stub"] or seen["message"])

    outcomes, printed = run_watched(exercise, function, look)
    again = partial(ask_again, exercise, function)
    return Observed(outcomes, printed, bool(seen.get("stub")), None, seen.get("message"), again)


def weigh(exercise: Exercise, seen: Observed, function=None) -> Verdict:
    """The verdict on what was seen of ``function``, by the reference and the mistakes, which run here.

    Raises SpecError where the exercise is broken. The caller keeps the global generators.
    """
    reference, outcomes, printed = exercise.reference, seen.outcomes, seen.printed

    def decline(mistake, message, state="wrong"):
        return Verdict(state, reference, message, mistake, printed)

    if seen.unfit:
        return decline(*seen.unfit)
    if seen.stub:
        return decline("", "", "not attempted")
    expected = run_trusted(exercise, reference, "the reference")
    if seen.arguments:
        return decline("arguments", seen.arguments)
    number, crash = next(((i, o.crash) for i, o in enumerate(outcomes) if o.crash), (0, None))
    pairs = list(zip(outcomes, expected, strict=False))
    complete = not crash and len(outcomes) == len(expected)
    changes = isinstance(exercise, patches.Break)
    if path := next((o.changed for o in outcomes if o.changed), None):
        text = f"`{path}` is not as it was before the call: it was changed in place (`x += y`, `x[...] = y`, "
        return decline("input changed in place", f"{text}a method ending in `_`). Write x = x + y.")
    if not changes and (fault := traces.find_reseeded(pairs)):
        return decline(*fault)
    if complete and not changes and all(agree(exercise, e, o) for o, e in pairs):
        before = [_drawn(exercise, args) for args in cases_of(exercise)]
        if fault := traces.find_fault(exercise, pairs, before):
            return decline(*fault)
        return Verdict("right", function, exercise.verified, "", printed)
    if len(outcomes) == len(expected):
        for mistake in itertools.chain(
            exercise.mistakes, () if crash or changes else patches.pairs(exercise)
        ):
            if _is_mistake(exercise, mistake, outcomes, expected):
                return decline(mistake.name, _word_mistake(mistake, exercise, outcomes, expected))
    if crash:
        if crash.complaint:
            return decline(crash.name, crash.text)
        text, args = crash.say(_find_here(exercise, crash)), outcomes[number].args
        where = compare.case_text(exercise, args, number + 1, len(expected)) if args else ""
        return decline(crash.name, f"{text[0].upper()}{text[1:]} {where}".strip(), "crashed")
    if changes:
        lacking = _find_lacking(exercise, expected, outcomes)
        return decline(*lacking) if lacking else Verdict("right", function, exercise.verified, "", printed)
    cases = [(e.args, e.result, o.result) for o, e in pairs]
    again = partial(sandbox.attempt, _compare_again, exercise, seen.again)
    return decline(*_trust(exercise, "a property", clues.diagnose, exercise, cases, again))


def _find_here(exercise, crash) -> str:
    """What a function of an earlier notebook is called in this one, where its bare name was used; or ""."""
    found = re.match(r"name '(\w+)' is not defined", crash.text) if crash.name == "NameError" else None
    id = patches.id_of(found[1]) if found else None
    if id is None or int(id.partition(".")[0]) >= int(exercise.id.partition(".")[0]):
        return ""
    method, arguments = getattr(Schedule, found[1], None), exercise.argument_names(exercise.cases()[0])
    if method is None or "schedule" not in arguments:
        return ""
    given = ", ".join(list(inspect.signature(method).parameters)[1:])
    return f"Your `{found[1]}` of {id} is `schedule.{found[1]}({given})` here."


def _find_lacking(exercise, expected, outcomes):
    """(name, sentence) of what a changed function does not do, or None."""
    results = [o.result for o in expected]
    if said := _trust(exercise, "`wanted`", exercise.wanted, results):
        raise SpecError(f"{exercise.id}: `wanted` is not content with the solution: {said}")
    text, odd = sandbox.attempt(exercise.wanted, [o.result for o in outcomes])
    if not odd:
        return ("another effect", text) if text else None
    forms = (compare.form(e, o.result, exercise.strict_dtype) for e, o in zip(results, outcomes, strict=True))
    if form := next(filter(None, forms), None):
        return form
    raise SpecError(f"{exercise.id}: `wanted` stops with {odd.name}: {odd.text}")


def _is_mistake(exercise, mistake, outcomes, expected):
    """Whether it answers as the student does; asked case by case, until the two differ."""
    variant = []
    for i, (args, outcome) in enumerate(zip(cases_of(exercise), outcomes, strict=True)):
        variant.append(run_case(exercise, mistake.function, args, i))
        crash = variant[-1].crash
        if crash and not mistake.raises and not crash.complaint:
            raise SpecError(f"{exercise.id}: mistake {mistake.name!r} stops with {crash.name}: {crash.text}")
        if not agree(exercise, variant[-1], outcome):
            return False
    return not all(agree(exercise, e, v) for e, v in zip(expected, variant, strict=True))


def ask_again(exercise, function, number):
    """Outcomes of one case with each of its arguments changed alone, in order; its random numbers stay."""
    free = _free(exercise, number)

    def change():
        args = exercise.cases()[number]
        return [(*args[:i], clues.vary(args[i]), *args[i + 1 :]) for i in free]

    return run_watched(replace(exercise, cases=change, time_limit=1.0), function, number=number)[0]


def _free(exercise, number) -> list[int]:
    """Which arguments of a case can be changed alone."""
    names = exercise.argument_names(exercise.cases()[number])
    return [i for i, name in enumerate(names) if name != "__init__"]


def _compare_again(exercise, again, number):
    """[(argument, result of the reference, of the student)] of `ask_again`; what stops is left out."""
    names = exercise.argument_names(exercise.cases()[number])
    ours, theirs = ask_again(exercise, exercise.reference, number), again(number) if again else []
    told = zip(_free(exercise, number), ours, theirs, strict=False)
    return [(names[i], r.result, o.result) for i, r, o in told if not (r.crash or o.crash)]


def _is_class(value):
    return issubclass(type(value), type)


def _trust(exercise, what, call, *args):
    """What a part of the exercise returns; SpecError where it fails."""
    result, crash = sandbox.attempt(call, *args)
    if crash:
        raise SpecError(f"{exercise.id}: {what} stops with {crash.name}: {crash.text}")
    return result


def _drawn(exercise, args):
    return traces.drawn(exercise.argument_names(args), args)


def _changed(exercise, fresh, args):
    for name, before, after in zip(exercise.argument_names(fresh), fresh, args, strict=True):
        path = compare.changed(before, after)
        if path is not None:
            return name + path
    return None


def _word_mistake(mistake, exercise, outcomes, expected):
    if isinstance(mistake.message, str):
        return mistake.message
    o, e = next((o, e) for o, e in zip(outcomes, expected, strict=True) if not agree(exercise, e, o))
    return _trust(exercise, f"the message of mistake {mistake.name!r}", mistake.message, o.result, e.result)


def agree(exercise, expected: Outcome, got: Outcome) -> bool:
    """Two outcomes are the same: both results agree, or both stopped with the same error and text."""
    if expected.crash or got.crash:
        ends = [(o.crash.name, o.crash.text) if o.crash else None for o in (expected, got)]
        return ends[0] == ends[1]
    return compare.agree(exercise, expected.result, got.result)


def cases_of(exercise) -> list[tuple]:
    sandbox.seed_everything()
    cases = _trust(exercise, "cases()", lambda: list(exercise.cases()))
    if not cases or not all(isinstance(case, tuple) for case in cases):
        raise SpecError(f"{exercise.id}: cases() must return a list of tuples, at least one")
    return cases


def run_case(exercise, function, args, number, filename=None, put_back=lambda: None, fresh=None) -> Outcome:
    """fresh: the same arguments once more, to see whether the function changes its own."""
    args, gradients = traces.watch(args), None
    sandbox.seed_everything(number)
    result, crash = sandbox.attempt(exercise.invoke, function, args, filename=filename)
    put_back()
    if exercise.gradient and not crash:
        gradients, crash = sandbox.attempt(traces.gradients, result, args, filename=filename)
    if not crash:
        result, crash = sandbox.attempt(compare.plain, result, filename=filename)
    if fresh is None or (crash and not crash.complaint):
        return Outcome(fresh or args, result, crash, None, _drawn(exercise, args), gradients)
    changed, odd = sandbox.attempt(_changed, exercise, fresh, args)
    changed = exercise.argument_names(fresh)[0] if odd else changed
    changed = None if exercise.changes_inputs else changed
    return Outcome(fresh, result, crash, changed, _drawn(exercise, args), gradients)


def run_trusted(exercise, function, name, raises=False) -> list[Outcome]:
    """Answers of the reference or of a mistake; SpecError where they fail."""
    outcomes = [run_case(exercise, function, args, i) for i, args in enumerate(cases_of(exercise))]
    crash = next((o.crash for o in outcomes if o.crash), None)
    if crash and not raises and not (crash.complaint and function is not exercise.reference):
        raise SpecError(f"{exercise.id}: {name} stops with {crash.name}: {crash.text}")
    if function is exercise.reference and any(compare.odd(o.result) for o in outcomes):
        raise SpecError(f"{exercise.id}: {name} returns what cannot be compared")
    if function is exercise.reference and exercise.gradient:
        reached = [g for o in outcomes for g in o.gradients or () if g is not None and g.any()]
        if not reached:
            raise SpecError(f"{exercise.id}: gradient=True, but its result learns nothing from its arguments")
    return outcomes


def run_watched(exercise, function, look=lambda cases: True, number=None) -> tuple[list[Outcome], str]:
    """Answers of a student's function, from the sandbox, and what it printed; the last may be a crash.

    look: asked there first, with the cases; without answers where it returns False. number: every case is
    run with the random numbers of this one.
    """
    cases, outcomes, found = [], [], {}

    def work(put_back):
        found["file"], crash = sandbox.attempt(sandbox.file_of, function)
        cases.extend(cases_of(exercise))
        wanted, crash = (False, crash) if crash else sandbox.attempt(look, cases)
        put_back()
        if crash:
            outcomes.append(Outcome((), crash=crash))
        for i, (args, fresh) in enumerate(zip(cases_of(exercise), cases, strict=True) if wanted else ()):
            seed = i if number is None else number
            outcomes.append(run_case(exercise, function, args, seed, found["file"], put_back, fresh))
        found["all"] = True

    module = getattr(exercise.reference, "__module__", None)
    printed, crash = sandbox.run_guarded(work, exercise.time_limit, lambda: found.get("file"), module)
    if "all" not in found:
        crash = crash or sandbox.Crash("stopped", "the code ended without an answer")
        outcomes = [*outcomes, Outcome(next(iter(cases[len(outcomes) :]), ()), crash=crash)]
    return outcomes, printed


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


def parse_stub(stub: str | None):
    """The functions and classes that a stub's source defines; None for None."""
    if stub is None:
        return None
    nodes = [n for n in ast.parse(stub).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    if not nodes:
        raise ValueError("it defines no function")
    return nodes


def is_stub(function, nodes=None) -> bool:
    """True where the function (or class) is the stub, docstrings and comments aside.

    nodes: what the stub defines; None: a function (or method of a class) whose body is ``...`` or ``pass``.
    """
    node, name = find_definition(function), getattr(function, "__name__", "")
    if nodes is None:
        return node is not None and any(_is_empty(n) for n in ast.walk(node))
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
