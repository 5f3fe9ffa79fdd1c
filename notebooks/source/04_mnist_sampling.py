# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] slideshow={"slide_type": "slide"}
# # 04 MNIST: sampling, and judging what comes out
#
# This is where the course has been heading: handwritten digits of 28 x 28 pixels, out of pure noise. You have most of the parts already. The schedule
# comes from notebook 01, the step from notebook 02, the U-Net from notebook 03. Here you write what is missing, a training step and the walk
# from noise to a picture. Then your own functions draw 64 digits, and you find out how good they are.
#
# **What you will be able to do**
# - write one step of training, and tell from a few samples whether a network is learning;
# - write the walk that turns noise into digits, and run it with 50 steps or with 1,000;
# - keep the estimate of $x_0$ in range, and explain what goes wrong otherwise;
# - make filmstrips and a GIF of a walk;
# - judge samples: as a set, one by one, by their class counts, and against copying;
# - draw the same samples with the `diffusers` library;
# - name the cause when samples are bad.
#
# **What to know** Notebooks 01 to 03: schedule and $\bar\alpha_t$, the DDIM step, U-Net, v-prediction, EMA.
#
# **Time** about 120 minutes for a person, a little over two minutes for two CPU cores. If you follow the one-evening plan of notebook 00, run all cells,
# read only the sections that say *On the one-evening route*, and do exercises 4.3, 4.4 and 4.5.
#
# <!--slide 1 min
# # 04 MNIST: sampling and judging
#
# Handwritten digits come out of noise before our eyes, and numbers say how good they are.
#
# - write a step of training, and tell from a few samples whether a network learns
# - write the walk from noise to digits, with 50 steps or with 1,000
# - judge the samples: all together, one by one, by their classes, against copying
# - name the cause when samples are bad
#
# **A guess to write down:** we draw 64 digits in 50 steps. How many of them will you not be able to read?
#
# Notes:
# Say: the U-Net of notebook 03 and the step of notebook 02 meet real pictures. First we train and load a network, then we walk, then we judge.
# Ask: what do you need besides a trained network to draw a digit? (A schedule, a step rule and pure noise to start from.)
# Have run: the whole notebook up to the GIF, so that the live walk and the sliders are at hand.
# -->

# %% tags=["setup"] slideshow={"slide_type": "skip"}
import sys
from pathlib import Path

here = Path.cwd().resolve()
sys.path.insert(0, str(next(p for p in (here, *here.parents) if (p / "helpers").is_dir())))

import time

import matplotlib.pyplot as plt
import torch

from helpers import data, metrics, show
from helpers.checkpoints import load_images, load_model, load_results
from helpers.exercises import check, mine
from helpers.modes import MODE, choose, out_dir
from helpers.sampling import State, ddim, last, reverse
from helpers.schedule import at, cosine

my = mine.parts()  # your functions of the notebooks before, where they are right; else the reference
own = my.Schedule(my.cosine_betas(1000))

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. The data: 28 x 28
#
# *On the one-evening route.*
#
# What do we train on? MNIST has 60,000 training images and 10,000 test images of the ten digits
# (LeCun et al. 1998). They ship with the course. Nothing is resized: the network halves a picture twice, and 28 divides by two twice.
# Bytes from 0 to 255 become floats from -1 to 1, so that the middle of the range is 0, where the noise has its mean. (One line of the cell
# loads a folder of your own pictures instead.)
#
# <!--slide 2 min
# ## 60,000 digits become floats between -1 and 1
#
# - 28 x 28 pixels, nothing resized: 28 divides by two twice
# - the middle of the range is 0, where the noise has its mean
# - 10,000 test images stay apart, for the judging
#
# $$x_0 = \frac{\text{byte}}{127.5} - 1$$
#
# In words: the bytes 0 to 255 become numbers from $-1$ (black) to 1 (white). **Question:** is then the mean of the data 0?
#
# Notes:
# Say: most of a picture is background, and the background is -1, not 0. Whoever trains on 0 to 1 and samples to -1 to 1 gets dark or grey pictures.
# Ask: is the mean of the data zero? (No. 81% of all pixels are -1, so the mean is far below zero. Only the range is centred.)
# Live: run the cell, it takes a second.
# -->

# %% tags=["slide-output"] slideshow={"slide_type": "-"}
images, labels = data.mnist()
# images = data.folder("my_pictures", size=28)[0]  # a folder of your own pictures, to train on in their place
test_images, test_labels = data.mnist(train=False)
schedule = cosine(1000)

print(f"{len(images):,} training images {tuple(images.shape[1:])}, {images.min():.0f} to {images.max():.0f}")
print(f"{(images == -1).float().mean():.0%} of all pixels are black")
show.grid(images[:32], "32 training images in two rows: white handwritten digits on black, in many hands, "
          "some slanted, some thick", columns=16)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2. The network: 28 → 14 → 7
#
# *On the one-evening route.*
#
# Which network draws the digits? It is the class of exercise 3.4, now with three resolutions. Attention sits
# at the bottom, where it is cheap: $7 \times 7 = 49$ positions look at each other there, and at the top it would be $28 \times 28 = 784$.
#
# The channels grow as the picture shrinks, so the work is spread: about half of it is done at the bottom and a fifth at the top.
#
# Does your class have exactly these layers? The cell below the diagram loads the weights that the course has trained, *strictly*: every name and every shape must
# fit. Then we do not wait any longer. The cell after it starts from noise and takes 50 steps with `reverse` and the DDIM of notebook 02.
#
# <!--slide 3 min
# ## Attention sits at the bottom, where it is cheap
#
# - three resolutions: $28 \to 14 \to 7$, more channels as the picture shrinks
# - $7 \times 7 = 49$ positions look at each other, not $28 \times 28 = 784$
# - <!--r:mnist.recipe.parameters|,-->1,047,265<!--/--> parameters, most of them at the bottom: each is used at only 49 positions
# - the output is $v$, from which we compute $\hat x_0$ and $\hat\epsilon$
#
# Notes:
# Say: this is the class built in notebook 03 with one more resolution. Trace the path of a picture with the finger: down, attention, up, and across on the skips. About half of the work of a pass is done at 7 x 7, a third at 14 x 14, a fifth at 28 x 28.
# Ask: by what factor is attention over all pairs dearer at 28 x 28 than at 7 x 7? (784 squared over 49 squared is 256.)
# Live: run the next cell; it prints the shapes of the three skips.
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
stations = [(0, 2, "$x_t$"), (1.5, 2, "16 x 28 x 28"), (2.7, 1, "48 x 14 x 14"), (3.7, 0, "96 x 7 x 7"),
            (5.4, -0.7, "attention"), (7.1, 0, "96 x 7 x 7"), (8.1, 1, "48 x 14 x 14"),
            (9.3, 2, "16 x 28 x 28"), (10.8, 2, "$\\hat v$")]
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.2))
box = dict(boxstyle="round,pad=0.5", facecolor="white", edgecolor="black")
drawn = [ax.text(x, y, name, ha="center", va="center", bbox=box).get_bbox_patch() for x, y, name in stations]
for a, b in [*((i, i + 1) for i in range(8)), (1, 7), (2, 6), (3, 5)]:  # the last three are skips
    arrow = dict(arrowstyle="->", color="black", patchA=drawn[a], patchB=drawn[b])
    line = "-" if b == a + 1 else "--"
    ax.annotate("", stations[b][:2], stations[a][:2], arrowprops=dict(arrow, linestyle=line))
for y in range(3):
    ax.text(5.4, y + 0.08, "skip", ha="center")
ax.text(0.6, -0.6, "level $t$: sines and cosines,\ntwo layers, then a bias\nin every block", ha="center")
ax.set(xlim=(-1, 11.3), ylim=(-1, 2.4)), ax.set_axis_off()
show.figure(fig, "A U of boxes: down from 28 to 14 to 7, attention below, up to 28; dashed skips across")

# %% slideshow={"slide_type": "skip"}
import torch.nn.functional as F
from torch import nn

from helpers.models import parameter_count

torch.manual_seed(0)
network = my.UNet(channels=(16, 48, 96))

t = torch.tensor([10, 900])
h, emb = network.enter(images[:2]), network.embed(t)
for i, name in enumerate(("top", "middle", "bottom")):
    h = network.down[i][0](h, emb)
    print(f"{name:7} {tuple(h.shape[1:])}")
    h = network.shrink[i](h) if i < 2 else h
print(f"output  {tuple(network(images[:2], t).shape[1:])}")
print(f"{parameter_count(network):,} parameters")
model = my.UNet(channels=(16, 48, 96)).eval().requires_grad_(False)
print(model.load_state_dict(load_model("mnist_unet").state_dict(), strict=True))

# %% slideshow={"slide_type": "skip"}
rule = ddim(choose(50, 3), eta=1.0)  # eta = 1: with fresh noise in every step
states = reverse(model, schedule, rule, shape=(24, 1, 28, 28), seed=4, clip_x0=1.0)
first = last(show.progress(states, label="drawing"))
show.grid(first, "24 handwritten digits in two rows, white on black, drawn by the network from noise",
          columns=12, title="Pure noise, fifty steps later")

# %% [markdown] exercise_text="4.1" slideshow={"slide_type": "slide"}
# Nobody ever wrote these digits. Is there one that you cannot read? Further down we count such failures. First, where do the weights come from?
#
# ## 3. A training step
#
# How does a network get a little better? Notebooks 02 and 03 described the training loop, and `helpers` ran it. Now you write its
# inside: one update of the weights.
#
# A step gets clean pictures `x0`, a level for each, and noise. Seven things have to happen. Here they are, in
# alphabetical order:
#
# - **ask** the network, which sees noisy pictures and their levels;
# - go **back** from the loss to the gradients of all weights;
# - **clear** the gradients that the step before has left;
# - **clip**: where the gradient of all weights together is longer than 1, shorten it to 1, so that one bad batch cannot
#   throw the weights far off (`nn.utils.clip_grad_norm_`);
# - **compare** the answer with what *this* network is asked for, by the mean squared error;
# - **move** the weights: the optimizer does it, along the gradient;
# - **noise** the pictures to their levels (`schedule.q_sample`).
#
# The function `target(x0, t, noise, schedule)` says what the network is asked for. For ours it is your `v_target` of exercise 3.6; for a
# network that predicts eps it returns the noise itself.
#
# ### Exercise 4.1: one step of training
#
# Put the seven in order and write `train_step`. It returns the loss as a plain number; as a tensor it would keep
# the whole graph of its step in memory.
#
# Difficulty: ●●○○○ · 12 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# What does each of them need? There is nothing to ask before there is noise, nothing to clip before there is a gradient. And when
# must the old gradients be gone?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# Noise, ask, compare; then clear, back, clip, move. The calls are `F.mse_loss(a, b)`, `optimizer.zero_grad()`,
# `loss.backward()`, `nn.utils.clip_grad_norm_(model.parameters(), 1.0)` and `optimizer.step()`; the number is `loss.item()`.
#
# </details>
#
# <!--slide 3 min
# ## Seven things happen in a training step
#
# In alphabetical order:
#
# - **ask** the network · go **back** to the gradients · **clear** the old gradients · **clip** the new one to length 1
# - **compare** with what this network is asked for · **move** the weights · **noise** the pictures
#
# **Your turn: exercise 4.1, 12 minutes**
#
# ```python
# def train_step(model, optimizer, schedule, x0, t, noise, target):
#     """x0, noise: (B, ..); t: (B,). One update of the weights; returns the loss, a number."""
#     # TODO 4.1: these seven things in the right order
# ```
#
# - on paper first, in pairs: which of the seven comes first, which last?
# - `target(x0, t, noise, schedule)` says what the network is asked for, $v$ in our case
# - what happens if the old gradients are not cleared?
#
# Notes:
# Say: until now the training loop was told in words. `target(x0, t, noise, schedule)` says what the network is asked for, v in our case. Give 12 minutes, on top of the 3 minutes for this slide.
# Ask: what happens if the old gradients are not cleared? (They add up, so each step also goes the way of all steps before.)
# Common mistakes: step before backward; the noise as target though the network predicts v; the loss returned with its graph.
# -->

