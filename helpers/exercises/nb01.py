"""The exercises of notebook 01: one noising step, the closed form, two schedules, and the way back to x_0."""

import math

import torch

from helpers.exercises.exercise import Exercise, Mistake
from helpers.schedule import cosine, linear


def shaped(a, x):
    """(B,) as (B, 1, ...) to multiply x (B, ...)."""
    return a.reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype)


def randn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# 1.1 q_step -----------------------------------------------------------------------------------------


def step_with(signal, sigma, index=lambda t: t, constants=lambda betas: betas):
    """x_prev * signal(c) + noise * sigma(c) with c = constants(betas)[index(t)]; the right step and its
    variants."""

    def q_step(x_prev, t, noise, betas):
        c = shaped(constants(betas)[index(t)], x_prev)
        return signal(c) * x_prev + sigma(c) * noise

    return q_step


def keep(b):
    return (1 - b).sqrt()


def root(b):
    return b.sqrt()


def q_step_unshaped(x_prev, t, noise, betas):
    beta = betas[t]
    return (1 - beta).sqrt() * x_prev + beta.sqrt() * noise


def q_step_cases():
    betas = linear(60).betas  # up to 1/3 a step, so that every mistake shows
    points, images = torch.arange(60).repeat(3), torch.tensor([59, 0, 30])
    return [
        (randn(0, 180, 2), points, randn(1, 180, 2), betas),
        (0.5 * randn(2, 3, 1, 8, 6), images, randn(3, 3, 1, 8, 6), betas),
    ]


def variances(text):
    """A message that quotes the variance that came out."""
    return lambda got, want: f"x_t has variance {got.var():.2f} where {want.var():.2f} was expected: {text}"


Q_STEP = Exercise(
    "1.1",
    "q_step",
    step_with(keep, root),
    q_step_cases,
    "one step for points and for pictures, at the first level, at the last, and with another t for each "
    "example.",
    mistakes=[
        Mistake(
            "beta for sqrt(beta)",
            variances(
                "the noise is scaled by beta. Beta is the variance it should add, so its scale is a "
                "standard deviation."
            ),
            step_with(keep, lambda b: b),
        ),
        Mistake(
            "missing sqrt on 1 - beta",
            variances("the old picture is scaled by (1 - beta) without the root, so it shrinks too fast."),
            step_with(lambda b: 1 - b, root),
        ),
        Mistake(
            "both roots missing",
            variances("both factors lack their square root; variances add, so the *squares* of the "
                      "factors sum to 1."),
            step_with(lambda b: 1 - b, lambda b: b),
        ),
        Mistake(
            "picture not shrunk",
            variances("the noise is added but x_prev is not scaled down first, so the variance grows with "
                      "every step."),
            step_with(torch.ones_like, root),
        ),
        Mistake(
            "weights swapped",
            "The two factors are exchanged: a step with a small beta keeps nearly all of x_prev and adds "
            "little noise.",
            step_with(root, keep),
        ),
        Mistake(
            "off by one in t",
            "It uses the beta of level t - 1. betas[t] belongs to the step that arrives at level t "
            "(and at t = 0 the index -1 silently takes the last beta).",
            step_with(keep, root, index=lambda t: t - 1),
        ),
        Mistake(
            "alpha-bar for alpha",
            "It jumps from x_prev as if all the steps 0 .. t were made at once: one step uses beta_t alone, "
            "not the product of all the alphas.",
            step_with(root, keep, constants=lambda betas: torch.cumprod(1 - betas, 0)),
        ),
        Mistake(
            "off by one, past the end",
            "It reads betas[t + 1], which at the last level does not exist: betas[t] belongs to the step "
            "that arrives at t.",
            step_with(keep, root, index=lambda t: t + 1),
            raises=True,
        ),
        Mistake(
            "beta not reshaped",
            "betas[t] has shape (B,) and x_prev has more dimensions, so they do not line up: reshape it "
            "to (B, 1, ...).",
            q_step_unshaped,
            raises=True,
        ),
    ],
)


# 1.2 alphas_cumprod ---------------------------------------------------------------------------------


def alphas_cumprod(betas):
    return torch.cumprod(1 - betas, dim=0)


def late(betas):
    return torch.cat([torch.ones(1, dtype=betas.dtype), alphas_cumprod(betas)[:-1]])


