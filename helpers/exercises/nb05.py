"""The exercises of notebook 05: variance of eta, DDIM step, spacings, DPM-Solver++(2M), slerp, inversion."""

import torch

from helpers.schedule import cosine, linear

from .exercise import Exercise, Mistake

# 5.1 ddim_variance --------------------------------------------------------------------------------


def ddim_variance(t, t_next, eta, schedule):
    a, a_next = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
    return eta**2 * (1 - a_next) / (1 - a) * (1 - a / a_next)


def _variance(formula):
    """A variant: formula(a, a_next, eta) -> the variance."""
    return lambda t, t_next, eta, s: formula(s.alpha_bar(t), s.alpha_bar(t_next), eta)


def variance_one_level(t, t_next, eta, schedule):
    a, a_next = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
    return eta**2 * (1 - a_next) / (1 - a) * schedule.betas64[t]


def variance_wrong_end(t, t_next, eta, schedule):
    abar = schedule.alphas_cumprod.double()
    a, a_next = abar[t], abar[t_next]
    return eta**2 * (1 - a_next) / (1 - a) * (1 - a / a_next)


def variance_cases():
    return [
        (999, 949, 1.0, cosine(1000)),
        (499, 479, 0.5, cosine(1000)),
        (150, 149, 1.0, linear(200)),
        (19, -1, 1.0, cosine(1000)),
        (80, 20, 0.3, linear(200)),
        (300, 200, 0.0, cosine(1000)),
    ]


def _eta_once(got, want):
    return (
        "The value is right for eta = 0 and 1 and wrong in between: eta scales the standard "
        "deviation, so the "
        "variance gets eta squared."
    )


VARIANCE = Exercise(
    "5.1",
    "ddim_variance",
    ddim_variance,
    variance_cases,
    verified="0 for eta = 0, the posterior variance for eta = 1 and neighbouring levels, 0 at the last step.",
    mistakes=[
        Mistake("eta not squared", _eta_once, _variance(lambda a, n, e: e * (1 - n) / (1 - a) * (1 - a / n))),
        Mistake(
            "standard deviation for variance",
            "This is the standard deviation: the variance is its square, so leave the roots out.",
            _variance(lambda a, n, e: (e**2 * (1 - n) / (1 - a) * (1 - a / n)).clamp(min=0).sqrt()),
        ),
        Mistake(
            "beta of one level",
            "This takes beta_t, the noise of one level; the step crosses all levels from t down to t_next, "
            "and together they add 1 - alpha_bar_t / alpha_bar_t_next.",
            variance_one_level,
        ),
        Mistake(
            "levels swapped",
            "The fraction is upside down: the level that is reached, t_next, belongs on top, and its noise "
            "is the smaller one.",
            _variance(lambda a, n, e: e**2 * (1 - a) / (1 - n).clamp(min=1e-12) * (1 - a / n)),
        ),
        Mistake(
            "clean read as the last level",
            "At t_next = -1 this reads alphas_cumprod[-1], in Python the last level, pure noise; "
            "schedule.alpha_bar(-1) is 1.",
            variance_wrong_end,
        ),
        Mistake(
            "forward variance",
            "This is the variance of the noise between the two levels, without the factor "
            "(1 - alpha_bar_t_next) / (1 - alpha_bar_t) that knowing x_0 brings.",
            _variance(lambda a, n, e: e**2 * (1 - a / n)),
        ),
        Mistake(
            "all the noise",
            "This is the whole noise variance at t_next; only a part of it may be fresh.",
            _variance(lambda a, n, e: e**2 * (1 - n)),
        ),
    ],
)

# 5.2 ddim_step ------------------------------------------------------------------------------------


def ddim_step(x0, eps, t, t_next, eta, noise, schedule):
    a_next = schedule.alpha_bar(t_next)
    var = ddim_variance(t, t_next, eta, schedule)
    return a_next.sqrt() * x0 + (1 - a_next - var).sqrt() * eps + var.sqrt() * noise


