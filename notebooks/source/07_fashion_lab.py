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
# - build a diffusion model in five functions, none longer than a dozen lines;
# - train it, and say from its loss and its samples how far it has come;
# - sample with 300 evaluations and with 30, and see what the shortcut costs;
# - save an 8 x 8 grid of samples and a six-frame filmstrip of the denoising as PNG files;
# - replace your samplers by those of `diffusers` and get the same pictures;
# - compare GAN, VAE and diffusion soberly, for a team with few images.
#
# **What to know** Notebooks 01 to 04. Look things up there only after both hints.
#
# **Time** about 90 minutes for the six steps of the lab, half an hour to read what comes after them; about two minutes for two CPU cores.
#
# <!--slide 2 min
# # 07 The Fashion-MNIST lab
#
# Alone, from empty stubs to pictures: build the whole model once more, and it draws clothes.
#
# Six functions, 90 minutes, two CPU cores.
#
# Notes:
# Say: nothing is new today. If you can build it once more without looking, you know it. The slides frame the six steps; most of the time is yours, at the keyboard. Look into notebooks 01 to 04 only after both hints.
# Ask: which parts does a diffusion model need, at least? (A schedule, a network, a training step, a sampler. Today also a second, faster sampler and a function that saves pictures.)
# Have run before class: the notebook once; what takes long is the training of step 3 (a minute or two) and the comparison with diffusers. The shipped weights draw the other pictures, so nobody waits for a training.
# -->

# %% tags=["setup"] slideshow={"slide_type": "skip"}
import sys
from pathlib import Path

here = Path.cwd().resolve()
sys.path.insert(0, str(next(p for p in (here, *here.parents) if (p / "helpers").is_dir())))

import time

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from helpers import data, show
from helpers.checkpoints import load_images, load_model, load_results
from helpers.exercises import check
from helpers.modes import choose, out_dir
from helpers.schedule import at, linear
from helpers.sliders import sliders

# %% [markdown] slideshow={"slide_type": "slide"}
# ## The plan
#
# | step | you write | minutes | you get |
# |---|---|---|---|
# | 1 | the schedule and `q_sample` | 10 | pictures at any noise level |
# | 2 | the U-Net: down, up, skips | 20 | a network that sees the whole picture |
# | 3 | the training step | 15 | a falling loss |
# | 4 | ancestral sampling | 20 | clothes, from noise |
# | 5 | sampling at every k-th level | 15 | clothes in a tenth of the time, and what that costs |
# | 6 | the sheet of pictures | 10 | two PNG files: grid and filmstrip |
#
# Each step has two hints, a check, an expected picture and, in the student edition, a folded solution. A step you leave
# open is filled by the reference, so you can also start with step 4.
#
# The lab grew out of one in a textbook, and repairs it. There the chain has 300 levels but betas made for 1,000,
# so it stops short of noise (step 1); the "U-Net" is three convolutions that see 7 of 28 pixels across (step 2); the fast sampler starts below the
# top (step 5).
#
# Two switches: `DATA` chooses the pictures, `WEIGHTS` whose weights draw them from step 4 on.
#
# <!--slide 3 min
# ## Six steps, from a training picture to a saved sheet
#
# | step | you write | minutes |
# |---|---|---|
# | 1 and 2 | schedule and `q_sample`; the U-Net's forward pass | 10 + 20 |
# | 3 | the training step | 15 |
# | 4 and 5 | ancestral sampling; every k-th level | 20 + 15 |
# | 6 | the sheet of pictures | 10 |
#
# Each step: equation, signature, two hints, a check. A step left open is filled by the reference.
#
# Notes:
# Say: the steps build on each other, but a step you leave open is filled by the reference, so nobody is stuck. Two switches at the top: DATA (fashion or mnist) and WEIGHTS (shipped or mine).
# Ask: what is harder about clothes than about digits? (Texture: large grey areas with fine structure instead of a few strokes. Whether they are harder for the model is measured at the end, and the answer depends on the measure.)
# Live: run the setup and this cell, a few seconds.
# -->

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
DATA = "fashion"  # or "mnist"
WEIGHTS = choose(read="shipped", smoke="shipped", full="mine")  # or "mine": those that you train in step 3
T = 300

read = {"fashion": data.fashion_mnist, "mnist": data.mnist}[DATA]
images, labels = read()
print(f"{len(images):,} images {tuple(images.shape[1:])}, {images.min():.0f} to {images.max():.0f}")
show.grid(images[:32], "32 small grey pictures from the training set in two rows: with fashion, shoes, "
          "shirts, trousers, bags on black", columns=16)

# %% [markdown] exercise_text="7.1" slideshow={"slide_type": "slide"}
# ## Step 1: the schedule
#
# $$\beta_1, \dots, \beta_T \text{ on a straight line from } 10^{-4} \text{ to } 0.02, \text{ times } \frac{1000}{T}, \qquad
# \bar\alpha_t = \prod_{s=1}^{t} (1-\beta_s), \qquad
# x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$$
#
# Why 300 levels? Sampling costs one evaluation of the network a level, and 300 cost a third of 1,000. Why the factor? The line to 0.02 was made for 1,000 levels (Ho et al. 2020). Fewer levels must add more noise each, or the chain
# ends before everything is noise.
#
# Level 0 is the clean picture: no step leads to it, so $\beta_0=0$ and $\bar\alpha_0=1$. The noisy levels are 1 to $T$.
#
# **Exercise 7.1** Write `LabSchedule`: `betas` and `alpha_bar`, both (T+1,), and `q_sample` for pictures (B, 1, H, W), levels `t` (B,).
#
# Difficulty: ●●○○○ · 10 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# PyTorch has a function for numbers on a line, one that joins tensors and one for running products. In `q_sample` each picture of the batch has
# its own level: which shape must `alpha_bar[t]` take to multiply pictures? `at` (notebook 01) gives it that shape.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `torch.linspace(1e-4, 0.02, T)` is the line, `torch.cat` puts `torch.zeros(1)` in front; then `torch.cumprod(1 - self.betas, dim=0)` and
# `at(self.alpha_bar, t, x0)`. Both weights in `q_sample` are square roots.
#
# </details>
#
# <!--slide 3 min
# ## Fewer levels need larger betas
#
# $$\beta_1, \dots, \beta_T \text{ on a line from } 10^{-4} \text{ to } 0.02, \text{ times } \tfrac{1000}{T}, \qquad \bar\alpha_t = \prod_{s=1}^{t} (1-\beta_s)$$
#
# $$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$$
#
# - $T = 300$: sampling costs a third of that with 1,000 levels
# - the line to 0.02 was made for 1,000: fewer levels must add more noise each
# - level 0 is the clean picture: $\beta_0=0$, $\bar\alpha_0=1$
#
# **Your turn: 7.1, 10 minutes.** `LabSchedule` with `betas`, `alpha_bar` (both `(T+1,)`) and `q_sample(x0, t, noise)`
#
# Notes:
# Say: the product has to come down to almost nothing, in however many factors. With a third of the factors each must do three times the work.
# Ask: what would be left of the picture's amplitude at the top if we forgot the factor? (A fifth. The next slide prints it.)
# Give 10 minutes. Common mistakes: betas without the 0 in front, so there is no level T; alpha_bar[t] not reshaped to (B, 1, 1, 1), so it broadcasts over the wrong axis; the weights without their roots.
# -->
#
# <!--slide 2 min
# ## With scaled betas the chain ends in noise
#
# Without the factor a fifth of the amplitude is left, and the network learns to look for a trace that is never there when it samples.
#
# Notes:
# Live: run the cell; it takes a second. The two printed numbers are the amplitude left at the top with and without the factor.
# Say: the lab in a textbook from which this one grew makes exactly this mistake.
# Ask: in training the trace is really there, so why is it harmful? (Sampling starts from pure noise. The network has learned that there is always something to find, and finds it.)
# -->

