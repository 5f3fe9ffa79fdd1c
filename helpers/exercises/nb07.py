"""The exercises of notebook 07, a lab from empty stubs to saved pictures."""

import torch
import torch.nn.functional as F
from torch import nn

from helpers import models
from helpers.schedule import at

from .exercise import Complaint, Exercise, Mistake, as_module, exhaust, kind

T = 300  # levels of the lab: enough with betas scaled by 1000/T, and a third of the sampling time of 1,000

# 7.1 LabSchedule ----------------------------------------------------------------------------------


class LabSchedule:
    """Linear betas scaled by 1000/T behind beta_0 = 0, alpha_bar, both (T+1,), and the jump to level t."""

    def __init__(self, T=300):
        self.T = T
        self.betas = torch.cat([torch.zeros(1), torch.linspace(1e-4, 0.02, T) * 1000 / T])
        self.alpha_bar = torch.cumprod(1 - self.betas, dim=0)

    def q_sample(self, x0, t, noise):
        a = at(self.alpha_bar, t, x0)
        return a.sqrt() * x0 + (1 - a).sqrt() * noise


def scale_line(T, factor):
    """The line of T betas times `factor`, behind the 0 of level 0."""
    return torch.cat([torch.zeros(1), torch.linspace(1e-4, 0.02, T) * factor])


def vary_schedule(betas=None, alpha_bar=None, jump=None):
    """LabSchedule with betas(T), alpha_bar(betas) or jump(x0, alpha_bar at t, noise) in place of its own."""

    class Variant(LabSchedule):
        def __init__(self, T=300):
            super().__init__(T)
            if betas is not None:
                self.betas = betas(T)
                self.alpha_bar = torch.cumprod(1 - self.betas, dim=0)
            if alpha_bar is not None:
                self.alpha_bar = alpha_bar(self.betas)

        def q_sample(self, x0, t, noise):
            if jump is None:
                return super().q_sample(x0, t, noise)
            return jump(x0, at(self.alpha_bar, t, x0), noise)

    return Variant


def call_schedule(cls, T, x0, t, noise):
    schedule = cls(T)
    for name, first in (("betas", "0"), ("alpha_bar", "1")):
        value = getattr(schedule, name, None)
        if not isinstance(value, torch.Tensor):
            raise Complaint(
                f"no {name}",
                f"After `__init__` there should be a tensor `self.{name}` of shape (T+1,); it is "
                f"{kind(value)}.",
            )
        if value.shape == (T,):
            raise Complaint(
                "level 0 left out",
                f"`self.{name}` has {T} entries for T = {T}, but there are {T + 1} levels, 0 .. {T}. Put "
                f"level 0, the clean data, in front: {name}[0] = {first}.",
            )
    return dict(betas=schedule.betas, alpha_bar=schedule.alpha_bar, x_t=schedule.q_sample(x0, t, noise))


def make_schedule_cases():
    g = torch.Generator().manual_seed(0)
    cases = []
    for T, t in ((300, [0, 150, 300]), (1000, [1000, 500, 0, 1, 700]), (100, [50, 100])):
        x0, noise = torch.randn(2, len(t), 1, 8, 6, generator=g)
        cases.append((T, x0, torch.tensor(t), noise))
    return cases


def tell_stops_short(got, want):
    return (
        f"The chain stops short of noise: sqrt(alpha_bar) at the top is {got['alpha_bar'][-1].sqrt():.2f}, "
        f"so much of the picture's amplitude is left where {want['alpha_bar'][-1].sqrt():.3f} should be. "
        "Betas up to 0.02 are meant for 1,000 levels; with T levels each must be 1000/T times as large."
    )


def tell_top(got, want):
    return (
        f"alpha_bar ends at {got['alpha_bar'][-1]:.2g} where {want['alpha_bar'][-1]:.2g} was expected: these "
        "are the alphas of single steps. What is left after t steps is their product up to t."
    )


def tell_spread(got, want):
    return (
        f"x_t has standard deviation {got['x_t'][1].std():.2f} in the middle of the chain, where "
        f"{want['x_t'][1].std():.2f} was expected: both weights need a square root."
    )


