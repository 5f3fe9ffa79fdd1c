"""The tasks of notebook 07: a training loop, a reader, specks cured, half a walk, nearest pictures."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from .. import data, show
from ..checkpoints import load_model
from ..models import LabUNet
from ..schedule import cosine, linear
from .exercise import Complaint, exhaust, kind
from .hidden import generator
from .hunt import Hunt, Measurement
from .patches import Break, Exercise
from .predict import Prediction

T = 300  # levels of the lab: enough with betas scaled by 1000/T, and a third of the sampling time of 1,000


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# 7.1, 7.2 predictions -----------------------------------------------------------------------------


def right_share(written, truth):
    """7.1: a share, or per cent."""
    return abs((written / 100 if written > 1 else written) - truth) < 0.03


def right_fields(written, truth):
    """7.2: the convolutions exactly; of the U-Net, nearly the whole picture."""
    return written[0] == truth[0] and 24 <= written[1] <= 28


def few(written):
    return written[0] == 7 and written[1] < 24


# 7.3 the training loop ----------------------------------------------------------------------------


class Tiny(nn.Module):
    """A network small enough to train in a check; what it answers depends on the level."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, 1, 3, 3, generator=seeded(3)))
        self.by_level = nn.Parameter(torch.tensor(0.5))

    def forward(self, x, t):
        return F.conv2d(x, self.weight, padding=1) + self.by_level * (t / 100).reshape(-1, 1, 1, 1)


class Watched(torch.optim.SGD):
    """An optimiser that keeps the learning rate of each of its steps."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.5)
        self.rates = []

    def step(self, *args, **kwargs):
        self.rates.append(float(self.param_groups[0]["lr"]))
        return super().step(*args, **kwargs)


def noise_target(x0, t, noise, schedule):
    return noise


def v_target(x0, t, noise, schedule):
    return schedule.target(x0, t, noise, "v")


def fit_cases():
    g = generator(0)
    pictures = [torch.rand(n, 1, 8, 6, generator=g) * 2 - 1 for n in (12, 200)]
    return [
        (linear(40), pictures[0], 4, noise_target, generator(1), dict(batch=5)),
        (cosine(7), pictures[0], 3, v_target, generator(2), dict(batch=12)),
        (linear(300), pictures[1], 2, v_target, generator(3), {}),
    ]


def call_fit(fit, schedule, images, steps, target, generator, batch):
    model = Tiny()
    optimizer = Watched(model.parameters())

    def rate(i):
        return 0.3 / (i + 1)

    loop = fit(model, optimizer, schedule, images, steps, rate, target, generator, **batch)
    if isinstance(loop, list | tuple):
        said = "It returns all losses at the end, as a list, so nobody could look on: `yield` each one."
        raise Complaint("a list at the end", said)
    moved, losses = [], []
    for loss in exhaust(50)(lambda: watch(loop, model, moved)):
        if isinstance(loss, tuple | list) or isinstance(loss, torch.Tensor) and loss.numel() != 1:
            raise Complaint("not a loss", f"It hands out {kind(loss)}: yield the loss, a number.")
        if not isinstance(loss, int | float | torch.Tensor):
            raise Complaint("not a loss", f"It hands out {kind(loss)}: yield the loss, a number.")
        losses.append(float(loss))
    return dict(losses=losses, rates=optimizer.rates, weights=moved)


def watch(loop, model, moved):
    """What a loop yields; the weights after each round go to `moved`."""
    if not hasattr(loop, "__iter__"):
        said = f"It returns {kind(loop)} where a generator was expected: use `yield` in the loop."
        raise Complaint("no generator", said)
    for loss in loop:
        moved.append(model.weight.detach().clone())
        yield loss


def other_count(got, want, args):
    if len(got["losses"]) != len(want["losses"]):
        return f"It hands out {len(got['losses'])} losses for steps = {len(want['losses'])}."


# 7.5 reading --------------------------------------------------------------------------------------


def read_cases():
    g = generator(0)
    rows = (
        ((3, 1, 8, 6), [2, 150, 200], linear(200)),
        ((5, 2), [1, 10, 500, 700, 990], cosine(1000)),
        ((2, 1, 4, 4), [300, 1], linear(300)),
    )
    return [
        (torch.randn(shape, generator=g), torch.randn(shape, generator=g), torch.tensor(t), schedule)
        for shape, t, schedule in rows
    ]


# 7.6 specks ---------------------------------------------------------------------------------------

MOST, SPECKS = 30, 16  # evaluations; pictures that are drawn
TOO_MANY = (
    f"It asks the network more than {MOST} times. Smaller strides do not help: every third level, a hundred "
    "evaluations, leaves as many lonely pixels as every tenth."
)


@cache
def lab_network():
    return load_model("fashion_lab", LabUNet).requires_grad_(False)


class Network:
    """A network that keeps the levels at which it is asked."""

    def __init__(self, network=None, most=1000):
        self.network, self.most, self.asked = network, most, []

    def __call__(self, x, t):
        t = torch.as_tensor(t).reshape(-1)
        self.asked.append(int(t[0]))
        if len(self.asked) > self.most:
            raise Complaint("too many evaluations", TOO_MANY)
        return self.network(x, t) if self.network else 0.7 * x + (t / 100 - 0.1).reshape(-1, 1, 1, 1)


def cure_cases():
    """A toy network first, by which wrong changes are told apart at no cost; then the lab's."""
    toy, x = torch.randn(2, 1, 4, 5, generator=seeded(1)), torch.randn(64, 1, 28, 28, generator=seeded(0))
    return [("toy", linear(T), toy, seeded(2)), ("lab", linear(T), x[:SPECKS], seeded(1))]


