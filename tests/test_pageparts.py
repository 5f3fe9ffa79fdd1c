"""What the site adds to the notebooks: words explained, the page of references, the index of exercises."""

import html
import json
import re

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell

import browser
from builder import pageparts
from builder.course import read_notebook
from builder.pageparts import HERE
from builder.teaching import MINUTES

MEANINGS = {"sampler": "a rule", "noise level": "how many steps", "DDIM": "a family", "judge": "a classifier"}
MEANINGS |= {"clamp": "cut off", "clip": "cut off", "bound": "a quantity"}


def marked(*texts) -> list[str]:
    """The words that are explained in cells with these texts, in order."""
    cells = pageparts.with_terms([new_markdown_cell(text) for text in texts], MEANINGS)
    return re.findall(r'<span class="term"[^>]*>(.*?)</span>', "\n".join(cell.source for cell in cells))


# Words ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A sampler walks. The sampler stops.", ["sampler"]),
        ("Samplers at noise levels", ["Samplers", "noise levels"]),
        ("**DDIM** is a *sampler*.", ["DDIM", "sampler"]),
        ("# A sampler\ntext", []),
        ("### Which `x` has a sampler?\n\nA sampler.", ["sampler"]),
        ("`sampler`, ``a sampler`` and\n```\nsampler\n```\n", []),
        ("$sampler$ and $$\nsampler\n$$", []),
        ("[the sampler](02.ipynb), https://a.b/sampler", []),
        ('<a href="x">sampler</a> <img alt="a sampler">', []),
        ("<details><summary>The sampler</summary>\n\nA sampler.\n\n</details>", ["sampler"]),
        ("<!--r:sampler.x|d-->3<!--/-->", []),
        ("resampler, sampler-free, samplers", ["samplers"]),
        ("ddim, DDIMs", []),
        ("Judge the samples. The judge says so.", ["judge"]),
        ("It has no bound. A bound on the likelihood.", ["bound"]),
        ("Clamp it, or clip it.", ["Clamp"]),
        ("### Glossary\n\n| sampler | a rule | 02 |\n\n### Next\n\na sampler", ["sampler"]),
        ("### References\n\n- Ho, *A sampler*", []),
    ],
)
def test_where_a_word_is_explained(text, words):
    assert marked(text) == words


def test_each_word_once_a_page():
    assert marked("a sampler", "a sampler, DDIM", "DDIM") == ["sampler", "DDIM"]


def test_a_definition_is_plain_text_in_an_attribute():
    cell = pageparts.with_terms([new_markdown_cell("a thing")], {"thing": 'so "called" <b>'})[0]
    assert (
        'data-definition="so &quot;called&quot; &lt;b&gt;"' in cell.source and 'tabindex="0"' in cell.source
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("the estimate of $x_0$ at $-1$", "the estimate of x₀ at −1"),
        (r"$\bar\alpha_t/(1-\bar\alpha_t)$", "α̅ₜ/(1−α̅ₜ)".replace("\u0305", "\u0304")),
        (r"where $x_{t-1}$ was, *again*", "where xₜ₋₁ was, again"),
    ],
)
def test_small_formulas_as_plain_text(text, said):
    assert pageparts.plain(text) == said


def test_the_glossary_of_the_course_is_read_whole_and_used():
    meanings = pageparts.glossary(HERE)
    assert len(meanings) > 35 and "U-Net" in meanings and "ELBO" in meanings
    assert not [text for text in meanings.values() if re.search(r"[$\\`*|]", text)]
    used = set()
    for path in HERE.source_paths():
        cells = read_notebook(HERE.complete_path(path.stem)).cells
        text = "\n".join(cell.source for cell in pageparts.transform(cells, path.stem))
        used |= {html.unescape(said) for said in re.findall(r'data-definition="([^"]*)"', text)}
    unused = {word for word, said in meanings.items() if said not in used}
    assert len(unused) <= 3, f"no page explains {sorted(unused)}"


def test_the_cells_given_stay_as_they_are(tmp_path):
    cells = [new_markdown_cell("A sampler."), new_code_cell("from a import b\n\nsliders(draw, t=(0, 9))")]
    before = json.dumps(cells)
    found = pageparts.transform(cells, "01_toy")
    assert json.dumps(cells) == before and len(found) == 3
    assert len({cell.id for cell in found}) == 3 and found[2].cell_type == "markdown"


# References -----------------------------------------------------------------------------------------

HO = "[arXiv:2006.11239](https://arxiv.org/abs/2006.11239)"


