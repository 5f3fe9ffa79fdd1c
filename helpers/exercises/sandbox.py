"""Run a student's code so that what it does stops neither the notebook nor the next exercise.

A worker thread runs the code while the caller waits: no signals, so a Jupyter kernel and Windows will do.
Past its time or memory it is sent an exception again and again; one that swallows them all is left behind.

What one thread cannot do for another: stop a single step of C code that keeps Python's lock to itself
(``sum(range(10**10))``, a huge power, a backtracking regular expression), survive what ends the process
(``os._exit``, a segmentation fault, a signal), undo an audit hook, closed files or new ``__code__`` of a
function. The first makes a check wait, deaf to an interrupt; after all of them, restart the kernel. This is a
guard against accidents. Malice has the reader's rights: run what strangers hand in on a machine of its own.
"""

import builtins
import contextlib
import ctypes
import gc
import inspect
import io
import linecache
import os
import random
import re
import sys
import threading
import traceback
import types
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import torch

from .exercise import Complaint, name_of
from .surroundings import as_before, note_all

try:
    import psutil  # comes with Jupyter's kernel

    PROCESS = psutil.Process()
except ImportError:
    PROCESS = None  # nobody watches the memory then

KEEP = 2000  # characters of printed output that are kept
STACK = 64 * 2**20  # bytes of the worker's stack: deep recursion ends in RecursionError, not in a dead kernel
DEEPEST = 10_000  # the recursion limit that this stack has room for
MEMORY = 10**9  # bytes that the code may take; on Linux, one allocation of three times as much fails at once
WORKER = "exercise"  # the name of the worker thread
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
    r"MemoryError|allocate memory": "That is too much memory: look at the shapes, and at loops that append.",
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
    """Sent into a worker past its limits; no Exception, so that ``except Exception`` lets it through."""


@dataclass(frozen=True)
class Crash:
    """How code ended that did not return: what was raised, and where in the student's code."""

    name: str
    text: str
    lineno: int | None = None
    line: str = ""
    complaint: bool = False  # raised by the exercise's ``call``, to be shown as it is

    def __str__(self):
        return self.say()

    def say(self, hint=""):
        """The crash in a sentence, and a hint: the given one, or what such an error usually means."""
        full = f"{self.name}: {self.text}" if self.text else self.name
        hint = hint or next((hint for pattern, hint in HINTS.items() if re.search(pattern, full)), "")
        line = f", `{self.line}`" if self.line else ""
        where = f"line {self.lineno}{line}: " if self.lineno else ""
        return f"{where}{full}{'' if full.endswith(('.', '!', '?')) else '.'} {hint}".strip()


def attempt(call, *args, filename: str | None = None):
    """(what it returns, None), or (None, its Crash). TimeLimit passes, and so does the reader's interrupt."""
    try:
        return call(*args), None
    except BaseException as error:
        kind, main = type(error), threading.current_thread() is threading.main_thread()
        if issubclass(kind, TimeLimit) or (main and issubclass(kind, KeyboardInterrupt)):
            raise
        frames = [(f.f_code.co_filename, n) for f, n in traceback.walk_tb(sys.exc_info()[2])]
        if issubclass(kind, Complaint):
            name, text = (_say(partial(getattr, error, part), 2000) for part in ("name", "text"))
            return None, Crash(name, text, complaint=True)
        text = re.sub(r" at 0x[0-9a-fA-F]+", "", _say(partial(str, error)))
        return None, Crash(name_of(kind), text, *_line(frames, filename))


def _say(what, most=300):
    """The words of a value, in one line; none where a class of the student's own fails to say them."""
    try:
        text = " ".join(str.split(str(what())))
    except TimeLimit:
        raise
    except BaseException:
        return ""
    return text[:most] + ("..." if len(text) > most else "")


def _line(frames, filename):
    ours = (HERE, os.path.dirname(torch.__file__), sys.base_prefix, "<")
    own = [f for f in frames if f[0] == filename]
    other = [f for f in frames if not f[0].startswith(ours)]
    if not (own or other):
        return None, ""
    name, number = (own or other)[-1]
    return number, linecache.getline(name, number).strip()


class _Capture(io.TextIOBase):
    """Keeps the beginning of what is printed: prints without an end cannot fill the memory. Stays open."""

    def __init__(self, kept: list):
        self.kept, self.room = kept, KEEP

    def write(self, text):
        if self.room > 0:
            self.kept.append(str.__getitem__(text, slice(self.room)))
            self.room -= len(self.kept[-1])
        return len(text)

    def close(self):
        pass


