"""Hunts: a working pipeline with one unknown patch in it; which line is wrong?

    Hunt("1.10", pipeline_01, setting, [Measurement("the mean of x_t at t = 200", mean, 0.05)], draw)

The lines that are shown with numbers stand in the pipeline between `# lines` and `# end` (there may be
several such pieces; they are numbered through). The page's patches, below `# 1.10 ...`, are patches of those
lines and keep their number. A wrong choice is answered by the first measurement of the table, from the top,
that tells the chosen line's patch from the one at work. mistakes.json holds the table.
"""

import inspect
import math
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from . import patches, report, sandbox, written
from .surroundings import as_before
from .verdict import SpecError, Verdict

PIECE = re.compile(r"^[ \t]*# lines[ \t]*\n(.*?)^[ \t]*# end[ \t]*$", re.MULTILINE | re.DOTALL)
HINT = 3  # from this wrong line on, a measurement is offered


@dataclass(frozen=True)
class Measurement:
    """A number of a pipeline's result; a difference of a resolution or less is chance.

    name completes the sentence "Then NAME would be 0.50."
    """

    name: str
    of: Callable[[object], float]
    resolution: float
    form: str = ".2f"

    def say(self, value) -> str:
        return "not a finite number" if value is None else format(value, self.form)

    def distance(self, one, other) -> float:
        """How far apart two values are, in resolutions; None is a value that is not finite."""
        if one is None or other is None:
            return 0.0 if one is other else math.inf
        return abs(one - other) / self.resolution