# %% exercise="7.1" slideshow={"slide_type": "skip"}
class LabSchedule:
    def __init__(self, T=300):
        self.T = T
        # TODO 7.1: self.betas and self.alpha_bar, both (T+1,)
        ### BEGIN SOLUTION
        self.betas = torch.cat([torch.zeros(1), torch.linspace(1e-4, 0.02, T) * 1000 / T])
        self.alpha_bar = torch.cumprod(1 - self.betas, dim=0)
        ### END SOLUTION

    def q_sample(self, x0, t, noise):
        # TODO 7.1: x_t for pictures (B, 1, H, W) at the levels t (B,)
        ### BEGIN SOLUTION
        a = at(self.alpha_bar, t, x0)
        return a.sqrt() * x0 + (1 - a).sqrt() * noise
        ### END SOLUTION


LabSchedule = check("7.1", LabSchedule)

# %% expected="7.1" tags=["slide-output"] slideshow={"slide_type": "-"}
schedule = LabSchedule(T)
levels = torch.tensor([0, 30, 75, 120, 180, 240, 300])
x0 = images[:1].expand(len(levels), -1, -1, -1)
noise = torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0)).expand_as(x0)
noised = {"x_t": schedule.q_sample(x0, levels, noise)}

unscaled = torch.cumprod(1 - torch.linspace(1e-4, 0.02, T), dim=0)  # a common mistake
for name, alpha_bar in (("yours", schedule.alpha_bar), ("betas not scaled", unscaled)):
    print(f"{name:16} share of the picture's amplitude left at the top: {alpha_bar[-1].sqrt():.3f}")
show.rows(noised, "One training picture at seven levels, from clean at t = 0 over grainy to pure noise "
          "at t = 300", labels=[f"t = {t}" for t in levels])

# %% [markdown] slideshow={"slide_type": "skip"}
# With the unscaled betas a fifth of the amplitude would be left at the "noise" end. The network would learn that there is always a
# trace of the picture to find, and in sampling it would find one in pure noise.
#
# ## Step 2: the network
#
# The network is told the level by the sines and cosines of exercise 2.4, imported here. (The textbook's own solution stops with an error at
# this place: it asks the Python number 10000.0 for its `.log()`, which only tensors have.)
#
# A block: a convolution (with stride 2 it halves the picture), then norm, **plus the time**, SiLU, a second
# convolution, added to what came in. GroupNorm looks at one picture at a time, so pictures at different noise levels do not mix.

# %% slideshow={"slide_type": "skip"}
from helpers.models import timestep_embedding


class Block(nn.Module):
    def __init__(self, c_in, c_out, emb_dim, stride=1):
        super().__init__()
        self.enter = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1)
        self.norm, self.bias = nn.GroupNorm(8, c_out), nn.Linear(emb_dim, c_out)
        self.conv = nn.Conv2d(c_out, c_out, 3, padding=1)

    def forward(self, x, emb):
        h = self.enter(x)
        return h + self.conv(F.silu(self.norm(h) + self.bias(emb)[:, :, None, None]))

# %% [markdown] slideshow={"slide_type": "slide"}
# The layers are given, the wiring is yours. `classes` is for the stretch task at the end: labels are embedded and added to the time.
#
# ```text
# x_t ─ down1 16x28x28 ─────── skip a ─────── up1 16x28x28 ─ leave ─ eps 1x28x28
#          └─ down2 32x14x14 ─ skip b ─ up2 32x14x14 ─┘
#                 └─ down3 64x7x7 ─ skip c ─ up3 64x7x7 ─┘
#                         └──── middle 64x7x7 ────┘
# ```
#
# <!--slide 4 min
# ## Down, up, and three skips
#
# ```text
# x_t ─ down1 16x28x28 ─────── skip a ─────── up1 16x28x28 ─ leave ─ eps 1x28x28
#          └─ down2 32x14x14 ─ skip b ─ up2 32x14x14 ─┘
#                 └─ down3 64x7x7 ─ skip c ─ up3 64x7x7 ─┘
#                         └──── middle 64x7x7 ────┘
# ```
#
# - a block: convolution, norm **plus the time**, SiLU, convolution, residual
# - join: `torch.cat`, what comes from below first; enlarge: each pixel four times
# - the channels a block was built for say what it wants: `up3` takes 2c, `up2` c + b, `up1` b + a
#
# **Your turn: 7.2, 20 minutes.** `LabUNet.forward(x, t, y=None)`
#
# Notes:
# Say: the layers exist; you write the order in which the picture goes through them. Every block gets the embedding of the time.
# Ask: why does the network need the skips, when the middle has seen everything? (At 7x7 the place of an edge is lost. The skip carries the fine picture across, and the answer must have the pixels of the question.)
# Give 20 minutes; let them draw arrows into the diagram first. Common mistakes: joining in the other order, so that the shapes fit but the trained weights do not; forgetting to enlarge before the join.
# -->

# %% slideshow={"slide_type": "skip"}
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

# %% [markdown] exercise_text="7.2" slideshow={"slide_type": "slide"}
# **Exercise 7.2** Write the forward pass of `LabUNet`. Down: `down1`, `down2`, `down3`, and keep what each returns. Then `middle`. Up: join with skip c,
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
#
# <!--slide 3 min
# ## Three convolutions see 7 pixels across, the U-Net nearly all 28
#
# What one output pixel depends on, bright where strongly (norms taken out)
#
# Notes:
# Say: bright pixels are those that the output pixel in the middle depends on, measured by the gradient. The norms are taken out for this look: they pass brightness from everywhere to everywhere, but no shapes. The textbook's "U-Net" is the left one: it cannot relate a sleeve to a hem.
# Ask: how many pixels across do five 3x3 convolutions see? (11: one more on each side for every layer. To see 28 that way takes 14 layers at full size; halving twice is far cheaper.)
# Live: run the cell, a second.
# -->

# %% exercise="7.2" slideshow={"slide_type": "skip"}
class LabUNet(Layers):
    def embed(self, t, y=None):
        emb = self.time(timestep_embedding(t, self.emb_dim))
        return emb if y is None else emb + self.label(y)

    def forward(self, x, t, y=None):
        emb = self.embed(t, y)
        # TODO 7.2: down, middle, up with skips, leave
        ### BEGIN SOLUTION
        a = self.down1(x, emb)
        b = self.down2(a, emb)
        c = self.down3(b, emb)
        h = self.up3(torch.cat([self.middle(c, emb), c], dim=1), emb)
        h = self.up2(torch.cat([F.interpolate(h, scale_factor=2.0), b], dim=1), emb)
        h = self.up1(torch.cat([F.interpolate(h, scale_factor=2.0), a], dim=1), emb)
        return self.leave(h)
        ### END SOLUTION


LabUNet = check("7.2", LabUNet)

# %% expected="7.2" tags=["slide-figure"] slideshow={"slide_type": "-"}
torch.manual_seed(0)
probe, flat = LabUNet(), nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(3)))
nn.init.normal_(probe.leave[-1].weight)  # it starts at zero
for part in [part for part in probe.modules() if hasattr(part, "norm")]:
    part.norm = nn.Identity()
probe.leave[0] = nn.Identity()
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.4))
for ax, name in zip(axes, ("three convolutions", "your U-Net"), strict=True):
    x = torch.randn(1, 1, 28, 28, requires_grad=True)
    output = flat(x) if name == "three convolutions" else probe(x, torch.tensor([100]))
    output[0, 0, 14, 14].backward()
    ax.imshow(x.grad[0, 0].abs().log10().clamp(-8, 0), cmap="viridis")
    ax.set(title=f"{name}: sees {(x.grad != 0).float().mean():.0%}", xticks=[], yticks=[])
