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
# So far the network drew whatever the noise led to. Now we would like to ask for something: a 7, please.
#
# That takes three things. We tell the network which digit we mean. We teach it to work without being told as well. And then we compare its two answers,
# with the label and without, and go a little further in the direction that the label adds. This last step is *classifier-free guidance*, and nearly every image
# generator has a knob for it. The picture below shows what comes out.
#
# **What you will be able to do**
# - tell a network which class to draw, and train it to work without a label too;
# - write classifier-free guidance, in both conventions, with one batched call for both branches;
# - say what the guided field is, and whether its samples are those of a sharpened density;
# - measure what guidance buys (accuracy) and what it costs (diversity, distance from the data, time);
# - guide away from a label, guide at some noise levels only, and guide without any labels;
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
# **Write down a guess:** we only tell the network the digit. How often does it draw the digit asked for?
#
# Notes:
# Say: so far the network drew whatever the noise led to. Today we tell it which digit we want, and then learn to ask louder.
# Ask: how would you tell the network of notebook 04 which digit to draw? (Collect ideas; the one of this notebook is a learned vector added to that of the noise level.)
# Say: keep the guess; section 9 measures it.
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
from helpers.guidance import AtSameNoise, Autoguided, Guided
from helpers.models import LabUNet, PointMLP, parameter_count
from helpers.modes import choose
from helpers.sampling import ddim, dpm_solver, last, reverse

my = mine.parts()  # your functions of the notebooks before, where they are right

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
pictures = load_images("guidance")
show.grid(pictures["s_2"][:20], "Twenty new handwritten digits in two rows; each row counts from 0 to 9",
          columns=10, title="Asked for: 0 to 9, twice")

# %% [markdown] exercise_text="6.1" slideshow={"slide_type": "slide"}
# ## 1. A label beside the noise level
#
# How would you tell the network of notebook 04 which digit to draw? Every block of it already receives a vector that says how noisy the picture is. The label can go the same way: each class gets a vector of its own, learned like any other weight, and we add it to the vector of the noise level.
#
# The vectors are the rows of a table. It has one row for each class and a last one for "no label", written $\varnothing$; with ten classes that makes eleven rows. Nothing else in the network changes. (Why a table, and not sines of the class number, as for the level? Because classes have no order. A 7 is not halfway between a 6 and an 8.)
#
# `Labelled` is your U-Net of notebook 03 with such a table. Its `forward` stores the labels in `self.y` and then runs your `UNet.forward`, which calls `self.embed(t)` for the vector that every block gets. So `embed` is the one method we have to write anew.
#
# ### Exercise 6.1: teach your U-Net a label
#
# Write `embed`. It gets the levels `t` (B,). The labels (B,) are in `self.y`, or `None` if there are none. Return (B, dim): what the level says plus what the label says.
#
# Difficulty: ●●○○○, 8 minutes
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
# $$e(t, y) = \mathrm{layers}\big(\gamma(t)\big) + E_y, \qquad y \in \{0, \dots, 9, \varnothing\}$$
#
# In words: the level goes through its layers, and the label's row of the table $E$ is added.
#
# - a table: one row a class, learned like any weight
# - the last row is $\varnothing$, "no label"
# - looked up, not put through sines: classes have no order
# - cheap: ten classes cost eleven rows; nothing else in the network changes
#
# **Your turn:** exercise 6.1, `Labelled.embed(t)`, with the labels in `self.y`
#
# > The table starts at zero. What does a label change then, and what is that good for?
#
# Notes:
# Say: every block is told the noise level as a vector. We add the label to that vector.
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
# We have trained such a network on labelled digits. Its weights must fit into your class: `load_state_dict` stops if one name or one shape differs.

# %% slideshow={"slide_type": "skip"}
shipped = load_model("mnist_classes")
model = Labelled().eval().requires_grad_(False)  # your network, the course's weights
print(model.load_state_dict(shipped.state_dict()))
own = my.Schedule(my.cosine_betas(1000))
recipe, extra = shipped.recipe, model.label.weight.numel()
print(f"{parameter_count(shipped):,} parameters, {extra:,} for labels; {recipe['step']:,} steps "
      f"of {recipe['batch_size']} images")

# %% [markdown] exercise_text="6.2" slideshow={"slide_type": "slide"}
# All keys match, and the labels cost next to nothing: eleven rows.
#
# ## 2. Now and then, no label
#
# Guidance needs two answers: one for pictures with this label, and one for pictures of any kind. We could train two networks, but one is enough. During training each example
# loses its label with a small probability $p$ (Ho & Salimans 2022, algorithm 1):
# $$L = \mathbb E\,\big\lVert f_\theta(x_t, t, \tilde y) - \text{target} \big\rVert^2, \qquad
# \tilde y = \begin{cases} \varnothing & \text{with probability } p\\ y & \text{else}\end{cases}$$
# In words: this is the loss you know, and the label $\tilde y$ that the network sees is now and then $\varnothing$. For the examples without label the best answer is the average over all classes, as in notebook 02. For the others it is the average within their class. We take $p = 0.1$.
#
# ### Exercise 6.2: lose a label in ten
#
# Write `drop_labels`. `y` (B,) are labels, `draws` (B,) uniform random numbers in $[0, 1)$, `share` is $p$, `none` the number of the label $\varnothing$.
#
# Difficulty: ●○○○○, 5 minutes
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
# Say: the loss is that of notebook 02. Now and then the label is missing.
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
# We first look at guidance where everything can be drawn: on the two moons of notebook 02. The upper moon is class 0, the lower one class 1. `train` takes `labels=` and drops a
# tenth of them. It runs live, for about ten seconds.

# %% slideshow={"slide_type": "skip"}
from helpers.classifiers import features, probabilities
from helpers.schedule import at, cosine, linear
from helpers.training import Run, train

schedule = cosine(1000)
moons, moon = data.moons(10_000, seed=0)
torch.manual_seed(0)
run = Run(PointMLP(classes=2, prediction="v"), lr=2e-3, seed=0)
steps = choose(read=2500, smoke=20)
training = train(run, schedule, moons, steps, batch_size=256, labels=moon, drop=0.1)
losses = [step.loss for step in show.progress(training, steps, "moons")]
net = run.ema.model
print(f"{steps} steps, mean loss of the last 100: {sum(losses[-100:]) / len(losses[-100:]):.3f}")

# %% [markdown] exercise_text="6.3" slideshow={"slide_type": "slide"}
# This one network gives three answers at every noisy point: with the label 0, with the label 1, and without label.
#
# ## 4. Guidance: past the label
#
# At each step we ask the network twice, once without label, `out_u`, and once with it, `out_c`. The difference of the two answers is what the label adds. We could take all of it, or less, or more. So we would like a dial $s$, the *guidance scale*, that does three things:
#
# - At $s = 0$ the label is ignored, and we get the answer without label.
# - At $s = 1$ we get the answer with label, as it is.
# - All other answers lie on the straight line through these two: above $s = 1$ beyond the answer with label, below 0 on the other side. Equal steps of $s$ are equal steps on the line.
#
# ### Exercise 6.3: a dial for the label
#
# Write `guide` for outputs `out_u` (without label), `out_c` (with label), both $(B, ...)$, and `s`: a number, or a tensor that has one for each example in a shape that fits.
#
# Difficulty: ●●○○○, 5 minutes
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
# In words: the difference of the two answers is what the label adds, and the dial says how much of it we take.
#
# > Draw the two answers as two points. Where on their line do 0.5, 2 and -1 stand?
#
# **Your turn:** exercise 6.3, `guide(out_u, out_c, s)`
#
# Notes:
# Say: the difference of the two answers is what the label adds. The dial takes more of it, or less.
# Ask: where is s = 2? (Past the answer with label, as far again as it is from the one without. 0.5 is half-way; -1 is as far on the other side of the answer without label.)
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
# In words: start at the answer without label and go $s$ times the way to the one with it. Ho & Salimans write the same line as
# $(1 + w)\,\epsilon_c - w\,\epsilon_u$, with $w = s - 1$. Papers and programs call both $s$ and $w$ the "guidance scale", so $w = 2$ in one is $s = 3$ in the other. To find out which one you have, look at what 0 does.
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
# In notebook 02 we read the predicted noise as a score, $\nabla_x \log p_t(x) = -\epsilon / \sqrt{1 - \bar\alpha_t}$. Bayes' rule at level $t$ says
#
# $$\log p_t(x \mid y) = \log p_t(x) + \log p_t(y \mid x) + \text{const}$$
#
# Take gradients in $x$ (the constant has none) and bring the score without label to the other side:
#
# $$\nabla_x \log p_t(y \mid x) = \nabla_x \log p_t(x \mid y) - \nabla_x \log p_t(x) = -\frac{\epsilon_c - \epsilon_u}{\sqrt{1 - \bar\alpha_t}}$$
#
# On the left stands the gradient of a classifier that looks at the *noisy* picture. Now divide the guided prediction by $-\sqrt{1 - \bar\alpha_t}$ as well:
#
# $$-\frac{\tilde\epsilon}{\sqrt{1 - \bar\alpha_t}} = \nabla_x \log p_t(x) + s\,\nabla_x \log p_t(y \mid x) = \nabla_x \log\big(p_t(x)\,p_t(y \mid x)^s\big)$$
#
# So the guided prediction is the score of $p_t(x)\,p_t(y \mid x)^s$: the classifier's opinion counts $s$ times. Nobody trained that classifier; it follows from the network's
# two answers. Hence the name *classifier-free*.
#
# </details>
#
# Our networks predict $v$. Does it matter which of $\epsilon$, $v$ and $x_0$ we guide? For a given $x_t$ each of them is a linear function of any other, $f(z) = az + b$ (notebook 03), for example
# $\epsilon = \sqrt{\bar\alpha_t}\,v + \sqrt{1-\bar\alpha_t}\,x_t$. And `guide` is a weighted sum with weights $1 - s$ and $s$, which add up to 1:
# $$f\big((1-s)\,u + s\,c\big) = a\,\big((1-s)\,u + s\,c\big) + b = (1-s)\,f(u) + s\,f(c)$$
# The $b$ on the left is $(1-s)\,b + s\,b$ on the right. So we may guide whichever we have. The next cell checks this, and both conventions:
#
# <!--slide 4 min
# ## Guidance goes past the label
#
# $$\tilde\epsilon = \epsilon_u + s\,(\epsilon_c - \epsilon_u)$$
#
# In words: start at the answer without label and go $s$ times the way to the one with it.
#
# - Ho & Salimans: $(1+w)\,\epsilon_c - w\,\epsilon_u$, the same line with $w = s-1$. Our $s=3$ is their $w=2$
# - guide $\epsilon$, $v$ or $x_0$: at one $x_t$ each is linear in the others, and the weights $1-s$ and $s$ add up to 1
# - the **clamp** on $x_0$ is not linear: it comes once, after guiding
#
# Both conventions and all three choices, on 500 points at $s=3$. All differences are rounding:
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
paper = (1 + w) * eps_c - w * eps_u
gaps = {"s or w": paper - guide(eps_u, eps_c, s), "guide v or eps": eps - guide(eps_u, eps_c, s)}
gaps["guide v or x_0"] = x0 - guide(x0_u, x0_c, s)
rows = [[name, f"{gap.abs().max():.0e}"] for name, gap in gaps.items()]
show.table(rows, ["compared", "largest difference"])

