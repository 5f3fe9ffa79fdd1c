"""The exercises of notebook 08: one prediction in three forms, one error in three units, two schedules, the
min-SNR weights, and the loss level by level."""

import torch

from helpers.schedule import at, cosine, linear

from .exercise import Exercise, Mistake

# 8.1 all_three ------------------------------------------------------------------------------------


def _solve(output, given, x_t, signal, sigma):
    """(eps, x0, v) for x_t = signal x0 + sigma eps, from an output that means `given`."""
    if given == "eps":
        eps, x0 = output, (x_t - sigma * output) / signal
    elif given == "x0":
        eps, x0 = (x_t - signal * output) / sigma, output
    else:
        eps, x0 = signal * output + sigma * x_t, signal * x_t - sigma * output
    return eps, x0, signal * eps - sigma * x0


def _solve_with(a, output, given, x_t):
    return _solve(output, given, x_t, a.sqrt(), (1 - a).sqrt())


def all_three(output, given, x_t, t, schedule):
    return _solve_with(at(schedule.alpha_bar, t, x_t), output, given, x_t)


def skip_roots(output, given, x_t, t, schedule):
    a = at(schedule.alpha_bar, t, x_t)
    return _solve(output, given, x_t, a, 1 - a)


def take_alpha(output, given, x_t, t, schedule):
    return _solve_with(at(schedule.alphas, t, x_t), output, given, x_t)


def take_level_before(output, given, x_t, t, schedule):
    return all_three(output, given, x_t, t - 1, schedule)


def skip_shape(output, given, x_t, t, schedule):
    return _solve_with(schedule.alpha_bar[t], output, given, x_t)


def forget_to_divide(output, given, x_t, t, schedule):
    if given != "eps":
        return all_three(output, given, x_t, t, schedule)
    a = at(schedule.alpha_bar, t, x_t)
    x0 = x_t - (1 - a).sqrt() * output
    return output, x0, a.sqrt() * output - (1 - a).sqrt() * x0


def read_as_v(output, given, x_t, t, schedule):
    return all_three(output, "v", x_t, t, schedule)


def turn_v(output, given, x_t, t, schedule):
    eps, x0, v = all_three(output, given, x_t, t, schedule)
    return eps, x0, -v


def add_for_v(output, given, x_t, t, schedule):
    a = at(schedule.alpha_bar, t, x_t)
    eps, x0, _ = all_three(output, given, x_t, t, schedule)
    return eps, x0, a.sqrt() * eps + (1 - a).sqrt() * x0


def return_x0_first(output, given, x_t, t, schedule):
    eps, x0, v = all_three(output, given, x_t, t, schedule)
    return x0, eps, v


def draw_outputs():
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


def _report_size(got, want):
    return (
        "Given eps, your x_0 is x_t minus the noise, but x_t holds sqrt(alpha_bar) x_0, not x_0: yours is "
        f"too small, {got[1].abs().mean():.2f} on average where {want[1].abs().mean():.2f} was expected. "
        "Divide what is left."
    )


FORMS = Exercise(
    "8.1",
    "all_three",
    all_three,
    draw_outputs,
    verified="from eps, from x_0 and from v you find the other two, for points and for pictures.",
    mistakes=[
        Mistake("x_0 not rescaled", _report_size, forget_to_divide),
        Mistake(
            "alpha_bar without its root",
            "x_t mixes with sqrt(alpha_bar) and sqrt(1 - alpha_bar); yours uses alpha_bar and 1 - alpha_bar.",
            skip_roots,
        ),
        Mistake("alpha for alpha_bar", "alpha is the share left by one step, not by all.", take_alpha),
        Mistake("one level too low", "x_t stands at level t: take alpha_bar there.", take_level_before),
        Mistake("always read as v", "The output is read as v whatever `given` says.", read_as_v),
        Mistake(
            "v with the wrong sign", "v points from the data to the noise: the noise has the plus.", turn_v
        ),
        Mistake("v of the other sum", "In v the x_0 has a minus; a plus makes no velocity.", add_for_v),
        Mistake("x_0 returned first", "The order is eps, x0, v.", return_x0_first),
        Mistake(
            "alpha_bar not reshaped",
            "alpha_bar[t] has shape (B,), x_t has more dimensions: at(schedule.alpha_bar, t, x_t) fits.",
            skip_shape,
            raises=True,
        ),
    ],
)

