"""What was guessed, as pictures of plain boxes: bars of letters and lines, histograms of numbers."""

import re
from collections import Counter
from dataclasses import dataclass

from helpers.exercises import written

from . import tally

BINS, FAR = 24, 1e12  # columns of a histogram; what is farther out has no place in one


@dataclass(frozen=True)
class Bar:
    """How often one thing was written: hits of these fitted, misses did not. truth: it is the right one."""

    label: str
    hits: int
    misses: int
    truth: bool
    note: tuple = ()


@dataclass(frozen=True)
class Bin:
    """A column of a histogram; left and width in percent of the strip, hits and misses in percent of its
    height."""

    left: float
    width: float
    hits: float
    misses: float
    count: int


@dataclass(frozen=True)
class Strip:
    """The histogram of one number; truth in percent of the width, or None where it is not known."""

    label: str
    bins: tuple
    low: str
    high: str
    truth: float | None
    said: str
    outside: str


def guesses(rows, task) -> dict:
    """Bars and strips of a prediction (or the letters of a break), and how many answers could not be read."""
    given = tally.answers(rows, task)
    truth, bars, strips, place = tally.parts(task.truth), [], [], 0
    read = [
        (tally.parts(value), value == task.truth if task.kind == "break" else cell.group == "right")
        for value, cell in given
        if value is not None
    ]
    for part in task.form.split(", "):
        count = size(part)
        atoms = [(atoms[place : place + count], right) for atoms, right in read]
        true = truth[place : place + count]
        if "letter" in part:
            bars += letter_bars(part, [(a[0], right) for a, right in atoms if a], true)
        else:
            strips += number_strips(atoms, true, count)
        place += count
    return dict(bars=bars, strips=strips, given=len(given), unread=len(given) - len(read))


def size(part: str) -> int:
    """How many numbers or words a part of a form stands for."""
    if grid := re.fullmatch(r"grid (\d+)x(\d+)", part):
        return int(grid[1]) * int(grid[2])
    many = re.match(r"(\d+) numbers", part)
    return int(many[1]) if many else 1


def letter_bars(part: str, given, truth) -> list[Bar]:
    """One bar for each answer that is possible (one letter) or was given (several)."""
    options = re.fullmatch(r"letter (\w+)", part)
    listed = [*options[1]] if options else sorted({letter for letter, _ in given} | {*truth})
    hits = Counter(letter for letter, right in given if right)
    misses = Counter(letter for letter, right in given if not right)
    return [Bar(letter, hits[letter], misses[letter], letter in truth) for letter in listed]


def number_strips(given, truth, count: int) -> list[Strip]:
    """One histogram for each of `count` numbers, all on one scale. given: [(numbers, whether right)]."""
    everything = sorted(float(n) for numbers, _ in given for n in numbers if isinstance(n, int | float))
    everything = [n for n in everything if abs(n) < FAR]
    if not everything:
        return []
    low, high = scale(everything, [float(n) for n in truth])
    strips = []
    for i in range(count):
        numbers = [(float(a[i]), right) for a, right in given if i < len(a)]
        label = f"number {i + 1}" if count > 1 else "the number"
        strips.append(_strip(label, numbers, truth[i] if i < len(truth) else None, low, high))
    return strips


def scale(numbers, truth) -> tuple[float, float]:
    """From where to where a histogram goes: all numbers, but those that would press the others together."""
    cut = len(numbers) // 10
    core = numbers[cut : len(numbers) - cut] + truth
    low, high = min(core), max(core)
    reach = 1.5 * (high - low) or max(0.5, 0.1 * abs(high))
    near = [n for n in numbers if low - reach <= n <= high + reach] + truth
    low, high = min(near), max(near)
    pad = 0.03 * (high - low) or reach
    return (0.0 if 0 <= low < pad else low - pad), high + pad


def _strip(label, numbers, truth, low, high) -> Strip:
    inside = [(n, right) for n, right in numbers if low <= n <= high]
    places = [(min(BINS - 1, int((n - low) / (high - low) * BINS)), right) for n, right in inside]
    counts, hits = Counter(place for place, _ in places), Counter(place for place, right in places if right)
    tallest, wide = max(counts.values(), default=1), 100 / BINS
    bins = tuple(
        Bin(round(wide * place, 2), round(wide, 2), round(100 * hits[place] / tallest),
            round(100 * (n - hits[place]) / tallest), n)
        for place, n in sorted(counts.items())
    )  # fmt: skip
    beyond = [f"{n:.3g}" for n, _ in numbers if not low <= n <= high]
    at = None if truth is None else round(100 * (truth - low) / (high - low), 2)
    said = "" if truth is None else written.say(truth, digits=True)
    return Strip(label, bins, f"{low:.2g}", f"{high:.2g}", at, said, ", ".join(sorted(beyond)[:4]))


def line_bars(rows, task) -> list[Bar]:
    """The lines of a hunt: how many took each for the wrong one, rightly and wrongly."""
    return [
        Bar(f"{line}", hits, misses, False, (code, here))
        for line, code, here, hits, misses in tally.hunted(rows, task)
    ]
