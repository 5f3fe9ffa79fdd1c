"""The exercises of notebook 02: exact denoiser, loss, score, embedding, ancestral and DDIM step."""

import torch

from helpers.exercises.exercise import Exercise, Mistake
from helpers.schedule import Schedule, at, cosine, linear


def make_draw(seed):
    """A function that draws normal numbers of a shape, the same ones every time."""
    g = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=g)


def quote(text, what="The typical size"):
    """A message with two numbers: the root mean square of what came out and of what was expected."""

    def measure(x):
        x = torch.as_tensor(x)
        return float(x if x.ndim == 0 else x.square().mean().sqrt())

    def write(got, want):
        return f"{what} is {measure(got):.3f} where {measure(want):.3f} was expected: {text}"

    return write


# 2.1 exact_denoiser -----------------------------------------------------------------------------------


def exact_denoiser(x_t, t, points, schedule):
    """E[x_0 | x_t] where the data are exactly `points`. x_t (B, 2), t (B,), points (N, 2); returns (B, 2)."""
    a = at(schedule.alpha_bar, t, x_t)
    away = x_t[:, None] - a[:, None].sqrt() * points
    w = torch.softmax(-away.square().sum(2) / (2 * (1 - a)), dim=1)
    return w @ points.to(x_t.dtype)


def vary_denoiser(
    shrink=torch.sqrt, scale=lambda a: 2 * (1 - a), power=2, axis=1, sign=-1, average=lambda w, a, x: w @ x
):
    """The exact denoiser with one part changed."""

    def variant(x_t, t, points, schedule):
        a, points = at(schedule.alpha_bar, t, x_t), points.to(x_t.dtype)
        away = (x_t[:, None] - shrink(a)[:, None] * points).square().sum(2) ** (power / 2)
        return average(torch.softmax(sign * away / scale(a), dim=axis), a, points)

    return variant


def make_denoiser_cases():
    draw, other = make_draw(0), make_draw(1)
    return [
        (draw(5, 2), torch.tensor([1, 100, 400, 700, 1000]), draw(7, 2), linear(1000)),
        (other(3, 2), torch.tensor([5, 30, 80]), other(11, 2), cosine(80)),
    ]


EXACT = Exercise(
    "2.1",
    "exact_denoiser",
    exact_denoiser,
    make_denoiser_cases,
    verified="it equals Bayes' rule, from t = 1 (the nearest point) to t = 1000 (nearly their mean).",
    mistakes=[
        Mistake(
            "softmax over the wrong axis",
            "The weights of one x_t over all points must sum to 1; here they sum to 1 over the batch, so "
            "each answer depends on the other rows. Which dimension counts the points?",
            vary_denoiser(axis=0),
        ),
        Mistake(
            "missing scale",
            "The squared distances go into the softmax undivided, so every level gets the same weights. "
            "How wide is the Gaussian around each point at level t?",
            vary_denoiser(scale=torch.ones_like),
        ),
        Mistake(
            "points not shrunk",
            "x_t is compared with the points themselves; the Gaussians sit at sqrt(alpha_bar) times them.",
            vary_denoiser(shrink=torch.ones_like),
        ),
        Mistake(
            "alpha_bar for its root",
            "The points are scaled by alpha_bar; the mean of q(x_t | x_0) is sqrt(alpha_bar) x_0.",
            vary_denoiser(shrink=lambda a: a),
        ),
        Mistake(
            "factor 2 missing",
            "A Gaussian's exponent is -distance^2 / (2 variance): without the 2 the weights are too sharp.",
            vary_denoiser(scale=lambda a: 1 - a),
        ),
        Mistake(
            "standard deviation for variance",
            "The distances are divided by 2 sqrt(1 - alpha_bar); a Gaussian's exponent has the variance.",
            vary_denoiser(scale=lambda a: 2 * (1 - a).sqrt()),
        ),
        Mistake(
            "distance not squared",
            "The exponent has the distance where a Gaussian has the distance squared.",
            vary_denoiser(power=1),
        ),
        Mistake(
            "sign of the exponent",
            quote("the weights favour the points far away. A Gaussian falls with the distance."),
            vary_denoiser(sign=1),
        ),
        Mistake(
            "average of the shrunk points",
            "The weights are right, but what they average is sqrt(alpha_bar) x_i, not x_i itself.",
            vary_denoiser(average=lambda w, a, x: (w * a.sqrt()) @ x),
        ),
        Mistake(
            "nearest point",
            "This is the most probable point. The expectation averages all points by their weights.",
            vary_denoiser(average=lambda w, a, x: x[w.argmax(1)]),
        ),
    ],
)