# %% exercise="4.1" slideshow={"slide_type": "skip"}
def train_step(model, optimizer, schedule, x0, t, noise, target):
    """x0, noise: (B, ..); t: (B,). One update of the weights; returns the loss, a number."""
    # TODO 4.1: the seven things in the right order
    ### BEGIN SOLUTION
    x_t = schedule.q_sample(x0, t, noise)
    loss = F.mse_loss(model(x_t, t), target(x0, t, noise, schedule))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()
    ### END SOLUTION


train_step = check("4.1", train_step)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4. A minute of training, live
#
# Around your step stands a loop, and it is given. `batches` draws pictures, levels and noise; the learning rate rises, stays and falls. With
# `bf16` the network computes in bfloat16, which halves the time on a CPU that has such arithmetic; on one that has not, `bf16 = False` is
# faster. The first cell also tests your step: do ten of yours find the same losses as ten of the course's?
#
# Then we train for 350 steps, about a minute on two cores. Samples are drawn from a moving average of the weights (EMA), made by your
# `ema_update` with the warm-up of notebook 03. Beside it runs a second average, `late`: the same weights, the usual decay 0.999, no
# warm-up. All samples start from the same eight noises, so that you can compare them.
#
# <!--slide 3 min
# ## A minute of training: five rows from the same eight noises
#
# - rows 1 to 3: averaged weights after a quarter, a half, all of the training
# - row 4: the weights themselves. Row 5: an average with decay 0.999 and no warm-up
#
# Notes:
# Say: the recipe is that of notebook 03: v-prediction, cosine schedule, AdamW, clipped gradients, a moving average of the weights. Strokes come first, then shapes. If the loss is low and the samples are noise, look at the average first.
# Ask: before you click for the picture, the last two rows saw the same training. What will the last one look like? (After 350 updates with decay 0.999 the average still holds 0.70 of the random weights it started from, and draws noise. Warm-up prevents that. It is exercise 4.2.)
# Have run: the training cell takes about a minute on two cores. Start it at the beginning of class, and read its printed losses now.
# Answers 4.2.
# -->

# %% slideshow={"slide_type": "skip"}
import copy

from helpers.training import Run, batches, learning_rate, train


def training(network, steps, bf16=False):
    """Your train_step again and again; yields the number of the step and its loss."""
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01, fused=True)
    for n, (x0, t, noise) in enumerate(batches(images, 1000, steps, 64, seed=0)):
        optimizer.param_groups[0]["lr"] = learning_rate(n, steps, 1e-3)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = train_step(network, optimizer, own, x0, t, noise, my.v_target)
        yield n + 1, loss


ten, course = choose(10, 2), Run(copy.deepcopy(network), lr=1e-3, seed=0)
yours = [loss for _, loss in training(copy.deepcopy(network), ten)]
theirs = [step.loss for step in train(course, schedule, images, ten, batch_size=64)]
gap = max(abs(a - b) for a, b in zip(yours, theirs, strict=True))
print(f"{ten} steps of yours and of the course's `train`: the losses differ by at most {gap:.1g}")

# %% slideshow={"slide_type": "skip"}
steps = choose(read=350, smoke=4, full=24_000)
bf16 = True  # on a CPU without bfloat16 arithmetic False is faster
average, late = (copy.deepcopy(network).requires_grad_(False) for _ in range(2))  # with and without warm-up
noise = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def fill(network, weights):
    for old, new in zip(network.parameters(), weights, strict=True):
        old.copy_(new)


def sample(model):
    return last(reverse(model, schedule, ddim(choose(20, 3)), x_T=noise, clip_x0=1.0))


# %% slideshow={"slide_type": "skip"}
strip, losses, start = {}, [], time.perf_counter()
for n, loss in show.progress(training(network, steps, bf16=bf16), steps, "training"):
    losses.append(loss)
    weights = [weight.detach() for weight in network.parameters()]
    fill(average, my.ema_update(list(average.parameters()), weights, n - 1, 0.999))
    fill(late, [0.999 * a + 0.001 * w for a, w in zip(late.parameters(), weights, strict=True)])
    if n in (steps // 4, steps // 2, steps):
        strip[f"{64 * n:,} images seen"] = sample(average)
minutes = (time.perf_counter() - start) / 60
strip["weights, not averaged"] = sample(network)
strip["average, no warm-up"] = sample(late)
print(f"{steps} steps in {minutes:.1f} minutes ({torch.get_num_threads()} threads, bfloat16: {bf16})")
print(f"loss {losses[0]:.2f} at first, {sum(losses[-50:]) / len(losses[-50:]):.3f} at the end")
if MODE == "full":
    model = average.eval().requires_grad_(False)

# %% [markdown] exercise_text="4.2" slideshow={"slide_type": "skip"}
# ### Exercise 4.2: an average that is too young
#
# Before you look at the samples: what does `late` draw? Each update keeps 0.999 of the average and takes 0.001 of the new weights. There were
# 350 updates, and the average began with the random weights of an untrained network.
#
# Write down two things: which share of `late` is still the random start (a number from 0 to 1), and what its samples look like
# beside those of the other average: (a) much the same, (b) the same digits, but paler, (c) noise.
#
# Difficulty: ●○○○○ · 3 minutes
#
# <details><summary>Hint</summary>
#
# Each update multiplies what is left of the start by the same number. How often?
#
# </details>

# %% exercise="4.2" kind="predict" slideshow={"slide_type": "skip"}
# TODO 4.2: the share of the random start after 350 updates, and "a", "b" or "c"
### BEGIN SOLUTION
guess = 0.70, "c"
### END SOLUTION
check.predict("4.2", guess)

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "fragment"}
show.rows(strip, "Eight samples after a quarter, a half and all of the live training, from the averaged "
          "weights: grainy strokes become clean strokes, some of them like digits. Below: the last weights "
          "without averaging, alike; and the average without warm-up: noise.",
          title="One minute of training, from the same eight noises")
check.truth("4.2", (0.999**350, "c"))

# %% [markdown] slideshow={"slide_type": "slide"}
# Strokes come first, then shapes that hang together. The third and the fourth row look alike: after so short a training averaging changes
# little (it pays off later, when the weights jitter around a good place). The last row saw the same training. After $n$ updates its average holds a share
# $0.999^n$ of the random weights, here $70\,\%$, and it draws noise. Meanwhile the loss is fine, because it is measured on the weights
# themselves. **If the loss is low and the samples are noise, look at the average first.**
#
# ## 5. The long training, loaded
#
# *On the one-evening route.*
#
# What does more training buy? `make train` has trained the same network for longer, and drew samples on the
# way, always from the same noises. Two scores stand beside them, both for 1,000 samples and two seeds of the sampler. The *Frechet
# distance* says how far the samples as a set are from the test images; smaller is better, and section 11 explains it. *Confident* is the share of samples
# in which a classifier, trained on real digits, sees one digit with more than $95\,\%$ probability.
#
# <!--slide 3 min
# ## The first factor of five in training buys most
#
# The same sixteen noises in four snapshots of one training, and the Frechet distance of 1,000 samples:
#
# - Each place of the panels starts from one noise: follow a single digit from left to right. Which one ends as another digit?
# - Real digits compared with other real digits have a distance, too. Why is it not zero?
#
# Notes:
# Say: each place of the panels starts from one noise. Most pictures become clearer; the last of the third row is a 7 and ends as a ring. The distance is the Frechet distance of 1,000 samples from the test images, in the features of a small classifier. It is the mean over two seeds of the sampler; the table in the notebook has both.
# Ask: why is the distance of real images not zero? (Mean and covariance are estimated from 1,000 images; the errors are squared, so they do not average out.)
# Live: run the cell; it only loads results. `make train` computed them.
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
saved, pictures = load_results("mnist"), load_images("mnist")
floor, real, lines = saved["floor"], saved["real"], []
fig, axes = plt.subplots(1, 4, figsize=(show.WIDTH, 3.3))
for ax, row in zip(axes, saved["networks"], strict=True):
    ax.imshow(show.tiles(pictures[row["name"]][:16], 4), vmin=0, vmax=255)
    ax.set_title(f"{row['images']:,} images\ndistance {row['distance']['mean']:.1f}")
    ax.set_axis_off()
    seeds = " and ".join(f"{d:.1f}" for d in row["distance"]["values"])
    scores = [f"{row['loss']:.3f}", seeds, f"{row['confident']['mean']:.1%}"]
    lines.append([f"{row['images']:,}", f"{row['minutes']:.0f}", *scores])
lines.append(["real test images (the floor)", "", "", f"{floor['mean']:.1f}", f"{real['confident']:.1%}"])
show.figure(fig, "Sixteen samples of each of four snapshots, from the same noises: from broken strokes to "
            "clean digits, with the Frechet distance falling from left to right")
show.table(lines, ["images seen", "minutes of training", "loss", "distance, two seeds", "confident"])

# %% [markdown] exercise_text="4.3" slideshow={"slide_type": "slide"}
# Each place of the four panels starts from one noise. Most pictures become clearer from panel to panel, but not all: the last of the third row
# is a 7 in the third panel and ends as a ring. Look at the table too. The first factor of five in training buys most of the quality. From the second row
# to the third the loss falls only a little, and the distance falls to less than half. In the last two rows the two seeds of one network differ by up to 1.5,
# so there a smaller difference of the distance says nothing.
#
# ## 6. Keeping $x_0$ in range
#
# *On the one-evening route.*
#
# Since notebook 02 `reverse` has kept the estimate of $x_0$ in range for you, with `clip_x0=1.0`. Why is that needed? Every
# step asks: given $x_t$ and the predicted noise, what is the clean picture? You solved that in exercise 1.9, and the solution divides by
# $\sqrt{\bar\alpha_t}$. Near the top this is a tiny number. With our cosine schedule $1/\sqrt{\bar\alpha_T}$ is about twenty
# thousand, so an error of one per cent in $\hat\epsilon$ becomes an error of two hundred in $\hat x_0$, for a picture that lives in
# $[-1, 1]$.
#
# The remedy is simple. We know that pixels lie in $[-1, 1]$, so we cut the estimate there. But then picture and noise no
# longer add up to $x_t$, and the noise has to be found anew.
#
# ### Exercise 4.3: an estimate that stays in range
#
# Write `clamp_x0`. It cuts the estimate, finds the noise that belongs to it, and returns both,
# `(x0, eps)`, the picture first.
#
# Difficulty: ●●○○○ · 8 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Two lines after $\bar\alpha_t$ is at hand. Which of the two must come first? The second is the jump of exercise 1.5, solved for the noise.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `x0.clamp(-1, 1)` first; then solve $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$ for $\epsilon$, with the clamped $x_0$.
#
# </details>
#
# <!--slide 6 min
# ## Near the top, a small error in $\epsilon$ is a huge one in $x_0$
#
# - $\hat x_0$ from $\hat\epsilon$ (exercise 1.9) divides by $\sqrt{\bar\alpha_t}$; cosine ends with $1/\sqrt{\bar\alpha_T} \approx 20{,}000$
# - the remedy: cut $\hat x_0$ to $[-1, 1]$. Then picture and noise no longer add up to $x_t$: the noise has to follow
# - from $\hat v$: $\hat x_0 = \sqrt{\bar\alpha_t}\,x_t - \sqrt{1-\bar\alpha_t}\,\hat v$ divides by nothing
#
# **Your turn: exercise 4.3, 8 minutes.** `clamp_x0(x_t, t, x0, schedule)` returns `(x0, eps)`.
#
# Notes:
# Say: an error of one per cent in eps is an error of two hundred in a picture that lives between -1 and 1. The figure has the same small error in the output of the network, and three ways to the clean picture; the vertical axis is logarithmic. Our network predicts v, so the clamp only keeps small overshoots from adding up; we leave it on because it is cheap. Give 8 minutes for exercise 4.3, on top of the 6 minutes for this slide.
# Ask: why must eps be computed again after the clamp? (Picture and noise must still add up to x_t; otherwise the step starts from another point.) How large is the error of the clamped estimate at the top, and why does it stop there? (About 1: an estimate cut to the range is off by at most 2 a pixel.)
# Common mistakes: eps computed from the x0 before the clamp; the two results returned in the wrong order.
# -->

