# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] slideshow={"slide_type": "slide"}
# # 11 Changing pictures
#
# So far our network has made pictures out of noise. In this notebook we give it a picture, and it changes it. You scribble a square, and it becomes a handwritten zero. Half of a digit is missing, or it is blurred, or only 49 numbers are left of it, and the network repairs it.
#
# We train nothing for this. The network is the one of notebook 04, and what we change is the walk back from noise. (Sections 6 and 8 also borrow other trained networks.) At the end we check whether the repair is right.
#
# **What you will be able to do**
# - turn a scribble into a digit, and say what the strength slider of an image program does;
# - say why putting known pixels back is not enough, and show it on two pixels;
# - write the step back up of RePaint, and say why repeating a step helps where more steps do not;
# - guide a walk by a measurement: one function for missing pixels, blur and enlarging;
# - guide it by the gradient of a classifier, and notice when the classifier is being fooled;
# - check repairs where the truth is known, and draw a calibration curve.
#
# **What to know** Notebooks 01 to 04: $\bar\alpha_t$, `q_sample`, the score, v-prediction, the walk and its clamp. From notebook 05 `keep_known`, and from 06 what a guidance scale is.
#
# **Time** about 110 minutes for a person, about two minutes for two CPU cores.
#
# <!--slide 2 min
# # 11 Changing pictures
#
# A scribble becomes a digit, half a digit becomes a whole one, a blur becomes sharp. The network is that of notebook 04, and nothing is trained.
#
# **The question of this lecture:** a repair looks good. Is it right?
#
# **Write down a guess:** the lower half of a digit is missing. How often does a repair come back as the digit that it was?
#
# Notes:
# Say: nearly everything today is one network and one walk. We only change where the walk begins, and what we do between its steps.
# Ask: which programs do you know that repair or change pictures in this way? (Filling in of photographs, sharpening of old ones, image to image. Keep "is it right?" for the end.)
# Say: keep the guess, section 7 has the measured number.
# Have run: the whole notebook.
# -->

# %% tags=["setup"] slideshow={"slide_type": "skip"}
import sys
from pathlib import Path

sys.path.insert(0, str(next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "helpers").is_dir())))

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from helpers import classifiers, data, metrics, show
from helpers.checkpoints import load_images, load_model, load_results
from helpers.exercises import check, mine
from helpers.modes import choose
from helpers.sampling import Rule, ddim, last, reverse
from helpers.schedule import cosine

my = mine.parts()  # your functions of the notebooks before, where they are right
model, schedule = load_model("mnist_unet").requires_grad_(False), cosine(1000)
images, labels = data.mnist(train=False)  # test images: the network has never seen them

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
def draw_strokes(strokes, width=1.3):
    """Lines through points (x, y), 0 to 28 from the upper left corner, as a picture (1, 1, 28, 28)."""
    middle = torch.arange(28) + 0.5
    pixels = torch.cartesian_prod(middle, middle).flip(1)  # (784, 2): x and y of each pixel
    nearest = torch.full((784,), 99.0)
    for stroke in strokes:
        points = torch.tensor(stroke, dtype=torch.float)
        for a, b in zip(points, points[1:], strict=False):
            share = (pixels - a) @ (b - a) / (b - a).square().sum().clamp(min=1e-6)
            foot = a + share.clamp(0, 1)[:, None] * (b - a)
            nearest = nearest.minimum((pixels - foot).norm(dim=1))
    return (1 - 2 * (nearest - width + 0.5).clamp(0, 1)).reshape(1, 1, 28, 28)

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
SCRIBBLES = [
    [[(6, 7), (21, 7), (12, 23)]],
    [[(8, 6), (20, 6), (20, 22), (8, 22), (8, 6)]],
    [[(8, 6), (19, 6), (12, 13), (19, 20), (8, 22)]],
    [[(9, 5), (8, 14), (21, 14)], [(16, 8), (16, 24)]],
    [[(8, 5), (20, 5), (8, 22), (20, 22), (8, 5)]],
    [[(7, 24), (7, 12), (14, 5), (21, 12), (21, 24), (7, 24)]],
    [[(14, 5), (23, 22), (5, 22), (14, 5)]],
    [[(14, 23), (5, 12), (9, 6), (14, 11), (19, 6), (23, 12), (14, 23)]],
]
scribbles = torch.cat([draw_strokes(strokes) for strokes in SCRIBBLES])
alt = "Eight scribbles of straight lines: a 7, a square, a zigzag 3, a 4, an hourglass, a house, a triangle, "
show.rows({"scribbles": scribbles}, alt + "a heart", title="What would a network that knows digits see here?")

# %% [markdown] exercise_text="11.1" slideshow={"slide_type": "slide"}
# ## 1. How does a scribble become a digit?
#
# These are eight scribbles, made of straight lines. No person writes like that. Our network knows how people write, and we would like it to redraw each scribble as a digit that somebody might have written.
#
# Here is the idea of Meng et al. (2022), who call it **SDEdit**. A walk need not start from pure noise. Take the scribble and noise it up to some level $t$. The noise covers the small things first, such as the straight edges, and the large things last, such as where the lines run. Then walk down from this level $t$ as always. The network redraws the small details as they look in digits, because it was trained only on digits.
#
# Image programs call this *image to image*, and its slider *strength*: the share $t/T$ of the way up to pure noise.
#
# ### Exercise 11.1: begin in the middle
#
# Write `begin_at`. It returns two things: the picture noised to level `t`, and the levels at which the network is asked on the way down. These are `steps` whole numbers, falling in even strides: the first is `t`, and one more stride would arrive at 0. Where the strides do not come out whole, round as your `ddim_levels` of notebook 05 does. `t` is a plain int, `picture` and `noise` have shape `(B, 1, 28, 28)`.
#
# Difficulty: ●●○○○ · 6 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# You wrote both halves before: a jump to any level, and levels for a walk from $T$ down. Here the walk is from $t$ down.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `schedule.q_sample(picture, t, noise)`, and `my.ddim_levels` with `t` where it usually gets $T$.
#
# </details>
#
# <!--slide 4 min
# ## Noise the scribble half of the way, then walk back
#
# - a walk need not start from pure noise: take the scribble, noise it to level $t$, walk down from there
# - noise covers the small things first, the large things last
# - what it covered, the network puts back, and it knows only digits
# - $t/T$ is the **strength** slider of image programs
#
# > At strength 0 nothing happens. What happens at strength 1?
#
# **Your turn:** exercise 11.1, `begin_at(picture, t, steps, noise, schedule)`
#
# Notes:
# Say: this is all of image to image. The network is not told that there is a scribble; it finds a trace of one under the noise.
# Ask: what happens at strength 1? (Nothing of the scribble is left, so any digit comes.)
# Exercise: 6 minutes. Common mistakes: starting at t with the levels of a whole walk, and handing over the scribble without noise.
# -->
# <!--slide 3 min
# ## The higher the walk begins, the more is drawn anew
#
# Notes:
# Say: follow the square in the second column. At 200 it is a square with some dirt on it, at 700 a zero that somebody wrote, at 1000 nothing of it is left.
# Ask: which row would you show to somebody who asked for "this, as a digit"? (600 to 800 for most columns; the 3 needs less, and the heart becomes no digit at any of them.)
# Ask: why do house and triangle become zeros? (No digit has two corners at the bottom; a closed round line is the nearest that people write.)
# -->

# %% exercise="11.1" slideshow={"slide_type": "skip"}
def begin_at(picture, t, steps, noise, schedule):
    """x at level t, shaped like picture, and the levels of a walk of `steps` steps from there, a list."""
    # TODO 11.1: the noised picture, and the levels from t down
    ### BEGIN SOLUTION
    return schedule.q_sample(picture, t, noise), my.ddim_levels(t, steps)
    ### END SOLUTION


begin_at = check("11.1", begin_at)

# %% slideshow={"slide_type": "skip"}
def walk_down(rule, **start):
    with torch.autocast("cpu", torch.bfloat16):
        return last(reverse(model, schedule, rule, clip_x0=1.0, **start))


def redraw(picture, t, steps=15, seed=0):
    """Noise the picture to level t and walk down from there."""
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(seed))
    x, levels = begin_at(picture, t, choose(steps, 2), noise, schedule)
    return walk_down(Rule("from t down", lambda T: levels, ddim(eta=1.0).move), x_T=x, seed=1000 + seed)

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
strengths = choose((200, 500, 600, 700, 800, 1000), (500, 1000))
rows = {"scribble": scribbles} | {f"t = {t}": redraw(scribbles, t) for t in strengths}
alt = "Eight scribbles redrawn from rising levels. At 200 they stay as they are. At 700 square and house are "
alt += "zeros, the triangle resembles a 6 and the heart no digit; at 1000 there are digits of any kind."
show.rows(rows, alt, title="The higher we begin, the more is drawn anew")

# %% [markdown] slideshow={"slide_type": "slide"}
# Follow the square in the second column. At level 200 it is still a square with a little dirt on it. At 700 it is a zero that somebody wrote. At 1000 nothing of it is left, and any digit comes (that it is a 0 again is chance). The house becomes a zero as well, and the triangle one at 800. The network makes no digit of the heart, not even at 800.
#
# We have two wishes: the picture should stay close to the scribble, and it should look like a digit. Can we measure both? For the first we take the difference from the scribble, as the root of the mean squared difference over all pixels ("RMS a pixel" in the figures). For the second, the difference from the *nearest* of the 60,000 training digits: something that is far from all of them is hardly a digit.
#
# <!--slide 3 min
# ## Faithful or real: the slider trades one for the other
#
# Notes:
# Say: blue is the distance from the scribble, red that from the nearest training digit. Both cannot be small for a scribble that is no digit.
# Ask: where would you put the slider? (It depends on the scribble. Red falls all the way and blue rises fastest between 600 and 800, so there is no best place.)
# Ask: why does red not fall to zero? (A new digit is not a copy of a training digit. Notebook 04 measured how far real test digits are from them.)
# Have run: some seconds.
# -->

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
train_images, _ = data.mnist()
train_images = train_images[: choose(60_000, 500)]


