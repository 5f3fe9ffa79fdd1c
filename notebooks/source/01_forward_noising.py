# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] slideshow={"slide_type": "slide"}
# # 01 Forward noising: digits dissolve
#
# A diffusion model draws a picture by starting from noise and taking the noise away, a little at a time. To learn this it needs noisy pictures
# of which the clean version is known. We can make as many of them as we like: we take 8x8 digits and add the noise ourselves, one small step
# at a time and then in a single jump, and we measure whether both give the same.
#
# **What you will be able to do**
#
# - write one noising step and the jump to any noise level, with the square roots in the right places;
# - say what $\beta_t$, $\alpha_t$, $\bar\alpha_t$ and the signal-to-noise ratio mean, and read them off a plot;
# - compare linear and cosine schedules, and say where each destroys the picture fastest;
# - test whether the end of a schedule really is noise, and repair one whose end is not.
#
# **What to know** The rules for mean and variance of a sum, and tensors with broadcasting (notebook 00 has a quiz on both).
#
# **Time** About 100 minutes for a person, about a minute for two CPU cores. No training and no network yet. On the one-evening plan of notebook 00 you run all cells
# and read only the sections that say *On the one-evening route*.
#
# Below is the whole story in one picture (the cells that draw it are folded). Follow the 0 from left to right.
#
# <!--slide 1 min
# # 01 Forward noising: digits dissolve
#
# A diffusion model learns the way back from noise. Today we go the way there: one small step, a thousand of them, and a single jump that does the same. How fast does the picture go, and is the end **really** noise?
#
# Notes:
# Say: grey is today: q(x_t | x_{t-1}) is the distribution of the picture after one step of noise. Orange comes in notebook 02: p_theta is a network's step back, theta its weights. No network today and no training. Everything runs in about a minute on two cores, so everybody can run along.
# Ask: what must be true of the damage for it to be undone by a network? (Each single step must be small, and one must be able to make as many training examples as one likes. Both come up today.)
# -->

# %% tags=["setup"] slideshow={"slide_type": "skip"}
import math
import sys
import time
from pathlib import Path

root = next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "helpers").is_dir())
sys.path.insert(0, str(root))

import matplotlib.pyplot as plt
import seaborn as sns
import torch
from scipy.stats import ks_2samp
from sklearn.linear_model import LogisticRegression

from helpers import data, schedule as course, show
from helpers.exercises import check
from helpers.modes import choose
from helpers.schedule import cosine, linear, zero_terminal_snr

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
nodes = {0: "x_0", 1: "x_1", 60: r"\cdots", 199: "x_{t-1}", 200: "x_t", 400: r"\cdots", 1000: "x_T"}
frame, speck = data.digits()[0][:1], torch.Generator().manual_seed(6)
frames = {0: frame}
for t in range(1, 1001):
    frames[t] = frame = linear(1000).q_step(frame, t, torch.randn(frame.shape, generator=speck))
forth, back = show.COLOUR["noise"], show.COLOUR["model"]
arrow = dict(arrowstyle="-|>", linewidth=1.8, mutation_scale=14, connectionstyle="arc3,rad=-0.4")

def draw_node(ax, i, t, name):
    """The picture at level t, its name, and the arrows to and from its neighbour on the left."""
    ax.imshow(frames[t][0, 0], vmin=-1, vmax=1, extent=(i - 0.33, i + 0.33, -0.33, 0.33))
    ax.text(i, -0.47, f"${name}$", ha="center", va="center", fontsize=14)
    if i:
        ax.annotate("", (i - 0.1, 0.4), (i - 0.9, 0.4), arrowprops=arrow | dict(color=forth))
        ax.annotate("", (i - 0.9, -0.6), (i - 0.1, -0.6), arrowprops=arrow | dict(color=back))

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.2))
for i, (t, name) in enumerate(nodes.items()):
    draw_node(ax, i, t, name)
look = dict(ha="center", va="center", fontsize=13)
ax.text(3.5, 0.83, r"forward: add a little noise, $q(x_t\,|\,x_{t-1})$", color=forth, **look)
ax.text(3.5, -1.04, r"back: take a little noise away, $p_\theta(x_{t-1}\,|\,x_t)$", color=back, **look)
ax.set(xlim=(-0.5, 6.5), ylim=(-1.18, 0.98), aspect="equal")
ax.set_axis_off()
show.figure(fig, "A chain of seven pictures. A digit 0, x_0, becomes grainier to the right; x_T is noise. "
            "Grey arrows above lead forward, labelled q; orange ones below lead back, labelled p_theta.")

# %% [markdown] slideshow={"slide_type": "slide"}
# Forward (grey), each step adds a little noise, until you can see nothing of the 0 in $x_T$. We write $q(x_t\,|\,x_{t-1})$ for one such step: given the picture $x_{t-1}$, it is the
# distribution of the next one. No network is needed for it.
#
# Back (orange), each step takes a little noise away. A network has to learn this step. We write $p_\theta$ for it, where $\theta$ stands for the weights of the network.
# Start with noise, take a thousand such steps back, and a digit appears that nobody has written. Notebook 02 learns the way back for points, notebook 03 for digits. Here we study the forward chain,
# which makes all their training examples.
#
# ## 1. The data: 1,797 small digits
#
# *On the one-evening route.*
#
# scikit-learn ships a set of handwritten digits, 8x8 pixels each, with values from 0 to 16. We need a scale for them. Our noise will spread about 0 with a
# standard deviation of 1, so we choose a scale of about that size with 0 in its middle: black paper is $-1$, white ink is $+1$.
#
# <!--slide 2 min
# ## 1,797 small digits, and nothing Gaussian about them
#
# Notes:
# Have run: the two cells; loading takes a moment. Above: one example of each class and the mean of its class, with the number of images. Below: all pixels, scaled to [-1, 1], and the mean image.
# Say: nearly half of the pixels are bare paper, at exactly -1. The classes are of almost equal size, so a guesser is right one time in ten: remember that number.
# Ask: why scale to [-1, 1] and not to [0, 1]? (The same noise hides less: half the range is a quarter of the variance. "Looking inside" measures what [0, 1] costs.)
# -->

# %% slideshow={"slide_type": "skip"}
images, labels = data.digits()
print("images", tuple(images.shape), images.dtype, "from", images.min().item(), "to", images.max().item())

counts = data.class_counts(labels)
example = torch.stack([images[labels == c][0] for c in range(10)])
mean_of_class = torch.stack([images[labels == c].mean(0) for c in range(10)])

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
show.rows(
    {"one example": example, "class mean": mean_of_class},
    "Ten columns, one for each class from 0 to 9: above an 8x8 digit, below the blurred mean of its class.",
    labels=[f"{c}\n({counts[c]})" for c in range(10)],
    title="The ten classes (and how many images of each)",
)

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, (left, right) = plt.subplots(1, 2, figsize=(show.WIDTH, 3.2), width_ratios=[3, 1.6])
left.hist(images.flatten().numpy(), bins=17, range=(-1.0625, 1.0625), color=show.COLOUR["data"])
left.set(xlabel="value of the pixel", ylabel="number of pixels", title=f"All {images.numel():,} pixels")
right.imshow(images.mean(0)[0], vmin=-1, vmax=1)
right.set_axis_off()
right.set_title("Mean image")
show.figure(
    fig,
    "Left: histogram of all pixel values; nearly half are at -1, the rest spread up to +1. "
    "Right: the mean image, a grey blot in the middle columns.",
)
paper = (images == -1).float().mean()
print(f"mean {images.mean():.2f}, variance {images.var():.2f}, share at -1: {paper:.0%}")

# %% [markdown] slideshow={"slide_type": "slide"}
# The classes are of almost equal size, so somebody who only guesses is right one time in ten. We will need that number in section 8. In the histogram, look at the left end: nearly half of
# the pixels are bare paper, at exactly $-1$. This is far from a Gaussian bell. What will it look like at the end of the chain?
#
# ## 2. One step
#
# *On the one-evening route.* How can we add noise a thousand times without the values growing and growing? We fade the picture a little before we add the noise. A step from level $t-1$ to level $t$ is
#
# $$x_t = (\text{some factor})\; x_{t-1} + \sqrt{\beta_t}\;\epsilon, \qquad \epsilon \sim \mathcal N(0, I).$$
#
# In words: take a part of the previous picture, and add Gaussian noise $\epsilon$ with mean 0 and the variance $\beta_t$. (Noise of variance 1 gets the variance $\beta_t$ when it is multiplied by $\sqrt{\beta_t}$.) A step needs only
# the picture just before it. A chain of this kind is called a *Markov chain*.
#
# How do we count the pictures? The clean picture is $x_0$, at **level** $t = 0$. The first step leads to level 1. After $T$ steps
# we are at level $T$, and almost only noise is left.
#
# <!--slide 2 min
# ## Level 0 is clean, level T is noise; a step fades and adds
#
# $$x_t = (\text{some factor})\; x_{t-1} + \sqrt{\beta_t}\;\epsilon, \qquad \epsilon \sim \mathcal N(0, I)$$
#
# In words: keep a part of the picture just before, and add Gaussian noise of variance $\beta_t$. A level is a place on this line, and a step leads from one to the next.
#
# **Question:** for $T = 1000$ steps, how many entries has the array `betas`?
#
# Notes:
# Say: beta is a variance, from 0.0001 at the first step to 0.02 at the last; the noise is multiplied by its root, because variances add. T steps lead through T + 1 levels, and betas[t] is beta_t; this one line holds for the whole course. No step leads to level 0, so betas[0] is 0. The last row comes in exercise 1.4.
# Ask: how many entries has betas for T = 1000 steps? (1001: one for each level, 0 to 1000.)
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, ax = plt.subplots(figsize=(show.WIDTH, 2.7), subplot_kw=dict(xlim=(-1.6, 8.4), ylim=(-2.4, 2)))
for y, row in (
    (1.3, r"~ \mathbf{clean} ~ ~ ~ ~ ~ ~ ~ \mathbf{noise}"), (-0.6, r"\mathrm{level} 0 1 2 ~ t-1 t ~ T-1 T"),
    (0.6, r"\mathrm{picture} x_0 x_1 x_2 \cdots x_{t-1} x_t \cdots x_{T-1} x_T"),
    (-1.3, r"\mathtt{betas} 0 0.0001 0.00012 \cdots \beta_{t-1} \beta_t \cdots 0.01998 0.02"),
    (-2, r"\mathtt{alpha\_bar} 1 0.9999 0.9998 \dots \bar\alpha_{t-1} \bar\alpha_t \dots 0.000041 0.00004")):
    for place, entry in enumerate(row.split(), start=-1):
        ax.text(place, y, f"${entry}$", ha="center", va="center")
ax.plot([0, 1, 2, 4, 5, 7, 8], [0] * 7, "|-", color="black", markersize=14)
arc = dict(arrowstyle="->", color="black", linewidth=1.5, connectionstyle="arc3,rad=-0.5")
ax.annotate("", (5, 0.9), (4, 0.9), arrowprops=arc)
ax.text(4.5, 1.55, r"one step, $\beta_t$", ha="center")
ax.set_axis_off()
show.figure(fig, "A line of levels, 0 (x_0, clean) to T (x_T, noise); a step, beta_t, goes from t-1 to t. "
            "Under each level its entries: betas from 0 to 0.02, alpha_bar from 1 to 0.0000404.")

