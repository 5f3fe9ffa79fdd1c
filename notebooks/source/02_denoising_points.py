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
from helpers.sampling import ancestral, ddim, last, reverse
from helpers.schedule import cosine
from helpers.training import Run, learning_rate, train

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. Two data sets that can be drawn
#
# *Moons*: two thin half circles, from scikit-learn. *Checkerboard*: points spread evenly over eight squares. The board is the harder one: its
# edges are infinitely sharp, and there is a number for how well they come out, the share of samples that lie inside the squares.
#
# The schedule is the cosine one of notebook 01, with $T$ levels.

# %% slideshow={"slide_type": "fragment"}
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
# Write $\mathbb E[x_0\mid x_t]$ for a batch: `x_t` is (B, 2), `t` is (B,), `points` is (N, 2), the answer is (B, 2). `schedule.alpha_bar(t)` gives
# $\bar\alpha_t$ in the shape of `t`, in float64, which is right inside an exponent; return the dtype of `x_t`.
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
# `a = schedule.alpha_bar(t).reshape(-1, 1, 1)`; then `x_t[:, None] - a.sqrt() * points` is (B, N, 2). After the sum over the last dimension the scale must be
# (B, 1): `a[:, 0]`. The average is a matrix product of the weights (B, N) with the points in the same dtype (N, 2).
#
# </details>
#
# *In the picture behind it*, arrows start at $x_t$ and end (orange) at the best guess of $x_0$. At low noise the guess is a training point nearby. In the middle it is a
# compromise that may lie *between* the moons, where no data are. At high noise every $x_t$ gets nearly the same answer.

# %% exercise="2.1" slideshow={"slide_type": "subslide"}
def exact_denoiser(x_t, t, points, schedule):
    """E[x_0 | x_t] where the data are exactly `points`. x_t (B, 2), t (B,), points (N, 2); returns (B, 2)."""
    # TODO 2.1: weigh every point by Bayes' rule, return the weighted average
    ### BEGIN SOLUTION
    a = schedule.alpha_bar(t).reshape(-1, 1, 1)
    away = x_t[:, None] - a.sqrt() * points
    w = torch.softmax(-away.square().sum(2) / (2 * (1 - a[:, 0])), dim=1)
    return (w @ points.double()).to(x_t.dtype)
    ### END SOLUTION


exact_denoiser = check("2.1", exact_denoiser)

# %% expected="2.1" slideshow={"slide_type": "subslide"}
def draw_field(ax, denoiser, t, points, title):
    line = torch.linspace(-1.4, 1.4, 11)
    x = torch.cartesian_prod(line, line)
    x0 = denoiser(x, torch.full((len(x),), t))
    show.scatter(ax, points[:1500], title, colour=show.COLOURS[0], size=1500 / len(points), limit=1.5)
    ax.quiver(*x.T, *(x0 - x).T, angles="xy", scale_units="xy", scale=1, width=0.004, color="0.65")
    ax.plot(*x0.T, ".", color=show.COLOURS[1], markersize=3)


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

# %% slideshow={"slide_type": "fragment"}
def exact_model(points):
    """The exact denoiser in the clothes of a network: model(x_t, t) -> eps. In parts, to save memory."""
    def model(x_t, t):
        parts = zip(x_t.split(250), t.split(250), strict=True)
        x0 = torch.cat([exact_denoiser(x, level, points, schedule) for x, level in parts])
        return schedule.predict_eps(x_t, t, x0)

    return model


path = list(reverse(exact_model(few), schedule, ddim(steps=T), (500, 2), seed=1))
one_leap, many_steps, fresh = path[1].x0, path[-1].x, data.moons(500, seed=1)[0]
print(f"spread of the one-leap answers {one_leap.std(0).norm():.4f}, of the data {few.std(0).norm():.2f}")
for name, points in (("samples", many_steps), ("fresh data", fresh)):
    _, distance = metrics.nearest_neighbours(points, few)
    print(f"{name}: median distance to the nearest training point {distance.median():.5f}")

