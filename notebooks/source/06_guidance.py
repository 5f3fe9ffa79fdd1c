# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] slideshow={"slide_type": "slide"}
# # 06 Guidance
#
# So far the network drew whatever the noise led to. Now we ask: a 7, please. A label goes in beside the noise level; now and then it is
# left out in training; and from the two answers of one network, with and without the label, comes *classifier-free guidance*, the knob that
# nearly every image generator has. What it does can be drawn in two dimensions, and measured on digits.
#
# **What you will be able to do**
# - tell a network which class to draw, and train it to work without a label too;
# - write classifier-free guidance, in both conventions, with one batched call for both branches;
# - say what the guided field is, and why its samples are *not* those of a sharpened density;
# - measure what guidance buys (accuracy) and what it costs (diversity, distance from the data, time);
# - guide away from a label, and guide at some noise levels only;
# - find a wrong line in a guided walk whose digits are all right.
#
# **What to know** Notebooks 02 to 04: loss, score, v-prediction, the clamp on $x_0$, the Frechet distance and its floor, the judge. From notebook 05 `TwoStep`, your fast step rule; the course's stands in if you have not written it.
#
# **Time** about 105 minutes for a person, about two minutes for two CPU cores.
#
# <!--slide 2 min
# # 06 Guidance
#
# Ask for a 7, get a 7. Then turn the knob, and measure what it costs.
#
# Notes:
# Say: so far the network drew whatever the noise led to. Today a label goes in, and from two answers of one network comes classifier-free guidance.
# Ask: how would you tell the network of notebook 04 which digit to draw? (Collect ideas; the one of this notebook is a learned vector added to that of the noise level.)
# Have run: the whole notebook; live are only the short cells named in these notes.
# -->

# %% tags=["setup"] slideshow={"slide_type": "skip"}
import sys
import time
from pathlib import Path

sys.path.insert(0, str(next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "helpers").is_dir())))
import matplotlib.pyplot as plt
import torch
from torch import nn
from helpers import data, metrics, show
from helpers.checkpoints import load_images, load_model, load_results
from helpers.exercises import check, mine
from helpers.guidance import Guided
from helpers.models import PointMLP, parameter_count
from helpers.modes import choose
from helpers.sampling import ddim, dpm_solver, last, reverse

my = mine.parts()  # your functions of the notebooks before, where they are right

# %% [markdown] exercise_text="6.1" slideshow={"slide_type": "slide"}
# ## 1. A label beside the noise level
#
# How would you tell the network of notebook 04 which digit to draw? Every block of it is told the noise level already, as a vector made from $t$. A label can ride along: give every class a vector of its own,
# learned like any weight, and add it to that of the level.
#
# These vectors stand in a table with one row for each class and a last one for "no label", written $\varnothing$. With ten classes that makes eleven rows. Nothing else in the network changes. Classes have no order
# (a 7 is not between a 6 and an 8 in any useful sense), so they are looked up, not put through sines.
#
# `Labelled` is your U-Net of notebook 03 with such a table. Its `forward` keeps the labels in `self.y` and goes on as before; your `UNet.forward` then asks `self.embed(t)` for the vector that every block gets. So `embed` is the one thing to write anew.
#
# **Exercise 6.1** Write `embed`. It gets levels `t` (B,), finds labels (B,), or `None` for "no label", in `self.y`, and returns (B, dim): what the level says plus what the label says.
#
# Difficulty: ●●○○○ · 8 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Two parts, added at the end. Which row of the table stands for "no label" if the classes are 0 to `classes - 1`?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# Without labels, make some: `torch.full_like(t, self.classes)`. The level's part is `super().embed(t)`, the label's part a row of `self.label` for each example.
#
# </details>
#
# <!--slide 3 min
# ## A label is one more vector, added to that of the noise level
#
# - a table: one row a class, learned like any weight
# - the last row is $\varnothing$, "no label"
# - looked up, not put through sines: classes have no order
# - cheap: ten classes cost eleven rows; nothing else in the network changes
#
# **Your turn:** exercise 6.1, `Labelled.embed(t)`, with the labels in `self.y`
#
# Notes:
# Say: every block is told the noise level as a vector. The label rides along.
# Ask: why does the table of our networks start at zero? (Then a label changes nothing at first, and weights trained without labels can be taken over: the network is the same function.)
# Exercise: 8 minutes. Common mistakes: forgetting the case without labels, and a "no label" that is 0, which is a class.
# -->

# %% exercise="6.1" slideshow={"slide_type": "skip"}
class Labelled(my.UNet):
    def __init__(self, channels=(16, 48, 96), classes=10):
        super().__init__(channels)
        self.classes, self.y = classes, None
        self.label = nn.Embedding(classes + 1, self.emb_dim)

    def forward(self, x, t, y=None):
        self.y = y  # for embed, which UNet.forward calls
        return super().forward(x, t)

    def embed(self, t):
        # TODO 6.1: super().embed(t) is what the level says; add what the label says
        ### BEGIN SOLUTION
        y = torch.full_like(t, self.classes) if self.y is None else self.y
        return super().embed(t) + self.label(y)
        ### END SOLUTION


Labelled = check("6.1", Labelled)

# %% [markdown] slideshow={"slide_type": "skip"}
# In symbols, with $\gamma(t)$ for the sines and cosines of the level and $E$ for the table:
# $$e(t, y) = \mathrm{layers}\big(\gamma(t)\big) + E_y, \qquad y \in \{0, \dots, K-1, \varnothing\}$$
# In words: the level goes through its layers, and the label's row is added to what comes out.
#
# Your class has the layers of the network that this course trained on labelled digits, so that network's weights must fit: `load_state_dict` stops if one name or one shape differs. (It says nothing about `embed`; the check above did.)

# %% slideshow={"slide_type": "skip"}
shipped = load_model("mnist_classes")
model = Labelled().eval().requires_grad_(False)  # your network, the course's weights
print(model.load_state_dict(shipped.state_dict()))
own = my.Schedule(my.cosine_betas(1000))
recipe, extra = shipped.recipe, model.label.weight.numel()
print(f"{parameter_count(shipped):,} parameters, {extra:,} for labels; {recipe['step']:,} steps "
      f"of {recipe['batch_size']} images")

# %% [markdown] exercise_text="6.2" slideshow={"slide_type": "slide"}
# All keys match. It is cheap, too: ten classes cost eleven rows. (The networks in `helpers` do the same when built with `classes=`. Their table starts at zero, so that at first a label changes nothing.)
#
# ## 2. Now and then, no label
#
# Guidance will need two answers: what a picture with this label looks like, and what *any* picture looks like. Must we train two networks for that? Two would do. One is enough if, in training, each example
# loses its label with a small probability $p$ (Ho & Salimans 2022, algorithm 1):
# $$L = \mathbb E\,\big\lVert f_\theta(x_t, t, \tilde y) - \text{target} \big\rVert^2, \qquad
# \tilde y = \begin{cases} \varnothing & \text{with probability } p\\ y & \text{else}\end{cases}$$
# For the examples with $\varnothing$ this is the loss of notebook 02, so the best answer is the average over all classes. For the others it is the average within a class. We take $p = 0.1$.
#
# **Exercise 6.2** Write `drop_labels`. `y` (B,) are labels, `draws` (B,) uniform random numbers in $[0, 1)$, `share` is $p$, `none` the number of the label $\varnothing$.
#
# Difficulty: ●○○○○ · 5 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# How often is a uniform number below 0.1?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `torch.where(condition, a, b)` takes `a` where the condition holds, example by example; a plain number will do for `a`.
#
# </details>
#
# <!--slide 3 min
# ## One network learns both answers: one label in ten is dropped
#
# $$L = \mathbb E\,\big\lVert f_\theta(x_t, t, \tilde y) - \text{target} \big\rVert^2, \qquad
# \tilde y = \begin{cases} \varnothing & \text{with probability } p = 0.1\\ y & \text{else}\end{cases}$$
#
# - with a label: the best answer is the average **within a class**
# - without: the average over **all** classes, as in notebook 02
# - two networks would do too; this one costs nothing more
#
# **Your turn:** exercise 6.2, `drop_labels(y, share, none, draws)`
#
# Notes:
# Say: the loss is that of notebook 02; only the label is now and then missing.
# Ask: somebody uses class 0 for "no label". What goes wrong, and does the loss show it? (Row 0 learns zeros and a tenth of everything else: ask for a zero and get any digit now and then, and guidance pushes every class away from zeros. The loss hardly moves.)
# Exercise: 5 minutes, then bring up the code. Common mistakes: the comparison the wrong way round, which keeps one label in ten, and one draw for the whole batch.
# Have run: the two moons below train in about ten seconds; start the cell while the room works on the exercise.
# -->

# %% exercise="6.2" tags=["slide-code"] slideshow={"slide_type": "fragment"}
def drop_labels(y, share, none, draws):
    # TODO 6.2: replace each label by `none` with probability `share`
    ### BEGIN SOLUTION
    return torch.where(draws < share, none, y)
    ### END SOLUTION


drop_labels = check("6.2", drop_labels)

# %% [markdown] slideshow={"slide_type": "skip"}
# **Question.** Somebody uses class 0 for "no label" instead of a row of its own. What goes wrong, and would the loss show it?
#
# <details><summary>Answer</summary>
#
# Row 0 is then trained on zeros *and* on a tenth of everything else. Ask for a zero and you get, now and then, any digit; the answer "without label" leans
# towards zeros, so guidance pushes every class away from zeros. The loss hardly moves: for each example the network still predicts as well as its label allows.
#
# </details>
#
# ## 3. Two moons with names
#
# The moons of notebook 02, where everything can be drawn: the upper moon is class 0, the lower class 1. `training.train` takes `labels=` and drops a
# tenth of them. A few seconds of training, live.

