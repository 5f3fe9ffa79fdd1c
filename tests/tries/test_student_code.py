"""Student code: whatever it returns, raises, loops, prints or changes, `check` answers in one sentence.

The sentence is about the student's code, nothing outside changes, and the next exercise is judged as before.
"""

import textwrap
import threading
import time
from pathlib import Path

import pytest

from helpers.exercises import sandbox

from .answers import JUDGED, judge_real, say, surroundings, write

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def unchanged(one_thread):
    """Nothing outside changes, and other exercises are judged as they were."""
    before = surroundings()
    yield
    after = surroundings()
    changed = [name for name, value in after.items() if value != before[name]]
    assert not changed
    assert judge_real() == JUDGED


def tries(table):
    """Rows: id, source, what the summary says of it, words of the sentence, and which toy it answers."""
    rows = [pytest.param(*row[1:], *["double"][len(row) - 4 :], id=row[0]) for row in table]
    return pytest.mark.parametrize("source, said, words, toy", rows)


def judge(toy, source, said, words, capsys):
    verdict, text = say(toy, write(source), capsys)
    state = verdict.state.replace("wrong", "not yet")
    assert f"{state}: {verdict.mistake}" == said if verdict.mistake else state == said, text
    assert words in text, text


# What it returns ----------------------------------------------------------------------------------

SUBCLASS = """
class T(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        {}

def f(x):
    return torch.Tensor.as_subclass({}, T)
"""
FAKE = """
class T(torch.Tensor):
    {}

def f(x):
    return {}.as_subclass(T)
"""
WRAPPER = """
class T(torch.Tensor):
    @staticmethod
    def __new__(cls):
        return torch.Tensor._make_wrapper_subclass(cls, (3,))

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        {}

def f(x):
    return T()
"""
OBJECT = """
class T{}:
    {}

def f(x):
    return {}
"""
SPECIAL = "other special tensor where a tensor was expected (return an ordinary one)"


def returns(expression):
    return f"def f(x):\n    return {expression}\n"


