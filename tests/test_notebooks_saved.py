"""The course's own notebooks: in step with their sources, fresh, tidy, complete in their parts."""

import functools
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import build
from builder import numbers, saved, source
from builder.course import BuildError, Course, read_notebook
from builder.editions import stubs_text
from builder.source import tags

COURSE = Course(Path(__file__).resolve().parents[1])
NAMES = [path.stem for path in sorted(COURSE.sources.glob("[0-9][0-9]_*.py"))]
TAUGHT = [name for name in NAMES if not name.startswith("00")]  # 00 prepares, the others teach

reasons = functools.cache(build.reasons)

each_notebook = pytest.mark.parametrize("name", NAMES)
each_taught = pytest.mark.parametrize("name", TAUGHT)


def complete(name):
    notebook = read_notebook(COURSE.complete_path(name))
    assert notebook, f"notebooks/{name}.ipynb is missing: run `make editions`, then `make execute`"
    return notebook


def student(name):
    notebook = read_notebook(COURSE.student_path(name))
    assert notebook, f"notebooks/student/{name}.ipynb is missing: run `make editions`"
    return notebook


def prose(name):
    cells = source.read_source(COURSE.sources / f"{name}.py")
    return [cell.source for cell in cells if cell.cell_type == "markdown"]


def output_words(output):
    data = output.get("data", {})
    return output.get("text", "") + data.get("text/plain", "") + data.get("text/html", "")


def test_the_notebooks_are_numbered_without_a_gap():
    assert [name[:2] for name in NAMES] == [f"{i:02d}" for i in range(len(NAMES))]


@each_notebook
def test_in_step_with_its_source(name):
    out_of_step, _ = reasons(COURSE, name)
    assert not out_of_step, f"run `make editions`: {out_of_step}"


@each_notebook
def test_outputs_are_fresh(name):
    _, stale = reasons(COURSE, name)
    assert not stale, f"run `make execute`: {stale}"


def test_no_notebook_without_a_source():
    assert build.orphans(COURSE) == []


def test_stubs_are_in_step():
    assert COURSE.stubs.read_text(encoding="utf-8") == stubs_text(COURSE)


@each_notebook
def test_the_complete_edition_shows_well_anywhere(name):
    assert saved.problems(complete(name)) == []


@each_notebook
def test_the_student_edition_shows_well_anywhere(name):
    assert saved.problems(student(name)) == []


@each_notebook
def test_the_student_edition_has_no_outputs(name):
    cells = [cell for cell in student(name).cells if cell.cell_type == "code"]
    assert not [cell.id for cell in cells if cell.outputs or cell.execution_count is not None]


