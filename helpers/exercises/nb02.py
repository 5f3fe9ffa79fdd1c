"""The tasks of notebook 02: exact denoiser, loss, score, embedding, posterior variance, step, and a hunt."""

from functools import cache, partial

import torch

from .. import checkpoints, data, metrics, show
from ..models import PointMLP
from ..modes import choose, out_dir
from ..schedule import at, cosine, linear
from ..training import Run, train
from . import patches
from .hidden import generator, pick
from .hunt import Hunt, Measurement
from .predict import Prediction

Exercise = partial(patches.Exercise, strict_dtype=True)  # answers go into networks, which take float32
SHAPES = (6, 2), (6, 1, 5, 4)  # of points and of pictures


def draw(seed, cases):
    """The cases with normal numbers for every shape, the same ones every time, and tensors for lists."""
    g = generator(seed)
    kinds = {tuple: lambda shape: torch.randn(shape, generator=g), list: torch.tensor}
    return [tuple(kinds.get(type(part), lambda same: same)(part) for part in case) for case in cases]


def ask_toy(x, t):
    """A network of sorts: its answer depends on x, on t and on a weight, so that the loss has a gradient."""
    weight = torch.zeros((), requires_grad=True)
    return 0.6 * x + 0.3 * at(torch.sin(torch.arange(1001) / 100), t, x) + weight


def variance_cases():
    near = [(t, t - 1, linear(200)) for t in (2, pick(90, 80, 110), 200)] + [(40, 39, cosine(60))]
    far = (500, 480, cosine(1000)), (150, 60, linear(200)), (60, 20, cosine(60))
    return [*near, *far, (1, 0, linear(200)), (20, 0, cosine(60))]


def step_cases():
    cosines = (600, 400, 1.0), (500, 400, 0.5), (20, 0, 1.0), (900, 300, None)
    ways = [(t, to, cosine(1000), eta) for t, to, eta in cosines] + [(120, 60, linear(200), 0.0)]
    rows = [(x, x, t, to, x, by, eta) for x in ((300, 2), (3, 1, 8, 6)) for t, to, by, eta in ways]
    return [row if row[-1] is not None else row[:-1] for row in draw(7, rows)]


def short_cases():
    return draw(8, [((300, 2), (300, 2), t, to, (300, 2), cosine(1000)) for t, to in ((500, 480), (90, 30))])


def moves_one_level(results):
    """Of 2.9: None where each result is the step to t - 1, else a sentence."""
    step = patches.solve("2.8")
    want = [step(x0, eps, t, t - 1, noise, by, eta=1.0) for x0, eps, t, _, noise, by in short_cases()]
    if not all(torch.allclose(r, w, atol=1e-5) for r, w in zip(results, want, strict=True)):
        return (
            "Asked to go from level 500 to 480, it should arrive at level 499, as the step itself would. "
            "Here something else comes out. Only the level that it goes to is to be another."
        )


def falls(sketch, _):
    return min(sketch[:4]) > 0.5 and sketch[-1] < 0.2 and sketch[3] >= sketch[4] >= sketch[5]


def flat(sketch):
    return max(sketch) - min(sketch) < 0.2


def rises(sketch):
    return sketch[-1] > sketch[0] + 0.2


def tiny(sketch):
    return max(sketch) < 0.1


def early(sketch):
    return sketch[0] > 0.5 >= min(sketch[1:4])


# The hunt -----------------------------------------------------------------------------------------


@cache
def board_net(T):
    """The notebook's network for the board, from its file; trained here where that was not yet."""
    try:
        net = checkpoints.load_model(out_dir() / "points_board.safetensors", PointMLP)
        if net.recipe["T"] == T:
            return net
    except (OSError, ValueError):
        pass
    torch.manual_seed(0)
    run = Run(PointMLP(), lr=3e-3, seed=0)
    for _ in train(run, cosine(T), data.checkerboard(10_000, seed=0)[0], choose(read=4000, smoke=30), 512):
        pass
    return run.ema.model


def setting():
    T = choose(read=1000, smoke=40)
    return board_net(T), cosine(T), torch.Generator().manual_seed(1)


def predict_x0(x, t, eps, schedule):
    return schedule.predict_x0(x, t, eps)