def call_cure(draw, name, schedule, x, generator):
    model = Network(lab_network() if name == "lab" else None, MOST)
    return dict(x=draw(model, schedule, x, generator), asked=model.asked)


def lonely(x, by=0.2):
    """Share of pixels that are brighter, or darker, than all eight neighbours by more than `by`."""
    near = F.unfold(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3).unflatten(1, (x.shape[1], 9))
    middle, others = near[:, :, 4], torch.cat([near[:, :, :4], near[:, :, 5:]], dim=2)
    apart = (middle > others.amax(2) + by) | (middle < others.amin(2) - by)
    return float(apart.float().mean())


GIVEN = 0.0092  # that share in what the given call draws


def is_cured(results):
    x = results[1]["x"]
    if not isinstance(x, torch.Tensor) or x.shape != (SPECKS, 1, 28, 28):
        return f"It returns {kind(x)} of another form: give back the pictures at the end of the walk."
    if lonely(x) > GIVEN / 2:
        now = f"{1000 * lonely(x):.1f} of a thousand pixels are lonely (as given: {1000 * GIVEN:.1f})"
        return f"{now}. Less than half of that is asked for: change something else."
    if not 0.2 < x.std() < 0.9 or lonely(x) < GIVEN / 50:
        return "There are no specks, but no garments either."
    return None


# 7.7 half the way ---------------------------------------------------------------------------------


def ddim_step(x0, eps, t, t_next, noise, schedule):
    return schedule.q_sample(x0, t_next, eps)


def half_fresh(x0, eps, t, t_next, noise, schedule):
    return schedule.q_sample(x0, t_next, 0.6 * eps + 0.8 * noise)


def from_eps(eps, x_t, t, schedule):
    return schedule.predict_x0(x_t, t, eps), eps


def from_v(v, x_t, t, schedule):
    return schedule.from_output(v, x_t, t, "v")[::-1]


def half_cases():
    g = generator(0)
    rows = (
        ((3, 1, 4, 5), linear(40), [25, 14, 6], half_fresh, from_eps),
        ((2, 1, 6, 3), cosine(100), [60, 40, 20], ddim_step, from_v),
        ((2, 1, 3, 3), linear(40), [9], half_fresh, from_eps),
    )
    return [
        (schedule, torch.rand(shape, generator=g) * 2 - 1, levels, step, read, generator(7))
        for shape, schedule, levels, step, read in rows
    ]


def call_half(half_way, schedule, pictures, levels, step, read, generator):
    model = Network()
    x = half_way(model, schedule, pictures, levels, step, read, generator)
    return dict(x=x, asked=model.asked)


def asked_elsewhere(got, want, args):
    if got["asked"] != want["asked"]:
        return f"The network is asked at the levels {got['asked']}; asked for was {want['asked']}."


# 7.8 nearest --------------------------------------------------------------------------------------


def nearest_cases():
    g = generator(0)
    shapes = (4, 9, (1, 6, 5)), (7, 3, (1, 4, 8)), (5, 6, (2,)), (3, 8, (2, 4, 4))
    cases = [(torch.randn(n, *s, generator=g), torch.randn(m, *s, generator=g)) for n, m, s in shapes]
    faint = 0.2 * cases[0][0], 2 * cases[0][1]  # of other contrast: an angle is no distance
    return [*cases, faint]


