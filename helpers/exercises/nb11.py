"""The tasks of notebook 11: walks from the middle, climbs, bent estimates, classifiers, calibration."""

import torch

from helpers import data, show
from helpers.checkpoints import load_model
from helpers.sampling import spaced
from helpers.schedule import cosine, linear

from .hidden import generator
from .hunt import Hunt, Measurement
from .patches import Break, Exercise
from .predict import Prediction


def begin_cases():
    g, fine, coarse = generator(0), cosine(1000), linear(200)
    rows = ((6, 1, 6, 5), 600, 20, fine), ((9, 3), 90, 7, coarse), ((4, 1, 5, 4), 1000, 25, fine)
    drawn = [(torch.randn(2, *shape, generator=g), t, steps, by) for shape, t, steps, by in rows]
    return [(picture.clamp(-1, 1), t, steps, noise, by) for (picture, noise), t, steps, by in drawn]


def climb_cases():
    """Noisy pictures, up by several levels, by one, and from level 0."""
    g, fine, coarse = generator(0), cosine(1000), linear(200)
    rows = ((6, 1, 6, 5), 480, 520, fine), ((9, 3), 60, 61, coarse), ((4, 1, 5, 4), 0, 300, fine)
    rows = (*rows, ((5, 2), 700, 900, fine))
    pairs = [(torch.randn(2, *shape, generator=g), t, up, by) for shape, t, up, by in rows]
    return [(x, t, up, noise, by) for (x, noise), t, up, by in pairs]


def toy_estimate(x):
    """A stand-in for the network's estimate of x_0 (B, ..): every entry depends on all of its picture."""
    all_of_it = x.flatten(1).mean(1).reshape(-1, *(1 for _ in x.shape[1:]))
    return torch.tanh(0.8 * x + all_of_it) + 0.2 * x.roll(1, -1)


def toy_log_p(x0):
    """How well the first half of each picture agrees with 0.3, (B,)."""
    rows = x0.flatten(1)
    return -2 * (rows[:, : rows.shape[1] // 2] - 0.3).square().sum(1)


def bend_cases():
    g, fine, coarse = generator(0), cosine(1000), linear(200)
    rows = ((5, 1, 4, 3), 500, fine), ((7, 4), 60, coarse), ((3, 1, 2, 6), 850, fine), ((6, 2), 3, fine)
    return [(torch.randn(shape, generator=g), t, toy_estimate, toy_log_p, by) for shape, t, by in rows]


def bend_and_look(function, *inputs):
    """What bend returns, and whether it still drags a graph along."""
    result = function(*inputs)
    return {"result": result, "has a graph": bool(getattr(result, "requires_grad", False))}


def listen_cases():
    return [(x, ask, log_p) for x, _, ask, log_p, _ in bend_cases()]


def is_deaf(results):
    """11.5: None where only the known entries hear, with the slope of log_p; else a sentence."""
    for slope, (x, ask, log_p) in zip(results, listen_cases(), strict=True):
        if slope.shape != x.shape:
            return "The result should be shaped like x: one number for each pixel."
        half = x[0].numel() // 2
        known, unknown = slope.flatten(1)[:, :half], slope.flatten(1)[:, half:]
        if unknown.abs().max() > 1e-6:
            return f"The unknown pixels still hear: their gradient goes up to {unknown.abs().max():.2f}."
        if known.abs().max() < 1e-6:
            return "Now nobody hears, not even the known pixels. They should."
        x0 = ask(x.detach()).requires_grad_(True)
        wanted = torch.autograd.grad(log_p(x0).sum(), x0)[0]
        if not torch.allclose(slope, wanted, rtol=1e-3, atol=1e-4):
            return (
                "The unknown pixels are deaf. But the known ones do not get the gradient of log_p any more."
            )
    return None


def calibration_cases():
    g, cases = generator(0), []
    for n, classes, sharp, edges in (
        (300, 10, 2.0, [0.0, 0.05, 0.2, 0.6, 1.0]),
        (200, 4, 1.0, [0.1, 0.4, 0.9]),
        (250, 3, 1.5, [0.0, 0.5, 1.0]),
    ):
        scores = sharp * torch.randn(n, classes, generator=g)
        shares = (scores.softmax(1) * 16).round() / 16
        truth = torch.multinomial((0.6 * scores).softmax(1), 1, generator=g)[:, 0]
        cases.append((shares, truth, edges))
    return cases


def too_modest(written):
    return written > 0.95


def too_sure(written):
    return written < 0.69


# The hunt -----------------------------------------------------------------------------------------


def measure(x):
    """The upper half of pictures (B, 1, 8, 8)."""
    return x[:, :, :4]


def setting():
    truth = data.digits()[0][10:20]
    x = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2))
    return load_model("digits_unet").requires_grad_(False), cosine(1000), truth, x