SCHEDULE = Exercise(
    "7.1",
    "LabSchedule",
    LabSchedule,
    make_schedule_cases,
    verified="betas, alpha_bar and x_t for T = 100, 300, 1,000; at the top 0.6 % of the amplitude is left.",
    call=call_schedule,
    mistakes=[
        Mistake("betas not scaled", tell_stops_short, vary_schedule(lambda T: scale_line(T, 1))),
        Mistake(
            "scaled the wrong way round",
            "Fewer levels need larger steps: the factor is 1000 / T, not T / 1000.",
            vary_schedule(lambda T: scale_line(T, T / 1000)),
        ),
        Mistake(
            "line over T + 1 levels",
            "betas[0] is not 0: the line has T values, beta_1 to beta_T. No step leads to level 0, the clean "
            "data, so a 0 stands in front of them.",
            vary_schedule(lambda T: torch.linspace(1e-4, 0.02, T + 1) * 1000 / T),
        ),
        Mistake("no cumulative product", tell_top, vary_schedule(alpha_bar=lambda betas: 1 - betas)),
        Mistake(
            "sum for product",
            "1 minus the sum of the betas becomes negative: what is left multiplies, it does not subtract.",
            vary_schedule(alpha_bar=lambda betas: 1 - torch.cumsum(betas, dim=0)),
        ),
        Mistake(
            "product of the betas",
            "alpha_bar is the product of the alphas, 1 - beta: what the steps leave, not what they take.",
            vary_schedule(alpha_bar=lambda betas: torch.cumprod(betas, dim=0)),
        ),
        Mistake(
            "alpha_bar one level late",
            "alpha_bar[1] is 1 here, but level 1 has taken a step of noise: it is 1 - beta_1. Since betas[0] "
            "is 0, the product begins with the 1 of level 0 by itself.",
            vary_schedule(
                alpha_bar=lambda betas: torch.cat([torch.ones(1), torch.cumprod(1 - betas, dim=0)[:-1]])
            ),
        ),
        Mistake(
            "variances for standard deviations",
            tell_spread,
            vary_schedule(jump=lambda x0, a, noise: a * x0 + (1 - a) * noise),
        ),
        Mistake(
            "noise not rooted",
            "The noise is scaled by 1 - alpha_bar, its variance; a picture is scaled by a standard "
            "deviation: take the root.",
            vary_schedule(jump=lambda x0, a, noise: a.sqrt() * x0 + (1 - a) * noise),
        ),
        Mistake(
            "picture and noise exchanged",
            "At t = 0 all is noise: the root of alpha_bar belongs to the picture.",
            vary_schedule(jump=lambda x0, a, noise: a.sqrt() * noise + (1 - a).sqrt() * x0),
        ),
        Mistake(
            "alpha_bar not reshaped",
            "alpha_bar[t] has shape (B,), the pictures (B, 1, H, W): at(alpha_bar, t, x0) reads it as "
            "(B, 1, 1, 1).",
            vary_schedule(
                jump=lambda x0, a, noise: a.flatten().sqrt() * x0 + (1 - a).flatten().sqrt() * noise
            ),
            raises=True,
        ),
    ],
)

# 7.2 LabUNet --------------------------------------------------------------------------------------

Layers = models.LabUNet  # under this name the notebook gives the layers


class LabUNet(Layers):
    """The lab's network, whose way through the layers is the exercise."""

    forward = Layers.forward


def embed_all(net, t, y):
    return net.embed(t, y)


def join_channels(h, skip):
    return torch.cat([h, skip], dim=1)


def enlarge_twice(h):
    return F.interpolate(h, scale_factor=2.0)


def leave_last(net, h, x):
    return net.leave(h)


def vary_unet(embed=embed_all, bottom=None, join=join_channels, enlarge=enlarge_twice, leave=leave_last):
    """LabUNet with one part replaced; bottom: how the middle and its skip are joined."""

    class Variant(LabUNet):
        def forward(self, x, t, y=None):
            emb = embed(self, t, y)
            a = self.down1(x, emb)
            b = self.down2(a, emb)
            c = self.down3(b, emb)
            h = self.up3((bottom or join)(self.middle(c, emb), c), emb)
            h = self.up2(join(enlarge(h), b), emb)
            h = self.up1(join(enlarge(h), a), emb)
            return leave(self, h, x)

    return Variant