def ends(text):
    """A message that quotes the last value."""
    return lambda got, want: f"It ends at {got[-1]:.3g} where {want[-1]:.3g} was expected: {text}"


def alphas_cumprod_cases():
    return [(linear(1000).betas,), (linear(40).betas,), (cosine(7).betas,)]


ALPHAS_CUMPROD = Exercise(
    "1.2",
    "alphas_cumprod",
    alphas_cumprod,
    alphas_cumprod_cases,
    "it is the product of the alphas up to each level, for T = 1000, 40 and 7.",
    mistakes=[
        Mistake(
            "alpha for alpha-bar",
            ends("this is alpha_t, what one step keeps. Alpha-bar multiplies all of them up to t."),
            lambda betas: 1 - betas,
        ),
        Mistake(
            "product of betas",
            ends("the betas are multiplied. What multiplies is what each step keeps, alpha = 1 - beta."),
            lambda betas: torch.cumprod(betas, 0),
        ),
        Mistake(
            "1 - product of betas",
            ends("1 - (beta_0 beta_1 ...) is not (1 - beta_0)(1 - beta_1) ...: subtract first, then "
                 "multiply."),
            lambda betas: 1 - torch.cumprod(betas, 0),
        ),
        Mistake(
            "sum for product",
            ends("the betas are added up and subtracted from 1. That holds only while little has been "
                 "lost; then it turns "
                 "negative."),
            lambda betas: 1 - torch.cumsum(betas, 0),
        ),
        Mistake(
            "sum of alphas",
            ends("the alphas are added. Each step keeps a share of what the one before left, so they "
                 "multiply."),
            lambda betas: torch.cumsum(1 - betas, 0),
        ),
        Mistake(
            "off by one",
            lambda got, want: f"It starts at {got[0]:.4g} where {want[0]:.4g} was expected: level 0 "
            "already carries the noise "
            "of its own step, so its alpha-bar is alpha_0, not 1.",
            late,
        ),
        Mistake(
            "root taken twice",
            ends("this is the square root of alpha-bar, the factor of the picture itself. Return alpha-bar."),
            lambda betas: alphas_cumprod(betas).sqrt(),
        ),
        Mistake(
            "exponential of the sum",
            ends("exp(-sum of betas) is the limit of infinitely many tiny steps. With steps of finite "
                 "size the product "
                 "is smaller."),
            lambda betas: torch.exp(-torch.cumsum(betas, 0)),
        ),
        Mistake(
            "product from the wrong end",
            "The product runs backwards from the last level: alpha-bar_t multiplies the alphas from 0 up "
            "to t.",
            lambda betas: torch.cumprod((1 - betas).flip(0), 0).flip(0),
        ),
    ],
)  # fmt: skip


# 1.3 q_sample ---------------------------------------------------------------------------------------


def sample_with(signal, sigma, constants=lambda s, t: s.alphas_cumprod[t]):
    def q_sample(x0, t, noise, schedule):
        a = shaped(constants(schedule, t), x0)
        return signal(a) * x0 + sigma(a) * noise

    return q_sample


def one_step_noise(x0, t, noise, schedule):
    a, beta = shaped(schedule.alphas_cumprod[t], x0), shaped(schedule.betas[t], x0)
    return a.sqrt() * x0 + beta.sqrt() * noise


def q_sample_unshaped(x0, t, noise, schedule):
    a = schedule.alphas_cumprod[t]
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def first_t_for_all(x0, t, noise, schedule):
    a = schedule.alphas_cumprod[t[0]]
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def q_sample_cases():
    return [
        (0.5 * randn(0, 200, 2), torch.arange(0, 1000, 5), randn(1, 200, 2), linear(1000)),
        (randn(2, 3, 1, 8, 6), torch.tensor([49, 0, 20]), randn(3, 3, 1, 8, 6), linear(50)),
    ]


