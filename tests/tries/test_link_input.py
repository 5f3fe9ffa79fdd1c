"""What `make links` and pyproject.toml are given for a repository and a version: code, options, paths."""

import ast

import pytest

import toy_course
from builder import links
from builder.course import BuildError
from builder.editions import write_editions
from tries.commands import assert_sentence, every_file, run_here

README = "git clone --depth=1 https://github.com/ada/toy.\ngit clone https://github.com/ada/toy\n"

REPOSITORIES = {
    "the folder above": "a/..",
    "the folder itself": "a/.",
    "an option of git": "a/-n",
    "a long option of git": "a/--bare",
    "upload pack": "a/--upload-pack=touch",
    "a suffix that git drops": "a/b.git",
    "the suffix in capitals": "a/b.GIT",
    "nothing but the suffix": "a/.git",
    "no owner": "/b",
    "no name": "a/",
    "no slash": "ab",
    "two slashes": "a//b",
    "three parts": "a/b/c",
    "the owner is the folder above": "../b",
    "the owner is an option": "-a/b",
    "the owner ends with a dash": "a-/b",
    "two dashes in the owner": "a--b/c",
    "an owner with a dot": "a.b/c",
    "an address": "https://github.com/a/b",
    "an address of another scheme": "ext::sh/c",
    "a user and a host": "git@host:a/b",
    "a blank": "a/b c",
    "a blank before": " a/b",
    "a line end": "a/b\n",
    "two lines": "a/b\nimport os",
    "a NUL byte": "a/b\0c",
    "a double quote": 'a/b"',
    "a single quote": "a/b'",
    "code in quotes": 'a/b", __import__("os").system("true"), "',
    "a dollar": "a/$HOME",
    "backticks": "a/`true`",
    "a command": "a/b;true",
    "a pipe": "a/b|true",
    "a backslash": "a/b\\c",
    "a group of a pattern": "a/b\\g<1>",
    "braces of a template": "a/{version}",
    "a letter that only looks like a": "\u0430/b",
    "an umlaut": "a/\u00e4",
    "digits that are not ASCII": "a/\u0661",
    "invisible characters": "a/b\u200b",
    "markup": "a/<script>",
    "a percent sign": "a/%2e%2e",
    "an owner of 40 letters": "a" * 40 + "/b",
    "a dot at the end": "a/b.",
    "a name of 101 letters": "a/" + "b" * 101,
    "a megabyte": "a/" + "b" * 1_000_000,
}

VERSIONS = {
    "the folder above": "..",
    "the folder itself": ".",
    "a range": "a..b",
    "an option": "-n",
    "a long option": "--upload-pack=true",
    "only a dash": "-",
    "hidden": ".v1",
    "a lock of git": "v1.lock",
    "a dot at the end": "v1.",
    "the head": "HEAD",
    "a commit": "0123456789abcdef0123456789abcdef01234567",
    "a slash": "a/b",
    "a blank": "v 1",
    "a line end": "v1\n",
    "a NUL byte": "v\0",
    "a quote": 'v1"',
    "code in quotes": 'v1"; import os; "',
    "a dollar": "$(true)",
    "a tilde": "v1~1",
    "a caret": "v1^",
    "a colon": "v1:README.md",
    "a reflog": "@{1}",
    "a wild card": "v*",
    "a question mark": "v1?urlpath=evil",
    "a hash": "v1#x",
    "a backslash": "v\\1",
    "an umlaut": "v\u00e4",
    "two hundred letters and one": "v" * 201,
}

FINE = [
    ("ada/digits", "main"), ("a/b", "v1.0"), ("a-b/c.d_e", "2024-05"), ("a1/.github", "release-1.2_x"),
    ("A/B-", "main.2"), ("a/git", "head"), ("a/b.github", "v1.locked"),
    ("x" * 39 + "/" + "y" * 100, "v" * 200),
]  # fmt: skip


@pytest.fixture
def course(tmp_path):
    course = toy_course.make(tmp_path)
    (tmp_path / "README.md").write_text(README)
    write_editions(course)
    return course


def assert_refused(capsys, course, *words):
    before = every_file(course.root)
    code, said = run_here(capsys, course, "links", *words)
    assert code == 1
    assert_sentence(said)
    assert len(said) < 400
    assert every_file(course.root) == before
    return said


