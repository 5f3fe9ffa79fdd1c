"""Checkpoints (safetensors) and results (JSON) under data/, written whole or not at all."""

from __future__ import annotations

import json
import os
import platform
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from helpers.modes import ROOT

CHECKPOINTS = ROOT / "data" / "checkpoints"
RESULTS = ROOT / "data" / "results"


@contextmanager
def whole_or_not_at_all(path):
    """A temporary file name to write to, renamed to `path` at the end; removed when anything fails.

    Raises OSError naming the file when it cannot be written (full disk, read-only folder); an older file
    stays as it was.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.part{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except BaseException as err:  # an interrupted cell too must leave no debris
        with suppress(OSError):
            part.unlink()
        if isinstance(err, (OSError, SafetensorError)):
            raise OSError(
                f"could not write {path.name}: {err}. Free some space or choose a folder you may write to; "
                "what was there before is untouched."
            ) from err
        raise


def save_model(path, model, recipe: dict, log: dict | None = None) -> None:
    """Write a model's weights with its configuration, recipe and training log in the file's metadata.

    path: file; model: has `.config`, the arguments that build it anew; recipe, log: JSON-able.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    metadata = {k: json.dumps(v) for k, v in dict(config=model.config, recipe=recipe, log=log or {}).items()}
    with whole_or_not_at_all(path) as part:
        save_file(tensors, part, metadata=metadata)


def read_checkpoint(path) -> tuple[dict, dict]:
    """(tensors by name, metadata with config, recipe and log) of a checkpoint file.

    Raises FileNotFoundError or ValueError (damaged file), each saying what to do.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is not there: `git checkout data/` or `make train`")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
    except (SafetensorError, json.JSONDecodeError, OSError) as err:
        raise ValueError(f"{path.name} is damaged ({err}): `git checkout data/` restores it") from err
    return tensors, metadata


def load_model(name: str, model_class=None):
    """The shipped model data/checkpoints/name.safetensors in eval mode; `.recipe`, `.log` tell its making.

    name: or the path of a .safetensors file; model_class: called with the stored configuration (or UNet).
    Raises FileNotFoundError, or ValueError for a damaged file or one of another network, saying what to do.
    """
    from helpers.models import UNet

    path = Path(name) if str(name).endswith(".safetensors") else CHECKPOINTS / f"{name}.safetensors"
    tensors, metadata = read_checkpoint(path)
    model_class = model_class or UNet
    try:
        model = model_class(**metadata["config"])
        model.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as err:
        raise ValueError(
            f"checkpoint {path.name} does not fit a {model_class.__name__} ({err}): give load_model the "
            "class that was saved, or restore the file with `git checkout data/`"
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
        raise FileNotFoundError(f"no results {path.name}: run `make train`, or `git checkout data/`")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:  # not JSON, or not even text
        raise ValueError(f"results {path.name} is damaged ({err}): `git checkout data/` restores it") from err


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
    return (f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {threads} torch threads, "
            f"Python {platform.python_version()}, torch {version}")  # fmt: skip
