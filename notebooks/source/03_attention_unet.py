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
# Notebook 02 sampled points with a small multilayer perceptron (MLP). To draw pictures we keep its noising, its squared error and its reverse loop. What changes is the network, and what we ask it for.
# You will build the U-Net with attention that DDPM used, in a small size, train it in a minute and a half, and find out whether its digits are any good.
#
# **What you will be able to do**
# - write a residual block that is told the noise level, self-attention, and a U-Net with concatenated skips;
# - say why this network is asked for $v$ and not for the noise, and turn one into the other;
# - train it, and read its loss without being fooled;
# - judge samples by distances, class counts and nearest neighbours, and name a test that a blurry average passes;
# - find a wrong line in a network whose samples may look fine.
#
# **What to know** Notebooks 01 and 02 (`q_sample`, the loss, the timestep embedding, ancestral sampling, DDIM), convolutions, matrix products.
#
# **Time** About 195 minutes for a person; about two and a half minutes for two CPU cores, more than half of them for training.
#
# <!--slide 1 min
# # 03 An attention U-Net draws digits
#
# Noising, training loop and reverse loop stay as they were. The network is new, and so is what we ask it for.
#
# - we build a small U-Net with attention, and train it in a minute and a half
# - we find out whether what it draws is any good
#
# At the end you can write a residual block, attention and a U-Net, say why this network is asked for $v$, and name a test that a blurry average passes.
#
# **A guess to write down:** the network draws 48 digits. How many of them will a classifier read with confidence?
#
# Notes:
# Say: notebook 02 moved points in the plane; today the points are pictures of 8 x 8 pixels, and the one thing that has to change is the network.
# Ask: which parts of notebook 02 does the reverse loop need from the network? (Only its prediction for x_t and t. It does not care what is inside.)
# Have run: the whole notebook, about two and a half minutes on two cores, more than half of it the training of section 6.
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
from helpers.models import parameter_count, timestep_embedding
from helpers.modes import choose, out_dir
from helpers.sampling import ancestral, ddim, last, reverse
from helpers.schedule import at, cosine
from helpers.training import Run, train

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. The data, and what an image needs
#
# *On the one-evening route.*
#
# We use the 1,797 digits of notebook 01, in $[-1, 1]$. Every fifth one is **held out**: the network never sees these 360. So few pictures could be learned by heart,
# and we need some that it has not seen to find out.
#
# What should a network for images be able to do? An MLP treats the 64 pixels as 64 unrelated numbers. We would like it to know from the start that *near pixels belong together*, and that
# *a stroke is a stroke wherever it is*. Convolutions know both. But a few 3x3 convolutions only see a few pixels around each place, and to tell whether a curve closes into a 0 or stays
# open as a 6, the network has to look across the whole picture. So we add two things: a **lower resolution**, where a few steps span the picture, and **attention**, which spans it in one.
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
# Does a stroke close into a 0, or stay open as in a 6? That takes the whole picture: we need **all of the last three**.
#
# Of our 1,797 digits the network sees 1,437. The other 360 are **held out**, to see what was learned by heart.
#
# Notes:
# Say: to a multilayer perceptron the 64 pixels are 64 unrelated numbers; shuffle them all alike and it learns just as well. A convolution would not.
# Ask: how far does one pixel's information get through three 3 x 3 convolutions? (Three pixels to each side. So a few layers do not see the whole picture, and at 28 x 28 far from it.)
# Live: the cell that loads the digits, a second.
# -->

# %% slideshow={"slide_type": "skip"}
x, labels = data.digits()
held_out = torch.arange(len(x)) % 5 == 0
x_train, x_test = x[~held_out], x[held_out]
schedule = cosine(T=1000)
print(f"{len(x_train)} digits to train on, {len(x_test)} held out, each {tuple(x.shape[1:])}")
print(f"pixels: mean {x.mean():.2f}, standard deviation {x.std():.2f}, from {x.min():.0f} to {x.max():.0f}")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="3.1"
# ## 2. A residual block that is told the time
#
# *On the one-evening route.* Read this section, and leave its task for the second evening.
#
# How does a network of convolutions know how noisy the picture in front of it is? We tell it, and we do so in every **residual block**, the brick of which the network is built. A block takes a stack of feature
# maps $x$ and the embedded level $e$ (a vector, made of the sines and cosines of notebook 02). It does three things:
#
# - It computes a **correction** and adds it to its input. Where the number of channels changes, `self.skip` is a 1x1 convolution that brings the input to the new number; elsewhere `self.skip` changes nothing. The last convolution starts at zero, so an untrained block corrects nothing.
# - The correction takes the same three steps twice: **normalise, activate, convolve**. The activation is SiLU, $\operatorname{silu}(z)=z\cdot\operatorname{sigmoid}(z)$.
# - Between the two convolutions **the level comes in**: a linear layer, `self.time`, turns $e$ into one number a channel, and this number is added to every pixel of the channel. So the level can switch a filter on at high noise and off at low noise.
#
# The norm is **GroupNorm**, which works on each picture alone. BatchNorm would average over the batch, where every picture has another noise level: a clean digit would be scaled by the statistics of its noisy neighbours.
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
# Four lines: first convolution, level, second convolution, sum. Which shape does `self.time(emb)` have, and which does `h` have?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# "Normalise, activate, convolve" is written from the inside out: the norm stands inside `F.silu(...)`, and that inside the convolution. A bias of shape (B, C) becomes (B, C, 1, 1) with `[:, :, None, None]`. The input comes back as `self.skip(x)`.
#
# </details>
#
# <!--slide 4 min
# ## A residual block computes a correction, and is told the level
#
# - The input is kept (or brought to the right width, `self.skip`), a **correction** is added.
# - The correction, twice: **normalise, activate, convolve**. The last convolution starts at zero.
# - Between the two the level comes in: **one number a channel**, the same for every pixel. It can switch a filter on at high noise and off at low noise.
# - **GroupNorm**, not BatchNorm: in our batches every picture has another noise level.
#
# > **Your turn: 3.1**, 10 minutes. `forward(self, x, emb)`: `x` is (B, c_in, H, W), `emb` is (B, emb_dim); return (B, c_out, H, W)
#
# **Question:** why would BatchNorm hurt here, although it is fine in a classifier?
#
# Notes:
# Say: the three points are the whole block; it is four lines of code. The formula comes with the U-Net, three slides on.
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
        # TODO 3.1: two convolutions with the level between them, added to the input
        ### BEGIN SOLUTION
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(emb)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return self.skip(x) + h
        ### END SOLUTION


ResBlock = check("3.1", ResBlock)

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="3.2"
# In symbols the block is
#
# $$h=\operatorname{conv}_1(\operatorname{silu}(\operatorname{norm}_1(x)))+W e,\qquad \text{out}=\operatorname{skip}(x)+\operatorname{conv}_2(\operatorname{silu}(\operatorname{norm}_2(h))).$$
#
# Read it from the inside out: normalise, activate, convolve, add the level; once more; add the input.
#
# ## 3. Attention, written out
#
# *On the one-evening route.*
#
# Does the curve at the upper left belong to a 0 or to a 6? That depends on what stands at the lower right. One convolution cannot find out, because it mixes each pixel with its neighbours only, and with weights that are the same everywhere.
# **Self-attention** mixes each place with *all* places, with weights that depend on what is there.
#
# Every place makes three vectors: a **query** (what am I looking for?), a **key** (what do I have?) and a **value** (what do I pass on?). Let us do it once by hand, with four places and vectors of $d=4$ numbers. To keep it short, each value is a single number.
#
# | place | query | key | value |
# |:-:|:-:|:-:|:-:|
# | 1 | (2, 0, 0, 0) | (2, 0, 0, 0) | 1 |
# | 2 | (2, 2, 0, 0) | (0, 2, 0, 0) | 2 |
# | 3 | (0, 0, 0, 0) | (0, 0, 2, 0) | 3 |
# | 4 | (0, 3, 0, 0) | (0, 0, 0, 2) | 4 |
#
# Follow **place 1**:
#
# 1. It multiplies its query with each of the four keys. The dot products are 4, 0, 0, 0.
# 2. We divide them by $\sqrt d=2$ (you will see why below). The results are called *scores*: 2, 0, 0, 0.
# 3. A softmax turns the scores into shares of 1, the *weights*: $e^2=7.39$ and three times $e^0=1$, each divided by their sum 10.39, are 0.71, 0.10, 0.10, 0.10.
# 4. The weights mix the values: $0.71\cdot1+0.10\cdot2+0.10\cdot3+0.10\cdot4$ is 1.58 (computed with more digits).
#
# **Place 2** has the products 4, 4, 0, 0, the scores 2, 2, 0, 0 and the weights 0.44, 0.44, 0.06, 0.06. Out comes 1.74.
#
# ### Exercise 3.2: four places look at each other
#
# What do **places 3 and 4** do? Write down their weights, two rows of four numbers, and what comes out at place 3. Round as you like: 0.06 either way is near enough. The cells below compute and draw all four rows.
#
# Difficulty: ●●○○○, 5 minutes
#
# <details>
# <summary>Hint</summary>
#
# The scores of place 3 are all equal, and shares always sum to 1. Place 4 has one score of 3, and $e^3=20.1$.
#
# </details>
#
# <!--slide 4 min
# ## Attention mixes every place with every place
#
# - Each place makes a query (what am I looking for?), a key (what do I have?) and a value (what do I pass on?), each of $d$ numbers.
# - Four places, $d=4$. Keys: 2 times the unit vectors. Values: 1, 2, 3, 4.
#
# | place | query | products with the keys | divided by $\sqrt 4$ | weights | out |
# |:-:|:-:|:-:|:-:|:-:|:-:|
# | 1 | (2, 0, 0, 0) | 4, 0, 0, 0 | 2, 0, 0, 0 | 0.71, 0.10, 0.10, 0.10 | 1.58 |
# | 2 | (2, 2, 0, 0) | 4, 4, 0, 0 | 2, 2, 0, 0 | 0.44, 0.44, 0.06, 0.06 | 1.74 |
# | 3 | (0, 0, 0, 0) | | | ? | ? |
# | 4 | (0, 3, 0, 0) | | | ? | |
#
# > **Your turn: 3.2**, 5 minutes: the rows 3 and 4. **Then 3.3**, 10 minutes: `attention(q, k, v)` for matrices
#
# Notes:
# Say: a convolution mixes near pixels with weights that are the same everywhere; here the weights depend on what is there. Work the first row aloud, with e to the 2 = 7.4.
# Ask: a query of zeros: does place 3 look nowhere, at itself, or everywhere? (Everywhere: equal scores, equal shares. Out comes the mean of the values, 2.5.)
# Exercise 3.2: 5 minutes, with paper. Common mistake: a row of zeros for place 3.
# Exercise 3.3: give 10 minutes; q, k, v are (B, heads, N, d), return the mixed values and the weights. Common mistakes: softmax over the queries (dim=-2); reshape instead of transpose for k, which runs without complaint and shuffles the numbers.
# Answers 3.3.
# -->

# %% exercise="3.2" kind="predict" slideshow={"slide_type": "skip"}
# TODO 3.2: the weights of places 3 and 4, and what comes out at place 3
### BEGIN SOLUTION
guess = [0.25, 0.25, 0.25, 0.25], [0.04, 0.87, 0.04, 0.04], 2.5
### END SOLUTION
check.predict("3.2", guess)

# %% slideshow={"slide_type": "skip"} tags=["hide-input"]
weights, values = [], torch.tensor([1.0, 2, 3, 4])
for products in ([4, 0, 0, 0], [4, 4, 0, 0], [0, 0, 0, 0], [0, 6, 0, 0]):  # of one query with all keys
    powers = [np.exp(product / 2) for product in products]
    weights.append([power / sum(powers) for power in powers])
weights = torch.tensor(weights, dtype=torch.float32)
check.truth("3.2", [*weights[2:].tolist(), float(weights[2] @ values)])
sketch = check.written("3.2")

# %% slideshow={"slide_type": "skip"} tags=["hide-input"]
tables = {"computed": weights}
if sketch:  # None where nothing was written
    tables["your sketch"] = torch.cat([torch.full((2, 4), torch.nan), torch.tensor(sketch[:2])])
fig, axes = plt.subplots(1, len(tables), figsize=(4.2 * len(tables), 3.4), squeeze=False)
for ax, (title, table) in zip(axes[0], tables.items(), strict=True):
    ax.imshow(table, cmap="Blues", vmin=0, vmax=1.5, zorder=1)
    for (row, column), weight in np.ndenumerate(table.numpy()):
        ax.text(column, row, "" if np.isnan(weight) else f"{weight:.2f}", ha="center", va="center")
    ax.set(title=f"weights, {title}", xlabel="key of place", xticks=range(4), xticklabels=list("1234"))
    ax.set(yticks=range(4), yticklabels=list("1234"), ylabel="query of place")
    ax.set_axisbelow(True)
