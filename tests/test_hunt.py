"""Hunts: the lines that are shown, the case at work, and what is said of a line that is chosen."""

import copy
import math

import pytest
import torch

from helpers.exercises import Check, answers, mine, patches, read_cell
from helpers.exercises.hunt import Hunt, Measurement
from helpers.exercises.verdict import SpecError

SCALE = 3.0  # a name of the pipeline's module
drawn = []


def pipeline_90(n, g):
    offset = torch.zeros(n)  # not shown
    # lines
    x = torch.randn(n, generator=g)
    y = SCALE * x
    y = y + offset + 1
    # end
    parts = []
    for part in (y, x):
        # lines
        z = part.abs()
        parts.append(z.sum())
        # end
    return dict(x=x, y=y, parts=parts)


LINES = """\
x = torch.randn(n, generator=g)
y = SCALE * x
y = y + offset + 1
z = part.abs()
parts.append(z.sum())"""


def edit(old, new):
    assert LINES.count(old) == 1
    return [[LINES.index(old), LINES.index(old) + len(old), new]]


CASES = [
    ["even noise", 1, edit("randn", "rand"), "The noise was even."],
    ["constant", 1, edit("torch.randn(n, generator=g)", "torch.ones(n)"), "It was no noise."],
    ["not scaled", 2, edit("SCALE * x", "x"), "It was not scaled."],
    ["a hole", 3, edit("offset + 1", "offset / 0"), "A division by 0."],
    ["no abs", 4, edit("part.abs()", "part"), "Signs cancel."],
]


def setting():
    return 1000, torch.Generator().manual_seed(3)


def draw(result):
    drawn.append(result)
    print(f"mean {result['y'].mean():.1f}")


MEASUREMENTS = [
    Measurement("the mean of x", lambda r: r["x"].mean(), 0.1),
    Measurement("the spread of y", lambda r: r["y"].std(), 0.1, ".1f"),
    Measurement("the sum of all x", lambda r: r["parts"][1], 300.0, ".0f"),
    Measurement("the mean of y", lambda r: r["y"].mean(), 0.5),
]


def make(**changes):
    return Hunt(
        **dict(id="90.1", pipeline=pipeline_90, setting=setting, measurements=MEASUREMENTS, draw=draw)
        | changes
    )


@pytest.fixture(autouse=True)
def entries(tmp_path, monkeypatch):
    monkeypatch.setenv("NOISE_TO_DIGITS_MINE", "")
    monkeypatch.setenv("NOISE_TO_DIGITS_STRICT_CHECKS", "1")
    drawn.clear()
    hunt = make()
    table = dict(right=hunt.measure(), cases=[hunt.measure(case[2]) for case in CASES])
    others = [["5", "Line 5 only adds up."]]
    built = dict(kind="hunt", name="a wrong line", lines=LINES, cases=CASES, others=others, table=table)
    with patches.reading({"90.1": copy.deepcopy(built) | {"from": "abc"}}):
        yield
    answers.forget()


@pytest.fixture
def said(capsys):
    return lambda: capsys.readouterr().out


# The pipeline


def test_its_lines_and_variants():
    hunt, before = make(), torch.get_rng_state()
    assert hunt.lines == LINES
    assert hunt.vary().__globals__ is pipeline_90.__globals__
    right, wrong = hunt.run(), hunt.run(CASES[2][2])
    assert torch.equal(right["y"], pipeline_90(*setting())["y"])
    assert torch.equal(wrong["y"], right["x"] + 1) and torch.equal(wrong["x"], right["x"])
    assert hunt.run(CASES[4][2])["parts"][1] == right["x"].sum()
    assert torch.equal(before, torch.get_rng_state())
    assert all(name in globals() or name == "pipeline_90" for name in ("SCALE", "drawn"))


def test_what_is_measured():
    right, hole = make().measure(), make().measure(CASES[3][2])
    assert len(right) == 4 and right == [float(f"{v:.4g}") for v in right]
    assert hole[1] is None and hole[3] is None and hole[0] == right[0]
    m = MEASUREMENTS[0]
    assert (m.distance(1, 1.05), m.distance(None, None)) == (pytest.approx(0.5), 0)
    assert m.distance(None, 1) == math.inf and m.say(None) == "not a finite number" and m.say(0.5) == "0.50"


def test_what_is_not_agreed_on():
    with pytest.raises(SpecError, match="keeps the number of its lines, 5"):
        make().vary(edit("y = SCALE * x\n", ""))
    with pytest.raises(SpecError, match="no `# lines`"):
        _ = make(pipeline=setting).lines
    other = Check([make(pipeline=lambda n, g: n)])
    with pytest.raises(SpecError, match="no `# lines`"):
        other.hunt("90.1")


# What is asked


def test_the_hunt_is_shown(said):
    c = Check([make()])
    c.hunt("90.1")
    out = said()
    assert out.startswith(
        "90.1 a wrong line: one line is wrong. Which?\n  1  x = torch.rand(n, generator=g)\n  2  y"
    )
    assert '\nCase 1 of 5, seed 0; in a class: `check.hunt("90.1", seed=your_number)`\n' in out
    assert out.endswith("mean 2.5\n") and len(drawn) == 1
    c.hunt("90.1", seed=82)
    out = said()
    assert "  2  y = x\n" in out and "Case 3 of 5, seed 82;" in out and "mean 1.0" in out
    for seed in ("81", 1.5, True):
        c.hunt("90.1", seed=seed)
        assert "the seed is a whole number, as in seed=81." in said()
    assert len(drawn) == 2


