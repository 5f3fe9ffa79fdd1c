"""The reverse loop and its rules: against diffusers, against exact answers, and what the loop promises."""

import pytest
import torch

from helpers.models import UNet
from helpers.sampling import Rule, State, ancestral, ddim, dpm_solver, last, reverse, spaced
from helpers.schedule import cosine, linear, zero_terminal_snr

MEAN, SD = torch.tensor([0.5, -0.3]), 0.2


class Smooth:
    """An almost exact denoiser of Gaussian data N(MEAN, SD^2), bent a little so that it is not linear."""

    def __init__(self, schedule, prediction="eps", bend=0.1):
        self.schedule, self.prediction, self.bend, self.asked = schedule, prediction, bend, []

    def __call__(self, x, t):
        assert t.dtype == torch.int64 and t.shape == (len(x),)
        self.asked.append(int(t[0]))
        a = self.schedule.exact(t)[:, None]
        x0 = MEAN + SD**2 * a.sqrt() / (a * SD**2 + 1 - a) * (x - a.sqrt() * MEAN)
        x0 = x0 + self.bend * torch.tanh(2 * x0)
        eps = (x - a.sqrt() * x0) / (1 - a).sqrt()
        return (eps if self.prediction == "eps" else a.sqrt() * eps - (1 - a).sqrt() * x0).float()


def relative(ours, theirs):
    return float((ours - theirs).abs().max() / theirs.abs().max())


SCHEDULES = {"linear": (linear, "linear"), "cosine": (cosine, "squaredcos_cap_v2")}
KINDS = {"eps": "epsilon", "v": "v_prediction"}


def betas_for_diffusers(schedule):
    """Our betas of levels 1 .. T, in float64: diffusers has no entry for the clean level."""
    a = schedule.exact(torch.arange(schedule.T + 1))
    return (1 - a[1:] / a[:-1]).numpy()


def levels_of(scheduler):
    """The levels of a diffusers scheduler in our counting: its t is our t - 1."""
    return [int(t) + 1 for t in scheduler.timesteps]


