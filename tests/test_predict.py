"""Predictions and changes: what is written down, what is said of it, and what a restarted kernel knows."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.exercises import Check, answers, beside, mine, patches, read_cell, written
from helpers.exercises.patches import Break, Exercise
from helpers.exercises.predict import Prediction
from test_check import write


def flat(guess):
    """For the page: an answer that is no number."""
    return max(guess) - min(guess) < 0.1


GIVEN = "def fade(x, t):\n    return x * 0.5 ** t"
ENTRIES = {
    "90.1": {
        "kind": "predict",
        "name": "two steps",
        "mistakes": [
            ["factors added", "0.25, ..", "Factors are roots: {written} is not {truth}."],
            ["no difference", "flat()", "They are not alike."],
        ],
        "right": "It is a product.",
    },
    "90.2": {"kind": "predict", "name": "which one", "mistakes": [["ends", "a", "The ends are a."]]},
    "90.3": {
        "kind": "break",
        "name": "fade",
        "title": "no fading",
        "source": "def fade(x, t):\n    return x",
        "stub": GIVEN,
        "mistakes": [["all gone", [[27, 28, "0 * x"]], "Nothing is left."]],
        "reasons": [["a", "It is not lighter."]],
        "right": "So it stays.",
    },
    "90.4": {
        "name": "twice",
        "source": "def twice(x):\n    return 2 * x",
        "mistakes": [],
        "expected": "twice(1)",
    },
}


def keeps(results):
    sizes = [float(r.norm()) for r in results]
    return None if min(sizes) > 1.9 else f"The smallest norm is {min(sizes):.2f}: it should stay 2."


def tasks():
    return [
        Prediction("90.1", "2 numbers", near=0.03),
        Prediction("90.2", "letter abc"),
        Break("90.3", lambda: [(torch.ones(4), 1), (torch.ones(4), 3)], "it stays.", keeps, "b"),
        Exercise("90.4", lambda: [(torch.ones(2),)], "it doubles."),
    ]


@pytest.fixture(autouse=True)
def entries(tmp_path, monkeypatch):
    monkeypatch.setenv("NOISE_TO_DIGITS_MINE", str(tmp_path / "my-work"))
    monkeypatch.setattr(mine, "run_file", lambda: "It runs.", raising=False)
    monkeypatch.setattr(beside, "show", lambda *_: None)  # where an earlier test left an IPython behind
    monkeypatch.setenv("NOISE_TO_DIGITS_STRICT_CHECKS", "1")
    with patches.reading(json.loads(json.dumps(ENTRIES))):
        yield
    answers.forget()


@pytest.fixture
def said(capsys):
    """What was said since it was asked last."""
    return lambda: capsys.readouterr().out


# What is understood


@pytest.mark.parametrize(
    ("form", "value", "wanted"),
    [
        ("number", 3, 3),
        ("number", "62 %", 62),
        ("number", np.float32(0.5), 0.5),
        ("number", torch.tensor([0.5]), 0.5),
        ("2 numbers", (0.5, torch.tensor(1)), (0.5, 1)),
        ("2 numbers", [np.int64(2), 0.25], (2, 0.25)),
        ("2 numbers", "0.5, 0.25", (0.5, 0.25)),
        ("3 numbers", np.array([1.0, 2.0, 4.0]), (1, 2, 4)),
        ("letter abcd", " B ", "b"),
        ("letter abcd", ("(b)",), "b"),
        ("letters abcdef", "D, c", "cd"),
        ("letters abcdef", {"d", "c"}, "cd"),
        ("letters abcdef", ["d", "c", "d"], "cd"),
        ("2 letters yn", ["Yes", "no"], "yn"),
        ("2 letters yn", "n y", "ny"),
        ("grid 2x3", [[1, 2, 3], [4, 5, 6]], ((1, 2, 3), (4, 5, 6))),
        ("grid 2x2", ["0.25 0.75", "0, 1"], ((0.25, 0.75), (0, 1))),
        ("grid 1x2, number", ([[1, 2]], 3), ((1, 2), 3)),
        ("number, letter abc", (0.7, "c"), (0.7, "c")),
        ("number, letter abc", ("C", 0.7), (0.7, "c")),
    ],
)
def test_what_is_understood(form, value, wanted):
    assert written.read(form, value) == wanted


class Odd:
    def __iter__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    "value", [None, True, 1j, float("nan"), (1, 2, 3), "half", {}, Odd(), int, [], 10**400]
)
def test_nonsense_is_answered_by_the_form(value):
    with pytest.raises(written.Unreadable, match=r"^Write two numbers, as in guess = 0\.1, 0\.2\.$"):
        written.read("2 numbers", value)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("number", "one number, as in guess = 0.1"),
        ("12 numbers", "12 numbers, as in guess = 0.1, 0.2, 0.3, 0.4, ..."),
        ("letter abc", 'one letter of a, b or c, as in guess = "a"'),
        ("letters abc", 'the letters that fit, of a, b and c, as in guess = "ab"'),
        ("2 letters yn", 'two letters, each y or n, as in guess = "yn"'),
        ("grid 4x2", "4 rows of two numbers, as in guess = [0.1, 0.2], [0.1, 0.2]"),
        ("number, letter ab", 'one number and one letter of a or b, as in guess = 0.1, "a"'),
    ],
)
def test_the_form_in_words(form, words):
    assert written.wanted(form) == words
    for wrong in ("z", ..., (), "abz", [1] * 99):
        with pytest.raises(written.Unreadable):
            written.read(form, wrong)


@pytest.mark.parametrize(
    ("value", "guessed", "measured"),
    [
        ((0.5, 192, 1 / 3), "0.5, 192 and 0.333333", "0.500, 192 and 0.333"),
        ("cd", '"cd"', '"cd"'),
        (((0.25, 1), (1234.5, 0.0001)), "0.25, 1; 1234.5, 0.0001", "0.250, 1; 1234, 0.000100"),
    ],
)
def test_in_words(value, guessed, measured):
    assert (written.say(value), written.say(value, digits=True)) == (guessed, measured)


# What is said


def test_a_prediction(said):
    c = Check(tasks())
    c.predict("90.1", ...)
    out = said()
    assert out.startswith("90.1 two steps: not attempted. Write two numbers, as in guess = 0.1, 0.2, before")
    c.truth("90.1", (0.5, 0.75))
    assert c.written("90.1") is None
    assert said() == "90.1 two steps: not attempted. It is 0.500 and 0.750.\n"
    c.predict("90.1", "half")
    assert said() == "90.1 two steps: not attempted. Write two numbers, as in guess = 0.1, 0.2.\n"
    c.predict("90.1", (0.25, 0.7))
    assert said() == "90.1 two steps: written down: 0.25 and 0.7. The notebook will tell.\n"
    assert c.verdicts["90.1"].state == "written"
    c.predict("90.1", (0.5, 0.75))
    out = said()
    assert (
        out
        == "90.1 two steps: written down: now you say 0.5 and 0.75. 0.25 and 0.7, written first, stands.\n"
    )
    c.truth("90.1", torch.tensor([0.5, 0.75]))
    assert c.written("90.1") == (0.25, 0.7)
    out = said()
    assert out == (
        "90.1 two steps: off. You wrote 0.25 and 0.7; it is 0.500 and 0.750. "
        "Factors are roots: 0.25 and 0.7 is not 0.500 and 0.750.\n"
    )
    c.predict("90.1", (0.25, 0.7))  # run again: the truth stays known
    assert said() == "90.1 two steps: written down: 0.25 and 0.7.\n" and c.verdicts["90.1"].state == "off"
    c.summary("90")
    out = said()
    assert "90.1      two steps  off: factors added" in out and "3 of 4 still open." in out


@pytest.mark.parametrize(
    ("guess", "state", "mistake", "words"),
    [
        ((0.52, 0.73), "right", "", "It is a product."),
        ((0.6, 0.65), "off", "no difference", "They are not alike."),
        ((0.9, 0.1), "off", "", "it is 0.500 and 0.750."),
    ],
)
def test_right_and_off(guess, state, mistake, words, said):
    c = Check(tasks())
    c.predict("90.1", guess)
    c.truth("90.1", (0.5, 0.75))
    verdict = c.verdicts["90.1"]
    assert (verdict.state, verdict.mistake) == (state, mistake)
    out = said()
    assert f"{state}. You wrote" in out and out.endswith(f"{words}\n")


def test_a_choice_and_a_judge_of_its_own(said):
    c = Check([Prediction("90.2", "letters abcd", right=lambda guess, truth: {"c", "d"} <= set(guess))])
    c.predict("90.2", "d C")
    c.truth("90.2", "cd")
    assert c.written("90.2") == "cd"
    assert said().endswith('right. You wrote "cd"; it is "cd".\n')
    c = Check([Prediction("90.1", "2 numbers", right=lambda guess, truth: truth == "anything")])
    c.predict("90.1", (1, 2))
    c.truth("90.1", "anything")
    assert said().endswith("right. You wrote 1 and 2; it is anything. It is a product.\n")


def test_a_truth_of_another_form(said, monkeypatch):
    c = Check(tasks())
    with pytest.raises(ValueError, match="is not of the form"):
        c.truth("90.1", "half")
    monkeypatch.setenv("NOISE_TO_DIGITS_STRICT_CHECKS", "0")
    c.truth("90.1", "half")
    assert said().startswith("90.1: could not be checked (ValueError: the truth, 'half', is not of the form")


def test_the_wrong_call_is_answered(said):
    c, f = Check(tasks()), write(GIVEN, "fade")
    assert c("90.1", f) is f and 'handed in with `check.predict("90.1", ...)`' in said()
    c.predict("90.3", 1)
    assert 'handed in with `check.changed("90.3", ...)`' in said()
    assert c.written("90.4") is None and 'handed in with `check("90.4", ...)`' in said()
    c.hunt("90.2"), c.found("90.2", 1), c.truth("91.2", 1)
    assert "there is no exercise of this name" in said()


def test_entries_of_another_kind():
    with pytest.raises(ValueError, match="has 90.3 as a break, nbNN.py as a predict: `make editions`"):
        Prediction("90.3")
    with pytest.raises(ValueError, match="has no exercise 90.9"):
        Prediction("90.9")


# A restart


def test_a_restarted_kernel_knows(said):
    c = Check(tasks())
    c.predict("90.1", (0.25, 0.7))
    c.predict("90.2", "a")
    c.truth("90.2", "c")
    c("90.4", write("def twice(x):\n    return x + x", "twice"))
    said()
    c = Check(tasks())
    assert c.written("90.1") == (0.25, 0.7)
    c.summary("90")
    out = said()
    assert "two steps  written down" in out and "off: ends" in out and "2 of 4 still open." in out
    assert "90.4      twice      right" in out and "90  2 of 4 tasks done" in out
    c("90.4", write("def twice(x):\n    ...", "twice"))
    c.predict("90.1", (0.5, 0.7))
    assert "stands" in said()
    c.summary("90")
    assert "90.4      twice      right" in said()
    c("90.4", write("def twice(x):\n    return x + 1.5", "twice"))
    c.summary("90")
    assert "90.4      twice      not yet" in said()


def test_notes_that_are_damaged_count_as_none(said):
    mine.note("90.1", first={"no": "answer"}, state="great", mistake=3)
    c = Check(tasks())
    assert c.written("90.1") is None
    c.summary("90")
    assert "two steps  not run" in said()


def test_what_mine_does_wrong_disturbs_nothing(said, monkeypatch):
    def fail(*_, **__):
        raise OSError("full")

    for name in ("keep", "note", "noted", "seed", "summary_lines"):
        monkeypatch.setattr(mine, name, fail)
    c = Check(tasks())
    c("90.4", write("def twice(x):\n    return x + x", "twice"))
    assert said() == "90.4 twice: right. Verified: it doubles.\n"
    c.predict("90.2", "a")
    c.summary("90")
    assert said().endswith("3 of 4 still open.\n")


def test_a_right_answer_is_kept(said, monkeypatch):
    kept = []
    monkeypatch.setattr(mine, "keep", lambda *answer: kept.append(answer) or "Kept in mine.py.")
    c, f = Check(tasks()), write("def twice(x):\n    return x + x", "twice")
    c("90.4", f)
    assert kept == [("90.4", f)] and said() == "90.4 twice: right. Verified: it doubles. Kept in mine.py.\n"
    c("90.4", write("def twice(x):\n    return x", "twice"))
    c.changed("90.3", write("def fade(x, t):\n    return 1 * x", "fade"), "b")
    assert len(kept) == 1


# A change


@pytest.mark.parametrize(
    ("body", "why", "state", "mistake", "words"),
    [
        ("return x * 0.5 ** t", "b", "not attempted", "", "not attempted"),
        (
            "return x * 0.9 ** t",
            "b",
            "wrong",
            "another effect",
            "not yet. The smallest norm is 1.46: it should",
        ),
        ("return x * 0", "b", "wrong", "all gone", "not yet. Nothing is left."),
        ("return x / 0.5 ** t", "b", "right", "", "right. Verified: it stays. So it stays."),
        ("return x * 1.0", " B", "right", "", "right."),
        ("return x", "a", "wrong", "right change, other reason", 'the reason is not "a". It is not lighter.'),
        ("return x", "c", "wrong", "right change, other reason", 'the reason is not "c". Carrying on'),
        (
            "return x",
            ...,
            "wrong",
            "right change, no reason yet",
            'one letter of a, b or c, as in why = "a".',
        ),
        ("return x", "z", "wrong", "right change, no reason yet", "The change is right. Now say why"),
        ("return y", "b", "crashed", "NameError", "NameError"),
        ("pass", "b", "wrong", "returns None", "None"),
        ("x *= 2; return x", "b", "wrong", "input changed in place", "in place"),
    ],
)
def test_a_change(body, why, state, mistake, words, said):
    c, f = Check(tasks()), write(f"def fade(x, t):\n    {body}", "fade")
    got = c.changed("90.3", f, why)
    assert (c.verdicts["90.3"].state, c.verdicts["90.3"].mistake) == (state, mistake)
    assert got is (f if state == "right" else c.extra["90.3"].reference)
    out = said()
    assert out.startswith("90.3 no fading: ") and words in out
    c.summary("90")
    out = said()
    assert (
        "no fading  " + (f"not yet: {mistake}" if state == "wrong" and "right" not in mistake else "")
    ) in out
    assert "right" not in mistake or f"no fading  {mistake}" in out


def test_a_change_whose_wish_is_broken(said):
    for wanted in (lambda results: "Never.", lambda results: 1 / 0):
        c = Check([Break("90.3", lambda: [(torch.ones(4), 1)], "it.", wanted, "b")])
        with pytest.raises(Exception, match="`wanted`"):
            c.changed("90.3", write("def fade(x, t):\n    return 2 * x", "fade"), "b")


def test_what_is_built_of_a_solution():
    assert patches.solve("90.4")(2) == 4 and patches.find("90.4", "write").expected == "twice(1)"
    kinds = [task.kind for task in tasks()]
    assert kinds == ["predict", "predict", "break", "write"]
    assert isinstance(patches.find("90.2", "predict"), SimpleNamespace)


# A cell that is no Python


@pytest.mark.parametrize(
    ("source", "id"),
    [
        ("guess = (0.5, 0.75\ncheck.predict('90.1', guess)", "90.1"),
        ("def fade(x, t):\n    return (x\nwhy = 'b'\nfade = check.changed('90.3', fade, why)", "90.3"),
    ],
)
def test_a_cell_with_a_syntax_error_is_answered(source, id, said):
    [line] = read_cell(source.splitlines(keepends=True))
    names = {"check": Check(tasks())}
    exec(line, names)
    assert names["check"].verdicts[id].state == "crashed"
    assert id == "90.1" or names["fade"] is names["check"].extra[id].reference
    out = said()
    assert "crashed. Line " in out and "Nothing of this cell has run." in out
    names["check"].summary("90")
    assert "crashed: SyntaxError" in said()


@pytest.mark.parametrize(
    "source", ["check.truth('90.1', (1", "check.hunt('90.1'", "x = check.written('90.1'"]
)
def test_cells_that_hand_in_nothing_are_left_alone(source):
    assert read_cell([source]) == [source]
