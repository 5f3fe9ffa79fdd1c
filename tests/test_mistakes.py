"""Mistakes as patches: what a page may say, what the build refuses, what ships runs without the sources."""

import inspect
import json
import shutil
import subprocess
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from builder import mistakes, placing
from builder.course import BuildError, Course
from helpers.exercises import decide, exercises, patches

ROOT = Path(__file__).resolve().parent.parent
PAGES = [path.name[:2] for path in sorted((ROOT / "notebooks" / "source").glob("[0-9][0-9]_mistakes.md"))]
SOURCE = '''
# %% [markdown]
# # A toy

# %% tags=["setup"]
import torch
from torch import nn
size = 2 * 3
points = torch.ones(size)
def half(x):  # of it
    """Not all of it."""
    return x / 2
def quarter(x):
    return half(half(x))
class Base(nn.Module):
    pass

# %% exercise="1.1"
def shrink(x, n):
    """What is left of x, shrunk."""
    # TODO 1.1: shrink it
    ### BEGIN SOLUTION
    y = half(x)
    for _ in range(n):
        y = half(y) + 1  # and grow
    return y.sqrt()
    ### END SOLUTION
shrink = check("1.1", shrink)

# %%
later = 5
'''
SPECS = """
import torch
from helpers.exercises.patches import Exercise

def cases():
    return [(torch.arange(1.0, 9.0), 2), (torch.ones(2, 3), 0)]

def quote(got, want):
    return f"{got.mean():.1f} for {want.mean():.1f}"

EXERCISES = [Exercise("1.1", cases, "it shrinks.", time_limit=0.3)]
"""
ROOTLESS = "# 1.1 shrink\n## no root\n- y.sqrt()\n+ y\nTake the root.\n"


