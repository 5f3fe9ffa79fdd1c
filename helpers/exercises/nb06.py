"""The tasks of notebook 06: labels, dropped labels, guidance, diversity, and what guidance does."""

from unittest import mock

import torch

from helpers import show
from helpers.checkpoints import load_model
from helpers.classifiers import probabilities
from helpers.models import PointMLP, UNet
from helpers.sampling import spaced
from helpers.schedule import cosine

from .exercise import as_module
from .hidden import generator
from .hunt import Hunt, Measurement
from .patches import Break, Exercise, solve
from .predict import Prediction


def labelled_cases():
    g = generator(0)
    t, y = torch.tensor([1, 3, 50, 200, 500, 999, 1000]), torch.randint(4, (7,), generator=g)
    x = torch.randn(7, 1, 8, 8, generator=g)
    one, two = ((8,), 4), ((8, 16), 10)
    return [(one, x, t, y), (one, x[:3], t[:3], torch.tensor([4, 0, 4])), (two, x[1:6], t[1:6], None)]


def embed(cls, init, x, t, y):
    """What embed(t) answers in a network of the class, for labels y; and what the network answers."""
    network = as_module(solve("6.1"), method="eval")(cls, init)
    network.y = y
    return {"embed": network.embed(t), "forward": network(x, t, y)}


def drop_cases():
    g = generator(0)
    sizes = (40, 0.1, 10), (23, 0.3, 4), (12, 0.0, 10), (9, 1.0, 2), (30, 0.6, 10)
    return [(torch.randint(k, (n,), generator=g), p, k, torch.rand(n, generator=g)) for n, p, k in sizes]


def guide_cases():
    g = generator(0)
    each = torch.tensor([4.0, 1.0, 0.0]).reshape(3, 1, 1, 1)
    cases = ((5, 2), 3.0), ((3, 1, 6, 4), 1.0), ((4, 2), 0.0), ((2, 1, 5, 7), -1.0), ((3, 1, 4, 2), each)
    return [(*torch.randn(2, *shape, generator=g), s) for shape, s in cases]


def guided_cases(scales=(3.0, 2.0, 0.5)):
    g, made = generator(0), []
    points = PointMLP(width=8, depth=1, features=2, time_dim=8, classes=3)
    images = UNet(channels=(8,), emb_dim=8, heads=2, classes=5)
    shapes = (points, (7, 2)), (images, (4, 1, 6, 5)), (points, (5, 2))
    for (model, shape), s in zip(shapes, scales, strict=True):
        for p in model.eval().requires_grad_(False).parameters():
            p.normal_(std=0.4, generator=g)
        y = torch.randint(1, model.classes, shape[:1], generator=g)
        made.append((model, torch.randn(shape, generator=g), 150 * torch.arange(len(y)) + 9, y, s))
    return made


def count_calls(function, model, *inputs):
    with mock.patch.object(model, "forward", wraps=model.forward) as forward:
        return {"result": function(model, *inputs), "calls": forward.call_count}


def turned_cases():
    return guided_cases((3.0, 2.0, 2.0))


def is_turned(results):
    """6.5: None where the results are those of 1 - s; else a sentence."""
    guided = solve("6.4")
    for result, (model, x, t, y, s) in zip(results, turned_cases(), strict=True):
        if result.shape != x.shape:
            return "The result should be shaped like x, as before."
        if torch.allclose(result, guided(model, x, t, y, 1 - s), rtol=1e-3, atol=1e-4):
            continue
        if torch.allclose(result, guided(model, x, t, y, s), rtol=1e-3, atol=1e-4):
            return f"At s = {s:g} the answer is still the right one: the sevens will come."
        lead = f"Something has changed, but at s = {s:g} the walk is not led the opposite way."
        return f"{lead} Leave s and the labels alone: who is taken for whom?"
    return None


def diversity_cases():
    g, made = generator(0), []
    for counts, shape in (((4, 2, 7), (1, 5, 4)), ((3, 6), (2,)), ((5, 3, 2, 8), (1, 3, 7))):
        y = torch.arange(0, 2 * len(counts), 2).repeat_interleave(torch.tensor(counts))
        y = y[torch.randperm(len(y), generator=g)]
        centre = y.reshape(-1, *(1 for _ in shape))  # (n, 1, ..)
        made.append((centre + (1 + centre) * torch.randn(len(y), *shape, generator=g), y))
    return made


# 6.8: five accuracies and the scale with the smallest distance ------------------------------------


def percent(written):
    """The five accuracies in percent, whether they were written as 94 or as 0.94."""
    *accuracies, _ = written
    return [100 * a for a in accuracies] if max(accuracies) <= 1 else accuracies


def near_the_curve(written, truth):
    apart = [abs(a - b) for a, b in zip(percent(written), percent(truth), strict=True)]
    return written[-1] == truth[-1] and max(apart) <= 12


def best_above(written):
    return written[-1] > 1