def rms_to_nearest(x):
    """For each picture, the RMS difference a pixel from the nearest training picture, (B,)."""
    return torch.cdist(x.flatten(1), train_images.flatten(1)).amin(1) / 28


sweep, thrice = choose((200, 400, 600, 700, 800, 1000), (500, 1000)), scribbles.repeat(3, 1, 1, 1)
far, strange = [torch.tensor(0.0)], [rms_to_nearest(scribbles).mean()]
for t in show.progress(sweep, len(sweep), "strengths"):
    x = redraw(thrice, t)
    far.append((x - thrice).square().mean((1, 2, 3)).sqrt().mean())
    strange.append(rms_to_nearest(x).mean())

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.6))
ax.plot((0, *sweep), far, "o-", color=show.COLOURS[0], label="from the scribble")
ax.plot((0, *sweep), strange, "s-", color=show.COLOURS[1], label="from the nearest training digit")
real = rms_to_nearest(images[: choose(500, 20)]).mean()
ax.axhline(real, color=show.COLOUR["floor"], linestyle="--", label="test digits: from the nearest")
ax.set(xlabel="level $t$ at which the walk begins", ylabel="difference (RMS a pixel)", ylim=(0, None))
ax.set_title("More strength: further from the scribble, closer to digits")
ax.legend()
alt = "Two curves over the level. The difference from the scribble rises, fastest from 600 to 800. "
show.figure(fig, alt + "The difference from the nearest training digit falls.")

# %% [markdown] slideshow={"slide_type": "skip"}
# The blue curve rises fastest between 600 and 800. The red one comes down all the way, and reaches test digits only where nothing of the scribble is left. (Each dot is a mean of 24 pictures: eight scribbles, three seeds.) No level is best for both, and this is why image programs leave the slider to you.
#
# Move it yourself, and watch one column:

# %% slideshow={"slide_type": "skip"}
def draw_redrawn(strength=0.7, seed=0):
    """Redraw the eight scribbles at a strength between 0.1 and 1."""
    x = redraw(scribbles, round(1000 * strength), steps=12, seed=seed)
    alt = f"Eight scribbles, and below them what comes of each at strength {strength:g}, seed {seed}"
    show.rows({"scribble": scribbles, f"strength {strength:g}": x}, alt)


draw_redrawn(0.7, 1)

# %% slideshow={"slide_type": "skip"}
from helpers.sliders import sliders

sliders(draw_redrawn, strength=(0.1, 1.0, 0.1), seed=(0, 1))

# %% [markdown] slideshow={"slide_type": "skip"}
# With seed 1, in the picture above the sliders, the 7 has become a 2. With seed 0 it stays a 7. At 0.7 the result depends on the noise as well as on the scribble.
#
# Draw your own scribble in the optional part at the end, or on the web page of the course, in your browser:
#
# <!--live:digits-->

# %% [markdown] exercise_text="11.2" slideshow={"slide_type": "slide"}
# ## 2. Why is it not enough to put known pixels back?
#
# Now half of a digit is given and must stay as it is. You know one way from notebook 05: after each step, put the known pixels back, noised to the level that the step arrived at (your `keep_known`). This is called **replacement**. It worked, but at the border some lines did not go on.
#
# What exactly goes wrong? In 784 dimensions we cannot tell, because we do not know what the right answer is. So let us take a picture of **two pixels**. Both have mean 0 and variance 1, and their correlation is 0.9: where one is bright, the other is nearly always bright too. For such data we need no network, the best estimate of $x_0$ has a formula.
#
# We are told that the left pixel is 1.5. What is the right one? For Gaussians the answer is known: its mean is $0.9\cdot 1.5=1.35$, and its standard deviation $\sqrt{1-0.9^2}\approx 0.44$. A perfect filling in would draw from exactly this distribution.
#
# ### Exercise 11.2: two pixels
#
# We fill in the right pixel by replacement, 4,000 times, with an exact estimate at every step. Once the walk takes 50 steps, once 1,000. What happens to the mean of the right pixel, which should be 1.35?
#
# - **a** it is right with 50 steps already: the estimates are exact
# - **b** it is too small with 50 steps, and right with 1,000
# - **c** it is too small with 50 steps, and with 1,000 as well
# - **d** it is too large, because the known pixel is put in again and again
#
# Write down a letter.
#
# Difficulty: ●●○○○ · 4 minutes
#
# <details><summary>Hint</summary>
#
# At high noise the known pixel is hidden beneath its noise. What does the estimate of the right pixel depend on there, and what changes further down?
#
# </details>
#
# <!--slide 4 min
# ## A picture of two pixels, where the right answer is known
#
# - two pixels, mean 0, variance 1, correlation 0.9
# - the left one is known: 1.5
# - then the right one has mean $0.9 \cdot 1.5 = 1.35$ and standard deviation 0.44
#
# We fill it in by **replacement**: after each step the known pixel is put back, noised to the level of the step. All estimates are exact, no network is needed.
#
# **Your turn:** exercise 11.2. The mean of the right pixel is ...
#
# **a** right with 50 steps · **b** too small with 50, right with 1,000 · **c** too small with both · **d** too large
#
# Notes:
# Say: at the border of half a digit a line does not go on. With two pixels we can see why, because we know what should come out.
# Ask: what does the walk know of the 1.5 at level 900? (Nearly nothing: a trace of it under noise.)
# Exercise: 4 minutes, a show of hands.
# -->

# %% exercise="11.2" kind="predict" slideshow={"slide_type": "skip"}
# TODO 11.2: "a", "b", "c" or "d"
### BEGIN SOLUTION
guess = "c"
### END SOLUTION
check.predict("11.2", guess)

# %% slideshow={"slide_type": "skip"}
class TwoPixels:
    """The exact estimate of x_0 for two pixels of mean 0, variance 1 and correlation 0.9."""

    prediction, spread = "x0", torch.tensor([[1.0, 0.9], [0.9, 1.0]])

    def __call__(self, x, t):
        a = schedule.alpha_bar[t[0]]
        return x @ torch.linalg.solve(a * self.spread + (1 - a) * torch.eye(2), a.sqrt() * self.spread)


def put_back(rule, mask, known):
    """`rule`, and after each of its steps the known pixels, noised to the level where it arrived."""

    # one step, as in notebook 05: fresh() draws noise, before holds the last level and estimate
    def move(schedule, x, t, t_next, eps, x0, fresh, before):
        x = rule.move(schedule, x, t, t_next, eps, x0, fresh, before)
        return my.keep_known(x, t_next, known, mask, fresh(), schedule)

    return Rule("replacement", rule.levels, move)

# %% slideshow={"slide_type": "skip"}
left, told = torch.tensor([[True, False]]), torch.full((4000, 2), 1.5)


def fill_pixel(rule):
    """4,000 fillings in of the right pixel."""
    return last(reverse(TwoPixels(), schedule, rule, shape=(4000, 2), seed=1))[:, 1]


replaced = {steps: fill_pixel(put_back(ddim(steps, eta=1.0), left, told)) for steps in (50, 1000)}
rows = [[f"{steps} steps", f"{x.mean():.2f}", f"{x.std():.2f}"] for steps, x in replaced.items()]
show.table([["right", "1.35", "0.44"], *rows], ["", "mean", "standard deviation"], "The right pixel")
small, mended = (bool(replaced[n].mean() < 1.3) for n in (50, 1000))
high = bool(replaced[50].mean() > 1.4)
check.truth("11.2", "d" if high else "a" if not small else "c" if mended else "b")

# %% [markdown] exercise_text="11.3" slideshow={"slide_type": "slide"}
# The mean is far too small, and 1,000 steps are hardly better than 50. The estimates are exact, so the fault is in the walk.
#
# Think of what the right pixel is told, and when. High up, the known pixel stands under so much noise that the right pixel begins its way without it. Further down the known pixel becomes clearer. By then the right pixel is already on its way to a value that was chosen without the left one. The network treats both as parts of one picture and settles in between. Smaller steps do not help: there are more of them, but each moves the right pixel less.
#
# In terms of notebook 06: the walk asks for the right pixel given a *noisy* left one. It should ask given the clean one. Section 4 adds an estimate of the missing term. First we try what can be done without it.
#
# ## 3. What if we do a step again?
#
# If the right pixel is too slow, give it more time at each level. Make a step down, from $t_{up}$ to $t$. Then go back **up** to $t_{up}$ by adding noise, and make the same step once more. The known pixel is put back each time. The noise on the way up wipes away a part of what was decided, and the step down decides it anew, with the known pixel in view. This is the idea of **RePaint** (Lugmayr et al. 2022). They call it *resampling*.
#
# For this we need the way up: from $x_t$ to the higher level $t_{up}$, over many levels at once. One level up is `q_step`, with $\sqrt{1-\beta_t}$ as the share that is kept. For several levels the shares multiply, and you know their product.
#
# ### Exercise 11.3: climb
#
# Write `climb`. `x` is a picture at level `t`, *not* a clean one; the result is the same picture at the higher level `t_up`, with fresh `noise` in it. Pictures are shaped `(B, ...)`; `t` and `t_up` are plain ints, and `t` may be 0.
#
# Difficulty: ●●●○○ · 9 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# In $x_t$ the picture has the factor $\sqrt{\bar\alpha_t}$, in the result it should have $\sqrt{\bar\alpha_{t_{up}}}$. By what do you multiply? Then count variances: how much noise is in it after that, and how much should be?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# With `kept = schedule.alpha_bar[t_up] / schedule.alpha_bar[t]`, the picture is multiplied by the root of `kept`. If `x` has variance 1, so has the result: what is the variance of the fresh noise?
#
# </details>
#
# <!--slide 3 min
# ## RePaint: go down, go up again, go down once more
#
# - replacement on two pixels: the mean is far too small, with 50 steps and with 1,000
# - high up the known pixel is hidden, and the right one begins without it
# - so: a step down from $t_{up}$ to $t$, the known pixels put back
# - up again to $t_{up}$: add noise; a part of what was decided is wiped away
# - the same step once more, with the known pixels in view
#
# > One level up is $x_t=\sqrt{1-\beta_t}\,x_{t-1}+\sqrt{\beta_t}\,\epsilon$. And from $t$ to $t_{up}$?
#
# **Your turn:** exercise 11.3, `climb(x, t, t_up, noise, schedule)`
#
# Notes:
# Say: the picture at level t is not clean, so q_sample is the wrong jump.
# Ask: how much noise does it take? (So much that the variance at t_up comes out: what is kept of the variance, plus the fresh part.)
# Exercise: 9 minutes. Common mistakes: q_sample on a noisy picture, and a variance where a standard deviation belongs.
# Answers 11.2
# -->
# <!--slide 2 min
# ## Repeating a step moves the mean, more steps do not
#
# Notes:
# Say: grey is the truth. The two curves far to the left are replacement, with 50 steps and with 1,000. Repeating moves the curve over.
# Ask: 50 steps made 20 times cost as much as 1,000 steps. Why are they better? (Fresh noise wipes away what was decided too early, and the known pixel is in view when it is decided anew.)
# -->

