# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] slideshow={"slide_type": "slide"}
# # 00 Start here
#
# Take a photo and cover it with static, a little more each second, until only static is left. Now play the film backwards: out of static comes a picture. A *diffusion model* is a
# network that has learned to play this film backwards, also for pictures that nobody ever took. Many of today's picture generators work this way.
#
# In **Noise to Digits** you build one. We start with a single formula for a single pixel, and we end with handwritten digits that nobody ever wrote, drawn by a network whose every
# part you have written or taken apart. All of it runs on an ordinary computer: two CPU cores are enough, and you need no GPU and no network connection. Where the course makes a
# claim, the numbers stand below it: measured in the notebook, or saved from a longer run that you can repeat (`make train`).
#
# **What you will be able to do** Afterwards you
#
# - know that your installation works, or what to do about it;
# - have seen a diffusion model draw, and know what such models are used for;
# - have tested what you should know beforehand;
# - have done your first three exercises, and know how they answer.
#
# Section 7 is for looking things up: the symbols of the course, and a glossary.
#
# **What to know** Python, PyTorch tensors, means and variances; and you have met a convolutional network once. Section 4 tests it.
#
# **Time** About 30 minutes for a person, a few seconds for two CPU cores. If you have one evening for the whole course, look at section 6 first.
#
# Work in a copy, so that an update never touches your answers: `make start` fills the folder my-work/ with the student edition, where the solutions are left for you to write. On Colab save a copy in Drive.
#
# <!--slide 1 min
# # 00 Start here: pictures out of noise
#
# A course on diffusion models: from one formula for one pixel to handwritten digits that appear out of nothing, made by a network you have understood part by part.
#
# - every claim is measured in front of you
# - two CPU cores are enough; no GPU, no network connection
# - at the end of today your installation runs, you know the notation, and your first exercise is accepted
#
# **A guess to write down:** in a few minutes a network turns noise into digits. How often do we ask it on the way: once, 25 times, or 1,000 times?
#
# Notes:
# Say: today is preparation. At the end everyone has a working installation, knows the notation, and has had a first exercise accepted.
# Ask: who has used a picture generator, and what do you think it starts from? (A diffusion model starts from noise, and from nothing else.)
# -->

# %% tags=["setup"] slideshow={"slide_type": "skip"}
import importlib
import os
import platform
import sys
from pathlib import Path

root = next((p for p in (Path.cwd(), *Path.cwd().parents) if (p / "helpers").is_dir()), None)
if root is None:
    print("The folder helpers/ was not found: open this notebook inside the course's own folder.")
else:
    sys.path.insert(0, str(root))

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1. Does everything work here?
#
# Run the cell above and the next two (a click on their bars unfolds the code). They look at what the course needs and say what is there. They change nothing.
#
# <!--slide 3 min
# ## Two cells say whether your machine is ready
#
# | `NOISE_TO_DIGITS_MODE` | what happens |
# |---|---|
# | `read` (the default) | loads the networks that come with the course, trains live only what takes a minute or two |
# | `smoke` | a few steps everywhere: shows that everything runs; the results mean nothing |
# | `full` | ignores the shipped networks and trains everything: hours |
#
# Run both cells now.
#
# - The first lists ten packages with their versions. None may be *MISSING or broken*.
# - The second says what is left to do, or **All is well: go on.** Above it stand your Python (3.11 to 3.13), the number of cores, and the mode.
#
# **Question:** what do you try first when a package is still reported as missing after you have installed it?
#
# Notes:
# Live: everybody runs both cells now; the first lists what is there, the second says what to do and names the mode. Help those who do not read "All is well" while the others look at the table.
# Say: leave the mode at read. Smoke is for a quick test of an installation, full for those who want to see every network learn. The variable is read when a notebook starts: restart the kernel after a change.
# Ask: what is the first thing to try after an installation, when a package is still reported as missing? (Restart the kernel: a running kernel does not notice what was installed behind its back. Then see whether the notebook uses the environment one installed into.) Ask also: your samples look like grey mush and everything was very fast; what do you check? (The mode: in smoke mode no result means anything.)
# -->

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
needed = ["torch", "torchvision", "numpy", "scipy", "sklearn", "matplotlib", "seaborn", "PIL", "tqdm"]
needed, missing = [*needed, "safetensors"], []
for name in needed:
    try:
        if name == "torchvision":  # through a helper that also copes with a torch it was not built for
            module = importlib.import_module("helpers.torchvision_compat").import_torchvision()
        else:
            module = importlib.import_module(name)
        print(f"{name:12s} {getattr(module, '__version__', 'there').split('+')[0]}")
    except Exception as error:
        missing.append(name)
        print(f"{name:12s} MISSING or broken: {type(error).__name__}: {error}")

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
todo = []
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    todo.append("The course needs Python 3.11 to 3.13: make the environment anew with one of these.")
if missing:
    names = ", ".join(missing)
    todo.append(f"Missing: {names}. Install requirements.txt into this kernel's environment; restart it.")
if root and not (root / "data" / "SHA256SUMS").exists():
    todo.append("The folder data/ is incomplete: take it from a new copy of the course.")
try:
    mode = importlib.import_module("helpers.modes").MODE
except Exception as error:
    mode = "unknown"
    todo.append(str(error))
print(f"Python {platform.python_version()}, {os.cpu_count()} CPU cores, mode: {mode}")
print("\n".join(todo) if todo else "All is well: go on.")

