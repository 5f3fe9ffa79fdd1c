"""Do two results, plain copies, agree? Are they of one form?"""

import dataclasses
import math
import re
from collections.abc import Coroutine, Iterator, Mapping
from numbers import Complex, Integral, Number, Real

import numpy as np
import torch

from .exercise import Odd, kind, name_of

LARGE = 2**24  # elements from which a tensor is not copied: no exercise asks for one


def plain(value, depth=8):
    """A copy of exact types: tensor, number, array, str, None, tuple, list, dict, dataclass; else an Odd.

    Here, and only here, methods of a result are asked: call it where they may loop or end the program.
    """
    cls = type(value)
    if value is None:
        return None
    if issubclass(cls, torch.Tensor):
        return _plain_tensor(value)
    if issubclass(cls, np.ndarray):
        array = np.array(value)
        return array if array.dtype.char in "?bBhHiIlLqQefdFD" else Odd(kind(value))
    if issubclass(cls, str):
        return str.__str__(value)
    if issubclass(cls, bool | np.bool_):
        return bool(value)
    if issubclass(cls, Integral):
        number = int(value)
        return number if abs(number) < 2**63 else math.inf if number > 0 else -math.inf
    if issubclass(cls, Real | Complex):
        return float(value) if issubclass(cls, Real) else complex(value)
    if not depth:
        return Odd("something nested without an end")
    if issubclass(cls, list | tuple):
        base = list if issubclass(cls, list) else tuple
        return base([plain(part, depth - 1) for part in base.__iter__(value)])
    if issubclass(cls, Mapping):
        pairs = dict.items(value) if issubclass(cls, dict) else ((key, value[key]) for key in value)
        return {_plain_key(key): plain(part, depth - 1) for key, part in pairs}
    if dataclasses.is_dataclass(cls):
        parts = {f"{f.name}": plain(getattr(value, f.name), depth - 1) for f in dataclasses.fields(value)}
        return dataclasses.make_dataclass(name_of(cls), parts)(**parts)
    hint = " (there is a `yield` in it: use `return`)" if issubclass(cls, Iterator) else ""
    return Odd(kind(value), " (leave out `async`)" if issubclass(cls, Coroutine) else hint)


def _plain_tensor(value):
    try:
        with torch.no_grad(), torch._C.DisableTorchFunction():
            tensor = torch.Tensor.as_subclass(value, torch.Tensor)
            if not (tensor.is_nested or tensor.is_quantized):
                large = tensor.is_meta or tensor.numel() > LARGE
                copy = torch.empty(
                    tensor.shape, dtype=tensor.dtype, device="meta" if large else tensor.device
                )
                copy = copy if large else copy.copy_(tensor)
                copy.learns = tensor.requires_grad
                return copy
    except Exception:  # sparse, and what only looks like a tensor
        pass
    return Odd("a sparse, nested, quantised or other special tensor", " (return an ordinary one)")


def _plain_key(key):
    key = plain(key, 0)
    return key if isinstance(key, str | Number | None) else kind(key)


def items(value):
    """The parts of a container as [(label, part)]; None for what is no container."""
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, list | tuple):
        return [(f"[{i}]", part) for i, part in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type | Odd):
        return [(f".{f.name}", getattr(value, f.name)) for f in dataclasses.fields(value)]
    return None


def odd(value) -> bool:
    """Whether any part of it is of no kind that can be compared."""
    return any(type(part) is Odd for _, part in leaves(value))


def leaves(value, path="") -> list:
    parts = items(value)
    if parts is None:
        return [(path, value)]
    return [leaf for label, part in parts for leaf in leaves(part, path + label)]