Q_SAMPLE = Exercise(
    "1.3",
    "q_sample",
    sample_with(root, keep),
    q_sample_cases,
    "it equals the closed form for points and for pictures, from t = 0 to t = 999, with another t for "
    "each example.",
    mistakes=[
        Mistake(
            "variance for standard deviation",
            variances("that is what comes out when the noise is scaled by (1 - alpha_bar) instead of its "
                      "square root."),
            sample_with(root, lambda a: 1 - a),
        ),
        Mistake(
            "missing sqrt on alpha-bar",
            variances("the picture is scaled by alpha_bar itself; its factor is the square root."),
            sample_with(lambda a: a, keep),
        ),
        Mistake(
            "both roots missing",
            variances("both factors lack their square root. Their squares must add to 1, not they "
                      "themselves: that is a "
                      "cross-fade."),
            sample_with(lambda a: a, lambda a: 1 - a),
        ),
        Mistake(
            "weights swapped",
            "The two factors are exchanged: at t = 0 almost all of x_0 must be left, and at the last "
            "level almost nothing.",
            sample_with(keep, root),
        ),
        Mistake(
            "alpha for alpha-bar",
            lambda got, want: "It uses alpha_t, what a single step keeps, so even the last level is "
            "nearly clean: "
            f"variance {got.var():.2f} where {want.var():.2f} was expected. Use the product, alphas_cumprod.",
            sample_with(root, keep, lambda s, t: s.alphas[t]),
        ),
        Mistake(
            "noise of one step only",
            variances("the noise is scaled by sqrt(beta_t), what the last step alone adds. All the "
                      "earlier steps added some too."),
            one_step_noise,
        ),
        Mistake(
            "off by one in t",
            "It uses alpha-bar of level t - 1 (and at t = 0 the index -1 silently takes the last level, "
            "pure noise): "
            "alphas_cumprod[t] is the one of level t.",
            sample_with(root, keep, lambda s, t: s.alphas_cumprod[t - 1]),
        ),
        Mistake(
            "one t for the whole batch",
            "Every example gets the noise level of the first one: index with the whole tensor t, not with "
            "t[0].",
            first_t_for_all,
        ),
        Mistake(
            "alpha-bar not reshaped",
            "alphas_cumprod[t] has shape (B,) and x0 has more dimensions, so they do not line up: reshape "
            "it to (B, 1, ...).",
            q_sample_unshaped,
            raises=True,
        ),
    ],
)  # fmt: skip


# 1.4 cosine_betas -----------------------------------------------------------------------------------


def cosine_with(f=lambda u, s: torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2, clip=True, upside_down=False):
    def cosine_betas(T, s=0.008, max_beta=0.999):
        u = torch.arange(T + 1, dtype=torch.float64) / T
        alpha_bar = f(u, s)
        betas = 1 - (alpha_bar[:-1] / alpha_bar[1:] if upside_down else alpha_bar[1:] / alpha_bar[:-1])
        return betas.clamp(max=max_beta) if clip else betas

    return cosine_betas


def cosine_late(T, s=0.008, max_beta=0.999):
    u = torch.arange(T, dtype=torch.float64) / T
    f = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
    return (1 - f / torch.cat([f[:1], f[:-1]])).clamp(max=max_beta)


def cosine_alpha_bar(T, s=0.008, max_beta=0.999):
    f = torch.cos((torch.arange(T + 1, dtype=torch.float64) / T + s) / (1 + s) * math.pi / 2) ** 2
    return f[1:] / f[0]


COSINE_BETAS = Exercise(
    "1.4",
    "cosine_betas",
    cosine_with(),
    lambda: [(1000,), (25, 0.1, 0.9)],
    "T betas in (0, 1), cut at max_beta, whose alpha-bar follows the squared cosine; for T = 1000 and T = "
    "25.",
    mistakes=[
        Mistake(
            "cosine not squared",
            lambda got, want: f"beta in the middle is {got[len(got) // 2]:.3g} where "
            f"{want[len(want) // 2]:.3g} was expected, "
            "about half: alpha-bar is the *squared* cosine.",
            cosine_with(lambda u, s: torch.cos((u + s) / (1 + s) * math.pi / 2)),
        ),
        Mistake(
            "not cut at max_beta",
            lambda got, want: f"The largest beta is {got.max():.6f} where {want.max():.6f} was expected: "
            "without the cut the last step "
            "erases everything, and nothing can be divided by its alpha-bar any more.",
            cosine_with(clip=False),
        ),
        Mistake(
            "off by one in u",
            lambda got, want: f"The first beta is {got[0]:.3g} where {want[0]:.3g} was expected: level t "
            "ends at u = (t + 1) / T, "
            "so u needs T + 1 values from 0 to 1, both included.",
            cosine_late,
        ),
        Mistake(
            "s left out",
            lambda got, want: f"The first beta is {got[0]:.3g} where {want[0]:.3g} was expected: the "
            "offset s is missing, "
            "and with it the first steps add next to nothing.",
            cosine_with(lambda u, s: torch.cos(u * math.pi / 2) ** 2),
        ),
        Mistake(
            "s only above the line",
            "u + s runs past 1 when it is not divided by 1 + s: the cosine then passes zero and alpha-bar "
            "rises again, "
            "which makes the last betas negative.",
            cosine_with(lambda u, s: torch.cos((u + s) * math.pi / 2) ** 2),
        ),
        Mistake(
            "pi for pi / 2",
            "The angle must go from 0 to a quarter turn, pi / 2. With pi the cosine falls to -1, its "
            "square climbs back to 1, "
            "and half of the betas are negative.",
            cosine_with(lambda u, s: torch.cos((u + s) / (1 + s) * math.pi) ** 2),
        ),
        Mistake(
            "ratio upside down",
            "The betas are negative: beta_t is 1 minus (new alpha-bar over old alpha-bar), and yours "
            "divides old by new.",
            cosine_with(upside_down=True),
        ),
        Mistake(
            "alpha-bar for beta",
            lambda got, want: f"The first value is {got[0]:.3g} where {want[0]:.3g} was expected: this is "
            "alpha-bar. "
            "The betas follow from the ratio of neighbouring values.",
            cosine_alpha_bar,
        ),
    ],
    atol=1e-4,
)  # fmt: skip