# %% exercise="4.3" slideshow={"slide_type": "skip"}
def clamp_x0(x_t, t, x0, schedule):
    """x_t, x0: (B, ...); t: (B,). Returns (x0, eps) with x0 in [-1, 1]."""
    a = at(schedule.alpha_bar, t, x_t)
    # TODO 4.3: clamp x0, then find the eps that belongs to it
    ### BEGIN SOLUTION
    x0 = x0.clamp(-1, 1)
    return x0, (x_t - a.sqrt() * x0) / (1 - a).sqrt()
    ### END SOLUTION


clamp_x0 = check("4.3", clamp_x0)

# %% expected="4.3" tags=["slide-figure"] slideshow={"slide_type": "-"}
levels = torch.tensor([2, *range(25, 976, 25), 985, 992, 996, 998, 1000])
x0, g = images[: len(levels)], torch.Generator().manual_seed(0)
true_eps, error = torch.randn(x0.shape, generator=g), 0.01 * torch.randn(x0.shape, generator=g)
x_t = schedule.q_sample(x0, levels, true_eps)
from_eps = schedule.predict_x0(x_t, levels, true_eps + error)
from_v = schedule.from_output(schedule.target(x0, levels, true_eps, "v") + error, x_t, levels, "v")[1]
clamped, _ = clamp_x0(x_t, levels, from_eps, schedule)

fig, ax = plt.subplots()
for name, estimate, look in (("eps", from_eps, "-"), ("eps", clamped, "--"), ("v", from_v, "-")):
    off = (estimate - x0).flatten(1).square().mean(1).sqrt()
    ax.plot(levels, off, look, color=show.COLOUR[name], linewidth=2)
ax.set(xlabel="noise level $t$", ylabel="error of the estimate of $x_0$", yscale="log")
ax.legend([r"from $\epsilon$", r"from $\epsilon$, clamped", "from $v$"], title="with 1 % error in the output")
show.figure(fig, "Error of the estimated clean picture over the noise level, log scale. From eps it rises "
            "without limit to hundreds at the top; clamped it stays near one; from v it is one per cent.")

# %% [markdown] exercise_text="4.4" slideshow={"slide_type": "slide"}
# Follow the three lines to the right end. From $\epsilon$ the error reaches hundreds, the clamp holds it near one, and from $v$ it is one per cent at most. In formulas:
# $$\hat x_0 \leftarrow \mathrm{clamp}(\hat x_0, -1, 1), \qquad
# \hat\epsilon \leftarrow \frac{x_t - \sqrt{\bar\alpha_t}\,\hat x_0}{\sqrt{1 - \bar\alpha_t}}$$
# In words: cut the picture to its range. Take it out of $x_t$, and what is left is the noise, to be divided by its standard deviation.
#
# With a network that predicts $\epsilon$ and this schedule, much depends on the clamp (notebook 03: without it <!--r:digits_box.long.eps_cosine.seeds.0.unclipped.confident|.0%-->24%<!--/--> of the samples were read with confidence). Our network predicts $v$, and
# $\hat x_0 = \sqrt{\bar\alpha_t}\,x_t - \sqrt{1-\bar\alpha_t}\,\hat v$ divides by nothing. Here the clamp only keeps small overshoots from
# adding up. It is cheap, so we leave it on. ("Looking inside" measures it on and off.)
#
# ## 7. Fifty levels of a thousand
#
# *On the one-evening route.*
#
# Must a walk visit all 1,000 levels? The DDIM step of notebook 02 goes from any level to any lower one, so
# it may visit only 50 of them. Which 50? There are three demands:
#
# - the walk starts from pure noise, so the first level is the top, $T$;
# - the strides are equal, and the last of them, which leads to the clean picture at level 0, is as long as the others;
# - levels are whole numbers, also where the number of steps does not divide $T$: then take the nearest.
#
# Four steps of 1,000, for example, are asked at 1000, 750, 500 and 250.
#
# ### Exercise 4.4: which levels to visit
#
# Write `ddim_levels`, a list of `steps` falling whole numbers.
#
# Difficulty: ●●○○○ · 5 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# It is one list comprehension over $i = 0, \dots, S-1$. What is the first level, and what would the one behind the last be?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# The exact stride is `T / steps`; go down by `i` of them and round only then. Python's `round` gives a whole number. Do not use
# `range` with a stride of `T // steps`.
#
# </details>
#
# <!--slide 3 min
# ## Which levels, and what happens at each?
#
# - levels: the first is $T$, strides are equal, the last of them leads to 0: four of 1,000 are 1000, 750, 500, 250
# - at each: **ask** the network, **read** its answer as $(\hat x_0, \hat\epsilon)$, **clamp**, draw **noise**, **step** to the next
#
# **Your turn: exercises 4.4 and 4.5, 5 and 16 minutes**
#
# ```python
# def ddim_levels(T, steps): ...
#
# @torch.no_grad()
# def walk(model, schedule, x, levels, step, read, generator=None):
#     """From x at levels[0] to the clean picture; yields (level reached, x, x0) after each round."""
# ```
#
# **Before you write:** which levels does a walk of five steps visit? Two traps are to start at $T - 1$, as libraries do that count from 0, and to forget the last stride, to 0.
#
# Notes:
# Say: the step rule of notebook 02 goes from any level to any lower one. What is left to choose is the levels, and to write the loop. Give 21 minutes for both exercises, on top of the 3 minutes for this slide.
# Ask: which levels does a walk of five steps visit? (1000, 800, 600, 400, 200, and then the clean picture, level 0, about which the network is not asked.)
# Common mistakes: `range` with a stride of T // steps; starting at T - 1, as libraries do that count from 0; in the walk the last stride to 0 forgotten, and the level handed over as a number where (B,) is expected.
# Answers 4.5.
# -->

# %% exercise="4.4" slideshow={"slide_type": "skip"}
def ddim_levels(T, steps):
    # TODO 4.4: `steps` whole levels from T down, in equal strides
    ### BEGIN SOLUTION
    return [round(T - i * T / steps) for i in range(steps)]
    ### END SOLUTION


ddim_levels = check("4.4", ddim_levels)

# %% [markdown] slideshow={"slide_type": "skip"}
# In a formula, with $S$ steps:
# $$t_i = \mathrm{round}\!\left(T - i\,\frac{T}{S}\right), \qquad i = 0, \dots, S-1$$
# For $T = 1000$ and $S = 50$ these are 1000, 980, ..., 20, and the last stride leads from 20 to 0. Lin et al. (2023) call this spacing
# *trailing*. Another popular one, 981, 961, ..., 1 (*leading*), starts *below* the top: the network is handed pure noise and
# told that some signal is left.
#
# ## 8. The walk
#
# *On the one-evening route.*
#
# Now you have everything: a network, a schedule, levels, a way to read what the network says, the clamp and
# the step. How do they make a digit together? By the same round, once for each level:

# %% tags=["hide-input"] jupyter={"source_hidden": true} slideshow={"slide_type": "skip"}
boxes = ("ask\nmodel", "read\n$(\\hat x_0, \\hat\\epsilon)$", "clamp\n$\\hat x_0$, then $\\hat\\epsilon$",
         "draw noise\nlike $x$", "step\nto $t_{next}$")
fig, ax = plt.subplots(figsize=(show.WIDTH, 1.6))
arrow = dict(arrowstyle="->", color="black")
back = dict(arrow, connectionstyle="bar,fraction=-0.05", linestyle="--")
for i, words in enumerate(boxes):
    box = dict(boxstyle="round,pad=0.5", facecolor="white", edgecolor="black")
    ax.text(2 * i + 1, 1, words, ha="center", va="center", bbox=box)
    ax.annotate("", (2 * i + 0.25, 1), (2 * i - 0.25, 1), arrowprops=arrow)
ax.annotate("", (10.3, 1), (9.75, 1), arrowprops=arrow)
ax.annotate("", (-0.8, 0.7), (11.1, 0.7), arrowprops=back)
for place, words in ((-0.8, "$x$ at $t$"), (11.1, "$x$ at $t_{next}$:\nhand it out")):
    ax.text(place, 1, words, ha="center", va="center")
ax.set(xlim=(-1.6, 12), ylim=(0, 1.5)), ax.set_axis_off()
show.figure(fig, "One round of a walk: ask the network, read x0 and eps, clamp, draw noise, step; and again")

# %% [markdown] exercise_text="4.5" slideshow={"slide_type": "slide"}
# ### Exercise 4.5: the walk from noise to a digit
#
# Write `walk`, the loop that `helpers` has run for you until now. It starts from `x`, noise at the first of `levels`,
# and goes to the clean picture at level 0. In each round
# - it asks `model(x, t)`, with `t` in the shape that the network wants: int64, one level for each picture, (B,);
# - it reads the answer: `read(output, x, t, schedule)` returns `(x0, eps)`, for our network that is your `from_v`;
# - it calls your `clamp_x0`;
# - it draws noise of x's shape from `generator`, in every round, whether the step uses it or not: so one seed means
#   the same noises for every step;
# - it calls `step(x0, eps, t, t_next, noise, schedule)`, with the levels as plain numbers, and hands out (`yield`)
#   the level reached, `x` there, and the clamped `x0`.
#
# Difficulty: ●●●●○ · 16 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Each round needs two levels, the one where x is and the one where it goes. With levels 3, 2, 1 the pairs are (3, 2), (2, 1), (1, 0).
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `zip(levels, [*levels[1:], 0])` makes the pairs and `torch.full((len(x),), t)` the levels of a batch; the noise is
# `torch.randn(x.shape, generator=generator)`. The last line of the loop is `yield t_next, x, x0`.
#
# </details>
#
# <!--slide 2 min
# ## Sixty-four digits from noise, drawn by your functions
#
# Fifty levels of the thousand: a twentieth of the work. Which of these digits can you not read?
#
# Notes:
# Say: drawn by the functions that you wrote. The same seed gives the same sixty-four digits on any machine, up to rounding. The printed share is what a classifier reads with more than 95 per cent; by our count 15 of the 64 are malformed, so the classifier is mild.
# Ask: is there one digit of the 64 that you cannot read? (Let the room vote and note how many disagree: that is why a classifier will judge later on.)
# Live: run the cell; it takes a few seconds.
# -->

# %% exercise="4.5" slideshow={"slide_type": "skip"}
@torch.no_grad()
def walk(model, schedule, x, levels, step, read, generator=None):
    """From x at levels[0] to the clean picture; yields (level reached, x, x0) after each round."""
    # TODO 4.5: for each level and the next: ask, read, clamp, draw noise, step, yield
    ### BEGIN SOLUTION
    for t, t_next in zip(levels, [*levels[1:], 0], strict=True):
        t_all = torch.full((len(x),), t)
        x0, eps = read(model(x, t_all), x, t_all, schedule)
        x0, eps = clamp_x0(x, t_all, x0, schedule)
        noise = torch.randn(x.shape, generator=generator)
        x = step(x0, eps, t, t_next, noise, schedule)
        yield t_next, x, x0
    ### END SOLUTION


walk = check("4.5", walk)

# %% expected="4.5" tags=["slide-figure"] slideshow={"slide_type": "-"}
def film(steps, x_T):
    """What a walk yields as a list of States, for filmstrips and sliders."""
    return [State(0, 1000, x_T), *(State(i, *state) for i, state in enumerate(steps, start=1))]


few = choose(50, 5)
x_T = torch.randn(64, 1, 28, 28, generator=torch.Generator().manual_seed(0))
start = time.perf_counter()
rounds = walk(model, own, x_T, ddim_levels(1000, few), my.ddim_step, my.from_v)
path = film(show.progress(rounds, few, "DDIM"), x_T)
samples, ddim_seconds = path[-1].x, time.perf_counter() - start
print(f"64 images, {few} steps: {ddim_seconds:.1f} s; confident {metrics.confident_share(samples):.0%}")
show.grid(samples, "64 digits in an 8 by 8 grid, drawn with 50 DDIM steps: clean strokes, mostly digits",
          columns=8, title=f"64 samples, {few} DDIM steps")
