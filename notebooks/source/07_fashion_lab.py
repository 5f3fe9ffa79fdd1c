# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] slideshow={"slide_type": "slide"}
# # 07 The Fashion-MNIST lab
#
# Alone, from empty stubs to pictures: you write a small diffusion model again, all of it, and it draws clothes.
# Nothing here is new. That is the point: if you can build it once more without looking, you know it.
#
# **What you will be able to do**
# - build a diffusion model in six functions, none longer than a dozen lines;
# - train it, and say from its loss and its samples how far it has come;
# - save an 8 x 8 grid of samples and a six-frame filmstrip of the denoising as PNG files;
# - replace your samplers by those of `diffusers` and get the same pictures;
# - compare GAN, VAE and diffusion soberly, for a team with few images.
#
# **What to know** Notebooks 01 to 04. Look things up there only after both hints.
#
# **Time** about 90 minutes for a person, about two minutes for two CPU cores.

# %% tags=["setup"] slideshow={"slide_type": "skip"}
import sys
from pathlib import Path

here = Path.cwd().resolve()
sys.path.insert(0, str(next(p for p in (here, *here.parents) if (p / "helpers").is_dir())))

import inspect
import math
import time

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from helpers import data, show
from helpers.checkpoints import load_images, load_model, load_results
from helpers.exercises import check
from helpers.modes import choose, out_dir

# %% [markdown] slideshow={"slide_type": "slide"}
# ## The plan
#
# | step | you write | minutes | you get |
# |---|---|---|---|
# | 1 | the schedule and `q_sample` | 10 | pictures at any noise level |
# | 2 | the time embedding | 10 | a fingerprint for each level |
# | 3 | the U-Net: down, up, skips | 20 | a network that sees the whole picture |
# | 4 | the training step | 15 | a falling loss |
# | 5 | ancestral sampling | 20 | the grid |
# | 6 | sampling at every k-th level | 15 | the grid, ten times sooner; the filmstrip |
#
# Each step has two hints, a check, an expected picture and, in the student edition, a folded solution. A step you leave
# open is filled by the reference, so you can also start with step 5.
#
# The lab follows an exercise that you find in several textbooks, and repairs it. There the chain has 300 levels but betas made for 1,000,
# so it stops short of noise (step 1); the time embedding stops with an error (step 2); the "U-Net" is three convolutions that see 7 of 28
# pixels (step 3); the fast sampler starts below the top (step 6).
#
# Two switches: `DATA` chooses the pictures, `WEIGHTS` whose weights draw them later.

# %% slideshow={"slide_type": "fragment"}
DATA = "fashion"  # or "mnist"
WEIGHTS = choose(read="shipped", smoke="shipped", full="mine")  # or "mine": those that you train in step 4
T = 300

read = {"fashion": data.fashion_mnist, "mnist": data.mnist}[DATA]
images, labels = read()
print(f"{len(images):,} images {tuple(images.shape[1:])}, {images.min():.0f} to {images.max():.0f}")
show.grid(images[:32], "32 small grey pictures from the training set in two rows: with fashion, shoes, "
          "shirts, trousers, bags on black", columns=16)

# %% [markdown] exercise_text="7.1" slideshow={"slide_type": "slide"}
# ## Step 1: the schedule
#
# $$\beta_t \text{ on a straight line from } 10^{-4} \text{ to } 0.02, \text{ times } \frac{1000}{T}, \qquad
# \bar\alpha_t = \prod_{s=0}^{t} (1-\beta_s), \qquad
# x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$$
#
# Why 300 levels? Sampling costs one evaluation of the network a level, and on two CPU cores 300 of them for 64 pictures take
# seconds. Why the factor? The line to 0.02 was made for 1,000 levels (Ho et al. 2020). Fewer levels must add more noise each, or the chain
# ends before everything is noise.
#
# **Exercise 7.1** Write `LabSchedule`: `betas` and `alpha_bar`, both (T,), and `q_sample` for pictures (B, 1, H, W), levels `t` (B,).
#
# Difficulty: ●●○○○ · 10 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# PyTorch has a function for numbers on a line and one for running products. In `q_sample` each picture of the batch has its own level: which
# shape must `alpha_bar[t]` take to multiply pictures?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `torch.linspace(1e-4, 0.02, T)`, `torch.cumprod(1 - self.betas, dim=0)`, `self.alpha_bar[t].reshape(-1, 1, 1, 1)`. Both weights in `q_sample` are
# square roots.
#
# </details>

# %% exercise="7.1" slideshow={"slide_type": "subslide"}
class LabSchedule:
    def __init__(self, T=300):
        self.T = T
        # TODO 7.1: self.betas and self.alpha_bar, both (T,)
        ### BEGIN SOLUTION
        self.betas = torch.linspace(1e-4, 0.02, T) * 1000 / T
        self.alpha_bar = torch.cumprod(1 - self.betas, dim=0)
        ### END SOLUTION

    def q_sample(self, x0, t, noise):
        # TODO 7.1: x_t for pictures (B, 1, H, W) at the levels t (B,)
        ### BEGIN SOLUTION
        a = self.alpha_bar[t].reshape(-1, 1, 1, 1)
        return a.sqrt() * x0 + (1 - a).sqrt() * noise
        ### END SOLUTION


LabSchedule = check("7.1", LabSchedule)

# %% expected="7.1" slideshow={"slide_type": "fragment"}
schedule = LabSchedule(T)
levels = torch.tensor([0, 30, 75, 120, 180, 240, 299])
x0 = images[:1].expand(len(levels), -1, -1, -1)
noise = torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0)).expand_as(x0)
noised = {"x_t": schedule.q_sample(x0, levels, noise)}