def form(expected, got, strict_dtype=False, path=""):
    """The first difference in kind, shape, dtype or device as (name, text); None where there is none."""
    it, parts = call(path), items(expected)
    if parts is not None:
        return _container(expected, got, parts, strict_dtype, path)
    if got is None and expected is not None:
        return "returns None", f"{cap(it)} is None where {kind(expected)} was expected: is there a `return`?"
    if isinstance(expected, torch.Tensor):
        if not isinstance(got, torch.Tensor):
            return "type", f"{cap(it)} is {kind(got)} where a tensor was expected{_type_hint(got)}."
        if got.shape != expected.shape:
            text = f"has shape {tuple(got.shape)} where {tuple(expected.shape)} was expected"
            return "shape", f"{cap(it)} {text}{shape_hint(expected, got)}."
        if _group(got) != _group(expected) or (strict_dtype and got.dtype != expected.dtype):
            text = f"has dtype {_dtype(got)} where {_dtype(expected)} was expected"
            return "dtype", f"{cap(it)} {text}: convert it, or make it with the dtype of the input."
        if not expected.ndim and getattr(expected, "learns", False) and not getattr(got, "learns", False):
            return "no gradient", f"{cap(it)} carries no gradient: leave out `detach`, `item`, `no_grad`."
        if got.device.type != expected.device.type:
            text = f"is on {got.device} where {expected.device} was expected"
            return "device", f"{cap(it)} {text}: keep the input's."
    elif isinstance(expected, Number):
        one = _is_array(got) and math.prod(got.shape) == 1 and not getattr(got, "is_meta", False)
        if not (isinstance(got, Number) or one):
            return "type", f"{cap(it)} is {kind(got)} where a number was expected{_type_hint(got)}."
    elif type(got) is not type(expected):
        return "type", f"{cap(it)} is {kind(got)} where {kind(expected)} was expected."
    return None


def _container(expected, got, parts, strict_dtype, path):
    it, others = call(path), items(got)
    sequence = isinstance(expected, list | tuple)
    if got is None:
        return "returns None", f"{cap(it)} is None where {kind(expected)} was expected: is there a `return`?"
    if others is None or (sequence != isinstance(got, list | tuple)):
        return "type", f"{cap(it)} is {kind(got)} where {kind(expected)} of {len(parts)} was expected."
    if sequence and len(parts) != len(others):
        return "length", f"{cap(it)} has {_count(len(others))} where {_count(len(parts))} was expected."
    mine = dict(others)
    for label, part in parts:
        if label not in mine:
            return "missing part", f"{cap(it)} has no {call(label)}."
        if found := form(part, mine[label], strict_dtype, path + label):
            return found
    extra = [label for label in mine if label not in dict(parts)]
    return ("extra part", f"{cap(it)} also has {call(extra[0])}.") if extra else None


def shape_hint(expected, got) -> str:
    e, g = tuple(expected.shape), tuple(got.shape)
    if len(e) == len(g) and sorted(e) == sorted(g):
        return ": the dimensions are in another order (permute or transpose)"
    if [n for n in e if n != 1] == [n for n in g if n != 1]:
        return ": a dimension of size 1 too few or too many (unsqueeze, squeeze, keepdim)"
    if got.numel() == 1:
        return ": it is reduced to one number (which dimensions should a sum or mean run over?)"
    if expected.numel() == 1:
        return ": it should be reduced to one number"
    if got.numel() == expected.numel():
        return ": as many elements in another shape (reshape)"
    if len(g) > 1 and len(e) > 0 and g[0] == g[1] == e[0] and got.numel() > expected.numel():
        return ": a (B,) tensor was broadcast against another to (B, B); reshape it to (B, 1, ...)"
    if len(e) == len(g):
        wrong = [i for i in range(len(e)) if e[i] != g[i]]
        if len(wrong) == 1:
            return f": dimension {wrong[0]} has size {g[wrong[0]]} for {e[wrong[0]]}"
    return f": it has {len(g)} dimensions for {len(e)}" if len(e) != len(g) else ""


