"""The exercises of notebook 07, a lab from empty stubs to saved pictures, and the lab's network."""

import torch
import torch.nn.functional as F
from torch import nn

from helpers.models import timestep_embedding

from .exercise import Complaint, Exercise, Mistake, as_module, exhaust, kind

T = 300  # levels of the lab: enough with betas scaled by 1000/T, and a third of the sampling time of 1,000

# 7.1 LabSchedule ----------------------------------------------------------------------------------


class LabSchedule:
    """Linear betas scaled by 1000/T, alpha_bar (T,), and the jump to level t."""

    def __init__(self, T=300):
        self.T = T
        self.betas = torch.linspace(1e-4, 0.02, T) * 1000 / T
        self.alpha_bar = torch.cumprod(1 - self.betas, dim=0)

    def q_sample(self, x0, t, noise):
        a = self.alpha_bar[t].reshape(-1, 1, 1, 1)
        return a.sqrt() * x0 + (1 - a).sqrt() * noise


class NotScaled(LabSchedule):
    def __init__(self, T=300):
        super().__init__(T)
        self.betas = torch.linspace(1e-4, 0.02, T)
        self.alpha_bar = torch.cumprod(1 - self.betas, dim=0)


class ScaledTheOtherWay(LabSchedule):
    def __init__(self, T=300):
        super().__init__(T)
        self.betas = torch.linspace(1e-4, 0.02, T) * T / 1000
        self.alpha_bar = torch.cumprod(1 - self.betas, dim=0)


class NoProduct(LabSchedule):
    def __init__(self, T=300):
        super().__init__(T)
        self.alpha_bar = 1 - self.betas


class SumOfBetas(LabSchedule):
    def __init__(self, T=300):
        super().__init__(T)
        self.alpha_bar = 1 - torch.cumsum(self.betas, dim=0)


class ProductOfBetas(LabSchedule):
    def __init__(self, T=300):
        super().__init__(T)
        self.alpha_bar = torch.cumprod(self.betas, dim=0)


class OneLevelLate(LabSchedule):
    def __init__(self, T=300):
        super().__init__(T)
        self.alpha_bar = torch.cat([torch.ones(1), self.alpha_bar[:-1]])


class NoRoots(LabSchedule):
    def q_sample(self, x0, t, noise):
        a = self.alpha_bar[t].reshape(-1, 1, 1, 1)
        return a * x0 + (1 - a) * noise


class NoiseNotRooted(LabSchedule):
    def q_sample(self, x0, t, noise):
        a = self.alpha_bar[t].reshape(-1, 1, 1, 1)
        return a.sqrt() * x0 + (1 - a) * noise


class Exchanged(LabSchedule):
    def q_sample(self, x0, t, noise):
        return super().q_sample(noise, t, x0)


class NotReshaped(LabSchedule):
    def q_sample(self, x0, t, noise):
        a = self.alpha_bar[t]
        return a.sqrt() * x0 + (1 - a).sqrt() * noise


def schedule_call(cls, T, x0, t, noise):
    schedule = cls(T)
    for name in ("betas", "alpha_bar"):
        value = getattr(schedule, name, None)
        if not isinstance(value, torch.Tensor):
            raise Complaint(
                f"no {name}",
                f"After `__init__` there should be a tensor `self.{name}` of shape (T,); it is "
                f"{kind(value)}.",
            )
    return dict(betas=schedule.betas, alpha_bar=schedule.alpha_bar, x_t=schedule.q_sample(x0, t, noise))


def schedule_cases():
    g = torch.Generator().manual_seed(0)
    cases = []
    for T, t in ((300, [0, 150, 299]), (1000, [999, 500, 0, 1, 700]), (100, [50, 99])):
        shape = (len(t), 1, 8, 6)
        cases.append((T, torch.randn(shape, generator=g), torch.tensor(t), torch.randn(shape, generator=g)))
    return cases


