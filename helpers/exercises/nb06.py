"""The exercises of notebook 06: a label's embedding, dropped labels, guidance and its batched call, "
"diversity,
a band of levels."""

import torch
from torch import nn

from helpers.models import PointMLP, UNet, timestep_embedding

from .exercise import Exercise, Mistake, as_module

# 6.1 Told -----------------------------------------------------------------------------------------


class Told(nn.Module):
    def __init__(self, classes, dim):
        super().__init__()
        self.classes, self.dim = classes, dim
        self.time = nn.Sequential(nn.Linear(dim, dim), nn.SiLU())
        self.label = nn.Embedding(classes + 1, dim)

    def forward(self, t, y=None):
        if y is None:
            y = torch.full_like(t, self.classes)
        return self.time(timestep_embedding(t, self.dim)) + self.label(y)


def _told(forward):
    """A variant of Told with another forward(self, t, y)."""
    return type("Told", (Told,), {"forward": lambda self, t, y=None: forward(self, t, y)})


def _level(self, t):
    return self.time(timestep_embedding(t, self.dim))


def _row(self, t, y, none=None):
    return self.label(torch.full_like(t, self.classes if none is None else none) if y is None else y)


def told_cases():
    g = torch.Generator().manual_seed(0)
    y = torch.randint(4, (7,), generator=g)
    t = torch.tensor([1, 3, 50, 200, 500, 999, 1000])
    return [((4, 6), t, y), ((4, 6), t[:3], torch.tensor([4, 0, 4])), ((10, 8), t[1:6], None)]


TOLD = Exercise(
    "6.1",
    "Told",
    Told,
    told_cases,
    call=as_module(Told),
    verified="level and label are added, and without y every example gets the row for no label.",
    mistakes=[
        Mistake(
            "class 0 for no label",
            "Without y you look up row 0, and that is a class: the row for no label is the last, "
            "`self.classes`.",
            _told(lambda self, t, y: _level(self, t) + _row(self, t, y, 0)),
        ),
        Mistake(
            "no label adds nothing",
            'With y everything is right. Without y the label\'s part is left out; "no label" has a row '
            "of its own, "
            "learned in training: look up `self.classes`.",
            _told(lambda self, t, y: _level(self, t) + (0 if y is None else self.label(y))),
        ),
        Mistake(
            "level forgotten",
            "Only the label is told. The network must know the noise level too: add the two.",
            _told(lambda self, t, y: _row(self, t, y)),
        ),
        Mistake(
            "label forgotten",
            "Only the level is told: the label never gets in.",
            _told(lambda self, t, y: _level(self, t)),
        ),
        Mistake(
            "product for sum",
            "Level and label are multiplied. A table that starts at zero would then wipe out the level: add.",
            _told(lambda self, t, y: _level(self, t) * _row(self, t, y)),
        ),
        Mistake(
            "added before the layers",
            "The label is added to the sines and cosines, before `self.time`; add it to what "
            "`self.time` returns.",
            _told(lambda self, t, y: self.time(timestep_embedding(t, self.dim) + _row(self, t, y))),
        ),
        Mistake(
            "mean for sum",
            "This is half of the sum: add, do not average.",
            _told(lambda self, t, y: (_level(self, t) + _row(self, t, y)) / 2),
        ),
        Mistake(
            "sines of the label",
            "The label goes through sines and cosines, as if class 7 lay between 6 and 8. Classes have "
            "no order: "
            "look them up in `self.label`.",
            _told(
                lambda self, t, y: (
                    _level(self, t)
                    + timestep_embedding(torch.full_like(t, self.classes) if y is None else y, self.dim)
                )
            ),
        ),
    ],
)

# 6.2 drop_labels ----------------------------------------------------------------------------------


def drop_labels(y, share, none, draws):
    return torch.where(draws < share, none, y)


def dropped_first(y, share, none, draws):
    n = round(share * len(y))
    return torch.cat([torch.full_like(y[:n], none), y[n:]])


