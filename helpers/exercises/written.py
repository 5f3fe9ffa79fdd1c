"""What a reader writes down, numbers and letters, read from whatever shape it comes in.

A form says what is asked for: "number", "3 numbers", "letter abcd" (one of them), "letters abcdef" (those
that fit, in any order), "2 letters yn" (in this order), "grid 2x4" (2 rows of 4 numbers); or some of
these: "number, letter abc".
"""

import math
import re

import numpy as np
import torch

from . import compare

PART = re.compile(r"(\d+ )?(number|letter)(s?)(?: (\w+))?|grid (\d+)x(\d+)")
WORDS = "no one two three four five six seven eight nine ten".split()
MOST = 1000  # things that are read


class Unreadable(ValueError):
    """Not of the form; the text is the sentence that says what to write."""


def read(form: str, value, loose: bool = False):
    """A number, a string of letters, or a tuple of those and of rows. Raises Unreadable.

    loose: `..` is None, which stands for anything; for the answers on a page.
    """
    try:
        numbers, letters = [], ""
        for atom in _take_apart(value):
            if isinstance(atom, str) and not (loose and atom == ".."):
                letters += atom
            else:
                numbers.append(None if atom == ".." else atom)
        found = []
        for part in form.split(", "):
            found += _take(part, numbers, letters)
            letters = "" if "letter" in part else letters
        if numbers or letters:
            raise ValueError("more than asked for")
    except Exception:  # of values that nobody thought of
        raise Unreadable(f"Write {wanted(form)}.") from None
    return found[0] if len(found) == 1 else tuple(found)


def _take_apart(value) -> list:
    """The numbers and words in a value, in order."""
    value = sorted(map(str, value)) if isinstance(value, set | frozenset) else compare.plain(value)
    if isinstance(value, torch.Tensor | np.ndarray) and math.prod(value.shape) <= MOST:
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [atom for part in value[:MOST] for atom in _take_apart(part)]
    if isinstance(value, str):
        words = re.split(r"[\s,;/%()\[\]{}'\"]+", value[:MOST].lower())
        return [_number(word) for word in words if word]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("neither numbers nor letters")
    return [value]


def _number(word: str):
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            pass
    return word


def _take(part: str, numbers: list, letters: str) -> list:
    """What one part of a form takes; its numbers leave the list."""
    count, kind, many, options, rows, columns = PART.fullmatch(part).groups()
    if kind == "letter":
        if set(options) == set("yn"):
            letters = re.sub("yes|no", lambda word: word[0][0], letters)
        letters = "".join(sorted(set(letters))) if many and not count else letters
        right = letters and len(letters) == (int(count or 1) if count or not many else len(letters))
        if not right or set(letters) - set(options):
            raise ValueError("other letters")
        return [letters]
    total = int(rows) * int(columns) if rows else int(count or 1)
    taken, numbers[:total] = numbers[:total], []
    if len(taken) != total or not all(n is None or math.isfinite(n) for n in taken):
        raise ValueError("other numbers")
    wide = int(columns or 1)
    return [tuple(taken[i : i + wide]) for i in range(0, total, wide)] if rows else taken


def wanted(form: str) -> str:
    """What to write, in words, with an example."""
    words, examples = zip(*(_word(part) for part in form.split(", ")), strict=True)
    return f"{' and '.join(words)}, as in guess = {', '.join(examples)}"


def _word(part: str) -> tuple[str, str]:
    count, kind, many, options, rows, columns = PART.fullmatch(part).groups()
    numbers = int(columns or count or 1)
    said = WORDS[numbers] if numbers < len(WORDS) else str(numbers)
    example = ", ".join(f"{i / 10:g}" for i in range(1, min(numbers, 4) + 1)) + ", ..." * (numbers > 4)
    if rows:
        return f"{rows} rows of {said} numbers", ", ".join([f"[{example}]"] * min(int(rows), 2))
    if kind == "number":
        return f"{said} number{many}", example
    if not many:
        return f"one letter of {_list(options, 'or')}", f'"{options[0]}"'
    if count:
        return f"{said} letters, each {_list(options, 'or')}", f'"{(options * numbers)[:numbers]}"'
    return f"the letters that fit, of {_list(options, 'and')}", f'"{options[:2]}"'


def _list(parts, word: str) -> str:
    *first, last = parts
    return f"{', '.join(first)} {word} {last}" if first else f"{last}"


def say(value, digits: bool = False) -> str:
    """A value that was read, in words; digits: of something measured, three of them."""
    if isinstance(value, tuple) and any(isinstance(part, tuple) for part in value):
        rows = [row if isinstance(row, tuple) else (row,) for row in value]
        return "; ".join(", ".join(say(x, digits) for x in row) for row in rows)
    if isinstance(value, tuple):
        return _list([say(part, digits) for part in value], "and")
    if isinstance(value, str):
        return f'"{value}"'
    if not digits or isinstance(value, int):
        return f"{value:g}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def alike(one, other, near: float) -> bool:
    """Numbers within near * max(1, |other|), letters the same, None like anything."""
    if isinstance(other, tuple):
        same = isinstance(one, tuple) and len(one) == len(other)
        return same and all(alike(a, b, near) for a, b in zip(one, other, strict=True))
    if other is None or isinstance(other, str) or isinstance(one, str | tuple):
        return other is None or one == other
    return abs(one - other) <= near * max(1, abs(other))
