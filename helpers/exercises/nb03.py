"""The exercises of notebook 03: residual block, attention, U-Net, the target v and its inverse, the
averaged weights."""

import torch
import torch.nn.functional as F
from torch import nn

from helpers import models
from helpers.exercises.exercise import Exercise, Mistake, as_module
from helpers.models import SelfAttention, timestep_embedding
from helpers.schedule import cosine, linear


def std(x) -> float:
    """Standard deviation of a tensor, as a number for messages."""
    return float(x.std())


def randn(seed: int):
    """A function that draws standard normal tensors, each call the next ones."""
    g = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=g)


# 3.1 ----------------------------------------------------------------------------------------------


class ResBlock(models.ResBlock):
    """Two convolutions, told the noise level by a bias a channel, added to the input."""

    def forward(self, x, emb):
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(emb)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return self.skip(x) + h


class NoSkip(ResBlock):
    def forward(self, x, emb):
        return super().forward(x, emb) - self.skip(x)


class BareInput(ResBlock):
    def forward(self, x, emb):
        return x + (super().forward(x, emb) - self.skip(x))


class NoTime(ResBlock):
    def forward(self, x, emb):
        h = self.conv1(F.silu(self.norm1(x)))
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class TimeAtTheEnd(ResBlock):
    def forward(self, x, emb):
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return self.skip(x) + h + self.time(emb)[:, :, None, None]


class TimeUnshaped(ResBlock):
    def forward(self, x, emb):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(emb)
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class TimeAfterNorm(ResBlock):
    def forward(self, x, emb):
        h = self.norm2(self.conv1(F.silu(self.norm1(x)))) + self.time(emb)[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(h))


class NoActivation(ResBlock):
    def forward(self, x, emb):
        h = self.conv1(self.norm1(x)) + self.time(emb)[:, :, None, None]
        return self.skip(x) + self.conv2(self.norm2(h))


class ActivationFirst(ResBlock):
    def forward(self, x, emb):
        h = self.conv1(self.norm1(F.silu(x))) + self.time(emb)[:, :, None, None]
        return self.skip(x) + self.conv2(self.norm2(F.silu(h)))


class ActivatedSum(ResBlock):
    def forward(self, x, emb):
        return F.silu(super().forward(x, emb))


def block_cases():
    """Wider inside than outside, and as wide; H, W and B all different."""
    draw = randn(0)
    return [((8, 16, 5), draw(2, 8, 4, 3), draw(2, 5)), ((16, 16, 6), 2 * draw(3, 16, 2, 5), draw(3, 6))]


# 3.2 ----------------------------------------------------------------------------------------------