# 2.2 simple_loss --------------------------------------------------------------------------------------


def simple_loss(model, x0, t, noise, schedule):
    """The mean squared error of the predicted noise over a batch, one number."""
    x_t = schedule.q_sample(x0, t, noise)
    return (model(x_t, t) - noise).square().mean()


def ask_toy(x, t):
    """A network of sorts: its answer depends on x and on t."""
    return 0.6 * x + 0.3 * at(torch.sin(torch.arange(1001) / 100), t, x)


def make_loss_cases():
    draw, other = make_draw(2), make_draw(3)
    return [
        (ask_toy, draw(6, 2), torch.tensor([1, 4, 250, 500, 900, 1000]), draw(6, 2), linear(1000)),
        (ask_toy, other(3, 1, 5, 4), torch.tensor([1, 40, 60]), other(3, 1, 5, 4), cosine(60)),
    ]


def give_x0(schedule, x0, t, noise):
    return x0


def give_noise(schedule, x0, t, noise):
    return noise


def quote_loss(text):
    return quote(text, "The loss")


def vary_loss(
    shown=Schedule.q_sample, target=give_noise, level=torch.clone, reduce=lambda d: d.square().mean()
):
    """The loss with one part changed; shown, target: functions of (schedule, x0, t, noise)."""

    def variant(model, x0, t, noise, schedule):
        return reduce(model(shown(schedule, x0, t, noise), level(t)) - target(schedule, x0, t, noise))

    return variant


LOSS = Exercise(
    "2.2",
    "simple_loss",
    simple_loss,
    make_loss_cases,
    verified="it equals the simple loss for points and for pictures, each example at its own level.",
    mistakes=[
        Mistake(
            "clean data for the target",
            quote_loss("that is the distance from x_0. The network is asked for the noise."),
            vary_loss(target=give_x0),
        ),
        Mistake(
            "difference for the target",
            quote_loss("that comes out with x_t - x_0 as the target. The target is eps before it is scaled."),
            vary_loss(target=lambda schedule, x0, t, noise: schedule.q_sample(x0, t, noise) - x0),
        ),
        Mistake(
            "network sees clean data",
            quote_loss("the network was given x_0. It must find the noise in x_t."),
            vary_loss(shown=give_x0),
        ),
        Mistake(
            "noise added unscaled",
            quote_loss("the network was given x_0 + eps. How much of each is in x_t? Use q_sample."),
            vary_loss(shown=lambda schedule, x0, t, noise: x0 + noise),
        ),
        Mistake(
            "one Markov step",
            quote_loss("x_t was made with one step from x_0 (q_step). Jump to level t with q_sample."),
            vary_loss(shown=Schedule.q_step),
        ),
        Mistake(
            "level not passed on",
            quote_loss("the network was told level 0 for every example. Give it t."),
            vary_loss(level=torch.zeros_like),
        ),
        Mistake(
            "sum for mean",
            quote_loss("the squares are summed, so the loss grows with the batch. Take their mean."),
            vary_loss(reduce=lambda d: d.square().sum()),
        ),
        Mistake(
            "absolute for squared",
            quote_loss("that is the mean absolute difference. The mean is the best guess for squares only."),
            vary_loss(reduce=lambda d: d.abs().mean()),
        ),
        Mistake(
            "not squared",
            quote_loss("the differences are averaged unsquared, so that positive and negative ones cancel."),
            vary_loss(reduce=torch.mean),
        ),
    ],
)


# 2.3 read_eps -----------------------------------------------------------------------------------------