# %% [markdown] exercise_text="6.4" slideshow={"slide_type": "slide"}
# Only rounding is left. (The clamp on $x_0$ is *not* linear. `reverse` applies it once, after guiding.)
#
# ### Both branches in one call
#
# Guidance asks the network twice per step. We can also ask once, with a batch of $2B$ rows: the first half with labels, the second half with $\varnothing$. Then we split the answer. The arithmetic stays
# the same, but every call has a fixed price (Python, starting each operation), and we pay it once.
#
# ### Exercise 6.4: both answers in one call
#
# Write `guided`: the guided output $(B, ...)$ for `x` $(B, ...)$, `t` (B,), `y` (B,) with *one* call `model(x, t, y)`. "No label" is `model.classes`; `guide` is at hand.
#
# Difficulty: ●●●○○, 10 minutes
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
# **1.** Bayes' rule at level $t$: $\ \log p_t(x \mid y) = \log p_t(x) + \log p_t(y \mid x) + \text{const}$
#
# **2.** Take gradients in $x$; the constant has none. Predicted noise is a score (notebook 02):
#
# $$\nabla_x \log p_t(y \mid x) = \nabla_x \log p_t(x \mid y) - \nabla_x \log p_t(x) = -\frac{\epsilon_c - \epsilon_u}{\sqrt{1 - \bar\alpha_t}}$$
#
# **3.** Divide the guided prediction by $-\sqrt{1-\bar\alpha_t}$ as well:
#
# $$-\frac{\tilde\epsilon}{\sqrt{1 - \bar\alpha_t}} = \nabla_x \log p_t(x) + s\,\nabla_x \log p_t(y \mid x) = \nabla_x \log\big(p_t(x)\,p_t(y \mid x)^s\big)$$
#
# In words: a classifier that looks at the **noisy** picture gives its opinion, and it counts $s$ times. Nobody trained it; it follows from two denoisers. Hence *classifier-free*.
#
# Notes:
# Say: hence the name, classifier-free. The third step is exact at each level, and it misleads many people about the samples. We test that in a moment.
# Ask: what is the density for s = 0 and for s = 1? (The one without label, and, up to a constant, the conditional one.)
# -->
# <!--slide 3 min
# ## Both branches fit into one call; the work still doubles
#
# - one batch of $2B$ rows: first half with labels, second half with $\varnothing$; then split
# - saved: the fixed price of the second call, which shows for a single image
# - not saved: the arithmetic. **Guidance doubles the work of a step**
#
# **Your turn:** exercise 6.4, `guided(model, x, t, y, s)`
#
# Notes:
# Say: this is the first thing guidance costs.
# Ask: on a GPU with this small network, which of the two ways wins, and why? (One call: a step there is mostly fixed price, and a larger batch fits into it.)
# Exercise: 10 minutes, then bring up the code. Common mistakes: `x` doubled but `t` not, and the halves taken in the wrong order, so that s = 2 acts like s = -1.
# Live: the timing cell takes a few seconds. For one image one call is the faster. From about eight on the two columns lie close together and may change places from run to run, for the arithmetic is the same.
# Answers 6.4.
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

