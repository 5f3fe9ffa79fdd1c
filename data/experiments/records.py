"""How every product was made (data/records/NAME.json, a file for each experiment), and what changed since.

A record holds the products with their SHA-256, the settings, a hash of every definition in data/experiments
that the numbers come from, hashes of the files read, commits, hours, machine and date. The code of `helpers`
and the versions of packages are not in it: the commits say which those were.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import subprocess
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from data.experiments.products import describe_machine
from helpers.files import ROOT, read_json, write_bytes, write_json

PACKAGE = "data.experiments"
APART = {f"{PACKAGE}.{name}" for name in ("runner", "records", "products")}  # which make no numbers
# Nor do these, by which a training goes on: test_resumed_equals_uninterrupted holds that to the bit.
RESUME = {(f"{PACKAGE}.networks", name) for name in ("SAVE_SECONDS", "save_state", "load_state")}
SHOWN = 4  # names of a change that a sentence says
ASKED = ("list_jobs", "measure", "assemble")  # what the runner calls; bounds() makes no numbers
PLAIN = {"name", "hours", "needs", "makes", "settings", "quick", "bounds"}
UNSEEN = {"ctx", "kind", "type_comment", "type_params", "annotation", "returns"}
CODE = ("data/experiments", "helpers")  # what has to be as in the commit for a clean working tree
MARKS = ("<!-- products -->\n", "<!-- /products -->")


# --- the code that an experiment's numbers come from


def shape(node):
    """What a piece of code says, without comments, docstrings, annotations, places and Python's version."""
    if isinstance(node, list):
        return [shape(part) for part in node if not is_text(part)]
    if not isinstance(node, ast.AST):
        return repr(node)
    parts = [(key, value) for key, value in ast.iter_fields(node) if key not in UNSEEN]
    return [type(node).__name__, *((key, shape(value)) for key, value in parts if value not in (None, []))]


def is_text(node) -> bool:
    """Is it a statement that is nothing but a string?"""
    is_constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_constant and isinstance(node.value.value, str)


def read_module(name: str) -> SimpleNamespace:
    """Of a module's file as it is now: definitions {name: statements}, imports {name: (module, its name)}."""
    file = getattr(importlib.import_module(name), "__file__", None)
    return parse_module(Path(file).read_text(encoding="utf-8") if file else "")


@cache
def parse_module(text: str) -> SimpleNamespace:
    """read_module() of a text; imports are those from data.experiments, at any depth."""
    tree, definitions, imports = ast.parse(text), {}, {}
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            definitions.setdefault(statement.name, []).append(statement)
        else:
            for name in dict.fromkeys(list_stored(statement)):
                definitions.setdefault(name, []).append(statement)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            for alias in node.names:
                whole = (f"{PACKAGE}.{alias.name}", None)
                imports[alias.asname or alias.name] = (
                    whole if node.module == PACKAGE else (node.module, alias.name)
                )
    return SimpleNamespace(definitions=definitions, imports=imports)


def list_stored(statement) -> list[str]:
    """The names that a statement of a module or class assigns to."""
    targets = getattr(statement, "targets", [getattr(statement, "target", statement)])
    nodes = [node for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    return [node.id for node in nodes if isinstance(node.ctx, ast.Store)]


def find_uses(node, module: str) -> set[tuple[str, str]]:
    """{(module, name)}: the definitions under data/experiments that a piece of code of this module names."""
    known, uses = read_module(module), set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            place = known.imports.get(part.id, (module, part.id))
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            place = (known.imports.get(part.value.id, ("", ""))[0], part.attr)
        else:
            continue
        uses.add(place)
    uses = {(where, name) for where, name in uses if name and where not in APART | {""}} - RESUME
    return {(where, name) for where, name in uses if name in read_module(where).definitions}


def find_members(kind: type) -> dict[str, list]:
    """{name: [(module, class, statement), ..]}: members of a class and of those above it, in order."""
    members = {}
    for parent in kind.__mro__:
        if parent.__module__ in APART | {"builtins"}:
            continue
        for definition in read_module(parent.__module__).definitions.get(parent.__name__, []):
            for statement in definition.body:
                is_function = isinstance(statement, ast.FunctionDef)
                for name in [statement.name] if is_function else list_stored(statement):
                    place = (parent.__module__, parent.__name__, statement)
                    members.setdefault(name, []).append(place)
    return members


def hash_code(kind: type) -> dict[str, str]:
    """{"module.name": hash} of all that the experiment's jobs and results are computed with.

    Its own list_jobs, measure and assemble, and every definition under data/experiments that these name, and
    so on. Comments, docstrings, annotations and formatting do not count, nor do bounds() and the hours.
    """
    members, found, seen = find_members(kind), {}, set(PLAIN)
    waiting, names = [], list(ASKED)
    while names or waiting:
        if names:
            name = names.pop()
            chain = [] if name in seen else members.get(name, [])
            seen.add(name)
            places = []
            for module, owner, statement in chain:  # also what it overrides, where it asks for that
                places.append((f"{module}.{owner}.{name}", module, statement))
                if not any(isinstance(n, ast.Name) and n.id == "super" for n in ast.walk(statement)):
                    break
        else:
            module, name = waiting.pop()
            statements = read_module(module).definitions[name]
            places = [(f"{module}.{name}#{i}", module, part) for i, part in enumerate(statements)]
        for label, module, statement in places:
            if label in found:
                continue
            is_class = isinstance(statement, ast.ClassDef)
            parts = [part for part in statement.body if not is_plain(part)] if is_class else [statement]
            found[label] = hashlib.sha256(repr(shape(parts)).encode()).hexdigest()[:12]
            for part in parts:
                waiting += find_uses(part, module)
                names += [n.attr for n in ast.walk(part) if isinstance(n, ast.Attribute)]
    return {key.removeprefix(f"{PACKAGE}.").removesuffix("#0"): found[key] for key in sorted(found)}


def is_plain(statement) -> bool:
    """Does this statement of a class only say what the runner and the table read?"""
    names = [statement.name] if isinstance(statement, ast.FunctionDef) else list_stored(statement)
    return bool(names) and set(names) <= PLAIN


# --- where the code stands, what was read and made


def find_commit(root: Path = ROOT) -> tuple[str | None, bool | None]:
    """(commit, do data/experiments and helpers stand as in it); (None, None) where the folder is no clone."""

    def ask(*words):
        answer = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True)
        return answer.stdout.strip()

    with suppress(OSError, subprocess.CalledProcessError):
        if not ask("rev-parse", "--show-prefix"):  # not a folder within somebody's own repository
            return ask("rev-parse", "HEAD"), not ask("status", "--porcelain", "--", *CODE)
    return None, None


