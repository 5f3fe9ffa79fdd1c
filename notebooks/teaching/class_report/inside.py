"""What runs inside the box: the course is imported once, then one process of its own for each task.

    python inside.py FOLDER boxed|trusted IN OUT     FOLDER holds helpers/ and data/; IN, OUT: open files

Requests come from IN, answers go to OUT as frames (wire.py): what came of the cases, never a verdict. The
solution of the task lies under no name that a student's code may ask for. Whoever digs in stack frames can
find it, as in the public repository; that of a class, whose weights a case needs, stays where the case looks.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import ctypes
import importlib
import importlib.machinery
import json
import linecache
import os
import resource
import select
import signal
import struct
import sys
import time
import types

CELL = "<the cell>"
MARK = "/.box"  # a folder that there is in a box only
FILES, FILE_SIZE, PROCESSES, ADDRESSES = 128, 32 * 2**20, 64, 4 * 2**30
PATIENCE = 2  # times the time limit of `check`: two boxes and the judge share the machine
DEATH, DUMPABLE = 1, 4  # of prctl
LIBC = ctypes.CDLL(None, use_errno=True)


LATER = ("seaborn", "sklearn")  # packages that take seconds to import, and that few cases need


class Later(types.ModuleType):
    """Stands for a package until something of it is asked for."""

    def __init__(self, name):
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)

    def __getattr__(self, name):
        if name[:2] == "__":
            raise AttributeError(name)
        if self.__name__ == "seaborn":  # helpers.show sets a theme: nobody looks at pictures here
            return lambda *_, **__: None
        if self.__name__ == "sklearn" and name == "datasets":
            return Later("sklearn.datasets")
        put_back()
        return getattr(importlib.import_module(self.__name__), name)


def put_back():
    """From here on, an import brings the package itself."""
    for name in LATER:
        if isinstance(sys.modules.get(name), Later):
            del sys.modules[name]


class Quiet:
    """Stands for `check` in a student's own cells: it gives back what it gets, and says nothing.

    trap: what it has for those who look for a solution in it.
    """

    def __init__(self, trap):
        self.trap = trap

    def _find(self, id):
        return types.SimpleNamespace(reference=self.trap)

    def __call__(self, id, function=None, why=None):
        return function

    changed = __call__

    def __getattr__(self, name):
        return lambda *_, **__: None


class Dug(RuntimeError):
    """Somebody called the course's own solution."""


# Requests -----------------------------------------------------------------------------------------


def read_exactly(file, count):
    data = bytearray()
    while len(data) < count:
        part = os.read(file, min(1 << 20, count - len(data)))
        if not part:
            sys.exit(0)
        data += part
    return bytes(data)


def read_request(file) -> dict:
    return json.loads(read_exactly(file, struct.unpack("<I", read_exactly(file, 4))[0]))


def write_all(file, data):
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def serve(folder: str, boxed: bool, requests: int, answers: int):
    """Import the course, then answer one request after the other."""
    LIBC.prctl(DEATH, signal.SIGKILL, 0, 0, 0)
    LIBC.prctl(DUMPABLE, 0, 0, 0, 0)  # its children cannot look into it
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nowhere, stream)
    own, *others = sys.path
    sys.path[:] = [folder, *others, own]
    set_up = read_request(requests)
    sys.modules.update({name: Later(name) for name in LATER})
    import torch
    import wire

    from helpers.exercises import exercises, hidden, patches

    torch.set_num_threads(1)
    patches._instead.append(patches.read(set_up["built"]))
    hidden._seed = set_up["seed"]
    for number in set_up["notebooks"]:
        exercises(number)
    if {"04", "07"} & set(set_up["notebooks"]):  # its first optimiser makes torch import for seconds
        torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    write_all(answers, wire.write("ready"))
    os.dup2(nowhere, 2)
    del set_up
    while True:
        request = read_request(requests)
        write_all(answers, answer(request, boxed, (requests, answers)))


