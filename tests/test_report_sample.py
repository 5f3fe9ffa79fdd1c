"""The sample class of the report: thirty submissions whose worth is known, judged in full."""

import json

import pytest

from class_report import facts, page, sample_answers, sample_class
from class_report.run import judge_all
from helpers.exercises import decide, exercises, patches
from report_notebooks import COURSE, needs_box


def made(id, text):
    """What an answer's text defines, with what a notebook imports."""
    import torch
    import torch.nn.functional as F

    from helpers.schedule import at

    solution = patches.find(id, exercises(id.split(".")[0])[id].kind)
    names = solution.names | dict(torch=torch, F=F, at=at)
    return patches.run(text, f"<sample {id} {hash(text)}>", names)[solution.name]


ANSWERS = [(id, "right", "", text) for id, texts in sample_answers.RIGHT.items() for text in texts] + [
    (id, "wrong", None, text) for id, texts in sample_answers.WRONG.items() for text in texts
]
ANSWERS += [
    (id, "crashed", error, text)
    for id, pairs in sample_answers.CRASHED.items()
    for error, text in pairs
    if error != "SyntaxError"
]


@pytest.mark.parametrize(("id", "state", "mistake", "text"), ANSWERS)
def test_a_written_answer_is_what_it_is_said_to_be(id, state, mistake, text):
    exercise = exercises("02")[id]
    verdict = decide(exercise, made(id, text))
    assert verdict.state == state, verdict.message
    if mistake is None:
        assert verdict.mistake not in {m.name for m in exercise.mistakes}
    else:
        assert verdict.mistake == mistake


def test_every_sketch_is_named():
    task, truth = exercises("02")["2.6"], facts.truth_of(COURSE, "2.6")
    for name, sketch in sample_answers.SKETCHES.items():
        assert task.judge(sketch, truth)[:2] == ("off" if name else "right", name)


@pytest.mark.parametrize("number", ["02", "04"])
def test_it_is_written_as_notebooks_with_the_answers_in_their_cells(tmp_path, number):
    students = sample_class.write_sample(COURSE, tmp_path, number, students=26)
    paths = sorted(tmp_path.rglob("*.ipynb"))
    assert [path.parent.name for path in paths] == sorted(s.name for s in students)
    assert sum(path.stat().st_size for path in paths) < 3_000_000
    page_name = COURSE.source_paths(number)[0].stem
    for student in students:
        text = (tmp_path / student.name / f"{page_name}.ipynb").read_text(encoding="utf-8")
        if student.damage:
            with pytest.raises(ValueError):
                json.loads(text)
            continue
        sources = ["".join(cell["source"]) for cell in json.loads(text)["cells"]]
        for id, answer in student.answers.items():
            cells = [source for source in sources if f'"{id}"' in source and ("check" in source)]
            assert bool(cells) != (answer.given == "missing"), (student.name, id)
            if answer.text:
                assert any(answer.text.strip() in source for source in cells), (student.name, id)


def differences(results, expected) -> list[tuple]:
    """(student, task, what was expected, what was judged) of every cell that is not as expected."""
    found, judged = [], {result["student"]: result for result in results}
    assert sorted(judged) == sorted(student["student"] for student in expected)
    for student in expected:
        name, result = student["student"], judged[student["student"]]
        if bool(result["problem"]) != bool(student["problem"]):
            found.append((name, "the file", student["problem"], result["problem"]))
        for id, entry in student["tasks"].items():
            keys = ["state", "fits"]
            keys += ["mistake"] if entry["state"] in ("mistake", "crashed", "written") else []
            want = {key: entry.get(key) for key in keys}
            got = {key: result["tasks"].get(id, {}).get(key) for key in keys}
            if want != got:
                found.append((name, id, want, got))
    return found


def test_a_difference_is_found():
    expected = sample_class.expected_results(COURSE, "02", students=4)
    assert differences(expected, expected) == []
    other = json.loads(json.dumps(expected))
    other[2]["tasks"]["2.1"]["state"] = "contained"
    other[3]["problem"] = "gone"
    assert [row[1] for row in differences(other, expected)] == ["2.1", "the file"]


@pytest.mark.slow
@needs_box
def test_all_thirty_are_judged_as_expected(tmp_path):
    """Every cell of the class, in the box, with hidden cases; then the page and the table of it."""
    sample_class.write_sample(COURSE, tmp_path / "class", "02", students=30)
    said = []
    results = judge_all(COURSE, tmp_path / "class", tmp_path / "out", say=said.append)
    assert differences(results, sample_class.expected_results(COURSE, "02", students=30)) == []
    shown, sheet = page.write_report(COURSE, results, tmp_path / "out")
    assert "29 submissions judged" in shown.read_text(encoding="utf-8")
    assert len(sheet.read_text(encoding="utf-8").splitlines()) == 30
