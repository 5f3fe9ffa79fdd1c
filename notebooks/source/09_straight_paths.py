# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] slideshow={"slide_type": "slide"}
# # 09 Straight paths: the continuous view and flow matching
#
# A walk of this course has a thousand levels. What if it had a million? With ever smaller jumps it becomes a continuous motion, which has a velocity at each place and time. In this notebook we find that velocity in networks that you already have.
# Then we train networks on it directly, along straight lines, as the large picture generators of today do. And because a motion can be run backwards exactly, we will at last be able to say how likely a network finds a given point.
#
# **What you will be able to do**
# - take one small step of the reverse SDE and of the probability-flow ODE, and say what they share;
# - read a velocity off any network of this course, and show that DDIM is Euler's method in the right variables;
# - write the loss of flow matching, and say why it may be trained on single pairs;
# - choose between Euler, midpoint and Heun from a plot of errors;
# - straighten the paths of a flow with pairs that it made itself, and measure what that buys;
# - compute the likelihood of a point from the flow itself, and use it to find a network that clings to its training points.
#
# **What to know** Notebooks 01, 02 and 05: $\bar\alpha_t$, the score and the exact denoiser, your `ddim_step`, DPM-Solver++. From 03, v-prediction.
#
# **Time** about 120 minutes for a person, about three minutes for two CPU cores.
#
# <!--slide 2 min
# # 09 Straight paths
#
# A thousand little steps from noise to data. What if there were a million?
#
# **The question of this lecture:** if only the motion counts, why not move along straight lines?
#
# **You will be able to**
#
# - read a velocity off a network that was trained to find noise
# - train a flow along straight lines, and walk it with Euler, midpoint and Heun
# - say exactly how likely a flow finds a point
#
# **Write down a guess:** two walkers start at the same noise, one with fresh noise on its way, one without. Do they end at the same place?
#
# Notes:
# Say: large picture generators such as Stable Diffusion 3 and Flux are trained the way section 3 does it.
# Ask: what is a velocity field? (An arrow at every place and every moment; whoever follows the arrows draws a path.)
# Have run: the whole notebook; its trainings take about a minute.
# -->

# %% tags=["setup"] slideshow={"slide_type": "skip"}
import math
import sys
from pathlib import Path

sys.path.insert(0, str(next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "helpers").is_dir())))

import matplotlib.pyplot as plt
import torch

from helpers import data, metrics, show
from helpers.checkpoints import load_images, load_model, load_results
from helpers.exercises import check, mine
from helpers.flow import euler, heun, midpoint, straight
from helpers.modes import choose
from helpers.sampling import Rule, dpm_solver, last, reverse
from helpers.schedule import Schedule, cosine, linear
from helpers.sliders import sliders

my = mine.parts()  # your functions of the notebooks before, where they are right

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. What happens if the steps become ever smaller?
#
# The forward chain of notebook 01 replaces a little of the picture by noise, again and again:
# $$x_t=\sqrt{1-\beta_t}\;x_{t-1}+\sqrt{\beta_t}\;z .$$
# We may cut the same way into more steps. `linear(T)` makes its betas smaller when $T$ grows, so that every $T$ ends in the same noise. What do you expect to see when the path of a single number is drawn with 30 steps, with 200, and with 2,000?
#
# Our data in this section are single numbers: 0.7 or -0.7, give or take 0.1. So the data are a mixture of two Gaussians, and everything about them has a formula.
# Time will be $s=t/T$. It runs from 0, clean, to 1, noise. (Most papers on flows count the other way: their 0 is noise and their 1 is data. We keep ours.)
#
# <!--slide 3 min
# ## Cut the same way into ever smaller steps
#
# $$x_t=\sqrt{1-\beta_t}\;x_{t-1}+\sqrt{\beta_t}\;z$$
#
# In words: keep most, replace a share $\beta_t$ of the variance by noise. More steps, smaller shares, the same end.
#
# Notes:
# Say: eight single numbers on their way to noise; the data are 0.7 and -0.7, give or take 0.1. Time s = t / T runs from 0, clean, to 1, noise. Papers on flows mostly count the other way.
# Ask: which of the three pictures has more noise at the end? (None. Only the grain of the paths differs; the spread at each s is the same.)
# Live: run the cell, it draws at once.
# -->

# %% slideshow={"slide_type": "skip"}
CENTRES, WIDTH = torch.tensor([-0.7, 0.7]), 0.1  # the data: one of these, give or take WIDTH


def draw_numbers(n, seed=0):
    """n numbers of the data, (n, 1)."""
    g = torch.Generator().manual_seed(seed)
    return CENTRES[torch.randint(2, (n, 1), generator=g)] + WIDTH * torch.randn(n, 1, generator=g)


def go_forward(x, T, seed=0):
    """The chain from x (n, 1), all its states (T + 1, n, 1)."""
    betas, path, g = linear(T).betas, [x], torch.Generator().manual_seed(seed)
    for beta in betas[1:]:
        path.append((1 - beta).sqrt() * path[-1] + beta.sqrt() * torch.randn(x.shape, generator=g))
    return torch.stack(path)

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3.2), sharey=True)
for ax, steps in zip(axes, (30, 200, choose(2000, 400)), strict=True):
    path = go_forward(draw_numbers(8, seed=3), steps, seed=4)[:, :, 0]
    ax.plot(torch.linspace(0, 1, steps + 1), path, linewidth=1, color=show.COLOUR["data"], alpha=0.7)
    ax.set(title=f"T = {steps:,}", xlabel="$s=t/T$", xlim=(0, 1), ylim=(-3.3, 3.3))
axes[0].set_ylabel("$x$, a single number")
alt = "Eight numbers on their way to noise, in 30, 200 and 2,000 steps: the corners of the paths become "
show.figure(fig, alt + "finer and finer, their spread at every moment stays the same")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="9.1"
# The corners become finer, and everything else stays. In the limit the path is rough at every scale, and it is described by a **stochastic differential equation** (SDE). With $\beta$ small we have $\sqrt{1-\beta}\approx 1-\tfrac12\beta$, so one step changes $x$ by
# $$dx=\underbrace{-\tfrac12\beta\,x}_{\text{drift, sure}}\;+\;\underbrace{\sqrt{\beta}\;z}_{\text{noise, drawn}} .$$
# In words: everything is pulled a little towards 0, and kicked a little. Throughout our code $\beta$ belongs to one step. Theory counts per unit of time instead: a step lasts $ds=1/T$, so the **rate** is $\beta(s)=T\beta_t$, and $\beta_t=\beta(s)\,ds$. The drift is then $-\tfrac12\beta(s)\,x\,ds$ and the kick $\sqrt{\beta(s)\,ds}\;z$. The kick has a root because independent kicks add up in their variances, not in their sizes.
#
# Can such a motion be turned round? Notebook 02 found the ingredient: the **score** $\nabla\log p_t(x)$, the direction in which noisy data become more likely, which is $-\hat\epsilon/\sqrt{1-\bar\alpha_t}$ for the best guess $\hat\epsilon$ of the noise.
# Song et al. (2021) describe two ways back. The **reverse SDE** kicks the walker on its way back as well. The **probability-flow ODE** (an ordinary differential equation, one without noise) does not kick at all. Between the two lies a whole family (Karras et al. 2022, eq. 6).
#
# ### Exercise 9.1: one start, two ways back
#
# We start 4,000 walkers at the *same* number, $x=0.5$, at the noisy end, and send them back to the data, first by the ODE, then by the reverse SDE, with the exact score. Which share of the 4,000 ends at the upper bump, near 0.7? Write two numbers between 0 and 1: the ODE's share, then the SDE's.
#
# Difficulty: ●●○○○ · 3 minutes
#
# <details><summary>Hint</summary>
#
# What differs between two walkers that start at the same place? And at the noisy end, how much does $x=0.5$ say about the bump it came from?
#
# </details>
#
# <!--slide 3 min
# ## Two ways back, one with kicks and one without
#
# forward, a small step: $\quad dx=-\tfrac12\beta\,x+\sqrt\beta\,z$
#
# With the score $\nabla\log p=-\hat\epsilon/\sqrt{1-\bar\alpha}$ of notebook 02 there are two famous ways back:
#
# - the **reverse SDE**: new kicks on the way back
# - the **probability-flow ODE**: no kicks at all
#
# **Your turn:** exercise 9.1. Start 4,000 walkers at the same $x=0.5$ at the noisy end. Which share ends near 0.7, with the ODE and with the SDE?
#
# Notes:
# Say: the score is the arrow of notebook 02, towards more likely noisy data.
# Ask: what can differ between two walkers that start at the same place? (Nothing with the ODE; the kicks with the SDE.)
# Exercise: 3 minutes; collect a few pairs of numbers on the board.
# -->

# %% exercise="9.1" kind="predict" slideshow={"slide_type": "skip"}
# TODO 9.1: the share near 0.7 by the ODE, and by the reverse SDE
### BEGIN SOLUTION
guess = 1.0, 0.5
### END SOLUTION
check.predict("9.1", guess)

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="9.2"
# Now we write the step that does it, both ways at once. Let $\eta$ say how strong the kicks are: their standard deviation is $\eta\sqrt\beta$, with the $\beta=\beta_t$ of this one step. In the step from $t$ down to $t-1$ there are three parts:
#
# - the pull towards 0 is **undone**: $+\tfrac12\beta\,x$;
# - the score pulls towards likely places, with strength $\tfrac12(1+\eta^2)\,\beta$;
# - the kick: $\eta\sqrt\beta\,z$.
#
# Why $1+\eta^2$? Going back, $\tfrac12\beta$ of the score undoes the spreading of the forward chain. Our own kicks spread the walkers again, with variance $\eta^2\beta$, so we need another $\tfrac12\eta^2\beta$ of the score to undo that too. The fold shows it.
#
# <details><summary>Why all members have the same distribution at every moment</summary>
#
# Think of many walkers, as a density $p(x)$ that changes. A velocity $f$ carries the density along, $\partial p=-\partial_x(f\,p)$: what flows out of a place is missing there. Kicks of variance $g^2$ blur it, $\partial p=\tfrac12 g^2\,\partial_x^2\,p$, as heat spreads. For the forward SDE both happen, with $f=-\tfrac12\beta(s)\,x$ and $g^2=\beta(s)$, where $\beta(s)=T\beta_t$ is the rate:
# $$\partial_s\,p=-\partial_x(f\,p)+\tfrac12 g^2\,\partial_x^2\,p .$$
#
# Now write the blur as a flow. Since $\partial_x p=p\,\partial_x\log p$, we have $\tfrac12 g^2\,\partial_x^2p=-\partial_x\big(-\tfrac12 g^2\,(\partial_x\log p)\,p\big)$. So the same change of density comes from a velocity alone,
# $$\partial_s\,p=-\partial_x\Big(\big[f-\tfrac12 g^2\,\partial_x\log p\big]\,p\Big),$$
# and $f-\tfrac12 g^2\,\partial_x\log p$ is the velocity of the probability-flow ODE.
#
# On the way down, time runs backwards, so the velocity changes its sign: $-f+\tfrac12 g^2\,\partial_x\log p$. If we also kick with variance $\eta^2g^2$, this blurs the density, and a further velocity of $\tfrac12\eta^2g^2\,\partial_x\log p$ undoes exactly that blur, by the same formula. Together: $-f+\tfrac12(1+\eta^2)\,g^2\,\partial_x\log p$. With $\eta=1$ this is the reverse SDE of Anderson (1982).
#
# </details>
#
# ### Exercise 9.2: a small step back
#
# Write `small_step`: from `x` at level `t` to level `t - 1`. `eps` is the best guess of the noise in `x`; `noise` is standard normal, like `x`. Take $\beta_t$ and $\bar\alpha_t$ of the level `t`, an int.
#
# Difficulty: ●●○○○ · 8 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# First make the score from `eps`. It points against the noise. Then add up the three parts.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `beta, a = schedule.betas[t], schedule.alpha_bar[t]` and `score = -eps / (1 - a).sqrt()`. The kick has the factor `eta * beta.sqrt()`.
#
# </details>
#
# <!--slide 3 min
# ## Your turn: 9.2, one step for the whole family, 8 minutes
#
# from level $t$ to $t-1$, with kicks of standard deviation $\eta\sqrt\beta$:
#
# - undo the pull: $+\tfrac12\beta\,x$
# - follow the score with strength $\tfrac12(1+\eta^2)\,\beta$
# - kick: $\eta\sqrt\beta\,z$
#
# ```python
# def small_step(x, eps, t, noise, schedule, eta):
#     """From x at level t to level t - 1; eta 0 is the ODE, eta 1 the reverse SDE."""
# ```
#
# Notes:
# Say: half of beta times the score undoes the spreading of the forward chain. Our own kicks spread the walkers again, with the variance eta squared times beta, so half of that times the score is needed once more. The derivation is in a fold of the notebook, three lines with the continuity equation.
# Ask: what would happen with kicks and only half of the score? (The density would spread: nothing takes the fresh noise away.)
# Exercise: 8 minutes. Common mistakes: the sign of the score, and a variance for a standard deviation in the kick.
# -->
# <!--slide 3 min
# ## The same distribution at every moment, other paths
#
# Notes:
# Say: grey in the background: the exact density at every s, drawn as its root. Left the forward chain, in the middle the reverse SDE, on the right the ODE. Walkers of the ODE keep their order; nobody crosses anybody.
# Ask: why can two paths of the ODE never cross? (At the crossing both would have the same velocity, and from there on the same path.)
# Ask: which of the two can be run backwards exactly? (The ODE. Section 7 needs that.)
# Answers 9.1, 9.2.
# -->

