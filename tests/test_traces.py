"""What a call leaves behind beside its result: gradients, generators, numbers that go together."""

import pytest
import torch
from torch import nn

from helpers.exercises import Exercise, Mistake, SpecError, decide
from test_check import write


def ask(model, x):
    return (model(x) - x).square().mean()


def make_models():
    torch.manual_seed(1)
    return [(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), torch.ones(2, 3))]


LOSS = Exercise("90.1", "ask", ask, make_models, "it.", gradient=True)


@pytest.mark.parametrize(
    ("body", "mistake"),
    [
        ("return ((x - m(x)) ** 2).sum() / x.numel()", ""),
        ("return nn.functional.mse_loss(m(x), x)", ""),
        ("d = (m(x) - x).flatten(); return d.dot(d) / len(d)", ""),
        ("return (m(x) - x).square().mean().detach()", "no gradient"),
        ("return (m(x) - x).square().mean().detach().requires_grad_()", "no gradient"),
        ("return torch.tensor((m(x) - x).square().mean().item(), requires_grad=True)", "no gradient"),
        ("with torch.no_grad():\n        y = m(x)\n    return (y - x).square().mean()", "no gradient"),
        ("y = m[1](m[0](x).detach())\n    return (y - x).square().mean()", "no gradient"),
        ("d = m(x) - x\n    return (d * d.detach()).mean()", "other gradient"),
        ("loss = (m(x) - x).square().mean()\n    loss.backward()\n    return loss", "gradient used up"),
    ],
)
def test_gradient_of_a_loss(body, mistake):
    verdict = decide(LOSS, write(f"def f(m, x):\n    {body}"))
    assert verdict.mistake == mistake, verdict.message
    assert verdict.state == ("wrong" if mistake else "right")


def test_a_result_that_is_no_single_number_needs_its_gradient_too():
    each = Exercise("90.1", "f", lambda m, x: m(x), make_models, "it.", gradient=True)
    assert decide(each, write("def f(m, x):\n    return m(x)")).state == "right"
    assert decide(each, write("def f(m, x):\n    return m(x).detach()")).mistake == "no gradient"


def test_gradient_needs_something_that_learns():
    with pytest.raises(SpecError, match="learns nothing"):
        decide(
            Exercise("90.1", "f", lambda x: x, lambda: [(torch.ones(2),)], "it.", gradient=True), lambda x: x
        )


def step(x, last, generator):
    noise = torch.randn(x.shape, generator=generator)
    return x if last else x + noise


def steps():
    return [(torch.zeros(20, 2), last, torch.Generator().manual_seed(5)) for last in (False, True)]


EXACT = Exercise("90.2", "step", step, steps, "it.", same_draws=True)
LOOSE = Exercise("90.2", "step", step, steps, "it.")


@pytest.mark.parametrize(
    ("body", "same", "loose"),
    [
        ("n = torch.empty(x.shape).normal_(generator=g); return x if last else x + n", "", ""),
        (
            "return x if last else x + torch.randn(x.shape, generator=g)",
            "generator not used",
            "generator not used",
        ),
        (
            "n = torch.randn(x.shape, generator=g); torch.rand(1, generator=g); return x if last else x + n",
            "other draws",
            "",
        ),
        (
            "g.manual_seed(5); n = torch.randn(x.shape, generator=g); return x if last else x + n",
            "generator reseeded",
            "generator reseeded",
        ),
        (
            "g.seed(); n = torch.randn(x.shape, generator=g); return x if last else x + n",
            "generator reseeded",
            "generator reseeded",
        ),
        (
            "s = g.get_state(); n = torch.randn(x.shape, generator=g); g.set_state(s)\n"
            "    return x if last else x + n",
            "generator not used",
            "generator not used",
        ),
    ],
)
def test_generator_afterwards(body, same, loose):
    for exercise, mistake in ((EXACT, same), (LOOSE, loose)):
        verdict = decide(exercise, write(f"def f(x, last, g):\n    {body}"))
        assert (verdict.state, verdict.mistake) == ("wrong" if mistake else "right", mistake)