# %% [markdown] exercise_text="1.1" slideshow={"slide_type": "slide"}
# $T$ steps lead through $T + 1$ levels, so our arrays have $T + 1$ entries: `betas[t]` is $\beta_t$. No step leads to level 0, so `betas[0]` is 0.
# The last row, `alpha_bar`, says how much of the picture is left; you compute it in exercise 1.4. (The numbers are those of the paper this course follows, called DDPM for short, with $T = 1000$.)
#
# Each picture of a batch may have a level of its own. `betas[t]` then has shape `(B,)`, and to multiply pictures of shape `(B, C, H, W)` it needs shape
# `(B, 1, 1, 1)`. The small function `at` in the cell below, above your own, does this. (Later notebooks import it from `helpers.schedule`.)
#
# ### Exercise 1.1: one step of noise
#
# By which factor must a step fade the picture, so that a picture of variance 1 still has variance 1 once the noise is in? (Variances of independent things add, and a factor $c$ multiplies a variance by $c^2$.)
# Find the factor, and write the step. `x_prev` and `noise` have shape `(B, 2)` or `(B, C, H, W)`; `t` has shape `(B,)`, one level from 1 to $T$ for each
# example; `betas` has shape `(T + 1,)`.
#
# Difficulty: ●●○○○, 9 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# With the factor $c$ the variance after the step is $c^2 \cdot 1 + \beta_t$. It shall be 1.
#
# </details>
#
# <details><summary>Hint 2 (almost there)</summary>
#
# $c^2 = 1 - \beta_t$. In code: `beta = at(betas, t, x_prev)` has one beta for each example, in a shape that multiplies a whole picture; then `.sqrt()` twice.
#
# </details>
#
# <!--slide 1 min
# ## Your turn: 1.1, one step, nine minutes
#
# By which factor must the picture be faded, so that a variance of 1 stays 1?
#
# ```python
# def q_step(x_prev, t, noise, betas):
#     # x at level t, from x_prev at level t - 1
# ```
#
# - `x_prev`, `noise`: shape `(B, 2)` or `(B, C, H, W)`
# - `t`: shape `(B,)`, one level for each example; `betas`: shape `(T + 1,)`
# - given: `at(betas, t, x_prev)` is `betas[t]` in shape `(B, 1)` or `(B, 1, 1, 1)`
#
# First on paper: variances of independent things add, and a factor $c$ multiplies a variance by $c^2$. Which $c$ keeps the variance at 1? Then two lines of code.
#
# **A guess to write down:** without any factor, where is the variance after a thousand steps?
#
# Notes:
# Give nine minutes. Common mistakes: beta where its root belongs; a factor of 1 minus the root of beta; betas[t] multiplied without at, which stops with an error for most shapes and silently scales the columns when B happens to fit. check names both.
# Ask: why does the function take the noise as an argument, instead of drawing it? (Because then the same noise can be used again: to test the function, to compare methods, and as the answer a network has to give.)
# -->
#
# <!--slide 2 min
# ## A thousand invisible steps leave no digit
#
# - The first step shows nothing: compare *clean* and $t = 1$. Even the last and largest adds noise of only $\sqrt{0.02} \approx 0.14$.
# - In which column does the square go, in which the 3? Is that the same noise level?
# - Each single step can nearly be undone. A diffusion model learns to do just that, a thousand times.
#
# Notes:
# Live: run the cell below exercise 1.1. It uses your function if check accepted it.
# Say: no single step is hard to undo, approximately. That is the whole idea of a diffusion model, and notebook 02 makes use of it.
# Ask: in which column does the square go, in which the 3? Is that the same noise level? (At 200 the square is still there and the 3 is hard to read; at 400 both are guesswork. The noise is of the same level; the more regular the shape, the longer it can be seen.)
# Answers 1.1.
# -->

# %% exercise="1.1" slideshow={"slide_type": "skip"}
def at(values, t, x):
    """values[t], one entry for each example, in a shape that multiplies x."""
    entries = values[t]  # shape (B,); below (B, 1) for points, (B, 1, 1, 1) for pictures
    return entries.reshape(entries.shape + (1,) * (x.ndim - 1))

def q_step(x_prev, t, noise, betas):
    """x at level t, from x_prev at level t - 1."""
    # TODO 1.1: fade x_prev a little, add a little noise
    ### BEGIN SOLUTION
    beta = at(betas, t, x_prev)
    return (1 - beta).sqrt() * x_prev + beta.sqrt() * noise
    ### END SOLUTION
q_step = check("1.1", q_step)

# %% expected="1.1" tags=["slide-figure"] slideshow={"slide_type": "-"}
T = 1000
betas = torch.cat([torch.zeros(1), torch.linspace(1e-4, 0.02, T)])  # beta_0 = 0, then DDPM's choice
square = -torch.ones(1, 1, 8, 8)
square[:, :, 2:6, 2:6] = 1

g = torch.Generator().manual_seed(0)
x = torch.cat([square, example[3:4]])
levels, kept = [0, 1, 50, 100, 200, 400, 600, 800, 1000], [x]
for t in range(1, T + 1):
    x = q_step(x, torch.full((2,), t), torch.randn(x.shape, generator=g), betas)
    if t in levels:
        kept.append(x)
strip = torch.stack(kept, dim=1)
show.rows({"a square": strip[0], "a digit": strip[1]}, labels=[show.level(t) for t in levels],
          alt="A bright square and a digit 3 under a thousand noising steps: hardly changed at t = 1 and 50, "
          "grainy at 200, guesswork at 400, and mere noise from 600 on.")

# %% [markdown] slideshow={"slide_type": "slide"}
# Compare the first two columns: one step changes nothing that you could see. In the last column a thousand steps have left no square and no digit. Since each step is so small, it can be
# undone, at least approximately. That is the idea of a diffusion model, and notebook 02 makes use of it.
#
# The step is (DDPM eq. 2)
#
# $$x_t = \sqrt{1-\beta_t}\; x_{t-1} + \sqrt{\beta_t}\;\epsilon, \qquad \epsilon \sim \mathcal N(0, I).$$
#
# In words: keep the share $1-\beta_t$ of the picture's variance, and add noise of variance $\beta_t$.
#
# ## 3. What are the two roots there for?
#
# The factor was made for a picture of variance 1. Our digits have 0.57. What happens to them? Let $x_{t-1}$ have the variance $v$. Picture and noise are independent, so their variances add:
#
# $$\operatorname{Var}(x_t) = (1-\beta_t)\,v + \beta_t .$$
#
# This is an average of $v$ and 1, with the weights $1-\beta_t$ and $\beta_t$. So the variance stays at 1 if it is there, and from anywhere else each step brings it a little nearer to 1.
#
# What if one of the two factors is wrong? We compare three chains of a thousand steps: one with the right step, one that only adds noise, and one with a step that you break yourself.
#
# <!--slide 5 min
# ## Both roots together bring the variance to 1
#
# $$x_t = \sqrt{1-\beta_t}\; x_{t-1} + \sqrt{\beta_t}\;\epsilon, \qquad \operatorname{Var}(x_t) = (1-\beta_t)\,\operatorname{Var}(x_{t-1}) + \beta_t$$
#
# Take 1 away on both sides: $\;\operatorname{Var}(x_t) - 1 = (1-\beta_t)\,\big(\operatorname{Var}(x_{t-1}) - 1\big)$. In words: every step makes the distance from 1 a little smaller.
#
# Notes:
# Have run: the cells below (three chains of a thousand steps; a second or two). The figure comes on a click: let them do exercise 1.2 first, five minutes: take away one of the two roots, so that the chain ends near nothing.
# Ask: where does the variance end without fading, and where with the broken step? (Without fading it grows by beta at each step, 10 in all. With beta for its root hardly any noise comes in, and the picture fades to an even grey.)
# Say: the right step goes to 1 from anywhere. That is why a sampler can start from the same N(0, I) whatever the data were.
# Answers 1.2.
# -->

# %% slideshow={"slide_type": "skip"}
def chain(x, betas, step=q_step, seed=0):
    """Yield (t, x_t) for t = 0 .. T; at level 0 that is x itself."""
    g = torch.Generator().manual_seed(seed)
    yield 0, x
    for t in range(1, len(betas)):
        x = step(x, torch.full((len(x),), t), torch.randn(x.shape, generator=g), betas)
        yield t, x

def only_add(x_prev, t, noise, betas):
    return x_prev + at(betas, t, x_prev).sqrt() * noise

# %% [markdown] exercise_text="1.2" slideshow={"slide_type": "skip"}
# ### Exercise 1.2: a chain that ends near nothing
#
# Below stands a right step. Take away **one of its two square roots** and leave everything else as it is, so that the chain over the digits ends near nothing: at $t = T$ the variance of the pixels is above 0.001 and below 0.05. Then say why:
# (a) the picture fades too fast for the noise; (b) the noise of each step is too weak; (c) picture and noise cancel each other.
#
# Difficulty: ●●○○○, 5 minutes
#
# <details><summary>Hint</summary>
#
# In the end the picture is gone in any case. What is left is the noise, so the change has to make it smaller.
#
# </details>

# %% exercise="1.2" kind="break" slideshow={"slide_type": "skip"}
def broken_step(x_prev, t, noise, betas):
    beta = at(betas, t, x_prev)
    # TODO 1.2: change one thing, so that the chain ends near nothing
    ### BEGIN SOLUTION
    # given: return (1 - beta).sqrt() * x_prev + beta.sqrt() * noise
    return (1 - beta).sqrt() * x_prev + beta * noise
    ### END SOLUTION
why = "b"  # "a", "b" or "c"
broken_step = check.changed("1.2", broken_step, why)

# %% slideshow={"slide_type": "skip"}
few = images[: choose(read=400, smoke=20)]
steps = {"the right step": q_step, "never faded": only_add, "broken in 1.2": broken_step}
variances = {name: [x.var().item() for _, x in chain(few, betas, step)] for name, step in steps.items()}

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "fragment"}
fig, ax = plt.subplots()
looks = zip(["-", "--", ":"], [show.COLOUR["exact"], show.COLOURS[3], show.COLOURS[7]], strict=True)
for (name, variance), (style, colour) in zip(variances.items(), looks, strict=True):
    label = f"{name}: ends at {variance[-1]:.3g}"
    ax.plot(variance, style, color=colour, linewidth=2.5, label=label)
ax.axhline(1, color="black", linewidth=0.8)
ax.set(xlabel="level $t$", ylabel="variance of the pixels", yscale="log")
ax.set_title("Only the right step brings the variance to 1")
ax.legend()
show.figure(
    fig,
    "Three curves of pixel variance against t, log scale. The right step climbs gently to 1 and stays; "
    "without fading it grows to more than 10; with the step broken in 1.2 it falls far below 1.",
)

# %% [markdown] exercise_text="1.3" slideshow={"slide_type": "slide"}
# The right step (green) brings the variance to 1 and keeps it there. Without the factor $\sqrt{1-\beta_t}$ the variance grows by $\beta_t$ at each step and never
# settles. A *sampler*, the program that walks back from noise, would then need another start for every $T$. With $\beta_t$ in place of its root, hardly any noise comes in while the picture fades, and the chain
# ends near an even grey.
#
# ## 4. The closed form: can all steps be one jump?
#
# *On the one-evening route.* To train a network we need pictures at *random* levels. If we walked there, each picture would cost up to a thousand steps. Is there a
# shorter way? Let's begin with two steps.
#
# ### Exercise 1.3: two steps
#
# Two steps with $\beta = 0.5$ each, from a fixed $x_0$. By what is $x_0$ multiplied at the end? And what is the variance of all the noise in the result? Two numbers.
#
# Difficulty: ●●○○○, 4 minutes
#
# <details><summary>Hint</summary>
#
# Put the first step into the second. What happens to the noise of the first step in the second one?
#
# </details>
#
# <!--slide 4 min
# ## Two steps with beta = 0.5: what is left, and how much noise?
#
# $$x_1 = \sqrt{0.5}\; x_0 + \sqrt{0.5}\;\epsilon_1 \qquad\qquad x_2 = \sqrt{0.5}\; x_1 + \sqrt{0.5}\;\epsilon_2$$
#
# Put the first line into the second:
#
# $$x_2 = \sqrt{0.5}\,\Big(\sqrt{0.5}\; x_0 + \sqrt{0.5}\;\epsilon_1\Big) + \sqrt{0.5}\;\epsilon_2$$
#
# - by what is $x_0$ multiplied in $x_2$?
# - what is the variance of all the noise in $x_2$? (The two noises are independent.)
# - a test: if $x_0$ has variance 1, which variance must $x_2$ have?
#
# **Your turn: 1.3.** Write two numbers down, four minutes, on paper.
#
# Notes:
# Have them write two numbers down: exercise 1.3, four minutes. The cell behind it measures both. Usual answers that are off: 0.25 for the factor (the roots forgotten), 1 for the variance (the first noise is faded by the second step too).
# Ask: after three such steps? (The factor is the root of 0.125, the variance 0.875: what the steps keep multiplies.)
# -->

