"""Pictures: figure with alt text, grid, filmstrip, GIF, scatter, loss curve. Colour-blind safe."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from helpers.files import write_bytes

# Okabe & Ito 2008, and a brown
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C510A"]
BLUE, RED, GREEN, PINK, ORANGE, SKY, BLACK, BROWN = COLOURS
COLOUR = {  # one thing has one colour in all notebooks
    "data": BLUE, "model": RED, "exact": GREEN, "noise": "#777777", "floor": BLACK,
    "linear": ORANGE, "cosine": SKY, "other": BROWN,
    "eps": PINK, "x0": BLUE, "v": RED,
    "ancestral": GREEN, "ddim": BLUE, "dpm": RED, "fresh": PINK,
}  # fmt: skip
WIDTH = 9.6  # inches: figures are this wide, so that text is the same size in all of them
HEIGHT = 5.8  # inches at most, so that a figure fits a 1280x720 slide below its heading

sns.set_theme(context="notebook", style="whitegrid", palette=COLOURS)
SHARP = 2  # pixels of a figure for each pixel it takes on the page, for screens that have twice as many
SIZES = {"axes.titlesize": 13, "font.size": 12, "axes.labelsize": 12, "legend.fontsize": 11}
SIZES |= {"xtick.labelsize": 11, "ytick.labelsize": 11, "figure.dpi": 100}
STYLE = {"figure.figsize": (WIDTH, 3.6), "image.cmap": "gray", "figure.constrained_layout.use": True}
plt.rcParams.update(SIZES | STYLE)


def figure(fig, alt: str, save=None) -> None:
    """Show a matplotlib figure with its alt text, and close it; also write it to `save` (PNG) when given.

    Raises ValueError without alt text: a picture must be readable by those who do not see it.
    """
    _described(alt)
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", facecolor="white", dpi=SHARP * fig.dpi)
    plt.close(fig)
    # kmeans keeps rare colours, such as one cell of a colour map, what they are
    picture = Image.open(buffer).convert("RGB").quantize(128, dither=Image.Dither.NONE, kmeans=3)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)  # a third of the size
    if save is not None:
        write_bytes(save, buffer.getvalue())
    png = base64.b64encode(buffer.getvalue()).decode()
    width, height = (round(side / SHARP) for side in picture.size)
    about = {"alt": alt, "width": width, "height": height}
    _display({"image/png": png, "text/plain": alt}, {"image/png": about})


def table(rows, header, caption: str = "") -> None:
    """Show rows (lists of str or numbers) under their header as a table; numbers stand to the right.

    Raises ValueError where a row has another length than the header.
    """
    rows, header = [[str(entry) for entry in row] for row in rows], [str(entry) for entry in header]
    if wrong := [row for row in rows if len(row) != len(header)]:
        raise ValueError(f"the header has {len(header)} entries, this row {len(wrong[0])}: {wrong[0]}")
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (header, *rows)]
    body = "".join(f"<tr>{''.join(map(_table_cell, row))}</tr>" for row in rows)
    head = "".join(f"<th>{html.escape(entry)}</th>" for entry in header)
    above = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    whole = f"<table>{above}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    _display({"text/html": whole, "text/plain": "\n".join(filter(None, [caption, *lines]))}, {})


def _table_cell(entry: str) -> str:
    side = "right" if entry[:1] in "0123456789+-−±<>≈" and entry[:1] else "left"
    return f'<td style="text-align: {side}">{html.escape(entry)}</td>'


def _described(alt: str) -> None:
    if not (alt and alt.strip()):
        raise ValueError("describe the picture in alt: what is shown, and what there is to see")


def _display(bundle: dict, metadata: dict) -> None:
    from IPython.display import publish_display_data

    publish_display_data(bundle, metadata)


def to_grey(images: Tensor) -> np.ndarray:
    """Images (N, 1, H, W) in [-1, 1] (cut there) as (N, H, W) values 0..255, uint8."""
    return ((images.detach().cpu().float().clamp(-1, 1)[:, 0] + 1) * 127.5).round().byte().numpy()


def tiles(images: Tensor, columns: int, pad: int = 1) -> np.ndarray:
    """One uint8 picture with the images (N, 1, H, W) side by side, `columns` a row, white lines between."""
    grey = to_grey(images)
    n, h, w = grey.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (h + pad) + pad, columns * (w + pad) + pad), 255, np.uint8)
    for i, image in enumerate(grey):
        y, x = pad + (i // columns) * (h + pad), pad + (i % columns) * (w + pad)
        sheet[y : y + h, x : x + w] = image
    return sheet


def grid(
    images: Tensor, alt: str, columns: int = 8, title: str = "", save=None, width: float | None = None
) -> None:
    """Show images (N, 1, H, W) in a grid. width: inches of the figure, by default from the shape."""
    sheet = tiles(images, columns)
    ratio = sheet.shape[0] / sheet.shape[1]
    width = width or min(WIDTH, 5.6 / ratio)
    fig, ax = plt.subplots(figsize=(width, width * ratio + (0.4 if title else 0)))
    ax.imshow(sheet, vmin=0, vmax=255)
    ax.set_axis_off()
    ax.set_title(title)
    figure(fig, alt, save)


def rows(pictures: dict[str, Tensor], alt: str, labels=None, title: str = "", save=None) -> None:
    """Rows of images under each other: {"row name": (N, 1, H, W)}; labels: one a column, on top."""
    names, columns = list(pictures), max(len(images) for images in pictures.values())
    name_width = 0.09 * max(len(name) for name in names) + 0.2
    cell = min(1.25, (WIDTH - name_width) / columns, (HEIGHT - 0.7) / len(names))
    size = (max(5.0, name_width + columns * cell), len(names) * cell + 0.7)
    fig, axes = plt.subplots(len(names), columns, figsize=size, squeeze=False)
    for row, name in zip(axes, names, strict=True):
        for ax in row:
            ax.set_axis_off()
        for ax, image in zip(row, to_grey(pictures[name]), strict=False):
            ax.imshow(image, vmin=0, vmax=255)
        row[0].text(-0.15, 0.5, name, transform=row[0].transAxes, ha="right", va="center", fontsize=11)
    for ax, label in zip(axes[0], labels or [], strict=False):
        ax.set_title(label, fontsize=11)
    fig.suptitle(title, fontsize=13)
    figure(fig, alt, save)


def level(t: int) -> str:
    """The label of a state: its noise level, or "clean"."""
    return "clean" if t == 0 else f"t = {t}"


def at_levels(path, levels) -> list:
    """Of a list of States, for each wanted noise level the one nearest to it."""
    return [min(path, key=lambda state: abs(state.t - t)) for t in levels]


def filmstrip(
    path,
    alt: str,
    levels=(1000, 800, 600, 400, 200, 100, 50, 0),
    count: int = 1,
    x0: bool = False,
    title: str = "",
    save=None,
) -> None:
    """The walk as a strip: columns are the noise levels nearest to `levels`, rows the first `count` samples.

    x0=True adds a second strip with the current estimate of the clean image.
    """
    states = at_levels(path, levels)
    pictures = {}
    for i in range(count):
        name = f"sample {i + 1}" if count > 1 else "$x_t$"
        pictures[name] = torch.stack([s.x[i] for s in states])
        if x0:
            pictures[f"{name}, estimate of $x_0$" if count > 1 else "estimate of $x_0$"] = torch.stack(
                [torch.ones_like(s.x[i]) if s.x0 is None else s.x0[i] for s in states]
            )
    rows(pictures, alt, [level(s.t) for s in states], title, save)


def gif(frames, save, alt: str, scale: int = 1, seconds: float = 4.0, hold: float = 1.5) -> None:
    """Write grey frames (list of (H, W) uint8 arrays) as an endless GIF and show it.

    scale: each pixel becomes scale x scale; seconds: length of the walk; hold: how long the last frame stays.
    Raises ValueError for no frames, other frames, or no alt text. The file is written whole or not at all.
    """
    frames = list(frames)
    if not all(isinstance(f, np.ndarray) and f.dtype == np.uint8 and f.ndim == 2 for f in frames):
        raise ValueError("frames are uint8 arrays (H, W): show.tiles makes them of images")
    if len({f.shape for f in frames}) > 1 or any(f.size == 0 for f in frames) or scale not in range(1, 65):
        raise ValueError("frames have one size, which is not 0, and scale is a whole number from 1 to 64")
    pictures = [Image.fromarray(np.kron(f, np.ones((scale, scale), np.uint8))).quantize(32) for f in frames]
    _write_gif(pictures, save, alt, seconds, hold)


def gif_from_figures(figures, save, alt: str, seconds: float = 4.0, hold: float = 1.5) -> None:
    """The same from matplotlib figures (an iterable, drawn and closed one by one), in 64 colours."""
    pictures = []
    for fig in figures:
        buffer = io.BytesIO()
        fig.savefig(buffer, format="png", facecolor="white", dpi=72)
        plt.close(fig)
        pictures.append(Image.open(buffer).convert("RGB"))
    palette = pictures[-1].quantize(64) if pictures else None
    pictures = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
    _write_gif(pictures, save, alt, seconds, hold)


def _write_gif(pictures: list, save, alt: str, seconds: float, hold: float) -> None:
    _described(alt)
    if not pictures:
        raise ValueError("a GIF needs at least one frame")
    if not (0 <= seconds <= 600 and 0 <= hold <= 600):
        raise ValueError(f"seconds and hold are 0 to 600, got {seconds} and {hold}")
    each = max(20, int(1000 * seconds / len(pictures)))
    durations, buffer = [each] * (len(pictures) - 1) + [int(1000 * hold)], io.BytesIO()
    options = dict(format="GIF", save_all=True, loop=0, optimize=True)
    pictures[0].save(buffer, append_images=pictures[1:], duration=durations, **options)
    write_bytes(save, buffer.getvalue())
    show_gif(save, alt)


def show_gif(path, alt: str) -> None:
    """Show a GIF file inside the page (embedded, so that it moves on a rendered page too)."""
    _described(alt)
    data = base64.b64encode(Path(path).read_bytes()).decode()
    image = f'<img alt="{html.escape(alt)}" src="data:image/gif;base64,{data}">'
    _display({"text/html": image, "text/plain": alt}, {})


def evenly(path, count: int = 48) -> list:
    """`count` States of a walk, evenly spaced, always with the first and the last."""
    picks = np.unique(np.linspace(0, len(path) - 1, min(count, len(path))).round().astype(int))
    return [path[i] for i in picks]


def scatter(
    ax, points: Tensor, title: str = "", colour=COLOURS[0], size: float = 2, limit: float = 1.4
) -> None:
    """Draw points (n, 2) on an axis with equal scales and the range -limit .. limit."""
    points = points.detach().cpu()
    ax.scatter(points[:, 0], points[:, 1], s=size, color=colour, alpha=0.5, linewidths=0, rasterized=True)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title=title, xticks=[], yticks=[])


def smooth(values, window: int = 50) -> np.ndarray:
    """Moving average over the last `window` values (fewer at the start), same length."""
    values = np.asarray(values, dtype=float)
    sums = np.cumsum(np.insert(values, 0, 0.0))
    starts = np.maximum(0, np.arange(1, len(values) + 1) - window)
    return (sums[1:] - sums[starts]) / (np.arange(1, len(values) + 1) - starts)


def loss_curve(losses, alt: str, window: int = 50, title: str = "Training loss", save=None) -> None:
    """The loss of every step, pale, and its moving average; log scale."""
    fig, ax = plt.subplots()
    ax.plot(losses, color=COLOURS[5], alpha=0.5, linewidth=0.8, label="each step")
    ax.plot(smooth(losses, window), color=COLOURS[0], linewidth=2, label=f"mean of the last {window}")
    ax.set(xlabel="step", ylabel="loss", title=title, yscale="log")
    ax.legend()
    figure(fig, alt, save)


def progress(iterable, total: int | None = None, label: str = ""):
    """The iterable with a progress bar that goes away when done; none under TQDM_DISABLE=1."""
    return tqdm(iterable, total=total, desc=label, leave=False, mininterval=0.5)
