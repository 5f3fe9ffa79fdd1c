"""Every exercise of every notebook: reference right, each listed mistake named, nothing stops a notebook.

Generic: an exercise added to helpers/exercises/nbNN.py is tested by being there.
"""

import ast
import copy
import dataclasses
import functools
import inspect
import linecache
import sys
import time

import numpy as np
import pytest
import torch

from helpers.exercises import decide, exercises, notebooks, stubs
from helpers.exercises.verdict import agree, is_stub, parse_stub, run_trusted

ALL = [(f"nb{nb}-{e.id}", e) for nb in notebooks() for e in exercises(nb).values() if e.kind == "write"]
EVERY = pytest.mark.parametrize("exercise", [pytest.param(e, id=name) for name, e in ALL])
MISTAKES = pytest.mark.parametrize(
    ("exercise", "mistake"),
    [pytest.param(e, m, id=f"{name}-{m.name.replace(' ', '_')}") for name, e in ALL for m in e.mistakes],
)


def instead(exercise, change):
    """The reference (or its forward), with ``change`` applied to what it returns."""
    reference = exercise.reference
    if not inspect.isclass(reference):
        return functools.wraps(reference)(lambda *a, **k: change(reference(*a, **k)))
    method = next(n for n in ("forward", "__call__") if callable(getattr(reference, n, None)))
    whole = getattr(reference, method)
    return type(
        reference.__name__,
        (reference,),
        {method: functools.wraps(whole)(lambda *a, **k: change(whole(*a, **k)))},
    )


def quick(exercise):
    """A short time limit, for code that never ends."""
    return dataclasses.replace(exercise, time_limit=0.3)


def by_forward(exercise):
    """Only classes checked by ``forward`` and plain functions can be spoilt from outside in a generic way."""
    return not inspect.isclass(exercise.reference) or "forward" in vars(exercise.reference)


def answers(exercise):
    return [o.result for o in run_trusted(exercise, exercise.reference, "the reference")]


def test_notebooks_and_specs_have_the_same_exercises():
    assert ALL, "no exercises found in helpers/exercises/nbNN.py"
    assert stubs(), "no stubs.json: build the notebooks"
    assert sorted(stubs()) == sorted(id for nb in notebooks() for id in exercises(nb))


@EVERY
def test_ids_and_words(exercise):
    assert [e.id for _, e in ALL].count(exercise.id) == 1
    assert exercise.verified.endswith(".") and not exercise.verified[0].isspace()
    names = [m.name for m in exercise.mistakes]
    assert len(set(names)) == len(names) > 0, "list the mistakes people make, each under its own name"
    for m in exercise.mistakes:
        assert callable(m.message) or m.message.endswith((".", "?")), f"{m.name}: a message is a sentence"


@EVERY
def test_reference_is_right_quickly(exercise):
    decide(exercise, exercise.reference)  # warm
    start = time.process_time()
    verdict = decide(exercise, exercise.reference)
    seconds = time.process_time() - start
    assert verdict.state == "right", verdict.message
    assert verdict.function is exercise.reference
    assert seconds < 1, f"checking the reference took {seconds:.2f} s"


@EVERY
def test_cases_are_deterministic(exercise):
    for a, b in zip(
        *(run_trusted(exercise, exercise.reference, "the reference") for _ in range(2)), strict=True
    ):
        assert agree(exercise, a, b)


@EVERY
def test_stub_is_not_attempted(exercise):
    known = stubs()
    if not any(id.split(".")[0] == exercise.id.split(".")[0] for id in known):
        pytest.skip("the student edition of its notebook is not built yet")
    stub = known[exercise.id]
    tree = ast.parse(stub)
    node = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)][-1]
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    lines = stub.splitlines()[first - 1 : node.end_lineno]
    source = "\n".join(["# changed in nothing but a comment", *lines, ""])
    file = f"<stub of {exercise.id}>.py"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    names = {"torch": torch, "nn": torch.nn, "np": np} | vars(sys.modules[exercise.reference.__module__])
    exec(compile(source, file, "exec"), names)
    made = names[node.name]
    assert decide(exercise, made, stub).state == "not attempted"
    assert not is_stub(exercise.reference, parse_stub(stub)), (
        "the reference must not be mistaken for the stub"
    )


