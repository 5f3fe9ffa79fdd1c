"""Notebook 11: digits repaired from what is left of them, judged where the truth is known."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from data.experiments.guidance import score_classes, summarise
from data.experiments.jobs import cross, figure, group, round_all, take_images, to_list
from data.experiments.measures import draw, noise, real, real_features
from data.experiments.mnist import load_network
from data.experiments.networks import schedule_of
from data.experiments.runner import Experiment
from helpers import classifiers
from helpers.classifiers import probabilities
from helpers.repair import ByClassifier, Measured, fill_in
from helpers.sampling import dpm_solver

SEED = 11  # of the choice of test images and of the pixels that are left


def make_mask(damage: str) -> Tensor:
    """(1, 1, 28, 28) bool, True where a pixel is known. half: the upper half; square: all but the 14 x 14 in
    the middle; pixels: a quarter of them, at random."""
    mask = torch.ones(1, 1, 28, 28, dtype=torch.bool)
    if damage == "half":
        mask[..., 14:, :] = False
    elif damage == "square":
        mask[..., 7:21, 7:21] = False
    else:
        order = torch.randperm(28 * 28, generator=torch.Generator().manual_seed(SEED))
        mask.view(-1)[order[28 * 28 // 4 :]] = False
    return mask


def blur(x: Tensor, width: float = 1.5, reach: int = 3) -> Tensor:
    """Images (B, 1, S, S) blurred by a Gaussian, `width` pixels its standard deviation; black around."""
    at = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    line = (-(at**2) / (2 * width**2)).exp()
    line = line / line.sum()
    x = F.pad(x, (reach,) * 4, value=-1.0)
    return F.conv2d(F.conv2d(x, line.reshape(1, 1, 1, -1)), line.reshape(1, 1, -1, 1))


def shrink(x: Tensor) -> Tensor:
    """Images (B, 1, 28, 28) as (B, 1, 7, 7): means of 4 x 4 pixels."""
    return F.avg_pool2d(x, 4)


def make_measure(damage: str):
    """The function from clean images (B, 1, 28, 28) to what is left of them."""
    if damage in ("blur", "small"):
        return dict(blur=blur, small=shrink)[damage]
    known = make_mask(damage)[0, 0]
    return lambda x: x[..., known]


def show_damaged(damage: str, x: Tensor) -> Tensor:
    """What is left, as images (B, 1, 28, 28): missing pixels black, the small ones enlarged smoothly."""
    if damage == "blur":
        return blur(x)
    if damage == "small":
        return F.interpolate(shrink(x), (28, 28), mode="bilinear")
    return torch.where(make_mask(damage), x, torch.tensor(-1.0))


def pick_truth(s: dict) -> tuple[Tensor, Tensor]:
    """Test images (n, 1, 28, 28), which no network has seen, and their labels."""
    sets = real("mnist", s["few"])
    order = torch.randperm(len(sets.test), generator=torch.Generator().manual_seed(SEED))[: s["digits"]]
    return sets.test[order], sets.test_y[order]


def find_neighbours(measure, truth: Tensor, training: Tensor, count: int) -> Tensor:
    """Indices (n, count) of the training images whose measurement is nearest to that of the truth."""
    left = torch.cat([measure(part).flatten(1) for part in training.split(5000)])
    seen = measure(truth).flatten(1)
    return torch.cat([torch.cdist(part, left).topk(count, largest=False).indices for part in seen.split(50)])


def take_neighbours(s: dict, damage: str, truth: Tensor, count: int) -> list[Tensor]:
    """`count` repairs (n, 1, 28, 28) of each test image without a network: the nearest training images, and
    so on; known pixels are put in."""
    training = real("mnist", s["few"]).x
    near = find_neighbours(make_measure(damage), truth, training, count)
    sets = [training[near[:, k]] for k in range(count)]
    return [torch.where(make_mask(damage), truth, x) for x in sets] if damage in s["masked"] else sets


def draw_repairs(s: dict, damage: str, method: str, truth: Tensor, seed: int, chunk: int = 50) -> Tensor:
    """One repair (n, 1, 28, 28) of each test image; from one seed all methods start from the same noise."""
    model, measure, pictures = load_network("mnist_unet"), make_measure(damage), []
    schedule, x_T, y = schedule_of(model.recipe), noise(len(truth), 100 + seed), measure(truth)
    for first in range(0, len(truth), chunk):
        part = slice(first, first + chunk)
        rule, network = dpm_solver(s["steps"][method], eta=s["eta"]), model
        if method == "guided":
            network = Measured(model, schedule, measure, y[part], s["scales"].get(damage, 1.0))
        else:
            resample = s["resample"] if method == "repaint" else 1
            rule = fill_in(rule, make_mask(damage), truth[part], resample)
        pictures.append(draw(network, schedule, rule, x_T[part], 1000 * (seed + 1) + first, bf16=s["bf16"]))
    return torch.cat(pictures)


def measure_seams(damage: str, x: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels of which one is known and the other missing."""
    known, gaps = make_mask(damage), []
    for axis in (2, 3):
        a, b = (slice(None),) * axis + (slice(1, None),), (slice(None),) * axis + (slice(None, -1),)
        gaps.append((x[a] - x[b]).abs()[(known[a] != known[b]).expand(len(x), -1, -1, -1)])
    return float(torch.cat(gaps).mean())


