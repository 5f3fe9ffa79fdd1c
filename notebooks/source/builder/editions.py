"""Source -> complete edition and student edition.

Both are a function of the source and, for outputs and expected pictures, of the complete notebook saved
before. Building twice gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections import defaultdict

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

from .course import (
    TEMPLATES,
    BuildError,
    Course,
    natural,
    notebook_text,
    read_json,
    read_notebook,
    write_text,
)
from .links import BOOTSTRAP, Links, read_links
from .source import answers, exercises, kind_of, problems, read_source, tags

PNG = "data:image/png;base64,"
RECORD = "noise_to_digits"  # the key of what we record in a notebook's metadata
LANGUAGE = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
HUNT_SEED = 1  # of the hunts in the grading edition: student and grader meet the same wrong line
FOLDED = {"jupyter": {"source_hidden": True}, "cellView": "form"}  # JupyterLab's word and Colab's
PICTURE_WIDTH, PICTURE_COLOURS = 480, 96  # of an expected picture in the student edition


# Both editions ------------------------------------------------------------------------------------


def cell_ids(cells) -> list[str]:
    """An id for each cell: the heading it stands under and its place there, so an edit moves few of them."""
    ids, heading, place = [], "start", 0
    used = defaultdict(int)
    for cell in cells:
        found = re.search(r"(?m)^#{1,4} +(.+)$", cell.source) if cell.cell_type == "markdown" else None
        if found:
            slug = re.sub(r"[^a-z0-9]+", "-", found[1].lower()).strip("-")[:40].strip("-") or "section"
            used[slug] += 1
            heading, place = slug if used[slug] == 1 else f"{slug}-{used[slug]}", 0
        number, hunt = cell.metadata.get("exercise"), cell.metadata.get("of")
        if number is None and hunt is None:
            ids.append(f"{heading}.{place}".replace(".", "-"))
            place += 1
        else:
            ids.append(f"exercise-{number or hunt}{'' if number else '-answer'}".replace(".", "-"))
    repeated = {i for i in ids if ids.count(i) > 1}
    if repeated:
        raise BuildError(f"two cells would get the id {', '.join(sorted(repeated))}: rename a heading")
    return ids


def notebook_of(cells, record: dict | None = None):
    """A notebook with the fixed metadata of this course; `record`: its edition, what made its outputs."""
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": dict(LANGUAGE),
    }
    if record:
        metadata[RECORD] = record
    return new_notebook(cells=cells, metadata=metadata)


def _metadata(cell, **more) -> dict:
    """A copy of a cell's metadata; code that is not for reading is folded in JupyterLab and on Colab."""
    folded = FOLDED if {"hide-input", "setup"} & set(tags(cell)) else {}
    return json.loads(json.dumps({**cell.metadata, **folded, **more}))


def open_with(built: list, links: Links, path: str | None, execution_count=None, student=False) -> None:
    """Put the links under the title of a notebook that will stand at `path`, and the first cell behind it.

    path: None for a notebook that will not stand in the repository; it gets no links.
    """
    if path is not None:
        built[0].source += f"\n\n{links.line(path)}"
    metadata = {"slideshow": {"slide_type": "skip"}, "tags": [BOOTSTRAP, "hide-input"], **FOLDED}
    code = links.bootstrap(student)
    cell = new_code_cell(code, id=BOOTSTRAP, metadata=metadata, execution_count=execution_count)
    built.insert(1, cell)


def edition_of(opening) -> dict:
    """What a notebook's metadata say of the edition it belongs to; nothing where it has no first cell."""
    return {"edition": opening[0].edition} if opening else {}


# The complete edition -----------------------------------------------------------------------------


def complete_edition(cells, saved=None, opening=None):
    """The complete edition, with the outputs of `saved` under every code cell that has not changed since.

    opening: (Links, path of the notebook in the repository) of the first cell; None leaves it out.
    """
    parsed, kept, count = exercises(cells), defaultdict(list), None
    for cell in saved.cells if saved else []:
        if BOOTSTRAP in tags(cell):
            count = cell.execution_count  # its code changes with the repository; it shows nothing
        elif cell.cell_type == "code":
            kept[cell.source].append(cell)
    built = []
    for cell, cell_id in zip(cells, cell_ids(cells), strict=True):
        if cell.cell_type != "code":
            built.append(new_markdown_cell(cell.source, id=cell_id, metadata=_metadata(cell)))
            continue
        number = cell.metadata.get("exercise")
        code = parsed[number].complete if number else cell.source
        old = kept[code].pop(0) if kept[code] else None
        outputs = {"outputs": old.outputs, "execution_count": old.execution_count} if old else {}
        built.append(new_code_cell(code, id=cell_id, metadata=_metadata(cell), **outputs))
    if opening:
        open_with(built, *opening, count)
    record = saved.metadata.get(RECORD, {}) if saved else {}
    return notebook_of(built, record | edition_of(opening))


# The student edition ------------------------------------------------------------------------------