def test_lines_are_escaped(monkeypatch):
    from helpers.exercises import report

    shown = []
    monkeypatch.setattr(report, "_emit", lambda plain, rich: shown.append((plain, rich)))
    report.show_lines("1.1 a: which?", ["if a < b:", "    b = 1"], "Case `x`")
    plain, rich = shown[0]
    assert plain == "1.1 a: which?\n  1  if a < b:\n  2      b = 1\nCase `x`"
    assert "<pre>  1  if a &lt; b:\n  2      b = 1</pre>Case <code>x</code>" in rich


# What is answered


@pytest.mark.parametrize(
    ("seed", "line", "words"),
    [
        (
            2,
            1,
            "Line 1? Then the mean of x would be 0.50. It is ",
        ),  # both patches of the line, each by its row
        (2, 1, " Or the mean of x would be 1.00. It is "),
        (0, 2, "Line 2? Then the mean of x would be "),
        (2, 4, "Line 4? Then the spread of y would be 3.0. It is 1.0 here. Look elsewhere."),
        (4, 3, "Line 3? Then the spread of y would be not a finite number. It is 3.0 here. Look elsewhere."),
        (3, 2, "It is not a finite number here. Look elsewhere."),
        (2, 5, "90.1 a wrong line: Line 5 only adds up."),
    ],
)
def test_a_wrong_line_is_answered_by_a_measurement(seed, line, words, said):
    c = Check([make()])
    c.hunt("90.1", seed=seed)
    c.found("90.1", line)
    out = said()
    assert words in out and "hint" not in out
    assert (c.verdicts["90.1"].state, c.verdicts["90.1"].mistake) == ("wrong", f"not line {line}")
    c.summary("90")
    assert f"a wrong line  not line {line}\n1 of 1 still open." in said()


def test_a_line_without_words(said):
    with patches.reading({"90.1": vars(patches.find("90.1", "hunt")) | {"others": []}}):
        c = Check([make()])
        c.found("90.1", 5)
    assert said() == "90.1 a wrong line: Line 5? It is as it should be. Look elsewhere.\n"


def test_the_third_wrong_line_brings_a_hint(said):
    c = Check([make()])
    c.hunt("90.1", seed=2)
    for line in (1, 1, 4, 1):  # the same line again is no other try
        c.found("90.1", line)
        assert "A hint" not in said()
    c.found("90.1", 5)
    assert "A hint: in a right program the spread of y would be 3.0; here it is 1.0." in said()
    before = len(drawn)
    c.found("90.1", 2)
    out = said()
    assert out.startswith("90.1 a wrong line: found, line 2 (tries: 4). It was not scaled.\n")
    assert "the run without it. Line 2 is `y = SCALE * x` again.\nmean 1" in out and len(drawn) == before + 1
    c.found("90.1", 1)
    assert c.verdicts["90.1"].mistake == "not line 1" and mine.noted("90.1")["state"] == "found"
    c.found("90.1", torch.tensor(2))
    said()
    c.summary("90")
    out = said()
    assert "a wrong line  found (tries: 4)" in out and "Every exercise here is right." in out


@pytest.mark.parametrize("seed", [0, 1])
def test_two_patches_of_one_line(seed, said):
    c = Check([make()])
    c.hunt("90.1", seed=seed)
    c.found("90.1", 1)
    assert f"found, line 1 (tries: 1). {CASES[seed][3]}" in said()


@pytest.mark.parametrize("line", ["two", None, (1, 2), 1.5, 0, 6, -1, float("inf"), True])
def test_what_is_no_line(line, said):
    c = Check([make()])
    c.found("90.1", line)
    out = said()
    assert "not attempted. " in out and out.endswith("Write the number of a line, 1 to 5, as in line = 4.\n")
    assert c.verdicts["90.1"].state == "not attempted"


def test_nothing_written(said):
    c = Check([make()])
    c.found("90.1", ...)
    assert said() == "90.1 a wrong line: not attempted. Write the number of the wrong line.\n"


def test_a_restarted_kernel_knows_the_case_and_the_tries(said, monkeypatch, tmp_path):
    monkeypatch.setenv("NOISE_TO_DIGITS_MINE", str(tmp_path))
    c = Check([make()])
    c.hunt("90.1", seed=7)
    c.found("90.1", 1), c.found("90.1", 3)
    c = Check([make()])
    c.found("90.1", 2)
    assert "found, line 2 (tries: 3)" in said()
    c = Check([make()])
    c.hunt("90.1", seed=3)  # another case is counted anew
    c.found("90.1", 3)
    assert "found, line 3 (tries: 1)" in said()
    monkeypatch.setattr(mine, "seed", lambda: 14)
    c.hunt("90.1")
    assert "Case 5 of 5, seed 14;" in said()


def test_a_broken_hunt_is_said(said, monkeypatch):
    def fail():
        raise OSError("no weights")

    c = Check([make(setting=fail)])
    with pytest.raises(OSError):
        c.hunt("90.1")
    monkeypatch.setenv("NOISE_TO_DIGITS_STRICT_CHECKS", "0")
    c.hunt("90.1")
    assert said().endswith("90.1: could not be checked (OSError: no weights).\n")
    with patches.reading({"90.1": vars(patches.find("90.1", "hunt")) | {"lines": "x = 1"}}):
        Check([make()]).hunt("90.1")
    assert "its lines are not those of mistakes.json: `make editions`" in said()


def test_a_cell_with_a_syntax_error_is_answered(said):
    [line] = read_cell(["line = 4)\n", 'check.found("90.1", line)'])
    names = {"check": Check([make()])}
    exec(line, names)
    assert "crashed. Line 1, `line = 4)`: SyntaxError" in said()
    names["check"].summary("90")
    assert "crashed: SyntaxError" in said()
