"""The class report's judge: what is read from a submission, what it may use, and what it is worth."""

import hashlib
import json

import pytest
import torch

from class_report import extract, needs, run
from helpers.exercises import decide, exercises, hidden, mine, notebooks, patches
from report_notebooks import COURSE, judged, mistaken, needs_box, notebook, solution

KINDS = {"1.2": "break", "1.3": "predict", "1.4": "write", "1.5": "write", "1.7": "predict", "1.10": "hunt"}


def read(*sources, outputs=()) -> dict:
    return extract.read_submission("ann", "a.ipynb", notebook(*sources, outputs=outputs), KINDS).tasks


# What is handed in --------------------------------------------------------------------------------


def test_the_last_cell_of_a_task_counts_whatever_the_order():
    first, second = 'f = check("1.5", f)', 'g = 1\ncheck("1.4", g)'
    found = read(first, second, 'h = check("1.5", other)')
    assert {id: (t.cell, t.hand_in) for id, t in found.items()} == {"1.5": (2, "other"), "1.4": (1, "g")}


HANDED_IN = {
    'q = check("1.5", q)': ("1.5", "q", ...),
    'check("1.5", function=lambda x: x)': ("1.5", "lambda x: x", ...),
    'b = check.changed("1.2", b, "b")': ("1.2", "b", "b"),
    'why = "c"\nb = check.changed("1.2", b, why)': ("1.2", "b", "c"),
    'b = check("1.2", b)': ("1.2", "b", ...),
    'check.predict("1.3", (0.5, 0.75))': ("1.3", "", [0.5, 0.75]),
    'guess = ...\nguess = 1, 2\ncheck.predict("1.3", guess)': ("1.3", "", [1, 2]),
    'check.predict("1.3", guess=[1 / 2, 0.5 + 0.25])': ("1.3", "", [0.5, 0.75]),
    'check.predict("1.3", -2)': ("1.3", "", -2),
    'check.predict("1.3", ...)': ("1.3", "", ...),
    'line = 4\ncheck.found("1.10", line)': ("1.10", "", 4),
}


@pytest.mark.parametrize("source", HANDED_IN)
def test_what_a_cell_hands_in(source):
    id, text, answer = HANDED_IN[source]
    task = read(f"%matplotlib inline\n{source}")[id]
    assert (task.hand_in, task.answer, task.readable, task.crash) == (text, answer, True, None)


@pytest.mark.parametrize(
    "answer",
    [
        "measured",
        "f(1)",
        "9.0 ** 9999",
        "[0] * 10**9",
        "x.y",
        "open('/etc/passwd')",
        "f'{1}'",
        "1 if 2 else 3",
    ],
)
def test_an_answer_that_is_computed_is_not_read(answer):
    task = read(f'check.predict("1.3", {answer})')["1.3"]
    assert not task.readable and task.answer is ...


@pytest.mark.parametrize(
    "source", ['check("9.9", f)', "check(id, f)", 'check.summary("01")', 'cheque("1.5", f)', "1"]
)
def test_what_hands_in_nothing(source):
    assert not read(source)


def test_a_cell_that_is_no_python_is_handed_in_with_its_error():
    task = read('def q(x:\n    return x\nq = check("1.5", q)')["1.5"]
    assert task.crash[0] == "SyntaxError" and task.crash[2] == 1


SEEDS = [
    (['check.hunt("1.10", seed=81)', 'check.found("1.10", 4)'], {}, 81),
    (['check.hunt("1.10")', 'check.found("1.10", 4)'], {0: "Case 2 of 7, seed 42; in a class"}, 42),
    (['check.found("1.10", 4)', 'check.hunt("1.10", 7)'], {}, 7),
    (['check.hunt("1.10")', 'check.found("1.10", 4)'], {}, None),
    (['s = 5\ncheck.hunt("1.10", seed=s)', 'check.found("1.10", 4)'], {0: "seed 6"}, 5),
]


