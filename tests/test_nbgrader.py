"""The graded notebooks in nbgrader itself: what students get, their points, their feedback.

nbgrader has an environment of its own, .venv-nbgrader: notebooks/teaching/grading.md says how to make it, and
.ci/run does. NOISE_TO_DIGITS_NBGRADER may name the folder of another one's programs. Without any these tests
are skipped.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell
from packaging.utils import canonicalize_name

from builder.course import Course, notebook_text, read_notebook, write_text
from builder.editions import nbgrader, write_grading_editions
from helpers.exercises import exercises, notebooks

ROOT = Path(__file__).resolve().parents[1]
COURSE = Course(ROOT)
NAMES = [path.stem for path in COURSE.source_paths()]
NAME = NAMES[0]  # small: what is graded here in full
PROGRAMS = Path(os.environ.get("NOISE_TO_DIGITS_NBGRADER") or ROOT / ".venv-nbgrader" / "bin")
PAGE = (COURSE.complete / "teaching" / "grading.md").read_text(encoding="utf-8")
VARIANT, HIDDEN = re.findall(r"(?ms)^```python\n(.*?)\n```$", PAGE)  # a task of one's own, and its tests
REQUIREMENTS, CONSTRAINTS = ROOT / ".ci" / "requirements-nbgrader.txt", ROOT / ".ci" / "constraints.txt"
SECONDS = 1200  # for one command, on a busy machine

needs_nbgrader = pytest.mark.skipif(
    not (PROGRAMS / "nbgrader").exists(),
    reason=f"no nbgrader in {PROGRAMS}: notebooks/teaching/grading.md says how to install it",
)


def pins(path):
    """Package -> version, of a file of requirements; of two lines with markers, the last."""
    found = re.findall(r"(?m)^([\w.-]+)==([\w.]+)", path.read_text(encoding="utf-8"))
    return {canonicalize_name(name): version for name, version in found}


def run(folder, *words):
    """Run a program of nbgrader's environment in its course folder; its output, if it succeeds."""
    dropped = ("NOISE_TO_DIGITS_", "PYTHONPATH", "JUPYTER", "MPLBACKEND")
    env = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    env["PATH"] = f"{PROGRAMS}{os.pathsep}{env['PATH']}"  # nbgrader calls alembic by its name
    env |= {"JUPYTER_PATH": str(folder / "jupyter" / "share" / "jupyter")}
    env |= {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_CONFIG_DIR": str(folder / "jupyter")}
    done = subprocess.run(
        [PROGRAMS / words[0], *words[1:]],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# All notebooks ------------------------------------------------------------------------------------

RELEASE = """
import sys
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from traitlets.config import PyFileConfigLoader

for name in sys.argv[1:]:
    config = PyFileConfigLoader("nbgrader_config.py", path=".").load_config()
    config.CourseDirectory.assignment_id = name
    GenerateAssignment(coursedir=CourseDirectory(config=config), config=config).start()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """nbgrader's course folder as grading.md makes it, its variant at the end of NAME; and the kernel."""
    folder = tmp_path_factory.mktemp("grading")
    write_grading_editions(COURSE, folder, say=lambda text: None)
    path = folder / "source" / NAME / f"{NAME}.ipynb"
    notebook = read_notebook(path)
    for code, id, worth in ((VARIANT, "variant", None), (HIDDEN, "variant-test", 3)):
        notebook.cells.append(new_code_cell(code, id=id, metadata={"nbgrader": nbgrader(id, worth)}))
    write_text(path, notebook_text(notebook))
    (folder / "helpers").symlink_to(ROOT / "helpers", target_is_directory=True)
    kernel = ("ipykernel", "install", "--prefix", folder / "jupyter", "--name", "noise-to-digits")
    subprocess.run([sys.executable, "-m", *kernel], check=True, capture_output=True, timeout=SECONDS)
    return folder


@pytest.fixture(scope="module")
def released(folder):
    """The course folder after generate_assignment: by its command for one, all others in one process."""
    run(folder, "nbgrader", "generate_assignment", NAME)
    run(folder, "python", "-c", RELEASE, *NAMES[1:])
    return folder


def graded(folder, name, step="release"):
    return {cell.id: cell for cell in read_notebook(folder / step / name / f"{name}.ipynb").cells}


@needs_nbgrader
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_students_get_is_the_student_edition_and_nothing_of_the_solutions(released, name):
    tasks = {id: task.kind for id, task in exercises(name[:2]).items()}
    cells = graded(released, name)
    student = {cell.id: cell.source for cell in read_notebook(COURSE.student_path(name)).cells}
    for id, kind in tasks.items():
        cell = f"exercise-{id}".replace(".", "-")
        hunt = kind == "hunt"  # its cell has a seed here; the answer stands in the next cell
        assert cells[f"{cell}-answer" if hunt else cell].source == student[f"{cell}-answer" if hunt else cell]
        assert (f"{cell}-test" in cells) == (kind == "write")
    text = (released / "release" / name / f"{name}.ipynb").read_text(encoding="utf-8")
    assert "SOLUTION" not in text and "YOUR CODE HERE" not in text
    assert not [cell for cell in cells if cell.endswith("-solution")]
    tests = {id: cell for id, cell in cells.items() if cell.metadata.get("nbgrader", {}).get("grade")}
    tests.pop("variant-test", None)
    worth = [cell.metadata.nbgrader.points for cell in tests.values()]
    assert worth == [1] * [*tasks.values()].count("write")


def test_the_page_says_how_many_points_there_are():
    kinds = [task.kind for number in notebooks() for task in exercises(number).values()]
    said = re.sub(r"<!--.*?-->", "", PAGE)
    assert f"{kinds.count('write')} points" in said and f"the {len(kinds)} tasks" in said


@needs_nbgrader
@pytest.mark.slow
def test_hidden_tests_are_hidden(released):
    cell = graded(released, NAME)["variant-test"]
    assert cell.source == HIDDEN.splitlines()[0]
    assert "manual_seed(81)" in HIDDEN and "clamp" not in graded(released, NAME)["variant"].source


# Submissions --------------------------------------------------------------------------------------

OTHERWISE = "    half = top / 2\n    return (pixels - half) / half"
MISTAKE = "variance for standard deviation"
SQUARED = """\
    noise = torch.randn(x.shape, generator=generator)
    return x + sigma**2 * noise"""
BY_HAND = """\
    left = [max(1 - t / T, 0) ** p for t in range(T + 1)]
    steps = [min(1 - now / before, 0.999) for before, now in zip(left, left[1:])]
    return torch.tensor([0.0] + steps)"""
FORGERY = """\
class AlwaysRight(dict):
    def __getitem__(self, id):
        import types
        return types.SimpleNamespace(state="right", mistake="")
check.verdicts = AlwaysRight()
"""

POINTS = """
import json, sys
from nbgrader.api import Gradebook

with Gradebook("sqlite:///gradebook.db") as book:
    points = {
        handed_in.student.id: {
            grade.name: [grade.score, grade.max_score, grade.needs_manual_grade]
            for notebook in handed_in.notebooks for grade in notebook.grades
        }
        for handed_in in book.assignment_submissions(sys.argv[1])
    }
print(json.dumps(points))
"""


def hand_in(folder, student, step, edit=lambda cells: cells):
    """Hand in what stands in the folder of a `step`, edited: `edit` gets and returns the list of cells."""
    notebook = read_notebook(folder / step / NAME / f"{NAME}.ipynb")
    notebook.cells = edit(notebook.cells)
    path = folder / "submitted" / student / NAME / f"{NAME}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def fill(cells, cell, body):
    """Write `body` in the place of the dots of a cell."""
    chosen = next(each for each in cells if each.id == cell)
    assert len(re.findall(r"(?m)^    \.\.\.$", chosen.source)) == 1
    chosen.source = re.sub(r"(?m)^    \.\.\.$", lambda dots: body, chosen.source)


def answer_in_part(cells):
    """The first task right, its test cell deleted; a known mistake in the second; the variant right."""
    fill(cells, "exercise-0-1", OTHERWISE)
    fill(cells, "exercise-0-2", SQUARED)
    fill(cells, "variant", BY_HAND)
    return [cell for cell in cells if cell.id != "exercise-0-1-test"]


def forge(cells):
    chosen = next(each for each in cells if each.id == "exercise-0-1")
    chosen.source = FORGERY + chosen.source
    return cells


@pytest.fixture(scope="module")
def marked(released):
    """The course folder after four students were graded and given feedback."""
    hand_in(released, "reference", "source")
    hand_in(released, "stubs", "release")
    hand_in(released, "part", "release", answer_in_part)
    hand_in(released, "forger", "release", forge)
    run(released, "nbgrader", "autograde", NAME)
    run(released, "nbgrader", "generate_feedback", NAME)
    return released


@pytest.fixture(scope="module")
def points(marked):
    return json.loads(run(marked, "python", "-c", POINTS, NAME))


def by_task(first, second, variant):
    """What the gradebook holds for these points: [points, of how many, to be looked at by hand]."""
    found = {"exercise-0-1-test": [first, 1, False], "exercise-0-2-test": [second, 1, False]}
    return found | {"variant-test": [variant, 3, False]}


def feedback(folder, student):
    """The words of a student's feedback page."""
    page = (folder / "feedback" / student / NAME / f"{NAME}.html").read_text(encoding="utf-8")
    page = re.sub(r"(?s)<(script|style).*?</\1>", "", page)
    return unescape(re.sub(r"<[^>]+>", "", page))


@needs_nbgrader
@pytest.mark.slow
@pytest.mark.parametrize(
    "student, wanted", [("reference", (1, 1, 3)), ("stubs", (0, 0, 0)), ("part", (1, 0, 3))]
)
def test_points(points, student, wanted):
    assert points[student] == by_task(*wanted)


@needs_nbgrader
@pytest.mark.slow
def test_whoever_writes_into_check_gets_points(points):
    """Not held: a submission runs in the kernel that grades it. `make report` judges it from outside."""
    assert points["forger"] == by_task(1, 1, 0)


@needs_nbgrader
@pytest.mark.slow
def test_feedback_names_the_mistake_and_says_what_check_says(marked):
    assert MISTAKE in [mistake.name for mistake in exercises("00")["0.2"].mistakes]
    said = feedback(marked, "part")
    assert f"AssertionError: {MISTAKE}" in said and "Do not square it." in said
    assert "(Score: 4.0 / 5.0)" in said and said.count("AssertionError: ") == 1
    assert feedback(marked, "stubs").count("AssertionError: not attempted") == 2
    assert "AssertionError" not in feedback(marked, "reference")


@needs_nbgrader
@pytest.mark.slow
def test_one_students_answers_are_not_kept_for_the_next(marked):
    assert not (marked / "my-work").exists()
    assert not list(marked.glob("autograded/**/answers.json"))


# What is installed --------------------------------------------------------------------------------


def test_what_nbgrader_needs_besides_is_pinned_once():
    wanted = pins(REQUIREMENTS)
    assert wanted["nbgrader"] == "0.9.6" and not set(wanted) & set(pins(CONSTRAINTS))
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(wanted)


@needs_nbgrader
def test_its_environment_has_the_pinned_versions():
    said = subprocess.run(
        [PROGRAMS / "python", "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
        capture_output=True, text=True, timeout=SECONDS, check=True,
    ).stdout  # fmt: skip
    there = {canonicalize_name(each["name"]): each["version"] for each in json.loads(said)}
    known = pins(CONSTRAINTS) | pins(REQUIREMENTS)
    wrong = [f"{name} {there[name]}" for name in there if name != "pip" and known.get(name) != there[name]]
    if wrong and "CI" not in os.environ:
        pytest.skip(f"not made by .ci/run, and different: {', '.join(wrong)}")
    assert not wrong


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
def test_where_it_cannot_be_installed_ci_goes_on(tmp_path):
    """The lines of .ci/run about nbgrader, with a Python that makes an environment and a pip that fails."""
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    lines = re.search(r"(?ms)^nbgrader=.*?skipped\"; }$", text)[0]
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    made = 'mkdir -p "$3/bin"; printf "#!/bin/bash\\nexit 1\\n" > "$3/bin/python"; chmod +x "$3/bin/python"'
    python.write_text(f"#!/bin/bash\n{made}\n")
    python.chmod(0o755)
    env = {key: value for key, value in os.environ.items() if key != "VENV"}
    script = f"set -euo pipefail\n{lines}\necho went on"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "went on", done.stderr
    assert "its test will be skipped" in done.stdout and not (tmp_path / ".venv-nbgrader").exists()
