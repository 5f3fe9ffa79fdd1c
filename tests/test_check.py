"""The engine behind check(...), with made-up exercises: what it accepts, what it names, what it survives."""

import _thread
import functools
import linecache
import random
import signal
import sys
import threading
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

import numpy as np
import pytest
import torch
from torch import nn

from helpers.exercises import (
    Check,
    Complaint,
    Exercise,
    Mistake,
    SpecError,
    as_module,
    check,
    decide,
    exhaust,
    read_cell,
)
from helpers.exercises import report as reporting

cell = count(1)


def write(source, name="f", **names):
    """Define what ``source`` defines, as a notebook cell does, so that its lines can be found."""
    file = f"<cell {next(cell)}>.py"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    space = {"torch": torch, "nn": nn, "np": np, "random": random, "sys": sys, "time": time, **names}
    exec(compile(source, file, "exec"), space)
    return space[name]


def mix(x, t, noise):
    a = torch.cos(0.01 * t).reshape(-1, *[1] * (x.ndim - 1))
    return a * x + (1 - a**2).sqrt() * noise


def mix_cases():
    g = torch.Generator().manual_seed(0)
    shapes = (((5, 2), [0, 10, 50, 90, 120]), ((3, 1, 4, 6), [1, 30, 98]))
    return [(torch.randn(s, generator=g), torch.tensor(t), torch.randn(s, generator=g)) for s, t in shapes]


def no_root(x, t, noise):
    a = torch.cos(0.01 * t).reshape(-1, *[1] * (x.ndim - 1))
    return a * x + (1 - a**2) * noise


def no_reshape(x, t, noise):
    a = torch.cos(0.01 * t)
    return a * x + (1 - a**2).sqrt() * noise


MIX = Exercise(
    "90.1",
    "mix",
    mix,
    mix_cases,
    "it equals the formula.",
    mistakes=[
        Mistake(
            "no root",
            lambda got, want: f"Variance {got.var():.2f} where {want.var():.2f} was expected.",
            no_root,
        ),
        Mistake("no reshape", "Reshape a.", no_reshape, raises=True),
    ],
)
A = "a = torch.cos(0.01 * t).reshape(-1, *[1] * (x.ndim - 1))"


@pytest.mark.parametrize(
    "body",
    [
        f"{A}; return torch.add(a * x, torch.sqrt(1 - a * a) * noise)",
        "return torch.stack([torch.cos(0.01 * s) * p + torch.sin((0.01 * s).abs()) * n "
        "for p, s, n in zip(x, t, noise)])",
        "a = torch.cos(0.01 * t.double()); b = (1 - a**2).sqrt(); x, noise = x.double(), noise.double()\n"
        "    return torch.einsum('b,b...->b...', a, x) + torch.einsum('b,b...->b...', b, noise)",
        f"{A}; x = x.clone(); x *= a; return (x + (1 - a**2).sqrt() * noise).requires_grad_()",
        f"{A}; a.add_(0); return (a * x + (1 - a**2).sqrt() * noise).transpose(0, 1).clone().transpose(0, 1)",
    ],
)
def test_other_styles_are_right(body):
    f = write(f"def f(x, t, noise):\n    {body}\n")
    verdict = decide(MIX, f)
    assert verdict.state == "right", verdict.message
    assert verdict.function is f
    assert verdict.message == "it equals the formula."


def test_other_argument_names_and_defaults_are_right():
    f = write(
        f"def f(p, q, r, more=3, *, also=1):\n    x, t, noise = p, q, r\n    {A}\n"
        "    return a * x + (1 - a**2).sqrt() * noise"
    )
    assert decide(MIX, f).state == "right"


def test_named_mistake_with_its_numbers():
    f = write(f"def f(x, t, noise):\n    {A}\n    return x * a + noise * (1 - a * a)")
    verdict = decide(MIX, f)
    assert (verdict.state, verdict.mistake) == ("wrong", "no root")
    assert verdict.message.startswith("Variance ") and verdict.function is mix


def test_mistake_known_by_its_error():
    f = write(
        "def f(x, t, noise):\n    a = torch.cos(0.01 * t)\n    return a * x + (1 - a**2).sqrt() * noise"
    )
    assert decide(MIX, f).mistake == "no reshape"


