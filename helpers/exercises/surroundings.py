"""The process as it was before somebody else's code ran in it: settings, random states, names."""

import builtins
import contextlib
import gc
import os
import random
import signal
import sys
import types
import warnings
from collections import OrderedDict
from functools import partial
from operator import is_

import numpy as np
import torch

HOOKS = [v for k, v in vars(torch.nn.modules.module).items() if k[:7] == "_global" and isinstance(v, dict)]
IMMUTABLE = 1 << 8  # the flag of classes written in C that nobody can change


def _set_environment(saved):
    os.environ.clear()
    os.environ.update(saved)


def _folder():
    with contextlib.suppress(OSError):  # it may be gone
        return os.getcwd()


SETTINGS = [  # (read, write): what belongs to the whole process
    (_folder, lambda folder: folder and os.chdir(folder)),
    (lambda: dict(os.environ), _set_environment),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (sys.getswitchinterval, sys.setswitchinterval),
    (gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    (gc.get_threshold, lambda numbers: gc.set_threshold(*numbers)),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    *(
        (partial(getattr, torch.backends.cudnn, name), partial(setattr, torch.backends.cudnn, name))
        for name in ("enabled", "benchmark", "deterministic")
    ),
]
if hasattr(signal, "setitimer"):
    ALARM = signal.ITIMER_REAL
    SETTINGS.append((partial(signal.getitimer, ALARM), lambda timer: signal.setitimer(ALARM, *timer)))


@contextlib.contextmanager
def as_before():
    """Give settings of the process and the global generators of Python, NumPy and torch back as they were."""
    noted = [(read, write, read()) for read, write in SETTINGS]
    states = [
        partial(random.setstate, random.getstate()),
        partial(np.random.set_state, np.random.get_state()),
        partial(torch.set_rng_state, torch.get_rng_state()),
    ]
    if torch.cuda.is_initialized():
        states.append(partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    if "matplotlib" in sys.modules:
        settings = sys.modules["matplotlib"].rcParams
        states.append(partial(dict.update, settings, dict.copy(settings)))
    with warnings.catch_warnings():
        try:
            yield
        finally:
            for read, write, saved in noted:
                if read() != saved:
                    with contextlib.suppress(OSError):
                        write(saved)
            for put_back in states:
                put_back()


def note_all(module):
    """A function that makes names in modules and classes, and some lists and tables, what they are now.

    Those of the course (and of ``module``) with the lists, tables and objects that they hold, and those of
    the libraries it uses. A module that is imported meanwhile stays.
    """
    notes = {}

    def ours(name):
        return name == module or name.partition(".")[0] == "helpers"

    def note(place):
        names = place if isinstance(place, list | dict) else vars(place)
        notes[id(place)] = place, names, names.copy()

    def walk(value):
        kind, parts = type(value), ()
        if id(value) in notes:
            return
        if issubclass(kind, types.ModuleType):
            parts = vars(value).values()
            parts = list(parts) if ours(value.__name__) else [p for p in parts if isinstance(p, type)]
            note(value)
        elif issubclass(kind, type):
            if not value.__flags__ & IMMUTABLE and value.__module__ != "__main__":
                note(value)
        elif issubclass(kind, list | dict):
            parts = list(value.values() if issubclass(kind, dict) else value)
            note(value)
        elif kind is tuple:
            parts = value
        elif ours(kind.__module__) and hasattr(value, "__dict__"):
            parts = [vars(value)]
        for part in parts:
            walk(part)

    for value in [builtins, torch.nn, torch.nn.functional, torch.nn.init, torch.linalg, torch.optim]:
        walk(value)
    for value in [v for name, v in list(sys.modules.items()) if ours(name)]:
        walk(value)
    for value in [sys.modules, sys.path, sys.meta_path, vars(torch._tensor_str.PRINT_OPTS), *HOOKS]:
        note(value)
    names = vars(builtins)
    return partial(_put_back, partial(dict.update, names, names.copy()), list(notes.values()))


def _put_back(builtins_first, notes):
    builtins_first()  # what follows uses them
    for place, names, saved in notes:
        lists = isinstance(place, list)
        if len(names) == len(saved) and all(map(is_, names, saved)):
            if lists or all(map(is_, names.values(), saved.values())):
                continue
        if lists:
            place[:] = saved
            continue
        base = OrderedDict if isinstance(place, OrderedDict) else dict
        put, drop = partial(base.__setitem__, names), partial(base.__delitem__, names)
        if isinstance(place, type):
            put, drop = partial(type.__setattr__, place), partial(type.__delattr__, place)
        for name in [name for name in list(names) if name not in saved]:
            package = f"{name}".rpartition(".")[0] if place is sys.modules else ""
            if not issubclass(type(names[name]), types.ModuleType) or (package and package not in names):
                drop(name)  # the second: an import was stopped before the package around it was there
        for name, value in saved.items():
            if name not in names or names[name] is not value:
                put(name, value)
