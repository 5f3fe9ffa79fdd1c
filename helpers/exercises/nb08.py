"""The exercises of notebook 08: one prediction in three forms, one error in three units, two schedules, the
min-SNR weights, and the loss level by level."""

import torch

from helpers.schedule import cosine, linear

from .exercise import Exercise, Mistake

# 8.1 all_three ------------------------------------------------------------------------------------


def _signal(x_t, t, schedule):
    a = schedule.alpha_bar(t).reshape(-1, *[1] * (x_t.ndim - 1)).to(x_t.dtype)
    return a.sqrt(), (1 - a).sqrt()


def _forms(output, given, x_t, signal, sigma):
    if given == "eps":
        eps, x0 = output, (x_t - sigma * output) / signal
    elif given == "x0":
        eps, x0 = (x_t - signal * output) / sigma, output
    else:
        eps, x0 = signal * output + sigma * x_t, signal * x_t - sigma * output
    return eps, x0, signal * eps - sigma * x0


def all_three(output, given, x_t, t, schedule):
    return _forms(output, given, x_t, *_signal(x_t, t, schedule))


def no_root(output, given, x_t, t, schedule):
    signal, sigma = _signal(x_t, t, schedule)
    return _forms(output, given, x_t, signal**2, sigma**2)


def alpha_for_alpha_bar(output, given, x_t, t, schedule):
    a = schedule.alphas[t].reshape(-1, *[1] * (x_t.ndim - 1))
    return _forms(output, given, x_t, a.sqrt(), (1 - a).sqrt())


def noise_subtracted(output, given, x_t, t, schedule):
    signal, sigma = _signal(x_t, t, schedule)
    if given != "eps":
        return all_three(output, given, x_t, t, schedule)
    x0 = x_t - sigma * output
    return output, x0, signal * output - sigma * x0


def always_v(output, given, x_t, t, schedule):
    return all_three(output, "v", x_t, t, schedule)


def v_turned(output, given, x_t, t, schedule):
    eps, x0, v = all_three(output, given, x_t, t, schedule)
    return eps, x0, -v


def v_is_x_t(output, given, x_t, t, schedule):
    signal, sigma = _signal(x_t, t, schedule)
    eps, x0, _ = all_three(output, given, x_t, t, schedule)
    return eps, x0, signal * eps + sigma * x0


def x0_first(output, given, x_t, t, schedule):
    eps, x0, v = all_three(output, given, x_t, t, schedule)
    return x0, eps, v


def forms_unshaped(output, given, x_t, t, schedule):
    a = schedule.alpha_bar(t).to(x_t.dtype)
    return _forms(output, given, x_t, a.sqrt(), (1 - a).sqrt())


def forms_cases():
    g = torch.Generator().manual_seed(0)
    cases = []
    for given in ("eps", "x0", "v"):
        for shape, t, schedule in (
            ((5, 2), [30, 200, 400, 600, 850], cosine(1000)),
            ((3, 1, 8, 6), [10, 90, 150], linear(200)),
        ):
            output, x_t = torch.randn(shape, generator=g), torch.randn(shape, generator=g)
            cases.append((output, given, x_t, torch.tensor(t), schedule))
    return cases


def _not_rescaled(got, want):
    return (
        "Given eps, your x_0 is x_t minus the noise, but x_t holds sqrt(alpha_bar) x_0, not x_0: "
        "yours is too "
        f"small, {got[1].abs().mean():.2f} on average where {want[1].abs().mean():.2f} was expected. "
        "Divide what is left."
    )


