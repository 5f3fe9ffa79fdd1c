# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# %% [markdown] slideshow={"slide_type": "slide"}
# # 02 Denoising points
#
# Notebook 01 turned data into noise. Now we go back. We do it with points in the plane instead of images, because in the plane we can draw every step. First we use the best denoiser there can be,
# which is given by a formula. Then we train a small network to do its job, and let it walk from pure noise to new points.
#
# **What you will be able to do**
#
# - write down the exact best denoiser of a finite data set, and say why nobody wants to sample with it;
# - say how a bound on the likelihood leads to the loss "mean squared error of the noise";
# - turn a predicted noise into a score, the direction in which noisy data become more likely;
# - work out how well the level below is known, and write one step back, with fresh noise (DDPM) or without (DDIM);
# - recognise shortcuts that fail, and find a wrong line in a walk from what it does.
#
# **What to know** Notebook 01 ($\beta_t$, $\alpha_t$, $\bar\alpha_t$, `q_sample`), the multivariate Gaussian, Bayes' rule, PyTorch tensors.
#
# **Time** About 140 minutes for a person, about two and a half minutes for two CPU cores, one of them for training.
#
# <!--slide 1 min
# # 02 Denoising points
#
# Notebook 01 turned data into noise. Now we walk back, in two dimensions, where every step can be drawn.
#
# - first with the best denoiser there can be, which a formula gives, and which only copies
# - then with a small network that learns to imitate it, and does not copy
#
# At the end you can write the best denoiser of a data set, turn predicted noise into a direction, and walk from pure noise to new points, with fresh noise or without.
#
# **A guess to write down:** the chain has 1,000 levels. The network is asked at every 2nd, every 5th, every 20th level only. From which on is a checkerboard no longer sharp?
#
# Notes:
# Say: everything today carries over to images; two numbers a point instead of 784 let us see it.
# Ask: what does $x_t$ look like at the last level, and what does it still say about $x_0$? (Gaussian noise; next to nothing. Notebook 01.)
# Have run: everything down to the two checkpoint files (section 5). Training takes about a minute, and all later cells read those files.
# -->

# %% slideshow={"slide_type": "skip"} tags=["setup"]
import sys
from pathlib import Path

sys.path.insert(0, str(next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "helpers").is_dir())))
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from helpers import checkpoints, data, metrics, show
from helpers.exercises import check
from helpers.models import PointMLP, parameter_count
from helpers.modes import choose, out_dir
from helpers.sampling import Rule, ancestral, ddim, last, reverse
from helpers.schedule import at, cosine
from helpers.sliders import sliders
from helpers.training import Run, train

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. Two data sets that can be drawn
#
# *On the one-evening route.* The *moons* are two thin half circles, from scikit-learn. The *checkerboard* has its points spread evenly over eight squares. The board is the harder one, because its edges
# are infinitely sharp. It also comes with a simple score: the share of samples that lie inside the squares.
#
# Level 0 is the clean data, the levels 1 to $T$ are noisy. A *schedule* says how much noise each level has: it is a choice of the betas. Ours is the *cosine* schedule (section 7 of notebook 01). It lets $\bar\alpha_t$ fall from 1 to nearly 0 like a squared cosine, slowly at both ends.
#
# <!--slide 2 min
# ## Two data sets: a thin one and a sharp one
#
# The board is the harder one. A number says how well it comes out: the share of samples inside its squares.
#
# On the right, a twentieth of the levels is enough to wash the edges out. **Question:** why are sharp edges hard for a smooth function?
#
# Notes:
# Say: 10,000 points each, the cosine schedule with 1000 levels. On the right a twentieth of the levels is enough to wash out the edges.
# Ask: why are sharp edges hard for a smooth function? (The score jumps there at low noise; a smooth function can only rise steeply.)
# Live: run the cell, it draws at once.
# -->

# %% slideshow={"slide_type": "skip"}
schedule = cosine(T=choose(read=1000, smoke=40))
T = schedule.T
moons, _ = data.moons(10_000, seed=0)
board, _ = data.checkerboard(10_000, seed=0)
noise = torch.randn(board.shape, generator=torch.Generator().manual_seed(0))

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
noisy = schedule.q_sample(board, T // 20, noise)
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3.5))
show.scatter(axes[0], moons[:4000], "moons", show.COLOUR["data"], size=1.5)
show.scatter(axes[1], board[:4000], "checkerboard", show.COLOUR["data"], size=1.5)
show.scatter(axes[2], noisy[:4000], f"checkerboard at t = {T // 20}", show.COLOUR["data"], size=1.5)
show.figure(fig, "Left: two interleaved half circles. Middle: eight sharp squares of a four by four board. "
            "Right: the board with a little noise, its edges washed out.")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="2.1"
# ## 2. The best denoiser there can be
#
# *On the one-evening route.* (Read; the exercise can wait.) Somebody picked one of our training points, noised it to level $t$, and shows us only the result, $x_t$. Where was the point?
#
# We cannot know. But we can weigh the candidates $x^{(1)}, \dots, x^{(N)}$. Before we looked, each of them was equally likely. And we know how point $i$ makes an $x_t$: it is shrunk by
# $\sqrt{\bar\alpha_t}$ and gets noise of variance $1-\bar\alpha_t$ in each coordinate, so it gives our $x_t$ with the density
#
# $$q(x_t\mid x^{(i)})=\mathcal N\big(x_t;\;\sqrt{\bar\alpha_t}\,x^{(i)},\;(1-\bar\alpha_t)\,I\big).$$
#
# Bayes' rule turns this round: how likely is point $i$, now that we have seen $x_t$? And which single guess is the best one? If errors are squared, it is the average of the candidates, each
# weighted with its probability. This average is the expectation $\mathbb E[x_0\mid x_t]$, and we call it the **exact optimal denoiser** of the training set. It needs no network and no training.
#
# <details>
# <summary>Why the expectation is the best guess</summary>
#
# Let $m=\mathbb E[x_0\mid x_t]$ and $f$ be any guess that only looks at $x_t$. Then
#
# $$\mathbb E\lVert x_0-f\rVert^2=\mathbb E\lVert (x_0-m)+(m-f)\rVert^2
# =\mathbb E\lVert x_0-m\rVert^2+2\,\mathbb E\big[(x_0-m)^\top(m-f)\big]+\mathbb E\lVert m-f\rVert^2 .$$
#
# Given $x_t$, the vector $m-f$ is fixed and $x_0-m$ has mean zero, so the middle term vanishes. The first term does not depend on $f$, and the last is
# smallest, zero, for $f=m$. The same argument says what a network trained with squared error aims at, whatever its target is called.
#
# </details>
#
# ### Exercise 2.1: the exact denoiser
#
# Write $\mathbb E[x_0\mid x_t]$ for a batch: `x_t` is (B, 2), `t` is (B,), `points` is (N, 2), the answer is (B, 2), in the dtype of `x_t`.
# `at(schedule.alpha_bar, t, x_t)`, as in notebook 01, gives $\bar\alpha_t$ of every example in the shape (B, 1).
#
# Difficulty: ●●●○○, 15 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# A Gaussian density is a constant times $\exp(-\text{distance}^2/(2\cdot\text{variance}))$. Bayes' rule with equal priors divides each density by the sum of all, and the constants cancel. Exponentials
# divided by their sum: which function of PyTorch is that? In code you need the difference between every noisy point and every shrunk training point, a tensor of shape (B, N, 2).
# Which dimension do you sum over for the squared distance, and over which do the weights add up to 1?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# With `a = at(schedule.alpha_bar, t, x_t)` the shrunk points are `a[:, None].sqrt() * points`, (B, N, 2), and so is `x_t[:, None]` minus them. After the sum over
# the last dimension the variance must be (B, 1): `1 - a` as it is. `torch.softmax(..., dim=1)` makes the weights, (B, N); the average is their matrix product with the points (N, 2).
# The points are float32, while `x_t` may come in float64 (twice as many digits). A matrix product wants one dtype only, so write `points.to(x_t.dtype)`.
#
# </details>
#
# <!--slide 3 min
# ## Your turn: 2.1, which point was it?
#
# Somebody picked one of $N$ training points and noised it to level $t$. We see only $x_t$.
#
# - before we looked, each point was equally likely
# - point $i$ gives $x_t$ with the density $\mathcal N\big(x_t;\;\sqrt{\bar\alpha_t}\,x^{(i)},\;(1-\bar\alpha_t)\,I\big)$
# - Bayes' rule: how likely is point $i$ now? Call this $w_i$
# - which single guess $g$ makes $\sum_i w_i\,\lVert x^{(i)}-g\rVert^2$ smallest?
#
# ```python
# def exact_denoiser(x_t, t, points, schedule):
#     """E[x_0 | x_t] where the data are exactly `points`."""
#     # x_t (B, 2), t (B,), points (N, 2); returns (B, 2)
#     ...
# ```
#
# Fifteen minutes, best at home. **To test yours:** what becomes of the weights at very low noise, and what at very high noise?
#
# Notes:
# Say: Bayes' rule with equal priors and one Gaussian around each shrunk point; the fold in the notebook proves that the expectation is the best guess. The exercise takes 15 minutes, best at home or in the lab; the next slide shows its answer.
# Ask: what becomes of the weights at very low noise, and at very high noise? (One candidate, the nearest, takes all; all get nearly the same.)
# The two most common mistakes: the softmax over the batch instead of over the points, and points that are not multiplied by $\sqrt{\bar\alpha_t}$ before they are compared with $x_t$.
# -->
# <!--slide 3 min
# ## The more noise, the closer together all answers lie
#
# $$\mathbb E[x_0\mid x_t]=\sum_i w_i\,x^{(i)},\qquad w_i=\operatorname*{softmax}_i\left(-\frac{\lVert x_t-\sqrt{\bar\alpha_t}\,x^{(i)}\rVert^2}{2\,(1-\bar\alpha_t)}\right)$$
#
# In words: the best guess is an average of all data points, and the points that fit $x_t$ count most. A line leads from each $x_t$, a circle, to its best guess, a green dot. The data are 200 points of the moons.
#
# **Question:** at $t = 400$ many dots lie where no data are. Is that an error?
#
# Notes:
# Say: at $t=50$ nearly every answer sits on a moon; at $t=400$ many lie between the moons; at $t=800$ all are close to the mean. In the notebook the next picture shows the weights for one $x_t$.
# Ask: at $t=400$ many dots lie where no data are. Is that an error? (No. Both moons are possible, and under squared error the average of the possible is the best answer.)
# Ask, by show of hands (prediction 2.2): take 500 starts of pure noise and leap to this best guess at once. What do the 500 answers look like: (a) spread like the data, (b) all on one spot, (c) on training points, (d) noise? The next slide shows it.
# Live: run the cells of exercise 2.1, they take a second or two.
# Answers 2.1.
# -->

# %% exercise="2.1" slideshow={"slide_type": "skip"}
def exact_denoiser(x_t, t, points, schedule):
    """E[x_0 | x_t] where the data are exactly `points`. x_t (B, 2), t (B,), points (N, 2); returns (B, 2)."""
    # TODO 2.1: weigh every point by Bayes' rule, return the weighted average
    ### BEGIN SOLUTION
    a = at(schedule.alpha_bar, t, x_t)
    away = x_t[:, None] - a[:, None].sqrt() * points
    w = torch.softmax(-away.square().sum(2) / (2 * (1 - a)), dim=1)
    return w @ points.to(x_t.dtype)
    ### END SOLUTION


exact_denoiser = check("2.1", exact_denoiser)

# %% expected="2.1" slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
def draw_field(ax, denoiser, t, points, title, colour=show.COLOUR["exact"]):
    # a line from every noisy point of a grid (circle) to the answer (dot)
    line = torch.linspace(-1.4, 1.4, 5)
    x = torch.cartesian_prod(line, line)
    x0 = denoiser(x, torch.full((len(x),), t))
    show.scatter(ax, points[:1500], title, show.COLOUR["data"], size=max(2, 1500 / len(points)), limit=1.6)
    ways = torch.stack([x, x0])  # (2, 25, 2)
    ax.plot(ways[..., 0], ways[..., 1], color="0.35", linewidth=0.9)
    ax.plot(x[:, 0], x[:, 1], "o", color="0.35", markerfacecolor="white", markersize=4)
    ax.plot(x0[:, 0], x0[:, 1], "o", color=colour, markersize=5.5, zorder=3)


