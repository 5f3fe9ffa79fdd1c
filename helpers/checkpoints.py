"""Checkpoints and sample images (safetensors) and results (JSON) under data/: what notebooks load and save.

`data.experiments.products` writes results and images.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load, save

from helpers import files
from helpers.files import restore_hint, seal
from helpers.models import UNet

CHECKPOINTS = files.DATA / "checkpoints"
RESULTS = files.DATA / "results"
LEVELS = "0..T"  # the numbering of noise levels that a checkpoint was trained with: 0 is clean


def save_model(path, model, recipe: dict, log: dict | None = None) -> None:
    """Write a model's weights with its configuration, recipe and training log in the file's metadata.

    path: file; model: has `.config`, the arguments that build it anew; recipe, log: JSON-able.
    Raises ValueError for NaN and infinity.
    """
    about = dict(config=model.config, recipe=recipe, log=log or {}, levels=LEVELS)
    save_tensors(path, model.state_dict(), {key: files.to_json(path, value) for key, value in about.items()})


def save_tensors(path, tensors: dict, metadata: dict) -> None:
    """Write tensors by name, sealed, with metadata (str by str). Raises ValueError for NaN and infinity."""
    refuse_nan(tensors, f"{Path(path).name} is not written: ")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    files.write_bytes(path, seal(save(tensors, metadata | {"sha256": files.UNSEALED})))


def refuse_nan(tensors: dict, said: str = "") -> None:
    """Raises ValueError, which begins with `said`, naming the tensor with NaN or infinity in it."""
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
        refuse_nan(tensors)
    except Exception as err:  # safetensors has errors of several kinds
        raise ValueError(f"{Path(path).name} is damaged ({err}): {restore_hint(path)}") from err
    return tensors, about


def load_model(name: str, model_class=None):
    """The shipped model data/checkpoints/name.safetensors in eval mode; `.recipe`, `.log` tell its making.

    name: or the path of a .safetensors file; model_class: called with the stored configuration (or UNet).
    Raises FileNotFoundError, or ValueError for a file that is damaged, of another network, or of another
    numbering of levels (a network with a time layer must be stamped with ours), saying what to do.
    """
    model_class = model_class or UNet
    path = Path(name) if str(name).endswith(".safetensors") else locate(CHECKPOINTS, name, ".safetensors")
    tensors, about = read_checkpoint(path)
    if about.get("levels", LEVELS) != LEVELS:
        said = f"{path.name} counts its noise levels as {about['levels']!r}, not {LEVELS!r}"
        raise ValueError(f"{said}: {restore_hint(path)}")
    if "levels" not in about and "time.0.weight" in tensors:
        said = f"{path.name} is of the course's first edition, whose lowest noise level was 0, not 1"
        raise ValueError(f"{said}: train it again with this edition, or {restore_hint(path)}")
    try:
        model = model_class(**about["config"])
        model.load_state_dict(tensors)
        model.recipe, model.log = dict(about.get("recipe", {})), dict(about.get("log", {}))
    except Exception as err:  # a configuration can be wrong in every way
        why, kind = " ".join(str(err).split())[:300], getattr(model_class, "__name__", model_class)
        advice = f"give load_model the class that was saved, or {restore_hint(path)}"
        raise ValueError(f"checkpoint {path.name} does not fit a {kind} ({why}): {advice}") from err
    return model.eval()


def locate(folder, name: str, suffix: str) -> Path:
    """The file of this name in the folder, and in no other one. Raises ValueError for a path."""
    if not name or Path(str(name)).name != str(name):
        raise ValueError(f"{name!r} is no name of a file in {Path(folder).name}: give the name alone")
    return Path(folder) / f"{name}{suffix}"


def load_results(name: str) -> dict:
    """The numbers in data/results/name.json. Raises FileNotFoundError or ValueError saying what to do."""
    return files.read_json(locate(RESULTS, name, ".json"))


def load_images(name: str) -> dict:
    """The shipped samples data/results/name.safetensors: {name: (N, 1, H, W) float32 in [-1, 1]}.

    Raises as load_results() does.
    """
    tensors, _ = read_checkpoint(locate(RESULTS, name, ".safetensors"))
    return {name: tensor.float() / 127.5 - 1 for name, tensor in tensors.items()}
