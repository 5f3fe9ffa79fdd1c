"""Exercises that answer.

    from helpers.exercises import check

    q_sample = check("1.3", q_sample)    # the student's function if it is right, else the reference
    check.predict("1.4", guess)          # written down before the notebook shows the truth
    check.truth("1.4", measured)         # here it does
    f = check.changed("1.2", f, why)     # a given function, one thing changed; and the letter that says why
    check.hunt("1.10")                   # a pipeline with one wrong line; which is it?
    check.found("1.10", line)
    check.summary("01")                  # what is done in notebook 01, and how many exercises are open

What was said is noted in the reader's folder (mine.py) and survives the kernel. ``check`` never raises (only
the reader's own interrupt passes), so Run All reaches the end, also past a cell that hands in an answer with
a syntax error; what it does not survive, sandbox.py says. With NOISE_TO_DIGITS_STRICT_CHECKS=1 a broken
exercise raises SpecError: for tests.
"""

import ast
import importlib
import json
import os
import re
import sys
import threading
from dataclasses import replace
from numbers import Integral
from pathlib import Path

from ..files import restore_hint
from . import answers, beside, report
from .compare import cap
from .exercise import Complaint, Exercise, Mistake, as_module, exhaust
from .patches import OTHER_REASON
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


HAND_IN = {"write": "", "predict": ".predict", "break": ".changed", "hunt": ".found"}


class Check:
    """Says of answers whether they are right and remembers what it said, for the summary."""

    def __init__(self, extra=()):
        self.extra = {e.id: e for e in extra}  # exercises beside those of the notebooks (tests)
        self.verdicts: dict[str, Verdict] = {}

    def __call__(self, id: str, function, why=...):
        """Say the verdict and return ``function`` if it is right, else the reference.

        The reference itself, which an earlier call returned, gets no verdict: the earlier one stands.
        """
        if threading.current_thread().name == WORKER:
            raise RuntimeError("check() stands inside the function: write it behind, without indentation")
        exercise, kept = None, ""
        try:
            found = self._find(id)
            if found is None or found.kind not in ("write", "break"):
                self._turn_away(id, found)
                return function
            if function is found.reference:
                report.show_reference(found, self._earlier(id))
                return function
            exercise = found
            stub = found.stub if found.kind == "break" else self._stubs(id).get(id)
            verdict = decide(exercise, function, stub)
            if found.kind == "break" and verdict.state == "right":
                state, mistake, message = found.weigh(why)
                carry_on = function if state == "right" else found.reference
                verdict = Verdict(state, carry_on, message, mistake, verdict.printed)
        except Exception as error:
            if self.strict:
                raise
            if exercise is None:
                text = f"{id}: could not be checked: its exercises did not load ({error}). "
                report.show(f"{text}Carrying on with your function, unchecked.", "broken")
                return function
            words = f"{type(error).__name__}: {error}"
            verdict = Verdict("broken", exercise.reference, words, type(error).__name__)
        if exercise.kind == "write" and verdict.state == "right":
            kept = self._mine("keep", id, function) or ""
        self._say(exercise, replace(verdict, message=f"{verdict.message} {kept}".strip()))
        if verdict.mistake not in OTHER_REASON:
            beside.show(exercise, verdict, function, self.strict)
        return verdict.function

    def changed(self, id: str, function, why=...):
        """As a call, for a given function with one thing changed; why: the letter of the reason."""
        return self(id, function, why)

    def predict(self, id: str, guess=...):
        """Write a guess down; the first one stands."""

        def write_down(task):
            verdict, entries = _unread(guess), {}
            if type(guess) is not Crash:
                verdict, entries = task.write_down(guess, self._noted(id))
            earlier = self._earlier(id) or self._noted_verdict(id)
            known = verdict.state == "written" and earlier and earlier.state in answers.DONE
            self._say(task, verdict, remember=not known, **entries)

        self._ask(id, "predict", write_down)

    def truth(self, id: str, measured):
        """Show the truth beside what was written first."""
        self._ask(id, "predict", lambda task: self._say(task, task.compare(measured, self._noted(id))))

    def written(self, id: str):
        """The first guess, or None."""
        return self._ask(id, "predict", lambda task: task.first(self._noted(id)))

    def hunt(self, id: str, seed: int | None = None):
        """Show a pipeline with one wrong line in it; which one it is depends on the seed."""

        def ask(task):
            if seed is not None and (not isinstance(seed, Integral) or isinstance(seed, bool)):
                report.show(f"{id} {task.title}: the seed is a whole number, as in seed=81.", "not attempted")
                return
            number = int(self._mine("seed", otherwise=0) if seed is None else seed)
            self._mine("note", id, seed=number)
            task.ask(number)

        self._ask(id, "hunt", ask)

    def found(self, id: str, line=...):
        """Say whether it is this line that is wrong, or by what one sees that it is not."""

        def answer(task):
            if type(line) is Crash:
                self._say(task, _unread(line))
                return
            noted = self._noted(id)
            seed = int(noted.get("seed", self._mine("seed", otherwise=0)))
            verdict, entries = task.answer(line, seed, noted)
            self._say(task, verdict, **entries)
            if verdict.state == "found":
                task.show_right(seed)

        self._ask(id, "hunt", answer)

    def unread(self, id: str, *crash):
        """What a cell becomes that hands in an answer and is no Python; crash: what sandbox.Crash takes."""
        kind = self._ask(id, None, lambda task: task.kind)
        hand_in = {"predict": self.predict, "hunt": self.found}.get(kind, self)
        return hand_in(id, Crash(*crash))

    def _ask(self, id, kind, work):
        """What work(task) returns; None, with a sentence, where there is no such task or it is broken."""
        try:
            task = self._find(id)
            if task is not None and kind in (None, task.kind):
                return work(task)
            if kind is not None:
                self._turn_away(id, task)
        except Exception as error:
            if self.strict:
                raise
            report.show(f"{id}: could not be checked ({type(error).__name__}: {error}).", "broken")

    def _turn_away(self, id, task):
        """Say that there is no such exercise, or that it is handed in by another call."""
        if task is None:
            known = ", ".join([*self.extra, *self._stubs(id)]) or "none"
            report.show(f"{id}: there is no exercise of this name. Known: {known}.", "broken")
        else:
            how = f'`check{HAND_IN[task.kind]}("{id}", ...)`'
            report.show(f"{id} {task.title}: not checked. This one is handed in with {how}.", "not run")

    def _say(self, task, verdict, remember=True, **entries):
        """Show a verdict; remember it, here and in the reader's folder, where a done task stays done."""
        noted = self._noted(task.id)
        if remember:
            self.verdicts[task.id] = verdict
            if verdict.state in answers.DONE or noted.get("state") not in answers.DONE:
                entries |= dict(state=verdict.state, mistake=verdict.mistake)
        if any(noted.get(key) != value for key, value in entries.items()):
            self._mine("note", task.id, **entries)
        report.show_verdict(task, verdict)

    def _mine(self, name, *args, otherwise=None, **entries):
        """What mine.py answers; whatever goes wrong there disturbs no verdict."""
        try:
            return getattr(importlib.import_module(f"{__name__}.mine"), name)(*args, **entries)
        except Exception:
            return otherwise

    def _noted(self, id) -> dict:
        noted = self._mine("noted", id, otherwise={})
        return noted if isinstance(noted, dict) else {}

    def _noted_verdict(self, id):
        """The verdict of an earlier kernel, as far as it was noted."""
        noted = self._noted(id)
        state, mistake = noted.get("state"), f"{noted.get('mistake') or ''}"
        return Verdict(state, None, "", mistake) if state in [*report.STYLES] else None

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
            for id, task in self._all(notebook).items():
                verdict, before = self._earlier(id), self._noted_verdict(id)
                blank = not verdict or verdict.state == "not attempted"
                if before and blank and (not verdict or before.state in answers.DONE):
                    verdict = before
                state = verdict.state if verdict else "not run"
                words = report.state_words(task, state, verdict.mistake if verdict else "")
                rows.append((id, task.title, state, words))
                left += state not in answers.DONE
            closing = f"{left} of {len(rows)} still open." if left else "Every exercise here is right."
            course = self._mine("summary_lines", otherwise=())
            report.show_table(rows, "\n".join([closing, *map(str, course)]))
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