def make(folder, page, source=SOURCE, specs=SPECS):
    course = Course(folder)
    for path, text in (
        (course.sources / "01_toy.py", source),
        (course.sources / "01_mistakes.md", page),
        (course.exercise_specs("01"), specs),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return course


# Pages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", PAGES)
def test_what_ships_is_built_from_the_pages_and_the_solutions_as_they_stand(number):
    assert mistakes.stale(Course(ROOT), number) == []


@pytest.mark.parametrize(
    "patch",
    [
        "- y.sqrt()\n+ y",
        "    - y.sqrt()\n    + y",
        "```diff\n- y.sqrt()\n+ y\n```\n",
        "-     return y.sqrt()\n+     return y",
        "- .sqrt()",
    ],
    ids=["plain", "indented", "fenced", "with the indentation of the code", "left out"],
)
def test_a_patch_may_be_written_in_these_ways(tmp_path, patch):
    course = make(
        tmp_path, f"Words for readers.\n\n# 1.1 shrink\n\n## no root\n\n{patch}\n\nTake\nthe root.\n"
    )
    assert mistakes.write_mistakes(course, say=lambda text: None) == ["helpers/exercises/mistakes.json"]
    assert mistakes.write_mistakes(course, say=lambda text: None) == []
    entries = json.loads(mistakes.target(course).read_text())
    with patches.reading(entries):
        exercise = patches.Exercise("1.1", lambda: [], "it shrinks.")
        [mistake] = exercise.mistakes
        assert (exercise.title, mistake.name, mistake.message) == ("shrink", "no root", "Take the root.")
        assert not mistake.raises
        assert (
            exercise.reference(torch.tensor([8.0]), 0) == 2 and mistake.function(torch.tensor([8.0]), 0) == 4
        )


CODE = "def f(x):\n    a = g(x)\n    if a:\n        b = a.sqrt()\n        a = b + a\n    return a + b.sqrt()"


@pytest.mark.parametrize(
    "old, new, expected",
    [
        (["b.sqrt()"], ["b"], CODE.replace("b.sqrt()", "b")),
        (["b = a.sqrt()", "a = b + a"], ["b = a"], CODE.replace("a.sqrt()\n        a = b + a", "a")),
        (["if a:", "    b = a.sqrt()"], ["if x:", "    b = 1"],
         CODE.replace("a:\n        b = a.sqrt()", "x:\n        b = 1")),
        (["        a = b + a"], [], CODE.replace("        a = b + a\n", "")),
        (["a = b + a"], ["a = b + a", "if b:", "    c = 1"],
         CODE.replace("b + a\n", "b + a\n        if b:\n            c = 1\n")),
        (["a + b.sqrt()"], ["b.sqrt()"], CODE.replace("a + b.sqrt()", "b.sqrt()")),
    ],
    ids=["part of a line", "two lines", "nested lines", "left out", "added", "the beginning of it"],
)  # fmt: skip
def test_a_piece_is_replaced_where_it_stands(old, new, expected):
    assert patches.patch(CODE, [placing.place(CODE, old, new)]) == expected


def test_an_edit_is_as_small_as_it_can_be():
    assert placing.trim(10, "(1 - a).sqrt() * x", "(1 - a) * x") == (17, 24, "")
    assert placing.trim(0, "alpha_bar[t]", "alphas[t]") == (0, 9, "alphas"), "words stay whole"


def test_a_solution_gets_what_it_and_its_mistakes_use_of_the_cells_above(tmp_path):
    page = ROOTLESS + "## more\n- y.sqrt()\n+ quarter(y).sqrt() + size\nIt adds the size.\n"
    entry = mistakes.build(make(tmp_path, page), "01").entries["1.1"]
    assert entry["given"].splitlines() == [
        "def half(x):", "    return x / 2", "def quarter(x):", "    return half(half(x))", "size = 2 * 3"
    ]  # fmt: skip
    assert "#" not in entry["source"] and "TODO" not in entry["source"] and '"""' not in entry["source"]


# What the build refuses -------------------------------------------------------------------------------

REFUSED = {  # what stands on line 2 and below: the line that is named, and what is said
    "- y.cbrt()\n+ y\nWords.": (3, "`y.cbrt()` does not stand in the solution"),
    "- half\n+ quarter\nWords.": (3, "`half` stands in the solution 2 times: write more of the line"),
    "- hal\n+ x\nWords.": (3, "`hal` does not stand"),
    "- shrunk\n+ x\nWords.": (3, "`shrunk` does not stand"),
    "- TODO\n+ x\nWords.": (3, "`TODO` does not stand"),
    "- y.sqrt()\n+ y\n- y.cbrt()\n+ y\nWords.": (5, "`y.cbrt()` does not stand"),
    "- y.sqrt()\n+ y.sqrt()\nWords.": (3, "`-` and `+` say the same"),
    "+ y\nWords.": (3, "`+` needs a `-` before it"),
    "Words.": (2, "no patch stands behind its name"),
    "- y.sqrt()\n+ y": (2, "its message does not end like a sentence"),
    "- y.sqrt()\n+ y\nWords": (2, "its message does not end like a sentence"),
    "- y.sqrt()\n+ y\n- return y.sqrt()\n+ return x\nWords.": (2, "two of its pieces overlap"),
    "- return y.sqrt()\n+ return y.sqrt(\nWords.": (2, "no valid Python ('(' was never closed"),
    "- y.sqrt()\n+ y ** 0.5\nWords.": (2, "no case tells it from the solution"),
    "- y.sqrt()\n+ y\nWords.\n## b\n- y.sqrt()\n+ 1 * y\nWords.": (6, "b: no case tells it from 'a'"),
    "- y.sqrt()\n+ y\nWords.\n## a\n- y.sqrt()\n+ x\nWords.": (6, "a: stands here twice"),
    "- y.sqrt()\n+ y.no_root()\nWords.": (2, "stops with AttributeError"),
    "- y.sqrt()\n+ y + absent\nWords.": (2, "stops with NameError"),
    "- y.sqrt()\n+ y + later\nWords.": (2, "stops with NameError"),
    "- y.sqrt()\n+ y + points.sum()\nWords.": (2, "only running a cell makes `points`"),
    "- return y.sqrt()\n+ import time\n+ time.sleep(1)\nWords.": (2, "not finished after 0.3 s"),
    "- y.sqrt()\n+ y\nIt is {got.nope()}.": (2, "its message fails (ValueError: {got.nope()}"),
    "- y.sqrt()\n+ y\nIt is {nope()}.": (2, "its message fails (KeyError: 'nope'"),
    "- y.sqrt()\n+ y\nIt is {got[99]}.": (2, "its message fails (IndexError"),
    "- y.sqrt()\n+ y\nIt is {got:.2f}.": (2, "its message fails (TypeError"),
    "- y.sqrt()\n+ y\nWords.\n# 1.2 grow\n## b\n- y\n+ x\nWords.": (6, "1.2 grow is no exercise of its"),
    "- y.sqrt()\n+ y\nWords.\n# 1.1 shrink\n## b\n- y\n+ x\nWords.": (6, "1.1 shrink stands here twice"),
    "- y.sqrt()\n+ y\nWords.\n# shrink\n## b\n- y\n+ x\nWords.": (6, "an exercise begins like"),
}  # fmt: skip


@pytest.mark.parametrize("body, line, said", [(body, *told) for body, told in REFUSED.items()])
def test_a_wrong_patch_stops_the_build_with_its_line(tmp_path, body, line, said):
    course = make(tmp_path, f"# 1.1 shrink\n## a\n{body}\n")
    with pytest.raises(BuildError) as refused:
        mistakes.write_mistakes(course, say=lambda text: None)
    assert f"01_mistakes.md, line {line}: " in str(refused.value) and said in str(refused.value)
    assert not mistakes.target(course).exists()


@pytest.mark.parametrize(
    "name, patch, said",
    [
        ("a (stops with an error)", "+ y.no_root()", None),
        ("a", "+ y.no_root()", "stops with"),
        ("a (stops with an error)", "+ y", "does not stop with an error"),
    ],
)
def test_a_variant_stops_with_an_error_where_its_page_says_so(tmp_path, name, patch, said):
    course = make(tmp_path, f"# 1.1 shrink\n## {name}\n- y.sqrt()\n{patch}\nWords.\n")
    if said is None:
        mistakes.write_mistakes(course, say=lambda text: None)
        assert mistakes.build(course, "01").entries["1.1"]["mistakes"][0][::3] == ["a", True]
    else:
        with pytest.raises(BuildError, match=f"line 2: a: {said}"):
            mistakes.write_mistakes(course, say=lambda text: None)


def test_everything_wrong_is_said_at_once_and_what_was_built_stays(tmp_path):
    course = make(tmp_path, ROOTLESS)
    mistakes.write_mistakes(course, say=lambda text: None)
    before = mistakes.target(course).read_bytes()
    page = course.sources / "01_mistakes.md"
    page.write_text(f"{ROOTLESS}## b\n- z\n+ y\nWords.\n## c\n- q\n+ y\nWords\n")
    with pytest.raises(BuildError) as refused:
        mistakes.write_mistakes(course)
    assert [line.split(":")[0] for line in str(refused.value).splitlines()] == [
        "01_mistakes.md, line 7", "01_mistakes.md, line 10", "01_mistakes.md, line 11"
    ]  # fmt: skip
    assert mistakes.target(course).read_bytes() == before


@pytest.mark.parametrize(
    "specs, said",
    [
        ("EXERCISES = []", 'has no Exercise("1.1", ...) of patches.py'),
        ("x = 1\ny = z\n", "nb01.py, line 2: NameError: name 'z' is not defined"),
        (SPECS.replace("torch.ones(2, 3)", "None"), "1.1: the solution stops with"),
    ],
    ids=["not there", "does not load", "a case that the solution does not survive"],
)
def test_specs_that_do_not_fit_the_page_are_named(tmp_path, specs, said):
    with pytest.raises(BuildError) as refused:
        mistakes.write_mistakes(make(tmp_path, ROOTLESS, specs=specs), say=lambda text: None)
    assert said in str(refused.value)


def test_an_exercise_that_is_not_on_the_page_is_named(tmp_path):
    second = SOURCE[SOURCE.index("# %% exercise") : SOURCE.index("# %%\nlater")]
    source = SOURCE + second.replace("shrink", "grow").replace("1.1", "1.2")
    own = SPECS + "EXERCISES.append(Exercise('1.2', cases, 'it grows.'))\n"
    course = make(tmp_path, ROOTLESS, source, own)
    with pytest.raises(
        BuildError, match=r"nb01\.py, line 12: .*has no exercise 1\.2: write `# 1\.2 \.\.\.` on 01_m"
    ):
        mistakes.write_mistakes(course, say=lambda text: None)
    course.exercise_specs("01").write_text(own.replace("grows.'", "grows.', reference=quote, mistakes=[]"))
    assert mistakes.write_mistakes(course, say=lambda text: None), "it may stand in Python as a whole"


@pytest.mark.parametrize("name", ["01_mistakes.md", "01_toy.py"])
def test_a_change_of_page_or_solution_is_noticed(tmp_path, name):
    course = make(tmp_path, ROOTLESS)
    assert mistakes.stale(course, "01"), "nothing is built yet"
    mistakes.write_mistakes(course, say=lambda text: None)
    assert mistakes.stale(course, "01") == []
    path = course.sources / name
    path.write_text(path.read_text().replace("half(y)", "quarter(y)").replace("the root.", "its root."))
    assert mistakes.stale(course, "01") == [
        "helpers/exercises/mistakes.json differs from 01_mistakes.md or the solutions"
    ]


def test_a_course_without_pages_gets_no_file(tmp_path):
    course = make(tmp_path, "")
    (course.sources / "01_mistakes.md").unlink()
    assert mistakes.write_mistakes(course) == [] and not mistakes.target(course).exists()
    assert mistakes.stale(course, "01") == []


# Messages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, filled",
    [
        ("{got.mean():.2f} for {want.mean()}.", "1.50 for 2.0."),
        ("{got[-1]:.3g}, {got[1:].sum():.0f}, {got.shape[0]}.", "2, 2, 2."),
        ("{(got - want).square().mean().sqrt():.1f} and {len(got)}.", "0.5 and 2."),
        ("{quote()}: x_{t-1} in {a set} and {}.", "quoted 2: x_{t-1} in {a set} and {}."),
    ],
)
def test_a_message_quotes_numbers(text, filled):
    message = patches.word(text, {"quote": lambda got, want: f"quoted {len(got)}"})
    assert message(torch.tensor([1.0, 2.0]), torch.tensor([1.5, 2.5])) == filled