# %% exercise="1.3" kind="predict" slideshow={"slide_type": "skip"}
# TODO 1.3: the factor of x_0, and the variance of all the noise
### BEGIN SOLUTION
guess = 0.5, 0.75
### END SOLUTION
check.predict("1.3", guess)

# %% slideshow={"slide_type": "skip"}
half, g = torch.tensor([0, 0.5, 0.5]), torch.Generator().manual_seed(4)
start = torch.cat([torch.zeros(100_000, 1), torch.ones(100_000, 1)])
x = start
for t in (1, 2):
    x = q_step(x, torch.full((len(x),), t), torch.randn(x.shape, generator=g), half)
from_0, from_1 = x.chunk(2)
measured = from_1.mean() - from_0.mean(), from_0.var()
print(f"factor of x_0: {measured[0]:.3f}, variance of the noise: {measured[1]:.3f}")
check.truth("1.3", measured)

# %% [markdown] exercise_text="1.4" slideshow={"slide_type": "skip"}
# A step keeps the share $\alpha_t = 1 - \beta_t$ of the variance. Two steps keep the product of what each keeps, $0.5 \cdot 0.5 = 0.25$, and the factor of the picture is its root, 0.5. What all steps up to $t$ keep together is called
# $\bar\alpha_t$ ("alpha-bar"). At level 0 no step has been taken yet, so everything is kept.
#
# ### Exercise 1.4: what all steps keep
#
# From `betas`, shape `(T + 1,)`, compute alpha-bar at every level, shape `(T + 1,)`.
#
# Difficulty: ●○○○○, 4 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# PyTorch has a function for running products, beside the better known one for running sums.
#
# </details>
#
# <details><summary>Hint 2 (almost there)</summary>
#
# First the alphas, then `torch.cumprod` along dimension 0. The first value comes out as 1, because `betas[0]` is 0.
#
# </details>

# %% exercise="1.4" slideshow={"slide_type": "skip"}
def alpha_bar_of(betas):
    """alpha_bar_t for t = 0 .. T."""
    # TODO 1.4: what the steps 1 .. t keep together
    ### BEGIN SOLUTION
    return torch.cumprod(1 - betas, dim=0)
    ### END SOLUTION
alpha_bar_of = check("1.4", alpha_bar_of)

# %% slideshow={"slide_type": "skip"}
schedule = linear(T)  # from helpers: betas, alphas and alpha_bar together in one object
alpha_bar = alpha_bar_of(betas)
difference = (alpha_bar - schedule.alpha_bar).abs().max()

print(f"your alpha-bar and the schedule's differ by less than {1e-6 if difference < 1e-6 else difference}")

# %% [markdown] exercise_text="1.5" slideshow={"slide_type": "slide"}
# From here on one small object holds betas and alpha-bar together, a `Schedule` from `helpers/schedule.py`. Its `schedule.alpha_bar` has the numbers
# that you have just computed. (Our object is called `schedule`, so the file is imported under the name `course`.)
#
# ### The jump
#
# After two steps the factor was $0.5 = \sqrt{\alpha_1\alpha_2}$, and the variance of the noise $0.75 = 1 - \alpha_1\alpha_2$. And after $t$ steps?
#
# ### Exercise 1.5: all steps at once
#
# Write the jump: $x$ at level $t$, straight from the clean $x_0$, with one noise. Shapes as in 1.1; every example of the batch has its own level.
#
# Difficulty: ●●○○○, 7 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# It is 1.1 with another constant in place of $1-\beta_t$. Take it from `schedule.alpha_bar`.
#
# </details>
#
# <details><summary>Hint 2 (almost there)</summary>
#
# `a = at(schedule.alpha_bar, t, x0)`; then `a.sqrt()` goes with `x0` and `(1 - a).sqrt()` with the noise.
#
# </details>
#
# <!--slide 1 min
# ## Your turn: 1.4 and 1.5, the jump, eleven minutes
#
# ```python
# def alpha_bar_of(betas):
#     # what the steps 1 .. t keep together, for t = 0 .. T
#
# def q_sample(x0, t, noise, schedule):
#     # x at level t, straight from the clean x0; schedule.alpha_bar has shape (T + 1,)
# ```
#
# - 1.4: PyTorch has running products beside running sums; at level 0 everything is kept
# - 1.5: after two steps the factor was $\sqrt{\alpha_1\alpha_2}$ and the variance of the noise $1 - \alpha_1\alpha_2$. After $t$?
# - done early? With `q_sample`, draw one digit at $t = 100$, 200 and 400
#
# A test by hand: the two steps of 1.3. What must `alpha_bar` be at the levels 0, 1 and 2?
#
# **Afterwards:** compare your lines of 1.1 and 1.5. What is the same, and what is new?
#
# Notes:
# Give eleven minutes for both; 1.4 is one line. Common mistakes: cumsum for cumprod, or a second 1 put in front (1.4); 1 - a without its root in front of the noise, or alpha_bar[t] without at (1.5).
# Ask: what is the same in 1.1 and 1.5, and what is new? (The same line with another constant: alpha-bar for 1 - beta.)
# -->
#
# <!--slide 5 min
# ## All steps collapse into one jump, because variances add
#
# Two steps, the first put into the second ($\alpha_t = 1 - \beta_t$):
#
# $$x_2 = \sqrt{\alpha_2}\,\big(\sqrt{\alpha_1}\,x_0 + \sqrt{1-\alpha_1}\,\epsilon_1\big) + \sqrt{1-\alpha_2}\,\epsilon_2$$
#
# $$\phantom{x_2} = \sqrt{\alpha_2\alpha_1}\,x_0 + \sqrt{\alpha_2(1-\alpha_1)}\,\epsilon_1 + \sqrt{1-\alpha_2}\,\epsilon_2$$
#
# The noises are independent, so their variances add:
#
# $$\alpha_2(1-\alpha_1) + (1-\alpha_2) = \alpha_2 - \alpha_2\alpha_1 + 1 - \alpha_2 = 1 - \alpha_1\alpha_2$$
#
# Two steps look like one with $\alpha = \alpha_1\alpha_2$. Merge on, step by step:
#
# $$x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1-\bar\alpha_t}\;\epsilon, \qquad \bar\alpha_t = \alpha_1\,\alpha_2 \cdots \alpha_t$$
#
# - $\epsilon$ is *one* noise that stands for all: nobody can tell which step gave what
# - the *squares* of the two factors add to 1 (in a cross-fade the factors themselves do)
#
# Notes:
# Say: put the step for x_1 into the step for x_2, and collect the noises; the rest is induction, in the notebook. This is the formula of the course. Everything later is built on it.
# Ask: which two properties of the noise did we use? (Independent, so that variances add; Gaussian, so that the sum has the same shape.) And what would go wrong if the factors themselves added to 1? (Half-way, at 0.5 and 0.5, data of variance 1 would have 0.25 + 0.25 = 0.5: the contrast would sag in the middle of the way.)
# Answers 1.4, 1.5.
# -->
#
# <!--slide 2 min
# ## The spike of bare paper melts into the bell
#
# Above, one digit. Below, the pixels of *all* digits at that level, and the curve of $\mathcal N(0, 1)$.
#
# **Look for** the level from which you cannot tell the histogram from the curve. Does the picture then hold nothing any more?
#
# Notes:
# Live: run the cell below exercise 1.5. Under the histograms stand the two factors of the jump.
# Say: the histogram of all pixels was anything but Gaussian. The spike at -1 widens and moves to 0.
# Ask: from which level on can you not tell the histogram from the curve? And does that mean that the picture holds nothing any more? (By eye from about 600 on. No: the cell below the figure finds the mean far off, and a histogram does not even look at where the pixels are. We come back to that.)
# -->

# %% exercise="1.5" slideshow={"slide_type": "skip"}
def q_sample(x0, t, noise, schedule):
    """x at level t, straight from the clean x0."""
    # TODO 1.5: jump to x_t
    ### BEGIN SOLUTION
    a = at(schedule.alpha_bar, t, x0)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise
    ### END SOLUTION
q_sample = check("1.5", q_sample)

# %% expected="1.5" tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
bell = torch.linspace(-3.5, 3.5, 100)
normal = torch.exp(-(bell**2) / 2) / math.sqrt(2 * math.pi)
fig, axes = plt.subplots(2, len(levels), figsize=(show.WIDTH, 3.5), height_ratios=[1.1, 1])
for t, (above, below) in zip(levels, axes.T, strict=True):
    a, x_t = schedule.alpha_bar[t], q_sample(images, torch.tensor([t]), noise, schedule)
    above.imshow(x_t[0, 0], vmin=-1, vmax=1)
    above.set(title=show.level(t), xticks=[], yticks=[])
    look = dict(density=True, color=show.COLOUR["data"], linewidth=0)
    below.hist(x_t.flatten().numpy(), bins=50, range=(-3.5, 3.5), **look)
    below.plot(bell, normal, color=show.COLOUR["noise"], linewidth=2)
    below.set(ylim=(0, 0.8), yticks=[], xticks=[-1, 1])
    below.set_xlabel(f"{a.sqrt():.2f} $x_0$\n+ {(1 - a).sqrt():.2f} $\\epsilon$")
show.figure(fig, "A digit 0 at nine levels from clean to t = 1000, below each the histogram of all "
            "pixels with the standard normal curve: the spike at -1 melts into the bell.")

# %% [markdown] slideshow={"slide_type": "skip"}
# Above, one digit fades. Below are the pixels of all digits at that level, with the curve of $\mathcal N(0, 1)$ in grey. Follow the spike of bare paper at $-1$: it widens and
# moves to 0. (Up to t = 50 it is taller than the frame.) From about t = 600 on your eye cannot tell the histogram from the curve. Are they really the same there? Let's compare the mean of the pixels with the 0 of pure noise.

# %% slideshow={"slide_type": "skip"}
mean = q_sample(images, torch.tensor([600]), noise, schedule).mean()
error = 1 / math.sqrt(images.numel())  # standard error of the mean of that many noises of variance 1
print(f"t = 600: the mean is {mean:.3f}; pure noise would have 0 +- {error:.3f}")

# %% [markdown] slideshow={"slide_type": "skip"}
# The mean is about twenty standard errors away from 0. Your eye cannot see what is left of the digits at this level, but an average over enough pixels shows it. Section 8 asks when nothing is left.
#
# Here are all steps in one jump, the formula of the course (DDPM eq. 4):
#
# $$x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1-\bar\alpha_t}\;\epsilon, \qquad \alpha_t = 1-\beta_t, \qquad \bar\alpha_t = \alpha_1\,\alpha_2 \cdots \alpha_t .$$
#
# In words: the picture keeps the share $\bar\alpha_t$ of its variance, and one noise of variance $1-\bar\alpha_t$ is added. The *squares* of the two factors add to 1: where $\bar\alpha_t = 0.5$, both factors are 0.71.
#
# <details><summary>Derivation: merging Gaussians</summary>
#
# **Two steps.** Put the step for $x_1$ into the step for $x_2$ (here with $\epsilon_1, \epsilon_2$ independent, each $\mathcal N(0, I)$):
#
# $$x_2 = \sqrt{\alpha_2}\,x_1 + \sqrt{1-\alpha_2}\,\epsilon_2
#       = \sqrt{\alpha_2\alpha_1}\,x_0 + \underbrace{\sqrt{\alpha_2(1-\alpha_1)}\,\epsilon_1 + \sqrt{1-\alpha_2}\,\epsilon_2}_{\text{noise}} .$$
#
# **The noise is again Gaussian.** A sum of independent Gaussians is Gaussian; its mean is $0$ and its variance is the sum of the variances:
#
# $$\alpha_2(1-\alpha_1) + (1-\alpha_2) = \alpha_2 - \alpha_2\alpha_1 + 1 - \alpha_2 = 1-\alpha_1\alpha_2 .$$
#
# So both noises together are $\sqrt{1-\alpha_1\alpha_2}\;\epsilon$ with *one* $\epsilon\sim\mathcal N(0,I)$: two steps look like one step with
# $\alpha = \alpha_1\alpha_2$.
#
# **All steps, by induction.** At $t = 0$ the formula says $x_0 = x_0$, because $\bar\alpha_0 = 1$. Now suppose that it holds at $t-1$: $x_{t-1} = \sqrt{\bar\alpha_{t-1}}\,x_0 + \sqrt{1-\bar\alpha_{t-1}}\;\epsilon$. This has the form of one step with $\alpha = \bar\alpha_{t-1}$.
# Merge it with step $t$ as above: the product is $\bar\alpha_{t-1}\alpha_t = \bar\alpha_t$, so the formula holds at $t$ too.
#
# We lost something on the way: $\epsilon$ is *one* noise that stands for all of them. From $x_t$ alone nobody can say which step contributed what.
#
# </details>
#
# ## 5. Measured: is the jump really the chain?
#
# The derivation may be right and our program wrong, so let's measure. We begin without randomness: we take one pixel, $x_0 = 0.75$, and compute its mean and variance step by step through the whole chain.