unscaled = torch.cumprod(1 - torch.linspace(1e-4, 0.02, T), dim=0)  # the mistake of many labs
for name, alpha_bar in (("yours", schedule.alpha_bar), ("betas not scaled", unscaled)):
    print(f"{name:16} share of the picture's amplitude left at the top: {alpha_bar[-1].sqrt():.3f}")
show.rows(noised, "One training picture at seven levels, from clean at t = 0 over grainy to pure noise "
          "at t = 299", labels=[f"t = {t}" for t in levels])

# %% [markdown] exercise_text="7.2" slideshow={"slide_type": "slide"}
# With the unscaled betas a fifth of the amplitude would be left at the "noise" end. The network would learn that there is always a
# trace of the picture to find, and in sampling it would find one in pure noise.
#
# ## Step 2: the time embedding
#
# The network must know the level. A number from 0 to 299 is a poor input for it; sines and cosines at many speeds are a good one:
#
# $$\omega_i = 10000^{-i/(d/2)}, \quad i = 0 \dots d/2-1, \qquad
# \mathrm{emb}(t) = (\sin \omega_0 t, \dots, \sin \omega_{d/2-1} t, \; \cos \omega_0 t, \dots, \cos \omega_{d/2-1} t)$$
#
# **Exercise 7.2** Write `timestep_embedding`: `t` (B,) whole numbers, `dim` even; returns (B, dim).
#
# Difficulty: ●●○○○ · 10 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# $10000^{-u} = e^{-u \ln 10000}$. Every level meets every frequency: that is a table of B rows and d/2 columns.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `i = torch.arange(dim // 2)`, frequencies `torch.exp(-math.log(10_000) * i / (dim // 2))`, angles `t.float()[:, None] * frequencies[None, :]`, then `torch.cat` of
# `.sin()` and `.cos()` along `dim=1`. (`math.log`, because 10,000 is a Python number and has no `.log()`.)
#
# </details>

# %% exercise="7.2" slideshow={"slide_type": "subslide"}
def timestep_embedding(t, dim):
    """t: (B,). Returns (B, dim): dim/2 sines, then dim/2 cosines."""
    # TODO 7.2: frequencies, angles, sines and cosines
    ### BEGIN SOLUTION
    i = torch.arange(dim // 2)
    frequencies = torch.exp(-math.log(10_000) * i / (dim // 2))
    angles = t.float()[:, None] * frequencies[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)
    ### END SOLUTION


timestep_embedding = check("7.2", timestep_embedding)

# %% expected="7.2" slideshow={"slide_type": "fragment"}
table = timestep_embedding(torch.arange(T), 64)
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.2))
picture = ax.pcolormesh(table.T, cmap="RdBu", vmin=-1, vmax=1, rasterized=True)
ax.set(xlabel="level t", ylabel="feature", title="sines above, cosines below", ylim=(64, 0))
fig.colorbar(picture)
show.figure(fig, "Heat map of the embedding, 300 levels across and 64 features down: in each half fast "
            "stripes on top that become slower and slower, the last ones nearly constant")

# %% [markdown] slideshow={"slide_type": "slide"}
# Read a column: it is the fingerprint of one level. The fast features tell neighbours apart, the slow ones tell the ends
# apart. With $T = 300$ the slowest hardly move; that does no harm.
#
# ## Step 3: the network
#
# A block: a convolution (with stride 2 it halves the picture), then norm, **plus the time**, SiLU, a second
# convolution, added to what came in. GroupNorm looks at one picture at a time, so pictures at different noise levels do not mix.

# %% slideshow={"slide_type": "fragment"}
class Block(nn.Module):
    def __init__(self, c_in, c_out, emb_dim, stride=1):
        super().__init__()
        self.enter = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1)
        self.norm, self.bias = nn.GroupNorm(8, c_out), nn.Linear(emb_dim, c_out)
        self.conv = nn.Conv2d(c_out, c_out, 3, padding=1)

    def forward(self, x, emb):
        h = self.enter(x)
        return h + self.conv(F.silu(self.norm(h) + self.bias(emb)[:, :, None, None]))

# %% [markdown] slideshow={"slide_type": "subslide"}
# The layers are given, the wiring is yours. `classes` is for the stretch task at the end: labels are embedded and added to the time.
#
# ```text
# x_t ─ down1 16x28x28 ─────── skip a ─────── up1 16x28x28 ─ leave ─ eps 1x28x28
#          └─ down2 32x14x14 ─ skip b ─ up2 32x14x14 ─┘
#                 └─ down3 64x7x7 ─ skip c ─ up3 64x7x7 ─┘
#                         └──── middle 64x7x7 ────┘
# ```

# %% slideshow={"slide_type": "fragment"}
class Layers(nn.Module):
    def __init__(self, a=16, b=32, c=64, emb_dim=64, classes=0):
        super().__init__()
        self.config = dict(a=a, b=b, c=c, emb_dim=emb_dim, classes=classes)
        self.prediction, self.emb_dim, self.classes = "eps", emb_dim, classes
        first, second = (nn.Linear(emb_dim, emb_dim) for _ in range(2))
        self.time = nn.Sequential(first, nn.SiLU(), second, nn.SiLU())
        self.label = nn.Embedding(classes + 1, emb_dim) if classes else None
        self.down1, self.down2 = Block(1, a, emb_dim), Block(a, b, emb_dim, stride=2)
        self.down3, self.middle = Block(b, c, emb_dim, stride=2), Block(c, c, emb_dim)
        self.up3, self.up2 = Block(2 * c, c, emb_dim), Block(c + b, b, emb_dim)
        self.up1 = Block(b + a, a, emb_dim)
        self.leave = nn.Sequential(nn.GroupNorm(8, a), nn.SiLU(), nn.Conv2d(a, 1, 3, padding=1))
        nn.init.zeros_(self.leave[-1].weight), nn.init.zeros_(self.leave[-1].bias)

