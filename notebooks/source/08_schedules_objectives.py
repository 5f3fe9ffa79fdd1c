# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown] slideshow={"slide_type": "slide"}
# # 08 Schedules and objectives
#
# Most networks of this course worked with the cosine schedule, were asked for $v$, and weighted all levels alike. Each of these is a choice. Here you take them apart, measure what each is worth, and learn to read such measurements:
# how large a difference has to be before it means anything. At the end stands what came after, and what came before.
#
# **What you will be able to do**
#
# - say what an error of $\epsilon$, of $x_0$ or of $v$ means in another unit, and where a reading goes wrong;
# - say what a loss weights, level by level, and measure it;
# - build a schedule from the SNR you like, repair another, and write the min-SNR weights;
# - read an ablation table with its error bars, compare in pairs, and tell a difference from luck;
# - test three claims that are often repeated about diffusion models.
#
# **What to know** Notebooks 01 to 03 (schedules, the loss, $v$, Frechet distance and its floor), DDIM.
#
# **Time** About 125 minutes for a person, about half a minute for two CPU cores.
#
# <!--slide 2 min
# # 08 Schedules and objectives
#
# Which of our choices matter, and how large must a difference be before it means anything?
#
# Prediction, schedule, weights: take them apart, measure each.
#
# Notes:
# Say: most networks of this course used the cosine schedule, predicted v and weighted all levels alike. Each of these was a choice. Today we learn what each is worth, and to read such measurements.
# Ask: of prediction, schedule and weighting, which one do you expect to matter most? (Collect votes; the ablation gives the answer: the schedule.)
# Have run before class: the whole notebook once; it takes about half a minute on two cores, most of it the live training of section 5.
# -->

# %% tags=["setup"] slideshow={"slide_type": "skip"}
import sys
from pathlib import Path

sys.path.insert(0, str(next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "helpers").is_dir())))
import matplotlib.pyplot as plt
import numpy as np
import torch
from helpers import checkpoints, data, metrics, show
from helpers.exercises import check
from helpers.models import UNet
from helpers.modes import choose
from helpers.sampling import ddim, last, reverse
from helpers.schedule import Schedule, at, cosine, linear, sigmoid
from helpers.sliders import sliders
from helpers.training import Run, train

# %% [markdown] exercise_text="8.1" slideshow={"slide_type": "slide"}
# ## 1. Does it matter what the network is asked for?
#
# Noising mixes two things, $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$, and the network sees the mixture. If it names one part, the other follows. Notebook 03 asked for a third thing that names both,
# $v=\sqrt{\bar\alpha_t}\,\epsilon-\sqrt{1-\bar\alpha_t}\,x_0$. So there are three questions with the same content. You wrote the readings yourself, in 1.9, 3.7 and 4.3; here they stand side by side:
#
# | asked for | $x_0$ is | $\epsilon$ is |
# |---|---|---|
# | $\epsilon$ | $\big(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon\big)/\sqrt{\bar\alpha_t}$ | the output |
# | $x_0$ | the output | $\big(x_t-\sqrt{\bar\alpha_t}\,x_0\big)/\sqrt{1-\bar\alpha_t}$ |
# | $v$ | $\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,v$ | $\sqrt{\bar\alpha_t}\,v+\sqrt{1-\bar\alpha_t}\,x_t$ |
#
# Whoever samples may not care which was asked for. Whoever trains has to: the three losses weight the levels differently, and that is what this notebook is about.
#
# ### Exercise 8.1: a perfect answer in seven digits
#
# Suppose a network answers *perfectly*, and the computer rounds to seven digits, as float32 does. Each answer is read as in the table. Which reading comes out worst? On the cosine schedule the factor of the noise is $\sqrt{1-\bar\alpha_1}=0.0064$ at the lowest level, and that of the picture is $\sqrt{\bar\alpha_{1000}}=0.00005$ at the highest. Write down one letter:
#
# | | at level 1 | at level 1000 |
# |---|---|---|
# | $x_0$, read from a perfect $\epsilon$ | a | b |
# | $\epsilon$, read from a perfect $x_0$ | c | d |
# | either, read from a perfect $v$ | e | f |
#
# Difficulty: ●○○○○, 3 minutes
#
# <details>
# <summary>Hint</summary>
#
# A rounding error is tiny. It becomes large when it is divided by something small. Which reading divides by what?
#
# </details>
#
# <!--slide 4 min
# ## Three questions with the same content
#
# $$x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon, \qquad v=\sqrt{\bar\alpha_t}\,\epsilon-\sqrt{1-\bar\alpha_t}\,x_0$$
#
# | asked for | $x_0$ is | $\epsilon$ is |
# |---|---|---|
# | $\epsilon$ | $\big(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon\big)/\sqrt{\bar\alpha_t}$ | the output |
# | $x_0$ | the output | $\big(x_t-\sqrt{\bar\alpha_t}\,x_0\big)/\sqrt{1-\bar\alpha_t}$ |
# | $v$ | $\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,v$ | $\sqrt{\bar\alpha_t}\,v+\sqrt{1-\bar\alpha_t}\,x_t$ |
#
# **Your turn: 8.1, 3 minutes.** A perfect answer, rounded to seven digits: which reading comes out worst, and at which end?
#
# Notes:
# Say: the network sees the mixture. Naming one part names the other. Whoever samples may not care which was asked for; whoever trains has to.
# Ask: in which rows is something divided by a number that can be almost zero? (In the first, by the root of alpha_bar, at the top; in the second, by the root of 1 - alpha_bar, at the bottom. Never for v.)
# Give 3 minutes and collect the letters. Then run the cell below the exercise: x_0 from eps at level 1000 is worst, off by about 0.004.
# -->

# %% exercise="8.1" kind="predict" slideshow={"slide_type": "skip"}
# TODO 8.1: which reading of a perfect answer comes out worst? One letter of a to f
### BEGIN SOLUTION
guess = "b"
### END SOLUTION
check.predict("8.1", guess)

# %% slideshow={"slide_type": "skip"}
x, _ = data.digits()
held_out = torch.arange(len(x)) % 5 == 0
x_train, x_test = x[~held_out], x[held_out]  # 1,437 digits to train on, 360 held out, as in notebook 03
schedule, noise = cosine(T=1000), torch.randn(x_test.shape, generator=torch.Generator().manual_seed(0))
gaps = {}
for given in ("eps", "x0", "v"):
    for level in (1, 1000):
        t = torch.full((len(x_test),), level)
        x_t, answer = schedule.q_sample(x_test, t, noise), schedule.target(x_test, t, noise, given)
        eps, x0 = schedule.from_output(answer, x_t, t, given)
        gaps[given, level] = max((eps - noise).abs().max(), (x0 - x_test).abs().max())
        print(f"perfect {given:3s} at level {level:4d}: the reading is off by up to {gaps[given, level]:.0e}")
said = check.truth("8.1", dict(zip(gaps, "abcdef", strict=True))[max(gaps, key=gaps.get)])

# %% [markdown] exercise_text="8.2" slideshow={"slide_type": "slide"}
# *What to see.* The algebra is exact, the arithmetic is not. At the highest level a *perfect* $\epsilon$ gives an $x_0$ that is off in the third digit: a rounding error was divided by $\sqrt{\bar\alpha_t}$, which is almost 0 there. At the lowest level a perfect $x_0$ gives an $\epsilon$ that is worse than elsewhere, divided by $\sqrt{1-\bar\alpha_t}$. The reading of $v$ divides by nothing. A network's error is far larger than a rounding error, and is divided by the same numbers.
#
# ## 2. One error in three units
#
# Let the network be wrong by a little. What is a small error of $x_0$ worth as an error of $\epsilon$, or of $v$? The key is that $x_t$ is given. Truth and estimates both make it up, $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon=\sqrt{\bar\alpha_t}\,\hat x_0+\sqrt{1-\bar\alpha_t}\,\hat\epsilon$. Subtract the two, and write $\Delta$ for "estimate minus truth":
#
# $$\sqrt{\bar\alpha_t}\;\Delta x_0+\sqrt{1-\bar\alpha_t}\;\Delta\epsilon=0 .$$
#
# In words: whatever is wrong in one part is made up for in the other. For $v$, its definition says $\Delta v=\sqrt{\bar\alpha_t}\,\Delta\epsilon-\sqrt{1-\bar\alpha_t}\,\Delta x_0$. The signal-to-noise ratio is, as ever, $\mathrm{SNR}_t=\bar\alpha_t/(1-\bar\alpha_t)$.
#
# ### Exercise 8.2: change the unit of a loss
#
# A loss is a mean of squared errors, of $\epsilon$, of $x_0$ or of $v$. Find what a *squared* error of $x_0$ is as one of $\epsilon$ and as one of $v$, in terms of the SNR, and write the exchange. `loss` and `snr` have the same shape; `given` and `wanted` are "eps", "x0" or "v". Return the loss in the wanted unit.
#
# Difficulty: ●●○○○, 11 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# Solve the equation for $\Delta\epsilon$ and square. Then put it into $\Delta v$, use $\bar\alpha_t+(1-\bar\alpha_t)=1$, and square. In the code go through $x_0$: from the given unit to that of $x_0$, from there to the wanted one.
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# With $c=\sqrt{\bar\alpha_t}$ and $s=\sqrt{1-\bar\alpha_t}$: $\Delta\epsilon=-\frac cs\Delta x_0$ and $\Delta v=-\big(\frac{c^2}s+s\big)\Delta x_0$. Put the factor from $x_0$ to each unit into a dictionary, `{"x0": torch.ones_like(snr), "eps": ..., "v": ...}`. Multiply by the wanted one, divide by the given one.
#
# </details>
#
# <!--slide 3 min
# ## An error in one part is an error in the other
#
# $$\sqrt{\bar\alpha_t}\;\Delta x_0+\sqrt{1-\bar\alpha_t}\;\Delta\epsilon=0, \qquad \mathrm{SNR}_t=\frac{\bar\alpha_t}{1-\bar\alpha_t}$$
#
# - $x_t$ is given; truth and estimate both make it up
# - what is a squared error of $x_0$ as one of $\epsilon$? As one of $v$?
#
# **Your turn: 8.2, 11 minutes.** `in_unit(loss, given, wanted, snr)`
#
# Notes:
# Say: write truth and estimate for the same x_t and subtract: the two errors must cancel. The rest is yours.
# Ask: which of the two errors is the larger one at high noise? (That of x_0: there the picture has the small factor.)
# Give 11 minutes. Common mistakes: going from eps to v directly with SNR + 1; dividing where one multiplies; roots in place of squares.
# -->
#
# <!--slide 3 min
# ## One loss with the weights SNR, 1 and SNR + 1
#
# $$\lVert\Delta\epsilon\rVert^2=\mathrm{SNR}_t\,\lVert\Delta x_0\rVert^2,\qquad \lVert\Delta v\rVert^2=(\mathrm{SNR}_t+1)\,\lVert\Delta x_0\rVert^2$$
#
# Equally wrong at every level, 0.01 in its own unit. Above the dashed line you do better without a network.
#
# Notes:
# Say: all three losses are one loss with three weightings. Left, the error that arrives in x_0: that of an eps network grows without bound. Right, the mirror image. v never multiplies an error: both of its curves stay at or below 0.01.
# Ask: the loss of an eps network is smallest at the highest levels; is it best there? (No. Copying the input is already nearly right there. A small loss says that the question was easy.)
# Live: a second.
# -->

# %% exercise="8.2" slideshow={"slide_type": "skip"}
def in_unit(loss, given, wanted, snr):
    """A mean squared error of `given` as one of `wanted`; loss and snr have one shape."""
    # TODO 8.2: divide by the factor of the given unit, multiply by that of the wanted one
    ### BEGIN SOLUTION
    factor = {"x0": torch.ones_like(snr), "eps": snr, "v": snr + 1}
    return loss * factor[wanted] / factor[given]
    ### END SOLUTION


in_unit = check("8.2", in_unit)

