"""Recorded sliders: what a call of sliders() leaves for the site, and the script that moves through it."""

import io
import json
import random
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell
from PIL import Image

import browser
from builder import recording
from builder.course import Course, parse_notebook
from builder.execute import run
from builder.pageparts import HERE, slider, slider_calls, unrecorded
from builder.source import read_source
from helpers import show
from helpers.sliders import sliders

FRAMES = HERE.complete / "live" / "frames"
STEP = 25  # of grey, from one frame of the toy to the next


def paint(shade: float):
    """A figure of 960 x 200 pixels, all of one grey."""
    fig = plt.figure(figsize=(show.WIDTH, 2), layout="none")
    fig.patch.set_facecolor(str(shade / 255))
    ax = fig.add_axes((0, 0, 1, 1), facecolor=str(shade / 255))
    ax.axis("off")
    ax.add_patch(plt.Rectangle((0, 0), 1, 1, color=str(shade / 255)))
    return fig


def toy(t=2, kind="low", seed=0):
    """One grey. And more words."""
    print("not wanted")
    show.figure(paint(STEP * t + (125 if kind == "high" else 0)), f"grey, t = {t}, {kind}, {seed}")


CONTROLS = {"t": (0, 5), "kind": ["low", "high"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of frames with the recording 09_toy in it."""
    made = tmp_path_factory.mktemp("live") / "frames"
    recording.record(toy, CONTROLS, str(made / "09"))
    return made


def read(folder, name="09_toy"):
    told = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    path = folder / f"{name}.webp"
    return told, Image.open(path).convert("L") if path.exists() else None


# Recording ------------------------------------------------------------------------------------------


def test_every_combination_has_its_frame(folder):
    told, sheet = read(folder)
    assert [control["values"] for control in told["controls"]] == [[*"012345"], ["low", "high"]]
    assert [control["start"] for control in told["controls"]] == [2, 0]
    assert [control["kind"] for control in told["controls"]] == ["slider", "choice"]
    assert len(told["alts"]) == 12 and told["alts"][5] == "grey, t = 2, high, 0"
    assert sheet.size == (told["width"], 12 * told["height"]) and told["width"] <= recording.WIDTH
    for i in range(12):
        grey = sheet.getpixel((told["width"] // 2, int((i + 0.5) * told["height"])))
        assert abs(grey - (STEP * (i // 2) + 125 * (i % 2))) < 6


def test_it_says_what_is_shown_and_what_stays(tmp_path):
    controls = CONTROLS | {"seed": (0, 20)}
    told = recording.record(toy, controls, str(tmp_path / "09"))
    assert told["says"] == "One grey. And more words."
    assert set(told["held"]) | {c["name"] for c in told["controls"]} == set(controls)
    assert told["bytes"] == (tmp_path / "09_toy.webp").stat().st_size < recording.AIM


def test_the_same_call_leaves_the_same_bytes(folder, tmp_path):
    recording.record(toy, CONTROLS, str(tmp_path / "09"))
    for kind in ("json", "webp"):
        assert (tmp_path / f"09_toy.{kind}").read_bytes() == (folder / f"09_toy.{kind}").read_bytes()


def grid(draw, controls, wanted=()):
    return {name: list(v.values()) for name, v in recording.positions(draw, controls, dict(wanted)).items()}


def draw(a=3, b="y", c=0.5):
    pass


@pytest.mark.parametrize(
    ("controls", "wanted", "kept"),
    [
        ({"a": (0, 5)}, {}, {"a": [0, 1, 2, 3, 4, 5]}),
        ({"b": ["x", "y"]}, {}, {"b": ["x", "y"]}),
        ({"b": {"one": "x", "two": "y"}}, {}, {"b": ["x", "y"]}),
        ({"c": (0.0, 1.0, 0.25)}, {}, {"c": [0, 0.25, 0.5, 0.75, 1]}),
        ({"a": (0, 9), "b": ["x", "y"]}, {"a": [9, 1]}, {"a": [1, 3, 9], "b": ["x", "y"]}),
        ({"a": (0, 1000), "c": (0.0, 9.0)}, {"c": [2]}, None),
    ],
)
def test_which_values_are_recorded(controls, wanted, kept):
    found = grid(draw, controls, wanted)
    if kept is None:
        assert found["c"] == [0.5, 2] and len(found["a"]) == recording.FRAMES // 2
    else:
        assert found == kept


@pytest.mark.parametrize("start", [0, 1, 3, 500, 999, 1000])
def test_a_long_slider_is_thinned_out_and_keeps_its_ends_and_its_start(start):
    def draw(t=start):
        pass

    values = grid(draw, {"t": (0, 1000)})["t"]
    assert values == sorted(set(values)) and {0, start, 1000} <= set(values)
    assert len(values) == recording.ALONE


def test_three_controls_stay_within_the_frames():
    found = grid(draw, {"a": (0, 1000), "b": ["x", "y", "z"], "c": (0.0, 9.0)})
    assert np.prod([len(values) for values in found.values()]) <= recording.FRAMES
    assert found["b"] == ["x", "y", "z"] and found["c"] == [0.5]


def test_positions_may_be_chosen_in_a_file(tmp_path):
    (tmp_path / "positions.json").write_text('{"09_toy": {"t": [0, 5]}}')
    told = recording.record(toy, CONTROLS, str(tmp_path / "09"))
    assert told["controls"][0]["values"] == ["0", "2", "5"], "and the value where it starts"


def two(t=0):
    """Two figures."""
    show.figure(paint(0), "one")
    show.figure(paint(9), "two")


def prints(t=0):
    """Only words."""
    print(t)


def fails(t=0):
    """Fails in the middle, with a figure begun."""
    plt.figure()
    show.figure(paint(255 // (t - 2)), "grey")


@pytest.mark.parametrize(
    ("draw", "control", "wanted", "reason"),
    [
        (two, (0, 3), {}, "two shows 2 figures, not one"),
        (prints, (0, 3), {}, "prints shows no figures, not one"),
        (fails, (2, 5), {}, "fails(t=2): ZeroDivisionError"),
        (toy, (0, 3), {"t": [7]}, "t is never 7"),
        (toy, "text", {}, "a control of this kind is not recorded: 'text'"),
    ],
)
def test_what_cannot_be_recorded_leaves_a_reason(draw, control, wanted, reason, tmp_path):
    (tmp_path / f"09_{draw.__name__}.webp").write_bytes(b"of an earlier version")
    (tmp_path / "positions.json").write_text(json.dumps({f"09_{draw.__name__}": wanted}))
    recording.record(draw, {"t": control}, str(tmp_path / "09"))
    told, sheet = read(tmp_path, f"09_{draw.__name__}")
    assert reason in told["reason"] and sheet is None and "alts" not in told
    assert show.figure.__name__ == "figure" and not plt.get_fignums(), "all is as before"


def test_frames_that_compress_badly_become_smaller_and_what_is_too_much_is_refused(monkeypatch):
    random_grey = np.random.default_rng(0).integers(0, 255, (6, 300, 900), np.uint8)
    frames = [Image.fromarray(grey).convert("RGB") for grey in random_grey]
    content, size = recording.stack(frames)
    assert len(content) <= recording.MOST and size[0] < 900 and abs(size[0] - 3 * size[1]) < 4
    monkeypatch.setattr(recording, "MOST", 10_000)
    with pytest.raises(recording.Impossible, match="choose fewer"):
        recording.stack(frames)


def test_a_recording_keeps_white_and_the_colours_of_the_course():
    def draw(t=0):
        fig, ax = plt.subplots(figsize=(4, 2))
        for i, colour in enumerate(show.COLOURS):
            ax.plot([0, 1], [i, i + t], color=colour, linewidth=3)
        ax.imshow(np.random.default_rng(t).random((8, 8)), extent=(1, 2, 0, 8), aspect="auto")
        ax.set(xlim=(0, 2), ylim=(-1, 16))
        show.figure(fig, "eight lines beside grey noise")

    with recording.caught_figures() as caught:
        for t in range(8):
            draw(t)
    content, _ = recording.stack([picture for picture, _ in caught])
    shown = {colour: n for n, colour in Image.open(io.BytesIO(content)).convert("RGB").getcolors(1 << 24)}
    assert max(shown, key=shown.get) == (255, 255, 255)
    for colour in show.COLOURS:
        wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        assert min(abs(wanted - np.array(there)).max() for there in shown) <= 8, colour


def test_frames_of_different_sizes_keep_their_right_edge():
    frames = [Image.new("RGB", (90, 30), "black"), Image.new("RGB", (60, 20), "black")]
    content, size = recording.stack(frames)
    assert size == (90, 30)
    second = np.asarray(Image.open(io.BytesIO(content)).convert("L"))[30:]
    assert second[:18, 62:].max() < 60 and second[:, :28].min() > 200 and second[22:].min() > 200


def test_the_white_that_all_frames_share_is_cut_off():
    frames = [Image.new("RGB", (300, 200), "white") for _ in range(2)]
    frames[0].paste("black", (100, 50, 200, 80))
    frames[1].paste("black", (150, 60, 250, 90))
    _, size = recording.stack(frames)
    assert size == (150 + 2 * recording.MARGIN, 40 + 2 * recording.MARGIN)


def test_recording_leaves_the_random_numbers_alone(tmp_path):
    def draw(t=0):
        torch.rand(t + 1), np.random.rand(), random.random()
        show.figure(paint(t), "grey")

    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(0)
    recording.record(draw, {"t": (0, 2)}, str(tmp_path / "09"))
    drawn = torch.rand(1).item(), np.random.rand(), random.random()
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(0)
    assert drawn == (torch.rand(1).item(), np.random.rand(), random.random())


@pytest.mark.parametrize("asked", [True, False])
def test_sliders_record_when_the_environment_says_so(asked, tmp_path, monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda widget: None)
    monkeypatch.setenv("NOISE_TO_DIGITS_RECORD", str(tmp_path / "09") if asked else "")
    sliders(toy, **CONTROLS)
    assert (tmp_path / "09_toy.webp").exists() is asked


NOTEBOOK = """
import sys
sys.path[:0] = [{root!r}]
import time
import matplotlib.pyplot as plt
from helpers import show
from helpers.sliders import sliders

def slow(t=1):
    time.sleep(0.4)
    fig, ax = plt.subplots()
    show.figure(fig, f"t = {{t}}")

def words(t=1):
    print(t)

sliders(slow, t=(0, 9))
sliders(words, t=(0, 9))
"""


@pytest.mark.slow
@pytest.mark.parametrize("asked", [True, False])
def test_executing_records_and_neither_output_nor_seconds_tell(asked, tmp_path):
    cell = {"cell_type": "code", "id": "toy", "metadata": {}, "outputs": [], "execution_count": None}
    cell["source"] = NOTEBOOK.format(root=str(HERE.root))
    content = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    notebook = parse_notebook(json.dumps(content))
    frames = tmp_path / "live" / "frames"
    toy = Course(tmp_path)
    toy.complete.mkdir()
    started = {"mode": "smoke", "record": frames if asked else None}
    whole, noise = run(toy, "07_toy", notebook, tmp_path / "out", **started)
    assert (frames / "07_slow.webp").exists() is asked
    assert "recorded" not in json.dumps(notebook)
    assert noise == ["no frames of a slider: words shows no figures, not one"] * asked
    if asked:
        assert len(read(frames, "07_slow")[0]["alts"]) == 10
        told = json.loads((frames / "07_slow.json").read_text())
        assert "seconds" not in json.dumps(told), "the same file on every machine"
    assert whole["toy"] < whole["all"]


# In the repository ----------------------------------------------------------------------------------


def calls() -> set[str]:
    """NN_draw of every sliders(...) call in the sources."""
    found = set()
    for path in HERE.source_paths():
        codes = [cell.source for cell in read_source(path) if cell.cell_type == "code"]
        found |= {f"{path.name[:2]}_{draw}" for code in codes for draw in slider_calls(code)}
    return found


def test_every_slider_of_the_course_has_frames_or_a_reason_and_nothing_is_left_over():
    there = {path.stem for path in FRAMES.glob("*.json")} - {"positions"}
    again = "; run `make execute`"
    assert there == calls(), f"not recorded: {calls() - there}, left over: {there - calls()}{again}"
    frames = {path.stem for path in FRAMES.glob("*.webp")}
    for name in there:
        told, sheet = read(FRAMES, name)
        assert ("reason" in told) != (name in frames), f"{name} has neither frames nor a reason, or both"
        if sheet:
            assert sheet.size == (told["width"], told["height"] * len(told["alts"])), name
            assert told["bytes"] == (FRAMES / f"{name}.webp").stat().st_size <= recording.MOST, name
            assert all(len(alt) > 10 for alt in told["alts"]), name


def test_a_slider_without_a_recording_is_named(tmp_path):
    course, cell = (
        Course(tmp_path),
        new_code_cell("from helpers.sliders import sliders\n\nsliders(toy, t=(0, 4))"),
    )
    assert unrecorded(course, "09_toy", [cell]) == ["toy"]
    recording.record(toy, CONTROLS, str(course.complete / "live" / "frames" / "09"))
    assert unrecorded(course, "09_toy", [cell]) == []


def test_positions_are_chosen_only_for_sliders_there_are():
    chosen = json.loads((FRAMES / "positions.json").read_text(encoding="utf-8"))
    assert set(chosen) <= calls()


# In a browser ---------------------------------------------------------------------------------------


@pytest.fixture
def shown(folder, tmp_path):
    """The address of a page, on the file system, with the recorded toy."""
    place = tmp_path / "_static" / "live" / "frames"
    place.parent.mkdir(parents=True)
    for name in ("slider.js", "slider.css", "live.css"):
        (place.parent / name).write_text((FRAMES.parent / name).read_text(encoding="utf-8"))
    place.symlink_to(folder)
    head = '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += "<title>toy</title>"
    head += "".join(f'<link rel="stylesheet" href="_static/live/{name}.css">' for name in ("live", "slider"))
    script = '<script defer src="_static/live/slider.js"></script>'
    page = tmp_path / "page.html"
    page.write_text(f"{head}{script}<body>{slider(folder, '09_toy')}</body>", encoding="utf-8")
    return page.as_uri()


def grey(page) -> int:
    """The grey in the middle of what the slider shows."""
    picture = Image.open(io.BytesIO(page.locator("img").screenshot())).convert("L")
    return picture.getpixel((picture.width // 2, picture.height // 2))


def is_at(page, t: int, kind: str) -> bool:
    said = page.locator("img").get_attribute("alt") == f"grey, t = {t}, {kind}, 0"
    return said and abs(grey(page) - (STEP * t + (125 if kind == "high" else 0))) < 8


@browser.needs_browser
def test_by_keyboard_every_frame_is_reached(shown, tmp_path):
    with browser.page(tmp_path / "profile", 1280, 720) as page:
        page.goto(shown)
        assert is_at(page, 2, "low"), "it begins where the controls start"
        page.keyboard.press("Tab")
        t = page.get_by_label("t", exact=True)
        assert t.evaluate("(input) => input === document.activeElement")
        for key, at in (("ArrowRight", 3), ("ArrowLeft", 2), ("Home", 0), ("End", 5)):
            page.keyboard.press(key)
            assert is_at(page, at, "low"), key
            assert t.get_attribute("aria-valuetext") == page.locator("output").inner_text() == str(at)
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowDown")
        assert is_at(page, 5, "high")
        assert not page.errors, page.errors


@browser.needs_browser
def test_by_touch_on_a_phone(shown, tmp_path):
    with browser.page(tmp_path / "profile", 390, 844) as page:
        page.goto(shown)
        touch = page.context.new_cdp_session(page)
        touch.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
        box = page.get_by_label("t", exact=True).bounding_box()
        assert box["height"] >= 44, "a finger needs room"
        y, left, right = (
            box["y"] + box["height"] / 2,
            box["x"] + box["width"] / 2,
            box["x"] + box["width"] - 2,
        )
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": left, "y": y}]})
        for x in np.linspace(left, right, 5):
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y}]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_timeout(100)
        assert is_at(page, 5, "low")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide == 0, "the page scrolls sideways"
        assert not page.errors, page.errors


@browser.needs_browser
@pytest.mark.parametrize(("last", "tag"), [(2, "select"), (4, "select"), (5, "input")])
def test_a_few_stops_are_a_list_and_more_have_ticks(last, tag, folder, shown, tmp_path):
    told = {"name": "t", "kind": "slider", "values": [str(t) for t in range(last + 1)], "start": 1}
    data = json.dumps({"controls": [told], "alts": [f"grey, t = {t}, low, 0" for t in range(last + 1)]})
    path = tmp_path / "page.html"
    path.write_text(re.sub(r'(?<=/json">).*(?=</script>)', data, path.read_text(encoding="utf-8")))
    with browser.page(tmp_path / "profile", 1280, 720) as page:
        page.goto(shown)
        control = page.get_by_label("t", exact=True)
        assert control.evaluate("(el) => el.localName") == tag and control.input_value() == "1"
        assert page.locator("datalist > option").count() == (last + 1 if tag == "input" else 0)
        control.focus()
        page.keyboard.press("ArrowDown" if tag == "select" else "ArrowRight")
        assert page.locator("img").get_attribute("alt") == "grey, t = 2, low, 0"
        assert not page.errors, page.errors


@browser.needs_browser
def test_without_script_the_first_picture_is_there(shown, tmp_path):
    with browser.page(tmp_path / "profile", 1280, 720) as page:
        page.route("**/slider.js", lambda route: route.abort())
        page.goto(shown)
        assert is_at(page, 2, "low") and page.locator("input").count() == 0


def test_a_slider_without_frames_says_where_it_moves(tmp_path):
    assert "the notebook itself" in slider(tmp_path, "09_none") and "<img" not in slider(tmp_path, "09_none")
