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
# Your functions draw digits. Can they draw clothes? In this lab you put a diffusion model together from them: you train it, draw with it, judge what comes out, and repair it.
# Most of the parts you have written already, in notebooks 01 to 04. The network and the settings of the training are given. You write what is new.
#
# **What you will be able to do**
# - put a diffusion model together from your own parts, for pictures it was not made for;
# - write the loop that trains it, and say from its loss and its samples how far it has come;
# - find out why samples are full of specks, and cure them;
# - start from a real garment and change it a little, or a lot;
# - tell whether the samples are copies of training pictures;
# - replace your walk by those of `diffusers` and get the same pictures;
# - compare GAN, VAE and diffusion soberly, for a team with few images.
#
# **What to know** Notebooks 01 to 04. The course's reference stands in for whatever you have not written there.
#
# **Time** about 80 minutes for the tasks of the lab, half an hour to read the rest; about two minutes for two CPU cores.
#
# <!--slide 2 min
# # 07 The Fashion-MNIST lab
#
# Your parts, other pictures: train, draw, judge, repair. Eight tasks, 80 minutes, two CPU cores.
#
# **The question of this lab:** your functions draw digits. Can they draw clothes?
#
# **You will be able to**
#
# - put a diffusion model together from your own parts, and write the loop that trains it
# - find out why samples are full of specks, and cure them
# - tell whether the samples are copies, and get the same pictures from `diffusers`
#
# **Write down:** which parts does a diffusion model need, at least?
#
# Notes:
# Say: the functions of notebooks 01 to 04 draw digits. Today they draw clothes. This is a lab: the briefing says what each task asks, then you work at the keyboard, then we look together at what came out, with the second deck, the debriefing. The network and the training settings are given; what somebody has not written before, the reference stands in for.
# Ask: which parts does a diffusion model need, at least? (A schedule, a network, a training step and the loop around it, a way to read the network's answer, a walk.)
# Have run before class: the notebook once; what takes long is the training of section 4 (a minute or two) and the comparison with diffusers. The shipped weights draw the other pictures, so nobody waits for a training.
# -->
#
# <!--slide 1 min debriefing
# # 07 The lab, debriefing
#
# You have trained, drawn, judged and repaired. What came out?
#
# - how much of the picture is left at the top, and how far the network sees
# - what took the specks away, and what longer training buys
# - what becomes of a real garment; whether the samples are copies; whether clothes are harder than digits
#
# **Take out** what you wrote down at the start: which parts does a diffusion model need?
#
# Notes:
# Say: this deck is for after the work. It shows what the tasks give, in their order; stop at a task that few have finished, and leave it for home.
# Ask: what surprised you most? (Collect three answers on the board. Come back to them at the end.)
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
from helpers.exercises import check, mine
from helpers.modes import choose, out_dir
from helpers.sliders import sliders

my = mine.parts()  # your functions of the notebooks before, where they are right; else the reference

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. The plan
#
# | section | your task | minutes | what you bring along |
# |---|---|---|---|
# | 2. Schedule | predict how much is left at the top | 4 | `Schedule`, `linear_betas` (01) |
# | 3. Network | predict how far it sees | 3 | `timestep_embedding` (02); the network is given |
# | 4. Training | write `fit`; find a wrong line | 23 | `train_step` (04) |
# | 5. Clothes | write `read_eps` | 4 | `predict_x0` (01), `walk` and `clamp_x0` (04) |
# | 6. Fewer steps | repair the short walk | 8 | `ddim_step` (02) |
# | 8. A real start | write `half_way` | 9 | `q_sample` (01), `walk` (04) |
# | 9. Copies? | write `nearest` | 10 | |
#
# Sections 7 and 10 to 12 are for reading. A task that you leave open is filled by the reference, so you can also begin with section 5.
#
# The lab grew out of one in a textbook. That one has several slips, and you will meet each at its place.
#
# Two switches: `DATA` chooses the pictures, and `WEIGHTS` chooses whose weights draw from section 5 on.
#
# <!--slide 3 min
# ## From a training picture to an honest look at the samples
#
# | section | your task | minutes |
# |---|---|---|
# | 2 and 3 | predict: how much is left, how far does it see? | 4 + 3 |
# | 4 | the training loop; a training with one wrong line | 13 + 10 |
# | 5 and 6 | read the network's answer; repair the short walk | 4 + 8 |
# | 8 and 9 | start from a real garment; are they copies? | 9 + 10 |
#
# Below: twelve real ones, and twelve that the finished model draws
#
# Notes:
# Say: `my.walk`, `my.train_step` and the others are the functions of the notebooks before, each one's own where it is right. Two switches at the top: DATA (fashion or mnist) and WEIGHTS (shipped or mine). The lower row is what we are heading for: the model after three minutes of training, not picked.
# Ask: what is harder about clothes than about digits? (Texture: large grey areas with fine structure instead of a few strokes. Whether they are harder for the model is measured at the end, and the answer depends on the measure.)
# Live: run the setup and this cell, a few seconds.
# -->

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
DATA = "fashion"  # or "mnist"
WEIGHTS = choose(read="shipped", smoke="shipped", full="mine")  # or "mine": those that you train in section 4
T = 300

load = {"fashion": data.fashion_mnist, "mnist": data.mnist}[DATA]
images, labels = load()
print(f"{len(images):,} images {tuple(images.shape[1:])}, {images.min():.0f} to {images.max():.0f}")
show.rows({"real": images[:12], "drawn": load_images("fashion")[f"{DATA}_final"][:12]}, "Two rows of twelve "
          "small grey pictures on black: above real training pictures, with fashion shoes, shirts, dresses; "
          "below what the model of this lab draws, most with a clear outline, some with holes")

# %% [markdown] exercise_text="7.1" slideshow={"slide_type": "slide"}
# The lower row is where we are heading: the first twelve pictures that this lab's model drew after about three minutes of training. Most can be named. Some have holes.
#
# (Pictures of your own? Put them into a folder, write `images, labels = data.folder("my_pictures", size=28)`, and set `WEIGHTS = "mine"`. Then you train on your pictures and draw from that training. Sections 7 to 10 and the checks still use garments, from stored results or from Fashion-MNIST.)
#
# ## 2. Do 300 levels reach pure noise?
#
# Sampling asks the network once for each level. To save time this lab takes 300 levels instead of 1,000. What has to happen to the betas then?
#
# The straight line from 0.0001 to 0.02 was made for 1,000 levels (Ho et al. 2020). Its betas are just large enough that after 1,000 steps hardly anything of the picture is left. Suppose that somebody takes 400 levels and does not change the line.
#
# ### Exercise 7.1: how much is left
#
# $\beta_1, \dots, \beta_{400}$ lie on the line from 0.0001 to 0.02 as it is. Which share of the picture's amplitude is left at $t = 400$? You can do it in your head: for small numbers $\ln(1-\beta)\approx-\beta$. (The lab has 300 levels. We ask about 400, because the cell below prints the answer for 300.)
#
# Difficulty: ●●○○○, 4 minutes
#
# <details><summary>Hint</summary>
#
# The mean of the 400 betas is 0.01, so their sum is easy. It is minus the logarithm of $\bar\alpha_{400}$. The amplitude is $\sqrt{\bar\alpha_{400}}$, and $e^{-1}$ is 0.37.
#
# </details>
#
# <!--slide 3 min
# ## How much is left at the top?
#
# - sampling asks the network once a level, so we take 300 levels instead of 1,000
# - $\beta_1, \dots, \beta_{400}$ on the line from 0.0001 to 0.02, which was made for 1,000
#
# $$x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\;\epsilon,\qquad \bar\alpha_t=\prod_{i=1}^{t}(1-\beta_i)$$
#
# In words: each step keeps a share $1-\beta$ of the picture's variance, and the shares multiply. A logarithm turns the product into a sum.
#
# **Your turn: 7.1, 4 minutes.** Which share of the picture's amplitude is left at $t=400$? In your head: $\ln(1-\beta)\approx-\beta$
#
# Notes:
# Say: write the number down before we look. The notebook keeps the first answer.
# Ask: which of the two is asked for, alpha-bar or its root? (The amplitude, so the root. The betas sum to 4, alpha-bar is e to the minus 4, 0.02, and its root is about 0.13.)
# Common mistakes: 0.02, the variance; 0.006, which is what 1,000 such steps leave.
# -->
#
# <!--slide 2 min debriefing
# ## With scaled betas the chain ends in noise
#
# Without the factor $1000/T$ a fifth of the amplitude is left, and the network learns to look for a trace that is never there when it samples.
#
# Notes:
# Live: run the cell; it takes a second. Look at t = 180 and 240 in the lower row: the garment is still there, and at 300 a darker corner gives it away.
# Say: the lab in a textbook from which this one grew makes exactly this mistake. The product has to come down to almost nothing, in however many factors: with a third of the factors each must do three times the work.
# Ask: in training the trace is really there, so why is it harmful? (Sampling starts from pure noise. The network has learned that there is always something to find, and finds it.)
# Answers 7.1.
# -->

# %% exercise="7.1" kind="predict" slideshow={"slide_type": "skip"}
# TODO 7.1: the share of the amplitude that is left at the top, a number
### BEGIN SOLUTION
guess = 0.13
### END SOLUTION
check.predict("7.1", guess)

# %% slideshow={"slide_type": "skip"}
schedule = my.Schedule(my.linear_betas(T))
short = my.Schedule(torch.cat([torch.zeros(1), torch.linspace(1e-4, 0.02, T)]))  # the line as it is
levels = torch.tensor([0, 30, 75, 120, 180, 240, 300])
x0 = images[:1].expand(len(levels), -1, -1, -1)
noise = torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0)).expand_as(x0)
noised = {"yours": schedule.q_sample(x0, levels, noise), "not scaled": short.q_sample(x0, levels, noise)}

# %% tags=["hide-input", "slide-output"] slideshow={"slide_type": "-"}
show.rows(noised, "One training picture at seven levels in two rows. Above, from clean to pure noise at "
          "t = 300. Below, with betas not scaled, it fades later, and a trace is left at t = 300",
          labels=[f"t = {t}" for t in levels], title="Scaled betas end in noise, unscaled ones stop short")
