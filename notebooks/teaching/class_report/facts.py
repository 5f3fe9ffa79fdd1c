"""What the course knows of its tasks and the report needs: titles, truths, lines of hunts, slides."""

import re
from dataclasses import dataclass

from builder import teaching
from builder.course import Course, read_notebook
from helpers.exercises import exercises, written

TRUTH = re.compile(r"^(\d+\.\d+) .*?\bit is (.+?)\.(?: |$)", re.DOTALL)  # as predict.Prediction.compare says


@dataclass(frozen=True)
class Task:
    """One exercise.

    form: of a prediction's answer (written.py); truth: the answer in
    the shape that written.read gives, None where it is not known (of a hunt it depends on the seed).
    lines: the numbered lines of a hunt; cases: the number of the wrong line of each case.
    """

    id: str
    title: str
    kind: str
    form: str = ""
    truth: object = None
    lines: tuple = ()
    cases: tuple = ()


def tasks(course: Course, number: str) -> dict[str, Task]:
    """The tasks of notebook `number` by id, in its order."""
    told = truths(course, number)
    return {id: _task(exercise, told.get(id)) for id, exercise in exercises(number).items()}


def _task(exercise, told) -> Task:
    named = dict(id=exercise.id, title=exercise.title, kind=exercise.kind)
    if exercise.kind == "predict":
        return Task(**named, form=exercise.form, truth=told)
    if exercise.kind == "break":
        return Task(**named, form=f"letter {exercise.options}", truth=exercise.why)
    if exercise.kind == "hunt":
        lines, cases = exercise.lines.split("\n"), [case[1] for case in exercise.built.cases]
        return Task(**named, lines=tuple(lines), cases=tuple(cases))
    return Task(**named)


def truth_of(course: Course, id: str):
    """The truth of one prediction; None where the complete edition has none saved."""
    return truths(course, id.partition(".")[0]).get(id)


def truths(course: Course, number: str) -> dict[str, object]:
    """{id: truth} of a notebook's predictions, from what `check.truth` said in the complete edition."""
    found, known = {}, exercises(number)
    for path in course.source_paths(number):
        saved = read_notebook(course.complete_path(path.stem))
        cells = [cell for cell in saved.cells if cell.cell_type == "code"] if saved else []
        for text in (output.get("data", {}).get("text/plain", "") for c in cells for output in c.outputs):
            told = TRUTH.match(text)
            if told and told[1] in known and known[told[1]].kind == "predict":
                try:
                    found[told[1]] = written.read(known[told[1]].form, re.sub(r"\band\b", ",", told[2]))
                except written.Unreadable:
                    pass  # said in words that are no answer
    return found


def title_of(course: Course, number: str) -> str:
    """The title of a notebook, as its first heading has it: "02 Denoising points"."""
    for path in course.source_paths(number):
        saved = read_notebook(course.complete_path(path.stem))
        for cell in saved.cells if saved else ():
            if heading := re.match(r"# (.+)", cell.source):
                return heading[1].strip()
    return number


def slides(course: Course, number: str) -> dict[str, tuple]:
    """{id: (slide, its title in plain letters, link beside the site's first page)}, what answers a task."""
    found = teaching.slides_of(course, number)
    return {id: (slide, plain(title), link) for id, (slide, title, link) in found.items()}


def plain(title: str) -> str:
    """A title without the marks of formulas: "$\\epsilon$ and $x_0$" becomes "epsilon and x_0"."""
    return re.sub(r"\$([^$]*)\$", lambda part: re.sub(r"[\\{}]", "", part[1]), title)
