"""Clues that need no list: each names two different wrong functions or more, and is silent at a near miss."""

import math

import pytest
import torch

from helpers.exercises import Exercise, Mistake, decide
from helpers.exercises.clues import name_parts, vary
from helpers.schedule import cosine, linear

GLOBAL = linear(100)
IDLE, PLACE, CASES = "argument without influence", "wrong in some places", "right in some cases"


def at(values, t, x):
    return values[t].reshape(-1, *[1] * (x.ndim - 1))


def draw(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def noised(x0, t, noise, schedule):
    a = at(schedule.alpha_bar, t, x0)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def noise_cases():
    return [
        (draw(0, 7, 2), torch.tensor([0, 10, 30, 50, 50, 90, 100]), draw(1, 7, 2), linear(100)),
        (draw(2, 4, 1, 3, 5), torch.tensor([60, 0, 20, 30]), draw(3, 4, 1, 3, 5), cosine(60)),
    ]


def shares(T, power=2.0, most=0.9):
    return (torch.arange(T + 1) / (T + 2)) ** power * most


def both(x_t, t, schedule):
    eps, x0 = x_t * schedule.alpha_bar[t], x_t - 3 * schedule.alpha_bar[t]
    return x0, eps


def loss(x0, noise):
    return (x0 - noise).square().mean()


def walk(x, n):
    for i in range(n):
        x = x * 0.8 + 0.1 * i
        yield x


def cut(x):
    return (2 * x).clamp(-1, 1)


def curve(u):
    return u**2 + 0.5


def levels(n, k):
    return [round(n - i * n / k) for i in range(k)]


def ratio(t, schedule):
    return schedule.alpha_bar[t - 1] - schedule.alpha_bar[t]


def parts(x, y):
    return {"a": x.sin(), "b": x * y}


def kind_of(x, given):
    return x * 2 if given == "a" else x.sin() if given == "b" else x + 1


TOYS = {
    "noised": (noised, noise_cases),
    "shares": (shares, lambda: [(20,), (9,), (15, 3.0, 0.5)]),
    "both": (both, lambda: [(draw(0, 5, 2), t, linear(100)) for t in (3, 50, 99)]),
    "loss": (
        loss,
        lambda: [(draw(0, *s), draw(1, *s).requires_grad_()) for s in ((6, 2), (3, 4, 5))],
    ),
    "walk": (walk, lambda: [(draw(0, 3, 2), 6), (draw(1, 2, 1, 4, 4), 9)]),
    "cut": (cut, lambda: [(draw(0, 50),), (draw(1, 4, 20),)]),
    "curve": (curve, lambda: [(torch.linspace(0, 1, 11),)]),
    "levels": (levels, lambda: [(100, 6), (40, 7)]),
    "ratio": (ratio, lambda: [(t, linear(100)) for t in (torch.tensor([3, 50]), torch.tensor([9, 20, 99]))]),
    "parts": (parts, lambda: [(draw(0, 5), draw(1, 5))]),
    "kind_of": (kind_of, lambda: [(draw(0, 8), given) for given in "abc"]),
}
TOYS = {
    name: Exercise("90.1", name, reference, cases, "it.", strict_dtype=name == "curve")
    for name, (reference, cases) in TOYS.items()
}


def both_with(change):
    return lambda x_t, t, schedule: change(*both(x_t, t, schedule))


def noised_with(noise_share=1.0, x0_share=1.0):
    def f(x0, t, noise, schedule):
        a = at(schedule.alpha_bar, t, x0)
        return x0_share * a.sqrt() * x0 + noise_share * (1 - a).sqrt() * noise

    return f


def changed(toy, change):
    return lambda *args: change(TOYS[toy].reference(*args))


def walk_with(change):
    def f(x, n):
        items = list(walk(x, n))
        return [change(i, n, item) for i, item in enumerate(items)]

    return f


FOUND = [  # toy, wrong function, name, words
    ("both", both_with(lambda x0, eps: (eps, x0)), "results in another order", "(x0, eps) was expected"),
    ("both", both_with(lambda x0, eps: [eps, x0]), "results in another order", "(x0, eps) was expected"),
    ("noised", lambda x0, t, noise, s: noise, "an input returned", "is the argument `noise`"),
    ("both", lambda x, t, s: (x, both(x, t, s)[1]), "an input returned", "`x0` is the argument `x_t`"),
    ("noised", changed("noised", lambda y: y.flip(-1)), "layout", "reversed along dimension 1"),
    ("levels", lambda n, k: levels(n, k)[::-1], "layout", "right but reversed."),
    ("walk", lambda x, n: list(walk(x, n))[::-1], "layout", "right but reversed."),
    ("levels", lambda n, k: [*levels(n, k)[1:], 0], "off by one", "one place too early"),
    ("curve", lambda u: torch.cat([torch.zeros(1), curve(u)[:-1]]), "off by one", "one place too late"),
    ("noised", changed("noised", lambda y: 0 * y), "all zeros", "0 everywhere"),
    ("walk", walk_with(lambda i, n, x: 0 * x), "all zeros", "0 everywhere"),
    ("both", both_with(lambda x0, eps: (x0, -eps)), "sign", "`eps` has the wrong sign"),
    ("curve", lambda u: -curve(u), "sign", "wrong sign"),
    ("both", both_with(lambda x0, eps: (3 * x0, eps)), "constant factor", "`x0` is 3 times"),
    ("walk", walk_with(lambda i, n, x: 2 * x), "constant factor", "2 times"),
    ("curve", lambda u: curve(u) + 0.25, "constant offset", "+0.25"),
    ("both", both_with(lambda x0, eps: (x0 - 1, eps)), "constant offset", "`x0` is off by the constant -1"),
    ("loss", lambda a, b: (a - b).square().sum(), "sum for mean", "elements of `x0`"),
    ("loss", lambda a, b: (a - b).square().sum() / len(a), "sum for mean", "an example of `x0`"),
    ("loss", lambda a, b: (a - b).square().mean() / len(a), "mean for sum", "dimension 0 of `x0`"),
    ("loss", lambda a, b: (a - b).square().mean().sqrt(), "square root", "square root of what was expected"),
    ("shares", lambda *a: shares(*a).sqrt(), "square root", "leave the root out"),
    ("curve", lambda u: curve(u) ** 2, "square", "leave the square out"),
    ("shares", lambda *a: shares(*a) ** 2, "square", "leave the square out"),
    ("curve", lambda u: 1 / curve(u), "reciprocal", "divided by what"),
    ("shares", lambda *a: 1 - shares(*a), "complement", "1 minus"),
    ("curve", lambda u: curve(u).log(), "logarithm", "take exp"),
    ("loss", lambda a, b: loss(a, b).log(), "logarithm", "take exp"),
    ("loss", lambda a, b: loss(a, b).exp(), "exponential", "leave exp out"),
    ("loss", lambda a, b: 1 / loss(a, b), "reciprocal", "divided by what"),
    ("both", both_with(lambda x0, eps: (x0, 1 - eps)), "complement", "`eps` is the complement"),
    ("loss", lambda a, b: loss(a, b) / a.numel(), "mean for sum", "elements of `x0`"),
    ("shares", lambda *a: shares(*a).exp(), "exponential", "leave exp out"),
    ("noised", changed("noised", lambda y: y.clamp(-1, 1)), "clamped", "clipped to [-1, 1]"),
    ("curve", lambda u: curve(u).clamp(max=1.0), "clamped", "clipped to [..., 1]"),
    ("cut", lambda x: 2 * x, "not clamped", "outside [-1, 1]"),
    ("cut", lambda x: (2 * x).clamp(min=-1), "not clamped", "outside [..., 1]"),
    ("noised", lambda x, t, noise, s: noised(x, t, torch.randn_like(x), s), IDLE, "`noise` is"),
    ("noised", lambda x, t, noise, s: noised(x, t, noise, GLOBAL), IDLE, "`schedule` is"),
    ("noised", lambda x, t, noise, s: noised(x, t * 0 + 50, noise, s), IDLE, "`t` is"),
    ("shares", lambda T, power=2.0, most=0.9: shares(T, 2.0, most), IDLE, "`power` is"),
    ("shares", lambda T, power=2.0, most=0.9: shares(T), IDLE, "with the defaults"),
    ("noised", lambda x, t, e, s: torch.where(at(t == 0, slice(None), x), e, noised(x, t, e, s)),
     PLACE, "but for `t` = 0"),
    ("curve", lambda u: torch.cat([curve(u)[:-1], u[:1]]), PLACE, "the last of 11"),
    ("walk", walk_with(lambda i, n, x: x if i < n - 1 else x.exp()), PLACE, "but for the last of 6 items"),
    ("walk", walk_with(lambda i, n, x: x if i < 4 else x.exp()), PLACE, "wrong from item 4"),
    ("noised", lambda x, t, e, s: at(s.alpha_bar, t, x) * noised(x, t, e, s), "factor",
     "depends on `t` only"),
    ("noised", lambda x, t, e, s: noised(x, t, e, s) / (1.1 - at(s.alpha_bar, t, x)), "factor", "bracket"),
    ("noised", noised_with(noise_share=-1), "share of noise", "but for the share of `noise`"),
    ("noised", noised_with(x0_share=0.5), "share of x0", "but for the share of `x0`"),
    ("noised", lambda x, t, e, s: noised(x, t, e, s) if x.ndim == 2 else noised(x, t, e, s) ** 3, CASES,
     "right for points and wrong for pictures"),
    ("noised", lambda x, t, e, s: noised(x, t, e, s) if x.ndim > 2 else noised(x, t, e, s) ** 3, CASES,
     "right for pictures and wrong for points"),
    ("kind_of", lambda x, given: kind_of(x, given) if given != "b" else (x + 1).exp(), CASES,
     "wrong only where `given` is 'b'"),
    ("shares", lambda *a: shares(*a) if len(a) < 2 else shares(*a).sin() + shares(*a), CASES,
     "right with the defaults, and wrong where `power` is given"),
    ("loss", lambda a, b: loss(a, b).detach(), "no gradient", "carries no gradient"),
    ("loss", lambda a, b: torch.tensor(loss(a, b).item()), "no gradient", "carries no gradient"),
    ("curve", lambda u: curve(u).double(), "dtype", "float64 where float32"),
    ("both", both_with(lambda x0, eps: (x0, eps.long())), "dtype", "`eps` has dtype int64"),
    ("both", both_with(lambda x0, eps: (x0, eps[:1])), "shape", "`eps` has shape"),
    ("both", both_with(lambda x0, eps: (x0, None)), "returns None", "`eps` is None"),
]  # fmt: skip


@pytest.mark.parametrize("toy, wrong, name, words", FOUND, ids=[f"{f[0]}: {f[2]} {f[3]}" for f in FOUND])
def test_found(toy, wrong, name, words):
    verdict = decide(TOYS[toy], wrong)
    assert (verdict.state, verdict.mistake) == ("wrong", name), verdict.message
    assert words in verdict.message and "result[" not in verdict.message, verdict.message


NEAR = [  # toy, wrong function, what it must not be called
    ("both", both_with(lambda x0, eps: (eps, x0 + 0.01)), "results in another order"),
    ("noised", lambda x0, t, noise, s: noise + 0.01 * x0.abs(), "an input returned"),
    ("both", lambda x, t, s: (x if t > 3 else x.sin(), both(x, t, s)[1]), "an input returned"),
    ("walk", lambda x, n: [*list(walk(x, n))[:0:-1], x], "layout"),
    ("levels", lambda n, k: [v + (i > 2) for i, v in enumerate([*levels(n, k)[1:], 0])], "off by one"),
    ("walk", walk_with(lambda i, n, x: 0 * x if i else x.exp()), "all zeros"),
    ("both", lambda x, t, s: (both(x, t, s)[0], both(x, t, s)[1] * (-1 if t > 3 else -1.1)), "sign"),
    ("both", lambda x, t, s: (both(x, t, s)[0] * t, both(x, t, s)[1]), "constant factor"),
    ("noised", lambda x, t, e, s: noised(x, t, e, s) * len(x), "constant factor"),
    ("curve", lambda u: curve(u) + 0.25 + 0.001 * u, "constant offset"),
    ("loss", lambda a, b: 6.0 * (a - b).square().mean(), "sum for mean"),
    ("loss", lambda a, b: (a - b).square().mean().sqrt() + 0.001, "square root"),
    ("curve", lambda u: curve(u) ** 2.01, "square"),
    ("curve", lambda u: 1 / curve(u) + 0.001, "reciprocal"),
    ("curve", lambda u: curve(u).log1p(), "logarithm"),
    ("loss", lambda a, b: loss(a, b) / (a.numel() - 1), "mean for sum"),
    ("shares", lambda *a: 1.001 - shares(*a), "complement"),
    ("levels", lambda n, k: [int(n - i * n / k) for i in range(k)], "exponential"),  # exp is infinite there
    ("noised", lambda x, t, e, s: noised(x, t * 0 + t[0], e, s), IDLE),  # t[0] = 0 hides it once
    ("ratio", lambda t, s: s.alpha_bar[t] / s.alpha_bar[t - 1], IDLE),  # a scaled schedule would not show
    ("parts", lambda x, y: {"a": -x.abs().sqrt(), "b": x * y}, IDLE),  # nor does a there
    ("noised", changed("noised", torch.tanh), "clamped"),
    ("curve", lambda u: torch.cat([curve(u)[:-1], curve(u)[-2:-1]]), "clamped"),
    ("cut", lambda x: 2 * x + 0.01 * x.square(), "not clamped"),
    ("noised", lambda x, t, e, s: noised(x, t, e, s) + 0.1 * torch.rand(1) + e.abs(), IDLE),
    ("noised", lambda x, t, e, s: noised(x, t, 0.01 * e + torch.randn_like(e), s), IDLE),
    ("curve", lambda u: torch.cat([curve(u)[:-2], u[:2]]), PLACE),
    ("noised", lambda x, t, e, s: torch.where(at((t > 0) & (t < 60), slice(None), x), e.exp(),
                                             noised(x, t, e, s)), PLACE),
    ("noised", lambda x, t, e, s: noised(x, t, e, s) * (1 + 0.001 * x), "factor"),
    ("walk", lambda x, n: [y * (i + 1) for i, y in enumerate(walk(x, n))], "factor"),
    ("noised", lambda x, t, e, s: noised(x, t, e + 0.001 * x * e, s), "share of noise"),
    ("noised", lambda x, t, e, s: (x + e).exp(), CASES),
    ("kind_of", lambda x, given: (x + 3).exp(), CASES),
]  # fmt: skip


@pytest.mark.parametrize(
    "toy, wrong, name", NEAR, ids=[f"{n[0]}: not {n[2]} ({i})" for i, n in enumerate(NEAR)]
)
def test_near_misses_are_not_called_so(toy, wrong, name):
    verdict = decide(TOYS[toy], wrong)
    assert verdict.state == "wrong" and verdict.mistake != name, verdict.message


def test_a_listed_mistake_comes_before_every_clue():
    listed = Mistake("noise for the picture", "It is the noise.", lambda x0, t, noise, s: noise)
    known = Exercise("90.1", "noised", noised, noise_cases, "it.", mistakes=[listed])
    assert decide(known, lambda x0, t, noise, s: noise).mistake == "noise for the picture"
    assert decide(known, lambda x0, t, noise, s: x0).mistake == "an input returned"


@pytest.mark.parametrize(
    "right",
    [lambda a, b: ((a - b) ** 2).mean(), lambda a, b: torch.nn.functional.mse_loss(a, b)],
)
def test_a_loss_with_its_gradient_is_right(right):
    assert decide(TOYS["loss"], right).state == "right"
    with torch.no_grad():
        assert decide(TOYS["loss"], right).state == "right"


def test_a_function_that_fails_or_loops_on_other_arguments_still_gets_an_answer():
    def picky(x, t, noise, schedule):
        first = noise_cases()[0 if x.ndim == 2 else 1]
        while not torch.equal(t, first[1]):
            pass
        if not torch.equal(x, first[0]):
            raise ValueError
        return (x + noise).exp()

    verdict = decide(TOYS["noised"], picky)
    assert verdict.state == "wrong" and verdict.mistake in ("mean", "variance", "values")


def test_names_of_parts_come_from_the_last_return():
    def three(a):
        if a:
            return a, 2
        x0, eps = a, a
        return x0, eps + 1, a

    assert name_parts(three) == ["x0", "second result", "a"]
    assert name_parts(both) == ["x0", "eps"] and name_parts(loss) == [] and name_parts(len) == []


@pytest.mark.parametrize(
    "value",
    [draw(0, 3, 2), torch.tensor([1, 5, 9]), torch.tensor(7), 1000, 0, 1, 0.5, 0.0, True, [0.1, 2],
     torch.nn.Linear(2, 2), linear(40), math.sqrt(2)],
    ids=str,
)  # fmt: skip
def test_a_changed_argument_is_another_of_its_kind(value):
    before = (
        torch.nn.utils.parameters_to_vector(value.parameters())
        if isinstance(value, torch.nn.Module)
        else None
    )
    other = vary(value)
    assert type(other) is type(value)
    if isinstance(value, torch.Tensor):
        assert other.shape == value.shape and other.dtype == value.dtype and not other.equal(value)
    elif before is not None:
        assert torch.nn.utils.parameters_to_vector(value.parameters()).equal(before)
        assert not torch.nn.utils.parameters_to_vector(other.parameters()).equal(before)
    elif hasattr(value, "alpha_bar"):
        assert not other.alpha_bar.equal(value.alpha_bar) and value.alpha_bar.equal(linear(40).alpha_bar)
    else:
        assert other != value