# %% expected="8.2" tags=["slide-figure"] slideshow={"slide_type": "-"}
every_level, snr = torch.arange(1, 1001), schedule.snr[1:]  # at level 0, without noise, it is infinite
names = {"eps": r"$\epsilon$", "x0": r"$x_0$", "v": "$v$"}
colours = dict(zip(names, show.COLOURS, strict=False))
mean_guess = (x_train - x_train.mean(0)).square().mean()  # the error of answering the mean digit always
guesses = {"x0": (mean_guess, "guess the mean digit"), "eps": (1, "guess no noise")}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.6))
for ax, wanted, place in zip(axes, ("x0", "eps"), ("upper left", "upper right"), strict=True):
    for given, name in names.items():
        error = in_unit(torch.full_like(snr, 0.01), given, wanted, snr)
        ax.plot(every_level, error, color=colours[given], label=f"asked for {name}")
    ax.axhline(guesses[wanted][0], color="black", linestyle="--", label=guesses[wanted][1])
    ax.set(yscale="log", ylim=(1e-5, 1e5), xlabel="level t", title=f"error that arrives in {names[wanted]}")
    ax.legend(fontsize=9, loc=place)
show.figure(fig, "Each output wrong by a mean square of 0.01 at every level. Left: in x_0 the error of eps "
            "rises without bound towards T, the others stay. Right: in eps that of x_0 falls from far above.")

# %% [markdown] exercise_text="8.3" slideshow={"slide_type": "slide"}
# What you have found, written down:
#
# $$\lVert\epsilon-\hat\epsilon\rVert^2=\mathrm{SNR}_t\,\lVert x_0-\hat x_0\rVert^2,\qquad \lVert v-\hat v\rVert^2=(\mathrm{SNR}_t+1)\,\lVert x_0-\hat x_0\rVert^2 .$$
#
# Read it from the right: "the mean squared error of $\epsilon$" *is* the mean squared error of $x_0$, weighted with the SNR. All three losses are one loss with three weightings.
#
# <details>
# <summary>Where the factors come from</summary>
#
# Write $c=\sqrt{\bar\alpha_t}$ and $s=\sqrt{1-\bar\alpha_t}$. From $c\,\Delta x_0+s\,\Delta\epsilon=0$ follows
#
# $$\Delta\epsilon=-\frac cs\,\Delta x_0,\qquad \lVert\Delta\epsilon\rVert^2=\frac{c^2}{s^2}\lVert\Delta x_0\rVert^2=\mathrm{SNR}\,\lVert\Delta x_0\rVert^2 .$$
#
# For $v=c\,\epsilon-s\,x_0$, using $c^2+s^2=1$:
#
# $$\Delta v=c\,\Delta\epsilon-s\,\Delta x_0=-\Big(\frac{c^2}{s}+s\Big)\Delta x_0=-\frac1s\,\Delta x_0,\qquad \lVert\Delta v\rVert^2=\frac{1}{1-\bar\alpha_t}\lVert\Delta x_0\rVert^2=(\mathrm{SNR}+1)\,\lVert\Delta x_0\rVert^2 .$$
#
# </details>
#
# *What to see.* Each curve is a network that is equally wrong at all levels, a mean square of 0.01 in what it was asked for. Above the dashed line one would do better without a network.
#
# - **$\epsilon$ is a bad question near $t=T$**: left, its error arrives in $x_0$ divided by the SNR. There $x_t$ is nearly all noise, so naming the noise is easy, and being right to $1\,\%$ says nothing about the picture.
# - **$x_0$ is a bad question near $t=0$**: right, the mirror image. There $x_t$ is nearly the picture; an error that nobody would see is larger than all the noise that is there to be removed.
# - **$v$** never multiplies an error: both of its curves stay at or below 0.01.
#
# **Question** A network asked for $x_0$ has an error of 0.01 at level 1. Is that good?
#
# <details>
# <summary>Answer</summary>
#
# No. In units of $\epsilon$ it is 0.01 times the SNR, which is about 24,000 there: some 240, where somebody who guesses no noise at all has 1.
#
# </details>
#
# A loss says two things at once: how wrong, and how much that counts.
#
# ## 3. Which SNR gets how many levels?
#
# The other choice is where the levels lie. You know the **linear** and the **cosine** schedule. A third one, **sigmoid** (Jabri et al. 2022; Chen 2023), was proposed for larger pictures; there $\bar\alpha$ is a falling sigmoid, stretched so that it goes from 1 to 0, and `helpers` has it. But why choose from a list? What a network
# meets at a level is decided by the SNR alone, so let's say which SNR each level should have, and work out the schedule from that. The SNR runs over many powers of ten, so we say its natural logarithm.
#
# ### Exercise 8.3: a schedule with the SNR you like
#
# `log_snr` is (T,), $\ln\mathrm{SNR}_t$ for the levels 1 to $T$. Return $\bar\alpha_0,\dots,\bar\alpha_T$ as (T+1,). You know $\mathrm{SNR}=\bar\alpha/(1-\bar\alpha)$: solve for $\bar\alpha$. Level 0 is clean.
#
# Difficulty: ●●○○○, 6 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# Multiply by $1-\bar\alpha$ and collect what has $\bar\alpha$ in it. What is $\bar\alpha$ where there is no noise at all?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# $\bar\alpha\,(1+\mathrm{SNR})=\mathrm{SNR}$, and $\mathrm{SNR}$ is `log_snr.exp()`. `torch.cat` puts level 0 in front; make its 1 with `dtype=log_snr.dtype`.
#
# </details>
#
# <!--slide 6 min
# ## A schedule decides how many levels each SNR gets
#
# - **8.3** any schedule from its log SNR: $\mathrm{SNR}=\bar\alpha/(1-\bar\alpha)$, level 0 is clean
# - **8.4** a repair of any: shift and stretch the amplitude $\sqrt{\bar\alpha}$ so that the last level is 0 and level 1 stays
#
# **Your turn: 8.3 and 8.4, 13 minutes.** `alpha_bar_from(log_snr)`, `zero_terminal(alpha_bar)`
#
# Notes:
# Say: the linear schedule ends at an amplitude of 0.006, not at 0, so a trace of the picture is left where sampling starts from pure noise.
# Ask: how many straight lines take the last amplitude to 0 and leave that of level 1 where it is? (One: two conditions, a shift and a factor.)
# Give 6 and 7 minutes before showing the figure (it appears on a click). Common mistakes: level 0 left out; shifting alpha_bar instead of its root; stretching back to level 0 instead of level 1. Then write on the board: r' = (r - r_T) r_1 / (r_1 - r_T).
# Say: in the grey band, SNR 10 to 0.1, the digit comes out of the noise. Linear hurries through it and spends half of its levels below. The repair bends down only the end, from level 700 or so on. The straight line is the one of 8.3.
# Ask: levels are drawn evenly in training; so what else is a schedule? (A weighting: twice as many levels at some SNR is twice the weight there.)
# Live: in the notebook, "Try it" above this figure: move t and see one digit under all four schedules, with the SNR over each.
# -->

# %% exercise="8.3" slideshow={"slide_type": "skip"}
def alpha_bar_from(log_snr):
    """alpha_bar at t = 0 .. T, (T+1,), from the natural log of the SNR at t = 1 .. T, (T,)."""
    # TODO 8.3: solve SNR = alpha_bar / (1 - alpha_bar), level 0 in front
    ### BEGIN SOLUTION
    return torch.cat([torch.ones(1, dtype=log_snr.dtype), torch.sigmoid(log_snr)])
    ### END SOLUTION


alpha_bar_from = check("8.3", alpha_bar_from)

# %% [markdown] exercise_text="8.4" slideshow={"slide_type": "skip"}
# $\bar\alpha=\mathrm{SNR}/(1+\mathrm{SNR})$, and that is exactly the sigmoid of the log SNR. So a straight line of log SNR gives a sigmoid as $\bar\alpha$; you see it in the next figure, from $+10$ down to $-10$.
#
# **Zero terminal SNR** is not a schedule but a repair of any (Lin et al. 2023; notebook 01 used the finished function). The linear schedule ends at $\sqrt{\bar\alpha_T}=0.006$, not at 0: a trace of the picture is left where sampling starts from pure noise.
# The repair takes the *amplitude* $\sqrt{\bar\alpha_t}$ of the levels 1 to $T$, all with one straight line: one shift, the same for each, and one factor. Two conditions fix them:
#
# - at the last level the amplitude becomes 0;
# - at level 1 it stays what it was.
#
# Level 0 is the clean data before and after, so there $\bar\alpha_0=1$.
#
# ### Exercise 8.4: zero terminal SNR
#
# `alpha_bar` is (T+1,), from level 0 to level T; return the repaired one, (T+1,).
#
# Difficulty: ●●○○○, 7 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# Work on the square root, and square at the end. Which shift makes the last one 0? What has it done to level 1, and which factor makes that good?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# `root = alpha_bar.sqrt()`; `root - root[-1]` ends at 0, and level 1 has become `root[1] - root[-1]`: a factor takes it back to `root[1]`. At the end put the 1 of level 0 in front: `torch.cat([alpha_bar[:1], root[1:] ** 2])`.
#
# </details>

# %% exercise="8.4" slideshow={"slide_type": "skip"}
def zero_terminal(alpha_bar):
    """alpha_bar (T+1,) moved so that the last value is 0; those of levels 0 and 1 stay."""
    # TODO 8.4: shift and stretch the square root; level 0 stays as it is
    ### BEGIN SOLUTION
    root = alpha_bar.sqrt()
    root = (root - root[-1]) * root[1] / (root[1] - root[-1])
    return torch.cat([alpha_bar[:1], root[1:] ** 2])
    ### END SOLUTION


zero_terminal = check("8.4", zero_terminal)

# %% slideshow={"slide_type": "skip"}
def schedule_of(alpha_bar, name, largest_beta):
    """A Schedule with these alpha_bar (T+1,): beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}, cut from above."""
    betas = (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=largest_beta)
    return Schedule(torch.cat([torch.zeros(1), betas]), name)


schedules = {"linear": linear(), "cosine": cosine(), "sigmoid": sigmoid(),
             "ztsnr": schedule_of(zero_terminal(linear().alpha_bar), "linear, zero terminal SNR", 1.0)}
falling = torch.linspace(10, -10, 1000, dtype=torch.float64)  # 8.3: every power of ten alike
all_five = schedules | {"straight": schedule_of(alpha_bar_from(falling), "log SNR straight", 0.999)}
for name, s in all_five.items():
    share, below = ((s.snr > 0.1) & (s.snr < 10)).sum() / s.T, (s.snr <= 0.1).sum() / s.T
    print(f"{name:8s} ends at sqrt(alpha_bar) = {s.alpha_bar[-1].sqrt():.5f}; {share:.0%} of its "
          f"levels between SNR 10 and 0.1, {below:.0%} below")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ### Try it: one digit, four schedules (optional)
#
# First the pictures; the curves come after the sliders. One digit, the same noise, the same levels, four schedules. In which column does each row lose the digit? Sliders need a running kernel: move `t`, and compare
# the SNR over the columns with what you still recognise.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
def noise_digit(t=500, digit=4):
    """One held-out digit at level t of each schedule, with the same noise."""
    same, level = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([t])
    pictures = torch.cat([s.q_sample(x_test[[digit]], level, same) for s in schedules.values()])
    show.rows({f"t = {t}": pictures}, f"A digit at level {t}: {', '.join(schedules)}",
              labels=[f"{name}\nSNR {s.snr[t]:.2g}" for name, s in schedules.items()])


levels = torch.arange(50, 1000, 100)
same = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(1)).expand(len(levels), -1, -1, -1)
noised = {name: s.q_sample(x_test[4].expand_as(same), levels, same) for name, s in schedules.items()}
show.rows(noised, "One digit at ten levels, a row for each schedule: with linear and its repair it is lost "
          "in the noise some levels earlier than with cosine and sigmoid", [f"t = {t}" for t in levels])

# %% tags=["optional"] slideshow={"slide_type": "skip"}
sliders(noise_digit, t=(0, 1000), digit=(0, 9))

