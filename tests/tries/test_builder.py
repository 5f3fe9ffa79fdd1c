"""The builder's input: sources, exercises, notebooks, JSON, titles, outputs; and what its kernels do."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from html.parser import HTMLParser

import nbformat
import pytest
from nbconvert import HTMLExporter

import build
import helpers.exercises
import toy_course
from builder import assets, editions, site, slides, teaching
from builder.course import BuildError, notebook_text, read_notebook
from builder.source import read_source
from test_slides import lecture
from toy_course import NAME, SOURCE, edit
from tries.commands import ROOT, assert_sentence, every_file, run_apart, run_here
from tries.test_start import CONTENTS

SECOND = "02_other"


@pytest.fixture
def course(tmp_path):
    """The made-up course with a second notebook."""
    course = toy_course.make(tmp_path / "course")
    (course.sources / f"{SECOND}.py").write_text(SOURCE.replace('"1.1"', '"2.1"').replace("A toy", "Another"))
    (course.helpers / "exercises" / "nb02.py").write_text('EXERCISES = [Exercise("2.1", "line")]\n')
    return course


@pytest.fixture
def built(course):
    editions.write_editions(course)
    return course


def break_source(course, old, new):
    """Put something else into the first source; returns the line of the file where it begins."""
    path = course.sources / f"{NAME}.py"
    text = path.read_text()
    assert old in text
    path.write_bytes(text.replace(old, new).encode())
    return text[: text.index(old)].count("\n") + 1


# Sources --------------------------------------------------------------------------------------------

PRINT = 'print("noise", file=sys.stderr)'
CODE = {
    "a parenthesis that is not closed": "x = (",
    "a quote that is not closed": "x = 'a",
    "three quotes that are not closed": 'x = """a',
    "a parenthesis too many": "x = 1)",
    "a wrong indent": "if True:\nx = 1",
    "tabs and blanks mixed": "if True:\n\tx = 1\n        y = 2",
    "a NUL byte": "x = 1\0",
    "Python 2": "print 'a'",
    "a keyword as a name": "class = 1",
    "half a merge": "<<<<<<< HEAD\nx = 1",
    "a typographic quote": "x = “a”",
    "an invisible character": "x\u200b = 1",
    "parentheses a thousand deep": "(" * 1000 + ")" * 1000,
    "a number of a million digits": "x = " + "9" * 1_000_000,
}


@pytest.mark.parametrize("code", CODE.values(), ids=CODE)
def test_what_is_no_python_is_named_with_file_and_line_and_the_rest_is_built(capsys, course, code):
    line = break_source(course, PRINT, code)
    code, said = run_here(capsys, course, "editions")
    assert code == 1 and "Traceback" not in said
    assert f"{NAME}: " in said and "not valid Python" in said
    named = [int(number) for number in re.findall(r"line (\d+) of the file", said)]
    assert named and all(line <= number <= line + 2 for number in named), said
    assert not course.complete_path(NAME).exists() and not course.student_path(NAME).exists()
    assert course.student_path(SECOND).exists()