show.figure(fig, "Which of 28 x 28 input pixels one output pixel depends on: a square of 7 x 7 for three "
            "convolutions, nearly the whole picture for the U-Net")

# %% [markdown] slideshow={"slide_type": "skip"}
# Bright pixels are those that the pixel in the middle depends on. (The norms are taken out for this look: they pass a brightness from
# everywhere to everywhere, but no shapes.) Three convolutions, which pass for a U-Net in the lab we started from, see 7 of 28 pixels across: no
# way to relate a sleeve to a hem. Three resolutions see nearly everything, at a low price: the 7 x 7 layers hold most of the parameters and do little
# more than a third of the multiplications.
#
# ## Step 3: training
#
# The loop is given; its heart, `train_step`, is yours. Around it: AdamW with a rate that warms up and later falls, a moving average of the weights
# (notebook 03), and bfloat16 inside the network, with which most processors are faster. If yours is not, set `bf16 = False`.

# %% slideshow={"slide_type": "skip"}
from helpers.training import EMA, learning_rate

bf16 = True


def fit(model, ema, steps, lr=1e-3):
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    g = torch.Generator().manual_seed(0)
    for i in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate(i, steps, lr)
        x0 = images[torch.randint(len(images), (64,), generator=g)]
        t = torch.randint(1, T + 1, (64,), generator=g)  # levels 1 .. T
        noise = torch.randn(x0.shape, generator=g)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = train_step(model, optimizer, schedule, x0, t, noise)
        ema.update(model)
        yield loss


# %% [markdown] exercise_text="7.3" slideshow={"slide_type": "slide"}
# One step: noise a batch, ask the network for the noise, compare, move the weights.
# $$\mathcal L = \operatorname{mean}\big(\epsilon_\theta(x_t, t) - \epsilon\big)^2$$
# The network predicts **all** the noise between $x_0$ and $x_t$, not that of one step.
#
# **Exercise 7.3** Write `train_step`. Clip the gradient to norm 1 before the update. Return the loss as a number.
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
# Seven lines, in this order: `schedule.q_sample`, `F.mse_loss`, `optimizer.zero_grad`, `loss.backward`, `nn.utils.clip_grad_norm_`, `optimizer.step`,
# `loss.item`. What goes into the second, and against what is it held?
#
# </details>
#
# <!--slide 3 min
# ## One training step: noise, ask, compare, move
#
# $$\mathcal L = \operatorname{mean}\big(\epsilon_\theta(x_t, t) - \epsilon\big)^2$$
#
# - the network predicts **all** the noise between $x_0$ and $x_t$, not that of one step
# - each picture of the batch has its own level
# - clip the gradient to norm 1, before the update
#
# **Your turn: 7.3, 15 minutes.** `train_step(model, optimizer, schedule, x0, t, noise)` returns the loss, a number
#
# Notes:
# Say: seven lines. The loop, the learning rate and the moving average of the weights are given; you know them from notebook 03.
# Ask: why does the loss start at 1? (The last layer starts at zero, so the first answer is 0, and the noise has variance 1.)
# Give 15 minutes. Common mistakes: no zero_grad, so gradients add up; clipping after the step, or before backward, where it does nothing.
# -->
#
# <!--slide 2 min
# ## The loss falls fast, then hardly at all
#
# Your 700 steps follow the long training of 3,000
#
# Notes:
# Have run before class, or start it when the exercise begins: 700 steps take about a minute, sometimes two. The long training (3,000 steps, WEIGHTS = "mine") takes three to five.
# Say: yours follows the long training, step by step. After the first two hundred steps it falls only slowly; on plain axes the curve would look flat.
# Ask: the curve is nearly flat: is the model finished? (No. We will see that samples go on improving long after this.)
# -->

# %% exercise="7.3" slideshow={"slide_type": "skip"}
def train_step(model, optimizer, schedule, x0, t, noise):
    """One update of the model. x0, noise: (B, 1, H, W); t: (B,). Returns the loss, a number."""
    # TODO 7.3: noise, predict, compare, clear, back, clip, step
    ### BEGIN SOLUTION
    x_t = schedule.q_sample(x0, t, noise)
    loss = F.mse_loss(model(x_t, t), noise)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()
    ### END SOLUTION


train_step = check("7.3", train_step)

# %% expected="7.3" tags=["slide-figure"] slideshow={"slide_type": "-"}
torch.manual_seed(0)
mine, steps = LabUNet(), choose(read=700, smoke=6, full=3_000)
ema, start = EMA(mine), time.perf_counter()
losses = list(show.progress(fit(mine, ema, steps), steps, "training"))
minutes, saved = (time.perf_counter() - start) / 60, load_results("fashion")
every_50 = torch.tensor(saved[DATA]["loss"]).mean(0)  # the long training: a mean over 50 steps each
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.2))
ax.plot(show.smooth(losses), color=show.COLOURS[1], linewidth=3, label="yours, mean of the last 50 steps")
ax.plot(range(50, 50 * len(every_50) + 1, 50), every_50, color=show.COLOURS[0], label="the long training")
ax.set(xlabel="training step", ylabel="loss", xscale="log", yscale="log")
ax.legend()
show.figure(fig, "Loss over the step, both logarithmic: yours falls steeply, along that of the long training")
print(f"{steps} steps in {minutes:.1f} min, loss {losses[0]:.2f}, then {sum(losses[-50:]) / 50:.3f}")

# %% [markdown] exercise_text="7.4" slideshow={"slide_type": "slide"}
# The loss starts at 1, because the last layer starts at zero and the noise has variance 1. Then it falls fast, and soon very slowly.
# This was a taste of about a minute. The long training takes about three: to follow it, set `steps` to 3,000.
#
# Carry on with the shipped weights or with yours: that is the switch `WEIGHTS` at the top. The shipped ones are this very network after the long training, by
# `make train` with this recipe. Long is relative: the samples will show that it was stopped early.
#
# ## Step 4: ancestral sampling
#
# At the levels $T, T-1, \dots, 1$: estimate $x_0$, keep it in $[-1, 1]$, draw $x_{t-1}$ from the posterior (Ho et al. 2020, eqs. 6, 7, 15):
# $$\hat x_0 = \mathrm{clamp}\!\left(\frac{x_t - \sqrt{1-\bar\alpha_t}\,\epsilon_\theta}{\sqrt{\bar\alpha_t}}\right), \qquad
# \mu = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t\,\hat x_0 + \sqrt{1-\beta_t}\,(1-\bar\alpha_{t-1})\,x_t}{1-\bar\alpha_t}, \qquad
# \sigma^2 = \beta_t\,\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}$$
# At $t = 1$ we have $\bar\alpha_0 = 1$, so $\sigma = 0$ and $\mu = \hat x_0$: the last step adds no noise.
#
# **Exercise 7.4** Write `ancestral`, a generator: after each step `yield (level, x)`, where the level is that of the new `x`; the last is 0, clean.
# `draw(x)` gives fresh noise like `x`.
#
# Difficulty: ●●●●○ · 20 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# The network is asked at level $T$ first and at level 1 last. Which `range` is that? It wants the level as a tensor (B,).
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `for t in range(schedule.T, 0, -1)`; `a`, `a_prev` and `beta` are `alpha_bar[t]`, `alpha_bar[t - 1]` and `betas[t]` of the schedule;
# `eps = model(x, torch.full((len(x),), t)).float()`. Then the three formulas, one line each, with `.clamp(-1, 1)` in the first;
# `x = mean + sigma * draw(x)`; `yield t - 1, x`.
#
# </details>
#
# <!--slide 4 min
# ## Ancestral sampling: guess, keep in range, draw
#
# $$\hat x_0 = \mathrm{clamp}\!\left(\frac{x_t - \sqrt{1-\bar\alpha_t}\,\epsilon_\theta}{\sqrt{\bar\alpha_t}}\right), \qquad \sigma^2 = \beta_t\,\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}$$
#
# $$\mu = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t\,\hat x_0 + \sqrt{1-\beta_t}\,(1-\bar\alpha_{t-1})\,x_t}{1-\bar\alpha_t}$$
#
# - from $t = T$ down to 1; at $t = 1$, $\bar\alpha_0 = 1$ gives $\sigma = 0$: no noise is added
#
# **Your turn: 7.4, 20 minutes.** `ancestral(model, schedule, x, draw)`: after each step `yield (level, x)`
#
# Notes:
# Say: at each level the network guesses the clean picture, we keep the guess in [-1, 1], and draw the next state from the posterior around a mix of guess and present state.
# Ask: what do mu and sigma come to at t = 1? (alpha_bar_0 is 1, so sigma is 0, and mu is the estimate of x_0: the last step returns it as it is.)
# Give 20 minutes. Common mistakes: asking the network at level 0 too, where 1 - alpha_bar is 0 and the division fails; sigma squared where sigma belongs, which adds too little noise.
# -->
#
# <!--slide 2 min
# ## From noise to clothes, in your own three hundred steps
#
# Notes:
# Live: the walk of 64 pictures takes about six seconds on two cores. In the notebook, "Try it" below step 6 has a slider that runs through eight stored walks, each state with the network's guess of the clean picture.
# Say: shirts, trousers, bags, shoes. Some have holes and specks: the network was stopped early, after less than five minutes of training.
# Ask: which kinds of clothes come out best, and which worst? (Look: plain outlines such as shoes and tops are good; textures are grainy.)
# -->

