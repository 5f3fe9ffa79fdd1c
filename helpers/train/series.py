"""A series of small trainings, each remembered when done, so that an interrupted series goes on."""

from __future__ import annotations

import json
import sys
import time

from helpers import checkpoints


def run_series(name: str, jobs: dict) -> dict:
    """{key: result} of jobs {key: function without arguments that returns something JSON-able}, in order.

    Results known from data/checkpoints/.name.resume are not computed again; forget(name) removes that file.
    Raises TypeError for keys that are not strings; a job that fails stops the series.
    """
    path, started = checkpoints.CHECKPOINTS / f".{name}.resume", time.perf_counter()
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if wrong := [key for key in jobs if not isinstance(key, str)]:
        raise TypeError(f"keys of jobs are strings, as JSON has no others, got {wrong[0]!r}")
    for key in (key for key in jobs if key not in known):
        known[key] = json.loads(json.dumps(jobs[key]()))  # as it is read back after an interruption
        with checkpoints.whole_or_not_at_all(path) as part:
            part.write_text(json.dumps(known), encoding="utf-8")
        done = f"{sum(k in known for k in jobs)} of {len(jobs)}"
        seconds = time.perf_counter() - started
        print(f"{name}: {key} ({done}, {seconds:.0f} s)", file=sys.stderr, flush=True)
    return {key: known[key] for key in jobs}


def forget(name: str) -> None:
    """The series is written: drop what run_series remembered."""
    (checkpoints.CHECKPOINTS / f".{name}.resume").unlink(missing_ok=True)