# %% [markdown] slideshow={"slide_type": "skip"}
# The **mode** says how much the notebooks compute. It is read from the environment variable `NOISE_TO_DIGITS_MODE` when a notebook starts:
#
# | mode | what happens |
# |---|---|
# | `read` (the default) | loads the networks that come with the course, trains live only what takes a minute or two |
# | `smoke` | a few steps everywhere: to see that everything runs; the results mean nothing |
# | `full` | ignores the shipped networks and trains everything: hours |

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2. A first taste
#
# What does it look like when a network draws? The one below was shown 60,000 handwritten digits with noise added. It learned one thing: to tell which part of a noisy picture is noise.
# We give it six squares of pure noise, let it name the noise, take a little of that away, and ask again, 25 times.
#
# <!--slide 3 min
# ## The network has learned one thing: what in a picture is noise
#
# - **Training:** 60,000 digits, noise added. The question each time: *which part of this is noise?*
# - **Making a picture:** begin with noise and nothing else. Let the network name the noise, take a little of it away, ask again.
#
# **Question:** the picture at the start contains no digit. Where does the digit come from?
#
# Notes:
# Live: run the cells of section 2; the walk takes about two seconds. Below the text six walks from noise, as a moving picture that begins again by itself.
# Say: this is the whole idea. How the network is built, trained, used and judged is what notebooks 01 to 04 are about.
# Ask: the picture at the start contains no digit. Where does the digit come from? (From what the network knows about digits: it takes away what does not fit one. Which digit it will be is decided by the noise one started from.)
# -->

# %% slideshow={"slide_type": "skip"}
import torch
from helpers import checkpoints, data, sampling, schedule, show
from helpers.modes import choose, out_dir

cosine = schedule.cosine()
try:
    model, rule = checkpoints.load_model("mnist_unet"), sampling.ddim(steps=choose(read=25, smoke=3))
    walk = list(sampling.reverse(model, cosine, rule, shape=(6, 1, 28, 28), seed=3, clip_x0=1.0))
