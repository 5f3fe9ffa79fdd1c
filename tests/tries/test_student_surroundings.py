"""Student code that changes what is around it, or is no plain function: all is as before, and one sentence.

The fixture `unchanged` of test_student_code compares everything before and after; here stand the changes.
"""

import functools
import linecache
import operator
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers.exercises import sandbox

from . import answers
from .answers import TOY, say, write
from .test_student_code import WRAPPER, body, unchanged  # noqa: F401 (a fixture)

ROOT = Path(__file__).resolve().parents[2]

# What it changes ----------------------------------------------------------------------------------

CHANGED = [
    ("the working directory", "os.chdir('/')"),
    (
        "the working directory, to one that it removes",
        "import tempfile; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)",
    ),
    ("a variable of the environment", "os.environ['HOME'] = 'x'; os.environ['NEW'] = 'y'"),
    ("the whole environment", "os.environ.clear()"),
    ("the environment for another one", "os.environ = {}"),
    ("the recursion limit, up", "sys.setrecursionlimit(10**8)"),
    ("the recursion limit, down", "sys.setrecursionlimit(60)"),
    ("the interval at which threads take turns", "sys.setswitchinterval(100)"),
    ("the garbage collector", "gc.disable(); gc.set_threshold(1, 2, 3)"),
    ("the default dtype", "torch.set_default_dtype(torch.float64)"),
    ("the default device", "torch.set_default_device('meta'); x = torch.ones(3)"),
    ("the number of threads", "torch.set_num_threads(3)"),
    ("the gradient mode", "torch.set_grad_enabled(False)"),
    ("inference mode, entered and left open", "torch.inference_mode().__enter__()"),
    ("anomaly detection", "torch.autograd.set_detect_anomaly(True)"),
    ("determinism", "torch.use_deterministic_algorithms(True)"),
    (
        "determinism of cudnn",
        "c = torch.backends.cudnn; c.deterministic = c.benchmark = True; c.enabled = False",
    ),
    ("the precision of products", "torch.set_float32_matmul_precision('medium')"),
    ("how torch prints", "torch.set_printoptions(precision=1, sci_mode=True)"),
    ("how NumPy prints", "np.set_printoptions(precision=1)"),
    ("how NumPy takes errors", "np.seterr(all='raise')"),
    ("how pictures look", "import matplotlib; matplotlib.rcParams['lines.linewidth'] = 7"),
    (
        "the seeds",
        "torch.manual_seed(1); np.random.seed(1); random.seed(1); torch.rand(3); np.random.rand(3)",
    ),
    ("the filters of warnings", "warnings.simplefilter('error')"),
    ("the filters of warnings for none", "warnings.filters = []; warnings.showwarning = None"),
    ("where modules are looked for", "sys.path.clear(); sys.meta_path.clear()"),
    ("the list of where modules are looked for", "sys.path = ['/']"),
    (
        "modules that are there",
        "sys.modules['torch'] = None; del sys.modules['math']; sys.modules['new'] = 3",
    ),
    ("the streams", "sys.stdout = sys.stderr = sys.stdin = sys.__stdout__ = None"),
    (
        "hooks",
        "sys.excepthook = sys.displayhook = print; sys.settrace(lambda *a: None); sys.setprofile(None)",
    ),
    ("hooks of new threads", "threading.settrace(print); threading.setprofile(print)"),
    ("a timer that would end the process", "import signal; signal.setitimer(signal.ITIMER_REAL, 50)"),
    ("functions of torch", "torch.sqrt = torch.equal = torch.empty = torch.cat = None"),
    ("a function of torch, deleted", "del torch.randn, torch.no_grad"),
    ("methods of tensors", "torch.Tensor.mean = torch.Tensor.__eq__ = torch.Tensor.item = lambda *a: True"),
    ("how tensors are subtracted", "torch.Tensor.__sub__ = torch.Tensor.copy_ = lambda a, b: 0 * a"),
    ("methods of networks", "nn.Module.__call__ = nn.Linear.forward = lambda *a: 1 / 0"),
    ("a hook on every network", "nn.modules.module.register_module_forward_hook(lambda *a: 1 / 0)"),
    (
        "functions of torch.nn.functional",
        "nn.functional.relu = nn.functional.linear = None; nn.functional.new = 1",
    ),
    ("functions of NumPy", "np.sqrt = np.array = None; np.random.rand = None"),
    ("functions and numbers of math", "math.sqrt = abs; math.pi = 3; math.tau2 = 4"),
    ("functions of Python", "builtins.len = builtins.isinstance = builtins.print = lambda *a: 1 / 0"),
    ("types of Python", "builtins.type = builtins.id = builtins.map = builtins.list = builtins.all = None"),
    ("exceptions of Python", "builtins.Exception = builtins.BaseException = None"),
    ("the clock", "time.monotonic = time.sleep = lambda *a: 1 / 0"),
    ("threads", "threading.Thread.start = threading.Thread.join = threading.Thread = None"),
    ("functions of the course", "from helpers import schedule; schedule.at = schedule.linear = None"),
    (
        "classes of the course",
        "from helpers.schedule import Schedule; Schedule.__init__ = None; Schedule.new = 1",
    ),
    ("an exercise's module", "from helpers.exercises import nb01; nb01.at = nb01.draw = nb01.linear = None"),
    (
        "the list of exercises",
        "from helpers.exercises import nb01, nb02; nb01.EXERCISES.clear(); nb02.EXERCISES.pop()",
    ),
    (
        "an exercise's reference",
        "from helpers.exercises import nb01\nfor e in nb01.EXERCISES: object.__setattr__(e, 'reference', f)",
    ),
    (
        "an exercise's mistakes",
        "from helpers.exercises import nb01\nfor e in nb01.EXERCISES: getattr(e, 'mistakes', []).clear()",
    ),
    (
        "a mistake's words",
        "from helpers.exercises import nb01\nfor e in nb01.EXERCISES:\n"
        "    for m in getattr(e, 'mistakes', []): object.__setattr__(m, 'message', 3)",
    ),
    (
        "the tolerance of its own exercise",
        "from tries import answers\nobject.__setattr__(answers.TOY['double'], 'atol', 1e9)",
    ),
    (
        "its own exercise",
        "from tries import answers\nanswers.double = f; answers.TOYS.clear(); answers.TOY.clear()",
    ),
    (
        "the judge",
        "from helpers.exercises import compare, verdict\ncompare.agree = verdict.agree = lambda *a: True",
    ),
    (
        "the judge's copy of a result",
        "from helpers.exercises import compare\ncompare.plain = lambda *a: torch.tensor([2., 4., 6.])",
    ),
    (
        "the check itself",
        "import helpers.exercises as e\ne.Check.__call__ = lambda *a: a[2]; e.check = e.decide = None",
    ),
    (
        "what was said of other exercises",
        "from helpers.exercises import check\ncheck.verdicts['1.1'] = check.verdicts['1.3'] = 'right'",
    ),
]


