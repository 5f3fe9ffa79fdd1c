"""`make train`: everything long, in order. `python -m helpers.train NAME ...` runs only the named ones.

A training whose products are there is skipped; --again repeats it. An interrupted one is resumed.
"""

from __future__ import annotations

import argparse
import importlib
import time

# name of the module: what it writes under data/
TRAININGS = {
    "judges": ["results/judges.json"],
    "points": ["results/points.json"],
    "digits": ["checkpoints/digits_unet.safetensors", "results/digits.json"],
    "digits_box": ["results/digits_box.json"],
    "digits_ablation": ["results/digits_ablation.json", "results/digits_ablation.safetensors"],
    "objectives": ["results/objectives.json", "results/objectives.safetensors"],
    "knobs": ["results/knobs.json", "results/knobs.safetensors"],
    "memorise": ["results/memorise.json", "results/memorise.safetensors"],
    "mnist_unet": ["checkpoints/mnist_unet.safetensors"],
    "mnist_results": ["results/mnist.json", "results/mnist.safetensors", "results/mnist.gif"],
    "samplers": ["results/samplers.json", "results/samplers.safetensors"],
    "sampler_seconds": ["results/sampler_seconds.json"],
    "mnist_classes": ["checkpoints/mnist_classes.safetensors"],
    "fashion": [
        "checkpoints/fashion_lab.safetensors",
        "checkpoints/mnist_lab.safetensors",
        "results/fashion.json",
        "results/fashion.safetensors",
    ],
    "lab_seconds": ["results/lab_seconds.json"],
    "guidance_results": ["results/guidance.json", "results/guidance.safetensors"],
    "gallery": [f"gallery/{name}.gif" for name in ("dissolving", "points", "mnist", "on_request", "fashion")],
}


def main() -> None:
    """Run the trainings named on the command line, or all."""
    from helpers.modes import ROOT

    parser = argparse.ArgumentParser(prog="python -m helpers.train", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TRAININGS))
    parser.add_argument("--again", action="store_true", help="train even where the products are there")
    args = parser.parse_args()
    if unknown := set(args.names) - set(TRAININGS):
        parser.error(f"unknown training {', '.join(sorted(unknown))}; known: {', '.join(TRAININGS)}")
    for name in args.names or TRAININGS:
        if not args.again and all((ROOT / "data" / product).exists() for product in TRAININGS[name]):
            print(f"{name}: its products are there (--again repeats it)", flush=True)
            continue
        start = time.perf_counter()
        print(f"{name}: starting", flush=True)
        importlib.import_module(f"helpers.train.{name}").main()
        print(f"{name}: done in {(time.perf_counter() - start) / 60:.1f} min", flush=True)


if __name__ == "__main__":
    main()