# %% exercise="9.2" slideshow={"slide_type": "skip"}
def small_step(x, eps, t, noise, schedule, eta):
    """From x at level t to level t - 1; eta 0 is the probability-flow ODE, eta 1 the reverse SDE."""
    # TODO 9.2: undo the pull, follow the score, kick
    ### BEGIN SOLUTION
    beta, a = schedule.betas[t], schedule.alpha_bar[t]
    score = -eps / (1 - a).sqrt()
    return x + 0.5 * beta * x + 0.5 * (1 + eta**2) * beta * score + eta * beta.sqrt() * noise
    ### END SOLUTION


small_step = check("9.2", small_step)

# %% slideshow={"slide_type": "skip"}
def best_guess(x, signal, sigma):
    """The exact (eps, x0) for x = signal x0 + sigma eps, x (n, 1), when x0 is one of our numbers."""
    var = signal**2 * WIDTH**2 + sigma**2  # of x around either centre
    off = x - signal * CENTRES.to(x)  # (n, 2)
    share = torch.softmax(-(off**2) / (2 * var), dim=1)  # how likely is each bump?
    eps = (share * sigma / var * off).sum(1, keepdim=True)
    x0 = (share * (CENTRES.to(x) + signal * WIDTH**2 / var * off)).sum(1, keepdim=True)
    return eps, x0

# %% slideshow={"slide_type": "skip"}
def go_back(x, eta, seed=0):
    """From x (n, 1) at the top down to 0, all states (T + 1, n, 1), the clean one first."""
    path, g = [x], torch.Generator().manual_seed(seed)
    for t in range(chain.T, 0, -1):
        signal, sigma = chain.alpha_bar[t].sqrt(), (1 - chain.alpha_bar[t]).sqrt()
        eps, _ = best_guess(path[-1], signal, sigma)
        path.append(small_step(path[-1], eps, t, torch.randn(x.shape, generator=g), chain, eta))
    return torch.stack(path[::-1])


chain = linear(choose(1000, 100))
same_start = torch.full((4000, 1), 0.5)
shares = [(go_back(same_start, eta, seed=1)[0] > 0).float().mean() for eta in (0.0, 1.0)]
print("ends near 0.7: {:.0%} of the ODE's walkers, {:.0%} of the SDE's".format(*shares))
check.truth("9.1", shares)

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
def draw_density(ax):
    """The exact density of x at every s, as grey."""
    x, dense = torch.linspace(-3, 3, 300), []
    for t in range(0, chain.T + 1, max(1, chain.T // 200)):
        a = chain.alpha_bar[t]
        bells = torch.distributions.Normal(a.sqrt() * CENTRES, (a * WIDTH**2 + 1 - a).sqrt())
        dense.append(bells.log_prob(x[:, None]).exp().mean(1))
    ax.imshow(torch.stack(dense, 1).sqrt(), cmap="Greys", vmax=1.4, extent=(0, 1, 3, -3), aspect="auto")
    ax.set(ylim=(-3, 3), xlim=(0, 1), xlabel="$s$")
    ax.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    ax.grid(visible=False)


starts = torch.linspace(-1.8, 1.8, 8)[:, None]
fans = {"forward, data to noise": go_forward(draw_numbers(8), chain.T, 1)}
fans["reverse SDE, noise to data"] = go_back(starts, 1.0)
fans["ODE, noise to data"] = go_back(starts, 0.0)

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3.8), sharey=True)
colours = show.COLOUR["data"], show.COLOUR["ancestral"], show.COLOURS[1]
for ax, (title, path), colour in zip(axes, fans.items(), colours, strict=True):
    draw_density(ax)
    ax.plot(torch.linspace(0, 1, chain.T + 1), path[:, :, 0], color=colour, linewidth=1.0)
    ax.set_title(title)
axes[0].set_ylabel("$x$, a single number")
alt = "Paths over the grey density of x at every s. Forward and reverse SDE: rough paths that cross. "
show.figure(fig, alt + "ODE: smooth paths that keep their order and part into the two bumps.")

# %% [markdown] slideshow={"slide_type": "skip"}
# Grey is the exact density of $x$ (its root, so that thin parts show), with eight paths over it each. All paths of the ODE that start above 0 end at the upper bump. They keep their order, because at a crossing both would have the same velocity and go on together. With kicks the start is soon forgotten. Of the 4,000 walkers of 9.1 about half end at either bump; these eight are too few to show it.
#
# The pictures claim more: at *every* moment the three crowds should be spread alike. Is that so? A fair measure is the largest distance between two cumulative distributions (the Kolmogorov-Smirnov distance): the share of walkers below a number, against the exact share, at the number where they differ most.

# %% slideshow={"slide_type": "skip"}
def distance_from_exact(x, t):
    """The largest difference between the share of x (n, 1) below a number and the exact one at level t."""
    a = chain.alpha_bar[t]
    bells = torch.distributions.Normal(a.sqrt() * CENTRES, (a * WIDTH**2 + 1 - a).sqrt())
    below = (torch.arange(len(x)) + 0.5) / len(x)
    return (bells.cdf(x.sort(0).values).mean(1) - below).abs().max()


n, moments, rows = choose(10_000, 500), (0.9, 0.6, 0.3, 0.1, 0.0), []
noise = torch.randn(n, 1, generator=torch.Generator().manual_seed(5))
crowds = {"forward chain": go_forward(draw_numbers(n), chain.T, 1)}
crowds |= {"reverse SDE": go_back(noise, 1.0, seed=2), "probability-flow ODE": go_back(noise, 0.0)}
for name, path in crowds.items():
    apart = [distance_from_exact(path[round(s * chain.T)], round(s * chain.T)) for s in moments]
    rows.append([name, *(f"{value:.3f}" for value in apart)])
caption = f"Largest distance from the exact distribution; 95 % of exact draws: below {1.36 / n**0.5:.3f}"
show.table(rows, ["", *(f"s = {s}" for s in moments)], caption)

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="9.3"
# All three crowds stay below the bound above the table, so at these moments this test cannot tell them from exact draws. (The ODE has the same number in every column. It keeps the order of its walkers, as the exact motion does, so the distance that its start has by chance stays as it is.) The paths differ, the distribution does not. So we may forget the kicks and keep only the velocity.
#
# ## 2. Is a network that we have already a flow?
#
# Imagine an arrow at every place, which may change with time. Now drop points into it and let each follow the arrow under it. The arrows together with the moving points are called a **flow**. The networks of notebooks 02 to 06 predict noise, or v. Do we have to train anew to get a velocity? No. It is in their answers already.
#
# **v is a velocity.** Write the share of the picture as a cosine and that of the noise as a sine: $\sqrt{\bar\alpha}=\cos\varphi$, $\sqrt{1-\bar\alpha}=\sin\varphi$. Then a noised picture sits on a circle, and its velocity along the angle is
# $$x=\cos\varphi\;x_0+\sin\varphi\;\epsilon,\qquad \frac{dx}{d\varphi}=-\sin\varphi\;x_0+\cos\varphi\;\epsilon=v .$$
# In words: the v of notebook 03 says where a picture moves when a bit more of it becomes noise.
#
# **DDIM is Euler's method.** The simplest way to follow an arrow is to walk straight along it for a step, then look again. This is Euler's method. Along which variable does DDIM do this? Divide the picture by $\sqrt{\bar\alpha}$:
# $$y=\frac{x}{\sqrt{\bar\alpha}}=x_0+r\,\epsilon,\qquad r=\frac{\sqrt{1-\bar\alpha}}{\sqrt{\bar\alpha}} .$$
# In words: in the picture $y$ the signal always has its full strength, and $r$ says how much noise lies on top. When $r$ grows, $y$ moves with the velocity $dy/dr=\epsilon$. So the network's answer $\hat\epsilon$ *is* the velocity of $y$ along $r$. An Euler step from $r_t$ to $r_s$ takes it as constant: $y_s=y_t+(r_s-r_t)\,\hat\epsilon$.
#
# <details><summary>Why this is the probability-flow ODE</summary>
#
# Put the score $-\hat\epsilon/\sqrt{1-\bar\alpha}$ into its velocity $f-\tfrac12 g^2\,\nabla\log p$, with the rate $\beta=\beta(s)$ of section 1:
# $$\frac{dx}{ds}=-\tfrac12\beta\,x+\tfrac12\beta\,\frac{\hat\epsilon}{\sqrt{1-\bar\alpha}},\qquad \frac{d\sqrt{\bar\alpha}}{ds}=-\tfrac12\beta\sqrt{\bar\alpha}.$$
#
# The second is what the pull alone does to the signal. Now differentiate the quotient $y=x/\sqrt{\bar\alpha}$. The pull cancels. With $r^2=1/\bar\alpha-1$ we also get the change of $r$:
# $$\frac{dy}{ds}=\frac{\beta\,\hat\epsilon}{2\sqrt{\bar\alpha}\,\sqrt{1-\bar\alpha}},\qquad \frac{dr}{ds}=\frac{\beta}{2\sqrt{\bar\alpha}\,\sqrt{1-\bar\alpha}}.$$
#
# So $dy/dr=\hat\epsilon$: whoever follows $\hat\epsilon$ along $r$ walks on the probability-flow ODE.
#
# </details>
#
# ### Exercise 9.3: DDIM as Euler's method
#
# Write `euler_in_ratio`: divide `x` by $\sqrt{\bar\alpha_t}$, make the Euler step along $r$, and multiply by $\sqrt{\bar\alpha_s}$ of the new level, `t_next`. Take $\bar\alpha$ from `schedule.exact(t)`, which is a float64 number: near the top $\bar\alpha$ is tiny, and single precision is not enough.
#
# Difficulty: ●●○○○ · 7 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# You need $r$ at both levels, and the root of $\bar\alpha$ at both levels. No estimate of $x_0$ occurs.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `a, a_next = schedule.exact(t), schedule.exact(t_next)`; `r = ((1 - a) / a).sqrt()`, and `r_next` alike. Then `y = x / a.sqrt()`.
#
# </details>
#
# <!--slide 4 min
# ## Every denoiser of this course is a flow already
#
# $\sqrt{\bar\alpha}=\cos\varphi$ and $\sqrt{1-\bar\alpha}=\sin\varphi$: a noised picture sits on a circle, and **v was a velocity all along**:
#
# $$x=\cos\varphi\;x_0+\sin\varphi\;\epsilon,\qquad \frac{dx}{d\varphi}=-\sin\varphi\;x_0+\cos\varphi\;\epsilon=v$$
#
# Divide by the signal instead, and the noise is the velocity:
#
# $$y=\frac{x}{\sqrt{\bar\alpha}}=x_0+r\,\epsilon,\qquad r=\frac{\sqrt{1-\bar\alpha}}{\sqrt{\bar\alpha}},\qquad \frac{dy}{dr}=\epsilon$$
#
# **Your turn:** exercise 9.3 `euler_in_ratio(x, eps, t, t_next, schedule)`, one step $y_s=y_t+(r_s-r_t)\,\hat\epsilon$. Compare it with your `ddim_step`.
#
# Notes:
# Say: two choices of a variable, two velocities, one motion. No network is trained anew. Take alpha-bar from schedule.exact, in float64: near the top it is a few billionths, and we divide by its root.
# Ask: how would you follow an arrow that you may only look at now and then? (Walk straight along it, look again: Euler's method, 1768.)
# Exercise: 7 minutes. Common mistakes: forgetting to multiply by the new root, and the step with the wrong sign.
# Answers 9.3.
# -->

