"""A sample class: thirty generated submissions of one notebook, and what each of their cells is worth.

    students = write_sample(course, folder, number="02")   # folder/Ada Okafor/02_denoising_points.ipynb ..

The same seed gives the same class. Nobody's work is in it: right answers, also in other words
(sample_answers.py), mistakes of the course's own pages, errors, stubs, guesses, hunts. A few students
stopped half-way, one file is cut off in the middle, one cell never ends, one hands in the course's own
function, one has lost a cell.
"""

import json
import random
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from builder.course import Course, read_json, write_text
from helpers.exercises import exercises, patches, stubs, written

from . import facts, sample_answers

NAMES = """Ada Okafor;Bram de Wit;Chiara Lupo;Daniel Szabó;Elif Yıldız;Farid Nazari;Greta Lindqvist
Hugo Marchetti;Imani Mwangi;Jonas Keller;Kavya Raman;Léa Fontaine;Mateus Prado;Nora Haugen;Omar Haddad
Priya Nair
Quentin Moreau;Rosa Delgado;Soo-ah Lim;Tomasz Wrona;Uma Krishnan;Viktor Petrov;Wen Zhao;Ximena Ortiz
Yusuf Demir;Zoë van Dam;Anouk Berger;Ben O'Leary;Clara Nowak;Dmitri Volkov"""


@dataclass(frozen=True)
class Answer:
    """What one cell becomes, and what it should be judged as.

    text: the cell without its check line; state, mistake: as in a result (mistake None: whatever it is
    called); answer: the guess, letter or line; seed: of a hunt; given: how the cell says the seed.
    """

    text: str = ""
    state: str = "not attempted"
    mistake: str | None = ""
    answer: object = None
    seed: int | None = None
    fits: bool | None = None
    given: str = "literal"


@dataclass
class Student:
    """One submission. damage: what happened to the file ("", or "cut off")."""

    name: str
    answers: dict[str, Answer] = field(default_factory=dict)
    damage: str = ""


def names(count: int) -> list[str]:
    """Names for a class; behind the thirtieth they get a number."""
    known = re.split("[;\n]", NAMES)
    more = (f"{known[i % len(known)]} {i + 1}" for i in range(len(known), count))
    return [*known[:count], *more]


def draw_class(course: Course, number: str = "02", students: int = 30, seed: int = 1) -> list[Student]:
    """The students and their answers, drawn anew from the seed."""
    dice, known = random.Random(seed), exercises(number)
    built = read_json(patches.FILE)
    truths, drawn = facts.truths(course, number), []
    for name in names(students):
        skill, student = dice.gauss(0.78, 0.18), Student(name)
        reach = len(known) if dice.random() < 0.62 else dice.randint(3, len(known) - 1)
        for place, (id, task) in enumerate(known.items()):
            attempted = place < reach and dice.random() < 0.97
            chance = skill - 0.03 * place
            kinds = {"predict": draw_guess, "hunt": draw_line}
            if task.kind in kinds:
                answer = kinds[task.kind](dice, task, truths.get(id), chance, built[id])
                keep = replace(Answer(), seed=answer.seed, given=answer.given)
                student.answers[id] = answer if attempted else keep
            elif attempted:
                student.answers[id] = draw_code(dice, task, chance, built[id])
            else:
                student.answers[id] = Answer()
        drawn.append(student)
    _add_accidents(drawn, [id for id, task in known.items() if task.kind == "write"])
    return drawn


def draw_code(dice, task, chance, built) -> Answer:
    """An answer to a task that is written or changed."""
    id, roll = task.id, dice.random()
    source, why = built["source"], getattr(task, "why", None)
    if roll < chance:
        ways = [source, *sample_answers.RIGHT.get(id, ())]
        text = dice.choice(ways)
        if task.kind == "write" or dice.random() < 0.7:
            return Answer(text, "right", answer=why)
        other = dice.choice([letter for letter in task.options if letter != why])
        return Answer(text, "mistake", patches.OTHER_REASON[0], answer=other)
    letter = dice.choice(task.options) if task.kind == "break" else None
    crashes, wrong = sample_answers.CRASHED.get(id), sample_answers.WRONG.get(id)
    if roll > 0.97 and crashes:
        error, text = dice.choice(crashes)
        return Answer(text, "crashed", error, letter)
    if roll > 0.94 and wrong:
        return Answer(dice.choice(wrong), "wrong", None, letter)
    listed = built["mistakes"]
    edits = dice.choices(listed, [1 / (1 + rank) ** 2 for rank in range(len(listed))])[0]
    return Answer(patches.patch(source, edits[1]), "mistake", edits[0], letter)


def draw_guess(dice, task, truth, chance, built) -> Answer:
    """An answer to a prediction, judged as the course judges it."""
    if task.id == "2.6":
        sketches = [*sample_answers.SKETCHES.values()]
        sketch = sketches[0] if dice.random() < chance - 0.15 else sketches[dice.choice([1, 2, 2, 3, 4])]
        wobble = dice.uniform(0.9, 1.1)
        guess = tuple(round(min(1.5, wobble * value + dice.uniform(0, 0.02)), 2) for value in sketch)
    else:
        guess = truth if dice.random() < chance else dice.choice(_other_guesses(task, built) or [truth])
    state, mistake, _ = task.judge(written.read(task.form, guess), truth)
    return Answer(f"guess = {guess!r}", "written", mistake, guess, fits=state == "right")


