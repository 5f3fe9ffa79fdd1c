"""The exercises of notebook 02: exact denoiser, loss, score, embedding, ancestral and DDIM step."""

import math

import torch

from helpers.exercises.exercise import Exercise, Mistake
from helpers.schedule import cosine, linear


def draws(seed=0):
    """A function that draws normal numbers of a shape, the same ones every time."""
    g = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=g)


def rms(x):
    return x.square().mean().sqrt()


# 2.1 exact_denoiser -----------------------------------------------------------------------------------


def exact_denoiser(x_t, t, points, schedule):
    """E[x_0 | x_t] where the data are exactly `points`. x_t (B, 2), t (B,), points (N, 2); returns (B, 2)."""
    a = schedule.alpha_bar(t).reshape(-1, 1, 1)
    away = x_t[:, None] - a.sqrt() * points
    w = torch.softmax(-away.square().sum(2) / (2 * (1 - a[:, 0])), dim=1)
    return (w @ points.double()).to(x_t.dtype)


def denoiser(
    scale=lambda a: 2 * (1 - a), shrink=lambda a: a.sqrt(), power=2, axis=1, sign=-1, average="points"
):
    """The exact denoiser with one part changed."""

    def variant(x_t, t, points, schedule):
        a = schedule.alpha_bar(t).reshape(-1, 1, 1)
        away = (x_t[:, None] - shrink(a) * points).square().sum(2) ** (power / 2)
        w = torch.softmax(sign * away / scale(a[:, 0]), dim=axis)
        if average == "shrunk":
            return ((w[:, :, None] * a.sqrt() * points).sum(1)).to(x_t.dtype)
        if average == "nearest":
            return points[w.argmax(1)]
        return (w @ points.double()).to(x_t.dtype)

    return variant


def exact_denoiser_cases():
    draw, other = draws(0), draws(1)
    return [
        (draw(5, 2), torch.tensor([0, 100, 400, 700, 999]), draw(7, 2), linear(1000)),
        (other(3, 2), torch.tensor([5, 30, 79]), other(11, 2), cosine(80)),
    ]


def farther(got, want):
    return (
        f"The answers are {rms(got):.2f} long on average where {rms(want):.2f} was expected: the weights "
        f"favour the"
        "points far away. A Gaussian falls with the distance."
    )


EXACT = Exercise(
    "2.1",
    "exact_denoiser",
    exact_denoiser,
    exact_denoiser_cases,
    verified="it equals Bayes' rule, from t = 0 (the nearest point) to t = 999 (nearly their mean).",
    mistakes=[
        Mistake(
            "softmax over the wrong axis",
            "The weights of one x_t over all points must sum to 1; here they sum to 1 over the batch, so "
            "each answer depends on the other rows. Which dimension counts the points?",
            denoiser(axis=0),
        ),
        Mistake(
            "missing scale",
            "The squared distances go into the softmax undivided, so every level gets the same weights. "
            "How wide is the Gaussian around each point at level t?",
            denoiser(scale=lambda a: 1.0),
        ),
        Mistake(
            "points not shrunk",
            "x_t is compared with the points themselves; at level t the Gaussians sit at sqrt(alpha_bar) "
            "times the points.",
            denoiser(shrink=lambda a: 1.0),
        ),
        Mistake(
            "alpha_bar for its root",
            "The points are scaled by alpha_bar; the mean of q(x_t | x_0) is sqrt(alpha_bar) x_0.",
            denoiser(shrink=lambda a: a),
        ),
        Mistake(
            "factor 2 missing",
            "The exponent of a Gaussian is -distance^2 / (2 variance): the 2 is missing, so the weights "
            "are too sharp.",
            denoiser(scale=lambda a: 1 - a),
        ),
        Mistake(
            "standard deviation for variance",
            "The distances are divided by 2 sqrt(1 - alpha_bar); a Gaussian's exponent has the variance "
            "below.",
            denoiser(scale=lambda a: 2 * (1 - a).sqrt()),
        ),
        Mistake(
            "distance not squared",
            "The exponent has the distance where a Gaussian has the distance squared.",
            denoiser(power=1),
        ),
        Mistake("sign of the exponent", farther, denoiser(sign=1)),
        Mistake(
            "average of the shrunk points",
            "The weights are right, but they average sqrt(alpha_bar) x_i: the question is where x_0 was, "
            "not where its shrunk copy is.",
            denoiser(average="shrunk"),
        ),
        Mistake(
            "nearest point",
            "This is the most probable point. The expectation is the average of all points with their "
            "probabilities.",
            denoiser(average="nearest"),
        ),
    ],
)