@pytest.mark.parametrize("lines", [pytest.param(row[1], id=row[0]) for row in CHANGED])
def test_what_it_changes(lines, capsys):
    """A right answer stays right and a wrong one wrong, whatever the code changes before it returns."""
    sources = [body("y, z = 2 * x, 1 * x", lines, f"return {name}") for name in "yz"]
    states = [say("double", write(source), capsys)[0] for source in sources]
    assert [(v.state, v.mistake) for v in states] == [("right", ""), ("wrong", "constant factor")]
    assert TOY["double"].atol == 1e-5 and answers.double(3) == 6


# What it leaves behind ----------------------------------------------------------------------------

THREADS = [
    (
        "a thread that loops",
        "def loop():\n    while True: time.sleep(0.001)\nthreading.Thread(target=loop).start()",
    ),
    (
        "a thread that starts another",
        "there = threading.Event()\ndef loop():\n    while True: time.sleep(0.001)\ndef go():\n"
        "    threading.Thread(target=loop).start()\n    there.set()\n    loop()\n"
        "threading.Thread(target=go).start()\nthere.wait()",
    ),
    ("a timer", "threading.Timer(0.3, print).start()"),
    (
        "a pool",
        "from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor(2).submit(time.sleep, 0.2)",
    ),
]


@pytest.mark.parametrize("lines", [pytest.param(row[1], id=row[0]) for row in THREADS])
def test_threads_that_it_starts_end_with_it(lines, capsys, monkeypatch):
    """One that a thread starts only after the answer is given may be left behind: nobody has seen it then."""
    monkeypatch.setattr(threading, "excepthook", lambda args: None)  # pytest's own may be stopped half-way
    before = set(threading.enumerate())
    verdict, _ = say("double", write(body(lines, "return 2 * x")), capsys)
    assert verdict.state == "right"
    assert not set(threading.enumerate()) - before