@pytest.mark.parametrize(
    ("body", "name", "words"),
    [
        ("mix(x, t, noise)", "returns None", "return"),
        ("return ...", "type", "`...`"),
        ("return mix(x, t, noise).numpy()", "type", "NumPy"),
        ("return list(mix(x, t, noise))", "type", "torch.stack"),
        ("return mix(x, t, noise).mean().item()", "type", "float"),
        ("return mix(x, t, noise), x", "type", "tuple"),
        ("yield mix(x, t, noise)", "type", "yield"),
        ("return mix(x, t, noise).transpose(-1, 0)", "shape", "another order"),
        ("return mix(x, t, noise)[None]", "shape", "size 1"),
        ("return mix(x, t, noise).mean()", "shape", "one number"),
        ("return mix(x, t, noise).flatten()", "shape", "reshape"),
        ("return mix(x, t, noise)[:-1]", "shape", "dimension 0"),
        ("a = mix(x, t, noise)[:, 0]; return a[:, None] * a", "shape", "(B, B)"),
        ("return mix(x, t, noise).long()", "dtype", "int64"),
        ("return mix(x, t, noise).half()", "dtype", "float16"),
        ("return mix(x, t, noise).to('meta')", "device", "meta"),
        ("return mix(x, t, noise).log()", "NaN or infinity", "elements"),
        ("return mix(x, t, noise).flip(0)", "layout", "reversed"),
        ("return mix(x, t, noise).roll(1, 0)", "off by one", "late"),
        ("return 0 * mix(x, t, noise)", "all zeros", "0 everywhere"),
        ("return -mix(x, t, noise)", "sign", "sign"),
        ("return 2 * mix(x, t, noise)", "constant factor", "2 times"),
        ("return mix(x, t, noise) + 0.5", "constant offset", "+0.5"),
        ("return mix(x, t, noise) + x.abs()", "mean", "mean"),
        (
            "y = mix(x, t, noise); return y.mean() + (y - y.mean()) * (1 + torch.arange(len(y)).reshape_as(t)"
            ".reshape(-1, *[1] * (x.ndim - 1)) * 0) ** 2 * torch.linspace(1, 1.3, y.numel()).reshape(y.shape)"
            " - 0",
            "variance",
            "variance",
        ),
        (
            "y = mix(x, t, noise).clone(); y[0, 0] += 0.01; return y",
            "wrong in some places",
            "but for the first of 5 along dimension 0. Largest difference",
        ),
        ("y = mix(x, t, noise).clone(); y[1::2] += 0.01 * x[1::2].exp(); return y", "values", "Largest"),
        ("r = mix(x, t, noise); x.mul_(2); return r", "input changed in place", "`x`"),
        ("r = mix(x, t, noise); t += 1; return r", "input changed in place", "`t`"),
    ],
)
def test_first_wrong_property(body, name, words):
    f = write(f"def f(x, t, noise):\n    {body}\n", mix=mix)
    verdict = decide(MIX, f)
    assert (verdict.state, verdict.function) == ("wrong", mix)
    assert verdict.mistake == name or (
        name in ("mean", "variance") and verdict.mistake in ("mean", "variance")
    )
    assert words in verdict.message or name == "variance", verdict.message


def test_square_result_transposed_is_layout():
    square = Exercise(
        "90.7", "square", lambda x: x @ x, lambda: [(torch.arange(9.0).reshape(3, 3),)], "it is x x."
    )
    verdict = decide(square, lambda x: (x @ x).T)
    assert verdict.mistake == "layout" and "(1, 0)" in verdict.message


@pytest.mark.parametrize(
    ("source", "name", "words"),
    [
        (
            "def f(x, t, noise):\n    y = x + 1\n    return y * nosie",
            "NameError",
            "Line 3, `return y * nosie`: NameError",
        ),
        ("def f(x, t, noise):\n    return x @ noise", "RuntimeError", "inner sizes"),
        ("def f(x, t, noise):\n    a = ...\n    return a * x", "TypeError", "of the stub"),
        ("def f(x, t, noise):\n    return torch.relu(None * x)", "TypeError", "None"),
        ("def g(x):\n    return x.foo\n\ndef f(x, t, noise):\n    return g(x)", "AttributeError", "Line 2"),
        ("def f(x, t, noise):\n    sys.exit(3)", "SystemExit", "Line 2"),
        ("def f(x, t, noise):\n    raise KeyboardInterrupt", "KeyboardInterrupt", "itself"),
        ("def f(x, t, noise):\n    return f(x, t, noise)", "RecursionError", "without an end"),
        ("def f(x, t, noise):\n    return input()", "EOFError", "input()"),
        (
            "class E(Exception):\n    def __str__(self):\n        1 / 0\n\ndef f(x, t, noise):\n    raise E",
            "E",
            "Line 6",
        ),
    ],
)
def test_crashes(source, name, words):
    verdict = decide(MIX, write(source))
    assert (verdict.state, verdict.mistake) == ("crashed", name)
    assert words in verdict.message and "0x" not in verdict.message, verdict.message