# %% slideshow={"slide_type": "skip"}
mean, variance = 0.75, 0.0
for beta in schedule.betas[1:].double():
    mean, variance = (1 - beta).sqrt() * mean, (1 - beta) * variance + beta
a = schedule.alpha_bar[T].double()
exact = [["mean", f"{mean:.6f}", f"{a.sqrt() * 0.75:.6f}"], ["variance", f"{variance:.6f}", f"{1 - a:.6f}"]]
show.table(exact, ["", "step by step", "by the jump"], f"One pixel after {T:,} steps")

# %% [markdown] slideshow={"slide_type": "skip"}
# Now with noise: we send the pixel 20,000 times through the chain and 20,000 times through the jump, and compare the two at several levels.

# %% slideshow={"slide_type": "skip"}
n, tested = choose(read=20_000, smoke=500), [1, 10, 50, 200, 500, 1000]
pixel = torch.full((n, 1), 0.75)
walked = {t: x for t, x in chain(pixel, schedule.betas, seed=2) if t in tested}
g = torch.Generator().manual_seed(3)
jumped = {t: q_sample(pixel, torch.full((n,), t), torch.randn(n, 1, generator=g), schedule) for t in tested}

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
compared = []
for t in tested:
    x, y = walked[t], jumped[t]
    for_mean, for_variance = (2 / n * y.var()).sqrt(), y.var() * math.sqrt(4 / n)  # standard errors
    off = [(x.mean() - y.mean()) / for_mean, (x.var() - y.var()) / for_variance]
    means, variances = [f"{x.mean():.4f}", f"{y.mean():.4f}"], [f"{x.var():.4f}", f"{y.var():.4f}"]
    compared.append([t, *means, f"{off[0]:+.1f}", *variances, f"{off[1]:+.1f}"])
header = ["level", "mean: chain", "jump", "differ by (s.e.)", "variance: chain", "jump", "differ by (s.e.)"]
show.table(compared, header, f"One pixel, {n:,} times each way (s.e.: standard error of a difference)")

# %% [markdown] slideshow={"slide_type": "slide"}
# If chain and jump are the same, each pair differs by about one standard error of the difference, and seldom by more than two. That is what the table shows. (The variance of $n$ Gaussian draws has the standard error
# $\sigma^2\sqrt{2/n}$.)
#
# Mean and variance alone would not notice a wrong *shape*. The **Kolmogorov-Smirnov statistic** $D$ does. Sort both samples and draw, for each value, which share of the sample lies below it. $D$ is the largest gap between these two
# curves. Even two samples of $n$ draws from the same distribution have a gap, of about $0.87\sqrt{2/n}$; it exceeds $1.95\sqrt{2/n}$ only once in 1,000 cases.
#
# Would the test notice a mistake? We also give it two wrong jumps. One forgets the square root of $1-\bar\alpha_t$. The other draws uniform noise (`rand` for `randn`), with its mean and variance corrected, so that the table above would not notice it.
#
# <!--slide 3 min
# ## The jump is the chain, measured
#
# One pixel, sent through both thousands of times. $D$: the largest gap between two cumulative curves.
#
# Grey: the gaps that chance alone makes. Which mistake leaves the grey band, and at which levels?
#
# Notes:
# Have run: the cells of "Measured" (they take a few seconds). The table above this figure compares means and variances; the Kolmogorov-Smirnov statistic also sees a wrong shape. Grey: what chance alone produces.
# Ask: uniform noise with the right mean and variance: would the table of means and variances have noticed it? (No. Only a test for the shape does.) And why is the missing root no longer found out on the right? (A number near 1 is nearly its own root: there the mistake makes little difference.)
# Say: at 500 the missing root passes only this strict line, once in 1,000 cases; its variance is more than five standard errors too small. The notebook also times it: the jump is more than a hundred times faster.
# -->

# %% slideshow={"slide_type": "skip"}
tries = {"the jump": jumped, "missing root": {}, "uniform noise": {}}
for t in tested:
    a = schedule.alpha_bar[t]
    normal, uniform = torch.randn(n, 1, generator=g), torch.rand(n, 1, generator=g)
    tries["missing root"][t] = a.sqrt() * pixel + (1 - a) * normal
    tries["uniform noise"][t] = a.sqrt() * pixel + (1 - a).sqrt() * (uniform - 0.5) * math.sqrt(12)

def gap(x, y):
    return ks_2samp(x.flatten(), y.flatten()).statistic

D = {name: [gap(walked[t], x[t]) for t in tested] for name, x in tries.items()}

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, ax = plt.subplots()
looks = zip(["o-", "s--", "^:"], [show.COLOUR["exact"], show.COLOURS[3], show.COLOURS[7]], strict=True)
for (name, gaps), (style, colour) in zip(D.items(), looks, strict=True):
    ax.plot([gap / math.sqrt(2 / n) for gap in gaps], style, color=colour, label=name)
ax.axhspan(0.3, 1.95, color="grey", alpha=0.25, label="chance, 999 times of 1,000")
ax.set(xticks=range(6), xticklabels=[f"t = {t}" for t in tested], yscale="log", ylim=(0.25, 400))
ax.set_ylabel(r"$D\,/\,\sqrt{2/n}$")
ax.set_title("Only the right jump stays within chance at every level")
ax.legend(title="gap to the chain", ncols=2, loc="upper right")
show.figure(fig, "Kolmogorov-Smirnov gap to the chain at six levels, log scale: the right jump stays in the "
            "grey band of chance, uniform noise and a missing root lie far above nearly everywhere.")

# %% slideshow={"slide_type": "skip"}
def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start

x0, last = images[:128], torch.full((128,), T)
walk = min(seconds(lambda: [x for _, x in chain(x0, schedule.betas)]) for _ in range(3))
jump = min(seconds(lambda: q_sample(x0, last, torch.randn(x0.shape), schedule)) for _ in range(20))
faster = next((factor for factor in (100, 10, 2) if walk / jump > factor), 1)
print(f"128 digits to t = {T}: one jump is more than {faster} times faster than the walk.")

# %% [markdown] slideshow={"slide_type": "slide"}
# The jump stays in the grey band at every level. Uniform noise lies far above it everywhere. The missing root does too at first, but at $t = 500$ and 1,000 it is inside: there $1-\bar\alpha_t$ is
# near 1, and a number near 1 is nearly its own root. At $t = 500$ it gets through only because our line is strict: the usual line of one case in 20, at $1.36\sqrt{2/n}$, would reject it.
# At $t = 1000$ no sample of this size can tell the two apart.
#
# ## 6. One pixel, all levels
#
# The jump says that $x_t$ given $x_0$ is Gaussian: $q(x_t \mid x_0) = \mathcal N\!\left(\sqrt{\bar\alpha_t}\,x_0,\; 1-\bar\alpha_t\right)$. For a single pixel we can draw that for all levels in
# one picture: each column shows how likely each value is at that level, relative to the likeliest one. What do you expect to see in it for a pixel that started as ink or as paper?
#
# <!--slide 3 min
# ## Where the two bands overlap, the start is uncertain
#
# $$q(x_t \mid x_0) = \mathcal N\!\left(\sqrt{\bar\alpha_t}\,x_0,\; 1-\bar\alpha_t\right)$$
#
# Notes:
# Have run: the cells below take a second. A column shows how likely each value of one pixel is at that level, relative to the likeliest (the darker, the likelier). Black: four single runs of the chain; dashed: two standard deviations, drawn by the closed form.
# Ask: a walk stands at 1.5 at level 500. Where will it be at level 510? Where did it start? (Near 1.5; uncertain: the bands of +1 and -1 overlap, and +1 is likelier, about five to two.)
# Say: small steps are easy to undo, the whole way at once is not.
# -->

# %% slideshow={"slide_type": "skip"}
a, value = schedule.alpha_bar[1:], torch.linspace(-3, 3, 301)[:, None]  # columns: levels 1 .. T
mean, sigma = a.sqrt(), (1 - a).sqrt()

def likely(starts):
    """The density at each value (rows) and level (columns) where x_0 is one of `starts`; its peak is 1."""
    density = sum(torch.exp(-(((value - x0 * mean) / sigma) ** 2) / 2) for x0 in starts)
    return density / density.max(dim=0).values

walks = [x[:, 0] for _, x in chain(torch.full((4, 1), 0.75), schedule.betas, seed=17)]

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 4.3), sharey=True)
look = dict(levels=[0.02, 0.2, 0.4, 0.6, 0.8, 1], cmap="Blues", vmin=-0.2, vmax=1.4)  # few, light bands
for ax, starts in zip(axes, ([0.75], [1, -1]), strict=True):
    bands = ax.contourf(range(1, T + 1), value[:, 0], likely(starts), **look)
    for edge in [x0 * mean + side * sigma for x0 in starts for side in (-2, 2)]:
        (line,) = ax.plot(range(1, T + 1), edge, "--", color=show.COLOUR["exact"], linewidth=2)
    ax.set(title="$x_0$ = " + " or ".join(f"{x0:+g}" for x0 in starts), xlabel="level $t$", xlim=(0, T))
run, *_ = axes[0].plot(torch.stack(walks), color="black", linewidth=0.6)
axes[0].set_ylabel("value of the pixel, $x_t$")
names = "four runs of the chain", "two standard deviations either way, by the jump"
fig.legend([run, line], names, loc="outside lower center", ncols=2)
fig.colorbar(bands, ax=axes, label="density (peak of a level = 1)")
show.figure(fig, "A pixel's density over t, twice. Left: from 0.75 a narrow band widens and sinks to 0, with "
            "dashed two-sigma lines and four jagged runs. Right: bands from +1 and -1 merge into one.")

# %% [markdown] slideshow={"slide_type": "skip"}
# On the left, follow one of the black lines. Each is a single run of the chain, made of a thousand steps. It is jagged, and it wanders. The green lines come from the *closed form*: at each level about $95\,\%$ of many runs lie between them,
# two standard deviations either way.
#
# On the right, look where the two dark bands meet. Before that, you can nearly always read off whether the pixel was ink or paper. After that the sign is an ever weaker hint: if you say "ink" whenever the value is
# positive, you are wrong in about $8\,\%$ of the cases at $t = 200$, and in $39\,\%$ at $t = 500$.
#
# **Question** A walk at level 500 stands at 1.5. Can you tell where it will be at level 510? Where it started?
#
# <details><summary>Answer</summary>
#
# Near 1.5: ten small steps move it by a few tenths. Where it started is uncertain: at level 500 the band of starting value $-1$ and that of $+1$ overlap widely. If both starts were equally common, $+1$ is likelier, but only about five to two.
# Small steps are easy to undo, the whole way at once is not.
#
# </details>