# %% exercise="7.4" slideshow={"slide_type": "skip"}
def ancestral(model, schedule, x, draw):
    """x: pure noise (B, 1, H, W). Yields (level, x) after every step, down to level 0."""
    # TODO 7.4: estimate x_0, mean and sigma of the posterior, step
    ### BEGIN SOLUTION
    for t in range(schedule.T, 0, -1):
        a, a_prev, beta = schedule.alpha_bar[t], schedule.alpha_bar[t - 1], schedule.betas[t]
        eps = model(x, torch.full((len(x),), t)).float()
        x0 = ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
        mean = (a_prev.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - a_prev) * x) / (1 - a)
        sigma = (beta * (1 - a_prev) / (1 - a)).sqrt()
        x = mean + sigma * draw(x)
        yield t - 1, x
    ### END SOLUTION


ancestral = check("7.4", ancestral)

# %% expected="7.4" tags=["slide-figure"] slideshow={"slide_type": "-"}
model = ema.model if WEIGHTS == "mine" else load_model(f"{DATA}_lab", LabUNet)
model.requires_grad_(False)
g = torch.Generator().manual_seed(0)
x_T = torch.randn(choose(64, 10), 1, 28, 28, generator=g)
film, states, start = {T: x_T}, {T: x_T[:8]}, time.perf_counter()  # six states; eight walks, whole
with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
    walk = ancestral(model, schedule, x_T, lambda x: torch.randn(x.shape, generator=g))
    for level, x in show.progress(walk, T, "ancestral"):
        states[level] = x[:8].clone()
        if level in (200, 100, 50, 20, 0):
            film[level] = x
seconds = time.perf_counter() - start
show.grid(film[0], "64 samples in an 8 by 8 grid. With the shipped weights: shirts, trousers, bags, shoes",
          columns=8, width=4.4)
print(f"{len(x_T)} images, {T} steps, {WEIGHTS} weights: {seconds:.1f} s")

# %% [markdown] exercise_text="7.5" slideshow={"slide_type": "slide"}
# ## Step 5: every k-th level
#
# No fresh noise, and strides of k. Start at the top, $T$, then $T-k$, and so on; after the last of them comes level 0, clean. With the
# clamped $\hat x_0$ of step 4, compute the noise that belongs to it, and put both together again at the next level $t'$ (Song et al. 2021, eq. 12 with $\eta = 0$):
# $$\hat\epsilon = \frac{x_t - \sqrt{\bar\alpha_t}\,\hat x_0}{\sqrt{1-\bar\alpha_t}}, \qquad
# x_{t'} = \sqrt{\bar\alpha_{t'}}\,\hat x_0 + \sqrt{1-\bar\alpha_{t'}}\,\hat\epsilon$$
#
# **Exercise 7.5** Write `every_kth`, a generator like `ancestral`, without `draw`.
#
# Difficulty: ●●●○○ · 15 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# First make the list of levels. The step goes from one entry to the next; the last goes to level 0, where $\bar\alpha$ is 1.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `levels = list(range(schedule.T, 0, -k))` and `zip(levels, [*levels[1:], 0])`. The first three lines of the loop are those of
# `ancestral`, with the level `t_next` for `t - 1`.
#
# </details>
#
# <!--slide 4 min
# ## Every k-th level: no fresh noise, larger strides
#
# $$\hat\epsilon = \frac{x_t - \sqrt{\bar\alpha_t}\,\hat x_0}{\sqrt{1-\bar\alpha_t}}, \qquad
# x_{t'} = \sqrt{\bar\alpha_{t'}}\,\hat x_0 + \sqrt{1-\bar\alpha_{t'}}\,\hat\epsilon$$
#
# - levels $T,\ T-k,\ T-2k, \dots$; after the last comes level 0, clean
# - $\hat x_0$ is clamped as before, and $\hat\epsilon$ must be the noise that belongs to it
#
# **Your turn: 7.5, 15 minutes.** `every_kth(model, schedule, x, k)`, a generator like `ancestral`, without `draw`
#
# Notes:
# Say: guess the picture, compute the noise that goes with the guess, mix both anew for the next level. This is DDIM without fresh noise (notebook 05).
# Ask: with T = 300 and k = 10, which levels are visited? (300, 290, down to 10, then clean: thirty evaluations. Counting 1, 11, 21 from below would start at 291.)
# Give 15 minutes. Common mistakes: keeping the eps of the network after x_0 was clamped; starting below the top.
# -->

# %% exercise="7.5" slideshow={"slide_type": "skip"}
def every_kth(model, schedule, x, k):
    """x: pure noise (B, 1, H, W). Yields (level, x) after every step, down to level 0."""
    # TODO 7.5: the levels, then a step from each to the next
    ### BEGIN SOLUTION
    levels = list(range(schedule.T, 0, -k))
    for t, t_next in zip(levels, [*levels[1:], 0], strict=True):
        a, a_next = schedule.alpha_bar[t], schedule.alpha_bar[t_next]
        eps = model(x, torch.full((len(x),), t)).float()
        x0 = ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
        eps = (x - a.sqrt() * x0) / (1 - a).sqrt()
        x = a_next.sqrt() * x0 + (1 - a_next).sqrt() * eps
        yield t_next, x
    ### END SOLUTION


every_kth = check("7.5", every_kth)

# %% expected="7.5" slideshow={"slide_type": "skip"}
start = time.perf_counter()
*_, (level, few) = every_kth(model, schedule, x_T, 10)
seconds_few = time.perf_counter() - start
print(f"{len(x_T)} images: {seconds_few:.1f} s in 30 evaluations, {seconds:.1f} s in {T}")
show.rows({"ancestral": film[0][:10], "every 10th": few[:10]}, "Ten pictures from the same noises: above by "
          "300 ancestral steps, clothes; below by every tenth level, some clean, others full of specks")

