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
# Everything so far comes together on real pictures: handwritten digits of 28 x 28 pixels, the attention U-Net
# of notebook 03 with one more resolution, and the reverse walk of notebook 02. At the end digits emerge from
# noise before your eyes, and you can say with numbers how good they are.
#
# **What you will be able to do**
# - train a denoiser on MNIST and tell from a strip of samples whether it is on its way;
# - sample with the ancestral walk (1,000 steps) and with DDIM (50 steps), and say what each costs;
# - keep the estimate of $x_0$ in range, and explain when a walk fails without that;
# - make grids, filmstrips and a GIF without spoiling the pictures on the way to the file;
# - judge samples: distance with its floor, confidence, class counts, nearest training images;
# - reproduce your samples with the schedulers of the `diffusers` library;
# - name the cause when samples are bad.
#
# **What to know** Notebooks 01 to 03: schedule and $\bar\alpha_t$, ancestral and DDIM step, U-Net, v-prediction, EMA.
#
# **Time** about 80 minutes for a person, about three minutes for two CPU cores.
#
# <!--slide 1 min
# # 04 MNIST: sampling and judging
#
# Handwritten digits come out of noise before our eyes, and numbers say how good they are.
#
# Notes:
# Say: the U-Net of notebook 03 and the reverse walk of notebook 02 meet real pictures. First we train and load a network, then we walk, then we judge.
# Ask: what do you need besides a trained network to draw a digit? (A schedule, a step rule and pure noise to start from.)
# Have run: the whole notebook up to the GIF, so that the live walk and the sliders are at hand.
# -->

# %% tags=["setup"] slideshow={"slide_type": "skip"}
import sys
from pathlib import Path

here = Path.cwd().resolve()
sys.path.insert(0, str(next(p for p in (here, *here.parents) if (p / "helpers").is_dir())))

import dataclasses
import time

import matplotlib.pyplot as plt
import torch

from helpers import data, metrics, show
from helpers.checkpoints import load_images, load_model, load_results
from helpers.exercises import check
from helpers.modes import MODE, choose, out_dir
from helpers.sampling import ancestral, ddim, last, reverse
from helpers.schedule import at, cosine
from helpers.sliders import sliders

# %% [markdown] slideshow={"slide_type": "slide"}
# ## The data: 28 x 28
#
# MNIST has 60,000 training images and 10,000 test images of ten digits (LeCun et al. 1998). They ship with the
# course. Nothing is resized: 28 divides by two twice, which is all the network asks for. Bytes 0 to 255 become
# floats in $[-1, 1]$: the middle of their range is 0, the mean of the noise.
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
# Notes:
# Say: most of a picture is background, and the background is -1, not 0. Whoever trains on 0 to 1 and samples to -1 to 1 gets dark or grey pictures.
# Ask: is the mean of the data zero? (No. Most pixels are -1, so the mean is far below zero. Only the range is centred.)
# Live: run the cell, it takes a second.
# -->

# %% tags=["slide-output"] slideshow={"slide_type": "-"}
images, labels = data.mnist()
test_images, test_labels = data.mnist(train=False)
schedule = cosine(1000)

print(f"{len(images):,} training images {tuple(images.shape[1:])}, {images.min():.0f} to {images.max():.0f}")
print(f"{(images == -1).float().mean():.0%} of all pixels are black")
show.grid(images[:32], "32 training images in two rows: white handwritten digits on black, in many hands, "
          "some slanted, some thick", columns=16)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## The network: 28 → 14 → 7
#
# The U-Net is the one you built in notebook 03, imported from `helpers`, with three resolutions. Attention sits
# at the bottom, where it is cheap: $7 \times 7 = 49$ positions look at each other, not $28 \times 28 = 784$.
# The channels grow as the picture shrinks. Most of the parameters are at the bottom, where
# each is used at 49 positions only; of the work, about half is done there, and a fifth at the top.
#
# ```text
# x_t 1x28x28 ─ 16x28x28 ──────────── skip ──────────── 16x28x28 ─ v 1x28x28
#                   └─ 48x14x14 ───── skip ───── 48x14x14 ─┘
#                          └─ 96x7x7 ─ skip ─ 96x7x7 ─┘
#                                └ attention ┘
# t ─ sines, cosines ─ two layers ─ a bias in every block
# ```
#
# <!--slide 3 min
# ## Attention sits at the bottom, where it is cheap
#
# ```text
# x_t 1x28x28 ─ 16x28x28 ──────────── skip ──────────── 16x28x28 ─ v 1x28x28
#                   └─ 48x14x14 ───── skip ───── 48x14x14 ─┘
#                          └─ 96x7x7 ─ skip ─ 96x7x7 ─┘
#                                └ attention ┘
# t ─ sines, cosines ─ two layers ─ a bias in every block
# ```
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

# %% slideshow={"slide_type": "skip"}
from helpers.models import UNet, parameter_count

torch.manual_seed(0)
network = UNet(channels=(16, 48, 96), prediction="v")

h, skips = network.encode(images[:2], network.embed(torch.tensor([10, 900])))
for name, skip in zip(("top", "middle", "bottom"), skips, strict=True):
    print(f"{name:7} {tuple(skip.shape[1:])}")
print(f"output  {tuple(network(images[:2], torch.tensor([10, 900])).shape[1:])}")
print(f"{parameter_count(network):,} parameters")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## A minute of training, live
#
# This is the training loop of notebook 02 with the recipe of notebook 03: v-prediction, cosine schedule, AdamW,
# gradient clipping, and a moving average of the weights (EMA). The network runs in bfloat16, which halves the time on
# a CPU that has such arithmetic; on one that has not, `bf16 = False` is faster. Samples are drawn from the *averaged* weights, always from the same
# eight noises, so that the rows of the strip can be compared.
#
# Notebook 03 gave that average a warm-up. Here you see what it prevents: `late` averages the same weights with the usual
# decay 0.999 but *without* warm-up. After $n$ updates it still holds a share $0.999^n$ of the random
# weights it started from.
#
# <!--slide 4 min
# ## Strokes come first; an average without warm-up shows noise
#
# - rows 1 to 3: averaged weights after a quarter, a half, all of the training
# - row 4: the weights themselves. Row 5: no warm-up, $0.999^{350} \approx 0.70$ is still the random start
#
# Notes:
# Say: the recipe is that of notebook 03: v-prediction, cosine schedule, AdamW, clipped gradients, a moving average of the weights. All rows use the same eight noises. If the loss is low and the samples are noise, look at the average first.
# Ask: the last two rows saw the same training. Why is the last one noise? (After 350 updates with decay 0.999 the average still holds 0.70 of the random weights it started from. Warm-up prevents that.)
# Have run: the training cell takes about a minute on two cores. Start it at the beginning of class, and read its printed losses now.
# -->

# %% slideshow={"slide_type": "skip"}
import copy

from helpers.training import Run, train

run = Run(network, lr=1e-3, ema_decay=0.999, seed=0)
late = copy.deepcopy(network).requires_grad_(False)  # an average without warm-up
steps = choose(read=350, smoke=4, full=24_000)
bf16 = True  # on a CPU without bfloat16 arithmetic False is faster
noise = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def sample(model):
    return last(reverse(model, schedule, ddim(choose(20, 3)), x_T=noise, clip_x0=1.0))