def _other_guesses(task, built) -> list:
    """The wrong guesses that the page lists, those that are spelled out."""
    found = []
    for _, answer, _ in built["mistakes"]:
        try:
            found.append(written.read(task.form, answer))
        except written.Unreadable:
            continue
    return found


def draw_line(dice, task, truth, chance, built) -> Answer:
    """A line for a hunt, with the seed that says which one is wrong."""
    seed, lines = dice.randrange(1, 1000), task.lines.count("\n") + 1
    right = task.built.cases[task.case(seed)][1]
    line = right if dice.random() < chance + 0.2 else dice.randint(1, lines)
    state = "found" if line == right else "not found"
    return Answer(f"line = {line}", state, None, line, seed, given=dice.choice(["literal", "output"]))


def _add_accidents(students, tasks):
    """What happens in a class of thirty; each to a student of its own, in smaller classes to fewer."""
    accidents = [("2.7", Answer(sample_answers.ENDLESS, "contained", None))] if "2.7" in tasks else []
    accidents += [
        (tasks[0], Answer(given="missing", state="missing")),
        (tasks[1], Answer(given="reference", state="reference", mistake=None)),
    ]
    for student, (id, answer) in zip(students[6::7], accidents, strict=False):
        student.answers[id] = answer
    if len(students) > 24:
        students[24].damage = "cut off"


# Files --------------------------------------------------------------------------------------------


def write_sample(course: Course, folder: Path, number: str = "02", students: int = 30, seed: int = 1) -> list:
    """Write folder/NAME/NN_title.ipynb for each student; returns the students with what is expected."""
    drawn = draw_class(course, number, students, seed)
    page = course.student_path(course.source_paths(number)[0].stem)
    notebook = json.loads(page.read_text(encoding="utf-8"))
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for student in drawn:
        text = json.dumps(fill(notebook, student.answers), ensure_ascii=False, indent=1)
        if student.damage == "cut off":
            text = text[: len(text) // 2]
        path = folder / student.name / page.name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, f"{text}\n")
    return drawn


def fill(notebook: dict, answers: dict) -> dict:
    """A student's notebook: the student edition with these answers in its cells."""
    cells = []
    for cell in notebook["cells"]:
        cell = json.loads(json.dumps(cell))
        data = cell["metadata"]
        id, asked = data.get("of") or data.get("exercise"), data.get("kind") == "hunt"
        if answer := answers.get(id):
            if answer.given == "missing":
                continue
            source = "".join(cell["source"])
            if asked:
                source, cell["outputs"] = _say_seed(id, answer)
            else:
                source = _fill_cell(id, source, answer)
            cell["source"] = source.splitlines(keepends=True)
        cells.append(cell)
    return notebook | {"cells": cells}


def _say_seed(id, answer):
    """The cell that shows a hunt, and its output: the seed stands in one of the two."""
    if answer.given == "literal":
        return f'check.hunt("{id}", seed={answer.seed})', []
    text = f"{id}: one line is wrong. Which?\nCase 1 of 6, seed {answer.seed}; in a class: `check.hunt(...)`"
    shown = {"output_type": "display_data", "metadata": {}, "data": {"text/plain": text}}
    return f'check.hunt("{id}")', [shown]


def _fill_cell(id, source, answer) -> str:
    """The text of a cell that hands in an answer."""
    closing = re.search(r"^.*\bcheck(\.\w+)?\(.*$", source, re.MULTILINE)[0]
    if answer.given == "reference":
        name = closing.partition(" =")[0]
        return f'from helpers.exercises import patches\n\n{name} = patches.solve("{id}")\n{closing}'
    if not answer.text:
        return source
    if re.match(r"(guess|line) =", answer.text):
        return f"{answer.text}\n{closing}"
    why = f'why = "{answer.answer}"\n' if "check.changed" in closing else ""
    return f"{answer.text.rstrip()}\n\n\n{why}{closing}"


# Results without judging --------------------------------------------------------------------------


def expected_results(course: Course, number: str = "02", students: int = 30, seed: int = 1) -> list[dict]:
    """Results as judging the class should give them; for work on the page."""
    known, results = exercises(number), []
    page = course.source_paths(number)[0].stem
    for student in draw_class(course, number, students, seed):
        problem = "it is no readable notebook (cut off in the middle)" if student.damage else None
        tasks = {id: _entry(known[id], answer) for id, answer in student.answers.items()}
        results.append(
            dict(student=student.name, file=f"{student.name}/{page}.ipynb", notebooks=[number],
                 problem=problem, seconds=0.0, tasks={} if problem else tasks)
        )  # fmt: skip
    return results


def _entry(task, answer) -> dict:
    said = {m.name: m.message for m in getattr(task, "mistakes", ())}
    message = said.get(answer.mistake, "")
    if answer.mistake == patches.OTHER_REASON[0]:
        message = task.weigh(answer.answer)[2]
    entry = dict(kind=task.kind, state=answer.state, mistake=answer.mistake or "", answer=answer.answer,
                 message=message if isinstance(message, str) else "", seed=answer.seed,
                 code=answer.text or stubs().get(task.id, ""))  # fmt: skip
    return entry | ({} if answer.fits is None else {"fits": answer.fits})
