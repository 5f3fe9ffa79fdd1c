"""The tasks of notebook 09: small steps back, DDIM as Euler's method, flow matching, Heun, the divergence."""

import math

import torch

from helpers import show
from helpers.flow import straight
from helpers.schedule import at, cosine, linear

from .hidden import generator, pick
from .hunt import Hunt, Measurement
from .patches import Break, Exercise
from .predict import Prediction


def draw(n, *rows):
    """Each row (shape, ...) with n tensors of that shape drawn in its place."""
    g = generator(0)
    return [(*torch.randn(n, *shape, generator=g), *rest) for shape, *rest in rows]


def both_end_above(written):
    return written[0] > 0.9 and written[1] > 0.9


def both_by_chance(written):
    return abs(written[0] - 0.5) < 0.1 and abs(written[1] - 0.5) < 0.1


def the_other_way_round(written):
    return abs(written[0] - 0.5) < 0.1 and written[1] > 0.9


def right_shares(written, truth):
    """9.1: both shares within 0.06."""
    return all(abs(guess - share) <= 0.06 for guess, share in zip(written, truth, strict=True))


def small_cases():
    rows = (
        ((200, 1), pick(600, 550), linear(1000), 0.0),
        ((200, 1), pick(300, 350), linear(1000), 1.0),
        ((3, 1, 4, 5), 40, linear(60), 0.5),
        ((50, 2), 150, linear(200), 1.0),
    )
    return [(x, eps, t, noise, by, eta) for x, eps, noise, t, by, eta in draw(3, *rows)]


def ratio_cases():
    rows = (
        ((50, 2), pick(800, 750), 600, cosine(1000)),
        ((3, 1, 4, 5), 300, 100, linear(1000)),
        ((50, 2), 20, 0, cosine(1000)),
        ((50, 2), 90, 120, linear(200)),
    )
    return [(x.double(), eps.double(), *rest) for x, eps, *rest in draw(2, *rows)]


