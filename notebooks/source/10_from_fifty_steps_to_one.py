# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] slideshow={"slide_type": "slide"}
# # 10 From fifty steps to one
#
# Notebook 05 brought a digit down to some twenty evaluations of the network, and there it stopped: with four steps the pictures fall apart. In this notebook we train a second network, the
# **student**, that learns from the first one where its walk will end. Then it goes there at once. The pictures below come from a single evaluation.
#
# **What you will be able to do**
# - say why one leap of a trained network lands on an average, however well it was trained;
# - draw the map from noise to data, measure how much it stretches, and say where a student has trouble to follow it;
# - write the loss of consistency distillation, and say what its three safeguards are for;
# - draw with a student in one step or in several, and say why the noise in between must be fresh;
# - write the loss of MeanFlow with `torch.func.jvp`, a derivative along a direction;
# - measure what a student has lost, with distance, legibility, recall and diversity beside each other.
#
# **What to know** Notebooks 02 (the best denoiser is an average), 04 (v-prediction, the Frechet distance and its floor), 05 (the picture as a function of the noise, all noise fresh), 06 (autoguidance, diversity). For section 7 also the straight path and its velocity, from 09.
#
# **Time** about 110 minutes for a person, about two minutes for two CPU cores.
#
# <!--slide 2 min
# # 10 From fifty steps to one
#
# A solver needs ten evaluations or more. Can a second network learn to jump?
#
# **The question of this lecture:** what does a network have to learn so that one evaluation is enough, and what is lost?
#
# **You will be able to**
#
# - say why one leap of the first network is a blur
# - write the loss that makes a student agree with itself along a path
# - measure what the student has lost
#
# **Write down a guess:** which share of the student's digits from one evaluation can be read with confidence?
#
# Notes:
# Say: until now we changed the walk and kept the network. Today we keep the walk, and train a network that knows where it ends.
# Ask: what did the network of notebook 02 answer to pure noise? (The mean of all data, whatever the noise was.)
# Have run: the whole notebook; three short trainings on points take a minute and more.
# -->

# %% tags=["setup"] slideshow={"slide_type": "skip"}
import sys
from pathlib import Path

sys.path.insert(0, str(next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "helpers").is_dir())))

import matplotlib.pyplot as plt
import torch
from helpers import data, metrics, show
from helpers.checkpoints import load_model, load_results
from helpers.exercises import check, mine
from helpers.few_steps import consistency
from helpers.models import PointMLP, timestep_embedding
from helpers.modes import choose, out_dir
from helpers.sampling import ddim, last, reverse
from helpers.schedule import cosine
from helpers.training import Run, learning_rate, train

my = mine.parts()  # your functions of the notebooks before, where they are right

# %% slideshow={"slide_type": "skip"}
import copy
import time