@pytest.mark.parametrize("text", ["No numbers.", "x_{t-1} {0 .. T} {T}."])
def test_a_message_without_numbers_is_the_text_itself(text):
    assert patches.word(text, {}) == text


@pytest.mark.parametrize(
    "formula",
    ["got.__class__", "got.tofile('x')", "open(got)", "got if got else 1", "[got for got in want]",
     "lambda: got", "got == want", "__import__('os').system(got)", "f'{got}'", "(got := 1)",
     "got.mean(*want)", "got ** 9"],
)  # fmt: skip
def test_a_message_does_arithmetic_and_nothing_else(formula):
    with pytest.raises((ValueError, SyntaxError)):
        patches.evaluate(formula, torch.ones(2), torch.ones(2))


# What ships -------------------------------------------------------------------------------------------


def test_nothing_is_run_before_it_is_asked_for():
    entries = {"1.1": dict(name="f", source="1 / 0", mistakes=[["m", [[0, 1, "2"]], "M."]])}
    with patches.reading(entries):
        exercise = patches.Exercise("1.1", lambda: [], "it is.")
        assert exercise.title == "f" and [m.name for m in exercise.mistakes] == ["m"]
        for ask in (lambda: exercise.reference, lambda: exercise.mistakes[0].function):
            with pytest.raises(ZeroDivisionError):
                ask()