def drop_cases():
    g = torch.Generator().manual_seed(0)
    return [
        (torch.randint(classes, (n,), generator=g), share, classes, torch.rand(n, generator=g))
        for n, share, classes in ((40, 0.1, 10), (23, 0.3, 4), (12, 0.0, 10), (9, 1.0, 2), (30, 0.6, 10))
    ]


DROP = Exercise(
    "6.2",
    "drop_labels",
    drop_labels,
    drop_cases,
    verified="each example has its own draw, and the others keep their label; shares 0 and 1 work too.",
    mistakes=[
        Mistake(
            "dropped with 1 - share",
            "It is the other way round: these labels are dropped where they should be kept. With share "
            "0.1 nine "
            "in ten would be gone.",
            lambda y, share, none, draws: torch.where(draws < share, y, none),
        ),
        Mistake(
            "1 - share from above",
            "A draw lies above `share` with probability 1 - share: compare the other way.",
            lambda y, share, none, draws: torch.where(draws < 1 - share, none, y),
        ),
        Mistake(
            "class 0 for no label",
            'Dropped labels become class 0, which is a real class: the network would take "no label" '
            "for a zero. "
            "Use `none`.",
            lambda y, share, none, draws: torch.where(draws < share, 0, y),
        ),
        Mistake(
            "-1 for no label",
            "Dropped labels become -1, and the embedding has no such row: use `none`.",
            lambda y, share, none, draws: torch.where(draws < share, -1, y),
        ),
        Mistake(
            "whole batch",
            'One draw decides for the whole batch, so most batches never practise "no label" and some '
            "practise "
            "nothing else: every example has its own draw.",
            lambda y, share, none, draws: torch.where(draws[0] < share, none, y),
        ),
        Mistake(
            "always the first",
            "The first examples of the batch are dropped, whatever was drawn: use `draws`.",
            dropped_first,
        ),
        Mistake(
            "a draw for each class",
            "The draws are looked up by class, so a class is dropped as a whole: one draw for each example.",
            lambda y, share, none, draws: torch.where(draws[y] < share, none, y),
        ),
        Mistake(
            "half of them",
            "About half of the labels are gone whatever `share` says: compare the draws with `share`, "
            "not with 1/2.",
            lambda y, share, none, draws: torch.where(draws < 0.5, none, y),
        ),
    ],
)

# 6.3 guide ----------------------------------------------------------------------------------------


def guide(out_u, out_c, s):
    return out_u + s * (out_c - out_u)


def guide_cases():
    g = torch.Generator().manual_seed(0)
    return [
        (torch.randn(shape, generator=g), torch.randn(shape, generator=g), s)
        for shape, s in (
            ((5, 2), 3.0),
            ((3, 1, 6, 4), 1.0),
            ((4, 2), 0.0),
            ((2, 1, 5, 7), -1.0),
            ((6, 2), 1.5),
        )
    ]


GUIDE = Exercise(
    "6.3",
    "guide",
    guide,
    guide_cases,
    verified="s = 0 gives the network without label, s = 1 the one with it, 3 and -1 lie on the same line.",
    mistakes=[
        Mistake(
            "s on the conditional only",
            "s multiplies the whole conditional output, so at s = 1 the two outputs are added up. It "
            "belongs to "
            "their difference.",
            lambda u, c, s: u + s * c,
        ),
        Mistake(
            "the paper's w",
            "This is the formula with w, and w = s - 1: your s = 0 is already the conditional network, your "
            "s = 1 is what we call 2.",
            lambda u, c, s: c + s * (c - u),
        ),
        Mistake(
            "sign",
            "It starts right and walks the wrong way, away from the label: the difference is out_c - out_u.",
            lambda u, c, s: u + s * (u - c),
        ),
        Mistake(
            "branches swapped",
            "s = 0 gives the conditional network and s = 1 the unconditional one: the two are swapped.",
            lambda u, c, s: c + s * (u - c),
        ),
        Mistake(
            "only the difference",
            "This is the added part alone; it starts from out_u.",
            lambda u, c, s: s * (c - u),
        ),
        Mistake(
            "conditional, scaled",
            "The output of the network with label is multiplied by s. That makes the noise longer and uses "
            "nothing of out_u.",
            lambda u, c, s: s * c,
        ),
        Mistake(
            "weights do not sum to 1",
            "The weights of the two outputs must add up to 1, s and 1 - s: check the sign of the second.",
            lambda u, c, s: s * c + (s - 1) * u,
        ),
        Mistake(
            "from the middle",
            "It starts from the mean of the two outputs; it starts from out_u.",
            lambda u, c, s: (u + c) / 2 + s * (c - u),
        ),
    ],
)

