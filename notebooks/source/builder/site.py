"""The course as a site: one page a notebook, built by Sphinx from saved notebooks and never executed.

write_site fills a folder with a source tree for Sphinx (templates/site has its settings and its look), lets
Sphinx make pages of it, and puts decks and downloads beside them. All links are relative, so that the site
works at any address and from the file system.

A comment in a markdown cell, <!--live:points {"data": "moons"}-->, becomes the place of a demo: a
<div class="live" data-live="points" data-data="moons">, which a script of notebooks/live finds.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
import webbrowser
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from . import pageparts, teachpages
from .assets import fetch_assets
from .course import (
    TEMPLATES,
    BuildError,
    Course,
    make_folder,
    natural,
    notebook_text,
    read_notebook,
    read_text,
    write_text,
)
from .editions import notebook_of
from .links import BOOTSTRAP, Links, read_links
from .npm import RUNTIME, fetch_runtime
from .slides import DEBRIEFING, has_debriefing, write_deck
from .source import kind_of, tags

TEMPLATE = TEMPLATES / "site"
MATHJAX = "mathjax/tex-svg.js"  # below assets/ and below the site's _static/
# the demos: the scripts of notebooks/live that each needs, in this order
POINTS = ["sampling.js", "controls.js", "points_model.js", "points_weights.js", "points_view.js"]
SCRIPTS = {
    "points": [*POINTS, "points_train.js", "points_panel.js", "points_stage.js", "points.js"],
    "mistakes": [*POINTS, "mistakes.js"],
    "digits": ["sampling.js", "controls.js", "digits_draw.js", "digits_net.js", "digits.js"],
    "slider": ["slider.js"],
    "terms": ["terms.js"],
}
LIVE = re.compile(r"<!--\s*live:([a-z]+)\s*(\{.*?\})?\s*-->", re.DOTALL)
DATA_URI = re.compile(r'"data:image/(png|gif|webp|jpeg);base64,([\w+/=\s]+)"')
GIF = re.compile(r'<img [^>]*src="([^"]+\.gif)"[^>]*>')
ENLARGE = '<a class="enlarge" href="{place}" title="Show it large">'
SET_UP = "Show the set-up"
# what the link at the top of a page promises: its first demo, or else its first slider
PLAY = {
    "points": "points that walk home",
    "mistakes": "ten famous mistakes",
    "digits": "a network that draws digits",
    "slider": "pictures that a slider moves",
}
# by the kind of a task: the label of the fold with the course's answer, and of what the check says of it
SOLUTION = "Show the solution", "To the course's own solution the check says:"
ANSWERS = {
    "predict": ("Show what the course guessed", "To this guess the check says:"),
    "answer": ("Show the wrong line", "To this answer the check says:"),
}
PARTS = {  # of the navigation: caption -> the numbers of its notebooks
    "Start, and part one: the course": range(5),
    "Part two: faster, on request": range(5, 9),
    "Part three: flows and editing": range(9, 100),
}
FONT = "dist/theme/fonts/source-sans-pro"  # below assets/: the decks' typeface is the site's too
NOT_NEEDED = ("_static/**/*.map", "_static/scripts/fontawesome.js*", "_static/vendor", "_static/locales",
              "_static/**/*macros.html", "_static/images", "objects.inv", ".buildinfo*")  # fmt: skip


def write_site(course: Course, out: Path, executed=(), pip_args=(), say=print) -> list[str]:
    """Write the site of all notebooks to out/site, and out/index.html, which leads there.

    executed: the names of notebooks to be read from `out`; the others are the saved ones of the repository.
    Returns what Sphinx warns of. Raises BuildError where Sphinx stops, or no notebook is saved.
    """
    make_folder(out)
    notebooks = _read_notebooks(course, out, executed, say)
    with tempfile.TemporaryDirectory(dir=out, prefix=".site-", ignore_cleanup_errors=True) as work:
        source, built = Path(work) / "source", Path(work) / "built"
        assets = _fetch(out / "assets", pip_args, say)
        write_source(course, notebooks, source, assets, out / "assets" / "ort", say)
        with _sphinx(source, built) as sphinx:  # it makes the pages while we make the decks
            _write_decks(course, notebooks, Path(work) / "slides", assets, say)
            warnings = _ended(sphinx, source)
        (Path(work) / "slides").rename(built / "slides")
        for pattern in NOT_NEEDED:
            for path in built.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if (out / "site").exists():
            (out / "site").rename(Path(work) / "old")
        built.rename(out / "site")
    write_text(out / "index.html", read_text(TEMPLATE / "forward.html"))
    return warnings


def _read_notebooks(course: Course, out: Path, executed, say) -> dict:
    """Name -> notebook, as it was executed into `out` or saved in the repository."""
    found = {}
    for name in [path.stem for path in course.source_paths()]:
        if not re.fullmatch(r"[\w-]+", name):
            raise BuildError(f"{name[:60]!r} cannot be the name of a page: use letters, digits, _ and -")
        saved = read_notebook(out / f"{name}.ipynb" if name in executed else course.complete_path(name))
        if saved is None:
            say(f"{name}: not saved yet, so the site has no page of it; run `make execute`")
        else:
            found[name] = saved
    if not found:
        raise BuildError(f"no notebook is saved in {course.complete}; run `make execute`")
    return found


def _fetch(folder: Path, pip_args, say) -> Path | None:
    """The folder with MathJax and reveal.js; None where pip cannot get them."""
    try:
        fetch_assets(folder, pip_args)
    except BuildError as err:
        say(str(err).splitlines()[0])
        say("MathJax could not be fetched: the pages will take it from the web when they are read")
        return None
    return folder


def _sphinx(source: Path, built: Path) -> subprocess.Popen:
    """Sphinx at work on the pages."""
    words = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-E", "-d", str(source.parent / "trees")]
    pipe = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "encoding": "utf-8", "errors": "replace"}
    return subprocess.Popen([*words, str(source), str(built)], **pipe)


def _ended(sphinx: subprocess.Popen, source: Path) -> list[str]:
    """What Sphinx warned of, once it has ended. Raises BuildError where it stopped."""
    said = [line.replace(str(source), "").strip() for line in sphinx.communicate()[1].splitlines()]
    if sphinx.returncode:
        raise BuildError("Sphinx stopped, so the site is as it was before:\n" + "\n".join(said)[-1500:])
    return [line for line in said if line]


class _Handler(SimpleHTTPRequestHandler):
    """Files as they are now, with the types that browsers insist on, and no word about each."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".webp": "image/webp",
    }

    def end_headers(self):
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *words):
        pass


