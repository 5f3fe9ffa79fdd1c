"""Running notebooks, and tidying what they print before it is saved."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

from jupyter_client.kernelspec import NoSuchKernel
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbclient.output_widget import OutputWidget

from helpers.files import restore_hint
from helpers.sliders import RECORD as RECORD_FRAMES

from .course import BuildError, Course, make_folder, read_json, write_text
from .editions import LANGUAGE, RECORD
from .fingerprint import fingerprint

# What a slider draws need not go back to the kernel. nbclient would send it there past its own socket object,
# and on a busy machine the reply to the cell is then not noticed: the kernel idles, the client waits forever.
OutputWidget.sync_state = lambda self: None


class Client(NotebookClient):
    """nbclient's, for which a kernel that is gone already (Ctrl-C, a failed start) is no error of its own."""

    async def _async_cleanup_kernel(self) -> None:
        if self.km is not None:
            await super()._async_cleanup_kernel()

    _cleanup_kernel = run_sync(_async_cleanup_kernel)


WIDGET = "application/vnd.jupyter.widget-view+json"
RECORDED = "application/vnd.noise-to-digits.recorded+json"  # a slider's recording: what it took; not kept
SECONDS_A_CELL = 1800
SECONDS = "notebook_seconds"  # the results file


def run(
    course: Course, name: str, notebook, out: Path, mode="read", record: Path | None = None
) -> tuple[dict, list[str]]:
    """Execute `notebook` in place and tidy it; GIFs and PNGs go to the folder `out`.

    record: a folder for what its sliders show, for the site; None records nothing.
    Returns seconds, {"all": in all, cell id: of that cell}, and what its cells wrote to stderr (not kept).
    Raises BuildError naming the cell that failed, or the kernel that did not start or died.
    """
    make_folder(out)
    start, began, seconds, recording, unrecorded = time.perf_counter(), {}, {}, [], []

    def started(cell, cell_index):
        began[cell.id] = time.perf_counter()

    def executed(cell, cell_index, execute_reply):  # not called for markdown
        told = [o.data[RECORDED] for o in cell.outputs if RECORDED in o.get("data", {})]
        extra = sum(each["seconds"] for each in told)
        seconds[cell.id] = time.perf_counter() - began[cell.id] - extra
        unrecorded.extend(each["reason"] for each in told if each["reason"])
        recording.append(extra)  # no reader waits for it

    settings = {"NOISE_TO_DIGITS_MODE": mode, "NOISE_TO_DIGITS_OUT": str(out.resolve()), "TQDM_DISABLE": "1"}
    settings[RECORD_FRAMES] = str(record.resolve() / name[:2]) if record is not None else ""
    settings["NOISE_TO_DIGITS_MINE"] = ""  # nothing of what runs here is somebody's answer
    client = Client(
        notebook,
        timeout=None if mode == "full" else SECONDS_A_CELL,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=True,  # Output widgets need it while they run; tidy drops it
        extra_arguments=["--log-level=CRITICAL"],  # nothing of its TCP connection, nor of a Ctrl-C
        resources={"metadata": {"path": str(course.complete)}},
        on_cell_start=started,
        on_cell_executed=executed,
    )
    said = tempfile.TemporaryFile()  # what the kernel itself, not a cell, writes to stderr
    try:
        client.execute(env=os.environ | settings, stderr=said)
    except BaseException as err:
        if hasattr(client, "_async_cleanup_kernel_future"):  # nbclient took Ctrl-C and shut the kernel down
            raise KeyboardInterrupt from None
        if not isinstance(err, (CellExecutionError, RuntimeError, OSError, NoSuchKernel)):
            raise
        raise BuildError(f"{name}: nothing was saved, {_explain(err, began, said)}") from None
    finally:
        said.close()
    noise = tidy(notebook) + [f"no frames of a slider: {reason}" for reason in unrecorded]
    if mode == "read":
        made = {"mode": mode, "inputs": fingerprint(course, name, notebook)}
        notebook.metadata[RECORD] = notebook.metadata.get(RECORD, {}) | made
    return {"all": time.perf_counter() - start - sum(recording), **seconds}, noise


def _explain(err: Exception, began: dict, said) -> str:
    """Why a notebook did not reach its end, and what to do."""
    if isinstance(err, CellExecutionError):
        return "a cell failed\n" + re.sub(r"\x1b\[[0-9;]*m", "", str(err))
    if isinstance(err, CellTimeoutError):
        return f"a cell took too long\n{err}"
    if began:
        return f"its kernel died ({err}): often memory is short; close other notebooks and run it again"
    said.seek(0)
    last = said.read().decode(errors="replace").strip().rpartition("\n")[2]
    return f"its kernel did not start ({last or err}): try {sys.executable} -m ipykernel, or install again"


def read_seconds(course: Course) -> dict:
    """What each notebook took, by its number. Raises BuildError naming a damaged file."""
    path = course.results / f"{SECONDS}.json"
    kept = read_json(path)
    if not all(isinstance(entry, dict) for entry in kept.values()):
        raise BuildError(f"{path} is damaged (an entry is no object): {restore_hint(path)}")
    return kept


def keep_seconds(course: Course, name: str, seconds: dict) -> None:
    """Write what a notebook took, and its cells of half a second and more, to data/results/SECONDS.json."""
    path, kept = course.results / f"{SECONDS}.json", read_seconds(course)
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
            elif RECORDED in output.get("data", {}):
                continue
            elif WIDGET in output.get("data", {}):
                del output.data[WIDGET]
                if set(output.data) <= {"text/plain"}:
                    continue
            outputs.append(output)
        cell.outputs = [o for o in outputs if o.output_type != "stream" or o.text.strip()]
    return noise
