"""Where the course lives: badges, links, first cells agree; a fork re-points them all; Colab fetches it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import build
import toy_course
from builder import links
from builder.course import BuildError, Course, read_notebook
from builder.editions import RECORD, write_editions
from builder.links import BOOTSTRAP
from builder.source import tags

COURSE = Course(Path(__file__).resolve().parents[1])
NOTEBOOKS = sorted([*COURSE.complete.glob("[0-9]*.ipynb"), *COURSE.student.glob("[0-9]*.ipynb")])
GITHUB = re.compile(r"(?:github/|gh/|github\.com/)([A-Za-z0-9][\w-]*/[\w.-]*\w)")


def first_cells(path):
    return read_notebook(path).cells[:2]


# They agree -----------------------------------------------------------------------------------------


def test_badges_and_clone_commands_point_to_the_one_repository():
    assert links.problems(COURSE) == [], "run `make links`"


def test_the_readme_offers_colab_and_binder_for_every_notebook():
    text, here = (COURSE.root / "README.md").read_text(encoding="utf-8"), links.read_links(COURSE)
    for path in COURSE.source_paths():
        student = f"notebooks/student/{path.stem}.ipynb"
        assert here.colab(student) in text, f"no Colab badge for {student}"
        assert here.binder(student) in text, f"no Binder badge for {student}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_each_notebook_opens_itself_at_the_one_repository(path):
    here, name = links.read_links(COURSE), path.relative_to(COURSE.root).as_posix()
    title, code = first_cells(path)
    assert here.colab(name) in title.source and here.binder(name) in title.source
    student = path.parent == COURSE.student
    assert tags(code)[0] == BOOTSTRAP and code.source == here.bootstrap(student)
    assert read_notebook(path).metadata[RECORD]["edition"] == here.edition


def test_the_first_cell_is_a_few_lines_and_installs_nothing():
    code = links.read_links(COURSE).bootstrap(student=True)
    assert len(code.splitlines()) <= 18 and max(map(len, code.splitlines())) <= 110
    assert "pip" not in code and "install" not in code
    statements = [line for line in code.splitlines() if line.strip() and not line.startswith("#")]
    assert len(statements) <= 16


# The edition ----------------------------------------------------------------------------------------


def test_notebooks_and_helpers_are_of_one_edition():
    import helpers

    assert helpers.EDITION == links.read_links(COURSE).edition


@pytest.mark.parametrize("edition, said", [("2", ""), ("3", "RuntimeError"), ("22", "RuntimeError")])
def test_the_first_cell_names_another_edition(tmp_path, edition, said):
    (tmp_path / "course" / "helpers").mkdir(parents=True)
    (tmp_path / "course" / "my-work").mkdir()
    (tmp_path / "course" / "helpers" / "__init__.py").write_text(f'"""Shared."""\n\nEDITION = "{edition}"\n')
    first = [sys.executable, "-c", links.Links("ada/toy", "v2", "2").bootstrap()]
    ran = subprocess.run(first, cwd=tmp_path / "course" / "my-work", capture_output=True, text=True)
    last = ran.stderr.strip().rpartition("\n")[2]
    assert ran.stdout == "" and last.startswith(said) and bool(last) == bool(said)
    assert not said or re.search("edition 2, unlike .*course/helpers.*: restart .*`make start`.*Colab", last)


# A fork re-points them ------------------------------------------------------------------------------

README = """\
[Colab](https://colab.research.google.com/github/ada/toy/blob/v1/notebooks/student/01_toy.ipynb)
[Binder](https://mybinder.org/v2/gh/ada/toy/v1?urlpath=lab/tree/notebooks/01_toy.ipynb)

    git clone --depth=1 https://github.com/ada/toy
    cd toy

Read [the course on the web](https://ada.github.io/toy/), and [a book](https://other.github.io/book/).
Thanks to https://github.com/other/project and https://github.com/hakimel/reveal.js.
"""


@pytest.fixture
def fork(tmp_path):
    course = toy_course.make(tmp_path)
    (tmp_path / "README.md").write_text(README)
    write_editions(course)
    return course


def addresses(course):
    texts = [course.root / "README.md", *course.complete.rglob("*.ipynb")]
    return {name for path in texts for name in GITHUB.findall(path.read_text(encoding="utf-8"))}


def repointed(course, repository, version):
    words = ["--root", str(course.root), "links", "--repository", repository, "--version", version]
    return build.main(words)


def test_one_command_re_points_badges_and_first_cells(fork):
    assert addresses(fork) == {"ada/toy", "other/project", "hakimel/reveal.js"}
    assert (
        build.main(["--root", str(fork.root), "links", "--repository", "grace/copy.2", "--version", "v2.1"])
        == 0
    )
    assert addresses(fork) == {"grace/copy.2", "other/project", "hakimel/reveal.js"}
    text = (fork.root / "README.md").read_text()
    assert "v1" not in text and "https://grace.github.io/copy.2/)" in text and "other.github.io/book" in text
    assert links.problems(fork) == []
    assert '[tool.other]\nversion = "2"' in (fork.root / "pyproject.toml").read_text(), (
        "another table changed"
    )
    here = links.read_links(fork)
    assert here == links.Links("grace/copy.2", "v2.1", "1")
    for path in fork.complete.rglob("*.ipynb"):
        assert first_cells(path)[1].source == here.bootstrap(path.parent == fork.student)


def test_back_again_gives_the_same_bytes(fork):
    before = {path: path.read_bytes() for path in fork.root.rglob("*") if path.is_file()}
    for repository, version in (("grace/copy", "v2"), ("ada/toy", "v1")):
        repointed(fork, repository, version)
    assert {path: path.read_bytes() for path in before} == before


def test_a_changed_address_leaves_saved_outputs_fresh(fork):
    build.execute(fork, None, stale_only=False, draft=False)
    links.write_links(fork, "grace/copy", "v2")
    write_editions(fork)
    assert build.reasons(fork, toy_course.NAME) == ([], [])
    counts = [c.execution_count for c in read_notebook(fork.complete_path(toy_course.NAME)).cells[1:3]]
    assert counts[0] == 1


def test_a_badge_that_points_elsewhere_is_found(fork):
    toy_course.edit(fork.root / "README.md", "gh/ada/toy/v1", "gh/ada/toy/main")
    assert links.problems(fork) == ["README.md points elsewhere than to ada/toy at v1"]


@pytest.mark.parametrize(
    "repository, version", [("toy", None), ("a/b/c", None), ("https://x/y", None), (None, "a b")]
)
def test_a_wrong_address_is_named_and_nothing_is_written(fork, repository, version):
    before = (fork.root / "pyproject.toml").read_text(), (fork.root / "README.md").read_text()
    with pytest.raises(BuildError, match="owner/name|branch or tag"):
        links.write_links(fork, repository, version)
    assert before == ((fork.root / "pyproject.toml").read_text(), (fork.root / "README.md").read_text())


# Colab ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A repository of what git tracks here, at the version that the first cells ask for."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=COURSE.root, capture_output=True)  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git repository")
    folder = tmp_path_factory.mktemp("published")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (COURSE.root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(COURSE.root / name, folder / name)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    version = links.read_links(COURSE).version
    for words in (["init", "-q", f"--initial-branch={version}"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], cwd=folder, check=True)
    return folder


def run_elsewhere(notebook, folder, repository=None, colab=True):
    """Run a notebook in `folder` with a faked google.colab; git finds `repository` at our address."""
    fake, profile = folder.parent / "fake", folder.parent / "ipython" / "profile_default" / "startup"
    (fake / "google" / "colab").mkdir(parents=True)
    (fake / "google" / "colab" / "__init__.py").write_text("")
    profile.mkdir(parents=True)
    if colab:  # as on Colab: the kernel has imported it before the first cell runs
        (profile / "colab.py").write_text(f"import sys; sys.path.append({str(fake)!r}); import google.colab")
    address = f"https://github.com/{links.read_links(COURSE).repository}"
    hidden = ("PYTHONPATH", "NOISE_TO_DIGITS_OUT")
    environment = {
        **{key: value for key, value in os.environ.items() if key not in hidden},
        "IPYTHONDIR": str(folder.parent / "ipython"), "NOISE_TO_DIGITS_MODE": "smoke",
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.file://{repository}.insteadOf",
        "GIT_CONFIG_VALUE_0": address, "GIT_TERMINAL_PROMPT": "0",
    }  # fmt: skip
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", store_widget_state=True,
                            resources={"metadata": {"path": str(folder)}})  # fmt: skip
    client.execute(env=environment)
    return notebook


@pytest.fixture
def empty(tmp_path):
    folder = tmp_path / "content"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_on_colab_a_student_notebook_fetches_the_course_and_runs(published, empty):
    notebook = read_notebook(next(COURSE.student.glob("01_*.ipynb")))
    notebook.cells.append(nbformat.v4.new_code_cell("import helpers; print(helpers.__file__, os.getcwd())"))
    ran = run_elsewhere(notebook, empty, published)
    course = empty / links.read_links(COURSE).repository.split("/")[1]
    assert ran.cells[-1].outputs[0].text.split() == [str(course / "helpers" / "__init__.py"), str(course)]
    assert [path.name for path in empty.iterdir()] == [course.name], "something lies beside the course"
    words = "".join(str(output) for cell in ran.cells for output in cell.get("outputs", []))
    assert "not attempted" in words


def test_run_again_after_a_restart_it_takes_the_copy_that_is_there(published, empty):
    notebook = read_notebook(next(COURSE.student.glob("01_*.ipynb")))
    notebook.cells = notebook.cells[:3]
    again = nbformat.v4.new_code_cell(notebook.cells[1].source)
    back = nbformat.v4.new_code_cell("os.chdir(here)  # a restarted kernel starts in the first folder again")
    notebook.cells += [again, back, nbformat.from_dict(dict(again, id="once-more"))]
    run_elsewhere(notebook, empty, published)


def test_alone_on_a_machine_it_says_what_to_do(empty):
    notebook = read_notebook(next(COURSE.student.glob("01_*.ipynb")))
    notebook.cells = notebook.cells[:2]
    with pytest.raises(Exception, match="git clone https://github.com/"):
        run_elsewhere(notebook, empty, colab=False)
    assert not list(empty.iterdir())
