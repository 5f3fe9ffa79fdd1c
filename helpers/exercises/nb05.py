"""The tasks of notebook 05: eta, fresh noise, spacings, DPM-Solver++(2M), blends, inversion, half a digit."""

from functools import cache

import torch

from helpers import show
from helpers.checkpoints import load_model
from helpers.sampling import dpm_solver, last, reverse, spaced
from helpers.schedule import cosine, linear

from .hidden import generator
from .hunt import Hunt, Measurement
from .patches import Break, Exercise
from .predict import Prediction


def draw(n, *rows):
    """Each row (shape, ...) with n tensors of that shape drawn in its place."""
    g = generator(0)
    return [(*torch.randn(n, *shape, generator=g), *rest) for shape, *rest in rows]


def fresh_cases():
    rows = (
        ((20_000, 2), 600, 400, cosine(1000)),
        ((20_000, 2), 120, 60, linear(200)),
        ((4, 2), 20, 0, cosine(1000)),
    )
    return [(x0.clamp(-1, 1), eps, t, s, noise, by) for x0, eps, noise, t, s, by in draw(3, *rows)]


def is_all_fresh(results):
    """5.2: None where x has the marginal of its level and nothing of eps in it; else a sentence."""
    for x, (x0, eps, _, s, _, by) in zip(results, fresh_cases(), strict=True):
        a = by.alpha_bar[s]
        if x.shape != x0.shape:
            return "The result should be shaped like x0."
        rest, spread = x - a.sqrt() * x0, (1 - a).sqrt()
        if s == 0 and rest.std() > 1e-3:
            return "At t_next = 0 the result is x0 itself: change what is handed to the step, nothing else."
        if not x.isfinite().all():
            return f"At level {s} some numbers are not finite: more noise was taken away than there is."
        if s > 0 and not 0.97 < rest.std() / spread < 1.03:
            much = f"{rest.std():.2f} where {spread:.2f} belongs to the level"
            return (
                f"At level {s}, the noise has a standard deviation of {much}: all fresh, no more and no less."
            )
        likeness = (
            abs(float(torch.corrcoef(torch.stack([rest.flatten(), eps.flatten()]))[0, 1])) if s else 0.0
        )
        if likeness > 0.1:
            still = f"has a correlation of {likeness:.2f} with the old noise eps"
            return f"At level {s}, the noise still {still}. With all noise fresh there is none."
    return None


def right_spacing(written, truth):
    """5.3: the letter, and a number within 0.04 of what was measured."""
    (letter, by), (right, much) = written, truth
    return letter == right and abs(by - much) <= 0.04


def darker(written):
    return written[0] == "c" and written[1] < 0


def far_too_bright(written):
    return written[0] == "c" and written[1] > 0.1


def dpm_cases():
    drawn = draw(
        4,
        ((5, 2), None, 1000, 950, cosine(1000)),
        ((3, 1, 8, 6), 700, 600, 450, cosine(1000)),
        ((5, 2), 190, 150, 140, linear(200)),
        ((3, 1, 8, 6), 80, 20, 0, cosine(1000)),
    )
    cases = [(x0, eps, t, s, z, by, (at, old)) for x0, eps, old, z, at, t, s, by in drawn]
    return [(*case, before if before[0] else None) for *case, before in cases]


def blend_cases():
    shapes = ((4000, 2), 0.2), ((3, 1, 4, 8), 0.0), ((3, 1, 4, 8), 1.0), ((2, 1, 6, 5), 0.5), ((5, 7), 0.9)
    return draw(2, *shapes)


def toy_network(T):
    """A stand-in for the network: eps that depends on x and on the level."""

    def ask(x, t):
        if not 1 <= t <= T:
            raise ValueError(f"the network knows the levels 1 .. {T}, it was asked for {t}")
        return 0.7 * x + torch.sin(3 * x) * (0.2 + t / T)

    return ask


def invert_cases():
    fine, coarse = cosine(1000), linear(200)
    pictures = ((4, 1, 6, 5), 20, 40, fine), ((3, 1, 4, 8), 0, 20, fine)
    drawn = draw(1, *pictures, ((5, 2), 60, 120, coarse), ((5, 2), 0, 50, coarse))
    return [(1.5 * x, t, t_up, toy_network(by.T), by) for x, t, t_up, by in drawn]


def known_cases():
    upper = torch.zeros(1, 1, 6, 5, dtype=torch.bool)
    upper[:, :, :2] = True
    left = torch.tensor([[True, False, False]])
    fine, shape = cosine(1000), (6, 1, 6, 5)
    rows = (shape, 500, upper, fine), (shape, 0, upper, fine), ((9, 3), 60, left, linear(200))
    return [(x, t, known.clamp(-1, 1), mask, z, by) for x, known, z, t, mask, by in draw(3, *rows)]