# 2.2 simple_loss --------------------------------------------------------------------------------------


def simple_loss(model, x0, t, noise, schedule):
    """The mean squared error of the predicted noise over a batch, one number."""
    x_t = schedule.q_sample(x0, t, noise)
    return (model(x_t, t) - noise).square().mean()


def toy(x, t):
    """A network of sorts: its answer depends on x and on t."""
    return 0.6 * x + 0.3 * torch.sin(t.float() / 100).reshape(-1, *[1] * (x.ndim - 1))


def simple_loss_cases():
    draw, other = draws(2), draws(3)
    return [
        (toy, draw(6, 2), torch.tensor([0, 3, 250, 500, 900, 999]), draw(6, 2), linear(1000)),
        (toy, other(3, 1, 5, 4), torch.tensor([0, 40, 59]), other(3, 1, 5, 4), cosine(60)),
    ]


def quoted(text):
    return lambda got, want: f"The loss is {float(got):.3f} where {float(want):.3f} was expected: {text}"


def loss(
    answer=lambda x_t, x0, noise: noise, given="x_t", level=lambda t: t, reduce=lambda d: d.square().mean()
):
    """The loss with one part changed."""

    def variant(model, x0, t, noise, schedule):
        x_t = schedule.q_sample(x0, t, noise)
        shown = {"x_t": x_t, "x0": x0, "plain sum": x0 + noise, "one step": schedule.q_step(x0, t, noise)}[
            given
        ]
        return reduce(model(shown, level(t)) - answer(x_t, x0, noise))

    return variant


LOSS = Exercise(
    "2.2",
    "simple_loss",
    simple_loss,
    simple_loss_cases,
    verified="it equals the simple loss for points and for pictures, each example at its own level.",
    mistakes=[
        Mistake(
            "clean data for the target",
            quoted("that is the distance from x_0. The network is asked for the noise."),
            loss(answer=lambda x_t, x0, noise: x0),
        ),
        Mistake(
            "difference for the target",
            quoted("that comes out with x_t - x_0 as the target. The target is eps before it is scaled."),
            loss(answer=lambda x_t, x0, noise: x_t - x0),
        ),
        Mistake(
            "network sees clean data",
            quoted("the network was given x_0. It must find the noise in x_t."),
            loss(given="x0"),
        ),
        Mistake(
            "noise added unscaled",
            quoted("the network was given x_0 + eps. How much of each is in x_t? Use q_sample."),
            loss(given="plain sum"),
        ),
        Mistake(
            "one Markov step",
            quoted(
                "x_t was made with one step from x_0 (q_step). From x_0 to level t one jumps with q_sample."
            ),
            loss(given="one step"),
        ),
        Mistake(
            "level not passed on",
            quoted("the network was told level 0 for every example. Give it t."),
            loss(level=lambda t: torch.zeros_like(t)),
        ),
        Mistake(
            "sum for mean",
            quoted("the squares are summed, so the loss grows with the batch. Take their mean."),
            loss(reduce=lambda d: d.square().sum()),
        ),
        Mistake(
            "absolute for squared",
            quoted(
                "that is the mean absolute difference. Only the squared error has the conditional mean "
                "as its best answer."
            ),
            loss(reduce=lambda d: d.abs().mean()),
        ),
        Mistake(
            "not squared",
            quoted("the differences are averaged unsquared, so that positive and negative ones cancel."),
            loss(reduce=lambda d: d.mean()),
        ),
    ],
)


# 2.3 read_eps -----------------------------------------------------------------------------------------


def _a(schedule, t, x):
    return schedule.alpha_bar(t).reshape(-1, *[1] * (x.ndim - 1))