@pytest.mark.parametrize(
    "text, said",
    [("{", "cannot be read"), ("[]", "cannot be read"), ('{"1.1": {}}', "cannot be read"),
     ('{"1.1": 3}', "cannot be read"), ("{}", "has no exercise 1.1: write `# 1.1 ...` on 01_mistakes.md")],
)  # fmt: skip
def test_a_damaged_file_is_named(tmp_path, monkeypatch, text, said):
    (tmp_path / "mistakes.json").write_text(text)
    monkeypatch.setattr(patches, "FILE", tmp_path / "mistakes.json")
    patches._shipped.cache_clear()
    try:
        with pytest.raises(ValueError, match="mistakes.json") as named:
            patches.Exercise("1.1", lambda: [], "it is.")
        assert said in str(named.value)
    finally:
        patches._shipped.cache_clear()


def test_tracebacks_and_getsource_show_the_lines_of_a_variant():
    step = {m.name: m.function for m in exercises("01")["1.5"].mistakes}
    shown = inspect.getsource(step["alpha-bar not reshaped"])
    assert "def q_sample(x0, t, noise, schedule):\n    a = schedule.alpha_bar[t]" in shown
    with pytest.raises(AttributeError) as error:
        step["alpha-bar not reshaped"](torch.ones(3, 2), 1, 0, SimpleNamespace())
    assert "a = schedule.alpha_bar[t]" in "".join(traceback.format_exception(error.value))
    block = exercises("03")["3.1"]
    assert "class ResBlock" in inspect.getsource(block.reference)
    assert "def forward" in inspect.getsource(block.mistakes[1].function), block.mistakes[1].name