def with_diffusers(scheduler, model, shape, seed, **options):
    """Their loop: all noise from one seeded CPU generator, as in ours. Our networks count levels from 1."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=g)
    walk = [x]
    with torch.no_grad():
        for t in scheduler.timesteps:
            output = model(x, torch.full((len(x),), int(t) + 1))
            x = scheduler.step(output, t, x, generator=g, **options).prev_sample
            walk.append(x)
    return walk


# --- against diffusers, the whole walk


@pytest.mark.parametrize("clip", [None, 0.6], ids=["free", "clipped"])
@pytest.mark.parametrize("prediction", KINDS)
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("variance, theirs", [("posterior", "fixed_small"), ("beta", "fixed_large")])
def test_ancestral_same_as_diffusers_ddpm(name, prediction, variance, theirs, clip, one_thread):
    diffusers = pytest.importorskip("diffusers")
    make, beta_schedule = SCHEDULES[name]
    T = 120  # diffusers does not scale betas: given by number
    schedule = make(T)
    model = Smooth(schedule, prediction)
    scheduler = diffusers.DDPMScheduler(
        T,
        trained_betas=betas_for_diffusers(schedule),
        variance_type=theirs,
        prediction_type=KINDS[prediction],
        clip_sample=clip is not None,
        clip_sample_range=clip or 1.0,
    )
    scheduler.set_timesteps(T)
    walk = with_diffusers(scheduler, model, (8, 2), seed=3)
    ours = [s.x for s in reverse(model, schedule, ancestral(variance), (8, 2), seed=3, clip_x0=clip)]
    assert len(ours) == len(walk) == T + 1 and torch.equal(ours[0], walk[0])
    assert relative(ours[-1], walk[-1]) < 1e-4
    assert max(relative(a, b) for a, b in zip(ours, walk, strict=True)) < 1e-4


@pytest.mark.parametrize("name", SCHEDULES)
def test_ancestral_1000_levels_same_as_diffusers(name, one_thread):
    """T = 1000, diffusers' own schedule, v-prediction, clipped: the configuration of notebook 04.

    diffusers keeps alpha_bar in float32, where 1 - alpha_bar of the first cosine levels is 0.001 off;
    with the same constants in float64 the walks agree.
    """
    diffusers = pytest.importorskip("diffusers")
    make, beta_schedule = SCHEDULES[name]
    schedule, model = make(), Smooth(make(), "v")
    scheduler = diffusers.DDPMScheduler(
        1000, beta_schedule=beta_schedule, variance_type="fixed_small", prediction_type="v_prediction"
    )
    scheduler.set_timesteps(1000)
    ours = last(reverse(model, schedule, ancestral(), (4, 2), clip_x0=1.0))
    assert relative(ours, with_diffusers(scheduler, model, (4, 2), seed=0)[-1]) < 5e-4
    scheduler.alphas_cumprod = schedule.exact(torch.arange(1, 1001))
    scheduler.one = torch.tensor(1.0, dtype=torch.float64)
    assert relative(ours, with_diffusers(scheduler, model, (4, 2), seed=0)[-1]) < 1e-4


@pytest.mark.parametrize("clip", [None, 0.6], ids=["free", "clipped"])
@pytest.mark.parametrize("prediction", KINDS)
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(
    "spacing, steps, eta",
    [
        ("trailing", 50, 0.0),
        ("trailing", 50, 1.0),
        ("trailing", 10, 0.5),
        ("trailing", 1, 0.0),
        ("leading", 50, 0.0),
        ("leading", 20, 1.0),
    ],
)
def test_ddim_same_as_diffusers(name, prediction, spacing, steps, eta, clip, one_thread):
    """Where diffusers' own next level (t - T // steps) is the next in its list."""
    diffusers = pytest.importorskip("diffusers")
    make, beta_schedule = SCHEDULES[name]
    model = Smooth(make(), prediction)
    scheduler = diffusers.DDIMScheduler(
        1000,
        beta_schedule=beta_schedule,
        prediction_type=KINDS[prediction],
        timestep_spacing=spacing,
        clip_sample=clip is not None,
        clip_sample_range=clip or 1.0,
        set_alpha_to_one=True,
    )
    scheduler.set_timesteps(steps)
    walk = with_diffusers(scheduler, model, (8, 2), 5, eta=eta, use_clipped_model_output=clip is not None)
    states = list(reverse(model, make(), ddim(steps, eta, spacing), (8, 2), seed=5, clip_x0=clip))
    assert [s.t for s in states[:-1]] == levels_of(scheduler)
    assert max(relative(s.x, x) for s, x in zip(states, walk, strict=True)) < 1e-4


@pytest.mark.parametrize("spacing", ["trailing", "linspace", "leading"])
def test_ddim_on_all_levels_same_as_diffusers(spacing, one_thread):
    """On all levels the three spacings are one, and agree with diffusers' linspace too."""
    diffusers = pytest.importorskip("diffusers")
    schedule = cosine(100)
    scheduler = diffusers.DDIMScheduler(
        100, trained_betas=betas_for_diffusers(schedule), timestep_spacing=spacing, clip_sample=False
    )
    scheduler.set_timesteps(100)
    walk = with_diffusers(scheduler, Smooth(schedule), (8, 2), 5, eta=1.0)
    states = list(reverse(Smooth(schedule), schedule, ddim(100, 1.0, spacing), (8, 2), seed=5))
    assert max(relative(s.x, x) for s, x in zip(states, walk, strict=True)) < 1e-4


