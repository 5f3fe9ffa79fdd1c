"""The tasks of notebook 04: a training step, the clamp, the walk, the distance, a hunt in the sampler."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from .. import classifiers, data, metrics, show
from ..checkpoints import load_model
from ..schedule import cosine, linear
from .exercise import Complaint, exhaust, kind
from .hidden import generator, pick
from .hunt import Hunt, Measurement
from .patches import Break, Exercise, solve
from .predict import Prediction

# 4.1 a training step ------------------------------------------------------------------------------


class Tiny(nn.Module):
    """A network small enough to train in a check; its gradient is first longer than 1, then shorter."""

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(1, 1, 3, 3, generator=g))
        self.by_level = nn.Parameter(torch.tensor(0.5))

    def forward(self, x, t):
        return F.conv2d(x, self.weight, padding=1) + self.by_level * (t / 300).reshape(-1, 1, 1, 1)


def noise_target(x0, t, noise, schedule):
    return noise


def v_target(x0, t, noise, schedule):
    return schedule.target(x0, t, noise, "v")


def call_step(train_step, seed, lr, target):
    g, model, schedule = generator(seed), Tiny(), linear(300)
    optimizer, losses, graph = torch.optim.SGD(model.parameters(), lr=lr), [], False
    for _ in range(4):
        x0, noise = torch.rand(5, 1, 8, 6, generator=g) * 2 - 1, torch.randn(5, 1, 8, 6, generator=g)
        t = torch.randint(1, 301, (5,), generator=g)
        loss = train_step(model, optimizer, schedule, x0, t, noise, target)
        if loss is None:
            raise Complaint("no loss returned", "It returns None: return the loss as a number, loss.item().")
        graph = graph or getattr(loss, "requires_grad", False)
        losses.append(float(loss.detach() if isinstance(loss, torch.Tensor) else loss))
    weights = dict(weight=model.weight.detach().clone(), by_level=model.by_level.item())
    return dict(losses=losses, graph=graph, **weights)


# 4.2 an average that is too young -----------------------------------------------------------------


def right_share(written, truth):
    share = written[0] / 100 if written[0] > 1 else written[0]  # 70 is said for 70 %
    return abs(share - truth[0]) < 0.03 and written[1] == truth[1]


def share_of(low, high):
    return lambda written: low <= written[0] <= high


nothing, one_update = share_of(0, 0.0005), share_of(0.0005, 0.002)
gone, added_up, counted_down = share_of(0.28, 0.32), share_of(0.33, 0.37), share_of(0.63, 0.66)


def says_a(written):
    return written[1] == "a"


def says_b(written):
    return written[1] == "b"


# 4.3 the clamp ------------------------------------------------------------------------------------


def clamp_cases():
    g = generator(0)
    return [
        (torch.randn(shape, generator=g), torch.tensor(t), 2 * torch.randn(shape, generator=g), schedule)
        for shape, t, schedule in (
            ((5, 2), [1, 10, 500, 700, 999], cosine(1000)),
            ((3, 1, 8, 6), [2, 150, 200], linear(200)),
        )
    ]


# 4.5 the walk -------------------------------------------------------------------------------------


def from_v(v, x_t, t, schedule):
    return schedule.from_output(v, x_t, t, "v")[::-1]


def from_eps(eps, x_t, t, schedule):
    return schedule.predict_x0(x_t, t, eps), eps


def ddim_step(x0, eps, t, t_next, noise, schedule):
    return schedule.q_sample(x0, t_next, eps)


def half_fresh(x0, eps, t, t_next, noise, schedule):
    return schedule.q_sample(x0, t_next, 0.6 * eps + 0.8 * noise)


class Asked:
    """A network of the checks that keeps which levels it was asked at, and in what form it got them."""

    def __init__(self):
        self.levels, self.forms = [], set()

    def __call__(self, x, t):
        whole = isinstance(t, torch.Tensor) and t.dtype == torch.int64 and t.shape == (len(x),)
        self.forms.add("(B,)" if whole else "other")
        t = torch.as_tensor(t).reshape(-1)
        self.levels.append(int(t[0]))
        return 0.7 * x + (t / 50 - 0.4).reshape(-1, *[1] * (x.ndim - 1))


def walk_cases():
    g = generator(0)
    rounds = (
        (cosine(100), (3, 1, 4, 5), [100, 75, 50, 25], ddim_step, from_v),
        (linear(40), (2, 1, 6, 3), [40, 29, 17, 6], half_fresh, from_eps),
        (cosine(60), (4, 2), [47, 31, 10, 9], half_fresh, from_v),  # from half-way, on points
    )
    return [
        (schedule, torch.randn(shape, generator=g), levels, step, read, generator(7))
        for schedule, shape, levels, step, read in rounds
    ]


def call_walk(walk, schedule, x, levels, step, read, generator):
    network = Asked()
    items = exhaust(200)(walk, network, schedule, x, levels, step, read, generator)
    for item in items:
        if (
            not isinstance(item, tuple | list)
            or len(item) != 3
            or isinstance(item[0], torch.Tensor)
            and item[0].numel() != 1
        ):
            said = f"It hands out {kind(item)}: yield three things a round, the level reached, x and x0."
            raise Complaint("not (level, x, x0)", said)
    reached, xs, estimates = [int(i[0]) for i in items], [i[1] for i in items], [i[2] for i in items]
    return dict(levels=reached, x=xs, x0=estimates, asked=network.levels, forms=sorted(network.forms))


def not_at_zero(got, want, args):
    if 0 in got["asked"]:
        return "The network is asked at level 0, the clean picture, in which there is no noise to find."


def asked_once(got, want, args):
    times, levels = len(got["asked"]), len(want["asked"])
    if times != levels:
        return f"The network was asked {times} times in a walk over {levels} levels: once a round is enough."


# 4.7 the distance ---------------------------------------------------------------------------------


def distance_cases():
    g = generator(0)
    a, b = torch.randn(40, 8, generator=g), torch.randn(25, 8, generator=g)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=g))[0]
    line = torch.zeros(30, 2)  # nothing happens in the second dimension
    line[:, 0] = torch.randn(30, generator=g)
    return [(a, 1.5 * b + 0.3), (line, 2 * line[:20] + 1), (b @ turn, a * torch.arange(1.0, 9.0)), (a, a)]


def call_frechet(frechet, a, b):
    value = frechet(a, b)
    return torch.tensor(value, dtype=torch.float64) if isinstance(value, float) else value


# 4.8 a spoilt set ---------------------------------------------------------------------------------

REFERENCE, FLOOR, SURE = 3000, 3.04, 0.97  # pictures compared with; what real digits score


def spoil_cases():
    return [data.mnist(train=False)]


@cache
def real_features():
    images, _ = data.mnist(train=False)
    return classifiers.features(images[torch.randperm(len(images), generator=seeded(1))[:REFERENCE]])


_scores = {}


def scores(images):
    """(distance, confident share) of a set of pictures, which may have been asked for before."""
    key = hash(images.float().numpy().tobytes())
    if key not in _scores:
        distance = metrics.frechet_between(classifiers.features(images), real_features())
        _scores[key] = distance, metrics.confident_share(images)
    return _scores[key]


def is_spoilt(results):
    (images,) = results
    if not isinstance(images, torch.Tensor) or tuple(images.shape) != (1000, 1, 28, 28):
        shape = tuple(images.shape) if isinstance(images, torch.Tensor) else kind(images)
        return f"It returns {shape}. Give back 1,000 pictures, (1000, 1, 28, 28), as the given line does."
    distance, sure = scores(images.float())
    if sure < SURE - 0.02:
        said = f"The confident share fell to {sure:.1%} (real digits: {SURE:.0%})"
        return f"{said}: the pictures themselves became worse. Leave them alone, and choose others."
    if distance < 3 * FLOOR:
        said = f"The distance is {distance:.1f}; three times the floor would be {3 * FLOOR:.1f}"
        return f"{said}. Choose more one-sidedly."


# 4.9 the hunt -------------------------------------------------------------------------------------

clamp_x0, ddim_levels = solve("4.3"), solve("4.4")


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def sampler():
    network, asked = load_model("mnist_unet").requires_grad_(False), []

    def model(x, t):
        asked.append(t)
        return network(x, torch.full((len(x),), t))

    return model, asked, cosine(1000), seeded(0)


def pipeline_04(model, asked, schedule, g):
    # lines
    x = torch.randn(12, 1, 28, 28, generator=g)
    levels = ddim_levels(1000, 20)
    # end
    start, middle, noise = x, x, None
    for t, t_next in zip(levels, [*levels[1:], 0], strict=True):
        # lines
        v = model(x, t)
        x0, eps = from_v(v, x, t, schedule)
        x0, eps = clamp_x0(x, t, x0, schedule)
        x = ddim_step(x0, eps, t, t_next, noise, schedule)
        # end
        middle = x if t_next == 500 else middle
    # lines
    pictures = x
    # end
    return dict(pictures=pictures, last=x, start=start, middle=middle, first=asked[0])


def correlation(result):
    table = torch.corrcoef(result["pictures"].flatten(1))
    return (table.sum() - len(table)) / (len(table) * (len(table) - 1))


SAMPLER = [
    Measurement("the correlation of two different pictures", correlation, 0.15),
    Measurement("the first level asked for", lambda r: r["first"], 1, ".0f"),
    Measurement("the mean of the starting noise", lambda r: r["start"].mean(), 0.1),
    Measurement("the smallest value of x at the end of the walk", lambda r: r["last"].min(), 0.2, ".1f"),
    Measurement("the smallest value of `pictures`", lambda r: r["pictures"].min(), 0.2, ".1f"),
    Measurement("the standard deviation of x at t = 500", lambda r: r["middle"].std(), 0.04),
]


def draw_sampler(result):
    pictures = result["pictures"]
    show.grid(pictures, "Twelve pictures that the program above draws, in two rows", columns=6, width=6)
    sure = metrics.confident_share(pictures)
    print(f"mean brightness {pictures.mean():.2f} (real digits -0.74), confidently one digit {sure:.0%}")


# --------------------------------------------------------------------------------------------------

EXERCISES = [
    Exercise(
        "4.1",
        lambda: [(0, 1.0, v_target), (1, 0.05, noise_target)],
        "after four steps of a small network losses and weights are the reference's, with either target.",
        call=call_step,
        strict_dtype=True,
    ),
    Prediction("4.2", "number, letter abc", right_share, near=0.02),
    Exercise(
        "4.3",
        clamp_cases,
        "x_0 lies in [-1, 1] and sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps is x_t again.",
        strict_dtype=True,
    ),
    Exercise(
        "4.4",
        lambda: [(1000, pick(50, 40)), (1000, pick(12, 11)), (1000, 300), (pick(200, 170), 30), (100, 100)],
        "equal strides from T down, the last one ending at 0, also where steps does not divide T.",
        strict_dtype=True,
    ),
    Exercise(
        "4.5",
        walk_cases,
        "every state of three walks is that of the reference, and the network is asked once at each level.",
        call=call_walk,
        properties=[not_at_zero, asked_once],
        same_draws=True,
        strict_dtype=True,
    ),
    Prediction("4.6", "2 letters yn"),
    Exercise(
        "4.7",
        distance_cases,
        "shifted, stretched and turned sets of different sizes; a set has distance 0 from itself.",
        call=call_frechet,
        strict_dtype=True,
        atol=1e-4,
    ),
    Break(
        "4.8",
        spoil_cases,
        "the distance is more than three times the floor, and the judge is as sure as before.",
        wanted=is_spoilt,
        why="b",
    ),
    Hunt("4.9", pipeline_04, sampler, SAMPLER, draw_sampler),
]