# 8.2 in_unit --------------------------------------------------------------------------------------


def _exchange(loss, given, wanted, eps, v):
    """The loss in another unit; eps and v: what an error of x_0 is multiplied by to be one of theirs."""
    factor = {"x0": torch.ones_like(loss), "eps": eps, "v": v}
    return loss * factor[wanted] / factor[given]


def in_unit(loss, given, wanted, snr):
    return _exchange(loss, given, wanted, snr, snr + 1)


def turn_factor(loss, given, wanted, snr):
    return in_unit(loss, wanted, given, snr)


def take_roots(loss, given, wanted, snr):
    return _exchange(loss, given, wanted, snr.sqrt(), (snr + 1).sqrt())


def treat_v_as_eps(loss, given, wanted, snr):
    return _exchange(loss, given, wanted, snr, snr)


def start_from_eps(loss, given, wanted, snr):
    return _exchange(loss, given, wanted, snr, 1 + 1 / snr)


def take_product(loss, given, wanted, snr):
    return _exchange(loss, given, wanted, snr, snr / (snr + 1))


def ignore_given(loss, given, wanted, snr):
    return in_unit(loss, "x0", wanted, snr)


def ignore_wanted(loss, given, wanted, snr):
    return in_unit(loss, given, "x0", snr)


def draw_losses():
    g = torch.Generator().manual_seed(0)
    snr = torch.logspace(2, -3, 6)
    pairs = [("eps", "x0"), ("x0", "eps"), ("v", "x0"), ("x0", "v"), ("eps", "v"), ("v", "eps"), ("v", "v")]
    return [(torch.rand(6, generator=g) + 0.1, given, wanted, snr) for given, wanted in pairs]


def _report_factor(got, want):
    return (
        f"Where the SNR is 100, your error is {got[0]:.2g} where {want[0]:.2g} was expected: the factor is "
        "upside down. Go from the given unit to x_0 first (divide), then on to the wanted one (multiply)."
    )


UNITS = Exercise(
    "8.2",
    "in_unit",
    in_unit,
    draw_losses,
    verified="all pairs of units, there and back, over five powers of ten of the SNR.",
    mistakes=[
        Mistake("the wrong way round", _report_factor, turn_factor),
        Mistake("the root of the factor", "The loss is a squared error: take SNR, not its root.", take_roots),
        Mistake("v as eps", "v holds both errors: its factor is SNR + 1, not SNR.", treat_v_as_eps),
        Mistake("the factor from eps to v", "1 + 1/SNR leads from eps to v, not from x_0.", start_from_eps),
        Mistake("product for sum", "SNR / (SNR + 1) leads from v to eps, not from x_0 to v.", take_product),
        Mistake("given ignored", "The loss is treated as one of x_0 whatever `given` says.", ignore_given),
        Mistake("wanted ignored", "The result is an error of x_0 whatever `wanted` says.", ignore_wanted),
    ],
)

# 8.3 sigmoid_alpha_bar ----------------------------------------------------------------------------


def _fall(u, start, end, tau):
    return torch.sigmoid(-(start + u * (end - start)) / tau)


def _stretch(s):
    return (s - s[-1]) / (s[0] - s[-1])


def _share_of_walk(T):
    return torch.arange(T + 1, dtype=torch.float64) / T


def sigmoid_alpha_bar(T, start=-3.0, end=3.0, tau=1.0):
    return _stretch(_fall(_share_of_walk(T), start, end, tau))


def skip_stretch(T, start=-3.0, end=3.0, tau=1.0):
    return _fall(_share_of_walk(T), start, end, tau)


def shift_sigmoid(T, start=-3.0, end=3.0, tau=1.0):
    s = skip_stretch(T, start, end, tau)
    return s - s[-1]


def rise(T, start=-3.0, end=3.0, tau=1.0):
    return 1 - sigmoid_alpha_bar(T, start, end, tau)