T, schedule = 1000, cosine(1000)
first = load_model("mnist_unet").requires_grad_(False)  # the network of notebook 04
student = load_model("mnist_few_steps").requires_grad_(False)  # what this notebook is about
noise = torch.randn(64, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def draw(model, rule, x_T):
    """Digits (B, 1, 28, 28) of a network and a step rule, from the noise x_T; in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        return last(reverse(model, schedule, rule, x_T=x_T, seed=1000, clip_x0=1.0))


draw(student, consistency(1), noise)  # the first call is slower than all others
start = time.perf_counter()
samples = draw(student, consistency(1), noise)
print(f"64 digits from one evaluation each, on this machine now: {time.perf_counter() - start:.3f} s")

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
alt = "64 small digits, each from a single evaluation of the student; most can be read, a few are broken"
show.grid(samples, alt, columns=16, title="64 digits, one evaluation: what this notebook arrives at")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. Why is one leap not enough?
#
# Could the network of notebook 04 not do the same? We ask it once and take its estimate of the clean picture. Then we give it 2 steps, and 50, from the same noises.
#
# <!--slide 3 min
# ## One leap of the first network is an average
#
# Notes:
# Say: one noise a column. In the first row the network is asked once, and all columns show nearly the same blur. With 2 steps there are thin grey strokes, some of them of two digits at once, with 50 there are digits. Last row: the student, asked once.
# Ask: is the blur an error of the network? (No. Pure noise says nothing about the digit, and the best single guess under squared error is the mean of all digits. Notebook 02, one leap.)
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
rows = {f"first network, {n}": draw(first, ddim(n), noise[:8]) for n in choose((1, 2, 50), (1, 2))}
rows["student, 1"] = draw(student, consistency(1), noise[:8])
alt = "One noise a column. The first network in one step: eight times nearly the same grey blur; in 2 steps "
alt += "thin grey strokes; in 50 steps digits. Last row: the student's digits, in one step."
show.rows(rows, alt, title="The same eight noises, by network and number of evaluations")

# %% [markdown] slideshow={"slide_type": "skip"}
# The first row shows nearly the same blur eight times, and this is not a fault of the network. Pure noise does not say which digit it will become, so the best guess under squared error is the mean of all digits (your `exact_denoiser` of notebook 02 did the same). A better network would draw the mean better. With 2 steps the second leap starts from this mean and a part of the noise, so the columns differ. But its strokes are thin and grey, and in some columns two digits lie on each other: each is still an average over the pictures that the noisy one may come from. With 50 steps this average is taken over fewer and fewer pictures on the way. The last row is the student with one evaluation.
#
# So the remedy is not more training on the same loss. We need another question to ask. To find it we go back to points in the plane, where everything can be drawn: the checkerboard of 02. Training a network for it takes about twenty seconds.

# %% slideshow={"slide_type": "skip"}
torch.manual_seed(0)
board, _ = data.checkerboard(10_000)
run = Run(PointMLP(prediction="v"), lr=3e-3, seed=0)
steps = choose(2500, 20)
for _ in show.progress(train(run, schedule, board, steps, batch_size=512), total=steps, label="teacher"):
    pass
teacher = run.ema.model  # in the plane, this is the network whose walk we want to shorten


def walk(x, steps=50):
    """Where the teacher's DDIM walk of so many steps ends, from noise x (B, 2)."""
    levels = my.ddim_levels(T, steps)
    for t, t_next in zip(levels, [*levels[1:], 0], strict=True):
        eps, x0 = schedule.from_output(teacher(x, torch.full((len(x),), t)), x, t, "v")
        x = my.ddim_step(x0, eps, t, t_next, 0.0, schedule)
    return x

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
COLOURS = [*show.COLOURS[:6], "#4B0082", show.COLOURS[7]]


def colour(points):
    """A colour for each point: that of its square, grey outside all squares."""
    return ["0.75" if k < 0 else COLOURS[k] for k in metrics.squares(points).tolist()]


def scatter_coloured(ax, points, colours, title, limit=1.3):
    show.scatter(ax, points, title, size=3, limit=limit, colour=colours)
    far = metrics.sliced_wasserstein(points, board[: len(points)])
    ax.set_xlabel(f"{metrics.share_inside(points):.0%} in the squares\ndistance {far:.2f}")


starts = torch.randn(choose(4000, 200), 2, generator=torch.Generator().manual_seed(1))
ends = walk(starts, choose(50, 4))
tints = colour(ends)

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
fig, axes = plt.subplots(1, 4, figsize=(show.WIDTH, 3.2))
for ax, n in zip(axes, choose((1, 2, 4, 50), (1, 2, 3, 4)), strict=True):
    scatter_coloured(ax, walk(starts, n), tints, f"{n} step{'s' * (n > 1)}")
alt = "The teacher's points after 1, 2, 4 and 50 steps, coloured by the square in which 50 steps end: a "
show.figure(fig, alt + "small heap, patches that touch, wider patches, and eight separate squares.")

# %% [markdown] exercise_text="10.1" slideshow={"slide_type": "slide"}
# Follow one colour from left to right. After one step all colours lie on one small heap in the middle of the board. With two and four steps they part, and after 50 steps each fills its square. Below each picture stand two numbers: the share of points inside the squares, and the sliced Wasserstein distance from the data (notebook 02, smaller is better). Do not read the first without the second. A small heap in the middle has a good part of its points in the two middle squares by luck; its distance gives it away.
#
# ## 2. The walk is a map
#
# DDIM draws no fresh noise. So its 50 steps together are one function: noise goes in, a point of the board comes out, and the same noise always gives the same point. If we knew it, a single evaluation would do. What does it look like?
#
# ### Exercise 10.1: a map of the noise
#
# We colour each starting noise by the square in which its walk ends. What will the plane of noises look like?
#
# - **a** like the board itself: eight coloured squares with empty squares between them
# - **b** eight regions that fill the plane and meet at borders
# - **c** like sand: all colours are mixed everywhere
# - **d** rings around the middle, one for each square
#
# Write down a letter.
#
# Difficulty: ●●○○○ · 3 minutes
#
# <details><summary>Hint</summary>
#
# Every noise ends somewhere, also those that start where the board has a light square. And two noises that lie close together are asked nearly the same questions.
#
# </details>
#
# <!--slide 3 min
# ## Fifty DDIM steps are one function of the noise
#
# Noise goes in, a point of the board comes out. No fresh noise comes in on the way, so the same noise always gives the same point.
#
# **Your turn:** exercise 10.1. Colour each noise by the square in which its walk ends. What does the plane of noises look like?
#
# **a** like the board · **b** eight regions that fill the plane · **c** like sand · **d** rings
#
# Notes:
# Say: no fresh noise on the way, so the same noise always gives the same point of the board. If we knew this function we would need one evaluation. So look at it before we teach it.
# Ask: can two different noises end in the same point? (Not on the exact curve: its steps can be walked back. Notebook 05 inverted a digit that way.)
# Exercise: 3 minutes, a show of hands before the cell runs.
# -->

# %% exercise="10.1" kind="predict" slideshow={"slide_type": "skip"}
# TODO 10.1: "a", "b", "c" or "d"
### BEGIN SOLUTION
guess = "b"
### END SOLUTION
check.predict("10.1", guess)

# %% slideshow={"slide_type": "skip"}
index = metrics.squares(ends)
inside = index >= 0
away = torch.cdist(starts, starts).fill_diagonal_(9).topk(5, largest=False).indices  # five neighbours each
alike = (index[away] == index[:, None])[inside].float().mean()
filled = torch.stack([(index == k).float().mean() for k in range(8)])
print(f"in a square: {inside.float().mean():.0%}, each has {filled.min():.0%} to {filled.max():.0%}")
print(f"their neighbours that end in the same square: {alike:.0%}; mixed like sand it would be 12%")
check.truth("10.1", "c" if alike < 0.2 else "b")

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
side = choose(70, 8)
line = torch.linspace(-2.3, 2.3, side)
plane = torch.cartesian_prod(line, line)


def draw_map(left, right, f, title, stretch):
    """Left: the plane of noises by the square f sends them to; right: how much f stretches there."""
    show.scatter(left, plane, title, colour=colour(f(plane)), size=choose(9, 60), limit=2.3)
    pull = torch.cat([stretch(f, part) for part in plane.split(1225)]).reshape(side, side).T
    look = dict(origin="lower", extent=(-2.3, 2.3, -2.3, 2.3), cmap="magma", vmin=0, vmax=3.5)
    picture = right.imshow(pull / 2**0.5, **look)
    right.set(xticks=[], yticks=[], title="how much it stretches")
    name = "stretch / $\\sqrt{2}$ (1: distances stay)"
    bar = right.figure.colorbar(picture, ax=right, extend="max", label=name, ticks=range(4))
    bar.ax.axhline(1, color="white", linewidth=2)

# %% [markdown] exercise_text="10.2" slideshow={"slide_type": "slide"}
# Nearly every noise has a square, so there are no empty places in the plane of noises, and **a** is out. Nearly all neighbours share theirs, and this excludes the sand of **c**: the walk is continuous, as each of its steps is, and it is not steep in most places. The picture below the next exercise excludes rings.
#
# For a network the borders will be the hard part. Two noises on the two sides of a border start close together and end in different squares. The map has to pull them apart. How much it stretches at a place is in its derivative, the matrix $J=\partial f/\partial x$ of $f$: a small step $d$ in the noise becomes the step $J\,d$ in the data.
#
# PyTorch can compute $J\,d$ for one direction $d$ without the whole matrix, in about the time of two evaluations of $f$. This is called a **Jacobian-vector product**. `torch.func.jvp(f, (x,), (d,))` returns two tensors: $f(x)$ and $J\,d$, both for every example of the batch. Section 7 needs the same function.
#
# ### Exercise 10.2: how much does a map stretch?
#
# Write `stretch(f, x)`: for every point of `x`, shape (B, d), the root of the sum of all squared entries of $J$, shape (B,). `f` treats each point of the batch by itself. The first column of $J$ is $J\,d$ for $d=(1,0,\dots)$, and so on. To read the numbers later: a map of the plane that leaves all distances as they are has a stretch of $\sqrt2\approx1.4$, because its $J$ has two columns of length 1.
#
# Difficulty: ●●○○○ · 10 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# One direction for each coordinate. A direction has the shape of `x`: zeros, and a one in the column of that coordinate. Sum the squares of what comes back over dimension 1.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# In a loop over `i in range(x.shape[1])`: `d = torch.zeros_like(x)`, `d[:, i] = 1`, then `_, column = torch.func.jvp(f, (x,), (d,))`. The square root comes last, after the sum over all columns.
#
# </details>
#
# <!--slide 2 min
# ## Inside a region the map is gentle, at some borders it is steep
#
# Left: noises, coloured by where 50 steps end. Right: how much the map stretches.
#
# > Why are some borders dimmer and others very bright?
#
# Notes:
# Say: a line separates noises that start as neighbours and end in different squares. Squares that lie diagonally touch at a corner, and their border is dimmer. Squares of one row or column have an empty one between them, and there the map has to stretch most.
# Ask: what will a student draw for a noise on a very bright line, if it cannot be so steep? (Something between two squares. These are the points that fall outside.)
# Exercise: 10.2, `stretch`, belongs here (10 minutes, or at home).
# Answers 10.1.
# -->

# %% exercise="10.2" slideshow={"slide_type": "skip"}
def stretch(f, x):
    """How much f stretches at each point of x (B, d): root of the sum of all squared derivatives, (B,)."""
    # TODO 10.2: one Jacobian-vector product for each coordinate
    ### BEGIN SOLUTION
    total = torch.zeros_like(x[:, 0])
    for i in range(x.shape[1]):
        d = torch.zeros_like(x)
        d[:, i] = 1
        _, column = torch.func.jvp(f, (x,), (d,))
        total = total + column.square().sum(1)
    return total.sqrt()
    ### END SOLUTION


stretch = check("10.2", stretch)

# %% expected="10.2" tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
def fifty(x):
    return walk(x, choose(50, 3))


fig, (left, right) = plt.subplots(1, 2, figsize=(show.WIDTH, 4.3))
draw_map(left, right, fifty, "50 steps: noises by the square they reach", stretch)
alt = "Left: the plane of noises in eight coloured regions that meet at borders. Right: how much the map "
show.figure(fig, alt + "stretches: dark inside the regions, dimmer lines between them, four very bright.")

# %% [markdown] exercise_text="10.3" slideshow={"slide_type": "slide"}
# The plane is divided into eight regions, and each is squeezed into one square. The two squares in the middle of the board get the small regions in the middle, the outer ones reach outwards without an end. The stretching is small inside and larger along the borders.
#
# The borders are not equally bright. Two squares that lie diagonally to each other touch at a corner, and the border between their regions is dimmer: a point can pass from one square to the other through the corner, without a gap. The border is very bright only between squares of the same row or column, because a light square lies between them. There two close noises have to be carried to the two sides of an empty square. (Grey dots on the left end outside all squares: even 50 steps do not get every border right.)
#
# ## 3. What should a student learn?
#
# We could walk from many noises, keep the ends, and train a network on the pairs (noise, end). This works, but each pair costs 50 evaluations before the first training step, and it uses nothing of what happens on the way.
#
# Song et al. (2023) had a better idea. Let the student $f(x_t,t)$ answer, at *any* point of *any* path, with the **end of that path**. We know two facts about the right answer without walking:
#
# 1. at the end of the path there is nothing left to do: $f(x_0,0)=x_0$, the **boundary condition**;
# 2. two points $x_t$ and $x_r$ of the same path have the same end: $f(x_t,t)=f(x_r,r)$. The student must be **consistent** along each path.
#
# If both hold, $f$ is right everywhere: start with fact 1 at the clean end and climb the path with fact 2, small stride by small stride.
#
# Which network can be $f$? The ones we have already give an estimate of $x_0$ from their output, in one of three ways (notebook 04):
#
# $$\text{eps: }\;\hat x_0=\frac{x_t-\sqrt{1-\bar\alpha_t}\;F}{\sqrt{\bar\alpha_t}},\qquad \text{x0: }\;\hat x_0=F,\qquad \text{v: }\;\hat x_0=\sqrt{\bar\alpha_t}\;x_t-\sqrt{1-\bar\alpha_t}\;F,$$
#
# where $F$ is the output. We keep this form and call $\hat x_0$ the student's answer $f$.
#
# ### Exercise 10.3: the boundary for nothing
#
# At $t=0$, where $\bar\alpha_0=1$: for which of the three does $f(x,0)=x$ hold with *any* weights?
#
# - **a** all three
# - **b** eps and v
# - **c** v only
# - **d** none: it has to be learned
#
# Difficulty: ●○○○○ · 2 minutes
#
# <details><summary>Hint</summary>
#
# Put $\bar\alpha_0=1$ into the three formulas. Where does $F$ drop out?
#
# </details>
# <!--slide 3 min
# ## The end of the path has two properties that cost nothing
#
# $f(x_t,t)$: the end of the path that goes through $x_t$
#
# 1. **boundary** $\;f(x,0)=x$
# 2. **consistency** $\;f(x_t,t)=f(x_r,r)\;$ for two points of the same path
#
# In words: at the end you are there; and all points of a path agree on where it ends.
#
# **Your turn:** exercise 10.3. For which form of the output does the boundary condition hold with any weights?
#
# $$\text{eps: }\frac{x_t-\sqrt{1-\bar\alpha_t}\,F}{\sqrt{\bar\alpha_t}}\qquad \text{x0: }F\qquad \text{v: }\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,F$$
#
# **a** all · **b** eps and v · **c** v only · **d** none
#
# Notes:
# Say: the alternative is to store pairs of noise and end: fifty evaluations for each. The two properties let a student learn from single strides.
# Ask: is property 2 enough without property 1? (No. A network that always answers the same satisfies it perfectly.)
# Exercise: 2 minutes.
# -->

# %% exercise="10.3" kind="predict" slideshow={"slide_type": "skip"}
# TODO 10.3: "a", "b", "c" or "d"
### BEGIN SOLUTION
guess = "b"
### END SOLUTION
check.predict("10.3", guess)

# %% slideshow={"slide_type": "skip"}
x, output = torch.randn(2, 1000, 2, generator=torch.Generator().manual_seed(2))
a = schedule.alpha_bar[0]
answers = {"eps": (x - (1 - a).sqrt() * output) / a.sqrt(), "x0": output}
answers["v"] = a.sqrt() * x - (1 - a).sqrt() * output
gaps = {name: (f0 - x).abs().max() for name, f0 in answers.items()}
show.table([[name, f"{gap:.1f}"] for name, gap in gaps.items()], ["output", "largest |f(x, 0) - x|"])
held = [name for name, gap in gaps.items() if gap == 0]
letters = {("eps", "x0", "v"): "a", ("eps", "v"): "b", ("v",): "c", (): "d"}
check.truth("10.3", letters[tuple(held)])

# %% slideshow={"slide_type": "skip"}
def end_of_path(model, x, t, schedule):
    """A student's answer f(x, t), (B, ..): its estimate of x_0. t: (B,) levels 0 .. T."""
    signal, sigma = my.at(schedule.alpha_bar, t, x).sqrt(), my.at(1 - schedule.alpha_bar, t, x).sqrt()
    return signal * x - sigma * model(x, t)  # from v; at t = 0 this is x itself

# %% [markdown] exercise_text="10.4" slideshow={"slide_type": "slide"}
# With eps and with v the boundary holds by itself. At the other end eps fails: at $t=T$ it divides by $\sqrt{\bar\alpha_T}$, which is nearly 0, and a student has to answer just there. So our students predict v, as their teachers do. This also means that a student can start with the teacher's weights.
#
# ## 4. Consistency distillation
#
# Fact 2 needs two points of the same path. Take a data point $x_0$, noise it to level $t$, and you are on *some* path of the teacher, though not on one that ends in $x_0$. The teacher knows how this path goes on: one DDIM step leads to the lower level $r$. Write $f_\theta$ for the student. The loss is
#
# $$\big\lVert f_\theta(x_t,t)-\mathrm{sg}\,f_\theta(\hat x_r,r)\big\rVert^2,\qquad \hat x_r=\text{one DDIM step of the teacher from }x_t .$$
#
# In words: the student should give the same end from the noisier point as from the cleaner one. The sign $\mathrm{sg}$ means **stop gradient**: the answer at $r$ is the target, and we treat it as a fixed number. Suppose the answer at $r$ is 1 and right, and the answer at $t$ is 0. With the stop gradient a training step moves the 0 towards the 1. Without it the step moves both equally, to 0.1 and 0.9 say: the loss falls faster, and what was right has become wrong.
#
# Three things keep the target honest: we stop its gradient, we give the network level $r$ (not $t$) when we ask for it, and $x_r$ lies on the path of $x_t$. These are the three safeguards of this loss, and exercise 10.10 removes one of them or makes another mistake.
#
# ### Exercise 10.4: the loss of a student
#
# Write `consistency_loss`. `end_of_path` is given, and so is what you know: `schedule.q_sample`, and `schedule.from_output(model(x, t), x, t, model.prediction)`, which gives `(eps, x0)`. Levels `t` and `r` are (B,), with `r` below `t`; `r` may be 0. Return one number for each example: the mean square over its dimensions, which may be (2,) or (1, 28, 28). As always, clamp the estimate, here the target, to -1 to 1. The target is the student's own answer one level down. Without the clamp, values outside this range could be copied upwards and grow. (Exercise 10.10 leaves the clamp out.)
#
# Then the cell below trains for about twenty seconds, with $r$ 50 levels below $t$. The student starts with the teacher's weights, and its samples come from the moving average of its own, as in notebook 04.
#
# Difficulty: ●●●○○ · 14 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Three parts: noise the data; let the teacher go from `t` to `r`; compare two answers of the student. A DDIM step without fresh noise mixes the two estimates for the new level, and `q_sample` does such a mix. Which parts must not carry a gradient?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# Below `with torch.no_grad():` stand `eps, clean = schedule.from_output(teacher(x_t, t), ...)`, then `x_r = schedule.q_sample(clean, r, eps)`, then `target = end_of_path(student, x_r, r, schedule).clamp(-1, 1)`. At the end `.square().flatten(1).mean(1)`.
#
# </details>
#
# <!--slide 4 min
# ## The teacher makes one step, the student must agree with itself
#
# $$\big\lVert f_\theta(x_t,t)-\mathrm{sg}\,f_\theta(\hat x_r,r)\big\rVert^2,\qquad \hat x_r=\text{one DDIM step of the teacher from }x_t$$
#
# In words: the student should give the same end from the noisier point as from the cleaner one.
#
# - the target has no gradient (sg), and is asked with its own level $r$, on the same path
# - for $r=0$ the target is $\hat x_0$ itself: there everything is anchored
#
# **Your turn:** exercise 10.4 `consistency_loss(student, teacher, schedule, x0, t, r, noise)`
#
# Notes:
# Say: one evaluation of the teacher and two of the student in each training step. No walk is ever made. The target has no gradient (sg), is asked with its own level, and lies on the same path. For r = 0 it is the estimate itself, which anchors everything.
# Ask: how does the knowledge of the end reach the top? (From below. First the lowest level becomes right, then the one above it agrees with it, and so on.)
# Exercise: 14 minutes. Common mistakes: the answer at r keeps its gradient, the student is told t where it stands at r, and the drawn x0 is used in place of the teacher's estimate.
# -->
#
# <!--slide 2 min
# ## One evaluation, and nearly the same squares
#
# Colours: the square in which the teacher's walk of 50 steps ends, from the same noise.
#
# Notes:
# Say: look at the distance, and less at the share in the squares. A heap where two dark squares meet has half of its points inside by chance. The colours match, so the student imitates the map and not only the distribution. The notebook prints how often its point lies in the teacher's square, where the teacher ends in one.
# Ask: where do the points between the squares come from? (From noises at the borders of the regions. The next picture shows it.)
# Answers 10.4.
# -->

# %% exercise="10.4" slideshow={"slide_type": "skip"}
def consistency_loss(student, teacher, schedule, x0, t, r, noise):
    """How much the student's ends from t and from r differ, (B,). x0, noise: (B, ..); t, r: (B,), r < t."""
    # TODO 10.4: noise the data, one step of the teacher, two answers of the student
    ### BEGIN SOLUTION
    x_t = schedule.q_sample(x0, t, noise)
    with torch.no_grad():
        eps, clean = schedule.from_output(teacher(x_t, t), x_t, t, teacher.prediction)
        x_r = schedule.q_sample(clean, r, eps)
        target = end_of_path(student, x_r, r, schedule).clamp(-1, 1)
    return (end_of_path(student, x_t, t, schedule) - target).square().flatten(1).mean(1)
    ### END SOLUTION


consistency_loss = check("10.4", consistency_loss)

# %% slideshow={"slide_type": "skip"}
def distil(model, schedule, x0, t, noise, y=None):
    """The loss for the training loop: r lies 50 levels below t, a twentieth of the way."""
    return consistency_loss(model, teacher, schedule, x0, t, (t - T // 20).clamp(min=0), noise)


def train_student(loss, steps, seed=1):
    run = Run(copy.deepcopy(teacher).requires_grad_(), lr=1e-3, ema_decay=0.99, seed=seed)
    path = train(run, schedule, board, steps, batch_size=256, loss=loss)
    for _ in show.progress(path, total=steps, label="student"):
        pass
    return run.ema.model


small = train_student(distil, choose(1200, 20))

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
def leap(x, model=None):
    """One evaluation of a student at the top, from noise x (B, 2)."""
    return end_of_path(small if model is None else model, x, torch.full((len(x),), T), schedule)


fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 4.2))
clouds = {"teacher, 1 step": walk(starts, 1), "student, 1 step": leap(starts)}
clouds["teacher, 50 steps"] = ends
for ax, (title, x) in zip(axes, clouds.items(), strict=True):
    scatter_coloured(ax, x, tints, title)
alt = "Three clouds of points: the teacher's one step is a heap, the student's one step shows eight squares "
show.figure(fig, alt + "with stray points between them, the teacher's 50 steps eight clean squares.")
same = (metrics.squares(leap(starts)) == index)[inside].float().mean()
print(f"of the noises whose walk ends in a square, the student sends {same:.0%} to the same square")

# %% [markdown] slideshow={"slide_type": "slide"}
# The colours are still those of the teacher's walk, and in the middle picture they lie where they belong. The student mostly goes to the square where the teacher would have gone from the same noise. So it imitates the teacher's map, and not only its distribution.
#
# What about the points between the squares? Here is the student's map beside its stretching, drawn like the teacher's above.
# <!--slide 2 min
# ## The student's map is less steep, so some points fall between
#
# Grey on the left: noises that the student sends outside all squares.
#
# Notes:
# Say: same scale as before. The lines are broader and less bright than the teacher's. Both maps are continuous, and neither jumps. One likely reason: fifty evaluations in a row can be much steeper than one. The short training may have a part in it.
# Ask: would a larger network help? (It could be steeper, and then fewer points would fall between the squares. This is not measured here.)
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, (left, right) = plt.subplots(1, 2, figsize=(show.WIDTH, 4.3))
draw_map(left, right, leap, "student: noises by the square they reach", stretch)
alt = "The student's map: eight regions as the teacher's, with broad grey seams and grey corners. Right: "
show.figure(fig, alt + "its stretching, lines along the borders that are less bright than the teacher's.")

# %% [markdown] exercise_text="10.5" slideshow={"slide_type": "slide"}
# The regions are much the same, but more of the plane is grey than with the teacher: noises that the student sends outside all squares. There are broad seams along the borders, and also two corners of the plane, where noises are rare (they were partly grey with the teacher already). On the right, on the same scale, its lines are broader and dimmer than the teacher's, and two long diagonal ones have nearly vanished. So a noise near a bright border lands somewhere between the two squares. One likely reason is that the teacher asks a network fifty times in a row. In each step the distance between two neighbours can grow a little, and the factors multiply, so its map can be much steeper than that of one evaluation. The short training may have a part in it. We did not separate the two.
#
# ## 5. Without a teacher?
#
# Do we need the teacher for the step from $t$ to $r$? There is a cheaper way to get two points: noise the same $x_0$ with the *same* noise to both levels. Song et al. (2023) call this consistency training. Such a pair does not lie on one path of the teacher exactly. But the average of $x_r$ over all pairs with the same $x_t$ is exactly one DDIM step of the exact denoiser:
#
# $$\mathbb E[x_r\mid x_t]=\sqrt{\bar\alpha_r}\;\mathbb E[x_0\mid x_t]+\sqrt{1-\bar\alpha_r}\;\mathbb E[\epsilon\mid x_t].$$
#
# In words: the mean of all these $x_r$ is the DDIM step of the exact denoiser. But the target is $f(x_r)$, and $f$ is not linear: the mean of $f(x_r)$ is not $f$ of the mean of the $x_r$. The two agree only as $r$ comes close to $t$, because then the $x_r$ scatter little around their mean, and over a small range $f$ is nearly linear. This scatter is proportional to $t-r$, and the bias of one stride to its square. Half the stride means twice as many strides with a quarter of the bias each, so half of it is left in all. With $r=\tfrac34t$ the target is biased, and more training does not mend that.
#
# This is why it helps to let $r$ climb. (The short training below keeps $r$ at three quarters of $t$.) **Easy consistency tuning** (Geng et al. 2024) starts with a trained network and pairs with $r=0$, and then lets $r$ climb towards $t$. At $r=0$ this is the loss that the network was trained with, up to a factor: $\lVert f-x_0\rVert^2=(1-\bar\alpha_t)\lVert F-v\rVert^2$. No teacher makes a step. (A teacher is still in it: here all students start from its weights.)
#
# Both points must have the same noise. The next exercise shows why.
#
# ### Exercise 10.5: the same noise, or not
#
# `noised_pair` gives two noisy versions of $x_0$ with one noise `z`, which is mixed from two independent ones. Change the noises, so that the two versions do not belong together any more, though each still has the right distribution for its level. What will a student draw in one step, if it is trained on these pairs? Set `why`.
#
# - **a** sharp squares: each level is still right by itself
# - **b** a heap in the middle: many different targets belong to one $x_t$, and the student can only learn their average
# - **c** noise: the loss cannot be made smaller
#
# Difficulty: ●●○○○ · 6 minutes
#
# <details><summary>Hint</summary>
#
# What does `z` still have in common with `fresh`, and what does `noise`? If $x_t$ is nearly pure noise, what does it say about an $x_r$ with another noise? In which squares do the targets of one such $x_t$ lie?
#
# </details>
#
# <!--slide 4 min
# ## Without a teacher: same data point, same noise
#
# $$\mathbb E[x_r\mid x_t]=\sqrt{\bar\alpha_r}\;\mathbb E[x_0\mid x_t]+\sqrt{1-\bar\alpha_r}\;\mathbb E[\epsilon\mid x_t]$$
#
# In words: on average the pair makes the exact denoiser's DDIM step.
#
# - easy consistency tuning: begin with $r=0$, the loss you know, then let $r$ climb towards $t$
# - far below $t$ the target is biased, as $f$ is not linear, and noisier
#
# **Your turn:** exercise 10.5, break the pair. One step then draws: **a** sharp squares · **b** a heap in the middle · **c** noise
#
# Notes:
# Say: this is the argument of notebook 02 once more. Regression on single pairs learns the average over the pairs. But it averages f at the points, and not the points: only for r close to t is this the same. So easy consistency tuning begins with r = 0, the loss you know, and lets r climb towards t.
# Ask: why not keep r = 0 for ever? (Then the target is x0 itself, the loss is the denoising loss, and one leap is the average of all ends.)
# Exercise: 6 minutes, with a show of hands for the letter.
# -->

# %% exercise="10.5" kind="break" slideshow={"slide_type": "skip"}
def noised_pair(x0, t, r, noise, fresh, schedule):
    """x0 (B, ..) at levels t and r, both (B,); noise, fresh: (B, ..), two independent standard normals."""
    # TODO 10.5: change the noises, so that the two do not belong together
    ### BEGIN SOLUTION
    # given: z = (noise + fresh) / 2**0.5  # a standard normal, too
    # given: return schedule.q_sample(x0, t, z), schedule.q_sample(x0, r, z)
    return schedule.q_sample(x0, t, noise), schedule.q_sample(x0, r, fresh)
    ### END SOLUTION


why = "b"  # "a", "b" or "c"
noised_pair = check.changed("10.5", noised_pair, why)

# %% [markdown] slideshow={"slide_type": "slide"}
# Now three short trainings, one with the teacher's step, one with the same noise and one with your pair. The cell with the picture takes a quarter of a minute or more.
#
# <!--slide 2 min
# ## The same noise, a teacher's step, or pairs that do not belong together
#
# Three students after the same short training.
#
# Notes:
# Say: left, the light squares begin to open. In the middle the colours have parted, and the patches are round. Right, with a noise of its own for the lower level, the student has never left the heap. Left and middle differ in stride and clamp too.
# Ask: is tuning without a teacher a bad idea, then? (No, this is a short training with a rough recipe, whose r stays far from t. Geng et al. get good pictures with it: there r climbs towards t.)
# Answers 10.5.
# -->

# %% slideshow={"slide_type": "skip"}
def pair_loss(pair):
    """The loss of consistency tuning for the training loop, with this pair; r = 3/4 of t."""
    g = torch.Generator().manual_seed(3)

    def loss(model, schedule, x0, t, noise, y=None):
        r, fresh = 3 * t // 4, torch.randn(x0.shape, generator=g)
        x_t, x_r = pair(x0, t, r, noise, fresh, schedule)
        with torch.no_grad():
            target = end_of_path(model, x_r, r, schedule)
        return (end_of_path(model, x_t, t, schedule) - target).square().mean(1)

    return loss


def same_noise(x0, t, r, noise, fresh, schedule):
    return schedule.q_sample(x0, t, noise), schedule.q_sample(x0, r, noise)

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
short = choose(500, 10)
losses = {"a teacher's step": distil, "the same noise": pair_loss(same_noise)}
losses["your pair: another noise"] = pair_loss(noised_pair)
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 4.2))
for ax, (title, loss) in zip(axes, losses.items(), strict=True):
    scatter_coloured(ax, leap(starts, train_student(loss, short)), tints, title)