# %% tags=["slide-figure"] slideshow={"slide_type": "fragment"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.6))
for (name, s), colour in zip(all_five.items(), show.COLOURS, strict=False):
    line = {"ztsnr": "--", "straight": ":"}.get(name, "-")
    axes[0].plot(s.alpha_bar, line, color=colour, label=s.name)
    axes[1].plot(every_level, s.snr[1:].log10(), line, color=colour)
axes[1].axhspan(-1, 1, color="0.9")
axes[0].set(xlabel="level t", title=r"$\bar\alpha_t$: share of the data's variance")
axes[1].set(xlabel="level t", ylim=(-6, 4.5), title=r"$\log_{10}$ SNR")
axes[0].legend(fontsize=9)
show.figure(fig, "Two panels. Left, alpha_bar: linear and its repair fall early and lie flat near 0 from "
            "level 700; cosine, sigmoid and the straight log SNR fall through the middle, the last most "
            "steeply. Right, log SNR: one straight line; linear stops at -4.4, the others drop at the end.")

# %% [markdown] exercise_text="8.5" slideshow={"slide_type": "slide"}
# *What to see.* On the left the five curves all fall from 1 to 0 and look much alike. On the right the difference is plain: a schedule is a choice of **how many levels to spend at which SNR**. The grey band holds the SNR from 10 to 0.1, where the digit comes out of the noise. The linear schedule hurries through it and spends
# half of its levels below, where there is little to see. The dotted line is your 8.3: straight, so every power of ten gets equally many levels. The dashed line is your 8.4: with $r_t=\sqrt{\bar\alpha_t}$ its two conditions give
#
# $$r'_t=(r_t-r_T)\,\frac{r_1}{r_1-r_T},\qquad \bar\alpha'_t=r_t'^{\,2}\qquad(t=1,\dots,T) ,$$
#
# in words: shift down until the last is 0, stretch until the first is back. It bends only the levels from about 700 on, down to $-\infty$ at the last.
#
# As levels are drawn evenly in training, the schedule is also a *weighting*. Twice as many levels at some SNR is twice the weight there. So prediction, schedule and weights are three handles on one thing: how much the error of $x_0$ counts at each SNR.
#
# **Question** Why is "$\epsilon$ with zero terminal SNR" missing in the table below?
#
# <details>
# <summary>Answer</summary>
#
# At the last level $x_T$ *is* the noise. The network copies its input, its error is 0, and what we need, $x_0=(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon)/\sqrt{\bar\alpha_t}$, is $0/0$. The first step of sampling cannot be taken. Asked for $x_0$ there, the network answers the mean digit (asked for $v=-x_0$, its negative), which is the right thing to start with.
#
# </details>
#
# ## 4. Weights on purpose: min-SNR
#
# If the question fixes a weighting by accident, why not choose one? Hang et al. (2023) look at the error of $x_0$ and ask for the weight
#
# $$w^{x_0}_t=\min(\mathrm{SNR}_t,\ \gamma),\qquad \gamma=5 .$$
#
# In words: it grows with the SNR, like the $\epsilon$ loss, but not without bound. At low noise the last traces are removed, which costs capacity and is hardly visible. (Their argument: the levels are many tasks for one network, whose gradients pull in different directions; no task should drown the others.)
#
# A network that predicts $\epsilon$ or $v$ reports another loss, though, and that loss already contains a weight, by section 2. Which weight must *its* loss get, so that in the end an error of $x_0$ counts $\min(\mathrm{SNR}_t,\gamma)$?
#
# ### Exercise 8.5: the min-SNR weights
#
# `snr` is (T,), for the levels 1 to T (at level 0, which is never trained, it is infinite); `prediction` is "eps", "x0" or "v". Return the weights (T,). Your `in_unit` may help: a weight times a loss has to stay the same in every unit.
#
# Difficulty: ●●○○○, 5 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# Cut first, `snr.clamp(max=gamma)`. If the loss of a unit is larger than the error of $x_0$ by some factor, its weight has to be smaller by the same factor.
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# A weight changes its unit the other way round than a loss. `in_unit(loss, "x0", prediction, snr)` would multiply by the factor of the prediction; what divides by it?
#
# </details>
#
# The left panel of the next figure shows how much an error of $x_0$ counts under each loss. Uniform $\epsilon$ counts errors at an SNR of 1,000 a million times more than at 0.001; uniform $x_0$ counts all alike; $v$ takes the larger of the two. Min-SNR is $\epsilon$ with a lid. The right panel shows what the loss is multiplied by, on the cosine schedule.
#
# <!--slide 5 min
# ## Min-SNR: weigh like epsilon, but with a lid
#
# $$w^{x_0}_t=\min(\mathrm{SNR}_t,\ \gamma),\qquad \gamma = 5$$
#
# - one weighting of the error of $x_0$, to be written for a network that reports $\epsilon$ or $v$
# - at low noise the last traces cost capacity and are hardly visible
#
# **Your turn: 8.5, 5 minutes.** `min_snr_weights(snr, prediction, gamma=5.0)`
#
# Notes:
# Say: if the question fixes a weighting by accident, why not choose one on purpose? Hang et al. (2023): the levels are many tasks for one network, and none should drown the others.
# Ask: why is "eps with zero terminal SNR" not in the table to come? (At the last level x_t is the noise. The network copies its input, and x_0 is 0/0: the first step of sampling cannot be taken.)
# Give 5 minutes before showing the figure (it appears on a click). Common mistakes: dividing before cutting; forgetting the + 1 for v; multiplying where one divides.
# Then write on the board: for eps min(SNR, gamma) / SNR, for v min(SNR, gamma) / (SNR + 1). Say: left, how much an error of x_0 counts under each loss. Uniform eps counts errors at an SNR of 1,000 a million times more than at 0.001. v takes the larger of the other two. Min-SNR is the eps diagonal with a lid at 5. Right, what each loss is multiplied by on the cosine schedule.
# Ask also: what does min-SNR do to v at the last level of a schedule with zero terminal SNR? (The weight there is exactly 0, at the level where sampling starts. The network answers there only because it is smooth in t.)
# Live: a second.
# -->

# %% exercise="8.5" slideshow={"slide_type": "skip"}
def min_snr_weights(snr, prediction, gamma=5.0):
    """Weights (T,), levels 1 .. T, of the loss of `prediction`: min(SNR, gamma) on the error of x_0."""
    # TODO 8.5: cut the SNR, then change the unit
    ### BEGIN SOLUTION
    return in_unit(snr.clamp(max=gamma), prediction, "x0", snr)
    ### END SOLUTION


min_snr_weights = check("8.5", min_snr_weights)

# %% expected="8.5" tags=["slide-figure"] slideshow={"slide_type": "fragment"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.6))
range_of_snr = torch.logspace(-3, 3, 200)
for given, name in names.items():
    counts = in_unit(torch.ones(200), "x0", given, range_of_snr)
    axes[0].plot(range_of_snr, counts, color=colours[given], label=f"{name}, uniform")
    axes[1].plot(every_level, min_snr_weights(snr, given), color=colours[given], label=f"for {name}")
axes[0].plot(range_of_snr, range_of_snr.clamp(max=5), "k--", label="min-SNR-5, all three")
axes[0].set(xscale="log", yscale="log", xlabel="SNR", title="weight on the error of $x_0$")
axes[1].set(xlabel="level t", title="min-SNR-5 weights, cosine schedule")
for ax in axes:
    ax.legend(fontsize=9)
show.figure(fig, "Left: weight on the error of x_0 against the SNR, both logarithmic. eps is a diagonal, "
            "x_0 flat, v follows the larger of both, min-SNR is the diagonal with a lid at 5. Right: "
            "the weights by level: for x_0 5 falling to 0, for eps rising to 1, for v a hump below 1.")

# %% [markdown] exercise_text="8.6" slideshow={"slide_type": "slide"}
# The two other weights, then, are the first one divided by the factors of section 2:
#
# $$w^{\epsilon}_t=\frac{\min(\mathrm{SNR}_t,\gamma)}{\mathrm{SNR}_t},\qquad w^{v}_t=\frac{\min(\mathrm{SNR}_t,\gamma)}{\mathrm{SNR}_t+1} .$$
#
# In words: for $\epsilon$ the weight is 1 wherever the SNR is below $\gamma$ and gets small towards low noise; for $v$ it gets small at both ends.
#
# ## 5. Where the loss really is
#
# So far the errors were assumed. How large are they for a real network? Notebook 02 found on points that noise is not equally hard to predict at all levels. By how much on pictures? Write it down first.
#
# ### Exercise 8.6: the loss of noise, by level
#
# A small network is asked for $\epsilon$ on the linear schedule, as in the first papers. Sketch its mean squared error of $\epsilon$ at the levels 25, 275, 525, 775 and 975 of 1,000: five numbers on a logarithmic axis, so powers of ten are what counts. (Somebody who always answers "no noise at all" has an error of 1.) Your sketch is drawn into the next figure.
#
# Difficulty: ●●○○○, 3 minutes
#
# <details>
# <summary>Hint</summary>
#
# At level 975 nearly all of $x_t$ is noise: how wrong is somebody who copies the input? At level 25 there is a little noise in a clear picture: how well could you tell what it is, pixel by pixel?
#
# </details>
#
# <!--slide 5 min
# ## Is noise prediction equally hard at all levels?
#
# **Your turn: 8.6, 3 minutes.** Sketch the loss of an $\epsilon$ network at levels 25, 275, 525, 775, 975, powers of ten
#
# **Your turn: 8.7, 8 minutes.** `loss_by_level(losses, t, T, bins)`: the mean loss in each bin
#
# Notes:
# Collect two or three sketches on the board first: flat, rising, falling. Then 8 minutes for 8.7, before showing the figure (it appears on a click). Common mistakes: a division by an empty bin; bins from the observed levels instead of from 1 to T; t for t - 1, so that level T falls behind the last bin.
# Have run before class: the live training of two small networks, 300 steps each, about half a minute.
# Say: left, in its own unit the loss of eps falls by a factor of about a hundred over the levels. v is more even, not flat. Right, the same losses as errors of x_0: the small loss of eps at the top stands for an error far above 1.
# Ask: what error in x_0 does answering with the mean digit have? (About 0.3, the dashed line of section 2. Whoever is above it would do better without a network.)
# -->

# %% exercise="8.6" kind="predict" slideshow={"slide_type": "skip"}
# TODO 8.6: the mean squared error of eps at levels 25, 275, 525, 775, 975
### BEGIN SOLUTION
guess = 0.5, 0.1, 0.03, 0.005, 0.002
### END SOLUTION
check.predict("8.6", guess)

# %% [markdown] exercise_text="8.7" slideshow={"slide_type": "skip"}
# Now measure. A training step hands out its losses (B,) and levels (B,): `step.losses`, `step.t`. Sorted into bins of levels they say what the network is good at.
#
# ### Exercise 8.7: the loss level by level
#
# `losses` (N,), `t` (N,) whole numbers from 1 to T, any number of examples in any order. Return the mean loss in each of `bins` equal parts of the levels, (bins,); 0 where no example fell. $T$ need not be a multiple of `bins`: level $t$ begins at the share $(t-1)/T$ of the way, and that decides its bin.
#
# Difficulty: ●●○○○, 8 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# Which bin does level $t$ belong to? With $T=1000$ and 20 bins, levels 1 to 50 are bin 0, and 951 to 1000 are bin 19. Then a sum and a count for every bin.
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# `k = (t - 1) * bins // T`. Sums: `torch.zeros(bins).index_add(0, k, losses)`. Counts: `torch.bincount(k, minlength=bins)`, at least 1 before you divide.
#
# </details>

# %% exercise="8.7" slideshow={"slide_type": "skip"}
def loss_by_level(losses, t, T, bins):
    """Mean of the losses (N,) at levels t (N,) in `bins` equal parts of 1 .. T, (bins,); 0 if empty."""
    # TODO 8.7: number of the bin, sums, counts
    ### BEGIN SOLUTION
    k = (t - 1) * bins // T
    sums = torch.zeros(bins).index_add(0, k, losses)
    return sums / torch.bincount(k, minlength=bins).clamp(min=1)
    ### END SOLUTION


