"""make: words with shell code in them, environments that are half there, folders that must not be touched."""

import os
import signal
import subprocess
import sys

import pytest

import test_makefile
from test_makefile import OWN, ROOT, SAY, make, program
from tries.commands import every_file

pytestmark = test_makefile.pytestmark

WORDS = {
    "a single quote": "a'; touch evil; '",
    "a double quote": 'a"; touch evil; "',
    "a command of the shell": "$(touch evil)",
    "backticks": "`touch evil`",
    "a function of make": "$(shell touch evil)",
    "make's own variables": "$(MAKE) ${SHELL} $@",
    "a variable of the shell": "$HOME ${HOME} $$ $1",
    "a semicolon": "; touch evil",
    "two ampersands": "&& touch evil",
    "a redirection": "> evil",
    "a pipe": "| touch evil",
    "a comment": "# touch evil",
    "a wild card": "*",
    "braces": "{a,b}",
    "a tilde": "~",
    "a backslash": "a\\b\\",
    "two lines": "a\ntouch evil",
    "an option": "--help",
    "two dashes": "--",
    "an assignment": "VENV=evil",
    "a percent sign": "%s%n%x",
    "blanks around it": "  a  ",
    "an exclamation mark": "!!",
    "letters beyond ASCII": "Zoë ☃",
    "ten thousand letters": "x" * 10_000,
}
PLACES = {
    "ONLY": ("check", ["check", "--only={}"]),
    "REPO": ("links", ["links", "--repository={}"]),
    "VERSION": ("links", ["links", "--version={}"]),
    "NN": ("new", ["new", "--", "{}", ""]),
    "TITLE": ("new", ["new", "--", "", "{}"]),
}


@pytest.fixture
def folder(tmp_path):
    return test_makefile.copy_makefile(tmp_path)


@pytest.fixture(params=["from a terminal", "from make test"])
def run_by(request, monkeypatch):
    """The tests themselves are run by a person, or by `make test` with words of its own."""
    if request.param == "from make test":
        monkeypatch.setenv("MAKELEVEL", "1")
        monkeypatch.setenv("MAKEFLAGS", "w -- ONLY=02 VENV=elsewhere PYTHON=/not/there")
        monkeypatch.setenv("MFLAGS", "-w")
        for name in OWN:
            monkeypatch.setenv(name, "from outside")
    return request.param


# Words that are typed -------------------------------------------------------------------------------


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("variable", PLACES)
def test_a_word_reaches_the_builder_as_it_was_typed(folder, variable, word):
    program(folder, "printf '%s\\0' \"$@\"")
    target, wanted = PLACES[variable]
    made = make(folder, target, f"{variable}={word}")
    assert made.returncode == 0, made.stderr
    # make itself takes blanks away before a value
    typed = word.lstrip()
    assert made.stdout.split("\0")[1:-1] == [text.replace("{}", typed) for text in wanted]
    assert not (folder / "evil").exists()


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
def test_a_word_of_the_environment_arrives_as_it_is(folder, run_by, word):
    program(folder, 'printf \'%s\\0\' "$@" "$PIP_ARGS"')
    made = make(folder, "check", ONLY=word, PIP_ARGS=word)
    assert made.stdout.split("\0")[1:-1] == ["check", f"--only={word}", word]
    assert not (folder / "evil").exists() and "directory" not in made.stdout


@pytest.mark.parametrize("goal", ["$(touch evil)", "`touch evil`", "'; touch evil; '", "$(shell touch evil)"])
def test_a_second_goal_with_code_in_it_is_not_run(folder, goal):
    made = make(folder, "setup", goal, PYTHON=old_python(folder, "(3, 9)"))
    assert made.returncode != 0 and not (folder / "evil").exists() and not (folder / ".venv").exists()


def old_python(folder, version) -> str:
    """A Python that says it is of another version."""
    python, code = folder / "python", f"import sys; sys.version_info = {version}; exec(sys.argv[2])"
    python.write_text(f"#!/bin/bash\nexec {sys.executable} -c '{code}' \"$@\"\n")
    python.chmod(0o755)
    return "./python"


# The environment ------------------------------------------------------------------------------------


@pytest.fixture
def python(folder):
    """A Python in a folder with an odd name, whose environments are made at once and whose pip only notes."""
    python = folder / 'ada\'s "own" $(touch evil) python' / "python"
    python.parent.mkdir()
    python.write_text(f"""\
#!/bin/bash
case "$1 $2" in
  "-m venv") mkdir -p "$3/bin"; touch "$3/pyvenv.cfg"; cp "$0" "$3/bin/python" ;;
  "-m pip") [ "$3" = --version ] || {{ printf '%s\\0' "$@" >> pip.txt; [ ! -e broken ]; }} ;;
  *) exec {sys.executable} "$@" ;;
esac
""")
    python.chmod(0o755)
    return str(python)


