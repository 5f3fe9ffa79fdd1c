"""The MNIST networks of notebooks 04 and 06, and what notebook 04 shows without drawing it anew."""

from __future__ import annotations

import time

import torch

from data.experiments.jobs import cross, figures, gather, round_all, take_images, to_images, to_list
from data.experiments.measures import draw, floor, judge, noise, real
from data.experiments.networks import schedule_of, train_network
from data.experiments.runner import Experiment
from helpers import checkpoints, metrics, show
from helpers.models import LabUNet, UNet, parameter_count
from helpers.sampling import ancestral, ddim, dpm_solver, last, reverse

RULES = {"ancestral": ancestral, "ddim": ddim, "dpm_solver": dpm_solver}
SNAPSHOTS = {"400": "1min", "2000": "5min", "8000": "20min"}  # step: minutes on two cores of our machine
NETWORK = dict(channels=[16, 48, 96], prediction="v")
FIRST = dict(schedule="cosine", T=1000, batch_size=64, bf16=True, steps=24_000, lr=1e-3, seed=0, ema=0.999)


def load_network(name: str):
    """A checkpoint by name, without gradients; a name that ends in _lab is a LabUNet."""
    return checkpoints.load_model(name, LabUNet if name.endswith("_lab") else None).requires_grad_(False)


def schedule_of_network(model):
    """The schedule that a checkpoint was trained with; the lab's recipe says "linear" in its "betas"."""
    return schedule_of({"schedule": "linear", **model.recipe})


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


def count_training(model) -> dict:
    """How far the training of a checkpoint had come, with that of the network it started from."""
    recipe, log = model.recipe, model.log
    before = count_training(load_network(recipe["start"])) if recipe.get("start") else {}
    images = recipe["step"] * recipe["batch_size"] + before.get("images", 0)
    minutes = round(log["seconds"] / 60 + before.get("minutes", 0), 1)
    count = dict(steps=recipe["step"] + before.get("steps", 0), images=images, minutes=minutes)
    return dict(count, threads=log["threads"], loss=log["loss"][-1] if log["loss"] else None)


def make_rule(rule: str, **options):
    """A rule by its name and its arguments."""
    return RULES[rule](**options)


def measure_samples(work, network, sampler, seed, n, clip=1.0) -> dict:
    """Draw n samples and judge them. sampler: rule and its arguments."""
    s, model, rule = work.settings, load_network(network), make_rule(**sampler)
    schedule = schedule_of(model.recipe)
    images = draw(model, schedule, rule, noise(n, seed), 1000 * (seed + 1), clip=clip, bf16=s["bf16"])
    return {**judge(images, "mnist", s["few"]), "pixels": to_list(images, s["shown"])}


def measure_final(work, n: int) -> dict:
    """The final network in float32: n samples judged, seconds for 64, nearest training images, a walk."""
    s, model = work.settings, load_network("mnist_unet")
    schedule, sets, rule = schedule_of(model.recipe), real("mnist", s["few"]), ddim(s["steps"])
    began = time.perf_counter()
    draw(model, schedule, rule, noise(64, 0), 0)
    seconds = round(time.perf_counter() - began, 2)
    images = draw(model, schedule, rule, noise(n, 0), 0)
    judged = dict(**judge(images, "mnist", s["few"]), seconds_64_in_50=seconds, samples=n, steps=s["steps"])
    near, test = (metrics.nearest_neighbours(x, sets.x)[1] for x in (images, sets.test[:n]))

    def spread(distance):
        low, middle = torch.quantile(distance, torch.tensor([0.01, 0.5]))
        return round_all(dict(smallest=distance.min(), one_percent=low, middle=middle), 3)

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
    common = dict(trained_betas=schedule.betas[1:].tolist(), prediction_type="v_prediction")
    common |= dict(num_train_timesteps=schedule.T, clip_sample=True, clip_sample_range=1.0)
    ddim_of = diffusers.DDIMScheduler(timestep_spacing="trailing", set_alpha_to_one=True, **common)
    ddim_of.set_timesteps(steps)
    ddpm_of, gaps = diffusers.DDPMScheduler(variance_type="fixed_small", **common), {}
    pairs = [("ddim", ddim(steps), ddim_of, None), ("ddpm", ancestral(), ddpm_of, 0)]
    for name, rule, scheduler, seed in pairs:
        start = dict(x_T=x_T) if seed is None else dict(shape=x_T.shape, seed=seed)
        ours = last(reverse(model, schedule, rule, clip_x0=1.0, **start))
        gap = (ours - draw_with_diffusers(model, scheduler, x_T, seed)).abs().max()
        gaps[name] = float(f"{float(gap):.2g}")
    return dict(**gaps, images=n, version=diffusers.__version__)


class Training(Experiment):
    """Notebook 04: the network that ships."""

    name, hours, makes = "mnist_unet", 1.7, ("checkpoints/mnist_unet.safetensors",)
    settings = dict(network=NETWORK, recipe=FIRST, snapshots={}, few=None)
    small = dict(NETWORK, channels=[8, 8, 8])
    quick = dict(network=small, recipe=dict(FIRST, steps=4, T=24), few=400, snapshots={})

    def list_jobs(self, s):
        return {"training": {}}

    def measure(self, work):
        """Train on MNIST; leave the averaged weights, or snapshots on the way."""
        s, recipe, sets = work.settings, dict(work.settings["recipe"]), real("mnist", work.settings["few"])
        torch.manual_seed(recipe["seed"])
        model = UNet(**s["network"])
        if recipe.get("start"):
            start_from(model, recipe["start"], sets.x)
        recipe |= dict(data="mnist", prediction=model.prediction, optimizer="AdamW")
        recipe["parameters"] = parameter_count(model)
        stops = {int(step): f"mnist_unet_{name}" for step, name in s["snapshots"].items()}

        def keep(run, log):
            name = stops.get(run.step, self.name)
            work.save_model(name, run.ema.model, {**recipe, "step": run.step}, log)

        labels = sets.y if model.classes else None
        run, log = train_network(work, model, sets.x, recipe, labels=labels, stops=stops, look=keep)
        if "until" not in recipe:
            keep(run, log)
        return dict(loss=log["last"], seconds=round(log["seconds"]))