# %% exercise="11.3" slideshow={"slide_type": "skip"}
def climb(x, t, t_up, noise, schedule):
    """x (B, ..) at level t, noised further to the higher level t_up."""
    # TODO 11.3: what is kept of x, and how much fresh noise
    ### BEGIN SOLUTION
    kept = schedule.alpha_bar[t_up] / schedule.alpha_bar[t]
    return kept.sqrt() * x + (1 - kept).sqrt() * noise
    ### END SOLUTION


climb = check("11.3", climb)

# %% slideshow={"slide_type": "skip"}
def repeat(rule, mask, known, times):
    """put_back(rule, ..) with every step made `times` times, and a climb in between."""

    def levels(T):
        return [t for t in rule.levels(T) for _ in range(times)]

    def move(schedule, x, t, t_next, eps, x0, fresh, before):
        below = next(level for level in [*rule.levels(schedule.T), 0] if level < t)
        x = rule.move(schedule, x, t, below, eps, x0, fresh)
        x = my.keep_known(x, below, known, mask, fresh(), schedule)
        if t_next == below:  # this was the last time at t
            return x
        return climb(x, below, t, fresh(), schedule)  # up again: the walk asks at t once more

    return Rule(f"every step {times} times", levels, move)

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
again = {times: fill_pixel(repeat(ddim(50, eta=1.0), left, told, times)) for times in (2, 5, 20)}
lines = {"replacement, 50 steps": replaced[50], "replacement, 1,000 steps": replaced[1000]}
lines |= {f"50 steps, each {times} times": x for times, x in again.items()}
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.8))
grid = torch.linspace(-1.2, 3.2, 200)
truth = torch.distributions.Normal(1.35, (1 - 0.81) ** 0.5).log_prob(grid).exp()
ax.fill_between(grid, truth, color="0.85", label="right:\n1.35 ± 0.44")
colours = (show.COLOURS[4], show.COLOURS[7], show.COLOURS[5], show.COLOURS[0], show.COLOURS[2])
for (name, x), ink in zip(lines.items(), colours, strict=True):
    height, edges = torch.histogram(x, 24, range=(-1.2, 3.2), density=True)
    ax.plot((edges[1:] + edges[:-1]) / 2, height, color=ink, label=f"{name}:\n{x.mean():.2f} ± {x.std():.2f}")
ax.set(xlabel="the right pixel", ylabel="density", title="Repeating a step moves the mean, more steps do not")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="mean ± standard deviation")
alt = "Distributions of the right pixel: replacement lies far to the left of the truth, with 50 steps and "
show.figure(fig, alt + "with 1,000; with every step made 2, 5 and 20 times it moves onto the right one.")

# %% [markdown] slideshow={"slide_type": "slide"}
# The orange and the brown curve are replacement, with 50 steps and with 1,000. They lie on top of each other, far from the grey truth. Repeating each step moves the curve over. A walk of 50 steps, each made 20 times, asks as often as one of 1,000 steps, and its mean is nearly right. Its standard deviation is too small, 0.36 in place of 0.44. That comes from the coarse steps, and repeating them even more often makes it smaller still. Take 200 steps in the cell in place of 50, each 20 times, and it comes nearer to 0.44.
#
# Now the digits. We give the upper half of four test digits, and fill in the lower half six times each. Both walks ask the network equally often: 75 steps made once, and 15 steps made five times.
#
# <!--slide 2 min
# ## At equal cost: 75 steps once, or 15 steps five times
#
# Notes:
# Say: the first row of each digit is replacement, the second RePaint, with as many evaluations.
# Ask: where would you look for a difference? (At the border: does a line go on? Over 100 digits the jump from the last known row to the first drawn one is <!--r:repair.damages.half.replacement.seam|.2f-->0.26<!--/--> with replacement, <!--r:repair.damages.half.repaint.seam|.2f-->0.19<!--/--> with RePaint and <!--r:repair.damages.half.real_seam|.2f-->0.17<!--/--> in true digits.)
# Have run: some seconds.
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
ways, half = choose(6, 2), torch.zeros(1, 1, 28, 28, dtype=torch.bool)
half[:, :, :14] = True  # the upper half is known
four = images[[0, 1, 3, 4]]
known = four.repeat_interleave(ways, 0)
rules = {"replacement": put_back(ddim(choose(75, 4), eta=1.0), half, known)}
rules["RePaint"] = repeat(ddim(choose(15, 2), eta=1.0), half, known, 5)
filled = {name: walk_down(rule, shape=known.shape, seed=5) for name, rule in rules.items()}
rows = {}
for i, digit in enumerate("7204"):
    shown = torch.where(half, four[[i]], -0.4)
    for name, x in filled.items():
        rows[f"a {digit}, {name}"] = torch.cat([shown, x[ways * i : ways * (i + 1)]])
alt = "The upper halves of a 7, a 2, a 0 and a 4, and six ways to go on for each, by two methods: all keep "
show.rows(rows, alt + "the upper half; in some pictures of replacement a line breaks at the border.")
mine.credit("keep_known")

# %% tags=["hide-input", "slide-output"] slideshow={"slide_type": "skip"}
def report(name, x):
    jump = (x[:, :, 14] - x[:, :, 13]).abs().mean()
    return [name, f"{jump:.3f}", f"{metrics.confident_share(x):.0%}"]


header = ["", "jump at the border", "read with confidence"]
names = {"replacement": "replacement, 75 steps", "RePaint": "RePaint, 15 steps, each 5 times"}
rows = [report(names[key], x) for key, x in filled.items()]
rows += [report("the four true digits", four), report("1,000 test digits", images[:1000])]
show.table(rows, header, f"{len(known)} repairs each")

