"""What `check` and grading cells are given: numbers, answers, records, exercises, stubs, broken or forged."""

import functools
import html.parser
import json
import os
import shutil
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import helpers.exercises as engine
from helpers.exercises import Check, Complaint, Mistake, SpecError, Verdict, report

from .answers import TOY, TOYS, Net, double, mean, write

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def as_a_reader(one_thread, monkeypatch):
    monkeypatch.delenv("NOISE_TO_DIGITS_STRICT_CHECKS", raising=False)


def said(capsys):
    """What was printed: never a traceback."""
    text = capsys.readouterr().out
    assert "Traceback" not in text and text.strip()
    return text


# Numbers of exercises -----------------------------------------------------------------------------

IDS = [
    "",
    "x",
    "90.9",
    "77.1",
    "90",
    "90.1 ",
    "090.1",
    "-90.1",
    "9e1.1",
    "²",
    "٣.1",
    "1" * 5000,
    "../nb01",
    "<b>1</b>",
]
IDS += ["90.1\n", "\udc80", 3, 90.1, None, b"90.1", ["90.1"], {}, ("90.1",), double, len, torch.ones(3)]


@pytest.mark.parametrize("id", IDS, ids=lambda id: f"{type(id).__name__} {str(id)[:12]!r}")
def test_an_exercise_that_does_not_exist(id, capsys):
    check = Check(TOYS)
    assert check(id, double) is double and not check.verdicts
    assert "there is no exercise of this name. Known: 90.1, 90.2, " in said(capsys)


@pytest.mark.parametrize("notebook", ["77", "x", "", None, -1, "²", [], "1; import os", "<b>"])
def test_the_summary_of_no_notebook(notebook, capsys):
    Check().summary(notebook)
    text = said(capsys)
    assert text.startswith("Summary of ") and "not available (" in text and text.count("\n") == 1


# Answers that are the reference, or look like it --------------------------------------------------