show.figure(fig, "The weights of four places: row 1 has 0.71 for place 1, row 2 twice 0.44, row 3 four times "
            "0.25, row 4 has 0.87 for place 2. Beside it rows 3 and 4 as guessed, if they were.")

# %% [markdown] slideshow={"slide_type": "skip"} exercise_text="3.3"
# *What to see.* Each row sums to 1. Place 3 asks for nothing in particular, so it gets a plain average of all values, 2.5. Place 4 has a long query that points at one key, so most of what it gets comes from place 2.
#
# ### Exercise 3.3: attention
#
# Now write what you did by hand for matrices, with one row for each query and all rows at once. In a network several **heads** do this side by side, each with its own queries, keys and values. In the code they are one more leading dimension.
#
# `q`, `k`, `v` are (B, heads, N, d) with N places. Return the mixed values, (B, heads, N, d), and the weights, (B, heads, N, N).
#
# Difficulty: ●●○○○, 10 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# Row $i$ of the weights belongs to query $i$ and must sum to 1. Which dimension of the scores runs over the keys?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# `@` multiplies the last two dimensions and leaves the others alone. For `q @ ...` you need the keys as (B, heads, d, N). `k.T` does not do it: `.T` of a four-dimensional tensor turns *all* dimensions round. Exchange the last two only, with `k.transpose(-1, -2)`. $d$ is `q.shape[-1]`. Divide first, then `.softmax(-1)`.
#
# </details>

# %% exercise="3.3" slideshow={"slide_type": "skip"}
def attention(q, k, v):
    """Returns (mixed values (B, heads, N, d), weights (B, heads, N, N)); q, k, v are (B, heads, N, d)."""
    # TODO 3.3: scores, shares, mixture
    ### BEGIN SOLUTION
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    weights = scores.softmax(dim=-1)
    return weights @ v, weights
    ### END SOLUTION


attention = check("3.3", attention)

# %% [markdown] slideshow={"slide_type": "slide"}
# In symbols, with the queries as the rows of $Q$, the keys as those of $K$ and the values as those of $V$ (Vaswani et al. 2017, eq. 1):
#
# $$A=\operatorname*{softmax}_{\text{over keys}}\left(\frac{Q K^{\top}}{\sqrt d}\right),\qquad \text{out}=A\,V .$$
#
# In words: every query meets every key, the scores of one query become shares, and the shares mix the values.
#
# Why divide by $\sqrt d$? The next cell tries it with and without, on random vectors of different length $d$, and looks at the largest of 16 weights. What do you expect from long vectors? It also compares your function with the one that PyTorch has built in.
#
# <details>
# <summary>The reason, step by step</summary>
#
# Let the entries of $q$ and $k$ be independent with mean 0 and variance 1. Each product $q_m k_m$ has mean 0 and variance $\mathbb E[q_m^2]\,\mathbb E[k_m^2]=1$. The score $\sum_{m=1}^d q_m k_m$ adds $d$ of them, so its
# variance is $d$ and its standard deviation $\sqrt d$. Without the division the scores spread wider the longer the vectors are. The largest score then gets nearly all of the weight, and the gradient of the softmax nearly vanishes. With the division the spread is 1 for every $d$.
#
# </details>
#
# <!--slide 2 min
# ## Without $\sqrt d$ the softmax turns into a maximum
#
# $$A=\operatorname*{softmax}_{\text{over keys}}\left(\frac{Q K^{\top}}{\sqrt d}\right),\qquad \text{out}=A\,V$$
#
# In words: compare each query with every key, turn each row of scores into shares that sum to 1, and mix the values by these shares.
#
# - A score adds $d$ products of mean 0 and variance 1, so its standard deviation is $\sqrt d$.
# - Scores that far apart leave the softmax **one winner**, and next to no gradient. Divided, the spread is 1 for every $d$.
# - Several **heads**: one more leading dimension. PyTorch agrees, up to rounding.
#
# Notes:
# Say: each row is measured on random vectors: divided, the largest of 16 weights stays where it is; undivided, it runs towards 1. In the notebook the last line says how far our attention is from PyTorch's: rounding.
# Ask: which dimension must sum to 1, and what goes wrong when it is the other one? (The last, over the keys. Otherwise a popular key is forced to share itself out among the queries, and a query may get far less than one whole value.)
# Ask: 16 equal weights would be 0.06 each; why is the largest 0.25 even with the scale? (Scores of standard deviation 1 still differ; e to the power of the largest of 16 is several times the average.)
# Live: run the cell, it takes under a second.
# -->

# %% slideshow={"slide_type": "-"} tags=["slide-output"]
g, rows = torch.Generator().manual_seed(0), []
for d in (4, 64, 1024):
    q, k, v = torch.randn(3, 8, 1, 16, d, generator=g)
    divided = attention(q, k, v)[1].amax(-1).mean()
    undivided = attention(q * d**0.5, k, v)[1].amax(-1).mean()  # times the root, so that it cancels
    rows.append([f"{d}", f"{divided:.2f}", f"{undivided:.2f}"])
show.table(rows, ["d", "divided by the root of d", "undivided"], "The largest of 16 weights, on average")

q, k, v = torch.randn(3, 8, 4, 16, 16, generator=g)
far = (F.scaled_dot_product_attention(q, k, v) - attention(q, k, v)[0]).abs().max()
print(f"PyTorch's scaled_dot_product_attention: {far:.0e} away")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* Divided, the largest weight stays near a quarter, however long the vectors are. Undivided, one place takes nearly everything. Your function and PyTorch's agree up to rounding. In your own projects use `F.scaled_dot_product_attention`, which does the same without ever storing the N x N weights.
#
# ## 4. The U-Net
#
# *On the one-evening route.* Read this section, run its cells, and leave 3.4 for the second evening.
#
# How can a small network see the whole picture? It makes the picture smaller. The way **down** halves it and uses more channels. In the **middle** only 16 places are left, and there every place asks every other. The way **up** enlarges the picture again.
#
# On the way down the network loses detail, such as where exactly a stroke began. The **skips** carry it across. Each block on the way up gets what the blocks on the way down made at the same resolution, **concatenated** as extra
# channels. Adding would be cheaper, but then channel 5 from below could only ever be added to channel 5 of the skip. After concatenating, the next convolution decides how to combine them.
#
# Several public tutorials call a network a U-Net that never changes its resolution, or that concatenates the middle with itself. Such a network trains, but it lacks what we just described. (Adding the skips instead of concatenating them works: further exercise 4.)
#
# <!--slide 3 min
# ## A U-Net shrinks the picture, and the skips bring back the detail
#
# Blue: the block of 3.1, $\;\text{skip}(x)+\operatorname{conv}_2(\operatorname{silu}(\operatorname{norm}_2(h)))$ with $h=\operatorname{conv}_1(\operatorname{silu}(\operatorname{norm}_1(x)))+We$. Orange: skips, **concatenated** behind what comes from below.
#
# > **Your turn: 3.4**, 22 minutes. `forward(self, x, t)`: `x` (B, 1, H, W), `t` (B,); return (B, 1, H, W); any number of resolutions
#
# Notes:
# Say: the way down learns what is there and forgets where exactly; the skip remembers. Adding would force both sides to speak the same language, channel by channel; concatenating lets the next layer translate. Attention sits at 4 x 4, since its cost grows with the square of the places: 16 x 16 weights a head there, 64 x 64 at 8 x 8.
# Ask: up.0.0 is built for 128 channels. Where do they come from? (64 from middle.1 and 64 that down.1.0 returned, at the same 4 x 4.) And in a network of widths 16, 48, 96? (That is 3.5: 192, 96, 32.)
# Warn: in some tutorials the network called a U-Net never changes its resolution, or concatenates the middle with itself. It trains, but no skip carries detail across. Adding the skips works (further exercise 4).
# Exercise 3.4: give 22 minutes. Common mistakes: the skips in the wrong order (last in, first out), or keeping what shrink returned instead of what the blocks returned; passing t itself, or its raw sines and cosines, where self.embed(t) belongs.
# Answers 3.4, 3.5.
# -->

# %% slideshow={"slide_type": "skip"} tags=["hide-input"]
names = "enter down.0.0 shrink.0 down.1.0 middle.0 attention middle.1 up.0.0 grow.0 up.1.0 leave".split()
sizes = ["32 x 8 x 8"] * 2 + ["32 x 4 x 4"] + ["64 x 4 x 4"] * 5 + ["32 x 8 x 8"] * 2 + ["1 x 8 x 8"]
across = [0.6, 2.0, 2.0, 2.0, 2.0, 3.5, 5.0, 6.4, 6.4, 7.7, 9.0]
height = [3.9, 3.9, 3.0, 2.1, 0.9, 0.9, 0.9, 2.1, 3.0, 3.9, 3.9]
places = {name: np.array(place) for name, *place in zip(names, across, height, strict=True)}
texts = {name: f"{name}\n{size}" for name, size in zip(names, sizes, strict=True)}
places |= {"join below": np.array([5.0, 2.1]), "join above": np.array([6.4, 3.9])}
texts |= {"join below": "join\n64 + 64", "join above": "join\n32 + 32"}
way = [*names[:7], "join below", "up.0.0", "grow.0", "join above", "up.1.0", "leave"]
skips = [("down.0.0", "join above"), ("down.1.0", "join below")]
blue, orange, green, pink = show.COLOURS[:4]
kinds = {"do": blue, "mi": blue, "up": blue, "at": green, "jo": orange}
edges = {name: kinds.get(name[:2], show.COLOUR["noise"]) for name in places}
thin = dict(arrowstyle="->", color=pink)
notes = [(4.2, 4.05, "skip", orange), (3.5, 2.25, "skip", orange), (8.3, 1, "e: the level", pink)]

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
fig, ax = plt.subplots(figsize=(show.WIDTH, 4.2))
for name, place in places.items():
    box = dict(boxstyle="round,pad=0.3", facecolor="white", edgecolor=edges[name], linewidth=2)
    ax.text(*place, texts[name], ha="center", va="center", fontsize=11, bbox=box)
    if edges[name] == blue:  # a block: it is told the level
        ax.annotate("e", place + (0.42, -0.25), place + (0.7, -0.6), color=pink, arrowprops=thin)
for start, end in [*zip(way[:-1], way[1:], strict=True), *skips]:
    free = np.sign(places[end] - places[start]) * (0.49, 0.27)  # from the edge of one box to that of the next
    line = dict(arrowstyle="->", linewidth=1.6, color=orange if (start, end) in skips else "black")
    ax.annotate("", places[end] - free, places[start] + free, arrowprops=line)
for *place, text, colour in notes:
    ax.text(*place, text, color=colour, ha="center")
ax.set(xlim=(0, 9.6), ylim=(0.2, 4.3), frame_on=False, xticks=[], yticks=[])
show.figure(fig, "A U: enter and down.0.0 at 8x8; shrink.0, down.1.0, middle.0, attention, middle.1, up.0.0 "
            "at 4x4; grow.0, up.1.0, leave at 8x8. Skips: down.0.0 to up.1.0, down.1.0 to up.0.0.")
# %% [markdown] slideshow={"slide_type": "skip"}
# *What to see.* Follow the black arrows, down the left side and up the right. Under each name stands what that layer *returns*: channels x height x width. Blue blocks are your residual blocks, and each is told the level $e$. The attention (green) sits at the bottom. The orange arrows are the skips:
# each joins two stacks of maps of the same height and width, and the box "join" adds up their channels. The names are PyTorch's: `down.0.0` is `self.down[0][0]`, the first block of the first resolution.
#
# The layers are given, in four cells. The first is an attention layer that calls *your* `attention`. The next two make the blocks on the way down and up, for any number of resolutions, with *your* `ResBlock` in each. (The second of these is folded, because 3.5 asks about it.) The last puts all of them together.

# %% slideshow={"slide_type": "skip"}
class SelfAttention(nn.Module):
    """(B, C, H, W) to the same: every place asks every place, by your `attention`."""

    def __init__(self, channels, heads=4):
        super().__init__()
        self.heads, self.norm = heads, nn.GroupNorm(8, channels)
        self.qkv, self.out = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight), nn.init.zeros_(self.out.bias)

    def split(self, x):
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, 3, self.heads, c // self.heads, h * w)
        return qkv.transpose(-1, -2).unbind(1)

    def forward(self, x):
        mixed, _ = attention(*self.split(x))
        return x + self.out(mixed.transpose(-1, -2).reshape(x.shape))

# %% slideshow={"slide_type": "skip"}
def way_down(wide, emb_dim):
    """One list of blocks a resolution (here one block each), and what halves the picture between two."""
    down, shrink = nn.ModuleList(), nn.ModuleList()
    for i, c in enumerate(wide):
        down.append(nn.ModuleList([ResBlock(wide[max(i - 1, 0)], c, emb_dim)]))
        if i + 1 < len(wide):
            shrink.append(nn.Conv2d(c, c, 3, stride=2, padding=1))
    return down, shrink

