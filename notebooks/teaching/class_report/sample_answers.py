"""Answers to notebook 02 as students write them: right in other words, wrong without a name, or stopping.

Texts of cells without their `check` line; what they define has the name that the task asks for.
"""

RIGHT = {
    "2.1": [
        """\
def exact_denoiser(x_t, t, points, schedule):
    a = schedule.alpha_bar[t].to(x_t.dtype)
    points = points.to(x_t.dtype)
    result = torch.zeros_like(x_t)
    for i in range(len(x_t)):
        d2 = ((x_t[i] - a[i].sqrt() * points) ** 2).sum(dim=1)
        logits = -d2 / (2 * (1 - a[i]))
        w = (logits - logits.max()).exp()
        result[i] = (w[:, None] * points).sum(0) / w.sum()
    return result
""",
        """\
# Bayes: posterior ~ likelihood, since all points are equally likely
def exact_denoiser(x_t, t, points, schedule):
    a = at(schedule.alpha_bar, t, x_t).double()
    p = points.double()
    centres = a.sqrt()[:, :, None] * p.T[None]              # (B, 2, N)
    dist = (x_t.double()[:, :, None] - centres).pow(2).sum(1)
    weights = F.softmax(-0.5 * dist / (1 - a), dim=-1)
    return torch.einsum("bn,nd->bd", weights, p).to(x_t.dtype)
""",
    ],
    "2.3": [
        """\
def simple_loss(model, x0, t, noise, schedule):
    x_t = schedule.q_sample(x0, t, noise)
    return F.mse_loss(model(x_t, t), noise)
""",
        """\
def simple_loss(model, x0, t, noise, schedule):
    a = at(schedule.alpha_bar, t, x0)
    x_t = torch.sqrt(a) * x0 + torch.sqrt(1 - a) * noise
    eps_hat = model(x_t, t)
    diff = noise - eps_hat
    return torch.mean(diff * diff)
""",
    ],
    "2.4": [
        """\
def score(eps, t, schedule):
    sigma = torch.sqrt(1 - at(schedule.alpha_bar, t, eps))
    return -eps / sigma
""",
        """\
def score(eps, t, schedule):
    var = 1.0 - schedule.alpha_bar[t]
    var = var.view(-1, *[1] * (eps.dim() - 1))
    # gradient of -|x - mean|^2 / (2 var) is -(x - mean) / var, and x - mean = sqrt(var) eps
    return -(var.sqrt() * eps) / var
""",
    ],
    "2.5": [
        """\
import math

def timestep_embedding(t, dim, max_period=10_000.0):
    half = dim // 2
    freqs = torch.exp(-math.log(max_period) * torch.arange(half) / half)
    args = t[:, None].float() * freqs[None]
    return torch.cat([torch.sin(args), torch.cos(args)], dim=-1)
""",
        """\
def timestep_embedding(t, dim, max_period=10_000.0):
    columns = []
    for i in range(dim // 2):
        columns.append(t.float() / max_period ** (2 * i / dim))
    angles = torch.stack(columns, dim=1)
    return torch.hstack([angles.sin(), angles.cos()])
""",
    ],
    "2.7": [
        """\
def posterior_variance(t, t_next, schedule):
    a, b = schedule.alpha_bar[t], schedule.alpha_bar[t_next]
    return (1 - b) / (1 - a) * (1 - a / b)
""",
        """\
def step_kept(t, t_next, schedule):
    return schedule.alpha_bar[t] / schedule.alpha_bar[t_next]


def posterior_variance(t, t_next, schedule):
    r = step_kept(t, t_next, schedule)
    v1 = 1 - schedule.alpha_bar[t_next]
    v2 = (1 - r) / r
    return v1 * v2 / (v1 + v2)
""",
    ],
    "2.8": [
        """\
def ddim_step(x0, eps, t, t_next, noise, schedule, eta=0.0):
    a, a_s = schedule.alpha_bar[t], schedule.alpha_bar[t_next]
    sigma = eta * ((1 - a_s) / (1 - a) * (1 - a / a_s)).sqrt()
    direction = torch.sqrt(1 - a_s - sigma**2) * eps
    return torch.sqrt(a_s) * x0 + direction + sigma * noise
""",
        """\
def ddim_step(x0, eps, t, t_next, noise, schedule, eta=0.0):
    if t_next == 0:
        return x0
    a = schedule.alpha_bar[t_next]
    var = eta * eta * posterior_variance(t, t_next, schedule)
    mean = a.sqrt() * x0 + (1 - a - var).sqrt() * eps
    return mean + var.sqrt() * noise
""",
    ],
    "2.9": [
        """\
def short_cut(x0, eps, t, t_next, noise, schedule):
    t_next = t - 1
    return ancestral_step(x0, eps, t, t_next, noise, schedule)
""",
    ],
}