# %% tags=["hide-input", "slide-output"] slideshow={"slide_type": "-"}
@torch.no_grad()
def milliseconds(work):
    found = []
    for _ in range(choose(7, 1)):
        start = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - start))
    return sorted(found)[len(found) // 2]  # the middle one


timings = []
for n in (1, 8, 64):
    x, t, y = torch.randn(n, 1, 28, 28), torch.full((n,), 500), torch.zeros(n, dtype=torch.long)
    one = milliseconds(lambda x=x, t=t, y=y: guided(model, x, t, y, 2.0))
    two = milliseconds(lambda x=x, t=t, y=y: guide(model(x, t), model(x, t, y), 2.0))
    timings.append([n, f"{one:.0f}", f"{two:.0f}"])
show.table(timings, ["images", "one call, ms", "two calls, ms"], "A guided step of the U-Net, median of 7")

# %% [markdown] slideshow={"slide_type": "skip"}
# For one image a good part of the time is the fixed price of a call, so one call is faster than two. With 64 images on a CPU the arithmetic decides. It is the same in both columns,
# and which one is ahead may change from run to run. On a GPU a step of such a small network is mostly fixed price, and one call helps for larger batches too. Either way **guidance doubles the work** of a sampling step. That is the first thing it costs.
#
# `helpers.guidance.Guided` is your function wrapped as a network. It is called as `(x, t)`, so that `reverse` need not know about guidance.
#
# ### The first sevens, and a quiet mistake
#
# Now we have all we need for a walk of your own: the network of 6.1, `guided`, your `walk` of notebook 04 and `TwoStep` of notebook 05. `draw` puts them together. Its argument `answer` is the function that is asked at each step.

# %% slideshow={"slide_type": "skip"}
def draw(y, s, x_T, steps=15, answer=guided):
    def network(x, t):
        return answer(model, x, t, y, s)

    levels = my.ddim_levels(1000, choose(steps, 2))
    *_, (_, x, _) = my.walk(network, own, x_T, levels, my.TwoStep(), my.from_v)
    return x

# %% [markdown] exercise_text="6.5" slideshow={"slide_type": "skip"}
# A small slip in `guided` raises no error: the walk runs, digits come out, and they are the wrong ones. Can you make this mistake on purpose?
#
# ### Exercise 6.5: make the quiet mistake
#
# `guided_too` is a right copy of your function. Change one thing in it, without touching `s` or the labels that are asked for, so that no seven comes when sevens are asked for at $s=2$. Then set `why` to the letter of the scale with which the right function
# would have done exactly the same: (a) 0; (b) $-1$; (c) $-2$; (d) $\tfrac12$.
#
# Difficulty: ●●○○○, 6 minutes
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
# We get sevens in the first row and none in the second. With the halves exchanged, the line starts at the answer *with* label and goes towards the one without. So your changed function does with $s$ what the right one does with $1 - s$. At $s=2$ that is $-1$, away from the label, and so the third row is the same as the second.
# At $s = 0.5$ you would not notice anything.
#
# ## 5. The guided field
#
# Back to the two moons. At each point of a grid of noisy points $x_t$ we ask for the estimate $\hat x_0$ of the clean point. The label is "upper moon". Where do you expect the estimates to lie for $s = 4$?
#
# <!--slide 4 min
# ## The guided field points past the moon
#
# Notes:
# Say: grey arrows are the first part of the way to the estimate of the clean point, orange dots are the estimates. Label: the upper, blue moon. At s = 1 the estimates lie on it, or inside its bow where the noise leaves it open. With larger s they move beyond, away from the lower moon.
# Ask: s = 4, upper and lower row: above all dots leave the moon together, below some stay on it. Why? (At t = 600 both answers are averages over wide regions, and their difference, which is what is multiplied, is similar everywhere. At t = 300 it depends on the place: near the upper moon the label is no news and the answers agree; near the lower one they lie a moon apart, and four times that leads out of the frame.)
# Live: change the 4 in `names` to 8; a second or two.
# -->

# %% slideshow={"slide_type": "skip"}
@torch.no_grad()
def find_estimates(x, t, s):
    """The guided estimates of the clean points for noisy points x (N, 2) at level t, label: upper moon."""
    level = torch.full((len(x),), t)
    out = guided(net, x, level, torch.zeros_like(level), s)
    return schedule.from_output(out, x, level, "v")[1]

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
def draw_field(ax, t, s, title):
    line = torch.linspace(-1.5, 1.5, 9)
    x = torch.cartesian_prod(line, line)
    x0 = find_estimates(x, t, s)
    show.scatter(ax, moons[moon == 1][:700], colour="0.75", size=3)
    show.scatter(ax, moons[moon == 0][:700], colour=show.COLOUR["data"], size=3)
    first = 0.3 * (x0 - x)
    style = dict(width=0.008, headwidth=5, color=show.COLOUR["noise"])
    ax.quiver(*x.T, *first.T, angles="xy", scale_units="xy", scale=1, **style)
    ax.plot(*x0.T, ".", color=show.COLOUR["model"], markersize=6, label="estimates of $x_0$")
    ax.set(xlim=(-2, 2), ylim=(-2, 2), xticks=[], yticks=[], title=title)


# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(2, 4, figsize=(show.WIDTH, 5.6))
names = {0: "no label", 1: "upper moon", 2: "guided", 4: "guided"}
for row, t in zip(axes, (600, 300), strict=True):
    for ax, (s, name) in zip(row, names.items(), strict=True):
        draw_field(ax, t, s, f"s = {s}: {name}" if t == 600 else "")
    row[0].set_ylabel(f"t = {t}")
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", handletextpad=0.1)
show.figure(fig, "Grey arrows from a grid of noisy points towards orange estimates of the clean point, for "
            "four scales and two levels. Without label the estimates lie on or between both moons, with the "
            "label on the upper, blue one, guided beyond it, away from the lower moon, further for larger s.")

# %% [markdown] exercise_text="6.6" slideshow={"slide_type": "slide"}
# Follow the orange dots. With $s = 1$ they lie on the upper, blue moon, or inside its bow where the noise leaves the place open. With $s = 2$ they have moved away from the lower moon. With $s = 4$ many of them lie **beyond** the upper one,
# where there are no data. At $t = 600$ all of them move together. At $t = 300$ some are far out while others are still on the moon.
#
# ## 6. What large s does
#
# What do guided samples look like? A popular explanation says: guidance draws from the density of the data, sharpened towards the label, $p(x)\,p(y \mid x)^s$. We can test that. The two moons do not overlap, so on the upper moon $p(y \mid x)$ is 1, and every power of 1 is 1. If the explanation is right,
# the samples look the same for all $s \ge 1$. To keep the network's errors out of the test, we also run it with notebook 02's *exact* denoiser, which knows the right answer for a finite set of points, with and without label.
#
# ### Exercise 6.6: what does a large scale do?
#
# With exact answers, what happens to the samples of one moon when $s$ grows from 1 to 8? (a) Nothing: $p(y\mid x)$ is 1 there. (b) They draw together at the end that is farthest from the other moon. (c) They draw together in the middle, the most
# typical place. (d) They leave the moon.
#
# Difficulty: ●●○○○, 3 minutes
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
# Say: the popular explanation is that guidance samples from the density sharpened towards the label. Then all pictures from s = 1 on would look the same. Blue: asked for the upper moon; yellow: for the lower. Above the trained network, below the exact denoiser of notebook 02, so that no training error can be blamed.
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


def exact(y, s):
    """The exact guided denoiser for class y, wrapped as a network that predicts x0."""
    def model(x_t, t):
        own = few[few_moon == y]
        return guide(weights(x_t, t, few) @ few, weights(x_t, t, own) @ own, s)

    model.prediction = "x0"
    return model


# %% slideshow={"slide_type": "skip"}
rule, n = ddim(choose(40, 3)), choose(300, 20)
scales, found = (0, 1, 2, 4, 8), {}
for s in scales:
    for y in (0, 1):
        for name, ask in {"network": Guided(net, y, float(s)), "exact": exact(y, s)}.items():
            found[name, s, y] = last(reverse(ask, schedule, rule, (n, 2), seed=y))

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(2, 5, figsize=(show.WIDTH, 4.7))
for row, name in zip(axes, ("network", "exact"), strict=True):
    for ax, s in zip(row, scales, strict=True):
        for y, asked in enumerate(("upper moon", "lower moon")):
            show.scatter(ax, found[name, s, y], f"s = {s}", show.COLOURS[(5, 4)[y]], size=5, limit=1.5)
            ax.plot([], [], "o", color=show.COLOURS[(5, 4)[y]], label=f"asked for: {asked}")
    row[0].set_ylabel(name)
fig.legend(*axes[0, 0].get_legend_handles_labels(), ncols=2, loc="outside lower center")
show.figure(fig, "Samples for both labels at s = 0, 1, 2, 4, 8, network above, exact denoiser below. At 1 "
            "the moons; with larger s each shrinks to its far end. Only the network's also leave it.")

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
upper, level = moons[moon == 0][:500], torch.full((500,), 30)
sure = weights(upper, level, few)[:, few_moon == 0].sum(1)  # p(y | x), at a level with hardly any noise
rows, lower = [], moons[moon == 1]
for s in (1, 2, 4, 8):
    pick = torch.multinomial(sure**s, n, replacement=True, generator=torch.Generator().manual_seed(s))
    spreads = [p.std(0).norm() for p in (upper[pick], found["exact", s, 0], found["network", s, 0])]
    pairs = [metrics.nearest_neighbours(found[name, s, 1], lower) for name in ("exact", "network")]
    off = [distance.quantile(0.95) for _, distance in pairs]
    rows.append([s, *(f"{value:.2f}" for value in (*spreads, *off))])
header = ["s", "spread: sharpened density", "exact", "network", "off the moon: exact", "network"]
said = "Spread of the upper moon's samples; distance from the lower moon that 1 in 20 exceeds"
show.table(rows, header, said)
said = check.truth("6.6", "b")

# %% [markdown] slideshow={"slide_type": "slide"}
# The sharpened density keeps the whole moon for every $s$. Guidance does not: with growing $s$ its samples **pile up** at the far end, even with exact answers. So the popular explanation is wrong. Why?
#
# - At *each level* the guided prediction is the score of $p_t(x)\,p_t(y \mid x)^s$. That much is exact.
# - But add noise to $p_0(x)\,p_0(y\mid x)^s$ up to level $t$, and you do not get $p_t(x)\,p_t(y\mid x)^s$. Adding noise averages over nearby points, and the power of an average is not the average of the powers.
#   So the arrows of the different levels do not belong to one noised density, and the walk ends somewhere else.
# - At high noise the moons overlap. There $p_t(y \mid x)$ is far from 1, and its gradient pushes every point away from the other class. By the time the moons have parted, the points have already gathered at one end.
#
# The network adds an error of its own: at large $s$ its samples **leave the moon**. It is asked at places that it never saw in training, and guidance multiplies its errors there.
#
# Why do the samples gather at the far end, and not in the middle, which is most typical? Because guidance goes in the direction that tells the class *from the rest*. At high noise the tip of the upper moon inside the bow of the lower one could belong to either moon. The other end
# can only belong to the upper one. On digits we should expect the same: unmistakable ones rather than average ones.
#
# ## 7. Generate a 7
#
# Back to MNIST, and to your network with the course's weights. Their training did not start from nothing. If the table of labels starts at zero, the network is at first the *same function* as notebook 04's. So `make train` took over those weights
# and trained on, with one label in ten dropped. The next cell draws 200 digits, in about ten seconds.
#
# <!--slide 4 min
# ## The samples pile up, even with exact answers
#
# - at **each level** the guided prediction is the score of $p_t(x)\,p_t(y \mid x)^s$: exact
# - but these densities belong to no one diffusion: noising averages, and the power of an average is not the average of powers
# $$p_t(x)\,p_t(y \mid x)^s\ \ne\ \text{what noising makes of }\ p_0(x)\,p_0(y \mid x)^s \qquad (s\ne 0,\ 1)$$
#
# - at high noise the moons overlap: every point is pushed away from the other class
# - when they have parted, the points are already at the far end
# - off the data the network errs, and guidance multiplies its errors
#
# > Why the far end of the moon, and not its middle, the most typical place?
#
# Notes:
# Say: go through the argument with the figure of the slide before. The popular explanation is right at one level and wrong about the samples: guidance goes where a class differs most from the rest.
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
saved = load_results("guidance")
noise = torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(6))
y = torch.arange(10).repeat_interleave(10)  # ten rows, one a class; in a column the same noise
sheets = {}
for s in show.progress((1.0, 3.0), 2, "200 digits"):
    sheets[s] = draw(y, s, noise.repeat(10, 1, 1, 1))

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 5.1))
for ax, (s, sheet) in zip(axes, sheets.items(), strict=True):
    ax.imshow(show.tiles(sheet, 10), vmin=0, vmax=255)
    ax.set(title=f"s = {s:g}", xticks=[], yticks=torch.arange(10) * 29 + 15, yticklabels=range(10))
    ax.tick_params(length=0, grid_alpha=0)
