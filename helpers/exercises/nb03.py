"""The tasks of notebook 03: the U-Net's parts, v and its inverse, averaged weights; three guesses, a hunt."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F

from helpers import checkpoints, data, metrics, show
from helpers.sampling import ddim, last, reverse
from helpers.schedule import cosine, linear

from .exercise import as_module
from .hidden import generator
from .hunt import Hunt, Measurement
from .patches import Exercise, solve
from .predict import Prediction


def make_draw(seed: int):
    """A function that draws standard normal tensors, each call the next ones."""
    g = generator(seed)
    return lambda *shape: torch.randn(shape, generator=g)


def make_block_cases():
    """Wider inside than outside, and as wide; H, W and B all different."""
    draw = make_draw(0)
    return [((8, 16, 5), draw(2, 8, 4, 3), draw(2, 5)), ((16, 16, 6), 2 * draw(3, 16, 2, 5), draw(3, 6))]


def make_attention_cases():
    """Queries of some size, so that a wrong scale shows; and the four places of 3.2."""
    draw = make_draw(1)
    cases = [[draw(*shape) for _ in "qkv"] for shape in ((2, 3, 6, 4), (1, 2, 5, 16))]
    q = torch.tensor([[2.0, 0, 0, 0], [2, 2, 0, 0], [0, 0, 0, 0], [0, 3, 0, 0]])
    v = torch.arange(1.0, 5)[:, None].repeat(1, 4)
    places = [x[None, None] for x in (q, 2 * torch.eye(4), v)]
    return [(2 * cases[0][0], *cases[0][1:]), tuple(cases[1]), tuple(places)]


def make_unet_cases():
    """Two and three resolutions, at three levels, on pictures that are not square."""
    draw, t = make_draw(2), torch.tensor([3, 500, 1000])
    return [(((8, 16),), draw(3, 1, 8, 4), t), (((8, 16, 24),), draw(3, 1, 8, 12), t)]


def make_v_cases():
    """Pictures and points, both schedules, t from 1 to the last."""
    draw, image, points = make_draw(3), (3, 1, 4, 6), (5, 2)
    return [
        (draw(*image), torch.tensor([1, 400, 1000]), draw(*image), cosine()),
        (draw(*points) + 1, torch.tensor([1, 20, 50, 70, 99]), draw(*points), linear(100)),
    ]


def make_return_cases():
    """Those of v, and level 0, where nothing can be divided by sqrt(1 - alpha_bar)."""
    draw = make_draw(5)
    clean = draw(3, 1, 4, 6), torch.tensor([0, 500, 0]), draw(3, 1, 4, 6), cosine()
    cases = [*make_v_cases(), clean]
    return [(s.target(x0, t, e, "v"), s.q_sample(x0, t, e), t, s) for x0, t, e, s in cases]


def make_ema_cases():
    """A first update, one in the warm-up, a late one."""
    draw, steps = make_draw(4), ((0, 0.9), (35, 0.999), (5000, 0.99))
    return [([draw(3), draw(2, 4)], [draw(3) + 2, draw(2, 4)], *step) for step in steps]


def no_shares(written) -> bool:
    """Of 3.2: a row that does not sum to 1."""
    return any(abs(sum(row) - 1) > 0.1 for row in written[:2])


def catches(ticked: str, truth) -> bool:
    """The two that surely notice, perhaps the class shares, and none that cannot."""
    return {"c", "d"} <= set(ticked) <= {"c", "d", "e"}


def trusts_pixels(ticked: str) -> bool:
    return bool({"a", "b"} & set(ticked))


def trusts_distance(ticked: str) -> bool:
    return "f" in ticked


def misses_one(ticked: str) -> bool:
    return not {"c", "d"} <= set(ticked)


# The hunt -----------------------------------------------------------------------------------------


def set_up_03():
    """The U-Net of 3.4 with the course's weights; six held-out digits and their noise."""
    network = solve("3.4")().eval().requires_grad_(False)
    network.load_state_dict(checkpoints.load_model("digits_unet").state_dict())
    return network, data.digits()[0][::5][10:16], make_draw(0)(6, 1, 8, 8), cosine()


def go_down(network, x, emb):
    """What reaches the lowest resolution, and the skips (part of the hunt that is right)."""
    h, skips = network.enter(x), []
    for i, blocks in enumerate(network.down):
        skips.append(blocks[0](h, emb))
        h = network.shrink[i](skips[-1]) if i < len(network.shrink) else skips[-1]
    return h, skips


def join_heads(mixed):
    """(B, heads, 16, d) back to (B, heads d, 4, 4)."""
    return mixed.transpose(-1, -2).reshape(len(mixed), -1, 4, 4)


