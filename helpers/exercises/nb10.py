"""The tasks of notebook 10: the map of a walk, consistency, broken pairs, few steps, MeanFlow, recall."""

import torch

from helpers import data, show
from helpers.checkpoints import load_model
from helpers.models import PointMLP
from helpers.schedule import cosine, linear

from .hidden import generator
from .hunt import Hunt, Measurement
from .patches import Break, Exercise
from .predict import Prediction


def bend(x):
    """A map of the plane, or of more numbers: each coordinate bent, then turned into the next."""
    return torch.sin(2 * x) + 0.5 * x.roll(1, 1) ** 2


def turn(x):
    """A quarter turn that also doubles: every stretch is the root of 8."""
    return torch.stack([-2 * x[:, 1], 2 * x[:, 0]], dim=1)


# the first call loads hundreds of modules of PyTorch; a check would cut it short or forget them
torch.func.jvp(bend, (torch.ones(1, 2),), (torch.ones(1, 2),))


def stretch_cases():
    g = generator(0)
    return [
        (bend, torch.randn(6, 2, generator=g)),
        (turn, torch.randn(4, 2, generator=g)),
        (bend, torch.randn(5, 3, generator=g).double()),
    ]


def network(seed: int, **options) -> PointMLP:
    """A small network for points that predicts v, with weights of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return PointMLP(width=16, depth=1, features=2, time_dim=8, prediction="v", **options)


class Small(torch.nn.Module):
    """A stand-in for a network on pictures: v from x and t, with one weight that learns."""

    prediction = "v"

    def __init__(self, weight: float):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight))

    def forward(self, x, t):
        t = t.reshape(-1, *(1 for _ in x.shape[1:])) / 1000
        return self.weight * torch.sin(2 * x) * (1 - t / 2) - t * x


def with_gradient(function, model, *rest):
    """The loss and its gradient with respect to the weights of the model (0 where none arrives)."""
    loss, weights = function(model, *rest), list(model.parameters())
    if not isinstance(loss, torch.Tensor):
        return loss
    found = [None] * len(weights)
    if loss.requires_grad:
        found = torch.autograd.grad(loss.sum(), weights, allow_unused=True)
    parts = [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]
    return {"loss": loss.detach(), "gradient": torch.cat([part.flatten() for part in parts])}


def loss_cases():
    g, rows = generator(0), []
    levels = torch.tensor([1000, 700, 400, 120, 50]), torch.tensor([900, 300, 350, 60, 0])
    x0, noise = torch.randn(2, 5, 2, generator=g)
    rows.append((network(1), network(2), cosine(1000), x0.clamp(-1, 1), *levels, noise))
    x0, noise = torch.randn(2, 5, 1, 4, 3, generator=g)
    rows.append((Small(0.4), Small(0.7), cosine(1000), x0.clamp(-1, 1), *levels, noise))
    x0, noise = torch.randn(2, 3, 2, generator=g)
    t, r = torch.tensor([200, 90, 30]), torch.tensor([150, 10, 20])
    rows.append((Small(0.2), Small(0.9), linear(200), x0.clamp(-1, 1), t, r, noise))
    return rows


def pair_cases():
    g, rows = generator(0), []
    for t, r, schedule in ((1000, 800, cosine(1000)), (600, 500, cosine(1000)), (120, 40, linear(200))):
        x0, noise, fresh = torch.randn(3, 20_000, 2, generator=g)
        levels = torch.full((20_000,), t), torch.full((20_000,), r)
        rows.append((x0.clamp(-1, 1), *levels, noise, fresh, schedule))
    return rows


def alike(one, other) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def is_torn_apart(results):
    """10.5: None where both have their level's marginal and independent noises; else a sentence."""
    for pair, (x0, t, r, *_, schedule) in zip(results, pair_cases(), strict=True):
        if not (isinstance(pair, tuple) and len(pair) == 2 and all(x.shape == x0.shape for x in pair)):
            return "The result should still be two tensors shaped like x0."
        noises = []
        for x, level in zip(pair, (t[0], r[0]), strict=True):
            a = schedule.alpha_bar[level]
            rest = (x - a.sqrt() * x0) / (1 - a).sqrt()
            if not 0.97 < rest.std() < 1.03 or abs(alike(rest, x0)) > 0.05:
                right = f"The one for level {int(level)} no longer has the distribution of its level."
                return f"{right} Change the noises, nothing else."
            noises.append(rest)
        likeness = alike(*noises)
        if abs(likeness) > 0.1:
            return f"The two noises still have a correlation of {likeness:.2f}, so the pair belongs together."
    return None


def ends_of(x, t):
    """A stand-in for a student: the ends for x (B, ..) at one level t."""
    if not isinstance(t, int):
        raise TypeError("f wants one level, a whole number")
    return torch.tanh(x * (1.2 + t / 1000)) * (1 - t / 4000)


def few_cases():
    g, rows = generator(0), []
    for shape, levels, schedule in (
        ((5, 2), [1000, 750, 500, 250], cosine(1000)),
        ((3, 1, 6, 4), [1000, 400], cosine(1000)),
        ((4, 2), [1000], cosine(1000)),
        ((4, 2), [200, 120, 30], linear(200)),
    ):
        x, *fresh = torch.randn(len(levels), *shape, generator=g)
        rows.append((ends_of, x, levels, fresh, schedule))
    return rows


