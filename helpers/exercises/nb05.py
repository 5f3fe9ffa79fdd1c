"""The exercises of notebook 05: variance of eta, DDIM step, spacings, DPM-Solver++(2M), slerp, inversion."""

import torch

from helpers.schedule import cosine, linear

from .exercise import Exercise, Mistake

# 5.1 ddim_variance --------------------------------------------------------------------------------


def ddim_variance(t, t_next, eta, schedule):
    a, a_next = schedule.alpha_bar[t], schedule.alpha_bar[t_next]
    return eta**2 * (1 - a_next) / (1 - a) * (1 - a / a_next)


def vary_variance(formula):
    """A variant: formula(a, a_next, eta) -> the variance."""

    def variant(t, t_next, eta, schedule):
        return formula(schedule.alpha_bar[t], schedule.alpha_bar[t_next], eta)

    return variant


def take_one_beta(t, t_next, eta, schedule):
    a, a_next = schedule.alpha_bar[t], schedule.alpha_bar[t_next]
    return eta**2 * (1 - a_next) / (1 - a) * schedule.betas[t]


def make_variance_cases():
    return [
        (1000, 950, 1.0, cosine(1000)),
        (500, 480, 0.5, cosine(1000)),
        (151, 150, 1.0, linear(200)),
        (20, 0, 1.0, cosine(1000)),
        (80, 20, 0.3, linear(200)),
        (300, 200, 0.0, cosine(1000)),
    ]


VARIANCE = Exercise(
    "5.1",
    "ddim_variance",
    ddim_variance,
    make_variance_cases,
    verified="0 for eta = 0, the posterior variance for eta = 1 and neighbouring levels, 0 at the last step.",
    mistakes=[
        Mistake(
            "eta not squared",
            "The value is right for eta = 0 and 1 and wrong in between: eta scales the standard deviation, "
            "so the variance gets eta squared.",
            vary_variance(lambda a, a_next, eta: eta * (1 - a_next) / (1 - a) * (1 - a / a_next)),
        ),
        Mistake(
            "standard deviation for variance",
            "This is the standard deviation: the variance is its square, so leave the roots out.",
            lambda t, t_next, eta, schedule: ddim_variance(t, t_next, eta, schedule).sqrt(),
        ),
        Mistake(
            "beta of one level",
            "This takes beta_t, the noise of one level; the step crosses all levels from t down to t_next, "
            "and together they add 1 - alpha_bar_t / alpha_bar_t_next.",
            take_one_beta,
        ),
        Mistake(
            "levels swapped",
            "The fraction is upside down: the level that is reached, t_next, belongs on top, and its noise "
            "is the smaller one.",
            vary_variance(lambda a, a_next, eta: eta**2 * (1 - a) / (1 - a_next) * (1 - a / a_next)),
        ),
        Mistake(
            "one level too low",
            "alpha_bar is read one entry too low: entry t belongs to level t; entry 0, the clean data, is 1.",
            lambda t, t_next, eta, schedule: ddim_variance(t - 1, t_next - 1, eta, schedule),
        ),
        Mistake(
            "forward variance",
            "This is the variance of the noise between the two levels, without the factor "
            "(1 - alpha_bar_t_next) / (1 - alpha_bar_t) that knowing x_0 brings.",
            vary_variance(lambda a, a_next, eta: eta**2 * (1 - a / a_next)),
        ),
        Mistake(
            "all the noise",
            "This is the whole noise variance at t_next; only a part of it may be fresh.",
            vary_variance(lambda a, a_next, eta: eta**2 * (1 - a_next)),
        ),
    ],
)

# 5.2 ddim_step ------------------------------------------------------------------------------------


def ddim_step(x0, eps, t, t_next, eta, noise, schedule):
    a_next = schedule.alpha_bar[t_next]
    var = ddim_variance(t, t_next, eta, schedule)
    return a_next.sqrt() * x0 + (1 - a_next - var).sqrt() * eps + var.sqrt() * noise


def vary_step(share_out):
    """A variant: share_out(a, a_next, var) -> the factors of x0, eps and noise."""

    def variant(x0, eps, t, t_next, eta, noise, schedule):
        var = ddim_variance(t, t_next, eta, schedule)
        signal, old, fresh = share_out(schedule.alpha_bar[t], schedule.alpha_bar[t_next], var)
        return signal * x0 + old * eps + fresh * noise

    return variant


