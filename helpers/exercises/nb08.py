"""The tasks of notebook 08: one error in three units, schedules, weights, the loss level by level, pairs."""

from numbers import Real

import matplotlib.pyplot as plt
import numpy as np
import torch

from helpers import checkpoints, data, show
from helpers.schedule import cosine, linear

from . import patches
from .hidden import generator, pick
from .hunt import Hunt, Measurement
from .patches import Break, Exercise
from .predict import Prediction


def draw_losses():
    g = generator(0)
    snr = torch.logspace(2, -3, 6)
    pairs = [("eps", "x0"), ("x0", "eps"), ("v", "x0"), ("x0", "v"), ("eps", "v"), ("v", "eps"), ("v", "v")]
    return [(torch.rand(6, generator=g) + 0.1, given, wanted, snr) for given, wanted in pairs]


def list_log_snrs():
    single = torch.linspace(pick(10, 9, 11), -10, 6), torch.tensor([7.0, 3.5, 0.5, -0.5, -3.0, -4.5, -8.0])
    return [(log_snr,) for log_snr in (*single, torch.linspace(9, -12, 40, dtype=torch.float64))]


def list_alpha_bars():
    schedules = (
        linear(pick(1000, 900)),
        linear(pick(200, 180), rescale=False),
        linear(30, 0.05, 0.1, rescale=False),
    )
    return [(schedule.alpha_bar,) for schedule in schedules]


def draw_levels():
    g = generator(0)
    cases = []
    for T, bins, n, high in ((1000, 20, 400, 1000), (1000, 10, 60, 700), (60, 7, 50, 60)):
        t = torch.randint(1, high + 1, (n,), generator=g)
        t[-1] = high
        cases.append((torch.rand(n, generator=g) + (t / T), t, T, bins))
    return cases


def draw_scores():
    """(before, after), each (pairs, seeds): what rows share by their seed is larger than the gain."""
    g, cases = generator(0), []
    for pairs, seeds, gain in ((8, 3, -1.5), (11, 3, 0.4), (2, 5, 2.0), (4, 6, -0.3)):
        shared, row = 3 * torch.randn(seeds, generator=g), 4 * torch.randn(pairs, 1, generator=g)
        one, other = torch.randn(2, pairs, seeds, generator=g)
        own = 0.5 * torch.randn(seeds, generator=g)
        cases.append((12 + shared + row + 0.3 * one, 12 + gain + shared + row + own + 0.3 * other))
    return cases


def two_numbers(function, before, after):
    """What the function returns; of two plain numbers, or of an array of two, a tuple of two tensors."""
    result = function(before, after)
    array = isinstance(result, torch.Tensor | np.ndarray) and result.shape == (2,)
    parts = list(result) if array or isinstance(result, tuple | list) else [None]
    if all(isinstance(part, Real) or array for part in parts):
        return tuple(torch.tensor(float(part)) for part in parts)
    return result


# Predictions --------------------------------------------------------------------------------------


def near_the_curve(written, truth):
    """8.6: each number within a factor of three, as on a logarithmic axis."""
    return all(one > 0 and truth / 3 <= one <= 3 * truth for one, truth in zip(written, truth, strict=True))


def not_above_zero(written):
    return min(written) <= 0


def flat(written):
    return max(written) < 2 * min(written)


def rises(written):
    return written[-1] > 2 * written[0]


def falls_too_little(written):
    return written[-1] < written[0] < 40 * written[-1]


def falls_too_far(written):
    return written[0] >= 40 * written[-1] and written[-1] < 0.0005


# The headline -------------------------------------------------------------------------------------

GIVEN = 0, "cosine_min_snr"  # seed and rest of the rows as the notebook gives them


def real_distances():
    rows = checkpoints.load_results("objectives")["settings"]
    return {key: list(row["frechet"]["values"]) for key, row in rows.items()}


def coded_distances():
    """Numbers in which no two differences are alike, so that a difference tells where it was taken."""
    g = torch.Generator().manual_seed(0)
    return {key: (10 + 10 * torch.rand(3, generator=g).double()).tolist() for key in real_distances()}


def is_opposite(results):
    """8.9: None where one seed of two rows shows x_0 ahead by 0.5 or more; else what is lacking."""
    if not all(isinstance(result, int | float) for result in results):
        return "headline should return one number, a difference of two distances."
    shown, place = results
    rows, found = coded_distances(), None
    for key in [key.removeprefix("x0_") for key in rows if key.startswith("x0_")]:
        for seed in range(3):
            if abs(rows[f"x0_{key}"][seed] - rows[f"v_{key}"][seed] - place) < 1e-6:
                found = seed, key
    if found is None:
        return "This is not the distance of x_0 minus that of v for one seed of two rows that differ in this."
    if found[0] != GIVEN[0] and found[1] != GIVEN[1]:
        return "These are two changes, the seed and the pair of rows. One of them is enough."
    if shown > -0.5:
        who = f"x_0 is ahead by only {-shown:.2f}" if shown < 0 else f"v is still ahead by {shown:.2f}"
        return f"In this headline {who}. It should say that x_0 is ahead by 0.5 or more."
    return None


# The hunt -----------------------------------------------------------------------------------------


def in_unit(*args):
    return patches.solve("8.2")(*args)