CELL = SOURCE[SOURCE.index("# %% exercise=") : SOURCE.index("# %% expected=")]
TWICE = f"{CELL}# %% expected="
EXERCISE = 'exercise="1.1" slideshow={"slide_type": "subslide"}'
RULES = {
    "a slide type that is no object": (
        'slideshow={"slide_type": "fragment"}',
        'slideshow="fragment"',
        "is no dict",
    ),
    "tags that are no list": ('tags=["setup"]', 'tags="setup"', "cannot read it"),
    "a tag that is a number": ('tags=["setup"]', "tags=[1]", "cannot read it"),
    "a tag twice": ('tags=["setup"]', 'tags=["setup", "setup"]', "cannot read it"),
    "an exercise that is a number": ('exercise="1.1"', "exercise=1.1", "exercise=1.1 is no str"),
    "an exercise that is a list": ('exercise="1.1"', 'exercise=["1.1"]', "is no str"),
    "a picture for a number": ('expected="1.1"', "expected=1.1", "is no str"),
    "a text for a number": ('exercise_text="1.1"', "exercise_text=1", "is no str"),
    "metadata that are not closed": (EXERCISE, 'exercise="1.1" slideshow={"slide_type": ', "cannot read"),
    "metadata in other words": (EXERCISE, "exercise 1.1", "needs slideshow"),
    "an exercise with code for a name": ('exercise="1.1"', 'exercise="1.1\'; x"', "are numbered 1.1"),
    "an exercise with a path for a name": ('exercise="1.1"', 'exercise="1.../x"', "are numbered 1.1"),
    "an exercise without a name": ('exercise="1.1"', 'exercise=""', "are numbered 1.1"),
    "an exercise of another notebook": ('exercise="1.1"', 'exercise="2.1"', "are numbered 1.1"),
    "a fold that is not closed": (
        "# </details>\n# <details><summary>Hint 2",
        "# <details><summary>Hint 2",
        "fold",
    ),
    "a fold that is closed twice": (
        "# </details>\n# <details>",
        "# </details></details>\n# <details>",
        "fold",
    ),
    "a slide that is not closed": (
        "# ## A line\n",
        "# ## A line\n#\n# <!--slide 4 min\n# ## A\n",
        "<!--slide",
    ),
    "a slide on one line": ("# ## A line\n", "# ## A line\n#\n# <!--slide 4 min ## A -->\n", "<!--slide"),
    "a solution of comments": ("    y = double(x)\n    return y + 1\n", "    # y\n", "not valid Python"),
    "nothing but comments": ('line = check("1.1", line)', "# line", "must end with"),
    "an exercise twice": ("# %% expected=", TWICE, "stands there twice"),
    "two headings that collide": ("# ## Results", "# ## A line", None),
    "a heading of signs": ("# ## Results", "# ## ☃ ???", None),
}


@pytest.mark.parametrize("old, new, message", RULES.values(), ids=RULES)
def test_a_source_that_breaks_a_rule_is_refused_and_the_rest_is_built(capsys, course, old, new, message):
    break_source(course, old, new)
    code, said = run_here(capsys, course, "editions")
    assert "Traceback" not in said and course.student_path(SECOND).exists()
    assert code == (1 if message else 0)
    assert course.student_path(NAME).exists() == (message is None)
    assert message is None or (message in said and NAME in said)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# nothing", b"import os", b"\0\0\0", b"# %%", b"{}",
                                     b"---\n---\n", b"%PDF-1.4", b"<html>"])  # fmt: skip
def test_a_file_that_is_no_source_is_refused_and_the_rest_is_built(capsys, course, content):
    (course.sources / f"{NAME}.py").write_bytes(content)
    code, said = run_here(capsys, course, "editions")
    assert code == 1 and NAME in said and "Traceback" not in said
    assert not course.student_path(NAME).exists() and course.student_path(SECOND).exists()


@pytest.mark.parametrize("kind", ["a folder", "a dangling link", "a link to itself"])
def test_what_is_no_file_is_refused_and_the_rest_is_built(capsys, course, kind):
    path = course.sources / "03_odd.py"
    if kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to(path if kind == "a link to itself" else course.root / "gone")
    code, said = run_here(capsys, course, "editions")
    assert code == 1 and course.student_path(SECOND).exists() and course.student_path(NAME).exists()
    assert_sentence(said, "03_odd.py")


SHORT = {
    kind: code for kind, code in CODE.items() if kind in ("a NUL byte", "a parenthesis that is not closed")
}
HELPERS = ["show.py", "maths.py", "places.py", "exercises/__init__.py"]


@pytest.mark.parametrize("file, code", [
    *[("exercises/nb01.py", code) for code in CODE.values()],
    *[(file, code) for file in HELPERS for code in SHORT.values()],
], ids=[*CODE, *(f"{kind} in {file}" for file in HELPERS for kind in SHORT)])  # fmt: skip
def test_a_python_file_that_is_none_is_named_with_its_line(capsys, built, file, code):
    notebook = read_notebook(built.complete_path(NAME))
    notebook.metadata["noise_to_digits"]["inputs"] = {"code": "x"}  # as if it had been executed
    built.complete_path(NAME).write_text(notebook_text(notebook))
    path = built.helpers / file
    path.write_text(path.read_text() + f"\n\n{code}\n")
    line = path.read_text().count("\n") - code.count("\n")
    before = every_file(built.root)
    exit_code, said = run_here(capsys, built, "check", "--only=01")
    assert exit_code == 1 and every_file(built.root) == before
    assert_sentence(said, f"helpers/{file}", "not valid Python")
    named = re.search(rf"{path.name}, line (\d+|\?): ", said)[1]
    assert named == "?" or line - 1 <= int(named) <= line + 2


# Stubs ----------------------------------------------------------------------------------------------