print(f"share of the amplitude left at the top, T = 300: scaled {schedule.alpha_bar[-1].sqrt():.3f}, "
      f"not scaled {short.alpha_bar[-1].sqrt():.3f}")
line = torch.cat([torch.zeros(1), torch.linspace(1e-4, 0.02, 400)])  # 400 levels on the line as it is
check.truth("7.1", my.alpha_bar_of(line)[-1].sqrt().item())

# %% [markdown] slideshow={"slide_type": "slide"}
# Look at $t=180$. In the upper row hardly anything is left to see; in the lower row the boot is still there. At 300 your eye finds little more than a darker corner, but a fifth of the amplitude is plenty for a network. Trained that way it learns that a
# trace of the picture is always there. When we then sample from pure noise, it finds a trace all the same.
#
# Your `linear_betas` multiplies the line by $1000/T$. Each of the 300 steps does the work of three, and the upper row ends in noise. (The textbook lab leaves the line as it is.)
#
# ## 3. How far does the network see?
#
# A sleeve has to fit the hem. So the network's answer at one pixel must depend on pixels far away. Does it?
#
# This lab has a smaller U-Net than the one you wrote in notebook 03, and it is given. In the drawing the picture is halved twice on the way down and doubled twice on the way up, and at each size a skip carries the details across.
#
# One block of the code below is this: a convolution (with stride 2 it halves the picture), then the norm, **plus the level**, SiLU, and a second convolution. Its result is added to what came out of the first. GroupNorm looks at one picture at a time, so pictures at different noise levels do not mix. (`classes` in the code is for the optional part at the end: labels are embedded and added to the level.)
#
# <!--slide 4 min
# ## Down, up, and three skips. How far does it see?
#
# **Your turn: 7.2, 3 minutes.** How many pixels across does one output pixel depend on: after three 3x3 convolutions, and here?
#
# Notes:
# Say: this network is given, another U-Net to read. A block is a convolution, norm plus level, SiLU, convolution, and the sum.
# Ask: where does it differ from yours of notebook 03? (No attention; the stride sits inside the first convolution of a block; the level is added before the activation, behind the norm; enlarging copies pixels, without a convolution of its own.)
# Then let them predict: two numbers, before the picture.
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
sizes = {"down1": "16x28x28", "down2": "32x14x14", "down3": "64x7x7", "middle": "64x7x7", "up3": "64x7x7",
         "up2": "32x14x14", "up1": "16x28x28"}
names = ["$x_t$\n1x28x28", *(f"{name}\n{size}" for name, size in sizes.items()), "$\\epsilon$\n1x28x28"]
places = [(0, 3), (1.2, 3), (2.1, 2), (3, 1), (4.1, 0), (5.2, 1), (6.1, 2), (7, 3), (8.2, 3)]
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.6))
for name, (x, y) in zip(names, places, strict=True):
    ax.text(x, y, name, ha="center", va="center", bbox=dict(boxstyle="round", fc="white", ec="black"))
for one, two, line in [*((i, i + 1, "-") for i in range(8)), (1, 7, "--"), (2, 6, "--"), (3, 5, "--")]:
    arrow = dict(arrowstyle="-|>", color="black", linestyle=line, shrinkA=35, shrinkB=35)
    ax.annotate("", places[two], places[one], arrowprops=arrow)
ax.text(4.1, 3.1, "skips", ha="center")
ax.text(-0.5, 0, "The level $t$ enters every block:\nsines and cosines, two linear\nlayers, a bias a channel")
ax.set(xlim=(-0.6, 8.8), ylim=(-0.5, 3.5), xticks=[], yticks=[], frame_on=False)
show.figure(fig, "A U: three blocks down, one in the middle, three up; dashed skips join blocks of a size")

# %% slideshow={"slide_type": "skip"}
class Block(nn.Module):
    def __init__(self, c_in, c_out, emb_dim, stride=1):
        super().__init__()
        self.enter = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1)
        self.norm, self.bias = nn.GroupNorm(8, c_out), nn.Linear(emb_dim, c_out)
        self.conv = nn.Conv2d(c_out, c_out, 3, padding=1)

    def forward(self, x, emb):
        h = self.enter(x)
        return h + self.conv(F.silu(self.norm(h) + self.bias(emb)[:, :, None, None]))

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

# %% slideshow={"slide_type": "skip"}
class LabUNet(Layers):
    def embed(self, t, y=None):
        emb = self.time(my.timestep_embedding(t, self.emb_dim))
        return emb if y is None else emb + self.label(y)

    def forward(self, x, t, y=None):
        emb = self.embed(t, y)
        a = self.down1(x, emb)
        b = self.down2(a, emb)
        c = self.down3(b, emb)
        h = self.up3(torch.cat([self.middle(c, emb), c], dim=1), emb)
        h = self.up2(torch.cat([F.interpolate(h, scale_factor=2.0), b], dim=1), emb)
        h = self.up1(torch.cat([F.interpolate(h, scale_factor=2.0), a], dim=1), emb)
        return self.leave(h)

# %% [markdown] exercise_text="7.2" slideshow={"slide_type": "slide"}
# **Question.** Where does it differ from your U-Net of notebook 03?
#
# <details><summary>Answer</summary>
#
# It has no attention. The stride sits inside a block, in its first convolution. The level is added behind the norm and before the activation. Enlarging copies each pixel four times, without a convolution of its own.
#
# </details>
#
# Without attention, only convolutions and the halving can carry something from one side of the picture to the other.
#
# ### Exercise 7.2: how far does it see?
#
# How many of the 28 pixels across does one output pixel depend on? Two numbers: for three 3 x 3 convolutions one after the other, and for `LabUNet`. (Count convolutions only; leave the norms out.)
#
# Difficulty: ●●○○○, 3 minutes
#
# <details><summary>Hint</summary>
#
# Count from one output pixel backwards. How many pixels does one 3 x 3 convolution look at, how many do two? In the U-Net, a step to the side at 7 x 7 is
# a step of four pixels in the picture: how many convolutions are made at 7 x 7?
#
# </details>
#
# <!--slide 3 min debriefing
# ## Three convolutions see 7 pixels across, the U-Net all 28
#
# What one output pixel depends on, bright where strongly (norms taken out). Look at the corners: dark on the left, so a sleeve cannot be related to a hem.
#
# Notes:
# Say: bright pixels are those that the output pixel in the middle depends on, measured by the gradient. The norms are taken out for this look: they pass brightness from everywhere to everywhere, but no shapes. The textbook's "U-Net" is the left one: it cannot relate a sleeve to a hem.
# Ask: how many pixels across do five 3x3 convolutions see? (11: one more on each side for every layer. To see 28 that way takes 14 layers at full size; halving twice is far cheaper.)
# Live: run the cell, a second.
# -->

# %% exercise="7.2" kind="predict" slideshow={"slide_type": "skip"}
# TODO 7.2: pixels across, for three 3 x 3 convolutions and for LabUNet
### BEGIN SOLUTION
guess = 7, 28
### END SOLUTION
check.predict("7.2", guess)

# %% slideshow={"slide_type": "skip"}
torch.manual_seed(0)
probe, flat = LabUNet(), nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(3)))
nn.init.normal_(probe.leave[-1].weight)  # it starts at zero
for part in [part for part in probe.modules() if hasattr(part, "norm")]:
    part.norm = nn.Identity()
probe.leave[0] = nn.Identity()


def reach(network):
    """How strongly one output pixel depends on each pixel of the input."""
    x = torch.randn(1, 1, 28, 28, requires_grad=True)
    network(x)[0, 0, 14, 14].backward()
    return x.grad[0, 0].abs()

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fields = {"three convolutions": reach(flat), "LabUNet": reach(lambda x: probe(x, torch.tensor([100])))}
across = {name: (field > 0).any(0).sum().item() for name, field in fields.items()}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.6))
for ax, (name, field) in zip(axes, fields.items(), strict=True):
    drawing = ax.imshow(field.log10().clamp(-8, 0), cmap="viridis", vmin=-8, vmax=0)
    ax.set(title=f"{name}: {across[name]} pixels across", xticks=[], yticks=[])
fig.colorbar(drawing, ax=axes, label="gradient, powers of ten")
show.figure(fig, "Which of 28 x 28 input pixels one output pixel depends on: a square of 7 x 7 for three "
            "convolutions, the whole picture for the U-Net")
check.truth("7.2", list(across.values()))

# %% [markdown] slideshow={"slide_type": "skip"}
# The output pixel in the middle depends on all pixels that are not dark. (The norms are taken out for this look. They pass on how bright the picture is as a whole, but no shapes.) Three convolutions see a patch of 7 x 7 and cannot relate a sleeve to a hem. The textbook lab calls three convolutions a U-Net.
#
# The U-Net with its three resolutions sees the whole picture, at a low price: the 7 x 7 layers hold most of the parameters and do little more than a third of the multiplications.
#
# ## 4. Training
#
# In notebook 04 you wrote one training step, and the loop around it was given. Now you write the loop. Around it we put what you know from notebook 03: the optimiser AdamW, a learning rate that warms up and later falls, and a moving average of the weights. The network computes in bfloat16, numbers of 16 bits, because many processors are faster with them. If yours is not, set `bf16 = False`. The 700 steps below take about a minute on two cores, sometimes two.

# %% slideshow={"slide_type": "skip"}
from helpers.training import EMA, learning_rate

bf16 = True
steps = choose(read=700, smoke=6, full=3_000)


def noise_target(x0, t, noise, schedule):  # what this network is asked for
    return noise


def rate(i):
    return learning_rate(i, steps, 1e-3)

