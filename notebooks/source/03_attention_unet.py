# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown] slideshow={"slide_type": "slide"}
# # 03 An attention U-Net draws digits
#
# Notebook 02 sampled points with a small multilayer perceptron. For pictures the noising, the squared error and the reverse loop stay as they were;
# the network changes, and with it what we ask it for. Here you build the one that image diffusion grew up with, train it in about two minutes, and find out whether what it draws is any good.
#
# **What you will be able to do**
# - write a residual block that is told the noise level, self-attention, and a U-Net with concatenated skips;
# - say why this network is asked for $v$ and not for the noise, and turn one into the other;
# - train it, and read its loss without being fooled;
# - judge samples by distances, class counts and nearest neighbours, and name a test that a blurry average passes.
#
# **What to know** Notebooks 01 and 02 (`q_sample`, the loss, the timestep embedding, ancestral sampling, DDIM), convolutions, matrix products.
#
# **Time** About 180 minutes for a person; about three minutes for two CPU cores, most of them for training.
#
# <!--slide 1 min
# # 03 An attention U-Net draws digits
#
# Noising, training loop and reverse loop stay as they were. New are the network, and what we ask it for.
#
# - we build the one that image diffusion grew up with, and train it in two minutes
# - we find out whether what it draws is any good
#
# Notes:
# Say: notebook 02 moved points in the plane; today the points are pictures of 8 x 8 pixels, and the one thing that has to change is the network.
# Ask: which parts of notebook 02 does the reverse loop need from the network? (Only its prediction for x_t and t. It does not care what is inside.)
# Have run: the whole notebook, about three minutes on two cores, most of it the training of section 6.
# -->

# %% slideshow={"slide_type": "skip"} tags=["setup"]
import sys
from pathlib import Path

sys.path.insert(0, str(next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "helpers").is_dir())))
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from helpers import checkpoints, data, metrics, show
from helpers.exercises import check
from helpers.models import SelfAttention, parameter_count, timestep_embedding
from helpers.modes import choose, out_dir
from helpers.sampling import ancestral, ddim, last, reverse
from helpers.schedule import at, cosine
from helpers.training import Run, train

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. The data, and what an image needs
#
# The 1,797 digits of notebook 01, in $[-1, 1]$. Every fifth one is **held out**: the network never sees these 360. With so few pictures a network could learn them by heart, and
# only pictures it has not seen can tell.
#
# An MLP would treat the 64 pixels as 64 unrelated numbers. A network for images should know two things from the start: *near pixels belong together*, and
# *a stroke is a stroke wherever it is*. That is a convolution. But a stack of 3x3 convolutions only sees a few pixels around each place, and whether a curve closes into a 0 or stays
# open as a 6 is decided across the whole picture. So we need two more things: a **lower resolution**, where few steps span the picture, and **attention**, which spans it in one.
#
# <!--slide 3 min
# ## Near pixels belong together, but a digit is decided across the picture
#
# | layer | weights | reaches in one step |
# |:--|:--|:--|
# | fully connected | one for each pair of pixels | everything, knowing nothing of places |
# | convolution, 3 x 3 | the same everywhere: a stroke is a stroke | one pixel to each side |
# | the same at half the resolution | the same everywhere | two pixels to each side |
# | attention | from what is there | everything |
#
# Does a stroke close into a 0, or stay open as in a 6? That takes the whole picture: we need **all of the last three**. Some digits are **held out**, to see what was learned by heart.
#
# Notes:
# Say: to a multilayer perceptron the 64 pixels are 64 unrelated numbers; shuffle them all alike and it learns just as well. A convolution would not.
# Ask: how far does one pixel's information get through three 3 x 3 convolutions? (Three pixels to each side. So a few layers do not see the whole picture, and at 28 x 28 far from it.)
# Live: the cell that loads the digits, a second.
# -->

# %% slideshow={"slide_type": "-"} tags=["slide-output"]
x, labels = data.digits()
held_out = torch.arange(len(x)) % 5 == 0
x_train, x_test = x[~held_out], x[held_out]
schedule = cosine(T=1000)
print(f"{len(x_train)} digits to train on, {len(x_test)} held out, each {tuple(x.shape[1:])}")
print(f"pixels: mean {x.mean():.2f}, standard deviation {x.std():.2f}, from {x.min():.0f} to {x.max():.0f}")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="3.1"
# ## 2. A residual block that is told the time
#
# The brick of the whole network. It takes a stack of feature maps $x$ and the embedded level $e$ (a vector, from the sines and cosines of notebook 02), and returns
#
# $$h=\operatorname{conv}_1(\operatorname{silu}(\operatorname{norm}_1(x)))+W e,\qquad \text{out}=\operatorname{skip}(x)+\operatorname{conv}_2(\operatorname{silu}(\operatorname{norm}_2(h))).$$
#
# - $We$ is **one number a channel**, added to every pixel: it can switch a filter on at high noise and off at low noise.
# - $\operatorname{skip}$ is the identity, or a 1x1 convolution where the number of channels changes. The block only computes a *correction*; as $\operatorname{conv}_2$ starts at zero, it starts as no correction at all.
# - The norm is **GroupNorm**. BatchNorm would average over the batch, and in our batches every picture has another noise level: a clean digit would be scaled by the statistics of its noisy neighbours.
#
# ### Exercise 3.1: the forward pass
#
# `__init__` is given. `x` is (B, c_in, H, W), `emb` is (B, emb_dim); return (B, c_out, H, W).
#
# Difficulty: ●●○○○, 10 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# Four lines, one for each part of the equation: first convolution, time, second convolution, sum. Which shape does `self.time(emb)` have, and which does `h` have?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# Normalise, then activate, then convolve: `self.conv1(F.silu(self.norm1(x)))`. A bias of shape (B, C) becomes (B, C, 1, 1) with `[:, :, None, None]`. The input comes back as `self.skip(x)`.
#
# </details>
#
# <!--slide 4 min
# ## A residual block computes a correction, and is told the level
#
# $$h=\operatorname{conv}_1(\operatorname{silu}(\operatorname{norm}_1(x)))+W e,\qquad \text{out}=\operatorname{skip}(x)+\operatorname{conv}_2(\operatorname{silu}(\operatorname{norm}_2(h)))$$
#
# - $We$ is **one number a channel**, the same for every pixel: it can switch a filter on at high noise and off at low noise.
# - $\operatorname{conv}_2$ starts at zero, so the block starts as no correction at all.
# - **GroupNorm**, not BatchNorm: in our batches every picture has another noise level.
#
# > **Your turn: 3.1**, 10 minutes. `forward(self, x, emb)`: `x` is (B, c_in, H, W), `emb` is (B, emb_dim); return (B, c_out, H, W)
#
# Notes:
# Say: read the equation from the inside out: normalise, activate, convolve; add the time; once more; add the input. It is four lines of code.
# Ask: why would BatchNorm hurt here, although it is fine in a classifier? (It averages over the batch, so a clean digit would be scaled by the statistics of its noisy neighbours; and when sampling, all pictures have the same level, which it never saw in training.)
# Exercise 3.1: give 10 minutes. Common mistakes: self.time(emb) has shape (B, C) and needs [:, :, None, None]; the time is added before conv1 instead of after it, where the channels do not even match.
# -->

# %% exercise="3.1" slideshow={"slide_type": "skip"}
class ResBlock(nn.Module):
    def __init__(self, c_in, c_out, emb_dim):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, c_in), nn.GroupNorm(8, c_out)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.time = nn.Linear(emb_dim, c_out)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        nn.init.zeros_(self.conv2.weight), nn.init.zeros_(self.conv2.bias)

    def forward(self, x, emb):
        # TODO 3.1: two convolutions with the time bias between them, added to the input
        ### BEGIN SOLUTION
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(emb)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return self.skip(x) + h
        ### END SOLUTION


