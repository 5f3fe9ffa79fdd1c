"""The MNIST networks of notebooks 04 and 06, and what notebook 04 shows without drawing it anew."""

from __future__ import annotations

import time

import torch
from torch import nn

from data.experiments.measures import (
    RULES,
    draw,
    figure,
    figures,
    floor,
    judge,
    noise,
    real,
    to_images,
    to_list,
)
from data.experiments.networks import schedule_of, train_network
from data.experiments.runner import Experiment
from helpers import checkpoints, metrics, show
from helpers.guidance import Autoguided
from helpers.models import LabUNet, UNet, parameter_count
from helpers.sampling import ancestral, ddim, last, reverse
from helpers.schedule import at

SNAPSHOTS = {"400": "1min", "2000": "5min", "8000": "20min"}  # step: minutes on two cores of our machine


def load_network(name: str):
    """A checkpoint by name, without gradients; a name that ends in _lab is a LabUNet."""
    return checkpoints.load_model(name, LabUNet if name.endswith("_lab") else None).requires_grad_(False)


def start_from(model, name: str, images: torch.Tensor) -> None:
    """Give the model the weights of a checkpoint; what it has beyond that must do nothing at first.

    Raises ValueError when the two are not the same function on the images (N, 1, 28, 28).
    """
    start = load_network(name)
    _, unknown = model.load_state_dict(start.state_dict(), strict=False)
    x, t = images[:8], torch.full((len(images[:8]),), start.recipe["T"] // 3)
    with torch.no_grad():
        gap = float((model.eval()(x, t) - start(x, t)).abs().max())
    if unknown or gap > 1e-4:
        raise ValueError(f"a network that starts from {name} is another function ({gap:.1g} off) {unknown}")


def train_mnist(work) -> dict:
    """Train the network of the settings on MNIST; leave its averaged weights, and snapshots on the way."""
    s, recipe, sets = work.settings, dict(work.settings["recipe"]), real("mnist", work.settings["few"])
    torch.manual_seed(recipe["seed"])
    model = UNet(**s["network"])
    if recipe.get("start"):
        start_from(model, recipe["start"], sets.x)
    recipe |= dict(
        data="mnist", prediction=model.prediction, optimizer="AdamW", parameters=parameter_count(model)
    )

    def keep(run, log, name=work.name):
        work.save_model(name, run.ema.model, {**recipe, "step": run.step}, log)

    stops = {int(step): name for step, name in s.get("snapshots", {}).items()}
    labels = sets.y if model.classes else None
    run, log = train_network(
        work, model, sets.x, recipe, labels=labels, stops=stops,
        look=lambda run, log: keep(run, log, f"mnist_unet_{stops[run.step]}"),
    )  # fmt: skip
    if "until" not in recipe:
        keep(run, log)
    return dict(loss=log["last"], seconds=round(log["seconds"]))


class AtSameNoise(nn.Module):
    """A network of another schedule or prediction, asked in the terms of this one.

    Level t of `schedule` becomes the level of the network's own schedule with the nearest log-SNR, where x_t
    looks the same; its answer becomes the eps, x0 or v (`prediction`) of level t.
    """

    def __init__(self, model, schedule, prediction: str):
        super().__init__()
        self.model, self.schedule, self.prediction = model, schedule, prediction
        own = schedule_of({"schedule": "linear", **model.recipe})  # the lab's recipe says it in "betas"
        wanted, known = (s.snr[1:].clamp(min=1e-30).log() for s in (schedule, own))
        nearest = (wanted[:, None] - known[None]).abs().argmin(1) + 1
        self.own, self.levels = own, torch.cat([torch.zeros(1, dtype=torch.long), nearest])

    def forward(self, x, t):
        level = self.levels[t]
        eps, _ = self.own.from_output(self.model(x, level).float(), x, level, self.model.prediction)
        x0 = self.schedule.predict_x0(x, t, eps)
        if self.prediction == "v":
            a = at(self.schedule.alpha_bar, t, x)
            return a.sqrt() * eps - (1 - a).sqrt() * x0
        return eps if self.prediction == "eps" else x0


def count_training(model) -> dict:
    """How far the training of a checkpoint had come, with that of the network it started from."""
    recipe, log = model.recipe, model.log
    before = count_training(load_network(recipe["start"])) if recipe.get("start") else {}
    return dict(
        steps=recipe["step"] + before.get("steps", 0),
        images=recipe["step"] * recipe["batch_size"] + before.get("images", 0),
        minutes=round(log["seconds"] / 60 + before.get("minutes", 0), 1),
        threads=log["threads"],
        loss=log["loss"][-1] if log["loss"] else None,
    )


def measure_samples(
    work, network: str, sampler: dict, seed: int, n: int, clip=1.0, guide: dict | None = None
) -> dict:
    """Draw n samples and judge them. sampler: rule and its arguments; guide: weak network, scale, band."""
    s, options = work.settings, dict(sampler)
    model, rule = load_network(network), RULES[options.pop("rule")](**options)
    schedule = schedule_of(model.recipe)
    if guide:
        weak = AtSameNoise(load_network(guide["weak"]), schedule, model.prediction)
        model = Autoguided(model, weak, guide["scale"], guide["band"])
    x_T = noise(n, seed)
    images = draw(model, schedule, rule, x_T.shape, 1000 * (seed + 1), x_T, clip=clip, bf16=s["bf16"])
    return {**judge(images, "mnist", s["few"]), "pixels": to_list(images, s["shown"])}


def measure_final(work, n: int) -> dict:
    """The final network in float32: n samples judged, seconds for 64, nearest training images, a walk."""
    s, model = work.settings, load_network("mnist_unet")
    schedule, sets, rule = schedule_of(model.recipe), real("mnist", s["few"]), ddim(s["steps"])
    began = time.perf_counter()
    draw(model, schedule, rule, (64, 1, 28, 28), 0, noise(64, 0))
    seconds = round(time.perf_counter() - began, 2)
    images = draw(model, schedule, rule, (n, 1, 28, 28), 0, noise(n, 0))
    judged = dict(**judge(images, "mnist", s["few"]), seconds_64_in_50=seconds, samples=n, steps=s["steps"])
    near, test = (metrics.nearest_neighbours(x, sets.x)[1] for x in (images, sets.test[:n]))

    def spread(distance):
        low, middle = torch.quantile(distance, torch.tensor([0.01, 0.5])).tolist()
        return dict(
            smallest=round(float(distance.min()), 3), one_percent=round(low, 3), middle=round(middle, 3)
        )

    share = round(float((near < test.quantile(0.01)).float().mean()), 4)
    nearest = dict(samples=spread(near), test=spread(test), below_one_percent=share)
    grid = draw(model, schedule, ancestral(), (s["shown"], 1, 28, 28), 0)
    walk = list(reverse(model, schedule, rule, x_T=noise(24, 0), clip_x0=1.0))
    frames = [show.tiles(state.x, columns=8) for state in show.evenly(walk, 26)]
    show.gif(frames, work.made / "results" / "mnist.gif", "noise turning into 24 digits", scale=2)
    pixels, ancestral_pixels = to_list(images, s["shown"]), to_list(grid, s["shown"])
    return dict(final=judged, nearest=nearest, pixels=pixels, ancestral=ancestral_pixels)


def draw_with_diffusers(model, scheduler, x_T, seed=None) -> torch.Tensor:
    """The whole walk by a diffusers scheduler, which counts our level t as t - 1.

    seed: of the generator that drew x_T, which draws on.
    """
    g, options, x = torch.Generator().manual_seed(seed or 0), {}, x_T
    if seed is None:
        options["use_clipped_model_output"] = True
    else:
        torch.randn(x_T.shape, generator=g)
        options["generator"] = g
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(model(x, t.expand(len(x)) + 1), t, x, **options).prev_sample
    return x


def compare_with_diffusers(work, n: int) -> dict:
    """The same weights and noise through the schedulers of diffusers: largest difference of a pixel."""
    from helpers.torchvision_compat import import_torchvision

    import_torchvision()
    import diffusers

    model, steps = load_network("mnist_unet"), work.settings["steps"]
    schedule, x_T = schedule_of(model.recipe), noise(n, 0)
    common = dict(trained_betas=schedule.betas[1:].tolist(), prediction_type="v_prediction", clip_sample=True)
    scheduler = diffusers.DDIMScheduler(
        schedule.T, timestep_spacing="trailing", set_alpha_to_one=True, clip_sample_range=1.0, **common
    )
    scheduler.set_timesteps(steps)
    ours = last(reverse(model, schedule, ddim(steps), x_T=x_T, clip_x0=1.0))
    gaps = dict(ddim=float((ours - draw_with_diffusers(model, scheduler, x_T)).abs().max()))
    scheduler = diffusers.DDPMScheduler(
        schedule.T, variance_type="fixed_small", clip_sample_range=1.0, **common
    )
    ours = last(reverse(model, schedule, ancestral(), shape=x_T.shape, seed=0, clip_x0=1.0))
    gaps["ddpm"] = float((ours - draw_with_diffusers(model, scheduler, x_T, seed=0)).abs().max())
    rounded = {name: float(f"{gap:.2g}") for name, gap in gaps.items()}
    return dict(**rounded, images=n, version=diffusers.__version__)


def list_mnist(s: dict) -> dict:
    """Snapshots and the final network; that one also in few steps and unclamped; samplers; diffusers."""
    common = dict(kind="samples", n=s["samples"])
    in_full = dict(rule="ddim", steps=s["steps"])
    jobs = {"final": dict(kind="final", n=s["samples"]), "diffusers": dict(kind="diffusers", n=s["pairs"])}
    for name in (*SNAPSHOTS.values(), "final"):
        network = "mnist_unet" if name == "final" else f"mnist_unet_{name}"
        for seed in s["seeds"]:
            jobs[f"network {name} {seed}"] = dict(network=network, sampler=in_full, seed=seed, **common)
    for steps in s["few_steps"]:
        short = dict(sampler=dict(rule="ddim", steps=steps), network="mnist_unet", seed=0)
        jobs[f"steps {steps}"] = dict(**short, **common)
    jobs["unclipped"] = dict(**short, **common, clip=None)
    return jobs


def assemble_mnist(work, done: dict) -> None:
    """The figures of notebook 04, and its images."""
    s, model, sets = work.settings, load_network("mnist_unet"), real("mnist", work.settings["few"])
    rows, images = [], {}
    for name in (*SNAPSHOTS.values(), "final"):
        network = model if name == "final" else load_network(f"mnist_unet_{name}")
        runs = [done[f"network {name} {seed}"] for seed in s["seeds"]]
        images[name] = to_images(runs[0]["pixels"])
        rows.append(dict(name=name, **count_training(network), **figures(runs, ("distance", "confident"))))
    images["ddim"], images["ancestral"] = (to_images(done["final"][key]) for key in ("pixels", "ancestral"))
    scoring = dict(seeds=s["seeds"], samples=s["samples"])
    scoring |= dict(steps=s["steps"], clip_x0=1.0, real="test images", bf16=s["bf16"])
    shares = torch.bincount(sets.test_y, minlength=10) / len(sets.test_y)
    test = dict(confident=round(metrics.confident_share(sets.test), 4))
    test["class_shares"] = [round(float(share), 4) for share in shares]

    def drop_pixels(name):
        return {key: value for key, value in done[name].items() if key != "pixels"}

    results = dict(
        recipe=dict(**model.recipe, channels=model.config["channels"]),
        training=count_training(model),
        scoring=scoring,
        floor=floor(sets.test, s["samples"]),
        real=test,
        networks=rows,
        final=done["final"]["final"],
        steps={str(steps): drop_pixels(f"steps {steps}") for steps in s["few_steps"]},
        unclipped=dict(steps=s["few_steps"][-1], **drop_pixels("unclipped")),
        nearest=done["final"]["nearest"],
        diffusers=done["diffusers"],
    )
    work.save_results(results, **images)


def list_samplers(s: dict) -> dict:
    """The network with every sampler, from every sampling seed."""
    jobs = {}
    for name, sampler in s["samplers"].items():
        for seed in s["seeds"]:
            jobs[f"{name} {seed}"] = dict(network="mnist_unet", seed=seed, n=s["samples"], **sampler)
    return jobs


def assemble_samplers(work, done: dict) -> None:
    """A row for each sampler, the floor for so many samples, and the first images of each."""
    s, rows, images = work.settings, {}, {}
    test = real("mnist", s["few"]).test
    lowest = floor(test, s["samples"])
    for name, sampler in s["samplers"].items():
        runs = [done[f"{name} {seed}"] for seed in s["seeds"]]
        row = figures(runs, ("distance", "confident", "smallest_class"))
        row["excess"] = figure([run["distance"] - lowest["mean"] for run in runs])
        rows[name] = {**sampler, **row, "class_shares": [run["class_shares"] for run in runs]}
        images[name] = to_images(runs[0]["pixels"])
    about = dict(samples=s["samples"], seeds=s["seeds"], real="test images", bf16=s["bf16"])
    confident = round(metrics.confident_share(test), 4)
    results = dict(scoring=about, floor=lowest, real=dict(confident=confident), samplers=rows)
    work.save_results(results, **images)


def bound_samplers(found: dict):
    """What is said of the samplers: fresh noise helps, and a weak network as the bad example helps more."""
    rows, real_share = found["samplers"], found["real"]["confident"]
    confident = {name: row["confident"]["mean"] for name, row in rows.items()}
    yield confident["dpm_fresh"] > confident["ddim"], "fresh noise makes more samples confident"
    yield abs(confident["autoguided"] - real_share) < 0.02, "autoguided, within 2 points of real digits"
    yield confident["autoguided"] > confident["dpm_fresh"], "autoguidance makes more samples confident"


def bound_mnist(found: dict):
    """What notebook 04 says of its network and its snapshots. An aim that is not reached is no bound."""
    final, training, rows, nearest = (found[key] for key in ("final", "training", "networks", "nearest"))
    yield final["confident"] >= 0.80, "80 % of 1,000 samples are confident"
    yield final["smallest_class"] >= 0.05, "every class has 5 %"
    yield final["seconds_64_in_50"] < 10, "64 images in 50 steps take less than 10 s"
    yield (
        training["minutes"] * training["threads"] <= 240,
        "the training takes two hours on two cores at most",
    )
    yield 0.7e6 < found["recipe"]["parameters"] < 2.5e6, "the network is small"
    for before, after in zip(rows, rows[1:], strict=False):
        gap = before["distance"]["mean"] - after["distance"]["mean"]
        further = gap > before["distance"]["std"] + after["distance"]["std"]
        yield further, f"{after['name']} is nearer than {before['name']}, by more than the spread"
    yield found["floor"]["mean"] < rows[-1]["distance"]["mean"], "the floor lies below all networks"
    close = nearest["samples"]["smallest"] <= 0.02 or nearest["below_one_percent"] >= 0.1
    yield not close, "samples are hardly nearer to the training images than test images are"
    gap = max(found["diffusers"][name] for name in ("ddim", "ddpm"))
    yield gap < 2 / 255, "diffusers draws the same within a grey level"


NETWORK = dict(channels=[16, 48, 96], prediction="v")
RECIPE = dict(schedule="cosine", T=1000, batch_size=64, bf16=True)
MORE = dict(mnist_unet={}, mnist_snapshots={}, mnist_classes=dict(classes=10))  # of the network
FIRST = dict(RECIPE, steps=24_000, lr=1e-3, seed=0, ema=0.999)
TRAININGS = dict(
    mnist_unet=FIRST,
    mnist_snapshots=dict(FIRST, until=8_000),
    mnist_classes=dict(RECIPE, start="mnist_unet", steps=6_000, lr=5e-4, seed=0, ema=0.999, drop=0.1),
)
BEST = dict(rule="dpm_solver", steps=50, eta=0.5)
GUIDE = dict(weak="mnist_lab", scale=2.0, band=[200, 900])
SAMPLERS = dict(
    ddim=dict(sampler=dict(rule="ddim", steps=50, eta=0.0)),
    ddim_fresh=dict(sampler=dict(rule="ddim", steps=50, eta=1.0)),
    dpm_fresh=dict(sampler=BEST),
    autoguided=dict(sampler=BEST, guide=GUIDE),
)


def describe_network(name: str, about: str, hours: float, needs=()) -> Experiment:
    """The experiment that trains one of the MNIST networks, or that leaves its snapshots."""
    recipe, tiny = TRAININGS[name], dict(NETWORK, channels=[8, 8, 8])
    quick, names = dict(recipe, steps=4, T=24), [name]
    snapshots, few_snapshots = {}, {}
    if "until" in recipe:
        quick, names = dict(quick, until=3), [f"mnist_unet_{minutes}" for minutes in SNAPSHOTS.values()]
        snapshots, few_snapshots = SNAPSHOTS, dict(zip("123", SNAPSHOTS.values(), strict=True))
    return Experiment(
        name,
        about,
        hours,
        makes=tuple(f"checkpoints/{product}.safetensors" for product in names),
        needs=needs,
        settings=dict(network=NETWORK | MORE[name], recipe=recipe, snapshots=snapshots, few=None),
        quick=dict(network=tiny | MORE[name], recipe=quick, few=400, snapshots=few_snapshots),
        list_jobs=lambda s: {"training": {}},
        measure=train_mnist,
    )


SETTINGS = dict(samples=1000, seeds=[0, 1], steps=50, few_steps=[5, 10, 20], pairs=4, shown=64)
SETTINGS |= dict(bf16=True, few=None)
QUICK = dict(samples=70, seeds=[0], steps=3, few_steps=[2], pairs=1, shown=4, few=400)
SAMPLING = dict(samplers=SAMPLERS, samples=1000, seeds=[0, 1, 2], shown=64, bf16=True, few=None)
FEW_SAMPLERS = dict(
    ddim=dict(sampler=dict(rule="ddim", steps=2)),
    autoguided=dict(sampler=dict(BEST, steps=3), guide=dict(GUIDE, band=[8, 20])),
)
EXPERIMENTS = [
    describe_network("mnist_unet", "notebook 04: the network that ships", 1.7),
    describe_network("mnist_snapshots", "notebook 04: the same on its way; git ignores them", 0.6),
    describe_network("mnist_classes", "notebook 06: the same with labels", 0.5, needs=("mnist_unet",)),
    Experiment(
        "mnist",
        "notebook 04: samples and scores of the network and its snapshots",
        0.6,
        makes=("results/mnist.json", "results/mnist.safetensors", "results/mnist.gif"),
        needs=("judges", "mnist_unet", "mnist_snapshots"),
        settings=SETTINGS,
        quick=QUICK,
        list_jobs=list_mnist,
        measure=dict(samples=measure_samples, final=measure_final, diffusers=compare_with_diffusers),
        assemble=assemble_mnist,
        bounds=bound_mnist,
    ),
    Experiment(
        "mnist_samplers",
        "README: the network with four samplers of 50 steps, one of them autoguided",
        0.7,
        makes=("results/mnist_samplers.json", "results/mnist_samplers.safetensors"),
        needs=("judges", "mnist_unet", "fashion"),
        settings=SAMPLING,
        quick=dict(samplers=FEW_SAMPLERS, samples=80, seeds=[0], shown=4, few=400),
        list_jobs=list_samplers,
        measure=measure_samples,
        assemble=assemble_samplers,
        bounds=bound_samplers,
    ),
]