# %% slideshow={"slide_type": "skip"}
from helpers.classifiers import features, probabilities
from helpers.schedule import at, cosine
from helpers.training import Run, train

schedule = cosine(1000)
moons, moon = data.moons(10_000, seed=0)
torch.manual_seed(0)
run = Run(PointMLP(classes=2, prediction="v"), lr=2e-3, seed=0)
steps, start = choose(read=2500, smoke=20), time.perf_counter()
training = train(run, schedule, moons, steps, batch_size=256, labels=moon, drop=0.1)
losses = [step.loss for step in show.progress(training, steps, "moons")]
net = run.ema.model
seconds = time.perf_counter() - start
print(f"{steps} steps in {seconds:.0f} s, loss {sum(losses[-100:]) / len(losses[-100:]):.3f}")
print(f"{parameter_count(run.model):,} parameters, {net.label.weight.numel()} of them in the table of labels")

# %% [markdown] exercise_text="6.3" slideshow={"slide_type": "slide"}
# One network, three answers at every noisy point: with the label 0, with the label 1, and without label.
#
# ## 4. Guidance: past the label
#
# The network gives two predictions at each step, one without label, `out_u`, and one with it, `out_c`. Their difference is *what the label adds*. We need not take exactly all of it: we could take less, or more. So we want a dial $s$, the *guidance scale*, that does three things:
#
# - at $s = 0$ the label is ignored: the answer without label comes out;
# - at $s = 1$ the plain conditional network answers: the answer with label comes out;
# - everything else lies on the straight line through these two: between them for $s$ from 0 to 1, beyond the answer with label for $s > 1$, on the other side for $s < 0$, and equal steps of $s$ are equal steps on the line.
#
# **Exercise 6.3** Write `guide` for outputs `out_u` (without label), `out_c` (with label), both $(B, ...)$, and `s`: a number, or a tensor that has one for each example in a shape that fits.
#
# Difficulty: ●●○○○ · 5 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Where on the line do you start, at $s=0$, and in which direction do you walk?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# The way from the one answer to the other is their difference. Go $s$ times this way.
#
# </details>
#
# <!--slide 2 min
# ## A dial for the label: three demands
#
# The network gives two answers at each step: $\epsilon_u$ without label, $\epsilon_c$ with it. We want a dial $s$:
#
# - $s = 0$: the answer without label
# - $s = 1$: the answer with label
# - all else on the **straight line** through the two, and beyond them
#
# **Your turn:** exercise 6.3, `guide(out_u, out_c, s)`
#
# Notes:
# Say: what lies between the two answers is what the label adds. The dial takes more of it, or less.
# Ask: what should s = 2 do? (Go past the answer with label, as far again as it is from the one without.)
# Exercise: 5 minutes. Common mistakes: the two outputs swapped, and starting from the conditional output with factor s, which is another convention.
# -->

# %% exercise="6.3" slideshow={"slide_type": "skip"}
def guide(out_u, out_c, s):
    # TODO 6.3: the point of the line that belongs to s
    ### BEGIN SOLUTION
    return out_u + s * (out_c - out_u)
    ### END SOLUTION


guide = check("6.3", guide)

# %% [markdown] slideshow={"slide_type": "slide"}
# For predicted noise, with $\epsilon_u$ without label and $\epsilon_c$ with it, your line is
# $$\tilde\epsilon = \epsilon_u + s\,(\epsilon_c - \epsilon_u)$$
# In words: start at the answer without label and go $s$ times the way to the one with it. Ho & Salimans write
# $(1 + w)\,\epsilon_c - w\,\epsilon_u$: the same line with $w = s - 1$. Papers and programs use both under the name "guidance scale", so a 3 in one is a 2 in the other:
# check what 0 does.
#
# | scale $s$ | Ho & Salimans: $w = s - 1$ | what it does |
# |---|---|---|
# | below 0 | below $-1$ | away from the label |
# | 0 | $-1$ | ignores the label |
# | 1 | 0 | the plain conditional model |
# | above 1 | above 0 | exaggerates the label |
#
# <details><summary>Where it comes from: a classifier that is never trained</summary>
#
# Notebook 02 read the predicted noise as a score, $\nabla_x \log p_t(x) = -\epsilon / \sqrt{1 - \bar\alpha_t}$. Bayes' rule at level $t$ says
#
# $$\log p_t(x \mid y) = \log p_t(x) + \log p_t(y \mid x) + \text{const}$$
#
# Take gradients: the difference of the two scores is the gradient of a classifier that looks at the *noisy* picture,
#
# $$\nabla_x \log p_t(y \mid x) = \nabla_x \log p_t(x \mid y) - \nabla_x \log p_t(x) = -\frac{\epsilon_c - \epsilon_u}{\sqrt{1 - \bar\alpha_t}}$$
#
# So the guided prediction is the score of $p_t(x)\,p_t(y \mid x)^s$: the classifier's verdict, raised to the power $s$. No classifier is trained; it is
# implied by the network's two answers. Hence the name *classifier-free*.
#
# </details>
#
# Our networks predict $v$, not $\epsilon$. Does it matter which of $\epsilon$, $v$, $x_0$ is guided? At one $x_t$ each is a *straight line* in the others (notebook 03), for example
# $\epsilon = \sqrt{\bar\alpha_t}\,v + \sqrt{1-\bar\alpha_t}\,x_t$. And `guide` forms a weighted sum whose weights, $1 - s$ and $s$, add up to 1. Put such a sum into a straight line $f(z) = az + b$: out comes the same sum of the two $f$,
# and the constant is still $b$. So guide any one of them. Both claims, checked:
#
# <!--slide 4 min
# ## Guidance goes past the label
#
# $$\tilde\epsilon = \epsilon_u + s\,(\epsilon_c - \epsilon_u)$$
#
# - Ho & Salimans: $(1+w)\,\epsilon_c - w\,\epsilon_u$, the same line with $w = s-1$. A 3 in one convention is a 2 in the other
# - guide $\epsilon$, $v$ or $x_0$: at one $x_t$ each is a straight line in the others, and the weights $1-s$ and $s$ add up to 1
# - the **clamp** on $x_0$ is no straight line: it comes once, after guiding
#
# Both conventions and all three choices, on 500 points at $s=3$:
#
# Notes:
# Say: this is the line you have just written: below 0 away from the label, at 0 without it, at 1 the plain conditional model, above 1 exaggerated. Papers that guide the noise and programs that guide v do the same thing.
# Ask: a paper uses a guidance scale of 3. What is our s? (3 or 4: it depends on the convention. Check what 0 does in theirs.)
# Ask: what would change if each branch were clamped before guiding? (The two answers lose what lies beyond the range before the difference is taken; the result differs, most at large s.)
# Live: run the cell, under a second. Differences of the size of float32 rounding.
# -->

# %% tags=["slide-output"] slideshow={"slide_type": "-"}
g, s = torch.Generator().manual_seed(0), 3.0
t = torch.randint(50, 950, (500,), generator=g)
x_t = schedule.q_sample(moons[:500], t, torch.randn(500, 2, generator=g))
with torch.no_grad():
    v_u, v_c = net(x_t, t), net(x_t, t, moon[:500])
eps_u, x0_u = schedule.from_output(v_u, x_t, t, "v")
eps_c, x0_c = schedule.from_output(v_c, x_t, t, "v")
eps, x0 = schedule.from_output(guide(v_u, v_c, s), x_t, t, "v")

w = s - 1
other = (1 + w) * eps_c - w * eps_u
print(f"other convention, w = {w:g}:  {(other - guide(eps_u, eps_c, s)).abs().max():.1e}")
print(f"guide v or guide eps:      {(eps - guide(eps_u, eps_c, s)).abs().max():.1e}")
print(f"guide v or guide x_0:      {(x0 - guide(x0_u, x0_c, s)).abs().max():.1e}   (largest differences)")

# %% [markdown] exercise_text="6.4" slideshow={"slide_type": "slide"}
# Only rounding is left. (The clamp on $x_0$ is *not* a straight line. `reverse` applies it once, after guiding.)
#
# ### Both branches in one call
#
# Guidance asks the network twice per step. Better: ask once, with a batch of $2B$ rows, the first half with labels, the second half with $\varnothing$, and split the answer. The arithmetic is
# the same, but every call has a fixed price (Python, starting each operation), and large batches use a processor better.
#
# **Exercise 6.4** Write `guided`: the guided output $(B, ...)$ for `x` $(B, ...)$, `t` (B,), `y` (B,) with *one* call `model(x, t, y)`. "No label" is `model.classes`; `guide` is at hand.
#
# Difficulty: ●●●○○ · 10 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# All three inputs need twice the rows, in the same order.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `torch.cat([x, x])`, the same for `t`, and `torch.cat([y, none])` with `none = torch.full_like(y, model.classes)`. Then `.chunk(2)` gives the halves in the order you put them in.
#
# </details>
#
# <!--slide 3 min
# ## The difference of the two answers is a classifier nobody trained
#
# $$\nabla_x \log p_t(y \mid x) = \nabla_x \log p_t(x \mid y) - \nabla_x \log p_t(x) = -\frac{\epsilon_c - \epsilon_u}{\sqrt{1 - \bar\alpha_t}}$$
#
# - Bayes' rule at level $t$, then gradients; predicted noise is a score (notebook 02)
# - a classifier that looks at the **noisy** picture, implied by two denoisers
# - so at level $t$ the guided prediction is the score of $p_t(x)\,p_t(y \mid x)^s$
#
# > The classifier's verdict, raised to the power $s$. No classifier is trained: *classifier-free*.
#
# Notes:
# Say: hence the name, classifier-free. Remember the last line: it is exact at each level, and it misleads many people about the samples. We test that in a moment.
# Ask: what is the density for s = 0 and for s = 1? (The one without label, and, up to a constant, the conditional one.)
# -->
# <!--slide 3 min
# ## Both branches fit into one call; the work still doubles
#
# - one batch of $2B$ rows: first half with labels, second half with $\varnothing$; then split
# - saved: the fixed price of the second call, which shows for a single image if at all
# - not saved: the arithmetic. **Guidance doubles the work of a step**
#
# **Your turn:** exercise 6.4, `guided(model, x, t, y, s)`
#
# Notes:
# Say: this is the first thing guidance costs.
# Ask: on a GPU with this small network, which of the two ways wins, and why? (One call: a step there is mostly fixed price, and a larger batch fits into it.)
# Exercise: 10 minutes, then bring up the code. Common mistakes: `x` doubled but `t` not, and the halves taken in the wrong order, so that s = 2 acts like s = -1.
# Live: the timing cell takes a few seconds; from eight images on the two columns may change places, for the arithmetic is the same.
# -->