def judge_repairs(s: dict, damage: str, sets: list[Tensor], truth: Tensor, y: Tensor) -> dict:
    """Scores of repairs, one set (n, 1, 28, 28) a seed, of the test images `truth` with labels y.

    agreement: RMS of measure(repair) - measurement; right, confident: shares by the judge; error: RMS a pixel
    from the truth, error_of_mean: of the mean over the seeds; deviation: RMS of a pixel from that mean
    (n - 1); one_class: share of digits that are read as one class from every seed; vote: right by majority;
    votes: of each digit, how many of its repairs are read as each class.
    """
    measure, read, scores = make_measure(damage), [], dict(agreement=[], right=[], confident=[], error=[])
    for x in sets:
        p = probabilities(x)
        read.append(p.argmax(1))
        scores["agreement"].append(float((measure(x) - measure(truth)).square().mean().sqrt()))
        scores["right"].append(float((read[-1] == y).float().mean()))
        scores["confident"].append(float((p.max(1).values > 0.95).float().mean()))
        scores["error"].append(float((x - truth).square().mean().sqrt()))
    votes = F.one_hot(torch.stack(read, 1), 10).sum(1)
    x = torch.stack(sets)
    single = dict(
        error_of_mean=(x.mean(0) - truth).square().mean().sqrt(),
        deviation=x.var(0).mean().sqrt() if len(sets) > 1 else torch.zeros(()),
        one_class=(votes.max(1).values == len(sets)).float().mean(),
        vote=(votes.argmax(1) == y).float().mean(),
    )
    if damage in s["masked"]:
        single["seam"] = torch.tensor([measure_seams(damage, x) for x in sets]).mean()
    figures = {name: figure(values) for name, values in scores.items()}
    return {**figures, **round_all(single, 5), "votes": votes.tolist()}


def read_directly(damage: str, truth: Tensor, y: Tensor) -> dict:
    """Share of damaged images, shown to the judge as they are, that it reads rightly and confidently."""
    p = probabilities(show_damaged(damage, truth))
    right, confident = (p.argmax(1) == y).float().mean(), (p.max(1).values > 0.95).float().mean()
    return round_all(dict(right=right, confident=confident))


def calibrate(votes: list, labels: list, edges: list) -> dict:
    """How often a class is true that a share of the repairs shows. votes: n lists of 10 counts.

    bins: pairs of a digit and a class whose share lies in low < share <= high, with the mean share (said) and
    how often the class was true; gap: mean |said - true| over the pairs; brier: mean squared error of the
    shares, summed over the classes; a class that no repair shows is left out of bins and gap.
    """
    counts = torch.tensor(votes).double()
    share = counts / counts.sum(1, keepdim=True)
    truth, bins, gap = F.one_hot(torch.tensor(labels), 10).double(), [], 0.0
    for low, high in zip(edges, edges[1:], strict=False):
        inside = (share > low + 1e-9) & (share <= high + 1e-9)
        if count := int(inside.sum()):
            said, true = float(share[inside].mean()), float(truth[inside].mean())
            bins.append(dict(low=low, high=high, count=count, said=round(said, 4), true=round(true, 4)))
            gap += count * abs(said - true)
    brier = float((share - truth).square().sum(1).mean())
    return dict(bins=bins, gap=round(gap / sum(row["count"] for row in bins), 4), brier=round(brier, 4))