def _stops_short(got, want):
    return (
        f"The chain stops short of noise: sqrt(alpha_bar) at the top is {got['alpha_bar'][-1].sqrt():.2f}, "
        f"so much of the picture's amplitude is left where {want['alpha_bar'][-1].sqrt():.3f} should be. "
        "Betas up to 0.02 are meant for 1,000 levels; with T levels each must be 1000/T times as large."
    )


def _top(got, want):
    return (
        f"alpha_bar ends at {got['alpha_bar'][-1]:.2g} where {want['alpha_bar'][-1]:.2g} was expected: these "
        "are the alphas of single steps. What is left after t steps is their product up to t."
    )


SCHEDULE = Exercise(
    "7.1",
    "LabSchedule",
    LabSchedule,
    schedule_cases,
    verified="betas, alpha_bar and x_t for T = 100, 300, 1,000; at the top 0.6 % of the amplitude is left.",
    call=schedule_call,
    mistakes=[
        Mistake("betas not scaled", _stops_short, NotScaled),
        Mistake(
            "scaled the wrong way round",
            "Fewer levels need larger steps: the factor is 1000 / T, not T / 1000.",
            ScaledTheOtherWay,
        ),
        Mistake("no cumulative product", _top, NoProduct),
        Mistake(
            "sum for product",
            "1 minus the sum of the betas becomes negative: what is left multiplies, it does not subtract.",
            SumOfBetas,
        ),
        Mistake(
            "product of the betas",
            "alpha_bar is the product of the alphas, 1 - beta: what the steps leave, not what they take.",
            ProductOfBetas,
        ),
        Mistake(
            "alpha_bar one level late",
            "alpha_bar[0] is 1 here, but level 0 has already taken one step of noise: it is 1 - beta_0.",
            OneLevelLate,
        ),
        Mistake(
            "variances for standard deviations",
            lambda got, want: (
                f"x_t has standard deviation {got['x_t'][1].std():.2f} in the middle of the chain, where "
                f"{want['x_t'][1].std():.2f} was expected: both weights need a square root."
            ),
            NoRoots,
        ),
        Mistake(
            "noise not rooted",
            "The noise is scaled by 1 - alpha_bar, its variance; a picture is scaled by a standard "
            "deviation: take the root.",
            NoiseNotRooted,
        ),
        Mistake(
            "picture and noise exchanged",
            "At t = 0 nearly everything is noise: the root of alpha_bar belongs to the picture.",
            Exchanged,
        ),
        Mistake(
            "alpha_bar not reshaped",
            "alpha_bar[t] has shape (B,), the pictures (B, 1, H, W): reshape it to (B, 1, 1, 1) first.",
            NotReshaped,
            raises=True,
        ),
    ],
)

# 7.2 LabUNet --------------------------------------------------------------------------------------


class Block(nn.Module):
    """Convolution (stride 2 halves the picture), then norm, time bias, SiLU, convolution, added to it."""

    def __init__(self, c_in, c_out, emb_dim, stride=1):
        super().__init__()
        self.enter = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1)
        self.norm, self.bias = nn.GroupNorm(8, c_out), nn.Linear(emb_dim, c_out)
        self.conv = nn.Conv2d(c_out, c_out, 3, padding=1)

    def forward(self, x, emb):
        h = self.enter(x)
        return h + self.conv(F.silu(self.norm(h) + self.bias(emb)[:, :, None, None]))


class Layers(nn.Module):
    """The layers of the lab's network; `embed` tells the blocks the level, and with classes the label."""

    def __init__(self, a=16, b=32, c=64, emb_dim=64, classes=0):
        super().__init__()
        self.config = dict(a=a, b=b, c=c, emb_dim=emb_dim, classes=classes)
        self.prediction, self.emb_dim, self.classes = "eps", emb_dim, classes
        first, second = (nn.Linear(emb_dim, emb_dim) for _ in range(2))
        self.time = nn.Sequential(first, nn.SiLU(), second, nn.SiLU())
        self.label = nn.Embedding(classes + 1, emb_dim) if classes else None
        self.down1, self.down2 = Block(1, a, emb_dim), Block(a, b, emb_dim, stride=2)
        self.down3, self.middle = Block(b, c, emb_dim, stride=2), Block(c, c, emb_dim)
        self.up3, self.up2 = Block(2 * c, c, emb_dim), Block(c + b, b, emb_dim)
        self.up1 = Block(b + a, a, emb_dim)
        self.leave = nn.Sequential(nn.GroupNorm(8, a), nn.SiLU(), nn.Conv2d(a, 1, 3, padding=1))
        nn.init.zeros_(self.leave[-1].weight), nn.init.zeros_(self.leave[-1].bias)

    def embed(self, t, y=None):
        emb = self.time(timestep_embedding(t, self.emb_dim))
        return emb if y is None else emb + self.label(y)