def forget_tau(T, start=-3.0, end=3.0, tau=1.0):
    return sigmoid_alpha_bar(T, start, end)


def multiply_by_tau(T, start=-3.0, end=3.0, tau=1.0):
    return sigmoid_alpha_bar(T, start, end, 1 / tau)


def square(T, start=-3.0, end=3.0, tau=1.0):
    return sigmoid_alpha_bar(T, start, end, tau) ** 2


def divide_by_levels(T, start=-3.0, end=3.0, tau=1.0):
    return _stretch(_fall(torch.arange(T + 1, dtype=torch.float64) / (T + 1), start, end, tau))


def take_T_points(T, start=-3.0, end=3.0, tau=1.0):
    return _stretch(_fall(torch.linspace(0, 1, T, dtype=torch.float64), start, end, tau))


def drop_level_0(T, start=-3.0, end=3.0, tau=1.0):
    return sigmoid_alpha_bar(T, start, end, tau)[1:]


def list_curves():
    return [(1000,), (40, -3.0, 3.0, 0.7), (25, 0.0, 3.0, 1.3)]


def _report_end(got, want):
    return (
        f"Your alpha_bar ends at {got[-1]:.3f}; it has to end at 0. The sigmoid between start and end does "
        "not reach 0 and 1: shift and stretch it so that it does."
    )


def _report_start(got, want):
    return f"Shifted to end at 0, but it now starts at {got[0]:.3f}: divide by the whole height too."


SIGMOID = Exercise(
    "8.3",
    "sigmoid_alpha_bar",
    sigmoid_alpha_bar,
    list_curves,
    verified="alpha_bar falls from 1 to exactly 0 along the sigmoid; T, start, end and tau varied.",
    mistakes=[
        Mistake("not stretched", _report_end, skip_stretch),
        Mistake("only shifted", _report_start, shift_sigmoid),
        Mistake("rising", "Yours grows with t: it is 1 - alpha_bar, the noise. Mind the minus inside.", rise),
        Mistake("tau forgotten", "The width tau makes no difference; it divides inside.", forget_tau),
        Mistake("tau multiplied", "tau divides: a larger tau makes a gentler curve.", multiply_by_tau),
        Mistake("squared", "The sigmoid is alpha_bar itself; nothing is squared here.", square),
        Mistake("divided by T + 1", "It takes T steps from u = 0 to u = 1: divide by T.", divide_by_levels),
        Mistake("T points instead of T + 1", "Levels 0 to T are T + 1 levels, yours are T.", take_T_points),
        Mistake("level 0 left out", "Begin with level 0, the clean data: alpha_bar_0 = 1.", drop_level_0),
    ],
)

# 8.4 zero_terminal --------------------------------------------------------------------------------


def _keep_level_0(alpha_bar, moved):
    return torch.cat([alpha_bar[:1], moved[1:]])


def _shift_and_stretch(curve, anchor=1):
    """The curve moved so that it ends at 0 and level `anchor` stays."""
    return (curve - curve[-1]) * curve[anchor] / (curve[anchor] - curve[-1])


def zero_terminal(alpha_bar):
    return _keep_level_0(alpha_bar, _shift_and_stretch(alpha_bar.sqrt()) ** 2)


def stretch_alpha_bar(alpha_bar):
    return _keep_level_0(alpha_bar, _shift_and_stretch(alpha_bar))


def cut_last(alpha_bar):
    return torch.cat([alpha_bar[:-1], torch.zeros_like(alpha_bar[:1])])


def shift_root(alpha_bar):
    return _keep_level_0(alpha_bar, (alpha_bar.sqrt() - alpha_bar[-1].sqrt()) ** 2)


def anchor_level_0(alpha_bar):
    return _shift_and_stretch(alpha_bar.sqrt(), anchor=0) ** 2


def move_level_0(alpha_bar):
    return _shift_and_stretch(alpha_bar.sqrt()) ** 2


def return_root(alpha_bar):
    return zero_terminal(alpha_bar).sqrt()