# %% [markdown] exercise_text="7.3" slideshow={"slide_type": "slide"}
# **Exercise 7.3** Write the forward pass of `LabUNet`. Down: `down1`, `down2`, `down3`, and keep what each returns. Then `middle`. Up: join with skip c,
# `up3`, enlarge, join with skip b, `up2`, enlarge, join with skip a, `up1`, `leave`. "Join" is concatenation along the channels, what comes from
# below first. "Enlarge" copies each pixel four times. Every block gets `emb`.
#
# Difficulty: ●●●○○ · 20 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# The channels a block was built for tell you what it wants: `up3` takes 2c, `up2` takes c + b, `up1` takes b + a. Draw the arrows into the diagram
# before you type.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `a = self.down1(x, emb)`, `b = self.down2(a, emb)`, `c = self.down3(b, emb)`; then `h = self.up3(torch.cat([self.middle(c, emb), c], dim=1), emb)`; enlarge with
# `F.interpolate(h, scale_factor=2.0)`; twice more the same pattern.
#
# </details>

# %% exercise="7.3" slideshow={"slide_type": "subslide"}
class LabUNet(Layers):
    def embed(self, t, y=None):
        emb = self.time(timestep_embedding(t, self.emb_dim))
        return emb if y is None else emb + self.label(y)

    def forward(self, x, t, y=None):
        emb = self.embed(t, y)
        # TODO 7.3: down, middle, up with skips, leave
        ### BEGIN SOLUTION
        a = self.down1(x, emb)
        b = self.down2(a, emb)
        c = self.down3(b, emb)
        h = self.up3(torch.cat([self.middle(c, emb), c], dim=1), emb)
        h = self.up2(torch.cat([F.interpolate(h, scale_factor=2.0), b], dim=1), emb)
        h = self.up1(torch.cat([F.interpolate(h, scale_factor=2.0), a], dim=1), emb)
        return self.leave(h)
        ### END SOLUTION


LabUNet = check("7.3", LabUNet)

# %% expected="7.3" slideshow={"slide_type": "fragment"}
torch.manual_seed(0)
probe, flat = LabUNet(), nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1) for _ in range(3)])
nn.init.normal_(probe.leave[-1].weight)  # it starts at zero
for part in probe.modules():
    if hasattr(part, "norm"):
        part.norm = nn.Identity()
probe.leave[0] = nn.Identity()
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.4))
for ax, name in zip(axes, ("three convolutions", "your U-Net"), strict=True):
    x = torch.randn(1, 1, 28, 28, requires_grad=True)
    (flat(x) if "three" in name else probe(x, torch.tensor([100])))[0, 0, 14, 14].backward()
    ax.imshow(x.grad[0, 0].abs().log10().clamp(-8, 0), cmap="viridis")
    ax.set(title=f"{name}: sees {(x.grad != 0).float().mean():.0%}", xticks=[], yticks=[])
show.figure(fig, "Which of 28 x 28 input pixels one output pixel depends on: a square of 7 x 7 for three "
            "convolutions, nearly the whole picture for the U-Net")

# %% [markdown] slideshow={"slide_type": "slide"}
# Bright pixels are those that the pixel in the middle depends on. (The norms are taken out for this look: they pass a brightness from
# everywhere to everywhere, but no shapes.) Three convolutions, which pass for a U-Net in the lab we started from, see 7 of 28 pixels across: no
# way to relate a sleeve to a hem. Three resolutions see nearly everything, and cost little: the 7 x 7 layers hold most of the parameters and do the least work.
#
# ## Step 4: training
#
# The loop is given; its heart, `train_step`, is yours. Around it: AdamW with a rate that warms up and later falls, a moving average of the weights
# (notebook 03), and bfloat16 where this processor is faster with it.

# %% slideshow={"slide_type": "fragment"}
from helpers.training import EMA, bf16_is_faster, learning_rate


def fit(model, ema, steps, bf16, lr=1e-3):
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    g = torch.Generator().manual_seed(0)
    for i in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate(i, steps, lr)
        x0 = images[torch.randint(len(images), (64,), generator=g)]
        t, noise = torch.randint(T, (64,), generator=g), torch.randn(x0.shape, generator=g)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = train_step(model, optimizer, schedule, x0, t, noise)
        ema.update(model)
        yield loss


# %% [markdown] exercise_text="7.4" slideshow={"slide_type": "slide"}
# One step: noise a batch, ask the network for the noise, compare, move the weights.
# $$\mathcal L = \operatorname{mean}\big(\epsilon_\theta(x_t, t) - \epsilon\big)^2$$
# The network predicts **all** the noise between $x_0$ and $x_t$, not that of one step.
#
# **Exercise 7.4** Write `train_step`. Clip the gradient to norm 1 before the update. Return the loss as a number.
#
# Difficulty: ●●○○○ · 15 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Gradients add up from step to step unless somebody clears them. Clipping sits between two other calls.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `x_t = schedule.q_sample(x0, t, noise)`, `loss = F.mse_loss(model(x_t, t), noise)`, then `optimizer.zero_grad()`, `loss.backward()`,
# `nn.utils.clip_grad_norm_(model.parameters(), 1.0)`, `optimizer.step()`, `return loss.item()`.
#
# </details>

# %% exercise="7.4" slideshow={"slide_type": "subslide"}
def train_step(model, optimizer, schedule, x0, t, noise):
    """One update of the model. x0, noise: (B, 1, H, W); t: (B,). Returns the loss, a number."""
    # TODO 7.4: noise, predict, compare, clear, back, clip, step
    ### BEGIN SOLUTION
    x_t = schedule.q_sample(x0, t, noise)
    loss = F.mse_loss(model(x_t, t), noise)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()
    ### END SOLUTION


train_step = check("7.4", train_step)