def serve(folder: Path, port: int, say=print, show=webbrowser.open) -> None:
    """Serve a folder to this machine until Ctrl-C, and show it in a browser.

    port: the first to try, of twenty; 0: any. Raises BuildError where all are taken.
    """
    for number in range(port, port + 20):
        try:
            server = ThreadingHTTPServer(("127.0.0.1", number), partial(_Handler, directory=folder))
            break
        except OSError:
            continue
    else:
        raise BuildError(f"ports {port} to {port + 19} are taken: name another, open --port 9000")
    with server:
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        say(f"the site is at {address} (Ctrl-C ends it)")
        show(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("")


# The source tree ------------------------------------------------------------------------------------------


def write_source(
    course: Course, notebooks, folder: Path, assets: Path | None, runtime: Path, say=print
) -> None:
    """Write what Sphinx needs to `folder`: pages, pictures, downloads, scripts; site.json for its conf.py.

    assets: the folder of MathJax and the typeface, or None; runtime: the one for onnxruntime-web.
    """
    shutil.copytree(TEMPLATE, folder)
    links, live = read_links(course), course.complete / "live"
    pages = {name: page_notebook(course, links, name, each, folder) for name, each in notebooks.items()}
    for name, each in pages.items():
        write_text(folder / f"{name}.ipynb", notebook_text(each))
    texts = _markdown_pages(course, links, list(notebooks), folder / "extra")
    mounted = {name: _mounted("\n".join(cell.source for cell in each.cells)) for name, each in pages.items()}
    texts["index.md"] = landing(course, read_text(folder / "index.md"), list(notebooks), texts)
    for file, text in texts.items():
        text = mount(text)
        write_text(folder / file, text)
        mounted[file.removesuffix(".md")] = _mounted(text)
    if live.is_dir():
        shutil.copytree(live, folder / "_static" / "live")
    if assets:
        (folder / "_static" / MATHJAX).parent.mkdir(parents=True)
        shutil.copy(assets / MATHJAX, folder / "_static" / MATHJAX)
        shutil.copytree(
            assets / FONT, folder / "_static" / "fonts", ignore=shutil.ignore_patterns("*.eot", "*.ttf")
        )
    if (live / "digits.onnx").exists():
        _add_runtime(runtime, folder, say)
    there = {demo: [name for name in SCRIPTS[demo] if (live / name).exists()] for demo in SCRIPTS}
    scripts = {
        page: list(dict.fromkeys(s for d in demos for s in there[d])) for page, demos in mounted.items()
    }
    styles = sorted(path.name for path in live.glob("*.css"))
    settings = {"offline": bool(assets), "mathjax": MATHJAX, "scripts": scripts, "styles": styles}
    write_text(folder / "site.json", json.dumps(settings, indent=1))


def _add_runtime(runtime: Path, folder: Path, say) -> None:
    """Put onnxruntime-web where digits.js looks for it; without npm the demo shows its film."""
    if reason := fetch_runtime(runtime):
        say(f"{reason}: the digits demo of the site shows its recorded film")
        return
    (folder / "_static" / "ort").mkdir(parents=True)
    for file in RUNTIME.files.values():
        shutil.copy(runtime / file, folder / "_static" / "ort" / file)


def mount(text: str) -> str:
    """`text` with an element for every demo that a comment asks for."""

    def element(found) -> str:
        name, options = found[1], found[2]
        if name not in SCRIPTS:
            raise BuildError(f"{found[0]}: there is no demo {name!r}, only {', '.join(SCRIPTS)}")
        try:
            options = json.loads(options or "{}")
        except ValueError as err:
            raise BuildError(f"{found[0]}: its options are no JSON object ({err})") from err
        words = "".join(f' data-{html.escape(k)}="{html.escape(str(v))}"' for k, v in options.items())
        needs = "<noscript>This demo needs JavaScript.</noscript>"
        return f'\n\n<div class="live" data-live="{name}"{words}>{needs}</div>\n\n'

    return LIVE.sub(element, text)


def _mounted(text: str) -> list[str]:
    """The demos that a page mounts, and "terms" where it explains a word."""
    found = re.findall(r'data-live="([a-z]+)"', text)
    return [name for name in SCRIPTS if name in found or name == "terms" and 'class="term"' in text]


# Notebooks ------------------------------------------------------------------------------------------------


def page_notebook(course: Course, links: Links, name: str, notebook, folder: Path):
    """The notebook as its page shows it: pictures as files of folder/extra, folded code, links on top."""
    student = read_notebook(course.student_path(name))
    stubs = {cell.id: cell.source for cell in student.cells if cell.cell_type == "code"} if student else {}
    cells = []
    for cell in pageparts.transform(notebook.cells, name, course):
        task = "exercise" in cell.metadata or "of" in cell.metadata
        if task and stubs.get(cell.id, cell.source) != cell.source:
            cells += _page_task(cell, stubs[cell.id], name, folder)
        else:
            cells.append(_page_cell(cell, name, folder))
    cells = _one_set_up(cells)
    bar = _link_bar(course, links, name, folder, play=_play(cells))
    cells[0].source = _with_links(cells[0].source, bar)
    return notebook_of(cells)


def _one_set_up(cells: list) -> list:
    """The cells, with set-up cells that follow each other in one fold."""
    found = []
    for cell in cells:
        before = found[-1] if found else None
        if before and _is_set_up(before) and _is_set_up(cell) and not before.outputs:
            cell.source = f"{before.source}\n\n{cell.source}"
            found.pop()
        found.append(cell)
    return found


def _is_set_up(cell) -> bool:
    return cell.metadata.get("mystnb") == _prompts(SET_UP)


def _play(cells: list) -> str:
    """The link to what moves on a page, which gets the address #play; "" where nothing does."""
    first = {}
    for cell in cells:
        for demo in re.findall(r'<div class="live" data-live="([a-z]+)"', cell.source):
            first.setdefault(demo, cell)
    demo = next((demo for demo in first if demo != "slider"), next(iter(first), None))
    if demo is None:
        return ""
    place = f'class="live" data-live="{demo}"'
    first[demo].source = first[demo].source.replace(f"<div {place}", f'<div id="play" {place}', 1)
    return f'<a class="play" href="#play">Play with it: {PLAY[demo]}</a>'


def _page_cell(cell, name: str, folder: Path):
    if cell.cell_type != "code":
        text = re.sub(r"<!--r:.*?-->|<!--/-->", "", cell.source)
        # exercises keep their address when their title changes
        text = re.sub(r"(?m)^(#{2,4} Exercise (\d+)\.(\d+)\b)", r"(exercise-\2-\3)=\n\1", text)
        text = re.sub(r"(?m)^(?=- \(a\) )", "\n{.options}\n", text)  # a list that needs no bullets
        return new_markdown_cell(mount(text), id=cell.id)
    outputs = [_page_output(output, name, folder) for output in cell.outputs]
    if BOOTSTRAP in tags(cell) or "setup" in tags(cell):
        folded = SET_UP
    elif "exercise" in cell.metadata and kind_of(cell) == "write":
        folded, _ = SOLUTION
    else:
        folded = "Show the code" if cell.metadata.get("jupyter", {}).get("source_hidden") else ""
    about = {"tags": ["hide-input"], "mystnb": _prompts(folded)} if folded else {}
    return new_code_cell(cell.source, id=cell.id, metadata=about, outputs=outputs, execution_count=None)


def _page_task(cell, stub: str, name: str, folder: Path) -> list:
    """A task as the reader has it, and in a closed fold what the course wrote there and what check said."""
    closed, said = ANSWERS.get(kind_of(cell), SOLUTION)
    heard = new_output("display_data", {"text/html": f'<p class="check-about">{said}</p>'})
    outputs = [_page_output(output, name, folder) for output in cell.outputs]
    about = {"tags": ["hide-cell"], "mystnb": _prompts(closed)}
    return [
        new_code_cell(stub, id=f"{cell.id[:58]}-stub", metadata={}, outputs=[], execution_count=None),
        new_code_cell(
            cell.source,
            id=cell.id,
            metadata=about,
            outputs=[heard, *outputs] if outputs else [],
            execution_count=None,
        ),
    ]


def _prompts(closed: str) -> dict:
    return {"code_prompt_show": closed, "code_prompt_hide": closed.replace("Show", "Hide")}


def _page_output(output, name: str, folder: Path):
    """An output with its pictures as files: Sphinx itself would drop their alt texts and widths."""
    data = output.get("data", {})
    if "image/png" in data:
        about = output.get("metadata", {}).get("image/png", {})
        sizes = "".join(f' {side}="{about[side]}"' for side in ("width", "height") if about.get(side))
        place = _keep_picture(base64.b64decode(data["image/png"]), "png", name, folder)
        alt = html.escape(about.get("alt", ""))
        shown = f'<img alt="{alt}" src="{place}"{sizes} loading="lazy" decoding="async">'
        shown = f"{ENLARGE.format(place=place)}{shown}</a>"
        return new_output("display_data", {"text/html": shown})
    if "text/html" in data:

        def filed(found) -> str:
            return f'"{_keep_picture(base64.b64decode(found[2]), found[1], name, folder)}" loading="lazy"'

        shown = DATA_URI.sub(filed, data["text/html"])
        shown = GIF.sub(lambda image: f"{ENLARGE.format(place=image[1])}{image[0]}</a>", shown)
        return new_output("display_data", {"text/html": shown})
    return output


def _keep_picture(content: bytes, kind: str, name: str, folder: Path) -> str:
    """Write a picture below folder/extra, which Sphinx copies; returns its address for the page."""
    place = f"pictures/{name[:2]}/{hashlib.sha256(content).hexdigest()[:12]}.{kind}"
    path = folder / "extra" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return place


def _with_links(text: str, bar: str) -> str:
    """The opening cell with the bar of links below its title, in place of the line of badges."""
    text = re.sub(r"(?m)^\[Open in Colab\]\(.*$\n?", "", text)
    title, _, rest = text.partition("\n")
    return f"{title}\n\n{bar}\n\n{rest.strip()}"


def _link_bar(course: Course, links: Links, name: str, folder: Path, play: str = "") -> str:
    """A button to run the notebook, a link to its demo, and a fold with all else: links, and files copied
    below folder/extra."""
    student = course.student_path(name)
    path = student.relative_to(course.root).as_posix()
    more = [("Open in Binder", links.binder(path), "")]
    about = {"student": "to fill in", "complete": "with solutions"}
    for edition, source in (("student", student), ("complete", course.complete_path(name))):
        if source.exists():
            target = folder / "extra" / "notebooks" / edition / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
            words = f"Download the {edition} edition, {about[edition]}"
            more.append((words, f"notebooks/{edition}/{source.name}", " download"))
    more += [(words, f"slides/{file}", "") for words, file in _decks(course, name)]
    shown = "".join(f'<li><a href="{html.escape(url)}"{extra}>{words}</a></li>' for words, url, extra in more)
    colab = f'<a class="start" href="{html.escape(links.colab(path))}">Open in Colab</a>'
    fold = f"<details><summary>Download and more</summary><ul>{shown}</ul></details>"
    return f'<nav class="page-links" aria-label="This notebook elsewhere">{colab}{fold}{play}</nav>'


# The other pages ------------------------------------------------------------------------------------------


def _markdown_pages(course: Course, links: Links, names: list[str], extra: Path) -> dict[str, str]:
    """File name -> text of the pages that are no notebooks; what they show or offer goes below `extra`."""
    found = {}
    for path, page in teachpages.pages(course).items():
        text = teachpages.text_of(course, path, names, extra)
        found[f"{page}.md"] = relink(teachpages.with_files(text, course, path, extra), course, links, path)
    return found | pageparts.extra_pages(course)


def relink(text: str, course: Course, links: Links, path: Path) -> str:
    """A page of the repository: its links lead to pages of the site, or else to the repository's address."""
    text = re.sub(r"<!--(?!live:).*?-->", "", text, flags=re.DOTALL)
    pages = {file.resolve(): page for file, page in teachpages.pages(course).items()}

    def one(found) -> str:
        target, _, anchor = found[1].partition("#")
        file = (path.parent / target).resolve()
        if file in pages:
            return f"](./{pages[file]}.md{'#' + anchor if anchor else ''})"
        if file.suffix == ".ipynb" and course.complete_path(file.stem).exists():
            return f"](./{file.stem}.ipynb)"
        inside = file.relative_to(course.root.resolve()).as_posix()
        return f"](https://github.com/{links.repository}/blob/{links.version}/{inside})"

    return re.sub(r"\]\((?!https?:|#|mailto:)([^)\s]+)\)", one, text)


def landing(course: Course, text: str, names: list[str], others) -> str:
    """The first page: `text` with the cards of the notebooks, and all pages for the navigation."""
    rows = way(course)
    cards = "\n".join(
        _card(name, *rows.get(name[:2], (name[3:].replace("_", " "), "", ""))) for name in names
    )
    teaching = [file for file in others if file.startswith("teaching")]
    quizzes = [file for file in others if file.startswith("quiz_")]  # each stands below its notebook's page
    lists = [
        *((part, [name for name in names if int(name[:2]) in own]) for part, own in PARTS.items()),
        ("To look up", sorted((f for f in others if f not in teaching + quizzes), key=natural)),
        ("Teaching", teaching),
    ]
    trees = "".join(_toctree(caption, files) for caption, files in lists if files)
    # a page that is not there is only named
    text = re.sub(r"\[([^]]+)\]\((\w+\.md)\)", lambda link: link[0 if link[2] in others else 1], text)
    return text.replace("<!--cards-->", cards).replace("<!--trees-->", trees)


def _card(name: str, title: str, ends_with: str, minutes: str) -> str:
    time = f'<span class="minutes">{minutes}</span>' if minutes else ""
    head = f'<span class="number">{name[:2]}</span><strong>{html.escape(title)}</strong>'
    return f'<li><a href="{name}.html">{head}{time}<span>{ends_with}</span></a></li>'


def _toctree(caption: str, files: list[str]) -> str:
    return "\n```{toctree}\n:hidden:\n:caption: " + caption + "\n\n" + "\n".join(files) + "\n```\n"


def way(course: Course) -> dict[str, tuple[str, str, str]]:
    """Number -> (title, what you end up with, minutes) from the table of README.md; {} without one."""
    path = course.root / "README.md"
    row = r"(?m)^\| (\d\d) \| \[([^]]+)\]\([^)]*\) \| ([^|]+?) \| ([^|]+?) \|"
    found = re.findall(row, read_text(path)) if path.exists() else []
    return {n: (title, re.sub(r"`(.+?)`", r"<code>\1</code>", end), time) for n, title, end, time in found}


# Decks ----------------------------------------------------------------------------------------------------


def _decks(course: Course, name: str) -> list[tuple[str, str]]:
    """The decks of a notebook: what their links say, and their files in the site's folder slides/."""
    found = [("Slides", f"{name[:2]}.html")]
    if has_debriefing(course, name):
        found.append(("Slides of the debriefing", f"{name[:2]}_{DEBRIEFING}.html"))
    return found


def _write_decks(course: Course, notebooks, folder: Path, assets: Path | None, say) -> None:
    """Write the decks to folder/NN.html (a debriefing's beside it); a page says so where there is none."""
    folder.mkdir()
    if assets:
        shutil.copytree(assets, folder / "assets", ignore=shutil.ignore_patterns("ort", "axe"))
    for name in notebooks:
        reason = "" if assets else "reveal.js could not be fetched"
        try:
            if assets:
                for stem in write_deck(course, name, folder, draft=True, say=lambda text: None):
                    (folder / f"{stem}.html").rename(folder / f"{name[:2]}{stem.removeprefix(name)}.html")
        except BuildError as err:
            reason = str(err).splitlines()[0]
        if reason:
            say(f"{name}: no deck in the site ({reason})")
            text = read_text(TEMPLATE / "no_deck.html").replace("REASON", html.escape(reason))
            for _, file in _decks(course, name):
                write_text(folder / file, text)
