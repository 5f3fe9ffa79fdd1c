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
# Most networks of this course used the cosine schedule, predicted $v$, and weighted all noise levels alike. Nobody forced us to. What would happen with another schedule, another question, other weights?
# In this notebook you change one choice at a time and measure what it is worth. On the way you learn to read such measurements: how large must a difference be before it means anything? We close with what came after these methods, and what came before them.
#
# **What you will be able to do**
#
# - say what an error of $\epsilon$, of $x_0$ or of $v$ means in another unit, and where a reading goes wrong;
# - say what a loss weights, level by level, and measure it;
# - build a schedule from the signal-to-noise ratio (SNR) you like, repair another, and write the min-SNR weights;
# - read an ablation table with its error bars, compare in pairs, and tell a difference from luck;
# - test three claims that are often repeated about diffusion models.
#
# **What to know** Notebooks 01 to 03 (schedules, the loss, $v$, Frechet distance and its floor), DDIM.
#
# **Time** About 125 minutes for a person, about 40 seconds for two CPU cores.
#
# <!--slide 2 min
# # 08 Schedules and objectives
#
# Which of our choices matter, and how large must a difference be before it means anything?
#
# **You will be able to**
#
# - say what an error of $\epsilon$, of $x_0$ or of $v$ means in another unit
# - build a schedule from the SNR you like, repair another, and write the min-SNR weights
# - read a table with error bars, compare in pairs, and tell a difference from luck
# - test three claims that are often repeated about diffusion models
#
# **Write down a vote:** prediction, schedule or weighting, which one matters most?
#
# Notes:
# Say: most networks of this course used the cosine schedule, predicted v and weighted all levels alike. Each of these was a choice. Today we learn what each is worth, and to read such measurements.
# Ask: of prediction, schedule and weighting, which one do you expect to matter most? (Collect votes. The table of section 6 shows clear effects of schedule and weighting, and no order of the predictions as long as x_0 is clamped.)
# Have run before class: the whole notebook once; it takes about 40 seconds on two cores, half of it the live training of section 5.
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

# %% [markdown] slideshow={"slide_type": "skip"}
# Here are ten samples each of four networks. All four are the same small U-Net, trained for <!--r:objectives.recipe.steps|,-->600<!--/--> steps on the same digits, and the samples of each column start from the same noise. Only a few choices in the training differ. Which network is the best, and which is the worst?

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
drawn, turned = checkpoints.load_images("objectives"), checkpoints.load_images("knobs")
four = {"A": drawn["x0_linear_uniform"], "B": drawn["v_cosine_min_snr"], "C": turned["ema_9999_cold"]}
show.rows(four | {"D": drawn["v_cosine_uniform"]}, "Ten samples each of four networks from the same noise. "
          "Those of A, B and D are digits and resemble each other column by column; C looks like noise.")

# %% [markdown] slideshow={"slide_type": "skip"}
# *What to see.* C is broken. It comes from the very same training as D, except for one setting that looks harmless and that the training loss does not show; you will meet it in section 7. A, B and D have drawn nearly the same digits from the same noise, and it is hard to say which is the best. And yet they differ: of 1,000 samples, a classifier is confident of
# <!--r:objectives.settings.x0_linear_uniform.confident.mean|.0%-->66%<!--/--> (A), <!--r:objectives.settings.v_cosine_min_snr.confident.mean|.0%-->78%<!--/--> (B) and <!--r:objectives.settings.v_cosine_uniform.confident.mean|.0%-->74%<!--/--> (D), as the mean of three trainings each. Ten samples cannot show this, so we have to measure.

# %% [markdown] exercise_text="8.1" slideshow={"slide_type": "slide"}
# ## 1. Does it matter what the network is asked for?
#
# A noisy picture is a mixture of two things, $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$, and the network sees the mixture. If it tells us one part, we can work out the other. Notebook 03 asked for a combination of the two,
# $v=\sqrt{\bar\alpha_t}\,\epsilon-\sqrt{1-\bar\alpha_t}\,x_0$, from which we can work out both. So there are three questions we may ask a network, and a perfect answer to one of them answers the others. You wrote most of these formulas yourself in earlier notebooks; here they stand side by side:
#
# | asked for | $x_0$ is | $\epsilon$ is |
# |---|---|---|
# | $\epsilon$ | $\big(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon\big)/\sqrt{\bar\alpha_t}$ | the output |
# | $x_0$ | the output | $\big(x_t-\sqrt{\bar\alpha_t}\,x_0\big)/\sqrt{1-\bar\alpha_t}$ |
# | $v$ | $\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,v$ | $\sqrt{\bar\alpha_t}\,v+\sqrt{1-\bar\alpha_t}\,x_t$ |
#
# A real network is not perfect, and then the choice matters: an error of the same size does different harm in the three cases. Let's begin with the smallest error there is, that of rounding.
#
# ### Exercise 8.1: a perfect answer in seven digits
#
# Suppose a network answers *perfectly*, but the computer rounds to seven digits, as float32 does. We turn each answer into the other quantities by the table above. Which of the results is furthest off? On the cosine schedule the factor of the noise is $\sqrt{1-\bar\alpha_1}=0.0064$ at the lowest level, and that of the picture is $\sqrt{\bar\alpha_{1000}}=0.00005$ at the highest. Write down one letter:
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
# A rounding error is tiny. It becomes large when it is divided by something small. Which formula divides by what?
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
# In words: the mixture $x_t$ is known. Whichever part the network tells us, we can work out the other.
#
# **Your turn: 8.1, 3 minutes.** A perfect answer, rounded to seven digits: which reading comes out worst, and at which end?
#
# Notes:
# Say: the network sees the mixture. If it tells us one part, we can work out the other. A perfect network could be asked any of the three; a real one makes errors, and they do different harm.
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
names, gaps = {"eps": r"$\epsilon$", "x0": "$x_0$", "v": "$v$"}, {}
for given in names:
    for level in (1, 1000):
        t = torch.full((len(x_test),), level)
        x_t, answer = schedule.q_sample(x_test, t, noise), schedule.target(x_test, t, noise, given)
        eps, x0 = schedule.from_output(answer, x_t, t, given)
        gaps[given, level] = max((eps - noise).abs().max(), (x0 - x_test).abs().max())
letters = dict(zip(gaps, "abcdef", strict=True))
said = check.truth("8.1", letters[max(gaps, key=gaps.get)])
off_by = [[f"a perfect {given}"] + [f"{gaps[given, level]:.0e}" for level in (1, 1000)] for given in names]
show.table(off_by, ["read from", "level 1: off by up to", "level 1000: off by up to"])

# %% [markdown] exercise_text="8.2" slideshow={"slide_type": "slide"}
# *What to see.* Look at the first row, on the right. The noise was known perfectly, and still $x_0$ is off in the third digit, because a rounding error was divided by $\sqrt{\bar\alpha_t}$, which is almost 0 there. In the second row the lower end is the weak one: there we divide by $\sqrt{1-\bar\alpha_t}$. With $v$ we never divide. A network's error is far larger than a rounding error, and it is divided by the same numbers.
#
# ## 2. How large is one error in three units?
#
# Now let the network be wrong by a little. If its $x_0$ is slightly off, how far off are the $\epsilon$ and the $v$ that we work out from it? We can find out because $x_t$ is known. The true parts add up to $x_t$, and so do the estimated ones:
#
# $$x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon=\sqrt{\bar\alpha_t}\,\hat x_0+\sqrt{1-\bar\alpha_t}\,\hat\epsilon .$$
#
# Subtract one sum from the other, and write $\Delta$ for "estimate minus truth":
#
# $$\sqrt{\bar\alpha_t}\;\Delta x_0+\sqrt{1-\bar\alpha_t}\;\Delta\epsilon=0 .$$
#
# So an error in one part is always balanced by an error in the other. The definition of $v$ gives $\Delta v=\sqrt{\bar\alpha_t}\,\Delta\epsilon-\sqrt{1-\bar\alpha_t}\,\Delta x_0$. The signal-to-noise ratio is again $\mathrm{SNR}_t=\bar\alpha_t/(1-\bar\alpha_t)$.
#
# ### Exercise 8.2: change the unit of a loss
#
# A loss is a mean of squared errors, of $\epsilon$, of $x_0$ or of $v$. By which factor, in terms of the SNR, does a *squared* error of $x_0$ become one of $\epsilon$, and by which one of $v$? Write the function that changes the unit. `loss` and `snr` have the same shape; `given` and `wanted` are "eps", "x0" or "v". Return the loss in the wanted unit.
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
# **1.** $x_t$ is known: the true parts add up to it, and so do the estimated ones.
#
# $$\sqrt{\bar\alpha_t}\;x_0+\sqrt{1-\bar\alpha_t}\;\epsilon\;=\;x_t\;=\;\sqrt{\bar\alpha_t}\;\hat x_0+\sqrt{1-\bar\alpha_t}\;\hat\epsilon$$
#
# **2.** Subtract. With $\Delta$ for estimate minus truth:
#
# $$\sqrt{\bar\alpha_t}\;\Delta x_0+\sqrt{1-\bar\alpha_t}\;\Delta\epsilon=0, \qquad \mathrm{SNR}_t=\frac{\bar\alpha_t}{1-\bar\alpha_t}$$
#
# In words: the two errors cancel in $x_t$, so the part with the smaller factor has the larger error.
#
# **3.** What is a squared error of $x_0$ as one of $\epsilon$? As one of $v$?
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
# Three networks with an error of 0.01 at every level, each in its own unit. Above the dashed line guessing would be better.
#
# Notes:
# Say: all three losses are one loss with three weightings. Left, the error that arrives in x_0: that of an eps network grows without bound. Right, the mirror image. v never enlarges an error: both of its curves stay at or below 0.01.
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

# %% expected="8.2" tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
every_level, snr = torch.arange(1, 1001), schedule.snr[1:]  # at level 0, without noise, it is infinite
mean_guess = (x_train - x_train.mean(0)).square().mean()  # the error of answering the mean digit always
guesses = {"x0": (mean_guess, "guess the mean digit"), "eps": (1, "guess no noise")}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.6))
for ax, wanted, place in zip(axes, ("x0", "eps"), ("upper left", "upper right"), strict=True):
    for given, name in names.items():
        error = in_unit(torch.full_like(snr, 0.01), given, wanted, snr)
        ax.plot(every_level, error, color=show.COLOUR[given], label=f"asked for {name}")
    ax.axhline(guesses[wanted][0], color="black", linestyle="--", label=guesses[wanted][1])
    ax.set(yscale="log", ylim=(1e-5, 1e5), xlabel="level $t$", title=f"error that arrives in {names[wanted]}",
           ylabel="mean squared error")
    ax.legend(loc=place)
show.figure(fig, "Each output wrong by a mean square of 0.01 at every level. Left: in x_0 the error of eps "
            "rises without bound towards T, the others stay. Right: in eps that of x_0 falls from far above.")

