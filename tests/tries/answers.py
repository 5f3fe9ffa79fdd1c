"""For the tries on student code: small exercises, answers as in a notebook's cell, and what must stay."""

import builtins
import gc
import linecache
import math
import os
import random
import signal
import sys
import threading
import time
import types
import warnings
from dataclasses import dataclass, replace
from itertools import count

import matplotlib
import numpy as np
import torch
from torch import nn

from helpers import schedule
from helpers.exercises import (
    Check,
    Exercise,
    as_module,
    check,
    compare,
    decide,
    exercises,
    sandbox,
    verdict,
)
from helpers.exercises.sandbox import WORKER

cell = count(1)


def double(x):
    return 2 * x


def mean(x):
    return x.mean().item()


def label(x):
    return "plus" if x.sum() > 0 else "minus"


def walk(x):
    for k in range(1, 4):
        yield k * x


@dataclass
class Pair:
    x: torch.Tensor
    n: int


def pair(x):
    return {"pair": Pair(2 * x, 3), "list": [x, 1.0, "a"]}


class Net(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.layer = nn.Linear(size, size)

    def forward(self, x):
        return x + self.layer(x)


def vectors():
    return [(torch.tensor([1.0, 2.0, 3.0]),), (torch.tensor([-1.0, 0.5, -4.0]),)]


def images():
    return [((3,), torch.arange(6.0).reshape(2, 3))]


TOYS = [
    Exercise("90.1", "double", double, vectors, "it is twice x."),
    Exercise("90.2", "mean", mean, vectors, "it is the mean."),
    Exercise("90.3", "label", label, vectors, "it is the sign."),
    Exercise("90.4", "walk", walk, vectors, "they are multiples of x."),
    Exercise("90.5", "pair", pair, vectors, "all parts are there."),
    Exercise("90.6", "Net", Net, images, "x is added.", call=as_module(Net)),
]
TOY = {e.title: e for e in TOYS}
REAL = exercises("01")["1.5"]  # one of the course's own


def write(source, name="f", **names):
    """What ``source`` defines as ``name``, as in a notebook cell, so that its lines can be found."""
    file = f"<cell {next(cell)} of a try>.py"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    space = dict(torch=torch, nn=nn, np=np, sys=sys, os=os, time=time, threading=threading, math=math, gc=gc)
    space |= dict(
        random=random, warnings=warnings, builtins=builtins, Pair=Pair, __name__="__main__", **names
    )
    exec(compile(source, file, "exec"), space)
    return space[name]


def say(toy, function, capsys, stub=None, **settings):
    """(verdict, what `check` printed) on one answer. It never blames the exercise, and it never raises."""
    exercise = replace(TOY[toy], **settings) if settings else TOY[toy]
    mine = Check([exercise])
    if stub:
        mine._stubs = lambda id: {exercise.id: stub}
    capsys.readouterr()
    mine(exercise.id, function)
    text, verdict = capsys.readouterr().out, mine.verdicts[exercise.id]
    assert text.startswith(f"{exercise.id} {toy}: ") and "Traceback" not in text, text
    assert "itself is broken" not in text and verdict.state != "broken", text
    assert len(text) < 6000, "it stays short"
    mine.summary("90")
    assert f"{exercise.id}      {toy}" in capsys.readouterr().out
    return verdict, text


def surroundings():
    """What every check has to leave as it was."""
    weights = torch.full((3,), 1 / 3)
    return {
        "working directory": os.getcwd(),
        "environment": {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"},
        "recursion limit": sys.getrecursionlimit(),
        "switch interval": sys.getswitchinterval(),
        "garbage collector": (gc.isenabled(), gc.get_threshold()),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.empty(0).device.type,
        "threads": torch.get_num_threads(),
        "gradient mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "anomaly detection": torch.is_anomaly_enabled(),
        "determinism": torch.get_deterministic_debug_mode(),
        "cudnn": tuple(getattr(torch.backends.cudnn, n) for n in ("enabled", "benchmark", "deterministic")),
        "precision": torch.get_float32_matmul_precision(),
        "print options": (str(weights), str(weights.numpy()), np.geterr()),
        "random states": (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()),
        "warnings": (list(warnings.filters), warnings.showwarning),
        "streams": [sys.stdin, sys.stdout, sys.stderr],
        "real streams": [sys.__stdin__, sys.__stdout__, sys.__stderr__],
        "import": (list(sys.path), list(sys.meta_path), sys.modules["torch"], sys.modules["math"]),
        "hooks": (
            sys.excepthook,
            sys.displayhook,
            sys.gettrace(),
            threading.gettrace(),
            threading.getprofile(),
        ),
        "functions": [getattr(place, name) for place, name in FUNCTIONS],
        "names": [
            sorted(name for name, value in vars(place).items() if type(value) is not types.ModuleType)
            for place in (torch.Tensor, nn.Module, math, np, nn.functional)
        ],
        "what torch computes": (torch.ones(2) - 3).tolist() + [torch.sqrt(torch.tensor(9.0)).item()],
        "the course": (
            schedule.linear(30).alpha_bar.tolist(),
            exercises("01")["1.5"] is REAL,
            list(exercises("02")),
        ),
        "a network": nn.Identity()(torch.ones(1)).item(),
        "an exercise": dict(vars(REAL)),
        "verdicts": dict(check.verdicts),
        "pictures": matplotlib.rcParams["lines.linewidth"],
        "timers": signal.getitimer(signal.ITIMER_REAL) if os.name == "posix" else None,
        "threads of checks": [t.name for t in threading.enumerate() if t.name == WORKER],
    }


FUNCTIONS = [
    *((torch, n) for n in "sqrt randn randn_like zeros empty cat equal manual_seed no_grad".split()),
    *((torch.Tensor, n) for n in "mean sub __sub__ __eq__ __add__ item detach __repr__ copy_".split()),
    *((nn.functional, n) for n in ("relu", "linear", "softmax")),
    *((place, "forward") for place in (nn.Linear, nn.Module)),
    *((nn.Module, n) for n in ("__call__", "load_state_dict")),
    *((np, n) for n in ("sqrt", "array", "mean")),
    *((np.random, n) for n in ("rand", "seed")),
    *((math, n) for n in ("sqrt", "pi", "cos")),
    *((builtins, n) for n in "print len isinstance type input open sum __import__ Exception".split()),
    *((random, n) for n in ("random", "seed")),
    *((os, n) for n in ("getcwd", "environ")),
    *((time, n) for n in ("monotonic", "sleep")),
    *((threading, n) for n in ("Thread", "current_thread")),
    *((threading.Thread, n) for n in ("start", "join")),
    *((schedule, n) for n in ("at", "linear")),
    (schedule.Schedule, "__init__"),
    (compare, "plain"),
    (verdict, "agree"),
    (sandbox, "_wait"),
]


def judge_real():
    """How a wrong answer to one of the course's own exercises is judged."""
    verdict = decide(REAL, REAL.mistakes[0].function)
    return verdict.state, verdict.mistake, verdict.message


JUDGED = judge_real()