@pytest.mark.parametrize("cells, outputs, seed", SEEDS)
def test_a_hunts_seed_is_the_sources_or_the_saved_outputs(cells, outputs, seed):
    assert read(*cells, outputs=outputs)["1.10"].seed == seed


def test_folders_of_students_files_and_nbgraders_layout_are_found(tmp_path):
    hidden_ones = ".hidden/x.ipynb", "bo/.ipynb_checkpoints/x.ipynb", "notes.txt", "cy/notes.md"
    for name in ("ann.ipynb", "bo/x.ipynb", "cy/deep/er/mine.py", *hidden_ones):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found = [(student, path.name) for student, path in extract.list_submissions(tmp_path)]
    assert found == [("ann", "ann.ipynb"), ("bo", "x.ipynb"), ("cy", "mine.py")]
    nested = tmp_path / "g" / "submitted" / "dee" / "01"
    nested.mkdir(parents=True)
    (nested / "01.ipynb").write_text("")
    assert [s for s, _ in extract.list_submissions(tmp_path / "g")] == ["dee"]


def test_a_students_name_is_one_line_of_utf_8():
    assert (
        extract.clean("a\nb\udcff") == "a b?"
        and len(extract.clean("x" * 999)) == 200
        and extract.clean("\n") == "?"
    )


# What it may use ----------------------------------------------------------------------------------


def prepared(id, *sources):
    submission = extract.read_submission("a", "a.ipynb", notebook(*sources), {id: "write"})
    name = COURSE.source_paths(id.partition(".")[0])[0].stem
    return needs.prepare(submission, submission.tasks[id], needs.frame_of(COURSE.complete_path(name)))


def test_lines_that_the_function_does_not_need_are_left_out_and_the_others_keep_their_place():
    source = 'import os\nos.x = 1\nk = 2\nprint(k)\ndef f(x):\n    return k * x\nf = check("1.5", f)\nf(3)'
    work = prepared("1.5", source)
    assert work.text.split("\n")[:6] == ["", "", "k = 2", "", "def f(x):", "    return k * x"]


def test_references_of_other_tasks_are_the_courses_and_own_helpers_the_students():
    wrong = "def posterior_variance(t, t_next, schedule):\n    return 0"
    helper = "def my_root(x):\n    return x ** 0.5"
    own = "def ddim_step(x0):\n    return my_root(posterior_variance(1, 2, at))\n"
    own += 'ddim_step = check("2.8", ddim_step)'
    work = prepared("2.8", wrong, helper, own)
    given = "\n".join(text for text, _ in work.given)
    assert "kept / (1 - kept)" in given and "import at" in given and "return 0" not in given
    assert work.earlier == [helper]
    assert "def ddim_step" not in given, "its own solution is not given"


def test_no_solution_is_given_to_its_own_task():
    for number in notebooks():
        frame = needs.frame_of(COURSE.complete_path(COURSE.source_paths(number)[0].stem))
        for id, task in exercises(number).items():
            if task.kind not in ("write", "break"):
                continue
            name = patches._find(id).name
            names = {name for s in frame.statements for name in s.made}
            for text, _ in frame.give(id, name, names):
                assert not text.startswith((f"def {name}(", f"class {name}(")), id


# What it is worth ---------------------------------------------------------------------------------


def test_plain_answers_are_weighed():
    cells = [
        'check.predict("1.3", (0.5, 0.5))',
        'check.predict("1.7", "many")',
        'check.hunt("1.10", 0)',
        'check.found("1.10", 1)',
    ]
    rows = judged(notebook(*cells))["tasks"]
    assert (
        rows["1.3"]["state"] == "written"
        and rows["1.3"]["fits"] is False
        and rows["1.3"]["answer"] == (0.5, 0.5)
    )
    assert rows["1.7"]["state"] == "not attempted" and rows["1.4"]["state"] == "missing"
    assert (rows["1.10"]["state"], rows["1.10"]["answer"], rows["1.10"]["seed"]) == ("found", 1, 0)
    cells = ['check.found("1.10", 1)', 'check.predict("1.3", (0.5, 0.75))']
    rows = judged(notebook(*cells))["tasks"]
    assert (rows["1.10"]["state"], rows["1.10"]["mistake"]) == ("not found", "seed unknown")
    assert rows["1.3"]["fits"] is True
    rows = judged(notebook('check.hunt("1.10", 0)', 'check.found("1.10", 3)'))["tasks"]
    assert rows["1.10"]["state"] == "not found" and rows["1.10"]["mistake"] == "not line 3"


