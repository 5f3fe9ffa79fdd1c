"""The part of mine.py that a student's cell holds: its text, and the names that it takes from elsewhere."""

import ast
import builtins
import inspect
import linecache
import re
import symtable
import types
from dataclasses import dataclass
from pathlib import Path

from . import sandbox

COURSE = ("helpers", "builder", "data")  # packages that mine.py imports nothing from
TODO = re.compile(r"\s*# TODO \d+\.\d+\b")
BUILT_IN = set(dir(builtins)) - {"display", "get_ipython"}  # which a notebook's kernel puts there
DEFINITION = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
AT_ONCE = ("listcomp", "setcomp", "dictcomp", "genexpr")  # scopes that run where they stand
PLAIN = (  # of an assignment that mine.py takes
    ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop,
    ast.Name, ast.Attribute, ast.expr_context,
)  # fmt: skip


class Refused(Exception):
    """Why a right answer does not go to mine.py, as a sentence."""


@dataclass(frozen=True)
class Frame:
    """What the rest of mine.py has. imports: {name: its import}; given: {name: dump of its definition};
    parts: {name: its id}, in the order of the file."""

    imports: dict
    given: dict
    parts: dict


def part_of(function, name: str, frame: Frame) -> str:
    """The lines of the cell that make the function, and those that they need. Raises Refused."""
    code = sandbox.code_of(function)
    home = getattr(function, "__module__", None)  # a debugger writes cells to files, too
    if code is not None and home != "__main__" and Path(code.co_filename).exists():
        raise Refused(f"But `{name}` stands in a file: mine.py takes what stands in a notebook's cell.")
    source = "".join(linecache.getlines(code.co_filename)) if code else ""
    if not source:
        raise Refused(f"But the lines of `{name}` could not be read (a `%%` magic?): mine.py lacks it.")
    cell = Cell(source, name, frame)
    own = getattr(function, "__name__", name)
    own = name if own == "<lambda>" else own
    inside = (first_line(n) <= code.co_firstlineno <= n.end_lineno for n in cell.made.get(own, ()))
    if not any(inside):
        raise Refused(f"But `{name}` is not defined by a `def` or `class` at the left edge of its cell.")
    text = cell.take(own) + (f"\n\n\n{name} = {own}" if own != name else "")
    names = getattr(inspect.unwrap(function), "__globals__", {})
    renamed = {n for n in names_taken(text) & BUILT_IN & names.keys() if n[:2] != "__"}
    if unknown := sorted(renamed | free_names(text) - {*frame.imports, *frame.given, *frame.parts, "my"}):
        raise Refused(cell.explain(unknown, names))
    if any(packages(node) & set(COURSE) for node in ast.walk(ast.parse(text))):
        raise Refused(f"But `{name}` imports from the course, and mine.py stands on its own feet.")
    made = {n for node in ast.parse(text).body for n in names_of(node)}
    for other in sorted(cell.other & (names_taken(text) | made)):
        raise Refused(f"But `{other}` of mine.py is another one: give yours another name.")
    order = list(frame.parts)
    for late in sorted(needed_at_once(text) & set(order[order.index(name) + 1 :])):
        raise Refused(f"But `{late}` stands further down in mine.py: use it inside the function only.")
    return text


class Cell:
    """A student's cell. made: {name: top-level statements that mine.py can take and that make it};
    computed: names that other lines make; course: names imported from the course; other: names of given code
    or of libraries that mean something else here."""

    def __init__(self, source, name, frame):
        self.lines, self.source = source.split("\n"), source
        self.body = ast.parse(source).body
        self.made, self.computed, self.course, self.other = {}, set(), set(), set()
        self.dropped = {*frame.given, *frame.parts} - {name}
        for node in self.body:
            bound = names_of(node)
            if packages(node) & set(COURSE):
                self.course |= bound
            elif bound and is_taken(node) and "__future__" not in packages(node):
                self._sort(node, bound, frame)
            elif not is_check(node):
                self.computed |= bound

    def _sort(self, node, bound, frame):
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound -= {b for b in bound if frame.imports.get(b) == ast.dump(node)}
        else:
            self.other |= bound & frame.imports.keys()
            self.other |= {b for b in bound & frame.given.keys() if meaning(node) != frame.given[b]}
        for b in bound - self.dropped:
            self.made.setdefault(b, []).append(node)

    def take(self, own: str) -> str:
        """The text of what makes `own`, in the cell's order, with all of the cell that it needs."""
        nodes, waiting = [], [own]
        while waiting:
            for node in self.made.get(waiting.pop(), ()):
                if node not in nodes:
                    nodes.append(node)
                    waiting += names_taken(self.text(node))
        nodes.sort(key=lambda node: (node.lineno, node.col_offset))
        if again := sorted({b for node in nodes for b in names_of(node)} & self.computed):
            raise Refused(f"But a line of the cell makes `{again[0]}` anew: mine.py takes only definitions.")
        text = ""
        for before, node in zip([None, *nodes], nodes, strict=False):
            apart = isinstance(node, DEFINITION) or isinstance(before, DEFINITION)
            text += ("\n\n\n" if apart else "\n") * (before is not None) + self.text(node)
        return text

    def text(self, node) -> str:
        """The lines of a statement with the comments above and in it; what was to be done goes."""
        first, last = first_line(node), node.end_lineno
        ends = {n for other in self.body if other is not node for n in (first_line(other), other.end_lineno)}
        if ends & {first, last}:
            return ast.get_source_segment(self.source, node)
        while first > 1 and self.lines[first - 2].startswith("#") and first - 1 not in ends:
            first -= 1
        while last < len(self.lines) and re.match(r"\s+#", self.lines[last]):
            last += 1
        return "\n".join(line for line in self.lines[first - 1 : last] if not TODO.match(line))

    def explain(self, unknown, names) -> str:
        """Where names that mine.py would not find come from, and what to do about the first."""
        advice, said = "", []
        for name in reversed(unknown[:3]):
            value = names.get(name)
            module, named = (
                issubclass(type(value), t) for t in (types.ModuleType, type | types.FunctionType)
            )
            home = f"{value.__name__ if module else value.__module__ if named else ''}"
            ours = home.partition(".")[0] in COURSE
            if name in self.course or ours or name in ("check", "mine"):
                where, advice = "is the course's", "Write what it does, or call a part of your own."
            elif name in self.computed:
                where, advice = "is computed by its cell", "Compute it inside the function."
            elif module or named and home != "__main__":
                where, advice = "is imported in another cell", "Write the import in this one too."
            else:
                where, advice = "comes from another cell", "Make it an argument, or define it in this one."
            said.insert(0, f"`{name}` {where}")
        return f"But {'; '.join(said)}: mine.py would not find {'it' if len(said) < 2 else 'them'}. {advice}"