# %% [markdown] exercise_text="11.4" slideshow={"slide_type": "slide"}
# Look along a row. The upper half is put back at the end, so it is the same in all pictures. What differs is how well the lower half goes with it. RePaint has its failures too: the first 7 became a bar with a smile under it. But repeating makes the jump at the border much smaller, though not as small as in the four true digits themselves. More of the repairs are read with confidence, which means that the judge, a classifier, gives one class more than 0.95. The cost is the same.
#
# These are 24 repairs of four digits. With <!--r:repair.sizes.digits|d-->100<!--/--> other test digits, <!--r:repair.sizes.often|d-->16<!--/--> repairs of each, the jump is <!--r:repair.damages.half.replacement.seam|.2f-->0.26<!--/--> with replacement, <!--r:repair.damages.half.repaint.seam|.2f-->0.19<!--/--> with RePaint and <!--r:repair.damages.half.real_seam|.2f-->0.17<!--/--> in the true digits; <!--r:repair.damages.half.replacement.confident.mean|.0%-->70%<!--/--> and <!--r:repair.damages.half.repaint.confident.mean|.0%-->83%<!--/--> are read with confidence.
#
# ## 4. Can the measurement itself lead the walk?
#
# As we wrote it, putting back works only for single pixels. But suppose the picture is blurred: then no pixel is known, and there is nothing to put back. What we know is a **measurement** $y=A(x_0)$, where $A$ may blur, or shrink, or pick some pixels. To find $x_0$ from $y$ is called an **inverse problem**. There are many $x_0$ for one $y$. We want those that are digits.
#
# Notebook 06 combined two kinds of knowledge by adding gradients, with Bayes' rule. At each level
# $$\nabla_{x_t}\log p(x_t\mid y)=\nabla_{x_t}\log p(x_t)+\nabla_{x_t}\log p(y\mid x_t).$$
# In words: the direction towards digits, plus the direction towards pictures that agree with what was measured. The first is the score, and the network knows it. For the second we need the probability of the measurement given a *noisy* picture. Chung et al. (2023) take the obvious guess for it: ask the network for its estimate $\hat x_0(x_t)$, and see how well this agrees with $y$. They call the method **diffusion posterior sampling**, or DPS.
#
# How do we bring the second direction into our walk? The walk uses the estimate $\hat x_0$. In terms of the score it is (notebook 02: the noise is minus the score times $\sqrt{1-\bar\alpha_t}$)
# $$\hat x_0=\frac{x_t+(1-\bar\alpha_t)\,\nabla_{x_t}\log p(x_t)}{\sqrt{\bar\alpha_t}}.$$
# In words: go from $x_t$ in the direction of the score, and scale up. Now put the sum of the two directions in place of the score. By how much does $\hat x_0$ move?
#
# ### Exercise 11.4: bend the estimate
#
# Write `bend`. `ask(x)` gives the network's estimate of $x_0$ for `x` $(B, ...)$ at level `t`, a plain int, and `log_p(x0)` gives (B,) numbers, the $\log p(y\mid x_0)$ of each picture. Return the moved estimate $(B, ...)$, without a graph. The gradient is with respect to the *noisy* picture: `torch.autograd.grad(number, x)` gives a tuple with it, if `x` was told to record by `x = x.detach().requires_grad_(True)`.
#
# Difficulty: ●●●●○ · 15 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# First solve on paper: the second gradient enters $\hat x_0$ with the same factor as the first. In code, each picture's `log_p` depends on its own `x` only, so you may sum them over the batch to get one number.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `x0 = ask(x)`, then `slope = torch.autograd.grad(log_p(x0).sum(), x)[0]`. The factor has $1-\bar\alpha_t$ above and $\sqrt{\bar\alpha_t}$ below. `.detach()` at the end.
#
# </details>
#
# <!--slide 5 min
# ## A blurred picture has no known pixels, but it has a measurement
#
# $y = A(x_0)$: $A$ blurs, or shrinks, or picks pixels. Bayes' rule in gradients (notebook 06):
#
# $$\nabla\log p(x_t\mid y)=\underbrace{\nabla\log p(x_t)}_{\text{towards digits}}+\underbrace{\nabla\log p(y\mid x_t)}_{\text{towards what was measured}}$$
#
# - the first is the score, the network knows it
# - for the second: ask for $\hat x_0(x_t)$ and see how well it agrees with $y$
# - the estimate in terms of the score: $\hat x_0=\big(x_t+(1-\bar\alpha_t)\,\nabla\log p(x_t)\big)\,/\,\sqrt{\bar\alpha_t}$
#
# > By how much does the estimate move if the second gradient is added to the first?
#
# **Your turn:** exercise 11.4, `bend(x, t, ask, log_p, schedule)`
#
# Notes:
# Say: this is diffusion posterior sampling. It needs no mask, only a function A that torch can differentiate.
# Ask: with respect to what do we take the gradient? (To the noisy picture x_t, through the network. The next task shows why that matters.)
# Exercise: 15 minutes. Common mistakes: a minus sign, the gradient with respect to the estimate, and the square root forgotten.
# -->

# %% exercise="11.4" slideshow={"slide_type": "skip"}
def bend(x, t, ask, log_p, schedule):
    """The estimate of x_0 (B, ..) for x at level t, moved by the gradient of log_p(x0), (B,), in x."""
    # TODO 11.4: ask, take the gradient with respect to x, move the estimate
    ### BEGIN SOLUTION
    x = x.detach().requires_grad_(True)
    x0 = ask(x)
    slope = torch.autograd.grad(log_p(x0).sum(), x)[0]
    a = schedule.alpha_bar[t]
    return (x0 + (1 - a) / a.sqrt() * slope).detach()
    ### END SOLUTION


bend = check("11.4", bend)

# %% [markdown] slideshow={"slide_type": "skip"}
# What is $\log p(y\mid x_0)$ for a measurement? If we allow it an error of variance $\sigma^2$, it is $-\lVert y-A(\hat x_0)\rVert^2/(2\sigma^2)$, up to a constant. Our measurements have no error. But the estimate has one: high up it is a blurred guess, and it would be wrong to hold it to every pixel. If data have variance 1, a pixel's $x_0$ has a variance of about $1-\bar\alpha_t$ at level $t$: all of it at the top, nothing at the end (Song et al. 2023 argue for it). This variance is a rough guess, so we put a knob on it, as in notebook 06: $\sigma^2=(1-\bar\alpha_t)/\text{scale}$.
#
# `agrees_with` makes such a `log_p`, and `Bent` is the network for `reverse` with its estimate bent. This `log_p` has the level as a second argument, because its variance depends on it. `Bent` fills the level in, so that your `bend` gets a `log_p(x0)` as before.

# %% slideshow={"slide_type": "skip"}
def estimate(x, t):
    """The network's estimate of x_0 for pictures x at level t; a gradient may pass through it."""
    level = torch.full((len(x),), t)
    with torch.autocast("cpu", torch.bfloat16):
        v = model(x, level).float()
    return schedule.from_output(v, x, level, "v")[1]


def agrees_with(y, measure, scale=1.0):
    """log p(y | x_0) as a function of x_0 (B, ..) and the level: (B,), up to a constant."""

    def log_p(x0, t):
        missed = (y - measure(x0)).flatten(1).square().sum(1)
        return -scale * missed / (2 * (1 - schedule.alpha_bar[t]))

    return log_p

# %% slideshow={"slide_type": "skip"}
class Bent:
    """For `reverse`: a network whose estimate of x_0 is bent by log_p(x0, t). how: bend, or a variant."""

    prediction = "x0"

    def __init__(self, log_p, how=bend):
        self.log_p, self.how = log_p, how

    def __call__(self, x, batch_t):
        t = int(batch_t[0])
        with torch.enable_grad():  # reverse() has gradients switched off
            return self.how(x, t, lambda z: estimate(z, t), lambda x0: self.log_p(x0, t), schedule)


def repair(y, measure, scale=1.0, steps=25, seed=0):
    """Draw digits that agree with y (B, ..), one for each."""
    network, rule = Bent(agrees_with(y, measure, scale)), ddim(choose(steps, 2), eta=1.0)
    return last(reverse(network, schedule, rule, shape=(len(y), 1, 28, 28), seed=seed, clip_x0=1.0))

# %% [markdown] exercise_text="11.5" slideshow={"slide_type": "slide"}
# ### Who hears the measurement?
#
# Take the upper half as the measurement. It says something about the upper pixels only. How can the lower half learn of it? We say that a pixel *hears* of the measurement if its gradient is not zero, and that it is *deaf* if the gradient is exactly zero.
#
# ### Exercise 11.5: make the lower half deaf
#
# `listen` below gives the gradient as `bend` uses it. Change one thing, so that all unknown pixels get a gradient of exactly zero, and the known ones do not. Then set `why` to the letter that says why the given version reaches them:
#
# - **a** the sum in `log_p` runs over all pixels of the picture, so each of them is in it
# - **b** the network's estimate of a *known* pixel depends on what it sees at the *unknown* ones, so the gradient passes through the network to them
# - **c** unknown pixels hold noise, and the gradient of noise is not zero
#
# Difficulty: ●●●○○ · 7 minutes
#
# <details><summary>Hint</summary>
#
# Two pictures stand in this function, the noisy one and the estimate. A gradient can be taken with respect to either.
#
# </details>
#
# <!--slide 3 min
# ## Who hears the measurement?
#
# The function `listen(x, ask, log_p)` of the notebook returns the gradient of $\log p$ of the estimate, for every pixel of the noisy picture.
#
# The measurement is the upper half. Change **one** thing in it, so that the lower half gets a gradient of zero. Why is it not zero as it stands?
#
# **a** the sum runs over all pixels · **b** the network ties known and unknown pixels together · **c** noise has a gradient
#
# **Your turn:** exercise 11.5
#
# Notes:
# Say: two pictures stand in the three lines of listen, and we may take the gradient with respect to either. (The lines are not on the slide: they are half of exercise 11.4.)
# Ask: which of the two gradients is cheaper? (That with respect to the estimate: no way back through the network. The picture behind this slide shows what it costs.)
# Exercise: 7 minutes. Common mistake: turning log_p off for the known pixels too.
# -->
# <!--slide 2 min
# ## Through the network, the lower half hears
#
# Notes:
# Say: the third picture is the push that bend gives, the fourth the one without the way through the network. Below the line it is empty.
# Ask: which knowledge is used below the line? (That the estimate of the upper half depends on the pixels below. Only the network knows how.)
# Answers 11.5
# -->

# %% exercise="11.5" kind="break" slideshow={"slide_type": "skip"}
def listen(x, ask, log_p):
    """The gradient of log_p, (B, ..), for the noisy pictures x (B, ..)."""
    # TODO 11.5: change one thing, so that only the known pixels hear
    ### BEGIN SOLUTION
    # given: x = x.detach().requires_grad_(True)
    # given: x0 = ask(x)
    # given: return torch.autograd.grad(log_p(x0).sum(), x)[0]
    x = x.detach().requires_grad_(True)
    x0 = ask(x)
    return torch.autograd.grad(log_p(x0).sum(), x0)[0]
    ### END SOLUTION


why = "b"  # "a", "b" or "c"
listen = check.changed("11.5", listen, why)

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
truth, t = images[[1]], 500
noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(3))
x_t = schedule.q_sample(torch.where(half, truth, images[[3]]), t, noise)


def upper(x):
    return x[:, :, :14]


def misfit(x0):
    return agrees_with(upper(truth), upper)(x0, t)


through = bend(x_t, t, lambda x: estimate(x, t), misfit, schedule) - estimate(x_t, t).detach()
short = listen(x_t, lambda x: estimate(x, t), misfit)

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 4, figsize=(show.WIDTH, 3.0), subplot_kw={"xticks": [], "yticks": []})
shown = {"what was\nmeasured": torch.where(half, truth, -0.4), f"noisy picture,\nt = {t}": x_t}
for ax, (name, picture) in zip(axes, shown.items(), strict=False):
    ax.imshow(picture[0, 0], vmin=-1, vmax=1)
    ax.set_title(name)