def _step(formula):
    """A variant: formula(x0, eps, noise, a, a_next, variance) -> x at t_next."""

    def variant(x0, eps, t, t_next, eta, noise, s):
        var = ddim_variance(t, t_next, eta, s)
        return formula(x0, eps, noise, s.alpha_bar(t), s.alpha_bar(t_next), var)

    return variant


def step_wrong_end(x0, eps, t, t_next, eta, noise, schedule):
    a_next = schedule.alphas_cumprod[t_next].double()
    var = ddim_variance(t, t_next, eta, schedule)
    return a_next.sqrt() * x0 + (1 - a_next - var).clamp(min=0).sqrt() * eps + var.sqrt() * noise


def step_cases():
    g = torch.Generator().manual_seed(0)
    cases = []
    for shape, t, t_next, eta, schedule in (
        ((5, 2), 999, 949, 1.0, cosine(1000)),
        ((3, 1, 8, 6), 499, 399, 0.5, cosine(1000)),
        ((3, 1, 8, 6), 120, 60, 0.0, linear(200)),
        ((5, 2), 19, -1, 1.0, cosine(1000)),
    ):
        x0, eps, noise = torch.randn(3, *shape, generator=g)
        cases.append((x0.clamp(-1, 1), eps, t, t_next, eta, noise, schedule))
    return cases


def _too_noisy(got, want):
    return (
        f"x at the new level spreads {got.std():.2f} where {want.std():.2f} was expected: the "
        "fresh noise comes "
        "on top of the predicted one. What is drawn fresh must be taken off the old noise, 1 "
        "- alpha_bar - variance."
    )


STEP = Exercise(
    "5.2",
    "ddim_step",
    ddim_step,
    step_cases,
    verified=(
        "signal, kept noise and fresh noise in the right shares for eta = 0, 0.5, 1, and clean at the end."
    ),
    strict_dtype=True,
    mistakes=[
        Mistake(
            "noise on top",
            _too_noisy,
            _step(lambda x0, e, z, a, n, v: n.sqrt() * x0 + (1 - n).sqrt() * e + v.sqrt() * z),
        ),
        Mistake(
            "variance for standard deviation",
            "The fresh noise is scaled by its variance: take the square root.",
            _step(lambda x0, e, z, a, n, v: n.sqrt() * x0 + (1 - n - v).sqrt() * e + v * z),
        ),
        Mistake(
            "standard deviations subtracted",
            "Variances add up, standard deviations do not: subtract the variance under the root.",
            _step(lambda x0, e, z, a, n, v: n.sqrt() * x0 + ((1 - n).sqrt() - v.sqrt()) * e + v.sqrt() * z),
        ),
        Mistake(
            "old level's signal",
            "The signal is scaled for the level that is left, t; x is to be at t_next.",
            _step(lambda x0, e, z, a, n, v: a.sqrt() * x0 + (1 - n - v).sqrt() * e + v.sqrt() * z),
        ),
        Mistake(
            "old level's noise",
            "The kept noise is scaled for the level that is left, t; it must fit alpha_bar at t_next.",
            _step(lambda x0, e, z, a, n, v: n.sqrt() * x0 + (1 - a - v).sqrt() * e + v.sqrt() * z),
        ),
        Mistake(
            "x_0 not scaled",
            "The estimate of x_0 comes in at full strength; at t_next only sqrt(alpha_bar) of it is left.",
            _step(lambda x0, e, z, a, n, v: x0 + (1 - n - v).sqrt() * e + v.sqrt() * z),
        ),
        Mistake(
            "eps and fresh noise swapped",
            "The two noises have changed places: the fresh one gets the variance of exercise 5.1.",
            _step(lambda x0, e, z, a, n, v: n.sqrt() * x0 + (1 - n - v).sqrt() * z + v.sqrt() * e),
        ),
        Mistake(
            "clean read as the last level",
            "At t_next = -1 this reads alphas_cumprod[-1], the noisiest level; "
            "schedule.alpha_bar(-1) is 1, so "
            "the result is x_0 itself.",
            step_wrong_end,
        ),
    ],
)