def student_edition(cells, complete, previous=None, grading=False, opening=None):
    """The student edition: stubs, folded solutions, folded expected pictures, no outputs.

    A prediction and the answer of a hunt have no folded solution: one is measured below, the other is drawn.

    opening: as for the complete edition.
    grading: make the source for nbgrader instead. What is to be written has its solution between the markers,
    from where `nbgrader generate_assignment` takes it out, and a test cell with a point stands behind it.
    complete: the complete edition built from the same cells; its saved pictures are the expected ones.
    previous: the student notebook as it stands; a picture made from the same original is taken from there,
    because two machines may compress one picture to different bytes.
    """
    parsed, found, built = exercises(cells), answers(cells), []
    shrunk = _pictures_of(previous)
    expected = {}
    for cell in complete.cells:
        if "expected" in cell.metadata:
            expected[cell.metadata["expected"]] = saved_picture(cell.outputs)
    for cell, cell_id in zip(cells, cell_ids(cells), strict=True):
        if cell.cell_type != "code":
            built.append(new_markdown_cell(cell.source, id=cell_id, metadata=_metadata(cell)))
            continue
        number, hunt = cell.metadata.get("exercise"), cell.metadata.get("of")
        kind = kind_of(cell)
        if hunt is None and (number is None or kind == "hunt"):
            code = _seeded(number, cell.source) if grading and kind == "hunt" else cell.source
            built.append(new_code_cell(code, id=cell_id, metadata=_metadata(cell)))
            continue
        shown = parsed[number] if number else found[hunt]
        if grading and kind == "write":
            built += _graded(cell, cell_id, number)
        else:  # nbgrader would empty a solution cell without markers: no metadata of its own here
            metadata = _metadata(cell) if grading else _metadata(cell, nbgrader=nbgrader(cell_id))
            built.append(new_code_cell(shown.student, id=cell_id, metadata=metadata))
        if kind in ("write", "break") and not grading:
            solution = f"```python\n{parsed[number].solution}\n```"
            built.append(_folded("Solution", solution, f"{cell_id}-solution"))
        if expected.get(number):
            built.append(_expected_cell(f"{cell_id}-expected", expected[number], shrunk))
    if opening:
        open_with(built, *opening, student=True)
    return notebook_of(built, edition_of(opening))


def nbgrader(grade_id: str, points: int | None = None) -> dict:
    """The metadata of an nbgrader solution cell; with `points`, of a locked test cell."""
    test = points is not None
    kind = {"grade": test, "locked": test, "solution": not test, "task": False, "schema_version": 3}
    return {"grade_id": grade_id, **kind, **({"points": points} if test else {})}


def _graded(cell, cell_id: str, number: str) -> list:
    """The two cells of what is to be written, for nbgrader: with the marked solution, and its test."""
    metadata = _metadata(cell, nbgrader=nbgrader(cell_id))
    written = new_code_cell(cell.source, id=cell_id, metadata=metadata)
    test = f'assert check.verdicts["{number}"].state == "right", (  # else the mistake, by its name\n'
    test += f'    check.verdicts["{number}"].mistake or check.verdicts["{number}"].state)'
    # raises-exception: a Run All goes on behind it
    metadata = {"slideshow": {"slide_type": "skip"}, "tags": ["raises-exception"]}
    metadata["nbgrader"] = nbgrader(f"{cell_id}-test", points=1)
    return [written, new_code_cell(test, id=f"{cell_id}-test", metadata=metadata)]


def _seeded(number: str, code: str) -> str:
    """A hunt's cell with a seed in it."""
    return code.replace(f'check.hunt("{number}")', f'check.hunt("{number}", seed={HUNT_SEED})')


def _folded(title: str, text: str, cell_id: str, more: dict | None = None):
    source = f"<details>\n<summary>{title}</summary>\n\n{text}\n\n</details>"
    metadata = {"slideshow": {"slide_type": "skip"}, "tags": [title.lower().replace(" ", "-")]}
    return new_markdown_cell(source, id=cell_id, metadata={**metadata, **(more or {})})


def saved_picture(outputs) -> tuple[bytes, str] | None:
    """The first PNG among a cell's outputs with its alt text: as image/png or inside an HTML output."""
    for output in outputs:
        data = output.get("data", {})
        if "image/png" in data:
            return base64.b64decode(data["image/png"]), alt_text(output)
        found = re.search(r'src="data:image/png;base64,([^"]+)"', data.get("text/html", ""))
        if found:
            return base64.b64decode(found[1]), alt_text(output)
    return None


def alt_text(output) -> str:
    """The alt text of an output with a picture; "" where there is none."""
    metadata = output.get("metadata", {})
    for mime in ("image/png", "image/gif", "image/svg+xml"):
        if metadata.get(mime, {}).get("alt"):
            return metadata[mime]["alt"]
    found = re.search(r'<img\b[^>]*?\balt="([^"]*)"', output.get("data", {}).get("text/html", ""))
    return metadata.get("alt") or (found[1] if found else "")