def run_guarded(work, time_limit: float, filename=lambda: None, module=None) -> tuple[str, Crash | None]:
    """Call ``work(put_back)`` in a worker thread: (what it printed, why it was stopped or None).

    What work raises is dropped, standard error too. Gradient mode, inference mode and the number of threads
    are the caller's. put_back() makes the names in modules and classes what they were before. filename() is
    asked for the student's file when the code has to be stopped. module: guarded as those of the course are.
    """
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    threads, working = torch.get_num_threads(), threading.Lock()
    printed, started, ended, left, crash = [], [], [], [], None

    def settle():
        if left:  # nobody waits any more
            raise TimeLimit
        put_back()

    def target():
        with contextlib.suppress(BaseException):  # TimeLimit may arrive at any line
            try:
                torch.set_num_threads(threads)  # OpenMP keeps this for each thread
                with torch.inference_mode(inference), torch.set_grad_enabled(grad and not inference):
                    work(settle)
                gc.collect(1)  # what a __del__ does belongs to the code
            finally:
                working.release()

    with contextlib.ExitStack() as stack:
        stack.enter_context(as_before())
        stack.enter_context(_no_giant_allocation())
        stack.enter_context(_replaced(printed, started, ended))
        put_back = note_all(module)
        worker = threading.Thread(target=target, daemon=True, name=WORKER)
        working.acquire()
        size = threading.stack_size(STACK)
        try:
            worker.start()
        finally:
            threading.stack_size(size)
        try:
            if over := _wait(working, time_limit):
                crash = Crash(*over, *_where(worker, filename()))
        finally:  # also when the user interrupts the kernel
            put_back()
            ended.append(True)
            left += _stop(worker, started)
            put_back()  # a thread may have gone on until now
    if crash and worker in left:
        text = f"{crash.text}. It could not be stopped: restart the kernel if the machine stays busy"
        crash = replace(crash, text=text)
    return "".join(text for text in printed if type(text) is str)[:KEEP], crash


def _wait(working, seconds):
    """Until the work is done; the (name, text) of the limit that is passed before, or None."""
    end, full = monotonic() + seconds, _measure() + MEMORY
    while not working.acquire(timeout=0.05):  # in short pieces: Windows cannot interrupt a long wait
        if _measure() > full:
            text = f"your code took more than {MEMORY / 1e9:g} GB of memory"
            return "memory", f"{text}: is a loop without an end appending to a list?"
        if monotonic() > end:
            return "time limit", f"not finished after {seconds:g} s, probably a loop that never ends"
    return None


def _measure(what="rss"):
    return getattr(PROCESS.memory_info(), what) if PROCESS else 0


def _where(thread, filename):
    frame, frames = sys._current_frames().get(thread.ident), []
    while frame is not None:
        frames.insert(0, (frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return _line(frames, filename)


def _stop(worker, started, patience=1.5):
    """Tell threads to end, until they have; those that do not. started: may still grow."""
    kind, end, quiet = threading.Thread, monotonic() + patience, 0
    while True:
        threads = [thread for thread in [worker, *started] if kind.is_alive(thread)]
        quiet = 0 if threads else quiet + 1
        if quiet > (1 if started else 0) or monotonic() > end:  # one that is about to start lives soon
            return threads
        if not threads:
            sleep(0.01)
            continue
        kind.join(threads[0], 0.05)  # time to unwind: a second exception soon after would hit the clean-up
        for thread in filter(kind.is_alive, threads):
            ident = ctypes.c_ulong(kind.ident.fget(thread))
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(TimeLimit))


@contextlib.contextmanager
def _replaced(printed, started, ended):
    """Streams of our own; no exit that ends the kernel, no question that waits, no limits that kill.

    printed: gets what is printed. started: gets the threads that the worker starts, and that those start.
    ended: once something is in it, they start none.
    """

    def leave(*_):
        raise SystemExit

    def ask(*_):
        raise EOFError("nobody answers input() while an exercise is checked")

    def start(thread):
        now = threading.current_thread()
        ours = now.name == WORKER or any(now is other for other in started)
        if ours and ended:
            raise TimeLimit
        if ours:
            thread.daemon = True  # at its end, Python would wait for others
            started.append(thread)
        begin(thread)

    begin, limit, set_limit = threading.Thread.start, sys.getrecursionlimit(), sys.setrecursionlimit
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    new = [
        *((sys, name, _Capture(printed)) for name in ("stdout", "__stdout__")),
        *((sys, name, _Capture([])) for name in ("stderr", "__stderr__")),
        *((sys, name, io.StringIO()) for name in ("stdin", "__stdin__")),
        (sys, "setrecursionlimit", lambda n: set_limit(min(max(n, limit), max(DEEPEST, limit)))),
        (sys, "setswitchinterval", lambda _: None),
        (builtins, "input", ask),
        (threading.Thread, "start", start),
        *((shell.user_module, name, leave) for name in ("exit", "quit") if shell),
    ]
    new = [(place, name, value) for place, name, value in new if name in vars(place)]
    old = [(place, name, vars(place)[name]) for place, name, _ in new]
    for place, name, value in new:
        setattr(place, name, value)
    try:
        yield
    finally:
        for place, name, value in old:
            setattr(place, name, value)


@contextlib.contextmanager
def _no_giant_allocation():
    """On Linux, make a single giant tensor an error: the system would give it, and kill once it is filled."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, AttributeError, OSError, ValueError):
            import resource

            data, limits = resource.RLIMIT_DATA, resource.getrlimit(resource.RLIMIT_DATA)
            if limits[0] == resource.RLIM_INFINITY:
                resource.setrlimit(data, (_measure("data") + 3 * MEMORY, limits[1]))
                stack.callback(resource.setrlimit, data, limits)
        yield


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
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code if isinstance(code, types.CodeType) else None