# %% exercise="9.3" slideshow={"slide_type": "skip"}
def euler_in_ratio(x, eps, t, t_next, schedule):
    """One Euler step of y = x / sqrt(abar) along r, from x (B, ..) at level t to x at level t_next."""
    # TODO 9.3: into y, a step along r, and back
    ### BEGIN SOLUTION
    a, a_next = schedule.exact(t), schedule.exact(t_next)
    r, r_next = ((1 - a) / a).sqrt(), ((1 - a_next) / a_next).sqrt()
    y = x / a.sqrt() + (r_next - r) * eps
    return a_next.sqrt() * y
    ### END SOLUTION


euler_in_ratio = check("9.3", euler_in_ratio)

# %% slideshow={"slide_type": "skip"}
circle, digit_net = cosine(1000), load_model("mnist_unet").requires_grad_(False)


@torch.no_grad()
def walk_twice(steps, n=4):
    """(DDIM's digits, Euler's digits) from the same noise; all but the network computes in float64."""
    x = torch.randn(n, 1, 28, 28, generator=torch.Generator().manual_seed(0)).double()
    one, other, levels = x, x, my.ddim_levels(1000, steps)
    for t, t_next in zip(levels, [*levels[1:], 0], strict=True):
        pairs = [circle.from_output(digit_net(x.float(), torch.full((n,), t)).double(), x, t, "v")
                 for x in (one, other)]
        one = circle.q_sample(pairs[0][1], t_next, pairs[0][0])  # DDIM: the same x0 and eps, mixed anew
        other = euler_in_ratio(other, pairs[1][0], t, t_next, circle)
    return one, other


for steps in choose((5, 20), (2,)):
    by_ddim, by_euler = walk_twice(steps)
    print(f"{steps:2} steps: largest difference of a pixel {(by_ddim - by_euler).abs().max():.0e}")

# %% [markdown] slideshow={"slide_type": "skip"}
# The digits agree in every pixel, up to the rounding of the computer. DDIM is Euler's method for the probability-flow ODE, in the variables $y$ and $r$.
#
# ## 3. Why not along a straight line?
#
# The motion from data to noise went along a circle because notebook 01 mixed with square roots. If all that counts is a velocity, we may choose a simpler path, the straight line from a picture to a noise:
# $$x_s=(1-s)\,x_0+s\,\epsilon,\qquad u=\frac{dx_s}{ds}=\epsilon-x_0 .$$
# In words: the picture fades as evenly as the noise comes in, and the velocity is the same on the whole way.

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 4.0))
turn, c, d = torch.linspace(0, math.pi / 2, 60), math.cos(0.9), math.sin(0.9)
ways = [("on a circle: $v=dx/d\\varphi$ turns", "$x$", turn.cos(), turn.sin(), (c, d), (-d, c))]
ways += [("on a line: $u=dx/ds$ stays", "$x_s$", [1, 0], [0, 1], (0.45, 0.55), (-1, 1))]
for ax, (title, letter, along, up, (x, y), (right, rise)) in zip(axes, ways, strict=True):
    ax.plot(along, up, color=show.COLOUR["noise"], linewidth=3)
    look = dict(arrowstyle="-|>", color=show.COLOURS[1], lw=3)  # arrows at 0.42 of their length
    ax.annotate("", (x + 0.42 * right, y + 0.42 * rise), (x, y), arrowprops=look)
    ax.plot([1, 0, x], [0, 1, y], "o", color="black", markersize=8)
    for text, (across, high) in {"$x_0$": (1, 0), "$\\epsilon$": (0, 1), letter: (x, y)}.items():
        ax.annotate(text, (across + 0.04, high + 0.04), fontsize=15)
    ax.set(xlim=(-0.1, 1.25), ylim=(-0.05, 1.25), aspect="equal", title=title, xlabel="share of the data")
axes[0].set_ylabel("share of the noise")
show.figure(fig, "A quarter circle and a line from data to noise: the arrow of the velocity turns, or stays")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="9.4"
# (The arrows are drawn at 0.42 of their length.) **Flow matching** (Lipman et al. 2023; Liu et al. 2023) trains a network on exactly this: show it a point $x_s$ on such a line and the moment $s$, and ask for the velocity $u$.
#
# How different is that from what we did? Divide $x_s$ by $1-s$, the share of the picture, and you get $x_0+r\,\epsilon$ with $r=s/(1-s)$. These are $y$ and $r$ of section 2. So the straight path is one more noise schedule. It passes the same pictures $y$ as the circle does, and only the scale and the clock differ.
#
# Even the steps are the same. Write the network's answer as $\hat u=\hat\epsilon-\hat x_0$, so that $x=(1-s)\,\hat x_0+s\,\hat\epsilon$. Euler's step to $s'$ is
# $$x+(s'-s)\,(\hat\epsilon-\hat x_0)=(1-s')\,\hat x_0+s'\,\hat\epsilon .$$
# In words: keep both guesses and mix them anew. DDIM does just this. If two perfect networks stop at the same $r$, DDIM on the circle and Euler on the line draw the same digit from the same noise, even in four steps. In practice two things differ: the stops of a walk, and how much each noise level counts in training (section 9).
#
# `straight(T)` in `helpers.flow` is that schedule. Its levels are $t=0,\dots,T$ with $s=t/T$, its "v" is $u$, and the one training loop and the one reverse loop of the course work with it.
#
# ### Exercise 9.4: the loss of flow matching
#
# Write `flow_loss`, one number for each example, shape (B,). Each example has its own level `t` (B,), an integer from 1 to `schedule.T`; `noise` is shaped like `x0`. The network is called as `model(x_s, t)`. Points (B, 2) and pictures (B, 1, H, W) should both work. (`y` is for labels, which nobody uses here; the training loop passes it on.)
#
# Difficulty: ●●○○○ · 8 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# $s=t/T$ has shape (B,) and has to multiply `x0`. What is the target, and what of it may the network see?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `my.at(values, t, x0)` of notebook 01 picks the entry of each example's level and gives it the shape that multiplies `x0`. Here the values are the moments of all levels: `s = my.at(torch.arange(schedule.T + 1) / schedule.T, t, x0)`. After squaring the difference, `.flatten(1).mean(1)` keeps one number an example.
#
# </details>
#
# <!--slide 4 min
# ## Why not along a straight line?
#
# $$x_s=(1-s)\,x_0+s\,\epsilon,\qquad u=\frac{dx_s}{ds}=\epsilon-x_0$$
#
# - the picture fades as evenly as the noise comes in, and the velocity stays the same
# - **flow matching**: show the network $x_s$ and $s$, ask for $u$
# - divided by $1-s$ it is $y=x_0+r\,\epsilon$ again: one more noise schedule, and Euler's step is DDIM's
#
# **Your turn:** exercise 9.4, 8 minutes. Each example has its own level `t`, with $s=t/T$.
#
# ```python
# def flow_loss(model, schedule, x0, t, noise, y=None):
#     """The squared error of the velocity, one number an example, (B,)."""
# ```
#
# Notes:
# Say: in the notebook stands a drawing of both paths. Papers mostly write 0 for noise and 1 for data, so their velocity points the other way.
# Ask: the velocity of one line is constant. Will a walker that follows the network go straight? (Not quite, and the reason is the next section.)
# Exercise: 8 minutes. Common mistakes: s not reshaped, and the target with the wrong sign.
# -->

# %% exercise="9.4" slideshow={"slide_type": "skip"}
def flow_loss(model, schedule, x0, t, noise, y=None):
    """The squared error of the velocity, one number an example (B,); x0, noise (B, ..), t (B,) in 1 .. T."""
    # TODO 9.4: a point on the line, its velocity, the error
    ### BEGIN SOLUTION
    s = my.at(torch.arange(schedule.T + 1) / schedule.T, t, x0)  # (B, 1, ..)
    x_s = (1 - s) * x0 + s * noise
    return (model(x_s, t) - (noise - x0)).square().flatten(1).mean(1)
    ### END SOLUTION


flow_loss = check("9.4", flow_loss)

# %% [markdown] slideshow={"slide_type": "skip"}
# Now train. Two small networks, for the moons and for the board of notebook 02, with your loss. This takes about a minute.

# %% slideshow={"slide_type": "skip"}
from helpers.classifiers import features  # for section 9
from helpers.models import PointMLP
from helpers.training import Run, train

path, T = straight(1000), 1000
moons, _ = data.moons(10_000, seed=0)
board, _ = data.checkerboard(10_000, seed=0)


def train_flow(x, steps, loss=flow_loss, seed=0):
    """A network of two inputs trained with this loss on the points x, its weights averaged (EMA)."""
    torch.manual_seed(seed)
    run, few = Run(PointMLP(prediction="v"), lr=3e-3, seed=seed), choose(steps, 20)
    for _ in show.progress(train(run, path, x, few, batch_size=512, loss=loss), few):
        pass
    return run.ema.model.requires_grad_(False)


moon_net = train_flow(moons, 1500)
board_net = train_flow(board, 5000)

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
fig, axes = plt.subplots(1, 5, figsize=(show.WIDTH, 2.4))
states = list(reverse(board_net, path, euler(choose(50, 5)), (3000, 2), seed=1))
for ax, state in zip(axes, show.at_levels(states, (1000, 600, 300, 100, 0)), strict=True):
    show.scatter(ax, state.x, f"s = {state.t / T:g}", show.COLOUR["model"], size=1.5, limit=1.8)
