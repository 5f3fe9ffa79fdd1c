"""Predictions: written down before the truth is shown; then right, or off in a way that the page may know.

    Prediction("1.3", "2 numbers", near=0.03)      # form: written.py

On the page of mistakes stand, below `# 1.3 two steps`, the wrong answers that are known: `## name`, then
`answer: 0.5, ..` (`..` is anything) or `answer: flat()` with a function flat(written) -> bool of nbNN.py,
then the sentence; below `## right` a sentence for those who are right. {written} and {truth} are filled in.
"""

import re
import sys
from functools import cached_property

from . import patches, written
from .verdict import Verdict


class Prediction:
    """One prediction; right: (written, truth) -> bool, else all numbers within near * max(1, |truth|)."""

    kind = "predict"

    def __init__(self, id, form="number", right=None, near=0.05):
        self.id, self.form, self.right, self.near = id, form, right, near
        self.words = sys._getframe(1).f_globals  # of nbNN.py: what the page's answers name
        patches.find(id, self.kind)  # what is damaged or not built is said at once

    @cached_property
    def title(self):
        return patches.find(self.id, self.kind).name

    def first(self, noted: dict):
        """The first answer, as it was noted; None where there is none."""
        try:
            return written.read(self.form, noted.get("first"))
        except written.Unreadable:
            return None

    def write_down(self, guess, noted: dict) -> tuple[Verdict, dict]:
        """The verdict on a guess, and what is to be noted. The first answer stands."""
        first = self.first(noted)
        stands = f" {written.say(first)}, written first, stands." if first is not None else ""
        if guess is ...:
            text = f"Write {written.wanted(self.form)}, before you read on.{stands}"
            return Verdict("not attempted", None, text), {}
        try:
            guess = written.read(self.form, guess)
        except written.Unreadable as error:
            return Verdict("not attempted", None, f"{error}{stands}"), {}
        if first is None:
            return Verdict("written", None, f"{written.say(guess)}. The notebook will tell."), {
                "first": guess
            }
        if guess == first:
            return Verdict("written", None, f"{written.say(first)}."), {}
        return Verdict("written", None, f"now you say {written.say(guess)}.{stands}"), {}

    def compare(self, truth, noted: dict) -> Verdict:
        """The verdict once the truth is known: right, off, or not attempted."""
        first = self.first(noted)
        try:
            truth = written.read(self.form, truth)
            told = written.say(truth, digits=True)
        except written.Unreadable:
            if not self.right:
                raise ValueError(f"the truth, {truth!r}, is not of the form {self.form!r}") from None
            told = f"{truth}"
        if first is None:
            return Verdict("not attempted", None, f"It is {told}.")
        state, mistake, text = self.judge(first, truth)
        text = text.replace("{written}", written.say(first)).replace("{truth}", told)
        return Verdict(state, None, f"You wrote {written.say(first)}; it is {told}. {text}".strip(), mistake)

    def judge(self, guess, truth) -> tuple[str, str, str]:
        """(state, name, sentence) for a guess that was read."""
        known = patches.find(self.id, self.kind)
        if self.right(guess, truth) if self.right else written.alike(guess, truth, self.near):
            return "right", "", known.right
        for name, answer, message in known.mistakes:
            if self.fits(answer, guess):
                return "off", name, message
        return "off", "", ""

    def fits(self, answer: str, guess) -> bool:
        """Whether an answer of the page is the guess."""
        if call := re.fullmatch(r"(\w+)\(\)", answer.strip()):
            return bool(self.words[call[1]](guess))
        return written.alike(guess, written.read(self.form, answer, loose=True), self.near)
