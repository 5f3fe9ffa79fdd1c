"""`make start`: whatever lies in my-work/ and whatever interrupts it, no answer is lost."""

import json
import os
import shutil

import pytest

import toy_course
from builder import start
from builder.editions import write_editions
from helpers import files
from toy_course import NAME
from tries.commands import POWERS, assert_sentence, can_be_kept_out, every_file, run_apart, run_here

SECOND = "02_more"


@pytest.fixture
def course(tmp_path):
    """The made-up course with a second student notebook."""
    course = toy_course.make(tmp_path / "course")
    write_editions(course)
    shutil.copy(course.student_path(NAME), course.student_path(SECOND))
    return course


@pytest.fixture
def mine(course):
    return course.root / "my-work"


def begin(capsys, course, *words):
    code, said = run_here(capsys, course, "start", *words)
    assert "Traceback" not in said
    return code, said


def answer(path):
    """Fill something in; returns the bytes that must survive."""
    toy_course.edit(path, "A toy", "My answers")
    return path.read_bytes()


def renew(course, name=NAME):
    toy_course.edit(course.student_path(name), "A toy", "A newer toy")


# Killed, or run twice at once -----------------------------------------------------------------------


fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@fork
@pytest.mark.parametrize("at", range(4), ids=["first ledger", "first copy", "second ledger", "second copy"])
@pytest.mark.parametrize("answered", [False, True], ids=["then as it was", "then answered"])
def test_killed_at_a_write_the_next_run_brings_the_rest_and_calls_nothing_newer(
    capsys, course, mine, at, answered
):
    """The child ends as by kill -9: nothing of it cleans up."""
    if not (child := os.fork()):
        real, writes = os.replace, []
        os.replace = lambda *names: os._exit(9) if len(writes) == at else (real(*names), writes.append(names))
        start.start(course, mine, writes.count)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    there = [answer(path) for path in mine.glob("*.ipynb") if answered]
    code, said = begin(capsys, course)
    assert code == 0 and "newer one" not in said
    assert {path.name for path in mine.glob("*.ipynb")} == {f"{NAME}.ipynb", f"{SECOND}.ipynb"}
    assert all(content in every_file(mine).values() for content in there)


def test_killed_before_the_ledger_was_kept_at_all_nothing_is_called_newer(capsys, course, mine):
    """What the course wrote before it kept its ledger first: copies, and no ledger."""
    begin(capsys, course)
    (mine / start.LEDGER).unlink()
    kept = answer(mine / f"{NAME}.ipynb")
    code, said = begin(capsys, course)
    assert code == 0 and "newer one" not in said and (mine / f"{NAME}.ipynb").read_bytes() == kept
    renew(course)
    renew(course, SECOND)
    said = begin(capsys, course)[1].splitlines()
    assert "newer one" not in said[0], "what it was made from is not known"
    assert "newer one" in said[1], "this one was as in the course when the ledger was lost"


def test_an_answer_saved_while_start_is_copying_stays(capsys, monkeypatch, course, mine):
    """Another start, or JupyterLab, puts a file there between the look and the copy."""
    real = start._note

    def note_and_be_overtaken(ledger, name, content):
        real(ledger, name, content)
        (mine / name).write_text("answers of somebody who was quicker")

    monkeypatch.setattr(start, "_note", note_and_be_overtaken)
    code, _ = begin(capsys, course)
    assert code == 0
    contents = [(mine / f"{name}.ipynb").read_text() for name in (NAME, SECOND)]
    assert contents == ["answers of somebody who was quicker"] * 2
    assert [path.name for path in mine.iterdir() if ".part" in path.name] == []


@fork
def test_eight_processes_at_once_agree(course, mine, tmp_path):
    children = []
    for i in range(8):
        child = os.fork()
        if not child:
            try:
                with (tmp_path / f"said{i}").open("w") as said:
                    start.start(course, mine, lambda line, to=said: print(line, file=to))
                    said.write("done")
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    said = [(tmp_path / f"said{i}").read_text() for i in range(8)]
    assert all(text.endswith("done") for text in said) and "newer one" not in "".join(said)
    assert "".join(said).count("new    ") == 2
    for name in (NAME, SECOND):
        assert (mine / f"{name}.ipynb").read_bytes() == course.student_path(name).read_bytes()


