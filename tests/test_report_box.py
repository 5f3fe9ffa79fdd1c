"""The class report's box: what is seen inside, what comes out, and that there is no judging without one."""

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import make_dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from class_report import box, run, wire
from helpers.exercises.exercise import Odd
from report_notebooks import COURSE, needs_box, notebook, solution

Pair = make_dataclass("Pair", ["x", "n"])
VALUES = [
    *(None, True, 3, -1.5, "words", "", 2**62, 1 + 2j),
    *([1, [2, (3,)]], (), {"a": 1, 2: "b", None: [0.5]}, Pair([1], "n"), Odd("a set", " (a hint)")),
    *(b"", b"state", {"nested": {"deep": [torch.tensor(1)]}}),
]
ROW = torch.linspace(-1.7, 2.1, 6)  # no draws: a test's name holds its numbers, and two workers compare names
TENSORS = [
    *(ROW.reshape(3, 2), torch.tensor(2.5), torch.empty(0, 4), torch.arange(6).reshape(2, 3).T),
    *(torch.tensor([True, False]), ROW[:2].double(), ROW[:3].half(), ROW[:3].bfloat16()),
    *(torch.tensor([1 + 2j]), torch.tensor([math.nan, math.inf])),
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_what_is_written_is_read_again(value):
    again = wire.read(wire.write(value))
    assert type(again).__name__ == type(value).__name__ and str(again) == str(value)


@pytest.mark.parametrize("tensor", TENSORS, ids=str)
def test_tensors_keep_their_kind_and_numbers(tensor):
    tensor.learns = True
    again = wire.read(wire.write([tensor]))[0]
    assert again.dtype == tensor.dtype and again.shape == tensor.shape and again.learns
    assert torch.equal(again.view(torch.uint8) if again.ndim else again, tensor.contiguous().view(torch.uint8)
                       if again.ndim else tensor)  # fmt: skip


def test_much_json_and_many_classes_are_refused():
    text = b"[" + b'"list",' + b"0," * (5 * 2**20) + b"0]"
    with pytest.raises(wire.Refused, match="too long"):
        wire.read(wire.HEAD.pack(len(text), 0) + text)
    text = json.dumps(["list", *[["dataclass", "A", ["x", 0]]] * 101]).encode()
    with pytest.raises(wire.Refused, match="dataclasses"):
        wire.read(wire.HEAD.pack(len(text), 0) + text)


def test_an_array_keeps_its_numbers():
    array = np.arange(6.0).reshape(2, 3).T
    assert (wire.read(wire.write(array)) == array).all()


def test_numbers_that_json_has_no_form_for():
    assert math.isnan(wire.read(wire.write(math.nan))) and wire.read(wire.write(-math.inf)) == -math.inf


def frame(text, numbers=b""):
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    return wire.HEAD.pack(len(text), len(numbers)) + text + numbers


FORGED = {
    "nothing": b"",
    "half a head": b"\0\0",
    "no JSON": frame(b"{"),
    "a table": frame({"a": 1}),
    "an unknown kind": frame(["pickle", "x"]),
    "a kind that is none": frame([1, 2]),
    "an empty list": frame([]),
    "numbers are missing": frame(["tensor", "float32", [2], 8, False]),
    "numbers too many": frame(None, b"x"),
    "another shape": frame(["tensor", "float32", [3], 8, False], bytes(8)),
    "a negative shape": frame(["tensor", "float32", [-1], 8, False], bytes(8)),
    "a huge shape": frame(["meta", "float32", [2**39] * 3, False]),
    "an unknown dtype": frame(["tensor", "object", [1], 8, False], bytes(8)),
    "an array of objects": frame(["array", "O", [1], 8], bytes(8)),
    "a negative length": frame(["bytes", -1]),
    "a name that is none": frame(["dataclass", "class", ["x", 1]]),
    "a name with underscores": frame(["dataclass", "A", ["__init__", 1]]),
    "nested without an end": frame(b"[" * 10_000 + b"]" * 10_000),
    "nested too deeply": frame(b'["list",' * 30 + b"1" + b"]" * 30),
    "a list as a key": frame(["dict", [["list"], 1]]),
    "not a number": frame(b"NaN"),
    "too long": wire.HEAD.pack(2**31, 2**31),
}


@pytest.mark.parametrize("data", FORGED.values(), ids=FORGED)
def test_a_forged_frame_is_refused(data):
    with pytest.raises(wire.Refused):
        wire.read(data)


def test_what_has_no_form_is_not_written():
    for value in (object(), {1, 2}, print):
        with pytest.raises(wire.Refused):
            wire.write(value)


def test_lengths_are_limited():
    with pytest.raises(wire.Refused):
        wire.whole_length(wire.HEAD.pack(2**31, 2**31))


# Without a box ------------------------------------------------------------------------------------


@pytest.fixture
def none_here(monkeypatch):
    box.why_no_box.cache_clear()
    yield monkeypatch
    box.why_no_box.cache_clear()


def test_without_bubblewrap_it_refuses_and_says_what_to_do(none_here, tmp_path):
    none_here.setattr(shutil, "which", lambda name, *_: None)
    (tmp_path / "ann.ipynb").write_bytes(notebook(solution("1.4")))
    with pytest.raises(box.Unboxed, match="bwrap.*is not installed.*apt install bubblewrap.*--trust"):
        run.judge_all(COURSE, tmp_path, tmp_path / "out", say=print)
    assert not (tmp_path / "out").exists()


def test_where_namespaces_are_refused_the_reason_is_said(none_here, tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    none_here.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert "No permissions to create new namespace" in box.why_no_box()


def test_trusting_says_what_is_not_contained(tmp_path):
    said = []
    assert run.judge_all(COURSE, tmp_path, tmp_path / "out", trust=True, say=said.append) == []
    assert "network" in said[0] and "files" in said[0] and "processes" in said[0]


@pytest.mark.slow
def test_the_command_refuses_in_a_sentence(tmp_path):
    (tmp_path / "ann.ipynb").write_bytes(notebook(solution("1.4")))
    command = [
        sys.executable,
        COURSE.sources / "build.py",
        "report",
        "--from",
        tmp_path,
        "--out",
        tmp_path / "o",
    ]
    env = {**os.environ, "PATH": str(tmp_path)}
    ran = subprocess.run(command, env=env, capture_output=True, text=True)
    assert ran.returncode == 1 and "bubblewrap" in ran.stderr and "Traceback" not in ran.stderr
    command[command.index(tmp_path)] = ""
    ran = subprocess.run(command, env=env, capture_output=True, text=True)
    assert ran.returncode == 1 and "FROM is empty" in ran.stderr


def own_places() -> set[str]:
    """The first parts of the paths that the box shows because Python lies there."""
    places = [sys.base_prefix, sys.prefix, *box.library_folders(), "/etc"]
    return {Path(place).parts[1] for place in places}


# Inside -------------------------------------------------------------------------------------------


@needs_box
def test_little_is_seen_inside():
    """The box's own view: no home, no other process, no network, nothing that can be written but /tmp."""
    script = (
        "import json, os, socket\n"
        "def writable(p):\n"
        "    try:\n"
        "        open(p + '/x', 'w').close()\n"
        "        return True\n"
        "    except OSError:\n"
        "        return False\n"
        "print(json.dumps(dict(root=sorted(os.listdir('/')),\n"
        "    pids=[p for p in os.listdir('/proc') if p.isdigit()], env=sorted(os.environ), uid=os.getuid(),\n"
        "    net=[n for _, n in socket.if_nameindex()], course=sorted(os.listdir('/course')),\n"
        "    solutions=open('/course/helpers/exercises/mistakes.json').read(),\n"
        "    places=[p for p in ('/', '/course', '/course/helpers', '/usr', '/dev', '/.box', '/tmp',\n"
        "            '/dev/shm') if writable(p)])))"
    )
    empty = Path(__file__).parent / "report_notebooks.py"
    command = box.arguments(COURSE.root, empty)
    ran = subprocess.run([*command[: command.index("--") + 2], "-c", script], capture_output=True, text=True)
    seen = json.loads(ran.stdout)
    assert seen["course"] == ["data", "helpers"] and seen["uid"] == 65534
    assert not {"home", "root", "work", "etc"} & set(seen["root"]) - own_places()
    assert set(seen["net"]) <= {"lo"} and len(seen["pids"]) <= 3
    assert set(seen["env"]) <= {*box.environment("/tmp"), "PWD", "LC_CTYPE"}
    assert seen["places"] == ["/tmp", "/dev/shm"]
    assert "def notebook" in seen["solutions"], "the file given in the solutions' place"


@needs_box
def test_a_request_is_answered_and_the_box_ends_with_its_owner():
    built = json.loads((COURSE.helpers / "exercises" / "mistakes.json").read_text(encoding="utf-8"))
    text = "def to_range(x, top):\n    return 2 * x / top - 1\n"
    asked = dict(
        id="0.1", given=[], earlier=[], text=text, hand_in="to_range", stub=None, again=None, seconds=30
    )
    with box.Box(COURSE.root, dict(built=built, seed=0, notebooks=["00"])) as one:
        answer = one.ask(asked)
        process = one.process
    assert process.poll() is not None
    assert not answer["dug"] and [o["crash"] for o in answer["outcomes"]] == [None] * 3
    assert answer["outcomes"][0]["result"].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
