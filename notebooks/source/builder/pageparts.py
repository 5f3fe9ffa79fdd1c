"""What the site adds to notebooks: sliders that move, words explained, pages of references and of tasks.

transform(cells, name)  the cells of a saved complete edition, with recorded sliders below those that
                        call sliders(...), and <span class="term"> at the first use of a word of the glossary
extra_pages(course)     {file name: markdown} of the pages "exercises" and "references"
"""

from __future__ import annotations

import ast
import copy
import html
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlparse

from nbformat.v4 import new_markdown_cell

from .course import Course, natural, read_json, read_notebook, read_text
from .source import kind_of, python_of

HERE = Course(Path(__file__).resolve().parents[3])
GLOSSARY = "00"  # the notebook whose section "### Glossary" has the words
FRAMES = "_static/live/frames"  # from a page of the site


def transform(cells: list, name: str, course: Course = HERE) -> list:
    """The cells of notebook `name` as its page shows them; the cells given stay as they are."""
    cells = [copy.deepcopy(cell) for cell in cells]
    return with_sliders(with_terms(cells, glossary(course)), name, course)


def extra_pages(course: Course) -> dict[str, str]:
    """The pages that collect something of all notebooks: file name -> markdown."""
    return {"exercises.md": exercises_page(course), "references.md": references_page(course)}


def _saved(course: Course):
    """(name, cells) of every notebook that is saved."""
    for path in course.source_paths():
        notebook = read_notebook(course.complete_path(path.stem))
        if notebook is not None:
            yield path.stem, notebook.cells


# Sliders --------------------------------------------------------------------------------------------------


def slider_calls(code: str) -> list[str]:
    """The names of the functions that a cell gives to sliders(...); none where it is no Python."""
    try:
        tree = ast.parse(python_of(code) if "sliders(" in code else "")
    except SyntaxError:
        return []
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [ast.unparse(call.args[0]) for call in calls if ast.unparse(call.func) == "sliders" and call.args]


def unrecorded(course: Course, name: str, cells: list) -> list[str]:
    """The sliders in the cells of notebook `name` of which no recording is there, nor a reason for none."""
    calls = [draw for cell in cells if cell.cell_type == "code" for draw in slider_calls(cell.source)]
    folder = course.complete / "live" / "frames"
    return [draw for draw in calls if not (folder / f"{name[:2]}_{draw}.json").exists()]


def with_sliders(cells: list, name: str, course: Course) -> list:
    """The cells with a recorded slider, or why there is none, below each that calls sliders(...)."""
    found = []
    for cell in cells:
        found.append(cell)
        if cell.cell_type == "code":
            for draw in slider_calls(cell.source):
                shown = slider(course.complete / "live" / "frames", f"{name[:2]}_{draw}")
                found.append(new_markdown_cell(shown, id=f"{cell.id[:50]}-frames"))
    return found


def slider(folder: Path, name: str) -> str:
    """The element that slider.js mounts on; without script, its first picture."""
    told = read_json(folder / f"{name}.json")
    if "alts" not in told or not (folder / f"{name}.webp").exists():
        return '<p class="slider-about">Its controls move in the notebook itself, where a kernel runs.</p>'
    at = 0
    for control in told["controls"]:
        at = at * len(control["values"]) + control["start"]
    width, height, count = told["width"], told["height"], len(told["alts"])
    place = f"object-position: 0 {100 * at / max(1, count - 1):.4f}%"
    style = f"aspect-ratio: {width} / {height}; max-width: {width}px; {place}"
    about = f"{count} pictures, recorded when the notebook ran."
    if told["held"]:
        held = " and ".join(f"{key} {value}" for key, value in told["held"].items())
        about += f" Here {held} stays; in the notebook itself all controls move."
    says = re.sub(r"`(.+?)`", r"<code>\1</code>", html.escape(told["says"]))
    data = json.dumps({key: told[key] for key in ("controls", "alts")}, ensure_ascii=False)
    data = data.replace("<", "\\u003c")
    return "\n".join([
        f'<div class="live" data-live="slider" data-frames="{name}"><div class="slider">',
        f"<p>{says}</p>",
        f'<img class="slider-frame" src="{FRAMES}/{name}.webp" alt="{html.escape(told["alts"][at])}" '
        f'width="{width}" height="{height}" style="{style}" loading="lazy" decoding="async">',
        f'<p class="slider-about">{html.escape(about)}</p>',
        "<noscript>With JavaScript there are controls here.</noscript>",
        f'<script type="application/json">{data}</script>',
        "</div></div>",
    ])  # fmt: skip