ResBlock = check("3.1", ResBlock)

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="3.2"
# ## 3. Attention, written out
#
# A convolution mixes each pixel with its neighbours, with weights that are the same everywhere. **Self-attention** mixes each pixel with *all* pixels, with weights that depend on what is there. Every pixel $i$ makes
# three vectors of length $d$: a query $q_i$ (what am I looking for?), a key $k_i$ (what do I have?), a value $v_i$ (what do I pass on?). How well query $i$ meets key $j$ is their dot product;
# a softmax turns the scores of one query into shares; the shares mix the values (Vaswani et al. 2017, eq. 1):
#
# $$A=\operatorname*{softmax}_{\text{over keys}}\left(\frac{Q K^{\top}}{\sqrt d}\right),\qquad \text{out}=A\,V .$$
#
# Several **heads** do this side by side, each on its own part of the channels: a leading dimension, nothing more.
#
# <details>
# <summary>Why divide by $\sqrt d$?</summary>
#
# Let the entries of $q$ and $k$ be independent with mean 0 and variance 1. Each product $q_m k_m$ has mean 0 and variance $\mathbb E[q_m^2]\,\mathbb E[k_m^2]=1$. The score $\sum_{m=1}^d q_m k_m$ adds $d$ of them, so its
# variance is $d$ and its standard deviation $\sqrt d$. Undivided, the scores spread wider the longer the vectors, the softmax becomes a maximum, and its gradient vanishes. Divided, the spread is 1 for every $d$. The cell below the exercise measures it.
#
# </details>
#
# ### Exercise 3.2: attention
#
# `q`, `k`, `v` are (B, heads, N, d) with N pixels. Return the mixed values (B, heads, N, d) and the weights $A$ (B, heads, N, N).
#
# Difficulty: ●●○○○, 10 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# Row $i$ of $A$ belongs to query $i$ and must sum to 1. Which dimension of the scores runs over the keys?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# `k.transpose(-1, -2)` is (B, heads, d, N), and `@` multiplies the last two dimensions. (`k.T` would reverse all four dimensions, and a `reshape` would shuffle the numbers.) $d$ is `q.shape[-1]`. Scale first, then `.softmax(-1)`.
#
# </details>
#
# <!--slide 4 min
# ## Attention mixes every place with every place
#
# $$A=\operatorname*{softmax}_{\text{over keys}}\left(\frac{Q K^{\top}}{\sqrt d}\right),\qquad \text{out}=A\,V$$
#
# - Each place makes a query (what am I looking for?), a key (what do I have?) and a value (what do I pass on?), each of $d$ numbers.
# - A convolution mixes near pixels with weights that are the same everywhere; here the weights depend on **what is there**.
# - Several **heads** do this side by side: one more leading dimension.
#
# > **Your turn: 3.2**, 10 minutes. `attention(q, k, v)`, each (B, heads, N, d): return the mixed values, of the same shape, and $A$, (B, heads, N, N)
#
# Notes:
# Say: dot products give scores, the softmax turns the scores of one query into shares, the shares mix the values. Row i of A belongs to query i.
# Ask: which dimension must sum to 1, and what goes wrong when it is the other one? (The last, over the keys. Otherwise a popular key is forced to share itself out among the queries, and a query may get far less than one whole value.)
# Exercise 3.2: give 10 minutes. Common mistakes: softmax over the queries (dim=-2); reshape instead of transpose for k, which runs without complaint and shuffles the numbers.
# -->
#
# <!--slide 2 min
# ## Without $\sqrt d$ the softmax turns into a maximum
#
# - A score adds $d$ products of mean 0 and variance 1, so its standard deviation is $\sqrt d$.
# - Scores that far apart leave the softmax **one winner**, and next to no gradient.
# - Divided by $\sqrt d$, the spread is 1 for every $d$.
#
# Notes:
# Say: each line is measured on random vectors: divided, the largest of 16 weights stays where it is; undivided, it runs towards 1. The last two lines say that our attention is PyTorch's, and that of the layer in helpers.
# Ask: 16 equal weights would be 0.06 each; why is the largest 0.25 even with the scale? (Scores of standard deviation 1 still differ; e to the power of the largest of 16 is several times the average.)
# Live: run the cell, it takes under a second.
# -->

# %% exercise="3.2" slideshow={"slide_type": "skip"}
def attention(q, k, v):
    """Returns (mixed values (B, heads, N, d), weights (B, heads, N, N)); q, k, v are (B, heads, N, d)."""
    # TODO 3.2: scores, shares, mixture
    ### BEGIN SOLUTION
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    weights = scores.softmax(dim=-1)
    return weights @ v, weights
    ### END SOLUTION


attention = check("3.2", attention)

# %% slideshow={"slide_type": "-"} tags=["slide-output"]
g = torch.Generator().manual_seed(0)
for d in (4, 64, 1024):
    q, k, v = torch.randn(3, 8, 1, 16, d, generator=g)
    scaled, raw = (attention(q * s, k, v)[1].amax(-1).mean() for s in (1, d**0.5))
    print(f"d = {d:4d}: the largest of 16 weights is {scaled:.2f} on average; without the scale {raw:.2f}")

layer = SelfAttention(channels=64, heads=4)
nn.init.normal_(layer.out.weight, std=0.1)  # it starts at zero, which would prove nothing
h = torch.randn(8, 64, 4, 4, generator=g)
q, k, v = layer.split(h)  # norm and a 1x1 convolution: (8, 4 heads, 16 pixels, 16 channels) each
mixed, weights = attention(q, k, v)
by_hand = h + layer.out(mixed.transpose(-1, -2).reshape(h.shape))
torch_says = F.scaled_dot_product_attention(q, k, v)
print(f"PyTorch's scaled_dot_product_attention: {(torch_says - mixed).abs().max():.0e} away")
print(f"the layer SelfAttention of helpers: {(layer(h) - by_hand).abs().max():.0e} away")

# %% [markdown] slideshow={"slide_type": "slide"}
# Three sums that agree up to rounding. `F.scaled_dot_product_attention` is what one uses: it does the same without ever storing the N x N weights.
#
# ## 4. The U-Net
#
# **Down**: a block at 8x8, a convolution of stride 2, a block at 4x4 with twice the channels. **Middle**: block, attention, block, at 4x4, where 16 places look at each other. **Up**: a block at 4x4, enlarge, a block at 8x8.
#
# The way down throws detail away: *where exactly* was the stroke? The **skips** carry it across. Each block on the way up gets what the block on the way down made at the same resolution, **concatenated** as extra
# channels. Adding would be cheaper, but it would force both to speak the same language, channel by channel; concatenated, the next convolution decides how to combine them.
#
# Several public tutorials call a network U-Net that never changes its resolution, or that adds its skips, or that concatenates the middle with itself. They train; they do not do what the name says.
#
# <!--slide 3 min
# ## A U-Net shrinks the picture, and the skips bring back the detail
#
# | stage | resolution | channels in, out | job |
# |:--|:--|:--|:--|
# | `down1` | 8 x 8 | 32, 32 | strokes, edges |
# | `down2` | 4 x 4 | 32, 64 | shapes |
# | `middle`, attention | 4 x 4 | 64, 64 | every place asks every place |
# | `up2` | 4 x 4 | 64 + 64, 64 | joins the middle with `down2` |
# | `up1` | 8 x 8 | 32 + 32, 32 | joins `up2`, enlarged, with `down1` |
#
# The skips are **concatenated**: the next convolution decides how to combine what and where.
#
# > **Your turn: 3.3**, 20 minutes. `forward(self, x, t)`: `x` (B, 1, H, W), `t` (B,); return (B, 1, H, W)
#
# Notes:
# Say: the way down learns what is there and forgets where exactly; the skip remembers. Adding would force both sides to speak the same language, channel by channel; concatenating lets the next layer translate.
# Ask: up2 is built for 128 channels. Where do they come from? (64 from middle2 and 64 that down2 returned, at the same 4 x 4.)
# Warn: some tutorials say U-Net and never change the resolution, or add the skips. They train; they do not do what the name says.
# Exercise 3.3: give 20 minutes. Common mistakes: the skips in the wrong order (last in, first out), or keeping what shrink returned instead of what the block returned; forgetting self.time, so that the blocks get raw sines and cosines.
# -->

# %% slideshow={"slide_type": "skip"}
class Layers(nn.Module):
    def __init__(self, c=32, emb_dim=128):
        super().__init__()
        self.emb_dim, self.prediction = emb_dim, "v"  # what its output means: section 5
        first, second = (nn.Linear(emb_dim, emb_dim) for _ in range(2))
        self.time = nn.Sequential(first, nn.SiLU(), second, nn.SiLU())
        self.enter = nn.Conv2d(1, c, 3, padding=1)
        self.down1, self.shrink = ResBlock(c, c, emb_dim), nn.Conv2d(c, c, 3, stride=2, padding=1)
        self.down2 = ResBlock(c, 2 * c, emb_dim)
        self.middle1, self.middle2 = (ResBlock(2 * c, 2 * c, emb_dim) for _ in range(2))
        self.attention = SelfAttention(2 * c)
        self.up2, self.grow = ResBlock(4 * c, 2 * c, emb_dim), nn.Conv2d(2 * c, c, 3, padding=1)
        self.up1 = ResBlock(2 * c, c, emb_dim)
        self.leave = nn.Sequential(nn.GroupNorm(8, c), nn.SiLU(), nn.Conv2d(c, 1, 3, padding=1))
        nn.init.zeros_(self.leave[-1].weight), nn.init.zeros_(self.leave[-1].bias)

# %% [markdown] slideshow={"slide_type": "skip"} exercise_text="3.3"
# ### Exercise 3.3: the forward pass of the U-Net
#
# `x` is (B, 1, H, W), `t` is (B,). Embed `t` with `timestep_embedding(t, self.emb_dim)` and pass it through `self.time`. Then walk through the layers: down, middle, up. Keep what `down1` and `down2` return:
# these are the skips. On the way up, join with `torch.cat` along the channels, what comes from below first, then the skip;
# enlarge with `F.interpolate(h, scale_factor=2.0)`, each pixel copied four times, then `self.grow`. Every residual block gets the embedding.
#
# Difficulty: ●●●○○, 20 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# The skips are used in the opposite order: last in, first out. Look at the channels each block was built for: `up2` takes $4c$, which is the $2c$ from below and $2c$ from where?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# `a = self.down1(self.enter(x), emb)`, `b = self.down2(self.shrink(a), emb)`, then `middle1`, `attention`, `middle2`. `torch.cat([h, b], dim=1)` joins what comes from below with the skip of `down2`. `self.leave(h)` ends it.
#
# </details>

