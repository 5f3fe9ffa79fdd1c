"""Mistakes as patches of a notebook's own solution.

A solution stands once, between its markers in notebooks/source/NN_name.py. The mistakes stand beside it, on
the page notebooks/source/NN_mistakes.md. `make editions` builds both into mistakes.json, which ships. A page:

    # 1.3 q_sample
    ## variance for standard deviation
        - (1 - a).sqrt()
        + (1 - a)
    x_t has variance {got.var():.2f} where {want.var():.2f} was expected: take the root.
    ## alpha-bar not reshaped (stops with an error)
        - at(schedule.alpha_bar, t, x0)
        + schedule.alpha_bar[t]
    schedule.alpha_bar[t] has shape (B,), which does not line up with x0: use `at`.

- `-` is what the solution says, `+` what the student says instead: lines, or a part of one. What follows `-`
  must occur once in the solution (comments and docstrings aside); if not, write more of the line. Lines that
  follow each other are one piece; a `-` behind a `+` or behind an empty line begins another. Without `+` the
  piece is left out. To add a line, replace its neighbour by both.
- A patch may use what the solution's cell can: imports, functions, classes and constants of the cells above.
- The message is one paragraph. {got...} and {want...} are numbers of the student's result and of the expected
  one, in the first case where the two differ: arithmetic, indices, and the METHODS and CALLS below.
  {quote()} puts in quote(got, want) of nbNN.py. Other braces are braces.
- "(stops with an error)" behind the name: this variant raises. A student's error counts as this mistake when
  the same case stops with the same error and message.
- Mistakes are tried, and listed, in the order of the page. The build stops and names the line where a patch
  does not fit or does not run, or where no case tells it from the solution or from another mistake.

Python keeps the rest, nbNN.py: `Exercise("1.3", cases, "it equals the closed form ...", call=..., rtol=...)`.
Changes to a given function (Break), predictions (predict.py) and hunts (hunt.py) stand on the same page.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import json
import linecache
import re
import sys
import time
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType, SimpleNamespace

from ..files import restore_hint
from . import exercise, written

FILE = Path(__file__).with_name("mistakes.json")
PLACE = re.compile(r"\{(?:(\w+)\(\)|([^{}]*\b(?:got|want)\b[^{}]*?)(?::([^{}:()\[\]]*))?)\}")
METHODS = frozenset("abs amax amin max mean min norm numel shape sqrt square std sum var".split())
CALLS = {"abs": abs, "float": float, "int": int, "len": len}
PARTS = "Expression Name Load Attribute Call keyword Subscript Slice Tuple Constant UnaryOp USub BinOp"
PARTS = tuple(getattr(ast, name) for name in f"{PARTS} Add Sub Mult Div".split())


class Exercise(exercise.Exercise):
    """An exercise whose title, reference and mistakes are read from mistakes.json when first asked for."""

    def __init__(self, id, cases, verified, **settings):
        built = dict.fromkeys(("title", "reference", "mistakes"))
        super().__init__(**(built | dict(id=id, cases=cases, verified=verified) | settings))
        for name in built.keys() - settings.keys():
            del self.__dict__[name]
        if "reference" not in settings:
            _find(id)  # what is damaged or not built is said at once

    @cached_property
    def title(self):
        return _find(self.id).name

    @cached_property
    def reference(self):
        return _find(self.id).function

    @cached_property
    def mistakes(self):
        solution, words = _find(self.id), getattr(self.cases, "__globals__", {})
        return [Mistake(solution, words, *written) for written in solution.mistakes]


class Break(Exercise):
    """A given function in which one thing is changed, and a letter that says why.

    The solution is one right change of many: what counts is `wanted(results)`, asked with the results of all
    cases: None, or a sentence that says what is still lacking. Mistakes are changes that are wrong in a known
    way, tried first. why: the letter of the right reason, among `options`.
    """

    kind = "break"

    def __init__(self, id, cases, verified, wanted, why, options="abc", **settings):
        super().__init__(id, cases, verified, **settings)
        self.__dict__.update(wanted=wanted, why=why, options=options)

    @cached_property
    def title(self):
        return _find(self.id).title or _find(self.id).name

    @cached_property
    def stub(self):
        return _find(self.id).stub

    def weigh(self, why) -> tuple[str, str, str]:
        """(state, mistake, message) for the letter of a change that is right."""
        built, one = _find(self.id), f"letter {self.options}"
        try:
            letter = written.read(one, why) if why is not ... else None
        except written.Unreadable:
            letter = None
        if letter is None:
            how = written.wanted(one).replace("guess", "why")
            return "wrong", OTHER_REASON[1], f"The change is right. Now say why: {how}."
        if letter == self.why:
            return "right", "", f"{self.verified} {built.right}".strip()
        told = dict(built.reasons).get(letter, "")
        return "wrong", OTHER_REASON[0], f'The change is right, the reason is not "{letter}". {told}'.strip()


OTHER_REASON = "right change, other reason", "right change, no reason yet"


class Mistake(exercise.Mistake):
    """A patch of a solution; what it makes is compiled when first asked for."""

    def __init__(self, solution, words, name, edits, message, raises=False):
        super().__init__(name, word(message, words), None, raises)
        self.__dict__.update(vary=solution.vary, edits=tuple(map(tuple, edits)))
        del self.__dict__["function"]

    @cached_property
    def function(self):
        return self.vary(self.edits, self.name)


class Solution:
    """A notebook's own solution of one exercise; given: what it takes from the cells above.

    mistakes: [name, edits, message, raises]; edits: [(start, end, text)], what of the source is replaced.
    expected: the cell that draws what it should look like. Of a break: title, stub (the function as it is
    given), reasons [(letter, message)], right (a sentence for those who are).
    """

    def __init__(self, id, name, source, given="", mistakes=(), kind="write", **more):
        self.id, self.name, self.source, self.given, self.mistakes = id, name, source, given, mistakes
        self.kind = kind
        self.expected, self.title, self.stub = (more.get(key, "") for key in ("expected", "title", "stub"))
        self.reasons, self.right = more.get("reasons", ()), more.get("right", "")

    @cached_property
    def names(self) -> dict:
        return run(self.given, f"<{self.id} {self.name}: what is given>", {})

    @cached_property
    def function(self):
        return self.vary((), "solution")

    def vary(self, edits, label: str):
        """The function (or class) that the source defines with the edits made."""
        return run(patch(self.source, edits), f"<{self.id} {self.name}: {label}>", self.names)[self.name]


def patch(source: str, edits) -> str:
    for start, end, text in sorted(edits, reverse=True):
        source = source[:start] + text + source[end:]
    return source


def run(source: str, file: str, names: dict) -> dict:
    """What `source` defines, on top of `names`; tracebacks and inspect.getsource find its lines as `file`."""
    code = compile(source, file, "exec", dont_inherit=True)
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    module = sys.modules[file] = ModuleType(file)  # where inspect and dataclasses look for a class's names
    vars(module).update(names | {"__name__": file, "__file__": file})
    exec(code, vars(module))
    return vars(module)


# What is built ------------------------------------------------------------------------------------

_instead = []


@cache
def _shipped() -> dict[str, Solution]:
    try:
        return read(json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{FILE.name} cannot be read ({error}): {restore_hint(FILE)}") from error


def read(entries: dict) -> dict:
    """The content of mistakes.json: solutions, and what is built of a prediction or a hunt."""
    return {id: _read(id, entry) for id, entry in entries.items()}


def _read(id: str, entry: dict):
    if entry.get("kind", "write") in ("write", "break"):
        return Solution(id, **entry)
    empty = dict(right="", others=(), mistakes=())
    return SimpleNamespace(**empty | entry)


def find(id: str, kind: str):
    """What is built of one task. ValueError where it is not built, or is of another kind."""
    built = _find(id)
    if built.kind != kind:
        raise ValueError(f"{FILE.name} has {id} as a {built.kind}, nbNN.py as a {kind}: `make editions`")
    return built


def _find(id: str):
    """What is built of one task. ValueError where it is not built, or what is built is damaged."""
    solutions = _instead[-1] if _instead else _shipped()
    if id not in solutions:
        page = f"{int(id.partition('.')[0]):02d}_mistakes.md"
        raise ValueError(f"{FILE.name} has no exercise {id}: write `# {id} ...` on {page}; `make editions`")
    return solutions[id]


@contextlib.contextmanager
def reading(entries: dict):
    """Read these entries in place of mistakes.json, for the build and its tests."""
    _instead.append(read(entries))
    try:
        yield
    finally:
        _instead.pop()


def id_of(name: str) -> str | None:
    """The first task whose function or class has this name."""
    solutions = _instead[-1] if _instead else _shipped()
    known = (id for id, built in solutions.items() if built.kind == "write" and built.name == name)
    return next(known, None)


def solve(id: str):
    """The solution of an exercise, for cases and calls of others that need it."""
    return _find(id).function


# Messages -----------------------------------------------------------------------------------------


def word(text: str, words):
    """A message: the text itself, or a function (got, want) -> str that fills in what stands in braces."""
    if not PLACE.search(text):
        return text

    def fill(got, want):
        def put(place):
            name, formula, form = place.groups()
            value = words[name](got, want) if name else evaluate(formula, got, want)
            return format(value, form or "")

        return PLACE.sub(put, text)

    return fill


def evaluate(formula: str, got, want):
    """A formula of a message. ValueError for what is not arithmetic on got and want."""
    tree = ast.parse(formula.strip(), mode="eval")
    for node in ast.walk(tree):
        named = isinstance(node, ast.Name) and node.id not in {"got", "want", *CALLS}
        method = isinstance(node, ast.Attribute) and node.attr not in METHODS
        if named or method or not isinstance(node, PARTS):
            raise ValueError(f"{{{formula}}}: {ast.unparse(node)} is not for messages")
    return eval(compile(tree, "<message>", "eval"), {"__builtins__": {}, **CALLS, "got": got, "want": want})


# Pairs --------------------------------------------------------------------------------------------


def compose(one, other):
    """Two patches as one; None where both change the same piece."""
    if any(a[0] < b[1] and b[0] < a[1] or a[0] == b[0] for a in one for b in other):
        return None
    return [*one, *other]


def pairs(known: exercise.Exercise, seconds: float = 1.0):
    """Two mistakes at once, as one Mistake each, in the order of the list; no more after `seconds`.

    Variants that stop with an error pair with nothing, nor do two patches of the same piece.
    """
    end = time.monotonic() + seconds
    fit = [m for m in known.mistakes if isinstance(m, Mistake) and not m.raises]
    for one, other in itertools.combinations(fit, 2):
        if time.monotonic() > end:
            return
        if edits := compose(one.edits, other.edits):
            try:
                both = pair(one, other, edits)
            except SyntaxError:
                continue  # each is a change of its own, together they are no Python
            yield both


def pair(one: Mistake, other: Mistake, edits) -> exercise.Mistake:
    def say(got, want):
        said = [m.message(got, want) if callable(m.message) else m.message for m in (one, other)]
        return f"Two mistakes at once. First: {said[0]} Second: {said[1]}"

    name, function = f"{one.name} + {other.name}", one.vary(edits, "two mistakes")
    return exercise.Mistake(name, say, function, raises=True)  # where it raises, it is nobody's answer