alt = "One step of three students after a short training: rough squares with a teacher's step, round patches "
show.figure(fig, alt + "that touch with the same noise, a heap in the middle with another noise.")

# %% [markdown] exercise_text="10.6" slideshow={"slide_type": "slide"}
# All three students were trained for 500 steps only. With the teacher's step the light squares begin to open. With the same noise the colours have parted, but the patches are round and touch each other. These two recipes also differ in stride and clamp, so the picture does not say how much the teacher alone is worth. The second and the third differ in the noise only. With your pair, another noise for each level, the student has never left the heap. (About half of the middle of the board is dark, so look at the distance and not at the share.)
#
# ## 6. More steps with a student
#
# A student can also be asked more than once. Can the second leap mend what the first one got wrong? To try it we have to go back up from its answer: we put noise in again, and ask at a lower level.
#
# There are two candidates for this noise. We could keep the noise that we started with, or draw a fresh one. You know both, from exercise 5.2. There, keeping it gave the DDIM step, and drawing it anew lost information, because part of what the walk has found is in the noise. For a student it is the other way round. DDIM keeps the old noise because its estimate is an unfinished average. The student's answer is already a finished picture, so we noise it as we noise any training picture. And the old noise does harm: the answer is a *function* of it, while the student was trained on pictures whose noise was drawn independently of the picture.
#
# How high do we go back up? With evenly spread levels the first return goes up to level 500 for two evaluations, to 750 for four, and to 875 for eight. The higher, the more of the first answer is forgotten.
#
# ### Exercise 10.6: the student in several steps
#
# Write `draw_few`. `f(x, t)` answers with the ends for a batch at one level `t`, a whole number. `levels` are those at which it is asked, falling from $T$; `fresh` is a list with one noise for each level but the first. Return the last answer.
#
# Difficulty: ●●○○○ · 8 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Ask at the first level. Then, for each further level: noise the answer to this level, and ask there.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `x0 = f(x, levels[0])`, then `for t, z in zip(levels[1:], fresh):` with `schedule.q_sample(x0, t, z)` in it.
#
# </details>
# <!--slide 3 min
# ## Ask again: noise the answer, and leap again
#
# $$x_0 = f(x_T,T)\;\to\; x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,z\;\to\; x_0=f(x_t,t)\;\to\dots$$
#
# In words: take the answer, put noise on it, ask again at the lower level.
#
# **Your turn:** exercise 10.6 `draw_few(f, x, levels, fresh, schedule)`
#
# > Must $z$ be fresh, or could we put the old noise back?
#
# Notes:
# Say: this is the step of exercise 5.2, all noise fresh. For the network of 04 it was bad, because its answer was an average.
# Ask: what is wrong with the old noise? (The answer is a function of it. The student was trained on noise that is independent of the picture.)
# Exercise: 8 minutes. Common mistakes: returning the noised x, and noising x in place of the answer.
# -->

