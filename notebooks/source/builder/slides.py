"""Slides: a reveal.js deck from a source and the saved outputs of its complete edition.

A markdown cell of a source becomes a slide by a block at its end. Notebooks do not show it:

    <!--slide 4 min
    ## One step

    $$x_t = ...$$

    - what the room should see

    Notes:
    Ask: how large is the variance after two steps?
    -->

Code cells below it that are not slide_type "skip" stand on the same slide: all of the cell, or what one of
the tags slide-code, slide-output, slide-figure picks. What a cell prints stays in the notebook: a slide shows
pictures and tables, and a check's verdict only where it stands alone. With slide_type "fragment" a picture
comes at the next click: when it answers what the slide asks. A block without text of its own takes its
cell's.

A block that begins with <!--slide 4 min debriefing belongs to a second deck, NAME_debriefing: what a class
looks at when it has done the work. The code cells below it go there too.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from .course import TEMPLATES, BuildError, Course, read_notebook, write_text
from .editions import complete_edition
from .saved import is_picture
from .source import first_line, read_source, tags

FEWEST, MOST = 12, 20  # slides a deck; each of two decks needs half as many
DEBRIEFING = "debriefing"  # the mark and the name of a second deck
VERDICT = '<div style="border-left'  # how helpers.exercises shows that a guess was right or wrong
PARTS = ("slide-code", "slide-output", "slide-figure")  # the tags that say which part of a cell is shown


def fewest(name: str) -> int:
    """The slides that notebook `name` must have at least: 00 only prepares, half as many do."""
    return FEWEST // 2 if name.startswith("00") else FEWEST


def decks(course: Course, name: str, draft=False, say=print) -> dict:
    """The slides of notebook `name` for nbconvert: text, code and outputs, speaker notes.

    Returns {name of the deck: notebook}: one entry, or two where some slides are those of a debriefing.
    Raises BuildError with every rule that the source's slides break, or naming a cell without outputs; with
    `draft` these are only said.
    """

    def complain(text: str) -> None:
        if not draft:
            raise BuildError(text)
        say(text)

    cells, page = read_source(course.sources / f"{name}.py"), course.complete_path(name)
    if broken := problems(cells, fewest(name)):
        complain(f"{name}: {len(broken)} to put right\n" + "\n".join(f"  - {text}" for text in broken))
    saved = read_notebook(page)
    if saved is None:
        raise BuildError(f"{name}: no {page.name} to take pictures from; run `make execute`")
    built, notes, here = {}, {}, None
    for cell, shown in zip(cells, complete_edition(cells, saved).cells, strict=True):
        for slide in cell.get("slides", []):
            here = f"{name}_{slide.deck}" if slide.deck else name
            built.setdefault(here, [])
            built[here] += [*notes.get(here, []), _cell(slide.text or cell.source, "slide")]
            notes[here] = [_cell(_said(slide), "notes")]
        if shown.cell_type == "code" and shown.metadata.slideshow.slide_type != "skip" and here:
            if shown.execution_count is None:
                complain(f"{name}: a cell on a slide was not executed; run `make execute`:\n{shown.source}")
            elif "slide-output" in tags(shown) and not any(map(_is_drawn, shown.outputs)):
                complain(f"{name}: a cell only prints, and slides show nothing printed:\n{shown.source}")
            built[here].append(_code(shown))
    if not built:
        raise BuildError(f"{name}: it has no slides; slides.py says how they are written")
    return {here: _numbered(cells + notes[here]) for here, cells in built.items()}


def _numbered(cells):
    """A notebook of these cells, with ids that do not change from build to build."""
    notebook = new_notebook(cells=cells)
    for i, cell in enumerate(notebook.cells):
        cell.id = f"slide-cell-{i}"
    return notebook


def _said(slide) -> str:
    """The speaker notes: a paragraph a line, the words before a colon in bold."""
    lines = re.sub(r"(?m)^([A-Z][a-z]+(?: run)?:|Answers\b)", r"**\1**", slide.notes).splitlines()
    return "\n\n".join([f"**{slide.minutes} min.**", *filter(None, map(str.strip, lines))])


def _cell(text: str, kind: str):
    return new_markdown_cell(text, metadata={"slideshow": {"slide_type": kind}})


def _code(cell):
    """An executed code cell as its tag says: code, output, pictures of the output, or (no tag) all of it."""
    part = next((tag for tag in tags(cell) if tag in PARTS), None)
    outputs = [output for output in cell.outputs if _is_drawn(output)]
    if not all(map(_is_verdict, outputs)):
        outputs = [output for output in outputs if not _is_verdict(output)]
    if part == "slide-code":
        outputs = []
    elif part == "slide-figure":
        outputs = [output for output in outputs if is_picture(output)]
    metadata = {"slideshow": cell.metadata.slideshow}
    if part in ("slide-output", "slide-figure"):
        metadata["transient"] = {"remove_source": True}
    # no execution count: the slides show no In [7]
    return new_code_cell(cell.source, outputs=outputs, metadata=metadata)


def _is_drawn(output) -> bool:
    """Whether an output is more than lines of text: a picture, a table, a note of a check."""
    return bool(set(output.get("data", {})) - {"text/plain"})


def _is_verdict(output) -> bool:
    return "".join(output.get("data", {}).get("text/html", "")).startswith(VERDICT)


def problems(cells, at_least: int = FEWEST) -> list[str]:
    """Every rule that the slides of a source break, one sentence each."""
    said, slides = [], Counter({"": 0})
    for i, cell in enumerate(cells, start=1):
        where, kind = f"cell {i} ({first_line(cell)!r})", cell.metadata.slideshow.slide_type
        found = cell.get("slides", [])
        slides.update(slide.deck for slide in found)
        if cell.cell_type == "markdown" and found and kind != "slide":
            said.append(f'{where}: has a <!--slide block, so its slide_type is "slide", not {kind!r}')
        if cell.cell_type == "markdown" and not found and kind != "skip":
            said.append(f'{where}: has no <!--slide block, so its slide_type is "skip", not {kind!r}')
        if cell.cell_type == "code" and kind not in ("skip", "-", "fragment"):
            said.append(f'{where}: code has slide_type "-", "fragment" or "skip", not {kind!r}')
        if cell.cell_type == "code" and kind != "skip" and not slides.total():
            said.append(f"{where}: stands on a slide but there is none above it")
        if len(set(tags(cell)) & set(PARTS)) > 1:
            said.append(f"{where}: has more than one of the tags {', '.join(PARTS)}")
        for slide in found:
            said += [f"{where}: {text}" for text in _slide_problems(slide, cell.source)]
    at_least = at_least if len(slides) == 1 else at_least // 2
    for part, count in slides.items():
        if not at_least <= count <= MOST:
            where = f" in the {part}" if part else ""
            said.append(f"there are {count} slides{where}, {at_least} to {MOST} are wanted")
    return said


def _slide_problems(slide, source: str) -> list[str]:
    said, text = [], slide.text or source
    if not slide.minutes:
        said.append("its slide does not say how long it takes: <!--slide 4 min")
    if not re.match(r"##? \S", text):
        said.append("its slide does not begin with a heading, # ... or ## ...")
    if slide.deck not in ("", DEBRIEFING):
        said.append(f"its deck is {slide.deck!r}: there is {DEBRIEFING!r}, and without a word the first")
    if "Ask:" not in slide.notes:
        said.append('the notes of its slide have no question for the room, "Ask: ..."')
    return said


# Writing ------------------------------------------------------------------------------------------


def has_debriefing(course: Course, name: str) -> bool:
    """Whether notebook `name` has a second deck."""
    cells = read_source(course.sources / f"{name}.py")
    return any(slide.deck == DEBRIEFING for cell in cells for slide in cell.get("slides", []))


def write_deck(course: Course, name: str, folder: Path, draft=False, say=print) -> dict[str, int]:
    """Write the deck of notebook `name` to folder/NAME.html, and that of its debriefing, if any, beside it.

    Returns {name of the deck: number of its slides}.
    """
    from nbconvert import SlidesExporter

    exporter = SlidesExporter(template_name="deck", extra_template_basedirs=[str(TEMPLATES)])
    css, counts = (TEMPLATES / "deck" / "deck.css").read_text(encoding="utf-8"), {}
    for stem, notebook in decks(course, name, draft, say).items():
        page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": stem}, "deck_css": css})
        write_text(folder / f"{stem}.html", page)
        counts[stem] = sum(cell.metadata.slideshow.slide_type == "slide" for cell in notebook.cells)
    return counts
