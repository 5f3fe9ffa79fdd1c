"""Sliders: the helper itself, where the notebooks have them, and the real thing in JupyterLab."""

import json
import os
import sys
import time
from pathlib import Path

import pytest
from IPython.utils.capture import capture_output

import browser
import lab_page
from builder.course import Course, notebook_text, read_notebook
from builder.saved import is_picture
from helpers.sliders import sliders

COURSE = Course(Path(__file__).resolve().parents[1])
WITH_SLIDERS = [path.name[:2] for path in COURSE.source_paths() if not path.name.startswith("00")]
SECONDS = 1.0  # a move answers within
SLACK = float(
    os.environ.get("NOISE_TO_DIGITS_SLACK", "4" if {"CI", "PYTEST_XDIST_WORKER"} & {*os.environ} else "1.5")
)  # a busy machine

each_notebook = pytest.mark.parametrize("number", WITH_SLIDERS)


def name_of(number):
    return COURSE.source_paths(number)[0].stem


# The helper -----------------------------------------------------------------------------------------


def shown_by(monkeypatch, draw, **controls):
    """The widget that sliders() displays."""
    kept = []
    monkeypatch.setattr("IPython.display.display", kept.append)
    sliders(draw, **controls)
    return kept[0] if kept else None


def test_moving_a_control_draws_again_with_its_value(monkeypatch):
    drawn = []

    def draw(t=3, kind="linear"):
        drawn.append((t, kind))

    widget = shown_by(monkeypatch, draw, t=(0, 9), kind=["linear", "cosine"])
    t, kind = widget.children[:2]
    assert (t.value, kind.value) == (3, "linear"), "a control starts at its argument's default"
    t.value, kind.value = 5, "cosine"
    assert drawn[-2:] == [(5, "linear"), (5, "cosine")]


def test_a_drag_draws_once(monkeypatch):
    widget = shown_by(monkeypatch, lambda t=0: None, t=(0, 9))
    assert widget.children[0].continuous_update is False


def test_a_control_without_its_argument_is_named():
    def draw(t=0):
        pass

    with pytest.raises(ValueError, match="draw takes t; no argument seed"):
        sliders(draw, t=(0, 9), seed=(0, 3))


def test_without_ipywidgets_it_says_so_and_goes_on(monkeypatch):
    def draw(t=0):
        pass

    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with capture_output() as said:
        sliders(draw, t=(0, 9))
    assert "draw(t)" in said.stdout


# In the notebooks -----------------------------------------------------------------------------------


def slider_cells(number):
    cells = [c for c in read_notebook(COURSE.complete_path(name_of(number))).cells if c.cell_type == "code"]
    return cells, [i for i, cell in enumerate(cells) if "\nsliders(" in f"\n{cell.source}"]


@each_notebook
def test_each_has_sliders_and_a_static_picture_of_the_same_before_them(number):
    cells, at = slider_cells(number)
    assert at, "no cell calls sliders(...)"
    for i in at:
        assert is_picture_near(cells, i), f"no picture in the two cells before {cells[i].source}"


def is_picture_near(cells, i):
    return any(is_picture(output) for cell in cells[max(0, i - 2) : i] for output in cell.outputs)


# In JupyterLab --------------------------------------------------------------------------------------

HANDLES = ".jp-OutputArea .widget-slider .noUi-handle, .jp-OutputArea .widget-hslider .noUi-handle"
LABEL = "(handle) => handle.closest('.widget-inline-hbox').innerText.split('\\n')[0]"
PICTURE = """(handle) => {
  const area = handle.closest('.jp-OutputArea'), image = area.querySelector('.jp-OutputArea img');
  return image ? image.src.length + ':' + image.src.slice(-4000) : '';
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab over fresh copies of the notebooks, in smoke mode unless the environment says else."""
    folder, scratch = COURSE.root / "out" / "browser", tmp_path_factory.mktemp("lab")
    folder.mkdir(parents=True, exist_ok=True)
    for number in WITH_SLIDERS:
        notebook = read_notebook(COURSE.complete_path(name_of(number)))
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        (folder / f"{name_of(number)}.ipynb").write_text(notebook_text(notebook), encoding="utf-8")
    mode = os.environ.get("NOISE_TO_DIGITS_MODE", "smoke")
    environment = {"NOISE_TO_DIGITS_MODE": mode, "NOISE_TO_DIGITS_OUT": str(scratch / "out")}
    with lab_page.server(folder, scratch / "log", **environment) as address:
        yield address, folder, 600 if mode == "read" else 240


@browser.needs_browser
@each_notebook
def test_moved_by_keyboard_the_picture_changes_in_time(number, lab, tmp_path):
    address, folder, seconds = lab
    with browser.page(tmp_path, 1400, 1000) as page:
        lab_page.run_all(page, address, f"{name_of(number)}.ipynb", seconds)
        handles = page.locator(HANDLES)
        assert handles.count(), "no slider in the page"
        took = {}
        for i in range(handles.count()):
            handle = handles.nth(i)
            handle.scroll_into_view_if_needed()
            label = f"{i}: " + handle.evaluate(
                "(h) => h.closest('.widget-inline-hbox').innerText.split('\\n')[0]"
            )
            took[label] = move(page, handle)
        page.screenshot(path=folder / f"{number}.png")
        (folder / f"{number}.json").write_text(json.dumps(took, indent=1))
        late = {label: s for label, s in took.items() if s > SECONDS * SLACK}
        assert not late, f"answers took longer than {SECONDS} s (times {SLACK} for a busy machine): {late}"
        assert not page.errors, page.errors


def move(page, handle, wait: float = 6) -> float:
    """Press an arrow key on a slider; seconds until the picture below it is another one."""
    low, value, high = (float(handle.get_attribute(f"aria-value{part}")) for part in ("min", "now", "max"))
    key = "ArrowLeft" if value >= high else "ArrowRight"
    before = handle.evaluate(PICTURE)
    assert before, "no picture below the slider"
    handle.focus()
    for _ in range(3):  # a step may leave the picture as it is: then one more
        start = time.monotonic()
        handle.press(key)
        while time.monotonic() < start + wait:
            if (now := handle.evaluate(PICTURE)) and now != before:
                return round(time.monotonic() - start, 2)
            page.wait_for_timeout(40)
    raise AssertionError(f"three times {key} and the same picture (from {low:g} to {high:g}, at {value:g})")
