"""What a notebook's saved outputs were made from, so that stale ones can be named.

Recorded in the saved notebook: a hash of its code cells (not the first, which fetches the course), of each
file of helpers it uses (directly or through another one), of each artifact that it or those files load by
name, and of what mistakes.json says of its predictions, breaks and hunts, which its outputs show. Comments
and docstrings of helpers do not count: changing them cannot change an output.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import re
import tokenize
from pathlib import Path

from .course import Course, parse_python, read_json, read_text
from .links import BOOTSTRAP
from .source import python_of, tags

# function that loads an artifact by its name -> where the artifact lies
ARTIFACTS = {
    "load_model": "data/checkpoints/{}.safetensors",
    "load_results": "data/results/{}.json",
    "load_images": "data/results/{}.safetensors",
}


def fingerprint(course: Course, name: str, notebook) -> dict[str, str]:
    """What the outputs of `notebook` (the complete edition called `name`) depend on: part -> hash."""
    codes = [c.source for c in notebook.cells if c.cell_type == "code" and BOOTSTRAP not in tags(c)]
    trees = [ast.parse(python_of(code)) for code in codes]
    helpers = helper_files(course, name[:2], trees)
    for path in helpers:
        trees.append(parse_python(path))
    parts = {"code": _hash("\n# %%\n".join(codes).encode())}
    for path in helpers:
        code = strip_comments(read_text(path))
        parts[path.relative_to(course.root).as_posix()] = _hash(code.encode())
    for artifact in artifacts(course, trees):
        path = course.root / artifact
        parts[artifact] = _hash(_read_bytes(path)) if path.exists() else "missing"
    if shown := tasks(course, name[:2]):
        parts["helpers/exercises/mistakes.json"] = _hash(json.dumps(shown, sort_keys=True).encode())
    return parts


def tasks(course: Course, number: str) -> dict:
    """What mistakes.json says of the predictions, breaks and hunts of a notebook."""
    built = read_json(course.helpers / "exercises" / "mistakes.json")
    own = {id: entry for id, entry in built.items() if id.partition(".")[0] == str(int(number))}
    return {id: entry for id, entry in own.items() if isinstance(entry, dict) and "kind" in entry}


def changes(recorded: dict[str, str], now: dict[str, str]) -> list[str]:
    """What differs between two fingerprints, in words."""
    said = []
    for part in sorted(recorded.keys() | now.keys()):
        if part not in recorded:
            said.append(f"{part} is new")
        elif part not in now:
            said.append(f"{part} is no longer used")
        elif recorded[part] != now[part]:
            said.append(f"{part} is missing" if now[part] == "missing" else f"{part} changed")
    return said


def _read_bytes(path: Path) -> bytes:
    """The content of an artifact; that of a text with the line ends that git stores."""
    return read_text(path).encode() if path.suffix == ".json" else path.read_bytes()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def strip_comments(code: str) -> str:
    """Python source without comments, docstrings and blank lines; the same text on every Python version."""
    lines = code.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(code)):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            first, last = node.body[0].lineno, node.body[0].end_lineno
            lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def helper_files(course: Course, number: str, trees) -> list[Path]:
    """Every file under helpers/ that the syntax trees import, and what those import in turn.

    Of the exercises, only the notebook's own spec file counts, whatever the engine may import.
    """
    found: set[Path] = set()
    waiting = [path for tree in trees for path in _imported(course, tree, package=())]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        package = path.relative_to(course.root).parts[:-1]
        waiting += _imported(course, parse_python(path), package)
        engine = course.helpers / "exercises"
        if path.parent == engine and path.name == "__init__.py":
            own = course.exercise_specs(number)
            waiting += [p for p in engine.glob("*.py") if not p.name.startswith("nb") or p == own]
    others = {p for p in found if p.parent.name == "exercises" and p.name.startswith("nb")}
    return sorted(found - others | others & {course.exercise_specs(number)})


def _imported(course: Course, tree, package: tuple[str, ...]) -> list[Path]:
    """The files under helpers/ that one syntax tree imports; `package` is where the tree itself lives."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            modules |= {base} | {(*base, alias.name) for alias in node.names}
    files = []
    for module in modules:
        if not module or module[0] != "helpers":
            continue
        for depth in range(1, len(module) + 1):
            path = course.root.joinpath(*module[:depth])
            files += [p for p in (path / "__init__.py", path.with_name(path.name + ".py")) if p.exists()]
    return files


def artifacts(course: Course, trees) -> list[str]:
    """The artifacts that the syntax trees load, as paths from the root.

    Best is a name written out where it is loaded: load_model("digits"). Of an f-string,
    load_model(f"mnist_{m}min"), every file that fits counts; of anything else, load_model(names[kind]), every
    file whose name is a string somewhere in the same module or cell.
    """
    found = set()
    for tree in trees:
        nodes = list(ast.walk(tree))
        strings = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        for call in nodes:
            if not (isinstance(call, ast.Call) and call.args):
                continue
            place, name = ARTIFACTS.get(ast.unparse(call.func).split(".")[-1]), call.args[0]
            if place is None:
                continue
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                found.add(place.format(name.value))
            elif isinstance(name, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "*" for part in name.values]
                fitting = course.root.glob(place.format("".join(parts)))
                found |= {path.relative_to(course.root).as_posix() for path in fitting}
            else:
                named = {place.format(s) for s in strings if re.fullmatch(r"[\w.-]+", s)}
                found |= {path for path in named if (course.root / path).exists()}
    return sorted(found)