# %% [markdown] exercise_text="7.3" slideshow={"slide_type": "slide"}
# What belongs to the loop? In each step `i`, counted from 0, it
# - puts the learning rate `rate(i)` into the optimiser, `optimizer.param_groups[0]["lr"]`;
# - draws what must be fresh in every step: which `batch` pictures of `images` (a picture may come twice), a level from 1 to $T$ for each of them, and noise;
# - makes one step of training, `my.train_step(model, optimizer, schedule, x0, t, noise, target)`;
# - hands out (`yield`) the loss, so that whoever runs the loop can look on, average the weights, or stop.
#
# All draws come from `generator`, in this order: pictures, levels, noise. Then the same seed gives the same training.
#
# ### Exercise 7.3: the training loop
#
# Write `fit`. It yields `steps` losses.
#
# Difficulty: ●●●○○, 13 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Five lines in a `for` loop. `torch.randint` draws whole numbers and leaves out the upper end; it takes the shape as a tuple. How many levels does a batch need?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `torch.randint(len(images), (batch,), generator=generator)` draws the places of the pictures in `images`. The levels are drawn the same way, from 1 to `schedule.T + 1`.
# The noise has `x0.shape`. The last line is `yield my.train_step(...)`.
#
# </details>
#
# <!--slide 3 min
# ## The loop around a training step
#
# - set the rate, `rate(i)`
# - draw what must be fresh: pictures, levels 1 .. $T$, noise, in this order, all from `generator`
# - make one step, `my.train_step(model, optimizer, schedule, x0, t, noise, target)`
# - hand out its loss
#
# **Your turn: 7.3, 13 minutes.** `fit(model, optimizer, schedule, images, steps, rate, target, generator, batch=64)`, a generator
#
# > The last layer starts at zero. So how large is the loss at the first step, and why?
#
# Notes:
# Say: the step is yours from notebook 04; today you write what stands around it. The moving average of the weights stays outside.
# Ask: why does the loss start at 1? (The last layer starts at zero, so the first answer is 0, and the noise has variance 1.)
# Give 13 minutes. Common mistakes: levels 0 to T - 1, so that the top never comes up; one level for the whole batch; the rate never set. Start the training cell when the exercise ends: 700 steps take about a minute, sometimes two.
# -->

# %% exercise="7.3" slideshow={"slide_type": "skip"}
def fit(model, optimizer, schedule, images, steps, rate, target, generator, batch=64):
    """Trains the model; yields the loss of each step. rate(i): the learning rate of step i."""
    # TODO 7.3: in each step the rate, then pictures, levels and noise; train, and yield the loss
    ### BEGIN SOLUTION
    for i in range(steps):
        optimizer.param_groups[0]["lr"] = rate(i)
        x0 = images[torch.randint(len(images), (batch,), generator=generator)]
        t = torch.randint(1, schedule.T + 1, (batch,), generator=generator)
        noise = torch.randn(x0.shape, generator=generator)
        yield my.train_step(model, optimizer, schedule, x0, t, noise, target)
    ### END SOLUTION


fit = check("7.3", fit)

# %% slideshow={"slide_type": "skip"}
torch.manual_seed(0)
network = LabUNet()
optimizer, ema = torch.optim.AdamW(network.parameters(), fused=True), EMA(network)
g, losses, start = torch.Generator().manual_seed(0), [], time.perf_counter()
rounds = fit(network, optimizer, schedule, images, steps, rate, noise_target, g)
with torch.autocast("cpu", torch.bfloat16, enabled=bf16, cache_enabled=False):  # the cache keeps old weights
    for loss in show.progress(rounds, steps, "training"):
        ema.update(network)
        losses.append(loss)
minutes = (time.perf_counter() - start) / 60
print(f"{steps} steps in {minutes:.1f} min, loss {losses[0]:.2f}, then {sum(losses[-50:]) / 50:.3f}")

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
saved = load_results("fashion")
every_50 = torch.tensor(saved[DATA]["loss"]).mean(0)  # the long training: a mean over 50 steps each
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.4))
ax.plot(range(1, len(losses) + 1), show.smooth(losses), color=show.COLOUR["model"], linewidth=3,
        label="yours, mean of the last 50 steps")
ax.plot(range(50, 50 * len(every_50) + 1, 50), every_50, color=show.COLOURS[7], label="the long training")
ax.set(xlabel="training step", ylabel="loss, mean squared error of $\\epsilon$", xscale="log", yscale="log",
       title="The loss falls fast at first, then slowly")
ax.set_yticks([1, 0.5, 0.2, 0.1, 0.05], ["1", "0.5", "0.2", "0.1", "0.05"])
ax.legend()
show.figure(fig, "Loss over the step, both logarithmic: yours falls steeply, along that of the long training")
mine.credit("fit", "Schedule", "linear_betas", verb="trained")

# %% [markdown] exercise_text="7.4" slideshow={"slide_type": "slide"}
# The loss starts at 1, because the last layer starts at zero and the noise has variance 1.
# Your 700 steps are a first taste. The long training makes 3,000 and takes about three minutes: to follow it, set `steps` to 3,000 at the start of this section.
#
# Does a falling loss mean that all is well? Below, somebody wrote the loop and the step as one, for a smaller network and 60 steps, and made one mistake. Which one it is depends
# on a number that was drawn for you. The loss falls in every case.
#
# ### Exercise 7.4: a training that looks fine
#
# Which line is wrong? A wrong answer costs nothing: the check says what would be measured if that line were wrong, and what is measured here.
#
# Difficulty: ●●●○○, 10 minutes
#
# <details><summary>Hint</summary>
#
# Look at where the loss starts and where it ends (in the right program at 1 and at about 0.13); yours above started at 1. Then compare each line with your `fit` and your `train_step`: the range of the pictures and of the levels, the kind of noise, what the
# network is told and what it is asked for, what is called and in which order.
#
# </details>
#
# <!--slide 4 min
# ## One line of this training is wrong. Which?
#
# These are the right lines. The loss below comes from a copy in which one of them was changed.
#
# ```python
# 1 x0 = images[pick]
# 2 t = torch.randint(1, T + 1, (32,), generator=g)
# 3 noise = torch.randn(x0.shape, generator=g)
# 4 x_t = schedule.q_sample(x0, t, noise)
# 5 loss = F.mse_loss(model(x_t, t), noise)
# 6 optimizer.zero_grad()
# 7 loss.backward()
# 8 nn.utils.clip_grad_norm_(model.parameters(), 1.0)
# 9 optimizer.step()
# ```
#
# Notes:
# Say: one line was changed, and this is the loss; the lines on the slide are the right ones. In the notebook everybody gets a case of their own; for a common one, `check.hunt("7.4", seed=your_number)`. The loss of the real training, 700 steps, falls fast and then hardly at all; it stands in the notebook.
# Ask: what would you measure? (The loss at the first step: 0.33 points at line 3. A gradient that is always clipped: line 6. The smallest value of x0: line 1. The highest level drawn, and how many the network is told: lines 2 and 5. A loss that ends too low: line 5.)
# Here line 1: the pictures go from 0 to 1. The point: in three of the six cases the loss ends lower than in the right program. A small loss says that the question was easy.
# -->

# %% exercise="7.4" kind="hunt" tags=["slide-figure"] slideshow={"slide_type": "-"}
check.hunt("7.4")

# %% kind="answer" of="7.4" slideshow={"slide_type": "skip"}
line = 1  # TODO 7.4: the number of the wrong line
check.found("7.4", line)

# %% [markdown] exercise_text="7.5" slideshow={"slide_type": "slide"}
# So a falling loss says little by itself, and a low one does not say much more. With pictures from 0 to 1, for example, the loss ends lower than in the right program, and the network is worse. What helps is the right loss on held-out pictures, and a look at samples.
#
# From here on you can draw with the shipped weights or with yours (the switch `WEIGHTS` at the top). The shipped ones are this very network after the long training (`make train`). Even that was stopped early, and the samples will show it.
#
# ## 5. Clothes, from noise
#
# Your `walk` draws with any network, as long as somebody tells it how to read the network's answer. In notebook 04 the network answered with $v$, and `from_v` read it. This one answers with the noise, so it needs another reader. A reader is called as `read(output, x_t, t, schedule)` and returns both
# parts of $x_t$, the picture first. It does not clamp; the walk does that.
#
# ### Exercise 7.5: read the answer
#
# Write `read_eps`. Your `my.predict_x0(x_t, t, eps, schedule)` is there.
#
# Difficulty: ●○○○○, 4 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# One of the two is what the network answered.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# The other is what `my.predict_x0` makes of it. The order is `(x0, eps)`.
#
# </details>
#
# <!--slide 3 min
# ## Your walk needs to know how to read the answer
#
# - the network of notebook 04 answers with $v$: `from_v` reads it
# - this one answers with the noise, and `read_eps` has to find $x_0$ in the mixture:
#
# $$x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\;\epsilon$$
#
# **Your turn: 7.5, 4 minutes.** `read_eps(output, x_t, t, schedule)` returns `(x0, eps)`
#
# Then `my.walk(model, schedule, x_T, range(T, 0, -1), my.ancestral_step, read_eps, g)` draws clothes.
#
# > Should the reader clamp $\hat x_0$ to $[-1, 1]$? Who else could do it?
#
# Notes:
# Say: everything else is there. The schedule and the walk are yours, the network is given.
# Ask: should the reader clamp? (No. The walk clamps, for every reader, and computes the noise anew.)
# Give 4 minutes. Common mistake: the two results in the other order.
# -->
#
# <!--slide 2 min debriefing
# ## Clothes from noise, by your own walk
#
# Notes:
# Live: the walk of 64 pictures takes about six seconds on two cores. In the notebook, "Looking inside" has a slider that runs through eight stored walks, each state with the network's guess of the clean picture.
# Say: shirts, trousers, bags, shoes. Some have holes and specks: the network was stopped early, after three minutes of training. A classifier is confident about <!--r:fashion.fashion.final.confident.mean|.0%-->40%<!--/--> of such samples, and about <!--r:fashion.floors.fashion.confident|.0%-->74%<!--/--> of real ones.
# Ask: which kinds of clothes come out best, and which worst? (Look: plain outlines such as shoes and tops are good; textures are grainy.)
# -->

# %% exercise="7.5" slideshow={"slide_type": "skip"}
def read_eps(output, x_t, t, schedule):
    """What a network that answers with the noise says about x_t: (x0, eps)."""
    # TODO 7.5: the picture and the noise
    ### BEGIN SOLUTION
    return my.predict_x0(x_t, t, output, schedule), output
    ### END SOLUTION


read_eps = check("7.5", read_eps)