# %% slideshow={"slide_type": "skip"}
strip, losses, start = {}, [], time.perf_counter()
for step in show.progress(train(run, schedule, images, steps, batch_size=64, bf16=bf16), steps, "training"):
    losses.append(step.loss)
    for average, weight in zip(late.parameters(), network.parameters(), strict=True):
        average.lerp_(weight.detach(), 0.001)
    if step.step in (steps // 4, steps // 2, steps):
        strip[f"{64 * step.step:,} images seen"] = sample(run.ema.model)
minutes = (time.perf_counter() - start) / 60
strip["weights, not averaged"] = sample(network)
strip["late average"] = sample(late)
print(f"{steps} steps in {minutes:.1f} minutes ({torch.get_num_threads()} threads, bfloat16: {bf16})")
print(f"loss {losses[0]:.2f} at first, {sum(losses[-50:]) / len(losses[-50:]):.3f} at the end")
print(f"share of the random start: late average {0.999**steps:.0%}, with warm-up 0 %")

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
show.rows(strip, "Eight samples after a quarter, a half and all of the live training, from the averaged "
          "weights: grainy strokes become clean strokes, some of them like digits. Below: the last weights "
          "without averaging, alike; and the average without warm-up: noise.", title="The same eight noises")

# %% [markdown] slideshow={"slide_type": "slide"}
# Strokes first, then shapes that hang together: that is the order in which a denoiser learns. The last two rows
# use the same training. The weights themselves give samples of about the quality of their average (averaging pays off
# later, when the weights jitter around a good place). The average without warm-up still gives noise, while
# the loss, which is measured on the weights themselves, is fine. **If the loss is low and the samples
# are noise, look at the average first.**
#
# ## The long training, loaded
#
# The same network, trained for longer by `make train`. Snapshots were drawn on the way: 64 samples each from one
# set of noises, and a Frechet distance of 1,000 samples from the test images (feature network: a small classifier
# that ships with the course), for two seeds. The snapshots were planned for 1, 5, 20 and 60 minutes on two cores; the
# table says how many images each had seen, and how long that took on the threads the training in fact had.
#
# <!--slide 3 min
# ## The first factor of five in training buys most
#
# The same sixteen noises in four snapshots of one training, and the Frechet distance of 1,000 samples:
#
# Notes:
# Say: each place of the panels shows one picture becoming clearer. The distance is the Frechet distance of 1,000 samples from the test images, in the features of a small classifier. The plus-minus is the spread over two seeds of the sampler, not over trainings.
# Ask: why is the distance of real images not zero? (Mean and covariance are estimated from 1,000 images; the errors are squared, so they do not average out.)
# Live: run the two cells; they only load results. `make train` computed them.
# -->

# %% tags=["slide-output"] slideshow={"slide_type": "-"}
model = run.ema.model if MODE == "full" else load_model("mnist_unet")
model.requires_grad_(False)
saved, pictures = load_results("mnist"), load_images("mnist")

print("images seen   minutes  threads      distance   confidently one digit")
for row in saved["networks"]:
    distance, sure = row["distance"], row["confident"]["mean"]
    print(f"{row['images']:>11,} {row['minutes']:9.1f} {row['threads']:8} "
          f"{distance['mean']:9.2f} ± {distance['std']:.2f} {sure:8.1%}")
floor, real = saved["floor"], saved["real"]
print(f"{'real test images (the floor)':29} "
      f"{floor['mean']:9.2f} ± {floor['std']:.2f} {real['confident']:8.1%}")

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 4, figsize=(show.WIDTH, 3.1))
for ax, row in zip(axes, saved["networks"], strict=True):
    ax.imshow(show.tiles(pictures[row["name"]][:16], 4), vmin=0, vmax=255)
    ax.set_title(f"{row['images']:,} images\ndistance {row['distance']['mean']:.1f}")
    ax.set_axis_off()
show.figure(fig, "Sixteen samples of each of four snapshots, from the same noises: from broken strokes to "
            "clean digits, with the Frechet distance falling from left to right")

# %% [markdown] exercise_text="4.1" slideshow={"slide_type": "slide"}
# The four panels start from the same sixteen noises, so each place shows one picture becoming clearer. The first
# factor of five in training buys most of the quality; the later ones buy details. "±" is the spread over two seeds of
# the sampler, not over trainings: it says how far the number moves when only the noise changes.
#
# **Question.** Why is the floor not zero, and why can the distance not be had for the 64 samples of a grid?
#
# <details><summary>Answer</summary>
#
# The distance compares two Gaussians that are *estimated*, mean and covariance of 64 features. Estimated from 1,000
# images, even real ones, they are off by chance, and the distance squares those errors, so it never averages out to
# zero. From 64 images a covariance of 64 features cannot be estimated at all. Compare distances only at
# the same number of samples, and always beside the floor.
#
# </details>
#
# ## Keeping $x_0$ in range
#
# Notebook 03 switched on `clip_x0=1.0` in passing; here is what it does. Every step asks: given $x_t$ and the predicted noise, what is
# the clean picture?
# $$\hat x_0 = \frac{x_t - \sqrt{1 - \bar\alpha_t}\;\hat\epsilon}{\sqrt{\bar\alpha_t}}$$
# The division makes trouble at the top. The cosine schedule ends with $1/\sqrt{\bar\alpha_T}$ of about twenty thousand: an
# error of one per cent in $\hat\epsilon$ is an error of two hundred in $\hat x_0$, for a picture that lives in $[-1, 1]$. The remedy is old
# and simple: pixels are known to lie in $[-1, 1]$, so cut the estimate there. Then the noise has to follow, or
# picture and noise would no longer add up to $x_t$:
# $$\hat x_0 \leftarrow \mathrm{clamp}(\hat x_0, -1, 1), \qquad
# \hat\epsilon \leftarrow \frac{x_t - \sqrt{\bar\alpha_t}\,\hat x_0}{\sqrt{1 - \bar\alpha_t}}$$
#
# **Exercise 4.1** Write `clamp_x0`. It returns the new `eps` and the new `x0`, in this order.
#
# Difficulty: ●●○○○ · 8 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Two lines after $\bar\alpha_t$ is at hand. Which of the two must come first?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `x0.clamp(-1, 1)` first; then solve $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$ for $\epsilon$, with the clamped $x_0$.
#
# </details>
#
# <!--slide 4 min
# ## Near the top, a small error in eps is a huge one in x_0
#
# $$\hat x_0 = \frac{x_t - \sqrt{1 - \bar\alpha_t}\;\hat\epsilon}{\sqrt{\bar\alpha_t}}$$
#
# Cosine ends with $1/\sqrt{\bar\alpha_T} \approx 20{,}000$. The remedy: clamp, and let the noise follow.
#
# $$\hat x_0 \leftarrow \mathrm{clamp}(\hat x_0, -1, 1), \qquad \hat\epsilon \leftarrow \frac{x_t - \sqrt{\bar\alpha_t}\,\hat x_0}{\sqrt{1 - \bar\alpha_t}}$$
#
# **Your turn: exercise 4.1, 8 minutes**
#
# ```python
# def clamp_x0(x_t, t, x0, schedule):
#     """x_t, x0: (B, ...); t: (B,). Returns (eps, x0) with x0 in [-1, 1]."""
#     a = at(schedule.alpha_bar, t, x_t)
#     # TODO 4.1: clamp x0, then compute the eps that belongs to it
# ```
#
# Notes:
# Say: an error of one per cent in eps is an error of two hundred in a picture that lives between -1 and 1. Give 8 minutes for exercise 4.1, on top of the 4 minutes for this slide.
# Ask: why must eps be computed again after the clamp? (Picture and noise must still add up to x_t; otherwise the step starts from another point.)
# Common mistakes: eps computed from the x0 before the clamp; the two results returned in the wrong order.
# -->
#
# <!--slide 2 min
# ## Clamped, eps survives; v never needed it
#
# - from $\hat\epsilon$: an error of hundreds at the top; clamped, about one
# - from $\hat v$: $\hat x_0 = \sqrt{\bar\alpha_t}\,x_t - \sqrt{1-\bar\alpha_t}\,\hat v$ divides by nothing
#
# Notes:
# Say: the same small error in the output of the network, three ways to the clean picture. The vertical axis is logarithmic. Our network predicts v, so the clamp only keeps small overshoots from adding up; we leave it on because it is cheap.
# Ask: how large is the error of the clamped estimate at the top, and why does it stop there? (About 1: an estimate cut to the range is off by at most 2 a pixel.)
# Live: run the cell, it takes a second.
# -->