# Words ----------------------------------------------------------------------------------------------------

# words that also mean something else: where they mean this; None: nowhere that a pattern can tell
MEANT = {
    "sure": None,
    "clip": None,
    "judge": r"(?<=[Tt]he )judge(?!s)",
    "floor": r"(?:(?<=its )|(?<=their )|(?<= a )|(?<=\*))floors?(?!\** of the)",
    "bound": r"bound(?= on the)",
    "divergence": r"(?<=\*)divergence",  # where it is introduced, not that of Kullback and Leibler
    "KL divergence": r"(?:Kullback-Leibler|KL) divergences?|KL",
}
# what a sentence of markdown is not: code, formulas, comments, tags, links and pictures, emphasis' own marks
SKIPPED = re.compile(
    r"(?s)```.*?```|<!--.*?-->|<summary>.*?</summary>|<(?P<tag>pre|code|a|script|svg)\b.*?</(?P=tag)>|<[^>]*>"
    r"|\$\$.*?\$\$|(?<!\\)\$[^$\n]+\$|`+[^`]+`+|!?\[[^\]\n]*\]\([^)\n]*\)|https?://\S+"
)
SIGNS = {r"\alpha": "α", r"\beta": "β", r"\eta": "η", r"\epsilon": "ε", r"\nabla": "∇", r"\log": "log"}
LOW = str.maketrans("0123456789-t", "₀₁₂₃₄₅₆₇₈₉₋ₜ")


def glossary(course: Course) -> dict[str, str]:
    """Word -> definition, in plain text, from the table below "### Glossary" in notebook 00."""
    paths = [path for path in course.source_paths() if path.name.startswith(GLOSSARY)]
    if not paths or "### Glossary" not in (text := read_text(paths[0])):
        return {}
    text = text.partition("### Glossary")[2].partition("\n\n")[0]
    rows = re.findall(r"(?m)^# \| ([^|]+) \| ([^|]+) \| [\d, ]+ \|$", text)
    return {word: plain(meaning) for words, meaning in rows for word in _words(words)}


def _words(entry: str) -> list[str]:
    """The words of an entry: "clamp, clip" are two, and so are "bound (ELBO)"."""
    return [word for word in re.split(r", | \(|\)", entry.strip()) if word]


def plain(text: str) -> str:
    """Markdown with small formulas as plain text: $x_0$ becomes x₀."""

    def formula(found) -> str:
        inner = re.sub(r"\\bar\\alpha", "α\u0304", found[1])
        for sign, letter in SIGNS.items():
            inner = inner.replace(sign, letter)
        inner = re.sub(r"_\{([^}]*)\}|_(\w)", lambda low: (low[1] or low[2]).translate(LOW), inner)
        return inner.replace("-", "\u2212").replace("\\", "")

    return re.sub(r"[*`]", "", re.sub(r"\$([^$]+)\$", formula, text)).strip()


def _pattern(word: str) -> str | None:
    if word in MEANT:
        return MEANT[word]
    if word != word.lower():  # a name or an abbreviation
        return re.escape(word)
    return f"[{word[0]}{word[0].upper()}]{re.escape(word[1:])}s?"