def installed(folder):
    """What pip was told, without what it is always told; None where it was not called."""
    if not (folder / "pip.txt").exists():
        return None
    words = (folder / "pip.txt").read_text().split("\0")[:-1]
    (folder / "pip.txt").unlink()
    always = "-m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt".split()
    assert words[: len(always)] == always and words[-2:] == ["-r", "requirements.txt"]
    return words[len(always) : -2]


VENVS = [word for word in WORDS.values() if "\n" not in word and len(word) < 100 and word.strip() == word]
VENVS += ["my environment", "-n", "--clear", "a=b", "a:b", "a/b/c", "two\nlines", "x" * 200, "..venv"]


@pytest.mark.parametrize("venv", VENVS, ids=lambda name: name[:20])
def test_an_environment_of_any_name_is_made_where_it_is_wanted(folder, python, venv):
    before = set(folder.iterdir())
    made = make(folder, "setup", f"VENV={venv}", PYTHON=python)
    assert made.returncode == 0, made.stdout + made.stderr
    assert (folder / venv / ".installed").exists() and (folder / venv / "bin" / "python").exists()
    assert {path.name for path in set(folder.iterdir()) - before} == {
        venv.removeprefix("./").split("/")[0],
        "pip.txt",
    }
    assert installed(folder) == []
    assert make(folder, "setup", f"VENV={venv}", PYTHON=python).stdout == "" and installed(folder) is None


@pytest.mark.long
def test_python_itself_makes_an_environment_of_an_odd_name(folder):
    for _ in range(2):  # the second finds it
        made = make(folder, "setup", "VENV=-n 'my' $(touch evil) %s")
        assert made.returncode == 0 and not (folder / "evil").exists(), made.stdout + made.stderr
    pip = folder / "-n 'my' $(touch evil) %s" / "bin" / "python"
    assert made.stdout == "" and subprocess.run([pip, "-m", "pip", "--version"]).returncode == 0


ARGUMENTS = {
    "nothing": ("", []),
    "two words": ("--no-index --pre", ["--no-index", "--pre"]),
    "a quoted blank": ('--find-links "my wheels"', ["--find-links", "my wheels"]),
    "single quotes": ("--find-links 'my \"wheels\"'", ["--find-links", 'my "wheels"']),
    "a command of the shell": ("$(touch evil)", ["$(touch", "evil)"]),
    "backticks": ("`touch evil`", ["`touch", "evil`"]),
    "a function of make": ("$(shell touch evil)", ["$(shell", "touch", "evil)"]),
    "a semicolon": ("--pre; touch evil", ["--pre;", "touch", "evil"]),
    "a redirection": ("--pre > evil", ["--pre", ">", "evil"]),
    "a wild card": ("*", ["*"]),
    "a variable": ("--find-links $HOME", ["--find-links", "$HOME"]),
    "two lines": ("--pre\n--no-index", ["--pre", "--no-index"]),
    "an address": ("--extra-index-url https://x.org/a?b=c&d", ["--extra-index-url", "https://x.org/a?b=c&d"]),
}


@pytest.mark.parametrize("typed, wanted", ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_for_pip_are_words_and_no_code(folder, python, run_by, typed, wanted):
    made = make(folder, "setup", f"PIP_ARGS={typed}", PYTHON=python)
    assert made.returncode == 0, made.stderr
    assert installed(folder) == wanted and not (folder / "evil").exists()


@pytest.mark.parametrize("typed", ['--find-links "my wheels', "it's", '"'])
def test_a_quote_that_is_not_closed_is_named_and_nothing_is_made(folder, python, typed):
    made = make(folder, "setup", f"PIP_ARGS={typed}", PYTHON=python)
    assert made.returncode != 0 and f"PIP_ARGS={typed}: close the quote" in made.stdout
    assert not (folder / ".venv").exists() and installed(folder) is None


PRECIOUS = {
    "a folder with a file": lambda path: (path.mkdir(), (path / "thesis.tex").write_text("keep")),
    "a folder with a hidden file": lambda path: (path.mkdir(), (path / ".secret").write_text("keep")),
    "a folder with folders": lambda path: (path / "a" / "b").mkdir(parents=True),
    "a system's folder, with a Python": lambda path: (
        (path / "bin").mkdir(parents=True), (path / "bin" / "python").symlink_to(sys.executable)),
    "a file": lambda path: path.write_text("keep"),
    "a link to a folder": lambda path: (
        (path.parent / "real" / "x").mkdir(parents=True), path.symlink_to("real")),
    "a link to a file": lambda path: ((path.parent / "x").write_text("keep"), path.symlink_to("x")),
    "a dangling link": lambda path: path.symlink_to("gone"),
    "a link to itself": lambda path: path.symlink_to(path.name),
}  # fmt: skip


@pytest.mark.parametrize("make_it", PRECIOUS.values(), ids=PRECIOUS)
def test_what_is_no_environment_is_neither_written_to_nor_removed(folder, python, run_by, make_it):
    make_it(folder / "precious")
    before = every_file(folder), sorted(str(path) for path in folder.rglob("*"))
    made = make(folder, "setup", "VENV=precious", PYTHON=python)
    assert made.returncode != 0 and "precious is there and is no environment: move it away" in made.stdout
    assert before == (every_file(folder), sorted(str(path) for path in folder.rglob("*")))


@pytest.mark.parametrize("venv", ["", ".", "..", "notebooks", ".ci", "./"])
def test_the_course_itself_is_no_environment(folder, python, venv):
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / "mine.ipynb").write_text("keep")
    before = every_file(folder.parent)
    made = make(folder, "setup", f"VENV={venv}", PYTHON=python)
    assert made.returncode != 0 and ("is no environment" in made.stdout or "VENV is empty" in made.stdout)
    assert every_file(folder.parent) == before