# %% expected="7.5" tags=["slide-figure"] slideshow={"slide_type": "-"}
model = ema.model if WEIGHTS == "mine" else load_model(f"{DATA}_lab", LabUNet)
model.requires_grad_(False)
g, start = torch.Generator().manual_seed(0), time.perf_counter()
x_T = torch.randn(choose(64, 10), 1, 28, 28, generator=g)
states, x = {}, x_T  # at each level x_t, and the picture that the network sees in it
with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
    walk = my.walk(model, schedule, x_T, range(T, 0, -1), my.ancestral_step, read_eps, g)
    for level, x_next, x0 in show.progress(walk, T, "ancestral"):
        states[level + 1], x = (x[:8], x0[:8]), x_next
seconds, samples = time.perf_counter() - start, x
show.grid(samples, "64 samples in an 8 by 8 grid. With the shipped weights: shirts, trousers, bags, shoes",
          columns=8, width=4.4)

# %% [markdown] slideshow={"slide_type": "skip"}
# These are clothes, and nobody ever wore them. They are not all good: count those that you could not name, and those with holes. To have a number that does not depend on your eye, the course trained a classifier on real garments and asked it about 500 such samples.
# It was confident (more than $95\,\%$ for one class) about <!--r:fashion.fashion.final.confident.mean|.0%-->40%<!--/--> of them, and about <!--r:fashion.floors.fashion.confident|.0%-->74%<!--/--> of real test images.
#
# How did the walk get there? Here is one sample on its way, and below it the network's guess of the clean picture, $\hat x_0$, at each level.

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
print(f"{len(samples)} images, {T} steps, {WEIGHTS} weights: {seconds:.1f} s")
mine.credit("walk", "read_eps", "ancestral_step", "Schedule", "linear_betas")
film = torch.stack([*(states[t][0][:3] for t in (T, 200, 100, 50, 20)), samples[:3]], dim=1).flatten(0, 1)
for name, pictures, columns in (("grid", samples, choose(8, 5)), ("filmstrip", film, 6)):
    my.to_png(pictures, columns, out_dir() / f"{DATA}_{name}.png")
    print(f"saved {DATA}_{name}.png")
levels = [300, 240, 180, 120, 90, 60, 30, 1]
states_of, guesses = (torch.stack([states[t][kind][2] for t in levels]) for kind in (0, 1))
show.rows({"state $x_t$": states_of, "guess of $x_0$": guesses}, "A walk at eight levels: the states; below, "
          "the guesses: specks, then a blur, then a shoe while the state is still mostly noise",
          labels=[f"t = {t}" for t in levels], title="The guess can be named long before the state can")

# %% [markdown] slideshow={"slide_type": "skip"}
# Follow the lower row from left to right. At $t=300$ the guess is only specks, at 180 a blur, and at 120 you can already name it, while the state above is still mostly noise. Section 6 comes back to the specks at the very top.
#
# ## 6. Can it be ten times faster?
#
# Three hundred evaluations are many. So let's visit every tenth level only, with the DDIM step of notebook 02, which adds no fresh noise. Everything else stays, also the noise at the start. Both walks compute in bfloat16, so that their times can be compared. What do you expect?

# %% slideshow={"slide_type": "skip"}
def every_tenth(model, schedule, x, generator=None):
    *_, (_, x, _) = my.walk(model, schedule, x, range(T, 0, -10), my.ddim_step, read_eps, generator)
    return x


start = time.perf_counter()
with torch.autocast("cpu", torch.bfloat16, enabled=bf16):  # as in section 5
    few = every_tenth(model, schedule, x_T)
few_seconds = time.perf_counter() - start

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
both = {f"{T} ancestral steps: {seconds:.1f} s": samples, f"every 10th level: {few_seconds:.1f} s": few}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 5.1))
for ax, (title, some) in zip(axes, both.items(), strict=True):
    ax.imshow(show.tiles(some, choose(8, 5)), vmin=0, vmax=255)
    ax.set_title(title)
    ax.set_axis_off()
show.figure(fig, "Two grids of 64 pictures from the same noises: left by 300 ancestral steps, clothes; right "
            "by every tenth level, some clean, many full of specks")

# %% [markdown] slideshow={"slide_type": "skip"}
# It is faster, and worse: many of the pictures on the right are full of specks. (They are other garments than on the left, because fresh noise sends the ancestral walk elsewhere.) There is no mistake in your functions, so where do the specks come from?
#
# To compare repairs, we need a number. Call a pixel *lonely* when it is brighter than all its eight neighbours, or darker than all of them, by more than 0.2. Real pictures have a few lonely pixels; pictures with specks have many.

# %% slideshow={"slide_type": "skip"}
def lonely(x, by=0.2):
    """For each picture, how many of a thousand pixels are brighter, or darker, than all eight neighbours."""
    around = F.unfold(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3).unflatten(1, (1, 9))[:, 0]
    middle, others = around[:, 4], torch.cat([around[:, :4], around[:, 5:]], dim=1)
    apart = (middle > others.amax(1) + by) | (middle < others.amin(1) - by)
    return 1000 * apart.float().mean(1)


counts = {"real": lonely(images[:500]), "ancestral": lonely(samples), "every 10th": lonely(few)}
rows = [[name, len(n), f"{n.mean():.1f}", f"{(n > 10).float().mean():.0%}"] for name, n in counts.items()]
show.table(rows, ["pictures", "how many", "lonely pixels in a thousand", "pictures with more than ten"])

# %% [markdown] exercise_text="7.6" slideshow={"slide_type": "slide"}
# ### Exercise 7.6: cure the specks
#
# Change one thing in the walk below, so that the specks go and it still asks the network 30 times at most. Then say why it helps:
#
# - `"a"`: the strides were too long;
# - `"b"`: the start was below the top;
# - `"c"`: without fresh noise every error of the network is carried to the end.
#
# The check draws the first sixteen pictures again, which takes a second or two. There the walk as given leaves 9.2 lonely pixels in a thousand; fewer than half of that are asked for.
#
# Difficulty: ●●●○○, 8 minutes
#
# <details><summary>Hint</summary>
#
# Two things stand in the line: which levels are visited, and how a step is made. Try them one at a time. What does the ancestral walk of section 5 do that this one does not?
#
# </details>
#
# <!--slide 4 min
# ## Thirty evaluations, and specks. What is to blame?
#
# ```python
# levels, step = list(range(300, 0, -10)), my.ddim_step
# ```
#
# - **(a)** the strides are too long
# - **(b)** the start is below the top
# - **(c)** without fresh noise every error of the network is carried to the end
#
# **Your turn: 7.6, 8 minutes.** Change one thing, so that the specks go; still 30 evaluations. Then say why
#
# Vote for a letter before you change anything. The check counts *lonely* pixels, brighter or darker than all their neighbours, and tells you what your change did.
#
# > Which levels does this walk visit, and which one comes first?
#
# Notes:
# Say: thirty evaluations instead of three hundred, but some pictures are full of specks. The check counts lonely pixels and says what a change does.
# Ask: with T = 300 and every tenth level, which levels are visited? (300, 290, down to 10, then clean: thirty evaluations. Counting 1, 11, 21 from below would start at 291.)
# Give 8 minutes, and let them vote for a letter first. Smaller strides need more than 30 evaluations, and the check says that they do not help.
# -->

# %% exercise="7.6" kind="break" slideshow={"slide_type": "skip"}
def draw_short(model, schedule, x, generator):
    # TODO 7.6: change one thing, so that the specks go
    ### BEGIN SOLUTION
    # given: levels, step = list(range(300, 0, -10)), my.ddim_step
    levels, step = list(range(300, 0, -10)), my.ancestral_step
    ### END SOLUTION
    for _, x, _ in my.walk(model, schedule, x, levels, step, read_eps, generator):
        pass
    return x


why = "c"  # "a", "b" or "c"
draw_short = check.changed("7.6", draw_short, why)

# %% [markdown] slideshow={"slide_type": "slide"}
# Which change is it that helps? Here is each one by itself, from the same noises, and yours in the last row. Two rows show mistakes that are often made. *Starts at 291* counts 1, 11, 21, ... from below, as the textbook lab does. *One-level steps* visits every
# tenth level, but each of its steps is the ancestral step from $t$ to $t-1$.
# *Live, fresh* is *fresh noise* with the weights that you trained in section 4.
#
# <!--slide 3 min debriefing
# ## The specks go with fresh noise, not with shorter strides
#
# One change a row, the same starting noise. Numbers: how many of a thousand pixels are *lonely*, brighter or darker than all their neighbours
#
# Notes:
# Say: row 2: shorter strides, the same specks. Row 3: started at 291, nearly the same. Row 4: one-level steps at every tenth level, as if the levels between did not exist: noise. Row 5: the same strides with fresh noise: clothes. Row 6: the same, with the weights trained live. The last row is what was handed in.
# Ask: why does fresh noise help a network with errors? (The deterministic walk carries each error to the end. Fresh noise covers it up, and later steps can correct it.)
# Live: the cell takes a few seconds; it needs the live training of section 4.
# Answers 7.6.
# -->

# %% slideshow={"slide_type": "skip"}
def drawn(network, levels, step):
    g = torch.Generator().manual_seed(1)
    *_, (_, x, _) = my.walk(network, schedule, x_T[:16], levels, step, read_eps, g)
    return x


def one_level(x0, eps, t, t_next, noise, schedule):
    return my.ancestral_step(x0, eps, t, t - 1, noise, schedule)

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
tenth = range(T, 0, -10)
strips = {
    "every 10th": drawn(model, tenth, my.ddim_step),
    "every 3rd": drawn(model, range(T, 0, -3), my.ddim_step),
    "starts at 291": drawn(model, range(T - 9, 0, -10), my.ddim_step),
    "one-level steps": drawn(model, tenth, one_level),
    "fresh noise": drawn(model, tenth, my.ancestral_step),
    "live, fresh": drawn(ema.model, tenth, my.ancestral_step),
    "your choice": draw_short(model, schedule, x_T[:16], torch.Generator().manual_seed(1)),
}
named = {f"{name}: {lonely(row).mean():.1f}": row[:12] for name, row in strips.items()}
show.rows(named, "Seven rows: every tenth level; every third, as many specks; from 291, nearly the same; "
          "one-level steps, noise; fresh noise, clothes; the live weights, rough; yours",
          title="Fresh noise cures the specks (numbers: lonely pixels in a thousand)")

