"""The site: built once from the saved notebooks, then read as a visitor does, on a desktop and on a phone."""

import base64
import hashlib
import io
import json
import os
import re
import tarfile
import threading
import urllib.request
from collections import defaultdict
from contextlib import contextmanager
from functools import cache, partial
from html.parser import HTMLParser
from http.server import ThreadingHTTPServer
from pathlib import Path
from statistics import median
from urllib.parse import unquote, urlsplit

import psutil
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from PIL import Image

import browser
import toy_course
from builder import assets, npm, site, teachpages
from builder.course import BuildError, Course, read_notebook
from builder.editions import notebook_of, write_editions
from builder.links import Links, read_links
from builder.source import kind_of
from builder.teaching import Place

ROOT = Path(__file__).parent.parent
COURSE = Course(ROOT)
NAMES = [path.stem for path in COURSE.source_paths()]
TEACHING = list(teachpages.pages(COURSE).values())
PAGES = ["index", *NAMES, "exercises", "references", *TEACHING, "search"]
SHOTS = ROOT / "out" / "browser" / "site"  # a picture of every page, which CI keeps
SECONDS = 60  # of one core: to build the site
LANDING, NOTEBOOK = (
    1.5e6,
    3e6,
)  # bytes: the first page before a demo is started; what a notebook's page brings
AXE = npm.Package(
    "axe-core@4.14.1",
    "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745",
    {"package/axe.min.js": "axe.min.js"},
)


# Without a site -------------------------------------------------------------------------------------------


def test_a_comment_becomes_the_place_of_a_demo():
    text = 'Before.\n\n<!--live:points {"data": "moons", "steps": 15, "word": "a\\"b<"}-->\n\nBehind.'
    found = site.mount(text)
    assert '<div class="live" data-live="points" data-data="moons" data-steps="15"' in found
    assert 'data-word="a&quot;b&lt;"' in found and found.index("Before") < found.index("<div")
    assert site.mount("<!-- live:mistakes -->").count('data-live="mistakes"') == 1
    assert site.mount("<!--r:a.b-->5<!--/--> <!--other-->") == "<!--r:a.b-->5<!--/--> <!--other-->"


@pytest.mark.parametrize("text, said", [
    ("<!--live:pionts-->", "there is no demo 'pionts'"),
    ('<!--live:points {"data": moons}-->', "no JSON object"),
])  # fmt: skip
def test_a_wrong_comment_stops_the_build(text, said):
    with pytest.raises(BuildError, match=said):
        site.mount(text)


def test_every_script_of_the_demos_is_loaded_where_it_is_needed():
    """The head of a main script may name those before it; digits_net.js starts digits_worker.js."""
    folder = COURSE.complete / "live"
    named = {name for names in site.SCRIPTS.values() for name in names}
    assert {path.name for path in folder.glob("*.js")} - {"digits_worker.js"} == named
    for demo, names in site.SCRIPTS.items():
        assert names[-1] == f"{demo}.js"
        head = (folder / names[-1]).read_text(encoding="utf-8").partition("\n(function")[0]
        if "Scripts before this one" in head:
            wanted = re.findall(r"\w+\.js", head.partition("Scripts before this one")[2])
            assert sorted(wanted) == sorted(names[:-1]), demo


@pytest.mark.parametrize("name", ["01_<script>alert(1)", '01_"onload=alert(1)', "01_a b"])
def test_an_odd_name_is_no_page(tmp_path, name):
    course = toy_course.make(tmp_path / "course")
    (course.sources / f"{toy_course.NAME}.py").rename(course.sources / f"{name}.py")
    with pytest.raises(BuildError, match="cannot be the name of a page"):
        site.write_site(course, tmp_path / "out", say=lambda text: None)
    assert not (tmp_path / "out" / "site").exists()


def test_nothing_saved_is_named(tmp_path):
    with pytest.raises(BuildError, match="no notebook is saved"):
        course = toy_course.make(tmp_path / "course")
        site.write_site(course, tmp_path / "out", say=lambda text: None)


def test_the_bar_of_a_page_leads_to_the_repository_of_a_fork(tmp_path):
    notebook = notebook_of([new_markdown_cell("# 01 A\n\nText.\n\n[Open in Colab](x) · [Open in Binder](y)")])
    links = Links("ada/fork", "v9", "2")
    made = site.page_notebook(COURSE, links, NAMES[1], notebook, tmp_path).cells[0].source
    assert "[Open in Colab]" not in made and made.startswith("# 01 A\n") and made.endswith("Text.")
    assert f'"{links.colab(f"notebooks/student/{NAMES[1]}.ipynb")}"' in made
    assert "mybinder.org/v2/gh/ada/fork/v9" in made and "noise-to-digits/blob" not in made