# Statements ---------------------------------------------------------------------------------------


def names_of(node) -> set[str]:
    """The names that a top-level statement makes."""
    if isinstance(node, DEFINITION):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def is_taken(node) -> bool:
    """Whether mine.py can take a statement: it defines, imports, or assigns something simple."""
    if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        simple = isinstance(node.value, ast.Lambda) or all(isinstance(n, PLAIN) for n in ast.walk(node.value))
        return simple and not any(isinstance(n, ast.Attribute) for t in targets for n in ast.walk(t))
    return isinstance(node, DEFINITION | ast.Import | ast.ImportFrom)


def is_check(node) -> bool:
    """Whether a statement hands something to `check`."""
    call = getattr(node, "value", None)
    return isinstance(call, ast.Call) and ast.unparse(call.func).partition(".")[0] == "check"


def packages(node) -> set[str]:
    """The packages that a statement imports from."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {(node.module or "").partition(".")[0]} if isinstance(node, ast.ImportFrom) else set()


def first_line(node) -> int:
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])


def meaning(node) -> str:
    """A statement without docstrings and places, to compare it with another."""
    node = ast.parse(ast.unparse(node))
    for part in ast.walk(node):
        if isinstance(part, DEFINITION) and ast.get_docstring(part, clean=False) is not None:
            part.body = part.body[1:] or [ast.Pass()]
    return ast.dump(node)


# Names --------------------------------------------------------------------------------------------


def free_names(source: str) -> set[str]:
    """The names that a piece of Python takes from outside, Python's own left out."""
    return names_taken(source) - BUILT_IN


def names_taken(source: str) -> set[str]:
    """The names that a piece of Python takes from outside."""
    top = symtable.symtable(source, "<part>", "exec")
    used, own, waiting = set(), {s.get_name() for s in top.get_symbols() if s.is_local()}, [top]
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        used |= {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
    return used - own


def needed_at_once(source: str) -> set[str]:
    """The free names that must be there when the piece is defined, not only when it is called."""
    waiting, used = [symtable.symtable(source, "<part>", "exec")], set()
    while waiting:
        table = waiting.pop()
        used |= {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
        waiting += [t for t in table.get_children() if t.get_type() == "class" or t.get_name() in AT_ONCE]
    at_once = {n.attr for n in ast.walk(ast.parse(source)) if is_my(n)} if "my" in used else set()
    return (used | at_once) & (free_names(source) | at_once)


def is_my(node) -> bool:
    """Whether a node is `my.something`, as the notebooks call parts of earlier ones."""
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "my"


class Reach:
    """What a piece of source reaches: names, attributes; in a class, each method's for itself."""

    def __init__(self, text: str):
        self.units = {}  # name -> [statement without its methods, {method: the same}]
        for node in ast.parse(text).body:
            methods = {}
            if isinstance(node, ast.ClassDef):
                inside = [n for n in node.body if isinstance(n, DEFINITION)]
                methods = {n.name: self._look(n) for n in inside}
                node.body = [n for n in node.body if n not in inside] or [ast.Pass()]
            for name in names_of(node):
                self.units.setdefault(name, []).append((self._look(node), methods))

    @staticmethod
    def _look(node):
        mine = {n.attr for n in ast.walk(node) if is_my(n)}
        attributes = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
        inside = ast.unparse(node).replace("\n", "\n ")  # of a class: a method may call its namesake outside
        return names_taken(f"class _:\n {inside}") | mine, attributes


def reached(names, text: str) -> set[str]:
    """The names of a file that the given ones lead to.

    Of a class that is reached, a method counts when it is `forward`, one of Python's (`__init__`), or when
    something that is reached asks for an attribute of its name.
    """
    units, found, asked, size = Reach(text).units, set(names), set(), -1
    while size != len(found) + len(asked):
        size = len(found) + len(asked)
        for own, methods in [unit for name in list(found) for unit in units.get(name, ())]:
            called = (m for n, m in methods.items() if n in asked or n == "forward" or n[:2] == "__")
            for free, attributes in (own, *called):
                found |= free
                asked |= attributes
    return found & units.keys()