# %% [markdown] slideshow={"slide_type": "skip"}
# The strides are innocent: with every third level there are as many specks. What is missing is fresh noise. A walk without it carries each error of the network to the end, however small its steps are. The usual explanation is that fresh noise covers an error up, so that later steps can correct it.
# (The numbers are means over 16 pictures. Having fewer lonely pixels than real pictures is no merit: it says that the specks are gone, and nothing more. If you chose `my.ancestral_step`, the last row repeats *fresh noise*.)
#
# Where do the errors come from? The network was stopped early, but there is a second source, and we can compute it. The reader gets the picture from the noise by $\hat x_0=(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon)/\sqrt{\bar\alpha_t}$. In words: subtract the noise, then divide by what is left of the picture.
# Near the top almost nothing is left, so the reader divides by a very small number, and an error of $\epsilon$ grows by $\sqrt{1-\bar\alpha_t}/\sqrt{\bar\alpha_t}$. How much is that? Say the network is wrong by only 0.01:

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
rows = []
for t in (300, 240, 180, 120, 60):
    left = schedule.alpha_bar[t].sqrt()
    rows.append([t, f"{left:.3f}", f"{0.01 * (1 - left**2).sqrt() / left:.3f}"])
show.table(rows, ["level t", "amplitude of the picture", "an error of 0.01 in eps becomes, in the picture"])

# %% [markdown] slideshow={"slide_type": "slide"}
# A pixel only goes from -1 to 1. So at the top a tiny error fills the whole range, the clamp cuts it to black or white, and the guess is specks: those that you saw at $t=300$ in section 5. Every walk begins with them, with fresh noise or without. We did not test whether they cause the specks at the end.
# A network that is asked for $v$ (notebook 03) does not have to divide there.
#
# **Question.** The walk started at 291 looks no worse. Why start at the top all the same?
#
# <details><summary>Answer</summary>
#
# At $t = 291$ less than a hundredth of the amplitude is left, so the error is small *here*, because the betas were scaled. It grows with the stride, and with a
# schedule that stops short, as that of the textbook lab. A start at the top costs nothing and is right for every stride.
#
# </details>
#
# ## 7. What does more training buy?
#
# Your live training made 700 steps. `make train` made 3,000 by the same recipe, and drew samples on the way. Two numbers judge 500 samples each time. The **distance** is the Frechet distance of notebooks 03 and 04 to the
# 10,000 test images, computed from the features of a classifier of this data set. **Confident** is, as in section 5, the share of samples of which this classifier is sure.
#
# The minutes are for two CPU cores. There was one training, so a small difference may be chance.
#
# <!--slide 3 min debriefing
# ## The samples improve faster than the loss does
#
# Distance: <!--r:fashion.fashion.snapshots.2.distance.mean|.0f-->144<!--/--> after 1,000 steps, <!--r:fashion.fashion.snapshots.4.distance.mean|.0f-->75<!--/--> after 3,000; last row, the same weights with 300 ancestral steps instead of 30: <!--r:fashion.fashion.final.distance.mean|.0f-->36<!--/-->
#
# Notes:
# Say: Frechet distance of 500 samples from real test images; real images among themselves have about eight. One training, so small differences may be chance; these are not small. Each column of the first five rows starts from the same noise and is drawn without fresh noise: a column that begins full of specks usually ends so.
# Ask: what would you look at to decide when to stop training? (Samples and their distance, not the training loss alone. A held-out loss would show memorising.)
# Live: the cell above prints the table with loss, distance and the confident share; it only reads results. The long training has been run by make train.
# -->

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
def pm(found, form=".1f"):
    spread = f" ± {found['std']:{form}}" if len(found["values"]) > 1 else ""
    return f"{found['mean']:{form}}{spread}"


clock, floor, found, rows = load_results("lab_seconds"), saved["floors"][DATA], saved[DATA], []
fastest, walks = clock[clock["faster"]], {"every 10th, fresh noise": "fresh", "ancestral": "final"}
for row in found["snapshots"]:
    step, loss = row["step"], every_50[max(0, row["step"] // 50 - 4) : row["step"] // 50].mean()
    scores = [pm(row["distance"]), f"{row['confident']['mean']:.0%}"]
    rows.append([f"{step:,}", f"{step * fastest['step'] / 60:.1f}", f"{loss:.4f}", "every 10th", *scores])
for name, key in walks.items():
    rows.append([*rows[-1][:3], name, pm(found[key]["distance"]), f"{found[key]['confident']['mean']:.0%}"])
rows.append(["", "", "", "real test images", f"{floor['mean']:.1f}", f"{floor['confident']:.0%}"])
show.table(rows, ["steps", "minutes", "loss", "walk", "distance", "confident"])

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
pictures, stages = load_images("fashion"), {}
for row in found["snapshots"]:
    stages[f"{row['step'] * fastest['step'] / 60:.1f} min"] = pictures[f"{DATA}_{row['step']}"][:12]
stages["ancestral"] = pictures[f"{DATA}_final"][:12]
print(f"64 images: {fastest['ancestral_64']:.1f} s ancestral, {fastest['every_64']:.1f} s every 10th level")
show.rows(stages, "Twelve samples a snapshot, by every 10th level: blurs on top, clearer outlines further "
          "down, the specks of some stay to the end; the last row, ancestral: other garments, fewer specks",
          title="Every 10th level: training clears most outlines; many specks stay. Last row: ancestral")

# %% [markdown] exercise_text="7.7" slideshow={"slide_type": "slide"}
# Follow one column downwards. In the first five rows the noise at the start is the same, so mostly the same garment comes out and gets clearer. But a column that begins full of specks mostly ends full of specks. The last row has fresh noise and garments of its own.
#
# Now read the table. From 1,000 to 3,000 steps the loss falls by about a fifth, and the distance by about a half, from <!--r:fashion.fashion.snapshots.2.distance.mean|.0f-->144<!--/--> to <!--r:fashion.fashion.snapshots.4.distance.mean|.0f-->75<!--/-->. So do not stop because the loss hardly moves.
#
# A better walk helps too, without any training. At the same 30 evaluations, fresh noise alone brings <!--r:fashion.fashion.few.distance.mean|.0f-->75<!--/--> down to <!--r:fashion.fashion.fresh.distance.mean|.0f-->46<!--/-->. The ancestral walk, with 300 evaluations, brings it to <!--r:fashion.fashion.final.distance.mean|.0f-->36<!--/-->. Even the best walk is far from the <!--r:fashion.floors.fashion.mean|.1f-->7.8<!--/--> of real pictures.
#
# Would a larger network and a longer training help? Yes: see "A larger network" in "Looking inside".
#
# ## 8. What if the walk begins with a real garment?
#
# So far every walk began with pure noise. Begin with a shirt instead: noise it half way, so that its details are gone and its outline is not, then walk down from there. What comes out has to fit what was left of the shirt, and the rest is new. The idea is
# SDEdit's (Meng et al. [14]). People use it to turn scribbles into paintings.
#
# ### Exercise 7.7: half way up, then down
#
# Write `half_way`: noise `pictures` to the first of `levels`, walk through all of them, and return the pictures at the end. The noise for the start is drawn from `generator` first, the walk's noise from the same generator after it.
#
# Difficulty: ●●○○○, 9 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Both halves exist: the schedule noises a picture to any level, and your walk starts at the first of the levels that it is given, wherever that is.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `schedule.q_sample(pictures, levels[0], noise)` is where `my.walk(model, schedule, x, levels, step, read, generator)` begins. It yields three things a round, `(level, x, x0)`; return the last `x`.
#
# </details>
#
# <!--slide 2 min
# ## Noise a real garment half way, then walk down
#
# A walk need not begin with pure noise. Take a real picture instead:
#
# 1. noise it to a level half way, in one jump
# 2. walk down from there, as always
#
# **Your turn: 7.7, 9 minutes.** `half_way(model, schedule, pictures, levels, step, read, generator)`: `levels[0]` is where it starts
#
# > Write down before you look: from which level on will it be another garment?
#
# Notes:
# Say: both halves exist, the jump and the walk. Draw the noise for the jump first, then hand the same generator to the walk.
# Ask: the question on the slide. (The picture comes in the debriefing.)
# Give 9 minutes. Common mistakes: noising to the top; walking from the clean picture.
# -->
#
# <!--slide 2 min debriefing
# ## The higher the start, the less of the garment is left
#
# Look down the columns. From which level on is it another garment?
#
# Notes:
# Say: at 60 it is the same one with other details, at 120 a cousin, from 180 on usually another garment.
# Ask: why does an outline survive where the pattern is gone? (Fine detail drowns at low levels, the coarse shape only at high ones. The walk invents what has drowned and keeps what can still be seen.)
# -->

# %% exercise="7.7" slideshow={"slide_type": "skip"}
def half_way(model, schedule, pictures, levels, step, read, generator):
    """pictures: (B, 1, H, W), clean. Noised to levels[0], then walked down; returns (B, 1, H, W)."""
    # TODO 7.7: noise them, walk, and return where the walk ends
    ### BEGIN SOLUTION
    noise = torch.randn(pictures.shape, generator=generator)
    x = schedule.q_sample(pictures, levels[0], noise)
    for _, x, _ in my.walk(model, schedule, x, levels, step, read, generator):
        pass
    return x
    ### END SOLUTION


half_way = check("7.7", half_way)

# %% expected="7.7" tags=["slide-figure"] slideshow={"slide_type": "-"}
test_images, test_labels = load(train=False)
places = [(test_labels == c).nonzero()[k].item() for c, k in ((6, 0), (0, 1), (1, 0), (9, 0), (8, 0), (2, 2))]
real = test_images[places]
cousins = {"a real one": real}
for top in choose((60, 120, 180, 240), (60, 240)):
    levels, g = range(top, 0, -choose(1, 30)), torch.Generator().manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        x = half_way(model, schedule, real, levels, my.ancestral_step, read_eps, g)
    cousins[f"from t = {top}"] = x
show.rows(cousins, "Six real garments, and what becomes of them from t = 60, 120, 180 and 240: nearly a "
          "copy, a cousin, then mostly other garments")

# %% [markdown] exercise_text="7.8" slideshow={"slide_type": "slide"}
# Read down the columns. From $t=60$ a garment comes back as a near copy with other details. From 120 it is a cousin: its outline is mostly kept, what is inside is new. From 180 on most are other garments: little more than the place of the bright area remains.
#
# ## 9. Are they copies?
#
# The samples look like the data. Could they be copies of it? Look up the training picture that is nearest to each sample. As the distance of two pictures take their
# differences pixel by pixel, then the root of the mean of the squares.
#
# A small distance alone says little, because plain trousers are near to other plain trousers. So ask the same of real pictures that the network has never seen.
#
# The samples are the 64 shipped ones of the long training, whatever `WEIGHTS` says. To ask about those of section 5, write `drawn_64 = samples` below.
#
# ### Exercise 7.8: the nearest training picture
#
# Write `nearest`: for each of `samples` (N, ...) its nearest picture in `training` (M, ...), as an index, and how far it is, both (N,). Return them in this order.
#
# Difficulty: ●●●○○, 10 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Make every picture a row (`flatten(1)`); then you need a table of distances (N, M) and its smallest value in each row.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `torch.cdist(a, b)` is that table with the sum of the squares in place of their mean: divide by the root of the number of pixels.
# `.min(dim=1)` returns values and indices, in this order; you return them the other way round.
#
# </details>
#
# <!--slide 2 min
# ## Are they copies? Look up the nearest training picture
#
# - the root of the mean squared difference, in units of a pixel
# - the same for real pictures that the network has never seen
# - copies would lie near zero, far below the distances of unseen real pictures
#
# **Your turn: 7.8, 10 minutes.** `nearest(samples, training)` returns `(index, distance)`, both `(N,)`
#
# > Which copy would this distance miss?
#
# Notes:
# Say: copying would show as distances near zero, far below those of unseen real pictures. This is evidence, not proof.
# Ask: which copy would this distance miss? (One that is shifted by a pixel, or mirrored.)
# Give 10 minutes. Common mistakes: forgetting to divide by the root of the number of pixels; returning distance and index in the order in which `min` gives them.
# -->
#
# <!--slide 2 min debriefing
# ## The samples are no copies, as far as this distance can tell
#
# These ten come nearest to a training picture. Are they the same garment?
#
# Notes:
# Say: even the nearest ten are similar garments, not the same ones, and the samples lie farther from the training set than real pictures that the network has not seen.
# Ask: does that prove that nothing was memorised? (No. A copy that is shifted by a pixel is far away by this distance.)
# -->

# %% exercise="7.8" slideshow={"slide_type": "skip"}
def nearest(samples, training):
    """samples (N, ...), training (M, ...). Returns (index, distance) of the nearest one, both (N,)."""
    # TODO 7.8: make rows, a table of distances, and the smallest in each row
    ### BEGIN SOLUTION
    a, b = samples.flatten(1), training.flatten(1)
    distance, index = (torch.cdist(a, b) / a.shape[1] ** 0.5).min(dim=1)
    return index, distance
    ### END SOLUTION


nearest = check("7.8", nearest)

# %% expected="7.8" tags=["slide-output"] slideshow={"slide_type": "-"}
def look_up(some, part=4_000):  # a few thousand training pictures at a time, to save memory
    found = [nearest(some, images[i : i + part]) for i in range(0, len(images), part)]
    distance, place = torch.stack([d for _, d in found]).min(0)
    index = torch.stack([i for i, _ in found]).gather(0, place[None])[0] + part * place
    return index, distance


drawn_64 = load_images("fashion")[f"{DATA}_final"]  # ancestral, by the long training
index, distance = look_up(drawn_64)
_, unseen = look_up(test_images[:500])
order = distance.argsort()[:10]
show.rows({"sample": drawn_64[order], "nearest": images[index[order]]}, "The ten samples that come nearest "
          "to the training set, above their nearest training pictures: similar garments, not the same",
          labels=[f"{d:.2f}" for d in distance[order]], title="The ten samples nearest to a training picture")
sets = {"samples": distance, "unseen real pictures": unseen}
show.table([[name, f"{len(d)}", f"{d.median():.2f}"] for name, d in sets.items()],
           ["", "how many", "middle distance"])

# %% [markdown] slideshow={"slide_type": "skip"}
# These ten are the samples *most* like a training picture, and even these are similar garments, not the same ones. Copies would have distances near zero, far below those of real pictures that the network has not seen. Here the samples are farther away than those. That does not prove that nothing was memorised: by this distance, a copy that is shifted by a pixel is far away.
#
# In a formula, with $P$ pixels, your distance is
#
# $$d(a, b) = \sqrt{\tfrac{1}{P}\textstyle\sum_p (a_p - b_p)^2}$$

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 10. Which is harder, digits or clothes?
#
# The same network learned both data sets by the same recipe. Which was harder for it? Guess before you look.
#
# The losses share a unit, so they can be compared. The distances cannot, because each is measured with the classifier of its own data set. But each data set has a floor: the distance of as many real images from the other real ones. So we ask how many times its own floor each distance is.
#
# <!--slide 3 min debriefing
# ## Harder in what? Loss and distance disagree
#
# One network, one recipe; the distance is counted in floors: real images among themselves have 1
#
# Notes:
# Say: same network, same recipe. By the loss clothes are harder, at every step after the first hundred. By the distance, counted in floors, there is no winner: digits begin further off, come down faster, and the ends are too close for one training each.
# Ask: why may the losses be compared, but not the plain distances? (The losses share a unit, the variance of the noise. Each distance is measured with the classifier of its own data set; so divide by the floor, the distance of real images.)
# Live: nothing to run, stored results.
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.8))
for name, colour in (("fashion", show.COLOURS[0]), ("mnist", show.COLOURS[7])):
    snapshots, curve = saved[name]["snapshots"], torch.tensor(saved[name]["loss"]).mean(0)
    axes[0].plot(range(50, 50 * len(curve) + 1, 50), curve, color=colour, label=name)
    floors = [row["ratio"]["mean"] for row in snapshots]
    axes[1].plot([row["step"] for row in snapshots], floors, color=colour, marker="o", label=name)