# 1.5 linear_betas -----------------------------------------------------------------------------------


def linear_betas(T, beta_start=1e-4, beta_end=0.02):
    return torch.linspace(beta_start, beta_end, T) * (1000 / T)


def end_excluded(T, beta_start=1e-4, beta_end=0.02):
    return (beta_start + (beta_end - beta_start) * torch.arange(T) / T) * (1000 / T)


LINEAR_BETAS = Exercise(
    "1.5",
    "linear_betas",
    linear_betas,
    lambda: [(100,), (1000,), (400, 2e-4, 0.01)],
    "T betas on a straight line, scaled so that T = 100, 400 and 1000 destroy equally much.",
    mistakes=[
        Mistake(
            "not rescaled",
            ends("betas made for 1,000 steps, taken T times. Their sum must stay about the same when T "
                 "changes."),
            lambda T, beta_start=1e-4, beta_end=0.02: torch.linspace(beta_start, beta_end, T),
        ),
        Mistake(
            "scaled the wrong way",
            ends("the factor is T / 1000. Fewer steps must each add *more* noise."),
            lambda T, beta_start=1e-4, beta_end=0.02: torch.linspace(beta_start, beta_end, T) * (T / 1000),
        ),
        Mistake(
            "only the end rescaled",
            lambda got, want: f"It starts at {got[0]:.3g} where {want[0]:.3g} was expected: the last beta "
            "is scaled, the first is not.",
            lambda T, beta_start=1e-4, beta_end=0.02: torch.linspace(beta_start, beta_end * 1000 / T, T),
        ),
        Mistake(
            "root of the factor",
            ends("the factor is sqrt(1000 / T). Beta is a variance, and variances add, so the factor is "
                 "1000 / T itself."),
            lambda T, start=1e-4, end=0.02: torch.linspace(start, end, T) * (1000 / T) ** 0.5,
        ),
        Mistake(
            "last value left out",
            ends("the line stops one step short. The last beta must be the given end (times the factor), "
                 "as linspace has it."),
            end_excluded,
        ),
        Mistake(
            "start and end exchanged",
            lambda got, want: f"It starts at {got[0]:.3g} where {want[0]:.3g} was expected: the betas "
            "fall where they should rise. "
            "The first steps, where detail is lost, must be the small ones.",
            lambda T, beta_start=1e-4, beta_end=0.02: torch.linspace(beta_end, beta_start, T) * (1000 / T),
        ),
        Mistake(
            "straight line in sqrt(beta)",
            lambda got, want: f"The middle beta is {got[len(got) // 2]:.3g} where "
            f"{want[len(want) // 2]:.3g} was expected: this is the line of "
            "the roots, squared (what latent diffusion models use). Here beta itself lies on the line.",
            lambda T, start=1e-4, end=0.02: torch.linspace(start**0.5, end**0.5, T) ** 2 * (1000 / T),
        ),
        Mistake(
            "alpha for beta",
            lambda got, want: f"It starts at {got[0]:.3g} where {want[0]:.3g} was expected: these are the "
            "alphas, 1 - beta.",
            lambda T, beta_start=1e-4, beta_end=0.02: 1 - linear_betas(T, beta_start, beta_end),
        ),
    ],
)  # fmt: skip


