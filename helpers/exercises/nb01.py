"""The exercises of notebook 01: one noising step, the closed form, two schedules, and the way back to x_0."""

import math

import torch

from helpers.exercises.exercise import Exercise, Mistake
from helpers.schedule import at, cosine, linear


def draw(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def read_beta(betas, t):
    return betas[t]


def read_alpha_bar(schedule, t):
    return schedule.alpha_bar[t]


def vary(read, formula, shaped=True):
    """formula(x, noise, c) as an answer to 1.1, 1.3 or 1.6; c = read(constants, t), (B,) or (B, 1, ..)."""

    def answer_wrongly(x, t, noise, constants):
        c = read(constants, t)
        return formula(x, noise, c.reshape(c.shape + (1,) * (x.ndim - 1)) if shaped else c)

    return answer_wrongly


def make_step(x, noise, beta):
    return (1 - beta).sqrt() * x + beta.sqrt() * noise


def jump(x, noise, a):
    return a.sqrt() * x + (1 - a).sqrt() * noise


def undo(x, eps, a):
    return (x - (1 - a).sqrt() * eps) / a.sqrt()


def quote_variance(text):
    return lambda got, want: f"x_t has variance {got.var():.2f} where {want.var():.2f} was expected: {text}"


def quote_first(text):
    return lambda got, want: f"At t = 1 it is {got[1]:.4g} where {want[1]:.4g} was expected: {text}"


def quote_last(text):
    return lambda got, want: f"It ends at {got[-1]:.3g} where {want[-1]:.3g} was expected: {text}"


def quote_error(text):
    def word(got, want):
        error = (got - want).square().mean().sqrt()
        return f"{text} Root-mean-square error {error:.2f}, where the exact noise gives 0."

    return word


# 1.1 q_step -----------------------------------------------------------------------------------------


def q_step(x_prev, t, noise, betas):
    return make_step(x_prev, noise, at(betas, t, x_prev))


def q_step_cases():
    betas = linear(60).betas  # up to 1/3 a step, so that every mistake shows
    points, images = torch.arange(1, 61).repeat(3), torch.tensor([60, 1, 30])
    return [
        (draw(0, 180, 2), points, draw(1, 180, 2), betas),
        (0.5 * draw(2, 3, 1, 8, 6), images, draw(3, 3, 1, 8, 6), betas),
    ]


Q_STEP = Exercise(
    "1.1",
    "q_step",
    q_step,
    q_step_cases,
    "one step for points and for pictures, to level 1, to level T, and with another t for each example.",
    mistakes=[
        Mistake(
            "beta for sqrt(beta)",
            quote_variance("the noise is scaled by beta; beta is a variance, so the scale is its root."),
            vary(read_beta, lambda x, noise, b: (1 - b).sqrt() * x + b * noise),
        ),
        Mistake(
            "missing sqrt on 1 - beta",
            quote_variance("x_prev is scaled by (1 - beta) without the root, so it shrinks too fast."),
            vary(read_beta, lambda x, noise, b: (1 - b) * x + b.sqrt() * noise),
        ),
        Mistake(
            "both roots missing",
            quote_variance("both roots are missing; the *squares* of the factors must sum to 1."),
            vary(read_beta, lambda x, noise, b: (1 - b) * x + b * noise),
        ),
        Mistake(
            "picture not shrunk",
            quote_variance("x_prev is not scaled down first, so the variance grows with every step."),
            vary(read_beta, lambda x, noise, b: x + b.sqrt() * noise),
        ),
        Mistake(
            "weights swapped",
            "The two factors are exchanged: a small beta keeps nearly all of x_prev and adds little noise.",
            vary(read_beta, jump),
        ),
        Mistake(
            "off by one in t",
            "It uses the beta of level t - 1: betas[t] belongs to the step that arrives at level t.",
            vary(lambda betas, t: betas[t - 1], make_step),
        ),
        Mistake(
            "alpha-bar for alpha",
            "It makes all the steps 1 .. t at once: one step uses beta_t alone, not the product of alphas.",
            vary(lambda betas, t: alpha_bar_of(betas)[t], jump),
        ),
        Mistake(
            "off by one, past the end",
            "It reads betas[t + 1]: betas[t] belongs to the step that arrives at level t.",
            vary(lambda betas, t: betas[t + 1], make_step),
            raises=True,
        ),
        Mistake(
            "beta not reshaped",
            "betas[t] has shape (B,), which does not line up with x_prev: use `at(betas, t, x_prev)`.",
            vary(read_beta, make_step, shaped=False),
            raises=True,
        ),
    ],
)


# 1.2 alpha_bar_of -----------------------------------------------------------------------------------


def alpha_bar_of(betas):
    return torch.cumprod(1 - betas, dim=0)


ALPHA_BAR_OF = Exercise(
    "1.2",
    "alpha_bar_of",
    alpha_bar_of,
    lambda: [(linear(1000).betas,), (linear(40).betas,), (cosine(7).betas,)],
    "it is 1 at level 0 and the product of the alphas up to each level, for T = 1000, 40 and 7.",
    mistakes=[
        Mistake(
            "alpha for alpha-bar",
            quote_last("this is alpha_t, what one step keeps. Multiply all of them up to t."),
            lambda betas: 1 - betas,
        ),
        Mistake(
            "product of betas",
            "The betas are multiplied, and betas[0] = 0 makes that 0: multiply the alphas, 1 - beta.",
            lambda betas: torch.cumprod(betas, 0),
        ),
        Mistake(
            "1 - product of betas",
            quote_last("1 - (beta_1 beta_2 ...) is not (1 - beta_1)(1 - beta_2) ...: subtract first."),
            lambda betas: 1 - torch.cumprod(betas, 0),
        ),
        Mistake(
            "sum for product",
            quote_last("1 minus the sum of the betas holds only while little has been lost."),
            lambda betas: 1 - torch.cumsum(betas, 0),
        ),
        Mistake(
            "sum of alphas",
            quote_last("the alphas are added. Each keeps a share of what was left, so they multiply."),
            lambda betas: torch.cumsum(1 - betas, 0),
        ),
        Mistake(
            "level 0 left out",
            "It has T entries. Level 0 has one too: betas[0] = 0 stays in and makes alpha_bar[0] = 1.",
            lambda betas: alpha_bar_of(betas)[1:],
        ),
        Mistake(
            "a second 1 in front",
            quote_first("a 1 was put in front, but betas[0] = 0 already makes alpha_bar[0] = 1."),
            lambda betas: torch.cat([torch.ones(1), alpha_bar_of(betas)[:-1]]),
        ),
        Mistake(
            "root taken twice",
            quote_last("this is its square root, the factor of the picture. Return alpha-bar itself."),
            lambda betas: alpha_bar_of(betas).sqrt(),
        ),
        Mistake(
            "exponential of the sum",
            quote_last("exp(-sum of betas) is the limit of infinitely many tiny steps."),
            lambda betas: torch.exp(-torch.cumsum(betas, 0)),
        ),
        Mistake(
            "product from the wrong end",
            "The product runs backwards from level T: multiply the alphas from 1 up to t.",
            lambda betas: alpha_bar_of(betas.flip(0)).flip(0),
        ),
    ],
)


# 1.3 q_sample ---------------------------------------------------------------------------------------


def q_sample(x0, t, noise, schedule):
    return jump(x0, noise, at(schedule.alpha_bar, t, x0))


def add_noise_of_one_step(x0, t, noise, schedule):
    return at(schedule.alpha_bar, t, x0).sqrt() * x0 + at(schedule.betas, t, x0).sqrt() * noise


def q_sample_cases():
    return [
        (0.5 * draw(0, 201, 2), torch.arange(0, 1001, 5), draw(1, 201, 2), linear(1000)),
        (draw(2, 3, 1, 8, 6), torch.tensor([50, 0, 20]), draw(3, 3, 1, 8, 6), linear(50)),
    ]


Q_SAMPLE = Exercise(
    "1.3",
    "q_sample",
    q_sample,
    q_sample_cases,
    "it equals the closed form for points and pictures, from t = 0 to t = 1000, with a t for each example.",
    mistakes=[
        Mistake(
            "variance for standard deviation",
            quote_variance("the noise is scaled by (1 - alpha_bar); its factor is the square root."),
            vary(read_alpha_bar, lambda x, noise, a: a.sqrt() * x + (1 - a) * noise),
        ),
        Mistake(
            "missing sqrt on alpha-bar",
            quote_variance("the picture is scaled by alpha_bar itself; its factor is the square root."),
            vary(read_alpha_bar, lambda x, noise, a: a * x + (1 - a).sqrt() * noise),
        ),
        Mistake(
            "both roots missing",
            quote_variance("both roots are missing. That is a cross-fade; the *squares* must sum to 1."),
            vary(read_alpha_bar, lambda x, noise, a: a * x + (1 - a) * noise),
        ),
        Mistake(
            "weights swapped",
            "The two factors are exchanged: at t = 0 all of x_0 must be left, and at t = T almost nothing.",
            vary(read_alpha_bar, make_step),
        ),
        Mistake(
            "alpha for alpha-bar",
            quote_variance("alpha_t is what one step keeps. Use the product, schedule.alpha_bar."),
            vary(lambda schedule, t: schedule.alphas[t], jump),
        ),
        Mistake(
            "noise of one step only",
            quote_variance("the noise has the scale sqrt(beta_t), but the steps before added some too."),
            add_noise_of_one_step,
        ),
        Mistake(
            "off by one in t",
            "It uses alpha-bar of level t - 1: schedule.alpha_bar[t] is the one of level t.",
            vary(lambda schedule, t: schedule.alpha_bar[t - 1], jump),
        ),
        Mistake(
            "one t for the whole batch",
            "Every example gets the noise level of the first one: use the whole tensor t, not t[0].",
            lambda x0, t, noise, schedule: q_sample(x0, t[:1], noise, schedule),
        ),
        Mistake(
            "alpha-bar not reshaped",
            "schedule.alpha_bar[t] has shape (B,), which does not line up with x0: use `at`, as in 1.1.",
            vary(read_alpha_bar, jump, shaped=False),
            raises=True,
        ),
    ],
)


# 1.4 cosine_betas -----------------------------------------------------------------------------------


def put_zero_first(betas):
    return torch.cat([torch.zeros(1), betas])


def square_cosine(u, s):
    return torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2


def cosine_with(curve, upside_down=False):
    """cosine_betas with curve(u, s) for the squared cosine."""

    def cosine_betas(T, s=0.008, max_beta=0.999):
        f = curve(torch.arange(T + 1, dtype=torch.float64) / T, s)
        ratio = f[:-1] / f[1:] if upside_down else f[1:] / f[:-1]
        return put_zero_first((1 - ratio).clamp(max=max_beta))

    return cosine_betas


cosine_betas = cosine_with(square_cosine)

COSINE_BETAS = Exercise(
    "1.4",
    "cosine_betas",
    cosine_betas,
    lambda: [(1000,), (25, 0.1, 0.9)],
    "a 0, then T betas in (0, 1), cut at max_beta, with the squared cosine for alpha-bar; T = 1000 and 25.",
    mistakes=[
        Mistake(
            "cosine not squared",
            quote_first("that is about half, because alpha-bar is the *squared* cosine."),
            cosine_with(lambda u, s: torch.cos((u + s) / (1 + s) * math.pi / 2)),
        ),
        Mistake(
            "not cut at max_beta",
            quote_last("without the cut alpha-bar ends at 0, and nothing can be divided by it."),
            lambda T, s=0.008, max_beta=0.999: cosine_betas(T, s, 1),
        ),
        Mistake(
            "no entry for level 0",
            "It has T entries, one a step, but there are T + 1 levels: put betas[0] = 0 in front.",
            lambda T, s=0.008, max_beta=0.999: cosine_betas(T, s, max_beta)[1:],
        ),
        Mistake(
            "one level short",
            "The last level is missing: t / T needs T + 1 values from 0 to 1, both included.",
            lambda T, s=0.008, max_beta=0.999: cosine_betas(T, s, max_beta)[:-1],
        ),
        Mistake(
            "s left out",
            quote_first("the offset s is missing, and with it the first steps add next to nothing."),
            cosine_with(lambda u, s: torch.cos(u * math.pi / 2) ** 2),
        ),
        Mistake(
            "s only above the line",
            "Divide u + s by 1 + s. Else it runs past 1, alpha-bar rises again and betas turn negative.",
            cosine_with(lambda u, s: torch.cos((u + s) * math.pi / 2) ** 2),
        ),
        Mistake(
            "pi for pi / 2",
            "The angle goes from 0 to pi / 2. With pi the squared cosine rises again and betas are negative.",
            cosine_with(lambda u, s: torch.cos((u + s) / (1 + s) * math.pi) ** 2),
        ),
        Mistake(
            "ratio upside down",
            "The betas are negative: beta_t is 1 minus new alpha-bar over old, and yours is old over new.",
            cosine_with(square_cosine, upside_down=True),
        ),
        Mistake(
            "alpha-bar for beta",
            quote_first("this is alpha-bar. The betas follow from the ratio of neighbouring values."),
            lambda T, s=0.008, max_beta=0.999: alpha_bar_of(cosine_betas(T, s, 1)),
        ),
    ],
    atol=1e-4,
)


# 1.5 linear_betas -----------------------------------------------------------------------------------


def linear_betas(T, beta_start=1e-4, beta_end=0.02):
    return put_zero_first(torch.linspace(beta_start, beta_end, T) * (1000 / T))


def line_with(draw_line):
    """linear_betas with draw_line(T, start, end) for the rescaled line of betas 1 .. T."""
    return lambda T, beta_start=1e-4, beta_end=0.02: put_zero_first(draw_line(T, beta_start, beta_end))


LINEAR_BETAS = Exercise(
    "1.5",
    "linear_betas",
    linear_betas,
    lambda: [(100,), (1000,), (400, 2e-4, 0.01)],
    "a 0, then T betas on a straight line, scaled so that T = 100, 400 and 1000 destroy equally much.",
    mistakes=[
        Mistake(
            "not rescaled",
            quote_last("these betas are made for 1,000 steps. Their sum should not depend on T."),
            line_with(lambda T, start, end: torch.linspace(start, end, T)),
        ),
        Mistake(
            "no entry for level 0",
            "It has T entries, one a step, but there are T + 1 levels: put betas[0] = 0 in front.",
            lambda T, beta_start=1e-4, beta_end=0.02: linear_betas(T, beta_start, beta_end)[1:],
        ),
        Mistake(
            "scaled the wrong way",
            quote_last("the factor is T / 1000. Fewer steps must each add *more* noise."),
            line_with(lambda T, start, end: torch.linspace(start, end, T) * (T / 1000)),
        ),
        Mistake(
            "only the end rescaled",
            quote_first("the last beta is scaled, the first is not."),
            line_with(lambda T, start, end: torch.linspace(start, end * 1000 / T, T)),
        ),
        Mistake(
            "root of the factor",
            quote_last("the factor is sqrt(1000 / T). Beta is a variance: take 1000 / T itself."),
            line_with(lambda T, start, end: torch.linspace(start, end, T) * (1000 / T) ** 0.5),
        ),
        Mistake(
            "last value left out",
            quote_last("the line stops one step short of the given end."),
            line_with(lambda T, start, end: torch.linspace(start, end, T + 1)[:-1] * (1000 / T)),
        ),
        Mistake(
            "line begins at level 0",
            quote_first("beta_start belongs to level 1; in front of the line stands betas[0] = 0."),
            line_with(lambda T, start, end: torch.linspace(start, end, T + 1)[1:] * (1000 / T)),
        ),
        Mistake(
            "start and end exchanged",
            quote_first("the betas fall. The first steps, where detail is lost, must be the small ones."),
            line_with(lambda T, start, end: torch.linspace(end, start, T) * (1000 / T)),
        ),
        Mistake(
            "straight line in sqrt(beta)",
            "This is the line of the roots, squared. Here beta itself lies on the line.",
            line_with(lambda T, start, end: torch.linspace(start**0.5, end**0.5, T) ** 2 * (1000 / T)),
        ),
        Mistake(
            "alpha for beta",
            quote_first("these are the alphas, 1 - beta."),
            lambda T, beta_start=1e-4, beta_end=0.02: 1 - linear_betas(T, beta_start, beta_end),
        ),
    ],
)


# 1.6 predict_x0 -------------------------------------------------------------------------------------


def predict_x0(x_t, t, eps, schedule):
    return undo(x_t, eps, at(schedule.alpha_bar, t, x_t))


def undo_one_step(x_t, t, eps, schedule):
    a, beta = at(schedule.alpha_bar, t, x_t), at(schedule.betas, t, x_t)
    return (x_t - beta / (1 - a).sqrt() * eps) / (1 - beta).sqrt()


def predict_x0_cases():
    made = []
    for x0, t, eps, schedule in (
        (draw(0, 200, 2), torch.arange(4, 801, 4), draw(1, 200, 2), linear(1000)),
        (draw(2, 3, 1, 8, 6), torch.tensor([40, 1, 20]), draw(3, 3, 1, 8, 6), linear(50)),
    ):
        made.append((schedule.q_sample(x0, t, eps), t, eps, schedule))
    return made


PREDICT_X0 = Exercise(
    "1.6",
    "predict_x0",
    predict_x0,
    predict_x0_cases,
    "given the exact noise it returns the clean data, for points and for pictures.",
    mistakes=[
        Mistake(
            "clean = noisy - noise",
            quote_error("It returns x_t - eps, but in x_t both stand with factors."),
            vary(read_alpha_bar, lambda x, eps, a: x - eps),
        ),
        Mistake(
            "not divided by sqrt(alpha-bar)",
            quote_error("The noise is taken away; what is left is sqrt(alpha_bar) x_0, still faded."),
            vary(read_alpha_bar, lambda x, eps, a: x - (1 - a).sqrt() * eps),
        ),
        Mistake(
            "divided by alpha-bar",
            quote_error("It divides by alpha_bar; the factor of x_0 in x_t is the square root."),
            vary(read_alpha_bar, lambda x, eps, a: (x - (1 - a).sqrt() * eps) / a),
        ),
        Mistake(
            "missing sqrt on 1 - alpha-bar",
            quote_error("The noise is scaled by (1 - alpha_bar); in x_t it stands with the root."),
            vary(read_alpha_bar, lambda x, eps, a: (x - (1 - a) * eps) / a.sqrt()),
        ),
        Mistake(
            "noise added",
            quote_error("The noise is added once more. To get back it must be taken away."),
            vary(read_alpha_bar, lambda x, eps, a: (x + (1 - a).sqrt() * eps) / a.sqrt()),
        ),
        Mistake(
            "weights swapped",
            quote_error("The factors are exchanged: sqrt(1 - alpha_bar) belongs to the noise."),
            vary(read_alpha_bar, lambda x, eps, a: (x - a.sqrt() * eps) / (1 - a).sqrt()),
        ),
        Mistake(
            "alpha for alpha-bar",
            quote_error("It undoes the noise of one step; eps stands for all. Use alpha_bar, not alphas."),
            vary(lambda schedule, t: schedule.alphas[t], undo),
        ),
        Mistake(
            "off by one in t",
            quote_error("It uses alpha-bar of level t - 1: schedule.alpha_bar[t] is that of level t."),
            vary(lambda schedule, t: schedule.alpha_bar[t - 1], undo),
        ),
        Mistake(
            "one step back",
            quote_error("This is the mean of x_{t-1}, one step back (see notebook 02), not x_0."),
            undo_one_step,
        ),
        Mistake(
            "alpha-bar not reshaped",
            "schedule.alpha_bar[t] has shape (B,), which does not line up with x_t: use `at`, as in 1.1.",
            vary(read_alpha_bar, undo, shaped=False),
            raises=True,
        ),
    ],
)


EXERCISES = [Q_STEP, ALPHA_BAR_OF, Q_SAMPLE, COSINE_BETAS, LINEAR_BETAS, PREDICT_X0]