# %% exercise="6.4" tags=["slide-code"] slideshow={"slide_type": "fragment"}
def guided(model, x, t, y, s):
    # TODO 6.4: one call for both branches
    ### BEGIN SOLUTION
    none = torch.full_like(y, model.classes)
    both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, none]))
    out_c, out_u = both.chunk(2)
    return guide(out_u, out_c, s)
    ### END SOLUTION


guided = check("6.4", guided)

# %% tags=["slide-output"] slideshow={"slide_type": "-"}
@torch.no_grad()
def milliseconds(work):
    found = []
    for _ in range(choose(7, 1)):
        start = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - start))
    return sorted(found)[len(found) // 2]  # the middle one


print("U-Net, one guided step     one call   two calls")
for n in (1, 8, 64):
    x, t, y = torch.randn(n, 1, 28, 28), torch.full((n,), 500), torch.zeros(n, dtype=torch.long)
    one = milliseconds(lambda x=x, t=t, y=y: guided(model, x, t, y, 2.0))
    two = milliseconds(lambda x=x, t=t, y=y: guide(model(x, t), model(x, t, y), 2.0))
    print(f"{n:3} image{'s' * (n > 1):20} {one:7.0f} ms {two:8.0f} ms")

# %% [markdown] slideshow={"slide_type": "skip"}
# What one call saves is the fixed price of the other. It shows for few images, if at all; at 64 the arithmetic rules, and both ways take about as long. (On a GPU a step of a network this small is
# mostly fixed price.) Either way **guidance doubles the work** of a sampling step: that is the first thing it costs.
#
# `helpers.guidance.Guided` is your function in the clothes of a network, called as `(x, t)`, so that `reverse` need not know about it.
#
# ### The first sevens, and a quiet mistake
#
# Now all is there for a walk of your own: the network of 6.1, `guided`, your `walk` of notebook 04, and the two-step rule of notebook 05. `draw` puts them together; `answer` is the function that is asked at each step.

# %% slideshow={"slide_type": "skip"}
def draw(y, s, x_T, steps=15, answer=guided):
    def network(x, t):
        return answer(model, x, t, y, s)

    levels = my.ddim_levels(1000, choose(steps, 2))
    *_, (_, x, _) = my.walk(network, own, x_T, levels, my.TwoStep(), my.from_v)
    return x

# %% [markdown] exercise_text="6.5" slideshow={"slide_type": "skip"}
# The likeliest mistake in all of this is a quiet one. Nothing stops, digits come out, and they are the wrong ones. Can you make it?
#
# **Exercise 6.5** `guided_too` is a right copy of your function. Change one thing in it, without touching `s` or the labels that are asked for, so that no seven comes when sevens are asked for at $s=2$. Then set `why` to the letter of the scale with which the right function
# would have done exactly the same: (a) 0; (b) $-1$; (c) $-2$; (d) $\tfrac12$.
#
# Difficulty: ●●○○○ · 6 minutes
#
# <details><summary>Hint</summary>
#
# Which of the two answers does the line start from, and which one does it go towards? Write the line with the two exchanged, put $s=2$ into it, and compare it with the right one.
#
# </details>

# %% exercise="6.5" kind="break" slideshow={"slide_type": "skip"}
def guided_too(model, x, t, y, s):
    none = torch.full_like(y, model.classes)
    both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, none]))
    # TODO 6.5: change one thing, so that no seven comes at s = 2
    ### BEGIN SOLUTION
    # given: out_c, out_u = both.chunk(2)
    # given: return guide(out_u, out_c, s)
    out_u, out_c = both.chunk(2)
    return guide(out_u, out_c, s)
    ### END SOLUTION


why = "b"  # "a", "b", "c" or "d"
guided_too = check.changed("6.5", guided_too, why)

# %% expected="6.5" slideshow={"slide_type": "skip"}
sevens, start = torch.full((8,), 7), torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(3))
right, turned, away = "guided, s = 2", "guided_too, s = 2", "guided, s = -1"
rows = {right: draw(sevens, 2.0, start, 10), turned: draw(sevens, 2.0, start, 10, guided_too),
        away: draw(sevens, -1.0, start, 10)}
show.rows(rows, "Three rows of eight digits from the same eight noises. First sevens; then, with the two "
          "halves exchanged, anything but sevens; the third row, at scale -1, is the same as the second",
          title="Asked for: sevens")
print(f"largest difference of the last two rows: {(rows[turned] - rows[away]).abs().max():.0e}")

# %% [markdown] slideshow={"slide_type": "slide"}
# Sevens in the first row, none in the second; and the third row is the second. With the halves exchanged the line starts at the answer *with* label and goes towards the one without, so it does with $s$ what the right function does with $1 - s$. At $s=2$ that is $-1$: it leads away from the label, and
# at $s = 0.5$ you would not notice anything.
#
# ## 5. The guided field
#
# On a grid of noisy points $x_t$, arrows show the first part of the way to the estimate $\hat x_0$ of the clean point; orange dots are the estimates. Label: upper moon (the darker one).
#
# <!--slide 4 min
# ## The guided field points past the moon
#
# Notes:
# Say: arrows are the first part of the way to the estimate of the clean point, orange dots are the estimates. Label: the upper, darker moon. At s = 1 the estimates lie on it, or inside its bow where the noise leaves it open. With larger s they move beyond, away from the lower moon.
# Ask: s = 4, upper and lower row: above all dots leave the moon together, below some stay on it. Why? (At t = 600 both answers are averages over wide regions, and their difference, which is what is multiplied, is similar everywhere. At t = 300 it depends on the place: near the upper moon the label is no news and the answers agree; near the lower one they lie a moon apart, and four times that leads out of the frame.)
# Live: change the 4 in `names` to 8; a second or two.
# -->

# %% slideshow={"slide_type": "skip"}
@torch.no_grad()
def draw_field(ax, t, s, title):
    line = torch.linspace(-1.5, 1.5, 9)
    x = torch.cartesian_prod(line, line)
    level = torch.full((len(x),), t)
    x0 = schedule.from_output(guided(net, x, level, torch.zeros_like(level), s), x, level, "v")[1]
    show.scatter(ax, moons[moon == 0][:700], colour="0.45", size=2)
    show.scatter(ax, moons[moon == 1][:700], colour="0.75", size=2)
    first = 0.3 * (x0 - x)
    ax.quiver(*x.T, *first.T, angles="xy", scale_units="xy", scale=1, width=0.006, color=show.COLOURS[0])
    ax.plot(*x0.T, ".", color=show.COLOURS[1], markersize=5)
    ax.set(xlim=(-2, 2), ylim=(-2, 2), xticks=[], yticks=[], title=title)


# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(2, 4, figsize=(show.WIDTH, 5.3))
names = {0: "no label", 1: "upper moon", 2: "guided", 4: "guided"}
for row, t in zip(axes, (600, 300), strict=True):
    for ax, (s, name) in zip(row, names.items(), strict=True):
        draw_field(ax, t, s, f"s = {s}: {name}" if t == 600 else "")
    row[0].set_ylabel(f"t = {t}")
show.figure(fig, "Arrows from a grid of noisy points to estimates of the clean point. Without label they end "
            "on or between both moons, with label on the upper one, guided beyond it, away from the lower "
            "moon, the further the larger s.")

# %% [markdown] exercise_text="6.6" slideshow={"slide_type": "slide"}
# With $s = 1$ the estimates lie on the upper moon, or inside its bow where the noise leaves it open. With $s = 2$ they are moved along the moon, away from the lower one. With $s = 4$ they lie **beyond** it,
# where no data are: the estimate is moved away from the *unlabelled* one; at $t = 600$ all together, at $t = 300$ some far out and some still on the moon.
#
# ## 6. What large s does
#
# What do guided samples look like? A popular explanation: guidance samples from the data's density, sharpened towards the label, $p(x)\,p(y \mid x)^s$. We can test it here. The two moons do not overlap: on the upper moon $p(y \mid x)$ is 1, and so is every power of it. Samples of
# that density would look the same for all $s \ge 1$. The network can be left out of the test: notebook 02's *exact* denoiser gives the exact conditional and
# unconditional estimates for a finite set of points.
#
# **Exercise 6.6** With exact answers, what happens to the samples of one moon when $s$ grows from 1 to 8? (a) Nothing: $p(y\mid x)$ is 1 there. (b) They draw together at the end that is farthest from the other moon. (c) They draw together in the middle, the most
# typical place. (d) They leave the moon.
#
# Difficulty: ●●○○○ · 3 minutes
#
# <details><summary>Hint</summary>
#
# At high noise the two moons *do* overlap. Where does the difference of the two answers push a point then?
#
# </details>
#
# <!--slide 3 min
# ## A sharpened density would keep both moons whole. Does guidance?
#
# The moons do not overlap: on the upper one $p(y \mid x)$ is 1, and so is every power of it.
#
# Notes:
# Say: the popular explanation is that guidance samples from the density sharpened towards the label. Then all pictures from s = 1 on would look the same. Blue: asked for the upper moon; orange: for the lower. Above the trained network, below the exact denoiser of notebook 02, so that no training error can be blamed.
# Ask: what do you see, and which part of it is the network's own? (With growing s each moon shrinks to its far end, in both rows. Only the network's samples also leave the moon.)
# Have run: twenty short walks, some seconds.
# -->