axes[0].set_ylabel("asked for")
show.figure(fig, "Two grids of digits, ten rows for the classes 0 to 9, ten columns of equal noise. Left "
            "s = 1: nearly all are the digit asked for, in many hands. Right s = 3: plainer, more alike")
mine.credit("draw_digits", "Labelled", "guided", "TwoStep")

# %% [markdown] exercise_text="6.7" slideshow={"slide_type": "slide"}
# Look down a column first. It shows one noise and ten digits, and they share slant and stroke width: what the label leaves open, the noise decides. Then look along a row. On the right the digits of a class are plainer, and more alike.
#
# On the web page of the course this network draws in your browser: choose a digit and a scale, or draw one yourself and let the network redraw it.
#
# <!--live:digits-->
#
# ## 8. How diverse?
#
# Can we put a number on "more alike"? Take all pictures of one class and compare each with each *other*. As the distance of two pictures we take the root of the mean squared difference of their pixels. The mean of these distances is the diversity of the class. The diversity of the whole set is
# the mean over the classes.
#
# Why do we need it? A generator that draws one perfect 7 again and again has perfect accuracy, and diversity 0.
#
# ### Exercise 6.7: measure diversity
#
# Write `diversity` for pictures `x` $(N, ...)$ and their classes `y` (N,); each class has at least two pictures, and not every number need occur. It returns a tensor with one number.
#
# Difficulty: ●●●○○, 11 minutes
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
# $$d(a, b) = \sqrt{\tfrac1P \textstyle\sum_p (a_p - b_p)^2}$$
#
# - one perfect 7, drawn again and again: accuracy perfect, diversity 0. So accuracy is never shown alone
#
# **Your turn:** exercise 6.7, `diversity(x, y)`
#
# > The table of all distances of $n$ pictures has $n^2$ entries. Which of them say nothing about diversity?
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
# In words: average over all $n_y (n_y - 1)$ pairs of different pictures of a class, then over the classes.
#
# ## 9. Where it pays, where it harms
#
# Which scale is best? We have made a sweep for you: nine scales from 0 to 8, and for each of them two seeds of <!--r:guidance.sampler.samples|d-->500<!--/--> samples, 50 of each class (15 DPM-Solver++ steps, $x_0$ clamped to $[-1, 1]$). The same seed means the same noise at every scale, and no noise is added on the way, so only $s$ changes. We measured three things:
#
# - *Accuracy*: the share of samples in which the judge, a classifier that took no part in drawing, reads the class we asked for.
# - *Diversity*, as above, divided by that of real digits, in two ways. On pixels we take it within the class that the judge reads, so that a wrong digit does not pass for variety. On features (what the next to last layer of a classifier sees, as for the Frechet distance) we take it within the class that we asked for.
# - *Frechet distance* to the test images: how far are the samples as a whole from the data?
#
# ### Exercise 6.8: sketch the sweep
#
# Before you look: guess the accuracy in percent at $s = 0, 1, 2, 4, 8$ (five numbers). As a sixth number write the one of these scales at which the Frechet distance is smallest. Your sketch is drawn into the picture.
#
# Difficulty: ●●○○○, 3 minutes
#
# <details><summary>Hint</summary>
#
# Accuracy: what share would you get by chance, and what can go wrong once the label is heard? Distance: it compares the samples as a whole with the data. What does it say of samples that are all legible, but all alike?
#
# </details>
#
# In the picture below, bars are the standard deviation over the two seeds of the noise (one network was trained). The dashed lines stand for real test images, 50 of each class.
#
# <!--slide 4 min
# ## Accuracy climbs, diversity falls, distance is best near $s = 1$
#
# Read as asked: <!--r:guidance.settings.s_1.accuracy.mean|.1%-->93.8%<!--/--> at $s=1$, <!--r:guidance.settings.s_2.accuracy.mean|.1%-->99.8%<!--/--> at $s=2$; real digits <!--r:guidance.real_all|.1%-->99.2%<!--/-->.
#
# Dashed: real digits. Which scale would you take for a poster, and which to stand in for the data?
#
# Notes:
# Say: guided digits are easier to read than real ones. That is a compliment and a warning. Diversity of features falls with every step; that of pixels stops falling, since bold strokes that miss each other differ in many pixels. Below 1 the features look more diverse than real ones, because wrong digits count in the class asked for.
# Ask: which scale is best? (It depends on the use. A legible digit: 2 or more. Samples that stand in for the data: about 1. No single score says which.)
# Have run: the sweep is saved, <!--r:guidance.sampler.samples|d-->500<!--/--> samples a scale and two seeds; the cell only draws it.
# -->

# %% exercise="6.8" kind="predict" slideshow={"slide_type": "skip"}
# TODO 6.8: the accuracy in percent at s = 0, 1, 2, 4, 8; then the s with the smallest distance
### BEGIN SOLUTION
guess = 10, 90, 100, 100, 100, 1
### END SOLUTION
check.predict("6.8", guess)

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
shown = {s: saved["settings"][f"s_{s}"] for s in (0, 1, 2, 4, 8)}
best = min(shown, key=lambda s: shown[s]["distance"]["mean"])
said = check.truth("6.8", [*(100 * row["accuracy"]["mean"] for row in shown.values()), best])
sketch = check.written("6.8")  # None where nothing was written down
whole = sketch and max(sketch[:5]) > 1  # in percent, not as shares
drawn = [value / (100 if whole else 1) for value in sketch[:5]] if sketch else []
rows = [saved["settings"][name] for name in "s_0 s_0_5 s_1 s_1_5 s_2 s_3 s_4 s_6 s_8".split()]
real, s = saved["real"], [row["scale"] for row in rows]

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 3, figsize=(show.WIDTH, 3.7))
curves = [(0, "accuracy", "", "o-"), (1, "diversity_read", "pixels, class read", "o-")]
curves += [(1, "diversity_features", "features, class asked", "s--"), (2, "distance", "", "o-")]
for panel, score, name, style in curves:
    ax, norm = axes[panel], real[score]["mean"] if panel == 1 else 1
    mean, std = ([row[score][part] / norm for row in rows] for part in ("mean", "std"))
    ax.errorbar(s, mean, std, fmt=style, color=show.COLOUR["model"], markersize=4, capsize=3, label=name)
    dashed = ax.axhline(real[score]["mean"] / norm, color=show.COLOUR["floor"], linestyle="--", linewidth=1)
    ax.set(xlabel="scale s", title=("accuracy", "diversity / real", "Frechet distance")[panel])
if drawn:
    axes[0].legend(handles=axes[0].plot(list(shown), drawn, ":", c=show.COLOURS[3], label="your sketch"))
axes[1].legend(), axes[2].legend([dashed], ["real digits"], loc="lower right")
plt.setp(axes, ylim=(0, None))
show.figure(fig, "Curves over the scale s from 0 to 8, dashed lines for real images: accuracy climbs to "
            "nearly 1 by s = 2; both diversities fall, features most; the distance is lowest near s = 1")

# %% [markdown] slideshow={"slide_type": "slide"}
# **Where it pays.** At $s = 1$ the network draws what it was asked for in <!--r:guidance.settings.s_1.accuracy.mean|.1%-->93.8%<!--/--> of the cases, at $s = 2$ in <!--r:guidance.settings.s_2.accuracy.mean|.1%-->99.8%<!--/-->. Of the real test images the judge reads <!--r:guidance.real_all|.1%-->99.2%<!--/--> as their label. So guided
# digits are *easier to read than real ones*. That should make us suspicious.
#
# **Where it harms.** Look at the two curves in the middle. For features the diversity falls with every step of $s$. For pixels it stops falling at large $s$: strokes grow bolder, and where two bold strokes miss each other, more pixels differ. (Up to $s = 1$ the features look *more* diverse than those of real digits. That is no merit: wrong digits count
# in the class that was asked for.)
#
# The Frechet distance is smallest at $s = 1$: <!--r:guidance.settings.s_1.distance.mean|.1f-->5.9<!--/-->, against <!--r:guidance.real.distance.mean|.1f-->4.4<!--/--> for real images. From there on it grows. So the best scale depends on what you want: a legible digit, or samples that
# could stand in for the data. No single score can tell you which. ("Looking inside" has all the numbers, and two controls.)
#
# <!--slide 3 min
# ## The same noise, a growing scale: plainer, then bolder
#
# Follow one column down. From which scale on is it the digit asked for, and what stays of the noise?
#
# Notes:
# Say: four twos, four fours, four sevens; one noise a column. At s = 0 any digit comes, at 1 the class in many hands, at 8 bold ones that resemble each other.
# Ask: pick a column. From which scale on does it show the class asked for, and what of the noise is left at 8? (Most have it at 1, nearly all at 2. Some slant and size remain.)
# Live: in section 15, move the scale slider from 1 to 8 with class 7; then change the class and leave the seed.
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
columns = [i for c in (2, 4, 7) for i in range(c, 40, 10)]  # four of each class, the same noises in every row
show.rows({f"s = {s}": pictures[f"s_{s}"][columns] for s in (0, 1, 2, 4, 8)},
          "Four twos, four fours, four sevens in rows of growing s, the same noise in a column: at 0 any "
          "digits, at 1 varied ones, at 8 bold ones that resemble each other",
          [str(i % 10) for i in columns], title="The class asked for (above), and the scale")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 10. Past black and white