@pytest.mark.slow
def test_a_student_needs_neither_the_sources_nor_jupytext(tmp_path):
    shutil.copytree(ROOT / "helpers", tmp_path / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "import sys; sys.modules['jupytext'] = sys.modules['builder'] = None\n"
        "from helpers.exercises import decide, exercises\n"
        "e = exercises('01')['1.4']\n"
        "print(decide(e, e.mistakes[0].function).mistake, decide(e, e.reference).state)"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.stdout.strip() == "alpha for alpha-bar right", done.stderr


# Pairs ------------------------------------------------------------------------------------------------


def test_patches_of_the_same_piece_exclude_each_other():
    assert patches.compose([(0, 4, "a")], [(4, 6, "b")]) == [(0, 4, "a"), (4, 6, "b")]
    assert patches.compose([(0, 5, "a")], [(4, 6, "b")]) is None
    assert patches.compose([(4, 4, "a")], [(2, 6, "b")]) is None
    assert patches.compose([(4, 4, "a")], [(4, 4, "b")]) is None
    assert patches.patch("0123456789", [(4, 6, "b"), (0, 4, "a"), (6, 6, "c")]) == "abc6789"


def test_pairs_come_in_order_without_those_that_stop_with_an_error():
    exercise = exercises("01")["1.5"]
    names = [pair.name for pair in patches.pairs(exercise, 60)]
    assert names[0] == "variance for standard deviation + missing sqrt on alpha-bar"
    assert not any("not reshaped" in name for name in names)
    assert not any("both roots missing" in name and "swapped" in name for name in names)
    assert list(patches.pairs(exercise, 0)) == []
    own = torch.ones(3, 2), torch.tensor([0, 500, 1000]), torch.ones(3, 2), exercise.cases()[0][3]
    both = next(patches.pairs(exercise)).function(*own)
    a = own[3].alpha_bar[own[1]][:, None]
    torch.testing.assert_close(both, (a + 1 - a).expand(3, 2))


def test_a_pair_says_what_both_say():
    exercise = exercises("01")["1.1"]
    pair = next(patches.pairs(exercise))
    said = pair.message(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 2.0]))
    first, second = (
        m.message(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 2.0])) for m in exercise.mistakes[:2]
    )
    assert said == f"Two mistakes at once. First: {first} Second: {second}"