# %% exercise="4.1" slideshow={"slide_type": "skip"}
def clamp_x0(x_t, t, x0, schedule):
    """x_t, x0: (B, ...); t: (B,). Returns (eps, x0) with x0 in [-1, 1]."""
    a = at(schedule.alpha_bar, t, x_t)
    # TODO 4.1: clamp x0, then compute the eps that belongs to it
    ### BEGIN SOLUTION
    x0 = x0.clamp(-1, 1)
    eps = (x_t - a.sqrt() * x0) / (1 - a).sqrt()
    return eps, x0
    ### END SOLUTION


clamp_x0 = check("4.1", clamp_x0)

# %% expected="4.1" tags=["slide-figure"] slideshow={"slide_type": "-"}
g = torch.Generator().manual_seed(0)
levels = torch.tensor([2, *range(25, 976, 25), 985, 992, 996, 998, 1000])
x0 = images[: len(levels)]
true_eps, error = torch.randn(x0.shape, generator=g), 0.01 * torch.randn(x0.shape, generator=g)
x_t = schedule.q_sample(x0, levels, true_eps)
from_eps = schedule.predict_x0(x_t, levels, true_eps + error)
from_v = schedule.from_output(schedule.target(x0, levels, true_eps, "v") + error, x_t, levels, "v")[1]
_, clamped = clamp_x0(x_t, levels, from_eps, schedule)

fig, ax = plt.subplots()
for name, estimate in {"from eps": from_eps, "from eps, clamped": clamped, "from v": from_v}.items():
    ax.plot(levels, (estimate - x0).flatten(1).square().mean(1).sqrt(), label=name, linewidth=2)
ax.set(xlabel="noise level t", ylabel="error of the estimate of $x_0$", yscale="log")
ax.legend(title="with 1 % error in the output")
show.figure(fig, "Error of the estimated clean picture over the noise level, log scale. From eps it rises "
            "without limit to hundreds at the top; clamped it stays near one; from v it is one per cent.")

# %% [markdown] slideshow={"slide_type": "slide"}
# With an eps-network and this schedule the clamp decides between a picture and nothing. Our network predicts $v$, and
# $\hat x_0 = \sqrt{\bar\alpha_t}\,x_t - \sqrt{1-\bar\alpha_t}\,\hat v$ divides by nothing: there the clamp only keeps small overshoots from
# adding up. It is cheap and never hurts data with known bounds, so we leave it on: `clip_x0=1.0` in `reverse`.
# ("Looking inside" measures it on and off.)
#
# ## The ancestral walk: 1,000 steps
#
# Ho et al. (2020), algorithm 2, as in notebook 02: estimate $x_0$, draw $x_{t-1}$ from the posterior
# $q(x_{t-1} \mid x_t, \hat x_0)$, a thousand times. Sixteen images live; sixty-four that were drawn by `make train`.
#
# <!--slide 3 min
# ## Ancestral: a thousand draws from the posterior
#
# $$x_{t-1} \sim q(x_{t-1} \mid x_t, \hat x_0), \qquad t = T, \dots, 1$$
#
# - one pass of the network a step, 1,000 steps a picture
# - every step draws fresh noise, so every step steers a little
#
# Notes:
# Say: algorithm 2 of Ho et al., unchanged from notebook 02; only the data are new. The printed time is that of this machine.
# Ask: is there one picture of sixteen that you cannot read? (Let the room vote and note how many disagree: that is why a classifier will judge later on.)
# Have run: sixteen walks of 1,000 steps take about twenty seconds on two cores. Run it while you speak about the formula.
# -->

# %% tags=["slide-output"] slideshow={"slide_type": "-"}
import itertools

shape, walk_steps = (choose(16, 2), 1, 28, 28), choose(1000, 12)
start = time.perf_counter()
walk = reverse(model, schedule, ancestral(), shape, seed=0, clip_x0=1.0)
for state in show.progress(itertools.islice(walk, walk_steps + 1), walk_steps, "ancestral"):
    ancestral_live = state.x  # in the end the last one
ancestral_seconds = time.perf_counter() - start
print(f"{shape[0]} images, {state.step} steps: {ancestral_seconds:.0f} s")
show.grid(ancestral_live, "Sixteen digits drawn live with 1,000 ancestral steps, in two rows", columns=8)

# %% slideshow={"slide_type": "skip"}
show.grid(pictures["ancestral"], "64 digits in an 8 by 8 grid, drawn with 1,000 ancestral steps: nearly all "
          "can be read at once", columns=8, title="64 samples, 1,000 ancestral steps")

# %% [markdown] exercise_text="4.2" slideshow={"slide_type": "slide"}
# ## DDIM: 50 steps
#
# The DDIM step of notebook 02 goes from any level to any lower one, so the walk may visit only 50 of the 1,000
# levels. Which 50? The walk starts from pure noise, so the first must be the top, $T$. It ends on the clean picture,
# level 0, and the last stride should be as long as the others:
# $$t_i = \mathrm{round}\!\left(T - i\,\frac{T}{S}\right), \qquad i = 0, \dots, S-1$$
# For $T = 1000$, $S = 50$: 1000, 980, ..., 20, and from 20 to 0. This is the spacing that Lin et al. (2023) call
# *trailing*. A popular way, 981, 961, ..., 1 (*leading*), starts *below* the top: the network is handed pure noise and
# told that some signal is left.
#
# **Exercise 4.2** Write `ddim_levels`, a list of `steps` falling whole numbers. It must also work where `steps` does not divide `T`.
#
# Difficulty: ●●○○○ · 6 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# It is one list comprehension over $i$. What is $t_0$, and what would $t_S$ be?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# Python's `round` gives a whole number. Do not use `range` with a stride of `T // steps`.
#
# </details>
#
# <!--slide 2 min
# ## DDIM may take long strides, but must start at the top
#
# $$t_i = \mathrm{round}\!\left(T - i\,\frac{T}{S}\right), \qquad i = 0, \dots, S-1$$
#
# - $T = 1000$, $S = 50$: 1000, 980, ..., 20, then clean (*trailing*)
# - 981, 961, ..., 1 (*leading*) tells the network that some signal is left, and hands it pure noise
#
# **Your turn: exercise 4.2, 6 minutes**
#
# ```python
# def ddim_levels(T, steps):
#     # TODO 4.2: `steps` levels from T down, in equal strides; steps need not divide T
# ```
#
# Notes:
# Say: the step rule of notebook 02 goes from any level to any lower one. What is left to choose is the levels. Give 6 minutes for exercise 4.2, on top of the 2 minutes for this slide.
# Ask: which levels does a walk of four steps visit? (1000, 750, 500, 250, and then the clean picture, level 0.)
# Common mistakes: `range` with a stride of T // steps, which is wrong where steps does not divide T; starting at T - 1, as libraries do that count from 0, so that the top level is never asked.
# -->
#
# <!--slide 2 min
# ## To the eye, fifty steps do as well as a thousand
#
# A twentieth of the work, and no fresh noise: the first noise alone settles each digit.
#
# Notes:
# Say: the same seed gives the same sixty-four digits on any machine, up to rounding. The printed share is what the second classifier reads with more than 95 per cent.
# Ask: both walks began with seed 0. Why do they show different digits? (The ancestral walk draws noise in every step and each draw steers it. Only DDIM is a function of x_T.)
# Live: run the cell; it takes a few seconds.
# -->