# %% slideshow={"slide_type": "skip"} tags=["hide-input"]
def way_up(wide, emb_dim):
    """The same from the lowest resolution up, with what enlarges the picture between two."""
    up, grow = nn.ModuleList(), nn.ModuleList()
    for i in reversed(range(len(wide))):
        up.append(nn.ModuleList([ResBlock(2 * wide[i], wide[i], emb_dim)]))
        if i:
            grow.append(nn.Conv2d(wide[i], wide[i - 1], 3, padding=1))
    return up, grow

# %% slideshow={"slide_type": "skip"}
class Layers(nn.Module):
    def __init__(self, channels=(32, 64), emb_dim=128):
        super().__init__()
        self.emb_dim, self.prediction = emb_dim, "v"  # what its output means: section 5
        first, second = (nn.Linear(emb_dim, emb_dim) for _ in range(2))
        self.time = nn.Sequential(first, nn.SiLU(), second, nn.SiLU())
        self.enter = nn.Conv2d(1, channels[0], 3, padding=1)
        self.down, self.shrink = way_down(channels, emb_dim)
        self.middle = nn.ModuleList(ResBlock(channels[-1], channels[-1], emb_dim) for _ in range(2))
        self.attention = SelfAttention(channels[-1])
        self.up, self.grow = way_up(channels, emb_dim)
        last = nn.Conv2d(channels[0], 1, 3, padding=1)
        self.leave = nn.Sequential(nn.GroupNorm(8, channels[0]), nn.SiLU(), last)
        nn.init.zeros_(last.weight), nn.init.zeros_(last.bias)

    def embed(self, t): return self.time(timestep_embedding(t, self.emb_dim))

# %% [markdown] slideshow={"slide_type": "skip"} exercise_text="3.4"
# ### Exercise 3.4: the forward pass of the U-Net
#
# Write the way that the drawing shows. `x` is (B, 1, H, W), `t` is (B,); return (B, 1, H, W). The number of resolutions is `len(self.down)`, two here; write it for any number.
#
# - **Start**: `self.embed(t)` is what every residual block gets as its second argument; `self.enter` gives the picture its channels.
# - **Down**, for each resolution: run its blocks, **keep** what they made, then `shrink`, except behind the last. Loop over the blocks `self.down[i]`, even though it is only one here.
# - **Middle**: block, attention, block.
# - **Up**, for each resolution: join with the skip, run the blocks; then enlarge with `F.interpolate(h, scale_factor=2.0)`, which copies each pixel four times, and `grow`, except behind the last. Skips: last in, first out.
# - **Join** is `torch.cat` along the channels: what comes from below first, then the skip.
# - **End**: `self.leave`.
#
# Difficulty: ●●●○○, 22 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# A Python list is all you need for the skips: `append` on the way down, `pop` on the way up. There is one `shrink` less than there are resolutions, so ask whether `i < len(self.shrink)`; the same for `grow`.
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# Two loops, `for i, blocks in enumerate(self.down)` and the same with `self.up`, each with an inner `for block in blocks: h = block(h, emb)`. Between them one line with `self.middle[0]`, `self.attention`, `self.middle[1]`. `torch.cat([h, skips.pop()], dim=1)` is the first thing in the second loop.
#
# </details>

# %% exercise="3.4" slideshow={"slide_type": "skip"}
class UNet(Layers):
    def forward(self, x, t):
        # TODO 3.4: embed t, go down, through the middle, and up with the skips
        ### BEGIN SOLUTION
        emb, h, skips = self.embed(t), self.enter(x), []
        for i, blocks in enumerate(self.down):
            for block in blocks:
                h = block(h, emb)
            skips.append(h)
            if i < len(self.shrink):
                h = self.shrink[i](h)
        h = self.middle[1](self.attention(self.middle[0](h, emb)), emb)
        for i, blocks in enumerate(self.up):
            h = torch.cat([h, skips.pop()], dim=1)
            for block in blocks:
                h = block(h, emb)
            if i < len(self.grow):
                h = self.grow[i](F.interpolate(h, scale_factor=2.0))
        return self.leave(h)
        ### END SOLUTION


UNet = check("3.4", UNet)

# %% [markdown] slideshow={"slide_type": "skip"}
# Does the network do what the drawing says? A **hook** is a function that PyTorch calls whenever a layer has computed something. Ours write down the shapes, in the order in which the layers are called.
#
# The second cell is a harder test. The course ships a trained network of this form, and its layers have the same names as yours. `load_state_dict` with `strict=True` puts its weights into *your* class, and complains if one is missing or left over. Do both networks give the same answers?