def hash_file(path: Path) -> str:
    """SHA-256 of a product, with git's line ends: as data/SHA256SUMS has it."""
    content = path.read_bytes()
    content = content.replace(b"\r\n", b"\n") if path.suffix == ".json" else content
    return hashlib.sha256(content).hexdigest()


def hash_content(path: Path) -> str:
    """Of a network the hash of its weights, whatever its log says; of any other file that of all."""
    if path.suffix != ".safetensors":
        return hash_file(path)
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header.pop("__metadata__", None)
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode() + content[end:]).hexdigest()


def hash_reads(experiment, home: Path, table: dict) -> dict[str, str]:
    """{product: hash_content()} of the files it reads, where they are there."""
    names = [product for name in experiment.needs for product in table[name].makes]
    return {name: hash_content(home / name) for name in names if (home / name).exists()}


def make_plain(settings: dict) -> dict:
    """Settings as JSON reads them back."""
    return json.loads(json.dumps(settings))


class Spent:
    """Seconds (clock, processor) and commits of one experiment, over its interruptions.

    They are kept in a file of its resume folder, once a minute and at the end of each job.
    """

    def __init__(self, path: Path, commit: str | None, clean: bool | None):
        self.path, kept = path, read_json(path) if path.exists() else {}
        self.seconds, self.processor = kept.get("seconds", 0.0), kept.get("processor", 0.0)
        self.commits, self.clean = kept.get("commits", []), kept.get("clean", True)
        if commit and commit not in self.commits:
            self.commits.append(commit)
        self.clean = None if clean is None or self.clean is None else self.clean and clean
        self.clock, self.cpu = time.perf_counter(), time.process_time()

    def note(self, often: bool = False) -> None:
        """Add what was spent since the last time, and keep it; often: only once a minute."""
        clock, cpu = time.perf_counter(), time.process_time()
        if often and clock - self.clock < 60:
            return
        self.seconds, self.processor = self.seconds + clock - self.clock, self.processor + cpu - self.cpu
        self.clock, self.cpu = clock, cpu
        kept = dict(seconds=self.seconds, processor=self.processor, commits=self.commits, clean=self.clean)
        write_json(self.path, kept)


# --- the records


def place_of(name: str) -> str:
    """The path of an experiment's record under data/."""
    return f"records/{name}.json"


def write(experiment, folder: Path, spent: Spent, code: dict, reads: dict) -> None:
    """Write the record of the products in `folder`; code, reads: the hashes when their making began."""
    record = dict(
        products={product: hash_file(folder / product) for product in experiment.makes},
        settings=make_plain(experiment.settings),
        reads=reads,
        code=code,
        commits=spent.commits,
        clean=spent.clean,
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        hours=round(spent.seconds / 3600, 4),
        processor_hours=round(spent.processor / 3600, 4),
        machine=describe_machine(),
        accepted=[],
    )
    write_json(folder / place_of(experiment.name), record)


def read(name: str, home: Path) -> dict | None:
    """The record of an experiment; None without one. Raises ValueError for a damaged one."""
    path = home / place_of(name)
    return read_json(path) if path.exists() else None