def test_deep_recursion_through_a_module_is_survived():
    f = write(
        "class M(nn.Module):\n    def forward(self, x):\n        return self(x)\n\n"
        "def f(x, t, noise):\n    return M()(x)"
    )
    assert decide(MIX, f).mistake == "RecursionError"


@pytest.mark.parametrize(
    "loop",
    [
        "while True:\n        pass",
        "while True:\n        print('still here')",
        "while True:\n        try:\n            time.sleep(0)\n        except Exception:\n            pass",
        "while True:\n        x = x + 1",
    ],
)
def test_endless_loop_is_stopped(loop):
    short = Exercise("90.2", "mix", mix, mix_cases, "it is so.", time_limit=0.2)
    start = time.monotonic()
    verdict = decide(short, write(f"def f(x, t, noise):\n    {loop}\n"))
    assert (verdict.state, verdict.mistake) == ("crashed", "time limit")
    assert "Line " in verdict.message and "0.2 s" in verdict.message
    assert time.monotonic() - start < 5
    assert len(verdict.printed) <= 2000
    end = time.monotonic() + 2
    while any(t.name == "exercise" for t in threading.enumerate()) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(t.name == "exercise" for t in threading.enumerate()), "the thread did not end"


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        "time.sleep(3)",
        "end = time.monotonic() + 3\n    while time.monotonic() < end:\n"
        "        try:\n            time.sleep(0.001)\n        except:\n            pass",
    ],
)
def test_code_that_will_not_stop_is_left_behind(body):
    short = Exercise("90.2", "mix", mix, mix_cases, "it is so.", time_limit=0.1)
    verdict = decide(short, write(f"def f(x, t, noise):\n    {body}"))
    assert verdict.mistake == "time limit" and "could not be stopped" in verdict.message


@pytest.fixture
def interruptible():
    """As in a kernel: an interrupt raises KeyboardInterrupt, also where SIGINT was ignored (nohup)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_threads_that_are_started_after_the_answer_are_stopped_too(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda args: None)  # the stop may hit pytest's own
    f = write(
        "def f(x, t, noise):\n    import threading\n    def go(left=3):\n        try:\n"
        "            while True:\n                time.sleep(0.01)\n        finally:\n"
        "            left and threading.Thread(target=go, args=(left - 1,), name='late').start()\n"
        "    threading.Thread(target=go, name='late').start()\n    return mix(x, t, noise)",
        mix=mix,
    )
    assert decide(MIX, f).state == "right"
    assert not [t for t in threading.enumerate() if t.name == "late"]


def test_the_readers_own_interrupt_passes_and_stops_the_code(interruptible):
    f = write("def f(x, t, noise):\n    while True:\n        pass")
    before = set(threading.enumerate())
    for _ in range(3):  # on a busy machine the first may arrive where C code swallows what is raised
        with suppress(KeyboardInterrupt):
            threading.Timer(0.2, _thread.interrupt_main).start()
            Check([MIX])("90.1", f)
            continue
        break
    else:
        pytest.fail("no interrupt passed")
    assert not any(t.name == "exercise" for t in set(threading.enumerate()) - before)


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "NoneType"), (3, "int"), (torch.zeros(2), "Tensor"), (nn.Linear, "a class"), (..., "ellipsis")],
)
def test_not_a_function(value, words):
    verdict = decide(MIX, value)
    assert verdict.mistake == "type" and words in verdict.message and verdict.function is mix


def test_arguments():
    verdict = decide(MIX, lambda x, t: x)
    assert verdict.mistake == "arguments"
    assert verdict.message == "The function takes 2 arguments, (x, t); the exercise passes 3: (x, t, noise)."
    assert "1 argument," in decide(MIX, lambda x: x).message


STUB = (
    'def f(x, t, noise):\n    """Mix."""\n    # TODO\n    a = torch.cos(t)\n    ...\nf = check("90.1", f)\n'
)


@pytest.mark.parametrize(
    ("source", "stub", "state"),
    [
        ("def f(x, t, noise):\n    a = torch.cos(t)   # so?\n    ...", STUB, "not attempted"),
        ("def f(x, t, noise):\n    a = torch.cos(t)\n    pass", STUB, "not attempted"),
        ("def f(x, t, noise):\n    a = torch.cos(t)\n    return a", STUB, "wrong"),
        ("def f(x, t, noise):\n    ...", STUB, "wrong"),
        ("def f(x, t, noise):\n    ...", None, "not attempted"),
        ('def f(x, t, noise):\n    """Mix."""\n    pass', None, "not attempted"),
        ("def f(x, t, noise):\n    a = 1", None, "wrong"),
        ("g = 1\n\ndef other():\n    ...\n\ndef f(x, t, noise):\n    return x", None, "wrong"),
    ],
)
def test_not_attempted(source, stub, state):
    verdict = decide(MIX, write(source), stub)
    assert verdict.state == state and verdict.function is mix


# Modules


class Block(nn.Module):
    def __init__(self, channels, t_channels):
        super().__init__()
        self.conv, self.bias = nn.Conv2d(channels, channels, 3, padding=1), nn.Linear(t_channels, channels)
        nn.init.zeros_(self.conv.weight)

    def forward(self, x, emb):
        return x + self.conv(x) + self.bias(emb)[:, :, None, None]


class NoSkip(Block):
    def forward(self, x, emb):
        return self.conv(x) + self.bias(emb)[:, :, None, None]


def block_cases():
    g = torch.Generator().manual_seed(0)
    return [((6, 5), torch.randn(2, 6, 4, 3, generator=g), torch.randn(2, 5, generator=g))]


BLOCK = Exercise(
    "90.3",
    "Block",
    Block,
    block_cases,
    "it adds up.",
    call=as_module(Block),
    mistakes=[Mistake("no skip", "Add x to what the layers make.", NoSkip)],
)
INIT = """class Block(nn.Module):
    def __init__(self, channels, t_channels):
        super().__init__()
        self.conv, self.bias = nn.Conv2d(channels, channels, 3, padding=1), nn.Linear(t_channels, channels)

    def forward(self, x, emb):