# %% slideshow={"slide_type": "skip"}
model, shapes = UNet(), {}
for name in names:
    layer = model.get_submodule(name)
    layer.register_forward_hook(lambda m, i, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
model(x_train[:2], torch.tensor([10, 900]))
rows = []
for name, shape in shapes.items():
    rows.append([name, " x ".join(map(str, shape)), f"{parameter_count(model.get_submodule(name)):,}"])
rows += [["time", "", f"{parameter_count(model.time):,}"], ["together", "", f"{parameter_count(model):,}"]]
show.table(rows, ["layer", "returns", "parameters"])

# %% slideshow={"slide_type": "skip"}
shipped = checkpoints.load_model("digits_unet")
trained = UNet().eval()
print(trained.load_state_dict(shipped.state_dict(), strict=True))
x_t = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
t = torch.tensor([1, 300, 600, 1000])
with torch.no_grad():
    print(f"largest difference between the two: {(trained(x_t, t) - shipped(x_t, t)).abs().max():.0e}")

# %% [markdown] slideshow={"slide_type": "skip"} exercise_text="3.5"
# *What to see.* The shapes are those of the drawing. More than half of the weights sit in the middle and in `up.0.0`. These layers are cheap to run all the same, because 4x4 has four times fewer places than 8x8. The trained weights fit, and your network answers as the shipped one does.
#
# **Question.** Why does the attention sit at 4x4 and not at 8x8?
#
# <details><summary>Answer</summary>
#
# It reaches every place in one layer, but its cost grows with the *square* of the number of places: 16 x 16 weights a head at 4x4, 64 x 64 at 8x8, and already 784 x 784 at 28x28. So we put it where the picture is small. The convolutions around it reach across
# the picture more slowly: at 8x8 each one reaches one pixel further to each side, at 4x4 two.
#
# </details>
#
# ### Exercise 3.5: who takes how many channels?
#
# Notebook 04 draws digits of 28x28 pixels with this same class, now with three resolutions: `UNet(channels=(16, 48, 96))`. How many channels does each of the three blocks on the way up **take**? Write three numbers, beginning at the lowest resolution.
#
# Difficulty: ●○○○○, 3 minutes
#
# <details>
# <summary>Hint</summary>
#
# Each takes what comes from below and a skip. Before the join, `grow` has brought what comes from below to the width of the new resolution.
#
# </details>

# %% exercise="3.5" kind="predict" slideshow={"slide_type": "skip"}
# TODO 3.5: the channels that the three blocks on the way up take, from the lowest resolution
### BEGIN SOLUTION
guess = 192, 96, 32
### END SOLUTION
check.predict("3.5", guess)

# %% slideshow={"slide_type": "skip"}
deep = UNet(channels=(16, 48, 96))
check.truth("3.5", [blocks[0].conv1.in_channels for blocks in deep.up])
for blocks in deep.up:
    print(f"{blocks[0].conv1.in_channels:3d} channels in, {blocks[0].conv1.out_channels:2d} out")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="3.6"
# ## 5. What to ask the network for
#
# *On the one-evening route.* Solve 3.7, and only read 3.6: where you write nothing, the course's solution is used.
#
# What should the network tell us: the noise, the picture, or something else? So far it predicted the noise. Look at the two ends of $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$:
#
# - At **low noise** it is hard to find $\epsilon$ in $x_t$, so the network learns something when we ask for it.
# - At **high noise** $x_t$ nearly *is* $\epsilon$, and the network only has to copy its input. What we need there is $x_0$, and solving the equation for $x_0$ divides the error in $\epsilon$ by $\sqrt{\bar\alpha_t}$.
#   At the last level of the cosine schedule this makes it 20,000 times larger. (That is why notebook 02 kept the estimate of $x_0$ in range, with `clip_x0=1.0`. We go on doing so.)
#
# If we ask for $x_0$ it is the other way round: at low noise the network can copy its input. We would like to ask, at each end, **for what $x_t$ does not show**. There is such a quantity, the **velocity** (Salimans & Ho 2022), and you can derive it.
#
# ### Exercise 3.6: the target
#
# The squares of $\sqrt{\bar\alpha_t}$ and $\sqrt{1-\bar\alpha_t}$ sum to 1, so there is an angle $\varphi$ with $\cos\varphi=\sqrt{\bar\alpha_t}$ and $\sin\varphi=\sqrt{1-\bar\alpha_t}$. Seen this way, noising is a quarter turn from the picture to the noise:
#
# $$x_t=\cos\varphi\;x_0+\sin\varphi\;\epsilon .$$
#
# The velocity $v$ says how $x_t$ moves as the angle grows: it is the derivative of $x_t$ by $\varphi$. Differentiate, put the roots back in, and write it as code.
#
# `x0` and `noise` are (B, ..), points or pictures; `t` is (B,). As in notebook 01, `at(schedule.alpha_bar, t, x0)` gives $\bar\alpha_t$ of every example in a shape that multiplies `x0`. Return $v$, shaped like `x0`.
#
# Difficulty: ●●○○○, 6 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# $x_0$ and $\epsilon$ do not depend on the angle. The derivative of the sine is the cosine, and that of the cosine is minus the sine. At $t=0$, where the angle is 0, $v$ must be the noise.
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# Start with `a = at(schedule.alpha_bar, t, x0)`. Then `a.sqrt()` is the cosine and `(1 - a).sqrt()` the sine. It is `q_sample` with two things exchanged and one sign turned.
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
# Noising is a quarter turn, and $v$ says how fast $x_t$ moves when the angle $\varphi$ grows:
#
# $$\cos\varphi=\sqrt{\bar\alpha_t},\quad \sin\varphi=\sqrt{1-\bar\alpha_t},\qquad x_t=\cos\varphi\;x_0+\sin\varphi\;\epsilon,\qquad v=\frac{dx_t}{d\varphi}=\;?$$
#
# > **Your turn: 3.6**, 6 minutes. Differentiate; then `v_target(x0, t, noise, schedule)`: `t` is (B,); return $v$, shaped like `x0` and `noise`
#
# **Question:** a network that is asked for $\epsilon$ copies its input at $t = 1000$ and has almost no loss there. Why is that bad?
#
# Notes:
# Say: noising is a quarter turn from data to noise; v is how fast x_t moves when the angle grows, hence the name velocity.
# Ask: a network that is asked for eps copies its input at t = 1000 and has almost no loss. Why is that bad? (The sampler needs x_0 there, and gets the small error divided by the root of alpha_bar: enlarged many thousand times.)
# Exercise 3.6: give 6 minutes. Common mistakes: the sign of the x_0 term; schedule.alpha_bar[t] as it is, of shape (B,), where at(schedule.alpha_bar, t, x0) has the shape to multiply x0.
# -->
#
# <!--slide 2 min
# ## $v$ starts as the noise and ends as the digit's negative
#
# $$v=\sqrt{\bar\alpha_t}\,\epsilon-\sqrt{1-\bar\alpha_t}\,x_0$$
#
# Notes:
# Say: compare rows: on the left, v is the noise; on the right, v is minus x_0; x_t goes the other way.
# Ask: cover the columns but one, say t = 400. Which of the rows could you guess from x_t alone? (None of them exactly. x_t shows a mixture; v is the other mixture, the one at a right angle to it.)
# Live: run the cell, a second.
# -->

# %% exercise="3.6" slideshow={"slide_type": "skip"}
def v_target(x0, t, noise, schedule):
    """The velocity of x_t as the angle grows. x0, noise (B, ..), t (B,); returns (B, ..)."""
    # TODO 3.6: the derivative of x_t by the angle
    ### BEGIN SOLUTION
    a = at(schedule.alpha_bar, t, x0)
    return a.sqrt() * noise - (1 - a).sqrt() * x0
    ### END SOLUTION


v_target = check("3.6", v_target)

# %% expected="3.6" slideshow={"slide_type": "-"} tags=["slide-figure"]
g = torch.Generator().manual_seed(1)
levels = torch.tensor([0, 100, 250, 400, 600, 800, 1000])
x0 = x_test[3:4].expand(len(levels), -1, -1, -1)
noise = torch.randn(1, 1, 8, 8, generator=g).expand_as(x0)
x_t, v = schedule.q_sample(x0, levels, noise), v_target(x0, levels, noise, schedule)
pictures = {"$x_t$": x_t, "noise": noise, "$v$": v, "$-x_0$": -x0}
names = [f"t = {t}" for t in levels]
show.rows(pictures, labels=names, alt="One digit at seven levels, in four rows: x_t, noise, v, the negative. "
          "x_t goes from the digit to the noise, v from the noise to the negative.")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="3.7"
# The derivative, with the roots back in it, is
#
# $$v=\sqrt{\bar\alpha_t}\,\epsilon-\sqrt{1-\bar\alpha_t}\,x_0 .$$
#
# *What to see.* $v$ starts as the noise and ends as the digit's negative: at each end it is the part that $x_t$ does *not* show.
#
# How do we get the picture back? The reverse loop needs $x_0$ and $\epsilon$, but the network gives $v$. We also know $x_t$. With $c=\sqrt{\bar\alpha_t}$ and $s=\sqrt{1-\bar\alpha_t}$, so that $c^2+s^2=1$, we have two equations for two unknowns:
#
# $$x_t=c\,x_0+s\,\epsilon,\qquad v=c\,\epsilon-s\,x_0 .$$
#
# ### Exercise 3.7: from v back
#
# Solve them, on paper: multiply each equation by something and add, so that one unknown drops out. **Do not divide**: $c$ is 0.00005 at the last level. Return `x0` and `eps`, in this order, both (B, ..).
#
# Difficulty: ●●○○○, 8 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# For $x_0$, multiply the first equation by $c$ and the second by $-s$. What becomes of the terms with $\epsilon$, and what of those with $x_0$? Check one end in your head: at $t=0$, where $c=1$ and $s=0$, $x_0$ must be $x_t$ and $\epsilon$ must be $v$.
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# Take $\bar\alpha_t$ as in 3.6 and `signal, sigma = a.sqrt(), (1 - a).sqrt()`. Then one line each: both results are made of `x_t` and `v`, multiplied by `signal` or `sigma`, once added and once subtracted; `return x0, eps`.
#
# </details>
#
# <!--slide 3 min
# ## Turning $v$ back never divides
#
# $$x_t=c\,x_0+s\,\epsilon,\qquad v=c\,\epsilon-s\,x_0,\qquad c=\sqrt{\bar\alpha_t},\; s=\sqrt{1-\bar\alpha_t},\; c^2+s^2=1$$
#
# - Two equations, two unknowns: multiply and add, so that one of them drops out.
# - On the way from $\epsilon$ to $x_0$ an error is divided by $\sqrt{\bar\alpha_t}$; on the way from $v$ it is not. Look at the last row.
#
# > **Your turn: 3.7**, 8 minutes. `from_v(v, x_t, t, schedule)`: return the pair `x0, eps`
#
# Notes:
# Say: let the room find the multipliers. Afterwards write both results on the board; the next slide has the one for x_0.
# Ask: at t = 0 alpha_bar is 1. What must the two results give? (x_0 = x_t and eps = v. A quick test for the signs.)
# Exercise 3.7: give 8 minutes. Common mistakes: returning eps, x0 in the wrong order; solving for x_0 by dividing, which is right on paper and loses everything at high noise.
# Live: run the cell with the errors.
# -->

# %% exercise="3.7" slideshow={"slide_type": "skip"}
def from_v(v, x_t, t, schedule):
    """(x0, eps) from v. v, x_t (B, ..), t (B,); returns two tensors (B, ..)."""
    # TODO 3.7: solve the two equations, without a division
    ### BEGIN SOLUTION
    a = at(schedule.alpha_bar, t, x_t)
    signal, sigma = a.sqrt(), (1 - a).sqrt()
    return signal * x_t - sigma * v, signal * v + sigma * x_t
    ### END SOLUTION


from_v = check("3.7", from_v)

# %% slideshow={"slide_type": "-"} tags=["slide-output"]
off = 0.01  # let both predictions be off by this much, everywhere
by_eps = (schedule.predict_x0(x_t, levels, noise + off) - x0).abs().amax((1, 2, 3))
by_v = (from_v(v + off, x_t, levels, schedule)[0] - x0).abs().amax((1, 2, 3))
rows = [[t, f"{a:.4f}", f"{b:.4f}"] for t, a, b in zip(levels.tolist(), by_eps, by_v, strict=True)]
header = ["t", "from the predicted noise", "from the predicted v"]
show.table(rows, header, "Error in x_0 when the prediction is off by 0.01")

# %% [markdown] slideshow={"slide_type": "slide"}
# In symbols
#
# $$\hat x_0=\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,v,\qquad \hat\epsilon=\sqrt{\bar\alpha_t}\,v+\sqrt{1-\bar\alpha_t}\,x_t .$$
#
# In words: to get the picture, take a share of $x_t$ and subtract a share of $v$; to get the noise, take a share of $v$ and add a share of $x_t$. Nothing is divided. In the table an error of 0.01 in $v$ is never more than 0.01 in $x_0$, while the same error in $\epsilon$ grows to 200 at the last level.
#
# <details>
# <summary>The two results, step by step</summary>
#
# Multiply the first equation by $c$, the second by $s$, and subtract:
#
# $$c\,x_t-s\,v=c^2x_0+cs\,\epsilon-cs\,\epsilon+s^2x_0=x_0 .$$
#
# Multiply the first by $s$, the second by $c$, and add:
#
# $$s\,x_t+c\,v=cs\,x_0+s^2\epsilon+c^2\epsilon-cs\,x_0=\epsilon .$$
#
# $x_t$ is known exactly, so an error $\delta$ in $v$ gives an error $-s\,\delta$ in $\hat x_0$ and $c\,\delta$ in $\hat\epsilon$, both at most as large as $\delta$. If the network predicts $\epsilon$, we have $\hat x_0=(x_t-s\,\hat\epsilon)/c$, so an error $\delta$ gives $-(s/c)\,\delta$, and $s/c$ has no bound.
#
# Read the second result backwards to compare the losses: an error in $\epsilon$ is $c$ times the error in $v$. Squared, $\lVert v-\hat v\rVert^2=\frac{1}{\bar\alpha_t}\lVert\epsilon-\hat\epsilon\rVert^2$. This is the same loss with more weight on high noise.
#
# </details>
#
# ### Does the choice matter? One measurement
#
# We train the same network four times, asked for $\epsilon$ or for $v$, with the linear or the cosine schedule, each for <!--r:digits_box.recipe.steps|,-->600<!--/--> steps (a third of what we spend below) and with two seeds. 1,000 samples of each get two scores:
#
# - **confident**: the share of the samples to which a classifier trained on real digits gives one class more than $95\,\%$;
# - **Frechet distance**: how far the samples as a whole are from the real digits as a whole. A *second* classifier turns each picture into a list of numbers, its features. We fit one Gaussian to the features of the real digits and one to those of the samples, and ask how far the two are apart: the squared difference of their
#   means plus the squared difference of their standard deviations. The next picture shows this for a single feature. (Many features need matrices; you write that in notebook 04.)
#
# What would perfect samples get? Of the real digits that it never saw, the classifier is confident about <!--r:digits_box.floors.confident_held_out|.1%-->97.5%<!--/-->. And one half of the real digits is still <!--r:digits_box.floors.frechet.mean|.1f-->2.9<!--/--> away from the other half, because two halves never have exactly the same mean and spread. That distance is the **floor**. Both values are drawn dashed.
#
# <!--slide 3 min
# ## Measured: the schedule matters more than the target
#
# - *Confident*: a classifier is over 0.95 sure of a class. *Frechet distance*: how far features lie from those of real digits. Dashed: real digits.
# - **Cosine beats linear** in both scores, by more than the seeds differ.
# - With $\hat x_0$ kept in $[-1,1]$, $\epsilon$ is as good as $v$. Trained for <!--r:digits.recipe.steps|,-->3,400<!--/--> steps and without that clamp, its distance is <!--r:digits_box.long.eps_cosine.seeds.0.unclipped.frechet|.0f-->173<!--/-->; that of $v$ stays at <!--r:digits_box.long.v_cosine.seeds.0.unclipped.frechet|.1f-->5.7<!--/-->.
#
# Notes:
# Say: the argument promised an advantage for v; the measurement shows where it is. With the clamp epsilon is even ahead after 600 steps, and level after 3,400. Without the clamp it falls apart and v does not (the classifier is still sure of a quarter of what epsilon draws: confidence alone proves nothing). So: cosine because it wins, v because it does not need the clamp.
# Ask: what do the two dots of one colour tell? (Two seeds of the same training: a difference smaller than their distance means nothing.)
# Have run: nothing, the cell reads saved results; it takes a second.
# -->

# %% slideshow={"slide_type": "skip"} tags=["hide-input"]
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 2.5), sharey=True)
at_x = np.linspace(-4, 6, 400)
cases = ("equal", 0, 1), ("means 2 apart", 2, 1), ("twice as wide", 0, 2)
for ax, (case, mean, width) in zip(axes, cases, strict=True):
    for name, m, s in (("data", 0, 1), ("model", mean, width)):
        bell = np.exp(-(((at_x - m) / s) ** 2) / 2) / (s * np.sqrt(2 * np.pi))
        ax.fill_between(at_x, bell, color=show.COLOUR[name], alpha=0.4)
    title = f"{case}: {mean}² + {width - 1}² = {mean**2 + (width - 1) ** 2}"
    ax.set(title=title, xlabel="value of a feature", yticks=[])
axes[0].legend(["real", "samples"])
show.figure(fig, "Two bells, three times: real and samples. Equal: distance 0. The samples' mean 2 further "
            "right: distance 4. The samples twice as wide around the same mean: distance 1.")

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
results = checkpoints.load_results("digits_box")
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.4))
floors = results["floors"]["confident_held_out"], results["floors"]["frechet"]["mean"]
titles = "confident share: cosine is higher", "Frechet distance: cosine is lower"
for ax, score, title, floor in zip(axes, ("confident", "frechet"), titles, floors, strict=True):
    for aside, target, name in ((-0.1, "eps", r"asked for $\epsilon$"), (0.1, "v", "asked for $v$")):
        seeds = [results["box"][f"{target}_{curve}"][score]["values"] for curve in ("linear", "cosine")]
        where = np.array([[0, 0], [1, 1]]) + aside
        ax.plot(where.ravel(), np.ravel(seeds), "o", color=show.COLOUR[target], markersize=9, label=name)
    ax.axhline(floor, color=show.COLOUR["floor"], linestyle="--", label="real digits")
    ax.set(title=title, xlim=(-0.5, 1.5), xticks=[0, 1], xticklabels=["linear schedule", "cosine schedule"])
axes[1].legend()
show.figure(fig, "Two scores for both schedules and targets, a dot a seed, real digits dashed. Cosine has "
            "larger confident shares and smaller distances; with either schedule eps is a little ahead.")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="3.8"