few = moons[:200]
fig, axes = plt.subplots(1, 4, figsize=(show.WIDTH, 2.8))
for ax, t in zip(axes, (T // 20, T // 5, 2 * T // 5, 4 * T // 5), strict=True):
    draw_field(ax, lambda x, t: exact_denoiser(x, t, few, schedule), t, few, f"t = {t}")
show.figure(fig, "Lines from a grid of 25 noisy points, circles, to the exact answers, green dots. At low "
            "noise the dots lie on the moons; with more noise they draw together.")

# %% slideshow={"slide_type": "skip"} tags=["hide-input"]
here = torch.tensor([[0.2, 0.3]])
fig, axes = plt.subplots(1, 4, figsize=(show.WIDTH, 2.9))
for ax, t in zip(axes, (T // 20, T // 5, 2 * T // 5, 4 * T // 5), strict=True):
    a, best = schedule.alpha_bar[t], exact_denoiser(here, torch.tensor([t]), few, schedule)
    w = torch.softmax(-(here - a.sqrt() * few).square().sum(1) / (2 * (1 - a)), dim=0)
    look = dict(c=w / w.max(), cmap="Blues", vmin=0, vmax=1, s=18, edgecolors="0.6", linewidths=0.3)
    dots = ax.scatter(few[:, 0], few[:, 1], **look)
    ax.plot(best[:, 0], best[:, 1], "D", color=show.COLOUR["exact"], markersize=9, label="best guess")
    ax.plot(here[:, 0], here[:, 1], "x", color="black", markersize=9, markeredgewidth=2, label="$x_t$")
    ax.set(title=f"$t = {t}$", xlim=(-1.2, 1.2), ylim=(-1, 1), aspect="equal", xticks=[], yticks=[])
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
fig.colorbar(dots, ax=axes, label="weight / largest weight")
show.figure(fig, "The 200 points of the moons, darker the more they count for one place. At low noise only "
            "a few beside it are dark, then a stretch of one moon, then both moons.")

# %% [markdown] slideshow={"slide_type": "skip"}
# As a formula, what you wrote in 2.1 is
#
# $$w_i = p(x^{(i)} \mid x_t) = \operatorname*{softmax}_i\left(-\frac{\lVert x_t-\sqrt{\bar\alpha_t}\,x^{(i)}\rVert^2}{2\,(1-\bar\alpha_t)}\right),
# \qquad \mathbb E[x_0\mid x_t]=\sum_i w_i\,x^{(i)} .$$
#
# In words: the nearer $x_t$ lies to a shrunk training point, measured in standard deviations of the noise, the more that point counts. The answer is the average of the points with these weights.
#
# In the first picture each line starts at an $x_t$, a circle, and ends at its best guess of $x_0$, a green dot. Follow a line from the upper left corner through the four panels. At $t=50$ nearly every guess sits on a moon. At $t=400$ many lie *between* the moons, where there are no data at all.
#
# The second picture shows why, for a single $x_t$, the black cross. At $t=50$ only candidates right beside the cross have any weight. At $t=200$ it is a stretch of the upper moon, at $t=400$ both moons count, and
# the average of both lies between them. Follow the green diamond from left to right. Where is it going?

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="2.2"
# ### One leap, many steps
#
# *On the one-evening route.* Why not use this denoiser in the boldest way: draw pure noise $x_T$ and leap to the best guess of $x_0$ at once?
#
# ### Exercise 2.2: one leap
#
# We do it 500 times, from 500 different $x_T$. Where do the 500 answers lie?
#
# - (a) They are spread like the data: each start leads to another place on the moons.
# - (b) They all lie on one spot between the moons.
# - (c) Each lies on a training point, the one nearest to its start.
# - (d) They are noise, as the starts were.
#
# Write down your letter before you run on.
#
# Difficulty: ●○○○○, 2 minutes
#
# <details>
# <summary>Hint</summary>
#
# Go back to the four pictures above, from left to right. What will a fifth one show, for the very last level? What do the weights $w_i$ become when all points are shrunk to nearly 0 before they are compared with $x_T$?
#
# </details>
#
# <!--slide 3 min
# ## One leap lands on the mean, many steps copy
#
# Pale dots: the 200 training points. The same exact denoiser, used once and used at every level.
#
# Notes:
# Say: the one-leap answers are one spot, (b): from pure noise the best guess is the mean. A thousand small steps end on training points, at a distance of practically zero; fresh data keep a distance. The minimum of the training loss is a copying machine. A network is useful because it does not reach it.
# Ask: which two numbers tell whether a model copies? (The distance of its samples to the nearest training point, and the same distance for fresh data.)
# Have run: the walk has a thousand steps and takes some seconds.
# -->

# %% exercise="2.2" kind="predict" slideshow={"slide_type": "skip"}
# TODO 2.2: the letter, "a", "b", "c" or "d"
### BEGIN SOLUTION
guess = "b"
### END SOLUTION
check.predict("2.2", guess)

# %% slideshow={"slide_type": "-"} tags=["slide-output"]
def exact_model(points, schedule=schedule):
    """The exact denoiser in the clothes of a network: model(x_t, t) -> eps. In parts, to save memory."""
    def model(x_t, t):
        parts = zip(x_t.split(250), t.split(250), strict=True)
        x0 = torch.cat([exact_denoiser(x, level, points, schedule) for x, level in parts])
        return schedule.predict_eps(x_t, t, x0)

    model.prediction = "eps"  # what its answer means
    return model


path = list(reverse(exact_model(few), schedule, ddim(steps=T), (500, 2), seed=1))
one_leap, many_steps, fresh = path[1].x0, path[-1].x, data.moons(500, seed=1)[0]
check.truth("2.2", "b")

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3.5))
panels, rows = [("one leap", one_leap, "exact"), ("many steps", many_steps, "exact")], []
panels.append(("fresh data", fresh, "floor"))
for ax, (title, points, kind) in zip(axes, panels, strict=True):
    show.scatter(ax, few, title, colour="#A6CBE3", size=40)  # the blue of data, paler
    show.scatter(ax, points, title, show.COLOUR[kind], size=40 if title == "one leap" else 4)
    _, distance = metrics.nearest_neighbours(points, few)
    spread = points.std(0).square().mean().sqrt()
    rows.append([title, f"{spread:.4f}", f"{distance.median():.5f}"])
show.figure(fig, "Training points are large pale dots. Left: one-leap answers, all on one spot between the "
            "moons. Middle: samples of many steps sit on training points. Right: fresh data fill the "
            "gaps.")
header = ["500 points", "their spread", "median distance to the nearest training point"]
show.table(rows, header, "All in root mean square per coordinate")

# %% [markdown] slideshow={"slide_type": "skip"}
# In the first panel all 500 answers are one green dot. Pure noise says nothing about where the point was, so every candidate keeps its weight $1/N$, and the best guess is the mean of all data, whatever the start. This guess has the lowest
# possible squared error and looks like no data point at all. (For images the mean is a grey blur.) With small steps the walk can commit to
# one possibility after another.
#
# The second panel is such a walk, with the exact denoiser in place of a network (section 6 explains the step; `schedule.predict_eps` turns a guess of $x_0$ into the noise in $x_t$).
# The samples sit in the middle of the pale dots, on the training points: each walk only picks one of these points at random. Fresh data (third panel) fall between them, and the last column of the table says so in numbers.
#
# So **the exact optimum only repeats its training points**. We do *not* want the minimum of the training loss: a network that reached it would only copy.
#
# Why do trained networks not end up there? Ours will have 112,130 weights, more than the 20,000 numbers that describe 10,000 points, so it is not too small to remember them. But gradient descent finds smooth
# functions first (Rahaman et al. 2019), and the exact denoiser of single points is anything but smooth. For images, Kadkhodaie et al. (2024) trained two networks on two large sets that shared no picture: from the same noise both drew nearly the same new picture.
# Whether a network copies, we have to measure each time: we compare the distance of its samples to the nearest training point with the same distance for fresh data.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## 3. From the likelihood to the simple loss
#
# *On the one-evening route.* We want a network that does what the exact denoiser does, only smoother. Which loss should we train it with?
#
# Our model draws $x_T$ from $\mathcal N(0,I)$ and steps back with Gaussians $p_\theta(x_{t-1}\mid x_t)$, whose means a network supplies. It is a good model if it makes the data likely. For that its steps must be like the right ones, so we need a way to compare two distributions.
#
# The **Kullback-Leibler divergence** (KL) says how badly a distribution $p$ stands in for the true one, $q$:
#
# $$\mathrm{KL}(q\,\Vert\,p)=\mathbb E_{x\sim q}\big[\log q(x)-\log p(x)\big].$$
#
# In words: draw from $q$, and see how much likelier $q$ finds the draw than $p$ does, on average, in logarithms. It is 0 if the two are the same, and otherwise positive.
# How large is it for two bell curves of variance 1 whose means are 1 apart, and how large if they are 2 apart?

# %% slideshow={"slide_type": "skip"} tags=["hide-input"]
def bell(x, mean, variance):
    return torch.exp(-((x - mean) ** 2) / (2 * variance)) / (2 * torch.pi * variance) ** 0.5


x = torch.linspace(-4, 6, 300)
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 2.6), sharey=True)
for ax, apart in zip(axes, (0, 1, 2), strict=True):
    ax.plot(x, bell(x, 0, 1), color=show.COLOUR["exact"], linewidth=3, label="the true one, $q$")
    ax.plot(x, bell(x, apart, 1), "--", color=show.COLOUR["model"], linewidth=3, label="the model's, $p$")
    ax.set(title=f"means {apart} apart: KL = {apart**2 / 2:g}", xlabel="$x$", ylim=(0, 0.6))
axes[0].set_ylabel("density")
axes[0].legend(loc="upper right", fontsize=10)
show.figure(fig, "Three pairs of bell curves of the same width, their means 0, 1 and 2 apart. "
            "The divergences are 0, 0.5 and 2.")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="2.3"
# Twice the distance is four times the divergence: for Gaussians with the same variance $\sigma^2$ it is the squared distance of the means, divided by $2\sigma^2$. That is where the squared error will come from.
# Here is the way from the likelihood to the loss. Each step is worked out in the fold below the exercise.
#
# 1. We cannot compute the likelihood itself, because we would have to add up all walks that end at a data point. But we can compute a lower bound of it.
# 2. The bound is a sum over the steps. Each term is the divergence of the model's step back from the true one, the **posterior** $q(x_{t-1}\mid x_t,x_0)$: where $x_{t-1}$ was, if one knows where the walk started.
# 3. Both are Gaussians. With fixed variances only their means can differ, and what a term measures is the squared distance of the two means.
# 4. The posterior's mean is made of $x_t$, which the network sees, and of the noise $\epsilon$ that turned $x_0$ into $x_t$, which it does not see.
# 5. So we ask the network for the noise, and what is left of the bound is a squared error.
#
# ### Exercise 2.3: the loss of a batch
#
# Write this loss for one batch: each example has its own level in `t` (B,) and its own `noise`, shaped like `x0`. Noise `x0` to $x_t$ (your jump of 1.5 is now `schedule.q_sample(x0, t, noise)`),
# ask the network, `model(x_t, t)`, and compare its answer with `noise`: take the mean of the squared differences over everything. Return a tensor with one number that can be differentiated with respect to the network's weights.
#
# Difficulty: ●○○○○, 6 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# Two lines are enough: the noisy data, then the mean of the squares. What exactly is the network allowed to see, and what is its target?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# First `x_t = schedule.q_sample(x0, t, noise)`. The network's answer is `model(x_t, t)` and the target is `noise`. Subtract one from the other, then `.square()` and `.mean()`.
#
# </details>
#
# <!--slide 3 min
# ## Your turn: 2.3, the loss of a batch, 6 minutes
#
# 1. the likelihood has a lower bound, a sum over the steps
# 2. each term compares the model's step back with the posterior $q(x_{t-1}\mid x_t,x_0)$
# 3. both are Gaussian with fixed variances, so only the means matter
# 4. the posterior's mean is $\tilde\mu_t=\frac{1}{\sqrt{\alpha_t}}\Big(x_t-\frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon\Big)$. All in it is known but the noise $\epsilon$: let the network predict it
#
# ```python
# def simple_loss(model, x0, t, noise, schedule):
#     """The mean squared error of the predicted noise over a batch, one number."""
#     ...
# ```
#
# - what may the network see, and what is its target?
# - why may every example of the batch have another level?
#
# Notes:
# Say: terms are compared by the KL divergence; for two Gaussians of one width it is the squared distance of the means (picture in the notebook). The five steps stand there in full; in the room go through the idea of each. Give 6 minutes, then run the check cell on the projector. The two most common mistakes: the network is shown $x_0$, or $x_0+\epsilon$ without the factors; and the squares are summed instead of averaged, so that the loss grows with the batch.
# Ask: why may every example of a batch have another level? (The loss is an expectation over levels; a mixed batch estimates it with less scatter than one level at a time.)
# -->

# %% exercise="2.3" slideshow={"slide_type": "skip"}
def simple_loss(model, x0, t, noise, schedule):
    """The mean squared error of the predicted noise over a batch, one number."""
    # TODO 2.3: noise the batch, predict, compare
    ### BEGIN SOLUTION
    x_t = schedule.q_sample(x0, t, noise)
    return (model(x_t, t) - noise).square().mean()
    ### END SOLUTION


simple_loss = check("2.3", simple_loss)

# %% [markdown] slideshow={"slide_type": "slide"}
# As a formula, what you wrote is
#
# $$L_\text{simple}=\mathbb E_{x_0,\,t,\,\epsilon}\;\big\lVert \epsilon-\epsilon_\theta(x_t,t)\big\rVert^2,\qquad x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon .$$
#
# In words: take a point, a level and some noise, mix them, and ask the network which noise it was; count the squared error. (DDPM writes the sum over coordinates, you took the mean; a constant factor does not move the minimum.)
#
# <details>
# <summary>The derivation, in five steps</summary>
#
# **1. A lower bound.** Insert the forward process $q(x_{1:T}\mid x_0)$ and use Jensen's inequality (the logarithm of a mean is at least the mean of the logarithms):
#
# $$\log p_\theta(x_0)=\log \mathbb E_q\!\left[\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}\right]\ge \mathbb E_q\!\left[\log\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}\right]=:-L .$$
#
# **2. Both are products of steps.** With $p_\theta(x_{0:T})=p(x_T)\prod_t p_\theta(x_{t-1}\mid x_t)$ and $q(x_{1:T}\mid x_0)=\prod_t q(x_t\mid x_{t-1})$,
#
# $$L=\mathbb E_q\!\left[-\log p(x_T)+\sum_{t=1}^T\log\frac{q(x_t\mid x_{t-1})}{p_\theta(x_{t-1}\mid x_t)}\right].$$
#
# **3. Turn the forward steps round.** For $t\ge 2$ the step to $x_t$ looks at $x_{t-1}$ only, so $q(x_t\mid x_{t-1})=q(x_t\mid x_{t-1},x_0)$, and Bayes' rule gives
#
# $$q(x_t\mid x_{t-1})=q(x_{t-1}\mid x_t,x_0)\,\frac{q(x_t\mid x_0)}{q(x_{t-1}\mid x_0)} .$$
#
# In the sum of logarithms the fractions cancel one another except for the ends: $\sum_{t\ge 2}\log\frac{q(x_t\mid x_0)}{q(x_{t-1}\mid x_0)}=\log q(x_T\mid x_0)-\log q(x_1\mid x_0)$.
# The last term cancels against the one of step $t=1$, $\log q(x_1\mid x_0)$. What is left are divergences:
#
# $$L=\mathbb E_q\Big[\underbrace{\mathrm{KL}\big(q(x_T\mid x_0)\,\Vert\, p(x_T)\big)}_{L_T\text{: is }x_T\text{ noise? nothing to learn}}
# +\sum_{t\ge 2}\underbrace{\mathrm{KL}\big(q(x_{t-1}\mid x_t,x_0)\,\Vert\, p_\theta(x_{t-1}\mid x_t)\big)}_{L_{t-1}}
# \underbrace{-\log p_\theta(x_0\mid x_1)}_{L_0}\Big].$$
#
# **4. Both sides of $L_{t-1}$ are Gaussian.** The posterior has a mean $\tilde\mu_t$, which section 6 works out, and a fixed variance. Give $p_\theta$ a fixed variance $\sigma_t^2$ and a mean $\mu_\theta$. Up to a constant that training cannot change,
#
# $$L_{t-1}=\frac{1}{2\sigma_t^2}\,\mathbb E_q\lVert\tilde\mu_t(x_t,x_0)-\mu_\theta(x_t,t)\rVert^2,\qquad
# \tilde\mu_t=\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\,x_0+\frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\,x_t .$$
#
# Put $x_0=(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon)/\sqrt{\bar\alpha_t}$ in. With $\sqrt{\bar\alpha_{t-1}/\bar\alpha_t}=1/\sqrt{\alpha_t}$ the factor of $x_t$ becomes
#
# $$\frac{\beta_t}{\sqrt{\alpha_t}(1-\bar\alpha_t)}+\frac{\sqrt{\alpha_t}(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}
# =\frac{(1-\alpha_t)+(\alpha_t-\bar\alpha_t)}{\sqrt{\alpha_t}\,(1-\bar\alpha_t)}=\frac1{\sqrt{\alpha_t}},$$
#
# and that of $\epsilon$ becomes $-\frac{\beta_t}{\sqrt{\alpha_t}\sqrt{1-\bar\alpha_t}}$. So
#
# $$\tilde\mu_t=\frac{1}{\sqrt{\alpha_t}}\Big(x_t-\frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon\Big).$$
#
# **5. Only $\epsilon$ is unknown.** $x_t$ is given, so let the network predict $\epsilon$ and put it into the same formula for $\mu_\theta$. The difference of the means is the difference of the noises:
#
# $$L_{t-1}=\frac{\beta_t^2}{2\sigma_t^2\,\alpha_t\,(1-\bar\alpha_t)}\;\mathbb E\lVert\epsilon-\epsilon_\theta(x_t,t)\rVert^2 .$$
#
# The last term, $L_0=-\log p_\theta(x_0\mid x_1)$, is a Gaussian too and has the same form, with $t=1$, if $\sigma_t^2=\beta_t$ is chosen. (The posterior's own variance is 0 at $t=1$, and one cannot divide by that.) Ho et al. drop the factor in front, and what is left is $L_\text{simple}$. With the linear schedule the factor is
# largest at the lowest noise, so dropping it takes weight away from the finest details and gives it to the levels where the shape is decided.
#
# </details>
#
# <!--slide 2 min
# ## A bound on the likelihood becomes a squared error
#
# $\mu_\theta$ is the mean of 2.3 with $\epsilon_\theta$ for $\epsilon$. In the difference of the two $x_t$ drops out:
#
# $$L_{t-1}=\frac{1}{2\sigma_t^2}\,\mathbb E\,\lVert\tilde\mu_t-\mu_\theta\rVert^2=\frac{\beta_t^2}{2\sigma_t^2\,\alpha_t\,(1-\bar\alpha_t)}\;\mathbb E\,\lVert\epsilon-\epsilon_\theta\rVert^2$$
#
# Drop the factor in front, and take all levels together:
#
# $$L_\text{simple}=\mathbb E_{x_0,\,t,\,\epsilon}\;\big\lVert \epsilon-\epsilon_\theta(\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon,\;t)\big\rVert^2$$
#
# In words: mix a point with noise at some level, ask the network which noise it was, and count the squared error. No chain is needed.
#
# **Next, your turn, 2.4:** $\nabla_x\log\mathcal N(x;\,m,\,s^2 I)=\;?$ And for $x_t$, whose mean is $\sqrt{\bar\alpha_t}\,x_0$: write it with $\epsilon$.
#
# Notes:
# Say: the trick of the derivation is to turn the forward steps round with Bayes' rule, after which the fractions cancel. The posterior is a product of two Gaussians, hence Gaussian. Then give 4 minutes to the gradient, on paper.
# Ask: with the linear schedule, at which levels is the dropped factor largest, and what does dropping it do? (At the lowest noise. Dropping it takes weight from the finest details and gives it to the levels where the shape is decided.)
# Answers 2.3.
# -->