def find_changes(experiment, home: Path, table: dict) -> dict[str, list[str]]:
    """{what changed since its products were made: names}; {} where nothing did.

    Keys: "settings", "code", "files read", "products" (others than those of the record), "record" where there
    is none or a damaged one, and "outdated" where a person wrote into the record why it is.
    """
    try:
        record = read(experiment.name, home)
    except ValueError:
        return {"record": ["is damaged"]}
    if record is None:
        return {"record": ["is missing"]}
    made = {name: hash_file(home / name) for name in experiment.makes if (home / name).exists()}
    found = {"products": [name for name, value in made.items() if record["products"].get(name) != value]}
    if "outdated" in record:
        found["outdated"] = [record["outdated"]]
        return {what: names for what, names in found.items() if names}
    settings, then = make_plain(experiment.settings), record["settings"]
    code, known = hash_code(type(experiment)), list(record["code"].values())
    reads = hash_reads(experiment, home, table)
    found["settings"] = [k for k in {**then, **settings} if settings.get(k) != then.get(k)]
    found["code"] = [name for name, value in code.items() if value not in known]
    if not found["code"] and sorted(code.values()) != sorted(known):
        found["code"] = [name for name in record["code"] if name not in code] or ["another number of uses"]
    found["files read"] = [name for name, value in reads.items() if record["reads"].get(name, value) != value]
    return {what: names for what, names in found.items() if names}


def say_changes(changes: dict[str, list[str]]) -> str:
    """find_changes() as a clause."""
    words = {"code": "code changed", "settings": "settings changed", "files read": "reads other files"}
    words |= {"products": "files that this record is not of", "record": "the record of its making"}
    clauses = []
    for what, names in changes.items():
        more = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
        clauses.append(f"{words[what]}: " if what in words else "")
        clauses[-1] += ", ".join([*names[:SHOWN], *more])
    return "; ".join(clauses)


def accept(experiment, home: Path, table: dict, because: str) -> None:
    """Note in the record that what changed since does not alter the numbers, and why.

    Raises ValueError where nothing changed, and where the products or the record are others or missing: that
    is no change of code.
    """
    changes, name = find_changes(experiment, home, table), experiment.name
    if not changes:
        raise ValueError(f"{name} is not out of date: there is nothing to accept")
    if {"products", "record"} & set(changes):
        raise ValueError(f"{name}, {say_changes(changes)}: this cannot be accepted, only made anew")
    if not because.strip():
        raise ValueError("say why the numbers stay the same: --because REASON")
    record, (commit, clean) = read(name, home), find_commit()
    record |= dict(settings=make_plain(experiment.settings), code=hash_code(type(experiment)))
    record["reads"] |= hash_reads(experiment, home, table)
    record.pop("outdated", None)
    note = dict(changes=changes, because=because, commit=commit, clean=clean)
    record["accepted"].append(dict(note, date=time.strftime("%Y-%m-%d", time.gmtime())))
    write_json(home / place_of(name), record)


def say_record(record: dict) -> str:
    """Hours, commits and date of a record, in one line."""
    commits = ", ".join(commit[:7] for commit in record["commits"]) or "none known"
    changed = "" if record["clean"] or record["clean"] is None else " with changes"
    return f"{say_hours(record)} h, commit {commits}{changed}, {record['date']}"


def say_hours(record: dict) -> str:
    """The hours of the clock; "about" where the experiment says them and nobody measured."""
    return f"{'about ' if record.get('declared') else ''}{record['hours']:.2g}"


def make_table(home: Path, table: dict) -> str:
    """All products with their records, as a markdown table, and the machines that it names by letters."""
    rows, machines = [], {}
    for name, experiment in table.items():
        record = read(name, home)
        files = ", ".join(f"`{product.rpartition('/')[2]}`" for product in experiment.makes)
        if record is None:
            rows.append([f"`{name}`", files, "", "", "not made yet", "", ""])
            continue
        letter = machines.setdefault(record["machine"], "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[len(machines)])
        hours = record.get("processor_hours")
        commits = ", ".join(commit[:7] for commit in record["commits"]) + ("" if record["clean"] else "*")
        cells = [say_hours(record), "" if hours is None else f"{hours:.2g}", commits, record["date"], letter]
        rows.append([f"`{name}`", files, *cells])
    head = ["experiment", "products", "hours", "of processor", "commit", "date", "machine"]
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join([*lines, "", *(f"Machine {letter}: {machine}." for machine, letter in machines.items())])


def write_table(page: Path, home: Path, table: dict) -> None:
    """Write make_table() between its marks in data/README.md. Raises ValueError where these are not there."""
    before, _, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    _, mark, after = rest.partition(MARKS[1])
    if not mark:
        raise ValueError(f"{page.name} has no place for the table: {MARKS[0].strip()} and {MARKS[1]}")
    write_bytes(page, f"{before}{MARKS[0]}{make_table(home, table)}\n{mark}{after}".encode())