def read_eps(eps, x_t, t, schedule):
    """The estimate of x_0 and the score that a predicted noise stands for, both shaped like x_t."""
    a = at(schedule.alpha_bar, t, x_t)
    x0 = (x_t - (1 - a).sqrt() * eps) / a.sqrt()
    score = -eps / (1 - a).sqrt()
    return x0, score


def vary_reading(x0=None, score=None):
    """read_eps with another formula for the estimate or for the score (of eps, x_t, alpha_bar, alpha)."""

    def variant(eps, x_t, t, schedule):
        known = eps, x_t, at(schedule.alpha_bar, t, x_t), at(schedule.alphas, t, x_t)
        right = read_eps(eps, x_t, t, schedule)
        return x0(*known) if x0 else right[0], score(*known) if score else right[1]

    return variant


def make_reading_cases():
    draw, other = make_draw(4), make_draw(5)
    return [
        (draw(5, 2), draw(5, 2), torch.tensor([1, 10, 300, 600, 950]), linear(1000)),
        (other(3, 1, 5, 4), other(3, 1, 5, 4), torch.tensor([2, 30, 70]), cosine(80)),
    ]


READ = Exercise(
    "2.3",
    "read_eps",
    read_eps,
    make_reading_cases,
    verified="both the estimate of x_0 and the score are right, for points and for pictures.",
    rtol=1e-3,  # at t = 1, 1 - alpha_bar has four digits in float32, and more in float64
    mistakes=[
        Mistake(
            "noise subtracted, not rescaled",
            "x_0: that is x_t - eps. x_t holds sqrt(1 - alpha_bar) eps, and what is left is a shrunk x_0.",
            vary_reading(x0=lambda eps, x, a, alpha: x - eps),
        ),
        Mistake(
            "estimate left shrunk",
            "x_0: after the noise is taken away, sqrt(alpha_bar) x_0 is left; it still has to be divided.",
            vary_reading(x0=lambda eps, x, a, alpha: x - (1 - a).sqrt() * eps),
        ),
        Mistake(
            "alpha_bar for its root",
            "x_0: the division is by alpha_bar; x_t holds sqrt(alpha_bar) x_0.",
            vary_reading(x0=lambda eps, x, a, alpha: (x - (1 - a).sqrt() * eps) / a),
        ),
        Mistake(
            "variance for standard deviation",
            "x_0: the noise in x_t is scaled by sqrt(1 - alpha_bar), not by 1 - alpha_bar.",
            vary_reading(x0=lambda eps, x, a, alpha: (x - (1 - a) * eps) / a.sqrt()),
        ),
        Mistake(
            "alpha for alpha_bar",
            "x_0: that takes back one step, with alpha_t. Take back all steps up to t, with alpha_bar.",
            vary_reading(x0=lambda eps, x, a, alpha: (x - (1 - alpha).sqrt() * eps) / alpha.sqrt()),
        ),
        Mistake(
            "sign of the score",
            "The score points uphill in density, towards the data; eps points from the data to x_t.",
            vary_reading(score=lambda eps, x, a, alpha: eps / (1 - a).sqrt()),
        ),
        Mistake(
            "score not scaled",
            "The score is -eps times something that grows as the noise gets weaker.",
            vary_reading(score=lambda eps, x, a, alpha: -eps),
        ),
        Mistake(
            "score divided by the variance",
            "The score is -sqrt(variance) eps / variance: one of the two roots cancels.",
            vary_reading(score=lambda eps, x, a, alpha: -eps / (1 - a)),
        ),
    ],
)


# 2.4 timestep_embedding -------------------------------------------------------------------------------