# *What to see.* The **schedule** matters most: cosine beats linear in both panels, by more than the seeds differ. The **target** matters less, and not in the way the argument promised: with the cosine schedule $\epsilon$ is ahead of $v$. Does that last? Here are both again, with the cosine schedule and a longer training, <!--r:digits_box.long.steps|,-->3,400<!--/--> steps:
#
# | asked for | confident, two seeds | Frechet distance, two seeds | confident without the clamp |
# |:--|:-:|:-:|:-:|
# | $\epsilon$ | <!--r:digits_box.long.eps_cosine.seeds.0.confident;.1%-->93.5%<!--/-->, <!--r:digits_box.long.eps_cosine.seeds.1.confident;.1%-->95.2%<!--/--> | <!--r:digits_box.long.eps_cosine.seeds.0.frechet;.1f-->5.4<!--/-->, <!--r:digits_box.long.eps_cosine.seeds.1.frechet;.1f-->6.3<!--/--> | <!--r:digits_box.long.eps_cosine.seeds.0.unclipped.confident;.0%-->24%<!--/-->, <!--r:digits_box.long.eps_cosine.seeds.1.unclipped.confident;.0%-->27%<!--/--> |
# | $v$ | <!--r:digits_box.long.v_cosine.seeds.0.confident;.1%-->94.2%<!--/-->, <!--r:digits_box.long.v_cosine.seeds.1.confident;.1%-->93.3%<!--/--> | <!--r:digits_box.long.v_cosine.seeds.0.frechet;.1f-->5.7<!--/-->, <!--r:digits_box.long.v_cosine.seeds.1.frechet;.1f-->7.4<!--/--> | <!--r:digits_box.long.v_cosine.seeds.0.unclipped.confident;.0%-->94%<!--/--> (one seed) |
#
# It does not last. The longer training raised the confident share of both, from <!--r:digits_box.box.eps_cosine.confident.mean|.0%-->83%<!--/--> to <!--r:digits_box.long.eps_cosine.confident.mean|.0%-->94%<!--/--> for $\epsilon$ and from <!--r:digits_box.box.v_cosine.confident.mean|.0%-->80%<!--/--> to <!--r:digits_box.long.v_cosine.confident.mean|.0%-->94%<!--/--> for $v$.
# The mean distance of $v$ fell from <!--r:digits_box.box.v_cosine.frechet.mean|.1f-->6.8<!--/--> to <!--r:digits_box.long.v_cosine.frechet.mean|.1f-->6.6<!--/-->, that of $\epsilon$ rose from <!--r:digits_box.box.eps_cosine.frechet.mean|.1f-->5.4<!--/--> to <!--r:digits_box.long.eps_cosine.frechet.mean|.1f-->5.9<!--/-->, and now they overlap.
#
# But so far every sample was drawn with $\hat x_0$ kept in $[-1,1]$. The last column shows the same networks without this clamp. The $v$ network draws as before. The pixels of the $\epsilon$ networks run into the hundreds (their standard deviation is <!--r:digits_box.long.eps_cosine.seeds.0.unclipped.std|.0f-->364<!--/--> and <!--r:digits_box.long.eps_cosine.seeds.1.unclipped.std|.0f-->385<!--/-->), and the distances are <!--r:digits_box.long.eps_cosine.seeds.0.unclipped.frechet|.0f-->173<!--/--> and <!--r:digits_box.long.eps_cosine.seeds.1.unclipped.frechet|.0f-->156<!--/-->.
# At least half of these samples are nowhere near a digit: the median distance to the nearest training picture (section 8) is <!--r:digits_box.long.eps_cosine.seeds.0.unclipped.nearest|.0f-->358<!--/--> and <!--r:digits_box.long.eps_cosine.seeds.1.unclipped.nearest|.0f-->385<!--/-->, for real digits it is <!--r:digits_box.floors.nearest|.2f-->0.26<!--/-->. The classifier is still sure of a quarter of them: confidence alone proves nothing.
#
# So the division by $\sqrt{\bar\alpha_t}$ does matter, and the clamp only hides it. From here on we use the **cosine** schedule, because it wins, and **$v$**, because it does not depend on the clamp.
#
# ## 6. Training
#
# A training step is the one of notebook 02: noise a batch, ask the network, compare, move the weights. It uses AdamW, cuts the gradient to norm 1, and lets the learning rate rise at first and fall later. (You will write it yourself in notebook 04.) Here you write one part of it: the average of the weights with which samples are drawn.
#
# Why don't we draw samples with the weights that were trained? These jitter from batch to batch. An **average** of the weights jitters less, and usually draws better. After every update we keep a share of the old average and take the rest from the current weights. A share of 0.999 makes a calm average, but a slow one:
# after a thousand updates a third of it would still be the random first weights. So the share begins small and grows. This is called the **warm-up** of the average.
#
# ### Exercise 3.8: the moving average of the weights
#
# With $n$ updates done so far, keep the share $1+n$ of $10+n$ parts of the old average, but never more than `decay`; the rest is new.
#
# `average` and `current` are lists of tensors. Return the new average as a new list; change nothing in place.
#
# Difficulty: ●●○○○, 6 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# At the first update, $n=0$, a tenth of the average is kept and nine tenths are new. "Never more than" is a minimum or a maximum: which?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# First the share that is kept, one line with `min`. Then a list comprehension over `zip(average, current)`, with a share of each; the two shares sum to 1.
#
# </details>
#
# <!--slide 2 min
# ## Draw with an average of the weights, and warm it up
#
# - Weights jitter from batch to batch; an average jitters less, and usually draws better.
# - After each update $\bar\theta\leftarrow d\,\bar\theta+(1-d)\,\theta$: keep the share $d$ of the average, and add $1-d$ of the current weights.
# - Always keeping 0.999 of it: after 1,000 steps $0.999^{1000}\approx 0.37$ of the average would still be the random first weights.
# - So the share that is kept grows: $1+n$ of $10+n$ parts after $n$ updates, never more than the decay 0.999.
#
# > **Your turn: 3.8**, 6 minutes. `ema_update(average, current, n, decay)`: two lists in, a new one out
#
# **A test for yours:** how much of the old average is kept at the first update, $n = 0$?
#
# Notes:
# Say: the weights jitter from batch to batch; their average jitters less. "Samples are noise although the loss is low" is often just a missing warm-up.
# Ask: how much of the old average is kept at the first update, n = 0? (One tenth.)
# Exercise 3.8: give 6 minutes. Common mistakes: max instead of min; changing the tensors of the average in place, which the check notices.
# Live: run the cell below the exercise: it prints what is left of the first weights.
# -->
#
# <!--slide 3 min
# ## A loss that hardly moves does not mean that the training is done
#
# Notes:
# Say: top: after some fifty epochs one batch differs from the next by nearly as much as the rest of the training gains, so judge by averages. Bottom right is the reason: at the highest levels the loss is flat from early on, because x_t shows nothing; the lower levels keep improving, and with them the strokes.
# Ask: the palest line, at t = 951 to 1000, stays near 0.3. What is that number? (The spread of the digits around their mean image, printed by the cell before: the best answer there is the negative mean image, and nothing can remove the rest.)
# Have run: the training cell, about a minute and a half on two cores. If you want to show it live, start it before the slide on the average.
# -->

# %% exercise="3.8" slideshow={"slide_type": "skip"}
def ema_update(average, current, n, decay):
    """The new average (list of tensors) after n updates; decay: the share kept once it is warm."""
    # TODO 3.8: keep a share of the old average, take the rest from the current weights
    ### BEGIN SOLUTION
    keep = min(decay, (1 + n) / (10 + n))
    return [keep * a + (1 - keep) * c for a, c in zip(average, current, strict=True)]
    ### END SOLUTION


ema_update = check("3.8", ema_update)

# %% slideshow={"slide_type": "skip"}
first_weights, cold = [torch.ones(1)], 1.0  # follow what is left of the first weights, counted as 1
for n in range(1000):
    first_weights, cold = ema_update(first_weights, [torch.zeros(1)], n, 0.999), 0.999 * cold
print(f"left of them after 1,000 updates: {float(first_weights[0]):.0e}; without the warm-up {cold:.0%}")

# %% [markdown] slideshow={"slide_type": "skip"}
# In symbols, with $\theta$ for the weights, $\bar\theta$ for their average and $d$ for the decay:
#
# $$\bar\theta\leftarrow k\,\bar\theta+(1-k)\,\theta,\qquad k=\min\left(d,\ \frac{1+n}{10+n}\right).$$
#
# *What to see.* With the warm-up nothing is left of the first weights; without it more than a third.
#
# Now we train: 1,800 steps of 64 digits, about a minute and a half on two cores. (The network that ships with the course was trained in the same way for <!--r:digits.recipe.steps|,-->3,400<!--/--> steps. The warm-up of the average does not end in so few: $k$ is still below 0.999 at the last step.) With `bf16=True` the network runs in bfloat16, a number format with fewer digits, while the weights and the loss stay in float32. With `bf16=False` everything is float32, and the training takes nearly half as long again.

# %% slideshow={"slide_type": "skip"}
batch, steps = 64, choose(read=1800, smoke=50)
torch.manual_seed(0)
model = UNet()
run = Run(model, lr=2e-3, weight_decay=0.01, ema_decay=0.999, seed=0)
# bf16: on a CPU without bfloat16 arithmetic False is faster
training = train(run, schedule, x_train, steps, batch, clip=1.0, bf16=True)
log = list(show.progress(training, total=steps))
losses = np.array([step.loss for step in log])
print(f"loss {losses[0]:.2f} at the first step, {losses[-100:].mean():.3f} over the last hundred")

# %% slideshow={"slide_type": "skip"} tags=["hide-input"]
def around(values, window):
    """The mean of the `window` values around each (of fewer at the ends); it does not lag behind."""
    sums = [np.convolve(v, np.ones(window), "same") for v in (values, np.ones(len(values)))]
    return sums[0] / sums[1]


epoch = len(x_train) // batch  # after so many batches every digit was shown once, on average
whole = steps // epoch
parts = {"first quarter": losses[: steps // 4], "last quarter": losses[-steps // 4 :]}
epoch_losses = losses[: whole * epoch].reshape(whole, epoch).mean(1)
t_seen = torch.stack([step.t for step in log[: whole * epoch]]).reshape(whole, -1)
loss_seen = torch.stack([step.losses for step in log[: whole * epoch]]).reshape(whole, -1)
by_level, average_digit = {}, x_train.mean(0)
for low in (0, 300, 500, 950):
    there = (t_seen > low) & (t_seen <= low + 50)
    by_level[f"t = {low + 1} to {low + 50}"] = ((loss_seen * there).sum(1) / there.sum(1)).numpy()
print(f"spread of the digits around their mean image: {(x_train - average_digit).square().mean():.3f}")

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
fig, axes = plt.subplots(2, 2, figsize=(show.WIDTH, 5.7))
axes[0, 0].plot(losses, color=show.COLOURS[5], linewidth=0.6, label="each batch")
axes[0, 0].plot(around(losses, 100), color=show.COLOURS[0], label="mean of the 100 around it")
axes[0, 1].plot(epoch_losses, color=show.COLOURS[0])
axes[0, 0].set(title="loss of every batch", xlabel="batch", ylabel="loss", ylim=(0.2, 0.7))
axes[0, 1].set(title="mean loss of every epoch", xlabel="epoch", ylim=(0.2, 0.7))
axes[1, 0].hist(parts.values(), bins=30, range=(0.1, 0.7), label=list(parts), color=show.COLOURS[4:6])
axes[1, 0].set(title="how often which loss", xlabel="loss", ylabel="batches", xlim=(0.2, 0.5))
for (name, values), shade in zip(by_level.items(), (0.95, 0.75, 0.55, 0.3), strict=True):
    axes[1, 1].plot(around(values, 10), color=plt.get_cmap("Blues")(shade), label=name)
axes[1, 1].set(title="loss by noise level, mean of 10 epochs", xlabel="epoch", ylim=(0, 1.2))
for ax, columns in ((axes[0, 0], 1), (axes[1, 0], 1), (axes[1, 1], 2)):
    ax.legend(fontsize=10, ncols=columns)
show.figure(fig, "Loss by batch: noisy, a steep fall, then a long slow one; by epoch: the same, smooth; as "
            "histogram: it moves left; by level: flat at the highest level, still falling at the lower ones.")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* At first the loss falls steeply, then hardly at all. After some fifty epochs one batch differs from the next by nearly as much as the rest of the training gains, so judge by averages, never by a single batch.
#
# The last picture shows why it hardly moves. Near $t=1000$ (palest) the loss is flat from early on. There $x_t$ shows nothing, and the best answer is the negative of the mean image. What remains is the spread of the digits around that image, the printed number, and no network can remove it. The lower levels keep improving slowly, and with them the strokes.
# So a loss that hardly moves does not mean that the training is done. Nor does a low loss say that the samples are good. Let us draw some.
#
# ## 7. Samples
#
# We draw 1,000 samples with the averaged weights, which takes some ten seconds. To save time we ask the network at 50 of the 1,000 levels only, with the DDIM rule of notebook 02 and $\eta=1$. It adds fresh noise at every step, as the ancestral step does, but in the right amount for strides of 20 levels. Can you tell the two sides apart?
#
# <!--slide 3 min
# ## The samples are digits, and most of them are clear
#
# Drawn with the averaged weights at 50 of the 1,000 levels: DDIM with $\eta=1$, fresh noise in every step.
#
# Take half a minute to find the bad ones. Without the titles, which side would you call real?
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

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
originals = x_test[torch.randperm(len(x_test), generator=torch.Generator().manual_seed(0))[:48]]
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 4.0))
for ax, images, title in zip(axes, (samples[:48], originals), ("samples", "held out"), strict=True):
    ax.imshow(show.tiles(images, columns=8), vmin=0, vmax=255)
    ax.set(title=f"{title}: {48 * metrics.confident_share(images):.0f} of 48 read with confidence")
    ax.set_axis_off()
show.figure(fig, "Two grids of 48: samples of the network on the left, real held-out digits on the right. "
            "The samples are digits of all classes with clear strokes; one or two in a row are hard to read.")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* Most samples are digits with clear strokes. The titles count how many of them a classifier reads with confidence. But 48 are too few to compare the two counts; section 9 scores all 1,000. Look for the few bad ones on the left, and for real digits on the right that you could not name either.