def test_an_empty_folder_is_used_and_kept_when_it_fails(folder, python):
    (folder / "empty").mkdir()
    failing = test_makefile.python_without_venv(folder)
    made = make(folder, "setup", failing, "VENV=empty", PYTHON="")
    assert made.returncode != 0 and "empty cannot be mended" in made.stdout and (folder / "empty").is_dir()
    for path in ("bin", "pyvenv.cfg"):
        path = folder / "empty" / path
        path.rmdir() if path.is_dir() else path.unlink()
    assert make(folder, "setup", "VENV=empty", PYTHON=python).returncode == 0


@pytest.mark.parametrize("name, said", [
    ("/not/there", "PYTHON=/not/there does not do"), ("false", "PYTHON=false does not do"),
    ("no such python", "PYTHON=no such python does not do"), ("", "PYTHON= does not do"),
    ("-c", "PYTHON=-c does not do"), (".", "PYTHON=. does not do"),
])  # fmt: skip
def test_a_python_that_is_none_is_named_and_nothing_is_made(folder, name, said):
    made = make(folder, "setup", PYTHON=name)
    assert made.returncode != 0 and said in made.stdout and not (folder / ".venv").exists()


@pytest.mark.parametrize("version", ["(2, 7)", "(3, 10)", "(3, 14)", "(4, 0)"])
def test_a_python_of_another_version_is_named_and_nothing_is_made(folder, version):
    made = make(folder, "setup", PYTHON=old_python(folder, version))
    assert made.returncode != 0 and "Python 3.11 to 3.13 is needed, ./python is" in made.stderr
    assert not (folder / ".venv").exists()


def test_an_installation_that_fails_starts_over(folder, python, run_by):
    (folder / "broken").touch()
    assert make(folder, "setup", PYTHON=python).returncode != 0 and installed(folder) == []
    assert not (folder / ".venv" / ".installed").exists()
    (folder / "broken").unlink()
    assert make(folder, "setup", PYTHON=python).returncode == 0 and installed(folder) == []


@pytest.mark.parametrize("left", ["bin", "pyvenv.cfg", "everything but pip"])
def test_an_environment_that_was_killed_half_made_is_made_again(folder, python, left):
    venv = folder / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").touch()
    if left == "everything but pip":
        (venv / "bin" / "python").write_text("#!/bin/bash\nexit 1\n")
        (venv / "bin" / "python").chmod(0o755)
    if left == "pyvenv.cfg":
        (venv / "bin").rmdir()
    assert make(folder, "setup", PYTHON=python).returncode == 0
    assert installed(folder) == [] and (venv / ".installed").exists()


