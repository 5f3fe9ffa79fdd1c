"""Ways through the course in the student edition: the one evening of notebook 00, and everything by hand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from nbclient import NotebookClient

from builder.course import Course, read_notebook
from builder.source import exercises, read_source

COURSE = Course(Path(__file__).resolve().parents[1])
START = COURSE.sources / "00_start_here.py"
WRONG = re.compile(r"^(?!0\.0)\d\.\d+ .*: (not yet|crashed|could not)", re.MULTILINE)  # 0.0: a demonstration
CREDIT = "drawn by your code: {} of 12 parts; the reference stands in for {}."


def evening() -> dict[str, list[str]]:
    """{notebook: tasks} of the table "One evening" in 00."""
    table = START.read_text(encoding="utf-8").split("# ### One evening")[1].split("#\n# At the end")[0]
    rows = re.findall(r"(?m)^# \| (\d\d) \| (.*) \| \d+ \|$", table)
    return {number: re.findall(r"\d\.\d+", text) for number, text in rows}


def walk(number: str, solved, home: Path):
    """Run All of a student notebook in smoke mode, with the solutions of these tasks filled in; its words."""
    [source] = [path for path in COURSE.source_paths() if path.name.startswith(number)]
    known, notebook = exercises(read_source(source)), read_notebook(COURSE.student_path(source.stem))
    for cell in notebook.cells:
        id = cell.metadata.get("exercise")
        if cell.cell_type == "code" and id in solved:
            cell.source = known[id].complete
    settings = {"NOISE_TO_DIGITS_MODE": "smoke", "NOISE_TO_DIGITS_OUT": str(home / "out")}
    settings["NOISE_TO_DIGITS_MINE"] = str(home)
    resources = {"metadata": {"path": str(COURSE.student)}}
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources)
    client.execute(env={**os.environ, **settings})
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join("".join(o.get("text", "") or o.get("data", {}).get("text/plain", "")) for o in outputs)


def draw(home: Path, *options):
    return subprocess.run(
        [sys.executable, home / "mine.py", *options], capture_output=True, text=True, timeout=120
    )


@pytest.mark.slow
def test_one_evening_ends_with_your_own_digits(tmp_path):
    for number, solved in evening().items():
        said = walk(number, solved, tmp_path)
        assert not WRONG.search(said), said[-2000:]
    assert CREDIT.format(7, "1.6, 2.5, 2.7, 3.1 and 3.4") in said


@pytest.mark.slow
def test_everything_by_hand_draws_alone(tmp_path):
    for number in ("00", "01", "02", "03", "04"):
        [source] = [path for path in COURSE.source_paths() if path.name.startswith(number)]
        said = walk(number, exercises(read_source(source)), tmp_path)
        assert not WRONG.search(said), said[-2000:]
    assert "drawn by your code: all 12 parts" in said or "drawn by your code: 12 of 12 parts" in said
    (tmp_path / "data").symlink_to(COURSE.root / "data")  # as if it lay in the course's folder
    drawn = draw(tmp_path, "4", "0")
    assert "drawn by your code alone" in drawn.stdout, drawn.stderr
    assert (tmp_path / "digits.png").stat().st_size > 500


def test_minutes_of_the_evening_add_up():
    text = START.read_text(encoding="utf-8")
    table = text.split("# ### One evening")[1].split("#\n# At the end")[0]
    minutes = [int(m) for m in re.findall(r"\| (\d+) \|\n", table)]
    assert sum(minutes) == 180 and "about three hours" in table.lower()
    known = {id for path in COURSE.source_paths() for id in exercises(read_source(path))}
    assert {id for ids in evening().values() for id in ids} <= known