def _unread(crash):
    return Verdict("crashed", None, cap(f"{crash}"), getattr(crash, "name", ""))


check = Check()
ANSWER = r"""^(?:(\w+) *= *check(?:\.changed)?|check\.(?:predict|found))\( *["']([\d.]+)["']"""


def read_cell(lines: list[str]) -> list[str]:
    """For IPython: a cell with a syntax error that hands in an answer becomes one line that says so.

    Otherwise IPython would stop Run All before `check` is reached.
    """
    source = "".join(lines)
    handed_in = re.search(ANSWER, source, re.MULTILINE)
    if handed_in is None or re.search(r"^\s*[%!?]|\?\s*$", source, re.MULTILINE):
        return lines
    try:
        compile(source, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        number = getattr(error, "lineno", None)
        line = source.splitlines()[number - 1].strip() if number else ""
        words = f"{getattr(error, 'msg', error)}. Nothing of this cell has run."
        name, id = handed_in.groups()
        begun = f"{name} = " if name else ""
        return [f"{begun}check.unread({id!r}, {type(error).__name__!r}, {words!r}, {number}, {line!r})\n"]
    return lines


if shell := "IPython" in sys.modules and sys.modules["IPython"].get_ipython():
    known = shell.input_transformers_cleanup
    known[:] = [f for f in known if getattr(f, "__name__", "") != read_cell.__name__] + [read_cell]
