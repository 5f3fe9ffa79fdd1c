# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] slideshow={"slide_type": "slide"}
# # 05 Fast samplers
#
# The ancestral walk of notebook 04 takes a thousand steps to draw a digit. How few will do? In this notebook we train
# nothing. We keep the network as it is and change only how we walk back from noise, until 64 digits come in about a second.
#
# **What you will be able to do**
# - say what $\eta$ chooses between, and why one network serves a whole family of walks;
# - explain why leaving out steps naively fails, and which levels a short walk should visit;
# - see and repair a walk that starts below the top, or at a top that is not noise;
# - write DPM-Solver++(2M) in a few lines and say what "second order" buys;
# - read quality against cost from one figure, and choose a sampler for your budget;
# - use determinism: one seed at several step counts, a path between two pictures, a real picture inverted;
# - complete half a digit in many ways with a network that was never trained for it;
# - get the same pictures from `diffusers`, and name every setting that this takes.
#
# **What to know** Notebooks 01 to 04: $\bar\alpha_t$, your `ddim_step` and your `walk`, v-prediction, the Frechet distance between two sets of pictures (smaller is better) and its floor, the distance that real pictures have.
#
# **Time** about 125 minutes for a person, under two minutes for two CPU cores.
#
# <!--slide 2 min
# # 05 Fast samplers
#
# A thousand network evaluations for a digit, or fifteen. The network stays the same.
#
# **The question of this lecture:** how few evaluations will do, and what do we lose?
#
# **You will be able to**
#
# - choose the levels and the step of a short walk, and say what each choice costs
# - write DPM-Solver++(2M), a step of second order, in a few lines
# - preview a picture, go from one to another, and take a real one back to its noise
#
# **Write down a guess:** how long does one evaluation of 64 digits take on two CPU cores?
#
# Notes:
# Say: nothing is trained today. The network of notebook 04 stays as it is; only the way we walk back from noise changes.
# Ask: where does the ancestral walk of notebook 04 spend its time? (In a thousand network evaluations, one after the other. All else is a few multiplications.)
# Say: keep the guess; the next slide has the measured time.
# Have run: the whole notebook, so that the pictures of ten seconds and more stand ready.
# -->

# %% tags=["setup"] slideshow={"slide_type": "skip"}
import sys
from pathlib import Path

sys.path.insert(0, str(next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "helpers").is_dir())))

import math
import time

import matplotlib.pyplot as plt
import torch

from helpers import data, metrics, show
from helpers.checkpoints import load_images, load_model, load_results
from helpers.exercises import check, mine
from helpers.modes import choose, out_dir
from helpers.sampling import Rule, ddim, dpm_solver, last, reverse
from helpers.schedule import cosine, linear, zero_terminal_snr
from helpers.sliders import sliders

my = mine.parts()  # your functions of the notebooks before, where they are right

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. What does an evaluation cost?
#
# A sampler asks the network again and again, and does a few multiplications in between. So its price is the number of times that it
# asks, which we call **evaluations**. How long does one take on your machine, for 64 images, and how many fit into a second?
#
# <!--slide 2 min
# ## A sampler costs as much as the evaluations it asks for
#
# - they come one after the other: each needs the picture that the one before left
# - everything else is a few multiplications a pixel
# - **the aim:** 64 digits in about a second on two CPU cores
#
# Time of a walk = number of evaluations × time of one. The network is given, so the second factor is fixed, and today we work on the first.
#
# > How many evaluations fit into one second? Compare with your guess.
#
# Measured when this notebook was saved:
#
# Notes:
# Say: so the question of this notebook is how few evaluations will do.
# Ask: would a batch of 128 instead of 64 take twice as long? (On a CPU nearly so: the arithmetic rules. On a GPU hardly longer, a network this small leaves it idle.)
# Live: run the cell, it takes a few seconds; the number of evaluations in one second is today's budget. On two cores that do nothing else, 15 evaluations of DPM-Solver++ took <!--r:sampler_seconds.networks.mnist_unet.bf16.dpm.15|.2f-->0.48<!--/--> s on the faster of two machines, 0.92 s on the other; a much larger number here means that the machine is busy.
# -->

# %% tags=["slide-output"] slideshow={"slide_type": "-"}
model = load_model("mnist_unet").requires_grad_(False)
T, schedule = 1000, cosine(1000)
saved, pictures = load_results("samplers"), load_images("samplers")
images, _ = data.mnist(train=False)
bf16 = True  # compute in bfloat16, as for the saved figures of this notebook


def draw(rule, x_T, clip=1.0):  # its own seed: else the first fresh noise could be x_T again
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return last(reverse(model, schedule, rule, x_T=x_T, seed=1000, clip_x0=clip))


noise = torch.randn(64, 1, 28, 28, generator=torch.Generator().manual_seed(0))
tries = choose(8, 2)
start = time.perf_counter()
samples = draw(ddim(tries), noise)
each = (time.perf_counter() - start) / tries
show.table([[f"{1000 * each:.0f} ms", f"{int(1 / each)}", f"{1000 * each:.0f} s"]],
           ["one evaluation of 64 images", "evaluations in one second", "a thousand take"], "In bfloat16")

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
alt = "64 small pictures, drawn in eight evaluations: most are digits already, some are broken or blurred"
show.grid(samples, alt, columns=16, title="64 digits from eight evaluations: drawn while we measured")

# %% [markdown] exercise_text="5.1" slideshow={"slide_type": "slide"}
# Most of these digits can be read, and some are broken. In the rest of this notebook we try to do better than eight evaluations did, at a price not much higher.
#
# ## 2. One network, a family of walks
#
# Why may we change the walk without training again? Because the loss never saw the walk. It takes one level at a time, and asks for the noise in
# $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$. So the network only learns how noisy pictures are distributed at each level. These distributions are called the **marginals**.
#
# You have already written a step that goes from level $t$ to any lower level: `ddim_step` of notebook 02, with its knob `eta`. What does this knob do? Guess first.
#
# ### Exercise 5.1: what does eta change?
#
# Somebody tells us $x_0$ and $\epsilon$. From $t=600$ we take one step to level 400, with $\eta=0$, with $\eta=0.5$ and with $\eta=1$. What happens, as $\eta$ grows, to the standard
# deviation of $x$ at level 400, and to the correlation of this $x$ with the old noise $\epsilon$?
#
# - **a** both stay the same
# - **b** the standard deviation stays the same, the correlation falls
# - **c** the standard deviation rises: fresh noise comes on top
# - **d** both fall
#
# Write down a letter.
#
# Difficulty: ●●○○○ · 3 minutes
#
# <details><summary>Hint</summary>
#
# What does the network expect of a picture at level 400? And what has to give way if fresh noise comes in?
#
# </details>
#
# <!--slide 3 min
# ## Training fixed the marginals, not the way back
#
# $$x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\;\epsilon$$
#
# In words: a share of the picture plus a share of noise, at one level.
#
# - the loss looks at one level at a time: find $\epsilon$ in $x_t$
# - it never sees the chain of small steps that leads to $x_t$
# - so **every** walk back that keeps these marginals may use the same network
#
# **Your turn:** exercise 5.1. From level 600 to 400 with $\eta=0,\ 0.5,\ 1$: what happens to the standard deviation of $x$, and to its correlation with $\epsilon$?
#
# **a** both stay · **b** only the correlation falls · **c** the deviation rises · **d** both fall
#
# Notes:
# Say: all fast samplers rest on this. The network sees a picture and a level; it cannot know which walk led there.
# Ask: what would we have to train anew if we went from level 600 straight to level 400? (Nothing, as long as what we hand over at 400 is distributed as noised pictures are at 400.)
# Exercise: 3 minutes, a show of hands for a to d before the next cell runs.
# -->

# %% exercise="5.1" kind="predict" slideshow={"slide_type": "skip"}
# TODO 5.1: "a", "b", "c" or "d"
### BEGIN SOLUTION
guess = "b"
### END SOLUTION
check.predict("5.1", guess)

# %% slideshow={"slide_type": "skip"}
x0, spread, alike = torch.full((400_000,), 0.5), [], []
eps, fresh = torch.randn(2, len(x0), generator=torch.Generator().manual_seed(0))
a_next = schedule.alpha_bar[400]
rows = [["what level 400 asks for", f"{0.5 * a_next.sqrt():.3f}", f"{(1 - a_next).sqrt():.3f}", ""]]
for eta in (0.0, 0.5, 1.0):
    x = my.ddim_step(x0, eps, 600, 400, fresh, schedule, eta)
    spread.append(x.std())
    alike.append(torch.corrcoef(torch.stack([x, eps]))[0, 1])
    rows.append([f"eta = {eta}", f"{x.mean():.3f}", f"{x.std():.3f}", f"{alike[-1]:.2f}"])
show.table(rows, ["", "mean", "standard deviation", "correlation with the old noise"])
steady, apart = abs(spread[2] - spread[0]) < 0.01, alike[2] < alike[0] - 0.01
check.truth("5.1", "ab"[apart] if steady else "cd"[spread[2] < spread[0]])

# %% [markdown] exercise_text="5.2" slideshow={"slide_type": "slide"}
# For every $\eta$, mean and standard deviation are what level 400 asks for. Only the correlation with the old noise falls. Here is why.
#
# We stand at $x_t$, we know $x_0$ (for now), and we want to go to a lower level $s$. There the picture must be $\sqrt{\bar\alpha_s}\,x_0$ plus Gaussian noise of variance $1-\bar\alpha_s$.
# We can make that noise of two parts: some of the **old** noise $\epsilon$ that is already in $x_t$, and some **fresh** noise $z$ with variance $\sigma^2$:
# $$x_s=\sqrt{\bar\alpha_s}\;x_0+\sqrt{1-\bar\alpha_s-\sigma^2}\;\epsilon+\sigma z .$$
# In words: the signal of level $s$, plus some of the old noise, plus some fresh noise. Variances of independent noises add: $(1-\bar\alpha_s-\sigma^2)+\sigma^2=1-\bar\alpha_s$. So the total is right **for every $\sigma$** between 0 and $\sqrt{1-\bar\alpha_s}$.
#
# When we sample, the network's estimates $\hat x_0$ and $\hat\epsilon$ take the place of $x_0$ and $\epsilon$. Song, Meng and Ermon (2021) set $\sigma$ by a number $\eta$, where $\sigma^2$ is $\eta^2$ times your `posterior_variance`:
# $$\sigma^2=\eta^2\;\frac{1-\bar\alpha_s}{1-\bar\alpha_t}\left(1-\frac{\bar\alpha_t}{\bar\alpha_s}\right).$$
# With $\eta=0$ no fresh noise is drawn. This is DDIM, and the picture is a function of $x_T$. With $\eta=1$ and $s=t-1$ it is exactly the ancestral step, as notebook 02 showed. We also call it **ancestral**
# when $s$ lies further down and the walk has fewer than 1,000 steps.
#
# We can go further than $\eta=1$. With $\sigma^2=1-\bar\alpha_s$ each step throws the old noise away and draws all of it anew. If we knew $x_0$, the marginal would still be right. But all that the step has is the estimate. What will the digits look like?
#
# ### Exercise 5.2: all noise fresh
#
# `all_fresh` below is a DDIM step: all its noise is old. Change one thing, so that *all* noise at `t_next` is fresh. Then set `why` to the letter that says what 20 such steps draw, and why:
#
# - **a** pictures with noise in them: what is drawn last is never taken away
# - **b** plain digits, and other ones than DDIM draws from the same $x_T$: each step starts from the estimate alone, so the walk settles on a picture late
# - **c** the same digits as DDIM, because the marginals are the same
#
# Difficulty: ●●○○○ · 6 minutes
#
# <details><summary>Hint</summary>
#
# The line hands the old noise to a step that keeps all of it. Which other noise is there to hand over? And at the end of the walk, at `t_next = 0`: how much noise is put in there?
#
# </details>
#
# The pictures below have one starting noise a column, and 20 steps. From row to row more of the noise is fresh. The last row is yours.
#
# <!--slide 5 min
# ## Old noise plus fresh noise: for the true $x_0$ the variance is right for every $\sigma$
#
# $$x_s=\sqrt{\bar\alpha_s}\;x_0+\underbrace{\sqrt{1-\bar\alpha_s-\sigma^2}\;\epsilon}_{\text{old noise, kept}}+\underbrace{\sigma z}_{\text{fresh}}$$
#
# In words: the signal of level $s$, plus some of the old noise, plus some fresh noise.
#
# - variances of independent noises add: $(1-\bar\alpha_s-\sigma^2)+\sigma^2=1-\bar\alpha_s$
# - $\eta=0$, $\sigma=0$: DDIM, to any lower level $s$, no fresh noise
# - $\eta=1$: the ancestral step; exactly so for $s=t-1$, and for fewer levels with a lower $s$
#
# **Your turn:** exercise 5.2, `all_fresh`. Take $\sigma^2=1-\bar\alpha_s$: *all* noise fresh. What do 20 such steps draw?
#
# **a** pictures with noise in them · **b** plain digits, other ones than DDIM · **c** the digits of DDIM
#
# Notes:
# Say: the picture at level s needs a given amount of noise. We choose how much of it is kept and how much is drawn anew.
# Ask: which values may sigma take? (From 0 to the root of 1 minus alpha_bar at s; beyond that the kept share would need a negative variance.)
# Ask: with eta = 0, what does the final picture depend on? (On x_T alone. DDIM is a function of the starting noise; sections 7 to 9 live on this.)
# Exercise: 6 minutes. Common mistake: eta = 1, which keeps a part of the old noise.
# -->
# <!--slide 3 min
# ## Fresh noise on the way changes which digits come
#
# Frechet distance at 10 steps, five seeds: <!--r:samplers.quality.ddim.10.distance.mean|.1f-->11.8<!--/--> ± <!--r:samplers.quality.ddim.10.distance.std|.1f-->1.0<!--/--> for $\eta=0$, <!--r:samplers.quality.ancestral.10.distance.mean|.1f-->12.0<!--/--> ± <!--r:samplers.quality.ancestral.10.distance.std|.1f-->1.9<!--/--> for $\eta=1$: no clear winner.
#
# Notes:
# Say: one starting noise a column, 20 steps. Fresh noise must be taken away again by the steps that follow, which speaks against it; it also washes out errors that the walk has collected, which speaks for it.
# Say: last row, all noise fresh: clean, plain digits, and too many ones. Easy to read is not the same as like the data.
# Ask: "DDIM is better at few steps" is often read. Does this course's measurement bear it out? (No. At 10 steps the distances agree within the scatter of five seeds, and more of the digits drawn with eta = 1 are read with confidence.)
# Have run: the cell is quick. The curves over eta stand below it in the notebook, and the walks in one dimension.
# Answers 5.2.
# -->