show.figure(fig, "3,000 points flow from a round cloud of noise to the eight squares of the board")
print(f"share of the points inside the squares: {metrics.share_inside(states[-1].x):.0%}")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="9.5"
# Watch the cloud from left to right: it gathers into the eight squares of the board.
#
# ## 4. Why may we train on single pairs?
#
# Each pair in a batch is one random point of the data and one random noise, joined by a line. Through the same place $x_s$ run many such lines, with many velocities, and the network has to give *one* answer. Which one does it give, and why is it right?
#
# Take the numbers of section 1 again, half of them near 0.7 and half near -0.7. Half-way, at $s=\tfrac12$, look at the lines that run through $x=0$. Such a line joins 0.7 with a noise of about -0.7, with $u=\epsilon-x_0\approx-1.4$, or -0.7 with a noise of about 0.7, with $u\approx 1.4$.
#
# ### Exercise 9.5: where lines cross
#
# A network was trained on very many such pairs. We ask it for the velocity at $x=0$, $s=\tfrac12$. What does it answer?
#
# - **a** sometimes 1.4 and sometimes -1.4, as the pairs do
# - **b** 1.4 or -1.4, whichever came last in training
# - **c** about 0, a velocity that none of the pairs has
# - **d** 1.4, the larger one
#
# Difficulty: ●●○○○ · 2 minutes
#
# <details><summary>Hint</summary>
#
# The network is trained with a squared error, and it is a function: the same input has the same output. What was the best answer in notebook 02, when several points could have made the same $x_t$?
#
# </details>
#
# <!--slide 3 min
# ## Lines cross. What does the network answer at a crossing?
#
# Numbers near 0.7 and -0.7, half of each. Through $x=0$ at $s=\tfrac12$ run lines with $u\approx-1.4$ and lines with $u\approx 1.4$.
#
# **Your turn:** exercise 9.5. The trained network is asked for the velocity there.
#
# **a** sometimes 1.4, sometimes $-1.4$ · **b** whichever came last · **c** about 0 · **d** 1.4
#
# Notes:
# Say: a network is a function, so the same input has the same output. Remember the best guess of notebook 02.
# Ask: no pair moves with velocity 0. Can 0 still be right? (Yes: as many walkers go up as go down through this place, so on the whole nothing moves.)
# Exercise: 2 minutes, a show of hands.
# Answers 9.4.
# -->
# <!--slide 3 min
# ## Pairs cross, the flow does not
#
# $$u^*(x,s)=\mathbb E\big[\epsilon-x_0\mid x_s=x\big]$$
#
# In words: the best answer is the mean velocity of all pairs that pass here.
#
# Notes:
# Say: left the pairs, straight and crossing; right the walkers of the mean velocity. They bend away from each other. At every s both crowds have the same density.
# Ask: where do the paths on the right bend most? (Near 0, half-way, where the two kinds of pairs meet.)
# Ask: what would the paths look like if no pairs crossed? (Straight. Section 6 is about this.)
# Answers 9.5.
# -->

# %% exercise="9.5" kind="predict" slideshow={"slide_type": "skip"}
# TODO 9.5: "a", "b", "c" or "d"
### BEGIN SOLUTION
guess = "c"
### END SOLUTION
check.predict("9.5", guess)

# %% slideshow={"slide_type": "skip"}
def exact_field(x, s):
    """The mean velocity of all pairs that pass x (n, 1) at time s, for the numbers of section 1."""
    eps, x0 = best_guess(x, 1 - s, s)
    return eps - x0


def follow(field, x, steps, from_s=1.0):
    """Euler's walk down from s = from_s to 0, all states (steps + 1, ..)."""
    states = [x]
    for i in range(steps):
        s = from_s * (1 - i / steps)
        states.append(states[-1] - from_s / steps * field(states[-1], s))
    return torch.stack(states)

# %% slideshow={"slide_type": "skip"}
x0 = draw_numbers(200_000, seed=7)
eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(8))
near = (0.5 * x0 + 0.5 * eps).abs() < 0.05  # pairs that pass close to 0 half-way
u = (eps - x0)[near]
print(f"{near.sum():,} pairs: u is {u[u > 0].mean():.2f} or {u[u < 0].mean():.2f}, mean {u.mean():.2f}")
print(f"the exact mean velocity at 0: {exact_field(torch.zeros(1, 1), 0.5).item():.2f}")
check.truth("9.5", "c" if u.mean().abs() < 0.1 else "d")

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.8), sharey=True)
for a, b in zip(x0[:60, 0], eps[:60, 0], strict=True):
    axes[0].plot([0, 1], [a, b], color=show.COLOUR["data"], linewidth=0.9, alpha=0.6)
walks = follow(exact_field, eps[:60], 200)[:, :, 0]
axes[1].plot(torch.linspace(1, 0, 201), walks, color=show.COLOUR["model"], linewidth=0.9, alpha=0.7)
for ax, title in zip(axes, ("60 pairs of data and noise", "60 walkers of the mean velocity"), strict=True):
    ax.set(title=title, xlabel="$s$", xlim=(0, 1), ylim=(-3, 3))
axes[0].set_ylabel("$x$, a single number")
alt = "Left: 60 straight lines from two bumps to noise, crossing everywhere. Right: paths from the same "
show.figure(fig, alt + "noises, which never cross; near 0 they bend apart, towards one bump or the other")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="9.6"
# The squared error has its minimum at the mean, as notebook 02 proved for $x_0$. So the network learns the mean velocity of all pairs that pass a place, $u^*(x,s)=\mathbb E[\epsilon-x_0\mid x_s=x]$. The lines of the pairs cross. The walkers of their mean velocity do not, and so they bend.
#
# Why does the mean carry the whole crowd to the right place? Watch any quantity $h(x)$, averaged over the crowd. For the pairs it changes at the rate $\frac{d}{ds}\mathbb E[h(x_s)]=\mathbb E[h'(x_s)\,u]$. If we first average over all pairs that are at the same place, this is $\mathbb E[h'(x_s)\,u^*(x_s,s)]$. And this is the rate for walkers that move with $u^*$. Both crowds start alike, as pure noise, and the densities of both obey the same equation, $\partial_s p=-\nabla\cdot(u^*p)$. For a smooth velocity such as this one, it has a single solution for each start. So both have the same density at every moment.
#
# The right picture uses the exact mean velocity, so a network's error cannot be why the paths bend.
#
# ## 5. How do we follow an arrow with few questions?
#
# Each look at the arrow is an evaluation of the network. Euler's method takes the arrow at the start of a step for all of it. When paths bend, it leaves them at every step. Two old cures ask twice a step:
#
# - **midpoint**: an Euler step to the middle, then the *whole* step with the arrow found there;
# - **Heun**: an Euler step to the end, look at the arrow there, then the whole step again with the **mean** of both arrows.
#
# If we halve the step, the error of Euler halves: a method of **first order**. Those of midpoint and Heun fall to a quarter: **second order**.
#
# ### Exercise 9.6: Heun's step
#
# Euler and midpoint stand below. Write `heun_step`. `field(x, s)` is the velocity at place `x` and time `s`; the step goes from `s` to `s_next`, in either direction.
#
# Difficulty: ●●○○○ · 6 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# `s_next - s` is the length of the step, with its sign. Where does Euler arrive, and at which time do you look there?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `u = field(x, s)`, then `u_there = field(x + (s_next - s) * u, s_next)`. The step goes from `x` with the mean of the two.
#
# </details>
#
# <!--slide 3 min
# ## Your turn: 9.6, two looks a step, 6 minutes
#
# - **Euler**: the arrow at the start, for the whole step
# - **midpoint**: half a step with it, then the whole step with the arrow found there
# - **Heun**: a whole step with it, then again with the mean of the arrows at both ends
#
# ```python
# def heun_step(field, x, s, s_next):
#     """From x at time s to time s_next, with two evaluations of the velocity."""
# ```
#
# Notes:
# Say: first order means that half the step halves the error; second order, that it falls to a quarter.
# Ask: two looks cost twice as much. When is that a good bargain? (When half the step of Euler would be worse: for small enough steps always.)
# Exercise: 6 minutes. Common mistake: starting the second step where the first one ended.
# -->
# <!--slide 3 min
# ## Half the step: half the error, or a quarter
#
# Notes:
# Say: the error of the end point on the exact field, against evaluations, both on logarithmic scales. Dashed, the slopes minus one and minus two. At the left end the methods of second order have gained nothing yet. DPM-Solver++ of notebook 05 asks once a step; its stall comes from where its steps lie, and the dotted line, with steps even in lambda, has none.
# Ask: which method would you take with four evaluations? (Read it from the left end of the figure. A slope is a promise for small steps only.)
# Answers 9.6.
# -->

# %% exercise="9.6" slideshow={"slide_type": "skip"}
def heun_step(field, x, s, s_next):
    """From x at time s to time s_next, with two evaluations of the velocity field(x, s)."""
    # TODO 9.6: a trial step, the arrow there, the step with the mean of both arrows
    ### BEGIN SOLUTION
    u = field(x, s)
    u_there = field(x + (s_next - s) * u, s_next)
    return x + (s_next - s) * (u + u_there) / 2
    ### END SOLUTION


heun_step = check("9.6", heun_step)

# %% slideshow={"slide_type": "skip"}
def euler_step(field, x, s, s_next):
    return x + (s_next - s) * field(x, s)


def midpoint_step(field, x, s, s_next):
    half = (s_next - s) / 2
    return x + 2 * half * field(x + half * field(x, s), s + half)


def walk_down(step, field, x, steps):
    """From noise at s = 1 to data at s = 0 in equal steps."""
    for i in range(steps):
        x = step(field, x, 1 - i / steps, 1 - (i + 1) / steps)
    return x

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
# DPM-Solver++ walks on the circle: a schedule there with the ratios r of the straight path, and x0 on it
twin = Schedule(straight(2**14).betas, "straight, on the circle")


def ask_exactly(x, t):
    a = twin.exact(t)[:, None]
    return best_guess(x, a.sqrt(), (1 - a).sqrt())[1]


def even_in_lambda(n):
    """DPM-Solver++ at n levels: the top, then even in lambda from -6 to 6."""
    a, at = twin.exact(torch.arange(1, twin.T)), torch.linspace(-6, 6, n - 1)
    nearest = ((a / (1 - a)).log() / 2 - at[:, None]).abs().argmin(1) + 1
    return Rule("even in lambda", lambda T: [T, *nearest.tolist()], dpm_solver(n).move)


ask_exactly.prediction = "x0"  # tells `reverse` what is answered: a guess of x0