# %% exercise="3.3" slideshow={"slide_type": "skip"}
class SmallUNet(Layers):
    def forward(self, x, t):
        # TODO 3.3: embed t, go down, through the middle, and up with the skips
        ### BEGIN SOLUTION
        emb = self.time(timestep_embedding(t, self.emb_dim))
        a = self.down1(self.enter(x), emb)
        b = self.down2(self.shrink(a), emb)
        h = self.middle2(self.attention(self.middle1(b, emb)), emb)
        h = self.up2(torch.cat([h, b], dim=1), emb)
        h = self.grow(F.interpolate(h, scale_factor=2.0))
        h = self.up1(torch.cat([h, a], dim=1), emb)
        return self.leave(h)
        ### END SOLUTION


SmallUNet = check("3.3", SmallUNet)

# %% [markdown] slideshow={"slide_type": "slide"}
# Which shapes go where? Do not count by hand. A **hook** is a function that PyTorch calls whenever a layer has computed something; ours write down the shape, in the order in which the layers are called.
#
# *What to see* in the table and in the diagram (blue: blocks that get the time; orange: skips): only the channels and the resolution change, and each skip joins two equal resolutions. Most weights sit in the middle and in `up2`, which are cheap to run, because at 4x4 there are four times fewer places.
#
# **Question.** Why does the attention sit at 4x4 and not at 8x8?
#
# <details><summary>Answer</summary>
#
# It reaches every place in one layer, but its cost grows with the *square* of the number of places: 16 x 16 weights a head at 4x4, 64 x 64 at 8x8, and at 28x28 already 784 x 784. So it goes where the picture is small. The convolutions around it reach across
# the picture only slowly: at 8x8 each adds one pixel to each side, at 4x4 each adds two.
#
# </details>
#
# <!--slide 2 min
# ## Each skip joins two equal resolutions
#
# - Blue: blocks that are told the level. Orange: the skips.
# - Most weights sit in the middle and in `up2`, where there are four times fewer places: cheap to run.
# - Attention sits at 4 x 4, since its cost grows with the **square** of the places: 16 x 16 weights a head there, 64 x 64 at 8 x 8.
#
# Notes:
# Say: the picture was not drawn by hand: a hook noted the shape that each layer returned, in the order of the calls. Blue: blocks that get the time. Orange: skips.
# Ask: at 28 x 28, how many weights would one head have at full resolution? (784 x 784, some 600,000 for one picture.)
# Live: run the two cells; the first prints the table of shapes and parameters.
# -->

# %% slideshow={"slide_type": "skip"}
model, shapes = SmallUNet(), {}
for name, module in model.named_children():
    module.register_forward_hook(lambda m, i, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
model(x_train[:2], torch.tensor([10, 900]))
for name, shape in shapes.items():
    count = parameter_count(getattr(model, name))
    print(f"{name:10s} {' x '.join(map(str, shape)):12s} {count:8,d} parameters")
print(f"{'together':23s} {parameter_count(model):8,d}")
stages = [name for name, shape in shapes.items() if len(shape) == 3]  # those that are pictures

# %% slideshow={"slide_type": "-"} tags=["slide-figure"]
where = {name: (i, shapes[name][1] / 4) for i, name in enumerate(stages)}
joins = [*zip(stages, stages[1:], [0] * 10, strict=False), ("down1", "up1", -0.15), ("down2", "up2", -0.3)]
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.2))
for name, place in where.items():
    colour = show.COLOURS[0 if name[-1] in "12" else 2 if name == "attention" else 6]
    box = dict(boxstyle="round,pad=0.4", facecolor=colour, edgecolor="none", alpha=0.25)
    text = "{}\n{} ch\n{} x {}".format(name, *shapes[name])
    ax.text(*place, text, ha="center", va="center", size=9.5, bbox=box)
for start, end, bend in joins:
    lift, gap, colour = (0.3, 0, show.COLOURS[1]) if bend else (0, 25, "black")  # skips go from roof to roof
    look = dict(arrowstyle="->", shrinkA=gap, shrinkB=gap, color=colour, connectionstyle=f"arc3,rad={bend}")
    ax.annotate("", np.add(where[end], (0, lift)), np.add(where[start], (0, lift)), arrowprops=look)
ax.set(xlim=(-0.5, 10.5), ylim=(0.6, 3.2), frame_on=False, xticks=[], yticks=[])
show.figure(fig, "Diagram of the U-Net: enter, down1 at 8x8; shrink, down2, middle1, attention, middle2, "
            "up2 at 4x4; grow, up1, leave at 8x8. Two arrows skip from down1 to up1 and from down2 to up2.")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="3.4"
# ## 5. What to ask the network for
#
# So far the network predicted the noise. Look at the two ends of $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$:
#
# - at **low noise** $\epsilon$ is a good question: hard, and worth asking;
# - at **high noise** $x_t$ nearly *is* $\epsilon$. The network can copy its input and get away with it. What we need there is $x_0=(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon)/\sqrt{\bar\alpha_t}$, and that divides the error by $\sqrt{\bar\alpha_t}$.
#   At the last level of the cosine schedule this makes it 20,000 times larger. (That is why `reverse` can keep the estimate of $x_0$ in $[-1, 1]$: `clip_x0=1.0`. From here on we do.)
#
# Asking for $x_0$ has the opposite fault: trivial at low noise. The **velocity** asks for the useful one at each end (Salimans & Ho 2022):
#
# $$v=\sqrt{\bar\alpha_t}\,\epsilon-\sqrt{1-\bar\alpha_t}\,x_0 .$$
#
# With $\cos\varphi=\sqrt{\bar\alpha_t}$ and $\sin\varphi=\sqrt{1-\bar\alpha_t}$ the noising is $x_t=\cos\varphi\,x_0+\sin\varphi\,\epsilon$, a quarter turn from data to noise, and $v=\mathrm dx_t/\mathrm d\varphi$ is its velocity.
#
# ### Exercise 3.4: the target
#
# `x0` and `noise` are (B, ..), points or pictures; `t` is (B,). As in notebook 01, `at(schedule.alpha_bar, t, x0)` gives $\bar\alpha_t$ of every example in a shape that multiplies `x0`. Return $v$, shaped like `x0`.
#
# Difficulty: ●○○○○, 5 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# It is `q_sample` with two things exchanged and one sign turned.
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# Start with `a = at(schedule.alpha_bar, t, x0)`. Then `a.sqrt()` goes with the noise and `(1 - a).sqrt()` with `x0`.
#
# </details>
#
# <!--slide 4 min
# ## Ask for what $x_t$ does not show
#
# | ask the network for | at low noise | at high noise |
# |:--|:--|:--|
# | $\epsilon$ | hard, worth asking | trivial: $x_t$ nearly is $\epsilon$ |
# | $x_0$ | trivial: $x_t$ nearly is $x_0$ | hard, worth asking |
# | the velocity $v$ | nearly $\epsilon$ | nearly $-x_0$ |
#
# $$v=\sqrt{\bar\alpha_t}\,\epsilon-\sqrt{1-\bar\alpha_t}\,x_0$$
#
# > **Your turn: 3.4**, 5 minutes. `v_target(x0, t, noise, schedule)`: `t` is (B,); return $v$, shaped like `x0` and `noise`
#
# Notes:
# Say: noising is a quarter turn from data to noise, x_t = cos phi x_0 + sin phi eps; v is the derivative by the angle, hence the name velocity.
# Ask: a network that is asked for eps copies its input at t = 1000 and has almost no loss. Why is that bad? (The sampler needs x_0 there, and gets the small error divided by the root of alpha_bar: enlarged many thousand times.)
# Exercise 3.4: give 5 minutes. Common mistakes: the sign of the x_0 term; schedule.alpha_bar[t] as it is, of shape (B,), where at(schedule.alpha_bar, t, x0) has the shape to multiply x0.
# -->
#
# <!--slide 2 min
# ## $v$ starts as the noise and ends as the digit's negative
#
# Notes:
# Say: compare rows: on the left, v is the noise; on the right, v is minus x_0; x_t goes the other way.
# Ask: cover the columns but one, say t = 400. Which of the rows could you guess from x_t alone? (None of them exactly. x_t shows a mixture; v is the other mixture, the one at a right angle to it.)
# Live: run the cell, a second.
# -->

# %% exercise="3.4" slideshow={"slide_type": "skip"}
def v_target(x0, t, noise, schedule):
    """v = sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) x0. x0, noise (B, ..), t (B,); returns (B, ..)."""
    # TODO 3.4: the velocity
    ### BEGIN SOLUTION
    a = at(schedule.alpha_bar, t, x0)
    return a.sqrt() * noise - (1 - a).sqrt() * x0
    ### END SOLUTION


v_target = check("3.4", v_target)

# %% expected="3.4" slideshow={"slide_type": "-"} tags=["slide-figure"]
g = torch.Generator().manual_seed(1)
levels = torch.tensor([0, 100, 250, 400, 600, 800, 1000])
x0 = x_test[3:4].expand(len(levels), -1, -1, -1)
noise = torch.randn(1, 1, 8, 8, generator=g).expand_as(x0)
x_t, v = schedule.q_sample(x0, levels, noise), v_target(x0, levels, noise, schedule)
pictures = {"x_t": x_t, "noise": noise, "v": v, "- x_0": -x0}
names = [f"t = {t}" for t in levels]
show.rows(pictures, labels=names, alt="One digit at seven levels, in four rows: x_t, noise, v, the negative. "
          "x_t goes from the digit to the noise, v from the noise to the negative.")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="3.5"
