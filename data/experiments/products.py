"""What an experiment writes beside its networks: tables of results (JSON), sample images (safetensors)."""

from __future__ import annotations

import os
import platform

import torch

from helpers import checkpoints, files


def save_results(name: str, results: dict, folder=None) -> None:
    """Write data/results/name.json: recipe, seeds, numbers with spread, and the machine used.

    folder: another one than data/results. Raises ValueError for NaN and infinity.
    """
    path = checkpoints.locate(folder or checkpoints.RESULTS, name, ".json")
    files.write_json(path, {**results, "machine": describe_machine()})


def save_images(name: str, folder=None, **images) -> None:
    """Write data/results/name.safetensors: named images (N, 1, H, W) in [-1, 1], kept as bytes 0..255.

    folder: another one than data/results. Raises ValueError for NaN and infinity.
    """
    path = checkpoints.locate(folder or checkpoints.RESULTS, name, ".safetensors")
    checkpoints.refuse_nan(images, f"{path.name} is not written: ")
    greys = {k: ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8) for k, x in images.items()}
    checkpoints.save_tensors(path, greys, {})


def describe_machine() -> str:
    """One line about this machine: what a measured time depends on."""
    threads, version = torch.get_num_threads(), torch.__version__.split("+")[0]
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {threads} torch threads"
    return f"{system}, Python {platform.python_version()}, torch {version}"