RETURNED = [
    (
        "a tensor whose torch functions end the program",
        SUBCLASS.format("raise SystemExit", "x"),
        "not yet: constant factor",
        "0.5 times",
    ),
    (
        "the same, and its numbers are right",
        SUBCLASS.format("raise SystemExit", "2 * x"),
        "right",
        "it is twice x",
    ),
    (
        "a tensor whose torch functions loop",
        SUBCLASS.format("while True: pass", "x"),
        "not yet: constant factor",
        "0.5 times",
    ),
    (
        "a tensor whose torch functions say yes",
        SUBCLASS.format("return torch.tensor(True)", "x"),
        "not yet: constant factor",
        "0.5 times",
    ),
    (
        "a tensor that fakes subtraction",
        FAKE.format("__sub__ = __rsub__ = lambda s, o: torch.zeros(3)", "x"),
        "not yet: constant factor",
        "0.5 times",
    ),
    (
        "a tensor that fakes equality",
        FAKE.format("__eq__ = allclose = equal = lambda *a: torch.ones(3, dtype=bool)", "x"),
        "not yet: constant factor",
        "0.5 times",
    ),
    (
        "a tensor that fakes its shape",
        FAKE.format("shape = property(lambda s: torch.Size([3]))", "x[:2]"),
        "not yet: shape",
        "(2,) where (3,)",
    ),
    (
        "a tensor that hands out another when detached",
        FAKE.format("detach = clone = double = to = lambda s, *a: torch.tensor([2., 4., 6.])", "x"),
        "not yet: constant factor",
        "0.5 times",
    ),
    (
        "a wrapper whose dispatch ends the program",
        WRAPPER.format("raise SystemExit"),
        "crashed: SystemExit",
        "leave out exit()",
    ),
    ("a wrapper whose dispatch returns nonsense", WRAPPER.format("return 3"), "not yet: type", SPECIAL),
    (
        "a number that fakes equality",
        OBJECT.format("(float)", "__eq__ = lambda s, o: True", "T(7)"),
        "not yet: values",
        "7 where 2 was expected",
        "mean",
    ),
    (
        "a number that fakes its value",
        OBJECT.format("(float)", "__sub__ = __rsub__ = lambda s, o: 0.0", "T(7)"),
        "not yet: values",
        "7 where 2 was expected",
        "mean",
    ),
    (
        "a number whose conversion ends the program",
        OBJECT.format("(float)", "def __float__(self): raise SystemExit", "T(2)"),
        "crashed: SystemExit",
        "Line 3",
        "mean",
    ),
    (
        "a text that equals everything",
        OBJECT.format("(str)", "__eq__ = lambda s, o: True; __hash__ = str.__hash__", "T('no')"),
        "not yet: value",
        "'no' where 'plus'",
        "label",
    ),
    (
        "a thing that equals everything",
        OBJECT.format("", "__eq__ = lambda s, o: True", "T()"),
        "not yet: type",
        "a T where a tensor",
    ),
    (
        "a thing that says it is a tensor",
        OBJECT.format("", "__class__ = torch.Tensor", "T()"),
        "not yet: type",
        "a T where a tensor",
    ),
    (
        "a thing whose class ends the program",
        OBJECT.format("", "__class__ = property(lambda s: sys.exit())", "T()"),
        "not yet: type",
        "a T where a tensor",
    ),
    (
        "a thing whose attributes end the program",
        OBJECT.format("", "def __getattr__(self, name): sys.exit()", "T()"),
        "not yet: type",
        "a T where a tensor",
    ),
    (
        "a thing whose words end the program",
        OBJECT.format("", "def __repr__(self): sys.exit()", "T()"),
        "not yet: type",
        "a T where a str",
        "label",
    ),
    (
        "a thing whose class has no name",
        "def f(x):\n    return type('', (), {})()",
        "not yet: type",
        "a nameless where",
    ),
    (
        "a thing whose class has HTML for a name",
        "def f(x):\n    return type('<b>x</b>', (), {})()",
        "not yet: type",
        "a <b>x</b> where",
    ),
    (
        "a thing whose class lies about its name",
        "class M(type):\n    __name__ = property(lambda c: sys.exit())\n\n"
        "class T(metaclass=M):\n    pass\n\ndef f(x):\n    return T()",
        "not yet: type",
        "a T where",
    ),
    (
        "a list that never ends when asked",
        OBJECT.format(
            "(list)",
            "def __iter__(self):\n        while True: yield 1",
            "{'pair': Pair(2 * x, 3), 'list': T([x, 1.0, 'a'])}",
        ),
        "right",
        "all parts",
        "pair",
    ),
    (
        "a list that lies about its length",
        OBJECT.format("(list)", "__len__ = lambda s: 3", "{'pair': Pair(2 * x, 3), 'list': T([x])}"),
        "not yet: length",
        "has 1 item where 3 items",
        "pair",
    ),
    (
        "a dict that ends the program when asked",
        OBJECT.format(
            "(dict)",
            "items = keys = values = __iter__ = lambda s: sys.exit()",
            "T(pair=Pair(2 * x, 3), list=[x, 1.0, 'a'])",
        ),
        "right",
        "all parts",
        "pair",
    ),
    (
        "a mapping that ends the program when asked",
        "import collections.abc as c\n"
        + OBJECT.format(
            "(c.Mapping)", "__getitem__ = __iter__ = lambda *a: sys.exit()\n    __len__ = lambda s: 2", "T()"
        ),
        "crashed: SystemExit",
        "leave out exit()",
        "pair",
    ),
    (
        "a mapping of its own kind",
        "import collections\n"
        + returns("collections.ChainMap({'pair': Pair(2 * x, 3)}, {'list': (x, 1, 'a')})"),
        "right",
        "all parts",
        "pair",
    ),
    (
        "a dataclass that ends the program when asked",
        "class P(Pair):\n    n = property(lambda s: sys.exit())\n    __init__ = lambda s: None\n    x = 1\n"
        + returns("{'pair': P(), 'list': [x, 1.0, 'a']}"),
        "crashed: SystemExit",
        "leave out exit()",
        "pair",
    ),
    (
        "a dataclass of the same parts",
        "from dataclasses import make_dataclass\nP = make_dataclass('P', ['n', 'x'])\n"
        + returns("{'pair': P(3, 2 * x), 'list': [x, 1.0, 'a']}"),
        "right",
        "all parts",
        "pair",
    ),
    (
        "a list that contains itself",
        "def f(x):\n    a = [x, 1.0]\n    a.append(a)\n    return {'pair': Pair(2 * x, 3), 'list': a}",
        "not yet: type",
        "where a str was expected",
        "pair",
    ),
    (
        "a list ten thousand deep",
        "def f(x):\n    a = []\n    for _ in range(10**4):\n        a = [a]\n    return a",
        "not yet: type",
        "a list where a dict",
        "pair",
    ),
    (
        "a dict with tensors as names",
        returns("{x: 1, 'list': [x, 1.0, 'a']}"),
        "not yet: missing part",
        "has no `pair`",
        "pair",
    ),
    (
        "a dict with hostile names",
        OBJECT.format("", "__hash__ = lambda s: 1\n    __repr__ = lambda s: sys.exit()", "{T(): 1}"),
        "not yet: missing part",
        "has no `pair`",
        "pair",
    ),
    ("a sparse tensor", returns("(2 * x).to_sparse()"), "not yet: type", SPECIAL),
    ("a compressed sparse tensor", returns("torch.eye(3).to_sparse_csr()"), "not yet: type", SPECIAL),
    ("a nested tensor", returns("torch.nested.nested_tensor([x, x[:2]])"), "not yet: type", SPECIAL),
    (
        "a jagged tensor",
        returns("torch.nested.nested_tensor([x, x[:2]], layout=torch.jagged)"),
        "not yet: type",
        SPECIAL,
    ),
    (
        "a quantised tensor",
        returns("torch.quantize_per_tensor(2 * x, 0.1, 0, torch.qint8)"),
        "not yet: type",
        SPECIAL,
    ),
    (
        "a tensor that fled from vmap",
        "def f(x):\n    out = []\n    torch.vmap(lambda y: (out.append(y), y)[1])(2 * x)\n    return out[0]",
        "not yet: type",
        SPECIAL,
    ),
    (
        "a fake tensor",
        "from torch._subclasses.fake_tensor import FakeTensorMode\n"
        + returns("FakeTensorMode().from_tensor(x)"),
        "not yet: type",
        SPECIAL,
    ),
    ("a tensor in MKLDNN's layout", returns("torch.ones(3, 3).to_mkldnn()"), "not yet: type", SPECIAL),
    ("a tensor without values", returns("(2 * x).to('meta')"), "not yet: device", "is on meta"),
    (
        "a number without value",
        returns("torch.ones((), device='meta')"),
        "not yet: type",
        "where a number was expected",
        "mean",
    ),
    ("a complex tensor", returns("2 * x + 0j"), "not yet: dtype", "complex64"),
    ("a boolean tensor", returns("x > 0"), "not yet: dtype", "bool"),
    ("eight bits of a float", returns("(2 * x).to(torch.float8_e4m3fn)"), "not yet: dtype", "float8"),
    ("no dimension", returns("x.sum()"), "not yet: shape", "one number"),
    ("no element", returns("x[:0]"), "not yet: shape", "(0,) where (3,)"),
    ("a million million elements", returns("x[:1].expand(10**12)"), "not yet: shape", "(1000000000000,)"),
    ("nothing but NaN", returns("x * float('nan')"), "not yet: NaN or infinity", "in 3 of its 3 elements"),
    ("infinity", returns("x / 0"), "not yet: NaN or infinity", "a division by 0"),
    (
        "a parameter not yet initialised",
        returns("nn.UninitializedParameter()"),
        "not yet: shape",
        "(0,) where (3,)",
    ),
    ("huge numbers", returns("x.double() * 1e300"), "not yet: constant factor", "5e+299 times"),
    ("with gradients", returns("(2 * x).requires_grad_()"), "right", "twice x"),
    ("a parameter", returns("nn.Parameter(2 * x)"), "right", "twice x"),
    ("every second place of another tensor", returns("torch.stack([2 * x, x], 1)[:, 0]"), "right", "twice x"),
    ("made in inference mode", "@torch.inference_mode()\n" + returns("2 * x"), "right", "twice x"),
    ("a lazy conjugate", returns("torch.complex(0 * x, -2 * x).conj().imag"), "right", "twice x"),
    (
        "a fraction",
        "from fractions import Fraction\n" + returns("Fraction(float(x.sum())) / 3"),
        "right",
        "the mean",
        "mean",
    ),
    ("a NumPy number", returns("np.float64(x.mean())"), "right", "the mean", "mean"),
    ("a long NumPy number", returns("np.longdouble(float(x.mean()))"), "right", "the mean", "mean"),
    (
        "a number too large for any computer",
        returns("10**400"),
        "not yet: NaN or infinity",
        "is NaN or infinite",
        "mean",
    ),
    (
        "a long NumPy array",
        returns("np.ones(1, np.longdouble)"),
        "not yet: type",
        "a number was expected",
        "mean",
    ),
    ("a complex number", returns("complex(0, 1)"), "not yet: values", "differs", "mean"),
    (
        "an array of things",
        returns("np.array([x, None], dtype=object)"),
        "not yet: type",
        "a NumPy array where a tensor",
    ),
    (
        "an array of words",
        returns("np.array(['a'])"),
        "not yet: type",
        "a NumPy array where a number",
        "mean",
    ),
    ("a masked array", returns("np.ma.masked_array([1.0, 2.0, 3.0])"), "not yet: type", "where a tensor"),
    ("a set", returns("{1, 2}"), "not yet: type", "a set where a tensor"),
    ("bytes", returns("b'plus'"), "not yet: type", "a bytes where a str", "label"),
    ("a long text", returns("'x' * 10**6"), "not yet: value", "where 'plus' was expected", "label"),
    ("half a character", returns("'\\udc80'"), "not yet: value", "where 'plus' was expected", "label"),
    ("a class", returns("Pair"), "not yet: type", "a type where a tensor"),
    ("a function", returns("f"), "not yet: type", "a function where a tensor"),
    ("a network", returns("nn.Linear(3, 3)"), "not yet: type", "a Linear where a tensor"),
    ("an error, not raised", returns("ValueError('x')"), "not yet: type", "a ValueError where a tensor"),
    (
        "the dots of the stub, in a list",
        returns("{'pair': Pair(2 * x, 3), 'list': [x, ..., 'a']}"),
        "not yet: type",
        "is `...` where",
        "pair",
    ),
    (
        "an iterator without an end",
        "import itertools\n" + returns("itertools.count()"),
        "not yet: type",
        "use `return`",
    ),
    ("a generator for a tensor", "def f(x):\n    yield 2 * x", "not yet: type", "use `return`"),
    ("a coroutine", "async " + returns("2 * x"), "not yet: type", "leave out `async`"),
    (
        "an asynchronous generator",
        "async def f(x):\n    yield 2 * x",
        "not yet: type",
        "an async_generator where",
    ),
    (
        "a generator without an end",
        "def f(x):\n    while True:\n        yield x",
        "not yet: length",
        "1001 items where 3",
        "walk",
    ),
    (
        "a generator that ends the program",
        "def f(x):\n    yield x\n    sys.exit()",
        "crashed: SystemExit",
        "Line 3",
        "walk",
    ),
    (
        "an iterator that ends the program",
        OBJECT.format("", "__iter__ = lambda s: s\n    __next__ = lambda s: sys.exit()", "T()"),
        "crashed: SystemExit",
        "leave out exit()",
        "walk",
    ),
    (
        "a generator of hostile tensors",
        SUBCLASS.format("sys.exit()", "x").replace("return", "yield"),
        "crashed: SystemExit",
        "leave out exit()",
        "walk",
    ),
]


