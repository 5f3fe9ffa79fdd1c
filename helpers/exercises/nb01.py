"""The tasks of notebook 01: one noising step, the closed form, two schedules, and the way back to x_0."""

import torch

from helpers import data, show
from helpers.schedule import at, cosine, linear

from .hidden import generator, pick
from .hunt import Hunt, Measurement
from .patches import Break, Exercise, solve
from .predict import Prediction


def draw(seed, *shape):
    return torch.randn(shape, generator=generator(seed))


def quote_error(got, want):
    """For the page of mistakes."""
    error = (got - want).square().mean().sqrt()
    return f"Root-mean-square error {error:.2f}, where the exact noise gives 0."


def q_step_cases():
    betas = linear(60).betas  # up to 1/3 a step, so that every mistake shows
    points, images = torch.arange(1, 61).repeat(3), torch.tensor([60, 1, 30])
    return [
        (draw(0, 180, 2), points, draw(1, 180, 2), betas),
        (0.5 * draw(2, 3, 1, 8, 6), images, draw(3, 3, 1, 8, 6), betas),
    ]


def q_sample_cases():
    return [
        (0.5 * draw(0, 201, 2), torch.arange(0, 1001, 5), draw(1, 201, 2), linear(1000)),
        (draw(2, 3, 1, 8, 6), torch.tensor([50, 0, 20]), draw(3, 3, 1, 8, 6), linear(50)),
    ]


def predict_x0_cases():
    made = []
    for x0, t, eps, schedule in (
        (draw(0, 200, 2), torch.arange(4, 801, 4), draw(1, 200, 2), linear(1000)),
        (draw(2, 3, 1, 8, 6), torch.tensor([40, 1, 20]), draw(3, 3, 1, 8, 6), linear(50)),
    ):
        made.append((schedule.q_sample(x0, t, eps), t, eps, schedule))
    return made


# 1.2


def walk_to_the_end(step, x, betas):
    """The variance of the pixels after all steps, and the pixels, of broken_step."""
    g = torch.Generator().manual_seed(0)
    for t in range(1, len(betas)):
        x = step(x, torch.full((len(x),), t), torch.randn(x.shape, generator=g), betas)
    return x.var(), x


def near_nothing(results):
    [(variance, _)] = results
    if 0.001 < variance < 0.05:
        return None
    return f"The chain ends at a variance of {variance:.3g}; it should end above 0.001 and below 0.05."


def near_all(numbers, truth, most):
    return all(abs(a - b) <= most for a, b in zip(numbers, truth, strict=True))


# 1.7: what a page of mistakes calls high, low and rising


def high(percent):
    return min(percent[:3]) > 85


def low(percent):
    return max(percent) <= 15


def rising(percent):
    return percent[0] < percent[-1]


# 1.10


def linear_betas(T):
    return linear(T).betas


def alpha_bar_of(betas):
    return solve("1.4")(betas)


def pipeline_01(images, g):
    states = {}
    for t in (50, 100, 200):
        g.manual_seed(3)  # the same noise at every level
        # lines
        x0 = images
        betas = linear_betas(200)
        alpha_bar = alpha_bar_of(betas)
        noise = torch.randn(x0.shape, generator=g)
        a = at(alpha_bar, torch.tensor([t]), x0)
        x_t = a.sqrt() * x0 + (1 - a).sqrt() * noise
        # end
        states[t] = x_t
    return dict(x0=x0, noise=noise, alpha_bar=alpha_bar, x_t=states)


def correlation(x, y):
    return torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1]


def draw_01(result):
    x = result["x_t"]
    one = torch.stack([result["x0"][3], *(x[t][3] for t in x)])
    show.rows(
        {"a digit": one}, "A digit, clean and at three levels.", labels=["t = 0", *(f"t = {t}" for t in x)]
    )
    print(f"t =   0: mean {result['x0'].mean():5.2f}, variance {result['x0'].var():.2f}")
    for t in x:
        print(f"t = {t:3d}: mean {x[t].mean():5.2f}, variance {x[t].var():.2f}")


MEASUREMENTS = [
    Measurement("the correlation of the noises of two pictures", lambda r: correlation(*r["noise"][:2]), 0.7),
    Measurement("the mean of x_t at t = 200", lambda r: r["x_t"][200].mean(), 0.3),
    Measurement("the smallest clean value", lambda r: r["x0"].min(), 0.5),
    Measurement("alpha-bar at the last level", lambda r: r["alpha_bar"][-1], 0.05),
    Measurement(
        "the correlation of x_t with x_0 at t = 200", lambda r: correlation(r["x_t"][200], r["x0"]), 0.1
    ),
    Measurement("the variance of x_t at t = 50", lambda r: r["x_t"][50].var(), 0.05),
]


EXERCISES = [
    Exercise(
        "1.1",
        q_step_cases,
        "one step for points and for pictures, to level 1, to level T, and with another t for each example.",
    ),
    Break(
        "1.2",
        lambda: [(data.digits()[0][:400], linear(1000).betas)],
        "the chain over the digits ends near nothing.",
        wanted=near_nothing,
        why="b",
        call=walk_to_the_end,
    ),
    Prediction("1.3", "2 numbers", near=0.03),
    Exercise(
        "1.4",
        lambda: [
            (linear(pick(1000, 900)).betas,),
            (linear(pick(40, 45)).betas,),
            (cosine(pick(7, 8)).betas,),
        ],
        "it is 1 at level 0 and the product of the alphas up to each level, for T = 1000, 40 and 7.",
    ),
    Exercise(
        "1.5",
        q_sample_cases,
        "it equals the closed form for points and pictures, from t = 0 to t = 1000, with a t for each "
        "example.",
    ),
    Exercise(
        "1.6",
        lambda: [(pick(1000, 900, 1100),), (pick(25, 28, 23), 0.1, 0.9)],
        "a 0, then T betas in (0, 1), cut at max_beta, with the squared cosine for alpha-bar; T = 1000 and "
        "25.",
        atol=1e-4,
    ),
    Prediction("1.7", "4 numbers", right=lambda percent, truth: near_all(percent, truth, 15)),
    Exercise(
        "1.8",
        lambda: [(pick(100, 120, 90),), (pick(1000, 900, 1100),), (pick(400, 350, 450), 2e-4, 0.01)],
        "a 0, then T betas on a straight line, scaled so that 100, 400 and 1000 steps leave the same signal.",
    ),
    Exercise(
        "1.9",
        predict_x0_cases,
        "given the exact noise it returns the clean data, for points and for pictures.",
    ),
    Hunt("1.10", pipeline_01, lambda: (data.digits()[0], torch.Generator()), MEASUREMENTS, draw_01),
]