class LabUNet(Layers):
    """28 -> 14 -> 7 and back, a skip at each resolution, no attention; predicts eps. (B, 1, H, W), t (B,)."""

    def forward(self, x, t, y=None):
        emb = self.embed(t, y)
        a = self.down1(x, emb)
        b = self.down2(a, emb)
        c = self.down3(b, emb)
        h = self.up3(torch.cat([self.middle(c, emb), c], dim=1), emb)
        h = self.up2(torch.cat([F.interpolate(h, scale_factor=2.0), b], dim=1), emb)
        h = self.up1(torch.cat([F.interpolate(h, scale_factor=2.0), a], dim=1), emb)
        return self.leave(h)


class Variant(LabUNet):
    """LabUNet with its parts to be replaced one by one."""

    def forward(self, x, t, y=None):
        emb = self.told(t, y)
        a = self.down1(x, emb)
        b = self.down2(a, emb)
        c = self.down3(b, emb)
        h = self.up3(self.join(self.middle(c, emb), c), emb)
        h = self.up2(self.join(self.larger(h), b), emb)
        h = self.up1(self.join(self.larger(h), a), emb)
        return self.finish(h, x)

    def told(self, t, y):
        return self.embed(t, y)

    def join(self, h, skip):
        return torch.cat([h, skip], dim=1)

    def larger(self, h):
        return F.interpolate(h, scale_factor=2.0)

    def finish(self, h, x):
        return self.leave(h)


class NoSkips(Variant):
    def join(self, h, skip):
        return h


class SkipsFirst(Variant):
    def join(self, h, skip):
        return torch.cat([skip, h], dim=1)


class SkipsEmpty(Variant):
    def join(self, h, skip):
        return torch.cat([h, torch.zeros_like(skip)], dim=1)


class Bilinear(Variant):
    def larger(self, h):
        return F.interpolate(h, scale_factor=2.0, mode="bilinear")


class SameLevel(Variant):
    def told(self, t, y):
        return self.embed(torch.zeros_like(t), y)


class LabelForgotten(Variant):
    def told(self, t, y):
        return self.embed(t)


class TakesTheNoiseOff(Variant):
    def finish(self, h, x):
        return x - self.leave(h)


class NeverLeaves(Variant):
    def finish(self, h, x):
        return h


class WithItself(LabUNet):
    def forward(self, x, t, y=None):
        emb = self.embed(t, y)
        a = self.down1(x, emb)
        b = self.down2(a, emb)
        m = self.middle(self.down3(b, emb), emb)
        h = self.up3(torch.cat([m, m], dim=1), emb)
        h = self.up2(torch.cat([F.interpolate(h, scale_factor=2.0), b], dim=1), emb)
        h = self.up1(torch.cat([F.interpolate(h, scale_factor=2.0), a], dim=1), emb)
        return self.leave(h)


class NoMiddle(LabUNet):
    def forward(self, x, t, y=None):
        emb = self.embed(t, y)
        a = self.down1(x, emb)
        b = self.down2(a, emb)
        c = self.down3(b, emb)
        h = self.up3(torch.cat([c, c], dim=1), emb)
        h = self.up2(torch.cat([F.interpolate(h, scale_factor=2.0), b], dim=1), emb)
        h = self.up1(torch.cat([F.interpolate(h, scale_factor=2.0), a], dim=1), emb)
        return self.leave(h)


class TooLate(Variant):
    def join(self, h, skip):
        return torch.cat([h, skip], dim=1)

    def larger(self, h):
        return h