def read_eps(eps, x_t, t, schedule):
    """The estimate of x_0 and the score that a predicted noise stands for, both shaped like x_t."""
    a = schedule.alpha_bar(t).reshape(-1, *[1] * (x_t.ndim - 1))
    x0 = (x_t - (1 - a).sqrt() * eps) / a.sqrt()
    score = -eps / (1 - a).sqrt()
    return x0.to(x_t.dtype), score.to(x_t.dtype)


def reading(x0=None, score=None):
    """read_eps with another formula for the estimate or for the score (of eps, x_t, alpha_bar, alpha)."""

    def variant(eps, x_t, t, schedule):
        right = read_eps(eps, x_t, t, schedule)
        a, alpha = _a(schedule, t, x_t), schedule.alphas[t].reshape(-1, *[1] * (x_t.ndim - 1))
        given = (x0(eps, x_t, a, alpha) if x0 else right[0], score(eps, x_t, a, alpha) if score else right[1])
        return tuple(part.to(x_t.dtype) for part in given)

    return variant


def read_eps_cases():
    draw, other = draws(4), draws(5)
    return [
        (draw(5, 2), draw(5, 2), torch.tensor([0, 10, 300, 600, 950]), linear(1000)),
        (other(3, 1, 5, 4), other(3, 1, 5, 4), torch.tensor([1, 30, 70]), cosine(80)),
    ]