def make_unet_cases():
    g = torch.Generator().manual_seed(0)
    sizes = dict(a=8, b=16, c=24, emb_dim=8)
    x, labelled = torch.randn(2, 1, 12, 8, generator=g), torch.randn(3, 1, 8, 16, generator=g)
    return [
        (sizes, x, torch.tensor([3, 280])),
        (dict(classes=3, **sizes), labelled, torch.tensor([1, 150, 300]), torch.tensor([2, 0, 3])),
    ]


UNET = Exercise(
    "7.2",
    "LabUNet",
    LabUNet,
    make_unet_cases,
    call=as_module(LabUNet),
    verified="down, up, three skips, the level in every block, and labels where there are some.",
    mistakes=[
        Mistake(
            "skips left out",
            "The blocks on the way up are built for more channels than they get: concatenate the skip of the "
            "same resolution, torch.cat([h, skip], dim=1).",
            vary_unet(join=lambda h, skip: h),
            raises=True,
        ),
        Mistake(
            "not enlarged",
            "A skip and what comes from below have different sizes: enlarge h by two before you concatenate.",
            vary_unet(enlarge=lambda h: h),
            raises=True,
        ),
        Mistake(
            "middle joined with itself",
            "`up3` gets the middle twice. Its second half is a skip: what `down3` made, before the middle. "
            "A popular tutorial has this very mistake, and it trains.",
            vary_unet(bottom=lambda middle, c: join_channels(middle, middle)),
        ),
        Mistake(
            "middle left out",
            "`up3` gets what `down3` made twice: pass it through `self.middle` first.",
            vary_unet(bottom=lambda middle, c: join_channels(c, c)),
        ),
        Mistake(
            "skip first",
            "The order of the channels is exchanged: what comes from below first, then the skip. It would "
            "train as well, but the shipped weights expect this order.",
            vary_unet(join=lambda h, skip: join_channels(skip, h)),
        ),
        Mistake(
            "empty skips",
            "The skips are zeros: the detail of the way down never reaches the way up.",
            vary_unet(join=lambda h, skip: join_channels(h, torch.zeros_like(skip))),
        ),
        Mistake(
            "level not passed on",
            "The output does not depend on t: pass t, not zeros, to `self.embed`.",
            vary_unet(embed=lambda net, t, y: net.embed(torch.zeros_like(t), y)),
        ),
        Mistake(
            "label not passed on",
            "Without labels it is right; with labels they change nothing: `self.embed(t, y)`.",
            vary_unet(embed=lambda net, t, y: net.embed(t)),
        ),
        Mistake(
            "bilinear",
            "Enlarged with interpolation between pixels; copy each pixel four times (the default, nearest).",
            vary_unet(enlarge=lambda h: F.interpolate(h, scale_factor=2.0, mode="bilinear")),
        ),
        Mistake(
            "noise taken off",
            "It returns x minus the prediction. The network predicts the noise itself; what to do with it is "
            "the sampler's business.",
            vary_unet(leave=lambda net, h, x: x - net.leave(h)),
        ),
        Mistake(
            "never leaves",
            lambda got, want: (
                f"It returns {got.shape[1]} channels, a picture has one: the last layer is `self.leave`."
            ),
            vary_unet(leave=lambda net, h, x: h),
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


def vary_step(
    given=lambda x_t, x0: x_t,
    target=lambda x0, x_t, noise: noise,
    loss_of=F.mse_loss,
    level=lambda t: t,
    clear=True,
    clip=True,
    move=True,
):
    """train_step with one part replaced."""

    def variant(model, optimizer, schedule, x0, t, noise):
        x_t = schedule.q_sample(x0, t, noise)
        loss = loss_of(model(given(x_t, x0), level(t)).float(), target(x0, x_t, noise))
        if clear:
            optimizer.zero_grad()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if move:
            optimizer.step()
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


def call_step(f, seed, lr):
    g, model = torch.Generator().manual_seed(seed), Tiny()
    optimizer, schedule, losses = torch.optim.SGD(model.parameters(), lr=lr), LabSchedule(T), []
    for _ in range(4):
        x0, noise = torch.rand(5, 1, 8, 6, generator=g) * 2 - 1, torch.randn(5, 1, 8, 6, generator=g)
        loss = f(model, optimizer, schedule, x0, torch.randint(1, T + 1, (5,), generator=g), noise)
        if loss is None:
            raise Complaint("no loss returned", "It returns None: return the loss as a number, loss.item().")
        losses.append(float(loss))
    return dict(losses=losses, weight=model.weight.detach().clone(), by_level=model.by_level.item())


STEP = Exercise(
    "7.3",
    "train_step",
    train_step,
    lambda: [(0, 0.3), (1, 0.05)],
    call=call_step,
    verified="after four steps of a small network, losses and weights are those of the reference.",
    mistakes=[
        Mistake(
            "gradients not cleared",
            "The first step is right, the later ones are not: gradients add up until optimizer.zero_grad().",
            vary_step(clear=False),
        ),
        Mistake(
            "weights do not move",
            "The loss is right, but the weights stay where they were: optimizer.step() is missing, or "
            "zero_grad() comes between backward() and step().",
            vary_step(move=False),
        ),
        Mistake(
            "the picture as target",
            "This network predicts the noise, and yours is asked for x_0: the samplers would take its "
            "output for noise.",
            vary_step(target=lambda x0, x_t, noise: x0),
        ),
        Mistake(
            "x_t as target",
            "The target is x_t, the network's own input: copying it would be enough. The target is the "
            "noise.",
            vary_step(target=lambda x0, x_t, noise: x_t),
        ),
        Mistake(
            "clean pictures given",
            "The network is shown x_0, in which there is no noise to find: show it x_t.",
            vary_step(given=lambda x_t, x0: x0),
        ),
        Mistake(
            "level not passed on",
            "The network is told t = 0 for every picture: pass the t with which x_t was made.",
            vary_step(level=torch.zeros_like),
        ),
        Mistake(
            "sum for mean",
            lambda got, want: (
                f"The loss is {got['losses'][0] / want['losses'][0]:.0f} times too large: the mean, not the "
                "sum, over pictures and pixels."
            ),
            vary_step(loss_of=lambda a, b: (a - b).square().sum()),
        ),
        Mistake(
            "absolute error",
            "This is the mean absolute error; the loss is the mean of the squares.",
            vary_step(loss_of=F.l1_loss),
        ),
        Mistake(
            "gradient not clipped",
            "Losses agree until a gradient is longer than 1: clip_grad_norm_ keeps it at 1, or one bad "
            "batch can throw the weights far off.",
            vary_step(clip=False),
        ),
    ],
)

# 7.4 ancestral ------------------------------------------------------------------------------------


def ancestral(model, schedule, x, draw):
    for t in range(schedule.T, 0, -1):
        a, a_prev, beta = schedule.alpha_bar[t], schedule.alpha_bar[t - 1], schedule.betas[t]
        eps = model(x, torch.full((len(x),), t)).float()
        x0 = ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
        mean = (a_prev.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - a_prev) * x) / (1 - a)
        sigma = (beta * (1 - a_prev) / (1 - a)).sqrt()
        x = mean + sigma * draw(x)
        yield t - 1, x


def estimate_x0(x, a, eps, divide=True, clamp=True):
    """The x_0 that x and eps imply, or the wrong x - eps; within [-1, 1], or wherever it lies."""
    x0 = (x - (1 - a).sqrt() * eps) / a.sqrt() if divide else x - eps
    return x0.clamp(-1, 1) if clamp else x0


def vary_ancestral(
    levels=lambda T: range(T, 0, -1),
    clamp=True,
    divide=True,
    leap=False,
    sigma=lambda beta, var: var.sqrt(),
    quietest=0,
    label=lambda t: t - 1,
):
    """ancestral with one part replaced; fresh noise is added at levels above `quietest`."""

    def variant(model, schedule, x, draw):
        for t in levels(schedule.T):
            a, a_prev, beta = schedule.alpha_bar[t], schedule.alpha_bar[t - 1], schedule.betas[t]
            eps = model(x, torch.full((len(x),), t)).float()
            x0 = estimate_x0(x, a, eps, divide, clamp)
            mean = (a_prev.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - a_prev) * x) / (1 - a)
            x = x0 if leap else mean
            if t > quietest:
                x = x + sigma(beta, beta * (1 - a_prev) / (1 - a)) * draw(x)
            yield label(t), x

    return variant


ASKED_AT_ZERO = Complaint(
    "asks at level 0",
    "The network is asked at level 0, which is the clean picture and has no noise to find. Ask at T first "
    "and at 1 last; Python's range leaves out the end that you give it.",
)


def predict_noise(x, t):
    """The network of the checks: any function of x (B, 1, H, W) and the levels t (B,), 1 or more."""
    if int(t.min()) < 1:
        raise Complaint(ASKED_AT_ZERO.name, ASKED_AT_ZERO.text)
    return 0.7 * x + (t / 100 - 0.1).reshape(-1, 1, 1, 1)


def draw_from(seed):
    g = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=g)


