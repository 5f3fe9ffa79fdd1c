"""The pages of the site that are text in the repository: help, and the room for whoever teaches.

notebooks/TEACHING.md and HELP.md, and all of notebooks/teaching: plans, projects, rubrics, grading, a page a
notebook, its quiz with the answers folded. A slide that a table names becomes a link to it in the deck; files
to download and pictures are copied to the site.
"""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

from . import quiz
from .course import Course, read_text
from .teaching import MARK, slides_of

FIRST = ("first_session", "plans", "projects", "rubrics", "grading")  # of notebooks/teaching, in this order
NUMBERED = re.compile(r"(?:quiz_)?(\d\d)")
SLIDE = re.compile(r"(?m)^(\| (\d+\.\d+) .*\| )([^|]*slide \d+) \|$")
FILE = re.compile(r"\[([^\]]+)\]\(([^)\s]+\.gift)\)")
PICTURE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)\s]+)\)")


def pages(course: Course) -> dict[Path, str]:
    """File of the repository -> name of its page, in the order of the site's navigation."""
    found = {course.complete / "TEACHING.md": "teaching", course.complete / "HELP.md": "help"}
    there = {path.stem: path for path in sorted(course.teaching.glob("*.md"))}
    plain = [stem for stem in there if not NUMBERED.fullmatch(stem)]
    for stem in sorted(plain, key=lambda stem: (FIRST.index(stem) if stem in FIRST else len(FIRST), stem)):
        found[there[stem]] = f"teaching_{stem}"
    for stem, path in there.items():
        if NUMBERED.fullmatch(stem) and (not stem.startswith("quiz") or is_written(path)):
            found[path] = stem if stem.startswith("quiz") else f"teaching_{stem}"
    return {path: page for path, page in found.items() if path.exists()}


def is_written(path: Path) -> bool:
    """Whether there is a quiz that has questions yet."""
    return path.exists() and "\n## " in read_text(path)


def text_of(course: Course, path: Path, names: list[str], extra: Path) -> str:
    """The text of a page for Sphinx; names: the notebooks of the site, which have pages and decks there."""
    numbered = NUMBERED.fullmatch(path.stem) if path.parent == course.teaching else None
    if not numbered:
        return read_text(path)
    name = next((name for name in names if name[:2] == numbered[1]), None)
    if path.stem.startswith("quiz_"):
        text, below = quiz.page(quiz.read_quiz(path)), ""
    else:
        text = _with_slides(course, read_text(path), numbered[1]) if name else read_text(path)
        there = is_written(course.teaching / f"quiz_{path.name}")
        below = f"\n```{{toctree}}\n:hidden:\n\nquiz_{numbered[1]}\n```\n" if there else ""
    title, _, rest = text.partition("\n")
    return f"{title}\n\n{_bar(course, path, numbered[1], name, extra)}\n{rest}{below}"


def _with_slides(course: Course, text: str, number: str) -> str:
    """The page of a notebook with links to its decks in the table of mistakes."""
    places = slides_of(course, number)

    def link(found) -> str:
        return f'{found[1]}<a href="{places[found[2]].link}">{found[3]}</a> |'

    return MARK.sub(lambda table: SLIDE.sub(link, table[0]), text)


def _bar(course: Course, path: Path, number: str, name: str | None, extra: Path) -> str:
    """A line of links: the notebook, its slides, its teaching page, its quiz, the quiz for Moodle."""
    page, written = course.teaching / f"{number}.md", course.teaching / f"quiz_{number}.md"
    links = [(f"{name}.html", f"Notebook {number}"), (f"slides/{number}.html", "Slides")] if name else []
    if path != page and page.exists():
        links.append((f"teaching_{number}.html", "Teaching page"))
    if path != written and is_written(written):
        links.append((f"quiz_{number}.html", "Quiz"))
    shown = [f'<a href="{address}">{words}</a>' for address, words in links]
    moodle = course.teaching / f"quiz_{number}.gift"
    if moodle.exists():
        shown.append(_download(moodle, "Quiz for Moodle", extra))
    return f'<p class="page-links-line">{" · ".join(shown)}</p>\n' if shown else ""


def _download(file: Path, words: str, extra: Path) -> str:
    """A link to a file that is copied to the site."""
    (extra / "moodle").mkdir(parents=True, exist_ok=True)
    shutil.copy(file, extra / "moodle" / file.name)
    return f'<a href="moodle/{file.name}" download>{html.escape(words)}</a>'


def with_files(text: str, course: Course, path: Path, extra: Path) -> str:
    """The text with links to files for Moodle and pictures of the repository that lead to copies of them."""

    def download(found) -> str:
        file = path.parent / found[2]
        return _download(file, found[1], extra) if file.exists() else found[1]

    def picture(found) -> str:
        file = (path.parent / found[2]).resolve()
        if not file.exists() or not file.is_relative_to(course.root.resolve()):
            return found[0]
        (extra / "pictures" / "teaching").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, extra / "pictures" / "teaching" / file.name)
        place, alt = f"pictures/teaching/{file.name}", html.escape(found[1])
        shown = f'<img alt="{alt}" src="{place}" loading="lazy" decoding="async">'
        return f'<a class="enlarge" href="{place}" title="Show it large">{shown}</a>'

    return PICTURE.sub(picture, FILE.sub(download, text))