FORMS = Exercise(
    "8.1",
    "all_three",
    all_three,
    forms_cases,
    verified="from eps, from x_0 and from v you find the other two, for points and for pictures.",
    mistakes=[
        Mistake("x_0 not rescaled", _not_rescaled, noise_subtracted),
        Mistake(
            "alpha_bar without its root",
            "x_t mixes with sqrt(alpha_bar) and sqrt(1 - alpha_bar); yours uses alpha_bar and 1 - alpha_bar.",
            no_root,
        ),
        Mistake(
            "alpha for alpha_bar",
            "The share of the data left after all steps is alpha_bar (schedule.alpha_bar); alpha is "
            "one step.",
            alpha_for_alpha_bar,
        ),
        Mistake(
            "always read as v",
            "The output is read as v whatever `given` says; the three cases need three pairs of formulas.",
            always_v,
        ),
        Mistake(
            "v with the wrong sign", "v points from the data to the noise: the noise has the plus.", v_turned
        ),
        Mistake(
            "v of the other sum",
            "sigma goes with x_0 and has a minus; with a plus it is a kind of x_t, not its velocity.",
            v_is_x_t,
        ),
        Mistake("x_0 returned first", "The order is eps, x0, v.", x0_first),
        Mistake(
            "alpha_bar not reshaped",
            "alpha_bar(t) has shape (B,), x_t has more dimensions: reshape it to (B, 1, ...) first.",
            forms_unshaped,
            raises=True,
        ),
    ],
)

# 8.2 in_unit --------------------------------------------------------------------------------------


def _scale(snr, x0, eps, v):
    return {"x0": x0 * torch.ones_like(snr), "eps": eps, "v": v}


def in_unit(loss, given, wanted, snr):
    scale = _scale(snr, 1, snr, snr + 1)
    return loss * scale[wanted] / scale[given]


def the_wrong_way(loss, given, wanted, snr):
    return in_unit(loss, wanted, given, snr)


def of_the_root(loss, given, wanted, snr):
    scale = _scale(snr, 1, snr.sqrt(), (snr + 1).sqrt())
    return loss * scale[wanted] / scale[given]


def v_without_the_one(loss, given, wanted, snr):
    scale = _scale(snr, 1, snr, snr)
    return loss * scale[wanted] / scale[given]


def v_of_eps(loss, given, wanted, snr):
    scale = _scale(snr, 1, snr, 1 + 1 / snr)
    return loss * scale[wanted] / scale[given]


def given_ignored(loss, given, wanted, snr):
    return in_unit(loss, "x0", wanted, snr)


def wanted_ignored(loss, given, wanted, snr):
    return in_unit(loss, given, "x0", snr)


def v_a_product(loss, given, wanted, snr):
    scale = _scale(snr, 1, snr, snr / (snr + 1))
    return loss * scale[wanted] / scale[given]


def unit_cases():
    g = torch.Generator().manual_seed(0)
    snr = torch.logspace(2, -3, 6)
    pairs = [("eps", "x0"), ("x0", "eps"), ("v", "x0"), ("x0", "v"), ("eps", "v"), ("v", "eps"), ("v", "v")]
    return [(torch.rand(6, generator=g) + 0.1, given, wanted, snr) for given, wanted in pairs]


def _other_way(got, want):
    return (
        f"Where the SNR is {100:d}, your error is {got[0]:.2g} where {want[0]:.2g} was expected: "
        f"the factor is upside "
        "down. Go from the given unit to x_0 first (divide), then on to the wanted one (multiply)."
    )


UNITS = Exercise(
    "8.2",
    "in_unit",
    in_unit,
    unit_cases,
    verified="all pairs of units, there and back, over five powers of ten of the SNR.",
    mistakes=[
        Mistake("the wrong way round", _other_way, the_wrong_way),
        Mistake(
            "the root of the factor",
            "That is how errors scale; the loss is the error squared, so its factor is SNR, not sqrt(SNR).",
            of_the_root,
        ),
        Mistake(
            "v as eps",
            "An error of v holds the error of eps and that of x_0: its factor is SNR + 1, not SNR.",
            v_without_the_one,
        ),
        Mistake(
            "the factor from eps to v",
            "1 + 1/SNR leads from eps to v; the table holds the factors from x_0.",
            v_of_eps,
        ),
        Mistake(
            "product for sum",
            "SNR / (SNR + 1) is alpha_bar: it leads from v to eps. The factor from x_0 to v is SNR + 1.",
            v_a_product,
        ),
        Mistake("given ignored", "The loss is treated as one of x_0 whatever `given` says.", given_ignored),
        Mistake("wanted ignored", "The result is an error of x_0 whatever `wanted` says.", wanted_ignored),
    ],
)