def make_ancestral_cases():
    g = torch.Generator().manual_seed(0)
    return [
        (predict_noise, LabSchedule(T), torch.randn(b, 1, h, w, generator=g), draw_from(T))
        for T, b, h, w in ((25, 3, 4, 5), (40, 2, 6, 3))
    ]


def collect_pairs(function, *args):
    """The (t, x) that a walk yields; says so where they are something else."""
    items = exhaust(400)(function, *args)
    for item in items:
        right = isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[1], torch.Tensor)
        if not right or isinstance(item[0], torch.Tensor) and item[0].numel() != 1:
            raise Complaint(
                "not (t, x)", f"It yields {kind(item)}: yield the pair (level of x, x) each step."
            )
    return dict(levels=[int(t) for t, _ in items], x=[x for _, x in items])


def tell_grain(got, want):
    off = (got["x"][-1] - want["x"][-1]).std()
    return (
        f"The finished pictures carry fresh noise (they are off by {off:.2f} everywhere), drawn with "
        "variance beta_t. The posterior's variance, beta_t (1 - abar_{t-1}) / (1 - abar_t), is 0 at t = 1."
    )


def tell_end(got, want):
    return f"It stops at level {got['levels'][-1]}, one step before the clean picture, level 0."


NOT_RESCALED = (
    "x - eps is not x_0: solve x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps for x_0; both roots matter."
)

