"""The exercises of notebook 04: clamping, fewer levels, frames, bytes, nearest images, a test of the
class counts."""

import torch

from helpers.schedule import at, cosine, linear

from .exercise import Exercise, Mistake

# 4.1 clamp_x0 -------------------------------------------------------------------------------------


def clamp_x0(x_t, t, x0, schedule):
    a = at(schedule.alpha_bar, t, x_t)
    x0 = x0.clamp(-1, 1)
    eps = (x_t - a.sqrt() * x0) / (1 - a).sqrt()
    return eps, x0


def eps_of_the_old_x0(x_t, t, x0, schedule):
    a = at(schedule.alpha_bar, t, x_t)
    return (x_t - a.sqrt() * x0) / (1 - a).sqrt(), x0.clamp(-1, 1)


def clamp_to_0_1(x_t, t, x0, schedule):
    a = at(schedule.alpha_bar, t, x_t)
    x0 = x0.clamp(0, 1)
    return (x_t - a.sqrt() * x0) / (1 - a).sqrt(), x0


def clamp_x_t(x_t, t, x0, schedule):
    a = at(schedule.alpha_bar, t, x_t)
    x_t = x_t.clamp(-1, 1)
    return (x_t - a.sqrt() * x0) / (1 - a).sqrt(), x0


def squash(x_t, t, x0, schedule):
    return clamp_x0(x_t, t, x0.tanh(), schedule)


def shrink(x_t, t, x0, schedule):
    return clamp_x0(x_t, t, x0 / x0.abs().max().clamp(min=1), schedule)


def clamp_no_root(x_t, t, x0, schedule):
    a, x0 = at(schedule.alpha_bar, t, x_t), x0.clamp(-1, 1)
    return (x_t - a * x0) / (1 - a), x0


def clamp_no_division(x_t, t, x0, schedule):
    a, x0 = at(schedule.alpha_bar, t, x_t), x0.clamp(-1, 1)
    return x_t - a.sqrt() * x0, x0


def clamp_alpha(x_t, t, x0, schedule):
    a, x0 = at(schedule.alphas, t, x_t), x0.clamp(-1, 1)
    return (x_t - a.sqrt() * x0) / (1 - a).sqrt(), x0


def clamp_eps_too(x_t, t, x0, schedule):
    eps, x0 = clamp_x0(x_t, t, x0, schedule)
    return eps.clamp(-1, 1), x0


def clamp_swapped(x_t, t, x0, schedule):
    return clamp_x0(x_t, t, x0, schedule)[::-1]


def clamp_cases():
    g = torch.Generator().manual_seed(0)
    cases = []
    for shape, t, schedule in (
        ((5, 2), [1, 10, 500, 700, 999], cosine(1000)),
        ((3, 1, 8, 6), [2, 150, 200], linear(200)),
    ):
        x_t, x0 = torch.randn(shape, generator=g), 2 * torch.randn(shape, generator=g)
        cases.append((x_t, torch.tensor(t), x0, schedule))
    return cases


def _old_eps(got, want):
    gap = (got[0] - want[0]).abs().max()
    return (
        "x_0 is clamped, but eps still belongs to the x_0 before: the two no longer add up to x_t "
        "(eps is off by up to "
        f"{gap:.1f}). Compute eps after the clamp, from the clamped x_0."
    )


CLAMP = Exercise(
    "4.1",
    "clamp_x0",
    clamp_x0,
    clamp_cases,
    verified="x_0 lies in [-1, 1] and sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps is x_t again.",
    mistakes=[
        Mistake("eps left behind", _old_eps, eps_of_the_old_x0),
        Mistake(
            "range [0, 1]",
            "Pixels of this course lie in [-1, 1]; yours loses everything below the middle grey.",
            clamp_to_0_1,
        ),
        Mistake(
            "x_t clamped",
            "x_t is noisy and may leave [-1, 1]; it is the estimate of the clean picture, x_0, that may not.",
            clamp_x_t,
        ),
        Mistake(
            "squashed with tanh",
            "tanh changes every pixel, also those that were in range; a clamp leaves those alone.",
            squash,
        ),
        Mistake(
            "divided by the largest",
            "Dividing by the largest value fades the whole picture because of one pixel; cut only "
            "what is out of range.",
            shrink,
        ),
        Mistake(
            "variance for standard deviation",
            "eps is computed with alpha_bar and 1 - alpha_bar: take their square roots.",
            clamp_no_root,
        ),
        Mistake(
            "eps not divided",
            "What is left of x_t without the signal is sqrt(1 - alpha_bar) eps: divide by that root.",
            clamp_no_division,
        ),
        Mistake(
            "alpha for alpha_bar",
            "This uses alpha_t of one step; x_t holds the signal of all steps so far, alpha_bar_t.",
            clamp_alpha,
        ),
        Mistake(
            "eps clamped too",
            "eps is Gaussian: a third of its values lie outside [-1, 1] and belong there.",
            clamp_eps_too,
        ),
        Mistake(
            "order of the results", "It returns (x_0, eps); the order asked for is (eps, x_0).", clamp_swapped
        ),
    ],
)

