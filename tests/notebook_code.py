"""What the tests of a notebook read of it: the functions of its tasks, and the results it shows."""

import json

import pytest

from builder.source import exercises, read_source
from helpers.checkpoints import RESULTS
from helpers.exercises import mine


def run_tasks(source, **names) -> dict:
    """The names that the solutions of a source's write and break tasks define, beside `names` and `my`."""
    names = {"my": mine.references(), **names}
    for parsed in exercises(read_source(source)).values():
        if parsed.kind in ("write", "break"):
            exec(parsed.source or parsed.solution, names)
    return names


def results_of(name) -> dict:
    """data/results/NAME.json; the test is skipped where it is not there."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        pytest.skip(f"data/results/{name}.json is not there: make train")
    return json.loads(path.read_text(encoding="utf-8"))