def stubs(course):
    return json.loads(course.stubs.read_text())


BROKEN = {
    "a marker": ("    ### END SOLUTION\n", ""),
    "no check": ('line = check("1.1", line)\n', ""),
    "no Python": ("y = double(x)", "y = double(x"),
    "a cell too long": (PRINT, "\n".join(f"x{i} = {i}" for i in range(16))),
    "the file": ("# %%", "# \0"),
}


@pytest.mark.parametrize("old, new", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("only", [[], ["--only=01"]], ids=["all are built", "this one is built"])
def test_a_broken_exercise_does_not_drop_the_stubs_of_its_notebook(capsys, built, old, new, only):
    before = stubs(built)
    assert set(before) == {"1.1", "2.1"}
    break_source(built, "# TODO 1.1: the line", "# TODO 1.1: another line")
    break_source(built, old, new)
    code, said = run_here(capsys, built, "editions", *only)
    assert code == 1 and NAME in said
    assert stubs(built) == before, "they are those of the student edition that stands there"


def test_a_notebook_beside_a_broken_one_gets_its_new_stub(capsys, built):
    break_source(built, "    ### END SOLUTION\n", "")
    edit(built.sources / f"{SECOND}.py", "# TODO 1.1: the line", "# TODO: another line")
    assert run_here(capsys, built, "editions")[0] == 1
    assert "another line" in stubs(built)["2.1"] and "the line" in stubs(built)["1.1"]


JSON = {
    "cut in the middle": '{"1.1": "def li',
    "empty": "",
    "no JSON": "hello",
    "a list": '["1.1"]',
    "null": "null",
    "a number": "5",
    "text": '"1.1"',
    "conflict marks of git": "<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> theirs\n",
    "a comma too many": '{"1.1": "a",}',
    "nested a hundred thousand deep": '{"a":' * 100_000,
    "a pointer of git-lfs": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
}


@pytest.mark.parametrize("text", JSON.values(), ids=JSON)
def test_damaged_stubs_are_named_and_left_by_a_build_of_one(capsys, built, text):
    built.stubs.write_text(text)
    code, said = run_here(capsys, built, "editions", "--only=02")
    assert code == 1 and built.stubs.read_text() == text
    assert_sentence(said, "stubs.json is damaged")


@pytest.mark.parametrize("text", JSON.values(), ids=JSON)
def test_damaged_stubs_are_written_anew_by_a_build_of_all(capsys, built, text):
    before = stubs(built)
    built.stubs.write_text(text)
    assert run_here(capsys, built, "editions")[0] == 0 and stubs(built) == before


# Seconds and results ----------------------------------------------------------------------------------

TEACHING = "# Teaching\n\n<!--sections:01-->\nold\n<!--/sections-->\n"


SECONDS = {**JSON, "a number for a notebook": '{"01": 5}', "a list for a notebook": '{"02": [1]}'}


@pytest.mark.parametrize("text", SECONDS.values(), ids=SECONDS)
@pytest.mark.parametrize("command", ["numbers", "execute"])
def test_damaged_seconds_are_named_before_anything_runs_or_is_written(
    capsys, monkeypatch, built, text, command
):
    monkeypatch.setattr(build, "run_notebook", lambda *_: pytest.fail("a notebook was executed"))
    (built.complete / "TEACHING.md").write_text(TEACHING)
    (built.results / "notebook_seconds.json").write_text(text)
    before = every_file(built.root)
    code, said = run_here(capsys, built, command)
    assert code == 1 and every_file(built.root) == before
    assert_sentence(said, "notebook_seconds.json is damaged")


@pytest.mark.parametrize("text", JSON.values(), ids=JSON)
def test_damaged_results_are_named_and_no_number_is_changed(capsys, built, text):
    (built.results / "toy.json").write_text(text)
    before = every_file(built.root)
    code, said = run_here(capsys, built, "numbers")
    assert code == 1 and every_file(built.root) == before
    assert_sentence(said, "toy.json is damaged")


NUMBERS = {
    "a key that is not there": ("toy.board.outside|d", "no 'outside'"),
    "a key of a key": ("toy.board.inside.more|d", "no 'more'"),
    "a place behind the end of a list": ("toy.board.runs.9|d", "no '9'"),
    "a place that is no number": ("toy.board.runs.x|d", "no 'x'"),
    "a file that is not there": ("none.a|d", "no data/results/none.json"),
    "a file above": ("...board|d", "no data/results"),
    "a format for text": ("toy.board.inside|s", "does not fit"),
    "a format that is none": ("toy.board.inside|!!", "does not fit"),
    "an object for a number": ("toy.board|.2f", "does not fit"),
}


@pytest.mark.parametrize("mark, message", NUMBERS.values(), ids=NUMBERS)
def test_a_number_that_cannot_be_filled_in_is_named(capsys, built, mark, message):
    (built.root / "README.md").write_text(f"<!--r:{mark}-->94%<!--/-->\n")
    before = every_file(built.root)
    code, said = run_here(capsys, built, "numbers")
    assert code == 1 and every_file(built.root) == before
    assert_sentence(said, message)


# Exercise files that are imported -----------------------------------------------------------------------

FILES = {
    "no Python": ("x = (\n", "SyntaxError"),
    "an unknown name": ("x = 1\ny = unknown\n", "line 2: NameError"),
    "an unknown module": ("\n\nimport no_such_module\n", "line 3: ModuleNotFoundError"),
    "a division by zero": ("1 / 0\n", "line 1: ZeroDivisionError"),
    "an end of the program": ("import sys\nsys.exit(3)\n", "line 2: SystemExit"),
    "no exercises": ("x = 1\n", "AttributeError"),
    "exercises that are none": ("EXERCISES = [1]\n", "AttributeError"),
    "no such exercise": ("EXERCISES = []\n", "has no exercise 1.1"),
    "a NUL byte": ("x = '\0'\n", "SyntaxError"),
    "not there": (None, "ModuleNotFoundError"),
}


@pytest.mark.parametrize("content, said", FILES.values(), ids=FILES)
def test_an_exercise_file_that_cannot_be_imported_is_named(monkeypatch, course, content, said):
    folder = course.helpers / "exercises"
    monkeypatch.setattr(helpers.exercises, "__path__", [str(folder)])
    monkeypatch.delitem(sys.modules, "helpers.exercises.nb01", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (folder / "nb01.py").unlink() if content is None else (folder / "nb01.py").write_text(content)
    try:
        with pytest.raises(BuildError) as refused:
            teaching.mistakes_table(course, "01")
    finally:
        sys.modules.pop("helpers.exercises.nb01", None)
    assert_sentence(str(refused.value), "helpers/exercises/nb01.py", said)


# Saved notebooks ----------------------------------------------------------------------------------------

NOTEBOOKS = {
    **CONTENTS,
    "cells that are text": b'{"cells": ["x"], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
}
del NOTEBOOKS["a record that is text"]  # nbformat takes it


@pytest.mark.parametrize("content", NOTEBOOKS.values(), ids=NOTEBOOKS)
@pytest.mark.parametrize("edition", ["complete_path", "student_path"])
def test_a_damaged_notebook_is_named_and_not_written_over(capsys, built, content, edition):
    """Its outputs may still be saved by hand, or taken from git."""
    path = getattr(built, edition)(NAME)
    path.write_bytes(content)
    edit(built.sources / f"{SECOND}.py", "## Results", "## The results")
    for command in ("editions", "check"):
        code, said = run_here(capsys, built, command)
        assert code == 1 and path.read_bytes() == content
        assert "Traceback" not in said and path.name in said
    assert "The results" in built.student_path(SECOND).read_text(), "the other one is built"


def test_a_folder_with_a_notebooks_name_is_named_and_left(capsys, built):
    path = built.complete_path(NAME)
    path.unlink()
    path.mkdir()
    code, said = run_here(capsys, built, "editions")
    assert code == 1 and path.name in said and "Traceback" not in said and path.is_dir()


# The command line ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["unknown"], [], ["run", "--unknown"], ["new"], ["new", "09"], ["../run"],
                                   ["run", "--mode", "fast"], ["check", "--only"], ["editions", "x"]],
                         ids=" ".join)  # fmt: skip