def unet_cases():
    g = torch.Generator().manual_seed(0)
    sizes = dict(a=8, b=16, c=24, emb_dim=8)
    return [
        (sizes, torch.randn(2, 1, 12, 8, generator=g), torch.tensor([3, 280])),
        (dict(classes=3, **sizes), torch.randn(3, 1, 8, 16, generator=g), torch.tensor([0, 150, 299]),
         torch.tensor([2, 0, 3])),
    ]  # fmt: skip


UNET = Exercise(
    "7.2",
    "LabUNet",
    LabUNet,
    unet_cases,
    call=as_module(LabUNet),
    verified="down, up, three skips, the level in every block, and labels where there are some.",
    mistakes=[
        Mistake(
            "skips left out",
            "The blocks on the way up are built for more channels than they get: concatenate the skip of the "
            "same resolution, torch.cat([h, skip], dim=1).",
            NoSkips,
            raises=True,
        ),
        Mistake(
            "not enlarged",
            "A skip and what comes from below have different sizes: enlarge h by two before you concatenate.",
            TooLate,
            raises=True,
        ),
        Mistake(
            "middle joined with itself",
            "`up3` gets the middle twice. Its second half is a skip: what `down3` made, before the middle. "
            "A popular tutorial has this very mistake, and it trains.",
            WithItself,
        ),
        Mistake(
            "middle left out",
            "`up3` gets what `down3` made twice: pass it through `self.middle` first.",
            NoMiddle,
        ),
        Mistake(
            "skip first",
            "The order of the channels is exchanged: what comes from below first, then the skip. It would "
            "train as well, but the shipped weights expect this order.",
            SkipsFirst,
        ),
        Mistake(
            "empty skips",
            "The skips are zeros: the detail of the way down never reaches the way up.",
            SkipsEmpty,
        ),
        Mistake(
            "level not passed on",
            "The output does not depend on t: pass t, not zeros, to `self.embed`.",
            SameLevel,
        ),
        Mistake(
            "label not passed on",
            "Without labels it is right; with labels they change nothing: `self.embed(t, y)`.",
            LabelForgotten,
        ),
        Mistake(
            "bilinear",
            "Enlarged with interpolation between pixels; copy each pixel four times (the default, nearest).",
            Bilinear,
        ),
        Mistake(
            "noise taken off",
            "It returns x minus the prediction. The network predicts the noise itself; what to do with it is "
            "the sampler's business.",
            TakesTheNoiseOff,
        ),
        Mistake(
            "never leaves",
            lambda got, want: (
                f"It returns {got.shape[1]} channels, a picture has one: the last layer is `self.leave`."
            ),
            NeverLeaves,
        ),
    ],
)

# 7.3 train_step -----------------------------------------------------------------------------------


def train_step(model, optimizer, schedule, x0, t, noise):
    x_t = schedule.q_sample(x0, t, noise)
    loss = F.mse_loss(model(x_t, t), noise)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def _step(
    given=lambda x_t, x0: x_t, target=lambda x0, x_t, noise: noise, loss_of=F.mse_loss, level=lambda t: t,
    clear=True, clip="before", move=True,
):  # fmt: skip
    """train_step with one part replaced."""

    def variant(model, optimizer, schedule, x0, t, noise):
        x_t = schedule.q_sample(x0, t, noise)
        loss = loss_of(model(given(x_t, x0), level(t)).float(), target(x0, x_t, noise))
        if clear:
            optimizer.zero_grad()
        loss.backward()
        if clip == "before":
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if move:
            optimizer.step()
        if clip == "after":
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        return loss.item()

    return variant


class Tiny(nn.Module):
    """A network small enough to train in a check; its gradient is first larger than 1, then smaller."""

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(1, 1, 3, 3, generator=g))
        self.by_level = nn.Parameter(torch.tensor(0.5))

    def forward(self, x, t):
        return F.conv2d(x, self.weight, padding=1) + self.by_level * (t / T).reshape(-1, 1, 1, 1)