# %% [markdown] slideshow={"slide_type": "slide"}
# Fresh noise sends the ancestral walk elsewhere, so the rows need not show the same garments. But why the specks? Not for a mistake of yours: the check has seen every
# state. To find out, change one thing at a time: smaller strides; the same strides with fresh noise (`eta = 1`, notebook 05); your own weights.
#
# And two mistakes that are often made. *Starts at 291* counts 1, 11, 21, ... from below, as the textbook lab does. *One-level steps* visits every
# tenth level with the ancestral step of step 4, as if the levels between did not exist.
#
# <!--slide 3 min
# ## The specks come from determinism, not from the strides
#
# One change at a time; the same starting noise in all rows
#
# Notes:
# Say: thirty evaluations instead of three hundred, but some pictures are full of specks. Change one thing at a time. Row 2: smaller strides, the same specks. Row 3: started at 291, nearly the same. Row 4: one-level steps at every tenth level, as if the levels between did not exist: noise. Row 5: the same strides with fresh noise: clothes. Row 6: the same, with the weights trained live.
# Ask: why does fresh noise help a network with errors? (The deterministic walk carries each error to the end. Fresh noise covers it up, and later steps can correct it.)
# Live: the cell takes a few seconds; it needs the live training of step 3.
# -->

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
import copy
from dataclasses import replace

from helpers import sampling

low, strips = copy.copy(schedule), {"every 10th": few[:7]}
low.T = 291  # its levels are 291, 281, .., 1
for name, levels, k in (("every 3rd", schedule, 3), ("starts at 291", low, 10)):
    *_, (level, strips[name]) = every_kth(model, levels, x_T[:7], k)