# %% [markdown] exercise_text="1.6" slideshow={"slide_type": "slide"}
# ## 7. Schedules: how fast should it go?
#
# A schedule says how large $\beta_t$ is at each step. How fast does the picture go then? The curve of $\bar\alpha_t$ shows how much of it is left at each level. Many papers give the **signal-to-noise ratio** instead,
# $\mathrm{SNR}(t) = \bar\alpha_t / (1-\bar\alpha_t)$. It is the square of the picture's factor over the square of the noise's factor.
#
# The linear schedule draws a straight line for the betas and takes the alpha-bar that comes out. The **cosine** schedule (Nichol & Dhariwal 2021) goes the other way: it draws a curve for alpha-bar
# and takes the betas that come out:
#
# $$\bar\alpha_t = \frac{f(t/T)}{f(0)}, \qquad f(u) = \cos^2\!\left(\frac{u+s}{1+s}\cdot\frac{\pi}{2}\right), \qquad s = 0.008 .$$
#
# Here $u$ is the share of the way behind us, from 0 to 1, and alpha-bar falls like a squared cosine from 1 to 0. The small offset $s$ keeps the first betas from being next to nothing.
#
# Which betas make this alpha-bar? One step multiplies alpha-bar by $1-\beta_t$. At the end alpha-bar would be 0 and the last beta 1: such a step wipes out the whole picture, and nothing could be computed back from it. So no beta may be larger than $\beta_{\max} = 0.999$.
#
# ### Exercise 1.6: the cosine schedule
#
# Compute the betas of the cosine schedule, shape `(T + 1,)`, with $\beta_0 = 0$.
#
# Difficulty: ●●●○○, 10 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# $1-\beta_t$ is the new alpha-bar over the old one, and $f(0)$ cancels. You need $f$ at every level: at $u = 0, \tfrac1T, \dots, 1$, in float64, for near $u = 1$ the values are tiny. T + 1 values have T ratios of neighbours; what comes
# in front of the T betas?
#
# </details>
#
# <details><summary>Hint 2 (almost there)</summary>
#
# `u = torch.arange(T + 1, dtype=torch.float64) / T`; then `f` in one line; `f[1:]` and `f[:-1]` are the new and the old values;
# `.clamp(max=max_beta)` cuts. The results are `betas[1:]`; `betas[0]` stays 0.
#
# </details>
#
# <!--slide 3 min
# ## Your turn: 1.6, cosine draws alpha-bar; which betas does that take?
#
# $$\bar\alpha_t = \frac{f(t/T)}{f(0)}, \qquad f(u) = \cos^2\!\left(\frac{u+s}{1+s}\cdot\frac{\pi}{2}\right), \qquad s = 0.008$$
#
# In words: alpha-bar falls like a squared cosine from 1 to 0. The offset $s$ keeps the first betas from being next to nothing.
#
# - **linear**: a line through the betas; take what alpha-bar comes out
# - **cosine**: the other way round. $\bar\alpha_t = (1-\beta_t)\,\bar\alpha_{t-1}$, so $\beta_t =\;?$ And no beta above 0.999
# - what matters is the curve of $\bar\alpha_t$, or $\mathrm{SNR}(t) = \bar\alpha_t/(1-\bar\alpha_t)$
#
# Ten minutes, or at home. **First:** for $T$ steps, how many values of $f$ do you need?
#
# Notes:
# Say: cosine is from Nichol and Dhariwal 2021; DDPM has linear betas. The offset s keeps the first betas from being next to nothing, the cut keeps the last one below 1. Ten minutes, or homework; the usual mistakes are T values instead of T + 1, a missing 0 in front, and float32 near u = 1.
# Ask: how many values of f does one need for T steps? (T + 1, one for each level: each beta is 1 minus the ratio of two neighbours, min(1 - f(t/T) / f((t - 1)/T), 0.999).)
# -->
#
# <!--slide 3 min
# ## Linear spends its last 400 levels on little
#
# Black dots: where $\bar\alpha_t$ falls fastest.
#
# Notes:
# Live: run the cell below exercise 1.6. The dots mark where alpha-bar falls fastest: at 220 for linear, at 496 for cosine.
# Say: alpha is near 1 except in the last few levels of cosine, and tells almost nothing. Alpha-bar tells the story. "Linear" is not noise at a constant rate.
# Ask: why does alpha-bar fall fastest at 220 under linear betas, although the betas go on growing? (The fall is beta times what is left. The step gets larger, but less and less is there to lose.)
# Answers 1.6.
# -->

# %% exercise="1.6" slideshow={"slide_type": "skip"}
def cosine_betas(T, s=0.008, max_beta=0.999):
    """beta_t for t = 0 .. T, whose alpha-bar falls like a squared cosine."""
    # TODO 1.6: f at every level, then one beta from each pair of neighbours, and beta_0 = 0
    ### BEGIN SOLUTION
    u = torch.arange(T + 1, dtype=torch.float64) / T
    f = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
    betas = torch.zeros(T + 1, dtype=torch.float64)
    betas[1:] = (1 - f[1:] / f[:-1]).clamp(max=max_beta)
    return betas
    ### END SOLUTION
cosine_betas = check("1.6", cosine_betas)

# %% expected="1.6" tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig = plt.figure(figsize=(show.WIDTH, 5.8))
axes = fig.subplots(2, 2, sharex=True).flatten()
for s, style in ((linear(T), "-"), (course.Schedule(cosine_betas(T), "cosine"), "--")):
    for ax, curve in zip(axes, (s.betas, s.alphas, s.alpha_bar, s.snr.log()), strict=True):
        ax.plot(range(1, T + 1), curve[1:], style, color=show.COLOUR[s.name], linewidth=2.5, label=s.name)
    fastest = int(s.exact(torch.arange(s.T + 1)).diff().round(decimals=12).argmin()) + 1  # in float64
    axes[2].plot(fastest, s.alpha_bar[fastest], "ko")
    axes[2].text(fastest - 20, s.alpha_bar[fastest], f"fastest\nat {fastest}", ha="right", va="top")
axes[1].legend(loc="lower left")
axes[0].set(title=r"$\beta_t$", yscale="log")
axes[1].set(title=r"$\alpha_t = 1 - \beta_t$")
axes[2].set(title=r"$\bar\alpha_t$", xlabel="level $t$")
axes[3].set(title=r"ln SNR$(t)$", xlabel="level $t$", ylim=(-12, 10))
show.figure(fig, "Four panels, linear solid, cosine dashed: beta; alpha, near 1 but for cosine's end; "
            "alpha-bar, its steepest point marked, early for linear, in the middle for cosine; log SNR.")

# %% [markdown] slideshow={"slide_type": "skip"}
# As a formula, your betas are
#
# $$\beta_t = \min\!\left(1 - \frac{f\big(\tfrac{t}{T}\big)}{f\big(\tfrac{t-1}{T}\big)},\; \beta_{\max}\right) \quad (t = 1, \dots, T).$$
#
# In words: $1-\beta_t$ is alpha-bar after the step, divided by alpha-bar before it, and no beta is larger than $\beta_{\max}$.
#
# Now look at the panels. Alpha is near 1 nearly all the time and tells us little. Alpha-bar tells more. Under the linear schedule less than a sixth of the picture's amplitude, $\sqrt{\bar\alpha_t}$, is left in the last 400 of the 1,000 levels;
# cosine spreads the loss more evenly. "Linear" does not mean that the picture fades at a constant rate: alpha-bar falls fastest at the black dot, in the first quarter, and then ever more slowly.
#
# **Question** Why does alpha-bar fall fastest just there under the linear schedule?
#
# <details><summary>Answer</summary>
#
# The fall at a step is $\bar\alpha_{t-1}-\bar\alpha_t = \beta_t\,\bar\alpha_{t-1}$: it is large when the step is large *and* there is still something to lose. $\beta_t$ rises, $\bar\alpha$ falls.
# Their product is greatest where the two changes balance. To find the place, take $\beta(t) = kt$, which is nearly the linear schedule. Then $\ln\bar\alpha_t \approx -\sum_{i\le t} ki \approx -kt^2/2$, and the fall is about $kt\,e^{-kt^2/2}$. Its derivative is $k\,(1-kt^2)\,e^{-kt^2/2}$, which is
# zero at $t = 1/\sqrt{k}$. Here $k = 0.0199/999$, which gives $t \approx 224$. The small first beta moves it a few levels.
#
# </details>

# %% [markdown] tags=["optional"] slideshow={"slide_type": "slide"}
# ## Try it (optional): any level, three schedules
#
# Here is the same digit with the same noise under three schedules: linear, cosine, and one that the next section is about,
# DDPM's betas for only 200 steps. A column stands for the same share $u$ of the way under each of them: it is at level $t = u\,T$, rounded.
#
# <!--slide 2 min
# ## The usual betas for only 200 steps do not end in noise
#
# The same digit and noise at the same share $u$ of the way. Third row: betas up to 0.02, but $T = 200$.
#
# Compare the last column: which rows show the same picture, and what is it a picture of? Is there still a 3 in the third row? Write down yes or no.
#
# Notes:
# Have run: the cell below. Linear and cosine have 1,000 steps; the third row has 200 steps with betas up to the same 0.02.
# Live: in the notebook, move u with the sliders: picture, histogram and the place on the curve of alpha-bar change together. Take linear and cosine to where you can just not read the digit, then the third one to u = 1.
# Ask: compare the last column: which rows show the same picture, and what is it a picture of? (The first two: the noise itself, the same in all rows. In the third a weak digit is added to it, which you can hardly see; section 8 measures it.)
# -->

# %% tags=["optional", "hide-input", "slide-figure"] slideshow={"slide_type": "-"}
kinds = {
    "linear": linear(T),
    "cosine": cosine(T),
    "linear, 200 unscaled": linear(200, rescale=False),
}
way = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1]
grain = torch.randn(images.shape, generator=torch.Generator().manual_seed(12))
strips = {}
for kind, s in kinds.items():
    t = torch.tensor([round(u * s.T) for u in way])
    strips[kind] = q_sample(example[3:4].expand(len(way), -1, -1, -1), t, grain[3:4], s)
show.rows(strips, labels=[f"u = {u:g}" for u in way], alt="A digit 3 with the same noise at nine shares of "
          "the way: linear fades first, 200 unscaled steps last; at u = 1 only their row differs.")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# Compare the last column. The first two rows show the same picture, the noise alone. The third row should differ from them, because 0.36 of the 3's amplitude is left in it. You can hardly see a 3 there; section 8 measures whether it can be read.
#
# Now take one level at a time, with its place on the curve of $\bar\alpha_t$ (thin lines: the other two schedules). The histogram counts the pixels of all pictures of the class, and the line over it is $\mathcal N(0, 1)$.

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
value = torch.linspace(-3, 3, 100)
density = torch.exp(-(value**2) / 2) / math.sqrt(2 * math.pi)

def draw_histogram(ax, x_t):
    look = dict(density=True, histtype="stepfilled", color=show.COLOUR["data"])
    ax.hist(x_t.flatten().numpy(), bins=40, range=(-3, 3), **look)
    ax.plot(value, density, color=show.COLOUR["noise"], linewidth=2)
    ax.set(ylim=(0, 0.8), yticks=[], title="pixels", xlabel="value")

def draw_curves(ax, kind, t):
    for (name, s), thing in zip(kinds.items(), ("linear", "cosine", "other"), strict=True):
        look = dict(color=show.COLOUR[thing], linewidth=3 if name == kind else 1)
        ax.plot(torch.arange(s.T + 1) / s.T, s.alpha_bar, label=name.removeprefix("linear, "), **look)
    ax.legend(loc="upper right", fontsize=11, frameon=False, handlelength=0.8, borderaxespad=0)
    ax.plot(t / kinds[kind].T, kinds[kind].alpha_bar[t], "o", color="black", markersize=9, zorder=3)
    ax.set(title=f"$\\bar\\alpha_t$, {kind}", xlabel="share of the way, $u$", ylim=(-0.03, 1.03))

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
def at_level(u=0.4, kind="linear", digit=3):
    """Draw a digit at the share u of a schedule's way: clean, noised, the pixels, the place on the curve."""
    s, x0 = kinds[kind], images[labels == digit]
    t = round(u * s.T)
    x_t, a = q_sample(x0, torch.tensor([t]), grain[labels == digit], s), s.alpha_bar[t]
    fig, axes = plt.subplots(1, 4, figsize=(show.WIDTH, 2.8), width_ratios=[1, 1, 1, 1.5])
    for ax, x, title in zip(axes, (x0, x_t), ("clean", f"t = {t} of {s.T}"), strict=False):
        ax.imshow(x[0, 0], vmin=-1, vmax=1)
        ax.set(title=title, xticks=[], yticks=[])
    axes[1].set_xlabel(f"{a.sqrt():.2f} $x_0$ + {(1 - a).sqrt():.2f} $\\epsilon$")
    draw_histogram(axes[2], x_t)
    draw_curves(axes[3], kind, t)
    show.figure(fig, f"A digit {digit}, clean and at t = {t} of the {kind} schedule, alpha-bar {a:.3f}; "
                "the histogram of the pixels of its class with the normal curve; the level on the curve.")

