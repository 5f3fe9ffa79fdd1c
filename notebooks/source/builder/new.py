"""A new notebook: a skeleton that builds, runs and passes its tests, and every list that has to name it.

templates/new/ holds the six files of the skeleton; @NN@, @N@ and @TITLE@ in them are the notebook's number
("12" and "12", "09" and "9") and title.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from .course import TEMPLATES, BuildError, Course, read_text, write_text
from .links import read_links

SKELETON = TEMPLATES / "new"
TITLE = re.compile(r"[\w ,.:;'’()!?&+-]+")
ROW = re.compile(r"(?m)^\| \d\d \| \[[^]]*\]\(notebooks/\d\d_.*\n")  # of the README's table of notebooks
LISTED = re.compile(r"(?m)^( *)# notebooks\n(?:.*\n)*?\1# end of notebooks$")  # in an issue form
NEXT = """\
What stands in it is a small working example. Replace it section by section; after each change:
  make editions execute ONLY={number}    build both editions, run, save the outputs
  make numbers editions            its seconds in README.md, its tables in notebooks/teaching/{number}.md
  make check ONLY={number}               is everything in step?
By hand: its row in README.md, its page and the ten questions of its quiz in notebooks/teaching, its line in
the table at the end of notebook 00, and one in CHANGELOG.md."""


def write_skeleton(course: Course, number: str, title: str, say=print) -> None:
    """Write source, mistakes, exercises, test and teaching pages of a new notebook; name it on every list.

    number: two digits, "12". title: without its number, "Latent spaces".
    Raises BuildError in one sentence, before anything is written, for a number that is taken or not two
    digits and for a title that cannot name a file.
    """
    title = title.strip()
    check_number(course, number)
    short = name_file(title)
    targets = {
        course.sources / f"{number}_{short}.py": "notebook.py.txt",
        course.sources / f"{number}_mistakes.md": "mistakes.md.txt",
        course.exercise_specs(number): "exercises.py.txt",
        course.root / "tests" / f"test_nb{number}_{short}.py": "test.py.txt",
        course.teaching / f"{number}.md": "teaching.md.txt",
        course.teaching / f"quiz_{number}.md": "quiz.md.txt",
    }
    if there := [path.relative_to(course.root).as_posix() for path in targets if path.exists()]:
        raise BuildError(f"{', '.join(there)} is there already: move it away, or take another number")
    for target, skeleton in targets.items():
        text = read_text(SKELETON / skeleton)
        for mark, word in (("@NN@", number), ("@N@", str(int(number))), ("@TITLE@", title)):
            text = text.replace(mark, word)
        write_text(target, text)
    source = next(iter(targets))
    lists = [*add_row(course, source.stem, title), *list_in_forms(course)]
    for path in [*targets, *lists]:
        say(f"wrote {path.relative_to(course.root).as_posix()}")
    say(NEXT.format(number=number))


def check_number(course: Course, number: str) -> None:
    """Raises BuildError unless `number` is two digits that no notebook has."""
    if not re.fullmatch(r"[0-9]{2}", number):
        raise BuildError(f"{number!r} is no number of a notebook: write two digits, NN=12")
    taken = {path.name[:2]: path.name for path in course.source_paths()}
    if number in taken:
        free = next((n for n in (f"{i:02d}" for i in range(100)) if n not in taken), "none")
        raise BuildError(f"{number} is taken by {taken[number]}: the first free number is {free}")


def name_file(title: str) -> str:
    """What stands behind the number in a file's name: "Latent spaces: why?" gives "latent_spaces".

    Raises BuildError for a title that is empty or has characters of paths or markup in it.
    """
    if not title:
        raise BuildError('a notebook needs a title: write TITLE="Latent spaces"')
    if len(title) > 80:
        raise BuildError(f"a title has at most 80 characters, this one has {len(title)}")
    if not TITLE.fullmatch(title):
        wrong = "".join(sorted({c for c in title if not TITLE.fullmatch(c)}))
        raise BuildError(f"a title is made of words; {title!r} has {wrong!r} in it")
    plain = unicodedata.normalize("NFKD", title.split(":")[0]).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"[a-z0-9]+", plain)
    if not words:
        raise BuildError(f"no file can be named after {title!r}: it has no letter from a to z before a colon")
    while len("_".join(words)) > 40 and len(words) > 1:
        words.pop()
    return "_".join(words)[:40]


def add_row(course: Course, name: str, title: str) -> list[Path]:
    """Put a row for notebook `name` below the last one of the README's table."""
    page, links, number = course.root / "README.md", read_links(course), name[:2]
    text = read_text(page) if page.exists() else ""
    rows, student = list(ROW.finditer(text)), f"notebooks/student/{name}.ipynb"
    if not rows:
        return []
    cells = [number, f"[{title}](notebooks/{name}.ipynb)", "what it leaves you with", "30 min"]
    cells.append(f"<!--r:notebook_seconds.{number}.all;d-->5<!--/--> s")
    cells.append(f"[Colab]({links.colab(student)}) [Binder]({links.binder(student)})")
    write_text(page, f"{text[: rows[-1].end()]}| {' | '.join(cells)} |\n{text[rows[-1].end() :]}")
    return [page]


def forms(course: Course) -> list[Path]:
    """The issue forms that ask for a notebook."""
    paths = sorted((course.root / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    return [path for path in paths if LISTED.search(read_text(path))]


def list_in_forms(course: Course) -> list[Path]:
    """Write the notebooks there are into every issue form; returns the forms that changed."""
    names = [path.stem for path in course.source_paths()]

    def write_list(mark) -> str:
        indent = mark[1]
        options = "".join(f"{indent}- {name}\n" for name in names)
        return f"{indent}# notebooks\n{options}{indent}# end of notebooks"

    return [path for path in forms(course) if write_text(path, LISTED.sub(write_list, read_text(path)))]