def make_step_cases():
    g = torch.Generator().manual_seed(0)
    cases = []
    for shape, t, t_next, eta, schedule in (
        ((5, 2), 600, 400, 1.0, cosine(1000)),
        ((3, 1, 8, 6), 500, 400, 0.5, cosine(1000)),
        ((3, 1, 8, 6), 120, 60, 0.0, linear(200)),
        ((5, 2), 20, 0, 1.0, cosine(1000)),
    ):
        x0, eps, noise = torch.randn(3, *shape, generator=g)
        cases.append((x0.clamp(-1, 1), eps, t, t_next, eta, noise, schedule))
    return cases


def explain_noise_on_top(got, want):
    return (
        f"x at the new level spreads {got.std():.2f} where {want.std():.2f} was expected: the fresh noise "
        "comes on top of the predicted one. What is drawn fresh must be taken off the old noise, "
        "1 - alpha_bar - variance."
    )


STEP = Exercise(
    "5.2",
    "ddim_step",
    ddim_step,
    make_step_cases,
    verified="signal, kept and fresh noise in the right shares for eta = 0, 0.5, 1, and clean at the end.",
    strict_dtype=True,
    mistakes=[
        Mistake(
            "noise on top",
            explain_noise_on_top,
            vary_step(lambda a, a_next, var: (a_next.sqrt(), (1 - a_next).sqrt(), var.sqrt())),
        ),
        Mistake(
            "variance for standard deviation",
            "The fresh noise is scaled by its variance: take the square root.",
            vary_step(lambda a, a_next, var: (a_next.sqrt(), (1 - a_next - var).sqrt(), var)),
        ),
        Mistake(
            "standard deviations subtracted",
            "Variances add up, standard deviations do not: subtract the variance under the root.",
            vary_step(lambda a, a_next, var: (a_next.sqrt(), (1 - a_next).sqrt() - var.sqrt(), var.sqrt())),
        ),
        Mistake(
            "old level's signal",
            "The signal is scaled for the level that is left, t; x is to be at t_next.",
            vary_step(lambda a, a_next, var: (a.sqrt(), (1 - a_next - var).sqrt(), var.sqrt())),
        ),
        Mistake(
            "old level's noise",
            "The kept noise is scaled for the level that is left, t; it must fit alpha_bar at t_next.",
            vary_step(lambda a, a_next, var: (a_next.sqrt(), (1 - a - var).sqrt(), var.sqrt())),
        ),
        Mistake(
            "x_0 not scaled",
            "The estimate of x_0 comes in at full strength; at t_next only sqrt(alpha_bar) of it is left.",
            vary_step(lambda a, a_next, var: (1.0, (1 - a_next - var).sqrt(), var.sqrt())),
        ),
        Mistake(
            "eps and fresh noise swapped",
            "The two noises have changed places: the fresh one gets the variance of exercise 5.1.",
            vary_step(lambda a, a_next, var: (a_next.sqrt(), var.sqrt(), (1 - a_next - var).sqrt())),
        ),
    ],
)

# 5.3 spaced_levels --------------------------------------------------------------------------------