at_level()

# %% tags=["optional"] slideshow={"slide_type": "skip"}
from helpers.sliders import sliders

sliders(at_level, u=(0.0, 1.0, 0.02), kind=list(kinds), digit=(0, 9))

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# In a running notebook the sliders draw anew; on the web page they move through recorded pictures. Try this:
#
# - Move $u$ to where you can just not name the digit, once with `linear`, once with `cosine`. The places on the way differ; is $\bar\alpha_t$ about the same?
# - In a running notebook, keep that level and go through the digits. Which are lost sooner?
# - Take each schedule to $u = 1$. Under which does the histogram still lean to the left of the curve, and what is it that remains?

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 8. Is the end of the chain noise?
#
# A sampler starts its way back from pure noise, $\mathcal N(0, I)$. That is right only if the chain *ends* there. DDPM's betas, up to 0.02, were made for 1,000 steps. Many tutorials take the same betas for $T = 100$, 200 or 300.
# Then $\sqrt{\bar\alpha_T}$ of the picture's amplitude is left at the end. Is that enough to see anything? In section 4 your eye was no good judge, so we ask a machine: *can a reader tell the digit from $x_T$ alone?*
#
# The reader is a logistic regression: for each class it adds up the 64 pixels with weights of its own, and names the class with the largest sum. It is about the weakest reader there is. Every image gets 20 different noises. We split the images into thirds, and each third is read by a reader
# trained on the other two, so that no reader knows its test images by heart. The standard error counts images: drawing twenty noises for one digit does not give us twenty digits.
#
# <!--slide 2 min
# ## Ask a reader: is there a digit left in x_T?
#
# A sampler starts its way back from $\mathcal N(0, I)$. That is right only if the chain *ends* there.
#
# - the reader: a logistic regression, about the weakest there is
# - it sees nothing but $x_T$ (the last level, $t = T$), and only digits it was not trained on
# - $\beta$ up to 0.02, made for $T = 1000$, taken for fewer steps
#
# Notes:
# Have run: four readers, each trained three times, take some seconds. The table comes on a click.
# Ask: T = 200, a third of the amplitude is left. How often does the reader name the right digit: one time in ten, in five, in three? (About one in three, as the table shows; chance is one in ten.)
# Say: a network trained on such x_T can use the digit that shines through. At sampling time it gets pure noise, an input it was not trained on. How much that costs depends on the sampler and on T; notebook 02 measures it.
# -->

# %% slideshow={"slide_type": "skip"}
draws = choose(read=20, smoke=2)
third = torch.empty_like(labels)
third[labels.argsort(stable=True)] = torch.arange(len(labels)) % 3  # of every class, a third each

def accuracy(schedule):
    """Share of the digits read from x_T, and its standard error over images."""
    x0, t = images.repeat_interleave(draws, dim=0), torch.tensor([schedule.T])
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1))
    x_T = q_sample(x0, t, noise, schedule).flatten(1)
    y, part, right = labels.repeat_interleave(draws), third.repeat_interleave(draws), torch.zeros(len(x0))
    for k in range(3):
        reader = LogisticRegression(max_iter=200).fit(x_T[part != k], y[part != k])
        right[part == k] = (torch.tensor(reader.predict(x_T[part == k])) == y[part == k]).float()
    share = right.reshape(-1, draws).mean(1)
    return share.mean().item(), (share.std() / math.sqrt(len(share))).item()

# %% [markdown] exercise_text="1.7" slideshow={"slide_type": "skip"}
# ### Exercise 1.7: what a reader reads
#
# For $T = 100, 200, 300, 1000$ with betas up to 0.02 the amplitude left of the picture is $\sqrt{\bar\alpha_T} = 0.60, 0.36, 0.22, 0.006$. A guesser reads one digit in ten. How many percent does the reader read from $x_T$? Four numbers. (The cell that measures them takes about six seconds.)
#
# Difficulty: ●○○○○, 3 minutes
#
# <details><summary>Hint</summary>
#
# An 8x8 picture has 64 pixels that all say something about the same digit; the reader may average their noise away.
#
# </details>

# %% exercise="1.7" kind="predict" slideshow={"slide_type": "skip"}
# TODO 1.7: four percentages, for T = 100, 200, 300, 1000
### BEGIN SOLUTION
percent = 62, 36, 23, 10
### END SOLUTION
check.predict("1.7", percent)

# %% tags=["hide-input", "slide-output"] slideshow={"slide_type": "fragment"}
written, truth, read = check.written("1.7") or ["-", "-", "-", "-"], [], []
lengths = [100, 200, 300, 1000]
for steps, yours in show.progress(list(zip(lengths, written, strict=True)), label="readers"):
    s = linear(steps, rescale=False)
    share, error = accuracy(s)
    truth.append(round(100 * share))
    read.append([f"T = {steps}", f"{s.alpha_bar[s.T].sqrt():.3f}", f"{share:.1%} ± {error:.1%}", yours])
header = ["betas up to 0.02", "amplitude left", "digits read", "you wrote"]
read.append(["always the commonest digit", "", f"{counts.max() / len(labels):.1%}", ""])
show.table(read, header, "Digits read from the last level")
check.truth("1.7", truth)

# %% [markdown] exercise_text="1.8" slideshow={"slide_type": "skip"}
# After 100 such steps even this weak reader gets most digits right, and after 300 it is still far above chance. Why does that matter? A network trained on such $x_T$ can use the digit that shines
# through. When it draws, it starts from pure noise, an input it was not trained on. Notebook 02 measures what that costs on points with $T = 100$, as a distance between samples and data (smaller is better). With a sampler called DDIM, which adds no fresh noise on its way, the distance is
# <!--r:points.schedules.uncorrected-DDIM.distance.mean|.3f-->0.109<!--/--> without rescaling and <!--r:points.schedules.rescaled-DDIM.distance.mean|.3f-->0.025<!--/--> with it. With a sampler that adds fresh noise at every step, the two differ by no more than their spread over three trainings.
#
# ### The repairs
#
# How much is left after $T$ steps? $\bar\alpha_T$ is a product, so its logarithm is a sum, and for small $\beta$ we have $\ln(1-\beta) \approx -\beta$:
#
# $$\ln\bar\alpha_T = \sum_{t=1}^T \ln(1-\beta_t) \approx -\sum_{t=1}^T\beta_t .$$
#
# In words: what is left depends on the **sum** of the betas. The line from $\beta_{\text{start}}$ to $\beta_{\text{end}}$ was made for 1,000 steps. With fewer steps the betas must still bring the same sum.
#
# ### Exercise 1.8: betas for any number of steps
#
# Compute betas on a straight line of $T$ values, times the one factor that gives every $T$ the same sum of betas, so that the end is about the same (the factor is 1 for $T = 1000$), with $\beta_0 = 0$ in front: shape `(T + 1,)`.
#
# Difficulty: ●●○○○, 5 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# A line of $T$ values has the mean $(\beta_{\text{start}} + \beta_{\text{end}})/2$ whatever $T$ is, so its sum grows like $T$. Which factor undoes that?
#
# </details>
#
# <details><summary>Hint 2 (almost there)</summary>
#
# `torch.linspace(beta_start, beta_end, T)`, times `1000 / T`; then `torch.cat` with `torch.zeros(1)`.
#
# </details>

# %% exercise="1.8" slideshow={"slide_type": "skip"}
def linear_betas(T, beta_start=1e-4, beta_end=0.02):
    """beta_t for t = 0 .. T: after the 0 a straight line that destroys as much as 1,000 unscaled steps."""
    # TODO 1.8: a line of T values, rescaled, and beta_0 = 0 in front of it
    ### BEGIN SOLUTION
    line = torch.linspace(beta_start, beta_end, T) * (1000 / T)
    return torch.cat([torch.zeros(1), line])
    ### END SOLUTION
linear_betas = check("1.8", linear_betas)

# %% [markdown] slideshow={"slide_type": "slide"}
# The factor is $1000/T$: a tenth of the steps takes betas ten times as large. The ends are then about the same: $\bar\alpha_T$ is 0.000020 for $T = 100$ and 0.000040 for $T = 1000$.
#
# We give three repairs the same test: the rescaled line, the cosine schedule, and **zero terminal SNR** (Lin et al. 2023). The last one works for *any* schedule. It shifts and stretches the curve of $\sqrt{\bar\alpha_t}$, so
# that the curve keeps its value at level 1 and ends at exactly 0:
#
# $$\sqrt{\bar\alpha_t} \;\leftarrow\; \left(\sqrt{\bar\alpha_t}-\sqrt{\bar\alpha_T}\right)\cdot\frac{\sqrt{\bar\alpha_1}}{\sqrt{\bar\alpha_1}-\sqrt{\bar\alpha_T}}, \qquad t = 1, \dots, T.$$
#
# The bracket is 0 at $t = T$, and at $t = 1$ the fraction brings it back to $\sqrt{\bar\alpha_1}$. The next cell asks twelve readers and takes about seven seconds.
#
# <!--slide 4 min
# ## What counts is the sum of the betas: three repairs
#
# $$\ln\bar\alpha_T = \sum_{t=1}^T \ln(1-\beta_t) \approx -\sum_{t=1}^T\beta_t$$
#
# In words: how much of the picture is left at the end depends on the sum of all betas, and on little else.
#
# Notes:
# Have run: the cells below ask a dozen readers, which takes about seven seconds. The figure comes on a click.
# Say: rescaled betas, the cosine schedule, or zero terminal SNR (Lin et al.), which shifts and stretches the curve of the root of alpha-bar to end at exactly 0. All three bring the reader down to chance.
# Ask: the reader fails. Is that a proof that nothing is left? (No, a better reader might see something. "Looking inside" gives a bound that no reader can beat.) Exercise 1.8 finds the factor, 1000 / T, in two lines: five minutes or homework; usual mistakes: T / 1000 for 1000 / T, only the end rescaled, and no 0 in front.
# -->

# %% slideshow={"slide_type": "skip"}
schedules = {
    "betas up to 0.02": lambda T: linear(T, rescale=False),
    "betas × 1000/T": lambda T: course.Schedule(linear_betas(T), "rescaled"),
    "cosine": lambda T: course.Schedule(cosine_betas(T), "cosine"),
    "zero terminal SNR": lambda T: zero_terminal_snr(linear(T, rescale=False)),
}
cases = [(name, steps) for name in schedules for steps in (100, 200, 300)]
bars = []
for name, steps in show.progress(cases, label="readers"):
    share, _ = accuracy(schedules[name](steps))
    bars.append((f"T = {steps}", share, name))

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "fragment"}
where, shares, names = zip(*bars, strict=True)
colours = [show.COLOUR["other"], show.COLOUR["linear"], show.COLOUR["cosine"], show.COLOURS[3]]
ax = sns.barplot(x=where, y=shares, hue=names, palette=colours)
for group, hatch in zip(ax.containers, ["", "//", "..", "xx"], strict=True):
    ax.bar_label(group, fmt="{:.0%}", padding=2)
    plt.setp(group, hatch=hatch)
ax.axhline(0.1, color="black", linestyle="--")
ax.set(ylabel="share of digits read", ylim=(0, 0.75), title="What a reader sees in $x_T$ (dashed: chance)")
show.figure(ax.figure, "Reading accuracy for T = 100, 200, 300: far above the dashed line with unscaled "
            "betas, highest at T = 100; at chance rescaled, with cosine, with zero terminal SNR.")

