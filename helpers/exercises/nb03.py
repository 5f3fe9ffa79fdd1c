"""The exercises of notebook 03: residual block, attention, U-Net, the target v and its inverse, the
averaged weights."""

import torch
import torch.nn.functional as F
from torch import nn

from helpers import models
from helpers.exercises.exercise import Exercise, Mistake, as_module
from helpers.models import SelfAttention, timestep_embedding
from helpers.schedule import at, cosine, linear


def make_draw(seed: int):
    """A function that draws standard normal tensors, each call the next ones."""
    g = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=g)


def vary(module, **methods):
    """The module class with some of its methods replaced."""
    return type(f"Wrong{module.__name__}", (module,), methods)


# 3.1 ----------------------------------------------------------------------------------------------


class ResBlock(models.ResBlock):
    """Two convolutions, told the noise level by a bias a channel, added to the input."""

    def forward(self, x, emb):
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(emb)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return self.skip(x) + h


class BlockParts(ResBlock):
    """The same in pieces that a mistake can replace."""

    def prepare(self, norm, x):
        return F.silu(norm(x))

    def shape_time(self, emb):
        return self.time(emb)[:, :, None, None]

    def correct(self, x, emb):
        h = self.conv1(self.prepare(self.norm1, x)) + self.shape_time(emb)
        return self.conv2(self.prepare(self.norm2, h))

    def forward(self, x, emb):
        return self.skip(x) + self.correct(x, emb)


def add_time_last(self, x, emb):
    h = self.conv1(self.prepare(self.norm1, x))
    return self.conv2(self.prepare(self.norm2, h)) + self.shape_time(emb)


def add_time_after_norm(self, x, emb):
    h = self.norm2(self.conv1(self.prepare(self.norm1, x))) + self.shape_time(emb)
    return self.conv2(F.silu(h))


def make_block_cases():
    """Wider inside than outside, and as wide; H, W and B all different."""
    draw = make_draw(0)
    return [((8, 16, 5), draw(2, 8, 4, 3), draw(2, 5)), ((16, 16, 6), 2 * draw(3, 16, 2, 5), draw(3, 6))]


# 3.2 ----------------------------------------------------------------------------------------------


def attention(q, k, v):
    """(mixed values (B, heads, N, d), weights (B, heads, N, N))."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    weights = scores.softmax(dim=-1)
    return weights @ v, weights


def compare(q, k):
    return q @ k.transpose(-1, -2)


def compare_scaled(q, k):
    return compare(q, k) / q.shape[-1] ** 0.5


def share_out(scores, q):
    return scores.softmax(-1)


def vary_attention(score=compare_scaled, share=share_out, mix=torch.matmul):
    """attention in three steps, one of them wrong: score(q, k), share(scores, q), mix(weights, v)."""

    def attend_wrongly(q, k, v):
        weights = share(score(q, k), q)
        return mix(weights, v), weights

    return attend_wrongly


def make_attention_cases():
    """Several sizes; queries of some size, so that a wrong scale shows."""
    draw = make_draw(1)
    return [
        (2 * draw(2, 3, 6, 4), draw(2, 3, 6, 4), draw(2, 3, 6, 4)),
        (draw(1, 2, 5, 16), draw(1, 2, 5, 16), draw(1, 2, 5, 16)),
    ]


def quote_row_sums(got, want):
    rows = got[1].sum(-1)
    return (
        f"Every row of the weights must sum to 1; yours sum to {float(rows.min()):.2f} .. "
        f"{float(rows.max()):.2f} and the columns to 1: the softmax runs over the queries, not over the keys."
    )


# 3.3 ----------------------------------------------------------------------------------------------


class Layers(nn.Module):
    """The layers of the notebook's U-Net, under the names that its cell gives them."""

    def __init__(self, c=32, emb_dim=128):
        super().__init__()
        self.emb_dim, self.prediction = emb_dim, "v"
        self.time = nn.Sequential(
            nn.Linear(emb_dim, emb_dim), nn.SiLU(), nn.Linear(emb_dim, emb_dim), nn.SiLU()
        )
        self.enter = nn.Conv2d(1, c, 3, padding=1)
        self.down1, self.down2 = ResBlock(c, c, emb_dim), ResBlock(c, 2 * c, emb_dim)
        self.shrink = nn.Conv2d(c, c, 3, stride=2, padding=1)
        self.up2, self.up1 = ResBlock(4 * c, 2 * c, emb_dim), ResBlock(2 * c, c, emb_dim)
        self.grow = nn.Conv2d(2 * c, c, 3, padding=1)
        self.middle1, self.middle2 = ResBlock(2 * c, 2 * c, emb_dim), ResBlock(2 * c, 2 * c, emb_dim)
        self.attention = SelfAttention(2 * c)
        self.leave = nn.Sequential(nn.GroupNorm(8, c), nn.SiLU(), nn.Conv2d(c, 1, 3, padding=1))