def turn_stretch(alpha_bar):
    root = alpha_bar.sqrt()
    return _keep_level_0(alpha_bar, ((root - root[-1]) * (root[1] - root[-1]) / root[1]) ** 2)


def list_alpha_bars():
    schedules = linear(1000), linear(200, rescale=False), linear(30, 0.05, 0.1, rescale=False)
    return [(schedule.alpha_bar,) for schedule in schedules]


def _report_level_0(got, want):
    return f"Level 0 is the clean data: its alpha_bar is 1 before and after, and yours is {got[0]:.4f}."


def _report_level_1(got, want):
    return f"Level 1 has moved from {want[1]:.4f} to {got[1]:.4f}: stretch after shifting."


TERMINAL = Exercise(
    "8.4",
    "zero_terminal",
    zero_terminal,
    list_alpha_bars,
    verified="levels 0 and 1 stay, the last is exactly 0, and the root is stretched evenly in between.",
    mistakes=[
        Mistake(
            "alpha_bar stretched, not its root",
            "Shift and stretch the amplitude sqrt(alpha_bar), then square; yours moves alpha_bar itself.",
            stretch_alpha_bar,
        ),
        Mistake(
            "only the last level",
            "Setting the last value to 0 leaves one giant step in front of it. The whole curve has to move.",
            cut_last,
        ),
        Mistake("shifted, not stretched", _report_level_1, shift_root),
        Mistake(
            "stretched back to level 0",
            "Stretched back to level 0, so level 1 has moved: the factor has root[1] in it, not root[0].",
            anchor_level_0,
        ),
        Mistake("level 0 moved too", _report_level_0, move_level_0),
        Mistake("not squared again", "That is sqrt(alpha_bar); square it first.", return_root),
        Mistake("factor upside down", "root[1] goes above the line, root[1] - root[-1] below.", turn_stretch),
    ],
)

# 8.5 min_snr_weights: the weight on the error of x_0 is a loss in its unit, changed into another ----


def min_snr_weights(snr, prediction, gamma=5.0):
    return in_unit(snr.clamp(max=gamma), prediction, "x0", snr)


def take_larger(snr, prediction, gamma=5.0):
    return in_unit(snr.clamp(min=gamma), prediction, "x0", snr)


def skip_cut(snr, prediction, gamma=5.0):
    return in_unit(snr, prediction, "x0", snr)


def cut_after_division(snr, prediction, gamma=5.0):
    return skip_cut(snr, prediction).clamp(max=gamma)


def skip_division(snr, prediction, gamma=5.0):
    return snr.clamp(max=gamma)


def divide_v_by_snr(snr, prediction, gamma=5.0):
    return treat_v_as_eps(snr.clamp(max=gamma), prediction, "x0", snr)


def multiply(snr, prediction, gamma=5.0):
    return in_unit(snr.clamp(max=gamma), "x0", prediction, snr)


def fix_gamma(snr, prediction, gamma=5.0):
    return min_snr_weights(snr, prediction)


def list_weights():
    snr = torch.logspace(4, -4, 9)
    return [(snr, p, gamma) for gamma in (5.0, 20.0) for p in ("eps", "x0", "v")]


def _report_largest(got, want):
    return f"Your largest weight is {got.max():.3g}, the right one {want.max():.3g}: cut the SNR from above."


WEIGHTS = Exercise(
    "8.5",
    "min_snr_weights",
    min_snr_weights,
    list_weights,
    verified="for eps, x_0 and v the weight on the error of x_0 is min(SNR, gamma).",
    mistakes=[
        Mistake("max for min", _report_largest, take_larger),
        Mistake("not cut at all", "The SNR is never cut: gamma makes no difference in yours.", skip_cut),
        Mistake(
            "cut after the division",
            "Cut the SNR first, then divide. Cut at the end, only the weight for x_0 comes out right.",
            cut_after_division,
        ),
        Mistake(
            "the same for every prediction",
            "min(SNR, gamma) is the weight on the error of x_0. An error of eps is already SNR times that "
            "one, so the weight is divided by SNR; for v by SNR + 1.",
            skip_division,
        ),
        Mistake("v weighted as eps", "v is divided by SNR + 1, not by SNR.", divide_v_by_snr),
        Mistake("multiplied", "The loss already carries the factor; divide by it.", multiply),
        Mistake("gamma fixed at 5", "gamma is an argument; yours always takes 5.", fix_gamma),
    ],
)