def ask(model, schedule, x, t):
    """The network's estimate of x_0, with a graph."""
    level = torch.full((len(x),), t)
    return schedule.from_output(model(x, level), x, level, "v")[1]


def clamp_x0(x, t, x0, schedule):
    x0 = x0.clamp(-1, 1)
    return x0, schedule.predict_eps(x, t, x0)


def pipeline_11(model, schedule, truth, x):
    y, told, beyond = measure(truth), [], []
    levels = spaced(20)(1000)
    for t, t_next in zip(levels, [*levels[1:], 0], strict=True):
        x, a = x.requires_grad_(True), schedule.alpha_bar[t]
        # lines
        x0 = ask(model, schedule, x, t)
        missed = (y - measure(x0)).square().flatten(1).sum(1)
        slope = torch.autograd.grad(-missed.sum() / (2 * (1 - a)), x)[0]
        x0 = x0 + (1 - a) / a.sqrt() * slope
        # end
        told.append(slope[:, :, 4:].abs().mean())
        x, x0 = x.detach(), x0.detach()
        # lines
        x0, eps = clamp_x0(x, t, x0, schedule)
        # end
        beyond.append((x0.abs() > 1.01).float().mean())
        # lines
        x = schedule.q_sample(x0, t_next, eps)
        # end
    return dict(x=x, truth=truth, told=torch.stack(told).mean(), beyond=torch.stack(beyond).mean())


def miss(result):
    return (measure(result["x"]) - measure(result["truth"])).square().mean().sqrt()


MEASUREMENTS = [
    Measurement("the RMS error of the upper half", miss, 0.02, ".3f"),
    Measurement("the mean push on a pixel of the lower half", lambda r: r["told"], 0.02, ".3f"),
    Measurement("the share of pixels of x_0 beyond 1.01, on the way,", lambda r: r["beyond"], 0.05),
    Measurement("the standard deviation of the finished pixels", lambda r: r["x"].std(), 0.1),
]


def draw_11(result):
    alt = "Ten true digits, and below them what this walk makes of their upper halves"
    show.rows({"true": result["truth"], "repaired": result["x"]}, alt)
    for m in MEASUREMENTS:
        print(f"{m.say(float(m.of(result))):>7}  {m.name.removeprefix('the ').strip(',')}")


EXERCISES = [
    Exercise(
        "11.1",
        begin_cases,
        "the picture has the noise of level t, and the walk goes from t down in even strides.",
        strict_dtype=True,
    ),
    Prediction("11.2", "letter abcd"),
    Exercise(
        "11.3",
        climb_cases,
        "picture and noise have the shares of the higher level, over one level and over many.",
        strict_dtype=True,
    ),
    Exercise(
        "11.4",
        bend_cases,
        "the estimate moves along the gradient at the noisy picture, by the factor of the score.",
        call=bend_and_look,
        rtol=1e-3,
        atol=1e-4,
        strict_dtype=True,
    ),
    Break(
        "11.5",
        listen_cases,
        "known pixels hear as the estimate does, unknown ones not at all.",
        wanted=is_deaf,
        why="b",
        rtol=1e-3,
        atol=1e-4,
    ),
    Prediction("11.6", "letter abc"),
    Exercise(
        "11.7",
        calibration_cases,
        "every bin has the statements of all pictures and classes, for three sets of edges.",
        rtol=1e-3,
        strict_dtype=True,
    ),
    Prediction("11.8", near=0.13),
    Hunt("11.9", pipeline_11, setting, MEASUREMENTS, draw_11),
]