class Snapshots(Training):
    """Notebook 04: the same on its way; git ignores them."""

    name, hours = "mnist_snapshots", 0.6
    makes = tuple(f"checkpoints/mnist_unet_{minutes}.safetensors" for minutes in SNAPSHOTS.values())
    settings = dict(Training.settings, recipe=dict(FIRST, until=8_000), snapshots=SNAPSHOTS)
    few_steps = dict(zip("123", SNAPSHOTS.values(), strict=True))
    quick = dict(Training.quick, recipe=dict(FIRST, steps=4, T=24, until=3), snapshots=few_steps)


class Classes(Training):
    """Notebook 06: the same with labels."""

    name, hours, needs = "mnist_classes", 0.5, ("mnist_unet",)
    makes = ("checkpoints/mnist_classes.safetensors",)
    recipe = dict(FIRST, start="mnist_unet", steps=6_000, lr=5e-4, drop=0.1)
    settings = dict(Training.settings, network=dict(NETWORK, classes=10), recipe=recipe)
    quick = dict(Training.quick, network=dict(Training.small, classes=10), recipe=dict(recipe, steps=4, T=24))


class Mnist(Experiment):
    """Notebook 04: samples and scores of the network and its snapshots."""

    name, hours, needs = "mnist", 0.6, ("judges", "mnist_unet", "mnist_snapshots")
    makes = ("results/mnist.json", "results/mnist.safetensors", "results/mnist.gif")
    settings = dict(samples=1000, seeds=[0, 1], steps=50, few_steps=[5, 10, 20], pairs=4, shown=64)
    settings |= dict(bf16=True, few=None)
    quick = dict(samples=70, seeds=[0], steps=3, few_steps=[2], pairs=1, shown=4, few=400)

    def list_jobs(self, s):
        """Snapshots and the final network; that one also in few steps and unclamped; diffusers."""
        common = dict(kind="samples", n=s["samples"])
        jobs = dict(final=dict(kind="final", n=s["samples"]), diffusers=dict(kind="diffusers", n=s["pairs"]))
        for name in (*SNAPSHOTS.values(), "final"):
            network = "mnist_unet" if name == "final" else f"mnist_unet_{name}"
            row = dict(network=network, sampler=dict(rule="ddim", steps=s["steps"]), **common)
            jobs |= cross({f"network {name}": row}, s["seeds"])
        for steps in s["few_steps"]:
            short = dict(sampler=dict(rule="ddim", steps=steps), network="mnist_unet", seed=0, **common)
            jobs[f"steps {steps}"] = short
        return {**jobs, "unclipped": dict(**short, clip=None)}

    def measure(self, work, kind, **arguments):
        kinds = dict(samples=measure_samples, final=measure_final, diffusers=compare_with_diffusers)
        return kinds[kind](work, **arguments)

    def assemble(self, work, done):
        s, model, sets = work.settings, load_network("mnist_unet"), real("mnist", work.settings["few"])
        final, rows = done["final"], []
        trained = {job.partition(" ")[2]: done[job] for job in done if job.startswith("network")}
        networks, images = gather(trained, s["seeds"])
        images |= dict(ddim=to_images(final["pixels"]), ancestral=to_images(final["ancestral"]))
        for name, runs in networks.items():
            network = model if name == "final" else load_network(f"mnist_unet_{name}")
            row = dict(name=name, **count_training(network))
            rows.append(row | figures(runs, ("distance", "confident")))
        few = {steps: done[f"steps {steps}"] for steps in s["few_steps"]}
        take_images({job: [run] for job, run in done.items()})  # the scores of `few` go without
        scoring = {key: s[key] for key in ("seeds", "samples", "steps", "bf16")}
        shares = torch.bincount(sets.test_y, minlength=10) / len(sets.test_y)
        confident = round(metrics.confident_share(sets.test), 4)
        results = dict(
            recipe=dict(**model.recipe, channels=model.config["channels"]),
            training=count_training(model),
            scoring=dict(scoring, clip_x0=1.0, real="test images"),
            floor=floor(sets.test, s["samples"]),
            real=dict(confident=confident, class_shares=round_all(shares)),
            networks=rows,
            final=final["final"],
            steps=few,
            unclipped=dict(steps=s["few_steps"][-1], **done["unclipped"]),
            nearest=final["nearest"],
            diffusers=done["diffusers"],
        )
        work.save_results(results, **images)

    def bounds(self, found):
        """What notebook 04 says of its network and its snapshots. An aim that is not reached is no bound."""
        final, training, rows, nearest = (found[k] for k in ("final", "training", "networks", "nearest"))
        yield final["confident"] >= 0.80, "80 % of 1,000 samples are confident"
        yield final["smallest_class"] >= 0.05, "every class has 5 %"
        yield final["seconds_64_in_50"] < 10, "64 images in 50 steps take less than 10 s"
        minutes = training["minutes"] * training["threads"]
        yield minutes <= 240, "the training takes two hours on two cores at most"
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


EXPERIMENTS = [Training(), Snapshots(), Classes(), Mnist()]