# %% slideshow={"slide_type": "skip"}
start = torch.randn(400, 1, generator=torch.Generator().manual_seed(9)).double()
truth = walk_down(heun_step, exact_field, start, choose(2000, 100))
solvers = {"Euler": (euler_step, 1), "midpoint": (midpoint_step, 2), "Heun": (heun_step, 2)}
budgets, errors = choose((4, 8, 16, 32, 64, 128, 256), (4, 8, 16)), {}
for name, (step, cost) in solvers.items():
    ends = [walk_down(step, exact_field, start, n // cost) for n in budgets]
    errors[name] = [(end - truth).abs().mean().item() for end in ends]
for name, rule in {"DPM-Solver++": dpm_solver, "DPM-Solver++, even in $\\lambda$": even_in_lambda}.items():
    ends = [last(reverse(ask_exactly, twin, rule(n), x_T=start)) for n in budgets]
    errors[name] = [(end - truth).abs().mean().item() for end in ends]

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
colours = show.COLOUR["ddim"], show.COLOURS[4], show.COLOURS[2], show.COLOUR["dpm"], show.COLOURS[3]
fig, ax = plt.subplots(figsize=(show.WIDTH, 4.2))
for (name, row), colour in zip(errors.items(), colours, strict=True):
    ax.plot(budgets, row, "o:" if "even" in name else "o-", color=colour, label=name)
for order, name, factor in ((1, "Euler", 1.5), (2, "midpoint", 0.6)):  # guides beside two of the lines
    guide = [factor * errors[name][-1] * (n / budgets[-1]) ** -order for n in budgets[-3:]]
    ax.plot(budgets[-3:], guide, "--", color="0.4")
    ax.annotate(f"slope $-{order}$", (budgets[-2], guide[1] * (1.5 if order == 1 else 0.3)), color="0.3")
ax.set(xscale="log", yscale="log", xlabel="evaluations", ylabel="mean error of the end")
ax.set_xticks(budgets, budgets)
ax.minorticks_off()
ax.legend()
alt = "Errors of four solvers on logarithmic axes: Euler falls with slope minus 1, midpoint and Heun with "
alt += "about minus 2; DPM-Solver++ begins lowest and stalls from 64 to 128. "
show.figure(fig, alt + "With steps even in lambda it begins highest and falls with slope minus 2")

# %% [markdown] slideshow={"slide_type": "skip"}
# Look at the right end first. Compare the lines with the dashed ones: Euler, midpoint and Heun fall about as their order promises. Now look at the left end. With four evaluations Euler is better than midpoint and Heun, since two looks a step leave them only two steps. An order is a promise for small steps. (By section 3, Euler's line is also that of DDIM, if it stops at the same ratios $r$.)
#
# DPM-Solver++ asks once a step and remembers the answer before. (It walks on the circle; the data at the end are the same.) It leads with 4 evaluations, falls back to Euler's error at 16, and catches up again. But between 64 and 128 its error hardly changes. The grid is to blame. This method draws its line over $\lambda=\log\big(\sqrt{\bar\alpha}/\sqrt{1-\bar\alpha}\big)$, and near the data levels that are even in $s$ lie far apart in $\lambda$. On the dotted line the steps are even in $\lambda$: there the error falls to a quarter with each doubling, but it starts from a worse place. Where the steps lie matters as much as the order.
#
# Does the same hold for a *trained* network, whose arrows are not smooth? `helpers.flow` has these steps as rules for `reverse` (its Heun ends with a step of Euler), and a time shift. With a shift above 1 more of the steps lie near the noise: $s'=\mathrm{shift}\cdot s/(1+(\mathrm{shift}-1)\,s)$. In words: both ends stay where they are, and every moment between them moves towards the noise; a shift of 3 takes $s=0.5$ to $0.75$.

# %% slideshow={"slide_type": "skip"}
def draw_points(net, rule, n=choose(4000, 200), seed=1):
    return last(reverse(net, path, rule, (n, 2), seed=seed))


def rule_of(solver, evaluations, shift=1.0):
    """A rule of about this many evaluations. (Heun's last step is Euler's: level 0 is never asked.)"""
    if solver == "Euler":
        return euler(evaluations, shift)
    return (midpoint if solver == "midpoint" else heun)(max(1, evaluations // 2), shift)


rows, counts = [], (4, 8, 16, 32)
choices = [("Euler", 1.0), ("Euler", 3.0), ("midpoint", 1.0), ("Heun", 1.0)]
for solver, shift in choices:
    inside = [metrics.share_inside(draw_points(board_net, rule_of(solver, n, shift))) for n in counts]
    rows.append([f"{solver}, shift {shift:g}", *(f"{share:.2f}" for share in inside)])
show.table(rows, ["board", *(f"{n} evaluations" for n in counts)], "Share of 4,000 points inside the squares")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="9.7"
# With 8 evaluations midpoint is ahead of Euler and Heun behind it, with 4 both are behind. (Heun asks once less than the column says.) With 32 the four are close together, and midpoint is even lower than with 16. So the share inside is not the error of a solver: a coarse walk can land more points inside than a fine one of the same network. A shift of 3 spends most steps near the noise. The sharp edges of the board are decided near the data, so here the shift costs. Large pictures are another matter (section 9).
#
# ## 6. Can we straighten the paths?
#
# A straight path can be followed in a single step. Ours bend because the lines of the pairs cross, and the lines cross because data and noise were joined at random. But now we have a flow, and it sends each noise to one definite point. So we can make new pairs: a noise, and the point it ended at. Nearby noises mostly end at nearby points, so lines drawn between **these** pairs cross much less than random ones. Let's train on them.
#
# Liu et al. (2023) call this **reflow**. We draw 10,000 noises, follow the flow to its ends, and keep both. Then we train a second network with the same loss, but on the pairs.
#
# How straight is a path? Compare its velocity with that of the straight line from its start to its end. The mean of the squared difference is 0 for straight paths:
# $$S=\mathbb E\int_0^1\big\lVert (x_1-x_0)-u(x_s,s)\big\rVert^2\,ds .$$
#
# ### Exercise 9.7: the wrong partner
#
# `pair_up` puts each end next to the noise that it came from, as rows of four numbers. Change one thing, so that every end and every noise is still there once, but each end gets the noise of *another* one. Then set `why`: what does a network learn from such pairs?
#
# - **a** points off the moons: the ends are no longer points of the moons
# - **b** the bent paths of before: the lines cross again as they did at the start
# - **c** straight paths all the same: it is enough that the ends were made by the flow
#
# Difficulty: ●●○○○ · 5 minutes
#
# <details><summary>Hint</summary>
#
# `noise.roll(1, dims=0)` moves every row down by one. What distinguishes the pairs then from data and noise joined at random?
#
# </details>
#
# <!--slide 3 min
# ## Straighten the flow with pairs that it made itself
#
# - paths bend because the lines of random pairs cross
# - the flow sends every noise to **one** end: lines between these pairs cross much less
# - **reflow**: train a second network on these pairs
#
# $$S=\mathbb E\int_0^1\big\lVert (x_1-x_0)-u(x_s,s)\big\rVert^2ds$$
#
# In words: how far the velocity is from that of the straight line; 0 for straight paths.
#
# **Your turn:** exercise 9.7. Give every end the noise of another one. What does a network learn from *these* pairs?
#
# **a** points off the moons · **b** the bent paths of before · **c** straight paths all the same
#
# Notes:
# Say: this is reflow, of Liu and others. Data and noise stay what they are; only who belongs to whom changes.
# Ask: why can a straight path be walked in one step? (Its velocity at the start is its velocity everywhere.)
# Exercise: 5 minutes, then a show of hands for a to c.
# -->
# <!--slide 3 min
# ## After one round of reflow a single step draws both moons
#
# Notes:
# Say: the upper row is the flow before, the lower one after reflow; on the left some paths, then one, two and many steps of Euler.
# Ask: what do the upper pictures for one step remind you of? (The mean of all data in notebook 02: from pure noise the first arrow points to the mean.)
# Ask: what did reflow cost? (Ten thousand walks and a second training; and it copies the errors of the first flow.)
# Answers 9.7.
# -->

# %% exercise="9.7" kind="break" slideshow={"slide_type": "skip"}
def pair_up(ends, noise):
    """Rows of an end and a noise, (n, 4), from ends (n, 2) and noise (n, 2)."""
    # TODO 9.7: change one thing, so that each end gets the noise of another
    ### BEGIN SOLUTION
    # given: return torch.cat([ends, noise], dim=1)
    return torch.cat([ends, noise.roll(1, dims=0)], dim=1)
    ### END SOLUTION


why = "b"  # "a", "b" or "c"
pair_up = check.changed("9.7", pair_up, why)

# %% slideshow={"slide_type": "skip"}
def pair_loss(model, schedule, pair, t, noise, y=None):
    """Your flow_loss for pairs (B, 4); the noise that the training loop drew is not used."""
    ends, own_noise = pair.chunk(2, dim=1)
    return flow_loss(model, schedule, ends, t, own_noise)


def field_of(net):
    """The velocity field(x, s) of a network that is asked for levels, (n, 2) and a number to (n, 2)."""
    return lambda x, s: net(x, torch.full((len(x),), s * T))


many = torch.randn(choose(10_000, 300), 2, generator=torch.Generator().manual_seed(11))
ends = follow(field_of(moon_net), many, choose(50, 5))[-1]
straight_net = train_flow(torch.cat([ends, many], dim=1), 1500, pair_loss)
wrong_net = train_flow(pair_up(ends, many), 1500, pair_loss)

# %% slideshow={"slide_type": "skip"}
def bend(net, n=2000, steps=choose(100, 10)):
    """S of the paths of a network: 0 where all are straight."""
    states = follow(field_of(net), torch.randn(n, 2, generator=torch.Generator().manual_seed(12)), steps)
    u = (states[:-1] - states[1:]) * steps  # the velocity of each step, towards noise
    return (states[0] - states[-1] - u).square().sum(2).mean().item()


nets = {"data and noise at random": moon_net, "the flow's own pairs": straight_net}
nets["9.7, exchanged"] = wrong_net
fresh, rows = data.moons(4000, seed=5)[0], []
for name, net in nets.items():
    apart = [metrics.nearest_neighbours(draw_points(net, euler(n)), moons)[1] for n in (1, 2, 50)]
    rows.append([name, f"{bend(net):.4f}", *(f"{each.quantile(0.9):.3f}" for each in apart)])
off = metrics.nearest_neighbours(fresh, moons)[1].quantile(0.9)
header = ["trained on", "S", "off the moons: 1 step", "2 steps", "50 steps"]
show.table(rows, header, f"Off: distance to the data that one point in ten exceeds; fresh data: {off:.3f}")

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(2, 4, figsize=(show.WIDTH, 4.9))
few = torch.randn(40, 2, generator=torch.Generator().manual_seed(13))
for row, net, name in zip(axes, (moon_net, straight_net), ("random pairs", "after reflow"), strict=True):
    walks = follow(field_of(net), few, choose(60, 6))
    row[0].plot(walks[:, :, 0], walks[:, :, 1], color=show.COLOUR["noise"], linewidth=0.8)
    show.scatter(row[0], walks[-1], "40 paths (wider view)", show.COLOUR["model"], size=14, limit=3)
    for ax, n in zip(row[1:], (1, 2, 50), strict=True):
        points = draw_points(net, euler(n), 1500)
        show.scatter(ax, points, f"{n} step{'s' * (n > 1)}", show.COLOUR["model"], size=2, limit=2)
    row[0].set_ylabel(name)
alt = "Two rows, the flow of random pairs and the one after reflow: 40 paths, then points of 1, 2, 50 steps. "
show.figure(fig, alt + "Above, paths bend and one step ends between the moons; below one step draws both")

# %% [markdown] slideshow={"slide_type": "skip"}
# Above, one step lands between the moons: from pure noise the first arrow points at the mean of all data, as in notebook 02. Below, the paths look like spokes, and a single step draws both moons. It is not as good as 50 steps: by the table, one point in ten is nearly three times as far off as with fresh data. With exchanged partners, $S$ and the error of one step are as large as for the first flow. The paths became straight because each end was paired with its own noise.
#
# It has its price. Reflow takes thousands of walks and another training, and the second network learns the first one's errors. Notebook 10 asks what else can be done to get from fifty steps to one.
#
# **Try it.** The next cell draws the board or the moons with a number of evaluations and a solver of your choice. Below it are sliders. How few evaluations draw a board that you would accept?

# %% slideshow={"slide_type": "skip"}
def draw(evaluations=6, solver="Euler", flow="board"):
    net = {"board": board_net, "moons": moon_net, "moons, reflow": straight_net}[flow]
    rule = rule_of(solver, evaluations)
    fig, ax = plt.subplots(figsize=(4.2, 4.4))
    points, asked = draw_points(net, rule, choose(2000, 200)), len(rule.levels(T))
    show.scatter(ax, points, f"{flow}: {solver}, {asked} evaluations", show.COLOUR["model"], limit=1.3)
    show.figure(fig, f"2,000 points of the flow ({flow}), drawn with {solver} in {asked} evaluations")


draw()

# %% slideshow={"slide_type": "skip"}
sliders(draw, evaluations=(2, 32, 2), solver=["Euler", "midpoint", "Heun"],
        flow=["board", "moons", "moons, reflow"])

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="9.8"
# ## 7. How likely is this point?
#
# Until now we judged a model by its samples. Could we ask it directly: how likely is *this* point for you? That is its **likelihood**, the density that the model gives to the point. Notebook 02 only had a lower bound. A flow gives the likelihood itself, not a bound. The only error is that of the finite steps.
#
# The flow carries a crowd from data to noise. Follow one walker on its way from its point $x_0$ at $s=0$ to its noise $x_1$ at $s=1$. Around it walk its neighbours. If they move apart, the crowd around it becomes thinner, and if they come together, it becomes denser. How fast they move apart is the **divergence** of the velocity,
# $$\operatorname{div}u=\sum_i\frac{\partial u_i}{\partial x_i},\qquad\text{and}\qquad\frac{d}{ds}\log p_s(x_s)=-\operatorname{div}u(x_s,s).$$
# In words: where the arrows spread, the logarithm of the density falls at just that rate. At the end the density is that of pure noise, which we know. So we add up what was lost on the way:
# $$\log p_0(x_0)=\log\mathcal N(x_1;0,I)+\int_0^1\operatorname{div}u(x_s,s)\,ds .$$
#
# <details><summary>Where the rate comes from</summary>
#
# The density changes by what flows in and out, $\partial_s p=-\nabla\cdot(u\,p)=-u\cdot\nabla p-p\,\operatorname{div}u$. A walker sees two changes, that in time at its place and that of its own motion through the density: $\frac{d}{ds}p_s(x_s)=\partial_s p+u\cdot\nabla p=-p\,\operatorname{div}u$. Divide by $p$, and the left side becomes the rate of $\log p$.
#
# </details>
#
# ### Exercise 9.8: the divergence
#
# Write `divergence`: the velocities `u` (n, d) at places `x` (n, d) and the divergence (n,) there. `field(x, s)` treats each row on its own. Use `torch.autograd.grad`, once for each of the `d` coordinates. Return both, without gradients attached; leave the `x` that was handed in as it is.
#
# Difficulty: ●●●○○ · 12 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# `torch.autograd.grad(u[:, i].sum(), x)` gives all the derivatives of $u_i$ at once, for every row, since rows do not influence each other. Which of its columns do you need? And `x` has to be told that we want gradients: on a copy.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `x = x.detach().requires_grad_(True)` and `u = field(x, s)`. For each `i`: `[slope] = torch.autograd.grad(u[:, i].sum(), x, retain_graph=True)`, and of it the column `slope[:, i]`. Without `retain_graph=True` the second call stops: the first has used up what it needs.
#
# </details>
#
# <!--slide 5 min
# ## How likely is this point? A flow can say it
#
# Where the arrows spread, the crowd becomes thinner, at just that rate:
#
# $$\frac{d}{ds}\log p_s(x_s)=-\operatorname{div}u,\qquad \operatorname{div}u=\sum_i\frac{\partial u_i}{\partial x_i}$$
#
# Walk from the data point to its noise, and add up the divergence on the way:
#
# $$\log p_0(x_0)=\log\mathcal N(x_1;0,I)+\int_0^1\operatorname{div}u(x_s,s)\,ds$$
#
# **Your turn:** exercise 9.8 `divergence(field, x, s)`, 12 minutes. `torch.autograd.grad(u[:, i].sum(), x, retain_graph=True)` gives all derivatives of $u_i$ for every row at once. Which of its columns do you need?
#
# Notes:
# Say: notebook 02 had a lower bound only. With an ODE every point has one path, so the density can be carried along.
# Ask: why does this not work with the reverse SDE? (A point has many paths there, one for each draw of the kicks.)
# Ask: why may we sum over the rows before taking the gradient? (Rows do not influence each other, so the gradient at a row is that of its own velocity.)
# Say: in two dimensions two calls are nothing; for a photo it would be hundreds of thousands. Large models use a random estimate, named after Hutchinson.
# Exercise: 12 minutes. Common mistakes: summing all the columns, and forgetting retain_graph.
# -->

# %% exercise="9.8" slideshow={"slide_type": "skip"}
def divergence(field, x, s):
    """(u, div u): the velocities (n, d) and their divergence (n,) at places x (n, d) and time s."""
    # TODO 9.8: ask with gradients on, then one derivative for each coordinate
    ### BEGIN SOLUTION
    x = x.detach().requires_grad_(True)
    u, total = field(x, s), 0
    for i in range(x.shape[1]):
        [slope] = torch.autograd.grad(u[:, i].sum(), x, retain_graph=True)
        total = total + slope[:, i]
    return u.detach(), total.detach()
    ### END SOLUTION


divergence = check("9.8", divergence)

# %% slideshow={"slide_type": "skip"}
def log_likelihood(field, x, steps=choose(50, 5)):
    """log p(x) in nats, (n,): midpoint steps from the data to their noise, the divergence added up."""
    gained, h = torch.zeros(len(x)), 1 / steps
    for i in range(steps):
        middle = x + h / 2 * field(x, i * h)
        u, div = divergence(field, middle, (i + 0.5) * h)
        x, gained = x + h * u, gained + h * div
    return torch.distributions.Normal(0, 1).log_prob(x).sum(1) + gained


x = draw_numbers(choose(2000, 200), seed=20)
found = log_likelihood(exact_field, x, choose(100, 20))
known = torch.distributions.Normal(CENTRES, WIDTH).log_prob(x).exp().mean(1).log()
print(f"numbers of section 1: mean log-likelihood {found.mean():.4f}, by the formula {known.mean():.4f} nats")
print(f"largest difference of a single number: {(found - known).abs().max():.3f} nats")

# %% [markdown] slideshow={"slide_type": "slide"}
# For the numbers, where the formula is known, flow and formula agree up to the steps of the walk. (With a network the first step asks at $s=0$, a level that it never saw in training; it extrapolates from level 1.) Now the board. Its points are spread evenly over eight squares of side one half, an area of 2. So the true density is $\tfrac12$ inside and 0 outside, and its own mean log-likelihood is $\log\tfrac12=-0.693$ nats. (A **nat** is the unit of natural logarithms. A point with one nat less is $e\approx2.7$ times less likely.) The negative of this, $\log 2$, is the **entropy** of the board. No model can have a smaller mean of $-\log p$ in expectation; on a few points it may by luck. How near does our network come? And is what we computed a density at all: is its integral 1?
#
# <!--slide 3 min
# ## The density of a network that nobody shaded
#
# The board's true density is $\tfrac12$ on the squares and 0 elsewhere. Its entropy, the best that any model can reach on average, is $\log 2=0.693$ nats.
#
# Notes:
# Say: each shade is the likelihood of that place, computed by walking it to its noise. The notebook prints the integral over the plane, which is 1 within a hundredth, and the mean of -log p of 2,000 fresh points, which is 0.83 nats in the shipped run: 0.14 above the entropy.
# Ask: where does the network lose nats? (Partly at the edges: it has to be smooth, the squares are not, and what is smeared outside is missing inside. The rest is unevenness inside the squares.)
# Answers 9.8.
# -->

# %% slideshow={"slide_type": "skip"}
cells = choose(120, 20)
line = torch.linspace(-1.6, 1.6, cells + 1)[:-1] + 1.6 / cells  # the middles of the cells
place = torch.cartesian_prod(line, line)
density = log_likelihood(field_of(board_net), place, choose(40, 4)).exp().reshape(cells, cells)
integral = density.sum() * (3.2 / cells) ** 2
test_board, _ = data.checkerboard(choose(2000, 100), seed=1)
board_nats = -log_likelihood(field_of(board_net), test_board).mean()
print(f"integral of the density: {integral:.3f}")
above = board_nats - math.log(2)
print(f"{len(test_board):,} fresh points: {board_nats:.3f} nats, {above:.3f} above the entropy")

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 4.2), width_ratios=(1, 1.17))
show.scatter(axes[0], board[:6000], "the data", show.COLOUR["data"], size=1.5, limit=1.6)
axes[0].set_box_aspect(1)
look = dict(origin="lower", extent=(-1.6, 1.6, -1.6, 1.6), cmap="Blues", vmin=0, vmax=1)
shade = axes[1].imshow(density.T, **look)
axes[1].set(title="the density of the flow", xticks=[], yticks=[])
fig.colorbar(shade, ax=axes[1], label="density (the truth: 0.5 or 0)", extend="max")
alt = "Left the points of the board; right the density that the flow gives to each place: eight dark squares "
show.figure(fig, alt + "with soft edges and darker ridges along them, nearly white between the squares")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="9.9"
# The squares are there, and nobody drew them: each shade is the answer to "how likely is this place?". At the edges the network is soft where the truth is sharp, and inside many edges runs a darker ridge. Both cost nats. In section 3 about 94 of 100 points fell inside the squares. If only 0.94 of the density is left for the inside, this alone costs $-\log 0.94\approx0.06$ nats. The rest of the gap is unevenness inside the squares.
#
# ## 8. Can a number unmask a copy?
#
# Notebook 02 warned that the best possible training loss belongs to a machine that copies its training points. Each of its samples, taken alone, is a good one. Can a likelihood show what single samples do not?
#
# A network that learned the moons should find *fresh* points, which were in nobody's training set, about as likely as those it was trained on. One that clings to its training points should not. We need both numbers, because a badly trained network finds fresh points unlikely, too.
#
# We train the same network on only 40 points of the moons, for as many steps as before.
#
# ### Exercise 9.9: the copying network
#
# Compare it with the network of section 3, which was trained on 10,000 points. Which of them finds the 40 points likelier, and which one 2,000 fresh points?
#
# - **a** the copying network finds both likelier
# - **b** the copying network finds the 40 points likelier, and the fresh points far less likely
# - **c** both networks find both sets about equally likely: they are moons
# - **d** the copying network finds both sets less likely, since it saw less data
#
# Difficulty: ●●○○○ · 3 minutes
#
# <details><summary>Hint</summary>
#
# A density integrates to 1. If it is very high near 40 places, what is left for all the others? And the logarithm of something small is very negative.
#
# </details>
#
# <!--slide 3 min
# ## Your turn: 9.9, can a number unmask a copy? 3 minutes
#
# The same network, trained on **40** points of the moons instead of 10,000. Which of the two finds the 40 points likelier, and which one finds 2,000 fresh points likelier?
#
# - **a** the copying network finds both likelier
# - **b** it finds the 40 points likelier, and the fresh ones far less likely
# - **c** no difference: all of them are moons
# - **d** it finds both less likely
#
# Notes:
# Say: each single sample of a copy lies near a moon, so samples alone do not show it.
# Ask: a density integrates to 1. If it is very high near 40 places, what is left for the others? (Little, and the logarithm punishes that hard.)
# Exercise: 3 minutes, a show of hands.
# -->
# <!--slide 3 min
# ## The network of 40 points joins them by a thin chain
#
# Notes:
# Say: in the shipped run the network of 10,000 points gives the 40 points and the fresh ones 0.27 nats each; the network of 40 gives its points 1.98 and the fresh ones -1.47. Left the density of the first, right that of the second, on the same scale of colours. Its integral is not quite 1 because the steps are coarse for so sharp a density; this is worth 0.2 nats. Orange: the 40 points. Black: the fresh points below -5 nats.
# Ask: would the samples tell you? (Not one by one: nearly every one lies near a moon. The gap between the 40 points and fresh ones tells, and the fresh points beside the chain make it large.)
# Ask: what do you need for this test? (A likelihood, the training points, and fresh ones. With fresh points alone a badly trained network looks the same.)
# Answers 9.9.
# -->

# %% exercise="9.9" kind="predict" slideshow={"slide_type": "skip"}
# TODO 9.9: "a", "b", "c" or "d"
### BEGIN SOLUTION
guess = "b"
### END SOLUTION
check.predict("9.9", guess)

# %% slideshow={"slide_type": "skip"}
few_points, fresh = moons[:40], data.moons(choose(2000, 100), seed=5)[0]
copy_net = train_flow(few_points, 1500)
two = {"trained on 10,000 points": moon_net, "trained on 40 points": copy_net}
nats = {name: [log_likelihood(field_of(net), x) for x in (few_points, fresh)] for name, net in two.items()}
rows = [[name, f"{own.mean():.2f}", f"{new.mean():.2f}", f"{new.median():.2f}"]
        for name, (own, new) in nats.items()]
show.table(rows, ["log-likelihood in nats", "the 40 points: mean", "fresh points: mean", "median"])
samples = draw_points(copy_net, euler(choose(50, 5)))
for name, points in {"its samples": samples, "fresh points": fresh}.items():
    near, away = (metrics.nearest_neighbours(points, x)[1] for x in (few_points, moons))
    print(f"{name}: half within {near.median():.3f} of one of the 40; 99 in 100 within "
          f"{away.quantile(0.99):.2f} of one of the 10,000")
(own, new), (copy_own, copy_new) = [[x.mean().item() for x in each] for each in nats.values()]
check.truth("9.9", ("ab" if copy_own > own else "cd")[copy_new < new])

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.7))
wide, tall = torch.linspace(-1.3, 1.3, choose(131, 14)), torch.linspace(-0.9, 0.9, choose(91, 10))
spot = torch.cartesian_prod((wide[1:] + wide[:-1]) / 2, (tall[1:] + tall[:-1]) / 2)  # middles of cells
for ax, (name, net) in zip(axes, two.items(), strict=True):
    log_p = log_likelihood(field_of(net), spot, choose(30, 3))
    sums = log_p.exp().sum() * (wide[1] - wide[0]) * (tall[1] - tall[0])
    look = dict(origin="lower", extent=(-1.3, 1.3, -0.9, 0.9), cmap="Blues", vmin=-5, vmax=3)
    shade = ax.imshow(log_p.reshape(len(wide) - 1, -1).T, **look)
    ax.plot(*fresh[nats[name][1] < -5].T, ".", color="black", markersize=2)
    ax.plot(*few_points.T, ".", color=show.COLOURS[4], markersize=6)
    ax.set(title=f"{name}: integral {sums:.2f}", xticks=[], yticks=[])