pushes = {"push, through\nthe network": through, "push, not\nthrough it": short}
for ax, (name, push) in zip(axes[2:], pushes.items(), strict=True):
    size = float(push.abs().quantile(0.99)) or 1.0
    colours = ax.imshow(push[0, 0] / size, vmin=-1, vmax=1, cmap="PuOr")
    ax.axhline(13.5, color="black", linewidth=1)
    ax.set_title(name)
bar = fig.colorbar(colours, ax=list(axes), shrink=0.6, ticks=[-1, 0, 1])
bar.ax.set_yticklabels(["darker", "no push", "brighter"])
alt = "The upper half of a 2; a noisy picture; two maps of pushes. Through the network the push reaches "
show.figure(fig, alt + "pixels below the middle as well, not through it the lower half of the map is empty.")

# %% [markdown] slideshow={"slide_type": "slide"}
# The two maps on the right show where the picture is pushed. (In each map, full colour stands for its own 99th percentile.) In the third picture the push reaches below the line, because the network's estimate of the upper half depends on the pixels below. (This noisy picture has the lower half of a 0, which does not fit the measurement.) In the last map the lower half is empty: it learns of the measurement only at the next step, when the network sees the changed upper half. Replacement, too, reaches the lower half only at the next step.
#
# The price: an evaluation with the gradient through the network takes about twice as long as one without.
#
# ## 5. One function, four repairs
#
# Nothing in `bend` knows of pixels or masks. Any `measure` will do that torch can differentiate. Here are four: the upper half; a quarter of the pixels, picked at random; a blur; and a picture made four times smaller, so that 49 numbers are left of 784. For single pixels the scale is 1. For the picture made smaller it is 16: if the errors of 16 pixels were independent, their mean would have a sixteenth of the variance of one. Errors of neighbours go together, so this is only a first guess. For the blur the same calculation gives about 26. We tried some values and took 4; on which digits we tried them is not recorded.
#
# <!--slide 3 min
# ## One function repairs four kinds of damage
#
# Notes:
# Say: the network and the walk are the same in all rows. Only the function that measures was exchanged. Nobody trained anything for blur.
# Ask: which repairs are wrong? (Compare with the first row: where the repair is a good digit and another one. It cannot be seen without the truth.)
# Ask: what would a network trained for one damage do better? (It needs no gradient and only one evaluation, and it can do nothing else.)
# Have run: four walks of 25 steps with gradients, some ten seconds.
# -->

# %% slideshow={"slide_type": "skip"}
some = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(3)) < 0.25


def pick(x):
    return x[:, :, some[0, 0]]


def blur(x):
    line = torch.exp(-(torch.arange(-3, 4.0) ** 2) / (2 * 1.5**2)).reshape(1, 1, 1, 7)
    line = line / line.sum()
    x = F.pad(x, (3, 3, 3, 3), mode="replicate")
    return F.conv2d(F.conv2d(x, line), line.mT)


def shrink(x):
    return F.avg_pool2d(x, 4)


DAMAGES = {"half": (upper, 1.0), "pixels": (pick, 1.0), "blur": (blur, 4.0)}
DAMAGES["49 numbers"] = (shrink, 16.0)

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
def show_damaged(name, x):
    """The measurement of pictures x as pictures, grey where nothing is known."""
    if name == "half":
        return torch.where(half, x, -0.4)
    if name == "pixels":
        return torch.where(some, x, -0.4)
    return blur(x) if name == "blur" else F.interpolate(shrink(x), scale_factor=4)


eight = images[100 : 100 + choose(8, 2)]
rows, repaired = {"true": eight}, {}
for name, (measure, scale) in show.progress(DAMAGES.items(), 4, "repairs"):
    repaired[name] = repair(measure(eight), measure, scale, seed=1)
    rows |= {name: show_damaged(name, eight), f"{name}, repaired": repaired[name]}
alt = "Eight digits, and four times two rows: damaged and repaired. Most repairs are clean digits; some are "
show.rows(rows, alt + "others than the true ones in the first row.", title="Four measurements, one network")

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
rows = []
for name, (measure, _) in DAMAGES.items():
    x, y = repaired[name], measure(eight)
    missed, spread = (measure(x) - y).square().mean().sqrt(), y.std()
    rows.append([name, f"{missed:.3f}", f"{spread:.2f}", f"{(x - eight).square().mean().sqrt():.2f}"])
header = ["", "misses the measurement by", "which varies by", "misses the truth by"]
show.table(rows, header, f"{len(eight)} repairs each, RMS")

# %% [markdown] exercise_text="11.6" slideshow={"slide_type": "slide"}
# The repairs miss their measurement by about a fifth of what it varies by, or less. The miss from the truth is larger. For the half, most of it comes from pixels that nobody measured. Blurring and averaging also hide differences. Many pictures agree with one measurement. A blurred digit comes back nearly as it was. Half a digit comes back as *some* digit.
#
# ## 6. A classifier in place of a measurement
#
# In $\log p(y\mid x_0)$ the $y$ may be anything that is known of the picture. Let it be its class: a classifier gives $\log p(y\mid x_0)$, and the same `bend` draws digits of the class. This is **classifier guidance**, made popular by Dhariwal and Nichol (2021). They trained a classifier on noisy pictures. We show an ordinary one the estimate $\hat x_0$, clamped to the range of pictures.
#
# The course has two classifiers of MNIST. One, the *guide*, leads the walk. The other, our *judge*, is only asked at the end.
#
# ### Exercise 11.6: a short cut
#
# Somebody saves time and takes the gradient with respect to the estimate, as in your broken `listen`. The guide leads, at scale 1, a walk of 25 steps. Of 30 digits (three of each class) the guide then reads most as asked. What does the judge say?
#
# - **a** about as many as the guide: a digit that one good classifier reads as a 7 is a 7
# - **b** clearly fewer than the guide says
# - **c** about one in ten: to everybody else it is noise
#
# Write down a letter.
#
# Difficulty: ●●○○○ · 4 minutes
#
# <details><summary>Hint</summary>
#
# The short cut changes pixels so that the guide is pleased. Who makes sure that the change looks like handwriting?
#
# </details>
#
# <!--slide 4 min
# ## A classifier in place of a measurement
#
# - $\log p(y\mid x_0)$ may be that of a **class**: the same `bend`, another function
# - the **guide** leads the walk; the **judge**, another classifier, is asked only at the end
#
# **Your turn:** exercise 11.6. Somebody takes the gradient with respect to the estimate, not through the network. The guide reads most digits as asked. And the judge?
#
# **a** as many · **b** clearly fewer · **c** about one in ten
#
# Notes:
# Say: Dhariwal and Nichol trained a classifier on noisy pictures for this. We show an ordinary one the estimate.
# Ask: why do we need a second classifier? (The one that leads is no judge: what pleases it is drawn.)
# Exercise: 4 minutes, a show of hands.
# -->
# <!--slide 3 min
# ## The guide is more pleased than the judge
#
# Notes:
# Say: the gradient of a classifier says which pixels to change so that this classifier says seven. The way through the network ties pixels together that belong together. Look at the pictures as well: in all rows but the last there are some that are no digits.
# Ask: where else have you seen a number that was high because it was aimed at? (Any metric that is also the loss; an exam whose questions were known.)
# Say: classifier-free guidance needs a network trained with labels; this way needs a classifier only.
# Answers 11.6
# -->

# %% exercise="11.6" kind="predict" slideshow={"slide_type": "skip"}
# TODO 11.6: "a", "b" or "c"
### BEGIN SOLUTION
guess = "b"
### END SOLUTION
check.predict("11.6", guess)

# %% slideshow={"slide_type": "skip"}
guide, judge = (classifiers.load(kind, "mnist") for kind in ("features", "judge"))
asked = torch.arange(10).repeat(choose(3, 1))


def is_class(y, scale):
    """log p(y | x_0) of the guide, as a function of x_0 and the level."""

    def log_p(x0, t):
        return scale * F.log_softmax(guide(x0.clamp(-1, 1)), dim=1)[torch.arange(len(y)), y]

    return log_p


def short_cut(x, t, ask, log_p, schedule):
    """bend with the gradient taken with respect to the estimate: never through the network."""
    x0 = ask(x).detach().requires_grad_(True)
    return (x0 + torch.autograd.grad(log_p(x0).sum(), x0)[0]).detach()

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
from helpers.guidance import Guided

rule, rows, table = ddim(choose(25, 2), eta=1.0), {}, []
ways = {"short cut, scale 1": Bent(is_class(asked, 1.0), short_cut)}
ways |= {f"bend, scale {scale:g}": Bent(is_class(asked, scale)) for scale in (1.0, 3.0)}
ways["classifier-free guidance, s=2"] = Guided(load_model("mnist_classes").requires_grad_(False), asked, 2.0)
for name, network in show.progress(ways.items(), 4, "classes"):
    with torch.autocast("cpu", torch.bfloat16, enabled=isinstance(network, Guided)):
        x = last(reverse(network, schedule, rule, shape=(len(asked), 1, 28, 28), seed=1, clip_x0=1.0))
    said = [float((c(x.clamp(-1, 1)).argmax(1) == asked).float().mean()) for c in (guide, judge)]
    rows[name], ways[name] = x[:10], said
    table.append([name, *[f"{share:.0%}" for share in said]])
alt = "Digits asked for from 0 to 9, four ways. With the short cut many are no digits, with bend at both "
alt += "scales a few; with classifier-free guidance all can be read"
show.rows(rows, alt, labels=[str(i) for i in range(10)])