WRONG = {  # right neither as a whole nor in a way that is listed
    "2.1": [
        """\
def exact_denoiser(x_t, t, points, schedule):
    a = at(schedule.alpha_bar, t, x_t)
    away = x_t[:, None] - a[:, None].sqrt() * points
    w = torch.softmax(-away.square().sum(2) / (2 * (1 - a)), dim=1)
    return (w @ points.to(x_t.dtype)).clamp(-0.5, 0.5)
""",
    ],
    "2.4": [
        """\
def score(eps, t, schedule):
    return -eps / (1.1 - at(schedule.alpha_bar, t, eps)).sqrt()
""",
    ],
    "2.5": [
        """\
def timestep_embedding(t, dim, max_period=10_000.0):
    i = torch.arange(dim // 2)
    angles = t.float()[:, None] * 2.0 ** -i
    return torch.cat([angles.sin(), angles.cos()], dim=1)
""",
    ],
    "2.7": [
        """\
def posterior_variance(t, t_next, schedule):
    a, b = schedule.alpha_bar[t], schedule.alpha_bar[t_next]
    return ((1 - b) + (1 - a / b)) / 2
""",
    ],
    "2.8": [
        """\
def ddim_step(x0, eps, t, t_next, noise, schedule, eta=0.0):
    a, a_next = schedule.alpha_bar[t], schedule.alpha_bar[t_next]
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps
    return a_next.sqrt() * x0 + (1 - a_next).sqrt() * (0.9 * eps + 0.1 * x_t)
""",
    ],
}

CRASHED = {  # task -> [(the error's name, text)]
    "2.1": [
        (
            "RuntimeError",
            """\
def exact_denoiser(x_t, t, points, schedule):
    a = at(schedule.alpha_bar, t, x_t)
    away = x_t - a.sqrt() * points
    w = torch.softmax(-away.square().sum(1) / (2 * (1 - a)), dim=1)
    return w @ points
""",
        ),
    ],
    "2.3": [
        (
            "NameError",
            """\
def simple_loss(model, x0, t, noise, schedule):
    x_t = schedule.q_sample(x0, t, noise)
    eps_pred = model(x_t, t)
    return ((eps_pred - true_eps) ** 2).mean()
""",
        ),
    ],
    "2.5": [
        (
            "TypeError",
            """\
def timestep_embedding(t, dim, max_period=10_000.0):
    i = torch.arange(dim // 2)
    angles = t[:, None] * max_period ** (-i / (dim // 2))
    return torch.cat(angles.sin(), angles.cos())
""",
        ),
    ],
    "2.7": [
        (
            "AttributeError",
            """\
def posterior_variance(t, t_next, schedule):
    a, a_next = schedule.alphas_bar[t], schedule.alphas_bar[t_next]
    return (1 - a_next) / (1 - a) * (1 - a / a_next)
""",
        ),
    ],
    "2.8": [
        (
            "SyntaxError",
            """\
def ddim_step(x0, eps, t, t_next, noise, schedule, eta=0.0):
    a_next = schedule.alpha_bar[t_next]
    var = eta**2 * posterior_variance(t, t_next, schedule)
    return (a_next.sqrt() * x0 + (1 - a_next - var).sqrt() * eps + var.sqrt() * noise
""",
        ),
    ],
}

ENDLESS = """\
def posterior_variance(t, t_next, schedule):
    a, var = schedule.alpha_bar[t_next], 0
    while t > t_next:
        var = 1 - schedule.alpha_bar[t] / a
    return var
"""

SKETCHES = {  # guesses of the six numbers of 2.6
    "": (0.85, 0.9, 0.8, 0.6, 0.15, 0.02),
    "all close to zero": (0.05, 0.05, 0.03, 0.02, 0.01, 0.01),
    "rises with the level": (0.05, 0.1, 0.3, 0.6, 0.8, 1.0),
    "flat": (0.5, 0.5, 0.5, 0.5, 0.5, 0.5),
    "falls too early": (1.0, 0.6, 0.3, 0.1, 0.05, 0.0),
}