# %% [markdown] exercise_text="8.3" slideshow={"slide_type": "slide"}
# *What to see.* Each curve is a network that is equally wrong at all levels, with a mean squared error of 0.01 in what it was asked for. Above the dashed line we would do better without a network.
#
# - **$\epsilon$ is a bad question near $t=T$.** On the left its error is divided by the SNR, and the curve shoots up. There $x_t$ is nearly all noise. It is easy to name the noise almost correctly, but that says nothing about the picture.
# - **$x_0$ is a bad question near $t=0$.** On the right you see the mirror image. There $x_t$ is nearly the picture, and an error that nobody would notice is larger than all the noise that we want to remove.
# - **$v$** never enlarges an error: both of its curves stay at or below 0.01.
#
# Here is what you found in 8.2:
#
# $$\lVert\epsilon-\hat\epsilon\rVert^2=\mathrm{SNR}_t\,\lVert x_0-\hat x_0\rVert^2,\qquad \lVert v-\hat v\rVert^2=(\mathrm{SNR}_t+1)\,\lVert x_0-\hat x_0\rVert^2 .$$
#
# The squared error of $\epsilon$ is the squared error of $x_0$ times the SNR, and for $v$ the factor is one more. So there is really only one loss, the error of $x_0$. The question decides how much this error counts at each level.
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
# **Question** A network asked for $x_0$ has an error of 0.01 at level 1. Is that good?
#
# <details>
# <summary>Answer</summary>
#
# No. The SNR is about 24,000 there, so as an error of $\epsilon$ it is about 240. Somebody who guesses "no noise at all" has an error of 1.
#
# </details>
#
# ## 3. Which SNR gets how many levels?
#
# The next choice is the schedule. You know **linear** and **cosine**. A third one, **sigmoid** (Jabri et al. 2022; Chen 2023), was proposed for larger pictures: its $\bar\alpha$ is a falling sigmoid curve, stretched so that it goes from 1 to 0. It is in `helpers`.
#
# But why choose from a list? What the network gets to see at a level depends on the SNR alone. So let's say which SNR each level should have, and work out the schedule from that. The SNR runs over many powers of ten, so we give its natural logarithm.
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
# Say: the linear schedule ends at an amplitude of 0.006, not at 0, so in training a trace of the picture is left at level T, where sampling starts from pure noise.
# Ask: how many straight lines take the last amplitude to 0 and leave that of level 1 where it is? (One: two conditions, a shift and a factor.)
# Give 6 and 7 minutes before showing the figure (it appears on a click). Common mistakes: level 0 left out; shifting alpha_bar instead of its root; stretching back to level 0 instead of level 1. Then write on the board: r' = (r - r_T) r_1 / (r_1 - r_T).
# Say: in the grey band, SNR 10 to 0.1, the digit comes out of the noise. Linear hurries through it and spends half of its levels below. The repair bends down only the end, from level 700 or so on. The straight line is the one of 8.3.
# Ask: levels are drawn evenly in training; so what else is a schedule? (A weighting: an SNR with twice as many levels has twice the weight. And a choice of where the sampler stops: 20 steps even in t lie at other SNRs on every schedule.)
# Live: in the notebook, "Try it" above this figure: move t and see one digit under all four schedules, with the SNR over each.
# Answers 8.4.
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
# The answer is $\bar\alpha=\mathrm{SNR}/(1+\mathrm{SNR})$, which is the sigmoid function of the log SNR. Below we make a schedule this way, from a log SNR that falls in a straight line from $+10$ to $-10$. You find it as "straight" in the table and as the dotted line under *The schedules as curves*. We only look at it; no network of this notebook was trained on it.
#
# Can we also repair a schedule that we already have? The linear one ends at $\sqrt{\bar\alpha_T}=0.006$, not at 0. So in training a trace of the picture is left at level $T$, while sampling starts there from pure noise. The repair is called **zero terminal SNR** (Lin et al. 2023; notebook 01 used the finished function).
# It takes the *amplitude* $\sqrt{\bar\alpha_t}$ at the levels 1 to $T$, subtracts the same number from each, and multiplies each by the same factor. Two conditions fix the number and the factor:
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

lines = []
for name, s in all_five.items():
    band, stops = (s.snr > 0.1) & (s.snr < 10), ddim(20).levels(s.T)
    shares = [f"{band.sum() / s.T:.0%}", f"{(s.snr <= 0.1).sum() / s.T:.0%}"]
    lines.append([name, f"{s.alpha_bar[-1].sqrt():.5f}", *shares, f"{band[stops].sum()} of 20"])
header = ["schedule", "amplitude at T", "levels at SNR 10 to 0.1", "levels below", "DDIM steps at 10 to 0.1"]
show.table(lines, header, "ztsnr: linear with zero terminal SNR; straight: your 8.3 with a straight log SNR")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ### Try it: one digit, four schedules (optional)
#
# Here is one digit with the same noise at ten levels of four schedules. In which column do you lose the digit in each row? Below are sliders. Move `t`, and compare
# the SNR over the columns with what you still recognise.

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
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

# %% [markdown] slideshow={"slide_type": "skip"}
# ### The schedules as curves
#
# Here are all five schedules twice, once as $\bar\alpha_t$ and once as the logarithm of the SNR. In which of the two panels can you tell better what a schedule spends its levels on?

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "fragment"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 4.0))
looks = {"linear": ("linear", "-"), "cosine": ("cosine", "-"), "sigmoid": ("other", "-"),
         "ztsnr": ("linear", "--"), "straight": ("exact", ":")}
for name, (key, line) in looks.items():
    look, s = dict(color=show.COLOUR[key], linewidth=2), all_five[name]
    axes[0].plot(s.alpha_bar, line, label=s.name, **look)
    axes[1].plot(every_level, s.snr[1:].log10(), line, **look)
axes[1].axhspan(-1, 1, color="0.9")
axes[1].text(20, -0.9, "the digit\ncomes out", fontsize=11)
axes[0].set(xlabel="level $t$", ylabel="share of the variance", title=r"$\bar\alpha_t$: all fall from 1 to 0")
axes[1].set(xlabel="level $t$", ylabel=r"$\log_{10}$ SNR", ylim=(-6, 4.5), title="which level has which SNR")
fig.legend(loc="outside lower center", ncols=5, columnspacing=1)
show.figure(fig, "Two panels. Left, alpha_bar: linear and its repair fall early and lie flat near 0 from "
            "level 700; cosine, sigmoid and the straight log SNR fall through the middle, the last most "
            "steeply. Right, log SNR: one straight line; linear stops at -4.4, the others drop at the end.")

# %% [markdown] exercise_text="8.5" slideshow={"slide_type": "slide"}
# *What to see.* The right panel tells you more: a schedule is a choice of **how many levels to spend at which SNR**. Look at the grey band, an SNR from 10 to 0.1, where the digit comes out of the noise. Cosine and sigmoid cross it slowly. The linear schedule has left it half-way through its levels, and spends the other half where there is little to see.
# The dotted line is the one made with your 8.3: it is straight, so every power of ten gets equally many levels. The dashed line is your 8.4. With $r_t=\sqrt{\bar\alpha_t}$, its two conditions give
#
# $$r'_t=(r_t-r_T)\,\frac{r_1}{r_1-r_T},\qquad \bar\alpha'_t=r_t'^{\,2}\qquad(t=1,\dots,T) .$$
#
# We shift the curve down until its last value is 0, then stretch it until the value at level 1 is back. Only the levels from about 700 on move visibly.
#
# In training we draw the levels evenly, so an SNR with twice as many levels counts twice. A schedule is therefore also a *weighting*. Prediction, schedule and weights all change the same thing: how much an error of $x_0$ counts at each SNR. In sampling the schedule does something else as well: it decides at which SNRs the sampler stops. The last column of the table above counts how many of 20 DDIM steps fall into the grey band. Keep it in mind for section 6.
#
# **Question** Why is "$\epsilon$ with zero terminal SNR" missing in section 6?
#
# <details>
# <summary>Answer</summary>
#
# At the last level $x_T$ *is* the noise. The network can copy its input, its error is 0, and $x_0=(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon)/\sqrt{\bar\alpha_t}$ becomes $0/0$. So the first step of sampling is impossible. A network asked for $x_0$ can do something sensible there: its best answer is the mean digit. (Asked for $v$, which is $-x_0$ at this level, it answers the negative of the mean digit.)
#
# </details>
#
# ## 4. Can we choose the weights on purpose?
#
# Each question brings a weighting with it, whether we want it or not. So why not choose one on purpose? Hang et al. (2023) suggest that an error of $x_0$ should get the weight
#
# $$w^{x_0}_t=\min(\mathrm{SNR}_t,\ \gamma),\qquad \gamma=5 ,$$
#
# and call it **min-SNR**. The weight grows with the SNR, as in the loss of $\epsilon$, but it stops growing at 5. Their reason is that the levels are many tasks for one network, and their gradients pull in different directions. At low noise there are only the last, hardly visible traces to remove, and this task should not drown the others.
#
# That is the weight on an error of $x_0$. A network that predicts $\epsilon$ or $v$ has another loss, which already contains a weight, as we saw in section 2. Which weight must *its* loss get, so that in the end an error of $x_0$ counts $\min(\mathrm{SNR}_t,\gamma)$?
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
# A weight changes its unit in the opposite direction to a loss. `in_unit(loss, "x0", prediction, snr)` would multiply by the factor of the prediction; what divides by it?
#
# </details>
#
# The next figure has two panels. On the left: how much an error of $x_0$ counts under each loss ("uniform" means that all levels have the weight 1). On the right: your weights, level by level, on the cosine schedule.
#
# <!--slide 5 min
# ## Min-SNR: the weights of $\epsilon$, cut at 5
#
# $$w^{x_0}_t=\min(\mathrm{SNR}_t,\ \gamma),\qquad \gamma = 5$$
#
# - this is the weight of an error of $x_0$; which weight does the loss of $\epsilon$ or $v$ need?
# - at low noise only the last, hardly visible traces are left to remove
#
# **Your turn: 8.5, 5 minutes.** `min_snr_weights(snr, prediction, gamma=5.0)`
#
# Notes:
# Say: if the question fixes a weighting by accident, why not choose one on purpose? Hang et al. (2023): the levels are many tasks for one network, and none should drown the others.
# Ask: why is "eps with zero terminal SNR" not in the table to come? (At the last level x_t is the noise. The network copies its input, and x_0 is 0/0: the first step of sampling cannot be taken.)
# Give 5 minutes before showing the figure (it appears on a click). Common mistakes: dividing before cutting; forgetting the + 1 for v; multiplying where one divides.
# Then write on the board: for eps min(SNR, gamma) / SNR, for v min(SNR, gamma) / (SNR + 1). Say: left, how much an error of x_0 counts under each loss. Uniform eps counts errors at an SNR of 1,000 a million times more than at 0.001. v takes the larger of the other two. Min-SNR is the eps diagonal, cut at 5. Right, what each loss is multiplied by on the cosine schedule.
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

# %% expected="8.5" tags=["hide-input", "slide-figure"] slideshow={"slide_type": "fragment"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.6))
range_of_snr = torch.logspace(-3, 3, 200)
for given, name in names.items():
    counts = in_unit(torch.ones(200), "x0", given, range_of_snr)
    look = dict(linewidth=7, alpha=0.4) if given == "eps" else {}  # v and min-SNR lie on top of it
    axes[0].plot(range_of_snr, counts, color=show.COLOUR[given], label=f"{name}, uniform", **look)
    axes[1].plot(every_level, min_snr_weights(snr, given), color=show.COLOUR[given], label=f"for {name}")