# %% [markdown] slideshow={"slide_type": "skip"} exercise_text="2.4"
# ## 4. Noise and score: one thing in two notations
#
# Papers often speak of the **score** in place of the noise. It is an arrow at every place: the direction in which the density of noisy data grows fastest, $\nabla_{x_t}\log p_t(x_t)$,
# the gradient of the log density with respect to $x_t$. Walking along it leads to where data are likely, which is what a sampler wants. What has our predicted noise to do with it?
#
# Begin with a single clean point $x_0$. Its noisy versions are a Gaussian cloud $\mathcal N(m, s^2 I)$ around $m=\sqrt{\bar\alpha_t}\,x_0$, and you know $s^2$. Take the logarithm of this density and differentiate it with respect to $x_t$.
# There is still an $x_t-m$ in the result. Which noise $\epsilon$ has brought $x_t$ there? Write $x_t-m$ with it.
#
# ### Exercise 2.4: the score
#
# Return the score that a noise `eps` at the levels `t` stands for, in the shape and dtype of `eps`, for points (B, 2) and images (B, 1, H, W) alike.
#
# Difficulty: ●●○○○, 7 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# The log density is a constant minus $\lVert x_t-m\rVert^2/(2s^2)$. Its gradient is $-(x_t-m)/s^2$: it points from $x_t$ back to the middle of the cloud. And $x_t-m$ is the noise as it stands in $x_t$, with its factor.
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# $x_t-m=\sqrt{1-\bar\alpha_t}\,\epsilon$ and $s^2=1-\bar\alpha_t$: how many roots are left below $\epsilon$ when you divide? `at(schedule.alpha_bar, t, eps)` fits both shapes.
#
# </details>

# %% exercise="2.4" slideshow={"slide_type": "skip"}
def score(eps, t, schedule):
    """The gradient of the log density of noisy data that a noise eps at the levels t stands for, like eps."""
    # TODO 2.4: return the score
    ### BEGIN SOLUTION
    return -eps / (1 - at(schedule.alpha_bar, t, eps)).sqrt()
    ### END SOLUTION


score = check("2.4", score)

# %% [markdown] slideshow={"slide_type": "slide"}
# For one clean point your formula is exact. It holds for a whole data set, too, if $\epsilon$ is the *best prediction* of the noise (Tweedie's formula):
#
# $$\nabla_{x_t}\log p_t(x_t)=-\frac{\mathbb E[\epsilon\mid x_t]}{\sqrt{1-\bar\alpha_t}}\approx-\frac{\epsilon_\theta(x_t,t)}{\sqrt{1-\bar\alpha_t}} .$$
#
# In words: the score is the predicted noise, turned round and divided by how much noise there is. A network that predicts noise well therefore knows where the density grows, without ever having seen a density.
#
# <details>
# <summary>Why the best prediction of the noise gives the score of all data</summary>
#
# The density of noisy data is a mixture over clean ones, $p_t(x_t)=\int q(x_t\mid x_0)\,p(x_0)\,dx_0$. Differentiate the logarithm:
#
# $$\nabla\log p_t(x_t)=\frac{\int \nabla q(x_t\mid x_0)\,p(x_0)\,dx_0}{p_t(x_t)}=\int \nabla\log q(x_t\mid x_0)\;\frac{q(x_t\mid x_0)\,p(x_0)}{p_t(x_t)}\,dx_0=\mathbb E\big[\nabla\log q(x_t\mid x_0)\,\big|\,x_t\big].$$
#
# The second step writes $\nabla q=q\,\nabla\log q$, and the third one recognises Bayes' rule in the fraction. The gradient inside is what you worked out, $-\frac{x_t-\sqrt{\bar\alpha_t}\,x_0}{1-\bar\alpha_t}=-\frac{\epsilon}{\sqrt{1-\bar\alpha_t}}$, and so
#
# $$\nabla\log p_t(x_t)=-\frac{\mathbb E[\epsilon\mid x_t]}{\sqrt{1-\bar\alpha_t}}=-\frac{x_t-\sqrt{\bar\alpha_t}\;\mathbb E[x_0\mid x_t]}{1-\bar\alpha_t}.$$
#
# The best prediction of the noise is $\mathbb E[\epsilon\mid x_t]$ (section 2). Hence a perfect network gives the score exactly.
#
# </details>
#
# We can test that. For the exact denoiser we know the density, a mixture of Gaussians, and automatic differentiation gives the gradient of its logarithm
# without Tweedie's formula. Do both give the same arrows?
#
# <!--slide 2 min
# ## The score is the predicted noise, turned round and scaled
#
# $$\nabla_{x_t}\log p_t(x_t)=-\frac{\mathbb E[\epsilon\mid x_t]}{\sqrt{1-\bar\alpha_t}}\approx-\frac{\epsilon_\theta(x_t,t)}{\sqrt{1-\bar\alpha_t}}$$
#
# In words: turn the predicted noise round, and divide it by how much noise there is. Blue: the density of noisy moons. Arrows: the direction of the score.
#
# Notes:
# Say: Tweedie's formula. The proof is two lines in the fold: differentiate the mixture, recognise the posterior mean of the noise. For the exact denoiser the density is known; in the notebook automatic differentiation gives the same arrows, up to rounding. The most common mistakes of 2.4: the wrong sign, and a division by the variance in place of its root.
# Ask: the score at the point where the density is highest? (Zero: nothing grows there. So the predicted noise is zero too.)
# Live: both cells run in a moment.
# -->

# %% slideshow={"slide_type": "skip"}
def log_density(x_t, t, points):
    a = at(schedule.alpha_bar, t, x_t)
    away = x_t[:, None] - a.sqrt() * points
    return torch.logsumexp(-away.square().sum(2) / (2 * (1 - a)), dim=1)