fig.colorbar(shade, ax=axes, label="log-likelihood (nats)", shrink=0.8, extend="both")
alt = "The log-likelihood of two networks over the plane, the 40 points in orange, fresh points below "
show.figure(fig, alt + "-5 nats in black. Left two moons; right a thin chain with black points beside it")

# %% [markdown] slideshow={"slide_type": "slide"}
# Read the table by rows. The first network finds fresh points as likely as the 40. The second finds them more than three nats less likely, and this gap gives it away. Most fresh points are affected: even the median is more than a nat lower than that of the first network. A tail of very unlikely points, those below -5 nats (black), pulls the mean down further.
#
# Does it copy? Not point by point. Its samples lie about twice as near to the 40 points as fresh points do, and the picture shows where: along a thin chain from one point to the next. The black points lie beside this chain or in its gap. (The integral in the title is not quite 1, since these few steps are coarse for so sharp a density. This is worth about 0.2 nats, much less than the gap.)
#
# ## 9. Does it help for digits?
#
# The straight path is nicer to think about. Is it better? For that we need a fair race: the same network, the same number of training steps and the same data, once with v on the cosine schedule, as in notebook 04, and once with flow matching. `make train` ran it on the digits of notebook 03, <!--r:straight.recipe.steps|,-->1,200<!--/--> steps from each of three seeds, and on MNIST with a small U-Net, <!--r:straight_mnist.recipe.steps|,-->5,000<!--/--> steps once. On the digits flow matching took part twice.
# With **uniform** times every $s$ is as likely. With **logit-normal** times (Esser et al. 2024) $\log\frac{s}{1-s}$ is drawn from a normal distribution, so the middle of the way counts more, where the network has most to decide. Here this is done by weights of the loss, which in expectation is the same.
#
# The tables show the Frechet distance to real digits: lower is better. Behind the ± stands the spread over three trainings (digits) or over three seeds of sampling (MNIST). Heun asks once less than its columns say, 3, 7 and 19 times. All networks draw from the same starting noises, and the guess of $x_0$ is kept between -1 and 1 as in notebook 04. Where this changes the guess, the step no longer follows the network's velocity exactly. In the pictures below, each column starts from one noise. Will the three networks draw the same digit?
#
# If the flow wins, is it because its path is straight? By section 3 it cannot be: at the same ratios $r$ both paths have the same steps. Then it is the stops, or the training. To separate these, `draw_at` below lets a network also walk at the stops of the other path. (About 20 seconds, on MNIST. The flow is the network of the race. That with v is notebook 04's, as the one of the race was not kept.)
#
# <!--slide 3 min
# ## The same budget: v on a circle, or a straight line?
#
# Small digits, the same network and the same steps of training, three seeds each.
#
# Notes:
# Say: three ways to train one network. The Frechet distance is smaller for better sets; that of real digits stands above the table. The spreads are wide because one seed is worse in all rows. Seed by seed, as the notebook's second table compares, uniform times are a little worse than v with 4 evaluations and logit-normal times a little better; with 20 and 50 no such difference is left.
# Ask: when would you call one of them better? (When it is better seed by seed, at the same number of evaluations.)
# Say: Stable Diffusion 3 and Flux are trained by flow matching with logit-normal times and a shift; what counts there is that it is simple and walks well in few steps.
# -->