def test_other_pages_lead_to_the_site_or_to_the_repository():
    links = Links("ada/fork", "v9", "2")
    text = f"[a](TEACHING.md#x) [b](../data/README.md) [c]({NAMES[2]}.ipynb) [d](#y) [e](https://f.g/h)"
    assert site.relink(text + "<!--r:a-->1<!--/-->", COURSE, links, COURSE.complete / "HELP.md") == (
        "[a](./teaching.md#x) [b](https://github.com/ada/fork/blob/v9/data/README.md) "
        f"[c](./{NAMES[2]}.ipynb) [d](#y) [e](https://f.g/h)1"
    )


def test_the_room_for_teachers_has_a_page_for_each_of_its_files():
    course_pages = {"plans", "projects", "rubrics", "grading", *(name[:2] for name in NAMES)}
    quizzes = {f"quiz_{name[:2]}" for name in NAMES}
    assert set(TEACHING) >= {"teaching", "help"} | {f"teaching_{stem}" for stem in course_pages} | quizzes


def test_a_slide_that_a_table_names_is_linked_and_files_for_moodle_are_copied(tmp_path, monkeypatch):
    course = toy_course.make(tmp_path / "course")
    there = {"1.1": Place(3, "A", "slides/01.html#/2"), "1.2": Place(1, "B", "slides/01_debriefing.html#/0")}
    monkeypatch.setattr(teachpages, "slides_of", lambda course, number: there if number == "01" else {})
    course.teaching.mkdir()
    (course.teaching / "01.md").write_text(
        "# Teaching 01: A toy\n\nOn slide 3 | slide 3 |\n\n<!--mistakes:01-->\n"
        "| 1.1 `a` | b | slide 3 |\n| 1.2 `c` | d | debriefing, slide 1 |\n<!--/mistakes-->\n\n"
        "[x](quiz_01.gift) ![A <b>](../../shot.png)\n"
    )
    (course.teaching / "quiz_01.md").write_text("# Quiz 01: A toy\n\nTo be written.\n")
    (course.teaching / "quiz_01.gift").write_text("1")
    (course.root / "shot.png").write_bytes(b"2")
    found = teachpages.pages(course)
    assert list(found.values()) == ["teaching_01"], "a quiz without questions has no page"
    path, extra = course.teaching / "01.md", tmp_path / "extra"
    text = teachpages.text_of(course, path, [toy_course.NAME], extra)
    text = teachpages.with_files(text, course, path, extra)
    assert 'href="slides/01.html#/2">slide 3</a> |' in text and "On slide 3 | slide 3 |" in text
    assert 'href="slides/01_debriefing.html#/0">debriefing, slide 1</a> |' in text
    assert '<a href="moodle/quiz_01.gift" download>x</a>' in text and "toctree" not in text
    assert '<img alt="A &lt;b&gt;" src="pictures/teaching/shot.png"' in text
    assert (extra / "moodle" / "quiz_01.gift").read_text() == "1"
    assert "<a href" not in teachpages.text_of(course, path, [], extra).partition("Quiz for Moodle")[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_quiz_folds_its_answers_and_comes_as_a_file(folder, name):
    text = (folder / f"quiz_{name[:2]}.html").read_text(encoding="utf-8")
    assert text.count("<details><summary>Answer</summary>") == 10
    outside = re.sub(r"(?s)<details>.*?</details>", "", text.partition("<article")[2])
    assert "Right. " not in outside and "[x]" not in text
    gift = COURSE.teaching / f"quiz_{name[:2]}.gift"
    assert (folder / "moodle" / gift.name).read_bytes() == gift.read_bytes()
    assert f'href="moodle/{gift.name}" download' in text


def test_pictures_become_files_with_their_words_and_sizes(tmp_path):
    png = io.BytesIO()
    Image.new("L", (4, 2)).save(png, "PNG")
    about = {"image/png": {"alt": 'A "grey" <b>', "width": 4, "height": 2}}
    data = {"image/png": base64.b64encode(png.getvalue()).decode(), "text/plain": "x"}
    cell = new_code_cell("x", outputs=[new_output("display_data", data, metadata=about)])
    shown = site._page_cell(cell, NAMES[1], tmp_path).outputs[0].data["text/html"]
    assert 'alt="A &quot;grey&quot; &lt;b&gt;"' in shown and 'width="4" height="2"' in shown
    (file,) = (tmp_path / "extra" / "pictures" / "01").iterdir()
    assert file.read_bytes() == png.getvalue() and f'src="pictures/01/{file.name}"' in shown


def test_a_gif_leads_to_itself_large_and_a_small_picture_in_a_verdict_does_not(tmp_path):
    images = "".join(f'<img alt="A &gt; b" src="data:image/{kind};base64,QUJD">' for kind in ("gif", "png"))
    cell = new_code_cell("x", outputs=[new_output("display_data", {"text/html": f"<p>{images}</p>"})])
    shown = site._page_cell(cell, NAMES[1], tmp_path).outputs[0].data["text/html"]
    (place,) = re.findall(r'<p><a class="enlarge" href="(pictures/01/\w+\.gif)" title=', shown)
    assert re.search(rf'"><img alt="A &gt; b" src="{place}"[^>]*></a><img [^>]*\.png"[^>]*></p>$', shown)
    assert (tmp_path / "extra" / place).read_bytes() == b"ABC"


def test_set_up_cells_that_follow_each_other_share_a_fold(tmp_path):
    folded = [new_code_cell(code, metadata={"tags": ["setup"]}) for code in ("a = 1", "b = 2")]
    open_one = new_code_cell("c = 3")
    cells = [site._page_cell(cell, NAMES[1], tmp_path) for cell in (*folded, open_one, folded[0])]
    assert [cell.source for cell in site._one_set_up(cells)] == ["a = 1\n\nb = 2", "c = 3", "a = 1"]


def test_a_page_leads_from_its_top_to_its_demo_or_else_to_its_first_slider():
    def cells(*demos):
        return [new_markdown_cell(f'Words.\n\n<div class="live" data-live="{demo}"></div>') for demo in demos]

    page = cells("slider", "points", "points")
    assert site._play(page) == '<a class="play" href="#play">Play with it: points that walk home</a>'
    assert ['id="play"' in cell.source for cell in page] == [False, True, False]
    assert "slider" in site._play(page := cells("slider")) and 'id="play"' in page[0].source
    assert site._play(cells()) == "" and set(site.PLAY) == set(site.SCRIPTS) - {"terms"}


SHOWN = [("", "the solution"), ("predict", "what the course guessed"), ("answer", "the wrong line")]


@pytest.mark.parametrize("kind, shown", SHOWN)
def test_a_task_shows_the_readers_stub_and_folds_the_courses_answer_with_its_verdict(tmp_path, kind, shown):
    verdict = new_output("display_data", {"text/html": "<b>right</b>"})
    cell = new_code_cell("f = 1", metadata={"exercise": "1.1", "kind": kind}, outputs=[verdict])
    stub, answer = site._page_task(cell, "f = ...", NAMES[1], tmp_path)
    assert (stub.source, stub.outputs, stub.metadata) == ("f = ...", [], {})
    assert answer.source == "f = 1" and answer.metadata["tags"] == ["hide-cell"]
    assert answer.metadata["mystnb"]["code_prompt_show"] == f"Show {shown}"
    assert "the check says" in answer.outputs[0].data["text/html"] and answer.outputs[1] == verdict


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_no_guess_and_no_verdict_of_a_task_lies_open(folder, name):
    """Between the stub and the end of the fold below it: every answer of the course is inside the fold."""
    text = (folder / f"{name}.html").read_text(encoding="utf-8")
    cells = read_notebook(COURSE.complete_path(name)).cells
    tasks = [cell for cell in cells if "of" in cell.metadata or "exercise" in cell.metadata]
    tasks = [cell for cell in tasks if kind_of(cell) != "hunt"]
    assert sum(text.count(f"Show {shown}") for _, shown in SHOWN) == len(tasks) > 0
    without = re.sub(r'(?s)<details class="admonition hide.*?</details>', "", text)
    assert "written down: " not in without and "found, line" not in without
    assert without.count("TODO") >= len(tasks)


def test_the_workflow_publishes_what_make_site_leaves():
    jobs = yaml.safe_load((ROOT / ".github/workflows/pages.yml").read_text(encoding="utf-8"))["jobs"]
    steps = jobs["publish"]["steps"]
    assert "make site" in [step.get("run") for step in steps]
    (upload,) = [step for step in steps if "upload-pages-artifact" in step.get("uses", "")]
    assert upload["with"]["path"] == "out/site"


def packed(folder: Path, content: bytes) -> bytes:
    """An archive as npm packs it, of one file."""
    path = folder / "made.tgz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("package/a.js")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return path.read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="a script for an npm")
@pytest.mark.parametrize("right", [True, False], ids=["as it should be", "changed"])
def test_what_npm_brings_is_checked_by_its_hash(tmp_path, monkeypatch, right):
    archive, bin_ = packed(tmp_path, b"wanted"), tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "npm").write_text(f'#!/bin/sh\ncp {tmp_path}/made.tgz "$6/x.tgz"\n')
    (bin_ / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    wanted = hashlib.sha256(archive if right else b"other").hexdigest()
    package = npm.Package("a@1", wanted, {"package/a.js": "a.js"})
    said = npm.fetch_package(package, tmp_path / "to")
    assert (said == "") == right and (tmp_path / "to" / "a.js").exists() == right
    assert right or "another SHA-256" in said


def test_without_npm_the_reason_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no npm" in npm.fetch_runtime(tmp_path / "to") and not (tmp_path / "to").exists()


def test_a_server_for_this_machine_alone_names_types_and_ends(tmp_path, monkeypatch):
    (tmp_path / "a.wasm").write_bytes(b"\0asm")
    (tmp_path / "a.mjs").write_text("1")
    servers, found = [], {}
    start = ThreadingHTTPServer.serve_forever
    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", lambda s: (servers.append(s), start(s)))

    def visit(address):
        def ask():
            for name in ("a.wasm", "a.mjs"):
                with urllib.request.urlopen(address + name) as answer:
                    found[name] = answer.headers["Content-Type"]
            servers[0].shutdown()

        assert address.startswith("http://127.0.0.1:")
        threading.Thread(target=ask).start()

    site.serve(tmp_path, 0, lambda text: None, visit)
    assert found == {"a.wasm": "application/wasm", "a.mjs": "text/javascript"}


@pytest.mark.slow
def test_without_pip_and_npm_there_is_a_site_and_formulas_come_from_the_web_guarded(tmp_path, monkeypatch):
    course, said = toy_course.make(tmp_path / "course"), []
    write_editions(course)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert site.write_site(course, tmp_path / "out", pip_args=["--no-index"], say=said.append) == []
    assert "MathJax could not be fetched: the pages will take it from the web when they are read" in said
    page = (tmp_path / "out" / "site" / f"{toy_course.NAME}.html").read_text(encoding="utf-8")
    (tag,) = re.findall(r"<script[^>]*mathjax[^>]*src=[^>]*>|<script[^>]*src=[^>]*mathjax[^>]*>", page)
    assert 'integrity="sha384-' in tag and 'crossorigin="anonymous"' in tag
    deck = (tmp_path / "out" / "site" / "slides" / "01.html").read_text(encoding="utf-8")
    assert "reveal.js could not be fetched" in deck
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"site", "index.html"}


