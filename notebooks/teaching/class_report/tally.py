"""A class in numbers: what the results of all submissions say together.

A result is what judging one submission gives (a dict, see run.py). Nothing in it is trusted: what is of
another type than it should be is left out, and names and code are data.
"""

from collections import Counter
from dataclasses import dataclass, field

from builder.course import natural
from helpers.exercises import written
from helpers.exercises.patches import OTHER_REASON

GROUPS = {  # in the order of the bars: group -> what it is called
    "right": "right",
    "off": "a guess or a line that is off: no fault",
    "named": "a mistake that check names",
    "other": "not right, without a name",
    "crashed": "stopped with an error",
    "unjudged": "not judged",
    "open": "not attempted",
}
DONE = {"right", "found"}
OPEN = {"not attempted", "missing"}
NOT_RIGHT = ("named", "other", "crashed")


@dataclass(frozen=True)
class Cell:
    """What one student did of one task. group: one of GROUPS; label: a few words, "" where it is right."""

    group: str
    label: str = ""
    message: str = ""
    answer: object = None
    seed: int | None = None
    code: str = ""


@dataclass
class Row:
    """One student's work on one notebook; cells by the id of the task. key: the same for one student's rows
    on several notebooks, and for no other."""

    student: str
    file: str
    key: tuple = ()
    cells: dict[str, Cell] = field(default_factory=dict)

    def count(self, *groups) -> int:
        return sum(cell.group in groups for cell in self.cells.values())

    def points(self, tasks) -> int:
        """How many functions and classes are right: predictions, breaks and hunts have no points."""
        return sum(self.cells[id].group == "right" for id in written_ids(tasks))


def written_ids(tasks) -> list[str]:
    """The tasks that have a point each: those to write."""
    return [id for id, task in tasks.items() if task.kind == "write"]


def cell_of(task, entry) -> Cell:
    """The cell of one entry of a result; anything unknown is not judged."""
    entry = entry if isinstance(entry, dict) else {"state": "missing"}
    state, mistake = (name(entry.get(key), 80, "") for key in ("state", "mistake"))
    message, code = (words(entry.get(key)) for key in ("message", "code"))
    seed = entry.get("seed")
    seed = seed if isinstance(seed, int) and not isinstance(seed, bool) else None
    more = dict(message=message, answer=entry.get("answer"), seed=seed, code=code)
    if state == "written":
        fits = entry.get("fits")
        if fits is None:
            return Cell("unjudged", "no truth to compare with", **more)
        if fits:
            return Cell("right", **more)
        return Cell("off", mistake or "off", **more)
    if state in DONE:
        return Cell("right", **more)
    if state in OPEN:
        return Cell("open", "" if state == "not attempted" else "its cell is missing", **more)
    if mistake == OTHER_REASON[0] and isinstance(entry.get("answer"), str) and len(entry["answer"]) == 1:
        return Cell("named", words(f"right change, reason “{entry['answer']}”"), **more)
    if state == "mistake":
        return Cell("named", mistake or "a mistake", **more)
    if state == "not found" and mistake == UNKNOWN_SEED:
        return Cell("unjudged", mistake, **more)
    if state == "not found":
        line = entry.get("answer")
        return Cell("off", f"not line {line}" if isinstance(line, int) else "another line", **more)
    if state == "wrong":
        return Cell("named" if mistake in OTHER_REASON else "other", mistake or "not right", **more)
    if state == "crashed":
        return Cell("crashed", mistake or "an error", **more)
    label = {"contained": "stopped by the box", "reference": "the course's own function"}
    return Cell("unjudged", label.get(state, state or "no state"), **more)


UNKNOWN_SEED = "seed unknown"  # of a hunt: which line is wrong in it cannot be told


JOINERS = "\n\t\u200c\u200d"  # the last two stand inside words of some scripts


