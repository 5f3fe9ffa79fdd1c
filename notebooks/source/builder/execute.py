"""Running notebooks, and tidying what they print before it is saved."""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from .course import BuildError, Course
from .editions import LANGUAGE, RECORD
from .fingerprint import fingerprint

WIDGET = "application/vnd.jupyter.widget-view+json"
SECONDS_A_CELL = 1800


@contextmanager
def environment(**variables):
    """Environment variables for the kernel, put back afterwards."""
    before = {key: os.environ.get(key) for key in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def run(course: Course, name: str, notebook, out: Path, mode="read") -> tuple[float, list[str]]:
    """Execute `notebook` in place and tidy it; GIFs and PNGs go to the folder `out`.

    Returns the seconds it took and what its cells wrote to stderr (which is not kept).
    Raises BuildError naming the cell that failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with environment(NOISE_TO_DIGITS_MODE=mode, NOISE_TO_DIGITS_OUT=str(out.resolve()), TQDM_DISABLE="1"):
        client = NotebookClient(
            notebook,
            timeout=SECONDS_A_CELL,
            kernel_name="python3",
            record_timing=False,
            store_widget_state=True,  # Output widgets need it while they run; tidy drops it
            extra_arguments=["--log-level=ERROR"],  # else each kernel warns of its TCP connection
            resources={"metadata": {"path": str(course.complete)}},
        )
        try:
            client.execute()
        except CellExecutionError as err:
            message = re.sub(r"\x1b\[[0-9;]*m", "", str(err))
            raise BuildError(f"{name}: a cell failed; nothing was saved\n{message}") from None
        except (CellTimeoutError, DeadKernelError) as err:
            raise BuildError(f"{name}: {err}; nothing was saved") from None
    noise = tidy(notebook)
    if mode == "read":
        notebook.metadata[RECORD] = {"mode": mode, "inputs": fingerprint(course, name, notebook)}
    return time.perf_counter() - start, noise


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
