"""Clues: what is wrong with a result that no listed mistake makes, found without a list.

A clue is a function (part) -> (name, text) or None. It speaks only where it holds, to the exercise's
tolerance, for every case in which that part of the result is wrong: a misleading clue is worse than none.
"""

import ast
import copy
import inspect
import itertools
import math
import textwrap
from dataclasses import dataclass
from numbers import Number

import torch

from . import compare
from .compare import case_text, close, digits, double, far, leaf_agrees, leaves
from .sandbox import attempt


@dataclass(frozen=True)
class Part:
    """One part of a result, in the cases where it is wrong.

    it: how it is called in a sentence. cases: [(arguments by name, expected, got)], numbers as float64.
    listed: it is a list, joined along dimension 0. again: (number in cases) -> [(argument, expected, got)]
    with that argument changed.
    """

    exercise: object
    it: str
    cases: list
    listed: bool = False
    again: object = None

    def alike(self, a, b):
        return a.shape == b.shape and close(a, b, self.exercise)

    def every(self, relation):
        """Whether relation(expected) is the result in every case."""
        pairs = [(relation(e), g) for _, e, g in self.cases]
        return all(bool(e.isfinite().all()) and self.alike(e, g) for e, g in pairs)

    def joined(self):
        return (torch.cat([case[i].flatten() for case in self.cases]) for i in (1, 2))


def diagnose(exercise, cases, again=lambda number: ([], None)) -> tuple[str, str]:
    """Name and sentence of the first clue that holds; cases: [(args, expected, got)], one at least wrong.

    again: (number of a case) -> ([(argument, expected, got)] with that argument changed, a crash or None).
    """
    count = len(cases)
    if order := _find_order(exercise, cases):
        return "results in another order", order
    names = name_parts(exercise.reference)
    cases = [(args, *_named(names, e, g)) for args, e, g in cases]
    right = [n for n, (_, e, g) in enumerate(cases) if compare.agree(exercise, e, g)]
    wrong = [n for n in range(count) if n not in right]
    which = _say_which(exercise, cases, right, wrong)
    for number, (args, expected, got) in enumerate(cases, 1):
        if found := compare.form(expected, got, exercise.strict_dtype):
            return found[0], f"{found[1]} {which}{case_text(exercise, args, number, count)}"
    args, expected, got = cases[wrong[0]]
    where = f"{which}{case_text(exercise, args, wrong[0] + 1, count)}"
    split, path = next(
        (split, path)
        for split in (join, leaves)  # joined, a small item's fault may drown beside a large one's
        for path, e, g in _pairs(split, expected, got)
        if not leaf_agrees(exercise, e, g)
    )
    listed, it = split is join and path not in dict(leaves(expected)), compare.call(path)
    e, g = dict(split(expected))[path], dict(split(got))[path]
    if not isinstance(e, torch.Tensor | Number):
        return "value", f"{compare.cap(it)} is {repr(g)[:99]} where {e!r} was expected. {where}"
    e, g = double(e), double(g)
    if bad := int((~g.isfinite() & e.isfinite()).sum()):
        share = "" if g.numel() == 1 else f" in {bad} of its {g.numel()} elements"
        why = f"{share}: a division by 0, a root or log below 0? {where}"
        return "NaN or infinity", f"{compare.cap(it)} is NaN or infinite{why}"
    for test in exercise.properties:
        if text := test(cases[wrong[0]][2], expected, args):
            return getattr(test, "__name__", "property").strip("<>").replace("_", " "), f"{text} {where}"
    if exercise.statistical and compare.is_sample(e):
        name, text = compare.statistics_differ(e, g, exercise.statistical)
        return name, f"{text} {where}"

    def pick(*results):
        """This part of an expected result and of a student's, as numbers; None where it is not there."""
        found = [(double(x), double(y)) for p, x, y in _pairs(split, *_named(names, *results)) if p == path]
        return found[0] if found else None

    numbers = [n for n in wrong if (two := pick(*cases[n][1:])) and not close(*two, exercise)]
    those = [
        (dict(zip(exercise.argument_names(cases[n][0]), cases[n][0], strict=True)), *pick(*cases[n][1:]))
        for n in numbers
    ]

    def ask(i):
        tried, crash = again(numbers[i])
        return [] if crash else [(name, *two) for name, *results in tried if (two := pick(*results))]

    part = Part(exercise, it, those, listed, ask)
    tried = (attempt(clue, part)[0] for clue in CLUES)  # one that fails on an odd result is left out
    name, text = next(filter(None, tried), ("values", f"{it} differs."))
    if name in ("mean", "variance", "values") and which:
        name = "right in some cases"
    off = far(e, g, exercise)
    i = int(torch.where(off, (g - e).abs(), -1.0).argmax())
    at = f" at [{', '.join(map(str, compare.index(i, e.shape)))}]" if e.ndim and e.numel() > 1 else ""
    largest = f"Largest difference{at}: {digits(g.flatten()[i])} where {digits(e.flatten()[i])} was expected"
    largest += f" ({int(off.sum())} of {e.numel()} elements differ)." if e.numel() > 1 else "."
    return name, f"{compare.cap(text)} {largest} {where}"