def agree(exercise, expected, got) -> bool:
    """Form and values agree within the exercise's tolerance (or within its standard errors)."""
    if form(expected, got, exercise.strict_dtype):
        return False
    mine = dict(leaves(got))
    return all(leaf_agrees(exercise, part, mine[path]) for path, part in leaves(expected))


def leaf_agrees(exercise, expected, got):
    if not isinstance(expected, torch.Tensor | Number):
        return bool(expected == got)
    e, g = double(expected), double(got)
    if exercise.statistical and is_sample(e):
        return statistics_differ(e, g, exercise.statistical) is None
    return close(e, g, exercise)


def close(e, g, exercise) -> bool:
    return not far(e, g, exercise).any()


def far(e, g, exercise):
    finite = e[e.isfinite()]
    rms = finite.abs().square().mean().sqrt().item() if finite.numel() else 0.0
    near = (g - e).abs() <= exercise.rtol * e.abs() + exercise.atol * max(rms, 0.01)
    return ~(near | (e == g) | (e.isnan() & g.isnan()))


def statistics_differ(e, g, k: float):
    """Compare samples along dimension 0: (name, text) of the first statistic that differs, or None."""
    n = len(e)
    e, g = e.reshape(n, -1), g.reshape(n, -1)
    if not g.isfinite().all():
        return "NaN or infinity", "The samples are not all finite."
    floor = 1e-6 * max(e.abs().max().item(), 0.01)
    for name, measure in STATISTICS.items():
        (me, se), (mg, sg) = measure(e), measure(g)
        error = (se**2 + sg**2).sqrt() + floor
        z = (mg - me).abs() / error
        i = int(z.argmax())
        if z[i] > k:
            where = f" in feature {i}" if e.shape[1] > 1 else ""
            text = f"{name} {digits(mg[i])}{where} where {digits(me[i])} was expected"
            text += f" (standard error {digits(error[i])})"
            if measure in (_mean, _std):
                return name, f"The samples have {text}."
            return "distribution", (
                f"Mean and standard deviation are right, the distribution is not: the samples have {text}. "
                "Is the noise Gaussian?"
            )
    return _correlations_differ(e[:, :64], g[:, :64], k * math.sqrt(2 / n))


def _correlations_differ(e, g, most):
    """Whether numbers of one sample go together, where those of the reference do not."""
    if e.shape[1] < 2:
        return None
    ce, cg = (x.T.corrcoef().nan_to_num(0.0).triu(1) for x in (e, g))
    i, j = index(int((cg - ce).abs().argmax()), ce.shape)
    if (cg - ce).abs()[i, j] <= most:
        return None
    text = f"correlation {digits(cg[i, j])} where {digits(ce[i, j])} was expected (features {i} and {j})"
    return "shared noise", (
        f"Each number has the right distribution, but those of one sample go together: {text}. "
        "Draw one number for each."
    )


def _mean(x):
    return x.mean(0), x.std(0) / math.sqrt(len(x))


def _std(x):
    centred = x - x.mean(0)
    variance, fourth = centred.square().mean(0), centred.pow(4).mean(0)
    error = (fourth - variance**2).clamp(min=0) / (4 * variance.clamp(min=1e-30) * len(x))
    return variance.sqrt(), error.sqrt()


def _moment(x, power):
    return _mean(((x - x.mean(0)) / x.std(0).clamp(min=1e-9)) ** power)


STATISTICS = {
    "mean": _mean,
    "standard deviation": _std,
    "skewness": lambda x: _moment(x, 3),
    "kurtosis": lambda x: _moment(x, 4),  # 3 for a Gaussian, 1.8 for uniform numbers
}