@tries(RETURNED)
def test_what_it_returns(source, said, words, toy, capsys):
    judge(toy, source, said, words, capsys)


# How it ends --------------------------------------------------------------------------------------


def body(*lines):
    return "def f(x):\n" + textwrap.indent(textwrap.dedent("\n".join(lines)), "    ")


ERROR = """
class E(Exception):
    {}

def f(x):
    raise E("oh")
"""
ENDED = [
    (
        "an exception of its own that is no Exception",
        "class E(BaseException):\n    pass\n\n" + body("raise E('oh')"),
        "crashed: E",
        "Line 5, `raise E('oh')`: E: oh.",
    ),
    (
        "sys.exit with a text",
        body("sys.exit('bye')"),
        "crashed: SystemExit",
        "SystemExit: bye. The code tried to end the program",
    ),
    ("exit() of the interpreter", body("exit()"), "crashed: SystemExit", "Line 2"),
    ("KeyboardInterrupt", body("raise KeyboardInterrupt"), "crashed: KeyboardInterrupt", "itself"),
    ("GeneratorExit", body("raise GeneratorExit"), "crashed: GeneratorExit", "Line 2"),
    ("StopIteration", body("raise StopIteration"), "crashed: StopIteration", "Line 2", "walk"),
    (
        "StopIteration in a generator",
        body("yield x", "raise StopIteration"),
        "crashed: RuntimeError",
        "generator raised StopIteration",
        "walk",
    ),
    ("a warning, raised", body("raise DeprecationWarning('old')"), "crashed: DeprecationWarning", "old"),
    (
        "several at once",
        body("raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])"),
        "crashed: ExceptionGroup",
        "two",
    ),
    ("what is no exception", body("raise 3"), "crashed: TypeError", "must derive from BaseException"),
    ("a syntax error in what it compiles", body("exec('def')"), "crashed: SyntaxError", "Line 2"),
    ("an assertion without words", body("assert False"), "crashed: AssertionError", "AssertionError."),
    (
        "an error of 100,000 characters",
        body("raise ValueError('x' * 10**5)"),
        "crashed: ValueError",
        "xxx...",
    ),
    (
        "an error of several lines",
        body("raise ValueError('a\\n\\n  b')"),
        "crashed: ValueError",
        "ValueError: a b.",
    ),
    (
        "an error with half a character",
        body("raise ValueError('\\udc80')"),
        "crashed: ValueError",
        "ValueError: ?.",
    ),
    (
        "an error with HTML",
        body("raise ValueError('<script>')"),
        "crashed: ValueError",
        "ValueError: <script>.",
    ),
    ("an error that cannot be said", ERROR.format("def __str__(self): return 3"), "crashed: E", "Line 6"),
    (
        "an error that ends the program when it is said",
        ERROR.format("def __str__(self): raise SystemExit"),
        "crashed: E",
        "Line 6",
    ),
    (
        "an error that interrupts when it is said",
        ERROR.format("def __str__(self): raise KeyboardInterrupt"),
        "crashed: E",
        "Line 6",
    ),
    (
        "an error that lies about its class",
        ERROR.format("__class__ = property(lambda s: sys.exit())"),
        "crashed: E",
        "oh",
    ),
    (
        "an error that hides where it was",
        ERROR.format("__traceback__ = property(lambda s: sys.exit())"),
        "crashed: E",
        "Line 6",
    ),
    (
        "an error of a class without a name",
        body("raise type('', (Exception,), {})('oh')"),
        "crashed: nameless",
        "nameless: oh",
    ),
    (
        "a chain of errors",
        body("try:", "    1 / 0", "except ZeroDivisionError as error:", "    raise KeyError('k') from error"),
        "crashed: KeyError",
        "Line 5",
    ),
    (
        "an error only in a later case",
        body("if x[0] < 0:", "    raise ValueError('negative')", "return 2 * x"),
        "crashed: ValueError",
        "(Case 2 of 2: x = [-1.0, 0.5, -4.0])",
    ),
    (
        "an exit only in a later case",
        body("return 2 * x if x[0] > 0 else sys.exit()"),
        "crashed: SystemExit",
        "(Case 2 of 2",
    ),
    (
        "the exception of the engine's own limit",
        "from helpers.exercises.sandbox import TimeLimit\n" + body("raise TimeLimit"),
        "crashed: stopped",
        "ended without an answer",
    ),
    (
        "the engine's word for a broken exercise",
        "from helpers.exercises import SpecError\n" + body("raise SpecError('90.1: broken')"),
        "crashed: SpecError",
        "Line 3",
    ),
    (
        "a complaint of its own making",
        "from helpers.exercises import Complaint\n" + body("raise Complaint('<i>mine</i>', 3)"),
        "not yet: <i>mine</i>",
        "not yet. 3 Carrying",
    ),
    (
        "a complaint that ends the program when it is read",
        "from helpers.exercises import Complaint\nclass C(Complaint):\n"
        "    __init__ = lambda s: None\n    name = text = property(lambda s: sys.exit())\n" + body("raise C"),
        "not yet",
        "not yet",
    ),
    (
        "a check inside the function",
        "from helpers.exercises import check\n" + body("check('1.3', f)", "return 2 * x"),
        "crashed: RuntimeError",
        "check() stands inside the function",
    ),
    (
        "a tensor of four million million bytes",
        body("return torch.zeros(10**12)"),
        "crashed: RuntimeError",
        "That is too much memory: look at the shapes",
    ),
    (
        "a list of ten million million",
        body("return [0] * 10**13"),
        "crashed: MemoryError",
        "That is too much memory: look at the shapes",
    ),
    (
        "an array of eight million million bytes",
        body("return np.ones(10**12)"),
        "crashed: MemoryError",
        "That is too much memory: look at the shapes",
    ),
    (
        "an outer product that does not fit",
        body("y = torch.ones(30_000)", "return y[:, None] * y"),
        "crashed: RuntimeError",
        "That is too much memory: look at the shapes",
    ),
    (
        "an argument deleted",
        body("del x", "return x"),
        "crashed: UnboundLocalError",
        "before the line that gives it a value",
    ),
    (
        "a signal handler",
        "import signal\n" + body("signal.signal(signal.SIGINT, print)"),
        "crashed: ValueError",
        "main thread",
    ),
    (
        "a question to the reader",
        body("return float(input('x?')) * x"),
        "crashed: EOFError",
        "nobody answers input()",
    ),
    ("a breakpoint", body("breakpoint()", "return x"), "crashed: BdbQuit", "Line"),
    ("reading what nobody types", body("return sys.stdin.readline() + x"), "crashed: TypeError", "Line 2"),
]


