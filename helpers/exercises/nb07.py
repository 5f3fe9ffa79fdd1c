"""The exercises of notebook 07, a lab from empty stubs to saved pictures."""

import torch
import torch.nn.functional as F
from torch import nn

from .exercise import Complaint, as_module, exhaust, kind
from .patches import Exercise, solve

T = 300  # levels of the lab: enough with betas scaled by 1000/T, and a third of the sampling time of 1,000
LabSchedule, LabUNet = solve("7.1"), solve("7.2")


def call_schedule(cls, T, x0, t, noise):
    schedule = cls(T)
    for name, first in (("betas", "0"), ("alpha_bar", "1")):
        value = getattr(schedule, name, None)
        if not isinstance(value, torch.Tensor):
            raise Complaint(
                f"no {name}",
                f"After `__init__` there should be a tensor `self.{name}` of shape (T+1,); it is "
                f"{kind(value)}.",
            )
        if value.shape == (T,):
            raise Complaint(
                "level 0 left out",
                f"`self.{name}` has {T} entries for T = {T}, but there are {T + 1} levels, 0 .. {T}. Put "
                f"level 0, the clean data, in front: {name}[0] = {first}.",
            )
    return dict(betas=schedule.betas, alpha_bar=schedule.alpha_bar, x_t=schedule.q_sample(x0, t, noise))


def make_schedule_cases():
    g = torch.Generator().manual_seed(0)
    cases = []
    for T, t in ((300, [0, 150, 300]), (1000, [1000, 500, 0, 1, 700]), (100, [50, 100])):
        x0, noise = torch.randn(2, len(t), 1, 8, 6, generator=g)
        cases.append((T, x0, torch.tensor(t), noise))
    return cases


def make_unet_cases():
    g = torch.Generator().manual_seed(0)
    sizes = dict(a=8, b=16, c=24, emb_dim=8)
    x, labelled = torch.randn(2, 1, 12, 8, generator=g), torch.randn(3, 1, 8, 16, generator=g)
    return [
        (sizes, x, torch.tensor([3, 280])),
        (dict(classes=3, **sizes), labelled, torch.tensor([1, 150, 300]), torch.tensor([2, 0, 3])),
    ]


class Tiny(nn.Module):
    """A network small enough to train in a check; its gradient is first larger than 1, then smaller."""

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(1, 1, 3, 3, generator=g))
        self.by_level = nn.Parameter(torch.tensor(0.5))

    def forward(self, x, t):
        return F.conv2d(x, self.weight, padding=1) + self.by_level * (t / T).reshape(-1, 1, 1, 1)


def call_step(f, seed, lr):
    g, model = torch.Generator().manual_seed(seed), Tiny()
    optimizer, schedule, losses = torch.optim.SGD(model.parameters(), lr=lr), LabSchedule(T), []
    for _ in range(4):
        x0, noise = torch.rand(5, 1, 8, 6, generator=g) * 2 - 1, torch.randn(5, 1, 8, 6, generator=g)
        loss = f(model, optimizer, schedule, x0, torch.randint(1, T + 1, (5,), generator=g), noise)
        if loss is None:
            raise Complaint("no loss returned", "It returns None: return the loss as a number, loss.item().")
        losses.append(float(loss))
    return dict(losses=losses, weight=model.weight.detach().clone(), by_level=model.by_level.item())


def ask_at_zero(*_):
    return (
        "The network is asked at level 0, which is the clean picture and has no noise to find. Ask at T "
        "first and at 1 last; Python's range leaves out the end that you give it."
    )


def predict_noise(x, t):
    """The network of the checks: any function of x (B, 1, H, W) and the levels t (B,), 1 or more."""
    if int(t.min()) < 1:
        raise Complaint("asks at level 0", ask_at_zero())
    return 0.7 * x + (t / 100 - 0.1).reshape(-1, 1, 1, 1)


def draw_from(seed):
    g = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=g)


def make_ancestral_cases():
    g = torch.Generator().manual_seed(0)
    return [
        (predict_noise, LabSchedule(T), torch.randn(b, 1, h, w, generator=g), draw_from(T))
        for T, b, h, w in ((25, 3, 4, 5), (40, 2, 6, 3))
    ]


def make_every_cases():
    g = torch.Generator().manual_seed(0)
    return [
        (predict_noise, LabSchedule(T), torch.randn(b, 1, h, w, generator=g), k)
        for T, k, b, h, w in ((25, 10, 3, 4, 5), (40, 7, 2, 6, 3), (30, 10, 2, 3, 4))
    ]


def collect_pairs(function, *args):
    """The (t, x) that a walk yields; says so where they are something else."""
    items = exhaust(400)(function, *args)
    for item in items:
        right = isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[1], torch.Tensor)
        if not right or isinstance(item[0], torch.Tensor) and item[0].numel() != 1:
            raise Complaint(
                "not (t, x)", f"It yields {kind(item)}: yield the pair (level of x, x) each step."
            )
    return dict(levels=[int(t) for t, _ in items], x=[x for _, x in items])


def make_sheet_cases():
    g = torch.Generator().manual_seed(0)
    shapes = ((6, 1, 5, 4), 3), ((6, 1, 3, 7), 2), ((4, 1, 6, 3), 4)
    return [(0.8 * torch.randn(shape, generator=g), columns) for shape, columns in shapes]


EXERCISES = [
    Exercise(
        "7.1",
        make_schedule_cases,
        "betas, alpha_bar and x_t for T = 100, 300, 1,000; at the top 0.6 % of the amplitude is left.",
        call=call_schedule,
    ),
    Exercise(
        "7.2",
        make_unet_cases,
        "down, up, three skips, the level in every block, and labels where there are some.",
        call=as_module(LabUNet),
    ),
    Exercise(
        "7.3",
        lambda: [(0, 0.3), (1, 0.05)],
        "after four steps of a small network, losses and weights are those of the reference.",
        call=call_step,
    ),
    Exercise(
        "7.4",
        make_ancestral_cases,
        "with the same noise every state from the top to the clean picture is that of the reference.",
        call=collect_pairs,
    ),
    Exercise(
        "7.5",
        make_every_cases,
        "starts at T, ends clean, and every state is that of the reference, also where k does not divide T.",
        call=collect_pairs,
    ),
    Exercise(
        "7.6",
        make_sheet_cases,
        "bytes, in reading order, for 2 x 3, 3 x 2 and 1 x 4 pictures that are not square.",
    ),
]