# %% exercise="10.6" slideshow={"slide_type": "skip"}
def draw_few(f, x, levels, fresh, schedule):
    """A student's ends (B, ..) from noise x; levels: where it is asked; fresh: noises (B, ..), one fewer."""
    # TODO 10.6: ask; for each further level noise the answer and ask again
    ### BEGIN SOLUTION
    x0 = f(x, levels[0])
    for t, z in zip(levels[1:], fresh, strict=True):
        x = schedule.q_sample(x0, t, z)
        x0 = f(x, t)
    return x0
    ### END SOLUTION


draw_few = check("10.6", draw_few)

# %% tags=["slide-output"] slideshow={"slide_type": "fragment"}
def ask(x, t):
    return end_of_path(small, x, torch.full((len(x),), t), schedule).clamp(-1, 1)


g, rows = torch.Generator().manual_seed(5), []
floor = metrics.sliced_wasserstein(data.checkerboard(len(starts), seed=1)[0], board[: len(starts)])
for n in (1, 2, 4):
    levels, row = my.ddim_levels(T, n), [n]
    for kept in (False, True):
        fresh = [starts if kept else torch.randn(starts.shape, generator=g) for _ in levels[1:]]
        x = draw_few(ask, starts, levels, fresh, schedule)
        far = metrics.sliced_wasserstein(x, board[: len(x)])
        row += [f"{metrics.share_inside(x):.0%}", f"{far:.3f}"]
    rows.append(row)
rows.append(["real points", "100%", f"{floor:.3f}", "", ""])
header = ["evaluations", "fresh: in the squares", "distance", "old noise: in the squares", "distance"]
show.table(rows, header, "The student in the plane; distance: sliced Wasserstein, smaller is better")