# 5.3 spaced_levels --------------------------------------------------------------------------------


def spaced_levels(T, steps, spacing):
    if spacing == "trailing":
        return [round(T - i * T / steps) - 1 for i in range(steps)]
    if spacing == "linspace":
        return [round((T - 1) * (1 - i / (steps - 1))) for i in range(steps)]
    return [i * (T // steps) for i in reversed(range(steps))]


def _but(spacing, other):
    """A variant: the levels of one spacing by `other` (T, steps); the rest right."""
    return lambda T, s, kind: other(T, s) if kind == spacing else spaced_levels(T, s, kind)


def spaced_cases():
    return [
        (T, steps, kind)
        for T, steps in ((300, 30), (1000, 7), (1000, 20))
        for kind in ("trailing", "linspace", "leading")
    ]


SPACED = Exercise(
    "5.3",
    "spaced_levels",
    spaced_levels,
    spaced_cases,
    verified="trailing from the top in equal strides, linspace with both ends, leading with its start below.",
    mistakes=[
        Mistake(
            "rising",
            "The levels rise; a walk from noise to data visits them falling.",
            lambda T, s, k: spaced_levels(T, s, k)[::-1],
        ),
        Mistake(
            "trailing one too high",
            lambda got, want: (
                f"Trailing starts at {got[0]}, and levels end at {want[0]}: subtract 1 after rounding."
            ),
            _but("trailing", lambda T, s: [round(T - i * T / s) for i in range(s)]),
        ),
        Mistake(
            "trailing cut",
            "Trailing levels are cut, not rounded, where the stride is not whole: use round.",
            _but("trailing", lambda T, s: [int(T - i * T / s) - 1 for i in range(s)]),
        ),
        Mistake(
            "linspace misses 0",
            lambda got, want: (
                f"Linspace ends at {got[-1]} and should hit 0: {len(want)} levels have one stride "
                "fewer between them."
            ),
            _but("linspace", lambda T, s: [round((T - 1) * (1 - i / s)) for i in range(s)]),
        ),
        Mistake(
            "linspace begins at T",
            "Linspace runs from T - 1, not from T: that level does not exist.",
            _but("linspace", lambda T, s: [round(T * (1 - i / (s - 1))) for i in range(s)]),
        ),
        Mistake(
            "leading moved to the top",
            lambda got, want: (
                f"Leading starts at {got[0]} here; as it is used it starts at {want[0]}, below the "
                "top. That flaw is what we want to look at, so keep it."
            ),
            _but("leading", lambda T, s: [T - 1 - i * (T // s) for i in range(s)]),
        ),
        Mistake(
            "leading with a broken stride",
            "Leading takes the whole stride T // steps; yours rounds a broken one.",
            _but("leading", lambda T, s: [round(i * T / s) for i in reversed(range(s))]),
        ),
        Mistake(
            "spacings mixed up",
            "Trailing and leading have changed places: trailing is the one that begins at T - 1.",
            lambda T, s, k: spaced_levels(T, s, {"trailing": "leading", "leading": "trailing"}.get(k, k)),
        ),
    ],
)

# 5.4 dpm_step -------------------------------------------------------------------------------------


def _lam(schedule, t):
    a = schedule.alpha_bar(t)
    return 0.5 * (a / (1 - a)).log()


def _dpm(correct=None, move=None):
    """The step with its correction correct(x0, x0_before, h, h_before) or move(x, x0, a, n, h) replaced."""
    correct = correct or (lambda x0, old, h, h_old: x0 + (x0 - old) * h / (2 * h_old))
    move = move or (lambda x, x0, a, n, h: ((1 - n) / (1 - a)).sqrt() * x - n.sqrt() * torch.expm1(-h) * x0)

    def step(x, t, t_next, x0, before, schedule):
        if t_next < 0:
            return x0
        h = _lam(schedule, t_next) - _lam(schedule, t)
        if before is not None:
            x0 = correct(x0, before[1], h, _lam(schedule, t) - _lam(schedule, before[0]))
        return move(x, x0, schedule.alpha_bar(t), schedule.alpha_bar(t_next), h)

    return step


dpm_step = _dpm()


def dpm_full_snr(x, t, t_next, x0, before, schedule):
    """lambda without its half: the correction stays, the exponential does not."""
    return _dpm(
        move=lambda x, x0, a, n, h: ((1 - n) / (1 - a)).sqrt() * x - n.sqrt() * torch.expm1(-2 * h) * x0
    )(x, t, t_next, x0, before, schedule)


def dpm_in_levels(x, t, t_next, x0, before, schedule):
    """The line drawn over t instead of lambda."""
    if before is not None and t_next >= 0:
        x0 = x0 + (x0 - before[1]) * (t - t_next) / (2 * (before[0] - t))
    return dpm_step(x, t, t_next, x0, None, schedule)


def dpm_corrected_end(x, t, t_next, x0, before, schedule):
    if t_next < 0:
        return x0 if before is None else x0 + (x0 - before[1]) / 2
    return dpm_step(x, t, t_next, x0, before, schedule)


def dpm_cases():
    g = torch.Generator().manual_seed(0)
    cases = []
    for shape, before, t, t_next, schedule in (
        ((5, 2), None, 999, 949, cosine(1000)),
        ((3, 1, 8, 6), 700, 600, 450, cosine(1000)),
        ((5, 2), 190, 150, 140, linear(200)),
        ((3, 1, 8, 6), 79, 19, -1, cosine(1000)),
    ):
        x, x0, old = torch.randn(3, *shape, generator=g)
        cases.append((x, t, t_next, x0, None if before is None else (before, old), schedule))
    return cases


DPM = Exercise(
    "5.4",
    "dpm_step",
    dpm_step,
    dpm_cases,
    verified=(
        "DDIM at the first and the last step, and in between the line through two estimates, over lambda."
    ),
    rtol=3e-4,
    strict_dtype=True,
    mistakes=[
        Mistake(
            "no memory",
            "This ignores the step before: it is DDIM, of first order.",
            lambda x, t, n, x0, before, s: dpm_step(x, t, n, x0, None, s),
        ),
        Mistake(
            "half forgotten",
            "The line is followed to the end of the step; its middle is what counts: the factor "
            "is 1 / (2 r).",
            _dpm(correct=lambda x0, old, h, h_old: x0 + (x0 - old) * h / h_old),
        ),
        Mistake(
            "ratio upside down",
            "r is the step before divided by this step, h; yours is the other way round.",
            _dpm(correct=lambda x0, old, h, h_old: x0 + (x0 - old) * h_old / (2 * h)),
        ),
        Mistake(
            "line drawn backwards",
            "The difference has the wrong sign: the estimate is carried on, away from the old one.",
            _dpm(correct=lambda x0, old, h, h_old: x0 - (x0 - old) * h / (2 * h_old)),
        ),
        Mistake(
            "sign of the exponential",
            "exp(-h) - 1 is negative, and it is subtracted, so x_0 must come in with a plus.",
            _dpm(
                move=lambda x, x0, a, n, h: ((1 - n) / (1 - a)).sqrt() * x + n.sqrt() * torch.expm1(-h) * x0
            ),
        ),
        Mistake(
            "lambda without its half",
            "The exponential belongs to half the log of the signal-to-noise ratio; yours has the whole.",
            dpm_full_snr,
        ),
        Mistake(
            "line over t",
            "The ratio is taken of steps in t; the line is drawn over lambda, in which steps of "
            "equal t differ.",
            dpm_in_levels,
        ),
        Mistake(
            "last step corrected",
            "At the last step lambda is infinite and there is nothing to draw a line over: return "
            "x_0 as it is.",
            dpm_corrected_end,
        ),
    ],
)

# 5.5 slerp ----------------------------------------------------------------------------------------


def slerp(a, b, share):
    u, v = a.flatten(1), b.flatten(1)
    cosine_of = (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))
    angle = cosine_of.clamp(-1, 1).acos().reshape(-1, *[1] * (a.ndim - 1))
    return (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()


def _slerp(angle=None, mix=None):
    """A variant: angle(u, v) of the flattened latents (B,), mix(a, b, share, angle) of the two."""
    angle = angle or (lambda u, v: ((u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))).clamp(-1, 1).acos())
    mix = mix or (lambda a, b, s, w: (((1 - s) * w).sin() * a + (s * w).sin() * b) / w.sin())

    def variant(a, b, share):
        w = angle(a.flatten(1), b.flatten(1)).reshape(-1, *[1] * (a.ndim - 1))
        return mix(a, b, share, w)

    return variant


def slerp_cases():
    g = torch.Generator().manual_seed(0)
    cases = []
    for shape, share in (((4, 1, 6, 5), 0.5), ((3, 1, 4, 8), 0.2), ((5, 7), 0.9)):
        a, b = torch.randn(2, *shape, generator=g)
        cases.append((a, 1.2 * b + 0.3 * a, share))
    return cases


def _shrinks(got, want):
    middle = got[0].norm() / want[0].norm()
    return (
        f"This is the straight line: the latent in the middle has only {middle:.2f} of the "
        "length it should have. "
        "Weigh the two by sines of the angle."
    )


SLERP = Exercise(
    "5.5",
    "slerp",
    slerp,
    slerp_cases,
    verified="along the arc between the two, each pair of the batch with its own angle.",
    mistakes=[
        Mistake("straight line", _shrinks, lambda a, b, s: (1 - s) * a + s * b),
        Mistake(
            "wrong way round",
            "At share 0 this gives b: the first must fade out while the share grows.",
            lambda a, b, s: slerp(a, b, 1 - s),
        ),
        Mistake(
            "not divided by the sine",
            "The two sines are not divided by the sine of the whole angle, so the ends do not come out.",
            _slerp(mix=lambda a, b, s, w: ((1 - s) * w).sin() * a + (s * w).sin() * b),
        ),
        Mistake(
            "one angle for the batch",
            "The angle is taken over the whole batch as one vector; each pair has its own.",
            _slerp(angle=lambda u, v: (((u * v).sum() / (u.norm() * v.norm())).acos()).expand(len(u))),
        ),
        Mistake(
            "always a right angle",
            "This takes 90 degrees for every pair; random latents are only nearly at right "
            "angles, and others are not.",
            _slerp(angle=lambda u, v: torch.full((len(u),), torch.pi / 2)),
        ),
        Mistake(
            "norms forgotten",
            "The scalar product is not divided by both lengths, so it is no cosine (and acos is cut off).",
            _slerp(angle=lambda u, v: ((u * v).sum(1) / u.norm(dim=1) ** 2).clamp(-1, 1).acos()),
        ),
        Mistake(
            "share of the sine",
            "The share multiplies the sine; it is the angle that is shared out.",
            _slerp(mix=lambda a, b, s, w: (1 - s) * w.sin() * a + s * w.sin() * b),
        ),
    ],
)

# 5.6 invert_step ----------------------------------------------------------------------------------


def invert_step(x, t, t_up, ask, schedule):
    a, a_up = schedule.alpha_bar(t), schedule.alpha_bar(t_up)
    eps = ask(x, max(t, 0))
    x0 = (x - (1 - a).sqrt() * eps) / a.sqrt()
    return a_up.sqrt() * x0 + (1 - a_up).sqrt() * eps


def _up(level=lambda t, t_up: max(t, 0), move=None):
    """A variant: the level the network is told, and move(x, eps, a, a_up)."""

    def x0_of(x, eps, a):
        return (x - (1 - a).sqrt() * eps) / a.sqrt()

    move = move or (lambda x, eps, a, u: u.sqrt() * x0_of(x, eps, a) + (1 - u).sqrt() * eps)

    def variant(x, t, t_up, ask, schedule):
        eps = ask(x, level(t, t_up))
        return move(x, eps, schedule.alpha_bar(t), schedule.alpha_bar(t_up))

    return variant


def invert_clamped(x, t, t_up, ask, schedule):
    return _up(
        move=lambda x, eps, a, u: (
            u.sqrt() * ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1) + (1 - u).sqrt() * eps
        )
    )(x, t, t_up, ask, schedule)


def invert_fresh(x, t, t_up, ask, schedule):
    g = torch.Generator().manual_seed(0)
    return schedule.q_sample(x, t_up, torch.randn(x.shape, generator=g))


def _toy(T):
    """A stand-in for the network: eps that depends on x and on the level."""

    def ask(x, t):
        if not 0 <= t < T:
            raise ValueError(f"the network knows the levels 0 .. {T - 1}, it was asked for {t}")
        return 0.7 * x + torch.sin(3 * x) * (0.2 + t / T)

    return ask


def invert_cases():
    g = torch.Generator().manual_seed(0)
    return [
        (1.5 * torch.randn(4, 1, 6, 5, generator=g), 19, 39, _toy(1000), cosine(1000)),
        (1.5 * torch.randn(5, 2, generator=g), 60, 120, _toy(200), linear(200)),
        (1.5 * torch.randn(3, 1, 4, 8, generator=g), -1, 19, _toy(1000), cosine(1000)),
    ]


INVERT = Exercise(
    "5.6",
    "invert_step",
    invert_step,
    invert_cases,
    verified=(
        "the DDIM step walked upwards, with the network asked where it stands, also from the clean picture."
    ),
    mistakes=[
        Mistake(
            "asked below the lowest level",
            "The clean picture stands at -1, a level the network does not know: ask at max(t, 0).",
            _up(level=lambda t, t_up: t),
            raises=True,
        ),
        Mistake(
            "asked at the level above",
            "The network is told t_up while it looks at x of level t: tell it where x stands.",
            _up(level=lambda t, t_up: t_up),
        ),
        Mistake(
            "fresh noise",
            "This noises the picture with fresh noise; the walk back would draw another picture. Take the "
            "noise that the network sees in x.",
            invert_fresh,
        ),
        Mistake(
            "x_t noised again",
            "The noisy x_t is scaled as if it were x_0: solve for x_0 first.",
            _up(move=lambda x, eps, a, u: u.sqrt() * x + (1 - u).sqrt() * eps),
        ),
        Mistake(
            "x_0 clamped",
            "The estimate of x_0 is clamped, and a clamp cannot be undone on the way back: leave "
            "it as it is.",
            invert_clamped,
        ),
        Mistake(
            "levels swapped",
            "The roles of t and t_up are swapped: x stands at t and is to go to t_up.",
            _up(
                move=lambda x, eps, a, u: (
                    a.sqrt() * (x - (1 - u).sqrt() * eps) / u.sqrt() + (1 - a).sqrt() * eps
                )
            ),
        ),
        Mistake(
            "x_0 not rescaled",
            "x_0 is x minus the noise, divided by sqrt(alpha_bar): the division is missing.",
            _up(move=lambda x, eps, a, u: u.sqrt() * (x - (1 - a).sqrt() * eps) + (1 - u).sqrt() * eps),
        ),
    ],
)

EXERCISES = [VARIANCE, STEP, SPACED, DPM, SLERP, INVERT]