# %% tags=["hide-input", "slide-output"] slideshow={"slide_type": "-"}
show.table(table, ["", "as asked, says the guide", "as asked, says the judge"], f"{len(asked)} digits each")
said, judged = ways["short cut, scale 1"]
check.truth("11.6", "a" if judged > said - 0.08 else "b" if judged > 0.25 else "c")

# %% [markdown] slideshow={"slide_type": "skip"}
# The judge reads fewer digits of the short cut as asked than the guide does. But look at the pictures too: in all rows but the last some are no digits, and most of these are in the first. The judge took no part in the walk, so nobody aimed at its count.
#
# These are 30 digits from one seed. For `bend` we have also drawn <!--r:repair.classifier.samples|,-->500<!--/--> digits from each of two seeds, in walks of <!--r:repair.classifier.steps|d-->15<!--/--> steps. The judge reads <!--r:repair.classifier.scales.s_1.accuracy.mean|.0%-->75%<!--/--> as asked at scale 1 and <!--r:repair.classifier.scales.s_3.accuracy.mean|.0%-->87%<!--/--> at scale 3. The share that it reads with confidence hardly changes, from <!--r:repair.classifier.scales.s_1.confident.mean|.0%-->73%<!--/--> to <!--r:repair.classifier.scales.s_3.confident.mean|.0%-->74%<!--/-->. The 1 fails most often, like the broken one in the third row: of 100 ones asked for, the judge reads <!--r:repair.classifier.scales.s_3.confusion.1.1|d-->44<!--/--> at scale 3, and <!--r:repair.classifier.scales.s_3.confusion.7.7|d-->81<!--/--> of the sevens, the next worst class.
#
# What does the way through the network add? For an exact estimate, $\partial\hat x_0/\partial x_t=\frac{\sqrt{\bar\alpha_t}}{1-\bar\alpha_t}\,\mathrm{Cov}[x_0\mid x_t]$. Check it on the two pixels. With their covariance $\Sigma$ and $M=(\bar\alpha_t\Sigma+(1-\bar\alpha_t)I)^{-1}$, `TwoPixels` computes $\hat x_0=\sqrt{\bar\alpha_t}\,\Sigma M x_t$. The derivative is $\sqrt{\bar\alpha_t}\,\Sigma M$, and for Gaussians $\mathrm{Cov}[x_0\mid x_t]=(1-\bar\alpha_t)\,\Sigma M$.
#
# The factor of `bend` cancels the fraction. So `bend` moves the estimate by the covariance times the gradient there, and pixels that belong together move together. The short cut puts 1 in its place. Each pixel then moves alone, and late in the walk, where the covariance goes to 0, it is pushed far harder. So scale 1 is not the same strength in both rows, and the table cannot say whether the harm comes from that.
#
# Classifier-free guidance, from notebook 06, gives the cleanest digits here. But it needs a network that was trained with labels. `bend` works with a network trained without labels, and you can replace the classifier without training the network again.
#
# **Question.** Why must the classifier that leads not be the one that counts the successes?
#
# <details><summary>Answer</summary>
#
# Because the walk is led to whatever pleases it, whether or not that is a digit of the class. Its verdict is then part of the method and no measurement of it. The first row of the table shows that the two can be apart. An independent judge is better, and it does not replace looking at the pictures.
#
# </details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 7. Is the repair right?
#
# A repair looks like a digit. Nobody who sees it can tell whether it is the digit that was there, and a program that repairs photographs does not say either. Here we can look: we damaged the pictures ourselves.
#
# We took <!--r:repair.sizes.digits|d-->100<!--/--> test digits, damaged each in five ways (section 5's four, and one with the 14x14 pixels in the middle missing), and repaired each <!--r:repair.sizes.often|d-->16<!--/--> times for the half and <!--r:repair.sizes.seeds|d-->3<!--/--> times for the rest, by every method that fits. The walks use notebook 05's DPM-Solver++ with fresh noise (`eta` 1; after a climb it has no step before to look at, so most of RePaint's steps are DDIM's): replacement takes <!--r:repair.sizes.steps.replacement|d-->60<!--/--> evaluations, RePaint as many (<!--r:repair.sizes.steps.repaint|d-->15<!--/--> steps, <!--r:repair.sizes.resample|d-->4<!--/--> times each), and `bend` <!--r:repair.sizes.steps.guided|d-->25<!--/--> with a gradient, which takes about as long as 50 without. The judge then reads every repair.
#
# Two simple answers stand beside the repairs. The first shows the judge the damaged picture as it is. The second uses no network: it takes the training digits whose measurement comes nearest, as many as there are repairs, and calls each of them a repair, with the known pixels put in.
#
# <!--slide 3 min
# ## Is the repair right? Where we made the damage, we can look
#
# Notes:
# Say: the judge reads the damaged picture, the nearest training digit, and every repair. The brown dots take no network, and in four of five cases they are read rightly more often. Where half a digit fits two classes, a good draw has to be the less likely one now and then; if the 16 repairs of each half vote, it is <!--r:repair.damages.half.guided.vote|.0%-->90%<!--/--> for bend against <!--r:repair.damages.half.nearest.vote|.0%-->94%<!--/-->. What the search gives back is somebody else's digit.
# Ask: for which damage would you not bother with a diffusion model at all? (Where the judge can read the damaged picture already.)
# -->

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
saved, pictures = load_results("repair"), load_images("repair")
NAMES = {"half": "lower half\nmissing", "square": "square\nmissing", "pixels": "3 of 4 pixels\nmissing"}
NAMES |= {"blur": "blurred", "small": "49 numbers"}
METHODS = {"nearest": "nearest training digit", "replacement": "replacement", "repaint": "RePaint"}
METHODS |= {"guided": "bend"}
PAINT = dict(zip(METHODS, (show.COLOURS[7], show.COLOURS[4], show.COLOURS[0], show.COLOURS[1]), strict=True))


def draw_right(ax, method, shift):
    """For each damage that the method repairs: the share that the judge reads rightly, and its spread."""
    there = [(i, saved["damages"][damage].get(method)) for i, damage in enumerate(NAMES)]
    there = [(i + shift, row["right"]) for i, row in there if row]
    heights, bars = [row["mean"] for _, row in there], [row["std"] or 0 for _, row in there]
    style = dict(fmt="o", capsize=4, color=PAINT[method], label=METHODS[method])
    ax.errorbar([i for i, _ in there], heights, bars, **style)

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, ax = plt.subplots(figsize=(show.WIDTH, 4.2))
for method, shift in zip(METHODS, (-0.15, -0.05, 0.05, 0.15), strict=True):
    draw_right(ax, method, shift)
for i, damage in enumerate(NAMES):
    read = saved["damages"][damage]["read_directly"]["right"]
    ax.hlines(read, i - 0.35, i + 0.35, color="0.5", linewidth=3, label=None if i else "read as it is")
ax.axhline(saved["truth"]["right"], color=show.COLOUR["floor"], linestyle="--", label="undamaged")
ax.set_xticks(range(len(NAMES)), list(NAMES.values()))
ax.set(ylim=(0, 1.05), ylabel="share read as the true digit", title="Is the repair the digit that it was?")
ax.legend(loc="lower right", ncols=2)
alt = "For five kinds of damage: the share of repairs that the judge reads as the true digit, by method; "
show.figure(fig, alt + "the share that it reads of the damaged picture as it is, and of undamaged ones.")

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
rows = []
for damage, name in NAMES.items():
    both = [saved["damages"][damage][method] for method in ("nearest", "guided")]
    numbers = [f"{one[key]['mean']:.2f}" for key in ("right", "error") for one in both]
    rows.append([name.replace("\n", " "), *numbers])
header = ["", "right: nearest", "right: bend", "off by: nearest", "off by: bend"]
show.table(rows, header, "Share that is read rightly, and RMS a pixel from the truth")

# %% [markdown] slideshow={"slide_type": "skip"}
# Take one kind of damage at a time. The grey line is what the judge reads in the damaged picture as it is. With the lower half missing that is <!--r:repair.damages.half.read_directly.right|.0%-->41%<!--/--> of the digits, and of the repairs by `bend` it reads <!--r:repair.damages.half.guided.right.mean|.0%-->82%<!--/--> rightly. Where only a blur is to be undone, hardly anything was lost in the first place. The bars are the standard deviation over the seeds. Other digits might shift a dot by about 4 points.
#
# Now look at the brown dots. For the half we judge the 16 nearest training digits one by one, elsewhere the three nearest. The dot is their mean score, the bar the spread between ranks. They take no network. The table has them beside `bend`.
#
# The nearest training digit is read rightly more often in four of five cases, and for the blur it is a tie. This is not quite fair to `bend`. Where half a digit fits two classes, a good draw has to be the less likely one now and then. So let the <!--r:repair.sizes.often|d-->16<!--/--> repairs of each half vote: the majority is right for <!--r:repair.damages.half.guided.vote|.0%-->90%<!--/--> with `bend`, and for <!--r:repair.damages.half.nearest.vote|.0%-->94%<!--/--> with the nearest digits.
#
# What the search gives back is somebody else's digit. For the blur, the 49 numbers and the pixels `bend` comes closer to the truth. For the half and the square it does not, since the network has to invent there as well. There the border tells them apart: for the half, the jump is <!--r:repair.damages.half.nearest.seam|.2f-->0.25<!--/--> for the nearest digits and <!--r:repair.damages.half.guided.seam|.2f-->0.18<!--/--> for `bend`, close to the true digits. Always report such a simple answer beside a repair. Without it you cannot see what the network adds.
#
# **Look** at one digit, drawn many times. The upper half is given, `bend` draws the lower one. These are the first eight of its 16 draws:

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
ways = len(pictures["half_guided"]) // len(pictures["half_damaged"])
rows = {}
for i in range(5):
    draws = pictures["half_guided"][ways * i : ways * (i + 1)]
    rows[f"digit {i + 1}"] = torch.cat([pictures["truth"][[i]], pictures["half_damaged"][[i]], draws])