def loss_by_level(*args):
    return patches.solve("8.7")(*args)


def v_target(x0, t, noise, schedule):
    return schedule.target(x0, t, noise, "v")


def setting():
    x, _ = data.digits()
    model = checkpoints.load_model("digits_unet").eval().requires_grad_(False)
    return model, x[torch.arange(len(x)) % 5 == 0], cosine(), torch.Generator().manual_seed(0)


def pipeline_08(model, x_test, schedule, g):
    # lines
    t = torch.randint(1, 1001, (2000,), generator=g)
    x0 = x_test[torch.randint(len(x_test), (2000,), generator=g)]
    noise = torch.randn(x0.shape, generator=g)
    x_t = schedule.q_sample(x0, t, noise)
    losses = (model(x_t, t) - v_target(x0, t, noise, schedule)).square().flatten(1).mean(1)
    losses = in_unit(losses, "v", "x0", schedule.snr[t])
    curve = loss_by_level(losses, t, 1000, 20)
    # end
    return dict(t=t, x0=x0, noise=noise, x_t=x_t, losses=losses, curve=curve, schedule=schedule)


def counts(r):
    return torch.bincount((r["t"] - 1) // 50, minlength=20)


def kurtosis(r):
    z = r["noise"] - r["noise"].mean()
    return (z**4).mean() / (z**2).mean() ** 2


def variance_of_rest(r):
    """Of what is in x_t besides the picture, in units of the schedule's, at levels 201 to 300."""
    some = (r["t"] > 200) & (r["t"] <= 300)
    a = r["schedule"].alpha_bar[r["t"][some]].reshape(-1, 1, 1, 1)
    return ((r["x_t"][some] - a.sqrt() * r["x0"][some]) ** 2 / (1 - a)).mean()


def adds_up(r):
    return (r["curve"] * counts(r)).sum() / r["losses"].sum()


MEASUREMENTS = [
    Measurement("the number of bins that nobody fell into", lambda r: (counts(r) == 0).sum(), 1, ".0f"),
    Measurement(
        "the number of different digits", lambda r: len(torch.unique(r["x0"].flatten(1), dim=0)), 60, ".0f"
    ),
    Measurement("the kurtosis of the noise", kurtosis, 0.3),
    Measurement("the variance of the noise in x_t at levels 201 to 300, as a multiple of the schedule's,",
                variance_of_rest, 0.15),
    Measurement("the sum of the bins times their counts, over the sum of the losses,", adds_up, 0.1),
    Measurement("the error in the lowest bin", lambda r: r["curve"][0], 0.02, ".4f"),
    Measurement("the error in the highest bin", lambda r: r["curve"][-1], 0.1),
]  # fmt: skip


def draw_curve(r):
    curve, middle = r["curve"], torch.arange(25.5, 1000, 50)
    fig, ax = plt.subplots(figsize=(show.WIDTH, 3.2))
    ax.plot(middle, torch.where(curve > 0, curve, torch.nan), "o-", label="error of $x_0$, held-out digits")
    ax.axhline(0.31, color="black", linestyle="--", label="guess the mean digit")
    ax.set(yscale="log", xlim=(0, 1000), xlabel="level t", title="Which levels are hard?")
    ax.legend(fontsize=10)
    alt = "The error of x_0 in 20 bins of levels, on a logarithmic axis, with a dashed line at 0.31"
    show.figure(fig, alt)
    shown = ", ".join(f"{curve[k]:.4f}" for k in (0, 5, 10, 15, 19))
    print(f"error of x_0 in bins 0, 5, 10, 15 and 19: {shown}; mean of all losses {r['losses'].mean():.4f}")


EXERCISES = [
    Prediction("8.1", "letter abcdef"),
    Exercise(
        "8.2",
        draw_losses,
        "all pairs of units, there and back, over five powers of ten of the SNR.",
        strict_dtype=True,
    ),
    Exercise(
        "8.3",
        list_log_snrs,
        "from 1 at level 0 along any log SNR, even or not.",
        strict_dtype=True,
    ),
    Exercise(
        "8.4",
        list_alpha_bars,
        "levels 0 and 1 stay, the last is exactly 0, and the root is stretched evenly in between.",
        strict_dtype=True,
    ),
    Exercise(
        "8.5",
        lambda: [
            (torch.logspace(4, -4, 9), p, gamma)
            for gamma in (pick(5.0, 4.0), 20.0)
            for p in ("eps", "x0", "v")
        ],
        "for eps, x_0 and v the weight on the error of x_0 is min(SNR, gamma).",
        strict_dtype=True,
    ),
    Prediction("8.6", "5 numbers", right=near_the_curve),
    Exercise(
        "8.7",
        draw_levels,
        "each bin holds the mean of the losses of its levels, 0 where none fell; also where T is no "
        "multiple.",
        strict_dtype=True,
    ),
    Exercise(
        "8.8",
        draw_scores,
        "the mean gain and its standard error over seeds, whatever the rows of one seed share.",
        call=two_numbers,
    ),
    Break(
        "8.9",
        lambda: [(real_distances(),), (coded_distances(),)],
        "one seed of the very same rows says the opposite.",
        wanted=is_opposite,
        why="b",
    ),
    Hunt("8.10", pipeline_08, setting, MEASUREMENTS, draw_curve),
]
