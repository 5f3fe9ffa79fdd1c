"""Exercises that answer.

    from helpers.exercises import check

    q_sample = check("1.3", q_sample)    # the student's function if it is right, else the reference
    check.summary("01")                  # what is done in notebook 01, and how many exercises are open

``check`` never raises (only the reader's own interrupt passes), so Run All reaches the end. With
NOISE_TO_DIGITS_STRICT_CHECKS=1 a broken exercise raises SpecError: for tests.
"""

import importlib
import json
import os
from pathlib import Path

from . import report
from .exercise import Complaint, Exercise, Mistake, as_module, exhaust
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
    return {e.id: e for e in importlib.import_module(f"{__name__}.nb{notebook}").EXERCISES}


def stubs() -> dict[str, str]:
    """{id: source of the stub}, written by the build of the notebooks; empty before the first build."""
    path = Path(__file__).with_name("stubs.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


class Check:
    """Says of functions whether they are right and remembers what it said, for the summary."""

    def __init__(self, extra=()):
        self.extra = {e.id: e for e in extra}  # exercises beside those of the notebooks (tests)
        self.verdicts: dict[str, Verdict] = {}

    def __call__(self, id: str, function):
        """Say the verdict and return ``function`` if it is right, else the reference.

        The reference itself, which an earlier call returned, gets no verdict: the earlier one stands.
        """
        exercise = None
        try:
            exercise = self._find(id)
            if exercise is None:
                report.show(f"{id}: there is no exercise of this name. Known: {self._known()}.", "broken")
                return function
            if function is exercise.reference:
                report.show_reference(exercise, self.verdicts.get(id))
                return function
            verdict = self.verdicts[id] = decide(exercise, function, stubs().get(id))
            report.show_verdict(exercise, verdict)
        except Exception as error:
            if self.strict:
                raise
            return self._broken(id, exercise, function, error)
        return verdict.function

    @property
    def strict(self) -> bool:
        return os.environ.get("NOISE_TO_DIGITS_STRICT_CHECKS", "") not in ("", "0")

    def summary(self, notebook: str):
        """A table of the notebook's exercises: id, title, state; and how many are open."""
        try:
            rows, left = [], 0
            for id, exercise in self._all(notebook).items():
                verdict = self.verdicts.get(id)
                state = verdict.state if verdict else "not run"
                words = f"{state}: {verdict.mistake}" if verdict and verdict.mistake else state
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
        if id in self.extra:
            return self.extra[id]
        head = str(id).split(".")[0]
        return exercises(head).get(id) if head.isdigit() and f"{int(head):02d}" in notebooks() else None

    def _known(self):
        return ", ".join([*self.extra, *stubs()]) or "none"

    def _broken(self, id, exercise, function, error):
        text = f"{type(error).__name__}: {error}"
        if exercise is None:
            text = f"{id}: could not be checked: its exercises did not load ({text}). "
            report.show(f"{text}Carrying on with your function, unchecked.", "broken")
            return function
        self.verdicts[id] = Verdict("broken", exercise.reference, text, type(error).__name__)
        report.show_verdict(exercise, self.verdicts[id])
        return exercise.reference


check = Check()
