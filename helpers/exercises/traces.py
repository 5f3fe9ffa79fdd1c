"""What a call leaves behind beside its result: gradients of its arguments, generators that moved on."""

import torch

from . import compare


class Watched(torch.Generator):
    """A generator that notes whether it is seeded anew."""

    reseeded = False

    def manual_seed(self, seed):
        self.reseeded = True
        return super().manual_seed(seed)

    def seed(self):
        self.reseeded = True
        return super().seed()


def watch(args) -> tuple:
    """The arguments with their generators watched."""
    return tuple(_watch(arg) if type(arg) is torch.Generator else arg for arg in args)


def _watch(generator):
    watched = Watched(generator.device)
    watched.set_state(generator.get_state())
    return watched


Watched.__name__ = torch.Generator.__name__  # in messages


def drawn(names, args) -> dict:
    """{name: (state, whether it was seeded anew)} of the generators among some arguments."""
    named = zip(names, args, strict=True)
    return {
        n: (a.get_state(), getattr(a, "reseeded", False)) for n, a in named if isinstance(a, torch.Generator)
    }


def gradients(result, args):
    """The gradient of a result with respect to each tensor that learns in the arguments (None: not reached).

    None for all of them where the graph of the result was used up.
    """
    learners = [p for part in _parts(args) for p in _learners(part)]
    parts = [
        part for _, part in compare.leaves(result) if isinstance(part, torch.Tensor) and part.requires_grad
    ]
    if not parts:
        return [None] * len(learners)
    # weights of their own, so that nothing cancels in the sum
    total = sum((p.flatten() * torch.linspace(1, 2, p.numel()).to(p)).sum() for p in parts)
    try:
        found = torch.autograd.grad(total, learners, retain_graph=True, allow_unused=True) if learners else []
    except RuntimeError:
        return None
    return [g if g is None else g.detach().clone() for g in found]


def _parts(args):
    return [part for arg in args for _, part in compare.leaves(arg)]


def _learners(value):
    if isinstance(value, torch.nn.Module):
        return [p for p in value.parameters() if p.requires_grad]
    return [value] if isinstance(value, torch.Tensor) and value.requires_grad else []


def find_reseeded(pairs):
    """Name and sentence where a given generator was seeded anew, and the reference does not; or None."""
    for got, expected in pairs:
        for name, (_, reseeded) in got.drawn.items():
            if reseeded and not expected.drawn[name][1]:
                text = f"`{name}` is seeded anew: only draw from it, so that each call gives other numbers."
                return "generator reseeded", text
    return None


def find_fault(exercise, pairs, before):
    """Name and sentence of what is wrong beside the numbers, which are right; or None.

    pairs: [(outcome, that of the reference)]; before: what `drawn` says of each case before the call.
    """
    for (got, expected), states in zip(pairs, before, strict=True):
        for name, (state, _) in states.items():
            (mine, _), (theirs, _) = got.drawn[name], expected.drawn[name]
            if mine.equal(state) and not theirs.equal(state):
                text = f"The numbers are right, but `{name}` was not used: draw from it, for seeds to work."
                return "generator not used", text
            if exercise.same_draws and not mine.equal(theirs):
                text = f"The numbers are right, but `{name}` has given more or fewer than it should: "
                return "other draws", f"{text}draw where the text says so, no more and no less."
    if exercise.gradient:
        return next(filter(None, (_find_gradient(*pair) for pair in pairs)), None)
    return None


def _find_gradient(got, expected):
    """The same for the gradients of one case."""
    right, it = [g for g in expected.gradients or () if g is not None], "The number is right, but "
    if got.gradients is None:
        return "gradient used up", f"{it}its graph is used up: leave out `backward` here."
    yours = [g for g, e in zip(got.gradients, expected.gradients, strict=True) if e is not None]
    if any(g is None and e.any() for g, e in zip(yours, right, strict=True)):
        return "no gradient", f"{it}no gradient reaches the network: leave out `detach`, `item`, `no_grad`."
    for g, e in zip(yours, right, strict=True):
        size = e.double().square().mean().sqrt().item()
        if g is not None and (g - e).abs().max() > 0.01 * max(size, 1e-6):
            text = f"{it}the gradient that reaches the network is another one: is a part of it detached?"
            return "other gradient", text
    return None