def with_terms(cells: list, meanings: dict[str, str]) -> list:
    """The cells with each word marked where it is first used in running text, longest words first."""
    open_words = {}
    for word in sorted(meanings, key=len, reverse=True):
        if pattern := _pattern(word):
            open_words[word] = pattern
    for cell in cells:
        if cell.cell_type == "markdown" and open_words:
            cell.source = _mark(cell.source, open_words, meanings)
    return cells


def _mark(text: str, open_words: dict[str, str], meanings: dict[str, str]) -> str:
    """One cell's text with its words marked; those are taken out of open_words."""

    def term(found) -> str:
        word = next(word for word, group in names.items() if found[group])
        if word not in open_words:
            return found[0]
        meaning = html.escape(meanings[word])
        for same in [other for other in open_words if meanings[other] == meanings[word]]:
            del open_words[same]
        return f'<span class="term" tabindex="0" data-definition="{meaning}">{found[0]}</span>'

    names = {word: f"word{i}" for i, word in enumerate(open_words)}
    one = "|".join(f"(?P<{names[word]}>{pattern})" for word, pattern in open_words.items())
    anyone = re.compile(rf"(?<![\w-])(?:{one})(?![\w-])")
    done, last, glossary_on = [], 0, False
    for found in [*SKIPPED.finditer(text), None]:
        piece = text[last : found.start() if found else len(text)]
        for line in piece.splitlines(keepends=True):
            at_start = not done or done[-1].endswith("\n")
            heading = at_start and re.match(r"#{1,6} ", line)
            if heading:
                glossary_on = "Glossary" in line or "References" in line
            in_heading = not at_start and _line_so_far(done).startswith("#")
            keep = heading or in_heading or glossary_on
            done.append(line if keep else anyone.sub(term, line))
        if found:
            done.append(found[0])
            last = found.end()
    return "".join(done)


def _line_so_far(pieces: list[str]) -> str:
    return "".join(pieces).rpartition("\n")[2]


# Exercises ------------------------------------------------------------------------------------------------

HEADING = re.compile(r"(?m)^#{2,4} Exercise (\d+\.\d+):? *(.*)$")
EFFORT = re.compile(r"Difficulty: ([●○]+)[,·\s]+(\d+) minutes")
KINDS = {"write": "write", "predict": "predict", "break": "break", "hunt": "find the line"}


def exercises_page(course: Course) -> str:
    """All tasks of the course: number and title with a link, kind, difficulty, minutes."""
    parts, count, minutes = [], 0, 0
    for name, cells in _saved(course):
        rows = list(_tasks(name, cells))
        if not rows:
            continue
        count, minutes = count + len(rows), minutes + sum(int(row[3]) for row in rows)
        title = re.match(r"# *(.+)", cells[0].source)
        parts += ["", f"## {title[1] if title else name}", ""]
        parts += ["| task | what you do | difficulty | minutes |", "|---|---|---|---|"]
        parts += [f"| {' | '.join(row)} |" for row in rows]
    opening = (
        f"{count} tasks, {round(minutes / 60)} hours in all. You *write* a function, *predict* what comes "
        "out, *break* something on purpose and say why it breaks, or *find the line* that is wrong. The "
        "minutes are estimates. Each notebook closes with further exercises, which are not listed here."
    )
    return "\n".join(["# All exercises", "", opening, *parts, ""])


def _tasks(name: str, cells: list):
    kinds = {c.metadata["exercise"]: kind_of(c) for c in cells if "exercise" in c.metadata}
    for cell in cells:
        found = HEADING.search(cell.source) if cell.cell_type == "markdown" else None
        effort = EFFORT.search(cell.source) if found else None
        if effort and found[1] in kinds:
            difficulty = effort[1].count("●")
            dots = f'<span role="img" aria-label="{difficulty} of {len(effort[1])}">{effort[1]}</span>'
            place, title = f"{name}.html#exercise-{found[1].replace('.', '-')}", f"{found[1]} {found[2]}"
            yield f'<a href="{place}">{title.strip()}</a>', KINDS[kinds[found[1]]], dots, effort[2]