class SmallUNet(Layers):
    """Down, middle, up, with a skip at each of the two resolutions."""

    def forward(self, x, t):
        emb = self.time(timestep_embedding(t, self.emb_dim))
        a = self.down1(self.enter(x), emb)
        b = self.down2(self.shrink(a), emb)
        h = self.middle2(self.attention(self.middle1(b, emb)), emb)
        h = self.up2(torch.cat([h, b], dim=1), emb)
        h = self.grow(F.interpolate(h, scale_factor=2.0))
        h = self.up1(torch.cat([h, a], dim=1), emb)
        return self.leave(h)


class UNetParts(SmallUNet):
    """The same in pieces that a mistake can replace."""

    def embed(self, t):
        return self.time(timestep_embedding(t, self.emb_dim))

    def attend(self, h):
        return self.attention(h)

    def join(self, h, skip):
        return torch.cat([h, skip], dim=1)

    def enlarge(self, h):
        return self.grow(F.interpolate(h, scale_factor=2.0))

    def choose_skips(self, entered, a, b, h):
        return b, a

    def forward(self, x, t):
        emb, entered = self.embed(t), self.enter(x)
        a = self.down1(entered, emb)
        b = self.down2(self.shrink(a), emb)
        h = self.middle2(self.attend(self.middle1(b, emb)), emb)
        low, high = self.choose_skips(entered, a, b, h)
        h = self.enlarge(self.up2(self.join(h, low), emb))
        return self.leave(self.up1(self.join(h, high), emb))


def enlarge_smoothly(self, h):
    return self.grow(F.interpolate(h, scale_factor=2.0, mode="bilinear"))


def make_unet_cases():
    """One small network; a batch, each picture at another level, and H != W."""
    return [((8, 16), make_draw(2)(3, 1, 8, 4), torch.tensor([3, 500, 1000]))]


# 3.4, 3.5 -----------------------------------------------------------------------------------------


def v_target(x0, t, noise, schedule):
    """sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) x0."""
    return make_v(x0, noise, at(schedule.alpha_bar, t, x0))


def make_v(x0, noise, a):
    return a.sqrt() * noise - (1 - a).sqrt() * x0


def from_v(v, x_t, t, schedule):
    """(eps, x0) from v."""
    return rotate_back(v, x_t, at(schedule.alpha_bar, t, x_t))


def rotate_back(v, x_t, a):
    return a.sqrt() * v + (1 - a).sqrt() * x_t, a.sqrt() * x_t - (1 - a).sqrt() * v


def read_alpha_bar(schedule, t, x):
    return at(schedule.alpha_bar, t, x)


def read_level_below(schedule, t, x):
    return at(schedule.alpha_bar, t - 1, x)


def read_alpha(schedule, t, x):
    return at(schedule.alphas, t, x)


def read_unshaped(schedule, t, x):
    return schedule.alpha_bar[t]


def vary_target(formula=make_v, read=read_alpha_bar):
    """v_target with one part changed: formula(x0, noise, a), where a is read(schedule, t, x0)."""

    def target_wrongly(x0, t, noise, schedule):
        return formula(x0, noise, read(schedule, t, x0))

    return target_wrongly


def vary_return(formula=rotate_back, read=read_alpha_bar):
    """from_v with one part changed: formula(v, x_t, a), where a is read(schedule, t, x_t)."""

    def return_wrongly(v, x_t, t, schedule):
        return formula(v, x_t, read(schedule, t, x_t))

    return return_wrongly


def take_v_for_eps(v, x_t, t, schedule):
    return v, schedule.predict_x0(x_t, t, v)


def make_v_cases():
    """Pictures and points, both schedules, t from 1 to the last but one."""
    draw, image, points = make_draw(3), (3, 1, 4, 6), (5, 2)
    return [
        (draw(*image), torch.tensor([1, 400, 999]), draw(*image), cosine()),
        (draw(*points) + 1, torch.tensor([1, 20, 50, 70, 99]), draw(*points), linear(100)),
    ]


def make_return_cases():
    """The cases of v_target, with x_t for the noise."""
    return [(v_target(x0, t, noise, s), s.q_sample(x0, t, noise), t, s) for x0, t, noise, s in make_v_cases()]


