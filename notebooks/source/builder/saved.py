"""What a saved notebook must not contain, so that it shows well on any page and in any clone."""

from __future__ import annotations

import re

from .course import notebook_text
from .editions import alt_text
from .source import BEGIN, CORE_FIGURES, END, tags

MEGABYTES = 2.5
MACHINE_PATH = re.compile(
    r"(?<![\w.])(/(?:work|home|root|tmp|Users|opt|usr|mnt|var)/[\w.~-]+|[A-Z]:\\Users\\\w+)"
)
WARNING = re.compile(r"\b\w*Warning\b:|\bTraceback \(most recent call last\)")
TASK = {"exercise", "of", "expected"}  # metadata of a task's own cells, whose pictures are not counted
PICTURES = ("image/png", "image/gif", "image/jpeg", "image/svg+xml")


def problems(notebook) -> list[str]:
    """Everything in a saved notebook of either edition that should not be there; an empty list is good."""
    said, text = [], notebook_text(notebook)
    size = len(text.encode()) / 1e6
    if size > MEGABYTES:
        said.append(f"it has {size:.2f} MB, at most {MEGABYTES}: draw smaller or fewer pictures")
    if "widgets" in notebook.metadata or "vnd.jupyter.widget" in text:
        said.append("it holds widget state or a widget view")
    figures = 0
    for cell in notebook.cells:
        if BEGIN in cell.source or END in cell.source:
            said.append(f"{cell.id}: shows a solution marker")
        if found := MACHINE_PATH.search(cell.source):
            said.append(f"{cell.id}: names the path {found[0]}")
        if cell.cell_type == "code":
            if "execution" in cell.metadata:
                said.append(f"{cell.id}: holds execution times")
            said += [f"{cell.id}: {text}" for output in cell.outputs for text in _output_problems(output)]
            if "optional" not in tags(cell) and not TASK & cell.metadata.keys():
                figures += sum(map(is_picture, cell.outputs))
    if figures > CORE_FIGURES:
        said.append(f"the core path shows {figures} figures, at most {CORE_FIGURES}")
    return said


def is_picture(output) -> bool:
    data = output.get("data", {})
    return any(mime in data for mime in PICTURES) or "<img" in data.get("text/html", "")


def _output_problems(output) -> list[str]:
    said = []
    if output.output_type == "error":
        return [f"ends with {output.ename}: {output.evalue}"]
    if output.get("name") == "stderr":
        said.append("has output on stderr")
    if is_picture(output) and not alt_text(output).strip():
        said.append("shows a picture without alt text")
    data = output.get("data", {})
    words = [output.get("text", ""), data.get("text/plain", ""), data.get("text/markdown", "")]
    words.append(re.sub(r'="data:[^"]*"', "", data.get("text/html", "")))
    for text in words:
        if found := MACHINE_PATH.search(text):
            said.append(f"prints the path {found[0]}")
        if found := WARNING.search(text):
            said.append(f"prints {found[0]}")
        if "\r" in text or "\x1b[A" in text:
            said.append("holds the debris of a progress bar")
    return said