def test_an_answer_after_the_end_changes_nothing(capsys, monkeypatch):
    """A thread that was left behind notices, at the end of its case, that nobody waits for it."""
    monkeypatch.setattr(sandbox, "_stop", lambda worker, started, *_: [worker, *started])
    verdict, text = say("double", write(body("time.sleep(0.5)", "return 2 * x")), capsys, time_limit=0.1)
    assert verdict.mistake == "time limit" and "could not be stopped" in text
    stdout, state = sys.stdout, torch.get_rng_state()
    end = time.monotonic() + 5
    while any(t.name == sandbox.WORKER for t in threading.enumerate()) and time.monotonic() < end:
        time.sleep(0.02)
    assert sys.stdout is stdout and torch.equal(torch.get_rng_state(), state)


def test_an_import_that_was_stopped_leaves_no_half_package(tmp_path, capsys):
    package = tmp_path / "half"
    package.mkdir()
    (package / "__init__.py").write_text("from . import part\nimport time\ntime.sleep(1.2)\n")
    (package / "part.py").write_text("value = 3\n")
    lines = f"sys.path.append({str(tmp_path)!r})", "import half", "return half.part.value * x"
    verdict, _ = say("double", write(body(*lines)), capsys, time_limit=0.3)
    assert verdict.mistake == "time limit"
    assert not [name for name in sys.modules if name.startswith("half")]
    (package / "__init__.py").write_text("from . import part\n")
    assert say("double", write(body(*lines)), capsys)[0].mistake == "constant factor"
    assert "half.part" in sys.modules
    del sys.modules["half"], sys.modules["half.part"]


# What it is ---------------------------------------------------------------------------------------


class Callable:
    """An answer that is an object."""

    def __call__(self, x):
        return 2 * x


def decorate(function):
    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapped


def forget(function):
    del linecache.cache[function.__code__.co_filename]
    return function