# Parts of a result and their names ----------------------------------------------------------------


def name_parts(function) -> list[str]:
    """The names in a function's last `return a, b`; [] where it returns something else."""
    source, crash = attempt(lambda: ast.parse(textwrap.dedent(inspect.getsource(function))))
    returns = [n for n in ast.walk(source) if isinstance(n, ast.Return)] if not crash else []
    last = max(returns, key=lambda n: n.lineno).value if returns else None
    parts = last.elts if isinstance(last, ast.Tuple) else []
    names = [part.id if isinstance(part, ast.Name) else "" for part in parts]
    ordinals = ("first", "second", "third", "fourth", "fifth")
    return [name or f"{ordinals[i]} result" for i, name in enumerate(names)] if len(names) <= 5 else []


def _named(names, expected, got):
    fit = isinstance(expected, tuple) and isinstance(got, tuple | list) and len(got) == len(expected)
    if not fit or len(names) != len(expected):
        return expected, got
    return (dict(zip(names, value, strict=True)) for value in (expected, got))


def join(value, path="") -> list:
    """The leaves; a list of numbers, or of tensors of one shape, is one: its items along dimension 0."""
    if isinstance(value, list) and len(value) > 1:
        if all(isinstance(x, Number) for x in value):
            return [(path, torch.stack([double(x) for x in value]))]
        if all(isinstance(x, torch.Tensor) for x in value) and len({(x.shape, x.dtype) for x in value}) == 1:
            return [(path, torch.stack([double(x) for x in value]))]
    parts = compare.items(value)
    return [(path, value)] if parts is None else [x for label, p in parts for x in join(p, path + label)]


def _pairs(split, expected, got):
    mine = dict(split(got))
    return [(path, e, mine[path]) for path, e in split(expected) if path in mine]


def _find_order(exercise, cases):
    """Where the parts of a tuple are right, in another order."""
    args, e, g = cases[0]
    if not (isinstance(e, tuple) and isinstance(g, tuple | list) and len(e) == len(g) <= 4):
        return None
    names = name_parts(exercise.reference)
    for order in itertools.permutations(range(len(e))):
        if all(compare.agree(exercise, tuple(e[i] for i in order), tuple(g)) for _, e, g in cases):
            known = len(names) == len(e) and all(name.isidentifier() for name in names)
            told = f"({', '.join(names)})" if known else "the order of the docstring"
            return f"The results are right but in another order: {told} was expected."
    return None


def _say_which(exercise, cases, right, wrong) -> str:
    """What the cases that are wrong have in common and those that are right have not; "" if all are wrong."""
    if not right or not wrong:
        return ""
    given = [dict(zip(exercise.argument_names(args), args, strict=True)) for args, _, _ in cases]
    good, bad = [given[n] for n in right], [given[n] for n in wrong]
    if more := [x for x in bad[0] if all(x in b for b in bad) and not any(x in a for a in good)]:
        return f"It is right with the defaults, and wrong where `{more[0]}` is given: is that argument used? "
    for name in [x for x in bad[0] if all(x in case for case in good + bad)]:
        values = [[case[name] for case in part] for part in (good, bad)]
        if all(isinstance(v, torch.Tensor) for v in values[0] + values[1]):
            dims = [{(v.ndim, v.shape[-1] if v.ndim == 2 else 0) for v in part} for part in values]
            if not {d for d, _ in dims[0]} & {d for d, _ in dims[1]} and all(len(d) == 1 for d in dims):
                kinds = {(2, 2): "points", (4, 0): "pictures"}
                a, b = (kinds.get(d, f"{d[0]} dimensions") for (d,) in dims)
                return f"It is right for {a} and wrong for {b}. "
        elif all(isinstance(v, str | bool | None) for v in values[0] + values[1]) or (
            all(isinstance(v, Number) for v in values[0] + values[1]) and set(values[1]) <= {0, 1}
        ):
            if len(set(values[1])) == 1 and values[1][0] not in values[0]:
                return f"It is wrong only where `{name}` is {values[1][0]!r}. "
    told = ", ".join(str(n + 1) for n in right)
    return f"Case{'s' * (len(right) > 1)} {told} of {len(cases)} {'are' if len(right) > 1 else 'is'} right. "