# %% [markdown] exercise_text="10.7" slideshow={"slide_type": "slide"}
# With fresh noise the share inside hardly changes with further leaps, nor does the distance with the second. With four evaluations it falls, but not quite to that of real points. (One student, one seed: small differences say little.) With the old noise the share inside does not suffer, but the distance grows with every leap: the points are no longer spread over the board as the data are. `helpers.few_steps.consistency(n)` is your `draw_few` as a step rule, and section 9 shows what more steps do for digits.
#
# ## 7. MeanFlow: learn the average velocity
#
# Here is a second way, from the flows of notebook 09. On the straight path $x_s=(1-s)\,x_0+s\,\epsilon$ the network of 09 learned the velocity at a *moment*. As in the paper we call it $v(x_s,s)$ here (in 09 it was $u$), and $u$ is now an average; $r$ is a time, and not 09's ratio. A solver has to make many small steps because the velocity changes on the way. Geng et al. (2025) ask instead for the **average velocity** of the whole way from $s$ down to $r$:
#
# $$(s-r)\,u(x_s,r,s)=\int_r^s v(x_\tau,\tau)\,d\tau .$$
#
# In words: average velocity times time is the distance covered. With it one step is exact, $x_r=x_s-(s-r)\,u$, and one step from 1 to 0 is a sample. But which path is this? Not the straight line of one pair: on that line the velocity is the same everywhere, and $u=v$. It is the curved path that a solver walks, along the velocity that is averaged over all pairs through a point. We do not have this path. Can we train $u$ without it?
#
# Differentiate both sides with respect to $s$, along the path. On the left the product rule gives $u+(s-r)\frac{du}{ds}$, on the right the integral gives back what is under it, $v(x_s,s)$. So
#
# $$u=v-(s-r)\,\frac{du}{ds} .$$
#
# In words: the average velocity is the velocity now, minus a correction for how fast the average is changing. No integral is left. And $du/ds$ is a Jacobian-vector product. When $s$ moves by one unit along the path, $x$ moves by $v$, $r$ stays where it is, and $s$ moves by 1. That is the direction $(v,\,0,\,1)$, in the order of the arguments $(x,r,s)$.
#
# ### Exercise 10.7: the loss of MeanFlow
#
# Write `mean_flow_loss`. `model(x, r, s)` answers with $u$; `r` and `s` are (B,) floats, $0\le r\le s\le1$. For $v$ we put in the velocity of the single pair, $\epsilon-x_0$, in place of the averaged one. Here this is allowed, also inside the derivative: the target is linear in $v$, so its mean over all pairs through $x_s$ is the right target. In section 5 single pairs were not allowed: the target there was $f(x_r)$, and $f$ is not linear. The target is the right-hand side, with a stop gradient. Return (B,), the mean square over the dimensions.
#
# Difficulty: ●●●●○ · 14 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# `torch.func.jvp(model, (x, r, s), (.., .., ..))` returns $u$ and $du/ds$ together. Each direction has the shape of its argument. `r` and `s` are (B,), and the velocity is (B, 2): give `s - r` another dimension.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# The directions are `v`, `torch.zeros_like(r)`, `torch.ones_like(s)`. The target is `v - (s - r)[:, None] * change`, then `.detach()`; compare it with the first of the two tensors.
#
# </details>
#
# <!--slide 4 min
# ## Average velocity: one step is exact, if you know it
#
# $$(s-r)\,u(x_s,r,s)=\int_r^s v(x_\tau,\tau)\,d\tau\qquad\Rightarrow\qquad u=v-(s-r)\,\frac{du}{ds}$$
#
# In words: average velocity times time is the way. Differentiated: the average is the velocity now, minus a correction for how fast the average changes.
#
# - $du/ds$ goes along the path: $x$ moves by $v$, $r$ stays, $s$ moves by 1
# - `torch.func.jvp(model, (x, r, s), directions)` gives $u$ and $du/ds$ in one call; the directions are $v$, zeros and ones, each shaped like its argument
#
# **Your turn:** exercise 10.7 `mean_flow_loss(model, x0, r, s, noise)`
#
# Notes:
# Say: the integral has gone, and with it the need to know the path. What is left is a derivative in one direction.
# Ask: what does the loss become for r = s? (The correction vanishes, and the target is v: flow matching, notebook 09.)
# Exercise: 14 minutes. Common mistakes: the direction of x is forgotten, so the derivative is not along the path; the sign; no stop gradient.
# -->

# %% exercise="10.7" slideshow={"slide_type": "skip"}
def mean_flow_loss(model, x0, r, s, noise):
    """MeanFlow's loss, (B,). model(x, r, s) -> u (B, 2); x0, noise: (B, 2); r, s: (B,), 0 <= r <= s <= 1."""
    # TODO 10.7: the point on the straight path, u and du/ds by one jvp, the target
    ### BEGIN SOLUTION
    x = (1 - s)[:, None] * x0 + s[:, None] * noise
    v = noise - x0
    u, change = torch.func.jvp(model, (x, r, s), (v, torch.zeros_like(r), torch.ones_like(s)))
    target = (v - (s - r)[:, None] * change).detach()
    return (u - target).square().mean(1)
    ### END SOLUTION


mean_flow_loss = check("10.7", mean_flow_loss)

# %% [markdown] slideshow={"slide_type": "slide"}
# The network is the one of notebook 02, told two numbers: $s$ and the length $s-r$ of the way. For a half of the examples we take $r=s$, so that it learns the velocity as well. (`timestep_embedding(t, dim, max_period)` turns a time into `dim` sines and cosines, as in notebook 03; times between 0 and 1 are first multiplied by 30, and 100 replaces the usual slowest period of 10,000, as our times are small.) Its blocks and Fourier features are those of 02, and only the two clocks are new. Each example is weighted by $1/(\text{loss}+0.3)$, so that a few large errors do not rule the gradient. The weights help training, but the answer is then no longer exactly the mean, as a target far from the others counts for less. Further exercise 4 compares weights. The network starts from nothing, without a teacher, and trains for about half a minute.
#
# <!--slide 2 min
# ## One network, asked for a moment or for the whole way
#
# Notes:
# Say: all four clouds come from the MeanFlow network. With the velocity of the moment one step lands on the heap, with the average velocity it goes most of the way to the squares. No teacher was needed.
# Ask: why do two steps help, if one is exact? (It is exact for the right u. The network has learned it approximately, and best for short ways.)
# Answers 10.7.
# -->

# %% slideshow={"slide_type": "skip"}
silu = torch.nn.functional.silu