READ = Exercise(
    "2.3",
    "read_eps",
    read_eps,
    read_eps_cases,
    verified="both the estimate of x_0 and the score are right, for points and for pictures.",
    mistakes=[
        Mistake(
            "noise subtracted, not rescaled",
            lambda got, want: (
                f"x_0: {rms(got[0]):.2f} on average where {rms(want[0]):.2f} was expected: that is x_t - "
                f"eps."
                "x_t holds sqrt(1 - alpha_bar) eps, and what is left is a shrunk x_0."
            ),
            reading(x0=lambda eps, x, a, alpha: x - eps),
        ),
        Mistake(
            "estimate left shrunk",
            "x_0: after the noise is taken away, sqrt(alpha_bar) x_0 is left; it still has to be divided.",
            reading(x0=lambda eps, x, a, alpha: x - (1 - a).sqrt() * eps),
        ),
        Mistake(
            "alpha_bar for its root",
            "x_0: the division is by alpha_bar; x_t holds sqrt(alpha_bar) x_0.",
            reading(x0=lambda eps, x, a, alpha: (x - (1 - a).sqrt() * eps) / a),
        ),
        Mistake(
            "variance for standard deviation",
            "x_0: the noise in x_t is scaled by sqrt(1 - alpha_bar), not by 1 - alpha_bar.",
            reading(x0=lambda eps, x, a, alpha: (x - (1 - a) * eps) / a.sqrt()),
        ),
        Mistake(
            "alpha for alpha_bar",
            "x_0: that takes back one step only, with alpha_t. Between x_0 and x_t lie all steps up to "
            "t: alpha_bar.",
            reading(x0=lambda eps, x, a, alpha: (x - (1 - alpha).sqrt() * eps) / alpha.sqrt()),
        ),
        Mistake(
            "sign of the score",
            "The score points uphill in density, towards the data; eps points from the data to x_t.",
            reading(score=lambda eps, x, a, alpha: eps / (1 - a).sqrt()),
        ),
        Mistake(
            "score not scaled",
            "The score is -eps times something that grows as the noise gets weaker.",
            reading(score=lambda eps, x, a, alpha: -eps),
        ),
        Mistake(
            "score divided by the variance",
            "The score is -(x_t - sqrt(alpha_bar) x_0) / variance; one of the two roots cancels against "
            "x_t's noise.",
            reading(score=lambda eps, x, a, alpha: -eps / (1 - a)),
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


def embedding(frequencies=None, join=None, level=lambda t: t.float()):
    """The embedding with one part changed; frequencies(i, half, log of the longest period)."""

    def variant(t, dim, max_period=10_000.0):
        half = dim // 2
        i, log = torch.arange(half).float(), math.log(max_period)
        f = (frequencies or (lambda i, half, log: torch.exp(-log * i / half)))(i, half, log)
        angles = level(t)[:, None] * f
        return (join or (lambda s, c: torch.cat([s, c], 1)))(angles.sin(), angles.cos())

    return variant


def embedding_cases():
    return [
        (torch.tensor([0, 1, 10, 500, 999]), 16, 10_000.0),
        (torch.tensor([3, 70, 199]), 6, 1000.0),
    ]


EMBED = Exercise(
    "2.4",
    "timestep_embedding",
    timestep_embedding,
    embedding_cases,
    verified="the frequencies fall geometrically, sines come first, and t = 0 gives zeros and ones.",
    strict_dtype=True,
    rtol=1e-3,
    atol=1e-3,  # at t = 999 a frequency off in its seventh digit turns the angle by 1e-4
    mistakes=[
        Mistake(
            "linear frequencies",
            "The frequencies fall on a straight line, so most of them are fast and none is slow enough "
            "to tell t = 100 from t = 900 at a glance. They should fall by the same factor each time.",
            embedding(lambda i, half, log: 1 - i / half),
        ),
        Mistake(
            "whole-number frequencies",
            "The frequencies are 1, 2, 3, ...; they should start at 1 and fall by the same factor each time.",
            embedding(lambda i, half, log: i + 1),
        ),
        Mistake(
            "frequencies rise",
            "The frequencies grow from 1 to the longest period; they should fall from 1 to its inverse. "
            "Check a sign.",
            embedding(lambda i, half, log: torch.exp(log * i / half)),
        ),
        Mistake(
            "dim for dim/2",
            "The exponent runs over dim frequencies, but there are dim/2: the slow half of the waves is "
            "missing.",
            embedding(lambda i, half, log: torch.exp(-log * i / (2 * half))),
        ),
        Mistake(
            "last frequency off by one",
            "The exponent is divided by dim/2 - 1, so the last frequency is exactly 1/max_period. Other "
            "codes do so; here it is divided by dim/2.",
            embedding(lambda i, half, log: torch.exp(-log * i / max(half - 1, 1))),
        ),
        Mistake(
            "sines and cosines interleaved",
            "The values are right but in the order sin, cos, sin, cos; here all sines come first.",
            embedding(join=lambda s, c: torch.stack([s, c], 2).flatten(1)),
        ),
        Mistake(
            "cosines first",
            "The values are right but the cosines come first; here the sines do.",
            embedding(join=lambda s, c: torch.cat([c, s], 1)),
        ),
        Mistake(
            "sines twice",
            "Both halves are sines: without the cosines t = 0 gives the zero vector.",
            embedding(join=lambda s, c: torch.cat([s, s], 1)),
        ),
        Mistake(
            "t scaled to 0..1",
            "t was divided by 1000 first: then even the fastest wave makes less than a sixth of a turn. "
            "These frequencies are meant for t in whole levels.",
            embedding(level=lambda t: t.float() / 1000),
        ),
    ],
)


# 2.5 ancestral_step -----------------------------------------------------------------------------------


def ancestral_step(x_t, t, eps, noise, schedule):
    """x at level t - 1 from x at level t (an int), with the posterior variance. x_t, eps, noise: (B, ..)."""
    a, a_prev = schedule.alpha_bar(t), schedule.alpha_bar(t - 1)
    alpha = a / a_prev
    mean = (x_t - (1 - alpha) / (1 - a).sqrt() * eps) / alpha.sqrt()
    variance = (1 - alpha) * (1 - a_prev) / (1 - a)
    return mean + variance.sqrt() * noise


def step(mean=None, sigma=None):
    """The step with another mean or another standard deviation (of alpha, alpha_bar, alpha_bar before)."""

    def variant(x_t, t, eps, noise, schedule):
        a, p = schedule.alpha_bar(t), schedule.alpha_bar(t - 1)
        alpha = a / p
        m = mean(x_t, eps, alpha, a, p) if mean else (x_t - (1 - alpha) / (1 - a).sqrt() * eps) / alpha.sqrt()
        s = sigma(alpha, a, p) if sigma else ((1 - alpha) * (1 - p) / (1 - a)).sqrt()
        return m + s * noise

    return variant


def step_cases():
    draw = draws(6)
    shapes = [
        ((5, 2), 0, linear(200)),
        ((5, 2), 90, linear(200)),
        ((3, 1, 5, 4), 40, cosine(60)),
        ((5, 2), 199, linear(200)),
    ]
    return [(draw(*shape), t, draw(*shape), draw(*shape), schedule) for shape, t, schedule in shapes]


def spread(text):
    return lambda got, want: f"{text} (typical size {rms(got):.3f} where {rms(want):.3f} was expected)."


STEP = Exercise(
    "2.5",
    "ancestral_step",
    ancestral_step,
    step_cases,
    verified="mean and variance are those of the posterior, and the last step (t = 0) adds no noise.",
    mistakes=[
        Mistake(
            "all noise subtracted at once",
            spread(
                "That takes away all the noise between x_0 and x_t and lands on the estimate of x_0, a "
                "blurry average; the step to t - 1 takes away one level's share"
            ),
            step(mean=lambda x, e, alpha, a, p: (x - (1 - a).sqrt() * e) / a.sqrt()),
        ),
        Mistake(
            "noise at t = 0",
            "At t = 0 noise is added to the finished sample, with nothing left to remove it. Which "
            "alpha_bar stands before level 0?",
            step(
                sigma=lambda alpha, a, p: (
                    ((1 - alpha) * (1 - p) / (1 - a)).sqrt() if p < 1 else (1 - alpha).sqrt()
                )
            ),
        ),
        Mistake(
            "variance for standard deviation",
            spread("The noise is multiplied by the variance; take its square root"),
            step(sigma=lambda alpha, a, p: (1 - alpha) * (1 - p) / (1 - a)),
        ),
        Mistake(
            "beta for the posterior variance",
            "The noise has variance beta_t. That is the other choice of the DDPM paper; asked for here "
            "is the posterior's, beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t).",
            step(sigma=lambda alpha, a, p: (1 - alpha).sqrt()),
        ),
        Mistake(
            "variance upside down",
            "The ratio in the variance is the wrong way round: less noise is left at t - 1 than at t, so "
            "the ratio is below 1.",
            step(
                sigma=lambda alpha, a, p: (
                    ((1 - alpha) * (1 - a) / (1 - p).clamp(min=1e-12)).sqrt() if p < 1 else 0 * a
                )
            ),
        ),
        Mistake(
            "no root below eps",
            "eps is scaled by beta / (1 - alpha_bar); the root over 1 - alpha_bar is missing.",
            step(mean=lambda x, e, alpha, a, p: (x - (1 - alpha) / (1 - a) * e) / alpha.sqrt()),
        ),
        Mistake(
            "alpha for alpha_bar",
            "eps is scaled by beta / sqrt(1 - alpha_t); below the root stands all the noise in x_t, 1 - "
            "alpha_bar_t.",
            step(mean=lambda x, e, alpha, a, p: (x - (1 - alpha).sqrt() * e) / alpha.sqrt()),
        ),
        Mistake(
            "alpha_bar for alpha",
            spread(
                "The mean is divided by sqrt(alpha_bar_t): one step is undone, not all, so divide by "
                "sqrt(alpha_t)"
            ),
            step(mean=lambda x, e, alpha, a, p: (x - (1 - alpha) / (1 - a).sqrt() * e) / a.sqrt()),
        ),
        Mistake(
            "not divided by sqrt(alpha)",
            spread("The step forward shrank x by sqrt(alpha_t); on the way back it has to grow again"),
            step(mean=lambda x, e, alpha, a, p: x - (1 - alpha) / (1 - a).sqrt() * e),
        ),
        Mistake(
            "no noise",
            "That is the mean alone. Without fresh noise the samples crowd together.",
            step(sigma=lambda alpha, a, p: 0 * a),
        ),
    ],
)


# 2.6 ddim_step ----------------------------------------------------------------------------------------


def ddim_step(x_t, t, t_next, eps, schedule):
    """x at level t_next from x at level t (ints, t_next < t, -1 is clean), without fresh noise."""
    a, a_next = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
    x0 = (x_t - (1 - a).sqrt() * eps) / a.sqrt()
    return a_next.sqrt() * x0 + (1 - a_next).sqrt() * eps


def leap(x0=lambda x, e, a: (x - (1 - a).sqrt() * e) / a.sqrt(), level=None, mix=None):
    """The DDIM step with one part changed."""

    def variant(x_t, t, t_next, eps, schedule):
        a = schedule.alpha_bar(t)
        a_next = level(schedule, t, t_next) if level else schedule.alpha_bar(t_next)
        clean = x0(x_t, eps, a)
        return mix(clean, eps, a_next) if mix else a_next.sqrt() * clean + (1 - a_next).sqrt() * eps

    return variant


def naive(x_t, t, t_next, eps, schedule):
    a, p = schedule.alpha_bar(t), schedule.alpha_bar(t - 1)
    return (x_t - (1 - a / p) / (1 - a).sqrt() * eps) / (a / p).sqrt()


def fresh(x_t, t, t_next, eps, schedule):
    a, a_next = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
    return a_next.sqrt() * (x_t - (1 - a).sqrt() * eps) / a.sqrt() + (1 - a_next).sqrt() * torch.randn_like(
        x_t
    )


def ddim_cases():
    draw = draws(7)
    cases = [
        ((5, 2), 999, 949, linear(1000)),
        ((5, 2), 500, 300, linear(1000)),
        ((3, 1, 5, 4), 40, 20, cosine(60)),
    ]
    cases.append(((4, 2), 19, -1, linear(200)))
    return [(draw(*shape), t, t_next, draw(*shape), schedule) for shape, t, t_next, schedule in cases]


DDIM = Exercise(
    "2.6",
    "ddim_step",
    ddim_step,
    ddim_cases,
    verified="it goes from any level to any lower one, and to the estimate of x_0 itself for t_next = -1.",
    mistakes=[
        Mistake(
            "one level only",
            "It moves to level t - 1 whatever t_next says: the network is asked rarely and each answer "
            "is used for one small step.",
            leap(level=lambda s, t, t_next: s.alpha_bar(t - 1)),
        ),
        Mistake(
            "ancestral mean",
            "That is the mean of the one-level step, the naive way to skip levels. Go by way of the "
            "estimate of x_0.",
            naive,
        ),
        Mistake(
            "alphas_cumprod[-1] for clean",
            "At t_next = -1 the clean end is meant, alpha_bar = 1; alphas_cumprod[-1] is the last level, "
            "pure noise. schedule.alpha_bar(-1) knows.",
            leap(level=lambda s, t, t_next: s.abar64[: s.T][t_next]),
        ),
        Mistake(
            "estimate returned",
            "That is the estimate of x_0, one leap to the end. It has to be put back to level t_next.",
            leap(level=lambda s, t, t_next: s.alpha_bar(-1)),
        ),
        Mistake(
            "estimate not rescaled",
            "x_t minus its noise is sqrt(alpha_bar) x_0: divide, before it is mixed anew.",
            leap(x0=lambda x, e, a: x - (1 - a).sqrt() * e),
        ),
        Mistake(
            "noise subtracted, not scaled",
            "The estimate of x_0 was made with x_t - eps; x_t holds sqrt(1 - alpha_bar) eps.",
            leap(x0=lambda x, e, a: (x - e) / a.sqrt()),
        ),
        Mistake(
            "roots missing",
            "x_0 and eps are mixed with alpha_bar and 1 - alpha_bar; the amplitudes are their square roots.",
            leap(mix=lambda c, e, n: n * c + (1 - n) * e),
        ),
        Mistake(
            "weights swapped",
            "x_0 is weighted with sqrt(1 - alpha_bar) and eps with sqrt(alpha_bar): the other way round.",
            leap(mix=lambda c, e, n: (1 - n).sqrt() * c + n.sqrt() * e),
        ),
        Mistake(
            "no noise put back",
            "The estimate is shrunk to level t_next but the noise that belongs there is missing.",
            leap(mix=lambda c, e, n: n.sqrt() * c),
        ),
        Mistake(
            "fresh noise",
            "New noise was drawn. DDIM puts the predicted eps back, so that one start leads to one end.",
            fresh,
        ),
    ],
)

EXERCISES = [EXACT, LOSS, READ, EMBED, STEP, DDIM]
