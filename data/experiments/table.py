"""The table of all experiments, in the order in which they can be run."""

from __future__ import annotations

from data.experiments import (  # isort: split
    digits,
    fashion,
    gallery,
    guidance,
    judges,
    mnist,
    objectives,
    points,
    samplers,
    speed,
)

MODULES = (judges, points, digits, objectives, fashion, mnist, samplers, guidance, speed, gallery)
TABLE = {experiment.name: experiment for module in MODULES for experiment in module.EXPERIMENTS}