#
# Guidance adds something to a prediction, so the estimate of $x_0$ can leave the range of pixels, $[-1, 1]$. This happens more with larger $s$, and mostly at high noise ("Looking inside" measures it). The clamp cuts the estimate off at every step. What does that do to the finished digits?
#
# At $s = 8$ we drew them with the clamp and without. The strokes are equally bold: the mean pixel is <!--r:guidance.settings.s_8.ink.mean|.2f-->-0.64<!--/--> with it and <!--r:guidance.settings.s_8_unclamped.ink.mean|.2f-->-0.65<!--/--> without (black is $-1$).
# But without the clamp (one seed) the samples are less diverse: the diversity of pixels is <!--r:guidance.settings.s_8_unclamped.diversity.mean|.3f-->0.500<!--/--> instead of <!--r:guidance.settings.s_8.diversity.mean|.3f-->0.571<!--/-->. They are also farther from the data: the distance is <!--r:guidance.settings.s_8_unclamped.distance.mean|.1f-->37.0<!--/--> instead of <!--r:guidance.settings.s_8.distance.mean|.1f-->28.0<!--/-->.
# At $s = 2$ the clamp hardly matters.
#
# On photographs, where colours are rarely pure, a large $s$ with this clamp gives garish, saturated pictures. *Dynamic thresholding* (Saharia et al. 2022) clamps at a high quantile of the estimate and then divides by it, instead of cutting at 1.
#
# <!--slide 2 min
# ## A large scale pushes the estimate past black and white
#
# - the larger $s$, the more pixels of the estimate of $x_0$ leave $[-1, 1]$, mostly at high noise
# - the clamp cuts them off at every step
# - at $s=2$ it hardly matters; at $s=8$ it does (one seed without the clamp):
#
# <table>
# <tr><th>at s = 8</th><th>with the clamp</th><th>without</th></tr>
# <tr><td>mean pixel (black is -1)</td><td><!--r:guidance.settings.s_8.ink.mean|.2f-->-0.64<!--/--></td><td><!--r:guidance.settings.s_8_unclamped.ink.mean|.2f-->-0.65<!--/--></td></tr>
# <tr><td>diversity of pixels</td><td><!--r:guidance.settings.s_8.diversity.mean|.3f-->0.571<!--/--></td><td><!--r:guidance.settings.s_8_unclamped.diversity.mean|.3f-->0.500<!--/--></td></tr>
# <tr><td>Frechet distance</td><td><!--r:guidance.settings.s_8.distance.mean|.1f-->28.0<!--/--></td><td><!--r:guidance.settings.s_8_unclamped.distance.mean|.1f-->37.0<!--/--></td></tr>
# </table>
#
# Without it: equally bold, less diverse, farther from the data.
#
# > What would this clamp do to a photograph?
#
# Notes:
# Say: guidance adds to a prediction, so nothing keeps the estimate in the range of pixels but the clamp. "Looking inside" has the curves.
# Ask: on photographs, what would the cut look like? (Garish, saturated colours, since colours there are rarely pure. Dynamic thresholding divides by a high quantile of the estimate instead.)
# -->

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 11. Away from the label
#
# With $s < 0$ the walk is pushed *away* from the class. At $s = -1$ the guided answer is $2\epsilon_u - \epsilon_c$. What comes out when we ask for "anything but a 3"? Before you look: do you expect the nine other digits equally often?
#
# <!--slide 3 min
# ## Away from a 3, some digits come more often than others
#
# At $s=-1$ the digit to be avoided comes out in <!--r:guidance.settings.s_minus_1.accuracy.mean|.1%-->0.4%<!--/--> of the cases; chance would be a tenth.
#
# Notes:
# Say: left, samples pushed away from the class of their row. Right, what the judge reads: the diagonal is all but empty, and each row has favourites, for example 4 in place of 3 and 0 in place of 1.
# Ask: what do the negative prompts of image generators do instead? (They put a second label where "no label" stands and keep s above 1, so that a wish remains.)
# Have run: the samples are saved.
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, axes = plt.subplots(1, 2, figsize=(show.WIDTH, 4.9), width_ratios=(1, 1.5))
pick = [i for c in range(10) for i in range(c, 60, 10)]
table = torch.tensor(saved["settings"]["s_minus_1"]["confusion"], dtype=torch.float)
axes[0].imshow(show.tiles(pictures["s_minus_1"][pick], 6), vmin=0, vmax=255)
axes[0].set(title="six samples each", yticks=torch.arange(10) * 29 + 15, yticklabels=range(10), xticks=[])
axes[0].set_ylabel("digit to avoid (s = -1)")
heat = axes[1].imshow(100 * table / table.sum(1, keepdim=True), cmap="Blues", vmin=0, vmax=50)
axes[1].set(xticks=range(10), yticks=range(10), xlabel="digit the judge reads", title="what comes instead")
for ax in axes:
    ax.tick_params(length=0, grid_alpha=0)
fig.colorbar(heat, ax=axes[1], label="percent of the row")
show.figure(fig, "Left: samples pushed away from the digits 0 to 9, row by row. Right: how often each digit "
            "is read where each was to be avoided; the diagonal is nearly empty, each row has favourites")

# %% [markdown] exercise_text="6.9" slideshow={"slide_type": "skip"}
# The digit to be avoided comes out in <!--r:guidance.settings.s_minus_1.accuracy.mean|.1%-->0.4%<!--/--> of the cases; chance would be a tenth. But the other nine do not come equally often. Look at the darkest squares: in place of a 3 half of the samples are fours ($25$ of $50$), and in place of a 1 many are zeros. The scale $-1$ only leads away from one digit, and some of the others lie in that direction more than the rest.
#
# The *negative prompts* of image generators do something else. They put a second label where $\varnothing$ stands, $\epsilon_\text{bad} + s\,(\epsilon_c - \epsilon_\text{bad})$ with $s > 1$, so that a class is still asked for.
#
# ## 12. Guidance at some levels only
#
# Must we guide at all levels? Kynkäänniemi et al. (2024) guide only within an interval of noise levels. They find better pictures, and they save work, since outside
# the interval one branch is enough. We try it on digits: we cut the levels into thirds, and guide by $s=4$ in one of them only. In the others the plain conditional network answers. Which third does nearly all that guidance does everywhere?
#
# ### Exercise 6.9: which third of the levels?
#
# Choose: (a) the low third, little noise; (b) the middle third; (c) the high third, much noise.
#
# Difficulty: ●○○○○, 2 minutes
#
# <details><summary>Hint</summary>
#
# Guidance multiplies the difference of two answers. Picture a digit with little noise, with more, and with nearly nothing but noise. How different are the answers with and without label each time?
#
# </details>

# %% exercise="6.9" kind="predict" slideshow={"slide_type": "skip"}
# TODO 6.9: the third that does nearly all of it, a letter
### BEGIN SOLUTION
guess = "c"
### END SOLUTION
check.predict("6.9", guess)

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
thirds = {name: saved["settings"][f"band_{name}"] for name in ("low", "middle", "high")}
accuracies = [row["accuracy"]["mean"] for row in thirds.values()]
said = check.truth("6.9", "abc"[accuracies.index(max(accuracies))])

keys = {"s = 1": "s_1", "s = 1.5": "s_1_5", "s = 2": "s_2", "s = 3": "s_3", "s = 4": "s_4"}
keys |= {f"{third} third": f"band_{third}" for third in thirds}
across = [100 * saved["settings"][key]["accuracy"]["values"][0] for key in keys.values()]  # seed 0
up = [saved["settings"][key]["diversity_read"]["values"][0] for key in keys.values()]

# %% [markdown] slideshow={"slide_type": "slide"}
# A band of levels that gains accuracy may lose diversity, so we draw diversity over accuracy. The line is guidance at all levels, with $s$ from 1 to 4; the diamonds are $s = 4$ in one third of the levels. All start from the same 500 noises. Is there a diamond above the line?
#
# <!--slide 3 min
# ## One third of the levels does nearly everything
#
# $s(t) = s$ for $t_\text{low} \le t \le t_\text{high}$, else 1. Line: everywhere. Diamonds: $s=4$ in one third.
#
# Notes:
# Say: the low third does hardly anything, for the digit can be seen there. The high third does nearly all that guidance everywhere does, good and bad. The middle one lies between, a little above the line; all marks are one seed of 500 samples, so we cannot call that a gain. What a band saves for certain is work.
# Ask: outside the band, is the scale 0 or 1? (1: no guidance means trusting the label as it is.)
# Ask: why is the band cheaper? (Outside it one branch is enough, so only the steps in the band cost twice.)
# Ask: Kynkäänniemi et al. (2024) find better pictures with an interval. Why may it differ here? (Small, simple pictures; one scale; thirds are coarse. "Looking inside" tries finer bands.)
# -->

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, ax = plt.subplots(figsize=(show.WIDTH, 4))
style = dict(color=show.COLOUR["model"], markersize=8)
ax.plot(across[:5], up[:5], "o-", label="guided at all levels", **style)
style |= dict(markersize=13, markerfacecolor="none")
ax.plot(across[5:], up[5:], "D", label="s = 4, in one third only", **style)
ax.plot(100 * real["accuracy"]["mean"], real["diversity_read"]["mean"], "k*", ms=17, label="real digits")
for i, (name, *place) in enumerate(zip(keys, across, up, strict=True)):
    shift = (9, 2) if i < 5 else (-10, 10) if i < 7 else (-70, -19)  # the name beside, above, below
    ax.annotate(name, place, xytext=shift, textcoords="offset points")