def test_old_lists_of_mistakes_have_no_pairs():
    exercise = exercises("01")["1.1"]
    plain = [patches.exercise.Mistake(m.name, m.message, m.function) for m in exercise.mistakes]
    assert list(patches.pairs(SimpleNamespace(mistakes=plain))) == []


def test_what_is_built_is_recognised():
    exercise = exercises("01")["1.8"]
    verdict = decide(exercise, exercise.mistakes[0].function)
    assert (verdict.state, verdict.mistake) == ("wrong", "not rescaled") and "0.02" in verdict.message


def test_two_mistakes_are_named_and_single_ones_before_them():
    step = exercises("01")["1.5"]

    def two_at_once(x0, t, noise, schedule):
        a = schedule.alphas[t].reshape(-1, *[1] * (x0.ndim - 1))
        return a.sqrt() * x0 + (1 - a) * noise

    verdict = decide(step, two_at_once)
    assert verdict.mistake == "variance for standard deviation + alpha for alpha-bar"
    assert "Two mistakes at once. First: x_t has variance" in verdict.message and "Second:" in verdict.message
    for mistake in step.mistakes:
        assert decide(step, mistake.function).mistake == mistake.name
    assert "+" not in decide(step, lambda x0, t, noise, schedule: 3.1 * x0).mistake


# Predictions, breaks, hunts ---------------------------------------------------------------------------

TASKS = SOURCE.replace(
    "# %%\nlater = 5",
    """# %% expected="1.1"
print(shrink(points, 1))

# %% exercise="1.2" kind="predict"
### BEGIN SOLUTION
guess = 0.5, 0.75
### END SOLUTION
check.predict("1.2", guess)

# %% exercise="1.3" kind="break"
def fade(x):
    ### BEGIN SOLUTION
    # given: return half(x) + 1
    return half(x)
    ### END SOLUTION
why = "b"  # "a" or "b"
fade = check.changed("1.3", fade, why)

# %% exercise="1.4" kind="hunt"
check.hunt("1.4")

# %% kind="answer" of="1.4"
line = 2
check.found("1.4", line)
""",
)
TASKS_SPECS = (
    SPECS
    + """
from helpers.exercises.hunt import Hunt, Measurement
from helpers.exercises.patches import Break, solve
from helpers.exercises.predict import Prediction

def flat(written):
    return written[0] == written[1]

def small(results):
    return None if results[0] < 1 else f"It is {results[0]:.1f}: make it less than 1."

def pipeline(n):
    x = torch.zeros(n)
    # lines
    x = x + start()
    y = 2 * x
    z = solve("1.1")(y, 0)
    # end
    return dict(y=y, z=z)

def start():
    return 4

def setting():
    return (3,)

MEASURED = [
    Measurement("y", lambda r: r["y"].mean(), 0.1),
    Measurement("z", lambda r: last(r), 0.1),
]

def last(r):
    return r["z"].mean()

EXERCISES += [
    Prediction("1.2", "2 numbers"),
    Break("1.3", lambda: [(torch.tensor(1.0),)], "it is small.", wanted=small, why="b", options="ab"),
    Hunt("1.4", pipeline, setting, MEASURED, print),
]
"""
)
TASKS_PAGE = (
    ROOTLESS
    + """
# 1.2 two steps
## the same
answer: flat()
No.
## without the first
answer: 0.5, ..
You wrote {written}.
## right
Yes.

# 1.3 too large
## doubled
- half(x)
+ half(x) * 3
It is {got:.1f}.
## no sign
answer: a
The sign is as before.
## right
So it is.

# 1.4 three lines
## times three
- 2 * x
+ 3 * x
It is doubled.
## too much
- start()
+ 2 * start()
Once is enough.
## line 3
answer: 3
Line 3 shrinks.
"""
)


