"""Do two results, plain copies, agree? If not, which property is the first that differs?"""

import dataclasses
import itertools
import math
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
                return copy if large else copy.copy_(tensor)
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
    it, parts = (f"result{path}" if path else "the result"), items(expected)
    if parts is not None:
        return _container(expected, got, parts, strict_dtype, path)
    if got is None and expected is not None:
        return "returns None", f"{_cap(it)} is None where {kind(expected)} was expected: is there a `return`?"
    if isinstance(expected, torch.Tensor):
        if not isinstance(got, torch.Tensor):
            return "type", f"{_cap(it)} is {kind(got)} where a tensor was expected{_type_hint(got)}."
        if got.shape != expected.shape:
            text = f"has shape {tuple(got.shape)} where {tuple(expected.shape)} was expected"
            return "shape", f"{_cap(it)} {text}{shape_hint(expected, got)}."
        if _group(got) != _group(expected) or (strict_dtype and got.dtype != expected.dtype):
            text = f"has dtype {_dtype(got)} where {_dtype(expected)} was expected"
            return "dtype", f"{_cap(it)} {text}: convert it, or make it with the dtype of the input."
        if got.device.type != expected.device.type:
            text = f"is on {got.device} where {expected.device} was expected"
            return "device", f"{_cap(it)} {text}: keep the input's."
    elif isinstance(expected, Number):
        one = _is_array(got) and math.prod(got.shape) == 1 and not getattr(got, "is_meta", False)
        if not (isinstance(got, Number) or one):
            return "type", f"{_cap(it)} is {kind(got)} where a number was expected{_type_hint(got)}."
    elif type(got) is not type(expected):
        return "type", f"{_cap(it)} is {kind(got)} where {kind(expected)} was expected."
    return None


def _container(expected, got, parts, strict_dtype, path):
    it, others = (f"result{path}" if path else "the result"), items(got)
    sequence = isinstance(expected, list | tuple)
    if got is None:
        return "returns None", f"{_cap(it)} is None where {kind(expected)} was expected: is there a `return`?"
    if others is None or (sequence != isinstance(got, list | tuple)):
        return "type", f"{_cap(it)} is {kind(got)} where {kind(expected)} of {len(parts)} was expected."
    if sequence and len(parts) != len(others):
        return "length", f"{_cap(it)} has {_count(len(others))} where {_count(len(parts))} was expected."
    mine = dict(others)
    for label, part in parts:
        if label not in mine:
            return "missing part", f"{_cap(it)} has no {label.strip('.[]')}."
        if found := form(part, mine[label], strict_dtype, path + label):
            return found
    extra = [label for label in mine if label not in dict(parts)]
    return ("extra part", f"{_cap(it)} also has {extra[0].strip('.[]')}.") if extra else None


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
    return all(_leaf_agrees(exercise, part, mine[path]) for path, part in leaves(expected))


def _leaf_agrees(exercise, expected, got):
    if not isinstance(expected, torch.Tensor | Number):
        return bool(expected == got)
    e, g = _double(expected), _double(got)
    if exercise.statistical and _is_sample(e):
        return statistics_differ(e, g, exercise.statistical) is None
    return close(e, g, exercise)


def close(e, g, exercise) -> bool:
    return not _far(e, g, exercise).any()


def _far(e, g, exercise):
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
            text = f"{name} {_n(mg[i])}{where} where {_n(me[i])} was expected (standard error {_n(error[i])})"
            if measure in (_mean, _std):
                return name, f"The samples have {text}."
            return "distribution", (
                f"Mean and standard deviation are right, the distribution is not: the samples have {text}. "
                "Is the noise Gaussian?"
            )
    return None


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


def diagnose(exercise, cases) -> tuple[str, str]:
    """Name and sentence of the first failing property; cases: [(args, expected, got)], one at least wrong."""
    count = len(cases)
    for number, (args, expected, got) in enumerate(cases, 1):
        if found := form(expected, got, exercise.strict_dtype):
            return found[0], f"{found[1]} {case_text(exercise, args, number, count)}"
    wrong = [(n, *case) for n, case in enumerate(cases, 1) if not agree(exercise, case[1], case[2])]
    number, args, expected, got = wrong[0]
    where, mine = case_text(exercise, args, number, count), dict(leaves(got))
    path, part = next((p, e) for p, e in leaves(expected) if not _leaf_agrees(exercise, e, mine[p]))
    it = f"result{path}" if path else "the result"
    if not isinstance(part, torch.Tensor | Number):
        return "value", f"{_cap(it)} is {repr(mine[path])[:99]} where {part!r} was expected. {where}"
    e, g = _double(part), _double(mine[path])
    if bad := int((~g.isfinite() & e.isfinite()).sum()):
        share = "" if g.numel() == 1 else f" in {bad} of its {g.numel()} elements"
        why = f"{share}: a division by 0, a root or log below 0? {where}"
        return "NaN or infinity", f"{_cap(it)} is NaN or infinite{why}"
    for test in exercise.properties:
        if text := test(got, expected, args):
            return getattr(test, "__name__", "property").strip("<>").replace("_", " "), f"{text} {where}"
    if exercise.statistical and _is_sample(e):
        name, text = statistics_differ(e, g, exercise.statistical)
        return name, f"{text} {where}"
    pairs = [(dict(leaves(x)).get(path), dict(leaves(r)).get(path)) for _, _, x, r in wrong]
    pairs = [(_double(x), _double(r)) for x, r in pairs if isinstance(x, torch.Tensor | Number)]
    found = (
        _layout(exercise, e, g, it)
        or (len(pairs) > 1 and _constant(exercise, pairs, it, "In every case that fails, "))
        or _constant(exercise, [(e, g)], it, "")
        or _moments(e, g, it)
        or ("values", f"{_cap(it)} differs.")
    )
    far = _far(e, g, exercise)
    i = int(torch.where(far, (g - e).abs(), -1.0).argmax())
    at = f" at [{', '.join(map(str, _index(i, e.shape)))}]" if e.ndim and e.numel() > 1 else ""
    largest = f"Largest difference{at}: {_n(g.flatten()[i])} where {_n(e.flatten()[i])} was expected"
    largest += f" ({int(far.sum())} of {e.numel()} elements differ)." if e.numel() > 1 else "."
    return found[0], f"{found[1]} {largest} {where}"