# %% expected="7.4" slideshow={"slide_type": "subslide"}
torch.manual_seed(0)
mine, steps = LabUNet(), choose(read=700, smoke=6, full=3_000)
ema, start = EMA(mine), time.perf_counter()
bf16 = bf16_is_faster(mine, images[:64], torch.zeros(64, dtype=torch.long))
losses = list(show.progress(fit(mine, ema, steps, bf16), steps, "training"))
minutes, saved = (time.perf_counter() - start) / 60, load_results("fashion")
every_50 = torch.tensor(saved[DATA]["loss"]).mean(0)  # the long training: mean of its seeds and of 50 steps
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.2))
ax.plot(show.smooth(losses), color=show.COLOURS[1], linewidth=3, label="yours, mean of the last 50 steps")
ax.plot(range(50, 50 * len(every_50) + 1, 50), every_50, color=show.COLOURS[0], label="the long training")
ax.set(xlabel="training step", ylabel="loss", xscale="log", yscale="log")
ax.legend()
show.figure(fig, "Loss over the step, both logarithmic: yours falls steeply, along that of the long training")
print(f"{steps} steps in {minutes:.1f} min, loss {losses[0]:.2f}, then {sum(losses[-50:]) / 50:.3f}")

# %% [markdown] exercise_text="7.5" slideshow={"slide_type": "slide"}
# The loss starts at 1, because the last layer starts at zero and the noise has variance 1. Then it falls fast, and soon very slowly.
# This was a taste of about a minute. For clothes let it run for five: set `steps` to what your machine does in that time.
#
# Carry on with the shipped weights or with yours: that is the switch `WEIGHTS` at the top. The shipped ones are this very network, trained by
# `make train` with this recipe for longer.
#
# ## Step 5: ancestral sampling
#
# From the top down to $t = 0$: estimate $x_0$, keep it in $[-1, 1]$, draw from the posterior (Ho et al. 2020, eqs. 6, 7, 15):
# $$\hat x_0 = \mathrm{clamp}\!\left(\frac{x_t - \sqrt{1-\bar\alpha_t}\,\epsilon_\theta}{\sqrt{\bar\alpha_t}}\right), \qquad
# \mu = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t\,\hat x_0 + \sqrt{1-\beta_t}\,(1-\bar\alpha_{t-1})\,x_t}{1-\bar\alpha_t}, \qquad
# \sigma^2 = \beta_t\,\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}$$
# with $\bar\alpha_{-1} = 1$. At $t = 0$ nothing is added.
#
# **Exercise 7.5** Write `ancestral`, a generator: after each step `yield (level, x)`, where the level is that of the new `x`; the last is $-1$, clean.
# `draw(x)` gives fresh noise like `x`.
#
# Difficulty: ●●●●○ · 20 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Which $\bar\alpha$ comes before level 0? Python's `alpha_bar[-1]` is *not* it. The network wants the level as a tensor (B,).
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `for t in reversed(range(schedule.T))`; `a_prev = schedule.alpha_bar[t - 1] if t > 0 else torch.ones(())`;
# `eps = model(x, torch.full((len(x),), t)).float()`. Then the three formulas, one line each, with `.clamp(-1, 1)` in the first;
# `x = mean + sigma * draw(x) if t > 0 else mean`; `yield t - 1, x`.
#
# </details>

# %% exercise="7.5" slideshow={"slide_type": "subslide"}
def ancestral(model, schedule, x, draw):
    """x: pure noise (B, 1, H, W). Yields (level, x) after every step, down to level -1."""
    # TODO 7.5: estimate x_0, mean and sigma of the posterior, step
    ### BEGIN SOLUTION
    for t in reversed(range(schedule.T)):
        a, beta = schedule.alpha_bar[t], schedule.betas[t]
        a_prev = schedule.alpha_bar[t - 1] if t > 0 else torch.ones(())
        eps = model(x, torch.full((len(x),), t)).float()
        x0 = ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
        mean = (a_prev.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - a_prev) * x) / (1 - a)
        sigma = (beta * (1 - a_prev) / (1 - a)).sqrt()
        x = mean + sigma * draw(x) if t > 0 else mean
        yield t - 1, x
    ### END SOLUTION


ancestral = check("7.5", ancestral)

# %% expected="7.5" slideshow={"slide_type": "subslide"}
model = ema.model if WEIGHTS == "mine" else load_model(f"{DATA}_lab", LabUNet)
model.requires_grad_(False)
grid_file, g = out_dir() / f"{DATA}_grid.png", torch.Generator().manual_seed(0)
x_T = torch.randn(choose(64, 10), 1, 28, 28, generator=g)
film, start = {T - 1: x_T}, time.perf_counter()  # six states, for the filmstrip
with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
    walk = ancestral(model, schedule, x_T, lambda x: torch.randn(x.shape, generator=g))
    for level, x in show.progress(walk, T, "ancestral"):
        if level in (199, 99, 49, 19, -1):
            film[level] = x
seconds = time.perf_counter() - start
show.grid(film[-1], "64 samples in an 8 by 8 grid. With the shipped weights: shirts, trousers, bags, shoes",
          columns=8, save=grid_file, width=5.2)
print(f"{len(x_T)} images, {T} steps, {WEIGHTS} weights: {seconds:.1f} s")