# %% exercise="4.2" slideshow={"slide_type": "skip"}
def ddim_levels(T, steps):
    # TODO 4.2: `steps` levels from T down, in equal strides
    ### BEGIN SOLUTION
    return [round(T - i * T / steps) for i in range(steps)]
    ### END SOLUTION


ddim_levels = check("4.2", ddim_levels)

# %% expected="4.2" tags=["slide-output"] slideshow={"slide_type": "-"}
few = choose(50, 5)
rule = dataclasses.replace(ddim(few), levels=lambda T: ddim_levels(T, few))
start = time.perf_counter()
walk = reverse(model, schedule, rule, (64, 1, 28, 28), seed=0, clip_x0=1.0)
path = list(show.progress(walk, few + 1, "DDIM"))
samples, ddim_seconds = path[-1].x, time.perf_counter() - start
print(f"64 images, {few} steps: {ddim_seconds:.1f} s; confident {metrics.confident_share(samples):.0%}")
show.grid(samples, "64 digits in an 8 by 8 grid, drawn with 50 DDIM steps: clean strokes, nearly all legible",
          columns=8, title=f"64 samples, {few} DDIM steps")

# %% [markdown] exercise_text="4.3" slideshow={"slide_type": "slide"}
# A twentieth of the steps, and to the eye the same quality. DDIM adds no noise on the way, so the picture is settled by
# the first noise alone: the same seed gives the same digits, on any machine, up to rounding.
#
# **Question.** Both walks above began with seed 0. Why do they show different digits?
#
# <details><summary>Answer</summary>
#
# The ancestral walk draws fresh noise in each of its steps, and every draw steers it. Two walks from one $x_T$ part
# early, at the levels where it is still open which digit it will be. Only DDIM is a *function* of $x_T$.
#
# </details>
#
# ## Watching it happen
#
# The walk was kept: `path` holds every state, from pure noise to the clean pictures. A film of it needs a choice of states: evenly
# spaced, the first and the last always among them. Taking every $k$-th misses the last; one of the tutorials this course
# grew out of even crowds most of its "key frames" into the final twentieth of the walk, so its film shows a finished digit standing still.
#
# With $n$ states and $f$ frames, frame $i = 0, \dots, f-1$ shows state
# $\mathrm{round}\!\left(i\,\frac{n-1}{f-1}\right)$. If more frames are asked for than there are states, take each state once.
#
# **Exercise 4.3** Write `frame_numbers`, a list of whole numbers.
#
# Difficulty: ●●○○○ · 6 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Five posts have four gaps between them.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# Start with `frames = min(frames, states)`; the stride is `(states - 1) / (frames - 1)`, and it is rounded only after the
# multiplication.
#
# </details>
#
# <!--slide 4 min
# ## Coarse first: the estimate knows the digit early
#
# Above, $x_t$ of one walk. Below, the estimate of $x_0$ that led there:
#
# - a blurred average of many digits, then *one* digit, then only sharper strokes
# - at $t = 800$ the estimate is a 4, while $x_t$ still looks like noise
#
# Notes:
# Say: this is why one leap cannot do it. The first estimate is the mean of everything; each step commits to a little more. The first column has no estimate yet. Exercise 4.3, the choice of frames for a film, is homework (6 minutes).
# Ask: read the lower row at t = 900. Which digit is it? (It could be a 9. The walk has not decided yet; a little later it is a 4.)
# Live: in the notebook, below the GIF, move `step` from 0 to 50 and look at all sixteen estimates; then pick with `sample` one that is late to decide.
# -->

# %% exercise="4.3" slideshow={"slide_type": "skip"}
def frame_numbers(states, frames):
    # TODO 4.3: evenly spaced numbers from 0 to states - 1, both included
    ### BEGIN SOLUTION
    frames = min(frames, states)
    return [round(i * (states - 1) / (frames - 1)) for i in range(frames)]
    ### END SOLUTION


frame_numbers = check("4.3", frame_numbers)

# %% expected="4.3" slideshow={"slide_type": "skip"}
moments = [path[i] for i in frame_numbers(len(path), 5)]
five = {f"sample {k + 1}": torch.stack([state.x[k] for state in moments]) for k in range(5)}
show.rows(five, "Five samples at five evenly spaced moments: noise; noise with a faint brighter patch; a "
          "grainy digit; a digit with some grain; a clean digit", [show.level(state.t) for state in moments],
          title="Five samples at five moments", save=out_dir() / "mnist_five_moments.png")

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
show.filmstrip(path, "One walk as a filmstrip of eight moments. Above, x_t: noise clears to a digit. Below, "
               "the estimate of the clean picture: a blurred average at first, then a digit that sharpens "
               "while x_t is still mostly noise.", levels=(1000, 980, 900, 800, 600, 400, 200, 0), x0=True,
               title="x_t, and what it is expected to become", save=out_dir() / "mnist_filmstrip.png")

# %% [markdown] exercise_text="4.4" slideshow={"slide_type": "slide"}
# Each label is the noise level of the picture under it; the last is clean. (The first column has no estimate yet.) The lower row tells more than the upper one. The first estimate is a
# blurred average of many digits; soon it becomes *one* digit, while $x_t$ still looks like noise; after that only strokes sharpen. Coarse first, detail later:
# that is why one leap cannot do it.
#
# ## From floats to a file
#
# A file holds bytes. Going from $[-1, 1]$ to 0 ... 255 is one line in which much goes wrong: a sample may lie a little outside $[-1, 1]$ and
# noise lies far outside; a byte knows no 256, it starts again at 0; conversion cuts fractions off.
# $$\text{byte} = \mathrm{round}\big(127.5\,(\mathrm{clamp}(x, -1, 1) + 1)\big)$$
#
# **Exercise 4.4** Write `to_bytes` for images $(B, 1, H, W)$; the result has dtype `torch.uint8`.
#
# Difficulty: ●○○○○ · 5 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# The order is that of the formula, from the inside out. What comes last?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `.clamp(-1, 1)`, then plus 1, times 127.5, then `.round()`, then `.to(torch.uint8)`.
#
# </details>
#
# <!--slide 2 min
# ## Noise to digits: fifty steps as a film
#
# Thirty-six walks at once, all from one seed. Watch how early the strokes find their place.
#
# Notes:
# Say: 36 walks at once, the states evenly spaced with the first and the last among them. The file holds bytes: clamp to the range, shift, scale by 127.5, round, convert. Exercise 4.4 is that one line (5 minutes, homework). Its two common mistakes: no clamp, so that bright pixels start again at black; no rounding, so that every grey is a little too dark.
# Ask: what happens to a pixel of 1.02 if nobody clamps it? (It becomes 257.55; a byte ends at 255 and starts again at 0, so a black speck appears in a white stroke.)
# Have run: the GIF lies in the folder out.
# -->

