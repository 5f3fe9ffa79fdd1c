"""Exercises that answer.

    from helpers.exercises import check

    q_sample = check("1.3", q_sample)    # the student's function if it is right, else the reference
    check.summary("01")                  # what is done in notebook 01, and how many exercises are open

``check`` never raises (only the reader's own interrupt passes), so Run All reaches the end, also past a cell
that hands in an answer with a syntax error; what it does not survive, sandbox.py says. With
NOISE_TO_DIGITS_STRICT_CHECKS=1 a broken exercise raises SpecError: for tests.
"""

import ast
import importlib
import json
import os
import re
import sys
import threading
from pathlib import Path

from ..files import restore_hint
from . import report
from .exercise import Complaint, Exercise, Mistake, as_module, exhaust
from .sandbox import WORKER, Crash
from .verdict import SpecError, Verdict, decide

__all__ = [
    "Check",
    "Complaint",
    "Exercise",
    "Mistake",
    "SpecError",
    "Verdict",
    "as_module",
    "check",
    "decide",
    "exercises",
    "exhaust",
    "notebooks",
    "stubs",
]


def notebooks() -> list[str]:
    """The notebooks that have exercises: ["00", "01", ...]."""
    return sorted(path.stem[2:] for path in Path(__file__).parent.glob("nb[0-9][0-9].py"))


def exercises(notebook: str) -> dict[str, Exercise]:
    """The exercises of a notebook by id, in its order. KeyError where there is no such notebook."""
    notebook = f"{int(notebook):02d}"
    if notebook not in notebooks():
        raise KeyError(f"no exercises for notebook {notebook}; there are some for {', '.join(notebooks())}")
    try:
        return {e.id: e for e in importlib.import_module(f"{__name__}.nb{notebook}").EXERCISES}
    except (Exception, SystemExit) as error:
        path = Path(__file__).with_name(f"nb{notebook}.py")
        sys.modules.pop(f"{__name__}.{path.stem}", None)  # once it is mended, it loads without a restart
        why = f"{path.name} does not load ({type(error).__name__}: {error})"
        raise SpecError(f"{why}: mend it; or, if you did not change it, {restore_hint(path)}") from error


def stubs() -> dict[str, str]:
    """{id: source of the stub}, written by the build of the notebooks; empty before the first build."""
    path = Path(__file__).with_name("stubs.json")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
    except (OSError, ValueError, TypeError) as error:
        raise SpecError(f"{path.name} cannot be read ({error}): {restore_hint(path)}") from error


class Check:
    """Says of functions whether they are right and remembers what it said, for the summary."""

    def __init__(self, extra=()):
        self.extra = {e.id: e for e in extra}  # exercises beside those of the notebooks (tests)
        self.verdicts: dict[str, Verdict] = {}

    def __call__(self, id: str, function):
        """Say the verdict and return ``function`` if it is right, else the reference.

        The reference itself, which an earlier call returned, gets no verdict: the earlier one stands.
        """
        if threading.current_thread().name == WORKER:
            raise RuntimeError("check() stands inside the function: write it behind, without indentation")
        exercise = None
        try:
            found = self._find(id)
            if found is None:
                known = ", ".join([*self.extra, *self._stubs(id)]) or "none"
                report.show(f"{id}: there is no exercise of this name. Known: {known}.", "broken")
                return function
            if function is found.reference:
                report.show_reference(found, self._earlier(id))
                return function
            exercise, stub = found, self._stubs(id).get(id)
            verdict = decide(exercise, function, stub)
        except Exception as error:
            if self.strict:
                raise
            if exercise is None:
                text = f"{id}: could not be checked: its exercises did not load ({error}). "
                report.show(f"{text}Carrying on with your function, unchecked.", "broken")
                return function
            words = f"{type(error).__name__}: {error}"
            verdict = Verdict("broken", exercise.reference, words, type(error).__name__)
        self.verdicts[id] = verdict
        report.show_verdict(exercise, verdict)
        return verdict.function

    def unread(self, id: str, *crash):
        """What a cell becomes that hands in an answer and is no Python; crash: what sandbox.Crash takes."""
        return self(id, Crash(*crash))

    def _stubs(self, id):
        """The stubs; where they are damaged, that is said, and a body of `...` counts as one."""
        try:
            return stubs()
        except SpecError as error:
            if self.strict:
                raise
            report.show(f"{id}: {error}", "broken")
            return {}

    def _earlier(self, id):
        verdict = self.verdicts.get(id)
        return verdict if type(verdict) is Verdict and verdict.state in [*report.STYLES] else None

    @property
    def strict(self) -> bool:
        return os.environ.get("NOISE_TO_DIGITS_STRICT_CHECKS", "") not in ("", "0")

    def summary(self, notebook: str):
        """A table of the notebook's exercises: id, title, state; and how many are open."""
        try:
            rows, left = [], 0
            for id, exercise in self._all(notebook).items():
                verdict = self._earlier(id)
                state = verdict.state if verdict else "not run"
                words = "not yet" if state == "wrong" else state
                words = f"{words}: {verdict.mistake}" if verdict and verdict.mistake else words
                rows.append((id, exercise.title, state, words))
                left += state != "right"
            closing = f"{left} of {len(rows)} still open." if left else "Every exercise here is right."
            report.show_table(rows, closing)
        except Exception as error:
            if self.strict:
                raise
            report.show(f"Summary of {notebook}: not available ({error}).", "broken")

    def _all(self, notebook):
        extra = {i: e for i, e in self.extra.items() if int(i.split(".")[0]) == int(notebook)}
        return extra or exercises(notebook)

    def _find(self, id):
        if type(id) is not str or id in self.extra:
            return self.extra.get(id) if type(id) is str else None
        head = id.split(".")[0]
        return exercises(head).get(id) if head and f"{head:0>2}" in notebooks() else None


check = Check()


def read_cell(lines: list[str]) -> list[str]:
    """For IPython: a cell with a syntax error that hands in an answer becomes one line that says so.

    Otherwise IPython would stop Run All before `check` is reached.
    """
    source = "".join(lines)
    handed_in = re.search(r"""^(\w+) *= *check\( *["']([\d.]+)["']""", source, re.MULTILINE)
    if handed_in is None or re.search(r"^\s*[%!?]|\?\s*$", source, re.MULTILINE):
        return lines
    try:
        compile(source, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        number = getattr(error, "lineno", None)
        line = source.splitlines()[number - 1].strip() if number else ""
        words = f"{getattr(error, 'msg', error)}. Nothing of this cell has run."
        name, id = handed_in.groups()
        return [f"{name} = check.unread({id!r}, {type(error).__name__!r}, {words!r}, {number}, {line!r})\n"]
    return lines


if shell := "IPython" in sys.modules and sys.modules["IPython"].get_ipython():
    known = shell.input_transformers_cleanup
    known[:] = [f for f in known if getattr(f, "__name__", "") != read_cell.__name__] + [read_cell]