columns = ["true", "given", *[str(k + 1) for k in range(ways)]]
alt = "Five digits, their upper halves, and several repairs of each, not all the same digit"
show.rows(rows, alt, columns)

# %% [markdown] exercise_text="11.7" slideshow={"slide_type": "slide"}
# ### A repair is a distribution
#
# Some upper halves, such as that of the fourth digit, leave no doubt: all eight draws are the same digit. Others, such as that of the first, fit several digits, and the draws show several. Some draws are no digit.
#
# One repair is a single draw. What a method really says about a damaged digit is the whole set of its draws: "a 3 in 11 of 16, an 8 in four, a 5 once". Divided by 16, these are shares, and we may read them as probabilities. Are they any good as probabilities? Of all the cases in which the method says "a 3, with probability 0.7", about 70 in 100 should be threes. A method whose shares mean what they say is called **calibrated**.
#
# ### Exercise 11.7: a calibration table
#
# Write `calibration`. `shares` (N, C) says for each of N pictures which share of its repairs is read as each of C classes, `truth` (N,) is the true class, and `edges` is a rising list of numbers. Every pair of a picture and a class is one statement: "this is a 3, with probability 0.7". For each bin `low < share <= high`, with `low` and `high` neighbours in `edges`, take all statements in it, of all pictures and classes together. Return (bins, 3): their mean share, the share of them that are true, and how many they are. No bin is empty.
#
# Difficulty: ●●●○○ · 12 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Make a table of zeros and ones that is shaped like `shares`: a one where the statement is true. Then a bin picks the same places from both tables.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `F.one_hot(truth, shares.shape[1]).float()`, and `inside = (shares > low) & (shares <= high)`. A table with `[inside]` is the list of its numbers in the bin.
#
# </details>
#
# <!--slide 4 min
# ## A repair is a draw, the method's answer is the distribution
#
# - one damaged digit, many repairs: "a 3 in 11 of 16, an 8 in four, a 5 once"
# - read as probabilities: 0.69, 0.25, 0.06
# - **calibrated**: of all statements "a 3, with probability 0.7", about 70 in 100 are true
#
# **Your turn:** exercise 11.7, `calibration(shares, truth, edges)`
#
# > Of the digits that were filled in as a three in 70 of 100 repairs, how many were threes?
#
# Notes:
# Say: every pair of a picture and a class is a statement with a probability, and we know whether it is true.
# Ask: a method always says the same digit, the same in all its repairs. Can it be calibrated? (Only if it is always right. Its statements have probability 1.)
# Exercise: 12 minutes. Common mistakes: only the largest share of each picture, and a mean over pictures where one over statements is wanted.
# -->

# %% exercise="11.7" slideshow={"slide_type": "skip"}
def calibration(shares, truth, edges):
    """For each bin of edges: mean share, share that is true, number of statements; (bins, 3)."""
    # TODO 11.7: for each bin, the statements in it
    ### BEGIN SOLUTION
    true = F.one_hot(truth, shares.shape[1]).float()
    rows = []
    for low, high in zip(edges, edges[1:], strict=False):
        inside = (shares > low) & (shares <= high)
        rows.append(torch.stack([shares[inside].mean(), true[inside].mean(), inside.sum().float()]))
    return torch.stack(rows)
    ### END SOLUTION


calibration = check("11.7", calibration)

# %% [markdown] exercise_text="11.8" slideshow={"slide_type": "slide"}
# ### Exercise 11.8: seven in ten, all digits together
#
# The lower half is missing. Look at all statements with a share between 0.6 and 0.8, about any of the ten digits: "about seven in ten of my repairs are this digit". Of those that replacement makes, <!--r:repair.calibration.replacement.bins.3.true|.2f-->0.87<!--/--> are true. What share is true for `bend`? Write a number between 0 and 1; what is within 0.13 counts as right.
#
# Difficulty: ●●○○○ · 3 minutes
#
# <details><summary>Hint</summary>
#
# If the shares mean what they say, it is about 0.7. If wrong digits are drawn too often, they take shares away from the true one, and more than 0.7 of the statements are true. That is the case for replacement. Does `bend` draw wrong digits as often?
#
# </details>
#
# <!--slide 2 min
# ## Guess: seven in ten repairs are the same digit. How often is it the true one?
#
# - the lower half is missing; all statements with a share between 0.6 and 0.8
# - of those that replacement makes, <!--r:repair.calibration.replacement.bins.3.true|.2f-->0.87<!--/--> are true
#
# **Your turn:** exercise 11.8. Which share is true for `bend`? A number between 0 and 1.
#
# Notes:
# Say: 0.7 would be calibrated. Above it the draws are spread too widely, below it the method is too sure.
# Ask: who says below, who says above, and why?
# Exercise: 3 minutes, write the guesses on the board.
# -->
# <!--slide 3 min
# ## Do the shares mean what they say?
#
# Notes:
# Say: on the diagonal, what is said with 0.7 is true in seven of ten cases. Replacement lies beneath it on the left and above it on the right, most dots by more than their bars. Both are one fault: wrong digits are drawn too often, the true one too rarely. For bend, 100 digits cannot show it.
# Ask: how could somebody use this curve who knows no truth? (Measure it once on pictures that you damaged yourself, then read new shares through it.)
# Answers 11.8
# -->

# %% exercise="11.8" kind="predict" slideshow={"slide_type": "skip"}
# TODO 11.8: the share of these statements that is true
### BEGIN SOLUTION
guess = 0.8
### END SOLUTION
check.predict("11.8", guess)

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
count, truth = saved["calibration"]["samples"], torch.tensor(saved["calibration"]["labels"])
EDGES = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
shares = {method: torch.tensor(saved["calibration"][method]["votes"]).float() / count for method in METHODS}
fig, axes = plt.subplots(1, 4, figsize=(show.WIDTH, 3.9), sharey=True)
for ax, method in zip(axes, METHODS, strict=True):
    said, true, number = calibration(shares[method], truth, EDGES).T
    chance = (said * (1 - said) / number).sqrt()
    ax.plot([0, 1], [0, 1], color="0.6", linestyle="--")
    ax.errorbar(said, true, chance, fmt="o-", capsize=4, color=PAINT[method])
    ax.set_title(METHODS[method].replace(" digit", "\ndigit"))
axes[0].set(ylabel="share that is true", ylim=(-0.06, 1.12))
fig.suptitle("Furthest from the diagonal: replacement", fontsize=13)
fig.supxlabel("share of the repairs that say so (dashed: calibrated)", fontsize=12)
alt = "What is said against what is true, in five bins, for four methods: beneath the diagonal on the left, "
show.figure(fig, alt + "above it in the middle, replacement most. Bars: what chance alone would do.")

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
_, true, number = calibration(shares["guided"], truth, EDGES)[3].tolist()
print(f"bend, shares between 0.6 and 0.8: {number:.0f} statements, {true:.2f} of them true")
check.truth("11.8", round(true, 2))

# %% [markdown] slideshow={"slide_type": "skip"}
# On the dashed diagonal, what is said with a share of 0.7 is true in seven of ten cases. The bars say how far chance alone moves the dot of a calibrated method (one standard deviation).
#
# Follow replacement. On the left it lies beneath the diagonal: wrong digits are drawn too often. Further right it lies above: the true digit is drawn too rarely. So its draws are spread over too many digits. For a method that is too sure, the curve lies above the diagonal on the left and below it on the right.
#
# How far is a method from the diagonal? With $n_b$ statements in bin $b$, we call
# $$\text{gap}=\frac{\sum_b n_b\,\lvert\text{said}_b-\text{true}_b\rvert}{\sum_b n_b}$$
# its gap: the mean distance over all statements. With 100 digits the gap of a calibrated method is not zero either: there are few statements, and classes that were never drawn are left out. To see how large, we simulate a calibrated method: we treat the shares as true probabilities, and draw one true class and 16 repairs for each digit from them.

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
def gap(shares, truth):
    said, true, number = calibration(shares, truth, EDGES).T
    return float((number * (said - true).abs()).nansum() / number.sum())


rows, g = [], torch.Generator().manual_seed(0)
for method, said in shares.items():
    chance = []
    for _ in range(choose(300, 3)):  # truth and repairs from the same shares
        drawn = F.one_hot(torch.multinomial(said, count, True, generator=g), 10).float().mean(1)
        chance.append(gap(drawn, torch.multinomial(said, 1, generator=g)[:, 0]))
    right, chance = said[torch.arange(len(truth)), truth], torch.tensor(chance)
    more = right - (said * (count * said - 1)).sum(1) / (count - 1)  # than two draws of one digit agree
    rows.append([METHODS[method], f"{gap(said, truth):.3f}", f"{chance.mean():.3f} ± {chance.std():.3f}"])
    rows[-1].append(f"{more.mean():.2f} ± {more.std() / len(truth) ** 0.5:.2f}")
header = ["", "gap", "gap if calibrated (300 trials)", "agreement: with the truth minus with another draw"]
show.table(rows, header, "± standard deviation; in the last column standard error")