loss_by_level = check("8.7", loss_by_level)

# %% slideshow={"slide_type": "skip"}
# Live: what the first papers did, and what this course does. A small U-Net, a short training, one seed.
steps = choose(read=300, smoke=4)
settings = {"eps, linear": ("eps", linear()), "v, cosine": ("v", cosine())}
live = {}
for name, (prediction, chosen) in settings.items():
    torch.manual_seed(0)
    run = Run(UNet(channels=(16, 32), prediction=prediction), lr=2e-3, seed=0)
    walk = list(show.progress(train(run, chosen, x_train, steps, batch_size=64), total=steps, label=name))
    late = walk[steps // 2 :]
    losses, levels = torch.cat([step.losses for step in late]), torch.cat([step.t for step in late])
    live[name] = dict(model=run.ema.model, losses=losses, t=levels)
    bins = loss_by_level(losses, levels, 1000, 20)
    print(f"{name:12s} mean loss in the second half {losses.mean():.3f}, largest bin over "
          f"smallest {bins.max() / bins[bins > 0].min():.0f}")

# %% tags=["slide-figure"] slideshow={"slide_type": "fragment"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.4))
middle = np.arange(25.5, 1000, 50)  # levels 1 to 50, 51 to 100, and so on
for (name, (prediction, chosen)), colour in zip(settings.items(), show.COLOURS, strict=False):
    losses, t = live[name]["losses"], live[name]["t"]
    clean = in_unit(losses, prediction, "x0", chosen.snr[t])
    axes[0].plot(middle, loss_by_level(losses, t, 1000, 20), "o-", color=colour, label=name)
    axes[1].plot(middle, loss_by_level(clean, t, 1000, 20), "o-", color=colour, label=name)
if sketch := check.written("8.6"):
    axes[0].plot([25, 275, 525, 775, 975], sketch, "s--", color=show.COLOURS[3], label="your sketch")
axes[0].set(xlabel="level t", yscale="log", title="in the unit asked for")
axes[1].set(xlabel="level t", yscale="log", title="as an error of $x_0$")
axes[0].legend()
show.figure(fig, "Live loss in 20 bins of levels, logarithmic. Left: that of eps falls far, that of v much "
            "less. Right: as errors of x_0 both rise, that of eps far above 1.")

# %% slideshow={"slide_type": "skip"}
shipped = checkpoints.load_results("objectives")
by_level = shipped["settings"]["eps_linear_uniform"]["levels"]["eps"]  # 600 steps, held-out digits
said = check.truth("8.6", [by_level[k] for k in (0, 5, 10, 15, 19)])

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* Left, the claim "noise prediction is equally hard at all levels": it is not, the bins differ by far more than a factor of ten (printed above). $v$ is more even, not flat either. Right, the same losses as errors of $x_0$: both networks know the picture at low noise and lose it as the noise grows, as anyone would; but the small loss of $\epsilon$ at the highest levels stands for an error in $x_0$ that is far larger than answering with the mean digit would make (the dashed line of section 2, about 0.3).
#
# Training losses come from few examples. The next figure measures properly: the 360 held-out digits, averaged weights, three seeds, cosine schedule and uniform weights, each network judged in *all three* units. These networks, and all below, were trained beforehand by `make train`: a small U-Net of
# <!--r:objectives.recipe.parameters|,-->159,265<!--/--> parameters, <!--r:objectives.recipe.steps|,-->600<!--/--> steps of batch 64.
#
# <!--slide 3 min
# ## Between the ends all three know the same
#
# Held-out digits, three seeds, each network judged in all three units
#
# Notes:
# Say: the same cosine schedule and uniform weights; the three curves lie on each other in every panel. They part where section 2 said: the network asked for eps fails in x_0 at the top, the one asked for x_0 fails in eps at the bottom. The loss of eps falls from <!--r:objectives.settings.eps_cosine_uniform.levels.eps.0|.2f-->0.63<!--/--> to <!--r:objectives.settings.eps_cosine_uniform.levels.eps.19|.4f-->0.0047<!--/--> over the levels; v stays within a factor of three.
# Ask: which level is the hardest? (It depends on the unit: in eps the lowest, in x_0 the highest.)
# Live: nothing to train, stored results.
# -->

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3.6))
for ax, unit in zip(axes, names, strict=True):
    for given, name in names.items():
        by_level = shipped["settings"][f"{given}_cosine_uniform"]["levels"][unit]
        ax.plot(middle, by_level, "o-", markersize=3, color=colours[given], label=f"asked for {name}")
    ax.set(yscale="log", ylim=(1e-3, 1e2), xlabel="level t", title=f"error in {names[unit]}")
axes[2].legend(fontsize=9)
for given in names:
    own = shipped["settings"][f"{given}_cosine_uniform"]["levels"][given]
    print(f"asked for {given:3s}: own loss, worst bin over best: {max(own) / min(own):,.0f}")
show.figure(fig, "Held-out error by level of three networks, in eps, x_0 and v. The network asked for x_0 "
            "is worst at low levels in eps; the one asked for eps is far worse than the others at the"
            " highest levels in x_0.")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* Two things. First the claim, on digits the network has not seen: the loss of $\epsilon$ falls from <!--r:objectives.settings.eps_cosine_uniform.levels.eps.0|.2f-->0.63<!--/--> in the lowest bin to <!--r:objectives.settings.eps_cosine_uniform.levels.eps.19|.4f-->0.0047<!--/--> in the highest. Difficulty is not the same at all levels, and which level is the hard one depends on the unit: in $x_0$ it is the highest. $v$, which stays within a factor of three, comes closest to the claim.
#
# Second, between the ends the three curves lie on top of each other, in every panel. Whatever the network is asked, it *knows* the same. The questions differ just where section 2 said: the network asked for $\epsilon$ fails in $x_0$ at the highest levels, where the clamp to $[-1,1]$ still leaves an error of <!--r:objectives.settings.eps_cosine_uniform.levels.clipped.19|.2f-->0.94<!--/-->
# ($v$: <!--r:objectives.settings.v_cosine_uniform.levels.clipped.19|.2f-->0.30<!--/-->); the one asked for $x_0$ has in the lowest bin an error in $\epsilon$ of <!--r:objectives.settings.x0_cosine_uniform.levels.eps.0|.1f-->8.0<!--/--> ($v$: <!--r:objectives.settings.v_cosine_uniform.levels.eps.0|.2f-->0.63<!--/-->), worse than assuming no noise at all.
#
# ## 6. One controlled ablation
#
# Three predictions, four schedules, two weightings: <!--r:objectives.recipe.steps|,-->600<!--/--> steps each, the same network, batch size and learning rate, three seeds. A seed fixes the first weights, the batches and the noise that samples start from, and is the same in every row, so rows can be compared seed by seed.
# The weights are scaled to mean 1 over the levels 1 to $T$, so that a row does not simply train with larger steps. Scores of 1,000 samples, <!--r:objectives.recipe.draw_steps|d-->20<!--/--> DDIM steps, $\hat x_0$ kept in $[-1,1]$: Frechet distance and confident share as in notebook 03. Each is a mean $\pm$ the standard deviation over seeds.
#
# The budget is small, on purpose: it shows who learns *fast*. The last column leaves out the clamp of $\hat x_0$ (seed 0 only).
#
# <!--slide 3 min
# ## Twenty-two settings, three seeds: most bars overlap
#
# Filled: uniform weights; open: min-SNR-5; bars: spread over three seeds; dashed: real digits
#
# Notes:
# Say: three predictions, four schedules (ztsnr is linear with zero terminal SNR), two weightings; <!--r:objectives.recipe.steps|,-->600<!--/--> steps each, everything else equal, rows share their seeds. Open circles are min-SNR. Bars are standard deviations over seeds; the dashed line is the distance of real digits.
# Ask: which differences do you believe? (Linear against cosine for one prediction. Many others are within the bars; the next slide says how to decide.)
# Live: nothing to train. The cell above prints the table, best row first.
# -->

# %% slideshow={"slide_type": "skip"}
def pm(found, form):
    """mean ± standard deviation, as text."""
    if found["mean"] is None:
        return "broke down"
    return f"{found['mean']:{form}} ± " + ("?" if found["std"] is None else f"{found['std']:{form}}")


rows = shipped["settings"]
print(f"{'prediction schedule weighting':30s} Frechet distance    confident        unclipped")
for key in sorted(rows, key=lambda key: rows[key]["frechet"]["mean"]):
    row, free = rows[key], rows[key]["unclipped"]["confident"]["mean"]
    free = "broken" if free is None else f"{free:.1%}"
    print(f"{key.replace('_', ' ', 2):30s} {pm(row['frechet'], '6.1f'):>15s} "
          f"{pm(row['confident'], '6.1%'):>18s} {free:>12s}")
floor = shipped["floors"]
print(f"{'real digits':30s} {pm(floor['frechet'], '6.1f'):>15s} {floor['confident']:9.1%}")

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 4.0))
for key, row in rows.items():
    given, chosen, weighting = key.split("_", 2)
    place = list(schedules).index(chosen) + 0.22 * (list(names).index(given) - 1)
    shift, fill = (-0.05, None) if weighting == "uniform" else (0.05, "white")
    for ax, score in zip(axes, ("frechet", "confident"), strict=True):
        look = dict(fmt="o", capsize=3, color=colours[given], mfc=fill)
        ax.errorbar(place + shift, row[score]["mean"], row[score]["std"], **look)
plt.setp(axes, xticks=range(4), xticklabels=list(schedules))
axes[0].axhline(floor["frechet"]["mean"], color="black", linestyle="--", linewidth=1)
axes[0].set(ylim=(0, None), title="Frechet distance"), axes[1].set(title="confident share")
dots = [plt.Line2D([], [], marker="o", linestyle="", color=colours[given]) for given in names]
axes[1].legend(dots, list(names.values()), fontsize=9)
show.figure(fig, "Frechet distance and confident share of the 22 settings by schedule, a colour for each "
            "prediction, open: min-SNR-5; error bars over the seeds; dashed, the distance of real digits.")

# %% [markdown] exercise_text="8.8" slideshow={"slide_type": "slide"}
# ### How large must a difference be?
#
# Before reading on: what would we see if nothing mattered? Two things vary by chance. The **training**: the same setting from another seed. The **sampling**: one and the same network, sampled anew with other noise. And the **floor** itself varies.
#
# If single trainings scatter with standard deviation $s$, a mean over $n$ seeds scatters with $s/\sqrt n$, and the difference of two such means, from *independent* trainings, with $s\sqrt{2/n}$. Twice that is a fair threshold: smaller differences prove nothing. From three seeds $s$ itself is poorly known, and from one not at all; so take it from all 22 rows together, or from the base setting ($v$, cosine, uniform) where that one scatters more.
# And keep count: a comparison exceeds the threshold by chance about one time in twenty, so among forty comparisons expect two.
#
# Here we can do better, since the trainings are not independent. Rows with one seed share first weights, batches and starting noise: some seeds are lucky in every row. What the rows share drops out of their difference, if the difference is taken seed by seed.
#
# ### Exercise 8.8: a gain, in pairs
#
# `before` and `after` are scores (pairs, seeds): in each pair one thing is changed, and column $i$ is seed $i$ in both. Return the mean gain, after minus before, and its standard error *over seeds*. The pairs of one seed share its luck, so a seed counts as one measurement: the mean over its pairs.
#
# Difficulty: ●●○○○, 9 minutes
#
# <details>
# <summary>Hint 1 (a nudge)</summary>
#
# First the differences, then one number for each seed, then mean and scatter of these few numbers. How does the mean of $n$ numbers scatter, if one scatters with $s$?
#
# </details>
# <details>
# <summary>Hint 2 (almost there)</summary>
#
# `gains = (after - before).mean(0)` has one entry for each seed. The standard error is their standard deviation (`.std()`, which divides by $n-1$) over $\sqrt n$.
#
# </details>
#
# <!--slide 5 min
# ## Believe a difference when seeds alone cannot make it
#
# $$\text{threshold} = 2\,s\,\sqrt{\tfrac{2}{n}} \qquad (s: \text{standard deviation of single trainings},\ n \text{ seeds})$$
#
# - one comparison in twenty passes by chance: count your comparisons
# - rows with one seed share first weights, batches and noise
#
# **Your turn: 8.8, 9 minutes.** `paired_gain(before, after)`: the mean gain and its error, seed by seed
#
# **Your turn: 8.9, 6 minutes.** Make one seed say the opposite.
#
# Notes:
# Say: a mean over n seeds scatters by s over root n, a difference of two independent means by root two more. Twice that is a fair threshold. From three seeds s itself is poorly known, so we take it from all rows together. In the output "entropy" is the effective number of classes, ten at most.
# Ask: one training of each of two settings: how large must the difference be? (2 s root 2, nearly three standard deviations. That is why a single training each shows little.)
# Common mistakes in 8.8: every pair counted as a training of its own; the error of two independent groups, which still contains what the seeds share.
# Live: both cells, a second. First the scatter of the base setting over seeds, of one network over draws, and the threshold; then, on a click, the effects, each averaged over all pairs of rows that differ in one thing.
# -->

