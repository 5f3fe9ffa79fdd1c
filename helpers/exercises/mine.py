"""my-work/mine.py: the student's own parts, one after the other, in a file that runs without the course.

    my = mine.parts()            # my.UNet, my.walk, ..: the student's where right, else the reference
    mine.credit("draw_digits")   # drawn by your code: 11 of 12 parts; the reference stands in for 2.7.

`check` calls keep() when an answer is right. The file's text is mine_template.txt, where lines like
`# 1.5 q_sample (notebook 01)` mark the places of the parts; what stands between is given. The parts
themselves are kept in answers.json (answers.py), and the file is written anew from them.
"""

import ast
import hashlib
import linecache
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from .. import files
from . import answers, patches, sandbox
from .answers import folder, forget, note, noted, seed
from .part import Frame, Refused, free_names, meaning, names_of, needed_at_once, part_of, reached

__all__ = [
    "credit",
    "folder",
    "forget",
    "keep",
    "note",
    "noted",
    "parts",
    "references",
    "seed",
    "summary_lines",
]

FILE, TEMPLATE = "mine.py", Path(__file__).with_name("mine_template.txt")
MARK = re.compile(r"^# (?:(\d+\.\d+) (\w+) \(notebook \d\d\)|given\b.*)$", re.MULTILINE)
MY = "my = sys.modules[__name__]  # the notebooks' name for all that stands here"
SECONDS = 20  # for a run of the file


@dataclass(frozen=True)
class Piece:
    """A piece of the file: its mark, id and name (None: given, or the imports), its text below the mark."""

    mark: str
    id: str | None
    name: str | None
    text: str


def split(text: str) -> list[Piece]:
    """The pieces of a template, or of a mine.py."""
    marks = [*MARK.finditer(text)]
    starts = [m.start() for m in marks] + [len(text)]
    pieces = [Piece("", None, None, text[: starts[0]].strip())]
    for mark, end in zip(marks, starts[1:], strict=True):
        pieces.append(Piece(mark[0], mark[1], mark[2], text[mark.end() : end].strip()))
    return pieces


