"""Slides: the blocks in the sources, the decks made of them, and what a browser shows at 1280 x 720."""

import re
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_output

import browser
import build
import deck_page
import toy_course
from builder import assets, site, slides
from builder.course import BuildError, Course
from builder.source import Slide, read_source, take_slides
from helpers import show

COURSE = Course(Path(__file__).resolve().parents[1])
NAMES = [path.stem for path in COURSE.source_paths()]
each_notebook = pytest.mark.parametrize("name", NAMES)

BLOCK = """\
<!--slide 4 min
## One <!--r:a.b|.0%-->94%<!--/--> step

- a point

Notes:
Ask: why? (Because.)
-->"""


# Blocks ---------------------------------------------------------------------------------------------


def test_a_block_is_taken_out_of_its_cell():
    text, found = take_slides(f"## A\n\nProse.\n\n{BLOCK}")
    assert text == "## A\n\nProse."
    shown = "## One <!--r:a.b|.0%-->94%<!--/--> step\n\n- a point"
    assert found == [Slide(4, shown, "Ask: why? (Because.)")]


def test_two_blocks_in_one_cell_are_two_slides():
    text, found = take_slides(f"Prose.\n\n{BLOCK}\n\n{BLOCK.replace('4 min', '2 min')}")
    assert text == "Prose." and [slide.minutes for slide in found] == [4, 2]


def test_a_block_without_text_leaves_it_to_its_cell():
    _, found = take_slides("## A\n\n<!--slide 3 min\nNotes:\nAsk: x? (y)\n-->")
    assert found == [Slide(3, "", "Ask: x? (y)")]


def test_a_word_behind_the_minutes_names_the_deck():
    _, found = take_slides("## A\n\n<!--slide 3 min debriefing\n## B\n\nNotes:\nAsk: x? (y)\n-->")
    assert found == [Slide(3, "## B", "Ask: x? (y)", "debriefing")]


def test_other_comments_stay():
    text = "94 <!--r:a.b|d-->94<!--/--> and <!-- slide 9 -->"
    assert take_slides(text) == (text, [])


# A made-up course -----------------------------------------------------------------------------------


SKIP, SLIDE = 'slideshow={"slide_type": "skip"}', 'slideshow={"slide_type": "slide"}'
FIGURE = 'tags=["slide-figure"] slideshow={"slide_type": "-"}'
OPTIONAL = '[markdown] tags=["optional"] '
MARKED = "Inside: <!--r:toy.board.inside|.0%-->94%<!--/-->.\n"


def slide(title, minutes=2, notes="Ask: what? (That.)", deck=""):
    text = f"## {title}\n\nWords on {title}.\n\nNotes:\n{notes}"
    lines = ["", f"<!--slide {minutes} min {deck}".rstrip(), *text.splitlines(), "-->"]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def lecture(count=12, **options):
    """The made-up source with `count` slides in its first cell and its picture on the last of them."""
    blocks = "".join(slide(f"Slide {i}", **options) for i in range(count))
    source = re.sub(r'"slide_type": "[\w-]+"', '"slide_type": "skip"', toy_course.SOURCE)
    source = source.replace(f"[markdown] {SKIP}", f"[markdown] {SLIDE}", 1)
    source = source.replace(MARKED, f"{MARKED}{blocks}")
    return source.replace(f'expected="1.1" {SKIP}', f'expected="1.1" {FIGURE}')


def executed(tmp_path, source):
    made = toy_course.make(tmp_path, source)
    build.execute(made, None, stale_only=False, draft=False)
    return made


@pytest.fixture
def course(tmp_path):
    return executed(tmp_path, lecture())


def deck(course):
    """The deck of the made-up notebook, which has only one."""
    found = slides.decks(course, toy_course.NAME)
    assert list(found) == [toy_course.NAME]
    return found[toy_course.NAME]


def test_a_deck_has_each_slide_with_its_notes_behind_it_and_the_figure(course):
    cells = deck(course).cells
    kinds = [cell.metadata.slideshow.slide_type for cell in cells]
    assert kinds == ["slide", "notes"] * 11 + ["slide", "-", "notes"]
    assert cells[1].source == "**2 min.**\n\n**Ask:** what? (That.)"
    figure = cells[-2]
    assert list(figure.outputs[0].data)[0] == "image/png" and figure.metadata.transient.remove_source


def test_a_page_shows_the_slides_and_takes_nothing_from_the_network(course, tmp_path):
    assert slides.write_deck(course, toy_course.NAME, tmp_path / "decks") == {toy_course.NAME: 12}
    page = (tmp_path / "decks" / f"{toy_course.NAME}.html").read_text()
    assert page.count('<aside class="notes">') == 12
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert 'alt="A grey stripe [brighter to the right]"' in page