def make_tasks(folder, old="", new="", where="page"):
    texts = dict(page=TASKS_PAGE, source=TASKS, specs=TASKS_SPECS)
    assert old in texts[where]
    texts[where] = texts[where].replace(old, new, 1)
    return make(folder, texts["page"], texts["source"], texts["specs"])


def build_tasks(course):
    mistakes.write_mistakes(course, say=lambda text: None)
    return json.loads(mistakes.target(course).read_text())


def test_what_is_built_of_tasks(tmp_path):
    built = build_tasks(make_tasks(tmp_path))
    assert built["1.1"]["expected"] == "print(shrink(points, 1))" and "kind" not in built["1.1"]
    assert built["1.2"] == {
        "kind": "predict",
        "name": "two steps",
        "right": "Yes.",
        "mistakes": [["the same", "flat()", "No."], ["without the first", "0.5, ..", "You wrote {written}."]],
    }
    fade = built["1.3"]
    assert (fade["kind"], fade["name"], fade["title"], fade["right"]) == (
        "break", "fade", "too large", "So it is."
    )  # fmt: skip
    assert fade["source"] == "def fade(x):\n    return half(x)"
    assert fade["stub"] == "def fade(x):\n    return half(x) + 1" and "def half" in fade["given"]
    assert fade["reasons"] == [["a", "The sign is as before."]] and fade["mistakes"][0][0] == "doubled"
    hunt = built["1.4"]
    assert hunt["lines"] == 'x = x + start()\ny = 2 * x\nz = solve("1.1")(y, 0)'
    assert [case[:2] for case in hunt["cases"]] == [["times three", 2], ["too much", 1]]
    assert patches.patch(hunt["lines"], hunt["cases"][0][2]).splitlines()[1] == "y = 3 * x"
    assert hunt["others"] == [["3", "Line 3 shrinks."]]
    assert hunt["table"] == {"right": [8.0, 2.0], "cases": [[12.0, 2.449], [16.0, 2.828]]}


@pytest.mark.parametrize(
    "where, old, new, line, said",
    [
        ("page", "answer: 0.5, ..", "answer: 0.5", 11, "is not of the form '2 numbers'"),
        ("page", "answer: flat()", "answer: round()", 8, "have no round"),
        ("page", "answer: flat()\n", "", 8, "write `answer: ...`"),
        ("page", "Yes.", "Yes", 14, "does not end like a sentence"),
        ("page", "answer: a", "answer: b", 22, "is no letter of a wrong reason"),
        ("page", "answer: a", "- half(x)\n+ x", 1, "no sentence for reason a" ),
        ("page", "* 3", "* 1", 18, "no case tells it from the solution"),
        ("specs", "< 1 else", "< 0.1 else", 1, "its solution has not the wanted effect: It is 0.5"),
        ("specs", "< 1 else", "< 3 else", 1, "the given function has the wanted effect already"),
        ("specs", 'options="ab"', 'options="abc"', 1, "no sentence for reason c"),
        ("page", "- 2 * x\n", "- 5 * x\n", 30, "`5 * x` does not stand in the lines"),
        ("page", "+ 3 * x", "+ 2 * (1 * x)", 29, "no measurement changes by more than its resolution"),
        ("page", "+ 3 * x", "+ 4 * x", 33, "no measurement tells it from times three (line 2)"),
        ("page", "+ 3 * x", "+ 3 * nowhere", 29, "stops with NameError"),
        ("page", "+ 3 * x", "+ 3 * x\n+ y = y", 29, "a patch keeps the number of lines"),
        ("page", "answer: 3", "answer: 7", 37, "the number of one of the 3 lines"),
        ("page", "answer: 3", "answer: 2", 37, "line 2 has a patch"),
        ("page", "## line 3\nanswer: 3\nLine 3 shrinks.\n", "", 28, "line 3 has neither patch nor sentence"),
        ("source", "line = 2", "line = 1", 28, "the answer's cell says line 1, the first case is in line 2"),
        ("specs", "    # lines\n", "", 28, "pipeline needs a line `# lines`"),
        ("specs", "    y = 2", "\n    y = 2", 28, "is an empty one or a comment"),
        ("specs", 'Hunt("1.4"', 'Hunt("1.5"', 28, "nb01.py has no Hunt('1.4', ...)"),
    ],
)  # fmt: skip
def test_a_wrong_task_stops_the_build_with_its_line(tmp_path, where, old, new, line, said):
    course = make_tasks(tmp_path, old, new, where)
    with pytest.raises(BuildError) as refused:
        build_tasks(course)
    assert f"01_mistakes.md, line {line}: " in str(refused.value) and said in str(refused.value)