@tries(ENDED)
def test_how_it_ends(source, said, words, toy, capsys, monkeypatch):
    monkeypatch.setattr(sandbox, "MEMORY", 5 * 10**8)
    judge(toy, source, said, words, capsys)


# What does not end --------------------------------------------------------------------------------

LOOPED = [
    ("a loop", body("while True:", "    pass"), "Line "),
    ("a loop that prints", body("while True:", "    print('x' * 1000)"), "Line 3"),
    (
        "a loop that catches every Exception",
        body("while True:", "    try:", "        time.sleep(0)", "    except Exception:", "        pass"),
        "0.4 s",
    ),
    ("a tensor that loops when it is copied", WRAPPER.format("while True: pass"), "0.4 s"),
    (
        "an object that loops when it is asked for its class",
        "import collections.abc as c\n"
        + OBJECT.format(
            "(c.Mapping)",
            "__getitem__ = __len__ = lambda *a: 1\n    def __iter__(self):\n        while True: yield 1",
            "T()",
        ),
        "0.4 s",
    ),
    (
        "an error that loops when it is said",
        ERROR.format("def __str__(self):\n        while True: pass"),
        "0.4 s",
    ),
    (
        "an object that loops when it is thrown away",
        "class T:\n    def __del__(self):\n        while True: pass\n" + body("T()", "return 2 * x"),
        "",
    ),
    (
        "a ring of objects that loops when it is thrown away",
        "class T:\n    def __del__(self):\n        while True: pass\n"
        + body("t = T()", "t.t = t", "del t", "return 2 * x"),
        "",
    ),
    ("a generator that never yields", body("while True:", "    pass", "yield x"), "Line "),
    ("a clock put back, then a loop", body("time.monotonic = lambda: 0", "while True:", "    pass"), "0.4 s"),
    (
        "threads that may not take turns, then a loop",
        body("sys.setswitchinterval(10**6)", "while True:", "    pass"),
        "0.4 s",
    ),
    (
        "waiting that is put off, then a loop",
        body("threading.Event.wait = threading.Thread.join = lambda *a: 1 / 0", "while True:", "    pass"),
        "0.4 s",
    ),
    ("a slow answer", body("time.sleep(0.6)", "return 2 * x"), ""),
]