@pytest.mark.parametrize("repository", REPOSITORIES.values(), ids=REPOSITORIES)
def test_no_repository_of_github_is_refused(capsys, course, repository):
    assert "write owner/name" in assert_refused(capsys, course, f"--repository={repository}")


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_no_branch_or_tag_is_refused(capsys, course, version):
    assert "is not a version: a branch or tag" in assert_refused(capsys, course, f"--version={version}")


@pytest.mark.parametrize("repository, version", FINE, ids=lambda word: word[:20])
def test_a_name_that_github_and_git_take_is_taken(capsys, course, repository, version):
    words = ["--repository", repository, "--version", version]
    assert run_here(capsys, course, "links", *words)[0] == 0
    assert links.read_links(course) == links.Links(repository, version, "1") and links.problems(course) == []
    text = (course.root / "README.md").read_text()
    assert text == README.replace("ada/toy", repository), "the full stop behind the address is no part of it"


TABLES = {
    "no table": ("[tool.noise-to-digits]", "[tool.other-course]"),
    "no repository": ('repository = "ada/toy"\n', ""),
    "a repository that is a number": ('repository = "ada/toy"', "repository = 5"),
    "a repository that is a list": ('repository = "ada/toy"', 'repository = ["ada/toy"]'),
    "a repository that is code": ('"ada/toy"', "'a/b\"; import os; \"'"),
    "a version that is code": ('"v1"', "'v1\"; import os; \"'"),
    "a version that is the folder above": ('"v1"', '".."'),
    "an edition that is code": ('edition = "1"', "edition = '1\"; import os; \"'"),
    "an edition that is empty": ('edition = "1"', 'edition = ""'),
    "a quote that is not closed": ('"ada/toy"', '"ada/toy'),
    "half a file": (
        'repository = "ada/toy"\nversion = "v1"\nedition = "1"\n\n[tool.other]\nversion = "2"',
        "rep",
    ),
    "a merge that was not finished": ('repository = "ada/toy"', '<<<<<<< HEAD\nrepository = "ada/toy"'),
}


@pytest.mark.parametrize("old, new", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("command", ["editions", "links"])
def test_a_wrong_table_in_pyproject_is_named_and_nothing_is_written(capsys, course, command, old, new):
    toy_course.edit(course.root / "pyproject.toml", old, new)
    before = every_file(course.root)
    code, said = run_here(capsys, course, command)
    assert code == 1 and every_file(course.root) == before
    assert_sentence(said)
    assert (
        "pyproject.toml" in said or "write owner/name" in said or "branch or tag" in said or "edition" in said
    )


FORMS = {
    "single quotes": ('repository = "ada/toy"', "repository = 'ada/toy'"),
    "no blanks": ('repository = "ada/toy"', 'repository="ada/toy"'),
    "a comment behind it": ('repository = "ada/toy"', 'repository = "ada/toy"  # ours'),
    "a comment behind the table's name": (
        "[tool.noise-to-digits]",
        "[tool.noise-to-digits]  # where it lives",
    ),
    "line ends of Windows": ("\n", "\r\n"),
    "a byte order mark": ("[tool.noise", "\ufeff[tool.noise"),
}


@pytest.mark.parametrize("old, new", FORMS.values(), ids=FORMS)
def test_another_way_to_write_the_table_is_read_and_written(capsys, course, old, new):
    path = course.root / "pyproject.toml"
    path.write_bytes(path.read_text().replace(old, new).encode())
    assert run_here(capsys, course, "links", "--repository=eve/fork", "--version=v2")[0] == 0
    assert links.read_links(course) == links.Links("eve/fork", "v2", "1")
    assert '[tool.other]\nversion = "2"' in path.read_text(encoding="utf-8-sig")


def test_a_table_that_cannot_be_changed_by_a_line_is_left_to_its_author(course):
    path = course.root / "pyproject.toml"
    path.write_text('[tool]\nnoise-to-digits = {repository = "ada/toy", version = "v1", edition = "1"}\n')
    before = every_file(course.root)
    with pytest.raises(BuildError, match="pyproject.toml: write repository and version .* by hand"):
        links.write_links(course, "eve/fork", None)
    assert every_file(course.root) == before


@pytest.mark.parametrize("repository, version", FINE, ids=lambda word: word[:20])
def test_the_first_cell_holds_the_names_as_words_and_nothing_else(repository, version):
    tree = ast.parse(links.Links(repository, version, "1").bootstrap())
    names = next(node.value.elts for node in tree.body if isinstance(node, ast.Assign))
    assert [name.value for name in names] == [f"https://github.com/{repository}", version, "1"]