# %% exercise="4.4" slideshow={"slide_type": "skip"}
def to_bytes(images):
    # TODO 4.4: floats in [-1, 1] (or a little beyond) to bytes
    ### BEGIN SOLUTION
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    ### END SOLUTION


to_bytes = check("4.4", to_bytes)

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
def sheet(images, columns=6):
    grey = to_bytes(images)[:, 0] // 32 * 36  # eight greys: enough for the eye, a third of the bytes
    rows = [torch.cat(list(part), dim=1) for part in grey.split(columns)]
    return torch.cat(rows, dim=0).numpy()


frames = [sheet(path[i].x[:36]) for i in frame_numbers(len(path), 42)]
show.gif(frames, out_dir() / "mnist.gif", "Animation: 36 squares of noise clear up together and become 36 "
         "handwritten digits, which then stand still for a moment", scale=2, seconds=4, hold=2.5)
print(f"mnist.gif: {len(frames)} frames, {(out_dir() / 'mnist.gif').stat().st_size / 1000:.0f} kB")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ### Try it: hold the film still (optional)
#
# The sliders below need a running kernel; the filmstrip above shows the same for one sample at eight levels. Move `step` along
# the stored walk: to the left sixteen $x_t$, beside them what the network expects of each, then one `sample` enlarged (framed in the
# grids). Two things to see: the estimates begin alike, as one grey blur, and have become sixteen different pictures while $x_t$ is still
# mostly noise; and not all samples decide equally early. Which is the last to become *one* digit, and does every one?
#
# (The filmstrip shows below each $x_t$ the estimate that led to it, the sliders the one made *from* it, a step later.)