def step_call(f, seed, lr):
    g, model = torch.Generator().manual_seed(seed), Tiny()
    optimizer, schedule, losses = torch.optim.SGD(model.parameters(), lr=lr), LabSchedule(T), []
    for _ in range(4):
        x0, noise = torch.rand(5, 1, 8, 6, generator=g) * 2 - 1, torch.randn(5, 1, 8, 6, generator=g)
        loss = f(model, optimizer, schedule, x0, torch.randint(T, (5,), generator=g), noise)
        if loss is None:
            raise Complaint("no loss returned", "It returns None: return the loss as a number, loss.item().")
        losses.append(float(loss))
    return dict(losses=losses, weight=model.weight.detach().clone(), by_level=model.by_level.item())


def step_cases():
    return [(0, 0.3), (1, 0.05)]


STEP = Exercise(
    "7.3",
    "train_step",
    train_step,
    step_cases,
    call=step_call,
    verified="after four steps of a small network, losses and weights are those of the reference.",
    mistakes=[
        Mistake(
            "gradients not cleared",
            "The first step is right, the later ones are not: gradients add up until optimizer.zero_grad().",
            _step(clear=False),
        ),
        Mistake(
            "weights do not move",
            "The loss is right, but the weights stay where they were: optimizer.step() is missing, or "
            "zero_grad() comes between backward() and step().",
            _step(move=False),
        ),
        Mistake(
            "the picture as target",
            "This network predicts the noise, and yours is asked for x_0: the samplers would take its "
            "output for noise.",
            _step(target=lambda x0, x_t, noise: x0),
        ),
        Mistake(
            "x_t as target",
            "The target is x_t, the network's own input: copying it would be enough. The target is the "
            "noise.",
            _step(target=lambda x0, x_t, noise: x_t),
        ),
        Mistake(
            "clean pictures given",
            "The network is shown x_0, in which there is no noise to find: show it x_t.",
            _step(given=lambda x_t, x0: x0),
        ),
        Mistake(
            "level not passed on",
            "The network is told t = 0 for every picture: pass the t with which x_t was made.",
            _step(level=torch.zeros_like),
        ),
        Mistake(
            "sum for mean",
            lambda got, want: (
                f"The loss is {got['losses'][0] / want['losses'][0]:.0f} times too large: the mean, not the "
                "sum, over pictures and pixels."
            ),
            _step(loss_of=lambda a, b: (a - b).square().sum()),
        ),
        Mistake(
            "absolute error",
            "This is the mean absolute error; the loss is the mean of the squares.",
            _step(loss_of=F.l1_loss),
        ),
        Mistake(
            "gradient not clipped",
            "Losses agree until a gradient is longer than 1: clip_grad_norm_ keeps it at 1, or one bad "
            "batch can throw the weights far off.",
            _step(clip=""),
        ),
    ],
)

# 7.4 ancestral ------------------------------------------------------------------------------------


def ancestral(model, schedule, x, draw):
    for t in reversed(range(schedule.T)):
        a, beta = schedule.alpha_bar[t], schedule.betas[t]
        a_prev = schedule.alpha_bar[t - 1] if t > 0 else torch.ones(())
        eps = model(x, torch.full((len(x),), t)).float()
        x0 = ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
        mean = (a_prev.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - a_prev) * x) / (1 - a)
        sigma = (beta * (1 - a_prev) / (1 - a)).sqrt()
        x = mean + sigma * draw(x) if t > 0 else mean
        yield t - 1, x


def _walk(
    levels=lambda s: reversed(range(s.T)), clamp=1.0, divide=True, sigma=lambda beta, var: var.sqrt(),
    last_noise=False, wrap=False, mean_of=None, label=lambda t: t - 1, fresh=True,
):  # fmt: skip
    """ancestral with one part replaced."""

    def variant(model, schedule, x, draw):
        for t in levels(schedule):
            a, beta = schedule.alpha_bar[t], schedule.betas[t]
            a_prev = schedule.alpha_bar[t - 1] if t > 0 or wrap else torch.ones(())
            eps = model(x, torch.full((len(x),), t)).float()
            x0 = (x - (1 - a).sqrt() * eps) / a.sqrt() if divide else x - eps
            x0 = x0.clamp(-clamp, clamp) if clamp else x0
            mean = (a_prev.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - a_prev) * x) / (1 - a)
            if mean_of is not None:
                mean = mean_of(x, x0)
            noisy = fresh and (t > 0 or last_noise)
            x = mean + sigma(beta, beta * (1 - a_prev) / (1 - a)) * draw(x) if noisy else mean
            yield label(t), x

    return variant