# Clues --------------------------------------------------------------------------------------------


def _find_input(part):
    for name, value in part.cases[0][0].items():
        if isinstance(value, torch.Tensor) and value.numel() > 1:
            if all(part.alike(double(args[name]), g) for args, _, g in part.cases if name in args):
                return "an input returned", (
                    f"{part.it} is the argument `{name}` as it came in: is another name returned than meant?"
                )
    return None


def _find_layout(part):
    found = [_turn(part, e, g) for _, e, g in part.cases]
    return found[0] and (found[0][0], f"{part.it} {found[0][1]}") if all(found) else None


def _turn(part, e, g):
    if e.numel() < 4 - part.listed:
        return None
    for order in itertools.permutations(range(e.ndim)) if e.ndim <= 4 else ():
        turned = e.permute(order)
        if part.alike(turned, g) and not part.alike(e, turned):
            return (
                "layout",
                f"has the right values, its dimensions in the order {order}: see permute, transpose.",
            )
    for d in range(e.ndim):
        along = "" if part.listed else f" along dimension {d}"
        if e.shape[d] > 1 and part.alike(e.flip(d), g):
            return "layout", f"is right but reversed{along}."
        if e.shape[d] > 2:
            (sooner, later), ours = ([x.narrow(d, i, x.shape[d] - 1) for i in (0, 1)] for x in (e, g))
            for a, b, word in ((later, ours[0], "early"), (sooner, ours[1], "late")):
                if part.alike(a, b) and not part.alike(later, sooner):
                    return "off by one", f"is right but comes one place too {word}{along}."
    return None


POWERS = {
    "square root": (torch.sqrt, "leave the root out, or take the square"),
    "square": (torch.square, "leave the square out, or take the root"),
    "reciprocal": (torch.reciprocal, "exchange what is divided by what"),
    "complement": (lambda e: 1 - e, "it is 1 minus what was expected"),
    "logarithm": (torch.log, "leave the logarithm out, or take exp"),
    "exponential": (torch.exp, "leave exp out, or take the logarithm"),
}


def _find_power(part):
    e, g = part.joined()
    if e.is_complex() or g.is_complex() or len(e.unique()) < 2:
        return None
    for name, (function, hint) in POWERS.items():
        if part.every(function):
            return name, f"{part.it} is the {name} of what was expected: {hint}."
    return None


def _find_clamp(part):
    """Clipped where it should not be, or the other way round: two elements beyond a bound, more inside."""
    e, g = part.joined()
    for name, whole, cut, words in (
        ("clamped", e, g, "is what was expected, clipped to [{}, {}]: leave out the clamp"),
        ("not clamped", g, e, "is right but for what lies outside [{}, {}]: clip it (clamp)"),
    ):
        if e.is_complex() or g.is_complex() or not part.alike(whole.clamp(cut.min(), cut.max()), cut):
            continue
        low, high = (whole < cut.min()).sum(), (whole > cut.max()).sum()
        inside = cut[(whole > cut.min()) & (whole < cut.max())].unique()
        if low + high > 1 and len(inside) > 2:
            ends = [digits(x) if n else "..." for x, n in ((cut.min(), low), (cut.max(), high))]
            return name, f"{part.it} {words.format(*ends)}."
    return None