# %% tags=["optional"] slideshow={"slide_type": "skip"}
def scrub(step=few // 5, sample=1):
    """The stored walk after `step` steps: x_t and what the network expects of it; one sample enlarged."""
    state, k = path[step], sample - 1
    guess = path[min(step + 1, few)].x0  # what is asked of this x_t; at the end nothing is left to ask
    pictures = {"x_t": state.x[:16], "estimate of x_0": guess[:16],
                f"sample {sample}: x_t": state.x[k, None], "its estimate of x_0": guess[k, None]}
    fig, axes = plt.subplots(1, 4, figsize=(show.WIDTH, 2.9))
    for ax, (title, some) in zip(axes, pictures.items(), strict=True):
        ax.imshow(show.tiles(some, int(len(some) ** 0.5)), vmin=0, vmax=255)
        ax.set(title=title, xticks=[], yticks=[])
    corner = 29 * (k % 4), 29 * (k // 4)  # a tile is 28 pixels and a line wide
    for ax in axes[:2]:
        ax.add_patch(plt.Rectangle(corner, 29, 29, fill=False, linewidth=3, edgecolor=show.COLOURS[4]))
    fig.suptitle(f"step {step} of {few}: {show.level(state.t)}")
    show.figure(fig, f"{show.level(state.t)}: sixteen samples, their estimates, sample {sample} enlarged")

# %% tags=["optional"] slideshow={"slide_type": "skip"}
sliders(scrub, step=(0, few), sample=(1, 16))

# %% [markdown] slideshow={"slide_type": "slide"}
# **Noise to digits.** The GIF is in the folder `out/`, with the two PNGs; take them with you.
#
# ## How good are they?
#
# No single number will do, so we ask four questions, each beside what real digits score.
# 1. *Do they look like the data as a whole?* The Frechet distance of 1,000 samples, beside its floor.
# 2. *Is each a digit?* The share to which a second classifier, not the one that lends its features to the distance, gives more than $95\,\%$.
# 3. *Are they new?* The distance to the nearest training image, beside that of unseen test images.
# 4. *Are all digits there?* Class counts.
#
# <!--slide 3 min
# ## Four questions, each beside what real digits score
#
# 1. **Like the data as a whole?**<br>Frechet distance of 1,000 samples: <!--r:mnist.final.distance|.2f-->6.96<!--/-->, the floor <!--r:mnist.floor.mean|.2f-->3.04<!--/-->
# 2. **Is each one a digit?**<br>A second classifier reads with confidence: <!--r:mnist.final.confident|.1%-->82.8%<!--/-->, of real digits <!--r:mnist.real.confident|.1%-->97.0%<!--/-->
# 3. **Are they new?**<br>Median distance to the nearest training image: <!--r:mnist.nearest.samples.middle|.2f-->0.34<!--/-->, of test images <!--r:mnist.nearest.test.middle|.2f-->0.32<!--/-->
# 4. **Are all digits there?**<br>Smallest class: <!--r:mnist.final.smallest_class|.1%-->7.3%<!--/-->, of real digits <!--r:mnist.real.class_shares.5|.1%-->8.9%<!--/-->
#
# No single number will do, and no number stands alone.
#
# Notes:
# Say: in each line first the samples, then real test images. The classifier that judges is not the one that lends its features to the distance.
# Ask: on which line are the samples furthest from the real ones? (Confidence and distance: about one sample in six is not clearly a digit. The nearest distances are about those of test images.)
# Live: run the cell; it prints these stored results as a table.
# -->

# %% slideshow={"slide_type": "skip"}
final, near = saved["final"], saved["nearest"]
print(f"{final['samples']:,} samples, {final['steps']} DDIM steps    samples   real test images")
print(f"Frechet distance               {final['distance']:7.2f}   {floor['mean']:.2f} (the floor)")
print(f"confidently one digit          {final['confident']:7.1%}   {real['confident']:.1%}")
print(f"nearest training image: middle {near['samples']['middle']:7.2f}   {near['test']['middle']:.2f}")
print(f"                      smallest {near['samples']['smallest']:7.2f}   {near['test']['smallest']:.2f}")
print(f"smallest class                 {final['smallest_class']:7.1%}   {min(real['class_shares']):.1%}")

# %% [markdown] exercise_text="4.5" slideshow={"slide_type": "slide"}
# ## Are they new?
#
# Notebook 02 showed that the perfect denoiser of a finite training set only repeats it, and notebook 03 looked for copies with a
# ready-made function. Write it yourself. A network that
# has not learned by heart makes pictures that are no nearer to the training set than unseen real digits are. The distance of two pictures:
# $$d(a, b) = \sqrt{\tfrac{1}{P}\textstyle\sum_p (a_p - b_p)^2}$$
# with $P$ the number of pixels, so that its unit is a pixel value whatever the size of the picture.
#
# **Exercise 4.5** Write `nearest`: for each of the samples $(N, ...)$ the index of its nearest training image and the distance, both $(N,)$.
#
# Difficulty: ●●●○○ · 10 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Make every picture a row (`flatten(1)`); then you need a table of distances $(N, M)$ and its smallest value in each row.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `torch.cdist(a, b)` is that table with $\sqrt{\sum}$ in place of $\sqrt{\tfrac1P\sum}$: divide by $\sqrt P$.
# `.min(dim=1)` returns values and indices, in this order; you return them the other way round.
#
# </details>
#
# <!--slide 3 min
# ## The nearest training images are other pictures
#
# $$d(a, b) = \sqrt{\tfrac{1}{P}\textstyle\sum_p (a_p - b_p)^2}$$
#
# The ten samples that come *nearest* to the training set, and how near:
#
# Notes:
# Say: copying would show as distances near zero, far below those of unseen test images. The printed middle distances (medians) are about alike. This is evidence, not proof.
# Ask: which copy would this distance miss? (One that is shifted by a pixel: most of its stroke pixels then differ.)
# Exercise 4.5, 10 minutes, if you give it in class. Common mistakes: forgetting to divide by the root of the number of pixels; returning distance and index in the order in which `min` gives them.
# Have run: 128 pictures against 60,000 take some twenty seconds on two cores.
# -->

# %% exercise="4.5" slideshow={"slide_type": "skip"}
def nearest(samples, training):
    # TODO 4.5: index and distance of the nearest training image of each sample
    ### BEGIN SOLUTION
    a, b = samples.flatten(1), training.flatten(1)
    distance, index = (torch.cdist(a, b) / a.shape[1] ** 0.5).min(dim=1)
    return index, distance
    ### END SOLUTION


nearest = check("4.5", nearest)

# %% expected="4.5" tags=["slide-output"] slideshow={"slide_type": "-"}
def nearest_each(some):  # one picture at a time: 60,000 differences are enough for the memory
    index, distance = zip(*(nearest(picture[None], images) for picture in some), strict=True)
    return torch.cat(index), torch.cat(distance)


count = choose(64, 10)
index, distance = nearest_each(samples[:count])
_, distance_test = nearest_each(test_images[:count])
order = distance.argsort()[:10]  # the ten that are nearest to the training set
show.rows({"sample": samples[order], "nearest in training": images[index[order]]},
          "The ten samples that come nearest to the training set, above their nearest training images: "
          "similar digits in other hands, not the same pictures", [f"{d:.2f}" for d in distance[order]],
          title="The ten samples nearest to a training image, and the distance")
print(f"middle distance: samples {distance.median():.2f}, test images {distance_test.median():.2f}")

# %% [markdown] exercise_text="4.6" slideshow={"slide_type": "slide"}
# These are the samples *most* like a training image, and they are still other pictures: simple digits, ones above all, have near neighbours everywhere.
# What would copying look like? Distances near zero, far below those of unseen test images. This does not prove that nothing is memorised:
# a copy shifted by one pixel escapes this distance. It is evidence, not proof.
#
# ## Are all digits there?
#
# Of 1,000 samples about as many should be threes as in the data. Not exactly: counts scatter by chance. The chi-square value says whether
# the scatter is more than chance:
# $$\chi^2 = \sum_{c=0}^{9} \frac{(O_c - E_c)^2}{E_c}, \qquad E_c = N\,p_c$$
# with $O_c$ the seen counts, $N$ their sum and $p_c$ the shares of the real data. For ten classes chance gives about $9 \pm 4$.
#
# **Exercise 4.6** Write `chi_square`; it returns a tensor with one number.
#
# Difficulty: ●●○○○ · 6 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# `shares` sums to 1, `counts` to $N$: first turn the shares into expected counts.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `expected = counts.sum() * shares`; then squared differences, divided by `expected`, summed.
#
# </details>
#
# <!--slide 3 min
# ## All ten digits are there; the rest may be chance
#
# $$\chi^2 = \sum_{c=0}^{9} \frac{(O_c - E_c)^2}{E_c}, \qquad E_c = N\,p_c \qquad (\text{chance: about } 9 \pm 4)$$
#
# Notes:
# Say: of 1,000 samples not exactly a tenth is of each digit; chi-square says whether the scatter is more than chance. Part of what is left is the judge's own error. Exercise 4.6 is this one line (6 minutes, homework); the common mistakes are shares in place of counts, and dividing by the counts seen.
# Ask: why 9 for ten classes? (The counts add up to N, so only nine are free; the mean of chi-square is its degrees of freedom.)
# Live: run the cell; the value is printed below the bars.
# -->

# %% exercise="4.6" slideshow={"slide_type": "skip"}
def chi_square(counts, shares):
    # TODO 4.6: how far the counts are from what the shares lead to expect
    ### BEGIN SOLUTION
    expected = counts.sum() * shares
    return ((counts - expected) ** 2 / expected).sum()
    ### END SOLUTION


chi_square = check("4.6", chi_square)

# %% expected="4.6" tags=["slide-output"] slideshow={"slide_type": "-"}
drawn, expected = torch.tensor(final["class_shares"]), torch.tensor(real["class_shares"])
value = chi_square((final["samples"] * drawn).round(), expected)
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.2))
digits = torch.arange(10)
ax.bar(digits - 0.2, drawn, 0.4, label="samples")
ax.bar(digits + 0.2, expected, 0.4, label="real test images")
ax.axhline(0.05, color="black", linestyle="--", linewidth=1)
ax.text(10, 0.052, "5 %", ha="right")
ax.set(xticks=range(10), ylim=(0, 0.16), xlabel="digit, as the second classifier reads it", ylabel="share")
ax.legend(ncol=2)
show.figure(fig, "Bars: the share of each digit among 1,000 samples beside its share among the real test "
            "images, and a line at five per cent. All digits are there.")
print(f"chi-square of {final['samples']:,} samples: {float(value):.1f} (chance: about 9 ± 4)")

# %% [markdown] slideshow={"slide_type": "slide"}
# A value far above chance does not mean that a digit is missing, but that the shares are visibly not those of the data: the judge's own
# errors count here too, and unclear samples tend to be read as the same few digits. (People say "mode collapse" when digits
# are missing. The word is from GANs; the loss of a diffusion model punishes a forgotten digit at every level, and it rarely happens here.)
#
# ## The same weights in `diffusers`
#
# If our formulas are right, any correct implementation must draw the same pictures from the same weights and the same noise. The
# `diffusers` library has one, but only its *named configuration* makes it ours; each default that differs changes the pictures:
#
# | setting | here | default there |
# |---|---|---|
# | `trained_betas` | our cosine betas, from $\beta_1$ on | linear from 0.0001 to 0.02 |
# | `prediction_type` | `"v_prediction"` | `"epsilon"` |
# | `clip_sample`, `clip_sample_range` | `True`, 1.0 | the same |
# | `variance_type` (DDPM) | `"fixed_small"`, the posterior variance | the same |
# | `timestep_spacing` (DDIM) | `"trailing"` | `"leading"` |
# | `set_alpha_to_one` (DDIM) | `True`: the last step ends clean | the same |
# | `use_clipped_model_output` (DDIM) | `True`: eps follows the clamped $x_0$ (exercise 4.1) | `False` |
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
# Same weights, same noise. One grey level of a byte is 0.008; what is left is rounding:
#
# Notes:
# Say: the comparison checks our formulas against an implementation that others wrote. A name alone, DDIM, says too little; only the named configuration makes two programs agree.
# Ask: why is the difference of the ancestral walk larger than that of DDIM? (A thousand steps add up more rounding than fifty.)
# Have run: sixteen walks of 1,000 steps once more, about twenty seconds on two cores. Without `diffusers` the cell shows the stored comparison.
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
    x = with_diffusers(theirs, path[0].x[: shape[0]], theirs.timesteps, use_clipped_model_output=True)
    gaps["ddim"] = (x - samples[: shape[0]]).abs().max().item()
    theirs, g = DDPMScheduler(1000, variance_type="fixed_small", **common), torch.Generator().manual_seed(0)
    x = with_diffusers(theirs, torch.randn(shape, generator=g), theirs.timesteps[:walk_steps], generator=g)
    gaps["ddpm"], where = (x - ancestral_live).abs().max().item(), f"live, {shape[0]} images"