def pipeline_03(network, x0, noise, schedule):
    seen = {}
    network.up[1][0].register_forward_pre_hook(lambda _, inputs: seen.update(below=inputs[0][:, :32]))

    def forward(x, t):
        # lines
        emb = network.embed(t)
        h, skips = go_down(network, x, emb)
        h = network.middle[0](h, emb)
        q, k, v = network.attention.split(h)
        w = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        h = h + network.attention.out(join_heads(w @ v))
        h = network.middle[1](h, emb)
        for i, blocks in enumerate(network.up):
            h = torch.cat([h, skips.pop()], dim=1)
            h = blocks[0](h, emb)
            if i < len(network.grow):
                h = network.grow[i](F.interpolate(h, scale_factor=2.0))
        # end
        seen["weights"] = w
        return network.leave(h)

    t = torch.full((len(x0),), 300)
    x_t = schedule.q_sample(x0, t, noise)
    forward.prediction = "v"  # what `reverse` asks for
    samples = last(reverse(forward, schedule, ddim(20), (100, 1, 8, 8), seed=1, clip_x0=1.0))
    answer, later = forward(x_t, t), forward(x_t, 2 * t)
    _, estimate = schedule.from_output(answer, x_t, t, "v")
    kept = {name: value.clone() for name, value in seen.items()}
    [p.zero_() for p in network.attention.out.parameters()]
    return SimpleNamespace(
        x0=x0, x_t=x_t, estimate=estimate, samples=samples, later=later - answer,
        without=forward(x_t, t) - answer, **kept,
    )  # fmt: skip


def rms(x):
    return float(x.square().mean().sqrt())


def block_spread(result):
    """How far the four pixels of a 2 x 2 block differ, in what enters the last block from below."""
    return rms(F.pixel_unshuffle(result.below, 2).unflatten(1, (-1, 4)).std(2))


MEASUREMENTS = [
    Measurement("the change of the answer, when t goes from 300 to 600,", lambda r: rms(r.later), 0.05),
    Measurement("the error of the estimate of x_0 at t = 300", lambda r: rms(r.estimate - r.x0) ** 2, 0.05),
    Measurement("the spread inside 2 x 2 pixels of what enters the last block from below", block_spread, 0.2),
    Measurement("the change of the answer when attention.out is set to 0", lambda r: rms(r.without), 0.02),
    Measurement("the smallest sum of a row of attention weights", lambda r: r.weights.sum(-1).min(), 0.1),
    Measurement("the mean of the largest weight in a row", lambda r: r.weights.amax(-1).mean(), 0.1),
]


def draw_03(result):
    """Six digits, noised, and what the network makes of them; 24 samples; the measurements."""
    rows = torch.cat([result.x0, result.x_t, result.estimate])
    fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 2.3), width_ratios=[6, 8])
    for ax, images, columns in zip(axes, (rows, result.samples[:24]), (6, 8), strict=True):
        ax.imshow(show.tiles(images, columns), vmin=0, vmax=255)
        ax.set_axis_off()
    names = ["six real digits", "with noise, $t = 300$", "the network's\nestimate of $x_0$"]
    axes[0].set_axis_on()
    axes[0].set(title="Digits the network never saw", xticks=[], yticks=[4.5, 13.5, 22.5], yticklabels=names)
    axes[0].tick_params(length=0)
    axes[0].grid(False)
    axes[0].spines[:].set_visible(False)
    axes[1].set_title("24 samples, drawn from noise")
    show.figure(
        fig,
        "Left, three rows: six real digits that were held out, the same with the noise of level 300, and the "
        "network's estimate of the clean digits. Right: 24 samples in 20 steps of DDIM.",
    )
    for m in MEASUREMENTS:
        print(f"{m.name.strip(',')}: {m.say(float(m.of(result)))}")
    print(f"read with more than 95 % confidence: {metrics.confident_share(result.samples):.0%} of 100")


EXERCISES = [
    Exercise(
        "3.1",
        make_block_cases,
        "same output with the same weights, where the width changes and where it stays.",
        call=as_module(solve("3.1")),
        strict_dtype=True,
    ),
    Prediction("3.2", form="grid 2x4, number", near=0.06),
    Exercise(
        "3.3",
        make_attention_cases,
        "weights and mixed values agree, also for the four places of 3.2; every row of weights sums to 1.",
        strict_dtype=True,
    ),
    Exercise(
        "3.4",
        make_unet_cases,
        "same output with the same weights, over two and three resolutions, on pictures that are not square.",
        call=as_module(solve("3.4")),
        strict_dtype=True,
        rtol=1e-3,  # processors differ in the order of their sums
        atol=1e-4,
    ),
    Prediction("3.5", form="3 numbers", near=0.004),
    Exercise(
        "3.6",
        make_v_cases,
        "it equals its definition on both schedules, for pictures and points.",
        strict_dtype=True,
    ),
    Exercise(
        "3.7",
        make_return_cases,
        "x0 and eps come back as they went in, from level 0 to the last.",
        strict_dtype=True,
    ),
    Exercise(
        "3.8",
        make_ema_cases,
        "right at the first update, in the warm-up and when warm; the old average was left alone.",
        strict_dtype=True,
    ),
    Prediction("3.9", form="letters abcdef", right=catches),
    Hunt("3.10", pipeline_03, set_up_03, MEASUREMENTS, draw_03),
]