def words(value, most: int = 8000) -> str:
    """A text that can be shown: of strings alone, without what a page or a table cannot hold."""
    if not isinstance(value, str):
        return ""
    text = value[:most].encode("utf-8", "replace").decode()
    return "".join(c if c in JOINERS or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def name(value, most: int = 48, otherwise: str = "(no name)") -> str:
    """The name of a student, a file or a mistake, in one line."""
    text = " ".join(words(value, 400).split()) or otherwise
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def sort_key(student: str):
    """Names in the order of a list of names, 10 behind 9."""
    return natural(student.casefold())


def rows(results, number: str, tasks) -> list[Row]:
    """The students of one notebook, in the order of their names; tasks: {id: facts.Task}."""
    found = []
    for result in results:
        if result.get("problem") or number not in (result.get("notebooks") or ()):
            continue
        entries = result.get("tasks") or {}
        cells = {id: cell_of(task, entries.get(id)) for id, task in tasks.items()}
        who = result.get("student")
        found.append(Row(name(who), name(result.get("file"), 90), (words(who),), cells))
    found.sort(key=lambda row: (sort_key(row.student), row.file))
    seen, before = Counter(row.student for row in found), Counter()
    for row in found:  # two files of one student are two rows
        before[row.key] += 1
        row.key += (before[row.key],)
        if seen[row.student] > 1:
            row.student = name(f"{row.student}, {row.file}", 90)
    return found


def numbers(results) -> list[str]:
    """The notebooks that were handed in."""
    return sorted({words(n) for result in results for n in result.get("notebooks") or () if words(n)})


def bar(rows, id: str) -> list[tuple[str, int]]:
    """How many students are in each group, of those groups that occur."""
    counts = Counter(row.cells[id].group for row in rows)
    return [(group, counts[group]) for group in GROUPS if counts[group]]


# What went wrong ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mistake:
    """The same mistake of some students; message and code are those of one of them, example."""

    id: str
    label: str
    group: str
    students: tuple
    message: str
    code: str
    example: str

    @property
    def count(self):
        return len(self.students)


def mistakes(rows, tasks) -> list[Mistake]:
    """What was handed in and is not right, of tasks that are written, the most frequent first."""
    found = {}
    for row in rows:
        for id, cell in row.cells.items():
            if cell.group in NOT_RIGHT and tasks[id].kind in ("write", "break"):
                found.setdefault((id, cell.group, cell.label), []).append((row.student, cell))
    order = [*tasks]
    listed = [_mistake(*key, students) for key, students in found.items()]
    return sorted(listed, key=lambda m: (-m.count, m.group != "named", order.index(m.id), m.label))


def _mistake(id, group, label, students) -> Mistake:
    """The example is the code of middle length: neither a fragment nor the longest detour."""
    by_length = sorted(students, key=lambda pair: len(pair[1].code))
    shown = [pair for pair in by_length if pair[1].code.strip()] or by_length
    who, cell = shown[(len(shown) - 1) // 2]
    return Mistake(id, label, group, tuple(s for s, _ in students), cell.message, cell.code, who)


# Who is stuck -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stuck:
    """A student with open tasks; a guess that is off is not open. stopped: the first task from which on
    nothing was attempted, or None."""

    row: Row
    open: int
    stopped: str | None


def stopped_at(row: Row) -> str | None:
    """The first task of the empty end of a row; None where the last one was attempted."""
    last = None
    for id, cell in reversed(row.cells.items()):
        if cell.group != "open":
            break
        last = id
    return last


def stuck(rows) -> list[Stuck]:
    """Students with open tasks, those with most first."""
    found = [Stuck(row, len(row.cells) - row.count("right", "off"), stopped_at(row)) for row in rows]
    return sorted((s for s in found if s.open), key=lambda s: -s.open)


def stops(rows) -> dict[str, int]:
    """{id: how many students stopped before it}, most first."""
    counts = Counter(id for id in map(stopped_at, rows) if id)
    return dict(counts.most_common())


# What was guessed ---------------------------------------------------------------------------------


def answers(rows, task) -> list[tuple[object, Cell]]:
    """(what was written, in the shape that written.read gives, or None where it has another; the cell)."""
    given = [row.cells[task.id] for row in rows if row.cells[task.id].group not in ("open", "unjudged")]
    read = []
    for cell in given:
        try:
            read.append((written.read(task.form, cell.answer), cell))
        except written.Unreadable:
            read.append((None, cell))
    return read


def parts(value) -> list:
    """The numbers and letters of an answer in a row."""
    if isinstance(value, tuple):
        return [atom for part in value for atom in parts(part)]
    return [] if value is None else [value]


def named_guesses(rows, task) -> list[tuple[str, int]]:
    """How many guessed in which way: ("right", 12), ("rises with the level", 6), ... most first."""
    labels = [cell.label or "right" for _, cell in answers(rows, task)]
    return Counter(labels).most_common()


def hunted(rows, task) -> list[tuple[int, str, int, int, int]]:
    """(line, its code, for how many it was the wrong line, how many of those found it, how many others
    took it for the wrong one), one for each line of a hunt."""
    cells = [row.cells[task.id] for row in rows if row.cells[task.id].group != "open"]
    cells = [cell for cell in cells if isinstance(cell.answer, int) and not isinstance(cell.answer, bool)]
    listed = []
    for line, code in enumerate(task.lines, start=1):
        here = [c for c in cells if c.seed is not None and task.cases[c.seed % len(task.cases)] == line]
        hits = sum(cell.group == "right" for cell in here)
        others = sum(cell.answer == line and cell.group != "right" for cell in cells)
        listed.append((line, code, len(here), hits, others))
    return listed


# What to begin with -------------------------------------------------------------------------------


def opening(rows, tasks) -> list[tuple[str, str]]:
    """What to begin the next lecture with: three (id, sentence), fewer where the numbers give no more."""
    total, said = len(rows), []
    known = [m for m in mistakes(rows, tasks) if m.group == "named" and m.count > 1]
    if known:
        m = known[0]
        said.append((m.id, f"{m.count} of {total} made the same mistake, “{m.label}”. Begin with it."))
    if asked := _most_surprising(rows, tasks):
        task, off, given, label = asked
        way = f", most often “{label}”" if label and label != "off" else ""
        said.append((task.id, f"{off} of {given} guesses were off{way}. Ask the question again."))
    if total and (ends := stops(rows)):
        id, count = next(iter(ends.items()))
        if count > max(1, total // 10):
            said.append((id, f"{count} of {total} stopped before it. Do its first line together."))
    hard = _hardest(rows, tasks, {id for id, _ in said})
    if hard and len(said) < 3:
        id, right, tried = hard
        said.append((id, f"Only {right} of the {tried} who tried it have it right. Look at it together."))
    for m in known[1:]:
        if len(said) < 3 and m.id not in {id for id, _ in said}:
            said.append((m.id, f"{m.count} of {total} made the same mistake, “{m.label}”."))
    easy = [(id, sum(row.cells[id].group == "right" for row in rows)) for id in tasks]
    for id, right in sorted(easy, key=lambda pair: -pair[1]):
        if len(said) < 3 and total and right > 0.8 * total:
            said.append((id, f"{right} of {total} have it right. It needs no more time."))
    return said[:3]


def _most_surprising(rows, tasks):
    """(task, guesses that are off, guesses, their most frequent name) where at least a quarter is off."""
    found = []
    for task in tasks.values():
        if task.kind == "predict":
            labels = [cell.label for _, cell in answers(rows, task)]
            off = [label for label in labels if label]
            if len(off) > 1 and 4 * len(off) >= len(labels):
                found.append((task, len(off), len(labels), Counter(off).most_common(1)[0][0]))
    return max(found, key=lambda f: f[1] / f[2], default=None)


def _hardest(rows, tasks, taken):
    """(id, right, tried) of the task that most who tried it did not get right."""
    found = []
    for id, task in tasks.items():
        tried = [row.cells[id].group for row in rows if row.cells[id].group not in ("open", "unjudged")]
        if id not in taken and task.kind != "predict" and len(tried) > 1:
            found.append((tried.count("right") / len(tried), id, tried.count("right"), len(tried)))
    share, *best = min(found, default=(1,))
    return tuple(best) if share < 0.6 else None