@cache
def template() -> list[Piece]:
    try:
        return split(TEMPLATE.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{TEMPLATE.name} cannot be read: {files.restore_hint(TEMPLATE)}") from error


@cache
def places() -> dict[str, str]:
    """{id: name} of the parts, in the order of the file."""
    return {piece.id: piece.name for piece in template() if piece.id}


@cache
def frame() -> Frame:
    head, *rest = template()
    imports = {name: ast.dump(node) for node in ast.parse(head.text).body for name in names_of(node)}
    nodes = [node for piece in rest if not piece.id for node in ast.parse(piece.text).body]
    given = {name: meaning(node) for node in nodes for name in names_of(node)}
    return Frame(imports, given, {name: id for id, name in places().items()})


# Keeping ------------------------------------------------------------------------------------------


def keep(id: str, function) -> str:
    """Take a right answer into mine.py; a sentence about it, or "". Never raises."""
    try:
        return _keep(id, function) if folder() else ""
    except Refused as why:
        return str(why)
    except OSError as error:
        return f"But {FILE} is as it was: {error}"
    except Exception as error:
        return f"But {FILE} could not take it ({type(error).__name__}: {error})."


def _keep(id, function):
    name = places().get(id)
    if name is None or sandbox.attempt(lambda: reference(id).name)[0] != name:
        return ""
    text, kept = part_of(function, name, frame()), read_parts()
    _compare_helpers(text, {i: other for i, other in kept.items() if i != id}, name)
    compile(assemble({**kept, id: text}), FILE, "exec", dont_inherit=True)
    note(id, part=text, state="right")
    new, said = kept.get(id) != text, write_file()
    said = [f"Kept in {FILE}."] * new + said
    if waits := waiting({**kept, id: text}).get(id):
        said = [f"{FILE} takes it once {waits} is right."]
    return " ".join(said)


def _compare_helpers(text, others, name):
    """Refuse a helper of a part that has the name of another one elsewhere in the file."""
    mine = _helpers(text, name)
    for id, other in others.items():
        theirs = _helpers(other, places()[id])
        for both in sorted(mine.keys() & theirs.keys()):
            if mine[both] != theirs[both]:
                raise Refused(f"But {id} has another `{both}` in {FILE}: give this one another name.")


def _helpers(text, name):
    nodes = [n for n in ast.parse(text).body if not isinstance(n, ast.Import | ast.ImportFrom)]
    return {made: meaning(node) for node in nodes for made in names_of(node) - {name}}


def read_parts() -> dict[str, str]:
    """The parts that are kept, {id: text}; where answers.json has none, those of the file as it stands."""
    table = answers.read()
    kept = {id: table.get(id, {}).get("part") for id in places()}
    kept = {id: text for id, text in kept.items() if isinstance(text, str)}
    if kept or folder() is None or not (found := _read_file()):
        return kept
    found = {p.id: p.text for p in split(found) if places().get(p.id) == p.name and _defines(p.text, p.name)}
    for id, text in found.items():
        note(id, part=text, state="right")
    return found


def _defines(text, name):
    tree, crash = sandbox.attempt(ast.parse, text)
    return bool(name) and not crash and any(name in names_of(node) for node in tree.body)


def _read_file():
    """The text of mine.py; "" where there is none, or none that can be read."""
    try:
        return (folder() / FILE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def write_file() -> list[str]:
    """Write mine.py anew from the parts; sentences. What was changed by hand is kept under another name."""
    path, text, said = folder() / FILE, assemble(read_parts()), []
    if os.path.lexists(path) and (old := _read_file()) != text:
        if _hash(old) != noted(FILE).get("sha256"):
            left = answers.set_aside(path)
            said = [f"{FILE} was not as it had been written: that version is now {left}."]
    files.write_bytes(path, text.encode())
    note(FILE, sha256=_hash(text))
    return said


def _hash(text):
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def waiting(kept: dict) -> dict[str, str]:
    """{id: "3.4 `UNet`"} of the parts that need, when they are defined, one that is not there."""
    found, ids = {}, frame().parts
    for id in (id for id in places() if id in kept):
        needs = [n for n in needed_at_once(kept[id]) if n in ids and (ids[n] not in kept or ids[n] in found)]
        if needs := sorted(set(needs) - {places()[id]}):
            found[id] = " and ".join(f"{ids[n]} `{n}`" for n in needs)
    return found


def assemble(kept: dict) -> str:
    """The text of mine.py with these parts."""
    late, texts = waiting(kept), []
    here = {id: text for id, text in kept.items() if id not in late}
    for piece in template():
        text = here.get(piece.id) if piece.id else piece.text
        if text is not None:
            texts.append(f"{piece.mark}\n{text}".strip())
    if any("my" in free_names(text) for text in here.values()):
        texts.insert(1, MY)
    return "\n\n\n".join(texts) + "\n"


# Using --------------------------------------------------------------------------------------------


def reference(id: str):
    """The notebook's own solution of a part."""
    return patches._find(id)


def parts() -> ModuleType:
    """All parts and given functions under their names: the student's where right, else the reference."""
    module, _, said = build()
    for text in said:
        print(text)
    return module


def references() -> ModuleType:
    """`my` of the solutions and mistakes: what is given, and those references that are built."""
    module = _make_module("<references>")
    for piece in template():
        try:
            _run(module, piece, _supply(module, piece) if piece.id else piece.text)
        except (KeyError, ValueError):  # a page that is not built yet; asking for the part will say so
            pass
    return module


def credit(*names: str, verb: str = "drawn") -> None:
    """Print who wrote the parts that these functions lead to: `verb` by your code, or by the reference."""
    _, built, _ = build()
    text = "\n".join(text for _, text, _ in built)
    own = {id: is_own for id, _, is_own in built if id}
    ids = frame().parts
    ids = sorted((ids[n] for n in reached(names, text) if n in ids), key=list(places()).index)
    instead = [id for id in ids if not own[id]]
    if folder() is None:
        count = f"{len(ids)} part{'s' * (len(ids) != 1)}"
        print(f"{verb} by the course's reference ({count}); in your copy, by your code.")
    elif not instead:
        print(f"{verb} by your code: {len(ids)} of {len(ids)} parts.")
    else:
        count = f"{len(ids) - len(instead)} of {len(ids)} parts"
        print(f"{verb} by your code: {count}; the reference stands in for {_enumerate(instead)}.")


def _enumerate(words):
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def build() -> tuple[ModuleType, list, list[str]]:
    """(module with all of it, [(id or None, text, is the student's)] as it runs there, sentences)."""
    kept, built, said = (read_parts() if folder() else {}), [], []
    module = _make_module("<mine.py>")
    for piece in template():
        text, own = kept.get(piece.id) if piece.id else piece.text, False
        if piece.id and text is not None:
            before = dict(vars(module))
            crash = sandbox.attempt(_run, module, piece, text)[1]
            own = not crash and _callable(module, piece.name)
            if not own:
                vars(module).clear(), vars(module).update(before)
                why = f" ({crash})" if crash else ""
                said.append(f"{piece.id} {piece.name} in {FILE} does not run{why}: the reference stands in.")
        if not own:
            text = _supply(module, piece) if piece.id else text
            _run(module, piece, text)
        built.append((piece.id, text, own))
    return module, built, said


def _make_module(name):
    """An empty module in which `my` is the module itself, as in mine.py."""
    module = sys.modules[name] = ModuleType(name)
    vars(module).update(__file__=str(files.ROOT / "my-work" / FILE), my=module)
    return module


def _callable(module, name):
    return callable(vars(module).get(name))


def _supply(module, piece):
    """The reference's source; what it takes from its notebook besides goes to the module."""
    solution = reference(piece.id)
    if solution.name != piece.name:
        raise KeyError(f"{piece.id} is {solution.name} in its notebook, {piece.name} in {TEMPLATE.name}")
    known = {*vars(module), *frame().given, *frame().parts}
    for name in free_names(solution.source) - known:
        vars(module)[name] = solution.names[name]
    return solution.source


def _run(module, piece, text):
    label = f"{piece.id} {piece.name}" if piece.id else piece.mark.lstrip("# ") or "imports"
    file = f"<mine.py: {label}, {_hash(text)[:8]}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec", dont_inherit=True), vars(module))