# *What to see.* $v$ starts as the noise and ends as the digit's negative: at each end it is the part that $x_t$ does *not* show.
#
# The reverse loop needs $\epsilon$ and $x_0$, so we turn $v$ back. No division: rotating back by $\varphi$ leaves errors as large as they are.
#
# $$\hat\epsilon=\sqrt{\bar\alpha_t}\,v+\sqrt{1-\bar\alpha_t}\,x_t,\qquad \hat x_0=\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,v .$$
#
# <details>
# <summary>Where the two formulas come from</summary>
#
# Write $c=\sqrt{\bar\alpha_t}$ and $s=\sqrt{1-\bar\alpha_t}$, so $c^2+s^2=1$. We have $x_t=c\,x_0+s\,\epsilon$ and $v=c\,\epsilon-s\,x_0$. Multiply the first by $s$, the second by $c$, and add:
#
# $$s\,x_t+c\,v=cs\,x_0+s^2\epsilon+c^2\epsilon-cs\,x_0=\epsilon .$$
#
# Multiply the first by $c$, the second by $s$, and subtract:
#
# $$c\,x_t-s\,v=c^2x_0+cs\,\epsilon-cs\,\epsilon+s^2x_0=x_0 .$$
#
# So an error $\delta$ in $v$ gives an error $c\,\delta$ in $\hat\epsilon$ and $-s\,\delta$ in $\hat x_0$, both at most $\delta$. An error $\delta$ in a predicted $\epsilon$ gives $-(s/c)\,\delta$ in $\hat x_0$, and $s/c$ has no bound. In the
# squared error: $\lVert v-\hat v\rVert^2=\frac{1}{\bar\alpha_t}\lVert\epsilon-\hat\epsilon\rVert^2$, the same loss with more weight on high noise.
#
# </details>
#
# ### Exercise 3.5: from v back
#
# Return `eps` and `x0`, in this order, both (B, ..).
#
# Difficulty: ●●○○○, 5 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# Take $\bar\alpha_t$ as in 3.4. Check one end in your head: at $t=0$, where $\bar\alpha_0=1$, $\hat x_0$ must be $x_t$ and $\hat\epsilon$ must be $v$.
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# `signal, sigma = a.sqrt(), (1 - a).sqrt()`; then one line each, as in the equations above; `return eps, x0`.
#
# </details>
#
# <!--slide 3 min
# ## Turning $v$ back never divides
#
# $$\hat\epsilon=\sqrt{\bar\alpha_t}\,v+\sqrt{1-\bar\alpha_t}\,x_t,\qquad \hat x_0=\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,v$$
#
# - Turning back never enlarges an error in $v$: it is multiplied by one of the two roots.
# - On the way from $\epsilon$ to $x_0$ an error is divided by $\sqrt{\bar\alpha_t}$: look at the last line.
#
# > **Your turn: 3.5**, 5 minutes. `from_v(v, x_t, t, schedule)`: return the pair `eps, x0`
#
# Notes:
# Say: multiply the two equations for x_t and v by sine and cosine and add: one of the unknowns drops out. The derivation is folded in the notebook.
# Ask: at t = 0 alpha_bar is 1. What must the two formulas give? (eps = v and x_0 = x_t. A quick test for the signs.)
# Exercise 3.5: give 5 minutes. Common mistakes: returning x0, eps in the wrong order; solving for x_0 by dividing, which is right on paper and loses everything at high noise.
# Live: run the cell with the errors.
# -->

# %% exercise="3.5" slideshow={"slide_type": "skip"}
def from_v(v, x_t, t, schedule):
    """(eps, x0) from v. v, x_t (B, ..), t (B,); returns two tensors (B, ..)."""
    # TODO 3.5: rotate back
    ### BEGIN SOLUTION
    a = at(schedule.alpha_bar, t, x_t)
    signal, sigma = a.sqrt(), (1 - a).sqrt()
    return signal * v + sigma * x_t, signal * x_t - sigma * v
    ### END SOLUTION


from_v = check("3.5", from_v)

# %% slideshow={"slide_type": "-"} tags=["slide-output"]
off = 0.01  # let both predictions be off by this much, everywhere
by_eps = (schedule.predict_x0(x_t, levels, noise + off) - x0).abs().amax((1, 2, 3))
by_v = (from_v(v + off, x_t, levels, schedule)[1] - x0).abs().amax((1, 2, 3))
for t, a, b in zip(levels.tolist(), by_eps, by_v, strict=True):
    print(f"t = {t:4d}: an error of 0.01 in eps is {a:8.4f} in x_0, in v {b:.4f}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ### One measured box
#
# Arguments are good, measurements are better. The same network, the same <!--r:digits_box.recipe.steps|,-->600<!--/--> training steps (a fraction of what we spend below), twice with different seeds: $\epsilon$ or $v$, linear or cosine schedule. Two scores, each of 1,000 samples:
#
# - **confident**: the share to which a classifier trained on real digits gives one class more than $95\,\%$;
# - **Frechet distance**: how far the samples' features lie from those of real digits, on a *second* classifier. Zero is out of reach: half of the real digits are this far from the other half (the dashed **floor**).
#
# <!--slide 3 min
# ## Measured: the schedule matters more than the target
#
# - *Confident*: a classifier is over 0.95 sure of a class. *Frechet distance*: how far features lie from those of real digits (dashed).
# - **Cosine beats linear** in both scores, by more than the seeds differ.
# - $\epsilon$ is even a little ahead of $v$, but only with $\hat x_0$ kept in $[-1,1]$. Trained in full and without that clamp, <!--r:digits_box.long.eps_cosine.seeds.0.unclipped.confident|.0%-->26%<!--/--> of its samples are read with confidence; of those of $v$, <!--r:digits_box.long.v_cosine.seeds.0.unclipped.confident|.0%-->94%<!--/-->.
#
# Notes:
# Say: the argument promised an advantage for v; the measurement shows where it is: not in the scores with the clamp, but in not needing the clamp. So: cosine because it wins, v because it does not depend on a crutch.
# Ask: what do the two dots of one colour tell? (Two seeds of the same training: a difference smaller than their distance means nothing.)
# Have run: nothing, the cell reads saved results; it takes a second.
# -->

# %% slideshow={"slide_type": "-"} tags=["slide-figure"]
results = checkpoints.load_results("digits_box")
box, floors = results["box"], results["floors"]
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.4))
for i, (corner, scores) in enumerate(box.items()):
    for ax, score in zip(axes, ("confident", "frechet"), strict=True):
        ax.plot([i, i], scores[score]["values"], "o", color=show.COLOURS[i], markersize=9)
    print(f"{corner:10s} confident {scores['confident']['mean']:.1%} ± {scores['confident']['std']:.1%}, "
          f"Frechet distance {scores['frechet']['mean']:5.1f} ± {scores['frechet']['std']:.1f} (two seeds)")
names = [corner.replace("_", "\n") for corner in box]
titles = ("confident share, more is better", "Frechet distance, less is better")
for ax, title, floor in zip(axes, titles, (floors["confident"], floors["frechet"]["mean"]), strict=True):
    ax.axhline(floor, color="black", linestyle="--", linewidth=1)
    ax.set(title=title, xlim=(-0.5, 3.5), xticks=range(4), xticklabels=names)
show.figure(fig, "Two scores of the four corners, a dot for each of two seeds, floors dashed. Both cosine "
            "corners have a larger confident share and a smaller Frechet distance than both linear ones.")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="3.6"
