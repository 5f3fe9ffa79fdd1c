"""For the tests of the class report: notebooks that hand in what a test says, and how they are judged."""

import json
from pathlib import Path

import pytest

from builder.course import Course
from class_report import box, judge
from helpers.exercises import patches

COURSE = Course(Path(__file__).resolve().parents[1])
needs_box = pytest.mark.skipif(bool(box.why_no_box()), reason=f"no box here: {box.why_no_box()}")


def notebook(*sources: str, outputs=()) -> bytes:
    """A notebook with these code cells; outputs: {number of a cell: what it printed}."""
    cells = []
    for number, source in enumerate(sources):
        said = [{"output_type": "stream", "name": "stdout", "text": dict(outputs).get(number, "")}]
        cells.append(dict(cell_type="code", source=source, metadata={}, outputs=said, execution_count=None))
    return json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)).encode()


def solution(id: str) -> str:
    """A cell that hands in the course's solution of a task."""
    built = patches._find(id)
    if built.kind == "break":
        why = {"1.2": "b", "2.9": "b"}[id]
        return f'{built.source}\n\n{built.name} = check.changed("{id}", {built.name}, "{why}")'
    return f'{built.source}\n\n{built.name} = check("{id}", {built.name})'


def mistaken(id: str, name: str) -> str:
    """A cell that hands in one of the known mistakes."""
    built = patches._find(id)
    edits = next(m[1] for m in built.mistakes if m[0] == name)
    return f'{patches.patch(built.source, edits)}\n\n{built.name} = check("{id}", {built.name})'


def judged(content: bytes, student="ann", file="ann.ipynb", seed=1, trust=False, only=None) -> dict:
    return judge.judge_file(COURSE, student, file, content, seed, trust, only)