class MeanVelocity(PointMLP):
    """PointMLP that is told s and s - r: (B, 2), r (B,), s (B,) to (B, 2)."""

    def forward(self, x, r, s):
        clocks = [timestep_embedding(30 * moment, self.time_dim // 2, 100.0) for moment in (s, s - r)]
        emb = self.time(torch.cat(clocks, dim=1))
        h = self.enter(torch.cat([x, self.fourier(x)], dim=1))
        for one, two in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            h = h + two(silu(one(silu(h + emb))))
        return self.leave(silu(h))


def draw_times(n, g):
    """r <= s, both (n,), uniform in 0 .. 1; equal in half of the cases."""
    s, r = torch.rand(2, n, generator=g).sort(0, descending=True).values
    return torch.where(torch.rand(n, generator=g) < 0.5, s, r), s

# %% slideshow={"slide_type": "skip"}
torch.manual_seed(0)
run, g = Run(MeanVelocity(), lr=3e-3, ema_decay=0.99), torch.Generator().manual_seed(0)
steps = choose(1600, 20)
for step in show.progress(range(steps), label="MeanFlow"):
    run.optimizer.param_groups[0]["lr"] = learning_rate(step, steps, run.lr)
    x0 = board[torch.randint(len(board), (256,), generator=g)]
    r, s = draw_times(256, g)
    losses = mean_flow_loss(run.model, x0, r, s, torch.randn(x0.shape, generator=g))
    loss = (losses / (losses.detach() + 0.3)).mean()
    run.optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    run.optimizer.step()
    run.ema.update(run.model)
mean_velocity = run.ema.model

# %% slideshow={"slide_type": "skip"}
def glide(x, steps):
    """From noise x (B, 2) down to the data in so many steps of the average velocity."""
    for i in range(steps, 0, -1):
        s, r = torch.full((len(x),), i / steps), torch.full((len(x),), (i - 1) / steps)
        x = x - mean_velocity(x, r, s) / steps
    return x


def one_moment(x):
    """One step with the velocity at s = 1 alone (r = s): flow matching's one leap."""
    top = torch.ones(len(x))
    return x - mean_velocity(x, top, top)


# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
tints_flow = colour(glide(starts, choose(50, 4)))
clouds = {"velocity now, 1 step": one_moment(starts), "average velocity, 1 step": glide(starts, 1)}
clouds |= {"2 steps": glide(starts, 2), "50 steps": glide(starts, choose(50, 4))}
fig, axes = plt.subplots(1, 4, figsize=(show.WIDTH, 3.2))
for ax, (title, x) in zip(axes, clouds.items(), strict=True):
    scatter_coloured(ax, x, tints_flow, title)
    ax.title.set_fontsize(11)
alt = "Four clouds of one network: with the velocity at one moment a heap; the average velocity "
show.figure(fig, alt + "gives patches joined by stray points in one step, in 50 eight heaps in the squares.")

# %% [markdown] slideshow={"slide_type": "slide"}
# All four pictures come from one network. On the left it is asked for the velocity of a moment, and the one step lands on the heap: this is flow matching's leap. In the second picture it is asked for the average velocity of the whole way, and the same single step goes most of the way to the squares. Look at the distances: the heap has many of its points in the squares, as it lies where two dark squares meet, but its distance is far larger than that of the other three.
#
# With more steps the distance gets smaller, though the points still crowd together in parts of their squares. The training was short, and the weights may play a part in it.
#
# ## 8. Four ways to shorten a walk
#
# Two more methods belong to the family. You have met **reflow** in 09 (Liu et al. 2023): walk from many noises, keep the pairs of noise and end, and train a new flow on the straight lines between them. The new paths are nearly straight, so fewer steps suffice. **Progressive distillation** (Salimans and Ho 2022) trains a student whose one step does what two steps of its teacher do. Then the student becomes the teacher, and the number of steps halves again: 64, 32, 16, and so on down to one.
# <!--slide 3 min
# ## Four ways to shorten a walk
#
# Notes:
# Say: consistency: every point of a path learns its end. Average velocity: every pair of points learns the straight connection. Progressive distillation: one step learns two, again and again. Reflow: the paths themselves are made straight.
# Ask: which of the four need a teacher? (Progressive distillation and reflow do; consistency can do with or without, and so can MeanFlow.)
# -->

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
way = torch.linspace(0, 1, 100)
bend = (1 - (1 - way) ** 2).sqrt()  # one curved path, from data (left) to noise (right)
arrow = dict(arrowstyle="->", color=show.COLOUR["model"], linewidth=1.8)
ways = {"consistency": [(99, 0), (66, 0), (33, 0)], "average velocity": [(99, 0), (99, 33), (66, 0)]}
ways |= {"progressive distillation": [(99, 50), (50, 0)], "reflow": []}
spots = dict.fromkeys(ways, [0, 33, 66, 99]) | {"progressive distillation": [0, 50, 99], "reflow": [0, 99]}

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 4, figsize=(show.WIDTH, 2.9), sharey=True)
for ax, (title, leaps) in zip(axes, ways.items(), strict=True):
    ax.plot(way, bend, color=show.COLOUR["data"], linewidth=2, alpha=0.3 if title == "reflow" else 1)
    ax.plot(way[spots[title]], bend[spots[title]], "o", color="black", markersize=5)
    for a, b in leaps:
        ax.annotate("", (way[b], bend[b]), (way[a], bend[a]), arrowprops=arrow)
    if title == "reflow":
        ax.plot([0, 1], [0, 1], color=show.COLOUR["model"], linewidth=2)
    ax.set(xticks=[0, 1], yticks=[], title=title, xlim=(-0.1, 1.1))
    ax.set_xticklabels(["clean", "noise"])
    ax.title.set_fontsize(12)
axes[0].set_ylabel("a coordinate of the point")
alt = "One curved path four times. Arrows from each point to the end; arrows between any two points; "
show.figure(fig, alt + "two arrows, each over half of the path; and the path replaced by a straight line.")

# %% [markdown] exercise_text="10.8" slideshow={"slide_type": "slide"}
# Each curve is a path from noise to data, and the black dots are some of its points. Each orange arrow is something that a network learns to do in one evaluation. Consistency always leaps to the end. The average velocity connects any two points of a path. Progressive distillation doubles the stride in every round: the picture shows the round with two steps left, and the next one replaces both by one. Reflow has no arrows: its network learns the velocity along a new path, in orange.
#
# ## 9. Digits
#
# Now the digits of the beginning. The student has the architecture of notebook 04's network, and started with its weights. Its teacher is better than the network of 04: it is the autoguided pair of notebook 06, two networks that draw clearer digits together. So the student also learns the guidance, in one evaluation.
#
# The loss is your `consistency_loss` with three refinements. The levels lie on a grid of <!--r:few_steps.recipe.pairs|d-->24<!--/-->, each paired with the one below it. The target is asked of the student's moving average, which is steadier than the student. And large errors count by their size and not by their square. The training took <!--r:few_steps.training.minutes|.0f-->26<!--/--> minutes on one CPU core.
#
# What does the student lose? One thing is hard to see in a grid of 64 pictures. It may have stopped drawing some kinds of digits. A common measure for this is **recall** (Kynkäänniemi et al. 2019): which share of the real pictures lies within the reach of the samples? It works on features, the 64 numbers that a classifier makes of each picture (notebook 04). Around each sample we draw a ball that reaches to its third-nearest other sample. A real picture is reached if it lies in at least one ball.
#
# ### Exercise 10.8: reach
#
# Write `recall`. `real` is (N, d) and `made` (M, d), features in both cases. The ball around a made picture has as radius the distance to its `k`-th nearest *other* made picture. Return the share of real pictures that lie inside at least one ball or on its border, a tensor with one number.
#
# Difficulty: ●●●○○ · 10 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# `torch.cdist(a, b)` gives the distances of all pairs, (len(a), len(b)). In `torch.cdist(made, made)` the nearest to each is the sample itself, at distance 0. Which smallest entry of a row is then the radius?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `torch.cdist(made, made).kthvalue(k + 1, dim=1).values` are the M radii. `torch.cdist(real, made) <= radius` compares each column with its own radius, (N, M); `.any(1)` asks for at least one.
#
# </details>
#
# <!--slide 3 min
# ## Has the student stopped drawing some digits?
#
# **Recall:** the share of real pictures within reach of the samples.
#
# - features of each picture, from a classifier
# - around each sample a ball, up to its third-nearest other sample
# - reached: a real picture in at least one ball
#
# **Your turn:** exercise 10.8 `recall(real, made, k=3)`
#
# Notes:
# Say: a distance such as Frechet's mixes two faults, bad pictures and missing pictures. Recall is meant to ask for the second alone.
# Ask: how could a bad generator get a high recall? (By samples that lie far apart: their balls are large. So recall is read beside the distance.)
# Exercise: 10 minutes. Common mistakes: the sample itself counted as its own first neighbour, and the roles exchanged, which is the measure called precision.
# -->

# %% exercise="10.8" slideshow={"slide_type": "skip"}
def recall(real, made, k=3):
    """The share of real features (N, d) in at least one ball around made features (M, d), a tensor ()."""
    # TODO 10.8: a radius for each made picture, then who is inside
    ### BEGIN SOLUTION
    radius = torch.cdist(made, made).kthvalue(k + 1, dim=1).values  # the nearest is the sample itself
    return (torch.cdist(real, made) <= radius).any(1).float().mean()
    ### END SOLUTION


recall = check("10.8", recall)

# %% [markdown] exercise_text="10.9" slideshow={"slide_type": "slide"}
# ### Exercise 10.9: the same noise, the same digit?
#
# We draw a digit with DDIM in 50 steps from some noise, by the network of 04. From the same noise the student draws one, once in one evaluation and once in four. How often is the student's digit of the same class, as our judge reads it?
#
# - **a** in four evaluations more often than in one: more evaluations come closer to the walk
# - **b** in four evaluations less often than in one
# - **c** equally often, up to two in a hundred
#
# Difficulty: ●●○○○ · 3 minutes
#
# <details><summary>Hint</summary>
#
# What do the three further evaluations of `draw_few` begin with?
#
# </details>
#
# <!--slide 2 min
# ## The same noise, the same digit?
#
# From one noise: DDIM in 50 steps by the network of 04, and the student in one evaluation and in four.
#
# **Your turn:** exercise 10.9. How often is the student's digit of the same class as that of the walk?
#
# **a** in four evaluations more often than in one · **b** less often · **c** equally often
#
# Notes:
# Say: commit yourselves before the table is shown. Quality is another matter: the share read with confidence rises from one evaluation to four.
# Ask: what did exercise 5.2 say about the noise that a walk throws away? (The old noise carries which digit it will be. Fresh noise forgets it.)
# Exercise: 3 minutes, a show of hands.
# -->
#
# <!--slide 3 min
# ## More evaluations: better digits, less agreement with the walk
#
# Same class as the walk from the same noise: <!--r:few_steps.agree.1.mean|.0%-->78%<!--/--> with one evaluation, <!--r:few_steps.agree.4.mean|.0%-->63%<!--/--> with four. (*precision*: samples near a real picture; *diversity*: how far apart digits of a class are)
#
# Notes:
# Say: compare with the guess of the first slide: <!--r:few_steps.quality.student.1.confident.mean|.0%-->81%<!--/--> of the digits from one evaluation are read with confidence. Read the rows from top to bottom. The distance falls and the share read with confidence rises from one evaluation to four, while fewer digits agree with the walk from the same noise.
# Ask: is the good result due to the training or to the rule? (To the training: the row with the network of 04 and the same four leaps is far worse.)
# Say: recall falls, but real pictures reach <!--r:few_steps.real.recall|.0%-->89%<!--/-->, so it proves no loss. The diversity within a class is lowest for one evaluation and rises with each further leap. It is taken pixel by pixel, so greyer strokes may be a part of it.
# Answers 10.8, 10.9.
# -->

# %% exercise="10.9" kind="predict" slideshow={"slide_type": "skip"}
# TODO 10.9: "a", "b" or "c"
### BEGIN SOLUTION
guess = "b"
### END SOLUTION
check.predict("10.9", guess)

# %% slideshow={"slide_type": "skip"}
saved, samplers = load_results("few_steps"), load_results("samplers")
quality, agree = saved["quality"], {n: row["mean"] for n, row in saved["agree"].items()}
rows = [[n, f"{share:.0%}"] for n, share in agree.items()]
show.table(rows, ["student's evaluations", "same class as the walk from the same noise"])
more = agree["4"] - agree["1"]
check.truth("10.9", "c" if abs(more) <= 0.02 else "a" if more > 0 else "b")

# %% tags=["hide-input", "slide-output"] slideshow={"slide_type": "-"}
forms = {"distance": ".1f", "confident": ".1%", "recall": ".1%", "precision": ".1%", "diversity": ".3f"}


def words(scores):
    """Mean and spread over the seeds of each score, as text."""
    spread = {key: scores[key]["std"] or 0 for key in forms}
    return [f"{scores[key]['mean']:{form}} ± {spread[key]:{form}}" for key, form in forms.items()]


rows = [[f"student, {n}", *words(scores)] for n, scores in quality["student"].items()]
rows.append(["network of 04, the same 4 leaps", *words(quality["alone"]["4"])])
rows.append(["network of 04, 50 DDIM steps", *words(quality["ddim"]["50"])])
rows.append(["guided teacher, 24 steps (48 evaluations)", *words(quality["guided"]["24"])])
known = {"distance": saved["floor"]["mean"], **saved["real"]}
rows.append(["real pictures", *[f"{known[k]:{form}}" if k in known else "" for k, form in forms.items()]])
header = ["network, evaluations", "distance", "confident", "recall", "precision", "diversity"]
caption = f"{saved['scoring']['samples']:,} digits, mean and spread of the seeds; distance: Frechet"
show.table(rows, header, caption)

# %% [markdown] slideshow={"slide_type": "slide"}
# More evaluations, less agreement: from one noise the student's first leap mostly ends in the class of the walk, and each further leap begins with fresh noise, which forgets some of it. The digits get better all the same.
#
# Look at the second table. In one evaluation <!--r:few_steps.quality.student.1.confident.mean|.0%-->81%<!--/--> of the student's digits are read with confidence. In four its distance is <!--r:few_steps.quality.student.4.distance.mean|.1f-->5.5<!--/-->, where the network of 04 has <!--r:few_steps.quality.ddim.50.distance.mean|.1f-->5.8<!--/--> after 50 steps: they differ by less than the spread of the seeds. The same four leaps with the network of 04, without distillation, come to <!--r:few_steps.quality.alone.4.distance.mean|.1f-->40.0<!--/-->: it is the training that makes the leaps good, and not the rule.
#
# And what is lost? Recall falls from <!--r:few_steps.quality.student.1.recall.mean|.0%-->92%<!--/--> with one evaluation to <!--r:few_steps.quality.student.8.recall.mean|.0%-->88%<!--/--> with eight. But real pictures, taken in place of the samples, reach <!--r:few_steps.real.recall|.0%-->89%<!--/--> (in one split), fewer than the student in one evaluation. So recall alone does not show that something was lost: scattered samples have large balls. The **precision**, the same measure with the roles exchanged, is the share of samples near a real picture: <!--r:few_steps.quality.student.1.precision.mean|.0%-->74%<!--/--> for the student in one evaluation, <!--r:few_steps.real.precision|.0%-->91%<!--/--> for real pictures.
#
# The **diversity** in the last column is the distance of two digits of a class, pixel by pixel (notebook 06). It is <!--r:few_steps.quality.student.1.diversity.mean|.2f-->0.57<!--/--> in one evaluation, <!--r:few_steps.quality.student.8.diversity.mean|.2f-->0.62<!--/--> in eight, and <!--r:few_steps.quality.ddim.50.diversity.mean|.2f-->0.63<!--/--> for the walk. So in one step the digits of a class are nearer to each other. In part this may be because their strokes are greyer, which also makes pixels differ less. No class has gone missing: with one evaluation the smallest has <!--r:few_steps.quality.student.1.smallest_class.mean|.1%-->7.6%<!--/--> of all digits, with the walk <!--r:few_steps.quality.ddim.50.smallest_class.mean|.1%-->8.1%<!--/-->.
#
# Now the same beside the samplers of notebook 05, over the number of evaluations.
# <!--slide 3 min
# ## One evaluation to four: where no solver gets
#
# Black: the student. Colours: the samplers of notebook 05 with the network of 04. Dashed grey: real pictures.
#
# Notes:
# Say: the samplers begin at four evaluations and need fifteen or twenty. The student begins at one.
# Ask: is this comparison fair? (In evaluations, yes. But the student had an extra training and a guided teacher, drawn as a star.)
# -->

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
labels = {"distance": "Frechet distance (lower is better)", "confident": "share read with confidence"}
curves = {"student": (quality["student"], show.BLACK, 3)}
for name, text in (("ddim", "DDIM"), ("dpm", "DPM-Solver++"), ("fresh", "DPM-Solver++ with fresh noise")):
    curves[text] = samplers["quality"][name], show.COLOUR[name], 1.5
guided = quality["guided"]  # the student's teacher, at its own number of steps


def draw_curve(ax, key, label):
    scores, tint, width = curves[label]
    means, bars = ([row[key][part] or 0 for row in scores.values()] for part in ("mean", "std"))
    ax.errorbar([int(n) for n in scores], means, bars, marker="o", color=tint, label=label, linewidth=width)

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 4.4))
for ax, key in zip(axes, labels, strict=True):
    for label in curves:
        draw_curve(ax, key, label)
    for n, row in guided.items():  # two networks: twice the evaluations
        look = dict(ms=15, mfc="none", mew=2, color=show.BROWN, label="the student's teacher")
        ax.errorbar(2 * int(n), row[key]["mean"], row[key]["std"], fmt="*", zorder=5, **look)
    ax.axhline(known[key], color="0.5", linestyle="--", label="real pictures")
    ax.set(xscale="log", xlabel="evaluations", title=labels[key])
    ax.set_xticks([1, 2, 4, 8, 20, 50], [1, 2, 4, 8, 20, 50])