# %% [markdown] exercise_text="1.9" slideshow={"slide_type": "slide"}
# All three repairs bring the reader down to chance. A cleverer reader might still see something; "Looking inside" has a bound that no reader can beat.
#
# ## 9. The way back, if the noise were known
#
# *On the one-evening route.* The network of the next notebook is asked for the noise $\epsilon$ inside $x_t$. Is the noise enough to get the picture back? (Why we ask for the noise and not for the picture itself is a question for notebook 03.) Suppose that somebody tells you the noise.
#
# ### Exercise 1.9: back to the picture
#
# You have $x_t$, its level and its noise. Find the clean picture. Shapes as before.
#
# Difficulty: ●●○○○, 6 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Take the equation of the jump (1.5) and bring the noise to the other side. What still multiplies $x_0$?
#
# </details>
#
# <details><summary>Hint 2 (almost there)</summary>
#
# The same `a` as in 1.5. Subtract `(1 - a).sqrt() * eps`, then divide by `a.sqrt()`.
#
# </details>
#
# <!--slide 3 min
# ## If you know the noise, you know the picture
#
# $$x_0 = \frac{x_t - \sqrt{1-\bar\alpha_t}\;\epsilon}{\sqrt{\bar\alpha_t}} \qquad\qquad \text{error in } x_0 = \frac{\sqrt{1-\bar\alpha_t}}{\sqrt{\bar\alpha_t}}\times\text{error in } \epsilon$$
#
# Notes:
# Before this slide: exercise 1.9, six minutes or homework; usual mistakes: "noisy minus noise" without the factors, and dividing by alpha-bar instead of its root. Have run: the cell below it.
# Say: so a network that is asked for the noise, as in notebook 02, gives us the picture too; whether the noise is the best thing to ask for is notebook 03's question. Second row: exact noise, the digit comes back from any level. Third row: noise wrong by a twentieth.
# Ask: at level 1000, by how much is an error in the noise multiplied under the linear schedule, roughly? (By 157, as the table in the notebook says; under cosine by about twenty thousand, but by about 640 one level earlier; with zero terminal SNR one divides by 0. So zero terminal SNR needs another question than "what is the noise?".)
# -->

# %% exercise="1.9" slideshow={"slide_type": "skip"}
def predict_x0(x_t, t, eps, schedule):
    """The clean data that x_t and its noise eps imply."""
    # TODO 1.9: solve the jump for x_0
    ### BEGIN SOLUTION
    a = at(schedule.alpha_bar, t, x_t)
    return (x_t - (1 - a).sqrt() * eps) / a.sqrt()
    ### END SOLUTION
predict_x0 = check("1.9", predict_x0)

# %% expected="1.9" tags=["slide-figure"] slideshow={"slide_type": "-"}
where = torch.tensor([50, 200, 400, 600, 800, 1000])
g = torch.Generator().manual_seed(8)
noise, slip = torch.randn(2, 6, 1, 8, 8, generator=g)
x_t = q_sample(example[5:6].expand(6, -1, -1, -1), where, noise, schedule)
estimates = {
    "$x_t$": x_t,
    "$x_0$, noise exact": predict_x0(x_t, where, noise, schedule),
    "$x_0$, noise 5 % off": predict_x0(x_t, where, noise + 0.05 * slip, schedule),
}
alt = "A digit 5 at six levels, recovered exactly from the true noise; from noise 5 % off, useless at 1000."
show.rows(estimates, alt, labels=[f"t = {t}" for t in where])

# %% [markdown] slideshow={"slide_type": "skip"}
# Solved for the clean picture, the jump says (DDPM eq. 15)
#
# $$x_0 = \frac{x_t - \sqrt{1-\bar\alpha_t}\;\epsilon}{\sqrt{\bar\alpha_t}} .$$
#
# In words: take the noise away with its factor, then undo the fading.
#
# Look at the second row of the figure above. With the exact noise the digit comes back from any level, even from t = 1000. In the third row the noise is wrong by a twentieth. The digit still comes back up to about t = 600, but at 800 it is lost. How much does
# an error in $\epsilon$ grow? It is multiplied by $\sqrt{1-\bar\alpha_t}/\sqrt{\bar\alpha_t}$. At the last level this factor is

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
factors = []
for s in (linear(T), cosine(T), zero_terminal_snr(linear(T))):
    factor = ((1 - s.alpha_bar[T]) / s.alpha_bar[T]).sqrt()
    factors.append([s.name, f"{factor:,.0f}" if factor.isfinite() else "infinite"])
show.table(factors, ["schedule", "an error in eps is multiplied by"], f"At level T = {T:,}")

# %% [markdown] slideshow={"slide_type": "skip"}
# With the linear schedule an error in the noise grows 157-fold, and with the two others even more. Because of such factors notebook 02 keeps the estimate within the range of the data.
#
# Sections 7 and 8 have made the two other schedules. (Not on the one-evening route: go on with "All your functions in one class".) The 20,291 of the cosine schedule belong to the very last level alone, whose beta was cut at 0.999; one level earlier the factor is about 640, and at $t = 900$ about 6.
#
# **Why zero terminal SNR needs another question.** At $\bar\alpha_T = 0$ the picture $x_T$ *is* the noise. If we ask a network for the noise, it may copy its input and learns nothing about digits
# at that level, and the formula above divides by 0. So people ask for $v = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\,x_0$ instead (notebook 03). At the last level that is $-x_0$, and the network has to give its best guess of the picture.
#
# ### All your functions in one class
#
# The class below holds betas, alpha-bar, the jump and the way back, and calls *your* functions. Your file my-work/mine.py, which draws digits with your functions at the end of notebook 04, uses it.

# %% slideshow={"slide_type": "skip"}
class Schedule:
    """betas (T + 1,) and what follows from them, by your functions."""

    def __init__(self, betas):
        betas, self.T = betas.double(), len(betas) - 1
        alpha_bar = alpha_bar_of(betas)
        self.betas, self.alphas, self.alpha_bar = betas.float(), (1 - betas).float(), alpha_bar.float()
        self.snr = (alpha_bar / (1 - alpha_bar)).float()

    def q_sample(self, x0, t, noise):
        return q_sample(x0, t, noise, self)

    def predict_x0(self, x_t, t, eps):
        return predict_x0(x_t, t, eps, self)

# %% slideshow={"slide_type": "skip"}
gap = (Schedule(betas).alpha_bar - linear(T).alpha_bar).abs().max()  # the betas of section 2
print("your Schedule agrees with that of helpers:", bool(gap < 1e-6))

# %% [markdown] exercise_text="1.10" slideshow={"slide_type": "slide"}
# ## 10. Which line is wrong?
#
# Six lines noise all digits to the levels 0, 50, 100 and 200 of a linear schedule with $T = 200$. They run without an error, and one of them is wrong.
#
# ### Exercise 1.10: find the wrong line
#
# Look at the lines, the pictures and the numbers, and find it. If you name a line that is right, `check` says what the numbers would be if that line were wrong.
#
# Difficulty: ●●●○○, 8 minutes
#
# <details><summary>Hint</summary>
#
# Check $t = 0$ first: mean and variance must be those of the clean digits, which stand in section 1. Which values should they have at the last level? And at level 50, where $\bar\alpha = 0.53$, with digits of variance 0.57?
#
# </details>
#
# <!--slide 5 min
# ## Find the wrong line: 1.10
#
# ```python
# 1  x0 = images
# 2  betas = linear_betas(200)
# 3  alpha_bar = alpha_bar_of(betas)
# 4  noise = torch.randn(x0.shape, generator=g)
# 5  a = at(alpha_bar, t, x0)
# 6  x_t = a.sqrt() * x0 + (1 - a).sqrt() * noise
# ```
#
# These six lines are right. In your notebook one of them has been spoilt, and your neighbour has another one. Eight minutes. Which number tells which line?
#
# - $t = 0$: nothing has happened yet, so which mean and variance are due?
# - $t = 50$: $\bar\alpha = 0.53$, and the digits have variance 0.57. Which variance is due?
# - the last level: which mean tells `randn` from `rand`?
# - two pictures of one batch: how do you see whether they got the same noise?
#
# Notes:
# Live: `check.hunt("1.10", seed=7)`, with another seed for each row of the room. Eight minutes.
# Ask: which single number tells a noise from `rand`? (The mean at the last level: 0.5 in place of 0.) Which tells one noise for all pictures? (The correlation of the noises of two pictures; a single picture looks right.) Which tells betas that were not rescaled? (Alpha-bar at the last level.)
# -->

# %% exercise="1.10" kind="hunt" slideshow={"slide_type": "skip"}
check.hunt("1.10")

# %% kind="answer" of="1.10" slideshow={"slide_type": "skip"}
line = 1  # TODO 1.10: the number of the wrong line
check.found("1.10", line)

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ## Looking inside (optional)
#
# Here are five short looks at questions that come up. Nothing later depends on them.
#
# ### Eight digits at eight levels
#
# Are all digits lost at the same level? Here are eight of them under the cosine schedule.

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
eight, where = images[20:28], [0, 100, 250, 400, 550, 700, 850, 1000]
noise = torch.randn(eight.shape, generator=torch.Generator().manual_seed(6))
columns = [q_sample(eight, torch.full((8,), t), noise, cosine(T)) for t in where]
table = torch.stack(columns, dim=1)
show.rows(
    {f"a {labels[20 + i]}": table[i] for i in range(8)},
    "Eight digits, one a row, at eight levels of the cosine schedule from clean to t = 1000: "
    "clear until 250, hard to read at 550, lost at 850.",
    labels=where,
    title="Eight digits under the cosine schedule, at level $t$ =",
)

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# The noise is the same along a row, so only the level changes. Cover the left half with your hand and try to read the digits from the right. At which column do you succeed? Roughly there a denoiser has to decide
# which digit it will be.
#
# ### How much can any reader learn from $x_T$?
#
# Our reader was weak. Is there a limit for all readers? We can compute how far $q(x_T \mid x_0)$ is from the sampler's start $\mathcal N(0, I)$. The usual measure is the *Kullback-Leibler divergence* (KL): the mean of
# the logarithm of one density over the other. It is 0 only where both are the same. For these two Gaussians, with $d$ pixels and $\bar\alpha = \bar\alpha_T$, it is
#
# $$\mathrm{KL} = \tfrac12\left(\bar\alpha\,\lVert x_0\rVert^2 - d\,\bar\alpha - d\,\ln(1-\bar\alpha)\right).$$
#
# Its mean over the data, divided by $\ln 2$ to count in bits, bounds how much *any* reader can learn about the picture from $x_T$. For comparison: to name one of ten digits takes $\log_2 10 = 3.3$ bits.
#
# <details><summary>Where the bound comes from</summary>
#
# The information that $x_T$ holds about $x_0$ is $I = \mathbb E_{x_0}\,\mathrm{KL}\big(q(x_T\mid x_0)\,\|\,q(x_T)\big)$. For any other density $p$ in the second place,
# $\mathbb E_{x_0}\mathrm{KL}(q(x_T\mid x_0)\,\|\,p) = I + \mathrm{KL}(q(x_T)\,\|\,p) \ge I$, because a divergence is never negative. Take $p = \mathcal N(0, I)$. This is the term $L_T$ of DDPM's bound (eq. 5).
#
# For the last column of the table take the Gaussian $p$ that has the mean of $x_T$ and in every pixel the variance $\bar\alpha\,v + 1 - \bar\alpha$. Here $v = 0.293$ is the variance between the digits, a mean over the pixels. The mean image drops out, and what is left is
# $\tfrac d2 \log_2\!\left(1 + \mathrm{SNR}(T)\,v\right)$ bits, with $d = 64$.
#
# </details>

# %% tags=["optional"] slideshow={"slide_type": "skip"}
energy = images.double().square().sum((1, 2, 3)).mean()
unscaled = [linear(steps, rescale=False) for steps in (100, 200, 300, 1000)]
bounds, between = [], images.double().var(0).mean()  # variance between the digits, a mean over pixels
for s in unscaled + [linear(100), cosine(100), cosine(1000)]:
    a = s.alpha_bar[s.T].double()
    bits = (a * energy - 64 * a - 64 * torch.log1p(-a)) / 2 / math.log(2)
    tighter = 32 * torch.log1p(a / (1 - a) * between) / math.log(2)
    bounds.append([s.name, f"{s.T:,}", f"{bits:.2g}", f"{tighter:.2g}"])