@pytest.mark.parametrize("spacing", ["trailing", "linspace", "leading"])
@pytest.mark.parametrize("steps", [2, 7, 30, 50, 100, 333, 999, 1000])
def test_levels_same_as_diffusers(spacing, steps):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(1000, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    theirs = levels_of(scheduler)
    assert spaced(steps, spacing)(1000) == theirs
    assert all(rule(steps, spacing=spacing).levels(1000) == theirs for rule in (ddim, dpm_solver))


def dpm_of_diffusers(schedule, prediction, steps, float64=False, kind="dpmsolver++"):
    """DPMSolverMultistepScheduler as our rule means it, told every option that has a say.

    Their constants are float32. float64=True gives them ours: at the top of the cosine schedule alpha_bar is
    2e-9, eps-prediction divides by its root, and float32 leaves an error of 0.01 in x_0.
    """
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DPMSolverMultistepScheduler(
        schedule.T,
        algorithm_type=kind,
        solver_order=2,
        solver_type="midpoint",
        timestep_spacing="trailing",
        final_sigmas_type="zero",
        lower_order_final=True,
        euler_at_final=False,
        trained_betas=betas_for_diffusers(schedule),
        prediction_type=KINDS[prediction],
        thresholding=False,
        use_karras_sigmas=False,
    )
    scheduler.set_timesteps(steps)
    if float64:
        a = schedule.exact(scheduler.timesteps + 1)
        scheduler.sigmas = torch.cat([((1 - a) / a).sqrt(), torch.zeros(1, dtype=torch.float64)])
    return scheduler


@pytest.mark.parametrize("steps", [1, 2, 5, 14, 15, 20, 50])
@pytest.mark.parametrize("prediction", KINDS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_dpm_solver_same_as_diffusers(name, prediction, steps, one_thread):
    """The whole walk; 14 and 15 lie beside the step count at which lower_order_final changes its meaning."""
    schedule = SCHEDULES[name][0]()
    model = Smooth(schedule, prediction)
    states = list(reverse(model, schedule, dpm_solver(steps), (8, 2), seed=5))
    for float64 in (True, False):
        scheduler = dpm_of_diffusers(schedule, prediction, steps, float64)
        walk = with_diffusers(scheduler, model, (8, 2), 5)
        assert [s.t for s in states[:-1]] == levels_of(scheduler)
        worst = max(relative(s.x, x) for s, x in zip(states, walk, strict=True))
        rough = not float64 and (name, prediction) == ("cosine", "eps")
        assert worst < (2e-2 if rough else 1e-4)


def test_dpm_solver_on_a_network_same_as_diffusers(one_thread):
    torch.manual_seed(0)
    model = UNet(channels=(16, 16), emb_dim=16, prediction="v").eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.15)
    theirs = with_diffusers(dpm_of_diffusers(cosine(), "v", 10), model, (2, 1, 8, 8), 1)[-1]
    ours = last(reverse(model, cosine(), dpm_solver(10), (2, 1, 8, 8), seed=1))
    assert ours.std() > 0.05 and relative(ours, theirs) < 1e-4


def test_unet_on_images_same_as_diffusers(one_thread):
    """A real network on images, and zero terminal SNR."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    model = UNet(channels=(16, 16), emb_dim=16, prediction="v").eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.15)
    scheduler = diffusers.DDIMScheduler(
        1000,
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        clip_sample=True,
    )
    scheduler.set_timesteps(8)
    theirs = with_diffusers(scheduler, model, (2, 1, 8, 8), 1, use_clipped_model_output=True)[-1]
    ours = last(reverse(model, zero_terminal_snr(linear()), ddim(8), (2, 1, 8, 8), seed=1, clip_x0=1.0))
    assert ours.std() > 0.05 and relative(ours, theirs) < 1e-4


# --- against exact answers


@pytest.mark.parametrize(
    "rule",
    [ancestral(), ancestral("beta"), ddim(100), ddim(250, eta=1.0), dpm_solver(50), dpm_solver(100, eta=0.5)],
    ids=lambda r: r.name,
)
def test_exact_denoiser_gives_the_data(rule, one_thread):
    """With the exact denoiser of Gaussian data the samples have its mean and, nearly, its spread."""
    schedule = cosine(250)
    x = last(reverse(Smooth(schedule, bend=0), schedule, rule, (4000, 2)))
    assert torch.allclose(x.mean(0), MEAN, atol=5 * SD / 4000**0.5)
    assert torch.allclose(x.std(0), torch.full((2,), SD), rtol=0.07)


def test_ddim_eta_1_on_all_levels_is_ancestral():
    schedule = linear(200)
    a = last(reverse(Smooth(schedule), schedule, ddim(200, eta=1.0), (6, 2), seed=2))
    b = last(reverse(Smooth(schedule), schedule, ancestral(), (6, 2), seed=2))
    assert relative(a, b) < 1e-4


class Knowing:
    """A network that knows the one clean point x0 (broadcast over the batch)."""

    prediction = "eps"

    def __init__(self, schedule, x0):
        self.schedule, self.x0 = schedule, x0

    def __call__(self, x, t):
        return self.schedule.predict_eps(x, t, self.x0.expand_as(x))


def test_perfect_noise_is_undone():
    """Where the network knows the one clean point, DDIM in any number of steps arrives at it."""
    schedule, target = linear(), torch.tensor([[0.3, -0.8]])
    model = Knowing(schedule, target)
    for rule in (rule(steps) for rule in (ddim, dpm_solver) for steps in (1, 3, 50)):
        assert torch.allclose(last(reverse(model, schedule, rule, (5, 2))), target.expand(5, 2), atol=1e-3)


def error_half_way(rule, steps, prediction="eps"):
    """Largest distance at level 500 from the exact path of Gaussian data, sqrt(abar) mean + spread * z."""
    schedule = linear()
    model = Smooth(schedule, prediction, bend=0)
    states = {s.t: s.x for s in reverse(model, schedule, rule(steps), (200, 2), seed=8)}

    def centre_and_spread(t):
        a = schedule.exact(t)
        return a.sqrt() * MEAN, (a * SD**2 + 1 - a).sqrt()

    (centre, spread), (middle, narrow) = centre_and_spread(1000), centre_and_spread(500)
    return float((states[500] - middle - narrow * (states[1000] - centre) / spread).abs().max())


def test_dpm_solver_is_of_second_order(one_thread):
    """Twice the steps: a quarter of the error, where DDIM's halves; and less of it from the start."""
    for prediction in ("eps", "v"):
        second, first = ([error_half_way(r, n, prediction) for n in (10, 20, 40)] for r in (dpm_solver, ddim))
        assert all(3.3 < a / b < 6 for a, b in zip(second, second[1:], strict=False)), second
        assert all(1.7 < a / b < 2.3 for a, b in zip(first, first[1:], strict=False)), first
        assert all(b < 0.6 * a for a, b in zip(first, second, strict=True))


def test_dpm_solver_begins_and_ends_as_ddim():
    """Nothing to look back on at first; at the end the line over log-SNR would reach infinity."""
    schedule = cosine()
    both = [list(reverse(Smooth(schedule), schedule, r, (4, 2))) for r in (dpm_solver(8), ddim(8))]
    assert relative(both[0][1].x, both[1][1].x) < 1e-6 < 1e-5 < relative(both[0][2].x, both[1][2].x)
    assert torch.equal(both[0][-1].x, both[0][-1].x0)
    one = [last(reverse(Smooth(schedule), schedule, r, (4, 2))) for r in (dpm_solver(1), ddim(1))]
    assert relative(*one) < 1e-6


def test_dpm_solver_from_zero_terminal_snr():
    """Where log-SNR starts at minus infinity: finite, and first order until two finite levels are behind."""
    schedule = zero_terminal_snr(linear())
    model = Smooth(schedule, "v")
    both = [list(reverse(model, schedule, r, (4, 2))) for r in (dpm_solver(10), ddim(10))]
    assert float(schedule.exact(both[0][0].t)) == 0
    assert all(bool(s.x.isfinite().all()) for s in both[0])
    differences = [relative(a.x, b.x) for a, b in zip(*both, strict=True)]
    assert max(differences[:3]) < 1e-6 and differences[3] > 1e-5


def test_a_rule_is_told_of_the_step_before():
    """(t, x0) of the step before, x0 as it was used, within the clip; None at the first step."""
    schedule, told = linear(50), []

    def move(schedule, x, t, t_next, eps, x0, draw, before):
        told.append(before)
        return x0

    rule = Rule("leaps", lambda T: [40, 20, 1], move)
    states = list(reverse(Smooth(schedule), schedule, rule, (2, 2), clip_x0=0.1))
    assert told[0] is None and [t for t, _ in told[1:]] == [40, 20]
    assert all(torch.equal(x0, s.x0) for (_, x0), s in zip(told[1:], states[1:], strict=False))
    assert max(float(x0.abs().max()) for _, x0 in told[1:]) == pytest.approx(0.1)


def test_dpm_solver_eta_1_is_first_order_ddim_at_its_first_step():
    """The first step has nothing to look back on: there the stochastic forms of both draw the same."""
    schedule = cosine()
    rules = dpm_solver(8, eta=1.0), ddim(8, eta=1.0)
    both = [list(reverse(Smooth(schedule), schedule, rule, (4, 2))) for rule in rules]
    assert relative(both[0][1].x, both[1][1].x) < 1e-5
    assert relative(both[0][6].x, both[1][6].x) > 1e-3


@pytest.mark.parametrize("steps", [2, 20, 50])
@pytest.mark.parametrize("prediction", KINDS)
def test_stochastic_dpm_solver_same_as_diffusers(prediction, steps, one_thread):
    """diffusers' sde-dpmsolver++ is our eta = 1, with the same noise; constants in float64."""
    schedule = linear()
    model = Smooth(schedule, prediction)
    scheduler = dpm_of_diffusers(schedule, prediction, steps, float64=True, kind="sde-dpmsolver++")
    walk = with_diffusers(scheduler, model, (8, 2), 5)
    states = list(reverse(model, schedule, dpm_solver(steps, eta=1.0), (8, 2), seed=5))
    assert max(relative(s.x, x) for s, x in zip(states, walk, strict=True)) < 1e-4


# --- labels


@pytest.mark.parametrize("rule", [ancestral(), ddim(5, 0.0, "linspace"), ddim(12)], ids=lambda r: r.name)
def test_a_label_is_the_level_of_the_picture(rule):
    """A network that is always right about one clean point: the mean of x is sqrt(abar) x0."""
    schedule, x0 = linear(60), torch.full((20_000, 1), 2.0)
    states = list(reverse(Knowing(schedule, x0), schedule, rule, x0.shape))
    assert states[0].t == 60 and states[0].x0 is None and states[0].step == 0
    assert states[-1].t == 0 and [s.step for s in states] == list(range(len(states)))
    assert [s.t for s in states[:-1]] == rule.levels(60)
    for s in states[1:]:
        mean = float(s.x.mean())
        off_by_one = [float(schedule.exact(t).sqrt()) * 2 for t in (max(s.t - 1, 0), s.t, min(s.t + 1, 60))]
        if s.t > 0 and abs(off_by_one[0] - off_by_one[1]) < 0.02:
            continue  # neighbours too close to tell apart by the mean of 20,000 points
        # the start is drawn from N(0, 1), whose mean is 2 sqrt(abar_T) short of the marginal's
        start = float((1 - schedule.exact(s.t)).sqrt()) * (2 * float(schedule.exact(60).sqrt()) + 0.03)
        assert abs(mean - off_by_one[1]) <= start, s.t
        assert torch.allclose(s.x0, x0, atol=2e-3)


def test_the_network_is_asked_at_the_label():
    """The state that the network is given carries the t it is asked with: nothing is shifted by one."""
    schedule = linear(30)
    model = Smooth(schedule)
    states = list(reverse(model, schedule, ancestral(), (2, 2)))
    assert model.asked == [s.t for s in states[:-1]] == list(range(30, 0, -1))


# --- promises of the loop


def test_one_seed_one_result():
    schedule = linear(40)
    for rule in (ancestral(), ddim(10, eta=1.0), ddim(10), dpm_solver(10)):
        a, b, c = (last(reverse(Smooth(schedule), schedule, rule, (3, 2), seed=s)) for s in (4, 4, 5))
        assert torch.equal(a, b) and not torch.allclose(a, c)


def test_noise_comes_from_its_own_cpu_generator(monkeypatch):
    """The global generator neither matters nor moves, and every draw names a generator on the CPU."""
    schedule, drawn, real = linear(40), [], torch.randn

    def randn(*args, generator=None, device=None, **kwargs):
        assert generator is not None and generator.device.type == "cpu" and device is None
        drawn.append(1)
        return real(*args, generator=generator, **kwargs)

    monkeypatch.setattr(torch, "randn", randn)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a = last(reverse(Smooth(schedule), schedule, ancestral(), (3, 2)))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(a, last(reverse(Smooth(schedule), schedule, ancestral(), (3, 2))))
    assert len(drawn) == 2 * 40


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_same_picture_on_a_gpu():
    model = UNet(channels=(16, 16), emb_dim=16)
    cpu = last(reverse(model, cosine(), ddim(5, eta=1.0), (2, 1, 8, 8)))
    gpu = last(reverse(model.cuda(), cosine(), ddim(5, eta=1.0), (2, 1, 8, 8)))
    assert torch.allclose(cpu, gpu.cpu(), atol=1e-3)


def test_lazy():
    """One can stop early: the network is not asked for more than was drawn."""
    schedule = linear()
    model = Smooth(schedule)
    walk = reverse(model, schedule, ancestral(), (2, 2))
    assert model.asked == []
    for state in walk:
        if state.t == 991:
            break
    assert model.asked == list(range(1000, 991, -1)) and state.step == 9


def test_states_are_not_overwritten():
    schedule = linear(30)
    states = list(reverse(Smooth(schedule), schedule, ancestral(), (2, 2)))
    assert len({float(s.x.sum()) for s in states}) == len(states)
    with pytest.raises(AttributeError):
        states[0].t = 5


def test_no_gradients_inside_and_none_lost_outside():
    torch.manual_seed(0)
    model = UNet(channels=(8, 8), emb_dim=8)
    for state in reverse(model, linear(30), ddim(2), (1, 1, 8, 8)):
        assert torch.is_grad_enabled() and not state.x.requires_grad


def test_start_from_a_picture():
    schedule, x_T = linear(30), torch.full((2, 2), 0.5)
    states = list(reverse(Smooth(schedule), schedule, ddim(3), x_T=x_T))
    assert torch.equal(states[0].x, x_T) and states[0].x is not x_T
    assert (x_T == 0.5).all()


def test_clipped_estimate_stays_inside():
    schedule = cosine(100)

    def wild(x, t):
        return 3 * torch.ones_like(x)

    wild.prediction = "eps"
    free = [s.x0.abs().max() for s in reverse(wild, schedule, ddim(20), (4, 2)) if s.x0 is not None]
    tame = [
        s.x0.abs().max() for s in reverse(wild, schedule, ddim(20), (4, 2), clip_x0=1.0) if s.x0 is not None
    ]
    assert max(free) > 100 and max(tame) <= 1


def test_last_is_the_last_state():
    schedule = linear(30)
    *_, end = reverse(Smooth(schedule), schedule, ddim(4), (2, 2))
    assert isinstance(end, State)
    assert torch.equal(end.x, last(reverse(Smooth(schedule), schedule, ddim(4), (2, 2))))


# --- errors


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ancestral("gamma"), "'gamma'"),
        (lambda: ddim(spacing="quadratic"), "'quadratic'"),
        (lambda: ddim(eta=-0.1), "negative"),
        (lambda: dpm_solver(eta=-0.1), "negative"),
        (lambda: dpm_solver(spacing="quadratic"), "'quadratic'"),
        (lambda: spaced(3, "karras"), "'karras'"),
    ],
)
def test_unknown_rules(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("rule", [ddim, dpm_solver])
@pytest.mark.parametrize("steps", [0, 31])
def test_more_steps_than_levels(rule, steps):
    with pytest.raises(ValueError, match=r"1 \.\. 30"):
        next(reverse(Smooth(linear(30)), linear(30), rule(steps), (1, 2)))


def test_no_shape():
    with pytest.raises(ValueError, match="shape="):
        next(reverse(Smooth(linear(30)), linear(30), ddim(2)))


def test_a_model_says_what_it_predicts():
    with pytest.raises(TypeError, match="does not say what it predicts"):
        next(reverse(lambda x, t: x, linear(30), ddim(2), (1, 2)))


def test_unknown_prediction():
    model = Smooth(linear(30))
    model.prediction = "score"
    with pytest.raises(ValueError, match="'score'"):
        last(reverse(model, linear(30), ddim(2), (1, 2)))


def test_a_rule_of_ones_own():
    """The loop takes any rule: here one that jumps to the estimate at once."""
    leap = Rule("leap", lambda T: [T], lambda schedule, x, t, t_next, eps, x0, draw, before: x0)
    schedule = linear(50)
    states = list(reverse(Smooth(schedule), schedule, leap, (2, 2)))
    assert len(states) == 2 and torch.equal(states[1].x, states[1].x0)
