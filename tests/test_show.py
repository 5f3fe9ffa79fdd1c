"""Pictures: alt text on every one, GIFs whole and well timed, curves and sheets that show what they must."""

import base64
import html
import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from helpers import show
from helpers.sampling import State


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    """What the notebook would get: a list of (bundle, metadata)."""
    displayed = []
    monkeypatch.setattr(show, "_display", lambda bundle, metadata: displayed.append((bundle, metadata)))
    yield displayed
    plt.close("all")


def walk(n=10, size=8):
    g = torch.Generator().manual_seed(0)
    xs = [torch.randn(3, 1, size, size, generator=g) for _ in range(n)]
    return [State(i, n - 1 - i, x, x / 2 if i else None) for i, x in enumerate(xs)]


def frames(n=12, size=8):
    """Each frame differs from the others (equal neighbours would be merged)."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (size, size)).astype(np.uint8) for _ in range(n)]


def gif_of(path):
    """(frames as grey arrays, durations in ms)"""
    with Image.open(path) as image:
        arrays, durations = [], []
        for i in range(image.n_frames):
            image.seek(i)
            arrays.append(np.asarray(image.convert("L")))
            durations.append(image.info["duration"])
        return arrays, durations, image.info.get("loop")


# --- alt text


IMAGES = torch.zeros(4, 1, 8, 8)
CALLS = {
    "figure": lambda alt, path: show.figure(plt.figure(), alt),
    "grid": lambda alt, path: show.grid(IMAGES, alt),
    "rows": lambda alt, path: show.rows({"a": IMAGES}, alt),
    "filmstrip": lambda alt, path: show.filmstrip(walk(), alt, levels=(8, 4, -1)),
    "loss_curve": lambda alt, path: show.loss_curve([3.0, 2.0, 1.0], alt),
    "gif": lambda alt, path: show.gif(frames(), path, alt),
    "gif_from_figures": lambda alt, path: show.gif_from_figures([plt.figure(figsize=(1, 1))], path, alt),
}


@pytest.mark.parametrize("name", CALLS)
def test_alt_text_is_shown(name, shown, tmp_path):
    alt = 'digits <8x8> & "noise"'
    CALLS[name](alt, tmp_path / "a.gif")
    ((bundle, metadata),) = shown
    assert bundle["text/plain"] == alt
    if "gif" in name:
        assert f'alt="{html.escape(alt)}"' in bundle["text/html"]
    else:
        assert metadata["image/png"]["alt"] == alt
        picture = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
        sides = metadata["image/png"]["width"], metadata["image/png"]["height"]
        assert picture.size == pytest.approx([show.SHARP * side for side in sides], abs=2)


def test_a_table_is_html_and_plain_text(shown):
    show.table([["DDIM", "83.1 %"], ["<b>", 7]], ["sampler", "confident"], "of 1,000 samples")
    ((bundle, _),) = shown
    assert bundle["text/plain"] == "of 1,000 samples\nsampler  confident\nDDIM     83.1 %\n<b>      7"
    assert "<th>confident</th>" in bundle["text/html"] and "&lt;b&gt;" in bundle["text/html"]
    assert '<td style="text-align: right">7</td>' in bundle["text/html"]
    with pytest.raises(ValueError, match="the header has 2 entries, this row 1"):
        show.table([["DDIM"]], ["sampler", "confident"])


@pytest.mark.parametrize("alt", ["", "  \n", None], ids=repr)
@pytest.mark.parametrize("name", CALLS)
def test_no_picture_without_alt_text(name, alt, shown, tmp_path):
    with pytest.raises(ValueError, match="describe the picture in alt"):
        CALLS[name](alt, tmp_path / "a.gif")
    assert shown == [] and list(tmp_path.iterdir()) == []


def test_figures_are_closed_and_saved(shown, tmp_path):
    show.grid(IMAGES, "four", save=tmp_path / "new" / "grid.png", title="four")
    assert plt.get_fignums() == []
    saved = (tmp_path / "new" / "grid.png").read_bytes()
    assert saved == base64.b64decode(shown[0][0]["image/png"])


# --- GIFs


def test_gif(shown, tmp_path):
    path, pictures = tmp_path / "walk.gif", frames()
    show.gif(pictures, path, "a walk", scale=3, seconds=2.4, hold=1.5)
    arrays, durations, loop = gif_of(path)
    assert len(arrays) == 12 and loop == 0, "endless"
    assert durations == [200] * 11 + [1500], "2.4 s over 12 frames, and the last is held"
    for array, picture in zip(arrays, pictures, strict=True):
        assert array.shape == (24, 24)
        assert np.abs(array.astype(int) - np.kron(picture, np.ones((3, 3), int))).max() <= 12, (
            "32 grey levels"
        )
    page = shown[0][0]["text/html"]
    assert base64.b64decode(page.split("base64,")[1].split('"')[0]) == path.read_bytes()


def test_gif_of_one_frame(tmp_path):
    show.gif(frames(1), tmp_path / "a.gif", "one")
    assert len(gif_of(tmp_path / "a.gif")[0]) == 1


def test_gif_is_never_faster_than_a_screen(tmp_path):
    show.gif(frames(40), tmp_path / "a.gif", "quick", seconds=0.1)
    assert set(gif_of(tmp_path / "a.gif")[1][:-1]) == {20}


def test_gif_from_figures(tmp_path):
    def figures():
        for i in range(3):
            fig, ax = plt.subplots(figsize=(2, 2))
            ax.plot([0, 1], [0, i])
            yield fig

    show.gif_from_figures(figures(), tmp_path / "a.gif", "three lines", seconds=0.9, hold=0.7)
    arrays, durations, _ = gif_of(tmp_path / "a.gif")
    assert durations == [300, 300, 700] and arrays[0].shape == (144, 144)
    assert not np.array_equal(arrays[0], arrays[2])
    assert plt.get_fignums() == []


@pytest.mark.parametrize("make", [show.gif, show.gif_from_figures])
def test_gif_without_frames(make, tmp_path):
    with pytest.raises(ValueError, match="at least one frame"):
        make([], tmp_path / "a.gif", "nothing")
    assert list(tmp_path.iterdir()) == []


def test_gif_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """The disk is full halfway: the older GIF stays, nothing else is there."""
    path = tmp_path / "walk.gif"
    show.gif(frames(2), path, "older")
    before = path.read_bytes()

    def write_bytes(self, content):
        self.write_text("GIF89a, half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(OSError, match=r"could not write walk\.gif.*No space left.*untouched"):
        show.gif(frames(12), path, "newer")
    assert [p.name for p in tmp_path.iterdir()] == ["walk.gif"] and path.read_bytes() == before


# --- sheets, strips, curves


def test_to_grey():
    x = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).reshape(5, 1, 1, 1)
    assert show.to_grey(x).dtype == np.uint8 and show.to_grey(x).ravel().tolist() == [0, 0, 128, 255, 255]


def test_tiles():
    images = torch.linspace(-1, 1, 5).reshape(5, 1, 1, 1).expand(5, 1, 2, 3)
    sheet = show.tiles(images, columns=3)
    assert sheet.shape == (2 * 3 + 1, 3 * 4 + 1)
    assert [int(sheet[1 + 3 * (i // 3), 1 + 4 * (i % 3)]) for i in range(5)] == [0, 64, 128, 191, 255]
    assert (sheet[0] == 255).all() and (sheet[:, 0] == 255).all() and (sheet[4:6, 9:12] == 255).all()


def test_labels_are_the_levels_of_the_states(monkeypatch):
    seen = {}
    monkeypatch.setattr(
        show, "rows", lambda pictures, alt, labels, title, save: seen.update(p=pictures, labels=labels)
    )
    path = walk(10)  # levels 9 .. 0
    show.filmstrip(path, "strip", levels=(9, 4, 0), x0=True)
    assert seen["labels"] == ["t = 9", "t = 4", "clean"]
    assert list(seen["p"]) == ["$x_t$", "estimate of $x_0$"]
    assert torch.equal(seen["p"]["$x_t$"], torch.stack([path[i].x[0] for i in (0, 5, 9)]))
    blank = torch.ones_like(path[0].x[0])  # before the first step there is no estimate
    assert torch.equal(seen["p"]["estimate of $x_0$"], torch.stack([blank, path[5].x0[0], path[9].x0[0]]))
    show.filmstrip(path, "strip", levels=(9, 0), count=2)
    assert list(seen["p"]) == ["sample 1", "sample 2"]


def test_level_and_nearest_levels():
    assert [show.level(t) for t in (1000, 1, 0)] == ["t = 1000", "t = 1", "clean"]
    assert [s.t for s in show.at_levels(walk(10), (100, 4, 0))] == [9, 4, 0]


def test_evenly_keeps_first_and_last():
    path = list(range(1001))
    picked = show.evenly(path, 48)
    assert (
        len(picked) == 48
        and picked[0] == 0
        and picked[-1] == 1000
        and max(np.diff(picked)) - min(np.diff(picked)) <= 1
    )
    assert show.evenly(path[:5], 48) == path[:5]


def test_moving_average():
    values = np.arange(10.0)
    by_hand = [values[max(0, i - 2) : i + 1].mean() for i in range(10)]
    assert show.smooth(values, 3) == pytest.approx(by_hand)
    assert show.smooth([5.0, 7.0], 50).tolist() == [5.0, 6.0]
    assert show.smooth([], 3).shape == (0,)


def test_loss_curve_draws_both(monkeypatch):
    figures = []
    monkeypatch.setattr(show, "figure", lambda fig, alt, save: figures.append(fig))
    show.loss_curve([4.0, 2.0, 1.0], "falling", window=2)
    lines = figures[0].axes[0].get_lines()
    assert [line.get_ydata().tolist() for line in lines] == [[4, 2, 1], [4, 3, 1.5]]
    assert figures[0].axes[0].get_xlabel() == "step" and figures[0].axes[0].get_yscale() == "log"


def test_scatter():
    fig, ax = plt.subplots()
    show.scatter(ax, torch.randn(5, 2, requires_grad=True), "points", limit=2)
    assert ax.get_xlim() == (-2, 2) and ax.get_title() == "points" and ax.get_aspect() == 1


def test_progress_hands_everything_on(capsys, monkeypatch):
    assert list(show.progress(iter(range(5)), total=5, label="counting")) == [0, 1, 2, 3, 4]


def test_colours_are_told_apart():
    assert len(set(show.COLOURS)) == len(show.COLOURS) == 8
    assert set(show.COLOUR.values()) - set(show.COLOURS) == {"#777777"}, "only the noise is grey"


def test_display_reaches_the_notebook(monkeypatch, tmp_path):
    """With the real _display: one display_data message with the alt text in it."""
    import IPython.display

    sent = []
    monkeypatch.undo()
    monkeypatch.setattr(
        IPython.display, "publish_display_data", lambda data, metadata: sent.append((data, metadata))
    )
    show.grid(IMAGES, "four grey squares")
    assert (
        sent[0][0]["text/plain"] == "four grey squares"
        and sent[0][1]["image/png"]["alt"] == "four grey squares"
    )
