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
the tags slide-code, slide-output, slide-figure picks. A block without text of its own takes its cell's.
"""

from __future__ import annotations

import re
from pathlib import Path

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from .assets import FOLDER
from .course import BuildError, Course, read_notebook, write_text
from .editions import complete_edition
from .saved import is_picture
from .source import first_line, read_source, tags

FEWEST, MOST = 12, 20  # slides a notebook
PARTS = ("slide-code", "slide-output", "slide-figure")  # the tags that say which part of a cell is shown


def fewest(name: str) -> int:
    """The slides that notebook `name` must have at least: 00 only prepares, half as many do."""
    return FEWEST // 2 if name.startswith("00") else FEWEST


def deck(course: Course, name: str, draft=False, say=print):
    """The slides of notebook `name` as a notebook for nbconvert: text, code and outputs, speaker notes.

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
    built, notes = [], []
    for cell, shown in zip(cells, complete_edition(cells, saved).cells, strict=True):
        for slide in cell.get("slides", []):
            built += [*notes, _cell(slide.text or cell.source, "slide")]
            notes = [_cell(f"**{slide.minutes} min.** {slide.notes}", "notes")]
        if shown.cell_type == "code" and shown.metadata.slideshow.slide_type != "skip" and built:
            if shown.execution_count is None:
                complain(f"{name}: a cell on a slide was not executed; run `make execute`:\n{shown.source}")
            built.append(_code(shown))
    if not built:
        raise BuildError(f"{name}: it has no slides; slides.py says how they are written")
    notebook = new_notebook(cells=built + notes)
    for i, cell in enumerate(notebook.cells):
        cell.id = f"slide-cell-{i}"
    return notebook


def _cell(text: str, kind: str):
    return new_markdown_cell(text, metadata={"slideshow": {"slide_type": kind}})


def _code(cell):
    """An executed code cell as its tag says: code, output, pictures of the output, or (no tag) all of it."""
    part, outputs = next((tag for tag in tags(cell) if tag in PARTS), None), cell.outputs
    if part == "slide-code":
        outputs = []
    elif part == "slide-figure":
        outputs = [output for output in outputs if is_picture(output)]
    metadata = {"slideshow": cell.metadata.slideshow}
    if part in ("slide-output", "slide-figure"):
        metadata["transient"] = {"remove_source": True}
    # no execution count: the slides show no In [7]
    return new_code_cell(cell.source, outputs=outputs, metadata=metadata)


def problems(cells, at_least: int = FEWEST) -> list[str]:
    """Every rule that the slides of a source break, one sentence each."""
    said, slides = [], 0
    for i, cell in enumerate(cells, start=1):
        where, kind = f"cell {i} ({first_line(cell)!r})", cell.metadata.slideshow.slide_type
        found = cell.get("slides", [])
        slides += len(found)
        if cell.cell_type == "markdown" and found and kind != "slide":
            said.append(f'{where}: has a <!--slide block, so its slide_type is "slide", not {kind!r}')
        if cell.cell_type == "markdown" and not found and kind != "skip":
            said.append(f'{where}: has no <!--slide block, so its slide_type is "skip", not {kind!r}')
        if cell.cell_type == "code" and kind not in ("skip", "-", "fragment"):
            said.append(f'{where}: code has slide_type "-", "fragment" or "skip", not {kind!r}')
        if cell.cell_type == "code" and kind != "skip" and not slides:
            said.append(f"{where}: stands on a slide but there is none above it")
        if len(set(tags(cell)) & set(PARTS)) > 1:
            said.append(f"{where}: has more than one of the tags {', '.join(PARTS)}")
        for slide in found:
            said += [f"{where}: {text}" for text in _slide_problems(slide, cell.source)]
    if not at_least <= slides <= MOST:
        said.append(f"there are {slides} slides, {at_least} to {MOST} are wanted")
    return said


def _slide_problems(slide, source: str) -> list[str]:
    said, text = [], slide.text or source
    if not slide.minutes:
        said.append("its slide does not say how long it takes: <!--slide 4 min")
    if not re.match(r"##? \S", text):
        said.append("its slide does not begin with a heading, # ... or ## ...")
    if "Ask:" not in slide.notes:
        said.append('the notes of its slide have no question for the room, "Ask: ..."')
    return said


# Writing ------------------------------------------------------------------------------------------


def write_deck(course: Course, name: str, folder: Path, draft=False, say=print) -> int:
    """Write the deck of notebook `name` to folder/NAME.html; returns the number of slides."""
    from nbconvert import SlidesExporter

    notebook = deck(course, name, draft, say)
    exporter = SlidesExporter(template_name="deck", extra_template_basedirs=[str(FOLDER)])
    css = (FOLDER / "deck" / "deck.css").read_text(encoding="utf-8")
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": name}, "deck_css": css})
    write_text(folder / f"{name}.html", page)
    return sum(cell.metadata.slideshow.slide_type == "slide" for cell in notebook.cells)