# 3.6 ----------------------------------------------------------------------------------------------


def ema_update(average, current, n, decay):
    """The new average, a list of tensors."""
    return average_with(warm_up)(average, current, n, decay)


def warm_up(n, decay):
    return min(decay, (1 + n) / (10 + n))


def average_with(keep, take=lambda kept: 1 - kept):
    """ema_update with the share keep(n, decay) of the average and the share take(that) of the current."""

    def average_so(average, current, n, decay):
        kept = keep(n, decay)
        return [kept * a + take(kept) * c for a, c in zip(average, current, strict=True)]

    return average_so


def make_ema_cases():
    """A first update, one in the warm-up, a late one."""
    draw = make_draw(4)
    return [
        ([draw(3), draw(2, 4)], [draw(3) + 2, draw(2, 4)], n, decay)
        for n, decay in ((0, 0.9), (35, 0.999), (5000, 0.99))
    ]


ROOT = "Take the square roots: alpha_bar and 1 - alpha_bar are variances, and amplitudes are wanted."
UNSHAPED = "alpha_bar[t] has shape (B,), which does not line up with the data: `at` shapes it to (B, 1, ..)."
BELOW = (
    "It reads alpha_bar one level too low, at t - 1: entry t belongs to x_t, and entry 0 to the clean data."
)