"""


@pytest.mark.parametrize(
    ("body", "state", "mistake"),
    [
        ("h = self.bias(emb); return self.conv(x) + h.reshape(*h.shape, 1, 1) + x", "right", ""),
        ("return self.bias(emb)[..., None, None] + self.conv(x)", "wrong", "no skip"),
        ("return x + self.conv(x)", "wrong", None),
        ("return x + self.conv(x) + self.bias(emb)", "crashed", "RuntimeError"),
        ("x += self.conv(x); return x + self.bias(emb)[..., None, None]", "wrong", "input changed in place"),
        ("...", "not attempted", ""),
    ],
)
def test_module(body, state, mistake):
    made = write(INIT + f"        {body}\n", "Block")
    verdict = decide(BLOCK, made, INIT + "        # TODO\n        ...\n")
    assert verdict.state == state and mistake in (None, verdict.mistake), verdict.message
    assert verdict.function is (made if state == "right" else Block)


def test_module_with_other_layers_or_arguments():
    other = write(INIT.replace("3, padding=1", "1") + "        return x\n", "Block")
    assert decide(BLOCK, other).mistake == "other parameters"
    short = write(INIT.replace("x, emb", "x") + "        return x\n", "Block")
    assert decide(BLOCK, short).message == "`forward` takes 1 argument, (x); the exercise passes 2: (x, emb)."
    assert decide(BLOCK, lambda x: x).mistake == "type"
    assert decide(BLOCK, write(INIT + "        return\n", "Block"), None).mistake == "returns None"


# Generators


def halve(x, steps):
    for _ in range(steps):
        x = x / 2
        yield x


HALVE = Exercise(
    "90.4",
    "halve",
    halve,
    lambda: [(torch.tensor([1.0, 3.0, -2.0]), 4)],
    "it halves.",
    mistakes=[
        Mistake(
            "start included",
            "The first item is the first step's.",
            lambda x, steps: [x / 2**i for i in range(steps)],
        )
    ],
)


@pytest.mark.parametrize(
    ("source", "state", "mistake"),
    [
        ("def f(x, n):\n    for i in range(n):\n        yield x / 2 ** (i + 1)", "right", ""),
        ("def f(x, n):\n    return [x / 2 ** (i + 1) for i in range(n)]", "right", ""),
        (
            "def f(x, n):\n    for i in range(n):\n        yield x\n        x = x / 2",
            "wrong",
            "start included",
        ),
        ("def f(x, n):\n    for i in range(n - 1):\n        yield x", "wrong", "length"),
        (
            "def f(x, n):\n    x = x.clone()\n    for i in range(n):\n        x /= 2\n        yield x",
            "wrong",
            "same tensor yielded",
        ),
        ("def f(x, n):\n    while True:\n        x = x / 2\n        yield x", "wrong", "length"),
        ("def f(x, n):\n    return x / 16", "wrong", "no generator"),
        (
            "def f(x, n):\n    for i in range(n):\n        x = x / 2\n        yield None",
            "wrong",
            "returns None",
        ),
        (
            "def f(x, n):\n    for i in range(n):\n        yield x / 2 ** (i + 1)\n    raise ValueError",
            "crashed",
            "ValueError",
        ),
    ],
)
def test_generator(source, state, mistake):
    verdict = decide(HALVE, write(source))
    assert (verdict.state, verdict.mistake) == (state, mistake), verdict.message


# Judged statistically


def draw(mean, n, generator):
    return mean + 0.5 * torch.randn(n, 2, generator=generator)


DRAW = Exercise(
    "90.5",
    "draw",
    draw,
    lambda: [(torch.tensor([1.0, -2.0]), 4000, torch.Generator().manual_seed(3))],
    "mean and spread.",
    statistical=5,
    mistakes=[
        Mistake("uniform noise", "Use randn.", lambda m, n, g: m + 0.5 * torch.rand(n, 2, generator=g)),
        Mistake(
            "uniform noise, right spread",
            "Use randn.",
            lambda m, n, g: m + 0.5 * 12**0.5 * (torch.rand(n, 2, generator=g) - 0.5),
        ),
        Mistake(
            "variance for spread", "Take the root.", lambda m, n, g: m + 0.25 * torch.randn(n, 2, generator=g)
        ),
    ],
)


@pytest.mark.parametrize(
    ("body", "state", "mistake"),
    [
        ("return m + torch.normal(0.0, 0.5, (n, 2), generator=g)", "right", ""),
        (
            "return torch.stack([m[i] + 0.5 * torch.randn(n, generator=g) for i in (1, 0)][::-1], 1)",
            "right",
            "",
        ),
        ("return m - 0.5 * torch.randn(n, 2, generator=g)", "right", ""),
        ("return m - 0.5 * torch.randn(n, 2)", "wrong", "generator not used"),
        ("return m + 0.5 * torch.rand(2, n, generator=g).T", "wrong", "uniform noise"),
        ("return m + 3**0.5 * (torch.rand(n, 2) - 0.5)", "wrong", "uniform noise, right spread"),
        ("return m + torch.normal(0.0, 0.25, (n, 2), generator=g)", "wrong", "variance for spread"),
        ("return 0.1 + m + 0.5 * torch.randn(n, 2)", "wrong", "mean"),
        ("return m + 0.6 * torch.randn(n, 2)", "wrong", "standard deviation"),
        ("return m + 0.5 * torch.randn(n, 2).sign()", "wrong", "distribution"),
        ("return m + 0 * torch.randn(n, 2)", "wrong", "standard deviation"),
        ("return m + torch.randn(n, 2).log()", "wrong", "NaN or infinity"),
    ],
)
def test_statistical(body, state, mistake):
    verdict = decide(DRAW, write(f"def f(m, n, g):\n    {body}"))
    assert (verdict.state, verdict.mistake) == (state, mistake), verdict.message


# Other kinds of results and options


@dataclass
class Pair:
    x: torch.Tensor
    n: int


def odd(x):
    return Pair(x + 1, 3), {"mean": x.mean().item(), "name": "x"}


ODD = Exercise("90.6", "odd", odd, lambda: [(torch.arange(4.0),)], "it is odd.")


@pytest.mark.parametrize(
    ("source", "mistake"),
    [
        ("def f(x):\n    return [P(1 + x, 3), {'name': 'x', 'mean': x.sum() / 4}]", ""),
        ("def f(x):\n    return P(x + 1, 4), {'mean': 1.5, 'name': 'x'}", "values"),
        ("def f(x):\n    return P(x + 1, 3), {'mean': 1.5, 'name': 'y'}", "value"),
        ("def f(x):\n    return P(x + 1, 3), {'name': 'x'}", "missing part"),
        ("def f(x):\n    return P(x + 1, 3), {'mean': 1.5, 'name': 'x', 'z': 1}", "extra part"),
        ("def f(x):\n    return P(x + 1, 3)", "type"),
        ("def f(x):\n    return P(x + 1, 3), 4, 5", "length"),
        ("def f(x):\n    return P(x[None], 3), {'mean': 1.5, 'name': 'x'}", "shape"),
        ("def f(x):\n    return P(x + 1, None), {'mean': 1.5, 'name': 'x'}", "returns None"),
    ],
)
def test_structures(source, mistake):
    verdict = decide(ODD, write(source, P=Pair))
    assert verdict.mistake == mistake, verdict.message


def test_options():
    def update(average, new):
        average.mul_(0.9).add_(0.1 * new)

    def cases():
        return [(torch.ones(3), torch.arange(3.0))]

    ema = Exercise(
        "90.8",
        "update",
        update,
        cases,
        "it moves.",
        changes_inputs=True,
        strict_dtype=True,
        call=lambda f, a, b: (f(a, b), a)[1],
    )
    assert decide(ema, write("def f(a, b):\n    a += 0.1 * (b - a)")).state == "right"
    assert decide(ema, write("def f(a, b):\n    a = a + 0.1 * (b - a)")).state == "wrong"
    double = Exercise("90.8", "one", lambda x: x + 1, lambda: [(torch.ones(3),)], "one.", strict_dtype=True)
    assert decide(double, lambda x: x.double() + 1).mistake == "dtype"

    def small(result, expected, args):
        return "It is too large." if result.max() > 5 else None

    bounded = Exercise("90.8", "one", lambda x: x + 1, lambda: [(torch.ones(3),)], "one.", properties=[small])
    assert decide(bounded, lambda x: x + torch.arange(3.0) * 9).mistake == "small"

    def counted(function, x):
        if function(x).sum() > 100:
            raise Complaint("too much", "It is far too much.")
        return function(x)

    complaining = Exercise("90.8", "one", lambda x: x + 1, lambda: [(torch.ones(3),)], "one.", call=counted)
    assert decide(complaining, lambda x: x + 1000).message == "It is far too much."
    assert exhaust(limit=2)(lambda: iter(range(9))) == [0, 1, 2]


def test_small_values_are_not_swallowed_by_the_tolerance():
    betas = torch.linspace(1e-4, 0.02, 10)
    exercise = Exercise("90.8", "b", lambda i: betas[i].square(), lambda: [(i,) for i in range(3)], "it.")
    assert decide(exercise, lambda i: betas[i] ** 2.0).state == "right"
    assert decide(exercise, lambda i: betas[min(i + 1, 2)].square()).state == "wrong"


# The surroundings stay as they were


def test_random_states_threads_and_modes_stay():
    source = """def f(x, t, noise):
    torch.manual_seed(1); np.random.seed(1); random.seed(1)
    torch.rand(3); np.random.rand(3); random.random()
    torch.set_default_dtype(torch.float64); torch.set_num_threads(3); torch.set_grad_enabled(False)
    return x