@pytest.mark.parametrize("source, words", [pytest.param(*row[1:], id=row[0]) for row in LOOPED])
def test_what_does_not_end(source, words, capsys):
    verdict, text = say("walk" if "yield x" in source else "double", write(source), capsys, time_limit=0.4)
    assert (verdict.state, verdict.mistake) in (("crashed", "time limit"), ("right", "")), text
    assert words in text
    if words:
        assert "not finished after 0.4 s, probably a loop that never ends" in text
        assert "could not be stopped" not in text


STUCK = [
    (
        "a lock that nobody opens",
        body("lock = threading.Lock()", "lock.acquire()", "lock.acquire(timeout=4)"),
    ),
    ("a long sleep", body("time.sleep(4)")),
    (
        "a loop that catches everything",
        body(
            "end = time.monotonic() + 4",
            "while time.monotonic() < end:",
            "    try:",
            "        time.sleep(0.001)",
            "    except BaseException:",
            "        pass",
        ),
    ),
]


@pytest.mark.long
@pytest.mark.parametrize("source", [pytest.param(source, id=name) for name, source in STUCK])
def test_what_cannot_be_stopped_is_left_behind(source, capsys):
    """Python cannot end a thread from outside: an exception arrives only between two of its own steps."""
    verdict, text = say("double", write(source), capsys, time_limit=0.2)
    assert verdict.mistake == "time limit" and "could not be stopped: restart the kernel" in text
    end = time.monotonic() + 10
    while any(t.name == sandbox.WORKER for t in threading.enumerate()) and time.monotonic() < end:
        time.sleep(0.05)