print(f"largest difference of any pixel ({where}): DDIM {gaps['ddim']:.1g}, DDPM {gaps['ddpm']:.1g}")

# %% [markdown] slideshow={"slide_type": "slide"}
# One grey level of a byte is 0.008 in our units; the differences are far below: the same pictures. What is left is rounding, which a thousand
# steps add up (the library computes $\bar\alpha_t$ in float32, we in float64). Take the default in any row where it differs, and so do the pictures.
#
# ## What does it cost, honestly?
#
# Sampling costs *images x steps x the work of one forward pass*. The last can be counted without a clock. Some guides promise
# "64 images, 1,000 steps, 30 seconds on a CPU" for a two-level U-Net with 64 base channels; the count shows what a CPU would have to do.
#
# <!--slide 3 min
# ## Count the cost before you believe a promise
#
# $$\text{cost} = \text{images} \times \text{steps} \times \text{work of one forward pass}$$
#
# > A promise from a guide: "64 images, 1,000 steps, 30 seconds on a CPU"
#
# - its U-Net, 64 base channels at two levels: 0.99 GFLOP a pass; ours: 0.16
# - 64,000 passes in 30 seconds need 2.1 TFLOP/s. What does a CPU do?
#
# Notes:
# Say: the work of a pass can be counted without a clock. Then compare with what this machine did. The times belong to this machine, the counts do not.
# Ask: what is cheaper by a factor of twenty without another network? (DDIM with 50 steps in place of 1,000.)
# Live: run the cell, it takes a second; read the last line aloud.
# -->

# %% tags=["slide-output"] slideshow={"slide_type": "-"}
from torch.utils.flop_counter import FlopCounterMode


def gflop(network):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, 28, 28), torch.ones(1, dtype=torch.long))
    return counter.get_total_flops() / 1e9


ours, wide = gflop(model), gflop(UNet(channels=(64, 128)))
speed = ours * 64 * few / ddim_seconds  # GFLOP/s
whole = 64 / shape[0] * 1000 / walk_steps * ancestral_seconds
print(f"one forward pass of one image: {ours:.2f} GFLOP (a multiply-add counts two)")
print(f"here: 64 images x {few} DDIM steps in {ddim_seconds:.1f} s, that is {speed:.0f} GFLOP/s")
print(f"      64 images x 1,000 ancestral steps would take {whole:.0f} s")
print(f"64 base channels, two levels: {wide:.2f} GFLOP a pass")
print(f"      64 x 1,000 in 30 s needs {wide * 64_000 / 30 / 1000:.1f} TFLOP/s; "
      f"at the speed of this run it takes {wide * 64_000 / speed / 60:.0f} minutes")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Good signs, bad signs
#
# **Good:** the loss falls steeply for some hundred steps and then creeps, with a noisy curve (each batch draws its own levels); strokes appear before
# digits; samples from one seed keep their layout from snapshot to snapshot and become clearer; the distance falls while the loss hardly moves.
#
# **Bad:** the loss is NaN or stays near 1; samples from different noises are alike; samples are grey, or pure black and white; the loss is excellent and
# the nearest training images are the samples.
#
# | what you see | likely cause | what to do |
# |---|---|---|
# | loss low, samples noise | EMA without warm-up, too young | look at samples of the weights themselves; warm up; lower the decay |
# | loss low, samples noise | sampling reads $v$ as $\epsilon$, or the step number as the level | carry the prediction type with the model; sample by `reverse` |
# | overgrown shapes, too many strokes, grey haze | $x_T$ is not noise: $T$ too short for the betas (notebook 01) | scale the betas by $1000/T$, or cosine |
# | too dark, too bright, half black | data in $[0, 1]$ in training, or wrong scaling when saving (exercise 4.4) | train on $[-1, 1]$; check minimum and maximum of both |
# | black and white noise, huge values | $\hat x_0$ explodes at the top with eps and cosine (exercise 4.1) | clamp, or predict $v$ |
# | grain on finished samples | noise added at the last step | none in the step to level 0 |
# | blurred averages | too few steps, or all the noise taken off at once | more steps; DDIM from 20 up |
# | loss NaN | learning rate too high, data not scaled, division by $\bar\alpha_T = 0$ | clip the gradient, lower the rate, check the data |
# | all samples alike | the noise is seeded anew for every image; broadcasting one $t$ or one noise over the batch | draw the batch at once, check shapes |
# | out of memory, slow | batch or network too large, attention at full resolution | smaller batch, attention only at 7 x 7, bfloat16 |
#
# Several of these are drawn in "Looking inside", with the real network.
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
# Notes:
# Say: the notebook has the longer table. Good signs: the loss falls steeply and then creeps; strokes appear before digits; samples from one seed keep their layout from snapshot to snapshot.
# Ask: your loss is fine and your samples are noise. What do you look at first? (Samples of the weights without averaging; then whether the sampler knows the prediction type.)
# -->

# %% [markdown] tags=["optional"] slideshow={"slide_type": "slide"}
# ## Looking inside
#
# Optional. Four looks behind the pictures above.
#
# ### What went wrong? The real network, misused
#
# The same weights, the same eight noises, twenty DDIM steps. Each row makes one mistake that people make.
#
# <!--slide 4 min
# ## Every row makes one mistake: why does it look like that?
#
# Notes:
# Say: same weights, same eight noises, twenty DDIM steps. Take the rows one by one and let the room explain the picture. The loss hears of none of them, because training and sampling are two programs.
# Ask: why does uniform start noise give a white square? (All its values are positive; to the network that is the trace of a picture that is white all over.)
# Have run: six walks of twenty steps take a few seconds.
# -->

# %% tags=["optional"] slideshow={"slide_type": "skip"}
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

# %% tags=["optional", "slide-figure"] slideshow={"slide_type": "-"}
def misuse(model=model, rule=good, x_T=noise):
    return last(reverse(model, schedule, rule, x_T=x_T, clip_x0=1.0))


wrong = {
    "as it should be": misuse(),
    "v read as eps": misuse(reads_v_as_eps),
    "step number for level": misuse(told_the_step_number),
    "x_t - eps, not rescaled": misuse(rule=forgets_to_rescale),
    "noise where signal belongs": misuse(rule=starts_too_low),
    "uniform start noise": misuse(x_T=torch.rand(noise.shape, generator=torch.Generator().manual_seed(1))),
}
show.rows(wrong, "Six rows of eight samples. First row: digits. Below, one mistake each: v read as eps, the "
          "step number given for the noise level, noise subtracted without rescaling, a start where signal "
          "should be left, uniform start noise.", title="One network, one mistake a row")
