"""Run a student's code so that nothing it does can stop the notebook.

A worker thread runs the code while the caller waits: no signals, so a Jupyter kernel and Windows will do.
A thread past its time limit is sent an exception again and again; one that swallows them all is left behind.
"""

import contextlib
import ctypes
import inspect
import io
import linecache
import os
import random
import re
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

KEEP = 2000  # characters of printed output that are kept
STACK = 64 * 2**20  # bytes of the worker's stack: deep recursion ends in RecursionError, not in a dead kernel
HERE = str(Path(__file__).resolve().parents[1])

HINTS = {  # pattern in "Type: message": what it usually means
    r"size of tensor a .* must match": "Two shapes do not fit: print both; one lacks a (B, 1, ...) shape.",
    r"be multiplied|must be same size|Expected size for": "The inner sizes of a matrix product differ.",
    r"shape '.*' is invalid for input": "The new shape has another number of elements than the old one.",
    r"Sizes of tensors must match": "What is joined must agree in all other dimensions.",
    r"expected input.* to have \d+ channels": "The layer is built for another number of channels.",
    r"on the same device|Expected all tensors": "Two devices are mixed: make tensors with device=x.device.",
    r"tensors used as (indices|idx)|indices must be integers": "An index must be an integer (int64) tensor.",
    r"expected (scalar type|m1 and m2)|same dtype": "The dtypes of two tensors differ.",
    r"out of (range|bounds)": "An index runs past the end: count whether it starts at 0.",
    r"'ellipsis'|Ellipsis": "A `...` of the stub is still in there.",
    r"'NoneType'": "Something is None: a function without `return`, or a part not yet filled in.",
    r"^UnboundLocalError": "The name is used before the line that gives it a value.",
    r"^NameError": "No such name here: a typo, or something that should come in as an argument.",
    r"^AttributeError": "The object has no such attribute: check the spelling against its docstring.",
    r"^RecursionError": "The function calls itself without an end.",
    r"^NotImplementedError": "The method that is asked for is not written.",
    r"^SystemExit": "The code tried to end the program: leave out exit().",
    r"^KeyboardInterrupt": "The code raised KeyboardInterrupt itself.",
    r"needed for gradient|leaf [Vv]ariable that requires": "Changed in place: write x = x + y for x += y.",
    r"through the graph a second|does not require grad": "The graph of gradients is not there (any more).",
}


class TimeLimit(BaseException):
    """Sent into a worker past its time limit; no Exception, so that ``except Exception`` lets it through."""


@dataclass(frozen=True)
class Crash:
    """How code ended that did not return: what was raised, and where in the student's code."""

    name: str
    text: str
    lineno: int | None = None
    line: str = ""
    error: BaseException | None = None

    def __str__(self):
        full = f"{self.name}: {self.text}" if self.text else self.name
        hint = next((hint for pattern, hint in HINTS.items() if re.search(pattern, full)), "")
        line = f", `{self.line}`" if self.line else ""
        where = f"line {self.lineno}{line}: " if self.lineno else ""
        return f"{where}{full}{'' if full.endswith(('.', '!', '?')) else '.'} {hint}".strip()


def crash_of(error: BaseException, filename: str | None) -> Crash:
    """Describe an exception; the line is the last one in the student's file (or cell)."""
    frames = [(f.f_code.co_filename, n) for f, n in traceback.walk_tb(error.__traceback__)]
    try:
        text = " ".join(str(error).split())
    except Exception:  # a student's own exception class may fail to print
        text = ""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", text)
    text = text[:300] + ("..." if len(text) > 300 else "")
    return Crash(type(error).__name__, text, *_line(frames, filename), error)


def _line(frames, filename):
    ours = (HERE, os.path.dirname(torch.__file__), sys.base_prefix, "<")
    own = [f for f in frames if f[0] == filename]
    other = [f for f in frames if not f[0].startswith(ours)]
    if not (own or other):
        return None, ""
    name, number = (own or other)[-1]
    return number, linecache.getline(name, number).strip()