class Toy:
    """A course of which only the saved notebooks are asked for: name -> text of its last cell."""

    def __init__(self, monkeypatch, **texts):
        saved = [(name, [new_markdown_cell(text)]) for name, text in texts.items()]
        monkeypatch.setattr(pageparts, "_saved", lambda course: iter(saved))


def test_a_work_stands_once_with_all_that_cite_it(monkeypatch):
    first = f"### References\n\n- J. Ho et al., *Denoising*, NeurIPS 2020, {HO}: eq. 4.\n- Zoe 1999, *Last*."
    second = f"### References\n\n- [3] Ho et al. 2020, {HO}: section 2. Zoe 1999, *Last* (the end)."
    works = pageparts.references(Toy(monkeypatch, n01=first, n02=second))
    assert [work.said for work in works] == [
        f"J. Ho et al., *Denoising*, NeurIPS 2020, {HO}",
        "Zoe 1999, *Last*",
    ]
    assert works[0].cited == {"n01": ["eq. 4"], "n02": ["section 2"]}
    assert works[1].cited == {"n01": [], "n02": ["the end"]}


def test_the_page_of_references_has_every_link_of_the_notebooks():
    page, wanted = pageparts.references_page(HERE), set()
    for path in HERE.source_paths():
        for cell in read_notebook(HERE.complete_path(path.stem)).cells:
            if cell.cell_type == "markdown" and "### References" in cell.source:
                wanted |= {
                    f"]({url})" for url in re.findall(r"\]\((http[^)]+)\)", cell.source.split("### Ref")[1])
                }
    assert len(wanted) > 40
    assert not [url for url in wanted if page.count(url) != 1]
    entries = re.findall(r"(?m)^- .*$", page)
    assert all("Cited in <a href=" in entry for entry in entries)
    assert not [entry for entry in entries if entry.count("(") != entry.count(")")]


# Exercises ------------------------------------------------------------------------------------------


def test_every_task_is_in_the_index_with_its_kind_and_minutes():
    page, count = pageparts.exercises_page(HERE), 0
    for path in HERE.source_paths():
        cells = read_notebook(HERE.complete_path(path.stem)).cells
        for number in [cell.metadata["exercise"] for cell in cells if "exercise" in cell.metadata]:
            link = f'<a href="{path.stem}.html#exercise-{number.replace(".", "-")}">{number} '
            row = next((line for line in page.splitlines() if link in line), None)
            assert row, f"{number} is missing"
            text = next(cell.source for cell in cells if cell.metadata.get("exercise_text") == number)
            assert f"| {MINUTES.search(text)[1]} |" in row
            count += 1
    assert page.count("| <a href=") == count and f"{count} tasks" in page
    assert all(f"| {kind} |" in page for kind in pageparts.KINDS.values())


# In a browser ---------------------------------------------------------------------------------------

DEFINITION = "a rule for the way from noise to data"


@pytest.fixture
def shown(tmp_path):
    """The address of a page, on the file system, in which one word is explained."""
    live = HERE.complete / "live"
    text = pageparts.with_terms([new_markdown_cell("First a sampler, then more.")], {"sampler": DEFINITION})
    head = '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    style = f"<title>toy</title><style>{(live / 'terms.css').read_text(encoding='utf-8')}</style>"
    script = f"<script>{(live / 'terms.js').read_text(encoding='utf-8')}</script>"
    page = tmp_path / "page.html"
    page.write_text(f"{head}{style}<body><p id=p>{text[0].source}</p>{script}</body>", encoding="utf-8")
    return page.as_uri()


@browser.needs_browser
def test_a_word_shows_its_definition_on_hover_focus_and_tap(shown, tmp_path):
    with browser.page(tmp_path / "profile", 390, 844) as page:
        page.goto(shown)
        tip, word = page.get_by_role("tooltip"), page.locator(".term")
        assert tip.count() == 0
        word.hover()
        assert tip.inner_text() == DEFINITION and word.get_attribute("aria-describedby") == "term-tip"
        box = tip.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
        page.mouse.move(200, 600)
        assert not tip.is_visible()
        page.keyboard.press("Tab")
        assert tip.is_visible()
        page.keyboard.press("Escape")
        assert not tip.is_visible() and word.get_attribute("aria-describedby") is None
        page.evaluate("document.activeElement.blur()")
        tap(page, word.bounding_box())
        assert tip.is_visible()
        tap(page, {"x": 200, "y": 600, "width": 0, "height": 0})
        assert not tip.is_visible()
        assert not page.errors, page.errors


def tap(page, box: dict) -> None:
    """Touch the middle of a box with a finger, as a phone reports it."""
    touch = page.context.new_cdp_session(page)
    touch.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(200)