# %% [markdown] exercise_text="7.6" slideshow={"slide_type": "slide"}
# ## Step 6: every k-th level
#
# No fresh noise, and strides of k. Start at the top, $T-1$, then $T-1-k$, and so on; after the last of them the picture is clean. With the
# clamped $\hat x_0$ of step 5, compute the noise that belongs to it, and put both together again at the next level $t'$ (Song et al. 2021, eq. 12 with $\eta = 0$):
# $$\hat\epsilon = \frac{x_t - \sqrt{\bar\alpha_t}\,\hat x_0}{\sqrt{1-\bar\alpha_t}}, \qquad
# x_{t'} = \sqrt{\bar\alpha_{t'}}\,\hat x_0 + \sqrt{1-\bar\alpha_{t'}}\,\hat\epsilon$$
#
# **Exercise 7.6** Write `every_kth`, a generator like `ancestral`, without `draw`.
#
# Difficulty: ●●●○○ · 15 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# First make the list of levels. The step goes from one entry to the next; the last goes to $-1$, where $\bar\alpha$ is 1 (again: not `alpha_bar[-1]`).
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `levels = list(range(schedule.T - 1, -1, -k))` and `zip(levels, [*levels[1:], -1])`. The first three lines of the loop are those of
# `ancestral`, with the level `t_next` for `t - 1`.
#
# </details>

# %% exercise="7.6" slideshow={"slide_type": "subslide"}
def every_kth(model, schedule, x, k):
    """x: pure noise (B, 1, H, W). Yields (level, x) after every step, down to level -1."""
    # TODO 7.6: the levels, then a step from each to the next
    ### BEGIN SOLUTION
    levels = list(range(schedule.T - 1, -1, -k))
    for t, t_next in zip(levels, [*levels[1:], -1], strict=True):
        a = schedule.alpha_bar[t]
        a_next = schedule.alpha_bar[t_next] if t_next >= 0 else torch.ones(())
        eps = model(x, torch.full((len(x),), t)).float()
        x0 = ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
        eps = (x - a.sqrt() * x0) / (1 - a).sqrt()
        x = a_next.sqrt() * x0 + (1 - a_next).sqrt() * eps
        yield t_next, x
    ### END SOLUTION


every_kth = check("7.6", every_kth)

# %% expected="7.6" slideshow={"slide_type": "fragment"}
start = time.perf_counter()
*_, (level, few) = every_kth(model, schedule, x_T, 10)
seconds_few = time.perf_counter() - start
print(f"{len(x_T)} images: {seconds_few:.1f} s in 30 evaluations, {seconds:.1f} s in {T}")
show.rows({"ancestral": film[-1][:10], "every 10th": few[:10]}, "Ten pictures from the same noises, above "
          "by 300 ancestral steps, below by every tenth level: clothes in both rows, partly of another kind")

# %% [markdown] slideshow={"slide_type": "subslide"}
# Fresh noise sends the ancestral walk elsewhere, so the rows need not show the same garments. Now two ways to get the fast walk wrong, and your own weights. *Starts
# at 290* counts 0, 10, 20, ... from below, as the textbook lab does. *One-level steps* visits every tenth level with the ancestral step of step 5, as if the levels between did not exist.

# %% slideshow={"slide_type": "fragment"}
import copy

from helpers import sampling
from helpers.schedule import linear

low = copy.copy(schedule)
low.T = 291  # its levels are 290, 280, .., 0
*_, (level, from_290) = every_kth(model, low, x_T[:10], 10)
naive = sampling.reverse(model, linear(T), sampling.ancestral(every=10), x_T=x_T[:10], clip_x0=1.0)
*_, (level, own) = every_kth(ema.model, schedule, x_T[:10], 10)
strips = {"every 10th": few[:10], "starts at 290": from_290}
strips |= {"one-level steps": sampling.last(naive), "your weights": own}
show.rows(strips, "Four rows of ten: by every tenth level, the same started at 290, one-level steps at every "
          "tenth level, which end in noise, and your own weights, shapes on their way to clothes")
print(f"start at 290: pixels differ by {(from_290 - few[:10]).abs().mean():.3f} on average")

# %% slideshow={"slide_type": "subslide"}
strip_file = out_dir() / f"{DATA}_filmstrip.png"
frames = {f"sample {i + 1}": torch.stack([x[i] for x in film.values()]) for i in range(3)}
show.rows(frames, "Three filmstrips of six frames, from pure noise at t = 299 to the finished picture: the "
          "outline comes first, details last", labels=[show.level(t) for t in film],
          save=strip_file)
for file in (grid_file, strip_file):
    print(f"saved {file.name}, {file.stat().st_size / 1000:.0f} kB")

# %% [markdown] slideshow={"slide_type": "slide"}
# That was the lab: two PNG files, and every line between the data and them is yours. The six levels of the strip are not evenly spaced: while $t$ is high there is little to see, so
# it looks more closely at the end.
#
# **Question.** The walk of step 6 started at 290 hardly looks worse. Why start at the top all the same?
#
# <details><summary>Answer</summary>
#
# At $t = 290$ only about one per cent of the amplitude is left, so the error is small *here*, because the betas were scaled. It grows with the stride, and with a
# schedule that stops short, as that of the textbook lab. A start at the top costs nothing and is right for every k.
#
# </details>
#
# ## What to expect, minute by minute
#
# `make train` ran this recipe for longer, with several seeds on each data set, and scored the averaged weights on the way: samples by every 10th level against the
# 10,000 test images, Frechet distance on the features of a small classifier of that data set; the last line of the table is scored with ancestral samples. The minutes are
# not those of that training: they are the step number times the time of a step that `lab_seconds` measured by itself. The first line of the output says with how many threads, samples and seeds.

# %% slideshow={"slide_type": "fragment"}
clock, floor = load_results("lab_seconds"), saved["floors"][DATA]
fastest, end = clock[clock["faster"]], saved[DATA]["final"]
cpu, gpu = fastest["step"], saved.get("speed")  # the second: where a GPU was measured too
print(f"{clock['threads']} CPU threads, {1000 * cpu:.0f} ms a step ({clock['faster']}); "
      f"{saved['scoring']['samples']} samples, seeds {saved['seeds']}")