GROWN = [
    (
        "an append in a loop without an end",
        body("i, seen = 0, []", "while i < 10:", "    seen.append(bytes(10**5))"),
    ),
    ("a list that doubles", body("a = [0] * 1000", "while True:", "    a += a[:10**6]")),
    ("tensors kept in a loop", body("kept = []", "while True:", "    kept.append(torch.ones(10**6))")),
    ("a text that grows", body("s = ''", "while True:", "    s += 'x' * 10**6")),
    (
        "printing ever longer texts",
        body("n = 10**6", "while True:", "    n = int(1.2 * n)", "    print(kept := bytearray(n))"),
    ),
    (
        "a recursion whose limit it raises",
        body("sys.setrecursionlimit(10**9)", "def g(n):", "    return g(n + [0] * 10**4)", "return g([0])"),
    ),
    (
        "a generator that keeps what it yields",
        body("kept = []", "while True:", "    kept.append(bytes(10**6))", "    yield x"),
    ),
    ("an answer of many numbers", body("while True:", "    yield torch.ones(10**6)")),
    (
        "a result whose copy does not end",
        "import collections.abc as c\n"
        + OBJECT.format(
            "(c.Mapping)",
            "__len__ = lambda s: 1\n    __getitem__ = lambda s, n: 'x' * 10**6\n"
            "    def __iter__(self):\n        n = 0\n        while True:\n"
            "            yield (n := n + 1)",
            "T()",
        ),
    ),
]