# %% exercise="8.8" slideshow={"slide_type": "skip"}
def paired_gain(before, after):
    """Mean gain and its standard error over seeds, from scores (pairs, seeds) before and after a change."""
    # TODO 8.8: differences, one number a seed, then mean and standard error
    ### BEGIN SOLUTION
    gains = (after - before).mean(0)  # a seed is one training of each row: mean over the pairs first
    return gains.mean(), gains.std() / len(gains) ** 0.5
    ### END SOLUTION


paired_gain = check("8.8", paired_gain)

# %% tags=["slide-output"] slideshow={"slide_type": "-"}
knobs = checkpoints.load_results("knobs")
trained, drawn, seeds = knobs["base_seeds"], knobs["base_draws"], knobs["recipe"]["seeds"]


def threshold(score, n):
    """Twice the standard deviation of the difference of two means over n seeds each."""
    of_rows = np.sqrt(np.mean([row[score]["std"] ** 2 for row in rows.values()]))
    return 2 * max(of_rows, trained[score]["std"] or 0) * np.sqrt(2 / n)


for score, form in (("frechet", ".2f"), ("confident", ".1%"), ("entropy", ".2f")):
    print(f"{score:9s} base, {len(trained[score]['values'])} seeds {pm(trained[score], form):>13s}   "
          f"one network, {len(drawn[score]['values'])} draws {pm(drawn[score], form):>13s}   "
          f"threshold, 3 seeds {threshold(score, 3):{form}}")

# %% tags=["slide-output"] slideshow={"slide_type": "fragment"}
def paired(change, score):
    """Scores before and after, (pairs, seeds) each, of all pairs of rows that differ in this one thing."""
    pairs = [(key, key.replace(*change)) for key in rows if change[0] in key and key.replace(*change) in rows]
    return [torch.tensor([rows[key][score]["values"] for key in keys]) for keys in zip(*pairs, strict=True)]


changes = [("linear", "cosine"), ("cosine", "sigmoid"), ("linear", "ztsnr"), ("uniform", "min_snr")]
changes += [("eps_", "v_"), ("x0_", "v_")]
for one, other in changes:
    before, after = paired((one, other), "frechet")
    (gap, error), (more, by) = paired_gain(before, after), paired_gain(*paired((one, other), "confident"))
    less = (after.mean(1) < before.mean(1)).sum()
    print(f"{one.strip('_'):>7s} to {other.strip('_'):7s} Frechet distance {gap:+5.1f} ± {error:3.1f} "
          f"(less in {less:2d} of {len(before):2d} pairs), confident {more:+6.1%} ± {by:.1%}")

# %% slideshow={"slide_type": "skip"}
worst = np.argmax([row["frechet"]["values"] for row in rows.values()], axis=1)
print("how often each seed is the worst of its row:", np.bincount(worst).tolist())
distances = {key: row["frechet"]["values"] for key, row in rows.items()}  # of the three seeds

# %% [markdown] exercise_text="8.9" slideshow={"slide_type": "skip"}
# In the last of the six paired comparisons $v$ is ahead of $x_0$: its distance is smaller by 1.2 on average. Now suppose you had trained only once. What could you have written?
#
# ### Exercise 8.9: one seed can say anything
#
# `headline` below takes one seed and one pair of rows that differ in the prediction only, and returns by how much the distance of $v$ is smaller. As it is given, $v$ wins. Change one thing, the seed or the rest of the rows' names, so that the very same table "shows" $x_0$ ahead, by at least 0.5 (other rows of seed 0 will not do it). Then say what would have protected a reader from this headline:
#
# - **a** more samples drawn from each of the two networks
# - **b** the same seeds in every row, and all of them reported
# - **c** a larger network
#
# Difficulty: ●●○○○, 6 minutes
#
# <details>
# <summary>Hint</summary>
#
# `distances` holds three numbers for each row; print those of the two. Seeds are 0, 1 and 2.
#
# </details>

# %% exercise="8.9" kind="break" slideshow={"slide_type": "skip"}
def headline(distances):
    """By how much the distance of v is smaller than that of x_0, in one training of each."""
    # TODO 8.9: change one thing, so that x_0 is ahead
    ### BEGIN SOLUTION
    # given: pick, rest = 0, "cosine_min_snr"
    pick, rest = 1, "cosine_min_snr"
    ### END SOLUTION
    return distances[f"x0_{rest}"][pick] - distances[f"v_{rest}"][pick]


why = "b"  # "a", "b" or "c"
headline = check.changed("8.9", headline, why)

# %% slideshow={"slide_type": "skip"}
gap = headline(distances)
gain, error = paired_gain(*paired(("x0_", "v_"), "frechet"))
print(f"One training each: {'v' if gap > 0 else 'x_0'} is better by {abs(gap):.1f}!")
print(f"All eight pairs, three seeds: from x_0 to v the distance changes by {gain:+.1f} ± {error:.1f}.")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* The effects, largest first. Each is averaged over all pairs of rows that differ in this one thing; $\pm$ is its standard error over the seeds, by your `paired_gain`.
#
# 1. **Schedule.** Cosine is ahead of linear in every pair and with every seed. Cosine and sigmoid have the same distance, and in the confident share sigmoid is ahead by half a per cent, shown in pairs but too little to matter, as their curves suggested. The zero-terminal repair changes next to nothing here: the linear schedule with $T=1000$ already ends at 0.006, and these digits do not mind. (With the short chains of notebook 01, or for pictures that should be very dark or very bright, it does matter.)
# 2. **Weighting.** Min-SNR has the smaller mean distance in all eleven pairs, and the larger confident share. In four pairs taken singly ($\epsilon$ with linear or sigmoid, $v$ with cosine or sigmoid) the gain in distance is below the threshold; it is the eleven pairs together that show it. What has moved? Weight: for $\epsilon$ away from the lowest levels, for $x_0$ from the highest, for $v$ from both. The errors there grow (for $v$ in the highest bin <!--r:objectives.settings.v_cosine_min_snr.levels.x0.19|.2f-->0.38<!--/--> in $x_0$
# instead of <!--r:objectives.settings.v_cosine_uniform.levels.x0.19|.2f-->0.30<!--/-->), those in between shrink a little. That the distance falls *because* of this is plausible, but this table does not prove it.
# 3. **Prediction.** With the clamp, there is no order that holds throughout: $\epsilon$ has the smaller distance with the linear schedule, $v$ with cosine under uniform weights, and most of these differences are below the threshold. $v$ against $x_0$: some more confident samples with every seed, the distance not clearly better.
#
# It is the *last column* of the table that tells the predictions apart: without the clamp $\epsilon$ with cosine falls to <!--r:objectives.settings.eps_cosine_uniform.unclipped.confident.mean|.0%-->20%<!--/--> confident, $v$ stays at <!--r:objectives.settings.v_cosine_uniform.unclipped.confident.mean|.0%-->72%<!--/-->. The clamp repairs in sampling what the question left open. With the linear schedule, which never gets as close to pure noise, $\epsilon$ loses far less.
#
# Note what moves *together* (the line "how often each seed is the worst"): one seed is the worst in most rows, because all rows share its first weights, batches and starting noise. The plain error bars contain this shift, the paired differences do not; that is why a paired difference can be trusted where the bars overlap.
#
# And a caution: this is one small network, one data set, one short budget, one sampler. With fresh noise at each step ($\eta=1$, seed 0) the base gets <!--r:objectives.settings.v_cosine_uniform.stochastic.frechet.mean|.1f-->8.4<!--/--> instead of <!--r:objectives.settings.v_cosine_uniform.frechet.values.0|.1f-->11.6<!--/-->, and $\epsilon$ with cosine <!--r:objectives.settings.eps_cosine_uniform.stochastic.frechet.mean|.1f-->6.5<!--/--> instead of <!--r:objectives.settings.eps_cosine_uniform.frechet.values.0|.1f-->10.7<!--/-->,
# ahead of $v$. A choice that is not in the table can move the numbers as much as those that are.
#
# ### And live?
#
# The two networks trained in section 5, one seed each, at half the budget of the table: what do they show?
#
# <!--slide 4 min
# ## Schedule first, then weighting, then prediction
#
# - **schedule:** cosine beats linear in every pair, with every seed; cosine and sigmoid cannot be told apart
# - **weighting:** min-SNR has the smaller distance in all eleven pairs
# - **prediction:** no order that holds throughout, with the clamp
#
# <table>
# <tr><th>confident samples, cosine, uniform</th><th>with the clamp</th><th>without (one seed)</th></tr>
# <tr><td>$\epsilon$</td><td><!--r:objectives.settings.eps_cosine_uniform.confident.mean|.0%-->72%<!--/--></td><td><!--r:objectives.settings.eps_cosine_uniform.unclipped.confident.mean|.0%-->20%<!--/--></td></tr>
# <tr><td>$x_0$</td><td><!--r:objectives.settings.x0_cosine_uniform.confident.mean|.0%-->71%<!--/--></td><td><!--r:objectives.settings.x0_cosine_uniform.unclipped.confident.mean|.0%-->70%<!--/--></td></tr>
# <tr><td>$v$</td><td><!--r:objectives.settings.v_cosine_uniform.confident.mean|.0%-->74%<!--/--></td><td><!--r:objectives.settings.v_cosine_uniform.unclipped.confident.mean|.0%-->72%<!--/--></td></tr>
# </table>
#
# Notes:
# Say: the clamp repairs in sampling what the question left open; without it the predictions part. One seed is the worst in most rows, since all rows share its first weights, batches and starting noise: paired differences remove that.
# Ask: does this say that cosine is better than linear? (Here, yes: one small network, one data set, one short budget, one sampler. Change the sampler, and the order of the predictions changes: with fresh noise at each step eps with cosine gets ahead of v.)
# Live: the cell after it scores the two networks trained in class; one training each, so only a large difference counts.
# -->

# %% slideshow={"slide_type": "skip"}
for name, (_, chosen) in settings.items():
    rule = ddim(choose(read=20, smoke=2))
    samples = last(reverse(live[name]["model"], chosen, rule, (1000, 1, 8, 8), seed=1, clip_x0=1.0))
    row = rows[name.replace(", ", "_") + "_uniform"]
    distance, share = metrics.digits_frechet(samples), metrics.confident_share(samples)
    print(f"{name:12s} live, {steps} steps, one seed: Frechet distance {distance:6.1f}, confident "
          f"{share:.1%}; table {pm(row['frechet'], '.1f')}, {pm(row['confident'], '.1%')}")
print(f"two single trainings must differ by {threshold('frechet', 1):.1f}, {threshold('confident', 1):.1%}")