same = last(reverse(model, schedule, ddim(few), x_T=x_T[:4], clip_x0=1.0))
print(f"largest difference of a pixel from the course's own loop: {(samples[:4] - same).abs().max():.1g}")
mine.credit("draw_digits")

# %% [markdown] slideshow={"slide_type": "skip"}
# Noise to digits, by functions that you have written one after the other since the first notebook. Up to rounding, the pixels are
# those of the course's own loop, `reverse` (the last difference printed).
#
# Now look closely. The strokes are clean, but by our count about 15 of the 64 are malformed: the last of the fourth row, say, or the
# first of the seventh. Section 9 brings a remedy that costs no extra steps.
#
# Your functions do not need the course any more. They stand in the file `my-work/mine.py`, which `check` has been writing along the way. Behind
# them stand the functions of the next two cells, which are given: they load the weights, walk, and write a picture. (`draw_digits` works only in that
# file, where `UNet` and `walk` are yours.) The last lines run the file as a program, `python my-work/mine.py`, with no notebook and nothing of the
# course but the weights. Drawing needs twelve of your functions. When all twelve are in the file it writes `digits.png`; otherwise it says which are missing.

# %% slideshow={"slide_type": "skip"}
def find_weights(name="mnist_unet"):
    """data/checkpoints/NAME.safetensors of the course's folder, from wherever this file lies in it."""
    tried = [p / "data" / "checkpoints" / f"{name}.safetensors" for p in Path(__file__).resolve().parents]
    return next((path for path in tried if path.exists()), tried[0])


def draw_digits(count=64, seed=0, steps=50):
    """`count` digits (count, 1, 28, 28), from the course's weights by your code."""
    network = UNet(channels=(16, 48, 96)).eval().requires_grad_(False)
    network.load_state_dict(load_file(find_weights()), strict=True)
    schedule, g = Schedule(cosine_betas(1000)), torch.Generator().manual_seed(seed)
    x = torch.randn(count, 1, 28, 28, generator=g)
    for _, x, _ in walk(network, schedule, x, ddim_levels(1000, steps), ddim_step, from_v, g):
        pass
    return x

# %% slideshow={"slide_type": "skip"}
import subprocess

from PIL import Image


def to_png(images, columns, file):
    """A grid of pictures in [-1, 1], three pixels for one, as a PNG."""
    images = images[: len(images) // columns * columns]  # full rows only
    grey = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)[:, 0]
    sheet = torch.cat([torch.cat(list(row), dim=1) for row in grey.split(columns)])
    Image.fromarray(sheet.repeat_interleave(3, 0).repeat_interleave(3, 1).numpy()).save(file)


to_png(samples, 8, out_dir() / "mnist_64.png")
file = mine.folder() / "mine.py" if mine.folder() else None  # the complete edition has none
if file and file.exists():
    done = subprocess.run([sys.executable, str(file), str(choose(64, 8))], capture_output=True, text=True)
    print(done.stdout, done.stderr[-500:])
else:
    print("Here is no mine.py. In your copy the first right answer writes it.")

# %% [markdown] exercise_text="4.6" slideshow={"slide_type": "slide"}
# ## 9. The ancestral walk, and fresh noise
#
# What about the walk of notebook 02 that visits every level (Ho et al. 2020, algorithm 2)? It is called *ancestral*: each state is drawn at random, given the one
# before. It estimates $x_0$ and draws $x_{t-1}$ from the posterior
# $q(x_{t-1} \mid x_t, \hat x_0)$, a thousand times. For your `walk` that is another step, `ancestral_step`, and the levels 1000, 999, ..., 1. Eight pictures
# take a quarter of a minute or so.
#
# ### Exercise 4.6: same noise, same digits?
#
# Three walks start from the *same* noise $x_T$. Do they draw the same digits? Answer twice, y or n: first for DDIM with 20
# and with 50 steps, then for DDIM with 50 steps and the ancestral walk. Write both letters, as in `"yy"`.
#
# Difficulty: ●○○○○ · 2 minutes
#
# <details><summary>Hint</summary>
#
# Where in each of the walks does chance come in?
#
# </details>
#
# <!--slide 2 min
# ## Ancestral: a thousand draws from the posterior
#
# $$x_{t-1} \sim q(x_{t-1} \mid x_t, \hat x_0), \qquad t = T, \dots, 1$$
#
# In words: each step draws the next picture at random, given $x_t$ and the estimate of the clean picture. Three walks from the same eight noises. Do they draw the same digits?
#
# Notes:
# Say: algorithm 2 of Ho et al., unchanged from notebook 02; only the data are new. One pass of the network a step, 1,000 steps a picture, and every step draws fresh noise.
# Ask: before you click for the picture (it is exercise 4.6), DDIM with 20 and with 50 steps, the same digits? DDIM and ancestral? (The first yes, the second no: the ancestral walk draws noise in every step and each draw steers it. Only DDIM is a function of x_T.)
# Have run: eight walks of 1,000 steps take a quarter of a minute or so. Run it while you speak about the formula.
# -->

# %% exercise="4.6" kind="predict" slideshow={"slide_type": "skip"}
# TODO 4.6: "y" or "n" twice: DDIM 20 and 50 steps, then DDIM and ancestral
### BEGIN SOLUTION
guess = "yn"
### END SOLUTION
check.predict("4.6", guess)

# %% slideshow={"slide_type": "skip"}
def arrive(rounds, count):
    """x after `count` rounds of a walk."""
    for _, (_, x, _) in zip(show.progress(range(count)), rounds, strict=False):
        arrived = x
    return arrived


some, walk_steps = choose(8, 2), choose(1000, 12)
rounds = walk(model, own, x_T[:some], list(range(1000, 0, -1)), my.ancestral_step, my.from_v,
              torch.Generator().manual_seed(1))
start = time.perf_counter()
ancestral_live = arrive(rounds, walk_steps)
ancestral_seconds = time.perf_counter() - start
print(f"{some} images, {walk_steps} steps: {ancestral_seconds:.0f} s")
rounds = walk(model, own, x_T[:8], ddim_levels(1000, choose(20, 3)), my.ddim_step, my.from_v)
short = arrive(rounds, choose(20, 3))

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "fragment"}
three = {"DDIM, 20 steps": short, "DDIM, 50 steps": samples[:8], "ancestral, 1,000": ancestral_live}
show.rows(three, "Eight digits in three rows, from the same eight noises. DDIM with 20 and with 50 steps: "
          "the same digits, in the same hand, two of them malformed. The ancestral walk: other digits.",
          title="From the same eight noises")


def likeness(a, b):
    pairs = zip(a.flatten(1), b.flatten(1), strict=True)
    return sum(torch.corrcoef(torch.stack(pair))[0, 1].item() for pair in pairs) / len(a)


other = ancestral_live
near, far = likeness(short, samples[:8]), likeness(samples[: len(other)], other)
shuffled = [likeness(samples[: len(other)], other.roll(k, 0)) for k in range(1, len(other))]
print(f"correlation of the pictures: DDIM 20 and 50 steps {near:.2f}, DDIM and ancestral {far:.2f}, "
      f"DDIM and ancestral from another noise {sum(shuffled) / len(shuffled):.2f}")
check.truth("4.6", "yn")

# %% [markdown] slideshow={"slide_type": "slide"}
# Follow one column. The two DDIM rows show the same digit, and the same mistake: the fourth and the sixth are malformed in both. The ancestral row
# shows other digits. Its walk draws fresh noise in every step, and each draw steers it, so two walks from one $x_T$ part early, while it is still open
# which digit it will be. Only DDIM is a *function* of $x_T$. (The last of the printed correlations is the one to compare with: any two digits have something in
# common, the black background above all.)
#
# Which walk draws better digits? Eight are too few to tell, so we compare 64. Your `ddim_step` has a knob for this: with `eta=1` it replaces a
# part of the noise by fresh noise in each of the 50 steps. The ancestral 64 were drawn by `make train`. A frame marks what the classifier reads with less than
# $95\,\%$ confidence.
#
# <!--slide 1 min
# ## Which walk draws better digits?
#
# 64 samples each. Framed: the classifier is not sure.
#
# **Question:** is 8 against 5 of 64 a difference, or chance? Of three times 1,000 samples the classifier is sure of <!--r:mnist_samplers.samplers.ddim.confident.mean|.0%-->83%<!--/--> with DDIM and of <!--r:mnist_samplers.samplers.ancestral.confident.mean|.0%-->86%<!--/--> with fresh noise, 50 steps each.
#
# Notes:
# Say: the middle panel costs what the left one costs, a twentieth of the right one. The classifier is not sure of 8, 7 and 5 of 64, too close to tell. Of three times 1,000 samples it is sure of <!--r:mnist_samplers.samplers.ddim.confident.mean|.0%-->83%<!--/--> with DDIM and of <!--r:mnist_samplers.samplers.ancestral.confident.mean|.0%-->86%<!--/--> with fresh noise, 50 steps each.
# Ask: how can fresh noise make a digit better? (The usual explanation: the network errs a little at each level. DDIM carries the error along, with 20 steps as with 50; fresh noise replaces a part of it, and later steps work on what is left.)
# -->

# %% slideshow={"slide_type": "skip"}
def fresh_step(x0, eps, t, t_next, noise, schedule):
    return my.ddim_step(x0, eps, t, t_next, noise, schedule, eta=1.0)


g = torch.Generator().manual_seed(1)
fresh = arrive(walk(model, own, x_T, ddim_levels(1000, few), fresh_step, my.from_v, g), few)

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
from helpers.classifiers import probabilities