# %% exercise="6.6" kind="predict" slideshow={"slide_type": "skip"}
# TODO 6.6: what happens to the exact samples of one moon, a letter
### BEGIN SOLUTION
guess = "b"
### END SOLUTION
check.predict("6.6", guess)

# %% slideshow={"slide_type": "skip"}
def weights(x_t, t, points):  # (B, N): how likely each point is, given x_t (notebook 02)
    a = at(schedule.alpha_bar, t, x_t)
    away = (x_t[:, None] - a.sqrt()[:, None] * points).square().sum(2)
    return torch.softmax(-away / (2 * (1 - a)), dim=1)


few, few_moon = moons[:600], moon[:600]


def exact(y, s):  # the exact guided denoiser, in the clothes of a network
    def model(x_t, t):
        every, own = (weights(x_t, t, p) @ p for p in (few, few[few_moon == y]))
        return guide(every, own, s)

    model.prediction = "x0"
    return model


# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
rule, n = ddim(choose(40, 3)), choose(300, 20)
scales, found = (0, 1, 2, 4, 8), {}
fig, axes = plt.subplots(2, 5, figsize=(show.WIDTH, 4.4))
for i, row in enumerate(axes):
    for ax, s in zip(row, scales, strict=True):
        for y in (0, 1):
            ask = exact(y, s) if i else Guided(net, y, float(s))
            found[i, s, y] = last(reverse(ask, schedule, rule, (n, 2), seed=y))
            show.scatter(ax, found[i, s, y], colour=show.COLOURS[y], size=4)
        show.scatter(ax, moons[:0], f"s = {s}" * (i == 0), limit=1.5)
    row[0].set_ylabel(("network", "exact")[i])
show.figure(fig, "Samples for both labels at s = 0, 1, 2, 4, 8, network above, exact denoiser below. At 1 "
            "the moons; with larger s each shrinks to its far end. Only the network's also leave it.")

# %% slideshow={"slide_type": "skip"}
upper, level = moons[moon == 0][:500], torch.full((500,), 30)
sure = weights(upper, level, few)[:, few_moon == 0].sum(1)  # p(y | x), at a level with hardly any noise
for s in (1, 2, 4, 8):
    pick = torch.multinomial(sure**s, n, replacement=True, generator=torch.Generator().manual_seed(s))
    a, b, c = (float(p.std(0).norm()) for p in (upper[pick], found[1, s, 0], found[0, s, 0]))
    off = [metrics.nearest_neighbours(found[i, s, 1], moons[moon == 1])[1].quantile(0.95) for i in (1, 0)]
    print(f"s = {s}: spread of the upper moon: sharpened {a:.2f}, exact {b:.2f}, network {c:.2f};"
          f"   one in 20 off the lower moon by: exact {off[0]:.2f}, network {off[1]:.2f}")
said = check.truth("6.6", "b")

# %% [markdown] slideshow={"slide_type": "slide"}
# The sharpened density keeps the whole moon for every $s$. Guidance does not: its samples **pile up** at the far end, even with exact answers. So the popular explanation is wrong, and the reason is worth knowing:
#
# - At *each level* the guided prediction is the score of $p_t(x)\,p_t(y \mid x)^s$. That much is exact.
# - But these densities do not belong together. Noising $p_0(x)\,p_0(y\mid x)^s$ to level $t$ does not give $p_t(x)\,p_t(y\mid x)^s$: noising is an average, and the power of an average is not the average of powers.
#   The walk follows a field that changes with $t$ as no diffusion of any density would, and ends somewhere else.
# - At high noise the moons overlap; there $p_t(y \mid x)$ is far from 1 and pushes every point away from the other class. By the time the moons have parted, the choice is made.
#
# The network does one more thing that the exact field does not: at large $s$ its samples **leave the moon**. It is asked at places it never saw in training, and its errors there are multiplied by $s$.
#
# Why the far end, and not the middle, the most typical place? Guidance does not look for what is typical of the class but for what tells it *from the rest*. The tip of the upper moon that lies inside the bow of the lower one is, at high noise, the most doubtful place; the other end
# is the surest. Expect the same on digits: exaggerated, unmistakable ones, not average ones.
#
# ## 7. Generate a 7
#
# Back to MNIST, and to your network with the course's weights. How was it trained? It is the network of notebook 04 with a table of eleven labels, and it need not start from nothing: with a table of zeros it is at first the *same function* as notebook 04's network, so `make train` takes over those weights
# and trains on, with one label in ten dropped.
#
# <!--slide 4 min
# ## The samples pile up, even with exact answers
#
# - at **each level** the guided prediction is the score of $p_t(x)\,p_t(y \mid x)^s$: exact
# - but these densities do not belong together: noising is an average, and the power of an average is not the average of powers
# - at high noise the moons overlap: every point is pushed away from the other class
# - when they have parted, the choice is made: the far end
# - the network's errors off the data are multiplied by $s$ as well
#
# > Guidance does not look for what is typical of a class, but for what tells it from the rest.
#
# Notes:
# Say: go through the argument with the figure of the slide before. The popular explanation is right at one level and wrong about the samples.
# Ask: why the far end of the moon, and not its middle, the most typical place? (The tip inside the bow of the other moon is the most doubtful place at high noise, the other end the surest. Expect unmistakable digits, not average ones.)
# Live: the cell with the spreads prints both in numbers.
# -->
# <!--slide 3 min
# ## The label picks the digit, the noise the handwriting
#
# Notes:
# Say: ten rows, one a class; ten columns of equal noise. The network of notebook 04 with a table of eleven rows, trained on with one label in ten dropped.
# Ask: look down a column, then along a row of the right sheet. What do you find? (Down a column slant and stroke width are kept: what the label leaves open, the noise decides. Along a row on the right the digits are plainer, and more alike.)
# Have run: 200 digits take several seconds on two cores.
# -->

# %% slideshow={"slide_type": "skip"}
test_images, test_labels = data.mnist(train=False)
saved, pictures = load_results("guidance"), load_images("guidance")

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
noise = torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(6))
y = torch.arange(10).repeat_interleave(10)  # ten rows, one a class; in a column the same noise
start = time.perf_counter()
sheets = {s: draw(y, s, noise.repeat(10, 1, 1, 1)) for s in (1.0, 3.0)}
print(f"200 digits in {time.perf_counter() - start:.0f} s")
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 5.1))
for ax, (s, sheet) in zip(axes, sheets.items(), strict=True):
    ax.imshow(show.tiles(sheet, 10), vmin=0, vmax=255)
    ax.set(title=f"s = {s:g}", xticks=[], yticks=torch.arange(10) * 29 + 15, yticklabels=range(10))
    ax.grid(False)
show.figure(fig, "Two grids of digits, ten rows for the classes 0 to 9, ten columns of equal noise. Left "
            "s = 1: nearly all are the digit asked for, in many hands. Right s = 3: plainer, more alike")
mine.credit("draw_digits", "Labelled", "guided", "TwoStep")

# %% [markdown] exercise_text="6.7" slideshow={"slide_type": "slide"}
# Look down a column: one noise, ten digits, and much in common (slant, stroke width). What the label leaves open, the noise decides. Look along a row: on the right the digits of a class are plainer, and more alike.
#
# ## 8. How diverse?
#
# Can we put a number on "more alike"? Take all pictures of one class, and compare each with each *other*. The distance of two pictures is the root of the mean squared difference of their pixels. The mean of these distances is the diversity of the class, and
# the mean over the classes, each counting alike, that of the whole set.
#
# A generator that draws one perfect 7 again and again has perfect accuracy and diversity 0: accuracy is never to be shown alone.
#
# **Exercise 6.7** Write `diversity` for pictures `x` $(N, ...)$ and their classes `y` (N,); each class has at least two pictures, and not every number need occur. It returns a tensor with one number.
#
# Difficulty: ●●●○○ · 11 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Loop over `y.unique()`. Within a class you need a table of distances $(n, n)$; what stands on its diagonal, and should it count?
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# `group[:, None] - group[None]` with `group = x[y == c].flatten(1)` is $(n, n, P)$, all differences of two pictures. How many of the $n^2$ entries of the table are pairs of different pictures? `torch.stack(found).mean()` at the end.
#
# </details>
#
# <!--slide 3 min
# ## How would you measure "more alike"?
#
# - within a class, the distance of each picture to each **other**; then the mean over classes
# - distance of two pictures: root of the mean squared difference of their pixels
# - one perfect 7, drawn again and again: accuracy perfect, diversity 0. So accuracy is never shown alone
#
# **Your turn:** exercise 6.7, `diversity(x, y)`
#
# Notes:
# Say: on pixels this is a plain distance; with the features of a classifier in place of pixels it hears more about shape.
# Ask: what would accuracy say of a generator that draws one perfect 7 again and again, and what does this number say? (Perfect; and zero.)
# Ask: divide by n squared or by n (n - 1)? (By n (n - 1): the n distances of a picture to itself are zero and no sign of sameness; counted, they would make small classes look less diverse.)
# Exercise: 11 minutes. Common mistakes: the diagonal counted, and pictures of different classes compared.
# -->

# %% exercise="6.7" slideshow={"slide_type": "skip"}
def diversity(x, y):
    # TODO 6.7: mean distance of two different pictures of a class, mean over classes
    ### BEGIN SOLUTION
    found = []
    for c in y.unique():
        group = x[y == c].flatten(1)
        table = (group[:, None] - group[None]).square().mean(2).sqrt()
        found.append(table.sum() / (len(group) * (len(group) - 1)))
    return torch.stack(found).mean()
    ### END SOLUTION