IDLE = """def q_sample(x0, t, noise, schedule):
    a = at(schedule.alpha_bar, t, x0)
    return a.sqrt() * x0 + (1 - a).sqrt() * torch.ones_like(x0)

q_sample = check("1.5", q_sample)"""
MINE = "def helper(x):\n    return x.sqrt()"
OWN = """def q_sample(x0, t, noise, schedule):
    a = at(schedule.alpha_bar, t, x0)
    return helper(a) * x0 + helper(1 - a) * noise

q_sample = check("1.5", q_sample)"""


@needs_box
@pytest.mark.slow
def test_one_submission_from_right_to_crashed():
    cells = [
        solution("1.4"),
        mistaken("1.9", patches._find("1.9").mistakes[0][0]),
        IDLE,
        solution("1.2").replace('"b")', '"a")'),
        'def cosine_betas(T, s=1):\n    return undefined\ncosine_betas = check("1.6", cosine_betas)',
        'def linear_betas(T:\nlinear_betas = check("1.8", linear_betas)',
        'def q_step(x_prev, t, noise, betas):\n    # TODO 1.1: x\n    ...\nq_step = check("1.1", q_step)',
    ]
    result = judged(notebook(*cells), seed=0)
    rows = result["tasks"]
    assert list(rows) == list(exercises("01")) and result["notebooks"] == ["01"] and result["problem"] is None
    assert rows["1.4"]["state"] == "right"
    assert (rows["1.9"]["state"], rows["1.9"]["mistake"]) == ("mistake", patches._find("1.9").mistakes[0][0])
    assert (rows["1.5"]["state"], rows["1.5"]["mistake"]) == ("wrong", "argument without influence"), rows[
        "1.5"
    ]
    assert (rows["1.2"]["state"], rows["1.2"]["mistake"]) == ("mistake", "right change, other reason")
    assert rows["1.2"]["answer"] == "a"
    assert rows["1.6"]["state"] == "crashed" and "line 2" in rows["1.6"]["message"].lower()
    assert (rows["1.8"]["state"], rows["1.8"]["mistake"]) == ("crashed", "SyntaxError")
    assert rows["1.1"]["state"] == "not attempted" and rows["1.3"]["state"] == "missing"
    assert rows["1.5"]["code"].startswith("def q_sample")
    json.dumps(result)


@needs_box
def test_a_helper_in_another_cell_is_found_and_hidden_numbers_are_used():
    result = judged(notebook(OWN, MINE), seed=5)
    assert result["tasks"]["1.5"]["state"] == "right"


@needs_box
def test_a_helper_is_found_where_another_function_has_a_variable_of_its_name():
    beside = "def draw(x):\n    helper = 3\n    return helper * x\n\n\n"
    result = judged(notebook(MINE, beside + OWN), seed=5)
    assert result["tasks"]["1.5"]["state"] == "right"


@needs_box
@pytest.mark.slow
def test_the_parts_of_a_mine_py_are_judged():
    pieces = [p for p in mine.template() if p.id in ("1.4", "2.7", "2.8")]
    bodies = {p.id: patches._find(p.id).source for p in pieces}
    bodies["2.7"] = bodies["2.7"].replace("kept / (1 - kept)", "kept")
    text = "\n\n\n".join(f"{p.mark}\n{bodies[p.id]}" for p in pieces)
    rows = judged(text.encode(), file="mine.py")["tasks"]
    states = {id: row["state"] for id, row in rows.items() if row["state"] != "missing"}
    assert states.keys() == bodies.keys() and states["1.4"] == states["2.8"] == "right" != states["2.7"]
    assert all(row["kind"] == "write" for row in rows.values())