walks = {f"DDIM, {few} steps": samples, f"fresh noise, {few} steps": fresh,
         "ancestral, 1,000 steps": pictures["ancestral"]}
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 4.1))
for ax, (name, digits) in zip(axes, walks.items(), strict=True):
    unsure = probabilities(digits).max(1).values <= 0.95
    ax.imshow(show.tiles(digits, 8), vmin=0, vmax=255)
    for i in unsure.nonzero().flatten().tolist():
        place = 29 * (i % 8), 29 * (i // 8)  # a tile is 28 pixels and a line wide
        ax.add_patch(plt.Rectangle(place, 29, 29, fill=False, linewidth=2.5, edgecolor=show.COLOURS[4]))
    ax.set(title=f"{name}\nnot sure of {int(unsure.sum())} of {len(digits)}", xticks=[], yticks=[])
show.figure(fig, "Three grids of 64 digits each: DDIM with 50 steps, the same with fresh noise, and 1,000 "
            "ancestral steps. Orange frames mark the digits of which the classifier is not sure.")

# %% [markdown] slideshow={"slide_type": "slide"}
# Of 64 digits the classifier is unsure of 8, 7 and 5. That is too close to tell, so larger sets have to decide: three seeds with 1,000 samples each, every sampler with 50
# evaluations of the network. The classifier is sure of
# - <!--r:mnist_samplers.samplers.ddim.confident.mean|.0%-->83%<!--/--> with DDIM;
# - <!--r:mnist_samplers.samplers.ancestral.confident.mean|.0%-->86%<!--/--> with DDIM and fresh noise (`eta=1`);
# - <!--r:mnist_samplers.samplers.dpm_fresh.confident.mean|.0%-->89%<!--/--> with DPM-Solver++ and fresh noise, the sampler with which notebook 05 ends.
#
# The Frechet distance lies <!--r:mnist_samplers.samplers.ddim.excess.mean|.1f-->2.7<!--/-->, <!--r:mnist_samplers.samplers.ancestral.excess.mean|.1f-->2.1<!--/--> and <!--r:mnist_samplers.samplers.dpm_fresh.excess.mean|.1f-->1.5<!--/--> above that of real digits. The order is the same, but the seeds of one sampler differ by
# more than these three means do: the distance does not decide, the shares do.
#
# Why does fresh noise help? The usual explanation (Karras et al. 2022) is that the network errs a little at each level. DDIM carries the error along, with 20 steps as with
# 50. Fresh noise replaces a part of it, and the steps that follow work on what is left. With four steps it does not help (notebook 05), and it costs a little variety: the share of real
# digits that have a sample near them falls from <!--r:mnist_samplers.samplers.ddim.recall.mean|.1%-->93.5%<!--/--> to <!--r:mnist_samplers.samplers.ancestral.recall.mean|.1%-->92.3%<!--/-->. With 50 steps **draw with fresh noise**, unless you need the picture to be a function of its noise.
#
# ## 10. Watching it happen
#
# *On the one-evening route.*
#
# When does a walk know which digit it will draw? `path` has kept every state of the DDIM walk, from pure noise to the clean
# pictures. (We film the walk without fresh noise because it is easier to follow: nothing is drawn anew between two frames.) The strip shows eight moments of one digit: above $x_t$, below it the estimate of $x_0$ that led there (the first column has none yet). From which column
# on can you read the digit in each row?
#
# <!--slide 4 min
# ## Coarse first: the estimate knows the digit early
#
# Above, $x_t$ of one walk. Below, the estimate of $x_0$ that led there:
#
# - a blurred average of many digits, then *one* digit, then only sharper strokes
# - read the lower row at $t = 900$: which digit is it?
# - at $t = 800$ the estimate is a 4, while $x_t$ still looks like noise
#
# Notes:
# Say: this is why one leap cannot do it. The first estimate is the mean of everything; each step commits to a little more. The first column has no estimate yet.
# Ask: read the lower row at t = 900. Which digit is it? (It could be a 9. The walk has not decided yet; a little later it is a 4.)
# Live: in the notebook, below the GIF, move `step` from 0 to 50 and look at all sixteen estimates; then pick with `sample` one that is late to decide.
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
show.filmstrip(path, "One walk as a filmstrip of eight moments. Above, x_t: noise clears to a digit. Below, "
               "the estimate of the clean picture: a blurred average at first, then a digit that sharpens "
               "while x_t is still mostly noise.", levels=(1000, 980, 900, 800, 600, 400, 200, 0), x0=True,
               title="$x_t$ and the estimate of $x_0$ behind it", save=out_dir() / "mnist_filmstrip.png")

# %% [markdown] slideshow={"slide_type": "slide"}
# Read the lower row from left to right. The first estimate is a blurred average of many digits. At $t = 900$ it could be a 9, at $t = 800$ it is a 4, while $x_t$ above still looks
# like noise. After that only strokes sharpen: coarse first, detail later.
#
# And now as a film, 36 walks at once:
#
# <!--slide 2 min
# ## Noise to digits: fifty steps as a film
#
# Thirty-six walks at once, all from one seed. Watch how early the strokes find their place.
#
# Notes:
# Say: 36 walks at once, the states evenly spaced with the first and the last among them. The file holds bytes: clamp to the range, shift, scale by 127.5, round, convert; `to_png` in the notebook shows the line.
# Ask: what happens to a pixel of 1.02 if nobody clamps it? (It becomes 257.55; a byte ends at 255 and starts again at 0, so a black speck appears in a white stroke.)
# Have run: the GIF lies in the folder out.
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
moments = show.evenly(path, 42)
frames = [show.tiles(state.x[:36], 6) // 32 * 36 for state in moments]  # eight greys: a third of the bytes
show.gif(frames, out_dir() / "mnist.gif", "Animation: 36 squares of noise clear up together and become 36 "
         "handwritten digits, which then stand still for a moment", scale=2, seconds=4, hold=2.5)
print(f"mnist.gif: {len(frames)} frames, {(out_dir() / 'mnist.gif').stat().st_size / 1000:.0f} kB")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ### Try it: hold the film still (optional)
#
# Move `step` along the stored walk: on the left sixteen $x_t$, beside them what the network expects of each, then
# one `sample` enlarged (framed in the grids). Two things to see. The estimates begin alike, as one grey blur, and become sixteen different
# pictures while $x_t$ is still mostly noise. And not all samples decide equally early: which is the last to become *one* digit, and does every one?
#
# (The filmstrip shows below each $x_t$ the estimate that led to it, the sliders the one made *from* it, a step later.)

# %% tags=["optional"] slideshow={"slide_type": "skip"}
def scrub(step=few // 5, sample=1):
    """The stored walk after `step` steps: x_t and what the network expects of it; one sample enlarged."""
    state, k = path[step], sample - 1
    guess = path[min(step + 1, few)].x0  # what is asked of this x_t; at the end nothing is left to ask
    pictures = {"$x_t$": state.x[:16], "estimate of $x_0$": guess[:16],
                f"sample {sample}: $x_t$": state.x[k, None], "its estimate of $x_0$": guess[k, None]}
    fig, axes = plt.subplots(1, 4, figsize=(show.WIDTH, 3.4))
    for ax, (title, some) in zip(axes, pictures.items(), strict=True):
        ax.imshow(show.tiles(some, int(len(some) ** 0.5)), vmin=0, vmax=255)
        ax.set(title=title, xticks=[], yticks=[])
    corner = 29 * (k % 4), 29 * (k // 4)  # a tile is 28 pixels and a line wide
    for ax in axes[:2]:
        ax.add_patch(plt.Rectangle(corner, 29, 29, fill=False, linewidth=3, edgecolor=show.COLOURS[4]))
    fig.suptitle(f"step {step} of {few}: {show.level(state.t)}")
    show.figure(fig, f"{show.level(state.t)}: sixteen samples, their estimates, sample {sample} enlarged")

# %% tags=["optional"] slideshow={"slide_type": "skip"}
from helpers.sliders import sliders

sliders(scrub, step=(0, few), sample=(1, 16))

# %% [markdown] slideshow={"slide_type": "skip"}
# **Noise to digits.** The GIF is in the folder `out/`, with the filmstrip and the 64 digits. Take them with you.
#
# ## 11. How far apart are two sets?
#
# Are these digits good? You could ask ten people. We want a number, and one that judges a thousand samples as a *set*: are they
# spread as the data are? A small classifier that ships with the course turns each picture into 64 numbers, its *features* (what it
# looks at just before it names a digit). We fit a Gaussian to the features of each set, and ask how far apart the two Gaussians are. Here are two sets with
# one feature. What should the distance depend on?

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
fig, ax = plt.subplots(figsize=(show.WIDTH, 2.9))
x = torch.linspace(-4, 7, 300)
for name, m, s, side, what in (("a", 0.0, 1.0, "right", "data"), ("b", 2.0, 1.8, "left", "model")):
    colour, height = show.COLOUR[what], torch.exp(-((x - m) ** 2) / (2 * s**2)) / s
    ax.plot(x, height, linewidth=2, color=colour)
    ax.fill_between(x, height, color=colour, alpha=0.15)
    words = f"  set {name}: mean $\\mu_{name}={m:g}$, width $\\sigma_{name}={s:g}$  "
    ax.text(m, 1 / s + 0.04, words, ha=side, color=colour)
    ax.plot([m, m], [0, 1 / s], color=colour, linestyle="--", linewidth=1)
    arrow = dict(arrowstyle="<->", color=colour, shrinkA=0, shrinkB=0)
    ax.annotate("", (m + s, 0.607 / s), (m, 0.607 / s), arrowprops=arrow)
ax.set(xlabel="one feature", ylabel="how often", yticks=[], ylim=(0, 1.2), title="Two means and two widths")
show.figure(fig, "Two bell curves: set a with mean 0 and standard deviation 1, set b with mean 2 and "
            "standard deviation 1.8; dashed lines at the means, arrows one standard deviation long.")

# %% slideshow={"slide_type": "skip"}
def mixed_root(c_a, c_b):
    """The trace of the root of c_a c_b. With one feature it is sigma_a sigma_b."""
    w, v = torch.linalg.eigh(c_a)
    root = v @ torch.diag(w.clamp(min=0).sqrt()) @ v.T
    return torch.linalg.eigvalsh(root @ c_b @ root).clamp(min=0).sqrt().sum()

# %% [markdown] exercise_text="4.7" slideshow={"slide_type": "slide"}
# Two things make these sets different: their means are apart, and their widths differ. A natural distance adds up both, squared:
# $$(\mu_a-\mu_b)^2+(\sigma_a-\sigma_b)^2$$
# It is 0 only where both agree. (It is also what it costs to shovel one hill of sand into the shape of the other, if moving a grain by $d$
# costs $d^2$.)
#
# ### Exercise 4.7: from one feature to many
#
# A picture has many features. Take the distance there in three moves. Multiply the second bracket out. Then let the means be
# vectors, and let covariance matrices take the place of the variances; their trace counts (the sum of the diagonal). For the product that is left take
# `mixed_root(c_a, c_b)` of the cell above.
#
# Write `frechet` for two sets of features, (N, d) and (M, d). It computes in float64 and returns a tensor with one number.
#
# Difficulty: ●●●○○ · 13 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Multiplied out, the second bracket has three terms. Which of them are variances, and which is the product? The difference of two vectors is squared by adding up
# the squares of its entries.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `a.double()` first. `torch.cov(a.T)` is the covariance of the features, `.trace()` its trace; the means are `a.mean(0)`.
# The third term is twice the mixed root, and it is subtracted.
#
# </details>
#
# <!--slide 3 min
# ## How far apart are two sets of pictures?
#
# A small classifier turns each picture into 64 numbers. In one dimension, two Gaussians have the distance
#
# $$(\mu_a-\mu_b)^2+(\sigma_a-\sigma_b)^2$$
#
# In words: how far apart are the middles, and how different are the widths?
#
# **Your turn: exercise 4.7, 13 minutes.** From one feature to many:
#
# 1. multiply the second bracket out: three terms
# 2. means become vectors, variances become covariance matrices; of a matrix its trace counts
# 3. for the product that is left take the given `mixed_root(c_a, c_b)`
#
# **To test yours:** what is the distance of a set from itself? And of two samples of the same thing?
#
# Notes:
# Say: no person has to look. We fit a Gaussian to the features of each set and measure how far apart the two are. Give 13 minutes for exercise 4.7, on top of the 3 minutes for this slide.
# Ask: what is the distance of a set from itself? (0: same means, same widths. Of two samples of the same thing it is a little above 0, for means and widths are estimated.)
# Common mistakes: the 2 of the mixed term; covariance of the transposed set; a root at the end; float32.
# -->

# %% exercise="4.7" slideshow={"slide_type": "skip"}
def frechet(a, b):
    # TODO 4.7: the distance of the Gaussians fitted to two sets of features
    ### BEGIN SOLUTION
    a, b = a.double(), b.double()
    c_a, c_b = torch.cov(a.T), torch.cov(b.T)
    means = (a.mean(0) - b.mean(0)).square().sum()
    return means + c_a.trace() + c_b.trace() - 2 * mixed_root(c_a, c_b)
    ### END SOLUTION


frechet = check("4.7", frechet)

# %% slideshow={"slide_type": "skip"}
from helpers.classifiers import features

shuffled = torch.randperm(len(test_images), generator=torch.Generator().manual_seed(0))
real_features = features(test_images[shuffled[: choose(10_000, 1200)]])
few_real, rest = real_features[:1000], real_features[1000:]
print(f"1,000 test images from the others: {frechet(few_real, rest):.4f} by yours, "
      f"{metrics.frechet_between(few_real, rest):.4f} by the course's")
distances = [[n, f"{frechet(real_features[:n], real_features[n:]):.1f}"] for n in (64, 250, 1000)]
show.table(distances, ["real images", "distance from the other real images"])

# %% [markdown] slideshow={"slide_type": "slide"}
# In formulas (Heusel et al. 2017, eq. 6), with means $\mu$ and covariances $C$:
# $$d(a, b) = |\mu_a - \mu_b|^2 + \operatorname{tr}\!\big(C_a + C_b - 2\,(C_a C_b)^{1/2}\big)$$
# In words: how far the means are apart and how much the widths differ, both squared. It is called the Frechet distance. With the features of a
# network called Inception it is the FID of the papers.
#
# Look at the table. All these pictures are real, and still no distance is 0. Mean and covariance are estimated from a limited number of
# pictures and are off by chance, and squared errors do not average out. That is why every distance stands beside its *floor*, the distance of as
# many real pictures. For 1,000 the floor is about 3.
#
# **Question.** Why can't we compute this distance from the 64 samples of a grid?
#
# <details><summary>Answer</summary>
#
# A covariance of 64 features has 2,080 different entries, far too many to estimate from 64 pictures. Real pictures then look many times as far from the data as
# our samples really are, so the number mostly says how few they were. Compare distances only at the same number of samples, and
# beside the floor.
#
# </details>
#
# ## 12. How good are they?
#
# No single number will do, so we ask four questions, each beside what real digits score.
# 1. *Do they look like the data as a whole?* The Frechet distance of 1,000 samples, beside its floor.
# 2. *Is each a digit?* The confident share, by a second classifier, not the one that lends its features to the distance.
# 3. *Are they new?* The distance to the nearest training image, beside that of unseen test images.
# 4. *Are all digits there?* Class counts.
#
# The course has drawn 1,000 samples in 50 steps and judged them, with three seeds. The first column is plain DDIM, because the snapshots of section 5 were judged with it too;
# the second has fresh noise. The nearest images were looked up for one seed of DDIM.
#
# <!--slide 4 min
# ## Four questions, each beside what real digits score
#
# 1. **Like the data as a whole?**<br>Frechet distance of 1,000 samples: <!--r:mnist_samplers.samplers.ddim.distance.mean|.1f-->5.8<!--/-->, with fresh noise <!--r:mnist_samplers.samplers.ancestral.distance.mean|.1f-->5.1<!--/-->, the floor <!--r:mnist.floor.mean|.1f-->3.0<!--/-->
# 2. **Is each one a digit?**<br>A second classifier reads with confidence: <!--r:mnist_samplers.samplers.ddim.confident.mean|.1%-->83.4%<!--/-->, with fresh noise <!--r:mnist_samplers.samplers.ancestral.confident.mean|.1%-->85.8%<!--/-->, of real digits <!--r:mnist.real.confident|.1%-->97.0%<!--/-->
# 3. **Are they new?**<br>Median distance to the nearest training image: <!--r:mnist.nearest.samples.middle|.2f-->0.34<!--/-->, of test images <!--r:mnist.nearest.test.middle|.2f-->0.32<!--/-->
# 4. **Are all digits there?**<br>Smallest class: <!--r:mnist_samplers.samplers.ddim.smallest_class.mean|.1%-->8.1%<!--/-->, with fresh noise <!--r:mnist_samplers.samplers.ancestral.smallest_class.mean|.1%-->7.8%<!--/-->, of real digits <!--r:mnist.real.class_shares.5|.1%-->8.9%<!--/-->
#
# Notes:
# Say: the Frechet distance of exercise 4.7 adds the squared distance of the means and the difference of the spreads. In each line first samples of plain DDIM, last real test images. Distance, confidence and smallest class are means of three seeds. The classifier that judges is not the one that lends its features to the distance. No single number will do, and no number stands alone.
# Ask: somebody shows you 1,000 real digits, all of them zeros to fours. Which of the four questions notices? (The first and the last. Exercise 4.8 does that; the judge is as sure as ever.)
# Live: run the cell; it prints these stored results as a table.
# Answers 4.8.
# -->

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
final, near = saved["final"], saved["nearest"]
ours, unseen, judged = near["samples"], near["test"], load_results("mnist_samplers")["samplers"]


def both(key, form):
    return [format(judged[rule][key]["mean"], form) for rule in ("ddim", "ancestral")]


rows = [
    ["1. Frechet distance", *both("distance", ".1f"), f"{floor['mean']:.1f} (the floor)"],
    ["2. confidently one digit", *both("confident", ".1%"), f"{real['confident']:.1%}"],
    ["3. nearest training image, median", f"{ours['middle']:.2f}", "", f"{unseen['middle']:.2f}"],
    ["3. nearest training image, smallest", f"{ours['smallest']:.2f}", "", f"{unseen['smallest']:.2f}"],
    ["4. smallest class", *both("smallest_class", ".1%"), f"{min(real['class_shares']):.1%}"],
]
show.table(rows, ["score", "DDIM", "with fresh noise", "real test images"], "1,000 samples a set")

# %% [markdown] slideshow={"slide_type": "skip"}
# Our samples are no nearer to the training set than unseen digits are, and all digits are there. But they are not as good as real ones: fewer of them are read with
# confidence. With fresh noise more of them are; the distance falls too, but by no more than the seeds differ. Now let's look behind two of the four questions.
#
# ### Are they new?
#
# In notebook 02 the perfect denoiser of a finite training set could only repeat that set. A network that has not learned by heart makes pictures that are no nearer to
# the training set than unseen real digits are. The distance of two pictures is
# $$d(a, b) = \sqrt{\tfrac{1}{P}\textstyle\sum_p (a_p - b_p)^2}$$
# with $P$ the number of pixels, so it is measured in pixel values whatever the size of the picture. (You will write the search for the
# nearest picture in notebook 07.) The cell compares 64 samples and 64 test images with all 60,000.

# %% slideshow={"slide_type": "skip"}
count = choose(64, 10)
index, distance = metrics.nearest_neighbours(samples[:count], images)
_, distance_test = metrics.nearest_neighbours(test_images[:count], images)
order = distance.argsort()[:10]  # the ten that are nearest to the training set
show.rows({"sample": samples[order], "nearest in training": images[index[order]]},
          "The ten samples that come nearest to the training set, above their nearest training images: "
          "similar digits in other hands, not the same pictures", [f"{d:.2f}" for d in distance[order]],
          title="The ten samples nearest to a training image, and the distance")
print(f"middle distance: samples {distance.median():.2f}, test images {distance_test.median():.2f}")

# %% [markdown] exercise_text="4.8" slideshow={"slide_type": "skip"}
# These are the samples *most* like a training image, and they are still other pictures. They are simple digits, ones above all, which have near neighbours everywhere.
#
# **Question.** What would copying look like, and which copy would this check miss?
#
# <details><summary>Answer</summary>
#
# Distances near zero, far below those of unseen test images. A copy that is shifted by one pixel escapes: most of its stroke pixels then differ.
# The check is evidence, not proof.
#
# </details>
#
# ### Which score notices what?
#
# Which of the four questions can be fooled? `spoil` below is given all test pictures with their labels and returns
# 1,000 of them, drawn at random. Their distance is near the floor of 3, and the second classifier is sure of <!--r:mnist.real.confident|.1%-->97.0%<!--/-->.
#
# ### Exercise 4.8: spoil one score, keep another
#
# Change one thing, so that the distance rises to more than three times the floor while the confident share falls by no more than
# two points. Then say why it worked: (a) the pictures became unclear; (b) every picture is fine, but the set is not the data; (c) there are too
# few pictures.
#
# Difficulty: ●●○○○ · 7 minutes
#
# <details><summary>Hint</summary>
#
# Do not touch the pictures; choose them. `labels == 3` is True for the threes, and `images[labels == 3]` are all of them. But 1,000 must come back, and half of the digits have fewer among the test pictures.
#
# </details>

# %% exercise="4.8" kind="break" slideshow={"slide_type": "skip"}
def spoil(images, labels):
    """Real pictures (N, 1, 28, 28) with their labels (N,); returns 1,000 of them."""
    g = torch.Generator().manual_seed(0)
    # TODO 4.8: change one thing: distance over 3 x floor, confident share at most 2 points lower
    ### BEGIN SOLUTION
    # given: return images[torch.randperm(len(images), generator=g)[:1000]]
    images = images[labels < 5]
    return images[torch.randperm(len(images), generator=g)[:1000]]
    ### END SOLUTION


why = "b"  # "a", "b" or "c"
spoil = check.changed("4.8", spoil, why)

# %% expected="4.8" tags=["hide-input"] slideshow={"slide_type": "skip"}
spoilt = spoil(test_images, test_labels)
drawn, expected = torch.tensor(final["class_shares"]), torch.tensor(real["class_shares"])
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.2))
sets = {"samples": drawn, "real test images": expected, "your spoilt set": metrics.class_shares(spoilt)}
colours = [show.COLOUR["model"], show.COLOUR["data"], "white"]
for i, (name, shares) in enumerate(sets.items()):
    place = torch.arange(10) + 0.27 * (i - 1)
    ax.bar(place, shares, 0.27, label=name, color=colours[i], edgecolor="black", linewidth=0.8)
ax.set(xticks=range(10), xlabel="digit, as the second classifier reads it", ylabel="share of the set")
ax.legend()
show.figure(fig, "Bars for each digit: its share among 1,000 samples, among the real test images, and in "
            "the spoilt set. Samples and real images have all digits about equally often; the other has not.")
print(f"spoilt: distance {frechet(features(spoilt), real_features):.1f} (floor {floor['mean']:.1f}), "
      f"confidently one digit {metrics.confident_share(spoilt):.1%} (real {real['confident']:.1%})")

# %% [markdown] exercise_text="4.9" slideshow={"slide_type": "slide"}
# Two questions notice, the first and the fourth. The second and the third could not notice, for every picture is a real digit. The converse happens as well: if we
# blurred every picture a little, the class counts would stay about what they were. So no score stands alone. (Do the samples' own class counts differ from the
# data's by more than chance? "Looking inside" tests it.)
#
# ## 13. Which line is wrong?
#
# Your walk is right. The one below is not: somebody changed one line of a sampler, and which one depends on a number that was drawn for you. It draws
# twelve digits with the course's network in 20 steps. Lines 3 to 6 are the inside of the loop, for each level `t` on the way to `t_next`. Here `model` takes the level as a plain number, and the draw of `noise` is left out (this step does not use it).
#
# ### Exercise 4.9: find the wrong line
#
# Look at the pictures and the two numbers. Which line is wrong? A wrong answer costs nothing: it is answered by a measurement.
#
# Difficulty: ●●●○○ · 10 minutes
#
# <details><summary>Hint</summary>
#
# First ask what is wrong with the pictures: too bright, all alike, noise left, no digits? Then which line could do that. Compare each line with
# your `walk`.
#
# </details>
#
# <!--slide 4 min
# ## One of these lines was changed. Which?
#
# The lines as they should be, and below them what came of the changed ones:
#
# ```python
# 1 x = torch.randn(12, 1, 28, 28, generator=g)
# 2 levels = ddim_levels(1000, 20)
# 3 v = model(x, t)                  # 3 to 6: for each level t, to t_next
# 4 x0, eps = from_v(v, x, t, schedule)
# 5 x0, eps = clamp_x0(x, t, x0, schedule)
# 6 x = ddim_step(x0, eps, t, t_next, noise, schedule)
# 7 pictures = x
# ```
#
# Notes:
# Say: one line was changed, and this is what it draws; the lines on the slide are the right ones. In the notebook everybody gets a case of their own; for a common one, `check.hunt("4.9", seed=your_number)`.
# Ask: what would you measure to tell a wrong start from a wrong clamp? (All pictures alike points at line 1, a first level below 1,000 at line 2; a smallest value of 0 at the end of the walk at the clamp, of 0 only in the pictures at line 7; values far outside the range at line 6; too much noise half-way at line 4.)
# Here line 1: `rand` for `randn`. All values are positive, to the network the trace of a picture that is white all over.
# -->

# %% exercise="4.9" kind="hunt" tags=["slide-figure"] slideshow={"slide_type": "-"}
check.hunt("4.9")

# %% kind="answer" of="4.9" slideshow={"slide_type": "skip"}
line = 1  # TODO 4.9: the number of the wrong line
check.found("4.9", line)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 14. The same weights in `diffusers`
#
# How can you check a sampler? If your formulas are right, any correct program must draw the same pictures from the same weights and the same noise. The
# `diffusers` library has such a program, with many settings. Some of its defaults are not ours, and each of those changes the pictures. (The comparison
# takes a quarter of a minute or so, because it walks 1,000 steps once more.)
#
# | setting | here | default there |
# |---|---|---|
# | `trained_betas` | our cosine betas, from $\beta_1$ on | linear from 0.0001 to 0.02 |
# | `prediction_type` | `"v_prediction"` | `"epsilon"` |
# | `clip_sample`, `clip_sample_range` | `True`, 1.0 | the same |
# | `variance_type` (DDPM) | `"fixed_small"`, the posterior variance | the same |
# | `timestep_spacing` (DDIM) | `"trailing"` | `"leading"` |
# | `set_alpha_to_one` (DDIM) | `True`: the last step ends clean | the same |
# | `use_clipped_model_output` (DDIM) | `True`: eps follows the clamped $x_0$ (exercise 4.3) | `False` |
#
# <!--slide 3 min
# ## Another library draws the same pictures, once told how
#
# | setting of `diffusers` | here | default there |
# |---|---|---|
# | `trained_betas` | our cosine betas | linear, 0.0001 to 0.02 |
# | `prediction_type` | `"v_prediction"` | `"epsilon"` |
# | `timestep_spacing` (DDIM) | `"trailing"` | `"leading"` |
# | `use_clipped_model_output` (DDIM) | `True` | `False` |
#
# A name alone, *DDIM*, says too little: two programs agree only when all of these settings do. **Question:** why do 1,000 ancestral steps (DDPM) differ more than 50 steps of DDIM?
#
# Same weights, same noise. One grey level of a byte is 0.008; what is left is rounding:
#
# Notes:
# Say: the comparison checks our formulas against an implementation that others wrote. A name alone, DDIM, says too little; only the named configuration makes two programs agree.
# Ask: why is the difference of the ancestral walk larger than that of DDIM? (A thousand steps add up more rounding than fifty.)
# Have run: eight walks of 1,000 steps once more, a quarter of a minute or so. Without `diffusers` the cell shows the stored comparison.
# -->

# %% slideshow={"slide_type": "skip"}
try:
    from diffusers import DDIMScheduler, DDPMScheduler
except ImportError:
    DDIMScheduler = DDPMScheduler = None  # then the saved comparison is shown


def with_diffusers(scheduler, x, levels, **options):
    for t in show.progress(levels, len(levels), "diffusers"):
        v = model(x, (t + 1).expand(len(x)))  # the library has no level for clean data: its t is our t - 1
        x = scheduler.step(v, t, x, **options).prev_sample
    return x


# %% tags=["slide-output"] slideshow={"slide_type": "-"}
common = dict(trained_betas=schedule.betas[1:].tolist(), prediction_type="v_prediction", clip_sample=True)
gaps, where = saved["diffusers"], f"not installed here; saved from version {saved['diffusers']['version']}"
if DDIMScheduler is not None:
    theirs = DDIMScheduler(1000, timestep_spacing="trailing", set_alpha_to_one=True, **common)
    theirs.set_timesteps(few)
    x = with_diffusers(theirs, x_T[:some], theirs.timesteps, use_clipped_model_output=True)
    gaps["ddim"] = (x - samples[:some]).abs().max().item()
    theirs, g = DDPMScheduler(1000, variance_type="fixed_small", **common), torch.Generator().manual_seed(1)
    x = with_diffusers(theirs, x_T[:some], theirs.timesteps[:walk_steps], generator=g)
    gaps["ddpm"], where = (x - ancestral_live).abs().max().item(), f"live, {some} images"
rows = [["DDIM", f"{few}", f"{gaps['ddim']:.1g}"], ["DDPM", f"{walk_steps:,}", f"{gaps['ddpm']:.1g}"]]
show.table(rows, ["walk", "steps", "largest difference of any pixel"], f"Ours and theirs ({where})")

# %% [markdown] slideshow={"slide_type": "slide"}
# One grey level of a byte is 0.008 in our units. The differences are far below, so these are the same pictures. What is left is rounding, which a thousand
# steps add up (the library computes $\bar\alpha_t$ in float32, we in float64).
#
# ## 15. What does it cost?
#
# Sampling costs *images x steps x the work of one forward pass*. The last can be counted without a clock (a multiply-add counts as two operations). Some guides promise
# "64 images, 1,000 steps, 30 seconds on a CPU" for a two-level U-Net with 64 base channels. Could that be? We build a U-Net of that shape from your class and count.
#
# <!--slide 3 min
# ## Count the cost before you believe a promise
#
# $$\text{cost} = \text{images} \times \text{steps} \times \text{work of one forward pass}$$
#
# > A promise from a guide: "64 images, 1,000 steps, 30 seconds on a CPU"
#
# - such a U-Net (64 base channels, two levels) of our blocks: 0.99 GFLOP a pass; ours: 0.16
# - 64,000 passes in 30 seconds need 2.1 TFLOP/s. What does a CPU do?
#
# **Read** the last column: what would this machine need? Then look one column to the left. What makes the same network that much cheaper?
#
# Notes:
# Say: other blocks need somewhat less work, which does not save the promise. The work of a pass can be counted without a clock. Then compare with what this machine did. The times belong to this machine, the counts do not.
# Ask: what is cheaper by a factor of twenty without another network? (DDIM with 50 steps in place of 1,000.)
# Live: run the cell, it takes a second; read the last row aloud. The time of our network with 50 steps is measured; the others (≈) are worked out from measured speed.
# -->

# %% tags=["slide-output"] slideshow={"slide_type": "-"}
from torch.utils.flop_counter import FlopCounterMode


def gflop(network):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, 28, 28), torch.ones(1, dtype=torch.long))
    return counter.get_total_flops() / 1e9