def answer(request, boxed, outside) -> bytes:
    """The frame of one task, made by a child; or what became of the child."""
    import wire

    here, there = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setpgid(0, 0)
            for file in (here, *outside):
                os.close(file)
            LIBC.prctl(DEATH, signal.SIGKILL, 0, 0, 0)
            LIBC.prctl(DUMPABLE, 1, 0, 0, 0)
            write_all(there, work(request))
        except BaseException:
            os._exit(70)
        os._exit(0)
    os.close(there)
    with contextlib.suppress(OSError):
        os.setpgid(child, child)
    frame, ended = collect(here, request["seconds"])
    os.close(here)
    end_all(child, boxed)
    return frame if frame else wire.write({"ended": ended})


def collect(pipe, seconds):
    """(a whole frame, "") or (b"", why there is none)."""
    import wire

    data, end, whole = bytearray(), time.monotonic() + seconds, None
    while whole is None or len(data) < whole:
        left = end - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            return b"", "time"
        part = os.read(pipe, 1 << 20)
        if not part:
            return b"", "exit"
        data += part
        try:
            whole = wire.whole_length(data) if whole is None else whole
        except wire.Refused:
            return b"", "output"
    return bytes(data[:whole]), ""


def end_all(child, boxed):
    """Nothing that the code started stays."""
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    while boxed and os.path.isdir(MARK):  # never elsewhere: it would end everything of this user
        try:
            os.kill(-1, signal.SIGKILL)
        except OSError:
            break
        with contextlib.suppress(OSError):
            os.waitpid(child, 0)
        others = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (1, os.getpid())]
        if not others:
            break
        time.sleep(0.005)
    with contextlib.suppress(OSError):
        os.waitpid(child, 0)


# In the child -------------------------------------------------------------------------------------


def limit(seconds):
    """Hard limits of this process and all that it starts."""
    with open("/proc/self/statm") as file:
        there = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: int(seconds) + 5,
        resource.RLIMIT_FSIZE: FILE_SIZE,
        resource.RLIMIT_NOFILE: FILES,
        resource.RLIMIT_AS: there + ADDRESSES,
    }
    if os.path.isdir(MARK):  # elsewhere all that the user runs would count
        wanted[resource.RLIMIT_NPROC] = PROCESSES
    for which, most in wanted.items():
        _, hard = resource.getrlimit(which)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (most, most))


def work(request) -> bytes:
    """Define what the cell defines, run the cases of the task, and say what came of them."""
    import wire

    from helpers.exercises import exercises, sandbox, verdict

    limit(request["seconds"])
    id, dug = request["id"], []
    known = exercises(id.split(".")[0])[id]
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    names = vars(module)
    for text, computed in request["given"]:
        give(text, computed, names)
    put_back()
    exercise, originals = hide(known, names, dug)
    importlib.import_module("helpers.exercises").check = names["check"] = Quiet(originals[-1])
    for number, text in enumerate(request["earlier"]):
        sandbox.attempt(define, text, f"<another cell, {number}>", names)
    _, function = sandbox.attempt(define, request["text"], CELL, names, filename=CELL)
    if function is None:
        function, crash = sandbox.attempt(evaluate, request["hand_in"], names, filename=CELL)
        function = crash or function
    if is_original(function, originals):
        return wire.write({"dug": True})
    if request["again"] is not None:
        outcomes = verdict.ask_again(exercise, function, request["again"])
        return wire.write({"outcomes": [describe(o) for o in outcomes], "dug": bool(dug)})
    seen = verdict.observe(exercise, function, request["stub"])
    said = dict(stub=seen.stub, unfit=seen.unfit, arguments=seen.arguments, dug=bool(dug))
    return wire.write({"outcomes": [describe(o) for o in seen.outcomes], **said})


def define(text, file, names):
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec", dont_inherit=True), names)


def evaluate(text, names):
    return eval(compile(text, CELL, "eval", dont_inherit=True), names)


