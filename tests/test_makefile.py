"""What make does with an environment that is half made, not wanted or not makeable, and with odd words."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="no make here")
OWN = "PYTHON VENV CONSTRAINTS PIP_ARGS TORCH ONLY REPO VERSION NN TITLE WORKERS".split()
SAY = """printf '%s\\n' "$@" "PIP_ARGS=$PIP_ARGS" """


@pytest.fixture
def folder(tmp_path):
    return copy_makefile(tmp_path)


def copy_makefile(tmp_path):
    """A folder with a blank and a quote in its name, the course's Makefile in it, nothing to install."""
    folder = tmp_path / "the course's copy"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "requirements.txt").touch()
    (folder / ".ci" / "constraints.txt").touch()
    return folder


def make(folder, *words, **environment):
    """Run make in `folder` as from a terminal, even where the tests themselves are run by make."""
    # Without what `make test` set: with MAKELEVEL, make announces the folders it enters.
    kept = {k: v for k, v in os.environ.items() if k not in OWN and not k.startswith(("MAKE", "MFLAGS"))}
    python = [] if "PYTHON" in environment else [f"PYTHON={sys.executable}"]
    words = ["make", *python, *words]
    return subprocess.run(words, cwd=folder, env=kept | environment, capture_output=True, text=True)


def python_without_venv(folder) -> str:
    """A Python that fails at `-m venv` after it made the folder, as Debian's without python3-venv does."""
    script = folder / "python"
    script.write_text(f"""\
#!/bin/bash
if [ "$2" = venv ]; then mkdir -p "$3/bin"; touch "$3/pyvenv.cfg"; exit 1; fi
exec {sys.executable} "$@"
""")
    script.chmod(0o755)
    return "PYTHON=./python"


def program(folder, text=SAY, venv=".venv"):
    """A `.venv` that counts as ready, whose Python runs `text` as a shell does: SAY shows its arguments."""
    python = folder / venv / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/bash\n{text}\n")
    python.chmod(0o755)
    (folder / venv / ".installed").touch()


@pytest.mark.slow
def test_an_environment_without_pip_is_mended(folder):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    made = make(folder, "setup")
    assert made.returncode == 0, made.stderr
    assert (folder / ".venv" / ".installed").exists()
    assert subprocess.run([folder / ".venv/bin/python", "-m", "pip", "--version"]).returncode == 0


@pytest.mark.parametrize("marked, said", [
    (False, ".venv is there and is no environment: move it away"),
    (True, ".venv cannot be mended: move it away"),
])  # fmt: skip
def test_a_folder_that_was_there_is_not_removed(folder, marked, said):
    mine = folder / ".venv" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("keep")
    if marked:
        (folder / ".venv" / "pyvenv.cfg").touch()
    made = make(folder, "setup", python_without_venv(folder))
    assert made.returncode != 0 and said in made.stdout
    assert mine.read_text() == "keep"


def test_a_failed_environment_leaves_nothing_behind(folder):
    made = make(folder, "setup", python_without_venv(folder))
    assert made.returncode != 0 and "cannot make environments" in made.stdout
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize("words, wanted", [
    (["links", "REPO=a'b c/d", 'VERSION=v"1; touch evil'],
     ["links", "--repository=a'b c/d", '--version=v"1; touch evil']),
    (["editions", "ONLY=$(touch evil) '"], ["editions", "--only=$(touch evil) '"]),
    (["run", "PIP_ARGS=--find-links \"my wheels\""], ["run"]),
    (["site"], ["site"]), (["open"], ["open"]),
])  # fmt: skip
def test_odd_words_arrive_as_they_are(folder, words, wanted):
    program(folder)
    made = make(folder, *words)
    assert made.returncode == 0, made.stderr
    *got, pip_args = made.stdout.splitlines()
    assert got == ["notebooks/source/build.py", *wanted]
    assert pip_args == "PIP_ARGS=" + ('--find-links "my wheels"' if words[0] == "run" else "")
    assert not (folder / "evil").exists()


def test_the_tests_write_beside_the_makefile(folder):
    program(folder, 'echo "$NOISE_TO_DIGITS_OUT"')
    for target in ("test", "test-fast", "test-long"):
        assert make(folder, target).stdout.splitlines()[-1] == str(folder / "out" / "smoke")


@pytest.mark.parametrize("target, said", [
    ("test", "not long"), ("test-fast", "not slow and not long"), ("test-long", "long"),
])  # fmt: skip
def test_long_tries_have_a_tier_of_their_own(folder, target, said):
    program(folder, "printf '%s\\n' \"$@\"")
    lines = make(folder, target).stdout.splitlines()
    assert lines[lines.index("-m", 1 + lines.index("pytest")) + 1] == said
    assert f"make {target}" in (ROOT / ".ci" / "run").read_text() or target == "test-fast"


@pytest.mark.parametrize(
    "words, workers", [([], "logical"), (["WORKERS=0"], "0"), (["WORKERS=2; no"], "2; no")]
)
@pytest.mark.parametrize("target", ["test", "test-fast", "test-long"])
def test_tests_run_side_by_side_with_a_thread_each(folder, target, words, workers):
    program(folder, 'printf \'%s\\n\' "$OMP_NUM_THREADS" "$@"')
    lines = make(folder, target, *words).stdout.splitlines()
    lines = lines[lines.index("pytest") - 2 :]
    assert lines[0] == "1" and lines[lines.index("-n") + 1] == workers and "--dist=loadfile" in lines


def test_trainings_are_run_from_data(folder):
    program(folder, 'echo "$@"')
    assert make(folder, "train").stdout == "-m data.experiments\n"
    assert make(folder, "bench").stdout == "-m data.experiments.bench\n"