# 8.6 loss_by_level --------------------------------------------------------------------------------


def _add_up(losses, k, bins):
    return torch.zeros(bins).index_add(0, k, losses)


def _average(losses, k, bins):
    return _add_up(losses, k, bins) / torch.bincount(k, minlength=bins).clamp(min=1)


def loss_by_level(losses, t, T, bins):
    return _average(losses, (t - 1) * bins // T, bins)


def count_from_zero(losses, t, T, bins):
    return _average(losses, t * bins // T, bins)


def take_sums(losses, t, T, bins):
    return _add_up(losses, (t - 1) * bins // T, bins)


def assume_equal_shares(losses, t, T, bins):
    return take_sums(losses, t, T, bins) * bins / len(losses)


def divide_by_batch(losses, t, T, bins):
    return take_sums(losses, t, T, bins) / len(losses)


def keep_last(losses, t, T, bins):
    means = torch.zeros(bins)
    for k, loss in zip(((t - 1) * bins // T).tolist(), losses.tolist(), strict=True):
        means[k] = loss
    return means


def take_number_for_width(losses, t, T, bins):
    return _average(losses, (t - 1) // bins, bins)


def round_to_nearest(losses, t, T, bins):
    k = ((t - 1) * bins / (T - 1)).round().long().clamp(max=bins - 1)
    return _average(losses, k, bins)


def sort_backwards(losses, t, T, bins):
    return loss_by_level(losses, t, T, bins).flip(0)


def skip_minlength(losses, t, T, bins):
    return take_sums(losses, t, T, bins) / torch.bincount((t - 1) * bins // T).clamp(min=1)


def draw_levels():
    g = torch.Generator().manual_seed(0)
    cases = []
    for T, bins, n, high in ((1000, 20, 400, 1000), (1000, 10, 60, 700), (60, 7, 50, 60)):
        t = torch.randint(1, high + 1, (n,), generator=g)
        t[-1] = high
        cases.append((torch.rand(n, generator=g) + (t / T), t, T, bins))
    return cases


def _report_sum(got, want):
    return f"Your first bin holds {got[0]:.2f}, a sum; divided by how many fell into it, it is {want[0]:.2f}."


LEVELS = Exercise(
    "8.6",
    "loss_by_level",
    loss_by_level,
    draw_levels,
    verified="each bin holds the mean of the losses of its levels, 0 where none fell; also where T is no "
    "multiple.",
    mistakes=[
        Mistake("sum instead of mean", _report_sum, take_sums),
        Mistake("equal shares assumed", "The bins are not equally full: count them.", assume_equal_shares),
        Mistake("divided by the batch", "Divide each bin by its own number of losses.", divide_by_batch),
        Mistake("the last one wins", "means[k] = losses keeps one loss a bin; add them up.", keep_last),
        Mistake(
            "t for t - 1",
            "Levels begin at 1, bins at 0: with t * bins // T level T falls behind the last bin. Take t - 1.",
            count_from_zero,
            raises=True,
        ),
        Mistake(
            "number of bins taken for their width",
            "You divide by the number of bins; a bin is T / bins levels wide, so its number is "
            "(t - 1) * bins // T.",
            take_number_for_width,
            raises=True,
        ),
        Mistake(
            "rounded to the nearest",
            "Rounding shifts the edges by half a bin: the first and the last get half as many levels. "
            "Round down.",
            round_to_nearest,
        ),
        Mistake("backwards", "Bin 0 holds the lowest levels, the least noise.", sort_backwards),
        Mistake(
            "length left to chance",
            "bincount stops at the highest bin that was hit; give it minlength=bins.",
            skip_minlength,
            raises=True,
        ),
    ],
)

EXERCISES = [FORMS, UNITS, SIGMOID, TERMINAL, WEIGHTS, LEVELS]