def spaced_levels(T, steps, spacing):
    if spacing == "trailing":
        return [round(T - i * T / steps) for i in range(steps)]
    if spacing == "linspace":
        return [1 + round((T - 1) * (1 - i / (steps - 1))) for i in range(steps)]
    return [1 + i * (T // steps) for i in reversed(range(steps))]


def vary_spacing(spacing, place):
    """A variant: in one spacing place(T, steps, i) is the level of step i = 0 .. steps - 1."""

    def variant(T, steps, kind):
        right = spaced_levels(T, steps, kind)
        return right if kind != spacing else [place(T, steps, i) for i in range(steps)]

    return variant


def mix_up_spacings(T, steps, spacing):
    other = {"trailing": "leading", "leading": "trailing", "linspace": "linspace"}[spacing]
    return spaced_levels(T, steps, other)


def make_spaced_cases():
    return [
        (T, steps, kind)
        for T, steps in ((300, 30), (1000, 6), (1000, 20))
        for kind in ("trailing", "linspace", "leading")
    ]


SPACED = Exercise(
    "5.3",
    "spaced_levels",
    spaced_levels,
    make_spaced_cases,
    verified="trailing from the top in equal strides, linspace with both ends, leading with its start below.",
    mistakes=[
        Mistake(
            "rising",
            "The levels rise; a walk from noise to data visits them falling.",
            lambda T, steps, spacing: spaced_levels(T, steps, spacing)[::-1],
        ),
        Mistake(
            "trailing one too low",
            lambda got, want: (
                f"Trailing starts at {got[0]}, and the top is level {want[0]}: nothing is to be subtracted."
            ),
            vary_spacing("trailing", lambda T, steps, i: round(T - i * T / steps) - 1),
        ),
        Mistake(
            "trailing cut",
            "Trailing levels are cut, not rounded, where the stride is not whole: use round.",
            vary_spacing("trailing", lambda T, steps, i: int(T - i * T / steps)),
        ),
        Mistake(
            "linspace misses 1",
            lambda got, want: (
                f"Linspace ends at {got[-1]}, not at 1: {len(want)} levels have {len(want) - 1} strides."
            ),
            vary_spacing("linspace", lambda T, steps, i: 1 + round((T - 1) * (1 - i / steps))),
        ),
        Mistake(
            "linspace ends at 0",
            "Linspace runs down to level 0, the clean data, where there is nothing to ask: it ends at 1.",
            vary_spacing("linspace", lambda T, steps, i: round(T * (1 - i / (steps - 1)))),
        ),
        Mistake(
            "leading moved to the top",
            lambda got, want: (
                f"Leading starts at {got[0]} here; as it is used it starts at {want[0]}, below the top. "
                "That flaw is what we want to look at, so keep it."
            ),
            vary_spacing("leading", lambda T, steps, i: T - i * (T // steps)),
        ),
        Mistake(
            "leading ends at 0",
            "Leading runs down to level 0, the clean data, where there is nothing to ask: it ends at 1.",
            vary_spacing("leading", lambda T, steps, i: (steps - 1 - i) * (T // steps)),
        ),
        Mistake(
            "leading with a broken stride",
            "Leading takes the whole stride T // steps; yours rounds a broken one.",
            vary_spacing("leading", lambda T, steps, i: 1 + round((steps - 1 - i) * T / steps)),
        ),
        Mistake(
            "spacings mixed up",
            "Trailing and leading have changed places: trailing is the one that begins at T.",
            mix_up_spacings,
        ),
    ],
)

# 5.4 dpm_step -------------------------------------------------------------------------------------


def weigh_to_middle(h, h_before):
    return h / (2 * h_before)


def pull_to_x0(h):
    return -torch.expm1(-h)


def vary_dpm(weigh=weigh_to_middle, pull=pull_to_x0, end=0):
    """A variant: weigh(h, h_before) of the last change of x0 goes on top of it, pull(h) is its factor in the
    move, and the step to level `end` returns x0."""

    def step(x, t, t_next, x0, before, schedule):
        if t_next == end:
            return x0
        a, a_next, lam = schedule.alpha_bar[t], schedule.alpha_bar[t_next], 0.5 * schedule.snr.log()
        h = lam[t_next] - lam[t]
        if before is not None:
            x0 = x0 + weigh(h, lam[t] - lam[before[0]]) * (x0 - before[1])
        return ((1 - a_next) / (1 - a)).sqrt() * x + a_next.sqrt() * pull(h) * x0

    return step


dpm_step = vary_dpm()


def extend_over_levels(x, t, t_next, x0, before, schedule):
    """The line drawn over t instead of lambda."""
    if before is not None and t_next > 0:
        x0 = x0 + (x0 - before[1]) * (t - t_next) / (2 * (before[0] - t))
    return dpm_step(x, t, t_next, x0, None, schedule)


def make_dpm_cases():
    g = torch.Generator().manual_seed(0)
    cases = []
    for shape, before, t, t_next, schedule in (
        ((5, 2), None, 1000, 950, cosine(1000)),
        ((3, 1, 8, 6), 700, 600, 450, cosine(1000)),
        ((5, 2), 190, 150, 140, linear(200)),
        ((3, 1, 8, 6), 80, 20, 0, cosine(1000)),
    ):
        x, x0, old = torch.randn(3, *shape, generator=g)
        cases.append((x, t, t_next, x0, None if before is None else (before, old), schedule))
    return cases


DPM = Exercise(
    "5.4",
    "dpm_step",
    dpm_step,
    make_dpm_cases,
    verified="DDIM at the first and the last step, in between the line through two estimates, over lambda.",
    rtol=3e-4,
    strict_dtype=True,
    mistakes=[
        Mistake(
            "no memory",
            "This ignores the step before: it is DDIM, of first order.",
            vary_dpm(weigh=lambda h, h_before: 0.0),
        ),
        Mistake(
            "half forgotten",
            "The line is followed to the end of the step, not to its middle: the factor is 1 / (2 r).",
            vary_dpm(weigh=lambda h, h_before: h / h_before),
        ),
        Mistake(
            "ratio upside down",
            "r is the step before divided by this step, h; yours is the other way round.",
            vary_dpm(weigh=lambda h, h_before: h_before / (2 * h)),
        ),
        Mistake(
            "line drawn backwards",
            "The difference has the wrong sign: the estimate is carried on, away from the old one.",
            vary_dpm(weigh=lambda h, h_before: -h / (2 * h_before)),
        ),
        Mistake(
            "sign of the exponential",
            "exp(-h) - 1 is negative, and it is subtracted, so x_0 must come in with a plus.",
            vary_dpm(pull=lambda h: torch.expm1(-h)),
        ),
        Mistake(
            "lambda without its half",
            "The exponential belongs to half the log of the signal-to-noise ratio; yours has the whole.",
            vary_dpm(pull=lambda h: -torch.expm1(-2 * h)),
        ),
        Mistake(
            "line over t",
            "The ratio is taken of steps in t; the line is drawn over lambda, where equal steps in t differ.",
            extend_over_levels,
        ),
        Mistake(
            "last step not caught",
            "At the last step, to level 0, lambda is infinite and there is no line to draw: return x_0 as it "
            "is, before anything else.",
            vary_dpm(end=None),
        ),
    ],
)

# 5.5 slerp ----------------------------------------------------------------------------------------


def find_angle(u, v):
    lengths = u.norm(dim=1, keepdim=True) * v.norm(dim=1, keepdim=True)
    return ((u * v).sum(1, keepdim=True) / lengths).clamp(-1, 1).acos()


def mix_by_sines(u, v, share, angle):
    return (((1 - share) * angle).sin() * u + (share * angle).sin() * v) / angle.sin()


def vary_slerp(find_angle=find_angle, mix=mix_by_sines):
    """A variant: find_angle(u, v) of the flattened latents (B, n) -> (B, 1); mix(u, v, share, angle)."""

    def mix_latents(a, b, share):
        u, v = a.flatten(1), b.flatten(1)
        return mix(u, v, share, find_angle(u, v)).reshape(a.shape)

    return mix_latents


slerp = vary_slerp()


def make_slerp_cases():
    g = torch.Generator().manual_seed(0)
    cases = []
    for shape, share in (((4, 1, 6, 5), 0.5), ((3, 1, 4, 8), 0.2), ((5, 7), 0.9)):
        a, b = torch.randn(2, *shape, generator=g)
        cases.append((a, 1.2 * b + 0.3 * a, share))
    return cases


def explain_straight_line(got, want):
    middle = got[0].norm() / want[0].norm()
    return (
        f"This is the straight line: the latent in the middle has only {middle:.2f} of the length it should "
        "have. Weigh the two by sines of the angle."
    )


SLERP = Exercise(
    "5.5",
    "slerp",
    slerp,
    make_slerp_cases,
    verified="along the arc between the two, each pair of the batch with its own angle.",
    mistakes=[
        Mistake("straight line", explain_straight_line, lambda a, b, share: (1 - share) * a + share * b),
        Mistake(
            "wrong way round",
            "At share 0 this gives b: the first must fade out while the share grows.",
            lambda a, b, share: slerp(a, b, 1 - share),
        ),
        Mistake(
            "not divided by the sine",
            "The two sines are not divided by the sine of the whole angle, so the ends do not come out.",
            vary_slerp(mix=lambda u, v, share, angle: mix_by_sines(u, v, share, angle) * angle.sin()),
        ),
        Mistake(
            "one angle for the batch",
            "The angle is taken over the whole batch as one vector; each pair has its own.",
            vary_slerp(lambda u, v: find_angle(u.reshape(1, -1), v.reshape(1, -1))),
        ),
        Mistake(
            "always a right angle",
            "This takes 90 degrees for every pair; random latents are only nearly at right angles, and "
            "others are not.",
            vary_slerp(lambda u, v: torch.full((len(u), 1), torch.pi / 2)),
        ),
        Mistake(
            "norms forgotten",
            "The scalar product is not divided by both lengths, so it is no cosine (and acos is cut off).",
            vary_slerp(lambda u, v: ((u * v).sum(1) / u.norm(dim=1) ** 2).clamp(-1, 1).acos()[:, None]),
        ),
        Mistake(
            "share of the sine",
            "The share multiplies the sine; it is the angle that is shared out.",
            vary_slerp(mix=lambda u, v, share, angle: ((1 - share) * u + share * v) * angle.sin()),
        ),
    ],
)

# 5.6 invert_step ----------------------------------------------------------------------------------


def find_x0(x, eps, a):
    return (x - (1 - a).sqrt() * eps) / a.sqrt()


def go_up(x, eps, a, a_up):
    return a_up.sqrt() * find_x0(x, eps, a) + (1 - a_up).sqrt() * eps


def vary_inversion(choose_level=lambda t, t_up: max(t, 1), move=go_up):
    """A variant: choose_level(t, t_up), the level that the network is told, and move(x, eps, a, a_up)."""

    def step(x, t, t_up, ask, schedule):
        eps = ask(x, choose_level(t, t_up))
        return move(x, eps, schedule.alpha_bar[t], schedule.alpha_bar[t_up])

    return step


invert_step = vary_inversion()


def go_up_clamped(x, eps, a, a_up):
    return a_up.sqrt() * find_x0(x, eps, a).clamp(-1, 1) + (1 - a_up).sqrt() * eps


def noise_afresh(x, t, t_up, ask, schedule):
    return schedule.q_sample(x, t_up, torch.randn_like(x))


def make_toy_network(T):
    """A stand-in for the network: eps that depends on x and on the level."""

    def ask(x, t):
        if not 1 <= t <= T:
            raise ValueError(f"the network knows the levels 1 .. {T}, it was asked for {t}")
        return 0.7 * x + torch.sin(3 * x) * (0.2 + t / T)

    return ask


def make_invert_cases():
    g = torch.Generator().manual_seed(0)
    return [
        (1.5 * torch.randn(4, 1, 6, 5, generator=g), 20, 40, make_toy_network(1000), cosine(1000)),
        (1.5 * torch.randn(5, 2, generator=g), 60, 120, make_toy_network(200), linear(200)),
        (1.5 * torch.randn(3, 1, 4, 8, generator=g), 0, 20, make_toy_network(1000), cosine(1000)),
    ]


INVERT = Exercise(
    "5.6",
    "invert_step",
    invert_step,
    make_invert_cases,
    verified="the DDIM step walked upwards, the network asked where it stands, also from the clean picture.",
    mistakes=[
        Mistake(
            "asked below the lowest level",
            "The clean picture stands at level 0, which the network does not know: ask at max(t, 1).",
            vary_inversion(choose_level=lambda t, t_up: t),
            raises=True,
        ),
        Mistake(
            "asked at the level above",
            "The network is told t_up while it looks at x of level t: tell it where x stands.",
            vary_inversion(choose_level=lambda t, t_up: t_up),
        ),
        Mistake(
            "fresh noise",
            "This noises the picture with fresh noise; the walk back would draw another picture. Take the "
            "noise that the network sees in x.",
            noise_afresh,
        ),
        Mistake(
            "x_t noised again",
            "The noisy x_t is scaled as if it were x_0: solve for x_0 first.",
            vary_inversion(move=lambda x, eps, a, a_up: a_up.sqrt() * x + (1 - a_up).sqrt() * eps),
        ),
        Mistake(
            "x_0 clamped",
            "The estimate of x_0 is clamped, and a clamp cannot be undone on the way back: leave it alone.",
            vary_inversion(move=go_up_clamped),
        ),
        Mistake(
            "levels swapped",
            "The roles of t and t_up are swapped: x stands at t and is to go to t_up.",
            vary_inversion(move=lambda x, eps, a, a_up: go_up(x, eps, a_up, a)),
        ),
        Mistake(
            "x_0 not rescaled",
            "x_0 is x minus the noise, divided by sqrt(alpha_bar): the division is missing.",
            vary_inversion(
                move=lambda x, eps, a, a_up: (
                    a_up.sqrt() * (x - (1 - a).sqrt() * eps) + (1 - a_up).sqrt() * eps
                )
            ),
        ),
    ],
)

EXERCISES = [VARIANCE, STEP, SPACED, DPM, SLERP, INVERT]