# The whole course ---------------------------------------------------------------------------------


def summary_lines() -> list[str]:
    """For check.summary: a line for each notebook, and what mine.py says of itself; [] without a folder."""
    if folder() is None:
        return []
    lines, table, kept = [], answers.read(), read_parts()
    tasks = {}
    for id in patches._instead[-1] if patches._instead else patches._shipped():
        tasks.setdefault(f"{int(id.partition('.')[0]):02d}", []).append(id)
    for notebook, ids in sorted(tasks.items()):
        done = sum(table.get(id, {}).get("state") in answers.DONE or id in kept for id in ids)
        lines.append(f"{notebook}  {done} of {len(ids)} tasks done")
    return [*lines, f"{FILE}  {len(kept)} of {len(places())} parts. {run_file()}"]


def run_file() -> str:
    """What `python mine.py check` says, in a process of its own, as one line."""
    path = folder() / FILE
    if not path.is_file():
        return "The first right answer writes it."
    command, env = [sys.executable, str(path), "check"], {**os.environ, "PYTHONIOENCODING": "utf-8"}
    try:
        ran = subprocess.run(
            command, cwd=path.parent, env=env, timeout=SECONDS, stdin=subprocess.DEVNULL, capture_output=True
        )
    except subprocess.TimeoutExpired:
        return f"It did not come to its end in {SECONDS} s."
    except OSError as error:
        return f"It could not be run ({error})."
    out, err = (stream.decode("utf-8", "replace").strip() for stream in (ran.stdout, ran.stderr))
    if ran.returncode == 0:
        return " ".join(out.split())
    line = re.findall(rf'{re.escape(FILE)}", line (\d+)', err)
    where = f" in line {line[-1]}" if line else ""
    return f"It stops{where}: {err.rpartition(chr(10))[2] or f'exit status {ran.returncode}'}"