def _network(x, t):
    return 0.7 * x + (t / 100 - 0.1).reshape(-1, 1, 1, 1)


def _same_noise(seed):
    g = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=g)


def ancestral_cases():
    g = torch.Generator().manual_seed(0)
    return [
        (_network, LabSchedule(T), torch.randn(b, 1, h, w, generator=g), _same_noise(T))
        for T, b, h, w in ((25, 3, 4, 5), (40, 2, 6, 3))
    ]


def pairs(function, *args):
    """The (t, x) that a walk yields; says so where they are something else."""
    items = exhaust(400)(function, *args)
    for item in items:
        right = isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[1], torch.Tensor)
        if not right or isinstance(item[0], torch.Tensor) and item[0].numel() != 1:
            raise Complaint(
                "not (t, x)", f"It yields {kind(item)}: yield the pair (level of x, x) each step."
            )
    return dict(levels=[int(t) for t, _ in items], x=[x for _, x in items])


def _last_grain(got, want):
    off = (got["x"][-1] - want["x"][-1]).std()
    return (
        f"The finished pictures carry fresh noise (they are off by {off:.2f} everywhere): at t = 0 return "
        "the mean."
    )


ANCESTRAL = Exercise(
    "7.4",
    "ancestral",
    ancestral,
    ancestral_cases,
    call=pairs,
    verified="with the same noise every state from the top to the clean picture is that of the reference.",
    mistakes=[
        Mistake("noise at the last step", _last_grain, _walk(sigma=lambda b, v: b.sqrt(), last_noise=True)),
        Mistake(
            "beta as the variance",
            "The fresh noise has variance beta_t. That is the other choice in the DDPM paper; asked for "
            "here is the posterior's, beta_t (1 - abar_{t-1}) / (1 - abar_t).",
            _walk(sigma=lambda beta, var: beta.sqrt()),
        ),
        Mistake(
            "variance for standard deviation",
            "The fresh noise is multiplied by the variance: take its square root.",
            _walk(sigma=lambda beta, var: var),
        ),
        Mistake(
            "no fresh noise",
            "The steps are right except that nothing is drawn: without fresh noise the walk slides to the "
            "average, and pictures come out blurred.",
            _walk(fresh=False),
        ),
        Mistake(
            "x_0 not clamped",
            "The estimate of x_0 may leave [-1, 1], and at the top it does so by far: clamp it before it "
            "goes into the mean.",
            _walk(clamp=None),
        ),
        Mistake(
            "noise not rescaled",
            "x - eps is not x_0: solve x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps for x_0; both roots matter.",
            _walk(divide=False),
        ),
        Mistake(
            "all at once",
            "Every step jumps to the estimate of x_0. The network predicts all the noise there is; one "
            "step takes off only its share, by the mean of the posterior.",
            _walk(mean_of=lambda x, x0: x0),
        ),
        Mistake(
            "alpha_bar[-1] wraps around",
            "At t = 0 you read alpha_bar[-1], which in Python is the last entry, the noisiest level. Before "
            "level 0 everything is clean: alpha_bar is 1 there.",
            _walk(wrap=True),
        ),
        Mistake(
            "walks upwards",
            "It goes from level 0 to the top: sampling starts at T - 1, where the noise is, and goes down.",
            _walk(levels=lambda s: range(s.T)),
        ),
        Mistake(
            "label one level late",
            "The pictures are right, the labels are not: after the step from level t the picture is at level "
            "t - 1, and -1 when clean.",
            _walk(label=lambda t: t),
        ),
    ],
)

# 7.5 every_kth ------------------------------------------------------------------------------------