# %% [markdown] exercise_text="8.10" slideshow={"slide_type": "slide"}
# *What to see.* Compare the difference between the two with the last line. From one training each, only a large difference can be told from chance, such as that between the two ends of the table. Differences of one to three in the distance, which fill the table, would drown. Three seeds in pairs can show them.
#
# ### Which line is wrong?
#
# Many measurements of this notebook come from one short program: draw levels, digits and noise, ask the network, sort the losses. Below it measures the network of notebook 03 ($v$, cosine) on the held-out digits, as an error of $x_0$. One of the seven lines is wrong; which one, depends on a seed of yours. The curve alone may look fine.
#
# **Exercise 8.10** Find the line, and write its number into the second cell. For comparison: answering with the mean digit has an error of about 0.31, the dashed line, and at the very top a network can hardly do better. (`v_target` is that of 3.6.)
#
# Difficulty: ●●●○○, 9 minutes
#
# <details>
# <summary>Hint</summary>
#
# Which bins have values, and are they of the right size at the two ends? If all are off by one factor, look at the last lines. If not, read lines 1 to 3: which levels, which digits, which noise?
#
# </details>
#
# <!--slide 4 min
# ## A curve of losses: which line is wrong?
#
# Held-out error of $x_0$ by level; one of the seven lines is wrong
#
# Notes:
# Say: nearly every curve of today came from these seven lines. In the notebook each copy has its own case; in the room take this one, or `check.hunt("8.10", seed=1)` and so on.
# Ask: which numbers would tell the lines apart? (In the order right, wrong in line 1 to 7. Bins that nobody fell into: 0, **10**, then 0. Different digits: 358, but **1** for line 2. Kurtosis of the noise: 3.0, but **1.8** for line 3. Variance of the noise in x_t around level 250, as a multiple of the schedule's: 1.0, but 0.3 for line 3 and **3.3** for line 4. Error in the lowest bin: 0.001, but **1,018** for line 6. Error in the highest: 0.29, but **1.34** for line 5. Sum of the bins times their counts, over the sum of the losses: 1, but **0.05** for line 7.)
# Exercise: 9 minutes, in pairs.
# -->

# %% exercise="8.10" kind="hunt" tags=["slide-output"] slideshow={"slide_type": "-"}
check.hunt("8.10")

# %% kind="answer" of="8.10" slideshow={"slide_type": "skip"}
line = 1  # TODO 8.10: the number of the wrong line
check.found("8.10", line)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 7. What practitioners turn first
#
# The same again for the settings that people change before they think about objectives. One at a time, from the same base ($v$, cosine, uniform; <!--r:knobs.recipe.steps|,-->600<!--/--> steps, batch 64, learning rate 0.002, $T=1000$, average of the weights with 0.999, attention, one block a resolution, 16 and 32 channels, SiLU), from the same seeds each. The first line of the table lists the seeds. The grey band is the base $\pm$ the threshold of section 6 for that many seeds.
#
# <!--slide 3 min
# ## Ten ordinary knobs: outside the grey band it counts
#
# Orange: the base; bars: spread over three seeds; grey: not to be told from the base
#
# Notes:
# Say: one setting at a time, from the same base (orange), three seeds. The distance is logarithmic, less is better. In "average of weights" 99 stands for 0.99, cold for no warm-up. Inside the grey band a setting cannot be told from the base, which does not mean that there is no difference.
# Ask: which panel has the largest effect, which the smallest? (The average of the weights without warm-up ruins everything; for attention and for the number of noise levels T no difference is shown.)
# Live: nothing to train. The cell below prints a verdict for every row.
# -->

# %% slideshow={"slide_type": "skip"}
places = {"length": "600", "lr": "2e-3", "batch": "64", "batch_images": "64", "T": "1000", "ema": "999"}
titles = {"length": "training steps", "lr": "learning rate", "batch": "batch, equal steps"}
titles |= {"batch_images": "batch, equal images", "T": "noise levels T", "ema": "average of weights"}
titles |= {"attention": "attention", "depth": "blocks a resolution", "width": "channels at 8x8"}
titles |= {"activation": "activation"}
base_names = {**places, "attention": "with", "depth": "1", "width": "16", "activation": "silu"}


def with_base(knob):
    """The settings of a knob in order, the base among them: {name: scores}."""
    found = {**knobs["knobs"][knob], base_names[knob]: knobs["base"]}
    numbers = all(name.replace("e-", "").isdigit() for name in found) and knob != "ema"
    return dict(sorted(found.items(), key=lambda item: float(item[0]))) if numbers else found


# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(2, 5, figsize=(show.WIDTH, 5.2), sharey=True)
usual, need = knobs["base"]["frechet"]["mean"], threshold("frechet", len(seeds))
for ax, knob in zip(axes.flat, titles, strict=True):
    for i, (name, found) in enumerate(with_base(knob).items()):
        look = dict(fmt="o", color=show.COLOURS[1 if name == base_names[knob] else 0], capsize=3)
        ax.errorbar(i, found["frechet"]["mean"] or np.nan, found["frechet"]["std"] or 0, **look)
    ax.axhspan(usual - need, usual + need, color="0.9", zorder=0)
    labels, ticks = [name.replace("_", " ") for name in with_base(knob)], (5, 10, 20, 50, 100, 200)
    ax.set(xlim=(-0.6, len(labels) - 0.4), yscale="log", yticks=ticks, yticklabels=ticks)
    ax.set_title(titles[knob], fontsize=10)
    ax.set_xticks(range(len(labels)), labels, fontsize=8, rotation=60 if len(labels) > 4 else 0)
for ax in axes[:, 0]:
    ax.set_ylabel("Frechet distance", fontsize=10)
show.figure(fig, "Ten small panels, one knob each: Frechet distance (logarithmic, less is better) with "
            "error bars over the seeds, the base orange, differences that mean nothing grey.")

# %% slideshow={"slide_type": "skip"}
def verdict(found):
    """Better or worse than the base by more than seeds explain? By the Frechet distance."""
    if None in found["frechet"]["values"]:
        return "breaks down"
    gap = found["frechet"]["mean"] - usual
    return "no difference shown" if abs(gap) < need else "better" if gap < 0 else "worse"


print(f"trained from seeds {seeds}: a difference of {need:.1f} in the Frechet distance is needed")
for knob, title in titles.items():
    for name, found in with_base(knob).items():
        said = "base" if name == base_names[knob] else verdict(found)
        print(f"{title:19s} {name:>9s}  Frechet distance {pm(found['frechet'], '5.1f'):>13s}  "
              f"confident {pm(found['confident'], '5.1%'):>13s}  {said}")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* Inside the grey band a setting cannot be told from the base; the last column of the table says the same in words. "No difference shown" does not mean that there is none, only that these seeds do not show it; and of so many rows one or two may be called better or worse by luck. Some things to know when reading:
#
# - **Training length** is the strongest of the ordinary knobs: from <!--r:knobs.knobs.length.150.frechet.mean|.0f-->35<!--/--> after 150 steps to <!--r:knobs.knobs.length.2400.frechet.mean|.1f-->5.1<!--/--> after 2,400, and the curve has not ended. Before you turn anything else, train longer; and compare other settings only at equal length.
# - **Learning rate.** Too small a rate looks like too short a training. Upwards, to five times the usual one, no difference is shown.
# - **Two batch panels, two questions.** At equal steps 256 is better than 64: it has seen four times the images, in four times the time. At equal images the same 256 is worse: it made a quarter of the steps. A comparison that does not say which of the two it keeps equal says nothing. (With a larger batch one usually raises the learning rate too; here it is fixed.)
# - **$T$** costs nothing here, and no difference is shown: training sees one level at a time, and sampling uses the same few levels for every $T$.
# - **The network.** Half the channels are too few, and tanh and ReLU are behind SiLU; between SiLU and GELU no difference is shown, nor by leaving attention out. More blocks and more channels have smaller distances; whether by enough, the last column says. They are compared at equal steps, not at equal time: a larger network takes longer for the same steps.
# - **The average.** 0.99, 0.999 and 0.9999 give *the same* network, to the last digit, because the warm-up $(1+n)/(10+n)$ of notebook 03 has not even reached 0.99 after <!--r:knobs.recipe.steps|,-->600<!--/--> steps. "Cold" is without the warm-up: with 0.9999 the random first weights still make up $0.9999^{600}\approx94\,\%$ of the average. The training, and its loss, are the very same, but the distance is <!--r:knobs.knobs.ema.9999_cold.frechet.mean|.0f-->271<!--/-->: the one knob that ruins everything
# here, and no loss curve shows it.
#
# ## 8. Two more claims, tested
#
# **"Mode collapse: train longer."** The word comes from GANs, where the generator may win by drawing only one kind of picture. A diffusion model is trained to denoise *every* training picture, so it has nothing to win by leaving one out. But an unfinished one might still draw some classes less often. So count: shares of the ten classes, by the
# judge, for each length of training. The **effective number of classes** is $e^{H}$ with the entropy $H=-\sum_k p_k\ln p_k$: ten when all are equally frequent, one when there is only one.
#
# <!--slide 3 min
# ## Train longer before you turn anything else
#
# - **training steps:** distance <!--r:knobs.knobs.length.150.frechet.mean|.0f-->35<!--/--> after 150, <!--r:knobs.knobs.length.2400.frechet.mean|.1f-->5.1<!--/--> after 2,400, and the curve has not ended
# - **learning rate:** too small looks like too short a training
# - **batch:** at equal steps the larger one is better, at equal images worse
# - **average with 0.9999, no warm-up:** distance <!--r:knobs.knobs.ema.9999_cold.frechet.mean|.0f-->271<!--/-->, and no loss curve shows it
# - **network:** half the channels are too few; without attention no difference is shown
#
# Notes:
# Say: the strongest ordinary knob is the length of the training. Compare other settings only at equal length, and say what you keep equal: steps or images.
# Ask: why does the average of weights with 0.9999 and no warm-up ruin the samples after 600 steps? (0.9999 to the power 600 is 0.94: the random first weights still make up most of the average.)
# -->
#
# <!--slide 3 min
# ## "Mode collapse: train longer" is not what the counts say
#
# Class shares in per cent: every class is drawn from the start
#
# Notes:
# Say: the word comes from GANs. A diffusion model is trained to denoise every training picture; it gains nothing by leaving one out. Unevenness is slight after 150 steps and gets less. In a fair draw of 1,000 the rarest class has between eight and nine per cent.
# Ask: all your samples look alike; where do you look first? (For a bug: one seed for all of them, or an average of the weights that is too young. Not for patience.)
# Live: nothing to train.
# -->

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
lengths = with_base("length")
fair = np.random.default_rng(0).multinomial(1000, [0.1] * 10, 500).min(1) / 1000
print(f"smallest class of a fair draw of 1,000: {fair.mean():.1%} ± {fair.std():.1%}")
for n, found in lengths.items():
    low, even = pm(found["smallest_class"], ".1%"), pm(found["entropy"], ".2f")
    print(f"{n:>5s} steps: smallest class {low}, effective number of classes {even}")
shares = np.array([np.mean(found["classes"], axis=0) for found in lengths.values()])
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.2))
ax.imshow(shares, cmap="viridis", vmin=0, vmax=0.25, aspect="auto")
for (i, k), share in np.ndenumerate(shares):
    ax.text(k, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=9, color="white")