# 8.3 sigmoid_alpha_bar ----------------------------------------------------------------------------


def _curve(T, start, end, tau):
    u = torch.arange(T + 1, dtype=torch.float64) / T
    return torch.sigmoid(-(start + u * (end - start)) / tau)


def sigmoid_alpha_bar(T, start=-3.0, end=3.0, tau=1.0):
    s = _curve(T, start, end, tau)
    return ((s - s[-1]) / (s[0] - s[-1]))[1:]


def not_stretched(T, start=-3.0, end=3.0, tau=1.0):
    return _curve(T, start, end, tau)[1:]


def only_shifted(T, start=-3.0, end=3.0, tau=1.0):
    s = _curve(T, start, end, tau)
    return (s - s[-1])[1:]


def rising(T, start=-3.0, end=3.0, tau=1.0):
    return 1 - sigmoid_alpha_bar(T, start, end, tau)


def tau_forgotten(T, start=-3.0, end=3.0, tau=1.0):
    return sigmoid_alpha_bar(T, start, end, 1.0)


def tau_times(T, start=-3.0, end=3.0, tau=1.0):
    return sigmoid_alpha_bar(T, start, end, 1 / tau)


def one_level_early(T, start=-3.0, end=3.0, tau=1.0):
    s = _curve(T, start, end, tau)
    return ((s - s[-1]) / (s[0] - s[-1]))[:-1]


def t_levels_only(T, start=-3.0, end=3.0, tau=1.0):
    u = torch.linspace(0, 1, T, dtype=torch.float64)
    s = torch.sigmoid(-(start + u * (end - start)) / tau)
    return (s - s[-1]) / (s[0] - s[-1])


def squared(T, start=-3.0, end=3.0, tau=1.0):
    return sigmoid_alpha_bar(T, start, end, tau) ** 2


def sigmoid_cases():
    return [(1000,), (40, -3.0, 3.0, 0.7), (25, 0.0, 3.0, 1.3)]


def _ends(got, want):
    return (
        f"Your alpha_bar ends at {got[-1]:.3f}; it has to end at 0. The sigmoid between start and "
        f"end does not reach "
        "0 and 1: shift and stretch it so that it does."
    )


SIGMOID = Exercise(
    "8.3",
    "sigmoid_alpha_bar",
    sigmoid_alpha_bar,
    sigmoid_cases,
    verified="alpha_bar falls to exactly 0 along the sigmoid, for three choices of T, start, end, tau.",
    mistakes=[
        Mistake("not stretched", _ends, not_stretched),
        Mistake(
            "only shifted",
            lambda got, want: (
                f"Shifted to end at 0, but it now starts at {got[0]:.3f}: divide by the whole height too."
            ),
            only_shifted,
        ),
        Mistake(
            "rising", "Yours grows with t: it is 1 - alpha_bar, the noise. Mind the minus inside.", rising
        ),
        Mistake("tau forgotten", "The width tau makes no difference; it divides inside.", tau_forgotten),
        Mistake("tau multiplied", "tau divides: a larger tau makes a gentler curve.", tau_times),
        Mistake(
            "one level early",
            "Your first value is 1, which belongs to t = -1, the clean data; level t = 0 is already "
            "a step away.",
            one_level_early,
        ),
        Mistake(
            "T points instead of T + 1",
            "Laid on T points the first level gets alpha_bar = 1. There are T + 1 points from clean "
            "(u = 0) to "
            "the last level (u = 1), and the first is left out.",
            t_levels_only,
        ),
        Mistake("squared", "The sigmoid is alpha_bar itself; nothing is squared here.", squared),
    ],
)

# 8.4 zero_terminal --------------------------------------------------------------------------------


def zero_terminal(alpha_bar):
    root = alpha_bar.sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return root**2


def without_root(alpha_bar):
    return (alpha_bar - alpha_bar[-1]) * alpha_bar[0] / (alpha_bar[0] - alpha_bar[-1])


def only_the_last(alpha_bar):
    return torch.cat([alpha_bar[:-1], torch.zeros_like(alpha_bar[:1])])


def shift_only(alpha_bar):
    return (alpha_bar.sqrt() - alpha_bar[-1].sqrt()) ** 2