@pytest.mark.parametrize("source", [pytest.param(source, id=name) for name, source in GROWN])
def test_what_takes_ever_more_memory(source, capsys, monkeypatch):
    monkeypatch.setattr(sandbox, "MEMORY", 10**8)
    toy = "walk" if "yield" in source and "class" not in source else "double"
    verdict, text = say(toy, write(source), capsys, time_limit=20)
    assert verdict.state == "crashed", text
    limits = {
        "memory": "your code took more than 0.1 GB of memory: is a loop without an end appending to a list?"
    }
    limits |= dict.fromkeys(["MemoryError", "RuntimeError"], "That is too much memory: look at the shapes")
    limits["RecursionError"] = "calls itself without an end"
    assert limits[verdict.mistake] in text, text


# What it prints -----------------------------------------------------------------------------------

PRINTED = [
    ("nothing", "pass", ""),
    ("a line", "print('hello')", "hello"),
    ("half a character", "print('a\\udc80b')", "a?b"),
    ("HTML", "print('<script>alert(1)</script>')", "<script>alert(1)</script>"),
    ("a hundred thousand lines", "for i in range(10**5): print(i)", "0\n1\n2\n"),
    ("a line of a hundred million characters", "print('x' * 10**8)", "xxxxxx"),
    ("then closes the stream", "print('a'); sys.stdout.close(); print('b')", "a\nb"),
    (
        "to the stream behind the stream, and closes it",
        "print('a', file=sys.__stdout__); sys.__stdout__.close()",
        "a",
    ),
    (
        "after it closed standard error",
        "sys.stderr.close(); sys.__stderr__.close(); print('a', file=sys.stderr)",
        "",
    ),
    ("then takes the stream away", "print('a'); sys.stdout = None; print('b')", "a"),
    ("then deletes the stream", "print('a'); del sys.stdout, sys.stderr", "a"),
    ("to a stream of its own", "sys.stdout = open(os.devnull, 'w'); print('a')", ""),
    ("what is not text", "sys.stdout.kept.append(3); print('a')", "a"),
    (
        "an object that claims to be text",
        "print(type('T', (), {'__str__': lambda s: type('S', (str,), {'__len__': lambda t: 1})('abc')})())",
        "abc",
    ),
    ("closes standard input", "sys.stdin.close(); sys.__stdin__.close(); print('a')", "a"),
    ("through logging", "import logging; logging.warning('a'); print('b')", "b"),
    ("a warning", "warnings.warn('careful'); print('b')", "b"),
    ("in another thread", "t = threading.Thread(target=print, args=('a',)); t.start(); t.join()", "a"),
]


@pytest.mark.parametrize("line, printed", [pytest.param(*row[1:], id=row[0]) for row in PRINTED])
def test_what_it_prints(line, printed, capsys, monkeypatch):
    monkeypatch.setattr(sandbox, "MEMORY", 3 * 10**8)
    verdict, text = say("double", write(body(line, "return 2 * x")), capsys)
    assert verdict.state in ("right", "crashed"), text
    assert len(verdict.printed) <= sandbox.KEEP
    said = text.partition("The code printed:\n")[2]
    assert said.startswith(printed) and bool(said) == bool(printed)


@pytest.mark.parametrize(
    "words, mistake",
    [
        ("raise SystemExit", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("return 3", "TypeError"),
        ("return repr(self)", "RecursionError"),
    ],
)
def test_printing_an_object_whose_words_are_hostile(words, mistake, capsys):
    source = f"class T:\n    def __repr__(self):\n        {words}\n\n" + body("print(T())", "return 2 * x")
    judge("double", source, f"crashed: {mistake}", "Line ", capsys)