# %% [markdown] exercise_text="11.9" slideshow={"slide_type": "slide"}
# The gaps of `bend` and of the nearest training digits are such as a calibrated method has. Those of RePaint and replacement are larger than that.
#
# The last column needs no bins. If the truth were one more draw of the method, a draw would agree with it as often as with another draw. Draws of RePaint and replacement agree with the truth clearly more often than with one another, so these two spread their draws too widely. For `bend` the difference is less than two standard errors, and 100 digits cannot show whether it is real.
#
# ## 8. Which line is wrong?
#
# Ten digits of notebook 03, of 8x8 pixels, lack their lower half. The walk below bends the estimate at each of its 20 levels and should fill them in. One line is wrong, and which one depends on your seed. `x` records gradients, `a` is $\bar\alpha_t$, and `measure` picks the upper half.
#
# ### Exercise 11.9: one line is wrong
#
# Find the line and write its number into the second cell. Pictures and measurements stand below the lines.
#
# Difficulty: ●●●○○ · 9 minutes
#
# <details><summary>Hint</summary>
#
# Do the repairs agree with the measurement? Is the lower half told of it? And are the pictures as sharp and as dark as digits are?
#
# </details>
#
# <!--slide 3 min
# ## Find the wrong line: 11.9, nine minutes
#
# Notes:
# Live: everybody runs the cell with a seed of their own, `check.hunt("11.9", seed=7)`.
# Ask: which number told you? (In a right walk the upper half is off by 0.039, a pixel of the lower half is pushed by 0.159, no pixel leaves the range and the finished pixels have a standard deviation of 0.74. Line 1: off by **0.003**, better than right. Line 2: a push of **0.000**. Line 3: off by **0.519**. Line 4: off by **1.217** for the wrong sign, **0.123** without the root. Line 5: **0.61** of the pixels beyond the range. Line 6: standard deviation **1.00**, full of noise.)
# Exercise: 9 minutes, in pairs.
# -->

# %% exercise="11.9" kind="hunt" tags=["slide-output"] slideshow={"slide_type": "-"}
check.hunt("11.9")

# %% kind="answer" of="11.9" slideshow={"slide_type": "skip"}
line = 2  # TODO 11.9: the number of the wrong line
check.found("11.9", line)

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ## A canvas of your own (optional)
#
# Run the cells below and draw into the black square, with the mouse or a finger. What you draw goes to the kernel when you lift the pen, and four digits are drawn from it. A double click clears the square.
#
# This needs a running notebook. In a saved one, or on a web page, you see what becomes of the shipped heart.

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
DOWN = "this.setPointerCapture(event.pointerId); this.all = this.all || []; this.all.push([]); this.on = 1"
MOVE = """if (this.on) {const p = [event.offsetX, event.offsetY], line = this.all.at(-1);
const c = this.getContext('2d'); c.strokeStyle = 'white'; c.lineWidth = 24; c.lineCap = 'round';
c.beginPath(); c.moveTo(...(line.at(-1) || p)); c.lineTo(...p); c.stroke(); line.push(p)}"""
UP = """this.on = 0; const told = document.querySelector('.scribble textarea');
told.value = JSON.stringify(this.all); told.dispatchEvent(new Event('input', {bubbles: true}));
told.dispatchEvent(new Event('change', {bubbles: true}))"""
STYLE = "background: black; touch-action: none; cursor: crosshair"
CANVAS = f'''<canvas width="280" height="280" style="{STYLE}" onpointerdown="{DOWN}" onpointermove="{MOVE}"
onpointerup="{UP}" ondblclick="this.width = 280; this.all = []"></canvas>'''

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
import json


def redraw_mine(drawn="", strength=0.7, seed=0):
    """Redraw what was drawn on the canvas (or the shipped heart), four times."""
    strokes = [[(x / 10, y / 10) for x, y in stroke] for stroke in json.loads(drawn or "[]")]
    strokes = [stroke for stroke in strokes if len(stroke) > 1]
    picture = draw_strokes(strokes) if strokes else scribbles[[7]]
    x = redraw(picture.repeat(4, 1, 1, 1), round(1000 * strength), seed=seed)
    alt = f"A scribble and four digits drawn from it at strength {strength:g}, seed {seed}"
    show.rows({"": torch.cat([picture, x])}, alt, labels=["drawn", *"1234"])


redraw_mine()

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
try:
    from ipywidgets import HTML, Layout, Textarea, VBox, interactive
    from IPython.display import display
except ImportError:
    print("No canvas without ipywidgets.")
else:
    hidden = Textarea(layout=Layout(height="0px", visibility="hidden"))
    hidden.add_class("scribble")
    redrawn = interactive(redraw_mine, drawn=hidden, strength=(0.1, 1.0, 0.1), seed=(0, 9))
    display(VBox([HTML(CANVAS), redrawn]))

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - A walk may begin in the middle: noise a picture to level $t$, and walk down. $t$ says how much is drawn anew.
# - Known pixels that are put back come too late for the unknown ones. On two pixels the mean comes out too small, and more steps do not mend it.
# - Going up again and repeating a step gives the unknown pixels time to follow. RePaint does this at every level.
# - Bayes' rule moves the estimate of $x_0$ along the gradient of $\log p(y\mid\hat x_0)$. The gradient goes through the network, and so unknown pixels learn of the measurement in the same step.
# - The same function repairs missing pixels, blur and enlarging, and with a classifier in place of the measurement it draws a class.
# - A classifier that guided the walk must not score its result. The walk was pushed until this classifier agreed, so its agreement proves nothing. Another judge is better, and pictures must be looked at, too.
# - A repair is one draw. The method's answer is the distribution of its draws, and a calibration table says what that is worth.
#
# `helpers/repair.py` holds what you have built here, as `fill_in`, `Measured` and `ByClassifier`.
#
# ### Self-check
#
# - [ ] I can say what strength 0.3 does to a sketch, and what strength 1 does.
# - [ ] I can explain with two pixels why replacement draws too small a mean.
# - [ ] I can write the step from level $t$ up to level $t_{up}$ for a noisy picture.
# - [ ] I can derive the factor in front of the gradient in `bend`.
# - [ ] I can say what a map of the gradient shows below the border, with the network and without.
# - [ ] I can say what it means that a repair is calibrated, and how to measure it.
#
# <details><summary>Answers</summary>
#
# 1. At 0.3 only small things are covered by noise, and only these are drawn anew. At 1 nothing of the sketch is left.
# 2. High up the known pixel is hidden, and the unknown one begins without it. When the known one can be seen, the other is already on its way to a value that was chosen without it. The network takes both for parts of one picture and settles in between.
# 3. Multiply by the root of $\bar\alpha_{t_{up}}/\bar\alpha_t$ and add noise of variance $1-\bar\alpha_{t_{up}}/\bar\alpha_t$.
# 4. $\hat x_0=(x_t+(1-\bar\alpha_t)\cdot\text{score})/\sqrt{\bar\alpha_t}$: whatever is added to the score is added to $\hat x_0$ with $(1-\bar\alpha_t)/\sqrt{\bar\alpha_t}$.
# 5. With the network it is not zero there: the estimate of known pixels depends on the unknown ones. Without the network it is exactly zero.
# 6. Statements of probability $p$ are true in a share $p$ of the cases. Damage pictures yourself, repair each often, and compare shares with truth, bin by bin.
#
# </details>
#
# ### Further exercises
#
# | | exercise | difficulty | time |
# |---|---|---|---|
# | 1 | Redraw test digits instead of scribbles. From which level on does the judge read another digit? | ●○○○○ | 15 min |
# | 2 | Fill in with a mask of your own: a ring, a diagonal, every other row. Which is hardest for the network? | ●●○○○ | 20 min |
# | 3 | Add noise of standard deviation 0.2 to the measurement of `shrink`. How must `agrees_with` change? | ●●●○○ | 30 min |
# | 4 | Guide by two things at once: the upper half of a 7, and the class 2. What does the network draw? | ●●●○○ | 30 min |
# | 5 | Use `mnist_classes` without label in `bend`, and with the right label. How much does the label help? | ●●●●○ | 45 min |
#
# ### References
#
# - Meng et al. 2022, *SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations*, [arXiv:2108.01073](https://arxiv.org/abs/2108.01073): section 3.
# - Song et al. 2021, *Score-Based Generative Modeling through Stochastic Differential Equations*, [arXiv:2011.13456](https://arxiv.org/abs/2011.13456): section 5 and its appendix on imputation (replacement).
# - Lugmayr et al. 2022, *RePaint: Inpainting using Denoising Diffusion Probabilistic Models*, [arXiv:2201.09865](https://arxiv.org/abs/2201.09865): algorithm 1.
# - Chung et al. 2023, *Diffusion Posterior Sampling for General Noisy Inverse Problems*, [arXiv:2209.14687](https://arxiv.org/abs/2209.14687): algorithm 1; the weight of our step is another one.
# - Song, Vahdat, Mardani and Kautz 2023, *Pseudoinverse-Guided Diffusion Models for Inverse Problems*, ICLR 2023: why the misfit is divided by $1-\bar\alpha_t$.
# - Dhariwal and Nichol 2021, *Diffusion Models Beat GANs on Image Synthesis*, [arXiv:2105.05233](https://arxiv.org/abs/2105.05233): section 4, algorithm 2 (classifier guidance).
# - Bansal et al. 2023, *Universal Guidance for Diffusion Models*, [arXiv:2302.07121](https://arxiv.org/abs/2302.07121): an ordinary classifier, shown the estimate.
#
# <!--slide 2 min
# ## What we learned
#
# - begin in the middle: noise a picture to level $t$, walk down
# - with replacement the known pixels come too late; going up again gives time
# - Bayes' rule bends the estimate, and the gradient passes through the network
# - who guided the walk must not score it
# - a repair is a draw; a calibration table says what the distribution is worth
#
# > A newspaper shows a "restored" photograph of a face. What would you ask?
#
# Notes:
# Say: a repair is what the training data make of a measurement. Where the measurement says little, it is mostly training data.
# Ask: what would you ask the newspaper? (For other draws from the same measurement, and for a test on damaged pictures whose truth is known.)
# Homework: further exercise 1 or 2.
# -->

# %% slideshow={"slide_type": "skip"}
check.summary("11")