def timestep_embedding(t, dim, max_period=10_000.0):
    """Sines, then cosines, of t at dim/2 frequencies from 1 down to nearly 1/max_period: (B,) to (B, dim)."""
    i = torch.arange(dim // 2)
    frequencies = max_period ** (-i / (dim // 2))
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def vary_embedding(
    frequencies=lambda i, half, period: period ** (-i / half),
    join=lambda sin, cos: torch.cat([sin, cos], 1),
    level=torch.Tensor.float,
):
    """The embedding with one part changed."""

    def variant(t, dim, max_period=10_000.0):
        f = frequencies(torch.arange(dim // 2).float(), dim // 2, max_period)
        angles = level(t)[:, None] * f
        return join(angles.sin(), angles.cos())

    return variant


def make_embedding_cases():
    return [(torch.tensor([0, 1, 10, 500, 1000]), 16, 10_000.0), (torch.tensor([3, 70, 200]), 6, 1000.0)]


EMBED = Exercise(
    "2.4",
    "timestep_embedding",
    timestep_embedding,
    make_embedding_cases,
    verified="the frequencies fall geometrically, sines come first, and t = 0 gives zeros and ones.",
    strict_dtype=True,
    rtol=1e-3,
    atol=1e-3,  # at t = 1000 a frequency off in its seventh digit turns the angle by 1e-4
    mistakes=[
        Mistake(
            "linear frequencies",
            "The frequencies fall on a straight line, so most of them are fast and none is slow enough "
            "to tell t = 100 from t = 900 at a glance. They should fall by the same factor each time.",
            vary_embedding(lambda i, half, period: 1 - i / half),
        ),
        Mistake(
            "whole-number frequencies",
            "The frequencies are 1, 2, 3, ...; they should start at 1 and fall by the same factor each time.",
            vary_embedding(lambda i, half, period: i + 1),
        ),
        Mistake(
            "frequencies rise",
            "The frequencies grow from 1 to max_period; they should fall from 1 to 1 / max_period.",
            vary_embedding(lambda i, half, period: period ** (i / half)),
        ),
        Mistake(
            "dim for dim/2",
            "The exponent is divided by dim, but there are dim/2 waves: the slow half of them is missing.",
            vary_embedding(lambda i, half, period: period ** (-i / (2 * half))),
        ),
        Mistake(
            "last frequency off by one",
            "The exponent is divided by dim/2 - 1. Other codes do so; here it is divided by dim/2.",
            vary_embedding(lambda i, half, period: period ** (-i / max(half - 1, 1))),
        ),
        Mistake(
            "sines and cosines interleaved",
            "The values are right but in the order sin, cos, sin, cos; here all sines come first.",
            vary_embedding(join=lambda sin, cos: torch.stack([sin, cos], 2).flatten(1)),
        ),
        Mistake(
            "cosines first",
            "The values are right but the cosines come first; here the sines do.",
            vary_embedding(join=lambda sin, cos: torch.cat([cos, sin], 1)),
        ),
        Mistake(
            "sines twice",
            "Both halves are sines: without the cosines t = 0 gives the zero vector.",
            vary_embedding(join=lambda sin, cos: torch.cat([sin, sin], 1)),
        ),
        Mistake(
            "t scaled to 0..1",
            "t was divided by 1000 first. These frequencies are meant for t in whole levels.",
            vary_embedding(level=lambda t: t / 1000),
        ),
    ],
)


# 2.5 ancestral_step -----------------------------------------------------------------------------------


def ancestral_step(x_t, t, eps, noise, schedule):
    """x at level t - 1 from x at level t (an int), with the posterior variance. x_t, eps, noise: (B, ..)."""
    alpha, beta = schedule.alphas[t], schedule.betas[t]
    a, a_prev = schedule.alpha_bar[t], schedule.alpha_bar[t - 1]
    mean = (x_t - beta / (1 - a).sqrt() * eps) / alpha.sqrt()
    variance = beta * (1 - a_prev) / (1 - a)
    return mean + variance.sqrt() * noise


def compute_mean(x, eps, alpha, a):
    return (x - (1 - alpha) / (1 - a).sqrt() * eps) / alpha.sqrt()


def compute_sigma(alpha, a, prev):
    return ((1 - alpha) * (1 - prev) / (1 - a)).sqrt()


def vary_step(mean=compute_mean, sigma=compute_sigma):
    """The step with another mean or another standard deviation (prev: alpha_bar one level below)."""

    def variant(x_t, t, eps, noise, schedule):
        alpha, a, prev = schedule.alphas[t], schedule.alpha_bar[t], schedule.alpha_bar[t - 1]
        return mean(x_t, eps, alpha, a) + sigma(alpha, a, prev) * noise

    return variant


def make_step_cases():
    draw = make_draw(6)
    cases = [((5, 2), t, linear(200)) for t in (1, 90, 200)] + [((3, 1, 5, 4), 40, cosine(60))]
    return [(draw(*shape), t, draw(*shape), draw(*shape), schedule) for shape, t, schedule in cases]


STEP = Exercise(
    "2.5",
    "ancestral_step",
    ancestral_step,
    make_step_cases,
    verified="mean and variance are those of the posterior, and the last step (t = 1) adds no noise.",
    mistakes=[
        Mistake(
            "all noise subtracted at once",
            quote(
                "that takes away all the noise and lands on the estimate of x_0, a blurry average; the "
                "step to t - 1 takes away one level's share."
            ),
            vary_step(mean=lambda x, eps, alpha, a: (x - (1 - a).sqrt() * eps) / a.sqrt()),
        ),
        Mistake(
            "noise in the last step",
            "At t = 1 noise is added to the finished sample. What is alpha_bar at level 0?",
            vary_step(
                sigma=lambda alpha, a, prev: compute_sigma(alpha, a, prev) if prev < 1 else (1 - alpha).sqrt()
            ),
        ),
        Mistake(
            "variance for standard deviation",
            quote("the noise is multiplied by the variance; take its square root."),
            vary_step(sigma=lambda alpha, a, prev: compute_sigma(alpha, a, prev) ** 2),
        ),
        Mistake(
            "beta for the posterior variance",
            "The noise has variance beta_t. That is the other choice of the DDPM paper; asked for here "
            "is the posterior's, beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t).",
            vary_step(sigma=lambda alpha, a, prev: (1 - alpha).sqrt()),
        ),
        Mistake(
            "variance upside down",
            "The ratio in the variance is upside down: less noise is left at t - 1 than at t.",
            vary_step(sigma=lambda alpha, a, prev: ((1 - alpha) * (1 - a) / (1 - prev)).sqrt()),
        ),
        Mistake(
            "no root below eps",
            "eps is scaled by beta / (1 - alpha_bar); the root over 1 - alpha_bar is missing.",
            vary_step(mean=lambda x, eps, alpha, a: (x - (1 - alpha) / (1 - a) * eps) / alpha.sqrt()),
        ),
        Mistake(
            "alpha for alpha_bar",
            "eps is scaled by beta / sqrt(1 - alpha_t). x_t holds the noise of all steps: 1 - alpha_bar_t.",
            vary_step(mean=lambda x, eps, alpha, a: (x - (1 - alpha).sqrt() * eps) / alpha.sqrt()),
        ),
        Mistake(
            "alpha_bar for alpha",
            quote("the mean is divided by sqrt(alpha_bar_t). To undo one step, divide by sqrt(alpha_t)."),
            vary_step(mean=lambda x, eps, alpha, a: compute_mean(x, eps, alpha, a) * (alpha / a).sqrt()),
        ),
        Mistake(
            "not divided by sqrt(alpha)",
            quote("the step forward shrank x by sqrt(alpha_t); on the way back it has to grow again."),
            vary_step(mean=lambda x, eps, alpha, a: compute_mean(x, eps, alpha, a) * alpha.sqrt()),
        ),
        Mistake(
            "no noise",
            "That is the mean alone. Without fresh noise the samples crowd together.",
            vary_step(sigma=lambda alpha, a, prev: 0),
        ),
    ],
)


# 2.6 ddim_step ----------------------------------------------------------------------------------------


def ddim_step(x_t, t, t_next, eps, schedule):
    """x at level t_next from x at level t (ints, t_next < t, 0 is clean), without fresh noise."""
    a, a_next = schedule.alpha_bar[t], schedule.alpha_bar[t_next]
    x0 = (x_t - (1 - a).sqrt() * eps) / a.sqrt()
    return a_next.sqrt() * x0 + (1 - a_next).sqrt() * eps


def estimate_x0(x, eps, a):
    return (x - (1 - a).sqrt() * eps) / a.sqrt()


def mix_levels(x0, eps, a_next):
    return a_next.sqrt() * x0 + (1 - a_next).sqrt() * eps


def vary_leap(x0=estimate_x0, to=lambda t, t_next: t_next, mix=mix_levels):
    """The DDIM step with one part changed."""

    def variant(x_t, t, t_next, eps, schedule):
        return mix(x0(x_t, eps, schedule.alpha_bar[t]), eps, schedule.alpha_bar[to(t, t_next)])

    return variant


def step_one_level(x_t, t, t_next, eps, schedule):
    """The mean of exercise 2.5."""
    return compute_mean(x_t, eps, schedule.alphas[t], schedule.alpha_bar[t])


def make_ddim_cases():
    draw = make_draw(7)
    cases = [((5, 2), t, t_next, linear(1000)) for t, t_next in ((1000, 950), (500, 300))]
    cases += [((3, 1, 5, 4), 40, 20, cosine(60)), ((4, 2), 20, 0, linear(200))]
    return [(draw(*shape), t, t_next, draw(*shape), schedule) for shape, t, t_next, schedule in cases]


DDIM = Exercise(
    "2.6",
    "ddim_step",
    ddim_step,
    make_ddim_cases,
    verified="it goes from any level to any lower one, and to the estimate of x_0 itself for t_next = 0.",
    mistakes=[
        Mistake(
            "one level only",
            "It moves to level t - 1 whatever t_next says, the naive way to skip levels.",
            vary_leap(to=lambda t, t_next: t - 1),
        ),
        Mistake(
            "ancestral mean",
            "That is the mean of the one-level step. Go by way of the estimate of x_0.",
            step_one_level,
        ),
        Mistake(
            "alpha_bar off by one",
            "It goes to alpha_bar[t_next - 1], one level too far; for t_next = 0 that is alpha_bar[-1], in "
            "Python the last entry, pure noise. alpha_bar[t_next] belongs to level t_next.",
            vary_leap(to=lambda t, t_next: t_next - 1),
        ),
        Mistake(
            "estimate returned",
            "That is the estimate of x_0, one leap to the end. It has to be put back to level t_next.",
            vary_leap(to=lambda t, t_next: 0),
        ),
        Mistake(
            "estimate not rescaled",
            "x_t minus its noise is sqrt(alpha_bar) x_0: divide, before it is mixed anew.",
            vary_leap(x0=lambda x, eps, a: x - (1 - a).sqrt() * eps),
        ),
        Mistake(
            "noise subtracted, not scaled",
            "The estimate of x_0 was made with x_t - eps; x_t holds sqrt(1 - alpha_bar) eps.",
            vary_leap(x0=lambda x, eps, a: (x - eps) / a.sqrt()),
        ),
        Mistake(
            "roots missing",
            "x_0 and eps are mixed with alpha_bar and 1 - alpha_bar; the amplitudes are their square roots.",
            vary_leap(mix=lambda x0, eps, a_next: a_next * x0 + (1 - a_next) * eps),
        ),
        Mistake(
            "weights swapped",
            "x_0 is weighted with sqrt(1 - alpha_bar) and eps with sqrt(alpha_bar): the other way round.",
            vary_leap(mix=lambda x0, eps, a_next: (1 - a_next).sqrt() * x0 + a_next.sqrt() * eps),
        ),
        Mistake(
            "no noise put back",
            "The estimate is shrunk to level t_next but the noise that belongs there is missing.",
            vary_leap(mix=lambda x0, eps, a_next: a_next.sqrt() * x0),
        ),
        Mistake(
            "fresh noise",
            "New noise was drawn. DDIM puts the predicted eps back, so that one start leads to one end.",
            vary_leap(mix=lambda x0, eps, a_next: mix_levels(x0, torch.randn_like(x0), a_next)),
        ),
    ],
)

EXERCISES = [EXACT, LOSS, READ, EMBED, STEP, DDIM]