print(f"{gpu['device']}: {1000 * gpu['seconds_a_step']:.1f} ms" if gpu else "GPU: not measured")
print("\n steps  minutes    loss      distance  times the floor")
for row in saved[DATA]["snapshots"]:
    step, found = row["step"], row["distance"]
    print(f"{step:>6,} {step * cpu / 60:8.1f} {every_50[max(0, step // 50 - 4) : step // 50].mean():7.4f} "
          f"{found['mean']:7.1f} ± {found['std']:.1f} {row['ratio']['mean']:9.1f}")
print(f"ancestral, at the end: {end['distance']['mean']:.1f} ± {end['distance']['std']:.1f}")
print(f"real test images: {floor['mean']:.2f} ± {floor['std']:.2f}")
print(f"64 images: {fastest['ancestral_64']:.1f} s ancestral, {fastest['every_64']:.1f} s every 10th level")

# %% slideshow={"slide_type": "subslide"}
pictures, stages = load_images("fashion"), {}
for row in saved[DATA]["snapshots"]:
    stages[f"{row['step'] * cpu / 60:.1f} min"] = pictures[f"{DATA}_{row['step']}"][:11]
show.rows(stages, "Eleven samples after each snapshot of the training: blurred shapes on top, further down "
          "outlines, then clothes with more and more detail",
          title="By every 10th level, by minutes of training")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Which is harder, digits or clothes?
#
# The same network, the same recipe, two data sets. The losses share a unit, so they can be compared. The distances do not: each is measured with the classifier of
# its own data set. What can be compared is how many times their own floor they reach: the distance of 1,000 real images from the other real ones.

# %% slideshow={"slide_type": "fragment"}
ends = {"loss": {}, "distance, in floors": {}}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.6))
for name, colour in zip(("fashion", "mnist"), show.COLOURS, strict=False):
    rows, curve = saved[name]["snapshots"], torch.tensor(saved[name]["loss"]).mean(0)
    steps_of, ratio = [row["step"] for row in rows], [row["ratio"] for row in rows]
    at = range(50, 50 * len(curve) + 1, 50)
    axes[0].plot(at, show.smooth(curve.numpy(), 10), color=colour, label=name)
    mean, std = [r["mean"] for r in ratio], [r["std"] for r in ratio]
    axes[1].errorbar(steps_of, mean, std, color=colour, marker="o")
    ends["loss"][name], ends["distance, in floors"][name] = curve[-10:].mean().item(), ratio[-1]["mean"]
axes[0].legend()
for ax, (title, end) in zip(axes, ends.items(), strict=True):
    ax.set(xlabel="training step", xscale="log", yscale="log", title=title)
    print(f"{title}: fashion {end['fashion']:.3g}, mnist {end['mnist']:.3g}; higher: {max(end, key=end.get)}")
show.figure(fig, "Loss and distance in floors over the training step, a curve for each of the two data sets")

# %% [markdown] slideshow={"slide_type": "slide"}
# Ask what each number sees. The loss is the noise that could not be told from the picture: it is higher where a picture has fine grey texture, which looks like noise.
# It says nothing about whether the whole makes sense. The distance looks at whole pictures, with the eyes of a classifier. So "harder" has two answers, one printed for each panel;
# where they name different data sets, that is no contradiction. A gap within the error bars is no gap.
#
# ## The library shortcut
#
# You know now what a scheduler does, so you may let `diffusers` do it. The same weights and the same noise go through `DDPMScheduler` and `DDIMScheduler`. The pictures agree only
# if the configuration says the same as your code:
#
# | setting | your code | default there |
# |---|---|---|
# | `trained_betas` | the line to 0.02, times 1000/T | the same line for any T: stops short at 300 |
# | `variance_type` (DDPM) | `"fixed_small"`: the posterior's | the same |
# | `clip_sample`, `clip_sample_range` | `True`, 1.0: your clamp | the same |
# | `timestep_spacing` (DDIM) | `"trailing"`: starts at the top | `"leading"` |
# | `use_clipped_model_output` (DDIM) | `True`: eps follows the clamp | `False` |
#
# The textbook lab draws with variance $\beta_t$ (`"fixed_large"`) and never clamps, and then asks you to confirm that the samples match those of the defaults. They cannot.

# %% slideshow={"slide_type": "fragment"}
from helpers.torchvision_compat import import_torchvision

try:
    import_torchvision()  # diffusers looks for it
    from diffusers import DDIMScheduler, DDPMScheduler
except ImportError:
    DDIMScheduler = DDPMScheduler = None
    print("diffusers is not installed: pip install -r requirements.txt. The lab does not need it.")


def library(model, scheduler, x, **options):
    for t in scheduler.timesteps:
        eps = model(x, t.expand(len(x)))
        x = scheduler.step(eps, t, x, **options).prev_sample
    return x


# %% slideshow={"slide_type": "fragment"}
n, ddpm, ddim = choose(8, 2), {}, {}
betas = dict(trained_betas=schedule.betas.tolist())
configurations = {"library's betas": {}}
for variance in ("fixed_large", "fixed_small"):
    for name, clip in (("free", False), ("clipped", True)):
        options = dict(variance_type=variance, clip_sample=clip, clip_sample_range=1.0, **betas)
        configurations = {f"{variance}, {name}": options, **configurations}
if DDPMScheduler is not None:
    g = torch.Generator().manual_seed(1)
    *_, (level, yours) = ancestral(model, schedule, x_T[:n], lambda x: torch.randn(x.shape, generator=g))
    ddpm["your ancestral"] = yours
    for name, options in configurations.items():
        g = torch.Generator().manual_seed(1)  # the same fresh noise for all
        ddpm[name] = library(model, DDPMScheduler(T, **options), x_T[:n], generator=g)