ANCESTRAL = Exercise(
    "7.4",
    "ancestral",
    ancestral,
    make_ancestral_cases,
    call=collect_pairs,
    verified="with the same noise every state from the top to the clean picture is that of the reference.",
    mistakes=[
        Mistake("noise at the last step", tell_grain, vary_ancestral(sigma=lambda beta, var: beta.sqrt())),
        Mistake(
            "beta as the variance",
            "The fresh noise has variance beta_t. That is the other choice in the DDPM paper; asked for "
            "here is the posterior's, beta_t (1 - abar_{t-1}) / (1 - abar_t).",
            vary_ancestral(sigma=lambda beta, var: beta.sqrt(), quietest=1),
        ),
        Mistake(
            "variance for standard deviation",
            "The fresh noise is multiplied by the variance: take its square root.",
            vary_ancestral(sigma=lambda beta, var: var),
        ),
        Mistake(
            "no fresh noise",
            "The steps are right except that nothing is drawn: without fresh noise the walk slides to the "
            "average, and pictures come out blurred.",
            vary_ancestral(quietest=T),
        ),
        Mistake(
            "x_0 not clamped",
            "The estimate of x_0 may leave [-1, 1], and at the top it does so by far: clamp it before it "
            "goes into the mean.",
            vary_ancestral(clamp=False),
        ),
        Mistake("noise not rescaled", NOT_RESCALED, vary_ancestral(divide=False)),
        Mistake(
            "all at once",
            "Every step jumps to the estimate of x_0. The network predicts all the noise there is; one "
            "step takes off only its share, by the mean of the posterior.",
            vary_ancestral(leap=True),
        ),
        Mistake(ASKED_AT_ZERO.name, ASKED_AT_ZERO.text, vary_ancestral(levels=lambda T: reversed(range(T)))),
        Mistake("last step missing", tell_end, vary_ancestral(levels=lambda T: range(T, 1, -1))),
        Mistake(
            "walks upwards",
            "It goes from level 1 to the top: sampling starts at T, where the noise is, and goes down.",
            vary_ancestral(levels=lambda T: range(1, T + 1)),
        ),
        Mistake(
            "label one level late",
            "The pictures are right, the labels are not: after the step from level t the picture is at level "
            "t - 1, and 0 when clean.",
            vary_ancestral(label=lambda t: t),
        ),
    ],
)