def starts_at_one(alpha_bar):
    root = alpha_bar.sqrt()
    return ((root - root[-1]) / (root[0] - root[-1])) ** 2


def root_returned(alpha_bar):
    return zero_terminal(alpha_bar).sqrt()


def upside_down(alpha_bar):
    root = alpha_bar.sqrt()
    return ((root - root[-1]) * (root[0] - root[-1]) / root[0]) ** 2


def terminal_cases():
    return [
        (schedule.alpha_bar(torch.arange(schedule.T)),)
        for schedule in (linear(1000), linear(200, rescale=False), linear(30, 0.05, 0.1, rescale=False))
    ]


TERMINAL = Exercise(
    "8.4",
    "zero_terminal",
    zero_terminal,
    terminal_cases,
    verified="the first alpha_bar stays, the last is exactly 0, and the root is stretched evenly in between.",
    mistakes=[
        Mistake(
            "alpha_bar stretched, not its root",
            "Shift and stretch the amplitude sqrt(alpha_bar), then square; yours moves alpha_bar itself.",
            without_root,
        ),
        Mistake(
            "only the last level",
            "Setting the last value to 0 leaves one giant step in front of it. The whole curve has to move.",
            only_the_last,
        ),
        Mistake(
            "shifted, not stretched",
            lambda got, want: (
                f"The first level has moved from {want[0]:.4f} to {got[0]:.4f}: stretch after shifting."
            ),
            shift_only,
        ),
        Mistake(
            "starts at 1",
            "Yours starts at exactly 1, so level 0 would have no noise at all; the first value is "
            "to stay as it was.",
            starts_at_one,
        ),
        Mistake("not squared again", "That is sqrt(alpha_bar); square it first.", root_returned),
        Mistake(
            "factor upside down",
            "The curve has to grow back to its old start: root[0] goes above the line.",
            upside_down,
        ),
    ],
)

# 8.5 min_snr_weights ------------------------------------------------------------------------------


def min_snr_weights(snr, prediction, gamma=5.0):
    scale = _scale(snr, 1, snr, snr + 1)
    return snr.clamp(max=gamma) / scale[prediction]


def max_snr(snr, prediction, gamma=5.0):
    return snr.clamp(min=gamma) / _scale(snr, 1, snr, snr + 1)[prediction]


def of_x0_for_all(snr, prediction, gamma=5.0):
    return snr.clamp(max=gamma)


def of_eps_for_v(snr, prediction, gamma=5.0):
    return snr.clamp(max=gamma) / _scale(snr, 1, snr, snr)[prediction]


def multiplied(snr, prediction, gamma=5.0):
    return snr.clamp(max=gamma) * _scale(snr, 1, snr, snr + 1)[prediction]


def gamma_is_five(snr, prediction, gamma=5.0):
    return min_snr_weights(snr, prediction)


def cut_at_the_end(snr, prediction, gamma=5.0):
    return (snr / _scale(snr, 1, snr, snr + 1)[prediction]).clamp(max=gamma)


def snr_itself(snr, prediction, gamma=5.0):
    return snr / _scale(snr, 1, snr, snr + 1)[prediction]


def weight_cases():
    snr = torch.logspace(4, -4, 9)
    return [(snr, p, gamma) for gamma in (5.0, 20.0) for p in ("eps", "x0", "v")]


def _unbounded(got, want):
    return (
        f"Your largest weight is {got.max():.3g}, the right one {want.max():.3g}: the SNR is to "
        f"be cut from above."
    )


