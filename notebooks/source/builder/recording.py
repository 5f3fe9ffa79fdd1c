"""Sliders for a page without a kernel: what draw(**values) shows at some positions of its controls.

`make execute` asks for it (see sliders.py). Of each call stay NN_draw.webp, the frames
under each other, and NN_draw.json, which says where a control stands in which frame; notebooks/live/slider.js
moves through them. A positions.json beside them may choose the values: {"NN_draw": {"control": [values]}}.
"""

from __future__ import annotations

import inspect
import io
import itertools
import json
import math
import random
import time
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.utils.capture import capture_output
from PIL import Image, ImageChops

from helpers import show
from helpers.files import write_bytes

FRAMES, ALONE = 32, 16  # frames of a slider; positions of one control
WIDTH, PIXELS, HIGHEST = 900, 12e6, 16383  # of a frame; of all frames; what WebP can hold
MARGIN = 8  # pixels of white that stay around what the frames show
AIM, MOST = 150_000, 400_000  # bytes of a recording: wanted, allowed
# Ways to write a WebP, the best first. Lossless makes use of what frames have in common, lossy suits noise.
KINDS = (
    {"lossless": True, "colours": 128},
    {"quality": 80},
    {"lossless": True, "colours": 64},
    {"quality": 65},
    {"quality": 50},
)
MIME = "application/vnd.noise-to-digits.recorded+json"  # the output that tells the builder; it drops it


def record(draw, controls: dict, prefix: str) -> dict:
    """Write the frames of one sliders(draw, **controls) call to the files {prefix}_{draw's name}.webp, .json.

    Returns what the .json holds. Where frames are impossible it holds "reason" in their place, and no .webp
    stays. The random numbers drawn later are what they would be without.
    """
    start, path = time.perf_counter(), Path(f"{prefix}_{draw.__name__}")
    chosen = path.with_name("positions.json")
    wanted = json.loads(chosen.read_text(encoding="utf-8")) if chosen.exists() else {}
    told = {"name": path.name, "says": (draw.__doc__ or "").strip().partition("\n")[0]}
    webp = path.with_name(f"{path.name}.webp")
    try:
        grid = positions(draw, controls, wanted.get(path.name, {}))
        with same_random_numbers():
            frames, alts = frames_of(draw, grid)
        content, size = stack(frames)
        write_bytes(webp, content)
        told |= describe(draw, controls, grid) | {"alts": alts, "bytes": len(content)}
        told |= dict(zip(("width", "height"), size, strict=True))
    except Impossible as err:
        webp.unlink(missing_ok=True)
        told["reason"] = str(err)
    text = json.dumps(told, ensure_ascii=False, indent=1) + "\n"
    write_bytes(path.with_name(f"{path.name}.json"), text.encode())
    said = {"seconds": time.perf_counter() - start, "reason": told.get("reason", "")}
    show._display({MIME: said}, {})
    return told


class Impossible(Exception):
    """Why a call of sliders() has no frames."""


# Where the controls stand ---------------------------------------------------------------------------


def values_of(control) -> dict[str, object]:
    """All values of a control, by the label that a reader sees. Raises Impossible for one of another kind."""
    if isinstance(control, dict):
        return dict(control)
    if isinstance(control, list):
        return {str(value): value for value in control}
    numbers = control if isinstance(control, tuple) and len(control) in (2, 3) else ()
    if not numbers or not all(isinstance(n, int | float) for n in numbers):
        raise Impossible(f"a control of this kind is not recorded: {control!r}")
    low, high, *step = numbers
    step = step[0] if step else 1 if all(isinstance(n, int) for n in numbers) else 0.1
    values = [low + i * step for i in range(math.floor((high - low) / step + 1e-6) + 1)]
    return {f"{value:.6g}": value if isinstance(value, int) else round(value, 9) for value in values}


