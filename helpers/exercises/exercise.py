"""What an exercise is: what ``check`` needs to say whether a student's function is right.

A notebook's exercises stand in ``helpers/exercises/nbNN.py`` as a list ``EXERCISES``. Those whose
mistakes are patches are described in patches.py; in a test, a spec in full:

    Exercise("1.3", "q_sample", reference, cases, verified="it equals the closed form.",
             mistakes=[Mistake("no root", "The noise is scaled by a variance: take its root.", no_root)])
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import torch


class Complaint(Exception):
    """Raised by an exercise's ``call`` to say what is wrong with the student's function.

    name: two or three words for the summary table; text: the sentence the student reads.
    """

    def __init__(self, name: str, text: str):
        super().__init__(text)
        self.name, self.text = name, text


@dataclass(frozen=True)
class Mistake:
    """A mistake people make, as a small wrong variant; recognised by what the student's function returns.

    name: two to five words, shown in the summary table.
    message: one sentence, what went wrong and what to look at; or a function
        (student_result, expected_result) -> str of the first case where the two differ, to quote numbers.
    function: the wrong variant; same arguments as the reference (a class where the reference is one).
    raises: True where the variant itself stops with an error (a missing broadcast, say). A student's error
        counts as this mistake when the same case stops with the same error and message.
    """

    name: str
    message: str | Callable[[Any, Any], str]
    function: Callable
    raises: bool = False


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    id: "1.3"; the number before the dot is the notebook's.
    title: what is printed behind the id, normally the function's name.
    reference: the right function or class; the notebook carries on with it when the student's is not right.
    cases: function -> list of argument tuples. It is called anew for each function that is checked, with the
        global generators seeded, so that nobody sees arguments that somebody else changed.
    verified: ends the sentence "right. Verified: ...".
    mistakes: tried in this order; no two may return the same on all cases, none the same as the reference.
    rtol, atol: a result agrees where |difference| <= rtol |expected| + atol max(rms(expected), 0.01).
    call: (function, *args) -> result; default function(*args). ``as_module`` and ``exhaust`` make the common
        ones; a generator function as reference gets ``exhaust()`` by itself.
        A result: tensor, number, bool, str, None; or tuple, list, dict, dataclass of those. Plain copies are
        compared, and handed to messages and properties.
    properties: functions (result, expected, args) -> None or a sentence; asked before mean and variance when
        the result is wrong and no listed mistake fits.
    statistical: None, or k. Then results are samples along dimension 0 and agree when their means, standard
        deviations, skewness and kurtosis lie within k standard errors, feature by feature, and their
        correlations. Use k = 5 and some thousand samples.
    strict_dtype: float64 for float32 is accepted otherwise. Set it where the result is fed to a network.
    gradient: the gradients that reach what learns in the arguments (parameters of an nn.Module, tensors with
        requires_grad) must agree too. Set it for a loss.
    same_draws: a given generator must stand afterwards where the reference leaves it. Otherwise it must have
        moved on, where the reference draws, and must not be seeded anew.
    changes_inputs: the function is meant to change its arguments (an EMA update); let ``call`` return them.
    time_limit: seconds for all cases together, after which a function counts as endless.
    """

    kind: ClassVar[str] = "write"
    id: str
    title: str
    reference: Callable
    cases: Callable[[], Sequence[tuple]]
    verified: str
    mistakes: Sequence[Mistake] = ()
    rtol: float = 1e-4
    atol: float = 1e-5
    call: Callable | None = None
    properties: Sequence[Callable] = ()
    statistical: float | None = None
    strict_dtype: bool = False
    gradient: bool = False
    same_draws: bool = False
    changes_inputs: bool = False
    time_limit: float = 10.0

    def invoke(self, function, args):
        """What the function (or class) answers to one case's arguments."""
        if self.call is not None:
            return self.call(function, *args)
        if inspect.isgeneratorfunction(self.reference):
            return exhaust()(function, *args)
        return function(*args)

    def argument_names(self, args) -> list[str]:
        """Names for a case's arguments, from the signature of ``call`` or the reference; else args[1] ..."""
        for target in (self.call, self.reference):
            own, first = target is self.call, []
            if inspect.isclass(target):  # forward's ``self`` stands where the case has the init arguments
                target = getattr(target, "forward", target)
            try:
                kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
                parameters = inspect.signature(target).parameters.values() if target else ()
                first = ["__init__" if p.name == "self" else p.name for p in parameters if p.kind in kinds][
                    own:
                ]
            except (TypeError, ValueError):
                pass
            if len(first) >= len(args):
                break
        return [first[i] if i < len(first) else f"args[{i}]" for i in range(len(args))]


def as_module(reference, seed: int = 0, shake: float = 0.1, method: str = "forward"):
    """``call`` for an exercise on an nn.Module whose ``__init__`` is given and whose ``forward`` is written.

    A case is (init, *inputs): init a tuple or a dict of ``__init__`` arguments, inputs what forward gets. The
    student's class is built with init, gets the reference's parameters (moved by shake * randn: layers that
    start at zero or one cannot hide a mistake) and runs ``method`` in eval mode.
    """

    def build(cls, init):
        return cls(**init) if isinstance(init, dict) else cls(*init)

    def call(cls, init, *inputs):
        torch.default_generator.manual_seed(seed)
        own, module = build(reference, init), build(cls, init)
        if not isinstance(module, torch.nn.Module):
            raise Complaint("not a module", f"`{cls.__name__}` must be a torch.nn.Module, as in the stub.")
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in own.parameters():
                p += shake * torch.randn(p.shape, generator=generator)
        try:
            module.load_state_dict(own.state_dict())
        except RuntimeError as error:
            first = str(error).splitlines()[-1].strip()
            raise Complaint(
                "other parameters",
                f"The layers differ from those of the given `__init__`, so its weights do not fit ({first}) "
                "Put `__init__` back as it was and write `forward` only.",
            ) from None
        return getattr(module.eval(), method)(*inputs) if method != "forward" else module.eval()(*inputs)

    return call


def exhaust(limit: int = 1000):
    """``call`` for a function that yields: the list of what it yields, at most limit + 1 items."""

    def call(function, *args):
        result = function(*args)
        if not hasattr(result, "__iter__") or isinstance(result, torch.Tensor | str | dict):
            raise Complaint(
                "no generator",
                f"It returns {kind(result)} where a generator was expected: use `yield` in the loop.",
            )
        items, first = [], None
        for item in islice(result, limit + 1):
            first = item.clone() if not items and isinstance(item, torch.Tensor) else first
            items.append(item)
        alike = len(items) > 1 and first is not None and all(item is items[0] for item in items)
        if alike and not torch.equal(first, items[0]):
            raise Complaint(
                "same tensor yielded",
                "It yields the same tensor every time and changes it in place, so whoever keeps the states "
                "has the last one many times: make a new tensor in each step.",
            )
        return items

    return call


@dataclass(frozen=True)
class Odd:
    """Stands for a result that is none of those an exercise knows: what it is, and what to do, in words."""

    kind: str
    hint: str = ""


def kind(value) -> str:
    """What a value is, in words: "a tensor", "a NumPy array", "None"."""
    if value is None:
        return "None"
    if value is ...:
        return "`...`"
    if type(value) is Odd:
        return value.kind
    name = "tensor" if issubclass(type(value), torch.Tensor) else name_of(type(value))
    name = {"ndarray": "NumPy array", "method": "function"}.get(name, name)
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def name_of(cls: type) -> str:
    """The name of a class, whatever the class says of itself."""
    return " ".join(str.split(type.__dict__["__name__"].__get__(cls)))[:60] or "nameless"