def attention(q, k, v):
    """(mixed values (B, heads, N, d), weights (B, heads, N, N))."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    weights = scores.softmax(dim=-1)
    return weights @ v, weights


def attend(scale=lambda q: q.shape[-1] ** -0.5, dim=-1, turned=False, after=lambda q: 1.0, keys=None):
    """A variant of attention: scores times scale(q), softmax over dim, weights times after(q), maybe
    turned round."""

    def variant(q, k, v):
        k_t = k.transpose(-1, -2) if keys is None else keys(k)
        weights = (q @ k_t * scale(q)).softmax(dim) * after(q)
        return (weights.transpose(-1, -2) if turned else weights) @ v, weights

    return variant


def attention_no_softmax(q, k, v):
    weights = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return weights @ v, weights


def attention_cases():
    """Several sizes; queries of some size, so that a wrong scale shows."""
    draw = randn(1)
    return [
        (2 * draw(2, 3, 6, 4), draw(2, 3, 6, 4), draw(2, 3, 6, 4)),
        (draw(1, 2, 5, 16), draw(1, 2, 5, 16), draw(1, 2, 5, 16)),
    ]


def row_sums(result, expected):
    """What the softmax over the wrong axis does to the rows."""
    rows = result[1].sum(-1)
    return (
        f"Every row of the weights must sum to 1; yours sum to {float(rows.min()):.2f} .. "
        f"{float(rows.max()):.2f} and the "
        "columns to 1: the softmax runs over the queries, not over the keys."
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


class Parts(SmallUNet):
    """The same in pieces that a mistake can replace."""

    def embed(self, t):
        return self.time(timestep_embedding(t, self.emb_dim))

    def middle(self, b, emb):
        return self.middle2(self.attention(self.middle1(b, emb)), emb)

    def join(self, h, skip):
        return torch.cat([h, skip], dim=1)

    def enlarge(self, h):
        return self.grow(F.interpolate(h, scale_factor=2.0))

    def skips(self, entered, a, b, h):
        return b, a

    def forward(self, x, t):
        emb, entered = self.embed(t), self.enter(x)
        a = self.down1(entered, emb)
        b = self.down2(self.shrink(a), emb)
        h = self.middle(b, emb)
        low, high = self.skips(entered, a, b, h)
        h = self.enlarge(self.up2(self.join(h, low), emb))
        return self.leave(self.up1(self.join(h, high), emb))


class Added(Parts):
    def join(self, h, skip):
        return h + skip


class Stacked(Parts):
    def join(self, h, skip):
        return torch.cat([h, skip], dim=0)


class SkipFirst(Parts):
    def join(self, h, skip):
        return torch.cat([skip, h], dim=1)


class SkipsSwapped(Parts):
    def skips(self, entered, a, b, h):
        return a, b


class MiddleTwice(Parts):
    def skips(self, entered, a, b, h):
        return h, a


class EarlySkip(Parts):
    def skips(self, entered, a, b, h):
        return b, entered


class TimeForgotten(Parts):
    def embed(self, t):
        return torch.zeros(len(t), self.emb_dim)


class RawEmbedding(Parts):
    def embed(self, t):
        return timestep_embedding(t, self.emb_dim)


class AttentionForgotten(Parts):
    def middle(self, b, emb):
        return self.middle2(self.middle1(b, emb), emb)


class GrowFirst(Parts):
    def enlarge(self, h):
        return F.interpolate(self.grow(h), scale_factor=2.0)


class Smooth(Parts):
    def enlarge(self, h):
        return self.grow(F.interpolate(h, scale_factor=2.0, mode="bilinear"))


def unet_cases():
    """One small network; a batch, two levels apart, and H != W."""
    draw = randn(2)
    return [((8, 16), draw(3, 1, 8, 4), torch.tensor([3, 500, 998]))]


# 3.4, 3.5 -----------------------------------------------------------------------------------------


def abar(schedule, t, x):
    """alpha_bar(t), shaped to multiply x, in the dtype of x."""
    return schedule.alpha_bar(t).reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype)


def v_target(x0, t, noise, schedule):
    """sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) x0."""
    a = abar(schedule, t, x0)
    return a.sqrt() * noise - (1 - a).sqrt() * x0


def v_plus(x0, t, noise, schedule):
    return schedule.q_sample(noise, t, x0)


def v_swapped(x0, t, noise, schedule):
    a = abar(schedule, t, x0)
    return (1 - a).sqrt() * noise - a.sqrt() * x0


def v_no_root(x0, t, noise, schedule):
    a = abar(schedule, t, x0)
    return a * noise - (1 - a) * x0


def v_alpha(x0, t, noise, schedule):
    a = schedule.alphas[t].reshape(-1, *[1] * (x0.ndim - 1))
    return a.sqrt() * noise - (1 - a).sqrt() * x0


def v_data_first(x0, t, noise, schedule):
    a = abar(schedule, t, x0)
    return a.sqrt() * x0 - (1 - a).sqrt() * noise


def v_unshaped(x0, t, noise, schedule):
    a = schedule.alpha_bar(t).to(x0.dtype)
    return a.sqrt() * noise - (1 - a).sqrt() * x0


def v_cases():
    """Pictures and points, both schedules, t from 0 to the last but one."""
    draw = randn(3)
    image, points = (3, 1, 4, 6), (5, 2)
    return [
        (draw(*image), torch.tensor([0, 400, 998]), draw(*image), cosine()),
        (draw(*points) + 1, torch.tensor([1, 20, 50, 70, 98]), draw(*points), linear(100)),
    ]


def from_v(v, x_t, t, schedule):
    """(eps, x0) from v."""
    a = abar(schedule, t, x_t)
    return a.sqrt() * v + (1 - a).sqrt() * x_t, a.sqrt() * x_t - (1 - a).sqrt() * v


def from_v_order(v, x_t, t, schedule):
    return from_v(v, x_t, t, schedule)[::-1]


def from_v_plus(v, x_t, t, schedule):
    a = abar(schedule, t, x_t)
    return a.sqrt() * v + (1 - a).sqrt() * x_t, a.sqrt() * x_t + (1 - a).sqrt() * v


def from_v_as_eps(v, x_t, t, schedule):
    return v, schedule.predict_x0(x_t, t, v)


def from_v_swapped(v, x_t, t, schedule):
    a = abar(schedule, t, x_t)
    return (1 - a).sqrt() * v + a.sqrt() * x_t, (1 - a).sqrt() * x_t - a.sqrt() * v


def from_v_no_root(v, x_t, t, schedule):
    a = abar(schedule, t, x_t)
    return a * v + (1 - a) * x_t, a * x_t - (1 - a) * v


def from_v_minus(v, x_t, t, schedule):
    a = abar(schedule, t, x_t)
    return a.sqrt() * v - (1 - a).sqrt() * x_t, a.sqrt() * x_t - (1 - a).sqrt() * v


def from_v_unshaped(v, x_t, t, schedule):
    a = schedule.alpha_bar(t).to(x_t.dtype)
    return a.sqrt() * v + (1 - a).sqrt() * x_t, a.sqrt() * x_t - (1 - a).sqrt() * v


def from_v_cases():
    """The cases of v_target, with x_t for the noise."""
    return [(v_target(x0, t, noise, s), s.q_sample(x0, t, noise), t, s) for x0, t, noise, s in v_cases()]


# 3.6 ----------------------------------------------------------------------------------------------


def ema_update(average, current, n, decay):
    """The new average, a list of tensors."""
    keep = min(decay, (1 + n) / (10 + n))
    return [keep * a + (1 - keep) * c for a, c in zip(average, current, strict=True)]


def averaging(share):
    """ema_update with another share kept."""

    def variant(average, current, n, decay):
        keep = share(n, decay)
        return [keep * a + (1 - keep) * c for a, c in zip(average, current, strict=True)]

    return variant


def ema_no_sum(average, current, n, decay):
    keep = min(decay, (1 + n) / (10 + n))
    return [keep * a + c for a, c in zip(average, current, strict=True)]


def ema_cases():
    """A first update, one in the warm-up, a late one."""
    draw = randn(4)
    return [
        ([draw(3), draw(2, 4)], [draw(3) + 2, draw(2, 4)], n, decay)
        for n, decay in ((0, 0.9), (35, 0.999), (5000, 0.99))
    ]


ROOT = "Take the square roots: alpha_bar and 1 - alpha_bar are variances, and amplitudes are wanted."
RESHAPE = "alpha_bar(t) has shape (B,), the data more dimensions: reshape it to (B, 1, ...) first."

EXERCISES = [
    Exercise(
        "3.1",
        "ResBlock",
        ResBlock,
        block_cases,
        call=as_module(ResBlock),
        strict_dtype=True,
        verified="same output with the same weights, where the width changes and where it stays.",
        mistakes=[
            Mistake(
                "no skip",
                "The block returns what it computed but does not add its input: without skip(x) it is no "
                "residual block, and a deep network of them is hard to train.",
                NoSkip,
            ),
            Mistake(
                "input not projected",
                "x has c_in channels, h has c_out: add self.skip(x), which is a 1x1 convolution "
                "where the two differ.",
                BareInput,
                raises=True,
            ),
            Mistake(
                "time not used",
                "The output does not depend on emb: add self.time(emb) to every pixel, between the two "
                "convolutions.",
                NoTime,
            ),
            Mistake(
                "time at the end",
                "self.time(emb) is added to the result. Add it between the convolutions, where the second "
                "one can still use it.",
                TimeAtTheEnd,
            ),
            Mistake(
                "time not reshaped",
                "self.time(emb) has shape (B, c_out), h has (B, c_out, H, W): give it two more "
                "dimensions with [:, :, None, None].",
                TimeUnshaped,
                raises=True,
            ),
            Mistake(
                "time after norm2",
                "self.time(emb) is added behind norm2; add it right behind conv1, before the second norm.",
                TimeAfterNorm,
            ),
            Mistake(
                "no activation",
                "Without SiLU the block is two convolutions in a row, nearly a linear map: activate before "
                "each convolution.",
                NoActivation,
            ),
            Mistake(
                "activation before norm",
                "Normalise first, then activate: silu(norm(x)), not norm(silu(x)).",
                ActivationFirst,
            ),
            Mistake(
                "activated sum",
                "The sum of skip(x) and h is activated once more: the way past the block must stay free.",
                ActivatedSum,
            ),
        ],
    ),
    Exercise(
        "3.2",
        "attention",
        attention,
        attention_cases,
        strict_dtype=True,
        verified="weights and mixed values agree, every row of weights sums to 1.",
        mistakes=[
            Mistake(
                "no scale",
                lambda got, want: (
                    f"The largest weight of a row is {float(got[1].amax(-1).mean()):.2f} on average, "
                    f"expected {float(want[1].amax(-1).mean()):.2f}: divide the scores by sqrt(d) before "
                    "the softmax."
                ),
                attend(lambda q: 1.0),
            ),
            Mistake(
                "scale d for sqrt(d)",
                "The scores are divided by d. Their standard deviation grows like sqrt(d): divide by the "
                "root.",
                attend(lambda q: 1 / q.shape[-1]),
            ),
            Mistake(
                "scale multiplied",
                "The scores are multiplied by sqrt(d), so the softmax gets even sharper: divide.",
                attend(lambda q: q.shape[-1] ** 0.5),
            ),
            Mistake(
                "scale from N",
                "The scale is the root of the number of pixels N. It must be that of d, the length of one"
                " query: "
                "q.shape[-1].",
                attend(lambda q: q.shape[-2] ** -0.5),
            ),
            Mistake("softmax over queries", row_sums, attend(dim=-2)),
            Mistake(
                "scaled after softmax",
                lambda got, want: (
                    f"The rows of the weights sum to {float(got[1].sum(-1).mean()):.2f}, not 1: "
                    "scale the scores before the softmax, not the weights after it."
                ),
                attend(lambda q: 1.0, after=lambda q: q.shape[-1] ** -0.5),
            ),
            Mistake(
                "weights transposed",
                "The values are mixed with the transposed weights: row i of the weights belongs to pixel i, "
                "so it is weights @ v.",
                attend(turned=True),
            ),
            Mistake(
                "keys reshaped",
                "The keys are reshaped to (d, N), which shuffles their numbers: transpose the last two "
                "dimensions.",
                attend(keys=lambda k: k.reshape(*k.shape[:-2], k.shape[-1], k.shape[-2])),
            ),
            Mistake(
                "no softmax",
                lambda got, want: (
                    f"There are weights of {float(got[1].min()):.2f}: turn the scores into shares with a "
                    "softmax."
                ),
                attention_no_softmax,
            ),
        ],
    ),
    Exercise(
        "3.3",
        "SmallUNet",
        SmallUNet,
        unet_cases,
        call=as_module(SmallUNet),
        strict_dtype=True,
        verified="same output with the same weights, at three levels and on a picture that is not square.",
        mistakes=[
            Mistake(
                "skip added",
                "The skip is added, so that up2 gets half the channels it was built for: join the two with "
                "torch.cat along the channels.",
                Added,
                raises=True,
            ),
            Mistake(
                "joined along the batch",
                "torch.cat joins along dimension 0, the batch: channels are dimension 1.",
                Stacked,
                raises=True,
            ),
            Mistake(
                "skips swapped",
                "The two skips are swapped: the last one stored, b at 4x4, is the first one needed.",
                SkipsSwapped,
                raises=True,
            ),
            Mistake(
                "skip before h",
                "The skip stands before h in torch.cat. Trained like this it would work, but these weights "
                "expect [h, skip].",
                SkipFirst,
            ),
            Mistake(
                "middle as its own skip",
                "up2 is given the middle's output twice: its skip is b, what stood there before the middle.",
                MiddleTwice,
            ),
            Mistake(
                "skip before down1",
                "The skip at full resolution is what enter made; take what down1 made of it.",
                EarlySkip,
            ),
            Mistake(
                "time forgotten",
                "The output does not depend on t: embed t, pass it through self.time, and give it to every "
                "block.",
                TimeForgotten,
            ),
            Mistake(
                "raw embedding",
                "The blocks get the sines and cosines themselves: pass them through self.time first.",
                RawEmbedding,
            ),
            Mistake(
                "attention forgotten",
                "Between middle1 and middle2 the attention is missing.",
                AttentionForgotten,
            ),
            Mistake(
                "grow before enlarging",
                "Enlarge first, then self.grow: a convolution at the large size smooths the blocks "
                "that copying pixels makes.",
                GrowFirst,
            ),
            Mistake(
                "bilinear",
                "The picture is enlarged with a bilinear blend; these weights expect the default, each pixel "
                "copied four times.",
                Smooth,
            ),
        ],
    ),
    Exercise(
        "3.4",
        "v_target",
        v_target,
        v_cases,
        verified="it equals its definition on both schedules, for pictures and points.",
        mistakes=[
            Mistake(
                "plus for minus",
                "The two parts are added. That is x_t with the roles exchanged; v is their difference.",
                v_plus,
            ),
            Mistake(
                "weights swapped",
                "The two weights are swapped: at t = 0 v must be nearly the noise, yours is nearly -x0.",
                v_swapped,
            ),
            Mistake("no square roots", ROOT, v_no_root),
            Mistake(
                "alpha for alpha-bar",
                "alpha_t belongs to one step; v is about all the noise so far: alpha_bar(t).",
                v_alpha,
            ),
            Mistake(
                "data for noise",
                "x0 and the noise have changed places: v starts as the noise and turns into -x0.",
                v_data_first,
            ),
            Mistake("alpha_bar not reshaped", RESHAPE, v_unshaped, raises=True),
        ],
    ),
    Exercise(
        "3.5",
        "from_v",
        from_v,
        from_v_cases,
        verified="eps and x0 come back as they went in, at every level.",
        mistakes=[
            Mistake("x0 first", "The two results are in the other order: return eps, then x0.", from_v_order),
            Mistake(
                "plus in x0",
                lambda got, want: (
                    f"Your x0 has a standard deviation of {std(got[1]):.2f}, expected {std(want[1]):.2f}: "
                    "in x0 the v is subtracted."
                ),
                from_v_plus,
            ),
            Mistake(
                "minus in eps",
                "In eps the two parts are added: v carries +eps, and x_t carries the rest of it.",
                from_v_minus,
            ),
            Mistake(
                "v taken for eps",
                lambda got, want: (
                    f"v is treated as if it were eps; at high noise that gives an x0 as large as "
                    f"{float(got[1].abs().max()):.0f}. Solve the two equations for eps and x0 instead."
                ),
                from_v_as_eps,
            ),
            Mistake(
                "weights swapped",
                "sqrt(alpha_bar) and sqrt(1 - alpha_bar) are swapped: at t = 0 x0 must be nearly x_t.",
                from_v_swapped,
            ),
            Mistake("no square roots", ROOT, from_v_no_root),
            Mistake("alpha_bar not reshaped", RESHAPE, from_v_unshaped, raises=True),
        ],
    ),
    Exercise(
        "3.6",
        "ema_update",
        ema_update,
        ema_cases,
        verified="right at the first update, in the warm-up and when warm; the old average was left alone.",
        mistakes=[
            Mistake(
                "weights swapped",
                "It keeps (1 - keep) of the average and takes keep of the new weights: the average would "
                "hardly "
                "average at all.",
                averaging(lambda n, d: 1 - min(d, (1 + n) / (10 + n))),
            ),
            Mistake(
                "no warm-up",
                "The share kept is `decay` from the first update on: the random first weights stay in the"
                " average for "
                "thousands of steps.",
                averaging(lambda n, d: d),
            ),
            Mistake(
                "max for min",
                "The larger of the two shares is kept; early on it must be the smaller one, so that the "
                "average "
                "forgets quickly.",
                averaging(lambda n, d: max(d, (1 + n) / (10 + n))),
            ),
            Mistake(
                "decay never reached",
                "The share kept grows on towards 1: cut it at `decay`.",
                averaging(lambda n, d: (1 + n) / (10 + n)),
            ),
            Mistake(
                "plain mean",
                "Half old and half new remembers two or three steps; keep the share `keep`.",
                averaging(lambda n, d: 0.5),
            ),
            Mistake(
                "not a weighted mean",
                "The shares do not sum to 1: the new weights come in with 1 - keep.",
                ema_no_sum,
            ),
        ],
    ),
]