rows = []
x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
for t in (T // 10, T // 2, 9 * T // 10):
    (slope,) = torch.autograd.grad(log_density(x, t, few).sum(), x)
    x_t, levels = x.detach(), torch.full((200,), t)
    ours = score(exact_model(few)(x_t, levels), levels, schedule)
    gap = (ours - slope).abs().max() / slope.abs().max()
    rows.append([t, f"{slope.abs().max():.2f}", f"{gap:.1e}"])
show.table(rows, ["level t", "largest score", "largest difference, relative to it"])

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
line, fine = torch.linspace(-1.4, 1.4, 15), torch.linspace(-1.5, 1.5, 121)
grid, pixels = torch.cartesian_prod(line, line), torch.cartesian_prod(fine, fine)
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3.4))
for ax, t in zip(axes, (T // 10, T // 4, T // 2), strict=True):
    level = torch.full((len(grid),), t)
    arrow = score(exact_model(few)(grid, level), level, schedule)
    arrow = arrow / arrow.norm(dim=1, keepdim=True)  # all of one length: only the direction is drawn
    density = log_density(pixels, t, few).exp().reshape(121, 121).T
    ax.imshow(density, origin="lower", extent=(-1.5, 1.5, -1.5, 1.5), cmap="Blues")
    look = dict(color=show.COLOUR["exact"], scale=17, width=0.007, headwidth=4.5, pivot="mid")
    ax.quiver(grid[:, 0], grid[:, 1], arrow[:, 0], arrow[:, 1], **look)
    ax.set(title=f"t = {t}", xticks=[], yticks=[])
show.figure(fig, "The density of noisy moons at three levels: two arcs, one oval, one round cloud. Arrows "
            "all over the plane point up the density.")

# %% [markdown] slideshow={"slide_type": "skip"}
# They are the same arrows: the last column is rounding. In the picture, blue is the density of noisy data, $p_t$, and the arrows are the score (only its direction is drawn). Wherever you start, they lead uphill. At $t=500$ the
# hill is one round cloud, and all arrows point to its middle. At $t=100$ it has become two moons, and the arrows lead to the nearer one. So a sampler that follows the arrows from high noise to low
# is first led inwards, and later to one of the moons. (Song and Ermon 2019 built their generative models on this.)

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="2.5"
# ## 5. A network that knows the level
#
# *On the one-evening route.* (Read, and let the training run.) Why does the network need $t$? Look at one place at different levels. At low noise, $x_t=(0.3,\,0.2)$ is a point that has hardly moved. At high noise it could have come
# from anywhere. The right answers differ (section 2 drew them), so a network that sees only $x_t$ can at best give their average.
#
# How should we tell it? On our board the bare number $t$ would do (further exercise 2). We learn the way that image networks use:
# we show $t$ on many dials at once, as a clock shows the time with a fast hand and slow ones. Each dial is a wave, and the network sees its sine and its cosine:
#
# - of $d$ numbers, the first half are sines and the second half cosines, of the same $d/2$ angles in the same order;
# - the first wave is the fastest. Its angle grows by 1 from one level to the next;
# - each further wave turns $P^{2/d}$ times more slowly than the one before it, with $P=10\,000$ (`max_period`).
#
# An example: for $d=4$ the factor is $10\,000^{1/2}=100$. There are two waves, and they turn by 1 and by 0.01 a level.
#
# ### Exercise 2.5: the timestep embedding
#
# `t` is (B,), whole levels; return (B, dim) in float32: all sines first, then all cosines.
#
# Difficulty: ●●○○○, 8 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# There are `dim // 2` waves, numbered $i=0,1,\dots$. They slow down by the same *factor* each time: after all `dim // 2` steps of slowing down, 1 has become $1/P$. What has it become after $i$ steps?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# `max_period ** (-i / half)` with `half = dim // 2` and `i = torch.arange(half)`, then an outer product for the angles: `t.float()[:, None] * frequencies`. `torch.cat([...], dim=1)` puts two blocks side by side.
#
# </details>
#
# <!--slide 3 min
# ## The level is shown on many dials, fast and slow
#
# $d/2$ sines, then as many cosines: the first wave turns by 1 a level, each next one is slower by the same factor.
#
# Notes:
# Say: each column on the left is what the network is told. Fast rows tell neighbours apart, slow rows tell early from late. On the right: a level is most like itself, and alike to its neighbours. The embedding is added in every residual block of a small perceptron.
# Ask: why must the network know $t$ at all? (One place means different things: at low noise a point that has hardly moved, at high noise a point from anywhere. Without $t$ it could only give the average answer.)
# Live: exercise 2.5 before the picture is run, 8 minutes: which frequencies are these? ($10\,000^{-i/(d/2)}$.) Its two most common mistakes: frequencies that fall on a straight line instead of by a factor, and sines and cosines interleaved where all sines come first.
# -->

# %% exercise="2.5" slideshow={"slide_type": "skip"}
def timestep_embedding(t, dim, max_period=10_000.0):
    """Sines, then cosines, of t at dim/2 frequencies from 1 down to nearly 1/max_period: (B,) to (B, dim)."""
    # TODO 2.5: the angles, then sines and cosines side by side
    ### BEGIN SOLUTION
    i = torch.arange(dim // 2)
    angles = t.float()[:, None] * max_period ** (-i / (dim // 2))
    return torch.cat([angles.sin(), angles.cos()], dim=1)
    ### END SOLUTION


timestep_embedding = check("2.5", timestep_embedding)

# %% expected="2.5" slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
emb = timestep_embedding(torch.arange(1001), 64)
fig, (left, right) = plt.subplots(1, 2, figsize=(show.WIDTH, 3.6))
left.imshow(emb.T, aspect="auto", cmap="RdBu_r", interpolation="nearest")
left.set(xlabel="level t", ylabel="entry", title="embedding: sines above, cosines below")
left.grid(False)
for t, colour in zip((50, 300, 800), show.COLOURS, strict=False):
    right.plot(emb @ emb[t] / 32, color=colour, label=f"t = {t}")
right.set(xlabel="level t", ylabel="scalar product / 32", title="how alike are two levels?")
right.legend()
show.figure(fig, "Left: heat map, 64 entries against levels 0 to 1000, fast stripes at the top of each half, "
            "slow below. Right: the similarity of three levels to all others peaks sharply at the level "
            "itself.")

# %% [markdown] slideshow={"slide_type": "skip"}
# $$\gamma(t)=\big(\sin\omega_0t,\dots,\sin\omega_{d/2-1}t,\;\cos\omega_0t,\dots,\cos\omega_{d/2-1}t\big),\qquad \omega_i=P^{-\,i/(d/2)},\quad P=10\,000 .$$
#
# Each column on the left is what the network is told about one level. The fast rows at the top of each half tell neighbours apart, the slow rows below tell early from late. On the right you see that nearby levels look alike and far ones do not.
#
# ### The network
#
# A multilayer perceptron (MLP) with three additions, each a line below:
#
# - **Fourier features** of the position, $\sin\frac{\pi k}{2}x$ and $\cos\frac{\pi k}{2}x$ for $k=1,\dots,8$: a plain MLP is slow to learn sharp edges, and the board has nothing else;
# - **residual blocks**, $h\leftarrow h+g(h)$, so that gradients find a short way to every layer;
# - the **level**, added anew in every block.
#
# (The Fourier features help more here than elsewhere, because the wave with $k=4$ repeats exactly as often as the squares of the board do. Further exercise 2 takes them away.)

# %% slideshow={"slide_type": "skip"}
def forward(net, x, t):
    emb = net.time(timestep_embedding(t, net.time_dim))  # (B, width): which level is it?
    h = net.enter(torch.cat([x, net.fourier(x)], dim=1))  # (B, width): where is the point?
    for first, second in zip(net.blocks[::2], net.blocks[1::2], strict=True):
        h = h + second(F.silu(first(F.silu(h + emb))))  # a residual block, told the level anew
    return net.leave(F.silu(h))  # (B, 2): the noise in x


torch.manual_seed(0)
net = PointMLP()
x, t = torch.randn(5, 2), torch.tensor([1, 2, 10, 20, 40])
print(f"{parameter_count(net):,} parameters, {len(net.blocks) // 2} blocks, width {net.enter.out_features}")
print("these lines are helpers' PointMLP:", torch.allclose(forward(net, x, t), net(x, t), atol=1e-6))

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Training is a regression
#
# One training step, in words (you will write it in notebook 04; `helpers.training.train` does it here):
#
# - draw some points, a level for each of them, and noise;
# - compute the loss of this batch, your `simple_loss`;
# - compute its gradient, cut it to norm 1 so that no single batch throws the weights off, and let AdamW make one step;
# - let the learning rate warm up, stay, and fall to zero at the end;
# - keep an **exponential moving average** (EMA) of the weights, $\bar\theta\leftarrow d\,\bar\theta+(1-d)\,\theta$, which jitters less than the weights and gives better samples. ($d$ starts small, so that the random first weights are forgotten, and grows to 0.999.)
#
# Training needs no chain and no sampling. We train one network for each data set, about a minute in all.
#
# <!--slide 2 min
# ## Training is a regression with fresh noise in every step
#
# 1. draw some points, a level for each of them, and noise
# 2. compute the loss of this batch, your `simple_loss`
# 3. compute its gradient, cut it to norm 1, and make one step of AdamW
# 4. average the weights over time (EMA): $\bar\theta\leftarrow d\,\bar\theta+(1-d)\,\theta$. Samples come from $\bar\theta$
#
# The learning rate warms up, stays, and falls to zero. There is no chain and no sampling.
#
# **Your turn, 2.6:** how small can this loss become? Sketch the smallest possible loss of the board at $t=1,\ 8,\ 64,\ 256,\ 512,\ 900$: six numbers between 0 and 1.5.
#
# Draw a curve through them, and say why yours rises, falls or stays.
#
# Notes:
# Say: this is all of diffusion training; students write it in notebook 04. Let everybody draw a curve before the next slide; ask two of them to say why theirs rises, falls or stays.
# Ask: what changes in this list when the points become images? (The shape of the data and the network. Nothing else.)
# Have run: the cell that trains both networks, about a minute.
# -->

# %% slideshow={"slide_type": "skip"}
def fit(name, points, steps):
    """Train one network, write its averaged weights to a checkpoint, return the losses."""
    torch.manual_seed(0)
    run = Run(PointMLP(), lr=3e-3, seed=0)
    walk = train(run, schedule, points, steps, batch_size=512)
    losses = [step.loss for step in show.progress(walk, total=steps, label=name)]
    recipe = dict(data=name, schedule=schedule.name, T=T, steps=steps, batch_size=512, lr=3e-3, seed=0)
    checkpoints.save_model(out_dir() / f"points_{name}.safetensors", run.ema.model, recipe)
    return losses


losses = {"moons": fit("moons", moons, choose(read=2800, smoke=30)),
          "board": fit("board", board, choose(read=4000, smoke=30))}

# %% [markdown] slideshow={"slide_type": "skip"} exercise_text="2.6"
# ### From here on, two files
#
# **The networks below come from the two checkpoint files** that the training wrote. To draw again in a fresh kernel, run all cells above but the training, set `losses = {"moons": [], "board": []}`, and go on here.
#
# How small can the loss become? The exact denoiser tells us, level by level, because on these training points nothing that sees only $x_t$ can do better. We call this smallest possible loss the **floor** of the level. Think about a low level and a high one: what does $x_t$ say about the noise that is in it?
#
# ### Exercise 2.6: the floor of the loss
#
# Sketch the smallest possible loss, the mean squared error of the predicted noise, of somebody who knows the 10,000 training points of the board by heart and is shown one of them with noise, at $t=1,\ 8,\ 64,\ 256,\ 512,\ 900$ of 1000: six numbers from 0 to 1.5.
# (Somebody who always answers "no noise at all" has a loss of 1.) Your sketch is drawn into the next picture.
#
# Difficulty: ●●○○○, 3 minutes
#
# <details>
# <summary>Hint</summary>
#
# At $t=900$ almost all of $x_t$ is noise: what would you answer if you were asked for it? At $t=1$ the noise pushes a point by about a hundredth of a square's width. Compare that push with the gaps between 10,000 points: could you tell, from the place where a point is now, which way it was pushed?
#
# </details>

# %% exercise="2.6" kind="predict" slideshow={"slide_type": "skip"}
# TODO 2.6: the smallest possible loss at t = 1, 8, 64, 256, 512, 900
### BEGIN SOLUTION
guess = 0.85, 0.95, 0.8, 0.6, 0.2, 0.0
### END SOLUTION
check.predict("2.6", guess)

# %% slideshow={"slide_type": "skip"}
def load(name):
    return checkpoints.load_model(out_dir() / f"points_{name}.safetensors", PointMLP)


@torch.no_grad()
def loss_at(model, points, t, schedule=schedule):
    noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    return float(simple_loss(model, points, torch.full((len(points),), t), noise, schedule))


net_moons, net_board = load("moons"), load("board")
draw = torch.randint(200_000, (4, 10_000), generator=torch.Generator().manual_seed(1))
real = {"moons": data.moons(200_000, seed=1)[0][draw], "board": data.checkerboard(200_000, seed=1)[0][draw]}
levels = [t for t in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900) if t <= T]
places, long, n = (1, 8, 64, 256, 512, 900), cosine(1000), choose(read=1000, smoke=50)
floor = [loss_at(exact_model(board, long), board[:1000], t, long) for t in places]
check.truth("2.6", floor)
sketch = check.written("2.6")  # None where nothing was written down

# %% [markdown] slideshow={"slide_type": "slide"}
# How did the training go, and where does your sketch (right) lie?
#
# <!--slide 3 min
# ## The loss cannot reach zero: each level has its floor
#
# Green: the exact denoiser, the floor on the points it knows. Orange: the network. **Question:** at the lowest noise green is best on its own points and worst on fresh ones. Why?
#
# Notes:
# Say: left, both losses fall fast and then hardly move, far above zero; that is not bad training, $x_t$ does not say where it came from. Right, the floor by level: near 1 at low noise (lower again at t = 1 and 2, where the known points give part of it away), near 0 at high noise. "Equally hard at all levels" is wrong.
# Ask: at the lowest noise the exact denoiser wins on its own points and loses on fresh ones. Why? (It recognises the very point it was given; a fresh point it pulls to a neighbour. The network learned squares, not points. Its two curves lie a little apart only because 1,000 points were picked for each.)
# Have run: needs the two checkpoint files.
# -->

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
fig, (left, right) = plt.subplots(1, 2, figsize=(show.WIDTH, 4))
for name, line in (("moons", "--"), ("board", "-")):
    left.plot(losses[name], color=show.COLOUR["model"], alpha=0.12, linewidth=0.5)
    left.plot(show.smooth(losses[name], 100), line, color=show.COLOUR["model"], label=name)
left.set(xlabel="training step", ylabel="loss", ylim=(0.2, 0.6), title="in training (mean of 100 steps)")
for name, model, kind in (("exact", exact_model(board), "exact"), ("network", net_board, "model")):
    for which, points, line in (("training", board[:n], "-o"), ("fresh", real["board"][0, :n], ":s")):
        curve = [loss_at(model, points, t) for t in levels]
        right.plot(levels, curve, line, color=show.COLOUR[kind], label=f"{name}, {which} points")
if sketch is not None:
    right.plot(places, sketch, "--", color=show.COLOURS[3], label="your sketch")
right.set(xlabel="level t (logarithmic)", xscale="log", ylim=(0, 1.5), title="loss by level (board)")
_ = left.legend(), right.legend(fontsize=10)
show.figure(fig, "Left: both losses fall, then level off above zero. Right: by level, near 1 at low noise, 0 "
            "at high; at the lowest the exact denoiser is best on its own points, worst on fresh ones.")

# %% [markdown] slideshow={"slide_type": "skip"}
# Follow the solid green line in the right panel: the levels are not equally hard. At high noise $x_t$ *is* nearly the noise and the loss is tiny. Towards low noise the noise hides behind the
# data's own detail and the loss grows. At $t=1$ and 2 the floor falls again a little: there the known points give part of the noise away. The network lies close to the floor at most levels, so most of what is left of the loss in the left panel cannot be removed by any training.
#
# **Question** At low noise the exact denoiser beats the network on its own points and loses on fresh ones. Why?
#
# <details>
# <summary>Answer</summary>
#
# Once the noise is as small as the gaps between training points, the exact denoiser can tell *which* point it was given and answers with that very point: a loss below what the squares
# alone allow. A fresh point is pulled to some training neighbour, which is wrong by the size of a gap. The network has learned the squares, not the points, and on fresh points it does better: 1.04 at $t=1$ against 1.41.
# But the answer "no noise at all" scores 1.04 on the same draws, too: so close to the data, the squares alone say next to nothing about the noise.
#
# The network's two curves are up to 0.04 apart, at $t=32$. That comes from the choice of the 1,000 points; with 10,000 of each kind they are 0.004 apart. A gap that stays with many points would mean that the network has learned its training points by heart.
#
# </details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 6. Back from noise: many small steps
#
# *On the one-evening route.* (On this route skip 2.7: its function is then filled in for you.) We stand at level $t$ and want to go down to a lower level $s$. The network looks at $x_t$ and tells us which noise is in it, and so where $x_0$ should be. Suppose it is right. How well do we then know $x_s$? Two sources speak about it:
#
# 1. **$x_0$ speaks from below.** $x_s$ is $\sqrt{\bar\alpha_s}\,x_0$ with noise of variance $1-\bar\alpha_s$: this is its variance if only $x_0$ is known.
# 2. **$x_t$ speaks from above.** On the way up, $x_t$ was made from $x_s$ by shrinking it a little and adding noise: $x_t=\sqrt r\,x_s+\sqrt{1-r}\,z$ with $r=\bar\alpha_t/\bar\alpha_s$, the share of the signal that is kept between the two levels. Solve this for $x_s$, and it says where $x_s$ was, with a variance of its own.
#
# Each source gives a Gaussian for $x_s$, and Bayes' rule says to multiply them: $q(x_s\mid x_t,x_0)\propto q(x_t\mid x_s)\,q(x_s\mid x_0)$. Let us do that once with numbers, for a single coordinate $x$. One source says: mean 1, variance $\frac12$. The other says: mean 0, variance $\frac18$.
# Multiplying exponentials adds their exponents:
#
# $$-\frac{(x-1)^2}{2\cdot\frac12}-\frac{(x-0)^2}{2\cdot\frac18}=-\frac12\Big[2\,(x-1)^2+8\,x^2\Big]=-\frac12\Big[10\,x^2-4\,x+2\Big]=-\frac12\Big[10\,(x-0.2)^2+1.6\Big].$$
#
# The last step is called completing the square. Take the 10 out of $10x^2-4x$, which leaves $x^2-0.4\,x$. Half of $0.4$ is $0.2$, and $(x-0.2)^2$ is $x^2-0.4\,x+0.04$. So $10\,(x-0.2)^2$ has $0.4$ too much, and $2-0.4$ is the $1.6$. This constant only changes the height of the curve. What is left is a Gaussian again, with mean 0.2 and variance $\frac1{10}$.
#
# Where does the 10 come from? It is $2+8$, one over the first variance plus one over the second. One over a variance is called a **precision**. In words: when two independent sources speak about one number, their precisions add, $\frac1v=\frac1{v_1}+\frac1{v_2}$.
# And the mean is the average of both means, each weighted with its precision: $0.2=\frac{2\cdot1+8\cdot0}{10}$.
#
# <!--slide 3 min
# ## How well is the level below known? Two sources speak
#
# - $x_0$, from below: $x_s$ is $\sqrt{\bar\alpha_s}\,x_0$ with noise of variance $1-\bar\alpha_s$
# - $x_t$, from above: $x_t=\sqrt r\,x_s+\sqrt{1-r}\,z$ with $r=\bar\alpha_t/\bar\alpha_s$; read it backwards
# - multiply the Gaussians: their **precisions** $1/v$ add
#
# **Your turn, 2.7:** the variance of $x_s$ when both $x_t$ and $x_0$ are known, 10 minutes.
#
# Notes:
# Say: follow the green curve. It is narrower than both others and lies nearer to the narrower one. On the board, with numbers: $2(x-1)^2+8x^2=10(x-0.2)^2+1.6$. The two most common mistakes of 2.7: the variances are added, and the second source is taken to have variance $1-r$, as if it were read forwards.
# Ask: what comes out for $s=0$? (Zero: $x_0$ is known, its source has infinite precision.)
# Answers 2.7.
# -->

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
x = torch.linspace(-1.6, 2.6, 400)
fig, ax = plt.subplots(figsize=(show.WIDTH, 2.8))
sources = [("$x_0$ says", 1.0, 1 / 2, "data"), ("$x_t$ says", 0.0, 1 / 8, "noise"),
           ("both together", 0.2, 1 / 10, "exact")]
for name, mean, var, kind in sources:
    label = f"{name}: precision {1 / var:.0f}, variance {var:g}"
    ax.plot(x, bell(x, mean, var), color=show.COLOUR[kind], linewidth=2.5, label=label)
    ax.axvline(mean, color=show.COLOUR[kind], linestyle=":")
ax.set(xlabel="$x_s$ (one coordinate)", ylabel="density", title="precisions add: $2 + 8 = 10$", ylim=(0, 1.9))
ax.legend(loc="upper right")
show.figure(fig, "Two Gaussian curves, a wide and a narrower one, and their product, scaled to area one: "
            "narrower than both, between them, nearer to the narrower one.")

# %% [markdown] slideshow={"slide_type": "skip"} exercise_text="2.7"
# ### Exercise 2.7: how well is the level below known?
#
# Return the variance of $x_s$ when $x_t$ and $x_0$ are known, with $s=$ `t_next`, as a tensor with one number. Here `t` and `t_next` are two ints, `t_next < t`, neighbours or far apart, so `schedule.alpha_bar[t]` is one number. At the clean end, `t_next = 0`, the answer is 0.
#
# Difficulty: ●●●○○, 10 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# Solve $x_t=\sqrt r\,x_s+\sqrt{1-r}\,z$ for $x_s$. What stands in front of $z$, squared, is the variance of the second source: $(1-r)/r$. Its precision is one over that.
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# With `a, a_next = schedule.alpha_bar[t], schedule.alpha_bar[t_next]`, `r = a / a_next` and the two precisions `1 / (1 - a_next)` and `r / (1 - r)`, the answer is one over their sum. For `t_next = 0` nothing special is needed: with tensors 1 / 0 is infinity, and one over infinity is 0.
#
# </details>

# %% exercise="2.7" slideshow={"slide_type": "skip"}
def posterior_variance(t, t_next, schedule):
    """The variance of x at level t_next when x_t and x_0 are known; t_next < t are ints, 0 is clean."""
    # TODO 2.7: the precisions of the two sources, then one over their sum
    ### BEGIN SOLUTION
    a, a_next = schedule.alpha_bar[t], schedule.alpha_bar[t_next]
    kept = a / a_next
    from_x0, from_x_t = 1 / (1 - a_next), kept / (1 - kept)  # precisions
    return 1 / (from_x0 + from_x_t)
    ### END SOLUTION


posterior_variance = check("2.7", posterior_variance)

# %% [markdown] slideshow={"slide_type": "skip"}
# ### The posterior, with letters
#
# The same sum with letters gives the variance $v$ and the mean $m$ of $x_s$ when $x_t$ and $x_0$ are known, with $r=\bar\alpha_t/\bar\alpha_s$ as above:
#
# $$v=\frac{1-\bar\alpha_s}{1-\bar\alpha_t}\,(1-r),\qquad m=\frac{\sqrt{\bar\alpha_s}\,(1-r)}{1-\bar\alpha_t}\,x_0+\frac{\sqrt r\,(1-\bar\alpha_s)}{1-\bar\alpha_t}\,x_t .$$
#
# In words: the mean is a mixture of $x_0$ and $x_t$. The further down the step goes, the more $x_0$ counts and the less $x_t$ does.
#
# <details>
# <summary>The calculation</summary>
#
# From below the mean is $m_1=\sqrt{\bar\alpha_s}\,x_0$ and the variance $v_1=1-\bar\alpha_s$. From above, solve for $x_s$: the mean is $m_2=x_t/\sqrt r$ and the variance $v_2=(1-r)/r$. Add the exponents and sort by powers of $x$:
#
# $$-\frac12\left[\frac{(x-m_1)^2}{v_1}+\frac{(x-m_2)^2}{v_2}\right]=-\frac12\left[\Big(\frac1{v_1}+\frac1{v_2}\Big)x^2-2\Big(\frac{m_1}{v_1}+\frac{m_2}{v_2}\Big)x+\dots\right]=-\frac12\left[\frac{(x-m)^2}{v}+\dots\right]$$
#
# with $\frac1v=\frac1{v_1}+\frac1{v_2}$ and $m=v\,\big(\frac{m_1}{v_1}+\frac{m_2}{v_2}\big)$; the dots do not depend on $x$. (Multiply $\frac1v(x-m)^2$ out to see it.)
#
# **The variance.** Put both fractions over one denominator and use $r\,\bar\alpha_s=\bar\alpha_t$:
#
# $$\frac1v=\frac1{1-\bar\alpha_s}+\frac r{1-r}=\frac{(1-r)+r\,(1-\bar\alpha_s)}{(1-\bar\alpha_s)(1-r)}=\frac{1-\bar\alpha_t}{(1-\bar\alpha_s)(1-r)},\qquad v=\frac{1-\bar\alpha_s}{1-\bar\alpha_t}\,(1-r).$$
#
# **The mean.** Here $\frac{m_1}{v_1}=\frac{\sqrt{\bar\alpha_s}}{1-\bar\alpha_s}x_0$ and $\frac{m_2}{v_2}=\frac{\sqrt r}{1-r}x_t$. Multiply both by $v$:
#
# $$m=\frac{\sqrt{\bar\alpha_s}\,(1-r)}{1-\bar\alpha_t}\,x_0+\frac{\sqrt r\,(1-\bar\alpha_s)}{1-\bar\alpha_t}\,x_t .$$
#
# </details>
#
# For neighbours, $s=t-1$, the share $r$ is $\alpha_t$ and $1-r$ is $\beta_t$. Then $m$ is the mean $\tilde\mu_t$ of section 3, and $v$ is what the DDPM paper calls the **posterior variance** (eqs. 6, 7),
#
# $$\tilde\beta_t=\beta_t\,\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t},$$
#
# in words: the variance of one step of noise, made smaller because $x_0$ is known, too. At high $t$ that hardly matters. At $t=2$ it takes away about half, and at $t=1$ all of it.
#
# ### The walk, in words
#
# Start at pure noise, $x_T\sim\mathcal N(0,I)$. Ask the network which noise is in it, and work out $\hat x_0$. Clamp this estimate. Take a step to the next lower level. Repeat until the level is 0. The loop is `helpers.sampling.reverse` (you will write
# it in notebook 04), and a *rule* tells it which step to take.
#
# Why clamp? At the top $\sqrt{\bar\alpha_t}$ is almost 0, about one twenty-thousandth, and
# $\hat x_0=(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon_\theta)/\sqrt{\bar\alpha_t}$ divides by it: a prediction that is off by a thousandth puts $\hat x_0$ far outside. But we know where clean
# data lie. So **the estimate of $x_0$ is clamped** to the range of the data, and the noise is computed anew from it, so that the two still make up $x_t$. Section 7 measures
# what the clamp is worth.
#
# **Question** The true reverse of a Gaussian step is not Gaussian in general. Why may each step here be one?
#
# <details>
# <summary>Answer</summary>
#
# $q(x_{t-1}\mid x_t)\propto q(x_t\mid x_{t-1})\,q(x_{t-1})$. The first factor, seen as a function of $x_{t-1}$, is a Gaussian of width about $\sqrt{\beta_t}$. If $\beta_t$ is small, the logarithm
# of the second factor is almost a straight line over that width: it shifts the Gaussian, along the score, and leaves its shape. With a big $\beta_t$ the second factor can have several bumps within the
# width, squares for instance, and no Gaussian fits. "Looking inside" draws it. How many steps are enough is a matter of measurement: on the board 100 do as well as 1000 (section 9).
#
# </details>

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="2.8"
# ### Exercise 2.8: one step back, from any level to any lower one
#
# *On the one-evening route.* A step gets `x0` and `eps`, the estimates of the picture and of the noise that make up $x_t$. It returns $x$ at level `t_next`. Three demands settle what that is:
#
# - **The right amount of everything.** At level `t_next` there is $\sqrt{\bar\alpha}\,x_0$ and noise of variance $1-\bar\alpha$, with the $\bar\alpha$ of `t_next`, where the step *arrives*.
# - **Some of the noise is fresh.** What $x_t$ and $x_0$ leave open has the variance `posterior_variance(t, t_next, schedule)`, a part of $1-\bar\alpha$. `noise`, which is new, brings `eta` squared times this variance.
# - **The rest is the noise we know**, `eps`.
#
# The two noises are independent. What adds up then, variances or standard deviations? `eta = 1` draws all that is unknown, `eta = 0` draws nothing.
#
# Difficulty: ●●●○○, 12 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# Call the fresh variance `var`. The variances of the two noises must add up to $1-\bar\alpha$ of `t_next`. How much of it is left for `eps`? A tensor of variance 1 gets the variance $v$ when it is multiplied by $\sqrt v$.
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# Three terms: `a_next.sqrt() * x0`, then `eps` times the root of `1 - a_next - var`, then `var.sqrt() * noise`, with `a_next = schedule.alpha_bar[t_next]` and `var = eta**2 * posterior_variance(t, t_next, schedule)`.
# (With schedules whose last $\bar\alpha$ is exactly 0, rounding can make what is left minus one ten-millionth; `.clamp(min=0)` before the root helps there.)
#
# </details>
#
# <!--slide 3 min
# ## Your turn: 2.8, one step to any lower level, 12 minutes
#
# ```python
# def ddim_step(x0, eps, t, t_next, noise, schedule, eta=0.0):
#     """x at level t_next from the estimates x0 and eps at level t."""
#     ...
# ```
#
# $$x_s=\sqrt{\bar\alpha_s}\;x_0\;+\;\boxed{\;?\;}\;\epsilon\;+\;\sigma\,z,\qquad \sigma^2=\eta^2\times\text{posterior variance}$$
#
# - $s$ is `t_next`. There: $\sqrt{\bar\alpha}\,x_0$, and noise of variance $1-\bar\alpha$, with the $\bar\alpha$ of `t_next`
# - `eta` squared times the posterior variance of it is fresh `noise`
# - the rest is the noise we know, `eps`
#
# `eta = 1` draws anew all that is unknown, `eta = 0` draws nothing. The two noises are independent: what adds up, variances or standard deviations? **A test:** what must come out for `t_next = 0`?
#
# Notes:
# Say: what is left for eps is found by subtracting variances. Give 12 minutes, then run the check cell. The two most common mistakes: fresh noise comes on top, without making the old noise weaker, and variances stand where their roots belong.
# Ask: what must come out for t_next = 0? (The estimate of $x_0$ itself: its factor is 1, and no noise is left.)
# -->

# %% exercise="2.8" slideshow={"slide_type": "skip"}
def ddim_step(x0, eps, t, t_next, noise, schedule, eta=0.0):
    """x at level t_next (an int below t; 0 is clean) from the estimates x0 and eps at level t, like x0.

    noise: fresh, like x0; eta: how much of what x_t and x_0 leave open is drawn anew, 0 none, 1 all.
    """
    # TODO 2.8: signal, known noise and fresh noise of level t_next
    ### BEGIN SOLUTION
    a_next = schedule.alpha_bar[t_next]
    var = eta**2 * posterior_variance(t, t_next, schedule)
    return a_next.sqrt() * x0 + (1 - a_next - var).sqrt() * eps + var.sqrt() * noise
    ### END SOLUTION


ddim_step = check("2.8", ddim_step)

# %% expected="2.8" slideshow={"slide_type": "skip"} tags=["hide-input"]
x0, eps = board[:1500], noise[:1500]
z = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2))
t, t_next = 3 * T // 5, T // 20
clouds = {f"q_sample at t = {t_next}": schedule.q_sample(x0, t_next, z)}
for eta in (0.0, 0.5, 1.0):
    clouds[f"your step, eta = {eta:g}"] = ddim_step(x0, eps, t, t_next, z, schedule, eta)
fig, axes = plt.subplots(1, 4, figsize=(show.WIDTH, 3))
for ax, (title, x) in zip(axes, clouds.items(), strict=True):
    show.scatter(ax, x, title, size=1.5, limit=1.5)
    ax.set_xlabel(f"standard deviation {x.std():.3f}")
show.figure(fig, "Four clouds of points, washed-out squares: noised directly to a level, and by one step to "
            "it with three values of eta. They look alike.")

# %% [markdown] slideshow={"slide_type": "slide"}
# All four clouds look alike, and that is the test. Whatever `eta` is, the step arrives with as much signal and as much noise as `q_sample` puts there directly. Only the noise itself is another. As a formula, your step is
#
# $$x_{s}=\sqrt{\bar\alpha_{s}}\;\hat x_0+\sqrt{1-\bar\alpha_{s}-\sigma^2}\;\epsilon_\theta+\sigma\,z,\qquad \sigma^2=\eta^2\,\frac{1-\bar\alpha_s}{1-\bar\alpha_t}\Big(1-\frac{\bar\alpha_t}{\bar\alpha_s}\Big).$$
#
# With $\eta=1$ it has a name of its own, the **ancestral step**: each $x$ is drawn at random, given the one before it, its ancestor.
#
# ### This is DDPM's step
#
# From $t$ to $t-1$ the ancestral step is the one that the DDPM paper samples with. There it is written with $x_t$ in place of $\hat x_0$:
#
# $$x_{t-1}=\frac{1}{\sqrt{\alpha_t}}\Big(x_t-\frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta\Big)+\sqrt{\tilde\beta_t}\;z,\qquad z\sim\mathcal N(0,I).$$
#
# There is a trap in this form. $\epsilon_\theta$ estimates *all* the noise in $x_t$, where it has the factor $\sqrt{1-\bar\alpha_t}$. The step takes away only a small share of it, with the factor $\beta_t/\sqrt{1-\bar\alpha_t}$.
#
# <details>
# <summary>Why the two are the same, in two lines</summary>
#
# Use $1-\bar\alpha_t-\beta_t=\alpha_t-\bar\alpha_t=\alpha_t(1-\bar\alpha_{t-1})$ twice. Your step puts in front of $\epsilon$ the root of
#
# $$1-\bar\alpha_{t-1}-\tilde\beta_t=(1-\bar\alpha_{t-1})\,\frac{1-\bar\alpha_t-\beta_t}{1-\bar\alpha_t}=\frac{\alpha_t\,(1-\bar\alpha_{t-1})^2}{1-\bar\alpha_t}.$$
#
# DDPM's step has $\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$ for $x_t$; in front of $x_0$ that gives $\sqrt{\bar\alpha_t/\alpha_t}=\sqrt{\bar\alpha_{t-1}}$, and in front of $\epsilon$
#
# $$\frac{1}{\sqrt{\alpha_t}}\Big(\sqrt{1-\bar\alpha_t}-\frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\Big)=\frac{1-\bar\alpha_t-\beta_t}{\sqrt{\alpha_t}\sqrt{1-\bar\alpha_t}}=\frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{\sqrt{1-\bar\alpha_t}},$$
#
# which is that root. ("Looking inside" compares the two in numbers.)
#
# </details>
#
# Now the whole walk: a thousand ancestral steps from pure noise, some seconds. `by` makes a rule of your step, so that `reverse` can take it. The cell after it takes the first three rounds by hand, so that you see what is inside the loop. What do you expect half-way, at $t=500$: half of a checkerboard?
#
# <!--slide 3 min
# ## The coarse shape is settled first, the edges last
#
# $$x_{t-1}=\frac{1}{\sqrt{\alpha_t}}\Big(x_t-\frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta\Big)+\sqrt{\tilde\beta_t}\;z,\qquad \tilde\beta_t=\beta_t\,\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}$$
#
# The step of 2.8 with $\eta=1$, a thousand times. Above: the walk. Below: where a single leap from each level would end.
#
# Notes:
# Say: 2.8 with eta = 1 and t - 1 is DDPM's step. From the left: the cloud hardly changes for a long time while the estimate below grows from a spot to a blob to a block; the squares stand out only in the last levels. The first spot is wider than the second: there a small error of the network is divided by the smallest root, and the clamp cuts what goes too far.
# Ask: the reverse of a Gaussian step is not Gaussian in general. Why may each step be one here? (Over the small width of the step the log density is almost a straight line; that only shifts the Gaussian, along the score. Big steps break this.)
# Have run: a thousand steps for a thousand points take some seconds. Live: in the optional section at the end a slider stops the walk at any level.
# Answers 2.8.
# -->

# %% slideshow={"slide_type": "skip"}
def ancestral_step(x0, eps, t, t_next, noise, schedule):
    return ddim_step(x0, eps, t, t_next, noise, schedule, eta=1.0)


def by(step, k=1):
    """A rule for `reverse`: your step, asked at every k-th level."""
    def move(schedule, x, t, t_next, eps, x0, draw, before):
        return step(x0, eps, t, t_next, draw(), schedule)
    return Rule(f"every {k}", lambda T: list(range(T, 0, -k)), move)


x_T = torch.randn(1000, 2, generator=torch.Generator().manual_seed(7))
walk = reverse(net_board, schedule, by(ancestral_step), x_T=x_T, seed=0, clip_x0=1.0)
states = list(show.progress(walk, total=T + 1, label="walk"))
at_level = {state.t: state for state in states}

# %% slideshow={"slide_type": "skip"}
x, g = x_T, torch.Generator().manual_seed(0)
for t in (T, T - 1, T - 2):
    level = torch.full((len(x),), t)
    with torch.no_grad():
        eps = net_board(x, level)  # which noise is in x?
    x0 = schedule.predict_x0(x, level, eps).clamp(-1, 1)  # where should the clean point be? Clamped
    eps = schedule.predict_eps(x, level, x0)  # computed anew, so that x0 and eps make up x
    x = ancestral_step(x0, eps, t, t - 1, torch.randn(x.shape, generator=g), schedule)
gap = (x - at_level[T - 3].x).abs().max()
print(f"three rounds by hand, and the first three of `reverse`: largest difference {gap:.1e}")

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
fig, axes = plt.subplots(2, 6, figsize=(show.WIDTH, 3.8))
for column, percent in zip(axes.T, (95, 75, 55, 35, 15, 0), strict=True):
    state = at_level[percent * T // 100]
    show.scatter(column[0], state.x, show.level(state.t), show.COLOUR["noise"], size=1.5, limit=2)
    show.scatter(column[1], state.x0, "", show.COLOUR["model"], size=1.5, limit=1.4)
axes[0, 0].set_ylabel("$x_t$")
axes[1, 0].set_ylabel("estimate of $x_0$")
show.figure(fig, "Above: 1000 points on their way from a round cloud to eight squares. Below: where one leap "
            "from there would end: first a blob in the middle, then rough blocks, at last squares.")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="2.9"
# The upper row shows the walk, the lower one (orange) where a single leap from each level would end, the current guess of $x_0$. Half-way there is no half of a checkerboard. At high noise the guess is an average and lies in the middle.
# It sharpens only as the noise goes: the coarse shape is settled first, the edges last. (The first spot is wider than the second, because at the top small errors of the network are divided by the smallest $\sqrt{\bar\alpha_t}$.)
#
# ## 7. Fewer steps: the naive way and DDIM
#
# A sample costs a thousand network calls. Can we skip levels? Your step can: `t_next` may be any lower level. With $\eta=0$ and few levels it is **DDIM** (Song et al. 2021): no fresh noise, so one start leads to one end.
# It needs no new training, because the loss of section 3 only ever used $q(x_t\mid x_0)$.
#
# There is a naive way, too, and it is easy to fall into.
#
# ### Exercise 2.9: the short cut
#
# Build this naive way. `short_cut` below is right: it goes from `t` to `t_next`. Change one thing in it. When the network is asked at every level, the walk must come out as before. When levels are skipped, it must go wrong, because the step no longer arrives at `t_next`.
#
# About nineteen of twenty points of the right walk end inside the squares. Guess how many will be left when the network is asked at every 20th level (the next picture tells). And why does it fail?
#
# - (a) The network was never trained at those levels.
# - (b) Each step takes away the noise of one level, and that of the nineteen skipped ones stays in.
# - (c) The clamp of $\hat x_0$ cuts the noise off.
#
# Difficulty: ●●○○○, 5 minutes
#
# <details>
# <summary>Hint</summary>
#
# Which of the arguments of `ancestral_step` says where the step arrives? For the reason: after such a step, is $x$ at the level that the network is told next?
#
# </details>
#
# <!--slide 3 min
# ## Skipping levels needs a step made for it
#
# The network is asked at every 1st, 2nd, 5th, 20th level. Above the step to $t-1$ with fresh noise, below DDIM ($\eta=0$, to `t_next`).
#
# Notes:
# Say: above, the network is asked at every 1st, 2nd, 5th, 20th level and the step to t - 1 is made each time: the noise of the skipped levels stays in. Below, DDIM on the *same* levels: the share inside hardly changes. Fewer steps are fine, as long as each step really covers the distance it stands for.
# Ask: why is there any noise left in the upper right picture? (Each step takes away the noise of one level, and nineteen of twenty levels were never visited. Task 2.9.)
# Have run: eight walks. The table under the figure in the notebook adds the right step with fresh noise, which works as well, and DDIM without the clamp, which fails with these long steps.
# -->

# %% exercise="2.9" kind="break" slideshow={"slide_type": "skip"}
def short_cut(x0, eps, t, t_next, noise, schedule):
    # TODO 2.9: change one thing that makes no difference at every level, and fails when levels are skipped
    ### BEGIN SOLUTION
    # given: return ancestral_step(x0, eps, t, t_next, noise, schedule)
    return ancestral_step(x0, eps, t, t - 1, noise, schedule)
    ### END SOLUTION


why = "b"  # "a", "b" or "c"
short_cut = check.changed("2.9", short_cut, why)

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
fig, axes = plt.subplots(2, 4, figsize=(show.WIDTH, 5.2))
for row, step, kind in zip(axes, (short_cut, ddim_step), ("ancestral", "ddim"), strict=True):
    for ax, k in zip(row, show.progress((1, 2, 5, 20), total=4, label="walks"), strict=True):
        x = last(reverse(net_board, schedule, by(step, k), x_T=x_T, seed=0, clip_x0=1.0))
        title = f"every {k}: {metrics.share_inside(x):.0%} inside"
        show.scatter(ax, x, title, show.COLOUR[kind], limit=1.5)
axes[0, 0].set_ylabel("naive")
axes[1, 0].set_ylabel("DDIM")
show.figure(fig, "Samples when the network is asked at every level, every 2nd, 5th, 20th. Naive, above: the "
            "squares blur at 2 and are gone at 20. DDIM, below: eight squares in all four.")
rows = []
for name, step in (("DDIM, no fresh noise", ddim_step), ("fresh noise (eta = 1)", ancestral_step)):
    ends = [last(reverse(net_board, schedule, by(step, 20), x_T=x_T, clip_x0=c)) for c in (1.0, None)]
    rows.append([name] + [f"{metrics.share_inside(x):.0%}" for x in ends])
show.table(rows, ["right step, at every 20th level", "inside, clamped", "not clamped"])

# %% [markdown] slideshow={"slide_type": "slide"}
# Above, the naive way falls apart as soon as levels are left out. The noise that the skipped steps should have removed is still there, and the network is told a level that $x$ has not reached. Below, DDIM on the *same* levels
# hardly notices. Fresh noise, which only the upper row draws, is not the reason: in the table the right step with fresh noise does as well as DDIM. Fewer steps are fine, as long as each step really covers the distance it stands for.
#
# The last column shows what the clamp is good for. Without it DDIM carries the error from the top down to the end. The walk with fresh noise loses nothing, probably because a long step near the top replaces most of the noise, and much of the error with it.
#
# ## 8. How good is it?
#
# We draw 10,000 samples for each data set with 100 DDIM steps (`ddim(...)` in `helpers.sampling` is your step with $\eta=0$, `ancestral(...)` the one with $\eta=1$). Drawing and measuring take some ten seconds. Then we need a number that says how far the samples are from real data.
#
# We take the **sliced Wasserstein distance**. Pick a direction, and project both clouds of points onto a line in this direction. Sort both lists of places, and see how far apart the two smallest are, the two second smallest, and so on. Average this over many directions.
# Equal clouds have distance 0. ("Looking inside" draws one direction.)
#
# Even two sets of *real* points, drawn independently, are not at distance 0. So a distance alone says little, and we put its **floor** beside it: the same measure for real data against other real data.
#
# <!--slide 3 min
# ## A number alone says little: beside it stands its floor
#
# Floor: the same measure for real data against other real data. Blue is real, orange sampled.
#
# **Question:** what would these numbers be for the exact denoiser of the training points? Would one of them alone give it away?
#
# Notes:
# Say: 10,000 samples of each. The sliced Wasserstein distance is about one and a half times its floor for the moons and about twice for the board; the nearest training point is about as far as for fresh data, so the typical sample is no copy, unlike with the exact denoiser. What is wrong with the board sits at its edges and in a haze between the squares.
# Ask: what would these numbers be for the exact denoiser of the training points? (The distance about at its floor, the nearest practically 0: it copies. One number would praise it, both together give it away.)
# Have run: the sampling cell, 100 DDIM steps for 10,000 points, twice.
# -->

# %% slideshow={"slide_type": "skip"}
again = last(reverse(net_board, schedule, ancestral(), x_T=x_T, seed=0, clip_x0=1.0))
gap = (again - states[-1].x).abs().max()
print(f"your step, helpers' rule: after {T} steps {gap:.1e} apart at most (rounding in float32 adds up)")
size, limit, rule = choose(read=10_000, smoke=100), float(moons.abs().max()), ddim(T // 10)
walk = reverse(net_board, schedule, rule, (size, 2), seed=1, clip_x0=1.0)
path = list(show.progress(walk, total=T // 10 + 1, label="board"))
walk = reverse(net_moons, schedule, rule, (size, 2), seed=1, clip_x0=limit)
other = last(show.progress(walk, total=T // 10 + 1, label="moons"))
new = {"moons": other, "board": path[-1].x}

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-output"]
inside, (low, high) = metrics.share_inside(path[-1].x), (8 * metrics.square_shares(path[-1].x)).aminmax()
print(f"board: {inside:.1%} inside; each square holds {low:.2f} to {high:.2f} of its share")
rows = []
for name, old in show.progress([("moons", moons), ("board", board)], label="distances"):
    apart = sum(metrics.sliced_wasserstein(new[name], r[:size]) for r in real[name]) / 4
    pairs = [(real[name][i, :size], real[name][i + 1, :size]) for i in range(3)]
    floor = sum(metrics.sliced_wasserstein(a, b) for a, b in pairs) / 3
    near, far = (metrics.nearest_neighbours(p[:2000], old)[1].median() for p in (new[name], real[name][0]))
    rows.append([name, f"{apart:.4f}", f"{floor:.4f}", f"{near:.4f}", f"{far:.4f}"])
header = ["", "sliced Wasserstein", "its floor", "to the nearest training point", "the same for fresh data"]
show.table(rows, header)

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
fig, axes = plt.subplots(1, 4, figsize=(show.WIDTH, 2.8))
panels = [("real moons", moons, "data"), ("samples", new["moons"], "model"),
          ("real board", board, "data"), ("samples", new["board"], "model")]
for ax, (title, points, kind) in zip(axes, panels, strict=True):
    show.scatter(ax, points[:4000], title, show.COLOUR[kind], size=1)
show.figure(fig, "Real moons beside sampled ones, the real checkerboard beside a sampled one. The pairs look "
            "alike; the sampled board has a haze between its squares and round corners.")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="2.10"
# The samples are about as far from their nearest training point as fresh data are. So the typical sample is no copy, unlike in section 2. (These two columns are medians, which a few copies would not move.)
#
# What is wrong with the board? Look at its edges in the last panel. There is a haze between the squares, and some corners are round. At an edge the score at low noise jumps, and no smooth function can follow. The printed line
# shows another fault, which the eye misses: one of the squares holds only 0.81 of its share. With about 1,200 points to a square, chance alone makes a share deviate by about 0.03.
#
# ### Exercise 2.10: one line of the walk is wrong
#
# Here is a whole walk over the board with your network, 2,000 points, DDIM at every 20th level. `net(x, t)` asks the network at level `t`.
#
# **One of the lines has been spoilt.** Which? You see the lines as they are, where the points end, and six numbers. A right walk has about 95 of 100 points inside, no estimate of $x_0$ above 1, a little over half of the samples at positive $x$ (0.54, because this network's squares are uneven), and a standard deviation of 0.82 half-way down, where $\sqrt{\bar\alpha_t\,\mathrm{Var}(x_0)+1-\bar\alpha_t}$ says it must be.
# Which line you have to look for depends on your copy of the course; a neighbour's may be another.
#
# In the listing below, lines 3 to 7 stand in a loop that is not printed: for each level `t`, from the top down, with `t_next` the next one below (0 at the end).
#
# Difficulty: ●●●○○, 9 minutes
#
# <details>
# <summary>Hint</summary>
#
# Say for each line what it must do, and which of the numbers would change if it did not. Do not trust the picture alone: one of the possible mistakes leaves it as it should be, and one makes it look *better*.
#
# </details>
#
# <!--slide 3 min
# ## Which line is wrong?
#
# ```python
# 1  x = torch.rand(2000, 2, generator=g)
# 2  levels = range(T, 0, -20)
#    # for each level t, t_next is the next one:
# 3      eps = net(x, t)
# 4      x0 = predict_x0(x, t, eps, schedule)
# 5      x0 = x0.clamp(-1, 1)
# 6      eps = schedule.predict_eps(x, t, x0)
# 7      x = ddim_step(x0, eps, t, t_next, noise, schedule)
# ```
#
# At positive x: 0.97 of the points. Standard deviation half-way: 0.25, where 0.82 is due.
#
# Notes:
# Say: for each line, what must it do, and which number would tell? In the notebook each copy has its own case; in the room take this one, or `check.hunt("2.10", seed=1)` and so on. The numbers of a right walk, in the order shown: 0.00, 1.0, 0.54, 0.83, 0, 0.96.
# By case (`seed` 0 to 5): line 1, `rand`, 0.97 at positive x and 0.25 half-way; line 3, levels from the other end, 0.72 inside; line 4, `x - eps`, 0.70 half-way and 1.00 inside; line 5, no clamp, estimates of 6,000; line 6, the old eps, a gap of 0.31 and nothing else; line 7, to t - 1, half of the samples outside the board.
# Ask: which line would you look at first, and which number would clear it of suspicion?
# -->

# %% exercise="2.10" kind="hunt" slideshow={"slide_type": "-"} tags=["slide-figure"]
check.hunt("2.10")

# %% kind="answer" of="2.10" slideshow={"slide_type": "skip"}
line = 1  # TODO 2.10: the number of the wrong line
check.found("2.10", line)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 9. Three choices, measured
#
# Many tutorials settle three things without a test. We measured each of them (`make train`: short trainings, several seeds, so that a difference can be told from luck):
#
# - **Is $x_T$ noise?** $T=100$ with $\beta$ up to 0.02 leaves $\sqrt{\bar\alpha_T}=$ <!--r:points.root_alpha_bar.uncorrected|.2f-->0.60<!--/--> of the signal, yet sampling starts from pure noise. Beside it two corrected schedules of the same
#   length: *rescaled*, with all $\beta$ ten times as large, and *cosine*. The data are *lopsided* moons, nine tenths of the points on the upper one, so that their mean is not 0;
# - **Variance** of the ancestral step: $\beta_t$ or the posterior's $\tilde\beta_t$ (board);
# - **Noise at the last step**: added, or left out (board).
#
# These networks were trained for fewer steps than ours (1,800 on the board in place of 4,000), so their shares inside are lower than in section 7. Where do you expect a difference?
#
# <!--slide 3 min
# ## Three habits of tutorials cost quality
#
# - $T=100$ with $\beta$ up to 0.02 keeps <!--r:points.root_alpha_bar.uncorrected|.2f-->0.60<!--/--> of the signal's amplitude: a start from pure noise misses
# - with few steps the posterior variance $\tilde\beta_t$ beats $\beta_t$; noise added at the last step stays
#
# Notes:
# Say: one dot is one seed; in the middle and on the right the rows of one T share their networks, so compare within a seed. Left: distance of the samples from real lopsided moons, the dashed line is the floor; uncorrected with DDIM stands far off. Middle and right: share inside the squares of the board; with 100 steps the choices differ clearly; with 1000 the dots overlap, and each seed loses only a little.
# Ask: which part of the first mistake would be missing on the board? (The wrong mean: the board's is 0, like that of the start. Only the variance is wrong, 1 in place of 0.76. Lopsided data, and digits, have another mean.)
# Live: run the cell, it only draws saved results.
# -->

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
results = checkpoints.load_results("points")
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 4.2), width_ratios=(3, 2, 2))
panels = [("schedules", "\n", "distance", "sliced Wasserstein", "is $x_T$ noise? (T = 100)"),
          ("variance", "\nT = ", "inside", "share inside", "which variance?"),
          ("last_step", "\nT = ", "inside", "share inside", "noise at the end?")]
for ax, (group, join, key, label, title) in zip(axes, panels, strict=True):
    for i, (name, row) in enumerate(results[group].items()):
        colour = show.COLOUR["ddim" if "DDIM" in name else "ancestral"]
        ax.plot(row[key]["values"], [i] * 3, "o", color=colour, alpha=0.5)
        ax.plot(row[key]["mean"], i, "|", color=colour, markersize=18, markeredgewidth=2.5)
    ax.set_yticks(range(len(results[group])), [name.replace("-", join) for name in results[group]])
    wide = (0.855, 0.915) if key == "inside" else (0, 0.12)
    ax.set(title=title, xlabel=label, xlim=wide, ylim=(len(results[group]) - 0.5, -0.5))
axes[0].axvline(results["floor"]["mean"], color=show.COLOUR["floor"], linestyle="--")
show.figure(fig, "One dot a seed, bars at means. Left: DDIM uncorrected is far off. Others: share inside.")

# %% [markdown] slideshow={"slide_type": "skip"}
# One dot is one seed, the bar is the mean of three, blue is DDIM and green ancestral. Rows that differ only in how the samples are drawn share their networks and starts, so compare them within a seed.
#
# Left: the uncorrected model starts from noise it was never trained on. With DDIM its distance is <!--r:points.schedules.uncorrected-DDIM.distance.mean|.3f-->0.109<!--/-->,
# with either correction <!--r:points.schedules.rescaled-DDIM.distance.mean|.3f-->0.025<!--/--> and <!--r:points.schedules.cosine-DDIM.distance.mean|.3f-->0.021<!--/--> (floor <!--r:points.floor.mean|.3f-->0.008<!--/-->, the dashed line),
# and only <!--r:points.schedules.uncorrected-DDIM.upper.mean|.0%-->81%<!--/--> of its samples lie on the upper moon, where nine tenths should. We start from noise with mean 0, but with this schedule the noised moons never get there. With ancestral steps the uncorrected and the rescaled schedule differ by no more than the spread of the seeds.
# (Images of digits, mostly black, are far from mean 0, too.)
#
# Middle: with 100 steps the posterior variance is the better choice, <!--r:points.variance.posterior-100.inside.mean|.0%-->91%<!--/--> inside against <!--r:points.variance.beta-100.inside.mean|.0%-->87%<!--/-->. With 1000 steps the dots overlap, but every seed still loses a little with $\beta_t$: 7 to 21 of its 2,000 points.
#
# Right: noise added at the last step is never taken away again. With 100 steps <!--r:points.last_step.with-100.inside.mean|.0%-->89%<!--/--> lie inside instead of <!--r:points.last_step.without-100.inside.mean|.0%-->91%<!--/-->. With 1000 steps, where $\sqrt{\beta_1}$ is smaller, every seed loses 9 to 11 of its 2,000 points.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 10. What was learned
#
# The exact denoiser needs all 10,000 points at every call. The network has only its weights. Do its answers agree with the formula?
#
# <!--slide 2 min
# ## Where the points go, the network agrees with the formula
#
# Lines from $x_t$ (circles) to the best guess of $x_0$ (dots), on the checkerboard.
#
# Notes:
# Say: exact above, learned below. The rows agree where noisy data occur. At $t=50$ they differ outside the board, where the network was never trained and the walk rarely comes by. At $t=700$ the learned answers jitter: a small error divided by a small root.
# Ask: the formula needs all 10,000 points at every call. What does the network store instead? (Its weights; it was only ever shown single noisy points, and squared error made it learn the average.)
# Have run: this figure, a few seconds. Live: scroll down to the film of the walk, three seconds; and to the sliders that stop it anywhere.
# -->

# %% slideshow={"slide_type": "-"} tags=["hide-input", "slide-figure"]
@torch.no_grad()
def learned(x, t):
    return schedule.predict_x0(x, t, net_board(x, t)).clamp(-1, 1)


fig, axes = plt.subplots(2, 4, figsize=(show.WIDTH, 5.2))
for column, t in zip(axes.T, (T // 20, T // 5, 2 * T // 5, 7 * T // 10), strict=True):
    draw_field(column[0], lambda x, t: exact_denoiser(x, t, board, schedule), t, board, f"t = {t}")
    draw_field(column[1], learned, t, board, "", show.COLOUR["model"])
axes[0, 0].set_ylabel("exact")
axes[1, 0].set_ylabel("learned")
show.figure(fig, "Lines from noisy points to the best guess of the clean point, exact above, learned "
            "below. The two rows agree, except far outside the board at low noise.")

# %% [markdown] slideshow={"slide_type": "skip"}
# Where noisy data occur, the two rows agree. They differ at low noise, away from the squares, where the network was hardly ever trained and the walk rarely comes by.
# At high noise the learned answers jitter, because $\hat x_0$ divides the network's small errors by a small $\sqrt{\bar\alpha_t}$.
#
# On the web page of the course the points are alive: they walk home while you watch, and you can draw data of your own.
#
# <!--live:points {"data": "moons", "autoplay": "no"}-->

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# ## Looking inside (optional)
#
# ### The walk as a film
#
# The board's samples of section 8 again, this time on their way: on the left the points, on the right the network's best guess from where they are. On which side do the squares appear first?

# %% slideshow={"slide_type": "skip"} tags=["optional", "hide-input"]
def frame(state):
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.6, 3.7))
    show.scatter(left, state.x[:1000], show.level(state.t), show.COLOUR["noise"], size=2, limit=1.8)
    show.scatter(right, state.x0[:1000], "best guess of $x_0$", show.COLOUR["model"], size=2, limit=1.8)
    return fig


frames = (frame(state) for state in show.evenly(path[1:], choose(read=24, smoke=3)))
alt = "Left, a round cloud of points drifts into the eight squares of the checkerboard. Right, its estimates."
show.gif_from_figures(frames, out_dir() / "02_points.gif", alt, seconds=3)

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# ### Try it: stop the walk anywhere
#
# Four walks from the same 600 starting points are computed once and kept: board and moons, DDIM and ancestral (about five seconds). A slider then only picks a level and draws.
#
# - One panel shows the points at level $t$ (grey), and the way that three of them have come.
# - The other shows the answers of the network at that level. Each arrow goes from a grid place a quarter of the way to its $\hat x_0$. Orange are the $\hat x_0$ of the walk's own points, which lie faintly behind.
#
# First comes the picture at four levels: where do the arrows point at $t=900$, and where at $t=50$? Below it are the sliders. Things to try:
#
# - Drag $t$ from right to left, the way the walk goes. Between which levels do the squares appear?
# - Go up to $t=1000$. Why do the orange dots sit in the corners now? (Divided by one twenty-thousandth, every small error of the network is huge, and the clamp cuts it off at 1 or $-1$.)
# - Change the sampler and keep $t$: DDIM slides along a smooth line, the ancestral walk takes a jump at every step. The three marked points start at the same places under both samplers: do they end in the same squares?
# - Choose the moons. At which level do the estimates leave the space between them?
# - Go to the lowest $t$ and look at the arrows far outside the data: there the network was never trained, and the clamp alone says where they point.

# %% slideshow={"slide_type": "skip"} tags=["optional", "hide-input"]
nets = {"board": (net_board, 1.0), "moons": (net_moons, limit)}
rules = {"DDIM": ddim(T // 5), "ancestral": ancestral()}
walks = {
    (name, sampler): list(reverse(net, schedule, rule, x_T=x_T[:600], seed=0, clip_x0=bound))
    for name, (net, bound) in show.progress(nets.items(), total=2, label="walks")
    for sampler, rule in rules.items()
}


def draw_trails(ax, so_far, title):
    """The points where a walk stands now, and the way that three of them have come."""
    show.scatter(ax, so_far[-1].x, title, show.COLOUR["noise"], size=4, limit=2.2)
    for i, colour in zip((9, 15, 20), show.COLOURS[2:7:2], strict=True):
        trail = torch.stack([state.x[i] for state in so_far])
        ax.plot(trail[:, 0], trail[:, 1], color=colour, linewidth=1.2)
        ax.plot(trail[-1, 0], trail[-1, 1], "o", color=colour, markersize=7, zorder=3)

# %% slideshow={"slide_type": "skip"} tags=["optional", "hide-input"]
@torch.no_grad()
def draw_arrows(ax, name, t, behind):
    """From a grid a quarter of the way to the estimate of x_0; dots: the estimates for the points behind."""
    net, bound = nets[name]
    line = torch.linspace(-2, 2, 11)
    grid = torch.cartesian_prod(line, line)
    x = torch.cat([grid, behind])
    level = torch.full((len(x),), t)
    x0 = schedule.predict_x0(x, level, net(x, level)).clamp(-bound, bound)
    show.scatter(ax, behind, colour="0.75", size=4, limit=2.2)
    go = (x0 - x)[: len(grid)] / 4
    look = dict(angles="xy", scale_units="xy", scale=1, width=0.006, headwidth=4.5, color="0.35")
    ax.quiver(grid[:, 0], grid[:, 1], go[:, 0], go[:, 1], **look)
    show.scatter(ax, x0[len(grid) :], colour=show.COLOUR["model"], size=5, limit=2.2)

# %% slideshow={"slide_type": "skip"} tags=["optional", "hide-input"]
fig, axes = plt.subplots(2, 4, figsize=(show.WIDTH, 5.2))
for column, t in zip(axes.T, (9 * T // 10, T // 2, T // 5, T // 20), strict=True):
    so_far = [state for state in walks["board", "DDIM"] if state.t >= t]
    draw_trails(column[0], so_far, f"t = {t}")
    draw_arrows(column[1], "board", t, so_far[-1].x)
show.figure(fig, "Above: points of a DDIM walk at four levels, three with a smooth trail. Below: arrows of "
            "the network, at high noise all to one spot in the middle, at low noise to the squares.")

# %% slideshow={"slide_type": "skip"} tags=["optional", "hide-input"]
def stop_at(t=T // 5, points="board", sampler="DDIM"):
    """The walk at level t, and the arrows of the network at the same level."""
    so_far = [state for state in walks[points, sampler] if state.t >= t]
    fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 4.8))
    draw_trails(axes[0], so_far, f"{points}, {sampler}: t = {t}")
    draw_arrows(axes[1], points, t, so_far[-1].x)
    axes[1].set_title("a quarter of the way to the estimate")
    show.figure(fig, f"Left: a {sampler} walk to the {points}, stopped at t = {t}, with three trails. "
                "Right: arrows from a grid towards the network's estimate of the clean point.")


stride = max(1, T // 100)
sliders(stop_at, t=(stride, T, stride), points=list(nets), sampler=list(rules))

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# ### Is one step back really a Gaussian?
#
# The true reverse step is $q(x_{t-1}\mid x_t)\propto q(x_t\mid x_{t-1})\,q(x_{t-1})$. With one coordinate we can simply multiply the two curves. Let the density below, $q(x_{t-1})$, have three bumps, and let us stand at one $x_t$ between two of them.
# What does the step back look like for a small, a larger and a very large $\beta$?

# %% slideshow={"slide_type": "skip"} tags=["optional", "hide-input"]
x = torch.linspace(-2.2, 2.2, 500)
below = 0.35 * bell(x, -0.7, 0.03) + 0.4 * bell(x, 0.1, 0.03) + 0.25 * bell(x, 0.9, 0.03)
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3))
for ax, beta in zip(axes, (0.01, 0.1, 0.6), strict=True):
    true = below * bell(0.45 * (1 - beta) ** 0.5, (1 - beta) ** 0.5 * x, beta)  # at x_t = 0.45, shrunk
    true = true / true.sum()
    mean = (x * true).sum()
    best = bell(x, mean, ((x - mean).square() * true).sum()) * (x[1] - x[0])
    ax.fill_between(x, below / below.max(), color=show.COLOUR["data"], alpha=0.2, label="$q(x_{t-1})$")
    ax.plot(x, true / true.max(), color=show.COLOUR["exact"], linewidth=2.5, label="true step back")
    ax.plot(x, best / true.max(), "--", color=show.COLOUR["model"], linewidth=2, label="best Gaussian")
    ax.set(title=rf"$\beta$ = {beta:g}", xlabel="$x_{t-1}$", yticks=[])
fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
show.figure(fig, "The true step back beside the best Gaussian. For a small beta both are one narrow bump; "
            "for larger ones the true step has two, then three, and the Gaussian covers the gaps.")

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# For $\beta=0.01$ the true step (green) is nearly the dashed Gaussian. For $\beta=0.1$ two bumps of the density below fit into the width of the step, for $\beta=0.6$ all three do. A model that steps with Gaussians then puts points
# into the gaps, where there are no data. So a step must be small beside the structure of the density below it. How small is a matter of measurement: on the board 100 steps did as well as 1000 (section 9). (Prince 2023, chapter 18, has the same picture with more detail.)
#
# ### One direction of the sliced Wasserstein distance
#
# Section 8 compares two clouds along many directions. Here is one direction, for 400 real points of the moons and 400 of the board.

# %% slideshow={"slide_type": "skip"} tags=["optional", "hide-input"]
way, ranks = torch.tensor([0.8, 0.6]), range(1, 401)
fig, (left, right) = plt.subplots(1, 2, figsize=(show.WIDTH, 3.8), width_ratios=(2, 3))
places, pairs = [], [("board", board[:400], show.COLOURS[0]), ("moons", moons[:400], show.COLOURS[4])]
for name, points, colour in pairs:
    show.scatter(left, points, "one direction of many", colour, size=6)
    places.append((points @ way).sort().values)  # the places along the arrow, sorted
    right.plot(ranks, places[-1], color=colour, linewidth=2, label=name)
left.annotate("", 1.3 * way, -1.3 * way, arrowprops=dict(arrowstyle="->", color="black", lw=2))
right.fill_between(ranks, *places, color="0.85")
right.set(xlabel="rank along the arrow", ylabel="place along the arrow", title="equal ranks: how far apart?")
right.legend()
show.figure(fig, "Left: points of the board and of the moons, and an arrow through both. Right: their "
            "sorted places along the arrow, two rising curves with a grey gap between them.")

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# The grey area is the gap between points of equal rank. The distance takes the root mean square of this gap, and the mean over 256 random directions.
#
# ### DDPM's step in numbers
#
# Section 6 showed on paper that the ancestral step is the one of the DDPM paper. Here both take the same points and the same noise.

# %% slideshow={"slide_type": "skip"} tags=["optional"]
x0, eps, rows = board[:1500], noise[:1500], []
for t in (2, T // 2, T):
    x_t, levels = schedule.q_sample(x0, t, eps), torch.full((len(x0),), t)
    alpha, beta = schedule.alphas[t], schedule.betas[t]
    a, a_prev = schedule.alpha_bar[t], schedule.alpha_bar[t - 1]
    mean = (x_t - beta / (1 - a).sqrt() * eps) / alpha.sqrt()
    variance = beta * (1 - a_prev) / (1 - a)
    theirs = mean + variance.sqrt() * z
    gap = (theirs - ancestral_step(x0, eps, t, t - 1, z, schedule)).abs().max()
    rows.append([t, f"{posterior_variance(t, t - 1, schedule):.6f}", f"{variance:.6f}", f"{gap:.1e}"])
show.table(rows, ["level t", "your variance", "the paper's", "largest difference of the steps"])

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# ### The same with diffusers
#
# `diffusers` is the library most image models are published in. Its `DDPMScheduler` does the noising (`add_noise`) and the step (`step`). To get the *same* numbers it must be told to do the
# same: our schedule (its default is the linear one) without the clean level 0, the posterior variance (`fixed_small`), clamping of $x_0$ to $[-1,1]$ (its default), and our noise generator.

# %% slideshow={"slide_type": "skip"} tags=["optional"]
try:
    from diffusers import DDPMScheduler
except ImportError:
    DDPMScheduler = None
    print("diffusers is not installed: nothing to compare with")


def in_diffusers(t):
    """diffusers has no level for clean data: it counts our levels 1, 2, .. as 0, 1, .."""
    return t - 1

# %% slideshow={"slide_type": "skip"} tags=["optional"]
if DDPMScheduler is not None:
    theirs = DDPMScheduler(T, trained_betas=schedule.betas[1:].numpy(), variance_type="fixed_small")
    t = torch.arange(len(board)) % T + 1
    noise = torch.randn(board.shape, generator=torch.Generator().manual_seed(0))
    gap = theirs.add_noise(board, noise, in_diffusers(t)) - schedule.q_sample(board, t, noise)
    print(f"add_noise: largest difference {gap.abs().max():.1e}")
    x, g = x_T, torch.Generator().manual_seed(0)
    for t in range(T, T // 2, -1):
        with torch.no_grad():
            eps = net_board(x, torch.full((len(x),), t))
        x = theirs.step(eps, in_diffusers(t), x, generator=g).prev_sample
    gap = (x - at_level[T // 2].x).abs().max()
    print(f"step: largest difference after {T - T // 2} steps {gap:.1e}")

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# ### Two wrong rules
#
# Two of the wrong ways, written as rules for `reverse`: the naive one of section 7, and the noise at the last step of section 9. `helpers` has neither. Each is the ancestral rule with one
# part changed: `levels` says at which levels the network is asked, `move` makes the step. Both walks start where the one of section 6 started. How much does each of them lose?

# %% slideshow={"slide_type": "skip"} tags=["optional"]
usual = ancestral()


def every_20th(T):
    return list(range(T, 0, -20))


def noise_at_the_end(schedule, x, t, t_next, eps, x0, draw, before):
    x = usual.move(schedule, x, t, t_next, eps, x0, draw, before)
    return x + schedule.betas[t].sqrt() * draw() if t_next == 0 else x


naive = Rule("one-level steps at every 20th level", every_20th, usual.move)
noisy_end = Rule("noise at the last step", usual.levels, noise_at_the_end)
rows = [["the usual rule", f"{metrics.share_inside(again):.1%}"]]
for rule in (noisy_end, naive):
    x = last(reverse(net_board, schedule, rule, x_T=x_T, seed=0, clip_x0=1.0))
    rows.append([rule.name, f"{metrics.share_inside(x):.1%}"])
show.table(rows, ["rule", "inside"], f"sqrt(beta_1) = {schedule.betas[1].sqrt():.4f}")

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# The naive rule loses most of the points. The noise at the last step has the standard deviation $\sqrt{\beta_1}$, which stands above the table: with 1000 levels it is so small that the share of
# 1000 points does not show it. With 100 levels $\beta_1$ is larger, and section 9 shows what that costs.

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# ### When is the square decided?
#
# Coarse structure comes first, detail later: that can be measured. At each level, take the current estimate of $x_0$ and see whether it lies in the square where the sample will end, and how far it is from that end.

# %% slideshow={"slide_type": "skip"} tags=["optional", "hide-input"]
final, walked = states[-1].x, states[1:]  # the first state has no estimate yet
home = metrics.squares(final)
levels = [state.t for state in walked]
right = [((metrics.squares(state.x0) == home) & (home >= 0)).float().mean() for state in walked]
away = [(final - state.x0).norm(dim=1).median() for state in walked]
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.4))
for ax, values in zip(axes, (right, away), strict=True):
    ax.plot(levels, values, color=show.COLOUR["model"], linewidth=2)
    ax.set(xlabel="level t (the walk goes from right to left)", xlim=(0, T), ylim=(0, None))
axes[0].set(title="estimate in the final square", ylabel="share of samples", ylim=(0, 1))
axes[1].set(title="estimate to the final place", ylabel="median distance")
show.figure(fig, "Left: the share of samples whose estimate lies in their final square, low at high noise, "
            "near one at low noise. Right: the distance still to go shrinks, from a peak at the very top.")

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# Read both panels from right to left. (A square is 0.5 wide.) Down to $t=400$ at most about one estimate in six lies in its final square, and between 400 and 100 most of them find it. The peak at the very top, on the right, has nothing to do with the data:
# there $\hat x_0$ divides the network's small errors by almost 0, and the clamp cuts them off at the corners of the board.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - The best denoiser of a finite data set is a softmax average over its points. One leap with it gives an average; many steps with it give back training points. The network generalises because it does *not* reach this optimum.
# - The likelihood bound leads to predicting the noise with squared error. At each level the loss has a floor, near 1 at low noise and near 0 at high noise.
# - A predicted noise, turned round and scaled, is the score.
# - One step serves all samplers: the signal of the level where it arrives, some fresh noise, and the rest of the noise from what is known. DDPM draws all of the open variance anew, DDIM none of it.
# - A step may only take away the noise of *its* levels. Skipping levels needs a step that covers the distance.
# - With the cosine schedule and noise prediction, a DDIM walk in few steps needs the estimate of $x_0$ clamped. Notebook 03 meets a prediction that does not have this weakness.
#
# ### Self-check
#
# Can you answer, without scrolling up?
#
# - [ ] What does the exact denoiser answer for pure noise, and why?
# - [ ] What is the link between the predicted noise, the estimate of $x_0$ and the score, and how is it proved?
# - [ ] Which factor does $L_\text{simple}$ drop?
# - [ ] Why is $\tilde\beta_1=0$?
# - [ ] Why does the naive every-$k$-th-step sampler leave noise behind, and what does DDIM do instead?
# - [ ] From which two numbers can you tell whether a model copies?
#
# <details>
# <summary>The answers to the self-check</summary>
#
# 1. The mean of the data. Pure noise fits every candidate equally well, so all weights are equal.
# 2. Both can be computed from $x_t$ and the predicted noise: $\hat x_0=(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon_\theta)/\sqrt{\bar\alpha_t}$, and the score is $-\epsilon_\theta/\sqrt{1-\bar\alpha_t}$. The first is the noising formula, solved for $x_0$. The second is Tweedie's formula: differentiate the logarithm of the mixture.
# 3. $\beta_t^2\,/\,\big(2\sigma_t^2\,\alpha_t\,(1-\bar\alpha_t)\big)$.
# 4. The level below is the clean end, where $\bar\alpha_0=1$: $x_0$ is known exactly there, so nothing is left open.
# 5. Each of its steps removes the noise of one level, and the levels between are never visited. DDIM's step goes to the level that is visited next: it puts the signal and the noise of *that* level together.
# 6. The distance of the samples to their nearest training point, and the same distance for fresh data.
#
# </details>
#
# ### Further exercises
#
# 1. ●●○○○, 15 minutes. Train on 200 moon points for as many steps as on 10,000. Compare the loss on training and fresh points, and the distances to the nearest training point.
# 2. ●●○○○, 15 minutes. Replace $\gamma(t)$ by the single number $t/T$, the Fourier features by none (`PointMLP(features=0)`). What does each cost in share inside?
# 3. ●●●○○, 25 minutes. Write the best denoiser of the *whole* checkerboard, not of 10,000 points of it: in each square the noisy point sees a truncated Gaussian. Compare with the network by level.
# 4. ●●●○○, 25 minutes. With `linear(1000)`, multiply the loss by the factor dropped in section 3, step 5 ($\sigma_t^2=\beta_t$). What changes, the edges or the shares of the squares? Why not with `cosine`?
#
# <details>
# <summary>What comes out (one training each, so small differences may be luck)</summary>
#
# 1. At low noise the loss on the 200 points falls below that on fresh ones: at $t=32$ it is 0.57 against 0.69; the network of 10,000 points has 0.61 and 0.66 on the same two sets, so a part of that gap is the choice of the points. The samples move towards the 200 points, to a median distance of 0.015; fresh data, and the samples of the other network, are about 0.019 and 0.018 away. It has begun to copy and is far from having finished.
# 2. The single number costs nothing here: with either about 95 of 100 points end inside. The board asks little of the level, and the first layer can make waves of $t/T$ by itself; images are another matter. Without Fourier features it is 85 of 100: the edges go soft. (One of these features has the period of the board.)
# 3. Along each axis, $x_0$ given $x_t$ is a Gaussian around $x_t/\sqrt{\bar\alpha_t}$ with standard deviation $\sigma=\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}$, cut off at the edges of a square. Its mass in $[a,b]$ is $\Phi(\beta)-\Phi(\alpha)$ and its mean the middle plus $\sigma\,\frac{\phi(\alpha)-\phi(\beta)}{\Phi(\beta)-\Phi(\alpha)}$, with $\alpha,\beta$ the two ends in units of $\sigma$. Multiply the masses of both axes for each of the eight squares, and average the means with them. The network's loss lies above this floor by 0.02 at $t\le 8$, by 0.01 at 32, by 0.005 at 64 and by less than 0.001 from 256 on: what it lacks is the edges.
# 4. The factor is 50 times its mean at $t=1$ and falls fast. The loss gets lower at $t=8$ and higher from 32 on. The shares of the squares become less even (0.91 to 1.05 of a square's share, without the factor 0.96 to 1.04). The points inside do not become more: 90 of 100 against 91. With `cosine` the factor is 500 at $t=T$ and 0.003 half-way, so a single level would drown all others.
#
# </details>
#
# ### References
#
# - Ho, Jain, Abbeel 2020, *Denoising diffusion probabilistic models*, [arXiv:2006.11239](https://arxiv.org/abs/2006.11239): eqs. 3, 5 (bound), 6, 7 (posterior), 8 to 12 (its mean), 14 (simple loss), algorithms 1, 2.
# - Nichol, Dhariwal 2021, *Improved DDPM*, [arXiv:2102.09672](https://arxiv.org/abs/2102.09672): eq. 17 (cosine schedule).
# - Song, Meng, Ermon 2021, *DDIM*, [arXiv:2010.02502](https://arxiv.org/abs/2010.02502): eq. 12.
# - Song, Ermon 2019, *Generative modeling by estimating gradients of the data distribution*, [arXiv:1907.05600](https://arxiv.org/abs/1907.05600): sections 2, 4 (scores at several levels of noise).
# - Efron 2011, *Tweedie's formula and selection bias*; Vincent 2011, *A connection between score matching and denoising autoencoders*, section 4.
# - Rahaman et al. 2019, *On the spectral bias of neural networks*, [arXiv:1806.08734](https://arxiv.org/abs/1806.08734); Kadkhodaie et al. 2024, *Generalization in diffusion models arises from geometry-adaptive harmonic representations*, [arXiv:2310.02557](https://arxiv.org/abs/2310.02557).
# - Bonneel et al. 2015, *Sliced and Radon Wasserstein barycenters of measures* (the sliced distance). Prince 2023, [*Understanding deep learning*](https://udlbook.github.io/udlbook/), chapter 18.
# - Karras et al. 2022, [arXiv:2206.00364](https://arxiv.org/abs/2206.00364): appendix B.3 (the exact denoiser of a finite data set).
# - Tancik et al. 2020, *Fourier features*, [arXiv:2006.10739](https://arxiv.org/abs/2006.10739): section 6. Vaswani et al. 2017, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762): section 3.5 (the embedding).
#
# <!--slide 1 min
# ## What we learned
#
# - The best denoiser is an average: one leap gives the mean, many steps give back training points.
# - The likelihood bound comes down to predicting the noise. The loss has a floor, different at each level.
# - Predicted noise, turned round and scaled, is the score.
# - A step arrives with the signal and the noise of its level; how much of the noise is fresh is a choice (DDPM, DDIM).
# - To skip levels, take a step that covers the distance.
#
# Next: notebook 03, the same walk for images of digits, with an attention U-Net.
#
# **Before you go:** why does the network generalise, although the minimum of its loss does not?
#
# Notes:
# Say: the self-check list in the notebook is the homework reading; exercises 2.1, 2.5 and 2.7 are open, and so is the hunt.
# Ask: why does the network generalise, although the minimum of its loss does not? (Gradient descent finds smooth functions first, and the exact denoiser of single points is not smooth. Whether the network copies has to be measured each time.)
# -->

# %% slideshow={"slide_type": "skip"}
check.summary("02")