class Repair(Experiment):
    """Notebook 11: test digits repaired by four methods; guidance by a classifier."""

    name, hours, needs = "repair", 0.2, ("judges", "mnist_unet")
    makes = ("results/repair.json", "results/repair.safetensors")
    settings = dict(digits=100, shown=[8, 8], few=None, bf16=True, eta=1.0, resample=4)
    settings |= dict(steps=dict(replacement=60, repaint=15, guided=25), scales=dict(blur=4.0, small=16.0))
    settings |= dict(masked=["half", "square", "pixels"], often=16, seeds=3, edges=[0, 0.2, 0.4, 0.6, 0.8, 1])
    settings |= dict(damages=["half", "square", "pixels", "blur", "small"])
    settings |= dict(classifier=dict(scales=[1.0, 3.0], steps=15, samples=500, seeds=[0, 1]))
    quick = dict(digits=6, shown=[2, 2], few=400, resample=2, often=3, seeds=2, damages=["half", "blur"])
    quick |= dict(steps=dict(replacement=2, repaint=2, guided=2))
    quick |= dict(classifier=dict(scales=[1.0], steps=2, samples=70, seeds=[0]))

    def list_jobs(self, s):
        """Every damage with every method that can repair it, and the classifier's scales from every seed."""
        methods, jobs = ("nearest", "guided", "repaint", "replacement"), {}
        for damage in s["damages"]:
            for method in methods if damage in s["masked"] else methods[:2]:
                jobs[f"{damage} {method}"] = dict(kind="repair", damage=damage, method=method)
        scales = {
            f"classifier s_{scale:g}": dict(kind="steer", scale=scale) for scale in s["classifier"]["scales"]
        }
        return jobs | cross(scales, s["classifier"]["seeds"])

    def measure(self, work, kind, **arguments):
        return self.steer(work, **arguments) if kind == "steer" else self.repair(work, **arguments)

    def repair(self, work, damage, method):
        """All repairs of one damage by one method, judged; the first digits from the first seeds."""
        s, (truth, y) = work.settings, pick_truth(work.settings)
        seeds, (digits, repairs) = s["often"] if damage == "half" else s["seeds"], s["shown"]
        sets = take_neighbours(s, damage, truth, seeds) if method == "nearest" else []
        for seed in range(len(sets), seeds):
            work.tell(seed, seeds)
            sets.append(draw_repairs(s, damage, method, truth, seed))
        shown = torch.stack([x[:digits] for x in sets[:repairs]], 1).flatten(0, 1)
        return {**judge_repairs(s, damage, sets, truth, y), "pixels": to_list(shown, len(shown))}

    def steer(self, work, scale, seed):
        """Digits of every class by the gradient of a classifier, scored as those of notebook 06 are."""
        s, few, model = work.settings["classifier"], work.settings["few"], load_network("mnist_unet")
        y, guide = torch.arange(s["samples"]) % 10, classifiers.load("features", "mnist")

        def classify(x0):
            return guide(x0.clamp(-1, 1))

        schedule = schedule_of(model.recipe)
        images = draw(
            lambda part: ByClassifier(model, schedule, classify, y[part], scale),
            schedule,
            dpm_solver(s["steps"]),
            noise(s["samples"], seed),
            100 + 10 * seed,
            bf16=work.settings["bf16"],
        )
        scores = score_classes(images, y, real_features("mnist", few))
        return {**scores, "pixels": to_list(images, 40)} if seed == s["seeds"][0] else scores

    def assemble(self, work, done):
        """{damages: {damage: {method: scores}}}, calibration of the half digits, the classifier's scales."""
        s, (truth, y) = work.settings, pick_truth(work.settings)
        pixels = {name: [job] for name, job in done.items() if "classifier" not in name}
        images = {name.replace(" ", "_"): x for name, x in take_images(pixels).items()}
        steered = group(
            {n.partition(" ")[2]: j for n, j in done.items() if "classifier" in n}, s["classifier"]["seeds"]
        )
        images |= {f"classifier_{name}": x for name, x in take_images(steered).items()}
        images["truth"], damages, votes = truth[: s["shown"][0]], {}, {}
        for name, job in done.items():
            damage, _, method = name.partition(" ")
            if damage in s["damages"]:
                row = damages.setdefault(damage, dict(read_directly=read_directly(damage, truth, y)))
                votes[name], row[method] = job.pop("votes"), job
                images[f"{damage}_damaged"] = show_damaged(damage, truth[: s["shown"][0]])
        for damage in s["masked"]:
            if damage in damages:
                damages[damage]["real_seam"] = round(measure_seams(damage, truth), 5)
        calibration = dict(labels=y.tolist(), samples=s["often"])
        for name, counts in votes.items():
            damage, _, method = name.partition(" ")
            if damage == "half":
                calibration[method] = dict(calibrate(counts, y.tolist(), s["edges"]), votes=counts)
        keys = ("digits", "steps", "resample", "eta", "scales", "often", "seeds", "bf16")
        results = dict(
            sizes={key: s[key] for key in keys},
            truth=round_all(dict(right=(probabilities(truth).argmax(1) == y).float().mean())),
            damages=damages,
            calibration=calibration,
            classifier=dict(
                s["classifier"],
                guide="mnist_features",
                judge="mnist_judge",
                scales={name: summarise(runs) for name, runs in steered.items()},
            ),
        )
        work.save_results(results, **images)

    def bounds(self, found):
        half, calibration = found["damages"]["half"], found["calibration"]
        right = {method: half[method]["right"]["mean"] for method in ("replacement", "repaint", "guided")}
        better = min(right["repaint"], right["guided"]) > right["replacement"]
        yield better, "RePaint and guidance are right more often than replacement"
        for damage, row in found["damages"].items():
            if "repaint" in row:
                exact = row["repaint"]["agreement"]["mean"] == row["replacement"]["agreement"]["mean"] == 0
                yield exact, f"{damage}: filling in keeps the known pixels exactly"
            yield (
                row["guided"]["agreement"]["mean"] < 0.15,
                f"{damage}: guided repairs agree with what is left",
            )
            helped = row["guided"]["vote"] > row["read_directly"]["right"]
            yield helped, f"{damage}: the judge reads guided repairs better than what is left"
        gap = max(calibration[method]["gap"] for method in ("guided", "repaint"))
        yield gap < 0.2, "a share of the repairs says within 0.2 how often the class is true"


EXPERIMENTS = [Repair()]