# %% slideshow={"slide_type": "subslide"}
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
# In this box the levels are numbered 1 to T as in the papers, so that $x_0$ is the clean data; level $t$ here is our level $t-1$.
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
# $$L=\mathbb E_q\Big[\underbrace{\mathrm{KL}\big(q(x_T\mid x_0)\,\Vert\, p(x_T)\big)}_{\text{is }x_T\text{ noise? nothing to learn}}
# +\sum_{t\ge 2}\underbrace{\mathrm{KL}\big(q(x_{t-1}\mid x_t,x_0)\,\Vert\, p_\theta(x_{t-1}\mid x_t)\big)}_{L_{t}}
# -\log p_\theta(x_0\mid x_1)\Big].$$
#
# **4. Both sides of $L_t$ are Gaussian.** The posterior has mean $\tilde\mu_t$ (notebook 01) and a fixed variance. Give $p_\theta$ a fixed variance $\sigma_t^2$ and a mean $\mu_\theta$; up to a constant
#
# $$L_t=\frac{1}{2\sigma_t^2}\,\mathbb E_q\lVert\tilde\mu_t(x_t,x_0)-\mu_\theta(x_t,t)\rVert^2,\qquad
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
# $$L_t=\frac{\beta_t^2}{2\sigma_t^2\,\alpha_t\,(1-\bar\alpha_t)}\;\mathbb E\lVert\epsilon-\epsilon_\theta(x_t,t)\rVert^2 .$$
#
# The last term of $L$, $-\log p_\theta(x_0\mid x_1)$, is a Gaussian too and has the same form. Ho et al. drop the factor in front: that is $L_\text{simple}$. With the linear schedule the factor is
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

# %% exercise="2.2" slideshow={"slide_type": "subslide"}
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
# Return the pair $(\hat x_0, \text{score})$, each shaped like `x_t`, for points (B, 2) and images (B, 1, H, W) alike.
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
# `a = schedule.alpha_bar(t).reshape(-1, *[1] * (x_t.ndim - 1))` fits both shapes. $\bar\alpha_t$ is float64: end with `.to(x_t.dtype)`.
#
# </details>

# %% exercise="2.3" slideshow={"slide_type": "subslide"}
def read_eps(eps, x_t, t, schedule):
    """The estimate of x_0 and the score that a predicted noise stands for, both shaped like x_t."""
    # TODO 2.3: return x0, score
    ### BEGIN SOLUTION
    a = schedule.alpha_bar(t).reshape(-1, *[1] * (x_t.ndim - 1))
    x0 = (x_t - (1 - a).sqrt() * eps) / a.sqrt()
    score = -eps / (1 - a).sqrt()
    return x0.to(x_t.dtype), score.to(x_t.dtype)
    ### END SOLUTION


read_eps = check("2.3", read_eps)

# %% slideshow={"slide_type": "fragment"}
# For the exact denoiser p_t is known, a mixture of Gaussians. Automatic differentiation of its logarithm
# knows nothing of Tweedie's formula; both must give the same arrows.
def log_density(x_t, t, points):
    a = schedule.alpha_bar(t)
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

# %% exercise="2.4" slideshow={"slide_type": "subslide"}
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

# %% expected="2.4" slideshow={"slide_type": "subslide"}
emb = timestep_embedding(torch.arange(1000), 64)
fig, (left, right) = plt.subplots(1, 2, figsize=(show.WIDTH, 3.6))
left.imshow(emb.T, aspect="auto", cmap="RdBu_r", interpolation="nearest")
left.set(xlabel="level t", ylabel="entry", title="embedding: sines above, cosines below")
left.grid(False)
for t, colour in zip((50, 300, 800), show.COLOURS, strict=False):
    right.plot(emb @ emb[t] / 32, color=colour, label=f"t = {t}")