ax.set_yticks(range(len(lengths)), list(lengths))
ax.set(xticks=range(10), xlabel="class", ylabel="training steps")
ax.grid(False)
show.figure(fig, "Class shares in per cent: a row for each length of training, a column for each digit.")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* In a fair draw of 1,000 the rarest class is not at $10\,\%$ either, so that is what to compare with. After 150 steps, when only <!--r:knobs.knobs.length.150.confident.mean|.0%-->52%<!--/--> of the samples are digits to the judge, every class is drawn already, and the effective number of classes is <!--r:knobs.knobs.length.150.entropy.mean|.2f-->9.72<!--/-->; after 2,400 it is <!--r:knobs.knobs.length.2400.entropy.mean|.2f-->9.90<!--/-->.
# So there is a slight unevenness, which fades in part, and at no length a collapse that longer training would have to repair. What longer training does improve is the quality of the single sample. If samples are all alike, look for a bug (one seed for all of them, an average of the weights that is too young), not for patience.
#
# **"It cannot be memorising."** The usual reason given is that the samples differ from each other, or that the noise is fresh. Neither is a reason: notebook 02 built the *perfect* minimiser of the loss, and it does nothing but repeat training points. Whether a network gets there depends on how much it can store, how long it trains, and how many examples there are.
# So take examples away: the same network on 25, 100, 400 and all 1,437 training digits, <!--r:memorise.recipe.steps|,-->3,000<!--/--> steps each.
#
# <!--slide 3 min
# ## It can memorise: take examples away and it copies
#
# Copies: <!--r:memorise.sizes.25.copies.mean|.1%-->99.5%<!--/--> trained on 25 digits, <!--r:memorise.sizes.100.copies.mean|.0%-->51%<!--/--> on 100, <!--r:memorise.sizes.1437.copies.mean|.1%-->0.0%<!--/--> on 1,437 (two trainings each)
#
# Notes:
# Say: below each sample its nearest training digit. The same network, the same 3,000 steps. The two trainings of each size, with other digits and other first weights, agree. On 400 digits no copies yet, but samples lean towards the training set already. The loss on held-out digits parts from the training loss.
# Ask: a friend shows you fine, varied samples and says that nothing was memorised. What do you ask for? (The nearest training picture of each, and the same distance for pictures the network has never seen. Twenty-five memorised pictures are varied, too.)
# Live: nothing to train. The figure below in the notebook has the curves.
# -->

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
memory, pictures = checkpoints.load_results("memorise"), checkpoints.load_images("memorise")
print("seeds", memory["recipe"]["seeds"], "(each draws its own training digits; pictures: the first)")
for n, found in memory["sizes"].items():
    print(f"trained on {n:>4s}: copies {pm(found['copies'], '.1%')}, distance to the nearest "
          f"{pm(found['novelty'], '.2f')}, confident {pm(found['confident'], '.1%')}")
strips = {}
for n in (25, 100, 1437):
    strips[f"trained on {n}"] = pictures[f"samples_{n}"]
    strips["nearest" + " " * len(strips)] = pictures[f"nearest_{n}"]
show.rows(strips, alt="Six rows: ten samples of the networks trained on 25, on 100 and on 1,437 digits, "
          "below each sample the nearest training digit.")

# %% slideshow={"slide_type": "skip"}
sizes = {int(n): found for n, found in memory["sizes"].items()}
fig, (near, same, loss) = plt.subplots(1, 3, figsize=(show.WIDTH, 3.4))
for ax, score, title in ((near, "novelty", "distance to the nearest"), (same, "copies", "share of copies")):
    mean, std = ([found[score][key] or 0 for found in sizes.values()] for key in ("mean", "std"))
    ax.errorbar(list(sizes), mean, std, fmt="o-", color=show.COLOURS[1], capsize=4, label="samples")
    ax.set(title=title, xlabel="training digits", xscale="log")
near.axhline(1, color="black", linestyle="--", label="fresh digits")
same.plot([*sizes], [found["held_out_copies"]["mean"] for found in sizes.values()], "k--", label="fresh")
for n, colour in zip((25, 1437), show.COLOURS[2:], strict=False):
    for part, line in (("training", "-"), ("held_out", "--")):
        loss.plot(middle, sizes[n]["levels"][part], line, c=colour, label=f"{n}, {part}".replace("_", " "))
loss.set(title="loss of $v$ by level", xlabel="level t", yscale="log")
for ax in (near, same, loss):
    ax.legend(fontsize=9)
show.figure(fig, "Distance to the nearest and share of copies by training size; loss by level, 25 and 1,437.")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* It can be memorising. Trained on 25 digits, <!--r:memorise.sizes.25.copies.mean|.1%-->99.5%<!--/--> of the samples are copies, trained on 100 <!--r:memorise.sizes.100.copies.mean|.0%-->51%<!--/-->, on 1,437 <!--r:memorise.sizes.1437.copies.mean|.1%-->0.0%<!--/-->. It is the same network, trained for the same time. Each number is the mean of two trainings, each with its own draw of digits and its own first weights; they agree closely (the ± above, the bars, most of them hidden by their dots). Memorising shows in three places at once:
#
# - *left*, the distance of a sample to its nearest training picture: 0 is a copy, 1 as far as a fresh digit would be (a little above 1 is no sign of originality: blurred samples are far from every digit). On 400 digits it is <!--r:memorise.sizes.400.novelty.mean|.2f-->0.88<!--/-->: the samples lean towards the training set before a single one is a copy;
# - *middle*, the share of copies by a common rule: at most a third as far from the nearest as from the second nearest (Gu et al. 2023);
# - *right*, the loss on held-out digits (dashed) parts from the loss on the training digits, most at low and middle noise.
#
# And what does *not* show it: the samples of the 25 look perfect, and the judge is confident of nearly every one (<!--r:memorise.sizes.25.confident.mean|.1%-->100.0%<!--/-->).
#
# **Question** A friend shows you a grid of fine, varied samples and says: no two are alike, so nothing was memorised. What do you ask for?
#
# <details>
# <summary>Answer</summary>
#
# The nearest training picture of each sample, and the same distance for pictures the network has never seen. Variety proves nothing: 25 memorised pictures drawn at random are varied too. A held-out loss beside the training loss helps as well: a gap between them means that the network knows the training set itself.
#
# </details>
#
# ## 9. Learned variance, a sketch
#
# The network gives the *mean* of each reverse step. Its variance was fixed so far: $\beta_t$, or $\tilde\beta_t=\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\beta_t$. These are the two extremes: the right variance if the data were pure noise, and if they were a single point. Real data lie between. Nichol & Dhariwal (2021) let the network say where, by a second output $\nu\in[0,1]$ for each pixel, in the logarithm:
#
# $$\sigma_t^2=\exp\big(\nu\ln\beta_t+(1-\nu)\ln\tilde\beta_t\big).$$
#
# The mean squared error does not contain $\sigma_t$, so it cannot teach it. The likelihood bound of notebook 02 does: $L_\text{vlb}$ with a small factor is added, $L_\text{simple}+0.001\,L_\text{vlb}$ ("Looking inside" has more).
#
# <!--slide 2 min
# ## A learned variance pays for short chains
#
# $$\sigma_t^2=\exp\big(\nu\ln\beta_t+(1-\nu)\ln\tilde\beta_t\big), \quad \nu\in[0,1] \text{ from the network}, \quad \tilde\beta_t=\tfrac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\beta_t$$
#
# Notes:
# Say: two extremes for the variance of a reverse step: beta if the data were pure noise, beta tilde if they were a single point. With 1,000 levels they agree nearly everywhere, with 50 the band is open much longer. The mean squared error does not contain sigma; a small part of the likelihood bound teaches it.
# Ask: which samplers have no variance to choose? (DDIM without fresh noise and DPM-Solver++, which have since taken over the short chains.)
# Live: a second.
# -->

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.2))
for T, colour in ((1000, 0), (50, 1)):
    s = cosine(T)
    t = torch.arange(2, T + 1)  # at t = 1 the lower bound is 0
    upper = s.betas[t]
    lower = upper * (1 - s.alpha_bar[t - 1]) / (1 - s.alpha_bar[t])
    axes[0].fill_between(t / T, lower, upper, color=show.COLOURS[colour], alpha=0.6, label=f"T = {T}")
    axes[1].plot(t / T, lower / upper, color=show.COLOURS[colour], label=f"T = {T}")
axes[0].set(yscale="log", xlabel="t / T", title=r"from $\tilde\beta_t$ to $\beta_t$")
axes[1].set(xlabel="t / T", title=r"$\tilde\beta_t\,/\,\beta_t$")
for ax in axes:
    ax.legend()
show.figure(fig, "Left: the band between both variances by level, thin except at the left end, wider for T"
            " = 50 than for 1000. Right: their ratio rises from below one half to 1, for T = 1000 at "
            "once, for T = 50 slowly.")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* With 1,000 levels the two agree nearly everywhere but in the first few steps: there is little to learn for the samples. With 50 levels the band is open much longer; so a learned variance pays for *short* ancestral chains, and for likelihoods, which the first few steps dominate. DDIM and DPM-Solver++, which have no variance at all, have since taken