# The hunt -----------------------------------------------------------------------------------------


def start():
    return torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@cache
def far_end():
    """Where 50 right steps end."""
    model = load_model("mnist_unet").requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        return last(reverse(model, cosine(1000), dpm_solver(50), x_T=start(), clip_x0=1.0))


def setting():
    return load_model("mnist_unet").requires_grad_(False), cosine(1000), start(), 20


def ddim_levels(T, steps):
    return spaced(steps)(T)


def ddim_step(x0, eps, t, t_next, noise, schedule):
    return schedule.q_sample(x0, t_next, eps)


@torch.no_grad()
def estimate(model, schedule, x, t):
    """(x0, eps) at level t, clamped."""
    level = torch.full((len(x),), t)
    with torch.autocast("cpu", torch.bfloat16):
        v = model(x, level).float()
    x0 = schedule.from_output(v, x, level, "v")[1].clamp(-1, 1)
    return x0, schedule.predict_eps(x, level, x0)


def pipeline_05(model, schedule, x, steps):
    lam, before, newest, seen = 0.5 * schedule.snr.log(), None, None, []
    # lines
    levels = ddim_levels(1000, steps)
    # end
    for t, t_next in zip(levels, [*levels[1:], 0], strict=True):
        x0, eps = estimate(model, schedule, x, t)
        toward, noise = x0, None
        if before is not None and t_next > 0:
            # lines
            h, h_before = lam[t_next] - lam[t], lam[t] - lam[before[0]]
            middle = x0 + (x0 - before[1]) * h / (2 * h_before)
            toward = x0 + (1 - torch.exp(-h)) * (middle - x0)
            # end
            seen.append((toward - x0, x0 - newest))
        remembered, newest = before and before[0], x0
        # lines
        x = ddim_step(toward, eps, t, t_next, noise, schedule)
        before = (t, x0)
        # end
    return dict(x=x, levels=levels, remembered=remembered, seen=seen)


def size(result):
    """How large the corrections are beside the last changes of x_0, over all steps."""
    made, change = (torch.stack(parts).square().sum().sqrt() for parts in zip(*result["seen"], strict=True))
    return float(made / change)


def agreement(result):
    made, change = (torch.stack(parts).flatten() for parts in zip(*result["seen"], strict=True))
    return float(made @ change / (made.norm() * change.norm()))


def error(result):
    return float((result["x"] - far_end()).square().mean().sqrt())


MEASUREMENTS = [
    Measurement("the first level", lambda r: float(r["levels"][0]), 1, "g"),
    Measurement("the level remembered at the last step", lambda r: float(r["remembered"]), 60, "g"),
    Measurement("the size of the correction, in last changes of x_0,", size, 0.03),
    Measurement("the cosine between the correction and the last change of x_0", agreement, 0.2),
    Measurement("the distance from the end of 50 steps (RMS a pixel)", error, 0.015, ".3f"),
]


def draw_digits(result):
    alt = "Eight digits of this sampler, and below them those that 50 right steps draw from the same noises"
    show.rows({"this sampler, 20 steps": result["x"], "right, 50 steps": far_end()}, alt)
    print(f"distance between the two rows: {error(result):.3f} (RMS a pixel)")
    print(f"mean brightness: {result['x'].mean():.3f} and {far_end().mean():.3f}")


EXERCISES = [
    Prediction("5.1", "letter abcd"),
    Break(
        "5.2",
        fresh_cases,
        "the marginal of the new level, and nothing of the old noise in it.",
        wanted=is_all_fresh,
        why="b",
        strict_dtype=True,
    ),
    Prediction("5.3", "letter abc, number", right=right_spacing, near=0.02),
    Exercise(
        "5.4",
        dpm_cases,
        "DDIM at the first and the last step, in between the line through two estimates, over lambda.",
        rtol=3e-4,
        strict_dtype=True,
    ),
    Prediction("5.5", near=0.06),
    Exercise(
        "5.6",
        blend_cases,
        "variance 1 for every share, and both ends come out exactly.",
        strict_dtype=True,
    ),
    Exercise(
        "5.7",
        invert_cases,
        "the DDIM step walked upwards, the network asked where it stands, also from the clean picture.",
        strict_dtype=True,
    ),
    Exercise(
        "5.8",
        known_cases,
        "the known pixels as noisy as their level asks for, clean at level 0, the others as they were.",
        strict_dtype=True,
    ),
    Hunt("5.9", pipeline_05, setting, MEASUREMENTS, draw_digits),
]