#
# ## 8. Learned by heart?
#
# The samples look like the data. Could they be copies of it? A network that stored its 1,437 training pictures would pass every test of *quality*. So let us look for copies: below each sample stands the training picture nearest to it, by the root mean squared difference of the pixels.
#
# How near is too near? A new 3 that somebody writes also resembles some 3 of the training set. The **held-out digits** tell us how much: they are new to the network, so their distance to the nearest training picture is what we should expect. A copy would have distance 0. The second picture compares the two.
#
# <!--slide 3 min
# ## Samples lie as far from the training pictures as new digits do
#
# Notes:
# Say: top: samples, each above the training picture nearest to it: alike, but are they too alike? A new 3 also resembles some old 3. The held-out digits say how much is honest. Bottom: the two histograms lie nearly on each other.
# Ask: what would the orange histogram look like if the network had stored its training pictures? (A tall bar near 0.)
# Ask: does this prove that nothing was stored? (No, that would need every possible sample; but the test could have failed.)
# Have run: training and sampling. These two cells take a second.
# -->

# %% slideshow={"slide_type": "-"} tags=["slide-figure"]
index, distance = metrics.nearest_neighbours(samples, x_train)
_, honest = metrics.nearest_neighbours(x_test, x_train)
print(f"median distance: samples {distance.median():.3f}, held-out digits {honest.median():.3f}")
closer = (distance < honest.quantile(0.01)).float().mean()
print(f"samples closer to the training set than all but 1 % of the held-out digits are: {closer:.1%}")
order = distance[:12].argsort()  # the first twelve samples, from the nearest to the farthest
pairs = {"sample": samples[order], "nearest in training": x_train[index[order]]}
show.rows(pairs, labels=[f"{d:.2f}" for d in distance[order]],
          alt="Twelve samples, each above its nearest training picture: the same digit, a little different.")

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
fig, ax = plt.subplots()
for name, values, colour in (("samples", distance, "model"), ("held-out digits", honest, "data")):
    look = dict(density=True, alpha=0.6, color=show.COLOUR[colour], label=name)
    ax.hist(values.numpy(), bins=40, range=(0, 0.6), **look)
title = "how far the nearest training picture is"
ax.set(title=title, xlabel="distance (a copy: 0)", ylabel="density")
ax.legend()
show.figure(fig, "Histograms of the distance to the nearest training picture: those of the samples and of "
            "the held-out digits nearly agree, between 0.1 and 0.45; none is near 0.")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* The two histograms lie nearly on each other. Our samples are about as far from the training pictures as new digits are, and hardly any are suspiciously close. The median falls with training, though. After 600 steps it was <!--r:digits_box.box.v_cosine.nearest.mean|.3f-->0.317<!--/-->; yours, after 1,800, is printed above the pairs; after 3,400 the shipped network has <!--r:digits.seeds.0.nearest|.3f-->0.256<!--/-->, and a second seed <!--r:digits.seeds.1.nearest|.3f-->0.256<!--/-->, which is below the held-out digits (<!--r:digits.floors.nearest|.3f-->0.259<!--/-->). A longer training would probably bring the samples still closer.
#
# This is no proof that nothing was learned by heart, for which we would have to see every possible sample. But the test could have failed, and it did not. We needed the held-out digits for it: without them the left end of the
# histogram would have looked like copying, but real 1s are nearly the same, too.
#
# ## 9. Is it any good?
#
# A popular check compares the pixels: mean, standard deviation, minimum and maximum of the samples and of the data. What is this check worth? To find out we cheat. Here is a "model" without any network: average three random training digits, then give the
# result exactly the data's histogram of grey values. (The darkest pixel gets the darkest grey value, the brightest pixel the brightest, and so on.) The next cell makes 1,000 of them.
#
# <!--slide 4 min
# ## Pixel statistics let blurry averages through
#
# - A "model" without a network: average three digits, then give them the data's grey values.
# - Mean, standard deviation, minimum, maximum: **as good as ours**. Nor are they suspiciously close to training pictures.
# - Frechet distance, confident share, class shares: caught.
#
# Notes:
# Exercise 3.9: 3 minutes, before this slide: which of six scores will notice? Let the room vote on each.
# Say: the middle row on the left has perfect pixel statistics and no digits. The table in the notebook gives all scores: its Frechet distance is more than ten times the floor, and many are read as 8, since they have strokes everywhere. Our own distance depends on the sampler: with eta = 0 it is close to its floor, with eta = 1 about twice that; and with eta = 1 it draws too few 4s and too many 8s.
# Ask: a generator that always draws the same perfect 7: which score notices? (Class shares and the Frechet distance. Not the confident share, which would be perfect; not the distances to the training set, if its 7 is a new one.)
# Have run: training and sampling; the cell itself takes a few seconds.
# Answers 3.9.
# -->

# %% slideshow={"slide_type": "skip"}
g = torch.Generator().manual_seed(0)
blurry = x_train[torch.randint(len(x_train), (len(samples), 3), generator=g)].mean(1)
grey = x_train.flatten()[torch.randint(x_train.numel(), (blurry.numel(),), generator=g)]
blurry.view(-1)[blurry.flatten().argsort()] = grey.sort().values  # k-th darkest pixel: k-th darkest grey

# %% [markdown] slideshow={"slide_type": "skip"} exercise_text="3.9"
# ### Exercise 3.9: which score notices?
#
# We are about to score these blurry averages beside our samples and beside real digits. Which of the scores will tell them from real digits?
#
# - (a) mean and standard deviation of the pixels
# - (b) the darkest and the brightest pixel
# - (c) the Frechet distance
# - (d) the confident share
# - (e) the shares of the classes
# - (f) a share that is too high: copies, that is, pictures closer to the training set than all but $1\,\%$ of the held-out digits are (section 8)
#
# Write the letters of those that notice, for example `"abf"`.
#
# Difficulty: ●●○○○, 3 minutes
#
# <details>
# <summary>Hint</summary>
#
# Go through them one by one: what were the averages *given*, and what does each score look at, the pixels one by one or the picture as a whole?
#
# </details>

# %% exercise="3.9" kind="predict" slideshow={"slide_type": "skip"}
# TODO 3.9: the letters of the scores that tell blurry averages from real digits
### BEGIN SOLUTION
guess = "cde"
### END SOLUTION
check.predict("3.9", guess)

# %% slideshow={"slide_type": "skip"}
floor, spread = metrics.frechet_floor(x)  # one random half of the real digits against the other, five times
scored = {"our samples": (samples, f"{metrics.digits_frechet(samples):.1f}"),
          "blurry averages": (blurry, f"{metrics.digits_frechet(blurry):.1f}"),
          "real, held out": (x_test, f"{floor:.1f} (floor)")}
rows = []
for name, (images, frechet) in scored.items():
    nearest = metrics.nearest_neighbours(images, x_train)[1]
    close = (nearest < honest.quantile(0.01)).float().mean()
    rows.append([name, f"{images.mean():.2f}, {images.std():.2f}", f"{images.min():.2f}, {images.max():.2f}",
                 frechet, f"{metrics.confident_share(images):.1%}",
                 f"{metrics.class_shares(images).max():.1%}", f"{close:.1%}"])
header = ["", "mean, std", "min, max", "Frechet distance", "confident", "largest class", "close to training"]
show.table(rows, header)
print(f"The floor: one half of all real digits from the other, ± {spread:.1f}")
check.truth("3.9", "cde")

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.2), width_ratios=[1.3, 1])
axes[0].imshow(show.tiles(torch.cat([samples[:10], blurry[:10], x[:10]]), columns=10), vmin=0, vmax=255)
axes[0].set(title="from the top: ours, blurry, real")
axes[0].set_axis_off()
colours = show.COLOUR["model"], show.COLOUR["noise"], show.COLOUR["data"]
for i, (name, images) in enumerate({"ours": samples, "blurry": blurry, "real": x}.items()):
    place = np.arange(10) + 0.27 * (i - 1)
    axes[1].bar(place, metrics.class_shares(images), 0.27, color=colours[i], label=name)
axes[1].set(title="share of each class", xticks=range(10), xlabel="class, as the classifier reads it")
axes[1].legend(fontsize=10)
show.figure(fig, "Left: ten samples, ten blurry averages that look like no digit, ten real digits. Right: "
            "class shares: real ones near 0.1, ours from 0.07 to 0.13; of the averages 0.17 are read as 8.")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* By the four pixel statistics the averages are as good as the network. The eye disagrees, and so do three scores: the Frechet distance of the averages is more than ten times the floor, fewer of them are read with confidence, and too many are read as 8, since they have strokes everywhere. A search for copies (f) finds none, because an average is no copy. Read the other way round, that column would give the averages away too: a few real digits are that close to the training set, and of 1,000 averages not one.
# Our samples are within a few units of the floor, and every class is there. Without the rows of real digits and of the averages we could not have said whether our numbers are good.
#
# They are not perfect, though, and they depend on the sampler. Here are the shipped network (<!--r:digits.recipe.steps|,-->3,400<!--/--> steps) and one trained with a second seed, 1,000 samples each, with fresh noise in every step ($\eta=1$, as above) and without ($\eta=0$, the same noise at the start):
#
# | sampler | confident, two seeds | Frechet distance, two seeds | smallest class, two seeds |
# |:--|:-:|:-:|:-:|
# | DDIM, $\eta=1$ | <!--r:digits.seeds.0.confident;.1%-->94.2%<!--/-->, <!--r:digits.seeds.1.confident;.1%-->93.3%<!--/--> | <!--r:digits.seeds.0.frechet;.1f-->5.7<!--/-->, <!--r:digits.seeds.1.frechet;.1f-->7.4<!--/--> | <!--r:digits.seeds.0.smallest_class;.1%-->7.5%<!--/-->, <!--r:digits.seeds.1.smallest_class;.1%-->7.0%<!--/--> |
# | DDIM, $\eta=0$ | <!--r:digits.seeds.0.deterministic.confident;.1%-->91.7%<!--/-->, <!--r:digits.seeds.1.deterministic.confident;.1%-->92.5%<!--/--> | <!--r:digits.seeds.0.deterministic.frechet;.1f-->3.3<!--/-->, <!--r:digits.seeds.1.deterministic.frechet;.1f-->4.2<!--/--> | <!--r:digits.seeds.0.deterministic.smallest_class;.1%-->7.9%<!--/-->, <!--r:digits.seeds.1.deterministic.smallest_class;.1%-->7.2%<!--/--> |
# | real digits | <!--r:digits.floors.confident_held_out;.1%-->97.5%<!--/--> | <!--r:digits.floors.frechet.mean;.1f-->2.9<!--/--> | <!--r:digits.floors.smallest_class;.1%-->9.6%<!--/--> |
#
# Without fresh noise the distance is clearly better: <!--r:digits.seeds.0.deterministic.frechet|.1f-->3.3<!--/--> and <!--r:digits.seeds.1.deterministic.frechet|.1f-->4.2<!--/--> against <!--r:digits.seeds.0.frechet|.1f-->5.7<!--/--> and <!--r:digits.seeds.1.frechet|.1f-->7.4<!--/-->, with a floor of <!--r:digits.floors.frechet.mean|.1f-->2.9<!--/-->.
# The confident share does not decide between the two. So by these scores $\eta=0$ is the better choice for this network. We drew with $\eta=1$ because its noise is that of the ancestral step, which you know from notebook 02.
#
# With $\eta=1$ the shares of the classes, as a whole, are further from the real ones than chance allows. (In both networks chi-square, the sum of (count − expected)² / expected over the classes, is 34 on 9 degrees of freedom, where 16.9 is the usual limit.) The clearest are too few 4s and too many 8s. With $\eta=0$ it is 16 and 19, about at that limit.
#
# **Question.** A generator that always draws the same perfect 7: which of the scores would notice?
#
# <details><summary>Answer</summary>
#
# The confident share would not: it would be $100\,\%$. The class counts would. So would the Frechet distance, since the features of its samples have no spread, while those of real digits do. Distances to the training set would not, if its 7 is a
# new one. So we need several numbers: one for quality, one for variety, one against copying.
#
# </details>
#
# ## 10. Watching it draw
#
# Now we use all 1,000 levels, with the ancestral step, and keep every state. (This takes about ten seconds.) The first row of the picture is $x_t$ at eleven levels. The second row is the guess $\hat x_0$ from which that state was made, one level earlier. When do you first see which digit it will be, in each row?
#
# <!--slide 3 min
# ## High noise decides which digit, low noise how its edges look
#
# - Top: the walk, at eleven of its 1,000 levels. Bottom: the guess $\hat x_0$ from which that state was made.
# - At first the mean image of all digits; then a blend of those still possible; then one.
# - An early guess is a blurry average: it only serves to take **one small step**.
#
# **Look for** the first column in which you can name the digit, above and below. And why is the very first guess a blur, and not some digit?
#
# Notes:
# Say: read the bottom row: a grey blur, then a soft digit, then the sharp one. The network never draws in one go.
# Ask: why is the first guess a blur and not some digit? (x_t says nothing yet; the average of all digits has the smallest squared error.)
# Live: the two GIFs in the notebook, one walk with its guess and sixteen walks.
# Have run: the cell with all 1,000 levels, close to ten seconds on two cores.
# -->