# 6.4 guided ---------------------------------------------------------------------------------------


def guided(model, x, t, y, s):
    none = torch.full_like(y, model.classes)
    both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, none]))
    out_c, out_u = both.chunk(2)
    return out_u + s * (out_c - out_u)


def _guided(make_none=None, combine=None):
    """A variant: make_none(y, model) -> labels of the second half; combine(first half, second half, s)."""
    make_none = make_none or (lambda y, model: torch.full_like(y, model.classes))
    combine = combine or (lambda c, u, s: u + s * (c - u))

    def variant(model, x, t, y, s):
        both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, make_none(y, model)]))
        return combine(*both.chunk(2), s)

    return variant


def guided_two_calls(model, x, t, y, s):
    out_u = model(x, t, torch.full_like(y, model.classes))
    return out_u + s * (model(x, t, y) - out_u)


def guided_interleaved(model, x, t, y, s):
    twice = torch.cat([y, torch.full_like(y, model.classes)])
    out_c, out_u = model(x.repeat_interleave(2, 0), t.repeat_interleave(2), twice).chunk(2)
    return out_u + s * (out_c - out_u)


def guided_t_once(model, x, t, y, s):
    return model(torch.cat([x, x]), t, torch.cat([y, torch.full_like(y, model.classes)]))


def guided_whole_batch(model, x, t, y, s):
    return model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, torch.full_like(y, model.classes)]))


def guided_every_other(model, x, t, y, s):
    both = guided_whole_batch(model, x, t, y, s)
    return both[1::2] + s * (both[::2] - both[1::2])


class Counted(nn.Module):
    """A network that counts how often it is asked."""

    def __init__(self, model):
        super().__init__()
        self.model, self.classes, self.prediction, self.calls = model, model.classes, model.prediction, 0

    def forward(self, x, t, y=None):
        self.calls += 1
        return self.model(x, t, y)


def counted(function, model, *inputs):
    """What the function returns, and how often it asked the network."""
    model = Counted(model)
    return {"result": function(model, *inputs), "calls": model.calls}


def guided_cases():
    g, cases = torch.Generator().manual_seed(0), []
    points = PointMLP(width=8, depth=1, features=2, time_dim=8, classes=3)
    images = UNet(channels=(8,), emb_dim=8, heads=2, classes=5)
    for model, shape, s in ((points, (7, 2), 3.0), (images, (4, 1, 6, 5), 2.0), (points, (5, 2), 0.5)):
        for p in model.parameters():
            nn.init.normal_(p, std=0.4, generator=g)
        y = torch.randint(1, model.classes, (shape[0],), generator=g)
        t = torch.randint(1000, (shape[0],), generator=g)
        cases.append((model.eval().requires_grad_(False), torch.randn(shape, generator=g), t, y, s))
    return cases