def test_unknown_words_are_answered_with_the_usage(capsys, course, words):
    before = every_file(course.root)
    code, said = run_here(capsys, course, *words)
    assert code == 2 and said.startswith("usage: ") and every_file(course.root) == before


ONLY = ["", " ", "7", "007", "1 ", "-1", "+1", "1.0", "01_toy", "01_toy.py", "notebooks/source/01_toy.py",
        "../01", "/01", "*", "[0-9]", "1\n", "1;true", "$(true)", "é", "²", "٠١", "x" * 10_000, "\x1b[31m",
        "01,02", "all"]  # fmt: skip


@pytest.mark.parametrize("command, only", [
    *[("editions", only) for only in ONLY],
    *[(command, only) for command in ("check", "run", "execute", "slides") for only in ONLY[:2]],
], ids=lambda word: ascii(word[:20]))  # fmt: skip
def test_an_unknown_number_is_answered_and_nothing_is_done(capsys, monkeypatch, course, command, only):
    monkeypatch.setattr(assets.subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    before = every_file(course.root)
    code, said = run_here(capsys, course, command, f"--only={only}")
    assert code == 1 and every_file(course.root) == before
    assert_sentence(said, "no source numbered")
    assert len(said) < 500


# make new -----------------------------------------------------------------------------------------------

TITLES = {
    "a quote": 'a "title"',
    "three quotes": '"""',
    "two lines": "a\nb",
    "a new cell": "a\n# %%\nimport os",
    "a tab": "a\tb",
    "a NUL byte": "a\0b",
    "HTML": "<script>alert(1)</script>",
    "an entity that is a tag": "<b>",
    "a link": "[a](http://x)",
    "a picture": "![a](x)",
    "a table": "a | b",
    "code": "`a`",
    "a formula": "$x$",
    "TeX": "\\input{x}",
    "emphasis": "*a*",
    "a heading": "# a",
    "a cell": "%% a",
    "a percent sign": "100%",
    "a format": "{title}",
    "a mark of the skeleton": "@NN@",
    "a comment": "a --> b",
    "a path": "../../evil",
    "an absolute path": "/etc/passwd",
    "a backslash": "a\\b",
    "a variable": "$HOME",
    "dashes": "---",
    "dots": "...",
    "nothing": "",
    "blanks": "   ",
    "no letters": "☃",
    "another script only": "拡散",
    "an emoji": "a 🎲",
    "a zero-width space": "a\u200bb",
    "right to left": "a\u202eb",
    "a tilde": "~/evil",
    "an equals sign": "a=b",
    "an escape of the terminal": "\x1b[31ma",
    "five hundred letters": "long " * 100,
}


@pytest.mark.parametrize("title", TITLES.values(), ids=TITLES)
def test_a_title_that_is_no_title_is_refused_and_nothing_is_written(capsys, built, title):
    before = every_file(built.root)
    code, said = run_here(capsys, built, "new", "--", "09", title)
    assert code == 1 and every_file(built.root) == before
    assert_sentence(said)
    assert len(said) < 1000


GOOD_TITLES = ["Straight paths", "a_b _c_ __d__", "What's next?", "Bézier & Zoë (1+1)", "1.2, 3: go!",
               "-dash", "javascript:x", "&lt;script&gt;", "None", "import os", "class", "a; true",
               "x" * 80]  # fmt: skip


@pytest.mark.parametrize("title", GOOD_TITLES)
def test_a_title_that_is_one_makes_a_notebook_that_builds_and_names_itself(capsys, built, title):
    (built.root / "README.md").write_text("| 01 | [A toy](notebooks/01_toy.ipynb) | x | y | z | w |\n")
    code, said = run_here(capsys, built, "new", "--", "09", title)
    assert code == 0, said
    (path,) = built.sources.glob("09_*.py")
    assert re.fullmatch(r"09_[a-z0-9_]{1,40}", path.stem)
    assert read_source(path)[0].source.startswith(f"# 09 {title}\n")
    code, said = run_here(capsys, built, "editions", "--only=09")
    assert code == 0, said
    compile((built.root / f"tests/test_nb{path.stem}.py").read_text(), "test", "exec")
    row = (built.root / "README.md").read_text().splitlines()[1]
    assert row.count("|") == 7 and f"[{title}](notebooks/{path.stem}.ipynb)" in row


@pytest.mark.parametrize(
    "number", ["", "9", "009", "-1", "1e", "0x", "٠٩", "９９", "9\n", " 9", "..", "/9", "$(true)", "*", "01"]
)
def test_a_number_that_is_none_or_taken_is_refused(capsys, built, number):
    before = every_file(built.root)
    code, said = run_here(capsys, built, "new", "--", number, "Straight paths")
    assert code == 1 and every_file(built.root) == before
    assert_sentence(said)


def test_a_new_notebook_that_was_cut_short_is_named_and_nothing_of_it_is_overwritten(
    capsys, monkeypatch, built
):
    real, writes = build.write_skeleton.__globals__["write_text"], []

    def fail_at_the_second(path, text):
        writes.append(path)
        if len(writes) == 2:
            raise OSError(28, "No space left on device", str(path))
        return real(path, text)

    monkeypatch.setitem(build.write_skeleton.__globals__, "write_text", fail_at_the_second)
    code, said = run_here(capsys, built, "new", "09", "Straight paths")
    assert code == 1
    assert_sentence(said, "09_mistakes.md", "No space left")
    before = every_file(built.root)
    code, said = run_here(capsys, built, "new", "09", "Straight paths")
    assert code == 1 and every_file(built.root) == before
    assert_sentence(said, "09 is taken by 09_straight_paths.py")


# Pages and slides ---------------------------------------------------------------------------------------

HOSTILE = {
    "a script": "<script>alert(1)</script>",
    "a picture that fails": "<img src=x onerror=alert(1)>",
    "an end of an attribute": '" onerror="alert(1)',
    "an end of an attribute, single": "' onerror='alert(1)",
    "an end of a tag": '"><script>alert(1)</script>',
    "an end of a block": "</pre></div><script>alert(1)</script>",
    "a frame": "<iframe srcdoc='<script>alert(1)</script>'>",
    "a vector": "<svg onload=alert(1)>",
    "a comment": "<!--",
    "an end of a comment": "--><script>alert(1)</script>",
    "an entity": "&lt;script&gt;",
    "a template": "{{ 7 * 7 }} {% raw %}",
    "an escape of the terminal": "\x1b[31m<script>alert(1)</script>\x1b[0m",
    "a link of the terminal": "\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07",
    "markdown": "![x](javascript:alert(1)) [y](javascript:alert(1))",
    "brackets and a backslash": "a ] ( b [ \\",
    "a surrogate and a NUL byte": "\ud800\0",
}


class Tags(HTMLParser):
    """The tags of a page: scripts without those of the page's own, attributes that are events, alt texts."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.bad, self.alts, self.titles, self.inside = [], [], "", ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.inside = tag
        values = dict(attributes)
        self.bad += [(tag, name) for name in values if name.startswith("on")]
        self.bad += [(tag, value) for value in values.values() if (value or "").startswith("javascript:")]
        if tag in ("iframe", "svg", "object", "embed"):
            self.bad.append((tag, ""))
        if tag == "img":
            self.alts.append(values.get("alt"))

    def handle_data(self, data):
        if self.inside == "script" and "alert(1)" in data:
            self.bad.append(("script", data))
        if self.inside == "title":
            self.titles += data


def hostile_notebook(text):
    """A notebook with `text` wherever a program or a student's code can put it."""
    clean = text.replace("\0", "").encode(errors="ignore").decode()
    picture = nbformat.v4.new_output(
        "display_data", {"image/png": "eA=="}, metadata={"image/png": {"alt": clean}}
    )
    outputs = [
        picture,
        nbformat.v4.new_output("stream", name="stdout", text=clean),
        nbformat.v4.new_output("execute_result", {"text/plain": clean}, execution_count=1),
        nbformat.v4.new_output("error", ename=clean, evalue=clean, traceback=[clean]),
    ]
    return clean, nbformat.v4.new_code_cell(f"x = {clean!r}", outputs=outputs, execution_count=1)


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory):
    """What the site shows of a notebook with a cell for each hostile text: cell number -> its HTML."""
    folder = tmp_path_factory.mktemp("hostile")
    course = toy_course.make(folder / "course")
    cells = [nbformat.v4.new_markdown_cell("# A title")]
    for i, text in enumerate(HOSTILE.values()):
        cells += [nbformat.v4.new_markdown_cell(f"## Number {i}"), hostile_notebook(text)[1]]
    course.complete_path(NAME).write_text(notebook_text(editions.notebook_of(cells)), encoding="utf-8")
    site.write_site(course, folder / "out", pip_args=["--no-index"], say=lambda text: None)
    page = (folder / "out" / "site" / f"{NAME}.html").read_text(encoding="utf-8")
    return re.split(r'<section id="number-\d+">', page.partition("</article>")[0])[1:]