class Average(torch.nn.Module):
    """A stand-in for a MeanFlow network: u from x (B, 2), r and s (B,), with weights that learn."""

    def __init__(self, seed: int):
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        self.mix = torch.nn.Parameter(0.5 * torch.randn(2, 2, generator=g))
        self.push = torch.nn.Parameter(torch.randn(2, generator=g))

    def forward(self, x, r, s):
        r, s = r[:, None], s[:, None]
        return torch.sin(x @ self.mix + 2 * s) * (1 + r) + self.push * s**2 - 0.5 * r * x


def mean_flow_cases():
    g, rows = generator(0), []
    for n, seed in ((6, 1), (3, 2)):
        x0, noise = torch.randn(2, n, 2, generator=g)
        r, s = torch.rand(2, n, generator=g).sort(0).values
        r[0] = s[0]
        rows.append((Average(seed), x0.clamp(-1, 1), r, s, noise))
    return rows


def recall_cases():
    g = generator(0)
    cloud, other = torch.randn(40, 3, generator=g), torch.randn(25, 3, generator=g)
    half = torch.cat([cloud[:20] * 0.4, cloud[20:] + 2])
    line = torch.arange(8.0)[:, None]  # whole numbers: some real pictures lie just on the border of a ball
    rows = [(half, other), (other, half), (half, other, 1), (cloud, 0.2 * other, 5), (other, cloud[:12], 2)]
    return [*rows, (line, line[:4], 2)]


# The hunt -----------------------------------------------------------------------------------------


def setting():
    x0, noises = data.mnist(train=False)[0][:48], torch.randn(2, 48, 1, 28, 28, generator=generator(0))
    return load_model("mnist_unet").requires_grad_(), cosine(1000), x0, noises


def end_of_path(model, x, t, schedule):
    return schedule.from_output(model(x, t), x, t, "v")[1]


def teacher_step(model, x, t, r, schedule):
    """One DDIM step of the teacher, without gradient."""
    with torch.no_grad():
        eps, clean = schedule.from_output(model(x, t), x, t, "v")
        return schedule.q_sample(clean, r, eps)


def pipeline_10(model, schedule, x0, noises):
    f, draw = end_of_path, iter(noises).__next__
    # lines
    t = torch.full((len(x0),), 900)
    r = t - 300
    x_t = schedule.q_sample(x0, t, draw())
    x_r = teacher_step(model, x_t, t, r, schedule)
    target = f(model, x_r, r, schedule).detach()
    answer = f(model, x_t, t, schedule)
    loss = (answer - target).square().mean()
    # end
    shown = dict(x0=x0, x_t=x_t, x_r=x_r, target=target, answer=answer, loss=loss, noise=noises[0])
    result = {name: value.detach() for name, value in shown.items()}
    return dict(result, learns=target.requires_grad, levels=(int(t[0]), int(r[0])))


def noise_in(result, name, t):
    """How like the drawn noise is to what x has besides its picture at level t: their correlation."""
    a = cosine(1000).alpha_bar[t]
    return alike(result[name] - a.sqrt() * result["x0"], result["noise"])


def apart(result, name, other):
    """The root mean squared difference of two of the results, a pixel."""
    return (result[name] - result[other]).square().mean().sqrt()


MEASUREMENTS = [
    Measurement("the gradient in the target (1: there, 0: none)", lambda r: float(r["learns"]), 0.5, "g"),
    Measurement("the correlation of x_t with the drawn noise", lambda r: noise_in(r, "x_t", 900), 0.03),
    Measurement("the correlation of x_r with the drawn noise", lambda r: noise_in(r, "x_r", 600), 0.03),
    Measurement("the standard deviation of x_t", lambda r: r["x_t"].std(), 0.02),
    Measurement("the standard deviation of x_r", lambda r: r["x_r"].std(), 0.02),
    Measurement("the standard deviation of the target", lambda r: r["target"].std(), 0.02),
    Measurement("the standard deviation of the answer", lambda r: r["answer"].std(), 0.02),
    Measurement("the distance of target and answer (RMS)", lambda r: apart(r, "target", "answer"), 0.02),
    Measurement("the loss", lambda r: r["loss"], 0.005, ".3f"),
]


def draw_step(result):
    rows = {name: result[name][:14] for name in ("x_t", "x_r", "target", "answer")}
    alt = "Fourteen test digits in one training step: at level t, one stride further down, target and answer"
    title = f"Levels {result['levels'][0]} and {result['levels'][1]}, loss {float(result['loss']):.3f}"
    show.rows(rows, alt, title=title)
    for name in ("x_t", "x_r", "target", "answer"):
        print(f"{name:>6}: standard deviation {result[name].std():.3f}")


EXERCISES = [
    Prediction("10.1", "letter abcd"),
    Exercise(
        "10.2",
        stretch_cases,
        "it equals the length of the matrix of derivatives, for three maps.",
        strict_dtype=True,
    ),
    Prediction("10.3", "letter abcd"),
    Exercise(
        "10.4",
        loss_cases,
        "the loss for points and pictures, and a gradient that reaches the student by one answer only.",
        call=with_gradient,
        rtol=1e-3,
    ),
    Break(
        "10.5",
        pair_cases,
        "each of the two is right for its level, and they have nothing but the picture in common.",
        wanted=is_torn_apart,
        why="b",
    ),
    Exercise(
        "10.6",
        few_cases,
        "one, two, three and four evaluations, each at its own level and with its own noise.",
        strict_dtype=True,
    ),
    Exercise(
        "10.7",
        mean_flow_cases,
        "the loss and its gradient, for r = s too, where it is the loss of flow matching.",
        call=with_gradient,
        rtol=1e-3,
    ),
    Exercise("10.8", recall_cases, "six clouds, three values of k."),
    Prediction("10.9", "letter abc"),
    Hunt("10.10", pipeline_10, setting, MEASUREMENTS, draw_step),
]