# *What to see.* The **schedule** matters most: cosine beats linear in both rows, by more than the seeds differ. The **target** matters less, and not in the way the argument promised: with cosine, $\epsilon$ is a little ahead, here and with the full training of section 6
# (<!--r:digits_box.long.eps_cosine.confident.mean|.1%-->95.2%<!--/--> confident against <!--r:digits_box.long.v_cosine.confident.mean|.1%-->94.0%<!--/--> for $v$, <!--r:digits_box.long.eps_cosine.confident.std|.1%-->0.9%<!--/--> and <!--r:digits_box.long.v_cosine.confident.std|.1%-->0.4%<!--/--> standard deviation over two seeds). But every sample in the box was drawn with
# $\hat x_0$ kept in $[-1,1]$. Without that crutch the same $\epsilon$ network gets <!--r:digits_box.long.eps_cosine.seeds.0.unclipped.confident|.0%-->26%<!--/-->, its pixels in the hundreds, and the $v$ network <!--r:digits_box.long.v_cosine.seeds.0.unclipped.confident|.0%-->94%<!--/-->: the division by $\sqrt{\bar\alpha_t}$ was no idle worry. From here on: **cosine**, because it wins, and **$v$**,
# because it gives nearly the same samples without depending on the clamp.
#
# ## 6. Training
#
# The loop is the one notebook 02 wrote in the open: AdamW, the gradient cut to norm 1, warm-up and decay of the learning rate, and an average of the weights. This time the average matters more, so let us write it:
#
# $$\bar\theta\leftarrow k\,\bar\theta+(1-k)\,\theta,\qquad k=\min\left(d,\ \frac{1+n}{10+n}\right),$$
#
# where $n$ counts the updates so far and $d$ is the decay, 0.999. The minimum is the warm-up: with $k=0.999$ from the start, the random first weights would still be a third of the average after a thousand steps. ("Samples are noise although the loss is low" is often just this.)
#
# Below the exercise it trains for real: <!--r:digits.recipe.steps|,-->3,400<!--/--> steps of 64 digits, about two minutes on two cores. With `bf16=True` the network runs in bfloat16; the weights and the loss stay in float32. With `bf16=False` everything is float32, which takes two and a half.
#
# ### Exercise 3.6: the moving average of the weights
#
# `average` and `current` are lists of tensors. Return the new average as a new list; change nothing in place.
#
# Difficulty: ●●○○○, 5 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# At the first update, $n=0$, the average should take over nine tenths of the current weights. Which of the two shares does the average keep?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# `keep = min(decay, (1 + n) / (10 + n))`, and a list comprehension over `zip(average, current)`.
#
# </details>
#
# <!--slide 2 min
# ## Draw with an average of the weights, and warm it up
#
# $$\bar\theta\leftarrow k\,\bar\theta+(1-k)\,\theta,\qquad k=\min\left(d,\ \frac{1+n}{10+n}\right)$$
#
# - $n$ counts the updates, $d=0.999$ is the decay.
# - Early on $k$ is small, so the random first weights are soon forgotten.
# - Without the minimum, after 1,000 steps $0.999^{1000}\approx 0.37$ of it would still be theirs.
#
# > **Your turn: 3.6**, 5 minutes. `ema_update(average, current, n, decay)`: two lists in, a new one out
#
# Notes:
# Say: the weights jitter from batch to batch; their average jitters less and draws better. "Samples are noise although the loss is low" is often just a missing warm-up.
# Ask: how much of the old average is kept at the first update, n = 0? (One tenth.)
# Exercise 3.6: give 5 minutes. Common mistakes: max instead of min; changing the tensors of the average in place, which the check notices.
# Live: run the cell below the exercise: it prints what is left of the first weights.
# -->
#
# <!--slide 3 min
# ## A loss that hardly moves is not a training that is done
#
# Notes:
# Say: top: one batch differs from the next by more than most of the training gains, so judge by averages. Bottom right is the reason: at the highest levels the loss is flat from early on, because x_t shows nothing; the lower levels keep improving, and with them the strokes.
# Ask: the blue line at t = 951 to 1000 stays near 0.3. What is that number? (The spread of the digits around their mean image, printed by the cell before: the best answer there is the negative mean image, and nothing can remove the rest.)
# Have run: the training cell, about two minutes on two cores. If you want to show it live, start it before the slide on the average.
# -->

# %% exercise="3.6" slideshow={"slide_type": "skip"}
def ema_update(average, current, n, decay):
    """The new average (list of tensors) after n updates; decay: the share kept once it is warm."""
    # TODO 3.6: keep a share of the old average, take the rest from the current weights
    ### BEGIN SOLUTION
    keep = min(decay, (1 + n) / (10 + n))
    return [keep * a + (1 - keep) * c for a, c in zip(average, current, strict=True)]
    ### END SOLUTION


ema_update = check("3.6", ema_update)

# %% slideshow={"slide_type": "skip"}
first_weights, cold = [torch.ones(1)], 1.0  # follow what is left of the first weights, counted as 1
for n in range(1000):
    first_weights, cold = ema_update(first_weights, [torch.zeros(1)], n, 0.999), 0.999 * cold
print(f"left of them after 1,000 updates: {float(first_weights[0]):.0e}; without the warm-up {cold:.0%}")

# %% slideshow={"slide_type": "skip"}
batch, steps = 64, choose(read=3400, smoke=50)
torch.manual_seed(0)
model = SmallUNet()
run = Run(model, lr=2e-3, weight_decay=0.01, ema_decay=0.999, seed=0)
# bf16: on a CPU without bfloat16 arithmetic False is faster
training = train(run, schedule, x_train, steps, batch, clip=1.0, bf16=True)
log = list(show.progress(training, total=steps))
losses = np.array([step.loss for step in log])
print(f"loss {losses[0]:.2f} at the first step, {losses[-100:].mean():.3f} over the last hundred")

# %% slideshow={"slide_type": "skip"}
epoch = len(x_train) // batch  # after so many batches every digit was shown once, on average
whole = steps // epoch
epoch_losses = losses[: whole * epoch].reshape(whole, epoch).mean(1)
t_seen = torch.stack([step.t for step in log[: whole * epoch]]).reshape(whole, -1)
loss_seen = torch.stack([step.losses for step in log[: whole * epoch]]).reshape(whole, -1)
by_level, average_digit = {}, x_train.mean(0)
for low in (0, 300, 500, 950):
    there = (t_seen > low) & (t_seen <= low + 50)
    by_level[f"t = {low + 1} to {low + 50}"] = (loss_seen * there).sum(1) / there.sum(1)
print(f"spread of the digits around their mean image: {(x_train - average_digit).square().mean():.3f}")

# %% slideshow={"slide_type": "-"} tags=["slide-figure"]
fig, axes = plt.subplots(2, 2, figsize=(show.WIDTH, 5.7))
axes[0, 0].plot(losses, color=show.COLOURS[5], linewidth=0.6, label="each batch")
axes[0, 0].plot(show.smooth(losses, 100), color=show.COLOURS[0], label="mean of 100")
axes[0, 1].plot(epoch_losses, color=show.COLOURS[0])
axes[0, 0].set(title="loss of every batch", xlabel="batch", ylim=(0.2, 0.7))
axes[0, 1].set(title="mean loss of every epoch", xlabel="epoch", ylim=(0.2, 0.7))
parts = {"first quarter": losses[: steps // 4], "last quarter": losses[-steps // 4 :]}
axes[1, 0].hist(parts.values(), bins=30, range=(0.1, 0.7), label=list(parts), color=show.COLOURS[1:3])
axes[1, 0].set(title="batches by their loss", xlabel="loss")
for (name, values), colour in zip(by_level.items(), (1, 4, 2, 0), strict=True):
    axes[1, 1].plot(show.smooth(values, 10), color=show.COLOURS[colour], label=name)
axes[1, 1].set(title="loss by noise level, mean of 10 epochs", xlabel="epoch", ylim=(0, 1))
[ax.legend(fontsize=9) for ax in (axes[0, 0], axes[1, 0], axes[1, 1])]
show.figure(fig, "Loss by batch: noisy, a steep fall, then a long slow one; by epoch: the same, smooth; as "
            "histogram: it moves left; by level: flat at the highest level, still falling at the lower ones.")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* After a few epochs one batch differs from the next by more than all the rest of the training gains: judge by averages, never by a batch. Below, the level explains it. Near $t=1000$ the loss is flat from early on: $x_t$ shows nothing, the best answer is the negative
# mean image, and what is left is the spread of the digits around it (the printed number), which nothing can remove. The lower levels keep improving, slowly, and with them the strokes. **A loss that hardly moves is not a training that is done**; and a low loss says nothing about the samples. So let us draw some.
#
# ## 7. Samples
#
# We draw 1,000 with the averaged weights. To save time we ask the network at 50 of the 1,000 levels only, with the DDIM rule of notebook 02 and $\eta=1$: it adds fresh noise at every step, as the ancestral step does, but in the right amount for strides of 20 levels.
#
# <!--slide 3 min
# ## The samples are digits, and most of them are clear
#
# Drawn with the averaged weights at 50 of the 1,000 levels: DDIM with $\eta=1$, fresh noise in every step.
#
# Notes:
# Say: no picture on the left existed before. Give the room half a minute to look for bad ones.
# Ask: without the titles, which side is real? How would you decide? (Let two people argue. It leads to the next slides: the eye is a weak judge, and a generous one.)
# Have run: the training and the sampling cell (1,000 samples, ten seconds or so on two cores).
# -->

# %% slideshow={"slide_type": "skip"}
net = run.ema.model
rule = ddim(steps=choose(read=50, smoke=4), eta=1.0)
samples = last(reverse(net, schedule, rule, (choose(read=1000, smoke=900), 1, 8, 8), seed=1, clip_x0=1.0))
print(f"{len(samples)} samples; pixels from {samples.min():.2f} to {samples.max():.2f}")

# %% slideshow={"slide_type": "-"} tags=["slide-figure"]
originals = x_test[torch.randperm(len(x_test), generator=torch.Generator().manual_seed(0))[:48]]
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 4.0))
for ax, images, title in zip(axes, (samples[:48], originals), ("samples", "held-out originals"), strict=True):
    ax.imshow(show.tiles(images, columns=8), vmin=0, vmax=255)
    ax.set(title=title)
    ax.set_axis_off()