@needs_box
@pytest.mark.slow
@pytest.mark.parametrize("number", notebooks())
def test_the_complete_edition_is_right_and_the_student_edition_not_attempted(number):
    name = COURSE.source_paths(number)[0].stem
    rows = judged(COURSE.complete_path(name).read_bytes())["tasks"]
    good = {"write": "right", "break": "right", "predict": "written", "hunt": "found"}
    assert {id: row["state"] for id, row in rows.items()} == {
        id: good[row["kind"]] for id, row in rows.items()
    }
    rows = judged(COURSE.student_path(name).read_bytes())["tasks"]
    assert {row["state"] for row in rows.values()} == {"not attempted"}


# A class ------------------------------------------------------------------------------------------


def write_class(folder, count=3):
    folder.mkdir()
    for n in range(count):
        cells = [
            f"# {n}",
            'check.predict("1.3", (0.5, 0.75))',
            'check.hunt("1.10", 0)',
            'check.found("1.10", 1)',
        ]
        (folder / f"s{n}.ipynb").write_bytes(notebook(*cells))


def tree(folder) -> dict:
    return {
        p: (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns)
        for p in folder.rglob("*")
        if p.is_file()
    }


@needs_box
@pytest.mark.slow
def test_interrupted_it_goes_on_where_it_was_and_writes_nothing_to_the_submissions(tmp_path):
    write_class(tmp_path / "in")
    before, said = tree(tmp_path / "in"), []

    def interrupt(text):
        said.append(text)
        if text.startswith("[1/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.judge_all(COURSE, tmp_path / "in", tmp_path / "out", say=interrupt)
    kept = list((tmp_path / "out" / "results").glob("*.json"))
    assert len(kept) == 1 and not list((tmp_path / "out" / "results").glob(".*"))
    results = run.judge_all(COURSE, tmp_path / "in", tmp_path / "out", say=said.append)
    assert "3 submissions, 1 known from before" in said[2]
    assert [r["student"] for r in results] == ["s0", "s1", "s2"]
    again = run.judge_all(COURSE, tmp_path / "in", tmp_path / "out", say=said.append)
    assert "3 known from before" in said[-1] and json.loads(json.dumps(results)) == json.loads(
        json.dumps(again)
    )
    assert tree(tmp_path / "in") == before
    other = run.judge_all(COURSE, tmp_path / "in", tmp_path / "out", seed=9, only="02", say=said.append)
    assert all("no task of notebook 02" in r["problem"] for r in other)


@needs_box
@pytest.mark.slow
def test_a_damaged_result_is_judged_anew(tmp_path):
    write_class(tmp_path / "in", 1)
    run.judge_all(COURSE, tmp_path / "in", tmp_path / "out", say=print)
    [kept] = (tmp_path / "out" / "results").glob("*.json")
    kept.write_bytes(kept.read_bytes()[:40])
    [result] = run.judge_all(COURSE, tmp_path / "in", tmp_path / "out", say=print)
    assert result["tasks"]["1.10"]["state"] == "found"


# Hidden numbers -----------------------------------------------------------------------------------


WRITTEN = [(n, id) for n in notebooks() for id, e in exercises(n).items() if e.kind in ("write", "break")]


@pytest.mark.slow
@pytest.mark.parametrize("number, id", WRITTEN)
def test_under_hidden_numbers_references_are_right_and_mistakes_named(number, id):
    task = exercises(number)[id]
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)  # its import takes seconds
    for seed in (1, 2):
        with hidden.numbers(seed):
            assert decide(task, task.reference).state == "right", seed
            told = {m.name: decide(task, m.function) for m in task.mistakes}
        assert {name: (v.state, v.mistake) for name, v in told.items()} == {n: ("wrong", n) for n in told}, (
            seed
        )


def test_hidden_numbers_differ_and_end():
    with hidden.numbers(3):
        other = exercises("01")["1.5"].cases()
    assert not torch.equal(other[0][0], exercises("01")["1.5"].cases()[0][0])
    assert hidden.pick(1, 2) == 1