# %% exercise="5.2" kind="break" slideshow={"slide_type": "skip"}
def all_fresh(x0, eps, t, t_next, noise, schedule):
    """x at level t_next; x0, eps: (B, ..) estimates at level t; noise: (B, ..), standard normal."""
    # TODO 5.2: change one thing, so that all noise at t_next is fresh
    ### BEGIN SOLUTION
    # given: return my.ddim_step(x0, eps, t, t_next, noise, schedule)
    return my.ddim_step(x0, noise, t, t_next, noise, schedule)
    ### END SOLUTION


why = "b"  # "a", "b" or "c"
all_fresh = check.changed("5.2", all_fresh, why)

# %% slideshow={"slide_type": "skip"}
def by(step, levels):
    """A rule for `reverse`: a step of yours, at these levels."""

    def move(schedule, x, t, t_next, eps, x0, fresh, before):
        return step(x0, eps, t, t_next, fresh(), schedule)

    return Rule(step.__name__, lambda T: levels, move)


def with_eta(eta):
    def step(x0, eps, t, t_next, noise, schedule):
        return my.ddim_step(x0, eps, t, t_next, noise, schedule, eta)

    return step


def one_level(x0, eps, t, t_next, noise, schedule):  # for section 3: down by one level, whatever comes next
    return my.ancestral_step(x0, eps, t, t - 1, noise, schedule)

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
etas = choose((0.0, 0.25, 0.5, 0.75, 1.0), (0.0, 1.0))
twenty = my.ddim_levels(T, choose(20, 3))
steps = {f"eta = {eta}": with_eta(eta) for eta in etas} | {"all fresh": all_fresh}
rows = {name: draw(by(step, twenty), noise[8:16]) for name, step in steps.items()}
alt = "Eight samples a row from the same eight noises, eta rising from 0 to 1 from row to row, all noise "
alt += "fresh in the last: neighbouring rows share digits, the first and the last differ in most"
show.rows(rows, alt, title="The same starting noises, 20 steps: more fresh noise from row to row")

rows = []
for name in ("eta = 0.0", "eta = 1.0", "all fresh"):
    x = draw(by(steps[name], twenty), noise)
    sure, ones = round(64 * metrics.confident_share(x)), round(64 * float(metrics.class_shares(x)[1]))
    rows.append([name, sure, 64 - sure, ones, f"{torch.pdist(x.flatten(1)).mean() / 28:.2f}"])
header = ["", "read with confidence", "not", "ones among them", "difference between two samples"]
show.table(rows, header, "64 samples, 20 steps")

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
real_scores = {"distance": saved["floor"]["mean"], "confident": saved["real"]["confident"]}
titles = {"distance": "Frechet distance (lower is better)", "confident": "share read with confidence"}


def draw_scores(ax, scores, key, shift=0.0, **style):
    """Mean and spread of a score over the keys of `scores` (steps, or eta)."""
    means, bars = [s[key]["mean"] for s in scores.values()], [s[key]["std"] or 0 for s in scores.values()]
    ax.errorbar([float(at) + shift for at in scores], means, bars, marker="o", capsize=4, **style)


fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.6))
for ax, key in zip(axes, titles, strict=True):
    for count, colour, shift in (("10", show.COLOURS[4], -0.01), ("20", show.COLOURS[7], 0.01)):
        scores = {eta: row[count] for eta, row in saved["eta"].items()}
        draw_scores(ax, scores, key, shift, color=colour, label=f"{count} steps")
    ax.axhline(real_scores[key], color=show.COLOUR["floor"], linestyle="--", label="real pictures")
    ax.set(xlabel="$\\eta$", title=titles[key], xticks=[0, 0.5, 1])
axes[1].legend(loc=(0.25, 0.54))
show.figure(fig, "Two panels over eta, 10 and 20 steps, mean and spread of seeds; real pictures dashed")

# %% [markdown] slideshow={"slide_type": "skip"}
# The share that our judge reads with confidence rises with $\eta$, at 10 steps and at 20. The distance singles out no winner. At 10 steps five seeds give <!--r:samplers.quality.ddim.10.distance.mean|.1f-->11.8<!--/--> ± <!--r:samplers.quality.ddim.10.distance.std|.1f-->1.0<!--/--> for $\eta=0$ and <!--r:samplers.quality.ancestral.10.distance.mean|.1f-->12.0<!--/--> ± <!--r:samplers.quality.ancestral.10.distance.std|.1f-->1.9<!--/--> for $\eta=1$.
#
# Now look again at the row where *all* noise is fresh. Its digits are the easiest to read, but most are not the digits of the first row. At each level, what $x_t$ knows
# about the picture to come sits in two places: in the estimate of $x_0$ and in the old noise. If we throw the old noise away, each step starts from the estimate alone, and at high noise this estimate is a blurred average. So the walk settles late, and on a plain
# digit: the samples differ less from each other, and more of them are ones. And more steps do not mend it. An average varies less than what it is the average of, so what each step hands on is spread too little. (With the exact estimates of the next example and 1,000 steps, a bump of width 0.1 comes out 0.07 wide; with $\eta=1$ it is right, because there the fresh noise shrinks with the step.)
#
# ### One start, many paths
#
# We cannot draw a path in 784 dimensions. In one dimension we can, and we need no network: if the data are two bumps, at $-0.7$ and $0.7$, the best estimates have a formula. We start walks from three places, eight from each. Which of them stay together?

# %% slideshow={"slide_type": "skip"}
def exact(x, t):
    """The best x_0 and eps for numbers x at level t, if the data are 0.7 or -0.7, give or take 0.1."""
    a, centres = schedule.alpha_bar[t], torch.tensor([[-0.7], [0.7]])
    var = a * 0.1**2 + 1 - a  # of x at level t, around either centre
    off = x - a.sqrt() * centres
    share = torch.softmax(-(off**2) / (2 * var), dim=0)  # how likely is each bump?
    x0 = (share * (centres + a.sqrt() * 0.1**2 / var * off)).sum(0)
    return x0, (x - a.sqrt() * x0) / (1 - a).sqrt()


def walk_numbers(x, eta, levels, g):
    path = [x]
    for t, t_next in zip(levels, levels[1:], strict=False):
        x = my.ddim_step(*exact(x, t), t, t_next, torch.randn(x.shape, generator=g), schedule, eta)
        path.append(x)
    return torch.stack(path)

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.8), sharey=True)
levels, g = [*my.ddim_levels(T, 100), 0], torch.Generator().manual_seed(0)
fans = {0.0: "$\\eta=0$: one path from each start", 1.0: "$\\eta=1$: a fan from each start"}
for ax, (eta, title), name in zip(axes, fans.items(), ("ddim", "ancestral"), strict=True):
    for start in (-1.2, 0.3, 1.5):
        paths = walk_numbers(torch.full((8,), start), eta, levels, g)
        ax.plot(levels, paths, color=show.COLOUR[name], linewidth=1, alpha=0.7)
        ax.plot(T, start, "o", color="black", clip_on=False)
    ends = walk_numbers(torch.randn(4000, generator=g), eta, levels, g)[-1]
    up = ends > 0
    print(f"eta {eta:.0f}: {up.float().mean():.0%} of 4,000 walks end near 0.7, spread {ends[up].std():.3f}")
    ax.set(xlim=(T, 0), xlabel="noise level $t$ (the walk runs to the right)", title=title)
axes[0].set_ylabel("$x_t$, a single number")
alt = "Walks of a single number. Left, eta 0: three smooth curves, one from each start. "
show.figure(fig, alt + "Right, eta 1: jagged paths that spread at once and gather in two bunches at the end.")

# %% [markdown] slideshow={"slide_type": "slide"}
# On the left we see only three curves, because the eight walks of one start lie on top of each other. Each is a smooth curve, the solution of an ordinary differential equation (**ODE**). On the right the start is forgotten after a few steps, and the end depends on the noise drawn on the way.
# This is what a stochastic differential equation (**SDE**) looks like. Yet the two printed lines agree: half of the walks end in each bump, and both spreads come near the 0.1 of the data (with $\eta=1$ a little less so, in 100 steps). So the two kinds of walk have the same marginals, and different paths.
#
# ## 3. Skipping, naively and properly
#
# What happens if we keep the one-level step and just leave levels out? We ask at 1000, 980, 960, ... and each time make the step that is meant for 1000 to 999. DDIM visits *the same* levels, but each of its steps goes all the way to the next one. Network, cost and starting noises are the same for both. The table below the pictures has the distances of <!--r:samplers.scoring.samples|,d-->1,000<!--/--> samples, one seed.
#
# <!--slide 3 min
# ## A step may take away only the noise of its own levels
#
# Naive: ask at every $k$-th level, but make the step from $t$ to $t-1$. Same network, same levels, same cost.
#
# Notes:
# Say: the naive walk removes one level's noise and then claims that k levels' are gone. From there on the network is asked about a level that x is not at.
# Ask: the naive walk fails even at every 10th level. Why is it not just a bit noisy? (After the first step x is nine levels noisier than the network is told, after the second eighteen; the gap only grows.)
# Have run: the cell draws for some seconds. Its table has distances: above 500 for the naive rows, about 11 to 13 for DDIM.
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
skips, rows = choose((10, 20, 50), (250, 500)), {}
for label, step in (("naive", one_level), ("DDIM", my.ddim_step)):
    for k in skips:
        rows[f"{label}, every {k}"] = draw(by(step, list(range(T, 0, -k))), noise[16:24])