class Equal:
    """Equals everything, and answers wrongly."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        return True

    def __call__(self, x):
        return x


FORGED = [
    ("an object that equals the reference", "double", Equal(), "wrong"),
    ("a wrong function with the reference's name", "double", functools.wraps(double)(lambda x: x), "wrong"),
    ("the reference of another exercise", "double", mean, "wrong"),
    ("a class with the reference's name", "Net", type("Net", (torch.nn.Identity,), {}), "wrong"),
    (
        "the reference's class, its forward another",
        "Net",
        type("Net", (Net,), {"forward": lambda s, x: x}),
        "wrong",
    ),
]


@pytest.mark.parametrize("toy, function, state", [pytest.param(*row[1:], id=row[0]) for row in FORGED])
def test_what_only_looks_like_the_reference_is_judged(toy, function, state, capsys):
    check = Check(TOYS)
    exercise = TOY[toy]
    assert check(exercise.id, function) is exercise.reference
    assert check.verdicts[exercise.id].state == state
    assert "right" not in said(capsys)


@pytest.mark.parametrize(
    "toy, function",
    [("double", functools.partial(double)), ("double", lambda x: double(x)), ("Net", type("N", (Net,), {}))],
    ids=["a partial function", "a function that calls it", "a class that inherits"],
)
def test_the_reference_in_a_wrapping_is_right(toy, function, capsys):
    """Not held: the references lie in the open, and an answer that calls one computes what it should.

    TEACHING.md says so: grade what cannot be copied.
    """
    check = Check(TOYS)
    assert check(TOY[toy].id, function) is function
    assert check.verdicts[TOY[toy].id].state == "right"


@pytest.mark.parametrize(
    "earlier", [None, "right", 3, Verdict("right!", double), types.SimpleNamespace(state="right")]
)
def test_the_reference_itself_gets_no_verdict(earlier, capsys):
    check = Check(TOYS)
    if earlier is not None:
        check.verdicts["90.1"] = earlier
    assert check("90.1", double) is double
    text = said(capsys)
    assert (
        "not checked. This is a function of the course's own: hand in yours." in text and "right" not in text
    )


# Records ------------------------------------------------------------------------------------------

RECORDS = {
    "a text": "right",
    "a number": 3,
    "a dict": {"state": "right"},
    "an object with a state": types.SimpleNamespace(state="right", mistake=""),
    "an object that ends the program": type("V", (), {"__getattr__": lambda s, n: sys.exit()})(),
    "a verdict of no known state": Verdict("splendid", double),
    "a verdict without a state": Verdict(None, double),
    "a verdict with an unhashable state": Verdict(["right"], double),
    "the class of verdicts": Verdict,
}


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_a_made_up_record_drops_nothing_from_the_summary(record, capsys):
    check = Check(TOYS)
    check("90.2", lambda x: x.mean().item())
    check.verdicts |= {"90.1": record, 3: record, "<b>": record}
    capsys.readouterr()
    check.summary("90")
    lines = said(capsys).splitlines()
    assert lines[1].split() == ["90.1", "double", "not", "run"] and lines[2].split() == [
        "90.2",
        "mean",
        "right",
    ]
    assert len(lines) == len(TOYS) + 2 and lines[-1] == "5 of 6 still open."


def test_a_forged_verdict_counts(capsys):
    """Not held: a cell may write into `check.verdicts`, as into any object of its own kernel.

    The grading cell then gives the point; TEACHING.md says what grading with it cannot do.
    """
    check = Check(TOYS)
    check.verdicts["90.1"] = Verdict("right", len)
    exec(GRADING.format("90.1"), {"check": check})


GRADING = 'assert check.verdicts["{}"].state == "right"'
GRADED = [
    ("an exercise that was not run", None, KeyError),
    ("a stub", write("def f(x):\n    ..."), AssertionError),
    ("a wrong answer", lambda x: x, AssertionError),
    ("a crash", lambda x: 1 / 0, AssertionError),
    ("an exit", lambda x: sys.exit(), AssertionError),
    ("the reference, handed in", double, KeyError),
    ("a right answer", lambda x: x + x, None),
]


@pytest.mark.parametrize("answer, error", [pytest.param(*row[1:], id=row[0]) for row in GRADED])
def test_the_point_of_a_grading_cell(answer, error, capsys):
    """nbgrader gives the point where the cell raises nothing."""
    builder = (ROOT / "notebooks/source/builder/editions.py").read_text(encoding="utf-8")
    assert GRADING.format("{number}") in builder
    check = Check(TOYS)
    if answer is not None:
        check("90.1", answer)
    if error is None:
        exec(GRADING.format("90.1"), {"check": check})
    else:
        with pytest.raises(error):
            exec(GRADING.format("90.1"), {"check": check})


@pytest.mark.parametrize(
    "patched",
    [lambda id, f: f, None, "check", types.SimpleNamespace(verdicts={})],
    ids=["a function", "None", "a text", "an object without verdicts"],
)
def test_a_patched_check_gives_no_point(patched):
    with pytest.raises((AttributeError, KeyError)):
        exec(GRADING.format("90.1"), {"check": patched})


# Broken exercises ---------------------------------------------------------------------------------


def fail(*args):
    raise ValueError("oh")


def leave(*args):
    raise SystemExit("oh")


def odd(x):
    return {1, 2}


def broken(**parts):
    return replace(TOY["double"], **parts)


BROKEN = [
    ("the reference raises", broken(reference=fail), "the reference stops with ValueError: oh"),
    ("the reference ends the program", broken(reference=leave), "the reference stops with SystemExit: oh"),
    ("the reference returns a set", broken(reference=odd), "the reference returns what cannot be compared"),
    ("the cases raise", broken(cases=fail), "cases() stops with ValueError: oh"),
    ("the cases end the program", broken(cases=leave), "cases() stops with SystemExit: oh"),
    ("there are no cases", broken(cases=lambda: []), "cases() must return a list of tuples"),
    ("the cases are no tuples", broken(cases=lambda: [3]), "cases() must return a list of tuples"),
    ("the cases are no list", broken(cases=lambda: None), "cases() stops with TypeError"),
    (
        "the case has another number of arguments",
        broken(cases=lambda: [(1, 2)]),
        "the reference stops with TypeError",
    ),
    (
        "a mistake raises",
        broken(mistakes=[Mistake("m", "M.", fail)]),
        "mistake 'm' stops with ValueError: oh",
    ),
    (
        "a mistake ends the program",
        broken(mistakes=[Mistake("m", "M.", leave)]),
        "mistake 'm' stops with SystemExit",
    ),
    (
        "a mistake's words raise",
        broken(mistakes=[Mistake("m", fail, lambda x: x)]),
        "the message of mistake 'm' stops",
    ),
    (
        "a mistake's words end the program",
        broken(mistakes=[Mistake("m", leave, lambda x: x)]),
        "the message of mistake",
    ),
    ("a property raises", broken(properties=[fail]), "a property stops with ValueError: oh"),
    ("a property ends the program", broken(properties=[leave]), "a property stops with SystemExit: oh"),
    ("its call raises", broken(call=fail), "the reference stops with ValueError: oh"),
    (
        "its call complains of the reference",
        broken(call=lambda f, x: (_ for _ in ()).throw(Complaint("c", "C."))),
        "c: C.",
    ),
    ("the mistakes are no list", broken(mistakes=None), "TypeError"),
]


@pytest.mark.parametrize("exercise, words", [pytest.param(*row[1:], id=row[0]) for row in BROKEN])
def test_a_broken_exercise_is_one_sentence_and_stays_alone(exercise, words, capsys, monkeypatch):
    check = Check([exercise, *TOYS[1:]])
    assert check("90.1", lambda x: x) is exercise.reference
    text = said(capsys)
    assert "could not be checked: the exercise itself is broken (" in text and words in text, text
    assert text.endswith("Carrying on with the reference.\n") and text.count("\n") == 1
    assert check("90.2", right := lambda x: x.sum().item() / 3) is right
    assert check("90.3", len) is TOY["label"].reference
    capsys.readouterr()
    check.summary("90")
    words = [line.split()[2] for line in said(capsys).splitlines()[1:4]]
    assert words == ["broken:", "right", "not"]
    monkeypatch.setenv("NOISE_TO_DIGITS_STRICT_CHECKS", "1")
    with pytest.raises((SpecError, TypeError)):
        check("90.1", lambda x: x)


@pytest.mark.parametrize("raises", [False, True], ids=["a mistake", "a mistake that may raise"])
def test_the_readers_interrupt_inside_a_mistake_passes(raises):
    def interrupted(x):
        raise KeyboardInterrupt

    exercise = broken(mistakes=[Mistake("m", "M.", interrupted, raises=raises)])
    stdout, check = sys.stdout, Check([exercise])
    with pytest.raises(KeyboardInterrupt):
        check("90.1", lambda x: x)
    assert sys.stdout is stdout and not check.verdicts


def test_the_state_in_the_summary_is_that_of_the_sentence(capsys):
    check = Check(TOYS)
    check("90.1", lambda x: x + 1)
    assert "90.1 double: not yet." in said(capsys)
    check.summary("90")
    assert "90.1      double  not yet: " in said(capsys)


# Files of exercises and stubs ---------------------------------------------------------------------

SOUND = """
from helpers.exercises import Exercise
def double(x):
    return 2 * x