def _layout(exercise, e, g, it):
    if e.numel() < 4:
        return None
    for order in itertools.permutations(range(e.ndim)) if e.ndim <= 4 else ():
        if order != tuple(range(e.ndim)):
            turned = e.permute(order)
            if turned.shape == g.shape and close(turned, g, exercise) and not close(e, turned, exercise):
                return "layout", f"{_cap(it)} has the right values, its dimensions in the order {order}."
    for d in range(e.ndim):
        if e.shape[d] > 1 and close(e.flip(d), g, exercise):
            return "layout", f"{_cap(it)} is right but reversed along dimension {d}."
        if e.shape[d] > 3:
            (sooner, later), ours = ([x.narrow(d, i, x.shape[d] - 1) for i in (0, 1)] for x in (e, g))
            for a, b, word in ((later, ours[0], "early"), (sooner, ours[1], "late")):
                if close(a, b, exercise) and not close(later, sooner, exercise):
                    text = f"is right but comes one place too {word} along dimension {d}."
                    return "off by one", f"{_cap(it)} {text}"
    return None


def _constant(exercise, pairs, it, prefix):
    """A constant factor, the sign or a constant offset, the same in all elements of all pairs."""
    e, g = torch.cat([e.flatten() for e, _ in pairs]), torch.cat([g.flatten() for _, g in pairs])
    if len(e) < 2 or e.is_complex() or g.is_complex() or not (e.any() and (e + g).isfinite().all()):
        return None
    say = (lambda text: prefix + text) if prefix else _cap
    if not g.any():
        return "all zeros", say(f"{it} is 0 everywhere.")
    factor = ((e * g).sum() / (e * e).sum()).item()
    if close(e * factor, g, exercise) and (e - e.mean()).abs().max() > 1e-6 * e.abs().max():
        if abs(factor + 1) < 1e-3:
            return "sign", say(f"{it} has the wrong sign.")
        return "constant factor", say(f"{it} is {_n(factor)} times what was expected.")
    offset = (g - e).mean().item()
    if close(e + offset, g, exercise) and close(torch.full_like(e, offset), g - e, exercise):
        return "constant offset", say(f"{it} is off by the constant {offset:+.4g}.")
    return None


def _moments(e, g, it):
    if e.numel() < 8 or e.is_complex() or not (e.isfinite().all() and g.isfinite().all()):
        return None
    spread = e.std().item()
    if abs(g.mean() - e.mean()).item() > 0.05 * spread:
        return "mean", f"{_cap(it)} has mean {_n(g.mean())} where {_n(e.mean())} was expected."
    if abs(g.var() - e.var()).item() > 0.05 * spread**2:
        return "variance", f"{_cap(it)} has variance {_n(g.var())} where {_n(e.var())} was expected."
    return None


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
            return f"= {[float(_n(x)) if value.is_floating_point() else int(x) for x in value.flatten()]}"
        return f"of shape {tuple(value.shape)}"
    if isinstance(value, Number | str):
        return f"= {value:.4g}" if isinstance(value, float) else f"= {value!r}"
    short = isinstance(value, list | tuple) and len(value) <= 6
    if short and all(isinstance(v, Number | str) for v in value):
        return f"= {value!r}"
    name = getattr(value, "name", None)
    return f"= {name}" if isinstance(name, str) else f"a {type(value).__name__}"


def _double(value):
    value = value.detach().cpu() if isinstance(value, torch.Tensor) else torch.as_tensor(value)
    return value.to(torch.complex128 if value.is_complex() else torch.float64)


def _is_sample(e):
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


def _cap(text):
    return text if text.startswith("result") else text[0].upper() + text[1:]


def _n(x):
    return f"{float(x.real if isinstance(x, torch.Tensor) and x.is_complex() else x):.4g}"


def _index(i, shape):
    return [int(k) for k in np.unravel_index(i, shape)]