axes[0].plot(range_of_snr, range_of_snr.clamp(max=5), "k--", label="min-SNR, all three")
axes[0].set(xscale="log", yscale="log", xlabel="SNR", ylabel="weight", title="weight on the error of $x_0$")
axes[1].set(xlabel="level $t$", ylabel="weight", title="min-SNR: weight on each loss")
for ax in axes:
    ax.legend()
show.figure(fig, "Left: weight on the error of x_0 against the SNR, both logarithmic. eps is a diagonal, "
            "x_0 flat, v follows the larger of both, min-SNR is the diagonal cut off at 5. Right: "
            "the weights by level: for x_0 5 falling to 0, for eps rising to 1, for v a hump below 1.")

# %% [markdown] exercise_text="8.6" slideshow={"slide_type": "slide"}
# *What to see.* On the left, $\epsilon$ is the broad pale line: it counts an error at an SNR of 1,000 a million times as much as one at 0.001. $x_0$ counts all errors alike, and $v$ follows the larger of the two. Min-SNR follows $\epsilon$ up to 5 and is flat from there on. On the right are your weights. They are the dashed line divided by the factors of section 2:
#
# $$w^{\epsilon}_t=\frac{\min(\mathrm{SNR}_t,\gamma)}{\mathrm{SNR}_t},\qquad w^{v}_t=\frac{\min(\mathrm{SNR}_t,\gamma)}{\mathrm{SNR}_t+1} .$$
#
# For $\epsilon$ the weight is 1 wherever the SNR is below $\gamma$, and becomes small towards low noise. For $v$ it becomes small at both ends.
#
# ## 5. At which levels is the loss large?
#
# So far we made the errors up. How large are they in a real network? In notebook 02 we saw, with points, that noise is not equally hard to predict at all levels. How different are the levels for pictures? Write down your guess first.
#
# ### Exercise 8.6: the loss of noise, by level
#
# A small network is asked for $\epsilon$ on the linear schedule, as in the first papers. Sketch its mean squared error of $\epsilon$ at the levels 25, 275, 525, 775 and 975 of 1,000. The axis is logarithmic, so only the powers of ten matter. (Somebody who always answers "no noise at all" has an error of 1.) Your sketch is drawn into the next figure, together with the curve it is judged by: that of a network trained for <!--r:objectives.recipe.steps|,-->600<!--/--> steps, on held-out digits.
#
# Difficulty: ●●○○○, 3 minutes
#
# <details>
# <summary>Hint</summary>
#
# At level 975 nearly all of $x_t$ is noise. How wrong is somebody who copies the input? At level 25 there is a little noise in a clear picture. How well could you tell what it is, pixel by pixel?
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
# Have run before class: the live training of two small networks, 300 steps each, about 20 seconds.
# Say: left, in its own unit the loss of eps falls by a factor of about a hundred over the levels. v is more even, not flat. Right, the same losses as errors of x_0: the small loss of eps at the top stands for an error far above 1.
# Ask: what error in x_0 does answering with the mean digit have? (About 0.3, the dashed line of section 2. Whoever is above it would do better without a network.)
# Answers 8.7.
# -->

# %% exercise="8.6" kind="predict" slideshow={"slide_type": "skip"}
# TODO 8.6: the mean squared error of eps at levels 25, 275, 525, 775, 975
### BEGIN SOLUTION
guess = 0.5, 0.1, 0.03, 0.005, 0.002
### END SOLUTION
check.predict("8.6", guess)

# %% [markdown] exercise_text="8.7" slideshow={"slide_type": "skip"}
# Now let's measure it. Each training step gives us its losses (B,) and levels (B,), as `step.losses` and `step.t`. If we sort the losses into bins of levels, we see at which levels the network is good.
#
# ### Exercise 8.7: the loss level by level
#
# `losses` is (N,), and `t` is (N,) with whole numbers from 1 to T, in any order. Return the mean loss in each of `bins` equal parts of the levels, (bins,), and 0 where no example fell. $T$ need not be a multiple of `bins`: level $t$ begins at the share $(t-1)/T$ of the way, and this decides its bin.
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

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Two networks, live
#
# We train two small U-Nets for 300 steps each. One is asked for $\epsilon$ on the linear schedule, as in the first papers, the other for $v$ on the cosine schedule, as in this course. This takes about 20 seconds.

# %% slideshow={"slide_type": "skip"}
steps = choose(read=300, smoke=4)
middle = np.arange(25.5, 1000, 50)  # of 20 bins of levels: 1 to 50, 51 to 100, and so on
settings = {"eps, linear": ("eps", linear()), "v, cosine": ("v", cosine())}
live, shipped = {}, checkpoints.load_results("objectives")
judged = shipped["settings"]["eps_linear_uniform"]["levels"]["eps"]  # by this curve your sketch is judged
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

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "fragment"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.6))
for name, (prediction, chosen) in settings.items():
    losses, t, colour = live[name]["losses"], live[name]["t"], show.COLOUR[prediction]
    clean, label = in_unit(losses, prediction, "x0", chosen.snr[t]), f"{names[prediction]}, {chosen.name}"
    axes[0].plot(middle, loss_by_level(losses, t, 1000, 20), "o-", color=colour, label=label)
    axes[1].plot(middle, loss_by_level(clean, t, 1000, 20), "o-", color=colour, label=label)
axes[0].plot(middle, judged, "--", color=show.COLOUR["eps"], label=r"$\epsilon$, 600 steps, held out")
if sketch := check.written("8.6"):
    axes[0].plot([25, 275, 525, 775, 975], sketch, "s:", color=show.COLOUR["other"], label="your sketch")
axes[1].axhline(mean_guess, color="black", linestyle="--", label="guess the mean digit")
axes[0].set(xlabel="level $t$", ylabel="mean squared error", yscale="log", title="in the unit asked for")
axes[1].set(xlabel="level $t$", ylabel="mean squared error", yscale="log", title="as an error of $x_0$")
axes[0].legend(), axes[1].legend()
show.figure(fig, "Live loss in 20 bins of levels, logarithmic. Left: that of eps falls far, that of v much "
            "less; dashed, eps after 600 steps, held out. Right: as errors of x_0 both rise, eps above 1.")

# %% slideshow={"slide_type": "skip"}
said = check.truth("8.6", [judged[k] for k in (0, 5, 10, 15, 19)])

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* It is often said that noise is equally hard to predict at all levels. The left panel says otherwise: the bins of $\epsilon$ differ by far more than a factor of ten (the number is printed above the figure). The loss of $v$ is more even, but not flat.
#
# The hint asked about copying the input. That would have an error of about 0.00005 in the highest bin. The network has 0.002, some forty times as much: it does not even manage to copy.
#
# Now follow the $\epsilon$ network into the right panel, to the highest levels. Its loss was smallest there. As an error of $x_0$ it is far above the dashed line, which is the error of somebody who always answers with the mean digit. A small loss can mean that the question was easy.
#
# So far we looked at training losses of two different schedules, from few examples. Let's measure properly: 360 held-out digits, the cosine schedule, uniform weights, and each network judged in *all three* units. These networks and all that follow were trained beforehand by `make train`, from three seeds each: a small U-Net of
# <!--r:objectives.recipe.parameters|,-->159,265<!--/--> parameters, <!--r:objectives.recipe.steps|,-->600<!--/--> steps of batch 64. Where do you expect the three curves to differ?
#
# <!--slide 3 min
# ## Away from the ends all three networks are equally good
#
# Held-out digits, three seeds, each network judged in all three units. Look at the ends: asked for $\epsilon$ it fails in $x_0$ at the top, asked for $x_0$ it fails in $\epsilon$ at the bottom.
#
# Notes:
# Say: the same cosine schedule and uniform weights; the three curves lie on each other over most levels. They part where section 2 said: the network asked for eps fails in x_0 at the top, the one asked for x_0 fails in eps at the bottom. The loss of eps falls from <!--r:objectives.settings.eps_cosine_uniform.levels.eps.0|.2f-->0.63<!--/--> to <!--r:objectives.settings.eps_cosine_uniform.levels.eps.19|.4f-->0.0047<!--/--> over the levels; v stays within a factor of three.
# Ask: which level is the hardest? (It depends on the unit: in eps the lowest, in x_0 the highest.)
# Live: nothing to train, stored results.
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3.8), sharey=True)
for ax, unit in zip(axes, names, strict=True):
    for given, name in names.items():
        by_level = shipped["settings"][f"{given}_cosine_uniform"]["levels"][unit]
        look = dict(markersize=3, color=show.COLOUR[given], alpha=0.8)
        ax.plot(middle, by_level, "o-", label=f"asked for {name}", **look)
    ax.set(yscale="log", ylim=(1e-3, 1e2), xlabel="level $t$", title=f"error in {names[unit]}")
axes[0].set_ylabel("mean squared error")
axes[2].legend()
for given in names:
    own = shipped["settings"][f"{given}_cosine_uniform"]["levels"][given]
    print(f"asked for {given:3s}: own loss, worst bin over best: {max(own) / min(own):,.0f}")
show.figure(fig, "Held-out error by level of three networks, in eps, x_0 and v. The network asked for x_0 "
            "is worst at low levels in eps; the one asked for eps is far worse than the others at the"
            " highest levels in x_0.")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* The three curves lie on top of each other over most levels, in every panel. Whichever question we ask, the network learns the same about the digits. The curves part where section 2 told us. The network asked for $\epsilon$ fails in $x_0$ at the highest levels. Even with $\hat x_0$ clamped to $[-1,1]$ its error there is
# <!--r:objectives.settings.eps_cosine_uniform.levels.clipped.19|.2f-->0.94<!--/-->, where $v$ has <!--r:objectives.settings.v_cosine_uniform.levels.clipped.19|.2f-->0.30<!--/-->. The network asked for $x_0$ fails in $\epsilon$ in the lowest bin, where it is worse than assuming no noise at all.
#
# Which level is the hardest? That depends on the unit. In the left panel it is the lowest, in the middle panel the highest. The errors of the $v$ network in $v$ stay within a factor of three of each other.
#
# ## 6. What is each choice worth?
#
# Now to the samples. We change one choice at a time and keep everything else equal; such a comparison is called an **ablation**. Here are all combinations of three predictions, four schedules and two weightings, except $\epsilon$ with zero terminal SNR.
#
# - **Training**: <!--r:objectives.recipe.steps|,-->600<!--/--> steps, the same network, batch size and learning rate. The weights are scaled to mean 1 over the levels, so that no row trains with larger steps.
# - **Sampling**: 1,000 samples with <!--r:objectives.recipe.draw_steps|d-->20<!--/--> DDIM steps, even in $t$, with $\hat x_0$ kept in $[-1,1]$.
# - **Scores** as in notebook 03: the Frechet distance (less is better), and the share of samples of which the judge, a classifier, is more than 0.95 sure. Each is a mean $\pm$ standard deviation over three seeds. A seed fixes the first weights, the batches and the noise that samples start from, and every row has the same three seeds.
#
# The training is short on purpose, so the table shows which choices learn *fast*. The last column leaves out the clamp of $\hat x_0$ (seed 0 only). The last row has digits that neither a network nor the judge was trained on.
#
# <!--slide 3 min
# ## Twenty-two settings, three seeds: most bars overlap
#
# Filled: uniform weights; open: min-SNR; bars: standard deviation over three seeds
#
# Notes:
# Say: three predictions, four schedules (ztsnr is linear with zero terminal SNR), two weightings; <!--r:objectives.recipe.steps|,-->600<!--/--> steps each, everything else equal, rows share their seeds. The dashed lines are real digits. Every row sampled 20 DDIM steps even in t, which lie at other SNRs on each schedule.
# Ask: which differences do you believe? (Linear against cosine for one prediction. Many others are within the bars; the next slide says how to decide.)
# Live: nothing to train. The cell above prints the table, best row first.
# -->

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
def pm(found, form):
    """mean ± standard deviation, as text."""
    if found["mean"] is None:
        return "broke down"
    return f"{found['mean']:{form}} ± " + ("?" if found["std"] is None else f"{found['std']:{form}}")