@each_notebook
def test_the_complete_edition_is_executed_from_top_to_bottom(name):
    cells = [cell for cell in complete(name).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


SAID = {
    "write": "right. Verified:",
    "predict": "written down",
    "break": "right. Verified:",
    "hunt": "one line is wrong",
    "answer": "found, line",
}


@each_notebook
def test_every_check_of_the_complete_edition_is_right(name):
    for cell in complete(name).cells:
        if "exercise" in cell.metadata or "of" in cell.metadata:
            words = "".join(output_words(output) for output in cell.outputs)
            assert SAID[source.kind_of(cell)] in words, f"{cell.id}: {words[:300]}"


@each_notebook
def test_each_exercise_has_its_parts_in_the_student_edition(name):
    read = source.read_source(COURSE.sources / f"{name}.py")
    exercises, answers = source.exercises(read), source.answers(read)
    cells = student(name).cells
    for i, cell in enumerate(cells):
        if "of" in cell.metadata:
            answer = answers.pop(cell.metadata["of"])
            assert cell.source == answer.student and cell.metadata.nbgrader.solution
        if "exercise" not in cell.metadata:
            continue
        exercise = exercises.pop(cell.metadata["exercise"])
        assert cell.source == exercise.student
        hints = ("Hint 1", "Hint 2") if exercise.kind == "write" else ("<summary>Hint",)
        assert all(hint in cells[i - 1].source for hint in hints), exercise.id
        if exercise.kind != "hunt":
            assert cell.metadata.nbgrader.solution
        folded = "<summary>Solution" in cells[i + 1].source
        assert folded is (exercise.kind in ("write", "break")), exercise.id
        assert not folded or exercise.solution in cells[i + 1].source
    assert not exercises and not answers, f"not in the student edition: {[*exercises, *answers]}"


@each_notebook
def test_expected_pictures_are_in_the_student_edition(name):
    wanted = [c.metadata["expected"] for c in complete(name).cells if "expected" in c.metadata]
    there = [c for c in student(name).cells if "expected_from" in c.metadata]
    assert len(wanted) == len(there)
    assert all("![](" not in c.source for c in there), "an expected picture has no alt text"


def kinds(name):
    """The kinds of a notebook's tasks; skips one of the first edition, with neither hunt nor prediction."""
    found = [e.kind for e in source.exercises(source.read_source(COURSE.sources / f"{name}.py")).values()]
    if not {"hunt", "predict"} & set(found):
        pytest.skip("its tasks are still those of the first edition")
    return found


@each_taught
def test_seven_to_ten_tasks_about_half_of_them_written(name):
    found = kinds(name)
    assert 7 <= len(found) <= 10
    assert 0.4 <= found.count("write") / len(found) <= 0.65, found


@each_taught
def test_there_is_a_hunt(name):
    assert "hunt" in kinds(name)


def test_three_tasks_to_start_with():
    for name in sorted(set(NAMES) - set(TAUGHT)):
        assert len(kinds(name)) == 3


@each_taught
def test_two_questions_with_folded_answers(name):
    assert sum(len(re.findall(r"<summary>\s*Answer", text)) for text in prose(name)) >= 2


@each_taught
def test_closes_with_its_parts(name):
    headings = " | ".join(
        line for text in prose(name) for line in text.splitlines() if line.startswith("#")
    ).lower()
    for part in ("what we learned", "self-check", "exercises", "references"):
        assert part in headings, f"no heading with {part!r}: {headings}"
    last = [c for c in complete(name).cells if c.cell_type == "code"][-1]
    assert f'check.summary("{name[:2]}")' in last.source


@each_taught
def test_opens_with_its_front_matter(name):
    opening = prose(name)[0].lower()
    for part in ("what you will be able to do", "what to know", "minutes", "cores"):
        assert part in opening, f"the first cell does not say {part!r}"


@each_notebook
def test_sections_are_numbered_and_tasks_are_headings(name):
    """In the core every section has a number, without a gap; every task stands in the contents."""
    cells = source.read_source(COURSE.sources / f"{name}.py")
    core = [c.source for c in cells if c.cell_type == "markdown" and "optional" not in tags(c)]
    found = re.findall(r"(?m)^## (\d+)\. \S", "\n".join(core))
    assert found == [str(i) for i in range(1, len(found) + 1)] and len(found) >= 6
    others = re.findall(r"(?m)^## (?!\d)(.+)$", "\n".join(core))
    assert others == ["What we learned"], others
    for cell in cells:
        if number := cell.metadata.get("exercise_text"):
            assert re.search(rf"(?m)^### Exercise {re.escape(number)}: \S", cell.source), number


@each_notebook
def test_a_reader_sees_little_code_that_only_draws(name):
    """At most a third of the lines that are not folded plot or print; what is folded says so everywhere."""
    lines = []
    for cell in complete(name).cells:
        folded = {"hide-input", "setup"} & set(tags(cell))
        if cell.cell_type == "code" and folded:
            assert cell.metadata["jupyter"]["source_hidden"] and cell.metadata["cellView"] == "form"
        elif cell.cell_type == "code":
            lines += [line for line in cell.source.splitlines() if line.strip() and line.strip()[0] != "#"]
    drawing = [line for line in lines if re.search(r"\b(ax|axes|fig|plt|show|print)\b[.(]", line)]
    assert len(drawing) <= len(lines) / 3


@each_notebook
def test_optional_cells_come_after_a_heading_of_their_own(name):
    core = True
    for cell in complete(name).cells:
        optional = "optional" in tags(cell)
        if optional and core:
            assert cell.cell_type == "markdown" and cell.source.startswith("#"), (
                f"{cell.id} opens an optional part"
            )
        core = not optional


@pytest.mark.parametrize("path", numbers.texts(COURSE), ids=lambda p: p.name)
def test_numbers_in_prose_agree_with_the_results(path):
    assert numbers.problems(COURSE, path.read_text(encoding="utf-8")) == [], "run `make numbers`"


@each_notebook
def test_percentages_in_prose_are_tied_to_a_result(name):
    """A percentage is nearly always measured: mark it (builder/numbers.py), or set it as maths."""
    for text in prose(name):
        text = numbers.MARK.sub("", text)
        text = re.sub(r"\$\$.*?\$\$|\$[^$]*\$|`[^`]*`", "", text, flags=re.DOTALL)
        assert not re.findall(r"[^\s(]*\d\s*%", text), text


# The repository -------------------------------------------------------------------------------------


def tracked_files():
    """What git tracks or would take; skips where this is no git repository."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(words, cwd=COURSE.root, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as err:
        pytest.skip(f"not a git repository: {err}")
    return [path for name in listed.decode().split("\0") if name and (path := COURSE.root / name).is_file()]


def test_the_repository_stays_small():
    files = tracked_files()
    assert sum(path.stat().st_size for path in files) < 110e6
    assert not [p for p in files if p.suffix == ".pyc" or p.suffix.startswith(".part")]


@pytest.mark.skipif(not shutil.which("git"), reason="no git here")
def test_every_clone_has_the_same_line_ends(tmp_path):
    """What git makes of the files by .gitattributes, whatever core.autocrlf says."""
    shutil.copy(COURSE.root / ".gitattributes", tmp_path)
    git = ["git", "-c", "core.autocrlf=true", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    (tmp_path / ".ci").mkdir()
    text, binary = b"a\nb\n", b"a\nb\n" * 3
    for name in (".ci/run", "a.py", "a.ipynb", "a.json"):
        (tmp_path / name).write_bytes(text)
    for suffix in {p.suffix for p in tracked_files() if b"\0" in p.read_bytes()[:8000]}:
        (tmp_path / f"binary{suffix}").write_bytes(binary)  # no zero byte: git must know it by its name
    files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True, capture_output=True)
    for path in files:
        path.unlink()
    subprocess.run([*git, "checkout", "-q", "--", "."], cwd=tmp_path, check=True)
    assert files == {p: p.read_bytes() for p in files}
    words = ["git", "check-attr", "diff", *(p.name for p in files if p.stem == "binary")]
    named = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert all(line.endswith("diff: unset") for line in named.splitlines()) and "binary.gz" in named


def test_no_absolute_machine_path_in_a_source():
    for path in [*COURSE.sources.rglob("*.py"), *COURSE.helpers.rglob("*.py")]:
        found = re.search(r"/(home|Users|root|work)/\w+", path.read_text(encoding="utf-8"))
        assert not found or path.name == "saved.py", f"{path.name} names {found[0]}"


def test_conda_and_pip_ask_for_the_same_versions():
    pins = re.findall(r"(?m)^([\w-]+)==([\w.]+)$", (COURSE.root / "requirements.txt").read_text())
    conda = re.findall(r"(?m)^  - ([\w-]+)=([\w.]+)$", (COURSE.root / "environment.yml").read_text())
    conda = {("torch" if name == "pytorch" else name, version) for name, version in conda}
    assert {pair for pair in conda if pair[0] != "python"} == set(pins)


def test_environment_yml_keeps_the_conventions_of_repo2docker():
    environment = yaml.safe_load((COURSE.root / "environment.yml").read_text())
    assert set(environment) == {"name", "channels", "dependencies"}
    assert environment["channels"] == ["conda-forge"]
    # repo2docker reads the version of Python from this form only
    python = [d for d in environment["dependencies"] if re.fullmatch(r"python=3\.\d+", d)]
    assert len(python) == 1 and python[0].split("=")[1] in ("3.11", "3.12", "3.13")
    assert all(isinstance(d, str) for d in environment["dependencies"]), "a pip: part"
    # with one of these folders repo2docker would not look at the root
    assert not [f for f in ("binder", ".binder") if (COURSE.root / f).exists()]


def test_every_requirement_is_pinned():
    lines = (COURSE.root / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line.strip() and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in wanted)


def test_every_stub_names_what_its_solution_defines():
    stubs = json.loads(COURSE.stubs.read_text(encoding="utf-8"))
    for name in NAMES:
        try:
            found = source.exercises(source.read_source(COURSE.sources / f"{name}.py"))
        except BuildError as err:
            pytest.fail(f"{name}: {err}")
        for exercise in found.values():
            if exercise.kind in ("predict", "hunt"):
                assert re.search(r"(?m)^\w+ = \.\.\.", stubs[exercise.id]), exercise.id
                continue
            assert re.search(rf"(?m)^(def|class) {exercise.name}\b", stubs[exercise.id]), exercise.id
            assert re.search(r"(?m)^\s*# TODO ", stubs[exercise.id]), f"{exercise.id}: no # TODO in its stub"
            blank = re.search(r"(?m)^\s*\.\.\.$", stubs[exercise.id])
            assert bool(blank) is (exercise.kind == "write"), exercise.id