def changed(before, after, path="", depth=4):
    """The first part of an argument that differs from a fresh copy, as a path; None if all is as it was."""
    if isinstance(before, torch.Tensor):
        if not isinstance(after, torch.Tensor) or before.shape != after.shape or before.dtype != after.dtype:
            return path
        a, b = before.detach(), after.detach()
        return None if bool(((a == b) | ((a != a) & (b != b))).all()) else path
    if _is_array(before):
        return changed(torch.as_tensor(before), torch.as_tensor(after), path)
    if isinstance(before, Number | str):
        return None if before == after or before != before else path
    if isinstance(before, torch.nn.Module):
        before, after = before.state_dict(), after.state_dict()
    parts = items(before)
    plain = parts is None and not callable(before) and hasattr(before, "__dict__")
    if plain and depth and type(before) is type(after):
        parts, others = list(vars(before).items()), vars(after)
        parts = [(f".{name}", value) for name, value in parts if name in others]
        after = {label: others[label[1:]] for label, _ in parts}
    elif parts is not None:
        after = dict(items(after) or [])
        if len(after) != len(parts):
            return path
    for label, part in parts or []:
        found = changed(part, after.get(label), path + label, depth - 1) if depth else None
        if found is not None:
            return found
    return None


def case_text(exercise, args, number, count) -> str:
    """The case in brackets: "(Case 2 of 3: x0 of shape (5, 2), t = [0, 10])"."""
    names = exercise.argument_names(args)
    told = ", ".join(
        f"{name} {_describe(value)}" for name, value in zip(names, args, strict=True) if name[0] != "_"
    )
    return f"(Case {number} of {count}: {told})" if told else f"(Case {number} of {count})"


def _describe(value):
    if isinstance(value, torch.Tensor):
        if value.numel() <= 6 and value.ndim <= 1:
            return f"= {[float(digits(x)) if value.is_floating_point() else int(x) for x in value.flatten()]}"
        return f"of shape {tuple(value.shape)}"
    if isinstance(value, Number | str):
        return f"= {value:.4g}" if isinstance(value, float) else f"= {value!r}"
    short = isinstance(value, list | tuple) and len(value) <= 6
    if short and all(isinstance(v, Number | str) for v in value):
        return f"= {value!r}"
    name = getattr(value, "name", None)
    return f"= {name}" if isinstance(name, str) else f"a {type(value).__name__}"


def double(value):
    value = value.detach().cpu() if isinstance(value, torch.Tensor) else torch.as_tensor(value)
    return value.to(torch.complex128 if value.is_complex() else torch.float64)


def is_sample(e):
    return e.ndim > 0 and len(e) >= 30


def _is_array(value):
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _type_hint(got):
    if isinstance(got, Odd):
        return got.hint
    if isinstance(got, Number):
        return " (leave out `.item()` and `float()`)"
    if _is_array(got) and not isinstance(got, torch.Tensor):
        return " (stay in torch, or use `torch.as_tensor`)"
    if isinstance(got, list | tuple):
        return " (`torch.stack` or `torch.tensor` makes one)"
    return ""


def _group(x):
    """float32 and float64 are one group of dtypes; half precision, integers, complex numbers are others."""
    groups = {torch.float64: torch.float32, torch.complex128: torch.complex64, torch.int64: torch.int32}
    return groups.get(x.dtype, x.dtype)


def _dtype(x):
    return str(x.dtype).removeprefix("torch.")


def _count(n):
    return f"{n} item{'s' * (n != 1)}"


def call(path: str) -> str:
    """How a part of the result is called in a sentence: "the result", "`eps`", "`x[3]`", "item 3"."""
    found = re.match(r"\['([^']*)'\]|\.(\w+)", path)
    if found is None:
        return f"item {path.strip('[]')} of the result" if path else "the result"
    name, rest = found[1] or found[2], path[found.end() :]
    return f"`{name}{rest}`" if name.isidentifier() else f"the {name}" + (f" (at {rest})" if rest else "")


def cap(text):
    return text[0].upper() + text[1:]


def digits(x):
    return f"{float(x.real if isinstance(x, torch.Tensor) and x.is_complex() else x) + 0.0:.4g}"


def index(i, shape):
    return [int(k) for k in np.unravel_index(i, shape)]