@pytest.mark.parametrize("number, text", list(enumerate(HOSTILE.values())), ids=HOSTILE)
def test_what_is_printed_or_said_of_a_picture_is_text_on_a_page(hostile_page, number, text):
    found = Tags(hostile_page[number])
    assert found.bad == [] and found.alts == [hostile_notebook(text)[0]]


@pytest.mark.parametrize(
    "name", ["01_<script>alert(1)", '01_"onload=alert(1)', "01_<img src=x onerror=alert(1)>"]
)
def test_the_name_of_a_file_is_text_in_a_deck_and_none_of_a_page(tmp_path, name):
    course = toy_course.make(tmp_path / "course", lecture())
    (course.sources / f"{NAME}.py").rename(course.sources / f"{name}.py")
    editions.write_editions(course)
    with pytest.raises(BuildError, match="cannot be the name of a page"):
        site.write_site(course, tmp_path / "out", say=lambda line: None)
    slides.write_deck(course, name, tmp_path / "decks", draft=True, say=lambda line: None)
    found = Tags((tmp_path / "decks" / f"{name}.html").read_text())
    assert found.bad == [] and name in found.titles


@pytest.mark.long
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_is_printed_or_said_of_a_picture_is_text_on_a_slide(tmp_path, text):
    course = toy_course.make(tmp_path / "course", lecture())
    editions.write_editions(course)
    clean, cell = hostile_notebook(text)
    notebook = read_notebook(course.complete_path(NAME))
    for shown in notebook.cells:
        if shown.cell_type == "code":
            shown.outputs, shown.execution_count = cell.outputs, 1
    course.complete_path(NAME).write_text(notebook_text(notebook))
    slides.write_deck(course, NAME, tmp_path)
    found = Tags((tmp_path / f"{NAME}.html").read_text())
    assert found.bad == [] and found.alts == [clean]