# %% tags=["hide-input", "slide-output"] slideshow={"slide_type": "-"}
saved, counts, rows = load_results("straight"), ("4", "8", "20", "50"), []
runs = [("v_cosine", "ddim", "v, cosine: DDIM"), ("flow", "euler", "flow, uniform: Euler")]
runs += [("flow_logit_normal", "euler", "flow, logit-normal: Euler")]
runs += [("flow", "shifted", "flow, uniform: Euler, shift 3")]
runs += [("flow", "midpoint", "flow, uniform: midpoint")]
runs += [("flow", "heun", "flow, uniform: Heun, one less"), ("v_cosine", "dpm", "v, cosine: DPM-Solver++")]
runs += [("flow", "dpm", "flow, uniform: DPM-Solver++")]
runs += [("flow_logit_normal", "dpm", "flow, logit-normal: DPM-Solver++")]
for variant, rule, name in runs:
    found = saved["variants"][variant]["rules"][rule]
    row = [found[n]["distance"] if n in found else None for n in counts]
    rows.append([name, *(f"{each['mean']:.1f} ± {each['std']:.1f}" if each else "" for each in row)])
floor = saved["floor"]
header = ["8x8 digits, three trainings", *(f"{n} evaluations" for n in counts)]
show.table(rows, header, f"Frechet distance, lower is better; real digits have {floor['mean']:.1f}")

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
def values(variant, rule, n):
    return torch.tensor(saved["variants"][variant]["rules"][rule][n]["distance"]["values"])


rows = []
for variant, rule, name in runs[1:3]:
    apart = [values(variant, rule, n) - values("v_cosine", "ddim", n) for n in counts]
    rows.append([name, *(f"{each.mean():+.1f} ± {each.std():.1f}" for each in apart)])
header = ["minus v, cosine: DDIM", *(f"{n} evaluations" for n in counts)]
show.table(rows, header, "The same, seed by seed: difference of the distances, mean and spread")
pictures, rows = load_images("straight"), {}
for variant, rule, name in runs[:3]:
    rows[name] = pictures[f"{variant} {rule} 8"][:12]
alt = "Three rows of small digits, drawn with 8 evaluations by three networks: nearly the same in each column"
show.rows(rows, alt, title="8 evaluations, the same training budget, one seed")

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
mnist, rows = load_results("straight_mnist"), []
for variant, rule, name in (run for run in runs if run[0] in mnist["variants"]):
    found = mnist["variants"][variant]["rules"][rule]
    row = [found[n]["distance"] if n in found else dict(mean=None, std=None) for n in counts]
    means = ["" if each["mean"] is None else f"{each['mean']:.1f}" for each in row]
    spreads = ["" if each["std"] is None else f" ± {each['std']:.1f}" for each in row]
    rows.append([name, *(mean + spread for mean, spread in zip(means, spreads, strict=True))])
floor = mnist["floor"]
header = ["MNIST, one training each", *(f"{n} evaluations" for n in counts)]
show.table(rows, header, f"Frechet distance, lower is better; real digits have {floor['mean']:.1f}")