KINDS = [
    ("a lambda", lambda: lambda x: 2 * x, "right", ""),
    ("a partial function", lambda: functools.partial(torch.mul, 2), "right", ""),
    ("a callable object", Callable, "right", ""),
    ("a decorated function", lambda: decorate(write(body("return 2 * x"))), "right", ""),
    ("a cached function", lambda: functools.cache(write(body("return 2 * x"))), "right", ""),
    ("a static method", lambda: staticmethod(write(body("return 2 * x"))), "right", ""),
    ("a bound method", lambda: Callable().__call__, "right", ""),
    ("a function of NumPy's", lambda: np.vectorize(lambda x: 2 * x), "wrong: type", "a NumPy array"),
    ("a caller of a method", lambda: operator.methodcaller("mul", 2), "right", ""),
    ("a function written in C", lambda: torch.sqrt, "wrong: values", "1.732 where 6"),
    ("a function of Python's", lambda: len, "wrong: type", "an int where a tensor"),
    ("a network", lambda: nn.Identity(), "wrong: constant factor", "0.5 times"),
    ("an asynchronous function", lambda: write("async " + body("return 2 * x")), "wrong: type", "leave out"),
    ("a function without source", lambda: eval("lambda x: 3 * x"), "wrong: constant factor", "1.5 times"),
    (
        "a function whose file is gone",
        lambda: forget(write(body("return 1 / 0"))),
        "crashed: ZeroDivisionError",
        "Line 2: Z",
    ),
    ("a class", lambda: Callable, "wrong: type", "asks for a function, `check` got a class"),
    ("a text", lambda: "double", "wrong: type", "a value of type str"),
    ("a generator", lambda: (x for x in "ab"), "wrong: type", "a value of type generator"),
    ("the result", lambda: torch.ones(3), "wrong: type", "a value of type Tensor"),
    ("a class method, unbound", lambda: classmethod(print), "wrong: type", "a value of type classmethod"),
    ("too few arguments", lambda: lambda: 3, "wrong: arguments", "takes 0 arguments"),
    ("too many arguments", lambda: lambda x, y, z: 3, "wrong: arguments", "takes 3 arguments, (x, y, z)"),
    ("only named arguments", lambda: lambda *, x: 3, "wrong: arguments", "passes 1: (x)"),
    ("any arguments", lambda: lambda *a, **k: 2 * a[0], "right", ""),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make, said, words", [pytest.param(*row[1:], id=row[0]) for row in KINDS])
def test_what_it_is(make, said, words, capsys):
    verdict, text = say("double", make(), capsys)
    assert f"{verdict.state}: {verdict.mistake}".removesuffix(": ") == said, text
    assert words in text


HOSTILE = """
class T:
    def __call__(self, x):
        return 3 * x
    {}

f = T()
"""
LOOKED_AT = [
    (
        "whose class is hostile",
        HOSTILE.format("__class__ = property(lambda s: sys.exit())"),
        "crashed: SystemExit",
    ),
    (
        "whose attributes are hostile",
        HOSTILE.format("def __getattr__(self, name): sys.exit()"),
        "crashed: SystemExit",
    ),
    (
        "whose attributes loop",
        HOSTILE.format("def __getattr__(self, name):\n        while True: pass"),
        "crashed: time limit",
    ),
    (
        "whose name is hostile",
        HOSTILE.format("__name__ = property(lambda s: sys.exit())"),
        "crashed: SystemExit",
    ),
    (
        "whose signature is hostile",
        HOSTILE.format("__signature__ = property(lambda s: sys.exit())"),
        "crashed: SystemExit",
    ),
    ("whose code is made up", HOSTILE.format("__code__ = 3"), "wrong: constant factor"),
    ("that wraps itself", HOSTILE.format("__wrapped__ = property(lambda s: s)"), "crashed: ValueError"),
    (
        "that wraps without an end",
        HOSTILE.format("__wrapped__ = property(lambda s: T())"),
        "crashed: ValueError",
    ),
    ("that equals everything", HOSTILE.format("__eq__ = lambda s, o: True"), "wrong: constant factor"),
    (
        "whose words are hostile",
        HOSTILE.format("__repr__ = __str__ = lambda s: sys.exit()"),
        "wrong: constant factor",
    ),
]


@pytest.mark.parametrize("source, said", [pytest.param(*row[1:], id=row[0]) for row in LOOKED_AT])
def test_an_object_that_is_looked_at(source, said, capsys):
    """`check` asks an answer for its name, its arguments and its source before it calls it."""
    verdict, text = say("double", write(source), capsys, stub="def f(x):\n    ...", time_limit=1)
    assert f"{verdict.state}: {verdict.mistake}".removesuffix(": ") == said, text


NET = """
class Net(nn.Module):
    def __init__(self, size):
        super().__init__()
        {}
        self.layer = nn.Linear(size, size)

    def forward(self, x):
        {}
"""
NETS = [
    ("right", NET.format("", "return x + self.layer(x)"), "right"),
    ("whose __init__ loops", NET.format("while True: pass", "return x"), "crashed: time limit"),
    ("whose __init__ ends the program", NET.format("sys.exit()", "return x"), "crashed: SystemExit"),
    (
        "without forward",
        "class Net(nn.Module):\n    def __init__(self, size):\n        super().__init__()\n"
        "        self.layer = nn.Linear(size, size)",
        "crashed: NotImplementedError",
    ),
    (
        "without parent",
        "class Net:\n    def __init__(self, size):\n        pass\n    def forward(self, x):\n"
        "        return x",
        "wrong: not a module",
    ),
    ("without anything", "class Net:\n    pass", "wrong: arguments"),
    (
        "that forgets super().__init__()",
        "class Net(nn.Module):\n    def __init__(self, size):\n"
        "        self.layer = nn.Linear(size, size)\n    def forward(self, x):\n"
        "        return x",
        "crashed: AttributeError",
    ),
    ("with another layer", NET.format("self.more = nn.Linear(2, 2)", "return x"), "wrong: other parameters"),
    (
        "that takes any weights",
        NET.format("self.load_state_dict = lambda w: None", "return x + self.layer(x)"),
        "wrong: values",
    ),
    (
        "that ends the program when it loads weights",
        NET.format("self.load_state_dict = lambda w: sys.exit()", "return x"),
        "crashed: SystemExit",
    ),
    ("that loses itself in eval()", NET.format("self.eval = lambda: None", "return x"), "crashed: TypeError"),
    (
        "that changes its input",
        NET.format("", "x += self.layer(x); return x"),
        "wrong: input changed in place",
    ),
    (
        "of a hostile metaclass",
        "class M(type):\n    def __call__(c, *a): sys.exit()\n\nclass Net(metaclass=M):\n    pass",
        "crashed: SystemExit",
    ),
    (
        "of a metaclass that lies",
        "class M(type):\n"
        "    __name__ = __module__ = __dict__ = property(lambda c: sys.exit())\n\n"
        "class Net(metaclass=M):\n    def __init__(self, size): pass",
        "crashed: SystemExit",
    ),
]


@pytest.mark.parametrize("source, said", [pytest.param(*row[1:], id=row[0]) for row in NETS])
def test_a_network(source, said, capsys):
    verdict, text = say("Net", write(source, "Net"), capsys, "class Net:\n    ...", time_limit=1)
    assert f"{verdict.state}: {verdict.mistake}".removesuffix(": ") == said, text


KERNEL = """
import sys; sys.path[:0] = [{root!r}, {tests!r}]
import os, torch
from helpers.exercises import Check, sandbox
from tries.answers import TOYS
sandbox.MEMORY, check, home = 2 * 10**8, Check(TOYS), os.getcwd()
---
def double(x):
    sys.stdout.close(), sys.__stdout__.close(), sys.stdin.close()
    os.chdir("/")
    exit()
double = check("90.1", double)
---
def double(x):
    seen = []
    while True:
        seen.append([0.5] * 10**4)
double = check("90.1", double)
---
class T(torch.Tensor):
    @classmethod
    def __torch_function__(cls, *args):
        raise SystemExit
def double(x):
    torch.Tensor.mul = torch.equal = None
    return x.as_subclass(T)
double = check("90.1", double)
---
def double(x):
    return input("x?")
double = check("90.1", double)
---
print("here", os.getcwd() == home, torch.equal(2 * torch.ones(1), torch.tensor([2.0])))
---
check.summary("90")
"""


@pytest.mark.long
def test_in_a_kernel():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    cells = KERNEL.format(root=str(ROOT), tests=str(ROOT / "tests")).strip().split("\n---\n")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
    texts = [
        "".join(o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in cell.outputs)
        for cell in book.cells
    ]
    words = ["", "Line 4, `exit()`: SystemExit", "memory: your code took more than 0.2 GB of memory"]
    words += [
        "not yet. In every case",
        "EOFError: nobody answers input()",
        "here True True",
        "6 of 6 still open.",
    ]
    for text, said in zip(texts, words, strict=True):
        assert said in text and "broken" not in text, texts


# What is not held ---------------------------------------------------------------------------------

ALONE = """
import os, sys, time
sys.path[:0] = [{root!r}, {tests!r}]
import torch
torch.set_num_threads(1)
from dataclasses import replace
from helpers.exercises import Check
from tries.answers import TOY, write
exercise = replace(TOY["double"], time_limit=0.2)
print("before", flush=True)
start = time.monotonic()
Check([exercise])("90.1", write({source!r}))
print("after", round(time.monotonic() - start, 1), flush=True)
{then}
"""


def run_alone(source, then="", seconds=120):
    """A check in a Python of its own: (exit code, what it printed)."""
    code = ALONE.format(root=str(ROOT), tests=str(ROOT / "tests"), source=source, then=then)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "PYTHONFAULTHANDLER": ""}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=seconds, env=environment
    )
    return run.returncode, run.stdout