def test_a_verdict_stays_in_the_notebook_where_a_table_stands_beside_it():
    table, verdict = (
        new_output("display_data", {"text/html": text, "text/plain": "."})
        for text in ("<table></table>", f'{slides.VERDICT}: 5px">right</div>')
    )
    about = {"slideshow": {"slide_type": "-"}, "tags": ["slide-output"]}
    for outputs, kept in (([table, verdict], [table]), ([verdict], [verdict])):
        assert slides._code(new_code_cell("1", outputs=outputs, metadata=about)).outputs == kept


def test_what_a_cell_prints_stays_in_the_notebook(tmp_path):
    course = executed(tmp_path, lecture().replace("show.stripe(", 'print("a line")\nshow.stripe('))
    assert "a line\\n" in course.complete_path(toy_course.NAME).read_text()
    (figure,) = [cell for cell in deck(course).cells if cell.cell_type == "code"]
    assert [list(output.data)[0] for output in figure.outputs] == ["image/png"]


def test_a_slide_is_no_place_for_a_cell_that_only_prints(tmp_path):
    source = lecture().replace('"slide-figure"', '"slide-output"')
    source = re.sub(r"(?m)^show\.stripe\(.*$", 'print("a line")', source)
    with pytest.raises(BuildError, match="only prints"):
        deck(executed(tmp_path, source))


def test_a_debriefing_is_a_deck_of_its_own_with_the_figures_below_its_slides(tmp_path):
    both = "".join(slide(f"Slide {i}", deck="debriefing" if i % 2 else "") for i in range(12))
    course = executed(tmp_path, lecture(count=0).replace(MARKED, f"{MARKED}{both}"))
    assert slides.has_debriefing(course, toy_course.NAME)
    first, second = slides.decks(course, toy_course.NAME).values()
    titles = [cell.source.split("\n")[0] for cell in second.cells if "Words" in cell.source]
    assert titles == [f"## Slide {i}" for i in (1, 3, 5, 7, 9, 11)]
    kinds = [[cell.cell_type for cell in one.cells] for one in (first, second)]
    assert "code" not in kinds[0] and kinds[1][-2:] == ["code", "markdown"]
    counts = {toy_course.NAME: 6, f"{toy_course.NAME}_debriefing": 6}
    assert slides.write_deck(course, toy_course.NAME, tmp_path / "decks") == counts


def test_the_site_has_a_place_for_both_decks_even_without_reveal_js(tmp_path):
    second = slide("Afterwards", deck="debriefing")
    course = toy_course.make(tmp_path, lecture().replace(MARKED, f"{MARKED}{second}"))
    bar = site._link_bar(course, site.read_links(course), toy_course.NAME, tmp_path / "page")
    site._write_decks(course, [toy_course.NAME], tmp_path / "slides", None, lambda text: None)
    written = {f"slides/{path.name}" for path in (tmp_path / "slides").iterdir()}
    assert (
        written
        == set(re.findall(r'href="(slides/[^"]+)"', bar))
        == {"slides/01.html", "slides/01_debriefing.html"}
    )


def test_neither_edition_shows_a_slide(course):
    for path in (course.complete_path(toy_course.NAME), course.student_path(toy_course.NAME)):
        text = path.read_text()
        assert "<!--slide" not in text and "Ask:" not in text


def test_a_slide_does_not_make_outputs_stale(course):
    path = course.sources / f"{toy_course.NAME}.py"
    path.write_text(lecture(count=13))
    assert build.reasons(course, toy_course.NAME)[1] == []


@pytest.mark.parametrize(
    "source, said",
    [
        (lecture(count=3), "there are 3 slides, 12 to 20 are wanted"),
        (lecture(count=21), "there are 21 slides"),
        (lecture(notes="Say it."), "no question for the room"),
        (lecture(minutes=0), "does not say how long"),
        (lecture().replace("# ## Slide 3", "# Slide 3"), "does not begin with a heading"),
        (lecture().replace("min\n# ## Slide 3", "min encore\n# ## Slide 3"), "its deck is 'encore'"),
        (lecture().replace("min\n# ## Slide 3", "min debriefing\n# ## Slide 3"), "1 slides in the deb"),
        (lecture().replace(OPTIONAL + SKIP, OPTIONAL + SLIDE), "has no <!--slide"),
        (lecture().replace('"slide-figure"', '"slide-figure", "slide-code"'), "more than one"),
        (lecture().replace('"slide_type": "-"', '"slide_type": "subslide"'), "code has"),
    ],
    ids=range(10),
)
def test_a_broken_rule_is_named(tmp_path, source, said):
    course = toy_course.make(tmp_path, source)
    with pytest.raises(BuildError, match=said):
        slides.decks(course, toy_course.NAME)


def test_a_slide_without_outputs_says_what_to_run(tmp_path):
    course = toy_course.make(tmp_path, lecture())
    with pytest.raises(BuildError, match="make execute"):
        slides.decks(course, toy_course.NAME)