diversity = check("6.7", diversity)

# %% [markdown] exercise_text="6.8" slideshow={"slide_type": "slide"}
# In symbols, with $K$ classes of $n_y$ pictures of $P$ pixels:
# $$D = \frac{1}{K} \sum_{y} \frac{1}{n_y (n_y - 1)} \sum_{i \ne j} d(x_i, x_j), \qquad d(a, b) = \sqrt{\tfrac1P \textstyle\sum_p (a_p - b_p)^2}$$
# The $n_y$ distances of a picture to itself are left out of the sum, and so they are not counted below it either.
#
# ## 9. Where it pays, where it harms
#
# Which scale is best? `make train` made a sweep: $s$ from 0 to 8, for each scale two seeds of <!--r:guidance.sampler.samples|d-->500<!--/--> samples (all classes alike), 15 DPM-Solver++ steps, $x_0$ clamped to $[-1, 1]$. The walk is deterministic on purpose: a seed is the same noise at every scale, so only $s$ changes. Three things were measured:
#
# - *Accuracy*: the share in which the judge, a classifier that neither drew nor guided, reads the class asked for.
# - *Diversity*: as above, on pixels and on features of the classifier that also serves the Frechet distance, as a share of that of real digits.
# - *Frechet distance* to the test images, on those features: how far is the whole distribution from that of the data?
#
# **Exercise 6.8** Before you look: sketch the accuracy in percent at $s = 0, 1, 2, 4, 8$ (five numbers), and write behind them the one of these scales at which the Frechet distance is smallest. Your sketch is drawn into the picture.
#
# Difficulty: ●●○○○ · 3 minutes
#
# <details><summary>Hint</summary>
#
# Which class comes when the label is ignored? And which of the five scales is the network trained for: where does it answer what it was asked in training?
#
# </details>
#
# *In the picture* bars are the standard deviation over the two seeds (of the noise; there is one training); dotted: as many real test images, all classes alike.
#
# <!--slide 4 min
# ## Accuracy climbs, diversity falls, distance is best near $s = 1$
#
# Read as asked: <!--r:guidance.settings.s_1.accuracy.mean|.1%-->93.8%<!--/--> at $s=1$, <!--r:guidance.settings.s_2.accuracy.mean|.1%-->99.8%<!--/--> at $s=2$; real digits, dotted, <!--r:guidance.real_all|.1%-->99.2%<!--/-->.
#
# Notes:
# Say: guided digits are easier to read than real ones. That is a compliment and a warning. Diversity of features falls with every step; that of pixels stops falling, since bold strokes that miss each other differ in many pixels. The Frechet distance asks for the whole distribution.
# Ask: which scale is best? (It depends on the use. A legible digit: 2 or more. Samples that stand in for the data: about 1. No single score says which.)
# Have run: the sweep is saved, <!--r:guidance.sampler.samples|d-->500<!--/--> samples a scale and two seeds; the cell only draws it.
# -->

# %% exercise="6.8" kind="predict" slideshow={"slide_type": "skip"}
# TODO 6.8: the accuracy in percent at s = 0, 1, 2, 4, 8; then the s with the smallest distance
### BEGIN SOLUTION
guess = 10, 90, 100, 100, 100, 1
### END SOLUTION
check.predict("6.8", guess)