WEIGHTS = Exercise(
    "8.5",
    "min_snr_weights",
    min_snr_weights,
    weight_cases,
    verified="for eps, x_0 and v the weight on the error of x_0 is min(SNR, gamma).",
    mistakes=[
        Mistake("max for min", _unbounded, max_snr),
        Mistake("not cut at all", "The SNR is never cut: gamma makes no difference in yours.", snr_itself),
        Mistake(
            "cut after the division",
            "The SNR is cut first and divided then; cut at the end, the weight for x_0 agrees and "
            "the others do not.",
            cut_at_the_end,
        ),
        Mistake(
            "the same for every prediction",
            "min(SNR, gamma) is the weight on the error of x_0. An error of eps is already SNR "
            "times that one, so "
            "the weight is divided by SNR; for v by SNR + 1.",
            of_x0_for_all,
        ),
        Mistake(
            "v weighted as eps",
            "v is divided by SNR + 1, not by SNR: at high noise the two differ without bound.",
            of_eps_for_v,
        ),
        Mistake("multiplied", "The loss already carries the factor; divide by it.", multiplied),
        Mistake("gamma fixed at 5", "gamma is an argument; yours always takes 5.", gamma_is_five),
    ],
)

# 8.6 loss_by_level --------------------------------------------------------------------------------


def loss_by_level(losses, t, T, bins):
    k = t * bins // T
    sums = torch.zeros(bins).index_add(0, k, losses)
    return sums / torch.bincount(k, minlength=bins).clamp(min=1)


def sums_only(losses, t, T, bins):
    return torch.zeros(bins).index_add(0, t * bins // T, losses)


def equal_shares(losses, t, T, bins):
    return sums_only(losses, t, T, bins) * bins / len(losses)


def last_one_wins(losses, t, T, bins):
    found = torch.zeros(bins)
    for k, loss in zip((t * bins // T).tolist(), losses.tolist(), strict=True):
        found[k] = loss
    return found


def number_for_width(losses, t, T, bins):
    return loss_by_level(losses, t // bins, bins, bins)


def upper_ends(losses, t, T, bins):
    k = (t * bins / (T - 1)).round().long().clamp(max=bins - 1)
    return torch.zeros(bins).index_add(0, k, losses) / torch.bincount(k, minlength=bins).clamp(min=1)


def backwards(losses, t, T, bins):
    return loss_by_level(losses, t, T, bins).flip(0)


def no_minlength(losses, t, T, bins):
    return sums_only(losses, t, T, bins) / torch.bincount(t * bins // T).clamp(min=1)


def over_all(losses, t, T, bins):
    return sums_only(losses, t, T, bins) / len(losses)


def level_cases():
    g = torch.Generator().manual_seed(0)
    cases = []
    for T, bins, n, high in ((1000, 20, 400, 1000), (1000, 10, 60, 700), (60, 7, 50, 60)):
        t = torch.randint(high, (n,), generator=g)
        t[-1] = high - 1
        cases.append((torch.rand(n, generator=g) + (t / T), t, T, bins))
    return cases


def _sums(got, want):
    return f"Your first bin holds {got[0]:.2f}, a sum; divided by how many fell into it, it is {want[0]:.2f}."


LEVELS = Exercise(
    "8.6",
    "loss_by_level",
    loss_by_level,
    level_cases,
    verified="each bin holds the mean of the losses of its levels, 0 where none fell; also where T "
    "is no multiple.",
    mistakes=[
        Mistake("sum instead of mean", _sums, sums_only),
        Mistake(
            "equal shares assumed",
            "Levels are drawn at random, so the bins are not equally full: count them.",
            equal_shares,
        ),
        Mistake(
            "divided by the batch",
            "Each bin has its own number of losses; yours divides all of them by the number in all.",
            over_all,
        ),
        Mistake(
            "the last one wins",
            "An assignment means[k] = losses keeps one loss a bin; add them up (index_add).",
            last_one_wins,
        ),
        Mistake(
            "number of bins taken for their width",
            "t // bins divides by the number of bins; a bin is T / bins levels wide, so its number "
            "is t * bins // T.",
            number_for_width,
            raises=True,
        ),
        Mistake(
            "rounded to the nearest",
            "Rounding shifts the edges by half a bin: the first and the last get half as many "
            "levels. Round down.",
            upper_ends,
        ),
        Mistake("backwards", "Bin 0 holds the lowest levels, the least noise.", backwards),
        Mistake(
            "length left to chance",
            "bincount stops at the highest bin that was hit; give it minlength=bins.",
            no_minlength,
            raises=True,
        ),
    ],
)

EXERCISES = [FORMS, UNITS, SIGMOID, TERMINAL, WEIGHTS, LEVELS]