axes[0].set(yscale="log", yticks=[3, 6, 10, 20, 40], yticklabels=[3, 6, 10, 20, 40])
axes[0].minorticks_off(), axes[1].minorticks_off()
fig.legend(*axes[1].get_legend_handles_labels(), ncols=3, loc="outside lower center", fontsize=11)
alt = "Distance and share read with confidence over evaluations. The student's curve begins at one, far "
show.figure(fig, alt + "ahead of the samplers of notebook 05, whose curves begin at four.")

# %% [markdown] slideshow={"slide_type": "skip"}
# The black curve begins at one evaluation, where the samplers of 05 draw a blur, and at four its distance lies between those of the best of them with 20 and with 50. In legibility it is then level with the best of them with 50: the difference is smaller than the spread. Its guided teacher, the star, is about as legible as the student with eight, and more than the samplers of 05. The comparison is fair in evaluations only: the student had a training of its own and a better teacher.
#
# Here are the same eight noises in 1, 2, 4 and 8 evaluations. Follow a column from top to bottom. When does it become another digit?

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
rows = {f"student, {n}": draw(student, consistency(n), noise[8:16]) for n in choose((1, 2, 4, 8), (1, 2))}
alt = "One noise a column, the student in 1, 2, 4 and 8 evaluations: strokes mostly get cleaner by row, "
show.rows(rows, alt + "and some columns become another digit.", title="The same noises, more evaluations")

# %% [markdown] exercise_text="10.10" slideshow={"slide_type": "slide"}
# In most columns the strokes get cleaner from row to row, though not in every one. Most columns keep their digit for two evaluations, fewer for four, and in the last row hardly one is the digit of the first.
#
# And the time? In distance and in legibility, one evaluation of the student is about where DDIM is at 15. Both networks have the same architecture, so the time depends on the number of evaluations. In seconds: on two cores that do nothing else, the fastest of 20 runs of 64 digits in one evaluation took <!--r:few_steps.seconds.bf16.1|.2f-->0.04<!--/--> s.
#
# ## 10. Which line is wrong?
#
# A student learns from its own answers. So a small loss can mean two things: it is right, or it has made its target easy. You cannot find a mistake from the loss alone. Below is one training step, for pictures. One line is wrong. Which one it is depends on your seed.
#
# `model` is the network of notebook 04, at the moment when the student is still equal to its teacher, `f` is `end_of_path`, and `teacher_step(model, x, t, r, schedule)` makes one DDIM step from `x` at level `t` to level `r`, without a gradient. `draw()` gives standard normal noise, a new one each time it is called. The pictures show $x_t$, $x_r$, the target, and the student's answer.
#
# ### Exercise 10.10: one line is wrong
#
# Find the line, and write its number into the second cell.
#
# Difficulty: ●●●○○ · 9 minutes
#
# <details><summary>Hint</summary>
#
# How noisy should $x_r$ be, and which noise should be in it? What does the network need to be told about $x_r$? And what carries a gradient?
#
# </details>
#
# <!--slide 3 min
# ## Which line is wrong?
#
# Notes:
# Say: one step of a training, on pictures. A small loss can mean that the student is right, or that its target has become easy. So measure something else.
# Ask: what would you measure first? (In a right program $x_t$ has a standard deviation of 0.99, $x_r$ 0.86, the target 0.49, the answer 0.38, and the loss is 0.055. Line 2: $x_r$ **1.00**. Line 3: $x_t$ **0.88**. Line 4: $x_r$ **0.99** where the teacher was asked at r; or a noise in $x_r$ that is not that of $x_t$, their correlation **-0.01** in place of 0.97. Line 5: target **0.38**; or a target with a gradient. Line 6: answer **0.52**. Line 7: only the loss is off, **0.216**.)
# Exercise: 9 minutes, in pairs; one seed for the class, or one for each pair.
# -->

# %% exercise="10.10" kind="hunt" tags=["slide-output"] slideshow={"slide_type": "-"}
check.hunt("10.10")

# %% kind="answer" of="10.10" slideshow={"slide_type": "skip"}
line = 5  # TODO 10.10: the number of the wrong line
check.found("10.10", line)

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ## 11. Try it (optional): one noise, one to eight evaluations
#
# Move the number of evaluations from 1 upwards, and watch a broken digit. Does it get mended, or does it become another digit? Then change the seed.

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
def compare(*settings):
    """A row of eight digits of the student for each (evaluations, seed)."""
    rows = {}
    for evaluations, seed in settings:
        x_T = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
        name = f"{evaluations} evaluation{'s' * (evaluations > 1)}, seed {seed}"
        rows[name] = draw(student, consistency(evaluations), x_T)
    show.rows(rows, "Eight digits of the student a row: " + "; ".join(rows))


compare((1, 3), (4, 3))

# %% tags=["optional"] slideshow={"slide_type": "skip"}
from helpers.sliders import sliders


def try_student(evaluations=1, seed=3):
    """Draw eight digits from the noise of `seed`."""
    compare((evaluations, seed))


sliders(try_student, evaluations=(1, 8), seed=(0, 10))

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# Last, a path through the noise, as in notebook 05. With the student each frame costs one evaluation.

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
a, b, frames = noise[:6], noise[8:14], []
for share in torch.linspace(0, 1, choose(16, 2)):
    share = float(torch.sin(share * torch.pi / 2) ** 2)
    frames.append(show.tiles(draw(student, consistency(1), my.blend(a, b, share)), columns=6))
