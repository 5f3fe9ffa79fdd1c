"""Line ends, byte order marks and encodings: what git, Windows and editors do to the files of a clone."""

import shutil
import subprocess

import pytest

import build
import toy_course
from builder import start
from builder.course import Course
from builder.editions import write_editions
from builder.fingerprint import fingerprint
from builder.source import read_source
from toy_course import NAME
from tries.commands import ROOT, assert_sentence, every_file, run_here

GIT = pytest.mark.skipif(
    not shutil.which("git") or subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True).returncode,
    reason="no git, or no clone of the course",
)

CHANGES = {
    "CRLF": lambda text: text.replace(b"\n", b"\r\n"),
    "CR": lambda text: text.replace(b"\n", b"\r"),
    "mixed": lambda text: text.replace(b"\n", b"\r\n", text.count(b"\n") // 2),
    "a byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "CRLF and a byte order mark": lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"),
}

KINDS = {
    "the source": f"notebooks/source/{NAME}.py",
    "the complete edition": f"notebooks/{NAME}.ipynb",
    "the student edition": f"notebooks/student/{NAME}.ipynb",
    "the exercises": "helpers/exercises/nb01.py",
    "a helper": "helpers/maths.py",
    "the pictures": "helpers/show.py",
    "the stubs": "helpers/exercises/stubs.json",
    "the results": "data/results/toy.json",
    "the seconds": "data/results/notebook_seconds.json",
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The made-up course as executed, without the minutes: built, and its record written."""
    course = toy_course.make(tmp_path_factory.mktemp("fresh"))
    (course.root / "README.md").write_text("Inside: <!--r:toy.board.inside|.0%-->94%<!--/-->.\n")
    (course.results / "notebook_seconds.json").write_text('{"01": {"all": 1,\n "cells": {}}}\n')
    toy_course.edit(course.results / "toy.json", ", ", ",\n")
    write_editions(course)
    page = course.complete_path(NAME)
    notebook = build.read_notebook(page)
    notebook.metadata["noise_to_digits"]["inputs"] = fingerprint(course, NAME, notebook)
    page.write_text(build.notebook_text(notebook))
    start.start(course, course.root / "my-work", lambda line: None)
    return course


@pytest.fixture
def course(fresh, tmp_path):
    shutil.copytree(fresh.root, tmp_path / "course")
    return Course(tmp_path / "course")


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("file", KINDS.values(), ids=KINDS)
def test_a_file_with_other_line_ends_is_the_same_file(capsys, course, file, change):
    path = course.root / file
    path.write_bytes(change(path.read_bytes()))
    before = every_file(course.root)
    assert run_here(capsys, course, "check") == (0, f"{NAME}: in step and fresh\n")
    assert run_here(capsys, course, "editions") == (0, "nothing changed\n")
    assert run_here(capsys, course, "numbers") == (0, "every number and table is up to date\n")
    assert "newer one" not in run_here(capsys, course, "start")[1]
    assert every_file(course.root) == before


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_file_with_other_line_ends_is_built_in_ours(capsys, course, change):
    path = course.sources / f"{NAME}.py"
    toy_course.edit(path, "# # A toy", "# # Another toy")
    path.write_bytes(change(path.read_bytes()))
    assert run_here(capsys, course, "editions")[0] == 0
    for built in (course.complete_path(NAME), course.student_path(NAME)):
        content = built.read_bytes()
        assert b"Another toy" in content and b"\r" not in content and b"\xef\xbb\xbf" not in content


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_slides_and_solutions_are_found_whatever_the_line_ends(tmp_path, change):
    slide = "#\n# <!--slide 3 min\n# ## A slide\n#\n# Notes:\n# Ask: why? (So.)\n# -->\n"
    course = toy_course.make(tmp_path, toy_course.SOURCE.replace("94%<!--/-->.\n", "94%<!--/-->.\n" + slide))
    path = course.sources / f"{NAME}.py"
    right = [(cell.source, cell.get("slides")) for cell in read_source(path)]
    path.write_bytes(change(path.read_bytes()))
    assert [(cell.source, cell.get("slides")) for cell in read_source(path)] == right
    assert right[0][1][0].minutes == 3


ENCODINGS = {
    "Latin-1": "ä".encode("latin-1"),
    "Windows": "“".encode("cp1252"),
    "UTF-16": "# %%\n".encode("utf-16"),
    "Shift JIS": "拡散".encode("shift_jis"),
    "half a character": "☃".encode()[:2],
    "a surrogate": b"\xed\xa0\x80",
}
TEXTS = {kind: file for kind, file in KINDS.items() if not file.endswith((".ipynb", "seconds.json"))}


@pytest.mark.parametrize("content", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("file", TEXTS.values(), ids=TEXTS)
def test_a_file_in_another_encoding_is_named_and_left(capsys, course, file, content):
    path = course.root / file
    path.write_bytes(path.read_bytes() + b"\n# " + content + b"\n")
    before = every_file(course.root)
    # with --only the stubs are read, and links reads the pages
    command = ["links"] if path.suffix in (".md", ".toml") else ["editions", "--only=01"]
    if path.name == "toy.json":
        command = ["numbers"]
    code, said = run_here(capsys, course, *command)
    if path.name in ("maths.py",):  # the build does not look into it; the check does
        code, said = run_here(capsys, course, "check")
    assert code == 1 and every_file(course.root) == before
    assert_sentence(said, path.name)
    assert "UTF-8" in said


# What git is told ------------------------------------------------------------------------------------


def attributes(*names):
    said = subprocess.run(["git", "check-attr", "-z", "text", "eol", "binary", "--", *names],
                          cwd=ROOT, capture_output=True, text=True, check=True)  # fmt: skip
    words = said.stdout.split("\0")[:-1]
    found = {}
    for name, attribute, value in zip(words[::3], words[1::3], words[2::3], strict=True):
        found.setdefault(name, {})[attribute] = value
    return found


@GIT
@pytest.mark.parametrize("name", [".ci/run", "Makefile", "notebooks/01_x.ipynb", "helpers/x.py", "x.sh",
                                  "data/x.json", "data/SHA256SUMS", "README.md", "a new file"])  # fmt: skip
def test_git_gives_every_text_line_feeds(name):
    assert attributes(name)[name] == {"text": "auto", "eol": "lf", "binary": "unspecified"}


@GIT
@pytest.mark.parametrize(
    "name", ["data/MNIST/raw/x.gz", "data/checkpoints/x.safetensors", "x.png", "data/gallery/x.gif"]
)
def test_git_leaves_what_is_binary(name):
    assert attributes(name)[name]["binary"] == "set"


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """A repository of the course's files as they are here; without the largest, which are binary by name."""
    folder = tmp_path_factory.mktemp("committed")
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=ROOT, capture_output=True, text=True, check=True)  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and (ROOT / name).stat().st_size < 2e6:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "core.autocrlf=false"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], cwd=folder, check=True, capture_output=True)
    return folder