def _find_constant(part):
    """0, the sign, a factor or an offset; the same in all elements of all cases. Or the size of a sum."""
    e, g = part.joined()
    if e.is_complex() or g.is_complex() or not (e.any() and (e + g).isfinite().all()):
        return None
    always = "In every case that fails, " if len(part.cases) > 1 else ""
    if len(e) > 1 and not g.any():
        return "all zeros", f"{always}{part.it} is 0 everywhere."
    if summed := _find_sum(part):
        return summed
    factor = ((e * g).sum() / (e * e).sum()).item()
    if len(e) > 1 and part.every(lambda e: e * factor) and (e - e.mean()).abs().max() > 1e-6 * e.abs().max():
        if abs(factor + 1) < 1e-3:
            return "sign", f"{always}{part.it} has the wrong sign."
        return "constant factor", f"{always}{part.it} is {digits(factor)} times what was expected."
    offset = (g - e).mean().item()
    if (
        len(e) > 1
        and close(torch.full_like(e, offset), g - e, part.exercise)
        and part.every(lambda e: e + offset)
    ):
        return "constant offset", f"{always}{part.it} is off by the constant {offset:+.4g}."
    return None


def _find_sum(part):
    """A sum for a mean or the reverse: off by the number of elements of an argument, in every case."""
    sizes = []
    for args, e, g in part.cases:
        factor = ((e * g).sum() / (e * e).sum()).item()
        if not part.alike(e * factor, g):
            return None
        fits = set()
        for name, value in args.items():
            if isinstance(value, torch.Tensor) and value.numel() > e.numel():
                counts = {f"dimension {d} of `{name}`": n for d, n in enumerate(value.shape)}
                counts |= {f"`{name}`": value.numel(), f"an example of `{name}`": value[0].numel()}
                for told, n in counts.items():
                    fits |= {
                        (told, word)
                        for word, x in (("sum", n), ("mean", 1 / max(n, 1)))
                        if n > 1 and math.isclose(x, factor, rel_tol=1e-4)
                    }
        sizes.append(fits)
    if common := set.intersection(*sizes):
        told, word = min(common, key=lambda x: (len(x[0]), x))
        other = {"sum": "mean", "mean": "sum"}[word]
        times = "times" if word == "sum" else "divided by"
        return f"{word} for {other}", (
            f"{part.it} is what was expected {times} the number of elements of {told}: a {word} stands "
            f"where a {other} was asked for."
        )
    return None


def _find_idle(part):
    """An argument that changes the expected result and not the student's, in all of (at most three) cases."""
    idle, active = [], set()
    for i, (_, e, g) in enumerate(part.cases[:3]):
        for name, expected, got in part.again(i):
            if not g.equal(got):
                active.add(name)
            elif expected.isfinite().all() and not part.alike(e, expected):
                idle.append(name)
    names = [f"`{name}`" for name in dict.fromkeys(idle) if name not in active]
    if names and active:
        return "argument without influence", (
            f"{part.it} stays the same whatever {' and '.join(names)} {'are' if names[1:] else 'is'}: "
            "it is not used, something else stands in its place (own numbers, a global, a fixed value), or "
            "what it acts on is wrong before."
        )
    return None


def _find_place(part):
    """Wrong only in a few places along one dimension: the first, the last, those with a certain t."""
    found = [dict(_locate(part.listed, args, far(e, g, part.exercise))) for args, e, g in part.cases]
    same = [text for key, text in found[0].items() if all(key in other for other in found)]
    return ("wrong in some places", f"{part.it} is right {same[0]}.") if same else None


def _locate(listed, args, off):
    """(key, words) for every place that holds all that is wrong and nothing else."""
    for d, n in enumerate(off.shape):
        rows = off.movedim(d, 0).reshape(n, -1).any(1)
        k, items = int(rows.sum()), "items" if listed and d == 0 else f"along dimension {d}"
        for name, t in args.items() if d == 0 and k <= n / 3 else ():
            if isinstance(t, torch.Tensor) and t.shape == (n,) and not t.is_floating_point():
                values = set(t[rows].tolist())
                if len(values) == 1 and not values & set(t[~rows].tolist()):
                    yield (name, *values), f"but for `{name}` = {values.pop()}"
        for end, i in (("first", 0), ("last", -1)):
            if n >= 3 and k == 1 and rows[i]:
                yield (end, d), f"but for the {end} of {n} {items}"
        if listed and d == 0 and off.ndim > 1 and 1 < k < n and rows[n - k :].all():
            yield "from", f"up to item {n - k - 1}, and wrong from item {n - k} on (of 0 .. {n - 1})"