axes[1].axhline(1, color=show.COLOUR["floor"], linestyle="--", label="real images")
axes[0].set(ylabel="loss", xscale="log", yscale="log", title="By the loss, clothes are harder")
axes[1].set(ylabel="distance in floors (every 10th level)", title="By the distance, there is no winner")
for ax in axes:
    ax.set_xlabel("training step")
    ax.legend()
show.figure(fig, "Loss and distance in floors over the training step, a curve for each of the two data sets")

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
rows = []
for name in ("fashion", "mnist"):
    found, real = saved[name], saved["floors"][name]
    loss, end = torch.tensor(found["loss"]).mean(0)[-10:].mean(), found["final"]
    rows.append([name, f"{loss:.4f}", f"{real['mean']:.1f} ± {real['std']:.1f}", pm(end["distance"]),
                 f"{end['ratio']['mean']:.1f}", f"{found['few']['ratio']['mean']:.1f}"])
show.table(rows, ["", "loss at the end", "floor", "ancestral", "in floors", "every 10th, in floors"])

# %% [markdown] slideshow={"slide_type": "slide"}
# By the loss, clothes are harder, at every step after the first hundred. By the distance there is no winner. Digits begin more floors away and come down faster. With the ancestral walk they end at
# <!--r:fashion.mnist.final.ratio.mean|.1f-->5.0<!--/--> floors and clothes at <!--r:fashion.fashion.final.ratio.mean|.1f-->4.6<!--/-->. The floor of the clothes varies by about a fifth from draw to draw (the ± in the table). That is about one floor up or down, more than this gap, which may therefore be chance.
#
# The two see different things. The loss is the noise that could not be told from the picture, and grey texture looks like noise. The
# distance looks at whole pictures, through a classifier. So when somebody says "harder", ask which of the two is meant.
#
# ## 11. Does the library draw the same pictures?
#
# In `diffusers` an object called a scheduler does what your schedule and your steps do. We send the same weights and the same noise through `DDPMScheduler` (ancestral) and `DDIMScheduler`. The pictures agree only
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
# One more thing: `diffusers` has no level 0 for the clean picture. It counts the noisy levels from 0 to $T-1$, so its timestep is our $t-1$: `library` below adds the 1.
#
# The textbook lab draws with variance $\beta_t$ (`"fixed_large"`) and never clamps, and then asks its reader to confirm that the samples match those of the defaults. They cannot. The cells below take some ten seconds.
#
# <!--slide 4 min debriefing
# ## The library agrees if its settings say so
#
# It needs your betas, the spacing `"trailing"` and `use_clipped_model_output=True`.
#
# Notes:
# Say: with these three settings, and its own defaults for variance and clipping, diffusers draws your pictures, to rounding. Every default that differs is a picture that differs. Five rows out of six look alike; the differences on the right say otherwise: nothing for the right settings; outlines without the clamp; grain with the larger variance; both together in the textbook's configuration. With the library's own betas the pictures are lost.
# Ask: which of the three settings is the most dangerous to forget? (The first. With 300 levels the library's default betas stop short of noise, the mistake of section 2.)
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
    walk = my.walk(model, schedule, x_T[:n], range(T, 0, -1), my.ancestral_step, read_eps, g)
    *_, (_, ddpm["your ancestral"], _) = walk
    for name, options in configurations.items():
        g = torch.Generator().manual_seed(1)  # the same fresh noise for all
        ddpm[name] = library(model, DDPMScheduler(T, **options), x_T[:n], generator=g)

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
if ddpm:
    compared, gaps = {"your ancestral": ddpm["your ancestral"]}, {}
    for name in configurations:
        gap = gaps[f"DDPM {name}"] = (ddpm[name] - ddpm["your ancestral"]).abs()
        compared[name] = torch.cat([ddpm[name], (10 * gap - 1).clamp(max=1)])  # black: 0, white: 0.2 or more
    show.rows(compared, "Left: samples by your walk and by five configurations, alike but for the last, pale "
              "blurs. Right: differences from yours: none, edges, grain, edges and grain, everything",
              title="Left: samples; right: their differences from yours, black 0, white 0.2 and more")