header = ["schedule", "steps", "bits a picture, at most", "tighter bound"]
show.table(bounds, header, "What any reader can learn from the last level")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# After 100 or 200 unscaled steps this simple bound does not exclude that a reader names the digit. But it also counts the mean image, which is left in every $x_T$ and says nothing about the digit. The last column leaves it out: after 200 steps 2 bits remain of 4.8,
# too few to name every digit. After 1,000 steps, or with the rescaled line or the cosine schedule, less than a hundredth of a bit is left. There nobody can read more than next to nothing, and it is safe to start the sampler from pure noise.
#
# ### Why does the same noise do less to a photo?
#
# What does the linear schedule do to a larger picture? We noise a photo to all levels and measure the variance of its pixels. The jump predicts it: picture and noise are independent, so $\operatorname{Var}(x_t) = \bar\alpha_t \operatorname{Var}(x_0) + (1-\bar\alpha_t)$.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
photo = data.photo(64)
noise = torch.randn(T + 1, 1, 64, 64, generator=torch.Generator().manual_seed(11))
noised = q_sample(photo.expand(T + 1, -1, -1, -1), torch.arange(T + 1), noise, schedule)  # all levels
measured = noised.flatten(1).var(1)
predicted = alpha_bar * photo.var() + 1 - alpha_bar

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
fig, axes = plt.subplots(1, 6, figsize=(show.WIDTH, 2.3), width_ratios=[1, 1, 1, 1, 1, 1.7])
for t, ax in zip([0, 50, 200, 500, 1000], axes, strict=False):
    ax.imshow(noised[t, 0], vmin=-1, vmax=1)
    ax.set(title=show.level(t), xlabel=f"variance {measured[t]:.2f}", xticks=[], yticks=[])
axes[5].plot(measured, color=show.COLOUR["data"], label="measured")
axes[5].plot(predicted, "--", color=show.COLOUR["exact"], linewidth=2.5, label="by the formula")
axes[5].set(title="variance", xlabel="level $t$", ylim=(-0.5, 1.1))
axes[5].legend()
show.figure(fig, "A 64x64 photo of a flower at t = 0, 50, 200, 500, 1000, dissolving; beside it the "
            "variance of its pixels climbs to 1 along the predicted curve.")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# The measured variance follows the formula. Now compare with exercise 1.1: at $t = 200$ the flower is still plain to see, while the 3 was hard to read. Why? Neighbouring pixels of a large picture say nearly the same thing, so your eye can average them,
# and the average of $n$ noises has an $n$-th of their variance. To see it we put a digit and the photo side by side at $t = 350$, and average the photo over blocks of pixels.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
t, g = torch.tensor([350]), torch.Generator().manual_seed(9)
signal = schedule.alpha_bar[350].sqrt()
noisy_photo = q_sample(photo, t, torch.randn(photo.shape, generator=g), schedule) / signal
noisy_digit = q_sample(example[3:4], t, torch.randn(1, 1, 8, 8, generator=g), schedule) / signal
blocks = {f"photo, blocks of {k}x{k}": torch.nn.functional.avg_pool2d(noisy_photo, k) for k in (2, 4, 8)}

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
beside = {"a digit, 8x8": noisy_digit, "the photo, 64x64": noisy_photo} | blocks
fig, axes = plt.subplots(1, 5, figsize=(show.WIDTH, 2.4))
for ax, (title, x) in zip(axes, beside.items(), strict=True):
    ax.imshow(x[0, 0], vmin=-1.2, vmax=1.2)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title.replace(", ", "\n"), fontsize=11)
fig.suptitle("The same noise level, $t$ = 350", fontsize=13)
show.figure(fig, "A digit 3 and a photo of a flower at t = 350, then the photo averaged over blocks of 2x2, "
            "4x4 and 8x8 pixels: the digit is lost, the flower stands out more with larger blocks.")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# The digit is lost in the noise. The flower shows faintly, and averaging brings it out. (All are divided by $\sqrt{\bar\alpha_t}$, so that the picture keeps its brightness and only the noise changes.) This is why a schedule that suits 28x28 pixels can be too gentle at 256x256: large pictures need more noise for the same damage.
#
# ### Pixels in [0, 1] or in [-1, 1]?
#
# Some tutorials leave the pixels in $[0, 1]$. The formulas still hold. What does it change?

# %% tags=["optional"] slideshow={"slide_type": "skip"}
ranges = []
for name, x0 in (("[-1, 1]", images), ("[0, 1]", (images + 1) / 2)):
    spread = x0.var(0).mean()  # what distinguishes one digit from another
    lost = int((schedule.snr * spread > 1).sum())  # so many levels, 0 among them, come before it
    ranges.append([name, f"{x0.mean():.2f}", f"{spread:.3f}", f"t = {lost}"])
show.table(ranges, ["pixels in", "mean", "variance between digits", "noise is stronger from"])

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# Half the range is a quarter of the variance. So under the same betas the noise is stronger than the digits about twice as early, and more of the levels are spent on nearly pure noise. (The mean is no argument: neither range has it at 0.)
#
# ### The same in a library
#
# `diffusers`, a library that many people use, calls the jump `add_noise`. Given the same noise it must give the same picture.
# It counts only the noisy levels, beginning with 0, so its timestep is our $t - 1$.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
try:
    from diffusers import DDPMScheduler
except ImportError:
    print("diffusers is not installed: pip install diffusers. The notebook does not need it.")
else:
    theirs = DDPMScheduler(num_train_timesteps=T, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    x0, t = images[:125], torch.arange(8, T + 1, 8)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(10))
    gap = (q_sample(x0, t, noise, schedule) - theirs.add_noise(x0, noise, t - 1)).abs().max()
    print(f"largest difference on 125 digits below 1e-5: {bool(gap < 1e-5)}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - One step fades the picture by $\sqrt{1-\beta_t}$ and adds noise of standard deviation $\sqrt{\beta_t}$. Together the two bring the variance to 1 and keep it there.
# - All steps up to $t$ are one Gaussian jump with $\bar\alpha_t$. We measured it: means, variances and a Kolmogorov-Smirnov test agree within sampling error.
# - The curve of $\bar\alpha_t$, or the SNR, shows what a schedule does. With linear betas it falls fastest in the first quarter, with cosine in the middle.
# - A sampler that starts from pure noise should meet a chain that *ends* there. With betas made for 1,000 steps it does not after 100 to 300, and a simple reader still reads digits there. Rescaled betas or another schedule mend it.
# - If you know the noise, you know the picture. Where little of the picture is left, a small error in the noise becomes a large error in the picture.
#
# ### Self-check
#
# Can you, without scrolling up,
#
# - [ ] write $x_t$ in terms of $x_{t-1}$, and in terms of $x_0$?
# - [ ] explain in two sentences why many Gaussian steps merge into one?
# - [ ] say which of $\beta_t, \alpha_t, \bar\alpha_t, \mathrm{SNR}$ fall as $t$ grows, and which is near 1 nearly all the time?
# - [ ] say what goes wrong when a sampler starts from $\mathcal N(0, I)$ but the chain does not end there?
# - [ ] name two reasons why zero terminal SNR does not go with noise prediction?
#
# <details><summary>Answers</summary>
#
# 1. $x_t = \sqrt{1-\beta_t}\,x_{t-1} + \sqrt{\beta_t}\,\epsilon$ and $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$.
# 2. Each step is linear, and a sum of independent Gaussians is Gaussian. Their variances add, to $1 - \bar\alpha_t$.
# 3. $\bar\alpha_t$ and the SNR fall. $\beta_t$ rises, so $\alpha_t$ falls too, but it stays near 1 (except at the end of the cosine schedule).
# 4. In training something of the picture was left in every $x_T$, and the network could use it. Pure noise has nothing of it, so the sampler starts from an input that the network was not trained on (notebook 02 measures what that costs).
# 5. At the last level $x_T$ is the noise, so copying the input is a perfect answer and teaches nothing; and $\hat x_0$ divides by 0.
#
# </details>
#
# ### Further exercises
#
# | exercise | difficulty | minutes |
# |---|---|---|
# | Replace the Gaussian noise of `chain` by uniform noise of mean 0 and variance 1. Is $x_T$ still Gaussian? Test it with `ks_2samp`, for T = 1000 and after steps 1, 2 and 10, and name the theorem. | ●●○○○ | 15 |
# | Plot the reader's accuracy against $t$ for the linear and the cosine schedule (T = 1000). At which SNR is it half-way between clean and chance? Is that SNR the same for both? | ●●●○○ | 25 |
# | Replace the reader by a small network. How much more does it read at T = 200 with unscaled betas? Compare with the bound in "Looking inside". | ●●●○○ | 30 |
# | Which $\beta_t$ make $\bar\alpha_t$ fall by the same amount at every step, from 1 to 0? | ●●○○○ | 10 |
# | The chain has memory. Compute the correlation of $x_{100}$ and $x_{200}$ for fixed $x_0$, on paper and by simulation. | ●●●●○ | 25 |
#
# <details><summary>Answers</summary>
#
# 1. For T = 1000 the test cannot tell: no single noise weighs much, and their sum is nearly Gaussian (the central limit theorem). After one step the flat top is plain; after ten steps of equal size the excess kurtosis is a tenth of the uniform's $-1.2$, and 20,000 draws can hardly see it.
# 2. At an SNR of about 0.4 for both (we measured it with five noises a digit). That is at $t \approx 350$ for the linear and at $t \approx 640$ for the cosine schedule. The SNR must be the same: a noised digit depends on the schedule only through $\bar\alpha_t$.
# 3. Hardly more. In one trial a network with a hidden layer of 256 units read $36\,\%$, about as much as the regression. Whether a better one reads more is open: the simple bound of 4.8 bits does not exclude that it names every digit, the tighter one of 2 bits does, because a digit needs 3.3.
# 4. $\bar\alpha_t = 1 - t/T$, so $\beta_t = 1 - \bar\alpha_t/\bar\alpha_{t-1} = 1/(T - t + 1)$. The last one is 1.
# 5. With $r = \bar\alpha_{200}/\bar\alpha_{100}$ the picture at 200 is $\sqrt r\,x_{100}$ plus new noise. The covariance is $\sqrt r\,(1-\bar\alpha_{100})$, the correlation $\sqrt{r\,(1-\bar\alpha_{100})/(1-\bar\alpha_{200})}$.
#
# </details>
#
# ### References
#
# - J. Sohl-Dickstein et al., *Deep Unsupervised Learning using Nonequilibrium Thermodynamics*, ICML 2015, [arXiv:1503.03585](https://arxiv.org/abs/1503.03585): the forward chain (section 2.1).
# - J. Ho, A. Jain, P. Abbeel, *Denoising Diffusion Probabilistic Models* (DDPM), NeurIPS 2020, [arXiv:2006.11239](https://arxiv.org/abs/2006.11239): one step (eq. 2), the jump (eq. 4), $x_0$ from the noise (eq. 15), linear betas (section 4).
# - A. Nichol, P. Dhariwal, *Improved Denoising Diffusion Probabilistic Models*, ICML 2021, [arXiv:2102.09672](https://arxiv.org/abs/2102.09672): the cosine schedule (eq. 17).
# - D. Kingma et al., *Variational Diffusion Models*, NeurIPS 2021, [arXiv:2107.00630](https://arxiv.org/abs/2107.00630): the signal-to-noise ratio as the natural clock (section 3.1).
# - S. Lin et al., *Common Diffusion Noise Schedules and Sample Steps are Flawed*, WACV 2024, [arXiv:2305.08891](https://arxiv.org/abs/2305.08891): zero terminal SNR (algorithm 1).
# - E. Hoogeboom, J. Heek, T. Salimans, *Simple Diffusion*, ICML 2023, [arXiv:2301.11093](https://arxiv.org/abs/2301.11093): why larger pictures need more noise.
# - S. Prince, [*Understanding Deep Learning*](https://udlbook.github.io/udlbook/), MIT Press 2023, chapter 18: the density of one pixel over all levels.
#
# <!--slide 2 min
# ## What we learned, and what comes next
#
# - a step fades by $\sqrt{1-\beta_t}$ and adds $\sqrt{\beta_t}$ of noise: the variance goes to 1 and stays there
# - all steps to $t$ are one jump: $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$, measured
# - a schedule is its curve of $\bar\alpha_t$; a sampler that starts from noise should meet a chain that *ends* there
# - if you know the noise, you know the picture
#
# **Next**, notebook 02: who tells us the noise? The best possible answer, a loss, a first network, and the way back.
#
# **Before you go:** in one sentence, why do many Gaussian steps merge into one?
#
# Notes:
# Say: the self-check in the notebook has five questions; whoever can answer them without scrolling is ready for 02.
# Ask: in one sentence, why do many Gaussian steps merge into one? (Each is linear, sums of independent Gaussians are Gaussian, and variances add.)
# -->

# %% slideshow={"slide_type": "skip"}
check.summary("01")