EXERCISES = [
    Exercise(
        "3.1",
        "ResBlock",
        ResBlock,
        make_block_cases,
        call=as_module(ResBlock),
        strict_dtype=True,
        verified="same output with the same weights, where the width changes and where it stays.",
        mistakes=[
            Mistake(
                "no skip",
                "The block returns what it computed without its input: a residual block adds skip(x) to it.",
                vary(BlockParts, forward=BlockParts.correct),
            ),
            Mistake(
                "input not projected",
                "x has c_in channels, h has c_out: add self.skip(x), a 1x1 convolution where the two differ.",
                vary(BlockParts, forward=lambda self, x, emb: x + self.correct(x, emb)),
                raises=True,
            ),
            Mistake(
                "time not used",
                "The output does not depend on emb: add self.time(emb) to every pixel, behind conv1.",
                vary(BlockParts, shape_time=lambda self, emb: 0),
            ),
            Mistake(
                "time at the end",
                "self.time(emb) is added to the result. Add it behind conv1, where conv2 can still use it.",
                vary(BlockParts, correct=add_time_last),
            ),
            Mistake(
                "time not reshaped",
                "self.time(emb) is (B, c_out), h is (B, c_out, H, W): give it two more, [:, :, None, None].",
                vary(BlockParts, shape_time=lambda self, emb: self.time(emb)),
                raises=True,
            ),
            Mistake(
                "time after norm2",
                "self.time(emb) is added behind norm2; add it right behind conv1, before the second norm.",
                vary(BlockParts, correct=add_time_after_norm),
            ),
            Mistake(
                "no activation",
                "Without SiLU the block is nearly a linear map: activate before each convolution.",
                vary(BlockParts, prepare=lambda self, norm, x: norm(x)),
            ),
            Mistake(
                "activation before norm",
                "Normalise first, then activate: silu(norm(x)), not norm(silu(x)).",
                vary(BlockParts, prepare=lambda self, norm, x: norm(F.silu(x))),
            ),
            Mistake(
                "activated sum",
                "The sum of skip(x) and h is activated once more: the way past the block must stay free.",
                vary(BlockParts, forward=lambda self, x, emb: F.silu(ResBlock.forward(self, x, emb))),
            ),
        ],
    ),
    Exercise(
        "3.2",
        "attention",
        attention,
        make_attention_cases,
        strict_dtype=True,
        verified="weights and mixed values agree, every row of weights sums to 1.",
        mistakes=[
            Mistake(
                "no scale",
                lambda got, want: (
                    f"The largest weight of a row is {float(got[1].amax(-1).mean()):.2f} on average, "
                    f"expected {float(want[1].amax(-1).mean()):.2f}: divide the scores by sqrt(d)."
                ),
                vary_attention(score=compare),
            ),
            Mistake(
                "scale d for sqrt(d)",
                "The scores are divided by d. They spread like sqrt(d), so divide by the root of d.",
                vary_attention(score=lambda q, k: compare(q, k) / q.shape[-1]),
            ),
            Mistake(
                "scale multiplied",
                "The scores are multiplied by sqrt(d), so the softmax gets even sharper: divide.",
                vary_attention(score=lambda q, k: compare(q, k) * q.shape[-1] ** 0.5),
            ),
            Mistake(
                "scale from N",
                "The scale is the root of N, the number of pixels. Take the length of a query, q.shape[-1].",
                vary_attention(score=lambda q, k: compare(q, k) / q.shape[-2] ** 0.5),
            ),
            Mistake("softmax over queries", quote_row_sums, vary_attention(share=lambda s, q: s.softmax(-2))),
            Mistake(
                "scaled after softmax",
                lambda got, want: (
                    f"The rows of the weights sum to {float(got[1].sum(-1).mean()):.2f}, not 1: scale the "
                    "scores before the softmax, not the weights after it."
                ),
                vary_attention(compare, share=lambda s, q: s.softmax(-1) / q.shape[-1] ** 0.5),
            ),
            Mistake(
                "weights transposed",
                "The weights are transposed before they mix: row i belongs to pixel i, so it is weights @ v.",
                vary_attention(mix=lambda weights, v: weights.transpose(-1, -2) @ v),
            ),
            Mistake(
                "keys reshaped",
                "The keys are reshaped to (d, N), which shuffles their numbers: k.transpose(-1, -2).",
                vary_attention(score=lambda q, k: compare_scaled(q, k.reshape(k.mT.shape).mT)),
            ),
            Mistake(
                "no softmax",
                lambda got, want: f"A weight is {float(got[1].min()):.2f}: make shares with a softmax.",
                vary_attention(share=lambda scores, q: scores),
            ),
        ],
    ),
    Exercise(
        "3.3",
        "SmallUNet",
        SmallUNet,
        make_unet_cases,
        call=as_module(SmallUNet),
        strict_dtype=True,
        verified="same output with the same weights, at three levels and on a picture that is not square.",
        mistakes=[
            Mistake(
                "skip added",
                "The skip is added, so up2 gets half the channels it was built for: join the two with "
                "torch.cat along the channels.",
                vary(UNetParts, join=lambda self, h, skip: h + skip),
                raises=True,
            ),
            Mistake(
                "joined along the batch",
                "torch.cat joins along dimension 0, the batch: channels are dimension 1.",
                vary(UNetParts, join=lambda self, h, skip: torch.cat([h, skip], dim=0)),
                raises=True,
            ),
            Mistake(
                "skips swapped",
                "The two skips are swapped: the last one stored, b at 4x4, is the first one needed.",
                vary(UNetParts, choose_skips=lambda self, entered, a, b, h: (a, b)),
                raises=True,
            ),
            Mistake(
                "skip before h",
                "The skip stands before h in torch.cat. That could be trained, but these weights expect "
                "[h, skip].",
                vary(UNetParts, join=lambda self, h, skip: torch.cat([skip, h], dim=1)),
            ),
            Mistake(
                "middle as its own skip",
                "up2 is given the middle's output twice: its skip is b, what stood there before the middle.",
                vary(UNetParts, choose_skips=lambda self, entered, a, b, h: (h, a)),
            ),
            Mistake(
                "skip before down1",
                "The skip at full resolution is what enter made; take what down1 made of it.",
                vary(UNetParts, choose_skips=lambda self, entered, a, b, h: (b, entered)),
            ),
            Mistake(
                "time forgotten",
                "The output does not depend on t: embed it, pass it through self.time and on to every block.",
                vary(UNetParts, embed=lambda self, t: torch.zeros(len(t), self.emb_dim)),
            ),
            Mistake(
                "raw embedding",
                "The blocks get the sines and cosines themselves: pass them through self.time first.",
                vary(UNetParts, embed=lambda self, t: timestep_embedding(t, self.emb_dim)),
            ),
            Mistake(
                "attention forgotten",
                "Between middle1 and middle2 the attention is missing.",
                vary(UNetParts, attend=lambda self, h: h),
            ),
            Mistake(
                "grow before enlarging",
                "Enlarge first, then self.grow: it smooths the blocks that copying pixels makes.",
                vary(UNetParts, enlarge=lambda self, h: F.interpolate(self.grow(h), scale_factor=2.0)),
            ),
            Mistake(
                "bilinear",
                "It enlarges with a bilinear blend; these weights expect the default, each pixel four times.",
                vary(UNetParts, enlarge=enlarge_smoothly),
            ),
        ],
    ),
    Exercise(
        "3.4",
        "v_target",
        v_target,
        make_v_cases,
        verified="it equals its definition on both schedules, for pictures and points.",
        mistakes=[
            Mistake(
                "plus for minus",
                "The two parts are added. That is x_t with the roles exchanged; v is their difference.",
                vary_target(lambda x0, noise, a: make_v(-x0, noise, a)),
            ),
            Mistake(
                "weights swapped",
                "The two weights are swapped: at t = 0 v must be the noise, yours is -x0.",
                vary_target(lambda x0, noise, a: make_v(x0, noise, 1 - a)),
            ),
            Mistake("no square roots", ROOT, vary_target(lambda x0, noise, a: a * noise - (1 - a) * x0)),
            Mistake(
                "alpha for alpha-bar",
                "alpha_t belongs to one step; v is about all the noise so far: alpha_bar.",
                vary_target(read=read_alpha),
            ),
            Mistake("one level too low", BELOW, vary_target(read=read_level_below)),
            Mistake(
                "data for noise",
                "x0 and the noise have changed places: v starts as the noise and turns into -x0.",
                vary_target(lambda x0, noise, a: make_v(noise, x0, a)),
            ),
            Mistake("alpha_bar not reshaped", UNSHAPED, vary_target(read=read_unshaped), raises=True),
        ],
    ),
    Exercise(
        "3.5",
        "from_v",
        from_v,
        make_return_cases,
        verified="eps and x0 come back as they went in, at every level.",
        mistakes=[
            Mistake(
                "x0 first",
                "The two results are in the other order: return eps, then x0.",
                vary_return(lambda v, x_t, a: rotate_back(v, x_t, a)[::-1]),
            ),
            Mistake(
                "plus in x0",
                lambda got, want: (
                    f"Your x0 has a standard deviation of {float(got[1].std()):.2f}, expected "
                    f"{float(want[1].std()):.2f}: in x0 the v is subtracted."
                ),
                vary_return(lambda v, x_t, a: (rotate_back(v, x_t, a)[0], rotate_back(-v, x_t, a)[1])),
            ),
            Mistake(
                "minus in eps",
                "In eps the two parts are added: v carries +eps, and x_t carries the rest of it.",
                vary_return(lambda v, x_t, a: (make_v(x_t, v, a), rotate_back(v, x_t, a)[1])),
            ),
            Mistake(
                "v taken for eps",
                lambda got, want: (
                    f"v is treated as if it were eps; at high noise that gives an x0 as large as "
                    f"{float(got[1].abs().max()):.0f}. Solve the two equations for eps and x0 instead."
                ),
                take_v_for_eps,
            ),
            Mistake(
                "weights swapped",
                "sqrt(alpha_bar) and sqrt(1 - alpha_bar) are swapped: at t = 0 x0 must be x_t.",
                vary_return(lambda v, x_t, a: rotate_back(v, x_t, 1 - a)),
            ),
            Mistake(
                "no square roots",
                ROOT,
                vary_return(lambda v, x_t, a: (a * v + (1 - a) * x_t, a * x_t - (1 - a) * v)),
            ),
            Mistake("one level too low", BELOW, vary_return(read=read_level_below)),
            Mistake("alpha_bar not reshaped", UNSHAPED, vary_return(read=read_unshaped), raises=True),
        ],
    ),
    Exercise(
        "3.6",
        "ema_update",
        ema_update,
        make_ema_cases,
        verified="right at the first update, in the warm-up and when warm; the old average was left alone.",
        mistakes=[
            Mistake(
                "weights swapped",
                "It keeps 1 - keep of the average and takes keep of the new weights, so it hardly averages.",
                average_with(lambda n, decay: 1 - warm_up(n, decay)),
            ),
            Mistake(
                "no warm-up",
                "It keeps `decay` from the first update on, so the random first weights stay in the average "
                "for thousands of steps.",
                average_with(lambda n, decay: decay),
            ),
            Mistake(
                "max for min",
                "It keeps the larger of the two shares; with the smaller one it forgets quickly at first.",
                average_with(lambda n, decay: max(decay, (1 + n) / (10 + n))),
            ),
            Mistake(
                "decay never reached",
                "The share kept grows on towards 1: cut it at `decay`.",
                average_with(lambda n, decay: warm_up(n, 1)),
            ),
            Mistake(
                "plain mean",
                "Half old and half new remembers two or three steps; keep the share `keep`.",
                average_with(lambda n, decay: 0.5),
            ),
            Mistake(
                "not a weighted mean",
                "The shares do not sum to 1: the new weights come in with 1 - keep.",
                average_with(warm_up, take=lambda kept: 1),
            ),
        ],
    ),
]
