"""The contributor's kit: make new, the house rules and what they name, issue forms, citation, CI."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import toy_course
from builder import links, new
from builder.course import BuildError, Course

COURSE = Course(Path(__file__).resolve().parents[1])
RULES = COURSE.root / ".github" / "CONTRIBUTING.md"
FORMS = sorted((COURSE.root / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
PROJECT = tomllib.loads((COURSE.root / "pyproject.toml").read_text(encoding="utf-8"))


# make new -------------------------------------------------------------------------------------------


def copy_course(root: Path) -> Course:
    """A copy of the course under `root` that may be changed; what is large and only read is linked to."""
    leave_out = shutil.ignore_patterns("__pycache__", "MNIST", "FashionMNIST", "checkpoints", "gallery")
    for name in ("helpers", "notebooks", "tests", "data", ".github"):
        shutil.copytree(COURSE.root / name, root / name, ignore=leave_out)
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(COURSE.root / name, root / name)
    for name in ("MNIST", "FashionMNIST", "checkpoints", "gallery"):
        (root / "data" / name).symlink_to(COURSE.root / "data" / name)
    return Course(root)


def run(course: Course, *words: str) -> str:
    """What Python prints for these words in the folder of `course`; it has to succeed."""
    words = [sys.executable, "-B", *words]
    done = subprocess.run(words, cwd=course.root, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.slow
def test_a_new_notebook_builds_runs_and_passes_its_tests(tmp_path):
    number = next(n for n in (f"{i:02d}" for i in range(100)) if not COURSE.exercise_specs(n).exists())
    course, build = copy_course(tmp_path), "notebooks/source/build.py"
    said = run(course, build, "new", "--", number, "Straight paths")
    name = f"{number}_straight_paths"
    written = [f"notebooks/source/{name}.py", f"helpers/exercises/nb{number}.py", f"tests/test_nb{name}.py"]
    assert all(f"wrote {path}" in said for path in written), said
    run(course, "-m", "ruff", "check", *written)
    run(course, "-m", "ruff", "format", "--check", *written[1:])
    run(course, build, "execute", "--only", number)
    run(course, build, "numbers")
    assert "in step and fresh" in run(course, build, "check", "--only", number)
    run(course, build, "run", "--only", number, "--mode", "smoke", "--out", str(tmp_path / "out"))
    about_it = f"({name} or nb{number} or [{number}] or forms or tables or offers) and not slow"
    tests = ["exercises", "kit", "links", "notebooks_saved", "sliders", "slides", "teaching", f"nb{name}"]
    files = [f"tests/test_{part}.py" for part in tests]
    said = run(course, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", about_it)
    assert int(re.search(r"(\d+) passed", said)[1]) > 60, said
    rows = [
        line.count("|")
        for line in (course.root / "README.md").read_text().splitlines()
        if re.search(r"\(notebooks/\d\d_", line)
    ]
    assert len(set(rows[-2:])) == 1, "the new row of the README has another number of columns"


@pytest.mark.parametrize(
    "number, title, said",
    [
        ("01", "Straight paths", "01 is taken by 01_toy.py: the first free number is 00"),
        ("9", "Straight paths", "write two digits"),
        ("123", "Straight paths", "write two digits"),
        ("", "Straight paths", "write two digits"),
        ("nn", "Straight paths", "write two digits"),
        ("02", "Straight paths", "helpers/exercises/nb02.py is there already"),
        ("03", "", "a notebook needs a title"),
        ("03", "  ", "a notebook needs a title"),
        ("03", "../escape", "'/' in it"),
        ("03", "a\\b", "in it"),
        ("03", "two\nlines", "in it"),
        ("03", "a | b", "'|' in it"),
        ("03", "???", "no file can be named"),
        ("03", ": why", "no file can be named"),
    ],
)
def test_a_bad_number_or_title_is_refused_in_one_sentence(tmp_path, number, title, said):
    course = toy_course.make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BuildError, match=re.escape(said)) as refused:
        new.write_skeleton(course, number, title)
    assert "\n" not in str(refused.value) and sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "title, name",
    [
        ("Straight paths", "straight_paths"),
        ("Straight paths: why not?", "straight_paths"),
        ("Bézier's curves", "bezier_s_curves"),
        ("One two three four five six seven eight nine ten", "one_two_three_four_five_six_seven_eight"),
    ],
)
def test_a_file_is_named_after_the_words_of_the_title(title, name):
    assert new.name_file(title) == name


# The rules ------------------------------------------------------------------------------------------


def named_checks():
    """The checks that the table of rules names: (file, function or None)."""
    found, path = [], None
    rules = RULES.read_text(encoding="utf-8").split("## The house rules")[1].split("\n## ")[0]
    for word in re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?|::\w+)`", rules):
        file, _, function = word.partition("::")
        path = file or path
        found.append((path, function or None))
    return found


def test_every_check_that_the_rules_name_exists():
    checks = named_checks()
    assert len(checks) > 20
    for path, function in checks:
        assert (COURSE.root / path).exists(), f"{RULES.name} names {path}"
        text = (COURSE.root / path).read_text(encoding="utf-8")
        assert function is None or f"\ndef {function}(" in text, f"{RULES.name} names {path}::{function}"


def make_targets():
    makefile = (COURSE.root / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"(?m)^([a-z-]+):.*##", makefile)) - {"help"}


def test_every_make_command_named_exists_and_has_its_line_without_make():
    text = RULES.read_text(encoding="utf-8")
    named, without = (
        set(re.findall(r"make ([a-z-]+)", text)),
        set(re.findall(r"(?m)^\| `make ([a-z-]+)", text)),
    )
    assert without == make_targets()
    assert without <= named


# Issue forms, citation, CI --------------------------------------------------------------------------


@pytest.mark.parametrize("path", FORMS, ids=lambda p: p.stem)
def test_the_forms_name_the_notebooks_there_are(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    (options,) = [part["attributes"]["options"] for part in form["body"] if part["type"] == "dropdown"]
    names = [p.stem for p in COURSE.source_paths()]
    assert options[: len(names)] == names and len(options) <= len(names) + 1
    assert path in new.forms(COURSE), "without the two comments around its list, make new cannot add to it"


@pytest.mark.parametrize("path", FORMS, ids=lambda p: p.stem)
def test_a_form_has_what_github_asks_for(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(form) <= {"name", "description", "title", "labels", "body"}
    assert form["name"] and form["description"]
    asked = [part for part in form["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in asked}) == len(asked) and all(
        part["attributes"]["label"] for part in asked
    )


def test_there_are_three_forms():
    assert len(FORMS) == 3


def test_the_citation_is_that_of_pyproject():
    citation = yaml.safe_load((COURSE.root / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["project"]["version"]
    repository = PROJECT["tool"]["noise-to-digits"]["repository"]
    assert citation["repository-code"] == f"https://github.com/{repository}", "run `make links`"
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_a_fork_has_its_own_address_in_the_citation(tmp_path):
    course = toy_course.make(tmp_path)
    (tmp_path / "CITATION.cff").write_text("repository-code: https://github.com/a/b\nversion: 1\n")
    assert "CITATION.cff" in links.write_links(course, "eve/fork", None)
    assert (tmp_path / "CITATION.cff").read_text() == (
        "repository-code: https://github.com/eve/fork\nversion: 1\n"
    )


def test_the_changelog_has_this_version():
    text = (COURSE.root / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^## ([\d.]+)", text)[0] == PROJECT["project"]["version"]


def test_ci_runs_what_the_course_is_written_for():
    ci = yaml.safe_load((COURSE.root / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    linux, smoke = ci["jobs"]["linux"], ci["jobs"]["smoke"]
    lowest, end = re.findall(r"3\.(\d+)", PROJECT["project"]["requires-python"])
    assert linux["strategy"]["matrix"]["python"] == [f"3.{v}" for v in range(int(lowest), int(end))]
    assert any(step.get("run") == ".ci/run" for step in linux["steps"])
    commands = re.findall(
        r"(?m)^(?:exec )?make (\S+)", (COURSE.root / ".ci" / "run").read_text(encoding="utf-8")
    )
    assert commands == ["setup", "test", "test-long"]
    assert set(smoke["strategy"]["matrix"]["os"]) == {"windows-latest", "macos-latest"}
    assert not [step for step in smoke["steps"] if "make" in step.get("run", "")], "Windows has no make"