@pytest.mark.parametrize("file", ["requirements.txt", ".ci/constraints.txt"])
def test_a_changed_requirement_installs_again_once(folder, python, file):
    make(folder, "setup", PYTHON=python)
    installed(folder)
    later = (folder / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(folder / file, (later, later))
    assert make(folder, "setup", PYTHON=python).returncode == 0 and installed(folder) == []
    os.utime(folder / file, (later - 20, later - 20))
    assert make(folder, "setup", PYTHON=python).returncode == 0 and installed(folder) is None


def test_parallel_goals_make_one_environment(folder, python):
    made = make(folder, "-j8", "setup", "run", "check", "slides", PYTHON=python)
    assert installed(folder) == [], made.stdout


# Other targets --------------------------------------------------------------------------------------


def test_make_alone_explains_and_installs_nothing(folder, run_by):
    made = make(folder)
    assert made.returncode == 0 and made.stdout.startswith("help") and not (folder / ".venv").exists()


@pytest.mark.parametrize("name", ["00_a b.ipynb", "00_$(touch evil).ipynb", "00_'.ipynb", "00_☃.ipynb",
                                  "00_`touch evil`.ipynb", "00_\n.ipynb", "00_-n.ipynb"])  # fmt: skip
def test_the_lab_opens_a_copy_of_any_name(folder, name):
    program(folder, "printf '%s\\0' \"$@\"")
    for place in ("notebooks/00_start.ipynb", f"my-work/{name}"):
        (folder / place).parent.mkdir()
        (folder / place).touch()
    words = make(folder, "lab").stdout.split("\0")[:-1]
    assert words == ["-m", "jupyter", "lab", f"--ServerApp.root_dir={folder}", f"my-work/{name}"]
    (folder / "my-work" / name).unlink()
    assert make(folder, "lab").stdout.split("\0")[-2] == "notebooks/00_start.ipynb"


DEBRIS = ["notebooks/.01_x.ipynb.part123", "data/results/.x.json.part4", "my-work/.01.ipynb.part77",
          "helpers/.-n.part5", "helpers/.two\nlines.part6", "..x.part1.part2", "helpers/__pycache__/x.pyc",
          ".Makefile.part1", "out/01.html", ".pytest_cache/x", ".ruff_cache/x"]  # fmt: skip
KEPT = ["my-work/01.ipynb", "my-work/.editions.json", ".venv/lib/__pycache__/x.pyc", ".venv/.x.part1",
        ".git/.x.part1", "my-work/x.part1", "data/checkpoints/.net.resume", "notes.part", ".x.part",
        ".x.partner", "data/x.safetensors", "my-work/.01.ipynb.part77.d/mine"]  # fmt: skip


@pytest.mark.parametrize("name", DEBRIS)
def test_clean_removes_debris(folder, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()
    assert make(folder, "clean").returncode == 0 and not (folder / name).exists()


@pytest.mark.parametrize("name", KEPT)
def test_clean_keeps_work(folder, run_by, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("keep")
    assert make(folder, "clean").returncode == 0 and (folder / name).read_text() == "keep"


@pytest.mark.parametrize("name", ["out", "my-work", "data", "out/smoke"])
def test_clean_does_not_follow_a_link(folder, tmp_path, name):
    kept = tmp_path / "elsewhere"
    for path in (kept / "mine.txt", kept / ".x.part1", kept / "__pycache__" / "x"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("keep")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(kept)
    before = every_file(kept)
    assert make(folder, "clean").returncode == 0 and every_file(kept) == before
    assert (kept / "__pycache__" / "x").read_text() == "keep"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "kill"])
def test_an_interrupt_reaches_the_builder_and_make_ends(folder, sent):
    waiting = "sleep 30 > /dev/null 2>&1 & wait"  # it would hold our end of the pipe
    program(folder, f"trap 'echo told >> told; exit 130' INT TERM; touch began; {waiting}")
    words = ["make", f"PYTHON={sys.executable}", "run"]
    kept = {k: v for k, v in os.environ.items() if k not in OWN and not k.startswith(("MAKE", "MFLAGS"))}
    running = subprocess.Popen(words, cwd=folder, env=kept, start_new_session=True, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)  # fmt: skip
    try:
        while not (folder / "began").exists():
            assert running.poll() is None
        os.killpg(running.pid, sent)
        said = running.communicate(timeout=20)[0]
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    assert (folder / "told").exists() and running.returncode != 0, said
    assert "Traceback" not in said


# The tests themselves -------------------------------------------------------------------------------


@pytest.mark.long
def test_the_tests_of_the_makefile_pass_from_inside_make(tmp_path):
    """CI runs them so: MAKELEVEL, MAKEFLAGS and the words of that make are in their environment."""
    (tmp_path / "Makefile").write_text(f"""\
export PYTHON := /not/there
export VENV := elsewhere
export ONLY := 02
test:
	@cd {ROOT} && {sys.executable} -m pytest -q -p no:cacheprovider -m "not slow" tests/test_makefile.py
""")
    ran = subprocess.run(["make", "-w", "test", "TITLE=x"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0 and " passed" in ran.stdout, ran.stdout


def test_nothing_of_a_make_around_us_reaches_ours(folder, run_by):
    program(folder, SAY)
    made = make(folder, "check")
    assert made.stdout.splitlines() == ["notebooks/source/build.py", "check", "PIP_ARGS="]