# 4.2 ddim_levels ----------------------------------------------------------------------------------


def ddim_levels(T, steps):
    return [round(T - i * T / steps) for i in range(steps)]


def levels_leading(T, steps):
    return [1 + i * (T // steps) for i in reversed(range(steps))]


def levels_linspace(T, steps):
    return [1 + round((T - 1) * (1 - i / (steps - 1))) for i in range(steps)]


def levels_cases():
    return [(1000, 50), (1000, 7), (1000, 300), (200, 30), (100, 100)]


def _starts(got, want):
    return (
        f"It starts at t = {got[0]}, and the walk starts from pure noise, which is level {want[0]}: "
        'the network would be told of less noise than there is. (The libraries call this spacing "leading".)'
    )


def _ends(got, want):
    return (
        f"The last level is {got[-1]} where {want[-1]} was expected: the last stride, from there to "
        'the clean picture at level 0, should be as long as the others. (Libraries call yours "linspace".)'
    )


def _too_many(got, want):
    return (
        f"These are {len(got)} levels, not {len(want)}: a whole stride T // steps is too short when steps "
        "does not divide T."
    )


LEVELS = Exercise(
    "4.2",
    "ddim_levels",
    ddim_levels,
    levels_cases,
    verified="equal strides from T down, the last one ending at 0, also where steps does not divide T.",
    mistakes=[
        Mistake("starts below the noise", _starts, levels_leading),
        Mistake("last stride lost", _ends, levels_linspace),
        Mistake(
            "one level too low",
            "Libraries that count from 0 to T - 1 subtract 1. Here level 0 is the clean picture and pure "
            "noise is level T, where the walk starts.",
            lambda T, s: [level - 1 for level in ddim_levels(T, s)],
        ),
        Mistake(
            "rising",
            "The order is that of the data growing noisier; the walk goes the other way.",
            lambda T, s: ddim_levels(T, s)[::-1],
        ),
        Mistake("whole strides", _too_many, lambda T, s: list(range(T, 0, -(T // s)))),
        Mistake(
            "cut, not rounded",
            "The fractions are cut off, so some levels are one too low: round to the nearest level.",
            lambda T, s: [int(T - i * T / s) for i in range(s)],
        ),
        Mistake(
            "clean level included",
            "It ends with 0: that is the finished picture, where the network is not asked any more.",
            lambda T, s: [*ddim_levels(T, s), 0],
        ),
        Mistake(
            "every level",
            "These are all T levels; only `steps` of them are wanted.",
            lambda T, s: list(range(T, 0, -1)),
        ),
    ],
)

# 4.3 frame_numbers --------------------------------------------------------------------------------


def frame_numbers(states, frames):
    frames = min(frames, states)
    return [round(i * (states - 1) / (frames - 1)) for i in range(frames)]


def frames_bunched(states, frames):
    frames = min(frames, states)
    return [round((states - 1) * (1 - (1 - i / (frames - 1)) ** 2)) for i in range(frames)]


def frames_cases():
    return [(51, 6), (1001, 48), (51, 60), (11, 4), (201, 24)]


def _last_missing(got, want):
    return (
        f"The last frame is state {got[-1]} of 0 .. {want[-1]}: the film stops before the picture is "
        "clean. The first and the last state both belong in it."
    )


FRAMES = Exercise(
    "4.3",
    "frame_numbers",
    frame_numbers,
    frames_cases,
    verified="evenly spaced, the first and the last state among them, none twice.",
    mistakes=[
        Mistake(
            "last state missing", _last_missing, lambda n, k: [i * n // min(k, n) for i in range(min(k, n))]
        ),
        Mistake(
            "stride",
            lambda got, want: (
                f"A whole stride gives {len(got)} frames where {len(want)} were asked for, and it need "
                "not hit the last state."
            ),
            lambda n, k: list(range(0, n, max(1, n // k))),
        ),
        Mistake(
            "first state missing",
            lambda got, want: (
                f"The first frame is state {got[0]}: the film should start with the pure noise, state 0."
            ),
            lambda n, k: [(i + 1) * n // min(k, n) - 1 for i in range(min(k, n))],
        ),
        Mistake(
            "past the end",
            lambda got, want: (
                f"The last number is {got[-1]}, and {want[-1] + 1} states are numbered 0 .. {want[-1]}."
            ),
            lambda n, k: [round(i * n / (min(k, n) - 1)) for i in range(min(k, n))],
        ),
        Mistake(
            "states twice",
            "With more frames than states some states come twice: take each state once then.",
            lambda n, k: [round(i * (n - 1) / (k - 1)) for i in range(k)],
        ),
        Mistake(
            "cut, not rounded",
            "The fractions are cut off: round to the nearest state, or the spacing is uneven.",
            lambda n, k: [int(i * (n - 1) / (min(k, n) - 1)) for i in range(min(k, n))],
        ),
        Mistake(
            "bunched at the end",
            "The frames crowd towards the end of the walk, so a film of them races through the noise "
            "and then crawls: equal strides.",
            frames_bunched,
        ),
        Mistake(
            "the last states",
            "These are neighbours at the end of the walk; spread them over all of it.",
            lambda n, k: list(range(max(0, n - k), n)) if k < n else [0] * n,
        ),
    ],
)

# 4.4 to_bytes -------------------------------------------------------------------------------------


def to_bytes(images):
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def _bytes(x):
    """To uint8, wrapping around as a processor does it: 256 becomes 0."""
    return x.to(torch.int64).to(torch.uint8)


def bytes_stretched(images):
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    return ((images - low) / (high - low) * 255).round().to(torch.uint8)


def bytes_cases():
    g = torch.Generator().manual_seed(0)
    images = 0.9 * torch.randn(4, 1, 8, 6, generator=g)
    images[0, 0, 0, :5] = torch.tensor([-1.0, 1.0, 0.0, 1.2, -1.2])
    return [(images,), (0.5 * torch.randn(2, 1, 5, 7, generator=g).clamp(-1, 1),)]


def _wraps(got, want):
    return (
        f"The pixel at 1.2, beyond white, became {int(got[0, 0, 0, 3])}: a byte holds 0 .. 255 and "
        "what is beyond begins "
        "again at the other end. Clamp before you convert."
    )


BYTES = Exercise(
    "4.4",
    "to_bytes",
    to_bytes,
    bytes_cases,
    verified="-1 becomes 0, 1 becomes 255, and what lies beyond stays black or white.",
    strict_dtype=True,
    mistakes=[
        Mistake("wraps around", _wraps, lambda x: _bytes(((x + 1) * 127.5).round())),
        Mistake(
            "wraps around, and cut",
            "Two things: a byte holds 0 .. 255, so clamp before you convert; and round, conversion "
            "cuts fractions off.",
            lambda x: _bytes((x + 1) * 127.5),
        ),
        Mistake(
            "cut, not rounded",
            "Conversion to uint8 cuts fractions off, which darkens every grey by half a level on "
            "average: round first.",
            lambda x: ((x.clamp(-1, 1) + 1) * 127.5).to(torch.uint8),
        ),
        Mistake(
            "range [0, 1]",
            "This is right for pixels in [0, 1]; ours lie in [-1, 1], so the darker half has become black.",
            lambda x: (x.clamp(0, 1) * 255).round().to(torch.uint8),
        ),
        Mistake(
            "shifted before halving",
            "(x + 0.5) / 2 is not x / 2 + 0.5: -1 must come out at 0 and 1 at 1 before the factor 255.",
            lambda x: ((x.clamp(-1, 1) + 0.5) / 2 * 255).clamp(0, 255).round().to(torch.uint8),
        ),
        Mistake(
            "256 for white",
            "White became 256, which a byte cannot hold, and turned black: the factor is 127.5 (255 / "
            "2), not 128.",
            lambda x: _bytes(((x.clamp(-1, 1) + 1) * 128).round()),
        ),
        Mistake(
            "stretched",
            "Every image is stretched to its own darkest and brightest pixel: a pale image would look "
            "as strong as a good one.",
            bytes_stretched,
        ),
        Mistake(
            "clamped to [0, 1] too late",
            "The values are cut to 0 .. 1 after they were scaled to 0 .. 255: the picture is black.",
            lambda x: ((x + 1) * 127.5).clamp(0, 1).round().to(torch.uint8),
        ),
    ],
)

# 4.5 nearest --------------------------------------------------------------------------------------


def nearest(samples, training):
    a, b = samples.flatten(1), training.flatten(1)
    distance, index = (torch.cdist(a, b) / a.shape[1] ** 0.5).min(dim=1)
    return index, distance


def _nearest(table, pick=lambda d: d.min(dim=1)):
    """A variant: table(differences (N, M, pixels)) gives (N, M) distances, pick chooses."""

    def variant(samples, training):
        distance, index = pick(table(samples.flatten(1)[:, None] - training.flatten(1)[None]))
        return index, distance

    return variant


def _rms(d):
    return d.square().mean(-1).sqrt()


def nearest_cases():
    g = torch.Generator().manual_seed(0)
    return [
        (torch.randn(n, *shape, generator=g), torch.randn(m, *shape, generator=g))
        for n, m, shape in ((4, 9, (1, 6, 5)), (7, 3, (1, 4, 8)), (5, 6, (2,)))
    ]


NEAREST = Exercise(
    "4.5",
    "nearest",
    nearest,
    nearest_cases,
    verified="index and root mean squared distance of the nearest training image, for images and for points.",
    rtol=1e-3,
    mistakes=[
        Mistake(
            "wrong way round",
            "This finds the nearest sample of each training image: take the smallest along the other "
            "dimension.",
            _nearest(_rms, lambda d: d.min(dim=0)),
        ),
        Mistake(
            "farthest",
            "This is the farthest training image, not the nearest.",
            _nearest(_rms, lambda d: d.max(dim=1)),
        ),
        Mistake(
            "not a mean",
            lambda got, want: (
                f"The images are right, the distances too large ({got[1][0]:.2f} for "
                f"{want[1][0]:.2f}): take the mean over the pixels "
                "before the root, so that the number does not grow with the size of the image."
            ),
            _nearest(lambda d: d.square().sum(-1).sqrt()),
        ),
        Mistake(
            "divided by the pixels",
            "The distance is divided by the number of pixels after the root; the mean belongs inside it.",
            _nearest(lambda d: d.square().sum(-1).sqrt() / d.shape[-1]),
        ),
        Mistake(
            "no root",
            "These are mean squared differences: take the root, so that the unit is that of a pixel.",
            _nearest(lambda d: d.square().mean(-1)),
        ),
        Mistake(
            "mean absolute difference",
            "These are mean absolute differences; squared ones are asked for.",
            _nearest(lambda d: d.abs().mean(-1)),
        ),
        Mistake(
            "difference of the means",
            "The differences are averaged before they are squared, so light and dark errors cancel: "
            "square first.",
            _nearest(lambda d: d.mean(-1).square().sqrt()),
        ),
        Mistake(
            "order of the results",
            "It returns (distance, index); the order asked for is (index, distance).",
            lambda s, t: nearest(s, t)[::-1],
        ),
    ],
)

# 4.6 chi_square -----------------------------------------------------------------------------------


def chi_square(counts, shares):
    expected = counts.sum() * shares
    return ((counts - expected) ** 2 / expected).sum()


def _chi(measure):
    """A variant: measure(counts, expected counts) -> what is returned."""
    return lambda counts, shares: measure(counts, counts.sum() * shares)


def chi_cases():
    g = torch.Generator().manual_seed(0)
    cases = []
    for n, classes in ((1000, 10), (64, 10), (500, 4)):
        shares = torch.rand(classes, generator=g) + 0.5
        counts = torch.randint(classes, (n,), generator=g).bincount(minlength=classes)
        cases.append((counts, shares / shares.sum()))
    return cases


CHI = Exercise(
    "4.6",
    "chi_square",
    chi_square,
    chi_cases,
    verified="the squared deviations in units of the expected counts, summed over the classes.",
    mistakes=[
        Mistake(
            "divided by what was seen",
            "The deviations are measured in units of the seen counts; chance scatters around the "
            "expected ones.",
            _chi(lambda o, e: ((o - e) ** 2 / o).sum()),
        ),
        Mistake(
            "not divided",
            "The squared deviations are not divided by the expected counts, so the number grows with "
            "the sample.",
            _chi(lambda o, e: ((o - e) ** 2).sum()),
        ),
        Mistake(
            "divided by the square",
            "Dividing by the expected count squared gives relative deviations; the variance of a "
            "count is the "
            "expected count itself.",
            _chi(lambda o, e: (((o - e) / e) ** 2).sum()),
        ),
        Mistake(
            "not squared",
            "The deviations cancel or lose their weight when they are not squared: square them first.",
            _chi(lambda o, e: ((o - e).abs() / e).sum()),
        ),
        Mistake(
            "shares for counts",
            lambda got, want: (
                f"This compares shares and is smaller by the number of samples ({got:.4f} for {want:.1f}): "
                "only counts know how many samples there were."
            ),
            lambda counts, shares: ((counts / counts.sum() - shares) ** 2 / shares).sum(),
        ),
        Mistake(
            "all classes alike",
            "Every class is expected with the same count; `shares` says how often each comes in the "
            "real data.",
            lambda counts, shares: chi_square(counts, torch.full_like(shares, 1 / len(shares))),
        ),
        Mistake(
            "mean for sum",
            "This is the mean over the classes; the value that chance is known for is the sum.",
            _chi(lambda o, e: ((o - e) ** 2 / e).mean()),
        ),
        Mistake(
            "root taken",
            "A root is taken of the sum; the value that chance is known for is the sum itself.",
            _chi(lambda o, e: ((o - e) ** 2 / e).sum().sqrt()),
        ),
    ],
)

EXERCISES = [CLAMP, LEVELS, FRAMES, BYTES, NEAREST, CHI]