GUIDED = Exercise(
    "6.4",
    "guided",
    guided,
    guided_cases,
    call=counted,
    rtol=1e-3,
    atol=1e-4,
    verified="one call with both branches in it, for points and for pictures.",
    mistakes=[
        Mistake(
            "two calls",
            "The result is right, but the network was asked twice: put both branches into one batch.",
            guided_two_calls,
        ),
        Mistake(
            "branches swapped",
            "The halves come back in the order you put them in. What you take for the labelled half is the "
            "other one.",
            _guided(combine=lambda c, u, s: c + s * (u - c)),
        ),
        Mistake(
            "class 0 for no label",
            'The second half asks for class 0, a real class: "no label" is `model.classes`.',
            _guided(lambda y, model: torch.zeros_like(y)),
        ),
        Mistake(
            "the last class for no label",
            '`model.classes - 1` is the last real class: "no label" is `model.classes`.',
            _guided(lambda y, model: torch.full_like(y, model.classes - 1)),
        ),
        Mistake(
            "no branch without label",
            "Both halves carry the label, so their difference is zero and s does nothing.",
            _guided(lambda y, model: y),
        ),
        Mistake(
            "s off by one",
            "It is guided by s + 1: start from the output without label, or use w = s - 1.",
            _guided(combine=lambda c, u, s: c + s * (c - u)),
        ),
        Mistake(
            "interleaved and stacked",
            "x and t are repeated one by one (a a b b), the labels half by half: `torch.cat` for all three.",
            guided_interleaved,
        ),
        Mistake(
            "every other row",
            "The batch is labelled rows first, then the others; `both[::2]` takes every other row: use "
            "`chunk(2)`.",
            guided_every_other,
        ),
        Mistake(
            "not combined",
            "This is the network's whole answer, twice as many rows as asked for: split it and combine "
            "the halves.",
            guided_whole_batch,
        ),
        Mistake(
            "t not doubled",
            "x has twice the rows now and t has not: double t as well.",
            guided_t_once,
            raises=True,
        ),
    ],
)

# 6.5 diversity ------------------------------------------------------------------------------------


def _tables(x, y, distance):
    """For each class the table of distance(differences (n, n, pixels))."""
    for c in y.unique():
        group = x[y == c].flatten(1)
        yield distance(group[:, None] - group[None])


def _rms(d):
    return d.square().mean(-1).sqrt()


def _pairs(table):
    return table.sum() / (len(table) * (len(table) - 1))


def _diversity(distance=_rms, mean=_pairs):
    return lambda x, y: torch.stack([mean(table) for table in _tables(x, y, distance)]).mean()


diversity = _diversity()


def diversity_pooled(x, y):
    tables = list(_tables(x, y, _rms))
    return sum(t.sum() for t in tables) / sum(len(t) * (len(t) - 1) for t in tables)


def diversity_from_mean(x, y):
    groups = [x[y == c].flatten(1) for c in y.unique()]
    return torch.stack([_rms(group - group.mean(0)).mean() for group in groups]).mean()


def diversity_cases():
    g = torch.Generator().manual_seed(0)
    cases = []
    for counts, shape in (((4, 2, 7), (1, 5, 4)), ((3, 6), (2,)), ((5, 3, 2, 8), (1, 3, 7))):
        y = torch.cat([torch.full((n,), 2 * c) for c, n in enumerate(counts)])
        y = y[torch.randperm(len(y), generator=g)]
        centre = y.float().reshape(-1, *(1 for _ in shape))  # (n, 1, ..)
        cases.append((centre + (1 + centre) * torch.randn(len(y), *shape, generator=g), y))
    return cases


