"""From a patch, as it stands on a page, to edits of the code that it changes."""

from __future__ import annotations

import itertools
import re
import textwrap
from dataclasses import dataclass, field

from helpers.exercises import patches

from .source import free_names


@dataclass
class Written:
    """A mistake as it stands on a page; pieces: (line, what the solution says, what stands there instead).

    answer: what stands behind `answer:`: a wrong prediction, the letter of a wrong reason, a line of a hunt.
    """

    line: int
    name: str
    raises: bool
    pieces: list = field(default_factory=list)
    message: str = ""
    edits: list = field(default_factory=list)  # of the solution's source, or of a hunt's lines
    answer: str | None = None


def edit(source: str, mistake: Written, run: set, where="the solution") -> list:
    """Write the edits of a mistake into it; what is wrong. run: names that only running a cell makes."""
    wrong, said = [], sentences([mistake])
    for line, old, new in mistake.pieces:
        try:
            mistake.edits.append(place(source, old, new, where))
        except ValueError as err:
            wrong.append((line, str(err)))
    if not mistake.pieces:
        wrong.append((mistake.line, "no patch stands behind its name"))
    if mistake.answer is not None:
        wrong.append((mistake.line, "`answer:` is for predictions, reasons and hunts"))
    if not wrong and any(not patches.compose([a], [b]) for a, b in itertools.combinations(mistake.edits, 2)):
        wrong.append((mistake.line, "two of its pieces overlap"))
    if not wrong:
        try:
            lacking = sorted(free_names(patches.patch(source, mistake.edits)) & run)
            wrong += [(mistake.line, f"only running a cell makes `{name}`: do without") for name in lacking]
        except SyntaxError as err:
            wrong.append((mistake.line, f"no valid Python ({err.msg}: `{(err.text or '').strip()}`)"))
    return [(line, f"{mistake.name}: {text}") for line, text in wrong] + said


def place(source: str, old: list[str], new: list[str], where="the solution") -> tuple[int, int, str]:
    """Where `old` stands in the source, and what replaces it there. ValueError unless there is one place."""
    lines = textwrap.dedent("\n".join([*old, *new])).split("\n")
    old, new, found = lines[: len(old)], lines[len(old) :], {}
    if not any(old):
        raise ValueError("`+` needs a `-` before it: the line next to which it stands, to be repeated")
    for indent in {re.match(" *", line)[0] for line in source.split("\n")}:
        wanted = f"\n{indent}".join(old)
        before, after = (r"\b" if re.match(r"\w", end) else "" for end in (wanted[0], wanted[-1]))
        for match in re.finditer(before + re.escape(wanted) + after, source):
            first = source.rfind("\n", 0, match.start()) + 1
            if re.match(" *", source[first:])[0] == indent:
                found[match.span()] = first, indent
    if len(found) != 1:
        often = f"stands in {where} {len(found)} times: write more of the line"
        raise ValueError(f"`{' | '.join(old)}` {often if found else f'does not stand in {where}'}")
    [((start, end), (first, indent))] = found.items()
    last = (source + "\n").find("\n", end)
    if not new and not (source[first:start] + source[end:last]).strip():
        return first, last + 1, ""  # whole lines go
    return trim(start, source[start:end], f"\n{indent}".join(new))


def trim(start: int, old: str, new: str) -> tuple[int, int, str]:
    """An edit without what is the same at its ends, so that it collides with fewer others."""
    a, b = (re.findall(r"\w+|\s+|.", text) for text in (old, new))
    if a == b:
        raise ValueError("`-` and `+` say the same")
    while a and b and a[0] == b[0]:
        start += len(a.pop(0))
        b.pop(0)
    while a and b and a[-1] == b[-1]:
        a.pop()
        b.pop()
    return start, start + len("".join(a)), "".join(b)


def sentences(written: list[Written]) -> list:
    """What is wrong with messages: those that do not end."""
    said = "its message does not end like a sentence"
    return [(m.line, f"{m.name}: {said}") for m in written if not m.message.endswith((".", "?", "}"))]