def positions(draw, controls: dict, wanted: dict) -> dict[str, dict[str, object]]:
    """For each control the values that are recorded, {label: value}; one value: it stays there.

    wanted: {control: values} goes first. Otherwise choices keep all their values; then sliders, in their
    order, take as many as fit into FRAMES, ALONE at most. Where a control starts is always among them.
    """
    grid, left = {}, FRAMES
    sliders = [name for name, control in controls.items() if isinstance(control, tuple)]
    for name in sorted(controls, key=lambda name: (name not in wanted, name in sliders)):
        everything, start = values_of(controls[name]), start_of(draw, name, controls[name])
        if name in wanted:
            kept = {f"{v:.6g}" if name in sliders else str(v) for v in wanted[name]} | {start}
            if strange := sorted(kept - everything.keys()):
                raise Impossible(f"{name} is never {strange[0]}")
            grid[name] = {label: value for label, value in everything.items() if label in kept}
        else:
            grid[name] = spread(everything, min(left, ALONE), start)
        left = max(1, left // len(grid[name]))
    return {name: grid[name] for name in controls}


def start_of(draw, name: str, control) -> str:
    """The label of the value where a control starts: draw's default, or the nearest to it."""
    everything, arguments = values_of(control), inspect.signature(draw).parameters
    default = arguments[name].default
    if default is inspect.Parameter.empty:
        return next(iter(everything))
    if isinstance(control, tuple):
        return min(everything, key=lambda label: abs(everything[label] - default))
    return next((label for label, value in everything.items() if value == default), next(iter(everything)))


def spread(values: dict, count: int, start: str) -> dict:
    """At most `count` of the values, evenly spread from the first to the last, with that labelled `start`.

    Of fewer than three only that one.
    """
    labels, at = list(values), list(values).index(start)
    if count >= len(labels):
        return values
    if count < 3:
        return {start: values[start]}
    kept = [round(i * (len(labels) - 1) / (count - 1)) for i in range(count)]
    if at not in kept:
        kept[min(range(1, count - 1), key=lambda i: abs(kept[i] - at))] = at
    return {labels[i]: values[labels[i]] for i in sorted(kept)}


def describe(draw, controls: dict, grid: dict) -> dict:
    """What a page needs to know of the controls; the last one changes fastest from frame to frame."""
    told, held = [], {}
    for name, values in grid.items():
        labels, start = list(values), start_of(draw, name, controls[name])
        if len(labels) == 1:
            held[name] = start
            continue
        kind = "slider" if isinstance(controls[name], tuple) else "choice"
        told.append({"name": name, "kind": kind, "values": labels, "start": labels.index(start)})
    return {"controls": told, "held": held}


# The frames -----------------------------------------------------------------------------------------


def frames_of(draw, grid: dict) -> tuple[list, list[str]]:
    """A picture and its alt text for every combination of the grid's values."""
    frames, alts = [], []
    for values in itertools.product(*(some.values() for some in grid.values())):
        values = dict(zip(grid, values, strict=True))
        with caught_figures() as caught, capture_output():
            try:
                draw(**values)
            except Exception as err:
                said = ", ".join(f"{name}={value!r}" for name, value in values.items())
                raise Impossible(f"{draw.__name__}({said}): {type(err).__name__}: {err}") from None
        if len(caught) != 1:
            raise Impossible(f"{draw.__name__} shows {len(caught) or 'no'} figures, not one")
        frames.append(caught[0][0])
        alts.append(caught[0][1])
    return frames, alts


@contextmanager
def caught_figures():
    """A list that takes (picture, alt) of every show.figure, WIDTH pixels wide if it fills the page.

    A figure that was begun and never shown is closed, or the cell would show it at its end.
    """
    caught, figure, there = [], show.figure, set(plt.get_fignums())

    def catch(fig, alt, save=None):
        show._described(alt)
        buffer, sharp = io.BytesIO(), WIDTH / (show.WIDTH * fig.dpi)
        fast = {"compress_level": 1}
        fig.savefig(buffer, format="png", facecolor="white", dpi=sharp * fig.dpi, pil_kwargs=fast)
        plt.close(fig)
        caught.append((Image.open(buffer).convert("RGB"), alt))

    show.figure = catch
    try:
        yield caught
    finally:
        show.figure = figure
        for number in set(plt.get_fignums()) - there:
            plt.close(number)


@contextmanager
def same_random_numbers():
    """Whatever is drawn inside, the global generators stand afterwards where they stood before."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def stack(frames: list) -> tuple[bytes, tuple[int, int]]:
    """The frames under each other as one WebP of MOST bytes at most, and the size of each in pixels.

    Raises Impossible where no readable size is enough.
    """
    frames = same_size(frames)
    width, height = frames[0].size
    shrink = min(1, (PIXELS / (width * height * len(frames))) ** 0.5, HIGHEST / (height * len(frames)))
    for smaller in (1, 0.8, 0.65):
        size = math.floor(width * shrink * smaller), math.floor(height * shrink * smaller)
        sheet = Image.new("RGB", (size[0], size[1] * len(frames)), "white")
        for i, frame in enumerate(frames):
            sheet.paste(frame.resize(size, Image.Resampling.LANCZOS), (0, i * size[1]))
        content = smallest(sheet)
        if len(content) <= MOST:
            return content, size
    raise Impossible(f"{len(frames)} frames take {len(content)} bytes, more than {MOST}: choose fewer")


def smallest(sheet) -> bytes:
    """A picture as WebP, in the best of KINDS that keeps within AIM, otherwise in the smallest."""
    made = []
    for kind in KINDS:
        buffer, picture, options = io.BytesIO(), sheet, {"quality": 50, "method": 4} | kind
        if colours := options.pop("colours", None):
            picture = with_colours(sheet, colours)
        picture.save(buffer, "WEBP", **options)
        made.append(buffer.getvalue())
        if len(made[-1]) <= AIM:
            return made[-1]
    return min(made, key=len)


def with_colours(picture, count: int):
    """A picture with at most `count` colours near those of its pixels; white and black stay what they are."""
    few = picture.resize((-(-picture.width // 3), -(-picture.height // 3)), Image.Resampling.NEAREST)
    found = few.quantize(count, kmeans=3).getpalette()  # kmeans keeps rare colours, as in show.figure
    palette = Image.new("P", (1, 1))
    for at in range(0, len(found), 3):
        colour = found[at : at + 3]
        if min(colour) > 247 or max(colour) < 8:
            found[at : at + 3] = [round(sum(colour) / 765) * 255] * 3
    palette.putpalette(found)
    return picture.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB")


def same_size(frames: list) -> list:
    """The frames with white on the left and below where they are smaller, without the margins all share."""
    width, height = (max(frame.size[axis] for frame in frames) for axis in (0, 1))
    pages = [Image.new("RGB", (width, height), "white") for _ in frames]
    used = Image.new("L", (width, height))
    for page, frame in zip(pages, frames, strict=True):
        page.paste(frame, (width - frame.width, 0))  # the names of show.rows take their room on the left
        used = ImageChops.lighter(used, ImageChops.invert(page.convert("L")))
    left, top, right, bottom = used.getbbox() or (0, 0, width, height)
    whole = max(0, left - MARGIN), max(0, top - MARGIN), right + MARGIN, bottom + MARGIN
    return [page.crop((*whole[:2], min(width, whole[2]), min(height, whole[3]))) for page in pages]