class Hunt:
    """One hunt. setting() -> arguments of the pipeline, called anew for every run; draw(result) shows one."""

    kind = "hunt"

    def __init__(self, id, pipeline, setting, measurements, draw):
        self.id, self.pipeline, self.setting, self.draw = id, pipeline, setting, draw
        self.measurements = list(measurements)

    @property
    def built(self):
        return patches.find(self.id, self.kind)

    @property
    def title(self):
        return self.built.name

    # The pipeline and its variants

    @cached_property
    def source(self) -> str:
        return textwrap.dedent(inspect.getsource(self.pipeline))

    @cached_property
    def pieces(self) -> list[tuple[int, int, str]]:
        """(start, end, indent) of the numbered lines in the source."""
        found = [piece.span(1) for piece in PIECE.finditer(self.source)]
        if not found:
            raise SpecError(f"{self.id}: no `# lines` ... `# end` in {self.pipeline.__name__}")
        return [(start, end, re.match(r"[ \t]*", self.source[start:end])[0]) for start, end in found]

    @cached_property
    def lines(self) -> str:
        """The numbered lines, without their indentation: what the page's patches are patches of."""
        return "\n".join(textwrap.dedent(self.source[a:b]).rstrip("\n") for a, b, _ in self.pieces)

    def vary(self, edits=()):
        """The pipeline with edits made to its lines; its names are those of nbNN.py."""
        changed, count = patches.patch(self.lines, edits).split("\n"), self.lines.count("\n") + 1
        if len(changed) != count:
            raise SpecError(f"{self.id}: a patch of a hunt keeps the number of its lines, {count}")
        source, first, done = [], 0, 0
        for start, end, indent in self.pieces:
            last = first + self.source[start:end].rstrip("\n").count("\n") + 1
            mine = textwrap.indent("\n".join(changed[first:last]), indent)
            source += [self.source[done:start], mine, "\n"]
            first, done = last, end
        own = {}
        code = compile("".join(source) + self.source[done:], f"<hunt {self.id}>", "exec", dont_inherit=True)
        exec(code, self.pipeline.__globals__, own)
        return own[self.pipeline.__name__]

    def run(self, edits=()):
        """The result of the pipeline with these edits of its lines. Global generators are kept."""
        with as_before():
            sandbox.seed_everything()
            return self.vary(edits)(*self.setting())

    def measure(self, edits=()) -> list:
        """What is measured with these edits, to 4 significant digits; None for what is not finite."""
        result = self.run(edits)
        values = [float(m.of(result)) for m in self.measurements]
        return [float(f"{v:.4g}") if math.isfinite(v) else None for v in values]

    def show(self, edits=()):
        result = self.run(edits)
        with as_before():
            self.draw(result)

    # What is asked and answered

    def case(self, seed: int) -> int:
        return seed % len(self.built.cases)

    def ask(self, seed: int):
        """Show the lines with the seed's patch in them, the pictures and the numbers of its run."""
        if self.built.lines != self.lines:
            raise SpecError(f"{self.id}: its lines are not those of mistakes.json: `make editions`")
        number, count = self.case(seed), len(self.built.cases)
        edits = self.built.cases[number][2]
        closing = f"Case {number + 1} of {count}, seed {seed}; in a class: "
        closing += f'`check.hunt("{self.id}", seed=your_number)`'
        lines = patches.patch(self.lines, edits).split("\n")
        report.show_lines(f"{self.id} {self.title}: one line is wrong. Which?", lines, closing)
        self.show(edits)

    def read(self, line):
        """The number of a line. Raises Unreadable with a sentence."""
        count = self.lines.count("\n") + 1
        how = f"Write the number of a line, 1 to {count}, as in line = {min(4, count)}"
        try:
            number = written.read("number", line)
        except written.Unreadable:
            raise written.Unreadable(f"{how}.") from None
        if number != int(number) or not 1 <= number <= count:
            raise written.Unreadable(f"There is no line {number:g}. {how}.")
        return int(number)

    def answer(self, line, seed: int, noted: dict) -> tuple[Verdict, dict]:
        """The verdict on a line, and what is to be noted: the wrong lines that were tried in this case."""
        if line is ...:
            return Verdict("not attempted", None, "Write the number of the wrong line."), {}
        try:
            line = self.read(line)
        except written.Unreadable as error:
            return Verdict("not attempted", None, f"{error}"), {}
        number = self.case(seed)
        _, right, _, message = self.built.cases[number]
        tried = noted.get("tried", []) if noted.get("case") == number else []
        if line == right:
            tries = f"tries: {len(set(tried) - {line}) + 1}"
            return Verdict("found", None, f"line {line} ({tries}). {message}", tries), {}
        tried = [*tried, line] if line not in tried else tried
        text = self.tell_apart(line, number)
        if len(tried) >= HINT:
            text += f" {self.hint(number)}"
        return Verdict("wrong", None, text, f"not line {line}"), {"tried": tried, "case": number}

    def tell_apart(self, line: int, number: int) -> str:
        """Why it is not this line: what would be measured if it were."""
        table, said = self.built.table["cases"], []
        for other in [i for i, case in enumerate(self.built.cases) if case[1] == line]:
            for m, would, here in zip(self.measurements, table[other], table[number], strict=True):
                if m.distance(would, here) > 1:
                    said.append(f"{m.name} would be {m.say(would)}. It is {m.say(here)} here.")
                    break
        if said:
            return f"Line {line}? Then {' Or '.join(dict.fromkeys(said))} Look elsewhere."
        known = dict(self.built.others)
        return known.get(f"{line}", f"Line {line}? It is as it should be. Look elsewhere.")

    def hint(self, number: int) -> str:
        """The measurement in which the case is farthest from the right pipeline."""
        table = self.built.table
        rows = zip(self.measurements, table["right"], table["cases"][number], strict=True)
        m, right, here = max(rows, key=lambda row: row[0].distance(*row[1:]))
        return f"A hint: in a right program {m.name} would be {m.say(right)}; here it is {m.say(here)}."

    def show_right(self, seed: int):
        """The run without the patch, to be laid beside the run with it."""
        line = self.built.cases[self.case(seed)][1]
        now = self.lines.split("\n")[line - 1].strip()
        report.show(f"{self.id} {self.title}: the run without it. Line {line} is `{now}` again.", "found")
        self.show()
