"""What a submission is worth: outcomes come from the box, the verdict is made here, by `check`'s engine."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from helpers.exercises import (
    SpecError,
    compare,
    exercises,
    hidden,
    notebooks,
    patches,
    sandbox,
    stubs,
    verdict,
)
from helpers.exercises import written as forms
from helpers.exercises.surroundings import as_before
from helpers.files import read_json

from . import facts, needs
from .box import SENTENCES, Box, Contained
from .extract import HandIn, Submission, Unreadable, clean, excerpt, read_submission
from .tally import UNKNOWN_SEED

MESSAGE, SECONDS = 1000, 20.0  # characters of a message; for a task beside its own limit
STOPPED = ("time limit", "memory", "MemoryError")  # crashes that are the box's doing, too


def tasks_of(numbers=None) -> dict:
    """{id: exercise} of some notebooks, or of all."""
    return {id: task for number in numbers or notebooks() for id, task in exercises(number).items()}


def judge_file(course, student: str, file: str, content: bytes, seed: int, trust: bool, only=None) -> dict:
    """The result of one submitted file (run.py says what is in it)."""
    start = time.monotonic()
    made = dict(student=student, file=clean(file, 1000), notebooks=[], problem=None, seconds=0.0, tasks={})
    try:
        kinds = {id: task.kind for id, task in tasks_of().items()}
        submission = read_submission(student, file, content, kinds)
        numbers = sorted({f"{int(id.partition('.')[0]):02d}" for id in submission.tasks})
        numbers = [n for n in numbers if only in (None, n)]
        if not numbers:
            raise Unreadable("It hands in no task" + (f" of notebook {only}." if only else " of the course."))
        made["notebooks"] = numbers
        made["tasks"] = judge(course, submission, numbers, seed, trust)
    except Unreadable as why:
        made["problem"] = f"{why}"
    made["seconds"] = round(time.monotonic() - start, 2)
    return made


def judge(course, submission: Submission, numbers, seed: int, trust: bool) -> dict:
    """{id: its row} for the tasks of some notebooks."""
    set_up = dict(built=read_json(patches.FILE), seed=seed, notebooks=list(numbers))
    rows = {}
    with Box(course.root, set_up, trust) as box:
        for id, task in tasks_of(numbers).items():
            if submission.is_parts and task.kind != "write":
                continue
            handed = submission.tasks.get(id)
            row = dict(
                kind=task.kind, state="missing", mistake="", message="", answer=None, seed=None, code=""
            )
            rows[id] = row
            if handed is None:
                row["message"] = "No cell hands it in."
                continue
            cell = submission.cells[handed.cell]
            row["code"] = excerpt(cell, handed.hand_in if task.kind in ("write", "break") else "")
            if handed.crash:
                crash = sandbox.Crash(*handed.crash)
                row.update(state="crashed", mistake=crash.name, message=compare.cap(f"{crash}"))
            elif task.kind == "predict":
                judge_prediction(course, task, handed, row)
            elif task.kind == "hunt":
                judge_hunt(task, handed, row)
            else:
                judge_function(course, box, submission, task, handed, seed, row)
            row["message"] = clean(row["message"], MESSAGE) if row["message"] else ""
    return rows


# Plain answers ------------------------------------------------------------------------------------


def judge_prediction(course, task, handed: HandIn, row: dict):
    row["fits"] = None
    if not handed.readable:
        row.update(state="not attempted", mistake="no literal")
        row["message"] = "The answer is computed in the notebook, which is not run: it could not be read."
        return
    told, _ = task.write_down(handed.answer, {})
    row.update(state=told.state, message=told.message)
    if told.state != "written":
        return
    guess = forms.read(task.form, handed.answer)
    row["answer"] = guess
    if (truth := facts.truth_of(course, task.id)) is None:
        row["message"] = "The truth is not saved in the complete edition."
        return
    state, name, text = task.judge(guess, truth)
    text = text.replace("{written}", forms.say(guess)).replace("{truth}", forms.say(truth, digits=True))
    row.update(fits=state == "right", mistake=name, message=text)


def judge_hunt(task, handed: HandIn, row: dict):
    row["seed"] = handed.seed
    if handed.answer is ... or not handed.readable:
        said = "Write the number of the wrong line." if handed.readable else "The line is no literal."
        row.update(state="not attempted", message=said)
        return
    if handed.seed is None:
        row.update(state="not found", mistake=UNKNOWN_SEED)
        row["message"] = (
            "The seed stands neither in the source nor in the saved output: run the cell of the hunt."
        )
        try:
            row["answer"] = task.read(handed.answer)
        except forms.Unreadable:
            pass
        return
    told, _ = task.answer(handed.answer, handed.seed, {})
    state = {"found": "found", "wrong": "not found"}.get(told.state, told.state)
    row.update(state=state, message=told.message, mistake=told.mistake if state == "not found" else "")
    if state != "not attempted":
        row["answer"] = task.read(handed.answer)


# Functions ----------------------------------------------------------------------------------------


def judge_function(course, box: Box, submission, task, handed: HandIn, seed: int, row: dict):
    """Ask the box what the function does, and weigh it."""
    if task.kind == "break":
        row["answer"] = _letter(task, handed)
    if not handed.hand_in:
        row.update(
            state="missing", message="Nothing is handed in: the call of `check` is without a function."
        )
        return
    try:
        number = task.id.partition(".")[0]
        name = course.source_paths(number)[0].stem
        frame = needs.frame_of_parts() if submission.is_parts else needs.frame_of(course.complete_path(name))
        work = needs.prepare(submission, handed, frame)
        stub = task.stub if task.kind == "break" else stubs().get(task.id)
        request = dict(id=task.id, given=work.given, earlier=work.earlier, text=work.text)
        request |= dict(hand_in=handed.hand_in, stub=stub, again=None, seconds=2 * task.time_limit + SECONDS)
        answer = box.ask(request)
        row.update(weigh(box, request, answer, task, handed, seed))
    except Contained as why:
        row.update(state="contained", message=f"{why}")
    except (RecursionError, MemoryError) as error:
        row.update(
            state="crashed", mistake=type(error).__name__, message="The code is nested too deeply to be read."
        )


def _letter(task, handed):
    try:
        return forms.read(f"letter {task.options}", handed.answer) if handed.answer is not ... else None
    except forms.Unreadable:
        return None


def weigh(box, request, answer, task, handed, seed) -> dict:
    """State, mistake and message for what the box answers."""
    dug = dict(state="reference", mistake="the course's own solution")
    dug["message"] = "What is handed in is the course's own solution, or calls it."
    try:
        if answer.get("dug"):
            return dug
        seen = read_observed(answer)

        def again(number):
            told = box.ask(request | dict(again=int(number)))
            return [read_outcome(o, ()) for o in told["outcomes"]]

        with hidden.numbers(seed), as_before():
            cases = verdict.cases_of(task)
            filled = [replace(o, args=c) for o, c in zip(seen.outcomes, cases, strict=False)]
            told = verdict.weigh(task, replace(seen, outcomes=filled, again=again))
    except SpecError as error:
        return dict(state="crashed", mistake="not weighed", message=f"It could not be weighed: {error}")
    except Contained:
        raise
    except Exception:
        raise Contained(SENTENCES["form"]) from None
    state, mistake, message = told.state, told.mistake, told.message
    if task.kind == "break" and state == "right":
        why = handed.answer if handed.readable else None
        state, mistake, message = task.weigh(why)
    if state == "right" and task.kind == "write" and seed:
        message = "It agrees with the solution on hidden numbers."  # `verified` names those of check
    if state == "crashed" and mistake in STOPPED:
        state = "contained"
    if state == "wrong" and mistake:
        state = "mistake" if is_known(task, mistake) else "wrong"
    return dict(state=state, mistake=mistake, message=message)


def is_known(task, mistake: str) -> bool:
    """Whether a name stands on the page of mistakes, alone or in a pair; or is a reason of a break."""
    known = {m.name for m in task.mistakes}
    return mistake in patches.OTHER_REASON or set(mistake.split(" + ")) <= known


def read_observed(answer: dict) -> verdict.Observed:
    """Raises TypeError and the like where it is not what inside.py writes."""
    unfit = answer["unfit"]
    if unfit is not None:
        name, text, state = map(_text, unfit)
        unfit = (name, text, state if state in ("wrong", "crashed") else "wrong")
    said = answer["arguments"]
    outcomes = [read_outcome(o, ()) for o in answer["outcomes"]]
    return verdict.Observed(
        outcomes, "", answer["stub"] is True, unfit, said if said is None else _text(said)
    )


def read_outcome(told: dict, args) -> verdict.Outcome:
    crash, gradients = told["crash"], told["gradients"]
    if crash is not None:
        name, text, lineno, line, complaint = crash
        number = lineno if type(lineno) is int else None
        crash = sandbox.Crash(_text(name), _text(text), number, _text(line), complaint is True)
    drawn = {}
    for name, (state, reseeded) in told["drawn"].items():
        if not isinstance(state, torch.Tensor) or state.dtype is not torch.uint8:
            raise TypeError("no state of a generator")
        drawn[_text(name)] = state, reseeded is True
    if gradients is not None and not all(g is None or isinstance(g, torch.Tensor) for g in gradients):
        raise TypeError("no gradients")
    changed = told["changed"]
    changed = None if changed is None else _text(changed)
    return verdict.Outcome(args, told["result"], crash, changed, drawn, gradients)


def _text(value) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return clean(value, 2000) if value else ""