# References -----------------------------------------------------------------------------------------------


@dataclass
class Reference:
    """A work: how it is named, where it is found, and what each notebook cites it for."""

    said: str
    cited: dict[str, list[str]] = field(default_factory=dict)  # notebook's name -> what it says of it


LINK = re.compile(r"\[([^\]]+)\]\((https?://[^)\s]+)\)")
# a second work in one entry begins, behind a full stop or a semicolon, with names and a year
NEXT = re.compile(r"(?<=[.;]) (?=[A-Z][\w'’-]+(?: et al\.|(?:,| &) [A-Z][\w'’-]+)* \d{4},)")


def references(course: Course) -> list[Reference]:
    """The works that notebooks name under "### References", each once, by author and year."""
    found: dict[str, Reference] = {}
    titles: dict[str, str] = {}
    for name, cells in _saved(course):
        for text in _reference_entries(cells):
            said, note = _take_apart(text)
            key = _key(said, titles)
            work = found.setdefault(key, Reference(said))
            work.said = max(work.said, said, key=_fullness)
            work.cited.setdefault(name, [])
            if note:
                work.cited[name].append(note)
    return sorted(found.values(), key=lambda work: natural(_by_author(work.said)))


def _reference_entries(cells: list):
    """The single works of a notebook's list of references."""
    for cell in cells:
        if cell.cell_type == "markdown" and "### References" in cell.source:
            text = cell.source.partition("### References")[2]
            text = re.split(r"(?m)^#", text)[0]
            for line in re.findall(r"(?m)^- (.+)$", text):
                yield from NEXT.split(re.sub(r"^\[\d+\] ", "", line))


def _take_apart(text: str) -> tuple[str, str]:
    """An entry as its naming of the work, and what it is cited for ("" for nothing)."""
    text = text.strip().rstrip(".;")
    link = list(LINK.finditer(text))
    at = link[-1].end() if link else text.rfind("*") + 1
    said, note = text[:at], text[at:]
    if not note.startswith((":", " (", ", section", ", chapter")) and ": " in note:
        more, _, note = note.partition(": ")
        said, note = said + more, note
    elif re.match(r", (?!section|chapter)", note):
        said, note = text, ""
    note = note.strip(" :,")
    return said.rstrip(" ,"), note[1:-1] if note.startswith("(") and note.endswith(")") else note


def _key(said: str, titles: dict[str, str]) -> str:
    """What tells a work: its address, else its title; a title once met with an address stands for it."""
    link, title = LINK.search(said), re.search(r"\*([^*]+)\*", said)
    words = re.sub(r"\W+", " ", title[1]).strip().lower() if title else ""
    if link:
        place = urlparse(link[2])
        key = f"{place.netloc}{place.path}".rstrip("/")
        titles.setdefault(words, key)
        return key
    return titles.get(words, words or said)


def _fullness(said: str) -> tuple:
    """How completely an entry names a work: with a title, and at length."""
    return "*" in said, len(said)


def _by_author(said: str) -> str:
    """What a work is sorted by: the surname of its first author, and the year."""
    names, year = re.sub(r"^(?:[A-Z]\.[- ]?)+", "", said), re.search(r"\b(19|20)\d\d\b", LINK.sub("", said))
    return f"{re.split('[, ]', names)[0]} {year[0] if year else ''}".lower()


def references_page(course: Course) -> str:
    """The works, each with the notebooks that cite it and what for."""
    works = references(course)
    lines = []
    for work in works:
        cited = []
        for name, notes in work.cited.items():
            said = f" ({'; '.join(notes)})" if notes else ""
            cited.append(f'<a href="{name}.html#references">{name[:2]}</a>{said}')
        lines.append(f"- {work.said}. Cited in {', '.join(cited)}.")
    opening = (
        f"The {len(works)} works that the notebooks name, by their first author, and where and what for."
    )
    return "\n".join(["# References", "", opening, "", *lines, ""])