show.figure(fig, "Two grids of 48: samples of the network on the left, real held-out digits on the right. "
            "The samples are digits of all classes with clear strokes; one or two in a row are hard to read.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 8. Learned by heart?
#
# A network that stored its 1,437 training pictures would pass every test of *quality*. So look for them: below each sample stands the training picture nearest to it, by the root mean squared difference of the pixels.
#
# Alike they are, but are they *too* alike? Somebody's new 3 also resembles a 3 of the training set. The **held-out digits** say how much: their distance to the nearest training picture is what honest, new digits have. A copy would have distance 0. The second picture compares the two.
#
# <!--slide 3 min
# ## Samples lie as far from the training pictures as new digits do
#
# Notes:
# Say: top: samples, each above the training picture nearest to it: alike, but are they too alike? A new 3 also resembles some old 3. The held-out digits say how much is honest. Bottom: both histograms lie on each other.
# Ask: what would the blue histogram look like if the network had stored its training pictures? (A tall bar near 0.)
# Ask: does this prove that nothing was stored? (No, that would need every possible sample; but the test could have failed.)
# Have run: training and sampling. These two cells take a second.
# -->

# %% slideshow={"slide_type": "-"} tags=["slide-figure"]
index, distance = metrics.nearest_neighbours(samples, x_train)
order = distance[:12].argsort()  # the first twelve samples, from the nearest to the farthest
pairs = {"sample": samples[order], "nearest in training": x_train[index[order]]}
show.rows(pairs, labels=[f"{d:.2f}" for d in distance[order]],
          alt="Twelve samples, each above its nearest training picture: the same digit, a little different.")

# %% slideshow={"slide_type": "-"} tags=["slide-figure"]
_, honest = metrics.nearest_neighbours(x_test, x_train)
fig, ax = plt.subplots()
for name, values, colour in (("samples", distance, 0), ("held-out digits", honest, 1)):
    look = dict(density=True, alpha=0.6, color=show.COLOURS[colour], label=name)
    ax.hist(values.numpy(), bins=40, range=(0, 0.6), **look)
ax.set(xlabel="distance to the nearest training picture (a copy: 0)", ylabel="density")
ax.legend()
show.figure(fig, "Histograms of the distance to the nearest training picture: those of the samples and of "
            "the held-out digits lie on each other, between 0.1 and 0.45; none is near 0.")
closer = (distance < honest.quantile(0.01)).float().mean()
print(f"median distance: samples {distance.median():.3f}, held-out digits {honest.median():.3f}")
print(f"samples closer to the training set than all but 1 % of the held-out digits are: {closer:.1%}")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* The two histograms lie on each other: our samples are as far from the training pictures as new digits are, and as few are suspiciously close. No proof that nothing was learned by heart (that would need every possible sample), but the test could have failed, and it did not. Without the held-out digits the left end of the
# histogram would have looked like evidence of copying: some 1s *are* nearly the same, in real life too.
#
# ## 9. Is it any good?
#
# A popular check compares the pixels: mean, standard deviation, minimum, maximum of the samples and of the data. To see what it is worth, here is a "model" without any network: average three random training digits, then give the
# result exactly the data's histogram of grey values, darkest to darkest, brightest to brightest.
#
# <!--slide 4 min
# ## Pixel statistics let blurry averages through
#
# - A "model" without a network: average three digits, then give them the data's grey values.
# - Mean, standard deviation, minimum, maximum: **as good as ours**.
# - Frechet distance, confident share, class shares: caught.
#
# Notes:
# Say: the middle row on the left has perfect pixel statistics and no digits. The printed lines in the notebook give all scores: its Frechet distance is more than ten times the floor, and 8 is the class of whatever has strokes everywhere.
# Ask: a generator that always draws the same perfect 7: which score notices? (Class shares and the Frechet distance. Not the confident share, which would be perfect; not the distances to the training set, if its 7 is a new one.)
# Have run: training and sampling; the cell itself takes a few seconds.
# -->

# %% slideshow={"slide_type": "skip"}
# metrics.digits_frechet: 898 images against the five random halves that also give the floor
g = torch.Generator().manual_seed(0)
blurry = x_train[torch.randint(len(x_train), (len(samples), 3), generator=g)].mean(1)
grey = x_train.flatten()[torch.randint(x_train.numel(), (blurry.numel(),), generator=g)]
blurry.view(-1)[blurry.flatten().argsort()] = grey.sort().values  # k-th darkest pixel: k-th darkest grey
floor, spread = metrics.frechet_floor(x)  # one random half of the real digits against the other, five times


def score(name, images, distance):
    smallest = metrics.class_shares(images).min()
    print(f"{name:16s} mean {images.mean():5.2f}, std {images.std():.2f}, min {images.min():5.2f}, "
          f"max {images.max():4.2f} | Frechet {distance:5.1f}, "
          f"confident {metrics.confident_share(images):5.1%}, smallest class {smallest:.1%}")


# %% slideshow={"slide_type": "-"} tags=["slide-figure"]
score("our samples", samples, metrics.digits_frechet(samples))
score("blurry averages", blurry, metrics.digits_frechet(blurry))
score("real digits", x, floor)
print(f"The last Frechet distance is the floor, one half of the real digits from the other, +- {spread:.1f}")
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.2), width_ratios=[1.3, 1])
axes[0].imshow(show.tiles(torch.cat([samples[:10], blurry[:10], x[:10]]), columns=10), vmin=0, vmax=255)
axes[0].set(title="ours, blurry averages, real")
axes[0].set_axis_off()
for i, (name, images) in enumerate({"ours": samples, "blurry": blurry, "real": x}.items()):
    place = np.arange(10) + 0.27 * (i - 1)
    axes[1].bar(place, metrics.class_shares(images), 0.27, color=show.COLOURS[i], label=name)
axes[1].set(title="share of each class", xticks=range(10), xlabel="class, as the judge reads it")
axes[1].legend(fontsize=9)
show.figure(fig, "Left: ten samples, ten blurry averages that look like no digit, ten real digits. Right: "
            "class shares: real ones near 0.1, ours from 0.07 to 0.13, of the averages 0.17 are read as 8.")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* By the four pixel statistics the averages are as good as the network. No person would say so, and the other three scores do not: their Frechet distance is more than ten times the floor, fewer are read with confidence, and 8 is the class of whatever has strokes everywhere. Ours are within a few units of the floor, and every class is
# there. A score means something only beside the score of real data *and* that of something bad.
#
# With the shipped training, two seeds: <!--r:digits.confident.mean|.0%-->94%<!--/--> of 1,000 samples are read with over $95\,\%$ confidence (real digits: <!--r:digits.floors.confident|.1%-->99.5%<!--/-->, and of the held-out ones, which the judge has not seen either, <!--r:digits.floors.confident_held_out|.1%-->97.5%<!--/-->).
#
# **Question.** A generator that always draws the same perfect 7: which of the scores would notice?
#
# <details><summary>Answer</summary>
#
# Not the confident share: it would be $100\,\%$. The class counts would, and so would the Frechet distance, since the features of its samples have no spread, while those of real digits do. Distances to the training set would not, if its 7 is a
# new one. No single number is enough: one for quality, one for variety, one against copying.
#
# </details>
#
# ## 10. Watching it draw
#
# Now all 1,000 levels, with the ancestral step, and every state kept. A label is the noise level of what is shown: the first column is pure noise, the last the finished picture.
#
# *What to see.* High noise decides *which* digit, low noise how its edges look. The second picture shows the guess $\hat x_0$ at each level: at first the mean image of all digits, because $x_t$ says nothing yet; then a blend of those still possible; then one. Each guess alone is a blurry average, and each only serves to take one small step.
#
# <!--slide 3 min
# ## High noise decides which digit, low noise how its edges look
#
# - Top: the walk, at eleven of its 1,000 levels. Bottom: the guess $\hat x_0$ at that level.
# - At first the mean image of all digits; then a blend of those still possible; then one.
# - An early guess is a blurry average: it only serves to take **one small step**.
#
# Notes:
# Say: read the bottom row: a grey blur, then a soft digit, then the sharp one. The network never draws in one go.
# Ask: why is the first guess a blur and not some digit? (x_t says nothing yet; the average of all digits has the smallest squared error.)
# Live: the two GIFs in the notebook, one walk with its guess and sixteen walks.
# Have run: the cell with all 1,000 levels, close to ten seconds on two cores.
# -->

# %% slideshow={"slide_type": "skip"}
rule = choose(read=ancestral(), smoke=ddim(20, eta=1.0))
walk = reverse(net, schedule, rule, (16, 1, 8, 8), seed=7, clip_x0=1.0)
path = list(show.progress(walk, total=1 + len(rule.levels(schedule.T))))
show.filmstrip(path, count=6,
               alt="Six walks in eight columns from pure noise to a digit. Until t = 600 one sees noise, by "
                   "t = 400 a shape, by t = 200 the digit; the rest is cleaning.")

# %% slideshow={"slide_type": "-"} tags=["slide-figure"]
levels = (999, 900, 800, 700, 600, 500, 400, 300, 200, 100, 0)
show.filmstrip(path, levels=levels, x0=True, title="One sample, and the guess where it leads",
               alt="One sample in eleven columns. Top: x_t, noise turning into a digit. Bottom: the "
                   "estimate of x_0, first a grey blur in the middle, then a soft digit, then the sharp one.")

# %% slideshow={"slide_type": "skip"}
states = show.evenly(path, 36)
frames = [show.tiles(torch.stack([s.x[0], s.x[0] if s.x0 is None else s.x0[0]]), columns=2) for s in states]
show.gif(frames, out_dir() / "03_one_digit.gif", scale=16,
         alt="Moving: noise turns into one digit on the left; on the right the guess of the result.")
frames = [show.tiles(s.x, columns=8) for s in states]
show.gif(frames, out_dir() / "03_digits.gif", scale=6, alt="Moving: sixteen digits emerge from noise.")

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# ## Looking inside (optional)
#
# Four looks at a trained network. They use the shipped checkpoint, which is the same training (seed 0) on the machine of the course, so that what stands below is what you see. Its layers have the names of `helpers.models.UNet`; with them renamed its weights fit *your* network, and both give the same output.