DIVERSITY = Exercise(
    "6.5",
    "diversity",
    diversity,
    diversity_cases,
    rtol=1e-3,
    verified="pairs of different examples of one class, and every class counts alike.",
    mistakes=[
        Mistake(
            "pairs with themselves",
            lambda got, want: (
                f"It is too small ({got:.3f} for {want:.3f}): the zero distance of each picture from "
                "itself is counted. Divide by n (n - 1), not by n squared."
            ),
            _diversity(mean=torch.Tensor.mean),
        ),
        Mistake(
            "pairs of all classes",
            "Pictures of different classes are compared too. That measures how different the classes "
            "are: stay "
            "within a class.",
            lambda x, y: diversity(x, torch.zeros_like(y)),
        ),
        Mistake(
            "not a mean over pixels",
            lambda got, want: (
                f"The distance grows with the size of the picture ({got:.2f} for {want:.2f}): take "
                "the mean over the pixels before the root."
            ),
            _diversity(lambda d: d.square().sum(-1).sqrt()),
        ),
        Mistake(
            "no root",
            "These are mean squared differences: take the root, so that the unit is that of a pixel.",
            _diversity(lambda d: d.square().mean(-1)),
        ),
        Mistake(
            "mean absolute difference",
            "These are mean absolute differences; root mean squared ones are asked for.",
            _diversity(lambda d: d.abs().mean(-1)),
        ),
        Mistake(
            "distance from the mean picture",
            "These are distances from the mean picture of the class, smaller by about the root of 2 "
            "than those of "
            "pairs.",
            diversity_from_mean,
        ),
        Mistake(
            "half the pairs",
            "Each pair is counted once and the sum divided as if it were counted twice: half of what it "
            "should be.",
            _diversity(mean=lambda table: _pairs(table) / 2),
        ),
        Mistake(
            "classes pooled",
            "All pairs are thrown together, so a class with twice the pictures weighs four times as "
            "much: first the "
            "mean of each class, then the mean over classes.",
            diversity_pooled,
        ),
    ],
)

# 6.6 scale_at -------------------------------------------------------------------------------------


def scale_at(t, s, band):
    low, high = band
    return torch.where((t >= low) & (t <= high), s, 1.0)


def _band(inside, outside=1.0):
    """A variant: inside(t, low, high) says where s holds."""
    return lambda t, s, band: torch.where(inside(t, *band), s, outside)


def band_cases():
    t = torch.tensor([500, 1, 333, 334, 335, 600, 666, 667, 1000])
    return [
        (t, 4.0, (334, 666)),
        (t.flip(0)[:7], 2.5, (1, 666)),
        (t[1:], 3.0, (600, 1000)),
        (t, 0.0, (1, 1000)),
    ]


BAND = Exercise(
    "6.6",
    "scale_at",
    scale_at,
    band_cases,
    verified="s within the band, both ends included, and 1, the plain conditional network, outside.",
    mistakes=[
        Mistake(
            "0 outside",
            "Outside the band you return 0, so the label is ignored there. The plain conditional "
            "network is s = 1.",
            _band(lambda t, low, high: (t >= low) & (t <= high), 0.0),
        ),
        Mistake(
            "inside out",
            "s holds outside the band and 1 inside: swap the two.",
            lambda t, s, band: torch.where((t >= band[0]) & (t <= band[1]), 1.0, s),
        ),
        Mistake(
            "ends left out",
            "The lowest and the highest level belong to the band: >= and <=.",
            _band(lambda t, low, high: (t > low) & (t < high)),
        ),
        Mistake(
            "highest left out",
            "The highest level belongs to the band too (this is not a Python range): <=.",
            _band(lambda t, low, high: (t >= low) & (t < high)),
        ),
        Mistake(
            "or for and",
            "Every level is above the lowest or below the highest, so this guides everywhere: use `&`.",
            _band(lambda t, low, high: (t >= low) | (t <= high)),
        ),
        Mistake(
            "no upper end",
            "It guides at every level from the lowest up: levels above the band are to be left out too.",
            _band(lambda t, low, high: t >= low),
        ),
        Mistake(
            "no lower end",
            "It guides at every level up to the highest: levels below the band are to be left out too.",
            _band(lambda t, low, high: t <= high),
        ),
        Mistake(
            "first example decides",
            "The level of the first example decides for the whole batch: compare each t on its own.",
            _band(lambda t, low, high: ((t[0] >= low) & (t[0] <= high)).expand(t.shape)),
        ),
    ],
)

EXERCISES = [TOLD, DROP, GUIDE, GUIDED, DIVERSITY, BAND]