"""
    for grad in (True, False):
        torch.manual_seed(7), np.random.seed(7), random.seed(7)
        want = torch.rand(1).item(), np.random.rand(), random.random()
        torch.manual_seed(7), np.random.seed(7), random.seed(7)
        threads = torch.get_num_threads()
        with torch.set_grad_enabled(grad):
            decide(MIX, write(source))
            assert torch.is_grad_enabled() == grad
        assert (torch.rand(1).item(), np.random.rand(), random.random()) == want
        assert torch.get_default_dtype() == torch.float32 and torch.get_num_threads() == threads


def test_grad_mode_and_threads_are_the_callers():
    seen = []

    def f(x):
        seen.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads()))
        return x

    exercise = Exercise("90.8", "same", lambda x: x, lambda: [(torch.ones(2),)], "it.")
    decide(exercise, f)
    with torch.no_grad():
        decide(exercise, f)
    with torch.inference_mode():
        assert decide(exercise, f).state == "right"
    n = torch.get_num_threads()
    assert seen == [(True, False, n), (False, False, n), (False, True, n)]


# What is printed


def test_words(capsys):
    c = Check([MIX, HALVE])
    assert c("90.1", write("def f(x, t, noise):\n    ...")) is mix
    assert capsys.readouterr().out == (
        "90.1 mix: not attempted. Carrying on with the reference, so the notebook runs on.\n"
    )
    assert c("90.1", no_root) is mix
    out = capsys.readouterr().out
    assert out.startswith("90.1 mix: not yet. Variance ") and out.endswith(
        "expected. Carrying on with the reference.\n"
    )
    f = write("def f(x, t, noise):\n    print('look', x.shape)\n    return 1 / 0")
    assert c("90.1", f) is mix
    out = capsys.readouterr().out
    assert out.startswith("90.1 mix: crashed. Line 3, `return 1 / 0`: ZeroDivisionError")
    assert "The code printed:\nlook torch.Size([5, 2])" in out
    c.summary("90")
    out = capsys.readouterr().out
    assert "90.1      mix    crashed: ZeroDivisionError" in out and "not run" in out
    assert out.endswith("2 of 2 still open.\n")
    for exercise in (MIX, HALVE):  # functions of the reader's own that are right
        f = functools.wraps(exercise.reference)(lambda *args, e=exercise: e.reference(*args))
        assert c(exercise.id, f) is f
    assert "right. Verified: it equals the formula.\n" in capsys.readouterr().out
    c.summary("90")
    assert capsys.readouterr().out.endswith("Every exercise here is right.\n")


@pytest.mark.parametrize(
    ("exercise", "stub", "what"),
    [
        ("MIX", "def f(x, t, noise):\n    ...", "a function"),
        ("BLOCK", INIT + "        ...", "a class"),
        ("HALVE", "def f(x, steps):\n    ...", "a function"),
    ],
)
def test_the_reference_handed_in_again_is_not_right(exercise, stub, what, capsys):
    """`f = check("1.3", f)` run a second time: f is the reference by then."""
    exercise = globals()[exercise]
    c, mine = Check([exercise]), write(stub, "Block" if what == "a class" else "f")
    assert c(exercise.id, exercise.reference) is exercise.reference and not c.verdicts
    out = capsys.readouterr().out
    assert f"not checked. This is {what} of the course's own" in out and "right" not in out
    mine = c(exercise.id, mine)
    assert mine is exercise.reference and "not attempted" in capsys.readouterr().out
    assert c(exercise.id, mine) is exercise.reference
    out = capsys.readouterr().out
    assert "not attempted" in out and f"stands from before: what `check` got now is {what}" in out
    assert "right" not in out and c.verdicts[exercise.id].state == "not attempted"


def test_the_same_words_twice(capsys):
    f = write("def f(x, t, noise):\n    return x.tanh()")
    Check([MIX])("90.1", f)
    first = capsys.readouterr().out
    Check([MIX])("90.1", f)
    assert capsys.readouterr().out == first


@pytest.mark.parametrize("id", ["90.9", "99.1", "x", "", 3, None])
def test_unknown_id_keeps_the_function(id, capsys):
    assert Check([MIX])(id, no_root) is no_root
    assert "Known: 90.1" in capsys.readouterr().out


def broken_reference(x, t, noise):
    raise ValueError("oh")


@pytest.mark.parametrize(
    "spec",
    [
        Exercise("90.1", "mix", broken_reference, mix_cases, "it."),
        Exercise("90.1", "mix", mix, lambda: [], "it."),
        Exercise("90.1", "mix", mix, lambda: 1 / 0, "it."),
        Exercise("90.1", "mix", mix, mix_cases, "it.", mistakes=[Mistake("bad", "Bad.", broken_reference)]),
        Exercise("90.1", "mix", mix, mix_cases, "it.", mistakes=[Mistake("x", lambda a, b: 1 / 0, no_root)]),
    ],
)
def test_broken_exercise_raises_only_in_tests(spec, capsys, monkeypatch):
    monkeypatch.delenv("NOISE_TO_DIGITS_STRICT_CHECKS", raising=False)
    assert Check([spec])("90.1", no_root) is spec.reference
    assert "the exercise itself is broken" in capsys.readouterr().out
    monkeypatch.setenv("NOISE_TO_DIGITS_STRICT_CHECKS", "1")
    with pytest.raises((SpecError, ZeroDivisionError)):
        Check([spec])("90.1", no_root)


def test_summary_of_an_unknown_notebook(capsys, monkeypatch):
    monkeypatch.delenv("NOISE_TO_DIGITS_STRICT_CHECKS", raising=False)
    check.summary("77")
    assert "not available" in capsys.readouterr().out


def test_html_says_the_same_and_is_escaped(monkeypatch):
    shown = []
    monkeypatch.setattr(reporting, "_emit", lambda plain, rich: shown.append((plain, rich)))
    c = Check([MIX])
    c("90.1", write("def f(x, t, noise):\n    return x if len(x) < 2 else y"))
    c.summary("90")
    plain, rich = shown[0]
    assert "`return x if len(x) < 2 else y`" in plain
    assert "<code>return x if len(x) &lt; 2 else y</code>" in rich and "border-left" in rich
    assert "<table>" in shown[1][1] and "crashed: NameError" in shown[1][1]


# A cell that is no Python


@pytest.mark.parametrize(
    ("body", "name", "words"),
    [
        ("return (x", "SyntaxError", "Line 2, `return (x`: SyntaxError: '(' was never closed."),
        ("return x +", "SyntaxError", "Line 2, `return x +`: SyntaxError"),
        ("y = x\n   return y", "IndentationError", "Line 3, `return y`: IndentationError"),
        ("for x in t\n        pass", "SyntaxError", "expected ':'"),
        ("y = 'x", "SyntaxError", "unterminated string"),
        ("nonlocal y", "SyntaxError", "nonlocal"),
        ("return x\0", "", "null bytes"),
    ],
)
def test_a_cell_with_a_syntax_error_is_answered(body, name, words, capsys):
    source = f"def f(x, t, noise):\n    {body}\nmix = check('90.1', f)"
    [line] = read_cell(source.splitlines(keepends=True))
    names = {"check": Check([MIX])}
    exec(line, names)
    verdict = names["check"].verdicts["90.1"]
    assert names["mix"] is mix and verdict.state == "crashed" and (name in verdict.mistake)
    out = capsys.readouterr().out
    assert words in out and "Nothing of this cell has run." in out


@pytest.mark.parametrize(
    "source",
    [
        "f = check('1.3', f)",
        "x = (1",
        "%time\nf = check('1.3', f",
        "f = check('1.3', f)\nawait g()",
        "g?\nf = check('1.3',",
    ],
    ids=["Python", "hands in nothing", "magic", "await", "help"],
)
def test_other_cells_are_left_alone(source):
    lines = source.splitlines(keepends=True)
    assert read_cell(lines) is lines


# In a real notebook kernel


@pytest.mark.slow
def test_in_a_notebook_kernel(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    from pathlib import Path

    root = Path(__file__).resolve().parents[1]
    cells = [
        f"import sys; sys.path.insert(0, {str(root)!r}); sys.path.insert(0, {str(root / 'tests')!r})\n"
        "import torch, test_check as T\nfrom torch import nn\nfrom dataclasses import replace\n"
        "from helpers.exercises import Check, exercises\n"
        "check = Check([replace(T.MIX, time_limit=1), T.BLOCK])",
        "def mix(x, t, noise):\n    # TODO\n    ...\nmix = check('90.1', mix)",
        "def mix(x, t, noise):\n    exit()\nmix = check('90.1', mix)",
        "def mix(x, t, noise):\n    print('hello')\n    while True:\n        pass\nmix = check('90.1', mix)",
        "def mix(x, t, noise):\n    y = x\n    return y + z\nmix = check('90.1', mix)",
        T_INIT := INIT + "        # TODO\n        ...\nBlock = check('90.3', Block)",
        T_INIT.replace("...", "return x + self.conv(x) + self.bias(emb)[:, :, None, None]"),
        "check.summary('90')",
        "def mix(x, t, noise):\n    y = (x + 1\n    return y\nmix = check('90.1', mix)",
        "def mix(x, t, noise):\n    y = x\n   return 'y\nmix = check('90.1', mix)",
        "check.summary('90')",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nbclient.NotebookClient(book, timeout=60, kernel_name="python3").execute()
    said = ["".join(o["data"]["text/plain"] for o in c.outputs if "data" in o) for c in book.cells]
    assert all("text/html" in o["data"] for c in book.cells for o in c.outputs if "data" in o)
    assert said[1].startswith("90.1 mix: not attempted.")
    assert said[2].startswith("90.1 mix: crashed. Line 2, `exit()`: SystemExit")
    assert "time limit" in said[3] and said[3].endswith("The code printed:\nhello")
    assert said[4].startswith("90.1 mix: crashed. Line 3, `return y + z`: NameError")
    assert said[5].startswith("90.3 Block: not attempted.")
    assert said[6].startswith("90.3 Block: right.")
    assert said[7].endswith("1 of 2 still open.")
    assert said[8].startswith("90.1 mix: crashed. Line 2, `y = (x + 1`: SyntaxError: '(' was never closed.")
    assert "Nothing of this cell has run. Carrying on with the reference" in said[8]
    assert said[9].startswith("90.1 mix: crashed. Line 3, `return 'y`: ")
    assert "crashed: IndentationError" in said[10] or "crashed: SyntaxError" in said[10]
    assert not any("Block" not in s and "/" in s.replace("1 / 0", "") and "tmp" in s for s in said), (
        "no paths in what is said"
    )
