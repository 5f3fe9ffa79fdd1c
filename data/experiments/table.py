"""The table of all experiments, in the order in which they can be run."""

from __future__ import annotations

from importlib import import_module

NAMES = "judges points digits objectives same_snr fashion mnist fashion_unet samplers guidance".split()
NAMES += ["mnist_samplers", "straight", "few_steps", "repair", "speed", "gallery"]
MODULES = [import_module(f"data.experiments.{name}") for name in NAMES]
TABLE = {experiment.name: experiment for module in MODULES for experiment in module.EXPERIMENTS}