def test_a_table_is_measured_again_only_when_something_of_it_has_changed(tmp_path, monkeypatch):
    course = make_tasks(tmp_path)
    before, measured = build_tasks(course), []
    monkeypatch.setattr(mistakes.hunting, "prove", lambda *a: measured.append(a[0].id) or [])
    assert mistakes.stale(course, "01") == [] and build_tasks(course) == before and not measured
    page, specs = course.sources / "01_mistakes.md", course.exercise_specs("01")
    page.write_text(page.read_text().replace("Once is enough", "Once will do"))
    assert build_tasks(course)["1.4"]["table"] == before["1.4"]["table"]
    for path, old, new in (
        (specs, "return 4", "return 5"),
        (specs, 'r["z"].mean()', 'r["z"].sum()'),
        (page, "+ 3 * x", "+ 5 * x"),
        (course.sources / "01_toy.py", "y = half(x)", "y = half(x) + 1"),
    ):
        path.write_text(path.read_text().replace(old, new))
        (entry,) = [e for id, e in mistakes.build(course, "01").entries.items() if id == "1.4"]
        assert "table" not in entry and mistakes.stale(course, "01"), new
        path.write_text(path.read_text().replace(new, old))
    specs.write_text(specs.read_text().replace("return 4", "return 4  # four"))
    assert mistakes.stale(course, "01") == []


def test_a_table_stays_where_another_machine_measures_nearly_the_same(tmp_path):
    course = make_tasks(tmp_path)
    before = build_tasks(course)
    near = json.loads(json.dumps(before).replace("2.449", "2.46"))
    mistakes.target(course).write_text(json.dumps(near))
    mistakes.write_mistakes(course, always=True, say=lambda text: None)
    assert json.loads(mistakes.target(course).read_text()) == near
    far = json.dumps(before).replace("2.449", "2.9")
    mistakes.target(course).write_text(far)
    mistakes.write_mistakes(course, always=True, say=lambda text: None)
    assert json.loads(mistakes.target(course).read_text()) == before


@pytest.mark.parametrize(
    "one, other, told",
    [([1.0, 2.0], [1.0, 2.05], False), ([1.0, 2.0], [1.0, 2.2], True), ([None, 2.0], [1.0, 2.0], True),
     ([None, 2.0], [None, 2.0], False)],
)  # fmt: skip
def test_two_cases_are_told_apart_by_one_measurement(one, other, told):
    assert mistakes.hunting.tell_apart(one, other, [0.1, 0.1]) is told


@pytest.mark.parametrize("number", PAGES)
def test_every_hunt_that_ships_has_a_table_that_tells_its_lines_apart(number):
    for id, entry in mistakes.stands(Course(ROOT), number).items():
        if entry.get("kind") == "hunt":
            resolutions = [m.resolution for m in exercises(number)[id].measurements]
            lines, table = [case[1] for case in entry["cases"]], entry["table"]
            for i, one in enumerate(table["cases"]):
                assert mistakes.hunting.tell_apart(one, table["right"], resolutions)
                for j, other in enumerate(table["cases"][:i]):
                    assert lines[i] == lines[j] or mistakes.hunting.tell_apart(one, other, resolutions)