def _find_bracket(part):
    """Off by a factor that is one number for each example (or case); or only the share of one argument is."""
    for name in (None, *part.cases[0][0]) if not part.listed else ():
        factors, told = [], ""
        for args, e, g in part.cases:
            base = e if name is None else args.get(name)
            base = double(base) if isinstance(base, torch.Tensor) else None
            if base is None or base.shape != e.shape or e.ndim < 2 or e[0].numel() < 2 or e.is_complex():
                break
            rows = base.reshape(len(e), -1)
            share = ((g - e).reshape(len(e), -1) * rows).sum(1) / rows.square().sum(1).clamp(min=1e-30)
            if not part.alike(e + share.reshape(-1, *[1] * (e.ndim - 1)) * base, g):
                break
            factors.append(share)
            told = told or _depends(args, share)
        else:
            count = len(torch.cat(factors))
            if name is None and count > 1:
                return "factor", (
                    f"{part.it} is what was expected times a factor, one number for each example{told}: "
                    "look for a bracket in the wrong place, a root, or a factor too many or too few."
                )
            if name is not None and count > 1:
                return f"share of {name}", (
                    f"{part.it} is right but for the share of `{name}` in it: look at what `{name}` is "
                    "multiplied by, and at its sign."
                )
    return None


def _depends(args, share):
    """Which argument the factor goes with, with two of its values; "" where none does."""
    for name, t in args.items():
        if isinstance(t, torch.Tensor) and t.shape == share.shape and not t.is_floating_point():
            i, j = int((share - share.mean()).abs().argmax()), int((share - share.mean()).abs().argmin())
            said = [f"{digits(1 + share[k])} at `{name}` = {int(t[k])}" for k in (i, j)]
            alike = all((share[t == x] - share[t == x][0]).abs().max() < 1e-3 for x in t.unique())
            return f" and depends on `{name}` only ({', '.join(said)})" if alike and i != j else ""
    return ""


def _find_moments(part):
    _, e, g = part.cases[0]
    if e.numel() >= 8 and not e.is_complex() and e.isfinite().all() and g.isfinite().all():
        spread = e.std().item()
        if abs(g.mean() - e.mean()).item() > 0.05 * spread:
            return "mean", f"{part.it} has mean {digits(g.mean())} where {digits(e.mean())} was expected."
        if abs(g.var() - e.var()).item() > 0.05 * spread**2:
            return (
                "variance",
                f"{part.it} has variance {digits(g.var())} where {digits(e.var())} was expected.",
            )
    return "values", f"{part.it} differs."


CLUES = [
    _find_layout,
    _find_constant,
    _find_input,
    _find_power,
    _find_clamp,
    _find_idle,
    _find_place,
    _find_bracket,
    _find_moments,
]


# Arguments that are changed -----------------------------------------------------------------------


def vary(value, depth=3):
    """Another value of the same kind, for an argument; the same object where none is known."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            turned = value.roll(1) if value.numel() else value
            return 0.6 * turned + 0.1 * turned.tanh()  # 0 .. 1 stays so; ratios and what is rounded change
        turned = value.flip(0) if value.ndim else value
        return turned if not turned.equal(value) else (value + 1) // 2
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value // 2 if value > 2 else value + 1
    if isinstance(value, float):
        return 0.5 * value or 0.1
    if isinstance(value, list) and depth:
        return [vary(part, depth - 1) for part in value]
    if isinstance(value, torch.nn.Module):
        value = copy.deepcopy(value)
        with torch.no_grad():
            for p in value.parameters():
                p *= 0.6
        return value
    inner = getattr(value, "__dict__", None)
    if inner and not isinstance(value, type) and not callable(value) and depth:
        other = copy.copy(value)
        other.__dict__.update(
            {
                k: 0.6 * v + 0.1 * v.tanh()
                for k, v in inner.items()
                if torch.is_tensor(v) and v.is_floating_point()
            }
        )
        return other
    if inspect.isfunction(value):
        return lambda *args, **named: 0.6 * value(*args, **named)
    return value