rows, floor, lines = shipped["settings"], shipped["floors"], []
for key in sorted(rows, key=lambda key: rows[key]["frechet"]["mean"]):
    row, free = rows[key], rows[key]["unclipped"]["confident"]["mean"]
    free = "broke down" if free is None else f"{free:.1%}"
    lines.append([*key.split("_", 2), pm(row["frechet"], ".1f"), pm(row["confident"], ".1%"), free])
real = [pm(floor["frechet"], ".1f"), f"{floor['confident_held_out']:.1%}"]
lines.append(["real digits", "", "", *real, ""])
header = ["prediction", "schedule", "weights", "Frechet distance", "confident", "confident, no clamp"]
show.table(lines, header, "22 settings, the smallest distance first")

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
def dot(colour, fill=None, marker="o"):
    """One entry of a legend."""
    return plt.Line2D([], [], marker=marker, linestyle="", color=colour, markerfacecolor=fill)


entries = {f"asked for {name}": dot(show.COLOUR[given]) for given, name in names.items()}
entries |= {"uniform weights": dot("0.4"), "min-SNR": dot("0.4", "white")}
entries["real digits"] = plt.Line2D([], [], color=show.COLOUR["floor"], linestyle="--", linewidth=1)
of_real = (floor["frechet"]["mean"], floor["confident_held_out"])

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 4.4))
axes[0].set_ylim(0, 20)
for key, row in rows.items():
    given, chosen, weighting = key.split("_", 2)
    place = list(schedules).index(chosen) + 0.24 * (list(names).index(given) - 1)
    shift, fill = (-0.05, None) if weighting == "uniform" else (0.05, "white")
    look = dict(fmt="o", capsize=3, color=show.COLOUR[given], mfc=fill)
    for ax, score in zip(axes, ("frechet", "confident"), strict=True):
        ax.errorbar(place + shift, row[score]["mean"], row[score]["std"], **look)
for ax, level, title in zip(axes, of_real, ("Frechet distance", "confident share"), strict=True):
    ax.axhline(level, color=show.COLOUR["floor"], linestyle="--", linewidth=1)
    ax.set(xticks=range(4), xticklabels=list(schedules), xlabel="schedule", ylabel=title)
fig.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=6, columnspacing=1)
show.figure(fig, "Frechet distance and confident share of the 22 settings by schedule, a colour for each "
            "prediction, open: min-SNR; error bars over the seeds; dashed, real digits.")

# %% [markdown] exercise_text="8.8" slideshow={"slide_type": "slide"}
# ### How large must a difference be?
#
# Many bars in the figure overlap. Which differences should we believe? Suppose for a moment that no choice mattered at all. The rows would still differ, because two things vary by chance: the training (another seed gives another network) and the sampling (other noise gives other samples).
#
# Say that single trainings have the standard deviation $s$. Then the mean over $n$ seeds has the standard deviation $s/\sqrt n$, and the difference of two such means, from *independent* trainings, has $s\sqrt{2/n}$. Twice that is a fair threshold: a smaller difference can easily be luck. And we have to count our comparisons. About one in twenty exceeds the threshold by luck alone, so among forty we expect two.
#
# How do we get $s$? Three seeds tell us little about it. We take the average over the variances of all 22 rows. That helps less than it seems, as all rows share the same three seeds. For a check we trained the base setting ($v$, cosine, uniform) from six seeds, and we use the larger of the two values. Both are in the table below the exercise.
#
# We can do better than this threshold. Two rows with the same seed share their first weights, batches and starting noise, and some seeds are lucky in most rows. If we take the difference of two rows seed by seed, this common luck drops out.
#
# ### Exercise 8.8: a gain, in pairs
#
# `before` and `after` are scores (pairs, seeds): in each pair one thing was changed, and column $i$ is seed $i$ in both. Return the mean gain, after minus before, and its standard error *over seeds*. (For a distance less is better, so there a negative gain is good.) All pairs of one seed share its luck, so a seed counts as one measurement, the mean over its pairs.
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
# In words: by chance two means of $n$ trainings differ by about $s\sqrt{2/n}$; we ask for twice that.
#
# - one comparison in twenty passes by chance; rows with one seed share its luck
#
# **Your turn: 8.8, 9 minutes.** `paired_gain(before, after)`, then **8.9, 6 minutes**: make one seed say the opposite.
#
# Notes:
# Say: a mean over n seeds scatters by s over root n, a difference of two independent means by root two more. Twice that is a fair threshold. Three seeds tell us little about s. All rows together help less than it seems, since they share their seeds; six seeds of the base setting are the check. For the Frechet distance the threshold is 2.7.
# Ask: one training of each of two settings: how large must the difference be? (2 s root 2, nearly three standard deviations. That is why a single training each shows little.)
# Common mistakes in 8.8: every pair counted as a training of its own; the error of two independent groups, which still contains what the seeds share.
# Live: a second. On a click come the effects, each averaged over all pairs of rows that differ in one thing. The notebook also has the scatter of the base setting over seeds, of one network over draws, and the thresholds.
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

# %% slideshow={"slide_type": "skip"}
knobs = checkpoints.load_results("knobs")
trained, drawn, seeds = knobs["base_seeds"], knobs["base_draws"], knobs["recipe"]["seeds"]
distances = {key: row["frechet"]["values"] for key, row in rows.items()}  # of the three seeds


def scatter(score):
    """Standard deviation of single trainings: the root of the mean variance of all rows."""
    return np.sqrt(np.mean([row[score]["std"] ** 2 for row in rows.values()]))


def threshold(score, n):
    """Twice the standard deviation of the difference of two means over n seeds each."""
    return 2 * max(scatter(score), trained[score]["std"] or 0) * np.sqrt(2 / n)


def paired(change, score):
    """Scores before and after, (pairs, seeds) each, of all pairs of rows that differ in this one thing."""
    pairs = [(key, key.replace(*change)) for key in rows if change[0] in key and key.replace(*change) in rows]
    before, after = zip(*pairs, strict=True)
    return [torch.tensor([rows[key][score]["values"] for key in keys]) for keys in (before, after)]


# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
lines, titles = [], {"frechet": "Frechet distance", "confident": "confident", "entropy": "effective classes"}
for score, form in (("frechet", ".2f"), ("confident", ".1%"), ("entropy", ".2f")):
    limits = [f"± {scatter(score):{form}}", f"{threshold(score, 3):{form}}"]
    lines.append([titles[score], pm(trained[score], form), pm(drawn[score], form), *limits])
trainings, draws = (len(found["frechet"]["values"]) for found in (trained, drawn))
header = ["score", f"base, {trainings} trainings", f"one network, {draws} draws", "all rows: s"]
show.table(lines, [*header, "threshold for 3 seeds"])
worst = np.argmax(list(distances.values()), axis=1)
print("how often seeds 0, 1 and 2 are the worst of their row:", np.bincount(worst).tolist())

# %% tags=["hide-input", "slide-output"] slideshow={"slide_type": "fragment"}
changes = [("linear", "cosine"), ("cosine", "sigmoid"), ("linear", "ztsnr"), ("uniform", "min_snr")]
changes += [("eps_", "v_"), ("x0_", "v_")]
lines = []
for one, other in changes:
    before, after = paired((one, other), "frechet")
    (gap, error), (more, by) = paired_gain(before, after), paired_gain(*paired((one, other), "confident"))
    smaller = f"{(after.mean(1) < before.mean(1)).sum()} of {len(before)}"
    change = f"{one.strip('_')} to {other.strip('_')}"
    times = [f"{abs(gap) / error:.1f}", f"{abs(more) / by:.1f}"]  # how large the gain is in errors
    gains = f"{gap:+.1f} ± {error:.1f}", f"{more:+.1%} ± {by:.1%}"
    lines.append([change, gains[0], times[0], smaller, gains[1], times[1]])
header = ["change", "Frechet distance", "gain / error", "smaller in so many pairs"]
show.table(lines, [*header, "confident share", "gain / error"])