def give(text, computed, names):
    """Run what the course gives. What is computed may take three seconds, and may fail."""
    if not computed:
        define(text, f"<given {len(linecache.cache)}>", names)
        return

    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 3)
    try:
        define(text, f"<given {len(linecache.cache)}>", names)
    except Exception:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def hide(known, names, dug):
    """(the exercise to observe, the objects that nobody may hand in).

    Its solution goes from this process; who asks for it gets a trap, which notes that in dug. Of a class,
    whose weights a case takes, the solution stays where only the case finds it.
    """
    from helpers.exercises import patches

    reference, built = known.reference, patches._find(known.id)
    is_class, exercise = isinstance(reference, type), copy.copy(known)
    mine = reference if is_class else skeleton(built.source, built)
    exercise.__dict__.update(reference=mine, mistakes=(), title=known.title)
    exercise.__dict__["time_limit"] = PATIENCE * known.time_limit

    def trap(*_, **__):
        dug.append(True)
        raise Dug("this is the course's own solution")

    def find(id):
        if id != known.id:
            raise ValueError(f"there is no solution of {id} here")
        dug.append(True)
        return types.SimpleNamespace(name=built.name, function=trap, source="", mistakes=(), kind="write")

    def solve(id):
        return reference if is_class and id == known.id else find(id).function

    known.__dict__.update(reference=trap, mistakes=())
    patches._instead[-1].clear()
    patches._find = find
    originals, code = [reference, trap], getattr(reference, "__code__", None)
    for name, module in list(sys.modules.items()):
        if name.startswith("helpers.exercises.nb"):
            for key, value in list(vars(module).items()):
                if code is not None and getattr(value, "__code__", None) is code:
                    setattr(module, key, trap)
                elif value is patches.solve:
                    setattr(module, key, solve)
    for value in names.values():
        if isinstance(value, types.ModuleType) and value.__name__ in ("<mine.py>", "<references>"):
            vars(value).pop(built.name, None)
    return exercise, originals


def skeleton(source, built):
    """The reference's signature, and nothing behind it."""
    node = next(n for n in ast.parse(source).body if getattr(n, "name", None) == built.name)
    yields = any(isinstance(n, ast.Yield | ast.YieldFrom) for n in ast.walk(node))
    node.body = [ast.Raise(ast.Name("NotImplementedError", ast.Load()))]
    node.body += [ast.Expr(ast.Yield())] if yields else []
    names = dict(built.names)
    exec(compile(ast.fix_missing_locations(ast.Module([node], [])), "<skeleton>", "exec"), names)
    return names[built.name]


def is_original(function, originals):
    """Whether it is the course's own object, or a thin cover around it."""
    waiting, seen = [function], set()
    while waiting and len(seen) < 50:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if any(value is o for o in originals):
            return True
        if isinstance(value, type):
            waiting += [b for b in type.mro(value)[1:] if b is not object]
        elif isinstance(value, types.FunctionType):
            waiting += [v for v in (value.__dict__.get("__wrapped__"),) if v is not None]
            waiting += [c for cell in value.__closure__ or () for c in contents(cell)]
            waiting += [v for v in value.__defaults__ or () if callable(v)]
        elif type(value).__name__ == "partial":
            waiting.append(getattr(value, "func", None))
    return False


def contents(cell):
    try:
        value = cell.cell_contents
    except ValueError:
        return []
    return [value] if isinstance(value, types.FunctionType | type) else []


def describe(outcome) -> dict:
    """An outcome as data; its arguments stay, the judge outside has its own."""
    crash = outcome.crash
    return dict(
        result=outcome.result,
        crash=crash and [crash.name, crash.text, crash.lineno, crash.line, crash.complaint],
        changed=outcome.changed,
        drawn={name: (state, bool(reseeded)) for name, (state, reseeded) in outcome.drawn.items()},
        gradients=outcome.gradients,
    )


if __name__ == "__main__":
    serve(os.path.abspath(sys.argv[1]), sys.argv[2] == "boxed", *map(int, sys.argv[3:5]))