# %% slideshow={"slide_type": "-"} tags=["slide-figure"]
rule = choose(read=ancestral(), smoke=ddim(20, eta=1.0))
walk = reverse(net, schedule, rule, (16, 1, 8, 8), seed=7, clip_x0=1.0)
path = list(show.progress(walk, total=1 + len(rule.levels(schedule.T))))

levels = (999, 900, 800, 700, 600, 500, 400, 300, 200, 100, 0)
show.filmstrip(path, levels=levels, x0=True, title="One sample, and the guess that led there",
               alt="One sample in eleven columns. Top: x_t, noise turning into a digit. Bottom: the "
                   "estimate of x_0, first a grey blur in the middle, then a soft digit, then the sharp one.")

# %% slideshow={"slide_type": "skip"} tags=["hide-input"]
states = show.evenly(path, 36)
frames = [show.tiles(torch.stack([s.x[0], s.x[0] if s.x0 is None else s.x0[0]]), columns=2) for s in states]
show.gif(frames, out_dir() / "03_one_digit.gif", scale=16,
         alt="Moving: noise turns into one digit on the left; on the right the guess of the result.")
frames = [show.tiles(s.x, columns=8) for s in states]
show.gif(frames, out_dir() / "03_digits.gif", scale=6, alt="Moving: sixteen digits emerge from noise.")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="3.10"
# *What to see.* In the second row the digit appears earlier than in the first. The early guesses are blurs, because $x_t$ says nothing yet and the mean image has the smallest squared error. Then the guess becomes a blend of the digits that are still possible, and from about the middle on it is one digit that hardly changes. High noise decides *which* digit, low noise how its edges look.
#
# ## 11. A wrong line
#
# How would you find a mistake in a network whose samples may look fine? The next cell runs a U-Net with the course's weights. Its forward pass and its attention are written out in twelve lines, and **one line is wrong**. (There are six cases; which one you get depends on the seed.) You see six held-out digits (first row), what is left of them at $t=300$ (second row) and the network's estimates (third row), beside them 24 samples, then seven numbers. Those of the right network stand in the hint.
# To be quick, the cell draws 100 samples in 20 steps. Here even the right network has only $88\,\%$ of them read with confidence; the $94\,\%$ of section 9 took 50 steps and fresh noise.
#
# `go_down` is the way down of 3.4 (it returns the lowest $h$ and the list of skips) and `join_heads` puts the heads side by side again; both are right.
#
# ### Exercise 3.10: hunt the wrong line
#
# Run the first cell, compare its lines with yours in 3.3 and 3.4, and write the number of the wrong line into the second. Each wrong guess is answered with a measurement.
#
# Difficulty: ●●●○○, 9 minutes
#
# <details>
# <summary>Hint</summary>
#
# The pictures may look right all the same. So look at the numbers: should the answer change when the network is told another level? Should a row of attention weights sum to 1? Should anything change when the attention's output is set to 0?
#
# The third number asks how much the four pixels of a 2 x 2 block differ in what reaches the last block from below. Enlarging copies each pixel four times, so it would be 0 if nothing came after the copying.
#
# A right network has, in the order in which they are printed: 0.49, 0.04, 2.4, 0.04, 1.00, 0.41, and $88\,\%$ read with confidence.
#
# </details>
#
# <!--slide 3 min
# ## The samples may look fine, yet one of twelve lines is wrong
#
# ```python
#  1  emb = network.embed(torch.zeros_like(t))
#  2  h, skips = go_down(network, x, emb)
#  3  h = network.middle[0](h, emb)
#  4  q, k, v = network.attention.split(h)
#  5  w = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
#  6  h = h + network.attention.out(join_heads(w @ v))
#  7  h = network.middle[1](h, emb)
#  8  for i, blocks in enumerate(network.up):
#  9      h = torch.cat([h, skips.pop()], dim=1)
# 10      h = blocks[0](h, emb)
# 11      if i < len(network.grow):
# 12          h = network.grow[i](F.interpolate(h, scale_factor=2.0))
# ```
#
# Notes:
# Say: one line of this forward pass is wrong, and the weights are the right ones. Compare with 3.3 and 3.4.
# Exercise 3.10: 9 minutes. Give each row of the room another case: `check.hunt("3.10", seed=1)` and so on; there are six.
# Ask: which of the six mistakes can nobody see in the pictures? (Those in the attention, three of them. The scores hardly notice either. Only a measurement of the thing itself does: the sum of a row, the largest weight, the change when it is switched off.)
# Table, right network and six mistakes. Change of the answer from t = 300 to 600: 0.49, none when the level is not passed on. Error of x_0: 0.04; 0.40 when the skip comes first. Spread inside 2 x 2 pixels: 2.4; 0 when grow comes before enlarging. Change without attention: 0.04; 0 when left out. Smallest row sum: 1; 0.26 with the softmax over queries. Largest weight: 0.41; 0.78 without the scale.
# -->

# %% exercise="3.10" kind="hunt" tags=["slide-figure"] slideshow={"slide_type": "-"}
check.hunt("3.10")

# %% kind="answer" of="3.10" slideshow={"slide_type": "skip"}
line = 1  # TODO 3.10: the number of the wrong line
check.found("3.10", line)

# %% [markdown] slideshow={"slide_type": "skip"}
# *What to take along.* In three of the six cases, those in the attention, the samples are about as good as the right network's. Their Frechet distance is at most 4.0, with the right lines it is 3.4 (1,000 samples, 20 DDIM steps without fresh noise). You would hardly notice these mistakes in a picture or in a score of section 9.
# You find them by testing the part itself: does a row sum to 1, does the answer change when it should? The strict load in section 4 was such a test too, but only of names and shapes. That both networks gave the same *answers* was the stronger test.

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# ## Looking inside (optional)
#
# Four looks at a trained network. The first reads saved results. The second and third use `trained` of section 4, the shipped weights in your class, so that your pictures are those described. The fourth uses your walk of section 10.

# %% [markdown] slideshow={"slide_type": "slide"} tags=["optional"]
# ### What is each part worth?
#
# To find out, we leave it out and train again. Here is a short training (<!--r:digits_ablation.recipe.steps|,-->600<!--/--> steps, two seeds) of the whole network and of three others, each with one part taken out: no attention, no skips, or a time embedding of zeros. Which part will be missed most?
#
# <!--slide 3 min
# ## Take a part out: the skips are worth most
#
# - Without **skips**, <!--r:digits_ablation.variants.no_skips.confident.mean|.0%-->66%<!--/--> of the samples are read with confidence instead of <!--r:digits_ablation.variants.full.confident.mean|.0%-->80%<!--/-->.
# - Without the **level**, <!--r:digits_ablation.variants.no_time.confident.mean|.0%-->75%<!--/-->.
# - Without **attention**, <!--r:digits_ablation.variants.no_attention.confident.mean|.0%-->78%<!--/-->: no more than seeds differ, on pictures this small.
#
# Notes:
# Say: the eye sees little difference between the rows; the scores do. Skips first, then the level. Attention brings no more than seeds differ here: at 4 x 4 the convolutions of two blocks reach everything anyway. It is in the network because larger pictures need it.
# Ask: why does the network manage so well without being told the level? (It can mostly see for itself how noisy the picture is.)
# Live: run the cell, it reads saved results.
# -->

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure", "optional"]
results, pictures = checkpoints.load_results("digits_ablation"), checkpoints.load_images("digits_ablation")
rows = []
for name, scores in results["variants"].items():
    sure, far = scores["confident"], scores["frechet"]
    rows.append([name.replace("_", " "), f"{scores['parameters']:,}",
                 f"{sure['mean']:.1%} ± {sure['std']:.1%}", f"{far['mean']:.1f} ± {far['std']:.1f}"])
floors = results["floors"]
rows.append(["real digits", "", f"{floors['confident_held_out']:.1%}", f"{floors['frechet']['mean']:.1f}"])
show.table(rows, ["network", "parameters", "confident", "Frechet distance"], "Mean ± deviation of two seeds")
named = {name.replace("_", " "): pictures[name] for name in results["variants"]}
show.rows(named,
          alt="Ten samples of each variant from the same noise: alike at a glance, single strokes differ.")

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# *What to see.* From the same noise the variants draw nearly the same pictures, and by eye you could not rank them. The scores can. **Skips** are worth most: without them <!--r:digits_ablation.variants.no_skips.confident.mean|.0%-->66%<!--/--> instead of <!--r:digits_ablation.variants.full.confident.mean|.0%-->80%<!--/--> are read with confidence, and the
# distance doubles, since what the way down lost stays lost. The **level** comes next (<!--r:digits_ablation.variants.no_time.confident.mean|.0%-->75%<!--/-->): less than one might think, presumably because the network can mostly see for itself how noisy a picture is. **Attention** (<!--r:digits_ablation.variants.no_attention.confident.mean|.0%-->78%<!--/-->) brings no more here than
# seeds differ: at 4x4 the convolutions of two blocks reach everything anyway. We keep it because larger pictures need it and because you will meet it in nearly every image model.

# %% [markdown] slideshow={"slide_type": "slide"} tags=["optional"]
# ### Where does it look, and when?
#
# At 4x4 each of the 16 places stands for two by two pixels of the digit, and it gives every place a weight. We catch what goes into the attention with a hook. Then we pick one place (the square) and draw its 16 weights for each of the four heads, at four noise levels, beside the network's estimate of $x_0$.
#
# How many places does a head look at? The curves below the picture count them, averaged over 200 held-out digits. The count is $e$ to the power of the entropy of the weights, $\exp(-\sum_i w_i\ln w_i)$: it is 1 when a single place gets everything and 16 when all get the same.
#
# <!--slide 3 min
# ## Heads look at different places, and the level changes which
#
# From one place of a 0 (square), where do four heads look? Yellow is a weight of 0.4 or more.
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
    x0 = from_v(trained(x_t, levels), x_t, levels, schedule)[0]
    return attention(*trained.attention.split(caught["h"]))[1], x_t, x0


# %% slideshow={"slide_type": "skip"} tags=["hide-input", "optional"]
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


# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure", "optional"]
place, digit = 9, 11  # row 2, column 1 of the 4x4 places
fig, axes = plt.subplots(4, 6, figsize=(9.2, 5.8))
for row, t in zip(axes, (20, 300, 600, 900), strict=True):
    weights, x_t, x0 = maps(x_test[digit : digit + 1], t)
    draw_look(row, x_t, x0, weights[0, :, place], place)
    row[0].set_ylabel(f"t = {t}")
titles = ["$x_t$", "estimate of $x_0$", "head 1", "head 2", "head 3", "head 4"]
for ax, title in zip(axes[0], titles, strict=True):
    ax.set_title(title)
fig.colorbar(axes[0, 2].images[0], ax=axes, label="weight (alike for all: 0.06)", extend="max", shrink=0.6)
show.figure(fig, "A 0 at four noise levels: x_t, the estimate of x_0, and where four heads look from one "
            "place. Up to t = 600 head 1 picks a place two columns away; head 2 its left neighbour at "
            "t = 300, that and the corner at t = 20; head 4 none. At t = 900 all but head 3 spread out.")

# %% slideshow={"slide_type": "skip"} tags=["hide-input", "optional"]
fig, ax = plt.subplots()
levels = [1] + list(range(50, 1001, 50))
wide = torch.stack([torch.special.entr(maps(x_test[:200], t)[0]).sum(-1).exp().mean((0, 2)) for t in levels])
own = maps(x_test[:200], 400)[0].diagonal(dim1=2, dim2=3).mean((0, 2)).tolist()
weights = " ".join(f"{w:.3f}" for w in own)
print(f"weight of a place on itself at t = 400, by head: {weights} (alike for all: 0.062)")
for head in range(4):
    ax.plot(levels, wide[:, head], color=show.COLOURS[head], label=f"head {head + 1}")
ax.axhline(16, color="black", linestyle="--", linewidth=1, label="all places alike")
ax.set(title="at the highest noise all heads spread out", ylim=(0, 17))
ax.set(xlabel="noise level $t$", ylabel="places looked at")
ax.legend()
show.figure(fig, "Places looked at against the noise level, four heads: 8 or 9 of 16 over most levels, 9 to "
            "11 at t = 1, 12 or more at the highest; 16 would be no preference at all.")

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# *What to see.* Which places a head prefers changes with the level. Follow head 2 in the first picture: at $t=20$ it looks to its left neighbour and to the corner, at $t=300$ to the left neighbour alone, and at $t=600$ it is undecided. No head dwells on its own place: the printed weights are hardly more than a fair share, mostly less, since the convolutions already bring what is near. At $t=900$ three heads
# spread out, but head 3 still puts more than 0.40 on one place. The curves average over 200 digits: at the very highest levels, where there is nothing to see, all four heads spread out to 12 places or more. At $t=1$ heads 1 and 3 spread a little too.
#
# **Try it** with another place, another level, another digit. The title counts the places looked at. Choose head 2 and lower $t$ from 1000: between 600 and 400 it settles on its left neighbour, just while the estimate of $x_0$ turns from a blur into the 0. Then compare a place on a stroke
# with one on black paper. Which of them looks at fewer places?