def test_an_exercise_whose_reference_seeds_lets_others_seed():
    seeding = Exercise(
        "90.2",
        "f",
        lambda g: torch.rand(3, generator=g.manual_seed(1)),
        lambda: [(torch.Generator(),)],
        "it.",
    )
    assert decide(seeding, lambda g: torch.rand(3, generator=g.manual_seed(1))).state == "right"


def noisy(x, sigma, generator):
    return x + sigma * torch.randn(x.shape, generator=generator)


NOISY = Exercise(
    "90.3",
    "noisy",
    noisy,
    lambda: [(torch.zeros(3000, *s), 0.5, torch.Generator().manual_seed(2)) for s in ((2,), (3, 2, 4))],
    "it.",
    statistical=5,
    mistakes=[Mistake("no sigma", "Scale it.", lambda x, s, g: x + torch.randn(x.shape, generator=g))],
)


@pytest.mark.parametrize(
    ("body", "mistake"),
    [
        ("return torch.stack([p + s * torch.randn(p.shape, generator=g) for p in x])", ""),
        ("return torch.normal(x, s, generator=g)", ""),
        ("return x + s * torch.randn(len(x), *[1] * (x.ndim - 1), generator=g)", "shared noise"),
        ("return x + s * torch.randn(*x.shape[:-1], 1, generator=g)", "shared noise"),
        ("g.manual_seed(2); return x + s * torch.randn(x.shape, generator=g)", "generator reseeded"),
        ("g.manual_seed(0); return x + s * torch.randn(x.shape, generator=g)", "generator reseeded"),
        ("return x + s * torch.randn(x.shape)", "generator not used"),
    ],
)
def test_noise(body, mistake):
    verdict = decide(NOISY, write(f"def f(x, s, g):\n    {body}"))
    assert (verdict.state, verdict.mistake) == ("wrong" if mistake else "right", mistake), verdict.message


def test_correlated_features_of_the_reference_are_expected():
    mix = torch.tensor([[1.0, 0.9], [0.0, 0.5]])
    task = Exercise(
        "90.3",
        "f",
        lambda n, g: torch.randn(n, 2, generator=g) @ mix,
        lambda: [(4000, torch.Generator().manual_seed(1))],
        "it.",
        statistical=5,
    )
    right = "a, b = torch.randn(2, n, generator=g); return torch.stack([a, 0.9 * a + 0.5 * b], 1)"
    assert decide(task, write(f"def f(n, g):\n    {right}")).state == "right"
    apart = "a, b = torch.randn(2, n, generator=g); return torch.stack([a, b * 1.06 ** 0.5], 1)"
    assert decide(task, write(f"def f(n, g):\n    {apart}")).mistake == "shared noise"


def test_a_crash_in_a_later_case_is_a_crash():
    task = Exercise(
        "90.4",
        "f",
        lambda x: x + 1,
        lambda: [(torch.ones(2),), (torch.ones(2, 2),)],
        "it.",
        mistakes=[Mistake("minus", "Add.", lambda x: x - 1)],
    )
    late = decide(
        task, write("def f(x):\n    if x.ndim > 1:\n        raise ValueError('late')\n    return x + 1")
    )
    assert late.state == "crashed" and "Case 2 of 2" in late.message


def test_an_interrupt_inside_a_mistake_that_stops_passes():
    def stop(x):
        raise KeyboardInterrupt

    task = Exercise(
        "90.5",
        "f",
        lambda x: x + 1,
        lambda: [(torch.ones(2),)],
        "it.",
        mistakes=[Mistake("stops", "Stop.", stop, raises=True)],
    )
    with pytest.raises(KeyboardInterrupt):
        decide(task, lambda x: x - 1)


def test_double_precision_is_a_matter_of_the_exercise():
    make = dict(
        id="90.6", title="f", reference=lambda x: x + 1, cases=lambda: [(torch.ones(2),)], verified=""
    )
    assert decide(Exercise(**make), lambda x: (x + 1).double()).state == "right"
    assert decide(Exercise(**make, strict_dtype=True), lambda x: (x + 1).double()).mistake == "dtype"