right.set(xlabel="level", ylabel="scalar product / 32", title="how alike are two levels?")
right.legend()
show.figure(fig, "Left: heat map, 64 entries against 1000 levels, fast stripes at the top of each half, slow "
            "below. Right: the similarity of three levels to all others peaks sharply at the level "
            "itself.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ### The network
#
# A multilayer perceptron with three additions, each a line below:
#
# - **Fourier features** of the position, $\sin\frac{\pi k}{2}x$ and $\cos\frac{\pi k}{2}x$ for $k=1,\dots,8$: a plain MLP is slow to learn sharp edges, and the board has nothing else;
# - **residual blocks**, $h\leftarrow h+g(h)$, so that gradients find a short way to every layer;
# - the **level**, added anew in every block.

# %% slideshow={"slide_type": "fragment"}
def forward(net, x, t):
    emb = net.time(timestep_embedding(t, net.time_dim))  # (B, width): which level is it?
    h = net.enter(torch.cat([x, net.fourier(x)], dim=1))  # (B, width): where is the point?
    for first, second in zip(net.blocks[::2], net.blocks[1::2], strict=True):
        h = h + second(F.silu(first(F.silu(h + emb))))  # a residual block, told the level anew
    return net.leave(F.silu(h))  # (B, 2): the noise in x


torch.manual_seed(0)
net = PointMLP()
x, t = torch.randn(5, 2), torch.tensor([0, 1, 10, 20, 39])
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

# %% slideshow={"slide_type": "fragment"}
def train_in_the_open(model, schedule, x, steps, batch_size, lr, seed=0):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    g = torch.Generator().manual_seed(seed)
    for step in range(steps):
        x0 = x[torch.randint(len(x), (batch_size,), generator=g)]
        t = torch.randint(schedule.T, (batch_size,), generator=g)
        noise = torch.randn(x0.shape, generator=g)
        optimizer.param_groups[0]["lr"] = learning_rate(step, steps, lr)
        loss = simple_loss(model, x0, t, noise, schedule)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        yield loss.item()

# %% slideshow={"slide_type": "fragment"}
def fresh_net():
    torch.manual_seed(0)
    return PointMLP()


ours = list(train_in_the_open(fresh_net(), schedule, board, steps=20, batch_size=256, lr=3e-3))
theirs = train(Run(fresh_net(), lr=3e-3, seed=0), schedule, board, steps=20, batch_size=256)
gap = max(abs(a - step.loss) for a, step in zip(ours, theirs, strict=True))
print(f"loss: {ours[0]:.3f} at the first step, {ours[-1]:.3f} at step 20")
print(f"largest difference between the two loops over 20 steps: {gap:.1e}")

# %% slideshow={"slide_type": "subslide"}
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

# %% slideshow={"slide_type": "subslide"}
def load(name):
    return checkpoints.load_model(out_dir() / f"points_{name}.safetensors", PointMLP)


@torch.no_grad()
def loss_at(model, points, t):
    noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    return float(simple_loss(model, points, torch.full((len(points),), t), noise, schedule))


net_moons, net_board = load("moons"), load("board")
draw = torch.randint(200_000, (4, 10_000), generator=torch.Generator().manual_seed(1))
real = {"moons": data.moons(200_000, seed=1)[0][draw], "board": data.checkerboard(200_000, seed=1)[0][draw]}
levels = [t for t in (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900) if t < T]
n = choose(read=1000, smoke=50)

# %% slideshow={"slide_type": "fragment"}
fig, (left, right) = plt.subplots(1, 2, figsize=(show.WIDTH, 4))
for name, colour in (("moons", show.COLOURS[2]), ("board", show.COLOURS[0])):
    left.plot(losses[name], color=colour, alpha=0.15, linewidth=0.5)
    left.plot(show.smooth(losses[name], 100), color=colour, label=name)
left.set(xlabel="step", ylabel="loss", ylim=(0.2, 0.6), title="loss in training (mean of 100 steps)")
print("level           ", *(f"{t:7}" for t in levels))
for name, model, style in (("exact", exact_model(board), "k"), ("network", net_board, "C0")):
    for kind, points, line in (("training", board[:n], "-o"), ("fresh", real["board"][0, :n], ":s")):
        curve = [loss_at(model, points, t) for t in levels]
        right.plot([t + 1 for t in levels], curve, line, color=style, label=f"{name}, {kind} points")
        print(f"{name:7} {kind:8}", *(f"{loss:7.4f}" for loss in curve))
right.set(xlabel="level t + 1", xscale="log", ylim=(0, 1.5), title="loss by level (board)")
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

# %% slideshow={"slide_type": "fragment"}
@torch.no_grad()
def walk(model, x, step, limit, k=1, seed=0):
    """From pure noise x to data, asking at every k-th level; yields (level, x, estimate of x_0)."""
    g = torch.Generator().manual_seed(seed)
    asked = list(range(T - 1, -1, -k))
    for t, t_next in zip(asked, [*asked[1:], -1], strict=True):
        levels = torch.full((len(x),), t)
        x0, _ = read_eps(model(x, levels), x, levels, schedule)
        x0 = x0.clamp(-limit, limit)
        eps = schedule.predict_eps(x, levels, x0)
        x = step(x, t, t_next, eps, torch.randn(x.shape, generator=g))
        yield t_next, x, x0


print(f"1 / sqrt(alpha_bar) at the top level: {1 / schedule.alpha_bar(T - 1).sqrt():,.0f}")

# %% [markdown] slideshow={"slide_type": "subslide"} exercise_text="2.5"
# ### Exercise 2.5: one ancestral step
#
# `t` is one int for the whole batch; `schedule.alpha_bar(t - 1)` is 1 for $t=0$, and $\alpha_t=\bar\alpha_t/\bar\alpha_{t-1}$. Use the posterior variance.
#
# Difficulty: ●●●○○, 12 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# Mean and variance first, separately. What does $\tilde\beta_0$ come to, and what does that say about the noise in the last step?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# With `a, a_prev = schedule.alpha_bar(t), schedule.alpha_bar(t - 1)` everything is there: `alpha = a / a_prev`, $\beta_t$ is `1 - alpha`. The noise is multiplied by the *root* of the variance.
#
# </details>
#
# *In the picture behind it*, above: the walk. Below: where a single leap from each level would end, the current guess of $x_0$. From high noise the guess is an average and fills the middle,
# whatever the squares; it sharpens only as the noise goes. The coarse shape is settled first, the edges last.

# %% exercise="2.5" slideshow={"slide_type": "subslide"}
def ancestral_step(x_t, t, eps, noise, schedule):
    """x at level t - 1 from x at level t (an int), with the posterior variance. x_t, eps, noise: (B, ..)."""
    # TODO 2.5: mean, variance, then mean plus noise of that variance
    ### BEGIN SOLUTION
    a, a_prev = schedule.alpha_bar(t), schedule.alpha_bar(t - 1)
    alpha = a / a_prev
    mean = (x_t - (1 - alpha) / (1 - a).sqrt() * eps) / alpha.sqrt()
    variance = (1 - alpha) * (1 - a_prev) / (1 - a)
    return mean + variance.sqrt() * noise
    ### END SOLUTION


ancestral_step = check("2.5", ancestral_step)

# %% expected="2.5" slideshow={"slide_type": "subslide"}
def one_level(x, t, t_next, eps, noise):
    return ancestral_step(x, t, eps, noise, schedule)


x_T = torch.randn(1000, 2, generator=torch.Generator().manual_seed(7))
states = list(walk(net_board, x_T, one_level, limit=1.0))
fig, axes = plt.subplots(2, 6, figsize=(show.WIDTH, 3.8))
for column, share in zip(axes.T, (0.95, 0.75, 0.55, 0.35, 0.15, 0), strict=True):
    t, x, x0 = states[T - 1 - int(share * T)]
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
# Two lines: the estimate of $x_0$ as in exercise 2.3, then `q_sample` with the predicted noise in place of fresh one. What must come out for `t_next = -1`?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# `schedule.alpha_bar(t_next)` is 1 for `t_next = -1`. Beware of `schedule.alphas_cumprod[-1]`: in Python that is the *last* level.
#
# </details>
#
# *In the picture behind it*, above: the naive way falls apart as soon as levels are left out, because the noise that the skipped steps should have removed is still there. Below: DDIM on the *same* levels
# hardly notices. What counts first is not the number of calls, but that each step goes as far as it claims.

# %% exercise="2.6" slideshow={"slide_type": "subslide"}
def ddim_step(x_t, t, t_next, eps, schedule):
    """x at level t_next from x at level t (ints, t_next < t, -1 is clean), without fresh noise."""
    # TODO 2.6: estimate x_0, then go to level t_next
    ### BEGIN SOLUTION
    a, a_next = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
    x0 = (x_t - (1 - a).sqrt() * eps) / a.sqrt()
    return a_next.sqrt() * x0 + (1 - a_next).sqrt() * eps
    ### END SOLUTION


ddim_step = check("2.6", ddim_step)

# %% expected="2.6" slideshow={"slide_type": "subslide"}
def by_ddim(x, t, t_next, eps, noise):
    return ddim_step(x, t, t_next, eps, schedule)


fig, axes = plt.subplots(2, 4, figsize=(show.WIDTH, 5.2))
for row, step, colour in zip(axes, (one_level, by_ddim), show.COLOURS[1::-1], strict=True):
    for ax, k in zip(row, (1, 2, 5, 20), strict=True):
        *_, (_, x, _) = walk(net_board, x_T, step, limit=1.0, k=k)
        show.scatter(ax, x, f"every {k}: {metrics.share_inside(x):.0%} inside", colour, limit=1.5)
axes[0, 0].set_ylabel("naive")
axes[1, 0].set_ylabel("DDIM")
*_, (_, x, _) = walk(net_board, x_T, by_ddim, limit=float("inf"), k=20)
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

# %% slideshow={"slide_type": "fragment"}
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
    floor = sum(metrics.sliced_wasserstein(*real[name][i : i + 2, :size]) for i in range(3)) / 3
    near, far = (metrics.nearest_neighbours(p[:2000], old)[1].median() for p in (new[name], real[name][0]))
    print(f"{name}: sliced Wasserstein {score:.4f} (floor {floor:.4f}), nearest {near:.4f} (fresh {far:.4f})")

# %% slideshow={"slide_type": "subslide"}
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
# like the board, hide that shift altogether: a mistake that waits for other data. Images of digits, mostly black, are far from mean 0.
#
# With 100 steps the posterior variance is the better choice, <!--r:points.variance.posterior-100.inside.mean|.0%-->91%<!--/--> inside against <!--r:points.variance.beta-100.inside.mean|.0%-->87%<!--/-->; with 1000 the two can hardly be told apart (<!--r:points.variance.posterior-1000.inside.mean|.1%-->90.1%<!--/-->, <!--r:points.variance.beta-1000.inside.mean|.1%-->89.4%<!--/-->).
# Noise at the last step is never taken away again: with 100 steps <!--r:points.last_step.with-100.inside.mean|.0%-->89%<!--/--> instead of <!--r:points.last_step.without-100.inside.mean|.0%-->91%<!--/-->, with 1000, where $\sqrt{\beta_0}$ is small, <!--r:points.last_step.with-1000.inside.mean|.1%-->89.6%<!--/--> instead of <!--r:points.last_step.without-1000.inside.mean|.1%-->90.1%<!--/-->.

# %% slideshow={"slide_type": "subslide"}
results = checkpoints.load_results("points")
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 4.2), width_ratios=(3, 2, 2))
panels = {"schedules": ("schedule, T = 100", "distance"), "variance": ("variance, T", "inside"),
          "last_step": ("last noise, T", "inside")}