@MISTAKES
def test_mistake_is_named(exercise, mistake):
    verdict = decide(exercise, mistake.function)
    assert (verdict.state, verdict.mistake) == ("wrong", mistake.name), verdict.message
    assert verdict.function is exercise.reference
    assert len(verdict.message) > 20 and "nan" not in verdict.message.split()
    outcomes = run_trusted(exercise, mistake.function, mistake.name, raises=True)
    assert any(o.crash for o in outcomes) == mistake.raises or any(
        o.crash.complaint for o in outcomes if o.crash
    ), "raises=True exactly where the variant stops with an error"


@EVERY
def test_no_two_mistakes_alike(exercise):
    found = [(m.name, run_trusted(exercise, m.function, m.name, raises=True)) for m in exercise.mistakes]
    for i, (one, a) in enumerate(found):
        for other, b in found[i + 1 :]:
            assert not all(agree(exercise, x, y) for x, y in zip(a, b, strict=True)), (
                f"{one!r} and {other!r} return the same"
            )


@pytest.mark.slow
@EVERY
def test_wrong_kinds_are_told(exercise):
    if not by_forward(exercise) or exercise.call is not None and not inspect.isclass(exercise.reference):
        pytest.skip("its own call decides")
    known = {m.name for m in exercise.mistakes}
    first = answers(exercise)[0]
    generator = inspect.isgeneratorfunction(exercise.reference)
    changes = [(lambda r: None, {"no generator"} if generator else {"returns None"})]
    if isinstance(first, torch.Tensor):
        changes += [
            (lambda r: r.detach().numpy() if isinstance(r, torch.Tensor) else r, {"type"}),
            (lambda r: r[None], {"shape"}),
            (lambda r: np.nan * r, {"NaN or infinity", "dtype"}),
            (lambda r: r.to(torch.complex64), {"dtype"}),
        ]
    for change, names in changes:
        verdict = decide(exercise, instead(exercise, change))
        assert verdict.state == "wrong" and verdict.mistake in names | known, (
            verdict.mistake,
            verdict.message,
        )
        assert verdict.function is exercise.reference


@pytest.mark.slow
@EVERY
def test_crash_exit_and_endless_loop_are_survived(exercise):
    if not by_forward(exercise):
        pytest.skip("not checked by forward")

    def stop(r):
        raise SystemExit(1)

    def fail(r):
        raise ValueError("mine")

    def endless(r):
        while True:
            pass

    for change, name in ((fail, "ValueError"), (stop, "SystemExit"), (endless, "time limit")):
        verdict = decide(quick(exercise) if change is endless else exercise, instead(exercise, change))
        assert (verdict.state, verdict.mistake) == ("crashed", name), verdict.message
        assert verdict.function is exercise.reference


@EVERY
def test_input_changed_in_place_is_named(exercise):
    reference = exercise.reference
    if exercise.changes_inputs or not by_forward(exercise):
        pytest.skip("it may change its input, or is not checked by forward")
    changed = []

    def spoil(args, kwargs):
        for a in [*args, *kwargs.values()]:
            if isinstance(a, torch.Tensor) and a.is_floating_point() and a.numel():
                with torch.no_grad():
                    a.add_(1)
                changed.append(a)

    def plain(*args, **kwargs):
        result = reference(*args, **kwargs)
        spoil(args, kwargs)
        return result

    function = functools.wraps(reference)(plain)
    if inspect.isclass(reference):
        whole = reference.forward

        def forward(self, *args, **kwargs):
            result = whole(self, *args, **kwargs)
            spoil(args, kwargs)
            return result

        function = type(reference.__name__, (reference,), {"forward": functools.wraps(whole)(forward)})
    if inspect.isgeneratorfunction(reference):

        @functools.wraps(reference)
        def function(*args, **kwargs):
            yield from [copy.deepcopy(item) for item in reference(*args, **kwargs)]
            spoil(args, kwargs)

    verdict = decide(exercise, function)
    if not changed:
        pytest.skip("no tensor among its arguments")
    if verdict.state == "right" and exercise.call is not None:
        pytest.skip("its call passes a tensor of its own making")
    assert (verdict.state, verdict.mistake) == ("wrong", "input changed in place"), verdict.message


def test_random_state_is_given_back():
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    for _, exercise in ALL:
        decide(exercise, exercise.reference)
    assert torch.equal(torch.rand(3), want)