@GIT
@pytest.mark.parametrize("setting", ["core.autocrlf=true", "core.autocrlf=input", "core.eol=crlf"])
def test_a_clone_has_the_same_bytes_whatever_git_is_set_to(committed, tmp_path, setting):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "-c", setting, committed, clone], check=True)
    changed = [name for name, content in every_file(committed).items()
               if not name.startswith(".git/") and (clone / name).read_bytes() != content]  # fmt: skip
    assert changed == []
    said = subprocess.run(["bash", "-n", clone / ".ci" / "run"], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr


@GIT
@pytest.mark.parametrize("name", [".x.ipynb.part123", "data/checkpoints/.net.safetensors.part7", "out/x.html",
                                  "data/results/.x.json.part1", "helpers/.x.py.part99", "my-work/01.ipynb",
                                  "my-work/.01.ipynb.part5", "..x.part1.part1", ".venv/x"])  # fmt: skip
def test_git_does_not_see_debris_and_answers(name):
    ran = subprocess.run(["git", "check-ignore", "--no-index", "-q", name], cwd=ROOT)
    assert ran.returncode == 0


@pytest.mark.parametrize("name", [".ci/run", "Makefile", ".gitattributes", "requirements.txt"])
def test_what_the_shell_and_make_read_has_line_feeds_here(name):
    assert b"\r" not in (ROOT / name).read_bytes()