@pytest.mark.long
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_the_alt_text_of_an_expected_picture_stays_its_alt_text(tmp_path, text):
    clean = text.replace("\0", "").encode(errors="ignore").decode()
    small = {editions.hashlib.sha256(b"x").hexdigest()[:16]: "eA=="}
    cell = editions._expected_cell("a", (b"x", clean), small)
    page, _ = HTMLExporter(template_name="basic").from_notebook_node(editions.notebook_of([cell]))
    found = Tags(page)
    assert found.bad == [] and len(found.alts) == 1


# What pip brings --------------------------------------------------------------------------------------------


def wheel(folder, members):
    path = folder / "x-1.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in members:
            archive.writestr(name, "evil")
    return path


@pytest.mark.parametrize("name", ["static/../../evil", "static/../../../evil", "static/a/../../../evil"])
def test_a_wheel_cannot_write_beside_its_folder(tmp_path, name):
    folder = tmp_path / "a" / "assets"
    with pytest.raises(BuildError, match="x-1.whl"):
        assets._unpack(wheel(tmp_path, [name]), {"static/": "dist/"}, folder)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["x-1.whl"]


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04", None])
def test_a_wheel_that_is_damaged_or_lacks_a_file_is_named(tmp_path, content):
    path = wheel(tmp_path, ["other"])
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BuildError, match="x-1.whl"):
        assets._unpack(path, {"static/": "dist/"}, tmp_path / "assets")