ours, wide = gflop(model), gflop(my.UNet(channels=(64, 128)))
speed = ours * 64 * few / ddim_seconds  # GFLOP/s
whole = ddim_seconds * 1000 / few
once = wide * 64 / speed  # seconds of one pass of 64 images
rows = [["ours", f"{ours:.2f}", f"{ddim_seconds:.1f} s", f"≈ {whole:.0f} s"],
        ["64 channels", f"{wide:.2f}", f"≈ {once * few:.0f} s", f"≈ {once * 1000:,.0f} s"]]
header = ["network", "GFLOP a pass", f"64 images, {few} DDIM steps", "64 images, 1,000 steps"]
need = f"{wide * 64_000 / 30 / 1000:.1f} TFLOP/s"
show.table(rows, header, f"This machine does {speed:.0f} GFLOP/s; the promise needs {need}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 16. Good signs, bad signs
#
# **Good:** the loss falls steeply for some hundred steps and then creeps, with a noisy curve (each batch draws its own levels); strokes appear before
# digits; samples from one seed keep their layout from snapshot to snapshot, and most become clearer; the distance falls from <!--r:mnist.networks.1.distance.mean|.1f-->21.0<!--/--> to <!--r:mnist.networks.2.distance.mean|.1f-->8.6<!--/--> while the loss
# falls only from <!--r:mnist.networks.1.loss|.3f-->0.123<!--/--> to <!--r:mnist.networks.2.loss|.3f-->0.115<!--/--> (table of section 5).
#
# **Bad:** the loss is NaN or stays near 1; samples from different noises are alike; samples are grey, or pure black and white; the loss is excellent and
# the nearest training images are the samples.
#
# | what you see | likely cause | what to do |
# |---|---|---|
# | loss low, samples noise | EMA without warm-up, too young | look at samples of the weights themselves; warm up; lower the decay |
# | loss low, samples noise | sampling reads $v$ as $\epsilon$, or the step number as the level | carry the prediction type with the model; sample by `reverse` |
# | overgrown shapes, too many strokes, grey haze | $x_T$ is not noise: $T$ too short for the betas (notebook 01) | scale the betas by $1000/T$, or cosine |
# | too dark, too bright, half black | data in $[0, 1]$ in training, or wrong scaling when saving (`to_png` above) | train on $[-1, 1]$; check minimum and maximum of both |
# | black and white noise, huge values | $\hat x_0$ explodes at the top with $\epsilon$ and cosine (exercise 4.3) | clamp, or predict $v$ |
# | malformed digits, clean strokes | DDIM carries early mistakes to the end | fresh noise: `eta=1` |
# | grain on finished samples | noise added at the last step | none in the step to level 0 |
# | blurred averages | too few steps, or all the noise taken off at once | more steps; DDIM from 20 up |
# | loss NaN | learning rate too high, data not scaled, division by $\bar\alpha_T = 0$ | clip the gradient, lower the rate, check the data |
# | all samples alike | the noise is seeded anew for every image; broadcasting one $t$ or one noise over the batch | draw the batch at once, check shapes |
# | out of memory, slow | batch or network too large, attention at full resolution | smaller batch, attention only at 7 x 7, bfloat16 |
#
# "Looking inside" draws several of these. On the web page of the course ten famous mistakes can be watched beside the right sampler, on points.
#
# <!--live:mistakes-->
#
# <!--slide 4 min
# ## Bad samples have causes with names
#
# | what you see | likely cause | what to do |
# |---|---|---|
# | loss low, samples noise | EMA without warm-up; $v$ read as $\epsilon$ | warm up; store the type with the model |
# | overgrown shapes, grey haze | $x_T$ is not noise: $T$ too small | betas times $1000/T$, or cosine |
# | too dark, too bright | data in $[0, 1]$, or wrong saving | $[-1, 1]$; check data and samples |
# | huge values, black and white | $\hat x_0$ explodes at the top | clamp, or predict $v$ |
# | blurred averages | too few steps | 20 DDIM steps or more |
# | all samples alike | one noise for all | draw noise for the whole batch |
#
# Look at samples early: the loss does not tell these apart.
#
# Good signs: the loss falls steeply and then creeps; strokes appear before digits; samples from one seed keep their layout while the training goes on.
#
# **Question:** your loss is fine and your samples are noise. What do you look at first?
#
# Notes:
# Say: the notebook has the longer table. Good signs: the loss falls steeply and then creeps; strokes appear before digits; samples from one seed keep their layout from snapshot to snapshot.
# Ask: your loss is fine and your samples are noise. What do you look at first? (Samples of the weights without averaging; then whether the sampler knows the prediction type.)
# -->

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ## Looking inside (optional)
#
# Five looks behind the pictures above. Nothing later needs them.
#
# ### What went wrong? The answer sheet of exercise 4.9
#
# The same weights, the same eight noises, twenty DDIM steps. Each row makes one mistake that people make, and most of them are cases of the
# hunt, so look here when you have found your line.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
import dataclasses

from helpers.schedule import linear

good = ddim(choose(20, 3))
asked = {t: i for i, t in enumerate(reversed(good.levels(1000)))}  # level -> number of the step


def reads_v_as_eps(x, t):
    return model(x, t)


def told_the_step_number(x, t):
    return model(x, torch.full_like(t, asked[int(t[0])]))


reads_v_as_eps.prediction, told_the_step_number.prediction = "eps", "v"


def subtract_and_move(schedule, x, t, t_next, eps, x0, draw, before):
    return good.move(schedule, x, t, t_next, eps, x - eps, draw, before)


forgets_to_rescale = dataclasses.replace(good, move=subtract_and_move)
left = linear(200, rescale=False).alpha_bar[-1]  # what T = 200 leaves of the signal's power
start_level = int((schedule.alpha_bar - left).abs().argmin())
starts_too_low = dataclasses.replace(good, levels=lambda T: [t for t in good.levels(T) if t <= start_level])

# %% tags=["optional"] slideshow={"slide_type": "skip"}
def misuse(model=model, rule=good, x_T=noise):
    return last(reverse(model, schedule, rule, x_T=x_T, clip_x0=1.0))


wrong = {
    "as it should be": misuse(),
    r"$v$ read as $\epsilon$": misuse(reads_v_as_eps),
    "step number for level": misuse(told_the_step_number),
    r"$x_t-\epsilon$, not rescaled": misuse(rule=forgets_to_rescale),
    "noise where signal belongs": misuse(rule=starts_too_low),
    "uniform start noise": misuse(x_T=torch.rand(noise.shape, generator=torch.Generator().manual_seed(1))),
}
show.rows(wrong, "Six rows of eight samples. First row: digits. Below, one mistake each: v read as eps, the "
          "step number given for the noise level, noise subtracted without rescaling, a start where signal "
          "should be left, uniform start noise.", title="The same network and noises, one mistake a row")
print(f"'noise where signal belongs' starts at t = {start_level}, where sqrt(alpha_bar) = {left.sqrt():.2f}")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# - **$v$ read as $\epsilon$**: ragged shapes full of specks. The loss cannot show it, for training and sampling are two programs. The model carries `.prediction` so that they cannot disagree.
# - **step number for level**: in a DDIM loop `i` and `levels[i]` are easily confused. The network is told "nearly clean" while it looks at pure noise.
# - **not rescaled**: many texts say "clean = noisy minus noise". But $x_t$ is $\sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$, and both roots matter.
# - **noise where signal belongs**: the tutorials' $T = 200$ with betas up to 0.02 ends where $36\,\%$ of the signal's amplitude is left, and yet starts from
#   pure noise. Our network gets the same treatment here. It takes the noise for strokes that are to be kept, and the shapes are overgrown.
# - **uniform start noise**: `torch.rand` for `torch.randn`. All its values are positive, which the network takes for the trace of a picture that is white all over.
#
# ### How few steps?
#
# The same noise walked in 1, 2, 5, 10, 20 and 50 steps.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
counts = choose((1, 2, 5, 10, 20, 50), (1, 2))
few_steps = {f"steps: {n}": misuse(rule=ddim(n)) for n in counts}
show.rows(few_steps, "The same eight noises in 1, 2, 5, 10, 20 and 50 DDIM steps: a grey blur, then shapes, "
          "then digits that hardly change any more", title="The noise decides the digit")
lines = [[n, f"{s['distance']:.1f}", f"{s['confident']:.1%}"] for n, s in saved["steps"].items()]
lines.append([final["steps"], f"{final['distance']:.1f}", f"{final['confident']:.1%}"])
show.table(lines, ["DDIM steps", "distance", "confident"], f"{final['samples']:,} samples each")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# One step gives the average of all digits, which is the best guess when all is noise (notebook 02). With more steps the picture
# settles, and from some number on only details move: the walk follows a smooth path, and 20 strides follow it nearly as well as 50.
#
# ### The clamp, on and off
#
# How often does the estimate of $x_0$ leave $[-1, 1]$ when nothing holds it back? We count the pixels that leave it by more than 0.05.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
def beyond(states):
    """For each state the share of pixels of the estimate that lie out of range, in per cent."""
    return [100 * (state.x0.abs() > 1.05).float().mean().item() for state in states]


free = list(reverse(model, schedule, ddim(few), x_T=x_T[:16]))[1:]
top = list(range(1000, 949, -choose(2, 25)))  # the first levels once more, in small steps
fine = list(reverse(model, schedule, dataclasses.replace(ddim(few), levels=lambda T: top), x_T=x_T[:16]))[1:]

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.2), sharey=True)
for ax, asked_at, states, name in ((axes[0], ddim_levels(1000, few), free, f"the walk of {few} steps"),
                                   (axes[1], top, fine, "the top, in small steps")):
    ax.plot(asked_at, beyond(states), marker="o", markersize=4, color=show.COLOUR["x0"])
    ax.set(xlabel="noise level at which the network was asked", title=name)