# The course's own -----------------------------------------------------------------------------------


@each_notebook
def test_the_slides_keep_the_rules(name):
    cells = read_source(COURSE.sources / f"{name}.py")
    assert slides.problems(cells, slides.fewest(name)) == []


@each_notebook
def test_a_lecture_takes_between_a_quarter_of_an_hour_and_one_and_a_quarter(name):
    cells = read_source(COURSE.sources / f"{name}.py")
    assert 15 <= sum(slide.minutes for cell in cells for slide in cell.get("slides", [])) <= 75


# In the browser -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    """A folder with reveal.js and MathJax; kept in out/, so that only the first run needs pip's index."""
    folder = COURSE.root / "out" / "slides"
    try:
        assets.fetch_assets(folder / "assets")
    except BuildError as err:
        pytest.skip(str(err))
    return folder


BACK_ROW = 14  # pixels of a 1280 x 720 slide: the smallest letters of a figure
SMALLEST = min(size for name, size in show.SIZES.items() if name != "figure.dpi")  # points


def letters(figure, cell) -> float:
    """The height in pixels of the smallest letters that a figure of helpers/show.py has on its slide.

    figure: as deck.js measures it; cell: the one that draws it, which may set its own `fontsize=`.
    """
    points = min([SMALLEST, *map(float, re.findall(r"fontsize=(\d+)", cell.source))])
    return points / 72 * show.SIZES["figure.dpi"] * figure["scale"]


@browser.needs_browser
@each_notebook
def test_nothing_runs_off_a_slide_and_nothing_needs_the_network(name, decks, tmp_path):
    counts = slides.write_deck(COURSE, name, decks)
    wrong, asked = [], []
    for stem, notebook in slides.decks(COURSE, name).items():
        with browser.page(tmp_path) as page:
            page.on("request", lambda request: asked.append(request.url))
            shown = list(deck_page.slides(page, decks / f"{stem}.html"))
            page.screenshot(path=decks / f"{stem}.png")
        cells = {cell.id: cell for cell in notebook.cells}
        wrong += [f"{stem}, slide {each['number']}: {text}" for each in shown for text in faults(each, cells)]
        assert len(shown) == counts[stem]
        assert not page.errors, page.errors
    assert not wrong, "\n".join(wrong)
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]


def faults(slide, cells) -> list[str]:
    """What a room would complain about on a slide that deck_page.slides measured."""
    said = slide["beyond"] + [f"shows raw {text}" for text in slide["raw"]]
    said += [f"shows a printed line: {text[:60]}" for text in slide["printed"]]
    said += [] if "Ask:" in slide["notes"] else ["no speaker notes"]
    for figure in slide["figures"]:
        cell = cells[figure["cell"]]
        if figure["height"] < 90 or (figure["scale"] < 0.75 and not figure["gif"]):
            said.append(f"a figure is shown only {figure['height']:.0f} px high")
        if not figure["gif"] and "show." in cell.source and letters(figure, cell) < BACK_ROW:
            said.append(f"a figure has letters of {letters(figure, cell):.1f} px, {BACK_ROW} are wanted")
        said += [] if figure["alt"] else ["a figure without alt text"]
    return [f"({slide['title']}) {text}" for text in said]


@browser.needs_browser
def test_the_speaker_view_shows_notes_and_clock(decks, tmp_path):
    slides.write_deck(COURSE, NAMES[1], decks)
    with browser.page(tmp_path) as page:
        deck_page.open_deck(page, decks / f"{NAMES[1]}.html")
        with page.expect_popup() as opened:
            page.keyboard.press("s")
        speaker = opened.value
        speaker.wait_for_function("() => document.body.innerText.includes('Ask:')", timeout=15_000)


# Of every page: how far below it its lowest picture or text reaches
DEPTHS = """() => [...document.querySelectorAll('.pdf-page')].map((page) => {
  const box = page.getBoundingClientRect();
  const inside = [...page.querySelectorAll('section img, section p, section li, section pre')];
  const shown = inside.filter((el) => !el.closest('aside'));
  return Math.max(...shown.map((el) => el.getBoundingClientRect().bottom)) - box.bottom;
})"""


@browser.needs_browser
@pytest.mark.parametrize("name", [NAMES[1], NAMES[4]])
def test_printed_every_slide_is_whole_on_a_page_of_its_own(name, decks, tmp_path):
    count = slides.write_deck(COURSE, name, decks)[name]
    with browser.page(tmp_path) as page:
        page.goto((decks / f"{name}.html").resolve().as_uri() + "?print-pdf")
        page.wait_for_function(f"() => document.querySelectorAll('.pdf-page').length === {count}")
        page.evaluate("() => Promise.all([...document.images].map((image) => image.decode().catch(() => 0)))")
        depths = page.evaluate(DEPTHS)
    assert len(depths) == count and max(depths) <= 0