ax.set(xlim=(93.4, 100.6), ylim=(0.56, 0.65), xlabel="accuracy, percent", ylabel="diversity of pixels")
ax.set_title("The high third alone ends where guidance at all levels ends")
ax.legend(loc="lower left")
show.figure(fig, "Diversity over accuracy. A line for guidance everywhere falls from s = 1, least accurate, "
            "to s = 4. One third only: low near s = 1, high at s = 4, middle between, just above the line.")

# %% [markdown] slideshow={"slide_type": "slide"}
# The low third does hardly anything: there the digit can be *seen*, so its label is no news. The high third ends where guidance at all levels ends: nearly all that guidance does happens there, the good and the bad. The middle third lies a little above the line, but with one seed of 500 we cannot call that a gain.
# What a band saves for certain is work.
#
# Thirds are coarse, and our pictures are simple. Kynkäänniemi et al. found that guidance does harm at the highest levels, is wasted at the lowest, and is useful between. "Looking inside" tries finer bands.
#
# ## 13. What if there are no labels?
#
# Guidance by label makes digits legible by going away from the answer without label. Notebook 04's network has no labels. Can it be guided as well? We only need a second answer to go away from. Karras et al. (2024) take that of a *worse network*: smaller, or trained for less time. They call this *autoguidance*:
# $$\tilde\epsilon = \epsilon_\text{weak} + s\,(\epsilon_\text{strong} - \epsilon_\text{weak})$$
# In words: start at the weak network's answer, go to the strong one's, and on past it. It is the line of exercise 6.3 again.
#
# Why should a bad network know where to go? Both networks have learned the same task from the same pictures. A small one cannot follow the fine shape of the data, so its answer is drawn towards pictures that lie between the digits. The hope is that the strong network makes the same kind of error, only smaller.
# Then going on from weak to strong, and past it, should correct some of what the strong network still gets wrong. Where the two agree, nothing changes. We will measure whether the hope comes true.
#
# Our weak network is `mnist_lab`, the small U-Net of notebook 07 trained on digits. It has a third of the parameters and had an eighth of the training steps. It also has another schedule and predicts $\epsilon$, so `AtSameNoise` asks it at the level with equal noise and turns its answer into a $v$. The two networks thus differ in more than learning.
# We guide by $s = 2$ between the levels 200 and 900; outside them the weak network is not asked. The walk adds fresh noise (`eta=2.0`). These three settings were tried out on a few hundred samples. The next cell draws two rows of twelve digits, in a few seconds.
#
# <!--slide 2 min
# ## Guided without labels: away from a worse network
#
# $$\tilde\epsilon = \epsilon_\text{weak} + s\,(\epsilon_\text{strong} - \epsilon_\text{weak})$$
#
# Right: more legible. Up: more of the real data covered; above the star is no merit.
#
# Notes:
# Say: both networks learned the same task from the same pictures, so we hope that they make the same kind of errors, the weak one larger ones. Then from weak to strong is the way that more learning leads, and we go on in that direction. Legibility confirms the hope, the Frechet distance does not. One mark is one sampler; filled marks ask the networks about fifty times an image.
# Ask: why must the weak network have learned from the same pictures? (The difference is to show what more learning changes. With other data it would show how the data differ.)
# Ask: legible digits alone prove little, so what does the height say? (How much of the real data the samples cover. More than real digits cover is no merit: broken samples lie far apart and have a long reach.)
# Have run: the cells above take a few seconds.
# -->

# %% slideshow={"slide_type": "skip"}
strong, small = load_model("mnist_unet"), load_model("mnist_lab", LabUNet)
weak = AtSameNoise(small, linear(300), schedule, "v")
rule = dpm_solver(choose(30, 2), eta=2.0)  # with fresh noise in every step
asked = {"alone": strong, "autoguided": Autoguided(strong, weak, scale=2.0, band=(200, 900))}
drawn = {name: last(reverse(network, schedule, rule, (12, 1, 28, 28), seed=4, clip_x0=1.0))
         for name, network in asked.items()}
show.rows(drawn, "Two rows of twelve digits from the same noises: notebook 04's network alone, and guided "
          "away from a smaller one", title="The same noise, alone and autoguided")

# %% [markdown] slideshow={"slide_type": "skip"}
# Compare the rows digit by digit. Some change into another digit: the eight in the fourth column becomes a one. Without labels nothing holds the class. Is the second row the better one? Twelve digits prove nothing, so we measured more. The table has three seeds of 1,000 samples. Every sampler in the table asks its networks about fifty times for each sample, except the longer autoguided walk. *Confident* is the share of samples that the judge gives to one class with more than $95\,\%$. *Distance* is the Frechet distance.
# *Recall* asks how much of the data is covered (Kynkäänniemi et al. 2019): give each sample a reach, as far as its third nearest fellow sample in the space of features. Recall is the share of real test images that lie within reach of some sample. A recall above that of real digits is no merit: scattered, broken samples lie far from each other, so their reach is long. *Diversity* is that of pixels, within the class read.

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
measured = load_results("mnist_samplers")
names = {"ddim": "DDIM, 50 steps", "dpm_fresh": "DPM-Solver++, fresh noise, 50 steps",
         "autoguided": "autoguided, 30 steps", "autoguided_long": "autoguided, 50 steps",
         "classes": "by label, s = 2, 25 steps"}
columns = {"confident": (100, 0), "recall": (100, 0), "distance": (1, 1), "diversity": (1, 2)}
table, truth = [], measured["real"] | {"distance": measured["floor"]["mean"]}
for key, name in names.items():
    row = measured["samplers"][key]
    table.append([name, row["evaluations"]])
    for score, (unit, d) in columns.items():
        mean, std = unit * row[score]["mean"], unit * row[score]["std"]
        table[-1].append(f"{mean:.{d}f} ± {std:.{d}f}")
table.append(["real digits", ""] + [f"{unit * truth[score]:.{d}f}" for score, (unit, d) in columns.items()])
header = ["sampler", "evaluations", "confident, %", "recall, %", "distance", "diversity"]
show.table(table, header, "Mean and standard deviation over three seeds of 1,000 samples")

# %% tags=["hide-input", "slide-figure"] slideshow={"slide_type": "-"}
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.9))
looks = {"ddim": ("o", show.COLOUR["ddim"], "full"), "dpm_fresh": ("o", show.COLOUR["fresh"], "full"),
         "autoguided": ("D", show.COLOURS[7], "full"), "autoguided_long": ("D", show.COLOURS[7], "none"),
         "classes": ("s", show.COLOURS[4], "full")}
for key, (style, colour, fill) in looks.items():
    scores = [measured["samplers"][key][score] for score in ("confident", "recall")]
    (x, y), (dx, dy) = ([100 * score[part] for score in scores] for part in ("mean", "std"))
    look = dict(color=colour, fillstyle=fill, markersize=9, capsize=3)
    ax.errorbar(x, y, dy, dx, style, label=names[key], **look)
ax.plot(100 * truth["confident"], 100 * truth["recall"], "k*", markersize=17, label="real digits")
ax.set(xlabel="confident samples, percent", ylabel="recall, percent")
ax.set_title("How legible are the samples, and how much of the data do they cover?")
ax.legend(loc="lower left", fontsize=10)
show.figure(fig, "Recall over the share of confident samples, one mark a sampler: DDIM is the least "
            "legible and covers most, guidance by label the reverse; a star for real digits.")

