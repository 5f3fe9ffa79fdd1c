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
# Notebook 01 turned data into noise. This one goes back, in two dimensions, where everything can be drawn: first with the
# best denoiser there can be, which a formula gives, then with a small network that learns it.
#
# **What you will be able to do**
#
# - write down the exact best denoiser of a finite data set, and say why nobody wants to sample with it;
# - get from the likelihood bound to the loss "mean squared error of the noise";
# - read one prediction as noise, as clean data or as a score;
# - write the training loop, the ancestral step and the DDIM step, and say which shortcuts fail.
#
# **What to know** Notebook 01 ($\beta_t$, $\alpha_t$, $\bar\alpha_t$, `q_sample`), the multivariate Gaussian, Bayes' rule, PyTorch tensors.
#
# **Time** About 120 minutes for a person, about two and a half minutes for two CPU cores, one of them for training.
#
# <!--slide 1 min
# # 02 Denoising points
#
# Notebook 01 turned data into noise. Now we walk back, in two dimensions, where every step can be drawn.
#
# - first with the best denoiser there can be, which a formula gives, and which only copies
# - then with a small network that learns to imitate it, and does not copy
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
from torch import nn
from helpers import checkpoints, data, metrics, show
from helpers.exercises import check
from helpers.models import PointMLP, parameter_count
from helpers.modes import choose, out_dir
from helpers.sampling import Rule, ancestral, ddim, last, reverse
from helpers.schedule import at, cosine
from helpers.sliders import sliders
from helpers.training import Run, learning_rate, train

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. Two data sets that can be drawn
#
# *Moons*: two thin half circles, from scikit-learn. *Checkerboard*: points spread evenly over eight squares. The board is the harder one: its
# edges are infinitely sharp, and there is a number for how well they come out, the share of samples that lie inside the squares.
#
# The schedule is the cosine one of notebook 01: level 0 is the clean data, the levels 1 to $T$ are noisy.
#
# <!--slide 2 min
# ## Two data sets: a thin one and a sharp one
#
# The board is the harder one. A number says how well it comes out: the share of samples inside its squares.
#
# Notes:
# Say: 10,000 points each, the cosine schedule with 1000 levels. On the right a twentieth of the levels is enough to wash out the edges.
# Ask: why are sharp edges hard for a smooth function? (The score jumps there at low noise; a smooth function can only rise steeply.)
# Live: run the cell, it draws at once.
# -->

# %% slideshow={"slide_type": "-"} tags=["slide-figure"]
schedule = cosine(T=choose(read=1000, smoke=40))
T = schedule.T
moons, _ = data.moons(10_000, seed=0)
board, _ = data.checkerboard(10_000, seed=0)

noise = torch.randn(board.shape, generator=torch.Generator().manual_seed(0))
noisy = schedule.q_sample(board, T // 20, noise)
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3.5))
show.scatter(axes[0], moons[:4000], "moons", size=1.5)
show.scatter(axes[1], board[:4000], "checkerboard", size=1.5)
show.scatter(axes[2], noisy[:4000], f"checkerboard at t = {T // 20}", size=1.5)
show.figure(fig, "Left: two interleaved half circles. Middle: eight sharp squares of a four by four board. "
            "Right: the board with a little noise, its edges washed out.")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="2.1"
# ## 2. The best denoiser there can be
#
# Somebody picked a training point, noised it to level $t$ and shows us $x_t$. Where was the point? We cannot know; we can weigh the candidates. Each of the
# points $x^{(1)}, \dots, x^{(N)}$ was equally likely, and point $i$ gives $x_t$ with the density of a Gaussian around $\sqrt{\bar\alpha_t}\,x^{(i)}$. By Bayes' rule
#
# $$w_i = p(x^{(i)} \mid x_t) = \operatorname*{softmax}_i\left(-\frac{\lVert x_t-\sqrt{\bar\alpha_t}\,x^{(i)}\rVert^2}{2\,(1-\bar\alpha_t)}\right),
# \qquad \mathbb E[x_0\mid x_t]=\sum_i w_i\,x^{(i)} .$$
#
# Under squared error no guess beats this expectation: it is the **exact optimal denoiser** of the training set. No network, no training.
#
# <details>
# <summary>Why the expectation is the best guess</summary>
#
# Let $m=\mathbb E[x_0\mid x_t]$ and $f$ be any guess that only looks at $x_t$. Then
#
# $$\mathbb E\lVert x_0-f\rVert^2=\mathbb E\lVert (x_0-m)+(m-f)\rVert^2
# =\mathbb E\lVert x_0-m\rVert^2+2\,\mathbb E\big[(x_0-m)^\top(m-f)\big]+\mathbb E\lVert m-f\rVert^2 .$$
#
# Given $x_t$, the vector $m-f$ is fixed and $x_0-m$ has mean zero, so the middle term vanishes. The first term does not depend on $f$, the last is
# smallest, zero, for $f=m$. The same argument says what a network trained with squared error aims at, whatever its target is called.
#
# </details>
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
# You need every difference between a noisy point and a shrunk training point: a tensor of shape (B, N, 2). Which dimension
# do you sum over for the squared distance, and over which do the weights add up to 1?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# With `a = at(schedule.alpha_bar, t, x_t)` the shrunk points are `a[:, None].sqrt() * points`, (B, N, 2), and so is `x_t[:, None]` minus them. After the sum over
# the last dimension the scale must be (B, 1): `a` as it is. The average is a matrix product of the weights (B, N) with the points (N, 2), `points.to(x_t.dtype)`.
#
# </details>
#
# *In the picture behind it*, arrows start at $x_t$ and end (orange) at the best guess of $x_0$. At low noise the guess is a training point nearby. In the middle it is a
# compromise that may lie *between* the moons, where no data are. At high noise every $x_t$ gets nearly the same answer.
#
# <!--slide 4 min
# ## The best guess is a weighted average of the data
#
# Somebody picked a training point and noised it to level $t$. We see $x_t$. Which point was it?
#
# $$w_i=\operatorname*{softmax}_i\left(-\frac{\lVert x_t-\sqrt{\bar\alpha_t}\,x^{(i)}\rVert^2}{2\,(1-\bar\alpha_t)}\right),\qquad \mathbb E[x_0\mid x_t]=\sum_i w_i\,x^{(i)}$$
#
# - each point weighs as much as it explains $x_t$: Bayes' rule
# - under squared error no guess beats this average
# - no network, no training, nothing to tune; but every call looks at all $N$ points
#
# Notes:
# Say: the softmax is Bayes' rule with equal priors and one Gaussian around each shrunk point. The fold in the notebook proves that the expectation is the best guess.
# Ask: what becomes of the weights at very low noise, and at very high noise? (One candidate, the nearest, takes all; all get nearly the same.)
# Exercise 2.1 is this formula: 15 minutes, best at home or in the lab. The two most common mistakes: the softmax over the batch instead of over the points, and points that are not multiplied by $\sqrt{\bar\alpha_t}$ before they are compared with $x_t$.
# -->
# <!--slide 2 min
# ## The more noise, the closer together all answers lie
#
# Arrows run from $x_t$ to the best guess, an orange dot. The data are 200 points of the moons.
#
# Notes:
# Say: at $t=50$ nearly every answer sits on a moon; at $t=400$ many lie between the moons; at $t=800$ all are close to the mean.
# Ask: at $t=400$ many dots lie where no data are. Is that an error? (No. Both moons are possible, and under squared error the average of the possible is the best answer.)
# Live: run the cells of exercise 2.1, they take a second or two.
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

# %% expected="2.1" slideshow={"slide_type": "-"} tags=["slide-figure"]
def draw_field(ax, denoiser, t, points, title):
    line = torch.linspace(-1.4, 1.4, 11)
    x = torch.cartesian_prod(line, line)
    x0 = denoiser(x, torch.full((len(x),), t))
    show.scatter(ax, points[:1500], title, colour=show.COLOURS[0], size=1500 / len(points), limit=1.5)
    go = x0 - x
    look = dict(angles="xy", scale_units="xy", scale=1, width=0.004, color="0.65")
    ax.quiver(x[:, 0], x[:, 1], go[:, 0], go[:, 1], **look)
    ax.plot(x0[:, 0], x0[:, 1], ".", color=show.COLOURS[1], markersize=3)


