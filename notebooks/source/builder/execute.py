"""Running notebooks, and tidying what they print before it is saved."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbclient.output_widget import OutputWidget

from .course import BuildError, Course, write_text
from .editions import LANGUAGE, RECORD
from .fingerprint import fingerprint

# What a slider draws need not go back to the kernel. nbclient would send it there past its own socket object,
# and on a busy machine the reply to the cell is then not noticed: the kernel idles, the client waits forever.
OutputWidget.sync_state = lambda self: None

WIDGET = "application/vnd.jupyter.widget-view+json"
SECONDS_A_CELL = 1800
SECONDS = "notebook_seconds"  # the results file


def run(course: Course, name: str, notebook, out: Path, mode="read") -> tuple[dict, list[str]]:
    """Execute `notebook` in place and tidy it; GIFs and PNGs go to the folder `out`.

    Returns seconds, {"all": in all, cell id: of that cell}, and what its cells wrote to stderr (not kept).
    Raises BuildError naming the cell that failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    start, began, seconds = time.perf_counter(), {}, {}

    def started(cell, cell_index):
        began[cell.id] = time.perf_counter()

    def executed(cell, cell_index, execute_reply):  # not called for markdown
        seconds[cell.id] = time.perf_counter() - began[cell.id]

    settings = {"NOISE_TO_DIGITS_MODE": mode, "NOISE_TO_DIGITS_OUT": str(out.resolve()), "TQDM_DISABLE": "1"}
    client = NotebookClient(
        notebook,
        timeout=None if mode == "full" else SECONDS_A_CELL,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=True,  # Output widgets need it while they run; tidy drops it
        extra_arguments=["--log-level=ERROR"],  # else each kernel warns of its TCP connection
        resources={"metadata": {"path": str(course.complete)}},
        on_cell_start=started,
        on_cell_executed=executed,
    )
    try:
        client.execute(env=os.environ | settings)
    except CellExecutionError as err:
        message = re.sub(r"\x1b\[[0-9;]*m", "", str(err))
        raise BuildError(f"{name}: a cell failed; nothing was saved\n{message}") from None
    except (CellTimeoutError, DeadKernelError) as err:
        raise BuildError(f"{name}: {err}; nothing was saved") from None
    noise = tidy(notebook)
    if mode == "read":
        made = {"mode": mode, "inputs": fingerprint(course, name, notebook)}
        notebook.metadata[RECORD] = notebook.metadata.get(RECORD, {}) | made
    return {"all": time.perf_counter() - start, **seconds}, noise


def keep_seconds(course: Course, name: str, seconds: dict) -> None:
    """Write what a notebook took, and its cells of half a second and more, to data/results/SECONDS.json."""
    path = course.results / f"{SECONDS}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    slow = {cell: round(taken, 1) for cell, taken in seconds.items() if cell != "all" and taken >= 0.5}
    kept[name[:2]] = {"all": round(seconds["all"]), "cells": slow}
    write_text(path, json.dumps(dict(sorted(kept.items())), indent=1) + "\n")


def tidy(notebook) -> list[str]:
    """Drop widget state, stderr, overwritten progress bars and timing; returns what stood on stderr."""
    noise = []
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = dict(LANGUAGE)  # the kernel writes its version there
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        outputs = []
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                noise.append(f"{cell.id}: {output.text.strip()}")
                continue
            if output.output_type == "stream":
                output.text = re.sub(r"(?m)^[^\n]*\r(?!\n)", "", output.text.replace("\r\n", "\n"))
                if outputs and outputs[-1].output_type == "stream":
                    outputs[-1].text += output.text
                    continue
            elif WIDGET in output.get("data", {}):
                del output.data[WIDGET]
                if set(output.data) <= {"text/plain"}:
                    continue
            outputs.append(output)
        cell.outputs = [o for o in outputs if o.output_type != "stream" or o.text.strip()]
    return noise
