"""Building notebooks from a source: a made-up course, right ones and wrong ones."""

import ast
import base64
import io
import json
import re

import nbformat
import pytest
from PIL import Image

import build
import toy_course
from builder import editions, numbers, saved, source, start
from builder.course import BuildError, read_notebook, write_text
from builder.fingerprint import artifacts, fingerprint, helper_files, strip_comments
from toy_course import KINDS, NAME, SOURCE, edit


@pytest.fixture
def course(tmp_path):
    return toy_course.make(tmp_path)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The made-up course, executed once; tests must not change it."""
    course = toy_course.make(tmp_path_factory.mktemp("executed"))
    assert build.main(["--root", str(course.root), "execute"]) == 0
    return course


def copy(course, tmp_path):
    """A copy of an executed course that a test may change."""
    new = toy_course.make(tmp_path)
    for path in (course.complete_path(NAME), course.student_path(NAME), course.stubs):
        write_text(new.root / path.relative_to(course.root), path.read_text())
    return new


def command(course, *words):
    return build.main(["--root", str(course.root), *words])


def code(notebook, cell_id):
    return next(cell for cell in notebook.cells if cell.id == cell_id)


# Editions -----------------------------------------------------------------------------------------


def test_complete_edition_shows_the_solution_without_markers(course):
    editions.write_editions(course)
    cell = code(read_notebook(course.complete_path(NAME)), "exercise-1-1")
    assert cell.source.splitlines()[2:4] == ["    y = double(x)", "    return y + 1"]
    assert "SOLUTION" not in cell.source and cell.source.endswith('line = check("1.1", line)')
    assert "nbgrader" not in cell.metadata


def test_student_edition_has_stub_folded_solution_and_nbgrader_metadata(course):
    editions.write_editions(course)
    notebook = read_notebook(course.student_path(NAME))
    cell = code(notebook, "exercise-1-1")
    assert cell.source == 'def line(x):\n    # TODO 1.1: the line\n    ...\nline = check("1.1", line)'
    kinds = {"solution": True, "grade": False, "locked": False, "task": False, "schema_version": 3}
    assert cell.metadata.nbgrader == {"grade_id": "exercise-1-1", **kinds}
    solution = code(notebook, "exercise-1-1-solution").source
    assert (
        solution.startswith("<details>") and "    return y + 1\n```" in solution and "check(" not in solution
    )
    assert not any(c.outputs for c in notebook.cells if c.cell_type == "code")


def test_stubs_say_what_an_unfilled_cell_says(course):
    editions.write_editions(course)
    stubs = json.loads(course.stubs.read_text())
    assert stubs == {"1.1": "def line(x):\n    # TODO 1.1: the line\n    ..."}
    write_text(course.stubs, json.dumps({"1.9": "gone", "2.1": "of another notebook"}))
    editions.write_editions(course, only="1")
    assert json.loads(course.stubs.read_text()) == {"1.1": stubs["1.1"], "2.1": "of another notebook"}


def graded(course):
    """What `editions --grading` makes of the toy, cell by cell."""
    assert command(course, "editions", "--grading") == 0
    path = course.root / "out" / "grading" / "source" / NAME / f"{NAME}.ipynb"
    return {cell.id: cell for cell in read_notebook(path).cells}


def test_grading_edition_has_a_test_cell_and_its_solution_between_the_markers(course):
    """nbgrader empties a solution cell in which it finds no markers: the whole cell, `check` and all."""
    cells = graded(course)
    lines = cells["exercise-1-1"].source.splitlines()
    inside = lines[lines.index("    ### BEGIN SOLUTION") + 1 : lines.index("    ### END SOLUTION")]
    assert inside == ["    y = double(x)", "    return y + 1"] and lines[-1] == 'line = check("1.1", line)'
    assert cells["exercise-1-1"].metadata.nbgrader.solution
    test = cells["exercise-1-1-test"].metadata.nbgrader
    assert test.grade and test.locked and test.points == 1 and not test.solution
    assert [*cells].index("exercise-1-1-test") == [*cells].index("exercise-1-1") + 1
    assert not [name for name in cells if name.endswith("-solution")]
    assert not course.student_path(NAME).exists()


def test_grading_edition_has_the_first_cell_and_no_badges(course):
    cells = graded(course)
    assert 'os.environ.setdefault("NOISE_TO_DIGITS_MINE"' in cells["bootstrap"].source
    assert "colab" not in cells["a-toy-0"].source.lower()


def test_the_settings_for_nbgrader_stand_beside_the_grading_editions(course):
    assert command(course, "editions", "--grading") == 0
    settings = (course.root / "out" / "grading" / "nbgrader_config.py").read_text()
    names = {name for node in ast.walk(ast.parse(settings)) if (name := getattr(node, "attr", None))}
    assert {"code_stub", "kernel_name", "timeout", "add_missing_cells"} <= names


def test_two_solutions_in_one_cell(course):
    parsed = source.parse_exercise(
        "1.1",
        "class A:\n"
        "    def f(self):\n        ### BEGIN SOLUTION\n        return 1\n        ### END SOLUTION\n\n"
        "    def g(self):\n        ### BEGIN SOLUTION\n        return 2\n        ### END SOLUTION\n\n"
        'A = check(\n    "1.1",\n    A,\n)',
    )
    assert parsed.stub == "class A:\n    def f(self):\n        ...\n\n    def g(self):\n        ..."
    assert parsed.name == "A" and parsed.solution.endswith("return 2")


def test_building_again_changes_nothing(executed, capsys):
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in executed.root.rglob("*.ipynb")}
    assert command(executed, "editions") == 0
    assert capsys.readouterr().out == "nothing changed\n"
    assert before == {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in executed.root.rglob("*.ipynb")}
    assert command(executed, "check") == 0


def test_ids_are_readable_and_an_insertion_moves_only_its_section(course):
    cells = source.read_source(course.sources / f"{NAME}.py")
    ids = editions.cell_ids(cells)
    assert ids[:5] == ["a-toy-0", "a-toy-1", "a-line-0", "exercise-1-1", "a-line-1"]
    cells.insert(1, nbformat.v4.new_markdown_cell("more"))
    assert editions.cell_ids(cells)[4:] == ids[3:]


def test_a_changed_cell_loses_its_output_and_the_others_keep_theirs(executed, tmp_path):
    course = copy(executed, tmp_path)
    edit(course.sources / f"{NAME}.py", 'print("10%', 'print("20%')
    editions.write_editions(course)
    before, after = read_notebook(executed.complete_path(NAME)), read_notebook(course.complete_path(NAME))
    assert code(before, "results-1").outputs and code(after, "results-1").outputs == []
    assert code(after, "results-1").execution_count is None
    assert code(after, "a-line-1").outputs == code(before, "a-line-1").outputs != []


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_text(path, "old")
    monkeypatch.setattr("os.replace", lambda *a: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="could not write file: no space left.*untouched"):
        write_text(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


# The other kinds ----------------------------------------------------------------------------------


def test_a_prediction_a_break_and_a_hunt_in_both_editions(tmp_path):
    course = toy_course.make_kinds(tmp_path)
    assert command(course, "editions") == 0
    complete, student = (
        {cell.id: cell for cell in read_notebook(path).cells}
        for path in (course.complete_path(NAME), course.student_path(NAME))
    )
    todo = "# TODO 1.2: the line at 1, and at 2"
    assert complete["exercise-1-2"].source == f'{todo}\nguess = 3, 5\ncheck.predict("1.2", guess)'
    assert student["exercise-1-2"].source == f'{todo}\nguess = ...\ncheck.predict("1.2", guess)'
    shown, asked = complete["exercise-1-3"].source, student["exercise-1-3"].source
    assert "    if x > 1:\n        return line(x)\n    return 0\n" in shown and "given" not in shown
    assert asked == shown.replace("x > 1", "x > 0").replace('why = "b"', "why = ...")
    assert asked.endswith('why = ...  # "a" or "b"\nbent = check.changed("1.3", bent, why)')
    assert complete["exercise-1-10"].source == student["exercise-1-10"].source == 'check.hunt("1.10")'
    assert "line_number = 2   # TODO" in complete["exercise-1-10-answer"].source
    assert "line_number = ...   # TODO" in student["exercise-1-10-answer"].source
    folded = {name for name in student if name.endswith("-solution")}
    assert folded == {"exercise-1-1-solution", "exercise-1-3-solution"}
    assert "if x > 1" in student["exercise-1-3-solution"].source
    graded = {name for name, cell in student.items() if "nbgrader" in cell.metadata}
    assert graded == {"exercise-1-1", "exercise-1-2", "exercise-1-3", "exercise-1-10-answer"}
    stubs = json.loads(course.stubs.read_text())
    assert list(stubs) == ["1.1", "1.2", "1.3", "1.10"]
    assert stubs["1.2"] == f"{todo}\nguess = ..." and stubs["1.10"].startswith("line_number = ...")
    assert stubs["1.3"].startswith("def bent(x):") and "x > 0" in stubs["1.3"] and "why" not in stubs["1.3"]


def test_points_are_for_what_is_written(tmp_path):
    """And nbgrader leaves alone what has none: predictions, breaks and hunts are as the student gets them."""
    course = toy_course.make_kinds(tmp_path)
    cells = graded(course)
    assert [name for name in cells if name.endswith("-test")] == ["exercise-1-1-test"]
    assert [name for name in cells if "nbgrader" in cells[name].metadata] == [
        "exercise-1-1",
        "exercise-1-1-test",
    ]
    assert command(course, "editions") == 0
    student = {cell.id: cell.source for cell in read_notebook(course.student_path(NAME)).cells}
    for name in ("exercise-1-2", "exercise-1-3", "exercise-1-10-answer"):
        assert cells[name].source == student[name]


def test_the_hunts_of_a_grading_edition_have_a_seed_for_all(tmp_path):
    cells = graded(toy_course.make_kinds(tmp_path))
    assert cells["exercise-1-10"].source == 'check.hunt("1.10", seed=1)'


def test_what_mistakes_json_says_of_a_hunt_counts_in_the_fingerprint(tmp_path):
    course = toy_course.make_kinds(tmp_path)
    notebook = editions.complete_edition(source.read_source(course.sources / f"{NAME}.py"))
    path, found = course.helpers / "exercises" / "mistakes.json", []
    for entry in ({"name": "line"}, {"kind": "hunt", "name": "a"}, {"kind": "hunt", "name": "b"}):
        path.write_text(json.dumps({"1.10": entry, "2.1": {"kind": "hunt"}}))
        found.append(fingerprint(course, NAME, notebook))
    assert len({json.dumps(parts) for parts in found}) == 3
    assert "helpers/exercises/mistakes.json" not in found[0]


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('kind="predict"', 'kind="guess"', 'has kind="guess", which is none of write'),
        ('kind="predict" ', "", "must end with  name = check("),
        ('kind="predict"', 'kind="break"', 'kind="break" here, "predict" in nb01.py'),
        ("guess = 3, 5\n", "guess = 3\nmore = 5\n", "a prediction is one line"),
        ('check.predict("1.2", guess)', 'check.predict("1.3", guess)', 'not "1.2"'),
        ('check.predict("1.2", guess)', 'x = check.predict("1.2", guess)', "must end with"),
        ('check.truth("1.2"', 'check.truth("1.3"', 'no cell behind it has check.truth("1.2", ...)'),
        ("<details><summary>Hint<", "<details><summary>Help<", "1.2: no <details><summary>Hint"),
        ("# given: if", "# here: if", "must stand the line that is given"),
        ('why = "b"', 'why = "bb"', 'needs one line  why = "b"'),
        ('why = "b"  # "a" or "b"\n', "", 'needs one line  why = "b"'),
        ('bent = check.changed("1.3", bent, why)', 'check.changed("1.3", bent, why)', "must end with"),
        ('check.hunt("1.10")', 'check.hunt("1.10", 3)', 'must end with  check.hunt("1.10")'),
        (' of="1.10"', "", "needs both"),
        (' kind="answer"', "", "needs both"),
        ('kind="answer" of="1.10"', 'kind="answer" of="1.2"', 'of="1.2" but there is no hunt 1.2'),
        ('kind="answer" of="1.10" ', "", "1.10: behind it must stand the cell of its answer"),
        ("line_number = 2 ", "line_number = two ", "needs one line  line_number = 4"),
    ],
)
def test_a_wrong_task_is_refused(tmp_path, capsys, old, new, message):
    assert old in KINDS
    course = toy_course.make_kinds(tmp_path, KINDS.replace(old, new, 1))
    assert command(course, "editions") == 1
    assert message in capsys.readouterr().err


def test_an_expected_picture_uses_what_stands_above(tmp_path, capsys):
    wrong = SOURCE.replace("for x in range(9)])", "for x in range(later)])").replace(
        "print(load", "later = 9\nprint(load"
    )
    course = toy_course.make(tmp_path, wrong)
    assert command(course, "editions") == 1
    assert "1.1: its expected picture uses `later`, which nothing above makes" in capsys.readouterr().err


def test_cells_of_tasks_are_not_counted(tmp_path):
    cells = source.read_source(toy_course.make_kinds(tmp_path).sources / f"{NAME}.py")
    texts = [source.first_line(cell) for cell in cells if not source.of_a_task(cell)]
    assert texts == ["# A toy", "import sys", "## Results", 'print("noise", file=sys.stderr)',
                     "## Looking inside", '(Path.cwd() / "dirt").exists()',
                     'check.truth("1.2", [line(1), line(2)])']  # fmt: skip


# Executing ----------------------------------------------------------------------------------------


def test_saved_outputs_are_tidy(executed):
    notebook = read_notebook(executed.complete_path(NAME))
    assert saved.problems(notebook) == []
    (output,) = code(notebook, "results-1").outputs
    assert output.text == "100%\n{'inside': 0.9412, 'runs': [1, 2]}\n"
    assert notebook.metadata.language_info.get("version") is None
    assert "1.1 right" in code(notebook, "exercise-1-1").outputs[0].text


def test_expected_picture_is_folded_small_and_keeps_its_alt_text(executed):
    notebook = read_notebook(executed.student_path(NAME))
    cell = code(notebook, "exercise-1-1-expected")
    assert "![A grey stripe brighter to the right](data:image/png;base64," in cell.source
    order = [c.id for c in notebook.cells]
    assert order.index(cell.id) + 1 == order.index("a-line-1")
    small = base64.b64decode(re.search("base64,([^)]+)", cell.source)[1])
    assert Image.open(io.BytesIO(small)).size == (480, 16)  # from 900 x 30
    from nbconvert import HTMLExporter

    page = HTMLExporter().from_notebook_node(notebook)[0]
    assert re.search(
        r'Expected picture</summary>\s*<p><img alt="A grey stripe[^"]*" src="data:image/png', page
    )


def test_expected_picture_is_reused_where_its_original_is_the_same(executed, tmp_path, monkeypatch):
    course = copy(executed, tmp_path)
    monkeypatch.setattr(editions, "_shrink", lambda png: b"another compression")
    assert editions.write_editions(course) == []


def test_a_failing_cell_is_named_and_nothing_is_saved(executed, tmp_path, capsys):
    course = copy(executed, tmp_path)
    before = course.complete_path(NAME).read_text()
    edit(course.sources / f"{NAME}.py", 'print("noise", file=sys.stderr)', "1 / 0")
    assert command(course, "execute") == 1
    printed = capsys.readouterr()
    assert "ZeroDivisionError" in printed.out and "nothing was saved" in printed.out
    assert f"not executed: {NAME}" in printed.err
    assert course.complete_path(NAME).read_text() == before


def test_seconds_are_kept_for_the_notebook_and_its_slow_code_cells(executed, tmp_path):
    source = toy_course.SOURCE.replace("print(load", "import time\ntime.sleep(0.6)\nprint(load")
    course = toy_course.make(tmp_path, source)
    assert command(course, "execute") == 0
    kept = json.loads((course.results / "notebook_seconds.json").read_text())["01"]
    assert kept["all"] >= 1 and 0.6 <= kept["cells"]["results-1"] < 5
    codes = {cell.id for cell in read_notebook(course.complete_path(NAME)).cells if cell.cell_type == "code"}
    assert set(kept["cells"]) <= codes


@pytest.mark.slow
def test_run_leaves_notebooks_and_a_site_in_out_and_the_tree_alone(executed, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PIP_ARGS", "--no-index")  # pip finds nothing: as without a network
    course = copy(executed, tmp_path)
    before = {p: p.read_bytes() for p in course.complete.rglob("*") if p.is_file()}
    out = tmp_path / "out"
    assert command(course, "run", "--mode", "smoke", "--out", str(out)) == 0
    said, page = capsys.readouterr().out, (out / "site" / f"{NAME}.html").read_text(encoding="utf-8")
    assert f"[1/1] {NAME}: 9 cells" in said and "MathJax could not be fetched" in said
    assert f"open {out / 'index.html'} in a browser" in said and "to put right" not in said
    assert 'alt="A grey stripe [brighter to the right]"' in page and 'integrity="sha384-' in page
    assert {p.name for p in out.iterdir()} == {f"{NAME}.ipynb", "site", "index.html"}
    assert before == {p: p.read_bytes() for p in course.complete.rglob("*") if p.is_file()}


def test_widgets_and_progress_bars_leave_nothing():
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "interactive(...)"}
    cell = nbformat.v4.new_code_cell(
        "x",
        outputs=[
            nbformat.v4.new_output("display_data", data=widget),
            nbformat.v4.new_output("stream", name="stdout", text="a\n 1%\r 50%"),
            nbformat.v4.new_output("stream", name="stderr", text="|###|"),
            nbformat.v4.new_output("stream", name="stdout", text="\nb\n"),
        ],
        metadata={"execution": {"iopub.status.busy": "now"}},
    )
    notebook = editions.notebook_of([cell])
    notebook.metadata["widgets"] = {"state": {}}
    from builder.execute import tidy

    assert tidy(notebook) == [f"{cell.id}: |###|"]
    assert [o.text for o in cell.outputs] == ["a\n 50%\nb\n"]
    assert "widgets" not in notebook.metadata and "execution" not in cell.metadata


# Staleness ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file, old, new, word",
    [
        ("helpers/maths.py", "2 * x", "x * 2", "helpers/maths.py changed"),
        ("helpers/places.py", '"results"', "'results'", "helpers/places.py changed"),
        ("helpers/exercises/__init__.py", "7", "7.0", "helpers/exercises/__init__.py changed"),
        ("helpers/exercises/nb01.py", '"line"', '"a line"', "helpers/exercises/nb01.py changed"),
        ("data/results/toy.json", "0.9412", "0.9413", "data/results/toy.json changed"),
        ("notebooks/source/01_toy.py", 'print("10%', 'print("20%', "code changed"),
    ],
)
def test_a_change_is_named(executed, tmp_path, capsys, file, old, new, word):
    course = copy(executed, tmp_path)
    edit(course.root / file, old, new)
    assert command(course, "check") == 1
    assert f"{NAME}: outputs are stale: {word}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "file, old, new",
    [
        ("helpers/maths.py", "# twice", "# two times"),
        ("helpers/maths.py", '"""Twice."""', '"""Two times\n\n    what it gets.\n    """'),
        ("helpers/unused.py", "x = 1", "x = 2"),
        ("helpers/exercises/nb02.py", "[]", "[1]"),
    ],
)
def test_what_cannot_change_an_output_is_not_named(executed, tmp_path, file, old, new):
    course = copy(executed, tmp_path)
    edit(course.root / file, old, new)
    assert command(course, "check") == 0


def test_line_ends_are_no_change(executed, tmp_path, capsys):
    """A clone in which git made every line end CRLF."""
    course = copy(executed, tmp_path)
    start.start(course, course.root / "my-work")
    files = [p for p in course.root.rglob("*") if p.is_file()]
    for path in files:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    before = {path: path.read_bytes() for path in files}
    capsys.readouterr()
    assert command(course, "check") == 0
    assert command(course, "editions") == 0 and "nothing changed" in capsys.readouterr().out
    start.start(course, course.root / "my-work")
    assert "a newer one" not in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in files}


def test_prose_out_of_step_is_named_with_its_cell(executed, tmp_path, capsys):
    course = copy(executed, tmp_path)
    edit(course.sources / f"{NAME}.py", "# # A toy\n#\n", "# # A toy\n#\n# More prose.\n#\n")
    assert command(course, "check") == 1
    printed = capsys.readouterr().out
    assert f"notebooks/{NAME}.ipynb differs from the source (cells a-toy-0)" in printed
    assert f"notebooks/student/{NAME}.ipynb differs" in printed and "stale" not in printed


def test_an_edited_notebook_a_missing_one_and_an_orphan_are_named(executed, tmp_path, capsys):
    course = copy(executed, tmp_path)
    edit(course.complete_path(NAME), "y = double(x)", "y  = double(x)")
    course.student_path(NAME).rename(course.student / "09_old.ipynb")
    assert command(course, "check") == 1
    printed = capsys.readouterr().out
    assert "exercise-1-1" in printed and f"student/{NAME}.ipynb is missing" in printed
    assert "09_old.ipynb has no source" in printed


def test_a_missing_artifact_counts_as_changed(executed, tmp_path, capsys):
    course = copy(executed, tmp_path)
    (course.root / "data/results/toy.json").unlink()
    assert command(course, "check") == 1
    assert "data/results/toy.json is missing" in capsys.readouterr().out


def test_execute_stale_leaves_fresh_notebooks_alone(executed, capsys):
    assert command(executed, "execute", "--stale") == 0
    assert f"{NAME}: fresh" in capsys.readouterr().out


def test_fingerprint_follows_imports_and_artifacts(course):
    cells = source.read_source(course.sources / f"{NAME}.py")
    parts = fingerprint(course, NAME, editions.complete_edition(cells))
    assert set(parts) == {
        "code",
        "data/results/toy.json",
        "helpers/__init__.py",
        "helpers/exercises/__init__.py",
        "helpers/exercises/nb01.py",
        "helpers/maths.py",
        "helpers/places.py",
        "helpers/show.py",
    }


def test_artifacts_by_name_and_by_pattern(course):
    code = 'load_model(f"net_{m}min"); checkpoints.load_images("grid"); load_results("toy")'
    table = 'load_model({1: "judge", 2: "unknown"}[kind], Classifier)'
    for name in ("net_1min", "net_20min", "judge", "other"):
        write_text(course.root / f"data/checkpoints/{name}.safetensors", "x")
    assert artifacts(course, [ast.parse(code), ast.parse(table)]) == [
        "data/checkpoints/judge.safetensors",
        "data/checkpoints/net_1min.safetensors",
        "data/checkpoints/net_20min.safetensors",
        "data/results/grid.safetensors",
        "data/results/toy.json",
    ]


def test_import_cycles_end(course):
    (course.helpers / "places.py").write_text("from .maths import double\nfrom helpers import unused as u\n")
    files = helper_files(course, "01", [ast.parse("import helpers.maths as m")])
    assert [p.name for p in files] == ["__init__.py", "maths.py", "places.py", "unused.py"]


def test_comments_are_dropped_and_strings_kept():
    code = '"""Doc."""\nx = "# no comment"  # one\n\n\ndef f():\n    "doc"\n    return 1\n'
    assert strip_comments(code) == 'x = "# no comment"\ndef f():\n    return 1'


# Sources that are refused -------------------------------------------------------------------------

LONG = "\n".join(f"x{i} = {i}" for i in range(16))
FIGURES = "\n".join(["show.stripe([1])"] * 13)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("    ### END SOLUTION\n", "", "BEGIN SOLUTION without ### END"),
        ("    ### BEGIN SOLUTION\n", "", "END SOLUTION without ### BEGIN"),
        ("### BEGIN SOLUTION", "## BEGIN SOLUTION", "write the marker exactly"),
        ("    y = double(x)\n    return y + 1\n", "", "nothing between"),
        ("Hint 2 (almost there)", "Almost there", "no <details><summary>Hint 2"),
        ('exercise_text="1.1" ', "", "before it must stand its text"),
        ('line = check("1.1", line)\n', "", "must end with"),
        ('line = check("1.1", line)', 'check("1.1", line)', "must end with"),
        ('line = check("1.1", line)', 'line = check("1.2", line)', 'not "1.1"'),
        ('line = check("1.1", line)', 'other = check("1.1", line)', "but assigns other"),
        ('line = check("1.1", line)', 'here = check("1.1", here)', "does not define it"),
        ('exercise="1.1"', 'exercise="1.7"', "1.7: unknown, helpers/exercises/nb01.py"),
        ('exercise="1.1"', 'exercise="2.1"', "are numbered 1.1"),
        ('exercise="1.1" ', "", "solution markers but no exercise="),
        ('expected="1.1"', 'expected="1.2"', "there is no exercise 1.2"),
        ('tags=["setup"] ', "", "the set-up code"),
        ("# # A toy", "# A toy", "start with the title"),
        (' slideshow={"slide_type": "slide"}\n# ## Results', "\n# ## Results", "needs slideshow"),
        ('{"slide_type": "-"}', '{"slide_type": "page"}', "needs slideshow"),
        ('print("10%\\r100%")', LONG, "lines of code, at most 15"),
        ('print("10%\\r100%")', "x = '" + "a" * 120 + "'", "at most 110"),
        ('print("10%\\r100%")', "x = (", "not valid Python"),
        ('print("10%\\r100%")', FIGURES, "draws 13 figures beside its tasks, at most 12"),
        (
            "# ## Results\n",
            "# ## Results\n\n" + '# %% slideshow={"slide_type": "-"}\n1\n\n' * 43,
            "at most 45",
        ),
        ("y = double(x)", "y = double(x", "not valid Python"),
    ],
)
def test_a_wrong_source_is_refused(tmp_path, capsys, old, new, message):
    assert old in SOURCE
    course = toy_course.make(tmp_path, SOURCE.replace(old, new))
    assert command(course, "editions") == 1
    assert message in capsys.readouterr().err
    assert not course.complete_path(NAME).exists() and not course.student_path(NAME).exists()


def test_optional_cells_are_not_counted(tmp_path):
    more = '# %% tags=["optional"] slideshow={"slide_type": "-"}\nshow.stripe([1])\n\n' * 50
    course = toy_course.make(tmp_path, SOURCE + more)
    assert source.problems(course, NAME, source.read_source(course.sources / f"{NAME}.py")) == []


def test_the_right_source_and_comment_lines_are_accepted(tmp_path):
    comments = "\n".join(["# a comment"] * 30)
    course = toy_course.make(tmp_path, SOURCE.replace('print("10%\\r100%")', f'{comments}\nprint("10%")'))
    assert source.problems(course, NAME, source.read_source(course.sources / f"{NAME}.py")) == []


def test_a_missing_exercise_and_a_doubled_one(tmp_path):
    course = toy_course.make(tmp_path)
    (course.helpers / "exercises/nb01.py").write_text('[Exercise("1.1"), Exercise(id="1.2")]')
    cells = source.read_source(course.sources / f"{NAME}.py")
    assert source.problems(course, NAME, cells) == ["exercise 1.2: in nb01.py but not in the notebook"]
    assert "exercise 1.1 stands there twice" in source.problems(course, NAME, cells + cells[2:4])


def test_a_draft_is_built_with_its_problems_said(tmp_path, capsys):
    course = toy_course.make(tmp_path, SOURCE.replace("Hint 2", "Another"))
    assert command(course, "editions", "--draft") == 0
    assert "Hint 2" in capsys.readouterr().out and course.complete_path(NAME).exists()


def test_unknown_number_is_answered(course, capsys):
    assert command(course, "editions", "--only", "7") == 1
    assert "no source numbered 07" in capsys.readouterr().err


# What a saved notebook must not hold ---------------------------------------------------------------


@pytest.mark.parametrize(
    "output, message",
    [
        ({"output_type": "display_data", "data": {"image/png": "eA=="}, "metadata": {}}, "without alt text"),
        (
            {"output_type": "display_data", "data": {"text/html": "<img src='x'>"}, "metadata": {}},
            "without alt text",
        ),
        ({"output_type": "stream", "name": "stderr", "text": "hm"}, "stderr"),
        ({"output_type": "stream", "name": "stdout", "text": "read /home/ann/x"}, "the path /home/ann"),
        ({"output_type": "stream", "name": "stdout", "text": "UserWarning: odd"}, "UserWarning:"),
        ({"output_type": "stream", "name": "stdout", "text": "1%\r2%"}, "progress bar"),
        ({"output_type": "stream", "name": "stdout", "text": "x" * 2_600_000}, "at most 2.5"),
        ({"output_type": "error", "ename": "E", "evalue": "bad", "traceback": []}, "ends with E: bad"),
    ],
)
def test_a_bad_output_is_found(output, message):
    cell = nbformat.v4.new_code_cell("x", outputs=[nbformat.from_dict(output)])
    assert any(message in text for text in saved.problems(editions.notebook_of([cell])))


# Numbers in prose -----------------------------------------------------------------------------------


def test_a_number_in_a_table_must_not_end_its_cell(course):
    said = numbers.problems(course, "| inside | <!--r:toy.board.inside|.0%-->94%<!--/--> |\n")
    assert len(said) == 1 and "write ;" in said[0]
    assert numbers.problems(course, "| inside | <!--r:toy.board.inside;.0%-->94%<!--/--> |\n") == []


def test_numbers_are_recomputed(course):
    path = course.sources / f"{NAME}.py"
    assert numbers.problems(course, path.read_text()) == []
    edit(course.root / "data/results/toy.json", "0.9412", "0.97")
    assert numbers.problems(course, path.read_text()) == [
        "toy.board.inside: the text says '94%', data/results says '97%'"
    ]
    assert numbers.refill(course) == [f"notebooks/source/{NAME}.py"]
    assert numbers.problems(course, path.read_text()) == [] and "-->97%<!--/-->" in path.read_text()
    assert numbers.value(course, "toy.board.runs.1", "d") == "2"


@pytest.mark.parametrize(
    "text, message",
    [
        ("<!--r:none.x|d-->1<!--/-->", "no data/results/none.json"),
        ("<!--r:toy.board.outside|d-->1<!--/-->", "no 'outside' in toy.json (there: inside, runs)"),
        ("<!--r:toy.board|.2f-->1<!--/-->", "does not fit"),
        ("<!--r:toy.board.inside|.0%-->94%", "marked wrongly"),
        ("<!-- r:toy.board.inside|.0% -->94%<!--/-->", "marked wrongly"),
    ],
)
def test_a_wrong_mark_is_said(course, text, message):
    (said,) = numbers.problems(course, text)
    assert message in said


# make start -----------------------------------------------------------------------------------------


def test_start_never_overwrites(course, tmp_path):
    editions.write_editions(course)
    mine, said = tmp_path / "my-work", []
    start.start(course, mine, said.append)
    copied = mine / f"{NAME}.ipynb"
    assert copied.read_bytes() == course.student_path(NAME).read_bytes() and said[0].startswith("new")
    edit(copied, "A toy", "My answers")
    answers, more = copied.read_bytes(), course.student_path(NAME).read_text().replace("A toy", "More")
    write_text(course.student / "02_more.ipynb", more)
    said.clear()
    start.start(course, mine, said.append)
    assert copied.read_bytes() == answers and (mine / "02_more.ipynb").read_text() == more
    assert said[0].startswith("kept") and "newer" not in said[0] and said[1].startswith("new")
    write_text(course.student_path(NAME), more)
    said.clear()
    start.start(course, mine, said.append)
    assert copied.read_bytes() == answers and "has a newer one" in said[0]


def test_start_brings_the_new_edition_beside_copies_of_an_older_one(course, tmp_path):
    editions.write_editions(course)
    mine, said = tmp_path / "my-work", []
    start.start(course, mine, said.append)
    old = (mine / f"{NAME}.ipynb").read_bytes()
    edit(course.root / "pyproject.toml", 'edition = "1"', 'edition = "2"')
    editions.write_editions(course)
    said.clear()
    start.start(course, mine, said.append)
    beside = mine / f"{NAME}_edition_2.ipynb"
    assert "another edition" in said[0] and said[1] == "new    my-work/01_toy_edition_2.ipynb"
    assert (mine / f"{NAME}.ipynb").read_bytes() == old
    assert beside.read_bytes() == course.student_path(NAME).read_bytes()
    beside.write_text(beside.read_text().replace("A toy", "My toy"))
    said.clear()
    start.start(course, mine, said.append)
    assert "My toy" in beside.read_text() and "as you left them)" in said[1]


def test_start_without_editions_says_what_to_do(course, tmp_path):
    with pytest.raises(BuildError, match="make editions"):
        start.start(course, tmp_path / "my-work")