alt = "Six rows of eight images. Naive skipping leaves noise in all three of its rows; DDIM draws digits in "
show.rows(rows, alt + "all three.", title="The same levels: naive steps, then DDIM steps")
table = []
for k in (10, 20, 50):
    scores = [saved["naive"][str(k)]]
    scores += [saved["quality"][key].get(str(T // k)) for key in ("ddim", "ancestral")]
    scores = [f"{row['distance']['values'][0]:.1f}" if row else "not measured" for row in scores]
    table.append([f"every {k}", T // k, *scores])
show.table(table, ["levels", "steps", "naive", "DDIM", "ancestral"], "Frechet distance, one seed")

# %% [markdown] exercise_text="5.3" slideshow={"slide_type": "slide"}
# The naive step takes away one level's noise, and then we claim that the noise of $k$ levels is gone. From there on the network is asked about a level that $x$ has not reached. (On the web page of the course you can watch naive steps fail on points.)
#
# <!--live:points {"data": "moons", "sampler": "naive", "steps": "20", "autoplay": "no"}-->
#
# ## 4. Which levels? And is the top noise?
#
# A walk of $S$ steps has to choose $S$ of the levels $1,\dots,T$. It ends at level 0, where nothing is asked. Three choices, called **spacings**, are in use (Lin et al. 2023, table 2). You wrote the first of them in notebook 04:
#
# | spacing | levels, $i=0,\dots,S-1$ | T = 1000, S = 5 |
# |---|---|---|
# | trailing | $\mathrm{round}(T-i\,T/S)$ | 1000, 800, 600, 400, 200 |
# | linspace | $1+\mathrm{round}\big((T-1)(1-i/(S-1))\big)$ | 1000, 750, 501, 251, 1 |
# | leading | $1+(S-1-i)\,\lfloor T/S\rfloor$ | 801, 601, 401, 201, 1 |
#
# *Leading* counts "every $k$-th level" from level 1 upwards, as many programs do. Whatever its first level is, every walk starts from pure noise.
#
# ### Exercise 5.3: which spacing is too bright?
#
# We walk with DDIM in ten steps, with each of the three spacings. One of them draws digits that are too *bright*, because it hands the network pure noise and says that there is signal in it. Which one (**a** trailing, **b** linspace, **c** leading)? And by how much is its mean brightness
# above that of real digits, which is <!--r:samplers.real.brightness|.2f-->-0.74<!--/-->? (Black is -1, white is 1.) Write a letter and a number, as in `guess = "a", 0.5`.
#
# Difficulty: ●●○○○ · 3 minutes
#
# <details><summary>Hint</summary>
#
# What mean has pure noise? And what mean should the picture have at the level that the network is told, when a trace of a dark digit is left in it? (For scale: at level 901, $\sqrt{\bar\alpha}$ is about 0.15. The network corrects a part on the way down, so guess less than the whole trace.)
#
# </details>
#
# <!--slide 2 min
# ## Three spacings, one pure noise to start from
#
# | spacing | $T=1000$, $S=5$ |
# |---|---|
# | trailing | 1000, 800, 600, 400, 200 |
# | linspace | 1000, 750, 501, 251, 1 |
# | leading | 801, 601, 401, 201, 1 |
#
# - every walk starts from pure noise, whatever its first level is called
# - linspace and leading spend their last evaluation at level 1, where hardly anything is left to do
# - leading counts "every $k$-th level" from level 1 upwards, as many programs do
#
# **Your turn:** exercise 5.3. One of the three draws digits that are too bright. Which, and by how much? Real digits have a mean of <!--r:samplers.real.brightness|.2f-->-0.74<!--/-->; black is $-1$ and white is 1.
#
# Notes:
# Say: leading is what you get if you count "every k-th level" from level 1 upwards. Linspace, like leading, spends its last evaluation at level 1, where there is hardly anything left to do.
# Ask: what does a walk of 10 leading steps start from? (From pure noise, which belongs to 1000. The network is told 901.)
# Exercise: 3 minutes, a show of hands; the table is on the next slide.
# -->

# %% exercise="5.3" kind="predict" slideshow={"slide_type": "skip"}
# TODO 5.3: "a", "b" or "c", and a number
### BEGIN SOLUTION
guess = "c", 0.06
### END SOLUTION
check.predict("5.3", guess)

# %% slideshow={"slide_type": "skip"}
def spaced_levels(T, steps, spacing):
    """`steps` of the levels 1 .. T, falling; spacing: "trailing", "linspace" or "leading"."""
    if spacing == "trailing":
        return my.ddim_levels(T, steps)
    if spacing == "linspace":
        return [1 + round((T - 1) * (1 - i / (steps - 1))) for i in range(steps)]
    return [1 + i * (T // steps) for i in reversed(range(steps))]

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
spacings, rows, real = ("trailing", "linspace", "leading"), [], saved["real"]["brightness"]
for spacing in spacings:
    row = [spacing, spaced_levels(1000, 10, spacing)[0]]
    for count in ("10", "20"):
        found = saved["spacing"][spacing][count]
        row += [f"{found['distance']['mean']:.1f}", f"{found['brightness']['mean']:.2f}"]
    rows.append(row)
reals = [f"{real_scores['distance']:.1f}", f"{real:.2f}"]
rows.append(["real digits", "", *reals, *reals])
header = ["spacing", "first level of 10", "distance, 10 steps", "brightness", "distance, 20", "brightness"]
show.table(rows, header, f"{saved['scoring']['samples']:,} DDIM samples, one seed")
above = [saved["spacing"][spacing]["10"]["brightness"]["mean"] - real for spacing in spacings]
check.truth("5.3", ("abc"[above.index(max(above))], round(max(above), 2)))

# %% [markdown] slideshow={"slide_type": "slide"}
# Leading has the largest distance of the three, and its digits are too bright. At level 901 there should be a faint trace of a dark digit, which pulls the mean below 0. We hand over pure noise, with mean 0. To the network this looks like the trace of a brighter picture.
#
# The same can go wrong in the schedule, and then no spacing repairs it: **the top itself may not be noise**. If betas up to 0.02 run over only $T=300$ levels, they end at $\sqrt{\bar\alpha_T}=0.22$. So the
# network learns that $x_{300}$ still carries a trace of the picture. Noise hides the picture's **mean brightness** least, because the noise of many pixels averages out. Sampling starts from noise with mean 0, and again this looks like the trace of a picture that is too bright.
#
# There are two repairs. Lin et al. (2023) shift and stretch $\sqrt{\bar\alpha_t}$ so that it ends at exactly 0, which is called **zero terminal SNR**. (The network then has to predict $v$: at the top $x_T$ is all noise, and $\epsilon$ would say nothing about $x_0$.) The other repair scales the betas by $1000/T$,
# as `linear(300)` does.
#
# Does the flaw show, and do the repairs help? We trained three networks alike, one for each schedule, on the 8x8 digits of notebook 03: a small U-Net, <!--r:samplers.short_recipe.steps|,d-->1,500<!--/--> steps of batch 64. Each point of the figure is a mean over five seeds of sampling (the ancestral walk has one). Real digits of this kind have a mean brightness of <!--r:samplers.short_recipe.brightness|.2f-->-0.39<!--/-->.
#
# <!--slide 2 min
# ## Starting too low costs quality, and makes digits too bright
#
# Frechet distance and mean brightness of <!--r:samplers.scoring.samples|,d-->1,000<!--/--> DDIM samples, one seed:
#
# <table>
# <tr><th></th><th colspan="2">10 steps</th><th colspan="2">20 steps</th></tr>
# <tr><th></th><th>distance</th><th>brightness</th><th>distance</th><th>brightness</th></tr>
# <tr><td>leading</td><td><!--r:samplers.spacing.leading.10.distance.mean|.1f-->40.2<!--/--></td><td><!--r:samplers.spacing.leading.10.brightness.mean|.2f-->-0.68<!--/--></td><td><!--r:samplers.spacing.leading.20.distance.mean|.1f-->14.6<!--/--></td><td><!--r:samplers.spacing.leading.20.brightness.mean|.2f-->-0.71<!--/--></td></tr>
# <tr><td>linspace</td><td><!--r:samplers.spacing.linspace.10.distance.mean|.1f-->13.3<!--/--></td><td><!--r:samplers.spacing.linspace.10.brightness.mean|.2f-->-0.76<!--/--></td><td><!--r:samplers.spacing.linspace.20.distance.mean|.1f-->8.3<!--/--></td><td><!--r:samplers.spacing.linspace.20.brightness.mean|.2f-->-0.75<!--/--></td></tr>
# <tr><td>trailing</td><td><!--r:samplers.spacing.trailing.10.distance.mean|.1f-->12.3<!--/--></td><td><!--r:samplers.spacing.trailing.10.brightness.mean|.2f-->-0.76<!--/--></td><td><!--r:samplers.spacing.trailing.20.distance.mean|.1f-->8.3<!--/--></td><td><!--r:samplers.spacing.trailing.20.brightness.mean|.2f-->-0.75<!--/--></td></tr>
# <tr><td>real images</td><td><!--r:samplers.floor.mean|.1f-->3.0<!--/--></td><td><!--r:samplers.real.brightness|.2f-->-0.74<!--/--></td><td></td><td></td></tr>
# </table>
#
# - below the top, a trace of a **dark** picture should have pulled the mean below 0
# - pure noise has mean 0: the network takes it for a brighter picture
#
# **Look** from left to right: with 20 steps leading is less wrong. Why?
#
# Notes:
# Say: two errors at once, the wrong level and, from it, a wrong mean. The distances are for one seed.
# Ask: why does the gap shrink with 20 steps? (Leading then starts at 951 instead of 901, nearer to the top.)
# Answers 5.3.
# -->
# <!--slide 4 min
# ## A top that is not noise pushes towards bright as well
#
# Not rescaled: betas up to 0.02 over only 300 levels end at $\sqrt{\bar\alpha_T}\approx 0.22$, not at 0.
#
# Notes:
# Say: three networks on small digits, trained alike, one for each schedule. Brown, the schedule that is not rescaled, is too bright whenever DDIM starts from pure noise. Lowest row: started from a true x_T, a training picture noised to the top, it is right again. Nothing is wrong with the network. We start it from an input that it never saw in training.
# Ask: leading starts too low, this schedule ends too low. Can the two flaws cancel? (No, both hand over noise and call it signal, and digits are dark: both push towards bright.)
# Ask: does the right panel show the flaw? (No. The rescaled schedule, a repair, even has the largest distance. There is one training a schedule, so we cannot say whether the schedule or chance did that.)
# Have run: three short trainings stand behind this figure; the notebook shows their results.
# -->

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
low, rows, flawed = spaced_levels(300, 30, "leading")[0], [], linear(300, rescale=False)
repaired = {"zero terminal SNR": zero_terminal_snr(flawed), "rescaled": linear(300)}
for name, s in {"not rescaled": flawed, **repaired}.items():
    root = s.alpha_bar.sqrt()
    rows.append([name, f"{root[low]:.3f}", f"{root[300]:.3f}"])
header = ["schedule, T = 300", f"at t = {low}", "at the top, t = 300"]
show.table(rows, header, "How much of the picture is left: √ᾱ")

kinds = {"uncorrected": "not rescaled", "zero_terminal": "zero terminal SNR", "rescaled": "rescaled"}
colours = show.COLOUR["other"], show.COLOURS[3], show.COLOUR["linear"]
walks = {"trailing-30": "DDIM trailing, from 300", "leading-30": "DDIM leading, from 291"}
walks |= {"linspace-30": "DDIM linspace, from 300", "ancestral": "ancestral, 300 steps"}
walks |= {"true_start-30": "DDIM trailing, true $x_T$"}
labels = {"brightness": "mean brightness", "distance": "Frechet distance"}

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 4.2), sharey=True)
for ax, key in zip(axes, labels, strict=True):
    for i, kind in enumerate(kinds):
        rows = [saved["short"][kind]["walks"][walk][key] for walk in walks]
        means, bars = [row["mean"] for row in rows], [row["std"] or 0 for row in rows]
        places, colour = [j + 0.25 * (i - 1) for j in range(5)], colours[i]
        ax.errorbar(means, places, xerr=bars, fmt="o", capsize=3, color=colour, label=kinds[kind])
    real = saved["short_recipe"]["brightness" if key == "brightness" else "floor"]
    ax.axvline(real, color=show.COLOUR["floor"], linestyle="--", label="real digits")
    ax.set(xlabel=labels[key], ylim=(4.6, -0.6), xmargin=0.08)
axes[0].set_yticks(range(5), list(walks.values()))
axes[0].locator_params(axis="x", nbins=5)
fig.legend(*axes[0].get_legend_handles_labels(), ncols=4, loc="outside lower center", fontsize=11)
alt = "Mean brightness and Frechet distance of samples of three networks, by the walk. With DDIM from pure "
show.figure(fig, alt + "noise the one without rescaled betas is brightest; no distance shows it.")

# %% [markdown] slideshow={"slide_type": "skip"}
# Look at the left panel. From pure noise the network without repair draws pictures of mean <!--r:samplers.short.uncorrected.walks.trailing-30.brightness.mean|.3f-->-0.374<!--/-->, and its seeds scatter by <!--r:samplers.short.uncorrected.walks.trailing-30.brightness.std|.3f-->0.003<!--/-->. That is too bright. The last row shows the cause. There the same network starts from a *true* $x_T$, a training picture noised to the top, with the same levels and steps, and the brightness is right again. Nothing is wrong with the network. We start it from an input that it never saw in training.
# The ancestral walk is not off either: it soon replaces the noise it started from.
#
# The right panel does not show the flaw. The rescaled schedule even has the largest distance, <!--r:samplers.short.rescaled.walks.trailing-30.distance.mean|.1f-->9.5<!--/--> where the schedule without repair has <!--r:samplers.short.uncorrected.walks.trailing-30.distance.mean|.1f-->6.4<!--/-->. There is one training for each schedule, so this may be luck, and the schedules also place their levels differently. What we can say is that both repairs bring the brightness of DDIM nearer to that of real digits.
#
# Why is the flaw so small? At the top the trace of a digit has a mean of about $0.22\cdot(-0.39)\approx-0.09$, while the mean of 64 pixels of pure noise scatters by $1/\sqrt{64}\approx 0.13$. So the network cannot rely on it much. At $28\times28$ pixels the noise scatters by 0.04 only, and in a photograph by much less. There the network can rely on it.
#
# **Question.** Leading starts too low, the uncorrected schedule ends too low. In which direction does each push the brightness, and can they cancel?
#
# <details><summary>Answer</summary>
#
# Both hand the network pure noise and tell it that some of a picture is left. Digits are dark, with a mean well below 0. Noise has mean 0, which is brighter than the trace of a dark picture. Both push towards bright, so they cannot cancel. The textbook lab that notebook 07 starts from has both.
#
# </details>
#
# ## 5. Second order: DPM-Solver++(2M)
#
# Can a walk be more precise with the same number of evaluations? We saw that it follows a smooth curve when there is no fresh noise. How does DDIM follow it? Write down the DDIM step and where it started, and divide each by the standard deviation of its noise. With $\sigma_t=\sqrt{1-\bar\alpha_t}$ and $\lambda_t=\log\big(\sqrt{\bar\alpha_t}/\sigma_t\big)$, half the logarithm of the
# signal-to-noise ratio, we have
# $$\frac{x_s}{\sigma_s}=e^{\lambda_s}\,\hat x_0+\hat\epsilon,\qquad \frac{x_t}{\sigma_t}=e^{\lambda_t}\,\hat x_0+\hat\epsilon
# \qquad\Longrightarrow\qquad \frac{x_s}{\sigma_s}-\frac{x_t}{\sigma_t}=\left(e^{\lambda_s}-e^{\lambda_t}\right)\hat x_0 .$$
# In words: in one step $x/\sigma$ changes by $\hat x_0$ times the growth of $e^\lambda$. If we make the steps smaller and smaller, $\hat x_0$ changes from one to the next, and the sum over them becomes an integral, $\int_{\lambda_t}^{\lambda_s}e^{\lambda}\,\hat x_0(\lambda)\,d\lambda$. DDIM takes a single value for the whole step, the one at its *start*.
#
# A better single value would be the one in the **middle** of the step, half-way in $\lambda$. Call it $D$. We cannot ask the network there, because we have no picture at that level yet. How could we guess it from what we already know?

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
def draw_ddim(ax):
    angles = torch.linspace(math.radians(65), math.radians(28), 50)
    ax.plot(angles.cos(), angles.sin(), color=show.COLOUR["ddim"], linewidth=4)
    for name, angle in (("$x_t$", angles[0]), ("$x_s$", angles[-1])):
        x, y = float(angle.cos()), float(angle.sin())
        ax.plot([0, x, x], [y, y, 0], color="black", linewidth=1.5, linestyle=":")
        ax.plot(x, y, "o", color="black")
        ax.annotate(name, (x + 0.03, y + 0.03), fontsize=15)
    ax.set(xlim=(0, 1.15), ylim=(0, 1.15), aspect="equal", title="DDIM mixes its two estimates anew")
    ax.set_xlabel("$\\sqrt{\\bar\\alpha}$, the share of $\\hat x_0$")
    ax.set_ylabel("$\\sqrt{1-\\bar\\alpha}$, the share of $\\hat\\epsilon$")


lam = torch.linspace(-1.4, 1.5, 100)
heights = 0.9 * torch.sigmoid(1.3 * torch.tensor([-1.0, 0.0]))
middle = heights[1] + 0.5 * (heights[1] - heights[0])  # half the old stride further along the line

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
fig, (left, right) = plt.subplots(1, 2, figsize=(show.WIDTH, 4.2))
draw_ddim(left)
right.axvspan(0, 1, color="0.93")
right.plot(lam, 0.9 * torch.sigmoid(1.3 * lam), color=show.COLOUR["exact"], label="$\\hat x_0$ on the way")
right.plot([-1, 0.5], [heights[0], middle], ":", linewidth=2, color=show.COLOUR["dpm"])
right.hlines(heights[1], 0, 1, color=show.COLOUR["ddim"], linewidth=4, label="what DDIM takes")
right.hlines(middle, 0, 1, color=show.COLOUR["dpm"], linewidth=4, label="$D$, half a step ahead")
right.plot([-1, 0], heights, "o", color="black", markersize=8, label="what we have asked")
right.set_xticks([-1, 0, 0.5, 1], ["the step\nbefore", "$\\lambda_t$", "middle", "$\\lambda_s$"])
right.set(yticks=[], ylim=(-0.3, 0.9), xlabel="$\\lambda$", ylabel="one pixel of $\\hat x_0$")
right.set_title("DPM-Solver++ looks half a step ahead")
right.legend(loc="lower right", fontsize=11)
alt = "Left: a DDIM step, an arc from x_t, mostly noise, to x_s, mostly picture. Right: DDIM "
show.figure(fig, alt + "takes a curve where the step starts, a line through two dots leads to the middle.")

# %% [markdown] exercise_text="5.4" slideshow={"slide_type": "slide"}
# The left drawing shows one DDIM step. The step keeps $\hat x_0$ and $\hat\epsilon$ and only mixes them in other shares. The squares of the two shares add up to 1, so the way is an arc of a circle.
#
# The right drawing shows the idea of Lu et al. (2022). While the walk crosses the grey step, the estimate moves along the green curve, which we do not know ahead. DDIM stays at the height of the last dot. But we remember the dot of the step before. Two dots make a straight
# line over $\lambda$, and if we follow it half a step further we are near the curve in the middle of the step. This costs no further evaluation.
#
# Using $D$ in the integral comes to a DDIM step with the same $\hat\epsilon$ but another picture in place of $\hat x_0$, namely $\hat x_0+(1-e^{-h})\,(D-\hat x_0)$, where $h=\lambda_s-\lambda_t$. The fold has the proof.
#
# <details><summary>Why using D is a DDIM step</summary>
#
# Solve the difference above for $x_s$, with $D$ in place of the $\hat x_0$ on its right-hand side:
#
# $$x_s=\frac{\sigma_s}{\sigma_t}x_t+\sigma_s\left(e^{\lambda_s}-e^{\lambda_t}\right)D .$$
#
# Put in $x_t/\sigma_t=e^{\lambda_t}\hat x_0+\hat\epsilon$:
#
# $$x_s=\sigma_s e^{\lambda_t}\,\hat x_0+\sigma_s\,\hat\epsilon+\sigma_s\left(e^{\lambda_s}-e^{\lambda_t}\right)D .$$
#
# By the meaning of $\lambda$ we have $\sigma_s e^{\lambda_s}=\sqrt{\bar\alpha_s}$, and so $\sigma_s e^{\lambda_t}=\sqrt{\bar\alpha_s}\,e^{-h}$. Therefore
#
# $$x_s=\sqrt{\bar\alpha_s}\left(e^{-h}\,\hat x_0+(1-e^{-h})\,D\right)+\sigma_s\,\hat\epsilon
# =\sqrt{\bar\alpha_s}\left(\hat x_0+(1-e^{-h})(D-\hat x_0)\right)+\sqrt{1-\bar\alpha_s}\;\hat\epsilon ,$$
#
# the DDIM step with that picture in place of $\hat x_0$.
#
# </details>
#
# ### Exercise 5.4: a step of second order
#
# Write `dpm_step`, which finds $D$ and then makes that step. `before` is `None` at the first step, then `(t_before, x0_before)`. Two steps are plain DDIM steps: the first, which has nothing to look back on, and the last, to level 0, where $\lambda$ is infinite.
#
# Difficulty: ●●●○○ · 15 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# `schedule.snr` holds $\bar\alpha_t/(1-\bar\alpha_t)$ of every level; $\lambda$ follows from it. You need two strides in $\lambda$: that of the step before and that of this step, $h$. By how much does $\hat x_0$ change for each unit of $\lambda$ along the line?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `lam = 0.5 * schedule.snr.log()`. The line rises by `x0 - before[1]` over the old stride, `lam[t] - lam[before[0]]`; from `x0` on, follow it over half of `lam[t_next] - lam[t]`. All that belongs under `if before is not None and t_next > 0`. The last line is `my.ddim_step`.
#
# </details>
#
# <!--slide 3 min
# ## DDIM holds the estimate still during a step
#
# With $\sigma_t=\sqrt{1-\bar\alpha_t}$ and $\lambda_t=\log\big(\sqrt{\bar\alpha_t}/\sigma_t\big)$, divide both ends of a DDIM step by their $\sigma$:
#
# $$\frac{x_s}{\sigma_s}=e^{\lambda_s}\,\hat x_0+\hat\epsilon,\qquad \frac{x_t}{\sigma_t}=e^{\lambda_t}\,\hat x_0+\hat\epsilon$$
#
# Subtract, and let the steps become small:
#
# $$\frac{x_s}{\sigma_s}-\frac{x_t}{\sigma_t}=\left(e^{\lambda_s}-e^{\lambda_t}\right)\hat x_0\;\approx\;\int_{\lambda_t}^{\lambda_s}e^{\lambda}\,\hat x_0(\lambda)\,d\lambda$$
#
# - DDIM: $\hat x_0$ pulled out of the integral, at its value at the **start** of the step
# - better: $D$, its value in the **middle**, on a line through this estimate and the last
# - using $D$: a DDIM step towards $\hat x_0+(1-e^{-h})(D-\hat x_0)$, with $h=\lambda_s-\lambda_t$
#
# **Your turn:** exercise 5.4 `dpm_step(x0, eps, t, t_next, noise, schedule, before=None)`
#
# Notes:
# Say: lambda is half the logarithm of the signal-to-noise ratio. In this variable the walk is an integral, and DDIM is the crudest rule for it: it integrates the exponential exactly and holds the estimate at its value at the left edge. The notebook has a drawing.
# Ask: which rule for integrals takes the height in the middle, and what does it gain? (The midpoint rule: an error of second order instead of first.)
# Exercise: 15 minutes. Common mistakes: following the line to the end of the step, and forgetting that the last step has an infinite lambda.
# -->

# %% exercise="5.4" slideshow={"slide_type": "skip"}
def dpm_step(x0, eps, t, t_next, noise, schedule, before=None):
    """x at level t_next; x0, eps: (B, ..) estimates at level t; before: (t, x0) one step ago, or None."""
    # TODO 5.4: the estimate from half-way the step, then a DDIM step with it
    ### BEGIN SOLUTION
    if before is not None and t_next > 0:
        lam = 0.5 * schedule.snr.log()
        h, h_before = lam[t_next] - lam[t], lam[t] - lam[before[0]]
        middle = x0 + (x0 - before[1]) * h / (2 * h_before)
        x0 = x0 + (1 - torch.exp(-h)) * (middle - x0)
    return my.ddim_step(x0, eps, t, t_next, noise, schedule)
    ### END SOLUTION


dpm_step = check("5.4", dpm_step)

# %% expected="5.4" slideshow={"slide_type": "skip"}
def by_two(levels):
    def move(schedule, x, t, t_next, eps, x0, fresh, before):
        return dpm_step(x0, eps, t, t_next, fresh(), schedule, before)

    return Rule("DPM-Solver++(2M)", lambda T: levels, move)


rows, errors, full = {}, [], draw(dpm_solver(choose(100, 4)), noise[24:32])
for count in choose((6, 10, 20), (2, 3)):
    levels = my.ddim_levels(T, count)
    for name, rule in (("DDIM", by(my.ddim_step, levels)), ("DPM-Solver++", by_two(levels))):
        rows[f"{name}, {count}"] = draw(rule, noise[24:32])
        error = (rows[f"{name}, {count}"] - full).square().mean().sqrt()
        errors.append([name, count, f"{error:.3f}"])
show.table(errors, ["", "steps", "RMS a pixel"], "How far from the end of 100 steps?")
alt = "Eight noises drawn in 6, 10 and 20 steps, each by DDIM and by DPM-Solver++: mostly the same digits "
show.rows(rows, alt + "in all rows, which the eye can hardly rank")

# %% [markdown] slideshow={"slide_type": "slide"}
# The eye can hardly rank the rows, but the table can. At each count the step that looks back ends nearer to where 100 steps end, with the same number of evaluations.
#
# Your `walk` passes nothing from one step to the next. So the class below gives `dpm_step` a memory. Make a new `TwoStep()` for each walk.
#
# <details><summary>The form in which papers write it, and why it is of second order</summary>
#
# With $r=(\lambda_t-\lambda_\text{before})/h$, the old stride over the new one, Lu et al. write
#
# $$D=\hat x_0+\frac{1}{2r}\left(\hat x_0-\hat x_0^\text{before}\right),\qquad x_s=\frac{\sigma_s}{\sigma_t}\,x_t-\sqrt{\bar\alpha_s}\,\left(e^{-h}-1\right)D .$$
#
# The first is your line, followed for half a step. The second is what the proof of 5.4 began with, since $\sigma_s\left(e^{\lambda_s}-e^{\lambda_t}\right)=\sigma_s e^{\lambda_s}\left(1-e^{-h}\right)=-\sqrt{\bar\alpha_s}\left(e^{-h}-1\right)$.
#
# Why is the middle enough for second order? Over a short step of length $h$ write $\hat x_0(\lambda)$ as its value in the middle plus slope times distance from the middle. Over such a step $e^\lambda$ is nearly constant, so what the slope adds in the second half it takes away in the first. An error of order $h^3$ is left in each step.
# DDIM takes the value at the start. Then the slope's part does not cancel, and the error of a step is of order $h^2$. The whole way needs about $1/h$ steps, so the errors add up to order $h^2$ with the middle, and to order $h$ for DDIM. Twice the steps leave a quarter of the error, or half of it.
#
# </details>
#
# <!--slide 4 min
# ## Look back one step to guess the middle: DPM-Solver++(2M)
#
# $$D=\hat x_0+\frac{1}{2r}\left(\hat x_0-\hat x_0^\text{before}\right),\qquad r=\frac{\lambda_t-\lambda_\text{before}}{h},\quad h=\lambda_s-\lambda_t$$
#
# $$x_s=\frac{\sigma_s}{\sigma_t}\,x_t-\sqrt{\bar\alpha_s}\,\left(e^{-h}-1\right)D$$
#
# In words: $D$ is the estimate, carried on for half a step at the rate of its last change.
#
# - two estimates make a line; follow it half a step further
# - **no further evaluation**: the old estimate is there already
# - first and last step: as DDIM
#
# > DDIM is a first order method: twice the steps, half the error. With the line it is of second order.
#
# Notes:
# Say: this is how papers write the step that you have just made. The memory costs one tensor and no evaluation; that is why multistep solvers are the usual choice.
# Ask: what is r when all strides in lambda are equal, and what is D then? (r = 1, so D is the estimate plus half its last change.)
# Ask: is the measured order really two? (Looking inside has the figure. From 20 to 200 steps DDIM's error falls with a power near -1, that of DPM-Solver++ near -1.5: the steps are even in t and not in lambda, the last step is of first order for both, and a network is not as smooth as the theory asks.)
# -->

# %% slideshow={"slide_type": "skip"}
class TwoStep:
    """`dpm_step` with the memory that it needs: a new one for each walk."""

    before = None

    def __call__(self, x0, eps, t, t_next, noise, schedule):
        x = dpm_step(x0, eps, t, t_next, noise, schedule, self.before)
        self.before = (t, x0)
        return x


levels = my.ddim_levels(T, choose(12, 3))
*_, (_, x, _) = my.walk(model, schedule, noise[:8], levels, TwoStep(), my.from_v)
theirs = last(reverse(model, schedule, dpm_solver(len(levels)), x_T=noise[:8], clip_x0=1.0))
gap = (x - theirs).abs().max()
print(f"your walk with TwoStep, {len(levels)} steps, and that of helpers: largest difference {gap:.0e}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 6. Quality against cost
#
# Which sampler should you use? That depends on what you can afford, so we draw quality over evaluations. We take the three samplers that you know, and a fourth that puts the two ideas together: DPM-Solver++ *with* fresh noise, `dpm_solver(n, eta=2.0)` in `helpers.sampling`. (At `eta=1` this is SDE-DPM-Solver++(2M) of Lu et al. 2022.) In a step that raises $\lambda$ by $h$ it keeps the share $e^{-2\eta h}$ of the noise's variance and draws the rest anew.
#
# Quality is measured in two ways, with <!--r:samplers.scoring.samples|,d-->1,000<!--/--> samples from each of five seeds. On the left you see the Frechet distance from the test pictures, on the right the share of samples that our judge reads with confidence. The dashed lines are the scores of real pictures. On the left this is the floor, and no sampler can be expected to get below it.
#
# <!--slide 4 min
# ## Fresh noise in DPM-Solver++: more legible digits at every count
#
# 15 evaluations of DPM-Solver++: 64 digits in <!--r:sampler_seconds.networks.mnist_unet.bf16.dpm.15|.2f-->0.48<!--/--> s, distance <!--r:samplers.quality.dpm.15.distance.mean|.1f-->7.4<!--/--> ± <!--r:samplers.quality.dpm.15.distance.std|.1f-->0.8<!--/-->. Dashed: real pictures.
#
# Notes:
# Say: left, distance; each curve falls while the sampler's error rules and levels off where only the network's error is left. Right, the share read with confidence: there the two samplers with fresh noise lie above their twins without. Dashed is what real pictures score: the floor on the left.
# Say: each point is the mean of five seeds, and the bars are their scatter.
# Ask: at 50 evaluations fresh noise is ahead, though the ancestral step is of first order only. A contradiction? (No. The order says how fast a walk approaches the end of its curve, and an imperfect network drew that curve. Fresh noise washes some of the network's errors out.)
# Have run: all of it is saved; sampling <!--r:samplers.scoring.samples|,d-->1,000<!--/--> digits for every point and seed took hours.
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
names = {"ancestral": "ancestral, $\\eta=1$", "ddim": "DDIM", "dpm": "DPM-Solver++(2M)"}
names["fresh"] = "DPM-Solver++, fresh noise"
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 4.6))
for ax, key in zip(axes, titles, strict=True):
    for name, label in names.items():
        draw_scores(ax, saved["quality"][name], key, color=show.COLOUR[name], label=label)
    ax.axhline(real_scores[key], color=show.COLOUR["floor"], linestyle="--", label="real pictures")
    ax.set(xscale="log", xlabel="evaluations", title=titles[key])
    ax.set_xticks([4, 8, 15, 20, 50], [4, 8, 15, 20, 50])
axes[0].set(yscale="log", yticks=[3, 6, 10, 20, 40], yticklabels=[3, 6, 10, 20, 40])
axes[0].minorticks_off(), axes[1].minorticks_off()
axes[0].legend()
alt = "Left: distance over evaluations, falling towards the dashed floor, a curve a sampler. Right: share "
show.figure(fig, alt + "read with confidence, rising; DPM-Solver++ with fresh noise lies highest from 8 on.")

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
def words(score, form):
    spread = f" ± {score['std']:{form}}" if len(score["values"]) > 1 else " (one seed)"
    return f"{score['mean']:{form}}" + spread


clock, quality = load_results("sampler_seconds")["networks"]["mnist_unet"]["bf16"], saved["quality"]
short = {"ancestral": "ancestral", "ddim": "DDIM", "dpm": "DPM-Solver++", "fresh": "with fresh noise"}
for key, form in (("distance", ".1f"), ("confident", ".0%")):
    rows = []
    for n in quality["ancestral"]:
        found = [words(quality[name][n][key], form) if n in quality[name] else "" for name in names]
        rows.append([n, f"{clock['ancestral'][n]:.2f}", *found])
    rows.append(["real pictures", "", *[f"{real_scores[key]:{form}}"] * len(names)])
    show.table(rows, ["evaluations", "seconds", *short.values()], titles[key])

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
def pairs(one, other, n, key):
    """The gap between two samplers in every seed."""
    found = [quality[name][n][key]["values"] for name in (one, other)]
    return [a - b for a, b in zip(*found, strict=True)]


rows = []
for n in ("8", "10", "15", "20", "50"):
    row = [n, ", ".join(f"{gap:+.1f}" for gap in pairs("ddim", "dpm", n, "distance"))]
    for one, other in (("ancestral", "ddim"), ("fresh", "dpm")):
        gaps = pairs(one, other, n, "confident")
        row.append(f"{sum(gap > 0 for gap in gaps)} of {len(gaps)}")
    rows.append(row)
header = ["evaluations", "distance, DDIM minus DPM-Solver++", "ancestral surer than DDIM"]
show.table(rows, [*header, "fresh surer than DPM-Solver++"], "Seed by seed")
seconds = ", ".join(f"{name} {row['20']:.2f}" for name, row in clock.items())
print(f"seconds for 20 evaluations of 64 images: {seconds}")

# %% [markdown] slideshow={"slide_type": "slide"}
# *More steps.* The distance falls fast up to 15 or 20 evaluations: there the *sampler's* error rules. At 50 the curves are flatter and still above the floor. What remains is more and more the *network's* error, which steps alone do not remove.
#
# *DDIM or DPM-Solver++?* Their error bars overlap, and yet the second order is better. The bars show how seeds scatter, and both samplers had the same starting noises. So compare them in pairs, seed by seed, as in the last table: DPM-Solver++ has the smaller distance at every count and with every seed.
#
# *Fresh noise.* Add it to DPM-Solver++, and from 8 evaluations on more samples are read with confidence, with every seed: at 20 evaluations <!--r:samplers.quality.fresh.20.confident.mean|.0%-->88%<!--/--> in place of <!--r:samplers.quality.dpm.20.confident.mean|.0%-->83%<!--/-->. Ancestral samples beat those of DDIM too, though by less and not with every seed. A higher confident share could also mean plainer digits, as in section 2. But then the distance should rise, and it does not: with DPM-Solver++ its mean is lower at every count, though nowhere by twice its standard error, and not with every seed.
#
# Does this contradict the order? No. The order is about precision: how fast the samples of more and more steps settle. What they settle to is not perfect, because the network is not. A walk without fresh noise carries each of its errors to the end. The usual explanation for fresh noise
# (Karras et al. 2022) is that it replaces old noise, and a part of these errors with it. We did not measure that. What we see is that a walk can be precise (section 5) and its samples still be worse.
#
# **What we recommend:** DPM-Solver++ with fresh noise, in 20 evaluations or, if you can afford them, 50: the distance is then <!--r:samplers.quality.fresh.20.distance.mean|.1f-->6.0<!--/--> and <!--r:samplers.quality.fresh.50.distance.mean|.1f-->4.6<!--/-->, where real pictures have <!--r:samplers.floor.mean|.1f-->3.0<!--/-->. (At 0 and at 1 its `eta` draws as much fresh noise as that of section 2, beyond it goes further. We took 2, the best of 1, 1.5, 2 and 3 on 1,000 samples.) Leave the fresh noise away where the picture must be a function of its first noise, as in the next three sections.
#
# For 64 digits within a second, 15 evaluations fit on both machines that we timed, with two CPU cores each and nothing else to do: <!--r:sampler_seconds.networks.mnist_unet.bf16.dpm.15|.2f-->0.48<!--/--> s on the faster, 0.92 s on the slower. All samplers cost the same for each evaluation. (The seconds in the table are those of the ancestral walk.)
#
# ## 7. What determinism buys: one seed, any number of steps
#
# With $\eta=0$ the picture is a function of $x_T$. The number of steps only decides how precisely we compute that function. So the same noise should give the *same* picture at any step count that is large enough. You could look at a cheap preview, and draw the ones you like with more steps. How many steps does a preview need?
#
# <!--slide 3 min
# ## The bars overlap, yet the second order wins with every seed
#
# <table>
# <tr><th rowspan="2">seed</th><th colspan="2">10 evaluations</th><th colspan="2">20 evaluations</th></tr>
# <tr><th>DDIM</th><th>DPM-Solver++</th><th>DDIM</th><th>DPM-Solver++</th></tr>
# <tr><td>first</td><td><!--r:samplers.quality.ddim.10.distance.values.0|.1f-->12.3<!--/--></td><td><!--r:samplers.quality.dpm.10.distance.values.0|.1f-->10.9<!--/--></td><td><!--r:samplers.quality.ddim.20.distance.values.0|.1f-->8.3<!--/--></td><td><!--r:samplers.quality.dpm.20.distance.values.0|.1f-->7.4<!--/--></td></tr>
# <tr><td>second</td><td><!--r:samplers.quality.ddim.10.distance.values.1|.1f-->11.7<!--/--></td><td><!--r:samplers.quality.dpm.10.distance.values.1|.1f-->10.4<!--/--></td><td><!--r:samplers.quality.ddim.20.distance.values.1|.1f-->7.1<!--/--></td><td><!--r:samplers.quality.dpm.20.distance.values.1|.1f-->6.0<!--/--></td></tr>
# <tr><td>third</td><td><!--r:samplers.quality.ddim.10.distance.values.2|.1f-->10.5<!--/--></td><td><!--r:samplers.quality.dpm.10.distance.values.2|.1f-->9.2<!--/--></td><td><!--r:samplers.quality.ddim.20.distance.values.2|.1f-->6.1<!--/--></td><td><!--r:samplers.quality.dpm.20.distance.values.2|.1f-->5.3<!--/--></td></tr>
# </table>
#
# - three of the five seeds; both samplers start from the **same noises**, so read along a row
# - bars show how seeds scatter; the gain shows in the pairs
# - recommended: DPM-Solver++ with fresh noise, 20 or 50 evaluations
#
# > With the bars alone, without this table: would you print "better"?
#
# Notes:
# Say: when two runs share their chance, compare them in pairs. The scatter from seed to seed is common to both and drops out.
# Say: with fresh noise more samples are confident from 8 evaluations on, with every seed; at 4 it makes no difference.
# Ask: which of the two would you use for 64 digits in a second, and would you print "better" without the table? (DPM-Solver++ with 15 evaluations. The bars alone do not show it.)
# -->
# <!--slide 2 min
# ## Without fresh noise the picture is a function of the noise
#
# From about fifteen steps on, nearly every column keeps its digit: preview with few, then draw.
#
# Notes:
# Say: one noise a column. The number of steps only decides how precisely the function of the noise is computed.
# Ask: would this work with the ancestral walk? (No: other step counts draw other fresh noise, and the preview would show another digit.)
# Live: in section 13, keep the seed and move the steps with DPM-Solver++, then with the ancestral sampler.
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
counts, start = choose((4, 6, 8, 10, 15, 20, 50, 100), (2, 3)), noise[32:40]
rows = {f"{n} steps": draw(dpm_solver(n), start) for n in counts}
final = list(rows.values())[-1]
alt = "One noise a column, DPM-Solver++ with 4 to 100 steps a row: from about fifteen steps on nearly every "
alt += "column keeps its digit, and only details move"
show.rows(rows, alt, title="One noise a column: the digit is settled after about fifteen steps")
gaps = [f"{(row - final).square().mean().sqrt():.3f}" for row in rows.values()]
show.table([["RMS a pixel", *gaps]], ["steps", *counts], "How far from the last row?")

# %% [markdown] exercise_text="5.5" slideshow={"slide_type": "slide"}
# From fifteen steps on, nearly every column keeps its digit. The sixth shows why ten can be too few: it becomes a 0 only then.
#
# ## 8. A path between two pictures
#
# If the picture is a function of the noise, then a path from one noise to another gives a path from one picture to another. What lies half-way between two noises $a$ and $b$? The first idea is their mean $(a+b)/2$.
#
# A noise is a vector of 784 independent standard normal numbers. The mean of their squares is close to 1, so its length is nearly always close to $\sqrt{784}=28$.
#
# ### Exercise 5.5: half-way between two noises
#
# How long is the mean of two such noises? Write down a number.
#
# Difficulty: ●○○○○ · 2 minutes
#
# <details><summary>Hint</summary>
#
# What is the variance of one entry of $(a+b)/2$?
#
# </details>
#
# <!--slide 3 min
# ## What lies between two noises?
#
# All noises have a length near $\sqrt{784}=28$.
#
# **Your turn:** exercise 5.5. How long is the mean of two noises?
#
# **Then:** exercise 5.6 `blend(a, b, share)`: a mixture that is standard normal for every share
#
# Notes:
# Say: if the picture is a function of the noise, a path between two noises is a path between two pictures.
# Ask: by eye the two rows below differ little. How do we know that one is better? (By the mean of 32 pairs: half-way on the straight line the pictures are darker, with less stroke.)
# Exercise: 2 and 5 minutes. Common mistake: a mixture that adds up to 1 in amplitude. It is variances that add: half-way on the straight line the variance is one quarter plus one quarter, and the network never saw a top level that weak.
# Have run: the film of eight pairs in the cell below, some ten seconds or more.
# Answers 5.6.
# -->

# %% exercise="5.5" kind="predict" slideshow={"slide_type": "skip"}
# TODO 5.5: the length of (a + b) / 2
### BEGIN SOLUTION
guess = 28 / 2**0.5
### END SOLUTION
check.predict("5.5", guess)

# %% slideshow={"slide_type": "skip"}
a, b = noise[:32], noise[32:]
rows = []
for name, x in (("a", a), ("b", b), ("(a + b) / 2", (a + b) / 2)):
    lengths = x.flatten(1).norm(dim=1)
    rows.append([name, *[f"{length:.1f}" for length in (lengths.min(), lengths.mean(), lengths.max())]])
show.table(rows, ["", "shortest", "mean", "longest"], "Length of 32 noises")
check.truth("5.5", lengths.mean())

# %% [markdown] exercise_text="5.6" slideshow={"slide_type": "skip"}
# Each entry of $(a+b)/2$ has variance $\tfrac14+\tfrac14=\tfrac12$, so the length is $28/\sqrt2\approx 19.8$. That is too short: at the top the network has only seen noise of variance 1, whose length is near 28. We need a mixture that has variance 1 all the way from $a$ to $b$.
#
# ### Exercise 5.6: a mixture of two noises
#
# Write `blend(a, b, share)`. It mixes two independent noises so that the share `share` *of the variance* comes from `b` and the rest from `a`. For every share from 0 to 1 the result is standard normal; share 0 gives `a` itself, share 1 gives `b`.
#
# Difficulty: ●●○○○ · 5 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Independent variances add, and a factor in front of a noise is squared in its variance.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# Two factors. The squares of the two add up to 1, and the square of the one before `b` is `share`. `share ** 0.5` is the root of a number.
#
# </details>

# %% exercise="5.6" slideshow={"slide_type": "skip"}
def blend(a, b, share):
    """A noise with this share of its variance from b, the rest from a. a, b: (B, ..), standard normal."""
    # TODO 5.6: two factors, so that variances add up to 1
    ### BEGIN SOLUTION
    return (1 - share) ** 0.5 * a + share**0.5 * b
    ### END SOLUTION


blend = check("5.6", blend)

# %% expected="5.6" tags=["slide-output"] slideshow={"slide_type": "-"}
first, second = noise[1:2], noise[7:8]
shares, steps = [i / 8 for i in range(9)], choose(15, 2)
straight = torch.cat([(1 - s) * first + s * second for s in shares])
mixed = torch.cat([blend(first, second, s) for s in shares])
rows = {"straight": draw(dpm_solver(steps), straight), "blend": draw(dpm_solver(steps), mixed)}
alt = "Nine pictures from a 6 to a 2, above along the straight line, below with blend. To the eye "
show.rows(rows, alt + "the two rows differ little.", [f"{s:.2f}" for s in shares])
table = []
for name, path, x_T in (("straight", straight, (a + b) / 2), ("blend", mixed, blend(a, b, 0.5))):
    table.append([name, f"{path[4].norm():.1f}", f"{draw(dpm_solver(steps), x_T).mean():.3f}"])
show.table(table, ["half-way", "length of the noise", "mean brightness, 32 pairs"])

# %% [markdown] slideshow={"slide_type": "skip"}
# With one pair you may not see a difference between the two paths, but the mean brightness of 32 pairs shows it. Half-way on the straight line the pictures are darker, because the noise that they start from is too weak. (The mean of real digits is <!--r:samplers.real.brightness|.2f-->-0.74<!--/-->.)
#
# In formulas, your function is $\mathrm{blend}(a,b,\mu)=\sqrt{1-\mu}\;a+\sqrt{\mu}\;b$. Most programs use another formula, **slerp**, which goes the same way at another pace (see "Looking inside").
#
# Now let the pictures move: eight pairs of noises, from one to the other and back. Drawing takes some ten seconds.

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
pairs_shown, frames, angles = choose(8, 2), [], torch.linspace(0, math.pi / 2, choose(20, 2))
for angle in show.progress(angles, label="frames"):
    share = float(angle.sin() ** 2)  # at slerp's pace
    x_T = blend(noise[:pairs_shown], noise[16 : 16 + pairs_shown], share)
    frames.append(show.tiles(draw(dpm_solver(steps), x_T), columns=8))
alt = "Moving: eight digits, each turning into another and back, as their noises are blended."
show.gif(frames + frames[::-1], out_dir() / "05_blend.gif", alt, scale=3, seconds=6)

# %% [markdown] exercise_text="5.7" slideshow={"slide_type": "slide"}
# Most frames show digits. A small change of the noise mostly changes the picture a little. Now and then one digit quickly gives way to another.
#
# ## 9. A real picture, inverted
#
# Each of our pictures came from a noise. Is there also a noise that draws a given *real* picture? To find it we turn the DDIM walk round. We start at the clean picture and go *up*, level by level. This is called **inversion**. You have already written the parts of each step:
#
# 1. Ask for the noise in $x$ at its level $t$. The clean picture is at level 0, which the network has never seen, so ask at level 1 there.
# 2. Find the picture $\hat x_0$ that belongs to this noise. Do **not clamp** it, because a clamp cannot be undone.
# 3. Noise that picture to the higher level, with the *same* noise.
#
# ### Exercise 5.7: one step up
#
# Write `invert_step`. `ask(x, t)` gives $\hat\epsilon$ for $t\ge1$; the `t` of `invert_step` may be 0, and $\bar\alpha_0=1$.
#
# Difficulty: ●●○○○ · 8 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# You wrote steps 2 and 3 in notebook 01, and `schedule` has both as methods. Only the question needs care at level 0; the picture itself stands at `t`.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `eps = ask(x, max(t, 1))`, then `schedule.predict_x0(x, t, eps)` and `schedule.q_sample(.., t_up, ..)`. Do not call `ddim_step` for it: at $t=0$ its variance divides by 0.
#
# </details>
#
# <!--slide 4 min
# ## A real picture can be walked up to its noise, and comes back
#
# 1. ask for the noise in $x$ at level $t$ (at 1 for the clean picture)
# 2. find $\hat x_0$; **no clamp**
# 3. noise it to the higher level $u$, with the *same* noise
#
# **Your turn:** exercise 5.7 `invert_step(x, t, t_up, ask, schedule)`
#
# Notes:
# Say: there is no fresh noise. The noise that the network finds in x_t is kept, and more of it is mixed in. The walk up asks at the lower end of the step, the walk down at the upper end, so the round trip is not exact; more steps bring it nearer.
# Ask: look at the middle row. Is this noise like any other? (No. The digit can be made out and the black background is flat; its standard deviation is <!--r:samplers.inversion.100.0.latent_std|.2f-->0.80<!--/--> where 1 is due.)
# Exercise: 8 minutes. Common mistakes: asking the network at level 0, the clean data, which it does not know (ask at 1), and leaving the clamp in.
# Have run: a hundred steps up and a hundred down take several seconds.
# -->

# %% exercise="5.7" slideshow={"slide_type": "skip"}
def invert_step(x, t, t_up, ask, schedule):
    """x at the higher level t_up from x at level t (0: clean). ask(x, level) gives eps, level 1 .. T."""
    # TODO 5.7: find the noise in x, then x_0, and go up with the same noise
    ### BEGIN SOLUTION
    eps = ask(x, max(t, 1))
    return schedule.q_sample(schedule.predict_x0(x, t, eps), t_up, eps)
    ### END SOLUTION


invert_step = check("5.7", invert_step)

# %% slideshow={"slide_type": "skip"}
def ask(x, t):
    level = torch.full((len(x),), t)
    return my.from_v(model(x, level), x, level, schedule)[1]


@torch.no_grad()
def invert(x, steps):
    levels = [0, *reversed(my.ddim_levels(T, steps))]
    for t, t_up in zip(levels, levels[1:], strict=False):
        x = invert_step(x, t, t_up, ask, schedule)
    return x


steps, real = choose(100, 3), images[:6]
latent = invert(real, steps)
back = last(reverse(model, schedule, ddim(steps), x_T=latent))
errors = (back - real).flatten(1).square().mean(1).sqrt()
print(f"{steps} steps up and {steps} down: error {errors.mean():.4f}, worst {errors.max():.4f} (RMS a pixel)")
print(f"the noise found: mean {latent.mean():.2f}, standard deviation {latent.std():.2f}")

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(3, 7, figsize=(show.WIDTH, 4.2), width_ratios=[1] * 6 + [3.2])
for row, (name, picture) in zip(axes, {"real": real, "noise": latent, "back": back}.items(), strict=True):
    limit = 2 if name == "noise" else 1
    for ax, image in zip(row[:6], picture[:, 0], strict=True):
        ax.imshow(image, vmin=-limit, vmax=limit)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(name)
    row[6].remove()
ax = fig.add_subplot(axes[0, 0].get_gridspec()[:, 6])
rows = {int(n): row["0"] for n, row in saved["inversion"].items()}
ax.plot(list(rows), [r["error"] for r in rows.values()], marker="o", color=show.COLOUR["ddim"])
ax.set(xlabel="steps each way", ylim=(0, None), title="error (RMS a pixel)")
alt = "Six real digits, the noise found for each, and the digits drawn from that noise, which look the same. "
show.figure(fig, alt + "Right: the error of the round trip falls with the number of steps.")

# %% [markdown] exercise_text="5.8" slideshow={"slide_type": "slide"}
# The pictures come back. But look at the middle row. A perfect inversion would give noise like any other. Here you can make out the digit, and the standard deviation is below 1. Noise is missing in the flat black background: in a clean picture the network finds hardly any there, so there is hardly any to carry up.
#
# People use inversion to edit pictures: they invert, change something (the label, for example, with a network of notebook 06), and draw again.
#
# ## 10. Half a digit
#
# Cover the lower half of a handwritten digit. What could it have been? Our network has learned what digits look like. Can it finish this one, although nobody trained it to?
#
# We walk down from noise as always. But after each step we put the known pixels back in their place. So the network sees the upper half of this digit each time it is asked, and draws a lower half that goes with it.
#
# One thing needs care. After a step the picture is at some level $t$, and the network expects the noise of level $t$ *everywhere*. The known pixels of a real digit are clean, so they are at level 0.
#
# ### Exercise 5.8: keep what is known
#
# Write `keep_known`. Where `mask` is True, the result has the pixels of `known` (clean pictures), brought to level `t`; elsewhere it has those of `x`. `t` is a whole number and may be 0, `noise` is shaped like `x`, and `mask` may have size 1 where it holds for all pictures.
#
# Difficulty: ●●○○○ · 9 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# The jump to any level is a method of `schedule`. At level 0 it gives the clean picture back.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `schedule.q_sample(known, t, noise)` first. `torch.where(mask, a, b)` takes from `a` where the mask is True and from `b` elsewhere, and changes neither.
#
# </details>
#
# <!--slide 3 min
# ## Half a digit, and a network that was never trained for it
#
# - walk down from noise as always; after each step, put the known pixels back in their place
# - at level $t$ the network expects a picture of level $t$ **everywhere**
#
# **Your turn:** exercise 5.8 `keep_known(x, t, known, mask, noise, schedule)`
#
# Notes:
# Say: no training, no gradient; the walk is the same. We only mend what the network is asked about next.
# Ask: why not paste the clean pixels? (At level t a picture is faint beneath its noise. Pixels in full strength are something the network never saw there. The table in the notebook shows what comes of it, and it is not what one expects.)
# Exercise: 9 minutes. Common mistakes: the mask upside down, and clean pixels.
# Have run: four times eight completions, some seconds.
# -->

# %% exercise="5.8" slideshow={"slide_type": "skip"}
def keep_known(x, t, known, mask, noise, schedule):
    """x (B, ..) at level t, with the pixels of known (clean, B, ..) where mask (1 or B, ..) is True."""
    # TODO 5.8: the known pixels at level t, the others as they are
    ### BEGIN SOLUTION
    return torch.where(mask, schedule.q_sample(known, t, noise), x)
    ### END SOLUTION


keep_known = check("5.8", keep_known)

# %% slideshow={"slide_type": "skip"}
def filling(known, mask, g, keep=keep_known, eta=1.0):
    """A step for `walk` that puts the known pixels back; g: where their noise is drawn from."""

    def step(x0, eps, t, t_next, noise, schedule):
        x = my.ddim_step(x0, eps, t, t_next, noise, schedule, eta)
        fresh = torch.randn(x.shape, generator=g)
        return keep(x, t_next, known, mask, fresh, schedule)

    return step


def pasted(x, t, known, mask, noise, schedule):  # for comparison: clean pixels at every level
    return torch.where(mask, known, x)

# %% slideshow={"slide_type": "skip"}
network = my.UNet(channels=(16, 48, 96)).eval().requires_grad_(False)  # your network, the course's weights
network.load_state_dict(model.state_dict())
own, levels = my.Schedule(my.cosine_betas(T)), my.ddim_levels(T, choose(50, 3))
mask = torch.zeros(1, 1, 28, 28, dtype=torch.bool)
mask[:, :, :14] = True  # the upper half is known


def complete(known, **options):
    g = torch.Generator().manual_seed(1)
    x, step = torch.randn(known.shape, generator=g), filling(known, mask, g, **options)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        *_, (_, x, _) = my.walk(network, own, x, levels, step, my.from_v, g)
    return x

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
four = images[[0, 1, 3, 4]]
known = four.repeat_interleave(8, 0)  # eight ways each
filled = complete(known)
halves = torch.where(mask, four, -0.4)
ways = filled.unflatten(0, (4, 8))
rows = {f"a {digit}": torch.cat([halves[[i]], ways[i]]) for i, digit in enumerate("7204")}
alt = "Four rows: the upper half of a real digit, a 7, a 2, a 0 and a 4, and eight digits with this upper "
alt += "half that differ below it"
show.rows(rows, alt, ["known", *"12345678"], title="The upper half is given, eight ways to go on")
mine.credit("draw_digits", "keep_known")

# %% [markdown] slideshow={"slide_type": "skip"}
# Most rows have several digits in them, and within a row all have the same upper half, pixel for pixel. Look at the border, though. In some pictures a line does not quite go on.
#
# How large is the jump in brightness from the last known row of pixels to the first drawn one? We compare your way with two others: yours without fresh noise in the step ($\eta=0$), and one that pastes the clean pixels at every level. What do you expect of the last one?

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
def report(name, x):
    jump = (x[:, :, 14] - x[:, :, 13]).abs().mean()
    apart = "" if name == "real digits" else f"{x[:, :, 14:].unflatten(0, (-1, 8)).std(1).mean():.2f}"
    return [name, f"{jump:.3f}", apart, f"{metrics.confident_share(x):.0%}"]


tries = {"yours": filled, "eta = 0": complete(known, eta=0.0), "clean pixels": complete(known, keep=pasted)}
rows = [report(name, x) for name, x in {**tries, "real digits": images[:1000]}.items()]
header = ["", "jump at the border", "how much eight ways differ", "read with confidence"]
show.table(rows, header, "32 completions each way")

# %% [markdown] slideshow={"slide_type": "slide"}
# With your way the jump at the border is larger than in real digits, and without fresh noise ($\eta=0$) it is larger still. Our explanation: near $t=T$ the upper half is hidden beneath its noise, so the network begins the lower half without knowing much about what is above it. Later steps can correct this only if they exchange noise. That is why we use the ancestral step here.
#
# And the clean pixels? They break our rule, yet the jump is small and no fewer of the digits are easy to read. The eight ways differ less from each other, though: the network sees the whole upper half from the first evaluation on. It was never trained on such pictures, and here it copes with them.
#
# RePaint (Lugmayr et al. 2022) keeps the rule and still mends the border. Further exercise 7 tries it.
#
# ## 11. The same with `diffusers`
#
# The library has both samplers. Do its pictures agree with ours, from the same weights and the same noise? That needs the same settings, so we name them all. Those in bold are *not* the library's defaults. The library also counts the noisy levels from 0: its timestep $t$ is our level $t+1$, and its first beta is our $\beta_1$.
#
# | setting | `DDIMScheduler` | `DPMSolverMultistepScheduler` |
# |---|---|---|
# | **`trained_betas`** | $\beta_1,\dots,\beta_T$ of our cosine schedule | the same |
# | **`prediction_type`** | `"v_prediction"` | `"v_prediction"` |
# | **`timestep_spacing`** | `"trailing"` | `"trailing"` |
# | clamp at ±1 | `clip_sample=True`, and **`use_clipped_model_output=True`** in `step` | **`thresholding=True`**, `sample_max_value=1.0` |
# | the clean end | `set_alpha_to_one=True` | `final_sigmas_type="zero"` |
# | the method | `eta=0` | `algorithm_type="dpmsolver++"`, `solver_order=2`, `solver_type="midpoint"` |
#
# <!--slide 2 min
# ## The library agrees once its configuration is spelt out
#
# - `prediction_type="v_prediction"`, and our $\beta_1,\dots,\beta_T$ as `trained_betas`
# - its timestep $t$ is our level $t+1$: it counts the noisy levels from 0
# - `timestep_spacing="trailing"`: the default is another
# - the clamp: `clip_sample=True` and, in `step`, `use_clipped_model_output=True` for DDIM; `thresholding=True` for the solver
# - the clean end: `set_alpha_to_one=True`, `final_sigmas_type="zero"`
# - `algorithm_type="dpmsolver++"`, `solver_order=2`
#
# Same weights, same noise, both samplers against `diffusers`. A difference near 1e-07 is the rounding of float32:
#
# Notes:
# Say: "DDIM with 10 steps" does not name a computation. These settings do.
# Ask: which of these would you suspect first if your pictures came out too bright? (The spacing: leading starts below the top.)
# Live: run the cell, a few seconds; it says so if diffusers is not installed.
# -->

# %% slideshow={"slide_type": "skip"}
try:
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
except ImportError:
    DDIMScheduler = DPMSolverMultistepScheduler = None


common = dict(prediction_type="v_prediction", timestep_spacing="trailing")
common["trained_betas"] = schedule.betas[1:].tolist()  # the library has no level 0


@torch.no_grad()
def with_diffusers(scheduler, x, steps, **options):
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        output = model(x, (t + 1).expand(len(x)))  # its t is our level t + 1
        x = scheduler.step(output, t, x, **options).prev_sample
    return x


method = dict(algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint", final_sigmas_type="zero")
clamp = dict(thresholding=True, sample_max_value=1.0)

# %% tags=["slide-output"] slideshow={"slide_type": "-"}
x_T, steps = noise[:4], choose(10, 4)
rules = {"DDIM": ddim(steps), "DPM-Solver++": dpm_solver(steps)}
ours = {name: last(reverse(model, schedule, rule, x_T=x_T, clip_x0=1.0)) for name, rule in rules.items()}
if DDIMScheduler is None:
    print("diffusers is not installed: nothing to compare with")
else:
    s = DDIMScheduler(T, clip_sample=True, set_alpha_to_one=True, **common)
    theirs = {"DDIM": with_diffusers(s, x_T, steps, use_clipped_model_output=True)}
    s = DPMSolverMultistepScheduler(T, **method, **clamp, **common)
    theirs["DPM-Solver++"] = with_diffusers(s, x_T, steps)
    rows = [[name, f"{steps}", f"{(ours[name] - x).norm() / x.norm():.0e}"] for name, x in theirs.items()]
    show.table(rows, ["sampler", "steps", "relative difference"])

# %% [markdown] exercise_text="5.9" slideshow={"slide_type": "slide"}
# The pictures agree to about seven digits. What is left is rounding: the library keeps its constants in float32, and we keep ours in float64.
#
# ## 12. Which line is wrong?
#
# A sampler can be wrong and still draw digits. The DPM-Solver++ of 20 steps below has one wrong line. Which one it is depends on your seed. Lines 2 to 6 run for each level `t` of the walk, lines 2 to 4 only where there is a step before and `t_next` is above 0 (elsewhere `toward` is `x0`). `x0` and `eps` are the
# network's estimates, clamped, and `lam` is $\lambda$.
#
# ### Exercise 5.9: one line is wrong
#
# Find the line, and write its number into the second cell. Below the lines stand eight pictures of this sampler, and the end of a right walk of 50 steps from the same noises.
#
# Difficulty: ●●●○○ · 9 minutes
#
# <details><summary>Hint</summary>
#
# Looking at the pictures is not enough. Compare each line with your `dpm_step`: where does the straight line begin, how far is it followed, and what is remembered for the next step? And what did section 4 say about the first level?
#
# </details>
#
# <!--slide 3 min
# ## Which line is wrong?
#
# Notes:
# Say: in practice wrong samplers look like right ones. A number tells them apart, the distance to a walk of many steps from the same noises.
# Ask: what would you measure first? (The first level; the level that is remembered at the last step; how large the correction is compared with the last change of x_0, and whether it points the same way.)
# Measured, in the order right, wrong in line 1, 2, 3, 4, 6: the first level 1000, **951**, 1000, 1000, 1000, 1000. Level remembered at the last step 100, 51, 100, 100, 100, **1000**. Size of the correction in last changes of x_0: 0.09, 0.14, **1.68**, 0.08, **0.00**, 0.04. Cosine of the two: 0.93, 0.69, 0.48, **-0.93**, none, 0.39. Distance from the end of 50 steps: 0.03, 0.26, 0.31, 0.10, 0.07, 0.05.
# Say: line 5 has no mistake in any case. With line 4 wrong it is DDIM, with line 6 wrong it is still a little better than DDIM.
# Exercise: 9 minutes, in pairs; one seed for the class, or one for each pair.
# -->

# %% exercise="5.9" kind="hunt" tags=["slide-output"] slideshow={"slide_type": "-"}
check.hunt("5.9")

# %% kind="answer" of="5.9" slideshow={"slide_type": "skip"}
line = 1  # TODO 5.9: the number of the wrong line
check.found("5.9", line)

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ## 13. Try it (optional)
#
# Now choose for yourself: sampler, number of steps and seed. Start at 2 steps and go up. From how many on do the eight pictures stay what they are? Then keep the steps and change the sampler. Which samplers turn the same noise into the same digits?
#
# The four rows below are four such settings. Move the controls under them.

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
RULES = {"DPM-Solver++": dpm_solver, "DDIM": ddim, "ancestral": lambda n: ddim(n, eta=1.0)}


def compare(*settings):
    """Show a row of eight digits for each (sampler, steps, seed)."""
    rows = {}
    for sampler, steps, seed in settings:
        x_T = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
        rows[f"{sampler}, {steps} steps, seed {seed}"] = draw(RULES[sampler](choose(steps, 2)), x_T)
    show.rows(rows, "Eight digits a row: " + "; ".join(rows))


compare(("DPM-Solver++", 4, 3), ("DPM-Solver++", 10, 3), ("DDIM", 10, 3), ("ancestral", 10, 3))

# %% tags=["optional"] slideshow={"slide_type": "skip"}
def try_sampler(sampler="DPM-Solver++", steps=10, seed=3):
    """Draw eight digits from the noise of `seed`."""
    compare((sampler, steps, seed))


sliders(try_sampler, sampler=list(RULES), steps=(2, 20), seed=(0, 20))

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# DPM-Solver++ and DDIM turn the same noise into the same digits once there are steps enough. The ancestral walk turns it into other ones.
#
# ## Looking inside (optional)
#
# Six looks behind the samplers.
#
# ### The order, measured
#
# DDIM and DPM-Solver++ follow the same curve, the solution of an ordinary differential equation. (Song et al. 2021 call it the probability flow.) How fast do they approach it? We measure how far a short walk ends from the walk over all levels, from the same noise and without the clamp. At first order, twice the steps should leave half the error. At second order, a quarter. On logarithmic axes these are lines of slope $-1$ and $-2$.

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
fig, ax = plt.subplots(figsize=(show.WIDTH, 4.0))
for key, order in (("ddim", 1), ("dpm", 2)):
    gaps = {int(n): gap for n, gap in saved["convergence"][key].items()}
    ax.plot(list(gaps), list(gaps.values()), marker="o", color=show.COLOUR[key], label=names[key])
    ideal = [gaps[20] * (20 / n) ** order for n in (20, 200)]
    ax.plot([20, 200], ideal, "--", color=show.COLOUR["noise"])
    ax.annotate(f"slope $-{order}$", (200, ideal[1]), (6, 0), textcoords="offset points", va="center")
    slope = math.log10(gaps[200] / gaps[20])  # over one decade of steps
    print(f"{names[key]}: from 20 to 200 steps the error falls as the steps to the power {slope:.2f}")
ax.set(xscale="log", yscale="log", xlabel="steps", ylabel="distance from the full walk (RMS a pixel)")
ax.set(xlim=(4, 330), xticks=[5, 10, 20, 50, 100, 200], xticklabels=[5, 10, 20, 50, 100, 200])
ax.legend(loc="lower left")
alt = "Distance from the end of the full walk over steps, logarithmic: DDIM falls with slope -1, "
show.figure(fig, alt + "DPM-Solver++ more steeply, but not as steeply as the line of slope -2")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# DDIM runs along the line of slope $-1$. DPM-Solver++ is steeper, but does not reach $-2$. There are good reasons for that: the steps are even in $t$ and not in $\lambda$, the last step is of first order for both, and a network is not as smooth as the theory asks.
#
# ### What eta does to the path
#
# Section 2 showed paths of a single number. For pictures we can ask how much of the first noise is still there: we take the cosine of the angle between the noise that the network predicts on the way and the noise it predicted at the start (1 means the same direction, 0 nothing in common).

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.4))
levels = my.ddim_levels(T, choose(50, 4))
for eta, colour in {0.0: show.COLOUR["ddim"], 0.5: show.COLOURS[4], 1.0: show.COLOUR["ancestral"]}.items():
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        path = list(reverse(model, schedule, by(with_eta(eta), levels), x_T=noise[:8], seed=1, clip_x0=1.0))
    turned = [schedule.predict_eps(p.x, p.t, s.x0).flatten() for p, s in zip(path, path[1:], strict=False)]
    alike = [torch.cosine_similarity(turned[0], e, dim=0).item() for e in turned]
    ax.plot(levels, alike, color=colour, label=f"$\\eta={eta}$")
ax.set(xlabel="noise level $t$ (the walk runs to the right)", ylabel="cosine with the first", xlim=(T, 0))
ax.set_title("How much of the first noise is left?")
ax.legend()
alt = "Cosine between the predicted noise and that at the start, along three walks: near one all the way for "
show.figure(fig, alt + "eta 0, falling slowly for eta 0.5, at zero after one step for eta 1")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# Without fresh noise the predicted noise hardly turns all the way down. With $\eta=0.5$ it is exchanged bit by bit. With $\eta=1$ the very first step replaces nearly all of it. At the top of the cosine schedule $\bar\alpha_t/\bar\alpha_s$ is almost 0, so $\sigma^2$ is almost $1-\bar\alpha_s$, which is all the noise there is.
#
# ### A top that is not noise, in pictures
#
# These are samples behind the dots of section 4, from the same eight noises: three networks, 30 DDIM steps, from the top (trailing) and from $t=291$ (leading). Can you see which rows are too bright?

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
rows = {}
for kind in kinds:
    for walk in ("trailing", "leading"):
        rows[f"{kinds[kind]}, {walk}"] = pictures[f"short {kind} {walk}-30"]
alt = "Six rows of eight samples, three networks, 30 DDIM steps, trailing and leading levels. By eye no row "
alt += "is brighter than the others: it takes hundreds of samples to see."
show.rows(rows, alt, title="30 DDIM steps, T = 300")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# By eye you cannot: it takes hundreds of samples to see.
#
# ### A better inversion
#
# Why is inversion not exact? The step up asks at its lower end, the step down at its upper end, and the two answers differ. We can correct this. After the step up, ask again at the place where it arrived, and redo the step from its start with the new answer. If we repeated this until nothing changes, the step up would be exactly the inverse of the step down. Here we do it once, which takes twice the evaluations on the way up. The numbers are means of 16 test images.

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
rows = []
for n, row in saved["inversion"].items():
    errors, stds = ([row[c][key] for c in ("0", "1")] for key in ("error", "latent_std"))
    rows.append([n, *[f"{error:.4f}" for error in errors], *[f"{std:.2f}" for std in stds]])
header = ["steps", "error", "error, corrected", "spread of the noise", "spread, corrected"]
show.table(rows, header, "Error: RMS a pixel. Spread: standard deviation, 1 is right")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# The correction pays. 50 steps with it take 150 evaluations there and back, and they come nearer than 100 steps without it, which take 200. The noise found comes nearer to standard deviation 1, too.
#
# ### Slerp, the other mixture
#
# Most programs mix noises by **slerp** (Shoemake 1985), which walks along the arc between two vectors. With $\omega$ the angle between them,
# $$\mathrm{slerp}(a,b,\mu)=\frac{\sin\big((1-\mu)\,\omega\big)}{\sin\omega}\,a+\frac{\sin(\mu\,\omega)}{\sin\omega}\,b,\qquad \cos\omega=\frac{a\cdot b}{\lVert a\rVert\,\lVert b\rVert}.$$
# Two independent noises are nearly at a right angle. With $\omega=90°$ the factors are $\cos(\mu\cdot 90°)$ and $\sin(\mu\cdot 90°)$, and their squares add up to 1, as ours do. So both formulas go along the same arc, but at another pace: slerp's $\mu$ is a share of the *angle*, ours is a share of the *variance*.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
def slerp(a, b, share):
    """From a (share 0) to b (share 1) along the arc between them; each pair of (B, ..) has its own angle."""
    u, v = a.flatten(1), b.flatten(1)
    lengths = u.norm(dim=1, keepdim=True) * v.norm(dim=1, keepdim=True)
    angle = ((u * v).sum(1, keepdim=True) / lengths).acos()
    arc = ((1 - share) * angle).sin() * u + (share * angle).sin() * v
    return (arc / angle.sin()).reshape(a.shape)


for share in (0.25, 0.5, 0.75):
    same = math.sin(share * math.pi / 2) ** 2  # the share of the variance at this share of the angle
    gap = (slerp(a, b, share) - blend(a, b, same)).square().mean().sqrt()
    print(f"slerp at {share} and blend at {same:.2f}: {gap:.3f} apart (RMS an entry, where noise has 1)")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ### Levels chosen otherwise, and bfloat16
#
# The trailing levels are even in $t$. Are there better ones? We can bend them by a power $p$, to $T(1-i/S)^p$. With $p$ above 1 they crowd near the data. We can also leave out the clamp, and we can compute in float32 where this notebook computes in bfloat16. Which of these does the distance notice?

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
def first_seed(*path):
    row = saved
    for key in path:
        row = row[str(key)]
    return f"{row['distance']['values'][0]:.2f}"


rows = []
for n in ("10", "15"):
    paths = (("power", "dpm", 0.75), ("quality", "dpm"), ("power", "dpm", 1.5), ("unclipped", "dpm"))
    float32 = first_seed("precision", "float32") if n == "15" else ""
    rows.append([n, *[first_seed(*path, n) for path in paths], float32])
header = ["evaluations", "p = 0.75", "p = 1", "p = 1.5", "p = 1, no clamp", "p = 1, float32"]
show.table(rows, header, "Distance of DPM-Solver++, one seed")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# Only the levels matter. Crowding them near the data ($p=1.5$) costs a lot, and moving them the other way ($p=0.75$) gains: at 10 evaluations even more than the second order does over DDIM in this seed, at 15 less. The clamp and bfloat16 make no difference that we can see. (This is one seed, with the same starting noises in all columns.)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - Training fixes only the marginals, so one network serves a whole family of samplers. $\eta$ says how much noise is exchanged in each step.
# - A step may only take away the noise of its own levels. Skipping with the one-level step fails, DDIM on the same levels does not.
# - A walk should start at the top, and the top should be noise. Otherwise we hand the network pure noise and tell it that there is some picture in it.
# - Looking back one step makes the solver second order, without a further evaluation. A precise walk need not draw better samples, so we measure both.
# - Use DPM-Solver++ with fresh noise, in 20 evaluations or 50. Without fresh noise the picture is a function of its first noise: we can preview it, interpolate it and invert it.
# - More steps help only until the network's own error is all that is left. The floor of real pictures shows how large it is.
# - If we put known pixels back at every level, the network completes pictures that it was never trained to complete.
#
# ### Self-check
#
# - [ ] I can show that the marginal variance comes out for every $\sigma$.
# - [ ] I can say what "ancestral with 50 steps" means.
# - [ ] I can name two flaws at the start of a walk that push samples towards bright, and a repair for each.
# - [ ] I can derive the DDIM step in the variable $\lambda$ and say what the second order changes.
# - [ ] I can say why the network does not know the noises on the straight line between two noises.
# - [ ] I can explain why inversion is not exact, and what would make it more so.
#
# <details><summary>Answers</summary>
#
# 1. The old noise has variance $1-\bar\alpha_s-\sigma^2$, the fresh one $\sigma^2$. They are independent, so their variances add up to $1-\bar\alpha_s$, whatever $\sigma$ is.
# 2. The step with $\eta=1$, asked at 50 levels, each step going down to the next of them. (The step meant for one level, made at every 20th level, is something else, and fails.)
# 3. Leading levels start below the top: start at $T$, as trailing does. A schedule may end before all is noise: rescale its betas, or repair it so that the signal at the top is 0.
# 4. Divided by $\sigma$, the two ends of a step differ by $(e^{\lambda_s}-e^{\lambda_t})\,\hat x_0$. DDIM takes $\hat x_0$ at the start of the step for all of it; the second order takes an estimate for the middle.
# 5. Half-way its variance is one half and its length about 20 in place of 28. At the top the network has only seen noise of variance 1.
# 6. The step up asks at its lower end, the step down at its upper end, and the answers differ. More steps make the difference smaller; so does asking again at the upper end.
#
# </details>
#
# ### Further exercises
#
# | | exercise | difficulty | time |
# |---|---|---|---|
# | 1 | Draw with leading levels and with trailing ones. From how many steps on can you no longer tell? | ●○○○○ | 10 min |
# | 2 | Use $\eta=1$ in one half of the walk and $\eta=0$ in the other. Is it better early or late to have fresh noise? | ●●○○○ | 20 min |
# | 3 | Invert two real digits and blend their noises. | ●●○○○ | 20 min |
# | 4 | Invert a Fashion-MNIST picture with this network. What comes back, and what does the noise look like? | ●●○○○ | 20 min |
# | 5 | Write Heun's method for the step (two evaluations each) and compare it at equal cost. | ●●●○○ | 45 min |
# | 6 | Write the third order solver: a parabola through three estimates. From how many steps on does it help? | ●●●●○ | 60 min |
# | 7 | RePaint: in the walk of section 10, go up again after each step (with `q_step`'s noise, over the stride) and make it once more. What happens at the border? | ●●●○○ | 30 min |
#
# <details><summary>Answers</summary>
#
# 1. From about 50. With 256 samples of each, DDIM at 20 steps has a mean brightness of -0.71 with leading levels and -0.75 with trailing ones; at 50 steps -0.73 and -0.74, and the Frechet distances are equal within their scatter.
# 2. Late. In 20 steps, with 512 samples from one seed, fresh noise below $t=500$ alone gives a Frechet distance 3 units below DDIM's, fresh noise above it alone one that is 2 units higher. One seed says no more than the direction.
# 3. It works: of 16 blends half-way, 15 are read with confidence. The noises found have a standard deviation of 0.79, and so has the blend (0.80), so the strokes are a little thinner; the mean brightness is -0.77 where the two ends have -0.76.
# 4. Strokes and outlines come back, grey surfaces turn black or white: the error is 0.41 a pixel after 100 steps up and 100 down, twenty times that of a digit. The noise shows the garment clearly; its correlation with the picture is 0.5.
# 5. At 10 evaluations worse than both, from 20 on about as good as DPM-Solver++. Distance from the full walk at 10, 20 and 100 evaluations, without the clamp: Heun 0.151, 0.031 and 0.005, DPM-Solver++ 0.113, 0.035 and 0.003, DDIM 0.126, 0.079 and 0.012.
# 6. From about 50, and not by much: 0.0084 where the second order has 0.0089; at 100 steps 0.0026 and 0.0030. Below that, the straight line is as good or better.
# 7. The jump at the border falls from 0.23 to 0.16, near that of real digits (0.15), and the confident share rises from $67\,\%$ to $80\,\%$, at twice the evaluations (64 completions, 50 steps). Four rounds up and down at each level bring 0.12 and $83\,\%$, and the eight ways differ less, 0.20 where one round has 0.27.
#
# </details>
#
# ### References
#
# - T. Karras et al., *Elucidating the Design Space of Diffusion-Based Generative Models*, NeurIPS 2022, [arXiv:2206.00364](https://arxiv.org/abs/2206.00364): fresh noise corrects earlier errors (section 4).
# - Song, Meng & Ermon 2021, *Denoising Diffusion Implicit Models*, [arXiv:2010.02502](https://arxiv.org/abs/2010.02502): eqs. 7, 12, 16, sections 5.3 (interpolation) and 5.4 (reconstruction, our inversion).
# - Ho, Jain & Abbeel 2020, *Denoising Diffusion Probabilistic Models*, [arXiv:2006.11239](https://arxiv.org/abs/2006.11239): eqs. 6, 7.
# - Lu et al. 2022, *DPM-Solver++*, [arXiv:2211.01095](https://arxiv.org/abs/2211.01095): algorithm 2 (the multistep solver, 2M).
# - Lin et al. 2023, *Common Diffusion Noise Schedules and Sample Steps are Flawed*, [arXiv:2305.08891](https://arxiv.org/abs/2305.08891): algorithm 1, table 2.
# - Salimans & Ho 2022, *Progressive Distillation*, [arXiv:2202.00512](https://arxiv.org/abs/2202.00512): section 4 (v-prediction).
# - Song et al. 2021, *Score-Based Generative Modeling through Stochastic Differential Equations*, [arXiv:2011.13456](https://arxiv.org/abs/2011.13456): section 4.3 (probability flow).
# - Shoemake 1985, *Animating rotation with quaternion curves*: slerp.
# - Lugmayr et al. 2022, *RePaint: Inpainting using Denoising Diffusion Probabilistic Models*, [arXiv:2201.09865](https://arxiv.org/abs/2201.09865): algorithm 1.
# - Heusel et al. 2017, *GANs Trained by a Two Time-Scale Update Rule*, [arXiv:1706.08500](https://arxiv.org/abs/1706.08500): eq. 6 (the distance).
#
# <!--slide 2 min
# ## What we learned, and what comes next
#
# - one network serves a family of walks: training fixed only the marginals
# - a step takes away only its own levels' noise; start at the top, and make sure it is noise
# - one look back makes the solver second order, at no further evaluation
# - DPM-Solver++ with fresh noise: 20 evaluations, or 50 if you can afford them
# - without fresh noise: previews, paths, inversion
# - put known pixels back at every level, and half a digit becomes a whole one
#
# > "Sampled with 50 steps" stands in a paper. What else must you know to repeat it?
#
# **Next:** we have digits in a second. Now ask for a 7.
#
# Notes:
# Say: notebook 06 adds a label and a knob that every image generator has.
# Ask: "sampled with 50 steps" stands in a paper. What else would you need to know to repeat it? (The rule and eta, the spacing of the levels, the schedule, the prediction type, the clamp, the seed.)
# Homework: leading levels against trailing ones, and inverting a Fashion-MNIST picture.
# -->

# %% slideshow={"slide_type": "skip"}
check.summary("05")