@pytest.mark.parametrize("words", ["'", '--find-links "x', "it's"])
@pytest.mark.parametrize("command", ["slides", "run"])
def test_a_quote_that_is_not_closed_is_named(capsys, monkeypatch, course, command, words):
    monkeypatch.setenv("PIP_ARGS", words)
    monkeypatch.setattr(assets.subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    code, said = run_here(capsys, course, command)
    assert code == 1
    assert_sentence(said, f"PIP_ARGS={words}")


# Kernels ----------------------------------------------------------------------------------------------------


def kernel(folder, argv):
    """JUPYTER_PATH of a kernel python3 that is started with `argv`; goes before the one of this Python."""
    path = folder / "kernels" / "python3" / "kernel.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"argv": argv, "display_name": "x", "language": "python"}))
    return str(folder)


KERNELS = {
    "ends at once": ["false"],
    "is killed at once": ["bash", "-c", "kill -9 $$"],
    "is not there": ["/no/such/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "has no ipykernel": [sys.executable, "-S", "-m", "no_such_module", "-f", "{connection_file}"],
    "is not allowed to run": [str(ROOT / "LICENSE"), "{connection_file}"],
}


@pytest.mark.long
@pytest.mark.parametrize("argv", KERNELS.values(), ids=KERNELS)
def test_a_kernel_that_does_not_start_is_named_with_what_to_do(built, tmp_path, argv):
    before = every_file(built.root)
    ran = run_apart(built, "execute", "--only=01", JUPYTER_PATH=kernel(tmp_path / "jupyter", argv))
    after = {name: content for name, content in every_file(built.root).items() if not name.startswith("out/")}
    assert ran.returncode == 1 and after == before
    said = ran.stdout + ran.stderr
    assert f"{NAME}: nothing was saved, its kernel did not start (" in said
    assert "Traceback" not in said and "-m ipykernel, or install again" in said
    assert "no_such_module" not in argv or "No module named no_such_module)" in said


CELLS = {
    "ends the process": ("import os; os._exit(1)", "its kernel died (Kernel died): often memory is short"),
    "is killed": (
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "its kernel died (Kernel died): often memory is short",
    ),
    "raises": ("1 / 0", "ZeroDivisionError"),
    "raises what no except catches": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "asks": ("input('name? ')", "StdinNotImplementedError"),
    "recurses": ("f = lambda: f()\nf()", "RecursionError"),
}


@pytest.mark.long
@pytest.mark.parametrize("code, said", CELLS.values(), ids=CELLS)
def test_a_cell_that_ends_badly_leaves_what_was_saved_and_the_next_notebook_runs(capsys, built, code, said):
    before = built.complete_path(NAME).read_bytes()
    break_source(built, PRINT, code)
    exit_code, printed = run_here(capsys, built, "execute")
    assert exit_code == 1 and said in printed and NAME in printed
    assert built.complete_path(NAME).read_bytes() == before
    assert read_notebook(built.complete_path(SECOND)).metadata["noise_to_digits"]["mode"] == "read"
    assert f"not executed: {NAME}" in printed


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C as a signal to a group of processes")
@pytest.mark.parametrize("command", ["run", "execute"])
@pytest.mark.parametrize("when", ["a cell runs", "the kernel starts"])
def test_ctrl_c_is_answered_with_a_sentence_and_what_was_finished_stays(built, tmp_path, command, when):
    """As a terminal does it: the signal goes to all processes of the group."""
    path = built.sources / f"{SECOND}.py"
    edit(path, PRINT, "(Path.cwd() / 'began').touch()\nimport time; time.sleep(60)")
    (built.sources / "03_last.py").write_text(SOURCE.replace('"1.1"', '"3.1"').replace("A toy", "A last"))
    (built.helpers / "exercises" / "nb03.py").write_text('EXERCISES = [Exercise("3.1", "line")]\n')
    words = [sys.executable, ROOT / "notebooks/source/build.py", "--root", built.root, command]
    env = os.environ | {"PIP_ARGS": "--no-index", "NOISE_TO_DIGITS_MODE": "read"}
    running = subprocess.Popen(words, env=env, start_new_session=True, text=True, encoding="utf-8",
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    finished = built.root / "out" / f"{NAME}.ipynb" if command == "run" else None
    try:
        wait_for(lambda: (built.complete / "began").exists() if when == "a cell runs"
                 else executed(built, finished), running)  # fmt: skip
        os.killpg(running.pid, signal.SIGINT)
        said = running.communicate(timeout=60)[0]
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 130, said
    assert "Traceback" not in said and "stopped; what was finished before is saved" in said
    assert "03_last" not in said, "it did not go on with the next one"
    assert executed(built, finished)
    assert not list(built.root.rglob("*.part*"))


def executed(course, page):
    """Whether the first notebook was finished: its page is there, or its outputs are saved."""
    if page:
        return page.exists()
    return "read" == read_notebook(course.complete_path(NAME)).metadata["noise_to_digits"].get("mode")


def wait_for(condition, process, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.long
@pytest.mark.parametrize("package", ["nbformat", "jupytext", "nbclient", "PIL"])
def test_ctrl_c_while_the_packages_are_imported_shows_no_traceback(course, tmp_path, package):
    slow = tmp_path / "slow" / f"{package}.py"
    slow.parent.mkdir()
    slow.write_text(f"import time; open({str(tmp_path / 'began')!r}, 'w'); time.sleep(60)")
    words = [sys.executable, ROOT / "notebooks/source/build.py", "--root", course.root, "check"]
    running = subprocess.Popen(words, env=os.environ | {"PYTHONPATH": str(slow.parent)}, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    wait_for((tmp_path / "began").exists, running)
    running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=60)[0]
    assert said == "\nstopped\n" and running.returncode == -signal.SIGINT, said  # a shell calls it 130