# %% [markdown] exercise_text="8.9" slideshow={"slide_type": "skip"}
# *What to see.* The first table shows how large luck is. In the Frechet distance, six trainings of the same setting have a standard deviation of 1.4, and six draws of samples from one network 0.6. Averaged over all rows, single trainings have 1.66. This is the larger value, so it is our $s$, and $2s\sqrt{2/3}$ is 2.7. The table of changes has the six comparisons that we can make in pairs; we come back to it below.
#
# In the last line of that table $v$ is ahead of $x_0$: its distance is smaller by 1.2 on average. Now suppose you had trained only once. What could you have written?
#
# ### Exercise 8.9: one seed can say anything
#
# `headline` below takes one seed and two rows that differ only in the prediction, and returns by how much the distance of $v$ is smaller. As it is given, $v$ wins. Change the seed and nothing else, so that the same table "shows" $x_0$ ahead by at least 0.5 (other rows of seed 0 will not do it). Then say what would have protected a reader from this headline:
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
# *What to see.* Go through the table of changes from the top. Each line is the mean over all pairs of rows that differ in this one thing, and $\pm$ is the standard error over seeds, by your `paired_gain`.
#
# How many errors must a gain be? An error made from three seeds is itself uncertain, and to be wrong only once in twenty the gain must be about *four* errors (4.3, from the $t$ distribution with two degrees of freedom), not two. The columns "gain / error" say what we have. Do not rely on the number of pairs: they overlap. The rows share their seeds, linear and its repair are nearly the same schedule, and so are cosine and sigmoid.
# From $x_0$ to $v$ all eight pairs agree, and still the gain is below two errors, because the seeds disagree.
#
# - **Schedule.** Cosine is ahead of linear in every pair and with every seed. But this line mixes two things, as the schedule was changed in training *and* in sampling. On the linear schedule 8 of the 20 DDIM steps have an SNR between 10 and 0.1, on cosine 13 (the table of section 3). Which of the two makes the difference? We test it below. Cosine and sigmoid take their steps at similar SNRs, and they differ very little. The zero-terminal repair changes the distance by only 0.1: it moves the levels above 700, where the digit is lost anyway. (A schedule that ends far from 0, like the short chains of notebook 01, needs such a repair. Lin et al. report that it also makes very dark and very bright pictures possible.)
# - **Weighting.** Min-SNR has the smaller distance with every seed, by more than 13 errors, and the larger confident share by a little more than four. In four single pairs the gain in distance is below the threshold; all eleven together show it. Min-SNR takes weight from the lowest levels ($\epsilon$), from the highest ($x_0$) or from both ($v$). The errors there grow, and others shrink: for $\epsilon$ on cosine the held-out error is 1.3 times that of uniform weights in the lowest bin, and 0.8 times in the highest. Whether the distance falls *because* of this, the table cannot tell.
# - **Prediction.** With the clamp there is no order that holds everywhere: $\epsilon$ has the smaller distance on the linear schedule, and $v$ on cosine with uniform weights. Most of these differences are below the threshold. Compared with $x_0$, $v$ has some more confident samples with every seed (nine errors), and no clearly better distance.
#
# Back to the four networks of the opening. A is $x_0$, linear, uniform, nearly at the end of the table, and B is $v$, cosine, min-SNR. Their distances differ by more than 8, three times the threshold. B and D differ in the weights only, and by 1.1: the distance cannot tell these two apart, while the confident share can.
#
# To see a difference between the predictions, look at the last column of the large table. Without the clamp, $\epsilon$ on the cosine schedule falls to <!--r:objectives.settings.eps_cosine_uniform.unclipped.confident.mean|.0%-->19%<!--/--> confident samples, and $v$ stays at <!--r:objectives.settings.v_cosine_uniform.unclipped.confident.mean|.0%-->71%<!--/-->. The clamp hides in sampling that $\epsilon$ says so little about $x_0$ at the top. The linear schedule never gets as close to pure noise, and there $\epsilon$ loses far less.
#
# One seed is the worst in most rows (the line below the table with the thresholds). All rows share its weights, batches and noise, so they go up together. The plain error bars contain this common shift and the paired differences do not. That is why a paired difference can be clear although the bars overlap.
#
# One caution: this was one small network, one data set, one short training and one sampler. With fresh noise at each step ($\eta=1$, seed 0) the base setting gets <!--r:objectives.settings.v_cosine_uniform.stochastic.frechet.mean|.1f-->8.6<!--/--> instead of <!--r:objectives.settings.v_cosine_uniform.frechet.values.0|.1f-->11.8<!--/-->, and $\epsilon$ with cosine <!--r:objectives.settings.eps_cosine_uniform.stochastic.frechet.mean|.1f-->6.6<!--/--> instead of <!--r:objectives.settings.eps_cosine_uniform.frechet.values.0|.1f-->10.9<!--/-->.
# So the sampler, which the table keeps fixed, can matter as much as anything in it.
#
# ### Was it the training, or the stops of the sampler?
#
# A network is trained on the levels of one schedule. When we sample, we may choose at which of these levels it stops. So we trained networks for three schedules again, with the same seeds and steps as above, and let each network sample in several ways: at 20 levels even in $t$, as in the large table, and at the levels of its own schedule whose log SNRs come nearest to
# those at which the linear, the cosine or the sigmoid schedule stops. The last column has stops that are equally far apart in log SNR. Every walk begins at level $T$. If the stops make the difference, what do you expect in one column?
#
# <!--slide 4 min
# ## Schedule and weighting make a difference, prediction hardly
#
# - **schedule:** cosine beats linear in every pair and seed; for $v$ by as much when both stop at the same SNRs
# - **weighting:** min-SNR has the smaller distance with every seed, by 13 standard errors
# - **prediction:** with the clamp, no order that holds everywhere
#
# <table>
# <tr><th>confident samples, cosine, uniform</th><th>with the clamp</th><th>without (one seed)</th></tr>
# <tr><td>$\epsilon$</td><td><!--r:objectives.settings.eps_cosine_uniform.confident.mean|.0%-->72%<!--/--></td><td><!--r:objectives.settings.eps_cosine_uniform.unclipped.confident.mean|.0%-->19%<!--/--></td></tr>
# <tr><td>$x_0$</td><td><!--r:objectives.settings.x0_cosine_uniform.confident.mean|.0%-->71%<!--/--></td><td><!--r:objectives.settings.x0_cosine_uniform.unclipped.confident.mean|.0%-->70%<!--/--></td></tr>
# <tr><td>$v$</td><td><!--r:objectives.settings.v_cosine_uniform.confident.mean|.0%-->74%<!--/--></td><td><!--r:objectives.settings.v_cosine_uniform.unclipped.confident.mean|.0%-->71%<!--/--></td></tr>
# </table>
#
# **Look** at the first row: the clamp hides how little $\epsilon$ says about $x_0$ at the top.
#
# Notes:
# Say: the schedule was changed in training and in sampling: 8 of the 20 steps lie between SNR 10 and 0.1 on linear, 13 on cosine. But the stops hardly matter: the notebook samples all networks at the same SNRs, and for v cosine keeps its lead (<!--r:same_snr.rows.v_cosine.cosine.frechet.mean|.0f-->11<!--/--> against <!--r:same_snr.rows.v_linear.cosine.frechet.mean|.0f-->17<!--/-->). So it comes from the training. Without the clamp the predictions part. One seed is the worst in most rows, since all rows share its first weights, batches and starting noise: paired differences remove that.
# Ask: does this say that cosine is better than linear? (As a schedule to train v on with uniform weights, yes, for one small network, one data set, one short budget, one sampler. Change the sampler and the numbers move as much as from row to row: with fresh noise at each step the base falls from 11.6 to 8.4, with seed 0.)
# Live: the table of the stops, a second. The last cell of this section scores the two networks trained in class; one training each, so only a large difference counts.
# -->

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
trained_on = checkpoints.load_results("same_snr")["rows"]
stops = {"own": "even in t", "linear": "of linear", "cosine": "of cosine", "sigmoid": "of sigmoid"}
stops["even"], lines = "even in log SNR", []
for key, row in trained_on.items():
    found = [pm(row[stop]["frechet"], ".1f") if stop in row else "" for stop in stops]
    lines.append([*key.split("_"), *found])
for given, score, form in (("v", "frechet", ".1f"), ("eps", "frechet", ".1f"), ("eps", "confident", ".1%")):
    gains = []
    for stop in stops:
        ends = [trained_on[f"{given}_{name}"][stop][score]["values"] for name in ("linear", "cosine")]
        gain, error = paired_gain(*(torch.tensor([values]) for values in ends))
        gains.append(f"{gain:+{form}} ± {error:{form}}")
    lines.append([given, f"linear to cosine, {titles[score]}", *gains])
show.table(lines, ["prediction", "trained on", *stops.values()], "Frechet distance by where the steps stop")

# %% [markdown] slideshow={"slide_type": "skip"}
# *What to see.* Go down a column. There all walks stop at the same SNRs (except in the first, "even in t"), and only the training differs. Asked for $v$, cosine is ahead of linear by about six in every column and with every seed; at the stops of cosine it is <!--r:same_snr.rows.v_cosine.cosine.frechet.mean|.1f-->11.1<!--/--> against <!--r:same_snr.rows.v_linear.cosine.frechet.mean|.1f-->17.4<!--/-->.
#
# Now go along a row: one network, other stops. The stops of another schedule move the mean distance of a $v$ network by less than 0.3, and that of an $\epsilon$ network by 1 at most. Stops that are even in log SNR cost every network about two. (Nine of these 20 stops have an SNR above 100 or below 0.01, where little is left to decide.)
#
# So the lead of cosine comes from the training, at least for $v$ with uniform weights. The cosine schedule spends more of its levels on the SNRs at which the digit comes out. For $\epsilon$ the lead in the distance is about two to three errors where four are needed, and one seed hardly agrees. Its confident share rises in every column, with every seed (last line). Cosine and sigmoid remain alike wherever they stop. (The linear schedule stops at SNRs so low that sigmoid has no separate levels for them, so one place is empty.)
#
# ### Can one training each show a difference?
#
# In section 5 you trained two networks live, from one seed each and for half as many steps. What can they tell us? The next cell samples both, which takes a few seconds.

# %% slideshow={"slide_type": "skip"}
scores = []
for name, (_, chosen) in settings.items():
    rule = ddim(choose(read=20, smoke=2))
    samples = last(reverse(live[name]["model"], chosen, rule, (1000, 1, 8, 8), seed=1, clip_x0=1.0))
    row = rows[name.replace(", ", "_") + "_uniform"]
    distance, share = metrics.digits_frechet(samples), metrics.confident_share(samples)
    scores.append((distance, share))
    print(f"{name:12s} live, {steps} steps, one seed: Frechet distance {distance:6.1f}, confident "
          f"{share:.1%}; table {pm(row['frechet'], '.1f')}, {pm(row['confident'], '.1%')}")
(one_distance, one_share), (other_distance, other_share) = scores
print(f"the two differ by {abs(one_distance - other_distance):.1f}, {abs(one_share - other_share):.1%}; "
      f"single trainings must by {threshold('frechet', 1):.1f}, {threshold('confident', 1):.1%}")

# %% [markdown] exercise_text="8.10" slideshow={"slide_type": "slide"}
# *What to see.* When we ran this, the two networks differed by 6.8 in the distance, more than the 4.7 that two single trainings need (the last line has your numbers). So one training each can show a large difference. Three quarters of the differences between two rows of the table are smaller than 4.7, and half of them are below three. Those would be lost in the scatter.
#
# ### Which line is wrong?
#
# Nearly all curves of losses in this notebook come from one short program: draw levels, digits and noise, ask the network, sort the losses. Now it is your turn to find a mistake in it.
#
# ### Exercise 8.10: a curve of losses
#
# The program below measures the network of notebook 03 ($v$, cosine) on the held-out digits, as an error of $x_0$. One of its seven lines is wrong; which one, depends on a seed of yours. The curve alone may look fine. Find the line, and write its number into the second cell. For comparison: answering with the mean digit has an error of about 0.31, the dashed line, and at the very top a network can hardly do better. (`v_target` is that of 3.6.)
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
# ## 7. What do the ordinary settings do?
#
# Most people try another learning rate or a larger network before they think about schedules. Is that worth it? Here we change ten ordinary settings, one at a time. The base is $v$, cosine, uniform weights, with <!--r:knobs.recipe.steps|,-->600<!--/--> steps, batch 64, learning rate 0.002, $T=1000$, average of the weights with 0.999, attention, one block a resolution, 16 and 32 channels, and SiLU. Every setting is trained from the same three seeds.
#
# In the figure the grey band is the base $\pm$ the threshold of section 6. Two settings are far off the axis: they stand at its upper end with their numbers. Which panel do you expect to show the largest effect?
#
# <!--slide 3 min
# ## Ten ordinary settings: outside the grey band it counts
#
# Frechet distance, three seeds each; the bars are standard deviations over seeds
#
# Notes:
# Say: one setting at a time, from the same base (the diamond), three seeds. The distance is logarithmic, less is better; two settings are off the axis, with their numbers. In "average of weights" cold stands for no warm-up. Inside the grey band this threshold cannot tell a setting from the base, which does not mean that there is no difference: the table in the notebook has the gains in pairs.
# Ask: which panel has the largest effect, which the smallest? (The average of the weights without warm-up ruins everything; for attention and for the number of noise levels T no difference is shown.)
# Live: nothing to train. The cell below prints a verdict for every row.
# -->

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
places = {"length": "600", "lr": "2e-3", "batch": "64", "batch_images": "64", "T": "1000", "ema": "999"}
titles = {"length": "training steps", "lr": "learning rate", "batch": "batch, equal steps"}
titles |= {"batch_images": "batch, equal images", "T": "noise levels T", "ema": "average of weights"}
titles |= {"attention": "attention", "depth": "blocks a resolution", "width": "channels at 8x8"}
titles |= {"activation": "activation"}
base_names = {**places, "attention": "with", "depth": "1", "width": "16", "activation": "silu"}
averages = {"none": "none", "99": "0.99", "999": "0.999", "9999": "0.9999"}
averages |= {"999_cold": "0.999 cold", "9999_cold": "0.9999 cold"}


