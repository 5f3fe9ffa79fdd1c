"""What jobs are called, what they return, and how that is gathered: numbers, figures with spread, images."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers import show


def round_all(values, digits: int = 4):
    """Every number of a dict {name: number} or of a list or tensor (n,), rounded."""
    if isinstance(values, dict):
        return {key: round(float(value), digits) for key, value in values.items()}
    return [round(float(value), digits) for value in values]


def figure(values: list, digits: int = 5) -> dict:
    """{"mean", "std" (n - 1, None for one value), "values"}: how every figure with spread is stored.

    A value that is None (a training that broke down) is listed and left out of the rest.
    """
    known = torch.tensor([value for value in values if value is not None], dtype=torch.float64)
    mean = round(float(known.mean()), digits) if len(known) else None
    std = round(float(known.std()), digits) if len(known) > 1 else None
    return dict(mean=mean, std=std, values=[v if v is None else round(float(v), digits) for v in values])


def figures(runs: list[dict], keys) -> dict:
    """A figure of each of the keys over the runs; where a run has no such key, None."""
    return {key: figure([run.get(key) for run in runs]) for key in keys}


def average(rows: list) -> list[float]:
    """The mean of lists of numbers, place by place."""
    return torch.tensor(rows, dtype=torch.float64).mean(0).tolist()


def cross(table: dict, seeds: list) -> dict:
    """The jobs {"name seed": arguments} of a table {name: arguments}, every setting from every seed."""
    return {f"{name} {seed}": dict(row, seed=seed) for seed in seeds for name, row in table.items()}


def group(done: dict, seeds: list) -> dict:
    """{name: [the job of each seed]} of jobs called "name seed", where some of these seeds are there."""
    names = dict.fromkeys(job.rpartition(" ")[0] for job in done)
    runs = {name: [done[f"{name} {seed}"] for seed in seeds if f"{name} {seed}" in done] for name in names}
    return {name: rows for name, rows in runs.items() if rows}


def to_list(images: Tensor, count: int) -> list:
    """The first `count` images as nested lists of grey values 0..255, which a job can return."""
    return show.to_grey(images[:count]).tolist()


def to_images(grey: list) -> Tensor:
    """to_list() undone: (n, 1, S, S) in [-1, 1]."""
    return torch.tensor(grey)[:, None] / 127.5 - 1


def gather(done: dict, seeds: list) -> tuple[dict, dict]:
    """group(), and the images taken out of it."""
    grouped = group(done, seeds)
    return grouped, take_images(grouped)


def take_images(grouped: dict) -> dict:
    """Take the grey "pixels" out of the jobs {name: [job of each seed]}; {name: images of the first seed}."""
    taken = {name: [run.pop("pixels", None) for run in runs][0] for name, runs in grouped.items()}
    return {name: to_images(grey) for name, grey in taken.items() if grey}