naive = replace(sampling.ancestral(), levels=lambda T: list(range(T, 0, -10)))
fresh = sampling.ddim(T // 10, eta=1.0)
walks = {"one-level steps": (model, naive), "fresh noise": (model, fresh), "yours, fresh": (ema.model, fresh)}
for name, (network, rule) in walks.items():
    walk = sampling.reverse(network, linear(T), rule, x_T=x_T[:7], seed=1, clip_x0=1.0)
    strips[name] = sampling.last(walk)
show.rows(strips, "Six rows of seven: every tenth level; every third, the same specks; started at 291, "
          "nearly the same; one-level steps, noise; fresh noise, clothes; your weights, the same, rough")

# %% [markdown] exercise_text="7.6" slideshow={"slide_type": "slide"}
# Not the strides are to blame, but the determinism. This network was stopped early and makes errors; the deterministic walk carries each of them to the end, however small its steps.
# Fresh noise covers an error up, and later steps can correct it. A longer training makes the errors themselves smaller: the table below shows it.
#
# **Question.** The walk started at 291 looks no worse. Why start at the top all the same?
#
# <details><summary>Answer</summary>
#
# At $t = 291$ less than one per cent of the amplitude is left, so the error is small *here*, because the betas were scaled. It grows with the stride, and with a
# schedule that stops short, as that of the textbook lab. A start at the top costs nothing and is right for every k.
#
# </details>
#
# ## Step 6: saving
#
# A PNG of grey pictures is a table of bytes, 0 black to 255 white. N pictures become one table of (N / columns) H rows and columns · W columns, in
# reading order.
#
# **Exercise 7.6** Write `sheet`: pictures (N, 1, H, W), N a multiple of `columns`, values from -1 to 1 or a little beyond; returns the table, `torch.uint8`.
#
# Difficulty: ●●○○○ · 10 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Bytes first (exercise 4.4). Then the order: memory runs along a whole line of the *sheet*, through all its columns, before the next line. In which
# order must row of the sheet, column of the sheet, y and x stand?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# Reshape to (rows, columns, H, W), `permute` to (rows, H, columns, W), reshape to the table.
#
# </details>
#
# <!--slide 3 min
# ## Two PNG files, every line of them yours
#
# **Your turn: 7.6, 10 minutes.** `sheet(images, columns)`: N pictures in [-1, 1] become one table of bytes, in reading order
#
# Notes:
# Say: (rows, columns, H, W), then permute to (rows, H, columns, W), then reshape: memory runs along a whole line of the sheet. The strip shows the walk at six levels, not evenly spaced: while t is high there is little to see.
# Ask: what does the sheet look like if you reshape without the permute? (Each picture is cut into lines that are laid out one after the other: the sheet is scrambled into stripes.)
# Give 10 minutes before showing the pictures (they appear on a click). Common mistakes: no permute; no clamp, so values beyond the range wrap around as bytes.
# -->

# %% exercise="7.6" slideshow={"slide_type": "skip"}
def sheet(images, columns):
    """images: (N, 1, H, W) in [-1, 1]. Returns bytes (N / columns * H, columns * W)."""
    # TODO 7.6: bytes, then rows and columns of pictures
    ### BEGIN SOLUTION
    n, _, h, w = images.shape
    grey = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    grey = grey.reshape(n // columns, columns, h, w)
    return grey.permute(0, 2, 1, 3).reshape(n // columns * h, columns * w)
    ### END SOLUTION


sheet = check("7.6", sheet)

# %% expected="7.6" tags=["slide-figure"] slideshow={"slide_type": "fragment"}
from PIL import Image

strip = torch.stack(list(film.values()), dim=1)[:3].flatten(0, 1)  # three samples, six states each
sheets = {"grid": sheet(film[0], choose(8, 5)), "filmstrip": sheet(strip, len(film))}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.8), width_ratios=(2, 3))
for ax, (name, pixels) in zip(axes, sheets.items(), strict=True):
    file, (height, width) = out_dir() / f"{DATA}_{name}.png", pixels.shape
    Image.fromarray(pixels.numpy()).resize((3 * width, 3 * height), Image.Resampling.NEAREST).save(file)
    ax.imshow(Image.open(file), vmin=0, vmax=255)  # what the file holds
    ax.set(title=file.name, xticks=[], yticks=[])
    print(f"saved {file.name}, {file.stat().st_size / 1000:.0f} kB")
axes[1].set_xticks([84 * i + 42 for i in range(len(film))], [show.level(t) for t in film], fontsize=9)
show.figure(fig, "The two saved files: 64 samples in an 8 by 8 grid; three filmstrips of six frames, from "
            "pure noise at t = 300 to the finished picture, outline first, details last")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ### Try it: walk through the walk (optional)
#
# The walks of eight of your samples are stored. Above, $x_t$, as it is passed on from step to step; below, the $\hat x_0$ that the network makes of it at this level. Sliders need a running
# kernel. Set `level` to 300, then move it down. Where do you first see in $x_t$ what it will be, and where in $\hat x_0$? Is the first guess the final garment?
# In the strip, the guess begins as specks and a blur, and is a shoe while the state is still mostly noise.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
def guess(x, t):
    """The x_0 that the network sees in states x (B, 1, H, W) at levels t (B,), kept in [-1, 1]."""
    a = at(schedule.alpha_bar, t, x)
    return ((x - (1 - a).sqrt() * model(x, t).float()) / a.sqrt()).clamp(-1, 1)


def walk_at(level=100):
    """Eight walks at one level: the states, and what the network makes of them."""
    x = states[level]
    show.rows({"x_t": x, "guess of x_0": guess(x, torch.full((len(x),), level))},
              f"Eight states of the walk at t = {level}, below each the network's guess of the clean picture",
              title=f"t = {level}")


levels = torch.tensor([300, 240, 180, 120, 90, 60, 30, 1])
x = torch.stack([states[int(t)][2] for t in levels])
show.rows({"x_t": x, "guess of x_0": guess(x, levels)}, "A walk at eight levels: the states; below, the "
          "guesses: specks, then a blur, then a shoe while the state is still mostly noise",
          labels=[f"t = {t}" for t in levels])

# %% tags=["optional"] slideshow={"slide_type": "skip"}
sliders(walk_at, level=(1, T))

# %% [markdown] slideshow={"slide_type": "slide"}
# That was the lab: two PNG files, and every line between the data and them is yours. The six levels of the strip are not evenly spaced: while $t$ is high there is
# little to see, so it looks more closely at the end.
#
# ## What to expect, minute by minute
#
# `make train` ran this recipe for 3,000 steps and scored the averaged weights on the way: samples by every 10th level against the
# 10,000 test images, Frechet distance on the features of a small classifier of that data set. At the end the same number of ancestral samples, and of samples by every 10th level with
# fresh noise. The minutes are the step number times the time of a step, measured by itself on two CPU cores (`lab_seconds`). The first line of the output
# says how many samples and trainings are behind a number. With one training each, a small difference may be chance. The snapshots are drawn without fresh noise, so some specks stay (step 5).
#
# <!--slide 3 min
# ## The samples improve long after the loss has flattened
#
# Distance: <!--r:fashion.fashion.snapshots.2.distance.mean|.0f-->144<!--/--> after 1,000 steps, <!--r:fashion.fashion.snapshots.4.distance.mean|.0f-->75<!--/--> after 3,000; last row, ancestral from the same weights: <!--r:fashion.fashion.final.distance.mean|.0f-->36<!--/-->
#
# Notes:
# Say: Frechet distance of 500 samples from real test images; real images among themselves have about eight. One training, so small differences may be chance; these are not small. The first five rows are drawn without fresh noise, so some specks stay to the end.
# Ask: what would you look at to decide when to stop training? (Samples and their distance, not the training loss alone. A held-out loss would show memorising.)
# Live: the cell above prints the table with loss and distance; it only reads results. The long training has been run by make train.
# -->

# %% slideshow={"slide_type": "skip"}
def pm(found, form=".1f"):
    spread = f" ± {found['std']:{form}}" if len(found["values"]) > 1 else ""
    return f"{found['mean']:{form}}{spread}"


clock, floor = load_results("lab_seconds"), saved["floors"][DATA]
fastest, found = clock[clock["faster"]], saved[DATA]
print(f"{clock['threads']} CPU threads, {1000 * fastest['step']:.0f} ms a step ({clock['faster']}); "
      f"{saved['scoring']['samples']} samples a score, trainings: {len(saved['seeds'])}")
print("\n steps  minutes    loss   distance  times the floor")
for row in found["snapshots"]:
    step, loss = row["step"], every_50[max(0, row["step"] // 50 - 4) : row["step"] // 50].mean()
    print(f"{step:>6,} {step * fastest['step'] / 60:8.1f} {loss:7.4f} {pm(row['distance']):>10} "
          f"{row['ratio']['mean']:9.1f}")

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
pictures, stages = load_images("fashion"), {}
for row in found["snapshots"]:
    stages[f"{row['step'] * fastest['step'] / 60:.1f} min"] = pictures[f"{DATA}_{row['step']}"][:14:2]
stages["ancestral"] = pictures[f"{DATA}_final"][:7]
print(f"after {row['step']:,} steps, distance (real test images: {floor['mean']:.1f}):")
walks = {"every 10th level": "few", "every 10th level, fresh noise": "fresh", "ancestral": "final"}
for name, key in walks.items():
    print(f"  {name:30} {pm(found[key]['distance']):>6}")
print(f"64 images: {fastest['ancestral_64']:.1f} s ancestral, {fastest['every_64']:.1f} s every 10th level")
show.rows(stages, "Seven samples a snapshot, by every 10th level: pale blurs on top, clearer outlines "
          "further down, specks in some to the end; the last row, ancestral, has hardly any",
          title="By every 10th level, by minutes of training; last row: ancestral")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Which is harder, digits or clothes?
#
# The same network, the same recipe, two data sets. The losses share a unit, so they can be compared. The distances do not: each is measured with the classifier of
# its own data set. What can be compared, with care, is how many times its own floor each reaches: the floor is the distance of as many real images from the other real ones.
#
# <!--slide 3 min
# ## Harder in what? Loss and distance disagree
#
# One network, one recipe; the distance is counted in floors: real images among themselves have 1
#
# Notes:
# Say: same network, same recipe. By the loss clothes are harder, at every step after the first hundred. By the distance, counted in floors, there is no winner: digits begin further off, come down faster, and the ends are too close for one training each.
# Ask: why may the losses be compared, but not the plain distances? (The losses share a unit, the variance of the noise. Each distance is measured with the classifier of its own data set; so divide by the floor, the distance of real images.)
# Live: nothing to run, stored results.
# -->

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.6))
for name, colour in zip(("fashion", "mnist"), show.COLOURS, strict=False):
    rows, curve = saved[name]["snapshots"], torch.tensor(saved[name]["loss"]).mean(0)
    steps_of, ratio = [row["step"] for row in rows], [row["ratio"] for row in rows]
    axes[0].plot(range(50, 50 * len(curve) + 1, 50), curve, color=colour, label=name)
    mean, std = [r["mean"] for r in ratio], [r["std"] or 0 for r in ratio]
    axes[1].errorbar(steps_of, mean, std, color=colour, marker="o")
    end, real = saved[name]["final"], saved["floors"][name]
    print(f"{name:8} loss {curve[-10:].mean():.4f}; floor {real['mean']:.1f} ± {real['std']:.1f}; ancestral "
          f"{pm(end['distance'])}, {end['ratio']['mean']:.1f} floors; every 10th {mean[-1]:.1f} floors")
axes[0].legend()
axes[0].set(xlabel="training step", xscale="log", yscale="log", title="loss")
axes[1].set(xlabel="training step", ylim=(0, None), title="distance in floors, every 10th level")
show.figure(fig, "Loss and distance in floors over the training step, a curve for each of the two data sets")

# %% [markdown] slideshow={"slide_type": "slide"}
# By the loss, clothes are harder, and by a wide gap at every step after the first hundred. By the distance there is no winner. Digits begin more floors away and come down faster; drawn ancestrally they end at
# <!--r:fashion.mnist.final.ratio.mean|.1f-->5.0<!--/--> floors, clothes at <!--r:fashion.fashion.final.ratio.mean|.1f-->4.6<!--/-->, and the floors alone vary by more than that from draw to draw (the ± above). This is one training of each, so such a gap may be chance.
#
# The two curves see different things. The loss is the noise that could not be told from the picture, and grey texture looks like noise; it does not say whether the whole makes sense. The
# distance looks at whole pictures, with the eyes of a classifier. So ask "harder in what?" first.
#
# ## The library shortcut
#
# You know now what a scheduler does, so you may let `diffusers` do it. The same weights and the same noise go through `DDPMScheduler` and `DDIMScheduler`. The pictures agree only
# if the configuration says the same as your code:
#
# | setting | your code | default there |
# |---|---|---|
# | `trained_betas` | `betas[1:]`: the line to 0.02, times 1000/T | the line to 0.02 for any T: stops short at 300 |
# | `variance_type` (DDPM) | `"fixed_small"`: the posterior's | the same |
# | `clip_sample`, `clip_sample_range` | `True`, 1.0: your clamp | the same |
# | `timestep_spacing` (DDIM) | `"trailing"`: starts at the top | `"leading"` |
# | `use_clipped_model_output` (DDIM) | `True`: eps follows the clamp | `False` |
#
# And `diffusers` has no level 0 for the clean picture. It counts the noisy levels from 0 to $T-1$, so its timestep is our $t-1$: `library` below adds the 1.
#
# The textbook lab draws with variance $\beta_t$ (`"fixed_large"`) and never clamps, and then asks you to confirm that the samples match those of the defaults. They cannot.
#
# <!--slide 3 min
# ## The library agrees if its settings say what your code says
#
# | setting | your code | default there |
# |---|---|---|
# | `trained_betas` | times 1000/T | line to 0.02 for any T |
# | `variance_type` (DDPM) | `"fixed_small"` | the same |
# | `clip_sample`, `clip_sample_range` | `True`, 1.0 | the same |
# | `timestep_spacing` (DDIM) | `"trailing"` | `"leading"` |
# | `use_clipped_model_output` (DDIM) | `True` | `False` |
#
# It takes over schedule and samplers. Network, training and judging stay yours.
#
# Notes:
# Say: with these five settings diffusers draws your pictures, to rounding. Every default that differs is a picture that differs.
# Ask: which row is the most dangerous? (The first. With 300 levels the library's default betas stop short of noise, the mistake of step 1.)
# Live: nothing yet; the comparison is on the next slide.
# -->
#
# <!--slide 3 min
# ## Alike by eye is not the same
#
# Notes:
# Say: left, samples from the same noise: five rows out of six look alike. Right, what the eye misses, the differences from yours: nothing for the right settings; outlines without the clamp; grain with the larger variance; both together in the textbook's configuration. With the library's own betas the pictures are lost.
# Ask: why do the outlines change without the clamp? (There the guess of x_0 overshoots the range at high levels, early in the walk, and the walk follows it.)
# Have run before class: six walks of 300 steps, a few seconds each. Without diffusers installed the cells say so and go on.
# -->

# %% slideshow={"slide_type": "skip"}
from helpers.torchvision_compat import import_torchvision

try:
    import_torchvision()  # diffusers looks for it
    from diffusers import DDIMScheduler, DDPMScheduler
except ImportError:
    DDIMScheduler = DDPMScheduler = None
    print("diffusers is not installed: pip install -r requirements.txt. The lab does not need it.")


def library(model, scheduler, x, **options):
    for t in scheduler.timesteps:  # T - 1 .. 0, our levels T .. 1
        eps = model(x, (t + 1).expand(len(x)))
        x = scheduler.step(eps, t, x, **options).prev_sample
    return x


# %% slideshow={"slide_type": "skip"}
n, ddpm = choose(3, 2), {}
common = dict(trained_betas=schedule.betas[1:].tolist(), clip_sample_range=1.0)
right = dict(clip_sample=True, timestep_spacing="trailing", **common)  # for DDIM
configurations = {}
for variance in ("fixed_small", "fixed_large"):
    for name, clip in (("clipped", True), ("free", False)):
        configurations[f"{variance}, {name}"] = dict(variance_type=variance, clip_sample=clip, **common)
configurations["library's betas"] = {}
if DDPMScheduler is not None:
    g = torch.Generator().manual_seed(1)
    *_, (level, yours) = ancestral(model, schedule, x_T[:n], lambda x: torch.randn(x.shape, generator=g))
    ddpm["your ancestral"] = yours
    for name, options in configurations.items():
        g = torch.Generator().manual_seed(1)  # the same fresh noise for all
        ddpm[name] = library(model, DDPMScheduler(T, **options), x_T[:n], generator=g)

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
if ddpm:
    compared = {"your ancestral": ddpm["your ancestral"]}
    for name in configurations:
        gap = (ddpm[name] - ddpm["your ancestral"]).abs()
        compared[name] = torch.cat([ddpm[name], (10 * gap - 1).clamp(max=1)])  # black: 0, white: 0.2 or more
        print(f"DDPM {name:22} largest difference of a pixel {gap.max():.1g}, mean {gap.mean():.1g}")
    show.rows(compared, "Left: samples by your walk and by five configurations, alike but for the last, pale "
              "blurs. Right: differences from yours: none, edges, grain, edges and grain, everything",
              title="Left: samples; right: their differences from yours, black 0, white 0.2 and more")
    changes = {"as yours": {}, "leading": dict(timestep_spacing="leading"), "free": dict(clip_sample=False)}
    for name, change in (changes | {"eps left behind": {}}).items():
        scheduler, follow = DDIMScheduler(T, **(right | change)), name != "eps left behind"
        scheduler.set_timesteps(T // 10)
        gap = (library(model, scheduler, x_T[:n], use_clipped_model_output=follow) - few[:n]).abs()
        print(f"DDIM {name:22} largest difference of a pixel {gap.max():.1g}, mean {gap.mean():.1g}")

# %% [markdown] slideshow={"slide_type": "skip"}
# One grey level is 0.008. With the first configuration of each scheduler the pictures are the same up to rounding. Every other one draws different pictures from the same
# noise. The samples on the left do not show it, except for the library's betas; the differences on the right do: without the clamp mostly the outlines change, with the larger variance there is grain all over the garment.
# So do not compare two programs by eye, and when they disagree, compare configurations before you look for a bug.
#
# How much code did the library take off your hands? The cell counts the lines of your solution (no comments, no docstrings) and those of `library` above with the
# two lines that make a scheduler.

# %% slideshow={"slide_type": "skip"}
import inspect


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
# | training | may oscillate or collapse; settings matter [4, 9] | one minimisation | one minimisation; long |
# | does the loss tell how far it is? | no, in the original form [11] | partly | partly: it flattens while samples still improve (above) |
# | covers all kinds of images | often not: "mode collapse" [4, 5] | usually [5] | usually [5] |
# | quality of a sample | high [5] | lower, often blurred [5] | high [5, 9] |
# | cost of a sample | one evaluation | one evaluation | tens to a thousand [3]; few after distillation [15] |
# | copies training images | can, with few images [12] | memorises some [13] | can, with few images or duplicates [7, 8] |
# | remedies for few images | augmentation inside the discriminator [6] | as for any network: augment, stop early | the same; start from pretrained weights [10] |
# | start from a real picture | find its latent first | the encoder gives its latent | noise it half way, then denoise [14] |
#
# Xiao et al. [5] call it a trilemma: quality, coverage, speed; each family gives up one. The table says what is typical, and every entry has exceptions. Large,
# well-tuned GANs long had the best scores on ImageNet; Dhariwal & Nichol [9] is where diffusion overtook them.
#
# ### A team with a few hundred images of defects
#
# Scratches and dents are rare; a detector needs more of them. Why might the team take diffusion rather than a GAN?
#
# - **The training is dull.** One regression loss, no opponent. A small team can start it and expect it to end.
# - **Rare kinds survive.** A GAN may drop the defect that it sees five times, and its loss does not say so. The diffusion loss asks for every image again and again.
# - **Conditions are cheap.** The kind of defect, its place, a clean picture of the part can all be inputs. Published work does this with a pretrained model and a
#   handful of defect images, and reports better inspection on a public benchmark [10]. That is no promise for your parts.
#
# And what speaks against it?
#
# - **It may copy.** A few hundred images can fit into a network. Trained long enough, it gives some of them back [7, 8]; two networks trained on different few images draw
#   different pictures, and only with many images do they agree [8]. Look at the nearest training images (notebook 04), stop early, augment (flips, shifts), start from pretrained weights.
# - **It is slow**, though for a data set that is drawn once over night this hardly matters.
# - **It cannot invent a defect that nobody photographed.** Judge it by one number: does the detector, tested on *real* images held out, get better? If plain augmentation does as well,
#   take that.
#
# **Question.** "The loss went down to zero on our 200 images, so the model is excellent." What is the reply?
#
# <details><summary>Answer</summary>
#
# The loss of noise prediction cannot reach zero for unseen images: which part of a noisy picture is noise is never certain. If it goes far below what held-out images get, the network knows
# its images by heart. Measure the loss on held-out images at the same levels, and search the nearest neighbours.
#
# </details>
#
# <!--slide 3 min
# ## GAN, VAE, diffusion: each gives up something
#
# | | GAN | VAE | diffusion |
# |---|---|---|---|
# | training | a game, may collapse | one minimisation | one minimisation, long |
# | covers all kinds | often not | usually | usually |
# | quality | high | lower, often blurred | high |
# | cost of a sample | one evaluation | one evaluation | tens to a thousand |
# | copies its images | can, with few | memorises some | can, with few |
#
# Notes:
# Say: Xiao et al. call it a trilemma: quality, coverage, speed. The table says what is typical; every entry has exceptions, and the notebook has the sources. Distilled diffusion models need few evaluations.
# Ask: whose loss tells how far the training is? (Not the GAN's in its original form. The diffusion loss only partly: it flattens while the samples improve.)
# -->
#
# <!--slide 4 min
# ## A few hundred images of defects: for and against
#
# - **for:** one regression loss, no opponent; the training ends
# - **for:** rare kinds survive, since the loss asks for every image
# - **against:** it may copy; look at the nearest training images
# - **against:** it cannot invent a defect that nobody photographed
#
# > "The loss went down to zero on our 200 images, so the model is excellent." What is the reply?
#
# Notes:
# Say: judge it by one number: does the detector, tested on real held-out images, get better? If plain augmentation does as well, take that.
# Ask: the question on the slide. (The loss cannot reach zero on unseen images: which part of a noisy picture is noise is never certain. Near zero means that it knows its images by heart. Measure the loss on held-out images, look up nearest neighbours.)
# Give the room two minutes in pairs before the answer.
# -->

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ## Stretch
#
# Optional. Two changes to the lab, each at the budget of the long training, and what they brought.
#
# **Cosine schedule.** In `LabSchedule`, compute $\bar\alpha_t = f(t)/f(0)$ from $f(t) = \cos^2\!\big(\tfrac{t/T + 0.008}{1.008}\cdot\tfrac{\pi}{2}\big)$ and the betas from their ratios, at most 0.999 (Nichol & Dhariwal 2021).
# Nothing else changes. Its loss cannot be compared with that of the linear schedule: it asks at other noise levels. The distance can.
#
# **Class conditioning.** `LabUNet(classes=10)`, and `model(x_t, t, y)` in the training step and in the samplers. The judge says of every sample whether it is what was asked for.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
about = f"{saved['recipe']['steps']:,} steps, trainings: {len(saved['seeds'])}"
print(f"{about:30} {'ancestral':>12} {'every 10th':>12} {'confident':>10}")
kinds = {"fashion": "linear schedule", "cosine": "cosine schedule", "classes": "linear, with labels"}
for name, words in kinds.items():
    end, short, sure = saved[name]["final"], saved[name]["few"], saved[name]["final"]["confident"]["mean"]
    print(f"{words:30} {pm(end['distance']):>12} {pm(short['distance']):>12} {sure:>10.0%}")
floor = saved["floors"]["fashion"]  # the judge is that of the clothes
print(f"{'real test images':30} {floor['mean']:>12.1f} {'':>12} {floor['confident']:>10.0%}")
asked = saved["classes"]["final"]
print(f"\nwith labels, judged as the class asked for: {pm(asked['as_asked'], '.0%')} of samples, "
      f"{floor['accuracy']:.0%} of real test images")
for i, name in enumerate(data.FASHION_NAMES):
    print(f"  {name:11} {asked['as_asked_by_class'][i]:5.0%}   real: {floor['accuracy_by_class'][i]:.0%}")

# %% tags=["optional"] slideshow={"slide_type": "skip"}
by_class = {f"sample {i + 1}": pictures["classes_final"][10 * i : 10 * i + 10] for i in range(3)}
show.rows(by_class, "Three rows of ten samples, one column a class asked for, from T-shirt to ankle boot, "
          "most recognisable as such", labels=data.FASHION_NAMES)

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# One training of each kind stands behind these lines, so a small difference may be chance. The cosine schedule did not help here: <!--r:fashion.cosine.final.distance.mean|.0f-->45<!--/--> against <!--r:fashion.fashion.final.distance.mean|.0f-->36<!--/-->, and it was behind at every snapshot from
# 1,000 steps on. Labels did: <!--r:fashion.classes.final.distance.mean|.0f-->17<!--/-->. Some of that is no merit of the network: with labels each class is drawn equally often, as in the test images.
#
# For the labels, read the last two columns side by side: a class that the judge misreads on real images it cannot
# confirm on samples either. On this data set that is above all the shirt, which looks like T-shirt, pullover and coat.
#
# Notebook 06 goes on from here: labels that are dropped now and then allow guidance.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - Five functions make a diffusion model: schedule, network, training step, and two samplers; a sixth saves what it draws.
# - Fewer levels need larger betas, a network needs to see the whole picture, and a sampler starts at the top.
# - The loss flattens early; the samples and their distance go on improving.
# - Without fresh noise the errors of a network that was stopped early stay in the picture.
# - Two correct programs draw the same pictures only with the same betas, variance, clamp and spacing.
# - Diffusion trades sampling time for a steady training; with few images it copies like the others.
#
# ## Self-check
#
# - [ ] I wrote all six functions, or know which one I could not write.
# - [ ] I can say why `betas` and `alpha_bar` have T + 1 entries, and what stands at index 0.
# - [ ] I can count how many pixels a stack of convolutions sees.
# - [ ] I can name the settings that decide whether `diffusers` draws my pictures.
# - [ ] I can say why the distances of two data sets cannot be compared, and what can.
# - [ ] I can give one reason for and one against diffusion with 300 images.
#
# ## Exercises to go on with
#
# | exercise | difficulty | time |
# |---|---|---|
# | Train for five minutes, set `WEIGHTS = "mine"`, and compare your grid with the table of minutes. | ●○○○○ | 15 min |
# | `DATA = "mnist"`: which step needs a change? | ●○○○○ | 15 min |
# | Cosine schedule in `LabSchedule`; do your two samplers still work unchanged? | ●●○○○ | 20 min |
# | Add seed 1 to the experiment `fashion` in `data/experiments`, run it, and see which differences of the stretch table hold. | ●●○○○ | 20 min, and half an hour of computing |
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
# - [11] Arjovsky, Chintala & Bottou 2017, *Wasserstein GAN*, arXiv:1701.07875: section 4.
# - [12] Feng et al. 2021, *When Do GANs Replicate? On the Choice of Dataset Size*, arXiv:2202.11765.
# - [13] van den Burg & Williams 2021, *On Memorization in Probabilistic Deep Generative Models*, arXiv:2106.03216.
# - [14] Meng et al. 2022, *SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations*, arXiv:2108.01073.
# - [15] Salimans & Ho 2022, *Progressive Distillation for Fast Sampling of Diffusion Models*, arXiv:2202.00512.
# - Nichol & Dhariwal 2021, *Improved DDPM*, arXiv:2102.09672: eq. 17. Song, Meng & Ermon 2021, *DDIM*, arXiv:2010.02502: eq. 12.
# - Xiao, Rasul & Vollgraf 2017, *Fashion-MNIST*, arXiv:1708.07747. Ronneberger et al. 2015, *U-Net*, arXiv:1505.04597.
#
# <!--slide 2 min
# ## What we learned
#
# - Five functions make a diffusion model; a sixth saves what it draws
# - Fewer levels need larger betas, and a sampler starts at the top
# - The loss flattens early; the samples go on improving
# - Without fresh noise, errors stay in the picture
# - Two programs agree only with the same betas, variance, clamp, spacing
#
# **Next:** notebook 08 asks which of our choices matter: prediction, schedule, weights.
#
# Notes:
# Say: at home: train for five minutes, set WEIGHTS = "mine", and compare your grid with the table of minutes. The stretch part has a cosine schedule and class labels, and what they brought.
# Ask: which one of the six functions could you not write again tomorrow? (Then that is the notebook to reread: 01 for the schedule, 03 for the network and training, 04 and 05 for sampling.)
# -->

# %% slideshow={"slide_type": "skip"}
check.summary("07")