def with_base(knob):
    """The settings of a knob in order, the base among them: {name: scores}."""
    found = {base_names[knob]: knobs["base"], **knobs["knobs"][knob]}
    if knob == "ema":
        return {name: found[name] for name in averages}
    numbers = all(name.replace("e-", "").isdigit() for name in found)
    return {name: found[name] for name in sorted(found, key=float)} if numbers else found


# %% slideshow={"slide_type": "skip"}
usual, need = knobs["base"]["frechet"]["mean"], threshold("frechet", len(seeds))


def verdict(found):
    """Better or worse than the base by more than seeds explain? By the Frechet distance."""
    if None in found["frechet"]["values"]:
        return "breaks down"
    gap = found["frechet"]["mean"] - usual
    if abs(gap) < need:
        return "no difference shown"
    return "better" if gap < 0 else "worse"


def in_pairs(found, score, form):
    """The paired gain over the base, seed by seed, as text."""
    before, after = (torch.tensor([scores[score]["values"]]) for scores in (knobs["base"], found))
    gain, error = paired_gain(before, after)
    return f"{gain:+{form}} ± {error:{form}}"


# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
v_colour, highest, all_knobs = show.COLOUR["v"], 45, {knob: with_base(knob) for knob in titles}
entries = {"the base": dot(v_colour, marker="D"), "differs from the base": dot(v_colour)}
entries["no difference shown"] = dot(v_colour, "white")


def draw_setting(ax, i, name, found, base):
    """One setting at place i: its distance with error bar; an arrow where it is off the axis."""
    mean, std = found["frechet"]["mean"] or np.nan, found["frechet"]["std"] or 0
    if mean > highest:
        ax.annotate(f"{mean:.0f}", (i, highest), (i, 26 if i % 2 else 19), ha="center", fontsize=11,
                    arrowprops=dict(arrowstyle="->", color=v_colour, linewidth=2))
        return
    counts = name == base or verdict(found) != "no difference shown"
    look = dict(fmt="D" if name == base else "o", color=v_colour, mfc=v_colour if counts else "white")
    ax.errorbar(i, mean, std, capsize=3, **look)


# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(2, 5, figsize=(show.WIDTH, 5.8), sharey=True)
for ax, (knob, found) in zip(axes.flat, all_knobs.items(), strict=True):
    for i, name in enumerate(found):
        draw_setting(ax, i, name, found[name], base_names[knob])
    ax.axhspan(usual - need, usual + need, color="0.9", zorder=0)
    ax.set(xlim=(-0.6, len(found) - 0.4), ylim=(4, highest), yscale="log", yticks=(5, 10, 20, 40))
    ax.set_yticks([], minor=True)
    ax.set_yticklabels((5, 10, 20, 40))
    ax.set_title(titles[knob], fontsize=11)
    labels, turn = [averages.get(name, name) for name in found], 60 if len(found) > 3 else 0
    ax.set_xticks(range(len(found)), labels, rotation=turn)
fig.supylabel("Frechet distance", fontsize=12)
fig.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=3)
show.figure(fig, "Ten panels: Frechet distance (logarithmic, less is better), error bars over seeds. The "
            "base is a diamond, grey is not told from it. Two averages without warm-up are off the axis.")

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
lines = []
for knob, title in titles.items():
    for name, found in with_base(knob).items():
        is_base = name == base_names[knob]
        row = [title, averages.get(name, name)]
        for score, form in (("frechet", ".1f"), ("confident", ".1%")):
            row += [pm(found[score], form), "" if is_base else in_pairs(found, score, form)]
        lines.append([*row, "base" if is_base else verdict(found)])
caption = f"seeds {seeds}; by the threshold a difference of {need:.1f} in the Frechet distance is needed"
header = ["what was changed", "to", "Frechet distance", "in pairs", "confident", "in pairs"]
show.table(lines, [*header, "by the threshold"], caption)

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* About half of the points are open: with three seeds we cannot tell these settings from the base by the threshold. (That does not prove that they are equal. And among so many rows, one or two may be called better or worse by luck.) All rows share their seeds, so the table also has the gains in pairs, by your `paired_gain`. They see more: some settings that the threshold calls undecided are better with every seed. Panel by panel:
#
# - **Training steps.** Apart from the average in the second row, this is the strongest of all. The distance falls from <!--r:knobs.knobs.length.150.frechet.mean|.0f-->35<!--/--> after 150 steps to <!--r:knobs.knobs.length.2400.frechet.mean|.1f-->5.1<!--/--> after 2,400, and it is still falling. So train longer first, and compare other settings only at equal length.
# - **Learning rate.** A rate that is too small looks like a training that is too short. At 5e-3 the distance is smaller with every seed, but only by 0.5 (under three errors), and at 1e-2 no difference is shown.
# - **Batch.** The two panels ask two questions. At equal steps, 256 is better than 64: it has seen four times as many images, in about four times the time. At equal images, 256 is worse: it took a quarter of the steps. So whoever compares batch sizes has to say what was kept equal. (With a larger batch one usually raises the learning rate too; here it is fixed.)
# - **$T$.** No difference is shown, and a larger $T$ costs nothing: training sees one level at a time, and sampling takes 20 steps for every $T$.
# - **The network.** Half the channels are too few, and tanh and ReLU are behind SiLU. GELU is behind SiLU with every seed, but by less than four errors, and without attention no difference is shown. With two blocks or 32 channels the distance is smaller with every seed, by 1.8, which is three to four errors and not quite enough. The confident share says it more clearly: 2 blocks, 3 blocks and 32 channels gain about $3$ to $4\,\%$, more than its threshold of $2.7\,\%$ and more than five errors. (They are compared at equal steps; a larger network takes longer.)
# - **Average of weights.** Here are the two settings off the axis. "Cold" means without the warm-up $(1+n)/(10+n)$ of notebook 03. With 0.9999 the random first weights then still make up $0.9999^{600}\approx94\,\%$ of the average, and the distance is <!--r:knobs.knobs.ema.9999_cold.frechet.mean|.0f-->271<!--/-->. The training loss does not show it, because the training itself is exactly the same. The held-out loss of the *averaged* network does: it is 0.83, and that of the base 0.30. So measure the loss of the network that you sample from. (With the warm-up, 0.99, 0.999 and 0.9999 give *the same* network: after <!--r:knobs.recipe.steps|,-->600<!--/--> steps the warm-up has not yet reached 0.99.)
#
# ## 8. Do classes get lost, and does it copy?
#
# Here are two claims that you will hear often. The first is a piece of advice: **"mode collapse: train longer."** Mode collapse means that a model draws only some kinds of pictures. The word comes from GANs, where the generator can win by drawing a single kind. A diffusion model is trained to denoise *every* training picture, so it gains nothing by leaving one out. But an unfinished one might still draw some classes less often.
#
# So let's count, for each length of training: which share of 1,000 samples does the judge assign to each of the ten classes? One number for all ten shares $p_k$ is the **effective number of classes** $e^{H}$ with the entropy $H=-\sum_k p_k\ln p_k$. It is ten when all classes are equally frequent, and one when there is only one class.
#
# <!--slide 3 min
# ## Train longer before you turn anything else
#
# - **training steps:** distance <!--r:knobs.knobs.length.150.frechet.mean|.0f-->35<!--/--> after 150, <!--r:knobs.knobs.length.2400.frechet.mean|.1f-->5.1<!--/--> after 2,400, and the curve has not ended
# - **learning rate:** too small looks like too short a training
# - **batch:** at equal steps the larger one is better, at equal images worse
# - **average with 0.9999, no warm-up:** distance <!--r:knobs.knobs.ema.9999_cold.frechet.mean|.0f-->271<!--/-->, and the training loss does not show it
# - **network:** half the channels are too few; more blocks or channels raise the confident share
#
# Compare two settings at equal length only, and say what is equal: steps or images.
#
# > $0.9999^{600}\approx 0.94$. What does that say about the average with 0.9999, after 600 steps without warm-up?
#
# Notes:
# Say: the strongest ordinary knob is the length of the training. Compare other settings only at equal length, and say what you keep equal: steps or images.
# Ask: why does the average of weights with 0.9999 and no warm-up ruin the samples after 600 steps? (0.9999 to the power 600 is 0.94: the random first weights still make up most of the average.)
# -->
#
# <!--slide 3 min
# ## Every class is drawn from the start
#
# Share of each class among 1,000 samples, for five lengths of training; grey: means of three fair draws. Look: no class is missing even after 150 steps. Follow the nine from panel to panel.
#
# Notes:
# Say: the word mode collapse comes from GANs. A diffusion model is trained to denoise every training picture; it gains nothing by leaving one out. No class is missing even after 150 steps. The shares get more even, but after 2,400 steps they are not yet those of a fair draw: the nine is the most frequent class or next to it at every length, and the rarest class hardly moves from 300 steps on.
# Ask: all your samples look alike; where do you look first? (For a bug: one seed for all of them, or an average of the weights that is too young. Not for patience.)
# Live: nothing to train.
# -->

# %% slideshow={"slide_type": "skip"}
lengths = with_base("length")
fair = np.random.default_rng(0).multinomial(1000, [0.1] * 10, 500) / 1000  # 500 fair draws of 1,000
fair_lowest, fair_even = fair.min(1), np.exp(-(fair * np.log(fair)).sum(1))
of_three = np.random.default_rng(1).multinomial(3000, [0.1] * 10, 500) / 3000  # each dot: three times 1,000
low, high = 100 * np.quantile(of_three, (0.025, 0.975))

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
lines = [[n, pm(found["smallest_class"], ".1%"), pm(found["entropy"], ".2f")] for n, found in lengths.items()]
lines.append(["a fair draw", f"{fair_lowest.mean():.1%} ± {fair_lowest.std():.1%}",
              f"{fair_even.mean():.2f} ± {fair_even.std():.2f}"])
show.table(lines, ["training steps", "rarest class", "effective number of classes"])
fig, axes = plt.subplots(1, 5, figsize=(show.WIDTH, 3.4), sharey=True)
for ax, (n, found) in zip(axes, lengths.items(), strict=True):
    shares = 100 * np.array(found["classes"])  # (seeds, classes)
    ax.axhspan(low, high, color="0.85", zorder=0)
    ax.errorbar(range(10), shares.mean(0), shares.std(0, ddof=1), fmt="o", color=show.COLOUR["model"])
    ax.set(ylim=(0, 16), xticks=range(0, 10, 3), xlabel="class", title=f"{n} steps")
axes[0].set_ylabel("share in per cent")
axes[0].text(0, 1, "grey: 95 of 100\nmeans of three\nfair draws", fontsize=11)
show.figure(fig, "Share of each class for five lengths of training, error bars over seeds. All lie between 6 "
            "and 14 per cent. Seven leave the grey band of fair draws after 150 steps, three after 2,400.")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* No class is missing anywhere. After 150 steps only <!--r:knobs.knobs.length.150.confident.mean|.0%-->52%<!--/--> of the samples are digits to the judge, and still all ten classes are there. So there is no collapse that longer training would have to repair.