class Toy(torch.nn.Module):
    """A network of sorts: its answer depends on x, on t and on a weight, so that the loss has a gradient."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.1))

    def forward(self, x, t, y=None):
        return 0.6 * x + 0.3 * at(torch.sin(torch.arange(1001) / 100), t, x) + self.weight


def loss_cases():
    levels = torch.tensor([1, 4, pick(250, 300), 500, 900, 1000])
    pairs = draw(2, ((6, 2),), ((6, 1, 5, 4),))
    cases = [(Toy(), straight(1000), x0, levels, noise) for x0, noise in pairs]
    x0, noise = draw(2, ((3, 2),))[0]
    return [*cases, (Toy(), straight(50), x0, torch.tensor([1, 20, 50]), noise)]


def bent(x, s):
    """A velocity that depends on place and time, rows on their own."""
    return torch.stack([torch.sin(2 * x[:, 0]) + s * x[:, 1] ** 2, x[:, 0] * x[:, 1] - s], dim=1)


def twisted(x, s):
    """The same in three dimensions."""
    return torch.stack([x[:, 1] * x[:, 2], s * x[:, 1] ** 2, torch.cos(x[:, 0]) + x[:, 2] ** 3], dim=1)


def heun_cases():
    times = ((pick(0.8, 0.7), 0.5), (0.2, 0.6), (0.1, 0.0))
    return [(bent, x, s, s_next) for (x, s, s_next) in draw(1, *(((20, 2), *pair) for pair in times))]


def divergence_cases():
    rows = ((20, 2), pick(0.7, 0.6)), ((20, 2), 0.0), ((10, 3), 0.4)
    return [((bent, twisted)[x.shape[1] == 3], x, s) for x, s in draw(1, *rows)]


def divergence_and_look(function, *inputs):
    """What divergence returns, and whether it drags a graph along; whatever else is returned, as it is."""
    result = function(*inputs)
    if not (isinstance(result, tuple) and len(result) == 2):
        return result
    graph = any(getattr(part, "requires_grad", False) for part in result)
    return {"u": result[0], "divergence": result[1], "has a graph": graph}


def pair_cases():
    return draw(2, ((40, 2),), ((7, 2),))


def same_rows(one, other):
    """Which rows of one (n, 2) and other (m, 2) are the same, (n, m) int."""
    return (one[:, None] == other[None]).all(2).int()


def partners_exchanged(results):
    """9.7: None where ends and noises are all there, and no end has its own noise; else a sentence."""
    for found, (ends, noise) in zip(results, pair_cases(), strict=True):
        if found.shape != (len(ends), 4):
            return "The result should be rows of an end and a noise, (n, 4)."
        parts = found[:, :2], found[:, 2:]
        for part, whole, name in zip(parts, (ends, noise), ("end", "noise"), strict=True):
            lost = same_rows(whole, part).sum(1) != 1
            if lost.any():
                return f"Every {name} should be there exactly once, as it was: {int(lost.sum())} are not."
        from_row = [
            same_rows(part, whole).argmax(1) for part, whole in zip(parts, (ends, noise), strict=True)
        ]
        if (same := (from_row[0] == from_row[1]).sum()) > 0:
            return f"{int(same)} of {len(ends)} ends still have their own noise."
    return None


# The hunt -----------------------------------------------------------------------------------------

CENTRES, WIDTH = torch.tensor([-0.7, 0.7], dtype=torch.float64), 0.1


def velocity(x, s):
    """The exact mean velocity for numbers x (n,) that are 0.7 or -0.7, give or take 0.1, at the start."""
    var = (1 - s) ** 2 * WIDTH**2 + s**2
    off = x[:, None] - (1 - s) * CENTRES
    share = torch.softmax(-(off**2) / (2 * var), dim=1)
    x0 = CENTRES + (1 - s) * WIDTH**2 / var * off
    return (share * (s / var * off - x0)).sum(1)


def velocity_and_divergence(x, s):
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        u = velocity(x, s)
        [slope] = torch.autograd.grad(u.sum(), x)
    return u.detach(), slope


def log_normal(x):
    """The logarithm of the density of pure noise at numbers x (n,)."""
    return -0.5 * x**2 - 0.5 * math.log(2 * math.pi)


def setting():
    return (torch.linspace(-2.5, 2.5, 1001, dtype=torch.float64),)


def pipeline_09(x):
    start, steps = x, 60
    # lines
    times = torch.linspace(0, 1, steps + 1)
    gained = torch.zeros_like(x)
    # end
    for s, s_next in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        # lines
        h = s_next - s
        middle = x + h / 2 * velocity(x, s)
        u, div = velocity_and_divergence(middle, s + h / 2)
        x = x + h * u
        gained = gained + h * div
        # end
    # lines
    log_p = log_normal(x) + gained
    # end
    return dict(start=start, end=x, gained=gained, log_p=log_p)


def exact(x):
    """The density of the numbers (n,)."""
    return torch.distributions.Normal(CENTRES, WIDTH).log_prob(x[:, None]).exp().mean(1)


def near_data(result, key):
    """Numbers of a result at the places where data are."""
    return result[key][exact(result["start"]) > 0.5]


def integral(result):
    return float(result["log_p"].exp().clamp(max=1e6).sum() * 0.005)


def error(result):
    gap = near_data(result, "log_p") - exact(result["start"])[exact(result["start"]) > 0.5].log()
    return float(gap.abs().mean())


MEASUREMENTS = [
    Measurement("the spread of the walkers at the end", lambda r: float(near_data(r, "end").std()), 0.05),
    Measurement(
        "the largest place of a walker that began near data", lambda r: float(near_data(r, "end").max()), 0.1
    ),
    Measurement(
        "the mean of what was added up near data", lambda r: float(near_data(r, "gained").mean()), 0.1
    ),
    Measurement("the integral of the density", integral, 0.02, ".3f"),
    Measurement("the mean error of the log-likelihood near data (nats)", error, 0.03),
]


def draw_likelihood(result):
    fig, axes = show.plt.subplots(1, 2, figsize=(show.WIDTH, 3.4))
    axes[0].plot(
        result["start"], exact(result["start"]), color=show.COLOUR["exact"], linewidth=4, label="exact"
    )
    density = result["log_p"].exp()
    axes[0].plot(result["start"], density, color=show.COLOUR["model"], label="computed")
    axes[0].set(xlabel="$x$, a number", ylabel="density", ylim=(0, 3))
    axes[0].legend()
    axes[1].plot(result["start"], result["end"], color=show.COLOUR["model"])
    axes[1].set(xlabel="where a walker began (near data)", ylabel="where it ended")
    axes[1].set(xlim=(-1.2, 1.2), ylim=(-6, 6))
    show.figure(
        fig, "Left the exact density of the numbers and the one computed; right where each walker ends."
    )
    for m in MEASUREMENTS:
        print(f"{m.name}: {m.say(float(m.of(result)))}")


EXERCISES = [
    Prediction("9.1", "2 numbers", right=right_shares),
    Exercise(
        "9.2",
        small_cases,
        "the pull undone, the score, the kick: right for the ODE, the reverse SDE and what lies between.",
        strict_dtype=True,
    ),
    Exercise(
        "9.3",
        ratio_cases,
        "it is DDIM's step, down to level 0 and upwards too.",
        rtol=1e-6,
        atol=1e-7,
    ),
    Exercise(
        "9.4",
        loss_cases,
        "the squared error of the velocity for points and pictures, each example at its own level.",
        strict_dtype=True,
        gradient=True,
    ),
    Prediction("9.5", "letter abcd"),
    Exercise(
        "9.6",
        heun_cases,
        "both arrows count alike, downwards and upwards in time.",
        strict_dtype=True,
    ),
    Break(
        "9.7",
        pair_cases,
        "every end has the noise of another.",
        wanted=partners_exchanged,
        why="b",
        strict_dtype=True,
    ),
    Exercise(
        "9.8",
        divergence_cases,
        "velocities and divergence, in two dimensions and in three.",
        call=divergence_and_look,
        strict_dtype=True,
    ),
    Prediction("9.9", "letter abcd"),
    Hunt("9.10", pipeline_09, setting, MEASUREMENTS, draw_likelihood),
]