# %% slideshow={"slide_type": "skip"} tags=["optional"]
shipped = checkpoints.load_model("digits_unet")
theirs = dict(down1="down.0.0", shrink="shrink.0", down2="down.1.0", middle1="middle.0", middle2="middle.1",
              up2="up.0.0", grow="grow.0", up1="up.1.0")


def translate(key):
    layer, rest = key.split(".", 1)
    return f"{theirs.get(layer, layer)}.{rest}"


trained = SmallUNet().eval()
trained.load_state_dict({key: shipped.state_dict()[translate(key)] for key in trained.state_dict()})
x_t = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
t = torch.tensor([1, 300, 600, 1000])
with torch.no_grad():
    print(f"largest difference between the two: {(trained(x_t, t) - shipped(x_t, t)).abs().max():.0e}")

# %% [markdown] slideshow={"slide_type": "slide"} tags=["optional"]
# ### What is each part worth?
#
# The same training, shorter (<!--r:digits_ablation.recipe.steps|,-->600<!--/--> steps, two seeds), with one part taken out: no attention, no skips, or a time embedding of zeros.
#
# <!--slide 3 min
# ## Take a part out: the skips are worth most
#
# - Without **skips**, <!--r:digits_ablation.variants.no_skips.confident.mean|.0%-->66%<!--/--> of the samples are read with confidence instead of <!--r:digits_ablation.variants.full.confident.mean|.0%-->80%<!--/-->.
# - Without the **level**, <!--r:digits_ablation.variants.no_time.confident.mean|.0%-->74%<!--/-->.
# - Without **attention**, <!--r:digits_ablation.variants.no_attention.confident.mean|.0%-->78%<!--/-->: no more than seeds differ, on pictures this small.
#
# Notes:
# Say: the eye sees little difference between the rows; the scores do. Skips first, then the level. Attention brings no more than seeds differ here: at 4 x 4 the convolutions of two blocks reach everything anyway. It is in the network because larger pictures need it.
# Ask: why does the network manage so well without being told the level? (It can mostly see for itself how noisy the picture is.)
# Live: run the cell, it reads saved results.
# -->

# %% slideshow={"slide_type": "-"} tags=["slide-figure", "optional"]
results, pictures = checkpoints.load_results("digits_ablation"), checkpoints.load_images("digits_ablation")
for name, scores in results["variants"].items():
    sure, far = scores["confident"], scores["frechet"]
    print(f"{name:13s} {scores['parameters']:8,d} parameters, confident {sure['mean']:.1%} "
          f"± {sure['std']:.1%}, Frechet distance {far['mean']:5.1f} ± {far['std']:.1f}")
floors = results["floors"]
print(f"{'real digits':32s} confident {floors['confident']:.1%}, floor {floors['frechet']['mean']:.1f}")
named = {name.replace("_", " "): pictures[name] for name in results["variants"]}
show.rows(named,
          alt="Ten samples of each variant from the same noise: alike at a glance, single strokes differ.")

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# *What to see.* From the same noise the variants draw nearly the same pictures; the eye alone would not rank them. The scores do. **Skips** are worth most: without them <!--r:digits_ablation.variants.no_skips.confident.mean|.0%-->66%<!--/--> instead of <!--r:digits_ablation.variants.full.confident.mean|.0%-->80%<!--/--> are read with confidence, and the
# distance doubles, since what the way down lost stays lost. The **level** comes next (<!--r:digits_ablation.variants.no_time.confident.mean|.0%-->74%<!--/-->): less than one might think, presumably because the network can mostly see for itself how noisy a picture is. **Attention** (<!--r:digits_ablation.variants.no_attention.confident.mean|.0%-->78%<!--/-->) brings no more here than
# seeds differ: at 4x4 the convolutions of two blocks reach everything anyway. It is in this network because larger pictures need it and because you will meet it everywhere, not because this table asks for it.

# %% [markdown] slideshow={"slide_type": "slide"} tags=["optional"]
# ### Where does it look, and when?
#
# At 4x4 each of the 16 places, two by two pixels of the digit, gives every place a weight. We catch what goes into the attention with a hook and draw the row of one place (the square), for each of the four heads, at four noise levels, beside what the network makes of $x_t$: its estimate of $x_0$.
# The curves below count how many places a head looks at: $e$ to the power of the entropy of the weights, 1 when a single place gets everything, 16 when all get the same.
#
# <!--slide 3 min
# ## Heads look at different places, and the level changes which
#
# From one place of a 0 (square), where do four heads look? Yellow: a weight of 0.4 or more.
#
# Notes:
# Say: one place of a 0, marked by the square, at four levels from top to bottom; next to it the estimate of x_0; then the weights that four heads give the 4 x 4 places. Head 2 is undecided at t = 600, where the estimate is a blur, and settled on its left neighbour at t = 300, where it is a 0. At t = 900 most heads spread out. One picture is an anecdote; the notebook has the average over 200 digits.
# Ask: why does hardly any head look at its own place? (What is near the convolutions bring anyway; attention is for what is elsewhere.)
# Live: in the notebook, the sliders of this section: choose head 2 and move t from 1000 to 300; then move the place from the stroke to black paper: there the weights are mostly spread wider.
# -->

# %% slideshow={"slide_type": "skip"} tags=["optional"]
caught = {}
trained.attention.register_forward_pre_hook(lambda layer, inputs: caught.update(h=inputs[0]))