# 7.5 every_kth ------------------------------------------------------------------------------------


def every_kth(model, schedule, x, k):
    levels = list(range(schedule.T, 0, -k))
    for t, t_next in zip(levels, [*levels[1:], 0], strict=True):
        a, a_next = schedule.alpha_bar[t], schedule.alpha_bar[t_next]
        eps = model(x, torch.full((len(x),), t)).float()
        x0 = ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
        eps = (x - a.sqrt() * x0) / (1 - a).sqrt()
        x = a_next.sqrt() * x0 + (1 - a_next).sqrt() * eps
        yield t_next, x


def vary_every_kth(
    levels=lambda T, k: range(T, 0, -k),
    end=(0,),
    clamp=True,
    follow=True,
    divide=True,
    root=True,
    late=False,
    one_level=False,
):
    """every_kth with one part replaced."""

    def variant(model, schedule, x, k):
        visited = list(levels(schedule.T, k))
        for t, t_next in zip(visited, [*visited[1:], *end], strict=False):
            a, a_next = schedule.alpha_bar[t], schedule.alpha_bar[t - 1 if one_level else t_next]
            eps = model(x, torch.full((len(x),), t)).float()
            x0 = estimate_x0(x, a, eps, divide, clamp)
            eps = (x - a.sqrt() * x0) / (1 - a).sqrt() if follow else eps
            x = a_next.sqrt() * x0 + ((1 - a_next).sqrt() if root else 1 - a_next) * eps
            yield t if late else t_next, x

    return variant


def make_every_cases():
    g = torch.Generator().manual_seed(0)
    return [
        (predict_noise, LabSchedule(T), torch.randn(b, 1, h, w, generator=g), k)
        for T, k, b, h, w in ((25, 10, 3, 4, 5), (40, 7, 2, 6, 3), (30, 10, 2, 3, 4))
    ]


EVERY = Exercise(
    "7.5",
    "every_kth",
    every_kth,
    make_every_cases,
    call=collect_pairs,
    verified="starts at T, ends clean, and every state is that of the reference, also where k does not "
    "divide T.",
    mistakes=[
        Mistake(
            "starts at T - 1",
            "The first level is T - 1, but pure noise is level T: alpha_bar has T + 1 entries, 0 .. T.",
            vary_every_kth(levels=lambda T, k: range(T - 1, -1, -k)),
        ),
        Mistake(
            "starts below the top",
            "The levels are 1, 1 + k, 1 + 2k, .. from above, so the first lies below T: pure noise is handed "
            "over with the message that some picture is left (at t = 291 for T = 300, k = 10). Count down "
            "from T.",
            vary_every_kth(levels=lambda T, k: reversed(range(1, T + 1, k))),
        ),
        Mistake(ASKED_AT_ZERO.name, ASKED_AT_ZERO.text, vary_every_kth(levels=lambda T, k: range(T, -1, -k))),
        Mistake(
            "one-level step",
            "It visits every k-th level but moves as if to the next one, so nearly all the noise is still "
            "there at the end. The step must lead to the level that comes next in the list.",
            vary_every_kth(one_level=True),
        ),
        Mistake("last step missing", tell_end, vary_every_kth(end=())),
        Mistake(
            "eps left behind",
            "x_0 is clamped, but eps is still the one from before: compute it anew from x and the clamped "
            "x_0.",
            vary_every_kth(follow=False),
        ),
        Mistake(
            "x_0 not clamped",
            "The estimate of x_0 may leave [-1, 1]: clamp it, then compute the eps that belongs to it.",
            vary_every_kth(clamp=False),
        ),
        Mistake("noise not rescaled", NOT_RESCALED, vary_every_kth(divide=False)),
        Mistake(
            "variance for standard deviation",
            "At the next level the noise has standard deviation sqrt(1 - alpha_bar): the root is missing.",
            vary_every_kth(root=False),
        ),
        Mistake(
            "label one stride late",
            "The pictures are right, the labels are not: after the step the picture is at the next level "
            "of the list, 0 when clean.",
            vary_every_kth(late=True),
        ),
    ],
)