# over the short chains.
#
# ## 10. Where the field went next
#
# You have now built the methods of the years 2020 to 2023. What came beside and after them is here in one table; nearly every line keeps "noise, a level, a network that denoises".
#
# | | idea | what it changes | source |
# |---|---|---|---|
# | **Latent diffusion** | noise and denoise the code of an autoencoder, not pixels | the space; schedule, loss and sampler stay. 512x512 pixels become 64x64x4 numbers (Stable Diffusion) | Rombach et al. 2022, arXiv:2112.10752 |
# | **EDM** | choose prediction, schedule, weighting and sampler separately; scale inputs and outputs to variance 1 | the bookkeeping: $\sigma$ instead of $t$. This notebook's question, asked thoroughly | Karras et al. 2022, arXiv:2206.00364 |
# | **Flow matching, rectified flow** | straight lines $x_t=(1-t)\,x_0+t\,\epsilon$, learn the velocity $\epsilon-x_0$ | the schedule and the question: a $v$ for another path. The lines are straight only pair by pair: where they cross, the learned velocity is their mean and its paths bend. Training anew on the pairs (noise, sample) of the first model straightens them, and straight paths need few steps. (Esser's notation; the other two let $t$ run from noise to data) | Lipman et al. 2022, arXiv:2210.02747; Liu et al. 2022, arXiv:2209.03003; Esser et al. 2024, arXiv:2403.03206 |
# | **Progressive distillation** | a student makes one step where its teacher makes two; repeat | the number of steps; $v$ was introduced here | Salimans & Ho 2022, arXiv:2202.00512 |
# | **Consistency models** | all points of one deterministic path must be mapped to the same $x_0$; then one step is enough | the loss: two neighbouring levels must agree | Song et al. 2023, arXiv:2303.01469 |
# | **LCM** | the same in the latent space, with guidance built in | 2 to 4 steps from a Stable Diffusion model, by distilling it | Luo et al. 2023, arXiv:2310.04378 |
# | **Turbo** (adversarial distillation) | a student of 1 to 4 steps, judged by a discriminator *and* by its teacher | brings a GAN's loss back, against the blur of very few steps | Sauer et al. 2023, arXiv:2311.17042 |
# | **Transformers** for the U-Net | patches as tokens, the level by modulation | the network only | Peebles & Xie 2023, arXiv:2212.09748 |
#
# ### And where it came from
#
# - **2005, 2011: score matching.** Hyvärinen fits $\nabla\log p$ without knowing the normalising constant; Vincent shows that denoising does the same. That is why the noise a network predicts *is* a score (notebook 02).
# - **2015: nonequilibrium thermodynamics.** Sohl-Dickstein et al. (arXiv:1503.03585) take the idea from physics: destroy structure slowly, by diffusion, and learn to run it backwards; if each step is small, the reverse step is Gaussian too. The forward chain, the reverse chain and the bound of notebook 02 are all there. The samples were not yet as sharp as those of its rivals.
# - **2019: scores at many noise levels.** Song & Ermon (arXiv:1907.05600) train one network for all levels and walk down with Langevin steps.
# - **2020: DDPM.** Ho et al. (arXiv:2006.11239) join the two lines, drop the weights of the bound ($L_\text{simple}$), take a U-Net with attention: on CIFAR-10 samples as good as those of the best GANs of the time.
# - **2021: one equation.** Song et al. (arXiv:2011.13456) write both as a stochastic differential equation, with an ordinary one beside it that has the same distributions at every level: what DDIM and DPM-Solver++ follow.
#
# <!--slide 3 min
# ## Most of what came next keeps the recipe
#
# | | idea |
# |---|---|
# | latent diffusion | the code of an autoencoder instead of pixels |
# | EDM | prediction, schedule, weights and sampler chosen separately |
# | flow matching | straight lines from data to noise, learn the velocity |
# | distillation, consistency | a student takes one step for many of its teacher's |
# | transformers | patches as tokens instead of a U-Net |
#
# Notes:
# Say: noise, a level, a network that denoises: nearly every line keeps these three. The notebook's table has the sources, and the history before: score matching 2005 and 2011, nonequilibrium thermodynamics 2015, scores at many levels 2019, DDPM 2020, one equation 2021.
# Ask: which of our three handles does flow matching change? (The schedule, with straight lines, and the question: its velocity is a v for another path.)
# -->

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ## Looking inside (optional)
#
# ### Min-SNR for $v$, step by step
#
# Let $e_t=\lVert x_0-\hat x_0\rVert^2$ be the error the network makes in $x_0$ at level $t$, whatever it predicts. We want the total $\sum_t\min(\mathrm{SNR}_t,\gamma)\,e_t$. A $v$ network reports $\ell_t=\lVert v-\hat v\rVert^2=(\mathrm{SNR}_t+1)\,e_t$ (section 2). So $e_t=\ell_t/(\mathrm{SNR}_t+1)$ and
#
# $$\sum_t\min(\mathrm{SNR}_t,\gamma)\,e_t=\sum_t\frac{\min(\mathrm{SNR}_t,\gamma)}{\mathrm{SNR}_t+1}\,\ell_t .$$
#
# At high noise, $\mathrm{SNR}\to0$, the weight goes to 0 like the SNR; at low noise it goes to $\gamma/\mathrm{SNR}$, also 0. Uniform $v$ therefore keeps a floor under the high-noise levels that min-SNR takes away. With zero terminal SNR this has a price: at the last level, the one where sampling *starts*, the weight is exactly 0. The network answers there only
# because it answers smoothly in $t$.
#
# ### The hybrid loss of learned variances
#
# $L_\text{vlb}$ is the sum of the divergences $\mathrm{KL}\big(q(x_{t-1}\mid x_t,x_0)\,\Vert\,p_\theta(x_{t-1}\mid x_t)\big)$ between Gaussians with variances $\tilde\beta_t$ and $\sigma_t^2$, a pixel at a time:
#
# $$\mathrm{KL}=\frac12\Big(\ln\frac{\sigma_t^2}{\tilde\beta_t}+\frac{\tilde\beta_t+(\tilde\mu_t-\mu_\theta)^2}{\sigma_t^2}-1\Big).$$
#
# Set its derivative in $\sigma_t^2$ to zero: the best variance is $\sigma_t^2=\tilde\beta_t+\mathbb E(\tilde\mu_t-\mu_\theta)^2$, the variance for a known $x_0$ *plus* what we do not know about $x_0$. That is why it lies above $\tilde\beta_t$. The bound's terms differ by orders of magnitude between levels, which makes its gradient noisy; so the mean is taught by
# $L_\text{simple}$ alone (the gradient of $L_\text{vlb}$ through $\mu_\theta$ is stopped), the variance by $0.001\,L_\text{vlb}$.
#
# ### EDM's preconditioning
#
# EDM writes noisy data without shrinking, $y=x_0+\sigma n$, and builds the denoiser from a raw network $F$:
#
# $$D(y,\sigma)=c_\text{skip}\,y+c_\text{out}\,F(c_\text{in}\,y,\ \sigma),\quad c_\text{skip}=\frac{\sigma_d^2}{\sigma^2+\sigma_d^2},\quad c_\text{out}=\frac{\sigma\,\sigma_d}{\sqrt{\sigma^2+\sigma_d^2}},\quad c_\text{in}=\frac{1}{\sqrt{\sigma^2+\sigma_d^2}},$$
#
# where $\sigma_d$ is the standard deviation of the data. The three factors follow from three wishes: the input of $F$ has variance 1, the target of $F$ has variance 1, and errors of $F$ are magnified as little as possible.
#
# The loss is weighted so that every level starts with the same weight on $F$, and the levels are drawn from a bell curve in $\ln\sigma$ instead of evenly: the two jobs that our schedule does at once are separated. And for $\sigma_d=1$ the raw network is an old friend: with $y=x_t/\sqrt{\bar\alpha_t}$ and $\sigma^2=1/\mathrm{SNR}_t$ it is exactly $F=-v$. The cell checks it.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
t, x0, noise = torch.tensor([10, 200, 500, 800, 950, 990]), x_test[:6], torch.randn(6, 1, 8, 8)
x_t = schedule.q_sample(x0, t, noise)
sigma = (1 / at(schedule.snr, t, x_t)).sqrt()
y, v = x_t / at(schedule.alpha_bar, t, x_t).sqrt(), schedule.target(x0, t, noise, "v")
c_skip, c_out, c_in = 1 / (sigma**2 + 1), sigma / (sigma**2 + 1).sqrt(), 1 / (sigma**2 + 1).sqrt()
print(f"c_in y is x_t: off by {(c_in * y - x_t).abs().max():.0e}")
print(f"c_skip y + c_out (-v) is x_0: off by {(c_skip * y - c_out * v - x0).abs().max():.0e}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - $\epsilon$, $x_0$ and $v$ say the same thing; their losses are one loss with the weights $\mathrm{SNR}$, $1$ and $\mathrm{SNR}+1$ on the error of $x_0$.
# - A prediction, a schedule and a weighting are three handles on one curve: how much each SNR counts.
# - $\epsilon$ leaves $x_0$ open where the noise is high, $x_0$ leaves $\epsilon$ open where it is low; $v$ magnifies neither.
# - A difference in a table means something when it is larger than what seeds alone do; compare seed by seed, show all of them, and count your comparisons.
# - Claims can be tested for the price of a few minutes: losses are not equal at all levels, classes can be counted, copies can be looked up.
#
# ### Self-check
#
# Can you
#
# - [ ] derive the factor between the error of $\epsilon$ and the error of $x_0$?
# - [ ] say what a schedule weights, without looking at its formula?
# - [ ] write the min-SNR weight for $v$, and say what it does at the last level of a schedule with zero terminal SNR?
# - [ ] say how large a difference of two means over three seeds must be, and why one training each shows little?
# - [ ] name the measurement that tells memorising from learning?
#
# <details><summary>Answers</summary>
#
# 1. $x_t$ is given, so $c\,\Delta x_0+s\,\Delta\epsilon=0$ with $c=\sqrt{\bar\alpha_t}$ and $s=\sqrt{1-\bar\alpha_t}$. Hence $\Delta\epsilon=-\frac cs\Delta x_0$, and squared the factor is $c^2/s^2$, the SNR.
# 2. How many levels fall on each SNR: levels are drawn evenly, so an SNR with twice as many levels counts twice.
# 3. $\min(\mathrm{SNR},\gamma)/(\mathrm{SNR}+1)$. At the last level of a schedule with zero terminal SNR it is 0.
# 4. If single trainings scatter with $s$: $2s\sqrt{2/3}$, about $1.6\,s$. With one training each it is $2s\sqrt2$, nearly $3\,s$, and from one training nobody knows $s$. Where rows share their seeds, the error of the paired gain takes the place of $s\sqrt{2/3}$.
# 5. The distance of each sample to its nearest training picture, beside the same distance for fresh pictures. The loss on held-out pictures, beside that on the training set, helps as well.
#
# </details>
#
# ### Further exercises
#
# - (●●○○○, 15 min) Live, with `train(..., weights=...)`: the min-SNR weights for $\epsilon$ and 300 steps. (`train` wants a weight for every level from 0 to $T$, so put a 0 in front.) Which bins of `loss_by_level` go down, which up?
# - (●●○○○, 20 min) Draw the weighting that a *schedule* is: a histogram of $\log\mathrm{SNR}$ for each of the four, and multiply by $\mathrm{SNR}+1$.
# - (●●●○○, 30 min) Try $\tau=0.5$ and $\tau=1.5$ for the sigmoid schedule, two seeds each. Is the difference larger than the seeds'?
# - (●●●●○, 60 min) Draw levels from a bell curve in $\log\mathrm{SNR}$ instead of evenly, as EDM does, and compare with $v$, cosine at the same budget.
#
# <details><summary>Answers</summary>
#
# 1. `weights = torch.cat([torch.zeros(1), min_snr_weights(linear().snr[1:], "eps")])`. On held-out digits (one seed, 300 steps) the lowest bin goes up by a quarter and the second a little; all others go down, a few per cent in the middle and by about a third at the top. What the weights take from the lowest levels, the others gain. One seed proves little about single bins.
# 2. `ax.hist(s.snr[1:].log(), bins=60, weights=s.snr[1:] + 1)`: the number of levels at an SNR times what $v$ counts there. The factor $\mathrm{SNR}+1$ grows without bound to the right, so low noise weighs most under every schedule; to the left of SNR 1 the factor is about 1 and you see the histogram of the levels alone.
# 3. Two seeds a setting: the difference of two means has to be about $2s$, with the $s$ of section 6, to count. In pairs, `paired_gain` gives an error from two numbers only, which is hardly one. Report both seeds.
# 4. No new training loop is needed: levels drawn evenly from a schedule whose log SNRs are the quantiles of a bell curve *are* levels drawn from that bell curve. `q = (torch.arange(1000, 0, -1, dtype=torch.float64) - 0.5) / 1000`, then `schedule_of(alpha_bar_from(2.4 * torch.special.ndtri(q)), "bell", 0.999)`. Compare it with the base in pairs, seed by seed.
#
# </details>
#
# ### References
#
# - Salimans, Ho 2022, *Progressive distillation for fast sampling of diffusion models*, arXiv:2202.00512: section 4 (predictions and their weights).
# - Hang et al. 2023, *Efficient diffusion training via min-SNR weighting strategy*, arXiv:2303.09556: section 3.
# - Jabri, Fleet, Chen 2022, *Scalable adaptive computation for iterative generation*, arXiv:2212.11972 (sigmoid schedule).
# - Chen 2023, *On the importance of noise scheduling for diffusion models*, arXiv:2301.10972: section 2.
# - Lin et al. 2023, *Common diffusion noise schedules and sample steps are flawed*, arXiv:2305.08891: algorithm 1.
# - Nichol, Dhariwal 2021, *Improved denoising diffusion probabilistic models*, arXiv:2102.09672: eqs. 15 to 17.
# - Karras et al. 2022, *Elucidating the design space of diffusion-based generative models*, arXiv:2206.00364: table 1 and section 5.
# - Kingma et al. 2021, *Variational diffusion models*, arXiv:2107.00630: section 5 (the schedule as a change of variable).
# - Carlini et al. 2023, *Extracting training data from diffusion models*, arXiv:2301.13188 (memorising, measured on large models).
# - Gu et al. 2023, *On memorization in diffusion models*, arXiv:2310.02664 (the rule for copies, and what makes networks copy).
# - Hyvärinen 2005, *Estimation of non-normalized statistical models by score matching*, JMLR 6; Vincent 2011, *A connection between score matching and denoising autoencoders*, Neural Computation 23.
# - Those of section 10: Sohl-Dickstein et al. 2015, arXiv:1503.03585; Song, Ermon 2019, arXiv:1907.05600; Ho et al. 2020, arXiv:2006.11239; Song et al. 2021, arXiv:2011.13456; Rombach et al. 2022, arXiv:2112.10752.
#
# <!--slide 2 min
# ## What we learned
#
# - $\epsilon$, $x_0$, $v$: one loss with the weights SNR, 1, SNR + 1 on the error of $x_0$
# - prediction, schedule, weighting: three handles on how much each SNR counts
# - a difference counts when it is larger than what seeds alone make
# - claims can be tested: levels differ, classes can be counted, copies looked up
#
# **Next:** the further exercises, with two seeds each, or your own data in the lab of notebook 07.
#
# Notes:
# Say: three seeds and error bars are the least; many comparisons need more.
# Ask: somebody shows you a table with one number a row; what is your first question? (How many trainings are behind each number, and how far they scatter.)
# -->

# %% slideshow={"slide_type": "skip"}
check.summary("08")