# %% slideshow={"slide_type": "skip"}
if ddpm:
    changes = {"as yours": {}, "leading": dict(timestep_spacing="leading"), "free": dict(clip_sample=False)}
    changes["eps left behind"] = {}
    yours = every_tenth(model, schedule, x_T[:n])  # in 32 bits, as the library
    for name, change in changes.items():
        scheduler, follow = DDIMScheduler(T, **(right | change)), name != "eps left behind"
        scheduler.set_timesteps(T // 10)
        theirs = library(model, scheduler, x_T[:n], use_clipped_model_output=follow)
        gaps[f"DDIM {name}"] = (theirs - yours).abs()
    show.table([[name, f"{gap.max():.1g}", f"{gap.mean():.1g}"] for name, gap in gaps.items()],
               ["configuration", "largest difference of a pixel", "mean difference"])

# %% [markdown] slideshow={"slide_type": "skip"}
# One grey level is 0.008. With the first configuration of each scheduler the pictures are the same up to rounding. Every other configuration draws different pictures from the same noise. In the left half of the figure you hardly notice, except with the library's betas. The differences on the right show it: without the clamp mostly the outlines change, and with the larger variance there is grain all over the garment.
# So do not compare two programs by eye. When they disagree, compare their configurations before you look for a bug.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 12. GAN, VAE or diffusion?
#
# Diffusion is not the only way to draw new pictures. Two older families of models are still in use. A **GAN** trains two networks against each other: the generator draws, the discriminator tells drawn pictures from real ones. A **VAE** squeezes a picture into a few numbers, its *latent*, and learns to make the picture from them again. When would you choose which?
#
# | | GAN | VAE | diffusion |
# |---|---|---|---|
# | trained by | a game: generator against discriminator [1] | one loss, a bound on the likelihood [2] | one loss, a weighted bound on the likelihood [3] |
# | training | may oscillate or collapse; settings matter [4, 9] | one minimisation | one minimisation; long |
# | does the loss tell how far it is? | no, in the original form [11] | partly | partly: it hardly moves while samples still improve (section 7) |
# | covers all kinds of images | often not: "mode collapse" [4, 5] | usually [5] | usually [5] |
# | quality of a sample | high [5] | lower, often blurred [5] | high [5, 9] |
# | cost of a sample | one evaluation | one evaluation | tens to a thousand [3]; few after distillation [15] |
# | copies training images | can, with few images [12] | memorises some [13] | can, with few images or duplicates [7, 8] |
# | remedies for few images | augmentation inside the discriminator [6] | as for any network: augment, stop early | the same; start from pretrained weights [10] |
# | start from a real picture | find its latent first | the encoder gives its latent | noise it half way, then denoise [14] |
#
# Xiao et al. [5] call this a trilemma. Of quality, coverage and speed, each family gives up one. The table says what is typical, and every entry has exceptions.
#
# ### A team with a few hundred images of defects
#
# Scratches and dents are rare, but a detector needs many of them to learn from. Why might the team take diffusion rather than a GAN?
#
# - **The training is steady.** There is one regression loss and no opponent.
# - **Rare kinds survive.** A GAN may drop the defect that it sees five times, and its loss does not say so. The diffusion loss asks for every image again and again.
# - **Conditions are cheap.** The kind of defect, its place, and a clean picture of the part can all be inputs. Published work does this with a pretrained model and a
#   handful of defect images, and reports better inspection on a public benchmark [10]. That is no promise for your parts.
#
# And what speaks against it?
#
# - **It may copy.** A few hundred images can fit into a network. Trained long enough, it gives some of them back [7, 8]; two networks trained on different few images draw
#   different pictures, and only with many images do they agree [8]. Look at the nearest training images (section 9), stop early, augment (flips, shifts), start from pretrained weights.
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
# <!--slide 3 min debriefing
# ## GAN, VAE, diffusion, each gives up something
#
# | | GAN | VAE | diffusion |
# |---|---|---|---|
# | training | a game, may collapse | one minimisation | one minimisation, long |
# | covers all kinds | often not | usually | usually |
# | quality | high | lower, often blurred | high |
# | cost of a sample | one evaluation | one evaluation | tens to a thousand |
# | copies its images | can, with few | memorises some | can, with few |
#
# This is what is typical, and every entry has exceptions. *Quality, coverage, speed*: each of the three gives up one of them.
#
# > Whose loss tells you how far the training is?
#
# Notes:
# Say: Xiao et al. call it a trilemma: quality, coverage, speed. The table says what is typical; every entry has exceptions, and the notebook has the sources. Distilled diffusion models need few evaluations.
# Ask: whose loss tells how far the training is? (Not the GAN's in its original form. The diffusion loss only partly: it hardly moves while the samples improve.)
# -->
#
# <!--slide 4 min debriefing
# ## A few hundred images of defects, for and against
#
# - **for:** one regression loss, no opponent; the training ends
# - **for:** rare kinds survive, since the loss asks for every image
# - **against:** it may copy; look at the nearest training images
# - **against:** it cannot invent a defect that nobody photographed
# - **the test:** does a detector get better on real, held-out images? Does plain augmentation do as well?
#
# > "The loss went down to zero on our 200 images, so the model is excellent." What is the reply?
#
# In pairs, two minutes: one sentence of reply, and the one measurement that you would ask for.
#
# Notes:
# Say: judge it by one number: does the detector, tested on real held-out images, get better? If plain augmentation does as well, take that.
# Ask: the question on the slide. (The loss cannot reach zero on unseen images: which part of a noisy picture is noise is never certain. Near zero means that it knows its images by heart. Measure the loss on held-out images, look up nearest neighbours.)
# Give the room two minutes in pairs before the answer.
# -->

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ## Looking inside (optional)
#
# ### Walk through the walk
#
# The walks of eight of your samples are stored. First an overview: the guesses of five of them. The slider below it shows one level of all eight: $x_t$ above, the network's guess of the clean picture below. Set `level` to 300, then move it down. Where do you first see in $x_t$ what it will be, and where in the guess? Is the first guess the final garment?

# %% tags=["optional"] slideshow={"slide_type": "skip"}
def walk_at(level=100):
    """Eight walks at one level: the states, and what the network makes of them."""
    x, x0 = states[level]
    show.rows({"state $x_t$": x, "guess of $x_0$": x0}, f"Eight states of the walk at t = {level}, below "
              "each the network's guess of the clean picture", title=f"t = {level}")


stops = [300, 240, 180, 120, 90, 60, 30, 1]
overview = {f"walk {i + 1}": torch.stack([states[t][1][i] for t in stops]) for i in range(5)}
show.rows(overview, "The guesses of the clean picture in five walks, t = 300 to 1: specks, blurs, clothes",
          labels=[f"t = {t}" for t in stops], title="Five walks: what the network guesses at each level")

# %% tags=["optional"] slideshow={"slide_type": "skip"}
sliders(walk_at, level=(1, T))

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ### A larger network
#
# Are the clothes ragged because the network is small, or because its training is short? We changed both at once. `make train` trains the U-Net of notebook 04 on the clothes. It has three times as many weights, and makes <!--r:fashion_samples.trained.fashion_unet.steps|,-->18,000<!--/--> steps instead of 3,000, which took <!--r:fashion_samples.trained.fashion_unet.minutes;.0f-->55<!--/--> minutes of one core. The table is about <!--r:fashion_samples.samples|,-->1,000<!--/--> samples from each of three seeds. (So its first row differs from the table above, which had 500.)

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
longer, walks = load_results("fashion_samples"), {
    "lab": "lab's, ancestral, 300", "ddim": "larger, DDIM, 50",
    "fresh": "larger, DDIM with fresh noise, 50", "dpm": "larger, DPM-Solver++ with fresh noise, 50"}
rows = [[walk, *(pm(longer["rows"][key][score], form) for score, form in
                 {"distance": ".1f", "confident": ".0%"}.items())] for key, walk in walks.items()]
rows.append(["real test images", pm(longer["floor"]), f"{longer['floor']['confident']:.0%}"])
show.table(rows, ["network, walk, evaluations", "distance", "confident"])
both = load_images("fashion_samples")
show.rows({"lab's": both["lab"][:12], "larger": both["dpm"][:12]}, "Above: garments of the lab's "
          "network, some with holes and ragged edges. Below: the larger one's, with fewer of them",
          title="Twelve samples each, not chosen")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# The larger network's distance is below that of the lab's, <!--r:fashion_samples.rows.lab.distance.mean|.1f-->34.8<!--/-->, with all three samplers, and it needs 50 evaluations instead of 300. With the sampler that notebook 05 recommends, the last one, the classifier is sure of <!--r:fashion_samples.rows.dpm.confident.mean|.0%-->65%<!--/--> of its samples, and of <!--r:fashion_samples.floor.confident|.0%-->74%<!--/--> of real pictures. `load_model("fashion_unet")` draws more of them. Which of the two changes brought how much? We did not train the other two combinations.
#
# ### A cosine schedule, and labels
#
# Here are two changes to the lab, each at the budget of the long training, and what they brought.
#
# **Cosine schedule.** `my.Schedule(my.cosine_betas(T))`, your own from notebook 01 (Nichol & Dhariwal 2021).
# Nothing else changes. Its loss cannot be compared with that of the linear schedule, because it asks at other noise levels. The distance can.
#
# **Labels.** `LabUNet(classes=10)`, and `model(x_t, t, y)` in the training step and in the walk. A classifier, the judge, says of every sample whether it is what was asked for.

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
kinds, rows = {"fashion": "linear", "cosine": "cosine", "classes": "linear, with labels"}, []
for name, words in kinds.items():
    end, short = saved[name]["final"], saved[name]["few"]
    rows.append([words, pm(end["distance"]), pm(short["distance"]), f"{end['confident']['mean']:.0%}"])
floor = saved["floors"]["fashion"]  # the judge is that of the clothes
rows.append(["real test images", f"{floor['mean']:.1f}", "", f"{floor['confident']:.0%}"])
about = f"Distance after {saved['recipe']['steps']:,} steps, trainings: {len(saved['seeds'])}"
show.table(rows, ["schedule", "ancestral", "every 10th", "confident, ancestral"], about)

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
asked = saved["classes"]["final"]
rows = [["all", pm(asked["as_asked"], ".0%"), f"{floor['accuracy']:.0%}"]]
for i, name in enumerate(data.FASHION_NAMES):
    rows.append([name, f"{asked['as_asked_by_class'][i]:.0%}", f"{floor['accuracy_by_class'][i]:.0%}"])
show.table(rows, ["class asked for", "samples judged so", "real images judged so"])

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
by_class = {f"sample {i + 1}": pictures["classes_final"][10 * i : 10 * i + 10] for i in range(3)}
show.rows(by_class, "Three rows of ten samples, one column a class asked for, from T-shirt to ankle boot, "
          "most recognisable as such", labels=data.FASHION_NAMES)

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# Each line is one training, so a small difference may be chance. The cosine schedule did not help here: <!--r:fashion.cosine.final.distance.mean|.0f-->45<!--/--> against <!--r:fashion.fashion.final.distance.mean|.0f-->36<!--/-->, and it was behind at every snapshot from
# 1,000 steps on. Labels did: <!--r:fashion.classes.final.distance.mean|.0f-->17<!--/-->. The network deserves only part of the credit: with labels each class is drawn equally often, as in the test images.
#
# Read the last table across: a class that the judge misreads on real images it cannot
# confirm on samples either. Here that is above all the shirt, which looks like T-shirt, pullover and coat.
#
# Notebook 06 goes on from here: labels that are dropped now and then allow guidance.

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ### How much code does the library save?
#
# The cell counts the lines of your functions for the schedule and the walk (no comments, no docstrings), and those of `library` above with the
# two lines that make a scheduler.

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
import inspect


def lines(thing):
    rows = [row.strip() for row in inspect.getsource(thing).splitlines()]
    return sum(bool(row) and not row.startswith(("#", '"""')) for row in rows)


own = (my.linear_betas, my.alpha_bar_of, my.q_sample, my.predict_x0, my.posterior_variance, my.ddim_step,
       my.clamp_x0, my.walk, read_eps)
written = {function.__name__: lines(function) for function in own}
kept = lines(library) + 2 * 2  # per scheduler: one line that makes it, one that sets its steps or its noise
print(", ".join(f"{name} {count}" for name, count in written.items()), f"lines: {sum(written.values())}")
print(f"with the library: {kept}; removed: {sum(written.values()) - kept}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - The parts of a diffusion model (schedule, network, step, loop, reader, walk) work for digits and for clothes alike.
# - Fewer levels need larger betas, and a network needs to see the whole picture.
# - A small loss may only mean that the question was easy. When it hardly moves any more, the samples may still improve.
# - A walk without fresh noise carries the network's errors to the end.
# - A walk can start from a real picture: the level where it starts says how much of it is kept.
# - Two correct programs draw the same pictures only with the same betas, variance, clamp and spacing.
# - Diffusion trades sampling time for a steady training; with few images it copies like the others.
#
# ### Self-check
#
# - [ ] I know which parts of what drew the clothes are mine, and which were given.
# - [ ] I can say why `betas` and `alpha_bar` have T + 1 entries, and what stands at index 0.
# - [ ] I can count how many pixels a stack of convolutions sees.
# - [ ] I can name the settings that decide whether `diffusers` draws my pictures.
# - [ ] I can say why the distances of two data sets cannot be compared, and what can.
# - [ ] I can give one reason for and one against diffusion with 300 images.
#
# <details><summary>Answers</summary>
#
# 1. `mine.credit("walk", "read_eps", "ancestral_step")` says which are yours and where the reference stands in.
# 2. Level 0 is the clean picture. No step leads to it, so $\beta_0=0$ and $\bar\alpha_0=1$; the noisy levels are 1 to $T$.
# 3. $n$ convolutions of 3 x 3 see $1+2n$ pixels across: each adds one on either side.
# 4. The betas, the variance of the fresh noise, the clamp, the spacing of the levels, and whether eps is computed anew after the clamp.
# 5. Each is measured with a classifier of its own. What can be compared, with care, is how many times its own floor each is: the distance of real pictures from real ones.
# 6. For: rare kinds survive, since the loss asks for every image. Against: with so few images it may copy them.
#
# </details>
#
# ### Further exercises
#
# | exercise | difficulty | time |
# |---|---|---|
# | Train for five minutes, set `WEIGHTS = "mine"`, and compare your grid with the table of minutes. | ●○○○○ | 15 min |
# | `DATA = "mnist"`: which step needs a change? | ●○○○○ | 15 min |
# | Take a cosine schedule; does your walk still work unchanged? | ●●○○○ | 20 min |
# | Add seed 1 to the experiment `fashion` in `data/experiments`, run it, and see which differences of the table in Looking inside hold. | ●●○○○ | 20 min, and half an hour of computing |
# | Labels: train with them, and draw ten of each class. | ●●●○○ | 40 min |
# | Train on 200 images of bags only, with and without flips. When do samples become copies? | ●●●●○ | 90 min |
# | Take the skips out one at a time. Which one do the samples miss most? | ●●●○○ | 60 min |
#
# <details><summary>Answers</summary>
#
# 1. On the processor of the table five minutes are more than the 3,000 steps of the long training; on a slower one they may be half as many. Look up the row of your number of steps: the distance falls from <!--r:fashion.fashion.snapshots.2.distance.mean|.0f-->144<!--/--> after 1,000 steps to <!--r:fashion.fashion.snapshots.4.distance.mean|.0f-->75<!--/--> after 3,000.
# 2. None but `DATA`. Everything else asks the pictures for their shape, and the shipped weights exist for both.
# 3. `schedule = my.Schedule(my.cosine_betas(T))`. Yes: steps, reader and walk ask the schedule for all they need. The weights have to be trained anew.
# 4. Whatever you find: a difference that one seed shows and the other does not is chance.
# 5. `fit` stays as it is if the model gets the labels past it: a small module that holds `y` for the batch and calls `model(x, t, y)`, as `Labelled` of notebook 06 does. There `drop_labels` leaves some out, which allows guidance.
# 6. `nearest` shows it: the distances of the samples fall below those of unseen bags, and in the end towards zero. Flips double the set and put it off.
# 7. Measure it: train once without each, with the same seed and number of steps, and compare distances. Expect most from skip a: it alone carries the picture at 28 x 28.
#
# </details>
#
# ### References
#
# - [1] Goodfellow et al. 2014, *Generative Adversarial Networks*, [arXiv:1406.2661](https://arxiv.org/abs/1406.2661).
# - [2] Kingma & Welling 2013, *Auto-Encoding Variational Bayes*, [arXiv:1312.6114](https://arxiv.org/abs/1312.6114).
# - [3] Ho, Jain & Abbeel 2020, *Denoising Diffusion Probabilistic Models*, [arXiv:2006.11239](https://arxiv.org/abs/2006.11239): eqs. 6, 7, 12, 14, 15.
# - [4] Salimans et al. 2016, *Improved Techniques for Training GANs*, [arXiv:1606.03498](https://arxiv.org/abs/1606.03498).
# - [5] Xiao, Kreis & Vahdat 2022, *Tackling the Generative Learning Trilemma with Denoising Diffusion GANs*, [arXiv:2112.07804](https://arxiv.org/abs/2112.07804).
# - [6] Karras et al. 2020, *Training Generative Adversarial Networks with Limited Data*, [arXiv:2006.06676](https://arxiv.org/abs/2006.06676).
# - [7] Carlini et al. 2023, *Extracting Training Data from Diffusion Models*, [arXiv:2301.13188](https://arxiv.org/abs/2301.13188).
# - [8] Kadkhodaie et al. 2024, *Generalization in Diffusion Models Arises from Geometry-Adaptive Harmonic Representations*, [arXiv:2310.02557](https://arxiv.org/abs/2310.02557).
# - [9] Dhariwal & Nichol 2021, *Diffusion Models Beat GANs on Image Synthesis*, [arXiv:2105.05233](https://arxiv.org/abs/2105.05233).
# - [10] Hu et al. 2024, *AnomalyDiffusion: Few-Shot Anomaly Image Generation with Diffusion Model*, [arXiv:2312.05767](https://arxiv.org/abs/2312.05767).
# - [11] Arjovsky, Chintala & Bottou 2017, *Wasserstein GAN*, [arXiv:1701.07875](https://arxiv.org/abs/1701.07875): section 4.
# - [12] Feng et al. 2021, *When Do GANs Replicate? On the Choice of Dataset Size*, [arXiv:2202.11765](https://arxiv.org/abs/2202.11765).
# - [13] van den Burg & Williams 2021, *On Memorization in Probabilistic Deep Generative Models*, [arXiv:2106.03216](https://arxiv.org/abs/2106.03216).
# - [14] Meng et al. 2022, *SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations*, [arXiv:2108.01073](https://arxiv.org/abs/2108.01073).
# - [15] Salimans & Ho 2022, *Progressive Distillation for Fast Sampling of Diffusion Models*, [arXiv:2202.00512](https://arxiv.org/abs/2202.00512).
# - Nichol & Dhariwal 2021, *Improved DDPM*, [arXiv:2102.09672](https://arxiv.org/abs/2102.09672): eq. 17. Song, Meng & Ermon 2021, *DDIM*, [arXiv:2010.02502](https://arxiv.org/abs/2010.02502): eq. 12.
# - Xiao, Rasul & Vollgraf 2017, *Fashion-MNIST*, [arXiv:1708.07747](https://arxiv.org/abs/1708.07747). Ronneberger et al. 2015, *U-Net*, [arXiv:1505.04597](https://arxiv.org/abs/1505.04597).
#
# <!--slide 2 min debriefing
# ## What we learned
#
# - The same parts draw digits and clothes
# - Fewer levels need larger betas, and a sampler starts at the top
# - A small loss may mean an easy question; when it hardly moves, the samples still improve
# - Without fresh noise, errors stay in the picture
# - Two programs agree only with the same betas, variance, clamp, spacing
#
# **At home:** train for five minutes, set `WEIGHTS = "mine"`, and compare your grid with the table of minutes.
#
# **Next:** notebook 08 asks which of our choices matter: prediction, schedule, weights.
#
# Notes:
# Say: at home: train for five minutes, set WEIGHTS = "mine", and compare your grid with the table of minutes. The part Looking inside has a cosine schedule and class labels, and what they brought.
# Ask: which part of the model could you not write again tomorrow? (Then that is the notebook to reread: 01 for the schedule, 03 for the network and training, 04 and 05 for sampling.)
# -->

# %% slideshow={"slide_type": "skip"}
check.summary("07")