def best_without(written):
    return written[-1] < 1


def knows_without(written):
    return percent(written)[0] > 22


def little_at_one(written):
    return percent(written)[1] < 82


def falls_again(written):
    _, _, *guided = percent(written)
    return min(guided) < 88


# The hunt -----------------------------------------------------------------------------------------


def setting():
    y = torch.arange(20) % 10
    x = torch.randn(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return load_model("mnist_classes").requires_grad_(False), cosine(1000), x, y


def from_v(v, x, t, schedule):
    return schedule.from_output(v, x, t, "v")[::-1]


def clamp_x0(x, t, x0, schedule):
    x0 = x0.clamp(-1, 1)
    return x0, schedule.predict_eps(x, t, x0)


def pipeline_06(model, schedule, x, y):
    def answer(x, t, s):
        # lines
        none = torch.full_like(y, model.classes)
        both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, none]))
        out_c, out_u = both.chunk(2)
        out = out_u + s * (out_c - out_u)
        # end
        return out

    t = torch.full((len(x),), 500)
    plain = dict(none=model(x, t), label=model(x, t, y), zero=model(x, t, torch.zeros_like(y)))
    asked = {s: answer(x, t, s) for s in (0, 1, 3)}
    beyond, levels = [], spaced(10)(1000)
    for level, after in zip(levels, [*levels[1:], 0], strict=True):
        t = torch.full((len(x),), level)
        out = answer(x, t, 3)
        # lines
        x0, eps = from_v(out, x, t, schedule)
        x0, eps = clamp_x0(x, t, x0, schedule)
        # end
        beyond.append((x0.abs() > 1.01).float().mean())
        x = schedule.q_sample(x0, after, eps)
    return dict(x=x, y=y, plain=plain, asked=asked, beyond=torch.stack(beyond).mean())


def rms(x):
    return float(x.square().mean().sqrt())


def differ(s, name):
    return lambda r: rms(r["asked"][s] - r["plain"][name])


def read_as_asked(result):
    return (probabilities(result["x"].clamp(-1, 1)).argmax(1) == result["y"]).float().mean()


MEASUREMENTS = [
    Measurement("the share that is read as asked", read_as_asked, 0.3),
    Measurement("the share of pixels of x_0 beyond 1.01, on the way,", lambda r: r["beyond"], 0.02),
    Measurement(
        "the change of the answer from s = 1 to s = 3",
        lambda r: rms(r["asked"][3] - r["asked"][1]),
        0.05,
    ),
    Measurement("the difference at s = 0 from the answer for the digit 0", differ(0, "zero"), 0.05),
    Measurement("the difference at s = 1 from the answer with the label", differ(1, "label"), 0.05),
    Measurement("the difference at s = 0 from the answer without label", differ(0, "none"), 0.05),
    Measurement(
        "the size of the answer at s = 3, in sizes at s = 1,",
        lambda r: rms(r["asked"][3]) / rms(r["asked"][1]),
        0.3,
    ),
]


def draw_06(result):
    """Twenty digits, two of each, and all that was measured."""
    alt = "Twenty digits of this walk, two rows, with the digit asked for above each column"
    first, second = result["x"].clamp(-1, 1).chunk(2)
    show.rows({"one": first, "two": second}, alt, [str(i) for i in range(10)], title="Asked for, at s = 3")
    for m in MEASUREMENTS:
        print(f"{m.say(float(m.of(result))):>5}  {m.name.removeprefix('the ').strip(',')}")


EXERCISES = [
    Exercise(
        "6.1",
        labelled_cases,
        "level and label are added, and without labels every example gets the row for no label.",
        call=embed,
        strict_dtype=True,
    ),
    Exercise(
        "6.2",
        drop_cases,
        "each example has its own draw, and the others keep their label; shares 0 and 1 work too.",
        strict_dtype=True,
    ),
    Exercise(
        "6.3",
        guide_cases,
        "s = 0 gives the network without label, s = 1 the one with it, 3 and -1 lie on the same line.",
        strict_dtype=True,
    ),
    Exercise(
        "6.4",
        guided_cases,
        "one call with both branches in it, for points and for pictures.",
        call=count_calls,
        rtol=1e-3,
        atol=1e-4,
        strict_dtype=True,
    ),
    Break(
        "6.5",
        turned_cases,
        "with s it now does what the right function does with 1 - s.",
        wanted=is_turned,
        why="b",
        options="abcd",
        rtol=1e-3,
        atol=1e-4,
    ),
    Prediction("6.6", "letter abcd"),
    Exercise(
        "6.7",
        diversity_cases,
        "pairs of different examples of one class, and every class counts alike.",
        rtol=1e-3,
        strict_dtype=True,
    ),
    Prediction("6.8", "5 numbers, number", right=near_the_curve),
    Prediction("6.9", "letter abc"),
    Hunt("6.10", pipeline_06, setting, MEASUREMENTS, draw_06),
]