# 1.6 predict_x0 -------------------------------------------------------------------------------------


def undo_with(formula, constants=lambda s, t: s.alphas_cumprod[t]):
    def predict_x0(x_t, t, eps, schedule):
        return formula(x_t, eps, shaped(constants(schedule, t), x_t))

    return predict_x0


def one_step_back(x_t, t, eps, schedule):
    a, beta = shaped(schedule.alphas_cumprod[t], x_t), shaped(schedule.betas[t], x_t)
    return (x_t - beta / (1 - a).sqrt() * eps) / (1 - beta).sqrt()


def predict_x0_unshaped(x_t, t, eps, schedule):
    a = schedule.alphas_cumprod[t]
    return (x_t - (1 - a).sqrt() * eps) / a.sqrt()


def predict_x0_cases():
    made = []
    for x0, t, eps, schedule in (
        (randn(0, 200, 2), torch.arange(0, 800, 4), randn(1, 200, 2), linear(1000)),
        (randn(2, 3, 1, 8, 6), torch.tensor([39, 0, 20]), randn(3, 3, 1, 8, 6), linear(50)),
    ):
        made.append((schedule.q_sample(x0, t, eps), t, eps, schedule))
    return made


def errors(text):
    """A message that quotes the typical error."""
    return lambda got, want: f"{text} Root-mean-square error {(got - want).square().mean().sqrt():.2f}, "
    "where the exact noise gives 0."


PREDICT_X0 = Exercise(
    "1.6",
    "predict_x0",
    undo_with(lambda x, e, a: (x - (1 - a).sqrt() * e) / a.sqrt()),
    predict_x0_cases,
    "given the exact noise it returns the clean data, for points and for pictures.",
    mistakes=[
        Mistake(
            "clean = noisy - noise",
            errors("It returns x_t - eps: the noise is in x_t with a factor, and so is the clean picture. "
                   "Solve the closed form for x_0."),
            undo_with(lambda x, e, a: x - e),
        ),
        Mistake(
            "not divided by sqrt(alpha-bar)",
            errors("The noise is taken away, but what is left is sqrt(alpha_bar) x_0: a picture still "
                   "faded."),
            undo_with(lambda x, e, a: x - (1 - a).sqrt() * e),
        ),
        Mistake(
            "divided by alpha-bar",
            errors("It divides by alpha_bar; the factor of x_0 in the closed form is the square root."),
            undo_with(lambda x, e, a: (x - (1 - a).sqrt() * e) / a),
        ),
        Mistake(
            "missing sqrt on 1 - alpha-bar",
            errors("The noise is scaled by (1 - alpha_bar); in x_t it stands with the square root."),
            undo_with(lambda x, e, a: (x - (1 - a) * e) / a.sqrt()),
        ),
        Mistake(
            "noise added",
            errors("The noise is added once more. To get back it must be taken away."),
            undo_with(lambda x, e, a: (x + (1 - a).sqrt() * e) / a.sqrt()),
        ),
        Mistake(
            "weights swapped",
            errors("The two factors are exchanged: sqrt(1 - alpha_bar) belongs to the noise, "
                   "sqrt(alpha_bar) to x_0."),
            undo_with(lambda x, e, a: (x - a.sqrt() * e) / (1 - a).sqrt()),
        ),
        Mistake(
            "alpha for alpha-bar",
            errors("It undoes one step's worth of noise (alpha_t). eps is the noise of all the steps: use "
                   "alphas_cumprod."),
            undo_with(lambda x, e, a: (x - (1 - a).sqrt() * e) / a.sqrt(), lambda s, t: s.alphas[t]),
        ),
        Mistake(
            "one step back",
            errors("This is the mean of x_{t-1}, one small step back (it comes in the next notebook). x_0 "
                   "is the whole way."),
            one_step_back,
        ),
        Mistake(
            "alpha-bar not reshaped",
            "alphas_cumprod[t] has shape (B,) and x_t has more dimensions, so they do not line up: "
            "reshape it to (B, 1, ...).",
            predict_x0_unshaped,
            raises=True,
        ),
    ],
)  # fmt: skip


EXERCISES = [Q_STEP, ALPHAS_CUMPROD, Q_SAMPLE, COSINE_BETAS, LINEAR_BETAS, PREDICT_X0]