# %% slideshow={"slide_type": "skip"}
shown = {s: saved["settings"][f"s_{s}"] for s in (0, 1, 2, 4, 8)}
best = min(shown, key=lambda s: shown[s]["distance"]["mean"])
sketch = check.truth("6.8", [*(100 * row["accuracy"]["mean"] for row in shown.values()), best])
whole = sketch and max(sketch[:5]) > 1  # in percent, not as shares
drawn = [value / (100 if whole else 1) for value in sketch[:5]] if sketch else []
rows = [saved["settings"][name] for name in "s_0 s_0_5 s_1 s_1_5 s_2 s_3 s_4 s_6 s_8".split()]
real, s = saved["real"], [row["scale"] for row in rows]

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3.7))
for i, score in enumerate(("accuracy", "diversity", "distance", "diversity_features")):
    ax, norm = axes[i % 3 + i // 3], real[score]["mean"] if "diversity" in score else 1
    mean, std = ([row[score][part] / norm for row in rows] for part in ("mean", "std"))
    style = dict(marker="o", markersize=4, capsize=3, label=("of pixels", "of features")[i // 3])
    ax.errorbar(s, mean, std, color=show.COLOURS[i], **style)
    ax.axhline(real[score]["mean"] / norm, color="black", linestyle=":")
    ax.set(xlabel="scale s", title=("accuracy", "diversity / real", "Frechet distance")[i % 3 + i // 3])
if drawn:
    axes[0].legend(handles=axes[0].plot(list(shown), drawn, "--", c=show.COLOURS[3], label="your sketch"))
axes[1].legend()
plt.setp(axes, ylim=(0, None))
show.figure(fig, "Curves over the scale s from 0 to 8, dotted lines for real images: accuracy climbs to "
            "nearly 1 by s = 2; diversity falls, that of features most; the distance is lowest near s = 1, "
            "then rises")

# %% [markdown] slideshow={"slide_type": "slide"}
# **Where it pays.** The plain conditional network draws what it is asked for in <!--r:guidance.settings.s_1.accuracy.mean|.1%-->93.8%<!--/--> of the cases, $s = 2$ in <!--r:guidance.settings.s_2.accuracy.mean|.1%-->99.8%<!--/--> (the goal that we set: $99\,\%$). Real test images are read as their label in <!--r:guidance.real_all|.1%-->99.2%<!--/-->: guided
# digits are *easier to read than real ones*. That is a compliment and a warning.
#
# **Where it harms.** Diversity of features falls with every step: <!--r:guidance.settings.s_1.diversity_features.mean|.2f-->2.35<!--/--> at $s = 1$, <!--r:guidance.settings.s_2.diversity_features.mean|.2f-->1.84<!--/--> at 2, <!--r:guidance.settings.s_8.diversity_features.mean|.2f-->1.57<!--/--> at 8, against <!--r:guidance.real.diversity_features.mean|.2f-->2.20<!--/--> for real digits. That of pixels (<!--r:guidance.settings.s_1.diversity.mean|.2f-->0.62<!--/-->, <!--r:guidance.settings.s_2.diversity.mean|.2f-->0.59<!--/-->, <!--r:guidance.settings.s_8.diversity.mean|.2f-->0.57<!--/-->; real <!--r:guidance.real.diversity.mean|.2f-->0.64<!--/-->) stops falling at large $s$: strokes
# grow bolder, and where two bold strokes miss each other, more pixels differ. The Frechet distance, which asks for the *whole* distribution, is <!--r:guidance.settings.s_1.distance.mean|.1f-->5.9<!--/--> at $s = 1$, <!--r:guidance.settings.s_2.distance.mean|.1f-->10.9<!--/--> at 2, <!--r:guidance.settings.s_4.distance.mean|.1f-->20.4<!--/--> at 4, <!--r:guidance.settings.s_8.distance.mean|.1f-->28.1<!--/--> at 8 (real: <!--r:guidance.real.distance.mean|.1f-->4.4<!--/-->). So the best scale depends on what is wanted: a legible digit, or samples that
# could stand in for the data. No single score can say which.
#
# Two controls (notebook 04's network and the fresh noise with one seed). Without label ($s = 0$) the distance is <!--r:guidance.settings.s_0.distance.mean|.1f-->19.4<!--/-->, while notebook 04's network, which never saw labels, has <!--r:guidance.settings.plain.distance.mean|.1f-->12.5<!--/-->: the branch without label is the weaker of the two, and it saw only a tenth of the examples since the labels came in. And with fresh noise in each step
# (DDIM with $\eta = 1$, as many steps) the accuracy is <!--r:guidance.settings.s_1_fresh.accuracy.mean|.1%-->96.6%<!--/--> at $s = 1$ and <!--r:guidance.settings.s_2_fresh.accuracy.mean|.1%-->100.0%<!--/--> at 2, the distance <!--r:guidance.settings.s_1_fresh.distance.mean|.1f-->6.6<!--/--> and <!--r:guidance.settings.s_2_fresh.distance.mean|.1f-->16.0<!--/-->.
#
# <!--slide 3 min
# ## The same noise, a growing scale: plainer, then bolder
#
# Notes:
# Say: four twos, four fours, four sevens; one noise a column. At s = 0 any digit comes, at 1 the class in many hands, at 8 bold ones that resemble each other. Lowest row: without the clamp, bolder still.
# Ask: pick a column. From which scale on does it show the class asked for, and what of the noise is left at 8? (Most have it at 1, nearly all at 2. Some slant and size remain.)
# Live: in section 14, move the scale slider from 1 to 8 with class 7; then change the class and leave the seed.
# -->

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
columns = [i for c in (2, 4, 7) for i in range(c, 40, 10)]  # four of each class, the same noises in every row
names = {f"s = {s}": f"s_{s}" for s in (0, 1, 2, 4, 8)} | {"s = 8, not clamped": "s_8_unclamped"}
show.rows({label: pictures[name][columns] for label, name in names.items()},
          "Four twos, four fours, four sevens in rows of growing s, the same noise in a column: at 0 any "
          "digits, at 1 varied ones, at 8 bold ones that resemble each other; without the clamp bolder still",
          [str(i % 10) for i in columns], title="The class asked for, and the scale")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 10. Past black and white
#
# Guidance adds to a prediction, so the estimate of $x_0$ can leave the range of pixels. How far it does can be seen without sampling: noise real digits, ask the network once for both branches, combine them with different $s$.
#
# <!--slide 2 min
# ## A large scale pushes the estimate past black and white
#
# Without the clamp the distance at $s=8$ is <!--r:guidance.settings.s_8_unclamped.distance.mean|.1f-->37.1<!--/--> instead of <!--r:guidance.settings.s_8.distance.mean|.1f-->28.1<!--/-->; at $s=2$ it hardly matters.
#
# Notes:
# Say: seen without sampling: noise real digits, ask once for both branches, combine with different s. At high noise above all, many pixels of the estimate lie beyond the range. The clamp cuts them off and leaves bolder strokes.
# Ask: on photographs, what would the cut look like? (Garish, saturated colours, since colours there are rarely pure. Dynamic thresholding divides by a high quantile of the estimate instead.)
# Live: the cell takes a few seconds.
# -->

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
levels, some, some_labels = range(32, 1001, choose(88, 400)), test_images[:32], test_labels[:32]
beyond, g = {s: [] for s in (1, 2, 4, 8)}, torch.Generator().manual_seed(0)
for level in levels:
    t = torch.full((32,), level)
    x_t = schedule.q_sample(some, t, torch.randn(some.shape, generator=g))
    out_c, out_u = guided(model, x_t, t, some_labels, 1.0), guided(model, x_t, t, some_labels, 0.0)
    for s, shares in beyond.items():
        x0 = schedule.from_output(guide(out_u, out_c, s), x_t, t, "v")[1]
        shares.append(float((x0.abs() > 1.1).float().mean()))
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.3))
for s, shares in beyond.items():
    ax.plot(levels, shares, label=f"s = {s}", linewidth=2)
ax.set(xlabel="noise level t", ylabel="share of pixels beyond ±1.1", title="The estimate of $x_0$")
ax.legend()
show.figure(fig, "Share of pixels of the estimate outside the range, by noise level: the larger s, the more")

# %% [markdown] slideshow={"slide_type": "slide"}
# The larger $s$, the more pixels are pushed past black and white, at high noise above all. The clamp cuts them off; what remains is bolder: the mean pixel is <!--r:guidance.settings.s_1.ink.mean|.2f-->-0.74<!--/--> at $s = 1$ and <!--r:guidance.settings.s_8.ink.mean|.2f-->-0.64<!--/--> at 8 (real: <!--r:guidance.real.ink.mean|.2f-->-0.73<!--/-->; black is $-1$). Without the clamp the distance at $s = 8$
# is <!--r:guidance.settings.s_8_unclamped.distance.mean|.1f-->37.1<!--/--> instead of <!--r:guidance.settings.s_8.distance.mean|.1f-->28.1<!--/-->, and <!--r:guidance.settings.s_8_unclamped.beyond.mean|.1%-->0.9%<!--/--> of the pixels of the finished pictures lie outside the range; at $s = 2$ the clamp hardly matters (<!--r:guidance.settings.s_2_unclamped.distance.mean|.1f-->10.3<!--/--> without, <!--r:guidance.settings.s_2.distance.mean|.1f-->10.9<!--/--> with).
# On photographs, where colours are rarely pure, large $s$ with the plain clamp gives garish, saturated pictures; *dynamic thresholding* (Saharia et al. 2022) clamps at a high quantile of the estimate and divides by it, instead of cutting at 1.
#
# ## 11. Away from the label
#
# With $s < 0$ the walk is pushed *away* from the class. At $s = -1$: $2\epsilon_u - \epsilon_c$. What comes out when one asks for "anything but a 3"?
#
# <!--slide 3 min
# ## "Not a 3" is a direction, not a class
#
# At $s=-1$ the digit to be avoided comes out in <!--r:guidance.settings.s_minus_1.accuracy.mean|.1%-->0.4%<!--/--> of the cases; chance would be a tenth.
#
# Notes:
# Say: left, samples pushed away from the class of their row. Right, what the judge reads: the diagonal is empty, and the tables show favourites. What comes out is what differs most from the class, not a fair choice of the other nine.
# Ask: what do the negative prompts of image generators do instead? (They put a second label where "no label" stands and keep s above 1, so that a wish remains.)
# Have run: the samples are saved.
# -->

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3.9), width_ratios=(1.15, 1, 1))
strip = [i for c in range(0, 10) for i in range(c, 50, 10)]
axes[0].imshow(show.tiles(pictures["s_minus_1"][strip], 5), vmin=0, vmax=255, aspect="auto")
axes[0].set(title="s = -1", yticks=torch.arange(10) * 29 + 15, yticklabels=range(10), xticks=[])
for ax, name, title in ((axes[1], "s_minus_1", "s = -1"), (axes[2], "s_minus_2", "s = -2")):
    table = torch.tensor(saved["settings"][name]["confusion"], dtype=torch.float)
    ax.imshow(table / table.sum(1, keepdim=True), cmap="Blues", vmin=0, vmax=0.5)
    ax.set(xticks=range(10), yticks=range(10), xlabel="read by the judge", title=title)
for ax in axes:
    ax.grid(False)
axes[1].set_ylabel("asked to avoid")
show.figure(fig, "Left: samples pushed away from the classes 0 to 9, row by row. Right: for scales -1 and -2 "
            "how often each digit is read where each was to be avoided; the diagonal is empty")

# %% [markdown] exercise_text="6.9" slideshow={"slide_type": "skip"}
# The digit to be avoided comes out in <!--r:guidance.settings.s_minus_1.accuracy.mean|.1%-->0.4%<!--/--> of the cases at $s = -1$ and in <!--r:guidance.settings.s_minus_2.accuracy.mean|.1%-->0.0%<!--/--> at $-2$ (one seed); chance would be a tenth. But "not a 3" is a direction, not a class: what comes out is what differs most from it, and the tables show favourites.
# The judge is sure of <!--r:guidance.settings.s_minus_1.confident.mean|.0%-->84%<!--/--> of the samples at $-1$, of <!--r:guidance.settings.s_0.confident.mean|.0%-->76%<!--/--> without label: to flee from one class is to run towards others. Further away it gets worse: the distance is <!--r:guidance.settings.s_minus_1.distance.mean|.1f-->16.6<!--/--> at $-1$, <!--r:guidance.settings.s_minus_2.distance.mean|.1f-->22.3<!--/--> at $-2$ (<!--r:guidance.settings.s_0.distance.mean|.1f-->19.4<!--/--> without label).
# The *negative prompts* of image generators do something else: they put a second label where $\varnothing$ stands, $\epsilon_\text{bad} + s\,(\epsilon_c - \epsilon_\text{bad})$ with $s > 1$, so that a class is still asked for.
#
# ## 12. Guidance at some levels only
#
# Must we guide at all levels? Kynkäänniemi et al. (2024) guide only within an interval of noise levels and find better pictures, and cheaper: outside
# it one branch is enough. We cut the levels into three thirds, and guide by $s=4$ in one of them only; in the others the plain conditional network answers. Which third does nearly all that guidance does everywhere?
#
# **Exercise 6.9** Choose: (a) the low third, little noise; (b) the middle third; (c) the high third, much noise.
#
# Difficulty: ●○○○○ · 2 minutes
#
# <details><summary>Hint</summary>
#
# In which third can you not yet see which digit it will be? Guidance only does something where the label is news.
#
# </details>

# %% exercise="6.9" kind="predict" slideshow={"slide_type": "skip"}
# TODO 6.9: the third that does nearly all of it, a letter
### BEGIN SOLUTION
guess = "c"
### END SOLUTION
check.predict("6.9", guess)

# %% slideshow={"slide_type": "skip"}
bands = {"nowhere": "s_1", "low third": "band_low", "middle third": "band_middle",
         "high third": "band_high", "low, middle": "band_low_middle", "middle, high": "band_middle_high",
         "everywhere": "s_4"}
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3.6), sharey=True)
titles = {"accuracy": "accuracy", "diversity_features": "diversity (features)", "distance": "distance"}
for ax, (score, title) in zip(axes, titles.items(), strict=True):
    for i, name in enumerate(bands.values()):
        row, colour = saved["settings"][name][score], show.COLOURS[int(i in (0, 6))]
        ax.plot(row["values"], [i] * len(row["values"]), "o", color=colour)
    ax.axvline(real[score]["mean"], color="black", linestyle=":")
    ax.set(title=title, yticks=range(len(bands)), yticklabels=bands, ylim=(len(bands) - 0.5, -0.5))
axes[0].set_ylabel(f"guided by s = {saved['bands']['scale']:g}")
show.figure(fig, "Accuracy, diversity and Frechet distance when guidance by 4 acts nowhere, in one third of "
            "the levels, in two, or everywhere, one dot a seed; a dotted line for real images")

# %% slideshow={"slide_type": "skip"}
thirds = [saved["settings"][f"band_{name}"]["accuracy"]["mean"] for name in ("low", "middle", "high")]
said = check.truth("6.9", "abc"[thirds.index(max(thirds))])