# %% slideshow={"slide_type": "subslide"}
if ddpm:
    show.rows(ddpm, "Eight pictures by your walk, by the library with fixed_small and clipping (the same), "
              "and by four other configurations: other pictures")
    for name in configurations:
        gap = (ddpm[name] - ddpm["your ancestral"]).abs()
        print(f"DDPM {name:22} largest difference of a pixel {gap.max():.1g}, mean {gap.mean():.1g}")
    right = dict(clip_sample=True, clip_sample_range=1.0, timestep_spacing="trailing", **betas)
    leading, free = dict(timestep_spacing="leading"), dict(clip_sample=False)
    changes = {"trailing, clipped": {}, "leading": leading, "free": free}
    for name in (*changes, "eps left behind"):
        scheduler, follow = DDIMScheduler(T, **{**right, **changes.get(name, {})}), name != "eps left behind"
        scheduler.set_timesteps(T // 10)
        gap = (library(model, scheduler, x_T[:n], use_clipped_model_output=follow) - few[:n]).abs()
        print(f"DDIM {name:22} largest difference of a pixel {gap.max():.1g}, mean {gap.mean():.1g}")

# %% [markdown] slideshow={"slide_type": "subslide"}
# One grey level is 0.008. With the first configuration of each scheduler the pictures are the same up to rounding; every other one draws other pictures from the same
# noise, some of them good ones. So when two programs disagree, compare configurations before you look for a bug.
#
# How much code did the library take off your hands? The cell counts the lines of your solution (no comments, no docstrings) and those of `library` above with the
# two lines that make a scheduler.

# %% slideshow={"slide_type": "fragment"}
def lines(thing):
    rows = [row.strip() for row in inspect.getsource(thing).splitlines()]
    return sum(bool(row) and not row.startswith(("#", '"""')) for row in rows)


solutions = (LabSchedule.__init__, LabSchedule.q_sample, ancestral, every_kth)
written = {solution.__qualname__: lines(solution) for solution in solutions}
kept = lines(library) + 2 * 2  # per scheduler: one line that makes it, one that sets its steps or its noise
print(", ".join(f"{name} {count}" for name, count in written.items()), f"lines: {sum(written.values())}")
print(f"with the library: {kept}; removed: {sum(written.values()) - kept}")

# %% [markdown] slideshow={"slide_type": "slide"}
# The library takes the schedule and the samplers. It leaves you the network, the training and the judging, and the duty to know what its settings say.
#
# ## GAN, VAE, diffusion
#
# | | GAN | VAE | diffusion |
# |---|---|---|---|
# | trained by | a game: generator against discriminator [1] | one loss, a bound on the likelihood [2] | one loss, a weighted bound on the likelihood [3] |
# | training | may oscillate or fail; balance needs care [4] | steady | steady; long |
# | does the loss tell how far it is? | no | partly | partly: it flattens while samples still improve (above) |
# | forgets kinds of images | often ("mode collapse") [4, 5] | rarely; blurs them together | rarely: each training image is asked for at every level |
# | sharpness | high | low with a plain decoder | high |
# | cost of a sample | one evaluation | one evaluation | tens to hundreds; few with distillation |
# | copies training images | can, with few images [6] | seldom reported | can, with few images or duplicates [7, 8] |
# | few images | needs augmentation or the discriminator overfits [6] | blurry | needs augmentation; overfits later, and then copies [8] |
# | editing, inpainting, conditions | needs extra work | smooth latent space | natural: steer the walk, labels as here |
#
# Xiao et al. [5] call it a trilemma: quality, coverage, speed; each family gives up one. The table says what is typical. Each entry has exceptions, and large
# well-tuned GANs were long the sharpest of all; Dhariwal & Nichol [9] is where diffusion overtook them on ImageNet.
#
# ### A team with a few hundred images of defects
#
# Scratches and dents are rare; a detector needs more of them. Why might the team take diffusion rather than a GAN?
#
# - **The training is dull.** One regression loss, no opponent. A small team can start it and trust that it ends.
# - **Rare kinds survive.** A GAN may drop the defect that it sees five times, and nobody is told. The diffusion loss asks for every image again and again.
# - **Conditions are cheap.** The kind of defect, its place, a clean picture of the part: as inputs, or by noising a real picture half way and denoising it. Work on
#   anomaly generation does just that, from pretrained models and a handful of defect images [10].
#
# And what speaks against it?
#
# - **It will copy.** A few hundred images fit into any network. Trained long enough, it gives them back [7, 8]; two networks trained on different few images draw
#   different pictures, and only with many images do they agree [8]. Look at the nearest training images (notebook 04), stop early, augment (flips, shifts), start from pretrained weights.
# - **It is slow**, though for a data set that is drawn once over night this hardly matters.
# - **It cannot invent a defect that nobody photographed.** Judge it by one number: does the detector, tested on *real* images held out, get better? If plain augmentation does as well,
#   take that.
#
# **Question.** "The loss went down to zero on our 200 images, so the model is excellent." What is the reply?
#
# <details><summary>Answer</summary>
#
# The loss of noise prediction cannot reach zero for unseen images: how much noise is in a picture is never certain. If it goes far below what held-out images get, the network knows
# its images by heart. Measure the loss on held-out images at the same levels, and search the nearest neighbours.
#
# </details>

# %% [markdown] tags=["optional"] slideshow={"slide_type": "slide"}
# ## Stretch
#
# Optional. Two changes to the lab, each at the budget of the long training and with its seeds, and what they brought.
#
# **Cosine schedule.** In `LabSchedule`, compute $\bar\alpha_t$ from $f(t) = \cos^2\!\big(\tfrac{t/T + 0.008}{1.008}\cdot\tfrac{\pi}{2}\big)$ and the betas from their ratios, at most 0.999 (Nichol & Dhariwal 2021).
# Nothing else changes. Its loss cannot be compared with that of the linear schedule: it asks at other noise levels. The distance can.
#
# **Class conditioning.** `LabUNet(classes=10)`, and `model(x_t, t, y)` in the training step and in the samplers. The judge says of every sample whether it is what was asked for.

# %% tags=["optional"] slideshow={"slide_type": "fragment"}
def pm(found, form=".2f"):
    return f"{found['mean']:{form}} ± {found['std']:{form}}"


about = f"{saved['recipe']['steps']} steps, seeds {saved['seeds']}"
print(f"{about:30} {'distance':>15} {'in 30 evaluations':>19} {'confident':>10}")
kinds = {"fashion": "linear schedule", "cosine": "cosine schedule", "classes": "linear, with labels"}
for name, words in kinds.items():
    end, short, sure = saved[name]["final"], saved[name]["few"], saved[name]["final"]["confident"]["mean"]
    print(f"{words:30} {pm(end['distance']):>15} {pm(short['distance']):>19} {sure:>10.0%}")
floor = saved["floors"]["fashion"]
print(f"{'real test images':30} {pm(floor):>15} {'':>19} {floor['confident']:>10.0%}")
asked = saved["classes"]["final"]
print(f"\nwith labels, judged as the class asked for: {pm(asked['as_asked'], '.1%')} of samples, "
      f"{floor['accuracy']:.1%} of real test images")
for i, name in enumerate(data.FASHION_NAMES):
    print(f"  {name:11} {asked['as_asked_by_class'][i]:6.1%}   real: {floor['accuracy_by_class'][i]:.1%}")

# %% tags=["optional"] slideshow={"slide_type": "subslide"}
by_class = {f"sample {i + 1}": pictures["classes_final"][10 * i : 10 * i + 10] for i in range(4)}
show.rows(by_class, "Four rows of ten samples, one column a class asked for, from T-shirt to ankle boot, "
          "nearly all recognisable as such", labels=data.FASHION_NAMES)

# %% [markdown] tags=["optional"] slideshow={"slide_type": "subslide"}
# A difference smaller than the two "±" together is none. For the labels, read the last two columns side by side: a class that the judge misreads on real images it cannot
# confirm on samples either. On this data set that is above all the shirt, which even people confuse with T-shirt, pullover and coat.
#
# Notebook 06 goes on from here: labels that are dropped now and then allow guidance.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - Six functions make a diffusion model: schedule, embedding, network, training step, and two samplers.
# - Fewer levels need larger betas, a network needs to see the whole picture, and a sampler starts at the top.
# - The loss flattens early; the samples and their distance go on improving.
# - Two correct programs draw the same pictures only with the same betas, variance, clamp and spacing.
# - Diffusion trades sampling time for a steady training; with few images it copies like the others.
#
# ## Self-check
#
# - [ ] I wrote all six functions, or know which one I could not write.
# - [ ] I can say what goes wrong with `alpha_bar[-1]`, and where.
# - [ ] I can count how many pixels a stack of convolutions sees.
# - [ ] I can name the four settings that decide whether `diffusers` draws my pictures.
# - [ ] I can say why the distances of two data sets cannot be compared, and what can.
# - [ ] I can give one reason for and one against diffusion with 300 images.
#
# ## Exercises to go on with
#
# | exercise | difficulty | time |
# |---|---|---|
# | Train for five minutes, set `WEIGHTS = "mine"`, and compare your grid with the table of minutes. | ●○○○○ | 15 min |
# | `DATA = "mnist"`: which step needs a change? | ●○○○○ | 15 min |
# | Cosine schedule in `LabSchedule`; do exercise 7.5 and 7.6 still work unchanged? | ●●○○○ | 20 min |
# | Labels: change `train_step` and draw ten of each class. | ●●●○○ | 40 min |
# | Train on 200 images of bags only, with and without flips. When do samples become copies? | ●●●●○ | 90 min |
# | Take the skips out one at a time. Which one do the samples miss most? | ●●●○○ | 60 min |
#
# ## References
#
# - [1] Goodfellow et al. 2014, *Generative Adversarial Networks*, arXiv:1406.2661.
# - [2] Kingma & Welling 2013, *Auto-Encoding Variational Bayes*, arXiv:1312.6114.
# - [3] Ho, Jain & Abbeel 2020, *Denoising Diffusion Probabilistic Models*, arXiv:2006.11239: eqs. 6, 7, 12, 14, 15.
# - [4] Salimans et al. 2016, *Improved Techniques for Training GANs*, arXiv:1606.03498.
# - [5] Xiao, Kreis & Vahdat 2022, *Tackling the Generative Learning Trilemma with Denoising Diffusion GANs*, arXiv:2112.07804.
# - [6] Karras et al. 2020, *Training Generative Adversarial Networks with Limited Data*, arXiv:2006.06676.
# - [7] Carlini et al. 2023, *Extracting Training Data from Diffusion Models*, arXiv:2301.13188.
# - [8] Kadkhodaie et al. 2024, *Generalization in Diffusion Models Arises from Geometry-Adaptive Harmonic Representations*, arXiv:2310.02557.
# - [9] Dhariwal & Nichol 2021, *Diffusion Models Beat GANs on Image Synthesis*, arXiv:2105.05233.
# - [10] Hu et al. 2024, *AnomalyDiffusion: Few-Shot Anomaly Image Generation with Diffusion Model*, arXiv:2312.05767.
# - Nichol & Dhariwal 2021, *Improved DDPM*, arXiv:2102.09672: eq. 17. Song, Meng & Ermon 2021, *DDIM*, arXiv:2010.02502: eq. 12.
# - Xiao, Rasul & Vollgraf 2017, *Fashion-MNIST*, arXiv:1708.07747. Ronneberger et al. 2015, *U-Net*, arXiv:1505.04597.

# %% slideshow={"slide_type": "skip"}
check.summary("07")