class _Capture(io.StringIO):
    """Keeps the beginning of what is printed; an endless loop of prints cannot fill the memory."""

    def write(self, text):
        room = KEEP - self.tell()
        if room > 0:
            super().write(text[:room])
        return len(text)


@dataclass(frozen=True)
class Guarded:
    printed: str
    late: Crash | None  # set when the time limit was reached
    stopped: bool = True  # False: the thread would not end and was left behind


def run_guarded(work, time_limit: float, filename: str | None = None) -> Guarded:
    """Call ``work()`` in a worker thread for at most ``time_limit`` seconds; what it raises is dropped.

    Gradient mode, inference mode and the number of threads are the caller's. Standard output is captured,
    standard error is dropped.
    """
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    done, out = threading.Event(), _Capture()

    def target():
        with contextlib.suppress(BaseException):  # TimeLimit may arrive at any line
            try:
                torch.set_num_threads(threads)  # OpenMP keeps this for each thread
                with torch.inference_mode(inference), torch.set_grad_enabled(grad and not inference):
                    work()
            finally:
                done.set()

    before = threading.stack_size(STACK)
    try:
        thread = threading.Thread(target=target, daemon=True, name="exercise")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(_Capture()), _no_exit():
            thread.start()
            late, stopped = None, True
            try:
                if not _wait(done, thread, time_limit):
                    late = _where(thread, filename, time_limit)
            finally:  # also when the user interrupts the kernel
                stopped = done.is_set() or _stop(thread)
    finally:
        threading.stack_size(before)
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
    return Guarded(out.getvalue(), late, stopped)


def _wait(done, thread, seconds):
    end = time.monotonic() + seconds
    while not done.wait(0.05):  # in short pieces: on Windows a long wait cannot be interrupted
        if time.monotonic() > end or not thread.is_alive():
            break
    return done.is_set() or not thread.is_alive()


def _where(thread, filename, time_limit):
    frame, frames = sys._current_frames().get(thread.ident), []
    while frame is not None:
        frames.insert(0, (frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    text = f"not finished after {time_limit:g} s, probably a loop that never ends"
    return Crash("time limit", text, *_line(frames, filename))


def _stop(thread, patience=1.5):
    end = time.monotonic() + patience
    while thread.is_alive() and time.monotonic() < end:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(TimeLimit))
        thread.join(0.005)
    return not thread.is_alive()


@contextlib.contextmanager
def _no_exit():
    """IPython's own ``exit`` and ``quit`` would end the kernel after the cell; ``input`` would wait."""
    import builtins

    def leave(*_):
        raise SystemExit

    def ask(*_):
        raise EOFError("nobody answers input() while an exercise is checked")

    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    spaces = [(vars(builtins), {"input": ask})]
    spaces += [(shell.user_ns, {"exit": leave, "quit": leave})] if shell else []
    saved = [(space, name, space[name]) for space, new in spaces for name in new if name in space]
    for space, new in spaces:
        space.update({name: value for name, value in new.items() if name in space})
    try:
        yield
    finally:
        for space, name, value in saved:
            space[name] = value


@contextlib.contextmanager
def same_randomness():
    """Give the global generators of Python, NumPy and torch back as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def seed_everything(seed: int = 0):
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


def file_of(function) -> str | None:
    """The file, or the notebook cell, in which a function or class is written."""
    code = code_of(function)
    return code.co_filename if code else None


def code_of(function):
    """The code object of a function, or of a class's first method; None for what is not written in Python."""
    function = inspect.unwrap(function) if callable(function) else function
    if inspect.isclass(function):
        codes = [v.__code__ for v in vars(function).values() if inspect.isfunction(v)]
        codes = [c for c in codes if c.co_filename != "<string>"] or codes
        return min(codes, key=lambda c: c.co_firstlineno, default=None)
    return getattr(getattr(function, "__func__", function), "__code__", None)
