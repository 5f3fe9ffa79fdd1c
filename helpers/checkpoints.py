"""Checkpoints (safetensors) and results (JSON) under data/, written whole or not at all."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from helpers.files import restore_hint, whole_or_not_at_all
from helpers.modes import ROOT

CHECKPOINTS = ROOT / "data" / "checkpoints"
RESULTS = ROOT / "data" / "results"
LEVELS = "0..T"  # the numbering of noise levels that a checkpoint was trained with: 0 is clean


def save_model(path, model, recipe: dict, log: dict | None = None) -> None:
    """Write a model's weights with its configuration, recipe and training log in the file's metadata.

    path: file; model: has `.config`, the arguments that build it anew; recipe, log: JSON-able.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    about = dict(config=model.config, recipe=recipe, log=log or {}, levels=LEVELS)
    metadata = {k: json.dumps(v) for k, v in about.items()}
    with whole_or_not_at_all(path) as part:
        save_file(tensors, part, metadata=metadata)


def read_checkpoint(path) -> tuple[dict, dict]:
    """(tensors by name, metadata with config, recipe and log) of a checkpoint file.

    Raises FileNotFoundError or ValueError (damaged file), each saying what to do.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is not there: {restore_hint(path)}")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
    except (SafetensorError, json.JSONDecodeError, OSError) as err:
        raise ValueError(f"{path.name} is damaged ({err}): {restore_hint(path)}") from err
    return tensors, metadata


def count_from_one(tensors: dict) -> dict:
    """The weights of a network that called its lowest noise level 0, for levels 1 .. T: new(t) = old(t - 1).

    timestep_embedding(t - 1) turns each pair (sin, cos) of timestep_embedding(t) by the pair's frequency, and
    turning the columns of the linear layer behind it, `time.0.weight` (out, dim), undoes that exactly.
    Networks without such a layer (the classifiers) come back as they are.
    """
    weight = tensors.get("time.0.weight")
    if weight is None:
        return tensors
    sin, cos = weight.double().chunk(2, dim=1)
    frequency = 10_000.0 ** (-torch.arange(sin.shape[1], dtype=torch.float64) / sin.shape[1])
    new_sin = frequency.cos() * sin + frequency.sin() * cos
    new_cos = frequency.cos() * cos - frequency.sin() * sin
    return {**tensors, "time.0.weight": torch.cat([new_sin, new_cos], dim=1).to(weight.dtype)}


def load_model(name: str, model_class=None):
    """The shipped model data/checkpoints/name.safetensors in eval mode; `.recipe`, `.log` tell its making.

    name: or the path of a .safetensors file; model_class: called with the stored configuration (or UNet).
    A checkpoint of the course's first edition, whose lowest noise level was 0, is converted while it is read.
    Raises FileNotFoundError, or ValueError for a file that is damaged, of another network, or of an unknown
    numbering of levels, saying what to do.
    """
    from helpers.models import UNet

    path = Path(name) if str(name).endswith(".safetensors") else CHECKPOINTS / f"{name}.safetensors"
    tensors, metadata = read_checkpoint(path)
    model_class = model_class or UNet
    levels = metadata.get("levels")
    if levels not in (None, LEVELS):
        raise ValueError(
            f"{path.name} counts its noise levels as {levels!r}, not {LEVELS!r}: {restore_hint(path)}"
        )
    tensors = count_from_one(tensors) if levels is None else tensors
    try:
        model = model_class(**metadata["config"])
        model.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as err:
        raise ValueError(
            f"checkpoint {path.name} does not fit a {model_class.__name__} ({err}): give load_model the "
            f"class that was saved, or {restore_hint(path)}"
        ) from err
    model.recipe, model.log = metadata.get("recipe", {}), metadata.get("log", {})
    return model.eval()


def save_results(name: str, results: dict, folder=None) -> None:
    """Write data/results/name.json: recipe, seeds, numbers with spread, and the machine used."""
    folder = Path(folder or RESULTS)
    with whole_or_not_at_all(folder / f"{name}.json") as part:
        part.write_text(json.dumps({**results, "machine": machine()}, indent=1) + "\n", encoding="utf-8")


def load_results(name: str) -> dict:
    """The numbers in data/results/name.json. Raises FileNotFoundError or ValueError saying what to do."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"no results {path.name}: {restore_hint(path)}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:  # not JSON, or not even text
        raise ValueError(f"results {path.name} is damaged ({err}): {restore_hint(path)}") from err


def save_images(name: str, folder=None, **images) -> None:
    """Write data/results/name.safetensors: named images (N, 1, H, W) in [-1, 1], kept as bytes 0..255."""
    grey = {k: ((v.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).contiguous() for k, v in images.items()}
    with whole_or_not_at_all(Path(folder or RESULTS) / f"{name}.safetensors") as part:
        save_file(grey, part)


def load_images(name: str) -> dict:
    """The shipped samples data/results/name.safetensors: {name: (N, 1, H, W) float32 in [-1, 1]}."""
    tensors, _ = read_checkpoint(RESULTS / f"{name}.safetensors")
    return {k: v.float() / 127.5 - 1 for k, v in tensors.items()}


def machine() -> str:
    """One line about this machine: what a measured time depends on."""
    threads, version = torch.get_num_threads(), torch.__version__.split("+")[0]
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {threads} torch threads"
    return f"{system}, Python {platform.python_version()}, torch {version}"