EXERCISES = [Exercise("90.1", "double", double, lambda: [(3,)], "it is twice x.")]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of exercises of our own: nb90.py is broken, nb91.py is sound."""
    monkeypatch.setattr(engine, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(engine, "__path__", [str(tmp_path), *engine.__path__])
    (tmp_path / "nb91.py").write_text(SOUND.replace("90.1", "91.1"))
    yield tmp_path
    for name in ("nb90", "nb91"):
        sys.modules.pop(f"helpers.exercises.{name}", None)
        vars(engine).pop(name, None)


FILES = [
    ("a syntax error", SOUND + "def\n", "SyntaxError"),
    ("a merge conflict", "<<<<<<< HEAD\n" + SOUND, "SyntaxError"),
    ("half of it", SOUND[: len(SOUND) - 40], "SyntaxError"),
    ("nothing in it", "", "AttributeError"),
    ("a name that does not exist", SOUND + "nothing\n", "NameError"),
    ("an import that does not exist", "import nothing_of_this_name\n" + SOUND, "ModuleNotFoundError"),
    (
        "an exercise with an argument too many",
        SOUND + "EXERCISES.append(Exercise(1, 2, 3, 4, 5, wrong=6))\n",
        "TypeError",
    ),
    ("something else among the exercises", SOUND + "EXERCISES.append(3)\n", "AttributeError"),
    ("no list of exercises", SOUND + "EXERCISES = None\n", "TypeError"),
    ("an exit", SOUND + "raise SystemExit('bye')\n", "SystemExit"),
    ("a null byte", SOUND + "\0", "S"),
    ("other letters than UTF-8", SOUND.encode() + b"x = '\xff'\n", "SyntaxError"),
]


@pytest.mark.parametrize("content, error", [pytest.param(*row[1:], id=row[0]) for row in FILES])
def test_a_file_of_exercises_with(content, error, folder, capsys):
    (folder / "nb90.py").write_bytes(content if isinstance(content, bytes) else content.encode())
    check = Check()
    answer = write("def double(x):\n    return x + x", "double")
    assert check("90.1", answer) is answer
    text = said(capsys)
    assert text.startswith("90.1: could not be checked: its exercises did not load (nb90.py does not load (")
    assert error in text and text.endswith("Carrying on with your function, unchecked.\n")
    assert "mend it; or, if you did not change it, put a whole copy of it back" in text
    check.summary("90")
    assert "Summary of 90: not available (nb90.py does not load" in said(capsys)
    assert check("91.1", answer) is answer and "91.1 double: right." in said(capsys)
    (folder / "nb90.py").write_text(SOUND + "# mended\n")
    assert check("90.1", answer) is answer and "90.1 double: right." in said(capsys), "without a restart"


STUBS = {
    "half of it": b'{"91.1": "def',
    "nothing": b"",
    "a list": b'["91.1"]',
    "a number": b"3",
    "null": b"null",
    "a merge conflict": b'<<<<<<< HEAD\n{"91.1": "x"}',
    "other letters than UTF-8": b'{"91.1": "\xff"}',
    "a folder": None,
}


@pytest.mark.parametrize("content", STUBS.values(), ids=STUBS)
def test_damaged_stubs(content, folder, capsys):
    path = folder / "stubs.json"
    path.mkdir() if content is None else path.write_bytes(content)
    answer = write("def double(x):\n    return x + x", "double")
    assert Check()("91.1", answer) is answer
    first, second = said(capsys).splitlines()
    assert first.startswith("91.1: stubs.json cannot be read (") and "copy of it back" in first
    assert second.startswith("91.1 double: right.")
    Check()("91.1", write("def double(x):\n    ...", "double"))
    assert "91.1 double: not attempted." in said(capsys)


@pytest.mark.parametrize("stub", ["def", "x = 1", "", 3, None, ["def f(x): ..."], "def f(x):\n    \0"])
def test_a_damaged_stub(stub, folder, capsys):
    (folder / "stubs.json").write_text(json.dumps({"91.1": stub}))
    check = Check()
    check("91.1", write("def double(x):\n    return x + x", "double"))
    text = said(capsys)
    assert (
        ("right." in text)
        if stub is None
        else ("itself is broken (SpecError: 91.1: its part of stubs.json stops with " in text)
    ), text


@pytest.mark.long
def test_a_syntax_error_in_a_real_file_of_exercises(tmp_path):
    """A copy of helpers/ with nb03.py broken: 3.1 says so, 1.5 is judged."""
    shutil.copytree(ROOT / "helpers", tmp_path / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "helpers/exercises/nb03.py").open("a") as file:
        file.write("\ndef broken(:\n")
    code = (
        "from helpers.exercises import check, exercises\n"
        "check('3.1', print); check.summary('03'); check('1.5', lambda x0, t, noise, schedule: x0)\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    lines = run.stdout.splitlines()
    assert run.returncode == 0 and not run.stderr and len(lines) == 3
    assert "nb03.py does not load (SyntaxError: invalid syntax (nb03.py, line" in lines[0]
    assert "if you did not change it, restore it with `git checkout -- helpers/exercises/nb03.py`" in lines[0]
    assert lines[1].startswith("Summary of 03: not available") and lines[2].startswith(
        "1.5 q_sample: not yet."
    )


# Names with HTML in them --------------------------------------------------------------------------

EVIL = "<img src=x onerror=alert(1)>"
WRITTEN = {
    "in an error": lambda x: (_ for _ in ()).throw(ValueError(EVIL)),
    "in the name of an error": lambda x: (_ for _ in ()).throw(type(EVIL, (Exception,), {})("x")),
    "in the name of a result's class": lambda x: type(EVIL, (), {})(),
    "in what is printed": lambda x: print(EVIL, "</pre><script>alert(1)</script>"),
    "in a result": lambda x: EVIL,
    "in a complaint": lambda x: (_ for _ in ()).throw(Complaint(EVIL, EVIL)),
    "in an error, between the marks of code": lambda x: (_ for _ in ()).throw(
        ValueError(f"`{EVIL}` `</code>`")
    ),
    "in a line of code": write("def f(x):\n    return x['<img src=x onerror=alert(1)>']"),
    "in an argument's name": write("def f(x, y=1):\n    raise KeyError('<b onclick=x>')"),
    "in the name of a value": type(EVIL, (), {})(),
    "in quotes that would leave an attribute": lambda x: (_ for _ in ()).throw(ValueError("' \" onclick=x")),
}


class Tags(html.parser.HTMLParser):
    """Collects the tags and attributes of a page."""

    def __init__(self, page):
        super().__init__()
        self.found = set()
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found |= {tag} | {f"{tag} {name}" for name, _ in attributes}


OURS = set(
    "div|div style|b|br|pre|code|table|thead|tbody|tr|tr style|td|td style|th|th scope|th style|p".split("|")
)


@pytest.mark.parametrize("answer", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("title", ["label", EVIL], ids=["", "and in the title"])
def test_html(answer, title, monkeypatch):
    shown = []
    monkeypatch.setattr(report, "_emit", lambda plain, rich: shown.append((plain, rich)))
    check = Check([replace(TOY["label"], title=title)])
    check("90.3", answer)
    check.summary("90")
    assert len(shown) == 2
    for plain, rich in shown:
        assert Tags(rich).found <= OURS
        assert title in plain and "itself is broken" not in plain


def test_html_in_the_number_of_an_exercise(monkeypatch):
    shown = []
    monkeypatch.setattr(report, "_emit", lambda plain, rich: shown.append(rich))
    Check(TOYS)(EVIL, double)
    assert Tags(shown[0]).found <= OURS and "&lt;img" in shown[0]
