"""Where the course lies: folders with odd names, strangers' helpers, environments half there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import build
import toy_course
from builder import links
from builder.course import Course
from toy_course import NAME
from tries.commands import POWERS, ROOT, assert_sentence, can_be_kept_out, every_file, run_apart, run_here

NAMES = {
    "blanks": "my copy of the course",
    "blanks at the ends": " course ",
    "a single quote": "ada's course",
    "a double quote": 'the "course"',
    "both quotes and a blank": "a'b \"c",
    "a dollar": "$HOME",
    "a command": "$(touch evil)",
    "backticks": "`touch evil`",
    "a semicolon": "a;touch evil",
    "an ampersand": "a&b",
    "brackets of a pattern": "[a-z]*?",
    "braces": "{a,b}",
    "a line end": "two\nlines",
    "a dash in front": "-n",
    "an option": "--help",
    "a tilde": "~",
    "a hash": "#course",
    "a percent sign": "100%_%s_%(x)s",
    "a backslash": "a\\b\\1",
    "a colon": "a:b",
    "an equals sign": "ONLY=02",
    "letters beyond ASCII": "Übung für Zoë ☃ 拡散",
    "an emoji": "🎲",
    "right to left": "\u202eesruoc",
    "markup": "<b>&amp;",
    "dots": "...",
    "hidden": ".course",
    "the name of a part of it": "helpers",
    "two hundred letters": "x" * 200,
    "many levels": "/".join(["level"] * 100),
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_the_course_is_built_in_a_folder_of_any_name(capsys, tmp_path, name):
    course = toy_course.make(tmp_path / name)
    for words in (["editions"], ["numbers"], ["links", "--version=v2"], ["start"], ["new", "09", "Paths"]):
        code, said = run_here(capsys, course, *words)
        assert code == 0, said
    code, said = run_here(capsys, course, "check", "--only=01")
    assert said == f"{NAME}: outputs are stale: never executed; run `make execute`\n"
    assert (course.root / "my-work" / f"{NAME}.ipynb").read_bytes() == course.student_path(NAME).read_bytes()
    assert {path.relative_to(tmp_path).parts[0] for path in tmp_path.iterdir()} == {name.split("/")[0]}
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.long
@pytest.mark.parametrize(
    "kind", ["both quotes and a blank", "a command", "a line end", "letters beyond ASCII"]
)
def test_a_notebook_runs_in_a_folder_of_any_name(capsys, tmp_path, kind):
    course = toy_course.make(tmp_path / NAMES[kind])
    code, said = run_here(capsys, course, "execute")
    assert code == 0 and not list(tmp_path.rglob("evil")), said
    assert run_here(capsys, course, "check") == (0, f"{NAME}: in step and fresh\n")


# Strangers called helpers ---------------------------------------------------------------------------

FIRST = links.Links("ada/toy", "v1", "2").bootstrap()
OURS = '"""Ours."""\n\nEDITION = "2"\n'
STRANGER = "raise SystemExit('the stranger was imported')\n"


def run_first_cell(folder: Path, before="", after="", **environment):
    """The first cell in a fresh Python in `folder`, as a kernel runs it; -> (stdout, last line of stderr)."""
    code = f"import sys; sys.path[0] = ''\n{before}\n{FIRST}\n{after}"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PATH": "", **environment},
    )
    return ran.stdout.strip(), ran.stderr.strip().rpartition("\n")[2]


@pytest.fixture
def course(tmp_path):
    """A folder outer/course with our helpers; outer/course/my-work to start in."""
    root = tmp_path / "outer" / "course"
    (root / "helpers").mkdir(parents=True)
    (root / "helpers" / "__init__.py").write_text(OURS)
    (root / "helpers" / "data.py").write_text("ours = True\n")
    (root / "my-work").mkdir()
    return root


def put_stranger(folder: Path, name="helpers/__init__.py", content=STRANGER):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return folder


PLACES = {
    "between the notebook and the course": ("my-work", "my-work/project"),
    "beside the notebook": ("my-work/project", "my-work/project"),
    "above the course": ("..", "my-work"),
    "far above": ("../..", "my-work"),
    "in a folder beside it": ("../other", "my-work"),
}


@pytest.mark.parametrize("stranger, here", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("name", ["helpers/__init__.py", "helpers/data.py", "helpers.py"],
                         ids=["a package", "a folder without __init__", "a module"])  # fmt: skip
def test_helpers_of_a_stranger_are_passed_by(course, stranger, here, name):
    put_stranger(course / stranger, name)
    (course / here).mkdir(parents=True, exist_ok=True)
    after = "from helpers import data; print(helpers.__file__, data.ours, os.getcwd())"
    said, wrong = run_first_cell(course / here, after=after)
    assert wrong == ""
    assert said.split() == [str(course / "helpers" / "__init__.py"), "True", str((course / here).resolve())]


@pytest.mark.parametrize("name", ["helpers/__init__.py", "helpers.py", "helpers/data.py"])
def test_helpers_on_pythonpath_are_passed_by(course, tmp_path, name):
    path = put_stranger(tmp_path / "elsewhere", name)
    said, wrong = run_first_cell(course / "my-work", after="print(helpers.__file__)", PYTHONPATH=str(path))
    assert wrong == "" and said == str(course / "helpers" / "__init__.py")


LOADED = {
    "a package": ("helpers/__init__.py", "x = 1\n"),
    "a module": ("helpers.py", "x = 1\n"),
    "a folder without __init__": ("helpers/other.py", "x = 1\n"),
    "one that says the same edition": ("helpers/__init__.py", OURS),
}


@pytest.mark.parametrize("name, content", LOADED.values(), ids=LOADED)
def test_helpers_that_the_kernel_has_loaded_already_are_named(course, tmp_path, name, content):
    path = put_stranger(tmp_path / "elsewhere", name, content)
    before = f"sys.path.insert(0, {str(path)!r}); import helpers"
    said, wrong = run_first_cell(course / "my-work", before=before, after="print('went on')")
    assert said == "" and wrong.startswith("RuntimeError: this notebook is of edition 2, unlike ")
    assert "restart the kernel" in wrong and ("elsewhere" in wrong or "None" in wrong)


def test_with_nothing_but_a_stranger_it_says_what_to_do(tmp_path):
    put_stranger(tmp_path)
    said, wrong = run_first_cell(tmp_path)
    assert wrong.startswith(
        "FileNotFoundError: open this notebook inside the course's folder: git clone https:"
    )


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"EDITION", b"# EDITION 2"],
                         ids=["not UTF-8", "empty", "half a line", "a comment"])  # fmt: skip
def test_a_strangers_file_may_hold_anything(course, content):
    put_stranger(course / "my-work" / "project")
    (course / "my-work" / "project" / "helpers" / "__init__.py").write_bytes(content)
    said, wrong = run_first_cell(course / "my-work" / "project", after="print(helpers.__file__)")
    assert wrong == "" and said == str(course / "helpers" / "__init__.py")


def test_run_again_it_takes_the_same(course):
    said, wrong = run_first_cell(course / "my-work", after=f"{FIRST}\nprint(helpers.__file__)")
    assert wrong == "" and said == str(course / "helpers" / "__init__.py")


def test_a_course_reached_through_a_link_is_ours(course, tmp_path):
    (tmp_path / "link").symlink_to(course)
    said, wrong = run_first_cell(tmp_path / "link" / "my-work", after="print(helpers.EDITION)",
                                 before="import helpers", PYTHONPATH=str(tmp_path / "link"))  # fmt: skip
    assert (said, wrong) == ("2", "")


def test_every_notebook_of_the_course_begins_so():
    course = Course(ROOT)
    first = links.read_links(course).bootstrap()
    for path in course.source_paths():
        for text in build.editions(course, path.stem):
            assert first.splitlines()[4] in text.replace('\\"', '"')


# The builder's own helpers --------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("name", ["helpers/__init__.py", "helpers.py", "builder/__init__.py", "nbformat.py"])
def test_a_stranger_in_the_folder_or_on_pythonpath_is_not_built_with(tmp_path, name):
    """Of PYTHONPATH a library may be taken, as for every Python program; of the current folder nothing."""
    course, path = toy_course.make(tmp_path / "course"), put_stranger(tmp_path / "elsewhere", name)
    variables = {} if name == "nbformat.py" else {"PYTHONPATH": str(path)}
    ran = run_apart(course, "editions", cwd=path, **variables)
    assert ran.returncode == 0 and "stranger" not in ran.stderr, ran.stderr
    assert course.student_path(NAME).exists()


# Folders of the user --------------------------------------------------------------------------------

ENVIRONMENTS = {
    "no HOME": {"HOME": None},
    "HOME is not there": {"HOME": "/not/there"},
    "HOME is a file": {"HOME": str(ROOT / "LICENSE")},
    "no TMPDIR": {"TMPDIR": None},
    "TMPDIR is not there": {"TMPDIR": "/not/there"},
    "the locale C": {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": None, "PYTHONIOENCODING": None},
    "a locale that is not there": {"LANG": "xx_XX.KOI8-Z", "LC_ALL": "xx_XX.KOI8-Z"},
    "a terminal of ASCII": {"PYTHONIOENCODING": "ascii"},
    "UTF-8 mode off and the locale POSIX": {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "POSIX"},
    "a backend of matplotlib that is none": {"MPLBACKEND": "no such backend"},
    "warnings are errors": {"PYTHONWARNINGS": "error::SyntaxWarning"},
    "no bytecode": {"PYTHONDONTWRITEBYTECODE": "1"},
    "optimised": {"PYTHONOPTIMIZE": "2"},
    "an empty PATH": {"PATH": ""},
}


@pytest.mark.long
@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_it_builds_whatever_the_environment(tmp_path, environment):
    course = toy_course.make(tmp_path, toy_course.SOURCE.replace("# # A toy", "# # A toy ●○ “é”"))
    ran = run_apart(course, "editions", **environment)
    assert ran.returncode == 0, ran.stderr
    built = every_file(course.root)
    for path in (course.complete_path(NAME), course.student_path(NAME)):
        assert "A toy ●○ “é”" in path.read_text(encoding="utf-8")
    build.write_editions(course)
    assert every_file(course.root) == built, "the same bytes as here"


@pytest.mark.long
@pytest.mark.parametrize("kind", ["no HOME", "no TMPDIR", "TMPDIR is not there", "the locale C",
                                  "an empty PATH", "optimised"])  # fmt: skip
def test_a_notebook_runs_whatever_the_environment(tmp_path, kind):
    course = toy_course.make(tmp_path, toy_course.SOURCE.replace("10%", "10% ●"))
    ran = run_apart(course, "execute", **ENVIRONMENTS[kind])
    assert ran.returncode == 0, ran.stderr
    assert "10% ●" in course.complete_path(NAME).read_text(encoding="utf-8")


@pytest.mark.long
def test_a_notebook_does_not_import_a_strangers_helpers_from_pythonpath(tmp_path):
    course, path = toy_course.make(tmp_path / "course"), put_stranger(tmp_path / "elsewhere")
    ran = run_apart(course, "execute", PYTHONPATH=str(path))
    assert ran.returncode == 0 and "stranger" not in ran.stdout + ran.stderr, ran.stderr


@pytest.mark.long
@pytest.mark.skipif(not can_be_kept_out(), reason="no setpriv, and the superuser may write anywhere")
def test_a_notebook_runs_where_home_is_read_only(tmp_path):
    course, home = toy_course.make(tmp_path / "course"), tmp_path / "home"
    home.mkdir(mode=0o555)
    away = dict.fromkeys(("XDG_DATA_HOME", "XDG_RUNTIME_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"))
    ran = run_apart(course, "execute", powers=POWERS, HOME=str(home), **away)
    assert ran.returncode == 0 and "saved" in ran.stdout, ran.stderr
    assert list(home.iterdir()) == []


@pytest.mark.long
def test_a_backend_of_matplotlib_that_is_none_is_named():
    """Not held: matplotlib refuses it when it is imported; its last line says which variable holds what."""
    ran = subprocess.run([sys.executable, "-c", "import helpers.show"], cwd=ROOT, capture_output=True,
                         text=True, env=os.environ | {"MPLBACKEND": "no such backend"})  # fmt: skip
    assert ran.returncode == 1 and "'no such backend' is not a valid value for backend" in ran.stderr


@pytest.mark.long
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_a_terminal_of_few_letters_gets_the_sentence_all_the_same(tmp_path, encoding):
    source = toy_course.SOURCE.replace(' slideshow={"slide_type": "slide"}\n# ## Results', "\n# ## Results ●")
    ran = run_apart(toy_course.make(tmp_path, source), "check", PYTHONIOENCODING=encoding)
    assert ran.returncode == 1
    assert_sentence(ran.stderr + ran.stdout, "Results \\u25cf", "needs slideshow")


@pytest.mark.parametrize("mode", ["", "fast", "READ", "smoke ", "read;true", "0"])
def test_an_unknown_mode_is_named_before_anything_runs(capsys, monkeypatch, tmp_path, mode):
    course = toy_course.make(tmp_path)
    monkeypatch.setenv("NOISE_TO_DIGITS_MODE", mode)
    code, said = run_here(capsys, course, "run")
    assert code == 1 and not (tmp_path / "out").exists()
    assert_sentence(said, f"NOISE_TO_DIGITS_MODE is {mode!r}: set it to read, smoke, full")


OUT = {
    "a file": lambda path, other: path.write_text("keep"),
    "a dangling link": lambda path, other: path.symlink_to(other / "gone"),
    "a link to a file": lambda path, other: path.symlink_to(other / "pyproject.toml"),
    "a link to itself": lambda path, other: path.symlink_to(path),
}


@pytest.mark.parametrize("command", ["run", "slides", "editions --grading", "run --out"])
@pytest.mark.parametrize("kind", OUT)
def test_where_out_is_no_folder_it_is_left_and_named(capsys, tmp_path, command, kind):
    course, out = toy_course.make(tmp_path / "course"), tmp_path / "course" / "out"
    OUT[kind](out, course.root)
    before = every_file(course.root)
    words = [*command.split(), out] if command.endswith("--out") else command.split()
    code, said = run_here(capsys, course, *words)
    assert code == 1 and every_file(course.root) == before
    assert_sentence(said, "out")
    assert "cannot be a folder" in said or "could not write" in said


@pytest.mark.long
@pytest.mark.skipif(not can_be_kept_out(), reason="no setpriv, and the superuser may write anywhere")
@pytest.mark.parametrize(
    "command", ["editions", "start", "links --version=v2", "new 09 Paths", "slides", "execute"]
)
def test_in_a_read_only_checkout_it_says_which_file_it_cannot_write(tmp_path, command):
    course = toy_course.make(tmp_path / "course")
    build.write_editions(course)
    course.complete_path(NAME).unlink()
    before = every_file(course.root)
    folders = [course.root, *(path for path in course.root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        ran = run_apart(course, *command.split(), powers=POWERS)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert ran.returncode == 1 and every_file(course.root) == before
    assert_sentence(ran.stdout + ran.stderr, "Permission denied")


@pytest.mark.long
@pytest.mark.skipif(not can_be_kept_out(), reason="no setpriv, and the superuser may write anywhere")
def test_a_read_only_checkout_runs_into_another_folder(tmp_path):
    course, out = toy_course.make(tmp_path / "course"), tmp_path / "out"
    folders = [course.root, *(path for path in course.root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        words = ["run", "--out", out]
        ran = run_apart(course, *words, powers=POWERS, PIP_ARGS="--no-index", NOISE_TO_DIGITS_MODE="smoke")
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert ran.returncode == 0 and (out / "site" / f"{NAME}.html").exists(), ran.stderr


@pytest.mark.long
@pytest.mark.parametrize("command, said", [("numbers", ""), ("editions", "Cannot load")])
def test_in_a_folder_that_was_deleted(tmp_path, command, said):
    """What needs no torch works; torch with Intel's MKL does not load there, and says so before we can."""
    course = toy_course.make(tmp_path / "course")
    (tmp_path / "gone").mkdir()
    words = [sys.executable, str(ROOT / "notebooks/source/build.py"), "--root", str(course.root), command]
    gone = str(tmp_path / "gone")
    code = f"import os; os.chdir({gone!r}); os.rmdir({gone!r}); os.execv({sys.executable!r}, {words})"
    before = every_file(course.root)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0 or said and said in ran.stderr, ran.stderr
    assert every_file(course.root).items() >= before.items()