print(f"'noise where signal belongs' starts at t = {start_level}, where sqrt(alpha_bar) = {left.sqrt():.2f}")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# - **v read as eps**: ragged shapes full of specks. The loss never hears of it, for training and sampling are two programs. The model carries `.prediction` so that they cannot disagree.
# - **step number for level**: in a DDIM loop, `i` and `levels[i]` are easily confused. The network is told "nearly clean" while it looks at pure noise.
# - **not rescaled**: "clean = noisy minus noise" is what many texts say; $x_t$ is $\sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$, and both roots matter.
# - **noise where signal belongs**: the tutorials' $T = 200$ with betas up to 0.02 ends where $36\,\%$ of the signal's amplitude is left, and starts from
#   pure noise there. Here our network gets the same treatment: it takes the noise for strokes that are to be kept, and the shapes are overgrown.
# - **uniform start noise**: `torch.rand` for `torch.randn`. All its values are positive: to the network, the trace of a picture that is white all over.
#
# ### How few steps?
#
# The same noise walked in 1, 2, 5, 10, 20 and 50 steps.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
counts = choose((1, 2, 5, 10, 20, 50), (1, 2))
few_steps = {f"steps: {n}": misuse(rule=ddim(n)) for n in counts}
show.rows(few_steps, "The same eight noises in 1, 2, 5, 10, 20 and 50 DDIM steps: a grey blur, then shapes, "
          "then digits that hardly change any more", title="The noise decides the digit")
for n, score in saved["steps"].items():
    print(f"{n:>3} steps: distance {score['distance']:6.2f}, confident {score['confident']:.1%}")
print(f"{final['steps']:>3} steps: distance {final['distance']:6.2f}, confident {final['confident']:.1%}")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# One step gives the average of all digits: the best guess when all is noise (notebook 02). With more steps the picture
# settles, and from some number on only details move: the walk follows a smooth path, and 20 strides follow it nearly as well as 50.
#
# ### The clamp, on and off
#
# How often does the estimate of $x_0$ leave $[-1, 1]$ when nothing holds it back?

# %% tags=["optional"] slideshow={"slide_type": "skip"}
free = list(reverse(model, schedule, rule, x_T=path[0].x[:16]))
beyond = [(state.x0.abs() > 1.05).float().mean().item() for state in free[1:]]
fig, ax = plt.subplots(figsize=(show.WIDTH, 3))
ax.plot(ddim_levels(1000, few), beyond, marker="o", markersize=3)
ax.set(xlabel="noise level at which the network was asked", ylabel="share beyond ±1.05")
show.figure(fig, "Share of the pixels of the estimated clean picture that lie more than a twentieth outside "
            "the range, over the noise level, for a walk without clamp")
print(f"largest |x_0| of all: {max(state.x0.abs().max() for state in free[1:]):.2f}")
off = saved["unclipped"]
on = saved["steps"][str(off["steps"])]
print(f"distance of {final['samples']:,} samples in {off['steps']} steps: "
      f"{on['distance']:.2f} with the clamp, {off['distance']:.2f} without")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# With $v$ the overshoot is small, so the distance tells little between the two. With eps and this schedule it was the whole picture (exercise 4.1).
#
# ### The loss of the live minute

# %% tags=["optional"] slideshow={"slide_type": "skip"}
show.loss_curve(losses, "Loss of every training step of the live minute and its moving average, log scale: "
                "a steep fall, then a slow, noisy creep")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# The curve is noisy because each batch draws its own noise levels, and at some levels the task is harder than at others. Read the moving average, and trust the samples more.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - A network of a million parameters, trained on a CPU in an hour or two, draws in fifty steps digits that a classifier mostly reads with confidence.
# - Training longer makes samples better long after the loss has stopped telling.
# - $\hat x_0$ must stay in range: by a clamp, or by predicting $v$; and eps must follow.
# - DDIM takes the same network and a twentieth of the steps; start it at the top.
# - Every score stands beside its floor, and no score stands alone.
# - The same weights, noise and configuration give the same pictures in another library: that is how to check a sampler.
#
# ## Self-check
#
# - [ ] I can say why the average of the weights needs a warm-up, and how a missing one looks.
# - [ ] I can compute $1/\sqrt{\bar\alpha_T}$ and say what it does to an error in $\hat\epsilon$.
# - [ ] I can write down the levels of a DDIM walk of 20 steps.
# - [ ] I can explain why the floor of the Frechet distance is above zero.
# - [ ] I can tell copying from learning, and say what the check cannot see.
# - [ ] I can count what a thousand steps cost before I start them.
#
# ## Exercises to go on with
#
# | exercise | difficulty | time |
# |---|---|---|
# | Draw with eta = 0.5 and 1 in 50 steps; how do class shares and confidence change? | ●●○○○ | 20 min |
# | Take the 1,000 levels from the top half only for half of the 50 steps. Where are steps best spent? | ●●●○○ | 40 min |
# | Train the minute with batch 16 and batch 256 at the same number of images seen; compare strips. | ●●○○○ | 20 min |
# | Train on `data.fashion_mnist()`; which of the four questions needs another judge? | ●●●○○ | 60 min |
# | Walk from the noise of one sample to that of another along the sphere, with DDIM: a film of digits changing. | ●●●○○ | 40 min |
# | Write a nearest-image distance that sees through a shift by one pixel. Do the samples still look new? | ●●●●○ | 60 min |
#
# ## References
#
# - Ho, Jain & Abbeel 2020, *Denoising Diffusion Probabilistic Models*, arXiv:2006.11239: eqs. 6, 7, 15, algorithm 2.
# - Song, Meng & Ermon 2021, *Denoising Diffusion Implicit Models*, arXiv:2010.02502: eqs. 12, 16.
# - Nichol & Dhariwal 2021, *Improved DDPM*, arXiv:2102.09672: eq. 17 (the cosine schedule).
# - Salimans & Ho 2022, *Progressive Distillation*, arXiv:2202.00512: section 4 (v-prediction).
# - Lin et al. 2023, *Common Diffusion Noise Schedules and Sample Steps are Flawed*, arXiv:2305.08891: table 2 (spacing).
# - Heusel et al. 2017, *GANs Trained by a Two Time-Scale Update Rule*, arXiv:1706.08500: eq. 6 (the distance).
# - LeCun, Bottou, Bengio & Haffner 1998, *Gradient-Based Learning Applied to Document Recognition* (MNIST).
#
# <!--slide 2 min
# ## What we learned
#
# - keep $\hat x_0$ in range, by a clamp or by predicting $v$; compute $\hat\epsilon$ anew from it
# - DDIM: the same network, a twentieth of the steps; start at the top
# - no score stands alone: each has its floor
# - samples go on improving long after the loss has stopped showing it
# - same weights, noise and configuration: same pictures in another library
#
# **Next, notebook 05:** fewer steps still, and quality against cost in one figure.
#
# Notes:
# Say: the course proper ends here: from adding noise to judged digits. Point to the self-check list in the notebook.
# Ask: you get bad samples tomorrow. What are your first three looks? (Samples of the weights without averaging; prediction type, levels and scaling of the sampler; a score beside its floor.)
# Homework: exercises 4.3, 4.4 and 4.6, and one of the exercises to go on with.
# -->

# %% slideshow={"slide_type": "skip"}
check.summary("04")