alt = "Moving: six digits, each turning into another and back, every frame from a single evaluation."
show.gif(frames + frames[::-1], out_dir() / "10_one_step.gif", alt, scale=3, seconds=5)

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ## Looking inside (optional)
#
# ### Does the average velocity obey its own definition?
#
# Is its $u(x_1,0,1)$ the average of its own velocities along the way? We walk down in 50 small steps and compare the distance covered with the one leap.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
rows = []
for steps in choose((1, 2, 4, 8, 50), (1, 2)):
    apart = (glide(starts, steps) - glide(starts, choose(50, 4))).norm(dim=1)
    rows.append([steps, f"{apart.median():.3f}", f"{apart.quantile(0.95):.3f}"])
show.table(rows, ["steps", "median", "95 of 100 are below"], "Distance from where 50 steps end, same noise")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# Every doubling of the steps brings the end nearer to that of 50 steps. So the one leap is not yet exactly the average of the network's own velocities: after this short training the network knows the average well for short ways, and only roughly for the longest.
#
# ### At which levels does the student know the end?
#
# Section 3 says that the right answer climbs up from the clean end. Where does the finished student know the end? We measure the distance of its answer from the end of the teacher's walk, at points of the teacher's paths.

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
levels = my.ddim_levels(T, choose(50, 5))
x, errors = starts, {"teacher's estimate": [], "student": []}
with torch.no_grad():
    for t, t_next in zip(levels, [*levels[1:], 0], strict=True):
        t_batch = torch.full((len(x),), t)
        for name, model in zip(errors, (teacher, small), strict=True):
            gap = end_of_path(model, x, t_batch, schedule) - ends
            errors[name].append(gap.norm(dim=1).median())
        eps, x0 = schedule.from_output(teacher(x, t_batch), x, t, "v")
        x = my.ddim_step(x0, eps, t, t_next, 0.0, schedule)
# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.6))
for (name, gaps), tint in zip(errors.items(), (show.BROWN, show.BLACK), strict=True):
    ax.plot(levels, gaps, color=tint, linewidth=2, label=name)
ax.set(xlim=(T, 0), xlabel="noise level $t$ (the walk runs to the right)", ylabel="distance from the end")
ax.legend()
alt = "Median distance from the end of the path over the noise level: the teacher's estimate is far off "
show.figure(fig, alt + "at high noise and comes near only at the end; the student's is near all the way.")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# The teacher's estimate is an average until late, so it finds the end only when little noise is left. The student knows it all the way up, a little less well at the top. (The curves are medians; some of its points lie far off.) At the lowest levels, below about 100, it is no better than the teacher's estimate.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - One leap of a denoising network is an average, whatever the network. A few-step network has to be asked another question.
# - DDIM's walk is a function of the noise, and a continuous one. Its map is gentle inside regions and very steep where two squares with a gap between them meet. Fifty evaluations in a row can be much steeper than one.
# - A consistency student gives the end of the path from any point of it. It learns by agreeing with itself one stride further down, and the boundary condition anchors it.
# - The target carries no gradient, it is told its own level, and it lies on the same path. These are its three safeguards. A small loss can mean that the student is right, or that its target has become easy.
# - For several steps, put fresh noise on the answer and ask again.
# - MeanFlow learns the average velocity between any two moments. A derivative along the path, by one `jvp`, takes the place of the integral.
# - In four evaluations the student's distance cannot be told from that of 50 DDIM steps (three seeds of 1,000 digits). In one its digits of a class are nearer to each other, perhaps in part because the strokes are greyer. Measure distance, legibility, recall and diversity beside each other, and those of real pictures where you can.
#
# ### Self-check
#
# - [ ] I can say why a better network does not make one leap better.
# - [ ] I can name the two properties of the end of a path, and say why either alone is not enough.
# - [ ] I can say why the pair for consistency tuning needs the same noise.
# - [ ] I can derive $u=v-(s-r)\,du/ds$ and say what the direction $(v,0,1)$ means.
# - [ ] I can say what recall measures, and why it must not be read alone.
#
# <details><summary>Answers</summary>
#
# 1. At the top the noise does not say which digit it becomes, and under squared error the best guess is the mean of all. A better network comes nearer to this mean.
# 2. The end of the path from level 0 is the point itself; two points of one path have the same end. A constant answer $f$ satisfies the second, and any network that predicts v the first.
# 3. Averaged over the data behind one $x_t$, a pair with the same noise makes the step of the exact denoiser, and for $r$ close to $t$ the student's answers then average rightly too. With another noise $x_r$ hardly depends on $x_t$ at high noise, and the student learns the average of all ends.
# 4. Differentiate $(s-r)\,u=\int_r^s v\,d\tau$ with respect to $s$ along the path. When $s$ grows by one unit, $x$ moves by $v$, $r$ stays, and $s$ moves by 1.
# 5. The share of real pictures inside a ball around some sample. Samples that lie far apart have large balls and reach much, also when they are bad; here the student in one evaluation reaches more than real pictures do.
#
# </details>
#
# ### Further exercises
#
# | | exercise | difficulty | time |
# |---|---|---|---|
# | 1 | Train the student of section 4 with a stride of 10 and of 200 levels in place of 50. What gets better, what worse? | ●●○○○ | 20 min |
# | 2 | Leave out the stop gradient in `consistency_loss`. Compare loss and samples. | ●●○○○ | 15 min |
# | 3 | Progressive distillation: two DDIM steps lead from $x_t$ to $x_r$. Which $\hat x_0$ must the student give, so that its one DDIM step ends there too? | ●●●○○ | 20 min |
# | 4 | Train MeanFlow without weights, and with 0.01 in place of 0.3. Compare share and distance, in 1 and in 50 steps. | ●●○○○ | 15 min |
#
# <details><summary>Answers</summary>
#
# 1. (All these are one trial with one seed.) With 800 steps of training and a stride of 10, 60 of 100 points lie inside the squares, with a stride of 50 it is 80, and with 200 it is 70. With short strides, what is right at the clean end has to climb through 100 of them, and each passes its error on. With long ones the teacher's single DDIM step misses the path. The distances say the same: 0.11, 0.04 and 0.12. A few points mean nothing: the longer training of section 4 has no more than the 80 here.
# 2. After 800 steps, with one seed, the loss is smaller than with it, by more than half, and the samples are worse: 70 of 100 points of one step lie inside the squares in place of 80. The student has lowered its loss in part by moving the target.
# 3. With the shares $\sqrt{\bar\alpha}$ and $\sigma=\sqrt{1-\bar\alpha}$ of each level, DDIM's step ends at $x_r=\sqrt{\bar\alpha_r}\,\hat x_0+\sigma_r\,(x_t-\sqrt{\bar\alpha_t}\,\hat x_0)/\sigma_t$. Solved for the picture, $\hat x_0=\big(x_r-\tfrac{\sigma_r}{\sigma_t}x_t\big)\big/\big(\sqrt{\bar\alpha_r}-\tfrac{\sigma_r}{\sigma_t}\sqrt{\bar\alpha_t}\big)$. This is the target of Salimans and Ho.
# 4. (One trial each, one seed, as many training steps as in section 7.) Points inside and distance for no weights, $1/(\text{loss}+0.3)$ and $1/(\text{loss}+0.01)$: in one step 46 of 100 at 0.15, 74 at 0.08, 76 at 0.08; in 50 steps 58 at 0.04, 82 at 0.04, 84 at 0.07. Strong weights give the most points inside and, in 50 steps, the worst distance.
#
# </details>
#
# ### References
#
# - Song, Dhariwal, Chen & Sutskever 2023, *Consistency Models*, [arXiv:2303.01469](https://arxiv.org/abs/2303.01469): algorithms 1 (several steps), 2 (distillation) and 3 (training without a teacher).
# - Geng, Pokle, Luo, Lin & Kolter 2024, *Consistency Models Made Easy*, [arXiv:2406.14548](https://arxiv.org/abs/2406.14548): easy consistency tuning.
# - Geng, Deng, Bai, Kolter & He 2025, *Mean Flows for One-step Generative Modeling*, [arXiv:2505.13447](https://arxiv.org/abs/2505.13447): the identity of section 7.
# - Salimans & Ho 2022, *Progressive Distillation for Fast Sampling of Diffusion Models*, [arXiv:2202.00512](https://arxiv.org/abs/2202.00512).
# - Liu, Gong & Liu 2023, *Flow Straight and Fast*, [arXiv:2209.03003](https://arxiv.org/abs/2209.03003): reflow.
# - Frans, Hafner, Levine & Abbeel 2024, *One Step Diffusion via Shortcut Models*, [arXiv:2410.12557](https://arxiv.org/abs/2410.12557): a step size as an input, a relative of MeanFlow.
# - Kynkäänniemi et al. 2019, *Improved Precision and Recall Metric for Assessing Generative Models*, [arXiv:1904.06991](https://arxiv.org/abs/1904.06991): eq. 2.
#
# <!--slide 2 min
# ## What we learned
#
# - one leap of a denoising network is an average, however good the network
# - a student learns the end of the path, by agreeing with itself one stride further down
# - same path, own level, no gradient in the target
# - MeanFlow learns average velocities, with one derivative along the path
# - with four evaluations the distance is about that of 50 DDIM steps; with one the digits are less diverse: measure that, too
#
# > A paper reports a good distance for one step. Which two numbers would you ask for?
#
# **Next:** a picture that exists already. Change it.
#
# Notes:
# Say: notebook 11 trains nothing. It takes the networks that are there and changes pictures with them.
# Ask: which two numbers would you ask for? (The distance of the teacher at its full number of steps, and the diversity within a class, each beside that of real pictures where it is known.)
# Homework: further exercises 1 and 2, on the board.
# -->

# %% slideshow={"slide_type": "skip"}
check.summary("10")