def pipeline_02(model, schedule, g):
    T, noise, parts = schedule.T, 0, []
    ddim_step = patches.solve("2.8")

    @torch.no_grad()
    def net(x, t):
        return model(x, torch.full((len(x),), t))

    # lines
    x = torch.randn(2000, 2, generator=g)
    levels = range(T, 0, -20)
    # end
    for t, t_next in zip(levels, [*levels[1:], 0], strict=True):
        before = x
        # lines
        eps = net(x, t)
        x0 = predict_x0(x, t, eps, schedule)
        x0 = x0.clamp(-1, 1)
        eps = schedule.predict_eps(x, t, x0)
        x = ddim_step(x0, eps, t, t_next, noise, schedule)
        # end
        gap = (schedule.q_sample(x0, t, eps) - before).abs().max()
        parts.append((t_next, x.std(), x0.abs().max(), gap))
    middle = min(parts, key=lambda part: abs(part[0] - T // 2))
    return dict(x=x, gap=max(p[3] for p in parts), largest=max(p[2] for p in parts), middle=middle[1])


def outside(result):
    return 100 * (result["x"].abs() > 1.01).any(1).float().mean()


def draw_points(result):
    fig, ax = show.plt.subplots(figsize=(3, 3.2))
    show.scatter(ax, result["x"], f"{metrics.share_inside(result['x']):.1%} inside", size=2)
    show.figure(fig, "Where the 2,000 points of the walk end, on the area of the checkerboard.")
    for m in MEASUREMENTS:
        print(f"{m.name}: {m.say(float(m.of(result)))}")


MEASUREMENTS = [
    Measurement("the largest difference between x_t and what x0 and eps make up", lambda r: r["gap"], 0.05),
    Measurement("the largest estimate of x_0", lambda r: r["largest"], 0.2, ".1f"),
    Measurement("the share of samples with positive x", lambda r: (r["x"][:, 0] > 0).float().mean(), 0.12),
    Measurement("the standard deviation half-way, at t = 500", lambda r: r["middle"], 0.06),
    Measurement("the percentage of samples outside the board", outside, 8, ".0f"),
    Measurement("the share inside the squares", lambda r: metrics.share_inside(r["x"]), 0.06),
]

EXERCISES = [
    Exercise(
        "2.1",
        lambda: draw(
            0,
            [(x, [1, 100, 400, 700, 1000], (7, 2), linear(1000)) for x in ((5, 2), torch.eye(5, 2).double())],
        ),
        "it equals Bayes' rule, from t = 1 to t = 1000.",
    ),
    Prediction("2.2", "letter abcd"),
    Exercise(
        "2.3",
        lambda: draw(2, [(ask_toy, x, [1, 4, 250, 500, 900, 1000], x, linear(1000)) for x in SHAPES]),
        "it equals the simple loss for points and for pictures, each example at its own level.",
    ),
    Exercise(
        "2.4",
        lambda: draw(4, [(x, [1, 2, 10, 300, 600, 950], linear(1000)) for x in SHAPES]),
        "it is the gradient of the log density, for points and for pictures, each at its own level.",
        rtol=1e-3,  # at t = 1, 1 - alpha_bar has four digits in float32, and more in float64
    ),
    Exercise(
        "2.5",
        lambda: draw(
            0, [([0, 1, 10, pick(500, 450), 1000], 16, 10_000.0), ([3, pick(70, 60), 200], 6, 1000.0)]
        ),
        "the frequencies fall geometrically, sines come first, and t = 0 gives zeros and ones.",
        rtol=1e-3,
        atol=1e-3,  # at t = 1000 a frequency off in its seventh digit turns the angle by 1e-4
    ),
    Prediction("2.6", "6 numbers", right=falls),
    Exercise(
        "2.7",
        variance_cases,
        "it is the posterior's variance, for neighbours and for strides, and 0 at the clean end.",
        rtol=3e-3,  # in float32, 1 - alpha_bar_t / alpha_bar_s has three digits where the two are neighbours
    ),
    Exercise(
        "2.8",
        step_cases,
        "for every eta it arrives with the signal and the noise of level t_next, and at 0 with x_0 itself.",
        atol=1e-4,
    ),
    patches.Break(
        "2.9",
        short_cases,
        "the step arrives at t - 1, whatever t_next says.",
        wanted=moves_one_level,
        why="b",
        strict_dtype=True,
    ),
    Hunt("2.10", pipeline_02, setting, MEASUREMENTS, draw_points),
]