# %% slideshow={"slide_type": "skip"} tags=["hide-input", "optional"]
def look_from(t=600, row=2, column=1, head=3, digit=11):
    """Draw where a head (or their mean) looks from one of the 4x4 places of a held-out digit at level t."""
    place = 4 * row + column
    weights, x_t, x0 = maps(x_test[digit : digit + 1], t)
    look = weights[0, :, place].mean(0) if head == "mean" else weights[0, head - 1, place]
    count = torch.special.entr(look).sum().exp()
    fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3.3))
    draw_look(axes, x_t, x0, [look], place)
    who = "four heads" if head == "mean" else f"head {head}"
    names = (f"$x_t$ at t = {t}", "estimate of $x_0$", f"{who}: {count:.1f} places looked at")
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
# Nobody told the network that there are ten classes. Has it found out? We noise 600 digits to three levels and take what leaves the middle of the network, averaged over the 16 places: 64 numbers a picture. t-SNE, a method that draws near things near each other, lays them out in the plane. Such a drawing can deceive, so the titles
# measure in the 64 dimensions: they say how often most of the five nearest pictures are of the same class. In brackets stands the same share for the 64 noisy pixels themselves, before any network.

# %% slideshow={"slide_type": "skip"} tags=["optional"]
from sklearn.manifold import TSNE

trained.middle[1].register_forward_hook(lambda layer, inputs, out: caught.update(bottleneck=out.mean((2, 3))))
some = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[: choose(read=600, smoke=100)]


def bottleneck(t):
    x_t = maps(x[some], t)[1]  # runs the network; the hook catches
    return caught["bottleneck"], x_t.flatten(1)


def same_class(features):
    near = torch.cdist(features, features).fill_diagonal_(torch.inf).topk(5, largest=False).indices
    return (labels[some][near].mode(1).values == labels[some]).float().mean()


# %% slideshow={"slide_type": "skip"} tags=["hide-input", "optional"]
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3.6))
for ax, t in zip(axes, (50, 400, 700), strict=True):
    features, pixels = bottleneck(t)
    plane = TSNE(random_state=0, perplexity=20, init="pca").fit_transform(features.numpy())
    dots = ax.scatter(plane[:, 0], plane[:, 1], c=labels[some], cmap="tab10", s=8)
    title = f"t = {t}: {same_class(features):.0%} beside their class"
    ax.set(xticks=[], yticks=[], title=f"{title}\n(by the pixels of $x_t$: {same_class(pixels):.0%})")
fig.legend(*dots.legend_elements(), ncols=10, loc="outside lower center", fontsize=10, handletextpad=0)
show.figure(fig, "Three t-SNE maps of the bottleneck, coloured by class. At t = 50 separate islands, about "
            "one a class, at t = 400 islands with frayed edges, at t = 700 one cloud in which only a few "
            "classes keep to a corner.")

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# *What to see.* At low noise the classes form islands. But the number in brackets is about as high there: the pixels themselves already lie sorted, and the network need not have done anything. With more noise the islands fray, because $x_t$ shows less and less which digit it was. (Guessing would be right in $10\,\%$ of the cases.)
# At $t=400$ and $t=700$ the middle of the network is ahead of the pixels. To remove noise from a 3 it helps to know that it is a 3, so the network sorts the digits although nobody gave it names for them.

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# ### The grey values on their way
#
# Back to the walk of section 10. Here are six of its 16 pictures, then the mean of all pixels at each level with a band of one standard deviation around it, then the histograms at eight moments. Does the walk back meet the grey values that noising left at each level? With the mean $m$ and the variance $s^2$ of the data, the forward process
# has the mean $\sqrt{\bar\alpha_t}\,m$ and the variance $\bar\alpha_t\,s^2+1-\bar\alpha_t$ at level $t$. These are the dashed lines.

# %% slideshow={"slide_type": "skip"} tags=["hide-input", "optional"]
show.filmstrip(path, count=6,
               alt="Six walks in eight columns from pure noise to a digit. Until t = 600 one sees noise, by "
                   "t = 400 a shape, by t = 200 the digit; the rest is cleaning.")

# %% slideshow={"slide_type": "skip"} tags=["hide-input", "optional"]
t = torch.tensor([state.t for state in path])
mean, std = (torch.stack([f(state.x) for state in path]) for f in (torch.mean, torch.std))
a = schedule.alpha_bar[t]
m, s = a.sqrt() * x.mean(), (a * x.var() + 1 - a).sqrt()
fig, ax = plt.subplots()
colour = show.COLOUR["model"]
ax.fill_between(t, mean - std, mean + std, color=colour, alpha=0.25, label="one standard deviation")
ax.plot(t, mean, color=colour, label="mean of all pixels")
for line, name in ((m, "by the forward process"), (m - s, None), (m + s, None)):
    ax.plot(t, line, color=show.COLOUR["exact"], linestyle="--", label=name)
ax.set(title="the walk meets the grey values of the forward process")
ax.set(xlabel="noise level $t$ (the walk runs to the right)", ylabel="grey value", xlim=(1000, 0))
ax.legend()
show.figure(fig, "Mean grey value of the walk from t = 1000 to clean, falling from 0 to -0.4, with a band of "
            "one standard deviation; both follow the dashed lines of the forward process, wobbling at first.")

# %% slideshow={"slide_type": "skip"} tags=["hide-input", "optional"]
fig, axes = plt.subplots(2, 4, figsize=(show.WIDTH, 4.4), sharex=True)
for ax, state in zip(axes.flat, show.at_levels(path, (1000, 800, 600, 400, 200, 100, 50, 0)), strict=True):
    ax.hist(state.x.flatten().numpy(), bins=30, range=(-3, 3), density=True, color=show.COLOUR["model"])
    ax.set(title=show.level(state.t), yticks=[])
show.figure(fig, "Eight histograms of grey values. At t = 1000 a bell; by t = 200 it leans to the left and a "
            "second hump grows on the right; clean: a tall bar at -1 and a small one at 1.")

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# *What to see.* At every level the walk has nearly the mean and the spread that the forward process left there. (With only 16 pictures it wobbles at the start.) The variances of the sampler's steps are made from the same schedule, so this should come out whenever the network's estimates are right too. It is a quick check of a sampler: a wrong variance shows here first. The bell turns into two peaks, black paper and
# white stroke, only in the last quarter of the levels.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - A residual block computes a correction; the level comes in as a bias a channel, and GroupNorm keeps pictures of different levels apart.
# - Attention is a softmax of scaled dot products over the *keys*, then a mixture of values. We put it where the picture is small.
# - In a U-Net the resolution falls and rises again. Skips carry the detail across and are concatenated.
# - $v$ asks at each end for what $x_t$ does not show, and turning it into $x_0$ never divides by a small number.
# - The loss says whether training goes on, but not whether the samples are good. For that we need distances beside their floors, class counts, and a look for copies.
# - Before you trust a test, try it on something bad: pixel statistics let blurry averages through.
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
# <details>
# <summary>Answers to compare with</summary>
#
# 1. 32 x 8 x 8 after `enter` and the first block, 32 x 4 x 4 after `shrink`, 64 x 4 x 4 after the second block; the middle keeps that. Joined with the skip it is 128 x 4 x 4, after the block 64 x 4 x 4, after `grow` 32 x 8 x 8; joined 64 x 8 x 8, after the block 32 x 8 x 8, after `leave` 1 x 8 x 8. Each block on the way up is joined with what the way down made at its resolution.
# 2. Scores $QK^\top/\sqrt d$, a softmax over the keys, which is the last dimension, then times $V$.
# 3. Multiply the equation of $x_t$ by $c$ and that of $v$ by $s$ and subtract: the noise drops out, and $c^2+s^2=1$ leaves $x_0$.
# 4. Early on the average is mostly the random first weights, and a share of 0.999 forgets them only after thousands of updates.
# 5. Copying: the distance to the nearest training picture, beside that of held-out digits. A missing class: the class shares (and the Frechet distance).
#
# </details>
#
# ### Further exercises
#
# **1.** (●○○○○, 10 min) Draw with `run.model` instead of `run.ema.model`. What does the average buy? And `ddim(50)` without noise ($\eta=0$)?
#
# <details>
# <summary>What to expect</summary>
#
# The weights themselves draw as well as their average here. The learning rate has fallen to almost nothing at the end, so they hardly jitter any more. Try it also in the middle of the training.
# Without noise the Frechet distance is better and the confident share is about the same: the table at the end of section 9 has both for two seeds.
#
# </details>
#
# **2.** (●●○○○, 20 min) Make the memorisation test fail: train on 20 digits only, and look at section 8 again.
#
# <details>
# <summary>What to expect</summary>
#
# The samples are copies: their histogram of distances to those 20 digits piles up near 0. After only 600 steps the median was 0.03, that of the held-out digits 0.52. Neither the loss nor the confident share warns you. The loss was *lower* than with all digits (0.13 instead of 0.29 after as many steps), and every sample was read with confidence.
#
# </details>
#
# **3.** (●●●○○, 30 min) Put a second attention at 8x8. Measure what it costs in milliseconds a step and what it brings.
#
# <details>
# <summary>What to expect</summary>
#
# 64 places instead of 16 make 16 times as many weights a head, and a step takes about a third longer (74 ms on one core instead of 56). With 600 steps and one seed the Frechet distance was 6.7 instead of 7.0, less than seeds differ: on 8x8 pixels even the attention at 4x4 brings no more (the table in Looking inside).
#
# </details>
#
# **4.** (●●●●○, 60 min) Replace the concatenation by a sum (what has to change in `way_up`?) and measure it as the box was measured: two seeds, the same steps.
#
# <details>
# <summary>What to expect</summary>
#
# The blocks on the way up take `wide[i]` channels instead of `2 * wide[i]`, so the network loses the weights that read the skip. In `forward` the join becomes `h + skips.pop()`. With 600 steps as in the table in Looking inside, two seeds had Frechet distances of 8.2 and 7.5 and about 80 of 100 samples read with confidence.
# That is close to "full" in the table and far from "no skips". So it matters most that there are skips, and less how they are joined.
#
# </details>
#
# ### References
#
# - Ho, Jain, Abbeel 2020, *Denoising diffusion probabilistic models*, [arXiv:2006.11239](https://arxiv.org/abs/2006.11239): appendix B (the U-Net, EMA).
# - Ronneberger, Fischer, Brox 2015, *U-Net*, [arXiv:1505.04597](https://arxiv.org/abs/1505.04597): figure 1 (down, up, skips concatenated).
# - Vaswani et al. 2017, *Attention is all you need*, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762): eq. 1 and section 3.2.1 (the scale).
# - Wu, He 2018, *Group normalization*, [arXiv:1803.08494](https://arxiv.org/abs/1803.08494).
# - Salimans, Ho 2022, *Progressive distillation for fast sampling of diffusion models*, [arXiv:2202.00512](https://arxiv.org/abs/2202.00512): section 4 and appendix D ($v$).
# - Nichol, Dhariwal 2021, *Improved denoising diffusion probabilistic models*, [arXiv:2102.09672](https://arxiv.org/abs/2102.09672): eq. 17 (cosine schedule).
# - Song, Meng, Ermon 2021, *Denoising diffusion implicit models*, [arXiv:2010.02502](https://arxiv.org/abs/2010.02502): eqs. 12, 16 ($\eta$).
# - Heusel et al. 2017, *GANs trained by a two time-scale update rule*, [arXiv:1706.08500](https://arxiv.org/abs/1706.08500): eq. 6 (Frechet distance).
#
# <!--slide 2 min
# ## What we learned, and what comes next
#
# - The level comes in as one bias a channel; attention and a lower resolution span the picture; skips carry the detail across.
# - $v$ asks for what $x_t$ does not show, and turning it into $x_0$ never divides.
# - Judge samples, not the loss: distances beside their floors, class shares, a look for copies.
# - Before you trust a test, try it on something bad.
#
# **Next**, notebook 04: handwritten digits of 28 x 28 pixels, and one more resolution.
#
# **Before you go:** which score would notice copying, and which one a missing class?
#
# **At home:** the self-check at the end of the notebook, and one of the further exercises.
#
# Notes:
# Say: the parts of today are those of the large image models; they differ in size and in what they are conditioned on.
# Ask: which score would notice copying, and which a missing class? (The distance to the nearest training picture, beside that of held-out digits; the class shares.)
# Homework: the self-check and one of the further exercises, for example training on 20 digits only, which makes the test for copies fail.
# -->

# %% slideshow={"slide_type": "skip"}
check.summary("03")