axes[0].set_ylabel("pixels of $\\hat x_0$ out of range, %")
show.figure(fig, "Share of the pixels of the estimated clean picture that lie more than a twentieth outside "
            "the range, without clamp: over all noise levels, and enlarged for the levels 950 to 1000")
print(f"largest |x_0| of all: {max(state.x0.abs().max() for state in free):.2f}")
off = saved["unclipped"]
on = saved["steps"][str(off["steps"])]
print(f"distance of {final['samples']:,} samples in {off['steps']} steps: "
      f"{on['distance']:.2f} with the clamp, {off['distance']:.2f} without")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# With $v$ the overshoot is small, and largest in the very first step. Lower down a few pixels leave the range too: most pixels of a digit are black, at the edge of the range, so that a small
# error to the dark side is enough. The clamp takes these away as well. All this is so little that the distance hardly tells the two walks apart. With $\epsilon$ and this schedule the estimate
# was off by hundreds at the top (figure of exercise 4.3).
#
# ### Are the class counts off by more than chance?
#
# Of 1,000 samples about as many should be threes as in the data. Not exactly, for counts scatter by chance. The chi-square value says whether
# the scatter is more than chance:
# $$\chi^2 = \sum_{c=0}^{9} \frac{(O_c - E_c)^2}{E_c}, \qquad E_c = N\,p_c$$
# with $O_c$ the seen counts, $N$ their sum and $p_c$ the shares of the real data. In words: squared deviations, in units of the expected counts.
# For ten classes chance gives about $9 \pm 4$.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
def chi_square(counts, shares):
    expected = counts.sum() * shares
    return ((counts - expected) ** 2 / expected).sum().item()