HOLDING = [
    ("a sum of numbers", body("sum(range(6 * 10**7))", "return x")),
    ("a huge power", body("7 ** (3 * 10**6)", "str(3) + 'x' * 3", "return x")),
    ("a regular expression that backtracks", body("import re", "re.match('(a+)+b', 'a' * 26)", "return x")),
]


@pytest.mark.long
@pytest.mark.parametrize("source", [pytest.param(source, id=name) for name, source in HOLDING])
def test_one_step_of_c_code_is_waited_for(source):
    """Not held: such a step keeps Python's lock, so no other thread runs and none can stop it.

    A process of its own could be killed, but it could not use the notebook's variables. The check answers as
    soon as the step ends; the limit was 0.2 s.
    """
    code, text = run_alone(source)
    seconds = float(text.split()[-1])
    assert code == 0 and seconds > 0.7, text
    assert "90.1 double: " in text and "broken" not in text


ENDING = [
    ("os._exit", body("os._exit(7)"), 7),
    ("a segmentation fault", body("import ctypes", "ctypes.string_at(0)"), -11),
    ("os.abort", body("os.abort()"), -6),
    ("a signal that kills", body("import signal", "os.kill(os.getpid(), signal.SIGKILL)"), -9),
    ("an alarm that nobody catches", body("import signal", "signal.alarm(1)", "time.sleep(3)"), -14),
]


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.parametrize("source, expected", [pytest.param(*row[1:], id=row[0]) for row in ENDING])
def test_what_ends_the_process_ends_the_kernel(source, expected):
    """Not held: the code runs in the kernel's own process. Jupyter says that the kernel has died."""
    code, text = run_alone(source)
    assert code == expected and text == "before\n"


@pytest.mark.long
def test_an_audit_hook_cannot_be_taken_away():
    """Not held: Python has no way to remove one. The kernel has to be restarted."""
    source = body("sys.addaudithook(lambda name, args: name == 'os.chdir' and 1 / 0)", "return 2 * x")
    code, text = run_alone(source, "try:\n    os.chdir('/')\nexcept ZeroDivisionError:\n    print('hooked')")
    assert "90.1 double: right" in text and text.endswith("hooked\n")


@pytest.mark.long
def test_new_code_in_a_function_of_the_course_stays():
    """Not held: names are put back; to compare what functions and tensors hold would take seconds."""
    source = "from tries import answers\n" + body(
        "answers.double.__code__ = (lambda x: 3 * x).__code__", "return 3 * x"
    )
    code, text = run_alone(source, "print(TOY['double'].reference(1))")
    assert "90.1 double: right" in text and text.endswith("\n3\n")


@pytest.mark.long
def test_a_fork_answers_once():
    """The copy of the process ends with the thread that made it; the check answers once."""
    code, text = run_alone(body("os.fork()", "return 2 * x"))
    assert code == 0 and text.count("90.1 double: right") == 1 and text.count("after") == 1
