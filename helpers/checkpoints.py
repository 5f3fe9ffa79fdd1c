"""Checkpoints and sample images (safetensors) and results (JSON) under data/, written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import platform
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch.overrides import TorchFunctionMode

from helpers import files
from helpers.files import restore_hint, seal

CHECKPOINTS = files.DATA / "checkpoints"
RESULTS = files.DATA / "results"
LEVELS = "0..T"  # the numbering of noise levels that a checkpoint was trained with: 0 is clean


def save_model(path, model, recipe: dict, log: dict | None = None) -> None:
    """Write a model's weights with its configuration, recipe and training log in the file's metadata.

    path: file; model: has `.config`, the arguments that build it anew; recipe, log: JSON-able.
    Raises ValueError for NaN and infinity.
    """
    about = dict(config=model.config, recipe=recipe, log=log or {}, levels=LEVELS)
    _save(Path(path), model.state_dict(), {key: files.to_json(path, value) for key, value in about.items()})


def _save(path: Path, tensors: dict, metadata: dict) -> None:
    _refuse_nan(tensors, f"{path.name} is not written: ")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    files.write_bytes(path, seal(save(tensors, metadata | {"sha256": files.UNSEALED})))


def _refuse_nan(tensors: dict, said: str = "") -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{said}NaN or infinity in {name}")


def read_checkpoint(path) -> tuple[dict, dict]:
    """(tensors by name, metadata with config, recipe and log) of a checkpoint file.

    Raises FileNotFoundError or ValueError (damaged file, NaN or infinite weights), each saying what to do.
    """
    content = files.read_whole(path)
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        about = {k: v for k, v in (header.get("__metadata__") or {}).items() if k != "sha256"}
        about = {key: json.loads(value, parse_constant=int) for key, value in about.items()}
        _refuse_nan(tensors)
    except Exception as err:  # safetensors has errors of several kinds
        raise ValueError(f"{Path(path).name} is damaged ({err}): {restore_hint(path)}") from err
    return tensors, about


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


class AtMost(TorchFunctionMode):
    """While a network is built: no more weights than `numbers`, or ValueError before they take memory."""

    def __init__(self, numbers: int):
        super().__init__()
        self.left = numbers

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.empty:
            self.left -= math.prod(args[0] if args and isinstance(args[0], tuple | list) else args)
            if self.left < 0:
                raise ValueError("its config asks for a larger network than the file holds")
        return function(*args, **kwargs or {})


def _bounded(digits: str) -> int:
    if len(digits) > 7:
        raise ValueError(f"its config has the number {digits[:20]}")
    return int(digits)


def load_model(name: str, model_class=None):
    """The shipped model data/checkpoints/name.safetensors in eval mode; `.recipe`, `.log` tell its making.

    name: or the path of a .safetensors file; model_class: called with the stored configuration (or UNet).
    A checkpoint of the course's first edition, whose lowest noise level was 0, is converted while it is read.
    Raises FileNotFoundError, or ValueError for a file that is damaged, of another network, or of an unknown
    numbering of levels, saying what to do.
    """
    from helpers.models import UNet

    path = Path(name) if str(name).endswith(".safetensors") else _place(CHECKPOINTS, name, ".safetensors")
    tensors, about = read_checkpoint(path)
    model_class = model_class or UNet
    levels = about.get("levels")
    if levels not in (None, LEVELS):
        said = f"{path.name} counts its noise levels as {levels!r}, not {LEVELS!r}"
        raise ValueError(f"{said}: {restore_hint(path)}")
    try:
        tensors = count_from_one(tensors) if levels is None else tensors
        config = json.loads(json.dumps(about["config"]), parse_int=_bounded)
        with AtMost(2 * sum(map(torch.numel, tensors.values())) + 1_000_000):
            model = model_class(**config)
        for key, value in model.state_dict().items():
            if key in tensors and tensors[key].is_floating_point() != value.is_floating_point():
                raise ValueError(f"{key} is {tensors[key].dtype}")
        model.load_state_dict(tensors)
        model.recipe, model.log = dict(about.get("recipe", {})), dict(about.get("log", {}))
    except Exception as err:  # a configuration can be wrong in every way
        why, kind = " ".join(str(err).split())[:300], getattr(model_class, "__name__", model_class)
        advice = f"give load_model the class that was saved, or {restore_hint(path)}"
        raise ValueError(f"checkpoint {path.name} does not fit a {kind} ({why}): {advice}") from err
    return model.eval()


def _place(folder, name: str, suffix: str) -> Path:
    """The file of this name in the folder, and in no other one. Raises ValueError for a path."""
    if not name or Path(str(name)).name != str(name):
        raise ValueError(f"{name!r} is no name of a file in {Path(folder).name}: give the name alone")
    return Path(folder) / f"{name}{suffix}"


def save_results(name: str, results: dict, folder=None) -> None:
    """Write data/results/name.json: recipe, seeds, numbers with spread, and the machine used."""
    files.write_json(_place(folder or RESULTS, name, ".json"), {**results, "machine": machine()})


def load_results(name: str) -> dict:
    """The numbers in data/results/name.json. Raises FileNotFoundError or ValueError saying what to do."""
    return files.read_json(_place(RESULTS, name, ".json"))


def save_images(name: str, folder=None, **images) -> None:
    """Write data/results/name.safetensors: named images (N, 1, H, W) in [-1, 1], kept as bytes 0..255."""
    path = _place(folder or RESULTS, name, ".safetensors")
    _refuse_nan(images, f"{path.name} is not written: ")
    _save(path, {k: ((v.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8) for k, v in images.items()}, {})


def load_images(name: str) -> dict:
    """The shipped samples data/results/name.safetensors: {name: (N, 1, H, W) float32 in [-1, 1]}."""
    path = _place(RESULTS, name, ".safetensors")
    tensors, _ = read_checkpoint(path)
    if any(tensor.dtype != torch.uint8 for tensor in tensors.values()):
        raise ValueError(f"{path.name} is damaged (it holds no images): {restore_hint(path)}")
    return {k: v.float() / 127.5 - 1 for k, v in tensors.items()}


def machine() -> str:
    """One line about this machine: what a measured time depends on."""
    threads, version = torch.get_num_threads(), torch.__version__.split("+")[0]
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {threads} torch threads"
    return f"{system}, Python {platform.python_version()}, torch {version}"