except (FileNotFoundError, ValueError) as error:
    print(f"{error}. So here is the noising of six digits, played backwards.")
    digits, levels = data.digits()[0][:6], [*range(1000, 0, -37), 0]
    noise = torch.randn(digits.shape, generator=torch.Generator().manual_seed(0))
    walk = [sampling.State(i, t, cosine.q_sample(digits, t, noise)) for i, t in enumerate(levels)]

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
frames = [show.tiles(state.x, columns=6) for state in walk]
alt = "Six fields of noise turn, in a few seconds, into six handwritten digits."
show.gif(frames, out_dir() / "first_taste.gif", alt, scale=84 // walk[0].x.shape[-1], seconds=3)

# %% [markdown] slideshow={"slide_type": "slide"}
# That went fast. Here are two of the six walks as a strip. From which column on can you tell which digit it will be?
#
# <!--slide 2 min
# ## Coarse shapes come first, detail last
#
# The network is asked 25 times. The label is the noise level $t$ of what is shown, from 1000 down to 0, the clean picture.
#
# **Look for** the first column in which you can say that the lower one will be a 3. What could still change after that?
#
# Notes:
# Live: run the next cell, or look at the slide; two of the six walks, to look at in peace.
# Say: not every digit is well made; notebook 04 counts them.
# Ask: from which column on can you say that the lower one will be a 3? What could still change after that? (Most see it between 600 and 400. After that the strokes get sharper, the digit stays.)
# -->

# %% tags=["slide-figure"] slideshow={"slide_type": "-"}
alt = "The same walk as a strip: noise at t = 1000, first shapes about half-way, clean digits at the end."
show.filmstrip(walk, alt, levels=(1000, 800, 600, 520, 400, 200, 120, 0), count=2)

# %% [markdown] slideshow={"slide_type": "slide"}
# The coarse shape comes first: somewhere between 600 and 400 the digits can be named. Then the strokes get sharper. Not every digit is well made, and notebook 04 counts how many are. The label above a
# picture is the *noise level* $t$ of what it shows, from 1000 (pure noise) down to 0, where it says "clean".
#
# <!--slide 3 min
# ## Six symbols carry the first lecture
#
# | symbol | in the code | meaning |
# |---|---|---|
# | $x_0$ | `x0` | clean data: a picture with values in $[-1, 1]$ |
# | $t$ | `t` | noise level, $0 \dots T$ with $T = 1000$: 0 is clean, $T$ is noise |
# | $x_t$ | `x_t` | the picture at noise level $t$ |
# | $\epsilon$ | `eps`, `noise` | standard Gaussian noise, $\mathcal N(0, I)$ |
# | $\beta_t$ | `betas[t]` | variance that the step from $t-1$ to $t$ adds |
# | $\bar\alpha_t$ | `alpha_bar[t]` | $(1-\beta_1)\cdots(1-\beta_t)$: share of the variance of $x_0$ that steps $1 \dots t$ keep |
#
# Together they make one sentence, the subject of notebook 01:
#
# $$x_t = \sqrt{\bar\alpha_t}\;x_0 + \sqrt{1-\bar\alpha_t}\;\epsilon$$
#
# In words: take a part of the clean picture, add a part of noise, and you have the noisy picture. The roots are there because variances add, and $\bar\alpha_t$ and $1-\bar\alpha_t$ are shares of variance.
#
# Notes:
# Say: nobody learns this by heart. The whole table is in section 7 of notebook 00, with a glossary; each symbol has one meaning, everywhere. Point out that the array at t is the symbol with index t, as in the papers: level 0 is the clean picture, and the first step leads to level 1.
# Ask: T is 1000. What is the label of pure noise, and how many steps lead there from the clean picture? (1000; a thousand steps, and step t leads to level t.)
# -->

# %% [markdown] slideshow={"slide_type": "skip"}
# ## 3. What is it good for?
#
# The same idea, with larger networks and other data, is at work in many places:
#
# | field | what is drawn | an example |
# |---|---|---|
# | pictures from words | an image, in a compressed form | Stable Diffusion ([Rombach et al. 2022](https://arxiv.org/abs/2112.10752)) |
# | sound | the waveform of speech | DiffWave ([Kong et al. 2021](https://arxiv.org/abs/2009.09761)) |
# | biology | the backbone of a protein with a wanted function | RFdiffusion ([Watson et al. 2023](https://doi.org/10.1038/s41586-023-06415-8)) |
# | weather | many possible next weeks, to see what is likely | GenCast ([Price et al. 2024](https://arxiv.org/abs/2312.15796)) |
# | robots | the next second of a movement | Diffusion Policy ([Chi et al. 2023](https://arxiv.org/abs/2303.04137)) |
#
# There were generators before. Why did this one win so much ground?
#
# | | how it learns | what is hard about it | one sample takes |
# |---|---|---|---|
# | **GAN** ([Goodfellow et al. 2014](https://arxiv.org/abs/1406.2661)) | two networks compete: one forges, one detects forgeries | the contest can run away or get stuck on a few pictures | one evaluation of the network |
# | **VAE** ([Kingma & Welling 2014](https://arxiv.org/abs/1312.6114)) | a network squeezes a picture into a few numbers and another one unpacks them | the unpacked pictures tend to be blurry | one evaluation |
# | **diffusion** ([Ho et al. 2020](https://arxiv.org/abs/2006.11239)) | one network learns a regression: name the noise | drawing is slow, a step at a time | 10 to 1,000 evaluations |
#
# A regression trains steadily: one network, one squared error, no contest. You pay for that when you draw, and a good part of this course (notebooks 02, 04, 05 and 10) is about paying less.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4. Are you ready? Five questions
#
# Answer first, then unfold. If four are right, begin. If not, the answers say what to read up on.
#
# **1.** $X$ and $Y$ are independent with variances 4 and 9. What are the variance and the standard deviation of $X + Y$?
#
# <details><summary>Answer</summary>
#
# Variances of independent variables add: $4 + 9 = 13$. The standard deviation is $\sqrt{13} \approx 3.6$, *not* $2 + 3$. (Read up on: variance of a sum.)
#
# </details>
#
# **2.** $\epsilon \sim \mathcal N(0, 1)$. How do you get a number with mean 3 and variance 0.25 from it?
#
# <details><summary>Answer</summary>
#
# $3 + 0.5\,\epsilon$: a factor $c$ multiplies the variance by $c^2$, so the factor is the *square root* of the variance. This root is often forgotten in diffusion code.
# (Read up on: scaling of Gaussians.)
#
# </details>
#
# **3.** `a` has shape `(16,)`, `x` has shape `(16, 1, 8, 8)`. What does `a * x` do? And what is needed to give each picture its own factor?
#
# <details><summary>Answer</summary>
#
# It stops with an error: broadcasting lines shapes up from the *right*, and 16 does not fit 8. `a.reshape(-1, 1, 1, 1) * x` works. With `x` of shape `(16, 16)` nothing would stop you, and each *column*
# would get a factor, silently. (Read up on: broadcasting.)
#
# </details>
#
# **4.** You know how $Y$ is distributed, but not its value. Which guess has the smallest mean squared error, and how large is that error?
#
# <details><summary>Answer</summary>
#
# The mean of $Y$; the error is then its variance. When $X$ is known, the best guess is the mean of $Y$ *given* $X$. A denoising network trained with squared error therefore answers with an
# average over everything that could be under the noise. (Read up on: conditional expectation.)
#
# </details>
#
# **5.** Roughly: what is a U-Net?
#
# <details><summary>Answer</summary>
#
# A convolutional network that first halves the resolution a few times, to see large parts of the picture at once, and then doubles it back. Skip connections carry the fine detail across from each size on the way down to the
# same size on the way up. The output is as large as the input. You need not know more; notebook 03 builds one. (If convolutions themselves are new, read up on those first.)
#
# </details>
#
# <!--slide 4 min
# ## Five questions before the first lecture
#
# 1. $X$ and $Y$ are independent, with variances 4 and 9. What are the variance and the standard deviation of $X + Y$?
# 2. $\epsilon \sim \mathcal N(0, 1)$. How do you make a number with mean 3 and variance 0.25 from it?
# 3. `a` has shape `(16,)`, `x` has shape `(16, 1, 8, 8)`. What does `a * x` do? And what gives each picture its own factor?
# 4. You know how $Y$ is distributed, but not its value. Which guess has the smallest mean squared error, and how large is that error?
# 5. Roughly: what is a U-Net?
#
# Write your answers down: three minutes. Then compare with your neighbour.
#
# Notes:
# Say: nobody collects the answers. Four right: begin. Fewer: the notebook says what to read up on.
# Ask: hands up for each question before you go on: who has 5 as the standard deviation? (A common answer, and wrong: standard deviations do not add.)
# Live: afterwards run the cell below the quiz, it measures the first three at once.
# -->
#
# <!--slide 2 min
# ## Variances add, and noise is multiplied by a root
#
# $$\operatorname{Var}(X + Y) = 4 + 9 = 13, \qquad \text{standard deviation } \sqrt{13} \approx 3.6, \text{ not } 2 + 3$$
#
# $$3 + 0.5\,\epsilon: \qquad \text{mean } 3, \quad \text{variance } 0.5^2 = 0.25$$
#
# - a factor $c$ multiplies the variance by $c^2$: the factor is the *root* of the variance you want
# - shapes are lined up from the *right*, and 16 does not fit 8: an error. One factor for each picture:
#
# ```python
# a.reshape(-1, 1, 1, 1) * x
# ```
#
# These two are the most frequent mistakes in diffusion code: a root forgotten, a reshape forgotten. Exercises 1.1 and 1.5 need both.
#
# **Question:** and if `x` has shape `(16, 16)`? There is no error. What gets its own factor then?
#
# Notes:
# Say: the root and the reshape are the two most frequent mistakes in diffusion code. Exercises 1.1 and 1.5 need both.
# Ask: what if x has shape (16, 16)? (No error: every column gets a factor, where every row should. Silent mistakes are the bad ones.)
# -->
#
# <!--slide 3 min
# ## The best guess is a mean, and a mean is a blur
#
# $$\mathbb E\,(Y - c)^2 \;\text{ is smallest at }\; c = \mathbb E[Y]$$
#
# $$\mathbb E\,\big(Y - f(X)\big)^2 \;\text{ is smallest at }\; f(x) = \mathbb E[Y \mid X = x]$$
#
# In words: guess the mean. If you saw something, guess the mean of what is still possible.
#
# - nothing seen that tells about $Y$: say its mean; the error left is its variance
# - a denoiser knows the noisy picture $x_t$. Trained with squared error, it answers with the *average* of all clean pictures that could be under this noise, each by its probability
# - hence a single leap from noise to picture gives a blur, and the way back is walked in many small steps
#
# **Question:** under the noise there is a 4 or a 9, both equally likely. What does the best denoiser answer?
#
# Notes:
# Say: this is question 4 of the quiz; keep it in mind for notebook 02, where this best denoiser is computed exactly. Question 5, the U-Net: halves the resolution a few times, doubles it back, and carries the detail across by skip connections; needed in notebook 03 only.
# Ask: under the noise there is a 4 or a 9, both equally likely. What does the best denoiser answer? (The mean of both pictures, half a 4 and half a 9: the best answer to the question, and not a digit.)
# -->

# %% tags=["hide-input"] slideshow={"slide_type": "skip"}
try:
    g = torch.Generator().manual_seed(0)
    x, y = 2 * torch.randn(100_000, generator=g), 3 * torch.randn(100_000, generator=g)
    print(f"question 1, measured: variance {(x + y).var():.2f}, standard deviation {(x + y).std():.2f}")
    z = 3 + 0.5 * torch.randn(100_000, generator=g)
    print(f"question 2, measured: mean {z.mean():.2f}, variance {z.var():.3f}")
    torch.ones(16) * torch.ones(16, 1, 8, 8)
except Exception as error:
    print(f"question 3, measured: {type(error).__name__}: {error}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5. How exercises answer
#
# Notebooks 01 to 11 have seven to ten tasks each, this one has three. There are four kinds:
#
# | kind | what you leave in the cell |
# |---|---|
# | **write** | a function or a class, in place of `...` |
# | **predict** | a number, a few numbers or a letter, written down *before* the next cells show the truth. The first answer is kept. It cannot be wrong, only off, and then you learn why |
# | **break** | working code in which you change one thing so that it fails, and a choice from a list: why does it? |
# | **hunt** | the number of the one wrong line in a program; its bad pictures and numbers are your clues |
#
# A cell to fill in has a `# TODO`. Its last line hands what you wrote to `check`. A function is called on small examples, and `check` says one of four things:
#
# - **right**, and what was verified. The notebook goes on with *your* function.
# - **not attempted**: nothing was filled in yet.
# - **not yet**, and which mistake it is: `check` knows the usual ones.
# - **crashed**, with the line and the message. Endless loops are stopped.
#
# After the last three the notebook goes on with the *reference*, the course's own solution, so Run All always reaches the end. Nothing is sent anywhere, nothing is graded, and you may try as often as you like. Any way of writing it that gives the right result is right.
#
# In your copy of the notebooks (`make start`), each function that is right is kept in the file my-work/mine.py, in the order of the course. Later notebooks run with your functions, and at the
# end of notebook 04 `python my-work/mine.py` draws digits with nothing of the course but the weights. The file survives a restart of the kernel; a worse answer never replaces a better one.
#
# The next cell shows the four answers on a made-up task, the middle between two numbers. It does not change your summary.
#
# <!--slide 2 min
# ## Write, predict, break, hunt
#
# | kind | what you leave in the cell |
# |---|---|
# | **write** | a function, in place of `...` |
# | **predict** | a number or a letter, before the truth is shown |
# | **break** | working code with one thing changed, and why it fails |
# | **hunt** | the number of the one wrong line |
#
# - a prediction is never wrong, only off: your first answer stands
# - a hunt goes by a seed: your neighbour looks for another line
# - what is right is kept in `my-work/mine.py`. At the end of notebook 04 that file draws digits
#
# **Question:** why write a number down before you see the truth?
#
# Notes:
# Say: a prediction is never wrong, only off; the first answer stands. Hunts go by a seed, so that neighbours have different ones.
# Ask: why write a number down before seeing the truth? (Whoever has only nodded remembers neither; a guess that was off is remembered.)
# -->
#
# <!--slide 2 min
# ## A function gets one of four answers
#
# From above: nothing filled in, a usual mistake, a crash, the right answer.
#
# Notes:
# Live: run the demonstration cell; it asks a checker of its own, so nobody's summary changes. From above: nothing filled in, a usual mistake, a crash, the right answer.
# Say: any way of writing it that gives the right result is right. Nothing is sent anywhere, nothing is graded.
# Ask: your answer to 1.4 is wrong. Will the rest of the notebook show nonsense? (No: it goes on with the reference until yours is right, so Run All always reaches the end.)
# -->

# %% tags=["slide-output"] slideshow={"slide_type": "-"}
from helpers.exercises import Check, check, nb00

demo = Check([nb00.DEMO])
def middle(a, b):  # nothing filled in
    ...
demo("0.0", middle)
def middle(a, b):  # a usual mistake
    return a + b
demo("0.0", middle)
def middle(a, b):  # a crash
    return a.plus(b) / 2
demo("0.0", middle)
def middle(a, b):  # right, in other words than the reference's
    return a + (b - a) / 2
middle = demo("0.0", middle)

# %% [markdown] exercise_text="0.1" slideshow={"slide_type": "slide"}
# Now yours. The dots say how hard an exercise is, from one to five; two hints unfold below, and in the student edition the solution unfolds beneath the cell. Take the hints before the solution.
#
# ### Exercise 0.1: grey values as numbers around 0
#
# Grey values come as numbers from 0 to `top` (16 for the small digits, 255 for MNIST). Map them to $[-1, 1]$, on a straight line: 0 to $-1$, `top` to $+1$.
#
# Difficulty: ●○○○○, 3 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Where does the middle, `top / 2`, have to go? How wide is the old range, how wide the new one?
#
# </details>
#
# <details><summary>Hint 2 (almost there)</summary>
#
# Divide by `top` to fill $[0, 1]$; stretch by 2; move down by 1.
#
# </details>
#
# <!--slide 1 min
# ## Your turn: 0.1 and 0.2, six minutes
#
# ```python
# def to_range(pixels, top):
#     """Pixels with values 0 .. top as values -1 .. 1."""
#
# def add_noise(x, sigma, generator):
#     """x with Gaussian noise of standard deviation sigma, same shape."""
# ```
#
# - 0.1: where does the middle, `top / 2`, have to go?
# - 0.2: `torch.rand` or `torch.randn`? The noise comes from `generator`
# - stuck? Two hints unfold below each exercise
#
# On paper first: a straight line takes 0 to $-1$ and `top` to 1. Then write, run the cell, and read what `check` says.
#
# **Question:** why a generator with a seed, and not just `randn`?
#
# Notes:
# Give six minutes for both. Common mistakes: values in [0, 1] because stretching and moving were forgotten (0.1); rand for randn, even noise for the bell (0.2). A third: noise drawn without the generator, which cannot be repeated. check names them.
# Ask: why a generator with a seed and not just randn? (So that a run can be repeated, and two methods can be compared on the same noise.)
# -->

# %% exercise="0.1" slideshow={"slide_type": "skip"}
def to_range(pixels, top):
    """Pixels with values 0 .. top as values -1 .. 1."""
    # TODO 0.1: divide, stretch, move
    ### BEGIN SOLUTION
    return 2 * pixels / top - 1
    ### END SOLUTION
to_range = check("0.1", to_range)

# %% [markdown] exercise_text="0.2" slideshow={"slide_type": "skip"}
# The whole course rests on noise. PyTorch has two functions for it whose names differ by one letter, `torch.rand` and `torch.randn`, and they are
# easily confused. In this course randomness always comes from a *generator* with a seed, so that you can repeat a run.
#
# ### Exercise 0.2: add noise
#
# Return `x` plus Gaussian noise of mean 0 and standard deviation `sigma`, drawn from `generator`, independently for every value.
#
# Difficulty: ●○○○○, 3 minutes
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Which of the two draws from the bell, and which evenly from $[0, 1]$? `help(torch.randn)` tells, and how to pass a generator.
#
# </details>
#
# <details><summary>Hint 2 (almost there)</summary>
#
# `torch.randn(x.shape, generator=generator)` has standard deviation 1. What makes it `sigma`?
#
# </details>

# %% exercise="0.2" slideshow={"slide_type": "skip"}
def add_noise(x, sigma, generator):
    """x with Gaussian noise of standard deviation sigma, same shape."""
    # TODO 0.2: draw from the generator, scale, add
    ### BEGIN SOLUTION
    noise = torch.randn(x.shape, generator=generator)
    return x + sigma * noise
    ### END SOLUTION
add_noise = check("0.2", add_noise)

# %% [markdown] exercise_text="0.3" slideshow={"slide_type": "skip"}
# The third task is a prediction. The cell after it uses the function you have just written.
#
# ### Exercise 0.3: two noises
#
# You add noise of standard deviation 0.3 to an even grey picture, and to the result noise of standard deviation 0.4. What is the standard deviation of all the noise together?
#
# Difficulty: ●○○○○, 3 minutes
#
# <details><summary>Hint</summary>
#
# Which of the two adds up for independent noise: standard deviations or variances?
#
# </details>

# %% exercise="0.3" kind="predict" slideshow={"slide_type": "skip"}
# TODO 0.3: one number, the standard deviation of both noises together
### BEGIN SOLUTION
guess = 0.5
### END SOLUTION
check.predict("0.3", guess)

# %% slideshow={"slide_type": "skip"}
g = torch.Generator().manual_seed(0)
once = add_noise(torch.zeros(100_000), 0.3, g)
twice = add_noise(once, 0.4, g)
print(f"standard deviations: {once.std():.3f} after the first noise, {twice.std():.3f} after the second")
check.truth("0.3", twice.std())

# %% [markdown] slideshow={"slide_type": "skip"}
# Variances add: $0.3^2 + 0.4^2 = 0.25$, and its root is $0.5$. Notebook 01 adds noise a thousand times and uses this rule at every step.
#
# ## 6. The way through the course
#
# | notebook | what happens | you | two CPU cores |
# |---|---|---|---|
# | 00 Start here | this page | 30 min | seconds |
# | 01 Forward noising | digits dissolve; one step, all steps in one jump; is the end really noise? | 100 min | 1 min |
# | 02 Denoising points | points in the plane; the best possible denoiser, the loss, a first network, sampling | 140 min | 3 min |
# | 03 Attention U-Net | 8x8 digits; residual blocks, attention, skips; scores and their floors | 195 min | 3 min |
# | 04 MNIST sampling | 28x28 digits; two samplers, how good they are, and what goes wrong | 120 min | 3 min |
# | 05 Fast samplers | fewer evaluations: DDIM derived, DPM-Solver++ written, quality against cost | 125 min | 2 min |
# | 06 Guidance | a digit on request; labels, classifier-free guidance, what it costs | 105 min | 2 min |
# | 07 The Fashion-MNIST lab | everything once more, alone, on other pictures, from a first network to saved samples | 110 min | 2 min |
# | 08 Schedules and objectives | what to predict, how to weight it, which knobs matter: measured | 125 min | 2 min |
# | 09 Straight paths | ever smaller steps; your network as a flow, flow matching, solvers, exact likelihood | 120 min | 3 min |
# | 10 From fifty steps to one | a student network that leaps; consistency and average velocity; what the speed costs | 110 min | 3 min |
# | 11 Changing pictures | a scribble becomes a digit; filling in, sharpening, enlarging; can the result be trusted? | 110 min | 3 min |
#
# 01 to 04 are part one, the course; they build on each other in this order. Part two, 05 to 08, comes after it: 06 uses a sampler of 05, and 07 and 08 can be read after 04. Part three, 09 to 11, shows what the field has moved to since; its three notebooks
# need part one and 05, 11 also a little of 06, and one section of 10 needs 09. Each notebook opens with what you will be able to do and closes with a list to check yourself against; the parts under
# "Looking inside" are optional, and nothing later depends on them. With all exercises 00 to 04 take about ten hours.
#
# ### One evening
#
# In about three hours you get from here to digits drawn by code in which 7 of the 12 parts are yours (the U-Net is given). In each notebook do the tasks of this table, read the sections that say *On the one-evening route*, and run all other cells without stopping. Where you skip a task, the reference stands in.
#
# | notebook | read and do | minutes |
# |---|---|---|
# | 00 | sections 1, 2 and 5; 0.2 and 0.3 | 14 |
# | 01 | the data and one step, 1.1; the closed form, 1.3 and 1.4; the jump, 1.5; the way back, 1.9 | 38 |
# | 02 | two data sets and one leap, 2.2; the simple loss, 2.3; back from noise, 2.8 | 45 |
# | 03 | what an image needs; attention, 3.2 and 3.3; the U-Net (read); what to ask for, 3.7 | 45 |
# | 04 | the data, the network, the long training; 4.3 and 4.4; the walk, 4.5: **your digits**; watching it happen | 38 |
#
# At the end 04 says "drawn by your code: 7 of 12 parts; the reference stands in for 1.6, 2.5, 2.7, 3.1 and 3.4". Those five are a second evening of an hour; then `python my-work/mine.py` draws alone.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## 7. Symbols and words
#
# A symbol means the same in all notebooks and in the code; only $s$ has two meanings, one in 06 and another one in 09.
#
# | symbol | in the code | meaning | from notebook |
# |---|---|---|---|
# | $x_0$ | `x0` | clean data: a point or a picture with values in $[-1, 1]$ | 01 |
# | $t$ | `t` | noise level, $0 \dots T$: 0 is clean, $T$ is noise | 01 |
# | $T$ | `T` | the highest noise level, mostly 1000 | 01 |
# | $x_t$ | `x_t` | the data at noise level $t$; $x_T$ is pure noise, or nearly | 01 |
# | $\epsilon$ | `eps`, `noise` | standard Gaussian noise, $\mathcal N(0, I)$ | 01 |
# | $\beta_t$ | `betas[t]` | variance that the step from $t-1$ to $t$ adds; $\beta_0 = 0$ | 01 |
# | $\alpha_t = 1-\beta_t$ | `alphas[t]` | share of the variance that this step keeps | 01 |
# | $\bar\alpha_t = \alpha_1 \cdots \alpha_t$ | `alpha_bar[t]` | what steps $1 \dots t$ keep together; $\bar\alpha_0 = 1$ | 01 |
# | $\mathrm{SNR}(t) = \bar\alpha_t/(1-\bar\alpha_t)$ | `snr[t]` | signal-to-noise ratio | 01 |
# | $q(x_t \mid x_{t-1})$ | `q_step` | one noising step | 01 |
# | $q(x_t \mid x_0)$ | `q_sample` | all steps in one jump | 01 |
# | $q(x_{t-1} \mid x_t, x_0)$ | `schedule.posterior` | the step back, if the clean data were known | 02 |
# | $\tilde\beta_t$ | `posterior_variance` | the variance of that step | 02 |
# | $\nabla \log p_t(x_t)$ | `score` | the direction in which $x_t$ becomes more likely; $p_t$ is the density of noisy data | 02 |
# | $\epsilon_\theta(x_t, t)$ | `model(x_t, t)` | the network; $\theta$ are its weights | 02 |
# | $\hat x_0$ | `predict_x0` | the clean data that a prediction of the noise implies | 01 |
# | $p_\theta(x_{t-1} \mid x_t)$ | `reverse`, `ancestral` | the step back with the network's estimate in it | 02 |
# | $\eta$ | `eta` | how much fresh noise DDIM adds: 0 none, 1 as much as the ancestral step | 02 |
# | $v$ | `prediction="v"` | another question to ask the network, a mix of $\epsilon$ and $x_0$ | 03 |
# | $s$ | `scale` | how strongly a label guides a walk | 06 |
# | $s = t/T$ | `t / T` | the place on a path: 0 is clean, 1 is noise | 09 |
# | $u$ | `prediction="v"` | the velocity along a straight path, $\epsilon - x_0$ | 09 |
# | $B, C, H, W$ | `x.shape` | examples in a batch, channels, height, width of a picture | 01 |
#
# ### Glossary
#
# The number says in which notebook a word is explained.
#
# | word | meaning | in |
# |---|---|---|
# | ancestral sampling | drawing step by step with the reverse of the noising steps, with fresh noise in each; the original way (DDPM) | 02 |
# | attention | a layer in which every place of a picture looks at all others and mixes what it finds there | 03 |
# | autoguidance | guiding a network away from what a weaker network would do | 06 |
# | bound (ELBO) | a quantity that the log-likelihood cannot fall below; training raises it | 02 |
# | calibration | whether what is called 70 percent sure is right in 70 percent of the cases | 11 |
# | checkpoint | the saved weights of a network | 02 |
# | clamp, clip | cut values off at a limit, here the estimate of $x_0$ at $-1$ and 1 | 02 |
# | classifier-free guidance | exaggerating the difference that a label makes to the network's answer | 06 |
# | classifier guidance | bending a walk by the gradient of a classifier, towards the class that one wishes | 11 |
# | confident, sure | a classifier gives one class more than 95 percent; the share of such samples is a score | 03 |
# | consistency model | a network that names the end of a path from any place on it, so that it can draw in one step | 10 |
# | DDIM | a family of steps that can skip levels; $\eta$ says how much fresh noise they add | 02, 05 |
# | denoiser | a function that guesses the clean data (or the noise) from noisy data and its level | 02 |
# | distillation | training one network, the student, on what another one, the teacher, does; here so that it needs fewer steps | 10 |
# | divergence | how fast points that follow a field of arrows spread out around a place; it says how their density falls | 09 |
# | DPM-Solver++ | a sampler that draws a line through two successive estimates and so needs fewer steps | 05 |
# | EMA | exponential moving average: an average of the weights over the last steps of training, used for drawing | 02 |
# | entropy | the mean of the negative log-likelihood of data under their own distribution; no model does better on average | 09 |
# | Euler's method | the simplest way to follow an ODE: go along the velocity for one step, then ask again | 09 |
# | evaluation | asking the network once; what drawing costs | 05 |
# | floor | the score that real data reach against other real data: no honest sampler does better | 02, 03 |
# | flow | a velocity at every place and level, which carries noise to data when every point follows it | 09 |
# | flow matching | training a network to name the velocity of the straight paths between data and noise | 09 |
# | Frechet distance | distance of two sets of pictures: a Gaussian is fitted to the features of each, and the two Gaussians are compared | 03, 04 |
# | guidance scale | how far the difference a label makes is exaggerated; 1 means not at all | 06 |
# | held out | data that no training has seen | 03 |
# | inpainting | filling in a missing part of a picture so that it fits the rest | 11 |
# | inverse problem | finding the picture behind a measurement that has lost something: a part of it, its sharpness, most of its pixels | 11 |
# | judge | the classifier that scores samples; it was trained on real pictures only | 03 |
# | KL divergence | how badly one distribution is described by another, in nats or bits; 0 only where they agree | 02 |
# | likelihood | the probability (density) that a model gives to the data | 02, 09 |
# | Markov chain | a random walk in which the next state depends on the present one only | 01 |
# | nat | the unit of a log-likelihood that is taken with the natural logarithm; one nat is 1.44 bits | 09 |
# | noise level | $t$: how many noising steps lead there | 01 |
# | ODE | ordinary differential equation: it says how fast a point moves at every place, and so where it goes | 09 |
# | posterior | where $x_{t-1}$ was, when $x_t$ and $x_0$ are known: again a Gaussian | 02 |
# | probability-flow ODE | the ODE whose points have, at every level, the same distribution as the noised data, without any fresh noise | 09 |
# | recall | share of the real pictures that the samples come close to: a score for variety | 06 |
# | reflow | training a flow once more, on the pairs of noise and sample that it makes itself; its paths become straighter | 09 |
# | RePaint | filling in with every step made several times, so that known and new pixels come to fit each other | 11 |
# | residual block | layers that compute a correction, which is added to what came in | 03 |
# | sampler | a rule for the way from noise to data, given a network | 02 |
# | schedule | how much noise each level has: the curve of $\bar\alpha_t$ | 01 |
# | score | $\nabla \log p_t$: in which direction data become more likely. (In another sense: a number that says how good samples are) | 02 |
# | SDE | stochastic differential equation: an ODE with fresh noise at every moment; the noising chain with ever smaller steps is one | 09 |
# | SDEdit | noising a picture part of the way and walking back: the coarse shape stays, the detail is new | 11 |
# | skip connection | a short cut that carries detail from the way down of a U-Net to the way up | 03 |
# | sliced Wasserstein distance | how far points have to be moved to turn one cloud into another, averaged over directions | 02 |
# | SNR | signal-to-noise ratio $\bar\alpha_t/(1-\bar\alpha_t)$ | 01 |
# | stop gradient | treating a target as a constant: the answer is pulled towards it, and not it towards the answer | 10 |
# | trailing | a choice of levels that begins at the very top, $T$ | 04, 05 |
# | U-Net | a network that halves the resolution, doubles it back, and connects equal sizes | 03 |
# | v-prediction | asking the network for a mix of noise and picture that is easy at every level | 03 |
# | velocity | how fast, and in which direction, $x_t$ moves as the level changes | 03, 09 |
# | zero terminal SNR | a schedule whose last level holds nothing of the picture at all | 01, 05 |

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we learned
#
# - The installation works (or you know what is missing), and in which mode the notebooks run.
# - A diffusion model learns to name the noise in a picture. It draws by starting from noise and taking a little away, many times.
# - $t$ counts noise levels from 0, clean, to $T$, noise; a picture's label is the level of what it shows.
# - Variances add, standard deviations do not; factors of Gaussian noise are square roots of variances; `(B,)` becomes `(B, 1, 1, 1)` before it meets pictures.
# - Exercises answer, and a notebook runs on whatever you have or have not filled in.
#
# ### Self-check
#
# Can you
#
# - [ ] say what the four answers of `check` mean?
# - [ ] find the symbol $\bar\alpha_t$ in section 7, and its name in the code?
# - [ ] name the mode your notebooks run in?
#
# <details><summary>Answers</summary>
#
# 1. Right; not attempted; not yet, with the mistake; crashed, with the line. 2. Two rows below $\beta_t$; in the code it is `alpha_bar[t]`. 3. The last cell of section 1 prints it behind "mode:".
#
# </details>
#
# ### Further exercises
#
# | exercise | difficulty | minutes |
# |---|---|---|
# | Break exercise 0.1 in three ways of your own. Which does `check` know by name, and what does it say of the others? | ●○○○○ | 5 |
# | Measure question 4: of all constants, which predicts 1,000 numbers drawn from an exponential distribution with the least squared error, and what is that error? | ●●○○○ | 10 |
#
# <details><summary>Answers</summary>
#
# 1. That depends on your three. Of an unusual one `check` names the first property that differs: shape, range, mean. 2. The mean. For an exponential distribution of mean 1 it is the constant 1, and the error is the variance, also 1.
#
# </details>
#
# ### References
#
# - J. Ho, A. Jain, P. Abbeel, *Denoising Diffusion Probabilistic Models*, NeurIPS 2020, [arXiv:2006.11239](https://arxiv.org/abs/2006.11239): the notation of the course is theirs.
# - J. Sohl-Dickstein et al., *Deep Unsupervised Learning using Nonequilibrium Thermodynamics*, ICML 2015, [arXiv:1503.03585](https://arxiv.org/abs/1503.03585): where the idea comes from.
#
# <!--slide 2 min
# ## You are ready: what comes next
#
# Everything runs, the notation is on one page, exercises answer. Factors of noise are *roots* of variances.
#
# | notebook | what happens | you |
# |---|---|---|
# | 01 Forward noising | digits dissolve; all steps in one jump; is the end really noise? | 100 min |
# | 02 Denoising points | the best denoiser, the loss, a first network, sampling | 140 min |
# | 03 Attention U-Net | 8x8 digits; residual blocks, attention, scores | 195 min |
# | 04 MNIST sampling | 28x28 digits; two samplers, how good, what goes wrong | 120 min |
# | 05 to 08 | faster samplers, digits on request, a lab, which knobs matter | 105 to 125 each |
# | 09 to 11 | flows, one step in place of fifty, pictures completed and changed | 110 to 120 each |
#
# **You have one evening only?** Notebook 00 has a table for that: about three hours, and at the end digits drawn by code in which 7 of the 12 parts are yours.
#
# Notes:
# Say: 01 to 04 build on each other, in this order. 06 uses a sampler of 05; 07 and 08 can be read any time after 04; 09 to 11 come after 05. Parts called "Looking inside" can be left out. Work in the copy that make start makes.
# Ask: you have one evening only; what do you do? (Notebook 00 has a table for that: about three hours, and at the end digits drawn by code in which 7 of the 12 parts are theirs.)
# -->

# %% slideshow={"slide_type": "skip"}
check.summary("00")