# %% [markdown] slideshow={"slide_type": "skip"}
# Follow the marks from left to right. Of DDIM's samples <!--r:mnist_samplers.samplers.ddim.confident.mean|.0%-->83%<!--/--> are confident, with fresh noise <!--r:mnist_samplers.samplers.dpm_fresh.confident.mean|.0%-->89%<!--/-->, and autoguided with about as many evaluations <!--r:mnist_samplers.samplers.autoguided.confident.mean|.0%-->96%<!--/-->; of real digits <!--r:mnist_samplers.real.confident|.0%-->97%<!--/-->. So a network without labels can be guided too, and
# it need not cost more: to pay for the second network, this walk takes 30 steps in place of 50.
#
# Now look at the heights, because legibility is not all. Autoguided samples lie near <!--r:mnist_samplers.samplers.autoguided.recall.mean|.0%-->85%<!--/--> of the real digits, where as many real ones lie near <!--r:mnist_samplers.real.recall|.0%-->89%<!--/-->.
# Guided by label it is <!--r:mnist_samplers.samplers.classes.recall.mean|.0%-->73%<!--/-->. The last column of the table tells them apart as well: autoguided samples are as diverse in pixels as those with fresh noise alone, and those by label are less diverse.
#
# And the Frechet distance? Autoguided it is <!--r:mnist_samplers.samplers.autoguided.distance.mean|.1f-->6.6<!--/-->, against <!--r:mnist_samplers.samplers.dpm_fresh.distance.mean|.1f-->4.5<!--/--> with fresh noise alone and <!--r:mnist_samplers.samplers.ddim.distance.mean|.1f-->5.8<!--/--> for DDIM, with a spread over the seeds of about 1. With 10,000 samples in place of 1,000 it is <!--r:mnist_confirmed.samplers.autoguided.distance.mean|.1f-->3.7<!--/--> against <!--r:mnist_confirmed.samplers.dpm_fresh.distance.mean|.1f-->2.0<!--/-->, and the one with fresh noise alone is nearer in every seed. The row by label is another network, whose classes are balanced by construction. For what guidance by label does to the distance,
# compare with the sweep of section 9: it grows from <!--r:guidance.settings.s_1.distance.mean|.1f-->5.9<!--/--> at $s = 1$ to <!--r:guidance.settings.s_2.distance.mean|.1f-->10.9<!--/--> at $s = 2$.
#
# So did the hope come true? By legibility, yes. Distance and recall do not confirm it, and the classes shift: ones become more frequent (from $11.0\,\%$ with fresh noise alone to $13.3\,\%$), and fives rarer (from $9.2\,\%$ to $7.5\,\%$).

# %% [markdown] exercise_text="6.10" slideshow={"slide_type": "slide"}
# ## 14. Which line is wrong?
#
# A wrong line in guidance often leaves the digits right, and that makes it hard to find. Below is a guided walk at $s=3$ with one wrong line in it; which line depends on a seed of yours. It draws twenty digits, two of each, in ten DDIM steps with the course's network. The lines run once for each level `t` of the walk. In all cases but one,
# *every digit is the one that was asked for.*
#
# ### Exercise 6.10: find the wrong line
#
# Find the line, and write its number into the second cell. Under the pictures you find some comparisons, made at one noisy $x_t$ with plain calls of the network. Differences are root mean squares; 0.00 means equal.
#
# Difficulty: ●●●○○, 9 minutes
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
# These are the right lines. In your notebook one of them is changed, and yet every digit is read as asked (in all cases but one). So accuracy will not find it.
#
# - at which scale must the result equal the answer **without** label?
# - at which scale must it equal the answer **with** label?
# - what must happen when $s$ goes from 1 to 3?
#
# **Your turn:** exercise 6.10, 9 minutes, in pairs. Measure first, then name the line.
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
# Three plain comparisons, at $s=0$, at $s=1$ and between two scales, find a wrong line 1 to 4. A missing clamp (line 6) shows only in the range of $x_0$. Line 5 knows neither label nor scale, so a mistake in it would spoil the plain walk at $s=1$ too. Most of this you cannot see in the pictures. So when you meet guidance in somebody else's program, make these comparisons first.
#
# ## 15. Turn the knob
#
# Choose a class, a scale and a seed, and your network and your walk draw eight digits in ten DPM-Solver++ steps. The picture shows five scales for one class and one seed. Below it are the sliders. In a running notebook they draw anew when you release them.
#
# Move the scale from 1 to 8, then below 0. Then change the class and leave the seed: what stays the same?

# %% slideshow={"slide_type": "skip"}
def knob(digit=7, scale=2.0, seed=0):
    x_T = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
    return draw(torch.full((8,), digit), scale, x_T, steps=10)


settings = [(7, -1.0, 0), (7, 0.0, 0), (7, 1.0, 0), (7, 2.0, 0), (7, 6.0, 0)]
drawn = {f"class {digit}, s = {s:g}, seed {seed}": knob(digit, s, seed) for digit, s, seed in settings}
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
# ## Looking inside (optional)
#
# All numbers of the sweep, finer bands, where the label acts, what lies between two labels, and the older way to guide.
#
# ### The sweep in numbers
#
# Mean and standard deviation over the seeds. *Sure* is the share of samples to which the judge gives more than $95\,\%$ for one class, whichever it is. The mean pixel is $-1$ for an all black picture. Below the sweep stand two controls with one seed each: notebook 04's network, which never saw labels, and guidance with fresh noise in each step
# (DDIM with $\eta = 1$, as many steps).

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
table, named = [], [(f"s = {row['scale']:g}", row) for row in rows]
controls = {"no labels (04)": "plain", "s = 1, fresh noise": "s_1_fresh", "s = 2, fresh noise": "s_2_fresh"}
named += [(name, saved["settings"][key]) for name, key in controls.items()]
for name, row in [*named, ("real digits", real)]:
    shares = [f"{100 * row[key]['mean']:.1f}" for key in ("accuracy", "confident")]
    table.append([name, *shares])
    for key in ("diversity", "diversity_read", "diversity_features", "distance", "ink"):
        spread = "" if row[key]["std"] is None else f" ± {row[key]['std']:.2f}"
        table[-1].append(f"{row[key]['mean']:.2f}{spread}")
header = ["", "as asked, %", "sure, %", "diversity of pixels", "within the class read", "of features",
          "Frechet distance", "mean pixel"]
show.table(table, header, "The sweep: means of two seeds of 500 samples, controls of one")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# Compare $s = 0$ with notebook 04's network: both ignore labels, and the older network is closer to the data. The branch without label is the weaker one, perhaps because it saw only a tenth of the examples after the labels had been added. Fresh noise makes more samples legible at the same scale, and leaves less variety.
#
# ### Finer bands
#
# Let the scale depend on the level,
# $$s(t) = \begin{cases} s & t_\text{low} \le t \le t_\text{high}\\ 1 & \text{else}\end{cases}$$
# In words: guide by $s$ within the band, and take the plain conditional answer outside. (Outside the scale is 1 and not 0: we still trust the label as it is.) We try some bands on 100 digits, and for comparison two smaller scales at all levels. This takes about 20 seconds.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
def scale_at(t, s, band):
    low, high = band
    return torch.where((t >= low) & (t <= high), s, 1.0)


def in_band(band, y, s=4.0):
    def network(x, t):
        return guided(model, x, t, y, scale_at(t, s, band)[:, None, None, None])

    network.prediction = "v"
    return network

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
y, table = torch.arange(choose(100, 20)) % 10, []
x_T = torch.randn(len(y), 1, 28, 28, generator=torch.Generator().manual_seed(9))
rule, everywhere = dpm_solver(choose(12, 2)), (1, 1000)
tries = [((0, 0), 1.0), ((334, 666), 4.0), ((700, 900), 4.0), ((900, 1000), 4.0), (everywhere, 4.0)]
tries += [(everywhere, 1.25), (everywhere, 1.5)]
for band, s in show.progress(tries, len(tries), "bands"):
    x = last(reverse(in_band(band, y, s), schedule, rule, x_T=x_T, clip_x0=1.0))
    right = (probabilities(x).argmax(1) == y).float().mean()
    where = "nowhere" if s == 1 else f"{band[0]} to {band[1]}"
    scores = diversity(x, y), diversity(features(x), y)
    table.append([where, f"{s:g}", f"{right:.0%}", *(f"{float(score):.2f}" for score in scores)])
header = ["guided at levels", "by s", "read as asked", "diversity of pixels", "of features"]
show.table(table, header, f"{len(y)} digits each, from the same noises")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# One digit is one in a hundred here, so look at the pattern and not at the last figure. With $s = 4$, a band *below* the top gets close to the accuracy of guidance everywhere and keeps much more of the diversity. The very top alone buys less and costs more. There both answers are blurred averages,
# one over all digits and one over the class, and a large $s$ takes all samples the same way. That is the finding of Kynkäänniemi et al.
#
# The last two rows ask the fairer question: at equal accuracy, is a band better than a smaller scale everywhere? The band from 334 to 666 is read about as well as $s = 1.25$ and $s = 1.5$, and keeps a little more of both diversities. This agrees with the middle third of section 12, and it
# proves as little: a hundred digits from one set of noises.
#
# ### How far out of range?
#
# How many pixels of the estimate of $x_0$ does guidance push out of range? We need no walk to find out. We noise real digits, ask the network once for both branches, and combine the two answers with different $s$.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
levels, some, some_labels = range(32, 1001, choose(88, 400)), test_images[:32], test_labels[:32]
beyond, g = {s: [] for s in (1, 2, 4, 8)}, torch.Generator().manual_seed(0)
for level in levels:
    t = torch.full((32,), level)
    x_t = schedule.q_sample(some, t, torch.randn(some.shape, generator=g))
    out_c, out_u = guided(model, x_t, t, some_labels, 1.0), guided(model, x_t, t, some_labels, 0.0)
    for s, shares in beyond.items():
        x0 = schedule.from_output(guide(out_u, out_c, s), x_t, t, "v")[1]
        shares.append(100 * float((x0.abs() > 1.1).float().mean()))

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.3))
for s, shade in zip(beyond, (0.35, 0.55, 0.75, 1.0), strict=True):
    ax.plot(levels, beyond[s], label=f"s = {s}", linewidth=2, color=show.COLOUR["model"], alpha=shade)