def test_where_no_hard_link_can_be_made_the_copy_is_made_all_the_same(capsys, monkeypatch, course, mine):
    def link(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    assert begin(capsys, course)[0] == 0
    assert (mine / f"{NAME}.ipynb").read_bytes() == course.student_path(NAME).read_bytes()


# What lies in my-work already ------------------------------------------------------------------------

CONTENTS = {
    "no JSON": b"my answers",
    "empty": b"",
    "one byte": b"{",
    "cut in the middle": b'{"cells": [{"cell_type": "code", "source": "my ans',
    "a list": b"[1, 2]",
    "null": b"null",
    "a number": b"7",
    "an object without cells": b'{"a": 1}',
    "cells that are null": b'{"cells": null, "metadata": {}}',
    "no metadata": b'{"cells": [], "nbformat": 4}',
    "metadata that is a list": b'{"cells": [], "metadata": []}',
    "a record that is text": b'{"cells": [], "metadata": {"noise_to_digits": "2"}}',
    "not UTF-8": b'{"cells": ["\xff\xfe"], "metadata": {}}',
    "UTF-16": '{"cells": [], "metadata": {}}'.encode("utf-16"),
    "NUL bytes": bytes(4096),
    "conflict marks of git": b'<<<<<<< HEAD\n{"cells": []}\n=======\n{"cells": [1]}\n>>>>>>> theirs\n',
    "far too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_damaged_copy_is_kept_named_and_the_others_come(capsys, course, mine, content):
    mine.mkdir()
    (mine / f"{NAME}.ipynb").write_bytes(content)
    code, said = begin(capsys, course)
    assert code == 0 and f"kept   my-work/{NAME}.ipynb (it is no readable notebook: rename it" in said
    assert (mine / f"{NAME}.ipynb").read_bytes() == content
    assert f"new    my-work/{SECOND}.ipynb" in said


@pytest.mark.parametrize(
    "edition", ["0", "2", "999", ""], ids=["older", "newer", "far newer", "without a name"]
)
def test_a_copy_of_another_edition_is_kept_and_gets_one_beside_it(capsys, course, mine, edition):
    begin(capsys, course)
    toy_course.edit(mine / f"{NAME}.ipynb", '"edition": "1"', f'"edition": "{edition}"')
    kept = (mine / f"{NAME}.ipynb").read_bytes()
    said = begin(capsys, course)[1]
    assert (mine / f"{NAME}.ipynb").read_bytes() == kept and "another edition" in said
    assert (mine / f"{NAME}_edition_1.ipynb").read_bytes() == course.student_path(NAME).read_bytes()


def test_a_notebook_of_nbformat_3_is_kept(capsys, course, mine):
    mine.mkdir()
    old = b'{"metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": []}]}'
    (mine / f"{NAME}.ipynb").write_bytes(old)
    said = begin(capsys, course)[1]
    assert (mine / f"{NAME}.ipynb").read_bytes() == old and "your answers are as you left them" in said


def test_a_folder_with_a_notebooks_name_is_kept(capsys, course, mine):
    (mine / f"{NAME}.ipynb").mkdir(parents=True)
    (mine / f"{NAME}.ipynb" / "mine.txt").write_text("keep")
    code, said = begin(capsys, course)
    assert code == 0 and "no readable notebook" in said and f"new    my-work/{SECOND}" in said
    assert (mine / f"{NAME}.ipynb" / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize("target", ["there", "nowhere", "itself"])
def test_a_link_with_a_notebooks_name_is_kept(capsys, course, mine, tmp_path, target):
    mine.mkdir()
    kept = tmp_path / "elsewhere.ipynb"
    shutil.copy(course.student_path(NAME), kept)
    link, content = mine / f"{NAME}.ipynb", answer(kept)
    link.symlink_to({"there": kept, "nowhere": tmp_path / "gone.ipynb", "itself": link}[target])
    code, said = begin(capsys, course)
    assert code == 0 and f"kept   my-work/{NAME}.ipynb" in said
    assert link.is_symlink() and kept.read_bytes() == content and not (tmp_path / "gone.ipynb").exists()


def test_a_read_only_copy_is_kept(capsys, course, mine):
    begin(capsys, course)
    kept = answer(mine / f"{NAME}.ipynb")
    (mine / f"{NAME}.ipynb").chmod(0o444)
    renew(course)
    code, said = begin(capsys, course)
    assert code == 0 and "newer one" in said and (mine / f"{NAME}.ipynb").read_bytes() == kept


def test_a_copy_whose_case_or_line_ends_were_changed_is_as_it_was(capsys, course, mine):
    begin(capsys, course)
    path = mine / f"{NAME}.ipynb"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    (mine / start.LEDGER).unlink()
    assert "newer one" not in begin(capsys, course)[1]
    assert NAME in (mine / start.LEDGER).read_text(), "it was recognised as the course's"


# The ledger ------------------------------------------------------------------------------------------

LEDGERS = {
    "no JSON": b"{",
    "empty": b"",
    "a list": b"[]",
    "null": b"null",
    "not UTF-8": b'{"a": "\xff"}',
    "values that are no text": b'{"01_toy.ipynb": 5, "02_more.ipynb": null}',
    "names with paths": b'{"../../evil": "x", "/etc/passwd": "y"}',
    "far too deep": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("content", LEDGERS.values(), ids=LEDGERS)
def test_a_damaged_ledger_costs_no_answer_and_calls_no_untouched_copy_newer(capsys, course, mine, content):
    begin(capsys, course)
    kept = answer(mine / f"{SECOND}.ipynb")
    (mine / start.LEDGER).write_bytes(content)
    code, said = begin(capsys, course)
    assert code == 0 and (mine / f"{SECOND}.ipynb").read_bytes() == kept
    assert said.count("kept") == 2
    assert b"5" in content or "newer one" not in said


# The folder itself -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["a file", "a link to a file", "a dangling link", "a link to itself"])
def test_where_my_work_is_no_folder_it_is_left_and_named(capsys, course, mine, tmp_path, kind):
    kept = tmp_path / "kept"
    kept.write_text("keep")
    if kind == "a file":
        mine.write_text("keep")
    else:
        targets = {"a link to a file": kept, "a dangling link": tmp_path / "gone", "a link to itself": mine}
        mine.symlink_to(targets[kind])
    code, said = begin(capsys, course)
    assert code == 1
    assert_sentence(said, "my-work cannot be a folder", "move away what is there")
    assert kept.read_text() == "keep" and (mine.is_symlink() or mine.read_text() == "keep")


def test_a_link_to_a_folder_is_followed(capsys, course, mine, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    mine.symlink_to(tmp_path / "elsewhere")
    assert begin(capsys, course)[0] == 0
    assert (tmp_path / "elsewhere" / f"{NAME}.ipynb").exists() and mine.is_symlink()


@pytest.mark.parametrize(
    "name", ['a\'b "c"', "$(touch evil)", "`touch evil`", "-n", "ä ☃", "a\nb", "x" * 200]
)
def test_into_a_folder_with_an_odd_name(capsys, course, tmp_path, name):
    assert begin(capsys, course, f"--into={tmp_path / name}")[0] == 0
    assert (tmp_path / name / f"{NAME}.ipynb").exists() and not list(tmp_path.rglob("evil"))


def test_into_a_file_of_the_course_nothing_is_written(capsys, course):
    before = every_file(course.root)
    code, said = begin(capsys, course, f"--into={course.root / 'pyproject.toml'}")
    assert code == 1 and every_file(course.root) == before
    assert_sentence(said, "pyproject.toml cannot be a folder")


def test_a_full_disk_leaves_no_half_copy(capsys, monkeypatch, course, mine):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    code, said = begin(capsys, course)
    assert code == 1
    assert_sentence(said, "could not write", "No space left")
    assert every_file(mine) == {}


@pytest.mark.long
@pytest.mark.skipif(not can_be_kept_out(), reason="no setpriv, and the superuser may write anywhere")
@pytest.mark.parametrize("there", [True, False], ids=["the folder is there", "it cannot be made"])
def test_where_it_may_not_write_it_says_so(course, mine, there):
    if there:
        mine.mkdir()
    (mine if there else course.root).chmod(0o555)
    try:
        ran = run_apart(course, "start", powers=POWERS)
    finally:
        (mine if there else course.root).chmod(0o755)
    assert ran.returncode == 1 and every_file(mine) == {}
    assert_sentence(ran.stderr, "Permission denied", "my-work")


# The course's own notebooks --------------------------------------------------------------------------


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_damaged_notebook_of_the_course_is_not_handed_out(capsys, course, mine, content):
    course.student_path(NAME).write_bytes(content)
    code, said = begin(capsys, course)
    assert code == 1 and not (mine / f"{NAME}.ipynb").exists()
    assert f"student/{NAME}.ipynb" in said and f"new    my-work/{SECOND}.ipynb" in said
    assert_sentence(said)


def test_without_any_it_says_what_to_do(capsys, tmp_path):
    course = toy_course.make(tmp_path)
    code, said = begin(capsys, course)
    assert code == 1 and not (tmp_path / "my-work").exists()
    assert_sentence(said, "make editions")


def test_advice_names_the_one_damaged_file():
    hint = files.restore_hint(files.ROOT / "notebooks" / "student" / "01_x.ipynb")
    assert "git checkout -- notebooks/student/01_x.ipynb" in hint and "without git" in hint


def test_the_ledger_is_json_with_a_line_for_each_copy(capsys, course, mine):
    begin(capsys, course)
    assert set(json.loads((mine / start.LEDGER).read_text())) == {f"{NAME}.ipynb", f"{SECOND}.ipynb"}