# %% slideshow={"slide_type": "skip"}
def draw_at(stops, net, schedule, n=4):
    """Features of digits drawn in n Euler steps, at the ratios r that `stops` has at n even times."""
    s, there = (1 / (1 + each.snr.double().sqrt()) for each in (schedule, stops))  # s = r / (1 + r)
    even = [round(stops.T * (1 - i / n)) for i in range(n)]
    rule = Rule("other stops", lambda T: [(s - there[t]).abs().argmin().item() for t in even], euler(n).move)
    x = torch.randn(choose(500, 80), 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return features(last(reverse(net, schedule, rule, x_T=x, clip_x0=1.0)))


real, rows = features(data.mnist(train=False)[0][: choose(10_000, 100)]), []
racers = {"v, notebook 04": (digit_net, circle), "flow, the race": (load_model("mnist_flow"), path)}
for name, racer in show.progress(racers.items(), 2):
    found = [metrics.frechet_between(draw_at(stops, *racer), real) for stops in (circle, path)]
    rows.append([name, *(f"{each:.1f}" for each in found)])
header = ["MNIST, 4 evaluations", "stops of the circle", "stops of the line"]
show.table(rows, header, "Frechet distance of 500 digits, from the same noises")

# %% [markdown] slideshow={"slide_type": "slide"} exercise_text="9.10"
# On MNIST the flow looks much better, <!--r:straight_mnist.variants.flow.rules.euler.4.distance.mean|.1f-->36.5<!--/--> with Euler in 4 evaluations against <!--r:straight_mnist.variants.v_cosine.rules.ddim.4.distance.mean|.1f-->55.2<!--/--> with DDIM. Now look at the last table. Each row is one network, sampled at two sets of noise levels. Both networks have a smaller distance with the line's levels. So part of the difference comes from where a walk stops, and DDIM can stop there, too. How large a part? In the race itself the flow, made to stop where DDIM stops, has <!--r:flow_stops.evaluations.4.distance.mean|.1f-->43.1<!--/-->: about a third of the difference comes from the stops. The rest lies between two trainings, whose losses weigh the levels differently. With one training each we cannot say how much of that is chance. The shape of the path is not the cause: at equal $r$ both make the same steps. (Compare the rows of the last table with care. The network of notebook 04 is more than twice as large and was trained five times as long. And 500 digits have larger distances than 1,000.)
#
# On the small digits one of the three seeds is worse than the other two in all rows, so the spreads are wide. But all networks of a seed start from the same weights and meet the same draws, so we compare seed by seed, as the second table does. With 4 evaluations uniform times are a little worse than v on the circle, and logit-normal times a little better, in each seed. With 20 and 50 no such difference is left. What the straight path gives us is simplicity.
#
# **Which solver?** With 4 evaluations on the digits, two steps of midpoint have a distance of <!--r:straight.variants.flow.rules.midpoint.4.distance.mean|.1f-->7.2<!--/-->, and four steps of Euler with the same network <!--r:straight.variants.flow.rules.euler.4.distance.mean|.1f-->14.7<!--/-->. On the board Euler was ahead, so measure this on your own data. The shift of 3 is meant for large pictures. On the small digits it costs a lot in few steps, and nothing with 20. On MNIST it pays: <!--r:straight_mnist.variants.flow.rules.shifted.4.distance.mean|.1f-->23.6<!--/--> with 4 evaluations instead of <!--r:straight_mnist.variants.flow.rules.euler.4.distance.mean|.1f-->36.5<!--/-->. There, too, only the stops differ.
#
# Now look down the columns of the small pictures. Three networks, trained with three losses, draw nearly the same digits from the same noises. (In the fourth column the third one closes its lower loop.) Section 3 predicted this: in $y$ and $r$ all of them learn the same flow. They also share their first weights and their draws.
#
# **What production does.** Stable Diffusion 3 (Esser et al. 2024) is trained by flow matching with logit-normal times, on pictures that another network has compressed. Flux is of the same family. In a large picture many neighbouring pixels say the same thing, so the same $s$ hides less of it than of a small one. That is why such models *shift* their times towards the noise, with a shift of 3 at a megapixel.
#
# ## 10. Which line is wrong?
#
# Somebody computes the likelihood of numbers on a grid from $-2.5$ to $2.5$ with the exact velocity of section 1. The density should have the integral 1. One line is wrong.
#
# ### Exercise 9.10: a likelihood that does not add up
#
# Look at the lines, the picture and the numbers, and find it. Lines 3 to 7 are the body of the loop `for s, s_next in zip(times[:-1], times[1:])`. `velocity(x, s)` is the exact velocity, `velocity_and_divergence` returns it with its divergence, and `log_normal` is the logarithm of the density of pure noise. "Near data" are the places where the exact density is above 0.5, 0.53 to 0.87 on either side of 0.
#
# Difficulty: ●●●○○ · 10 minutes
#
# <details><summary>Hint</summary>
#
# Where does the walk begin and where does it end? Which of the numbers depend on the places alone, and which on what is added up?
#
# </details>
#
# <!--slide 3 min
# ## Find the wrong line: 9.10, ten minutes
#
# Notes:
# Say: eight lines walk numbers from the data to their noise and add up the divergence. One is wrong. What must the integral of a density be? Where should the walkers stand at the end?
# Live: everybody runs the cell with a seed of their own, `check.hunt("9.10", seed=7)`.
# Ask: which number told you most? (In a right program the walkers end with a spread of 0.99, 1.63 is added up near data, and the integral is 1.000. Line 1: spread **0.71**. Line 3: all numbers explode. Line 4: integral **1.114**. Line 5: spread **0.94**, integral 1.001. Line 6: spread **0.85**, integral 2.351. Line 7: added up **-1.63** with the wrong sign, or **0.02** if only the last step counts. Line 8: the walk is right, the integral is **4.837**.)
# Exercise: 10 minutes.
# -->

# %% exercise="9.10" kind="hunt" tags=["slide-output"] slideshow={"slide_type": "-"}
check.hunt("9.10")

# %% kind="answer" of="9.10" slideshow={"slide_type": "skip"}
line = 7  # TODO 9.10: the number of the wrong line
check.found("9.10", line)

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ## Looking inside
#
# ### Where does a shift put the steps?
#
# Ten steps on the straight path, with three shifts. The moment at which each step asks:

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
rows = [[f"shift {shift:g}", *(f"{t / T:.2f}" for t in euler(10, shift).levels(T))] for shift in (0.5, 1, 3)]
show.table(rows, ["", *(f"step {i}" for i in range(1, 11))], "s at each of ten steps")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - With ever smaller steps the chain becomes an SDE. The reverse SDE and the probability-flow ODE have the same distribution at every moment, on different paths.
# - Every denoiser of this course is a flow. v is the velocity along the circle, and DDIM is Euler's method for $y=x/\sqrt{\bar\alpha}$ along the noise-to-signal ratio $r$. At the same $r$ it makes the same steps as Euler on the straight path.
# - Flow matching asks for $\epsilon-x_0$ on straight lines. Trained on single pairs, the network learns their mean velocity, and this carries the whole crowd.
# - The lines of random pairs cross. Walkers that follow the mean velocity cannot cross, so their paths bend. Reflow trains on the pairs that a flow made, whose lines hardly cross, and then a single step draws both moons.
# - Second order pays when steps are small. With four evaluations midpoint paid on digits and not on the board.
# - The divergence, added up along the path, gives the likelihood, exact up to the steps of the walk. The gap between training points and fresh ones shows a network that clings to its training points.
#
# ### Self-check
#
# - [ ] I can say what the reverse SDE and the ODE share, and what they do not.
# - [ ] I can derive DDIM as an Euler step.
# - [ ] I can write the loss of flow matching from memory.
# - [ ] I can explain why straight pairs make a bent flow.
# - [ ] I can say which sign the divergence has in the likelihood, and why.
#
# <details><summary>Answers</summary>
#
# 1. The density at every moment. Not the paths: with kicks the start is forgotten, without them the end is a function of the start.
# 2. Put $y=x/\sqrt{\bar\alpha}$ and $r=\sqrt{1-\bar\alpha}/\sqrt{\bar\alpha}$ into the probability-flow ODE: the pull cancels and $dy/dr=\hat\epsilon$. Hold $\hat\epsilon$ during a step and multiply by the new $\sqrt{\bar\alpha}$.
# 3. Draw $x_0$, $\epsilon$ and $s$; the squared error of the network at $(1-s)x_0+s\epsilon$ against $\epsilon-x_0$.
# 4. Data and noise are joined at random, so lines cross. At a crossing the best answer is the mean, which none of the lines has.
# 5. From data to noise we *add* it. Where arrows spread, the crowd becomes thinner on its way to the noise, so it was denser at the start than at the end.
#
# </details>
#
# ### Further exercises
#
# | | exercise | difficulty | time |
# |---|---|---|---|
# | 1 | Draw the board with 4 and with 8 evaluations and a shift of 0.5. Why does it help here? | ●○○○○ | 5 min |
# | 2 | Compare the likelihood of fresh points under the flow before and after reflow. | ●●○○○ | 10 min |
# | 3 | What does the board's flow say of (0.25, 0.25), of (-0.25, 0.25), and of (3, 3), far from all data? | ●●○○○ | 10 min |
# | 4 | Replace the sum over coordinates in `divergence` by Hutchinson's estimate $z^\top(\partial u/\partial x)\,z$ with random signs $z$. How large is the scatter for a single point? | ●●●○○ | 30 min |
#
# <details><summary>Answers</summary>
#
# 1. With Euler and 2,000 points, in one run each, the share inside the squares rises from 0.59 to 0.82 at 4 evaluations, and from 0.85 to 0.92 at 8. A shift below 1 puts more of the steps near the data, where the edges of the board are decided. But count the points near the centre as well: with 4 evaluations $45\,\%$ of them lie where $|x|$ and $|y|$ are below one half, and only a quarter of the data does. A share inside the squares does not see this.
# 2. It falls a little, from 0.24 to 0.19 nats (1,000 fresh points, others than in section 8, where the first network has 0.27; one training each). The second network learns the first one's samples, with their errors, and has errors of its own.
# 3. With one training: the first lies in the middle of a square and has -0.80 nats, near $\log\tfrac12=-0.69$. The second lies in an empty square and has -7.6: about nine hundred times less likely. The third has -48. Such a number says "far from all data" and no more, since nothing was trained there.
# 4. In 50 steps with new signs at each, five points of the board scatter by 0.09 to 0.25 nats each, and the mean of 200 estimates is within 0.04 of the exact value. For a mean over thousands of pictures this is plenty.
#
# </details>
#
# ### References
#
# - Song et al. 2021, *Score-Based Generative Modeling through Stochastic Differential Equations*, [arXiv:2011.13456](https://arxiv.org/abs/2011.13456): eqs. 11 (the chain's SDE), 6 (the reverse SDE), 13 (probability flow), 39 (likelihood).
# - Anderson 1982, *Reverse-time diffusion equation models*, Stochastic Processes and their Applications 12: the reverse SDE.
# - Lipman et al. 2023, *Flow Matching for Generative Modeling*, [arXiv:2210.02747](https://arxiv.org/abs/2210.02747): theorems 1 and 2 (single pairs), example II (the straight path).
# - Liu, Gong & Liu 2023, *Flow Straight and Fast*, [arXiv:2209.03003](https://arxiv.org/abs/2209.03003): rectified flow, reflow, and the straightness $S$.
# - Albergo & Vanden-Eijnden 2023, *Building Normalizing Flows with Stochastic Interpolants*, [arXiv:2209.15571](https://arxiv.org/abs/2209.15571): the same idea, found independently.
# - Chen et al. 2018, *Neural Ordinary Differential Equations*, [arXiv:1806.07366](https://arxiv.org/abs/1806.07366): theorem 1 (the change of the density).
# - Grathwohl et al. 2019, *FFJORD*, [arXiv:1810.01367](https://arxiv.org/abs/1810.01367): Hutchinson's estimate of the divergence.
# - Karras et al. 2022, *Elucidating the Design Space of Diffusion-Based Generative Models*, [arXiv:2206.00364](https://arxiv.org/abs/2206.00364): eq. 6 (the family of ways back), algorithm 1 (Heun with a plain last step).
# - Esser et al. 2024, *Scaling Rectified Flow Transformers*, [arXiv:2403.03206](https://arxiv.org/abs/2403.03206): eq. 19 (logit-normal times), eq. 23 (the shift).
# - Holderrieth & Erives 2025, *An Introduction to Flow Matching and Diffusion Models*, [arXiv:2506.02070](https://arxiv.org/abs/2506.02070): lecture notes of MIT 6.S184.
#
# <!--slide 2 min
# ## What we learned, and what comes next
#
# - one density at every moment, many ways back: with kicks or without
# - v was a velocity, and DDIM Euler's method
# - flow matching: straight pairs, and the network learns their mean velocity
# - the flow's own pairs make it straight
# - the divergence gives likelihoods, and a gap on fresh points tells of copying
#
# > Why can a flow be walked in one step after reflow, and not before?
#
# **Next:** one step, for digits.
#
# Notes:
# Say: notebook 10 goes from fifty steps to one, on MNIST.
# Ask: why can a flow be walked in one step after reflow, and not before? (The lines of its pairs hardly cross any more, so the first arrow points nearly at the end.)
# Homework: Hutchinson's estimate, further exercise 4.
# -->

# %% slideshow={"slide_type": "skip"}
check.summary("09")