# %% [markdown] slideshow={"slide_type": "slide"}
# One dot a seed. At these thirds the high one does nearly everything, good and bad: accuracy <!--r:guidance.settings.band_high.accuracy.mean|.1%-->100.0%<!--/-->, distance <!--r:guidance.settings.band_high.distance.mean|.1f-->17.6<!--/-->, as with guidance everywhere (<!--r:guidance.settings.s_4.accuracy.mean|.1%-->100.0%<!--/-->, <!--r:guidance.settings.s_4.distance.mean|.1f-->20.4<!--/-->). The low third does nothing (<!--r:guidance.settings.band_low.accuracy.mean|.1%-->94.8%<!--/-->, <!--r:guidance.settings.band_low.distance.mean|.1f-->6.1<!--/-->; without guidance <!--r:guidance.settings.s_1.accuracy.mean|.1%-->93.8%<!--/-->, <!--r:guidance.settings.s_1.distance.mean|.1f-->5.9<!--/-->): there the digit can be *seen*, and its label is no news.
# The middle third costs next to nothing and buys about half of the accuracy (<!--r:guidance.settings.band_middle.accuracy.mean|.1%-->96.8%<!--/-->, <!--r:guidance.settings.band_middle.distance.mean|.1f-->6.3<!--/-->).
#
# Is there a band that buys the accuracy and leaves the diversity? Thirds are coarse. So we let the scale depend on the level,
# $$s(t) = \begin{cases} s & t_\text{low} \le t \le t_\text{high}\\ 1 & \text{else}\end{cases}$$
# and try some bands live, on 100 digits. (Outside the band the scale is 1, not 0: "no guidance" means to trust the label as it is.)
#
# <!--slide 3 min
# ## A band below the top keeps more of the diversity
#
# $s(t) = s$ for $t_\text{low} \le t \le t_\text{high}$, else 1. Of the three thirds, the high one does nearly everything, good and bad.
#
# - at the very top both answers are averages over everything: a large $s$ takes all samples the same way
# - at the bottom the digit is drawn already: guidance there is wasted
# - useful between; **where** between lies depends on the data
#
# With a hundred digits, guided by $s=4$ within a band (0 to 0: nowhere, since no walk asks at level 0):
#
# Notes:
# Say: this is the finding of Kynkäänniemi et al. (2024), on digits. One digit is one in a hundred here: look at the pattern, not at the last figure.
# Ask: outside the band, is the scale 0 or 1? (1: no guidance means trusting the label as it is.)
# Ask: why is the band cheaper too? (Outside it one branch is enough, so only the steps in the band cost twice.)
# Have run: five walks of a hundred digits, tens of seconds on a busy machine.
# -->

# %% slideshow={"slide_type": "skip"}
def scale_at(t, s, band):
    low, high = band
    return torch.where((t >= low) & (t <= high), s, 1.0)


def in_band(band, y, s=4.0):
    def network(x, t):
        return guided(model, x, t, y, scale_at(t, s, band)[:, None, None, None])

    network.prediction = "v"
    return network

# %% tags=["slide-output"] slideshow={"slide_type": "-"}
y = torch.arange(choose(100, 20)) % 10
x_T = torch.randn(len(y), 1, 28, 28, generator=torch.Generator().manual_seed(9))
rule = dpm_solver(choose(12, 2))
for band in ((0, 0), (334, 666), (700, 900), (900, 1000), (1, 1000)):
    x = last(reverse(in_band(band, y), schedule, rule, x_T=x_T, clip_x0=1.0))
    right = float((probabilities(x).argmax(1) == y).float().mean())
    pixels, deep = float(diversity(x, y)), float(diversity(features(x), y))
    print(f"guided from {band[0]:3} to {band[1]:4}: read as asked {right:4.0%}, "
          f"diversity of pixels {pixels:.2f}, of features {deep:.2f}")

# %% [markdown] slideshow={"slide_type": "skip"}
# (Band 0 to 0 guides nowhere: no walk asks at level 0, the clean data. With a hundred digits, one digit is one in a hundred: look at the pattern, not at the last figure.) A band *below* the top gets close to the accuracy of guidance everywhere and keeps much more of the diversity; the very top alone buys less and costs more. There the two
# answers are averages over everything, their difference says "more like the average of this class", and a large $s$ takes all samples the same way. That is the finding of Kynkäänniemi et al., on digits: harmful at the top, wasted at the bottom, useful between. Where "between" lies depends on the data.
#
# %% [markdown] exercise_text="6.10" slideshow={"slide_type": "slide"}
# ## 13. Which line is wrong?
#
# Guidance forgives a lot. Below stands a guided walk at $s=3$ with one wrong line in it; which line it is depends on a seed of yours. It draws twenty digits, two of each, in ten DDIM steps with the course's network. The lines are made for each level `t` of the walk. And in all cases but one,
# *every digit is the one that was asked for.*
#
# **Exercise 6.10** Find the line, and write its number into the second cell. Under the pictures stand some comparisons, made at one noisy $x_t$ with plain calls of the network.
#
# Difficulty: ●●●○○ · 9 minutes
#
# <details><summary>Hint</summary>
#
# Ask four plain questions. What must come out at $s=0$, what at $s=1$, what may change between $s=1$ and $s=3$, and may $x_0$ leave the range? The printed numbers answer them; then read the lines again.
#
# </details>
#
# <!--slide 3 min
# ## All digits are right. One line is not. Which?
#
# ```python
# 1 none = torch.full_like(y, model.classes)
# 2 both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, none]))
# 3 out_c, out_u = both.chunk(2)
# 4 out = out_u + s * (out_c - out_u)
# 5 x0, eps = from_v(out, x, t, schedule)
# 6 x0, eps = clamp_x0(x, t, x0, schedule)
# ```
#
# Notes:
# Say: one of these lines was changed; the lines on the slide are the right ones. In all cases but one every digit is read as asked: accuracy does not find a wrong guidance. In the notebook everybody gets a case of their own; for a common one, `check.hunt("6.10", seed=your_number)`.
# Ask: which three comparisons would you make? (At s = 0 with the answer without label, at s = 1 with the answer with it, and s = 1 against s = 3.)
# Measured, in the order right, line 1, line 2, line 3, the three of line 4, line 6: difference at s = 0 from the answer without label 0.00, **0.13**, **0.15**, 0.15, 0.15, 1.05, 0.00, 0.00; at s = 1 from the answer with label 0.00, 0.00, 0.00, **0.15**, **0.15**, 0.00, **1.05**, 0.00; change from s = 1 to s = 3 0.30, 0.40, **0.00**, 0.30, 0.30, **2.11**, 2.11, 0.30; estimates beyond the range on the way 0 %, in line 6 **23 %**; read as asked 100 %, in line 3 **0 %**.
# Exercise: 9 minutes, in pairs. Line 5 has no mistake in any case.
# -->

# %% exercise="6.10" kind="hunt" slideshow={"slide_type": "skip"}
check.hunt("6.10")

# %% kind="answer" of="6.10" slideshow={"slide_type": "skip"}
line = 1  # TODO 6.10: the number of the wrong line
check.found("6.10", line)

# %% [markdown] slideshow={"slide_type": "skip"}
# Three plain comparisons, at $s=0$, at $s=1$ and between two scales, find a wrong line 1 to 4; a missing clamp shows only in the range of $x_0$. Most of this no picture shows. Whenever you meet guidance in somebody else's program, make them first.
#
# ## 14. Turn the knob
#
# Class, scale, seed: eight digits with ten DPM-Solver++ steps, few enough to answer within a second, drawn by your network and your walk. The picture shows five settings of the scale for one class and one seed. The sliders under it need a running kernel and draw anew when released.
# Move the scale from 1 to 8: the sevens grow bold and alike. Move it below 0: anything but a seven. Change the class and leave the seed: what stays?

# %% slideshow={"slide_type": "skip"}
def knob(digit=7, scale=2.0, seed=0):
    x_T = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
    return draw(torch.full((8,), digit), scale, x_T, steps=10)


start = time.perf_counter()
settings = [(7, -1.0, 0), (7, 0.0, 0), (7, 1.0, 0), (7, 2.0, 0), (7, 6.0, 0)]
drawn = {f"class {digit}, s = {s:g}, seed {seed}": knob(digit, s, seed) for digit, s, seed in settings}
print(f"{(time.perf_counter() - start) / len(settings):.2f} s a picture of eight")
show.rows(drawn, "Rows of eight digits from the same eight noises for the class 7: at scale -1 anything but "
          "sevens, at 0 any digit, at 1 and 2 sevens, at 6 bold and alike")

# %% slideshow={"slide_type": "skip"}
from helpers.sliders import sliders


def turn_knob(digit=7, scale=2.0, seed=0):
    """Draw eight samples of a class at a guidance scale."""
    title = f"class {digit}, s = {scale:g}, seed {seed}"
    show.grid(knob(digit, scale, seed), f"Eight digits in a row: {title}", columns=8, title=title)


sliders(turn_knob, digit=(0, 9), scale=(-2.0, 8.0, 0.5), seed=(0, 20))

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ## Looking inside
#
# Optional. The sweep in numbers, where the label acts, what lies between two labels, and the older way.
#
# ### The sweep in numbers
#
# Mean and standard deviation over the seeds. *Sure*: the share to which the judge gives more than $95\,\%$ for one class, whichever. The mean pixel is $-1$ for an all black picture.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
print("         asked for   sure    diversity of pixels   of features     Frechet distance   mean pixel")
for name, row in [*((f"s = {row['scale']:g}", row) for row in rows), ("real", real)]:
    a, b, c = (f"{row[key]['mean']:.2f} ± {row[key]['std']:.2f}"
               for key in ("diversity", "diversity_features", "distance"))
    accuracy, sure, ink = (row[key]["mean"] for key in ("accuracy", "confident", "ink"))
    print(f"{name:8} {accuracy:7.1%} {sure:8.1%} {a:>18} {b:>15} {c:>18} {ink:12.2f}")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# ### At which levels does the label say something?
#
# The length of what guidance multiplies, $\epsilon_c - \epsilon_u$, level by level, as a root mean square over pixels; beside it the same difference read as $x_0$.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
lengths, levels = {"of $\\epsilon$": [], "of $x_0$": []}, range(10, 1001, choose(66, 400))
for level in levels:
    t = torch.full((32,), level)
    x_t = schedule.q_sample(some, t, torch.randn(some.shape, generator=g))
    both = [schedule.from_output(guided(model, x_t, t, some_labels, s), x_t, t, "v") for s in (1.0, 0.0)]
    for shares, with_label, without in zip(lengths.values(), *both, strict=True):
        shares.append(float((with_label - without).square().mean().sqrt()))
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.2))
for name, values in lengths.items():
    ax.plot(levels, values, label=name, linewidth=2)