def every_kth(model, schedule, x, k):
    levels = list(range(schedule.T - 1, -1, -k))
    for t, t_next in zip(levels, [*levels[1:], -1], strict=True):
        a = schedule.alpha_bar[t]
        a_next = schedule.alpha_bar[t_next] if t_next >= 0 else torch.ones(())
        eps = model(x, torch.full((len(x),), t)).float()
        x0 = ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
        eps = (x - a.sqrt() * x0) / (1 - a).sqrt()
        x = a_next.sqrt() * x0 + (1 - a_next).sqrt() * eps
        yield t_next, x


def _skip(
    levels=lambda T, k: list(range(T - 1, -1, -k)), end=(-1,), clamp=True, follow=True, divide=True,
    root=True, wrap=False, label=None, one_level=False,
):  # fmt: skip
    """every_kth with one part replaced."""

    def variant(model, schedule, x, k):
        visited = levels(schedule.T, k)
        for t, t_next in zip(visited, [*visited[1:], *end], strict=False):
            a = schedule.alpha_bar[t]
            a_next = schedule.alpha_bar[t_next] if t_next >= 0 or wrap else torch.ones(())
            eps = model(x, torch.full((len(x),), t)).float()
            x0 = (x - (1 - a).sqrt() * eps) / a.sqrt() if divide else x - eps
            x0 = x0.clamp(-1, 1) if clamp else x0
            if follow:
                eps = (x - a.sqrt() * x0) / (1 - a).sqrt()
            if one_level:
                beta = schedule.betas[t]
                prev = schedule.alpha_bar[t - 1] if t > 0 else torch.ones(())
                x = (prev.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - prev) * x) / (1 - a)
            elif root:
                x = a_next.sqrt() * x0 + (1 - a_next).sqrt() * eps
            else:
                x = a_next.sqrt() * x0 + (1 - a_next) * eps
            yield t_next if label is None else t, x

    return variant


def every_cases():
    g = torch.Generator().manual_seed(0)
    return [
        (_network, LabSchedule(T), torch.randn(b, 1, h, w, generator=g), k)
        for T, k, b, h, w in ((25, 10, 3, 4, 5), (40, 7, 2, 6, 3), (30, 10, 2, 3, 4))
    ]


EVERY = Exercise(
    "7.5",
    "every_kth",
    every_kth,
    every_cases,
    call=pairs,
    verified="starts at T - 1, ends clean, and every state is that of the reference, also where k does not "
    "divide T.",
    mistakes=[
        Mistake(
            "starts below the top",
            "The levels are 0, k, 2k, .. from above, so the first lies below T - 1: pure noise is handed "
            "over with the message that some picture is left (at t = 290 for T = 300, k = 10). Count down "
            "from T - 1.",
            _skip(levels=lambda T, k: list(range(0, T, k))[::-1]),
        ),
        Mistake(
            "one-level step",
            "It visits every k-th level but moves as if to the next one, so nearly all the noise is still "
            "there at the end. The step must lead to the level that comes next in the list.",
            _skip(one_level=True),
        ),
        Mistake(
            "last step missing",
            lambda got, want: (
                f"It stops at level {got['levels'][-1]}, one stride before the clean picture, -1."
            ),
            _skip(end=()),
        ),
        Mistake(
            "alpha_bar[-1] wraps around",
            "At the last step you read alpha_bar[-1], the last entry in Python and the noisiest level: the "
            "finished picture is turned back into noise. For the clean level alpha_bar is 1.",
            _skip(wrap=True),
        ),
        Mistake(
            "eps left behind",
            "x_0 is clamped, but eps is still the one from before: compute it anew from x and the clamped "
            "x_0.",
            _skip(follow=False),
        ),
        Mistake(
            "x_0 not clamped",
            "The estimate of x_0 may leave [-1, 1]: clamp it, then compute the eps that belongs to it.",
            _skip(clamp=False),
        ),
        Mistake(
            "noise not rescaled",
            "x - eps is not x_0: solve x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps for x_0; both roots matter.",
            _skip(divide=False),
        ),
        Mistake(
            "variance for standard deviation",
            "At the next level the noise has standard deviation sqrt(1 - alpha_bar): the root is missing.",
            _skip(root=False),
        ),
        Mistake(
            "label one stride late",
            "The pictures are right, the labels are not: after the step the picture is at the next level "
            "of the list, -1 when clean.",
            _skip(label="late"),
        ),
    ],
)