#
# The shares are not quite even, though. Follow the 9: at every length it is the most frequent class or next to it. (Perhaps it is drawn too often, perhaps the judge takes some odd shapes for a 9.) The rarest class has <!--r:knobs.knobs.length.150.smallest_class.mean|.1%-->6.3%<!--/--> after 150 steps and <!--r:knobs.knobs.length.2400.smallest_class.mean|.1%-->7.8%<!--/--> after 2,400, and it hardly moves from 300 steps on. In a fair draw it would have $8.5\,\%$. The effective number of classes rises from 9.72 to 9.90, where a fair draw has 9.95. In the figure seven of ten dots are outside the grey band after 150 steps, and three after 2,400. So the unevenness shrinks, but after 2,400 steps it is not yet that of a fair draw.
#
# What longer training improves most is the single sample. And if all your samples are alike, look for a bug first: one seed for all of them, or an average of weights that is too young.
#
# The second claim: **"it cannot be memorising."** People say so because the samples differ from each other, or because every sample starts from fresh noise. But in notebook 02 you built the *perfect* minimiser of the loss, which has both properties, and it does nothing but repeat training points. How close a network comes to it depends on how much it can store, how long it trains, and how many examples there are.
# So let's take examples away: we train the same network on 25, 100, 400 and all 1,437 training digits, for <!--r:memorise.recipe.steps|,-->3,000<!--/--> steps each. Below each sample you see its nearest training digit. From which size on are they different?
#
# <!--slide 3 min
# ## It can memorise: take examples away and it copies
#
# Copies: <!--r:memorise.sizes.25.copies.mean|.1%-->99.3%<!--/--> trained on 25 digits, <!--r:memorise.sizes.100.copies.mean|.0%-->51%<!--/--> on 100, <!--r:memorise.sizes.1437.copies.mean|.1%-->0.0%<!--/--> on 1,437 (two trainings each)
#
# Notes:
# Say: below each sample its nearest training digit. The same network, the same 3,000 steps. The two trainings of each size, with other digits and other first weights, agree. On 400 digits no copies yet, but samples lean towards the training set already. The loss on held-out digits parts from the training loss.
# Ask: a friend shows you fine, varied samples and says that nothing was memorised. What do you ask for? (The nearest training picture of each, and the same distance for pictures the network has never seen. Twenty-five memorised pictures are varied, too.)
# Live: nothing to train. The figure below in the notebook has the curves.
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
memory, pictures = checkpoints.load_results("memorise"), checkpoints.load_images("memorise")
lines = []
for n, found in memory["sizes"].items():
    lines.append([n, pm(found["copies"], ".1%"), pm(found["novelty"], ".2f"), pm(found["confident"], ".1%")])
header = ["training digits", "copies", "distance to the nearest", "confident"]
show.table(lines, header, f"seeds {memory['recipe']['seeds']}, each with its own training digits")
strips = {}
for n in (25, 100, 1437):
    strips[f"trained on {n}"] = pictures[f"samples_{n}"]
    strips[f"nearest of the {n}"] = pictures[f"nearest_{n}"]
show.rows(strips, alt="Six rows: ten samples of the networks trained on 25, on 100 and on 1,437 digits, "
          "below each sample the nearest training digit.")

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
sizes = {int(n): found for n, found in memory["sizes"].items()}
fig, (near, same, loss) = plt.subplots(1, 3, figsize=(show.WIDTH, 3.8))
for ax, score, title in ((near, "novelty", "distance to the nearest"), (same, "copies", "share of copies")):
    mean, std = ([found[score][key] or 0 for found in sizes.values()] for key in ("mean", "std"))
    ax.errorbar(list(sizes), mean, std, fmt="o-", color=show.COLOUR["model"], capsize=4, label="samples")
    ax.set(ylabel=title, xlabel="training digits", xscale="log", xticks=list(sizes), xticklabels=list(sizes))
near.axhline(1, color=show.COLOUR["floor"], linestyle="--", label="fresh digits")
fresh = [found["held_out_copies"]["mean"] for found in sizes.values()]
same.plot(list(sizes), fresh, color=show.COLOUR["floor"], linestyle="--", label="fresh digits")
for n, colour in ((25, show.COLOUR["other"]), (1437, show.COLOUR["v"])):
    for part, line in (("training", "-"), ("held_out", "--")):
        loss.plot(middle, sizes[n]["levels"][part], line, c=colour, label=f"{n}, {part}".replace("_", " "))
loss.set(ylabel="mean squared error of $v$", xlabel="level $t$", yscale="log")
near.legend(), same.legend(), loss.legend(fontsize=10)
show.figure(fig, "Distance to the nearest and share of copies by training size; loss by level, 25 and 1,437.")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* In the pictures, the samples of the network trained on 25 digits *are* their neighbours. With 100 digits most columns still look alike, with small differences, and with 1,437 nearly every column differs (the 0 is close by). So a diffusion model can memorise. Trained on 25 digits, <!--r:memorise.sizes.25.copies.mean|.1%-->99.3%<!--/--> of the samples are copies. On 1,437 digits <!--r:memorise.sizes.1437.copies.mean|.1%-->0.0%<!--/--> are, with the same network and the same number of steps. (Each number is the mean of two trainings, each on its own draw of digits. They agree so closely that the dots hide most error bars.) The three panels show three ways to find out:
#
# - *Left*: how far is a sample from its nearest training picture? 0 is a copy, and 1 is as far as a fresh digit would be. With 400 digits the samples are nearer to the training set than fresh digits are, although none of them is a copy yet. (A value a little above 1 is no sign of originality, as blurred samples are far from every digit.)
# - *Middle*: how many samples are copies? By a common rule, a copy is at most a third as far from its nearest training picture as from the second nearest (Gu et al. 2023).
# - *Right*: is the loss on held-out digits (dashed) larger than on the training digits? With 25 digits it is, by far, most of all at low and middle noise.
#
# Looking at the samples would not have told you. Those of the network trained on 25 digits look perfect, and the judge is confident of nearly all of them.
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
# In the reverse step of DDPM the network gives us the *mean*. The variance we fixed by hand: $\beta_t$, or $\tilde\beta_t=\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\beta_t$. The first would be right if the data were pure noise, the second if they were a single point. Real data lie somewhere between.
#
# Nichol & Dhariwal (2021) let the network say where. It gets a second output $\nu\in[0,1]$ for each pixel, and
#
# $$\sigma_t^2=\exp\big(\nu\ln\beta_t+(1-\nu)\ln\tilde\beta_t\big).$$
#
# The number $\nu$ says how far we go from $\tilde\beta_t$ to $\beta_t$, on a logarithmic scale. The mean squared error does not contain $\sigma_t$, so it cannot teach it. The likelihood bound $L_\text{vlb}$ of notebook 02 does contain it, and a little of it is added to the loss: $L_\text{simple}+0.001\,L_\text{vlb}$ ("Looking inside" has more). How much is there to learn? That depends on how far the two variances are apart.
#
# <!--slide 2 min
# ## A learned variance pays for short chains
#
# $$\sigma_t^2=\exp\big(\nu\ln\beta_t+(1-\nu)\ln\tilde\beta_t\big), \quad \nu\in[0,1] \text{ from the network}, \quad \tilde\beta_t=\tfrac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\beta_t$$
#
# In words: on a scale of logarithms the network picks a place between two extremes.
#
# Notes:
# Say: two extremes for the variance of a reverse step: beta if the data were pure noise, beta tilde if they were a single point. With 1,000 levels they agree nearly everywhere, with 50 the band is open much longer. The mean squared error does not contain sigma; a small part of the likelihood bound teaches it.
# Ask: which samplers have no variance to choose? (DDIM without fresh noise and DPM-Solver++, which have since taken over the short chains.)
# Live: a second.
# -->

# %% slideshow={"slide_type": "skip"}
def variances(s):
    """The levels t from 2 on (at t = 1 the lower one is 0), and the two variances beta tilde and beta."""
    t = torch.arange(2, s.T + 1)
    lower = (1 - s.alpha_bar[t - 1]) / (1 - s.alpha_bar[t]) * s.betas[t]
    return t, lower, s.betas[t]


# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 3.4))
for T, colour in ((1000, show.COLOUR["cosine"]), (50, show.COLOUR["noise"])):
    t, lower, upper = variances(cosine(T))
    axes[0].fill_between(t / T, lower, upper, color=colour, label=f"$T$ = {T}")
    axes[1].plot(t / T, lower / upper, color=colour, linewidth=2, label=f"$T$ = {T}")
axes[0].set(yscale="log", xlabel="$t / T$", ylabel="variance", title=r"from $\tilde\beta_t$ to $\beta_t$")
axes[1].set(xlabel="$t / T$", ylim=(0, 1.05), title=r"the ratio $\tilde\beta_t\,/\,\beta_t$")
for ax in axes:
    ax.legend()
show.figure(fig, "Left: the band between both variances by level, thin except at the left end, wider for T"
            " = 50 than for 1000. Right: their ratio rises from below one half to 1, for T = 1000 at "
            "once, for T = 50 slowly.")