few = moons[:200]
fig, axes = plt.subplots(1, 4, figsize=(show.WIDTH, 2.8))
for ax, t in zip(axes, (T // 20, T // 5, 2 * T // 5, 4 * T // 5), strict=True):
    draw_field(ax, lambda x, t: exact_denoiser(x, t, few, schedule), t, few, f"t = {t}")
show.figure(fig, "Arrows from a grid of noisy points to the exact answers. At low noise they end on "
            "the moons; with more noise the ends draw together, at last in the middle.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ### One leap, many steps
#
# **Question** What do you get if you start at pure noise and leap to the best guess at once?
#
# <details>
# <summary>Answer</summary>
#
# Pure noise says nothing about where the point was. So every candidate keeps its weight $1/N$ and the best guess is the mean of all data, for every start. It has the lowest
# possible squared error and looks like no data point at all. For images the mean is a grey blur. One leap averages over everything
# that could have been; small steps let the walk commit to one possibility after another.
#
# </details>
#
# Walk from noise to data in many small steps with this denoiser in place of a network (the steps come in section 6). The best guess of $x_0$ also
# says which noise is in $x_t$: solve $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$ for $\epsilon$, that is `schedule.predict_eps`.
#
# *In the picture* training points are pale dots. Many steps with the exact denoiser are an expensive way to pick one of them at random: the samples sit in the middle of the dots.
# Fresh data fall between them. So **the exact optimum only repeats its training points**, and the minimum of the training loss is *not* what we want: a network that reached it
# would be a copying machine. Diffusion models are useful because a network of limited size, trained for a limited time, fits something smoother. Whether it did has to be
# measured anew each time: the distance to the nearest training point, beside the same distance for fresh data.
#
# <!--slide 3 min
# ## One leap lands on the mean, many steps copy
#
# Pale dots: the 200 training points. The same exact denoiser, used once and used at every level.
#
# Notes:
# Say: the one-leap answers are one spot: from pure noise the best guess is the mean. A thousand small steps end on training points, at a distance of practically zero; fresh data keep a distance. The minimum of the training loss is a copying machine. A network is useful because it does not reach it.
# Ask: which two numbers tell whether a model copies? (The distance of its samples to the nearest training point, and the same distance for fresh data.)
# Have run: the walk has a thousand steps and takes some seconds.
# -->

# %% slideshow={"slide_type": "-"} tags=["slide-output"]
def exact_model(points):
    """The exact denoiser in the clothes of a network: model(x_t, t) -> eps. In parts, to save memory."""
    def model(x_t, t):
        parts = zip(x_t.split(250), t.split(250), strict=True)
        x0 = torch.cat([exact_denoiser(x, level, points, schedule) for x, level in parts])
        return schedule.predict_eps(x_t, t, x0)

    model.prediction = "eps"  # what its answer means
    return model


path = list(reverse(exact_model(few), schedule, ddim(steps=T), (500, 2), seed=1))
one_leap, many_steps, fresh = path[1].x0, path[-1].x, data.moons(500, seed=1)[0]
print(f"spread of the one-leap answers {one_leap.std(0).norm():.4f}, of the data {few.std(0).norm():.2f}")
for name, points in (("samples", many_steps), ("fresh data", fresh)):
    _, distance = metrics.nearest_neighbours(points, few)
    print(f"{name}: median distance to the nearest training point {distance.median():.5f}")

# %% slideshow={"slide_type": "-"} tags=["slide-figure"]
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3.5))
panels = {"one leap": one_leap, "many steps": many_steps, "fresh data": fresh}
for ax, (title, points) in zip(axes, panels.items(), strict=True):
    show.scatter(ax, few, title, colour=show.COLOURS[5], size=40)
    show.scatter(ax, points, title, colour=show.COLOURS[1], size=3)
show.figure(fig, "Training points are large pale dots. Left: one-leap answers, all on one spot between the "
            "moons. Middle: samples of many steps sit on training points. Right: fresh data fill the "
            "gaps.")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="2.2"
# ## 3. From the likelihood to the simple loss
#
# The model draws $x_T$ from $\mathcal N(0,I)$ and then steps back with Gaussians $p_\theta(x_{t-1}\mid x_t)$. Training should make the data likely. What is left
# of that wish at the end is one line:
#
# $$L_\text{simple}=\mathbb E_{x_0,\,t,\,\epsilon}\;\big\lVert \epsilon-\epsilon_\theta(x_t,t)\big\rVert^2,\qquad x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon .$$
#
# <details>
# <summary>The derivation, in five steps</summary>
#
# **1. A lower bound.** Insert the forward process $q(x_{1:T}\mid x_0)$ and use Jensen's inequality ($\log$ is concave):
#
# $$\log p_\theta(x_0)=\log \mathbb E_q\!\left[\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}\right]\ge \mathbb E_q\!\left[\log\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}\right]=:-L .$$
#
# **2. Both are products of steps.** With $p_\theta(x_{0:T})=p(x_T)\prod_t p_\theta(x_{t-1}\mid x_t)$ and $q(x_{1:T}\mid x_0)=\prod_t q(x_t\mid x_{t-1})$,
#
# $$L=\mathbb E_q\!\left[-\log p(x_T)+\sum_{t=1}^T\log\frac{q(x_t\mid x_{t-1})}{p_\theta(x_{t-1}\mid x_t)}\right].$$
#
# **3. Turn the forward steps round.** For $t\ge 2$ the chain is Markov, so $q(x_t\mid x_{t-1})=q(x_t\mid x_{t-1},x_0)$, and Bayes' rule gives
#
# $$q(x_t\mid x_{t-1})=q(x_{t-1}\mid x_t,x_0)\,\frac{q(x_t\mid x_0)}{q(x_{t-1}\mid x_0)} .$$
#
# In the sum of logarithms the fractions cancel one another except for the ends: $\sum_{t\ge 2}\log\frac{q(x_t\mid x_0)}{q(x_{t-1}\mid x_0)}=\log q(x_T\mid x_0)-\log q(x_1\mid x_0)$.
# The last term cancels against the step $t=1$, $\log q(x_1\mid x_0)$. What is left are Kullback-Leibler divergences:
#
# $$L=\mathbb E_q\Big[\underbrace{\mathrm{KL}\big(q(x_T\mid x_0)\,\Vert\, p(x_T)\big)}_{L_T\text{: is }x_T\text{ noise? nothing to learn}}
# +\sum_{t\ge 2}\underbrace{\mathrm{KL}\big(q(x_{t-1}\mid x_t,x_0)\,\Vert\, p_\theta(x_{t-1}\mid x_t)\big)}_{L_{t-1}}
# \underbrace{-\log p_\theta(x_0\mid x_1)}_{L_0}\Big].$$
#
# **4. Both sides of $L_{t-1}$ are Gaussian.** The posterior has mean $\tilde\mu_t$ (complete the square in $q(x_t\mid x_{t-1})\,q(x_{t-1}\mid x_0)$; DDPM eqs. 6, 7) and a fixed variance. Give $p_\theta$ a fixed variance $\sigma_t^2$ and a mean $\mu_\theta$; up to a constant
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
# The last term, $L_0=-\log p_\theta(x_0\mid x_1)$, is a Gaussian too and has the same form, with $t=1$. Ho et al. drop the factor in front: that is $L_\text{simple}$. With the linear schedule the factor is
# largest at the lowest noise, so dropping it takes weight away from the finest details and gives it to the levels where the shape is decided.
#
# </details>
#
# ### Exercise 2.2: the loss of a batch
#
# Write $L_\text{simple}$ for one batch: each example has its own level in `t` (B,) and its own `noise`, shaped like `x0`. Take the mean of the squares over
# everything (DDPM writes the sum over coordinates; a constant factor does not move the minimum). Return a tensor with one number, so that it can be differentiated.
#
# Difficulty: ●○○○○, 5 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# Noise the data, ask the network, compare. What exactly is the network allowed to see, and what is its target?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# `schedule.q_sample(x0, t, noise)` makes $x_t$; the network is `model(x_t, t)`; the target is `noise`.
#
# </details>
#
# <!--slide 4 min
# ## A bound on the likelihood becomes a squared error
#
# 1. $\log p_\theta(x_0)\ge -L$, by Jensen's inequality
# 2. $L$ is a sum over the steps of $\mathrm{KL}\big(q(x_{t-1}\mid x_t,x_0)\,\Vert\,p_\theta(x_{t-1}\mid x_t)\big)$, and two ends
# 3. both are Gaussian with fixed variances, so only the means matter: $\tilde\mu_t=\frac{1}{\sqrt{\alpha_t}}\big(x_t-\frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon\big)$
# 4. in $\tilde\mu_t$ all is known but $\epsilon$: let the network predict it
#
# $$L_\text{simple}=\mathbb E_{x_0,\,t,\,\epsilon}\;\big\lVert \epsilon-\epsilon_\theta(\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon,\;t)\big\rVert^2$$
#
# - dropped on the way: the factor $\beta_t^2\,/\,\big(2\sigma_t^2\,\alpha_t\,(1-\bar\alpha_t)\big)$ in front of each level
# - what is left needs no chain, only a point, a level and noise
#
# Notes:
# Say: the five steps stand in the notebook in full; in the room go through the idea of each. The trick of step 2 is to turn the forward steps round with Bayes' rule, after which the fractions cancel. Step 3: the posterior is a product of two Gaussians, hence Gaussian; mu-tilde is its mean, with the jump solved for x_0 put in.
# Ask: with the linear schedule, at which levels is the dropped factor largest, and what does dropping it do? (At the lowest noise. Dropping it takes weight from the finest details and gives it to the levels where the shape is decided.)
# -->
# <!--slide 1 min
# ## Your turn: 2.2, the loss of a batch, 5 minutes
#
# $$\text{the mean of}\quad\big(\epsilon-\epsilon_\theta(x_t,t)\big)^2,\qquad x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$$
#
# ```python
# def simple_loss(model, x0, t, noise, schedule):
#     """The mean squared error of the predicted noise over a batch, one number."""
#     # TODO 2.2: noise the batch, predict, compare
#     ...
# ```
#
# - `schedule.q_sample(x0, t, noise)` makes $x_t$; every example has its own level
# - `model(x_t, t)` is the network; what is it allowed to see, and what is its target?
# - return one number as a tensor, so that it can be differentiated
#
# Notes:
# Give 5 minutes, then run the check cell on the projector. The two most common mistakes: the network is shown $x_0$, or $x_0+\epsilon$ without the factors; and the squares are summed instead of averaged, so that the loss grows with the batch.
# Ask: why may every example of a batch have another level? (The loss is an expectation over levels; a mixed batch estimates it with less scatter than one level at a time.)
# -->

# %% exercise="2.2" slideshow={"slide_type": "skip"}
def simple_loss(model, x0, t, noise, schedule):
    """The mean squared error of the predicted noise over a batch, one number."""
    # TODO 2.2: noise the batch, predict, compare
    ### BEGIN SOLUTION
    x_t = schedule.q_sample(x0, t, noise)
    return (model(x_t, t) - noise).square().mean()
    ### END SOLUTION


simple_loss = check("2.2", simple_loss)

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="2.3"
# ## 4. Noise, clean data, score: one thing in three notations
#
# The network predicts $\epsilon$. The same numbers, rearranged, are a guess of $x_0$, and they are the **score**, the direction in which the
# density of noisy data grows fastest (Tweedie's formula):
#
# $$\hat x_0=\frac{x_t-\sqrt{1-\bar\alpha_t}\;\epsilon_\theta}{\sqrt{\bar\alpha_t}},\qquad\qquad \nabla_{x_t}\log p_t(x_t)\approx-\frac{\epsilon_\theta}{\sqrt{1-\bar\alpha_t}} .$$
#
# A popular mistake is "clean = noisy minus predicted noise". $x_t$ holds only $\sqrt{1-\bar\alpha_t}$ of the noise, and $\sqrt{\bar\alpha_t}$ of the data: both must be scaled.
#
# <details>
# <summary>Why the predicted noise is a score</summary>
#
# The density of noisy data is a mixture over clean ones, $p_t(x_t)=\int q(x_t\mid x_0)\,p(x_0)\,dx_0$. Differentiate the logarithm:
#
# $$\nabla\log p_t(x_t)=\frac{\int \nabla q(x_t\mid x_0)\,p(x_0)\,dx_0}{p_t(x_t)}=\int \nabla\log q(x_t\mid x_0)\;\frac{q(x_t\mid x_0)\,p(x_0)}{p_t(x_t)}\,dx_0=\mathbb E\big[\nabla\log q(x_t\mid x_0)\,\big|\,x_t\big].$$
#
# $q(x_t\mid x_0)$ is the Gaussian around $\sqrt{\bar\alpha_t}\,x_0$ with variance $1-\bar\alpha_t$, so $\nabla\log q(x_t\mid x_0)=-\frac{x_t-\sqrt{\bar\alpha_t}\,x_0}{1-\bar\alpha_t}=-\frac{\epsilon}{\sqrt{1-\bar\alpha_t}}$, and
#
# $$\nabla\log p_t(x_t)=-\frac{\mathbb E[\epsilon\mid x_t]}{\sqrt{1-\bar\alpha_t}}=-\frac{x_t-\sqrt{\bar\alpha_t}\;\mathbb E[x_0\mid x_t]}{1-\bar\alpha_t}.$$
#
# The best prediction of the noise is $\mathbb E[\epsilon\mid x_t]$ (section 2). Hence a perfect network gives the score exactly.
#
# </details>
#
# ### Exercise 2.3: read one prediction in the two other ways
#
# Return the pair $(\hat x_0, \text{score})$, each in the shape and dtype of `x_t`, for points (B, 2) and images (B, 1, H, W) alike.
#
# Difficulty: ●●○○○, 8 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# Solve $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$ for $x_0$. The score points from the noise back to the data: mind the sign.
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# `a = at(schedule.alpha_bar, t, x_t)` fits both shapes. $x_t$ holds `(1 - a).sqrt()` times the noise: take it away, and only then divide by `a.sqrt()`.
#
# </details>
#
# <!--slide 2 min
# ## Noise, clean data, score: one prediction, three readings
#
# $$\hat x_0=\frac{x_t-\sqrt{1-\bar\alpha_t}\;\epsilon_\theta}{\sqrt{\bar\alpha_t}},\qquad\qquad \nabla_{x_t}\log p_t(x_t)\approx-\frac{\epsilon_\theta}{\sqrt{1-\bar\alpha_t}}$$
#
# - the score points where the density of *noisy* data grows fastest
# - "clean = noisy minus predicted noise" is wrong: both parts are scaled
# - tested below: for the exact denoiser $p_t$ is known, and automatic differentiation of $\log p_t$ gives the same arrows
#
# Notes:
# Say: Tweedie's formula. The proof is two lines in the fold: differentiate the mixture, recognise the posterior mean of the noise. The printed differences are at the level of rounding.
# Ask: the score at the point where the density is highest? (Zero: nothing grows there. So the predicted noise is zero too.)
# Live: the check runs in a moment. Exercise 2.3 is this pair of formulas, 8 minutes at home. Its two most common mistakes: $x_t-\epsilon$ without the roots, and the wrong sign of the score.
# -->

# %% exercise="2.3" slideshow={"slide_type": "skip"}
def read_eps(eps, x_t, t, schedule):
    """The estimate of x_0 and the score that a predicted noise stands for, both shaped like x_t."""
    # TODO 2.3: return x0, score
    ### BEGIN SOLUTION
    a = at(schedule.alpha_bar, t, x_t)
    x0 = (x_t - (1 - a).sqrt() * eps) / a.sqrt()
    score = -eps / (1 - a).sqrt()
    return x0, score
    ### END SOLUTION


read_eps = check("2.3", read_eps)

# %% slideshow={"slide_type": "-"} tags=["slide-output"]
# For the exact denoiser p_t is known, a mixture of Gaussians. Automatic differentiation of its logarithm
# knows nothing of Tweedie's formula; both must give the same arrows.
def log_density(x_t, t, points):
    a = at(schedule.alpha_bar, t, x_t)
    away = x_t[:, None] - a.sqrt() * points
    return torch.logsumexp(-away.square().sum(2) / (2 * (1 - a)), dim=1)


x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
for t in (T // 10, T // 2, 9 * T // 10):
    (slope,) = torch.autograd.grad(log_density(x, t, few).sum(), x)
    x_t, levels = x.detach(), torch.full((200,), t)
    _, score = read_eps(exact_model(few)(x_t, levels), x_t, levels, schedule)
    gap = (score - slope).abs().max() / slope.abs().max()
    print(f"t = {t:3d}: largest score {slope.abs().max():6.2f}, largest difference relative to it {gap:.1e}")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="2.4"
# ## 5. A network that knows the level
#
# Why does the network need $t$? Look at one place at different levels: $x_t=(0.3,\,0.2)$ at low noise is a point that has hardly moved; at high noise it could have come
# from anywhere. The right answers differ (section 2 drew them), so a network that sees only $x_t$ can at best give their average.
#
# A bare number $t$ is a poor input: a small network would have to build a sharp dependence on it first. Instead $t$ is shown on many dials at once, fast and slow ones:
#
# $$\gamma(t)=\big(\sin\omega_0t,\dots,\sin\omega_{d/2-1}t,\;\cos\omega_0t,\dots,\cos\omega_{d/2-1}t\big),\qquad \omega_i=P^{-\,i/(d/2)},\quad P=10\,000 .$$
#
# ### Exercise 2.4: the timestep embedding
#
# `t` is (B,), whole levels; return (B, dim) in float32: all sines first, then all cosines.
#
# Difficulty: ●●○○○, 8 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# There are `dim // 2` frequencies. They fall by the same *factor* from one to the next, from 1 down to almost `1 / max_period`.
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# `max_period ** (-i / half)` with `i = torch.arange(half)`, then an outer product: `t.float()[:, None] * frequencies`.
#
# </details>
#
# *In the picture behind it* each column is what the network is told. Fast rows tell neighbours apart, slow rows tell early from late. Nearby levels look alike, far ones do not.
# A popular mistake is to let the frequencies fall on a straight line: nearly all rows are fast then, and levels 100 apart look as different as levels 800 apart.
#
# <!--slide 2 min
# ## The level is shown on many dials, fast and slow
#
# $$\gamma(t)=\big(\sin\omega_it,\;\cos\omega_it\big)_{i=0,\dots,d/2-1},\qquad \omega_i=10\,000^{-\,i/(d/2)}$$
#
# Notes:
# Say: each column on the left is what the network is told. Fast rows tell neighbours apart, slow rows tell early from late. On the right: a level is most like itself, and alike to its neighbours. The embedding is added in every residual block of a small perceptron.
# Ask: why must the network know $t$ at all? (One place means different things: at low noise a point that has hardly moved, at high noise a point from anywhere. Without $t$ it could only give the average answer.)
# Live: run the cells of exercise 2.4 (8 minutes at home). Its two most common mistakes: frequencies that fall on a straight line instead of by a factor, and sines and cosines interleaved where all sines come first.
# -->

# %% exercise="2.4" slideshow={"slide_type": "skip"}
def timestep_embedding(t, dim, max_period=10_000.0):
    """Sines, then cosines, of t at dim/2 frequencies from 1 down to nearly 1/max_period: (B,) to (B, dim)."""
    # TODO 2.4: frequencies, angles, then sines and cosines side by side
    ### BEGIN SOLUTION
    i = torch.arange(dim // 2)
    frequencies = max_period ** (-i / (dim // 2))
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
    ### END SOLUTION


timestep_embedding = check("2.4", timestep_embedding)

# %% expected="2.4" slideshow={"slide_type": "-"} tags=["slide-figure"]
emb = timestep_embedding(torch.arange(1001), 64)
fig, (left, right) = plt.subplots(1, 2, figsize=(show.WIDTH, 3.6))
left.imshow(emb.T, aspect="auto", cmap="RdBu_r", interpolation="nearest")
left.set(xlabel="level t", ylabel="entry", title="embedding: sines above, cosines below")
left.grid(False)
for t, colour in zip((50, 300, 800), show.COLOURS, strict=False):
    right.plot(emb @ emb[t] / 32, color=colour, label=f"t = {t}")
right.set(xlabel="level", ylabel="scalar product / 32", title="how alike are two levels?")
right.legend()
show.figure(fig, "Left: heat map, 64 entries against levels 0 to 1000, fast stripes at the top of each half, "
            "slow below. Right: the similarity of three levels to all others peaks sharply at the level "
            "itself.")

# %% [markdown] slideshow={"slide_type": "skip"}
# ### The network
#
# A multilayer perceptron with three additions, each a line below:
#
# - **Fourier features** of the position, $\sin\frac{\pi k}{2}x$ and $\cos\frac{\pi k}{2}x$ for $k=1,\dots,8$: a plain MLP is slow to learn sharp edges, and the board has nothing else;
# - **residual blocks**, $h\leftarrow h+g(h)$, so that gradients find a short way to every layer;
# - the **level**, added anew in every block.

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
# ### The training loop, in the open
#
# Each step: draw examples, levels and noise; the loss; its gradient; one step of AdamW. Two things keep it calm: the gradient is cut to norm 1, and the learning rate warms up, stays,
# and falls to zero at the end. It is written as a *generator*: it hands out the loss after every step, and whoever uses it decides about plots and progress bars.
#
# `helpers.training.train` is this loop and adds one thing, an **exponential moving average** (EMA) of the weights, $\bar\theta\leftarrow d\,\bar\theta+(1-d)\,\theta$ after every step: the average
# jitters less than the weights and gives better samples. Its $d$ starts small and grows to 0.999, so that the random first weights are forgotten.
# Two loops that do the same must, from the same seed, report the same losses: that is checked. Then one network for each data set is trained, about a minute in all.
#
# <!--slide 3 min
# ## Training is a regression with fresh noise in every step
#
# ```python
# for step in range(steps):
#     x0 = x[torch.randint(len(x), (batch_size,), generator=g)]
#     t = torch.randint(1, schedule.T + 1, (batch_size,), generator=g)
#     noise = torch.randn(x0.shape, generator=g)
#     loss = simple_loss(model, x0, t, noise, schedule)
#     optimizer.zero_grad()
#     loss.backward()
#     nn.utils.clip_grad_norm_(model.parameters(), 1.0)
#     optimizer.step()
# ```
#
# - no chain, no sampling: one random level for each example
# - learning rate: warm up, stay, fall to zero
# - samples come from an average of the weights over time (EMA)
#
# Notes:
# Say: read the loop line by line; it is all of diffusion training. The notebook's version also sets the learning rate and yields the loss. That helpers' train is the same loop is checked there: the losses agree to rounding.
# Ask: what changes in this loop when the points become images? (The shape of x0 and the network. No other line.)
# Have run: the cell that trains both networks, about a minute. Live: only the 20-step comparison.
# -->

# %% slideshow={"slide_type": "skip"}
def train_in_the_open(model, schedule, x, steps, batch_size, lr, seed=0):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    g = torch.Generator().manual_seed(seed)
    for step in range(steps):
        x0 = x[torch.randint(len(x), (batch_size,), generator=g)]
        t = torch.randint(1, schedule.T + 1, (batch_size,), generator=g)
        noise = torch.randn(x0.shape, generator=g)
        optimizer.param_groups[0]["lr"] = learning_rate(step, steps, lr)
        loss = simple_loss(model, x0, t, noise, schedule)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        yield loss.item()

# %% slideshow={"slide_type": "skip"}
def fresh_net():
    torch.manual_seed(0)
    return PointMLP()


ours = list(train_in_the_open(fresh_net(), schedule, board, steps=20, batch_size=256, lr=3e-3))
theirs = train(Run(fresh_net(), lr=3e-3, seed=0), schedule, board, steps=20, batch_size=256)
gap = max(abs(a - step.loss) for a, step in zip(ours, theirs, strict=True))
print(f"loss: {ours[0]:.3f} at the first step, {ours[-1]:.3f} at step 20")
print(f"largest difference between the two loops over 20 steps: {gap:.1e}")

# %% slideshow={"slide_type": "skip"}
def fit(name, points, steps):
    """Train one network, write its averaged weights to a checkpoint, return the losses."""
    run = Run(fresh_net(), lr=3e-3, seed=0)
    walk = train(run, schedule, points, steps, batch_size=512)
    losses = [step.loss for step in show.progress(walk, total=steps, label=name)]
    recipe = dict(data=name, schedule=schedule.name, T=T, steps=steps, batch_size=512, lr=3e-3, seed=0)
    checkpoints.save_model(out_dir() / f"points_{name}.safetensors", run.ema.model, recipe)
    return losses


losses = {"moons": fit("moons", moons, choose(read=2800, smoke=30)),
          "board": fit("board", board, choose(read=4000, smoke=30))}

# %% [markdown] slideshow={"slide_type": "slide"}
# ### From here on, two files
#
# Training and drawing are separate now: **everything below reads the two checkpoint files**. To draw again in a fresh kernel, run the set-up cell, the data cell and the exercises, and go on here.
#
# How good is the loss? It does not go to zero, and it cannot: $x_t$ does not say where it came from. The exact denoiser knows *how* low it can go, level by level. Beside it, the network.
#
# *In the picture* (right): "the loss is equally hard at all levels" is often said and is wrong. At low noise the noise hides behind the data's own detail and the loss is large; at high
# noise $x_t$ *is* nearly the noise and the loss is tiny. Averaged over the levels, most of what is left of the loss cannot be removed.
#
# **Question** At low noise the exact denoiser beats the network on its own points and loses on fresh ones. Why?
#
# <details>
# <summary>Answer</summary>
#
# Once the noise is as small as the gaps between training points, the exact denoiser can tell *which* point it was given and answers with that very point: a loss below what the squares
# alone allow. A fresh point is pulled to some training neighbour, which is wrong by the size of a gap. The network has learned the squares, not the points: its two curves stay together. That is
# generalisation, and a gap between training and fresh loss is how one would notice its absence.
#
# </details>
#
# <!--slide 3 min
# ## The loss cannot reach zero: each level has its floor
#
# Black: the exact denoiser, the floor on the points it knows. Blue: the network.
#
# Notes:
# Say: left, both losses fall fast and then hardly move, far above zero; that is not bad training, $x_t$ does not say where it came from. Right, the floor by level: near 1 at low noise, near 0 at high noise. "Equally hard at all levels" is wrong.
# Ask: at the lowest noise the exact denoiser wins on its own points and loses on fresh ones. Why? (It recognises the very point it was given; a fresh point it pulls to a neighbour. The network learned squares, not points: its two curves stay together.)
# Have run: needs the two checkpoint files.
# -->

# %% slideshow={"slide_type": "skip"}
def load(name):
    return checkpoints.load_model(out_dir() / f"points_{name}.safetensors", PointMLP)


@torch.no_grad()
def loss_at(model, points, t):
    noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    return float(simple_loss(model, points, torch.full((len(points),), t), noise, schedule))


net_moons, net_board = load("moons"), load("board")
draw = torch.randint(200_000, (4, 10_000), generator=torch.Generator().manual_seed(1))
real = {"moons": data.moons(200_000, seed=1)[0][draw], "board": data.checkerboard(200_000, seed=1)[0][draw]}
levels = [t for t in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900) if t <= T]
n = choose(read=1000, smoke=50)

# %% slideshow={"slide_type": "-"} tags=["slide-figure"]
fig, (left, right) = plt.subplots(1, 2, figsize=(show.WIDTH, 4))
for name, colour in (("moons", show.COLOURS[2]), ("board", show.COLOURS[0])):
    left.plot(losses[name], color=colour, alpha=0.15, linewidth=0.5)
    left.plot(show.smooth(losses[name], 100), color=colour, label=name)
left.set(xlabel="step", ylabel="loss", ylim=(0.2, 0.6), title="loss in training (mean of 100 steps)")
print("level           ", "".join(f"{t:8}" for t in levels))
for name, model, style in (("exact", exact_model(board), "k"), ("network", net_board, "C0")):
    for kind, points, line in (("training", board[:n], "-o"), ("fresh", real["board"][0, :n], ":s")):
        curve = [loss_at(model, points, t) for t in levels]
        right.plot(levels, curve, line, color=style, label=f"{name}, {kind} points")
        print(f"{name:7} {kind:8}", "".join(f"{loss:8.4f}" for loss in curve))
right.set(xlabel="level t", xscale="log", ylim=(0, 1.5), title="loss by level (board)")
_ = left.legend(), right.legend(fontsize=10)
show.figure(fig, "Left: both losses fall, then level off above zero. Right: by level, 1 at low noise, 0 at "
            "high; at the lowest the exact denoiser is best on its own points, worst on fresh ones.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 6. Back from noise: many small steps
#
# Put the predicted noise into the posterior mean of section 3 and add fresh noise with the posterior's variance: the **ancestral step** of DDPM from level $t$ to $t-1$
#
# $$x_{t-1}=\frac{1}{\sqrt{\alpha_t}}\Big(x_t-\frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta\Big)+\sqrt{\tilde\beta_t}\;z,\qquad
# \tilde\beta_t=\beta_t\,\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t},\qquad z\sim\mathcal N(0,I).$$
#
# The trap: $\epsilon_\theta$ estimates *all* the noise between $x_0$ and $x_t$. The step takes away a small share of it, $\beta_t/\sqrt{1-\bar\alpha_t}$, not $\sqrt{1-\bar\alpha_t}$.
#
# The walk starts at $x_T\sim\mathcal N(0,I)$ and repeats the step until no noise is left. Below it is one loop, fed with a step rule. With the cosine schedule one thing is needed besides. At the top $\sqrt{\bar\alpha_t}$ is almost 0, and
# $\hat x_0=(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon_\theta)/\sqrt{\bar\alpha_t}$ divides by it: a prediction that is off by a thousandth puts $\hat x_0$ far outside. But we know where clean
# data lie. So **the estimate of $x_0$ is clamped** to the range of the data, and the noise is computed anew from it. A thousand small steps can make up for a bad one at the top; the long
# steps of section 7 cannot, and there the clamp is measured.
#
# **Question** The true reverse of a Gaussian step is not Gaussian in general. Why may each step here be one?
#
# <details>
# <summary>Answer</summary>
#
# $q(x_{t-1}\mid x_t)\propto q(x_t\mid x_{t-1})\,q(x_{t-1})$. The first factor, seen as a function of $x_{t-1}$, is a Gaussian of width about $\sqrt{\beta_t}$. If $\beta_t$ is small, the logarithm
# of the second factor is almost a straight line over that width: it shifts the Gaussian, along the score, and leaves its shape. With a big $\beta_t$ the second factor can have several bumps within the
# width, squares for instance, and no Gaussian fits. That is the price of few steps.
#
# </details>
#
# <!--slide 4 min
# ## A step back takes away a small share of the noise
#
# $$x_{t-1}=\frac{1}{\sqrt{\alpha_t}}\Big(x_t-\frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta\Big)+\sqrt{\tilde\beta_t}\;z,\qquad \tilde\beta_t=\beta_t\,\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}$$
#
# - $x_t$ holds $\sqrt{1-\bar\alpha_t}$ times $\epsilon_\theta$; the step takes away only $\beta_t/\sqrt{1-\bar\alpha_t}$ times
# - then fresh noise $z\sim\mathcal N(0,I)$ with the posterior's variance; none at the last step
# - $\hat x_0$ divides by $\sqrt{\bar\alpha_t}$, so at the top a tiny error is blown up: **clamp** $\hat x_0$ to the data's range
#
# Notes:
# Say: put the predicted noise into the posterior mean of the derivation. The walk starts at pure noise and repeats this a thousand times. The printed number is the factor by which an error of the prediction is blown up at the top level.
# Ask: the reverse of a Gaussian step is not Gaussian in general. Why may each step be one here? (Over the small width of the step the log density is almost a straight line; that only shifts the Gaussian, along the score. Big steps break this.)
# Exercise 2.5 is this step: 12 minutes at home. The two most common mistakes: all the noise is subtracted at once, and the fresh noise is multiplied by the variance instead of its root.
# -->

# %% slideshow={"slide_type": "-"} tags=["slide-output"]
@torch.no_grad()
def walk(model, x, step, limit, k=1, seed=0):
    """From pure noise x to data, asking at every k-th level; yields (level, x, estimate of x_0)."""
    g = torch.Generator().manual_seed(seed)
    asked = list(range(T, 0, -k))
    for t, t_next in zip(asked, asked[1:] + [0], strict=True):
        levels = torch.full((len(x),), t)
        x0, _ = read_eps(model(x, levels), x, levels, schedule)
        x0 = x0.clamp(-limit, limit)
        eps = schedule.predict_eps(x, levels, x0)
        x = step(x, t, t_next, eps, torch.randn(x.shape, generator=g))
        yield t_next, x, x0


print(f"1 / sqrt(alpha_bar) at the top level: {1 / schedule.alpha_bar[T].sqrt():,.0f}")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="2.5"
# ### Exercise 2.5: one ancestral step
#
# `t` is one int for the whole batch, so `schedule.alpha_bar[t]` is one number, and `schedule.alphas` and `schedule.betas` have their entry $t$ too. At $t=1$ the formula
# asks for $\bar\alpha_0$: level 0 is clean, so it is 1. Use the posterior variance.
#
# Difficulty: ●●●○○, 12 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# Mean and variance first, separately. What does $\tilde\beta_1$ come to, and what does that say about the noise in the last step?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# Every symbol of the formula is an entry of one of three arrays: `schedule.alphas[t]`, `schedule.betas[t]`, and `schedule.alpha_bar[t]` with `schedule.alpha_bar[t - 1]`.
# The noise is multiplied by the *root* of the variance.
#
# </details>
#
# *In the picture behind it*, above: the walk. Below: where a single leap from each level would end, the current guess of $x_0$. From high noise the guess is an average and fills the middle,
# whatever the squares; it sharpens only as the noise goes. The coarse shape is settled first, the edges last.
#
# <!--slide 2 min
# ## The coarse shape is settled first, the edges last
#
# Above: the walk. Below: where a single leap from each level would end.
#
# Notes:
# Say: from the left. The cloud hardly changes for a long time while the estimate below grows from a spot to a blob to a block; the squares stand out only in the last levels. The first spot is wider than the second: there a small error of the network is divided by the smallest root.
# Ask: why is the estimate at high noise a spot in the middle? (Pure noise says nothing about the point; the best guess is the mean of all data, as the exact denoiser showed.)
# Have run: a thousand steps for a thousand points take some seconds. Live: in the optional section at the end a slider stops the walk at any level.
# -->

# %% exercise="2.5" slideshow={"slide_type": "skip"}
def ancestral_step(x_t, t, eps, noise, schedule):
    """x at level t - 1 from x at level t (an int), with the posterior variance. x_t, eps, noise: (B, ..)."""
    # TODO 2.5: mean, variance, then mean plus noise of that variance
    ### BEGIN SOLUTION
    alpha, beta = schedule.alphas[t], schedule.betas[t]
    a, a_prev = schedule.alpha_bar[t], schedule.alpha_bar[t - 1]
    mean = (x_t - beta / (1 - a).sqrt() * eps) / alpha.sqrt()
    variance = beta * (1 - a_prev) / (1 - a)
    return mean + variance.sqrt() * noise
    ### END SOLUTION


ancestral_step = check("2.5", ancestral_step)

# %% expected="2.5" slideshow={"slide_type": "-"} tags=["slide-figure"]
def one_level(x, t, t_next, eps, noise):
    return ancestral_step(x, t, eps, noise, schedule)


x_T = torch.randn(1000, 2, generator=torch.Generator().manual_seed(7))
states = list(walk(net_board, x_T, one_level, limit=1.0))
at_level = {t: (x, x0) for t, x, x0 in states}
fig, axes = plt.subplots(2, 6, figsize=(show.WIDTH, 3.8))
for column, percent in zip(axes.T, (95, 75, 55, 35, 15, 0), strict=True):
    t = percent * T // 100
    x, x0 = at_level[t]
    show.scatter(column[0], x, show.level(t), size=1.5, limit=2)
    show.scatter(column[1], x0, colour=show.COLOURS[1], size=1.5, limit=1.4)
show.figure(fig, "Above: 1000 points on their way from a round cloud to eight squares. Below: where one leap "
            "from there would end: first a blob in the middle, then rough blocks, at last squares.")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="2.6"
# ## 7. Fewer steps: the naive way and DDIM
#
# A thousand network calls for a sample are many. The naive way asks only at every $k$-th level and still makes the one-level step: then most of the noise is never taken away.
#
# DDIM (Song et al. 2021) jumps from $t$ to any lower level $t'$ by way of the estimate of $x_0$, which it noises again, to level $t'$, with the *predicted* noise:
#
# $$x_{t'}=\sqrt{\bar\alpha_{t'}}\;\hat x_0+\sqrt{1-\bar\alpha_{t'}}\;\epsilon_\theta,\qquad \hat x_0=\frac{x_t-\sqrt{1-\bar\alpha_t}\;\epsilon_\theta}{\sqrt{\bar\alpha_t}} .$$
#
# It is the line "$x_t$ from $x_0$ and noise" read once backwards and once forwards. No fresh noise: one start, one end. It needs no new training, because the loss of section 3 only ever used $q(x_t\mid x_0)$.
#
# ### Exercise 2.6: the DDIM step
#
# Difficulty: ●●○○○, 8 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# Two lines: the estimate of $x_0$ as in exercise 2.3, then `q_sample` with the predicted noise in place of fresh one. What must come out for `t_next = 0`?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# With `a, a_next = schedule.alpha_bar[t], schedule.alpha_bar[t_next]` the formula can be copied symbol by symbol. For `t_next = 0` nothing special is needed: `a_next` is 1.
#
# </details>
#
# *In the picture behind it*, above: the naive way falls apart as soon as levels are left out, because the noise that the skipped steps should have removed is still there. Below: DDIM on the *same* levels
# hardly notices. What counts first is not the number of calls, but that each step goes as far as it claims.
#
# <!--slide 1 min
# ## Your turn: 2.6, the DDIM step, 8 minutes
#
# $$x_{t'}=\sqrt{\bar\alpha_{t'}}\;\hat x_0+\sqrt{1-\bar\alpha_{t'}}\;\epsilon_\theta,\qquad \hat x_0=\frac{x_t-\sqrt{1-\bar\alpha_t}\;\epsilon_\theta}{\sqrt{\bar\alpha_t}}$$
#
# ```python
# def ddim_step(x_t, t, t_next, eps, schedule):
#     """x at level t_next from x at level t (ints, t_next < t, 0 is clean), without fresh noise."""
#     # TODO 2.6: estimate x_0, then go to level t_next
#     ...
# ```
#
# - from level $t$ to *any* lower level $t'$: estimate $x_0$, noise it again
# - the noise put back is the predicted one: one start, one end
# - no new training: the loss only ever used $q(x_t\mid x_0)$
#
# Notes:
# Say: it is "$x_t$ from $x_0$ and noise" read once backwards and once forwards.
# Give 6 of the 8 minutes to the code, then run the check cell. The two most common mistakes: the step goes to level $t-1$ whatever t_next says, and fresh noise where the predicted noise belongs.
# Ask: what must come out for t_next = 0? (The estimate of $x_0$ itself: its factor is 1, that of the noise is 0.)
# -->
# <!--slide 3 min
# ## Skipping levels needs a step made for it
#
# The network is asked at every 1st, 2nd, 5th, 20th level. Above the one-level step, below DDIM.
#
# Notes:
# Say: above, the network is asked at every 1st, 2nd, 5th, 20th level and the one-level step is made each time: the noise of the skipped levels stays in. Below, DDIM on the *same* levels: the share inside hardly changes. What counts first is not the number of calls but that a step goes as far as it claims.
# Ask: why is there any noise left in the upper right picture? (Each step takes away the noise of one level, and nineteen of twenty levels were never visited.)
# Have run: eight walks. The printed line under the figure in the notebook shows DDIM without the clamp, which fails with these long steps.
# -->

# %% exercise="2.6" slideshow={"slide_type": "skip"}
def ddim_step(x_t, t, t_next, eps, schedule):
    """x at level t_next from x at level t (ints, t_next < t, 0 is clean), without fresh noise."""
    # TODO 2.6: estimate x_0, then go to level t_next
    ### BEGIN SOLUTION
    a, a_next = schedule.alpha_bar[t], schedule.alpha_bar[t_next]
    x0 = (x_t - (1 - a).sqrt() * eps) / a.sqrt()
    return a_next.sqrt() * x0 + (1 - a_next).sqrt() * eps
    ### END SOLUTION


ddim_step = check("2.6", ddim_step)

# %% expected="2.6" slideshow={"slide_type": "-"} tags=["slide-figure"]
def by_ddim(x, t, t_next, eps, noise):
    return ddim_step(x, t, t_next, eps, schedule)


fig, axes = plt.subplots(2, 4, figsize=(show.WIDTH, 5.2))
for row, step, colour in zip(axes, (one_level, by_ddim), show.COLOURS[1::-1], strict=True):
    for ax, k in zip(row, (1, 2, 5, 20), strict=True):
        _, x, _ = list(walk(net_board, x_T, step, limit=1.0, k=k))[-1]
        show.scatter(ax, x, f"every {k}: {metrics.share_inside(x):.0%} inside", colour, limit=1.5)
axes[0, 0].set_ylabel("naive")
axes[1, 0].set_ylabel("DDIM")
_, x, _ = list(walk(net_board, x_T, by_ddim, limit=float("inf"), k=20))[-1]
print(f"DDIM at every 20th level without clamping: {metrics.share_inside(x):.0%} inside")
show.figure(fig, "Samples when the network is asked at every level, every 2nd, 5th, 20th. Naive, above: the "
            "squares blur at 2 and are gone at 20. DDIM, below: eight squares in all four.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 8. How good is it?
#
# 10,000 samples for each data set, with `helpers.sampling.reverse`: the loop you have just seen, written once for the whole course, fed with a *rule* (`ancestral(...)` or `ddim(...)`). A number
# alone says little, so each stands beside its floor: what the same measure gives for real data against other real data, both drawn independently, as samples are (mean of four draws).
#
# *In the picture*: the samples are about as far from their nearest training point as fresh data are; nothing was copied, unlike in section 2. What is wrong with the board sits at its edges and in a thin haze
# between the squares. An edge is a jump in the score at low noise, which no smooth function follows.
#
# <!--slide 3 min
# ## A number alone says little: beside it stands its floor
#
# Floor: the same measure for real data against other real data. Blue is real, orange sampled.
#
# Notes:
# Say: 10,000 samples of each. The first line only says that helpers' loop is the walk just seen. The sliced Wasserstein distance is about one and a half times its floor for the moons and about twice for the board; the nearest training point is about as far as for fresh data, so nothing was copied, unlike with the exact denoiser. What is wrong with the board sits at its edges and in a haze between the squares.
# Ask: what would these numbers be for the exact denoiser of the training points? (The distance about at its floor, the nearest practically 0: it copies. One number would praise it, both together give it away.)
# Have run: the sampling cell, 100 DDIM steps for 10,000 points, twice.
# -->

# %% slideshow={"slide_type": "-"} tags=["slide-output"]
again = last(reverse(net_board, schedule, ancestral(), x_T=x_T, seed=0, clip_x0=1.0))
gap = (again - states[-1][1]).abs().max()
print(f"our walk and helpers' reverse, same start and noise: largest difference {gap:.1e}")
size, limit, rule = choose(read=10_000, smoke=100), float(moons.abs().max()), ddim(T // 10)
path = list(reverse(net_board, schedule, rule, (size, 2), seed=1, clip_x0=1.0))
other = last(reverse(net_moons, schedule, rule, (size, 2), seed=1, clip_x0=limit))
new = {"moons": other, "board": path[-1].x}
inside, (low, high) = metrics.share_inside(path[-1].x), (8 * metrics.square_shares(path[-1].x)).aminmax()
print(f"board: {inside:.1%} inside; each square holds {low:.2f} to {high:.2f} of its share")
for name, old in (("moons", moons), ("board", board)):
    score = sum(metrics.sliced_wasserstein(new[name], r[:size]) for r in real[name]) / 4
    pairs = [(real[name][i, :size], real[name][i + 1, :size]) for i in range(3)]
    floor = sum(metrics.sliced_wasserstein(a, b) for a, b in pairs) / 3
    near, far = (metrics.nearest_neighbours(p[:2000], old)[1].median() for p in (new[name], real[name][0]))
    print(f"{name}: sliced Wasserstein {score:.4f} (floor {floor:.4f}), nearest {near:.4f} (fresh {far:.4f})")

# %% slideshow={"slide_type": "-"} tags=["slide-figure"]
fig, axes = plt.subplots(1, 4, figsize=(show.WIDTH, 2.8))
for i, points in enumerate((moons, new["moons"], board, new["board"])):
    title = ("moons", "samples", "board", "samples")[i]
    show.scatter(axes[i], points[:4000], title, show.COLOURS[i % 2], size=1)
show.figure(fig, "Real moons beside sampled ones, the real checkerboard beside a sampled one. The pairs look "
            "alike; the sampled board has a thin haze between its squares.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 9. Three choices, measured
#
# Each of these is settled by habit in many tutorials. The numbers come from `make train` (short trainings, several seeds, so that a difference can be told from luck):
#
# - **Is $x_T$ noise?** $T=100$ with $\beta$ up to 0.02 leaves $\sqrt{\bar\alpha_T}=$ <!--r:points.root_alpha_bar.uncorrected|.2f-->0.60<!--/--> of the signal, yet sampling starts from pure noise. Beside it two corrected schedules of the same
#   length. The data are *lopsided* moons, nine tenths of the points on the upper one, so that their mean is not 0;
# - **Variance** of the ancestral step: $\beta_t$ or the posterior's $\tilde\beta_t$ (board);
# - **Noise at the last step**: added, or left out (board).
#
# *What comes out.* Started from noise it was never trained on, the uncorrected model misses: with DDIM a distance of <!--r:points.schedules.uncorrected-DDIM.distance.mean|.3f-->0.109<!--/-->,
# with either correction <!--r:points.schedules.rescaled-DDIM.distance.mean|.3f-->0.025<!--/--> and <!--r:points.schedules.cosine-DDIM.distance.mean|.3f-->0.021<!--/--> (floor <!--r:points.floor.mean|.3f-->0.008<!--/-->),
# and only <!--r:points.schedules.uncorrected-DDIM.upper.mean|.0%-->81%<!--/--> of its samples lie on the upper moon. The start has mean 0, the true $x_T$ has not. The fresh noise of the ancestral steps hides much of it, and data with mean 0,
# like the board, hide that shift of the mean altogether (what is left is a start with too much variance): a mistake that waits for other data. Images of digits, mostly black, are far from mean 0.
#
# With 100 steps the posterior variance is the better choice, <!--r:points.variance.posterior-100.inside.mean|.0%-->91%<!--/--> inside against <!--r:points.variance.beta-100.inside.mean|.0%-->87%<!--/-->; with 1000 the two can hardly be told apart (<!--r:points.variance.posterior-1000.inside.mean|.1%-->90.1%<!--/-->, <!--r:points.variance.beta-1000.inside.mean|.1%-->89.4%<!--/-->).
# Noise at the last step is never taken away again: with 100 steps <!--r:points.last_step.with-100.inside.mean|.0%-->89%<!--/--> instead of <!--r:points.last_step.without-100.inside.mean|.0%-->91%<!--/-->, with 1000, where $\sqrt{\beta_1}$ is small, <!--r:points.last_step.with-1000.inside.mean|.1%-->89.6%<!--/--> instead of <!--r:points.last_step.without-1000.inside.mean|.1%-->90.1%<!--/-->.
#
# <!--slide 3 min
# ## Three habits of tutorials cost quality
#
# - $T=100$ with $\beta$ up to 0.02 keeps <!--r:points.root_alpha_bar.uncorrected|.2f-->0.60<!--/--> of the signal's amplitude: a start from pure noise misses
# - with few steps the posterior variance $\tilde\beta_t$ beats $\beta_t$; noise added at the last step stays
#
# Notes:
# Say: one dot is one training. Left: distance of the samples from real lopsided moons, the dotted line is the floor; uncorrected with DDIM stands far off. Middle and right: share inside the squares of the board; with 100 steps the choices differ, with 1000 they hardly do.
# Ask: why would the first mistake hardly show on the board? (Its mean is 0, like the mean of the start. Lopsided data, and digits, have another mean.)
# Live: run the cell, it only draws saved results.
# -->

# %% slideshow={"slide_type": "-"} tags=["slide-figure"]
results = checkpoints.load_results("points")
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 4.2), width_ratios=(3, 2, 2))
panels = [("schedules", "distance", "distance", "schedule, T = 100"),
          ("variance", "inside", "share inside", "variance, T"),
          ("last_step", "inside", "share inside", "last noise, T")]
for ax, (group, key, label, title) in zip(axes, panels, strict=True):
    for i, row in enumerate(results[group].values()):
        ax.plot(row[key]["values"], [i] * len(results["seeds"]), "o", color=show.COLOURS[i % 2], alpha=0.7)
    ax.set_yticks(range(len(results[group])), [name.replace("-", ", ") for name in results[group]])
    ax.set(title=title, xlabel=label, ylim=(len(results[group]) - 0.5, -0.5))
axes[0].axvline(results["floor"]["mean"], color="black", linestyle=":")
show.figure(fig, "One dot a seed. Left: distance of samples from real lopsided moons; uncorrected with DDIM "
            "is far off, all others nearer the dotted floor. Middle, right: share inside the squares.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 10. What was learned, and the walk as a film
#
# First the learned field beside the exact one. Where noisy data occur, the two agree. At low noise and far from all squares they differ: there the network was never trained, and the walk rarely comes by.
# At high noise the learned answers jitter: $\hat x_0$ divides the network's small errors by a small $\sqrt{\bar\alpha_t}$.
# Then the samples of section 8 again, this time on their way.
#
# <!--slide 2 min
# ## Where the points go, the network agrees with the formula
#
# Arrows from $x_t$ to the best guess of $x_0$ (orange), on the checkerboard.
#
# Notes:
# Say: arrows to the best guess of $x_0$, exact above, learned below. The rows agree where noisy data occur. At $t=50$ they differ outside the board, where the network was never trained and the walk rarely comes by. At $t=700$ the learned answers jitter: a small error divided by a small root.
# Ask: the formula needs all 10,000 points at every call. What does the network store instead? (Its weights; it was only ever shown single noisy points, and squared error made it learn the average.)
# Have run: this figure, a few seconds. Live: scroll down to the film of the walk, three seconds.
# -->

# %% slideshow={"slide_type": "-"} tags=["slide-figure"]
@torch.no_grad()
def learned(x, t):
    return read_eps(net_board(x, t), x, t, schedule)[0].clamp(-1, 1)


fig, axes = plt.subplots(2, 4, figsize=(show.WIDTH, 5.2))
for column, t in zip(axes.T, (T // 20, T // 5, 2 * T // 5, 7 * T // 10), strict=True):
    draw_field(column[0], lambda x, t: exact_denoiser(x, t, board, schedule), t, board, f"t = {t}")
    draw_field(column[1], learned, t, board, "")
axes[0, 0].set_ylabel("exact")
axes[1, 0].set_ylabel("learned")
show.figure(fig, "Arrows from noisy points to the best guess of the clean point, exact above, learned below. "
            "The two rows agree, except far outside the board at low noise.")

# %% slideshow={"slide_type": "skip"}
def frame(state):
    fig, ax = plt.subplots(figsize=(3.2, 3.4))
    show.scatter(ax, state.x[:1500], show.level(state.t), size=2, limit=1.6)
    return fig


frames = (frame(state) for state in show.evenly(path, choose(read=36, smoke=3)))
alt = "A round cloud of points drifts into the eight squares of the checkerboard."
show.gif_from_figures(frames, out_dir() / "02_points.gif", alt, seconds=3)

# %% [markdown] slideshow={"slide_type": "slide"} tags=["optional"]
# ## Try it: stop the walk anywhere
#
# Four walks from the same 600 starting points are computed once and kept: board and moons, DDIM and ancestral. A slider then only picks a level and draws.
#
# - One panel, the points at level $t$, and the way that three of them have come.
# - The other, the answers of the network at that level. Each arrow goes from a grid place a quarter of the way to its $\hat x_0$; orange are the $\hat x_0$ of the walk's own points, which lie faintly behind.
#
# First the picture at four levels. At the top all arrows point to one spot in the middle, the mean of the data: there is nothing to decide yet. Further down they part,
# at last towards the squares. Below it the sliders, which need a running kernel. Things to try:
#
# - Drag $t$ from right to left, the way the walk goes. Between which levels do the squares appear?
# - Change the sampler and keep $t$: DDIM slides along a smooth line, the ancestral walk takes a jump at every step. The three marked points start at the same places under both samplers: do they end in the same squares?
# - Choose the moons. At which level do the estimates leave the space between them?
# - Go to the lowest $t$ and look at the arrows far outside the data: there the network was never trained, and the clamp alone says where they point.
#
# <!--slide 3 min
# ## The arrows point to the middle first, to the squares later
#
# Above: a DDIM walk with three trails. Below: arrows towards $\hat x_0$; orange, $\hat x_0$ of the walk's points.
#
# Notes:
# Say: the walk follows these arrows, each drawn a quarter of its way. At the top nothing is decided and all lead to the mean; then they part, and each point is pulled to a square. Steps are small so that a point can follow when its arrow turns.
# Ask: the three trails are almost straight. What would that allow? (Long steps: where the way is straight, few of them are enough. That is the subject of notebook 05.)
# Live: in the notebook, move t from right to left; then change the sampler to ancestral and see the trails jump; then the moons. Have run: the cell that stores the four walks, some seconds.
# -->

# %% slideshow={"slide_type": "skip"} tags=["optional"]
nets = {"board": (net_board, 1.0), "moons": (net_moons, limit)}
rules = {"DDIM": ddim(T // 5), "ancestral": ancestral()}
walks = {
    (name, sampler): list(reverse(net, schedule, rule, x_T=x_T[:600], seed=0, clip_x0=bound))
    for name, (net, bound) in nets.items()
    for sampler, rule in rules.items()
}


def draw_trails(ax, so_far, title):
    """The points where a walk stands now, and the way that three of them have come."""
    show.scatter(ax, so_far[-1].x, title, size=4, limit=2.2)
    for i, colour in zip((9, 15, 20), show.COLOURS[2:7:2], strict=True):
        trail = torch.stack([state.x[i] for state in so_far])
        ax.plot(trail[:, 0], trail[:, 1], color=colour, linewidth=0.8)
        ax.plot(trail[-1, 0], trail[-1, 1], "o", color=colour, markersize=7, zorder=3)

# %% slideshow={"slide_type": "skip"} tags=["optional"]
@torch.no_grad()
def draw_arrows(ax, name, t, behind):
    """From a grid a quarter of the way to the estimate of x_0; dots: the estimates for the points behind."""
    net, bound = nets[name]
    line = torch.linspace(-2, 2, 15)
    grid = torch.cartesian_prod(line, line)
    x = torch.cat([grid, behind])
    level = torch.full((len(x),), t)
    x0 = read_eps(net(x, level), x, level, schedule)[0].clamp(-bound, bound)
    show.scatter(ax, behind, colour=show.COLOURS[5], size=4, limit=2.2)
    go = (x0 - x)[: len(grid)] / 4
    look = dict(angles="xy", scale_units="xy", scale=1, width=0.004, headwidth=4, color="0.35")
    ax.quiver(grid[:, 0], grid[:, 1], go[:, 0], go[:, 1], **look)
    show.scatter(ax, x0[len(grid) :], colour=show.COLOURS[1], size=5, limit=2.2)

# %% slideshow={"slide_type": "-"} tags=["optional", "slide-figure"]
fig, axes = plt.subplots(2, 4, figsize=(show.WIDTH, 5.2))
for column, t in zip(axes.T, (9 * T // 10, T // 2, T // 5, T // 20), strict=True):
    so_far = [state for state in walks["board", "DDIM"] if state.t >= t]
    draw_trails(column[0], so_far, f"t = {t}")
    draw_arrows(column[1], "board", t, so_far[-1].x)
show.figure(fig, "Above: points of a DDIM walk at four levels, three with a smooth trail. Below: arrows of "
            "the network, at high noise all to one spot in the middle, at low noise to the squares.")

# %% slideshow={"slide_type": "skip"} tags=["optional"]
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
# ## Looking inside 1: the same with diffusers
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
    gap = (x - at_level[T // 2][0]).abs().max()
    print(f"step: largest difference after {T - T // 2} steps {gap:.1e}")

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# ## Looking inside 2: two wrong rules
#
# Two of the wrong ways, written as rules for `reverse`: the naive one of section 7, and the noise at the last step of section 9. `helpers` has neither. Each is the ancestral rule with one
# part changed: `levels` says at which levels the network is asked, `move` makes the step. Both walks start where the one of exercise 2.5 started. How much does each of them lose?

# %% slideshow={"slide_type": "skip"} tags=["optional"]
usual = ancestral()


def every_20th(T):
    return list(range(T, 0, -20))


def noise_at_the_end(schedule, x, t, t_next, eps, x0, draw, before):
    x = usual.move(schedule, x, t, t_next, eps, x0, draw, before)
    return x + schedule.betas[t].sqrt() * draw() if t_next == 0 else x


naive = Rule("one-level steps at every 20th level", every_20th, usual.move)
noisy_end = Rule("noise at the last step", usual.levels, noise_at_the_end)
print(f"sqrt(beta_1) = {schedule.betas[1].sqrt():.4f}")
print(f"the usual rule: {metrics.share_inside(again):.1%} inside")
for rule in (noisy_end, naive):
    x = last(reverse(net_board, schedule, rule, x_T=x_T, seed=0, clip_x0=1.0))
    print(f"{rule.name}: {metrics.share_inside(x):.1%} inside")

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# The naive rule loses most of the points. The noise at the last step has the standard deviation $\sqrt{\beta_1}$, the first line above: with 1000 levels it is so small that the share of
# 1000 points does not show it. With 100 levels $\beta_1$ is larger, and section 9 shows what that costs.

# %% [markdown] slideshow={"slide_type": "skip"} tags=["optional"]
# ## Looking inside 3: when is the square decided?
#
# Coarse structure first, detail later: that can be measured. At each level, take the current estimate of $x_0$ and see whether it lies in the square where the sample will end, and how far it is from that end.

# %% slideshow={"slide_type": "skip"} tags=["optional"]
final = states[-1][1]
home = metrics.squares(final)
levels = [t for t, _, _ in states]
right = [((metrics.squares(x0) == home) & (home >= 0)).float().mean() for _, _, x0 in states]
away = [(final - x0).norm(dim=1).median() for _, _, x0 in states]
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.2))
ax.plot(levels, right, color=show.COLOURS[0], label="estimate lies in the final square (share)")
ax.plot(levels, away, color=show.COLOURS[1], label="distance of the estimate from the final place (median)")
ax.set(xlabel="level t (the walk goes from right to left)", ylim=(0, 1.25), xlim=(0, T))
ax.legend(fontsize=10)
show.figure(fig, "Share of samples whose estimate lies in their final square, against the level: low at high "
            "noise, near one at low noise; the distance still to go shrinks along with it.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - The best denoiser of a finite data set is a softmax average over its points. One leap with it gives an average; many steps with it give back training points. Generalisation is what the network adds by *not* reaching it.
# - The likelihood bound boils down to predicting the noise with squared error; the loss has a floor that differs from level to level by orders of magnitude.
# - Noise, clean data and score are three readings of one prediction.
# - A step may only take away the noise of *its* levels. Skipping levels needs a rule made for it (DDIM).
# - With the cosine schedule and noise prediction the estimate of $x_0$ must be clamped. Notebook 03 meets a prediction that does not have this weakness.
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
# ## More exercises
#
# 1. ●●○○○, 15 minutes. Train on 200 moon points for as many steps as on 10,000. Compare the loss on training and fresh points, and the distances to the nearest training point.
# 2. ●●○○○, 15 minutes. Replace $\gamma(t)$ by the single number $t/T$, the Fourier features by none (`PointMLP(features=0)`). What does each cost in share inside?
# 3. ●●●○○, 25 minutes. Write the best denoiser of the *whole* checkerboard, not of 10,000 points of it: in each square the noisy point sees a truncated Gaussian. Compare with the network by level.
# 4. ●●●○○, 25 minutes. With `linear(1000)`, multiply the loss by the factor dropped in section 3, step 5 ($\sigma_t^2=\beta_t$). What changes, the edges or the shares of the squares? Why not with `cosine`?
#
# ## References
#
# - Ho, Jain, Abbeel 2020, *Denoising diffusion probabilistic models*, [arXiv:2006.11239](https://arxiv.org/abs/2006.11239): eqs. 3, 5 (bound), 6, 7 (posterior), 8 to 12 (its mean), 14 (simple loss), algorithms 1, 2.
# - Nichol, Dhariwal 2021, *Improved DDPM*, [arXiv:2102.09672](https://arxiv.org/abs/2102.09672): eq. 17 (cosine schedule).
# - Song, Meng, Ermon 2021, *DDIM*, [arXiv:2010.02502](https://arxiv.org/abs/2010.02502): eq. 12.
# - Efron 2011, *Tweedie's formula and selection bias*; Vincent 2011, *A connection between score matching and denoising autoencoders*, section 4.
# - Karras et al. 2022, [arXiv:2206.00364](https://arxiv.org/abs/2206.00364): appendix B.3 (the exact denoiser of a finite data set).
# - Tancik et al. 2020, *Fourier features*, [arXiv:2006.10739](https://arxiv.org/abs/2006.10739): section 6. Vaswani et al. 2017, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762): section 3.5 (the embedding).
#
# <!--slide 1 min
# ## What we learned
#
# - The best denoiser is an average: one leap gives the mean, many steps give back training points.
# - The likelihood bound comes down to predicting the noise. The loss has a floor, different at each level.
# - Noise, clean data and score are one prediction.
# - A step takes away the noise of *its* levels. To skip some, take a rule made for it: DDIM.
#
# Next: notebook 03, the same walk for images of digits, with an attention U-Net.
#
# Notes:
# Say: the self-check list in the notebook is the homework reading; exercises 2.1, 2.3, 2.4, 2.5 are open.
# Ask: why does the network generalise, although the minimum of its loss does not? (It is limited in size and training and fits something smoother than the points. Whether it did has to be measured each time.)
# -->

# %% slideshow={"slide_type": "skip"}
check.summary("02")