for ax, (group, (title, key)) in zip(axes, panels.items(), strict=True):
    for i, row in enumerate(results[group].values()):
        ax.plot(row[key]["all"], [i] * len(results["seeds"]), "o", color=show.COLOURS[i % 2], alpha=0.7)
    ax.set_yticks(range(len(results[group])), [name.replace("-", ", ") for name in results[group]])
    ax.set(title=title, xlabel="share " * (key == "inside") + key, ylim=(len(results[group]) - 0.5, -0.5))
axes[0].axvline(results["floor"]["mean"], color="black", linestyle=":")
show.figure(fig, "One dot a seed. Left: distance of samples from real lopsided moons; uncorrected with DDIM "
            "is far off, all others nearer the dotted floor. Middle, right: share inside the squares.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 10. What was learned, and the walk as a film
#
# First the learned field beside the exact one. Where noisy data occur, the two agree. At low noise and far from all squares they differ: there the network was never trained, and the walk rarely comes by.
# At high noise the learned answers jitter: $\hat x_0$ divides the network's small errors by a small $\sqrt{\bar\alpha_t}$.
# Then the samples of section 8 again, this time on their way.

# %% slideshow={"slide_type": "subslide"}
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

# %% slideshow={"slide_type": "subslide"}
def frame(state):
    fig, ax = plt.subplots(figsize=(3.2, 3.4))
    show.scatter(ax, state.x[:1500], show.level(state.t), size=2, limit=1.6)
    return fig


frames = (frame(state) for state in show.evenly(path, choose(read=36, smoke=3)))
alt = "A round cloud of points drifts into the eight squares of the checkerboard."
show.gif_from_figures(frames, out_dir() / "02_points.gif", alt, seconds=3)

# %% [markdown] slideshow={"slide_type": "slide"} tags=["optional"]
# ## Looking inside 1: the same with diffusers
#
# `diffusers` is the library most image models are published in. Its `DDPMScheduler` does the noising (`add_noise`) and the step (`step`). To get the *same* numbers it must be told to do the
# same: our schedule (its default is the linear one), the posterior variance (`fixed_small`), clamping of $x_0$ to $[-1,1]$ (its default), and our noise generator.

# %% slideshow={"slide_type": "fragment"} tags=["optional"]
try:
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(T, trained_betas=schedule.betas.numpy(), variance_type="fixed_small")
    t = torch.arange(len(board)) % T
    noise = torch.randn(board.shape, generator=torch.Generator().manual_seed(0))
    gap = (theirs.add_noise(board, noise, t) - schedule.q_sample(board, t, noise)).abs().max()
    print(f"add_noise: largest difference {gap:.1e}")
    x, g = x_T, torch.Generator().manual_seed(0)
    for t in range(T - 1, T // 2, -1):
        with torch.no_grad():
            x = theirs.step(net_board(x, torch.full((len(x),), t)), t, x, generator=g).prev_sample
    gap = (x - states[T - 2 - T // 2][1]).abs().max()
    print(f"step: largest difference after {T - 1 - T // 2} steps {gap:.1e}")
except ImportError:
    print("diffusers is not installed: nothing to compare with")

# %% [markdown] slideshow={"slide_type": "slide"} tags=["optional"]
# ## Looking inside 2: when is the square decided?
#
# Coarse structure first, detail later: that can be measured. At each level, take the current estimate of $x_0$ and see whether it lies in the square where the sample will end, and how far it is from that end.

# %% slideshow={"slide_type": "fragment"} tags=["optional"]
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
# - [ ] Why is $\tilde\beta_0=0$?
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

# %% slideshow={"slide_type": "skip"}
check.summary("02")