# %% [markdown] slideshow={"slide_type": "slide"}
# *What to see.* With 1,000 levels the ratio is close to 1 except at the lowest levels, so for the samples there is little to learn. With 50 levels it stays below 1 much longer. A learned variance therefore pays for *short* ancestral chains. (It also pays for likelihoods, to which the lowest levels contribute most.) For short chains most people now use DDIM or DPM-Solver++ instead, which have no variance to choose.
#
# ## 10. Where did the field go next?
#
# You have now built the methods of the years 2020 to 2023. The table shows what came beside and after them. Nearly every line keeps three things that you know: noise, a level, and a network that denoises.
#
# | | idea | what it changes | source |
# |---|---|---|---|
# | **Latent diffusion** | noise and denoise the code of an autoencoder, not pixels | the space; schedule, loss and sampler stay. 512x512 pixels become 64x64x4 numbers (Stable Diffusion) | Rombach et al. 2022, [arXiv:2112.10752](https://arxiv.org/abs/2112.10752) |
# | **EDM** | choose prediction, schedule, weighting and sampler separately; scale inputs and outputs to variance 1 | the notation: $\sigma$ instead of $t$. It studies the questions of this notebook in depth | Karras et al. 2022, [arXiv:2206.00364](https://arxiv.org/abs/2206.00364) |
# | **Flow matching, rectified flow** | straight lines $x_t=(1-t)\,x_0+t\,\epsilon$, learn the velocity $\epsilon-x_0$ | the schedule and the question: a $v$ for another path. The lines are straight only pair by pair: where they cross, the learned velocity is their mean and its paths bend. Training anew on the pairs (noise, sample) of the first model straightens them, and straight paths need few steps. (Esser's notation; the other two let $t$ run from noise to data) | Lipman et al. 2022, [arXiv:2210.02747](https://arxiv.org/abs/2210.02747); Liu et al. 2022, [arXiv:2209.03003](https://arxiv.org/abs/2209.03003); Esser et al. 2024, [arXiv:2403.03206](https://arxiv.org/abs/2403.03206) |
# | **Progressive distillation** | a student makes one step where its teacher makes two; repeat | the number of steps; $v$ was introduced here | Salimans & Ho 2022, [arXiv:2202.00512](https://arxiv.org/abs/2202.00512) |
# | **Consistency models** | all points of one deterministic path must be mapped to the same $x_0$; then one step is enough | the loss: two neighbouring levels must agree | Song et al. 2023, [arXiv:2303.01469](https://arxiv.org/abs/2303.01469) |
# | **LCM** | the same in the latent space, with guidance built in | 2 to 4 steps from a Stable Diffusion model, by distilling it | Luo et al. 2023, [arXiv:2310.04378](https://arxiv.org/abs/2310.04378) |
# | **Turbo** (adversarial distillation) | a student of 1 to 4 steps, judged by a discriminator *and* by its teacher | brings a GAN's loss back, against the blur of very few steps | Sauer et al. 2023, [arXiv:2311.17042](https://arxiv.org/abs/2311.17042) |
# | **Transformers** for the U-Net | patches as tokens, the level by modulation | the network only | Peebles & Xie 2023, [arXiv:2212.09748](https://arxiv.org/abs/2212.09748) |
#
# ### And where it came from
#
# - **2005, 2011: score matching.** Hyvärinen fits $\nabla\log p$ without knowing the normalising constant; Vincent shows that denoising does the same. That is why the noise a network predicts *is* a score (notebook 02).
# - **2015: nonequilibrium thermodynamics.** Sohl-Dickstein et al. ([arXiv:1503.03585](https://arxiv.org/abs/1503.03585)) take the idea from physics: destroy structure slowly, by diffusion, and learn to run it backwards; if each step is small, the reverse step is Gaussian too. The forward chain, the reverse chain and the bound of notebook 02 are all there. The samples were not yet as sharp as those of its rivals.
# - **2019: scores at many noise levels.** Song & Ermon ([arXiv:1907.05600](https://arxiv.org/abs/1907.05600)) train one network for all levels and walk down with Langevin steps.
# - **2020: DDPM.** Ho et al. ([arXiv:2006.11239](https://arxiv.org/abs/2006.11239)) join the two lines, drop the weights of the bound ($L_\text{simple}$), take a U-Net with attention: on CIFAR-10 samples as good as those of the best GANs of the time.
# - **2021: one equation.** Song et al. ([arXiv:2011.13456](https://arxiv.org/abs/2011.13456)) write both as a stochastic differential equation, with an ordinary one beside it that has the same distributions at every level: what DDIM and DPM-Solver++ follow.
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
# Nearly every line keeps three things: noise, a level, a network that denoises.
#
# What came before: score matching (2005, 2011), nonequilibrium thermodynamics (2015), scores at many levels (2019), DDPM (2020), one equation for both (2021).
#
# > Prediction, schedule, weights: which of our three choices does flow matching change?
#
# Notes:
# Say: noise, a level, a network that denoises: nearly every line keeps these three. The notebook's table has the sources, and the history before: score matching 2005 and 2011, nonequilibrium thermodynamics 2015, scores at many levels 2019, DDPM 2020, one equation 2021.
# Ask: which of our three choices does flow matching change? (The schedule, with straight lines, and the question: its velocity is a v for another path.)
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
# At high noise, where $\mathrm{SNR}\to0$, the weight goes to 0 like the SNR. At low noise it behaves like $\gamma/\mathrm{SNR}$ and also goes to 0. So the levels of high noise, which count fully in uniform $v$, hardly count here. With zero terminal SNR this has a price: at the last level, where sampling *starts*, the weight is exactly 0. The network was never taught there. It gives a useful answer only
# because its answers change smoothly with $t$.
#
# ### The hybrid loss of learned variances
#
# $L_\text{vlb}$ is the sum of the divergences $\mathrm{KL}\big(q(x_{t-1}\mid x_t,x_0)\,\Vert\,p_\theta(x_{t-1}\mid x_t)\big)$ between Gaussians with variances $\tilde\beta_t$ and $\sigma_t^2$, a pixel at a time:
#
# $$\mathrm{KL}=\frac12\Big(\ln\frac{\sigma_t^2}{\tilde\beta_t}+\frac{\tilde\beta_t+(\tilde\mu_t-\mu_\theta)^2}{\sigma_t^2}-1\Big).$$
#
# Which variance is best? Write $u=\sigma_t^2$ and $m=\mathbb E(\tilde\mu_t-\mu_\theta)^2$. The mean of the divergence has the derivative $\frac12\big(\frac1u-\frac{\tilde\beta_t+m}{u^2}\big)$ in $u$, which is zero at $u=\tilde\beta_t+m$. So the best variance is the one for a known $x_0$ *plus* what we do not know about $x_0$, and it lies above $\tilde\beta_t$.
#
# The terms of the bound differ by orders of magnitude between levels, which makes its gradient noisy. Therefore the mean is taught by $L_\text{simple}$ alone (the gradient of $L_\text{vlb}$ through $\mu_\theta$ is stopped), and the variance by $0.001\,L_\text{vlb}$.
#
# ### EDM's preconditioning
#
# EDM writes noisy data without shrinking, $y=x_0+\sigma n$, and builds the denoiser from a raw network $F$:
#
# $$D(y,\sigma)=c_\text{skip}\,y+c_\text{out}\,F(c_\text{in}\,y,\ \sigma),\quad c_\text{skip}=\frac{\sigma_d^2}{\sigma^2+\sigma_d^2},\quad c_\text{out}=\frac{\sigma\,\sigma_d}{\sqrt{\sigma^2+\sigma_d^2}},\quad c_\text{in}=\frac{1}{\sqrt{\sigma^2+\sigma_d^2}},$$
#
# where $\sigma_d$ is the standard deviation of the data. The three factors follow from three wishes: the input of $F$ has variance 1, the target of $F$ has variance 1, and errors of $F$ are magnified as little as possible.
#
# The loss is weighted so that every level starts with the same weight on $F$, and the levels are drawn from a bell curve in $\ln\sigma$ instead of evenly. So EDM chooses separately what our schedule decides all at once. For $\sigma_d=1$ you know the raw network already: with $y=x_t/\sqrt{\bar\alpha_t}$ and $\sigma^2=1/\mathrm{SNR}_t$ it is exactly $F=-v$. The cell below checks this.

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
# - From $\epsilon$, $x_0$ or $v$ we can work out the other two. Their losses are one loss, with the weights $\mathrm{SNR}$, $1$ and $\mathrm{SNR}+1$ on the error of $x_0$.
# - Prediction, schedule and weighting all decide how much an error counts at each SNR. A schedule also decides at which SNRs the sampler stops; in our tables that mattered little.
# - $\epsilon$ says little about $x_0$ where the noise is high, and $x_0$ says little about $\epsilon$ where the noise is low. $v$ enlarges neither error.
# - We believe a difference when it is larger than what seeds alone produce. Compare seed by seed, report all seeds, and count your comparisons.
# - Many claims can be tested in a few minutes: measure the loss by level, count the classes, look for copies.
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
# 2. It weights each SNR by the number of levels there: levels are drawn evenly, so an SNR with twice as many levels counts twice.
# 3. $\min(\mathrm{SNR},\gamma)/(\mathrm{SNR}+1)$. At the last level of a schedule with zero terminal SNR it is 0.
# 4. If single trainings have the standard deviation $s$: $2s\sqrt{2/3}$, about $1.6\,s$. With one training each it is $2s\sqrt2$, nearly $3\,s$, and from one training nobody knows $s$. Where rows share their seeds, the error of the paired gain takes the place of $s\sqrt{2/3}$. With three seeds about four such errors are needed, because the error itself comes from three numbers only.
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
# 4. No new training loop is needed: levels drawn evenly from a schedule whose log SNRs are the quantiles of a bell curve *are* levels drawn from that bell curve. `q = (torch.arange(1000, 0, -1, dtype=torch.float64) - 0.5) / 1000`, then `schedule_of(alpha_bar_from(2.4 * torch.special.ndtri(q)), "bell", 0.999)`. Compare it with the base in pairs, seed by seed, and let both samplers stop at the same SNRs (for each stop take the level whose SNR is nearest). With steps even in $t$ you would change training and sampling at once, as the large table of section 6 does.
#
# </details>
#
# ### References
#
# - Salimans, Ho 2022, *Progressive distillation for fast sampling of diffusion models*, [arXiv:2202.00512](https://arxiv.org/abs/2202.00512): section 4 (predictions and their weights).
# - Hang et al. 2023, *Efficient diffusion training via min-SNR weighting strategy*, [arXiv:2303.09556](https://arxiv.org/abs/2303.09556): section 3.
# - Jabri, Fleet, Chen 2022, *Scalable adaptive computation for iterative generation*, [arXiv:2212.11972](https://arxiv.org/abs/2212.11972) (sigmoid schedule).
# - Chen 2023, *On the importance of noise scheduling for diffusion models*, [arXiv:2301.10972](https://arxiv.org/abs/2301.10972): section 2.
# - Lin et al. 2023, *Common diffusion noise schedules and sample steps are flawed*, [arXiv:2305.08891](https://arxiv.org/abs/2305.08891): algorithm 1.
# - Nichol, Dhariwal 2021, *Improved denoising diffusion probabilistic models*, [arXiv:2102.09672](https://arxiv.org/abs/2102.09672): eqs. 15 to 17.
# - Karras et al. 2022, *Elucidating the design space of diffusion-based generative models*, [arXiv:2206.00364](https://arxiv.org/abs/2206.00364): table 1 and section 5.
# - Kingma et al. 2021, *Variational diffusion models*, [arXiv:2107.00630](https://arxiv.org/abs/2107.00630): section 5 (the schedule as a change of variable).
# - Carlini et al. 2023, *Extracting training data from diffusion models*, [arXiv:2301.13188](https://arxiv.org/abs/2301.13188) (memorising, measured on large models).
# - Gu et al. 2023, *On memorization in diffusion models*, [arXiv:2310.02664](https://arxiv.org/abs/2310.02664) (the rule for copies, and what makes networks copy).
# - Hyvärinen 2005, *Estimation of non-normalized statistical models by score matching*, JMLR 6; Vincent 2011, *A connection between score matching and denoising autoencoders*, Neural Computation 23.
# - Those of section 10: Sohl-Dickstein et al. 2015, [arXiv:1503.03585](https://arxiv.org/abs/1503.03585); Song, Ermon 2019, [arXiv:1907.05600](https://arxiv.org/abs/1907.05600); Ho et al. 2020, [arXiv:2006.11239](https://arxiv.org/abs/2006.11239); Song et al. 2021, [arXiv:2011.13456](https://arxiv.org/abs/2011.13456); Rombach et al. 2022, [arXiv:2112.10752](https://arxiv.org/abs/2112.10752).
#
# <!--slide 2 min
# ## What we learned
#
# - $\epsilon$, $x_0$, $v$: one loss with the weights SNR, 1, SNR + 1 on the error of $x_0$
# - prediction, schedule and weighting all decide how much each SNR counts
# - a difference counts when it is larger than what seeds alone make
# - claims can be tested: levels differ, classes can be counted, copies looked up
# - the strongest ordinary knob is the length of the training; compare others at equal length
#
# > A table has one number in each row. What is your first question?
#
# **Next:** the further exercises, with two seeds each, or your own data in the lab of notebook 07.
#
# Notes:
# Say: three seeds and error bars are the least; many comparisons need more.
# Ask: somebody shows you a table with one number a row; what is your first question? (How many trainings are behind each number, and how far they scatter.)
# -->

# %% slideshow={"slide_type": "skip"}
check.summary("08")