for name, shares in {"samples": drawn, "spoilt set": metrics.class_shares(spoilt)}.items():
    value = chi_square((1000 * shares).round(), expected)
    print(f"chi-square of 1,000, {name}: {value:.0f} (chance: about 9 ± 4)")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# The value of our samples lies within chance, that of the spoilt set far above it. Even that would not mean that a digit is missing: it says that the shares are
# not those of the data, and the judge's own errors count too. (People say "mode collapse" when digits
# are missing. The word is from GANs. The loss of a diffusion model punishes a forgotten digit at every level, and it rarely happens here.)
#
# ### The loss of the live minute

# %% tags=["optional"] slideshow={"slide_type": "skip"}
show.loss_curve(losses, "Loss of every training step of the live minute and its moving average, log scale: "
                "a steep fall, then a slow, noisy creep", window=20)

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# The curve is noisy because each batch draws its own noise levels, and the task is harder at some levels than at others. Read the moving average where the curve is flat (where it is steep, a mean of the last 20 steps lies above it), and trust the samples more.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - A network of a million parameters, trained on a CPU in an hour or two, draws digits in fifty steps, and a classifier reads most of them with confidence.
# - A walk is one round again and again: ask, read, clamp, draw noise, step. You have written all of it.
# - Samples still become much better when the loss falls only slowly.
# - $\hat x_0$ must stay in range, by a clamp or by predicting $v$, and $\hat\epsilon$ must follow.
# - Fifty of the thousand levels are enough for digits, if the walk starts at the top. With fresh noise in each of them, more digits come out well.
# - Every score stands beside its floor, and no score stands alone.
# - You can check a sampler against another library: the same weights, noise and settings must give the same pictures.
#
# ### Self-check
#
# - [ ] I can say why the average of the weights needs a warm-up, and how a missing one looks.
# - [ ] I can compute $1/\sqrt{\bar\alpha_T}$ and say what it does to an error in $\hat\epsilon$.
# - [ ] I can write down the levels of a DDIM walk of 20 steps.
# - [ ] I can explain why the floor of the Frechet distance is above zero.
# - [ ] I can tell copying from learning, and say what the check cannot see.
# - [ ] I can count what a thousand steps cost before I start them.
#
# <details><summary>What to say to these</summary>
#
# 1. After $n$ updates the average still holds a share $0.999^n$ of the random start. Its samples are noise, while the loss is fine.
# 2. $1/\sqrt{\bar\alpha_T}$ is 20,291 for the cosine schedule, so an error of one per cent in $\hat\epsilon$ becomes one of 200 in $\hat x_0$.
# 3. 1000, 950, 900, ..., 50, and from 50 to 0.
# 4. Mean and covariance of finitely many samples are off by chance, and errors that are squared do not average out.
# 5. Copies show as distances near 0, far below those of unseen pictures. A copy that is shifted by a pixel is not seen.
# 6. Images x steps x GFLOP of a pass, divided by the speed of the machine in GFLOP/s.
#
# </details>
#
# ### Further exercises
#
# | | exercise | difficulty | time |
# |---|---|---|---|
# | 1 | Draw with eta = 0.5 and 1 in 50 steps; how do class shares and confidence change? | ●●○○○ | 20 min |
# | 2 | Take 25 of the 50 steps from the top half of the levels, or 40. Where are steps best spent? | ●●●○○ | 40 min |
# | 3 | Train the minute with batch 16 and batch 256 at the same number of images seen; compare strips. | ●●○○○ | 20 min |
# | 4 | Train on `data.fashion_mnist()`; which of the four questions needs another judge? | ●●●○○ | 60 min |
# | 5 | Walk from the noise of one sample to that of another: a film of digits changing. (Wait for `blend` of exercise 5.6.) | ●●●○○ | 40 min |
# | 6 | Write a nearest-image distance that sees through a shift by one pixel. Do the samples still look new? | ●●●●○ | 60 min |
#
# <details><summary>What comes out</summary>
#
# 1. With eta = 1 the confident share rises from <!--r:mnist_samplers.samplers.ddim.confident.mean|.0%-->83%<!--/--> to <!--r:mnist_samplers.samplers.ancestral.confident.mean|.0%-->86%<!--/--> (three seeds of 1,000 samples; table of section 12). The distance falls
#    from <!--r:mnist_samplers.samplers.ddim.distance.mean|.1f-->5.8<!--/--> to <!--r:mnist_samplers.samplers.ancestral.distance.mean|.1f-->5.1<!--/-->, but the seeds of one sampler differ by more: the distance does not decide. The smallest class has about 8 in 100 each time. Judge eta = 0.5 by three seeds as well.
# 2. Judge it by the distance of 1,000 samples from the same seed, beside that of even strides (7.0) and the spread of two seeds in the table of the long
#    training. A difference within that spread says nothing.
# 3. At the same number of images batch 16 makes four times the steps of batch 64 and is ahead: of 300 samples 118 are confidently
#    one digit, against 100. Batch 256 makes 87 steps.
# 4. Questions 1 and 2 (and the counts of 4): distance and confidence are measured with classifiers of digits. Give `data="fashion"` to the functions of
#    `helpers.metrics`.
# 5. With `blend` every noise on the way is as long as a noise should be. On a straight line between the two it would be too short
#    half-way, and the pictures there pale.
# 6. Take the smallest of nine distances, over shifts of the sample by -1, 0 and 1 pixel in both directions. All distances shrink, those of test images
#    as well, so compare the two with each other again.
#
# </details>
#
# ### References
#
# - Ho, Jain & Abbeel 2020, *Denoising Diffusion Probabilistic Models*, [arXiv:2006.11239](https://arxiv.org/abs/2006.11239): eqs. 6, 7, 15, algorithm 2.
# - Song, Meng & Ermon 2021, *Denoising Diffusion Implicit Models*, [arXiv:2010.02502](https://arxiv.org/abs/2010.02502): eqs. 12, 16.
# - Nichol & Dhariwal 2021, *Improved DDPM*, [arXiv:2102.09672](https://arxiv.org/abs/2102.09672): eq. 17 (the cosine schedule).
# - Salimans & Ho 2022, *Progressive Distillation*, [arXiv:2202.00512](https://arxiv.org/abs/2202.00512): section 4 (v-prediction).
# - Karras, Aittala, Aila & Laine 2022, *Elucidating the Design Space of Diffusion-Based Generative Models*, [arXiv:2206.00364](https://arxiv.org/abs/2206.00364): section 4 (fresh noise).
# - Lin et al. 2023, *Common Diffusion Noise Schedules and Sample Steps are Flawed*, [arXiv:2305.08891](https://arxiv.org/abs/2305.08891): table 2 (spacing).
# - Heusel et al. 2017, *GANs Trained by a Two Time-Scale Update Rule*, [arXiv:1706.08500](https://arxiv.org/abs/1706.08500): eq. 6 (the distance).
# - LeCun, Bottou, Bengio & Haffner 1998, *Gradient-Based Learning Applied to Document Recognition* (MNIST).
#
# <!--slide 2 min
# ## What we learned
#
# - keep $\hat x_0$ in range, by a clamp or by predicting $v$; compute $\hat\epsilon$ anew from it
# - 50 steps of the same network, from the top; with fresh noise more digits come out well
# - no score stands alone: each has its floor
# - samples still become much better when the loss falls only slowly
# - same weights, noise and configuration: same pictures in another library
#
# **Next, notebook 05:** fewer steps still, and quality against cost in one figure.
#
# **Before you go:** you get bad samples tomorrow. What are your first three looks?
#
# **At home:** exercises 4.1, 4.7, 4.8 and 4.9, and one of the further exercises.
#
# Notes:
# Say: the course proper ends here: from adding noise to judged digits. Point to the self-check list in the notebook.
# Ask: you get bad samples tomorrow. What are your first three looks? (Samples of the weights without averaging; prediction type, levels and scaling of the sampler; a score beside its floor.)
# Homework: exercises 4.1, 4.7, 4.8 and 4.9, and one of the further exercises.
# -->

# %% slideshow={"slide_type": "skip"}
check.summary("04")