ax.set(xlabel="noise level t", ylabel="root mean square", title="What the label changes in the estimate")
ax.set_yscale("log")
ax.legend()
show.figure(fig, "How much the label changes the estimates of the noise and of the clean picture, over the "
            "noise level, log scale: steeply rising for the clean picture, nearly level for the noise")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "slide"}
# In the noise the label changes little at any level. In the estimate of the clean picture it changes most at the top, where the picture is still open, and next to nothing at the bottom, where the digit can be seen. That is why a guided walk is decided early, and why
# guidance at the lowest levels is wasted work.
#
# ### Between two labels
#
# A label is a point in a space of vectors, so one can ask for the point between two of them: $(1 - \lambda)\,E_a + \lambda\,E_b$. No such label was ever trained.
#
# <!--slide 2 min
# ## Half a label is not half a digit
#
# Notes:
# Say: mixed labels, one and the same noise everywhere. For the most part one digit stays and then, within a step or two, it is the other; on the way a 0 may open into a 6. No such label was ever trained.
# Ask: notebook 05 also went from one picture to another. What was mixed there, and what here? (There the noises, on an arc, with any digit free to come; here the labels, with the noise held fixed.)
# Live: try other pairs in `between(a, b, 9)`, a few seconds each.
# -->

# %% tags=["optional", "slide-figure"] slideshow={"slide_type": "-"}
import copy


def between(a, b, count, s=2.0):
    mix, table, mixed = torch.linspace(0, 1, count)[:, None], model.label.weight, copy.deepcopy(model)
    rows = (1 - mix) * table[a] + mix * table[b]
    mixed.label, mixed.classes = nn.Embedding.from_pretrained(torch.cat([rows, table[-1:]])), count
    rule, x_T = dpm_solver(choose(15, 2)), noise[:1].expand(count, -1, -1, -1)
    return last(reverse(Guided(mixed, torch.arange(count), s), schedule, rule, x_T=x_T, clip_x0=1.0))


strips = {f"{a} to {b}": between(a, b, 9) for a, b in ((1, 7), (3, 8), (4, 9), (0, 6))}
show.rows(strips, "Rows that begin with one digit and end with another, from one noise, with mixed labels "
          "between: one shape bends into the other or flips somewhere", [f"{i / 8:.2f}" for i in range(9)])

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# For the most part one digit stays and then, within a step or two, it is the other; on the way a 0 may open into a 6, a 4 close into a 9. A mixed label is not a mixed class: it is a message the network was never sent, and what it makes of it is to be seen, not known.
#
# ### The older way: classifier guidance
#
# Dhariwal and Nichol (2021) train a classifier on *noisy* pictures and add its gradient to the score of an unconditional network, $\nabla_x \log p_t(x) + s\,\nabla_x \log p_t(y \mid x)$. Nothing about the diffusion network has to change, and a new classifier
# gives a new kind of control. But a second network must be trained at every noise level, each step needs its gradient, and a gradient of a classifier can be followed to pictures that fool it rather than to pictures of the class.
# Classifier-free guidance has the classifier implied by two denoisers; those, too, can disagree in ways that are no property of the data. And both follow the same family of fields, so what section 6 showed holds for both.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - A label enters as one more vector, added to that of the noise level; "no label" has a vector of its own, trained on the share of examples that lose theirs.
# - Guidance walks from the answer without label towards the one with it, and past it. $s$ and $w = s - 1$ are two names of one line; $\epsilon$, $v$ and $x_0$ can be guided alike.
# - At each level the guided field is the score of $p_t(x)\,p_t(y\mid x)^s$; the samples are *not* those of a sharpened density. They pile up where the class differs most from the rest, and with an imperfect network they leave the data.
# - It buys accuracy with diversity, with distance from the data, and with twice the work. At large $s$ the clamp is what holds the picture in range.
# - Below 0 it flees from a class; within a band of levels it may cost less.
#
# ## Self-check
#
# - [ ] How does a label enter the network, and what does it cost?
# - [ ] Why is a share of the labels dropped, and why must "no label" have a row of its own?
# - [ ] Write guidance in both conventions. What is a paper's $w = 0$?
# - [ ] Why may $v$ be guided instead of $\epsilon$, and why is the clamp applied afterwards?
# - [ ] What is the guided field at one level the score of, and why are its samples not those of a sharpened density?
# - [ ] Why must diversity stand beside accuracy?
# - [ ] What does $s = -1$ ask for?
#
# <details><summary>Answers</summary>
#
# 1. As a vector of its own, added to that of the noise level. It costs one row for each class and one for "no label": (classes + 1) times the width of the vector.
# 2. So that the same network also learns to answer without a label. Row 0 is a class: used for "no label" as well, it would learn zeros and a tenth of everything else.
# 3. $\epsilon_u + s\,(\epsilon_c - \epsilon_u) = (1 + w)\,\epsilon_c - w\,\epsilon_u$ with $w = s - 1$. A paper's $w = 0$ is the plain conditional model, our $s = 1$.
# 4. At one $x_t$ each of $v$, $\epsilon$ and $x_0$ is a straight line in the others, and the weights $1 - s$ and $s$ add up to 1, so the line does not mind. A clamp is no straight line: clamped before, the two answers lose what lies beyond the range.
# 5. Of $p_t(x)\,p_t(y \mid x)^s$, exactly. But these densities at different levels do not belong to one diffusion, so a walk through them does not end in samples of the one at $t = 0$.
# 6. A generator that draws one perfect 7 for every 7 has perfect accuracy.
# 7. It goes away from the label: $2\epsilon_u - \epsilon_c$, as far beyond the answer without label as that is from the one with it.
#
# </details>
#
# ## Further exercises
#
# 1. ●●○○○, 15 minutes. Negative prompts: put the label of another class where "no label" stands in `guided`, and draw at $s = 2$. Ask for a 4 with a 9 in its place, and for a 4 with a 1. What changes?
# 2. ●●●○○, 25 minutes. Train the moons with `drop=0.5` and with `drop=0.01`. Which of the two branches suffers?
# 3. ●●●○○, 25 minutes. Let $s$ depend on $t$: 1 at both ends, largest in the middle (a triangle). Compare with a band on the moons.
# 4. ●●●●○, 40 minutes. In place of the unlabelled branch use a *bad* network, for example the moons network after 200 steps (Karras et al. 2024, "autoguidance"). Do the samples still pile up?
#
# <details><summary>Answers</summary>
#
# 1. All are fours, and each avoids what was named: with a 9 in place of "no label" the tops stay open, with a 1 the fours get wider and bolder (the mean pixel of 40 digits rises from -0.734 to -0.675). A negative prompt still asks for the class, and chooses which other class it is kept apart from.
# 2. The unlabelled one with 0.01, since it saw one example in a hundred: its estimates are off by 0.067 from the exact ones, where `drop=0.1` has 0.035. With 0.5 it gets better, 0.023, and the labelled branch a little worse, 0.027 in place of 0.023. What shows is the guidance: at $s=3$ the moons of `drop=0.01` shrink to a spread of 0.27, those of the others to 0.35 and 0.37.
# 3. Much like a band. With a top of 4 the triangle leaves a spread of 0.36, guidance between 334 and 666 leaves 0.38, between 250 and 750 0.34, everywhere 0.32; without guidance it is 0.50. Samples stay on the moon in all of them.
# 4. They do not. Away from the network of 200 steps, the upper moon keeps a spread of 0.50 at $s=2$ and 0.51 at 4, where guidance by label leaves 0.41 and 0.32, and its samples stay on the moon. The bad network errs everywhere, so its difference from the good one has no favourite end.
#
# </details>
#
# ## References
#
# - Ho, Salimans 2022, *Classifier-free diffusion guidance*, [arXiv:2207.12598](https://arxiv.org/abs/2207.12598): eq. 6, algorithms 1 and 2.
# - Dhariwal, Nichol 2021, *Diffusion models beat GANs on image synthesis*, [arXiv:2105.05233](https://arxiv.org/abs/2105.05233): section 4 (classifier guidance).
# - Kynkäänniemi et al. 2024, *Applying guidance in a limited interval*, [arXiv:2404.07724](https://arxiv.org/abs/2404.07724).
# - Saharia et al. 2022, *Imagen*, [arXiv:2205.11487](https://arxiv.org/abs/2205.11487): section 2.3 (static and dynamic thresholding).
# - Bradley, Nakkiran 2024, *Classifier-free guidance is a predictor-corrector*, [arXiv:2408.09000](https://arxiv.org/abs/2408.09000): guidance is not sampling from the sharpened density.
# - Chidambaram et al. 2024, *What does guidance do? A fine-grained analysis in a simple setting*, [arXiv:2409.13074](https://arxiv.org/abs/2409.13074): samples move to the edge of the class, and with errors in the score off it.
# - Karras et al. 2024, *Guiding a diffusion model with a bad version of itself*, [arXiv:2406.02507](https://arxiv.org/abs/2406.02507).
# - Lu et al. 2022, *DPM-Solver++*, [arXiv:2211.01095](https://arxiv.org/abs/2211.01095): guided sampling in few steps.
#
# <!--slide 2 min
# ## What we learned, and what comes next
#
# - a label is one more vector; "no label" has a row of its own
# - guidance goes from the answer without label past the one with it
# - its samples are **not** those of a sharpened density: they pile up where a class differs most from the rest
# - it buys accuracy, and pays with diversity, distance and twice the work
# - within a band of levels it may cost less
#
# **Next:** notebook 07 draws clothes with the parts you have written.
#
# Notes:
# Say: never show accuracy alone.
# Ask: somebody reports a perfect accuracy at s = 8. What do you ask to see? (The diversity and the distance beside it, those of real images as a yardstick, and a sheet of samples.)
# Homework: further exercise 1, the label of another class in place of "no label": what image generators call a negative prompt.
# -->

# %% slideshow={"slide_type": "skip"}
check.summary("06")