@torch.no_grad()
def maps(images, t):
    """At level t: attention weights (B, heads, 16, 16) on the noised images, these, the estimate of x_0."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    x_t, levels = schedule.q_sample(images, t, noise), torch.full((len(images),), t)
    x0 = from_v(trained(x_t, levels), x_t, levels, schedule)[1]
    return trained.attention.weights(caught["h"]), x_t, x0


# %% slideshow={"slide_type": "skip"} tags=["optional"]
def draw_look(axes, x_t, x0, looks, place):
    """x_t, x_0 and looks, weights on the 4x4 places, on as many axes; a square marks the place that looks."""
    corner = (2 * (place % 4) - 0.5, 2 * (place // 4) - 0.5)
    for ax, image in zip(axes, (x_t, x0), strict=False):
        ax.imshow(image[0, 0], vmin=-1, vmax=1)
    for ax, look in zip(axes[2:], looks, strict=True):  # as large as the digit: four pixels a place
        ax.imshow(look.reshape(4, 4), cmap="viridis", vmin=0, vmax=0.4, extent=(-0.5, 7.5, 7.5, -0.5))
    for ax in axes:
        ax.add_patch(plt.Rectangle(corner, 2, 2, fill=False, color=show.COLOURS[1], lw=2))
        ax.set(xticks=[], yticks=[])


# %% slideshow={"slide_type": "-"} tags=["slide-figure", "optional"]
place, digit = 9, 11  # row 2, column 1 of the 4x4 places
fig, axes = plt.subplots(4, 6, figsize=(9.2, 5.8))
for row, t in zip(axes, (20, 300, 600, 900), strict=True):
    weights, x_t, x0 = maps(x_test[digit : digit + 1], t)
    draw_look(row, x_t, x0, weights[0, :, place], place)
    row[0].set_ylabel(f"t = {t}")
titles = ["x_t", "estimate of x_0", *(f"head {head + 1}" for head in range(4))]
for ax, title in zip(axes[0], titles, strict=True):
    ax.set_title(title)
show.figure(fig, "A 0 at four noise levels: x_t, the estimate of x_0, and where four heads look from one "
            "place. Up to t = 600 head 1 picks a place two columns away, up to t = 300 head 2 its left "
            "neighbour; head 4 picks none. At t = 900 all but head 3 spread out.")

# %% slideshow={"slide_type": "skip"} tags=["optional"]
fig, ax = plt.subplots()
levels = [1] + list(range(50, 1001, 50))
wide = torch.stack([torch.special.entr(maps(x_test[:200], t)[0]).sum(-1).exp().mean((0, 2)) for t in levels])
own = maps(x_test[:200], 400)[0].diagonal(dim1=2, dim2=3).mean((0, 2)).tolist()
weights = " ".join(f"{w:.3f}" for w in own)
print(f"weight of a place on itself at t = 400, by head: {weights} (alike for all: 0.062)")
for head in range(4):
    ax.plot(levels, wide[:, head], color=show.COLOURS[head], label=f"head {head + 1}")
ax.axhline(16, color="black", linestyle="--", linewidth=1, label="all places alike")
ax.set(xlabel="noise level t", ylabel="places looked at", ylim=(0, 17))
ax.legend(fontsize=9)
show.figure(fig, "Places looked at against the noise level, four heads: about 8 of 16 over most levels, "
            "rising to 12 or more at the highest, where 16 would be no preference at all.")

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# *What to see.* Yellow is a weight of 0.4 or more. No head dwells on its own place (the printed weights: hardly more than a fair share, mostly less); for what is near there are convolutions. Which places it prefers changes with the level. At the highest levels, where there is
# nothing to see, all heads spread out, towards a plain average. One picture is an anecdote; the curves, an average over 200 held-out digits and all places, are not.
#
# **Try it** (sliders need a running kernel): another place, another level, another digit; the title counts the places looked at. Choose head 2 and lower $t$ from 1000: between 600 and 400 it settles on its left neighbour, just while the estimate of $x_0$ turns from a blur into the 0. Then compare a place on a stroke
# with one on black paper: which of them looks at fewer places?

# %% slideshow={"slide_type": "skip"} tags=["optional"]
def look_from(t=600, row=2, column=1, head=3, digit=11):
    """Draw where a head (or their mean) looks from one of the 4x4 places of a held-out digit at level t."""
    place = 4 * row + column
    weights, x_t, x0 = maps(x_test[digit : digit + 1], t)
    look = weights[0, :, place].mean(0) if head == "mean" else weights[0, head - 1, place]
    count = torch.special.entr(look).sum().exp()
    fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3.3))
    draw_look(axes, x_t, x0, [look], place)
    who = "four heads" if head == "mean" else f"head {head}"
    names = (f"x_t at t = {t}", "estimate of x_0", f"{who}: {count:.1f} places looked at")
    for ax, name in zip(axes, names, strict=True):
        ax.set_title(name)
    fig.colorbar(axes[2].images[0], label="weight", extend="max")
    show.figure(fig, f"A digit at t = {t}, the estimate of x_0, the weights of 16 places as row {row}, "
                f"column {column} gives them: the largest is {look.max():.2f}.")


# %% slideshow={"slide_type": "skip"} tags=["optional"]
from helpers.sliders import sliders

sliders(look_from, t=(1, 1000), row=(0, 3), column=(0, 3), head=[1, 2, 3, 4, "mean"], digit=(0, 359))

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# ### Does it know what it draws?
#
# Nobody told the network that there are ten classes. We noise 600 digits to three levels, take what leaves the middle, averaged over the 16 places (64 numbers a picture), and let t-SNE lay it out in the plane, near to near. The title says how often the class is that of most
# of the five nearest others, in the 64 dimensions, not in the drawing, which may lie.

# %% slideshow={"slide_type": "skip"} tags=["optional"]
from sklearn.manifold import TSNE

trained.middle2.register_forward_hook(lambda layer, inputs, out: caught.update(bottleneck=out.mean((2, 3))))
some = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[: choose(read=600, smoke=100)]


def bottleneck(t):
    maps(x[some], t)  # runs the network; the hook catches
    return caught["bottleneck"]


def same_class(features):
    near = torch.cdist(features, features).fill_diagonal_(torch.inf).topk(5, largest=False).indices
    return (labels[some][near].mode(1).values == labels[some]).float().mean()


# %% slideshow={"slide_type": "skip"} tags=["optional"]
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3.6))
for ax, t in zip(axes, (50, 400, 700), strict=True):
    features = bottleneck(t)
    plane = TSNE(random_state=0, perplexity=20, init="pca").fit_transform(features.numpy())
    dots = ax.scatter(plane[:, 0], plane[:, 1], c=labels[some], cmap="tab10", s=8)
    ax.set(xticks=[], yticks=[], title=f"t = {t}: {same_class(features):.0%} beside their class")
fig.legend(*dots.legend_elements(), ncols=10, loc="outside lower center", fontsize=10, handletextpad=0)
show.figure(fig, "Three t-SNE maps of the bottleneck, coloured by class. At t = 50 separate islands, about "
            "one a class, at t = 400 islands with frayed edges, at t = 700 one cloud in which only a few "
            "classes keep to a corner.")

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# *What to see.* At low noise the classes form islands: to remove noise from a 3 it helps to know that it is a 3, so the network sorts digits without ever having been given a name for them. With more noise the islands fray, and in the end $x_t$ does not say which digit it was; a share of $10\,\%$ would be guessing.

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# ### The grey values on their way
#
# Back to the walk of section 10: the mean of all its pixels at each level, a band of one standard deviation around it, and the histograms at eight moments. Dashed: what the *forward* process says they should be, from the mean and the variance of the data,
# $\sqrt{\bar\alpha_t}\,m$ and $\bar\alpha_t\,s^2+1-\bar\alpha_t$.

# %% slideshow={"slide_type": "skip"} tags=["optional"]
t = torch.tensor([state.t for state in path])
mean, std = (torch.stack([f(state.x) for state in path]) for f in (torch.mean, torch.std))
a = schedule.alpha_bar[t]
m, s = a.sqrt() * x.mean(), (a * x.var() + 1 - a).sqrt()
fig, ax = plt.subplots()
ax.fill_between(t, mean - std, mean + std, color=show.COLOURS[5], alpha=0.4, label="one standard deviation")
ax.plot(t, mean, color=show.COLOURS[0], label="mean of all pixels")
for line in (m, m - s, m + s):
    ax.plot(t, line, "k--", linewidth=1)
ax.set(xlabel="noise level t (the walk runs to the right)", ylabel="grey value", xlim=(1000, 0))
ax.legend()
show.figure(fig, "Mean grey value of the walk from t = 1000 to clean, falling from 0 to -0.4, with a band of "
            "one standard deviation; both follow the dashed lines of the forward process, wobbling at first.")

# %% slideshow={"slide_type": "skip"} tags=["optional"]
fig, axes = plt.subplots(2, 4, figsize=(show.WIDTH, 4.4), sharex=True)
for ax, state in zip(axes.flat, show.at_levels(path, (1000, 800, 600, 400, 200, 100, 50, 0)), strict=True):
    ax.hist(state.x.flatten().numpy(), bins=30, range=(-3, 3), density=True, color=show.COLOURS[0])
    ax.set(title=show.level(state.t), yticks=[])
show.figure(fig, "Eight histograms of grey values. At t = 1000 a bell; by t = 200 it leans to the left and a "
            "second hump grows on the right; clean: a tall bar at -1 and a small one at 1.")

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# *What to see.* The walk meets at every level the mean and the spread that the forward process left there, though nobody told it to: a quick check that a sampler walks on the right track (with only 16 pictures it wobbles at the start). A wrong variance, or a chain that begins too low, shows here first. The bell becomes two peaks, black paper and
# white stroke, only in the last quarter of the levels.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - A residual block computes a correction; the level comes in as a bias a channel, and GroupNorm keeps pictures of different levels apart.
# - Attention is a softmax of scaled dot products over the *keys*, then a mixture of values; it goes where the picture is small.
# - In a U-Net the resolution really falls and rises; skips carry the detail across and are concatenated.
# - $v$ asks at each end for what $x_t$ does not show, and turning it into $x_0$ never divides by a small number.
# - The loss says whether training goes on; it does not say whether samples are good. That takes distances beside their floors, class counts, and a look for copies.
# - A test is worth what its worst pass is worth: pixel statistics let blurry averages through.
#
# ### Self-check
#
# Can you
#
# - [ ] say what happens to each shape between `enter` and `leave`, and which two are concatenated with which?
# - [ ] write attention without looking, with the right axis for the softmax?
# - [ ] derive $\hat x_0$ from $v$ and $x_t$?
# - [ ] say why an average of the weights needs a warm-up?
# - [ ] name the score that would notice copying, and the one that would notice a missing class?
#
# ### Further exercises
#
# - (●○○○○, 10 min) Draw with `run.model` instead of `run.ema.model`. What does the average buy? And `ddim(50)` without noise ($\eta=0$)?
# - (●●○○○, 20 min) Make the memorisation test fail: train on 20 digits only, and look at section 8 again.
# - (●●●○○, 30 min) Put a second attention at 8x8. Measure what it costs in milliseconds a step and what it brings.
# - (●●●●○, 60 min) Replace the concatenation by a sum (what has to change in `Layers`?) and measure it as the box was measured: two seeds, the same steps.
#
# ### References
#
# - Ho, Jain, Abbeel 2020, *Denoising diffusion probabilistic models*, arXiv:2006.11239: appendix B (the U-Net, EMA).
# - Ronneberger, Fischer, Brox 2015, *U-Net*, arXiv:1505.04597: figure 1 (down, up, skips concatenated).
# - Vaswani et al. 2017, *Attention is all you need*, arXiv:1706.03762: eq. 1 and section 3.2.1 (the scale).
# - Wu, He 2018, *Group normalization*, arXiv:1803.08494.
# - Salimans, Ho 2022, *Progressive distillation for fast sampling of diffusion models*, arXiv:2202.00512: section 4 and appendix D ($v$).
# - Nichol, Dhariwal 2021, *Improved denoising diffusion probabilistic models*, arXiv:2102.09672: eq. 17 (cosine schedule).
# - Song, Meng, Ermon 2021, *Denoising diffusion implicit models*, arXiv:2010.02502: eqs. 12, 16 ($\eta$).
# - Heusel et al. 2017, *GANs trained by a two time-scale update rule*, arXiv:1706.08500: eq. 6 (Frechet distance).
#
# <!--slide 2 min
# ## What we learned, and what comes next
#
# - The level comes in as one bias a channel; attention and a lower resolution span the picture; skips carry the detail across.
# - $v$ asks for what $x_t$ does not show, and turning it into $x_0$ never divides.
# - Judge samples, not the loss: distances beside their floors, class shares, a look for copies.
# - A test is worth what its worst pass is worth.
#
# **Next**, notebook 04: handwritten digits of 28 x 28 pixels, and one more resolution.
#
# Notes:
# Say: the parts of today are those of the large image models; they differ in size and in what they are conditioned on.
# Ask: which score would notice copying, and which a missing class? (The distance to the nearest training picture, beside that of held-out digits; the class shares.)
# Homework: the self-check and one of the further exercises, for example training on 20 digits only, which makes the test for copies fail.
# -->

# %% slideshow={"slide_type": "skip"}
check.summary("03")