# 7.6 sheet ----------------------------------------------------------------------------------------


def sheet(images, columns):
    n, _, h, w = images.shape
    grey = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    grey = grey.reshape(n // columns, columns, h, w)
    return grey.permute(0, 2, 1, 3).reshape(n // columns * h, columns * w)


def _bytes(x):
    """To uint8, wrapping around as a processor does it: 256 becomes 0."""
    return x.to(torch.int64).to(torch.uint8)


def _sheet(
    grey_of=lambda x: ((x.clamp(-1, 1) + 1) * 127.5).round(), order=(0, 2, 1, 3), down_first=False,
    exchanged=False,
):  # fmt: skip
    """sheet with one part replaced."""

    def variant(images, columns):
        n, _, h, w = images.shape
        rows, grey = n // columns, _bytes(grey_of(images))
        if exchanged:
            rows, columns = columns, rows
        if down_first:
            grey = grey.reshape(columns, rows, h, w).transpose(0, 1)
        grey = grey.reshape(rows, columns, h, w).permute(*order)
        return grey.reshape(rows * h, columns * w)

    return variant


def sheet_cases():
    g = torch.Generator().manual_seed(0)
    shapes = ((6, 1, 5, 4), 3), ((6, 1, 3, 7), 2), ((4, 1, 6, 3), 4)
    return [(0.8 * torch.randn(shape, generator=g), columns) for shape, columns in shapes]


SHEET = Exercise(
    "7.6",
    "sheet",
    sheet,
    sheet_cases,
    verified="bytes, in reading order, for 2 x 3, 3 x 2 and 1 x 4 pictures that are not square.",
    mistakes=[
        Mistake(
            "values not clamped",
            "Some values lie beyond [-1, 1], and what is above 255 starts again at 0: white specks turn "
            "black. Clamp first.",
            _sheet(lambda x: ((x + 1) * 127.5).round()),
        ),
        Mistake(
            "taken for 0 to 1",
            "The pictures go from -1 to 1: times 255 alone makes everything below 0 black.",
            _sheet(lambda x: (x.clamp(0, 1) * 255).round()),
        ),
        Mistake(
            "not rounded",
            "Conversion to bytes cuts fractions off: round first.",
            _sheet(lambda x: (x.clamp(-1, 1) + 1) * 127.5),
        ),
        Mistake(
            "stretched to fit",
            "The pictures are stretched from their own darkest to their own brightest value: faint ones "
            "would look strong. -1 is black and 1 is white, always.",
            _sheet(lambda x: ((x - x.min()) / (x.max() - x.min()) * 255).round()),
        ),
        Mistake(
            "axes not exchanged",
            "Every picture is torn into lines: memory runs along a line of the sheet, through all its "
            "columns, so the order of the axes is row, y, column, x. Permute before the last reshape.",
            _sheet(order=(0, 1, 2, 3)),
        ),
        Mistake(
            "pictures on their side",
            "Height and width of each picture have changed places: y belongs to the rows, x to the columns.",
            _sheet(order=(0, 3, 1, 2)),
        ),
        Mistake(
            "filled downwards",
            "The pictures run down the columns. Reading order is along the rows; a filmstrip would be torn.",
            _sheet(down_first=True),
        ),
        Mistake(
            "rows and columns exchanged",
            lambda got, want: (
                f"The sheet is {got.shape[0]} x {got.shape[1]} pixels and should be {want.shape[0]} x "
                f"{want.shape[1]}: `columns` is the number of pictures side by side."
            ),
            _sheet(exchanged=True),
        ),
    ],
)

EXERCISES = [SCHEDULE, UNET, STEP, ANCESTRAL, EVERY, SHEET]