# 7.6 sheet ----------------------------------------------------------------------------------------


def sheet(images, columns):
    n, _, h, w = images.shape
    grey = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    grey = grey.reshape(n // columns, columns, h, w)
    return grey.permute(0, 2, 1, 3).reshape(n // columns * h, columns * w)


def vary_sheet(
    grey_of=lambda x: ((x.clamp(-1, 1) + 1) * 127.5).round(),
    order=(0, 2, 1, 3),
    down_first=False,
    exchanged=False,
):
    """sheet with one part replaced."""

    def variant(images, columns):
        n, _, h, w = images.shape
        grey = (
            grey_of(images).to(torch.int64).to(torch.uint8)
        )  # wraps around, as processors do: 256 becomes 0
        rows = n // columns
        if exchanged:
            rows, columns = columns, rows
        if down_first:
            grey = grey.reshape(columns, rows, h, w).transpose(0, 1)
        grey = grey.reshape(rows, columns, h, w).permute(*order)
        return grey.reshape(rows * h, columns * w)

    return variant


def make_sheet_cases():
    g = torch.Generator().manual_seed(0)
    shapes = ((6, 1, 5, 4), 3), ((6, 1, 3, 7), 2), ((4, 1, 6, 3), 4)
    return [(0.8 * torch.randn(shape, generator=g), columns) for shape, columns in shapes]


SHEET = Exercise(
    "7.6",
    "sheet",
    sheet,
    make_sheet_cases,
    verified="bytes, in reading order, for 2 x 3, 3 x 2 and 1 x 4 pictures that are not square.",
    mistakes=[
        Mistake(
            "values not clamped",
            "Some values lie beyond [-1, 1], and what is above 255 starts again at 0: white specks turn "
            "black. Clamp first.",
            vary_sheet(lambda x: ((x + 1) * 127.5).round()),
        ),
        Mistake(
            "taken for 0 to 1",
            "The pictures go from -1 to 1: times 255 alone makes everything below 0 black.",
            vary_sheet(lambda x: (x.clamp(0, 1) * 255).round()),
        ),
        Mistake(
            "not rounded",
            "Conversion to bytes cuts fractions off: round first.",
            vary_sheet(lambda x: (x.clamp(-1, 1) + 1) * 127.5),
        ),
        Mistake(
            "stretched to fit",
            "The pictures are stretched from their own darkest to their own brightest value: faint ones "
            "would look strong. -1 is black and 1 is white, always.",
            vary_sheet(lambda x: ((x - x.min()) / (x.max() - x.min()) * 255).round()),
        ),
        Mistake(
            "axes not exchanged",
            "Every picture is torn into lines: memory runs along a line of the sheet, through all its "
            "columns, so the order of the axes is row, y, column, x. Permute before the last reshape.",
            vary_sheet(order=(0, 1, 2, 3)),
        ),
        Mistake(
            "pictures on their side",
            "Height and width of each picture have changed places: y belongs to the rows, x to the columns.",
            vary_sheet(order=(0, 3, 1, 2)),
        ),
        Mistake(
            "filled downwards",
            "The pictures run down the columns. Reading order is along the rows; a filmstrip would be torn.",
            vary_sheet(down_first=True),
        ),
        Mistake(
            "rows and columns exchanged",
            lambda got, want: (
                f"The sheet is {got.shape[0]} x {got.shape[1]} pixels and should be {want.shape[0]} x "
                f"{want.shape[1]}: `columns` is the number of pictures side by side."
            ),
            vary_sheet(exchanged=True),
        ),
    ],
)

EXERCISES = [SCHEDULE, UNET, STEP, ANCESTRAL, EVERY, SHEET]
