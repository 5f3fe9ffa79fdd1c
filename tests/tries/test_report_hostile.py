"""Submissions that want to harm: none changes another result, or anything on the machine.

Each hands in 1.5 in a hostile way, between a right 1.4 and a right 1.9, which stay right.
"""

import os
import platform
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from class_report import box, extract, judge, run  # noqa: E402
from report_notebooks import COURSE, judged, needs_box, notebook, solution  # noqa: E402

HAND_IN = '\n\nq_sample = check("1.5", q_sample)'
RIGHT = "    a = at(schedule.alpha_bar, t, x0)\n    return a.sqrt() * x0 + (1 - a).sqrt() * noise"
WRONG = "    return x0"


def q_sample(body: str, above="", last=WRONG) -> str:
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"{above}\ndef q_sample(x0, t, noise, schedule):\n{lines}{last}{HAND_IN}"


def judge_hostile(source, **options) -> dict:
    """The row of 1.5; the tasks before and behind are right."""
    result = judged(notebook(solution("1.4"), source, solution("1.9")), **options)
    assert result["problem"] is None
    states = {id: row["state"] for id, row in result["tasks"].items()}
    assert (states["1.4"], states["1.9"]) == ("right", "right"), result["tasks"]
    return result["tasks"]["1.5"]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Less patience than for a class."""
    monkeypatch.setattr(judge, "SECONDS", 5.0)


@pytest.fixture
def left_behind(monkeypatch):
    """No process of a box that a test has started is there afterwards."""
    met, look = set(), box.Box._family
    monkeypatch.setattr(box.Box, "_family", lambda self: met.update(found := look(self)) or found)
    yield
    assert met
    for _ in range(100):
        mine = [pid for pid in met if b"inside.py" in command_of(pid)]
        if not mine:
            return
        time.sleep(0.1)
    raise AssertionError(f"still running: {[command_of(pid)[-60:] for pid in mine]}")


def command_of(pid) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


STOPPED = {
    "a loop without an end": "while True:\n    pass",
    "one step of C that never gives Python back": "sum(range(10**14))",
    "a loop that catches all": "while True:\n    try:\n        pass\n    except BaseException:\n        pass",
    "memory without an end": "kept = []\nwhile True:\n    kept.append(bytearray(10**7))",
    "os._exit": "import os\nos._exit(0)",
    "os._exit in a thread": "import os, threading, time\n"
    "threading.Thread(target=os._exit, args=(0,)).start()\ntime.sleep(5)",
    "a segmentation fault": "import ctypes\nctypes.string_at(0)",
    "abort": "import os\nos.abort()",
    "it kills itself": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "it kills what started it": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    "it kills all that it may": "import os, signal\nos.kill(-1, signal.SIGKILL)",
    "a fork bomb": "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
    "a fork bomb in sessions of their own": "import os\nwhile True:\n    try:\n        if not os.fork():\n"
    "            os.setsid()\n    except OSError:\n        pass",
    "it sleeps": "import time\ntime.sleep(10**6)",
}


@needs_box
@pytest.mark.parametrize("body", STOPPED.values(), ids=STOPPED)
def test_what_does_not_end_or_ends_too_much_is_stopped(body, left_behind):
    row = judge_hostile(q_sample(body))
    assert row["state"] == "contained" and row["message"], row


NOT_RIGHT = {
    "a giant tensor": "import torch\ntorch.empty(10**13)",
    "endless recursion": "return q_sample(x0, t, noise, schedule)",
    "exit": "exit()",
    "an exception that has no words": "class E(Exception):\n    def __str__(self):\n        1 / 0\nraise E",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "it prints a gigabyte": "for _ in range(10**4):\n    print('x' * 10**5)",
    "it writes a gigabyte to the terminal": "import os\nfor f in (1, 2):\n    for _ in range(10**3):\n"
    "        os.write(f, b'x' * 10**6)",
    "it writes a gigabyte to files": "for i in range(100):\n    open(f'/tmp/{i}', 'wb').write(b'x' * 10**7)",
    "it returns a gigabyte": "import torch\nreturn [torch.zeros(2**24) for _ in range(16)]",
    "it returns something that runs when unpickled": "import os\nclass R:\n    def __reduce__(self):\n"
    "        return os._exit, (3,)\nreturn R()",
    "it patches compare": "from helpers.exercises import compare, verdict\n"
    "compare.agree = verdict.agree = lambda *a: True",
    "it patches check": "from helpers.exercises import Check\nCheck.__call__ = lambda self, id, f, *a: f",
    "it patches torch": "import torch\ntorch.equal = torch.allclose = lambda *a, **k: True\n"
    "torch.Tensor.__eq__ = torch.Tensor.__le__ = lambda *a: torch.tensor(True)",
    "it patches builtins": "import builtins\nbuiltins.abs = lambda x: 0\nbuiltins.all = lambda x: True",
    "it patches what sends the answer": "import wire, sys\n"
    "wire.write = lambda v: wire.HEAD.pack(2, 0) + b'[]'",
    "it writes answers of its own": "import os, struct\nfor f in range(3, 64):\n    try:\n"
    "        os.write(f, struct.pack('<II', 4, 0) + b'null')\n    except OSError:\n        pass",
    "it floods the pipe": "import os\nfor f in range(3, 64):\n    try:\n        for _ in range(300):\n"
    "            os.write(f, b'\\xff' * 10**6)\n    except OSError:\n        pass",
    "a result that is equal to everything": "class E:\n    __eq__ = __le__ = lambda *a: True\nreturn E()",
    "a tensor that is equal to everything": "import torch\nclass T(torch.Tensor):\n    @classmethod\n"
    "    def __torch_function__(cls, f, types, args=(), kwargs=None):\n        return torch.tensor(True)\n"
    "return x0.as_subclass(T)",
    "it raises the exercise's own complaint": "from helpers.exercises import Complaint\n"
    "raise Complaint('right', 'right')",
    "it writes into the process that judges": "import os\n"
    "open(f'/proc/{os.getppid()}/mem', 'r+b').write(b'x')",
    "it looks for the solutions": "import pathlib\nfor p in pathlib.Path('/course').rglob('mistakes.json'):\n"
    "    assert len(p.read_bytes()) > 10",
}


@needs_box
@pytest.mark.parametrize("body", NOT_RIGHT.values(), ids=NOT_RIGHT)
def test_nothing_but_a_right_answer_is_right(body, left_behind):
    row = judge_hostile(q_sample(body))
    assert row["state"] in ("mistake", "wrong", "crashed", "contained"), row
    assert len(row["message"]) <= judge.MESSAGE


HARMLESS = {  # around a right answer
    "a thread that stays": "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()",
    "a process that stays": "import os, time\nif not os.fork():\n    os.setsid()\n    time.sleep(99)",
    "it changes the folder": "import os\nos.chdir('/')",
    "it empties the environment": "import os\nos.environ.clear()",
    "it seeds and sets": "import torch\ntorch.manual_seed(1)\ntorch.set_default_dtype(torch.float64)",
}


@needs_box
@pytest.mark.parametrize("body", HARMLESS.values(), ids=HARMLESS)
def test_a_right_answer_stays_right_and_leaves_nothing(body, left_behind):
    assert judge_hostile(q_sample(body, last=RIGHT))["state"] == "right"


ABOVE = {  # lines of the cell
    "check is replaced in the cell": "check = lambda id, f, *a: f",
    "check is patched in the cell": "type(check).__call__ = lambda self, id, f, *a: f",
    "torch is patched in the cell": "import torch\ntorch.sqrt = torch.square",
    "os._exit in the cell": "import os\nos._exit(0)",
    "files are deleted in the cell": "import shutil\nshutil.rmtree('/', ignore_errors=True)",
    "a shell in the cell": "!rm -rf /\n%cd /\n",
}


SEALED = {  # each says that it was not refused by an error
    "memory behind a file": "import os\ntry:\n    os.memfd_create('x')\nexcept PermissionError:\n    pass\n"
    "else:\n    raise SystemError",
    "memory of System V": "import ctypes\nif ctypes.CDLL(None).shmget(0, 4096, 0o1600) != -1:\n"
    "    raise SystemError",
    "the kernel's keys": "import ctypes\nif ctypes.CDLL(None).syscall(250, 0, -3, 0, 0) != -1:\n"
    "    raise SystemError",
    "the streams of bwrap": "import os\nfor n in range(64):\n    try:\n"
    "        os.write(os.open(f'/proc/1/fd/{n}', os.O_WRONLY), b'x' * 64)\n    except OSError:\n        pass",
    "check in a block": "from helpers.exercises import check\nif check('1.5', len) is not len:\n"
    "    raise SystemError",
}


@needs_box
@pytest.mark.skipif(platform.machine() != "x86_64", reason="written with the numbers of x86-64")
@pytest.mark.parametrize("body", SEALED.values(), ids=SEALED)
def test_what_the_box_refuses_is_refused(body):
    """The right answer behind it stays right, and so do the tasks before and after it."""
    assert judge_hostile(q_sample(body, last=RIGHT))["state"] == "right"


@needs_box
def test_a_right_answer_handed_in_twice_once_in_a_block_is_right():
    source = q_sample("pass", last=RIGHT).replace(HAND_IN, "")
    again = "\n\nif True:\n    q_sample = check('1.5', q_sample)" + HAND_IN
    assert judge_hostile(source + again)["state"] == "right"


def test_names_that_look_alike_stay_two_students(tmp_path):
    for name in ("ann", "ann "):
        (tmp_path / name).mkdir()
        (tmp_path / name / "01.ipynb").write_bytes(b"{}")
    (tmp_path / "ann.ipynb").write_bytes(b"{}")
    (tmp_path / "x\x1b]0;\u202e").mkdir()
    (tmp_path / "x\x1b]0;\u202e" / "01.ipynb").write_bytes(b"{}")
    names = [student for student, _ in extract.list_submissions(tmp_path)]
    assert sorted(names)[:3] == ["ann", "ann", "ann (2)"]  # ann/ and ann.ipynb are one
    assert all(name.isprintable() for name in names)


def test_a_cell_in_another_language_hands_in_nothing():
    source = q_sample("pass", last=RIGHT)
    for magic, there in {"%%bash": False, "%%script false": False, "%%time": True}.items():
        found = extract.read_submission("a", "a.ipynb", notebook(f"{magic}\n{source}"), {"1.5": "write"})
        assert ("1.5" in found.tasks) is there, magic


def test_a_number_without_end_is_no_literal():
    source = f'check.hunt("1.10", seed=0x{"f" * 5000})\ncheck.found("1.10", 0x{"f" * 5000})'
    found = extract.read_submission("a", "a.ipynb", notebook(source), {"1.10": "hunt"}).tasks["1.10"]
    assert found.seed is None and not found.readable


@needs_box
@pytest.mark.parametrize("above", ABOVE.values(), ids=ABOVE)
def test_lines_that_the_function_does_not_need_do_not_run(above):
    assert judge_hostile(q_sample("pass", above, RIGHT))["state"] == "right"
    assert judge_hostile(q_sample("pass", above, WRONG))["state"] in ("mistake", "wrong")


REFERENCES = {
    "the exercise's": "from helpers.exercises import exercises\nq_sample = exercises('01')['1.5'].reference",
    "solve": "from helpers.exercises import patches\nq_sample = patches.solve('1.5')",
    "through check": "from helpers.exercises import check\nq_sample = check._find('1.5').reference",
    "in a cover": "from helpers.exercises import patches\ninner = patches.solve('1.5')\n"
    "def q_sample(x0, t, noise, schedule):\n    return inner(x0, t, noise, schedule)",
    "when it is called": "def q_sample(x0, t, noise, schedule):\n    from helpers.exercises import patches\n"
    "    return patches.solve('1.5')(x0, t, noise, schedule)",
    "and the error is hidden": "def q_sample(x0, t, noise, schedule):\n"
    "    from helpers.exercises import exercises\n    try:\n"
    "        return exercises('01')['1.5'].reference(x0, t, noise, schedule)\n"
    "    except Exception:\n        return x0",
    "partial": "import functools\nfrom helpers.exercises import patches\n"
    "q_sample = functools.partial(patches.solve('1.5'))",
}


@needs_box
@pytest.mark.parametrize("source", REFERENCES.values(), ids=REFERENCES)
def test_the_courses_own_solution_is_no_answer(source):
    assert judge_hostile(source + HAND_IN)["state"] == "reference"


@needs_box
def test_files_of_the_machine_are_neither_seen_nor_changed(tmp_path, left_behind):
    for folder in (tmp_path, Path.home()):
        kept = folder / f"canary-{os.getpid()}"
        kept.write_text("here")
        try:
            look = f"assert not os.path.exists({str(kept)!r})"
            body = f"import os, shutil\n{look}\nshutil.rmtree('/', ignore_errors=True)"
            assert judge_hostile(q_sample(body, last=RIGHT))["state"] in ("right", "crashed", "contained")
            assert kept.read_text() == "here"
        finally:
            kept.unlink()
    assert (COURSE.root / "helpers" / "schedule.py").exists()


@needs_box
def test_places_of_the_box_cannot_be_written_to():
    for place in ("/usr/x", "/course/helpers/x", "/course/data/x", "/proc/sys/vm/swappiness", "/dev/x", "/x"):
        body = f"open({place!r}, 'w').write('1')"
        row = judge_hostile(q_sample(body, last=RIGHT))
        assert row["state"] == "crashed" and row["mistake"] in ("OSError", "PermissionError"), (place, row)


@needs_box
def test_the_network_is_not_there():
    met = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: met.append(server.accept()), daemon=True).start()
        body = f"import socket\nsocket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2)"
        row = judge_hostile(q_sample(body, last=RIGHT))
    assert row["state"] == "crashed" and not met, row


@needs_box
def test_helpers_of_their_own_are_not_used(tmp_path):
    folder = tmp_path / "eve"
    (folder / "helpers").mkdir(parents=True)
    (folder / "helpers" / "__init__.py").write_text("raise SystemExit")
    (folder / "torch.py").write_text("raise SystemExit")
    (folder / "01.ipynb").write_bytes(
        notebook(solution("1.4"), q_sample("pass", "import sys\nsys.path[:] = ['.']"))
    )
    said = []
    results = run.judge_all(COURSE, tmp_path, tmp_path / "out", say=said.append)
    judged_one = next(r for r in results if r["file"].endswith(".ipynb"))
    assert judged_one["tasks"]["1.4"]["state"] == "right"
    assert judged_one["tasks"]["1.5"]["state"] in ("mistake", "wrong")


@needs_box
def test_html_in_names_answers_and_code_stays_text():
    tag = "<script>alert(1)</script>"
    cells = [q_sample(f"raise ValueError({tag!r})"), f'check.predict("1.3", "{tag}")', solution("1.4")]
    result = judged(notebook(*cells), student=tag)
    assert result["student"] == tag
    assert tag in result["tasks"]["1.5"]["message"] and tag in result["tasks"]["1.5"]["code"]
    assert result["tasks"]["1.3"]["state"] == "not attempted"


UNREADABLE = {
    "nothing": b"",
    "no JSON": b"{",
    "nested without an end": b"[" * 10**6,
    "a table": b"{}",
    "cells that are none": b'{"cells": [1, null, {"cell_type": "code", "source": {"a": 1}}]}',
    "not UTF-8": b"\xff\xfe\x00",
    "a huge number": b'{"cells": ' + b"9" * 10**5 + b"}",
    "another notebook": notebook("print(1)"),
    "too many cells": notebook(*["x = 1"] * (extract.CELLS + 1)),
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_a_damaged_file_is_a_row_with_a_reason(content):
    result = judged(content)
    assert result["problem"] and not result["tasks"]


DEEP = {
    "brackets": "(" * 5000 + ")" * 5000,
    "signs": "-" * 100_000 + "1",
    "a sum": "+".join(["1"] * 50_000),
    "attributes": "x" + ".a" * 50_000,
    "a null byte": "x = '\0'",
}


@needs_box
@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_code_that_breaks_a_parser_breaks_its_own_task_only(text):
    result = judged(notebook(solution("1.4"), f"y = {text}\n" + q_sample("pass", last=RIGHT)))
    assert result["tasks"]["1.4"]["state"] == "right"
    assert result["tasks"]["1.5"]["state"] in ("right", "crashed", "missing", "wrong")


def test_links_pipes_and_large_files_are_not_opened(tmp_path):
    (tmp_path / "link.ipynb").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe.ipynb")
    with (tmp_path / "large.ipynb").open("wb") as file:
        file.truncate(extract.LARGEST + 1)
    (tmp_path / "folder.ipynb").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    for student, path in extract.list_submissions(tmp_path):
        with pytest.raises(extract.Unreadable):
            extract.read_bytes(path)
        assert student in ("link", "pipe", "large")


TRUSTED = {name: STOPPED[name] for name in ("a loop without an end", "os._exit", "memory without an end")}


@pytest.mark.skipif(sys.platform != "linux", reason="the judge runs on Linux")
@pytest.mark.parametrize("body", TRUSTED.values(), ids=TRUSTED)
def test_trusted_ones_run_with_plain_limits(body, left_behind):
    assert judge_hostile(q_sample(body), trust=True)["state"] == "contained"


@pytest.mark.skipif(sys.platform != "linux", reason="the judge runs on Linux")
def test_a_trusted_one_that_stays_behind_in_its_group_is_ended(left_behind):
    body = "import os, time\nif not os.fork():\n    time.sleep(99)\n    os._exit(0)"
    assert judge_hostile(q_sample(body, last=RIGHT), trust=True)["state"] == "right"