def _expected_cell(cell_id: str, picture: tuple[bytes, str], shrunk: dict):
    png, alt = picture
    original = hashlib.sha256(png).hexdigest()[:16]
    small = shrunk.get(original) or base64.b64encode(_shrink(png)).decode()
    alt = re.sub(r"[\[\]\\\s]+", " ", alt).strip()
    # inside the text: Colab does not show what is attached to a cell (googlecolab/colabtools#3836)
    picture = f"![{alt}]({PNG}{small})"
    return _folded("Expected picture", picture, cell_id, {"expected_from": original})


def _pictures_of(notebook) -> dict[str, str]:
    """The expected pictures in a student notebook by the hash of what each was made from."""
    cells = [c for c in (notebook.cells if notebook else []) if "expected_from" in c.metadata]
    found = {c.metadata["expected_from"]: re.search(rf"\({re.escape(PNG)}([^)]+)\)", c.source) for c in cells}
    return {original: picture[1] for original, picture in found.items() if picture}


def _shrink(png: bytes) -> bytes:
    """A picture at most PICTURE_WIDTH wide in PICTURE_COLOURS colours, as PNG."""
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.width > PICTURE_WIDTH:
        height = round(image.height * PICTURE_WIDTH / image.width)
        image = image.resize((PICTURE_WIDTH, height), Image.Resampling.LANCZOS)
    image = image.quantize(PICTURE_COLOURS, dither=Image.Dither.NONE, kmeans=2)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


# Building -----------------------------------------------------------------------------------------


def editions(course: Course, name: str, draft=False, say=print) -> tuple[str, str]:
    """The texts of both editions of notebook `name` as they should stand in the tree.

    Raises BuildError with every broken rule; with `draft` they are only said.
    """
    cells = read_source(course.sources / f"{name}.py")
    broken = problems(course, name, cells)
    if broken:
        report = f"{name}: {len(broken)} to put right\n" + "\n".join(f"  - {text}" for text in broken)
        if not draft:
            raise BuildError(report)
        say(report)
    links, page, copy = read_links(course), course.complete_path(name), course.student_path(name)
    opened, opened_student = ((links, path.relative_to(course.root).as_posix()) for path in (page, copy))
    complete = complete_edition(cells, read_notebook(page), opened)
    student = student_edition(cells, complete, read_notebook(copy), opening=opened_student)
    return notebook_text(complete), notebook_text(student)


def write_editions(course: Course, only: str | None = None, draft=False, say=print) -> list[str]:
    """Write both editions of every notebook (or one) and the stubs; returns the files that changed."""
    changed, built, broken = [], [], []
    for path in course.source_paths(only):
        try:
            complete, student = editions(course, path.stem, draft, say)
        except BuildError as err:
            broken.append(str(err))
            continue
        built.append(path)
        targets = {course.complete_path(path.stem): complete, course.student_path(path.stem): student}
        for target, text in targets.items():
            if write_text(target, text):
                changed.append(str(target.relative_to(course.root)))
    try:
        if write_text(course.stubs, stubs_text(course, built if only or broken else None)):
            changed.append(str(course.stubs.relative_to(course.root)))
    except BuildError as err:
        broken.append(str(err))
    if broken:
        raise BuildError("\n".join(broken))
    return changed


def write_grading_editions(course: Course, into, only: str | None = None, say=print) -> None:
    """Write what nbgrader's course folder begins with to `into`: source/NAME/NAME.ipynb, and its settings.

    These notebooks hold the references; `nbgrader generate_assignment` makes from them what students get.
    """
    links = read_links(course)
    for path in course.source_paths(only):
        cells = read_source(path)
        complete = complete_edition(cells, read_notebook(course.complete_path(path.stem)))
        previous = read_notebook(course.student_path(path.stem))
        graded = student_edition(cells, complete, previous, grading=True, opening=(links, None))
        target = into / "source" / path.stem / f"{path.stem}.ipynb"
        write_text(target, notebook_text(graded))
        say(f"{target}")
    settings = (TEMPLATES / "nbgrader_config.txt").read_text(encoding="utf-8")
    if write_text(into / "nbgrader_config.py", settings):
        say(f"{into / 'nbgrader_config.py'}")


def stubs_text(course: Course, paths=None) -> str:
    """helpers/exercises/stubs.json: what a student's cell says before anything is filled in, by exercise id.

    With `paths`, some of the sources, the entries of all other notebooks stay as they stand in the file.
    """
    stubs = {}
    if paths is not None:
        numbers = {str(int(path.name[:2])) for path in paths}
        stubs = {k: v for k, v in read_json(course.stubs).items() if k.partition(".")[0] not in numbers}
    for path in course.source_paths() if paths is None else paths:
        cells = read_source(path)
        parts = exercises(cells) | answers(cells)
        stubs |= {part.id: part.stub for part in parts.values()}
    return json.dumps(dict(sorted(stubs.items(), key=lambda item: natural(item[0]))), indent=1) + "\n"