# The site of this course ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder out/ of a build, its seconds of CPU, its warnings; what pip and npm bring stays in out/."""
    out, kept = tmp_path_factory.mktemp("built"), ROOT / "out" / "assets"
    try:
        assets.fetch_assets(kept)
    except BuildError as err:
        pytest.skip(str(err))
    (out / "assets").symlink_to(kept)
    before = sum(psutil.Process().cpu_times()[:4])  # of its children too
    warnings = site.write_site(COURSE, out, say=lambda text: None)
    used = sum(psutil.Process().cpu_times()[:4]) - before
    return out, used, warnings


@pytest.fixture(scope="module")
def folder(built):
    return built[0] / "site"


class Page(HTMLParser):
    """What a page names: its ids, where its links and sources lead, its pictures, its headings."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids, self.links, self.sources, self.images, self.counts = set(), [], [], [], defaultdict(int)
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.counts[tag] += 1
        self.ids |= {values[key] for key in ("id", "name") if values.get(key)}
        if tag in ("script", "img", "iframe", "source") and values.get("src"):
            self.sources.append(values["src"])
        if tag == "link" and values.get("href"):
            self.sources.append(values["href"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "img":
            self.images.append(values)


@cache
def read_page(path: Path) -> Page:
    return Page(path)


@pytest.mark.slow
def test_it_is_built_quickly_and_without_warnings(built):
    assert built[2] == []
    assert built[1] < SECONDS, f"{built[1]:.0f} s of CPU"


@pytest.mark.slow
def test_every_link_and_anchor_inside_resolves_and_nothing_is_loaded_from_elsewhere(folder):
    wrong, count = [], 0
    for path in sorted(folder.glob("*.html")):
        page = read_page(path)
        for address in [*page.links, *page.sources]:
            parts = urlsplit(address)
            if parts.scheme in ("http", "https", "mailto", "data"):
                if address in page.sources and parts.scheme != "data":
                    wrong.append(f"{path.name} loads {address}")
                continue
            count += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            if target.is_dir() or not target.is_relative_to(folder.resolve()) or not target.exists():
                wrong.append(f"{path.name}: {address} leads nowhere")
            elif parts.fragment.startswith("/"):  # a slide: each is a section in a section
                if int(parts.fragment[1:]) >= read_page(target).counts["section"] // 2:
                    wrong.append(f"{path.name}: {address} has no such slide")
            elif parts.fragment and target.suffix == ".html":
                if unquote(parts.fragment) not in read_page(target).ids | {"_"}:
                    wrong.append(f"{path.name}: {address} has no such place")
    assert not wrong, "\n".join(sorted(set(wrong)))
    assert count > 1000


@pytest.mark.slow
def test_one_page_to_open_and_a_page_for_each_notebook(folder):
    assert 'url=site/index.html"' in (folder.parent / "index.html").read_text(encoding="utf-8")
    assert {path.stem for path in folder.glob("*.html")} == set(PAGES)
    first = read_page(folder / "index.html")
    assert {f"{name}.html" for name in NAMES} <= set(first.links)
    links = read_links(COURSE)
    for name in NAMES:
        page, number = read_page(folder / f"{name}.html"), name[:2]
        student = f"notebooks/student/{name}.ipynb"
        wanted = {links.colab(student), links.binder(student), student, f"notebooks/complete/{name}.ipynb"}
        assert wanted | {f"slides/{number}.html"} <= set(page.links)
        assert (folder / "slides" / f"{number}.html").stat().st_size > 50_000, "a deck, not a word about it"
        saved = COURSE.complete_path(name).read_bytes()
        assert (folder / "notebooks" / "complete" / f"{name}.ipynb").read_bytes() == saved


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebooks_page_shows_what_is_saved(folder, name):
    notebook, page = read_notebook(COURSE.complete_path(name)), read_page(folder / f"{name}.html")
    html = (folder / f"{name}.html").read_text(encoding="utf-8")
    shown = [image for image in page.images if image["src"].startswith("pictures/")]
    saved = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    pngs = [output.metadata["image/png"] for output in saved if "image/png" in output.get("data", {})]
    gifs = sum(o.data["text/html"].count("data:image/gif") for o in saved if "text/html" in o.get("data", {}))
    assert len(shown) == len(pngs) + gifs and all(image["alt"].strip() for image in page.images)
    widths = [image["width"] for image in shown if image["src"].endswith(".png")]
    assert widths == [str(about["width"]) for about in pngs]
    for image in shown:
        if image["src"].endswith(".gif"):
            assert Image.open(folder / image["src"]).n_frames > 10
    hidden = [c for c in notebook.cells if c.metadata.get("jupyter", {}).get("source_hidden")]
    assert html.count("Show the set-up") == 1, "the two cells of the set-up share a fold"
    assert html.count("Show the code") + 2 == len(hidden) > 2
    answers = sum("</details>" in cell.source and cell.source.count("<details>") for cell in notebook.cells)
    assert page.counts["details"] >= answers + len(hidden)
    assert "data:image" not in html and "<!--live" not in html and "<!--r:" not in html
    heads = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    for number in re.findall(r"(?m)^### Exercise (\d+\.\d+)", "\n".join(heads)):
        assert f"exercise-{number.replace('.', '-')}" in page.ids


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_a_notebooks_page_brings_stays_small(folder, name):
    """Of its own: its words and all its pictures. Scripts, styles and MathJax come once for all pages."""
    page = read_page(folder / f"{name}.html")
    own = {source for source in page.sources if source.startswith(("pictures/", "_static/live/frames/"))}
    size = sum((folder / urlsplit(file).path).stat().st_size for file in own)
    size += (folder / f"{name}.html").stat().st_size
    assert size < NOTEBOOK, f"{size / 1e6:.2f} MB"


@pytest.mark.slow
def test_the_search_finds_a_word(folder):
    text = (folder / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(re.fullmatch(r"Search\.setIndex\((.*)\)\s*", text, re.DOTALL)[1])
    found = [part["posterior"] for part in (index["terms"], index["titleterms"]) if "posterior" in part]
    names = {index["docnames"][i] for each in found for i in (each if isinstance(each, list) else [each])}
    assert "02_denoising_points" in names


# In the browser -------------------------------------------------------------------------------------------


@contextmanager
def served(folder: Path):
    """The address of a server for a folder that lies below its root, as the pages of a repository do."""
    handler = partial(site._Handler, directory=folder.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/{folder.name}/"
        server.shutdown()


@pytest.fixture(scope="module")
def visitor(folder, tmp_path_factory):
    """visit(name, width, scheme, by_file) -> a page of one browser: its errors, its bytes, who was asked."""
    with served(folder) as address, browser.page(tmp_path_factory.mktemp("profile")) as first:
        opened = []

        def visit(name: str, width: int = 1280, scheme: str = "light", by_file: bool = False):
            while opened:
                opened.pop().close()
            page = first.context.new_page()
            opened.append(page)
            page.errors, page.asked, page.bytes = [], [], 0
            page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda error: page.errors.append(str(error)))
            page.on("request", lambda request: page.asked.append(request.url))
            page.on("requestfailed", lambda request: page.errors.append(f"not loaded: {request.url}"))
            page.on("response", lambda answer: count(page, answer))
            page.set_viewport_size({"width": width, "height": 800 if width > 600 else 844})
            page.emulate_media(color_scheme=scheme, reduced_motion="no-preference")
            page.goto(f"{folder.resolve().as_uri()}/{name}.html" if by_file else f"{address}{name}.html")
            page.wait_for_load_state("load")
            page.home = (address, "file:", "data:", "blob:")
            return page

        yield visit


def count(page, answer) -> None:
    page.bytes += int(answer.headers.get("content-length", 0))


# How far things reach beyond the window, of those that no box of their own scrolls
BEYOND = """() => {
  const wide = document.documentElement.scrollWidth;
  if (wide <= innerWidth) return [];
  const right = (el) => Math.round(el.getBoundingClientRect().right);
  const boxed = (el) => el && (getComputedStyle(el).overflowX !== 'visible' || boxed(el.parentElement));
  const beyond = [...document.querySelectorAll('main *')].filter((el) => right(el) > innerWidth + 1);
  const free = beyond.filter((el) => !boxed(el.parentElement)).slice(0, 5);
  return [`all: ${wide}`, ...free.map((el) => `${el.localName}.${el.className}: ${right(el)}`)];
}"""
TYPESET = "() => [...document.querySelectorAll('.math')].every((el) => el.querySelector('svg'))"


@browser.needs_browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_errors_asks_nobody_else_and_does_not_scroll_sideways(visitor, name, width):
    page = visitor(name, width)
    formulas = page.evaluate("() => document.querySelectorAll('.math').length")
    if formulas:
        page.wait_for_function(
            "() => [...document.querySelectorAll('.math')].every((e) => e.querySelector('svg'))"
        )
    assert page.evaluate(BEYOND) == []
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}-{width}.png")
    for box in page.query_selector_all("details:not([open])")[:40]:
        box.evaluate("el => { el.open = true; }")
    assert page.evaluate(BEYOND) == []
    assert not page.errors, page.errors
    assert not [url for url in page.asked if not url.startswith(page.home)]


@browser.needs_browser
@pytest.mark.parametrize("name", ["index", NAMES[1], "search"])
def test_a_page_lives_from_a_file_too(visitor, name):
    page = visitor(name, by_file=True)
    page.wait_for_timeout(500)
    assert not page.errors, page.errors
    assert not [url for url in page.asked if not url.startswith(("file:", "data:", "blob:"))]


@browser.needs_browser
def test_the_first_page_is_light_until_a_demo_is_started(visitor):
    page = visitor("index")
    page.wait_for_timeout(1500)
    assert 100_000 < page.bytes < LANDING, f"{page.bytes / 1e6:.2f} MB"


LINES = """() => [...document.querySelectorAll('article section > p')].map((p) => {
  const range = document.createRange();
  range.selectNodeContents(p);
  const lines = new Set([...range.getClientRects()].map((r) => Math.round(r.bottom / 12)));
  return [p.textContent.length, p.clientHeight / parseFloat(getComputedStyle(p).lineHeight)];
}).filter(([letters, lines]) => lines > 3.5).map(([letters, lines]) => letters / lines)"""


@browser.needs_browser
def test_a_line_has_60_to_80_letters(visitor):
    page = visitor("teaching")
    assert 60 <= median(page.evaluate(LINES)) <= 80


@browser.needs_browser
def test_on_a_phone_wide_formulas_and_code_scroll_in_their_own_boxes_by_keyboard_too(visitor):
    page = visitor(NAMES[1], 390)
    page.wait_for_function("() => document.querySelectorAll('mjx-container[tabindex]').length > 2")
    page.evaluate("() => document.querySelectorAll('details').forEach((el) => { el.open = true; })")
    for box in ("mjx-container[display][tabindex]", "div.highlight pre[tabindex]"):
        found = page.evaluate("""(box) => [...document.querySelectorAll(box)].filter((el) => el.offsetParent)
            .filter((el) => el.scrollWidth > el.clientWidth + 8).map((el) => [getComputedStyle(el).overflowX,
             el.getBoundingClientRect().right <= innerWidth])""", box)  # fmt: skip
        assert found and all(each == ["auto", True] for each in found), box
    page.locator("mjx-container[display][tabindex]").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.activeElement.scrollLeft > 0")


@browser.needs_browser
def test_the_first_page_says_what_it_is_and_shows_its_first_controls_at_once(visitor):
    page = visitor("index")
    page.wait_for_selector(".live-first")
    assert "A free course" in page.inner_text("p.lead")
    assert page.get_attribute("a.start", "href") == f"{NAMES[0]}.html"
    bottoms = page.evaluate("""() => ['a.start', '.live-first', '.live-bar', '.live-choice']
        .map((name) => document.querySelector(name).getBoundingClientRect().bottom)""")
    assert max(bottoms) <= 800, bottoms


@browser.needs_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_a_figure_opens_large_and_closes_by_escape(visitor, width):
    page = visitor(NAMES[2], width)
    link = page.locator("a.enlarge").nth(1)
    small = link.bounding_box()["width"]
    link.focus()
    page.keyboard.press("Enter")
    large = page.locator("dialog.large img")
    large.wait_for()
    assert large.bounding_box()["width"] > 1.3 * small
    assert page.evaluate("() => document.activeElement.textContent") == "Close"
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.querySelector('dialog.large')")
    assert page.evaluate("() => document.activeElement.className") == "enlarge"
    assert page.url.endswith(f"{NAMES[2]}.html")


@browser.needs_browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_gif_opens_large_on_the_colour_of_the_page(visitor, width, scheme):
    """The window around a large picture is as dark as the page; a figure keeps its white ground."""
    page = visitor(NAMES[0], width, scheme)
    link = page.locator("a.enlarge:has(img[src$='.gif'])").first
    link.scroll_into_view_if_needed()
    page.wait_for_function("(el) => el.naturalWidth > 0", arg=link.locator("img").element_handle())
    small = link.locator("img").bounding_box()["width"]
    link.click()
    large = page.locator("dialog.large img")
    large.wait_for()
    page.wait_for_function("() => document.querySelector('dialog.large img').naturalWidth > 0")
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"large-gif-{scheme}-{width}.png")
    box, colour = large.bounding_box(), "(el) => getComputedStyle(el).backgroundColor"
    assert box["width"] > (1.3 * small if width == 1280 else small - 1) and box["width"] <= width
    assert box["y"] >= 0 and box["y"] + box["height"] <= page.viewport_size["height"]
    ground = page.locator("dialog.large").evaluate(colour)
    assert ground == page.locator("body").evaluate(colour)
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    assert large.evaluate(colour) == "rgb(255, 255, 255)"


@browser.needs_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_bar_on_top_says_where_one_is_and_covers_no_target(visitor, width):
    page = visitor(NAMES[2], width)
    assert page.inner_text(".page-where") == ""
    page.evaluate("() => { location.hash = '#how-good-is-it'; }")
    page.wait_for_function("() => /8\\. How good/.test(document.querySelector('.page-where').textContent)")
    assert page.inner_text(".page-where") == "02 · 8. How good is it?"
    places = page.evaluate("""() => ['.bd-header-article', '#how-good-is-it h2', '.page-progress']
        .map((name) => document.querySelector(name).getBoundingClientRect())
        .map((box) => [box.top, box.bottom, box.width])""")
    assert places[0][1] <= places[1][0] and 0 < places[2][2] < 0.9 * width


@browser.needs_browser
def test_code_that_goes_on_to_the_right_says_so(visitor):
    page = visitor(NAMES[2])
    page.wait_for_function("() => document.querySelectorAll('.highlight.more > pre[tabindex]').length > 1")
    before = page.locator(".highlight.more").count()
    page.locator(".highlight.more > pre").first.evaluate("(el) => { el.scrollLeft = el.scrollWidth; }")
    page.wait_for_function(f"() => document.querySelectorAll('.highlight.more').length === {before - 1}")
    assert page.evaluate("() => document.querySelectorAll('ul.options > li').length") > 3


MIDDLES = """() => {
  const middle = (el) => { const box = el.getBoundingClientRect(); return (box.left + box.right) / 2; };
  const all = (kind) => [...document.querySelectorAll(`article section > ${kind}`)];
  const text = all('p').reduce((a, b) => a.clientWidth > b.clientWidth ? a : b);
  return all('div.math').filter((el) => el.clientWidth <= text.clientWidth)
    .map((el) => Math.abs(middle(el.querySelector('svg')) - middle(text)));
}"""


@browser.needs_browser
def test_formulas_stand_in_the_middle_of_the_text(visitor):
    page = visitor(NAMES[2], 1440)
    page.wait_for_function(TYPESET)
    found = page.evaluate(MIDDLES)
    assert len(found) > 5 and max(found) < 2, found


@browser.needs_browser
def test_on_a_phone_a_formula_that_goes_on_says_so_and_a_figure_can_be_enlarged(visitor):
    page = visitor(NAMES[2], 390)
    formula = page.locator("section > div.math > mjx-container.more[tabindex]").first
    formula.wait_for()
    assert "gradient" in formula.evaluate("(el) => getComputedStyle(el).maskImage")
    formula.evaluate("(el) => { el.scrollLeft = el.scrollWidth; el.id = 'seen'; }")
    page.wait_for_function("() => !document.getElementById('seen').classList.contains('more')")
    word = page.locator("a.enlarge").first.evaluate("(el) => getComputedStyle(el, '::after').content")
    assert word == '"Enlarge"'


@browser.needs_browser
def test_a_formula_in_a_line_is_no_stop_of_the_keyboard_unless_it_scrolls(visitor):
    page = visitor(NAMES[2])
    page.wait_for_function(TYPESET)
    page.wait_for_function("() => document.querySelector('.kept')")
    page.wait_for_timeout(200)
    assert page.locator("mjx-container[tabindex='0']:not([display])").count() == 0


@browser.needs_browser
def test_options_have_no_bullets_and_formulas_stay_where_they_belong(visitor):
    page = visitor(NAMES[3])
    page.wait_for_selector("ul.options mjx-container svg")
    styles = page.evaluate("""() => ['ul.options', 'ul.options mjx-container']
        .map((name) => getComputedStyle(document.querySelector(name)))
        .map((style) => [style.listStyleType, style.textIndent])""")
    assert styles[0][0] == "none" and styles[1][1] == "0px"
    page.wait_for_selector(".kept")
    kept = page.locator(".kept").all_text_contents()
    assert kept and all(re.search(r"[.,;:?!)]$", text.strip()) for text in kept)


@browser.needs_browser
def test_figures_lie_on_white_in_the_dark_and_folds_open_for_a_link(visitor):
    page = visitor(NAMES[1], scheme="dark")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    colour = "(el) => getComputedStyle(el).backgroundColor"
    assert page.locator(".cell_output img").first.evaluate(colour) == "rgb(255, 255, 255)"
    assert page.locator("body").evaluate(colour) == "rgb(16, 22, 28)"
    summary = page.locator("summary", has_text="Show the solution").first
    code = summary.locator("xpath=following-sibling::*").first
    assert not code.is_visible()
    summary.focus()
    page.keyboard.press("Enter")
    assert code.is_visible()


@browser.needs_browser
def test_the_look_is_chosen_by_keyboard_and_kept(visitor):
    page = visitor(NAMES[0])
    page.locator(".theme-switch-button").focus()
    page.keyboard.press("Enter")
    page.locator(".theme-change-button[data-mode=dark]").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    page.evaluate("() => localStorage.clear()")


@browser.needs_browser
@pytest.mark.parametrize("by_file", [False, True], ids=["served", "from a file"])
def test_the_search_page_lists_where_a_word_stands(visitor, by_file):
    page = visitor("search", by_file=by_file)
    page.goto(page.url + "?q=posterior")
    page.wait_for_selector("#search-results li a")
    assert any("02_denoising_points.html" in link.get_attribute("href")
               for link in page.query_selector_all("#search-results a"))  # fmt: skip
    page.wait_for_timeout(500)
    assert not page.errors, page.errors


@browser.needs_browser
def test_on_a_phone_the_pages_open_from_the_button_and_lead_on(visitor):
    page = visitor(NAMES[1], 390)
    page.locator("button.primary-toggle").click()
    link = page.locator("nav.bd-links a", has_text="02 Denoising points").first
    link.wait_for(state="visible")
    link.click()
    page.wait_for_url("**/02_denoising_points.html")
    page.locator(".prev-next-area a.right-next").click()
    page.wait_for_url(f"**/{NAMES[3]}.html")


@pytest.fixture(scope="module")
def axe():
    """The script of axe-core, kept in out/; without npm the tests are skipped."""
    if reason := npm.fetch_package(AXE, ROOT / "out" / "assets" / "axe"):
        pytest.skip(reason)
    return (ROOT / "out" / "assets" / "axe" / "axe.min.js").read_text(encoding="utf-8")


@browser.needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name, width", [("index", 1280), ("index", 390), (NAMES[1], 1280), (NAMES[0], 390)])
def test_axe_finds_nothing_serious(visitor, axe, name, width, scheme):
    page = visitor(name, width, scheme)
    page.wait_for_timeout(800)
    page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    told = [f"{each['id']}: {node['html'][:160]}" for each in serious for node in each["nodes"][:6]]
    assert not told, "\n".join(told)