ax.set(xlabel="noise level t", ylabel="pixels beyond ±1.1, percent")
ax.set_title("How much of the estimate of $x_0$ lies out of range")
ax.legend()
show.figure(fig, "Share of pixels of the estimate outside the range, by noise level: the larger s, the more, "
            "and most of it above level 700")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# Hardly any pixel leaves the range at $s = 1$. At larger scales more and more do, and most of them at high noise, where the two answers differ most.
#
# ### At which levels does the label say something?
#
# Guidance multiplies $\epsilon_c - \epsilon_u$. We measure how long this difference is, level by level, as a root mean square over pixels. Beside it stands the same difference read as $x_0$.

# %% tags=["optional"] slideshow={"slide_type": "skip"}
lengths, levels = {"of $\\epsilon$": [], "of $x_0$": []}, range(10, 1001, choose(66, 400))
for level in levels:
    t = torch.full((32,), level)
    x_t = schedule.q_sample(some, t, torch.randn(some.shape, generator=g))
    both = [schedule.from_output(guided(model, x_t, t, some_labels, s), x_t, t, "v") for s in (1.0, 0.0)]
    for shares, with_label, without in zip(lengths.values(), *both, strict=True):
        shares.append(float((with_label - without).square().mean().sqrt()))

# %% tags=["optional", "hide-input"] slideshow={"slide_type": "skip"}
fig, ax = plt.subplots(figsize=(show.WIDTH, 3.2))
for (name, values), colour in zip(lengths.items(), ("eps", "x0"), strict=True):
    ax.plot(levels, values, label=name, linewidth=2, color=show.COLOUR[colour])
ax.set(xlabel="noise level t", ylabel="root mean square", title="What the label changes in the estimate")
ax.set_yscale("log")
ax.legend()
show.figure(fig, "How much the label changes the estimates of the noise and of the clean picture, over the "
            "noise level, log scale: rising for the clean picture; for the noise low, 0 at 1000")

# %% [markdown] tags=["optional"] slideshow={"slide_type": "skip"}
# In the estimate of the noise the label changes little at any level. At $t = 1000$ the picture is all noise, so no label can change the estimate of the noise. In the estimate of the clean picture it changes most at the top, where the picture is still open, and next to nothing at the bottom, where the digit can be seen. That is why a guided walk is decided early, and why
# guidance at the lowest levels is wasted work.
#
# ### Between two labels
#
# A label is a vector, so we can ask for a point between two of them: $(1 - \lambda)\,E_a + \lambda\,E_b$. The network was never trained on such a label. What does it draw?

# %% tags=["optional"] slideshow={"slide_type": "skip"}
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
# In most rows one digit stays and then, within a step or two, it becomes the other. The 0 opens into a 6, the 4 closes into a 9. So half a label does not give half a digit.
#
# ### The older way: classifier guidance
#
# Dhariwal and Nichol (2021) train a classifier on *noisy* pictures and add its gradient to the score of a network without labels, $\nabla_x \log p_t(x) + s\,\nabla_x \log p_t(y \mid x)$. The diffusion network stays as it is, and a new classifier
# gives a new kind of control. But you have to train a second network for all noise levels, each step needs its gradient, and following the gradient of a classifier can lead to pictures that fool it rather than to pictures of the class.
# In classifier-free guidance the classifier follows from two denoisers. Both ways follow the same family of fields, so what section 6 showed holds for both.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - A label enters as one more vector, added to that of the noise level. "No label" has a vector of its own, trained on the examples that lose their label.
# - Guidance goes from the answer without label towards the one with it, and past it. $s$ and $w = s - 1$ are two names for one line, and we may guide $\epsilon$, $v$ or $x_0$.
# - At each level the guided field is the score of $p_t(x)\,p_t(y\mid x)^s$, but the samples are *not* those of a sharpened density. They pile up where the class differs most from the rest, and with an imperfect network they leave the data.
# - Guidance buys accuracy. It costs diversity, distance from the data, and twice the work.
# - Below 0 it leads away from a class. Within a band of levels it costs less work.
# - Autoguidance needs no labels: it goes away from the answer of a worse network.
#
# ### Self-check
#
# - [ ] How does a label enter the network, and what does it cost?
# - [ ] Why is a share of the labels dropped, and why must "no label" have a row of its own?
# - [ ] Write guidance in both conventions. What is a paper's $w = 0$?
# - [ ] Why may $v$ be guided instead of $\epsilon$, and why is the clamp applied afterwards?
# - [ ] What is the guided field at one level the score of, and why are its samples not those of a sharpened density?
# - [ ] Why must diversity stand beside accuracy?
# - [ ] What does $s = -1$ ask for?
# - [ ] What takes the place of "no label" in autoguidance, and why may that help?
#
# <details><summary>Answers</summary>
#
# 1. As a vector of its own, added to that of the noise level. It costs one row for each class and one for "no label": (classes + 1) times the width of the vector.
# 2. So that the same network also learns to answer without a label. Row 0 is a class: used for "no label" as well, it would learn zeros and a tenth of everything else.
# 3. $\epsilon_u + s\,(\epsilon_c - \epsilon_u) = (1 + w)\,\epsilon_c - w\,\epsilon_u$ with $w = s - 1$. A paper's $w = 0$ is the plain conditional model, our $s = 1$.
# 4. At one $x_t$ each of $v$, $\epsilon$ and $x_0$ is a linear function $az + b$ of the others, and the weights $1 - s$ and $s$ add up to 1, so the $b$ stays what it is. A clamp is not linear: applied before guiding, it would cut off part of the two answers before their difference is taken.
# 5. Of $p_t(x)\,p_t(y \mid x)^s$, exactly. But these densities at different levels do not belong to one diffusion, so a walk through them does not end in samples of the one at $t = 0$.
# 6. A generator that draws one perfect 7 for every 7 has perfect accuracy.
# 7. It goes away from the label: $2\epsilon_u - \epsilon_c$, as far beyond the answer without label as that is from the one with it.
# 8. The answer of a smaller or less trained network. The hope is that it makes the same kind of errors, only larger, so that the way from it to the good network is the way that more learning leads. Here it made more samples legible, but it did not bring them closer to the data.
#
# </details>
#
# ### Further exercises
#
# 1. ●●○○○, 15 minutes. Negative prompts: put the label of another class where "no label" stands in `guided`, and draw at $s = 2$. Ask for a 4 with a 9 in its place, and for a 4 with a 1. What changes?
# 2. ●●●○○, 25 minutes. Train the moons with `drop=0.5` and with `drop=0.01`. Which of the two branches suffers?
# 3. ●●●○○, 25 minutes. Let $s$ depend on $t$: 1 at both ends, largest in the middle (a triangle). Compare with a band on the moons.
# 4. ●●●●○, 40 minutes. Autoguidance on the moons: in place of the unlabelled branch use a *bad* network, for example the moons network after 200 steps. Do the samples still pile up?
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
# ### References
#
# - Ho, Salimans 2022, *Classifier-free diffusion guidance*, [arXiv:2207.12598](https://arxiv.org/abs/2207.12598): eq. 6, algorithms 1 and 2.
# - Dhariwal, Nichol 2021, *Diffusion models beat GANs on image synthesis*, [arXiv:2105.05233](https://arxiv.org/abs/2105.05233): section 4 (classifier guidance).
# - Kynkäänniemi et al. 2024, *Applying guidance in a limited interval*, [arXiv:2404.07724](https://arxiv.org/abs/2404.07724).
# - Saharia et al. 2022, *Imagen*, [arXiv:2205.11487](https://arxiv.org/abs/2205.11487): section 2.3 (static and dynamic thresholding).
# - Bradley, Nakkiran 2024, *Classifier-free guidance is a predictor-corrector*, [arXiv:2408.09000](https://arxiv.org/abs/2408.09000): guidance is not sampling from the sharpened density.
# - Chidambaram et al. 2024, *What does guidance do? A fine-grained analysis in a simple setting*, [arXiv:2409.13074](https://arxiv.org/abs/2409.13074): samples move to the edge of the class, and with errors in the score off it.
# - Karras et al. 2024, *Guiding a diffusion model with a bad version of itself*, [arXiv:2406.02507](https://arxiv.org/abs/2406.02507): autoguidance.
# - Kynkäänniemi et al. 2019, *Improved precision and recall metric for assessing generative models*, [arXiv:1904.06991](https://arxiv.org/abs/1904.06991): eq. 2 (recall).
# - Lu et al. 2022, *DPM-Solver++*, [arXiv:2211.01095](https://arxiv.org/abs/2211.01095): guided sampling in few steps.
#
# <!--slide 2 min
# ## What we learned, and what comes next
#
# - a label is one more vector; "no label" has a row of its own
# - guidance goes from the answer without label past the one with it; autoguidance from a worse network past a better one
# - its samples are **not** those of a sharpened density: they pile up where a class differs most from the rest
# - it buys accuracy, and pays with diversity, distance and twice the work
# - within a band of levels it costs less work
#
# > Somebody reports a perfect accuracy at $s=8$. What do you ask to see?
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