# 7.4 the hunt -------------------------------------------------------------------------------------


@cache
def garments():
    return data.fashion_mnist()[0][:10_000]


class Asked(nn.Module):
    """A small lab network that keeps how many different levels it was told last."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network, self.told = LabUNet(8, 16, 32), 0

    def forward(self, x, t):
        self.told = len(t.unique())
        return self.network(x, t)


def small_training():
    model = Asked()
    return model, torch.optim.AdamW(model.parameters(), lr=2e-3), garments()[:-500], linear(T), seeded(0)


def pipeline_07(model, optimizer, images, schedule, g):
    losses, lengths = [], []
    for _ in range(60):
        pick = torch.randint(len(images), (32,), generator=g)
        # lines
        x0 = images[pick]
        t = torch.randint(1, T + 1, (32,), generator=g)
        noise = torch.randn(x0.shape, generator=g)
        x_t = schedule.q_sample(x0, t, noise)
        loss = F.mse_loss(model(x_t, t), noise)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        # end
        losses.append(loss.item())
        lengths.append(torch.stack([p.grad.norm() for p in model.parameters()]).norm().item())
    found = dict(losses=losses, length=sum(lengths[-20:]) / 20, darkest=x0.min().item())
    return found | dict(highest=t.max().item(), told=model.told, honest=honest_loss(model, schedule))


@torch.no_grad()
def honest_loss(model, schedule):
    """The loss on 500 pictures held out, each at one level."""
    x0, g = garments()[-500:], seeded(1)
    t, noise = torch.randint(1, T + 1, (len(x0),), generator=g), torch.randn(x0.shape, generator=g)
    return F.mse_loss(model(schedule.q_sample(x0, t, noise), t), noise).item()


TRAINING = [
    Measurement("the loss at the first step", lambda r: r["losses"][0], 0.1),
    Measurement("the length of the gradient in the last 20 steps", lambda r: r["length"], 0.3),
    Measurement("the smallest value of x0", lambda r: r["darkest"], 0.5, ".0f"),
    Measurement("the highest level in the last batch", lambda r: r["highest"], 60, ".0f"),
    Measurement("the number of levels that the network is told in a batch", lambda r: r["told"], 12, ".0f"),
    Measurement("the loss at the end", lambda r: sum(r["losses"][-10:]) / 10, 0.04),
    Measurement("the loss on 500 other pictures, asked as it should be", lambda r: r["honest"], 0.05),
]


def draw_training(result):
    losses = result["losses"]
    fig, ax = show.plt.subplots(figsize=(show.WIDTH, 2.6))
    ax.plot(range(1, len(losses) + 1), losses, color=show.COLOURS[1], linewidth=2)
    ax.set(xlabel="training step", ylabel="loss", ylim=(0, None))
    show.figure(fig, "The loss of the training above over its 60 steps: it falls, steeply at first")
    end = sum(losses[-10:]) / 10
    print(f"loss at the first step {losses[0]:.2f}, over the last ten {end:.2f}")


# --------------------------------------------------------------------------------------------------

EXERCISES = [
    Prediction("7.1", "number", right_share, near=0.01),
    Prediction("7.2", "2 numbers", right_fields, near=0.01),
    Exercise(
        "7.3",
        fit_cases,
        "the losses, learning rates and weights of three short trainings are those of the reference.",
        call=call_fit,
        properties=[other_count],
        same_draws=True,
        strict_dtype=True,
    ),
    Hunt("7.4", pipeline_07, small_training, TRAINING, draw_training),
    Exercise(
        "7.5",
        read_cases,
        "x_0 and eps make up x_t again, for pictures and for points.",
        strict_dtype=True,
    ),
    Break(
        "7.6",
        cure_cases,
        "30 evaluations or fewer, and less than half as many lonely pixels.",
        wanted=is_cured,
        why="c",
        call=call_cure,
    ),
    Exercise(
        "7.7",
        half_cases,
        "three walks from the middle, along two schedules, end where they should.",
        call=call_half,
        properties=[asked_elsewhere],
        same_draws=True,
        strict_dtype=True,
    ),
    Exercise(
        "7.8",
        nearest_cases,
        "index and root mean squared distance of the nearest training picture, for pictures and for points.",
        rtol=1e-3,
        strict_dtype=True,
    ),
]
